//! The body that is delivered: the context attributes, then `data`.
//!
//! Owns the attributes and their order. `data` is the publisher's own bytes in its own dialect, and
//! so `type` is by that dialect: `com.uploadcare.` and the canonical name, `dev.lancer.` and
//! Lancer's name, or a custom event's own. What else the publisher said are extension attributes:
//! `file`, and `initiator` and `previousvalues` as JSON text, because an attribute is no object.
//! Must never map or complete anything.

use crate::dialect::object::Object;
use crate::dialect::{RenderError, names};
use crate::model::event::{Dialect, Event};
use crate::model::json::Json;
use crate::model::webhook::Format;

/// The `Content-Type` of structured mode.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

const UPLOADCARE_PREFIX: &str = "com.uploadcare.";
const LANCER_PREFIX: &str = "dev.lancer.";
const SOURCE_PREFIX: &str = "postrider:project:";

/// What all webhooks get of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// `{"specversion":"1.0","id":…,`
    before_source: Vec<u8>,
    /// `,"type":…}`
    after_source: Vec<u8>,
}

/// Renders all but the source, which names the project.
pub fn shared(event: &Event) -> Result<Shared, RenderError> {
    let mut before_source =
        Object::new().text("specversion", "1.0").text("id", &event.id.to_string()).end();
    before_source.pop();
    before_source.push(b',');
    let at = event.occurred_at.unwrap_or(event.accepted_at);
    let mut object = Object::new().text("type", &type_of(event)).text("time", &at.rfc3339_micros());
    if let Some(subject) = subject(event)? {
        object = object.text("subject", &subject);
    }
    object = object.text("datacontenttype", "application/json");
    if let Some(file) = event.file.as_deref().filter(|file| !file.is_empty()) {
        object = object.text("file", file);
    }
    for (name, part) in
        [("initiator", &event.initiator), ("previousvalues", &event.previous_values)]
    {
        if let Some(part) = part {
            object = object.text(name, &String::from_utf8_lossy(part));
        }
    }
    let mut after_source = object.raw("data", &event.data).end();
    after_source[0] = b',';
    Ok(Shared { before_source, after_source })
}

/// The whole body.
#[must_use]
pub fn body(shared: &Shared, project_public_key: &str) -> Vec<u8> {
    let source = Object::new().text("source", &source(project_public_key)).end();
    let source = &source[1..source.len() - 1];
    [&shared.before_source, source, &shared.after_source].concat()
}

fn type_of(event: &Event) -> String {
    let (prefix, format) = match event.dialect {
        Dialect::Uploadcare | Dialect::JsonApi => (UPLOADCARE_PREFIX, Format::CloudEvents),
        Dialect::Lancer => (LANCER_PREFIX, Format::Lancer),
        Dialect::Custom => ("", Format::CloudEvents),
    };
    let name = names::name_for(format, event.kind, &event.name).unwrap_or(event.name.as_str());
    format!("{prefix}{name}")
}

/// What the event is about, as its publisher names it: the UUID of a file or a group, or Lancer's
/// id of a file or a session.
pub fn subject(event: &Event) -> Result<Option<String>, RenderError> {
    if event.dialect == Dialect::Custom {
        return Ok(None);
    }
    let data = Json::reread(&event.data).map_err(RenderError::Data)?;
    let subject = match event.dialect {
        Dialect::Lancer => data.get("id"),
        Dialect::JsonApi => data.get("attributes").unwrap_or(&data).get("uuid"),
        Dialect::Uploadcare | Dialect::Custom => data.get("uuid"),
    };
    let text = subject.and_then(Json::as_str).filter(|text| !text.is_empty());
    Ok(text.map(str::to_owned))
}

/// A URI, whatever the key is made of.
fn source(project_public_key: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let key = project_public_key.bytes().map(|b| match plain(b) {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    });
    format!("{SOURCE_PREFIX}{}", key.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_uris() {
        assert_eq!(source("3a8b-x_1"), "postrider:project:3a8b-x_1");
        assert_eq!(source("a<b>\"%"), "postrider:project:a%3Cb%3E%22%25");
    }
}
