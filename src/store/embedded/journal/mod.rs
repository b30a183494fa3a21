//! The journal: what makes a batch durable, in one append and one fdatasync, and where payloads
//! and attempts stay.
//!
//! Owns the segments and their format. Must never acknowledge: a group is durable when
//! [`Journal::commit`] returns. Must never read old bytes as new ones.
//!
//! # How it is used
//!
//! The writer thread puts a group of batches into the journal, and their effects into memory.
//! About once a second a checkpoint writes the effects to redb, in a synced commit that also
//! stores the journal's position. After a crash, what lies behind that position is applied again,
//! in order, on exactly the state that it was applied to the first time. Payloads and attempts are
//! never copied: redb holds their [`Place`], and a segment stays until nothing that is kept points
//! into it.
//!
//! # Segments
//!
//! The folder `journal` holds files `{number:016x}.segment`. A number is given once and rises. A
//! segment has all its room on the disk before it is used, so that a full disk is met before
//! anything is acknowledged; one spare waits ready as soon as the current one is half full. A
//! segment that is not needed any more becomes a later one, by a rename to its number, or is
//! removed. The room is allocated, not written: writing zeros first would double the bytes that an
//! event costs until the first segments are used again, which may be days later.
//! After every start a fresh segment is begun.
//!
//! ```text
//! segment  = header, group*, anything
//! header   = "postride" (8), format u32 = 2, number u64, crc u32 over what precedes     24 bytes
//! group    = at a multiple of 64:
//!            length u32 of the body, count u32 of its entries, synced u64,
//!            crc u32 over number, offset, length, count, synced; then the body           20 bytes
//! body     = entry*
//! entry    = length u32, crc u32 over number, offset of the group, index, text; text
//! ```
//!
//! Integers are little endian. Checksums are CRC-32C. Because each covers the segment's number,
//! bytes of the segment's earlier life never check. `synced` is the offset up to which the segment
//! had been synced when the group was written.
//!
//! # Reading after a crash
//!
//! Groups are read in order. Where one does not check, the segment is searched for a later group
//! that says that it was synced beyond that place. If there is one, what lies between is rot: it
//! is set aside and reported, and reading goes on. If there is none, it is the torn tail of a write
//! that was never acknowledged, and reading ends there. An entry that does not check is judged the
//! same way: rot if a later group was synced beyond it, torn otherwise.

pub mod files;
pub mod memory;
mod read;

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::files::{Files, SegmentFile};

pub use self::read::{Entry, Rot, place_bytes, replay};

/// The size of segments in bytes, unless a simulation wants smaller ones.
pub const SEGMENT_BYTES: u64 = 32 * 1024 * 1024;
/// The size of the first segment after a start, unless others are smaller: an empty store is ready
/// at once, and small.
pub const FIRST_SEGMENT_BYTES: u64 = 1024 * 1024;
/// A group's buffer is used again by the next one if it is no larger.
const BUFFER_BYTES_KEPT_MAX: usize = 512 * 1024;

const MAGIC: &[u8; 8] = b"postride";
const FORMAT: u32 = 2;
const SEGMENT_HEAD_BYTES: u64 = 24;
const GROUP_HEAD_BYTES: usize = 20;
const ENTRY_HEAD_BYTES: usize = 8;
const ALIGN: u64 = 64;

/// A point in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The segment.
    pub number: u64,
    /// The next group's offset in it.
    pub offset: u64,
}

/// Where some bytes stand, and how they are known to be the right ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The segment.
    pub number: u64,
    /// Their offset in it.
    pub offset: u64,
    /// How many.
    pub length: u32,
    /// Their CRC-32C.
    pub crc: u32,
}

/// An open journal.
pub struct Journal {
    files: Arc<dyn Files>,
    segment_bytes: u64,
    current: Box<dyn SegmentFile>,
    at: Position,
    current_bytes: u64,
    spare: Option<Spare>,
    /// The number of the next segment that is made.
    next_number: u64,
    /// All segments but the current one and the spare, in order, with their sizes.
    older: Vec<(u64, u64)>,
    /// A segment that is not needed, to be used again.
    unneeded: Option<u64>,
    group: Group,
}

/// The next segment, ready to be written.
pub struct Spare {
    number: u64,
    file: Box<dyn SegmentFile>,
}

/// How a spare is made; it may happen in another thread.
pub struct SpareOrder {
    files: Arc<dyn Files>,
    number: u64,
    bytes: u64,
    from: Option<u64>,
}

/// The group that is being put together.
#[derive(Default)]
struct Group {
    buffer: Vec<u8>,
    entries: u32,
    /// Where the entry that is being written begins.
    entry_start: usize,
}

impl Journal {
    /// Begins a fresh segment, after whatever is there; later ones have `segment_bytes`.
    pub fn begin(files: Arc<dyn Files>, segment_bytes: u64) -> io::Result<Journal> {
        let older = files.list()?;
        let number = older.last().map_or(1, |(last, _)| last + 1);
        let current_bytes = FIRST_SEGMENT_BYTES.min(segment_bytes);
        let current = make(&*files, number, current_bytes)?;
        Ok(Journal {
            files,
            segment_bytes,
            current,
            at: Position { number, offset: first_group() },
            current_bytes,
            spare: None,
            next_number: number + 1,
            older,
            unneeded: None,
            group: Group::default(),
        })
    }

    /// Where the next group goes.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }

    /// Bytes on disk, unused ones included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let older: u64 = self.older.iter().map(|(_, bytes)| bytes).sum();
        let rest = [self.spare.is_some(), self.unneeded.is_some()];
        let rest = rest.iter().filter(|is| **is).count() as u64;
        older + self.current_bytes + self.segment_bytes * rest
    }

    /// The segments before the current one, in order.
    pub fn older(&self) -> impl Iterator<Item = u64> {
        self.older.iter().map(|(number, _)| *number)
    }

    /// Begins a group whose entries' texts are at most `texts_bytes_max` long together. This is
    /// where a full disk is met: before anything was changed.
    pub fn group(&mut self, entries_max: usize, texts_bytes_max: usize) -> io::Result<()> {
        let body = texts_bytes_max + entries_max * ENTRY_HEAD_BYTES;
        let bytes = aligned((GROUP_HEAD_BYTES + body) as u64);
        if self.at.offset + bytes > self.current_bytes {
            self.switch(bytes)?;
        }
        self.group.buffer.clear();
        // At once: a buffer that grows is there twice.
        self.group.buffer.reserve(GROUP_HEAD_BYTES + body);
        self.group.buffer.resize(GROUP_HEAD_BYTES, 0);
        self.group.entries = 0;
        Ok(())
    }

    /// Begins an entry of the group. Its text is appended to [`Journal::text`].
    pub fn entry(&mut self) {
        self.group.entry_start = self.group.buffer.len();
        self.group.buffer.extend_from_slice(&[0; ENTRY_HEAD_BYTES]);
    }

    /// Where the entry's text grows.
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.group.buffer
    }

    /// The place of what was appended to the text since it had this length.
    #[must_use]
    pub fn place(&self, from: usize) -> Place {
        let bytes = &self.group.buffer[from..];
        Place {
            number: self.at.number,
            offset: self.at.offset + from as u64,
            length: bytes.len() as u32,
            crc: crc32c::crc32c(bytes),
        }
    }

    /// Ends the entry.
    pub fn end_entry(&mut self) {
        let Position { number, offset } = self.at;
        let Group { buffer, entries, entry_start } = &mut self.group;
        let (head, text) = buffer[*entry_start..].split_at_mut(ENTRY_HEAD_BYTES);
        head[..4].copy_from_slice(&(text.len() as u32).to_le_bytes());
        head[4..].copy_from_slice(&entry_crc(number, offset, *entries, text).to_le_bytes());
        *entries += 1;
    }

    /// Writes and syncs the group. An empty one is nothing.
    pub fn commit(&mut self) -> io::Result<()> {
        if self.group.entries == 0 {
            return Ok(());
        }
        let Position { number, offset } = self.at;
        let Group { buffer, entries, .. } = &mut self.group;
        let body = (buffer.len() - GROUP_HEAD_BYTES) as u32;
        buffer[..4].copy_from_slice(&body.to_le_bytes());
        buffer[4..8].copy_from_slice(&entries.to_le_bytes());
        // All before this group has been synced: each commit ends with it.
        buffer[8..16].copy_from_slice(&offset.to_le_bytes());
        let crc = group_crc(number, offset, &buffer[..16]);
        buffer[16..GROUP_HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.current.write_at(offset, buffer)?;
        self.current.sync()?;
        self.at.offset += aligned(buffer.len() as u64);
        if buffer.capacity() > BUFFER_BYTES_KEPT_MAX {
            *buffer = Vec::new();
        }
        Ok(())
    }

    /// How the spare is to be made, if it is wanted now.
    pub fn spare_order(&mut self) -> Option<SpareOrder> {
        let is_wanted = self.spare.is_none() && self.at.offset * 2 > self.current_bytes;
        is_wanted.then(|| self.order())
    }

    /// Takes a spare that was ordered; one that came too late is removed.
    pub fn take_spare(&mut self, spare: Spare) -> io::Result<()> {
        if spare.number > self.at.number && self.spare.is_none() {
            self.spare = Some(spare);
            return Ok(());
        }
        self.files.remove(spare.number)
    }

    /// Lets a segment go that nothing points into.
    pub fn release(&mut self, number: u64) -> io::Result<()> {
        let Some(at) = self.older.iter().position(|(older, _)| *older == number) else {
            return Ok(());
        };
        let (_, bytes) = self.older.remove(at);
        if self.unneeded.is_none() && bytes == self.segment_bytes {
            self.unneeded = Some(number);
            return Ok(());
        }
        self.files.remove(number)
    }

    fn order(&mut self) -> SpareOrder {
        let number = self.next_number;
        self.next_number += 1;
        let bytes = self.segment_bytes;
        SpareOrder { files: Arc::clone(&self.files), number, bytes, from: self.unneeded.take() }
    }

    fn switch(&mut self, bytes: u64) -> io::Result<()> {
        let wanted = self.segment_bytes.max(first_group() + bytes);
        let (spare, size) = match self.spare.take() {
            Some(spare) if wanted == self.segment_bytes => (spare, wanted),
            None if wanted == self.segment_bytes => (self.order().make()?, wanted),
            other => {
                // The spare's number would be lower than that of a segment in use.
                if let Some(Spare { number, .. }) = other {
                    self.files.remove(number)?;
                }
                let number = self.next_number;
                let file = make(&*self.files, number, wanted)?;
                self.next_number += 1;
                (Spare { number, file }, wanted)
            }
        };
        self.older.push((self.at.number, self.current_bytes));
        self.current = spare.file;
        self.current_bytes = size;
        self.at = Position { number: spare.number, offset: first_group() };
        Ok(())
    }
}

impl SpareOrder {
    /// Makes the spare.
    pub fn make(self) -> io::Result<Spare> {
        let SpareOrder { files, number, bytes, from } = self;
        let Some(from) = from else {
            let file = make(&*files, number, bytes)?;
            return Ok(Spare { number, file });
        };
        files.rename(from, number)?;
        let file = files.open(number)?;
        file.write_at(0, &segment_head(number))?;
        file.sync()?;
        Ok(Spare { number, file })
    }
}

fn make(files: &dyn Files, number: u64, bytes: u64) -> io::Result<Box<dyn SegmentFile>> {
    let file = files.create(number, bytes)?;
    file.write_at(0, &segment_head(number))?;
    file.sync()?;
    Ok(file)
}

fn first_group() -> u64 {
    aligned(SEGMENT_HEAD_BYTES)
}

fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGN)
}

fn segment_head(number: u64) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&FORMAT.to_le_bytes());
    head.extend_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&head);
    head.extend_from_slice(&crc.to_le_bytes());
    head
}

fn group_crc(number: u64, offset: u64, head: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&number.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
    crc32c::crc32c_append(crc, head)
}

fn entry_crc(number: u64, offset: u64, index: u32, text: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&number.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &index.to_le_bytes());
    crc32c::crc32c_append(crc, text)
}

#[cfg(test)]
mod tests;
