//! UUIDs for files whose source has other ids.
//!
//! Owns how they derive. Must never draw one: the same file has the same UUID in each of its events.

use sha1::{Digest, Sha1};

use crate::logic::sign::hex;

/// RFC 9562's namespace of URLs.
const NAMESPACE_URL: [u8; 16] = [
    0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8,
];

/// The UUID (version 5) of a URL.
pub(super) fn of_url(url: &str) -> String {
    let digest = Sha1::new().chain_update(NAMESPACE_URL).chain_update(url).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    hyphenated(&hex(&bytes))
}

/// An id of 32 hexadecimal digits as 8-4-4-4-12.
pub(super) fn of_digits(id: &str) -> Option<String> {
    let sound = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    sound.then(|| hyphenated(&id.to_ascii_lowercase()))
}

fn hyphenated(digits: &str) -> String {
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // Python: uuid.uuid5(uuid.NAMESPACE_URL, "http://www.example.com/")
        let want = "fcde3c85-2270-590f-9e7c-ee003d65e0e2";
        assert_eq!(of_url("http://www.example.com/"), want);
        let id = of_digits("5D892c228ec8d0451dfec588697e8930");
        assert_eq!(id.as_deref(), Some("5d892c22-8ec8-d045-1dfe-c588697e8930"));
        assert_eq!(of_digits("5d892c228ec8d0451dfec588697e893"), None);
        assert_eq!(of_digits("é892c228ec8d0451dfec588697e8930"), None);
    }
}
