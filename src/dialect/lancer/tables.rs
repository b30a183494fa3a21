//! Lancer's two tables, of sessions and of files, with the type of each field.
//!
//! Owns their validation, and the way from a row to a [`File`] and back. Must never complete what
//! a publisher sent: a field that is missing stays missing, and one that no table knows is kept.

use crate::dialect::mapping::{self, File, or_null};
use crate::dialect::object::Object;
use crate::dialect::{Mismatch, mapping::is_of_file};
use crate::model::event::Kind;
use crate::model::json::Json;
use crate::model::time::parse_rfc3339;

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Id,
    Text,
    Int64,
    Bool,
    Iso8601,
    Sha256,
    Object,
}

const SESSION: [(&str, Type); 9] = [
    ("id", Type::Id),
    ("file_size", Type::Int64),
    ("chunk_size", Type::Int64),
    ("max_chunk", Type::Int64),
    ("file_name", Type::Text),
    ("temp_path", Type::Text),
    ("owner_id", Type::Text),
    ("current_chunk", Type::Int64),
    ("provider", Type::Text),
];

const FILE: [(&str, Type); 12] = [
    ("id", Type::Id),
    ("file_name", Type::Text),
    ("file_path", Type::Text),
    ("file_size", Type::Int64),
    ("file_type", Type::Text),
    ("uploaded_by", Type::Text),
    ("uploaded_at", Type::Iso8601),
    ("is_deleted", Type::Bool),
    ("checksum", Type::Sha256),
    ("description", Type::Text),
    ("provider", Type::Text),
    ("provider_metadata", Type::Object),
];

/// Columns that are keys of the metadata elsewhere.
const OF_METADATA: [&str; 4] = ["uploaded_by", "checksum", "description", "provider"];
const SHA256_HEX_DIGITS: usize = 64;
const INT64_MAX: f64 = 9_007_199_254_740_991.0;

/// Checks a published row, field by field in the table's order. An id it has to have.
pub fn check(kind: Kind, data: &Json) -> Result<(), Mismatch> {
    let table: &[(&str, Type)] = if is_of_file(kind) { &FILE } else { &SESSION };
    for (name, kind) in table {
        let problem = match data.get(name) {
            None if *kind == Type::Id => Some("This field is required.".to_owned()),
            None => None,
            Some(value) => kind.problem(value),
        };
        if let Some(problem) = problem {
            return Err(Mismatch { field: (*name).to_owned(), problem });
        }
    }
    Ok(())
}

/// What a row of the table of files says.
#[must_use]
pub fn read_file(data: &Json) -> File {
    let removed = data.get("is_deleted") == Some(&Json::Bool(true));
    let id = data.get("id").and_then(Json::as_str).filter(|id| !id.is_empty());
    File {
        uuid: id.map_or(Json::Null, |id| Json::String(mapping::uuid("lancer", id))),
        name: said(data, "file_name"),
        url: said(data, "file_path"),
        size: or_null(data, "file_size"),
        mime_type: said(data, "file_type"),
        removed,
        uploaded_at: said(data, "uploaded_at"),
        metadata: read_metadata(data),
        ..File::unknown()
    }
}

/// A file of another dialect as a row: what has no source is empty.
#[must_use]
pub fn write_file(file: &File) -> Vec<u8> {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let id = file.uuid.as_str().or(file.id.as_deref()).unwrap_or_default();
    let noted = |key: &str, kind: Type| {
        let value = or_null(&file.metadata, key);
        if kind.problem(&value).is_none() { text(&value) } else { String::new() }
    };
    let uploaded_at = match Type::Iso8601.problem(&file.uploaded_at) {
        None => text(&file.uploaded_at),
        Some(_) => String::new(),
    };
    let size = match Type::Int64.problem(&file.size) {
        None => file.size.clone(),
        Some(_) => Json::Number(0.0),
    };
    let object = Object::new()
        .text("id", id)
        .text("file_name", &text(&file.name))
        .text("file_path", &text(&file.url))
        .json("file_size", &size)
        .text("file_type", &text(&file.mime_type))
        .text("uploaded_by", &noted("uploaded_by", Type::Text))
        .text("uploaded_at", &uploaded_at)
        .flag("is_deleted", file.removed)
        .text("checksum", &noted("checksum", Type::Sha256))
        .text("description", &noted("description", Type::Text))
        .text("provider", &noted("provider", Type::Text));
    match &file.metadata {
        metadata @ Json::Object(_) => object.json("provider_metadata", metadata).end(),
        _ => object.raw("provider_metadata", b"{}").end(),
    }
}

impl Type {
    fn problem(self, value: &Json) -> Option<String> {
        let text = value.as_str();
        let sound = match self {
            Type::Id => text.is_some_and(|text| !text.is_empty()),
            Type::Text => text.is_some(),
            Type::Int64 => matches!(value, Json::Number(number) if is_exact_integer(*number)),
            Type::Bool => matches!(value, Json::Bool(_)),
            Type::Iso8601 => text.is_some_and(|text| text.is_empty() || is_iso8601(text)),
            Type::Sha256 => text.is_some_and(|text| text.is_empty() || is_sha256(text)),
            Type::Object => matches!(value, Json::Object(_)),
        };
        (!sound).then(|| format!("Expected {}, not {}.", self.expected(), shown(value)))
    }

    fn expected(self) -> &'static str {
        match self {
            Type::Id => "a string that is not empty",
            Type::Text => "a string",
            Type::Int64 => "a whole number (int64, exact in JavaScript)",
            Type::Bool => "true or false",
            Type::Iso8601 => "an ISO 8601 instant such as 2025-01-22T15:30:00Z",
            Type::Sha256 => "a SHA-256 checksum of 64 hexadecimal digits",
            Type::Object => "an object",
        }
    }
}

/// A text of a form repeats itself, anything else says its kind.
fn shown(value: &Json) -> String {
    match value {
        Json::String(text) => format!("\"{}\"", crate::dialect::body::clip(text)),
        number @ Json::Number(_) => String::from_utf8_lossy(&number.to_bytes()).into_owned(),
        other => other.kind().to_owned(),
    }
}

/// A text that is not empty: an empty one says nothing.
fn said(data: &Json, key: &str) -> Json {
    match or_null(data, key) {
        Json::String(text) if text.is_empty() => Json::Null,
        value => value,
    }
}

/// The provider's metadata and the columns that are metadata elsewhere; a column goes before a key
/// of its name.
fn read_metadata(data: &Json) -> Json {
    let mut metadata = match data.get("provider_metadata") {
        Some(Json::Object(fields)) => fields.clone(),
        _ => Vec::new(),
    };
    for key in OF_METADATA {
        let value = said(data, key);
        if value == Json::Null {
            continue;
        }
        metadata.retain(|(known, _)| known != key);
        metadata.push((key.to_owned(), value));
    }
    let given = data.get("provider_metadata").is_some() || !metadata.is_empty();
    if given { Json::Object(metadata) } else { Json::Null }
}

fn is_exact_integer(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() <= INT64_MAX
}

fn is_sha256(text: &str) -> bool {
    text.len() == SHA256_HEX_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A date, an instant, or one without a zone.
fn is_iso8601(text: &str) -> bool {
    let forms = [text.to_owned(), format!("{text}Z"), format!("{text}T00:00:00Z")];
    forms.iter().any(|form| parse_rfc3339(form).is_some())
}
