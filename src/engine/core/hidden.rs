//! The hidden webhooks of `/send/`: deliveries to one of them, and their end.
//!
//! Owns when each was used last. Must never remove one that may still have something to deliver.

use std::sync::{Arc, PoisonError};

use super::Core;
use crate::engine::command;
use crate::engine::submit::{Planned, Submission, SubmitError};
use crate::logic::retry::WINDOW_MS;
use crate::model::ids::WebhookId;
use crate::model::time::{DAY_MS, Now};
use crate::model::webhook::{Webhook, WebhookState};

/// How long a hidden webhook is kept after its last use: a delivery waits for its first attempt
/// for at most one window and is retried for at most another.
const KEPT_MS: u64 = 2 * WINDOW_MS + DAY_MS;
/// Most of them that one look removes.
const REMOVED_AT_ONCE_MAX: usize = 1_000;

impl Core {
    /// Plans events for a hidden webhook alone.
    pub(super) fn plan_to(
        &mut self,
        now: Now,
        submission: Submission,
        id: WebhookId,
    ) -> Result<Planned, SubmitError> {
        let catalog = Arc::clone(&self.catalog);
        let catalog = catalog.read().unwrap_or_else(PoisonError::into_inner);
        let webhook = catalog.webhook(id).filter(|webhook| {
            webhook.hidden
                && webhook.project == submission.project
                && webhook.state == WebhookState::Active
                && !self.closing.contains_key(&id)
        });
        let webhook = webhook.ok_or(SubmitError::WebhookGone)?;
        self.hidden_used.insert(id, now.wall);
        self.plan(now, |plan| plan.publish_to(submission, webhook))
    }

    /// A hidden webhook has something to deliver again.
    pub(super) fn use_hidden(&mut self, now: Now, id: WebhookId) {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        if catalog.webhook(id).is_some_and(|webhook| webhook.hidden) {
            self.hidden_used.insert(id, now.wall);
        }
    }

    /// Removes those that were not used for long. One whose use is not known (it was made before
    /// this process) counts as used now.
    pub(super) fn remove_unused_hidden(&mut self, now: Now) {
        let catalog = Arc::clone(&self.catalog);
        let catalog = catalog.read().unwrap_or_else(PoisonError::into_inner);
        let mut unused: Vec<Arc<Webhook>> = Vec::new();
        for webhook in catalog.hidden() {
            let used = *self.hidden_used.entry(webhook.id).or_insert(now.wall);
            let is_unused = now.wall.since(used) > KEPT_MS;
            if is_unused && !self.closing.contains_key(&webhook.id) {
                unused.push(Arc::clone(webhook));
            }
            if unused.len() == REMOVED_AT_ONCE_MAX {
                break;
            }
        }
        if unused.is_empty() {
            return;
        }
        for webhook in &unused {
            self.hidden_used.remove(&webhook.id);
        }
        let change = command::delete(&unused, self.sequence.last(), now.wall);
        self.commit_change(change, None);
    }
}
