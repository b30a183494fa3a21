//! The journal: what makes a batch durable, in one append and one fdatasync.
//!
//! Owns the segments and their format. Must never acknowledge: an append is durable when
//! [`Journal::append`] returns. Must never read old bytes as new ones.
//!
//! # How it is used
//!
//! The writer thread appends a group of batches, then commits the same effects to redb without a
//! sync. About once a second redb makes a checkpoint: a synced commit that also stores the
//! journal's position. After a crash, what lies behind that position is applied again, in order,
//! on exactly the state that it was applied to the first time.
//!
//! # Segments
//!
//! The folder `journal` holds files `{number:016x}.segment`. A number is given once and rises. A
//! segment is filled with zeros and synced before it is used, so that a later fdatasync has no
//! metadata to write, and a full disk is met before anything is acknowledged. One spare waits
//! ready. A segment that a checkpoint has passed becomes the spare, by a rename to its new number,
//! or is removed. After every start a fresh segment is begun.
//!
//! ```text
//! segment  = header, group*, anything
//! header   = "postride" (8), format u32 = 1, number u64, crc u32 over what precedes     24 bytes
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

use std::io;

use self::files::{Files, SegmentFile};

/// The size of segments, in bytes.
pub const SEGMENT_BYTES: u64 = 32 * 1024 * 1024;
/// The size of the first segment after a start: an empty store is ready at once.
pub const FIRST_SEGMENT_BYTES: u64 = 1024 * 1024;

const MAGIC: &[u8; 8] = b"postride";
const FORMAT: u32 = 1;
const SEGMENT_HEAD_BYTES: u64 = 24;
const GROUP_HEAD_BYTES: usize = 20;
const ENTRY_HEAD_BYTES: usize = 8;
const ALIGN: u64 = 64;

/// A place in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The segment.
    pub number: u64,
    /// The next group's offset in it.
    pub offset: u64,
}

/// What was read after a crash.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The entries, in order.
    pub entries: Vec<Vec<u8>>,
    /// Bytes that were acknowledged once and can't be read, with their place.
    pub rotten: Vec<(Position, Vec<u8>)>,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal<F: Files> {
    files: F,
    current: F::File,
    at: Position,
    current_bytes: u64,
    spare: Option<(u64, u64)>,
    next_number: u64,
    /// Segments before the current one that no checkpoint has passed yet, with their sizes.
    passed: Vec<(u64, u64)>,
    buffer: Vec<u8>,
}

/// Reads what lies at or behind `from`.
pub fn replay<F: Files>(files: &F, from: Position) -> io::Result<Replay> {
    let mut replay = Replay::default();
    for (number, _) in files.list()? {
        if number >= from.number {
            let bytes = files.open(number)?.read()?;
            let start = if number == from.number { from.offset } else { first_group() };
            read_segment(number, &bytes, start, &mut replay);
        }
    }
    Ok(replay)
}

impl<F: Files> Journal<F> {
    /// Begins a fresh segment, after whatever is there.
    pub fn begin(files: F) -> io::Result<Journal<F>> {
        let passed = files.list()?;
        let number = passed.last().map_or(1, |(last, _)| last + 1);
        let current = make(&files, number, FIRST_SEGMENT_BYTES)?;
        Ok(Journal {
            files,
            current,
            at: Position { number, offset: first_group() },
            current_bytes: FIRST_SEGMENT_BYTES,
            spare: None,
            next_number: number + 1,
            passed,
            buffer: Vec::new(),
        })
    }

    /// Where the next group goes.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }

    /// Appends entries as one group, and syncs.
    pub fn append(&mut self, entries: &[Vec<u8>]) -> io::Result<()> {
        let body: usize = entries.iter().map(|entry| ENTRY_HEAD_BYTES + entry.len()).sum();
        let bytes = aligned((GROUP_HEAD_BYTES + body) as u64);
        if self.at.offset + bytes > self.current_bytes {
            self.switch(bytes)?;
        }
        self.render(entries, body);
        self.current.write_at(self.at.offset, &self.buffer)?;
        self.current.sync()?;
        self.at.offset += bytes;
        Ok(())
    }

    /// A checkpoint has stored the present position: segments before it are not needed any more.
    pub fn checkpointed(&mut self) -> io::Result<()> {
        for (number, bytes) in std::mem::take(&mut self.passed) {
            if self.spare.is_none() && bytes == SEGMENT_BYTES {
                self.spare = Some((number, bytes));
            } else {
                self.files.remove(number)?;
            }
        }
        Ok(())
    }

    fn switch(&mut self, bytes: u64) -> io::Result<()> {
        let number = self.next_number;
        let wanted = SEGMENT_BYTES.max(first_group() + bytes);
        let (file, size) = match self.spare.take() {
            Some((spare, size)) if size >= wanted => {
                self.files.rename(spare, number)?;
                let mut file = self.files.open(number)?;
                file.write_at(0, &segment_head(number))?;
                file.sync()?;
                (file, size)
            }
            other => {
                self.spare = other;
                (make(&self.files, number, wanted)?, wanted)
            }
        };
        self.passed.push((self.at.number, self.current_bytes));
        self.current = file;
        self.current_bytes = size;
        self.next_number = number + 1;
        self.at = Position { number, offset: first_group() };
        Ok(())
    }

    fn render(&mut self, entries: &[Vec<u8>], body: usize) {
        let Position { number, offset } = self.at;
        let (length, count) = (body as u32, entries.len() as u32);
        self.buffer.clear();
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(&count.to_le_bytes());
        // All before this group has been synced: each append ends with it.
        self.buffer.extend_from_slice(&offset.to_le_bytes());
        let crc = group_crc(number, offset, &self.buffer);
        self.buffer.extend_from_slice(&crc.to_le_bytes());
        for (index, entry) in (0..).zip(entries) {
            self.buffer.extend_from_slice(&(entry.len() as u32).to_le_bytes());
            self.buffer.extend_from_slice(&entry_crc(number, offset, index, entry).to_le_bytes());
            self.buffer.extend_from_slice(entry);
        }
        self.buffer.resize(aligned(self.buffer.len() as u64) as usize, 0);
    }
}

fn make<F: Files>(files: &F, number: u64, bytes: u64) -> io::Result<F::File> {
    let mut file = files.create(number, bytes)?;
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

/// A group's head that checks.
struct Group {
    offset: u64,
    body: std::ops::Range<usize>,
    count: u32,
    synced: u64,
}

impl Group {
    fn at(number: u64, bytes: &[u8], offset: u64) -> Option<Group> {
        let start = usize::try_from(offset).ok()?;
        let head = bytes.get(start..start.checked_add(GROUP_HEAD_BYTES)?)?;
        let u32_at =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if u32_at(16) != group_crc(number, offset, &head[..16]) {
            return None;
        }
        let from = start + GROUP_HEAD_BYTES;
        let to = from.checked_add(u32_at(0) as usize)?;
        if to > bytes.len() {
            return None;
        }
        let synced = u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32;
        Some(Group { offset, body: from..to, count: u32_at(4), synced })
    }

    fn end(&self) -> u64 {
        aligned(self.body.end as u64)
    }
}

fn read_segment(number: u64, bytes: &[u8], start: u64, replay: &mut Replay) {
    // A segment whose head was not written yet holds nothing.
    if bytes.get(..SEGMENT_HEAD_BYTES as usize) != Some(&segment_head(number)) {
        return;
    }
    // How far it had been synced, as its own groups say.
    let groups = groups(number, bytes, start);
    let synced = groups.iter().map(|group| group.synced).max().unwrap_or(0);
    let mut at = start;
    for group in &groups {
        if group.offset > at {
            set_aside(number, bytes, at..group.offset, replay);
        }
        read_group(number, bytes, group, synced, replay);
        at = group.end();
    }
}

/// All groups from `start` on. Behind a group that does not check, only those count that were
/// written after it had been synced.
fn groups(number: u64, bytes: &[u8], start: u64) -> Vec<Group> {
    let mut found: Vec<Group> = Vec::new();
    let mut at = start;
    let mut gap = None;
    while at < bytes.len() as u64 {
        match Group::at(number, bytes, at) {
            Some(group) if gap.is_none_or(|gap| group.synced > gap) => {
                at = group.end();
                gap = None;
                found.push(group);
            }
            _ => {
                gap.get_or_insert(at);
                at += ALIGN;
            }
        }
    }
    found
}

fn read_group(number: u64, bytes: &[u8], group: &Group, synced: u64, replay: &mut Replay) {
    let mut rest = &bytes[group.body.clone()];
    for index in 0..group.count {
        let Some((head, after)) = rest.split_first_chunk::<ENTRY_HEAD_BYTES>() else { break };
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let Some((text, after)) = after.split_at_checked(length) else { break };
        if crc != entry_crc(number, group.offset, index, text) {
            break;
        }
        replay.entries.push(text.to_vec());
        rest = after;
    }
    // The rest of a group that a later one knows to be synced was acknowledged.
    if !rest.is_empty() && synced > group.offset {
        let from = group.end() - aligned(rest.len() as u64).min(group.end());
        let position = Position { number, offset: from.max(group.offset) };
        replay.rotten.push((position, rest.to_vec()));
    }
}

fn set_aside(number: u64, bytes: &[u8], range: std::ops::Range<u64>, replay: &mut Replay) {
    let (from, to) = (range.start as usize, range.end as usize);
    if let Some(rotten) = bytes.get(from..to) {
        replay.rotten.push((Position { number, offset: range.start }, rotten.to_vec()));
    }
}

#[cfg(test)]
mod tests;
