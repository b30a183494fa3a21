//! The journal on a disk that tears and loses writes, rots, and is full.

use proptest::prelude::*;

use super::files::SegmentFile;
use super::memory::Disk;
use super::*;

fn entries(seed: u64, count: usize, bytes: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| vec![(seed as usize + n) as u8; bytes + n]).collect()
}

#[test]
fn what_was_appended_is_read_back_across_segments() {
    let disk = Disk::default();
    let mut journal = Journal::begin(disk.clone()).expect("begins");
    let from = journal.position();
    let mut want = Vec::new();
    for n in 0..40 {
        let group = entries(n, 3, 200_000);
        journal.append(&group).expect("appends");
        want.extend(group);
    }
    assert!(journal.position().number > from.number);
    let read = replay(&disk, from).expect("reads");
    assert_eq!(read.entries, want);
    assert!(read.rotten.is_empty());
}

#[test]
fn a_group_larger_than_a_segment_gets_its_own() {
    let disk = Disk::default();
    let mut journal = Journal::begin(disk.clone()).expect("begins");
    let from = journal.position();
    let huge = vec![vec![7; SEGMENT_BYTES as usize + 5]];
    journal.append(&huge).expect("appends");
    journal.append(&entries(1, 1, 10)).expect("appends");
    let read = replay(&disk, from).expect("reads");
    assert_eq!(read.entries.len(), 2);
}

#[test]
fn segments_are_recycled_and_their_earlier_life_is_not_read() {
    let disk = Disk::default();
    let mut journal = Journal::begin(disk.clone()).expect("begins");
    for round in 0..12 {
        for n in 0..10 {
            journal.append(&entries(n, 1, 4 * 1024 * 1024)).expect("appends");
        }
        let position = journal.position();
        assert!(replay(&disk, position).expect("reads").entries.is_empty(), "round {round}");
        journal.checkpointed().expect("frees");
        assert!(disk.list().expect("lists").len() <= 2, "one in use and one spare");
    }
}

#[test]
fn rot_below_what_was_synced_is_set_aside_and_the_rest_is_read() {
    let disk = Disk::default();
    let mut journal = Journal::begin(disk.clone()).expect("begins");
    let from = journal.position();
    let mut starts = Vec::new();
    for n in 0..5 {
        starts.push(journal.position().offset as usize);
        journal.append(&entries(n, 2, 100)).expect("appends");
    }
    // In the head of the second group, and in the last entry of the fourth.
    disk.flip(from.number, starts[1] + 3);
    disk.flip(from.number, starts[3] + 200);
    let read = replay(&disk, from).expect("reads");
    assert_eq!(read.entries.len(), 10 - 2 - 1);
    assert_eq!(read.rotten.len(), 2);
    assert_eq!(read.rotten[0].0.offset, starts[1] as u64);
    // The last group's rot can't be told from a torn write: nothing is known to be synced after.
    disk.flip(from.number, starts[4] + 3);
    let read = replay(&disk, from).expect("reads");
    // So neither is the entry of the fourth any more.
    assert_eq!((read.entries.len(), read.rotten.len()), (5, 1));
}

/// The suite above would notice a disk that says it synced and did not.
#[test]
fn a_lying_disk_is_caught() {
    let disk = Disk::default();
    let mut journal = Journal::begin(disk.clone()).expect("begins");
    let from = journal.position();
    disk.lie();
    journal.append(&entries(1, 3, 500)).expect("appends");
    disk.cut(|| false);
    assert!(replay(&disk, from).expect("reads").entries.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Power cuts: whatever was appended is read back, what was under way is whole or absent, and
    /// nothing else is there.
    #[test]
    fn nothing_synced_is_lost(
        groups in proptest::collection::vec((1..5usize, 0..3_000usize), 1..20),
        last in (1..5usize, 0..3_000usize),
        survives in proptest::collection::vec(any::<bool>(), 64),
    ) {
        let disk = Disk::default();
        let mut journal = Journal::begin(disk.clone()).expect("begins");
        let from = journal.position();
        let mut want = Vec::new();
        for (n, (count, bytes)) in (0..).zip(&groups) {
            let group = entries(n, *count, *bytes);
            journal.append(&group).expect("appends");
            want.extend(group);
        }
        // A last group is written, and the power goes before its sync.
        let unsynced = entries(99, last.0, last.1);
        let body = unsynced.iter().map(|entry| ENTRY_HEAD_BYTES + entry.len()).sum();
        journal.render(&unsynced, body);
        let (at, buffer) = (journal.at, journal.buffer.clone());
        journal.current.write_at(at.offset, &buffer).expect("writes");
        let mut chance = survives.iter().cycle();
        disk.cut(|| *chance.next().expect("endless"));
        let read = replay(&disk, from).expect("reads");
        prop_assert!(read.rotten.is_empty());
        prop_assert_eq!(&read.entries[..want.len()], &want[..]);
        prop_assert!(unsynced.starts_with(&read.entries[want.len()..]));
        // The next start goes on in a segment of its own.
        let mut next = Journal::begin(disk.clone()).expect("begins");
        let from = next.position();
        next.append(&entries(5, 2, 50)).expect("appends");
        prop_assert_eq!(replay(&disk, from).expect("reads").entries, entries(5, 2, 50));
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..4_096)) {
        let mut segment = segment_head(1);
        segment.extend_from_slice(&bytes);
        read_segment(1, &segment, first_group(), &mut Replay::default());
    }
}
