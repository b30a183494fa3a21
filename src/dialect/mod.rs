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
use crate::model::webhook::{Format, Version, Webhook};

pub use uploadcare::payload::{RenderError, Shared};

/// What an event is called in a format; `None` if the format can't carry it.
#[must_use]
pub fn name_for(format: Format, kind: Kind, name: &EventName) -> Option<&str> {
    match format {
        Format::Uploadcare(version) => uploadcare::kinds::name_for(kind, name, version),
    }
}

/// How many ways there are to render an event, so that each can be rendered once.
pub const FORMATS: usize = 3;

/// The place of a format among [`FORMATS`].
#[must_use]
pub fn format_index(format: Format) -> usize {
    match format {
        Format::Uploadcare(Version::V05) => 0,
        Format::Uploadcare(Version::V06) => 1,
        Format::Uploadcare(Version::V07) => 2,
    }
}

/// Whether webhooks of a format belong to Uploadcare's view of the API.
#[must_use]
pub fn is_uploadcare(format: Format) -> bool {
    match format {
        Format::Uploadcare(_) => true,
    }
}

/// Every name under which some format subscribes to an event, without repeats.
#[must_use]
pub fn names(kind: Kind, name: &EventName) -> Vec<EventName> {
    EventName::parse(uploadcare::kinds::name_of(kind, name)).into_iter().collect()
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
