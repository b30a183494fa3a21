//! Why a delivery is where it is.
//!
//! Owns the one reason that is given where several hold, and its order: what ends it, what is under
//! way, what a person has stopped, what a clock waits for, what the target did, what is full, and
//! last whose turn it is. Must never guess: what the log does not tell any more is left out. The
//! words are in [`words`].

pub mod words;

use super::dispatcher::standing::{Breaking, Refused, Slots, Standing, Waits};
use crate::model::attempt::{self, Attempt, NextWhy, Outcome};
use crate::model::delivery::{CancelledReason, Delivery, Ending, FailedReason, Finished, Pending};
use crate::model::target::Origin;
use crate::model::time::Wall;
use crate::model::webhook::{DisabledReason, Webhook, WebhookState};

/// What is known about a delivery.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The engine's time.
    pub now: Wall,
    /// The delivery.
    pub delivery: &'a Delivery,
    /// Its webhook, if there is one still.
    pub webhook: Option<&'a Webhook>,
    /// Since when nothing is sent to its target, if the operator paused it.
    pub target_paused_since: Option<Wall>,
    /// Where it stands, if it waits.
    pub standing: Option<&'a Standing>,
    /// Its last attempt, if it is in the log.
    pub last: Option<&'a Attempt>,
    /// Whether its event's payload was erased.
    pub is_erased: bool,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The answer, or why there was none.
    pub outcome: Outcome,
    /// The number of the attempt.
    pub number: u32,
}

impl Cause {
    fn of(attempt: &Attempt) -> Cause {
        Cause { outcome: attempt.outcome, number: attempt.number }
    }

    /// The class of it.
    #[must_use]
    pub fn reason(self) -> attempt::Reason {
        self.outcome.reason()
    }
}

/// The deliveries of its webhook that are before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// So many.
    pub deliveries: u64,
    /// Whether these are all.
    pub is_exact: bool,
}

/// Why a delivery is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An attempt is under way.
    InFlight {
        /// Its number.
        attempt: u32,
        /// Since when.
        started: Wall,
    },
    /// What came of an attempt, or a change of its webhook, is being written.
    Settling,
    /// It won't be attempted any more, and is about to end so.
    Ending(Ending),
    /// Its time is over, and it is about to end.
    Expiring {
        /// No attempt could start later.
        deadline: Wall,
    },
    /// Its event's payload was erased; it ends when its turn comes.
    EventErased,
    /// Its webhook is paused.
    WebhookPaused {
        /// Since when.
        since: Wall,
    },
    /// Its target is paused, by the operator.
    TargetPaused {
        /// Since when.
        since: Wall,
    },
    /// The daemon makes no attempts: it stops, or was started without.
    Held,
    /// The target asked to be left alone until then.
    RetryAfter {
        /// Until when.
        until: Wall,
        /// Its own last attempt, if there was one: it may have been another's that was told so.
        cause: Option<Cause>,
    },
    /// Its last attempt failed, and the next is planned.
    Retry {
        /// When.
        at: Wall,
        /// What came of the last one; `None` if it is not in the log any more.
        cause: Option<Cause>,
        /// Why then.
        why: Option<NextWhy>,
    },
    /// It was to be attempted, and for want of something of ours it was not.
    Again {
        /// When it is tried again.
        at: Wall,
    },
    /// The target can't be reached: one probe is made from time to time, others wait for it.
    TargetFailing {
        /// When the next probe may start; `None` while one is under way.
        probe_at: Option<Wall>,
    },
    /// The webhook's attempts fail one after another: one probe is made from time to time.
    WebhookFailing {
        /// When the next probe may start; `None` while one is under way.
        probe_at: Option<Wall>,
    },
    /// As many attempts of the webhook are under way as may be.
    WebhookConcurrency(Slots),
    /// As many attempts to the target are under way as may be.
    TargetConcurrency(Slots),
    /// The webhook's own rate is used up.
    WebhookRate(Refused, Ahead),
    /// The target's rate is used up.
    TargetRate(Refused, Ahead),
    /// The target has not answered lately, and others like it use the share that such have.
    TargetUnproven,
    /// As many attempts are under way as the daemon makes at once.
    DaemonConcurrency(Slots),
    /// It is due, and waits for its turn.
    Queued(Ahead),
    /// It arrived.
    Delivered {
        /// When.
        at: Wall,
        /// How long after its event was accepted, in milliseconds.
        after_ms: u64,
        /// What the target answered.
        cause: Option<Cause>,
    },
    /// Its 72 hours were over.
    Expired {
        /// When.
        at: Wall,
        /// What came of its last attempt.
        cause: Option<Cause>,
    },
    /// Its webhook was disabled: the target answered 410.
    DisabledGone {
        /// When.
        at: Wall,
        /// Whether it was this delivery that the target answered so.
        by_this: bool,
    },
    /// Its webhook was disabled by the operator.
    DisabledOperator {
        /// When.
        at: Wall,
    },
    /// Its webhook was disabled by itself: nothing had succeeded for long.
    DisabledFailing {
        /// When.
        at: Wall,
    },
    /// Its webhook was disabled, and is not any more: why is not known.
    Disabled {
        /// When.
        at: Wall,
    },
    /// Its record or its event's was damaged on disk.
    Damaged {
        /// When that was found.
        at: Wall,
    },
    /// Its webhook was made inactive.
    WebhookInactive {
        /// When.
        at: Wall,
    },
    /// Its webhook was deleted.
    WebhookDeleted {
        /// When.
        at: Wall,
    },
    /// Its event's payload was erased.
    Erased {
        /// When that was found.
        at: Wall,
    },
    /// Somebody cancelled it.
    Requested {
        /// When.
        at: Wall,
    },
}

/// Why a delivery is where it is.
#[must_use]
pub fn explain(facts: &Facts<'_>) -> Reason {
    match facts.delivery {
        Delivery::Finished(end) => ended(facts, end),
        Delivery::Pending(row) => match facts.standing {
            Some(Standing::UnderWay { started }) => {
                Reason::InFlight { attempt: row.attempts + 1, started: *started }
            }
            Some(Standing::Settling) => Reason::Settling,
            Some(Standing::Waits(waits)) => waiting(facts, row, waits),
            Some(Standing::NoLane) => Reason::Ending(Ending::Cancelled(CancelledReason::Deleted)),
            None => Reason::Held,
        },
    }
}

fn ended(facts: &Facts<'_>, end: &Finished) -> Reason {
    let at = end.finished;
    let cause = facts.last.map(Cause::of);
    match end.ending {
        Ending::Delivered => Reason::Delivered { at, after_ms: at.since(end.accepted), cause },
        Ending::Failed(FailedReason::Expired) => Reason::Expired { at, cause },
        Ending::Failed(FailedReason::Damaged) => Reason::Damaged { at },
        Ending::Failed(FailedReason::Disabled) => disabled(facts, at),
        Ending::Cancelled(CancelledReason::Inactive) => Reason::WebhookInactive { at },
        Ending::Cancelled(CancelledReason::Deleted) => Reason::WebhookDeleted { at },
        Ending::Cancelled(CancelledReason::Erased) => Reason::Erased { at },
        Ending::Cancelled(CancelledReason::Requested) => Reason::Requested { at },
    }
}

/// The record says that its webhook was disabled; the attempt and the webhook may say why.
fn disabled(facts: &Facts<'_>, at: Wall) -> Reason {
    if facts.last.is_some_and(|last| last.reason() == attempt::Reason::Gone) {
        return Reason::DisabledGone { at, by_this: true };
    }
    match facts.webhook.map(|webhook| webhook.state) {
        Some(WebhookState::Disabled(DisabledReason::Gone)) => {
            Reason::DisabledGone { at, by_this: false }
        }
        Some(WebhookState::Disabled(DisabledReason::Operator)) => Reason::DisabledOperator { at },
        Some(WebhookState::Disabled(DisabledReason::Failing)) => Reason::DisabledFailing { at },
        _ => Reason::Disabled { at },
    }
}

fn waiting(facts: &Facts<'_>, row: &Pending, waits: &Waits) -> Reason {
    if let Some(ending) = waits.closed {
        return Reason::Ending(ending);
    }
    match facts.webhook.map(|webhook| webhook.state) {
        None => return Reason::Ending(Ending::Cancelled(CancelledReason::Deleted)),
        Some(WebhookState::Inactive) => {
            return Reason::Ending(Ending::Cancelled(CancelledReason::Inactive));
        }
        Some(WebhookState::Disabled(_)) => {
            return Reason::Ending(Ending::Failed(FailedReason::Disabled));
        }
        Some(WebhookState::Paused { since }) => return Reason::WebhookPaused { since },
        Some(WebhookState::Active) => {}
    }
    if let Some(since) = facts.target_paused_since {
        return Reason::TargetPaused { since };
    }
    // What stands still is no more over than its clock goes on.
    if facts.now > waits.deadline {
        return Reason::Expiring { deadline: waits.deadline };
    }
    if facts.is_erased {
        return Reason::EventErased;
    }
    if waits.is_held {
        return Reason::Held;
    }
    if !waits.runs {
        // Its webhook is being stopped or let go on.
        return Reason::Settling;
    }
    if let Some(until) = waits.parked_until.filter(|until| *until >= waits.due) {
        return Reason::RetryAfter { until, cause: facts.last.map(Cause::of) };
    }
    if waits.due > facts.now {
        return scheduled(facts, row, waits.due);
    }
    due_now(row, waits)
}

fn scheduled(facts: &Facts<'_>, row: &Pending, at: Wall) -> Reason {
    if row.attempts == 0 {
        return Reason::Again { at };
    }
    let last = facts.last.filter(|last| last.number == row.attempts);
    let (cause, why) = (last.map(Cause::of), last.and_then(|last| last.next_why));
    match why {
        Some(NextWhy::RetryAfter) => Reason::RetryAfter { until: at, cause },
        why => Reason::Retry { at, cause, why },
    }
}

/// It may be attempted: what keeps it is a limit.
fn due_now(row: &Pending, waits: &Waits) -> Reason {
    // Breakers hold back what was never attempted; each retry keeps its own table.
    if row.attempts == 0 {
        if let Breaking::Open(probe_at) = waits.target {
            return Reason::TargetFailing { probe_at };
        }
        if let Breaking::Open(probe_at) = waits.lane {
            return Reason::WebhookFailing { probe_at };
        }
    }
    let ahead = Ahead { deliveries: waits.ahead as u64, is_exact: waits.is_ahead_exact };
    if waits.lane_slots.is_full() {
        return Reason::WebhookConcurrency(waits.lane_slots);
    }
    if waits.target_slots.is_full() {
        return Reason::TargetConcurrency(waits.target_slots);
    }
    if let Some(refused) = waits.lane_rate {
        return Reason::WebhookRate(refused, ahead);
    }
    if let Some(refused) = waits.target_rate {
        return Reason::TargetRate(refused, ahead);
    }
    if waits.is_crowded {
        return Reason::TargetUnproven;
    }
    if waits.process_slots.is_full() {
        return Reason::DaemonConcurrency(waits.process_slots);
    }
    Reason::Queued(ahead)
}

/// A delivery's place, for those who read.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its webhook's number.
    pub webhook: u32,
    /// Its target, if its webhook is there still.
    pub target: Option<&'a Origin>,
}

#[cfg(test)]
mod tests;
