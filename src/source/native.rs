//! `POST /events/`: one event, an array of them, NDJSON, or a form.
//!
//! Owns the fields of a published event and their limits. Must never complete or invent data:
//! what is published is normalised (`model::json`) and kept. An unknown field is refused, because
//! a misspelt one would lose what it carried.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use super::split;
use crate::dialect::body::{BodyError, Field, Fields, Media, clip};
use crate::dialect::names;
use crate::dialect::object::Object;
use crate::dialect::uploadcare::encode;
use crate::dialect::{self, Mismatch};
use crate::model::event::{
    Dialect, EventName, FILE_URL_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, Kind,
};
use crate::model::json::Json;
use crate::model::notice;
use crate::model::time::{Wall, parse_rfc3339};

/// The fields of an event.
pub const FIELDS: [&str; 8] = [
    "event",
    "dialect",
    "data",
    "file",
    "initiator",
    "previous_values",
    "occurred_at",
    "idempotency_key",
];

/// The dialects by name.
pub const DIALECTS: [(&str, Dialect); 4] = [
    ("uploadcare", Dialect::Uploadcare),
    ("jsonapi", Dialect::JsonApi),
    ("lancer", Dialect::Lancer),
    ("custom", Dialect::Custom),
];

/// What one publish request may hold. The request's own size is the reader's limit.
#[derive(Clone, Copy, Debug)]
pub struct PublishLimits {
    /// Longest event, in bytes, as it was sent and as it is stored.
    pub event_bytes_max: usize,
    /// Most events of one request.
    pub events_max: usize,
}

/// An event as its publisher described it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// What happened.
    pub kind: Kind,
    /// The name that it was published by.
    pub name: EventName,
    /// Whose shape `data` has.
    pub dialect: Dialect,
    /// The payload, normalised JSON: an object.
    pub data: Vec<u8>,
    /// The file's URL.
    pub file: Option<String>,
    /// Who caused it, normalised JSON.
    pub initiator: Option<Vec<u8>>,
    /// What it was before, normalised JSON.
    pub previous_values: Option<Vec<u8>>,
    /// When it happened.
    pub occurred_at: Option<Wall>,
    /// The publisher's idempotency key.
    pub idempotency_key: Option<String>,
}

/// All events of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The events, in order; never empty.
    pub events: Vec<NewEvent>,
    /// Whether they came as an array or NDJSON, so that the answer is an array too.
    pub batch: bool,
    /// The idempotency key of the whole request, from its header or its events.
    pub idempotency_key: Option<String>,
}

/// Why a publish request is refused. Nothing of it is stored.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The body can't be read at all.
    #[error(transparent)]
    Body(BodyError),
    /// One event of a batch can't be read.
    #[error("events[{index}]: {error}")]
    Event {
        /// Its place in the request.
        index: usize,
        /// What is wrong with it.
        error: BodyError,
    },
    /// An event larger than the limit (413).
    #[error("{place}: the event has {bytes} bytes, more than the {bytes_max} that are allowed")]
    TooLarge {
        /// Which event.
        place: Place,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// More events than the limit (413).
    #[error("the request holds more than {events_max} events")]
    TooMany {
        /// The limit.
        events_max: usize,
    },
    /// A request without an event.
    #[error("the request holds no event")]
    Empty,
    /// A field that is missing, unknown or unsound.
    #[error("{place}.{field}: {problem}")]
    Field {
        /// Which event.
        place: Place,
        /// Which field.
        field: String,
        /// What is wrong with it, with its value.
        problem: String,
    },
    /// The header and the events name different idempotency keys.
    #[error("idempotency_key: {0}")]
    Key(String),
}

/// Where an event stands in its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The only one.
    Single,
    /// Of a batch.
    Index(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Single => f.write_str("event"),
            Place::Index(index) => write!(f, "events[{index}]"),
        }
    }
}

impl NewEvent {
    /// Bytes of what is stored.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let len = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        self.name.as_str().len()
            + self.data.len()
            + self.file.as_ref().map_or(0, String::len)
            + len(&self.initiator)
            + len(&self.previous_values)
    }
}

impl PublishError {
    /// The HTTP status that tells it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            PublishError::Body(error) => error.status(),
            PublishError::TooLarge { .. } | PublishError::TooMany { .. } => 413,
            _ => 400,
        }
    }

    /// The answer's body: a single event's field has a map of its own, as in the webhook API.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        match self {
            PublishError::Field { place: Place::Single, field, problem } => {
                Object::new().texts(field, [problem.as_str()]).end()
            }
            PublishError::Key(problem) => {
                Object::new().texts("idempotency_key", [problem.as_str()]).end()
            }
            other => encode::detail(&other.to_string()),
        }
    }
}

/// Reads a publish request. `idempotency_key` is its header, `event_types` the project's closed
/// list of names.
pub fn read(
    content_type: Option<&str>,
    idempotency_key: Option<&str>,
    body: &[u8],
    limits: PublishLimits,
    event_types: Option<&[String]>,
) -> Result<Published, PublishError> {
    let texts = match Media::of(content_type).map_err(PublishError::Body)? {
        Media::Ndjson => {
            body.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty()).collect()
        }
        Media::Json | Media::Unstated if body.trim_ascii_start().starts_with(b"[") => {
            match split::elements(body) {
                Some(elements) => elements,
                // Not an array after all: the reader knows best what is wrong with it.
                None => {
                    return read_single(content_type, idempotency_key, body, limits, event_types);
                }
            }
        }
        _ => return read_single(content_type, idempotency_key, body, limits, event_types),
    };
    if texts.len() > limits.events_max {
        return Err(PublishError::TooMany { events_max: limits.events_max });
    }
    let mut events = Vec::with_capacity(texts.len());
    for (index, text) in texts.into_iter().enumerate() {
        let reader = Reader { place: Place::Index(index), limits, event_types };
        reader.size(text.len())?;
        let fields =
            Fields::from_json(text).map_err(|error| PublishError::Event { index, error })?;
        events.push(reader.event(&fields)?);
    }
    published(events, true, idempotency_key)
}

fn read_single(
    content_type: Option<&str>,
    idempotency_key: Option<&str>,
    body: &[u8],
    limits: PublishLimits,
    event_types: Option<&[String]>,
) -> Result<Published, PublishError> {
    if body.is_empty() {
        return Err(PublishError::Empty);
    }
    let reader = Reader { place: Place::Single, limits, event_types };
    reader.size(body.len())?;
    let fields = Fields::read(content_type, body).map_err(PublishError::Body)?;
    published(vec![reader.event(&fields)?], false, idempotency_key)
}

/// Reads a single event whose fields were read already; any name goes.
pub fn from_fields(
    fields: &Fields,
    idempotency_key: Option<&str>,
    limits: PublishLimits,
) -> Result<Published, PublishError> {
    let reader = Reader { place: Place::Single, limits, event_types: None };
    published(vec![reader.event(fields)?], false, idempotency_key)
}

/// The idempotency key covers the whole request, so all that are named have to agree.
fn published(
    events: Vec<NewEvent>,
    batch: bool,
    header: Option<&str>,
) -> Result<Published, PublishError> {
    if events.is_empty() {
        return Err(PublishError::Empty);
    }
    if let Some(key) = header {
        key_is_sound(key).map_err(PublishError::Key)?;
    }
    let mut keys =
        header.into_iter().chain(events.iter().filter_map(|e| e.idempotency_key.as_deref()));
    let key = keys.next().map(str::to_owned);
    if let Some(other) = keys.find(|other| Some(*other) != key.as_deref()) {
        let first = key.as_deref().unwrap_or_default();
        return Err(PublishError::Key(format!(
            "\"{}\" and \"{}\" differ, but one key covers the whole request.",
            clip(first),
            clip(other)
        )));
    }
    Ok(Published { events, batch, idempotency_key: key })
}

struct Reader<'a> {
    place: Place,
    limits: PublishLimits,
    event_types: Option<&'a [String]>,
}

impl Reader<'_> {
    fn size(&self, bytes: usize) -> Result<(), PublishError> {
        let bytes_max = self.limits.event_bytes_max;
        if bytes > bytes_max {
            return Err(PublishError::TooLarge { place: self.place, bytes, bytes_max });
        }
        Ok(())
    }

    fn event(&self, fields: &Fields) -> Result<NewEvent, PublishError> {
        if let Some(name) = fields.names().find(|name| !FIELDS.contains(name)) {
            let problem = format!("Unknown field. Known are {}.", FIELDS.join(", "));
            return Err(self.problem(&clip(name), problem));
        }
        let (name, kind, dialect) = self.name(fields)?;
        let data = self.json(fields, "data")?;
        let data = data.ok_or_else(|| self.problem("data", REQUIRED.to_owned()))?;
        dialect::check_data(kind, dialect, &data).map_err(|Mismatch { field, problem }| {
            self.problem(&format!("data.{field}"), problem)
        })?;
        let event = NewEvent {
            kind,
            name,
            dialect,
            data: data.to_bytes(),
            file: self.text(fields, "file", file_is_sound)?,
            initiator: self.object(fields, "initiator")?,
            previous_values: self.object(fields, "previous_values")?,
            occurred_at: self.occurred_at(fields)?,
            idempotency_key: self.text(fields, "idempotency_key", key_is_sound)?,
        };
        self.size(event.size_bytes())?;
        Ok(event)
    }

    fn name(&self, fields: &Fields) -> Result<(EventName, Kind, Dialect), PublishError> {
        let field = fields.given("event");
        let field = field.ok_or_else(|| self.problem("event", REQUIRED.to_owned()))?;
        let shown = field.shown();
        let name = field.as_text().and_then(EventName::parse).ok_or_else(|| {
            let problem = format!(
                "\"{shown}\" is not an event name: 1 to 128 letters, digits, \"_\", \".\" or \"-\"."
            );
            self.problem("event", problem)
        })?;
        if notice::is_reserved(name.as_str()) {
            return Err(self.problem("event", notice::refusal(name.as_str())));
        }
        let (kind, dialect) = self.meaning(fields, &name)?;
        match self.event_types {
            Some(types) if !types.iter().any(|known| known == name.as_str()) => {
                let known = types.join(", ");
                let problem =
                    format!("\"{shown}\" is not one of this project's event types: {known}.");
                Err(self.problem("event", problem))
            }
            _ => Ok((name, kind, dialect)),
        }
    }

    /// What the name means; `dialect` says whose name it is where two have it.
    fn meaning(&self, fields: &Fields, name: &EventName) -> Result<(Kind, Dialect), PublishError> {
        let dialect = match fields.given("dialect") {
            None => None,
            Some(field) => {
                let known = DIALECTS.iter().find(|(text, _)| field.as_text() == Some(text));
                let (_, dialect) = known.ok_or_else(|| {
                    let known = DIALECTS.map(|(text, _)| text).join(", ");
                    let problem =
                        format!("\"{}\" is not a known dialect. Known: {known}.", field.shown());
                    self.problem("dialect", problem)
                })?;
                Some(*dialect)
            }
        };
        names::meaning(name.as_str(), dialect).ok_or_else(|| {
            let problem = format!("\"{}\" is not one of that dialect's events.", name.as_str());
            self.problem("event", problem)
        })
    }

    /// An object as normalised bytes.
    fn object(&self, fields: &Fields, name: &str) -> Result<Option<Vec<u8>>, PublishError> {
        Ok(self.json(fields, name)?.map(|json| json.to_bytes()))
    }

    fn json<'f>(
        &self,
        fields: &'f Fields,
        name: &str,
    ) -> Result<Option<Cow<'f, Json>>, PublishError> {
        let Some(field) = fields.given(name) else { return Ok(None) };
        let wrong = |kind: &str| self.problem(name, format!("Expected an object, not {kind}."));
        match field {
            Field::Json(json @ Json::Object(_)) => Ok(Some(Cow::Borrowed(json))),
            Field::Json(json) => Err(wrong(json.kind())),
            Field::Text(_) => match field.to_json() {
                Ok(json @ Json::Object(_)) => Ok(Some(Cow::Owned(json))),
                Ok(json) => Err(wrong(json.kind())),
                Err(error) => Err(self.problem(name, format!("JSON parse error - {error}"))),
            },
        }
    }

    fn text(
        &self,
        fields: &Fields,
        name: &str,
        check: fn(&str) -> Result<(), String>,
    ) -> Result<Option<String>, PublishError> {
        let Some(field) = fields.given(name) else { return Ok(None) };
        let text = field.as_text().ok_or_else(|| {
            self.problem(name, format!("Expected a string, not {}.", field.shown()))
        })?;
        check(text).map_err(|problem| self.problem(name, problem))?;
        Ok(Some(text.to_owned()))
    }

    fn occurred_at(&self, fields: &Fields) -> Result<Option<Wall>, PublishError> {
        let Some(field) = fields.given("occurred_at") else { return Ok(None) };
        let at = field.as_text().and_then(parse_rfc3339).ok_or_else(|| {
            let problem = format!(
                "\"{}\" is not an RFC 3339 instant such as 2026-11-21T16:54:33Z.",
                field.shown()
            );
            self.problem("occurred_at", problem)
        })?;
        Ok(Some(at))
    }

    fn problem(&self, field: &str, problem: String) -> PublishError {
        PublishError::Field { place: self.place, field: field.to_owned(), problem }
    }
}

const REQUIRED: &str = "This field is required.";

fn file_is_sound(text: &str) -> Result<(), String> {
    if text.len() > FILE_URL_BYTES_MAX {
        return Err(format!("Ensure this field has no more than {FILE_URL_BYTES_MAX} bytes."));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("\"{}\" holds control characters.", clip(text)));
    }
    Ok(())
}

fn key_is_sound(text: &str) -> Result<(), String> {
    let sound = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if sound {
        Ok(())
    } else {
        Err(format!(
            "\"{}\" is not a key of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters.",
            clip(text)
        ))
    }
}

#[cfg(test)]
mod tests;
