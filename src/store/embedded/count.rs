//! How many bytes the store has written: a count at its own file layer.
//!
//! Owns the wrappers around redb's backend and the journal's folder that count. Must never change
//! what is written, or hold anything up: what was asked for is passed on as it is.
//!
//! Counted is what was handed to the system with success: pages of redb, groups and heads of
//! segments, and the zeros that segments are filled with. Names and lengths of files are not.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{BackendError, StorageBackend};

use super::journal::files::{Files, SegmentFile};

/// Bytes written so far; clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct Written(Arc<AtomicU64>);

impl Written {
    /// The count.
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Something whose writes are counted: a backend, a folder or an open segment.
#[derive(Debug)]
pub(super) struct Counted<T> {
    inner: T,
    written: Written,
}

impl<T> Counted<T> {
    /// Counts what is written to `inner`.
    pub(super) fn new(inner: T, written: &Written) -> Counted<T> {
        Counted { inner, written: written.clone() }
    }
}

impl<B: StorageBackend> StorageBackend for Counted<B> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)?;
        self.written.add(data.len() as u64);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

impl<F: Files> Files for Counted<F> {
    type File = Counted<F::File>;

    fn list(&self) -> io::Result<Vec<(u64, u64)>> {
        self.inner.list()
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<Self::File> {
        let file = self.inner.create(number, bytes)?;
        self.written.add(bytes);
        Ok(Counted::new(file, &self.written))
    }

    fn open(&self, number: u64) -> io::Result<Self::File> {
        Ok(Counted::new(self.inner.open(number)?, &self.written))
    }

    fn rename(&self, from: u64, to: u64) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.inner.remove(number)
    }
}

impl<S: SegmentFile> SegmentFile for Counted<S> {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.inner.read()
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, bytes)?;
        self.written.add(bytes.len() as u64);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.inner.sync()
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::super::journal::memory::Disk;
    use super::*;

    #[test]
    fn pages_groups_and_prefill_count() {
        let written = Written::default();
        let backend = Counted::new(InMemoryBackend::new(), &written);
        backend.set_len(8_192).expect("grows");
        assert_eq!(written.bytes(), 0);
        backend.write(0, &[1; 4_096]).expect("writes");
        assert_eq!(written.bytes(), 4_096);
        let files = Counted::new(Disk::default(), &written);
        let mut file = files.create(1, 1_000).expect("makes");
        assert_eq!(written.bytes(), 4_096 + 1_000);
        file.write_at(10, &[2; 20]).expect("writes");
        files.open(1).expect("opens").write_at(30, &[2; 7]).expect("writes");
        assert_eq!(written.bytes(), 4_096 + 1_000 + 20 + 7);
    }

    #[test]
    fn a_write_that_failed_does_not_count() {
        #[derive(Debug)]
        struct Full;
        impl StorageBackend for Full {
            fn len(&self) -> io::Result<u64> {
                Ok(0)
            }
            fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
                Ok(())
            }
            fn set_len(&self, _: u64) -> io::Result<()> {
                Ok(())
            }
            fn sync_data(&self) -> io::Result<()> {
                Ok(())
            }
            fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        let written = Written::default();
        assert!(Counted::new(Full, &written).write(0, &[0; 9]).is_err());
        assert_eq!(written.bytes(), 0);
    }
}
