//! What the writer and all readers share: redb, the journal's files, and the overlays above redb.
//!
//! Owns their locks, and the look-up of a single row through all layers. Must never write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase};

use super::journal::Place;
use super::journal::files::{Files, SegmentFile};
use super::journal::place_bytes;
use super::overlay::{Overlay, Row};
use super::record::{self, Damage, Kind, RowKept};
use super::tables::{self, QueueRow, queue_key_bytes, queue_table};
use super::vault::Vault;
use crate::model::delivery::Queue;

/// Opens the database, the first time and after it failed for want of room.
pub type OpenDatabase = Box<dyn Fn() -> Result<Database, redb::DatabaseError> + Send + Sync>;

/// The shared parts of an open store.
pub struct Shared {
    /// `None` while it is being opened anew.
    db: RwLock<Option<Database>>,
    open: OpenDatabase,
    /// Keys for secrets.
    pub vault: Vault,
    /// The journal's folder.
    pub files: Arc<dyn Files>,
    layers: RwLock<Layers>,
    /// The segment that was read last: a backlog is read in order.
    open_segment: Mutex<Option<OpenSegment>>,
}

type OpenSegment = (u64, Arc<dyn SegmentFile>);

/// What lies above redb, newest first.
#[derive(Default)]
pub struct Layers {
    /// Takes writes.
    pub active: Overlay,
    /// Is being written to redb.
    pub frozen: Option<Arc<Overlay>>,
    /// Deliveries that wait.
    pub pending: u64,
    /// Events that are kept.
    pub events: u64,
}

impl Layers {
    /// The overlays, newest first.
    pub fn overlays(&self) -> impl Iterator<Item = &Overlay> {
        [Some(&self.active), self.frozen.as_deref()].into_iter().flatten()
    }
}

impl Shared {
    /// Opens the database.
    pub fn new(
        open: OpenDatabase,
        vault: Vault,
        files: Arc<dyn Files>,
    ) -> Result<Shared, redb::DatabaseError> {
        let db = RwLock::new(Some(open()?));
        let (layers, open_segment) = (RwLock::default(), Mutex::default());
        Ok(Shared { db, open, vault, files, layers, open_segment })
    }

    /// Closes the database and opens it again.
    pub fn reopen(&self) -> Result<(), redb::DatabaseError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        drop(db.take());
        *db = Some((self.open)()?);
        Ok(())
    }

    /// The database.
    pub fn with_db<T, E: From<redb::Error>>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, E>,
    ) -> Result<T, E> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        match &*db {
            Some(db) => work(db),
            None => Err(E::from(redb::Error::DatabaseClosed)),
        }
    }

    /// The overlays, to be read.
    pub fn layers(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The overlays, to be changed. For the writer alone.
    pub fn layers_mut(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A view of redb.
    pub fn view(&self) -> Result<ReadTransaction, redb::Error> {
        self.with_db(|db| Ok(db.begin_read()?))
    }

    /// The bytes at a place of the journal; `None` if they are gone or not what they were.
    pub fn place(&self, place: &Place) -> std::io::Result<Option<Vec<u8>>> {
        if let Some(file) = self.opened(place.number)
            && let Some(bytes) = place_bytes(&*file, place)?
        {
            return Ok(Some(bytes));
        }
        // Not open, or open from an earlier life of the segment.
        let file: Arc<dyn SegmentFile> = match self.files.open(place.number) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file?.into(),
        };
        *self.open_segment() = Some((place.number, Arc::clone(&file)));
        place_bytes(&*file, place)
    }

    fn opened(&self, number: u64) -> Option<Arc<dyn SegmentFile>> {
        let open = self.open_segment();
        open.as_ref().filter(|(open, _)| *open == number).map(|(_, file)| Arc::clone(file))
    }

    fn open_segment(&self) -> MutexGuard<'_, Option<OpenSegment>> {
        self.open_segment.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row of a queue, as the newest layer that knows it says. `table` is asked last.
pub fn row(
    layers: &Layers,
    table: impl FnOnce() -> Result<QueueTable, redb::Error>,
    queue: Queue,
    key: QueueRow,
) -> Result<Option<Result<Row, Damage>>, redb::Error> {
    for overlay in layers.overlays() {
        if let Some(slot) = overlay.slot(queue, key) {
            return Ok(slot.row().map(Ok));
        }
    }
    let found = table()?.get(key)?;
    Ok(found.map(|record| decode_row(key, record.value())))
}

/// A row as redb keeps it.
pub fn decode_row(key: QueueRow, record: &[u8]) -> Result<Row, Damage> {
    let kept: RowKept = record::decode(Kind::Pending, &queue_key_bytes(key), record)?;
    Ok(kept.row(tables::queue_key(key).ok_or(Damage)?))
}

/// A queue's table in a view.
pub type QueueTable = ReadOnlyTable<QueueRow, &'static [u8]>;

/// Opens it.
pub fn open_queue(view: &ReadTransaction, queue: Queue) -> Result<QueueTable, redb::Error> {
    Ok(view.open_table(queue_table(queue))?)
}
