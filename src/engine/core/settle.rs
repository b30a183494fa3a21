//! Settlements on their way to disk, and what the feed tells of deliveries once they are there.
//!
//! Owns the batch that a turn's settlements share. Must never tell what is not committed.

use std::sync::{Arc, PoisonError};

use super::{After, Core};
use crate::engine::feed::{Change, Feed, What};
use crate::logic::batch::{Batch, Durability, Next, Op};
use crate::logic::dispatcher::Settled;
use crate::model::delivery::{Ending, Pending};
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::time::Now;

impl Core {
    /// What changed of deliveries lately.
    #[must_use]
    pub fn feed(&self) -> Arc<Feed> {
        Arc::clone(&self.feed)
    }

    /// Hands out the settlements of this turn as one batch.
    pub fn flush(&mut self) {
        if self.settle_ops.is_empty() {
            return;
        }
        let ops = std::mem::take(&mut self.settle_ops);
        let settled = std::mem::take(&mut self.settled);
        let told = std::mem::take(&mut self.told);
        let batch = Batch { expect: Vec::new(), ops, durability: Durability::Soon };
        self.commit(batch, After::Settle(settled, told));
    }

    pub(super) fn settle(&mut self, now: Now, op: Op) {
        if let Op::Settle { queue, key, next, attempt } = &op {
            let outcome = attempt.as_ref().map(|attempt| attempt.outcome);
            let project = self.project_of(key.webhook);
            let again = match next {
                Next::Pending(row) => Some(*row),
                Next::Finished(finished) => {
                    self.counters.finished(finished);
                    None
                }
            };
            self.told.extend(project.map(|project| match next {
                Next::Pending(row) => Change::pending(project, row, outcome, now.wall),
                Next::Finished(finished) => Change::finished(project, finished, outcome),
            }));
            self.settled.push(Settled { queue: *queue, key: *key, again });
        }
        self.settle_ops.push(op);
    }

    pub(super) fn tell_arrived(&self, project: Option<ProjectId>, rows: &[Pending]) {
        if let Some(project) = project
            && !rows.is_empty()
        {
            self.feed
                .push(rows.iter().map(|row| Change::pending(project, row, None, row.accepted)));
        }
    }

    pub(super) fn tell_closed(&self, now: Now, webhook: WebhookId, upto: Seq, ending: Ending) {
        let what = What::Lane { upto, ending };
        let project = self.project_of(webhook);
        self.feed.push(project.map(|project| Change { project, webhook, at: now.wall, what }));
    }

    fn project_of(&self, webhook: WebhookId) -> Option<ProjectId> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        catalog.webhook(webhook).map(|webhook| webhook.project)
    }
}
