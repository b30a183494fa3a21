//! What is delivered: a payload for each format and version, and the headers that come with it.
//!
//! Owns the section `webhooks` of the document. Must never promise a field of `data` that the
//! publisher may have left out: data is never completed.

use serde_json::{Map, Value, json};

use super::jsonapi::linkage;
use super::schemas::{self, Schemas, object, object_with, or_null, reference};
use crate::dialect::lancer::tables::{self, Type};
use crate::dialect::uploadcare::payload::DATA_KEYS_V06;
use crate::dialect::{self, names};
use crate::logic::sign;
use crate::model::webhook::{Format, Version};

/// Every format, in every version.
pub(super) const FORMATS: [Format; dialect::FORMATS] = [
    Format::Uploadcare(Version::V05),
    Format::Uploadcare(Version::V06),
    Format::Uploadcare(Version::V07),
    Format::JsonApi,
    Format::Lancer,
    Format::Standard,
    Format::CloudEvents,
];

/// The section.
pub(super) fn section() -> Map<String, Value> {
    FORMATS.into_iter().map(|format| (name(format), json!({"post": operation(format)}))).collect()
}

/// What a format's entry is called.
pub(super) fn name(format: Format) -> String {
    match format {
        Format::Uploadcare(version) => format!("{}-{}", format.name(), version.as_str()),
        other => other.name().to_owned(),
    }
}

/// The schema of a format's payload.
pub(super) fn schema_name(format: Format) -> &'static str {
    match format {
        Format::Uploadcare(Version::V05) => "UploadcarePayload05",
        Format::Uploadcare(Version::V06) => "UploadcarePayload06",
        Format::Uploadcare(Version::V07) => "UploadcarePayload07",
        Format::JsonApi => "JsonApiPayload",
        Format::Lancer => "LancerPayload",
        Format::Standard => "StandardPayload",
        Format::CloudEvents => "CloudEventsPayload",
    }
}

fn operation(format: Format) -> Value {
    let content =
        json!({dialect::content_type(format): {"schema": reference(schema_name(format))}});
    json!({
        "operationId": format!("deliver-{}", name(format)),
        "tags": ["deliveries"],
        "summary": format!("An event as webhooks of {} receive it", name(format)),
        "description": "One request for each attempt. Redirects are not followed; the answer's status line and headers have to come within a minute.",
        "security": [],
        "parameters": headers(format),
        "requestBody": {"required": true, "content": content},
        "responses": {
            "2XX": {"description": "It is delivered."},
            "410": {"description": "The webhook is disabled; nothing is tried again."},
            "default": {"description": "It is tried again: 1, 5, 10, 30 and 60 minutes after the first attempt, then hourly within 72 hours."},
        },
    })
}

/// The headers beside those that the webhook's owner added.
fn headers(format: Format) -> Vec<Value> {
    let seconds = || json!({"type": "string", "pattern": "^[0-9]+$"});
    let header = |name: &str, required: bool, text: &str, schema: Value| json!({"name": name, "in": "header", "required": required, "description": text, "schema": schema});
    let signature = "Only where the webhook has a secret.";
    let mut all = vec![
        header("postrider-event", true, "The event's id.", schemas::crockford("evt_")),
        header("postrider-webhook", true, "The webhook's id.", seconds()),
        header("postrider-attempt", true, "From 1.", seconds()),
        header("postrider-sequence", true, "Rises with each delivery of the webhook.", seconds()),
        header(
            sign::WEBHOOK_ID,
            true,
            "The delivery's id, the same on every retry.",
            schemas::crockford("dlv_"),
        ),
        header(
            sign::WEBHOOK_TIMESTAMP,
            true,
            "When this attempt was made, in unix seconds.",
            seconds(),
        ),
        header(sign::WEBHOOK_SIGNATURE, false, signature, schemas::text()),
    ];
    all.push(header(sign::UPLOADCARE_SIGNATURE, false, signature, schemas::text()));
    if format == Format::Lancer {
        all.push(header(sign::LANCER_TIMESTAMP, false, signature, seconds()));
        all.push(header(sign::LANCER_SIGNATURE, false, signature, schemas::text()));
    }
    all
}

/// The payloads.
pub(super) fn schemas() -> Schemas {
    let mut all: Schemas =
        FORMATS.into_iter().map(|format| (schema_name(format), payload(format))).collect();
    all.push(("LancerFile", table(&tables::FILE)));
    all.push(("LancerSession", table(&tables::SESSION)));
    all
}

fn payload(format: Format) -> Value {
    let event =
        || schemas::event_name(schemas::named_kinds().filter_map(|kind| names::of(format, kind)));
    let file = || or_null(schemas::text());
    let data = || json!({"type": "object", "description": "As it was published, or mapped."});
    match format {
        Format::Uploadcare(Version::V07) => object_with(
            json!({
                "initiator": {"type": "object"},
                "hook": hook(Version::V07, event()),
                "data": data(),
                "file": file(),
                "previous_values": {"type": "object"},
            }),
            &["previous_values"],
        ),
        Format::Uploadcare(Version::V06) => object(json!({
            "hook": hook(Version::V06, event()),
            "data": any_of_keys(&DATA_KEYS_V06),
            "file": file(),
        })),
        Format::Uploadcare(Version::V05) => {
            let hook = object(json!({
                "id": schemas::integer_id(),
                "event": event(),
                "target": schemas::text(),
            }));
            object(json!({"hook": hook, "data": data_v05(), "file": file()}))
        }
        Format::JsonApi => jsonapi(event()),
        Format::Lancer => {
            let files = ["LancerFile", "LancerSession"].map(reference);
            let deleted = schemas::array_of(&reference("LancerFile"));
            let data = json!({"anyOf": [files[0], files[1], deleted]});
            object(json!({"event": event(), "data": data}))
        }
        Format::Standard => object_with(
            json!({
                "type": event(),
                "timestamp": schemas::instant(),
                "data": data(),
                "file": schemas::text(),
                "initiator": {"type": "object"},
                "previous_values": {"type": "object"},
            }),
            &["file", "initiator", "previous_values"],
        ),
        Format::CloudEvents => cloud_event(),
    }
}

fn hook(version: Version, event: Value) -> Value {
    object(json!({
        "id": schemas::integer_id(),
        "project_id": schemas::integer_id(),
        "project_pub_key": schemas::text(),
        "target": schemas::text(),
        "event": event,
        "is_active": schemas::flag(),
        "version": {"const": version.as_str()},
        "created_at": schemas::instant(),
        "updated_at": schemas::instant(),
    }))
}

fn any_of_keys(keys: &[&str]) -> Value {
    object(keys.iter().map(|key| ((*key).to_owned(), json!({}))).collect())
}

fn data_v05() -> Value {
    let image = ["height", "width", "geo_location", "datetime_original", "format"];
    let mut data = any_of_keys(&[
        "uuid",
        "is_image",
        "filename",
        "is_stored",
        "done",
        "file_id",
        "original_filename",
        "image_info",
        "is_ready",
        "total",
        "size",
    ]);
    data["properties"]["is_stored"] = schemas::flag();
    data["properties"]["image_info"] = or_null(any_of_keys(&image));
    data
}

fn jsonapi(event: Value) -> Value {
    let webhook = json!({"const": crate::dialect::jsonapi::resource::TYPE});
    let data = object(json!({
        "type": {"const": "webhook_events"},
        "id": schemas::alnum("we-"),
        "attributes": object(json!({"event": event})),
        "relationships": object(json!({
            "webhook": linkage(&webhook),
            "resource": linkage(&schemas::text()),
        })),
    }));
    let mut about = object_with(
        json!({
            "type": schemas::text(),
            "id": schemas::text(),
            "attributes": {"type": "object"},
            "relationships": {"type": "object"},
        }),
        &["attributes", "relationships"],
    );
    // What its publisher wrote is passed on, other members included.
    about["additionalProperties"] = json!(true);
    let included = json!({
        "type": "array",
        "minItems": 2,
        "maxItems": 2,
        "prefixItems": [about, reference("WebhookResource")],
    });
    object(json!({"data": data, "included": included}))
}

fn cloud_event() -> Value {
    object_with(
        json!({
            "specversion": {"const": "1.0"},
            "id": schemas::crockford("evt_"),
            "source": {"type": "string", "pattern": "^postrider:project:"},
            "type": schemas::text(),
            "time": schemas::instant(),
            "subject": schemas::text(),
            "datacontenttype": {"const": "application/json"},
            "file": schemas::text(),
            "initiator": schemas::text(),
            "previousvalues": schemas::text(),
            "data": {"type": "object"},
        }),
        &["subject", "file", "initiator", "previousvalues"],
    )
}

/// A table of Lancer's. A row has its id; what else its publisher left out stays out.
fn table(columns: &[(&str, Type)]) -> Value {
    let schema = |kind: Type| match kind {
        Type::Id | Type::Text | Type::Iso8601 | Type::Sha256 => schemas::text(),
        Type::Int64 => json!({"type": "integer"}),
        Type::Bool => schemas::flag(),
        Type::Object => json!({"type": "object"}),
    };
    let fields: Value =
        columns.iter().map(|(name, kind)| ((*name).to_owned(), schema(*kind))).collect();
    let optional: Vec<&str> =
        columns.iter().filter(|(_, kind)| *kind != Type::Id).map(|(name, _)| *name).collect();
    let mut row = object_with(fields, &optional);
    // A column that the table does not have is kept.
    row["additionalProperties"] = json!(true);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_payload_of_its_own_type() {
        let places = FORMATS.map(dialect::format_index);
        assert_eq!(places, std::array::from_fn(|i| i), "each once, none forgotten");
        let section = section();
        assert_eq!(section.len(), FORMATS.len());
        for format in FORMATS {
            let content = &section[&name(format)]["post"]["requestBody"]["content"];
            assert!(content.get(dialect::content_type(format)).is_some(), "{format:?}");
        }
    }
}
