//! The core's jobs, and single actions on deliveries: look, decide, write, one step at a time.
//!
//! Owns the jobs as they are on disk, whose turn it is, and what is under way; what a step writes is
//! decided in `step`. Must never have two steps under way at once: what one has looked at is what it
//! writes about, so that no event gets two deliveries for a webhook, and nothing is sent again twice.
//!
//! A step of a job is one batch: what becomes of a page of deliveries, and how far the job is. So a
//! process that dies between two steps, or within one, goes on where it was. Single actions go
//! before jobs; jobs take turns, and leave the writer to others for most of the time.

mod step;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::{After, Core, Effect, answer};
use crate::engine::command::act::{Act, ActError, Acted};
use crate::engine::command::{Answer, CommandError};
use crate::engine::look::{Found, Look};
use crate::logic::batch::{Batch, Durability, Expect, Op};
use crate::logic::dispatcher::Input;
use crate::model::delivery::{Ending, Pending};
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::job::{
    Asker, JOBS_KEPT_PER_PROJECT_MAX, JOBS_RUNNING_PER_PROJECT_MAX, Job, JobId, JobKind, JobState,
    Selection,
};
use crate::model::time::{Mono, Now, SECOND_MS};
use crate::store::CommitError;

/// Deliveries or events that one step of a job looks at.
pub const STEP_ROWS_MAX: usize = 500;
/// Of the time, jobs take one part in so many: the rest is the others'.
const STEP_SHARE: u64 = 4;
/// The longest pause between two steps, in milliseconds.
const STEP_PAUSE_MS_MAX: u64 = 2 * SECOND_MS;
/// A step that had no room, or could not read, is made again after so long.
const STEP_AGAIN_MS: u64 = 5 * SECOND_MS;
/// Single actions that may wait for their turn.
const TASKS_MAX: usize = 1_000;
/// A step is decided anew so often when something changed between the look and the write; then the
/// delivery that changed is left out.
const TRIES_MAX: u32 = 4;

type Reply = oneshot::Sender<Result<Answer, CommandError>>;

/// A single action.
struct Task {
    project: ProjectId,
    what: What,
    /// Who waits.
    reply: Option<Reply>,
}

enum What {
    Act(Act),
    /// Ends the deliveries of an erased event that wait.
    EndErased(Seq),
}

/// Whose step is under way.
enum Turn {
    Task(Task),
    Job(JobId),
}

struct Current {
    turn: Turn,
    began: Mono,
    tries: u32,
    /// Deliveries that are left out: they were changed by others again and again.
    left_out: BTreeSet<Seq>,
}

/// A step that is being committed.
#[derive(Default)]
pub(super) struct Step {
    expect: Vec<(Expect, Seq)>,
    ops: Vec<Op>,
    rows: Vec<Pending>,
    cancels: Vec<Pending>,
    /// How they end.
    ending: Option<Ending>,
    /// The job as it is after it.
    job: Option<Arc<Job>>,
    /// Jobs that are forgotten by it.
    forgets: Vec<JobId>,
    acted: Option<Acted>,
    /// Whose reply, if it is no turn's.
    reply: Option<Reply>,
    is_turn: bool,
}

/// All jobs, and what is under way.
#[derive(Default)]
pub(super) struct Jobs {
    all: BTreeMap<JobId, Arc<Job>>,
    /// Those that run, in the order of their turns.
    running: VecDeque<JobId>,
    /// Those whose beginning is being committed.
    beginning: BTreeSet<(ProjectId, JobId)>,
    tasks: VecDeque<Task>,
    current: Option<Current>,
    /// The number of the look that is under way.
    looks: u64,
    /// No job makes a step before.
    next_at: Mono,
    /// Steps since the last that was written.
    idle_steps: u32,
}

impl Jobs {
    /// Those that the store holds.
    pub(super) fn new(loaded: Vec<Arc<Job>>, now: Now) -> Jobs {
        let running = loaded.iter().filter(|job| job.is_running()).map(|job| job.id).collect();
        let all = loaded.into_iter().map(|job| (job.id, job)).collect();
        Jobs { all, running, next_at: now.mono, ..Jobs::default() }
    }

    /// The highest number that one has.
    pub(super) fn seq_max(&self) -> Seq {
        self.all.keys().map(|id| id.seq).max().unwrap_or_default()
    }

    /// A project's, newest first.
    pub(super) fn of(&self, project: ProjectId) -> Vec<Arc<Job>> {
        let own = self.all.values().rev().filter(|job| job.project == project);
        own.cloned().collect()
    }

    fn own(&self, project: ProjectId, id: JobId) -> Option<&Arc<Job>> {
        self.all.get(&id).filter(|job| job.project == project)
    }

    fn put(&mut self, job: Arc<Job>) {
        self.running.retain(|id| *id != job.id);
        if job.is_running() {
            self.running.push_back(job.id);
        }
        self.all.insert(job.id, job);
    }

    fn forget(&mut self, id: JobId) {
        self.all.remove(&id);
        self.running.retain(|running| *running != id);
    }
}

impl Core {
    pub(super) fn act(&mut self, now: Now, project: ProjectId, act: Act, reply: Reply) {
        match act {
            Act::Begin { what, who } => self.begin_job(now, project, what, who, reply),
            act if self.jobs.tasks.len() < TASKS_MAX => {
                let task = Task { project, what: What::Act(act), reply: Some(reply) };
                self.jobs.tasks.push_back(task);
            }
            _ => answer(reply, Err(ActError::Busy.into())),
        }
    }

    /// Deliveries of an erased event that wait are ended now, and not at their turn. It need not
    /// survive a crash: at its turn, each ends by itself.
    pub(super) fn end_erased(&mut self, project: ProjectId, event: Seq) {
        if self.jobs.tasks.len() < TASKS_MAX {
            self.jobs.tasks.push_back(Task { project, what: What::EndErased(event), reply: None });
        }
    }

    /// Begins the next step, if none is under way.
    pub(super) fn next_step(&mut self, now: Now) {
        while self.jobs.current.is_none() && !self.draining {
            let turn = match self.jobs.tasks.pop_front() {
                Some(task) => match self.settle_without_look(now, task) {
                    Some(task) => Turn::Task(task),
                    None => continue,
                },
                None if self.is_job_due(now) => match self.jobs.running.pop_front() {
                    Some(id) => {
                        self.jobs.running.push_back(id);
                        Turn::Job(id)
                    }
                    None => return,
                },
                None => return,
            };
            let left_out = BTreeSet::new();
            self.jobs.current = Some(Current { turn, began: now.mono, tries: 0, left_out });
            self.look();
        }
    }

    /// When a job makes its next step, if nothing else happens before.
    pub(super) fn next_job_at(&self) -> Option<Mono> {
        let waits = self.jobs.current.is_none() && !self.jobs.running.is_empty();
        (waits && !self.draining && !self.closes.has_rows()).then_some(self.jobs.next_at)
    }

    /// What was looked for is read, or can't be.
    pub(super) fn looked(&mut self, now: Now, number: u64, found: Option<Found>) {
        if number != self.jobs.looks {
            return;
        }
        let Some(current) = self.jobs.current.take() else { return };
        let Some(found) = found else {
            let unread = CommitError::Broken("it can't be read".into());
            return self.give_up(now, current, unread);
        };
        // What was decided before this step is written before it.
        self.flush();
        let step = match &current.turn {
            Turn::Job(id) => self.job_step(now, *id, &found, &current.left_out),
            Turn::Task(task) => self.task_step(now, task, &found),
        };
        match step {
            Ok(Some(step)) => {
                self.jobs.current = Some(current);
                self.commit_step(step);
            }
            Ok(None) => self.pause(now, current.began),
            Err(error) => {
                if let Turn::Task(Task { reply: Some(reply), .. }) = current.turn {
                    answer(reply, Err(error));
                }
            }
        }
    }

    /// A step's fate is known.
    pub(super) fn stepped(&mut self, now: Now, step: Step, result: Result<(), CommitError>) {
        let current = if step.is_turn { self.jobs.current.take() } else { None };
        if let Some(job) = &step.job {
            self.jobs.beginning.remove(&(job.project, job.id));
        }
        if !step.cancels.is_empty() {
            let cancels = step.cancels.iter().map(place).collect();
            self.dispatch(now, Input::Cancelled(cancels, result.is_ok()));
        }
        if let Err(error) = result {
            match (current, step.reply) {
                (Some(current), _) => self.refused(now, current, &step.expect, error),
                (None, Some(reply)) => answer(reply, Err(error.into())),
                (None, None) => {}
            }
            return;
        }
        self.tell_step(now, &step);
        self.dispatch(now, Input::Arrived(step.rows));
        if let Some(job) = step.job {
            self.jobs.idle_steps = 0;
            let project = job.project;
            self.jobs.put(job);
            if self.removed_projects.contains(&project) {
                self.forget_jobs(|id| id == project);
            }
        }
        for id in step.forgets {
            self.jobs.forget(id);
        }
        let reply = match current {
            Some(Current { turn: Turn::Task(task), .. }) => task.reply,
            Some(Current { turn: Turn::Job(_), began, .. }) => {
                self.pause(now, began);
                None
            }
            None => step.reply,
        };
        if let (Some(reply), Some(acted)) = (reply, step.acted) {
            answer(reply, Ok(Answer::Acted(Box::new(acted))));
        }
    }

    /// Forgets jobs of projects that are not there: the process before died in between.
    pub(super) fn forget_jobs_of_none(&mut self) {
        let catalog = Arc::clone(&self.catalog);
        let catalog = catalog.read().unwrap_or_else(PoisonError::into_inner);
        self.forget_jobs(|id| catalog.project(id).is_none());
    }

    /// Forgets the jobs of projects that are gone.
    pub(super) fn forget_jobs(&mut self, is_gone: impl Fn(ProjectId) -> bool) {
        let gone = self.jobs.all.values().filter(|job| is_gone(job.project));
        let forgets: Vec<JobId> = gone.map(|job| job.id).collect();
        if forgets.is_empty() {
            return;
        }
        for id in &forgets {
            self.jobs.forget(*id);
        }
        let ops = forgets.iter().map(|id| Op::RemoveJob(*id)).collect();
        self.commit_step(Step { ops, ..Step::default() });
    }

    fn begin_job(
        &mut self,
        now: Now,
        project: ProjectId,
        what: (JobKind, Selection),
        who: Asker,
        reply: Reply,
    ) {
        let own = || self.jobs.all.values().filter(|job| job.project == project);
        let beginning = self.jobs.beginning.iter().filter(|(of, _)| *of == project).count();
        if own().filter(|job| job.is_running()).count() + beginning >= JOBS_RUNNING_PER_PROJECT_MAX
        {
            return answer(reply, Err(ActError::TooManyJobs.into()));
        }
        let more = (own().count() + beginning + 1).saturating_sub(JOBS_KEPT_PER_PROJECT_MAX);
        let ended = own().filter(|job| !job.is_running()).take(more);
        let forgets: Vec<JobId> = ended.map(|job| job.id).collect();
        let last = self.sequence.last();
        let id = JobId { seq: self.sequence.next(now.wall), salt: self.draw() };
        let job = Arc::new(Job::new(id, project, what, who, last, now.wall));
        self.jobs.beginning.insert((project, id));
        let mut ops = vec![Op::PutJob(Arc::clone(&job))];
        ops.extend(forgets.iter().map(|id| Op::RemoveJob(*id)));
        let acted = Some(Acted::Job(Arc::clone(&job)));
        let reply = Some(reply);
        self.commit_step(Step { ops, job: Some(job), forgets, acted, reply, ..Step::default() });
    }

    fn is_job_due(&self, now: Now) -> bool {
        // What ended with its lane has to stand there as ended before it is looked for.
        now.mono >= self.jobs.next_at && !self.closes.has_rows()
    }

    /// Stopping a job needs no look. Returns a task that does.
    fn settle_without_look(&mut self, now: Now, task: Task) -> Option<Task> {
        let What::Act(Act::Stop(id)) = &task.what else { return Some(task) };
        let stopped = match self.jobs.own(task.project, *id) {
            None => Err(CommandError::NotFound),
            Some(job) if !job.is_running() => Err(ActError::JobEnded(job.state.as_str()).into()),
            Some(job) => {
                let mut job = Job::clone(job);
                job.end(JobState::Cancelled, now.wall);
                Ok(Arc::new(job))
            }
        };
        match stopped {
            Ok(job) => {
                let left_out = BTreeSet::new();
                let turn = Turn::Task(task);
                self.jobs.current = Some(Current { turn, began: now.mono, tries: 0, left_out });
                let ops = vec![Op::PutJob(Arc::clone(&job))];
                let acted = Some(Acted::Job(Arc::clone(&job)));
                let is_turn = true;
                self.commit_step(Step { ops, job: Some(job), acted, is_turn, ..Step::default() });
            }
            Err(error) => {
                if let Some(reply) = task.reply {
                    answer(reply, Err(error));
                }
            }
        }
        None
    }

    /// Hands out the look of the current step.
    fn look(&mut self) {
        let Some(current) = &self.jobs.current else { return };
        let look = match &current.turn {
            Turn::Job(id) => self.jobs.all.get(id).map(|job| Look::of_job(job, STEP_ROWS_MAX)),
            Turn::Task(Task { what, .. }) => match what {
                What::Act(Act::Resend(id) | Act::Cancel(id)) => Some(Look::Delivery(id.seq)),
                What::Act(Act::Replay(id, _)) => Some(Look::Event(id.seq)),
                What::EndErased(event) => Some(Look::Event(*event)),
                What::Act(Act::Begin { .. } | Act::Stop(_)) => None,
            },
        };
        match look {
            Some(look) => {
                self.jobs.looks += 1;
                self.effects.push_back(Effect::Look { number: self.jobs.looks, look });
            }
            None => self.jobs.current = None,
        }
    }

    fn commit_step(&mut self, step: Step) {
        let expect = step.expect.iter().map(|(expect, _)| expect.clone()).collect();
        let batch = Batch { expect, ops: step.ops.clone(), durability: Durability::Now };
        self.commit(batch, After::Step(Box::new(step)));
    }

    /// Something changed between the look and the write, or there is no room.
    fn refused(
        &mut self,
        now: Now,
        mut current: Current,
        expect: &[(Expect, Seq)],
        error: CommitError,
    ) {
        let CommitError::Refused(i) = error else { return self.give_up(now, current, error) };
        current.tries += 1;
        if current.tries >= TRIES_MAX {
            match (&current.turn, expect.get(i)) {
                (Turn::Job(_), Some((_, seq))) => drop(current.left_out.insert(*seq)),
                _ => return self.give_up(now, current, CommitError::Refused(i)),
            }
        }
        self.jobs.current = Some(current);
        self.look();
    }

    fn give_up(&mut self, now: Now, current: Current, error: CommitError) {
        match current.turn {
            Turn::Job(_) => self.jobs.next_at = now.mono.plus(STEP_AGAIN_MS),
            Turn::Task(Task { reply: Some(reply), .. }) => answer(
                reply,
                Err(match error {
                    CommitError::Refused(_) => CommandError::Overtaken,
                    error => error.into(),
                }),
            ),
            Turn::Task(_) => {}
        }
    }

    /// Leaves the writer to others.
    fn pause(&mut self, now: Now, began: Mono) {
        let pause_ms = (now.mono.since(began) * (STEP_SHARE - 1)).min(STEP_PAUSE_MS_MAX);
        self.jobs.next_at = now.mono.plus(pause_ms);
    }
}

fn place(row: &Pending) -> (WebhookId, Seq) {
    (row.key.webhook, row.key.seq)
}
