//! Secrets at rest: XChaCha20-Poly1305 under a ring of keys.
//!
//! Owns the sealed form and the keys. Must never write a key or a secret in clear.
//!
//! A sealed secret is `key id (4 bytes) | nonce (24 bytes) | ciphertext and tag`. The key id is the
//! start of the key's SHA-256, so that a ring with several keys knows which one to use. The
//! associated data names the record that the secret belongs to: moved into another record, it does
//! not open. The first key of the ring seals, all open; what another key sealed is sealed anew when
//! the store is opened, after which the old key can be dropped.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::model::secret::Secret;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;

/// A key.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// Takes 32 bytes over.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Key {
        Key(Zeroizing::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    fn id(&self) -> [u8; ID_BYTES] {
        let digest = Sha256::digest(self.0.as_slice());
        [digest[0], digest[1], digest[2], digest[3]]
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A ring of keys.
#[derive(Clone, Debug)]
pub struct Vault {
    first: Key,
    others: Vec<Key>,
}

/// Why a secret can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VaultError {
    /// No key of the ring sealed it.
    #[error(
        "a secret is encrypted with the key {0:08x}, which is not configured; \
         give it in [store] encryption_keys, or restore the key file that belongs to this store"
    )]
    KeyUnknown(u32),
    /// It was changed, or belongs to another record.
    #[error("an encrypted secret is damaged")]
    Damaged,
}

impl Vault {
    /// A ring: `first` seals, all open.
    #[must_use]
    pub fn new(first: Key, others: Vec<Key>) -> Vault {
        Vault { first, others }
    }

    /// Seals a secret for the record named by `context`.
    pub fn seal(
        &self,
        context: &[u8],
        secret: &Secret,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, VaultError> {
        let payload = Payload { msg: secret.expose().as_bytes(), aad: context };
        let sealed = cipher(&self.first)
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| VaultError::Damaged)?;
        Ok([self.first.id().as_slice(), &nonce, &sealed].concat())
    }

    /// Opens a secret, and says whether another key than the first had sealed it.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<(Secret, bool), VaultError> {
        let (id, rest) = sealed.split_first_chunk::<ID_BYTES>().ok_or(VaultError::Damaged)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Damaged)?;
        let key = std::iter::once(&self.first)
            .chain(&self.others)
            .find(|key| key.id() == *id)
            .ok_or(VaultError::KeyUnknown(u32::from_be_bytes(*id)))?;
        let clear = cipher(key)
            .decrypt(&XNonce::from(*nonce), Payload { msg: text, aad: context })
            .map_err(|_| VaultError::Damaged)?;
        let text = String::from_utf8(clear).map_err(|_| VaultError::Damaged)?;
        Ok((Secret::new(text), *id != self.first.id()))
    }
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.0.as_slice().try_into().expect("a key is 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let old = Vault::new(Key::new([1; 32]), Vec::new());
        let ring = Vault::new(Key::new([2; 32]), vec![Key::new([1; 32])]);
        let secret = Secret::new("canary".to_owned());
        let mut sealed = old.seal(b"webhook 1", &secret, [9; 24]).expect("seals");
        assert!(!sealed.windows(6).any(|part| part == b"canary"));
        assert_eq!(ring.open(b"webhook 1", &sealed), Ok((secret.clone(), true)));
        assert_eq!(ring.open(b"webhook 2", &sealed), Err(VaultError::Damaged));
        let newer = ring.seal(b"webhook 1", &secret, [9; 24]).expect("seals");
        assert_eq!(ring.open(b"webhook 1", &newer), Ok((secret, false)));
        assert!(matches!(old.open(b"webhook 1", &newer), Err(VaultError::KeyUnknown(_))));
        *sealed.last_mut().expect("not empty") ^= 1;
        assert_eq!(ring.open(b"webhook 1", &sealed), Err(VaultError::Damaged));
        assert_eq!(ring.open(b"webhook 1", &sealed[..20]), Err(VaultError::Damaged));
    }
}
