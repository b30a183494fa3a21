//! The dispatcher: which delivery may be attempted now, and what has to be waited for.
//!
//! Owns lanes (one per webhook), targets (one per origin), their limits, breakers and turns. Must
//! never do I/O, read a clock or draw chance: it is told the time with every call and was given a
//! seed. Must never lose a row: what it does not hold is on disk, and it knows up to where.
//!
//! # Contract
//!
//! Call [`Dispatcher::handle`] with one input, then drain [`Dispatcher::poll`] until it returns
//! `None`, then wait for the next input or for [`Dispatcher::next_wake`], whichever is first.
//! Spurious calls are harmless.
//!
//! # Who is next
//!
//! Targets that have a lane ready stand in a ring; within a target, ready lanes do. A turn is one
//! attempt, so a lane with a million rows and a lane with one alternate. Which of its rows a lane
//! takes next is told in `lane`. A turn needs, in this order: a free slot of the process,
//! a free slot of the target, a permit of the lane's own rate, a permit of the target's rate. A
//! lane that got its own permit keeps it in hand until the target's is given, since a permit
//! can't be handed back. Targets without a recent success share a quarter of the slots; attempts
//! that wait for long give theirs back (`slow`).

mod cancel;
mod health;
mod lane;
mod settlement;
mod slow;
pub mod standing;
mod target;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::lane::{Lane, UnderWay, own_quota};
use self::settlement::finish;
use self::slow::Young;
use self::standing::TargetHealth;
use self::target::{Target, TargetId, learn};
use super::batch::{Next, Op};
use super::breaker::{Breaker, LANE_FAILURES_MAX};
use super::quota::Rate;
use super::verdict::{Verdict, judge};
use super::wheel::Wheel;
use super::window;
use crate::model::attempt::{Outcome, Phases, RequestMark, ResponseKept};
use crate::model::delivery::{Ending, Pending, Queue, QueueKey};
use crate::model::ids::{Seq, WebhookId, mix};
use crate::model::target::Origin;
use crate::model::time::{MINUTE_MS, Mono, Now, SECOND_MS, Wall};
use crate::model::webhook::Limits;

/// A target counts as healthy for this long after a success, in milliseconds.
const RECENT_SUCCESS_MS: u64 = 5 * MINUTE_MS;
/// A delivery whose attempt failed for a reason of ours is tried again after this long.
const AGAIN_MS: u64 = 5 * SECOND_MS;
/// A fetch that failed is asked for again after this long.
const FETCH_AGAIN_MS: u64 = SECOND_MS;
/// A target that no webhook points to is remembered for this long.
const FORGET_TARGET_MS: u64 = MINUTE_MS;
/// Rows that all windows together aim to hold.
const ROWS_HELD_GOAL: usize = 65_536;
/// Rows that a window may hold however many lanes there are.
const ROWS_HELD_MIN: usize = 16;

/// The limits of the process and the defaults of targets.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Attempts under way at once, in all.
    pub in_flight_max: u32,
    /// A target's rate, unless it has its own.
    pub target_rate: Rate,
    /// A target's attempts under way at once, unless it has its own.
    pub target_in_flight_max: u32,
}

/// The limits that an operator sets for one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetLimits {
    /// Attempts a second, and at once.
    pub rate: Option<Rate>,
    /// Attempts under way at once.
    pub in_flight_max: Option<u32>,
}

/// A lane as its webhook wants it.
#[derive(Clone, Debug)]
pub struct LaneSpec {
    /// The webhook, and the lane.
    pub webhook: WebhookId,
    /// Where it delivers to.
    pub origin: Origin,
    /// The webhook's own limits.
    pub limits: Limits,
    /// Whether attempts may start.
    pub runs: bool,
    /// All time that the webhook has spent paused, in milliseconds.
    pub paused_total_ms: u64,
}

/// What the dispatcher is told.
#[derive(Debug)]
pub enum Input {
    /// Time has passed.
    Time,
    /// A webhook was created or changed.
    Lane(LaneSpec),
    /// After a start: the lanes that have rows in a queue.
    Recovered(Queue, Vec<WebhookId>),
    /// Every pending delivery of the lane up to this number has ended so.
    LaneClosed {
        /// The lane.
        webhook: WebhookId,
        /// The last delivery that it covers.
        upto: Seq,
        /// How they ended.
        ending: Ending,
    },
    /// The webhook is gone.
    LaneRemoved(WebhookId),
    /// Rows were committed to their queues.
    Arrived(Vec<Pending>),
    /// Rows that were asked for; `None` if they could not be read.
    Fetched {
        /// The number of the fetch.
        number: u64,
        /// The lane.
        webhook: WebhookId,
        /// The rows in order, and whether the queue goes on after them.
        rows: Option<(Vec<Pending>, bool)>,
    },
    /// An attempt ended.
    Ended(Ended),
    /// A delivery can't be attempted at all, and ends so: its event is damaged or erased.
    Unsendable(Pending, Ending),
    /// Settlements were committed.
    Settled(Vec<Settled>),
    /// Retries of the lane that are held in memory are to be due now.
    Hasten(WebhookId),
    /// The cancellation of deliveries is being written: they end so.
    Cancelling(Vec<(WebhookId, Seq)>, Ending),
    /// It is on disk, or was refused.
    Cancelled(Vec<(WebhookId, Seq)>, bool),
    /// The limits of a target from now on.
    Target(Origin, TargetLimits),
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The delivery, as it was started.
    pub row: Pending,
    /// Whether it was started as a probe of its lane, of its target.
    pub probe: Probe,
    /// When it was started.
    pub started: Wall,
    /// What came of it.
    pub outcome: Outcome,
    /// The target asked not to be called before.
    pub retry_after: Option<Wall>,
    /// The address that was dialled.
    pub address: Option<std::net::SocketAddr>,
    /// How long its phases took.
    pub phases: Phases,
    /// Whether its event is a notice: those tell nothing of their own troubles.
    pub is_notice: bool,
    /// The revision of the webhook by which it was made.
    pub revision: u64,
    /// What shows its request again.
    pub request: Option<RequestMark>,
    /// What is kept of the answer.
    pub response: Option<Box<ResponseKept>>,
}

/// Whose probe an attempt is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Of its lane.
    pub lane: bool,
    /// Of its target.
    pub target: bool,
}

/// A settlement that is on disk.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// The queue in which the delivery stood.
    pub queue: Queue,
    /// Its place there.
    pub key: QueueKey,
    /// Where it stands now, if it still waits.
    pub again: Option<Pending>,
}

/// What the dispatcher wants done.
#[derive(Debug)]
pub enum Output {
    /// Read rows of a lane's queue.
    Fetch {
        /// To be told with its answer.
        number: u64,
        /// The lane.
        webhook: WebhookId,
        /// The queue.
        queue: Queue,
        /// Those after this key.
        after: Option<QueueKey>,
        /// At most so many.
        rows: usize,
    },
    /// Make an attempt.
    Start {
        /// The delivery.
        row: Pending,
        /// Whose probe it is.
        probe: Probe,
    },
    /// Write a settlement; durability `Soon`.
    Settle(Box<Op>),
    /// The target answered 410: disable the webhook and close its lane.
    Gone(WebhookId),
    /// A target, or one lane's answers, began to fail or ceased to.
    Turned {
        /// The target.
        origin: Origin,
        /// The lane, if it is its own breaker.
        webhook: Option<WebhookId>,
        /// What happened.
        turn: Turn,
    },
}

/// What became of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It opened: this was the last straw.
    Failing(Outcome),
    /// It closed.
    Recovered,
    /// What it knew does not matter any more.
    Forgotten,
}

/// What wakes by the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Lane(WebhookId),
    Target(TargetId),
}

/// When the dispatcher wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// At this wall time, if any.
    pub wall: Option<Wall>,
    /// At this monotonic time, if any.
    pub mono: Option<Mono>,
}

/// Figures about the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Attempts under way.
    pub in_flight: u32,
    /// Lanes known.
    pub lanes: usize,
    /// Targets known.
    pub targets: usize,
    /// Rows held in memory.
    pub rows_held: usize,
    /// When the oldest delivery that could be attempted became due, where that was asked for.
    pub oldest_ready: Option<Wall>,
}

/// Figures about one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFigures {
    /// Attempts a second, and at once.
    pub rate: Rate,
    /// Attempts under way at once.
    pub in_flight_max: u32,
    /// Attempts under way.
    pub in_flight: u32,
    /// Whether its breaker is open: its connections failed, and only probes are made.
    pub is_open: bool,
    /// How it does.
    pub health: TargetHealth,
    /// Attempts under way of each of its lanes that has any.
    pub lanes_in_flight: Vec<(WebhookId, u32)>,
}

/// The dispatcher.
#[derive(Debug)]
pub struct Dispatcher {
    settings: Settings,
    own_limits: BTreeMap<Origin, TargetLimits>,
    lanes: BTreeMap<WebhookId, Lane>,
    targets: BTreeMap<TargetId, Target>,
    target_ids: BTreeMap<Origin, TargetId>,
    next_target: u32,
    ring: VecDeque<TargetId>,
    crowded: VecDeque<TargetId>,
    due: Wheel<WebhookId>,
    timers: Wheel<Timer>,
    in_flight: u32,
    in_flight_unhealthy: u32,
    /// Under way for so long that they gave their slot back.
    in_flight_slow: u32,
    /// Attempts that may become slow, in the order of their start.
    young: VecDeque<Young>,
    /// Started while its target was not healthy, so that the quarter is counted back right.
    unhealthy: BTreeSet<Seq>,
    next_fetch: u64,
    expire_from: Mono,
    /// The wall time of the last input.
    shown: Wall,
    outputs: VecDeque<Output>,
    chance: u64,
}

impl Dispatcher {
    /// An idle dispatcher. Equal seeds and inputs give equal outputs.
    #[must_use]
    pub fn new(
        settings: Settings,
        own_limits: BTreeMap<Origin, TargetLimits>,
        seed: u64,
    ) -> Dispatcher {
        Dispatcher {
            settings,
            own_limits,
            lanes: BTreeMap::new(),
            targets: BTreeMap::new(),
            target_ids: BTreeMap::new(),
            next_target: 0,
            ring: VecDeque::new(),
            crowded: VecDeque::new(),
            due: Wheel::new(),
            timers: Wheel::new(),
            in_flight: 0,
            in_flight_unhealthy: 0,
            in_flight_slow: 0,
            young: VecDeque::new(),
            unhealthy: BTreeSet::new(),
            next_fetch: 0,
            expire_from: Mono(0),
            shown: Wall(0),
            outputs: VecDeque::new(),
            chance: seed,
        }
    }

    /// Starts no attempt from now on. What is under way ends as it ends.
    pub fn hold(&mut self) {
        self.settings.in_flight_max = 0;
    }

    /// Lets no delivery expire before this instant.
    pub fn expire_from(&mut self, at: Mono) {
        self.expire_from = at;
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: Input) {
        if now.wall < std::mem::replace(&mut self.shown, now.wall) {
            self.put_right(now);
        }
        match input {
            Input::Time => {}
            Input::Lane(spec) => self.set_lane(now, spec),
            Input::Recovered(queue, webhooks) => self.recovered(now, queue, webhooks),
            Input::LaneClosed { webhook, upto, ending } => self.close(now, webhook, upto, ending),
            Input::LaneRemoved(webhook) => self.remove(now, webhook),
            Input::Arrived(rows) => self.arrived(now, rows),
            Input::Fetched { number, webhook, rows } => self.fetched(now, number, webhook, rows),
            Input::Ended(ended) => self.ended(now, ended),
            Input::Unsendable(row, ending) => self.unsendable(now, row, ending),
            Input::Target(origin, limits) => self.set_target(now, origin, limits),
            Input::Settled(settled) => self.settled(now, settled),
            Input::Hasten(webhook) => self.hasten(now, webhook),
            Input::Cancelling(deliveries, ending) => self.cancelling(&deliveries, ending),
            Input::Cancelled(deliveries, done) => self.cancelled(now, deliveries, done),
        }
        self.age(now);
        self.wake_due(now);
        self.turns(now);
    }

    /// What is to be done next, if anything.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call again if nothing else happens.
    #[must_use]
    pub fn next_wake(&self) -> Wake {
        let timer = self.timers.next_ms().map(Mono);
        let mono = [timer, self.next_slow()].into_iter().flatten().min();
        Wake { wall: self.due.next_ms().map(Wall), mono }
    }

    /// Figures about the queue.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            in_flight: self.in_flight + self.in_flight_slow,
            lanes: self.lanes.len(),
            targets: self.targets.len(),
            rows_held: self.lanes.values().map(Lane::rows_held).sum(),
            oldest_ready: None,
        }
    }

    /// When the oldest delivery that could be attempted now became due, as far as it is in memory.
    #[must_use]
    pub fn oldest_ready(&self, now: Now) -> Option<Wall> {
        let running = self.lanes.values().filter(|lane| lane.runs);
        let heads = running.flat_map(Lane::first_rows);
        heads.map(|row| row.key.due).filter(|due| *due <= now.wall).min()
    }

    /// Figures about one target; nothing is under way to one that is not known.
    #[must_use]
    pub fn target_figures(&self, now: Now, origin: &Origin) -> TargetFigures {
        let mut figures = self.target_limits(origin);
        let target = self.target_ids.get(origin).and_then(|id| self.targets.get(id));
        let Some(target) = target else { return figures };
        let in_flight = |webhook: &WebhookId| {
            let in_flight = self.lanes.get(webhook).map_or(0, |lane| lane.in_flight);
            (in_flight > 0).then_some((*webhook, in_flight))
        };
        figures.in_flight = target.in_flight;
        figures.is_open = target.breaker.is_open();
        figures.health = self.health(now, target);
        figures.lanes_in_flight = target.lanes.iter().filter_map(in_flight).collect();
        figures
    }

    fn set_lane(&mut self, now: Now, spec: LaneSpec) {
        let target = self.target_of(now, &spec.origin);
        match self.lanes.get_mut(&spec.webhook) {
            Some(lane) => {
                let moved = std::mem::replace(&mut lane.target, target);
                if moved != target {
                    // Another place: what the old one said no longer holds.
                    lane.parked_until = None;
                    lane.breaker = Breaker::new(LANE_FAILURES_MAX);
                    let was_failing = lane.health.reset();
                    lane.queued = false;
                    self.forgotten(moved, spec.webhook, was_failing);
                    self.leave(now, moved, spec.webhook);
                    self.join(target, spec.webhook);
                }
            }
            None => {
                self.lanes.insert(spec.webhook, Lane::new(target));
                self.join(target, spec.webhook);
            }
        }
        let Some(lane) = self.lanes.get_mut(&spec.webhook) else { return };
        if lane.limits != spec.limits {
            lane.quota = own_quota(spec.limits, now.mono);
            lane.limits = spec.limits;
            lane.permit = false;
        }
        lane.runs = spec.runs;
        lane.paused_total_ms = spec.paused_total_ms;
        lane.removed = false;
        self.touch(now, spec.webhook);
    }

    fn recovered(&mut self, now: Now, queue: Queue, webhooks: Vec<WebhookId>) {
        // What was sent before the start is unknown: a daemon that restarts again and again must
        // not send a burst each time.
        for target in self.targets.values_mut() {
            target.quota.drain(now.mono);
        }
        for quota in self.lanes.values_mut().filter_map(|lane| lane.quota.as_mut()) {
            quota.drain(now.mono);
        }
        for webhook in webhooks {
            if let Some(lane) = self.lanes.get_mut(&webhook) {
                lane.recovered(queue);
                self.touch(now, webhook);
            }
        }
    }

    fn close(&mut self, now: Now, webhook: WebhookId, upto: Seq, ending: Ending) {
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        lane.closed(upto, ending);
        let (target, was_failing) = (lane.target, lane.health.reset());
        self.forgotten(target, webhook, was_failing);
        self.touch(now, webhook);
    }

    fn remove(&mut self, now: Now, webhook: WebhookId) {
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        lane.removed = true;
        lane.runs = false;
        self.touch(now, webhook);
        self.forget_if_done(now, webhook);
    }

    fn arrived(&mut self, now: Now, rows: Vec<Pending>) {
        let rows_max = self.rows_max();
        for row in rows {
            let webhook = row.key.webhook;
            if let Some(lane) = self.lanes.get_mut(&webhook) {
                lane.arrived(row, rows_max);
                self.touch(now, webhook);
            }
        }
    }

    /// Rows that one window may hold: fewer where there are many lanes, so that memory is bounded.
    fn rows_max(&self) -> usize {
        (ROWS_HELD_GOAL / self.lanes.len().max(1)).clamp(ROWS_HELD_MIN, window::ROWS_MAX)
    }

    fn fetched(
        &mut self,
        now: Now,
        number: u64,
        webhook: WebhookId,
        rows: Option<(Vec<Pending>, bool)>,
    ) {
        let rows_max = self.rows_max();
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        let is_read = rows.is_some();
        if !lane.fetched(number, rows, rows_max) {
            return;
        }
        if is_read {
            self.touch(now, webhook);
        } else {
            self.timers.set(Timer::Lane(webhook), now.mono.plus(FETCH_AGAIN_MS).0);
        }
    }

    fn ended(&mut self, now: Now, ended: Ended) {
        let verdict = judge(ended.outcome);
        let webhook = ended.row.key.webhook;
        let Some(UnderWay { target: id, started, .. }) = self.release(&ended.row) else { return };
        if let (Some(lane), Some(target)) =
            (self.lanes.get_mut(&webhook), self.targets.get_mut(&id))
        {
            learn(now, lane, target, &ended, verdict);
            if verdict == Verdict::Gone {
                lane.runs = false;
            }
            let turns = [
                (None, target.health.turned(target.breaker.is_open())),
                (Some(webhook), lane.health.turned(lane.breaker.is_open())),
            ];
            for (webhook, turned) in turns {
                let turn = match turned {
                    None => continue,
                    Some(true) => Turn::Failing(ended.outcome),
                    Some(false) => Turn::Recovered,
                };
                let origin = target.origin.clone();
                self.outputs.push_back(Output::Turned { origin, webhook, turn });
            }
        }
        let row = ended.row;
        let op = self.settlement(now, ended, started, verdict);
        self.settle_attempt(now, &row, op);
        if verdict == Verdict::Gone {
            self.outputs.push_back(Output::Gone(webhook));
        }
        self.resume(now, id, webhook);
    }

    fn unsendable(&mut self, now: Now, row: Pending, ending: Ending) {
        let webhook = row.key.webhook;
        let Some(UnderWay { target: id, .. }) = self.release(&row) else { return };
        if let Some(lane) = self.lanes.get_mut(&webhook) {
            lane.breaker.probe_lost();
        }
        if let Some(target) = self.targets.get_mut(&id) {
            target.breaker.probe_lost();
        }
        let op = finish(now, &row, row.attempts, ending, None);
        self.outputs.push_back(Output::Settle(Box::new(op)));
        self.resume(now, id, webhook);
    }

    /// Gives back the slots of an attempt that ended, and says whose they were.
    fn release(&mut self, row: &Pending) -> Option<UnderWay> {
        let lane = self.lanes.get_mut(&row.key.webhook)?;
        let under_way = lane.taken.get_mut(&row.key.seq)?.take()?;
        lane.in_flight = lane.in_flight.saturating_sub(1);
        let slots = if under_way.slow { &mut self.in_flight_slow } else { &mut self.in_flight };
        *slots = slots.saturating_sub(1);
        if self.unhealthy.remove(&row.key.seq) {
            self.in_flight_unhealthy = self.in_flight_unhealthy.saturating_sub(1);
        }
        if let Some(target) = self.targets.get_mut(&under_way.target) {
            target.in_flight = target.in_flight.saturating_sub(1);
        }
        Some(under_way)
    }

    /// A lane's breaker begins anew.
    fn forgotten(&mut self, target: TargetId, webhook: WebhookId, was_failing: bool) {
        if was_failing && let Some(target) = self.targets.get(&target) {
            let (origin, turn) = (target.origin.clone(), Turn::Forgotten);
            self.outputs.push_back(Output::Turned { origin, webhook: Some(webhook), turn });
        }
    }

    /// After an attempt: whoever waited for its end is looked at again.
    fn resume(&mut self, now: Now, id: TargetId, webhook: WebhookId) {
        self.touch(now, webhook);
        if let Some(target) = self.targets.get_mut(&id)
            && std::mem::take(&mut target.turned)
        {
            for lane in target.lanes.clone() {
                self.touch(now, lane);
            }
        }
        self.enter_ring(id);
        self.abandon(now, id);
    }

    fn settled(&mut self, now: Now, settled: Vec<Settled>) {
        let rows_max = self.rows_max();
        for one in settled {
            let webhook = one.key.webhook;
            let Some(lane) = self.lanes.get_mut(&webhook) else { continue };
            lane.settled(one.queue, one.key.seq);
            if lane.cancelled.get(&one.key.seq).is_some_and(|(_, is_written)| *is_written) {
                // Whatever was to become of it, it had ended.
                lane.cancelled.remove(&one.key.seq);
            } else if let Some(row) = one.again
                && lane.closed.is_none_or(|(upto, _)| row.key.seq > upto)
            {
                lane.arrived(row, rows_max);
            }
            self.touch(now, webhook);
            self.forget_if_done(now, webhook);
        }
    }

    /// Moves a lane's retries to now, by way of the disk: so a restart does not undo it.
    fn hasten(&mut self, now: Now, webhook: WebhookId) {
        while let Some(row) = self.lanes.get_mut(&webhook).and_then(Lane::take_retry) {
            self.move_to_now(now, row);
        }
        self.touch(now, webhook);
    }

    /// The clock was put right, back by more than any plan reaches ahead: retries that were set by
    /// the wrong one are due now, and every lane is looked at anew.
    fn put_right(&mut self, now: Now) {
        for webhook in self.lanes.keys().copied().collect::<Vec<_>>() {
            while let Some(row) = self.lanes.get_mut(&webhook).and_then(|lane| lane.take_void(now))
            {
                self.move_to_now(now, row);
            }
            self.touch(now, webhook);
        }
    }

    fn move_to_now(&mut self, now: Now, row: Pending) {
        if let Some(lane) = self.lanes.get_mut(&row.key.webhook) {
            lane.taken.insert(row.key.seq, None);
        }
        let due = now.wall.min(row.key.due);
        let next = Next::Pending(Pending { key: QueueKey { due, ..row.key }, ..row });
        let op = Op::Settle { queue: Queue::Retry, key: row.key, next, attempt: None };
        self.outputs.push_back(Output::Settle(Box::new(op)));
    }

    fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.chance)
    }
}
