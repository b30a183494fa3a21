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
pub enum Type {
    /// A string that is not empty.
    Id,
    /// A string.
    Text,
    /// An integer that a double holds.
    Int64,
    /// A boolean.
    Bool,
    /// An instant, or empty.
    Iso8601,
    /// Hexadecimal digits, or empty.
    Sha256,
    /// An object.
    Object,
}

/// The columns of a session.
pub const SESSION: [(&str, Type); 9] = [
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

/// The columns of a file.
pub const FILE: [(&str, Type); 12] = [
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

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"{"id":"file-12345","file_name":"example.txt","file_path":"/a","file_size":10,"file_type":"text/plain","uploaded_by":"user-67890","uploaded_at":"2025-01-22T15:30:00Z","is_deleted":false,"checksum":"abcdef1234567890abcdef1234567890abcdef1234567890abcdef1234567890","description":"","provider":"LOCAL","provider_metadata":{"bucket":"b","provider":"x"}}"#;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).expect(text)
    }

    fn refusal(kind: Kind, text: &str) -> (String, String) {
        let mismatch = check(kind, &json(text)).expect_err(text);
        (mismatch.field, mismatch.problem)
    }

    #[test]
    fn rows_of_the_documentation() {
        assert_eq!(check(Kind::FileUploaded, &json(ROW)), Ok(()));
        let session = r#"{"id":"session-12345","file_size":10485760,"chunk_size":5242880,"max_chunk":2,"file_name":"example.txt","temp_path":"/tmp/session-12345","owner_id":"user-67890","current_chunk":0,"provider":"LOCAL","more":[]}"#;
        assert_eq!(check(Kind::SessionCreated, &json(session)), Ok(()));
        assert_eq!(check(Kind::SessionCreated, &json(r#"{"id":"s"}"#)), Ok(()));
        for at in ["2025-01-22", "2025-01-22T15:30:00", "2025-01-22T15:30:00.123+02:00", ""] {
            let row = format!(r#"{{"id":"f","uploaded_at":"{at}"}}"#);
            assert_eq!(check(Kind::FileUploaded, &json(&row)), Ok(()), "{at}");
        }
    }

    #[test]
    fn an_error_names_the_field() {
        for (row, field, problem) in [
            ("{}", "id", "This field is required."),
            (r#"{"id":""}"#, "id", "Expected a string that is not empty, not \"\"."),
            (r#"{"id":7}"#, "id", "Expected a string that is not empty, not 7."),
            (
                r#"{"id":"f","file_size":"10"}"#,
                "file_size",
                "Expected a whole number (int64, exact in JavaScript), not \"10\".",
            ),
            (
                r#"{"id":"f","file_size":1.5}"#,
                "file_size",
                "Expected a whole number (int64, exact in JavaScript), not 1.5.",
            ),
            (r#"{"id":"f","is_deleted":0}"#, "is_deleted", "Expected true or false, not 0."),
            (r#"{"id":"f","file_name":null}"#, "file_name", "Expected a string, not null."),
            (
                r#"{"id":"f","uploaded_at":"22.01.2025"}"#,
                "uploaded_at",
                "Expected an ISO 8601 instant such as 2025-01-22T15:30:00Z, not \"22.01.2025\".",
            ),
            (
                r#"{"id":"f","checksum":"abc"}"#,
                "checksum",
                "Expected a SHA-256 checksum of 64 hexadecimal digits, not \"abc\".",
            ),
            (
                r#"{"id":"f","provider_metadata":[]}"#,
                "provider_metadata",
                "Expected an object, not an array.",
            ),
        ] {
            let want = (field.to_owned(), problem.to_owned());
            assert_eq!(refusal(Kind::FileDeleted, row), want);
        }
        let (field, _) = refusal(Kind::SessionCompleted, r#"{"id":"s","max_chunk":1e300}"#);
        assert_eq!(field, "max_chunk");
    }

    #[test]
    fn a_row_that_was_mapped_is_sound() {
        let read = read_file(&json(ROW));
        let metadata = json(
            r#"{"bucket":"b","uploaded_by":"user-67890","checksum":"abcdef1234567890abcdef1234567890abcdef1234567890abcdef1234567890","provider":"LOCAL"}"#,
        );
        assert_eq!(read.metadata, metadata, "the column goes before the key");
        let odd = r#"{"checksum":"no","description":7}"#;
        for file in [read, File::unknown(), File { metadata: json(odd), ..File::unknown() }] {
            let row = Json::parse(&write_file(&file)).expect("JSON");
            let Json::Object(fields) = &row else { unreachable!("an object") };
            assert!(fields.iter().map(|(name, _)| name.as_str()).eq(FILE.map(|(name, _)| name)));
            for (name, kind) in FILE.iter().skip(1) {
                assert_eq!(kind.problem(&row.get(name).cloned().unwrap_or(Json::Null)), None);
            }
        }
    }
}
