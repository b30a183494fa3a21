//! Events that were read for attempts a moment ago.
//!
//! Owns a bounded memory of them, so that the deliveries of one event that come due together read
//! and render it once, however long it was away. Must never hold what was erased: an erasure
//! empties it, and who began before it neither finds nor leaves anything.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::cache::Cached;
use crate::model::ids::Seq;

/// Bytes of events that are kept, about, beside those that are being read.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an entry beside its event, about.
const ENTRY_BYTES: usize = 256;

/// An event, once it was read.
pub(super) type Cell = Arc<OnceCell<Arc<Cached>>>;

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Recent {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Erasures that there had been when it was emptied last.
    erasures: u64,
    entries: BTreeMap<Seq, Entry>,
    /// Entries by the order in which they came.
    order: BTreeMap<u64, Seq>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    cell: Cell,
    bytes: usize,
}

impl Recent {
    /// The place of an event, which the first one fills; none for who began before an erasure.
    pub(super) fn cell(&self, seq: Seq, erasures: u64) -> Option<Cell> {
        let mut state = self.lock();
        match state.erasures.cmp(&erasures) {
            Ordering::Less => *state = State { erasures, ..State::default() },
            Ordering::Equal => {}
            Ordering::Greater => return None,
        }
        if let Some(entry) = state.entries.get(&seq) {
            return Some(Arc::clone(&entry.cell));
        }
        let number = state.next;
        state.next += 1;
        state.order.insert(number, seq);
        state.bytes += ENTRY_BYTES;
        let cell = Cell::default();
        let entry = Entry { cell: Arc::clone(&cell), bytes: ENTRY_BYTES };
        state.entries.insert(seq, entry);
        state.shrink();
        Some(cell)
    }

    /// An event was read into its place.
    pub(super) fn filled(&self, seq: Seq, cell: &Cell, event_bytes: usize) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(&seq) else { return };
        if Arc::ptr_eq(&entry.cell, cell) && entry.bytes == ENTRY_BYTES {
            entry.bytes += event_bytes;
            state.bytes += event_bytes;
            state.shrink();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn shrink(&mut self) {
        while self.bytes > BYTES_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_bounded_and_forgets_the_oldest() {
        let recent = Recent::default();
        for n in 0..100 {
            let cell = recent.cell(Seq(n), 0).expect("a place");
            recent.filled(Seq(n), &cell, 1024 * 1024);
            recent.filled(Seq(n), &cell, 1024 * 1024);
        }
        let state = recent.lock();
        assert!(state.bytes <= BYTES_MAX);
        assert_eq!(state.entries.len(), 3);
        assert_eq!(state.order.len(), 3);
        assert_eq!(state.entries.values().map(|entry| entry.bytes).sum::<usize>(), state.bytes);
        assert!(state.entries.contains_key(&Seq(99)));
    }

    #[test]
    fn an_erasure_empties_it() {
        let recent = Recent::default();
        let before = recent.cell(Seq(1), 0).expect("a place");
        assert!(Arc::ptr_eq(&before, &recent.cell(Seq(1), 0).expect("a place")));
        let after = recent.cell(Seq(1), 1).expect("a place");
        assert!(!Arc::ptr_eq(&before, &after));
        // Whoever began before it may read what it took away.
        assert!(recent.cell(Seq(1), 0).is_none());
        recent.filled(Seq(1), &before, 1_000);
        assert_eq!(recent.lock().bytes, ENTRY_BYTES);
    }
}
