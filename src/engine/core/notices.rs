//! Notices on their way: from a change that was heard of to events for those who subscribe.
//!
//! Owns what each notice says and to whom. Must never tell a project of another's webhooks, never
//! write for nobody, and never tell of a notice's own troubles: that would be its echo.
//!
//! A notice is an event like any other once it is written. What is told is kept in memory until
//! then: a process that ends in between tells it no more, and one that starts anew tells a target
//! that still fails again, and of one that has recovered meanwhile, nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use super::{After, Core, Effect};
use crate::dialect::object::Object;
use crate::engine::feed::{self, State, What};
use crate::engine::submit::{Planned, Submission};
use crate::logic::dispatcher::Turn;
use crate::logic::notices::{Subject, Told};
use crate::model::attempt::Outcome;
use crate::model::delivery::{Ending, FailedReason, Finished};
use crate::model::event::{Dialect, Event, Kind, Source};
use crate::model::ids::ProjectId;
use crate::model::notice::Notice;
use crate::model::target::Origin;
use crate::model::time::{Now, Wall};
use crate::model::webhook::{DisabledReason, Webhook, WebhookState};
use crate::source::native::NewEvent;

impl Core {
    /// A breaker opened or closed.
    pub(super) fn turned(&mut self, now: Now, subject: &Subject, turn: Turn) {
        let told = match turn {
            Turn::Failing(outcome) => self.notices.failing(now, subject.clone(), Some(outcome)),
            Turn::Recovered => self.notices.recovered(now, subject),
            Turn::Forgotten => {
                self.notices.forget(now, subject);
                None
            }
        };
        self.tell(now, told);
    }

    /// A publisher's events were written, or refused for want of room.
    pub(super) fn note_room(&mut self, now: Now, source: Option<Source>, is_full: bool) {
        if source == Some(Source::Notice) {
            return;
        }
        let told = if is_full {
            self.notices.failing(now, Subject::Store, None)
        } else if self.notices.is_failing(&Subject::Store) {
            self.notices.recovered(now, &Subject::Store)
        } else {
            None
        };
        self.tell(now, told);
    }

    /// Deliveries that expired are on disk as such.
    pub(super) fn note_expired(&mut self, now: Now, settled: &[feed::Change]) {
        for change in settled {
            let What::Delivery { seq, event, attempts, state, .. } = change.what else { continue };
            let ending = Ending::Failed(FailedReason::Expired);
            if state != State::Ended(ending)
                || !self.has_subscriber(change.project, Notice::DeliveryExpired)
            {
                continue;
            }
            let finished = Finished {
                seq,
                event,
                webhook: change.webhook,
                project: change.project,
                attempts,
                // The event says it.
                accepted: change.at,
                finished: change.at,
                ending,
            };
            let told = self.notices.expired(now, finished);
            self.tell(now, told);
        }
    }

    /// A webhook was changed.
    pub(super) fn note_disabled(&mut self, now: Now, old: Option<&Webhook>, new: &Webhook) {
        let WebhookState::Disabled(reason) = new.state else { return };
        let was = old.map(|old| old.state);
        if was.is_none_or(|was| matches!(was, WebhookState::Disabled(_))) || !is_shown(new) {
            return;
        }
        let reason = match reason {
            DisabledReason::Gone => "gone",
            DisabledReason::Operator => "operator",
            DisabledReason::Failing => "failing",
        };
        let data = Object::new()
            .number("webhook", u64::from(new.id.get()))
            .text("target", &new.target_url.origin().to_string())
            .text("reason", reason)
            .text("since", &now.wall.rfc3339_micros())
            .end();
        self.notice(now, new.project, Notice::WebhookDisabled, data);
    }

    /// The event of a delivery that expired was read, or can't be.
    pub(super) fn expired_read(
        &mut self,
        now: Now,
        finished: &Finished,
        omitted: u64,
        event: Option<Arc<Event>>,
    ) {
        let Some(event) = event.filter(|event| event.source != Source::Notice) else { return };
        let Some(webhook) = self.webhook(finished.webhook) else { return };
        let data = Object::new()
            .text("delivery", &event.id.delivery(finished.seq).to_string())
            .text("event_id", &event.id.to_string())
            .text("event", event.name.as_str())
            .number("webhook", u64::from(webhook.id.get()))
            .text("target", &webhook.target_url.origin().to_string())
            .number("attempts", u64::from(finished.attempts))
            .text("accepted_at", &event.accepted_at.rfc3339_micros())
            .text("expired_at", &finished.finished.rfc3339_micros())
            .number("omitted", omitted)
            .end();
        self.notice(now, webhook.project, Notice::DeliveryExpired, data);
    }

    /// What waited until it might be told.
    pub(super) fn tell_due(&mut self, now: Now) {
        while let Some(told) = self.notices.due(now) {
            self.tell(now, Some(told));
        }
    }

    fn tell(&mut self, now: Now, told: Option<Told>) {
        match told {
            None => {}
            Some(Told::Failing { subject, since, outcome }) => {
                self.tell_state(now, &subject, Ok(outcome), since);
            }
            Some(Told::Recovered { subject, since }) => {
                self.tell_state(now, &subject, Err(now.wall), since);
            }
            Some(Told::Expired { finished, omitted }) => {
                self.effects.push_back(Effect::ReadExpired { finished, omitted });
            }
        }
    }

    /// `state` is by what it fails, or when it recovered.
    fn tell_state(
        &mut self,
        now: Now,
        subject: &Subject,
        state: Result<Option<Outcome>, Wall>,
        since: Wall,
    ) {
        match subject {
            Subject::Target(origin) => {
                let notice = of_target(state);
                let data = target_data(origin, None, state, since);
                for project in self.projects_at(origin) {
                    self.notice(now, project, notice, data.clone());
                }
            }
            Subject::Webhook(id) => {
                if let Some(webhook) = self.webhook(*id).filter(|webhook| is_shown(webhook)) {
                    let origin = webhook.target_url.origin();
                    let data = target_data(origin, Some(&webhook), state, since);
                    self.notice(now, webhook.project, of_target(state), data);
                }
            }
            Subject::Store => {
                let notice = if state.is_ok() { Notice::StoreLow } else { Notice::StoreRecovered };
                let data = ended(Object::new().text("reason", "full"), state, since);
                for project in self.projects() {
                    self.notice(now, project, notice, data.clone());
                }
            }
        }
    }

    /// Writes a notice, if somebody subscribes to it.
    fn notice(&mut self, now: Now, project: ProjectId, notice: Notice, data: Vec<u8>) {
        let is_gone = self.draining || self.removed_projects.contains(&project);
        if is_gone || !self.has_subscriber(project, notice) {
            return;
        }
        let event = NewEvent {
            kind: Kind::Custom,
            name: notice.name(),
            dialect: Dialect::Custom,
            data,
            file: None,
            initiator: None,
            previous_values: None,
            occurred_at: Some(now.wall),
            idempotency_key: None,
        };
        let submission = Submission::new(project, vec![event], Source::Notice);
        match self.plan(now, |plan| plan.publish(submission)) {
            Ok(Planned { batch, events, rows, accepted }) if !rows.is_empty() => {
                self.commit(batch, After::Accept { reply: None, accepted, events, rows });
            }
            // Whoever subscribed is about to stop.
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, notice = notice.as_str(), "A notice is lost."),
        }
    }

    fn has_subscriber(&self, project: ProjectId, notice: Notice) -> bool {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        catalog.subscribers(project, &notice.name()).next().is_some()
    }

    fn projects(&self) -> Vec<ProjectId> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        catalog.projects().map(|project| project.id).collect()
    }

    fn projects_at(&self, origin: &Origin) -> BTreeSet<ProjectId> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let at = catalog.webhooks_at(origin).filter(|webhook| webhook.listener.is_none());
        at.map(|webhook| webhook.project).collect()
    }
}

/// Hidden webhooks and those of a `listen` session are nothing that a project could look at.
fn is_shown(webhook: &Webhook) -> bool {
    !webhook.hidden && webhook.listener.is_none()
}

fn of_target<T>(state: Result<T, Wall>) -> Notice {
    if state.is_ok() { Notice::TargetFailing } else { Notice::TargetRecovered }
}

fn target_data(
    origin: &Origin,
    webhook: Option<&Webhook>,
    state: Result<Option<Outcome>, Wall>,
    since: Wall,
) -> Vec<u8> {
    let data = Object::new()
        .text("target", &origin.to_string())
        .number_or_null("webhook", webhook.map(|webhook| webhook.id.get()))
        .text("reason", if webhook.is_some() { "status" } else { "connection" });
    let data = match state {
        Ok(outcome) => {
            let (code, failure) = match outcome {
                Some(Outcome::Status(code)) => (Some(u32::from(code)), None),
                Some(Outcome::Failure(failure)) => (None, Some(failure.as_str())),
                None => (None, None),
            };
            data.number_or_null("last_code", code).text_or_null("last_failure", failure)
        }
        Err(_) => data,
    };
    ended(data, state, since)
}

fn ended<T>(data: Object, state: Result<T, Wall>, since: Wall) -> Vec<u8> {
    let data = data.text("since", &since.rfc3339_micros());
    match state {
        Ok(_) => data.end(),
        Err(recovered) => data.text("recovered_at", &recovered.rfc3339_micros()).end(),
    }
}
