//! Commands: what projects and operators can have done, and what becomes of a webhook by it.
//!
//! Owns the commands, their answers and errors, and the lifecycle rules: which change closes a
//! lane, which keeps it. Must never write: a command becomes a batch and a change of the catalog.

pub mod act;
pub mod operator;
pub mod project;
pub mod rotation;

use std::sync::Arc;

use thiserror::Error;

use crate::logic::batch::{Batch, Durability, Expect, Op};
use crate::logic::catalog::Catalog;
use crate::model::attempt::Attempt;
use crate::model::delivery::{CancelledReason, Ending, FailedReason};
use crate::model::draft::{self, ProjectDraft, WebhookDraft, WebhookPatch};
use crate::model::ids::{DeliveryId, ProjectId, Seq, WebhookId};
use crate::model::operator::Operator;
use crate::model::project::Project;
use crate::model::secret::Secret;
use crate::model::target::Origin;
use crate::model::time::Wall;
use crate::model::webhook::{DisabledReason, WEBHOOKS_PER_PROJECT_MAX, Webhook, WebhookState};
use crate::source::native::NewEvent;
use crate::store::CommitError;

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
    /// Goes one step on in the change of a webhook's signing secret.
    Rotate {
        /// Whose.
        project: ProjectId,
        /// Which.
        id: WebhookId,
        /// The step.
        step: RotationStep,
    },
    /// Renames a project.
    RenameProject {
        /// Which.
        project: ProjectId,
        /// What people call it from now on.
        name: String,
    },
    /// Removes a project with its webhooks and what is pending for them.
    RemoveProject(ProjectId),
    /// Gives a project one secret key more.
    AddSecretKey {
        /// Which.
        project: ProjectId,
        /// The key.
        key: Secret,
    },
    /// Takes a secret key away from a project.
    RevokeSecretKey {
        /// Which.
        project: ProjectId,
        /// The key.
        key: Secret,
    },
    /// Does something to deliveries.
    Act {
        /// Whose.
        project: ProjectId,
        /// What.
        act: act::Act,
    },
    /// Takes an event's payload away for good.
    EraseEvent {
        /// Whose.
        project: ProjectId,
        /// Which.
        event: Seq,
    },
    /// Makes a token of the operator.
    AddOperatorToken {
        /// What people call it.
        name: String,
        /// SHA-256 of the token.
        hash: [u8; 32],
    },
    /// Revokes a token of the operator.
    RevokeOperatorToken(u32),
    /// Changes what the operator set for a target.
    SetTarget {
        /// Which.
        origin: Origin,
        /// How.
        patch: TargetPatch,
    },
}

/// A step in the change of a signing secret.
#[derive(Clone, Debug)]
pub enum RotationStep {
    /// Stages the next secret.
    Begin {
        /// The next secret.
        secret: Secret,
        /// After so many milliseconds it becomes the webhook's own by itself.
        promote_after_ms: Option<u64>,
        /// So many milliseconds the old one signs beside it then.
        overlap_ms: u64,
    },
    /// Makes the staged secret the webhook's own.
    Promote,
    /// Drops the old secret.
    Finish,
    /// Goes back to the secret that was there before, and drops the other.
    Abort,
}

/// What changes of a target's settings.
#[derive(Clone, Debug, Default)]
pub struct TargetPatch {
    /// Attempts a second; cleared, the configuration's hold.
    pub rate_per_second: draft::Change<u32>,
    /// Attempts at once after a quiet time.
    pub burst: draft::Change<u32>,
    /// Attempts under way at once.
    pub in_flight: draft::Change<u32>,
    /// Whether nothing is sent to it.
    pub paused: Option<bool>,
}

impl Command {
    /// Whose command it is; `None` for the operator's own.
    #[must_use]
    pub fn project(&self) -> Option<ProjectId> {
        match self {
            Command::CreateWebhook { project, .. }
            | Command::UpdateWebhook { project, .. }
            | Command::DeleteWebhook { project, .. }
            | Command::Unsubscribe { project, .. }
            | Command::PauseWebhook { project, .. }
            | Command::ResumeWebhook { project, .. }
            | Command::TestWebhook { project, .. }
            | Command::Hasten { project, .. }
            | Command::CreateHidden { project, .. }
            | Command::AddIntakeToken { project, .. }
            | Command::RevokeIntakeToken { project, .. }
            | Command::Rotate { project, .. }
            | Command::RenameProject { project, .. }
            | Command::RemoveProject(project)
            | Command::AddSecretKey { project, .. }
            | Command::RevokeSecretKey { project, .. }
            | Command::Act { project, .. }
            | Command::EraseEvent { project, .. } => Some(*project),
            Command::PutProject(_)
            | Command::AddOperatorToken { .. }
            | Command::RevokeOperatorToken(_)
            | Command::SetTarget { .. } => None,
        }
    }
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
    /// What is kept for the operator, as it is now.
    Operator(Arc<Operator>),
    /// What was done to deliveries.
    Acted(Box<act::Acted>),
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
    /// There is no room.
    #[error("there is no room for it: the disk is full, or [store] size_max is reached")]
    Full,
    /// A project that was removed had this id.
    #[error("a project that was removed had the id {0}; take another one")]
    IdUsed(ProjectId),
    /// The step does not follow from where the change of the secret is.
    #[error("{0}")]
    Rotation(&'static str),
    /// A project's last key can't be taken away.
    #[error("this is the project's last key; add another one first")]
    LastKey,
    /// There are too many of something.
    #[error("{0} is the most there can be; remove one first")]
    TooMany(usize),
    /// The target does not take anything now.
    #[error("the target is paused by the operator: nothing is sent")]
    TargetPaused,
    /// It can't be done to these deliveries.
    #[error(transparent)]
    Act(#[from] act::ActError),
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
    /// A project that will be gone.
    pub removes_project: Option<ProjectId>,
    /// An event whose payload will be gone, and whose it is.
    pub erases: Option<(ProjectId, Seq)>,
    /// What is kept for the operator, as it will be.
    pub operator: Option<Arc<Operator>>,
    /// Targets whose settings will be others.
    pub targets: Vec<Origin>,
    /// Why the engine does it by itself, if it does.
    pub own: Option<Own>,
}

/// What the engine changes of a webhook by itself. If somebody else changed the webhook at the same
/// time, it looks again at what is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Its target answered 410.
    Gone,
    /// No attempt succeeded for too long.
    Failing,
    /// Since when none succeeded, to be written down.
    Since(Option<Wall>),
    /// The next step of a rotation is due.
    Rotation,
}

impl From<CommitError> for CommandError {
    fn from(error: CommitError) -> CommandError {
        match error {
            CommitError::Full => CommandError::Full,
            error => CommandError::Store(error.to_string().into()),
        }
    }
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
        rotation: None,
        headers: draft.headers,
        limits: draft.limits,
        options: draft.options,
        created: now,
        updated: now,
        revision: 1,
        paused_total_ms: 0,
        failing_since: None,
        listener: None,
        hidden: false,
    }
}

/// A changed webhook. `is_active=false` cancels what is pending; `is_active=true` enables a webhook
/// that is inactive or disabled, and leaves a paused one paused.
pub fn update(
    catalog: &Catalog,
    old: &Webhook,
    patch: WebhookPatch,
    last: Seq,
    now: Wall,
) -> Change {
    let mut webhook = next_revision(old, now);
    let is_active = patch.is_active;
    patch.apply(&mut webhook);
    keep_paused_time(catalog.operator(), old, &mut webhook, now);
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
        Some(true) if !old.is_active() => leave_state(&mut webhook, WebhookState::Active, now),
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

/// A webhook that is disabled, and why the engine does it.
#[must_use]
pub fn disable(old: &Webhook, reason: DisabledReason, own: Own, last: Seq, now: Wall) -> Change {
    let mut webhook = next_revision(old, now);
    leave_state(&mut webhook, WebhookState::Disabled(reason), now);
    let mut change = Change { own: Some(own), ..Change::default() };
    change.expect_revision(old);
    change.close(old.id, last, Ending::Failed(FailedReason::Disabled), now);
    change.put(webhook);
    change
}

/// A webhook of which is written down since when no attempt succeeded. Its owner changed nothing.
#[must_use]
pub fn failing_since(old: &Webhook, since: Option<Wall>) -> Change {
    let webhook = Webhook { failing_since: since, revision: old.revision + 1, ..old.clone() };
    let mut change = Change { own: Some(Own::Since(since)), ..Change::default() };
    change.expect_revision(old);
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

fn next_revision(old: &Webhook, now: Wall) -> Webhook {
    // `updated` moves with every change, even within a millisecond.
    let updated = now.max(old.updated.plus(1));
    Webhook { updated, revision: old.revision + 1, ..old.clone() }
}

/// The time that the old target was paused goes with the webhook to the new one: deadlines that were
/// extended by it stay so.
fn keep_paused_time(operator: &Operator, old: &Webhook, new: &mut Webhook, now: Wall) {
    let (from, to) = (old.target_url.origin(), new.target_url.origin());
    if from != to {
        let whole = new.paused_total_ms.saturating_add(operator.target(from).paused_ms(now));
        new.paused_total_ms = whole.saturating_sub(operator.target(to).paused_ms(now));
    }
}

/// Ends a pause, if there is one, and sets the state. How long it has been failing is counted anew.
fn leave_state(webhook: &mut Webhook, state: WebhookState, now: Wall) {
    webhook.failing_since = None;
    webhook.paused_total_ms = webhook.paused_ms(now);
    webhook.state = state;
}
