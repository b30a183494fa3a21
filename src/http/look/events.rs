//! `/events/`: a project's events, newest first, and one of them whole.
//!
//! Owns what an event shows. Must never show what was erased.

use std::sync::Arc;

use http::{Response, StatusCode};

use super::super::api::{Api, Call};
use super::super::body::Body;
use super::super::respond::{self, JSON};
use super::deliveries;
use super::filter::{Bad, Query, WantedEvents, event_seq};
use super::page::{self, Cut, Kept, Page};
use super::{Events, instant, not_found, origin_of, unreadable};
use crate::dialect::cloudevents;
use crate::dialect::names;
use crate::dialect::object::{Object, array};
use crate::model::delivery::{Delivery, Status};
use crate::model::event::{Dialect, Event};
use crate::model::ids::{EventId, ProjectId, Seq};
use crate::source;
use crate::store::query::EventQuery;
use crate::store::{ReadError, Store};

/// What an id of an event looks like.
const ID_WANTED: &str = "the id of an event (evt_…)";
/// Deliveries of one event that are counted or shown; `/deliveries/?event=` has them all.
const DELIVERIES_COUNTED_MAX: usize = 1_000;
/// Deliveries that are counted for one page; the events behind them are on the next.
const PAGE_COUNTED_MAX: usize = 10_000;

pub(in super::super) async fn list(api: &Api, call: &Call) -> Response<Body> {
    let project = call.project().id;
    let (query, wanted, cut) = match read(call) {
        Ok(read) => read,
        Err(bad) => return bad.response(),
    };
    let per_page = cut.per_page;
    match api.handle.look(move |store| rows(store, project, &wanted, cut)).await {
        Ok(page) => {
            let id = |seq| EventId { seq, salt: 0 }.to_string();
            let body = page::body(page, per_page, query.pairs(), id);
            respond::bytes(StatusCode::OK, JSON, body)
        }
        Err(error) => unreadable(&error),
    }
}

fn read(call: &Call) -> Result<(Query, WantedEvents, Cut), Bad> {
    let query = Query::read(&call.parts, &WantedEvents::KNOWN)?;
    let wanted = WantedEvents::read(&query)?;
    let cut = query.cut(event_seq, ID_WANTED)?;
    Ok((query, wanted, cut))
}

pub(in super::super) async fn show(api: &Api, call: &Call, id: Option<EventId>) -> Response<Body> {
    let Some(id) = id else { return not_found() };
    let project = call.project().id;
    let handle = api.handle.clone();
    let read = move |store: &dyn Store| {
        let mut events = Events::new(store);
        let event = events.get(id.seq)?;
        let event = event.filter(|event| event.id == id && event.project == project);
        let Some(event) = event else { return Ok(None) };
        let found = store.deliveries_of(id.seq, DELIVERIES_COUNTED_MAX + 1)?;
        let mut rows = Vec::new();
        for delivery in found.iter().take(DELIVERIES_COUNTED_MAX) {
            let last = match delivery.attempts() {
                0 => None,
                _ => store.last_attempt(delivery.seq())?,
            };
            let origin = origin_of(&handle, project, delivery.webhook());
            let row = deliveries::row(delivery, Some(&event), origin.as_ref(), last.as_ref());
            rows.push(row.end());
        }
        Ok(Some(whole(&event, &found, rows)))
    };
    match api.handle.look(read).await {
        Ok(Some(body)) => respond::bytes(StatusCode::OK, JSON, body),
        Ok(None) => not_found(),
        Err(error) => unreadable(&error),
    }
}

/// A page of rows.
pub(super) fn rows(
    store: &dyn Store,
    project: ProjectId,
    wanted: &WantedEvents,
    mut cut: Cut,
) -> Result<Page<Vec<u8>>, ReadError> {
    cut.is_filtered = wanted.name.is_some() || wanted.source.is_some();
    let mut events = Events::new(store);
    let mut counted = 0;
    let read = |from, to, order, rows_max| {
        store.events(&EventQuery { project, from, to, order, rows_max })
    };
    let keep = |seq: &Seq| {
        let event = events.get(*seq)?.filter(|event| event.project == project);
        let event = event.filter(|event| {
            wanted.name.as_ref().is_none_or(|name| event.name == *name)
                && wanted.source.is_none_or(|source| event.source == source)
        });
        let Some(event) = event else { return Ok((Kept::LeftOut, events.bytes_read)) };
        let found = store.deliveries_of(*seq, DELIVERIES_COUNTED_MAX + 1)?;
        counted += found.len();
        let spent = if counted >= PAGE_COUNTED_MAX { usize::MAX } else { events.bytes_read };
        let row = row(&event).raw("deliveries", &counts(&found)).end();
        Ok((Kept::Shown(row), spent))
    };
    page::read(&cut, read, |seq| *seq, keep)
}

/// What a row of a list shows, without its deliveries.
fn row(event: &Event) -> Object {
    // What is damaged in it has no subject.
    let subject = cloudevents::payload::subject(event).ok().flatten();
    let object = Object::new()
        .text("id", &event.id.to_string())
        .text("event", event.name.as_str())
        .text("kind", names::canonical(event.kind))
        .text("dialect", dialect_name(event.dialect))
        .text("source", source::name(event.source))
        .text_or_null("subject", subject.as_deref());
    let object = instant(object, "occurred_at", event.occurred_at);
    instant(instant(object, "accepted_at", Some(event.accepted_at)), "erased_at", event.erased_at)
}

/// How many of its deliveries stand where.
fn counts(found: &[Delivery]) -> Vec<u8> {
    let counted = &found[..found.len().min(DELIVERIES_COUNTED_MAX)];
    let count = |status: Status| counted.iter().filter(|one| one.status() == status).count() as u64;
    let object = Status::ALL
        .into_iter()
        .fold(Object::new(), |object, status| object.number(status.as_str(), count(status)));
    object.flag("is_more", found.len() > DELIVERIES_COUNTED_MAX).end()
}

fn whole(event: &Arc<Event>, found: &[Delivery], rows: Vec<Vec<u8>>) -> Vec<u8> {
    let mut object = row(event).raw("deliveries", &counts(found));
    if event.erased_at.is_none() {
        let given = |bytes: &Option<Vec<u8>>| bytes.clone().unwrap_or_else(|| b"null".to_vec());
        object = object
            .raw("data", &event.data)
            .text_or_null("file", event.file.as_deref())
            .raw("initiator", &given(&event.initiator))
            .raw("previous_values", &given(&event.previous_values))
            .text_or_null("idempotency_key", event.idempotency_key.as_deref());
    }
    object.raw("delivery_list", &array(rows)).end()
}

/// The word for whose shape the data has.
fn dialect_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Uploadcare => "uploadcare",
        Dialect::JsonApi => "jsonapi",
        Dialect::Lancer => "lancer",
        Dialect::Custom => "custom",
    }
}
