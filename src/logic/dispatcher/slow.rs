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
        // It may have ended, and the delivery's next attempt may be under way.
        if under_way.begun != started || under_way.slow {
            return;
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::logic::batch::{Next, Op};
    use crate::logic::dispatcher::{Ended, Input, LaneSpec, Output, Probe, Settings, Settled};
    use crate::logic::quota::Rate;
    use crate::model::attempt::{Outcome, Phases};
    use crate::model::delivery::{Pending, QueueKey};
    use crate::model::ids::ProjectId;
    use crate::model::target::Origin;
    use crate::model::time::{HOUR_MS, Wall};
    use crate::model::webhook::Limits;

    fn settings() -> Settings {
        Settings { in_flight_max: 8, target_rate: Rate::new(100, 100), target_in_flight_max: 8 }
    }

    fn at(wall_ms: u64, mono_ms: u64) -> Now {
        Now { wall: Wall(HOUR_MS + wall_ms), mono: Mono(mono_ms) }
    }

    fn spec() -> LaneSpec {
        LaneSpec {
            webhook: WebhookId::new(1).expect("an id"),
            origin: Origin::parse("http://a.test").expect("an origin"),
            limits: Limits::default(),
            runs: true,
            paused_total_ms: 0,
        }
    }

    fn row() -> Pending {
        let accepted = at(0, 0).wall;
        Pending {
            key: QueueKey { webhook: spec().webhook, due: accepted, seq: Seq(7) },
            project: ProjectId::new(1).expect("an id"),
            event: Seq(6),
            accepted,
            attempts: 0,
            slot: 0,
            first_attempt: None,
            deadline: accepted.plus(72 * HOUR_MS),
            paused_base_ms: 0,
        }
    }

    fn started(dispatcher: &mut Dispatcher) -> Option<(Pending, Probe)> {
        std::iter::from_fn(|| dispatcher.poll()).find_map(|output| match output {
            Output::Start { row, probe } => Some((row, probe)),
            _ => None,
        })
    }

    fn answered(status: u16, (row, probe): (Pending, Probe), now: Now) -> Ended {
        Ended {
            row,
            probe,
            started: now.wall,
            outcome: Outcome::Status(status),
            retry_after: None,
            address: None,
            phases: Phases::default(),
            is_notice: false,
            revision: 1,
            request: None,
            response: None,
        }
    }

    fn slots(dispatcher: &Dispatcher) -> (u32, u32) {
        (dispatcher.in_flight, dispatcher.in_flight_slow)
    }

    /// A second attempt of a delivery may begin before its first would have been slow: somebody
    /// asks for it, or the wall clock is put forward.
    #[test]
    fn a_next_attempt_is_not_taken_for_the_one_before() {
        let mut dispatcher = Dispatcher::new(settings(), BTreeMap::new(), 1);
        dispatcher.handle(at(0, 0), Input::Lane(spec()));
        dispatcher.handle(at(0, 0), Input::Arrived(vec![row()]));
        let first = started(&mut dispatcher).expect("an attempt");
        // The target counts as healthy, so that what becomes slow gives its slot back.
        dispatcher.unhealthy.clear();
        dispatcher.in_flight_unhealthy = 0;

        let ended = answered(503, first, at(100, 100));
        dispatcher.handle(at(100, 100), Input::Ended(ended));
        let again = std::iter::from_fn(|| dispatcher.poll()).find_map(|output| match output {
            Output::Settle(op) => match *op {
                Op::Settle { queue, key, next: Next::Pending(row), .. } => Some((queue, key, row)),
                _ => None,
            },
            _ => None,
        });
        let (queue, key, row) = again.expect("a retry");
        let settled = Settled { queue, key, again: Some(row) };
        dispatcher.handle(at(200, 200), Input::Settled(vec![settled]));
        assert_eq!(slots(&dispatcher), (0, 0));

        // An hour passes on the wall, and none for the attempts.
        dispatcher.handle(at(HOUR_MS, 1_200), Input::Time);
        let second = started(&mut dispatcher).expect("another attempt");
        dispatcher.unhealthy.clear();
        dispatcher.in_flight_unhealthy = 0;
        assert_eq!(slots(&dispatcher), (1, 0));
        dispatcher.handle(at(HOUR_MS + 900, SLOW_MS + 100), Input::Time);
        assert_eq!(slots(&dispatcher), (1, 0), "the first would be slow by now");
        dispatcher.handle(at(HOUR_MS + 2_100, SLOW_MS + 1_300), Input::Time);
        assert_eq!(slots(&dispatcher), (0, 1), "the second is");

        let now = at(HOUR_MS + 3_000, SLOW_MS + 2_200);
        dispatcher.handle(now, Input::Ended(answered(200, second, now)));
        assert_eq!(slots(&dispatcher), (0, 0));
    }
}
