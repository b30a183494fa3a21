//! Resources of JSON:API: webhooks, files, and whatever else an event is about.
//!
//! Owns the order of their keys, which is that on the wire. Must never show a secret unless the
//! caller says so, and never take a field from a resource that its publisher wrote.

use super::ids;
use crate::dialect::Mismatch;
use crate::dialect::mapping::{self, File, or_null};
use crate::dialect::object::Object;
use crate::model::event::{Dialect, Event, Kind};
use crate::model::json::Json;
use crate::model::secret::Secret;
use crate::model::webhook::Webhook;

/// The type of a webhook.
pub const TYPE: &str = "webhooks";
/// The version of every webhook of this dialect.
pub const VERSION: &str = "1";

/// A webhook. Where its secret is not shown, `signing_secret` is `null`.
#[must_use]
pub fn webhook_resource(webhook: &Webhook, project_public_key: &str, show_secret: bool) -> Vec<u8> {
    let secret = webhook.secret.as_ref().filter(|_| show_secret).map(Secret::expose);
    let attributes = Object::new()
        .texts("events", webhook.events.iter().map(|event| event.as_str()))
        .text("target_url", webhook.target_url.as_str())
        .flag("is_active", webhook.is_active())
        .text("version", VERSION)
        .text_or_null("signing_secret", secret);
    Object::new()
        .text("type", TYPE)
        .text("id", &webhook.public_id)
        .raw("attributes", &attributes.end())
        .raw("relationships", &in_project(project_public_key))
        .end()
}

/// `{"project":{"data":{…}}}`
#[must_use]
pub fn in_project(project_public_key: &str) -> Vec<u8> {
    Object::new().raw("project", &linkage("projects", project_public_key)).end()
}

/// `{"data":{"type":…,"id":…}}`
#[must_use]
pub fn linkage(resource_type: &str, id: &str) -> Vec<u8> {
    let data = Object::new().text("type", resource_type).text("id", id).end();
    Object::new().raw("data", &data).end()
}

/// What an event is about, as a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its type: `files`, `groups`, `actions`, or the publisher's own.
    pub resource_type: String,
    /// Its id.
    pub id: String,
    /// The whole object, up to the value of `relationships` if that names the project.
    pub before_project: Vec<u8>,
    /// What follows the value of `relationships`; `None` if the object is whole already, because
    /// its publisher wrote it.
    pub after_project: Option<Vec<u8>>,
}

/// The type of custom events' resources.
pub const CUSTOM_TYPE: &str = "events";

/// The resource that an event is about. `data` is the event's.
#[must_use]
pub fn of_event(event: &Event, data: &Json) -> Resource {
    match event.dialect {
        Dialect::JsonApi => native(event, data),
        Dialect::Uploadcare | Dialect::Lancer => match mapping::file(event, data) {
            Some(file) => of_file(&file, event),
            None => wrapped(event),
        },
        Dialect::Custom if is_resource(data) => native(event, data),
        Dialect::Custom => wrapped(event),
    }
}

/// Checks published data: a resource object, whose type and id may be missing, or its attributes
/// alone.
pub fn check(data: &Json) -> Result<(), Mismatch> {
    let text = |value: &Json| value.as_str().is_some_and(|text| !text.is_empty());
    let object = |value: &Json| matches!(value, Json::Object(_));
    let wrong = |field: &str, expected: &str| {
        let kind = data.get(field).map_or("null", Json::kind);
        let problem = format!("Expected {expected}, not {kind}.");
        Err(Mismatch { field: field.to_owned(), problem })
    };
    for field in ["type", "id"] {
        if data.get(field).is_some_and(|value| !text(value)) {
            return wrong(field, "a string that is not empty");
        }
    }
    for field in ["attributes", "relationships"] {
        if data.get(field).is_some_and(|value| !object(value)) {
            return wrong(field, "an object");
        }
    }
    Ok(())
}

/// What a `files` resource says of its file. Attributes without a resource around them are taken
/// as such.
#[must_use]
pub fn read_file(data: &Json) -> File {
    let attributes = data.get("attributes").unwrap_or(data);
    let content =
        |part: &str| attributes.get("content").and_then(|content| content.get(part)).cloned();
    let status = attributes.get("status").and_then(Json::as_str);
    let removed_at = or_null(attributes, "removed_at");
    let mime = or_null(attributes, "mime");
    File {
        id: data.get("id").and_then(Json::as_str).map(str::to_owned),
        uuid: or_null(attributes, "uuid"),
        name: or_null(attributes, "original_name"),
        url: or_null(attributes, "original_url"),
        size: or_null(attributes, "size"),
        mime_type: or_null(&mime, "mime"),
        mime,
        image: content("image").unwrap_or(Json::Null),
        video: content("video").unwrap_or(Json::Null),
        is_image: or_null(attributes, "is_image"),
        ready: match status {
            Some("ready") => Json::Bool(true),
            Some("pending") => Json::Bool(false),
            _ => Json::Null,
        },
        removed: status == Some("removed") || removed_at != Json::Null,
        removed_at,
        uploaded_at: or_null(attributes, "uploaded_at"),
        metadata: or_null(attributes, "metadata"),
    }
}

/// A resource that its publisher wrote: every field as it was sent, behind a type and an id where
/// it has none.
fn native(event: &Event, data: &Json) -> Resource {
    let text = |key: &str| data.get(key).and_then(Json::as_str);
    let resource_type = text("type").unwrap_or(type_of(event.kind)).to_owned();
    let attributes = data.get("attributes").unwrap_or(data);
    let uuid = attributes.get("uuid").and_then(Json::as_str);
    let id = match text("id") {
        Some(id) => id.to_owned(),
        None => derived_id(&resource_type, uuid, event),
    };
    let fields = match data {
        Json::Object(fields) => fields.as_slice(),
        _ => &[],
    };
    let others = || fields.iter().filter(|(key, _)| key != "type" && key != "id").cloned();
    let head = || {
        let field = |key: &str, text: &String| (key.to_owned(), Json::String(text.clone()));
        [field("type", &resource_type), field("id", &id)].into_iter()
    };
    let whole = if text("type").is_some() && text("id").is_some() {
        event.data.clone()
    } else if ["type", "attributes", "relationships"].iter().any(|key| data.get(key).is_some()) {
        Json::Object(head().chain(others()).collect()).to_bytes()
    } else {
        let attributes = ("attributes".to_owned(), Json::Object(others().collect()));
        Json::Object(head().chain([attributes]).collect()).to_bytes()
    };
    Resource { resource_type, id, before_project: whole, after_project: None }
}

fn of_file(file: &File, event: &Event) -> Resource {
    let id = derived_id("files", file.uuid.as_str(), event);
    let before_project = head("files", &id, &file_attributes(file));
    let after_project = Some(br#","chunked_upload_urls":[]}"#.to_vec());
    Resource { resource_type: "files".to_owned(), id, before_project, after_project }
}

/// An event that is about no resource is one itself.
fn wrapped(event: &Event) -> Resource {
    let id = event.id.to_string();
    let before_project = head(CUSTOM_TYPE, &id, &event.data);
    let after_project = Some(b"}".to_vec());
    Resource { resource_type: CUSTOM_TYPE.to_owned(), id, before_project, after_project }
}

fn head(resource_type: &str, id: &str, attributes: &[u8]) -> Vec<u8> {
    let object = Object::new()
        .text("type", resource_type)
        .text("id", id)
        .raw("attributes", attributes)
        .raw("relationships", b"");
    let mut bytes = object.end();
    bytes.pop();
    bytes
}

fn file_attributes(file: &File) -> Vec<u8> {
    let status = match (file.removed, &file.ready) {
        (true, _) => Some("removed"),
        (false, Json::Bool(true)) => Some("ready"),
        (false, Json::Bool(false)) => Some("pending"),
        (false, _) => None,
    };
    let mime = match &file.mime {
        Json::Null => in_parts(&file.mime_type),
        parts => parts.clone(),
    };
    let content = Object::new().json("image", &file.image).json("video", &file.video);
    Object::new()
        .json("uuid", &file.uuid)
        .json("is_image", &file.is_image)
        .text_or_null("status", status)
        .json("mime", &mime)
        .json("original_url", &file.url)
        .json("original_name", &file.name)
        .json("size", &file.size)
        .flag("original_protected", false)
        .raw("chunked_upload", NOT_CHUNKED)
        .json("metadata", &file.metadata)
        .raw("content", &content.end())
        .raw("created_at", b"null")
        .json("uploaded_at", &file.uploaded_at)
        .json("removed_at", &file.removed_at)
        .raw("expires_at", b"null")
        .end()
}

const NOT_CHUNKED: &[u8] = br#"{"is_chunked_upload":false,"chunk_size":null,"is_complete":false}"#;

fn derived_id(resource_type: &str, uuid: Option<&str>, event: &Event) -> String {
    match uuid {
        Some(uuid) => ids::resource(resource_type, uuid),
        None => ids::resource(resource_type, &event.id.to_string()),
    }
}

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::GroupCreated | Kind::GroupUpdated | Kind::GroupDeleted => "groups",
        Kind::ActionCreated | Kind::ActionUpdated => "actions",
        kind if mapping::is_of_file(kind) => "files",
        _ => CUSTOM_TYPE,
    }
}

fn is_resource(data: &Json) -> bool {
    data.get("type").and_then(Json::as_str).is_some()
        && matches!(data.get("attributes"), Some(Json::Object(_)))
}

/// `{mime, type, subtype}`; null if it is no MIME type.
fn in_parts(mime_type: &Json) -> Json {
    let text = |text: &str| Json::String(text.to_owned());
    let Some((whole, (kind, subtype))) =
        mime_type.as_str().and_then(|whole| Some((whole, whole.split_once('/')?)))
    else {
        return Json::Null;
    };
    Json::Object(vec![
        ("mime".to_owned(), text(whole)),
        ("type".to_owned(), text(kind)),
        ("subtype".to_owned(), text(subtype)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_of_a_resource() {
        let json = |text: &str| Json::parse(text.as_bytes()).expect(text);
        for sound in [
            "{}",
            r#"{"uuid":null,"status":"pending"}"#,
            r#"{"type":"groups","id":"g-1","attributes":{},"relationships":{},"meta":[]}"#,
        ] {
            assert_eq!(check(&json(sound)), Ok(()), "{sound}");
        }
        for (text, field) in [
            (r#"{"type":1}"#, "type"),
            (r#"{"type":""}"#, "type"),
            (r#"{"type":"files","id":null}"#, "id"),
            (r#"{"attributes":[]}"#, "attributes"),
            (r#"{"attributes":{},"relationships":"x"}"#, "relationships"),
        ] {
            assert_eq!(check(&json(text)).expect_err(text).field, field);
        }
    }

    #[test]
    fn a_mime_type_in_its_parts() {
        let text = |text: &str| in_parts(&Json::String(text.to_owned())).to_bytes();
        assert_eq!(text("a/b+c"), br#"{"mime":"a/b+c","type":"a","subtype":"b+c"}"#);
        assert_eq!(text("odd"), b"null");
    }
}
