//! Where segments are kept: a folder on a disk, or whatever a test puts in its place.
//!
//! Owns names, sizes and syncs. Must never know what stands in a segment.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A folder of segments.
pub trait Files: Send + Sync + 'static {
    /// Numbers and sizes in bytes, in order.
    fn list(&self) -> io::Result<Vec<(u64, u64)>>;

    /// Makes a segment of `bytes` zeros, with its room on the disk; durable when this returns.
    fn create(&self, number: u64, bytes: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Opens a segment.
    fn open(&self, number: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Gives a segment another number, durably.
    fn rename(&self, from: u64, to: u64) -> io::Result<()>;

    /// Removes a segment; durable some time later.
    fn remove(&self, number: u64) -> io::Result<()>;

    /// Bytes that may still be written to this disk.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open segment.
pub trait SegmentFile: Send + Sync {
    /// Reads from `offset` on, and says how many bytes: fewer only at the end.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Overwrites a part; durable after the next sync.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all writes so far durable.
    fn sync(&self) -> io::Result<()>;
}

/// A folder on a real disk.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

const ENDING: &str = ".segment";

impl Folder {
    /// The folder `path`, made if it is not there.
    pub fn open(path: &Path) -> io::Result<Folder> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Folder { path: path.to_owned() })
    }

    fn name(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}{ENDING}"))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Files for Folder {
    fn list(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            if let Some(number) = number.and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
                found.push((number, entry.metadata()?.len()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.name(number))?;
        let made = allocate(&file, bytes).and_then(|()| file.sync_all()).and_then(|()| self.sync());
        if let Err(error) = made {
            // A segment without its room is of no use; what is left of it is removed at a start.
            let _ = self.remove(number);
            return Err(error);
        }
        Ok(Box::new(file))
    }

    fn open(&self, number: u64) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(self.name(number))?))
    }

    fn rename(&self, from: u64, to: u64) -> io::Result<()> {
        std::fs::rename(self.name(from), self.name(to))?;
        self.sync()
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        std::fs::remove_file(self.name(number))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// Gives a file its room. Where the file system has no such call, the file is only made so long:
/// a full disk is met by a later write then.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(bytes),
        done => Ok(done?),
    }
}

impl SegmentFile for File {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match FileExt::read_at(self, &mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
