//! SeaweedFS's filer notifications: `POST /in/seaweedfs/`.
//!
//! Owns which of them are about files. Must never rely on an order: five workers send them. Pieces
//! of a multipart upload (`/.uploads/`) and directories are no files.

use super::file::{self, File};
use super::read::{self, flag, last_segment, malformed, text, whole};
use super::{Context, Head, Intake, Key, Refusal, Reply, Said, plain_reply, uuid};
use crate::dialect::object::Object;
use crate::model::json::Json;
use crate::model::time::{SECOND_MS, Wall};

/// What a notification means.
pub fn translate(_: &Head, body: &[u8], context: &Context<'_>) -> Result<Intake, Refusal> {
    let json = read::object(body)?;
    let path = text(&json, &["key"]).ok_or_else(|| malformed("key: this field is required."))?;
    let kind = text(&json, &["event_type"]);
    let kind = kind.ok_or_else(|| malformed("event_type: this field is required."))?;
    let name = match kind {
        "create" => "file.uploaded",
        "update" | "rename" => "file.info_updated",
        "delete" => "file.deleted",
        _ => return Ok(Intake::Nothing("no change of a file")),
    };
    let entry =
        |key: &str| read::at(&json, &["message", key]).filter(|e| matches!(e, Json::Object(_)));
    let entry = match kind {
        "delete" => entry("old_entry"),
        _ => entry("new_entry"),
    };
    if path.contains("/.uploads/") {
        return Ok(Intake::Nothing("a piece of a multipart upload"));
    }
    if entry.is_some_and(|entry| flag(entry, &["is_directory"])) {
        return Ok(Intake::Nothing("a directory"));
    }
    let mut file = file_of(&new_path(kind, path, &json, entry), entry);
    if kind == "rename" {
        let before = Object::new().text("uuid", &uuid_of(path));
        let before = before.text("original_filename", last_segment(path));
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

/// Where the file is now: a rename says so beside the key, which is where it was.
fn new_path(kind: &str, path: &str, json: &Json, entry: Option<&Json>) -> String {
    let parent = text(json, &["message", "new_parent_path"]);
    let name = entry.and_then(|entry| text(entry, &["name"]));
    match (kind, parent, name) {
        ("rename", Some(parent), Some(name)) => format!("{}/{name}", parent.trim_end_matches('/')),
        _ => path.to_owned(),
    }
}

fn file_of(path: &str, entry: Option<&Json>) -> File {
    let attribute = |name: &str| entry.and_then(|e| text(e, &["attributes", name]));
    let number = |name: &str| entry.and_then(|e| whole(e, &["attributes", name]));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut metadata = vec![pair("provider", "seaweedfs"), pair("path", path)];
    let inside = path.strip_prefix("/buckets/").and_then(|rest| rest.split_once('/'));
    if let Some((bucket, key)) = inside {
        metadata.extend([pair("bucket", bucket), pair("key", key)]);
    }
    File {
        uuid: uuid_of(path),
        name: Some(last_segment(path).to_owned()).filter(|name| !name.is_empty()),
        mime: attribute("mime").map(str::to_owned),
        size: number("file_size"),
        path: inside.map_or(path, |(_, key)| key).to_owned(),
        metadata,
        occurred_at: number("mtime").and_then(|s| s.checked_mul(SECOND_MS)).map(Wall),
        previous_values: None,
    }
}

/// In a bucket the same as through its S3 gateway.
fn uuid_of(path: &str) -> String {
    match path.strip_prefix("/buckets/") {
        Some(inside) => uuid::of_url(&format!("s3://{inside}")),
        None => uuid::of_url(&format!("seaweedfs:{path}")),
    }
}
