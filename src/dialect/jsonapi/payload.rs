//! The document that is delivered: a `webhook_events` resource, and included, what it is about
//! and the webhook.
//!
//! Owns the document's order. Must never show the webhook's secret unless its owner chose so, and
//! never encode twice, as the original does.

use super::ids;
use super::resource::{self, Resource};
use crate::dialect::object::{Object, array};
use crate::dialect::{RenderError, names};
use crate::model::event::Event;
use crate::model::json::Json;
use crate::model::webhook::{Format, Webhook};

/// What all webhooks get of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    id: String,
    /// `{"event":…}`
    attributes: Vec<u8>,
    resource: Resource,
}

/// Renders what does not depend on the webhook.
pub fn shared(event: &Event) -> Result<Shared, RenderError> {
    let data = Json::reread(&event.data).map_err(RenderError::Data)?;
    let name = names::name_for(Format::JsonApi, event.kind, &event.name);
    let name = name.unwrap_or(event.name.as_str());
    Ok(Shared {
        id: ids::webhook_event(event.id, name),
        attributes: Object::new().text("event", name).end(),
        resource: resource::of_event(event, &data),
    })
}

/// The whole body for one webhook.
#[must_use]
pub fn body(shared: &Shared, webhook: &Webhook, project_public_key: &str) -> Vec<u8> {
    let about = &shared.resource;
    let relationships = Object::new()
        .raw("webhook", &resource::linkage(resource::TYPE, &webhook.public_id))
        .raw("resource", &resource::linkage(&about.resource_type, &about.id));
    let data = Object::new()
        .text("type", "webhook_events")
        .text("id", &shared.id)
        .raw("attributes", &shared.attributes)
        .raw("relationships", &relationships.end());
    let mut included = about.before_project.clone();
    if let Some(after) = &about.after_project {
        included.extend_from_slice(&resource::in_project(project_public_key));
        included.extend_from_slice(after);
    }
    let show_secret = webhook.options.include_secret;
    let webhook = resource::webhook_resource(webhook, project_public_key, show_secret);
    Object::new().raw("data", &data.end()).raw("included", &array([included, webhook])).end()
}
