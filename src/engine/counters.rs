//! What the engine counts, for `/metrics`.
//!
//! Owns counters and histograms that only rise while the process lives. Must never decide anything,
//! and never hold a label that grows with webhooks, targets or events.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::attempt::{Failure, Outcome, Phases};
use crate::model::delivery::{Ending, Finished};

/// What came of attempts, as `postrider_delivery_attempts_total` names it.
pub const OUTCOMES: [&str; 8] =
    ["success", "http_error", "timeout", "connect", "dns", "tls", "blocked", "cancelled"];
/// Classes of status codes; `none` where no answer came.
pub const CODE_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// How deliveries ended, as `postrider_deliveries_finished_total` names it.
pub const RESULTS: [&str; 4] = ["delivered", "expired", "failed", "cancelled"];
/// Upper bounds of the durations of attempts, in milliseconds.
pub const ATTEMPT_BOUNDS_MS: [u64; 12] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];
/// Upper bounds of the time that a commit takes, in milliseconds.
pub const COMMIT_BOUNDS_MS: [u64; 9] = [1, 2, 5, 10, 25, 50, 100, 500, 2_500];
/// Upper bounds of the time from acceptance to delivery, in milliseconds: up to 72 hours.
pub const LATENCY_BOUNDS_MS: [u64; 13] = [
    100,
    500,
    1_000,
    5_000,
    10_000,
    30_000,
    60_000,
    300_000,
    1_800_000,
    3_600_000,
    21_600_000,
    86_400_000,
    259_200_000,
];

/// All that is counted.
#[derive(Debug, Default)]
pub struct Counters {
    attempts: [[AtomicU64; CODE_CLASSES.len()]; OUTCOMES.len()],
    finished: [AtomicU64; RESULTS.len()],
    /// Durations of attempts.
    pub attempt_ms: Histogram<{ ATTEMPT_BOUNDS_MS.len() }>,
    /// How long commits took that somebody waited for.
    pub commit_ms: Histogram<{ COMMIT_BOUNDS_MS.len() }>,
    /// Times from acceptance to delivery.
    pub latency_ms: Histogram<{ LATENCY_BOUNDS_MS.len() }>,
}

impl Counters {
    /// An attempt ended.
    pub(super) fn attempt(&self, outcome: Outcome, phases: Phases) {
        let (outcome, class) = place(outcome);
        self.attempts[outcome][class].fetch_add(1, Ordering::Relaxed);
        self.attempt_ms.observe(&ATTEMPT_BOUNDS_MS, u64::from(phases.total_ms));
    }

    /// A commit that somebody waited for is on disk.
    pub(super) fn commit(&self, took_ms: u64) {
        self.commit_ms.observe(&COMMIT_BOUNDS_MS, took_ms);
    }

    /// A delivery ended.
    pub(super) fn finished(&self, finished: &Finished) {
        let result = match finished.ending {
            Ending::Delivered => {
                let latency_ms = finished.finished.since(finished.accepted);
                self.latency_ms.observe(&LATENCY_BOUNDS_MS, latency_ms);
                0
            }
            Ending::Failed(crate::model::delivery::FailedReason::Expired) => 1,
            Ending::Failed(_) => 2,
            Ending::Cancelled(_) => 3,
        };
        self.finished[result].fetch_add(1, Ordering::Relaxed);
    }

    /// Attempts by outcome and class of the status code; pairs that did not occur are left out.
    pub fn attempts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        OUTCOMES.iter().zip(&self.attempts).flat_map(|(outcome, classes)| {
            let counted = CODE_CLASSES.iter().zip(classes);
            counted
                .map(|(class, count)| (*outcome, *class, count.load(Ordering::Relaxed)))
                .filter(|(_, _, count)| *count > 0)
        })
    }

    /// Deliveries by how they ended.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.finished.iter().map(|count| count.load(Ordering::Relaxed));
        RESULTS.into_iter().zip(counts)
    }
}

/// Where an outcome is counted.
fn place(outcome: Outcome) -> (usize, usize) {
    let failure = match outcome {
        Outcome::Status(status) => {
            let class = usize::from(status / 100).min(CODE_CLASSES.len() - 1);
            return (usize::from(!(200..300).contains(&status)), class);
        }
        Outcome::Failure(failure) => failure,
    };
    let name = match failure {
        Failure::Dns | Failure::DnsTimeout => "dns",
        Failure::TlsCertificate
        | Failure::TlsVersion
        | Failure::TlsHandshake
        | Failure::TlsTimeout => "tls",
        Failure::Timeout => "timeout",
        Failure::AddressForbidden => "blocked",
        Failure::Interrupted | Failure::OutOfResources | Failure::RequestInvalid => "cancelled",
        Failure::ResponseMalformed | Failure::ResponseTooLarge | Failure::TooManyInterim => {
            "http_error"
        }
        Failure::ConnectRefused
        | Failure::ConnectFailed
        | Failure::ConnectTimeout
        | Failure::ConnectionClosed => "connect",
    };
    (OUTCOMES.iter().position(|known| *known == name).unwrap_or(0), 0)
}

/// A histogram with `N` bounds and one bucket above them.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    buckets: [AtomicU64; N],
    above: AtomicU64,
    sum_ms: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Histogram<N> {
        Histogram {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            above: AtomicU64::new(0),
            sum_ms: AtomicU64::new(0),
        }
    }
}

impl<const N: usize> Histogram<N> {
    fn observe(&self, bounds: &[u64; N], value_ms: u64) {
        let bucket = bounds.iter().position(|bound| value_ms <= *bound);
        bucket.map_or(&self.above, |at| &self.buckets[at]).fetch_add(1, Ordering::Relaxed);
        self.sum_ms.fetch_add(value_ms, Ordering::Relaxed);
    }

    /// How many values were at most each bound, how many there were in all, and their sum.
    pub fn read(&self) -> ([u64; N], u64, u64) {
        let mut total = 0;
        let cumulated = std::array::from_fn(|at| {
            total += self.buckets[at].load(Ordering::Relaxed);
            total
        });
        let all = total + self.above.load(Ordering::Relaxed);
        (cumulated, all, self.sum_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_where_they_belong() {
        for (outcome, want) in [
            (Outcome::Status(204), ("success", "2xx")),
            (Outcome::Status(301), ("http_error", "3xx")),
            (Outcome::Status(599), ("http_error", "5xx")),
            (Outcome::Status(999), ("http_error", "5xx")),
            (Outcome::Failure(Failure::DnsTimeout), ("dns", "none")),
            (Outcome::Failure(Failure::AddressForbidden), ("blocked", "none")),
            (Outcome::Failure(Failure::ConnectionClosed), ("connect", "none")),
        ] {
            let counters = Counters::default();
            counters.attempt(outcome, Phases { total_ms: 25, ..Phases::default() });
            let counted: Vec<_> = counters.attempts().collect();
            assert_eq!(counted, [(want.0, want.1, 1)], "{outcome:?}");
            let (cumulated, all, sum_ms) = counters.attempt_ms.read();
            assert_eq!((cumulated[0], cumulated[1], cumulated[11]), (0, 1, 1));
            assert_eq!((all, sum_ms), (1, 25));
        }
    }

    #[test]
    fn what_is_above_all_bounds_is_in_the_total_alone() {
        let counters = Counters::default();
        counters.attempt(Outcome::Status(200), Phases { total_ms: 60_001, ..Phases::default() });
        let (cumulated, all, _) = counters.attempt_ms.read();
        assert_eq!((cumulated[11], all), (0, 1));
    }
}
