//! The body that is delivered: `event`, then `data`.
//!
//! Owns the envelope. Must never print what a receiver's `JSON.stringify(req.body)` would print
//! otherwise: that is what Lancer's SDK verifies.

use super::tables;
use crate::dialect::object::{Object, array};
use crate::dialect::{RenderError, mapping, names};
use crate::model::event::{Dialect, Event, Kind};
use crate::model::json::Json;
use crate::model::webhook::{FileDelete, Format, Webhook};

/// What all webhooks get of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    event: String,
    data: Vec<u8>,
    deletes: bool,
}

/// Renders what does not depend on the webhook. An event that Lancer does not have (the webhook's
/// format changed meanwhile) is rendered all the same, under its own name.
pub fn shared(event: &Event) -> Result<Shared, RenderError> {
    let name = names::name_for(Format::Lancer, event.kind, &event.name);
    let data = match event.dialect {
        Dialect::Lancer => event.data.clone(),
        _ => {
            let data = Json::reread(&event.data).map_err(RenderError::Data)?;
            let file = mapping::file(event, &data);
            file.map_or_else(|| event.data.clone(), |file| tables::write_file(&file))
        }
    };
    Ok(Shared {
        event: name.unwrap_or(event.name.as_str()).to_owned(),
        data,
        deletes: event.kind == Kind::FileDeleted,
    })
}

/// The whole body for one webhook.
#[must_use]
pub fn body(shared: &Shared, webhook: &Webhook) -> Vec<u8> {
    let object = Object::new().text("event", &shared.event);
    if shared.deletes && webhook.options.file_delete == FileDelete::Array {
        object.raw("data", &array([shared.data.clone()])).end()
    } else {
        object.raw("data", &shared.data).end()
    }
}
