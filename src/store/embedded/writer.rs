//! Writing: one group of batches is one append to the journal and one redb transaction.
//!
//! Owns what each write means on disk, the order of journal and redb, and what a recovery does.
//! Must never write part of a batch, and never go on after a failure: what is on disk is unknown
//! then, and redb refuses the handle anyway.
//!
//! The order: the group is applied in a transaction, so that preconditions see what came before;
//! its entries are appended to the journal and synced; the transaction is committed without a
//! sync, which makes it visible. A checkpoint is a synced commit that also stores the journal's
//! position: redb then holds exactly the effects of all entries before it. What does not stand in
//! the journal (projects, webhooks, closed lanes, upkeep) is committed as a checkpoint itself.

use std::io;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, WriteTransaction};
use thiserror::Error;

use crate::logic::batch::{Batch, Expect, Next, Op};
use crate::model::delivery::{Ending, FailedReason, Finished, Pending, Queue};
use crate::model::event::{Event, EventName};
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::time::Wall;
use crate::model::webhook::Webhook;
use crate::store::Upkeep;

use super::entry;
use super::journal::files::Files;
use super::journal::{self, Journal, Position};
use super::record::{self, ClosedLane, Kind};
use super::tables::{self, queue_key_bytes, queue_row, queue_table};
use super::vault::{Vault, VaultError};

/// The name of the journal's position in the table `meta`.
const POSITION: &str = "journal";
/// Entries that one transaction of a recovery applies.
const REPLAY_ENTRIES_MAX: usize = 2_000;
/// Bytes that are kept of one rotten part of the journal.
const ROT_BYTES_MAX: usize = 1024 * 1024;

/// Why a transaction failed; nothing of it counts.
#[derive(Debug, Error)]
pub enum WriteError {
    /// redb could not.
    #[error(transparent)]
    Engine(#[from] Box<redb::Error>),
    /// A secret could not be sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The journal could not be written or read.
    #[error("the journal: {0}")]
    Journal(#[from] io::Error),
    /// The journal holds what this version can't read.
    #[error(transparent)]
    Entry(#[from] entry::Unreadable),
    /// Where the journal stood at the last checkpoint can't be read.
    #[error("the record of the journal's position is damaged")]
    Position,
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for WriteError {
            fn from(error: $error) -> WriteError {
                WriteError::Engine(Box::new(redb::Error::from(error)))
            }
        }
    )*};
}
from_redb!(
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError
);

/// A damaged row that a reader met.
#[derive(Debug)]
pub enum Rotten {
    /// In a queue.
    Queue(Queue, tables::QueueRow),
    /// An event.
    Event(u64),
}

/// Applies batches. Has no thread and no clock of its own, so that a simulation can drive it.
pub struct Writer<'a, F: Files> {
    db: &'a Database,
    vault: &'a Vault,
    journal: Journal<F>,
    /// Something was committed that redb has not synced.
    dirty: bool,
}

/// A batch's fate: applied, or refused by one of its preconditions.
pub type Fate = Result<(), usize>;

impl<'a, F: Files> Writer<'a, F> {
    /// Applies what the journal holds behind the last checkpoint, and begins a fresh segment.
    pub fn recover(db: &'a Database, vault: &'a Vault, files: F) -> Result<Self, WriteError> {
        let position = position(db)?;
        let replay = journal::replay(&files, position)?;
        for part in replay.entries.chunks(REPLAY_ENTRIES_MAX) {
            let transaction = begin(db, Durability::None)?;
            {
                let mut session = Session::open(&transaction, vault)?;
                for entry in part {
                    for op in entry::decode(entry)? {
                        session.apply(&op)?;
                    }
                }
                session.finish()?;
            }
            transaction.commit()?;
        }
        if !replay.rotten.is_empty() {
            tracing::error!(
                places = replay.rotten.len(),
                "Parts of the journal that had been synced can't be read; they were set aside."
            );
        }
        let transaction = begin(db, Durability::None)?;
        {
            let mut quarantine = transaction.open_table(tables::QUARANTINE)?;
            for (place, bytes) in &replay.rotten {
                let (number, offset) = (place.number.to_be_bytes(), place.offset.to_be_bytes());
                let key = [b"journal\0".as_slice(), &number, &offset].concat();
                quarantine.insert(key.as_slice(), &bytes[..bytes.len().min(ROT_BYTES_MAX)])?;
            }
        }
        transaction.commit()?;
        let mut writer = Writer { db, vault, journal: Journal::begin(files)?, dirty: true };
        writer.checkpoint()?;
        Ok(writer)
    }

    /// Whether a checkpoint has something to do.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Applies a group in one transaction, which is durable when this returns.
    pub fn apply(&mut self, group: &[Batch]) -> Result<Vec<Fate>, WriteError> {
        let transaction = begin(self.db, Durability::None)?;
        let mut fates = Vec::with_capacity(group.len());
        let mut entries = Some(Vec::with_capacity(group.len()));
        {
            let mut session = Session::open(&transaction, self.vault)?;
            for batch in group {
                let fate = session.batch(batch)?;
                if fate.is_ok() && !batch.ops.is_empty() {
                    entries = entries.zip(entry::encode(&batch.ops)).map(|(mut all, entry)| {
                        all.push(entry);
                        all
                    });
                }
                fates.push(fate);
            }
            session.finish()?;
        }
        match entries {
            Some(entries) => {
                if !entries.is_empty() {
                    self.journal.append(&entries)?;
                    self.dirty = true;
                }
                transaction.commit()?;
            }
            // Something that does not stand in the journal.
            None => self.commit_synced(transaction)?,
        }
        Ok(fates)
    }

    /// Lets redb sync what it holds, together with the journal's position.
    pub fn checkpoint(&mut self) -> Result<(), WriteError> {
        let transaction = begin(self.db, Durability::Immediate)?;
        self.commit_synced(transaction)
    }

    fn commit_synced(&mut self, mut transaction: WriteTransaction) -> Result<(), WriteError> {
        let at = self.journal.position();
        let record = record::encode(Kind::Meta, POSITION.as_bytes(), &(at.number, at.offset));
        transaction.open_table(tables::META)?.insert(POSITION, record.as_slice())?;
        transaction.set_durability(Durability::Immediate)?;
        // Recovery after a crash is instant only if the last synced commit carries the
        // allocator's state.
        transaction.set_quick_repair(true);
        transaction.commit()?;
        self.dirty = false;
        self.journal.checkpointed()?;
        Ok(())
    }

    /// Seals anew what another key than the first had sealed.
    pub fn reseal(&mut self) -> Result<(), WriteError> {
        let transaction = begin(self.db, Durability::Immediate)?;
        {
            let mut session = Session::open(&transaction, self.vault)?;
            session.reseal()?;
            session.finish()?;
        }
        self.commit_synced(transaction)
    }

    /// Sets damaged rows aside.
    pub fn quarantine(&mut self, rotten: &[Rotten]) -> Result<(), WriteError> {
        let transaction = begin(self.db, Durability::Immediate)?;
        {
            let mut quarantine = transaction.open_table(tables::QUARANTINE)?;
            for row in rotten {
                set_aside(&transaction, &mut quarantine, row)?;
            }
        }
        self.commit_synced(transaction)
    }

    /// One step of upkeep; see the seam's contract.
    pub fn upkeep(&mut self, keep_since: Wall, rows_max: usize) -> Result<Upkeep, WriteError> {
        let transaction = begin(self.db, Durability::Immediate)?;
        let upkeep = {
            let (closed, more_closed) = {
                let mut session = Session::open(&transaction, self.vault)?;
                let closed = session.sweep(rows_max)?;
                session.finish()?;
                closed
            };
            let pruned = prune(&transaction, keep_since, rows_max)?;
            Upkeep { closed, pruned, more: more_closed || pruned >= rows_max }
        };
        if upkeep == Upkeep::default() {
            transaction.abort()?;
        } else {
            self.commit_synced(transaction)?;
        }
        Ok(upkeep)
    }
}

/// Makes the tables, and says which format the store has; an empty store gets `format`.
pub fn prepare(db: &Database, vault: &Vault, format: u64) -> Result<u64, WriteError> {
    let mut transaction = begin(db, Durability::Immediate)?;
    let found = {
        let mut session = Session::open(&transaction, vault)?;
        transaction.open_table(tables::QUARANTINE)?;
        let found = meta_u64(&session.meta, "format")?;
        if found == 0 {
            put_meta_u64(&mut session.meta, "format", format)?;
        }
        found
    };
    transaction.set_quick_repair(true);
    transaction.commit()?;
    Ok(found)
}

/// Where the journal stood at the last checkpoint.
fn position(db: &Database) -> Result<Position, WriteError> {
    let read = db.begin_read()?;
    let meta = read.open_table(tables::META)?;
    let Some(record) = meta.get(POSITION)? else { return Ok(Position::default()) };
    let (number, offset) = record::decode(Kind::Meta, POSITION.as_bytes(), record.value())
        .map_err(|record::Damage| WriteError::Position)?;
    Ok(Position { number, offset })
}

fn begin(db: &Database, durability: Durability) -> Result<WriteTransaction, WriteError> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(durability)?;
    Ok(transaction)
}

/// The tables of one transaction.
struct Session<'t> {
    vault: &'t Vault,
    meta: Table<'t, &'static str, &'static [u8]>,
    projects: Table<'t, u32, &'static [u8]>,
    webhooks: Table<'t, u32, &'static [u8]>,
    subscriptions: Table<'t, &'static [u8], u32>,
    fresh: Table<'t, tables::QueueRow, &'static [u8]>,
    retry: Table<'t, tables::QueueRow, &'static [u8]>,
    closed: Table<'t, u32, &'static [u8]>,
    events: Table<'t, u64, &'static [u8]>,
    event_refs: Table<'t, u64, u32>,
    finished: Table<'t, u64, &'static [u8]>,
    attempts: Table<'t, (u64, u32), &'static [u8]>,
    idempotency: Table<'t, (u32, u128), &'static [u8]>,
    idempotency_by_time: Table<'t, (u64, u32, u128), ()>,
    seq_max: u64,
    seq_max_before: u64,
}

impl<'t> Session<'t> {
    fn open(
        transaction: &'t WriteTransaction,
        vault: &'t Vault,
    ) -> Result<Session<'t>, WriteError> {
        let meta = transaction.open_table(tables::META)?;
        let seq_max = meta_u64(&meta, "seq_max")?;
        Ok(Session {
            vault,
            meta,
            projects: transaction.open_table(tables::PROJECTS)?,
            webhooks: transaction.open_table(tables::WEBHOOKS)?,
            subscriptions: transaction.open_table(tables::SUBSCRIPTIONS)?,
            fresh: transaction.open_table(tables::FRESH)?,
            retry: transaction.open_table(tables::RETRY)?,
            closed: transaction.open_table(tables::CLOSED)?,
            events: transaction.open_table(tables::EVENTS)?,
            event_refs: transaction.open_table(tables::EVENT_REFS)?,
            finished: transaction.open_table(tables::FINISHED)?,
            attempts: transaction.open_table(tables::ATTEMPTS)?,
            idempotency: transaction.open_table(tables::IDEMPOTENCY)?,
            idempotency_by_time: transaction.open_table(tables::IDEMPOTENCY_BY_TIME)?,
            seq_max,
            seq_max_before: seq_max,
        })
    }

    fn finish(mut self) -> Result<(), WriteError> {
        if self.seq_max != self.seq_max_before {
            put_meta_u64(&mut self.meta, "seq_max", self.seq_max)?;
        }
        Ok(())
    }

    fn reseal(&mut self) -> Result<(), WriteError> {
        let mut projects = Vec::new();
        for entry in self.projects.iter()? {
            let (key, value) = entry?;
            let Some(id) = ProjectId::new(key.value()) else { continue };
            match record::decode_project(self.vault, id, value.value()) {
                Ok((project, true)) => projects.push(project),
                Err(record::SealedError::Vault(error)) => return Err(error.into()),
                Ok((_, false)) | Err(record::SealedError::Damaged) => {}
            }
        }
        let mut webhooks = Vec::new();
        for entry in self.webhooks.iter()? {
            let (key, value) = entry?;
            let Some(id) = WebhookId::new(key.value()) else { continue };
            match record::decode_webhook(self.vault, id, value.value()) {
                Ok((webhook, true)) => webhooks.push(webhook),
                Err(record::SealedError::Vault(error)) => return Err(error.into()),
                Ok((_, false)) | Err(record::SealedError::Damaged) => {}
            }
        }
        for project in projects {
            self.apply(&Op::PutProject(project))?;
        }
        for webhook in webhooks {
            self.apply(&Op::PutWebhook(webhook))?;
        }
        Ok(())
    }

    fn batch(&mut self, batch: &Batch) -> Result<Fate, WriteError> {
        for (i, expect) in batch.expect.iter().enumerate() {
            if !self.holds(expect)? {
                return Ok(Err(i));
            }
        }
        for op in &batch.ops {
            self.apply(op)?;
        }
        Ok(Ok(()))
    }

    fn holds(&self, expect: &Expect) -> Result<bool, WriteError> {
        match expect {
            Expect::IdempotencyFree { project, key, since } => {
                let row = (project.get(), *key);
                let Some(record) = self.idempotency.get(row)? else { return Ok(true) };
                let bytes = tables::idempotency_key_bytes(row.0, row.1);
                // A damaged record can't vouch for anything: the key is free again.
                let known: Result<crate::logic::batch::IdempotencyRecord, _> =
                    record::decode(Kind::Idempotency, &bytes, record.value());
                Ok(known.map_or(true, |known| known.at < *since))
            }
            Expect::WebhookRevision { id, revision } => {
                Ok(self.webhook(*id)?.map(|webhook| webhook.revision) == *revision)
            }
            Expect::SubscriptionFree { project, format, event, target_url, except } => {
                let key = tables::subscription_key(*project, format, event.as_str(), target_url);
                let holder = self.subscriptions.get(key.as_slice())?.map(|row| row.value());
                Ok(holder.is_none() || holder == except.map(WebhookId::get))
            }
        }
    }

    fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, WriteError> {
        let Some(record) = self.webhooks.get(id.get())? else { return Ok(None) };
        match record::decode_webhook(self.vault, id, record.value()) {
            Ok((webhook, _)) => Ok(Some(webhook)),
            Err(record::SealedError::Vault(error)) => Err(error.into()),
            Err(record::SealedError::Damaged) => Ok(None),
        }
    }

    fn apply(&mut self, op: &Op) -> Result<(), WriteError> {
        match op {
            Op::PutProject(project) => {
                let record = record::encode_project(self.vault, project)?;
                self.projects.insert(project.id.get(), record.as_slice())?;
                raise_meta(&mut self.meta, "project_id_max", u64::from(project.id.get()))?;
            }
            Op::PutWebhook(webhook) => self.put_webhook(webhook)?,
            Op::RemoveWebhook(id) => {
                self.drop_subscriptions(*id)?;
                self.webhooks.remove(id.get())?;
            }
            Op::CloseLane { webhook, upto, ending, at } => {
                let lane = ClosedLane { upto: *upto, ending: *ending, at: *at };
                let key = webhook.get();
                let record = record::encode(Kind::ClosedLane, &key.to_be_bytes(), &lane);
                self.closed.insert(key, record.as_slice())?;
            }
            Op::PutEvent(event) => {
                let seq = event.id.seq.0;
                let record = record::encode(Kind::Event, &seq.to_be_bytes(), &**event);
                self.events.insert(seq, record.as_slice())?;
                self.seq_max = self.seq_max.max(seq);
            }
            Op::Enqueue(row) => {
                self.put_row(row)?;
                self.count_event(row.event, 1)?;
                self.seq_max = self.seq_max.max(row.key.seq.0);
            }
            Op::Settle { queue, key, next, attempt } => {
                if self.queue(*queue).remove(queue_row(*key))?.is_none() {
                    return Ok(());
                }
                match next {
                    Next::Finished(finished) => {
                        self.put_finished(finished)?;
                        self.count_event(finished.event, -1)?;
                    }
                    Next::Pending(row) => self.put_row(row)?,
                }
                if let Some(attempt) = attempt {
                    let bytes = tables::attempt_key_bytes(key.seq.0, attempt.number);
                    let record = record::encode(Kind::Attempt, &bytes, attempt);
                    self.attempts.insert((key.seq.0, attempt.number), record.as_slice())?;
                }
            }
            Op::PutIdempotency(known) => {
                let row = (known.project.get(), known.key);
                let bytes = tables::idempotency_key_bytes(row.0, row.1);
                let record = record::encode(Kind::Idempotency, &bytes, known);
                self.idempotency.insert(row, record.as_slice())?;
                self.idempotency_by_time.insert((known.at.0, row.0, row.1), ())?;
            }
            Op::RemoveProject(id) => {
                self.projects.remove(id.get())?;
            }
            Op::EraseEvent { event, at } => self.erase(*event, *at)?,
            Op::PutOperator(operator) => {
                let record = record::encode(Kind::Meta, b"operator", &**operator);
                self.meta.insert("operator", record.as_slice())?;
            }
        }
        Ok(())
    }

    fn put_webhook(&mut self, webhook: &Webhook) -> Result<(), WriteError> {
        self.drop_subscriptions(webhook.id)?;
        for key in subscriptions(webhook) {
            self.subscriptions.insert(key.as_slice(), webhook.id.get())?;
        }
        let record = record::encode_webhook(self.vault, webhook)?;
        self.webhooks.insert(webhook.id.get(), record.as_slice())?;
        raise_meta(&mut self.meta, "webhook_id_max", u64::from(webhook.id.get()))
    }

    fn drop_subscriptions(&mut self, id: WebhookId) -> Result<(), WriteError> {
        let Some(old) = self.webhook(id)? else { return Ok(()) };
        for key in subscriptions(&old) {
            self.subscriptions.remove(key.as_slice())?;
        }
        Ok(())
    }

    fn erase(&mut self, seq: Seq, at: Wall) -> Result<(), WriteError> {
        let key = seq.0.to_be_bytes();
        let event: Option<Event> = self
            .events
            .get(seq.0)?
            .and_then(|record| record::decode(Kind::Event, &key, record.value()).ok());
        if let Some(event) = event {
            let record = record::encode(Kind::Event, &key, &event.erased(at));
            self.events.insert(seq.0, record.as_slice())?;
        }
        Ok(())
    }

    fn queue(&mut self, queue: Queue) -> &mut Table<'t, tables::QueueRow, &'static [u8]> {
        match queue {
            Queue::Fresh => &mut self.fresh,
            Queue::Retry => &mut self.retry,
        }
    }

    fn put_row(&mut self, row: &Pending) -> Result<(), WriteError> {
        let key = queue_row(row.key);
        let record = record::encode(Kind::Pending, &queue_key_bytes(key), row);
        self.queue(row.queue()).insert(key, record.as_slice())?;
        Ok(())
    }

    fn put_finished(&mut self, finished: &Finished) -> Result<(), WriteError> {
        let seq = finished.seq.0;
        let record = record::encode(Kind::Finished, &seq.to_be_bytes(), finished);
        self.finished.insert(seq, record.as_slice())?;
        Ok(())
    }

    fn count_event(&mut self, event: Seq, change: i32) -> Result<(), WriteError> {
        let count = self.event_refs.get(event.0)?.map_or(0, |row| row.value());
        match count.saturating_add_signed(change) {
            0 => self.event_refs.remove(event.0)?,
            count => self.event_refs.insert(event.0, count)?,
        };
        Ok(())
    }

    /// Ends up to `rows_max` rows of closed lanes, and says whether there are more.
    fn sweep(&mut self, rows_max: usize) -> Result<(usize, bool), WriteError> {
        let mut lanes = Vec::new();
        for entry in self.closed.iter()? {
            let (key, record) = entry?;
            let lane = record::decode(Kind::ClosedLane, &key.value().to_be_bytes(), record.value());
            lanes.push((key.value(), lane));
        }
        let mut left = rows_max;
        for (webhook, lane) in lanes {
            if left == 0 {
                return Ok((rows_max, true));
            }
            let lane: ClosedLane = match lane {
                Ok(lane) => lane,
                Err(record::Damage) => {
                    // Its deliveries stay pending, which loses nothing.
                    self.closed.remove(webhook)?;
                    continue;
                }
            };
            left -= self.sweep_lane(webhook, &lane, left)?;
            if left > 0 {
                self.closed.remove(webhook)?;
            }
        }
        Ok((rows_max - left, left == 0 && rows_max > 0))
    }

    fn sweep_lane(
        &mut self,
        webhook: u32,
        lane: &ClosedLane,
        rows_max: usize,
    ) -> Result<usize, WriteError> {
        let mut swept = 0;
        for queue in [Queue::Fresh, Queue::Retry] {
            let table = self.queue(queue);
            let mut rows = Vec::new();
            for entry in table.range((webhook, 0, 0)..=(webhook, u64::MAX, u64::MAX))? {
                if swept + rows.len() >= rows_max {
                    break;
                }
                let (key, record) = entry?;
                let key = key.value();
                if key.2 <= lane.upto.0 {
                    let row: Result<Pending, _> =
                        record::decode(Kind::Pending, &queue_key_bytes(key), record.value());
                    rows.push((key, row));
                }
            }
            swept += rows.len();
            for (key, row) in rows {
                self.queue(queue).remove(key)?;
                if let Ok(row) = row {
                    self.put_finished(&row.finished(lane.ending, lane.at))?;
                    self.count_event(row.event, -1)?;
                }
            }
        }
        Ok(swept)
    }
}

/// The keys of a webhook in the index of subscriptions.
fn subscriptions(webhook: &Webhook) -> Vec<Vec<u8>> {
    let (format, target_url) = (webhook.format, webhook.target_url.as_str());
    let key = |event: &EventName| {
        tables::subscription_key(webhook.project, format.name(), event.as_str(), target_url)
    };
    webhook.events.iter().filter(|_| format.is_unique()).map(key).collect()
}

fn meta_u64(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<u64, WriteError> {
    let record = meta.get(name)?;
    let value =
        record.and_then(|row| record::decode(Kind::Meta, name.as_bytes(), row.value()).ok());
    Ok(value.unwrap_or(0))
}

fn put_meta_u64(
    meta: &mut Table<'_, &'static str, &'static [u8]>,
    name: &'static str,
    value: u64,
) -> Result<(), WriteError> {
    meta.insert(name, record::encode(Kind::Meta, name.as_bytes(), &value).as_slice())?;
    Ok(())
}

fn raise_meta(
    meta: &mut Table<'_, &'static str, &'static [u8]>,
    name: &'static str,
    value: u64,
) -> Result<(), WriteError> {
    if meta_u64(meta, name)? < value {
        put_meta_u64(meta, name, value)?;
    }
    Ok(())
}

fn set_aside(
    transaction: &WriteTransaction,
    quarantine: &mut Table<'_, &'static [u8], &'static [u8]>,
    rotten: &Rotten,
) -> Result<(), WriteError> {
    let (name, key, value) = match rotten {
        Rotten::Queue(queue, row) => {
            let mut table = transaction.open_table(queue_table(*queue))?;
            let value = table.remove(*row)?.map(|value| value.value().to_vec());
            if value.is_some() {
                end_damaged(transaction, *row)?;
            }
            let name = if *queue == Queue::Fresh { "fresh" } else { "retry" };
            (name, queue_key_bytes(*row), value)
        }
        Rotten::Event(seq) => {
            let mut table = transaction.open_table(tables::EVENTS)?;
            let value = table.remove(*seq)?.map(|value| value.value().to_vec());
            ("events", seq.to_be_bytes().to_vec(), value)
        }
    };
    if let Some(value) = value {
        let key = [name.as_bytes(), b"\0", &key].concat();
        quarantine.insert(key.as_slice(), value.as_slice())?;
    }
    Ok(())
}

/// Reports a delivery whose row is unreadable as failed: its key still says which one it was.
fn end_damaged(transaction: &WriteTransaction, row: tables::QueueRow) -> Result<(), WriteError> {
    let Some(key) = tables::queue_key(row) else { return Ok(()) };
    let finished = Finished {
        seq: key.seq,
        event: Seq(0),
        webhook: key.webhook,
        attempts: 0,
        accepted: key.seq.wall(),
        finished: key.due,
        ending: Ending::Failed(FailedReason::Damaged),
    };
    let record = record::encode(Kind::Finished, &key.seq.0.to_be_bytes(), &finished);
    transaction.open_table(tables::FINISHED)?.insert(key.seq.0, record.as_slice())?;
    Ok(())
}

/// Removes what is older than `keep_since`, at most `rows_max` rows.
fn prune(
    transaction: &WriteTransaction,
    keep_since: Wall,
    rows_max: usize,
) -> Result<usize, WriteError> {
    let oldest = Seq::at(keep_since).0;
    let mut left = rows_max;
    let event_refs = transaction.open_table(tables::EVENT_REFS)?;
    let mut finished = transaction.open_table(tables::FINISHED)?;
    for entry in finished.extract_from_if(..oldest, |_, _| true)?.take(left) {
        entry?;
        left -= 1;
    }
    let mut attempts = transaction.open_table(tables::ATTEMPTS)?;
    for entry in attempts.extract_from_if(..(oldest, 0), |_, _| true)?.take(left) {
        entry?;
        left -= 1;
    }
    let mut events = transaction.open_table(tables::EVENTS)?;
    let mut unwanted = Vec::new();
    for entry in events.range(..oldest)? {
        if unwanted.len() >= left {
            break;
        }
        let seq = entry?.0.value();
        if event_refs.get(seq)?.is_none() {
            unwanted.push(seq);
        }
    }
    left -= unwanted.len();
    for seq in unwanted {
        events.remove(seq)?;
    }
    let mut by_time = transaction.open_table(tables::IDEMPOTENCY_BY_TIME)?;
    let mut known = transaction.open_table(tables::IDEMPOTENCY)?;
    let end = (keep_since.0, 0, 0);
    let old: Vec<(u64, u32, u128)> = by_time
        .extract_from_if(..end, |_, ()| true)?
        .take(left)
        .map(|entry| entry.map(|(key, _)| key.value()))
        .collect::<Result<_, _>>()?;
    left -= old.len();
    for (at, project, key) in old {
        let bytes = tables::idempotency_key_bytes(project, key);
        let newer = known.get((project, key))?.is_some_and(|row| {
            record::decode(Kind::Idempotency, &bytes, row.value())
                .is_ok_and(|record: crate::logic::batch::IdempotencyRecord| record.at.0 > at)
        });
        if !newer {
            known.remove((project, key))?;
        }
    }
    Ok(rows_max - left)
}
