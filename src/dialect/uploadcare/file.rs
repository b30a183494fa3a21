//! Uploadcare's file object, as REST API 0.7 has it.
//!
//! Owns the way from it to a [`File`] and back. Must never say what its source did not: what has
//! none is `null`.

use crate::dialect::mapping::{File, or_null};
use crate::dialect::object::Object;
use crate::model::json::Json;

/// What a publisher's `data` says of the file. Keys from before 0.7 are understood too.
#[must_use]
pub fn read(data: &Json) -> File {
    let removed_at = or_null(data, "datetime_removed");
    let mime = data.get("content_info").map_or(Json::Null, |info| or_null(info, "mime"));
    let mime_type = match or_null(data, "mime_type") {
        Json::Null => or_null(&mime, "mime"),
        given => given,
    };
    File {
        uuid: or_null(data, "uuid"),
        name: or_null(data, "original_filename"),
        url: or_null(data, "original_file_url"),
        size: or_null(data, "size"),
        mime,
        mime_type,
        image: content_info(data, "image", "image_info").clone(),
        video: content_info(data, "video", "video_info").clone(),
        is_image: or_null(data, "is_image"),
        ready: Json::Bool(data.get("is_ready") == Some(&Json::Bool(true))),
        removed: removed_at != Json::Null,
        removed_at,
        uploaded_at: or_null(data, "datetime_uploaded"),
        metadata: or_null(data, "metadata"),
        ..File::unknown()
    }
}

/// A file of another dialect, in the order of 0.7.
#[must_use]
pub fn write(file: &File) -> Vec<u8> {
    Object::new()
        .raw("content_info", &written_content_info(file))
        .json("uuid", &file.uuid)
        .json("is_image", &file.is_image)
        .json("is_ready", &file.ready)
        .json("metadata", &file.metadata)
        .raw("appdata", b"null")
        .json("mime_type", &file.mime_type)
        .json("original_filename", &file.name)
        .json("original_file_url", &file.url)
        .json("datetime_removed", &file.removed_at)
        .json("size", &file.size)
        .raw("datetime_stored", b"null")
        .raw("url", b"null")
        .json("datetime_uploaded", &file.uploaded_at)
        .raw("variations", b"null")
        .end()
}

/// `content_info.image`, or the key that it had before 0.7 where a publisher still writes that.
#[must_use]
pub fn content_info<'a>(data: &'a Json, part: &str, before: &str) -> &'a Json {
    let moved = data.get("content_info").and_then(|info| info.get(part));
    let moved = moved.filter(|info| **info != Json::Null);
    moved.or_else(|| data.get(before)).unwrap_or(&Json::Null)
}

/// The parts that are known; `null` if there is none.
fn written_content_info(file: &File) -> Vec<u8> {
    let parts = [("mime", &file.mime), ("image", &file.image), ("video", &file.video)];
    let mut known = parts.iter().filter(|(_, part)| **part != Json::Null).peekable();
    if known.peek().is_none() {
        return b"null".to_vec();
    }
    known.fold(Object::new(), |object, (key, part)| object.json(key, part)).end()
}
