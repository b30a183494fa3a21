//! Attempts that take long, and the slots that they hold.
//!
//! Owns the rule by which a target that hangs costs nobody else. Must never let a target start more
//! than its own limits, slow or not.
//!
//! An attempt may wait for a minute. If the slots of the process were held for so long, a few
//! thousand targets that hang at once would hold them all, however healthy they were a moment
//! before. So an attempt that has waited for two seconds gives its slot back and counts as slow; and
//! its target, if it has answered nothing else meanwhile, is not healthy any more: its next attempts
//! share the quarter that such targets have. Slow attempts are bounded too, at eight times the
//! slots; beyond that, they keep theirs.

use super::Dispatcher;
use crate::model::ids::{Seq, WebhookId};
use crate::model::time::{Mono, Now, SECOND_MS};

/// An attempt that has waited for so long is slow, in milliseconds.
const SLOW_MS: u64 = 2 * SECOND_MS;
/// Slow attempts under way at once, in slots of the process.
const SLOW_SLOTS_TIMES: u32 = 8;

/// An attempt that may become slow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Young {
    pub started: Mono,
    pub webhook: WebhookId,
    pub seq: Seq,
}

impl Dispatcher {
    /// Looks at the attempts that have become slow.
    pub(super) fn age(&mut self, now: Now) {
        while let Some(young) = self.young.front().copied()
            && now.mono.since(young.started) >= SLOW_MS
        {
            self.young.pop_front();
            self.slow_down(young);
        }
    }

    /// When the next slot may come back by itself, if somebody waits for one.
    pub(super) fn next_slow(&self) -> Option<Mono> {
        let waits = self.in_flight >= self.settings.in_flight_max && !self.ring.is_empty();
        self.young.front().filter(|_| waits).map(|young| young.started.plus(SLOW_MS))
    }

    fn slow_down(&mut self, young: Young) {
        let Young { started, webhook, seq } = young;
        let Some(lane) = self.lanes.get_mut(&webhook) else { return };
        let Some(Some(under_way)) = lane.taken.get_mut(&seq) else { return };
        if let Some(target) = self.targets.get_mut(&under_way.target) {
            target.last_success = target.last_success.filter(|at| *at >= started);
        }
        let slow_max = self.settings.in_flight_max.saturating_mul(SLOW_SLOTS_TIMES);
        if !self.unhealthy.contains(&seq) && self.in_flight_slow < slow_max {
            under_way.slow = true;
            self.in_flight = self.in_flight.saturating_sub(1);
            self.in_flight_slow += 1;
        }
    }
}
