//! When a change is told: once, and not more often than a receiver can bear.
//!
//! Owns what was told of each target, each webhook and the store, and how many expired deliveries.
//! Must never lose the last state: what was withheld is told when its time has come.
//!
//! A state that flaps is told as failing at most once in [`FLAP_MS`], and as recovered at most once
//! after each time that it was told as failing. What fails and recovers within that time, after it
//! was told once, is not told again.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::attempt::Outcome;
use crate::model::delivery::Finished;
use crate::model::ids::WebhookId;
use crate::model::target::Origin;
use crate::model::time::{MINUTE_MS, Mono, Now, Wall};

/// The same state is told as failing at most once in this time.
pub const FLAP_MS: u64 = MINUTE_MS;
/// Expired deliveries of one webhook that are told one by one in [`EXPIRED_MS`].
pub const EXPIRED_TOLD_MAX: u32 = 10;
/// See [`EXPIRED_TOLD_MAX`].
pub const EXPIRED_MS: u64 = MINUTE_MS;

/// What may fail and recover.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A target's connections.
    Target(Origin),
    /// What a target answers to one webhook.
    Webhook(WebhookId),
    /// The store's room.
    Store,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It fails.
    Failing {
        /// What.
        subject: Subject,
        /// Since when.
        since: Wall,
        /// By which outcome of an attempt.
        outcome: Option<Outcome>,
    },
    /// It does not fail any more.
    Recovered {
        /// What.
        subject: Subject,
        /// Since when it had failed.
        since: Wall,
    },
    /// A delivery expired.
    Expired {
        /// Which.
        finished: Finished,
        /// How many others of its webhook were not told since the last one that was.
        omitted: u64,
    },
}

/// What was told, and what waits to be.
#[derive(Debug, Default)]
pub struct Notices {
    states: BTreeMap<Subject, State>,
    expired: BTreeMap<WebhookId, Window>,
    wakes: BTreeSet<(Mono, Wake)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    State(Subject),
    Expired(WebhookId),
}

#[derive(Debug)]
struct State {
    is_failing: bool,
    since: Wall,
    outcome: Option<Outcome>,
    /// Told as failing, and not as recovered since.
    is_told: bool,
    told_at: Mono,
    told_since: Wall,
}

#[derive(Debug)]
struct Window {
    until: Mono,
    told: u32,
    withheld: u64,
    last: Option<Finished>,
}

impl Notices {
    /// It began to fail.
    pub fn failing(
        &mut self,
        now: Now,
        subject: Subject,
        outcome: Option<Outcome>,
    ) -> Option<Told> {
        let since = now.wall;
        if let Some(state) = self.states.get_mut(&subject) {
            if state.is_failing {
                return None;
            }
            (state.is_failing, state.since, state.outcome) = (true, since, outcome);
            if now.mono < state.told_at.plus(FLAP_MS) {
                return None;
            }
        }
        Some(self.tell_failing(now, subject, since, outcome))
    }

    fn tell_failing(
        &mut self,
        now: Now,
        subject: Subject,
        since: Wall,
        outcome: Option<Outcome>,
    ) -> Told {
        let state = State {
            is_failing: true,
            since,
            outcome,
            is_told: true,
            told_at: now.mono,
            told_since: since,
        };
        self.states.insert(subject.clone(), state);
        self.wakes.insert((now.mono.plus(FLAP_MS), Wake::State(subject.clone())));
        Told::Failing { subject, since, outcome }
    }

    /// It does not fail any more.
    pub fn recovered(&mut self, now: Now, subject: &Subject) -> Option<Told> {
        let state = self.states.get_mut(subject)?;
        state.is_failing = false;
        let told = std::mem::take(&mut state.is_told);
        let since = state.told_since;
        if now.mono >= state.told_at.plus(FLAP_MS) {
            self.states.remove(subject);
        }
        told.then(|| Told::Recovered { subject: subject.clone(), since })
    }

    /// What was known of it does not matter any more: nothing is told.
    pub fn forget(&mut self, now: Now, subject: &Subject) {
        // Its time runs on, so that being changed again and again tells no more.
        drop(self.recovered(now, subject));
    }

    /// Whether it fails, as far as was heard.
    #[must_use]
    pub fn is_failing(&self, subject: &Subject) -> bool {
        self.states.get(subject).is_some_and(|state| state.is_failing)
    }

    /// A delivery expired.
    pub fn expired(&mut self, now: Now, finished: Finished) -> Option<Told> {
        let id = finished.webhook;
        let window = self.expired.entry(id).or_insert_with(|| {
            let until = now.mono.plus(EXPIRED_MS);
            self.wakes.insert((until, Wake::Expired(id)));
            Window { until, told: 0, withheld: 0, last: None }
        });
        if window.told == EXPIRED_TOLD_MAX {
            window.withheld += 1;
            window.last = Some(finished);
            return None;
        }
        window.told += 1;
        Some(Told::Expired { finished, omitted: 0 })
    }

    /// The next of what waited and may be told now.
    pub fn due(&mut self, now: Now) -> Option<Told> {
        while let Some((at, _)) = self.wakes.first()
            && *at <= now.mono
            && let Some((_, wake)) = self.wakes.pop_first()
        {
            let told = match wake {
                Wake::State(subject) => self.state_due(now, subject),
                Wake::Expired(id) => self.expired_due(now, id),
            };
            if told.is_some() {
                return told;
            }
        }
        None
    }

    /// When something that waits may be told.
    #[must_use]
    pub fn next_wake(&self) -> Option<Mono> {
        self.wakes.first().map(|(at, _)| *at)
    }

    fn state_due(&mut self, now: Now, subject: Subject) -> Option<Told> {
        let state = self.states.get(&subject)?;
        if now.mono < state.told_at.plus(FLAP_MS) {
            return None;
        }
        if !state.is_failing {
            self.states.remove(&subject);
            return None;
        }
        let (since, outcome) = (state.since, state.outcome);
        (!state.is_told).then(|| self.tell_failing(now, subject, since, outcome))
    }

    fn expired_due(&mut self, now: Now, id: WebhookId) -> Option<Told> {
        let window = self.expired.get_mut(&id)?;
        let Some(finished) = window.last.take() else {
            self.expired.remove(&id);
            return None;
        };
        let omitted = window.withheld.saturating_sub(1);
        *window = Window { until: now.mono.plus(EXPIRED_MS), told: 1, withheld: 0, last: None };
        self.wakes.insert((window.until, Wake::Expired(id)));
        Some(Told::Expired { finished, omitted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::delivery::{Ending, FailedReason};
    use crate::model::ids::{ProjectId, Seq};
    use proptest::prelude::*;

    fn at(ms: u64) -> Now {
        Now { wall: Wall(1_000_000 + ms), mono: Mono(ms) }
    }

    fn finished(seq: u64) -> Finished {
        Finished {
            seq: Seq(seq),
            event: Seq(seq),
            webhook: WebhookId::new(1).expect("an id"),
            project: ProjectId::new(1).expect("an id"),
            attempts: 1,
            accepted: Wall(0),
            finished: Wall(1),
            ending: Ending::Failed(FailedReason::Expired),
        }
    }

    fn all_due(notices: &mut Notices, now: Now) -> Vec<Told> {
        std::iter::from_fn(|| notices.due(now)).collect()
    }

    #[test]
    fn a_change_is_told_once_and_a_pair_belongs_together() {
        let mut notices = Notices::default();
        let subject = Subject::Store;
        let failing = Told::Failing { subject: subject.clone(), since: at(5).wall, outcome: None };
        assert_eq!(notices.failing(at(5), subject.clone(), None), Some(failing));
        assert_eq!(notices.failing(at(6), subject.clone(), None), None);
        let recovered = Told::Recovered { subject: subject.clone(), since: at(5).wall };
        assert_eq!(notices.recovered(at(7), &subject), Some(recovered));
        assert_eq!(notices.recovered(at(8), &subject), None);
        // Within the minute: only what still fails at its end is told.
        assert_eq!(notices.failing(at(9), subject.clone(), None), None);
        assert_eq!(notices.recovered(at(10), &subject), None);
        assert_eq!(notices.failing(at(11), subject.clone(), None), None);
        assert_eq!(notices.next_wake(), Some(Mono(5 + FLAP_MS)));
        let again = Told::Failing { subject: subject.clone(), since: at(11).wall, outcome: None };
        assert_eq!(all_due(&mut notices, at(5 + FLAP_MS)), [again]);
        assert!(notices.recovered(at(5 + 3 * FLAP_MS), &subject).is_some());
        assert_eq!(all_due(&mut notices, at(5 + 3 * FLAP_MS)), []);
        assert!(notices.states.is_empty() && notices.wakes.is_empty());
    }

    #[test]
    fn what_is_forgotten_does_not_recover() {
        let mut notices = Notices::default();
        assert!(notices.failing(at(0), Subject::Store, None).is_some());
        notices.forget(at(0), &Subject::Store);
        assert_eq!(notices.recovered(at(1), &Subject::Store), None);
        assert_eq!(all_due(&mut notices, at(FLAP_MS)), []);
        assert!(notices.states.is_empty());
    }

    #[test]
    fn expired_deliveries_are_told_or_counted() {
        let mut notices = Notices::default();
        let told = (0..25).filter(|seq| notices.expired(at(*seq), finished(*seq)).is_some());
        assert_eq!(told.count(), EXPIRED_TOLD_MAX as usize);
        let last = Told::Expired { finished: finished(24), omitted: 14 };
        assert_eq!(all_due(&mut notices, at(EXPIRED_MS)), [last]);
        assert_eq!(all_due(&mut notices, at(2 * EXPIRED_MS)), []);
        assert!(notices.expired.is_empty() && notices.wakes.is_empty());
    }

    proptest! {
        /// However it flaps: failing and recovered alternate, failing is a minute apart, and in the
        /// end what was told is what is.
        #[test]
        fn flapping_is_bounded(steps in proptest::collection::vec((any::<bool>(), 0..40_000u64), 1..60)) {
            let mut notices = Notices::default();
            let (mut ms, mut is_failing, mut told) = (0, false, Vec::new());
            for (fails, gap_ms) in steps {
                ms += gap_ms;
                told.extend(all_due(&mut notices, at(ms)).into_iter().map(|one| (ms, one)));
                is_failing = fails;
                let one = if fails {
                    notices.failing(at(ms), Subject::Store, None)
                } else {
                    notices.recovered(at(ms), &Subject::Store)
                };
                told.extend(one.map(|one| (ms, one)));
            }
            ms += FLAP_MS;
            told.extend(all_due(&mut notices, at(ms)).into_iter().map(|one| (ms, one)));
            let is_failed = |one: &Told| matches!(one, Told::Failing { .. });
            for (place, (_, one)) in told.iter().enumerate() {
                prop_assert_eq!(is_failed(one), place % 2 == 0);
            }
            let failed: Vec<u64> =
                told.iter().filter(|(_, one)| is_failed(one)).map(|(at, _)| *at).collect();
            prop_assert!(failed.windows(2).all(|pair| pair[1] - pair[0] >= FLAP_MS));
            prop_assert_eq!(told.len() % 2 == 1, is_failing);
        }
    }
}
