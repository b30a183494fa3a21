//! `/targets/`: what protects the receivers, for the operator; a project sees its own share.
//!
//! Owns how targets are listed, shown and set. Must never tell a project how many webhooks of
//! others point to a target, or what is under way for them.

use std::collections::BTreeSet;

use http::request::Parts;
use http::{Response, StatusCode};

use super::api::{self, Api, Call, command_error};
use super::auth::query_value;
use super::body::Body;
use super::limits::RetryAfterSeconds;
use super::look::{self, Backlog};
use super::operator::field_error;
use super::respond::{self, JSON};
use crate::dialect::body::{Field, Fields};
use crate::dialect::object::{Object, array};
use crate::engine::command::{Command, TargetPatch};
use crate::logic::dispatcher::TargetFigures;
use crate::logic::dispatcher::standing::{Breaking, TargetHealth};
use crate::model::draft::Change;
use crate::model::ids::ProjectId;
use crate::model::operator::TargetSettings;
use crate::model::target::Origin;
use crate::model::time::Wall;
use crate::model::webhook::Webhook;

/// What a project is told that wants to set one.
pub(super) const OPERATORS_ALONE: &str = "A target's limits are the operator's alone; a webhook has rate_per_second, burst and in_flight.";

/// Targets of one page.
pub(super) const PAGE_TARGETS_MAX: usize = 100;
/// The largest limit that can be set.
pub(super) const LIMIT_MAX: u32 = 1_000_000;
/// What can be set.
const FIELDS: [&str; 4] = ["rate_per_second", "burst", "in_flight", "paused"];
const PAUSED: &str = "paused";
const FAILING: &str = "failing";
const ACTIVE: &str = "active";
/// The states of a target.
pub(super) const STATES: [&str; 3] = [ACTIVE, FAILING, PAUSED];

pub(super) async fn list(api: &Api, parts: &Parts) -> Response<Body> {
    let after = match after(parts) {
        Ok(after) => after,
        Err(refusal) => return *refusal,
    };
    let (origins, more) = {
        let catalog = api.handle.catalog();
        page(catalog.targets(after.as_ref()))
    };
    let Some(figures) = api.handle.targets(origins.clone()).await else { return stopping() };
    let backlogs = match backlogs(api, &origins, |_| true).await {
        Ok(backlogs) => backlogs,
        Err(unreadable) => return unreadable,
    };
    let rows = origins.iter().zip(&figures).zip(&backlogs);
    paged(
        &origins,
        more,
        rows.map(|((origin, figures), backlog)| whole(api, origin, figures, backlog)),
    )
}

pub(super) async fn show(api: &Api, origin: Origin) -> Response<Body> {
    let is_known = {
        let catalog = api.handle.catalog();
        catalog.webhooks_at(&origin).next().is_some()
            || catalog.operator().targets.contains_key(&origin)
    };
    if is_known { shown(api, origin).await } else { not_found() }
}

pub(super) async fn set_named(api: &Api, parts: &Parts, body: &[u8]) -> Response<Body> {
    let fields = match api::fields(parts, body, JSON) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    let text = fields.given("target").and_then(Field::as_text).unwrap_or_default();
    match Origin::parse(text) {
        Ok(origin) => set_fields(api, origin, &fields, true).await,
        Err(error) => field_error("target", &format!("{text:?} is no scheme and host: {error}.")),
    }
}

pub(super) async fn set(api: &Api, origin: Origin, parts: &Parts, body: &[u8]) -> Response<Body> {
    match api::fields(parts, body, JSON) {
        Ok(fields) => set_fields(api, origin, &fields, false).await,
        Err(unreadable) => *unreadable,
    }
}

async fn set_fields(api: &Api, origin: Origin, fields: &Fields, named: bool) -> Response<Body> {
    let known = |name: &str| FIELDS.contains(&name) || named && name == "target";
    if let Some(name) = fields.names().find(|name| !known(name)) {
        return field_error(name, &format!("Unknown field. Known are {}.", FIELDS.join(", ")));
    }
    let limit = |name: &'static str| limit(fields, name).map_err(|text| (name, text));
    let paused = match fields.given("paused").map(|field| (field, field.as_bool())) {
        Some((field, None)) => {
            return field_error("paused", &format!("{} is neither true nor false.", field.shown()));
        }
        Some((_, paused)) => paused,
        None => None,
    };
    let patch = match (limit("rate_per_second"), limit("burst"), limit("in_flight")) {
        (Ok(rate_per_second), Ok(burst), Ok(in_flight)) => {
            TargetPatch { rate_per_second, burst, in_flight, paused }
        }
        (Err((name, text)), _, _) | (_, Err((name, text)), _) | (_, _, Err((name, text))) => {
            return field_error(name, &text);
        }
    };
    match api.handle.command(Command::SetTarget { origin: origin.clone(), patch }).await {
        Ok(_) => shown(api, origin).await,
        Err(error) => command_error(&error, JSON),
    }
}

/// A limit: absent changes nothing, `null` lets the configuration's hold again.
fn limit(fields: &Fields, name: &str) -> Result<Change<u32>, String> {
    match fields.get(name) {
        None => Ok(Change::Keep),
        Some(field) if field.is_null() || field.as_text() == Some("") => Ok(Change::Clear),
        Some(field) => field
            .as_u32()
            .filter(|number| (1..=LIMIT_MAX).contains(number))
            .map(Change::Set)
            .ok_or_else(|| {
                format!("\"{}\" is not a whole number from 1 to {LIMIT_MAX}.", field.shown())
            }),
    }
}

pub(super) async fn list_share(api: &Api, call: &Call) -> Response<Body> {
    let after = match after(&call.parts) {
        Ok(after) => after,
        Err(refusal) => return *refusal,
    };
    let project = call.project().id;
    let (origins, more) = {
        let catalog = api.handle.catalog();
        let own = catalog.webhooks_of(project).chain(catalog.all_hidden_of(project));
        let own = own.filter(|webhook| is_in_share(webhook, project));
        let own: BTreeSet<&Origin> = own.map(|webhook| webhook.target_url.origin()).collect();
        page(own.into_iter().filter(|origin| after.as_ref().is_none_or(|after| *origin > after)))
    };
    let Some(figures) = api.handle.targets(origins.clone()).await else { return stopping() };
    let backlogs = match backlogs(api, &origins, |webhook| is_in_share(webhook, project)).await {
        Ok(backlogs) => backlogs,
        Err(unreadable) => return unreadable,
    };
    let rows = origins.iter().zip(&figures).zip(&backlogs);
    paged(
        &origins,
        more,
        rows.map(|((origin, figures), backlog)| share(api, project, origin, figures, backlog)),
    )
}

pub(super) async fn show_share(api: &Api, call: &Call, origin: Option<Origin>) -> Response<Body> {
    let project = call.project().id;
    let Some(origin) = origin.filter(|origin| {
        let catalog = api.handle.catalog();
        catalog.webhooks_at(origin).any(|webhook| is_in_share(webhook, project))
    }) else {
        return not_found();
    };
    let origins = vec![origin];
    let backlogs = backlogs(api, &origins, |webhook| is_in_share(webhook, project)).await;
    let figures = api.handle.targets(origins.clone()).await;
    match (figures.as_deref(), backlogs.as_deref()) {
        (Some([figures, ..]), Ok([backlog, ..])) => {
            let body = share(api, project, &origins[0], figures, backlog);
            respond::bytes(StatusCode::OK, JSON, body)
        }
        (None, _) | (_, Ok(_)) => stopping(),
        (_, Err(_)) => backlogs.err().unwrap_or_else(stopping),
    }
}

fn is_in_share(webhook: &Webhook, project: ProjectId) -> bool {
    webhook.project == project && webhook.listener.is_none()
}

async fn shown(api: &Api, origin: Origin) -> Response<Body> {
    let origins = vec![origin];
    let backlogs = backlogs(api, &origins, |_| true).await;
    let figures = api.handle.targets(origins.clone()).await;
    match (figures.as_deref(), backlogs.as_deref()) {
        (Some([figures, ..]), Ok([backlog, ..])) => {
            respond::bytes(StatusCode::OK, JSON, whole(api, &origins[0], figures, backlog))
        }
        (None, _) | (_, Ok(_)) => stopping(),
        (_, Err(_)) => backlogs.err().unwrap_or_else(stopping),
    }
}

/// What waits for each of these targets, by the webhooks that are looked at.
async fn backlogs(
    api: &Api,
    origins: &[Origin],
    is_seen: impl Fn(&Webhook) -> bool,
) -> Result<Vec<Backlog>, Response<Body>> {
    let webhooks = {
        let catalog = api.handle.catalog();
        let seen = |origin| {
            let webhooks = catalog.webhooks_at(origin).filter(|webhook| is_seen(webhook));
            webhooks.map(|webhook| webhook.id).take(look::COUNTED_MAX).collect()
        };
        origins.iter().map(seen).collect()
    };
    look::backlogs(api, webhooks).await
}

/// A target as the operator sees it.
fn whole(api: &Api, origin: &Origin, figures: &TargetFigures, backlog: &Backlog) -> Vec<u8> {
    let catalog = api.handle.catalog();
    let set = catalog.operator().target(origin);
    let webhooks = catalog.webhooks_at(origin).filter(|webhook| !webhook.hidden);
    let stored = Object::new()
        .number_or_null("rate_per_second", set.rate_per_second)
        .number_or_null("burst", set.burst)
        .number_or_null("in_flight", set.in_flight)
        .end();
    head(origin, set, figures)
        .number("webhooks", webhooks.count() as u64)
        .number("under_way", u64::from(figures.in_flight))
        .number("rate_per_second", u64::from(figures.rate.per_second.get()))
        .number("burst", u64::from(figures.rate.burst.get()))
        .number("in_flight", u64::from(figures.in_flight_max))
        .raw("set", &stored)
        .raw("health", &health(figures))
        .raw("backlog", &backlog.end())
        .end()
}

/// A target as a project sees it: its own webhooks and attempts.
fn share(
    api: &Api,
    project: ProjectId,
    origin: &Origin,
    figures: &TargetFigures,
    backlog: &Backlog,
) -> Vec<u8> {
    let catalog = api.handle.catalog();
    let set = catalog.operator().target(origin);
    let own = |webhook: &Webhook| is_in_share(webhook, project);
    let webhooks = catalog.webhooks_at(origin).filter(|webhook| own(webhook) && !webhook.hidden);
    let under_way: u64 = figures
        .lanes_in_flight
        .iter()
        .filter(|(id, _)| catalog.webhook(*id).is_some_and(|webhook| own(webhook)))
        .map(|(_, count)| u64::from(*count))
        .sum();
    head(origin, set, figures)
        .number("webhooks", webhooks.count() as u64)
        .number("under_way", under_way)
        .raw("backlog", &backlog.end())
        .end()
}

fn head(origin: &Origin, set: TargetSettings, figures: &TargetFigures) -> Object {
    let state = match (set.paused_since, figures.is_open) {
        (Some(_), _) => PAUSED,
        (None, true) => FAILING,
        (None, false) => ACTIVE,
    };
    let paused_since = set.paused_since.map(|at| at.rfc3339_micros());
    Object::new()
        .text("id", &origin.id())
        .text("target", &origin.to_string())
        .text("state", state)
        .text_or_null("paused_since", paused_since.as_deref())
}

/// How a target does, for the operator: it is of all projects' deliveries.
fn health(figures: &TargetFigures) -> Vec<u8> {
    let TargetHealth { breaker, failures, last_success, rate } = figures.health;
    let (state, probe_at) = match breaker {
        Breaking::Closed => ("closed", None),
        Breaking::Probe => ("probe_due", None),
        Breaking::Open(Some(at)) => ("open", Some(at)),
        Breaking::Open(None) => ("probing", None),
    };
    let text = |at: Option<Wall>| at.map(Wall::rfc3339_micros);
    Object::new()
        .text("breaker", state)
        .text_or_null("probe_at", text(probe_at).as_deref())
        .number("failed_connections", u64::from(failures))
        .text_or_null("last_success_at", text(last_success).as_deref())
        .text_or_null("rate_limited_until", text(rate.map(|rate| rate.until)).as_deref())
        .end()
}

/// The next targets of a list, and whether there are more.
fn page<'a>(targets: impl Iterator<Item = &'a Origin>) -> (Vec<Origin>, bool) {
    let mut found: Vec<Origin> = targets.take(PAGE_TARGETS_MAX + 1).cloned().collect();
    let more = found.len() > PAGE_TARGETS_MAX;
    found.truncate(PAGE_TARGETS_MAX);
    (found, more)
}

fn paged(origins: &[Origin], more: bool, rows: impl Iterator<Item = Vec<u8>>) -> Response<Body> {
    let next = origins.last().filter(|_| more).map(|last| format!("?after={}", last.id()));
    let body = Object::new()
        .text_or_null("next", next.as_deref())
        .number("per_page", PAGE_TARGETS_MAX as u64)
        .raw("results", &array(rows))
        .end();
    respond::bytes(StatusCode::OK, JSON, body)
}

fn after(parts: &Parts) -> Result<Option<Origin>, Box<Response<Body>>> {
    let query = parts.uri.query().unwrap_or_default();
    let Some(id) = query_value(query, "after") else { return Ok(None) };
    Origin::parse_id(id)
        .map(Some)
        .ok_or_else(|| Box::new(field_error("after", "It is the id of a target.")))
}

fn not_found() -> Response<Body> {
    respond::detail(StatusCode::NOT_FOUND, JSON, "Not found.")
}

fn stopping() -> Response<Body> {
    respond::unavailable(JSON, "The daemon is shutting down.", RetryAfterSeconds(1))
}
