//! Reasons one after another: of many that hold, the one that is given, and when something happens.
//!
//! Owns the order in which reasons are told, as a list that somebody can read. Must never ask a
//! dispatcher: what is known is what the test says.

use super::words::words;
use super::*;
use crate::logic::catalog::tests::webhook;
use crate::logic::quota::Rate;
use crate::model::attempt::{Phases, Verdict};
use crate::model::delivery::QueueKey;
use crate::model::ids::{ProjectId, Seq, WebhookId};

const NOW: Wall = Wall(1_000_000_000);
const LATER: Wall = Wall(NOW.0 + 60_000);
const LATEST: Wall = Wall(NOW.0 + 90_000);
const FULL: Slots = Slots { used: 3, max: 3 };
const AHEAD: Ahead = Ahead { deliveries: 8, is_exact: false };
const REQUESTED: Ending = Ending::Cancelled(CancelledReason::Requested);
const GONE: DisabledReason = DisabledReason::Gone;

/// All that is known of a delivery that waits.
struct Case {
    row: Pending,
    webhook: Option<Webhook>,
    target_paused_since: Option<Wall>,
    waits: Waits,
    last: Option<Attempt>,
    is_erased: bool,
}

impl Case {
    /// Everything that can hold it back does.
    fn everything() -> Case {
        let id = WebhookId::new(1).expect("an id");
        let key = QueueKey { webhook: id, due: LATER, seq: Seq(8) };
        let refused = |per_second, until| Some(Refused { rate: Rate::new(per_second, 1), until });
        Case {
            row: Pending {
                key,
                project: ProjectId::new(1).expect("an id"),
                event: Seq(7),
                accepted: Wall(5),
                attempts: 0,
                slot: 0,
                first_attempt: None,
                deadline: Wall(13),
                paused_base_ms: 0,
            },
            webhook: None,
            target_paused_since: Some(Wall(12)),
            waits: Waits {
                closed: Some(REQUESTED),
                runs: false,
                is_held: true,
                due: LATER,
                deadline: Wall(13),
                parked_until: Some(LATEST),
                lane: Breaking::Open(None),
                target: Breaking::Open(Some(LATER)),
                lane_slots: FULL,
                target_slots: Slots { used: 4, max: 4 },
                process_slots: Slots { used: 5, max: 5 },
                lane_rate: refused(4, LATER),
                target_rate: refused(2, LATER),
                is_crowded: true,
                ahead: 8,
                is_ahead_exact: false,
            },
            last: None,
            is_erased: true,
        }
    }

    /// It was attempted so often, and the log holds the attempt with this number.
    fn attempted(attempts: u32, number: u32, next_why: NextWhy) -> Case {
        let mut case = Case::everything();
        let active = WebhookState::Active;
        case.state(active);
        (case.target_paused_since, case.is_erased) = (None, false);
        let waits = Waits { closed: None, runs: true, is_held: false, ..case.waits };
        case.waits = Waits { deadline: LATEST, parked_until: None, ..waits };
        case.row.attempts = attempts;
        case.last = Some(Attempt {
            number,
            started: Wall(20),
            revision: 1,
            request: None,
            address: None,
            phases: Phases::default(),
            outcome: Outcome::Status(503),
            verdict: Verdict::Retry { connection: false },
            next_due: Some(LATER),
            next_why: Some(next_why),
            response: None,
        });
        case
    }

    fn state(&mut self, state: WebhookState) {
        let known = webhook(1, 1, "file.uploaded", "http://a.example/");
        self.webhook = Some(Webhook { state, ..known });
    }

    fn reason(&self) -> Reason {
        explain(&Facts {
            now: NOW,
            delivery: &Delivery::Pending(self.row),
            webhook: self.webhook.as_ref(),
            target_paused_since: self.target_paused_since,
            standing: Some(&Standing::Waits(self.waits)),
            last: self.last.as_ref(),
            is_erased: self.is_erased,
        })
    }
}

fn next_at(reason: &Reason) -> Option<Wall> {
    words(reason, &super::Place { webhook: 1, target: None }).next_at
}

/// A reason, when something happens by it, and what is not so any more when it does not hold.
type Step = (Reason, Option<Wall>, fn(&mut Case));

/// In this order, and each until it is lifted.
fn steps() -> Vec<Step> {
    let rate = |per_second| Refused { rate: Rate::new(per_second, 1), until: LATER };
    let deleted = Ending::Cancelled(CancelledReason::Deleted);
    let inactive = Ending::Cancelled(CancelledReason::Inactive);
    let disabled = Ending::Failed(FailedReason::Disabled);
    let parked = |until| Reason::RetryAfter { until, cause: None };
    vec![
        (Reason::Ending(REQUESTED), None, |case| case.waits.closed = None),
        (Reason::Ending(deleted), None, |case| case.state(WebhookState::Inactive)),
        (Reason::Ending(inactive), None, |case| case.state(WebhookState::Disabled(GONE))),
        (Reason::Ending(disabled), None, |case| {
            case.state(WebhookState::Paused { since: Wall(11) });
        }),
        (Reason::WebhookPaused { since: Wall(11) }, None, |case| case.state(WebhookState::Active)),
        (Reason::TargetPaused { since: Wall(12) }, None, |case| case.target_paused_since = None),
        (Reason::Expiring { deadline: Wall(13) }, None, |case| case.waits.deadline = NOW),
        (Reason::EventErased, None, |case| case.is_erased = false),
        (Reason::Held, None, |case| case.waits.is_held = false),
        (Reason::Settling, None, |case| case.waits.runs = true),
        // It is parked for longer than it waits anyway, and then for less.
        (parked(LATEST), Some(LATEST), |case| case.waits.parked_until = Some(LATER)),
        (parked(LATER), Some(LATER), |case| case.waits.parked_until = Some(Wall(LATER.0 - 1))),
        (Reason::Again { at: LATER }, Some(LATER), |case| {
            (case.waits.due, case.waits.parked_until) = (NOW, None);
        }),
        (Reason::TargetFailing { probe_at: Some(LATER) }, Some(LATER), |case| {
            case.waits.target = Breaking::Probe;
        }),
        (Reason::WebhookFailing { probe_at: None }, None, |case| {
            case.waits.lane = Breaking::Open(Some(LATER));
        }),
        (Reason::WebhookFailing { probe_at: Some(LATER) }, Some(LATER), |case| {
            case.waits.lane = Breaking::Closed;
        }),
        (Reason::WebhookConcurrency(FULL), None, |case| case.waits.lane_slots.used = 2),
        (Reason::TargetConcurrency(Slots { used: 4, max: 4 }), None, |case| {
            case.waits.target_slots.used = 3;
        }),
        (Reason::WebhookRate(rate(4), AHEAD), Some(LATER.plus(2_000)), |case| {
            case.waits.lane_rate = None;
        }),
        (Reason::TargetRate(rate(2), AHEAD), Some(LATER.plus(4_000)), |case| {
            case.waits.target_rate = None;
        }),
        (Reason::TargetUnproven, None, |case| case.waits.is_crowded = false),
        (Reason::DaemonConcurrency(Slots { used: 5, max: 5 }), None, |case| {
            case.waits.process_slots.used = 4;
        }),
        (Reason::Queued(AHEAD), None, |_| {}),
    ]
}

#[test]
fn of_many_reasons_the_first_is_told_until_it_is_lifted() {
    let mut case = Case::everything();
    for (wanted, at, lift) in steps() {
        let reason = case.reason();
        assert_eq!(reason, wanted);
        assert_eq!(next_at(&reason), at, "{reason:?}");
        lift(&mut case);
    }
}

#[test]
fn a_retry_tells_what_its_last_attempt_came_to_and_no_other_one() {
    let cause = Some(Cause { outcome: Outcome::Status(503), number: 2 });
    let reason = |attempts, why| Case::attempted(attempts, 2, why).reason();
    let retry = Reason::Retry { at: LATER, cause, why: Some(NextWhy::Slot) };
    assert_eq!(reason(2, NextWhy::Slot), retry);
    assert_eq!(next_at(&retry), Some(LATER));
    let parked = Reason::RetryAfter { until: LATER, cause };
    assert_eq!(reason(2, NextWhy::RetryAfter), parked);
    assert_eq!(next_at(&parked), Some(LATER));
    // The log does not hold the third one any more.
    let unknown = Reason::Retry { at: LATER, cause: None, why: None };
    assert_eq!(reason(3, NextWhy::RetryAfter), unknown);
    assert_eq!(next_at(&unknown), Some(LATER));
}

#[test]
fn a_retry_keeps_its_own_table_beside_open_breakers() {
    let mut case = Case::attempted(2, 2, NextWhy::Slot);
    case.waits.due = NOW;
    assert_eq!(case.reason(), Reason::WebhookConcurrency(FULL));
}
