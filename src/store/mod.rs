//! The seam to what keeps data, and its contract.
//!
//! Owns the trait and its errors. Must never show a transaction, an engine's time or an engine's
//! keys: `now` is an argument where it matters, and no cursor outlives a call.
//!
//! # Contract
//!
//! One suite (`tests/store`) holds every store to it; `memory` is the oracle.
//!
//! * [`Store::commit`] applies batches in the order of the calls, each whole or not at all. It
//!   calls back once, after the batch is on disk (durability `Now`) or would be within
//!   [`SETTLE_DELAY_MS_MAX`](crate::logic::batch::SETTLE_DELAY_MS_MAX) of the call. A refused
//!   batch is called back when what refused it is on disk itself.
//! * After a commit failed, every later one fails: what is on disk is unknown until a reopen.
//! * Without room, a batch is refused with `Full` and nothing of it is written; settlements wait
//!   for room instead. Events are refused before the disk is quite full, so that settlements find
//!   room.
//! * With little room, attempts are kept without the headers and bodies of their answers, and say so.
//! * Reads see every batch that was called back, and may see later ones.
//! * [`Store::due`] is ordered by `(due, seq)` and leaves out rows of a closed lane.
//! * A record that fails its checksum is never returned: it is set aside, counted and reported,
//!   and the rest goes on.

pub mod embedded;
pub mod memory;
pub mod query;
mod records;

use std::sync::Arc;

use thiserror::Error;

use crate::logic::batch::Batch;
use crate::model::delivery::{Pending, Queue, QueueKey};
use crate::model::event::Event;
use crate::model::ids::{Seq, WebhookId};
use crate::model::job::Job;
use crate::model::operator::Operator;
use crate::model::project::Project;
use crate::model::time::Wall;
use crate::model::webhook::Webhook;

pub use self::records::{Layered, Records};

/// Past revisions that are kept of one webhook at most.
pub const REVISIONS_MAX: usize = 256;

/// What is called when a batch's fate is known. It must not block.
pub type Done = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

/// What is called when a step of upkeep is done. It must not block.
pub type UpkeepDone = Box<dyn FnOnce(Result<Upkeep, CommitError>) + Send>;

/// A store: what it holds can be looked up, and changes by batches.
pub trait Store: Records + 'static {
    /// Applies a batch; see the contract.
    fn commit(&self, batch: Batch, done: Done);

    /// One step of upkeep: moves up to `rows_max` rows of closed lanes to their end, then removes
    /// up to `rows_max` finished deliveries, attempts, events without pending deliveries, idempotency
    /// keys and revisions of webhooks that are older than `keep_since`.
    fn upkeep(&self, keep_since: Wall, rows_max: usize, done: UpkeepDone);

    /// The first rows of a lane's queue after `after`, at most `rows_max`.
    fn due(
        &self,
        webhook: WebhookId,
        queue: Queue,
        after: Option<QueueKey>,
        rows_max: usize,
    ) -> Result<Page, ReadError>;

    /// An event.
    fn event(&self, seq: Seq) -> Result<Option<Arc<Event>>, ReadError>;

    /// Figures.
    fn stats(&self) -> Result<Stats, ReadError>;

    /// Writes what waits and lets go of the data directory. Later commits fail.
    fn close(&self);
}

/// What is held in memory while running.
#[derive(Debug, Default)]
pub struct Loaded {
    /// All projects, by id.
    pub projects: Vec<Project>,
    /// All webhooks, by id.
    pub webhooks: Vec<Webhook>,
    /// The highest project id ever given.
    pub project_id_max: u32,
    /// The highest webhook id ever given.
    pub webhook_id_max: u32,
    /// The highest number ever given to an event or a delivery.
    pub seq_max: Seq,
    /// What is kept for the operator, if anything was ever written.
    pub operator: Option<Operator>,
    /// All jobs, by id.
    pub jobs: Vec<Arc<Job>>,
}

/// Rows of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In order.
    pub rows: Vec<Pending>,
    /// Whether the queue goes on after them.
    pub more: bool,
}

/// What a step of upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Deliveries of closed lanes that were ended.
    pub closed: usize,
    /// Rows that were removed for their age.
    pub pruned: usize,
    /// Whether another step has something to do at once.
    pub more: bool,
}

/// Figures about a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Deliveries that wait.
    pub pending: u64,
    /// Events that are kept.
    pub events: u64,
    /// Records that were set aside as damaged.
    pub quarantined: u64,
    /// Of those that wait, those that were attempted before.
    pub pending_retry: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes that were written to files since the store was opened.
    pub written_bytes: u64,
    /// Whether events are refused for want of room.
    pub is_full: bool,
    /// Bytes that are free on that disk, where that is known.
    pub free_bytes: Option<u64>,
}

/// Why a batch was not applied.
#[derive(Clone, Debug, Error)]
pub enum CommitError {
    /// This precondition (by its place in the batch) does not hold. Nothing was written.
    #[error("precondition {0} does not hold")]
    Refused(usize),
    /// There is no room for it. Nothing was written; the store goes on, and it may be tried again.
    #[error("the disk is full, or [store] size_max is reached by pending deliveries")]
    Full,
    /// The store can't write. What is on disk of the batch is unknown.
    #[error("the store can't write: {0}")]
    Broken(Arc<str>),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why something can't be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The record is damaged, and was set aside.
    #[error("the record of {what} {id} is damaged")]
    Damaged {
        /// What kind of record.
        what: &'static str,
        /// Which.
        id: u64,
    },
    /// The store can't read.
    #[error("the store can't read: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A secret can't be decrypted with the configured keys.
    #[error(transparent)]
    Vault(#[from] embedded::vault::VaultError),
}
