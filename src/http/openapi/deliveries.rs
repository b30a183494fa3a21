//! Deliveries: what became of events.
//!
//! Owns their paths and schemas. Must never describe what is delivered: that is `webhooks`.

use serde_json::json;

use super::manage::Part;
use super::operation::Path;
use super::schemas::{self, in_header, in_query};
use crate::http::stream::{EVENT_STREAM, STATUSES};

const TAG: &str = "deliveries";

/// The paths of a part.
pub(super) fn paths(part: Part) -> Vec<Path> {
    let stream = part
        .operation("streamDeliveries", "The changes of deliveries as they happen")
        .says(
            "Server-sent events, resumable; what the feed has no longer is told as an event `gap`.",
        )
        .with(in_query("webhook", "Of this webhook alone.", schemas::integer_id()))
        .with(in_query("status", "Into this state alone.", schemas::one_of(STATUSES)))
        .with(in_query("event", "Of events of this name alone.", schemas::event_name([])))
        .with(in_query("last_event_id", "Where to go on, without the header.", schemas::text()))
        .with(in_header("Last-Event-ID", "Where to go on.", schemas::text()))
        .answers(
            200,
            "The stream; it ends with the client, the project or the daemon.",
            &json!({EVENT_STREAM: {"schema": schemas::text()}}),
        )
        .refuses(&[404, 503]);
    vec![part.path("/deliveries/stream/", TAG, []).on("get", stream)]
}
