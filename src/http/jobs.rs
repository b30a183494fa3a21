//! `/jobs/`, and what begins one: `/deliveries/resend/`, `/deliveries/cancel/`,
//! `/webhooks/{id}/recover/`.
//!
//! Owns how deliveries are selected by a request, and how jobs are shown. Must never begin one that
//! selects everything unless that was said.

use http::{Response, StatusCode};

use super::api::{Api, Call, command_error};
use super::body::Body;
use super::deliveries::{done, fields, not_found, webhook};
use super::limits::RetryAfterSeconds;
use super::operator::field_error;
use super::respond::{self, JSON};
use super::route::DeliveryAction;
use crate::dialect::body::{Field, Fields};
use crate::dialect::object::{Object, array};
use crate::engine::command::CommandError;
use crate::engine::command::act::{Act, ActError, Acted};
use crate::engine::trial::Trial;
use crate::model::attempt::LastCode;
use crate::model::delivery::Status;
use crate::model::event::EventName;
use crate::model::ids::WebhookId;
use crate::model::job::{Asker, Job, JobId, JobKind, Only, Selection};
use crate::model::target::Origin;
use crate::model::time::{Wall, parse_rfc3339};

/// Deliveries or events that a dry run looks at.
const DRY_RUN_ROWS_MAX: usize = 100_000;
/// What selects deliveries.
const FILTERS: [&str; 7] = ["status", "webhook", "event", "target", "code", "since", "until"];
/// What else can be said of a bulk action.
const SAID: [&str; 2] = ["all", "dry_run"];
/// What can be said of a recovery.
const RECOVERY: [&str; 4] = ["since", "until", "only", "dry_run"];

/// A field, and what is wrong with it.
type Wrong = (&'static str, String);

pub(super) async fn begin(api: &Api, call: &Call, action: DeliveryAction) -> Response<Body> {
    let fields = match fields(call) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    let known = [FILTERS.as_slice(), SAID.as_slice()].concat();
    if let Some(refusal) = unknown(&fields, &known) {
        return refusal;
    }
    let kind = match action {
        DeliveryAction::Resend => JobKind::Resend,
        DeliveryAction::Cancel => JobKind::Cancel,
    };
    let webhook = match webhook(api, call, &fields) {
        Ok(webhook) => webhook,
        Err(refusal) => return *refusal,
    };
    match selected(&fields, kind, webhook) {
        Ok((selection, is_trial)) => answered(api, call, (kind, selection), is_trial).await,
        Err((field, text)) => field_error(field, &text),
    }
}

/// The webhook was found to be the project's.
pub(super) async fn recover(api: &Api, call: &Call, id: WebhookId) -> Response<Body> {
    let fields = match fields(call) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    if let Some(refusal) = unknown(&fields, &RECOVERY) {
        return refusal;
    }
    match recovery(&fields) {
        Ok((only, since, until, is_trial)) => {
            let (webhook, since) = (Some(id), Some(since));
            let selection = Selection { webhook, since, until, ..Selection::default() };
            let stopped = {
                let catalog = api.handle.catalog();
                let webhook = catalog.webhook(id);
                webhook.filter(|webhook| !webhook.is_active()).map(|webhook| webhook.state.as_str())
            };
            if let Some(state) = stopped {
                return command_error(&CommandError::Act(ActError::NotSending(state)), JSON);
            }
            answered(api, call, (JobKind::Recover(only), selection), is_trial).await
        }
        Err((field, text)) => field_error(field, &text),
    }
}

pub(super) async fn list(api: &Api, call: &Call) -> Response<Body> {
    let Some(jobs) = api.handle.jobs(call.project().id).await else { return stopping() };
    let rows = array(jobs.iter().map(|job| object(job)));
    respond::bytes(StatusCode::OK, JSON, Object::new().raw("results", &rows).end())
}

pub(super) async fn show(api: &Api, call: &Call, id: Option<JobId>) -> Response<Body> {
    let Some(jobs) = api.handle.jobs(call.project().id).await else { return stopping() };
    match jobs.iter().find(|job| Some(job.id) == id) {
        Some(job) => respond::bytes(StatusCode::OK, JSON, object(job)),
        None => not_found(),
    }
}

pub(super) async fn stop(api: &Api, call: &Call, id: Option<JobId>) -> Response<Body> {
    let Some(id) = id else { return not_found() };
    match done(api, call, Act::Stop(id)).await {
        Ok(Acted::Job(job)) => respond::bytes(StatusCode::OK, JSON, object(&job)),
        Ok(_) => respond::no_content(),
        Err(error) => command_error(&error, JSON),
    }
}

async fn answered(
    api: &Api,
    call: &Call,
    what: (JobKind, Selection),
    is_trial: bool,
) -> Response<Body> {
    if is_trial {
        let project = call.project().id;
        return match api.handle.try_job(project, what, DRY_RUN_ROWS_MAX).await {
            Ok(trial) => respond::bytes(StatusCode::OK, JSON, trial_object(trial)),
            Err(error) => {
                tracing::error!(%error, "Deliveries can't be read.");
                respond::unavailable(JSON, "The store can't be read.", RetryAfterSeconds(1))
            }
        };
    }
    // The operator acts on a project's part under its path.
    let is_operator = call.parts.uri.path().starts_with("/projects/");
    let who = if is_operator { Asker::Operator } else { Asker::Project };
    match done(api, call, Act::Begin { what, who }).await {
        Ok(Acted::Job(job)) => {
            let body = Object::new().raw("job", &object(&job)).end();
            respond::bytes(StatusCode::ACCEPTED, JSON, body)
        }
        Ok(_) => respond::no_content(),
        Err(error) => command_error(&error, JSON),
    }
}

fn unknown(fields: &Fields, known: &[&str]) -> Option<Response<Body>> {
    let name = fields.names().find(|name| !known.contains(name))?;
    Some(field_error(name, &format!("Unknown field. Known are {}.", known.join(", "))))
}

/// What a bulk action is about, and whether it is to be tried alone.
fn selected(
    fields: &Fields,
    kind: JobKind,
    webhook: Option<WebhookId>,
) -> Result<(Selection, bool), Wrong> {
    let selection = Selection {
        status: status(fields, kind)?,
        webhook,
        event: event(fields)?,
        target: target(fields)?,
        code: code(fields)?,
        since: instant(fields, "since")?,
        until: instant(fields, "until")?,
    };
    let is_all = flag(fields, "all")?;
    if selection == Selection::default() && !is_all {
        let text = format!(
            "Say what is meant by at least one of {}; or by \"all\": true.",
            FILTERS.join(", ")
        );
        return Err(("all", text));
    }
    in_order(&selection)?;
    Ok((selection, flag(fields, "dry_run")?))
}

fn recovery(fields: &Fields) -> Result<(Only, Wall, Option<Wall>, bool), Wrong> {
    let since = instant(fields, "since")?;
    let since = since.ok_or(("since", "This field is required.".to_owned()))?;
    let until = instant(fields, "until")?;
    in_order(&Selection { since: Some(since), until, ..Selection::default() })?;
    let only = match fields.given("only") {
        None => Only::Failed,
        Some(field) => field.as_text().and_then(Only::parse).ok_or_else(|| {
            let words = Only::ALL.map(Only::as_str).join(", ");
            ("only", format!("\"{}\" is not one of {words}.", field.shown()))
        })?,
    };
    Ok((only, since, until, flag(fields, "dry_run")?))
}

fn in_order(selection: &Selection) -> Result<(), Wrong> {
    match (selection.since, selection.until) {
        (Some(since), Some(until)) if until <= since => {
            Err(("until", "It is not later than since: nothing lies between.".to_owned()))
        }
        _ => Ok(()),
    }
}

/// What stands there can be resent, or cancelled.
fn status(fields: &Fields, kind: JobKind) -> Result<Option<Status>, Wrong> {
    let Some(field) = fields.given("status") else { return Ok(None) };
    let is_fit = |status: &Status| (*status == Status::Pending) == (kind == JobKind::Cancel);
    let words: Vec<&str> =
        Status::ALL.iter().filter(|status| is_fit(status)).map(|status| status.as_str()).collect();
    let status = field.as_text().and_then(Status::parse).filter(is_fit);
    status.map(Some).ok_or_else(|| {
        let text = format!("\"{}\" is not one of {}.", field.shown(), words.join(", "));
        ("status", text)
    })
}

fn event(fields: &Fields) -> Result<Option<EventName>, Wrong> {
    let Some(field) = fields.given("event") else { return Ok(None) };
    let name = field.as_text().and_then(EventName::parse);
    name.map(Some).ok_or_else(|| ("event", format!("\"{}\" is no event's name.", field.shown())))
}

fn target(fields: &Fields) -> Result<Option<Origin>, Wrong> {
    let Some(field) = fields.given("target") else { return Ok(None) };
    let text = field.as_text().unwrap_or_default();
    let origin = Origin::parse_id(text).or_else(|| Origin::parse(text).ok());
    origin.map(Some).ok_or_else(|| {
        let text =
            format!("\"{}\" is neither a target's id nor its scheme and host.", field.shown());
        ("target", text)
    })
}

fn code(fields: &Fields) -> Result<Option<LastCode>, Wrong> {
    let Some(field) = fields.given("code") else { return Ok(None) };
    let number = field.as_u32().map(|number| number.to_string());
    let text = number.as_deref().or_else(|| field.as_text()).unwrap_or_default();
    LastCode::parse(text)
        .map(Some)
        .ok_or_else(|| ("code", format!("\"{}\" is not {}.", field.shown(), LastCode::FORMS)))
}

fn instant(fields: &Fields, name: &'static str) -> Result<Option<Wall>, Wrong> {
    let Some(field) = fields.given(name) else { return Ok(None) };
    let at = field.as_text().and_then(parse_rfc3339);
    at.map(Some).ok_or_else(|| {
        let text = "is no instant like 2026-01-31T12:00:00Z.";
        (name, format!("\"{}\" {text}", field.shown()))
    })
}

fn flag(fields: &Fields, name: &'static str) -> Result<bool, Wrong> {
    let Some(field) = fields.given(name) else { return Ok(false) };
    Field::as_bool(field)
        .ok_or_else(|| (name, format!("\"{}\" is neither true nor false.", field.shown())))
}

fn trial_object(trial: Trial) -> Vec<u8> {
    Object::new()
        .flag("dry_run", true)
        .number("matched", trial.matched)
        .number("skipped", trial.skipped)
        .flag("complete", trial.is_complete)
        .end()
}

fn object(job: &Job) -> Vec<u8> {
    let only = match job.kind {
        JobKind::Recover(only) => Some(only.as_str()),
        JobKind::Resend | JobKind::Cancel => None,
    };
    let finished = job.finished.map(Wall::rfc3339_micros);
    Object::new()
        .text("id", &job.id.to_string())
        .text("kind", job.kind.as_str())
        .text_or_null("only", only)
        .raw("filter", &filter(&job.selection))
        .text("state", job.state.as_str())
        .number("matched", job.matched)
        .number("done", job.done)
        .number("skipped", job.skipped)
        .text("who", job.who.as_str())
        .text("created_at", &job.created.rfc3339_micros())
        .text("updated_at", &job.updated.rfc3339_micros())
        .text_or_null("finished_at", finished.as_deref())
        .end()
}

/// A selection by what was given of it.
fn filter(selection: &Selection) -> Vec<u8> {
    let mut object = Object::new();
    if let Some(status) = selection.status {
        object = object.text("status", status.as_str());
    }
    if let Some(webhook) = selection.webhook {
        object = object.number("webhook", u64::from(webhook.get()));
    }
    if let Some(event) = &selection.event {
        object = object.text("event", event.as_str());
    }
    if let Some(target) = &selection.target {
        object = object.text("target", &target.to_string());
    }
    if let Some(code) = selection.code {
        object = object.text("code", &code.to_string());
    }
    for (name, at) in [("since", selection.since), ("until", selection.until)] {
        if let Some(at) = at {
            object = object.text(name, &at.rfc3339_micros());
        }
    }
    object.end()
}

fn stopping() -> Response<Body> {
    respond::unavailable(JSON, "The daemon is shutting down.", RetryAfterSeconds(1))
}
