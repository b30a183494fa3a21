//! Turns: who is next.
//!
//! Owns the ring of targets, the rings of their lanes, and the order in which slots and permits
//! are asked for. Must never start an attempt without all of them.

use super::lane::{Choice, UnderWay};
use super::settlement::finish;
use super::slow::Young;
use super::target::{Place, Target, TargetId};
use super::{Dispatcher, Output, RECENT_SUCCESS_MS, Timer};
use crate::logic::window;
use crate::model::delivery::{Ending, FailedReason};
use crate::model::ids::WebhookId;
use crate::model::time::Now;

impl Dispatcher {
    /// Looks at a lane anew: fetches what it needs, expires what is over, and lets it stand where
    /// it belongs.
    pub(super) fn touch(&mut self, now: Now, webhook: WebhookId) {
        let rows_max = self.rows_max();
        loop {
            let Some(lane) = self.lanes.get_mut(&webhook) else { return };
            let Some(target) = self.targets.get_mut(&lane.target) else { return };
            lane.review(webhook, now, target);
            while lane.runs
                && let Some((queue, after)) = lane.wants_fetch(self.next_fetch)
            {
                let rows = rows_max.min(window::FETCH_ROWS_MAX);
                let number = self.next_fetch;
                self.next_fetch += 1;
                self.outputs.push_back(Output::Fetch { number, webhook, queue, after, rows });
            }
            match lane.choose(now, target, self.expire_from) {
                Choice::Expire(part, key) => {
                    let Some(row) = lane.take(part, key) else { return };
                    lane.taken.insert(row.key.seq, None);
                    let ending = Ending::Failed(FailedReason::Expired);
                    let op = finish(now, &row, row.attempts, ending, None);
                    self.outputs.push_back(Output::Settle(Box::new(op)));
                }
                Choice::Ready(..) => {
                    self.due.cancel(webhook);
                    if !lane.queued {
                        lane.queued = true;
                        target.ready.push_back(webhook);
                    }
                    let id = lane.target;
                    self.enter_ring(id);
                    return;
                }
                Choice::Wait(wall, mono) => {
                    match wall {
                        Some(at) => self.due.set(webhook, at.0),
                        None => self.due.cancel(webhook),
                    }
                    match mono {
                        Some(at) => self.timers.set(Timer::Lane(webhook), at.0),
                        None => self.timers.cancel(Timer::Lane(webhook)),
                    }
                    return;
                }
            }
        }
    }

    pub(super) fn enter_ring(&mut self, id: TargetId) {
        if let Some(target) = self.targets.get_mut(&id)
            && target.place == Place::Nowhere
            && !target.ready.is_empty()
        {
            target.place = Place::Ring;
            self.ring.push_back(id);
        }
    }

    pub(super) fn wake_due(&mut self, now: Now) {
        while let Some(webhook) = self.due.pop_due(now.wall.0) {
            self.touch(now, webhook);
        }
        while let Some(timer) = self.timers.pop_due(now.mono.0) {
            match timer {
                Timer::Lane(webhook) => self.touch(now, webhook),
                Timer::Target(id) => {
                    if self.targets.get(&id).is_some_and(Target::is_abandoned) {
                        self.forget_target(id);
                    } else if let Some(target) = self.targets.get_mut(&id) {
                        target.place = Place::Nowhere;
                        self.enter_ring(id);
                    }
                }
            }
        }
    }

    /// Gives turns until the process is full or nobody is ready.
    pub(super) fn turns(&mut self, now: Now) {
        while self.in_flight < self.settings.in_flight_max {
            let room = self.in_flight_unhealthy < self.unhealthy_max();
            let crowded = if room { self.crowded.pop_front() } else { None };
            let Some(id) = crowded.or_else(|| self.ring.pop_front()) else { return };
            let Some(target) = self.targets.get_mut(&id) else { continue };
            target.place = Place::Nowhere;
            self.turn(now, id);
        }
    }

    pub(super) fn unhealthy_max(&self) -> u32 {
        (self.settings.in_flight_max / 4).max(1)
    }

    pub(super) fn turn(&mut self, now: Now, id: TargetId) {
        let quarter = self.unhealthy_max();
        let Some(target) = self.targets.get_mut(&id) else { return };
        let own_max = target.limits.in_flight_max.unwrap_or(self.settings.target_in_flight_max);
        if target.in_flight >= target.breaker.in_flight_max(own_max) {
            // An attempt's end brings it back.
            return;
        }
        let healthy = target.last_success.is_some_and(|at| now.mono.since(at) <= RECENT_SUCCESS_MS);
        if !healthy && self.in_flight_unhealthy >= quarter {
            target.place = Place::Crowded;
            self.crowded.push_back(id);
            return;
        }
        let Some(webhook) = target.ready.pop_front() else { return };
        let Some(lane) = self.lanes.get_mut(&webhook) else { return self.enter_ring(id) };
        lane.queued = false;
        let Choice::Ready(part, key, probe) = lane.choose(now, target, self.expire_from) else {
            self.touch(now, webhook);
            return self.enter_ring(id);
        };
        if !lane.permit
            && let Some(quota) = &mut lane.quota
        {
            if let Err(at) = quota.take(now.mono) {
                self.timers.set(Timer::Lane(webhook), at.0);
                return self.enter_ring(id);
            }
            lane.permit = true;
        }
        if let Err(at) = target.quota.take(now.mono) {
            lane.queued = true;
            target.ready.push_front(webhook);
            target.place = Place::Parked;
            self.timers.set(Timer::Target(id), at.0);
            return;
        }
        lane.permit = false;
        let Some(row) = lane.take(part, key) else { return };
        lane.turned(part);
        let (started, begun) = (now.wall, now.mono);
        let under_way = UnderWay { target: id, started, begun, slow: false };
        lane.taken.insert(row.key.seq, Some(under_way));
        let seq = row.key.seq;
        self.young.push_back(Young { started: now.mono, webhook, seq });
        lane.in_flight += 1;
        target.in_flight += 1;
        if probe.lane {
            lane.breaker.probe_started();
        }
        if probe.target {
            target.breaker.probe_started();
        }
        self.in_flight += 1;
        if !healthy {
            self.unhealthy.insert(row.key.seq);
            self.in_flight_unhealthy += 1;
        }
        self.outputs.push_back(Output::Start { row, probe });
        self.touch(now, webhook);
        self.enter_ring(id);
    }
}
