//! The embedded store without a thread: each batch is applied where it is committed.
//!
//! Owns nothing but the lock around the writer. Must never be used by the daemon: it syncs on the
//! caller's thread. A simulation drives it, and decides itself when checkpoints are made.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::count::{Counted, Written};
use super::flush::Flusher;
use super::journal::files::Files;
use super::shared::Shared;
use super::upkeep::Rotten;
use super::vault::Vault;
use super::writer::{Fate, WriteError, Writer};
use super::{OpenError, Settings, check_format, open_backend, prepare_error};
use crate::logic::batch::{Batch, Durability};
use crate::model::delivery::{Queue, QueueKey};
use crate::model::event::Event;
use crate::model::ids::{Seq, WebhookId};
use crate::model::time::Wall;
use crate::store::{
    CommitError, Done, Layered, Page, ReadError, Records, Stats, Store, UpkeepDone,
};

/// The store.
pub struct Inline {
    shared: Arc<Shared>,
    state: Mutex<State>,
    written: Written,
}

struct State {
    writer: Option<Writer>,
    broken: Option<Arc<str>>,
    /// Settlements that a full disk has no room for.
    held: Vec<(Batch, Done)>,
}

impl Inline {
    /// Opens or makes a store; see [`super::Embedded::open_on`].
    pub fn open_on<B: StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
        files: impl Files,
        vault: Vault,
        settings: Settings,
    ) -> Result<Inline, OpenError> {
        let written = Written::default();
        let files = Arc::new(Counted::new(files, &written));
        let open = open_backend(backend, settings.cache_bytes, written.clone());
        let shared = Shared::new(open, vault, files)
            .map_err(|error| OpenError::Engine(Box::new(error.into())))?;
        let shared = Arc::new(shared);
        check_format(&shared)?;
        let flusher = Flusher::Here(None);
        let writer = Writer::recover(Arc::clone(&shared), settings.limits(), flusher)
            .map_err(prepare_error)?;
        let state = Mutex::new(State { writer: Some(writer), broken: None, held: Vec::new() });
        Ok(Inline { shared, state, written })
    }

    /// Begins a checkpoint; [`Inline::checkpoint`] makes it.
    pub fn begin_checkpoint(&self) -> Result<(), CommitError> {
        self.lock().write(|writer| {
            writer.begin_checkpoint();
            Ok(())
        })
    }

    /// Makes a checkpoint, if there is anything to write.
    pub fn checkpoint(&self) -> Result<(), CommitError> {
        self.lock().write(|writer| {
            writer.begin_checkpoint();
            writer.wait_checkpoint()
        })
    }

    /// Looks for room on the disk, tries what is held for want of it, and trims one step if the
    /// journal is too large then; says whether it was.
    pub fn look(&self) -> Result<bool, CommitError> {
        self.lock().write(Writer::look_for_room)?;
        let held = std::mem::take(&mut self.lock().held);
        held.into_iter().for_each(|(batch, done)| self.commit(batch, done));
        self.lock().write(|writer| {
            let trims = writer.can_trim();
            if trims {
                writer.trim()?;
            }
            Ok(trims)
        })
    }

    /// Settlements that wait for room.
    pub fn held(&self) -> usize {
        self.lock().held.len()
    }

    /// Entries in memory that no checkpoint has taken up yet.
    pub fn entries(&self) -> usize {
        self.shared.layers().active.entries()
    }

    /// Changes that no checkpoint has taken up yet.
    pub fn changes(&self) -> usize {
        self.shared.layers().active.changes()
    }

    /// Whether a checkpoint was begun and is not on disk.
    pub fn is_frozen(&self) -> bool {
        self.shared.layers().frozen.is_some()
    }

    /// Whether a checkpoint is due at once.
    pub fn is_heavy(&self) -> bool {
        self.lock().writer.as_ref().is_some_and(Writer::is_heavy)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, rotten: Vec<Rotten>) {
        if !rotten.is_empty() {
            // A failure is remembered, and the next commit reports it.
            let _ = self.lock().write(|writer| writer.quarantine(&rotten));
        }
    }
}

impl State {
    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Writer) -> Result<T, WriteError>,
    ) -> Result<T, CommitError> {
        if let Some(why) = &self.broken {
            return Err(CommitError::Broken(Arc::clone(why)));
        }
        let Some(writer) = &mut self.writer else { return Err(CommitError::Closed) };
        work(writer).map_err(|error| {
            if error.is_full() {
                return CommitError::Full;
            }
            let why: Arc<str> = error.to_string().into();
            self.broken = Some(Arc::clone(&why));
            CommitError::Broken(why)
        })
    }
}

impl Layered for Inline {
    fn records(&self) -> &dyn Records {
        &*self.shared
    }
}

impl Store for Inline {
    fn commit(&self, batch: Batch, done: Done) {
        let fates = self.lock().write(|writer| writer.apply(std::slice::from_ref(&batch)));
        let is_full = fates.as_ref().is_ok_and(|fates| fates.first() == Some(&Fate::Full));
        if is_full && batch.durability == Durability::Soon {
            self.lock().held.push((batch, done));
            return;
        }
        done(fates.and_then(|fates| match fates.first() {
            Some(Fate::Refused(i)) => Err(CommitError::Refused(*i)),
            Some(Fate::Full) => Err(CommitError::Full),
            Some(Fate::Written) | None => Ok(()),
        }));
    }

    fn upkeep(&self, keep_since: Wall, rows_max: usize, done: UpkeepDone) {
        let result = self.lock().write(|writer| writer.upkeep(keep_since, rows_max));
        done(result);
    }

    fn due(
        &self,
        webhook: WebhookId,
        queue: Queue,
        after: Option<QueueKey>,
        rows_max: usize,
    ) -> Result<Page, ReadError> {
        let (page, rotten) = self.shared.due(webhook, queue, after, rows_max)?;
        self.report(rotten);
        Ok(page)
    }

    fn event(&self, seq: Seq) -> Result<Option<Arc<Event>>, ReadError> {
        let event = self.shared.event(seq);
        if let Err(ReadError::Damaged { .. }) = event {
            self.report(vec![Rotten::Event(seq.0)]);
        }
        event
    }

    fn stats(&self) -> Result<Stats, ReadError> {
        let full = self.lock().writer.as_ref().is_some_and(Writer::is_full);
        self.shared.stats(0, self.written.bytes(), full)
    }

    fn close(&self) {
        // A failure is what the next start has to cope with anyway.
        let _ = self.checkpoint();
        self.lock().writer = None;
    }
}
