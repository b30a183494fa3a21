//! Events in: published, sent to a target that nobody subscribed, or of another system.
//!
//! Owns their paths and schemas. Must never be stricter than the readers: sources may say more
//! than is read.

use serde_json::{Value, json};

use super::manage::{Part, own_request, target_url};
use super::operation::{Access, Operation, Path, content, json_content};
use super::schemas::{
    self, Schemas, form, in_header, in_path, in_query, object, or_null, reference, request,
};
use crate::dialect::uploadcare::decode::FORMATS;
use crate::http::respond::JSON;
use crate::http::send::TARGET_FIELDS;
use crate::model::event::{FILE_URL_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, Source};
use crate::model::webhook::Format;
use crate::source::{self, native};

const NDJSON: &str = "application/x-ndjson";

/// The paths of a part.
pub(super) fn paths(part: Part) -> Vec<Path> {
    let mut paths = vec![
        part.path("/events/", "events", [])
            .on("get", super::look::list_events(part))
            .on("post", publish(part)),
        part.path("/events/{event}/erase/", "events", [event_id()]).on("post", erase(part)),
        part.path("/send/", "events", []).on("post", send(part)),
    ];
    for source in source::ALL {
        let path = format!("/in/{}/", source::name(source));
        let id = format!("take{}", title(source));
        paths.push(probed(part, part.path(&path, "sources", []), &id, &[source]));
    }
    if !part.is_operator() {
        let token = in_path("token", "The intake token.", schemas::text_of(1, 255));
        let named =
            in_path("source", "The system.", schemas::one_of(source::ALL.map(source::name)));
        let path = part.path("/in/{source}/{token}/", "sources", [named, token]);
        paths.push(probed(part, path, "takeByToken", &source::ALL));
        let incoming = "/api/v1/projects/{project}/webhooks/incoming";
        let operation = take(part, "takeIncoming", &[Source::Uploadcare])
            .says("`/in/uploadcare/` by another name.");
        paths.push(
            Path::new(incoming, "sources", [schemas::project_in_path()]).on("post", operation),
        );
    }
    paths
}

fn event_id() -> Value {
    in_path("event", "The event's id.", schemas::crockford("evt_"))
}

fn idempotency_key() -> Value {
    let text =
        "The same key and body again within 72 h give the same answer and no second delivery.";
    let schema = json!({
        "type": "string",
        "minLength": 1,
        "maxLength": IDEMPOTENCY_KEY_BYTES_MAX,
        "pattern": "^[!-~]+$",
    });
    in_header("Idempotency-Key", text, schema)
}

fn publish(part: Part) -> Operation {
    let mut types = content(FORMS, &reference("EventForm"));
    let many = json!({"type": "array", "minItems": 1, "items": reference("Event")});
    types[JSON] = json!({"schema": {"anyOf": [reference("Event"), many]}});
    types[NDJSON] = json!({"schema": {
        "type": "string",
        "description": "An event on each line.",
    }});
    let answer = json!({"anyOf": [
        reference("Accepted"),
        {"type": "array", "minItems": 1, "items": reference("Accepted")},
    ]});
    part.operation("publish", "Publish events")
        .says("One event, an array of them or one on each line: all are accepted, or none.")
        .with(idempotency_key())
        .takes(true, &types)
        .answers(202, "They are on disk.", &content([JSON], &answer))
        .refuses(&[404, 409, 413, 415, 503])
}

/// The bodies of requests whose fields may come in any form.
const FORMS: [&str; 2] = ["application/x-www-form-urlencoded", "multipart/form-data"];

fn send(part: Part) -> Operation {
    part.operation("send", "Deliver an event to a target that nobody subscribed")
        .with(idempotency_key())
        .takes_fields(true, "Send")
        .answers(202, "It is on disk.", &json_content("Accepted"))
        .refuses(&[404, 409, 413, 503])
}

fn erase(part: Part) -> Operation {
    part.operation("eraseEvent", "Take an event's payload away")
        .says("That it happened stays; what is pending of it ends as cancelled.")
        .answers(200, "It is gone.", &json_content("Erased"))
        .refuses(&[404, 503])
}

/// A source's path, with the questions that systems ask before they send anything.
fn probed(part: Part, path: Path, id: &str, sources: &[Source]) -> Path {
    let path = path.on("post", take(part, id, sources)).on("head", asks_head(part, id));
    if part.is_operator() { path } else { path.on("options", handshake(part, id)) }
}

fn take(part: Part, id: &str, sources: &[Source]) -> Operation {
    let said = |unavailable: u16| (sources.contains(&Source::Tusd), unavailable);
    let answers = match (sources.contains(&Source::Tusd), sources.len()) {
        (true, 1) => json_content("Nothing"),
        (true, _) => content([JSON], &json!({"anyOf": [reference("Taken"), reference("Nothing")]})),
        (false, _) => json_content("Taken"),
    };
    let (types, open) = bodies(sources);
    let operation = part
        .operation_for(Access::Intake, id, "Take events of another system")
        .says(&about(sources))
        .with(in_query(
            "instance",
            "What the sender calls itself, where one project has several.",
            open,
        ))
        .takes(true, &types)
        .answers(200, "All are on disk, were before, or concern no webhook.", &answers)
        .refuses(&[404, 413, 503]);
    match said(500) {
        (true, status) => operation.answers(
            status,
            "tusd shall try again, which it does for no other status: nothing was stored.",
            &json_content("Detail"),
        ),
        (false, _) => operation,
    }
}

fn asks_head(part: Part, id: &str) -> Operation {
    part.operation_for(Access::Anyone, id, "Whether anybody is there")
        .answers(200, "Somebody is.", &Value::Null)
        .refuses(&[404])
        .head()
}

fn handshake(part: Part, id: &str) -> Operation {
    let allow = json!({"$ref": "#/components/headers/Allow"});
    let text = "The abuse protection of CloudEvents: whether this origin may send.";
    part.operation_for(Access::Anyone, &format!("{id}Options"), "Which methods there are")
        .with(in_header("WebHook-Request-Origin", text, schemas::text()))
        .responds(
            200,
            json!({
                "description": "The origin that asked may send, at any rate.",
                "headers": {
                    "Allow": allow,
                    "WebHook-Allowed-Origin": {"schema": schemas::text()},
                    "WebHook-Allowed-Rate": {"schema": {"const": "*"}},
                },
            }),
        )
        .responds(204, json!({"description": "`Allow` names them.", "headers": {"Allow": allow}}))
        .refuses(&[401, 404])
}

/// What a source sends, as far as it is read; and any text.
fn bodies(sources: &[Source]) -> (Value, Value) {
    let any = schemas::text();
    let shapes: Vec<Value> =
        sources.iter().map(|source| reference(&format!("From{}", title(*source)))).collect();
    let shape = if let [one] = &shapes[..] { one.clone() } else { json!({"anyOf": shapes}) };
    let mut types = content([JSON], &shape);
    if sources.contains(&Source::CloudEvents) {
        let batch = schemas::array_of(&reference("CloudEvent"));
        types["application/cloudevents+json"] = json!({"schema": reference("CloudEvent")});
        types["application/cloudevents-batch+json"] = json!({"schema": batch});
    }
    // SNS sends its JSON as text.
    if sources.contains(&Source::S3) {
        types["text/plain"] = json!({"schema": any});
    }
    (types, any)
}

fn about(sources: &[Source]) -> String {
    match sources {
        [Source::Uploadcare] => "Uploadcare's own webhooks, relayed.".to_owned(),
        [Source::Tusd] => {
            "The HTTP hooks of tusd: post-create, post-finish, post-terminate.".to_owned()
        }
        [Source::S3] => "Notifications in the shape of S3's, bare or wrapped by SNS.".to_owned(),
        [Source::CloudEvents] => {
            "CloudEvents 1.0 in binary (`ce-` headers), structured or batch mode.".to_owned()
        }
        [Source::SeaweedFs] => "The webhook notifications of SeaweedFS's filer.".to_owned(),
        [Source::Nextcloud] => "Nextcloud's webhook_listeners, of file events.".to_owned(),
        _ => "The same as the source's own path, for systems that can set no header.".to_owned(),
    }
}

fn title(source: Source) -> &'static str {
    match source {
        Source::Native => "Native",
        Source::Test => "Test",
        Source::Send => "Send",
        Source::Uploadcare => "Uploadcare",
        Source::Tusd => "Tusd",
        Source::S3 => "S3",
        Source::CloudEvents => "CloudEvents",
        Source::SeaweedFs => "SeaweedFs",
        Source::Nextcloud => "Nextcloud",
        Source::Notice => "Notice",
    }
}

/// The schemas.
pub(super) fn schemas() -> Schemas {
    let ids = schemas::array_of(&schemas::crockford("evt_"));
    let ignored = object(json!({
        "events": {"type": "array", "maxItems": 0},
        "ignored": schemas::text(),
    }));
    let taken = object(json!({"events": ids, "duplicates": schemas::count()}));
    let mut all = vec![
        ("Event", event()),
        ("EventForm", form(&event())),
        ("Send", send_request()),
        (
            "Accepted",
            object(json!({
                "id": schemas::crockford("evt_"),
                "event": schemas::event_name([]),
                "deliveries": schemas::count(),
                "duplicate": schemas::flag(),
            })),
        ),
        (
            "Erased",
            object(json!({
                "id": schemas::crockford("evt_"),
                "event": schemas::event_name([]),
                "accepted_at": schemas::instant(),
                "erased_at": or_null(schemas::instant()),
            })),
        ),
        ("Taken", json!({"anyOf": [taken, ignored]})),
        ("Nothing", object(json!({}))),
    ];
    all.extend(shapes());
    all
}

fn event() -> Value {
    let names = super::manage::event_names();
    let fields = json!({
        "event": schemas::event_name(names),
        "dialect": or_null(schemas::one_of(native::DIALECTS.map(|(name, _)| name))),
        "data": {"type": "object"},
        "file": {
            "type": ["string", "null"],
            "maxLength": FILE_URL_BYTES_MAX,
            "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$",
        },
        "initiator": {"type": ["object", "null"]},
        "previous_values": {"type": ["object", "null"]},
        "occurred_at": {"type": ["string", "null"], "format": "date-time"},
        "idempotency_key": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": IDEMPOTENCY_KEY_BYTES_MAX,
            "pattern": "^[ -~]+$",
        },
    });
    request(fields, &["event", "data"], true)
}

fn send_request() -> Value {
    let mut fields = event()["properties"].clone();
    let own = own_request();
    for name in TARGET_FIELDS {
        fields[name] = match name {
            "target_url" => target_url(),
            "format" => or_null(schemas::one_of(FORMATS.map(Format::name))),
            "version" | "signing_secret" | "file_delete" => {
                super::manage::webhook_request()[name].clone()
            }
            name => own[name].clone(),
        };
    }
    request(fields, &["target_url", "data"], true)
}

/// What each source's requests hold that is read.
fn shapes() -> Schemas {
    let open = |properties: Value, required: &[&str]| request(properties, required, false);
    let upload = open(
        json!({
            "ID": schemas::text(),
            "Size": schemas::count(),
            "SizeIsDeferred": schemas::flag(),
            "Offset": schemas::count(),
            "MetaData": {"type": "object", "additionalProperties": schemas::text()},
        }),
        &["ID"],
    );
    let tusd = open(
        json!({
            "Type": schemas::text(),
            "Event": open(json!({"Upload": upload}), &["Upload"]),
        }),
        &["Type", "Event"],
    );
    let hook = open(json!({"event": schemas::event_name([])}), &["event"]);
    let uploadcare = open(
        json!({"hook": hook, "data": {"type": "object"}, "file": {"type": ["string", "null"]}}),
        &["hook", "data"],
    );
    let records = schemas::array_of(&json!({"type": "object"}));
    let notification =
        open(json!({"Type": schemas::text(), "Message": schemas::text()}), &["Type"]);
    let s3 = json!({"anyOf": [
        open(json!({"Records": records}), &["Records"]),
        open(json!({"Event": {"const": "s3:TestEvent"}}), &["Event"]),
        notification,
    ]});
    let cloud_event = open(
        json!({
            "specversion": {"const": "1.0"},
            "id": schemas::text_of(1, 255),
            "source": schemas::text_of(1, 255),
            "type": schemas::text_of(1, 255),
            "time": {"type": "string", "format": "date-time"},
            "data": {},
        }),
        &["specversion", "id", "source", "type"],
    );
    let seaweedfs = open(
        json!({
            "key": schemas::text(),
            "event_type": schemas::one_of(["create", "update", "rename", "delete"]),
            "message": {"type": "object"},
        }),
        &["key", "event_type"],
    );
    let nextcloud = open(
        json!({
            "event": open(
                json!({"class": schemas::text(), "node": {"type": "object"}}),
                &["class"],
            ),
            "user": {"type": "object"},
            "time": schemas::count(),
        }),
        &["event"],
    );
    vec![
        ("FromUploadcare", uploadcare),
        ("FromTusd", tusd),
        ("FromS3", s3),
        ("FromCloudEvents", json!({})),
        ("CloudEvent", cloud_event),
        ("FromSeaweedFs", seaweedfs),
        ("FromNextcloud", nextcloud),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(schema: &Value) -> Vec<&str> {
        let properties = schema["properties"].as_object().expect("an object's schema");
        properties.keys().map(String::as_str).collect()
    }

    #[test]
    fn the_fields_of_requests_are_those_that_are_read() {
        let mut want = native::FIELDS.to_vec();
        want.sort_unstable();
        assert_eq!(names(&event()), want);
        want.extend(TARGET_FIELDS);
        want.sort_unstable();
        assert_eq!(names(&send_request()), want);
    }

    #[test]
    fn every_source_has_a_shape() {
        let known: Vec<&str> = shapes().into_iter().map(|(name, _)| name).collect();
        for source in source::ALL {
            let name = format!("From{}", title(source));
            assert!(known.contains(&name.as_str()), "{name}");
        }
    }
}
