//! Answers of the webhook API.
//!
//! Owns the order of keys, and the bodies of errors. Must never give an object a key named
//! `error`: Ruby's client takes it for one.

use super::decode::Invalid;
use super::headers::View;
use super::kinds;
use super::own_fields;
use crate::dialect::object::{Object, array};
use crate::model::event::Kind;
use crate::model::json::Json;
use crate::model::project::Project;
use crate::model::secret::Secret;
use crate::model::time::SECOND_MS;
use crate::model::webhook::{Format, Webhook};

/// One webhook. Every view has Uploadcare's nine keys; our own adds ours after them.
#[must_use]
pub fn webhook(webhook: &Webhook, view: View) -> Vec<u8> {
    object(webhook, view).end()
}

/// One webhook in our own view, with figures about it that are JSON text already.
#[must_use]
pub fn webhook_with(webhook: &Webhook, statistics: &[u8]) -> Vec<u8> {
    object(webhook, View::Own).raw("statistics", statistics).end()
}

fn object(webhook: &Webhook, view: View) -> Object {
    let version = match webhook.format {
        Format::Uploadcare(version) => version.as_str(),
        _ => own_fields::OTHER_VERSION,
    };
    let object = Object::new()
        .number("id", u64::from(webhook.id.get()))
        .number("project", u64::from(webhook.project.get()))
        .text("created", &webhook.created.rfc3339_micros())
        .text("updated", &webhook.updated.rfc3339_micros())
        .text("event", webhook.events.first().map_or("", |event| event.as_str()))
        .text("target_url", webhook.target_url.as_str())
        .flag("is_active", webhook.is_active())
        .text("version", version)
        .text_or_null("signing_secret", webhook.secret.as_ref().map(Secret::expose));
    match view {
        View::Vendor(_) | View::Legacy => object,
        View::Own => own_keys(object, webhook),
    }
}

/// A list of webhooks: a bare array, without pages.
#[must_use]
pub fn list<'a>(webhooks: impl IntoIterator<Item = &'a Webhook>, view: View) -> Vec<u8> {
    array(webhooks.into_iter().filter(|one| shown(one, view)).map(|one| webhook(one, view)))
}

/// Whether a view shows a webhook at all. Uploadcare's clients throw on an event that they don't
/// know, for the whole list, so webhooks of custom types are in our own view alone.
#[must_use]
pub fn shown(webhook: &Webhook, view: View) -> bool {
    if view == View::Own {
        return true;
    }
    webhook.format.is_uploadcare()
        && webhook.events.iter().all(|event| kinds::kind_of(event.as_str()) != Kind::Custom)
}

/// `GET /project/`.
#[must_use]
pub fn project(project: &Project) -> Vec<u8> {
    Object::new()
        .text("name", &project.name)
        .text("pub_key", &project.public_key)
        .raw("collaborators", b"[]")
        .flag("autostore_enabled", project.settings.auto_store)
        .end()
}

/// `{"detail":…}`
#[must_use]
pub fn detail(text: &str) -> Vec<u8> {
    Object::new().text("detail", text).end()
}

/// The body of a 400.
#[must_use]
pub fn invalid(invalid: &Invalid) -> Vec<u8> {
    match invalid {
        Invalid::Detail(text) => detail(text),
        Invalid::NotUnique => Object::new()
            .texts("non_field_errors", ["This project is already subscribed on this event"])
            .end(),
        Invalid::Fields(fields) => fields
            .iter()
            .fold(Object::new(), |object, (field, texts)| {
                object.texts(field, texts.iter().map(String::as_str))
            })
            .end(),
    }
}

/// The body of a 429; `Retry-After` says the same number.
#[must_use]
pub fn throttled(retry_after_s: u64) -> Vec<u8> {
    let unit = if retry_after_s == 1 { "second" } else { "seconds" };
    detail(&format!("Request was throttled. Expected available in {retry_after_s} {unit}."))
}

/// The body of a 404.
#[must_use]
pub fn not_found() -> Vec<u8> {
    detail("Not found.")
}

fn own_keys(object: Object, webhook: &Webhook) -> Object {
    let header = |(name, value): &(String, String)| (name.clone(), Json::String(value.clone()));
    let headers = Json::Object(webhook.headers.iter().map(header).collect());
    object
        .text("format", webhook.format.name())
        .text("state", webhook.state.as_str())
        .text_or_null("reason", webhook.state.reason())
        .json("headers", &headers)
        .number_or_null("rate_per_second", webhook.limits.rate_per_second)
        .number_or_null("burst", webhook.limits.burst)
        .number_or_null("in_flight", webhook.limits.in_flight)
        .texts("events", webhook.events.iter().map(|event| event.as_str()))
        .text("signature_style", own_fields::style_name(webhook.options.signature_style))
        .flag("include_secret", webhook.options.include_secret)
        .text("file_delete", own_fields::file_delete_name(webhook.options.file_delete))
        .raw("rotation", &rotation(webhook))
}

/// How far the change of the signing secret is; the other secret is not shown.
fn rotation(webhook: &Webhook) -> Vec<u8> {
    let Some(rotation) = &webhook.rotation else { return b"null".to_vec() };
    let next_step = rotation.next_step.map(|at| at.rfc3339_micros());
    Object::new()
        .text("phase", rotation.phase.as_str())
        .text_or_null("next_step", next_step.as_deref())
        .number("overlap_seconds", rotation.overlap_ms / SECOND_MS)
        .end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies() {
        let text = |body: Vec<u8>| String::from_utf8(body).expect("UTF-8");
        assert_eq!(
            text(invalid(&Invalid::NotUnique)),
            r#"{"non_field_errors":["This project is already subscribed on this event"]}"#
        );
        assert_eq!(
            text(throttled(10)),
            r#"{"detail":"Request was throttled. Expected available in 10 seconds."}"#
        );
        assert_eq!(text(not_found()), r#"{"detail":"Not found."}"#);
        assert!(text(throttled(1)).contains("in 1 second."));
    }
}
