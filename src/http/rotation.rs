//! `/webhooks/{id}/secret/…`: the change of a signing secret, in two phases.
//!
//! Owns how a step is asked for and answered. Must never show the next secret but once, to whoever
//! began the change.

use http::{Response, StatusCode};

use super::api::{Api, Call, command_error};
use super::body::Body;
use super::fresh;
use super::manage;
use super::respond;
use super::route::SecretStep;
use crate::dialect::body::{Field, Fields};
use crate::dialect::object::Object;
use crate::dialect::uploadcare::encode;
use crate::dialect::uploadcare::headers::View;
use crate::engine::command::{Answer, Command, RotationStep};
use crate::logic::sign;
use crate::model::ids::WebhookId;
use crate::model::secret::Secret;
use crate::model::time::{DAY_MS, SECOND_MS};
use crate::model::webhook::{Format, SIGNING_SECRET_CHARS_MAX, Webhook};

/// How long the old secret signs beside the new one, unless asked otherwise, in seconds.
const OVERLAP_S_DEFAULT: u64 = DAY_MS / SECOND_MS;
/// The longest wait between two steps that can be asked for, in seconds.
pub(super) const STEP_S_MAX: u64 = 30 * DAY_MS / SECOND_MS;
/// What beginning takes.
const FIELDS: [&str; 3] = ["signing_secret", "promote_after_seconds", "overlap_seconds"];

pub(super) async fn step(
    api: &Api,
    call: &Call,
    id: WebhookId,
    step: SecretStep,
) -> Response<Body> {
    let Some(webhook) = manage::find(api, call, id) else { return manage::not_found(call) };
    let fields = match manage::fields(call) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    let (command, made) = match step {
        SecretStep::Rotate => match begin(&fields, &webhook) {
            Ok((step, secret)) => (step, Some(secret)),
            Err((field, text)) => return invalid(call, &field, &text),
        },
        SecretStep::Promote => (RotationStep::Promote, None),
        SecretStep::Finish => (RotationStep::Finish, None),
        SecretStep::Abort => (RotationStep::Abort, None),
    };
    let project = call.project().id;
    let command = Command::Rotate { project, id, step: command };
    match api.handle.command(command).await {
        Ok(Answer::Webhook(webhook)) => shown(call, &webhook, made.as_ref()),
        // The step was made before.
        Ok(_) => match manage::find(api, call, id) {
            Some(webhook) => shown(call, &webhook, None),
            None => manage::not_found(call),
        },
        Err(error) => command_error(&error, call.view.content_type()),
    }
}

fn begin(fields: &Fields, webhook: &Webhook) -> Result<(RotationStep, Secret), (String, String)> {
    if let Some(name) = fields.names().find(|name| !FIELDS.contains(name)) {
        return Err((name.to_owned(), format!("Unknown field. Known are {}.", FIELDS.join(", "))));
    }
    let secret = match fields.given("signing_secret") {
        Some(field) => given_secret(field)?,
        None if webhook.format == Format::JsonApi => fresh::signing_secret(),
        None => fresh::long_signing_secret(),
    };
    let promote_after_s = seconds(fields, "promote_after_seconds")?;
    let overlap_s = seconds(fields, "overlap_seconds")?.unwrap_or(OVERLAP_S_DEFAULT);
    let step = RotationStep::Begin {
        secret: secret.clone(),
        promote_after_ms: promote_after_s.map(|seconds| seconds * SECOND_MS),
        overlap_ms: overlap_s * SECOND_MS,
    };
    Ok((step, secret))
}

fn given_secret(field: &Field) -> Result<Secret, (String, String)> {
    let text = field.as_text().unwrap_or_default();
    if (1..=SIGNING_SECRET_CHARS_MAX).contains(&text.chars().count()) {
        return Ok(Secret::new(text.to_owned()));
    }
    let text = format!("A secret has 1 to {SIGNING_SECRET_CHARS_MAX} characters.");
    Err(("signing_secret".to_owned(), text))
}

fn seconds(fields: &Fields, name: &str) -> Result<Option<u64>, (String, String)> {
    let Some(field) = fields.given(name) else { return Ok(None) };
    let seconds = field.as_u32().map(u64::from).filter(|seconds| *seconds <= STEP_S_MAX);
    seconds.map(Some).ok_or_else(|| {
        let shown = field.shown();
        (name.to_owned(), format!("\"{shown}\" is not a whole number from 0 to {STEP_S_MAX}."))
    })
}

/// The webhook in our own view; the next secret, in both its forms, when it was just staged.
fn shown(call: &Call, webhook: &Webhook, made: Option<&Secret>) -> Response<Body> {
    let mut object = Object::new().raw("webhook", &encode::webhook(webhook, View::Own));
    if let Some(secret) = made {
        object = object
            .text("next_secret", secret.expose())
            .text("next_secret_standard", sign::standard_form(secret).expose());
    }
    respond::bytes(StatusCode::OK, call.view.content_type(), object.end())
}

fn invalid(call: &Call, field: &str, text: &str) -> Response<Body> {
    let body = Object::new().texts(field, [text]).end();
    respond::bytes(StatusCode::BAD_REQUEST, call.view.content_type(), body)
}
