//! What must hold in every world, at every step and at its end.
//!
//! Owns the ledger of what was acknowledged, the limits of each target as an independent bucket,
//! and the rules of attempt times. Must never look into the core: it sees what goes in and out.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use postrider::engine::core::{AttemptEnd, NextAttempt, Settings};
use postrider::engine::submit::Accepted;
use postrider::logic::batch::{Batch, Next, Op};
use postrider::logic::quota::Rate;
use postrider::logic::retry::{WINDOW_MS, slot_offset_ms};
use postrider::model::attempt::Outcome;
use postrider::model::delivery::{Ending, FailedReason, Pending};
use postrider::model::ids::{Seq, WebhookId};
use postrider::model::job::{self, JobId};
use postrider::model::target::Origin;
use postrider::model::time::{SECOND_MS, Wall};

/// After how long an attempt that failed for a reason of ours is made again.
const AGAIN_MS: u64 = 5 * SECOND_MS;
/// An attempt that has waited for so long holds no slot of the process.
const SLOW_MS: u64 = 2 * SECOND_MS;
/// Slow attempts at once, in slots of the process.
const SLOW_SLOTS_TIMES: usize = 8;
/// Settlements that one turn of the loop may hand out.
const SETTLEMENTS_MAX: usize = 4_096;

/// An acknowledged delivery.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    pub event: Seq,
    pub webhook: WebhookId,
    pub at_ms: u64,
}

/// The oracle.
pub struct Oracle {
    planned: BTreeMap<Seq, Vec<Acked>>,
    pub acked: BTreeMap<Seq, Acked>,
    /// Deliveries with a 2xx that the process lived to see.
    pub delivered: BTreeSet<Seq>,
    /// Deliveries that were sent again, and the attempts that they had by then.
    again: BTreeMap<Seq, u32>,
    /// Deliveries of which it was said that no attempt will start.
    cancelled: BTreeSet<Seq>,
    /// When a settlement said that it ended.
    pub ended_ms: BTreeMap<Seq, u64>,
    /// Deliveries whose attempt has ended, and of which nothing was written since.
    unsettled: BTreeSet<Seq>,
    /// What each job may have done by what was handed to the store.
    done: BTreeMap<JobId, BTreeSet<u64>>,
    targets: BTreeMap<Origin, Bucket>,
    under_way: BTreeMap<Seq, (Origin, u64)>,
    /// The newest untried delivery that was started, for each lane.
    newest: BTreeMap<WebhookId, Seq>,
    settings: Settings,
    /// Interesting states that were reached.
    pub marks: BTreeSet<&'static str>,
    trace: DefaultHasher,
}

/// A token bucket in thousandths, and the attempts under way.
struct Bucket {
    rate: Rate,
    in_flight_max: usize,
    tokens: u64,
    at_ms: u64,
}

impl Oracle {
    pub fn new(settings: &Settings) -> Oracle {
        Oracle {
            planned: BTreeMap::new(),
            acked: BTreeMap::new(),
            delivered: BTreeSet::new(),
            again: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            ended_ms: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            done: BTreeMap::new(),
            targets: BTreeMap::new(),
            under_way: BTreeMap::new(),
            newest: BTreeMap::new(),
            settings: settings.clone(),
            marks: BTreeSet::new(),
            trace: DefaultHasher::new(),
        }
    }

    pub fn mark(&mut self, what: &'static str) {
        self.marks.insert(what);
    }

    /// A number that two equal histories share.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// A batch is handed to the store.
    pub fn committing(&mut self, batch: &Batch, now_ms: u64) {
        let mut settlements = 0;
        for op in &batch.ops {
            match op {
                // Numbers rise: what was planned behind it never came to be, and its process died.
                Op::PutEvent(event) => drop(self.planned.split_off(&event.id.seq)),
                Op::Enqueue(row) => {
                    let acked = Acked { event: row.event, webhook: row.key.webhook, at_ms: 0 };
                    self.planned.entry(row.key.seq).or_default().push(acked);
                }
                Op::Requeue(row) => {
                    let seq = row.key.seq;
                    let is_amended = batch
                        .ops
                        .iter()
                        .any(|op| matches!(op, Op::Settle { key, .. } if key.seq == seq));
                    if !is_amended {
                        self.again.insert(seq, row.attempts);
                        self.cancelled.remove(&seq);
                    }
                }
                Op::Settle { key, next, attempt, .. } => {
                    settlements += 1;
                    self.unsettled.remove(&key.seq);
                    match next {
                        Next::Finished(_) => drop(self.ended_ms.insert(key.seq, now_ms)),
                        Next::Pending(row) => {
                            // What failed for reasons of ours is no attempt, and waits for seconds.
                            let is_over = attempt.is_some() && row.key.due > row.deadline;
                            assert!(!is_over, "{row:?} goes on when its time is over");
                        }
                    }
                }
                Op::PutJob(job) => self.moved_on(job, batch),
                _ => {}
            }
        }
        assert!(settlements <= SETTLEMENTS_MAX, "{settlements} settlements in one turn");
    }

    /// How far a job is and what it did for that stand in one batch: neither is there alone.
    fn moved_on(&mut self, job: &job::Job, batch: &Batch) {
        let is_done =
            |op: &&Op| matches!(op, Op::Requeue(_) | Op::Cancel { .. } | Op::EnqueueLater(_));
        let now = batch.ops.iter().filter(is_done).count() as u64;
        // A batch that was refused is decided anew: it begins where that one did.
        let known = self.done.entry(job.id).or_insert_with(|| BTreeSet::from([0]));
        let before = job.done.checked_sub(now);
        assert!(before.is_some_and(|done| known.contains(&done)), "{now} done at once: {job:?}");
        known.insert(job.done);
    }

    /// Whoever cancelled a delivery was told that it is.
    pub fn cancelled(&mut self, seq: Seq) {
        self.cancelled.insert(seq);
    }

    /// A publisher got its 202.
    pub fn acknowledged(&mut self, accepted: &Accepted, at_ms: u64) {
        for event in &accepted.events {
            let mut found = 0;
            // Deliveries are numbered after their event and before the next one.
            for (seq, planned) in self.planned.range(event.id.seq..) {
                match planned.iter().find(|acked| acked.event == event.id.seq) {
                    Some(acked) => {
                        self.acked.insert(*seq, Acked { at_ms, ..*acked });
                        found += 1;
                    }
                    None => break,
                }
            }
            assert_eq!(found, event.deliveries, "deliveries that were promised but not written");
        }
    }

    /// An attempt is started.
    pub fn started(&mut self, now_ms: u64, steady: Wall, next: &NextAttempt, paused_ms: u64) {
        let row = &next.row;
        (now_ms, row.key.seq.0, row.attempts, row.slot).hash(&mut self.trace);
        self.on_the_table(steady, row, paused_ms);
        self.within_limits(now_ms, next);
        if row.attempts == 0 {
            let newest = self.newest.entry(row.key.webhook).or_default();
            if row.key.seq < *newest {
                self.marks.insert("the backlog drains beside new events");
            }
            *newest = (*newest).max(row.key.seq);
        } else if row.slot > row.attempts {
            self.marks.insert("slots that passed are made up for by one attempt");
        }
        if self.delivered.contains(&row.key.seq) {
            self.marks.insert("a crash repeats what was delivered");
        }
    }

    /// Attempt times follow the policy: not before it is due, never before its slot, never after
    /// its deadline, all moved by the time spent paused.
    fn on_the_table(&self, steady: Wall, row: &Pending, paused_ms: u64) {
        let seq = row.key.seq;
        let moved_ms = paused_ms.saturating_sub(row.paused_base_ms);
        // A time that no plan reaches was set by a clock that has been put right since.
        let reach_ms = if row.attempts == 0 { AGAIN_MS } else { WINDOW_MS };
        let is_void = row.key.due > steady.plus(reach_ms);
        assert!(row.key.due <= steady || is_void, "{steady:?}: {row:?} before it is due");
        assert!(steady <= row.deadline.plus(moved_ms), "{seq:?} after its deadline");
        let before = self.again.get(&seq).copied().unwrap_or(0);
        assert!(
            row.slot >= row.attempts.saturating_sub(before),
            "{seq:?}: each attempt uses up a slot"
        );
        assert!(!self.cancelled.contains(&seq), "{seq:?} is attempted, and was cancelled");
        let Some(first) = row.first_attempt else { return };
        assert!(row.deadline <= first.plus(WINDOW_MS), "{seq:?}: longer than 72 hours");
        // A pause moves the table; what fell due while paused is attempted at its end.
        // So does a clock that was put right.
        if paused_ms > 0 || first > steady {
            return;
        }
        let slot = first.plus(slot_offset_ms(row.slot));
        // The last slot is a second early, so that it is not too late.
        assert!(steady.plus(SECOND_MS) >= slot, "{steady:?}: {row:?} before its slot");
    }

    fn within_limits(&mut self, now_ms: u64, next: &NextAttempt) {
        let origin = next.webhook.target_url.origin();
        let settings = &self.settings;
        let bucket = self.targets.entry(origin.clone()).or_insert_with(|| {
            let own = settings.targets.get(origin).copied().unwrap_or_default();
            let rate = own.rate.unwrap_or(settings.dispatcher.target_rate);
            let in_flight_max =
                own.in_flight_max.unwrap_or(settings.dispatcher.target_in_flight_max) as usize;
            let tokens = u64::from(rate.burst.get()) * 1_000;
            Bucket { rate, in_flight_max, tokens, at_ms: now_ms }
        });
        let burst = u64::from(bucket.rate.burst.get()) * 1_000;
        let gained = (now_ms - bucket.at_ms) * u64::from(bucket.rate.per_second.get());
        bucket.tokens = bucket.tokens.saturating_add(gained).min(burst);
        bucket.at_ms = now_ms;
        assert!(bucket.tokens >= 1_000, "{origin:?} gets more than its rate at {now_ms} ms");
        bucket.tokens -= 1_000;
        let twice = self.under_way.insert(next.row.key.seq, (origin.clone(), now_ms));
        assert!(twice.is_none(), "{:?} is under way twice", next.row.key.seq);
        let at_once = self.under_way.values().filter(|(other, _)| other == origin).count();
        assert!(at_once <= bucket.in_flight_max, "{origin:?}: {at_once} at once");
        if at_once == bucket.in_flight_max {
            self.marks.insert("a target has all its slots in use");
        }
        let process_max = settings.dispatcher.in_flight_max as usize;
        // Those that wait for long have given their slots back.
        let young = |started: &u64| now_ms - started < SLOW_MS;
        let young = self.under_way.values().filter(|(_, started)| young(started)).count();
        assert!(young <= process_max, "{young} young ones at once in all");
        let all = self.under_way.len();
        assert!(all <= process_max * (1 + SLOW_SLOTS_TIMES), "{all} at once in all");
    }

    /// An attempt's end reaches the process.
    pub fn ended(&mut self, end: &AttemptEnd) {
        let seq = end.row.key.seq;
        self.under_way.remove(&seq);
        self.unsettled.insert(seq);
        if let Outcome::Status(200..=299) = end.response.outcome {
            self.delivered.insert(seq);
        }
    }

    /// The loop has turned: what came of an attempt is on its way to the disk. (What the store
    /// makes of it, is known to its mirror.)
    pub fn turned(&self) {
        assert!(self.unsettled.is_empty(), "attempts of {:?} left no trace", self.unsettled);
    }

    /// The process is gone.
    pub fn crashed(&mut self) {
        self.unsettled.clear();
        if !self.under_way.is_empty() {
            self.marks.insert("a crash with attempts under way");
        }
        self.under_way.clear();
    }

    /// How a delivery ended, as its finished row says: it must be true.
    pub fn check_ending(&mut self, seq: Seq, ending: Ending, age_ms: u64) {
        (seq.0, ending.words()).hash(&mut self.trace);
        match ending {
            Ending::Delivered => {
                assert!(self.delivered.contains(&seq), "{seq:?} was never answered with 2xx");
            }
            Ending::Failed(FailedReason::Expired) => {
                // The steady clock runs a tenth slower at most, and never faster for long.
                let least_ms = WINDOW_MS - WINDOW_MS / 10;
                assert!(age_ms >= least_ms, "{seq:?} expired after {age_ms} ms");
            }
            _ => {}
        }
        self.marks.insert(match ending.words() {
            (_, Some("expired")) => "expired",
            (_, Some("disabled")) => "disabled",
            (_, Some("inactive")) => "inactive",
            (_, Some("deleted")) => "deleted",
            ("delivered", _) => "delivered",
            _ => "ended otherwise",
        });
    }
}
