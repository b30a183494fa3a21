//! `dev`: daemon, receiver, one webhook and one delivery on screen; gone when it ends.
//!
//! Owns the first minute. Must never touch a data directory that is there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::serve::{Signals, start_error};
use crate::app::args::Dev;
use crate::app::config::{Config, FlagValue, Sources};
use crate::app::daemon::Daemon;
use crate::app::exit::Exit;
use crate::app::receiver::{Behaviour, Receiver};
use crate::app::terminal::say;
use crate::app::{Stop, runtime, telemetry};
use crate::clock;
use crate::engine::command::{Answer, Command};
use crate::engine::submit::Submission;
use crate::http::fresh;
use crate::http::server::{self, Listener, ServerConfig};
use crate::model::draft::{ProjectDraft, WebhookDraft};
use crate::model::event::{EventName, Source};
use crate::model::ids::{ProjectId, WebhookId};
use crate::model::secret::Secret;
use crate::model::target::TargetUrl;
use crate::model::webhook::{Format, FormatOptions, Limits, Version};
use crate::source::sample;

const PUBLIC_KEY: &str = "demopublic";
const SECRET_KEY: &str = "demosecret";
const EVENT: &str = "file.uploaded";
/// What the key f makes the receiver fail.
const FAILURES: u32 = 3;
/// How long `--once` waits for its delivery, in milliseconds.
const ONCE_MS_MAX: u64 = 15_000;
/// How long things may take to end, in milliseconds.
const DRAIN_MS_MAX: u64 = 2_000;

pub(crate) fn run(dev: &Dev) -> Result<Exit, Stop> {
    let directory = Directory::new();
    let mut config = config(&directory.0)?;
    // A second subscriber can't be: this is the first thing that a process does.
    let _ = telemetry::start(config.log.format, config.log.level);
    config.server.drain_timeout_ms = DRAIN_MS_MAX;
    runtime()?.block_on(show(dev, config))
}

/// The data directory, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        Directory(std::env::temp_dir().join(format!("postrider-dev-{}", fresh::hex::<6>())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // It lies in the system's folder for such things, which is cleaned anyway.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Defaults, with loopback let through: that is where the receiver is.
fn config(directory: &std::path::Path) -> Result<Config, Stop> {
    let mut sources = Sources::none();
    sources.flags.push(FlagValue::data(directory.display().to_string()));
    let mut config =
        Config::load(&sources).map_err(|errors| Stop::new(Exit::Failure, errors))?.config;
    config.delivery.allow = vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()];
    config.log.level = crate::app::config::LogLevel::Warn;
    Ok(config)
}

async fn show(dev: &Dev, mut config: Config) -> Result<Exit, Stop> {
    let mut signals = Signals::new()?;
    let api = bind(&dev.listen).await?;
    let hook = bind(&dev.receiver_listen).await?;
    let (api_at, hook_at) = (address(&api)?, address(&hook)?);
    config.server.listen = api_at;
    let mut daemon = Daemon::start(&config, true).map_err(|error| start_error(&error))?;
    let secret = Secret::new(secret());
    let receiver = Arc::new(Receiver::new(Behaviour {
        secret: secret.clone(),
        fail: 0,
        status: None,
        delay_ms: 0,
        forward_to: None,
        json: false,
        save: None,
    }));
    let (stop_receiver, receiver_stops) = watch::channel(false);
    let served = tokio::spawn(server::serve(
        Listener::Tcp(hook),
        Arc::clone(&receiver),
        ServerConfig { shutdown_timeout_ms: DRAIN_MS_MAX, ..ServerConfig::default() },
        receiver_stops,
    ));
    daemon.serve(api, &config);
    daemon
        .serve_control(&config.server.control_socket, &config)
        .map_err(|error| start_error(&error))?;
    let stage = prepare(&daemon, hook_at, secret.clone()).await?;
    headline(&config, api_at, hook_at, &secret);
    let received = receiver.received();
    send(&daemon, stage.project).await?;
    let exit = if dev.once {
        once(received).await
    } else {
        say(&hint(&config));
        keys(&daemon, &receiver, &stage, &mut signals).await
    };
    daemon
        .stop(async {
            signals.next().await;
        })
        .await;
    let _ = stop_receiver.send(true);
    let _ = served.await;
    exit
}

struct Stage {
    project: ProjectId,
    webhook: WebhookId,
}

async fn prepare(daemon: &Daemon, hook_at: SocketAddr, secret: Secret) -> Result<Stage, Stop> {
    let failed = |error: &dyn std::fmt::Display| Stop::new(Exit::Failure, error);
    let project = ProjectDraft {
        public_key: PUBLIC_KEY.to_owned(),
        secret_keys: vec![Secret::new(SECRET_KEY.to_owned())],
        ..fresh::project(None, "dev")
    };
    let project = match daemon.handle.command(Command::PutProject(project)).await {
        Ok(Answer::Project(project)) => project.id,
        Ok(_) => return Err(failed(&"no project")),
        Err(error) => return Err(failed(&error)),
    };
    let url = format!("http://{hook_at}/hook");
    let draft = WebhookDraft {
        target_url: TargetUrl::parse(&url).map_err(|error| failed(&error))?,
        events: vec![EventName::parse(EVENT).ok_or_else(|| failed(&"no event"))?],
        format: Format::Uploadcare(Version::V07),
        is_active: true,
        secret: Some(secret),
        headers: Vec::new(),
        limits: Limits::default(),
        options: FormatOptions::default(),
    };
    let command = Command::CreateWebhook { project, draft, listener: None };
    match daemon.handle.command(command).await {
        Ok(Answer::Webhook(webhook)) => Ok(Stage { project, webhook: webhook.id }),
        Ok(_) => Err(failed(&"no webhook")),
        Err(error) => Err(failed(&error)),
    }
}

async fn send(daemon: &Daemon, project: ProjectId) -> Result<(), Stop> {
    let Some(name) = EventName::parse(EVENT) else { return Ok(()) };
    let event = sample::test_event(&name, &fresh::uuid(), "cat.jpg", clock::now().wall);
    let submission = Submission::new(project, vec![event], Source::Native);
    let sent = daemon.handle.submit(submission).await;
    sent.map(|_| ()).map_err(|error| Stop::new(Exit::Failure, error))
}

fn headline(config: &Config, api_at: SocketAddr, hook_at: SocketAddr, secret: &Secret) {
    say(&format!(
        "  postrider {}  dev mode (store: {}, deleted on exit)",
        env!("CARGO_PKG_VERSION"),
        config.store.path.display()
    ));
    say(&format!(
        "  API        http://{api_at}    Authorization: Uploadcare.Simple {PUBLIC_KEY}:{SECRET_KEY}"
    ));
    say(&format!("  Receiver   http://{hook_at}/hook    signing secret {}", secret.expose()));
}

fn hint(config: &Config) -> String {
    let data = config.store.path.display();
    let keys = if Keyboard::is_there() {
        "\n  Keys: f (receiver fails the next 3), r (retry now), q (quit)"
    } else {
        ""
    };
    format!("  Try:  postrider send {EVENT} --name dog.jpg --data-dir {data}{keys}")
}

async fn once(mut received: watch::Receiver<crate::app::receiver::Received>) -> Result<Exit, Stop> {
    let verified = received.wait_for(|received| received.requests > 0);
    match clock::within(ONCE_MS_MAX, verified).await {
        Ok(Ok(received)) if received.verified > 0 => Ok(Exit::Ok),
        Ok(_) => Err(Stop::new(Exit::Failure, "the delivery was not verified")),
        Err(elapsed) => Err(Stop::new(Exit::Failure, format!("no delivery: {elapsed}"))),
    }
}

async fn keys(
    daemon: &Daemon,
    receiver: &Receiver,
    stage: &Stage,
    signals: &mut Signals,
) -> Result<Exit, Stop> {
    let mut keyboard = Keyboard::open();
    loop {
        tokio::select! {
            _ = signals.next() => return Ok(Exit::Ok),
            key = keyboard.next() => match key {
                b'q' | 3 | 4 => return Ok(Exit::Ok),
                b'f' => {
                    receiver.fail_next(FAILURES);
                    say(&format!("  the receiver fails the next {FAILURES}"));
                    send(daemon, stage.project).await?;
                }
                b'r' => {
                    let command = Command::Hasten { project: stage.project, id: stage.webhook };
                    match daemon.handle.command(command).await {
                        Ok(_) => say("  retrying now what waits"),
                        Err(error) => say(&format!("  can't retry: {error}")),
                    }
                }
                _ => {}
            },
        }
    }
}

/// Single keys from a terminal; none where there is no terminal.
struct Keyboard {
    keys: mpsc::Receiver<u8>,
    before: Option<rustix::termios::Termios>,
}

impl Keyboard {
    fn is_there() -> bool {
        use std::io::IsTerminal;
        std::io::stdin().is_terminal()
    }

    fn open() -> Keyboard {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let (sender, keys) = mpsc::channel(16);
        let stdin = std::io::stdin();
        let before = if Keyboard::is_there() { tcgetattr(&stdin).ok() } else { None };
        let Some(before) = before else {
            return Keyboard { keys, before: None };
        };
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        if tcsetattr(&stdin, OptionalActions::Now, &raw).is_ok() {
            // A thread, because a read of a terminal can't be cancelled; it ends with the process.
            std::thread::spawn(move || {
                use std::io::Read;
                let mut key = [0];
                while std::io::stdin().read_exact(&mut key).is_ok() {
                    if sender.blocking_send(key[0]).is_err() {
                        return;
                    }
                }
            });
        }
        Keyboard { keys, before: Some(before) }
    }

    async fn next(&mut self) -> u8 {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        if let Some(before) = &self.before {
            // A terminal that has gone needs no mending.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Listens at an address, or at a free port if it is in use: the first minute must not end here.
async fn bind(wanted: &str) -> Result<TcpListener, Stop> {
    let address: SocketAddr = wanted.parse().map_err(|_| {
        Stop::new(Exit::Usage, format!("{wanted:?} is no address and port, such as 127.0.0.1:8080"))
    })?;
    let bound = match TcpListener::bind(address).await {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            say(&format!("  {address} is in use; taking a free port"));
            TcpListener::bind(SocketAddr::new(address.ip(), 0)).await
        }
        bound => bound,
    };
    bound
        .map_err(|error| Stop::new(Exit::CantCreate, format!("can't listen at {address}: {error}")))
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Stop> {
    listener.local_addr().map_err(|error| Stop::new(Exit::Failure, error))
}

/// 32 characters that are also strict base64, so that every library takes them.
pub(crate) fn secret() -> String {
    use base64::Engine as _;
    let mut bytes = [0; 24];
    clock::fill_random(&mut bytes);
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
