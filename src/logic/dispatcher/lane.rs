//! A lane: the deliveries of one webhook, and what it could do now.
//!
//! Owns a lane's state and its choice under its own and its target's breaker. Must never look at
//! another lane: whose turn it is, is decided in `turns`.
//!
//! # A lane that returns
//!
//! After an outage a lane has a backlog: untried rows that were held back, retries that fell due
//! together. What is accepted from now on must not wait behind a million of them, and they must
//! not wait behind what keeps coming in. So when a lane that was stopped (its breaker or its
//! target's open, parked by `Retry-After`, paused, or its daemon off) may send again, a *mark* is
//! set behind the newest row of its queue of untried rows: rows up to the mark are backlog, read
//! by one window, later ones are new, read by another. The lane's turns then alternate between the
//! oldest new row and the oldest of the backlog (untried or retry, whichever is older) for as long
//! as both have one that is due; a side with nothing due leaves its turns to the other. So the
//! backlog gets half of the lane's rate at most while new rows wait, all of it while none do, and
//! each side keeps its order. When the backlog's window has nothing left, the mark goes and the
//! other window takes its place. A lane that returns again while it still has a mark gets a new
//! one: what came in before the second outage is backlog too.
//!
//! Without a mark, the two sides are untried rows and retries. So a lane that nothing stops starts
//! its untried rows in the order of acceptance, however far behind its rate leaves it.
//!
//! # When a row is due
//!
//! At its time, or at once if that time lies further ahead than any plan reaches: the clock that
//! it was set by has been put right since. While expiry is held (see `steady`), rows whose time is
//! over are neither attempted nor ended, and those behind them go ahead.

use std::collections::{BTreeMap, BTreeSet};

use super::health::Health;
use super::target::{Target, TargetId};
use super::{AGAIN_MS, Probe};
use crate::logic::breaker::{Breaker, Gate, LANE_FAILURES_MAX};
use crate::logic::quota::{Quota, Rate};
use crate::logic::retry::WINDOW_MS;
use crate::logic::window::Window;
use crate::model::delivery::{Ending, Pending, Queue, QueueKey};
use crate::model::ids::{Seq, WebhookId};
use crate::model::time::{Mono, Now, Wall};
use crate::model::webhook::Limits;

#[derive(Debug)]
pub(super) struct Lane {
    pub target: TargetId,
    pub limits: Limits,
    pub runs: bool,
    pub paused_total_ms: u64,
    /// Untried rows; those up to the mark, if `recent` is there.
    fresh: Window,
    /// Untried rows that were accepted since the lane returned, while older ones wait.
    recent: Option<Window>,
    retry: Window,
    /// Rows that were handed out and whose settlement is not on disk yet.
    /// While the attempt is under way, with what has to be known at its end.
    pub taken: BTreeMap<Seq, Option<UnderWay>>,
    pub in_flight: u32,
    /// Not before: the target said so.
    pub parked_until: Option<Wall>,
    pub breaker: Breaker,
    pub health: Health,
    pub quota: Option<Quota>,
    /// A permit of the lane's own rate, taken while the target's was refused.
    pub permit: bool,
    /// Stands in its target's ring.
    pub queued: bool,
    /// Could not send when it was last looked at: when it can, it returns.
    stopped: bool,
    /// The turn before was a new row's.
    backlog_next: bool,
    /// The last close: what it covers ends as it says, whatever an attempt still under way brings.
    pub closed: Option<(Seq, Ending)>,
    pub removed: bool,
    /// Deliveries whose cancellation was handed out, how they end by it, and whether it is on disk:
    /// until then, or until an attempt that is under way has its settlement on disk.
    pub cancelled: BTreeMap<Seq, (Ending, bool)>,
}

/// An attempt that was started.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    pub target: TargetId,
    /// By the steady clock.
    pub started: Wall,
    /// The same, by the monotonic one: a delivery's next attempt is told from this one by it.
    pub begun: Mono,
    /// It gave its slot back.
    pub slow: bool,
}

/// What a lane's rows stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Fresh,
    Recent,
    Retry,
}

const PARTS: [Part; 3] = [Part::Fresh, Part::Recent, Part::Retry];

/// What a lane could do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Attempt this row.
    Ready(Part, QueueKey, Probe),
    /// This row has expired.
    Expire(Part, QueueKey),
    /// Nothing before these instants.
    Wait(Option<Wall>, Option<Mono>),
}

impl Lane {
    pub(super) fn new(target: TargetId) -> Lane {
        Lane {
            target,
            limits: Limits::default(),
            runs: false,
            paused_total_ms: 0,
            fresh: Window::empty(),
            recent: None,
            retry: Window::empty(),
            taken: BTreeMap::new(),
            in_flight: 0,
            parked_until: None,
            breaker: Breaker::new(LANE_FAILURES_MAX),
            health: Health::default(),
            quota: None,
            permit: false,
            queued: false,
            stopped: false,
            backlog_next: false,
            closed: None,
            removed: false,
            cancelled: BTreeMap::new(),
        }
    }

    fn window(&mut self, part: Part) -> Option<&mut Window> {
        match part {
            Part::Fresh => Some(&mut self.fresh),
            Part::Recent => self.recent.as_mut(),
            Part::Retry => Some(&mut self.retry),
        }
    }

    /// After a start: nothing is known of a queue but that it has rows.
    pub(super) fn recovered(&mut self, queue: Queue) {
        match queue {
            Queue::Fresh => (self.fresh, self.recent) = (Window::unread(), None),
            Queue::Retry => self.retry = Window::unread(),
        }
        self.stopped = true;
    }

    /// Its rows have ended, whatever they were.
    pub(super) fn closed(&mut self, upto: Seq, ending: Ending) {
        self.closed = Some((upto, ending));
        (self.fresh, self.recent, self.retry) = (Window::empty(), None, Window::empty());
        self.parked_until = None;
        self.breaker = Breaker::new(LANE_FAILURES_MAX);
    }

    /// A row was committed to its queue. A fetch may have seen it before, and it may be under way.
    pub(super) fn arrived(&mut self, row: Pending, rows_max: usize) {
        if self.taken.contains_key(&row.key.seq) {
            return;
        }
        match (row.queue(), &mut self.recent) {
            (Queue::Retry, _) => self.retry.arrived(row, rows_max),
            (Queue::Fresh, Some(recent)) if !self.fresh.covers(row.key) => {
                recent.arrived(row, rows_max);
            }
            (Queue::Fresh, _) => self.fresh.arrived(row, rows_max),
        }
    }

    /// A row's settlement was committed.
    pub(super) fn settled(&mut self, queue: Queue, seq: Seq) {
        self.taken.remove(&seq);
        match queue {
            Queue::Fresh => {
                self.fresh.settled(seq);
                if let Some(recent) = &mut self.recent {
                    recent.settled(seq);
                }
            }
            Queue::Retry => self.retry.settled(seq),
        }
    }

    /// Rows that are not in their queues any more.
    pub(super) fn forget(&mut self, seqs: &BTreeSet<Seq>) {
        self.fresh.forget(seqs);
        self.retry.forget(seqs);
        if let Some(recent) = &mut self.recent {
            recent.forget(seqs);
        }
    }

    /// The next fetch that it needs, marked as being made under `number`.
    pub(super) fn wants_fetch(&mut self, number: u64) -> Option<(Queue, Option<QueueKey>)> {
        PARTS.into_iter().find_map(|part| {
            let queue = if part == Part::Retry { Queue::Retry } else { Queue::Fresh };
            Some((queue, self.window(part)?.wants_fetch(number)?))
        })
    }

    /// The answer to the fetch of this number; false if nobody waits for it any more.
    pub(super) fn fetched(
        &mut self,
        number: u64,
        rows: Option<(Vec<Pending>, bool)>,
        rows_max: usize,
    ) -> bool {
        let closed = self.closed.map_or(Seq(0), |(upto, _)| upto);
        let Lane { fresh, recent, retry, taken, .. } = self;
        let windows = [Some(fresh), recent.as_mut(), Some(retry)];
        let Some(window) = windows.into_iter().flatten().find(|window| window.awaits(number))
        else {
            return false;
        };
        match rows {
            Some((mut rows, more)) => {
                rows.retain(|row| row.key.seq > closed);
                window.fetched(rows, more, rows_max, |seq| taken.contains_key(&seq));
            }
            None => window.fetch_failed(),
        }
        true
    }

    /// Takes a row that was chosen.
    pub(super) fn take(&mut self, part: Part, key: QueueKey) -> Option<Pending> {
        self.window(part)?.take(key)
    }

    /// A row was started.
    pub(super) fn turned(&mut self, part: Part) {
        self.backlog_next = part == self.newest();
    }

    pub(super) fn take_retry(&mut self) -> Option<Pending> {
        self.retry.pop()
    }

    /// A retry that was set by a clock that has been put right since.
    pub(super) fn take_void(&mut self, now: Now) -> Option<Pending> {
        let key = self.retry.first(|row| planned(row, now) != row.key.due)?.key;
        self.retry.take(key)
    }

    /// The first row of each part that is in memory.
    pub(super) fn first_rows(&self) -> impl Iterator<Item = &Pending> {
        let recent = self.recent.as_ref().and_then(Window::head);
        [self.fresh.head(), recent, self.retry.head()].into_iter().flatten()
    }

    /// How many rows of its queue are before a row, as far as they are in memory, and whether these
    /// are all.
    pub(super) fn ahead(&self, row: &Pending) -> (usize, bool) {
        let window = match (row.queue(), &self.recent) {
            (Queue::Retry, _) => &self.retry,
            (Queue::Fresh, Some(recent)) if !self.fresh.covers(row.key) => recent,
            (Queue::Fresh, _) => &self.fresh,
        };
        (window.before(row.key), window.is_complete_up_to(row.key))
    }

    pub(super) fn rows_held(&self) -> usize {
        self.fresh.len() + self.recent.as_ref().map_or(0, Window::len) + self.retry.len()
    }

    /// Sets or takes away the mark, as the lane stands now.
    pub(super) fn review(&mut self, webhook: WebhookId, now: Now, target: &Target) {
        if self.fresh.is_exhausted()
            && let Some(recent) = self.recent.take()
        {
            self.fresh = recent;
        }
        let is_stopped = !self.runs
            || self.parked_until.is_some_and(|until| until > now.wall)
            || self.breaker.is_open()
            || target.breaker.is_open();
        if std::mem::replace(&mut self.stopped, is_stopped)
            && !is_stopped
            && !self.fresh.is_exhausted()
        {
            let mark = QueueKey { webhook, due: now.wall, seq: Seq(u64::MAX) };
            let mark = self.fresh.cut(mark);
            self.recent = Some(Window::after(mark));
        }
    }

    /// Where new rows stand.
    fn newest(&self) -> Part {
        if self.recent.is_some() { Part::Recent } else { Part::Fresh }
    }

    /// What it could do now, under its own and its target's breaker. Nothing expires before
    /// `expire_from`.
    pub(super) fn choose(&mut self, now: Now, target: &Target, expire_from: Mono) -> Choice {
        if !self.runs {
            return Choice::Wait(None, None);
        }
        let heads = match self.heads(now, expire_from) {
            Ok(heads) => heads,
            Err(expired) => return expired,
        };
        let cap = self.limits.in_flight.unwrap_or(u32::MAX);
        if self.in_flight >= self.breaker.in_flight_max(cap) {
            return Choice::Wait(None, None);
        }
        let lane_gate = self.breaker.gate(now.mono);
        let target_gate = target.breaker.gate(now.mono);
        let held = matches!(lane_gate, Gate::Held(_)) || matches!(target_gate, Gate::Held(_));
        let probe = Probe { lane: lane_gate == Gate::Probe, target: target_gate == Gate::Probe };
        let [fresh, recent, retry] = heads.map(|row| {
            let (part, row) = row?;
            let at = planned(&row, now).max(self.parked_until.unwrap_or_default());
            Some(Head { part, row, at })
        });
        let untried = older(fresh, recent);
        let (new, backlog) = if held {
            (None, retry)
        } else if probe.lane || probe.target {
            (None, older(untried, retry))
        } else if self.recent.is_some() {
            let ready = |head: &Head| head.at <= now.wall;
            let old = older(fresh.filter(ready), retry.filter(ready));
            (recent, old.or(sooner(fresh, retry)))
        } else {
            (fresh, retry)
        };
        let (first, second) = if self.backlog_next { (backlog, new) } else { (new, backlog) };
        if let Some(head) = [first, second].into_iter().flatten().find(|head| head.at <= now.wall) {
            return Choice::Ready(head.part, head.row.key, probe);
        }
        let mut wall: Vec<Wall> =
            [new, backlog].into_iter().flatten().map(|head| head.at).collect();
        let mut mono = None;
        if let (true, Some(head)) = (held, untried) {
            wall.push(moved(&head.row, self.paused_total_ms).deadline.plus(1));
            mono = later(lane_gate, target_gate);
        }
        if now.mono < expire_from {
            mono = Some(mono.map_or(expire_from, |at| at.min(expire_from)));
        }
        Choice::Wait(wall.into_iter().min(), mono)
    }

    /// The first row of each part that may still be attempted, or one that has to end.
    fn heads(&self, now: Now, expire_from: Mono) -> Result<[Option<(Part, Pending)>; 3], Choice> {
        let is_over = |row: &Pending| now.wall > moved(row, self.paused_total_ms).deadline;
        let mut heads = [None; 3];
        let windows = [Some(&self.fresh), self.recent.as_ref(), Some(&self.retry)];
        for ((head, part), window) in heads.iter_mut().zip(PARTS).zip(windows) {
            let Some(window) = window else { continue };
            let row = if now.mono < expire_from {
                window.first(|row| !is_over(row))
            } else {
                window.head()
            };
            match row {
                Some(row) if is_over(row) => return Err(Choice::Expire(part, row.key)),
                Some(row) => *head = Some((part, *row)),
                None => {}
            }
        }
        Ok(heads)
    }
}

/// The first row of a part.
#[derive(Clone, Copy)]
struct Head {
    part: Part,
    row: Pending,
    /// Not before.
    at: Wall,
}

/// When a row is to be attempted, by a clock that may have been put right since.
pub(super) fn planned(row: &Pending, now: Now) -> Wall {
    let ahead_ms_max = if row.attempts == 0 { AGAIN_MS } else { WINDOW_MS };
    if row.key.due > now.wall.plus(ahead_ms_max) { now.wall } else { row.key.due }
}

fn older(a: Option<Head>, b: Option<Head>) -> Option<Head> {
    [a, b].into_iter().flatten().min_by_key(|head| (head.row.key.due, head.row.key.seq))
}

fn sooner(a: Option<Head>, b: Option<Head>) -> Option<Head> {
    [a, b].into_iter().flatten().min_by_key(|head| head.at)
}

/// When both gates might let a probe through; `None` while one is under way, whose end is an
/// input of its own.
fn later(lane: Gate, target: Gate) -> Option<Mono> {
    match (lane, target) {
        (Gate::Held(None), _) | (_, Gate::Held(None)) => None,
        (Gate::Held(Some(a)), Gate::Held(Some(b))) => Some(a.max(b)),
        (Gate::Held(Some(at)), _) | (_, Gate::Held(Some(at))) => Some(at),
        _ => None,
    }
}

/// A row with its instants moved by the time that its webhook was paused since they were set.
pub(super) fn moved(row: &Pending, paused_total_ms: u64) -> Pending {
    let extra_ms = paused_total_ms.saturating_sub(row.paused_base_ms);
    Pending {
        first_attempt: row.first_attempt.map(|at| at.plus(extra_ms)),
        deadline: row.deadline.plus(extra_ms),
        paused_base_ms: paused_total_ms,
        ..*row
    }
}

pub(super) fn own_quota(limits: Limits, now: Mono) -> Option<Quota> {
    let rate = limits.rate_per_second?;
    Some(Quota::new(Rate::new(rate, limits.burst.unwrap_or(rate)), now))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::logic::dispatcher::target::Place;
    use crate::model::target::Origin;

    /// Small, so that every edge is met often.
    const ROWS: usize = 3;
    const FETCH: usize = 2;

    fn target() -> Target {
        Target {
            origin: Origin::parse("http://t.example").expect("an origin"),
            limits: Default::default(),
            quota: Quota::new(Rate::new(1, 1), Mono(0)),
            breaker: Breaker::new(1),
            health: Default::default(),
            in_flight: 0,
            last_success: None,
            ready: VecDeque::new(),
            place: Place::Nowhere,
            lanes: Default::default(),
            turned: false,
        }
    }

    /// A lane with its disk: commits that are told late, fetches whose snapshots are old.
    struct Model {
        lane: Lane,
        target: Target,
        disk: BTreeMap<QueueKey, Pending>,
        told: VecDeque<Pending>,
        snapshots: Vec<(u64, Vec<Pending>, bool)>,
        fetches: u64,
        taken: VecDeque<Pending>,
        out: Vec<Pending>,
        clock: u64,
        seq: u64,
    }

    impl Model {
        fn new(backlog: u64) -> Model {
            let mut model = Model {
                lane: Lane::new(TargetId(1)),
                target: target(),
                disk: BTreeMap::new(),
                told: VecDeque::new(),
                snapshots: Vec::new(),
                fetches: 0,
                taken: VecDeque::new(),
                out: Vec::new(),
                clock: 1,
                seq: 0,
            };
            for _ in 0..backlog {
                model.accept(0);
            }
            model.told.clear();
            model.lane.runs = true;
            model.lane.recovered(Queue::Fresh);
            model
        }

        fn webhook() -> WebhookId {
            WebhookId::new(1).expect("an id")
        }

        fn now(&self) -> Now {
            Now { wall: Wall(self.clock), mono: Mono(self.clock) }
        }

        fn accept(&mut self, later: u64) {
            self.seq += 1;
            let due = Wall(self.clock + later);
            let row = Pending {
                key: QueueKey { webhook: Model::webhook(), due, seq: Seq(self.seq) },
                project: crate::model::ids::ProjectId::new(1).expect("an id"),
                event: Seq(self.seq),
                accepted: Wall(self.clock),
                attempts: 0,
                slot: 0,
                first_attempt: None,
                deadline: Wall(u64::MAX),
                paused_base_ms: 0,
            };
            self.disk.insert(row.key, row);
            self.told.push_back(row);
        }

        fn tell(&mut self) {
            if let Some(row) = self.told.pop_front() {
                self.lane.arrived(row, ROWS);
            }
        }

        fn touch(&mut self) {
            let now = self.now();
            self.lane.review(Model::webhook(), now, &self.target);
            while let Some((_, after)) = self.lane.wants_fetch(self.fetches) {
                let rows = self.disk.values().filter(|row| after.is_none_or(|at| row.key > at));
                let mut rows: Vec<Pending> = rows.take(FETCH + 1).copied().collect();
                let more = rows.len() > FETCH;
                rows.truncate(FETCH);
                self.snapshots.push((self.fetches, rows, more));
                self.fetches += 1;
            }
        }

        fn answer(&mut self, which: usize) {
            if !self.snapshots.is_empty() {
                let which = which % self.snapshots.len();
                let (number, rows, more) = self.snapshots.swap_remove(which);
                self.lane.fetched(number, Some((rows, more)), ROWS);
            }
        }

        fn start(&mut self) {
            self.touch();
            if let Choice::Ready(part, key, _) = self.lane.choose(self.now(), &self.target, Mono(0))
            {
                let row = self.lane.take(part, key).expect("was chosen");
                self.lane.turned(part);
                self.lane.taken.insert(row.key.seq, None);
                self.taken.push_back(row);
                self.out.push(row);
            }
        }

        fn settle(&mut self) {
            // Commits are told in order: that of a row before that of its settlement.
            if let Some(row) = self.taken.front().copied()
                && !self.told.iter().any(|told| told.key == row.key)
            {
                self.taken.pop_front();
                self.disk.remove(&row.key);
                self.lane.settled(Queue::Fresh, row.key.seq);
            }
        }

        fn restart_lane(&mut self) {
            self.lane.runs = false;
            self.touch();
            self.clock += 1;
            self.lane.runs = true;
            self.touch();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

        /// Outages, marks and late answers in any order: each row comes out exactly once.
        #[test]
        fn every_row_comes_out_once(
            backlog in 0..12u64,
            steps in proptest::collection::vec((0..9u8, 0..8u64), 0..200),
        ) {
            let mut model = Model::new(backlog);
            for (step, value) in steps {
                match step {
                    0 | 1 => model.accept(if value == 7 { 3 } else { 0 }),
                    2 => model.tell(),
                    3 | 4 => model.start(),
                    5 => model.answer(value as usize),
                    6 => model.settle(),
                    7 => model.clock += value / 4,
                    _ => if value < 4 { model.restart_lane() },
                }
                prop_assert!(model.lane.rows_held() <= 2 * ROWS);
            }
            model.clock += 100;
            for _ in 0..400 {
                model.tell();
                model.answer(0);
                model.start();
                model.settle();
            }
            let mut seqs: Vec<u64> = model.out.iter().map(|row| row.key.seq.0).collect();
            seqs.sort_unstable();
            prop_assert_eq!(seqs, (1..=model.seq).collect::<Vec<u64>>());
        }

        /// With a mark, both sides take turns and keep their order.
        #[test]
        fn a_returned_lane_alternates(backlog in 1..40u64, new in 1..40u64) {
            let mut model = Model::new(backlog);
            model.touch();
            model.clock += 1;
            for _ in 0..new {
                model.accept(0);
                model.tell();
            }
            for _ in 0..(backlog + new) * 4 {
                for _ in 0..3 {
                    model.touch();
                    model.answer(0);
                }
                model.start();
                model.settle();
            }
            let is_new: Vec<bool> = model.out.iter().map(|row| row.key.seq.0 > backlog).collect();
            prop_assert_eq!(is_new.len() as u64, backlog + new);
            let both = 2 * backlog.min(new) as usize;
            for pair in is_new[..both].chunks(2) {
                prop_assert!(pair[0] != pair[1], "{:?}", is_new);
            }
            let of = |side: bool| {
                let rows = model.out.iter().filter(|row| (row.key.seq.0 > backlog) == side);
                rows.map(|row| row.key.seq).collect::<Vec<Seq>>()
            };
            prop_assert!(of(true).is_sorted() && of(false).is_sorted());
        }
    }
}
