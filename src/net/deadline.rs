//! The deadline of an attempt.
//!
//! Owns the one instant that bounds all phases of an attempt. Must never be prolonged.

use crate::clock;
use crate::model::time::Mono;

/// When an attempt ends, whatever it is doing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Mono);

impl Deadline {
    pub(super) fn after(ms: u64) -> Deadline {
        Deadline(clock::mono().plus(ms))
    }

    /// Milliseconds that are left.
    pub(super) fn left_ms(self) -> u64 {
        self.0.since(clock::mono())
    }

    /// The time for a phase that has a limit of its own.
    pub(super) fn capped_ms(self, limit_ms: u64) -> u64 {
        self.left_ms().min(limit_ms)
    }
}

/// Milliseconds since `start`, as phases record them.
pub(super) fn elapsed_ms(start: Mono) -> u32 {
    u32::try_from(clock::mono().since(start)).unwrap_or(u32::MAX)
}
