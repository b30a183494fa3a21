//! One redb transaction, with all its tables open.
//!
//! Owns what each write means in redb: projects, webhooks and lanes as they are changed, and the
//! effects of the journal's tail when a checkpoint brings them. Must never commit: a transaction
//! counts whole or not at all.

use std::collections::BTreeMap;

use redb::{ReadableTable, Table, WriteTransaction};

use super::journal::Position;
use super::overlay::{End, Overlay, Row, Slot, Waits};
use super::record::{self, ClosedLane, EndKept, EventKept, Kind, RowKept, SegmentKept};
use super::tables::{
    self, EVENT_CLASS, IndexRow, QueueRow, WaitsRow, class, queue_key_bytes, queue_row,
};
use super::vault::Vault;
use super::writer::WriteError;
use crate::logic::batch::{Batch, Expect, IdempotencyRecord, Op};
use crate::model::delivery::{Finished, Queue, QueueKey, Status};
use crate::model::event::EventName;
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::job::{Job, JobId};
use crate::model::time::Wall;
use crate::model::webhook::Webhook;
use crate::store::query::Scope;

/// The name of the journal's position in the table `meta`.
pub const POSITION: &str = "journal";

/// The tables of one transaction.
pub struct Session<'t> {
    pub(super) vault: &'t Vault,
    pub meta: Table<'t, &'static str, &'static [u8]>,
    projects: Table<'t, u32, &'static [u8]>,
    pub(super) webhooks: Table<'t, u32, &'static [u8]>,
    pub(super) revisions: Table<'t, (u32, u64), &'static [u8]>,
    pub(super) revisions_by_seq: Table<'t, (u64, u32, u64), ()>,
    subscriptions: Table<'t, &'static [u8], u32>,
    fresh: Table<'t, QueueRow, &'static [u8]>,
    retry: Table<'t, QueueRow, &'static [u8]>,
    waits: Table<'t, u64, WaitsRow>,
    pub closed: Table<'t, u32, &'static [u8]>,
    pub events: Table<'t, u64, &'static [u8]>,
    pub event_refs: Table<'t, u64, u32>,
    pub finished: Table<'t, u64, &'static [u8]>,
    by_status: Table<'t, IndexRow, ()>,
    later: Table<'t, (u64, u64), ()>,
    jobs: Table<'t, u64, &'static [u8]>,
    pub segments: Table<'t, u64, &'static [u8]>,
    pub wipes: Table<'t, (u64, u64), u32>,
    pub idempotency: Table<'t, (u32, u128), &'static [u8]>,
    pub idempotency_by_time: Table<'t, (u64, u32, u128), ()>,
}

impl<'t> Session<'t> {
    /// Opens the tables; they are made if they are not there.
    pub fn open(
        transaction: &'t WriteTransaction,
        vault: &'t Vault,
    ) -> Result<Session<'t>, WriteError> {
        Ok(Session {
            vault,
            meta: transaction.open_table(tables::META)?,
            projects: transaction.open_table(tables::PROJECTS)?,
            webhooks: transaction.open_table(tables::WEBHOOKS)?,
            revisions: transaction.open_table(tables::REVISIONS)?,
            revisions_by_seq: transaction.open_table(tables::REVISIONS_BY_SEQ)?,
            subscriptions: transaction.open_table(tables::SUBSCRIPTIONS)?,
            fresh: transaction.open_table(tables::FRESH)?,
            retry: transaction.open_table(tables::RETRY)?,
            waits: transaction.open_table(tables::WAITS)?,
            closed: transaction.open_table(tables::CLOSED)?,
            events: transaction.open_table(tables::EVENTS)?,
            event_refs: transaction.open_table(tables::EVENT_REFS)?,
            finished: transaction.open_table(tables::FINISHED)?,
            by_status: transaction.open_table(tables::BY_STATUS)?,
            later: transaction.open_table(tables::LATER)?,
            jobs: transaction.open_table(tables::JOBS)?,
            segments: transaction.open_table(tables::SEGMENTS)?,
            wipes: transaction.open_table(tables::WIPES)?,
            idempotency: transaction.open_table(tables::IDEMPOTENCY)?,
            idempotency_by_time: transaction.open_table(tables::IDEMPOTENCY_BY_TIME)?,
        })
    }

    /// Stores up to where the journal's effects are in redb.
    pub fn set_position(&mut self, at: Position) -> Result<(), WriteError> {
        let record = record::encode(Kind::Meta, POSITION.as_bytes(), &(at.number, at.offset));
        self.meta.insert(POSITION, record.as_slice())?;
        Ok(())
    }

    /// Brings the effects of the journal's tail.
    pub fn flush(&mut self, overlay: &Overlay) -> Result<(), WriteError> {
        // A segment has thousands of events: it is written once.
        let mut events_by_segment: BTreeMap<u64, u64> = BTreeMap::new();
        for (seq, kept) in &overlay.events {
            self.put_event(*seq, kept)?;
            *events_by_segment.entry(kept.place.number).or_default() += 1;
        }
        for (number, count) in events_by_segment {
            let mut segment = self.segment(number)?;
            segment.events += count;
            segment.events_once += count;
            self.put_segment(number, &segment)?;
        }
        for (number, touched) in &overlay.segments {
            let mut segment = self.segment(*number)?;
            segment.until = segment.until.max(touched.until);
            self.put_segment(*number, &segment)?;
        }
        for queue in [Queue::Fresh, Queue::Retry] {
            for (key, slot) in overlay.queue(queue) {
                match slot {
                    Slot::New(row) | Slot::Put(row) => self.put_row(row)?,
                    Slot::Gone => {
                        self.queue(queue).remove(*key)?;
                    }
                }
            }
        }
        for (seq, waits) in &overlay.waits {
            self.flush_wait(overlay, *seq, waits)?;
        }
        for (event, change) in &overlay.refs {
            self.count_event(*event, *change)?;
        }
        for (seq, ended) in &overlay.finished {
            if let Some((project, webhook, status)) = ended.was {
                self.leave_index(project, webhook, status, *seq)?;
            }
            match &ended.now {
                Some(end) => self.put_finished(end)?,
                None => drop(self.finished.remove(*seq)?),
            }
        }
        for key in &overlay.later {
            self.later.insert(*key, ())?;
        }
        for ((project, key), known) in &overlay.idempotency {
            self.put_idempotency(*project, *key, known)?;
        }
        for (id, job) in &overlay.jobs {
            self.flush_job(*id, job.as_deref())?;
        }
        if overlay.seq_max > 0 {
            raise_meta(&mut self.meta, "seq_max", overlay.seq_max)?;
        }
        Ok(())
    }

    fn flush_job(&mut self, id: JobId, job: Option<&Job>) -> Result<(), WriteError> {
        let key = id.seq.0;
        match job {
            Some(job) => {
                let record = record::encode(Kind::Job, &key.to_be_bytes(), job);
                self.jobs.insert(key, record.as_slice())?;
            }
            None => drop(self.jobs.remove(key)?),
        }
        Ok(())
    }

    fn flush_wait(&mut self, overlay: &Overlay, seq: u64, waits: &Waits) -> Result<(), WriteError> {
        let row = waits.at.and_then(|(queue, key)| overlay.slot(queue, key)?.row());
        let Some(Row { pending, .. }) = row else {
            self.forget_wait(seq)?;
            return Ok(());
        };
        let QueueKey { webhook, due, .. } = pending.key;
        let row = (pending.queue() as u8, webhook.get(), due.0, pending.project.get());
        self.waits.insert(seq, row)?;
        if waits.is_new {
            self.enter_index(pending.project, webhook, Status::Pending, seq)?;
        }
        Ok(())
    }

    fn enter_index(
        &mut self,
        project: ProjectId,
        webhook: WebhookId,
        status: Status,
        seq: u64,
    ) -> Result<(), WriteError> {
        for scope in [Scope::Project(project), Scope::Webhook(webhook)] {
            self.by_status.insert(tables::index_row(scope, class(status), seq), ())?;
        }
        Ok(())
    }

    /// A delivery does not stand there any more.
    pub fn leave_index(
        &mut self,
        project: ProjectId,
        webhook: WebhookId,
        status: Status,
        seq: u64,
    ) -> Result<(), WriteError> {
        for scope in [Scope::Project(project), Scope::Webhook(webhook)] {
            self.by_status.remove(tables::index_row(scope, class(status), seq))?;
        }
        Ok(())
    }

    /// Applies a batch that goes to redb at once; `Err` names the precondition that does not hold.
    pub fn batch(&mut self, batch: &Batch) -> Result<Result<(), usize>, WriteError> {
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

    /// Seals anew what another key than the first had sealed.
    pub fn reseal(&mut self) -> Result<(), WriteError> {
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
        self.reseal_revisions()
    }

    fn holds(&self, expect: &Expect) -> Result<bool, WriteError> {
        match expect {
            Expect::IdempotencyFree { project, key, since } => {
                let row = (project.get(), *key);
                let Some(record) = self.idempotency.get(row)? else { return Ok(true) };
                Ok(is_free(row, record.value(), *since))
            }
            Expect::Ended { seq, webhook } => self.has_ended(*seq, *webhook),
            Expect::Waits { seq, webhook } => self.is_waiting(*seq, *webhook),
            expect => webhook_holds(self.vault, &self.webhooks, &self.subscriptions, expect),
        }
    }

    /// Whether a requeue would take it back: all overlays are in redb here.
    fn has_ended(&self, seq: Seq, webhook: WebhookId) -> Result<bool, WriteError> {
        let end = end_kept(&self.finished, seq)?.filter(|end| end.finished.webhook == webhook);
        let Some(end) = end else { return Ok(false) };
        let has_event = self.events.get(end.finished.event.0)?.is_some();
        Ok(has_event && seq > closed_upto(&self.closed, webhook)?)
    }

    /// Whether a delivery waits: all overlays are in redb here.
    fn is_waiting(&self, seq: Seq, webhook: WebhookId) -> Result<bool, WriteError> {
        let lane = self.waits.get(seq.0)?.map(|row| row.value().1);
        Ok(lane == Some(webhook.get()) && seq > closed_upto(&self.closed, webhook)?)
    }

    fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, WriteError> {
        webhook(self.vault, &self.webhooks, id)
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
                self.take_place(*id, None)?;
                self.webhooks.remove(id.get())?;
            }
            Op::CloseLane { webhook, upto, ending, at } => {
                let lane = ClosedLane { upto: *upto, ending: *ending, at: *at };
                let key = webhook.get();
                let record = record::encode(Kind::ClosedLane, &key.to_be_bytes(), &lane);
                self.closed.insert(key, record.as_slice())?;
            }
            Op::RemoveProject(id) => {
                self.projects.remove(id.get())?;
            }
            Op::PutOperator(operator) => {
                let record = record::encode(Kind::Meta, b"operator", &**operator);
                self.meta.insert("operator", record.as_slice())?;
            }
            // These stand in the journal: the writer puts them there, and `flush` brings them.
            Op::PutEvent(_)
            | Op::EraseEvent { .. }
            | Op::Enqueue(_)
            | Op::EnqueueLater(_)
            | Op::Requeue(_)
            | Op::Settle { .. }
            | Op::Cancel { .. }
            | Op::PutJob(_)
            | Op::RemoveJob(_)
            | Op::PutIdempotency(_) => {}
        }
        Ok(())
    }

    fn put_webhook(&mut self, webhook: &Webhook) -> Result<(), WriteError> {
        self.take_place(webhook.id, Some(webhook.revision))?;
        for key in subscriptions(webhook) {
            self.subscriptions.insert(key.as_slice(), webhook.id.get())?;
        }
        let record = record::encode_webhook(self.vault, webhook)?;
        self.webhooks.insert(webhook.id.get(), record.as_slice())?;
        raise_meta(&mut self.meta, "webhook_id_max", u64::from(webhook.id.get()))
    }

    /// Drops a webhook's place in the index, and keeps it as it was if that is another revision.
    fn take_place(&mut self, id: WebhookId, next: Option<u64>) -> Result<(), WriteError> {
        let Some(old) = self.webhook(id)? else { return Ok(()) };
        for key in subscriptions(&old) {
            self.subscriptions.remove(key.as_slice())?;
        }
        self.keep_revision(&old, next)
    }

    /// A queue's table.
    pub fn queue(&mut self, queue: Queue) -> &mut Table<'t, QueueRow, &'static [u8]> {
        match queue {
            Queue::Fresh => &mut self.fresh,
            Queue::Retry => &mut self.retry,
        }
    }

    fn put_row(&mut self, row: &Row) -> Result<(), WriteError> {
        let key = queue_row(row.pending.key);
        let record = record::encode(Kind::Pending, &queue_key_bytes(key), &RowKept::new(row));
        self.queue(row.pending.queue()).insert(key, record.as_slice())?;
        Ok(())
    }

    /// A delivery does not wait any more. Says whose it is, if it did.
    pub fn forget_wait(&mut self, seq: u64) -> Result<Option<ProjectId>, WriteError> {
        let row = self.waits.remove(seq)?.map(|row| row.value());
        let ids = row.map(|(_, webhook, _, project)| {
            Some((ProjectId::new(project)?, WebhookId::new(webhook)?))
        });
        let Some((project, webhook)) = ids.flatten() else { return Ok(None) };
        self.leave_index(project, webhook, Status::Pending, seq)?;
        Ok(Some(project))
    }

    /// Writes how a delivery ended.
    pub fn put_finished(&mut self, end: &End) -> Result<(), WriteError> {
        let Finished { seq, project, webhook, ending, .. } = end.finished;
        let seq = seq.0;
        self.enter_index(project, webhook, ending.status(), seq)?;
        let record = record::encode(Kind::Finished, &seq.to_be_bytes(), &EndKept::new(end));
        self.finished.insert(seq, record.as_slice())?;
        Ok(())
    }

    /// Counts pending deliveries of an event.
    pub fn count_event(&mut self, event: u64, change: i64) -> Result<(), WriteError> {
        let count = self.event_refs.get(event)?.map_or(0, |row| row.value());
        match u32::try_from(i64::from(count).saturating_add(change).max(0)).unwrap_or(u32::MAX) {
            0 => self.event_refs.remove(event)?,
            count => self.event_refs.insert(event, count)?,
        };
        Ok(())
    }

    /// Writes where an event is kept. The segment that it is in now is counted by the caller.
    fn put_event(&mut self, seq: u64, kept: &EventKept) -> Result<(), WriteError> {
        let key = seq.to_be_bytes();
        let record = record::encode(Kind::Event, &key, kept);
        let before = self.events.insert(seq, record.as_slice())?;
        let before: Option<EventKept> =
            before.and_then(|row| record::decode(Kind::Event, &key, row.value()).ok());
        match before {
            Some(before) => self.leave_segment(before.place.number),
            None => {
                self.by_status.insert(index_of_event(kept.project, seq), ())?;
                Ok(())
            }
        }
    }

    /// Removes an event that was at this place.
    pub fn drop_event(&mut self, seq: u64, kept: &EventKept) -> Result<(), WriteError> {
        self.by_status.remove(index_of_event(kept.project, seq))?;
        self.later.retain_in((seq, 0)..=(seq, u64::MAX), |_, ()| false)?;
        self.leave_segment(kept.place.number)
    }

    /// An event is not kept in this segment any more.
    pub fn leave_segment(&mut self, number: u64) -> Result<(), WriteError> {
        let mut segment = self.segment(number)?;
        segment.events = segment.events.saturating_sub(1);
        self.put_segment(number, &segment)
    }

    /// What is kept in a segment.
    pub fn segment(&self, number: u64) -> Result<SegmentKept, WriteError> {
        segment_kept(&self.segments, number)
    }

    fn put_segment(&mut self, number: u64, segment: &SegmentKept) -> Result<(), WriteError> {
        let record = record::encode(Kind::Segment, &number.to_be_bytes(), segment);
        self.segments.insert(number, record.as_slice())?;
        Ok(())
    }

    fn put_idempotency(
        &mut self,
        project: u32,
        key: u128,
        known: &IdempotencyRecord,
    ) -> Result<(), WriteError> {
        let bytes = tables::idempotency_key_bytes(project, key);
        let record = record::encode(Kind::Idempotency, &bytes, known);
        self.idempotency.insert((project, key), record.as_slice())?;
        self.idempotency_by_time.insert((known.at.0, project, key), ())?;
        Ok(())
    }
}

fn index_of_event(project: ProjectId, seq: u64) -> IndexRow {
    tables::index_row(Scope::Project(project), EVENT_CLASS, seq)
}

/// Whether an idempotency key is free again, as its record says. A damaged record can't vouch for
/// anything.
pub fn is_free(row: (u32, u128), record: &[u8], since: Wall) -> bool {
    let bytes = tables::idempotency_key_bytes(row.0, row.1);
    let known: Result<IdempotencyRecord, _> = record::decode(Kind::Idempotency, &bytes, record);
    known.map_or(true, |known| known.at < since)
}

/// Whether a precondition about webhooks holds. Those about idempotency keys are not for here.
pub fn webhook_holds(
    vault: &Vault,
    webhooks: &impl ReadableTable<u32, &'static [u8]>,
    subscriptions: &impl ReadableTable<&'static [u8], u32>,
    expect: &Expect,
) -> Result<bool, WriteError> {
    match expect {
        Expect::IdempotencyFree { .. } | Expect::Ended { .. } | Expect::Waits { .. } => Ok(false),
        Expect::WebhookRevision { id, revision } => {
            Ok(webhook(vault, webhooks, *id)?.map(|webhook| webhook.revision) == *revision)
        }
        Expect::SubscriptionFree { project, format, event, target_url, except } => {
            let key = tables::subscription_key(*project, format, event.as_str(), target_url);
            let holder = subscriptions.get(key.as_slice())?.map(|row| row.value());
            Ok(holder.is_none() || holder == except.map(WebhookId::get))
        }
    }
}

fn webhook(
    vault: &Vault,
    webhooks: &impl ReadableTable<u32, &'static [u8]>,
    id: WebhookId,
) -> Result<Option<Webhook>, WriteError> {
    let Some(record) = webhooks.get(id.get())? else { return Ok(None) };
    match record::decode_webhook(vault, id, record.value()) {
        Ok((webhook, _)) => Ok(Some(webhook)),
        Err(record::SealedError::Vault(error)) => Err(error.into()),
        Err(record::SealedError::Damaged) => Ok(None),
    }
}

/// What is kept in a segment of the journal.
pub fn segment_kept(
    segments: &impl ReadableTable<u64, &'static [u8]>,
    number: u64,
) -> Result<SegmentKept, WriteError> {
    let row = segments.get(number)?;
    let kept =
        row.and_then(|row| record::decode(Kind::Segment, &number.to_be_bytes(), row.value()).ok());
    Ok(kept.unwrap_or_default())
}

/// How a delivery ended, as redb keeps it; a damaged record says nothing.
pub fn end_kept(
    finished: &impl ReadableTable<u64, &'static [u8]>,
    seq: Seq,
) -> Result<Option<End>, redb::StorageError> {
    let Some(row) = finished.get(seq.0)? else { return Ok(None) };
    let kept: Result<EndKept, _> =
        record::decode(Kind::Finished, &seq.0.to_be_bytes(), row.value());
    Ok(kept.ok().map(|kept| kept.end(seq)))
}

/// Up to which delivery a lane is closed. A damaged mark closes nothing: its deliveries stay
/// pending, which loses nothing.
pub fn closed_upto(
    closed: &impl ReadableTable<u32, &'static [u8]>,
    webhook: WebhookId,
) -> Result<Seq, redb::StorageError> {
    let Some(mark) = closed.get(webhook.get())? else { return Ok(Seq(0)) };
    let lane: Result<ClosedLane, _> =
        record::decode(Kind::ClosedLane, &webhook.get().to_be_bytes(), mark.value());
    Ok(lane.map_or(Seq(0), |lane| lane.upto))
}

/// The keys of a webhook in the index of subscriptions.
fn subscriptions(webhook: &Webhook) -> Vec<Vec<u8>> {
    let (format, target_url) = (webhook.format, webhook.target_url.as_str());
    let key = |event: &EventName| {
        tables::subscription_key(webhook.project, format.name(), event.as_str(), target_url)
    };
    webhook.events.iter().filter(|_| format.is_unique()).map(key).collect()
}

/// A number in the table `meta`; 0 if it is not there.
pub fn meta_u64(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<u64, WriteError> {
    let record = meta.get(name)?;
    let value =
        record.and_then(|row| record::decode(Kind::Meta, name.as_bytes(), row.value()).ok());
    Ok(value.unwrap_or(0))
}

/// Writes a number into the table `meta`.
pub fn put_meta_u64(
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
