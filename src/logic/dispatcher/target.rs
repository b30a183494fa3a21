//! A target: what its lanes share, and what protects the receiver.
//!
//! Owns a target's state, what an attempt teaches about it, and when it is forgotten. Must never
//! be forgotten while an attempt to it is under way.

use std::collections::{BTreeSet, VecDeque};

use super::health::Health;
use super::lane::{Lane, moved};
use super::{Dispatcher, Ended, FORGET_TARGET_MS, Output, TargetLimits, Timer, Turn};
use crate::logic::breaker::{Breaker, TARGET_FAILURES_MAX};
use crate::logic::quota::Quota;
use crate::logic::retry;
use crate::logic::verdict::Verdict;
use crate::model::ids::WebhookId;
use crate::model::target::Origin;
use crate::model::time::{Mono, Now};

#[derive(Debug)]
pub(super) struct Target {
    pub origin: Origin,
    pub limits: TargetLimits,
    pub quota: Quota,
    pub breaker: Breaker,
    pub health: Health,
    pub in_flight: u32,
    pub last_success: Option<Mono>,
    pub ready: VecDeque<WebhookId>,
    /// Stands in the ring, waits for its permit, or waits for the quarter.
    pub place: Place,
    pub lanes: BTreeSet<WebhookId>,
    /// Its breaker opened, closed or lost its probe: every lane has to be looked at.
    pub turned: bool,
}

impl Target {
    pub(super) fn is_abandoned(&self) -> bool {
        self.lanes.is_empty() && self.in_flight == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    Ring,
    Parked,
    Crowded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TargetId(pub u32);

impl Dispatcher {
    pub(super) fn target_of(&mut self, now: Now, origin: &Origin) -> TargetId {
        if let Some(id) = self.target_ids.get(origin) {
            return *id;
        }
        let id = TargetId(self.next_target);
        self.next_target = self.next_target.wrapping_add(1);
        let limits = self.own_limits.get(origin).copied().unwrap_or_default();
        let quota = Quota::new(limits.rate.unwrap_or(self.settings.target_rate), now.mono);
        self.target_ids.insert(origin.clone(), id);
        self.targets.insert(
            id,
            Target {
                origin: origin.clone(),
                limits,
                quota,
                breaker: Breaker::new(TARGET_FAILURES_MAX),
                health: Health::default(),
                in_flight: 0,
                last_success: None,
                ready: VecDeque::new(),
                place: Place::Nowhere,
                lanes: BTreeSet::new(),
                turned: false,
            },
        );
        id
    }

    /// Other limits from now on. A new rate begins without its burst, so that setting one again and
    /// again lets no more through than the rate does.
    pub(super) fn set_target(&mut self, now: Now, origin: Origin, limits: TargetLimits) {
        let id = self.target_ids.get(&origin).copied();
        self.own_limits.insert(origin, limits);
        let Some(id) = id else { return };
        let Some(target) = self.targets.get_mut(&id) else { return };
        target.limits = limits;
        let rate = limits.rate.unwrap_or(self.settings.target_rate);
        if target.quota.rate() != rate {
            target.quota = Quota::new(rate, now.mono);
            target.quota.drain(now.mono);
            if target.place == Place::Parked {
                // It waits for a permit of the old rate.
                self.timers.cancel(Timer::Target(id));
                target.place = Place::Nowhere;
            }
        }
        self.enter_ring(id);
    }

    pub(super) fn join(&mut self, id: TargetId, webhook: WebhookId) {
        if let Some(target) = self.targets.get_mut(&id) {
            target.lanes.insert(webhook);
        }
    }

    pub(super) fn leave(&mut self, now: Now, id: TargetId, webhook: WebhookId) {
        if let Some(target) = self.targets.get_mut(&id) {
            target.lanes.remove(&webhook);
            target.ready.retain(|ready| *ready != webhook);
        }
        self.abandon(now, id);
    }

    /// Lets a target without lanes and attempts be forgotten, but not at once: a webhook that is
    /// deleted and made again must not get a new burst by it.
    pub(super) fn abandon(&mut self, now: Now, id: TargetId) {
        if self.targets.get(&id).is_some_and(Target::is_abandoned) {
            self.timers.set(Timer::Target(id), now.mono.plus(FORGET_TARGET_MS).0);
        }
    }

    pub(super) fn forget_target(&mut self, id: TargetId) {
        if let Some(mut target) = self.targets.remove(&id) {
            if target.health.reset() {
                let (origin, turn) = (target.origin.clone(), Turn::Forgotten);
                self.outputs.push_back(Output::Turned { origin, webhook: None, turn });
            }
            self.ring.retain(|other| *other != id);
            self.crowded.retain(|other| *other != id);
            self.target_ids.remove(&target.origin);
        }
    }

    pub(super) fn forget_if_done(&mut self, now: Now, webhook: WebhookId) {
        let Some(lane) = self.lanes.get(&webhook) else { return };
        if lane.removed && lane.in_flight == 0 && lane.taken.is_empty() {
            let target = lane.target;
            self.lanes.remove(&webhook);
            self.due.cancel(webhook);
            self.timers.cancel(Timer::Lane(webhook));
            self.leave(now, target, webhook);
        }
    }
}

/// What an attempt's end teaches about its lane and its target.
pub(super) fn learn(
    now: Now,
    lane: &mut Lane,
    target: &mut Target,
    ended: &Ended,
    verdict: Verdict,
) {
    let was_open = target.breaker.is_open();
    match verdict {
        Verdict::Delivered | Verdict::Gone => {
            lane.breaker.succeeded();
            lane.health.succeeded();
            target.breaker.succeeded();
            target.health.succeeded();
            target.last_success = Some(now.mono);
        }
        Verdict::Retry { connection: false } => {
            lane.breaker.failed(now.mono, ended.probe.lane);
            lane.health.failed(ended.is_notice);
            // It answered: its connections are sound.
            target.breaker.succeeded();
            target.health.succeeded();
        }
        Verdict::Retry { connection: true } => {
            target.breaker.failed(now.mono, ended.probe.target);
            target.health.failed(ended.is_notice);
            if ended.probe.lane {
                lane.breaker.probe_lost();
            }
        }
        Verdict::Again => {
            if ended.probe.lane {
                lane.breaker.probe_lost();
            }
            if ended.probe.target {
                target.breaker.probe_lost();
            }
        }
    }
    target.turned |= was_open != target.breaker.is_open() || ended.probe.target;
    if let Some(until) = ended.retry_after {
        // Never past what is left of this delivery: it still gets its last attempt.
        let until = until.min(retry::latest(moved(&ended.row, lane.paused_total_ms).deadline));
        lane.parked_until = Some(lane.parked_until.unwrap_or_default().max(until));
    }
}
