//! `/deliveries/`: a project's deliveries, newest first.
//!
//! Owns which rows of the store are read for a page, and what a row shows. Must never read an
//! attempt or an event for a row that its filters have left out already.

use std::collections::VecDeque;

use http::{Response, StatusCode};

use super::super::api::{Api, Call};
use super::super::body::Body;
use super::super::respond::{self, JSON};
use super::filter::{Bad, OfEvent, Query, Wanted, delivery_seq};
use super::page::{self, Cut, Kept, Page, ROWS_SCANNED_MAX};
use super::{Events, delivery_id, event_id, instant, origin_of, unreadable};
use crate::dialect::object::Object;
use crate::engine::Handle;
use crate::model::attempt::{Attempt, Outcome};
use crate::model::delivery::{Delivery, Pending};
use crate::model::event::Event;
use crate::model::ids::{DeliveryId, ProjectId, Seq, WebhookId};
use crate::model::target::Origin;
use crate::store::query::{DeliveryQuery, Order, Scope};
use crate::store::{ReadError, Store};

/// What an id of a delivery looks like.
const ID_WANTED: &str = "the id of a delivery (dlv_…)";

pub(in super::super) async fn list(api: &Api, call: &Call) -> Response<Body> {
    let project = call.project().id;
    let (query, wanted, cut) = match read(api, call, project) {
        Ok(read) => read,
        Err(bad) => return bad.response(),
    };
    let per_page = cut.per_page;
    let handle = api.handle.clone();
    let found = api.handle.look(move |store| {
        let scope = scope(&handle, store, project, &wanted)?;
        let Some(scope) = scope else { return Ok(nothing()) };
        let origin = |webhook| origin_of(&handle, project, webhook);
        rows(store, project, scope, &wanted, cut, origin)
    });
    match found.await {
        Ok(page) => {
            let id = |seq| DeliveryId { seq, salt: 0 }.to_string();
            let body = page::body(page, per_page, query.pairs(), id);
            respond::bytes(StatusCode::OK, JSON, body)
        }
        Err(error) => unreadable(&error),
    }
}

fn nothing() -> Page<Vec<u8>> {
    Page { rows: Vec::new(), next: page::From::Start, previous: page::From::Start }
}

fn read(api: &Api, call: &Call, project: ProjectId) -> Result<(Query, Wanted, Cut), Bad> {
    let query = Query::read(&call.parts, &Wanted::KNOWN)?;
    let wanted = Wanted::read(&query, |public_id| {
        let catalog = api.handle.catalog();
        let webhook = catalog.webhook_by_public_id(public_id);
        webhook.filter(|webhook| webhook.project == project).map(|webhook| webhook.id)
    })?;
    let cut = query.cut(delivery_seq, ID_WANTED)?;
    Ok((query, wanted, cut))
}

/// Where to look; none if there is nothing that could be shown.
fn scope(
    handle: &Handle,
    store: &dyn Store,
    project: ProjectId,
    wanted: &Wanted,
) -> Result<Option<Scope>, ReadError> {
    if wanted.is_none {
        return Ok(None);
    }
    if let Some(id) = wanted.webhook {
        let known = handle.catalog().webhook(id).map(|webhook| webhook.project);
        let is_own = match known {
            Some(owner) => owner == project,
            // It is gone; what was delivered by it is there still.
            None => is_of(store, project, id)?,
        };
        return Ok(is_own.then_some(Scope::Webhook(id)));
    }
    let Some(target) = &wanted.target else { return Ok(Some(Scope::Project(project))) };
    let catalog = handle.catalog();
    let mut own = catalog.webhooks_at(target).filter(|webhook| webhook.project == project);
    Ok(match (own.next(), own.next()) {
        (None, _) => None,
        (Some(only), None) => Some(Scope::Webhook(only.id)),
        _ => Some(Scope::Project(project)),
    })
}

/// Whether a webhook that is gone was the project's: all of its deliveries have one owner.
fn is_of(store: &dyn Store, project: ProjectId, webhook: WebhookId) -> Result<bool, ReadError> {
    let query = DeliveryQuery {
        scope: Scope::Webhook(webhook),
        status: None,
        from: Seq(0),
        to: Seq(u64::MAX),
        order: Order::NewestFirst,
        rows_max: 1,
    };
    Ok(store.deliveries(&query)?.iter().all(|delivery| delivery.project() == project))
}

/// A page of rows.
pub(super) fn rows(
    store: &dyn Store,
    project: ProjectId,
    scope: Scope,
    wanted: &Wanted,
    mut cut: Cut,
    origin: impl Fn(WebhookId) -> Option<Origin>,
) -> Result<Page<Vec<u8>>, ReadError> {
    let mut events = Events::new(store);
    let mut of_event = None;
    if let Some(OfEvent::Id(id)) = &wanted.event {
        // What became of an event has higher numbers than it.
        cut.least = cut.least.max(id.seq);
        let event = events.get(id.seq)?;
        if event.is_none_or(|event| event.id != *id || event.project != project) {
            return Ok(nothing());
        }
        let found = store.deliveries_of(id.seq, ROWS_SCANNED_MAX + 1)?;
        of_event = (found.len() <= ROWS_SCANNED_MAX).then_some(found);
    }
    cut.is_filtered = wanted.target.is_some() || wanted.code.is_some() || wanted.event.is_some();
    let read = |from: Seq, to: Seq, order, rows_max| match &of_event {
        Some(found) => Ok(within(found, from, to, order, rows_max)),
        None => {
            let status = wanted.status;
            store.deliveries(&DeliveryQuery { scope, status, from, to, order, rows_max })
        }
    };
    let keep = |delivery: &Delivery| {
        let shown = kept(store, &mut events, project, wanted, delivery, &origin)?;
        Ok((shown.map_or(Kept::LeftOut, Kept::Shown), events.bytes_read))
    };
    page::read(&cut, read, Delivery::seq, keep)
}

/// Rows of an event that were read already.
fn within(found: &[Delivery], from: Seq, to: Seq, order: Order, rows_max: usize) -> Vec<Delivery> {
    let mut rows: VecDeque<Delivery> =
        found.iter().filter(|one| (from..=to).contains(&one.seq())).copied().collect();
    if order == Order::NewestFirst {
        rows = rows.into_iter().rev().collect();
    }
    rows.truncate(rows_max);
    rows.into()
}

/// A delivery as a row, if it is wanted.
fn kept(
    store: &dyn Store,
    events: &mut Events<'_>,
    project: ProjectId,
    wanted: &Wanted,
    delivery: &Delivery,
    origin: &impl Fn(WebhookId) -> Option<Origin>,
) -> Result<Option<Vec<u8>>, ReadError> {
    let is_wanted = delivery.project() == project
        && wanted.status.is_none_or(|status| status == delivery.status())
        && wanted.webhook.is_none_or(|webhook| webhook == delivery.webhook());
    if !is_wanted {
        return Ok(None);
    }
    if let Some(OfEvent::Id(id)) = &wanted.event
        && delivery.event() != id.seq
    {
        return Ok(None);
    }
    let target = origin(delivery.webhook());
    if wanted.target.is_some() && wanted.target != target {
        return Ok(None);
    }
    let last = match delivery.attempts() {
        0 => None,
        _ => store.last_attempt(delivery.seq())?,
    };
    if let Some(code) = wanted.code
        && !last.as_ref().is_some_and(|last| code.is_of(last.outcome))
    {
        return Ok(None);
    }
    let event = events.get(delivery.event())?;
    if let Some(OfEvent::Name(name)) = &wanted.event
        && event.as_ref().is_none_or(|event| event.name != *name)
    {
        return Ok(None);
    }
    Ok(Some(row(delivery, event.as_deref(), target.as_ref(), last.as_ref()).end()))
}

/// What a row of a list shows.
pub(super) fn row(
    delivery: &Delivery,
    event: Option<&Event>,
    target: Option<&Origin>,
    last: Option<&Attempt>,
) -> Object {
    let (code, failure) = match last.map(|last| last.outcome) {
        Some(Outcome::Status(code)) => (Some(u32::from(code)), None),
        Some(Outcome::Failure(failure)) => (None, Some(failure.as_str())),
        None => (None, None),
    };
    // Of one that waits: what came of its last attempt. What it waits for is for `explain` to say.
    let (next, finished, reason) = match delivery {
        Delivery::Pending(row) => {
            (next_attempt(row), None, last.map(|last| last.reason().as_str()))
        }
        Delivery::Finished(end) => (None, Some(end.finished), end.ending.words().1),
    };
    let object = Object::new()
        .text("id", &delivery_id(event, delivery.seq()).to_string())
        .text("event_id", &event_id(event, delivery.event()).to_string())
        .text_or_null("event", event.map(|event| event.name.as_str()))
        .number("webhook", u64::from(delivery.webhook().get()))
        .text_or_null("target", target.map(ToString::to_string).as_deref())
        .text("status", delivery.status().as_str())
        .text_or_null("reason", reason)
        .number("attempts", u64::from(delivery.attempts()))
        .number_or_null("last_code", code)
        .text_or_null("last_failure", failure)
        .text("created_at", &delivery.seq().wall().rfc3339_micros());
    instant(instant(object, "next_attempt_at", next), "finished_at", finished)
}

/// Not before then.
fn next_attempt(row: &Pending) -> Option<crate::model::time::Wall> {
    Some(row.key.due)
}
