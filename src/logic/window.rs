//! A window over one queue of a lane: the next rows in memory, the rest on disk.
//!
//! Owns which rows are held, and up to which key they are complete. Must never hold more
//! rows than it is told, at most [`ROWS_MAX`], and never hand out a row twice.
//!
//! The invariant: every row of the queue whose key is not above `floor` is in the window, or was
//! taken from it. Rows above the floor are on disk alone, and a fetch continues there. A complete
//! window has no floor: all rows that there are, are held. A fetch reads a snapshot, so what
//! arrives while it is under way is kept aside and merged when it returns, and what is settled
//! meanwhile is remembered until then, because the snapshot may still show it. Each fetch has a
//! number: the answer to one that was given up (its lane was closed, its window cut) is known by it
//! and dropped.
//!
//! A window can be cut: from then on it covers its queue up to a mark, and another window, begun
//! with [`Window::after`], covers the rest.

use std::collections::{BTreeSet, VecDeque};

use crate::model::delivery::{Pending, QueueKey};
use crate::model::ids::Seq;

/// Most rows that a window holds.
pub const ROWS_MAX: usize = 4_096;
/// Rows that one fetch asks for.
pub const FETCH_ROWS_MAX: usize = 1_024;
/// Most rows kept aside during a fetch.
const ARRIVALS_MAX: usize = 4_096;

/// A window.
#[derive(Debug)]
pub struct Window {
    rows: VecDeque<Pending>,
    floor: Option<QueueKey>,
    complete: bool,
    /// Where it ends: rows above are another window's.
    mark: Option<QueueKey>,
    fetch: Option<Fetch>,
}

#[derive(Debug, Default)]
struct Fetch {
    number: u64,
    arrivals: Vec<Pending>,
    overflow: bool,
    /// Rows were pushed back to disk meanwhile, below where the fetch reads: it skips them.
    trimmed: bool,
    settled: BTreeSet<Seq>,
}

impl Window {
    /// A window over a queue that is known to be empty.
    #[must_use]
    pub fn empty() -> Window {
        Window { rows: VecDeque::new(), floor: None, complete: true, mark: None, fetch: None }
    }

    /// A window over a queue of which nothing is known.
    #[must_use]
    pub fn unread() -> Window {
        Window { complete: false, ..Window::empty() }
    }

    /// A window over what a queue holds after a mark, of which nothing is known.
    #[must_use]
    pub fn after(mark: QueueKey) -> Window {
        Window { floor: Some(mark), ..Window::unread() }
    }

    /// Lets it end at a mark, or where it ends already if that is later, and says where. What lies
    /// above is another window's; what lies between an old mark and the new one has to be read.
    pub fn cut(&mut self, mark: QueueKey) -> QueueKey {
        let mark = self.mark.map_or(mark, |old| old.max(mark));
        if let Some(old) = self.mark {
            self.floor =
                if self.complete { Some(old) } else { self.floor.map(|floor| floor.min(old)) };
            self.complete = false;
        }
        self.rows.retain(|row| row.key <= mark);
        self.fetch = None;
        self.mark = Some(mark);
        mark
    }

    /// Whether nothing is left of it, in memory or on disk.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.complete && self.rows.is_empty()
    }

    /// The first row.
    #[must_use]
    pub fn head(&self) -> Option<&Pending> {
        self.rows.front()
    }

    /// The first row that is not left out.
    #[must_use]
    pub fn first(&self, take: impl Fn(&Pending) -> bool) -> Option<&Pending> {
        self.rows.iter().find(|row| take(row))
    }

    /// Takes the first row.
    pub fn pop(&mut self) -> Option<Pending> {
        self.rows.pop_front()
    }

    /// Takes a row.
    pub fn take(&mut self, key: QueueKey) -> Option<Pending> {
        let at = self.rows.iter().position(|row| row.key == key)?;
        self.rows.remove(at)
    }

    /// How many rows it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many of the rows that it holds are before a key.
    #[must_use]
    pub fn before(&self, key: QueueKey) -> usize {
        self.rows.partition_point(|held| held.key < key)
    }

    /// Whether it holds all rows of the queue up to a key, but for those that were taken.
    #[must_use]
    pub fn is_complete_up_to(&self, key: QueueKey) -> bool {
        self.complete || self.floor.is_some_and(|floor| key <= floor)
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether the queue may have rows that are not held.
    #[must_use]
    pub fn has_more_on_disk(&self) -> bool {
        !self.complete
    }

    /// Whether it must be fetched to know its head; marks it as being fetched under `number`, and
    /// says after which key.
    pub fn wants_fetch(&mut self, number: u64) -> Option<Option<QueueKey>> {
        if !self.rows.is_empty() || self.complete || self.fetch.is_some() {
            return None;
        }
        self.fetch = Some(Fetch { number, ..Fetch::default() });
        Some(self.floor)
    }

    /// Whether it waits for the fetch of this number.
    #[must_use]
    pub fn awaits(&self, number: u64) -> bool {
        self.fetch.as_ref().is_some_and(|fetch| fetch.number == number)
    }

    /// Whether a row's place is covered by this window, and not by the one after its mark.
    #[must_use]
    pub fn covers(&self, key: QueueKey) -> bool {
        self.mark.is_none_or(|mark| key <= mark)
    }

    /// A row was committed to the queue.
    pub fn arrived(&mut self, row: Pending, rows_max: usize) {
        if self.complete || self.floor.is_some_and(|floor| row.key <= floor) {
            self.insert(row, rows_max);
            return;
        }
        if let Some(fetch) = &mut self.fetch {
            if fetch.arrivals.len() < ARRIVALS_MAX {
                fetch.arrivals.push(row);
            } else {
                fetch.overflow = true;
            }
        }
    }

    /// A row that was taken before has its settlement committed. What arrives of it from now on is
    /// another row; what a fetch that is under way shows of it may be the old one.
    pub fn settled(&mut self, seq: Seq) {
        if let Some(fetch) = &mut self.fetch {
            fetch.settled.insert(seq);
            fetch.arrivals.retain(|row| row.key.seq != seq);
        }
    }

    /// Rows that are not in the queue any more.
    pub fn forget(&mut self, seqs: &BTreeSet<Seq>) {
        self.rows.retain(|row| !seqs.contains(&row.key.seq));
        if let Some(fetch) = &mut self.fetch {
            fetch.settled.extend(seqs);
            fetch.arrivals.retain(|row| !seqs.contains(&row.key.seq));
        }
    }

    /// The rows of a fetch, in order; `more` if the queue goes on. `taken` tells rows that were
    /// handed out and are not settled yet.
    pub fn fetched(
        &mut self,
        mut rows: Vec<Pending>,
        mut more: bool,
        rows_max: usize,
        taken: impl Fn(Seq) -> bool,
    ) {
        let fetch = self.fetch.take().unwrap_or_default();
        if fetch.trimmed {
            return;
        }
        if let Some(mark) = self.mark
            && rows.last().is_some_and(|row| row.key > mark)
        {
            rows.retain(|row| row.key <= mark);
            more = false;
        }
        self.complete = !more && !fetch.overflow;
        if let Some(last) = rows.last() {
            self.floor = Some(self.floor.map_or(last.key, |floor| floor.max(last.key)));
        }
        let known = |seq: Seq| taken(seq) || fetch.settled.contains(&seq);
        for row in rows.into_iter().filter(|row| !known(row.key.seq)) {
            self.insert(row, rows_max);
        }
        for row in fetch.arrivals.into_iter().filter(|row| !taken(row.key.seq)) {
            self.arrived(row, rows_max);
        }
    }

    /// A fetch failed; it will be asked for again.
    pub fn fetch_failed(&mut self) {
        self.fetch = None;
    }

    fn insert(&mut self, row: Pending, rows_max: usize) {
        let at = self.rows.partition_point(|held| held.key < row.key);
        if self.rows.get(at).is_some_and(|held| held.key == row.key) {
            return;
        }
        self.rows.insert(at, row);
        while self.rows.len() > rows_max {
            self.rows.pop_back();
            self.complete = false;
            self.floor = self.rows.back().map(|row| row.key);
            if let Some(fetch) = &mut self.fetch {
                fetch.trimmed = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::ids::WebhookId;
    use crate::model::time::Wall;

    fn row(due: u64, seq: u64) -> Pending {
        let webhook = WebhookId::new(1).expect("an id");
        Pending {
            key: QueueKey { webhook, due: Wall(due), seq: Seq(seq) },
            project: crate::model::ids::ProjectId::new(1).expect("an id"),
            event: Seq(seq),
            accepted: Wall(due),
            attempts: 0,
            slot: 0,
            first_attempt: None,
            deadline: Wall(u64::MAX),
            paused_base_ms: 0,
        }
    }

    #[test]
    fn a_row_that_comes_back_during_a_fetch_is_held() {
        let mut window = Window::unread();
        let (old, again) = (row(1, 1), row(9, 1));
        assert_eq!(window.wants_fetch(7), Some(None));
        // It was handed out before; the fetch may have seen it as it stood then.
        window.settled(old.key.seq);
        window.arrived(again, ROWS);
        window.fetched(vec![old], false, ROWS, |_| false);
        assert_eq!(window.pop().map(|row| row.key), Some(again.key));
        assert!(window.is_exhausted());
    }

    #[test]
    fn what_is_forgotten_does_not_come_back_by_a_fetch() {
        let mut window = Window::unread();
        let gone = BTreeSet::from([Seq(1), Seq(2)]);
        window.wants_fetch(7);
        window.arrived(row(5, 2), ROWS);
        window.forget(&gone);
        window.fetched(vec![row(1, 1), row(4, 3)], false, ROWS, |_| false);
        assert_eq!(window.pop().map(|row| row.key.seq), Some(Seq(3)));
        assert!(window.is_exhausted());
    }

    /// Small, so that every edge is met often.
    const ROWS: usize = 3;
    const FETCH: usize = 2;

    proptest! {
        // Arrivals that push rows back to disk while a fetch is under way are rare.
        #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

        /// A disk, a window, commits that come late, and fetches whose snapshots are old: each row
        /// comes out exactly once, and nothing is left when the disk is empty.
        #[test]
        fn every_row_comes_out_once(
            backlog in 0..60u64,
            steps in proptest::collection::vec((0..8u8, 0..25u64), 0..300),
        ) {
            let mut disk: BTreeMap<QueueKey, Pending> = BTreeMap::new();
            for seq in 1..=backlog {
                let row = row(seq % 23, seq);
                disk.insert(row.key, row);
            }
            let mut window = Window::unread();
            let mut next_seq = 100_000;
            let mut snapshot: Option<(Vec<Pending>, bool)> = None;
            let mut taken: BTreeMap<Seq, Pending> = BTreeMap::new();
            let mut out: BTreeMap<Seq, u32> = BTreeMap::new();
            let read = |disk: &BTreeMap<QueueKey, Pending>, after: Option<QueueKey>| {
                let mut rows: Vec<Pending> = disk.values()
                    .filter(|row| after.is_none_or(|after| row.key > after))
                    .take(FETCH + 1).copied().collect();
                let more = rows.len() > FETCH;
                rows.truncate(FETCH);
                (rows, more)
            };
            let mut total = backlog;
            let drain = (0..3_000).map(|i| if i % 3 == 0 { (2, 0) } else { (3 + (i % 2) as u8, 0) });
            for (step, value) in steps.into_iter().chain(drain) {
                match step {
                    0 | 1 | 6 | 7 => {
                        next_seq += 1;
                        total += 1;
                        let row = row(value, next_seq);
                        disk.insert(row.key, row);
                        window.arrived(row, ROWS);
                    }
                    2 => if let Some(row) = window.pop() {
                        *out.entry(row.key.seq).or_default() += 1;
                        taken.insert(row.key.seq, row);
                    },
                    3 => if snapshot.is_none() && let Some(after) = window.wants_fetch(0) {
                        snapshot = Some(read(&disk, after));
                    },
                    4 => if let Some((rows, more)) = snapshot.take() {
                        window.fetched(rows, more, ROWS, |seq| taken.contains_key(&seq));
                    },
                    _ => if let Some((seq, row)) = taken.pop_first() {
                        disk.remove(&row.key);
                        window.settled(seq);
                    },
                }
                prop_assert!(window.len() <= ROWS);
            }
            prop_assert!(out.values().all(|times| *times == 1), "twice");
            prop_assert_eq!(out.len() as u64, total);
        }
    }
}
