//! The embedded store: a journal and redb, one writer thread, group commit.
//!
//! Owns the data directory's files, the thread that writes them, and all reads. Must never
//! acknowledge what is not fsynced, and must never return a record whose checksum does not fit.
//!
//! * `journal` makes batches durable, `entry` is their form in it.
//! * `tables` specifies redb's tables, `record` the frame of a value, `vault` how secrets are
//!   sealed.
//! * `writer` applies a group of batches to both; it has no thread of its own.
//! * This file has the thread: it takes the first batch that waits, joins whatever else waits, up
//!   to limits, and commits once. There is no linger for durable batches: while one commit syncs,
//!   the next group gathers. Batches that may wait (settlements) ride on the next durable commit,
//!   or get one of their own after 200 ms. A second after a commit, redb makes a checkpoint.

mod entry;
pub mod journal;
mod probe;
mod record;
mod tables;
pub mod vault;
mod writer;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend};
use thiserror::Error;

use crate::clock;
use crate::logic::batch::{Batch, Durability, IdempotencyRecord, SETTLE_DELAY_MS_MAX};
use crate::model::attempt::Attempt;
use crate::model::delivery::{Finished, Pending, Queue, QueueKey};
use crate::model::event::Event;
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::time::{Mono, Wall};

use super::{CommitError, Done, Loaded, Page, ReadError, Stats, Store, UpkeepDone};
use journal::files::{Files, Folder};
#[doc(hidden)]
pub use probe::rewritten;
use record::{ClosedLane, Damage, Kind, SealedError};
use vault::Vault;
use writer::{Rotten, WriteError, Writer};

/// The database's name in the data directory.
pub const FILE_NAME: &str = "postrider.redb";
/// The journal's folder in the data directory.
pub const JOURNAL_NAME: &str = "journal";
/// How long redb may be behind the journal, in milliseconds.
const CHECKPOINT_MS: u64 = 1_000;
/// redb's cache, unless the configuration says otherwise.
pub const CACHE_BYTES_DEFAULT: usize = 32 * 1024 * 1024;
/// Batches in one commit, at most.
const GROUP_BATCHES_MAX: usize = 4_096;

/// An open store.
pub struct Embedded {
    shared: Arc<Shared>,
    orders: Mutex<Option<Sender<Order>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    path: Option<PathBuf>,
}

struct Shared {
    db: Database,
    vault: Vault,
}

enum Order {
    Commit(Batch, Done),
    Upkeep(Wall, usize, UpkeepDone),
    Quarantine(Vec<Rotten>),
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
    pub fn open(directory: &Path, vault: Vault, cache_bytes: usize) -> Result<Embedded, OpenError> {
        make_directory(directory)?;
        let path = directory.join(FILE_NAME);
        let at_path = |source| OpenError::File { path: path.clone(), source };
        let is_new = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(at_path)?;
        let db = redb::backends::FileBackend::new(file)
            .and_then(|backend| builder(cache_bytes).create_with_backend(backend))
            .map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => OpenError::Locked(directory.to_owned()),
                error => OpenError::Engine(Box::new(error.into())),
            })?;
        if is_new {
            // redb does not sync the directory: without this, a power cut could take the name.
            sync_directory(directory)?;
            if let Some(parent) = directory.parent().filter(|path| !path.as_os_str().is_empty()) {
                sync_directory(parent)?;
            }
        }
        let folder = directory.join(JOURNAL_NAME);
        let files = Folder::open(&folder)
            .map_err(|source| OpenError::File { path: folder.clone(), source })?;
        Embedded::start(db, files, vault, Some(path))
    }

    /// Opens or makes a store on any backend and folder, for tests that break them.
    pub fn open_on(
        backend: impl StorageBackend,
        files: impl Files + 'static,
        vault: Vault,
    ) -> Result<Embedded, OpenError> {
        let db = builder(CACHE_BYTES_DEFAULT)
            .create_with_backend(backend)
            .map_err(|error| OpenError::Engine(Box::new(error.into())))?;
        Embedded::start(db, files, vault, None)
    }

    fn start(
        db: Database,
        files: impl Files + 'static,
        vault: Vault,
        path: Option<PathBuf>,
    ) -> Result<Embedded, OpenError> {
        let shared = Arc::new(Shared { db, vault });
        let broken = |error: WriteError| match error {
            WriteError::Vault(error) => OpenError::Vault(error),
            error => OpenError::Prepare(Box::new(error)),
        };
        let found = writer::prepare(&shared.db, &shared.vault, tables::FORMAT).map_err(broken)?;
        if found > tables::FORMAT {
            return Err(OpenError::TooNew { found, known: tables::FORMAT });
        }
        let (sender, receiver) = mpsc::channel();
        let (opened, outcome) = mpsc::sync_channel(1);
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let recovered = Writer::recover(&of_thread.db, &of_thread.vault, files)
                    .and_then(|mut writer| writer.reseal().map(|()| writer));
                match recovered {
                    Ok(writer) => {
                        // Whoever opens the store waits for this.
                        let _ = opened.send(Ok(()));
                        write_loop(writer, &receiver);
                    }
                    Err(error) => {
                        let _ = opened.send(Err(error));
                    }
                }
            })
            .map_err(|error| OpenError::Prepare(Box::new(error)))?;
        match outcome.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(broken(error)),
            Err(error) => return Err(OpenError::Prepare(Box::new(error))),
        }
        Ok(Embedded {
            shared,
            orders: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            path,
        })
    }

    fn order(&self, order: Order) -> Result<(), Order> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        match &*orders {
            Some(sender) => sender.send(order).map_err(|mpsc::SendError(order)| order),
            None => Err(order),
        }
    }

    fn report(&self, rotten: Vec<Rotten>) {
        if !rotten.is_empty() {
            tracing::error!(records = rotten.len(), "Damaged records were set aside: {rotten:?}.");
            // A closed store has nothing to set aside any more.
            let _ = self.order(Order::Quarantine(rotten));
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
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

/// The writer thread.
fn write_loop<F: Files>(mut writer: Writer<'_, F>, orders: &Receiver<Order>) {
    let mut broken: Option<Arc<str>> = None;
    let mut waiting: Vec<(Batch, Done)> = Vec::new();
    let mut timers = Timers { oldest: Mono(0), checkpoint: clock::mono() };
    let mut open = true;
    while open {
        let mut now = waiting.len() >= GROUP_BATCHES_MAX;
        let timeout = timers.timeout_ms(!waiting.is_empty(), writer.is_dirty());
        let order = if now { None } else { next_order(orders, timeout, &mut open) };
        match order {
            None => now = now || timers.waited(),
            Some(Order::Commit(batch, done)) => {
                if waiting.is_empty() {
                    timers.oldest = clock::mono();
                }
                now |= batch.durability == Durability::Now;
                waiting.push((batch, done));
                now |= drain(orders, &mut waiting, &mut writer, &mut broken);
            }
            Some(order) => side_order(order, &mut writer, &mut broken),
        }
        if (now || !open) && !waiting.is_empty() {
            commit(&mut writer, std::mem::take(&mut waiting), &mut broken);
        }
        if writer.is_dirty() && (!open || timers.is_checkpoint_due()) {
            // A failure is remembered by `guarded`, and the next commit reports it.
            let _ = guarded(&mut broken, || writer.checkpoint());
            timers.checkpoint = clock::mono();
        }
    }
}

/// What the writer thread waits for beside orders.
struct Timers {
    /// When the oldest batch that waits came.
    oldest: Mono,
    /// The last checkpoint.
    checkpoint: Mono,
}

impl Timers {
    /// How long to wait for an order; `None`: as long as it takes.
    fn timeout_ms(&self, waits: bool, dirty: bool) -> Option<u64> {
        let now = clock::mono();
        let settle = waits.then(|| self.oldest.plus(SETTLE_DELAY_MS_MAX).since(now));
        let checkpoint = dirty.then(|| self.checkpoint.plus(CHECKPOINT_MS).since(now));
        [settle, checkpoint].into_iter().flatten().min()
    }

    fn waited(&self) -> bool {
        clock::mono() >= self.oldest.plus(SETTLE_DELAY_MS_MAX)
    }

    fn is_checkpoint_due(&self) -> bool {
        clock::mono() >= self.checkpoint.plus(CHECKPOINT_MS)
    }
}

/// Waits for an order; `None` if none came in time.
fn next_order(orders: &Receiver<Order>, timeout_ms: Option<u64>, open: &mut bool) -> Option<Order> {
    let order = match timeout_ms {
        None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(ms) => orders.recv_timeout(Duration::from_millis(ms)),
    };
    match order {
        Ok(order) => Some(order),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => {
            *open = false;
            None
        }
    }
}

/// Joins what waits already, and says whether any of it is to be committed now.
fn drain<F: Files>(
    orders: &Receiver<Order>,
    waiting: &mut Vec<(Batch, Done)>,
    writer: &mut Writer<'_, F>,
    broken: &mut Option<Arc<str>>,
) -> bool {
    let mut now = false;
    while waiting.len() < GROUP_BATCHES_MAX {
        match orders.try_recv() {
            Ok(Order::Commit(batch, done)) => {
                now |= batch.durability == Durability::Now;
                waiting.push((batch, done));
            }
            Ok(order) => {
                // Order matters: what came before is committed before.
                commit(writer, std::mem::take(waiting), broken);
                side_order(order, writer, broken);
            }
            Err(_) => break,
        }
    }
    now
}

fn side_order<F: Files>(order: Order, writer: &mut Writer<'_, F>, broken: &mut Option<Arc<str>>) {
    match order {
        Order::Commit(batch, done) => commit(writer, vec![(batch, done)], broken),
        Order::Upkeep(keep_since, rows_max, done) => {
            let result = guarded(broken, || writer.upkeep(keep_since, rows_max));
            done(result);
        }
        Order::Quarantine(rotten) => {
            // A failure is remembered by `guarded`, and the next commit reports it.
            let _ = guarded(broken, || writer.quarantine(&rotten));
        }
    }
}

fn commit<F: Files>(
    writer: &mut Writer<'_, F>,
    group: Vec<(Batch, Done)>,
    broken: &mut Option<Arc<str>>,
) {
    if group.is_empty() {
        return;
    }
    let (batches, dones): (Vec<Batch>, Vec<Done>) = group.into_iter().unzip();
    match guarded(broken, || writer.apply(&batches)) {
        Ok(fates) => {
            for (done, fate) in dones.into_iter().zip(fates) {
                done(fate.map_err(CommitError::Refused));
            }
        }
        Err(error) => {
            for done in dones {
                done(Err(error.clone()));
            }
        }
    }
}

/// Runs a write, unless one failed before; remembers a failure.
fn guarded<T>(
    broken: &mut Option<Arc<str>>,
    write: impl FnOnce() -> Result<T, WriteError>,
) -> Result<T, CommitError> {
    if let Some(why) = broken {
        return Err(CommitError::Broken(Arc::clone(why)));
    }
    write().map_err(|error| {
        let why: Arc<str> = error.to_string().into();
        tracing::error!(%error, "The store can't write any more.");
        *broken = Some(Arc::clone(&why));
        CommitError::Broken(why)
    })
}

impl Store for Embedded {
    fn commit(&self, batch: Batch, done: Done) {
        if let Err(Order::Commit(_, done)) = self.order(Order::Commit(batch, done)) {
            done(Err(CommitError::Closed));
        }
    }

    fn upkeep(&self, keep_since: Wall, rows_max: usize, done: UpkeepDone) {
        let order = Order::Upkeep(keep_since, rows_max, done);
        if let Err(Order::Upkeep(_, _, done)) = self.order(order) {
            done(Err(CommitError::Closed));
        }
    }

    fn load(&self) -> Result<Loaded, ReadError> {
        let vault = &self.shared.vault;
        let read = self.shared.db.begin_read().map_err(broken)?;
        let meta = read.open_table(tables::META).map_err(broken)?;
        let mut loaded = Loaded {
            project_id_max: read_u32(&meta, "project_id_max")?,
            webhook_id_max: read_u32(&meta, "webhook_id_max")?,
            seq_max: Seq(read_meta(&meta, "seq_max")?.unwrap_or(0)),
            operator_token: read_meta(&meta, "operator_token")?,
            ..Loaded::default()
        };
        let projects = read.open_table(tables::PROJECTS).map_err(broken)?;
        for entry in projects.iter().map_err(broken)? {
            let (key, value) = entry.map_err(broken)?;
            let Some(id) = ProjectId::new(key.value()) else { continue };
            match record::decode_project(vault, id, value.value()) {
                Ok((project, _)) => loaded.projects.push(project),
                Err(error) => sealed_error("project", id.get(), error)?,
            }
        }
        let webhooks = read.open_table(tables::WEBHOOKS).map_err(broken)?;
        for entry in webhooks.iter().map_err(broken)? {
            let (key, value) = entry.map_err(broken)?;
            let Some(id) = WebhookId::new(key.value()) else { continue };
            match record::decode_webhook(vault, id, value.value()) {
                Ok((webhook, _)) => loaded.webhooks.push(webhook),
                Err(error) => sealed_error("webhook", id.get(), error)?,
            }
        }
        Ok(loaded)
    }

    fn lanes(&self, queue: Queue) -> Result<Vec<WebhookId>, ReadError> {
        let read = self.shared.db.begin_read().map_err(broken)?;
        let table = read.open_table(tables::queue_table(queue)).map_err(broken)?;
        let mut lanes = Vec::new();
        let mut from = 0;
        // One seek for each lane that has rows, however many.
        while let Some(entry) = table.range((from, 0, 0)..).map_err(broken)?.next() {
            let webhook = entry.map_err(broken)?.0.value().0;
            lanes.extend(WebhookId::new(webhook));
            match webhook.checked_add(1) {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(lanes)
    }

    fn due(
        &self,
        webhook: WebhookId,
        queue: Queue,
        after: Option<QueueKey>,
        rows_max: usize,
    ) -> Result<Page, ReadError> {
        let read = self.shared.db.begin_read().map_err(broken)?;
        let closed = read.open_table(tables::CLOSED).map_err(broken)?;
        let id = webhook.get();
        let closed_upto = match closed.get(id).map_err(broken)? {
            Some(lane) => record::decode(Kind::ClosedLane, &id.to_be_bytes(), lane.value())
                .map_or(Seq(0), |lane: ClosedLane| lane.upto),
            None => Seq(0),
        };
        let table = read.open_table(tables::queue_table(queue)).map_err(broken)?;
        let from = after.map_or((id, 0, 0), tables::queue_row);
        let mut page = Page::default();
        let mut rotten = Vec::new();
        for entry in table.range(from..=(id, u64::MAX, u64::MAX)).map_err(broken)? {
            let (key, value) = entry.map_err(broken)?;
            let key = key.value();
            if key.2 <= closed_upto.0 || tables::queue_key(key) == after {
                continue;
            }
            if page.rows.len() == rows_max {
                page.more = true;
                break;
            }
            match record::decode::<Pending>(
                Kind::Pending,
                &tables::queue_key_bytes(key),
                value.value(),
            ) {
                Ok(row) => page.rows.push(row),
                Err(Damage) => rotten.push(Rotten::Queue(queue, key)),
            }
        }
        self.report(rotten);
        Ok(page)
    }

    fn event(&self, seq: Seq) -> Result<Option<Arc<Event>>, ReadError> {
        let read = self.shared.db.begin_read().map_err(broken)?;
        let table = read.open_table(tables::EVENTS).map_err(broken)?;
        let Some(value) = table.get(seq.0).map_err(broken)? else { return Ok(None) };
        match record::decode::<Event>(Kind::Event, &seq.0.to_be_bytes(), value.value()) {
            Ok(event) => Ok(Some(Arc::new(event))),
            Err(Damage) => {
                self.report(vec![Rotten::Event(seq.0)]);
                Err(ReadError::Damaged { what: "event", id: seq.0 })
            }
        }
    }

    fn idempotency(
        &self,
        project: ProjectId,
        key: u128,
    ) -> Result<Option<IdempotencyRecord>, ReadError> {
        let read = self.shared.db.begin_read().map_err(broken)?;
        let table = read.open_table(tables::IDEMPOTENCY).map_err(broken)?;
        let row = (project.get(), key);
        let Some(value) = table.get(row).map_err(broken)? else { return Ok(None) };
        let bytes = tables::idempotency_key_bytes(row.0, row.1);
        record::decode(Kind::Idempotency, &bytes, value.value()).map(Some).map_err(|Damage| {
            ReadError::Damaged { what: "idempotency key of project", id: row.0.into() }
        })
    }

    fn finished(&self, seq: Seq) -> Result<Option<Finished>, ReadError> {
        let read = self.shared.db.begin_read().map_err(broken)?;
        let table = read.open_table(tables::FINISHED).map_err(broken)?;
        let Some(value) = table.get(seq.0).map_err(broken)? else { return Ok(None) };
        record::decode(Kind::Finished, &seq.0.to_be_bytes(), value.value())
            .map(Some)
            .map_err(|Damage| ReadError::Damaged { what: "delivery", id: seq.0 })
    }

    fn attempts(&self, seq: Seq) -> Result<Vec<Attempt>, ReadError> {
        let read = self.shared.db.begin_read().map_err(broken)?;
        let table = read.open_table(tables::ATTEMPTS).map_err(broken)?;
        let mut attempts = Vec::new();
        for entry in table.range((seq.0, 0)..=(seq.0, u32::MAX)).map_err(broken)? {
            let (key, value) = entry.map_err(broken)?;
            let bytes = tables::attempt_key_bytes(seq.0, key.value().1);
            // A damaged line of the log is left out: the others still tell the story.
            attempts.extend(record::decode::<Attempt>(Kind::Attempt, &bytes, value.value()));
        }
        Ok(attempts)
    }

    fn stats(&self) -> Result<Stats, ReadError> {
        let read = self.shared.db.begin_read().map_err(broken)?;
        let fresh = read.open_table(tables::FRESH).map_err(broken)?.len().map_err(broken)?;
        let retry = read.open_table(tables::RETRY).map_err(broken)?.len().map_err(broken)?;
        let quarantine = read.open_table(tables::QUARANTINE).map_err(broken)?;
        let path = self.path.as_deref();
        Ok(Stats {
            pending: fresh + retry,
            events: read.open_table(tables::EVENTS).map_err(broken)?.len().map_err(broken)?,
            quarantined: quarantine.len().map_err(broken)?,
            bytes: path.and_then(|path| path.metadata().ok()).map_or(0, |meta| meta.len()),
        })
    }

    fn close(&self) {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("The store's writer thread had panicked.");
        }
    }
}

fn broken(error: impl Into<redb::Error>) -> ReadError {
    ReadError::Broken(Box::new(error.into()))
}

/// A damaged record is left out of what is loaded; a missing key stops the start.
fn sealed_error(what: &'static str, id: u32, error: SealedError) -> Result<(), ReadError> {
    match error {
        SealedError::Vault(error) => Err(ReadError::Vault(error)),
        SealedError::Damaged => {
            tracing::error!(id, "The record of a {what} is damaged and was left out.");
            Ok(())
        }
    }
}

fn read_meta<T: serde::de::DeserializeOwned>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<Option<T>, ReadError> {
    let Some(value) = meta.get(name).map_err(broken)? else { return Ok(None) };
    record::decode(Kind::Meta, name.as_bytes(), value.value())
        .map(Some)
        .map_err(|Damage| ReadError::Damaged { what: name, id: 0 })
}

fn read_u32(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<u32, ReadError> {
    let value: Option<u64> = read_meta(meta, name)?;
    Ok(value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0))
}
