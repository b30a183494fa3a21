//! Submissions: events on their way to disk.
//!
//! Owns what a publisher asks for and is told, and how events become a batch: one record each, one
//! row for each subscribed webhook, and the idempotency key. Must never acknowledge.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::dialect;
use crate::logic::batch::{AcceptedEvent, Batch, Durability, Expect, IdempotencyRecord, Op};
use crate::logic::catalog::Catalog;
use crate::logic::retry::WINDOW_MS;
use crate::model::delivery::{Pending, QueueKey};
use crate::model::event::{Event, Source};
use crate::model::ids::{EventId, ProjectId, Sequence, WebhookId};
use crate::model::time::{HOUR_MS, Wall};
use crate::model::webhook::Webhook;
use crate::source::native::NewEvent;

/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_WINDOW_MS: u64 = 72 * HOUR_MS;
/// Most deliveries that one request may become.
pub const DELIVERIES_PER_REQUEST_MAX: usize = 100_000;

/// Events that a publisher wants accepted, all or none.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Whose events they are.
    pub project: ProjectId,
    /// The events.
    pub events: Vec<NewEvent>,
    /// The request's idempotency key, if it has one.
    pub idempotency: Option<Idempotency>,
    /// Where they came in.
    pub source: Source,
}

/// An idempotency key as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The first 16 bytes of the key's SHA-256.
    pub key: u128,
    /// SHA-256 of the request's raw body.
    pub body: [u8; 32],
}

impl Idempotency {
    /// A request's key and raw body.
    #[must_use]
    pub fn new(key: &str, body: &[u8]) -> Idempotency {
        let digest = Sha256::digest(key.as_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Idempotency { key: u128::from_be_bytes(first), body: Sha256::digest(body).into() }
    }
}

/// What a publisher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// One line for each event, in order.
    pub events: Vec<AcceptedEvent>,
    /// Whether they had been accepted before, under the same idempotency key.
    pub duplicate: bool,
}

/// Why events are not accepted. Nothing of the request is stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// The daemon is shutting down.
    #[error("the daemon is shutting down")]
    Draining,
    /// The project was removed meanwhile.
    #[error("the project is gone")]
    ProjectGone,
    /// The idempotency key was used before, and what for can't be read.
    #[error("the idempotency key was used before")]
    KeyTaken,
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    KeyConflict,
    /// Too many webhooks subscribe to too many events.
    #[error(
        "the request would become more than {DELIVERIES_PER_REQUEST_MAX} deliveries; send fewer events at once"
    )]
    TooManyDeliveries,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(Arc<str>),
}

/// A submission as it will be written.
#[derive(Debug)]
pub struct Planned {
    /// What is written.
    pub batch: Batch,
    /// The events, for the cache.
    pub events: Vec<Arc<Event>>,
    /// The rows, for their lanes.
    pub rows: Vec<Pending>,
    /// What the publisher will be told.
    pub accepted: Vec<AcceptedEvent>,
}

/// What a plan needs to know beside the submission.
pub struct Plan<'a> {
    /// Who subscribes.
    pub catalog: &'a Catalog,
    /// Gives out numbers.
    pub sequence: &'a mut Sequence,
    /// Now.
    pub now: Wall,
    /// Gives 64 random bits a call.
    pub chance: &'a mut dyn FnMut() -> u64,
    /// Whether a webhook is about to stop taking events.
    pub stops: &'a dyn Fn(WebhookId) -> bool,
}

impl Plan<'_> {
    /// Plans a publisher's events for all who subscribe.
    pub fn publish(self, submission: Submission) -> Result<Planned, SubmitError> {
        let (catalog, stops) = (self.catalog, self.stops);
        let project = submission.project;
        if catalog.project(project).is_none() {
            return Err(SubmitError::ProjectGone);
        }
        self.plan(submission, &|event| {
            dialect::names(event.kind, &event.name)
                .iter()
                .flat_map(|name| catalog.subscribers(project, name))
                .filter(|webhook| dialect::subscribes(webhook, event.kind, &event.name))
                .filter(|webhook| !stops(webhook.id))
                .cloned()
                .collect()
        })
    }

    /// Plans events for one webhook alone, whatever it subscribes to.
    pub fn publish_to(
        self,
        submission: Submission,
        webhook: &Arc<Webhook>,
    ) -> Result<Planned, SubmitError> {
        self.plan(submission, &|_| vec![Arc::clone(webhook)])
    }

    fn plan(
        self,
        submission: Submission,
        receivers: &dyn Fn(&Event) -> Vec<Arc<Webhook>>,
    ) -> Result<Planned, SubmitError> {
        let Submission { project, events, idempotency, source } = submission;
        let mut planned = Planned {
            batch: Batch { expect: Vec::new(), ops: Vec::new(), durability: Durability::Now },
            events: Vec::with_capacity(events.len()),
            rows: Vec::new(),
            accepted: Vec::with_capacity(events.len()),
        };
        for new in events {
            let id = EventId { seq: self.sequence.next(self.now), salt: (self.chance)() };
            let event = Arc::new(stored(new, id, project, source, self.now));
            let webhooks = receivers(&event);
            if planned.rows.len() + webhooks.len() > DELIVERIES_PER_REQUEST_MAX {
                return Err(SubmitError::TooManyDeliveries);
            }
            let deliveries = u32::try_from(webhooks.len()).unwrap_or(u32::MAX);
            planned.batch.ops.push(Op::PutEvent(Arc::clone(&event)));
            for webhook in webhooks {
                let seq = self.sequence.next(self.now);
                let row = Pending {
                    key: QueueKey { webhook: webhook.id, due: self.now, seq },
                    event: id.seq,
                    accepted: self.now,
                    attempts: 0,
                    slot: 0,
                    first_attempt: None,
                    deadline: self.now.plus(WINDOW_MS),
                    paused_base_ms: webhook.paused_ms(self.now),
                };
                planned.batch.ops.push(Op::Enqueue(row));
                planned.rows.push(row);
            }
            let name = event.name.clone();
            planned.accepted.push(AcceptedEvent { id, name, deliveries });
            planned.events.push(event);
        }
        if let Some(Idempotency { key, body }) = idempotency {
            let since = Wall(self.now.0.saturating_sub(IDEMPOTENCY_WINDOW_MS));
            planned.batch.expect.push(Expect::IdempotencyFree { project, key, since });
            let events = planned.accepted.clone();
            let record = IdempotencyRecord { project, key, body, at: self.now, events };
            planned.batch.ops.push(Op::PutIdempotency(record));
        }
        Ok(planned)
    }
}

fn stored(new: NewEvent, id: EventId, project: ProjectId, source: Source, now: Wall) -> Event {
    Event {
        id,
        project,
        kind: new.kind,
        name: new.name,
        dialect: new.dialect,
        data: new.data,
        file: new.file,
        initiator: new.initiator,
        previous_values: new.previous_values,
        occurred_at: new.occurred_at,
        accepted_at: now,
        idempotency_key: new.idempotency_key,
        source,
    }
}
