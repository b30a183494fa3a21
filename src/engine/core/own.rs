//! What the engine changes of webhooks by itself: 410, failing for too long, steps of a rotation.
//!
//! Owns since when a webhook has been failing. Must never change one that somebody else has changed
//! at the same time without looking at it again.
//!
//! Since when no attempt succeeded is kept in memory, and written down once it has lasted
//! [`FAILING_WRITTEN_AFTER_MS`]: a webhook that fails now and then costs no writes, and a restart
//! forgets no more than that.

use std::sync::{Arc, PoisonError};

use super::Core;
use crate::engine::command::{self, Change, Own, rotation};
use crate::logic::dispatcher::Ended;
use crate::logic::verdict::{Verdict, judge};
use crate::model::ids::WebhookId;
use crate::model::time::{HOUR_MS, Now, Wall};
use crate::model::webhook::{DisabledReason, Webhook};

/// A webhook that has been failing for so long has it written down.
const FAILING_WRITTEN_AFTER_MS: u64 = HOUR_MS;
/// A webhook is disabled by an attempt with this number at the least: one delivery that fails after
/// quiet days is no reason. It is made an hour after the first one.
const FAILING_ATTEMPTS_MIN: u32 = 6;

impl Core {
    /// Learns from an attempt whether its webhook is failing, and since when.
    pub(super) fn note_outcome(&mut self, now: Now, ended: &Ended) {
        let Some(after_ms) = self.settings.disable_failing_after_ms else { return };
        let id = ended.row.key.webhook;
        let Some(webhook) = self.webhook(id) else { return };
        match judge(ended.outcome) {
            Verdict::Delivered => {
                self.failing.remove(&id);
                if webhook.failing_since.is_some() {
                    let change = command::failing_since(&webhook, None);
                    self.commit_change(change, None);
                }
            }
            Verdict::Retry { .. } => {
                let known = webhook.failing_since.unwrap_or(ended.started);
                let since = *self.failing.entry(id).or_insert(known);
                let lasted_ms = now.wall.since(since);
                let is_stubborn = ended.row.attempts + 1 >= FAILING_ATTEMPTS_MIN;
                if lasted_ms >= after_ms && is_stubborn {
                    self.disable(now, id, Own::Failing);
                } else if lasted_ms >= FAILING_WRITTEN_AFTER_MS && webhook.failing_since.is_none() {
                    let change = command::failing_since(&webhook, Some(since));
                    self.commit_change(change, None);
                }
            }
            Verdict::Gone | Verdict::Again => {}
        }
    }

    pub(super) fn disable(&mut self, now: Now, id: WebhookId, own: Own) {
        let Some(webhook) = self.webhook(id).filter(|webhook| webhook.is_active()) else { return };
        let reason = match own {
            Own::Failing => DisabledReason::Failing,
            _ => DisabledReason::Gone,
        };
        if own == Own::Failing && self.closing.contains_key(&id) {
            // It is under way, or somebody closes it for another reason.
            return;
        }
        tracing::warn!(webhook = %id, reason = ?reason, "The webhook is disabled.");
        let change = command::disable(&webhook, reason, own, self.sequence.last(), now.wall);
        self.failing.remove(&id);
        self.commit_change(change, None);
    }

    /// A change of the engine's own was overtaken: looks again at what is there now.
    pub(super) fn again(&mut self, now: Now, change: &Change) {
        let ids: Vec<WebhookId> = change.puts.iter().map(|webhook| webhook.id).collect();
        for id in ids {
            match change.own {
                Some(own @ (Own::Gone | Own::Failing)) => self.disable(now, id, own),
                Some(Own::Rotation) => self.step_due(now, id),
                // The next attempt says so again.
                Some(Own::Since(_)) | None => {}
            }
        }
    }

    /// Makes the steps of rotations that are due.
    pub(super) fn rotate(&mut self, now: Now) {
        if self.draining {
            return;
        }
        while let Some((at, id)) = self.rotations.first().copied()
            && at <= now.wall
        {
            self.rotations.pop_first();
            self.step_due(now, id);
        }
    }

    fn step_due(&mut self, now: Now, id: WebhookId) {
        if let Some(change) = self.webhook(id).and_then(|one| rotation::due(&one, now.wall)) {
            self.commit_change(change, None);
        }
    }

    pub(super) fn webhook(&self, id: WebhookId) -> Option<Arc<Webhook>> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        catalog.webhook(id).cloned()
    }

    pub(super) fn forget_rotation(&mut self, webhook: Option<&Webhook>) {
        if let Some(webhook) = webhook
            && let Some(at) = next_step(webhook)
        {
            self.rotations.remove(&(at, webhook.id));
        }
    }
}

fn next_step(webhook: &Webhook) -> Option<Wall> {
    webhook.rotation.as_ref()?.next_step
}
