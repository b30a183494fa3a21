//! Reading: one answer from the overlays and redb together.
//!
//! Owns all reads of the store. Must never return a record whose checksum does not fit, and never
//! a row that was taken away.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io;
use std::iter::Peekable;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::entry;
use super::journal::Place;
use super::overlay::{End, Row, Slot};
use super::record::{self, Damage, EndKept, EventKept, Kind, SealedError};
use super::session::closed_upto;
use super::shared::{Layers, Shared, decode_row, open_queue, row};
use super::tables::{self, QueueRow};
use super::upkeep::Rotten;
use crate::logic::batch::IdempotencyRecord;
use crate::model::attempt::Attempt;
use crate::model::delivery::{Delivery, Finished, Queue, QueueKey};
use crate::model::event::Event;
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::job::Job;
use crate::model::webhook::Webhook;
use crate::store::query::{DeliveryQuery, EventQuery};
use crate::store::{Loaded, Page, ReadError, Records, Stats};

/// Attempts of one delivery that are read; more than 72 hours have.
const ATTEMPTS_MAX: usize = 1_000;

impl Shared {
    /// Everything that is held in memory while running.
    pub fn load(&self) -> Result<Loaded, ReadError> {
        let layers = self.layers();
        let read = self.view().map_err(broken)?;
        let meta = read.open_table(tables::META).map_err(broken)?;
        let seq_max: u64 = read_meta(&meta, "seq_max")?.unwrap_or(0);
        let seq_max = layers.overlays().map(|overlay| overlay.seq_max).fold(seq_max, u64::max);
        let mut loaded = Loaded {
            project_id_max: read_u32(&meta, "project_id_max")?,
            webhook_id_max: read_u32(&meta, "webhook_id_max")?,
            seq_max: Seq(seq_max),
            operator: read_meta(&meta, "operator")?,
            ..Loaded::default()
        };
        let projects = read.open_table(tables::PROJECTS).map_err(broken)?;
        for entry in projects.iter().map_err(broken)? {
            let (key, value) = entry.map_err(broken)?;
            let Some(id) = ProjectId::new(key.value()) else { continue };
            match record::decode_project(&self.vault, id, value.value()) {
                Ok((project, _)) => loaded.projects.push(project),
                Err(error) => sealed_error("project", id.get(), error)?,
            }
        }
        let webhooks = read.open_table(tables::WEBHOOKS).map_err(broken)?;
        for entry in webhooks.iter().map_err(broken)? {
            let (key, value) = entry.map_err(broken)?;
            let Some(id) = WebhookId::new(key.value()) else { continue };
            match record::decode_webhook(&self.vault, id, value.value()) {
                Ok((webhook, _)) => loaded.webhooks.push(webhook),
                Err(error) => sealed_error("webhook", id.get(), error)?,
            }
        }
        loaded.jobs = jobs(&layers, &read)?;
        Ok(loaded)
    }

    /// The lanes that have rows in a queue, or had before the last checkpoint.
    pub fn lanes(&self, queue: Queue) -> Result<Vec<WebhookId>, ReadError> {
        let layers = self.layers();
        let read = self.view().map_err(broken)?;
        let table = open_queue(&read, queue).map_err(broken)?;
        let mut lanes = Vec::new();
        let mut from = 0;
        // One seek for each lane that has rows, however many.
        loop {
            let range = (from, 0, 0)..=(u32::MAX, u64::MAX, u64::MAX);
            let kept = table.range(range.clone()).map_err(broken)?.next().transpose();
            let kept = kept.map_err(broken)?.map(|(key, _)| key.value().0);
            let held = layers.overlays().filter_map(|overlay| {
                overlay.slots(queue, range.clone()).find(|(_, slot)| slot.row().is_some())
            });
            let next = held.map(|(key, _)| key.0).chain(kept).min();
            let Some(webhook) = next else { break };
            lanes.extend(WebhookId::new(webhook));
            match webhook.checked_add(1) {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(lanes)
    }

    /// The first rows of a lane's queue after `after`, and the damaged ones among them.
    pub fn due(
        &self,
        webhook: WebhookId,
        queue: Queue,
        after: Option<QueueKey>,
        rows_max: usize,
    ) -> Result<(Page, Vec<Rotten>), ReadError> {
        let layers = self.layers();
        let read = self.view().map_err(broken)?;
        let closed = read.open_table(tables::CLOSED).map_err(broken)?;
        let id = webhook.get();
        let closed_upto = closed_upto(&closed, webhook).map_err(broken)?;
        let table = open_queue(&read, queue).map_err(broken)?;
        let after = after.map(tables::queue_row);
        let range = after.unwrap_or((id, 0, 0))..=(id, u64::MAX, u64::MAX);
        let kept = table.range(range.clone()).map_err(broken)?.map(|entry| {
            entry.map(|(key, value)| (key.value(), decode_row(key.value(), value.value())))
        });
        let held = held(&layers, queue, range);
        let (mut page, mut rotten) = (Page::default(), Vec::new());
        for entry in merged(held, kept) {
            let (key, row) = entry.map_err(broken)?;
            if key.2 <= closed_upto.0 || Some(key) == after {
                continue;
            }
            if page.rows.len() == rows_max {
                page.more = true;
                break;
            }
            match row {
                Ok(row) => page.rows.push(row.pending),
                Err(Damage) => rotten.push(Rotten::Queue(queue, key)),
            }
        }
        Ok((page, rotten))
    }

    /// An event.
    pub fn event(&self, seq: Seq) -> Result<Option<Arc<Event>>, ReadError> {
        let damaged = ReadError::Damaged { what: "event", id: seq.0 };
        let mut looked = None;
        loop {
            let Some(place) = self.event_place(seq)? else { return Ok(None) };
            let body = self.place(&place).map_err(broken_file)?;
            match body.map(|body| entry::event(&body)) {
                Some(Ok(event)) if event.id.seq == seq => return Ok(Some(Arc::new(event))),
                _ if looked == Some(place) => return Err(damaged),
                // It may have been copied or removed meanwhile.
                _ => looked = Some(place),
            }
        }
    }

    /// Where an event is kept.
    pub fn event_place(&self, seq: Seq) -> Result<Option<Place>, ReadError> {
        let layers = self.layers();
        if let Some(kept) = layers.overlays().find_map(|overlay| overlay.events.get(&seq.0)) {
            return Ok(Some(kept.place));
        }
        let read = self.view().map_err(broken)?;
        let table = read.open_table(tables::EVENTS).map_err(broken)?;
        let Some(value) = table.get(seq.0).map_err(broken)? else { return Ok(None) };
        record::decode(Kind::Event, &seq.0.to_be_bytes(), value.value())
            .map(|kept: EventKept| Some(kept.place))
            .map_err(|Damage| ReadError::Damaged { what: "event", id: seq.0 })
    }

    /// What was accepted under an idempotency key.
    pub fn idempotency(
        &self,
        project: ProjectId,
        key: u128,
    ) -> Result<Option<IdempotencyRecord>, ReadError> {
        let row = (project.get(), key);
        let layers = self.layers();
        let held = layers.overlays().find_map(|overlay| overlay.idempotency.get(&row));
        if let Some(known) = held {
            return Ok(Some(IdempotencyRecord::clone(known)));
        }
        let read = self.view().map_err(broken)?;
        let table = read.open_table(tables::IDEMPOTENCY).map_err(broken)?;
        let Some(value) = table.get(row).map_err(broken)? else { return Ok(None) };
        let bytes = tables::idempotency_key_bytes(row.0, row.1);
        record::decode(Kind::Idempotency, &bytes, value.value()).map(Some).map_err(|Damage| {
            ReadError::Damaged { what: "idempotency key of project", id: row.0.into() }
        })
    }

    /// How a delivery ended, if it did.
    pub fn finished(&self, seq: Seq) -> Result<Option<Finished>, ReadError> {
        Ok(self.end(seq)?.map(|end| end.finished))
    }

    fn end(&self, seq: Seq) -> Result<Option<End>, ReadError> {
        let layers = self.layers();
        if let Some(held) = layers.overlays().find_map(|overlay| overlay.finished.get(&seq.0)) {
            return Ok(held.now);
        }
        let read = self.view().map_err(broken)?;
        let table = read.open_table(tables::FINISHED).map_err(broken)?;
        let Some(value) = table.get(seq.0).map_err(broken)? else { return Ok(None) };
        record::decode::<EndKept>(Kind::Finished, &seq.0.to_be_bytes(), value.value())
            .map(|kept| Some(kept.end(seq)))
            .map_err(|Damage| ReadError::Damaged { what: "delivery", id: seq.0 })
    }

    /// A delivery that waits; a damaged one is none.
    fn pending(&self, seq: Seq) -> Result<Option<Row>, ReadError> {
        let layers = self.layers();
        let read = self.view().map_err(broken)?;
        let held = layers.overlays().find_map(|overlay| overlay.waits.get(&seq.0));
        let at = match held {
            Some(waits) => waits.at,
            None => {
                let table = read.open_table(tables::WAITS).map_err(broken)?;
                let kept = table.get(seq.0).map_err(broken)?;
                kept.map(|kept| {
                    let (queue, webhook, due, _) = kept.value();
                    let queue = if queue == 0 { Queue::Fresh } else { Queue::Retry };
                    (queue, (webhook, due, seq.0))
                })
            }
        };
        let Some((queue, key)) = at else { return Ok(None) };
        let row = row(&layers, || open_queue(&read, queue), queue, key).map_err(broken)?;
        Ok(row.and_then(Result::ok))
    }

    /// A delivery's attempts, in order, from where the last one is kept.
    pub fn attempts(&self, seq: Seq) -> Result<Vec<Attempt>, ReadError> {
        self.last_attempts(seq, ATTEMPTS_MAX)
    }

    /// A delivery's last attempts, in order.
    pub fn last_attempts(&self, seq: Seq, count_max: usize) -> Result<Vec<Attempt>, ReadError> {
        let mut place = match self.end(seq)? {
            Some(end) => end.attempt,
            None => self.pending(seq)?.and_then(|row| row.attempt),
        };
        let mut attempts = Vec::new();
        while let Some(at) = place
            && attempts.len() < count_max
        {
            // A link that is gone or damaged ends the chain: the later ones still tell the story.
            let body = self.place(&at).map_err(broken_file)?;
            let Some(Ok((of, attempt, previous))) = body.map(|body| entry::attempt(&body)) else {
                break;
            };
            if of != seq {
                break;
            }
            attempts.extend(attempt);
            place = previous;
        }
        attempts.reverse();
        Ok(attempts)
    }

    /// Figures.
    pub fn stats(
        &self,
        index_bytes: u64,
        written_bytes: u64,
        is_full: bool,
    ) -> Result<Stats, ReadError> {
        let (pending, events) = {
            let layers = self.layers();
            (layers.pending, layers.events)
        };
        let read = self.view().map_err(broken)?;
        let retry = open_queue(&read, Queue::Retry).map_err(broken)?;
        let quarantine = read.open_table(tables::QUARANTINE).map_err(broken)?;
        let segments = self.files.list().map_err(broken_file)?;
        let journal_bytes: u64 = segments.iter().map(|(_, bytes)| bytes).sum();
        Ok(Stats {
            pending,
            // As of the last checkpoint.
            pending_retry: retry.len().map_err(broken)?,
            free_bytes: self.files.free_bytes().ok(),
            events,
            quarantined: quarantine.len().map_err(broken)?,
            bytes: index_bytes + journal_bytes,
            written_bytes,
            is_full,
        })
    }
}

impl Records for Shared {
    fn load(&self) -> Result<Loaded, ReadError> {
        Shared::load(self)
    }

    fn lanes(&self, queue: Queue) -> Result<Vec<WebhookId>, ReadError> {
        Shared::lanes(self, queue)
    }

    fn idempotency(
        &self,
        project: ProjectId,
        key: u128,
    ) -> Result<Option<IdempotencyRecord>, ReadError> {
        Shared::idempotency(self, project, key)
    }

    fn revision(&self, id: WebhookId, revision: u64) -> Result<Option<Webhook>, ReadError> {
        Shared::revision(self, id, revision)
    }

    fn finished(&self, seq: Seq) -> Result<Option<Finished>, ReadError> {
        Shared::finished(self, seq)
    }

    fn delivery(&self, seq: Seq) -> Result<Option<Delivery>, ReadError> {
        Shared::delivery(self, seq)
    }

    fn deliveries(&self, query: &DeliveryQuery) -> Result<Vec<Delivery>, ReadError> {
        Shared::deliveries(self, query)
    }

    fn deliveries_of(&self, event: Seq, rows_max: usize) -> Result<Vec<Delivery>, ReadError> {
        Shared::deliveries_of(self, event, rows_max)
    }

    fn delivery_of(&self, event: Seq, webhook: WebhookId) -> Result<Option<Delivery>, ReadError> {
        Shared::delivery_of(self, event, webhook)
    }

    fn events(&self, query: &EventQuery) -> Result<Vec<Seq>, ReadError> {
        Shared::events(self, query)
    }

    fn attempts(&self, seq: Seq) -> Result<Vec<Attempt>, ReadError> {
        Shared::attempts(self, seq)
    }

    fn last_attempt(&self, seq: Seq) -> Result<Option<Attempt>, ReadError> {
        Ok(self.last_attempts(seq, 1)?.pop())
    }
}

type Kept = (QueueRow, Result<Row, Damage>);

/// The overlays' rows of a range, the newest for each key, in order.
fn held(
    layers: &Layers,
    queue: Queue,
    range: std::ops::RangeInclusive<QueueRow>,
) -> impl Iterator<Item = (QueueRow, Slot)> {
    let active = layers.active.slots(queue, range.clone());
    let frozen = layers.frozen.iter().flat_map(move |overlay| overlay.slots(queue, range.clone()));
    let mut active = active.peekable();
    let mut frozen = frozen.peekable();
    std::iter::from_fn(move || {
        let (key, slot) = match order(&mut active, &mut frozen)? {
            Ordering::Less => active.next(),
            Ordering::Greater => frozen.next(),
            Ordering::Equal => {
                frozen.next();
                active.next()
            }
        }?;
        Some((key, *slot))
    })
}

fn order<T, U>(
    a: &mut Peekable<impl Iterator<Item = (QueueRow, T)>>,
    b: &mut Peekable<impl Iterator<Item = (QueueRow, U)>>,
) -> Option<Ordering> {
    match (a.peek(), b.peek()) {
        (Some((a, _)), Some((b, _))) => Some(a.cmp(b)),
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (None, None) => None,
    }
}

/// Rows that are there, in order: what is held says what became of what is kept.
fn merged<E>(
    held: impl Iterator<Item = (QueueRow, Slot)>,
    kept: impl Iterator<Item = Result<Kept, E>>,
) -> impl Iterator<Item = Result<Kept, E>> {
    let mut held = held.peekable();
    let mut kept = kept.peekable();
    std::iter::from_fn(move || {
        loop {
            let order = match (held.peek(), kept.peek()) {
                (_, Some(Err(_))) => return kept.next(),
                (Some((a, _)), Some(Ok((b, _)))) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(Ok(_))) => Ordering::Greater,
                (None, None) => return None,
            };
            if order == Ordering::Greater {
                return kept.next();
            }
            if order == Ordering::Equal {
                kept.next();
            }
            if let Some((key, slot)) = held.next()
                && let Some(row) = slot.row()
            {
                return Some(Ok((key, Ok(row))));
            }
        }
    })
}

pub(super) fn broken(error: impl Into<redb::Error>) -> ReadError {
    ReadError::Broken(Box::new(error.into()))
}

fn broken_file(error: io::Error) -> ReadError {
    ReadError::Broken(Box::new(error))
}

/// A damaged record is left out of what is loaded; a missing key stops the start.
fn sealed_error(what: &'static str, id: u32, error: SealedError) -> Result<(), ReadError> {
    match error {
        SealedError::Vault(error) => Err(ReadError::Vault(error)),
        SealedError::Damaged => {
            tracing::error!(id, "The record of a {what} is damaged and was left out.");
            Ok(())
        }
    }
}

fn read_meta<T: serde::de::DeserializeOwned>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<Option<T>, ReadError> {
    let Some(value) = meta.get(name).map_err(broken)? else { return Ok(None) };
    record::decode(Kind::Meta, name.as_bytes(), value.value())
        .map(Some)
        .map_err(|Damage| ReadError::Damaged { what: name, id: 0 })
}

fn read_u32(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<u32, ReadError> {
    let value: Option<u64> = read_meta(meta, name)?;
    Ok(value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0))
}

/// All jobs, by id, as the layers know them. A damaged one is forgotten: what it did stays done.
fn jobs(layers: &Layers, read: &ReadTransaction) -> Result<Vec<Arc<Job>>, ReadError> {
    let mut jobs = BTreeMap::new();
    let table = read.open_table(tables::JOBS).map_err(broken)?;
    for entry in table.iter().map_err(broken)? {
        let (key, value) = entry.map_err(broken)?;
        let job: Result<Job, _> =
            record::decode(Kind::Job, &key.value().to_be_bytes(), value.value());
        match job {
            Ok(job) => drop(jobs.insert(job.id, Some(Arc::new(job)))),
            Err(record::Damage) => tracing::error!(job = key.value(), "A job's record is damaged."),
        }
    }
    let mut overlays: Vec<_> = layers.overlays().collect();
    overlays.reverse();
    for overlay in overlays {
        jobs.extend(overlay.jobs.iter().map(|(id, job)| (*id, job.clone())));
    }
    Ok(jobs.into_values().flatten().collect())
}
