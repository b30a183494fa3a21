//! Webhooks as JSON:API projects manage them.
//!
//! Owns their paths and schemas. A path may end in `.json`. Must never show a schema of the views:
//! that dialect has its own frames and errors.

use serde_json::{Value, json};

use super::manage::own_request;
use super::operation::{Access, Operation, Path, jsonapi_content};
use super::schemas::{self, Schemas, in_path, in_query, object, or_null, reference, request};
use crate::dialect::jsonapi::decode::{PAGE_ITEMS, PAGE_ITEMS_MAX};
use crate::dialect::jsonapi::resource::{TYPE, VERSION};
use crate::dialect::names;
use crate::model::target::TARGET_URL_CHARS_MAX;
use crate::model::webhook::{Format, WEBHOOK_EVENTS_MAX};

const TAG: &str = "JSON:API";
const ALL: &str = "/api/v1/projects/{project}/webhooks";

/// The paths.
pub(super) fn paths() -> Vec<Path> {
    let id = in_path("id", "The webhook's id, or its integer.", schemas::text_of(1, 64));
    let project = schemas::project_in_path;
    let page = in_query("page", "From 1.", schemas::number(1, u64::from(u32::MAX)));
    let text =
        format!("How many a page has, {PAGE_ITEMS} unless asked for and at most {PAGE_ITEMS_MAX}.");
    let items = in_query("items", &text, schemas::number(1, u64::from(u32::MAX)));
    let list = of("listResources", "Webhooks of the project, a page of them")
        .with(page)
        .with(items)
        .answers(200, "The page; one behind the last is empty.", &jsonapi_content("Resources"))
        .refuses(&[422]);
    let create = of("createResource", "Create a webhook").refuses(&[422, 503]);
    vec![
        Path::new(ALL, TAG, [project()])
            .on("get", list)
            .on("post", shown(create.takes_fields(true, "ResourceCreate"), "The webhook.")),
        Path::new(format!("{ALL}/{{id}}"), TAG, [project(), id])
            .on("get", shown(of("getResource", "One webhook").refuses(&[404]), "The webhook."))
            .on("put", update("replaceResource"))
            .on("patch", update("updateResource"))
            .on(
                "delete",
                shown(
                    of("deleteResource", "Delete a webhook").refuses(&[404, 503]),
                    "The webhook as it was.",
                ),
            ),
    ]
}

fn of(id: &str, summary: &str) -> Operation {
    Operation::new(Access::JsonApi, id, summary)
}

fn shown(operation: Operation, text: &str) -> Operation {
    operation.answers(200, text, &jsonapi_content("Resource"))
}

fn update(id: &str) -> Operation {
    let operation = of(id, "Change a webhook").says("What is not given stays.");
    let operation = operation.takes_fields(false, "ResourceUpdate").refuses(&[404, 422, 503]);
    shown(operation, "The webhook as it is now.")
}

/// The schemas.
pub(super) fn schemas() -> Schemas {
    let frame = |required: &[&str]| {
        let attributes = request(attributes(), required, false);
        let resource = json!({"type": {"const": TYPE}, "attributes": attributes});
        let resource = request(resource, &["type", "attributes"], false);
        json!({"type": "object", "anyOf": [
            request(json!({"webhook": attributes}), &["webhook"], false),
            request(json!({"data": resource}), &["data"], false),
            attributes,
        ]})
    };
    let form = |required: &[&str]| {
        let named = schemas::form(&request(attributes(), required, false));
        let outer = |name: &str| match name.strip_suffix("[]") {
            Some(name) => format!("webhook[{name}][]"),
            None => format!("webhook[{name}]"),
        };
        let fields = named["properties"].as_object().into_iter().flatten();
        let fields: Value = fields.map(|(name, schema)| (outer(name), schema.clone())).collect();
        request(fields, &[], false)
    };
    let pagination = object(json!({
        "count": schemas::count(),
        "page": schemas::number(1, u64::from(u32::MAX)),
        "items": schemas::number(1, u64::from(PAGE_ITEMS_MAX)),
        "pages": schemas::number(1, u64::from(u32::MAX)),
    }));
    let create = ["target_url", "events"];
    vec![
        ("WebhookResource", resource()),
        ("Resource", object(json!({"data": reference("WebhookResource")}))),
        (
            "Resources",
            object(json!({
                "data": schemas::array_of(&reference("WebhookResource")),
                "pagination": pagination,
            })),
        ),
        ("ResourceCreate", frame(&create)),
        ("ResourceCreateForm", form(&create)),
        ("ResourceUpdate", frame(&[])),
        ("ResourceUpdateForm", form(&[])),
    ]
}

/// A webhook as this dialect shows it, here and in what it delivers.
fn resource() -> Value {
    let attributes = object(json!({
        "events": schemas::array_of(&schemas::event_name(event_names())),
        "target_url": {"type": "string", "maxLength": TARGET_URL_CHARS_MAX},
        "is_active": schemas::flag(),
        "version": {"const": VERSION},
        "signing_secret": or_null(schemas::text()),
    }));
    object(json!({
        "type": {"const": TYPE},
        "id": schemas::alnum("wh-"),
        "attributes": attributes,
        "relationships": object(json!({"project": linkage(&json!({"const": "projects"}))})),
    }))
}

/// `{"data":{"type":…,"id":…}}`
pub(super) fn linkage(of_type: &Value) -> Value {
    object(json!({"data": object(json!({"type": of_type, "id": schemas::text()}))}))
}

fn attributes() -> Value {
    let mut fields = own_request();
    let events = json!({
        "type": "array",
        "minItems": 1,
        "maxItems": WEBHOOK_EVENTS_MAX,
        "items": schemas::event_name(event_names()),
    });
    fields["events"] = events;
    fields["version"] = json!({"const": VERSION});
    fields
}

/// What events are called here.
pub(super) fn event_names() -> Vec<&'static str> {
    schemas::named_kinds().filter_map(|kind| names::of(Format::JsonApi, kind)).collect()
}
