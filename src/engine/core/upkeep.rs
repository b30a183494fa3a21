//! The core's upkeep: what has aged out, and what closed lanes left behind.
//!
//! Owns when a step is made, and whether rows of closed lanes are still to be ended. Must never
//! have two steps under way.

use super::{Core, Effect};
use crate::logic::notices::Subject;
use crate::model::time::{MINUTE_MS, Now, Wall};
use crate::store::{CommitError, Upkeep};

/// How long one step of upkeep may hold the writer, in rows.
const UPKEEP_ROWS_MAX: usize = 5_000;
/// How long to the next look at what has aged out.
const UPKEEP_INTERVAL_MS: u64 = MINUTE_MS;

/// Lanes that were closed, and how far their rows have been ended.
#[derive(Debug, Default)]
pub(super) struct Closes {
    /// How often a lane was closed since the start.
    made: u64,
    /// How often when the step under way began.
    began_at: u64,
    /// How often when the last step ended that left no row of them. `None`: there was none, and
    /// rows may be left from before the start.
    swept: Option<u64>,
}

impl Closes {
    /// A lane was closed.
    pub(super) fn made(&mut self) {
        self.made += 1;
    }

    /// Whether deliveries that ended with their lane may still stand there as pending.
    pub(super) fn has_rows(&self) -> bool {
        self.swept != Some(self.made)
    }
}

impl Core {
    pub(super) fn upkeep(&mut self, now: Now) {
        let is_due = self.upkeep_soon || now.mono >= self.upkeep_at;
        if self.upkeep_running || !is_due || self.draining {
            return;
        }
        self.upkeep_running = true;
        if self.notices.is_failing(&Subject::Store) {
            self.effects.push_back(Effect::LookForRoom);
        }
        self.upkeep_soon = false;
        self.closes.began_at = self.closes.made;
        self.remove_unused_hidden(now);
        let keep_since = Wall(now.wall.0.saturating_sub(self.settings.retention_ms));
        self.effects.push_back(Effect::Upkeep { keep_since, rows_max: UPKEEP_ROWS_MAX });
    }

    pub(super) fn upkeep_done(&mut self, now: Now, result: Result<Upkeep, CommitError>) {
        self.upkeep_running = false;
        self.upkeep_at = now.mono.plus(UPKEEP_INTERVAL_MS);
        match result {
            Ok(done) => {
                self.upkeep_soon |= done.more;
                if done.closed < UPKEEP_ROWS_MAX {
                    self.closes.swept = Some(self.closes.began_at);
                }
            }
            Err(CommitError::Broken(why)) => self.broken = Some(why),
            Err(_) => {}
        }
    }
}
