//! `/deliveries/{id}/`: one delivery with its attempts, and a request as it was sent.
//!
//! Owns finding a delivery by its id, for its own project alone, and what an attempt shows. Bytes
//! that are no text are shown in base64, and said to be.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Response, StatusCode};

use super::super::api::{Api, Call};
use super::super::body::Body;
use super::super::respond::{self, JSON};
use super::{Events, deliveries, instant, not_found, origin_of, unreadable};
use crate::dialect::object::{Object, array};
use crate::engine::sent::{Sent, SentError};
use crate::model::attempt::{Attempt, Outcome, Phases, ResponseKept};
use crate::model::delivery::Delivery;
use crate::model::event::Event;
use crate::model::ids::{DeliveryId, ProjectId};
use crate::store::{ReadError, Store};

/// A delivery that was found.
pub(super) struct Found {
    pub delivery: Delivery,
    /// None if it is gone or damaged.
    pub event: Option<Arc<Event>>,
}

/// A delivery of a project by its id.
pub(super) fn find(
    store: &dyn Store,
    project: ProjectId,
    id: DeliveryId,
) -> Result<Option<Found>, ReadError> {
    let delivery = store.delivery(id.seq)?.filter(|delivery| delivery.project() == project);
    let Some(delivery) = delivery else { return Ok(None) };
    let event = Events::new(store).get(delivery.event())?;
    let is_it = event.as_ref().is_none_or(|event| event.id.delivery(id.seq) == id);
    Ok(is_it.then_some(Found { delivery, event }))
}

pub(in super::super) async fn show(
    api: &Api,
    call: &Call,
    id: Option<DeliveryId>,
) -> Response<Body> {
    let Some(id) = id else { return not_found() };
    let project = call.project().id;
    let handle = api.handle.clone();
    let read = move |store: &dyn Store| {
        let Some(found) = find(store, project, id)? else { return Ok(None) };
        let attempts = store.attempts(id.seq)?;
        let target = origin_of(&handle, project, found.delivery.webhook());
        let event = found.event.as_deref();
        let row = deliveries::row(&found.delivery, event, target.as_ref(), attempts.last());
        Ok(Some(row.raw("attempts_log", &array(attempts.iter().map(attempt))).end()))
    };
    match api.handle.look(read).await {
        Ok(Some(body)) => respond::bytes(StatusCode::OK, JSON, body),
        Ok(None) => not_found(),
        Err(error) => unreadable(&error),
    }
}

/// The request of one attempt, as it was sent.
pub(in super::super) async fn sent(
    api: &Api,
    call: &Call,
    id: Option<DeliveryId>,
    number: u32,
) -> Response<Body> {
    let Some(id) = id else { return not_found() };
    let project = call.project().id;
    match api.handle.look(move |store| find(store, project, id)).await {
        Ok(Some(_)) => {}
        Ok(None) => return not_found(),
        Err(error) => return unreadable(&error),
    }
    match api.handle.sent(id.seq, number).await {
        Ok(sent) => respond::bytes(StatusCode::OK, JSON, request(&sent)),
        Err(SentError::Read(error)) => unreadable(&error),
        Err(SentError::NoDelivery) => not_found(),
        Err(error @ SentError::NoAttempt(_)) => told(StatusCode::NOT_FOUND, &error),
        Err(error) => told(StatusCode::GONE, &error),
    }
}

fn told(status: StatusCode, error: &SentError) -> Response<Body> {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase()).unwrap_or_default();
    respond::detail(status, JSON, &format!("{first}{}.", chars.as_str()))
}

/// What an attempt shows.
fn attempt(attempt: &Attempt) -> Vec<u8> {
    let (code, failure) = match attempt.outcome {
        Outcome::Status(code) => (Some(u32::from(code)), None),
        Outcome::Failure(failure) => (None, Some(failure.as_str())),
    };
    let response = attempt.response.as_ref().map_or_else(|| b"null".to_vec(), |kept| answer(kept));
    let object = Object::new()
        .number("number", u64::from(attempt.number))
        .text("started_at", &attempt.started.rfc3339_micros())
        .text_or_null("address", attempt.address.map(|at| at.to_string()).as_deref())
        .raw("phases", &phases(attempt.phases))
        .number_or_null("code", code)
        .text_or_null("failure", failure)
        .text("verdict", attempt.verdict.as_str())
        .text("reason", attempt.reason().as_str());
    instant(object, "next_attempt_at", attempt.next_due)
        .text_or_null("next_why", attempt.next_why.map(|why| why.as_str()))
        .number("webhook_revision", attempt.revision)
        .raw("response", &response)
        .end()
}

fn phases(phases: Phases) -> Vec<u8> {
    Object::new()
        .number_or_null("dns_ms", phases.dns_ms)
        .number_or_null("connect_ms", phases.connect_ms)
        .number_or_null("tls_ms", phases.tls_ms)
        .number_or_null("first_byte_ms", phases.first_byte_ms)
        .number("total_ms", u64::from(phases.total_ms))
        .end()
}

fn answer(kept: &ResponseKept) -> Vec<u8> {
    let headers = kept.headers.iter().map(|one| header(&one.name, &one.value));
    let object = Object::new()
        .raw("headers", &array(headers))
        .text("headers_extent", kept.headers_extent.as_str());
    octets(object, "body", &kept.body).text("body_extent", kept.body_extent.as_str()).end()
}

fn request(sent: &Sent) -> Vec<u8> {
    let headers = sent.headers.iter().map(|(name, value)| header(name, value));
    let object = Object::new()
        .text("method", sent.method)
        .text("url", &sent.url)
        .raw("headers", &array(headers));
    octets(object, "body", &sent.body).flag("is_exact", sent.is_exact).end()
}

fn header(name: &str, value: &[u8]) -> Vec<u8> {
    octets(Object::new().text("name", name), "value", value).end()
}

/// Bytes as text, or as base64 where they are none; `…_encoding` says which.
fn octets(object: Object, key: &str, bytes: &[u8]) -> Object {
    let encoding = format!("{key}_encoding");
    match std::str::from_utf8(bytes) {
        Ok(text) => object.text(key, text).text(&encoding, "utf-8"),
        Err(_) => object.text(key, &STANDARD.encode(bytes)).text(&encoding, "base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_said_to_be_base64() {
        let shown = |bytes: &[u8]| {
            String::from_utf8(octets(Object::new(), "body", bytes).end()).expect("JSON")
        };
        assert_eq!(shown("é\0".as_bytes()), r#"{"body":"é\u0000","body_encoding":"utf-8"}"#);
        assert_eq!(shown(b"\xff\x00"), r#"{"body":"/wA=","body_encoding":"base64"}"#);
    }
}
