//! The languages that webhooks are managed and delivered in: bytes to nouns and back.
//!
//! Owns one folder for each dialect, the reader of request bodies that they share, and the
//! questions that are asked of any format (one `match` each). Must never do I/O, ask the time or
//! decide what is delivered when.
//!
//! A further format is a variant of [`Format`], a folder with a `payload.rs` (`shared` renders once
//! for each event what its webhooks share, `body` the rest), and an arm of each `match` below. If
//! it has names of its own, it is a column of [`mod@names`]; if publishers write in it, it is a
//! [`Dialect`] too, with an arm of [`check_data`] and of [`mapping::file`] and a function that
//! writes a [`mapping::File`]. `tests/matrix.rs` lists what each format has to provide.

pub mod body;
pub mod cloudevents;
pub mod jsonapi;
pub mod lancer;
pub mod mapping;
mod multipart;
pub mod names;
pub mod object;
pub mod standard;
pub mod uploadcare;

use thiserror::Error;

use crate::model::event::{Dialect, Event, EventName, Kind};
use crate::model::json::{Json, JsonError};
use crate::model::webhook::{Format, Version, Webhook};

pub use names::name_for;

/// What all webhooks of one format get of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shared {
    /// In a version of Uploadcare's.
    Uploadcare(uploadcare::payload::Shared),
    /// For JSON:API.
    JsonApi(jsonapi::payload::Shared),
    /// For Lancer.
    Lancer(lancer::payload::Shared),
    /// For Standard Webhooks: the body itself.
    Standard(Vec<u8>),
    /// For CloudEvents.
    CloudEvents(cloudevents::payload::Shared),
}

/// Why a stored event can't be rendered.
#[derive(Debug, Error)]
pub enum RenderError {
    /// What is stored is no JSON object any more.
    #[error("the stored data is not readable: {0}")]
    Data(JsonError),
}

/// A field of published data that is not what its dialect says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The field.
    pub field: String,
    /// What is wrong with it, with its value.
    pub problem: String,
}

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

/// Checks published data against the shape of its dialect: Lancer's tables are typed, a resource
/// has a frame, and the others' data may be any object.
pub fn check_data(kind: Kind, dialect: Dialect, data: &Json) -> Result<(), Mismatch> {
    match dialect {
        Dialect::Lancer => lancer::tables::check(kind, data),
        Dialect::JsonApi => jsonapi::resource::check(data),
        Dialect::Uploadcare | Dialect::Custom => Ok(()),
    }
}

/// Renders what does not depend on the webhook: once for each event and format.
pub fn shared(event: &Event, format: Format) -> Result<Shared, RenderError> {
    match format {
        Format::Uploadcare(version) => {
            uploadcare::payload::shared(event, version).map(Shared::Uploadcare)
        }
        Format::JsonApi => jsonapi::payload::shared(event).map(Shared::JsonApi),
        Format::Lancer => lancer::payload::shared(event).map(Shared::Lancer),
        Format::Standard => Ok(Shared::Standard(standard::payload::shared(event))),
        Format::CloudEvents => cloudevents::payload::shared(event).map(Shared::CloudEvents),
    }
}

/// The body of one delivery. `shared` was rendered in the webhook's format.
#[must_use]
pub fn body(shared: &Shared, webhook: &Webhook, project_public_key: &str) -> Vec<u8> {
    match shared {
        Shared::Uploadcare(shared) => {
            uploadcare::payload::body(shared, webhook, project_public_key)
        }
        Shared::JsonApi(shared) => jsonapi::payload::body(shared, webhook, project_public_key),
        Shared::Lancer(shared) => lancer::payload::body(shared, webhook),
        Shared::Standard(body) => body.clone(),
        Shared::CloudEvents(shared) => cloudevents::payload::body(shared, project_public_key),
    }
}

/// The `Content-Type` of deliveries in a format.
#[must_use]
pub fn content_type(format: Format) -> &'static str {
    match format {
        Format::CloudEvents => cloudevents::payload::CONTENT_TYPE,
        Format::Uploadcare(_) | Format::JsonApi | Format::Lancer | Format::Standard => {
            "application/json"
        }
    }
}
