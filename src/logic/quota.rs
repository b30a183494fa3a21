//! Rate limits of targets and lanes, by governor.
//!
//! Owns one direct limiter each, asked with the dispatcher's own time. Must never wait: a refusal
//! names the instant at which to ask again, and the asker stands in the wheel until then.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};

use crate::model::time::Mono;

/// A rate and its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Permits a second.
    pub per_second: NonZeroU32,
    /// Permits at once after a quiet time.
    pub burst: NonZeroU32,
}

impl Rate {
    /// A rate of at least 1 a second with a burst of at least 1.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Rate {
        let at_least_one = |value: u32| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
        Rate { per_second: at_least_one(per_second), burst: at_least_one(burst) }
    }
}

/// A limiter. Dropped with its target or lane, so nothing is left to collect.
#[derive(Debug)]
pub struct Quota {
    rate: Rate,
    clock: SetClock,
    /// When it said to ask again, if it refused last.
    refused_until: Option<Mono>,
    limiter: RateLimiter<NotKeyed, InMemoryState, SetClock, NoOpMiddleware<Nanos>>,
}

impl Quota {
    /// A limiter with its whole burst to give.
    #[must_use]
    pub fn new(rate: Rate, now: Mono) -> Quota {
        let clock = SetClock::default();
        clock.set(now);
        let quota = governor::Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Quota { rate, limiter, clock, refused_until: None }
    }

    /// Spends the burst: after a restart, what was sent before it is unknown.
    pub fn drain(&mut self, now: Mono) {
        self.clock.set(now);
        // Refused only where part of the burst is spent, which is what is wanted.
        let _ = self.limiter.check_n(self.rate.burst);
    }

    /// Takes one permit, or says when to ask again.
    pub fn take(&mut self, now: Mono) -> Result<(), Mono> {
        self.clock.set(now);
        let taken = self.limiter.check().map_err(|refused| {
            let wait = refused.wait_time_from(self.clock.now());
            let wait_ms = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            now.plus(wait_ms.max(1))
        });
        self.refused_until = taken.err();
        taken
    }

    /// When there is a permit again, if somebody was refused one and that instant lies ahead.
    #[must_use]
    pub fn refused_until(&self, now: Mono) -> Option<Mono> {
        self.refused_until.filter(|at| *at > now)
    }

    /// The rate that it keeps.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }
}

/// A governor clock that shows what it was last set to, and never less.
#[derive(Clone, Debug, Default)]
struct SetClock(Arc<AtomicU64>);

impl SetClock {
    fn set(&self, now: Mono) {
        self.0.fetch_max(now.0, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_exceeds_the_rate() {
        let mut quota = Quota::new(Rate::new(50, 10), Mono(0));
        let mut now = Mono(0);
        let mut sent = Vec::new();
        while sent.len() < 1_000 {
            match quota.take(now) {
                Ok(()) => sent.push(now.0),
                Err(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
        }
        for (i, start) in sent.iter().enumerate() {
            let in_second = sent[i..].iter().take_while(|at| **at < start + 1_000).count();
            assert!(in_second <= 60, "{in_second} in the second from {start}");
        }
        let elapsed = sent[999] - sent[0];
        assert!((19_700..=19_900).contains(&elapsed), "{elapsed}");
    }

    #[test]
    fn a_drained_burst_is_gone() {
        let mut quota = Quota::new(Rate::new(10, 100), Mono(5));
        quota.drain(Mono(5));
        assert_eq!(quota.take(Mono(5)), Err(Mono(105)));
        assert_eq!(quota.take(Mono(105)), Ok(()));
    }
}
