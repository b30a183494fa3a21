//! The steady clock: wall time that durations can be measured with.
//!
//! Owns the step from what the wall and the monotonic clock show to the time by which everything
//! is scheduled, numbered and expired. Must never be used where the outside compares: signatures
//! and `Retry-After` dates go by the wall clock itself.
//!
//! A wall clock can be wrong when the machine starts, be corrected an hour later, be set to the
//! wrong year by hand and back again, or stand still with its whole virtual machine. Retries must
//! not bunch or stop because of it, and no delivery may expire because somebody mistyped a year.
//!
//! * **It runs with the monotonic clock**, which includes the time that the machine slept. So
//!   after a suspend, what fell due is due, and 72 hours are 72 hours.
//! * **A small lead of the wall clock** ([`STEP_MS_MIN`]: drift, slewing) is followed at once.
//! * **A step forward** is believed when the wall clock has kept it for [`BELIEVE_MS`]. Until then
//!   this clock runs on as if it had not happened: a year forward and, ten minutes later, a year
//!   back leave no trace. (A machine that was frozen as a whole looks the same from inside; there,
//!   what is due is late by at most that hour.)
//! * **A wall clock that is behind**, by a step or by drift, is approached by running a tenth
//!   slower, never by going back: due times keep their order and meaning, and gaps between
//!   attempts stretch by no more than jitter does.
//! * **While it is young** ([`YOUNG_MS`] after the start) it knows only what the wall clock says
//!   and when the store's newest number was given out; the later of both is where it starts, so a
//!   dead battery's 1970 stops nothing. Machines set their clock just after the boot, so a step
//!   forward is followed at once, and one back by more than a whole retry window is too, down to
//!   that newest number. In return nothing expires while it is young: deliveries whose 72 hours
//!   ran out while the daemon was off end as expired when that time is over.
//!
//! What it can't cure: a wall clock that stays wrong for longer than an hour is believed, and
//! numbers that were given out in a wrong future are never undone. Order and durations stay right
//! then; dates are wrong until the calendar has caught up. And what is accepted while it is young and
//! behind (no battery, and the newest number is old) has a table that begins too early: when the
//! wall clock is set, its 72 hours are shorter by as much as this clock was behind.

use super::retry::WINDOW_MS;
use crate::model::time::{HOUR_MS, MINUTE_MS, Mono, Now, SECOND_MS, Wall};

/// A lead of the wall clock up to this is drift; a larger one is a step.
pub const STEP_MS_MIN: u64 = 10 * SECOND_MS;
/// How long the wall clock must have kept a step forward.
pub const BELIEVE_MS: u64 = HOUR_MS;
/// How long after the start the wall clock is still expected to be set, and nothing expires.
pub const YOUNG_MS: u64 = 10 * MINUTE_MS;
/// Behind this clock, the wall clock is approached by one part in so many.
const SLEW_DIVISOR: u64 = 10;
/// How often the reckoning starts anew, so that a tenth of it is never rounded away.
const ANCHOR_MS: u64 = SECOND_MS;

/// The steady clock.
#[derive(Debug)]
pub struct Steady {
    /// When it started, and the store's newest number until then.
    newest: Now,
    /// What it showed at some reading, and the monotonic time of it.
    anchor: Now,
    last: Wall,
    step: Option<Step>,
}

/// A step forward that is not believed yet.
#[derive(Debug)]
struct Step {
    ms: u64,
    since: Mono,
}

impl Steady {
    /// A clock that starts now; `newest` is when the store's newest number was given out.
    #[must_use]
    pub fn new(now: Now, newest: Wall) -> Steady {
        let start = Now { wall: now.wall.max(newest), mono: now.mono };
        let newest = Now { wall: newest, mono: now.mono };
        Steady { newest, anchor: start, last: start.wall, step: None }
    }

    /// What it shows, given both clocks.
    pub fn read(&mut self, now: Now) -> Now {
        let ran_ms = now.mono.since(self.anchor.mono);
        let ran = self.anchor.wall.plus(ran_ms);
        let wall =
            if now.wall > ran { self.ahead(now, ran) } else { self.behind(now, ran, ran_ms) };
        if wall > ran || wall < self.last || ran_ms >= ANCHOR_MS {
            self.anchor = Now { wall, mono: now.mono };
        }
        self.last = wall;
        Now { wall, mono: now.mono }
    }

    fn ahead(&mut self, now: Now, ran: Wall) -> Wall {
        let ms = now.wall.since(ran);
        if ms <= STEP_MS_MIN || self.is_young(now.mono) {
            self.step = None;
            return now.wall;
        }
        match &self.step {
            Some(step) if step.ms.abs_diff(ms) <= STEP_MS_MIN => {
                if now.mono.since(step.since) < BELIEVE_MS {
                    return ran.max(self.last);
                }
                self.step = None;
                now.wall
            }
            _ => {
                self.step = Some(Step { ms, since: now.mono });
                ran.max(self.last)
            }
        }
    }

    fn behind(&mut self, now: Now, ran: Wall, ran_ms: u64) -> Wall {
        self.step = None;
        let newest = self.newest.wall.plus(now.mono.since(self.newest.mono));
        let set_to = now.wall.max(newest);
        if self.is_young(now.mono) && ran.since(set_to) > WINDOW_MS {
            return set_to;
        }
        let slew_ms = (ran_ms / SLEW_DIVISOR).min(ran.since(now.wall));
        Wall(ran.0 - slew_ms).max(self.last)
    }

    fn is_young(&self, mono: Mono) -> bool {
        mono.since(self.newest.mono) < YOUNG_MS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::time::DAY_MS;

    const START: u64 = 1_700_000_000_000;
    const YEAR_MS: u64 = 365 * DAY_MS;

    /// Both clocks of a machine, and a steady clock that is read every second.
    struct Machine {
        steady: Steady,
        wall_ms: u64,
        mono_ms: u64,
        shows: Wall,
    }

    impl Machine {
        fn new(newest: Wall) -> Machine {
            let now = Now { wall: Wall(START), mono: Mono(7) };
            let steady = Steady::new(now, newest);
            Machine { steady, wall_ms: START, mono_ms: 7, shows: Wall(START).max(newest) }
        }

        /// One that is not young any more.
        fn settled() -> Machine {
            let mut machine = Machine::new(Wall(0));
            machine.run(YOUNG_MS);
            machine
        }

        fn read(&mut self) -> Wall {
            let now = Now { wall: Wall(self.wall_ms), mono: Mono(self.mono_ms) };
            self.shows = self.steady.read(now).wall;
            self.shows
        }

        fn run(&mut self, ms: u64) -> Wall {
            self.read();
            for _ in 0..ms / SECOND_MS {
                self.wall_ms += SECOND_MS;
                self.mono_ms += SECOND_MS;
                self.read();
            }
            self.shows
        }
    }

    #[test]
    fn a_year_forward_and_back_leaves_no_trace() {
        let mut machine = Machine::settled();
        let before = machine.shows;
        machine.wall_ms += YEAR_MS;
        assert_eq!(machine.run(10 * MINUTE_MS), before.plus(10 * MINUTE_MS));
        machine.wall_ms -= YEAR_MS;
        assert_eq!(machine.run(DAY_MS), before.plus(DAY_MS + 10 * MINUTE_MS));
        assert_eq!(machine.shows, Wall(machine.wall_ms));
    }

    #[test]
    fn a_step_forward_that_stays_is_believed_after_an_hour() {
        let mut machine = Machine::settled();
        machine.wall_ms += 2 * DAY_MS;
        machine.run(BELIEVE_MS - SECOND_MS);
        assert_eq!(machine.shows, Wall(machine.wall_ms - 2 * DAY_MS));
        assert_eq!(machine.run(SECOND_MS), Wall(machine.wall_ms));
        // One that moves meanwhile is a new one.
        machine.wall_ms += DAY_MS;
        machine.run(BELIEVE_MS / 2);
        machine.wall_ms += DAY_MS;
        machine.run(BELIEVE_MS - SECOND_MS);
        assert_eq!(machine.shows, Wall(machine.wall_ms - 2 * DAY_MS));
        assert_eq!(machine.run(SECOND_MS), Wall(machine.wall_ms));
    }

    #[test]
    fn a_step_back_is_run_in_by_tenths() {
        let mut machine = Machine::settled();
        let before = machine.shows;
        machine.wall_ms -= 5 * DAY_MS;
        assert_eq!(machine.run(10 * HOUR_MS), before.plus(9 * HOUR_MS));
        machine.run(50 * DAY_MS);
        assert_eq!(machine.shows, Wall(machine.wall_ms));
    }

    #[test]
    fn a_sleep_has_passed_when_the_machine_wakes() {
        let mut machine = Machine::settled();
        let before = machine.shows;
        machine.wall_ms += 3 * DAY_MS + 400;
        machine.mono_ms += 3 * DAY_MS;
        assert_eq!(machine.read(), before.plus(3 * DAY_MS + 400));
    }

    #[test]
    fn a_dead_battery_starts_at_the_newest_number_and_follows_when_it_is_set() {
        let newest = Wall(START + 20 * YEAR_MS);
        let mut machine = Machine::new(newest);
        assert_eq!(machine.run(MINUTE_MS).since(newest), 54 * SECOND_MS);
        machine.wall_ms = newest.plus(30 * DAY_MS).0;
        assert_eq!(machine.read(), Wall(machine.wall_ms));
    }

    #[test]
    fn a_wrong_future_at_the_start_is_undone_while_young() {
        let mut machine = Machine::new(Wall(START - YEAR_MS - DAY_MS));
        machine.run(2 * MINUTE_MS);
        machine.wall_ms -= YEAR_MS;
        assert_eq!(machine.run(SECOND_MS), Wall(machine.wall_ms));
        // Never below what has been given out, and not for less than a window.
        machine.wall_ms -= YEAR_MS;
        assert_eq!(machine.run(0).since(Wall(START - YEAR_MS)), 121 * SECOND_MS);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Whatever the wall clock does: never back, never slower than nine tenths; faster only to
        /// where the wall clock is, and by more than a small lead only after it stood for an hour.
        #[test]
        fn durations_can_be_trusted(
            steps in proptest::collection::vec((-400_000_000_000i64..400_000_000_000, 1..20_000u64), 1..40),
            small in proptest::collection::vec((-5_000i64..5_000, 1..2_000u64), 1..40),
        ) {
            let mut machine = Machine::settled();
            let mut stood_ms = u64::MAX;
            for (step, seconds) in steps.into_iter().chain(small) {
                machine.wall_ms = machine.wall_ms.saturating_add_signed(step);
                stood_ms = if step.unsigned_abs() > STEP_MS_MIN { 0 } else { stood_ms };
                for second in 0..=seconds {
                    let before = machine.shows;
                    if second > 0 {
                        machine.wall_ms += SECOND_MS;
                        machine.mono_ms += SECOND_MS;
                        stood_ms = stood_ms.saturating_add(SECOND_MS);
                    }
                    let after = machine.read();
                    let ms = if second > 0 { SECOND_MS } else { 0 };
                    prop_assert!(after >= before.plus(ms * 9 / 10));
                    if after > before.plus(ms) {
                        prop_assert_eq!(after, Wall(machine.wall_ms));
                        prop_assert!(after <= before.plus(ms + STEP_MS_MIN) || stood_ms >= BELIEVE_MS);
                    }
                }
            }
        }
    }
}
