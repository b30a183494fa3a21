//! Looking: events, deliveries and attempts, and why a delivery has not arrived.
//!
//! Owns the answers to `GET` on events and deliveries. Must never show what is another project's,
//! or tell it from what does not exist; must never read the store on the loop.

mod backlog;
mod deliveries;
mod events;
mod explain;
mod filter;
mod one;
mod page;
mod statistics;

use std::sync::Arc;

use http::{Response, StatusCode};

pub(super) use backlog::{Backlog, COUNTED_MAX, backlogs, bucket_names};
pub(super) use deliveries::list as list_deliveries;
pub(super) use events::{list as list_events, show as show_event};
pub(super) use explain::explain;
pub(super) use one::{sent, show as show_delivery};
pub(super) use page::PER_PAGE_MAX;
pub(super) use statistics::statistics;

use super::body::Body;
use super::limits::RetryAfterSeconds;
use super::respond::{self, JSON};
use crate::dialect::object::Object;
use crate::engine::Handle;
use crate::model::event::Event;
use crate::model::ids::{DeliveryId, EventId, ProjectId, Seq, WebhookId};
use crate::model::target::Origin;
use crate::model::time::Wall;
use crate::store::{ReadError, Store};

/// The events of rows that are shown: deliveries of one event stand together.
struct Events<'a> {
    store: &'a dyn Store,
    last: Option<(Seq, Option<Arc<Event>>)>,
    bytes_read: usize,
}

impl<'a> Events<'a> {
    fn new(store: &'a dyn Store) -> Events<'a> {
        Events { store, last: None, bytes_read: 0 }
    }

    /// An event; none if it is gone or damaged.
    fn get(&mut self, seq: Seq) -> Result<Option<Arc<Event>>, ReadError> {
        if let Some((last, event)) = &self.last
            && *last == seq
        {
            return Ok(event.clone());
        }
        let event = match self.store.event(seq) {
            Err(ReadError::Damaged { .. }) => None,
            read => read?,
        };
        self.bytes_read += event.as_ref().map_or(0, |event| event.size_bytes());
        self.last = Some((seq, event.clone()));
        Ok(event)
    }
}

/// The id of a delivery. Without its event, what derives from that is zeros: it is found all the
/// same.
fn delivery_id(event: Option<&Event>, seq: Seq) -> DeliveryId {
    event.map_or(DeliveryId { seq, salt: 0 }, |event| event.id.delivery(seq))
}

/// The id of an event, as far as it is known.
fn event_id(event: Option<&Event>, seq: Seq) -> EventId {
    event.map_or(EventId { seq, salt: 0 }, |event| event.id)
}

/// Where a webhook of a project points to now.
fn origin_of(handle: &Handle, project: ProjectId, webhook: WebhookId) -> Option<Origin> {
    let catalog = handle.catalog();
    let webhook = catalog.webhook(webhook).filter(|webhook| webhook.project == project)?;
    Some(webhook.target_url.origin().clone())
}

fn instant(object: Object, key: &str, at: Option<Wall>) -> Object {
    object.text_or_null(key, at.map(Wall::rfc3339_micros).as_deref())
}

fn not_found() -> Response<Body> {
    respond::detail(StatusCode::NOT_FOUND, JSON, "Not found.")
}

fn unreadable(error: &ReadError) -> Response<Body> {
    tracing::error!(%error, "The store can't be read.");
    respond::unavailable(JSON, "The store can't be read.", RetryAfterSeconds(1))
}

fn stopping() -> Response<Body> {
    respond::unavailable(JSON, "The daemon is shutting down.", RetryAfterSeconds(1))
}
