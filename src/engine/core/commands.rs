//! The core's commands: from what is asked for to what is committed.
//!
//! Owns the way from a [`Command`] to its [`Change`], and the numbers that it needs. Must never
//! change the catalog: that is done when the change is on disk.

use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::{After, Core, answer};
use crate::engine::command::{self, Answer, Change, Command, CommandError};
use crate::engine::submit::{Planned, Submission};
use crate::logic::batch::Op;
use crate::logic::catalog::Catalog;
use crate::logic::dispatcher::Input;
use crate::model::event::Source;
use crate::model::ids::{ProjectId, WebhookId, alnum_id, mix};
use crate::model::project::Project;
use crate::model::time::Now;
use crate::model::webhook::{Webhook, WebhookState};
use crate::source::native::NewEvent;

impl Core {
    pub(super) fn command(
        &mut self,
        now: Now,
        command: Command,
        reply: oneshot::Sender<Result<Answer, CommandError>>,
    ) {
        if self.draining {
            return answer(reply, Err(CommandError::Draining));
        }
        if command.project().is_some_and(|id| self.removed_projects.contains(&id)) {
            return answer(reply, Err(CommandError::NotFound));
        }
        match command {
            Command::TestWebhook { project, id, event } => {
                self.test(now, project, id, *event, reply);
            }
            Command::Act { project, act } => self.act(now, project, act, reply),
            Command::Hasten { project, id } => {
                let catalog = Arc::clone(&self.catalog);
                let catalog = catalog.read().unwrap_or_else(PoisonError::into_inner);
                let own = catalog.webhook(id).is_some_and(|webhook| webhook.project == project);
                if own {
                    self.dispatch(now, Input::Hasten(id));
                }
                answer(reply, if own { Ok(Answer::Done) } else { Err(CommandError::NotFound) });
            }
            command => match self.change(now, command) {
                Ok(change) => self.commit_change(change, Some(reply)),
                Err(error) => answer(reply, Err(error)),
            },
        }
    }

    fn change(&mut self, now: Now, command: Command) -> Result<Change, CommandError> {
        let catalog = Arc::clone(&self.catalog);
        let catalog = catalog.read().unwrap_or_else(PoisonError::into_inner);
        let own = |project: ProjectId, id: WebhookId| {
            let webhook = catalog.webhook(id).filter(|webhook| webhook.project == project);
            webhook.cloned().ok_or(CommandError::NotFound)
        };
        // Closing a lane up to the last number covers all that was planned before.
        let last = self.sequence.last();
        match command {
            Command::CreateWebhook { project, draft, listener } => {
                let next = WebhookId::new(self.webhook_id_max + 1).ok_or(CommandError::NoId)?;
                let bits = u128::from(self.draw()) << 64 | u128::from(self.draw());
                let ids = (next, alnum_id("wh-", bits));
                let change = command::create(&catalog, ids, project, draft, listener, now.wall)?;
                self.webhook_id_max = next.get();
                Ok(change)
            }
            Command::UpdateWebhook { project, id, patch } => {
                Ok(command::update(&catalog, &*own(project, id)?, patch, last, now.wall))
            }
            Command::DeleteWebhook { project, id } => {
                Ok(command::delete(&[own(project, id)?], last, now.wall))
            }
            Command::Unsubscribe { project, target_url, event } => {
                let of_target: Vec<Arc<Webhook>> = catalog
                    .webhooks_of(project)
                    .filter(|webhook| webhook.format.is_uploadcare())
                    // A `listen` session's are its own affair, here as in lists.
                    .filter(|webhook| webhook.listener.is_none())
                    .filter(|webhook| webhook.target_url.as_str() == target_url)
                    .filter(|webhook| {
                        event.as_deref().is_none_or(|event| {
                            webhook.events.iter().any(|own| own.as_str() == event)
                        })
                    })
                    .cloned()
                    .collect();
                Ok(command::unsubscribe(&of_target, event.as_deref(), last, now.wall))
            }
            Command::PauseWebhook { project, id } => command::pause(&*own(project, id)?, now.wall),
            Command::ResumeWebhook { project, id } => {
                command::resume(&*own(project, id)?, now.wall)
            }
            Command::CreateHidden { project, draft } => {
                let next = WebhookId::new(self.webhook_id_max + 1).ok_or(CommandError::NoId)?;
                let bits = u128::from(self.draw()) << 64 | u128::from(self.draw());
                let ids = (next, alnum_id("wh-", bits));
                let change = command::create_hidden(&catalog, ids, project, draft, now.wall)?;
                self.webhook_id_max = next.get();
                Ok(change)
            }
            Command::PutProject(draft) => {
                let free = ProjectId::new(self.project_id_max + 1);
                let planned = &self.planned_projects;
                let change =
                    command::project::put_project(&catalog, planned, draft, free, now.wall)?;
                if let Some(project) = &change.project
                    && self.removed_projects.contains(&project.id)
                {
                    return Err(CommandError::IdUsed(project.id));
                }
                self.project_planned(change)
            }
            Command::AddIntakeToken { project, name, hash, secret } => {
                let project = self.latest(&catalog, project)?;
                let change =
                    command::project::add_intake_token(project, name, hash, secret, now.wall)?;
                self.project_planned(change)
            }
            Command::RevokeIntakeToken { project, id } => {
                let project = self.latest(&catalog, project)?;
                self.project_planned(command::project::revoke_intake_token(project, id)?)
            }
            Command::Rotate { project, id, step } => {
                command::rotation::step(&*own(project, id)?, step, now.wall)
            }
            Command::RenameProject { project, name } => {
                let project = self.latest(&catalog, project)?;
                self.project_planned(command::project::rename(project, name))
            }
            Command::AddSecretKey { project, key } => {
                let project = self.latest(&catalog, project)?;
                let change = command::project::add_secret_key(
                    &catalog,
                    &self.planned_projects,
                    project,
                    key,
                )?;
                self.project_planned(change)
            }
            Command::RevokeSecretKey { project, key } => {
                let project = self.latest(&catalog, project)?;
                self.project_planned(command::project::revoke_secret_key(project, &key)?)
            }
            Command::RemoveProject(id) => {
                self.latest(&catalog, id)?;
                let operator = self.planned_operator.clone();
                let change = command::project::remove(&catalog, operator, id, last, now.wall);
                self.removed_projects.insert(id);
                self.operator_planned(change)
            }
            Command::EraseEvent { project, event } => {
                let ops = vec![Op::EraseEvent { event, at: now.wall }];
                Ok(Change { ops, erases: Some((project, event)), ..Change::default() })
            }
            Command::AddOperatorToken { name, hash } => {
                let operator = self.planned_operator.clone();
                let change = command::operator::add_token(operator, name, hash, now.wall)?;
                self.operator_planned(change)
            }
            Command::RevokeOperatorToken(id) => {
                let operator = self.planned_operator.clone();
                self.operator_planned(command::operator::revoke_token(operator, id)?)
            }
            Command::SetTarget { origin, patch } => {
                let operator = self.planned_operator.clone();
                let change = command::operator::set_target(operator, origin, patch, now.wall)?;
                self.operator_planned(change)
            }
            Command::TestWebhook { .. } | Command::Hasten { .. } | Command::Act { .. } => {
                Ok(Change::default())
            }
        }
    }

    /// A project as it will be when everything that is being committed is. Nothing refuses such a
    /// batch, so this is what the next change has to start from.
    fn latest(&self, catalog: &Catalog, id: ProjectId) -> Result<Project, CommandError> {
        let planned = self.planned_projects.get(&id);
        let latest = planned.or(catalog.project(id).map(|project| &**project));
        latest.cloned().ok_or(CommandError::NotFound)
    }

    fn project_planned(&mut self, change: Change) -> Result<Change, CommandError> {
        if let Some(project) = &change.project {
            self.project_id_max = self.project_id_max.max(project.id.get());
            self.planned_projects.insert(project.id, project.clone());
        }
        Ok(change)
    }

    /// Nothing refuses a batch of the operator's either.
    fn operator_planned(&mut self, change: Change) -> Result<Change, CommandError> {
        if let Some(operator) = &change.operator {
            self.planned_operator = (**operator).clone();
        }
        Ok(change)
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.chance)
    }

    fn test(
        &mut self,
        now: Now,
        project: ProjectId,
        id: WebhookId,
        event: NewEvent,
        reply: oneshot::Sender<Result<Answer, CommandError>>,
    ) {
        let catalog = Arc::clone(&self.catalog);
        let catalog = catalog.read().unwrap_or_else(PoisonError::into_inner);
        let Some(webhook) = catalog.webhook(id).filter(|webhook| webhook.project == project) else {
            return answer(reply, Err(CommandError::NotFound));
        };
        if webhook.state != WebhookState::Active || self.closing.contains_key(&id) {
            return answer(reply, Err(CommandError::NotSending(webhook.state.as_str())));
        }
        let origin = webhook.target_url.origin();
        if catalog.operator().target(origin).paused_since.is_some() {
            return answer(reply, Err(CommandError::TargetPaused));
        }
        let submission = Submission::new(project, vec![event], Source::Test);
        match self.plan(now, |plan| plan.publish_to(submission, webhook)) {
            Ok(Planned { batch, events, rows, accepted }) => {
                if let Some(row) = rows.first() {
                    self.tests.insert(row.key.seq, reply);
                }
                self.commit(batch, After::Accept { reply: None, accepted, events, rows });
            }
            Err(error) => answer(reply, Err(CommandError::Store(error.to_string().into()))),
        }
    }
}
