//! One simulated disk under both redb and the journal, as bad as a real one may be.
//!
//! Owns the difference between written and durable, and the faults: power that goes at any write,
//! a process that dies there, errors, no room, syncs that do nothing. Must never be more reliable
//! than a disk whose unit is a sector of 512 bytes, and never draw chance in an order that redb
//! chooses.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postrider::model::ids::mix;
use postrider::store::embedded::journal::files::{Files, SegmentFile};

const SECTOR_BYTES: usize = 512;
/// What a file system gives room in.
const BLOCK_BYTES: u64 = 4_096;
/// Free bytes of a disk that nobody has filled.
const FREE_BYTES: u64 = 1 << 40;
/// The errno of an input/output error.
const EIO: i32 = 5;

/// What happens at a chosen change of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: what is not durable is lost or torn.
    Power,
    /// The process dies; the system keeps what it wrote.
    Kill,
    /// The disk reports an error.
    Error,
}

/// The disk; clones are the same one.
#[derive(Clone, Debug)]
pub struct BadDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    redb: File,
    segments: BTreeMap<u64, File>,
    /// Removed, which is durable only after the next change of names.
    removed: BTreeMap<u64, File>,
    /// Processes that were started; handles of older ones are dead.
    process: u64,
    /// What ended the process: nothing is written until the next one.
    down: Option<Fault>,
    /// After how many more changes what happens.
    armed: Option<(u64, Fault)>,
    /// How often redb's file was opened.
    opened: u64,
    /// This process met an error.
    had_error: bool,
    lies: bool,
    full: bool,
    seed: u64,
    cuts: u64,
    marks: BTreeSet<&'static str>,
}

#[derive(Debug, Default)]
struct File {
    durable: Vec<u8>,
    now: Vec<u8>,
    unsynced: Vec<Change>,
    /// Blocks that have their room.
    blocks: BTreeSet<u64>,
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl BadDisk {
    pub fn new(seed: u64) -> BadDisk {
        BadDisk(Arc::new(Mutex::new(State {
            redb: File::default(),
            segments: BTreeMap::new(),
            removed: BTreeMap::new(),
            process: 0,
            down: None,
            armed: None,
            opened: 0,
            had_error: false,
            lies: false,
            full: false,
            seed,
            cuts: 0,
            marks: BTreeSet::new(),
        })))
    }

    /// After so many changes something happens.
    pub fn arm(&self, changes: u64, fault: Fault) {
        self.state().armed = Some((changes, fault));
    }

    pub fn disarm(&self) {
        self.state().armed = None;
    }

    /// Syncs do nothing from now on, and say that they did.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    pub fn is_full(&self) -> bool {
        self.state().full
    }

    /// What ended the process, if anything did.
    pub fn down(&self) -> Option<Fault> {
        self.state().down
    }

    /// Whether the disk reported an error to this process.
    pub fn had_error(&self) -> bool {
        self.state().had_error
    }

    /// The process ends here, if it has not ended yet.
    pub fn end(&self, fault: Fault) {
        self.state().down.get_or_insert(fault);
    }

    /// The machine or the process starts again.
    pub fn start(&self) {
        let mut state = self.state();
        if state.down == Some(Fault::Power) {
            state.cut();
        }
        state.down = None;
        state.armed = None;
        state.had_error = false;
        state.process += 1;
    }

    pub fn cuts(&self) -> u64 {
        self.state().cuts
    }

    pub fn marks(&self) -> BTreeSet<&'static str> {
        self.state().marks.clone()
    }

    pub fn journal_bytes(&self) -> u64 {
        self.state().segments.values().map(|file| file.now.len() as u64).sum()
    }

    /// redb's file, for the process that runs now.
    pub fn redb(&self) -> Handle {
        let mut state = self.state();
        state.opened += 1;
        Handle { disk: self.clone(), process: state.process, number: None }
    }

    /// How often it was opened.
    pub fn opened(&self) -> u64 {
        self.state().opened
    }

    /// The journal's folder, for the process that runs now.
    pub fn folder(&self) -> Folder {
        Folder { disk: self.clone(), process: self.state().process }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn error() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

impl State {
    fn alive(&self, process: u64) -> io::Result<()> {
        if self.down.is_none() && self.process == process { Ok(()) } else { Err(error()) }
    }

    /// One change of the disk; what is armed may happen at it.
    fn change(&mut self, process: u64) -> Result<(), Option<Fault>> {
        self.alive(process).map_err(|_| None)?;
        match &mut self.armed {
            Some((0, fault)) => {
                let fault = *fault;
                self.armed = None;
                if fault == Fault::Error {
                    self.had_error = true;
                } else {
                    self.down = Some(fault);
                }
                Err(Some(fault))
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn file(&mut self, number: Option<u64>) -> io::Result<&mut File> {
        match number {
            None => Ok(&mut self.redb),
            Some(number) => self.segments.get_mut(&number).ok_or(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(
        &mut self,
        process: u64,
        number: Option<u64>,
        at: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let ended = self.change(process);
        if ended == Err(None) {
            return Err(error());
        }
        let full = self.full;
        let file = self.file(number)?;
        let blocks = at / BLOCK_BYTES..(at + bytes.len() as u64).div_ceil(BLOCK_BYTES);
        if full && blocks.clone().any(|block| !file.blocks.contains(&block)) {
            self.marks.insert("a write that found no room");
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.blocks.extend(blocks);
        let at = at as usize;
        if file.now.len() < at + bytes.len() {
            file.now.resize(at + bytes.len(), 0);
        }
        file.now[at..at + bytes.len()].copy_from_slice(bytes);
        file.unsynced.push(Change::Write(at, bytes.to_vec()));
        ended.map_err(|_| error())
    }

    fn sync(&mut self, process: u64, number: Option<u64>) -> io::Result<()> {
        let ended = self.change(process);
        let (seed, lies) = (self.draw(), self.lies);
        let file = self.file(number)?;
        match ended {
            Ok(()) if lies => Ok(()),
            Ok(()) => {
                file.sync();
                Ok(())
            }
            // What could not be written counts as clean in the system's memory: it is read as
            // written until the power goes. redb would have to survive it alone.
            Err(Some(Fault::Error)) if number.is_some() => {
                let seen = file.now.clone();
                file.lose(seed);
                file.now = seen;
                self.marks.insert("a sync of the journal that failed");
                Err(error())
            }
            Err(_) => Err(error()),
        }
    }

    /// The power is back: what is left?
    fn cut(&mut self) {
        self.cuts += 1;
        let seed = self.draw();
        for (number, file) in std::mem::take(&mut self.removed) {
            if mix(seed ^ number).is_multiple_of(2) {
                self.segments.entry(number).or_insert(file);
                self.marks.insert("a removed segment came back");
            }
        }
        self.redb.lose(seed);
        for (number, file) in &mut self.segments {
            if file.lose(mix(seed ^ number)) {
                self.marks.insert("a write to the journal was torn");
            }
        }
    }

    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.seed)
    }
}

impl File {
    fn with_room(bytes: u64) -> File {
        let zeros = vec![0; bytes as usize];
        let blocks = (0..bytes.div_ceil(BLOCK_BYTES)).collect();
        File { durable: zeros.clone(), now: zeros, unsynced: Vec::new(), blocks }
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Write(at, bytes) => put(&mut self.durable, at, &bytes),
                Change::Length(length) => self.durable.resize(length, 0),
            }
        }
    }

    /// Of what is not durable, each sector is kept or lost. Says whether a write was torn.
    fn lose(&mut self, seed: u64) -> bool {
        let mut torn = false;
        // Now and then all of it, or nothing, is kept.
        let mood = mix(seed) % 4;
        let keeps = |at: usize| match mood {
            0 => false,
            1 => true,
            _ => mix(seed ^ (at / SECTOR_BYTES) as u64).is_multiple_of(2),
        };
        for change in std::mem::take(&mut self.unsynced) {
            let (at, bytes) = match change {
                Change::Write(at, bytes) => (at, bytes),
                Change::Length(length) => {
                    if keeps(length) {
                        self.durable.resize(length, 0);
                    }
                    continue;
                }
            };
            let (mut kept, mut lost) = (false, false);
            let mut from = 0;
            while from < bytes.len() {
                let sector = (at + from) / SECTOR_BYTES * SECTOR_BYTES;
                let to = bytes.len().min(sector + SECTOR_BYTES - at);
                if keeps(sector) {
                    put(&mut self.durable, at + from, &bytes[from..to]);
                    kept = true;
                } else {
                    lost = true;
                }
                from = to;
            }
            torn |= kept && lost;
        }
        self.now.clone_from(&self.durable);
        torn
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// An open file, of one process.
#[derive(Clone, Debug)]
pub struct Handle {
    disk: BadDisk,
    process: u64,
    /// Its segment; `None`: redb.
    number: Option<u64>,
}

impl redb::StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.alive(self.process)?;
        Ok(state.redb.now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        state.alive(self.process)?;
        let at = offset as usize;
        let found = state.redb.now.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change(self.process).map_err(|_| error())?;
        let len = len as usize;
        state.redb.now.resize(len, 0);
        state.redb.unsynced.push(Change::Length(len));
        let blocks_max = (len as u64).div_ceil(BLOCK_BYTES);
        state.redb.blocks.retain(|block| *block < blocks_max);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.state().sync(self.process, None)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.state().write(self.process, None, offset, data)
    }
}

impl SegmentFile for Handle {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.alive(self.process)?;
        let file = state.file(self.number)?;
        let from = file.now.len().min(offset as usize);
        let length = bytes.len().min(file.now.len() - from);
        bytes[..length].copy_from_slice(&file.now[from..from + length]);
        Ok(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.state().write(self.process, self.number, offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.state().sync(self.process, self.number)
    }
}

/// The journal's folder, of one process.
#[derive(Debug)]
pub struct Folder {
    disk: BadDisk,
    process: u64,
}

impl Folder {
    fn handle(&self, number: u64) -> Box<dyn SegmentFile> {
        let (disk, process) = (self.disk.clone(), self.process);
        Box::new(Handle { disk, process, number: Some(number) })
    }
}

impl Files for Folder {
    fn list(&self) -> io::Result<Vec<(u64, u64)>> {
        let state = self.disk.state();
        state.alive(self.process)?;
        Ok(state.segments.iter().map(|(number, file)| (*number, file.now.len() as u64)).collect())
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.disk.state();
        let ended = state.change(self.process);
        if ended == Err(None) {
            return Err(error());
        }
        if ended.is_err() {
            // The name may be there, with none of its room or all of it.
            match state.draw() % 3 {
                0 => {}
                1 => drop(state.segments.insert(number, File::default())),
                _ => drop(state.segments.insert(number, File::with_room(bytes))),
            }
            return Err(error());
        }
        if state.full {
            state.marks.insert("a segment that found no room");
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.removed.clear();
        state.segments.insert(number, File::with_room(bytes));
        Ok(self.handle(number))
    }

    fn open(&self, number: u64) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.disk.state();
        state.alive(self.process)?;
        state.file(Some(number))?;
        Ok(self.handle(number))
    }

    fn rename(&self, from: u64, to: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let ended = state.change(self.process);
        let is_done = match ended {
            Ok(()) => true,
            Err(None) => false,
            Err(Some(_)) => state.draw().is_multiple_of(2),
        };
        if is_done {
            let file = state.segments.remove(&from).ok_or(io::ErrorKind::NotFound)?;
            state.segments.insert(to, file);
            state.removed.clear();
            state.marks.insert("a segment was used again");
        }
        ended.map_err(|_| error())
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change(self.process).map_err(|_| error())?;
        let file = state.segments.remove(&number).ok_or(io::ErrorKind::NotFound)?;
        state.removed.insert(number, file);
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.alive(self.process)?;
        Ok(if state.full { 0 } else { FREE_BYTES })
    }
}
