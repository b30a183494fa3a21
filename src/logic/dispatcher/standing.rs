//! Where a delivery stands: all that keeps it from being attempted now.
//!
//! Owns the answer, as facts. Must never change anything, or put it into words: that is `explain`.

use super::lane::{Lane, moved, planned};
use super::target::{Place, Target};
use super::{Dispatcher, RECENT_SUCCESS_MS, TargetFigures};
use crate::logic::breaker::Gate;
use crate::logic::quota::Rate;
use crate::model::delivery::{Ending, Pending};
use crate::model::target::Origin;
use crate::model::time::{Mono, Now, Wall};

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its lane is not known: its webhook is gone.
    NoLane,
    /// An attempt is under way.
    UnderWay {
        /// Since when.
        started: Wall,
    },
    /// What came of it is being written.
    Settling,
    /// It waits in its lane.
    Waits(Waits),
}

/// What a delivery waits for. Several of these may hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Its lane was closed behind it: it ends so.
    pub closed: Option<Ending>,
    /// Its lane may send: neither the webhook nor its target is paused.
    pub runs: bool,
    /// The daemon starts no attempts at all.
    pub is_held: bool,
    /// Not before.
    pub due: Wall,
    /// No attempt starts later.
    pub deadline: Wall,
    /// The target asked not to be called before.
    pub parked_until: Option<Wall>,
    /// The lane's breaker.
    pub lane: Breaking,
    /// The target's breaker.
    pub target: Breaking,
    /// The lane's attempts under way, and how many there may be.
    pub lane_slots: Slots,
    /// The target's.
    pub target_slots: Slots,
    /// The process's.
    pub process_slots: Slots,
    /// The webhook's own rate, if it is what the lane waits for.
    pub lane_rate: Option<Refused>,
    /// The target's rate, if it is what the target waits for.
    pub target_rate: Option<Refused>,
    /// The target has not answered lately, and the share of such targets is in use.
    pub is_crowded: bool,
    /// Deliveries of its lane that are before it in its queue, as far as they are in memory.
    pub ahead: usize,
    /// Whether these are all.
    pub is_ahead_exact: bool,
}

/// What a breaker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaking {
    /// It lets everything through.
    Closed,
    /// It is open, and lets the next untried delivery through as a probe.
    Probe,
    /// It is open until a probe at this instant; `None` while one is under way.
    Open(Option<Wall>),
}

/// Attempts under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// So many are.
    pub used: u32,
    /// So many may be.
    pub max: u32,
}

impl Slots {
    /// Whether no further attempt may start.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.used >= self.max
    }
}

/// A rate that refused a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The rate.
    pub rate: Rate,
    /// When there is a permit again.
    pub until: Wall,
}

/// How a target does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetHealth {
    /// Its breaker.
    pub breaker: Breaking,
    /// Failed connections in a row.
    pub failures: u32,
    /// When an attempt last succeeded, since the daemon started.
    pub last_success: Option<Wall>,
    /// Its rate, if it is what it waits for.
    pub rate: Option<Refused>,
}

impl TargetHealth {
    /// Of a target of which nothing is known.
    pub(super) const UNKNOWN: TargetHealth =
        TargetHealth { breaker: Breaking::Closed, failures: 0, last_success: None, rate: None };
}

impl Dispatcher {
    /// Where a delivery stands that the store shows as pending.
    #[must_use]
    pub fn standing(&self, now: Now, row: &Pending) -> Standing {
        let Some(lane) = self.lanes.get(&row.key.webhook) else { return Standing::NoLane };
        match lane.taken.get(&row.key.seq) {
            Some(Some(under_way)) => return Standing::UnderWay { started: under_way.started },
            Some(None) => return Standing::Settling,
            None => {}
        }
        match self.targets.get(&lane.target) {
            Some(target) => Standing::Waits(self.waits(now, row, lane, target)),
            None => Standing::NoLane,
        }
    }

    /// How a target does.
    pub(super) fn health(&self, now: Now, target: &Target) -> TargetHealth {
        TargetHealth {
            breaker: breaking(now, target.breaker.gate(now.mono)),
            failures: target.breaker.failures(),
            last_success: target.last_success.map(|at| wall(now, at)),
            rate: refused(now, &target.quota),
        }
    }

    fn waits(&self, now: Now, row: &Pending, lane: &Lane, target: &Target) -> Waits {
        let (ahead, is_ahead_exact) = lane.ahead(row);
        let lane_max = lane.breaker.cap(lane.limits.in_flight.unwrap_or(u32::MAX));
        let TargetFigures { in_flight_max, .. } = self.target_limits(&target.origin);
        let process_max = self.settings.in_flight_max;
        let is_recent =
            target.last_success.is_some_and(|at| now.mono.since(at) <= RECENT_SUCCESS_MS);
        Waits {
            closed: lane.closed.filter(|(upto, _)| row.key.seq <= *upto).map(|(_, end)| end),
            runs: lane.runs,
            is_held: process_max == 0,
            due: planned(row, now),
            deadline: moved(row, lane.paused_total_ms).deadline,
            parked_until: lane.parked_until.filter(|until| *until > now.wall),
            lane: breaking(now, lane.breaker.gate(now.mono)),
            target: breaking(now, target.breaker.gate(now.mono)),
            lane_slots: Slots { used: lane.in_flight, max: lane_max },
            target_slots: Slots { used: target.in_flight, max: target.breaker.cap(in_flight_max) },
            process_slots: Slots { used: self.in_flight, max: process_max },
            lane_rate: lane.quota.as_ref().and_then(|quota| refused(now, quota)),
            target_rate: refused(now, &target.quota),
            is_crowded: !is_recent && target.place == Place::Crowded,
            ahead,
            is_ahead_exact,
        }
    }

    /// The limits of a target, whether or not it is known.
    pub(super) fn target_limits(&self, origin: &Origin) -> TargetFigures {
        let limits = self.own_limits.get(origin).copied().unwrap_or_default();
        TargetFigures {
            rate: limits.rate.unwrap_or(self.settings.target_rate),
            in_flight_max: limits.in_flight_max.unwrap_or(self.settings.target_in_flight_max),
            in_flight: 0,
            is_open: false,
            health: TargetHealth::UNKNOWN,
            lanes_in_flight: Vec::new(),
        }
    }
}

fn breaking(now: Now, gate: Gate) -> Breaking {
    match gate {
        Gate::All => Breaking::Closed,
        Gate::Probe => Breaking::Probe,
        Gate::Held(at) => Breaking::Open(at.map(|at| wall(now, at))),
    }
}

fn refused(now: Now, quota: &crate::logic::quota::Quota) -> Option<Refused> {
    let until = wall(now, quota.refused_until(now.mono)?);
    Some(Refused { rate: quota.rate(), until })
}

/// What a calendar says at an instant of the stopwatch.
fn wall(now: Now, at: Mono) -> Wall {
    match at.since(now.mono) {
        0 => Wall(now.wall.0.saturating_sub(now.mono.since(at))),
        ahead_ms => now.wall.plus(ahead_ms),
    }
}
