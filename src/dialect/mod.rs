//! The languages that webhooks are managed and delivered in: bytes to nouns and back.
//!
//! Owns one folder for each dialect, the reader of request bodies that they share, and the
//! questions that are asked of any format (one `match` each). Must never do I/O, ask the time or
//! decide what is delivered when.

pub mod body;
pub mod jsonapi;
mod multipart;
pub mod names;
pub mod object;
pub mod uploadcare;

use crate::model::event::{Event, EventName, Kind};
use crate::model::webhook::{Format, Version, Webhook};

pub use uploadcare::payload::{RenderError, Shared};

pub use names::name_for;

/// How many ways there are to render an event, so that each can be rendered once.
pub const FORMATS: usize = 7;

/// The place of a format among [`FORMATS`].
#[must_use]
pub fn format_index(format: Format) -> usize {
    match format {
        Format::Uploadcare(Version::V05) => 0,
        Format::Uploadcare(Version::V06) => 1,
        Format::Uploadcare(Version::V07) => 2,
        Format::JsonApi => 3,
        Format::Lancer => 4,
        Format::Standard => 5,
        Format::CloudEvents => 6,
    }
}

/// Every name under which some format subscribes to an event, without repeats.
#[must_use]
pub fn names(kind: Kind, name: &EventName) -> Vec<EventName> {
    names::all(kind, name)
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
        _ => uploadcare::payload::shared(event, Version::V07),
    }
}

/// The body of one delivery. `shared` was rendered in the webhook's format.
#[must_use]
pub fn body(shared: &Shared, webhook: &Webhook, project_public_key: &str) -> Vec<u8> {
    uploadcare::payload::body(shared, webhook, project_public_key)
}
