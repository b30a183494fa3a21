//! What jobs and cancellations ask of a store.
//!
//! Owns the steps of generated histories that are about them. Must never judge: the suite compares.

use std::sync::Arc;

use postrider::logic::batch::{Expect, Next, Op};
use postrider::model::delivery::{CancelledReason, Ending, Pending, Queue};
use postrider::model::ids::{ProjectId, Seq};
use postrider::model::job::{Asker, Job, JobId, JobKind, JobState, Selection};
use postrider::model::time::Wall;
use postrider::store::memory::Memory;
use postrider::store::{CommitError, Store};

use super::{History, attempt, commit, event, on_memory, pending, project, upkeep};

const REQUESTED: Ending = Ending::Cancelled(CancelledReason::Requested);

/// A delivery is cancelled, wherever it waits, or does not.
pub(super) fn cancel(history: &mut History, pick: usize, expects: bool) -> (Vec<Expect>, Vec<Op>) {
    if history.rows.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let row = history.rows.swap_remove(pick % history.rows.len());
    history.cancelled.push(row);
    let (seq, webhook) = (row.key.seq, row.key.webhook);
    let expects = if expects { vec![Expect::Waits { seq, webhook }] } else { Vec::new() };
    (expects, vec![Op::Cancel { seq, webhook, ending: REQUESTED, at: Wall(70) }])
}

/// What an attempt came to that was under way when its delivery was cancelled.
pub(super) fn amend(history: &mut History, pick: usize) -> (Vec<Expect>, Vec<Op>) {
    let Some(row) = history.cancelled.get(pick % history.cancelled.len().max(1)).copied() else {
        return (Vec::new(), Vec::new());
    };
    let row = Pending { attempts: history.attempts_of(row.key.seq), ..row };
    let next = Next::Finished(row.finished(Ending::Delivered, Wall(80)));
    let attempt = Some(attempt(row.attempts + 1));
    let settle = Op::Settle { queue: row.queue(), key: row.key, next, attempt };
    history.settled.push(settle.clone());
    (Vec::new(), vec![Op::Requeue(row), settle])
}

/// A job that begins, goes on, ends, or is forgotten; some with a write that goes to redb at once.
pub(super) fn job(id: u64, done: u64, direct: bool) -> Vec<Op> {
    let id = JobId { seq: Seq(id), salt: id };
    let project_id = ProjectId::new(1).expect("an id");
    let what = (JobKind::Resend, Selection::default());
    let mut job = Job::new(id, project_id, what, Asker::Project, Seq(9), Wall(1));
    job.done = done;
    let op = match done {
        0 => Op::RemoveJob(id),
        1 => Op::PutJob(Arc::new(job)),
        _ => {
            job.end(JobState::Done, Wall(2));
            Op::PutJob(Arc::new(job))
        }
    };
    if direct { vec![op, Op::PutProject(project(1))] } else { vec![op] }
}

#[test]
fn a_cancellation_finds_its_delivery_wherever_it_waits() {
    let stores = [Box::new(Memory::new()) as Box<dyn Store>, Box::new(on_memory())];
    for store in stores {
        let event = event(1, 1);
        let row = pending(1, 1, Seq(2), event.id.seq, 0);
        let (seq, webhook) = (row.key.seq, row.key.webhook);
        commit(&*store, vec![Op::PutEvent(event), Op::Enqueue(row)]);
        // It was moved since whoever cancels it looked at it.
        let moved = pending(1, 8, Seq(2), row.event, 1);
        let next = Next::Pending(moved);
        let attempt = Some(attempt(1));
        commit(&*store, vec![Op::Settle { queue: row.queue(), key: row.key, next, attempt }]);
        commit(&*store, vec![Op::Cancel { seq, webhook, ending: REQUESTED, at: Wall(9) }]);
        let end = store.finished(seq).expect("reads").expect("ended");
        assert_eq!((end.ending, end.attempts, end.finished), (REQUESTED, 1, Wall(9)));
        assert_eq!(store.attempts(seq).expect("reads").len(), 1);
        let page = store.due(webhook, Queue::Retry, None, 9).expect("reads");
        assert!(page.rows.is_empty());
        let batch = postrider::logic::batch::Batch {
            expect: vec![Expect::Waits { seq, webhook }],
            ops: vec![Op::PutProject(project(1))],
            durability: postrider::logic::batch::Durability::Now,
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        store.commit(batch, Box::new(move |result| sender.send(result).expect("waits")));
        let refused = receiver.recv().expect("answers");
        assert!(matches!(refused, Err(CommitError::Refused(0))), "{refused:?}");
    }
}

#[test]
fn an_event_that_is_gone_has_no_deliveries() {
    let stores = [Box::new(Memory::new()) as Box<dyn Store>, Box::new(on_memory())];
    for store in stores {
        let event = event(1, 0);
        let (seq, later) = (event.id.seq, pending(1, 9_000, Seq::at(Wall(9_000)), event.id.seq, 0));
        commit(&*store, vec![Op::PutEvent(event), Op::EnqueueLater(later)]);
        let webhook = later.key.webhook;
        assert!(store.delivery_of(seq, webhook).expect("reads").is_some());
        let (key, at) = (later.key, Wall(9_001));
        let ended = Op::Cancel { seq: key.seq, webhook, ending: REQUESTED, at };
        commit(&*store, vec![ended]);
        assert_eq!(store.deliveries_of(seq, 2).expect("reads").len(), 1);
        // The event is old enough to go, and its delivery is not.
        upkeep(&*store, 1_000, 10);
        assert!(store.event(seq).expect("reads").is_none());
        assert!(store.delivery(key.seq).expect("reads").is_some());
        assert!(store.deliveries_of(seq, 2).expect("reads").is_empty());
        assert!(store.delivery_of(seq, webhook).expect("reads").is_none());
    }
}
