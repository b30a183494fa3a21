//! Nextcloud's `webhook_listeners`: `POST /in/nextcloud/`.
//!
//! Owns which of its events are about files. Must never take a node for a file that has a size or
//! a type: the event says neither, nor whether it is a folder.

use super::file::{self, File};
use super::read::{self, last_segment, malformed, text, whole};
use super::{Context, Head, Intake, Key, Refusal, Reply, Said, plain_reply, uuid};
use crate::dialect::object::Object;
use crate::model::json::Json;
use crate::model::time::{SECOND_MS, Wall};

const NODE_EVENTS: &str = "OCP\\Files\\Events\\Node\\";

/// What an event means.
pub fn translate(_: &Head, body: &[u8], context: &Context<'_>) -> Result<Intake, Refusal> {
    let json = read::object(body)?;
    let class = text(&json, &["event", "class"]);
    let class = class.ok_or_else(|| malformed("event.class: this field is required."))?;
    let (name, node) = match class.strip_prefix(NODE_EVENTS) {
        Some("NodeCreatedEvent") => ("file.uploaded", "node"),
        Some("NodeWrittenEvent") => ("file.info_updated", "node"),
        Some("NodeDeletedEvent") => ("file.deleted", "node"),
        Some("NodeRenamedEvent") => ("file.info_updated", "target"),
        _ => return Ok(Intake::Nothing("no change of a file")),
    };
    let node = read::at(&json, &["event", node]);
    let path = node.and_then(|node| text(node, &["path"]));
    let path = path.ok_or_else(|| malformed("event: the node has no path."))?;
    let mut file = file_of(path, node, &json, context);
    if let Some(before) = text(&json, &["event", "source", "path"]) {
        let before = Object::new().text("original_filename", last_segment(before));
        file.previous_values = Some(before.end());
    }
    let key = |name: &str| Key::of_body(body, name);
    Ok(Intake::Events(match name {
        "file.uploaded" => file::uploaded(&file, key, context),
        name => vec![file::event(name, &file, key(name), context)],
    }))
}

/// It looks at the status alone.
#[must_use]
pub fn reply(said: &Said<'_>) -> Reply {
    plain_reply(said)
}

fn file_of(path: &str, node: Option<&Json>, json: &Json, context: &Context<'_>) -> File {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut metadata = vec![pair("provider", "nextcloud"), pair("path", path)];
    let user = text(json, &["user", "uid"]);
    metadata.extend(user.map(|user| pair("uploaded_by", user)));
    // A deleted node has lost its id more often than not. The event does not say which Nextcloud
    // it comes from: `?instance=` does, where a project has several.
    let host = context.instance.unwrap_or(context.public_key);
    let id = node.and_then(|node| whole(node, &["id"])).map(|id| id.to_string());
    let id = id.as_deref().unwrap_or(path.trim_start_matches('/'));
    File {
        uuid: uuid::of_url(&format!("nextcloud:{host}/{id}")),
        name: Some(last_segment(path).to_owned()).filter(|name| !name.is_empty()),
        mime: None,
        size: None,
        path: path.to_owned(),
        metadata,
        occurred_at: whole(json, &["time"]).and_then(|s| s.checked_mul(SECOND_MS)).map(Wall),
        previous_values: None,
    }
}
