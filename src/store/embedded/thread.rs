//! The writer's thread: orders in, groups out.
//!
//! Owns when a group is committed and when a checkpoint is begun. It takes the first batch that
//! waits, joins whatever else waits, up to limits, and commits once. There is no linger for durable
//! batches: while one commit syncs, the next group gathers. Batches that may wait (settlements) ride
//! on the next durable commit, or get one of their own after 200 ms. Must never let a batch go
//! without calling back, and never go on after a failure of the disk that is not its being full.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::upkeep::Rotten;
use super::writer::{Fate, WriteError, Writer};
use crate::clock;
use crate::logic::batch::{Batch, Durability, SETTLE_DELAY_MS_MAX};
use crate::model::time::{Mono, Wall};
use crate::store::{CommitError, Done, UpkeepDone};

/// How long redb may be behind the journal, in milliseconds.
const CHECKPOINT_MS: u64 = 1_000;
/// How often a full disk is looked at, in milliseconds.
const ROOM_LOOK_MS: u64 = 1_000;
/// How long trimming rests after it found nothing, in milliseconds: it has to look at everything
/// that is kept.
const TRIM_REST_MS: u64 = 30_000;
/// Batches in one commit, at most.
const GROUP_BATCHES_MAX: usize = 4_096;

/// What the writer is told.
pub enum Order {
    Commit(Batch, Done),
    Upkeep(Wall, usize, UpkeepDone),
    Quarantine(Vec<Rotten>),
    /// A checkpoint was made.
    Wake,
}

/// The way to the writer.
#[derive(Clone)]
pub struct Orders {
    sender: Arc<Mutex<Option<Sender<Order>>>>,
    full: Arc<AtomicBool>,
}

/// The writer's end.
pub struct Received {
    orders: Receiver<Order>,
    full: Arc<AtomicBool>,
}

/// A way to a writer, and its end.
pub fn orders() -> (Orders, Received) {
    let (sender, orders) = mpsc::channel();
    let full = Arc::new(AtomicBool::new(false));
    let sender = Arc::new(Mutex::new(Some(sender)));
    (Orders { sender, full: Arc::clone(&full) }, Received { orders, full })
}

impl Orders {
    /// Sends an order; gives it back if the writer is gone.
    pub fn send(&self, order: Order) -> Result<(), Order> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        match &*sender {
            Some(sender) => sender.send(order).map_err(|mpsc::SendError(order)| order),
            None => Err(order),
        }
    }

    /// Has damaged rows set aside.
    pub fn report(&self, rotten: Vec<Rotten>) {
        if !rotten.is_empty() {
            tracing::error!(records = rotten.len(), "Damaged records were set aside: {rotten:?}.");
            // A closed store has nothing to set aside any more.
            let _ = self.send(Order::Quarantine(rotten));
        }
    }

    /// Says that a checkpoint was made.
    pub fn wake(&self) {
        // A writer that is gone has waited for it.
        let _ = self.send(Order::Wake);
    }

    /// Whether events are refused for want of room.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Takes no order any more.
    pub fn close(&self) {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Runs until the orders end.
pub fn run(writer: Writer, received: &Received) {
    let now = clock::mono();
    let mut thread = Thread {
        writer,
        received,
        broken: None,
        waiting: Vec::new(),
        held: Vec::new(),
        oldest: now,
        checkpoint: now,
        look: now,
        trim: now,
        open: true,
    };
    while thread.open {
        thread.turn();
    }
    thread.end();
}

struct Thread<'a> {
    writer: Writer,
    received: &'a Received,
    broken: Option<Arc<str>>,
    waiting: Vec<(Batch, Done)>,
    /// Settlements that a full disk has no room for. They are few: what is under way is bounded.
    held: Vec<(Batch, Done)>,
    /// When the oldest batch that waits came.
    oldest: Mono,
    /// When the next checkpoint may begin.
    checkpoint: Mono,
    /// When the next look at the disk is due.
    look: Mono,
    /// When trimming may go on.
    trim: Mono,
    open: bool,
}

impl Thread<'_> {
    fn turn(&mut self) {
        let mut now = self.waiting.len() >= GROUP_BATCHES_MAX;
        if !now {
            match self.next_order() {
                None => now = clock::mono() >= self.oldest.plus(SETTLE_DELAY_MS_MAX),
                Some(Order::Commit(batch, done)) => {
                    now |= self.take(batch, done);
                    now |= self.drain();
                }
                Some(order) => self.side_order(order),
            }
        }
        if now || !self.open {
            self.commit();
        }
        self.upkeep();
    }

    /// Waits for an order; `None` if none came before there is something else to do.
    fn next_order(&mut self) -> Option<Order> {
        let now = clock::mono();
        let waits = [
            (!self.waiting.is_empty()).then(|| self.oldest.plus(SETTLE_DELAY_MS_MAX)),
            self.writer.wants_checkpoint().then_some(self.checkpoint),
            (self.writer.is_full() || !self.held.is_empty()).then_some(self.look),
            self.writer.can_trim().then_some(self.trim),
        ];
        let order = match waits.into_iter().flatten().min() {
            None => self.received.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => {
                let timeout = Duration::from_millis(at.since(now));
                self.received.orders.recv_timeout(timeout)
            }
        };
        match order {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.open = false;
                None
            }
        }
    }

    /// Joins a batch, and says whether it is to be committed now.
    fn take(&mut self, batch: Batch, done: Done) -> bool {
        if self.waiting.is_empty() {
            self.oldest = clock::mono();
        }
        let now = batch.durability == Durability::Now;
        self.waiting.push((batch, done));
        now
    }

    /// Joins what waits already.
    fn drain(&mut self) -> bool {
        let mut now = false;
        while self.waiting.len() < GROUP_BATCHES_MAX {
            match self.received.orders.try_recv() {
                Ok(Order::Commit(batch, done)) => now |= self.take(batch, done),
                Ok(order) => {
                    // Order matters: what came before is committed before.
                    self.commit();
                    self.side_order(order);
                }
                Err(_) => break,
            }
        }
        now
    }

    fn side_order(&mut self, order: Order) {
        match order {
            Order::Commit(batch, done) => {
                self.take(batch, done);
                self.commit();
            }
            Order::Upkeep(keep_since, rows_max, done) => {
                let result = self.guarded(|writer| writer.upkeep(keep_since, rows_max));
                done(result);
            }
            Order::Quarantine(rotten) => {
                // A failure is remembered by `guarded`, and the next commit reports it.
                let _ = self.guarded(|writer| writer.quarantine(&rotten));
            }
            Order::Wake => {
                let _ = self.guarded(Writer::poll_checkpoint);
            }
        }
    }

    fn commit(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (batches, dones): (Vec<Batch>, Vec<Done>) =
            std::mem::take(&mut self.waiting).into_iter().unzip();
        match self.guarded(|writer| writer.apply(&batches)) {
            Ok(fates) => {
                for ((batch, done), fate) in batches.into_iter().zip(dones).zip(fates) {
                    match fate {
                        Fate::Written => done(Ok(())),
                        Fate::Refused(i) => done(Err(CommitError::Refused(i))),
                        Fate::Full if batch.durability == Durability::Soon => {
                            self.held.push((batch, done));
                        }
                        Fate::Full => done(Err(CommitError::Full)),
                    }
                }
            }
            Err(error) => dones.into_iter().for_each(|done| done(Err(error.clone()))),
        }
        self.say_full();
    }

    /// What is due beside orders.
    fn upkeep(&mut self) {
        let now = clock::mono();
        if self.writer.wants_checkpoint() && (now >= self.checkpoint || self.writer.is_heavy()) {
            self.checkpoint = now.plus(CHECKPOINT_MS);
            self.look = self.look.min(now);
            let _ = self.guarded(|writer| {
                writer.begin_checkpoint();
                Ok(())
            });
        }
        if now >= self.look && (self.writer.is_full() || !self.held.is_empty() || self.look < now) {
            self.look = now.plus(ROOM_LOOK_MS);
            let _ = self.guarded(Writer::look_for_room);
            self.waiting.append(&mut self.held);
            self.say_full();
        }
        if self.writer.can_trim() && now >= self.trim {
            let _ = self.guarded(Writer::trim);
            if !self.writer.can_trim() {
                self.trim = now.plus(TRIM_REST_MS);
            }
            self.say_full();
        }
    }

    /// The last writes: what waits, and a checkpoint.
    fn end(&mut self) {
        self.waiting.append(&mut self.held);
        self.commit();
        for (_, done) in self.held.drain(..) {
            done(Err(CommitError::Closed));
        }
        let _ = self.guarded(|writer| {
            writer.wait_checkpoint()?;
            writer.begin_checkpoint();
            writer.wait_checkpoint()
        });
    }

    fn say_full(&self) {
        self.received.full.store(self.writer.is_full(), Ordering::Relaxed);
    }

    /// Runs a write, unless one failed before; remembers a failure.
    fn guarded<T>(
        &mut self,
        write: impl FnOnce(&mut Writer) -> Result<T, WriteError>,
    ) -> Result<T, CommitError> {
        if let Some(why) = &self.broken {
            return Err(CommitError::Broken(Arc::clone(why)));
        }
        match write(&mut self.writer) {
            Ok(done) => Ok(done),
            Err(error) if error.is_full() => {
                tracing::error!(%error, "The disk is full: events are refused until there is room.");
                Err(CommitError::Full)
            }
            Err(error) => {
                let why: Arc<str> = error.to_string().into();
                tracing::error!(%error, "The store can't write any more.");
                self.broken = Some(Arc::clone(&why));
                Err(CommitError::Broken(why))
            }
        }
    }
}
