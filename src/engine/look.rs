//! Looking: what jobs and single actions have to know of deliveries and events.
//!
//! Owns what is read for them, off the loop. Must never decide what becomes of it, and never read
//! more than the rows that were asked for.

use std::ops::RangeInclusive;

use crate::logic::jobs::{self, EventHead, Seen};
use crate::model::delivery::{Delivery, Status};
use crate::model::event::Event;
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::job::Job;
use crate::store::query::{DeliveryQuery, EventQuery, Order, Scope};
use crate::store::{ReadError, Store};

/// Deliveries of one event that are looked at.
pub const DELIVERIES_OF_EVENT_MAX: usize = 100_000;

/// What is to be read.
#[derive(Clone, Debug)]
pub enum Look {
    /// One delivery.
    Delivery(Seq),
    /// An event and its deliveries.
    Event(Seq),
    /// A page of deliveries.
    Deliveries {
        /// Whose.
        scope: Scope,
        /// Only those that stand there.
        statuses: Vec<Status>,
        /// The numbers that are wanted.
        range: RangeInclusive<u64>,
        /// Whether their events are wanted.
        events: bool,
        /// Whether the answers to their last attempts are.
        outcomes: bool,
        /// At most so many.
        rows_max: usize,
    },
    /// A page of events, and their deliveries for one webhook.
    Events {
        /// Whose.
        project: ProjectId,
        /// The webhook.
        webhook: WebhookId,
        /// The numbers that are wanted.
        range: RangeInclusive<u64>,
        /// At most so many.
        rows_max: usize,
    },
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// In order.
    pub seen: Vec<Seen>,
    /// The event that was asked for.
    pub event: Option<EventHead>,
    /// The number that the next page begins at; `None`: there is none.
    pub next: Option<Seq>,
}

impl Look {
    /// The next page of what a job looks at.
    #[must_use]
    pub fn of_job(job: &Job, rows_max: usize) -> Look {
        let range = job.next.0..=job.to.0;
        let selection = &job.selection;
        if let (true, Some(webhook)) = (job.kind.walks_events(), selection.webhook) {
            return Look::Events { project: job.project, webhook, range, rows_max };
        }
        let statuses = jobs::statuses(job.kind, selection);
        Look::Deliveries {
            scope: selection.webhook.map_or(Scope::Project(job.project), Scope::Webhook),
            // What is sent again needs its event.
            events: selection.event.is_some() || statuses != [Status::Pending],
            outcomes: selection.code.is_some(),
            statuses,
            range,
            rows_max,
        }
    }

    /// Reads it.
    pub fn read(&self, store: &dyn Store) -> Result<Found, ReadError> {
        match self {
            Look::Delivery(seq) => {
                let delivery = store.delivery(*seq)?;
                let event = delivery.map(|delivery| head(store, delivery.event())).transpose()?;
                let seen = Seen { delivery, event: event.flatten(), outcome: None };
                Ok(Found { seen: vec![seen], ..Found::default() })
            }
            Look::Event(seq) => {
                let event = head(store, *seq)?;
                let deliveries = store.deliveries_of(*seq, DELIVERIES_OF_EVENT_MAX)?;
                let seen = deliveries
                    .into_iter()
                    .map(|delivery| Seen { delivery: Some(delivery), ..Seen::default() });
                Ok(Found { seen: seen.collect(), event, next: None })
            }
            Look::Deliveries { scope, statuses, range, events, outcomes, rows_max } => {
                let page = page(store, *scope, statuses, range, *rows_max)?;
                let next = next(page.last().map(Delivery::seq), page.len(), *rows_max);
                let mut seen = Vec::with_capacity(page.len());
                for delivery in page {
                    let event = if *events { head(store, delivery.event())? } else { None };
                    let last = match (outcomes, delivery.attempts()) {
                        (false, _) | (_, 0) => None,
                        _ => store.last_attempt(delivery.seq())?,
                    };
                    let outcome = last.map(|attempt| attempt.outcome);
                    seen.push(Seen { delivery: Some(delivery), event, outcome });
                }
                Ok(Found { seen, event: None, next })
            }
            Look::Events { project, webhook, range, rows_max } => {
                let events = store.events(&EventQuery {
                    project: *project,
                    from: Seq(*range.start()),
                    to: Seq(*range.end()),
                    order: Order::OldestFirst,
                    rows_max: *rows_max,
                })?;
                let next = next(events.last().copied(), events.len(), *rows_max);
                let mut seen = Vec::with_capacity(events.len());
                for event in events {
                    let delivery = store.delivery_of(event, *webhook)?;
                    seen.push(Seen { delivery, event: head(store, event)?, outcome: None });
                }
                Ok(Found { seen, event: None, next })
            }
        }
    }
}

/// The first deliveries of a range by number, whichever of the statuses they have.
fn page(
    store: &dyn Store,
    scope: Scope,
    statuses: &[Status],
    range: &RangeInclusive<u64>,
    rows_max: usize,
) -> Result<Vec<Delivery>, ReadError> {
    let mut page = Vec::new();
    for status in statuses {
        page.extend(store.deliveries(&DeliveryQuery {
            scope,
            status: Some(*status),
            from: Seq(*range.start()),
            to: Seq(*range.end()),
            order: Order::OldestFirst,
            rows_max,
        })?);
    }
    page.sort_unstable_by_key(Delivery::seq);
    // One that changed its status between two of the queries may be found twice.
    page.dedup_by_key(|delivery| delivery.seq());
    page.truncate(rows_max);
    Ok(page)
}

fn next(last: Option<Seq>, rows: usize, rows_max: usize) -> Option<Seq> {
    last.filter(|_| rows >= rows_max).map(|last| Seq(last.0 + 1))
}

/// A damaged event is none: nobody can deliver it.
fn head(store: &dyn Store, seq: Seq) -> Result<Option<EventHead>, ReadError> {
    match store.event(seq) {
        Ok(event) => Ok(event.map(|event| head_of(&event))),
        Err(ReadError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn head_of(event: &Event) -> EventHead {
    EventHead {
        id: event.id,
        project: event.project,
        kind: event.kind,
        name: event.name.clone(),
        source: event.source,
        accepted: event.accepted_at,
        is_erased: event.erased_at.is_some(),
    }
}
