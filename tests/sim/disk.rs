//! What a world keeps its data on.
//!
//! Owns the seam between a world and its store: how a store is opened, what is left of it for the
//! next process, and when it brings a process down. Must never draw chance but from the world's
//! seed.

use std::collections::BTreeSet;
use std::sync::Arc;

use postrider::model::delivery::Finished;
use postrider::model::ids::Seq;
use postrider::store::Store;

/// How long a sound disk takes.
pub const DISK_MS: u64 = 1;

/// Where data is kept.
pub trait Medium {
    /// Opens the store for the first process.
    fn open(&mut self) -> Arc<dyn Store>;

    /// The process is gone; opens what it left.
    fn reopen(&mut self) -> Arc<dyn Store>;

    /// Whether a batch is called back before `commit` returns, if it is not held.
    fn is_prompt(&self) -> bool {
        false
    }

    /// Time has come to this: what the store does beside batches.
    fn turn(&mut self, _now_ms: u64) {}

    /// The store told the process that it can't write any more. False if it has no reason to.
    fn gives_up(&mut self) -> bool {
        false
    }

    /// How a delivery ended whose record the log has been trimmed of.
    fn trimmed(&self, _seq: Seq) -> Option<Finished> {
        None
    }

    /// Whether a read may be refused now, to be tried again.
    fn may_refuse_reads(&self) -> bool {
        false
    }

    /// Whether the process is dead.
    fn is_down(&self) -> bool {
        false
    }

    /// After how long the next one starts.
    fn off_ms(&mut self) -> u64 {
        0
    }

    /// How long the disk takes now.
    fn disk_ms(&self) -> u64 {
        DISK_MS
    }

    /// Whether anything may go wrong from now on.
    fn set_faults(&mut self, _on: bool) {}

    /// Whether requests may be refused or cut off.
    fn is_bad(&self) -> bool {
        false
    }

    /// All faults have stopped and everything has drained.
    fn judge(&mut self) {}

    /// How often the power went.
    fn cuts(&self) -> u64 {
        0
    }

    /// Interesting states that were reached.
    fn marks(&self) -> BTreeSet<&'static str> {
        BTreeSet::new()
    }
}

/// A store that outlives its process as it is: all that was committed is there.
pub struct Kept(pub Arc<dyn Store>);

impl Medium for Kept {
    fn open(&mut self) -> Arc<dyn Store> {
        Arc::clone(&self.0)
    }

    fn reopen(&mut self) -> Arc<dyn Store> {
        Arc::clone(&self.0)
    }
}
