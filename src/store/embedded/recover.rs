//! Starting: what the journal holds behind the last checkpoint is applied again.
//!
//! Owns that replay, and the making of an empty store. Must never apply an entry twice, or one
//! whose checksum does not fit.

use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, WriteTransaction};

use super::entry;
use super::flush::Flusher;
use super::journal::{self, Journal, Place, Position};
use super::lookup::Lookup;
use super::overlay::{Before, Overlay, Row};
use super::record::{self, Kind};
use super::session::{POSITION, Session, meta_u64, put_meta_u64};
use super::shared::Shared;
use super::tables;
use super::trim::Pass;
use super::upkeep::Cursor;
use super::vault::Vault;
use super::writer::{Limits, WriteError, Writer};
use crate::model::time::Wall;

impl Writer {
    /// Applies what the journal holds behind the last checkpoint, and begins a fresh segment.
    pub fn recover(
        shared: Arc<Shared>,
        limits: Limits,
        flusher: Flusher,
    ) -> Result<Writer, WriteError> {
        let position = shared.with_db(position)?;
        let files = Arc::clone(&shared.files);
        {
            let pending = shared.with_db(|db| {
                let view = db.begin_read()?;
                let lengths = [tables::FRESH, tables::RETRY].map(|table| length(&view, table));
                let [fresh, retry] = lengths;
                Ok::<_, WriteError>((fresh? + retry?, length(&view, tables::EVENTS)?))
            })?;
            let mut layers = shared.layers_mut();
            (layers.pending, layers.events) = pending;
        }
        let rotten = journal::replay::<WriteError>(&*files, position, &mut |entry| {
            replay_entry(&shared, &entry)?;
            if let Some(at) = entry.group_end
                && shared.layers().active.entries() >= limits.overlay_entries_max
            {
                let overlay = std::mem::take(&mut shared.layers_mut().active);
                flush_now(&shared, &overlay, at)?;
            }
            Ok(())
        })?;
        report_rot(&shared, &rotten)?;
        let mut writer = Writer {
            journal: Journal::begin(files, limits.segment_bytes)?,
            shared,
            limits,
            frozen_at: Position::default(),
            flusher,
            is_flushing: false,
            is_poisoned: false,
            is_low: false,
            is_tight: false,
            is_untrimmable: false,
            cursor: Cursor::default(),
            pass: Pass::default(),
        };
        writer.direct(|_, session| session.reseal())?;
        writer.wipe_owed()?;
        // What never got anything.
        writer.release_old(Wall(1))?;
        Ok(writer)
    }
}

/// Makes the tables, and says which format the store has; an empty store gets `format`.
pub fn prepare(db: &Database, vault: &Vault, format: u64) -> Result<u64, WriteError> {
    let mut transaction = begin(db)?;
    let found = {
        let mut session = Session::open(&transaction, vault)?;
        transaction.open_table(tables::QUARANTINE)?;
        match meta_u64(&session.meta, "format")? {
            0 => {
                put_meta_u64(&mut session.meta, "format", format)?;
                format
            }
            found => found,
        }
    };
    transaction.set_quick_repair(true);
    transaction.commit()?;
    Ok(found)
}

fn replay_entry(shared: &Shared, read: &journal::Entry) -> Result<(), WriteError> {
    let mut layers = shared.layers_mut();
    let mut lookup = Lookup::new(shared);
    for entry::Read { op, body, previous } in entry::decode(&read.text)? {
        lookup.prepare(&layers, std::slice::from_ref(&op))?;
        let bytes = &read.text[body.clone()];
        let place = Place {
            number: read.at.number,
            offset: read.at.offset + body.start as u64,
            length: bytes.len() as u32,
            crc: crc32c::crc32c(bytes),
        };
        // What the entry says of the attempt before is what was known when it was written.
        let before = lookup.before(&layers, None, &op).map(|before| match before {
            Before::Row(row) => Before::Row(Row { attempt: previous.or(row.attempt), ..row }),
            end @ Before::End(_) => end,
        });
        layers.apply(&op, place, before);
    }
    Ok(())
}

fn flush_now(shared: &Shared, overlay: &Overlay, at: Position) -> Result<(), WriteError> {
    shared.with_db(|db| {
        let mut transaction = begin(db)?;
        {
            let mut session = Session::open(&transaction, &shared.vault)?;
            session.flush(overlay)?;
            session.set_position(at)?;
        }
        transaction.set_quick_repair(true);
        Ok(transaction.commit()?)
    })
}

fn report_rot(shared: &Shared, rotten: &[journal::Rot]) -> Result<(), WriteError> {
    if rotten.is_empty() {
        return Ok(());
    }
    tracing::error!(
        places = rotten.len(),
        "Parts of the journal that had been synced can't be read; they were set aside."
    );
    shared.with_db(|db| {
        let transaction = begin(db)?;
        {
            let mut quarantine = transaction.open_table(tables::QUARANTINE)?;
            for rot in rotten {
                let (number, offset) = (rot.at.number.to_be_bytes(), rot.at.offset.to_be_bytes());
                let key = [b"journal\0".as_slice(), &number, &offset].concat();
                quarantine.insert(key.as_slice(), rot.bytes.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    })
}

/// Where the journal stood at the last checkpoint.
fn position(db: &Database) -> Result<Position, WriteError> {
    let read = db.begin_read()?;
    let meta = read.open_table(tables::META)?;
    let Some(record) = meta.get(POSITION)? else { return Ok(Position::default()) };
    let (number, offset) = record::decode(Kind::Meta, POSITION.as_bytes(), record.value())
        .map_err(|record::Damage| WriteError::Position)?;
    Ok(Position { number, offset })
}

/// How many rows a table has.
pub fn length<K: redb::Key + 'static, V: redb::Value + 'static>(
    view: &redb::ReadTransaction,
    table: redb::TableDefinition<'static, K, V>,
) -> Result<u64, WriteError> {
    Ok(view.open_table(table)?.len()?)
}

/// Begins a transaction whose commit is synced.
pub fn begin(db: &Database) -> Result<WriteTransaction, WriteError> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    Ok(transaction)
}
