//! Fresh keys and ids: what is made from chance alone.
//!
//! Owns their forms. Must never be called below this floor: there, chance is an argument.

use crate::clock;
use crate::logic::sign;
use crate::model::draft::ProjectDraft;
use crate::model::ids::{ProjectId, alnum_id};
use crate::model::project::ProjectSettings;
use crate::model::secret::Secret;

/// Bytes of a public or secret key of a project, written as twice as many hexadecimal digits.
const PROJECT_KEY_BYTES: usize = 10;
/// Bytes of an operator token, written so too.
const OPERATOR_TOKEN_BYTES: usize = 24;

/// A project with fresh keys.
#[must_use]
pub fn project(id: Option<ProjectId>, name: &str) -> ProjectDraft {
    ProjectDraft {
        id,
        name: name.to_owned(),
        public_key: hex::<PROJECT_KEY_BYTES>(),
        secret_keys: vec![secret_key()],
        settings: ProjectSettings::default(),
    }
}

/// What signs the deliveries of a JSON:API webhook: `whsec-` and 22 letters and digits.
#[must_use]
pub fn signing_secret() -> Secret {
    let mut bytes = [0; 16];
    clock::fill_random(&mut bytes);
    Secret::new(alnum_id("whsec-", u128::from_be_bytes(bytes)))
}

/// What signs the deliveries of any other webhook: 32 hexadecimal digits. They are strict base64 of
/// 24 bytes as well, so every scheme and library takes them as they are.
#[must_use]
pub fn long_signing_secret() -> Secret {
    Secret::new(hex::<16>())
}

/// A secret key of a project.
#[must_use]
pub fn secret_key() -> Secret {
    Secret::new(hex::<PROJECT_KEY_BYTES>())
}

/// A token of the operator.
#[must_use]
pub fn operator_token() -> Secret {
    Secret::new(format!("op_{}", hex::<OPERATOR_TOKEN_BYTES>()))
}

/// Random bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex<const N: usize>() -> String {
    let mut bytes = [0; N];
    clock::fill_random(&mut bytes);
    sign::hex(&bytes)
}

/// A random UUID (version 4 of RFC 9562).
#[must_use]
pub fn uuid() -> String {
    uuid_of(clock::random_u128())
}

fn uuid_of(bits: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let digits = sign::hex(&bits.to_be_bytes());
    let mut out = String::with_capacity(digits.len() + 4);
    for (place, group) in [0..8, 8..12, 12..16, 16..20, 20..32].into_iter().enumerate() {
        out.push_str(if place == 0 { "" } else { "-" });
        out.push_str(&digits[group]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_of_version_4() {
        assert_eq!(uuid_of(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid_of(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_ne!(uuid(), uuid());
    }
}
