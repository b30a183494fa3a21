//! The languages that webhooks are managed and delivered in: bytes to nouns and back.
//!
//! Owns one folder for each dialect, the reader of request bodies that they share, and the
//! questions that are asked of any format (one `match` each). Must never do I/O, ask the time or
//! decide what is delivered when.

pub mod body;
mod multipart;
pub mod object;
pub mod uploadcare;

use crate::model::event::{Event, EventName, Kind};
use crate::model::webhook::{Format, Webhook};

pub use uploadcare::payload::{RenderError, Shared};

/// What an event is called in a format; `None` if the format can't carry it.
#[must_use]
pub fn name_for(format: Format, kind: Kind, name: &EventName) -> Option<&str> {
    match format {
        Format::Uploadcare(version) => uploadcare::kinds::name_for(kind, name, version),
    }
}

/// Whether a webhook subscribes to an event, whatever its state.
#[must_use]
pub fn subscribes(webhook: &Webhook, kind: Kind, name: &EventName) -> bool {
    name_for(webhook.format, kind, name)
        .is_some_and(|wanted| webhook.events.iter().any(|event| event.as_str() == wanted))
}

/// Renders what does not depend on the webhook: once for each event and format.
pub fn shared(event: &Event, format: Format) -> Result<Shared, RenderError> {
    match format {
        Format::Uploadcare(version) => uploadcare::payload::shared(event, version),
    }
}

/// The body of one delivery. `shared` was rendered in the webhook's format.
#[must_use]
pub fn body(shared: &Shared, webhook: &Webhook, project_public_key: &str) -> Vec<u8> {
    match webhook.format {
        Format::Uploadcare(_) => uploadcare::payload::body(shared, webhook, project_public_key),
    }
}
