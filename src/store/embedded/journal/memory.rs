//! A folder of segments in memory that behaves as badly as a disk may.
//!
//! Owns the difference between written and synced. Must never be more reliable than a real disk:
//! when the power is cut, any 64-byte piece of an unsynced write may be lost. For tests and
//! simulations; a store on it is gone with the process.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::files::{Files, SegmentFile};

/// Free bytes of a disk that nobody has filled.
const FREE_BYTES_DEFAULT: u64 = 1 << 40;

/// A disk in memory: what was synced, and what was written since.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    synced: BTreeMap<u64, Vec<u8>>,
    written: BTreeMap<u64, Vec<(usize, Vec<u8>)>>,
    lies: bool,
    full: bool,
    free_bytes: Option<u64>,
}

impl Disk {
    /// From now on, syncs do nothing.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    /// From now on, they do again.
    pub fn tell_the_truth(&self) {
        self.state().lies = false;
    }

    /// From now on there is no room for another segment, or again.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// From now on it says that so many bytes are free, unless it is full.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.state().free_bytes = Some(bytes);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes: of each unsynced write some 64-byte pieces survive, by `chance`.
    pub fn cut(&self, mut chance: impl FnMut() -> bool) {
        let mut state = self.state();
        let written = std::mem::take(&mut state.written);
        for (number, writes) in written {
            let Some(file) = state.synced.get_mut(&number) else { continue };
            for (offset, bytes) in writes {
                for (i, piece) in bytes.chunks(64).enumerate() {
                    if chance() {
                        let at = offset + i * 64;
                        file[at..at + piece.len()].copy_from_slice(piece);
                    }
                }
            }
        }
    }

    /// A bit of a synced byte flips.
    pub fn flip(&self, number: u64, byte: usize) {
        let mut state = self.state();
        if let Some(byte) = state.synced.get_mut(&number).and_then(|file| file.get_mut(byte)) {
            *byte ^= 1;
        }
    }
}

/// An open segment of a [`Disk`].
#[derive(Debug)]
pub struct Handle(Disk, u64);

impl Files for Disk {
    fn list(&self) -> io::Result<Vec<(u64, u64)>> {
        let state = self.state();
        Ok(state.synced.iter().map(|(number, file)| (*number, file.len() as u64)).collect())
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.state();
        if state.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.synced.insert(number, vec![0; bytes as usize]);
        state.written.remove(&number);
        Ok(Box::new(Handle(self.clone(), number)))
    }

    fn open(&self, number: u64) -> io::Result<Box<dyn SegmentFile>> {
        if !self.state().synced.contains_key(&number) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(Handle(self.clone(), number)))
    }

    fn rename(&self, from: u64, to: u64) -> io::Result<()> {
        let mut state = self.state();
        let file = state.synced.remove(&from).ok_or(io::ErrorKind::NotFound)?;
        state.synced.insert(to, file);
        if let Some(written) = state.written.remove(&from) {
            state.written.insert(to, written);
        }
        Ok(())
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        let mut state = self.state();
        state.synced.remove(&number);
        state.written.remove(&number);
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(if state.full { 0 } else { state.free_bytes.unwrap_or(FREE_BYTES_DEFAULT) })
    }
}

impl SegmentFile for Handle {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let state = self.0.state();
        let file = state.synced.get(&self.1).ok_or(io::ErrorKind::NotFound)?;
        let from = file.len().min(offset as usize);
        let length = bytes.len().min(file.len() - from);
        bytes[..length].copy_from_slice(&file[from..from + length]);
        for (at, written) in state.written.get(&self.1).into_iter().flatten() {
            // The part of this write that lies in what was asked for.
            let (start, end) = ((*at).max(from), (at + written.len()).min(from + length));
            if start < end {
                bytes[start - from..end - from].copy_from_slice(&written[start - at..end - at]);
            }
        }
        Ok(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.state();
        state.written.entry(self.1).or_default().push((offset as usize, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state();
        if state.lies {
            return Ok(());
        }
        for (offset, written) in state.written.remove(&self.1).unwrap_or_default() {
            let file = state.synced.get_mut(&self.1).ok_or(io::ErrorKind::NotFound)?;
            file[offset..offset + written.len()].copy_from_slice(&written);
        }
        Ok(())
    }
}
