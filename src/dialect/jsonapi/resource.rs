//! Resources of JSON:API: the webhook's.
//!
//! Owns the order of their keys, which is that on the wire. Must never show a secret unless the
//! caller says so.

use crate::dialect::object::Object;
use crate::model::secret::Secret;
use crate::model::webhook::Webhook;

/// The version of every webhook of this dialect.
pub const VERSION: &str = "1";

/// A webhook. Where its secret is not shown, `signing_secret` is `null`.
#[must_use]
pub fn webhook_resource(webhook: &Webhook, project_public_key: &str, show_secret: bool) -> Vec<u8> {
    let secret = webhook.secret.as_ref().filter(|_| show_secret).map(Secret::expose);
    let attributes = Object::new()
        .texts("events", webhook.events.iter().map(|event| event.as_str()))
        .text("target_url", webhook.target_url.as_str())
        .flag("is_active", webhook.is_active())
        .text("version", VERSION)
        .text_or_null("signing_secret", secret);
    Object::new()
        .text("type", "webhooks")
        .text("id", &webhook.public_id)
        .raw("attributes", &attributes.end())
        .raw("relationships", &in_project(project_public_key))
        .end()
}

/// `{"project":{"data":{…}}}`
#[must_use]
pub fn in_project(project_public_key: &str) -> Vec<u8> {
    Object::new().raw("project", &linkage("projects", project_public_key)).end()
}

/// `{"data":{"type":…,"id":…}}`
#[must_use]
pub fn linkage(resource_type: &str, id: &str) -> Vec<u8> {
    let data = Object::new().text("type", resource_type).text("id", id).end();
    Object::new().raw("data", &data).end()
}
