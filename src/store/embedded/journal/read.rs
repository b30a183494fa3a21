//! Reading segments: after a crash all that lies behind a position, otherwise single places.
//!
//! Owns the judgement of what is torn and what is rot. Must never return bytes whose checksum does
//! not fit, and never hold more of a segment in memory than one group and a window.

use std::io;

use super::files::{Files, SegmentFile};
use super::{
    ALIGN, ENTRY_HEAD_BYTES, GROUP_HEAD_BYTES, Place, Position, SEGMENT_HEAD_BYTES, aligned,
    entry_crc, first_group, group_crc, segment_head,
};

/// Bytes that are read at once in search of groups.
const WINDOW_BYTES: usize = 256 * 1024;
/// Bytes that are kept of one rotten part.
const ROT_BYTES_MAX: u64 = 1024 * 1024;
/// Rotten parts that are kept of one segment; of more, only the first are.
const ROTS_MAX: usize = 1_000;

/// An entry that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where its text begins.
    pub at: Position,
    /// Its text.
    pub text: Vec<u8>,
    /// If it is the last of its group: where the next group begins.
    pub group_end: Option<Position>,
}

/// Bytes that were acknowledged once and can't be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Rot {
    /// Where.
    pub at: Position,
    /// What is there, up to a limit.
    pub bytes: Vec<u8>,
}

/// Reads what lies at or behind `from`, in order. Entries go to `sink`; what is rotten is
/// returned.
///
/// A process that was killed between a write and its sync leaves a last group that is read, and
/// would be gone after a power cut. So that nothing comes to point there before it is durable, the
/// last group of each segment is written anew and synced: after a sync that failed, the system may
/// hold it for clean.
pub fn replay<E: From<io::Error>>(
    files: &dyn Files,
    from: Position,
    sink: &mut dyn FnMut(Entry) -> Result<(), E>,
) -> Result<Vec<Rot>, E> {
    let mut rotten = Vec::new();
    for (number, bytes) in files.list()? {
        if number >= from.number {
            let start = if number == from.number { from.offset } else { first_group() };
            let file = files.open(number)?;
            let segment = Segment { number, bytes, file: &*file };
            segment.read(start, sink, &mut rotten)?;
        }
    }
    Ok(rotten)
}

/// The bytes at a place; `None` if they are not those that were written there.
pub fn place_bytes(file: &dyn SegmentFile, place: &Place) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; place.length as usize];
    let read = file.read_at(place.offset, &mut bytes)?;
    let sound = read == bytes.len() && crc32c::crc32c(&bytes) == place.crc;
    Ok(sound.then_some(bytes))
}

/// A segment that is being read.
struct Segment<'a> {
    number: u64,
    bytes: u64,
    file: &'a dyn SegmentFile,
}

/// A group's head that checks.
struct Group {
    offset: u64,
    body_bytes: u32,
    count: u32,
    synced: u64,
}

impl Group {
    fn end(&self) -> u64 {
        aligned(self.offset + GROUP_HEAD_BYTES as u64 + u64::from(self.body_bytes))
    }
}

/// A part of a segment, for small reads one after the other.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Segment<'_> {
    fn read<E: From<io::Error>>(
        &self,
        start: u64,
        sink: &mut dyn FnMut(Entry) -> Result<(), E>,
        rotten: &mut Vec<Rot>,
    ) -> Result<(), E> {
        let mut head = [0; SEGMENT_HEAD_BYTES as usize];
        let read = self.file.read_at(0, &mut head)?;
        // A segment whose head was not written yet holds nothing.
        if read < head.len() || head[..] != segment_head(self.number) {
            return Ok(());
        }
        // How far it had been synced, as its own groups say.
        let groups = self.groups(start)?;
        if let Some(last) = groups.last() {
            self.make_durable(last)?;
        }
        let synced = groups.iter().map(|group| group.synced).max().unwrap_or(0);
        let mut at = start;
        for group in &groups {
            if group.offset > at {
                self.set_aside(at..group.offset, rotten)?;
            }
            self.read_group(group, synced, sink, rotten)?;
            at = group.end();
        }
        Ok(())
    }

    fn make_durable(&self, group: &Group) -> io::Result<()> {
        let mut bytes = vec![0; GROUP_HEAD_BYTES + group.body_bytes as usize];
        let read = self.file.read_at(group.offset, &mut bytes)?;
        self.file.write_at(group.offset, &bytes[..read])?;
        self.file.sync()
    }

    /// All groups from `start` on. Behind a group that does not check, only those count that were
    /// written after it had been synced.
    fn groups(&self, start: u64) -> io::Result<Vec<Group>> {
        let mut found: Vec<Group> = Vec::new();
        let mut window = Window::default();
        let mut at = start;
        let mut gap = None;
        while at < self.bytes {
            match self.group(&mut window, at)? {
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
        Ok(found)
    }

    fn group(&self, window: &mut Window, offset: u64) -> io::Result<Option<Group>> {
        let Some(head) = window.slice(self.file, offset, GROUP_HEAD_BYTES)? else {
            return Ok(None);
        };
        let u32_at =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if u32_at(16) != group_crc(self.number, offset, &head[..16]) {
            return Ok(None);
        }
        let synced = u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32;
        let group = Group { offset, body_bytes: u32_at(0), count: u32_at(4), synced };
        let end = offset + GROUP_HEAD_BYTES as u64 + u64::from(group.body_bytes);
        Ok((end <= self.bytes).then_some(group))
    }

    fn read_group<E: From<io::Error>>(
        &self,
        group: &Group,
        synced: u64,
        sink: &mut dyn FnMut(Entry) -> Result<(), E>,
        rotten: &mut Vec<Rot>,
    ) -> Result<(), E> {
        // Its length was checked, and lies within the segment.
        let mut body = vec![0; group.body_bytes as usize];
        let from = group.offset + GROUP_HEAD_BYTES as u64;
        let read = self.file.read_at(from, &mut body)?;
        body.truncate(read);
        let mut rest = &body[..];
        for index in 0..group.count {
            let Some((head, after)) = rest.split_first_chunk::<ENTRY_HEAD_BYTES>() else { break };
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            let Some((text, after)) = after.split_at_checked(length) else { break };
            if crc != entry_crc(self.number, group.offset, index, text) {
                break;
            }
            let offset = from + (body.len() - after.len() - length) as u64;
            let at = Position { number: self.number, offset };
            let group_end = (index + 1 == group.count)
                .then(|| Position { number: self.number, offset: group.end() });
            sink(Entry { at, text: text.to_vec(), group_end })?;
            rest = after;
        }
        // The rest of a group that a later one knows to be synced was acknowledged.
        if !rest.is_empty() && synced > group.offset {
            let start = from + (body.len() - rest.len()) as u64;
            self.set_aside(start..from + body.len() as u64, rotten)?;
        }
        Ok(())
    }

    fn set_aside(&self, range: std::ops::Range<u64>, rotten: &mut Vec<Rot>) -> io::Result<()> {
        if rotten.len() < ROTS_MAX {
            let length = (range.end - range.start).min(ROT_BYTES_MAX);
            let mut bytes = vec![0; length as usize];
            let read = self.file.read_at(range.start, &mut bytes)?;
            bytes.truncate(read);
            rotten.push(Rot { at: Position { number: self.number, offset: range.start }, bytes });
        }
        Ok(())
    }
}

impl Window {
    /// Some bytes of the segment; `None` beyond its end.
    fn slice(
        &mut self,
        file: &dyn SegmentFile,
        offset: u64,
        length: usize,
    ) -> io::Result<Option<&[u8]>> {
        let end = offset + length as u64;
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            self.bytes.resize(WINDOW_BYTES.max(length), 0);
            let read = file.read_at(offset, &mut self.bytes)?;
            self.bytes.truncate(read);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(self.bytes.get(from..from + length))
    }
}
