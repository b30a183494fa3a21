//! Net: the port to the targets. One attempt goes out, one answer or one class of failure returns.
//!
//! Owns name resolution, connections and their reuse, TLS, and every limit of a request: one
//! deadline from the first lookup to the last byte, caps on what is read, and the check of every
//! address at every connect. What was checked is what is dialled. Must never try an attempt again
//! (a kept connection that turns out dead is the one exception), follow a redirect, decompress,
//! keep cookies, or read a proxy from the environment.

mod attempt;
mod connect;
mod deadline;
mod exchange;
mod pool;
mod proxy;
mod resolve;
mod stream;
mod tls;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use thiserror::Error;

use crate::logic::address::{AllowList, Refused};
use crate::model::attempt::{Outcome, Phases};
use crate::model::secret::Secret;
use crate::model::target::{Origin, Scheme};
use crate::model::time::{MINUTE_MS, SECOND_MS};

use connect::Dialler;
use pool::Pool;

pub use resolve::{Resolve, ResolveError, Resolved, SystemResolver};

/// Most name lookups at once: each holds a thread until the system's resolver gives up.
pub const LOOKUPS_MAX: usize = 64;
/// Most headers of an answer.
pub const RESPONSE_HEADERS_MAX: usize = 64;
/// Largest status line with headers, and what is buffered of a body before it is looked at.
pub const RESPONSE_BUFFER_BYTES_MAX: usize = 64 * 1_024;
/// Most bytes of an answer's header names and values that are handed back.
pub const STORED_HEADER_BYTES_MAX: usize = 16 * 1_024;
/// Most interim (1xx) answers to one request.
pub const INTERIM_MAX: u32 = 16;
/// Most bytes of `Retry-After` that are handed back.
pub const RETRY_AFTER_BYTES_MAX: usize = 64;
/// Longest wait for a resolver when a target is checked without an attempt, in milliseconds.
pub const CHECK_TARGET_MS_MAX: u64 = 2 * SECOND_MS;

/// How the port behaves; the same for all targets.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// What the address check lets through, for all projects.
    pub allow: AllowList,
    /// PEM files with certificate authorities that are trusted beside the platform's.
    pub ca_files: Vec<PathBuf>,
    /// An HTTP proxy that everything goes through; then it is the proxy that resolves and dials,
    /// and only names and literal addresses are checked here.
    pub proxy: Option<Proxy>,
    /// Longest name resolution, in milliseconds.
    pub dns_timeout_ms: u64,
    /// Longest TCP connect, and longest TLS handshake, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest attempt, from resolution to the last byte, in milliseconds.
    pub attempt_timeout_ms: u64,
    /// Most bytes of a body that are read and handed back.
    pub response_bytes_max: usize,
    /// How long a connection may be kept without use, in milliseconds. Bounds how long a name may
    /// point elsewhere before that is noticed.
    pub idle_ms_max: u64,
    /// Most unused connections to one target.
    pub idle_per_target_max: usize,
    /// Most unused connections at all.
    pub idle_total_max: usize,
}

/// An HTTP proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where it is; spoken to in plain HTTP.
    pub origin: Origin,
    /// `user:password` for Basic authentication.
    pub credentials: Option<Secret>,
}

impl Default for NetConfig {
    fn default() -> NetConfig {
        NetConfig {
            allow: AllowList::default(),
            ca_files: Vec::new(),
            proxy: None,
            dns_timeout_ms: 5 * SECOND_MS,
            connect_timeout_ms: 10 * SECOND_MS,
            attempt_timeout_ms: MINUTE_MS,
            response_bytes_max: 16 * 1_024,
            idle_ms_max: MINUTE_MS,
            idle_per_target_max: 32,
            idle_total_max: 1_024,
        }
    }
}

/// One POST, rendered and signed.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where it goes.
    pub origin: Origin,
    /// What it asks for, as parsed.
    pub path_and_query: String,
    /// All headers but `Host`, `Content-Length` and what belongs to the connection.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The bytes that were signed.
    pub body: Bytes,
    /// What the address check lets through for its project.
    pub allow: Arc<AllowList>,
    /// The one address that is let through for its webhook, and reached without a proxy.
    pub listener: Option<SocketAddr>,
}

/// A request as it goes over the wire, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Its method.
    pub method: &'static str,
    /// Its headers in order, with those of the connection.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Request {
    /// How it looks on the wire to its target; `None` if it can't be sent.
    #[must_use]
    pub fn wire(&self) -> Option<Wire> {
        attempt::wire(self)
    }
}

/// What came of a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// A status, or why there is none.
    pub outcome: Outcome,
    /// The address that was dialled last, a proxy's if there is one.
    pub address: Option<SocketAddr>,
    /// How long it took.
    pub phases: Phases,
    /// The answer's headers, as far as [`STORED_HEADER_BYTES_MAX`] goes.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The answer's body as it was sent, as far as it was read.
    pub body: Vec<u8>,
    /// Whether the body did not end where `body` does: it was too long, too slow or cut off.
    pub body_truncated: bool,
    /// The `Retry-After` header, at most [`RETRY_AFTER_BYTES_MAX`] of it.
    pub retry_after: Option<String>,
    /// With `AddressForbidden`: what was forbidden.
    pub refused: Option<Refused>,
}

/// Why the port can't be opened.
#[derive(Debug, Error)]
pub enum NetError {
    /// A file of certificate authorities can't be read.
    #[error("can't read certificates from {}: {source}", path.display())]
    CaFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A file of certificate authorities holds none.
    #[error("no certificate in {}", path.display())]
    CaFileEmpty {
        /// Which.
        path: PathBuf,
    },
    /// A configured certificate can't be trusted.
    #[error("can't use a certificate of {}: {source}", path.display())]
    CaInvalid {
        /// Where it stands.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// TLS can't be set up.
    #[error("can't set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The proxy is to be spoken to in TLS.
    #[error("the proxy's URL has to start with http://")]
    ProxyScheme,
}

/// The port to the targets.
pub struct Net {
    config: NetConfig,
    dialler: Dialler,
    pool: Arc<Pool>,
}

impl Net {
    /// Opens the port: reads the certificates that it trusts.
    pub fn new(config: NetConfig, resolver: Arc<dyn Resolve>) -> Result<Net, NetError> {
        if config.proxy.as_ref().is_some_and(|proxy| proxy.origin.scheme != Scheme::Http) {
            return Err(NetError::ProxyScheme);
        }
        let tls = tls::client_config(&config.ca_files)?;
        let dialler = Dialler::new(&config, resolver, tls);
        let pool = Pool::new(config.idle_ms_max, config.idle_per_target_max, config.idle_total_max);
        Ok(Net { config, dialler, pool })
    }

    /// Sends one request and reads its answer, within the limits. Dropping the future ends it.
    pub fn attempt(&self, request: Request) -> impl Future<Output = Response> + Send + '_ {
        attempt::attempt(self, request)
    }

    /// Closes the unused connections to a target.
    pub fn drop_idle(&self, origin: &Origin) {
        self.pool.drop_target(origin);
    }

    /// Checks a target before anything is sent to it. A name that does not resolve now is
    /// accepted: it is checked again at every connect.
    pub async fn check_target(&self, origin: &Origin, allow: &AllowList) -> Result<(), Refused> {
        attempt::check_target(self, origin, allow).await
    }
}
