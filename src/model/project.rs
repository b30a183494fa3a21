//! Projects: who owns webhooks and events, and the keys that prove it.
//!
//! Owns the project record and the forms of its keys. Must never compare a key outside `Secret`.

use super::ids::ProjectId;
use super::secret::Secret;
use super::time::Wall;

/// Longest project name, in characters.
pub const NAME_CHARS_MAX: usize = 128;
/// Longest public or secret key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// Most secret keys that a project holds at once.
pub const SECRET_KEYS_MAX: usize = 8;

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its integer id.
    pub id: ProjectId,
    /// What people call it.
    pub name: String,
    /// The key that names it in requests, unique.
    pub public_key: String,
    /// The keys that prove it, each unique across projects.
    pub secret_keys: Vec<Secret>,
    /// When it was made.
    pub created: Wall,
    /// What its owner chose.
    pub settings: ProjectSettings,
    /// Tokens by which other systems may bring events in.
    pub intake_tokens: Vec<IntakeToken>,
}

/// Most intake tokens that a project holds at once.
pub const INTAKE_TOKENS_MAX: usize = 64;

/// A token by which another system may bring events in, and nothing else. The token itself is
/// shown once and not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeToken {
    /// Its number within the project.
    pub id: u32,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// What the requests that it lets in are signed with, where their source signs.
    pub secret: Option<Secret>,
    /// When it was made.
    pub created: Wall,
}

/// A project's own choices.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProjectSettings {
    /// Base URL of the CDN that file URLs are made with, where a source gives none.
    pub cdn_base: Option<String>,
    /// Shown as `autostore_enabled` by `GET /project/`.
    pub auto_store: bool,
    /// A closed list of event names; `None` lets any be published.
    pub event_types: Option<Vec<String>>,
    /// Networks (CIDR) and hosts that the address check lets through for this project.
    pub allow: Vec<String>,
}

/// Whether a text can be a public or secret key: visible ASCII without `:` (which parts the two
/// in `Uploadcare.Simple`), at most [`KEY_BYTES_MAX`] bytes.
#[must_use]
pub fn key_is_sound(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= KEY_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}
