//! Upkeep: ending what closed lanes hold, and letting go of what is old or too much.
//!
//! Owns the steps, each bounded, in which redb's rows are moved or removed, and the choice of the
//! journal's segments that are not needed any more. Must never remove a pending delivery, or an
//! event that one refers to.
//!
//! What is kept is bounded twice. By age: what is older than the retention goes. By bytes: while
//! the journal is larger than its limit, the oldest segment goes, whatever its age, and all rows
//! that are as old. Events that pending deliveries still need are copied forward if they are the
//! smaller part of their segment; a segment that is mostly needed stays, and the next one is
//! looked at. If none can go, the store is full.

use redb::{ReadableTable, WriteTransaction};

use super::journal::Place;
use super::overlay::{End, Row};
use super::record::{self, ClosedLane, EndKept, EventKept, Kind, RowKept};
use super::session::Session;
use super::tables::{self, queue_key_bytes};
use super::writer::WriteError;
use crate::logic::batch::IdempotencyRecord;
use crate::model::delivery::{Finished, Queue};
use crate::model::ids::{ProjectId, Seq};
use crate::model::time::Wall;

/// Rows that one step looks at for each that it may remove: needed ones may lie between.
const LOOKS_PER_ROW: usize = 4;

/// What a step of pruning did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pruned {
    /// Rows that were removed.
    pub rows: usize,
    /// Whether everything old was looked at.
    pub complete: bool,
}

/// Where the search for old events goes on: those that are needed stay, and are not looked at anew
/// in each step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor(u64);

/// An event that can go, and where it is kept; its place may be unreadable.
type OldEvent = (u64, Option<EventKept>);

impl Session<'_> {
    /// Ends up to `rows_max` rows of closed lanes, and says how many and whether there are more.
    pub fn sweep(&mut self, rows_max: usize) -> Result<(usize, bool), WriteError> {
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
                    let kept = record::decode(Kind::Pending, &queue_key_bytes(key), record.value());
                    rows.push((key, kept));
                }
            }
            swept += rows.len();
            for (key, kept) in rows {
                self.queue(queue).remove(key)?;
                self.forget_wait(key.2)?;
                let kept: Result<RowKept, _> = kept;
                if let (Ok(kept), Some(key)) = (kept, tables::queue_key(key)) {
                    let Row { pending, attempt } = kept.row(key);
                    let finished = pending.finished(lane.ending, lane.at);
                    self.put_finished(&End { finished, attempt })?;
                    self.count_event(pending.event.0, -1)?;
                }
            }
        }
        Ok(swept)
    }

    /// Removes what is older than `keep_since` and not needed, at most `rows_max` rows.
    pub fn prune(
        &mut self,
        keep_since: Wall,
        rows_max: usize,
        cursor: &mut Cursor,
    ) -> Result<Pruned, WriteError> {
        let oldest = Seq::at(keep_since).0;
        let mut left = rows_max;
        left -= self.prune_finished(oldest, left)?;
        let (events, complete) = self.old_events(oldest, left, cursor)?;
        left -= events.len();
        for (seq, kept) in events {
            self.events.remove(seq)?;
            if let Some(kept) = kept {
                self.drop_event(seq, &kept)?;
            }
        }
        left -= self.prune_idempotency(keep_since, left)?;
        left -= self.prune_revisions(Seq(oldest), left)?;
        Ok(Pruned { rows: rows_max - left, complete: complete && left > 0 })
    }

    fn prune_finished(&mut self, oldest: u64, rows_max: usize) -> Result<usize, WriteError> {
        let mut ends = Vec::new();
        for entry in self.finished.extract_from_if(..oldest, |_, _| true)?.take(rows_max) {
            let (seq, record) = entry?;
            let seq = seq.value();
            let kept: Result<EndKept, _> =
                record::decode(Kind::Finished, &seq.to_be_bytes(), record.value());
            ends.push(kept.ok().map(|kept| kept.end(Seq(seq)).finished));
        }
        for Finished { seq, project, webhook, ending, .. } in ends.iter().flatten() {
            self.leave_index(*project, *webhook, ending.status(), seq.0)?;
        }
        Ok(ends.len())
    }

    fn old_events(
        &self,
        oldest: u64,
        rows_max: usize,
        cursor: &mut Cursor,
    ) -> Result<(Vec<OldEvent>, bool), WriteError> {
        let mut found = Vec::new();
        let from = if cursor.0 < oldest { cursor.0 } else { 0 };
        for (looked, entry) in self.events.range(from..oldest)?.enumerate() {
            let (seq, record) = entry?;
            let seq = seq.value();
            if found.len() >= rows_max || looked >= rows_max.max(1) * LOOKS_PER_ROW {
                *cursor = Cursor(seq);
                return Ok((found, false));
            }
            if self.event_refs.get(seq)?.is_none() {
                let place = record::decode(Kind::Event, &seq.to_be_bytes(), record.value());
                found.push((seq, place.ok()));
            }
        }
        // What lies before the place where it began was looked at in the steps before.
        *cursor = Cursor::default();
        Ok((found, true))
    }

    fn prune_idempotency(
        &mut self,
        keep_since: Wall,
        rows_max: usize,
    ) -> Result<usize, WriteError> {
        let end = (keep_since.0, 0, 0);
        let old: Vec<(u64, u32, u128)> = self
            .idempotency_by_time
            .extract_from_if(..end, |_, ()| true)?
            .take(rows_max)
            .map(|entry| entry.map(|(key, _)| key.value()))
            .collect::<Result<_, _>>()?;
        for (at, project, key) in &old {
            let bytes = tables::idempotency_key_bytes(*project, *key);
            let newer = self.idempotency.get((*project, *key))?.is_some_and(|row| {
                record::decode(Kind::Idempotency, &bytes, row.value())
                    .is_ok_and(|record: IdempotencyRecord| record.at.0 > *at)
            });
            if !newer {
                self.idempotency.remove((*project, *key))?;
            }
        }
        Ok(old.len())
    }

    /// Up to `rows_max` events that are kept in a segment and were accepted until `until`.
    pub fn events_in(
        &self,
        number: u64,
        until: Wall,
        rows_max: usize,
    ) -> Result<Vec<(u64, Place)>, WriteError> {
        let mut found = Vec::new();
        for entry in self.events.range(..Seq::at(until.plus(1)).0)? {
            let (seq, record) = entry?;
            let seq = seq.value();
            let kept: Result<EventKept, _> =
                record::decode(Kind::Event, &seq.to_be_bytes(), record.value());
            match kept {
                Ok(EventKept { place, .. }) if place.number == number => found.push((seq, place)),
                _ => {}
            }
            if found.len() >= rows_max {
                break;
            }
        }
        Ok(found)
    }

    /// Removes a segment from the list of those that are pointed into.
    pub fn forget_segment(&mut self, number: u64) -> Result<(), WriteError> {
        self.segments.remove(number)?;
        self.forget_wipes(number)
    }
}

/// A damaged row that a reader met.
#[derive(Debug)]
pub enum Rotten {
    /// In a queue.
    Queue(Queue, tables::QueueRow),
    /// An event's row, or what it points to.
    Event(u64),
}

/// Sets a damaged row aside: it is kept for whoever wants to look, and not met again.
pub fn set_aside(
    transaction: &WriteTransaction,
    session: &mut Session<'_>,
    rotten: &Rotten,
) -> Result<(), WriteError> {
    let (name, key, value) = match rotten {
        Rotten::Queue(queue, row) => {
            let value = session.queue(*queue).remove(*row)?.map(|value| value.value().to_vec());
            if value.is_some() {
                let project = session.forget_wait(row.2)?;
                end_damaged(session, *row, project)?;
            }
            let name = if *queue == Queue::Fresh { "fresh" } else { "retry" };
            (name, queue_key_bytes(*row), value)
        }
        Rotten::Event(seq) => {
            let value = session.events.remove(*seq)?.map(|value| value.value().to_vec());
            let key = seq.to_be_bytes().to_vec();
            let kept = value.as_ref().map(|value| record::decode(Kind::Event, &key, value));
            if let Some(Ok(kept)) = kept {
                session.drop_event(*seq, &kept)?;
            }
            ("events", key, value)
        }
    };
    if let Some(value) = value {
        let key = [name.as_bytes(), b"\0", &key].concat();
        transaction.open_table(tables::QUARANTINE)?.insert(key.as_slice(), value.as_slice())?;
    }
    Ok(())
}

/// Reports a delivery whose row is unreadable as failed: its key still says which one it was.
fn end_damaged(
    session: &mut Session<'_>,
    row: tables::QueueRow,
    project: Option<ProjectId>,
) -> Result<(), WriteError> {
    use crate::model::delivery::{Ending, FailedReason};
    let (Some(key), Some(project)) = (tables::queue_key(row), project) else { return Ok(()) };
    let finished = Finished {
        seq: key.seq,
        event: Seq(0),
        webhook: key.webhook,
        project,
        attempts: 0,
        accepted: key.seq.wall(),
        finished: key.due,
        ending: Ending::Failed(FailedReason::Damaged),
    };
    session.put_finished(&End { finished, attempt: None })
}
