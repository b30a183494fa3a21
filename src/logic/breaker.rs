//! The circuit breaker of a lane or a target.
//!
//! Owns when untried deliveries are held back, when one of them may probe, and how fast work
//! resumes. Must never delay a delivery that was already attempted: each keeps its own table.
//!
//! ```text
//! closed --failures_max in a row--> open --interval over--> half-open: one probe
//!   ^                                 ^                          |
//!   +---- success, slow start --------|------ success -----------+
//!                                     +------ failure: interval doubles, up to its maximum
//! ```
//!
//! After it closes, work resumes slowly: one attempt at a time, then twice as many after each
//! success, until the ordinary cap is reached.

use crate::model::time::{MINUTE_MS, Mono, SECOND_MS};

/// The first interval of an open breaker.
pub const INTERVAL_FIRST_MS: u64 = 30 * SECOND_MS;
/// The longest interval between two probes.
pub const INTERVAL_MAX_MS: u64 = 10 * MINUTE_MS;
/// Status failures in a row that open a lane.
pub const LANE_FAILURES_MAX: u32 = 10;
/// Connection failures in a row that open a target.
pub const TARGET_FAILURES_MAX: u32 = 5;

/// A breaker.
#[derive(Debug)]
pub struct Breaker {
    failures_max: u32,
    failures: u32,
    open: Option<Open>,
    /// Attempts allowed at once during a slow start.
    ramp: Option<u32>,
}

#[derive(Debug)]
struct Open {
    until: Mono,
    interval_ms: u64,
    probing: bool,
}

/// What the breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Anything.
    All,
    /// What was attempted before, and one probe.
    Probe,
    /// What was attempted before; a probe not before this instant (`None`: one is under way).
    Held(Option<Mono>),
}

impl Breaker {
    /// A closed breaker that opens after `failures_max` failures in a row.
    #[must_use]
    pub fn new(failures_max: u32) -> Breaker {
        Breaker { failures_max, failures: 0, open: None, ramp: None }
    }

    /// What is let through now.
    #[must_use]
    pub fn gate(&self, now: Mono) -> Gate {
        match &self.open {
            None => Gate::All,
            Some(open) if open.probing => Gate::Held(None),
            Some(open) if open.until <= now => Gate::Probe,
            Some(open) => Gate::Held(Some(open.until)),
        }
    }

    /// A probe was started.
    pub fn probe_started(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = true;
        }
    }

    /// A probe ended without saying anything about the target.
    pub fn probe_lost(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = false;
        }
    }

    /// An attempt succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        if self.open.take().is_some() {
            self.ramp = Some(1);
        } else if let Some(ramp) = &mut self.ramp {
            *ramp = ramp.saturating_mul(2);
        }
    }

    /// An attempt failed; `probe` if it was this breaker's probe.
    pub fn failed(&mut self, now: Mono, probe: bool) {
        self.failures = self.failures.saturating_add(1);
        match &mut self.open {
            Some(open) if probe => {
                open.interval_ms = (open.interval_ms * 2).min(INTERVAL_MAX_MS);
                open.until = now.plus(open.interval_ms);
                open.probing = false;
            }
            Some(_) => {}
            None if self.failures >= self.failures_max => {
                let interval_ms = INTERVAL_FIRST_MS;
                self.open =
                    Some(Open { until: now.plus(interval_ms), interval_ms, probing: false });
                self.ramp = None;
            }
            None => {}
        }
    }

    /// How many attempts may be under way at once, given the ordinary cap.
    pub fn in_flight_max(&mut self, cap: u32) -> u32 {
        match self.ramp {
            Some(ramp) if ramp < cap => ramp,
            _ => {
                self.ramp = None;
                cap
            }
        }
    }

    /// The same, without ending a slow start that is over.
    #[must_use]
    pub fn cap(&self, cap: u32) -> u32 {
        self.ramp.map_or(cap, |ramp| ramp.min(cap))
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it holds deliveries back.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_probes_and_starts_slowly() {
        let mut breaker = Breaker::new(2);
        breaker.failed(Mono(0), false);
        assert_eq!(breaker.gate(Mono(0)), Gate::All);
        breaker.failed(Mono(10), false);
        let until = Mono(10 + INTERVAL_FIRST_MS);
        assert_eq!(breaker.gate(Mono(11)), Gate::Held(Some(until)));
        assert_eq!(breaker.gate(until), Gate::Probe);
        breaker.probe_started();
        assert_eq!(breaker.gate(until), Gate::Held(None));
        breaker.failed(until, true);
        let again = until.plus(2 * INTERVAL_FIRST_MS);
        assert_eq!(breaker.gate(until), Gate::Held(Some(again)));
        breaker.probe_started();
        breaker.probe_lost();
        assert_eq!(breaker.gate(again), Gate::Probe);
        breaker.succeeded();
        assert_eq!(breaker.gate(again), Gate::All);
        assert_eq!(breaker.in_flight_max(32), 1);
        breaker.succeeded();
        assert_eq!(breaker.in_flight_max(32), 2);
        for _ in 0..4 {
            breaker.succeeded();
        }
        assert_eq!(breaker.in_flight_max(32), 32);
    }

    #[test]
    fn the_interval_is_bounded_and_other_failures_do_not_move_it() {
        let mut breaker = Breaker::new(1);
        breaker.failed(Mono(0), false);
        for _ in 0..20 {
            breaker.probe_started();
            breaker.failed(Mono(0), true);
        }
        assert_eq!(breaker.gate(Mono(0)), Gate::Held(Some(Mono(INTERVAL_MAX_MS))));
        breaker.failed(Mono(5), false);
        assert_eq!(breaker.gate(Mono(5)), Gate::Held(Some(Mono(INTERVAL_MAX_MS))));
    }
}
