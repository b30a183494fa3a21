//! What a step of a job, or a single action, writes of what it has looked at.
//!
//! Owns the decision about each row that was found, as one batch. Must never look: what it is not
//! shown it leaves alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use super::{Step, Task, What, place};
use crate::dialect;
use crate::engine::command::CommandError;
use crate::engine::command::act::{Act, ActError, Acted, Replayed};
use crate::engine::core::Core;
use crate::engine::feed::Change;
use crate::engine::look::{DELIVERIES_OF_EVENT_MAX, Found};
use crate::logic::batch::{Expect, Op};
use crate::logic::dispatcher::Input;
use crate::logic::jobs::{self, EventHead, Obstacle, Verdict, View};
use crate::model::delivery::{CancelledReason, Delivery, Ending, Pending};
use crate::model::ids::{DeliveryId, ProjectId, Seq, WebhookId};
use crate::model::job::{Job, JobId, JobKind, JobState};
use crate::model::time::Now;
use crate::model::webhook::Webhook;

/// Steps of a job that found nothing to do, until how far it is, is written down.
const IDLE_STEPS_MAX: u32 = 20;
/// Deliveries that a replay makes or sends again at once.
const REPLAY_ROWS_MAX: usize = 10_000;
/// Deliveries of an erased event that one step ends.
const ERASED_ROWS_MAX: usize = 5_000;

impl Core {
    /// A job's next step; `None`: there is nothing to write yet.
    pub(super) fn job_step(
        &mut self,
        now: Now,
        id: JobId,
        found: &Found,
        left_out: &BTreeSet<Seq>,
    ) -> Result<Option<Step>, CommandError> {
        let Some(job) = self.jobs.all.get(&id) else { return Ok(None) };
        let mut job = Job::clone(job);
        let mut step = Step { is_turn: true, ..Step::default() };
        for (seen, verdict) in found.seen.iter().zip(self.verdicts(now, &job, found)) {
            let seq = seen.delivery.map(|delivery| delivery.seq());
            if verdict == Verdict::Passed {
                continue;
            }
            job.matched += 1;
            let is_left_out = seq.is_some_and(|seq| left_out.contains(&seq));
            match verdict {
                _ if is_left_out => job.skipped += 1,
                Verdict::Skipped(_) | Verdict::Passed => job.skipped += 1,
                verdict => {
                    job.done += 1;
                    self.take_up(now, &mut step, verdict, seen.event.as_ref());
                }
            }
        }
        match found.next {
            Some(next) if next <= job.to => job.next = next,
            _ => job.end(JobState::Done, now.wall),
        }
        if let (JobKind::Recover(_), Some(webhook)) = (job.kind, job.selection.webhook)
            && !self.has_webhook(webhook)
        {
            job.end(JobState::Failed, now.wall);
        }
        job.updated = now.wall;
        let job = Arc::new(job);
        self.jobs.idle_steps += 1;
        if step.ops.is_empty() && job.is_running() && self.jobs.idle_steps < IDLE_STEPS_MAX {
            // Made again after a crash, it finds the same.
            self.jobs.all.insert(id, job);
            return Ok(None);
        }
        step.ops.push(Op::PutJob(Arc::clone(&job)));
        step.job = Some(job);
        self.hand_out_cancels(now, &step);
        Ok(Some(step))
    }

    fn has_webhook(&self, id: WebhookId) -> bool {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        catalog.webhook(id).is_some()
    }

    fn verdicts(&self, now: Now, job: &Job, found: &Found) -> Vec<Verdict> {
        let judge =
            |view: &View<'_>| found.seen.iter().map(|seen| jobs::judge(job, seen, view)).collect();
        self.with_view(now, judge)
    }

    fn with_view<T>(&self, now: Now, with: impl FnOnce(&View<'_>) -> T) -> T {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        with(&View {
            catalog: &catalog,
            now: now.wall,
            stops: &|id| self.closing.contains_key(&id),
            is_under_way: &|webhook, seq| self.dispatcher.is_under_way(webhook, seq),
            subscribes: &|webhook: &Webhook, event: &EventHead| {
                dialect::subscribes(webhook, event.kind, &event.name)
            },
        })
    }

    /// Puts what was decided into a step.
    fn take_up(&mut self, now: Now, step: &mut Step, verdict: Verdict, event: Option<&EventHead>) {
        match verdict {
            Verdict::Requeue(row) => {
                let (seq, webhook) = (row.key.seq, row.key.webhook);
                step.expect.push((Expect::Ended { seq, webhook }, seq));
                step.ops.push(Op::Requeue(row));
                self.use_hidden(now, webhook);
                step.rows.push(row);
            }
            Verdict::Cancel(row) => {
                let ending = Ending::Cancelled(CancelledReason::Requested);
                step.cancel(row, ending, now);
            }
            Verdict::Enqueue(webhook) => {
                let Some(event) = event else { return };
                let seq = self.sequence.next(now.wall);
                let row = self.with_view(now, |view| {
                    let webhook = view.catalog.webhook(webhook)?;
                    Some(jobs::late(event, webhook, seq, view))
                });
                if let Some(row) = row {
                    step.ops.push(Op::EnqueueLater(row));
                    step.rows.push(row);
                }
            }
            Verdict::Passed | Verdict::Skipped(_) => {}
        }
    }

    fn hand_out_cancels(&mut self, now: Now, step: &Step) {
        if let Some(ending) = step.ending {
            let cancels = step.cancels.iter().map(place).collect();
            self.dispatch(now, Input::Cancelling(cancels, ending));
        }
    }

    /// Tells whoever follows the deliveries.
    pub(super) fn tell_step(&self, now: Now, step: &Step) {
        let waiting = step.rows.iter().map(|row| Change::pending(row, None, now.wall));
        let ended = step
            .ending
            .into_iter()
            .flat_map(|ending| step.cancels.iter().map(move |row| row.finished(ending, now.wall)));
        let ended = ended.inspect(|finished| {
            // What is under way is counted when it has ended.
            if !self.dispatcher.is_under_way(finished.webhook, finished.seq) {
                self.counters.finished(finished);
            }
        });
        let ended = ended.map(|finished| Change::finished(&finished, None));
        let told: Vec<Change> = waiting.chain(ended).collect();
        if !told.is_empty() {
            self.feed.push(told);
        }
    }

    pub(super) fn task_step(
        &mut self,
        now: Now,
        task: &Task,
        found: &Found,
    ) -> Result<Option<Step>, CommandError> {
        match &task.what {
            What::Act(Act::Resend(id)) => self.resend_step(now, task.project, *id, found),
            What::Act(Act::Cancel(id)) => self.cancel_step(now, task.project, *id, found),
            What::Act(Act::Replay(id, webhook)) => {
                let event = found.event.as_ref();
                let event = event.filter(|e| e.id == *id && e.project == task.project);
                let event = event.ok_or(CommandError::NotFound)?;
                self.replay_step(now, event, *webhook, found)
            }
            What::EndErased(event) => Ok(self.erased_step(now, task.project, *event, found)),
            What::Act(Act::Begin { .. } | Act::Stop(_)) => Ok(None),
        }
    }

    fn resend_step(
        &mut self,
        now: Now,
        project: ProjectId,
        id: DeliveryId,
        found: &Found,
    ) -> Result<Option<Step>, CommandError> {
        let (delivery, event) = own_delivery(project, id, found)?;
        let Delivery::Finished(end) = delivery else { return Err(ActError::Pending.into()) };
        let row = self.with_view(now, |view| jobs::again(&end, event, view));
        let row = row.map_err(ActError::from)?;
        let acted = Some(Acted::Delivery(id, Delivery::Pending(row)));
        let mut step = Step { acted, is_turn: true, ..Step::default() };
        self.take_up(now, &mut step, Verdict::Requeue(row), event);
        Ok(Some(step))
    }

    fn cancel_step(
        &mut self,
        now: Now,
        project: ProjectId,
        id: DeliveryId,
        found: &Found,
    ) -> Result<Option<Step>, CommandError> {
        let (delivery, event) = own_delivery(project, id, found)?;
        let row = match delivery {
            Delivery::Pending(row) => row,
            Delivery::Finished(end) => return Err(ActError::Ended(end.ending.words().0).into()),
        };
        let (webhook, seq) = (row.key.webhook, row.key.seq);
        let ending = Ending::Cancelled(CancelledReason::Requested);
        let ended = Delivery::Finished(row.finished(ending, now.wall));
        let acted = Some(Acted::Delivery(id, ended));
        let mut step = Step { acted, is_turn: true, ..Step::default() };
        step.expect.push((Expect::Waits { seq, webhook }, seq));
        self.take_up(now, &mut step, Verdict::Cancel(row), event);
        self.hand_out_cancels(now, &step);
        Ok(Some(step))
    }

    fn replay_step(
        &mut self,
        now: Now,
        event: &EventHead,
        only: Option<WebhookId>,
        found: &Found,
    ) -> Result<Option<Step>, CommandError> {
        jobs::check_event(Some(event)).map_err(ActError::from)?;
        let mut receivers = self.receivers(event);
        if let Some(only) = only {
            receivers.retain(|id| *id == only);
            if receivers.is_empty() {
                let obstacle = self.with_view(now, |view| jobs::sending(only, view).err());
                let error = obstacle.map_or(ActError::NotSubscribed, ActError::from);
                return Err(error.into());
            }
        }
        if receivers.len() > REPLAY_ROWS_MAX || found.seen.len() >= DELIVERIES_OF_EVENT_MAX {
            return Err(ActError::TooManyDeliveries(REPLAY_ROWS_MAX).into());
        }
        let known: BTreeMap<WebhookId, Delivery> = found
            .seen
            .iter()
            .filter_map(|seen| seen.delivery.map(|delivery| (delivery.webhook(), delivery)))
            .collect();
        let mut replayed = Replayed::default();
        let mut step = Step { is_turn: true, ..Step::default() };
        for webhook in receivers {
            let verdict = match known.get(&webhook) {
                None => self.with_view(now, |view| {
                    let sending = jobs::sending(webhook, view);
                    sending.map_or_else(Verdict::Skipped, |_| Verdict::Enqueue(webhook))
                }),
                Some(Delivery::Pending(_)) => {
                    replayed.waiting += 1;
                    Verdict::Passed
                }
                Some(Delivery::Finished(end)) => self.with_view(now, |view| {
                    jobs::again(end, Some(event), view)
                        .map_or_else(Verdict::Skipped, Verdict::Requeue)
                }),
            };
            match verdict {
                Verdict::Requeue(_) => replayed.resent += 1,
                Verdict::Enqueue(_) => replayed.created += 1,
                // Its attempt is under way: it gets the event now.
                Verdict::Skipped(Obstacle::UnderWay) => replayed.waiting += 1,
                _ => {}
            }
            self.take_up(now, &mut step, verdict, Some(event));
        }
        step.acted = Some(Acted::Replayed(replayed));
        Ok(Some(step))
    }

    /// Who gets an event that is published now.
    fn receivers(&self, event: &EventHead) -> BTreeSet<WebhookId> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let names = dialect::names(event.kind, &event.name);
        let subscribers = names.iter().flat_map(|name| catalog.subscribers(event.project, name));
        subscribers
            .filter(|webhook| dialect::subscribes(webhook, event.kind, &event.name))
            .filter(|webhook| !self.closing.contains_key(&webhook.id))
            .map(|webhook| webhook.id)
            .collect()
    }

    fn erased_step(
        &mut self,
        now: Now,
        project: ProjectId,
        event: Seq,
        found: &Found,
    ) -> Option<Step> {
        let ending = Ending::Cancelled(CancelledReason::Erased);
        let waiting = found.seen.iter().filter_map(|seen| match seen.delivery {
            Some(Delivery::Pending(row)) => Some(row),
            _ => None,
        });
        let waiting: Vec<Pending> = waiting.collect();
        if waiting.is_empty() {
            return None;
        }
        if waiting.len() > ERASED_ROWS_MAX {
            self.end_erased(project, event);
        }
        let mut step = Step { is_turn: true, ..Step::default() };
        for row in waiting.into_iter().take(ERASED_ROWS_MAX) {
            step.cancel(row, ending, now);
        }
        self.hand_out_cancels(now, &step);
        Some(step)
    }
}

impl Step {
    fn cancel(&mut self, row: Pending, ending: Ending, now: Now) {
        let (webhook, seq) = place(&row);
        self.ops.push(Op::Cancel { seq, webhook, ending, at: now.wall });
        self.cancels.push(row);
        self.ending = Some(ending);
    }
}

/// The delivery of this id, if it is the project's. Where its event is not kept any more, its number
/// alone says that it is the one.
fn own_delivery(
    project: ProjectId,
    id: DeliveryId,
    found: &Found,
) -> Result<(Delivery, Option<&EventHead>), CommandError> {
    let seen = found.seen.first().ok_or(CommandError::NotFound)?;
    let event = seen.event.as_ref();
    let is_it = |delivery: &Delivery| {
        delivery.project() == project
            && event.is_none_or(|event| event.id.delivery(delivery.seq()) == id)
    };
    let delivery = seen.delivery.filter(is_it).ok_or(CommandError::NotFound)?;
    Ok((delivery, event))
}
