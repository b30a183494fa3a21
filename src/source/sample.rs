//! A realistic event for `POST /webhooks/{id}/test/`, `dev` and `send`.
//!
//! Owns the sample's shape, that of Uploadcare's 0.7 `data`. Must never be mixed into what a
//! publisher sent.

use super::native::NewEvent;
use crate::dialect::object::Object;
use crate::dialect::uploadcare::kinds;
use crate::model::event::{Dialect, EventName, Kind};
use crate::model::time::Wall;

/// Where sample files claim to be.
const SAMPLE_CDN: &str = "https://ucarecdn.com";
const SAMPLE_API: &str = "https://api.uploadcare.com/files";
const SAMPLE_SIZE_BYTES: u64 = 145_212;

/// A test event called `name` about a JPEG image. `uuid` and `now` are the caller's.
#[must_use]
pub fn test_event(name: &EventName, uuid: &str, file_name: &str, now: Wall) -> NewEvent {
    let kind = kinds::kind_of(name.as_str());
    let file = format!("{SAMPLE_CDN}/{uuid}/{}", percent_encoded(file_name));
    let previous_values =
        (kind == Kind::FileInfoUpdated).then(|| br#"{"metadata":{"pet":null}}"#.to_vec());
    NewEvent {
        kind,
        name: name.clone(),
        dialect: if kind == Kind::Custom { Dialect::Custom } else { Dialect::Uploadcare },
        data: file_data(kind, uuid, file_name, &file, now),
        file: Some(file),
        initiator: None,
        previous_values,
        occurred_at: Some(now),
        idempotency_key: None,
    }
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
    use crate::model::json::Json;

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
