//! A lane: the deliveries of one webhook, and what it could do now.
//!
//! Owns a lane's state and its choice under its own and its target's breaker. Must never look at
//! another lane: whose turn it is, is decided in `turns`.

use std::collections::BTreeMap;

use super::Probe;
use super::target::{Target, TargetId};
use crate::logic::breaker::{Breaker, Gate, LANE_FAILURES_MAX};
use crate::logic::quota::{Quota, Rate};
use crate::logic::window::Window;
use crate::model::delivery::{Ending, Pending, Queue};
use crate::model::ids::Seq;
use crate::model::time::{Mono, Now, Wall};
use crate::model::webhook::Limits;

#[derive(Debug)]
pub(super) struct Lane {
    pub target: TargetId,
    pub limits: Limits,
    pub runs: bool,
    pub paused_total_ms: u64,
    pub fresh: Window,
    pub retry: Window,
    /// Rows that were handed out and whose settlement is not on disk yet.
    /// While the attempt is under way, with the target that it was started for.
    pub taken: BTreeMap<Seq, Option<TargetId>>,
    pub in_flight: u32,
    /// Not before: the target said so.
    pub parked_until: Option<Wall>,
    pub breaker: Breaker,
    pub quota: Option<Quota>,
    /// A permit of the lane's own rate, taken while the target's was refused.
    pub permit: bool,
    /// Stands in its target's ring.
    pub queued: bool,
    /// The last close: what it covers ends as it says, whatever an attempt still under way brings.
    pub closed: Option<(Seq, Ending)>,
    pub removed: bool,
}

/// What a lane could do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Attempt the head of this queue.
    Ready(Queue, Probe),
    /// The head of this queue has expired.
    Expire(Queue),
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
            retry: Window::empty(),
            taken: BTreeMap::new(),
            in_flight: 0,
            parked_until: None,
            breaker: Breaker::new(LANE_FAILURES_MAX),
            quota: None,
            permit: false,
            queued: false,
            closed: None,
            removed: false,
        }
    }

    pub(super) fn window(&mut self, queue: Queue) -> &mut Window {
        match queue {
            Queue::Fresh => &mut self.fresh,
            Queue::Retry => &mut self.retry,
        }
    }

    /// What it could do now, under its own and its target's breaker.
    pub(super) fn choose(&mut self, now: Now, target: &Target) -> Choice {
        if !self.runs {
            return Choice::Wait(None, None);
        }
        let fresh = self.fresh.head().copied();
        let retry = self.retry.head().copied();
        for row in [fresh, retry].into_iter().flatten() {
            if now.wall > moved(&row, self.paused_total_ms).deadline {
                return Choice::Expire(row.queue());
            }
        }
        let cap = self.limits.in_flight.unwrap_or(u32::MAX);
        if self.in_flight >= self.breaker.in_flight_max(cap) {
            return Choice::Wait(None, None);
        }
        let lane_gate = self.breaker.gate(now.mono);
        let target_gate = target.breaker.gate(now.mono);
        let held = matches!(lane_gate, Gate::Held(_)) || matches!(target_gate, Gate::Held(_));
        let oldest = match (fresh, retry) {
            (Some(fresh), Some(retry)) if !held => {
                let by_age = |row: &Pending| (row.key.due, row.key.seq);
                if by_age(&fresh) <= by_age(&retry) { Some(fresh) } else { Some(retry) }
            }
            (Some(fresh), None) if !held => Some(fresh),
            _ => retry,
        };
        let probe_at = if held && fresh.is_some() { later(lane_gate, target_gate) } else { None };
        let Some(row) = oldest else {
            let deadline = fresh.map(|row| moved(&row, self.paused_total_ms).deadline.plus(1));
            return Choice::Wait(deadline, probe_at);
        };
        let not_before = row.key.due.max(self.parked_until.unwrap_or_default());
        if not_before > now.wall {
            return Choice::Wait(Some(not_before), probe_at);
        }
        let probe = Probe { lane: lane_gate == Gate::Probe, target: target_gate == Gate::Probe };
        Choice::Ready(row.queue(), probe)
    }
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
