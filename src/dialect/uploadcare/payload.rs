//! The body that is delivered: `initiator`, `hook`, `data`, `file`, `previous_values`.
//!
//! Owns the three payload versions. Must never complete or invent data: 0.7 carries the
//! publisher's bytes, and the fixed shapes of 0.6 and 0.5 say `null` (0.5's `is_stored`: false)
//! where the publisher said nothing.
//!
//! Rendering has two steps, because one event goes to many webhooks: what they share is rendered
//! once for each version, the rest for each webhook.

use super::file::{self, content_info};
use crate::dialect::object::Object;
use crate::dialect::{RenderError, mapping, names};
use crate::model::event::{Dialect, Event};
use crate::model::json::Json;
use crate::model::webhook::{Format, Version, Webhook};

const INITIATOR_DEFAULT: &[u8] =
    br#"{"type":"api","detail":{"request_id":null,"addon_name":null}}"#;

/// Uploadcare's keys of a file in 0.6, in order. `image_info` and `video_info` moved into
/// `content_info` in 0.7.
pub const DATA_KEYS_V06: [&str; 16] = [
    "uuid",
    "image_info",
    "video_info",
    "mime_type",
    "original_filename",
    "size",
    "is_image",
    "is_ready",
    "datetime_removed",
    "datetime_stored",
    "datetime_uploaded",
    "original_file_url",
    "url",
    "source",
    "variations",
    "rekognition_info",
];
/// Where a file's data says its URL.
const FILE_URL_KEY: &str = "original_file_url";
/// More than `data`, `file` and `previous_values` take with all that stands around them.
const KEYS_BYTES: usize = 64;
const IMAGE_INFO_KEYS_V05: [&str; 5] =
    ["height", "width", "geo_location", "datetime_original", "format"];

/// What all webhooks of one version get of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    version: Version,
    /// What the version calls the event.
    event: String,
    /// `{"initiator":…,` or `{`
    before_hook: Vec<u8>,
    /// `,"data":…}`
    after_hook: Vec<u8>,
}

impl Shared {
    /// About the bytes that it holds, for a cache's limit.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.event.len() + self.before_hook.len() + self.after_hook.len()
    }
}

/// Renders what does not depend on the webhook. An event that the version does not carry (the
/// webhook's version changed meanwhile) is rendered all the same, under its own name.
pub fn shared(event: &Event, version: Version) -> Result<Shared, RenderError> {
    // Parsing a large payload is only worth it where something has to be picked from it.
    let own = matches!(event.dialect, Dialect::Uploadcare | Dialect::Custom);
    let names_file = event.file.is_none() && mentions(&event.data, FILE_URL_KEY);
    let picks = !own || version != Version::V07 || names_file;
    let published =
        if picks { Json::reread(&event.data).map_err(RenderError::Data)? } else { Json::Null };
    let mapped = if own { None } else { mapping::file(event, &published) };
    let mapped = mapped.map(|mapped| file::write(&mapped));
    let data = match &mapped {
        Some(mapped) => Json::reread(mapped).map_err(RenderError::Data)?,
        None => published,
    };
    let url = event.file.as_deref().or(data.get(FILE_URL_KEY).and_then(Json::as_str));
    let before_hook = match version {
        Version::V07 => {
            let initiator = event.initiator.as_deref().unwrap_or(INITIATOR_DEFAULT);
            [b"{\"initiator\":", initiator, b","].concat()
        }
        Version::V06 | Version::V05 => b"{".to_vec(),
    };
    let parts = match version {
        Version::V07 => {
            let data = mapped.as_ref().unwrap_or(&event.data);
            // The rest is a file's URL, and what an update changed.
            let more = url.map_or(0, str::len) + event.previous_values.as_ref().map_or(0, Vec::len);
            Object::with_room(data.len() + more + KEYS_BYTES).raw("data", data)
        }
        Version::V06 => Object::new().raw("data", &data_v06(&data)),
        Version::V05 => Object::new().raw("data", &data_v05(&data)),
    }
    .text_or_null("file", url);
    let parts = match (&event.previous_values, version) {
        (Some(values), Version::V07) if own => parts.raw("previous_values", values),
        _ => parts,
    };
    let mut after_hook = parts.end();
    after_hook[0] = b',';
    // 0.5 and 0.6 call an event that they do not carry what 0.7 calls it.
    let name = names::name_for(Format::Uploadcare(Version::V07), event.kind, &event.name);
    let name = name.unwrap_or(event.name.as_str()).to_owned();
    Ok(Shared { version, event: name, before_hook, after_hook })
}

/// Whether a text stands anywhere in a payload.
fn mentions(data: &[u8], text: &str) -> bool {
    std::str::from_utf8(data).is_ok_and(|data| data.contains(text))
}

/// The whole body for one webhook.
#[must_use]
pub fn body(shared: &Shared, webhook: &Webhook, project_public_key: &str) -> Vec<u8> {
    let hook = match shared.version {
        Version::V07 | Version::V06 => hook(shared, webhook, project_public_key),
        Version::V05 => Object::new()
            .number("id", u64::from(webhook.id.get()))
            .text("event", &shared.event)
            .text("target", webhook.target_url.as_str())
            .end(),
    };
    let mut out = Vec::with_capacity(shared.size_bytes() + hook.len() + 8);
    out.extend_from_slice(&shared.before_hook);
    out.extend_from_slice(b"\"hook\":");
    out.extend_from_slice(&hook);
    out.extend_from_slice(&shared.after_hook);
    out
}

fn hook(shared: &Shared, webhook: &Webhook, project_public_key: &str) -> Vec<u8> {
    Object::new()
        .number("id", u64::from(webhook.id.get()))
        .number("project_id", u64::from(webhook.project.get()))
        .text("project_pub_key", project_public_key)
        .text("target", webhook.target_url.as_str())
        .text("event", &shared.event)
        .flag("is_active", webhook.is_active())
        .text("version", shared.version.as_str())
        .text("created_at", &webhook.created.rfc3339_micros())
        .text("updated_at", &webhook.updated.rfc3339_micros())
        .end()
}

fn data_v06(data: &Json) -> Vec<u8> {
    let object = DATA_KEYS_V06.iter().fold(Object::new(), |object, key| match *key {
        "image_info" => object.json(key, content_info(data, "image", key)),
        "video_info" => object.json(key, content_info(data, "video", key)),
        _ => object.json(key, or_null(data, key)),
    });
    object.end()
}

fn data_v05(data: &Json) -> Vec<u8> {
    let object = Object::new()
        .json("uuid", or_null(data, "uuid"))
        .json("is_image", or_null(data, "is_image"))
        .json("filename", or_null(data, "original_filename"))
        .flag("is_stored", is_stored(data))
        .json("done", or_null(data, "size"))
        .json("file_id", or_null(data, "uuid"))
        .json("original_filename", or_null(data, "original_filename"));
    let image = content_info(data, "image", "image_info");
    let object = match image {
        Json::Object(_) => {
            let info = IMAGE_INFO_KEYS_V05
                .iter()
                .fold(Object::new(), |info, key| info.json(key, or_null(image, key)));
            object.raw("image_info", &info.end())
        }
        _ => object.json("image_info", &Json::Null),
    };
    object
        .json("is_ready", or_null(data, "is_ready"))
        .json("total", or_null(data, "size"))
        .json("size", or_null(data, "size"))
        .end()
}

/// A publisher that still writes 0.5's own key is believed.
fn is_stored(data: &Json) -> bool {
    *or_null(data, "datetime_stored") != Json::Null
        || *or_null(data, "is_stored") == Json::Bool(true)
}

fn or_null<'a>(data: &'a Json, key: &str) -> &'a Json {
    data.get(key).unwrap_or(&Json::Null)
}
