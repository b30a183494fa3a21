//! Attempts: one request each, and what came of it.
//!
//! Owns the record of an attempt and the classes of failure, from the socket up. Must never judge
//! whether to try again.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::time::Wall;

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A complete status line and headers arrived in time.
    Status(u16),
    /// They did not.
    Failure(Failure),
}

/// Why no answer arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Failure {
    /// The name does not resolve.
    Dns,
    /// The resolver gave no answer in time.
    DnsTimeout,
    /// An address of the target is not allowed.
    AddressForbidden,
    /// The target refused the connection.
    ConnectRefused,
    /// The connection could not be made: no route, reset, or another error.
    ConnectFailed,
    /// The connection was not made in time.
    ConnectTimeout,
    /// The certificate is not valid for this target.
    TlsCertificate,
    /// The target speaks no TLS version or cipher that we speak.
    TlsVersion,
    /// The TLS handshake failed otherwise.
    TlsHandshake,
    /// The TLS handshake was not done in time.
    TlsTimeout,
    /// The request was not sent, or not answered, within the time of an attempt.
    Timeout,
    /// The connection ended before the answer was complete.
    ConnectionClosed,
    /// The answer is not HTTP/1.
    ResponseMalformed,
    /// The answer's headers are too many or too large.
    ResponseTooLarge,
    /// The target sent one interim (1xx) answer after another.
    TooManyInterim,
    /// The stored request can't be sent, for example for a header that is none.
    RequestInvalid,
    /// The daemon stopped while the attempt was under way. Not the target's fault: not counted.
    Interrupted,
    /// The process has no file descriptor or port left. Not the target's fault: not counted.
    OutOfResources,
}

impl Failure {
    /// The word for it in the API, the log and the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Dns => "dns",
            Failure::DnsTimeout => "dns_timeout",
            Failure::AddressForbidden => "address_forbidden",
            Failure::ConnectRefused => "connect_refused",
            Failure::ConnectFailed => "connect_failed",
            Failure::ConnectTimeout => "connect_timeout",
            Failure::TlsCertificate => "tls_certificate",
            Failure::TlsVersion => "tls_version",
            Failure::TlsHandshake => "tls_handshake",
            Failure::TlsTimeout => "tls_timeout",
            Failure::Timeout => "timeout",
            Failure::ConnectionClosed => "connection_closed",
            Failure::ResponseMalformed => "response_malformed",
            Failure::ResponseTooLarge => "response_too_large",
            Failure::TooManyInterim => "too_many_interim",
            Failure::RequestInvalid => "request_invalid",
            Failure::Interrupted => "interrupted",
            Failure::OutOfResources => "out_of_resources",
        }
    }

    /// Whether the target could not be reached at all: its connections are in question, not one
    /// webhook's answers.
    #[must_use]
    pub fn is_connection(self) -> bool {
        matches!(
            self,
            Failure::Dns
                | Failure::DnsTimeout
                | Failure::AddressForbidden
                | Failure::ConnectRefused
                | Failure::ConnectFailed
                | Failure::ConnectTimeout
                | Failure::TlsCertificate
                | Failure::TlsVersion
                | Failure::TlsHandshake
                | Failure::TlsTimeout
                | Failure::Timeout
        )
    }

    /// Whether the attempt says nothing about the target, and so uses up no slot of its table.
    #[must_use]
    pub fn is_ours(self) -> bool {
        matches!(self, Failure::Interrupted | Failure::OutOfResources)
    }
}

/// How long the phases of a request took, in milliseconds; `None` where it did not get there or
/// needed none (a kept connection resolves and connects nothing).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// Name resolution.
    pub dns_ms: Option<u32>,
    /// TCP connect.
    pub connect_ms: Option<u32>,
    /// TLS handshake.
    pub tls_ms: Option<u32>,
    /// From the request's first byte to the answer's headers.
    pub first_byte_ms: Option<u32>,
    /// All of it.
    pub total_ms: u32,
}

/// One request of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number within the delivery, from 1.
    pub number: u32,
    /// When it started.
    pub started: Wall,
    /// The address that was dialled.
    pub address: Option<SocketAddr>,
    /// How long its phases took.
    pub phases: Phases,
    /// What came of it.
    pub outcome: Outcome,
    /// When the next one is due, if there will be one.
    pub next_due: Option<Wall>,
}
