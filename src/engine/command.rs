//! Commands: what projects and operators can have done, and what becomes of a webhook by it.
//!
//! Owns the commands, their answers and errors, and the lifecycle rules: which change closes a
//! lane, which keeps it. Must never write: a command becomes a batch and a change of the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::logic::batch::{Batch, Durability, Expect, Op};
use crate::logic::catalog::Catalog;
use crate::model::attempt::Attempt;
use crate::model::delivery::{CancelledReason, Ending, FailedReason};
use crate::model::draft::{ProjectDraft, WebhookDraft, WebhookPatch};
use crate::model::ids::{DeliveryId, ProjectId, Seq, WebhookId};
use crate::model::project::{INTAKE_TOKENS_MAX, IntakeToken, Project};
use crate::model::secret::Secret;
use crate::model::time::Wall;
use crate::model::webhook::{DisabledReason, WEBHOOKS_PER_PROJECT_MAX, Webhook, WebhookState};
use crate::source::native::NewEvent;

/// What can be asked for. A project's commands name the project, and see nothing of another.
#[derive(Clone, Debug)]
pub enum Command {
    /// Creates a webhook.
    CreateWebhook {
        /// Whose.
        project: ProjectId,
        /// How.
        draft: WebhookDraft,
        /// For a `listen` session: the one address that it may be reached at.
        listener: Option<std::net::SocketAddr>,
    },
    /// Changes a webhook.
    UpdateWebhook {
        /// Whose.
        project: ProjectId,
        /// Which.
        id: WebhookId,
        /// How.
        patch: WebhookPatch,
    },
    /// Deletes a webhook.
    DeleteWebhook {
        /// Whose.
        project: ProjectId,
        /// Which.
        id: WebhookId,
    },
    /// Deletes the Uploadcare webhooks of a target.
    Unsubscribe {
        /// Whose.
        project: ProjectId,
        /// Exactly this text.
        target_url: String,
        /// Only that of this event, or all.
        event: Option<String>,
    },
    /// Keeps events without sending any.
    PauseWebhook {
        /// Whose.
        project: ProjectId,
        /// Which.
        id: WebhookId,
    },
    /// Sends again what was kept.
    ResumeWebhook {
        /// Whose.
        project: ProjectId,
        /// Which.
        id: WebhookId,
    },
    /// Delivers an event to one webhook alone, and answers with its first attempt.
    TestWebhook {
        /// Whose.
        project: ProjectId,
        /// Which.
        id: WebhookId,
        /// The event.
        event: Box<NewEvent>,
    },
    /// Makes the retries of a webhook due now.
    Hasten {
        /// Whose.
        project: ProjectId,
        /// Which.
        id: WebhookId,
    },
    /// Creates a project, or replaces the one with its id or public key.
    PutProject(ProjectDraft),
    /// Creates the hidden webhook of a `/send/` target; it subscribes to nothing.
    CreateHidden {
        /// Whose.
        project: ProjectId,
        /// How; its events don't count.
        draft: WebhookDraft,
    },
    /// Lets another system bring events in.
    AddIntakeToken {
        /// Whose.
        project: ProjectId,
        /// What people call it.
        name: String,
        /// SHA-256 of the token.
        hash: [u8; 32],
        /// What its requests are signed with, if they are.
        secret: Option<Secret>,
    },
    /// Lets another system no longer bring events in.
    RevokeIntakeToken {
        /// Whose.
        project: ProjectId,
        /// Which.
        id: u32,
    },
    /// Sets the operator token's SHA-256.
    PutOperatorToken([u8; 32]),
}

/// What came of a command.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The webhook as it is now.
    Webhook(Arc<Webhook>),
    /// The project as it is now.
    Project(Arc<Project>),
    /// The first attempt of a test.
    Tested(Box<Tested>),
    /// It was done.
    Done,
}

/// The first attempt of a test.
#[derive(Clone, Debug)]
pub struct Tested {
    /// The delivery.
    pub delivery: DeliveryId,
    /// What came of its attempt.
    pub attempt: Attempt,
    /// The start of the answer's body.
    pub body: Vec<u8>,
}

/// Why a command is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The daemon is shutting down.
    #[error("the daemon is shutting down")]
    Draining,
    /// There is no such thing, for this project.
    #[error("not found")]
    NotFound,
    /// The project has a webhook with this event and target.
    #[error("the project is already subscribed on this event")]
    NotUnique,
    /// Somebody else changed it at the same time.
    #[error("changed by somebody else at the same time")]
    Overtaken,
    /// The project has too many webhooks.
    #[error("a project can't have more than {WEBHOOKS_PER_PROJECT_MAX} webhooks")]
    TooManyWebhooks,
    /// A key belongs to another project.
    #[error("another project has this {0}")]
    KeyTaken(&'static str),
    /// The webhook does not send now.
    #[error("the webhook is {0}: nothing is sent")]
    NotSending(&'static str),
    /// There is no id left.
    #[error("no id is left")]
    NoId,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(Arc<str>),
}

/// What a command changes, once its batch is on disk.
#[derive(Debug, Default)]
pub struct Change {
    /// Written first.
    pub expect: Vec<(Expect, CommandError)>,
    /// Written then.
    pub ops: Vec<Op>,
    /// Webhooks as they will be.
    pub puts: Vec<Webhook>,
    /// Webhooks that will be gone.
    pub removes: Vec<WebhookId>,
    /// Lanes that will be closed.
    pub closes: Vec<(WebhookId, Seq, Ending)>,
    /// A project as it will be.
    pub project: Option<Project>,
}

impl Change {
    /// What is written, durably.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch {
            expect: self.expect.iter().map(|(expect, _)| expect.clone()).collect(),
            ops: self.ops.clone(),
            durability: Durability::Now,
        }
    }

    fn put(&mut self, webhook: Webhook) {
        self.ops.push(Op::PutWebhook(webhook.clone()));
        self.puts.push(webhook);
    }

    fn remove(&mut self, id: WebhookId) {
        self.ops.push(Op::RemoveWebhook(id));
        self.removes.push(id);
    }

    fn close(&mut self, webhook: WebhookId, upto: Seq, ending: Ending, at: Wall) {
        self.ops.push(Op::CloseLane { webhook, upto, ending, at });
        self.closes.push((webhook, upto, ending));
    }

    fn expect_revision(&mut self, old: &Webhook) {
        let expect = Expect::WebhookRevision { id: old.id, revision: Some(old.revision) };
        self.expect.push((expect, CommandError::Overtaken));
    }

    fn expect_free(&mut self, webhook: &Webhook) {
        if !webhook.format.is_unique() {
            return;
        }
        for event in &webhook.events {
            let expect = Expect::SubscriptionFree {
                project: webhook.project,
                format: webhook.format.name(),
                event: event.clone(),
                target_url: webhook.target_url.as_str().to_owned(),
                except: Some(webhook.id),
            };
            self.expect.push((expect, CommandError::NotUnique));
        }
    }
}

/// A new webhook.
pub fn create(
    catalog: &Catalog,
    (id, public_id): (WebhookId, String),
    project: ProjectId,
    draft: WebhookDraft,
    listener: Option<std::net::SocketAddr>,
    now: Wall,
) -> Result<Change, CommandError> {
    if catalog.project(project).is_none() {
        return Err(CommandError::NotFound);
    }
    if catalog.webhooks_count(project) >= WEBHOOKS_PER_PROJECT_MAX {
        return Err(CommandError::TooManyWebhooks);
    }
    let webhook = Webhook { listener, ..fresh((id, public_id), project, draft, now) };
    let mut change = Change::default();
    change.expect_free(&webhook);
    change.put(webhook);
    Ok(change)
}

/// The hidden webhook of a `/send/` target. The limit counts it by itself.
pub fn create_hidden(
    catalog: &Catalog,
    ids: (WebhookId, String),
    project: ProjectId,
    draft: WebhookDraft,
    now: Wall,
) -> Result<Change, CommandError> {
    if catalog.project(project).is_none() {
        return Err(CommandError::NotFound);
    }
    if catalog.hidden_count(project) >= WEBHOOKS_PER_PROJECT_MAX {
        return Err(CommandError::TooManyWebhooks);
    }
    let webhook = fresh(ids, project, draft, now);
    let mut change = Change::default();
    change.put(Webhook { events: Vec::new(), hidden: true, ..webhook });
    Ok(change)
}

fn fresh(
    (id, public_id): (WebhookId, String),
    project: ProjectId,
    draft: WebhookDraft,
    now: Wall,
) -> Webhook {
    let state = if draft.is_active { WebhookState::Active } else { WebhookState::Inactive };
    Webhook {
        id,
        public_id,
        project,
        target_url: draft.target_url,
        events: draft.events,
        format: draft.format,
        state,
        secret: draft.secret,
        next_secret: None,
        headers: draft.headers,
        limits: draft.limits,
        options: draft.options,
        created: now,
        updated: now,
        revision: 1,
        paused_total_ms: 0,
        listener: None,
        hidden: false,
    }
}

/// A changed webhook. `is_active=false` cancels what is pending; `is_active=true` enables a webhook
/// that is inactive or disabled, and leaves a paused one paused.
pub fn update(old: &Webhook, patch: WebhookPatch, last: Seq, now: Wall) -> Change {
    let mut webhook = next_revision(old, now);
    let is_active = patch.is_active;
    patch.apply(&mut webhook);
    let mut change = Change::default();
    change.expect_revision(old);
    let key = |webhook: &Webhook| {
        (webhook.events.clone(), webhook.target_url.clone(), webhook.format.name())
    };
    if key(&webhook) != key(old) {
        change.expect_free(&webhook);
    }
    match is_active {
        Some(false) if old.state != WebhookState::Inactive => {
            leave_state(&mut webhook, WebhookState::Inactive, now);
            let ending = Ending::Cancelled(CancelledReason::Inactive);
            change.close(old.id, last, ending, now);
        }
        Some(true) if !old.is_active() => webhook.state = WebhookState::Active,
        _ => {}
    }
    change.put(webhook);
    change
}

/// Webhooks that go, with what is pending for them.
#[must_use]
pub fn delete(webhooks: &[Arc<Webhook>], last: Seq, now: Wall) -> Change {
    unsubscribe(webhooks, None, last, now)
}

/// Webhooks that are unsubscribed from one event, or from all. One that has others keeps them.
#[must_use]
pub fn unsubscribe(webhooks: &[Arc<Webhook>], event: Option<&str>, last: Seq, now: Wall) -> Change {
    let mut change = Change::default();
    for old in webhooks {
        let mut webhook = next_revision(old, now);
        webhook.events.retain(|own| event.is_some_and(|event| own.as_str() != event));
        if webhook.events.is_empty() {
            change.close(old.id, last, Ending::Cancelled(CancelledReason::Deleted), now);
            change.remove(old.id);
        } else {
            change.expect_revision(old);
            change.put(webhook);
        }
    }
    change
}

/// A webhook whose target answered 410.
#[must_use]
pub fn gone(old: &Webhook, last: Seq, now: Wall) -> Change {
    let mut webhook = next_revision(old, now);
    leave_state(&mut webhook, WebhookState::Disabled(DisabledReason::Gone), now);
    let mut change = Change::default();
    change.expect_revision(old);
    change.close(old.id, last, Ending::Failed(FailedReason::Disabled), now);
    change.put(webhook);
    change
}

/// A paused webhook.
pub fn pause(old: &Webhook, now: Wall) -> Result<Change, CommandError> {
    match old.state {
        WebhookState::Active => {}
        WebhookState::Paused { .. } => return Ok(Change::default()),
        state => return Err(CommandError::NotSending(state.as_str())),
    }
    let mut webhook = next_revision(old, now);
    webhook.state = WebhookState::Paused { since: now };
    let mut change = Change::default();
    change.expect_revision(old);
    change.put(webhook);
    Ok(change)
}

/// A webhook that is paused no more.
pub fn resume(old: &Webhook, now: Wall) -> Result<Change, CommandError> {
    match old.state {
        WebhookState::Paused { .. } => {}
        WebhookState::Active => return Ok(Change::default()),
        state => return Err(CommandError::NotSending(state.as_str())),
    }
    let mut webhook = next_revision(old, now);
    leave_state(&mut webhook, WebhookState::Active, now);
    let mut change = Change::default();
    change.expect_revision(old);
    change.put(webhook);
    Ok(change)
}

/// A project as the draft wants it: a new one, or the one with the draft's id or public key.
/// `planned` are projects whose last change is on its way to disk.
pub fn put_project(
    catalog: &Catalog,
    planned: &BTreeMap<ProjectId, Project>,
    draft: ProjectDraft,
    free_id: Option<ProjectId>,
    now: Wall,
) -> Result<Change, CommandError> {
    let by_key = catalog.project_by_public_key(&draft.public_key);
    let old = draft.id.and_then(|id| catalog.project(id)).or(by_key);
    let id = draft.id.or(old.map(|old| old.id)).or(free_id).ok_or(CommandError::NoId)?;
    if by_key.is_some_and(|other| other.id != id) {
        return Err(CommandError::KeyTaken("public key"));
    }
    let taken = |secret: &Secret| {
        catalog.project_by_secret_key(secret.expose()).is_some_and(|other| other.id != id)
    };
    if draft.secret_keys.iter().any(taken) {
        return Err(CommandError::KeyTaken("secret key"));
    }
    let old = planned.get(&id).or(old.map(|old| &**old));
    let project = Project {
        id,
        name: draft.name,
        public_key: draft.public_key,
        secret_keys: draft.secret_keys,
        created: old.map_or(now, |old| old.created),
        settings: draft.settings,
        intake_tokens: old.map_or_else(Vec::new, |old| old.intake_tokens.clone()),
    };
    let mut change = Change::default();
    if old.is_none_or(|old| *old != project) {
        change.ops.push(Op::PutProject(project.clone()));
    }
    change.project = Some(project);
    Ok(change)
}

/// A project with one intake token more.
pub fn add_intake_token(
    mut project: Project,
    name: String,
    hash: [u8; 32],
    secret: Option<Secret>,
    now: Wall,
) -> Result<Change, CommandError> {
    if project.intake_tokens.len() >= INTAKE_TOKENS_MAX {
        return Err(CommandError::NoId);
    }
    let last = project.intake_tokens.iter().map(|token| token.id).max().unwrap_or(0);
    let id = last.checked_add(1).ok_or(CommandError::NoId)?;
    project.intake_tokens.push(IntakeToken { id, name, hash, secret, created: now });
    Ok(of_project(project))
}

/// A project with one intake token less.
pub fn revoke_intake_token(mut project: Project, id: u32) -> Result<Change, CommandError> {
    let before = project.intake_tokens.len();
    project.intake_tokens.retain(|token| token.id != id);
    if project.intake_tokens.len() == before {
        return Err(CommandError::NotFound);
    }
    Ok(of_project(project))
}

fn of_project(project: Project) -> Change {
    let ops = vec![Op::PutProject(project.clone())];
    Change { ops, project: Some(project), ..Change::default() }
}

fn next_revision(old: &Webhook, now: Wall) -> Webhook {
    // `updated` moves with every change, even within a millisecond.
    let updated = now.max(old.updated.plus(1));
    Webhook { updated, revision: old.revision + 1, ..old.clone() }
}

/// Ends a pause, if there is one, and sets the state.
fn leave_state(webhook: &mut Webhook, state: WebhookState, now: Wall) {
    webhook.paused_total_ms = webhook.paused_ms(now);
    webhook.state = state;
}
