//! Drafts and patches: webhooks and projects as somebody wants them.
//!
//! Owns what can be asked for when one is made or changed, in whatever dialect it was asked. Must
//! never validate: whoever makes a draft has.

use super::event::EventName;
use super::ids::ProjectId;
use super::project::ProjectSettings;
use super::secret::Secret;
use super::target::TargetUrl;
use super::webhook::{Format, FormatOptions, Limits, Webhook};

/// A webhook to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookDraft {
    /// Where it delivers to.
    pub target_url: TargetUrl,
    /// What it subscribes to; not empty.
    pub events: Vec<EventName>,
    /// How the payload looks.
    pub format: Format,
    /// Whether it gets events.
    pub is_active: bool,
    /// What signs its deliveries.
    pub secret: Option<Secret>,
    /// Extra request headers.
    pub headers: Vec<(String, String)>,
    /// Its own limits.
    pub limits: Limits,
    /// Choices that matter to its format.
    pub options: FormatOptions,
}

/// What an update does to an optional field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Nothing.
    #[default]
    Keep,
    /// Takes the value away.
    Clear,
    /// Sets it.
    Set(T),
}

/// What an update changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookPatch {
    /// Where it delivers to.
    pub target_url: Option<TargetUrl>,
    /// What it subscribes to, all of it; not empty.
    pub events: Option<Vec<EventName>>,
    /// How the payload looks.
    pub format: Option<Format>,
    /// Whether it gets events.
    pub is_active: Option<bool>,
    /// What signs its deliveries.
    pub secret: Change<Secret>,
    /// Extra request headers, all of them.
    pub headers: Change<Vec<(String, String)>>,
    /// Attempts a second.
    pub rate_per_second: Change<u32>,
    /// Attempts at once after a quiet time.
    pub burst: Change<u32>,
    /// Attempts under way at once.
    pub in_flight: Change<u32>,
    /// Choices that matter to its format.
    pub options: Option<FormatOptions>,
}

impl<T> Change<T> {
    /// The value after the change.
    #[must_use]
    pub fn apply(self, old: Option<T>) -> Option<T> {
        match self {
            Change::Keep => old,
            Change::Clear => None,
            Change::Set(new) => Some(new),
        }
    }
}

impl WebhookPatch {
    /// Applies everything but `is_active`, which is a decision of the lifecycle. Another secret, or
    /// none, ends a rotation that is under way.
    pub fn apply(self, webhook: &mut Webhook) {
        if let Some(target_url) = self.target_url {
            webhook.target_url = target_url;
        }
        if let Some(events) = self.events {
            webhook.events = events;
        }
        if let Some(options) = self.options {
            webhook.options = options;
        }
        if let Some(format) = self.format {
            webhook.format = format;
        }
        let old = webhook.secret.take();
        webhook.secret = self.secret.apply(old.clone());
        if webhook.secret != old {
            webhook.rotation = None;
        }
        let headers = Some(std::mem::take(&mut webhook.headers));
        webhook.headers = self.headers.apply(headers).unwrap_or_default();
        let limits = &mut webhook.limits;
        limits.rate_per_second = self.rate_per_second.apply(limits.rate_per_second);
        limits.burst = self.burst.apply(limits.burst);
        limits.in_flight = self.in_flight.apply(limits.in_flight);
    }
}

/// A project to be created, or replaced if it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectDraft {
    /// Its id, if it has to be this one.
    pub id: Option<ProjectId>,
    /// What people call it.
    pub name: String,
    /// The key that names it.
    pub public_key: String,
    /// The keys that prove it.
    pub secret_keys: Vec<Secret>,
    /// What its owner chose.
    pub settings: ProjectSettings,
}
