//! Uploadcare's own webhooks, relayed: `POST /in/uploadcare/`.
//!
//! Owns its envelope and its signature. Must never change what it carries: `data` is passed on as
//! it came, in whichever version.

use super::native::NewEvent;
use super::read::{self, malformed};
use super::{Context, Head, Intake, Key, Occurrence, Refusal, Reply, Said, plain_reply};
use crate::dialect::names;
use crate::logic::sign;
use crate::model::event::{EventName, FILE_URL_BYTES_MAX};
use crate::model::json::Json;

/// What a delivery means. With a secret, its signature is checked before it is read.
pub fn translate(head: &Head, body: &[u8], context: &Context<'_>) -> Result<Intake, Refusal> {
    if let Some(secret) = context.secret {
        let header = head.get("x-uc-signature");
        let header = header.ok_or(Refusal::Unsigned(sign::UPLOADCARE_SIGNATURE))?;
        sign::verify_uc(secret, header, body).map_err(Refusal::Signature)?;
    }
    let json = Json::parse(body).map_err(|e| malformed(format!("JSON parse error - {e}")))?;
    let name = read::text(&json, &["hook", "event"]);
    let name = name.ok_or_else(|| malformed("hook.event: this field is required."))?;
    let name = EventName::parse(name).ok_or_else(|| malformed("hook.event: not an event name."))?;
    // The meaning of a name that no dialect has is itself.
    let Some((kind, dialect)) = names::meaning(name.as_str(), None) else {
        return Err(malformed("hook.event: not an event name."));
    };
    let object = |key: &str| json.get(key).filter(|value| matches!(value, Json::Object(_)));
    let data = object("data").ok_or_else(|| malformed("data: an object is required."))?;
    read::typed(kind, dialect, data, "data")?;
    let file = read::text(&json, &["file"]).filter(|url| url.len() <= FILE_URL_BYTES_MAX);
    // Whoever numbers its deliveries, as Standard Webhooks asks, is believed.
    // An empty id would make every event that has one the same.
    let key = match head.get("webhook-id").filter(|id| !id.trim().is_empty()) {
        Some(id) => Key::of(&[id]),
        None => Key::of_body(body, name.as_str()),
    };
    let event = NewEvent {
        kind,
        name,
        dialect,
        data: data.to_bytes(),
        file: file.map(str::to_owned),
        initiator: object("initiator").map(Json::to_bytes),
        previous_values: object("previous_values").map(Json::to_bytes),
        occurred_at: None,
        idempotency_key: Some(key.text.clone()),
    };
    Ok(Intake::Events(vec![Occurrence { event, key }]))
}

/// It looks at the status alone.
#[must_use]
pub fn reply(said: &Said<'_>) -> Reply {
    plain_reply(said)
}
