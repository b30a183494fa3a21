//! Attempts: one request each, and what came of it.
//!
//! Owns the record of an attempt, the classes of failure, from the socket up, and the words for all
//! of it. Must never judge whether to try again.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::octets;
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
    /// All of them.
    pub const ALL: [Failure; 18] = [
        Failure::Dns,
        Failure::DnsTimeout,
        Failure::AddressForbidden,
        Failure::ConnectRefused,
        Failure::ConnectFailed,
        Failure::ConnectTimeout,
        Failure::TlsCertificate,
        Failure::TlsVersion,
        Failure::TlsHandshake,
        Failure::TlsTimeout,
        Failure::Timeout,
        Failure::ConnectionClosed,
        Failure::ResponseMalformed,
        Failure::ResponseTooLarge,
        Failure::TooManyInterim,
        Failure::RequestInvalid,
        Failure::Interrupted,
        Failure::OutOfResources,
    ];

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

/// What an outcome means for its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// 2xx: it arrived.
    Delivered,
    /// 410: the webhook is to be disabled.
    Gone,
    /// To be tried again by its table, as long as that lasts; `connection` if the target could not
    /// be reached at all.
    Retry {
        /// Whether the target's connections are in question, rather than this lane's answers.
        connection: bool,
    },
    /// Not the target's fault: to be tried again soon, without using up a slot. Not in the log.
    Again,
}

impl Verdict {
    /// The word for it in the API and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Delivered => "delivered",
            Verdict::Gone => "gone",
            Verdict::Retry { .. } => "retry",
            Verdict::Again => "again",
        }
    }
}

/// Why an attempt got its verdict: the class of its answer, or why there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// 2xx.
    Success,
    /// 3xx: redirects are never followed.
    Redirect,
    /// 410.
    Gone,
    /// 429.
    TooManyRequests,
    /// Any other 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// A status of no class that ends a request.
    StatusUnknown,
    /// No answer arrived.
    Failure(Failure),
}

impl Reason {
    /// The word for it in the API and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Success => "success",
            Reason::Redirect => "redirect",
            Reason::Gone => "gone",
            Reason::TooManyRequests => "too_many_requests",
            Reason::ClientError => "client_error",
            Reason::ServerError => "server_error",
            Reason::StatusUnknown => "status_unknown",
            Reason::Failure(failure) => failure.as_str(),
        }
    }
}

impl Outcome {
    /// Its class.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Outcome::Status(200..=299) => Reason::Success,
            Outcome::Status(300..=399) => Reason::Redirect,
            Outcome::Status(410) => Reason::Gone,
            Outcome::Status(429) => Reason::TooManyRequests,
            Outcome::Status(400..=499) => Reason::ClientError,
            Outcome::Status(500..=599) => Reason::ServerError,
            Outcome::Status(_) => Reason::StatusUnknown,
            Outcome::Failure(failure) => Reason::Failure(failure),
        }
    }
}

/// Which last answers are meant: of one status, of one class, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastCode {
    /// This status.
    Exactly(u16),
    /// One of this hundred: 500 for 5xx.
    Class(u16),
    /// No answer arrived.
    NoAnswer,
}

impl LastCode {
    /// The forms of it, for who wrote another.
    pub const FORMS: &'static str =
        "a status such as 503, a class such as 5xx, or none for no answer";

    /// Reads `503`, `5xx` or `none`.
    #[must_use]
    pub fn parse(text: &str) -> Option<LastCode> {
        if text == "none" {
            return Some(LastCode::NoAnswer);
        }
        let &[first @ b'1'..=b'9', second, third] = text.as_bytes() else { return None };
        if (second, third) == (b'x', b'x') {
            return (first <= b'5').then(|| LastCode::Class(u16::from(first - b'0') * 100));
        }
        let is_number = second.is_ascii_digit() && third.is_ascii_digit();
        is_number.then(|| text.parse().ok().map(LastCode::Exactly))?
    }

    /// Whether an attempt that came to this is meant.
    #[must_use]
    pub fn is_of(self, outcome: Outcome) -> bool {
        match (self, outcome) {
            (LastCode::Exactly(wanted), Outcome::Status(status)) => status == wanted,
            (LastCode::Class(class), Outcome::Status(status)) => status / 100 * 100 == class,
            (LastCode::NoAnswer, Outcome::Failure(_)) => true,
            _ => false,
        }
    }
}

impl fmt::Display for LastCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastCode::Exactly(status) => write!(f, "{status}"),
            LastCode::Class(class) => write!(f, "{}xx", class / 100),
            LastCode::NoAnswer => f.write_str("none"),
        }
    }
}

/// What set the instant of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NextWhy {
    /// The next slot of the retry table, with its jitter.
    Slot,
    /// The target's `Retry-After`, which lies behind that slot.
    RetryAfter,
    /// The slot had passed already when the attempt ended: it is made up for at once.
    Overdue,
    /// The end of the 72 hours: nothing is planned behind it.
    Deadline,
}

impl NextWhy {
    /// The word for it in the API and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NextWhy::Slot => "slot",
            NextWhy::RetryAfter => "retry_after",
            NextWhy::Overdue => "overdue",
            NextWhy::Deadline => "deadline",
        }
    }
}

/// How much of a part of an answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Its beginning: it was longer than what is kept, or was not read to its end.
    Truncated,
    /// Nothing, as the configuration says.
    Off,
    /// Nothing, for want of room on the disk.
    LowDisk,
}

impl Extent {
    /// The word for it in the API and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Extent::Whole => "whole",
            Extent::Truncated => "truncated",
            Extent::Off => "off",
            Extent::LowDisk => "low_disk",
        }
    }

    /// Whether there was something, and nothing is kept of it.
    #[must_use]
    pub fn is_omitted(self) -> bool {
        matches!(self, Extent::Off | Extent::LowDisk)
    }
}

/// A header of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderKept {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, whatever bytes it has.
    #[serde(with = "octets")]
    pub value: Vec<u8>,
}

/// What is kept of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseKept {
    /// Its headers in order, but for those that say nothing: see `logic::log`.
    pub headers: Vec<HeaderKept>,
    /// Whether these are all.
    pub headers_extent: Extent,
    /// Its body as it was sent, whatever bytes it has.
    #[serde(with = "octets")]
    pub body: Vec<u8>,
    /// Whether that is all of it.
    pub body_extent: Extent,
}

impl ResponseKept {
    /// How many bytes it holds, about.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let bytes = |header: &HeaderKept| header.name.len() + header.value.len();
        self.headers.iter().map(bytes).sum::<usize>() + self.body.len()
    }

    /// The same without what takes room; `why` is said of what was left out.
    #[must_use]
    pub fn omitted(&self, why: Extent) -> ResponseKept {
        let said = |extent, is_empty: bool| match extent {
            Extent::Whole | Extent::Truncated if !is_empty => why,
            extent => extent,
        };
        ResponseKept {
            headers: Vec::new(),
            headers_extent: said(self.headers_extent, self.headers.is_empty()),
            body: Vec::new(),
            body_extent: said(self.body_extent, self.body.is_empty()),
        }
    }
}

/// What shows a request again beside its event and its webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestMark {
    /// What it called itself.
    #[serde(with = "shared_text")]
    pub user_agent: Arc<str>,
    /// CRC-32C of the request as it was rendered: whether what is shown is what was sent.
    pub crc: u32,
}

/// One request of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number within the delivery, from 1.
    pub number: u32,
    /// When it started.
    pub started: Wall,
    /// The revision of the webhook by which it was made.
    pub revision: u64,
    /// What shows its request again; none if none was made.
    pub request: Option<RequestMark>,
    /// The address that was dialled.
    pub address: Option<SocketAddr>,
    /// How long its phases took.
    pub phases: Phases,
    /// What came of it.
    pub outcome: Outcome,
    /// What that meant. Its reason is the outcome's.
    pub verdict: Verdict,
    /// When the next one is due, if there will be one.
    pub next_due: Option<Wall>,
    /// Why then.
    pub next_why: Option<NextWhy>,
    /// What is kept of the answer, if one arrived.
    pub response: Option<Box<ResponseKept>>,
}

impl Attempt {
    /// Why it got its verdict.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.outcome.reason()
    }

    /// The same without what takes room of its answer.
    #[must_use]
    pub fn without_response(&self, why: Extent) -> Attempt {
        Attempt {
            number: self.number,
            started: self.started,
            revision: self.revision,
            request: self.request.clone(),
            address: self.address,
            phases: self.phases,
            outcome: self.outcome,
            verdict: self.verdict,
            next_due: self.next_due,
            next_why: self.next_why,
            response: self.response.as_ref().map(|kept| Box::new(kept.omitted(why))),
        }
    }
}

/// A text that is written as one, however many share it.
mod shared_text {
    use std::sync::Arc;

    use serde::de::{Deserialize, Deserializer};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        Ok(String::deserialize(from)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        for (text, want) in [
            ("503", Some(LastCode::Exactly(503))),
            ("100", Some(LastCode::Exactly(100))),
            ("5xx", Some(LastCode::Class(500))),
            ("none", Some(LastCode::NoAnswer)),
            ("6xx", None),
            ("0xx", None),
            ("50x", None),
            ("50", None),
            ("5030", None),
            ("+50", None),
            ("", None),
        ] {
            assert_eq!(LastCode::parse(text), want, "{text}");
            let shown = want.map(|code| code.to_string());
            assert_eq!(shown.as_deref(), want.map(|_| text));
        }
    }

    #[test]
    fn a_code_means_what_came_of_an_attempt() {
        let failed = Outcome::Failure(Failure::Dns);
        for (code, meant, others) in [
            ("503", &[Outcome::Status(503)][..], &[Outcome::Status(500), failed][..]),
            ("5xx", &[Outcome::Status(500), Outcome::Status(599)], &[Outcome::Status(499), failed]),
            ("none", &[failed], &[Outcome::Status(200)]),
        ] {
            let code = LastCode::parse(code).expect("a code");
            assert!(meant.iter().all(|outcome| code.is_of(*outcome)), "{code}");
            assert!(!others.iter().any(|outcome| code.is_of(*outcome)), "{code}");
        }
    }
}
