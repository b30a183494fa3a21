//! What the operator sets for targets, on its way to the dispatcher.
//!
//! Owns which limits hold: what was set while running stands before the configuration, field by
//! field. A paused target's lanes do not run. Must never write.

use std::sync::{Arc, PoisonError};

use super::Core;
use crate::logic::dispatcher::{Input, LaneSpec, TargetLimits};
use crate::logic::quota::Rate;
use crate::model::operator::{Operator, TargetSettings};
use crate::model::target::Origin;
use crate::model::time::Now;
use crate::model::webhook::{Webhook, WebhookState};

impl Core {
    pub(super) fn put_operator(&mut self, operator: Arc<Operator>) {
        self.write_catalog(|catalog| catalog.put_operator(operator));
    }

    /// Tells the dispatcher of a target's limits, and of each lane whether it runs.
    pub(super) fn set_target(&mut self, now: Now, origin: &Origin) {
        let (set, webhooks): (TargetSettings, Vec<Arc<Webhook>>) = {
            let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
            (catalog.operator().target(origin), catalog.webhooks_at(origin).cloned().collect())
        };
        let configured = self.settings.targets.get(origin).copied().unwrap_or_default();
        let limits = limits(set, configured, self.settings.dispatcher.target_rate);
        self.dispatch(now, Input::Target(origin.clone(), limits));
        for webhook in &webhooks {
            self.set_lane(now, webhook);
        }
    }

    pub(super) fn set_lane(&mut self, now: Now, webhook: &Webhook) {
        let origin = webhook.target_url.origin();
        let (is_paused, paused_total_ms) = {
            let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
            let settings = catalog.operator().target(origin);
            (settings.paused_since.is_some(), catalog.paused_ms(webhook, now.wall))
        };
        let spec = LaneSpec {
            webhook: webhook.id,
            origin: origin.clone(),
            limits: webhook.limits,
            runs: webhook.state == WebhookState::Active && !is_paused,
            paused_total_ms,
        };
        self.dispatch(now, Input::Lane(spec));
    }
}

/// The limits of a target: what was set, else what is configured for it, else (`None`) what holds
/// for all.
#[must_use]
pub fn limits(set: TargetSettings, configured: TargetLimits, default: Rate) -> TargetLimits {
    let rate = match (set.rate_per_second, set.burst) {
        (None, None) => configured.rate,
        (Some(per_second), None) => Some(Rate::new(per_second, per_second)),
        (per_second, Some(burst)) => {
            let otherwise = configured.rate.unwrap_or(default).per_second.get();
            Some(Rate::new(per_second.unwrap_or(otherwise), burst))
        }
    };
    TargetLimits { rate, in_flight_max: set.in_flight.or(configured.in_flight_max) }
}
