//! What a damaged disk may hand back: records, and segments of the journal.
//!
//! Owns inputs that are made of valid records in code, so that no corpus has to follow the format.
//! Hostile bytes are an error, never a panic, and nothing is read that was not written.

use std::io;
use std::sync::{Arc, OnceLock};

use postrider::source::native;
use postrider::store::embedded::journal::files::Files;
use postrider::store::embedded::journal::memory::Disk;
use postrider::store::embedded::journal::{self, Entry, Journal, Position, replay};
use postrider::store::embedded::rewritten;

use super::forms::{LIMITS, stored};

/// The first byte chooses the type. If `~` is next, the rest are patches of a sound record, as for
/// [`journal`]. Whatever can be read is written in a form that reads as it.
pub(super) fn record(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let body = match body.strip_prefix(b"~") {
        Some(patches) => patched(sound_record(*kind), patches),
        None => body.to_vec(),
    };
    if let Some(again) = rewritten(*kind, &body) {
        assert_eq!(rewritten(*kind, &again).as_ref(), Some(&again));
    }
}

/// An event, or an entry of the journal with one; the other types are found soon enough.
fn sound_record(kind: u8) -> &'static [u8] {
    static SOUND: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let [entry, event] = SOUND.get_or_init(|| {
        let event = br#"{"event":"order.paid","data":{"order":7},"initiator":{"a":1}}"#;
        let read = native::read(None, Some("key"), event, LIMITS, None).expect("sound");
        let event = read.events.into_iter().next().map(stored).expect("it is one");
        let event = postcard::to_stdvec(&event).expect("memory takes it");
        // Version 2, one write, of the first type.
        let length = u32::try_from(event.len()).expect("it is short").to_le_bytes();
        [[&[2, 1], length.as_slice(), &event].concat(), event]
    });
    match kind % 9 {
        0 => entry,
        1 => event,
        _ => &[],
    }
}

/// Bytes of the segment that is damaged: enough for the groups below.
const SEGMENT_BYTES: usize = 1_024;
const ENTRIES: [&[&[u8]]; 4] = [&[b"one", b"", b"three"], &[&[7; 300]], &[b"x"], &[b"last", b"!"]];

/// A sound segment, and where its first group is.
fn sound() -> &'static (Vec<u8>, Position) {
    static SOUND: OnceLock<(Vec<u8>, Position)> = OnceLock::new();
    SOUND.get_or_init(|| {
        let disk = Disk::default();
        let mut journal = Journal::begin(Arc::new(disk.clone()), journal::SEGMENT_BYTES)
            .expect("memory takes it");
        let from = journal.position();
        for group in ENTRIES {
            let bytes = group.iter().map(|entry| entry.len()).sum();
            journal.group(group.len(), bytes).expect("memory takes it");
            for entry in group {
                journal.entry();
                journal.text().extend_from_slice(entry);
                journal.end_entry();
            }
            journal.commit().expect("memory takes it");
        }
        let mut bytes = vec![0; SEGMENT_BYTES];
        let file = disk.open(from.number).expect("it is there");
        assert_eq!(file.read_at(0, &mut bytes).expect("memory is readable"), SEGMENT_BYTES);
        (bytes, from)
    })
}

/// Patches of a sound segment: offset (2 bytes), length (1), so many bytes. If the first byte is
/// `!`, the rest is a segment of its own.
pub(super) fn journal(data: &[u8]) {
    let (sound, from) = sound();
    let bytes = match data.strip_prefix(b"!") {
        Some(own) => own.to_vec(),
        None => patched(sound, data),
    };
    let disk = Disk::default();
    let file = disk.create(from.number, bytes.len() as u64).expect("memory takes it");
    file.write_at(0, &bytes).and_then(|()| file.sync()).expect("memory takes it");
    let mut written = ENTRIES.iter().copied().flatten();
    let rotten = replay::<io::Error>(&disk, *from, &mut |entry| {
        let sums = [sound, &bytes].map(|segment| checksum(segment, &entry));
        // What brings its own checksum along is forged, not damaged: no checksum tells.
        let is_forged = sums[0] != sums[1];
        let is_next = is_forged || written.any(|own| *own == entry.text);
        assert!(is_next, "it was not written, or not after the last one");
        Ok(())
    });
    let rotten = rotten.expect("memory is readable");
    let rotten: usize = rotten.iter().map(|rot| rot.bytes.len()).sum();
    assert!(rotten <= bytes.len(), "{rotten} bytes are set aside of {}", bytes.len());
}

/// The checksum that stands before an entry's text.
fn checksum<'a>(segment: &'a [u8], entry: &Entry) -> Option<&'a [u8]> {
    let at = usize::try_from(entry.at.offset).ok()?;
    segment.get(at.checked_sub(4)?..at)
}

fn patched(sound: &[u8], patches: &[u8]) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    let mut rest = patches;
    while let ([high, low, length, after @ ..], false) = (rest, sound.is_empty()) {
        let (patch, next) = after.split_at(after.len().min(usize::from(*length)));
        let at = usize::from(u16::from_be_bytes([*high, *low])) % sound.len();
        let patch = &patch[..patch.len().min(sound.len() - at)];
        bytes[at..at + patch.len()].copy_from_slice(patch);
        rest = next;
    }
    bytes
}
