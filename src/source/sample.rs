//! A realistic event for `POST /webhooks/{id}/test/`, `dev` and `send`.
//!
//! Owns the sample's shape, that of Uploadcare's 0.7 `data`. Must never be mixed into what a
//! publisher sent.

use super::native::NewEvent;
use crate::dialect::names;
use crate::dialect::object::Object;
use crate::model::event::{Dialect, EventName, Kind};
use crate::model::time::Wall;
use crate::model::webhook::{Format, Version};

/// Where sample files claim to be.
const SAMPLE_CDN: &str = "https://ucarecdn.com";
const SAMPLE_API: &str = "https://api.uploadcare.com/files";
const SAMPLE_SIZE_BYTES: u64 = 145_212;

/// A test event for a webhook that subscribes to `name`, in whatever format: about a JPEG image, or
/// about a group, an action or a session. `uuid` and `now` are the caller's.
#[must_use]
pub fn test_event(name: &EventName, uuid: &str, file_name: &str, now: Wall) -> NewEvent {
    let kind = names::kind_of(name.as_str());
    let dialect = dialect_of(kind);
    let about_file = matches!(dialect, Dialect::Uploadcare | Dialect::Custom);
    let file = about_file.then(|| format!("{SAMPLE_CDN}/{uuid}/{}", percent_encoded(file_name)));
    let previous_values =
        (kind == Kind::FileInfoUpdated).then(|| br#"{"metadata":{"pet":null}}"#.to_vec());
    NewEvent {
        kind,
        name: published_name(kind, dialect, name),
        dialect,
        data: match &file {
            Some(file) => file_data(kind, uuid, file_name, file, now),
            None if dialect == Dialect::Lancer => session_data(uuid, file_name),
            None => resource_data(kind, uuid),
        },
        file,
        initiator: None,
        previous_values,
        occurred_at: Some(now),
        idempotency_key: None,
    }
}

/// The dialect whose publishers know such events; a file's are Uploadcare's.
fn dialect_of(kind: Kind) -> Dialect {
    match kind {
        Kind::GroupCreated
        | Kind::GroupUpdated
        | Kind::GroupDeleted
        | Kind::ActionCreated
        | Kind::ActionUpdated => Dialect::JsonApi,
        Kind::SessionCreated | Kind::SessionCancelled | Kind::SessionCompleted => Dialect::Lancer,
        Kind::Custom => Dialect::Custom,
        _ => Dialect::Uploadcare,
    }
}

fn published_name(kind: Kind, dialect: Dialect, name: &EventName) -> EventName {
    let format = match dialect {
        Dialect::Uploadcare | Dialect::Custom => Format::Uploadcare(Version::V07),
        Dialect::JsonApi => Format::JsonApi,
        Dialect::Lancer => Format::Lancer,
    };
    let text = names::name_for(format, kind, name).unwrap_or(name.as_str());
    EventName::parse(text).unwrap_or_else(|| name.clone())
}

fn session_data(id: &str, file_name: &str) -> Vec<u8> {
    Object::new()
        .text("id", id)
        .number("file_size", SAMPLE_SIZE_BYTES)
        .number("chunk_size", SAMPLE_SIZE_BYTES)
        .number("max_chunk", 1)
        .text("file_name", file_name)
        .text("temp_path", "")
        .text("owner_id", "")
        .number("current_chunk", 0)
        .text("provider", "LOCAL")
        .end()
}

fn resource_data(kind: Kind, uuid: &str) -> Vec<u8> {
    let (resource_type, attributes) = match kind {
        Kind::ActionCreated | Kind::ActionUpdated => (
            "actions",
            Object::new()
                .text("action_type", "sample")
                .text("status", "done")
                .raw("result", b"null"),
        ),
        _ => ("groups", Object::new().text("uuid", &format!("{uuid}~1")).text("status", "ready")),
    };
    Object::new().text("type", resource_type).raw("attributes", &attributes.end()).end()
}

fn file_data(kind: Kind, uuid: &str, file_name: &str, file: &str, now: Wall) -> Vec<u8> {
    let at = now.rfc3339_micros();
    let removed = (kind == Kind::FileDeleted).then_some(at.as_str());
    let metadata: &[u8] = if kind == Kind::FileInfoUpdated { br#"{"pet":"cat"}"# } else { b"{}" };
    Object::new()
        .raw("content_info", CONTENT_INFO)
        .text("uuid", uuid)
        .flag("is_image", true)
        .flag("is_ready", true)
        .raw("metadata", metadata)
        .raw("appdata", &appdata(kind, &at))
        .text("mime_type", "image/jpeg")
        .text("original_filename", file_name)
        .text("original_file_url", file)
        .text_or_null("datetime_removed", removed)
        .number("size", SAMPLE_SIZE_BYTES)
        .text("datetime_stored", &at)
        .text("url", &format!("{SAMPLE_API}/{uuid}/"))
        .text("datetime_uploaded", &at)
        .raw("variations", b"null")
        .end()
}

const CONTENT_INFO: &[u8] = br#"{"mime":{"mime":"image/jpeg","type":"image","subtype":"jpeg"},"image":{"color_mode":"RGB","format":"JPEG","height":500,"width":800,"orientation":6,"dpi":[144,144],"geo_location":null,"datetime_original":"2018-08-20T08:59:50","sequence":false}}"#;

fn appdata(kind: Kind, at: &str) -> Vec<u8> {
    if kind != Kind::FileInfected {
        return b"{}".to_vec();
    }
    let found = br#"{"infected":true,"infected_with":"Win.Test.EICAR_HDB-1"}"#;
    let scan = Object::new()
        .raw("data", found)
        .text("datetime_created", at)
        .text("datetime_updated", at)
        .text("version", "0.105.1");
    Object::new().raw("uc_clamav_virus_scan", &scan.end()).end()
}

/// A file name as one segment of a URL's path.
fn percent_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect;
    use crate::dialect::uploadcare::kinds;
    use crate::model::json::Json;

    #[test]
    fn samples_for_every_format() {
        for (format, name) in [
            (Format::JsonApi, "file.created"),
            (Format::JsonApi, "file.updated"),
            (Format::JsonApi, "group.created"),
            (Format::JsonApi, "action.updated"),
            (Format::Lancer, "FILE_DELETE"),
            (Format::Lancer, "SESSION_CANCELLED"),
            (Format::Standard, "session.completed"),
            (Format::CloudEvents, "file.infected"),
        ] {
            let wanted = EventName::parse(name).expect("a name");
            let event =
                test_event(&wanted, "620ff227-eb36-460f-a809-8ba1ea98b1f3", "a.jpg", Wall(0));
            let data = Json::parse(&event.data).expect("JSON");
            assert_eq!(dialect::check_data(event.kind, event.dialect, &data), Ok(()));
            assert_eq!(dialect::name_for(format, event.kind, &event.name), Some(name));
            let meant = names::meaning(event.name.as_str(), Some(event.dialect));
            assert_eq!(meant, Some((event.kind, event.dialect)), "as if it had been published");
        }
    }

    #[test]
    fn samples_are_normal_and_fit_their_event() {
        let uuid = "620ff227-eb36-460f-a809-8ba1ea98b1f3";
        for name in kinds::NAMES.into_iter().chain(["order.paid"]) {
            let name = EventName::parse(name).expect("a name");
            let event = test_event(&name, uuid, "a cat/é \"x\".jpg", Wall(1_541_423_681_000));
            let data = Json::parse(&event.data).expect("JSON");
            assert_eq!(data.to_bytes(), event.data, "normalised already");
            assert_eq!(data.get("uuid").and_then(Json::as_str), Some(uuid));
            let file = format!("https://ucarecdn.com/{uuid}/a%20cat%2F%C3%A9%20%22x%22.jpg");
            assert_eq!(event.file.as_deref(), Some(file.as_str()));
            let removed = data.get("datetime_removed") != Some(&Json::Null);
            assert_eq!(removed, event.kind == Kind::FileDeleted);
            let scanned = data.get("appdata").and_then(|a| a.get("uc_clamav_virus_scan"));
            assert_eq!(scanned.is_some(), event.kind == Kind::FileInfected);
            assert_eq!(event.previous_values.is_some(), event.kind == Kind::FileInfoUpdated);
        }
    }
}
