//! Canonical events of sources: files in Uploadcare's shape, sessions in Lancer's.
//!
//! Owns the two shapes, the URL of a file and its type by its name. Must never invent: what a
//! source does not say is `null` (in Lancer's table, which has types: empty).

use super::native::NewEvent;
use super::{Context, Key, Occurrence};
use crate::dialect::names;
use crate::model::event::{Dialect, EventName, FILE_URL_BYTES_MAX, Kind};
use crate::model::json::Json;
use crate::model::time::Wall;

/// A file, as far as its source knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// Its id.
    pub uuid: String,
    /// Its name.
    pub name: Option<String>,
    /// Its type; by its name if the source does not say.
    pub mime: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Where it is below `cdn_base`.
    pub path: String,
    /// What else is known; the first of two equal keys counts.
    pub metadata: Vec<(String, String)>,
    /// When the source says that it happened.
    pub occurred_at: Option<Wall>,
    /// What it was before.
    pub previous_values: Option<Vec<u8>>,
}

/// An upload that is under way or over.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session<'a> {
    /// Its id.
    pub id: &'a str,
    /// The whole file's size in bytes.
    pub size: Option<u64>,
    /// The file's name.
    pub name: Option<&'a str>,
    /// Where it is kept meanwhile.
    pub temp_path: Option<&'a str>,
    /// Whose it is.
    pub owner: Option<&'a str>,
    /// What keeps it.
    pub provider: Option<&'a str>,
    /// When the source says that it happened.
    pub occurred_at: Option<Wall>,
}

/// An event of a file, by its name in Uploadcare's dialect.
pub(super) fn event(
    name: &'static str,
    file: &File,
    key: Key,
    context: &Context<'_>,
) -> Occurrence {
    let url = url(file, context);
    let data = data(name, file, url.as_deref(), context);
    let previous_values = file.previous_values.clone().filter(|_| name == "file.info_updated");
    let parts = Parts { data, file: url, previous_values, occurred_at: file.occurred_at };
    occurrence(name, Dialect::Uploadcare, parts, key)
}

/// The events of an upload that is complete: `file.uploaded`, and `file.stored` where the project
/// stores files by itself.
pub(super) fn uploaded(
    file: &File,
    key: impl Fn(&'static str) -> Key,
    context: &Context<'_>,
) -> Vec<Occurrence> {
    let stored = context.settings.auto_store.then_some("file.stored");
    ["file.uploaded"]
        .into_iter()
        .chain(stored)
        .map(|name| event(name, file, key(name), context))
        .collect()
}

/// An event of a session, by its name in Lancer's dialect.
pub(super) fn session(name: &'static str, session: &Session<'_>, key: Key) -> Occurrence {
    let data = Json::Object(vec![
        field("id", text(session.id)),
        field("file_size", number(session.size.unwrap_or(0))),
        field("chunk_size", number(0)),
        field("max_chunk", number(0)),
        field("file_name", text(session.name.unwrap_or_default())),
        field("temp_path", text(session.temp_path.unwrap_or_default())),
        field("owner_id", text(session.owner.unwrap_or_default())),
        field("current_chunk", number(0)),
        field("provider", text(session.provider.unwrap_or_default())),
    ]);
    let occurred_at = session.occurred_at;
    let parts = Parts { data, file: None, previous_values: None, occurred_at };
    occurrence(name, Dialect::Lancer, parts, key)
}

struct Parts {
    data: Json,
    file: Option<String>,
    previous_values: Option<Vec<u8>>,
    occurred_at: Option<Wall>,
}

fn occurrence(name: &'static str, dialect: Dialect, parts: Parts, key: Key) -> Occurrence {
    let kind = names::meaning(name, Some(dialect)).map_or(Kind::Custom, |(kind, _)| kind);
    let event = NewEvent {
        kind,
        name: EventName::parse(name).expect("a literal of the right form"),
        dialect,
        data: parts.data.to_bytes(),
        file: parts.file,
        initiator: None,
        previous_values: parts.previous_values,
        occurred_at: parts.occurred_at,
        idempotency_key: Some(key.text.clone()),
    };
    Occurrence { event, key }
}

/// Uploadcare's keys of a file in 0.7, in its order.
fn data(name: &str, file: &File, url: Option<&str>, context: &Context<'_>) -> Json {
    // Who gives no time reports at once.
    let at = || text(&file.occurred_at.unwrap_or(context.now).rfc3339_micros());
    let when = |holds: bool| if holds { at() } else { Json::Null };
    let is_new = matches!(name, "file.uploaded" | "file.stored");
    let is_stored = is_new && (context.settings.auto_store || name == "file.stored");
    let file_name = file.name.as_deref();
    let mime = file.mime.as_deref().or_else(|| file_name.and_then(mime_by_name));
    Json::Object(vec![
        field("content_info", Json::Null),
        field("uuid", text(&file.uuid)),
        field("is_image", Json::Bool(mime.is_some_and(|mime| mime.starts_with("image/")))),
        field("is_ready", Json::Bool(true)),
        field("metadata", metadata(&file.metadata)),
        field("appdata", Json::Null),
        field("mime_type", or_null(mime)),
        field("original_filename", or_null(file_name)),
        field("original_file_url", or_null(url)),
        field("datetime_removed", when(name == "file.deleted")),
        field("size", file.size.map_or(Json::Null, number)),
        field("datetime_stored", when(is_stored)),
        field("url", Json::Null),
        field("datetime_uploaded", when(is_new)),
        field("variations", Json::Null),
    ])
}

fn metadata(pairs: &[(String, String)]) -> Json {
    let mut fields: Vec<(String, Json)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        if !fields.iter().any(|(known, _)| known == key) {
            fields.push((key.clone(), Json::String(value.clone())));
        }
    }
    Json::Object(fields)
}

/// `cdn_base` and the path; or, where `cdn_base` has `{path}`, `{uuid}` or `{name}` in it, what it
/// becomes with these.
fn url(file: &File, context: &Context<'_>) -> Option<String> {
    let base = context.settings.cdn_base.as_deref()?;
    let path = percent_encoded(file.path.trim_start_matches('/'));
    let url = if base.contains('{') {
        base.replace("{path}", &path)
            .replace("{uuid}", &file.uuid)
            .replace("{name}", &percent_encoded(file.name.as_deref().unwrap_or_default()))
    } else {
        format!("{}/{path}", base.trim_end_matches('/'))
    };
    (url.len() <= FILE_URL_BYTES_MAX).then_some(url)
}

fn percent_encoded(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    path.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// The types of files that are uploaded most; others are unknown.
const MIME_BY_EXTENSION: [(&str, &str); 30] = [
    ("aac", "audio/aac"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("heic", "image/heic"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("json", "application/json"),
    ("md", "text/markdown"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ogg", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("tiff", "image/tiff"),
    ("txt", "text/plain"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("xml", "application/xml"),
    ("zip", "application/zip"),
];

fn mime_by_name(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    let extension = extension.to_ascii_lowercase();
    MIME_BY_EXTENSION.iter().find(|(known, _)| *known == extension).map(|(_, mime)| *mime)
}

fn field(key: &str, value: Json) -> (String, Json) {
    (key.to_owned(), value)
}

fn text(value: &str) -> Json {
    Json::String(value.to_owned())
}

fn number(value: u64) -> Json {
    Json::Number(value as f64)
}

fn or_null(value: Option<&str>) -> Json {
    value.map_or(Json::Null, text)
}
