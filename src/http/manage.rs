//! `/webhooks/` and `/project/`: the Uploadcare dialect and our own view of the same.
//!
//! Owns the way from a proved body to a command and from its answer to the dialect. Must never
//! show or change a webhook of another project, or one that the asked view does not show.

use std::sync::Arc;

use http::{Response, StatusCode};

use super::api::{self, Api, Call, Unreadable, command_error};
use super::body::Body;
use super::fresh;
use super::jobs;
use super::look;
use super::respond;
use super::route::WebhookAction;
use crate::clock;
use crate::dialect::body::Fields;
use crate::dialect::object::Object;
use crate::dialect::uploadcare::decode::{self, Invalid};
use crate::dialect::uploadcare::encode;
use crate::dialect::uploadcare::headers::View;
use crate::engine::command::{Answer, Command, CommandError, Tested};
use crate::logic::address::AllowList;
use crate::model::attempt::Outcome;
use crate::model::ids::WebhookId;
use crate::model::target::TargetUrl;
use crate::model::time::{MINUTE_MS, SECOND_MS};
use crate::model::webhook::Webhook;
use crate::source::sample;

/// How long a test waits for its attempt: a whole attempt, and a little for its turn.
const TEST_WAIT_MS_MAX: u64 = MINUTE_MS + 5 * SECOND_MS;
/// Bytes of a test's answer that are shown.
pub(super) const TEST_BODY_BYTES_MAX: usize = 1_024;

pub(super) fn list(api: &Api, call: &Call) -> Response<Body> {
    let catalog = api.handle.catalog();
    let webhooks = catalog.webhooks_of(call.project().id).map(|webhook| &**webhook);
    let webhooks = webhooks.filter(|webhook| webhook.listener.is_none());
    respond::bytes(StatusCode::OK, call.view.content_type(), encode::list(webhooks, call.view))
}

pub(super) async fn show(api: &Api, call: &Call, id: WebhookId) -> Response<Body> {
    let Some(webhook) = find(api, call, id) else { return not_found(call) };
    if call.view != View::Own {
        return shown(StatusCode::OK, call, &webhook);
    }
    match look::statistics(api, &webhook).await {
        Ok(statistics) => {
            let body = encode::webhook_with(&webhook, &statistics);
            respond::bytes(StatusCode::OK, call.view.content_type(), body)
        }
        Err(unreadable) => unreadable,
    }
}

pub(super) async fn create(api: &Api, call: &Call) -> Response<Body> {
    let fields = match fields(call) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    let draft = match decode::create(&fields, call.view) {
        Ok(draft) => draft,
        Err(error) => return invalid(call, &error),
    };
    if let Err(error) = check_target(api, call, &draft.target_url).await {
        return invalid(call, &error);
    }
    let project = call.project().id;
    let command = Command::CreateWebhook { project, draft, listener: None };
    answered(StatusCode::CREATED, call, api.handle.command(command).await)
}

pub(super) async fn update(api: &Api, call: &Call, id: WebhookId) -> Response<Body> {
    let Some(webhook) = find(api, call, id) else { return not_found(call) };
    let fields = match fields(call) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    let patch = match decode::update(&fields, call.view, &webhook) {
        Ok(patch) => patch,
        Err(error) => return invalid(call, &error),
    };
    if let Some(target_url) = &patch.target_url
        && let Err(error) = check_target(api, call, target_url).await
    {
        return invalid(call, &error);
    }
    let command = Command::UpdateWebhook { project: call.project().id, id, patch };
    answered(StatusCode::OK, call, api.handle.command(command).await)
}

pub(super) async fn delete(api: &Api, call: &Call, id: WebhookId) -> Response<Body> {
    if find(api, call, id).is_none() {
        return not_found(call);
    }
    let command = Command::DeleteWebhook { project: call.project().id, id };
    answered(StatusCode::NO_CONTENT, call, api.handle.command(command).await)
}

pub(super) async fn unsubscribe(api: &Api, call: &Call) -> Response<Body> {
    let fields = match fields(call) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    let unsubscribe = match decode::unsubscribe(&fields) {
        Ok(unsubscribe) => unsubscribe,
        Err(error) => return invalid(call, &error),
    };
    let command = Command::Unsubscribe {
        project: call.project().id,
        target_url: unsubscribe.target_url,
        event: unsubscribe.event,
    };
    let done = api.handle.command(command).await.map(|_| Answer::Done);
    answered(StatusCode::NO_CONTENT, call, done)
}

pub(super) async fn act(
    api: &Api,
    call: &Call,
    id: WebhookId,
    action: WebhookAction,
) -> Response<Body> {
    let Some(webhook) = find(api, call, id) else { return not_found(call) };
    let project = call.project().id;
    let command = match action {
        WebhookAction::Pause => Command::PauseWebhook { project, id },
        WebhookAction::Resume => Command::ResumeWebhook { project, id },
        WebhookAction::Recover => return jobs::recover(api, call, id).await,
        WebhookAction::Test => return test(api, call, &webhook).await,
    };
    match api.handle.command(command).await {
        // Nothing had to change.
        Ok(Answer::Done) => shown(StatusCode::OK, call, &webhook),
        result => answered(StatusCode::OK, call, result),
    }
}

pub(super) fn project(call: &Call) -> Response<Body> {
    respond::bytes(StatusCode::OK, call.view.content_type(), encode::project(call.project()))
}

async fn test(api: &Api, call: &Call, webhook: &Webhook) -> Response<Body> {
    let Some(name) = webhook.events.first() else { return not_found(call) };
    let event = sample::test_event(name, &fresh::uuid(), "postrider-test.jpg", clock::now().wall);
    let command =
        Command::TestWebhook { project: call.project().id, id: webhook.id, event: Box::new(event) };
    match clock::within(TEST_WAIT_MS_MAX, api.handle.command(command)).await {
        Ok(Ok(Answer::Tested(tested))) => {
            respond::bytes(StatusCode::OK, call.view.content_type(), encode_test(&tested))
        }
        Ok(result) => answered(StatusCode::ACCEPTED, call, result),
        Err(_) => respond::detail(
            StatusCode::ACCEPTED,
            call.view.content_type(),
            "The test event is accepted; its attempt waits for its turn.",
        ),
    }
}

fn encode_test(tested: &Tested) -> Vec<u8> {
    let attempt = &tested.attempt;
    let (status, reason) = match attempt.outcome {
        Outcome::Status(status) => (Some(status), None),
        Outcome::Failure(failure) => (None, Some(failure.as_str())),
    };
    let body = &tested.body[..tested.body.len().min(TEST_BODY_BYTES_MAX)];
    let object = Object::new()
        .text("delivery", &tested.delivery.to_string())
        .flag("delivered", status.is_some_and(|status| (200..300).contains(&status)));
    let object = match status {
        Some(status) => object.number("status", u64::from(status)),
        None => object.raw("status", b"null"),
    };
    object
        .text_or_null("reason", reason)
        .text_or_null("address", attempt.address.map(|address| address.to_string()).as_deref())
        .number("duration_ms", u64::from(attempt.phases.total_ms))
        .text("response_body", &String::from_utf8_lossy(body))
        .end()
}

/// Whether the address check lets a target through: as far as can be told now. It is asked again
/// at every connect.
pub(super) async fn check_target(
    api: &Api,
    call: &Call,
    target_url: &TargetUrl,
) -> Result<(), Invalid> {
    let allow = AllowList::parse(&call.project().settings.allow).unwrap_or_default();
    let checked = api.net.check_target(target_url.origin(), &allow).await;
    checked.map_err(|refused| {
        Invalid::Fields(vec![("target_url".to_owned(), vec![refused.to_string()])])
    })
}

/// A webhook of the project, if the view shows it. A `listen` session's is its own affair.
pub(super) fn find(api: &Api, call: &Call, id: WebhookId) -> Option<Arc<Webhook>> {
    let catalog = api.handle.catalog();
    let webhook = catalog.webhook(id)?;
    let visible = webhook.project == call.project().id
        && webhook.listener.is_none()
        && !webhook.hidden
        && encode::shown(webhook, call.view);
    visible.then(|| Arc::clone(webhook))
}

pub(super) fn fields(call: &Call) -> Result<Fields, Unreadable> {
    api::fields(&call.parts, call.proven.body(), call.view.content_type())
}

fn answered(
    status: StatusCode,
    call: &Call,
    result: Result<Answer, CommandError>,
) -> Response<Body> {
    match result {
        Ok(Answer::Webhook(webhook)) => shown(status, call, &webhook),
        Ok(_) => respond::no_content(),
        Err(CommandError::NotUnique) => invalid(call, &Invalid::NotUnique),
        Err(error) => command_error(&error, call.view.content_type()),
    }
}

fn shown(status: StatusCode, call: &Call, webhook: &Webhook) -> Response<Body> {
    respond::bytes(status, call.view.content_type(), encode::webhook(webhook, call.view))
}

fn invalid(call: &Call, error: &Invalid) -> Response<Body> {
    respond::bytes(StatusCode::BAD_REQUEST, call.view.content_type(), encode::invalid(error))
}

pub(super) fn not_found(call: &Call) -> Response<Body> {
    respond::detail(StatusCode::NOT_FOUND, call.view.content_type(), "Not found.")
}
