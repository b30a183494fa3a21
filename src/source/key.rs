//! The key by which an event that comes twice is accepted once.
//!
//! Owns how a key is made of what a source says of an event, and for how long it holds. Must never
//! mix two sources' keys, nor a source's with a publisher's own: the engine puts the source's name
//! before it.

use sha2::{Digest, Sha256};

use crate::logic::sign::hex;
use crate::model::event::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::model::time::{HOUR_MS, MINUTE_MS};

/// How long a key that names one event holds, in milliseconds.
pub const KEY_WINDOW_MS: u64 = 72 * HOUR_MS;
/// How long a key that is but a hash of the body holds, in milliseconds: the same body may well
/// mean another event later.
pub const REPEAT_WINDOW_MS: u64 = 10 * MINUTE_MS;

/// An event's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// What it is made of, at most 255 bytes of visible ASCII.
    pub text: String,
    /// How long it holds, in milliseconds.
    pub window_ms: u64,
}

impl Key {
    /// A key of what the source says, its parts joined by `|`.
    pub(super) fn of(parts: &[&str]) -> Key {
        let text = parts.join("|");
        let plain = text.len() <= IDEMPOTENCY_KEY_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        let text = if plain { text } else { hash(text.as_bytes()) };
        Key { text, window_ms: KEY_WINDOW_MS }
    }

    /// A key of a body that says nothing of itself; `part` tells its events apart.
    pub(super) fn of_body(body: &[u8], part: &str) -> Key {
        Key { text: format!("{}|{part}", hash(body)), window_ms: REPEAT_WINDOW_MS }
    }
}

fn hash(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}
