//! `POST /events/`: events in.
//!
//! Owns the way from a proved body to a 202. Must never answer 202 before the engine says that
//! events and deliveries are on disk.

use http::{HeaderName, Response, StatusCode};

use super::api::{Api, Call};
use super::body::Body;
use super::limits::RetryAfterSeconds;
use super::respond::{self, JSON};
use crate::dialect::object::{Object, array};
use crate::engine::submit::{Accepted, Idempotency, Submission, SubmitError};
use crate::logic::batch::AcceptedEvent;
use crate::model::event::{Kind, Source};
use crate::source::native;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(super) async fn publish(api: &Api, call: &Call) -> Response<Body> {
    let header = match idempotency_header(call) {
        Ok(header) => header,
        Err(text) => return respond::detail(StatusCode::BAD_REQUEST, JSON, text),
    };
    let body = call.proven.body();
    let event_types = call.project().settings.event_types.as_deref();
    let published =
        match native::read(call.content_type(), header, body, api.config.publish, event_types) {
            Ok(published) => published,
            Err(error) => {
                let status =
                    StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
                return respond::bytes(status, JSON, error.body());
            }
        };
    let kinds: Vec<Kind> = published.events.iter().map(|event| event.kind).collect();
    let idempotency = published.idempotency_key.as_deref().map(|key| Idempotency::new(key, body));
    let submission = Submission {
        idempotency,
        ..Submission::new(call.project().id, published.events, Source::Native)
    };
    match api.handle.submit(submission).await {
        Ok(accepted) => {
            api.intake.accepted(Source::Native, &kinds, accepted.duplicate);
            respond::bytes(StatusCode::ACCEPTED, JSON, answer(&accepted, published.batch))
        }
        Err(error) => submit_error(&error),
    }
}

pub(super) fn idempotency_header(call: &Call) -> Result<Option<&str>, &'static str> {
    let mut values = call.parts.headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("The Idempotency-Key header is given twice.");
    }
    first.to_str().map(Some).map_err(|_| "The Idempotency-Key header is not visible ASCII.")
}

pub(super) fn answer(accepted: &Accepted, batch: bool) -> Vec<u8> {
    let line = |event: &AcceptedEvent| {
        Object::new()
            .text("id", &event.id.to_string())
            .text("event", event.name.as_str())
            .number("deliveries", u64::from(event.deliveries))
            .flag("duplicate", accepted.duplicate)
            .end()
    };
    match (&accepted.events[..], batch) {
        ([only], false) => line(only),
        (events, _) => array(events.iter().map(line)),
    }
}

pub(super) fn submit_error(error: &SubmitError) -> Response<Body> {
    let wait = RetryAfterSeconds(1);
    match error {
        SubmitError::KeyConflict | SubmitError::KeyTaken => {
            respond::detail(StatusCode::CONFLICT, JSON, &format!("{}.", sentence(error)))
        }
        SubmitError::TooManyDeliveries => {
            respond::detail(StatusCode::PAYLOAD_TOO_LARGE, JSON, &format!("{}.", sentence(error)))
        }
        SubmitError::WebhookGone => {
            respond::unavailable(JSON, &format!("{}.", sentence(error)), wait)
        }
        SubmitError::ProjectGone => respond::detail(StatusCode::NOT_FOUND, JSON, "Not found."),
        SubmitError::Draining => respond::unavailable(JSON, "The daemon is shutting down.", wait),
        SubmitError::Full => {
            respond::unavailable(JSON, &format!("{}.", sentence(error)), FULL_WAIT)
        }
        SubmitError::Store(_) => {
            tracing::error!(%error, "Events could not be stored.");
            respond::unavailable(JSON, "The store can't be written. Nothing was accepted.", wait)
        }
    }
}

/// When to come again if there is no room: whoever can make some needs a while.
const FULL_WAIT: RetryAfterSeconds = RetryAfterSeconds(30);

/// An error's text as the start of a sentence.
fn sentence(error: &SubmitError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}
