//! `POST /send/`: one durable delivery to a URL that nobody subscribed.
//!
//! Owns the two halves of such a request, the target and the event, and the hidden webhook that
//! the deliveries to one target share: one for each (project, URL, format, secret, headers). Must
//! never show it.

use http::{Response, StatusCode};

use super::api::{self, Api, Call, command_error};
use super::body::Body;
use super::manage;
use super::publish;
use super::respond::{self, JSON};
use crate::dialect::body::Fields;
use crate::dialect::object::Object;
use crate::dialect::uploadcare::decode::{self, Invalid};
use crate::dialect::uploadcare::encode;
use crate::dialect::uploadcare::headers::View;
use crate::engine::command::{Answer, Command, CommandError};
use crate::engine::submit::{Idempotency, Submission, SubmitError};
use crate::model::draft::{WebhookDraft, WebhookPatch};
use crate::model::event::{Kind, Source};
use crate::model::ids::{ProjectId, WebhookId};
use crate::model::webhook::Webhook;
use crate::source::native;

/// What describes the target.
pub(super) const TARGET_FIELDS: [&str; 8] = [
    "target_url",
    "format",
    "version",
    "headers",
    "signing_secret",
    "signature_style",
    "include_secret",
    "file_delete",
];
/// What an event is called that is not called anything.
const EVENT_DEFAULT: &str = "send";
/// The hidden webhook is made again so often, if it is removed in between.
const TRIES_MAX: u32 = 3;

pub(super) async fn send(api: &Api, call: &Call) -> Response<Body> {
    let header = match publish::idempotency_header(call) {
        Ok(header) => header,
        Err(text) => return respond::detail(StatusCode::BAD_REQUEST, JSON, text),
    };
    let body = call.proven.body();
    let fields = match api::fields(&call.parts, body, JSON) {
        Ok(fields) => fields.or_text("event", EVENT_DEFAULT),
        Err(unreadable) => return *unreadable,
    };
    let known = |name: &&str| TARGET_FIELDS.contains(name) || native::FIELDS.contains(name);
    if let Some(name) = fields.names().find(|name| !known(name)) {
        let known = [&TARGET_FIELDS[..], &native::FIELDS[..]].concat().join(", ");
        let text = format!("Unknown field. Known are {known}.");
        let body = Object::new().texts(name, [text.as_str()]).end();
        return respond::bytes(StatusCode::BAD_REQUEST, JSON, body);
    }
    let draft = match draft(api, call, &fields).await {
        Ok(draft) => draft,
        Err(error) => {
            return respond::bytes(StatusCode::BAD_REQUEST, JSON, encode::invalid(&error));
        }
    };
    let event_fields = fields.select(&native::FIELDS);
    let published = match native::from_fields(&event_fields, header, api.config.publish) {
        Ok(published) => published,
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
            return respond::bytes(status, JSON, error.body());
        }
    };
    let idempotency = published.idempotency_key.as_deref().map(|key| Idempotency::new(key, body));
    let submission = Submission {
        idempotency,
        ..Submission::new(call.project().id, published.events, Source::Send)
    };
    submit(api, submission, draft).await
}

async fn draft(api: &Api, call: &Call, fields: &Fields) -> Result<WebhookDraft, Invalid> {
    // The event is looked at here too: not every format carries every event.
    let names: Vec<&str> = TARGET_FIELDS.into_iter().chain(["event"]).collect();
    let draft = decode::create(&fields.select(&names), View::Own)?;
    manage::check_target(api, call, &draft.target_url).await?;
    Ok(draft)
}

async fn submit(api: &Api, submission: Submission, draft: WebhookDraft) -> Response<Body> {
    let kinds: Vec<Kind> = submission.events.iter().map(|event| event.kind).collect();
    for _ in 0..TRIES_MAX {
        let id = match lane(api, submission.project, &draft).await {
            Ok(id) => id,
            Err(error) => return command_error(&error, JSON),
        };
        let submission = Submission { to: Some(id), ..submission.clone() };
        match api.handle.submit(submission).await {
            Ok(accepted) => {
                api.intake.accepted(Source::Send, &kinds, accepted.duplicate);
                let answer = publish::answer(&accepted, false);
                return respond::bytes(StatusCode::ACCEPTED, JSON, answer);
            }
            Err(SubmitError::WebhookGone) => {}
            Err(error) => return publish::submit_error(&error),
        }
    }
    publish::submit_error(&SubmitError::WebhookGone)
}

/// The hidden webhook of a target. One that a 410 disabled is made active again: this delivery was
/// asked for by name.
async fn lane(
    api: &Api,
    project: ProjectId,
    draft: &WebhookDraft,
) -> Result<WebhookId, CommandError> {
    if let Some((id, true)) = known(api, project, draft) {
        return Ok(id);
    }
    let _one_at_a_time = api.sending.lock().await;
    let command = match known(api, project, draft) {
        Some((id, true)) => return Ok(id),
        Some((id, false)) => {
            let patch = WebhookPatch { is_active: Some(true), ..WebhookPatch::default() };
            Command::UpdateWebhook { project, id, patch }
        }
        None => Command::CreateHidden { project, draft: draft.clone() },
    };
    match api.handle.command(command).await? {
        Answer::Webhook(webhook) => Ok(webhook.id),
        _ => Err(CommandError::NotFound),
    }
}

/// The hidden webhook that is like a draft, and whether it sends.
fn known(api: &Api, project: ProjectId, draft: &WebhookDraft) -> Option<(WebhookId, bool)> {
    let same = |webhook: &Webhook| {
        webhook.format == draft.format
            && webhook.secret == draft.secret
            && webhook.headers == draft.headers
            && webhook.options == draft.options
    };
    let catalog = api.handle.catalog();
    let found = catalog.hidden_of(project, draft.target_url.as_str()).find(|webhook| same(webhook));
    found.map(|webhook| (webhook.id, webhook.takes_events()))
}
