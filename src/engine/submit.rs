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
    /// The key of each event, in order, where each is accepted once by itself.
    pub once: Vec<EventKey>,
    /// The hidden webhook that alone gets them; `None` for all who subscribe.
    pub to: Option<WebhookId>,
    /// Where they came in.
    pub source: Source,
}

impl Submission {
    /// Events for all who subscribe, under no key.
    #[must_use]
    pub fn new(project: ProjectId, events: Vec<NewEvent>, source: Source) -> Submission {
        Submission { project, events, idempotency: None, once: Vec::new(), to: None, source }
    }
}

/// The key under which one event of a source is accepted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKey {
    /// The first 16 bytes of the SHA-256 of the source's name and the key.
    pub key: u128,
    /// How long it holds, in milliseconds.
    pub window_ms: u64,
}

impl EventKey {
    /// A source's key. It is no publisher's key: those hold no NUL.
    #[must_use]
    pub fn new(source: &str, key: &str, window_ms: u64) -> EventKey {
        let key = first_16(&Sha256::digest(format!("{source}\0{key}")));
        EventKey { key, window_ms }
    }
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
        let key = first_16(&Sha256::digest(key.as_bytes()));
        Idempotency { key, body: Sha256::digest(body).into() }
    }
}

fn first_16(digest: &[u8]) -> u128 {
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(first)
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
    /// The hidden webhook was removed or disabled meanwhile.
    #[error("the target's webhook is gone")]
    WebhookGone,
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
    /// There is no room.
    #[error(
        "there is no room for it: the disk is full, or pending deliveries take all of [store] \
         size_max. Nothing was accepted"
    )]
    Full,
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
        let Submission { project, events, idempotency, once, to: _, source } = submission;
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
                    project,
                    event: id.seq,
                    accepted: self.now,
                    attempts: 0,
                    slot: 0,
                    first_attempt: None,
                    deadline: self.now.plus(WINDOW_MS),
                    paused_base_ms: self.catalog.paused_ms(&webhook, self.now),
                };
                planned.batch.ops.push(Op::Enqueue(row));
                planned.rows.push(row);
            }
            let name = event.name.clone();
            planned.accepted.push(AcceptedEvent { id, name, deliveries });
            planned.events.push(event);
        }
        let accepted = planned.accepted.clone();
        for (EventKey { key, window_ms }, event) in once.into_iter().zip(&accepted) {
            let record = IdempotencyRecord {
                project,
                key,
                // The key alone says which event it is: its source may print it otherwise again.
                body: [0; 32],
                at: self.now,
                events: vec![event.clone()],
            };
            planned.remember(record, window_ms);
        }
        if let Some(Idempotency { key, body }) = idempotency {
            let record = IdempotencyRecord { project, key, body, at: self.now, events: accepted };
            planned.remember(record, IDEMPOTENCY_WINDOW_MS);
        }
        Ok(planned)
    }
}

impl Planned {
    /// Accepts under a key, if it was not used within the window.
    fn remember(&mut self, record: IdempotencyRecord, window_ms: u64) {
        let (project, key) = (record.project, record.key);
        let since = Wall(record.at.0.saturating_sub(window_ms));
        self.batch.expect.push(Expect::IdempotencyFree { project, key, since });
        self.batch.ops.push(Op::PutIdempotency(record));
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
        erased_at: None,
    }
}
