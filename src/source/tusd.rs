//! tusd v2's HTTP hooks: `POST /in/tusd/`.
//!
//! Owns which hook means what, and tusd's rule for answers: 2xx with `application/json` and a JSON
//! object, or the user's upload fails. Must never keep a hook waiting for a delivery, and never
//! rely on an order: `post-finish` may come before `post-create`.

use super::file::{self, File, Session};
use super::read::{self, flag, malformed, text, whole};
use super::{Context, Head, Intake, Key, Occurrence, Refusal, Reply, Said, plain_reply, uuid};
use crate::model::json::Json;

/// The keys of `MetaData` that have places of their own.
const NAMED: [&str; 2] = ["filename", "filetype"];

/// What a hook means.
pub fn translate(_: &Head, body: &[u8], context: &Context<'_>) -> Result<Intake, Refusal> {
    let json = read::object(body)?;
    let hook = text(&json, &["Type"]).ok_or_else(|| malformed("Type: this field is required."))?;
    if !matches!(hook, "post-create" | "post-finish" | "post-terminate") {
        return Ok(Intake::Nothing("this hook asks for nothing and tells of nothing that is done"));
    }
    let upload = read::at(&json, &["Event", "Upload"]);
    let upload = upload.ok_or_else(|| malformed("Event.Upload: this field is required."))?;
    let id = text(upload, &["ID"]);
    let id = id.ok_or_else(|| malformed("Event.Upload.ID: this field is required."))?;
    if flag(upload, &["IsPartial"]) {
        return Ok(Intake::Nothing("a piece of a concatenation"));
    }
    Ok(Intake::Events(events(hook, id, upload, context)))
}

/// `{}` for whatever is fine. An error is 500 where tusd shall try again: it does so for no other.
#[must_use]
pub fn reply(said: &Said<'_>) -> Reply {
    match said {
        Said::Accepted { .. } | Said::Ignored(_) => Reply { status: 200, body: b"{}".to_vec() },
        Said::Refused(..) => plain_reply(said),
        Said::Unavailable(_) => Reply { status: 500, ..plain_reply(said) },
    }
}

fn events(hook: &str, id: &str, upload: &Json, context: &Context<'_>) -> Vec<Occurrence> {
    let size = whole(upload, &["Size"]).filter(|_| !flag(upload, &["SizeIsDeferred"]));
    let offset = whole(upload, &["Offset"]);
    let shown = offset.map_or_else(String::new, |offset| offset.to_string());
    let key = |name: &str| Key::of(&[hook, id, &shown, name]);
    let session = |name| file::session(name, &session_of(id, size, upload), key(name));
    match hook {
        "post-create" => vec![session("SESSION_CREATED")],
        "post-finish" => {
            let mut events = vec![session("SESSION_COMPLETED")];
            events.extend(file::uploaded(&file_of(id, size.or(offset), upload), key, context));
            events
        }
        // A server that gives but the id has nothing that is unfinished any more.
        _ if size == offset => {
            let name = "file.deleted";
            vec![file::event(name, &file_of(id, size, upload), key(name), context)]
        }
        _ => vec![session("SESSION_CANCELLED")],
    }
}

fn session_of<'a>(id: &'a str, size: Option<u64>, upload: &'a Json) -> Session<'a> {
    Session {
        id,
        size,
        name: text(upload, &["MetaData", "filename"]),
        temp_path: text(upload, &["Storage", "Path"]).or(text(upload, &["Storage", "Key"])),
        owner: text(upload, &["MetaData", "owner_id"]),
        provider: text(upload, &["Storage", "Type"]),
        occurred_at: None,
    }
}

fn file_of(id: &str, size: Option<u64>, upload: &Json) -> File {
    let owned = |path: &[&str]| text(upload, path).map(str::to_owned);
    let mut metadata = Vec::new();
    let storage = [("provider", "Type"), ("path", "Path"), ("bucket", "Bucket"), ("key", "Key")];
    for (name, key) in storage {
        metadata.extend(owned(&["Storage", key]).map(|value| (name.to_owned(), value)));
    }
    metadata.push(("upload_id".to_owned(), id.to_owned()));
    if let Some(Json::Object(fields)) = upload.get("MetaData") {
        let others = fields.iter().filter(|(name, _)| !NAMED.contains(&name.as_str()));
        metadata.extend(
            others.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))),
        );
    }
    File {
        uuid: uuid_of(id),
        name: owned(&["MetaData", "filename"]),
        mime: owned(&["MetaData", "filetype"]),
        size,
        path: text(upload, &["Storage", "Key"]).unwrap_or(id).to_owned(),
        metadata,
        occurred_at: None,
        previous_values: None,
    }
}

/// tusd's ids are 32 hexadecimal digits; on S3 a `+` and the multipart upload's id follow.
fn uuid_of(id: &str) -> String {
    let digits = id.split('+').next().unwrap_or(id);
    uuid::of_digits(digits).unwrap_or_else(|| uuid::of_url(&format!("tus:{id}")))
}
