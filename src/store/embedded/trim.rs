//! The writer's part of upkeep: steps, and the journal's limit of bytes.
//!
//! Owns when a step is worth its commit, and copies events forward that are still needed. Must
//! never let a segment go before a synced commit says that nothing points into it.

use std::sync::Arc;

use redb::ReadableTable;

use super::entry;
use super::journal::Place;
use super::overlay::Overlay;
use super::record::SegmentKept;
use super::session::segment_kept;
use super::tables;
use super::upkeep::{Cursor, Rotten};
use super::writer::{WriteError, Writer, put};
use crate::logic::batch::Op;
use crate::model::ids::Seq;
use crate::model::time::Wall;
use crate::store::Upkeep;

/// Events that one step copies forward, and their bytes.
const COPY_EVENTS_MAX: usize = 1_000;
const COPY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Rows that one step of trimming removes.
const TRIM_ROWS_MAX: usize = 5_000;

/// A pass over the journal's segments, from the oldest on, in steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// The segment that is looked at.
    number: u64,
    cursor: Cursor,
    /// Something could go.
    freed: bool,
}

impl Writer {
    /// One step of upkeep; see the seam's contract.
    pub fn upkeep(&mut self, keep_since: Wall, rows_max: usize) -> Result<Upkeep, WriteError> {
        if self.is_poisoned || !self.has_upkeep(keep_since)? {
            return Ok(Upkeep::default());
        }
        let mut cursor = self.cursor;
        let upkeep = self.direct(|_, session| {
            let (closed, more_closed) = session.sweep(rows_max)?;
            let pruned = session.prune(keep_since, rows_max, &mut cursor)?;
            let more = more_closed || !pruned.complete;
            Ok(Upkeep { closed, pruned: pruned.rows, more })
        })?;
        self.cursor = cursor;
        self.release_old(keep_since)?;
        self.recount()?;
        Ok(upkeep)
    }

    /// Whether the journal is larger than its limit, and more can go.
    pub fn wants_trim(&self) -> bool {
        self.journal.bytes() > self.limits.journal_bytes_max && !self.is_poisoned
    }

    /// Whether the last step of trimming found something to do, or none was made yet.
    pub fn can_trim(&self) -> bool {
        self.wants_trim() && !self.is_untrimmable
    }

    /// One step towards the limit of bytes; see `upkeep`.
    pub fn trim(&mut self) -> Result<(), WriteError> {
        let older: Vec<u64> = self.journal.older().collect();
        let mut copies = Vec::new();
        let mut horizon = Wall(0);
        let mut pass = self.pass;
        let ended = self.direct(|_, session| {
            let from = pass.number;
            for number in older.into_iter().filter(|number| *number >= from) {
                let segment = session.segment(number)?;
                horizon = segment.until.plus(1);
                pass.number = number;
                if segment.events == 0 {
                    pass.freed = true;
                    return Ok(false);
                }
                let pruned = session.prune(horizon, TRIM_ROWS_MAX, &mut pass.cursor)?;
                pass.freed |= pruned.rows > 0;
                if pruned.rows > 0 || !pruned.complete {
                    return Ok(false);
                }
                if segment.events * 2 <= segment.events_once {
                    copies = session.events_in(number, segment.until, COPY_EVENTS_MAX)?;
                    if !copies.is_empty() {
                        pass.freed = true;
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        })?;
        // A pass that freed something may have made room for another.
        self.is_untrimmable = ended && !pass.freed;
        self.pass = if ended { Pass::default() } else { pass };
        self.copy_forward(&copies)?;
        self.release_old(horizon)?;
        self.recount()
    }

    /// Writes events anew that are still needed, so that their segment can go.
    fn copy_forward(&mut self, copies: &[(u64, Place)]) -> Result<(), WriteError> {
        let (mut ops, mut bytes, mut rotten) = (Vec::new(), 0, Vec::new());
        for (seq, place) in copies {
            if bytes > COPY_BYTES_MAX {
                break;
            }
            bytes += place.length as usize;
            match self.shared.place(place)?.map(|body| entry::event(&body)) {
                Some(Ok(event)) if event.id.seq.0 == *seq => ops.push(Op::PutEvent(event.into())),
                _ => rotten.push(Rotten::Event(*seq)),
            }
        }
        if !rotten.is_empty() {
            tracing::error!(events = rotten.len(), "Damaged events were set aside.");
            self.quarantine(&rotten)?;
        }
        if ops.is_empty() {
            return Ok(());
        }
        self.journal.group(1, entry::size_max(&ops))?;
        self.journal.entry();
        entry::begin(self.journal.text());
        let shared = Arc::clone(&self.shared);
        let mut layers = shared.layers_mut();
        for op in &ops {
            let place = put(&mut self.journal, op, None, true);
            layers.active.apply(op, place, None);
        }
        drop(layers);
        self.journal.end_entry();
        self.write_group()
    }

    /// Lets segments go that nothing points into and that are older than what is kept.
    pub(super) fn release_old(&mut self, keep_since: Wall) -> Result<(), WriteError> {
        let older: Vec<u64> = self.journal.older().collect();
        let view = self.shared.view()?;
        let table = view.open_table(tables::SEGMENTS)?;
        let is_old = |segment: &SegmentKept| segment.events == 0 && segment.until < keep_since;
        // What memory holds may point into some of these: that is looked at below.
        let mut any = false;
        for number in &older {
            any |= is_old(&segment_kept(&table, *number)?);
        }
        if !any {
            return Ok(());
        }
        let unneeded: Vec<u64> = self.direct(|_, session| {
            let mut unneeded = Vec::new();
            for number in older {
                if is_old(&session.segment(number)?) {
                    session.forget_segment(number)?;
                    unneeded.push(number);
                }
            }
            Ok(unneeded)
        })?;
        unneeded.into_iter().try_for_each(|number| Ok(self.journal.release(number)?))
    }

    /// Whether a step of upkeep would find anything to do. An idle store writes nothing.
    fn has_upkeep(&self, keep_since: Wall) -> Result<bool, WriteError> {
        let oldest = Seq::at(keep_since).0;
        let view = self.shared.view()?;
        let is_old = |first: Option<u64>| first.is_some_and(|seq| seq < oldest);
        let finished = view.open_table(tables::FINISHED)?.first()?.map(|(seq, _)| seq.value());
        let events = view.open_table(tables::EVENTS)?.first()?.map(|(seq, _)| seq.value());
        let by_time = view.open_table(tables::IDEMPOTENCY_BY_TIME)?;
        let key = by_time.first()?.map(|(key, _)| key.value().0);
        let by_seq = view.open_table(tables::REVISIONS_BY_SEQ)?;
        let revision = by_seq.first()?.map(|(key, _)| key.value().0);
        let waits = view.open_table(tables::CLOSED)?.first()?.is_some();
        let old_key = key.is_some_and(|at| at < keep_since.0);
        let old = is_old(finished) || is_old(events) || is_old(revision) || old_key || waits;
        if old {
            return Ok(true);
        }
        // Not in redb yet: a checkpoint comes within a second, and the next step after it.
        let layers = self.shared.layers();
        let in_memory = |overlay: &Overlay| {
            is_old(overlay.finished.keys().next().copied())
                || is_old(overlay.events.keys().next().copied())
                || overlay.idempotency.values().any(|known| known.at < keep_since)
        };
        Ok(layers.overlays().any(in_memory))
    }
}
