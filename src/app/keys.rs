//! The keys that secrets are encrypted with at rest.
//!
//! Owns the key file that is made when no key is configured. Must never print a key, and must
//! never replace a key file that is there.
//!
//! The file lies in the data directory, and is not part of what a backup of the store copies: a
//! stolen backup then holds no readable secret, and a restore without the key says so.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::config;
use crate::clock;
use crate::store::embedded::vault::{KEY_BYTES, Key, Vault};

/// The key file's name in the data directory.
pub(crate) const FILE_NAME: &str = "encryption.key";

/// Why there is no key.
#[derive(Debug, Error)]
pub(crate) enum KeyError {
    /// The file can't be read or made.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{}: not a key; it has to hold 64 hexadecimal digits", .0.display())]
    Malformed(PathBuf),
}

/// The ring: the configured keys, then that of the key file, which is made if there is no other.
pub(crate) fn vault(
    directory: &Path,
    configured: &[config::EncryptionKey],
) -> Result<Vault, KeyError> {
    let path = directory.join(FILE_NAME);
    let mut keys: Vec<Key> = configured.iter().map(|key| Key::new(*key.expose())).collect();
    if keys.is_empty() && !path.exists() {
        make(directory, &path).map_err(|source| KeyError::File { path: path.clone(), source })?;
    }
    if path.exists() {
        keys.push(read(&path)?);
    }
    let mut keys = keys.into_iter();
    let first = keys.next().ok_or(KeyError::Malformed(path))?;
    Ok(Vault::new(first, keys.collect()))
}

fn read(path: &Path) -> Result<Key, KeyError> {
    let text = std::fs::read_to_string(path)
        .map(zeroize::Zeroizing::new)
        .map_err(|source| KeyError::File { path: path.to_owned(), source })?;
    unhex(text.trim()).ok_or_else(|| KeyError::Malformed(path.to_owned()))
}

/// Writes a fresh key beside, and links it into place: two that start at once agree on one.
fn make(directory: &Path, path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut key = zeroize::Zeroizing::new([0; KEY_BYTES]);
    clock::fill_random(&mut *key);
    let text: zeroize::Zeroizing<String> =
        zeroize::Zeroizing::new(key.iter().map(|byte| format!("{byte:02x}")).collect());
    let beside = directory.join(format!("{FILE_NAME}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    let linked = match std::fs::hard_link(&beside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    };
    std::fs::remove_file(&beside)?;
    linked?;
    File::open(directory)?.sync_all()
}

fn unhex(text: &str) -> Option<Key> {
    let bytes = text.as_bytes();
    let mut key = [0; KEY_BYTES];
    if bytes.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(bytes.chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(Key::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_kept() {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("postrider-keys-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        vault(&directory, &[]).expect("makes a key");
        let path = directory.join(FILE_NAME);
        let first = std::fs::read(&path).expect("reads");
        let mode = path.metadata().expect("is there").permissions().mode() & 0o777;
        assert_eq!((first.len(), mode), (65, 0o600));
        vault(&directory, &[]).expect("finds it");
        assert_eq!(std::fs::read(&path).expect("reads"), first);
        assert_eq!(std::fs::read_dir(&directory).expect("lists").count(), 1);
        std::fs::write(&path, "not a key").expect("writes");
        assert!(matches!(vault(&directory, &[]), Err(KeyError::Malformed(_))));
        std::fs::remove_dir_all(&directory).expect("cleans up");
    }
}
