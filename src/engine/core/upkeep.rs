//! Upkeep: what is made now and then, a step at a time.
//!
//! Owns when the next step is due. Must never have two under way.

use super::{Core, Effect, UPKEEP_INTERVAL_MS, UPKEEP_ROWS_MAX};
use crate::logic::notices::Subject;
use crate::model::time::{Now, Wall};
use crate::store::{CommitError, Upkeep};

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
        self.remove_unused_hidden(now);
        let keep_since = Wall(now.wall.0.saturating_sub(self.settings.retention_ms));
        self.effects.push_back(Effect::Upkeep { keep_since, rows_max: UPKEEP_ROWS_MAX });
    }

    pub(super) fn upkeep_done(&mut self, now: Now, result: Result<Upkeep, CommitError>) {
        self.upkeep_running = false;
        self.upkeep_at = now.mono.plus(UPKEEP_INTERVAL_MS);
        match result {
            Ok(done) => self.upkeep_soon |= done.more,
            Err(CommitError::Broken(why)) => self.broken = Some(why),
            Err(_) => {}
        }
    }
}
