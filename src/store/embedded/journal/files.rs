//! Files of the journal: the little that it needs of a file system.
//!
//! Owns the seam at which a test puts a disk that loses and tears writes, and the real one. Must
//! never leave a name unsynced: a segment that is used after a crash has to be found.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A folder of numbered segments.
pub trait Files: Send {
    /// An open segment.
    type File: SegmentFile;

    /// All segments with their sizes, by number.
    fn list(&self) -> io::Result<Vec<(u64, u64)>>;

    /// Makes a segment of `bytes` zeros; it and its name are durable when this returns.
    fn create(&self, number: u64, bytes: u64) -> io::Result<Self::File>;

    /// Opens a segment.
    fn open(&self, number: u64) -> io::Result<Self::File>;

    /// Gives a segment another number, durably.
    fn rename(&self, from: u64, to: u64) -> io::Result<()>;

    /// Removes a segment; durable some time later.
    fn remove(&self, number: u64) -> io::Result<()>;
}

/// An open segment.
pub trait SegmentFile: Send {
    /// All of it.
    fn read(&mut self) -> io::Result<Vec<u8>>;

    /// Overwrites a part; durable after the next sync.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all writes so far durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder on a real disk.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

const ENDING: &str = ".segment";
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

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
    type File = File;

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

    fn create(&self, number: u64, bytes: u64) -> io::Result<File> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.name(number))?;
        let mut left = bytes;
        while left > 0 {
            let part = left.min(ZEROS.len() as u64);
            file.write_all(&ZEROS[..part as usize])?;
            left -= part;
        }
        file.sync_all()?;
        self.sync()?;
        Ok(file)
    }

    fn open(&self, number: u64) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.name(number))
    }

    fn rename(&self, from: u64, to: u64) -> io::Result<()> {
        std::fs::rename(self.name(from), self.name(to))?;
        self.sync()
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        std::fs::remove_file(self.name(number))
    }
}

impl SegmentFile for File {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Seek::rewind(self)?;
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
