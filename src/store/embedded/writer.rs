//! Writing: one group of batches is one append to the journal, and their effects in memory.
//!
//! Owns the order of journal, memory and redb, what a recovery does, and what a full disk stops.
//! Must never write part of a batch. Has no thread and no clock of its own, so that a simulation
//! can drive it.
//!
//! The order: the journal finds room for the group, or refuses it whole; each batch's
//! preconditions are checked, its entry is put into the group and its effects into the active
//! overlay; the group is written and synced. A checkpoint freezes the overlay and, in another
//! thread, writes it to redb in one synced commit, together with the journal's position at the
//! freeze: redb then holds exactly the effects of all entries before it. What does not stand in
//! the journal (projects, webhooks, closed lanes, upkeep) goes to redb directly, in a commit that
//! brings the overlays along.
//!
//! A full disk is no failure: events are refused, what is pending is delivered and settled, and
//! redb, whose handle is of no use after an error, is opened anew when there is room again. Any
//! other error of the disk is final: what is on it is unknown then.

use std::io;
use std::sync::Arc;

use redb::WriteTransaction;
use thiserror::Error;

use super::entry;
use super::flush::{Checkpoint, Flushed, Flusher};
use super::journal::{Journal, Place, Position};
use super::lookup::Lookup;
use super::overlay::{Before, Overlay};
use super::recover::{begin, length};
use super::session::Session;
use super::shared::{Layers, Shared};
use super::tables;
use super::trim::Pass;
use super::upkeep::{Cursor, Rotten, set_aside};
use super::vault::VaultError;
use crate::logic::batch::{Batch, Next, Op};
use crate::model::event::Source;

/// Entries in memory at which a checkpoint is due, unless a simulation wants fewer: about 5 MiB of
/// deliveries that wait, or of those that have ended.
pub const OVERLAY_ENTRIES_MAX: usize = 20_000;
/// Texts of the entries in one group, in bytes, unless a single batch is larger.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How far the journal may be over its limit before events are refused: trimming takes time.
const OVER_SEGMENTS_MAX: u64 = 2;

/// Why a write failed; nothing of it counts.
#[derive(Debug, Error)]
pub enum WriteError {
    /// redb could not.
    #[error(transparent)]
    Engine(#[from] redb::Error),
    /// A secret could not be sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The journal could not be written or read.
    #[error("the journal: {0}")]
    Journal(#[from] io::Error),
    /// A group could not be written to room that it has, after its effects were taken up.
    #[error("the journal can't be written: {0}")]
    Unwritten(#[source] io::Error),
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
                WriteError::Engine(redb::Error::from(error))
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

impl WriteError {
    /// Whether there was no room, and it may be tried again.
    pub fn is_full(&self) -> bool {
        match self {
            WriteError::Journal(error) | WriteError::Engine(redb::Error::Io(error)) => {
                is_full(error)
            }
            // The handle is of no use since an earlier error; that one was looked at.
            WriteError::Engine(redb::Error::PreviousIo | redb::Error::DatabaseClosed) => true,
            _ => false,
        }
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Limits of the disk and of memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The journal is trimmed to this.
    pub journal_bytes_max: u64,
    /// With less room on the disk, events are refused.
    pub free_bytes_min: u64,
    /// With less, attempts are kept without their answers.
    pub log_free_bytes_min: u64,
    /// The size of the journal's segments.
    pub segment_bytes: u64,
    /// Entries in memory at which a checkpoint is due.
    pub overlay_entries_max: usize,
}

/// Applies batches.
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) journal: Journal,
    pub(super) limits: Limits,
    /// The journal's position when the frozen overlay was frozen.
    pub(super) frozen_at: Position,
    pub(super) flusher: Flusher,
    /// A checkpoint is being made elsewhere.
    pub(super) is_flushing: bool,
    /// redb failed for want of room.
    pub(super) is_poisoned: bool,
    /// The disk has too little room.
    pub(super) is_low: bool,
    /// The disk has little room: attempts are kept without their answers.
    pub(super) is_tight: bool,
    /// Nothing more can be trimmed.
    pub(super) is_untrimmable: bool,
    pub(super) cursor: Cursor,
    pub(super) pass: Pass,
}

/// A batch's fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on disk.
    Written,
    /// This precondition does not hold.
    Refused(usize),
    /// There is no room. Nothing was written.
    Full,
}

impl Writer {
    /// Whether a checkpoint has something to do, and can be begun.
    pub fn wants_checkpoint(&self) -> bool {
        let layers = self.shared.layers();
        !self.is_flushing && (layers.frozen.is_some() || layers.active.changes() > 0)
    }

    /// Whether so much waits in memory that a checkpoint is due at once.
    pub fn is_heavy(&self) -> bool {
        self.active_entries() >= self.limits.overlay_entries_max
    }

    fn active_entries(&self) -> usize {
        self.shared.layers().active.entries()
    }

    /// Whether events are refused for want of room.
    pub fn is_full(&self) -> bool {
        self.is_low || self.is_poisoned || self.is_over()
    }

    fn is_over(&self) -> bool {
        let over = self
            .limits
            .journal_bytes_max
            .saturating_add(OVER_SEGMENTS_MAX * self.limits.segment_bytes);
        self.journal.bytes() > over || (self.is_untrimmable && self.wants_trim())
    }

    /// Looks whether there is room; what failed for want of it is made good.
    pub fn look_for_room(&mut self) -> Result<(), WriteError> {
        let free_bytes = self.shared.files.free_bytes()?;
        self.is_low = free_bytes < self.limits.free_bytes_min;
        let is_tight = self.is_low || free_bytes < self.limits.log_free_bytes_min;
        if is_tight && !self.is_tight {
            tracing::warn!(
                free_bytes,
                "The disk is low: answers' headers and bodies are not kept."
            );
        }
        self.is_tight = is_tight;
        if self.is_poisoned && !self.is_flushing && !self.is_low {
            // If it can't be opened, it is tried again at the next look.
            match self.shared.reopen() {
                Ok(()) => self.is_poisoned = false,
                Err(error) => tracing::error!(%error, "The store can't be opened again yet."),
            }
        }
        self.is_untrimmable = false;
        Ok(())
    }

    /// Applies a group, which is durable when this returns.
    pub fn apply(&mut self, batches: &[Batch]) -> Result<Vec<Fate>, WriteError> {
        // The active overlay may take as much as the frozen one that is on its way: no flood of events
        // can fill the memory.
        if self.is_flushing && self.is_heavy() {
            self.wait_checkpoint()?;
        }
        let mut fates = Vec::with_capacity(batches.len());
        let mut rest = batches;
        while let Some(first) = rest.first() {
            let is_journaled = entry::is_journaled(&first.ops);
            let (mut count, mut bytes) = (0, 0);
            for batch in rest {
                bytes += entry::size_max(&batch.ops);
                let fits = count == 0 || bytes <= GROUP_BYTES_MAX;
                if !fits || entry::is_journaled(&batch.ops) != is_journaled {
                    break;
                }
                count += 1;
            }
            let (part, after) = rest.split_at(count);
            if is_journaled {
                self.apply_journaled(part, &mut fates)?;
            } else {
                self.apply_direct(part, &mut fates)?;
            }
            rest = after;
        }
        Ok(fates)
    }

    fn apply_journaled(
        &mut self,
        batches: &[Batch],
        fates: &mut Vec<Fate>,
    ) -> Result<(), WriteError> {
        let mut refuses = self.is_full();
        if let Err(error) = self.begin_group(batches, refuses) {
            if !is_full(&error) {
                return Err(error.into());
            }
            self.is_low = true;
            refuses = true;
            // What settles is smaller, and may still find room.
            match self.begin_group(batches, true) {
                Ok(()) => {}
                Err(error) if is_full(&error) => {
                    fates.extend(batches.iter().map(|_| Fate::Full));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let shared = Arc::clone(&self.shared);
        let mut layers = shared.layers_mut();
        let mut lookup = Lookup::new(&shared);
        for batch in batches {
            fates.push(if refuses && brings_events(batch) {
                Fate::Full
            } else {
                match self.apply_one(batch, &mut layers, &mut lookup) {
                    // redb can't be read for want of room: this one waits, or is refused.
                    Err(error) if error.is_full() => Fate::Full,
                    fate => fate?,
                }
            });
        }
        drop(layers);
        self.write_group()
    }

    /// Writes the group whose effects are taken up: any failure is final, a full disk too.
    pub(super) fn write_group(&mut self) -> Result<(), WriteError> {
        self.journal.commit().map_err(WriteError::Unwritten)
    }

    fn begin_group(&mut self, batches: &[Batch], refuses: bool) -> io::Result<()> {
        let wanted = batches.iter().filter(|batch| !(refuses && brings_events(batch)));
        let (count, bytes) = wanted
            .fold((0, 0), |(count, bytes), batch| (count + 1, bytes + entry::size_max(&batch.ops)));
        self.journal.group(count, bytes)
    }

    fn apply_one(
        &mut self,
        batch: &Batch,
        layers: &mut Layers,
        lookup: &mut Lookup<'_>,
    ) -> Result<Fate, WriteError> {
        for (i, expect) in batch.expect.iter().enumerate() {
            if !lookup.holds(layers, expect)? {
                return Ok(Fate::Refused(i));
            }
        }
        // Nothing behind this fails: a batch is applied whole or not at all.
        let ops = lookup.resolve(layers, &batch.ops)?;
        lookup.prepare(layers, &ops)?;
        if ops.is_empty() {
            return Ok(Fate::Written);
        }
        self.journal.entry();
        entry::begin(self.journal.text());
        for op in &*ops {
            let before = lookup.before(layers, None, op);
            let place = put(&mut self.journal, op, before, !self.is_tight);
            layers.apply(op, place, before);
        }
        self.journal.end_entry();
        Ok(Fate::Written)
    }

    /// Batches of which a part does not stand in the journal: one synced commit of redb.
    fn apply_direct(&mut self, batches: &[Batch], fates: &mut Vec<Fate>) -> Result<(), WriteError> {
        // A journal over its limit refuses events alone: pending deliveries may hold it there that
        // somebody wants to resume, or to delete.
        let brings = batches.iter().any(brings_events);
        if self.is_low || self.is_poisoned || (brings && self.is_over()) {
            fates.extend(batches.iter().map(|_| Fate::Full));
            return Ok(());
        }
        let refused = |error: WriteError| if error.is_full() { Ok(()) } else { Err(error) };
        let (journaled, wipes) = match self.journal_parts(batches) {
            Ok(parts) => parts,
            Err(error) => {
                fates.extend(batches.iter().map(|_| Fate::Full));
                return refused(error);
            }
        };
        let done = self.direct(|_, session| {
            session.owe_wipes(&wipes)?;
            let mut found = Vec::with_capacity(batches.len());
            for (batch, part) in batches.iter().zip(&journaled) {
                let fate = session.batch(batch)?;
                if fate.is_ok() {
                    session.flush(part)?;
                }
                found.push(fate.map_or_else(Fate::Refused, |()| Fate::Written));
            }
            Ok(found)
        });
        match done {
            Ok(found) => fates.extend(found),
            Err(error) => {
                fates.extend(batches.iter().map(|_| Fate::Full));
                return refused(error);
            }
        }
        self.wipe(&wipes)?;
        self.recount()
    }

    /// Puts the parts that stand in the journal there, as entries that a replay passes over.
    /// Returns their effects, and the places of payloads that are erased.
    fn journal_parts(
        &mut self,
        batches: &[Batch],
    ) -> Result<(Vec<Overlay>, Vec<Place>), WriteError> {
        let mut wipes = Vec::new();
        let batches: Vec<Vec<Op>> = batches
            .iter()
            .map(|batch| batch.ops.iter().map(|op| self.expand(op, &mut wipes)).collect())
            .collect::<Result<_, WriteError>>()?;
        let bytes = batches.iter().map(|ops| entry::size_max(ops)).sum();
        self.journal.group(batches.len(), bytes)?;
        let shared = Arc::clone(&self.shared);
        let layers = shared.layers();
        let mut lookup = Lookup::new(&shared);
        let mut parts = Vec::with_capacity(batches.len());
        for ops in &batches {
            let ops = &*lookup.resolve(&layers, ops)?;
            let mut part = Overlay::default();
            if ops.iter().any(entry::stands) {
                lookup.prepare(&layers, ops)?;
                self.journal.entry();
                entry::begin_direct(self.journal.text());
                for op in ops.iter().filter(|op| entry::stands(op)) {
                    let before = lookup.before(&layers, Some(&part), op);
                    let place = put(&mut self.journal, op, before, !self.is_tight);
                    part.apply(op, place, before);
                }
                self.journal.end_entry();
            }
            parts.push(part);
        }
        drop(layers);
        self.journal.commit()?;
        Ok((parts, wipes))
    }

    /// One synced commit of redb that brings the overlays along.
    pub(super) fn direct<T>(
        &mut self,
        work: impl FnOnce(&WriteTransaction, &mut Session<'_>) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        // Its position would come after ours, and be older.
        self.wait_checkpoint()?;
        let at = self.journal.position();
        let shared = Arc::clone(&self.shared);
        let done = shared.with_db(|db| {
            let mut transaction = begin(db)?;
            let out = {
                let mut session = Session::open(&transaction, &shared.vault)?;
                let layers = shared.layers();
                let mut overlays: Vec<&Overlay> = layers.overlays().collect();
                overlays.reverse();
                for overlay in overlays {
                    session.flush(overlay)?;
                }
                let out = work(&transaction, &mut session)?;
                session.set_position(at)?;
                out
            };
            transaction.set_quick_repair(true);
            transaction.commit()?;
            Ok(out)
        });
        match done {
            Ok(out) => {
                let mut layers = shared.layers_mut();
                layers.active = Overlay::default();
                layers.frozen = None;
                Ok(out)
            }
            Err(error) => {
                let error: WriteError = error;
                self.is_poisoned |= error.is_full();
                Err(error)
            }
        }
    }

    /// Begins a checkpoint; it is taken back by [`Writer::poll_checkpoint`].
    pub fn begin_checkpoint(&mut self) {
        if self.is_flushing || self.is_poisoned {
            return;
        }
        let mut layers = self.shared.layers_mut();
        if layers.frozen.is_none() && layers.active.changes() > 0 {
            layers.frozen = Some(Arc::new(std::mem::take(&mut layers.active)));
            self.frozen_at = self.journal.position();
        }
        let Some(frozen) = layers.frozen.clone() else { return };
        drop(layers);
        self.is_flushing = true;
        let shared = Arc::clone(&self.shared);
        let (at, spare) = (self.frozen_at, self.journal.spare_order());
        self.flusher.start(Checkpoint { shared, frozen, at, spare });
    }

    /// Takes a checkpoint back, if one was made.
    pub fn poll_checkpoint(&mut self) -> Result<(), WriteError> {
        match self.flusher.poll() {
            Some(flushed) => self.flushed(flushed),
            None => Ok(()),
        }
    }

    /// Waits for the checkpoint that is under way, if there is one.
    pub fn wait_checkpoint(&mut self) -> Result<(), WriteError> {
        if !self.is_flushing {
            return Ok(());
        }
        let flushed = self.flusher.wait();
        self.flushed(flushed)
    }

    fn flushed(&mut self, flushed: Flushed) -> Result<(), WriteError> {
        self.is_flushing = false;
        match flushed.spare {
            Some(Ok(spare)) => self.journal.take_spare(spare)?,
            Some(Err(error)) if is_full(&error) => self.is_low = true,
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
        match flushed.result {
            Ok(()) => self.shared.layers_mut().frozen = None,
            Err(error) if error.is_full() => {
                tracing::error!(%error, "The disk is full: events are refused until there is room.");
                self.is_poisoned = true;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sets damaged rows aside.
    pub fn quarantine(&mut self, rotten: &[Rotten]) -> Result<(), WriteError> {
        self.direct(|transaction, session| {
            rotten.iter().try_for_each(|row| set_aside(transaction, session, row))
        })?;
        self.recount()
    }

    /// Counts anew, after redb's rows were changed directly.
    pub(super) fn recount(&mut self) -> Result<(), WriteError> {
        let view = self.shared.view()?;
        let pending = length(&view, tables::FRESH)? + length(&view, tables::RETRY)?;
        let events = length(&view, tables::EVENTS)?;
        let mut layers = self.shared.layers_mut();
        // The overlays may hold copies of events: those are counted already.
        layers.pending = pending;
        layers.events = events;
        Ok(())
    }
}

impl Layers {
    /// Takes a write into the active overlay, and counts.
    pub(super) fn apply(&mut self, op: &Op, place: Place, before: Option<Before>) {
        match op {
            Op::PutEvent(_) => self.events += 1,
            Op::Enqueue(_) | Op::EnqueueLater(_) => self.pending += 1,
            Op::Requeue(_) if before.is_some() => self.pending += 1,
            Op::Settle { next: Next::Finished(_), .. } if before.is_some() => {
                self.pending = self.pending.saturating_sub(1);
            }
            _ => {}
        }
        self.active.apply(op, place, before);
    }
}

/// Puts a write into the journal's open entry, and says where it is.
pub(super) fn put(
    journal: &mut Journal,
    op: &Op,
    before: Option<Before>,
    keeps_answers: bool,
) -> Place {
    let previous = before.and_then(|before| before.attempt());
    let start = entry::put(journal.text(), op, previous, keeps_answers);
    journal.place(start)
}

/// A notice is none of them: that there is no room has to be told while there is none. They are few
/// and small.
fn brings_events(batch: &Batch) -> bool {
    let brings = |op: &Op| matches!(op, Op::PutEvent(event) if event.source != Source::Notice);
    batch.ops.iter().any(brings)
}
