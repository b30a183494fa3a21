//! What can be looked up in a store.
//!
//! Owns the lookups, and how a store that stands on another passes them on. Must never write, and
//! never report: what a lookup finds damaged is its caller's to tell.

use super::query::{DeliveryQuery, EventQuery};
use super::{Loaded, ReadError};
use crate::logic::batch::IdempotencyRecord;
use crate::model::attempt::Attempt;
use crate::model::delivery::{Delivery, Finished, Queue};
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::webhook::Webhook;

/// What a store holds, row by row.
pub trait Records: Send + Sync {
    /// Everything that is held in memory while running.
    fn load(&self) -> Result<Loaded, ReadError>;

    /// The lanes that have rows in this queue, in order; a closed lane's rows may count.
    fn lanes(&self, queue: Queue) -> Result<Vec<WebhookId>, ReadError>;

    /// What was accepted under an idempotency key.
    fn idempotency(
        &self,
        project: ProjectId,
        key: u128,
    ) -> Result<Option<IdempotencyRecord>, ReadError>;

    /// A webhook as it is, or was, at this revision. One that is replaced or removed is kept as long
    /// as a delivery that it was used for, of each webhook the last
    /// [`REVISIONS_MAX`](super::REVISIONS_MAX).
    fn revision(&self, id: WebhookId, revision: u64) -> Result<Option<Webhook>, ReadError>;

    /// How a delivery ended, if it did.
    fn finished(&self, seq: Seq) -> Result<Option<Finished>, ReadError>;

    /// A delivery, wherever it stands. One of a closed lane may be found waiting until upkeep has
    /// ended it.
    fn delivery(&self, seq: Seq) -> Result<Option<Delivery>, ReadError>;

    /// Deliveries by project or webhook, status and number.
    fn deliveries(&self, query: &DeliveryQuery) -> Result<Vec<Delivery>, ReadError>;

    /// The deliveries of an event that is kept, by number, at most `rows_max`. Unlike those of a
    /// webhook they are found among the ones that were accepted with it, and those that came later.
    fn deliveries_of(&self, event: Seq, rows_max: usize) -> Result<Vec<Delivery>, ReadError>;

    /// The delivery of an event that is kept for a webhook, if it has one: however many others the
    /// event has.
    fn delivery_of(&self, event: Seq, webhook: WebhookId) -> Result<Option<Delivery>, ReadError>;

    /// Events of a project by number. Payloads can be large: each is read by itself.
    fn events(&self, query: &EventQuery) -> Result<Vec<Seq>, ReadError>;

    /// A delivery's attempts, in order.
    fn attempts(&self, seq: Seq) -> Result<Vec<Attempt>, ReadError>;

    /// A delivery's last attempt.
    fn last_attempt(&self, seq: Seq) -> Result<Option<Attempt>, ReadError> {
        Ok(self.attempts(seq)?.pop())
    }
}

/// A store that answers lookups by those of another.
pub trait Layered: Send + Sync {
    /// The other's.
    fn records(&self) -> &dyn Records;
}

impl<T: Layered> Records for T {
    fn load(&self) -> Result<Loaded, ReadError> {
        self.records().load()
    }

    fn lanes(&self, queue: Queue) -> Result<Vec<WebhookId>, ReadError> {
        self.records().lanes(queue)
    }

    fn idempotency(
        &self,
        project: ProjectId,
        key: u128,
    ) -> Result<Option<IdempotencyRecord>, ReadError> {
        self.records().idempotency(project, key)
    }

    fn revision(&self, id: WebhookId, revision: u64) -> Result<Option<Webhook>, ReadError> {
        self.records().revision(id, revision)
    }

    fn finished(&self, seq: Seq) -> Result<Option<Finished>, ReadError> {
        self.records().finished(seq)
    }

    fn delivery(&self, seq: Seq) -> Result<Option<Delivery>, ReadError> {
        self.records().delivery(seq)
    }

    fn deliveries(&self, query: &DeliveryQuery) -> Result<Vec<Delivery>, ReadError> {
        self.records().deliveries(query)
    }

    fn deliveries_of(&self, event: Seq, rows_max: usize) -> Result<Vec<Delivery>, ReadError> {
        self.records().deliveries_of(event, rows_max)
    }

    fn delivery_of(&self, event: Seq, webhook: WebhookId) -> Result<Option<Delivery>, ReadError> {
        self.records().delivery_of(event, webhook)
    }

    fn events(&self, query: &EventQuery) -> Result<Vec<Seq>, ReadError> {
        self.records().events(query)
    }

    fn attempts(&self, seq: Seq) -> Result<Vec<Attempt>, ReadError> {
        self.records().attempts(seq)
    }

    fn last_attempt(&self, seq: Seq) -> Result<Option<Attempt>, ReadError> {
        self.records().last_attempt(seq)
    }
}
