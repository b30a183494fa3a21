//! From one dialect's file to another's.
//!
//! Owns what a file is between dialects, and which events have one. Must never complete or invent:
//! a field without a source is `null` in Uploadcare's and JSON:API's shapes, and the empty value of
//! its type (`""`, 0, `false`, `{}`) in Lancer's typed table. A webhook of the publisher's own
//! dialect gets the publisher's own bytes instead.
//!
//! | between | Uploadcare (0.7) | JSON:API `files` | Lancer |
//! |---|---|---|---|
//! | `uuid` | uuid | uuid | id; of an id that is no UUID, its UUIDv5 (`uuid`) |
//! | `id` | - | id of the resource | id, where there is no UUID |
//! | `name` | original_filename | original_name | file_name |
//! | `url` | original_file_url, or else the event's `file` | original_url | file_path |
//! | `size` | size | size | file_size |
//! | `mime_type` | mime_type, or else content_info.mime.mime | mime.mime | file_type |
//! | `mime` | content_info.mime | mime; where there is none, mime_type in its parts | - |
//! | `image`, `video` | content_info | content | - |
//! | `is_image` | is_image | is_image | - |
//! | `ready` | is_ready | status `ready` or `pending` | - |
//! | `removed` | datetime_removed is set | status `removed` or removed_at is set | is_deleted |
//! | `removed_at` | datetime_removed | removed_at | - |
//! | `uploaded_at` | datetime_uploaded | uploaded_at | uploaded_at |
//! | `metadata` | metadata | metadata | provider_metadata; uploaded_by, checksum, description and provider are keys of the same name |
//!
//! Dropped, because the other dialects have no place for them:
//!
//! * of Uploadcare's file: appdata, datetime_stored, url, variations, source, rekognition_info;
//! * of a `files` resource: its id (but for a Lancer file without a UUID), created_at, expires_at,
//!   original_protected, chunked_upload, chunked_upload_urls, authentication, other relationships;
//! * of Lancer's file: an id that is no UUID, and that it is deleted where the other dialect has
//!   no more than a date for that;
//! * of the event: previous_values anywhere but in the publisher's own dialect, and initiator in
//!   JSON:API's and Lancer's, which have no such thing.
//!
//! Groups and actions are JSON:API's alone, sessions Lancer's alone. A custom event's data has no
//! shape that is known: Uploadcare's 0.7 carries it as `data`, JSON:API as a resource. `standard`
//! and `cloudevents` carry any event with the publisher's own bytes.

use sha1::{Digest as _, Sha1};

use super::{jsonapi, lancer, uploadcare};
use crate::model::event::{Dialect, Event, Kind};
use crate::model::json::Json;

/// A file between two dialects. What its publisher did not say is [`Json::Null`].
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Its id in the publisher's dialect, where that is no UUID.
    pub id: Option<String>,
    /// Its UUID.
    pub uuid: Json,
    /// Its name when it was uploaded.
    pub name: Json,
    /// Where it is.
    pub url: Json,
    /// Its size, in bytes.
    pub size: Json,
    /// Its MIME type as one text.
    pub mime_type: Json,
    /// Its MIME type in parts: `{mime, type, subtype}`.
    pub mime: Json,
    /// What is known of it as an image.
    pub image: Json,
    /// What is known of it as a video.
    pub video: Json,
    /// Whether it is an image.
    pub is_image: Json,
    /// Whether its upload is complete.
    pub ready: Json,
    /// Whether it is gone.
    pub removed: bool,
    /// When it went.
    pub removed_at: Json,
    /// When it was uploaded.
    pub uploaded_at: Json,
    /// What its owner noted: texts by name.
    pub metadata: Json,
}

impl File {
    /// A file of which nothing is known.
    #[must_use]
    pub fn unknown() -> File {
        File {
            id: None,
            uuid: Json::Null,
            name: Json::Null,
            url: Json::Null,
            size: Json::Null,
            mime_type: Json::Null,
            mime: Json::Null,
            image: Json::Null,
            video: Json::Null,
            is_image: Json::Null,
            ready: Json::Null,
            removed: false,
            removed_at: Json::Null,
            uploaded_at: Json::Null,
            metadata: Json::Null,
        }
    }
}

/// The file that an event is about; `None` if it is about none. `data` is the event's.
#[must_use]
pub fn file(event: &Event, data: &Json) -> Option<File> {
    if !is_of_file(event.kind) {
        return None;
    }
    let mut file = match event.dialect {
        Dialect::Uploadcare => uploadcare::file::read(data),
        Dialect::JsonApi => jsonapi::resource::read_file(data),
        Dialect::Lancer => lancer::tables::read_file(data),
        Dialect::Custom => return None,
    };
    if let (Json::Null, Some(url)) = (&file.url, &event.file) {
        file.url = Json::String(url.clone());
    }
    Some(file)
}

/// Whether events of a kind are about one file.
#[must_use]
pub fn is_of_file(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::FileUploaded
            | Kind::FileInfected
            | Kind::FileStored
            | Kind::FileInfoUpdated
            | Kind::FileDeleted
    )
}

/// The value of `key`, or null.
#[must_use]
pub fn or_null(data: &Json, key: &str) -> Json {
    data.get(key).cloned().unwrap_or(Json::Null)
}

/// An id as a UUID: itself, if it is one, or else the UUIDv5 of `{scheme}:{id}` among URLs.
#[must_use]
pub fn uuid(scheme: &str, id: &str) -> String {
    if is_uuid(id) {
        return id.to_ascii_lowercase();
    }
    let mut bytes = [0; 16];
    let hash = Sha1::new_with_prefix(NAMESPACE_URL).chain_update(scheme).chain_update(":");
    bytes.copy_from_slice(&hash.chain_update(id).finalize()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x50;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// Whether a text is a UUID with its hyphens.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// RFC 9562's namespace of URLs.
const NAMESPACE_URL: [u8; 16] = [
    0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids() {
        // Python: uuid.uuid5(uuid.NAMESPACE_URL, "lancer:file-12345")
        assert_eq!(uuid("lancer", "file-12345"), PYTHON);
        let own = "2FEDA6CF-8c85-4f3e-b369-254997fd847f";
        assert_eq!(uuid("lancer", own), own.to_ascii_lowercase());
        assert!(!is_uuid("2feda6cf08c85-4f3e-b369-254997fd847f"));
        assert!(!is_uuid("2feda6cf-8c85-4f3e-b369-254997fd847g"));
    }

    const PYTHON: &str = "54c01e78-307a-5502-aacc-89989526c859";
}
