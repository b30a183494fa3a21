//! The body that is delivered: `type`, `timestamp`, `data`, and what else the publisher said.
//!
//! Owns their order. `type` is the canonical name, `timestamp` when it happened (if the publisher
//! did not say: when it was accepted), and `data` the publisher's own bytes in its own dialect.
//! `file`, `initiator` and `previous_values` follow where the publisher gave them: the standard
//! lets a payload have more keys. Must never map or complete anything.

use crate::dialect::names;
use crate::dialect::object::Object;
use crate::model::event::Event;
use crate::model::webhook::Format;

/// The body, which is the same for each webhook.
#[must_use]
pub fn shared(event: &Event) -> Vec<u8> {
    let name = names::name_for(Format::Standard, event.kind, &event.name);
    let at = event.occurred_at.unwrap_or(event.accepted_at);
    let mut object = Object::new()
        .text("type", name.unwrap_or(event.name.as_str()))
        .text("timestamp", &at.rfc3339_micros())
        .raw("data", &event.data);
    if let Some(file) = &event.file {
        object = object.text("file", file);
    }
    for (key, part) in
        [("initiator", &event.initiator), ("previous_values", &event.previous_values)]
    {
        if let Some(part) = part {
            object = object.raw(key, part);
        }
    }
    object.end()
}
