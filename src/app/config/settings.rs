//! The table of settings: every key with its type, bounds, default and sentence.
//!
//! Owns the one list from which parsing, names of variables, suggestions, defaults, documentation
//! and `config default` derive. Must never read anything: it is data and setters.

use std::path::PathBuf;

use super::checked::{Config, EncryptionKey, LogFormat, LogLevel};
use super::error::ValueError;
use super::words;
use crate::model::ids::ProjectId;
use crate::model::project::ProjectSettings;
use crate::model::secret::Secret;
use crate::model::target::Origin;
use crate::model::time::{DAY_MS, HOUR_MS, MINUTE_MS};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// What a setting takes, and where it goes.
pub(super) enum Kind<T: 'static> {
    /// A text of a certain form.
    Text { wants: &'static str, set: fn(&mut T, &str) -> Result<(), ValueError> },
    /// A list of texts of a certain form; `add` is called for each.
    List { wants: &'static str, empty_ok: bool, add: fn(&mut T, &str) -> Result<(), ValueError> },
    /// A path.
    Path(fn(&mut T, PathBuf)),
    /// A list of paths; the setter is called for each.
    Paths(fn(&mut T, PathBuf)),
    /// A whole number.
    Count { min: u32, max: u32, set: fn(&mut T, u32) },
    /// A time, in milliseconds.
    Duration { min_ms: u64, max_ms: u64, set: fn(&mut T, u64) },
    /// A size, in bytes.
    Size { min_bytes: usize, max_bytes: usize, set: fn(&mut T, usize) },
    /// True or false.
    Flag(fn(&mut T, bool)),
}

/// One key.
pub(super) struct Setting<T: 'static> {
    pub(super) key: &'static str,
    pub(super) kind: Kind<T>,
    /// The default as one would write it, lists with commas; empty where there is none.
    pub(super) default: &'static str,
    /// What `config default` shows where there is no default.
    pub(super) example: &'static str,
    /// Never shown, and has a `_file` twin.
    pub(super) secret: bool,
    pub(super) doc: &'static str,
}

/// A section of single settings.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) settings: &'static [Setting<Config>],
}

/// A `[[project]]` on its way.
#[derive(Default)]
pub(super) struct ProjectDraft {
    pub(super) id: Option<ProjectId>,
    pub(super) name: Option<String>,
    pub(super) public_key: Option<String>,
    pub(super) secret_key: Option<Secret>,
    pub(super) settings: ProjectSettings,
}

/// A `[[target]]` on its way.
#[derive(Default)]
pub(super) struct TargetDraft {
    pub(super) origin: Option<Origin>,
    pub(super) rate_per_second: Option<u32>,
    pub(super) burst: Option<u32>,
    pub(super) in_flight: Option<u32>,
}

/// Sections of single settings.
pub(super) static SECTIONS: [Section; 7] = [
    Section {
        name: "server",
        doc: "HTTP in: the API that applications talk to.",
        settings: &SERVER,
    },
    Section { name: "store", doc: "The data directory.", settings: &STORE },
    Section { name: "delivery", doc: "HTTP out: what is sent to targets.", settings: &DELIVERY },
    Section { name: "publish", doc: "What a publisher may send.", settings: &PUBLISH },
    Section { name: "sources", doc: "Events that other systems bring in.", settings: &SOURCES },
    Section { name: "metrics", doc: "Figures for Prometheus.", settings: &METRICS },
    Section { name: "log", doc: "What is written to stderr.", settings: &LOG },
];

/// What `[[project]]` is for.
pub(super) const PROJECT_DOC: &str = "A project that is created, or updated, at every start. \
     Repeat the block for each. Without any, the first start makes one and shows its keys.";
/// What `[[target]]` is for.
pub(super) const TARGET_DOC: &str =
    "Limits of one target, instead of those of [delivery]. Repeat the block for each.";

const fn setting<T>(
    key: &'static str,
    kind: Kind<T>,
    default: &'static str,
    doc: &'static str,
) -> Setting<T> {
    Setting { key, kind, default, example: "", secret: false, doc }
}

const fn optional<T>(
    key: &'static str,
    kind: Kind<T>,
    example: &'static str,
    doc: &'static str,
) -> Setting<T> {
    Setting { key, kind, default: "", example, secret: false, doc }
}

const fn secret<T>(
    key: &'static str,
    kind: Kind<T>,
    example: &'static str,
    doc: &'static str,
) -> Setting<T> {
    Setting { key, kind, default: "", example, secret: true, doc }
}

const fn count<T>(min: u32, max: u32, set: fn(&mut T, u32)) -> Kind<T> {
    Kind::Count { min, max, set }
}

const fn duration<T>(min_ms: u64, max_ms: u64, set: fn(&mut T, u64)) -> Kind<T> {
    Kind::Duration { min_ms, max_ms, set }
}

const fn size<T>(min_bytes: usize, max_bytes: usize, set: fn(&mut T, usize)) -> Kind<T> {
    Kind::Size { min_bytes, max_bytes, set }
}

const fn text<T>(wants: &'static str, set: fn(&mut T, &str) -> Result<(), ValueError>) -> Kind<T> {
    Kind::Text { wants, set }
}

const fn list<T>(wants: &'static str, add: fn(&mut T, &str) -> Result<(), ValueError>) -> Kind<T> {
    Kind::List { wants, empty_ok: true, add }
}

static SERVER: [Setting<Config>; 15] = [
    setting(
        "listen",
        text("an address and a port", |c, v| set(&mut c.server.listen, words::address(v))),
        "127.0.0.1:8080",
        "Where the API listens.",
    ),
    optional(
        "control_socket",
        Kind::Path(|c, v| c.server.control_socket = v),
        "/run/postrider/control.sock",
        "The socket through which the command line talks to the daemon, by default control.sock \
         in the data directory.",
    ),
    optional(
        "trusted_proxies",
        list("a list of networks", |c, v| add(&mut c.server.trusted_proxies, words::network(v))),
        "127.0.0.1/32,10.0.0.0/8",
        "Reverse proxies whose X-Forwarded-For is believed, as networks.",
    ),
    setting(
        "connections_max",
        count(1, 1_000_000, |c, v| c.server.connections_max = v),
        "1024",
        "Connections open at once; more wait to be accepted.",
    ),
    setting(
        "header_timeout",
        duration(100, 5 * MINUTE_MS, |c, v| c.server.header_timeout_ms = v),
        "10s",
        "How long a request's head may take.",
    ),
    setting(
        "body_timeout",
        duration(100, HOUR_MS, |c, v| c.server.body_timeout_ms = v),
        "30s",
        "How long a request's body may take.",
    ),
    setting(
        "idle_timeout",
        duration(100, HOUR_MS, |c, v| c.server.idle_timeout_ms = v),
        "60s",
        "How long a connection may stay open between two requests.",
    ),
    setting(
        "requests_per_connection_max",
        count(1, 1_000_000_000, |c, v| c.server.requests_per_connection_max = v),
        "10000",
        "Requests after which a connection is closed.",
    ),
    setting(
        "client_rate_per_second",
        count(1, 1_000_000, |c, v| c.server.client_rate_per_second = v),
        "200",
        "Requests a second that one client address may make.",
    ),
    setting(
        "client_burst",
        count(1, 1_000_000, |c, v| c.server.client_burst = v),
        "400",
        "Requests that one client address may make at once, after a quiet time.",
    ),
    setting(
        "auth_failures_per_minute",
        count(1, 1_000_000, |c, v| c.server.auth_failures_per_minute = v),
        "60",
        "Failed authentications a minute, after which a client address is refused for a while.",
    ),
    setting(
        "streams_max",
        count(1, 10_000, |c, v| c.server.streams_max = v),
        "64",
        "Clients that may follow /deliveries/stream/ at once.",
    ),
    setting(
        "stream_changes_max",
        count(16, 1_000_000, |c, v| c.server.stream_changes_max = v),
        "32768",
        "Changes of deliveries kept in memory for streams that come back, about 100 bytes each.",
    ),
    setting(
        "stream_heartbeat",
        duration(100, HOUR_MS, |c, v| c.server.stream_heartbeat_ms = v),
        "15s",
        "How often a stream that has nothing to tell sends a comment, for proxies between.",
    ),
    setting(
        "drain_timeout",
        duration(0, 10 * MINUTE_MS, |c, v| c.server.drain_timeout_ms = v),
        "25s",
        "How long a stop waits for requests and deliveries under way.",
    ),
];

static STORE: [Setting<Config>; 9] = [
    setting(
        "path",
        Kind::Path(|c, v| c.store.path = v),
        "postrider-data",
        "The data directory. Under systemd with StateDirectory= it is that directory by default.",
    ),
    setting(
        "cache",
        size(MIB, 64 * GIB, |c, v| c.store.cache_bytes = v),
        "8MiB",
        "Memory that caches pages of the store.",
    ),
    secret(
        "encryption_keys",
        list("a list of keys", |c, v| {
            add::<EncryptionKey>(&mut c.store.encryption_keys, words::encryption_key(v))
        }),
        "/etc/postrider/encryption_keys",
        "Keys that encrypt signing secrets and secret keys in the store, each 32 bytes in base64 \
         or hex: the first one encrypts, all of them decrypt. Without any, the daemon makes one. \
         A systemd credential named encryption_keys is read by itself.",
    ),
    setting(
        "retention",
        duration(MINUTE_MS, 3650 * DAY_MS, |c, v| c.store.retention_ms = v),
        "7d",
        "How long events are kept after their last delivery has finished.",
    ),
    setting(
        "size_max",
        size(64 * MIB, 65_536 * GIB, |c, v| c.store.size_bytes_max = v),
        "2GiB",
        "How much payloads and attempts may take on the disk; the index comes to about a tenth of \
         it. Beyond this, the oldest finished events go, whatever their age. Pending deliveries \
         always stay; if they alone take so much, new events get 503.",
    ),
    setting(
        "free_min",
        size(0, 1_024 * GIB, |c, v| c.store.free_bytes_min = v),
        "256MiB",
        "With less free room on the disk, new events get 503; what is pending is still delivered.",
    ),
    setting(
        "log_free_min",
        size(0, 1_024 * GIB, |c, v| c.store.log_free_bytes_min = v),
        "512MiB",
        "With less free room on the disk, the attempt log goes without headers and bodies of \
         responses.",
    ),
    setting(
        "log_headers_max",
        size(0, 16 * KIB, |c, v| c.store.log_headers_bytes_max = v),
        "1KiB",
        "How much of a response's headers goes into the attempt log; 0 keeps none.",
    ),
    setting(
        "log_body_max",
        size(0, 64 * KIB, |c, v| c.store.log_body_bytes_max = v),
        "1KiB",
        "How much of a response's body goes into the attempt log, of what [delivery] \
         response_body_max lets in; 0 keeps none.",
    ),
];

static DELIVERY: [Setting<Config>; 12] = [
    optional(
        "allow",
        list("a list of networks and hosts", |c, v| add(&mut c.delivery.allow, words::allowed(v))),
        "10.20.0.0/16,hooks.internal,*.lan",
        "Private networks, addresses and hosts that may be targets; others that are not public \
         are refused.",
    ),
    setting(
        "target_rate_per_second",
        count(1, 1_000_000, |c, v| c.delivery.target_rate_per_second = v),
        "500",
        "Attempts a second to one target (scheme, host and port).",
    ),
    setting(
        "target_burst",
        count(1, 1_000_000, |c, v| c.delivery.target_burst = v),
        "1000",
        "Attempts to one target at once, after a quiet time.",
    ),
    setting(
        "target_in_flight",
        count(1, 100_000, |c, v| c.delivery.target_in_flight = v),
        "32",
        "Attempts to one target under way at once.",
    ),
    setting(
        "in_flight",
        count(1, 100_000, |c, v| c.delivery.in_flight = v),
        "1024",
        "Attempts under way at once, to all targets together.",
    ),
    setting(
        "connect_timeout",
        duration(10, 5 * MINUTE_MS, |c, v| c.delivery.connect_timeout_ms = v),
        "10s",
        "How long a connection to a target may take, TLS included.",
    ),
    setting(
        "attempt_timeout",
        duration(10, 10 * MINUTE_MS, |c, v| c.delivery.attempt_timeout_ms = v),
        "60s",
        "How long a whole attempt may take, from the look-up of the name to the last byte.",
    ),
    setting(
        "response_body_max",
        size(0, 16 * MIB, |c, v| c.delivery.response_body_bytes_max = v),
        "16KiB",
        "How much of a response's body is read.",
    ),
    optional(
        "ca_files",
        Kind::Paths(|c, v| c.delivery.ca_files.push(v)),
        "/etc/ssl/private-ca.pem",
        "Certificate authorities that are trusted besides those of the system, as PEM files.",
    ),
    secret(
        "proxy",
        text("a URL", |c, v| set(&mut c.delivery.proxy, words::proxy(v))),
        "/etc/postrider/proxy",
        "An HTTP proxy through which deliveries go, http://[user:password@]host:port. Variables \
         such as http_proxy are not read.",
    ),
    setting(
        "user_agent",
        text("a text", |c, v| set(&mut c.delivery.user_agent, words::user_agent(v))),
        concat!("postrider/", env!("CARGO_PKG_VERSION")),
        "The User-Agent of deliveries.",
    ),
    optional(
        "disable_failing_after",
        duration(HOUR_MS, 365 * DAY_MS, |c, v| c.delivery.disable_failing_after_ms = Some(v)),
        "14d",
        "Disable a webhook when no attempt has succeeded for so long. By default it is kept, and \
         tried, for ever.",
    ),
];

static PUBLISH: [Setting<Config>; 3] = [
    setting(
        "event_bytes_max",
        size(KIB, 16 * MIB, |c, v| c.publish.event_bytes_max = v),
        "1MiB",
        "The largest event.",
    ),
    setting(
        "request_bytes_max",
        size(KIB, 256 * MIB, |c, v| c.publish.request_bytes_max = v),
        "16MiB",
        "The largest request.",
    ),
    setting(
        "events_per_request_max",
        count(1, 100_000, |c, v| c.publish.events_per_request_max = v),
        "1000",
        "Most events in one request.",
    ),
];

static SOURCES: [Setting<Config>; 1] = [setting(
    "sns_confirm",
    Kind::Flag(|c, v| c.sources.sns_confirm = v),
    "false",
    "Whether topics of Amazon SNS that ask for it are confirmed, at hosts of SNS alone.",
)];

static METRICS: [Setting<Config>; 1] = [setting(
    "public",
    Kind::Flag(|c, v| c.metrics.public = v),
    "false",
    "Whether GET /metrics needs no operator token.",
)];

static LOG: [Setting<Config>; 2] = [
    setting(
        "format",
        text("a text", |c, v| {
            let wants = "one of \"auto\", \"pretty\", \"json\", \"journald\"";
            set(&mut c.log.format, words::choice(v, &LogFormat::NAMES, wants))
        }),
        "auto",
        "auto, pretty, json or journald; auto is pretty on a terminal, journald's under systemd, \
         and JSON otherwise.",
    ),
    setting(
        "level",
        text("a text", |c, v| {
            let wants = "one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"";
            set(&mut c.log.level, words::choice(v, &LogLevel::NAMES, wants))
        }),
        "info",
        "error, warn, info, debug or trace.",
    ),
];

/// The keys of `[[project]]`.
pub(super) static PROJECT: [Setting<ProjectDraft>; 8] = [
    optional(
        "id",
        count(1, i32::MAX as u32, |p, v| p.id = ProjectId::new(v)),
        "1",
        "Its id; by default the next free one.",
    ),
    optional(
        "name",
        text("a text", |p, v| set_some(&mut p.name, words::name(v))),
        "Shop",
        "What people call it.",
    ),
    optional(
        "public_key",
        text("a key", |p, v| set_some(&mut p.public_key, words::key(v))),
        "demopublickey",
        "The key that names it in requests. Required.",
    ),
    secret(
        "secret_key",
        text("a key", |p, v| set_some(&mut p.secret_key, words::key(v).map(Secret::new))),
        "/etc/postrider/demo_secret_key",
        "The key that proves it. Required, in one of its two forms.",
    ),
    optional(
        "cdn_base",
        text("a URL", |p, v| set_some(&mut p.settings.cdn_base, words::cdn_base(v))),
        "https://ucarecdn.com",
        "Base URL for the files of events that come without one.",
    ),
    setting(
        "auto_store",
        Kind::Flag(|p, v| p.settings.auto_store = v),
        "false",
        "What GET /project/ shows as autostore_enabled.",
    ),
    optional(
        "event_types",
        Kind::List {
            wants: "a list of event names",
            empty_ok: false,
            add: |p, v| add(p.settings.event_types.get_or_insert_default(), words::event_name(v)),
        },
        "file.uploaded,order.paid",
        "The only events that may be published; by default any.",
    ),
    optional(
        "allow",
        list("a list of networks and hosts", |p, v| add(&mut p.settings.allow, words::allowed(v))),
        "10.20.0.0/16",
        "As [delivery] allow, for this project alone.",
    ),
];

/// The keys of `[[target]]`.
pub(super) static TARGET: [Setting<TargetDraft>; 4] = [
    optional(
        "origin",
        text("an origin", |t, v| set_some(&mut t.origin, words::origin(v))),
        "https://hooks.example.com",
        "Scheme, host and port. Required.",
    ),
    optional(
        "rate_per_second",
        count(1, 1_000_000, |t, v| t.rate_per_second = Some(v)),
        "50",
        "Attempts a second.",
    ),
    optional(
        "burst",
        count(1, 1_000_000, |t, v| t.burst = Some(v)),
        "100",
        "Attempts at once, after a quiet time.",
    ),
    optional(
        "in_flight",
        count(1, 100_000, |t, v| t.in_flight = Some(v)),
        "4",
        "Attempts under way at once.",
    ),
];

fn set<V>(field: &mut V, value: Result<V, ValueError>) -> Result<(), ValueError> {
    *field = value?;
    Ok(())
}

fn set_some<V>(field: &mut Option<V>, value: Result<V, ValueError>) -> Result<(), ValueError> {
    *field = Some(value?);
    Ok(())
}

fn add<V>(list: &mut Vec<V>, value: Result<V, ValueError>) -> Result<(), ValueError> {
    list.push(value?);
    Ok(())
}

/// The name of a setting's variable.
pub(super) fn variable(section: &str, key: &str) -> String {
    format!("POSTRIDER_{}_{}", section.to_ascii_uppercase(), key.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_also_as_variables_and_sentences_end() {
        let mut names = BTreeSet::new();
        for section in &SECTIONS {
            for setting in section.settings {
                assert!(names.insert(variable(section.name, setting.key)), "{}", setting.key);
                if setting.secret {
                    let twin = format!("{}_file", setting.key);
                    assert!(names.insert(variable(section.name, &twin)), "{twin}");
                }
                assert!(setting.doc.ends_with('.'), "{}", setting.doc);
                assert!(setting.default.is_empty() != setting.example.is_empty());
            }
        }
    }
}
