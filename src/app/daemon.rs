//! The daemon, put together: store, net, engine, API, listeners; and taken apart in order.
//!
//! Owns what depends on what at start and at stop. Must never know a verb.
//!
//! At a stop: the engine starts no more attempts and refuses events (503), the listeners close,
//! requests and attempts under way may finish within the drain timeout, the last outcomes are
//! committed, and only then is the store let go.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::config::Config;
use super::exit::Exit;
use super::keys::{self, KeyError};
use crate::clock;
use crate::engine::{self, Engine, EngineError, Handle, core};
use crate::http::api::{Api, ApiConfig};
use crate::http::limits::{ClientLimiter, ClientRate};
use crate::http::server::{self, Listener, ServerConfig};
use crate::logic::address::{AllowError, AllowList};
use crate::logic::dispatcher::{self, TargetLimits};
use crate::logic::log::LogLimits;
use crate::logic::quota::Rate;
use crate::net::{self, LOOKUPS_MAX, Net, NetConfig, NetError, SystemResolver};
use crate::source::native::PublishLimits;
use crate::store::Store;
use crate::store::embedded::{self, Embedded, OpenError};

/// Clients whose requests are counted one by one.
const CLIENT_KEYS_MAX: usize = 10_000;
/// Connections of the control socket at once.
const CONTROL_CONNECTIONS_MAX: usize = 64;
/// After the time for draining: for the engine to end, and the store to write.
const END_MS_MAX: u64 = 5_000;

/// Why a daemon can't start.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    /// No key for secrets.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// `[delivery] allow` can't be understood.
    #[error("[delivery] allow: {0}")]
    Allow(#[from] AllowError),
    /// The port to the targets can't be opened.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The engine can't start.
    #[error(transparent)]
    Engine(#[from] engine::StartError),
    /// `[delivery] user_agent` is no header value.
    #[error("[delivery] user_agent: not a header value")]
    UserAgent,
    /// The API's address can't be listened at.
    #[error("can't listen at {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

impl StartError {
    /// How the process ends by it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            StartError::Open(OpenError::Locked(_)) => Exit::Temporary,
            StartError::Open(OpenError::File { source, .. })
            | StartError::Key(KeyError::File { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Exit::NoPermission
            }
            StartError::Open(OpenError::File { .. })
            | StartError::Key(KeyError::File { .. })
            | StartError::Listen { .. } => Exit::CantCreate,
            StartError::Open(OpenError::TooNew { .. } | OpenError::Vault(_))
            | StartError::Key(KeyError::Malformed(_))
            | StartError::Allow(_)
            | StartError::Net(_)
            | StartError::UserAgent => Exit::Config,
            StartError::Open(_) | StartError::Engine(_) => Exit::Failure,
        }
    }
}

/// A daemon whose store is open and whose engine runs.
pub(crate) struct Daemon {
    /// To talk to the engine.
    pub handle: Handle,
    /// The API that the listeners serve.
    pub api: Arc<Api>,
    /// Whether the store is new: no token was ever made in it for the operator.
    pub is_first_start: bool,
    store: Arc<Embedded>,
    engine: JoinHandle<Result<(), EngineError>>,
    stop_engine: watch::Sender<bool>,
    stop_servers: watch::Sender<bool>,
    servers: Vec<JoinHandle<server::Stopped>>,
    drain_timeout_ms: u64,
}

impl Daemon {
    /// Opens the store and starts the engine; `deliver` is whether attempts are made.
    pub(crate) fn start(config: &Config, deliver: bool) -> Result<Daemon, StartError> {
        let directory = &config.store.path;
        let vault = keys::vault(directory, &config.store.encryption_keys)?;
        let limits = embedded::Settings {
            cache_bytes: config.store.cache_bytes,
            journal_bytes_max: config.store.size_bytes_max as u64,
            free_bytes_min: config.store.free_bytes_min as u64,
            log_free_bytes_min: config.store.log_free_bytes_min as u64,
            ..embedded::Settings::default()
        };
        let store = Arc::new(Embedded::open(directory, vault, limits)?);
        let resolver = Arc::new(SystemResolver::new(LOOKUPS_MAX));
        let net = Arc::new(Net::new(net_config(config)?, resolver)?);
        let seam: Arc<dyn Store> = Arc::<Embedded>::clone(&store);
        let settings = engine::Settings { core: core_settings(config)?, deliver };
        let (engine, handle) = Engine::new(settings, seam, Arc::clone(&net), AllowList::default())?;
        let is_first_start = engine.is_first_start();
        let (stop_engine, engine_stops) = watch::channel(false);
        let (stop_servers, _) = watch::channel(false);
        let engine = tokio::spawn(engine.run(engine_stops));
        let configured = config.projects.iter().map(|project| project.public_key.clone()).collect();
        let api = Arc::new(Api::new(handle.clone(), net, api_config(config), configured));
        Ok(Daemon {
            handle,
            api,
            is_first_start,
            store,
            engine,
            stop_engine,
            stop_servers,
            servers: Vec::new(),
            drain_timeout_ms: config.server.drain_timeout_ms,
        })
    }

    /// Serves the API on the network.
    pub(crate) fn serve(&mut self, listener: TcpListener, config: &Config) {
        let per_minute = config.server.client_rate_per_second.saturating_mul(60);
        let rate = ClientRate {
            per_minute: per_minute.try_into().unwrap_or(std::num::NonZeroU32::MIN),
            burst: config.server.client_burst.try_into().unwrap_or(std::num::NonZeroU32::MIN),
            keys_max: CLIENT_KEYS_MAX,
        };
        let server = ServerConfig {
            request_limiter: Some(Arc::new(ClientLimiter::new(rate))),
            ..server_config(config)
        };
        self.listen(Listener::Tcp(listener), server);
    }

    /// Serves the control socket. Whoever holds the store holds its socket, so one that was left
    /// behind is replaced.
    pub(crate) fn serve_control(&mut self, path: &Path, config: &Config) -> Result<(), StartError> {
        let at = |source| StartError::Listen { address: path.display().to_string(), source };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(at)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(at)?;
        let server = ServerConfig {
            connections_max: CONTROL_CONNECTIONS_MAX,
            connections_per_client_max: CONTROL_CONNECTIONS_MAX,
            ..server_config(config)
        };
        self.listen(Listener::Unix(listener), server);
        Ok(())
    }

    fn listen(&mut self, listener: Listener, config: ServerConfig) {
        let stops = self.stop_servers.subscribe();
        let api = Arc::clone(&self.api);
        self.servers.push(tokio::spawn(server::serve(listener, api, config, stops)));
    }

    /// Waits until the engine ends by itself, which it does only when it fails.
    pub(crate) async fn failed(&mut self) -> EngineError {
        match (&mut self.engine).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => EngineError::Store("the engine ended".into()),
            Err(error) => EngineError::Store(error.to_string().into()),
        }
    }

    /// Ends in order; `hurry` cuts the draining short when it completes.
    pub(crate) async fn stop(self, hurry: impl Future<Output = ()>) {
        let _ = self.stop_servers.send(true);
        self.handle.drain();
        let mut engine = self.engine;
        let mut ended = engine.is_finished();
        tokio::select! {
            biased;
            () = hurry => {}
            () = clock::sleep(self.drain_timeout_ms) => {
                tracing::warn!(
                    "Attempts are still under way after the drain timeout; they will be repeated."
                );
            }
            _ = async {
                if !ended {
                    // Its error was told when it happened, or does not matter any more.
                    let _ = (&mut engine).await;
                }
                for server in self.servers {
                    let _ = server.await;
                }
            } => ended = true,
        }
        let _ = self.stop_engine.send(true);
        if !ended && !engine.is_finished() {
            let _ = clock::within(END_MS_MAX, engine).await;
        }
        let store = self.store;
        // The last outcomes are written here.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

fn core_settings(config: &Config) -> Result<core::Settings, StartError> {
    let delivery = &config.delivery;
    let targets = config.targets.iter().map(|target| {
        let rate = target.rate_per_second.map(|rate| Rate::new(rate, target.burst.unwrap_or(rate)));
        (target.origin.clone(), TargetLimits { rate, in_flight_max: target.in_flight })
    });
    Ok(core::Settings {
        dispatcher: dispatcher::Settings {
            in_flight_max: delivery.in_flight,
            target_rate: Rate::new(delivery.target_rate_per_second, delivery.target_burst),
            target_in_flight_max: delivery.target_in_flight,
        },
        targets: targets.collect(),
        retention_ms: config.store.retention_ms,
        disable_failing_after_ms: delivery.disable_failing_after_ms,
        user_agent: HeaderValue::try_from(&delivery.user_agent)
            .map_err(|_| StartError::UserAgent)?,
        feed_changes_max: config.server.stream_changes_max as usize,
        log: LogLimits {
            headers_bytes_max: config.store.log_headers_bytes_max,
            body_bytes_max: config.store.log_body_bytes_max,
        },
    })
}

fn net_config(config: &Config) -> Result<NetConfig, StartError> {
    let delivery = &config.delivery;
    Ok(NetConfig {
        allow: AllowList::parse(&delivery.allow)?,
        ca_files: delivery.ca_files.clone(),
        proxy: delivery.proxy.as_ref().map(|proxy| net::Proxy {
            origin: proxy.origin.clone(),
            credentials: proxy.credentials.clone(),
        }),
        connect_timeout_ms: delivery.connect_timeout_ms,
        attempt_timeout_ms: delivery.attempt_timeout_ms,
        response_bytes_max: delivery.response_body_bytes_max,
        ..NetConfig::default()
    })
}

fn api_config(config: &Config) -> ApiConfig {
    ApiConfig {
        body_timeout_ms: config.server.body_timeout_ms,
        auth_failures_per_minute: config.server.auth_failures_per_minute,
        publish_bytes_max: config.publish.request_bytes_max,
        publish: PublishLimits {
            event_bytes_max: config.publish.event_bytes_max,
            events_max: config.publish.events_per_request_max as usize,
        },
        sns_confirm: config.sources.sns_confirm,
        metrics_public: config.metrics.public,
        streams_max: config.server.streams_max as usize,
        stream_heartbeat_ms: config.server.stream_heartbeat_ms,
    }
}

fn server_config(config: &Config) -> ServerConfig {
    let server = &config.server;
    ServerConfig {
        connections_max: server.connections_max as usize,
        header_timeout_ms: server.header_timeout_ms,
        body_timeout_ms: server.body_timeout_ms,
        idle_timeout_ms: server.idle_timeout_ms,
        requests_per_connection_max: server.requests_per_connection_max,
        shutdown_timeout_ms: server.drain_timeout_ms,
        trusted_proxies: server.trusted_proxies.clone(),
        ..ServerConfig::default()
    }
}
