//! Erasure: a payload is taken away for good, on the disk too.
//!
//! Owns what an erasure writes, and the overwriting of the bytes that it leaves behind in the
//! journal. Must never overwrite what redb still points to.
//!
//! The commit that points elsewhere notes which places are to be overwritten, in the table `wipes`.
//! They are overwritten behind it, and once more at each start until their segment goes: a kill
//! between the two leaves nothing readable for longer than that. A segment's number is given once,
//! so that a place can't be another's meanwhile.

use std::io;
use std::sync::Arc;

use redb::ReadableTable;

use super::entry;
use super::journal::Place;
use super::session::Session;
use super::tables;
use super::writer::{WriteError, Writer};
use crate::logic::batch::Op;

impl Writer {
    /// An erasure as what it writes: the event without its payload, in a place of its own.
    pub(super) fn expand(&self, op: &Op, wipes: &mut Vec<Place>) -> Result<Op, WriteError> {
        let Op::EraseEvent { event, at } = op else { return Ok(op.clone()) };
        let Ok(Some(place)) = self.shared.event_place(*event) else { return Ok(op.clone()) };
        let body = self.shared.place(&place)?;
        let Some(Ok(found)) = body.map(|body| entry::event(&body)) else { return Ok(op.clone()) };
        wipes.push(place);
        Ok(Op::PutEvent(Arc::new(found.erased(*at))))
    }

    /// Overwrites payloads that are erased. Nothing reads there any more: redb points elsewhere,
    /// and its position lies behind.
    pub(super) fn wipe(&self, places: &[Place]) -> Result<(), WriteError> {
        places.iter().try_for_each(|place| {
            self.overwrite(place.number, place.offset, place.length).map_err(WriteError::Unwritten)
        })
    }

    /// Overwrites what was noted before the process ended.
    pub(super) fn wipe_owed(&self) -> Result<(), WriteError> {
        let view = self.shared.view()?;
        for entry in view.open_table(tables::WIPES)?.iter()? {
            let (place, length) = entry?;
            let (number, offset) = place.value();
            match self.overwrite(number, offset, length.value()) {
                // The segment is gone, and its bytes with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done.map_err(WriteError::Unwritten)?,
            }
        }
        Ok(())
    }

    fn overwrite(&self, number: u64, offset: u64, length: u32) -> io::Result<()> {
        let file = self.shared.files.open(number)?;
        file.write_at(offset, &vec![0; length as usize])?;
        file.sync()
    }
}

impl Session<'_> {
    /// Notes which places are to be overwritten.
    pub fn owe_wipes(&mut self, places: &[Place]) -> Result<(), WriteError> {
        for Place { number, offset, length, .. } in places {
            self.wipes.insert((*number, *offset), *length)?;
        }
        Ok(())
    }

    /// A segment goes: nothing in it is to be overwritten.
    pub fn forget_wipes(&mut self, number: u64) -> Result<(), WriteError> {
        Ok(self.wipes.retain_in((number, 0)..=(number, u64::MAX), |_, _| false)?)
    }
}
