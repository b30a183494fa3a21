//! The configuration as the program uses it: plain data in which every value has been checked.
//!
//! Owns the structures, with units in their names, and the rules between settings. Must never know
//! TOML, variables or flags, and must never hold a default: those stand in `settings`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::error::{Origin as Place, Problem};
use super::units::{show_duration, show_size};
use crate::model::ids::ProjectId;
use crate::model::project::ProjectSettings;
use crate::model::secret::Secret;
use crate::model::target::Origin;

/// A whole, checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[server]`: HTTP in.
    pub server: Server,
    /// `[store]`: the data directory.
    pub store: Store,
    /// `[delivery]`: HTTP out.
    pub delivery: Delivery,
    /// `[publish]`: what a publisher may send.
    pub publish: Publish,
    /// `[sources]`: events that other systems bring in.
    pub sources: Sources,
    /// `[metrics]`: figures for Prometheus.
    pub metrics: Metrics,
    /// `[log]`: what is written to stderr.
    pub log: Log,
    /// `[[project]]`: projects to create or update at start; their ids and keys differ.
    pub projects: Vec<ProjectEntry>,
    /// `[[target]]`: targets with limits of their own; their origins differ.
    pub targets: Vec<TargetEntry>,
}

/// HTTP in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// The socket through which the command line talks to the daemon.
    pub control_socket: PathBuf,
    /// Proxies whose forwarded addresses are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections at once.
    pub connections_max: u32,
    /// Time for a request's head.
    pub header_timeout_ms: u64,
    /// Time for a request's body.
    pub body_timeout_ms: u64,
    /// Time between two requests of a connection.
    pub idle_timeout_ms: u64,
    /// Requests of one connection.
    pub requests_per_connection_max: u32,
    /// Requests a second of one client.
    pub client_rate_per_second: u32,
    /// Requests of one client at once, after a quiet time.
    pub client_burst: u32,
    /// Failed authentications a minute of one client.
    pub auth_failures_per_minute: u32,
    /// Live streams at once.
    pub streams_max: u32,
    /// Changes of deliveries that are kept for streams that come back.
    pub stream_changes_max: u32,
    /// How often a stream that has nothing to say says so.
    pub stream_heartbeat_ms: u64,
    /// Time for a stop: to finish what is under way.
    pub drain_timeout_ms: u64,
}

/// The data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The directory.
    pub path: PathBuf,
    /// Memory for pages of the store.
    pub cache_bytes: usize,
    /// Keys for secrets at rest: the first encrypts, all decrypt. Without any, the daemon makes
    /// its own.
    pub encryption_keys: Vec<EncryptionKey>,
    /// How long finished events are kept.
    pub retention_ms: u64,
    /// Payloads and attempts are trimmed to this.
    pub size_bytes_max: usize,
    /// With less room on the disk, events are refused.
    pub free_bytes_min: usize,
    /// With less room on the disk, the attempt log goes without headers and bodies of responses.
    pub log_free_bytes_min: usize,
    /// How much of a response's headers goes into the attempt log.
    pub log_headers_bytes_max: usize,
    /// How much of a response's body goes into the attempt log.
    pub log_body_bytes_max: usize,
}

/// HTTP out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Networks, addresses and hosts that the address check lets through.
    pub allow: Vec<String>,
    /// Attempts a second to one target.
    pub target_rate_per_second: u32,
    /// Attempts to one target at once, after a quiet time.
    pub target_burst: u32,
    /// Attempts to one target under way at once.
    pub target_in_flight: u32,
    /// Attempts under way at once.
    pub in_flight: u32,
    /// Time for a connection, TLS included.
    pub connect_timeout_ms: u64,
    /// Time for a whole attempt.
    pub attempt_timeout_ms: u64,
    /// How much of a response's body is read.
    pub response_body_bytes_max: usize,
    /// Certificate authorities besides those of the system, as PEM files.
    pub ca_files: Vec<PathBuf>,
    /// The proxy that dials instead.
    pub proxy: Option<Proxy>,
    /// The `User-Agent` of deliveries.
    pub user_agent: String,
    /// A webhook none of whose attempts succeeded for so long is disabled.
    pub disable_failing_after_ms: Option<u64>,
}

/// What a publisher may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Size of one event.
    pub event_bytes_max: usize,
    /// Size of one request.
    pub request_bytes_max: usize,
    /// Events of one request.
    pub events_per_request_max: u32,
}

/// Events that other systems bring in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Whether topics of SNS that ask are confirmed.
    pub sns_confirm: bool,
}

/// Figures for Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Whether they need no operator token.
    pub public: bool,
}

/// What is written to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its form.
    pub format: LogFormat,
    /// How much of it.
    pub level: LogLevel,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, journald's under systemd, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
    /// A priority prefix and no time, which journald adds.
    Journald,
}

impl LogFormat {
    /// All of them, by name.
    pub const NAMES: [(&'static str, LogFormat); 4] = [
        ("auto", LogFormat::Auto),
        ("pretty", LogFormat::Pretty),
        ("json", LogFormat::Json),
        ("journald", LogFormat::Journald),
    ];
}

/// How much is logged. What dependencies log is shown from `Warn` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed and somebody has to act.
    Error,
    /// Something is odd or was refused.
    Warn,
    /// What the daemon does, in few words.
    #[default]
    Info,
    /// Every request and attempt.
    Debug,
    /// Every decision.
    Trace,
}

impl LogLevel {
    /// All of them, by name.
    pub const NAMES: [(&'static str, LogLevel); 5] = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
}

/// A key for secrets at rest. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey(Zeroizing<[u8; EncryptionKey::BYTES]>);

impl EncryptionKey {
    /// The length of a key, in bytes.
    pub const BYTES: usize = 32;

    /// Takes the key over.
    #[must_use]
    pub fn new(bytes: [u8; EncryptionKey::BYTES]) -> EncryptionKey {
        EncryptionKey(Zeroizing::new(bytes))
    }

    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &[u8; EncryptionKey::BYTES] {
        &self.0
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey(…)")
    }
}

/// A proxy for deliveries, spoken to in plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where it is.
    pub origin: Origin,
    /// `user:password` for Basic authentication, percent-decoded.
    pub credentials: Option<Secret>,
}

/// A project that the configuration makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectEntry {
    /// Its id, if it matters.
    pub id: Option<ProjectId>,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its public key, by which it is found again.
    pub public_key: String,
    /// Its secret key.
    pub secret_key: Secret,
    /// Its settings.
    pub settings: ProjectSettings,
    /// Where the entry stands, for messages.
    pub place: Place,
}

/// A target with limits of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetEntry {
    /// Which target.
    pub origin: Origin,
    /// Attempts a second.
    pub rate_per_second: Option<u32>,
    /// Attempts at once, after a quiet time.
    pub burst: Option<u32>,
    /// Attempts under way at once.
    pub in_flight: Option<u32>,
    /// Where the entry stands, for messages.
    pub place: Place,
}

impl Config {
    /// A form to fill in. No value of it means anything until the table of settings was applied.
    pub(super) fn blank() -> Config {
        Config {
            server: Server {
                listen: SocketAddr::from(([0, 0, 0, 0], 0)),
                control_socket: PathBuf::new(),
                trusted_proxies: Vec::new(),
                connections_max: 0,
                header_timeout_ms: 0,
                body_timeout_ms: 0,
                idle_timeout_ms: 0,
                requests_per_connection_max: 0,
                client_rate_per_second: 0,
                client_burst: 0,
                auth_failures_per_minute: 0,
                streams_max: 0,
                stream_changes_max: 0,
                stream_heartbeat_ms: 0,
                drain_timeout_ms: 0,
            },
            store: Store {
                path: PathBuf::new(),
                cache_bytes: 0,
                encryption_keys: Vec::new(),
                retention_ms: 0,
                size_bytes_max: 0,
                free_bytes_min: 0,
                log_free_bytes_min: 0,
                log_headers_bytes_max: 0,
                log_body_bytes_max: 0,
            },
            delivery: Delivery {
                allow: Vec::new(),
                target_rate_per_second: 0,
                target_burst: 0,
                target_in_flight: 0,
                in_flight: 0,
                connect_timeout_ms: 0,
                attempt_timeout_ms: 0,
                response_body_bytes_max: 0,
                ca_files: Vec::new(),
                proxy: None,
                user_agent: String::new(),
                disable_failing_after_ms: None,
            },
            publish: Publish {
                event_bytes_max: 0,
                request_bytes_max: 0,
                events_per_request_max: 0,
            },
            sources: Sources { sns_confirm: false },
            metrics: Metrics { public: false },
            log: Log { format: LogFormat::Auto, level: LogLevel::Info },
            projects: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// The rules between settings that are broken.
    pub(super) fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let (connect, attempt) =
            (self.delivery.connect_timeout_ms, self.delivery.attempt_timeout_ms);
        if connect > attempt {
            let values = (show_duration(connect), show_duration(attempt));
            found.push(Contradiction::new(
                "delivery",
                "connect_timeout",
                "attempt_timeout",
                values,
            ));
        }
        let (event, request) = (self.publish.event_bytes_max, self.publish.request_bytes_max);
        if event > request {
            let values = (show_size(event as u64), show_size(request as u64));
            let keys = ("event_bytes_max", "request_bytes_max");
            found.push(Contradiction::new("publish", keys.0, keys.1, values));
        }
        found
    }
}

/// Two settings of a section of which the first must not be more than the second, and is.
pub(super) struct Contradiction {
    pub(super) section: &'static str,
    pub(super) greater: &'static str,
    pub(super) less: &'static str,
    pub(super) problem: Problem,
}

impl Contradiction {
    fn new(
        section: &'static str,
        greater: &'static str,
        less: &'static str,
        values: (String, String),
    ) -> Contradiction {
        let problem = Problem::Order {
            greater: format!("[{section}] {greater} = \"{}\"", values.0),
            less: format!("[{section}] {less} = \"{}\"", values.1),
        };
        Contradiction { section, greater, less, problem }
    }
}
