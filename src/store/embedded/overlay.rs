//! What was written since the last checkpoint, in memory.
//!
//! Owns the effects of the journal's tail, as the changes that redb still has to see. Must never
//! do I/O, and never hold what cancels out: a delivery that is enqueued and delivered between two
//! checkpoints leaves nothing behind but its end.
//!
//! There are at most two: the active one, which takes writes, and a frozen one, which a checkpoint
//! is writing to redb. A reader asks the active one first, then the frozen one, then redb; each
//! answers for itself or says that it does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::journal::Place;
use super::record::EventKept;
use super::tables::{QueueRow, queue_row};
use crate::logic::batch::{IdempotencyRecord, Next, Op};
use crate::model::delivery::{Finished, Pending, Queue, Status};
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::job::{Job, JobId};
use crate::model::time::Wall;

/// A pending delivery, and where its last attempt is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The delivery.
    pub pending: Pending,
    /// Its last attempt.
    pub attempt: Option<Place>,
}

/// A delivery that ended, and where its last attempt is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How.
    pub finished: Finished,
    /// Its last attempt.
    pub attempt: Option<Place>,
}

/// What a write takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// A settlement: a row.
    Row(Row),
    /// A requeue: an end.
    End(End),
}

impl Before {
    /// Where the last attempt is kept.
    pub fn attempt(&self) -> Option<Place> {
        match self {
            Before::Row(row) => row.attempt,
            Before::End(end) => end.attempt,
        }
    }
}

/// What is known of a delivery's end.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// An older layer knows that it ended so.
    pub was: Option<(ProjectId, WebhookId, Status)>,
    /// The end; `None`: it was taken back.
    pub now: Option<End>,
}

/// What is known of a row.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    /// It is there, and nothing older is.
    New(Row),
    /// It is there, and may replace an older one.
    Put(Row),
    /// It is not there any more.
    Gone,
}

impl Slot {
    /// The row, if it is there.
    pub fn row(&self) -> Option<Row> {
        match self {
            Slot::New(row) | Slot::Put(row) => Some(*row),
            Slot::Gone => None,
        }
    }
}

/// Where a delivery waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// In no older layer it waits.
    pub is_new: bool,
    /// The queue and its place there; `None`: it does not wait any more.
    pub at: Option<(Queue, QueueRow)>,
}

/// What a segment of the journal got.
#[derive(Clone, Copy, Debug, Default)]
pub struct Touched {
    /// The latest instant that anything in it speaks of.
    pub until: Wall,
}

/// Changes since a checkpoint.
#[derive(Debug, Default)]
pub struct Overlay {
    queues: [BTreeMap<QueueRow, Slot>; 2],
    /// Where deliveries wait.
    pub waits: BTreeMap<u64, Waits>,
    /// Where events are kept.
    pub events: BTreeMap<u64, EventKept>,
    /// How many pending deliveries each event has more, or fewer.
    pub refs: BTreeMap<u64, i64>,
    /// Deliveries that ended, and those of which that was taken back.
    pub finished: BTreeMap<u64, Ended>,
    /// Deliveries that came later than their event, by event.
    pub later: BTreeSet<(u64, u64)>,
    /// Idempotency keys.
    pub idempotency: BTreeMap<(u32, u128), Arc<IdempotencyRecord>>,
    /// Jobs; `None`: it is forgotten.
    pub jobs: BTreeMap<JobId, Option<Arc<Job>>>,
    /// Segments that got something.
    pub segments: BTreeMap<u64, Touched>,
    /// The highest number that an event or a delivery got.
    pub seq_max: u64,
    changes: usize,
}

impl Overlay {
    /// How many changes it took, those that cancel out included.
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// How many entries it holds: about its size, and the work of writing it to redb.
    pub fn entries(&self) -> usize {
        self.queues.iter().map(BTreeMap::len).sum::<usize>()
            + self.waits.len()
            + self.events.len()
            + self.refs.len()
            + self.finished.len()
            + self.later.len()
            + self.idempotency.len()
            + self.jobs.len()
            + self.segments.len()
    }

    /// What is known of a row; `None`: nothing.
    pub fn slot(&self, queue: Queue, key: QueueRow) -> Option<&Slot> {
        self.queues[queue as usize].get(&key)
    }

    /// What is known of the rows of a range, in order.
    pub fn slots(
        &self,
        queue: Queue,
        range: RangeInclusive<QueueRow>,
    ) -> impl Iterator<Item = (QueueRow, &Slot)> {
        self.queues[queue as usize].range(range).map(|(key, slot)| (*key, slot))
    }

    /// All that is known of a queue's rows, in order.
    pub fn queue(&self, queue: Queue) -> &BTreeMap<QueueRow, Slot> {
        &self.queues[queue as usize]
    }

    /// Whether it says where a delivery stands.
    pub fn knows(&self, seq: u64) -> bool {
        self.waits.contains_key(&seq) || self.finished.contains_key(&seq)
    }

    /// Takes a write. `place` is where it stands in the journal; `before` is what a settlement or
    /// a requeue takes away: without it, they do nothing.
    pub fn apply(&mut self, op: &Op, place: Place, before: Option<Before>) {
        self.changes += 1;
        match op {
            Op::PutEvent(event) => {
                let seq = event.id.seq;
                self.events.insert(seq.0, EventKept { place, project: event.project });
                self.seq_max = self.seq_max.max(seq.0);
                self.touch(place, seq.wall());
            }
            Op::Enqueue(pending) | Op::EnqueueLater(pending) => {
                if matches!(op, Op::EnqueueLater(_)) {
                    self.later.insert((pending.event.0, pending.key.seq.0));
                }
                let row = Row { pending: *pending, attempt: None };
                self.put(row, true);
                self.count(pending.event, 1);
                self.seq_max = self.seq_max.max(pending.key.seq.0);
            }
            Op::Settle { queue, key, next, attempt } => {
                let Some(Before::Row(before)) = before else { return };
                self.take(*queue, queue_row(*key));
                if let Some(attempt) = attempt {
                    // It is kept as long as its delivery, even if the clock was wrong that day.
                    self.touch(place, attempt.started.max(key.seq.wall()));
                }
                let attempt = attempt.as_ref().map(|_| place).or(before.attempt);
                match next {
                    Next::Finished(finished) => {
                        self.forget(key.seq);
                        self.count(finished.event, -1);
                        let end = End { finished: *finished, attempt };
                        let known = Ended { was: None, now: None };
                        self.finished.entry(key.seq.0).or_insert(known).now = Some(end);
                    }
                    Next::Pending(pending) => self.put(Row { pending: *pending, attempt }, false),
                }
            }
            Op::Requeue(pending) => {
                let Some(Before::End(before)) = before else { return };
                let seq = pending.key.seq.0;
                let Finished { project, webhook, ending, .. } = before.finished;
                let was = (project, webhook, ending.status());
                let known = Ended { was: Some(was), now: None };
                let ended = self.finished.entry(seq).or_insert(known);
                ended.now = None;
                if ended.was.is_none() {
                    self.finished.remove(&seq);
                }
                self.put(Row { pending: *pending, attempt: before.attempt }, true);
                self.count(pending.event, 1);
            }
            Op::PutIdempotency(record) => {
                let key = (record.project.get(), record.key);
                self.idempotency.insert(key, Arc::new(record.clone()));
            }
            Op::PutJob(job) => {
                self.jobs.insert(job.id, Some(Arc::clone(job)));
            }
            Op::RemoveJob(id) => {
                self.jobs.insert(*id, None);
            }
            // Stands here as a settlement.
            Op::Cancel { .. }
            // These go to redb at once.
            | Op::PutProject(_)
            | Op::PutWebhook(_)
            | Op::RemoveWebhook(_)
            | Op::CloseLane { .. }
            | Op::RemoveProject(_)
            | Op::EraseEvent { .. }
            | Op::PutOperator(_) => {}
        }
    }

    fn put(&mut self, row: Row, is_new: bool) {
        let (queue, key) = (row.pending.queue(), queue_row(row.pending.key));
        let waits = self.waits.entry(key.2).or_insert(Waits { is_new, at: None });
        waits.at = Some((queue, key));
        let slots = &mut self.queues[queue as usize];
        // An older layer may know a row of this key that went.
        let is_first = matches!(slots.get(&key), None | Some(Slot::New(_)));
        let is_new = waits.is_new && is_first;
        slots.insert(key, if is_new { Slot::New(row) } else { Slot::Put(row) });
    }

    fn forget(&mut self, seq: Seq) {
        let waits = self.waits.entry(seq.0).or_insert(Waits { is_new: false, at: None });
        waits.at = None;
        if waits.is_new {
            self.waits.remove(&seq.0);
        }
    }

    fn take(&mut self, queue: Queue, key: QueueRow) {
        let slots = &mut self.queues[queue as usize];
        if let Some(Slot::New(_)) = slots.get(&key) {
            slots.remove(&key);
        } else {
            slots.insert(key, Slot::Gone);
        }
    }

    fn count(&mut self, event: Seq, change: i64) {
        let count = self.refs.entry(event.0).or_default();
        *count += change;
        if *count == 0 {
            self.refs.remove(&event.0);
        }
    }

    fn touch(&mut self, place: Place, at: Wall) {
        let touched = self.segments.entry(place.number).or_default();
        touched.until = touched.until.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::delivery::{Ending, QueueKey};

    const PLACE: Place = Place { number: 1, offset: 0, length: 0, crc: 0 };

    fn pending(attempts: u32) -> Pending {
        let webhook = WebhookId::new(1).expect("an id");
        Pending {
            key: QueueKey { webhook, due: Wall(u64::from(attempts)), seq: Seq(7) },
            project: ProjectId::new(1).expect("an id"),
            event: Seq(6),
            accepted: Wall(0),
            attempts,
            slot: 0,
            first_attempt: None,
            deadline: Wall(99),
            paused_base_ms: 0,
        }
    }

    fn settle(row: Pending, next: Next) -> Op {
        Op::Settle { queue: row.queue(), key: row.key, next, attempt: None }
    }

    #[test]
    fn what_comes_and_goes_leaves_its_end_alone() {
        let mut overlay = Overlay::default();
        let (first, second) = (pending(0), pending(1));
        let row = |pending| Some(Before::Row(Row { pending, attempt: None }));
        overlay.apply(&Op::Enqueue(first), PLACE, None);
        overlay.apply(&settle(first, Next::Pending(second)), PLACE, row(first));
        assert!(overlay.queue(Queue::Fresh).is_empty());
        assert_eq!(overlay.refs.get(&6), Some(&1));
        let end = Next::Finished(second.finished(Ending::Delivered, Wall(5)));
        overlay.apply(&settle(second, end), PLACE, row(second));
        assert!(overlay.refs.is_empty());
        assert_eq!(overlay.finished.len(), 1);
        assert!(overlay.queue(Queue::Retry).is_empty());
        assert!(overlay.waits.is_empty());
        // What is over is no weight, but it was something.
        assert_eq!((overlay.entries(), overlay.changes()), (1, 3));
    }

    #[test]
    fn the_going_of_an_older_row_is_remembered() {
        let mut overlay = Overlay::default();
        let row = pending(0);
        let end = Next::Finished(row.finished(Ending::Delivered, Wall(5)));
        let before = Some(Before::Row(Row { pending: row, attempt: None }));
        overlay.apply(&settle(row, end), PLACE, before);
        assert!(matches!(overlay.slot(Queue::Fresh, (1, 0, 7)), Some(Slot::Gone)));
        assert_eq!(overlay.waits.get(&7).map(|waits| waits.at), Some(None));
        assert_eq!(overlay.refs.get(&6), Some(&-1));
        // Without its row, a settlement is nothing.
        overlay.apply(&settle(pending(1), end), PLACE, None);
        assert_eq!(overlay.refs.get(&6), Some(&-1));
    }
}
