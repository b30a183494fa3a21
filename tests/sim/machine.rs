//! A machine that fails: the embedded store without threads on a bad disk, driven by the seed.
//!
//! Owns when checkpoints begin and end, when the disk is looked at, when it is full or slow, and
//! when the power goes or the process dies. Must never call a dead process back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postrider::logic::batch::Batch;
use postrider::model::delivery::{Finished, Queue, QueueKey};
use postrider::model::event::Event;
use postrider::model::ids::{Seq, WebhookId, mix};
use postrider::model::time::{HOUR_MS, MINUTE_MS, SECOND_MS, Wall};
use postrider::store::embedded::Settings;
use postrider::store::embedded::inline::Inline;
use postrider::store::embedded::vault::{Key, Vault};
use postrider::store::{
    CommitError, Done, Layered, Page, ReadError, Records, Stats, Store, UpkeepDone,
};

use super::bad_disk::{BadDisk, Fault};
use super::disk::{DISK_MS, Medium};
use super::mirror::Mirror;

/// Changes of the disk within which an armed fault happens.
const FAULT_CHANGES_MAX: u64 = 60;
/// The journal's smallest limit: one segment that a large request needs must not fill it alone.
const JOURNAL_BYTES_MIN: u64 = 256 * 1024;
/// Faults that one start meets at most.
const START_FAULTS_MAX: u32 = 3;
/// Steps of trimming after which the journal must have its size.
const TRIM_STEPS_MAX: u32 = 1_000;
/// What stays of a journal that nothing needs: its limit, the spare, the current segment and what
/// is kept to be used again.
const SPARE_SEGMENTS_MAX: u64 = 3;

/// The machine.
pub struct Machine {
    disk: BadDisk,
    store: Option<Arc<Guarded>>,
    mirror: Arc<Mutex<Mirror>>,
    settings: Settings,
    chance: u64,
    faults: bool,
    /// The disk was full, and what failed for it is not made good yet.
    was_full: bool,
    /// When the next of each is due.
    checkpoint_ms: u64,
    look_ms: u64,
    fault_ms: u64,
    full_ms: u64,
    slow_ms: u64,
    disk_ms: u64,
    marks: BTreeSet<&'static str>,
}

impl Machine {
    pub fn new(seed: u64) -> Machine {
        let mut machine = Machine {
            disk: BadDisk::new(mix(seed ^ 0xd15c)),
            store: None,
            mirror: Arc::default(),
            settings: Settings { cache_bytes: 1024 * 1024, ..Settings::default() },
            chance: mix(seed ^ 0x3ac41e),
            faults: true,
            was_full: false,
            checkpoint_ms: 0,
            look_ms: 0,
            fault_ms: MINUTE_MS,
            full_ms: MINUTE_MS,
            slow_ms: 0,
            disk_ms: DISK_MS,
            marks: BTreeSet::new(),
        };
        machine.settings.segment_bytes = (8 * 1024) << machine.draw(4);
        let segments = 6 + machine.draw(16);
        if machine.draw(3) > 0 {
            let bytes = segments * machine.settings.segment_bytes;
            machine.settings.journal_bytes_max = bytes.max(JOURNAL_BYTES_MIN);
        }
        machine.settings.overlay_entries_max = [100, 1_000, 60_000][machine.draw(3) as usize];
        machine
    }

    /// One whose disk says that it synced, and did not.
    pub fn lying(seed: u64) -> Machine {
        let machine = Machine::new(seed);
        machine.disk.lie();
        machine
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.chance) % below
    }

    /// Whether `at_ms` has come, and if so, when it does again.
    fn is_due(&mut self, at_ms: u64, now_ms: u64, gap_ms_max: u64) -> Option<u64> {
        (now_ms >= at_ms).then(|| now_ms + 1 + self.draw(gap_ms_max))
    }

    fn start(&mut self) -> Arc<dyn Store> {
        self.store = None;
        let mut faults = 0;
        loop {
            self.disk.start();
            if self.faults && faults < START_FAULTS_MAX && self.draw(3) == 0 {
                let fault = self.some_fault();
                let changes = self.draw(FAULT_CHANGES_MAX);
                self.disk.arm(changes, fault);
            }
            if let Some(inline) = self.open_once() {
                self.lock().compare(&inline);
                let (disk, mirror) = (self.disk.clone(), Arc::clone(&self.mirror));
                let store = Arc::new(Guarded { inline, disk, mirror });
                self.store = Some(Arc::clone(&store));
                return store;
            }
            faults += 1;
        }
    }

    fn open_once(&mut self) -> Option<Inline> {
        let disk = self.disk.clone();
        let vault = Vault::new(Key::new([1; 32]), Vec::new());
        let opened = Inline::open_on(move || disk.redb(), self.disk.folder(), vault, self.settings);
        let error = match opened {
            Ok(store) => return Some(store),
            Err(error) => error,
        };
        if self.disk.down().is_some() {
            self.marks.insert("a start that was cut off");
        } else if self.disk.is_full() {
            self.marks.insert("a start on a full disk");
            self.disk.set_full(false);
        } else {
            assert!(self.disk.had_error(), "can't be opened: {error}");
            self.marks.insert("a start that met an error");
        }
        self.disk.end(Fault::Kill);
        None
    }

    fn some_fault(&mut self) -> Fault {
        match self.draw(8) {
            0 => Fault::Kill,
            1 => Fault::Error,
            _ => Fault::Power,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> Arc<Guarded> {
        Arc::clone(self.store.as_ref().expect("is open"))
    }

    /// Something goes wrong: at once, or at one of the next changes.
    fn fail(&mut self) {
        let fault = self.some_fault();
        if fault != Fault::Error && self.draw(4) == 0 {
            self.disk.end(fault);
        } else {
            let changes = self.draw(FAULT_CHANGES_MAX);
            self.disk.arm(changes, fault);
        }
    }

    fn checkpoint(&mut self) {
        let store = self.store();
        // A failure is told to whoever commits next.
        let _ = if store.inline.is_frozen() {
            store.inline.checkpoint()
        } else {
            store.inline.begin_checkpoint()
        };
    }

    /// What waits in memory has a limit, but for what settles while the disk is full.
    fn lighten(&mut self) {
        let store = self.store();
        if !store.inline.is_heavy() {
            return;
        }
        self.marks.insert("a checkpoint before its time");
        // One may be under way.
        let made = store.inline.checkpoint().and_then(|()| store.inline.checkpoint());
        let changes = store.inline.changes();
        let is_full = store.inline.stats().is_ok_and(|stats| stats.is_full);
        assert!(made.is_err() || is_full || changes == 0, "{changes} changes in memory");
    }

    fn look(&mut self) {
        let is_over = self.disk.journal_bytes() > self.settings.journal_bytes_max;
        let store = self.store();
        let is_held = store.inline.held() > 0;
        if is_held {
            self.marks.insert("a settlement was held for want of room");
        }
        let opened = self.disk.opened();
        // What was held may take the journal over its limit, and that is trimmed in the same look.
        let trims = store.inline.look().unwrap_or(is_held);
        if is_over || trims {
            self.lock().is_trimmed = true;
            self.marks.insert("the journal was trimmed");
        }
        let is_full = store.inline.stats().map_or(true, |stats| stats.is_full);
        self.was_full = self.disk.is_full() || (self.was_full && is_full);
        if self.disk.opened() > opened {
            self.marks.insert("redb was opened again when there was room");
        }
    }
}

impl Medium for Machine {
    fn trimmed(&self, seq: Seq) -> Option<Finished> {
        let mirror = self.lock();
        mirror.finished(seq).filter(|_| mirror.is_trimmed)
    }

    fn open(&mut self) -> Arc<dyn Store> {
        let faults = std::mem::replace(&mut self.faults, false);
        let store = self.start();
        self.faults = faults;
        store
    }

    fn reopen(&mut self) -> Arc<dyn Store> {
        let is_frozen = self.store.as_ref().is_some_and(|store| store.inline.is_frozen());
        if self.disk.down().is_none() {
            let fault = if self.faults && self.draw(2) == 0 { Fault::Power } else { Fault::Kill };
            self.disk.end(fault);
        }
        if is_frozen && self.disk.down() == Some(Fault::Power) {
            self.marks.insert("the power went while a checkpoint was under way");
        }
        self.start()
    }

    fn is_prompt(&self) -> bool {
        true
    }

    fn turn(&mut self, now_ms: u64) {
        self.lighten();
        if let Some(at) = self.is_due(self.checkpoint_ms, now_ms, 3 * MINUTE_MS) {
            self.checkpoint_ms = at;
            self.checkpoint();
        }
        if let Some(at) = self.is_due(self.look_ms, now_ms, 2 * MINUTE_MS) {
            self.look_ms = at;
            self.look();
        }
        if !self.faults {
            return;
        }
        if let Some(at) = self.is_due(self.slow_ms, now_ms, 2 * HOUR_MS) {
            self.slow_ms = at;
            self.disk_ms = if self.draw(4) == 0 { 1 + self.draw(3 * SECOND_MS) } else { DISK_MS };
        }
        if let Some(at) = self.is_due(self.full_ms, now_ms, 3 * HOUR_MS) {
            let full = !self.disk.is_full();
            self.full_ms = if full { now_ms + self.draw(20 * MINUTE_MS) } else { at };
            self.was_full |= full;
            self.disk.set_full(full);
        }
        if let Some(at) = self.is_due(self.fault_ms, now_ms, 3 * HOUR_MS) {
            self.fault_ms = at;
            self.fail();
        }
    }

    fn gives_up(&mut self) -> bool {
        self.marks.insert("a process ended because its store could not write");
        self.disk.end(Fault::Kill);
        self.disk.had_error()
    }

    fn may_refuse_reads(&self) -> bool {
        self.was_full || self.disk.had_error()
    }

    fn is_down(&self) -> bool {
        self.disk.down().is_some()
    }

    fn off_ms(&mut self) -> u64 {
        self.draw(MINUTE_MS)
    }

    fn disk_ms(&self) -> u64 {
        self.disk_ms
    }

    fn set_faults(&mut self, on: bool) {
        self.faults = on;
        if !on {
            self.disk.disarm();
            self.disk.set_full(false);
            self.disk_ms = DISK_MS;
        }
    }

    fn is_bad(&self) -> bool {
        true
    }

    fn judge(&mut self) {
        let store = self.store();
        for _ in 0..TRIM_STEPS_MAX {
            store.inline.look().expect("nothing fails any more");
            store.inline.checkpoint().expect("nothing fails any more");
        }
        assert_eq!(store.inline.held(), 0);
        let Settings { journal_bytes_max, segment_bytes, .. } = self.settings;
        let bytes = self.disk.journal_bytes();
        let bytes_max = journal_bytes_max.saturating_add(SPARE_SEGMENTS_MAX * segment_bytes);
        assert!(bytes <= bytes_max, "a journal of {bytes} bytes that nothing needs");
        let stats = store.inline.stats().expect("reads");
        assert_eq!((stats.quarantined, stats.is_full), (0, false));
        self.lock().forget_compared();
        self.disk.end(Fault::Power);
        self.start();
    }

    fn cuts(&self) -> u64 {
        self.disk.cuts()
    }

    fn marks(&self) -> BTreeSet<&'static str> {
        let parts = [self.marks.clone(), self.lock().marks.clone(), self.disk.marks()];
        parts.into_iter().flatten().collect()
    }
}

/// The store as the process sees it: a dead one is called back no more.
struct Guarded {
    inline: Inline,
    disk: BadDisk,
    mirror: Arc<Mutex<Mirror>>,
}

impl Layered for Guarded {
    fn records(&self) -> &dyn Records {
        &self.inline
    }
}

impl Store for Guarded {
    fn commit(&self, batch: Batch, done: Done) {
        let (disk, mirror, copy) = (self.disk.clone(), Arc::clone(&self.mirror), batch.clone());
        let called = move |result: Result<(), CommitError>| {
            let mut mirror = mirror.lock().unwrap_or_else(PoisonError::into_inner);
            mirror.called_back(copy, &result);
            drop(mirror);
            if disk.down().is_none() {
                done(result);
            }
        };
        self.inline.commit(batch, Box::new(called));
    }

    fn upkeep(&self, keep_since: Wall, rows_max: usize, done: UpkeepDone) {
        let (disk, mirror) = (self.disk.clone(), Arc::clone(&self.mirror));
        let called = move |result: Result<_, CommitError>| {
            let mut mirror = mirror.lock().unwrap_or_else(PoisonError::into_inner);
            mirror.swept(rows_max, &result);
            drop(mirror);
            if disk.down().is_none() {
                done(result);
            }
        };
        self.inline.upkeep(keep_since, rows_max, Box::new(called));
    }

    fn due(
        &self,
        webhook: WebhookId,
        queue: Queue,
        after: Option<QueueKey>,
        rows_max: usize,
    ) -> Result<Page, ReadError> {
        self.inline.due(webhook, queue, after, rows_max)
    }

    fn event(&self, seq: Seq) -> Result<Option<Arc<Event>>, ReadError> {
        self.inline.event(seq)
    }

    fn stats(&self) -> Result<Stats, ReadError> {
        self.inline.stats()
    }

    fn close(&self) {
        self.inline.close();
    }
}
