//! The built-in receiver of `dev` and `listen`.
//!
//! Owns what it answers and the line that it prints for each request, with every signature family
//! checked. Must never be reached from another machine: it listens on loopback.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::terminal::say;
use crate::clock;
use crate::dialect::object::Object;
use crate::http::body::{self, Body};
use crate::http::peer::Peer;
use crate::http::respond::{self, JSON, RequestId};
use crate::http::server::Service;
use crate::logic::address::AllowList;
use crate::logic::sign::{self, VerifyError};
use crate::model::attempt::Outcome;
use crate::model::event::EventName;
use crate::model::ids::EventId;
use crate::model::json::Json;
use crate::model::secret::Secret;
use crate::model::target::TargetUrl;
use crate::model::time::Wall;
use crate::net::{self, Net};

/// Largest body that is received, in bytes: an event and its envelope.
const BODY_BYTES_MAX: usize = 4 * 1_024 * 1_024;
const BODY_TIMEOUT_MS: u64 = 60_000;
/// How far a request's time may be off, in seconds; Standard Webhooks' own tolerance.
const TOLERANCE_S: u64 = 300;
/// Requests whose ids are remembered, to say that one came again.
const SEEN_MAX: usize = 1_000;
/// What a forwarded request does not take along: it belongs to the connection.
const NOT_FORWARDED: [&str; 6] =
    ["host", "content-length", "transfer-encoding", "connection", "expect", "accept-encoding"];

/// How a receiver behaves.
pub(crate) struct Behaviour {
    /// Signs what arrives.
    pub secret: Secret,
    /// Fail so many requests first.
    pub fail: u32,
    /// Answer with this instead of 200.
    pub status: Option<u16>,
    /// Wait before answering, in milliseconds.
    pub delay_ms: u64,
    /// Pass requests on to this URL.
    pub forward_to: Option<Forward>,
    /// Print JSON, one object a request.
    pub json: bool,
    /// Write bodies here.
    pub save: Option<PathBuf>,
}

/// Where requests are passed on to.
pub(crate) struct Forward {
    /// The URL.
    pub url: TargetUrl,
    /// The way there.
    pub net: Arc<Net>,
    /// It is the user's own machine: everything is allowed.
    pub allow: Arc<AllowList>,
}

/// A receiver.
pub(crate) struct Receiver {
    behaviour: Behaviour,
    fail: AtomicU32,
    received: watch::Sender<Received>,
    saved: AtomicU64,
    seen: Mutex<VecDeque<String>>,
}

/// How much was received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    /// Requests.
    pub requests: u64,
    /// Those that were answered with 2xx and whose signatures all verified.
    pub verified: u64,
}

/// What is known of a request.
struct Seen {
    event: String,
    event_id: String,
    delivery: String,
    attempt: String,
    repeated: bool,
    uploadcare: Option<Result<(), VerifyError>>,
    standard: Option<Result<(), VerifyError>>,
    age_ms: Option<u64>,
}

impl Receiver {
    pub(crate) fn new(behaviour: Behaviour) -> Receiver {
        let fail = AtomicU32::new(behaviour.fail);
        let received = watch::Sender::new(Received::default());
        Receiver { behaviour, fail, received, saved: AtomicU64::new(0), seen: Mutex::default() }
    }

    /// Fails the next requests.
    pub(crate) fn fail_next(&self, requests: u32) {
        self.fail.store(requests, Ordering::Relaxed);
    }

    /// Tells of every request.
    pub(crate) fn received(&self) -> watch::Receiver<Received> {
        self.received.subscribe()
    }

    async fn receive(&self, parts: Parts, body: Bytes) -> Response<Body> {
        let now = clock::now().wall;
        let mut seen = self.look(&parts.headers, &body, now);
        self.save(&body);
        if self.behaviour.delay_ms > 0 {
            clock::sleep(self.behaviour.delay_ms).await;
        }
        let response = self.respond(&parts, body).await;
        let status = response.status();
        // What was refused is expected again; what was taken is not.
        if status.is_success() {
            seen.repeated = self.remember(&seen.delivery);
        }
        self.print(&seen, status, now);
        let verified = status.is_success() && seen.is_verified();
        self.received.send_modify(|received| {
            received.requests += 1;
            received.verified += u64::from(verified);
        });
        response
    }

    async fn respond(&self, parts: &Parts, body: Bytes) -> Response<Body> {
        let failing = self
            .fail
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if failing.is_ok() {
            return respond::detail(StatusCode::INTERNAL_SERVER_ERROR, JSON, "told to fail");
        }
        if let Some(forward) = &self.behaviour.forward_to {
            return forward.pass_on(parts, body).await;
        }
        let status = self.behaviour.status.and_then(|code| StatusCode::from_u16(code).ok());
        respond::bytes(status.unwrap_or(StatusCode::OK), JSON, &b"{}"[..])
    }

    fn look(&self, headers: &HeaderMap, body: &[u8], now: Wall) -> Seen {
        let text = |name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let secret = &self.behaviour.secret;
        let has = |name: &str| headers.contains_key(name);
        let uploadcare = has(sign::UPLOADCARE_SIGNATURE)
            .then(|| sign::verify_uc(secret, &text(sign::UPLOADCARE_SIGNATURE), body));
        let standard = has(sign::WEBHOOK_SIGNATURE).then(|| {
            sign::verify_standard(
                secret,
                &text(sign::WEBHOOK_ID),
                &text(sign::WEBHOOK_TIMESTAMP),
                &text(sign::WEBHOOK_SIGNATURE),
                body,
                now,
                TOLERANCE_S,
            )
        });
        let event_id = text("postrider-event");
        let age_ms = EventId::parse(&event_id).map(|id| now.since(id.seq.wall()));
        let delivery = text(sign::WEBHOOK_ID);
        Seen {
            event: event_name(body),
            event_id,
            attempt: text("postrider-attempt"),
            repeated: false,
            delivery,
            uploadcare,
            standard,
            age_ms,
        }
    }

    /// Remembers a delivery, and says whether it came before.
    fn remember(&self, delivery: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().any(|known| known == delivery) {
            return true;
        }
        if seen.len() == SEEN_MAX {
            seen.pop_front();
        }
        seen.push_back(delivery.to_owned());
        false
    }

    fn save(&self, body: &[u8]) {
        let Some(directory) = &self.behaviour.save else { return };
        let number = self.saved.fetch_add(1, Ordering::Relaxed) + 1;
        let path = directory.join(format!("{number:06}.json"));
        if let Err(error) = std::fs::write(&path, body) {
            say(&format!("  can't save {}: {error}", path.display()));
        }
    }

    fn print(&self, seen: &Seen, status: StatusCode, now: Wall) {
        if self.behaviour.json {
            let text = |family: &Option<Result<(), VerifyError>>| match family {
                None => "absent".to_owned(),
                Some(Ok(())) => "ok".to_owned(),
                Some(Err(error)) => error.to_string(),
            };
            let line = Object::new()
                .text("at", &now.rfc3339_micros())
                .text("event", &seen.event)
                .text("event_id", &seen.event_id)
                .text("webhook_id", &seen.delivery)
                .text("attempt", &seen.attempt)
                .flag("repeated", seen.repeated)
                .number("status", u64::from(status.as_u16()))
                .text("x_uc_signature", &text(&seen.uploadcare))
                .text("webhook_signature", &text(&seen.standard))
                .end();
            say(&String::from_utf8_lossy(&line));
            return;
        }
        let clock_time = &now.rfc3339_micros()[11..19];
        let word = if status.is_success() { "delivered" } else { "failed" };
        let age = seen.age_ms.map_or_else(String::new, |ms| format!(" in {}", duration(ms)));
        let attempt = if matches!(seen.attempt.as_str(), "" | "1") {
            String::new()
        } else {
            format!("  attempt {}", seen.attempt)
        };
        let again = if seen.repeated { "  (seen before)" } else { "" };
        say(&format!(
            "  {clock_time} → {}  {}  {word} {}{age}{attempt}{again}   {}  {}",
            seen.event,
            seen.event_id,
            status.as_u16(),
            mark("X-Uc", &seen.uploadcare),
            mark("webhook-signature", &seen.standard),
        ));
    }
}

impl Seen {
    fn is_verified(&self) -> bool {
        [&self.uploadcare, &self.standard].iter().all(|family| matches!(family, Some(Ok(()))))
    }
}

impl Service for Receiver {
    async fn handle(
        &self,
        request: Request<Incoming>,
        _peer: Peer,
        _id: &RequestId,
    ) -> Response<Body> {
        let (parts, incoming) = request.into_parts();
        match body::read(incoming, BODY_BYTES_MAX, BODY_TIMEOUT_MS).await {
            Ok(body) => self.receive(parts, body).await,
            Err(error) => respond::unreadable(JSON, error),
        }
    }
}

impl Forward {
    async fn pass_on(&self, parts: &Parts, body: Bytes) -> Response<Body> {
        let headers: Vec<(HeaderName, HeaderValue)> = parts
            .headers
            .iter()
            .filter(|(name, _)| !NOT_FORWARDED.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let response = self
            .net
            .attempt(net::Request {
                origin: self.url.origin().clone(),
                path_and_query: self.url.path_and_query().to_owned(),
                headers,
                body,
                allow: Arc::clone(&self.allow),
                listener: None,
            })
            .await;
        match response.outcome {
            Outcome::Status(code) => {
                let status = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY);
                let mut answer = respond::bytes(status, JSON, response.body);
                let retry_after =
                    response.retry_after.and_then(|text| HeaderValue::try_from(text).ok());
                if let Some(value) = retry_after {
                    answer.headers_mut().insert(http::header::RETRY_AFTER, value);
                }
                answer
            }
            Outcome::Failure(failure) => {
                say(&format!("  {} does not answer: {}", self.url.as_str(), failure.as_str()));
                respond::detail(StatusCode::BAD_GATEWAY, JSON, failure.as_str())
            }
        }
    }
}

/// The event that a body tells of, in whichever payload.
fn event_name(body: &[u8]) -> String {
    let json = Json::reread(body).ok();
    let name = json
        .as_ref()
        .and_then(|json| json.get("hook"))
        .and_then(|hook| hook.get("event"))
        .and_then(Json::as_str)
        .and_then(EventName::parse);
    name.map_or_else(|| "?".to_owned(), |name| name.as_str().to_owned())
}

/// A check mark, or why there is none.
fn mark(family: &str, result: &Option<Result<(), VerifyError>>) -> String {
    match result {
        Some(Ok(())) => format!("{family} ✓"),
        Some(Err(error)) => format!("{family} ✗ ({error})"),
        None => format!("{family} –"),
    }
}

fn duration(ms: u64) -> String {
    if ms < 10_000 { format!("{ms} ms") } else { format!("{} s", ms / 1_000) }
}
