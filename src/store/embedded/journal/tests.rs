//! The journal on a disk that tears and loses writes, rots, and is full.

use std::convert::Infallible;

use proptest::prelude::*;

use super::memory::Disk;
use super::*;

#[derive(Debug)]
struct Never;

impl From<io::Error> for Never {
    fn from(error: io::Error) -> Never {
        unreachable!("this disk reads: {error}")
    }
}

impl From<Infallible> for Never {
    fn from(never: Infallible) -> Never {
        match never {}
    }
}

fn read(disk: &Disk, from: Position) -> (Vec<Vec<u8>>, Vec<Rot>) {
    let mut texts = Vec::new();
    let rotten = replay::<Never>(disk, from, &mut |entry| {
        texts.push(entry.text);
        Ok(())
    });
    (texts, rotten.expect("reads"))
}

fn begin(disk: &Disk) -> Journal {
    Journal::begin(Arc::new(disk.clone()), SEGMENT_BYTES).expect("begins")
}

fn entries(seed: u64, count: usize, bytes: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| vec![(seed as usize + n) as u8; bytes + n]).collect()
}

fn put(journal: &mut Journal, texts: &[Vec<u8>]) -> io::Result<Vec<Place>> {
    journal.group(texts.len(), texts.iter().map(Vec::len).sum())?;
    let mut places = Vec::new();
    for text in texts {
        journal.entry();
        let from = journal.text().len();
        journal.text().extend_from_slice(text);
        places.push(journal.place(from));
        journal.end_entry();
    }
    Ok(places)
}

fn append(journal: &mut Journal, texts: &[Vec<u8>]) -> Vec<Place> {
    let places = put(journal, texts).expect("has room");
    journal.commit().expect("commits");
    places
}

#[test]
fn what_was_appended_is_read_back_across_segments() {
    let disk = Disk::default();
    let mut journal = begin(&disk);
    let from = journal.position();
    let (mut want, mut places) = (Vec::new(), Vec::new());
    for n in 0..200 {
        let group = entries(n, 3, 200_000);
        places.extend(append(&mut journal, &group));
        want.extend(group);
    }
    assert!(journal.position().number > from.number + 1);
    let (texts, rotten) = read(&disk, from);
    assert!(texts == want);
    assert!(rotten.is_empty());
    for (place, text) in places.iter().zip(&want) {
        let file = disk.open(place.number).expect("is there");
        assert!(place_bytes(&*file, place).expect("reads").as_ref() == Some(text));
        let stray = Place { offset: place.offset - 1, ..*place };
        assert!(place_bytes(&*file, &stray).expect("reads").is_none());
    }
}

#[test]
fn a_group_larger_than_a_segment_gets_its_own() {
    let disk = Disk::default();
    let mut journal = begin(&disk);
    let from = journal.position();
    append(&mut journal, &entries(1, 1, 600_000));
    let spare = journal.spare_order().expect("is wanted").make().expect("has room");
    journal.take_spare(spare).expect("is taken");
    append(&mut journal, &[vec![7; SEGMENT_BYTES as usize + 5]]);
    append(&mut journal, &entries(1, 1, 10));
    assert_eq!(read(&disk, from).0.len(), 3);
}

#[test]
fn segments_are_used_again_and_their_earlier_life_is_not_read() {
    let disk = Disk::default();
    let mut journal = begin(&disk);
    for round in 0..12 {
        for n in 0..10 {
            append(&mut journal, &entries(n, 1, 4 * 1024 * 1024));
            if let Some(order) = journal.spare_order() {
                journal.take_spare(order.make().expect("has room")).expect("is taken");
            }
        }
        let position = journal.position();
        assert!(read(&disk, position).0.is_empty(), "round {round}");
        let older: Vec<u64> = journal.older().collect();
        for number in older {
            journal.release(number).expect("lets go");
        }
        let files = disk.list().expect("lists");
        assert!(files.len() <= 3, "one in use, one spare, one to be used again");
        assert_eq!(journal.bytes(), files.iter().map(|(_, bytes)| bytes).sum::<u64>());
    }
}

#[test]
fn a_full_disk_is_met_before_anything_is_changed() {
    let disk = Disk::default();
    let mut journal = begin(&disk);
    let from = journal.position();
    append(&mut journal, &entries(1, 1, 600_000));
    disk.set_full(true);
    let at = journal.position();
    let error = put(&mut journal, &entries(2, 1, 600_000)).expect_err("there is no room");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(journal.position(), at);
    // What is smaller still has its room.
    append(&mut journal, &entries(3, 1, 1_000));
    disk.set_full(false);
    append(&mut journal, &entries(4, 1, 600_000));
    assert_eq!(read(&disk, from).0.len(), 3);
}

#[test]
fn rot_below_what_was_synced_is_set_aside_and_the_rest_is_read() {
    let disk = Disk::default();
    let mut journal = begin(&disk);
    let from = journal.position();
    let mut starts = Vec::new();
    for n in 0..5 {
        starts.push(journal.position().offset as usize);
        append(&mut journal, &entries(n, 2, 100));
    }
    // In the head of the second group, and in the last entry of the fourth.
    disk.flip(from.number, starts[1] + 3);
    disk.flip(from.number, starts[3] + 200);
    let (texts, rotten) = read(&disk, from);
    assert_eq!(texts.len(), 10 - 2 - 1);
    assert_eq!(rotten.len(), 2);
    assert_eq!(rotten[0].at.offset, starts[1] as u64);
    // The last group's rot can't be told from a torn write: nothing is known to be synced after.
    disk.flip(from.number, starts[4] + 3);
    let (texts, rotten) = read(&disk, from);
    // So neither is the entry of the fourth any more.
    assert_eq!((texts.len(), rotten.len()), (5, 1));
}

/// The suite above would notice a disk that says it synced and did not.
#[test]
fn a_lying_disk_is_caught() {
    let disk = Disk::default();
    let mut journal = begin(&disk);
    let from = journal.position();
    disk.lie();
    append(&mut journal, &entries(1, 3, 500));
    disk.cut(|| false);
    assert!(read(&disk, from).0.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Power cuts: whatever was appended is read back, what was under way is whole or absent, and
    /// nothing else is there.
    #[test]
    fn nothing_synced_is_lost(
        groups in proptest::collection::vec((1..5usize, 0..3_000usize), 1..20),
        last in (1..5usize, 0..3_000usize),
        survives in proptest::collection::vec(any::<bool>(), 64),
    ) {
        let disk = Disk::default();
        let mut journal = begin(&disk);
        let from = journal.position();
        let mut want = Vec::new();
        for (n, (count, bytes)) in (0..).zip(&groups) {
            let group = entries(n, *count, *bytes);
            append(&mut journal, &group);
            want.extend(group);
        }
        // A last group is written, and the power goes in place of its sync.
        let unsynced = entries(99, last.0, last.1);
        disk.lie();
        append(&mut journal, &unsynced);
        let mut chance = survives.iter().cycle();
        disk.cut(|| *chance.next().expect("endless"));
        disk.tell_the_truth();
        let (texts, rotten) = read(&disk, from);
        prop_assert!(rotten.is_empty());
        prop_assert_eq!(&texts[..want.len()], &want[..]);
        prop_assert!(unsynced.starts_with(&texts[want.len()..]));
        // The next start goes on in a segment of its own.
        let mut next = begin(&disk);
        let from = next.position();
        append(&mut next, &entries(5, 2, 50));
        prop_assert_eq!(read(&disk, from).0, entries(5, 2, 50));
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..4_096)) {
        let disk = Disk::default();
        let file = disk.create(1, 8_192).expect("has room");
        file.write_at(0, &segment_head(1)).expect("writes");
        file.write_at(first_group(), &bytes).expect("writes");
        read(&disk, Position { number: 1, offset: first_group() });
    }
}
