//! CloudEvents 1.0 over HTTP: `POST /in/cloudevents/`, in binary, structured and batch mode.
//!
//! Owns the three modes and what a type means: a name of a dialect is that dialect's event, as on
//! publish. Must never take any other apart: it is a custom event, its data as it came.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::native::NewEvent;
use super::read::{malformed, text, typed};
use super::{Context, Head, Intake, Key, Occurrence, Refusal, Reply, Said, plain_reply};
use crate::dialect::names;
use crate::dialect::object::Object;
use crate::model::event::{Dialect, EventName, Kind};
use crate::model::json::Json;
use crate::model::time::parse_rfc3339;

const SPEC_VERSION: &str = "1.0";

/// The types under which this project sends events of a dialect.
const PREFIXES: [(&str, Option<Dialect>); 2] =
    [("com.uploadcare.", None), ("dev.lancer.", Some(Dialect::Lancer))];

/// One event's attributes, and its data.
struct Attributes<'a> {
    place: String,
    get: &'a dyn Fn(&str) -> Option<String>,
    data: Json,
}

/// What a request means. Its mode is told by its content type, as the binding has it.
pub fn translate(head: &Head, body: &[u8], _: &Context<'_>) -> Result<Intake, Refusal> {
    let media = head.get("content-type").unwrap_or_default().to_ascii_lowercase();
    let media = media.split(';').next().unwrap_or_default().trim();
    if media.starts_with("application/cloudevents-batch") {
        let Json::Array(items) = parse(body)? else {
            return Err(malformed("A batch has to be a JSON array."));
        };
        let events = items.into_iter().enumerate();
        let events = events.map(|(index, item)| structured(item, &format!("[{index}].")));
        let events: Vec<Occurrence> = events.collect::<Result<_, _>>()?;
        // The specification allows a batch of none.
        return Ok(if events.is_empty() {
            Intake::Nothing("an empty batch")
        } else {
            Intake::Events(events)
        });
    }
    if media.starts_with("application/cloudevents") {
        return Ok(Intake::Events(vec![structured(parse(body)?, "")?]));
    }
    binary(head, media, body).map(|event| Intake::Events(vec![event]))
}

/// They look at the status alone.
#[must_use]
pub fn reply(said: &Said<'_>) -> Reply {
    plain_reply(said)
}

fn structured(json: Json, place: &str) -> Result<Occurrence, Refusal> {
    let Json::Object(mut fields) = json else {
        return Err(malformed(format!("{place}: an object is required.")));
    };
    let data = fields.iter().position(|(name, _)| name == "data").map(|at| fields.remove(at).1);
    let json = Json::Object(fields);
    let data = match (data, json.get("data_base64")) {
        (Some(Json::Object(fields)), _) => Json::Object(fields),
        (None | Some(Json::Null), None) => Json::Object(Vec::new()),
        (None | Some(Json::Null), Some(bytes)) => wrapped("data_base64", bytes.clone()),
        (Some(other), _) => wrapped("data", other),
    };
    let get = |name: &str| text(&json, &[name]).map(str::to_owned);
    occurrence(Attributes { place: place.to_owned(), get: &get, data })
}

fn binary(head: &Head, media: &str, body: &[u8]) -> Result<Occurrence, Refusal> {
    let get = |name: &str| {
        let value = head.get(&format!("ce-{name}"))?;
        Some(percent_decoded(value)).filter(|value| !value.is_empty())
    };
    if get("specversion").is_none() {
        return Err(malformed(
            "ce-specversion: this header is required, or a content type of application/cloudevents+json.",
        ));
    }
    let is_json = media == "application/json" || media == "text/json" || media.ends_with("+json");
    let data = match body {
        [] => Json::Object(Vec::new()),
        body if is_json || media.is_empty() => match parse(body)? {
            object @ Json::Object(_) => object,
            other => wrapped("data", other),
        },
        body => match std::str::from_utf8(body) {
            Ok(text) if media.starts_with("text/") => {
                wrapped("data", Json::String(text.to_owned()))
            }
            _ => wrapped("data_base64", Json::String(STANDARD.encode(body))),
        },
    };
    occurrence(Attributes { place: "ce-".to_owned(), get: &get, data })
}

fn occurrence(event: Attributes<'_>) -> Result<Occurrence, Refusal> {
    let Attributes { place, get, data } = event;
    let required = |name: &str| {
        get(name).ok_or_else(|| malformed(format!("{place}{name}: this attribute is required.")))
    };
    let version = required("specversion")?;
    if version != SPEC_VERSION {
        return Err(malformed(format!("{place}specversion: {SPEC_VERSION} is spoken here.")));
    }
    let (id, source, r#type) = (required("id")?, required("source")?, required("type")?);
    let (name, kind, dialect) = meaning(&r#type)
        .ok_or_else(|| malformed(format!("{place}type: it has to have at most 128 characters.")))?;
    typed(kind, dialect, &data, &format!("{place}data"))?;
    let occurred_at = match get("time") {
        None => None,
        Some(time) => Some(parse_rfc3339(&time).ok_or_else(|| {
            malformed(format!("{place}time: it has to be an instant of RFC 3339."))
        })?),
    };
    let key = Key::of(&[&source, &id]);
    let detail = Object::new().text("id", &id).text("source", &source);
    let detail = detail.text_or_null("subject", get("subject").as_deref()).end();
    let initiator = Object::new().text("type", "cloudevents").raw("detail", &detail).end();
    let event = NewEvent {
        kind,
        name,
        dialect,
        file: None,
        data: data.to_bytes(),
        initiator: Some(initiator),
        previous_values: None,
        occurred_at,
        idempotency_key: Some(key.text.clone()),
    };
    Ok(Occurrence { event, key })
}

/// A type that a dialect knows means what it means on publish, with this project's prefix or
/// without; any other is custom, and what a name can't hold is `_`.
fn meaning(r#type: &str) -> Option<(EventName, Kind, Dialect)> {
    let known = |name: &str, dialect: Option<Dialect>| {
        let (kind, dialect) = names::meaning(name, dialect)?;
        Some((EventName::parse(name)?, kind, dialect)).filter(|_| kind != Kind::Custom)
    };
    let bare =
        |(prefix, dialect): &(&str, Option<Dialect>)| known(r#type.strip_prefix(prefix)?, *dialect);
    PREFIXES.iter().find_map(bare).or_else(|| known(r#type, None)).or_else(|| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let name: String = r#type.chars().map(|c| if fits(c) { c } else { '_' }).collect();
        Some((EventName::parse(&name)?, Kind::Custom, Dialect::Custom))
    })
}

/// An event's data is an object here; anything else stands in one, under its CloudEvents name.
fn wrapped(name: &str, value: Json) -> Json {
    Json::Object(vec![(name.to_owned(), value)])
}

fn parse(body: &[u8]) -> Result<Json, Refusal> {
    Json::parse(body).map_err(|error| malformed(format!("JSON parse error - {error}")))
}

/// Header values carry what is not visible ASCII as `%` and two digits.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                rest = &tail[2..];
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}
