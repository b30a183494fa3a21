//! The embedded store: a journal and redb, one writer thread, group commit.
//!
//! Owns the data directory's files and how they are opened. Must never acknowledge what is not
//! fsynced, and must never return a record whose checksum does not fit.
//!
//! * `journal` makes batches durable and keeps payloads and attempts; `entry` is their form in it.
//! * `overlay` is what was written since the last checkpoint; `flush` brings it to redb.
//! * `tables` specifies redb's tables, `record` the frame of a value, `vault` how secrets are
//!   sealed, `session` what a write means there, `revisions` keeps webhooks as they were.
//! * `writer` applies groups of batches, with `lookup` for what it has to know, `recover` for
//!   starts, `upkeep` and `trim` for what is old or too much. It has no thread of its own:
//!   `thread` has, and `inline` is a store without any, for simulations.
//! * `reads` answers, from all layers at once.

mod count;
mod entry;
mod find;
mod flush;
pub mod inline;
pub mod journal;
mod lookup;
mod overlay;
mod probe;
mod reads;
mod record;
mod recover;
mod revisions;
mod session;
mod shared;
mod tables;
mod thread;
mod trim;
mod upkeep;
pub mod vault;
mod wipe;
mod writer;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;
use thiserror::Error;

use crate::logic::batch::Batch;
use crate::model::delivery::{Queue, QueueKey};
use crate::model::event::Event;
use crate::model::ids::{Seq, WebhookId};
use crate::model::time::Wall;

use super::{CommitError, Done, Page, ReadError, Stats, Store, UpkeepDone};
use crate::store::{Layered, Records};
use count::{Counted, Written};
use flush::Flusher;
use journal::files::{Files, Folder};
#[doc(hidden)]
pub use probe::rewritten;
use shared::{OpenDatabase, Shared};
use thread::{Order, Orders};
use vault::Vault;
use writer::{Limits, WriteError, Writer};

/// The database's name in the data directory.
pub const FILE_NAME: &str = "postrider.redb";
/// The journal's folder in the data directory.
pub const JOURNAL_NAME: &str = "journal";

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// redb's cache.
    pub cache_bytes: usize,
    /// Payloads and attempts are trimmed to this, oldest first, whatever their age.
    pub journal_bytes_max: u64,
    /// With less room on the disk, events are refused.
    pub free_bytes_min: u64,
    /// With less room on the disk, attempts are kept without their answers' headers and bodies.
    pub log_free_bytes_min: u64,
    /// The size of the journal's segments.
    pub segment_bytes: u64,
    /// Entries in memory at which a checkpoint is due, however long ago the last one was.
    pub overlay_entries_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            cache_bytes: 8 * 1024 * 1024,
            journal_bytes_max: 2 * 1024 * 1024 * 1024,
            free_bytes_min: 256 * 1024 * 1024,
            log_free_bytes_min: 512 * 1024 * 1024,
            segment_bytes: journal::SEGMENT_BYTES,
            overlay_entries_max: writer::OVERLAY_ENTRIES_MAX,
        }
    }
}

/// An open store.
pub struct Embedded {
    shared: Arc<Shared>,
    orders: Orders,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    path: Option<PathBuf>,
    written: Written,
}

/// Why a store can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("another postrider runs on {0}: stop it, or choose another [store] path")]
    Locked(PathBuf),
    /// The directory or file can't be made or read.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file's format is newer than this binary.
    #[error("the store has format {found}, this binary knows up to {known}: use a newer one")]
    TooNew {
        /// The file's.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// The file's format is older than this binary, and was never released.
    #[error(
        "the store has format {found}, which only an unreleased postrider wrote; this one knows {known}: export its data with that one, or begin with an empty directory"
    )]
    TooOld {
        /// The file's.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// redb can't open it.
    #[error("the store can't be opened: {0}")]
    Engine(#[source] Box<redb::Error>),
    /// Its secrets can't be read.
    #[error(transparent)]
    Vault(#[from] vault::VaultError),
    /// It can't be written.
    #[error("the store can't be prepared: {0}")]
    Prepare(Box<dyn std::error::Error + Send + Sync>),
}

impl Embedded {
    /// Opens or makes the store in `directory`, which gets mode 0700.
    pub fn open(directory: &Path, vault: Vault, settings: Settings) -> Result<Embedded, OpenError> {
        make_directory(directory)?;
        let path = directory.join(FILE_NAME);
        let is_new = !path.exists();
        let written = Written::default();
        let open = open_file(path.clone(), settings.cache_bytes, written.clone());
        // The file's own errors are clearer than redb's.
        open_options()
            .open(&path)
            .map_err(|source| OpenError::File { path: path.clone(), source })?;
        let folder = directory.join(JOURNAL_NAME);
        let opened = |error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => OpenError::Locked(directory.to_owned()),
            error => OpenError::Engine(Box::new(error.into())),
        };
        // The database's lock comes first: the journal belongs to whoever has it.
        let files = Folder::open(&folder)
            .map_err(|source| OpenError::File { path: folder.clone(), source })?;
        let files = Arc::new(Counted::new(files, &written));
        let shared = Shared::new(open, vault, files).map_err(opened)?;
        if is_new {
            // redb does not sync the directory: without this, a power cut could take the name.
            sync_directory(directory)?;
            if let Some(parent) = directory.parent().filter(|path| !path.as_os_str().is_empty()) {
                sync_directory(parent)?;
            }
        }
        Embedded::start(shared, settings, Some(path), written)
    }

    /// Opens or makes a store on any backend and folder, for tests that break them. `backend`
    /// gives the backend, anew each time that the store has to open it.
    pub fn open_on<B: StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
        files: impl Files,
        vault: Vault,
        settings: Settings,
    ) -> Result<Embedded, OpenError> {
        let written = Written::default();
        let files = Arc::new(Counted::new(files, &written));
        let open = open_backend(backend, settings.cache_bytes, written.clone());
        let shared = Shared::new(open, vault, files)
            .map_err(|error| OpenError::Engine(Box::new(error.into())))?;
        Embedded::start(shared, settings, None, written)
    }

    fn start(
        shared: Shared,
        settings: Settings,
        path: Option<PathBuf>,
        written: Written,
    ) -> Result<Embedded, OpenError> {
        let shared = Arc::new(shared);
        check_format(&shared)?;
        let (orders, receiver) = thread::orders();
        let wake = orders.clone();
        let flusher = Flusher::in_thread(move || wake.wake())
            .map_err(|error| OpenError::Prepare(Box::new(error)))?;
        let of_thread = Arc::clone(&shared);
        let (opened, outcome) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || match Writer::recover(of_thread, settings.limits(), flusher) {
                Ok(writer) => {
                    // Whoever opens the store waits for this.
                    let _ = opened.send(Ok(()));
                    thread::run(writer, &receiver);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            })
            .map_err(|error| OpenError::Prepare(Box::new(error)))?;
        let outcome = match outcome.recv() {
            Ok(result) => result.map_err(prepare_error),
            Err(error) => Err(OpenError::Prepare(Box::new(error))),
        };
        if let Err(error) = outcome {
            // It holds the file until its end: whoever opens the store next must find it free.
            let _ = thread.join();
            return Err(error);
        }
        let thread = Mutex::new(Some(thread));
        Ok(Embedded { shared, orders, thread, path, written })
    }
}

impl Settings {
    fn limits(&self) -> Limits {
        Limits {
            journal_bytes_max: self.journal_bytes_max,
            free_bytes_min: self.free_bytes_min,
            log_free_bytes_min: self.log_free_bytes_min,
            segment_bytes: self.segment_bytes,
            overlay_entries_max: self.overlay_entries_max,
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

fn prepare_error(error: WriteError) -> OpenError {
    match error {
        WriteError::Vault(error) => OpenError::Vault(error),
        error => OpenError::Prepare(Box::new(error)),
    }
}

fn check_format(shared: &Shared) -> Result<(), OpenError> {
    let found = shared
        .with_db(|db| recover::prepare(db, &shared.vault, tables::FORMAT))
        .map_err(prepare_error)?;
    match found.cmp(&tables::FORMAT) {
        std::cmp::Ordering::Greater => Err(OpenError::TooNew { found, known: tables::FORMAT }),
        std::cmp::Ordering::Less => Err(OpenError::TooOld { found, known: tables::FORMAT }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

fn open_file(path: PathBuf, cache_bytes: usize, written: Written) -> OpenDatabase {
    Box::new(move || {
        let file = open_options().open(&path).map_err(redb::StorageError::from)?;
        let backend = Counted::new(redb::backends::FileBackend::new(file)?, &written);
        builder(cache_bytes).create_with_backend(backend)
    })
}

fn open_backend<B: StorageBackend>(
    backend: impl Fn() -> B + Send + Sync + 'static,
    cache_bytes: usize,
    written: Written,
) -> OpenDatabase {
    Box::new(move || builder(cache_bytes).create_with_backend(Counted::new(backend(), &written)))
}

fn builder(cache_bytes: usize) -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(cache_bytes);
    builder.set_repair_callback(|session| {
        tracing::warn!(
            percent = (session.progress() * 100.0) as u32,
            "The store was not closed cleanly and is being repaired."
        );
    });
    builder
}

fn make_directory(directory: &Path) -> Result<(), OpenError> {
    let at = |source| OpenError::File { path: directory.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(at)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(directory, mode).map_err(at)
}

fn sync_directory(directory: &Path) -> Result<(), OpenError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|source| OpenError::File { path: directory.to_owned(), source })
}

impl Layered for Embedded {
    fn records(&self) -> &dyn Records {
        &*self.shared
    }
}

impl Store for Embedded {
    fn commit(&self, batch: Batch, done: Done) {
        if let Err(Order::Commit(_, done)) = self.orders.send(Order::Commit(batch, done)) {
            done(Err(CommitError::Closed));
        }
    }

    fn upkeep(&self, keep_since: Wall, rows_max: usize, done: UpkeepDone) {
        let order = Order::Upkeep(keep_since, rows_max, done);
        if let Err(Order::Upkeep(_, _, done)) = self.orders.send(order) {
            done(Err(CommitError::Closed));
        }
    }

    fn due(
        &self,
        webhook: WebhookId,
        queue: Queue,
        after: Option<QueueKey>,
        rows_max: usize,
    ) -> Result<Page, ReadError> {
        let (page, rotten) = self.shared.due(webhook, queue, after, rows_max)?;
        self.orders.report(rotten);
        Ok(page)
    }

    fn event(&self, seq: Seq) -> Result<Option<Arc<Event>>, ReadError> {
        let event = self.shared.event(seq);
        if let Err(ReadError::Damaged { .. }) = event {
            self.orders.report(vec![upkeep::Rotten::Event(seq.0)]);
        }
        event
    }

    fn stats(&self) -> Result<Stats, ReadError> {
        let file = self.path.as_deref().and_then(|path| path.metadata().ok());
        let index_bytes = file.map_or(0, |meta| meta.len());
        self.shared.stats(index_bytes, self.written.bytes(), self.orders.is_full())
    }

    fn close(&self) {
        self.orders.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("The store's writer thread had panicked.");
        }
    }
}
