//! The loop: wait, decide, perform.
//!
//! Owns the one task in which all decisions are made, and the handle by which the rest of the
//! program talks to it. Must never decide in a task of its own: what is performed (a commit, a
//! fetch, an attempt) reports back as a message.
//!
//! * `core` is the decision, synchronous and without a clock: messages in, effects out. Tests and
//!   simulations drive it alone.
//! * this file is the shell: it waits for a message or for the next timer, hands it to the core,
//!   and performs the effects.
//! * `perform` makes one attempt: load, render, sign, send. `render` says how its request looks, and
//!   `sent` shows it again.

pub mod cache;
pub mod command;
pub mod core;
pub mod counters;
pub mod feed;
pub mod look;
mod once;
mod perform;
mod reads;
mod recent;
mod render;
pub mod sent;
pub mod submit;
pub mod trial;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;
use crate::logic::address::AllowList;
use crate::logic::batch::{Durability, IdempotencyRecord};
use crate::logic::catalog::Catalog;
use crate::logic::dispatcher::{Figures, TargetFigures};
use crate::model::delivery::{Pending, Queue};
use crate::model::event::{Event, EventName};
use crate::model::ids::{EventId, ProjectId, Seq};
use crate::model::job::{Job, JobKind, Selection};
use crate::model::target::Origin;
use crate::model::time::{DAY_MS, Mono, SECOND_MS, Wall};
use crate::net::Net;
use crate::store::{ReadError, Stats, Store};

use self::command::{Answer, Command, CommandError};
use self::core::{Core, Effect, Message, Question};
use self::counters::Counters;
use self::feed::Feed;
use self::perform::Outside;
use self::reads::Turns;
use self::recent::Recent;
use self::submit::{Accepted, Submission, SubmitError};
use self::trial::Trial;

/// How long finished deliveries, attempts and payloads are kept, unless configured.
pub const RETENTION_MS_DEFAULT: u64 = 7 * DAY_MS;
/// Bytes of events that one fetch reads ahead, about.
const READ_AHEAD_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The longest sleep: a wall clock that stepped, or a machine that slept, is noticed by then.
const SLEEP_MS_MAX: u64 = SECOND_MS;
/// Messages taken in one turn of the loop, so that timers and effects are never far behind.
const MESSAGES_PER_TURN_MAX: usize = 512;
/// A loop that did not turn for so long is not ready.
const TICK_AGE_MS_MAX: u64 = 10 * SECOND_MS;
/// A command whose revision was overtaken is tried again so often.
const COMMAND_TRIES_MAX: u32 = 8;

/// What the engine is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits of the dispatcher.
    pub core: core::Settings,
    /// Whether attempts are made; a command line that opens the store by itself makes none.
    pub deliver: bool,
}

/// Why the engine ended.
#[derive(Clone, Debug, Error)]
pub enum EngineError {
    /// The store can't be written: nothing may be acknowledged or sent any more.
    #[error("the store failed: {0}")]
    Store(Arc<str>),
}

/// Why the engine can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// How the rest of the program talks to the engine. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    messages: mpsc::UnboundedSender<Message>,
    catalog: Arc<RwLock<Catalog>>,
    store: Arc<dyn Store>,
    status: Arc<Status>,
    counters: Arc<Counters>,
    feed: Arc<Feed>,
    looks: Turns,
}

#[derive(Default)]
struct Status {
    draining: watch::Sender<bool>,
    broken: AtomicBool,
    ticked_at: AtomicU64,
    /// What the steady clock showed then, in milliseconds.
    steady_at: AtomicU64,
}

/// Whether the engine can take events, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It is shutting down.
    Draining,
    /// Its store failed.
    StoreBroken,
    /// Its loop does not turn.
    Stalled,
}

impl Handle {
    /// Publishes events: returns when they and their deliveries are on disk.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, SubmitError> {
        let project = submission.project;
        let idempotency = submission.idempotency.clone();
        let (reply, answer) = oneshot::channel();
        self.send(Message::Submit { submission, reply }).map_err(|()| SubmitError::Draining)?;
        match answer.await.map_err(|_| SubmitError::Draining)? {
            Err(SubmitError::KeyTaken) => {
                let Some(idempotency) = idempotency else { return Err(SubmitError::KeyTaken) };
                let known = self.store.idempotency(project, idempotency.key);
                known_answer(known, &idempotency.body)
            }
            result => result,
        }
    }

    /// Carries out a command: returns when its effect is on disk.
    pub async fn command(&self, command: Command) -> Result<Answer, CommandError> {
        let mut tries = 0;
        loop {
            let (reply, answer) = oneshot::channel();
            self.send(Message::Command { command: command.clone(), reply })
                .map_err(|()| CommandError::Draining)?;
            match answer.await.map_err(|_| CommandError::Draining)? {
                Err(CommandError::Overtaken) if tries < COMMAND_TRIES_MAX => tries += 1,
                result => return result,
            }
        }
    }

    /// Projects and webhooks, as of the last commit. Not to be held across an await.
    pub fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it can take events.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let ticked = Mono(self.status.ticked_at.load(Ordering::Relaxed));
        if self.status.broken.load(Ordering::Relaxed) {
            Readiness::StoreBroken
        } else if *self.status.draining.borrow() {
            Readiness::Draining
        } else if clock::mono().since(ticked) > TICK_AGE_MS_MAX {
            Readiness::Stalled
        } else {
            Readiness::Ready
        }
    }

    /// The time by which events are accepted and keys age, as of the loop's last turn.
    pub(super) fn steady(&self) -> Wall {
        Wall(self.status.steady_at.load(Ordering::Relaxed))
    }

    /// Figures about the store.
    pub fn stats(&self) -> Result<Stats, ReadError> {
        self.store.stats()
    }

    /// Figures about the dispatcher.
    pub async fn figures(&self) -> Option<Figures> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Ask(Question::Figures(reply))).ok()?;
        answer.await.ok()
    }

    /// Figures about targets, one for each, in order.
    pub async fn targets(&self, origins: Vec<Origin>) -> Option<Vec<TargetFigures>> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Ask(Question::Targets(origins, reply))).ok()?;
        answer.await.ok()
    }

    /// A project's jobs, newest first.
    pub async fn jobs(&self, project: ProjectId) -> Option<Vec<Arc<Job>>> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Jobs(project, reply)).ok()?;
        answer.await.ok()
    }

    /// What a job would do if it were begun now, as far as it can be told from `rows_max` rows;
    /// nothing is written.
    pub async fn try_job(
        &self,
        project: ProjectId,
        what: (JobKind, Selection),
        rows_max: usize,
    ) -> Result<Trial, ReadError> {
        let catalog = Arc::clone(&self.catalog);
        let now = self.steady();
        self.look(move |store| Trial::of(store, &catalog, project, what, now, rows_max)).await
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What changed of deliveries lately.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// The ids and names of events, in order; `None` for one that can't be read. Reads the disk.
    pub async fn event_heads(&self, seqs: Vec<Seq>) -> Vec<Option<(EventId, EventName)>> {
        let count = seqs.len();
        let read = self.look(move |store| {
            let head = |seq| Some(store.event(seq).ok()??).map(|one| (one.id, one.name.clone()));
            Ok(seqs.into_iter().map(head).collect())
        });
        read.await.unwrap_or_else(|_| vec![None; count])
    }

    /// When the loop turned last.
    #[must_use]
    pub fn ticked(&self) -> Mono {
        Mono(self.status.ticked_at.load(Ordering::Relaxed))
    }

    /// An event. Reads the disk.
    pub async fn event(&self, seq: Seq) -> Result<Option<Arc<Event>>, ReadError> {
        self.look(move |store| store.event(seq)).await
    }

    /// Stops starting attempts; what is under way may end.
    pub fn drain(&self) {
        self.status.draining.send_replace(true);
        // If the engine has ended already, nothing is under way.
        let _ = self.send(Message::Drain);
    }

    /// Completes when it shuts down: what would wait for ever has to end by itself then.
    pub async fn draining(&self) {
        // The sender lives as long as this handle.
        let _ = self.status.draining.subscribe().wait_for(|draining| *draining).await;
    }

    fn send(&self, message: Message) -> Result<(), ()> {
        self.messages.send(message).map_err(|_| ())
    }
}

fn known_answer(
    known: Result<Option<IdempotencyRecord>, ReadError>,
    body: &[u8; 32],
) -> Result<Accepted, SubmitError> {
    match known {
        Ok(Some(record)) if record.body == *body => {
            Ok(Accepted { events: record.events, duplicate: true })
        }
        Ok(Some(_)) => Err(SubmitError::KeyConflict),
        // It was there a moment ago: aged out, or damaged.
        Ok(None) | Err(ReadError::Damaged { .. }) => Err(SubmitError::KeyTaken),
        Err(error) => Err(SubmitError::Store(error.to_string().into())),
    }
}

/// The engine's shell.
pub struct Engine {
    core: Core,
    outside: Arc<Outside>,
    messages: mpsc::UnboundedReceiver<Message>,
    status: Arc<Status>,
    deliver: bool,
    counters: Arc<Counters>,
    attempts: tokio::task::JoinSet<()>,
}

impl Engine {
    /// Reads the store and makes an engine; it runs when [`Engine::run`] does.
    pub fn new(
        settings: Settings,
        store: Arc<dyn Store>,
        net: Arc<Net>,
        allow: AllowList,
    ) -> Result<(Engine, Handle), StartError> {
        let core = Core::recover(settings.core, &*store, allow, clock::random_u64(), clock::now())?;
        let (sender, messages) = mpsc::unbounded_channel();
        let status = Arc::new(Status::default());
        status.ticked_at.store(clock::mono().0, Ordering::Relaxed);
        status.steady_at.store(core.steady().0, Ordering::Relaxed);
        let handle = Handle {
            messages: sender.clone(),
            catalog: core.catalog(),
            store: Arc::clone(&store),
            status: Arc::clone(&status),
            counters: core.counters(),
            feed: core.feed(),
            looks: Turns::of_looks(),
        };
        let attempts = tokio::task::JoinSet::new();
        let deliver = settings.deliver;
        let counters = core.counters();
        let outside = Arc::new(Outside {
            store,
            net,
            reads: Turns::of_deliveries(),
            recent: Recent::default(),
            messages: sender,
        });
        let engine = Engine { core, outside, messages, status, deliver, counters, attempts };
        Ok((engine, handle))
    }

    /// Whether no token was ever made for the operator.
    #[must_use]
    pub fn is_first_start(&self) -> bool {
        self.core.is_first_start()
    }

    /// Runs until it was told to drain and nothing is under way any more, or until `stop` says
    /// that the time for draining is over, or until the store fails.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), EngineError> {
        if !self.deliver {
            self.core.hold();
        }
        self.apply(Message::Time);
        loop {
            let message = self.select(&mut stop).await;
            let Some(message) = message else { break };
            self.apply(message);
            for _ in 1..MESSAGES_PER_TURN_MAX {
                match self.messages.try_recv() {
                    Ok(message) => self.apply(message),
                    Err(_) => break,
                }
            }
            self.core.flush();
            self.perform();
            // What has ended is let go at once: under load, `select` always has a message first.
            while self.attempts.try_join_next().is_some() {}
            self.status.ticked_at.store(clock::mono().0, Ordering::Relaxed);
            self.status.steady_at.store(self.core.steady().0, Ordering::Relaxed);
            if let Some(why) = self.core.broken() {
                self.status.broken.store(true, Ordering::Relaxed);
                return Err(EngineError::Store(why));
            }
            if self.core.is_drained() {
                break;
            }
        }
        // What is still under way is returned: its rows are on disk as they were.
        self.attempts.shutdown().await;
        Ok(())
    }

    /// The one place that waits. `None`: the time for draining is over.
    async fn select(&mut self, stop: &mut watch::Receiver<bool>) -> Option<Message> {
        let now = clock::mono();
        let sleep_ms = self.core.next_wake().map_or(SLEEP_MS_MAX, |at| at.since(now));
        let sleep_ms = sleep_ms.min(SLEEP_MS_MAX);
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => None,
            message = self.messages.recv() => Some(message.unwrap_or(Message::Time)),
            Some(_) = self.attempts.join_next(), if !self.attempts.is_empty() => Some(Message::Time),
            () = clock::sleep(sleep_ms) => Some(Message::Time),
        }
    }

    fn apply(&mut self, message: Message) {
        self.core.apply(clock::now(), message);
    }

    /// The one place that acts. What the store calls back must not hold the store: it would be
    /// closed in its own thread.
    fn perform(&mut self) {
        while let Some(effect) = self.core.poll() {
            let outside = Arc::clone(&self.outside);
            match effect {
                Effect::Commit { ticket, batch } => {
                    let started = clock::mono();
                    let counters =
                        (batch.durability == Durability::Now).then(|| Arc::clone(&self.counters));
                    let report = outside.messages.clone();
                    let done = Box::new(move |result| {
                        if let Some(counters) = counters {
                            counters.commit(clock::mono().since(started));
                        }
                        tell(&report, Message::Committed { ticket, result });
                    });
                    outside.store.commit(batch, done);
                }
                Effect::Fetch { number, webhook, queue, after, rows } => {
                    let erasures = self.core.erasures();
                    read(outside, move |outside| {
                        let page = outside.store.due(webhook, queue, after, rows);
                        if let Err(error) = &page {
                            tracing::error!(%error, %webhook, "A lane's queue can't be read.");
                        }
                        // A fetch that goes on is one of a lane that makes headway.
                        if let (Ok(page), Queue::Fresh, Some(_)) = (&page, queue, after) {
                            let events = read_ahead(&*outside.store, &page.rows);
                            outside.tell(Message::ReadAhead { erasures, events });
                        }
                        let rows = page.ok().map(|page| (page.rows, page.more));
                        outside.tell(Message::Fetched { number, webhook, rows });
                    });
                }
                Effect::Start(next) => {
                    let erasures = self.core.erasures();
                    self.attempts.spawn(async move {
                        outside.tell(perform::attempt(next, erasures, &outside).await);
                    });
                }
                Effect::ReadExpired { finished, omitted } => {
                    read(outside, move |outside| {
                        let event = outside.store.event(finished.event).ok().flatten();
                        outside.tell(Message::ExpiredRead { finished, omitted, event });
                    });
                }
                Effect::LookForRoom => {
                    read(outside, move |outside| {
                        if let Ok(stats) = outside.store.stats() {
                            outside.tell(Message::Room { is_full: stats.is_full });
                        }
                    });
                }
                Effect::Look { number, look } => {
                    read(outside, move |outside| {
                        let found = look.read(&*outside.store);
                        if let Err(error) = &found {
                            tracing::error!(%error, "What a job needs can't be read.");
                        }
                        outside.tell(Message::Looked(number, found.ok()));
                    });
                }
                Effect::Upkeep { keep_since, rows_max } => {
                    let report = outside.messages.clone();
                    let done = Box::new(move |result| tell(&report, Message::UpkeepDone(result)));
                    outside.store.upkeep(keep_since, rows_max, done);
                }
            }
        }
    }
}

/// Reads the store when it is its turn. It tells the loop what it found.
fn read(outside: Arc<Outside>, read: impl FnOnce(&Outside) + Send + 'static) {
    tokio::spawn(async move {
        let turns = outside.reads.clone();
        if let Err(error) = turns.read(move || read(&outside)).await {
            tracing::error!(%error, "A read of the store was cut short.");
        }
    });
}

/// The events of rows that will be attempted soon. What can't be read now is read when its turn
/// comes, and judged then.
fn read_ahead(store: &dyn Store, rows: &[Pending]) -> Vec<(Arc<Event>, usize)> {
    let mut wanted: BTreeMap<Seq, usize> = BTreeMap::new();
    for row in rows {
        *wanted.entry(row.event).or_default() += 1;
    }
    let mut bytes = 0;
    let mut events = Vec::with_capacity(wanted.len());
    for (seq, times) in wanted {
        if bytes > READ_AHEAD_BYTES_MAX {
            break;
        }
        if let Ok(Some(event)) = store.event(seq) {
            bytes += event.size_bytes();
            events.push((event, times));
        }
    }
    events
}

/// Reports to the loop. If it has ended, whoever reports is too late, and nothing is lost by it.
fn tell(report: &mpsc::UnboundedSender<Message>, message: Message) {
    let _ = report.send(message);
}
