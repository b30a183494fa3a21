//! Checkpoints: a frozen overlay on its way to redb.
//!
//! Owns the thread in which they are made, so that a commit of redb stops no batch. Must never
//! make two at once: the second would find the position of the first.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use super::journal::{Position, Spare, SpareOrder};
use super::overlay::Overlay;
use super::recover::begin;
use super::session::Session;
use super::shared::Shared;
use super::writer::WriteError;

/// A frozen overlay on its way to redb.
pub struct Checkpoint {
    pub shared: Arc<Shared>,
    pub frozen: Arc<Overlay>,
    /// The journal's position when it was frozen.
    pub at: Position,
    /// How the journal's next segment is to be made on this occasion.
    pub spare: Option<SpareOrder>,
}

/// What came of a checkpoint.
pub struct Flushed {
    pub result: Result<(), WriteError>,
    pub spare: Option<io::Result<Spare>>,
}

impl Checkpoint {
    /// Writes it. The one thing that another thread than the writer's does.
    #[must_use]
    pub fn run(self) -> Flushed {
        let result = self.shared.with_db(|db| {
            let mut transaction = begin(db)?;
            {
                let mut session = Session::open(&transaction, &self.shared.vault)?;
                session.flush(&self.frozen)?;
                session.set_position(self.at)?;
            }
            transaction.set_quick_repair(true);
            transaction.commit()?;
            Ok(())
        });
        Flushed { result, spare: self.spare.map(SpareOrder::make) }
    }
}

/// Makes checkpoints.
pub enum Flusher {
    /// Where it is waited for.
    Here(Option<Checkpoint>),
    /// In a thread of its own.
    Thread {
        /// What it is to do.
        jobs: Sender<Checkpoint>,
        /// What came of it.
        done: Receiver<Flushed>,
    },
}

impl Flusher {
    /// A flusher with a thread, which calls `wake` whenever a checkpoint is made. The thread ends
    /// with the flusher.
    pub fn in_thread(wake: impl Fn() + Send + 'static) -> io::Result<Flusher> {
        let (jobs, orders) = mpsc::channel::<Checkpoint>();
        let (results, done) = mpsc::channel();
        std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(move || {
            for checkpoint in orders {
                if results.send(checkpoint.run()).is_err() {
                    return;
                }
                wake();
            }
        })?;
        Ok(Flusher::Thread { jobs, done })
    }

    /// Begins one.
    pub fn start(&mut self, checkpoint: Checkpoint) {
        match self {
            Flusher::Here(waiting) => *waiting = Some(checkpoint),
            // Without its thread nothing comes back, which `wait` reports.
            Flusher::Thread { jobs, .. } => drop(jobs.send(checkpoint)),
        }
    }

    /// What came of it, if it is made.
    pub fn poll(&mut self) -> Option<Flushed> {
        match self {
            Flusher::Here(waiting) => waiting.take().map(Checkpoint::run),
            Flusher::Thread { done, .. } => done.try_recv().ok(),
        }
    }

    /// Waits until it is made.
    pub fn wait(&mut self) -> Flushed {
        let made = match self {
            Flusher::Here(waiting) => waiting.take().map(Checkpoint::run),
            Flusher::Thread { done, .. } => done.recv().ok(),
        };
        made.unwrap_or_else(|| Flushed {
            result: Err(WriteError::Journal(io::Error::other("the checkpoint's thread is gone"))),
            spare: None,
        })
    }
}
