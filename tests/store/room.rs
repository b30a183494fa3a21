//! The store without room: a full disk, a full redb, and the journal's own limit.
//!
//! Owns the proof that nothing accepted is lost then, that what is refused leaves no trace, and
//! that the store goes on by itself when there is room again.

use std::sync::atomic::{AtomicBool, Ordering};

use postrider::store::embedded::journal::{FIRST_SEGMENT_BYTES, SEGMENT_BYTES};

use super::*;
use postrider::store::Records;

/// A redb file that has no room when told so.
#[derive(Clone, Debug)]
struct Tight {
    file: Backend,
    full: Arc<AtomicBool>,
    /// What is not cached can't be read after redb failed.
    unreadable: Arc<AtomicBool>,
}

impl redb::StorageBackend for Tight {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        if self.unreadable.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.file.write(offset, data)
    }
}

struct Room {
    store: Inline,
    disk: Disk,
    redb_full: Arc<AtomicBool>,
    tight: Tight,
    settings: Settings,
    next: u64,
}

const LANE: u32 = 1;

impl Room {
    fn new(settings: Settings) -> Room {
        let redb_full = Arc::new(AtomicBool::new(false));
        let file = Backend(Arc::new(redb::backends::InMemoryBackend::new()));
        let unreadable = Arc::default();
        let tight = Tight { file, full: Arc::clone(&redb_full), unreadable };
        let disk = Disk::default();
        let store = open(&tight, &disk, settings);
        Room { store, disk, redb_full, tight, settings, next: 0 }
    }

    /// As after a kill.
    fn reopen(self) -> Room {
        let Room { store, disk, redb_full, tight, settings, next } = self;
        drop(store);
        let store = open(&tight, &disk, settings);
        Room { store, disk, redb_full, tight, settings, next }
    }

    /// Publishes an event of so many bytes, with one delivery.
    fn publish(&mut self, bytes: usize) -> Result<Pending, String> {
        self.next += 2;
        let mut event = Event::clone(&event(self.next, 0));
        event.data = vec![b' '; bytes];
        let row = pending(LANE, self.next, Seq(event.id.seq.0 + 1), event.id.seq, 0);
        let ops = vec![Op::PutEvent(Arc::new(event)), Op::Enqueue(row)];
        commit_with(&self.store, Vec::new(), ops).map(|()| row)
    }

    fn deliver(&self, row: Pending) -> Result<(), String> {
        let next = Next::Finished(row.finished(Ending::Delivered, row.key.due));
        let op = Op::Settle { queue: row.queue(), key: row.key, next, attempt: Some(attempt(1)) };
        commit_with(&self.store, Vec::new(), vec![op])
    }

    fn pending(&self) -> Vec<Seq> {
        let lane = WebhookId::new(LANE).expect("an id");
        let page = self.store.due(lane, Queue::Fresh, None, 100_000).expect("reads");
        page.rows.iter().map(|row| row.key.seq).collect()
    }

    fn journal_bytes(&self) -> u64 {
        use postrider::store::embedded::journal::files::Files;
        self.disk.list().expect("lists").iter().map(|(_, bytes)| bytes).sum()
    }

    /// Trims until nothing more can go.
    fn trim(&self) {
        for _ in 0..1_000 {
            self.store.look().expect("looks");
        }
    }
}

fn open(tight: &Tight, disk: &Disk, settings: Settings) -> Inline {
    let tight = tight.clone();
    Inline::open_on(move || tight.clone(), disk.clone(), vault(1, &[]), settings).expect("opens")
}

const FULL: &str = "the disk is full, or [store] size_max is reached by pending deliveries";

#[test]
fn a_full_disk_refuses_events_settles_and_goes_on() {
    let mut room = Room::new(settings());
    let kept: Vec<Pending> = (0..5).map(|_| room.publish(100_000).expect("has room")).collect();
    room.disk.set_full(true);
    // What has its room already is not refused for long: the next look at the disk says so.
    room.store.look().expect("looks");
    assert_eq!(room.publish(10).expect_err("there is no room"), FULL);
    assert!(room.store.stats().expect("reads").is_full);
    // What settles finds room in the segment.
    room.deliver(kept[0]).expect("settles");
    room = room.reopen_full();
    let want: Vec<Seq> = kept[1..].iter().map(|row| row.key.seq).collect();
    assert_eq!(room.pending(), want);
    assert!(room.store.finished(kept[0].key.seq).expect("reads").is_some());
    room.store.look().expect("looks");
    let after = room.publish(10).expect("there is room again");
    assert_eq!(room.pending().last(), Some(&after.key.seq));
    let read = room.store.event(kept[1].event).expect("reads").expect("is there");
    assert_eq!(read.data.len(), 100_000);
}

impl Room {
    /// A start on a full disk fails, and leaves everything as it was; with room it goes.
    fn reopen_full(self) -> Room {
        let Room { store, disk, redb_full, tight, settings, next } = self;
        drop(store);
        let again = tight.clone();
        let opened = Inline::open_on(move || again.clone(), disk.clone(), vault(1, &[]), settings);
        assert!(matches!(opened, Err(OpenError::Prepare(_))), "no room for a segment");
        disk.set_full(false);
        let store = open(&tight, &disk, settings);
        Room { store, disk, redb_full, tight, settings, next }
    }
}

#[test]
fn a_low_disk_keeps_attempts_without_their_answers() {
    let mut room = Room::new(settings());
    let logged = |room: &Room, row: Pending| {
        room.store.attempts(row.key.seq).expect("reads").pop().expect("is in the log")
    };
    let plenty = room.publish(10).expect("has room");
    room.deliver(plenty).expect("settles");
    room.disk.set_free_bytes(settings().log_free_bytes_min - 1);
    room.store.look().expect("looks");
    // Events are still taken.
    let low = room.publish(10).expect("has room");
    room.deliver(low).expect("settles");
    assert!(!room.store.stats().expect("reads").is_full);
    room.disk.set_free_bytes(settings().log_free_bytes_min);
    room.store.look().expect("looks");
    let again = room.publish(10).expect("has room");
    room.deliver(again).expect("settles");
    let room = room.reopen();
    assert_eq!(logged(&room, plenty), attempt(1));
    assert_eq!(logged(&room, again), attempt(1));
    let bare = logged(&room, low);
    assert_eq!(bare, attempt(1).without_response(Extent::LowDisk));
    let kept = bare.response.expect("says what is missing");
    assert_eq!((kept.headers_extent, kept.body_extent), (Extent::LowDisk, Extent::LowDisk));
    assert_eq!(kept.size_bytes(), 0);
}

#[test]
fn a_segment_that_finds_no_room_refuses_the_event_that_wanted_it() {
    let mut room = Room::new(settings());
    let first = room.publish(FIRST_SEGMENT_BYTES as usize / 2).expect("has room");
    room.disk.set_full(true);
    let big = FIRST_SEGMENT_BYTES as usize;
    assert_eq!(room.publish(big).expect_err("there is no room"), FULL);
    room.deliver(first).expect("settles");
    room.disk.set_full(false);
    room.store.look().expect("looks");
    room.publish(big).expect("there is room again");
    assert_eq!(room.pending().len(), 1);
}

#[test]
fn a_redb_without_room_is_opened_again_and_nothing_is_lost() {
    let mut room = Room::new(settings());
    let mut want = Vec::new();
    for round in 0..3 {
        let row = room.publish(100).expect("has room");
        want.push(row.key.seq);
        room.redb_full.store(true, Ordering::Relaxed);
        room.store.checkpoint().expect("a full disk is no failure");
        assert_eq!(room.publish(10).expect_err("there is no room"), FULL, "round {round}");
        // Reads go on, from memory.
        assert_eq!(room.pending(), want);
        let hook = webhook(1, "file.uploaded", "http://a.example/", 1);
        let refused = commit_with(&room.store, Vec::new(), vec![Op::PutWebhook(hook)]);
        assert_eq!(refused.expect_err("goes to redb"), FULL);
        if round == 1 {
            // Killed while it is full: the journal has it all.
            room.redb_full.store(false, Ordering::Relaxed);
            room = room.reopen();
        }
        room.redb_full.store(false, Ordering::Relaxed);
        room.store.look().expect("looks");
        want.push(room.publish(10).expect("there is room again").key.seq);
        room.store.checkpoint().expect("writes");
        assert_eq!(room.pending(), want);
    }
}

/// The outcome of an attempt whose row stands in redb alone waits for redb, and so does all that is
/// settled with it: no part is written, and none is lost.
#[test]
fn settlements_wait_for_a_redb_that_can_t_be_read() {
    // Without a cache, redb reads what it is asked for.
    let mut room = Room::new(Settings { cache_bytes: 0, ..settings() });
    let in_redb = room.publish(100).expect("has room");
    let event = room.publish(100).expect("has room");
    // After a start redb has the rows, and has read none of them yet.
    room.store.checkpoint().expect("writes");
    room = room.reopen();
    let in_memory = room.publish(100).expect("has room");
    room.redb_full.store(true, Ordering::Relaxed);
    room.tight.unreadable.store(true, Ordering::Relaxed);
    room.store.checkpoint().expect("a full disk is no failure");
    let settle = |row: Pending| {
        let next = Next::Finished(row.finished(Ending::Delivered, row.key.due));
        Op::Settle { queue: row.queue(), key: row.key, next, attempt: None }
    };
    let ops = vec![settle(in_memory), settle(in_redb)];
    let (sender, told) = mpsc::channel();
    let batch = Batch { expect: Vec::new(), ops, durability: Durability::Soon };
    room.store.commit(batch, Box::new(move |result| sender.send(result).expect("the test waits")));
    let early = told.try_recv();
    assert!(early.is_err(), "neither done nor refused: {early:?}");
    room.redb_full.store(false, Ordering::Relaxed);
    room.tight.unreadable.store(false, Ordering::Relaxed);
    room.store.look().expect("looks");
    told.try_recv().expect("is told now").expect("is written");
    assert_eq!(room.pending(), [event.key.seq]);
    for row in [in_memory, in_redb] {
        assert!(room.store.finished(row.key.seq).expect("reads").is_some());
    }
    room = room.reopen();
    assert_eq!(room.pending(), [event.key.seq]);
}

/// The limit is a few segments here, so that a test can fill it.
fn small() -> Settings {
    Settings { journal_bytes_max: 4 * SEGMENT_BYTES, ..settings() }
}

#[test]
fn the_journal_is_trimmed_to_its_limit_and_the_oldest_go_first() {
    let mut room = Room::new(small());
    let mut rows = Vec::new();
    for _ in 0..300 {
        let row = room.publish(1_000_000).expect("has room");
        room.deliver(row).expect("settles");
        rows.push(row);
        room.store.look().expect("looks");
    }
    room.trim();
    assert!(room.journal_bytes() <= 4 * SEGMENT_BYTES, "{}", room.journal_bytes());
    let kept = |row: &Pending| room.store.event(row.event).expect("reads").is_some();
    let first = rows.iter().position(kept).expect("the newest are kept");
    assert!(first > 100 && first < 290, "{first}");
    assert!(rows[first..].iter().all(kept), "what is newer is kept too");
    // The log goes with its events, and no further.
    assert!(room.store.finished(rows[0].key.seq).expect("reads").is_none());
    let last = rows.last().expect("published");
    assert_eq!(room.store.attempts(last.key.seq).expect("reads").len(), 1);
}

#[test]
fn a_few_that_are_still_needed_do_not_keep_their_segment() {
    let mut room = Room::new(small());
    let mut needed = Vec::new();
    for n in 0..300 {
        let row = room.publish(1_000_000).expect("has room");
        if n % 60 == 0 {
            needed.push(row);
        } else {
            room.deliver(row).expect("settles");
        }
        room.store.look().expect("looks");
    }
    room.trim();
    assert!(room.journal_bytes() <= 4 * SEGMENT_BYTES, "{}", room.journal_bytes());
    let room = room.reopen();
    assert_eq!(room.pending(), needed.iter().map(|row| row.key.seq).collect::<Vec<_>>());
    for row in needed {
        let event = room.store.event(row.event).expect("reads").expect("is kept");
        assert_eq!((event.id.seq, event.data.len()), (row.event, 1_000_000));
    }
}

#[test]
fn pending_deliveries_alone_can_fill_the_store_and_none_is_lost() {
    let mut room = Room::new(small());
    let mut accepted = Vec::new();
    let refused = loop {
        match room.publish(1_000_000) {
            Ok(row) => accepted.push(row),
            Err(error) => break error,
        }
        assert!(accepted.len() < 1_000, "the limit holds");
        room.store.look().expect("looks");
    };
    assert_eq!(refused, FULL);
    assert_eq!(room.pending(), accepted.iter().map(|row| row.key.seq).collect::<Vec<_>>());
    for row in &accepted {
        assert!(room.store.event(row.event).expect("reads").is_some());
        room.deliver(*row).expect("settles");
    }
    room.trim();
    room.publish(1_000_000).expect("there is room again");
}

#[test]
fn a_flood_of_events_waits_for_the_checkpoint() {
    let entries_max = 10;
    let mut room = Room::new(Settings { overlay_entries_max: entries_max, ..settings() });
    for _ in 0..200 {
        if room.store.is_heavy() {
            // It stays under way until somebody waits for it.
            room.store.begin_checkpoint().expect("begins");
        }
        room.publish(10).expect("has room");
        // An event with one delivery is five entries, its segment's included; one comes before
        // somebody waits, and one after.
        assert!(room.store.entries() <= entries_max + 2 * 5);
    }
    assert_eq!(room.pending().len(), 200);
}
