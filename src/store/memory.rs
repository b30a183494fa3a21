//! The store that keeps everything in memory: the oracle of the contract suite.
//!
//! Owns plain maps behind one lock. Must never be clever: where it and `embedded` differ, this is
//! what was meant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::logic::batch::{Batch, Expect, IdempotencyRecord, Next, Op};
use crate::model::attempt::Attempt;
use crate::model::delivery::{Delivery, Ending, Finished, Pending, Queue, QueueKey};
use crate::model::event::Event;
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::job::{Job, JobId};
use crate::model::operator::Operator;
use crate::model::project::Project;
use crate::model::time::Wall;
use crate::model::webhook::Webhook;

use super::query::{DeliveryQuery, EventQuery, Order};
use super::{
    CommitError, Done, Loaded, Page, REVISIONS_MAX, ReadError, Stats, Store, Upkeep, UpkeepDone,
};
use crate::store::Records;

/// The store.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    projects: BTreeMap<ProjectId, Project>,
    webhooks: BTreeMap<WebhookId, Webhook>,
    /// With the highest number that a delivery had when it was replaced.
    revisions: BTreeMap<(WebhookId, u64), (Seq, Webhook)>,
    queues: BTreeMap<(Queue, QueueKey), Pending>,
    closed: BTreeMap<WebhookId, (Seq, Ending, Wall)>,
    events: BTreeMap<Seq, Arc<Event>>,
    finished: BTreeMap<Seq, Finished>,
    attempts: BTreeMap<(Seq, u32), Attempt>,
    idempotency: BTreeMap<(ProjectId, u128), IdempotencyRecord>,
    project_id_max: u32,
    webhook_id_max: u32,
    seq_max: Seq,
    operator: Option<Operator>,
    jobs: BTreeMap<JobId, Arc<Job>>,
    is_closed: bool,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Memory {
        Memory::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records for Memory {
    fn load(&self) -> Result<Loaded, ReadError> {
        let state = self.lock();
        Ok(Loaded {
            projects: state.projects.values().cloned().collect(),
            webhooks: state.webhooks.values().cloned().collect(),
            project_id_max: state.project_id_max,
            webhook_id_max: state.webhook_id_max,
            seq_max: state.seq_max,
            operator: state.operator.clone(),
            jobs: state.jobs.values().cloned().collect(),
        })
    }

    fn lanes(&self, queue: Queue) -> Result<Vec<WebhookId>, ReadError> {
        let state = self.lock();
        let lanes: BTreeSet<WebhookId> =
            state.queues.keys().filter(|(q, _)| *q == queue).map(|(_, key)| key.webhook).collect();
        Ok(lanes.into_iter().collect())
    }

    fn idempotency(
        &self,
        project: ProjectId,
        key: u128,
    ) -> Result<Option<IdempotencyRecord>, ReadError> {
        Ok(self.lock().idempotency.get(&(project, key)).cloned())
    }

    fn revision(&self, id: WebhookId, revision: u64) -> Result<Option<Webhook>, ReadError> {
        let state = self.lock();
        let current = state.webhooks.get(&id).filter(|webhook| webhook.revision == revision);
        let kept = || state.revisions.get(&(id, revision)).map(|(_, webhook)| webhook);
        Ok(current.or_else(kept).cloned())
    }

    fn finished(&self, seq: Seq) -> Result<Option<Finished>, ReadError> {
        Ok(self.lock().finished.get(&seq).copied())
    }

    fn delivery(&self, seq: Seq) -> Result<Option<Delivery>, ReadError> {
        Ok(self.lock().deliveries().remove(&seq))
    }

    fn deliveries(&self, query: &DeliveryQuery) -> Result<Vec<Delivery>, ReadError> {
        let wanted = self.lock().deliveries().into_values().filter(|delivery| {
            query.scope.holds(delivery)
                && query.range().contains(&delivery.seq().0)
                && query.status.is_none_or(|status| status == delivery.status())
        });
        Ok(ordered(wanted.collect(), query.order, query.rows_max))
    }

    fn deliveries_of(&self, event: Seq, rows_max: usize) -> Result<Vec<Delivery>, ReadError> {
        let state = self.lock();
        let all = state.deliveries().into_values().filter(|_| state.events.contains_key(&event));
        Ok(all.filter(|delivery| delivery.event() == event).take(rows_max).collect())
    }

    fn delivery_of(&self, event: Seq, webhook: WebhookId) -> Result<Option<Delivery>, ReadError> {
        let own = self.deliveries_of(event, usize::MAX)?;
        Ok(own.into_iter().find(|delivery| delivery.webhook() == webhook))
    }

    fn events(&self, query: &EventQuery) -> Result<Vec<Seq>, ReadError> {
        let state = self.lock();
        let wanted = state.events.values().filter(|event| {
            event.project == query.project && query.range().contains(&event.id.seq.0)
        });
        let wanted = wanted.map(|event| event.id.seq).collect();
        Ok(ordered(wanted, query.order, query.rows_max))
    }

    fn attempts(&self, seq: Seq) -> Result<Vec<Attempt>, ReadError> {
        let state = self.lock();
        let range = state.attempts.range((seq, 0)..=(seq, u32::MAX));
        Ok(range.map(|(_, attempt)| attempt.clone()).collect())
    }
}

impl Store for Memory {
    fn commit(&self, batch: Batch, done: Done) {
        let result = self.lock().commit(batch);
        done(result);
    }

    fn upkeep(&self, keep_since: Wall, rows_max: usize, done: UpkeepDone) {
        let result = self.lock().upkeep(keep_since, rows_max);
        done(result);
    }

    fn due(
        &self,
        webhook: WebhookId,
        queue: Queue,
        after: Option<QueueKey>,
        rows_max: usize,
    ) -> Result<Page, ReadError> {
        let state = self.lock();
        let first = QueueKey { webhook, due: Wall(0), seq: Seq(0) };
        let mut rows: Vec<Pending> = state
            .queues
            .range((queue, after.map_or(first, |after| after.max(first)))..)
            .take_while(|((q, key), _)| *q == queue && key.webhook == webhook)
            .filter(|((_, key), _)| after.is_none_or(|after| *key > after))
            .map(|(_, row)| *row)
            .filter(|row| state.closing(row).is_none())
            .take(rows_max + 1)
            .collect();
        let more = rows.len() > rows_max;
        rows.truncate(rows_max);
        Ok(Page { rows, more })
    }

    fn event(&self, seq: Seq) -> Result<Option<Arc<Event>>, ReadError> {
        Ok(self.lock().events.get(&seq).cloned())
    }

    fn stats(&self) -> Result<Stats, ReadError> {
        let state = self.lock();
        Ok(Stats {
            pending: state.queues.len() as u64,
            events: state.events.len() as u64,
            quarantined: 0,
            pending_retry: state.queues.keys().filter(|(q, _)| *q == Queue::Retry).count() as u64,
            bytes: 0,
            written_bytes: 0,
            is_full: false,
            free_bytes: None,
        })
    }

    fn close(&self) {
        self.lock().is_closed = true;
    }
}

fn ordered<T>(mut rows: Vec<T>, order: Order, rows_max: usize) -> Vec<T> {
    if order == Order::NewestFirst {
        rows.reverse();
    }
    rows.truncate(rows_max);
    rows
}

impl State {
    fn deliveries(&self) -> BTreeMap<Seq, Delivery> {
        let waiting = self.queues.values().map(|row| (row.key.seq, Delivery::Pending(*row)));
        let ended = self.finished.iter().map(|(seq, end)| (*seq, Delivery::Finished(*end)));
        waiting.chain(ended).collect()
    }

    fn has_ended(&self, seq: Seq, webhook: WebhookId) -> bool {
        let is_open = self.closed.get(&webhook).is_none_or(|(upto, ..)| seq > *upto);
        let end = self.finished.get(&seq).filter(|end| end.webhook == webhook);
        is_open && end.is_some_and(|end| self.events.contains_key(&end.event))
    }

    fn waiting(&self, seq: Seq, webhook: WebhookId) -> Option<Pending> {
        let mut rows = self.queues.values();
        let row = rows.find(|row| row.key.seq == seq && row.key.webhook == webhook)?;
        self.closing(row).is_none().then_some(*row)
    }

    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        if self.is_closed {
            return Err(CommitError::Closed);
        }
        if let Some(refused) = batch.expect.iter().position(|expect| !self.holds(expect)) {
            return Err(CommitError::Refused(refused));
        }
        let seq_max = self.seq_max;
        for op in batch.ops {
            self.apply(op, seq_max);
        }
        Ok(())
    }

    fn holds(&self, expect: &Expect) -> bool {
        match expect {
            Expect::IdempotencyFree { project, key, since } => {
                self.idempotency.get(&(*project, *key)).is_none_or(|record| record.at < *since)
            }
            Expect::Ended { seq, webhook } => self.has_ended(*seq, *webhook),
            Expect::Waits { seq, webhook } => self.waiting(*seq, *webhook).is_some(),
            Expect::WebhookRevision { id, revision } => {
                self.webhooks.get(id).map(|webhook| webhook.revision) == *revision
            }
            Expect::SubscriptionFree { project, format, event, target_url, except } => {
                !self.webhooks.values().any(|webhook| {
                    webhook.project == *project
                        && webhook.format.name() == *format
                        && webhook.events.contains(event)
                        && webhook.target_url.as_str() == target_url
                        && Some(webhook.id) != *except
                })
            }
        }
    }

    /// `seq_max` is the highest number before this batch.
    fn apply(&mut self, op: Op, seq_max: Seq) {
        match op {
            Op::PutProject(project) => {
                self.project_id_max = self.project_id_max.max(project.id.get());
                self.projects.insert(project.id, project);
            }
            Op::PutWebhook(webhook) => {
                self.webhook_id_max = self.webhook_id_max.max(webhook.id.get());
                self.keep_revision(webhook.id, Some(webhook.revision), seq_max);
                self.webhooks.insert(webhook.id, webhook);
            }
            Op::RemoveWebhook(id) => {
                self.keep_revision(id, None, seq_max);
                self.webhooks.remove(&id);
            }
            Op::CloseLane { webhook, upto, ending, at } => {
                self.closed.insert(webhook, (upto, ending, at));
            }
            Op::PutEvent(event) => {
                self.seq_max = self.seq_max.max(event.id.seq);
                self.events.insert(event.id.seq, event);
            }
            Op::Requeue(row) => {
                if self.has_ended(row.key.seq, row.key.webhook) {
                    self.finished.remove(&row.key.seq);
                    self.queues.insert((row.queue(), row.key), row);
                }
            }
            Op::Enqueue(row) | Op::EnqueueLater(row) => {
                self.seq_max = self.seq_max.max(row.key.seq);
                self.queues.insert((row.queue(), row.key), row);
            }
            Op::Settle { queue, key, next, attempt } => {
                if self.queues.remove(&(queue, key)).is_none() {
                    return;
                }
                match next {
                    Next::Finished(finished) => {
                        self.finished.insert(finished.seq, finished);
                    }
                    Next::Pending(row) => {
                        self.queues.insert((row.queue(), row.key), row);
                    }
                }
                if let Some(attempt) = attempt {
                    self.attempts.insert((key.seq, attempt.number), attempt);
                }
            }
            Op::Cancel { seq, webhook, ending, at } => {
                if let Some(row) = self.waiting(seq, webhook) {
                    self.queues.remove(&(row.queue(), row.key));
                    self.finished.insert(seq, row.finished(ending, at));
                }
            }
            Op::PutJob(job) => {
                self.jobs.insert(job.id, job);
            }
            Op::RemoveJob(id) => {
                self.jobs.remove(&id);
            }
            Op::PutIdempotency(record) => {
                self.idempotency.insert((record.project, record.key), record);
            }
            Op::RemoveProject(id) => {
                self.projects.remove(&id);
            }
            Op::EraseEvent { event, at } => {
                if let Some(event) = self.events.get_mut(&event) {
                    *event = Arc::new(event.erased(at));
                }
            }
            Op::PutOperator(operator) => self.operator = Some((*operator).clone()),
        }
    }

    fn keep_revision(&mut self, id: WebhookId, next: Option<u64>, seq_max: Seq) {
        let Some(old) = self.webhooks.get(&id).filter(|old| Some(old.revision) != next) else {
            return;
        };
        self.revisions.insert((id, old.revision), (seq_max, old.clone()));
        let range = self.revisions.range((id, 0)..=(id, u64::MAX));
        let oldest: Vec<_> = range.rev().skip(REVISIONS_MAX).map(|(key, _)| *key).collect();
        for key in oldest {
            self.revisions.remove(&key);
        }
    }

    fn closing(&self, row: &Pending) -> Option<(Ending, Wall)> {
        let (upto, ending, at) = self.closed.get(&row.key.webhook)?;
        (row.key.seq <= *upto).then_some((*ending, *at))
    }

    fn upkeep(&mut self, keep_since: Wall, rows_max: usize) -> Result<Upkeep, CommitError> {
        if self.is_closed {
            return Err(CommitError::Closed);
        }
        let closing: Vec<(Queue, Pending, Ending, Wall)> = self
            .queues
            .iter()
            .filter_map(|((queue, _), row)| {
                self.closing(row).map(|(ending, at)| (*queue, *row, ending, at))
            })
            .take(rows_max)
            .collect();
        for (queue, row, ending, at) in &closing {
            self.queues.remove(&(*queue, row.key));
            self.finished.insert(row.key.seq, row.finished(*ending, *at));
        }
        let more = closing.len() == rows_max;
        if !more {
            self.closed.clear();
        }
        let pruned = self.prune(keep_since, rows_max);
        Ok(Upkeep { closed: closing.len(), pruned, more: more || pruned >= rows_max })
    }

    fn prune(&mut self, keep_since: Wall, rows_max: usize) -> usize {
        let oldest = Seq::at(keep_since);
        let wanted: BTreeSet<Seq> = self.queues.values().map(|row| row.event).collect();
        let mut pruned = 0;
        let mut take = |old: bool| {
            let remove = old && pruned < rows_max;
            pruned += usize::from(remove);
            !remove
        };
        self.finished.retain(|seq, _| take(*seq < oldest));
        // They go with their delivery, and count with it.
        let waits: BTreeSet<Seq> = self.queues.values().map(|row| row.key.seq).collect();
        let finished = &self.finished;
        self.attempts.retain(|(seq, _), _| finished.contains_key(seq) || waits.contains(seq));
        self.events.retain(|seq, _| take(*seq < oldest && !wanted.contains(seq)));
        self.idempotency.retain(|_, record| take(record.at < keep_since));
        self.revisions.retain(|_, (upto, _)| take(*upto < oldest));
        pruned
    }
}
