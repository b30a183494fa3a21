//! The memory store that gets what the embedded one acknowledged, and their comparison.
//!
//! Owns what must be there after a start: every batch that was called back, whole; the one that
//! was under way when the process died, whole or not at all; nothing else. Must never be asked by
//! the process that is simulated.

use std::collections::{BTreeMap, BTreeSet};

use postrider::logic::batch::{Batch, Next, Op};
use postrider::model::delivery::{Ending, FailedReason, Finished, Pending, Queue};
use postrider::model::ids::Seq;
use postrider::model::time::Wall;
use postrider::store::memory::Memory;
use postrider::store::{CommitError, Records, Store};

const PAGE_ROWS: usize = 500;

/// Something that the process died in.
pub enum Hanging {
    Batch(Batch),
    Upkeep(usize),
}

/// What is known to be on disk.
#[derive(Default)]
pub struct Mirror {
    memory: Memory,
    /// Deliveries whose log was not compared since they ended, and all others.
    deliveries: BTreeSet<Seq>,
    compared: BTreeSet<Seq>,
    /// How attempts of deliveries ended whose row a step of upkeep had moved here before.
    late: BTreeMap<Seq, Finished>,
    pub hanging: Option<Hanging>,
    /// The journal was over its limit: logs may be gone, what is pending never.
    pub is_trimmed: bool,
    pub marks: BTreeSet<&'static str>,
}

impl Mirror {
    /// A batch was called back.
    pub fn called_back(&mut self, batch: Batch, result: &Result<(), CommitError>) {
        match result {
            Ok(()) => assert!(self.commit(batch).is_ok(), "written, but memory refuses it"),
            Err(CommitError::Refused(i)) => {
                let mine = self.commit(batch);
                assert!(
                    matches!(mine, Err(CommitError::Refused(n)) if n == *i),
                    "precondition {i} was refused, memory says {mine:?}"
                );
            }
            Err(CommitError::Full) => {
                self.marks.insert("a batch was refused for want of room");
            }
            // Only of the first one it is not known: later ones are not tried.
            Err(CommitError::Broken(_)) => drop(self.hanging.get_or_insert(Hanging::Batch(batch))),
            Err(CommitError::Closed) => {}
        }
    }

    /// A step of upkeep was called back.
    pub fn swept<T>(&mut self, rows_max: usize, result: &Result<T, CommitError>) {
        match result {
            Ok(_) => self.sweep(rows_max),
            Err(CommitError::Broken(_)) => {
                self.hanging.get_or_insert(Hanging::Upkeep(rows_max));
            }
            Err(_) => {}
        }
    }

    /// How a delivery ended, even if its log is gone.
    pub fn finished(&self, seq: Seq) -> Option<Finished> {
        self.memory.finished(seq).expect("reads")
    }

    /// Has the next comparison look at everything anew.
    pub fn forget_compared(&mut self) {
        self.deliveries.append(&mut self.compared);
    }

    /// Compares after a start, and settles what was in doubt.
    pub fn compare(&mut self, store: &dyn Store) {
        self.settle(store);
        let (memory, deliveries) = (&self.memory, &mut self.deliveries);
        let is_over = |seq: &Seq| memory.finished(*seq).expect("reads").is_some();
        let ended: Vec<Seq> = deliveries.iter().copied().filter(is_over).collect();
        for seq in ended {
            deliveries.remove(&seq);
            self.compared.insert(seq);
        }
    }

    fn settle(&mut self, store: &dyn Store) {
        let without = self.differs(store);
        let Some(hanging) = self.hanging.take() else {
            assert_eq!(without, None, "after a start");
            return;
        };
        if without.is_none() {
            self.marks.insert("what was under way is gone");
            return;
        }
        match hanging {
            Hanging::Batch(batch) => drop(self.commit(batch)),
            Hanging::Upkeep(rows_max) => self.sweep(rows_max),
        }
        let with = self.differs(store);
        assert_eq!(with, None, "after a start, with what was under way; without: {without:?}");
        self.marks.insert("what was under way is there");
    }

    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        let rows: Vec<Seq> = batch
            .ops
            .iter()
            .filter_map(|op| if let Op::Enqueue(row) = op { Some(row.key.seq) } else { None })
            .collect();
        let late: Vec<Finished> = batch
            .ops
            .iter()
            .filter_map(|op| match op {
                Op::Settle { next: Next::Finished(end), .. } => Some(*end),
                _ => None,
            })
            .filter(|end| self.finished(end.seq).is_some())
            .collect();
        let (sender, receiver) = std::sync::mpsc::channel();
        self.memory.commit(batch, Box::new(move |result| sender.send(result).expect("waits")));
        let result = receiver.try_recv().expect("memory calls back at once");
        if result.is_ok() {
            self.deliveries.extend(rows);
            self.late.extend(late.into_iter().map(|end| (end.seq, end)));
        }
        result
    }

    /// Nothing is pruned for its age here: what must be there is compared, not what may be gone.
    fn sweep(&mut self, rows_max: usize) {
        self.memory.upkeep(Wall(0), rows_max, Box::new(|_| {}));
    }

    /// The first difference.
    fn differs(&self, store: &dyn Store) -> Option<String> {
        let (mine, found) =
            (self.memory.load().expect("reads"), store.load().expect("the store reads"));
        if found.seq_max < mine.seq_max {
            return Some(format!("numbers go back from {:?} to {:?}", mine.seq_max, found.seq_max));
        }
        if (&mine.projects, &mine.webhooks, &mine.operator, &mine.jobs)
            != (&found.projects, &found.webhooks, &found.operator, &found.jobs)
        {
            return Some(format!("configured: {mine:?}, found: {found:?}"));
        }
        for queue in [Queue::Fresh, Queue::Retry] {
            let (mine, found) = (rows(&self.memory, queue), rows(store, queue));
            if mine != found {
                let only = |one: &[Pending], other: &[Pending]| {
                    one.iter().filter(|row| !other.contains(row)).copied().collect::<Vec<_>>()
                };
                let (missing, more) = (only(&mine, &found), only(&found, &mine));
                return Some(format!("{queue:?}: missing {missing:?}, too many {more:?}"));
            }
            for event in found.iter().map(|row| row.event).collect::<BTreeSet<Seq>>() {
                let mine = self.memory.event(event).expect("reads");
                match store.event(event) {
                    Ok(found) if found == mine => {}
                    other => return Some(format!("event {event:?}: {other:?}, not {mine:?}")),
                }
            }
        }
        self.deliveries.iter().find_map(|seq| self.log_differs(store, *seq))
    }

    fn log_differs(&self, store: &dyn Store, seq: Seq) -> Option<String> {
        let mine = self.memory.finished(seq).expect("reads");
        let found = store.finished(seq).expect("the store reads");
        // A closed lane's rows are moved in steps, which may be others here.
        let is_swept = |finished: Finished| {
            matches!(finished.ending, Ending::Cancelled(_) | Ending::Failed(FailedReason::Disabled))
        };
        let same = match (mine, found) {
            (Some(mine), None) => self.is_trimmed || is_swept(mine),
            (None, Some(found)) => is_swept(found),
            // An attempt that was under way ended before the step that would have moved its row:
            // here that step had come first.
            (Some(mine), Some(found)) if is_swept(mine) && self.late.get(&seq) == Some(&found) => {
                return None;
            }
            (mine, found) => mine == found,
        };
        if !same {
            return Some(format!("{seq:?} ended {found:?}, not {mine:?}"));
        }
        let mine = self.memory.attempts(seq).expect("reads");
        let found = store.attempts(seq).expect("the store reads");
        let same = if self.is_trimmed {
            found.iter().all(|attempt| mine.contains(attempt))
        } else {
            mine == found
        };
        (!same).then(|| format!("{seq:?}: attempts {found:?}, not {mine:?}"))
    }
}

/// All rows of a queue, in order.
fn rows(store: &dyn Store, queue: Queue) -> Vec<Pending> {
    let mut rows = Vec::new();
    for lane in store.lanes(queue).expect("reads") {
        let mut after = None;
        loop {
            let page = store.due(lane, queue, after, PAGE_ROWS).expect("reads");
            after = page.rows.last().map(|row| row.key);
            rows.extend(page.rows);
            if !page.more {
                break;
            }
        }
    }
    rows
}
