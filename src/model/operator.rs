//! The operator's own records: tokens, and what was set for targets while running.
//!
//! Owns what one record of the store holds for the operator. Must never hold a token itself: what
//! is kept is its hash.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ids::ProjectId;
use super::target::Origin;
use super::time::Wall;

/// Most operator tokens at once.
pub const OPERATOR_TOKENS_MAX: usize = 64;
/// Most targets that have settings of their own.
pub const TARGET_SETTINGS_MAX: usize = 4_096;

/// Most removed projects whose ids are remembered.
pub const REMOVED_PROJECTS_MAX: usize = 10_000;

/// All that is kept for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Tokens by which the operator is known over HTTP.
    pub tokens: Vec<OperatorToken>,
    /// The number of the last token that was made: a revoked one's is not given again.
    pub token_id_max: u32,
    /// What was set for single targets. It stands before the configuration, field by field.
    pub targets: BTreeMap<Origin, TargetSettings>,
    /// Ids of projects that were removed: events of theirs may still be kept, so no other project
    /// gets such an id. The lowest are forgotten first.
    pub removed_projects: BTreeSet<ProjectId>,
}

/// A token of the operator. The token itself is shown once and not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorToken {
    /// Its number.
    pub id: u32,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// When it was made.
    pub created: Wall,
}

/// What the operator set for one target while the daemon ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSettings {
    /// Attempts a second.
    pub rate_per_second: Option<u32>,
    /// Attempts at once after a quiet time.
    pub burst: Option<u32>,
    /// Attempts under way at once.
    pub in_flight: Option<u32>,
    /// Since when nothing is sent to it.
    pub paused_since: Option<Wall>,
    /// Milliseconds spent paused before that. It is never forgotten: deadlines are extended by what
    /// was added since they were set.
    pub paused_total_ms: u64,
}

impl TargetSettings {
    /// All time spent paused up to `now`, in milliseconds.
    #[must_use]
    pub fn paused_ms(&self, now: Wall) -> u64 {
        self.paused_total_ms + self.paused_since.map_or(0, |since| now.since(since))
    }
}

impl Operator {
    /// What was set for a target.
    #[must_use]
    pub fn target(&self, origin: &Origin) -> TargetSettings {
        self.targets.get(origin).copied().unwrap_or_default()
    }
}
