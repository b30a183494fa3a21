//! Looking at events and deliveries: their paths and schemas.
//!
//! Owns what lists, rows, attempts and explanations look like. Must never type a word that the code
//! has: statuses, verdicts and reasons are taken from where they are.

use serde_json::{Value, json};

use super::manage::Part;
use super::operation::{Operation, Path, json_content};
use super::schemas::{self, Schemas, in_path, in_query, object, object_with, or_null, reference};
use crate::http::look::PER_PAGE_MAX;
use crate::model::delivery::Status;

const EVENTS: &str = "events";
const DELIVERIES: &str = "deliveries";

/// The list of events, beside publishing.
pub(super) fn list_events(part: Part) -> Operation {
    let operation = part
        .operation("listEvents", "Events, newest first")
        .with(in_query("event", "Of this name alone; not indexed.", schemas::event_name([])))
        .with(in_query("source", "From there alone; not indexed.", schemas::text()));
    paged(operation, "evt_").answers(200, "A page.", &json_content("EventsPage")).refuses(&[503])
}

/// The paths of a part.
pub(super) fn paths(part: Part) -> Vec<Path> {
    let event = || in_path("event", "The event's id.", schemas::crockford("evt_"));
    let delivery = || in_path("delivery", "The delivery's id.", schemas::crockford("dlv_"));
    let number =
        in_path("number", "The attempt's number, from 1.", schemas::number(0, u32::MAX.into()));
    let one = |id: &str, summary: &str, schema: &str| {
        part.operation(id, summary)
            .answers(200, "As it is now.", &json_content(schema))
            .refuses(&[404, 503])
    };
    let sent = one("getSentRequest", "The request of an attempt, as it was sent", "SentRequest")
        .answers(410, "It can't be shown any more.", &json_content("Detail"));
    vec![
        part.path("/events/{event}/", EVENTS, [event()])
            .on("get", one("getEvent", "One event, with its deliveries", "KeptEvent")),
        part.path("/deliveries/", DELIVERIES, []).on("get", list_deliveries(part)),
        part.path("/deliveries/{delivery}/", DELIVERIES, [delivery()])
            .on("get", one("getDelivery", "One delivery, with its attempts", "Delivery")),
        part.path("/deliveries/{delivery}/explain/", DELIVERIES, [delivery()]).on(
            "get",
            one("explainDelivery", "Why it has not arrived, or how it ended", "Explanation"),
        ),
        part.path(
            "/deliveries/{delivery}/attempts/{number}/request/",
            DELIVERIES,
            [delivery(), number],
        )
        .on("get", sent),
    ]
}

fn list_deliveries(part: Part) -> Operation {
    let status = schemas::one_of(Status::ALL.map(Status::as_str));
    let operation = part
        .operation("listDeliveries", "Deliveries, newest first")
        .says(
            "Time, webhook and status are indexed. A page of another filter ends when enough rows \
             were looked at: it may be short or empty and have a next one.",
        )
        .with(in_query("status", "In this state alone.", status))
        .with(in_query("webhook", "Of this webhook alone: its id.", schemas::text()))
        .with(in_query("event", "Of an event, by its id or its name.", schemas::text()))
        .with(in_query("target", "To a target, by its origin or id.", schemas::text()))
        .with(in_query("code", "`503`, `5xx`, or `none`: the last answer.", schemas::text()));
    paged(operation, "dlv_")
        .answers(200, "A page.", &json_content("DeliveriesPage"))
        .refuses(&[503])
}

fn paged(operation: Operation, prefix: &str) -> Operation {
    let per_page = schemas::number(1, u64::from(PER_PAGE_MAX));
    let id = || schemas::crockford(prefix);
    let instant = || json!({"type": "string", "format": "date-time"});
    operation
        .with(in_query("since", "Accepted at this instant or later.", instant()))
        .with(in_query("until", "Accepted before this instant.", instant()))
        .with(in_query("per_page", "Rows of the page.", per_page))
        .with(in_query("after", "Rows that follow this one: older ones.", id()))
        .with(in_query("before", "Rows that precede this one: newer ones.", id()))
}

/// The schemas of looking.
pub(super) fn schemas() -> Schemas {
    let page = |row: &str| {
        object(json!({
            "next": or_null(schemas::text()),
            "previous": or_null(schemas::text()),
            "per_page": schemas::number(1, u64::from(PER_PAGE_MAX)),
            "results": schemas::array_of(&reference(row)),
        }))
    };
    let mut delivery = delivery_fields();
    delivery["attempts_log"] = schemas::array_of(&reference("Attempt"));
    vec![
        ("EventsPage", page("EventRow")),
        ("EventRow", object(event_fields())),
        ("KeptEvent", event()),
        ("EventDeliveries", event_deliveries()),
        ("DeliveriesPage", page("DeliveryRow")),
        ("DeliveryRow", object(delivery_fields())),
        ("Delivery", object(delivery)),
        ("Attempt", attempt()),
        ("Answer", answer()),
        ("Header", object(octets("value", json!({"name": schemas::text()})))),
        ("SentRequest", sent_request()),
        ("Explanation", explanation()),
        ("Backlog", backlog()),
        ("Health", health()),
        ("Statistics", statistics()),
    ]
}

fn nullable_instant() -> Value {
    or_null(schemas::instant())
}

fn event_fields() -> Value {
    json!({
        "id": schemas::crockford("evt_"),
        "event": schemas::text(),
        "kind": schemas::text(),
        "dialect": schemas::text(),
        "source": schemas::text(),
        "subject": or_null(schemas::text()),
        "occurred_at": nullable_instant(),
        "accepted_at": schemas::instant(),
        "erased_at": nullable_instant(),
        "deliveries": reference("EventDeliveries"),
    })
}

/// What was erased is not there.
fn event() -> Value {
    let mut fields = event_fields();
    fields["data"] = json!({});
    fields["file"] = or_null(schemas::text());
    fields["initiator"] = json!({});
    fields["previous_values"] = json!({});
    fields["idempotency_key"] = or_null(schemas::text());
    fields["delivery_list"] = schemas::array_of(&reference("DeliveryRow"));
    let erased = ["data", "file", "initiator", "previous_values", "idempotency_key"];
    object_with(fields, &erased)
}

fn event_deliveries() -> Value {
    let mut fields = json!({"is_more": schemas::flag()});
    for status in Status::ALL {
        fields[status.as_str()] = schemas::count();
    }
    object(fields)
}

fn delivery_fields() -> Value {
    json!({
        "id": schemas::crockford("dlv_"),
        "event_id": schemas::crockford("evt_"),
        "event": or_null(schemas::text()),
        "webhook": schemas::integer_id(),
        "target": or_null(schemas::text()),
        "status": schemas::one_of(Status::ALL.map(Status::as_str)),
        "reason": or_null(schemas::text()),
        "attempts": schemas::count(),
        "last_code": or_null(schemas::count()),
        "last_failure": or_null(schemas::text()),
        "created_at": schemas::instant(),
        "next_attempt_at": nullable_instant(),
        "finished_at": nullable_instant(),
    })
}

fn attempt() -> Value {
    let ms = || or_null(schemas::count());
    let phases = object(json!({
        "dns_ms": ms(),
        "connect_ms": ms(),
        "tls_ms": ms(),
        "first_byte_ms": ms(),
        "total_ms": schemas::count(),
    }));
    object(json!({
        "number": schemas::count(),
        "started_at": schemas::instant(),
        "address": or_null(schemas::text()),
        "phases": phases,
        "code": or_null(schemas::count()),
        "failure": or_null(schemas::text()),
        "verdict": schemas::text(),
        "reason": schemas::text(),
        "next_attempt_at": nullable_instant(),
        "next_why": or_null(schemas::text()),
        "webhook_revision": schemas::count(),
        "response": {"anyOf": [reference("Answer"), {"type": "null"}]},
    }))
}

fn answer() -> Value {
    let fields = json!({
        "headers": schemas::array_of(&reference("Header")),
        "headers_extent": schemas::text(),
        "body_extent": schemas::text(),
    });
    object(octets("body", fields))
}

fn sent_request() -> Value {
    let fields = json!({
        "method": schemas::text(),
        "url": schemas::text(),
        "headers": schemas::array_of(&reference("Header")),
        "is_exact": schemas::flag(),
    });
    object(octets("body", fields))
}

/// Bytes: text, or base64 where they are none.
fn octets(name: &str, mut fields: Value) -> Value {
    fields[name] = schemas::text();
    fields[format!("{name}_encoding")] = schemas::one_of(["utf-8", "base64"]);
    fields
}

fn explanation() -> Value {
    object(json!({
        "id": schemas::crockford("dlv_"),
        "status": schemas::one_of(Status::ALL.map(Status::as_str)),
        "reason": schemas::text(),
        "explanation": schemas::text(),
        "next": schemas::text(),
        "next_at": nullable_instant(),
        "action": or_null(schemas::text()),
        "fields": {"type": "object", "additionalProperties": true},
    }))
}

fn backlog() -> Value {
    let mut fields = json!({"counted": schemas::count(), "is_more": schemas::flag()});
    for name in crate::http::look::bucket_names() {
        fields[name] = schemas::count();
    }
    object(fields)
}

fn health() -> Value {
    object(json!({
        "breaker": schemas::one_of(["closed", "probe_due", "open", "probing"]),
        "probe_at": nullable_instant(),
        "failed_connections": schemas::count(),
        "last_success_at": nullable_instant(),
        "rate_limited_until": nullable_instant(),
    }))
}

fn statistics() -> Value {
    object(json!({
        "pending": schemas::count(),
        "is_more_pending": schemas::flag(),
        "last_success_at": nullable_instant(),
        "last_failure_at": nullable_instant(),
        "failing_since": nullable_instant(),
    }))
}
