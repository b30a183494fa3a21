//! `serve`: the daemon, until it is told to stop.
//!
//! Owns signals and the order of start and stop as a service manager sees it. Must never decide
//! what a request means.

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::config::{Config, Loaded};
use crate::app::daemon::{Daemon, StartError};
use crate::app::exit::Exit;
use crate::app::{Stop, first_start, runtime, telemetry};

pub(crate) fn run(loaded: &Loaded) -> Result<Exit, Stop> {
    let config = &loaded.config;
    // A second subscriber can't be: this is the first thing that a process does.
    let _ = telemetry::start(config.log.format, config.log.level);
    raise_descriptor_limit();
    use_small_pages();
    runtime()?.block_on(serve(config))
}

async fn serve(config: &Config) -> Result<Exit, Stop> {
    let mut signals = Signals::new()?;
    let mut daemon = Daemon::start(config, true).map_err(|error| start_error(&error))?;
    let prepared = async {
        first_start::prepare(&mut daemon, config).await?;
        let listener = TcpListener::bind(config.server.listen).await;
        let address = config.server.listen.to_string();
        let listener =
            listener.map_err(|source| start_error(&StartError::Listen { address, source }))?;
        let address = listener.local_addr().unwrap_or(config.server.listen);
        daemon
            .serve_control(&config.server.control_socket, config)
            .map_err(|error| start_error(&error))?;
        daemon.serve(listener, config);
        Ok(address)
    };
    let address = match prepared.await {
        Ok(address) => address,
        Err(stop) => {
            daemon.stop(async {}).await;
            return Err(stop);
        }
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %address,
        store = %config.store.path.display(),
        "Ready."
    );
    let failure = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "Stopping: finishing what is under way.");
            None
        }
        error = daemon.failed() => Some(error),
    };
    daemon
        .stop(async {
            let name = signals.next().await;
            tracing::warn!(signal = name, "Stopping at once.");
        })
        .await;
    // The socket is this process's own; one that is gone already is as good.
    let _ = std::fs::remove_file(&config.server.control_socket);
    match failure {
        Some(error) => Err(Stop::new(Exit::Failure, error)),
        None => {
            tracing::info!("Stopped.");
            Ok(Exit::Ok)
        }
    }
}

pub(crate) fn start_error(error: &StartError) -> Stop {
    Stop::new(error.exit(), error)
}

/// The signals that stop a daemon.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Signals, Stop> {
        let on = |kind| {
            signal(kind).map_err(|error| Stop::new(Exit::Failure, format!("signals: {error}")))
        };
        Ok(Signals {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The allocator asks for pages of 2 MiB where the system gives them: each stays whole in memory for
/// one event in it that is still wanted. What a daemon holds is small and short-lived.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "Huge pages can't be switched off: more memory is used.");
    }
}

/// Every connection is a file descriptor: take as many as the system lets us have.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "The limit of open files can't be raised.");
    }
}
