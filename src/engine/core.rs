//! The core: messages in, effects out.
//!
//! Owns everything that the engine knows: the catalog, the dispatcher, the numbers, what is being
//! committed and who waits for it. Must never wait, read a clock or touch a socket or a disk (but
//! for the one read of the store when it recovers): so a test or a simulation can be its shell.
//!
//! The order of things: a batch is handed out as [`Effect::Commit`], and only when its
//! [`Message::Committed`] comes back are the catalog changed, the lanes told and the asker
//! answered. Two commands can be under way at once; the preconditions of their batches settle who
//! was first. Between the hand-out of a batch that closes a lane and its commit, new events pass
//! that lane by.

mod ask;
mod attempts;
mod commands;
mod hidden;
mod jobs;
mod notices;
mod own;
mod settle;
mod targets;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderValue;
use tokio::sync::oneshot;

pub use self::ask::Question;
pub use self::jobs::STEP_ROWS_MAX;
use super::StartError;
use super::cache::{Cached, EventCache};
use super::command::{self, Answer, Change, Command, CommandError, Own};
use super::counters::Counters;
use super::feed::{self, Feed};
use super::look::{Found, Look};
use super::submit::{Accepted, Plan, Planned, Submission, SubmitError};
use crate::logic::address::AllowList;
use crate::logic::batch::{AcceptedEvent, Batch, Op};
use crate::logic::catalog::Catalog;
use crate::logic::dispatcher::{self, Dispatcher, Input, Output, Probe, Settled, TargetLimits};
use crate::logic::log::LogLimits;
use crate::logic::notices::{Notices, Subject};
use crate::logic::steady::{self, Steady};
use crate::model;
use crate::model::delivery::{Ending, Finished, Pending, Queue, QueueKey};
use crate::model::event::Event;
use crate::model::ids::{DeliveryId, ProjectId, Seq, Sequence, WebhookId, mix};
use crate::model::operator::Operator;
use crate::model::project::Project;
use crate::model::target::Origin;
use crate::model::time::{Mono, Now, Wall};
use crate::model::webhook::{Webhook, WebhookState};
use crate::net::Response;
use crate::store::{CommitError, Store, Upkeep};

/// What the core is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits of the dispatcher.
    pub dispatcher: dispatcher::Settings,
    /// What the operator set for single targets.
    pub targets: BTreeMap<Origin, TargetLimits>,
    /// How long finished deliveries, attempts and payloads are kept.
    pub retention_ms: u64,
    /// A webhook none of whose attempts succeeded for so long is disabled.
    pub disable_failing_after_ms: Option<u64>,
    /// What deliveries call themselves.
    pub user_agent: HeaderValue,
    /// Changes of deliveries that are kept for those who follow.
    pub feed_changes_max: usize,
    /// How much of answers goes into the attempt log.
    pub log: LogLimits,
}

/// What the core is told.
pub enum Message {
    /// Time has passed.
    Time,
    /// Events are published.
    Submit {
        /// Which.
        submission: Submission,
        /// Who waits.
        reply: oneshot::Sender<Result<Accepted, SubmitError>>,
    },
    /// Something is to be done.
    Command {
        /// What.
        command: Command,
        /// Who waits.
        reply: oneshot::Sender<Result<Answer, CommandError>>,
    },
    /// A batch's fate is known.
    Committed {
        /// Which.
        ticket: u64,
        /// Its fate.
        result: Result<(), CommitError>,
    },
    /// Rows were read, or not.
    Fetched {
        /// The number of the fetch.
        number: u64,
        /// Of which lane.
        webhook: WebhookId,
        /// The rows, and whether there are more.
        rows: Option<(Vec<Pending>, bool)>,
    },
    /// An attempt ended.
    Ended(Box<AttemptEnd>),
    /// Events that were read ahead, and how often each is wanted.
    ReadAhead {
        /// How many erasures there had been before they were read.
        erasures: u64,
        /// The events.
        events: Vec<(Arc<Event>, usize)>,
    },
    /// A delivery can't be attempted, and ends so: its event is damaged or erased.
    Unsendable(Pending, Ending),
    /// The event of a delivery that expired was read, or can't be.
    ExpiredRead {
        /// The delivery.
        finished: Finished,
        /// How many more expired untold.
        omitted: u64,
        /// Its event.
        event: Option<Arc<Event>>,
    },
    /// Whether the store still refuses events.
    Room {
        /// Whether it does.
        is_full: bool,
    },
    /// What was looked for, if it could be read.
    Looked(u64, Option<Found>),
    /// Somebody wants to know a project's jobs.
    Jobs(ProjectId, oneshot::Sender<Vec<Arc<model::job::Job>>>),
    /// A step of upkeep is done.
    UpkeepDone(Result<Upkeep, CommitError>),
    /// Somebody wants to know something.
    Ask(Question),
    /// No more attempts may start, and no more events come in.
    Drain,
}

/// How an attempt ended.
#[derive(Debug)]
pub struct AttemptEnd {
    /// The delivery, as it was started.
    pub row: Pending,
    /// Whose probe it was.
    pub probe: Probe,
    /// When it was started.
    pub started: Wall,
    /// The delivery's id, if it got so far.
    pub delivery: Option<DeliveryId>,
    /// Whether its event is a notice.
    pub is_notice: bool,
    /// The revision of the webhook by which it was made.
    pub revision: u64,
    /// The checksum of its request, if there was one.
    pub request_crc: Option<u32>,
    /// What came of it.
    pub response: Response,
}

/// What the core wants done.
pub enum Effect {
    /// Commit a batch, and report.
    Commit {
        /// To report by.
        ticket: u64,
        /// What.
        batch: Batch,
    },
    /// Read rows, and report.
    Fetch {
        /// To report by.
        number: u64,
        /// Of which lane.
        webhook: WebhookId,
        /// Of which of its queues.
        queue: Queue,
        /// After which key.
        after: Option<QueueKey>,
        /// At most so many.
        rows: usize,
    },
    /// Make an attempt, and report.
    Start(Box<NextAttempt>),
    /// Read the event of a delivery that expired, and report.
    ReadExpired {
        /// The delivery.
        finished: Finished,
        /// To report by.
        omitted: u64,
    },
    /// Look whether the store refuses events, and report.
    LookForRoom,
    /// Look something up for a job or a single action, and report.
    Look {
        /// To report by.
        number: u64,
        /// What.
        look: Look,
    },
    /// Make a step of upkeep, and report.
    Upkeep {
        /// What is older may go.
        keep_since: Wall,
        /// At most so many rows.
        rows_max: usize,
    },
}

/// An attempt to be made.
#[derive(Debug)]
pub struct NextAttempt {
    /// The delivery.
    pub row: Pending,
    /// Whose probe it is.
    pub probe: Probe,
    /// The webhook as it is now.
    pub webhook: Arc<Webhook>,
    /// Its project.
    pub project: Arc<Project>,
    /// What the address check lets through for the project.
    pub allow: Arc<AllowList>,
    /// The event, if it is in memory.
    pub event: Option<Arc<Cached>>,
    /// What the request calls itself.
    pub user_agent: HeaderValue,
}

/// What happens when a batch was committed.
enum After {
    Accept {
        reply: Option<oneshot::Sender<Result<Accepted, SubmitError>>>,
        accepted: Vec<AcceptedEvent>,
        events: Vec<Arc<Event>>,
        rows: Vec<Pending>,
    },
    Change {
        reply: Option<oneshot::Sender<Result<Answer, CommandError>>>,
        change: Box<Change>,
    },
    Settle(Vec<Settled>, Vec<feed::Change>),
    Step(Box<jobs::Step>),
}

/// The core.
pub struct Core {
    settings: Settings,
    /// What deliveries call themselves, as the attempt log names it.
    user_agent: Arc<str>,
    catalog: Arc<RwLock<Catalog>>,
    allows: BTreeMap<ProjectId, Arc<AllowList>>,
    no_allow: Arc<AllowList>,
    dispatcher: Dispatcher,
    steady: Steady,
    /// When the last message came, by the steady clock.
    now: Now,
    sequence: Sequence,
    cache: EventCache,
    /// Payloads that were erased since the start.
    erasures: u64,
    after: BTreeMap<u64, After>,
    next_ticket: u64,
    project_id_max: u32,
    webhook_id_max: u32,
    /// Projects as the last change that was handed out leaves them.
    planned_projects: BTreeMap<ProjectId, Project>,
    /// When each hidden webhook was used last, as far as this process knows.
    hidden_used: BTreeMap<WebhookId, Wall>,
    /// Lanes whose closing is being committed, and how often.
    closing: BTreeMap<WebhookId, u32>,
    settle_ops: Vec<Op>,
    settled: Vec<Settled>,
    /// What the feed will tell of them.
    told: Vec<feed::Change>,
    feed: Arc<Feed>,
    notices: Notices,
    tests: BTreeMap<Seq, oneshot::Sender<Result<Answer, CommandError>>>,
    upkeep_running: bool,
    upkeep_soon: bool,
    upkeep_at: Mono,
    closes: upkeep::Closes,
    jobs: jobs::Jobs,
    effects: VecDeque<Effect>,
    chance: u64,
    draining: bool,
    broken: Option<Arc<str>>,
    counters: Arc<Counters>,
    /// What is kept for the operator, as the last change that was handed out leaves it.
    planned_operator: Operator,
    /// Projects whose removal was handed out.
    removed_projects: BTreeSet<ProjectId>,
    /// When the next step of each rotation happens by itself.
    rotations: BTreeSet<(Wall, WebhookId)>,
    /// Since when no attempt of a webhook succeeded, as far as this process knows.
    failing: BTreeMap<WebhookId, Wall>,
    /// Whether the store had never held a token when it was opened.
    is_first_start: bool,
}

impl Core {
    /// Reads the store: projects, webhooks, and which lanes have work; no delivery is read.
    pub fn recover(
        settings: Settings,
        store: &dyn Store,
        no_allow: AllowList,
        seed: u64,
        now: Now,
    ) -> Result<Core, StartError> {
        let loaded = store.load()?;
        let mut steady = Steady::new(now, loaded.seq_max.wall());
        let now = steady.read(now);
        let jobs = jobs::Jobs::new(loaded.jobs, now);
        let mut dispatcher =
            Dispatcher::new(settings.dispatcher, settings.targets.clone(), mix(seed ^ 1));
        dispatcher.expire_from(now.mono.plus(steady::YOUNG_MS));
        let feed_changes_max = settings.feed_changes_max;
        let mut core = Core {
            user_agent: String::from_utf8_lossy(settings.user_agent.as_bytes()).into(),
            settings,
            catalog: Arc::new(RwLock::new(Catalog::default())),
            allows: BTreeMap::new(),
            no_allow: Arc::new(no_allow),
            dispatcher,
            steady,
            now,
            sequence: Sequence::after(loaded.seq_max.max(jobs.seq_max())),
            cache: EventCache::default(),
            erasures: 0,
            after: BTreeMap::new(),
            next_ticket: 0,
            project_id_max: loaded.project_id_max,
            webhook_id_max: loaded.webhook_id_max,
            planned_projects: BTreeMap::new(),
            hidden_used: BTreeMap::new(),
            closing: BTreeMap::new(),
            settle_ops: Vec::new(),
            settled: Vec::new(),
            told: Vec::new(),
            feed: Arc::new(Feed::new(mix(seed ^ 2), feed_changes_max)),
            notices: Notices::default(),
            tests: BTreeMap::new(),
            upkeep_running: false,
            upkeep_soon: false,
            upkeep_at: now.mono,
            closes: upkeep::Closes::default(),
            jobs,
            effects: VecDeque::new(),
            chance: seed,
            draining: false,
            broken: None,
            counters: Arc::new(Counters::default()),
            planned_operator: loaded.operator.clone().unwrap_or_default(),
            removed_projects: BTreeSet::new(),
            rotations: BTreeSet::new(),
            failing: BTreeMap::new(),
            is_first_start: loaded.operator.as_ref().is_none_or(|one| one.token_id_max == 0),
        };
        core.put_operator(Arc::new(loaded.operator.unwrap_or_default()));
        let origins: Vec<Origin> = core.planned_operator.targets.keys().cloned().collect();
        for origin in &origins {
            core.set_target(now, origin);
        }
        for project in loaded.projects {
            core.put_project(project);
        }
        let mut orphans = Vec::new();
        for webhook in loaded.webhooks {
            if webhook.listener.is_some() {
                orphans.push(Arc::new(webhook));
            } else {
                core.put_webhook(now, webhook);
            }
        }
        core.forget_jobs_of_none();
        for queue in [Queue::Fresh, Queue::Retry] {
            let lanes = store.lanes(queue)?;
            core.dispatch(now, Input::Recovered(queue, lanes));
        }
        if !orphans.is_empty() {
            // Their sessions ended with the process before.
            let change = command::delete(&orphans, core.sequence.last(), now.wall);
            core.commit_change(change, None);
        }
        Ok(core)
    }

    /// Projects and webhooks, as of the last commit.
    #[must_use]
    pub fn catalog(&self) -> Arc<RwLock<Catalog>> {
        Arc::clone(&self.catalog)
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Whether no token was ever made for the operator.
    #[must_use]
    pub fn is_first_start(&self) -> bool {
        self.is_first_start
    }

    /// Lets no attempt start.
    pub fn hold(&mut self) {
        self.dispatcher.hold();
    }

    /// Takes one message; `clocks` is what the machine's clocks show. All that is decided and
    /// written goes by the steady clock.
    pub fn apply(&mut self, clocks: Now, message: Message) {
        let now = self.steady.read(clocks);
        self.now = now;
        match message {
            Message::Time => self.dispatch(now, Input::Time),
            Message::Submit { submission, reply } => self.submit(now, submission, reply),
            Message::Command { command, reply } => self.command(now, command, reply),
            Message::Committed { ticket, result } => self.committed(now, ticket, result),
            Message::Fetched { number, webhook, rows } => {
                self.dispatch(now, Input::Fetched { number, webhook, rows });
            }
            Message::ReadAhead { erasures, events } => {
                // What was erased meanwhile may be among them.
                if erasures == self.erasures {
                    for (event, wanted) in events {
                        self.cache.put(event, wanted);
                    }
                }
            }
            Message::Ended(end) => self.ended(now, clocks.wall, *end),
            Message::Unsendable(row, ending) => {
                if let Some(reply) = self.tests.remove(&row.key.seq) {
                    answer(reply, Err(CommandError::NotFound));
                }
                self.dispatch(now, Input::Unsendable(row, ending));
            }
            Message::ExpiredRead { finished, omitted, event } => {
                self.expired_read(now, &finished, omitted, event);
            }
            Message::Room { is_full } => self.note_room(now, None, is_full),
            Message::Looked(number, found) => self.looked(now, number, found),
            Message::Jobs(project, reply) => answer(reply, self.jobs.of(project)),
            Message::UpkeepDone(result) => self.upkeep_done(now, result),
            Message::Ask(question) => self.ask(now, question),
            Message::Drain => {
                self.draining = true;
                self.hold();
            }
        }
        self.rotate(now);
        self.tell_due(now);
        self.upkeep(now);
        self.next_step(now);
    }

    /// How many payloads were erased since the start.
    #[must_use]
    pub fn erasures(&self) -> u64 {
        self.erasures
    }

    /// What is to be done next, if anything.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call again if nothing else happens, at the latest.
    #[must_use]
    pub fn next_wake(&self) -> Option<Mono> {
        let wake = self.dispatcher.next_wake();
        let wall = wake.wall.map(|at| self.now.mono.plus(at.since(self.now.wall)));
        let upkeep = (!self.upkeep_running).then_some(self.upkeep_at);
        let rotation = self.rotations.first().map(|(at, _)| *at);
        let rotation = rotation.map(|at| self.now.mono.plus(at.since(self.now.wall)));
        let rest = [self.notices.next_wake(), self.next_job_at()];
        [wall, wake.mono, upkeep, rotation].into_iter().chain(rest).flatten().min()
    }

    /// What the steady clock showed when the last message came.
    #[must_use]
    pub fn steady(&self) -> Wall {
        self.now.wall
    }

    /// Why the store failed, if it did.
    #[must_use]
    pub fn broken(&self) -> Option<Arc<str>> {
        self.broken.clone()
    }

    /// Whether it drains, and nothing is under way any more.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining
            && self.after.is_empty()
            && self.settle_ops.is_empty()
            && self.dispatcher.figures().in_flight == 0
    }

    fn submit(
        &mut self,
        now: Now,
        submission: Submission,
        reply: oneshot::Sender<Result<Accepted, SubmitError>>,
    ) {
        let planned = if self.draining {
            Err(SubmitError::Draining)
        } else if self.removed_projects.contains(&submission.project) {
            Err(SubmitError::ProjectGone)
        } else if let Some(id) = submission.to {
            self.plan_to(now, submission, id)
        } else {
            self.plan(now, |plan| plan.publish(submission))
        };
        match planned {
            Ok(planned) => {
                let Planned { batch, events, rows, accepted } = planned;
                self.commit(batch, After::Accept { reply: Some(reply), accepted, events, rows });
            }
            Err(error) => answer(reply, Err(error)),
        }
    }

    fn plan<T>(&mut self, now: Now, with: impl FnOnce(Plan<'_>) -> T) -> T {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let (chance, closing) = (&mut self.chance, &self.closing);
        let mut draw = || {
            *chance = chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(*chance)
        };
        with(Plan {
            catalog: &catalog,
            sequence: &mut self.sequence,
            now: now.wall,
            chance: &mut draw,
            stops: &|id| closing.contains_key(&id),
        })
    }

    fn commit_change(
        &mut self,
        change: Change,
        reply: Option<oneshot::Sender<Result<Answer, CommandError>>>,
    ) {
        for (webhook, _, _) in &change.closes {
            *self.closing.entry(*webhook).or_default() += 1;
        }
        let batch = change.batch();
        self.commit(batch, After::Change { reply, change: Box::new(change) });
    }

    fn commit(&mut self, batch: Batch, after: After) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.after.insert(ticket, after);
        self.effects.push_back(Effect::Commit { ticket, batch });
    }

    fn committed(&mut self, now: Now, ticket: u64, result: Result<(), CommitError>) {
        let Some(after) = self.after.remove(&ticket) else { return };
        if let Err(CommitError::Broken(why)) = &result {
            self.broken = Some(Arc::clone(why));
        }
        match after {
            After::Accept { reply, accepted, events, rows } => {
                let accepted = Accepted { events: accepted, duplicate: false };
                self.accepted(now, result, accepted, events, rows, reply);
            }
            After::Settle(settled, told) => {
                if result.is_ok() {
                    self.note_expired(now, &told);
                    self.feed.push(told);
                    self.dispatch(now, Input::Settled(settled));
                }
            }
            After::Step(step) => self.stepped(now, *step, result),
            After::Change { reply, change } => self.changed(now, *change, result, reply),
        }
    }

    fn changed(
        &mut self,
        now: Now,
        mut change: Change,
        result: Result<(), CommitError>,
        reply: Option<oneshot::Sender<Result<Answer, CommandError>>>,
    ) {
        for (webhook, _, _) in &change.closes {
            if let Some(times) = self.closing.get_mut(webhook) {
                *times -= 1;
                if *times == 0 {
                    self.closing.remove(webhook);
                }
            }
        }
        let error = match result {
            Ok(()) => None,
            Err(CommitError::Refused(i)) if i < change.expect.len() => {
                Some(change.expect.swap_remove(i).1)
            }
            Err(error) => Some(CommandError::from(error)),
        };
        if let Some(error) = error {
            match reply {
                Some(reply) => answer(reply, Err(error)),
                // A later answer of the target says it again, if its lane goes on.
                None if error == CommandError::Full => self.go_on(now, &change),
                // The engine's own change was overtaken: look again at what is there now.
                None => self.again(now, &change),
            }
            return;
        }
        let mut result = Answer::Done;
        for (webhook, upto, ending) in change.closes {
            self.tell_closed(now, webhook, upto, ending);
            self.dispatch(now, Input::LaneClosed { webhook, upto, ending });
            self.upkeep_soon = true;
            self.closes.made();
        }
        for id in change.removes {
            let removed = self.write_catalog(|catalog| catalog.remove_webhook(id));
            self.forget_rotation(removed.as_deref());
            self.failing.remove(&id);
            self.dispatch(now, Input::LaneRemoved(id));
        }
        for webhook in change.puts {
            result = Answer::Webhook(self.put_webhook(now, webhook));
        }
        if let Some(project) = change.project {
            result = Answer::Project(self.put_project(project));
        }
        if let Some(id) = change.removes_project {
            self.planned_projects.remove(&id);
            self.allows.remove(&id);
            self.feed.forget(id);
            self.write_catalog(|catalog| catalog.remove_project(id));
            self.forget_jobs(|project| project == id);
        }
        if let Some((project, seq)) = change.erases {
            self.erasures += 1;
            self.cache.remove(seq);
            self.end_erased(project, seq);
        }
        if let Some(operator) = change.operator {
            result = Answer::Operator(Arc::clone(&operator));
            self.put_operator(operator);
        }
        for origin in change.targets {
            self.set_target(now, &origin);
        }
        if let Some(reply) = reply {
            answer(reply, Ok(result));
        }
    }

    fn put_webhook(&mut self, now: Now, webhook: Webhook) -> Arc<Webhook> {
        let id = webhook.id;
        self.webhook_id_max = self.webhook_id_max.max(id.get());
        let shown = Arc::new(webhook.clone());
        let old = self.write_catalog(|catalog| {
            let old = catalog.webhook(id).cloned();
            catalog.put_webhook(webhook);
            old
        });
        self.forget_rotation(old.as_deref());
        if let Some(at) = shown.rotation.as_ref().and_then(|rotation| rotation.next_step) {
            self.rotations.insert((at, id));
        }
        if shown.state != WebhookState::Active {
            // What it did before is no reason any more once it is active again.
            self.failing.remove(&id);
        }
        self.set_lane(now, &shown);
        self.note_disabled(now, old.as_deref(), &shown);
        shown
    }

    /// Lanes that stopped for a change that was refused run as they did before.
    fn go_on(&mut self, now: Now, change: &Change) {
        for webhook in &change.puts {
            let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
            let kept = catalog.webhook(webhook.id).cloned();
            drop(catalog);
            if let Some(kept) = kept {
                self.set_lane(now, &kept);
            }
        }
    }

    fn put_project(&mut self, project: Project) -> Arc<Project> {
        self.project_id_max = self.project_id_max.max(project.id.get());
        match AllowList::parse(&project.settings.allow) {
            Ok(allow) => {
                self.allows.insert(project.id, Arc::new(allow));
            }
            Err(error) => {
                // It was checked when it was set; a rule that can't be read allows nothing.
                tracing::error!(project = %project.id, %error, "A project's allow list is unusable.");
                self.allows.remove(&project.id);
            }
        }
        let shown = Arc::new(project.clone());
        self.write_catalog(|catalog| catalog.put_project(project));
        shown
    }

    fn write_catalog<T>(&self, change: impl FnOnce(&mut Catalog) -> T) -> T {
        change(&mut self.catalog.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the dispatcher, and takes what it wants done.
    fn dispatch(&mut self, now: Now, input: Input) {
        self.dispatcher.handle(now, input);
        while let Some(output) = self.dispatcher.poll() {
            match output {
                Output::Fetch { number, webhook, queue, after, rows } => {
                    self.effects.push_back(Effect::Fetch { number, webhook, queue, after, rows });
                }
                Output::Start { row, probe } => self.start(row, probe),
                Output::Settle(op) => self.settle(now, *op),
                Output::Gone(webhook) => self.disable(now, webhook, Own::Gone),
                Output::Turned { origin, webhook, turn } => {
                    let subject = webhook.map_or(Subject::Target(origin), Subject::Webhook);
                    self.turned(now, &subject, turn);
                }
            }
        }
    }

    fn start(&mut self, row: Pending, probe: Probe) {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let webhook = catalog.webhook(row.key.webhook).cloned();
        let project =
            webhook.as_ref().and_then(|webhook| catalog.project(webhook.project)).cloned();
        // A lane without its webhook does not run.
        let (Some(webhook), Some(project)) = (webhook, project) else { return };
        let allow = self.allows.get(&project.id).unwrap_or(&self.no_allow);
        let next = NextAttempt {
            row,
            probe,
            webhook,
            project,
            allow: Arc::clone(allow),
            event: self.cache.get(row.event),
            user_agent: self.settings.user_agent.clone(),
        };
        self.effects.push_back(Effect::Start(Box::new(next)));
    }
}

/// Answers whoever asked, if still there: a publisher that hung up has its events all the same.
fn answer<T>(reply: oneshot::Sender<T>, result: T) {
    let _ = reply.send(result);
}
