//! `/events/{id}/…`: what can be done to an event that was accepted.
//!
//! Owns finding an event by its id, for its own project alone. Must never tell another project's
//! event from one that does not exist.

use http::{Response, StatusCode};

use super::api::{Api, Call, command_error};
use super::body::Body;
use super::limits::RetryAfterSeconds;
use super::respond::{self, JSON};
use crate::dialect::object::Object;
use crate::engine::command::Command;
use crate::model::event::Event;
use crate::model::ids::EventId;
use crate::store::ReadError;

/// Takes an event's payload away. That it happened stays; deliveries of it that wait end as
/// cancelled, without a request.
pub(super) async fn erase(api: &Api, call: &Call, id: Option<EventId>) -> Response<Body> {
    let found = match id {
        Some(id) => find(api, call, id).await,
        None => Ok(None),
    };
    match found {
        Ok(Some(_)) => {}
        Ok(None) => return not_found(),
        Err(error) => return unreadable(&error),
    }
    let Some(id) = id else { return not_found() };
    let command = Command::EraseEvent { project: call.project().id, event: id.seq };
    if let Err(error) = api.handle.command(command).await {
        return command_error(&error, JSON);
    }
    match find(api, call, id).await {
        Ok(Some(event)) => respond::bytes(StatusCode::OK, JSON, object(&event)),
        Ok(None) => not_found(),
        Err(error) => unreadable(&error),
    }
}

pub(super) async fn find(
    api: &Api,
    call: &Call,
    id: EventId,
) -> Result<Option<std::sync::Arc<Event>>, ReadError> {
    let found = match api.handle.event(id.seq).await {
        // A damaged event has no payload that could be shown or erased.
        Err(ReadError::Damaged { .. }) => None,
        read => read?,
    };
    Ok(found.filter(|event| event.id == id && event.project == call.project().id))
}

fn object(event: &Event) -> Vec<u8> {
    let erased = event.erased_at.map(|at| at.rfc3339_micros());
    Object::new()
        .text("id", &event.id.to_string())
        .text("event", event.name.as_str())
        .text("accepted_at", &event.accepted_at.rfc3339_micros())
        .text_or_null("erased_at", erased.as_deref())
        .end()
}

fn not_found() -> Response<Body> {
    respond::detail(StatusCode::NOT_FOUND, JSON, "Not found.")
}

pub(super) fn unreadable(error: &ReadError) -> Response<Body> {
    tracing::error!(%error, "An event can't be read.");
    respond::unavailable(JSON, "The store can't be read.", RetryAfterSeconds(1))
}
