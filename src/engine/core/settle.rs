//! What becomes of deliveries once it is on disk: publishers are answered, lanes and feed are told.
//!
//! Owns the batch that a turn's settlements share. Must never tell what is not committed.

use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::{After, Core, answer};
use crate::engine::feed::{Change, Feed, What};
use crate::engine::submit::{Accepted, SubmitError};
use crate::logic::batch::{Batch, Durability, Next, Op};
use crate::logic::dispatcher::{Input, Settled};
use crate::model::delivery::{Ending, Pending};
use crate::model::event::Event;
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::time::Now;
use crate::store::CommitError;

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
            let again = match next {
                Next::Pending(row) => Some(*row),
                Next::Finished(finished) => {
                    self.counters.finished(finished);
                    None
                }
            };
            self.told.push(match next {
                Next::Pending(row) => Change::pending(row, outcome, now.wall),
                Next::Finished(finished) => Change::finished(finished, outcome),
            });
            self.settled.push(Settled { queue: *queue, key: *key, again });
        }
        self.settle_ops.push(op);
    }

    /// The fate of a publisher's events is known.
    pub(super) fn accepted(
        &mut self,
        now: Now,
        result: Result<(), CommitError>,
        accepted: Accepted,
        events: Vec<Arc<Event>>,
        rows: Vec<Pending>,
        reply: Option<oneshot::Sender<Result<Accepted, SubmitError>>>,
    ) {
        let is_full = matches!(result, Err(CommitError::Full));
        let result = result.map_err(|error| match error {
            CommitError::Refused(_) => SubmitError::KeyTaken,
            CommitError::Full => SubmitError::Full,
            error => SubmitError::Store(error.to_string().into()),
        });
        let source = events.first().map(|event| event.source);
        let is_accepted = result.is_ok();
        if is_accepted {
            for (event, accepted) in events.into_iter().zip(&accepted.events) {
                self.cache.put(event, accepted.deliveries as usize);
            }
            if !rows.is_empty() {
                self.feed.push(rows.iter().map(|row| Change::pending(row, None, now.wall)));
            }
        }
        if let Some(reply) = reply {
            answer(reply, result.map(|()| accepted));
        }
        if is_accepted {
            self.dispatch(now, Input::Arrived(rows));
        }
        if is_accepted || is_full {
            self.note_room(now, source, is_full);
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
