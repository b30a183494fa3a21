//! Batches: writes as data, with the preconditions under which they hold.
//!
//! Owns the list of everything that can be written, and what each write means. Must never write:
//! a store applies a batch whole, or refuses it whole.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::attempt::Attempt;
use crate::model::delivery::{Ending, Finished, Pending, Queue, QueueKey};
use crate::model::event::{Event, EventName};
use crate::model::ids::{EventId, ProjectId, Seq, WebhookId};
use crate::model::job::{Job, JobId};
use crate::model::operator::Operator;
use crate::model::project::Project;
use crate::model::time::Wall;
use crate::model::webhook::Webhook;

/// When a batch has to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before it is acknowledged; commit at once.
    Now,
    /// Within [`SETTLE_DELAY_MS_MAX`]: losing it repeats an attempt, and nothing else.
    Soon,
}

/// How long a batch of durability `Soon` may wait for company, in milliseconds.
pub const SETTLE_DELAY_MS_MAX: u64 = 200;

/// Writes that happen together or not at all.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What must hold for any of it to be written.
    pub expect: Vec<Expect>,
    /// What is written, in order.
    pub ops: Vec<Op>,
    /// When it has to be on disk.
    pub durability: Durability,
}

/// A precondition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No request with this idempotency key was accepted at or after `since`.
    IdempotencyFree {
        /// The scope of the key.
        project: ProjectId,
        /// The key's hash.
        key: u128,
        /// Older records don't count.
        since: Wall,
    },
    /// The webhook has this revision, or (`None`) does not exist.
    WebhookRevision {
        /// The webhook.
        id: WebhookId,
        /// Its revision.
        revision: Option<u64>,
    },
    /// A `Requeue` of this delivery of this lane would take it back.
    Ended {
        /// The delivery.
        seq: Seq,
        /// Its lane.
        webhook: WebhookId,
    },
    /// This delivery of this lane waits, and its lane is not closed up to it.
    Waits {
        /// The delivery.
        seq: Seq,
        /// Its lane.
        webhook: WebhookId,
    },
    /// No other webhook of the project and format subscribes this target to this event.
    SubscriptionFree {
        /// The project.
        project: ProjectId,
        /// The format's name: each has its own subscriptions.
        format: &'static str,
        /// The event.
        event: EventName,
        /// The target URL's text, compared exactly.
        target_url: String,
        /// The webhook that may be it.
        except: Option<WebhookId>,
    },
}

/// What was accepted under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// The scope of the key.
    pub project: ProjectId,
    /// The key's hash: the first 16 bytes of its SHA-256.
    pub key: u128,
    /// SHA-256 of the request's raw body.
    pub body: [u8; 32],
    /// When it was accepted.
    pub at: Wall,
    /// The answer, to be given again.
    pub events: Vec<AcceptedEvent>,
}

/// One line of the answer to a publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedEvent {
    /// The event's id.
    pub id: EventId,
    /// Its name.
    pub name: EventName,
    /// How many deliveries it became.
    pub deliveries: u32,
}

/// Where a delivery stands after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// It ended.
    Finished(Finished),
    /// It waits again.
    Pending(Pending),
}

/// One write.
#[derive(Clone, Debug)]
pub enum Op {
    /// Creates or replaces a project.
    PutProject(Project),
    /// Creates or replaces a webhook, and its place in the index of subscriptions.
    PutWebhook(Webhook),
    /// Removes a webhook, and its place in the index. Its deliveries are closed by `CloseLane`.
    RemoveWebhook(WebhookId),
    /// Ends every pending delivery of a lane up to a number. They are gone from `due` at once;
    /// their rows are moved in steps, so that a million of them stop nobody.
    CloseLane {
        /// The lane.
        webhook: WebhookId,
        /// The last delivery that it covers.
        upto: Seq,
        /// How they end.
        ending: Ending,
        /// When.
        at: Wall,
    },
    /// Stores an event.
    PutEvent(Arc<Event>),
    /// Puts a delivery into its queue.
    Enqueue(Pending),
    /// Puts a delivery into its queue that its event did not become when it was accepted.
    EnqueueLater(Pending),
    /// Takes a delivery that ended back into a queue. If it did not end, if its event is gone, or
    /// if its lane is closed up to it, nothing happens.
    Requeue(Pending),
    /// Takes a delivery's row out of its queue and writes what became of it. If the row is not
    /// there (a replay, or a lane closed meanwhile) nothing happens.
    Settle {
        /// The queue that it stood in.
        queue: Queue,
        /// Its place there.
        key: QueueKey,
        /// What becomes of it.
        next: Next,
        /// The attempt that decided it, if there was one.
        attempt: Option<Attempt>,
    },
    /// Ends a delivery wherever it waits. If it does not wait, or if its lane is closed up to it,
    /// nothing happens.
    Cancel {
        /// The delivery.
        seq: Seq,
        /// Its lane.
        webhook: WebhookId,
        /// How it ends.
        ending: Ending,
        /// When.
        at: Wall,
    },
    /// Creates a job, or replaces it by what has become of it.
    PutJob(Arc<Job>),
    /// Forgets a job.
    RemoveJob(JobId),
    /// Remembers an idempotency key.
    PutIdempotency(IdempotencyRecord),
    /// Removes a project. Its webhooks and their deliveries are the batch's other writes.
    RemoveProject(ProjectId),
    /// Takes an event's payload away for good, if the event is there. Its pending deliveries stay
    /// in their queues: each ends as its turn comes.
    EraseEvent {
        /// Which.
        event: Seq,
        /// When.
        at: Wall,
    },
    /// Replaces what is kept for the operator.
    PutOperator(Arc<Operator>),
}
