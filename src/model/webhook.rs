//! Webhooks: one subscription each, and what its owner may set.
//!
//! Owns the webhook record, formats, versions and states. Must never decide what is delivered.

use serde::{Deserialize, Serialize};

use super::event::EventName;
use super::ids::{ProjectId, WebhookId};
use super::secret::Secret;
use super::target::TargetUrl;
use super::time::Wall;

/// Longest signing secret, in characters (Uploadcare's limit).
pub const SIGNING_SECRET_CHARS_MAX: usize = 32;
/// Most extra headers of one webhook.
pub const HEADERS_MAX: usize = 16;
/// Longest name or value of an extra header, in bytes.
pub const HEADER_BYTES_MAX: usize = 1_024;
/// Most events of one webhook.
pub const WEBHOOK_EVENTS_MAX: usize = 64;
/// Most webhooks that one project may hold.
pub const WEBHOOKS_PER_PROJECT_MAX: usize = 100_000;

/// The dialect in which a webhook receives events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Format {
    /// Uploadcare's `{initiator, hook, data, file}`, in one of three versions.
    Uploadcare(Version),
    /// The `webhook_events` document of JSON:API projects.
    JsonApi,
    /// Lancer's `{event, data}`.
    Lancer,
    /// Standard Webhooks' `{type, timestamp, data}`.
    Standard,
    /// CloudEvents 1.0, structured mode.
    CloudEvents,
}

/// A version of Uploadcare's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Version {
    /// The legacy payload of REST API 0.5.
    V05,
    /// REST API 0.6.
    V06,
    /// REST API 0.7.
    V07,
}

impl Version {
    /// `0.5`, `0.6` or `0.7`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V05 => "0.5",
            Version::V06 => "0.6",
            Version::V07 => "0.7",
        }
    }

    /// Reads `0.5`, `0.6` or `0.7`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Version> {
        [Version::V05, Version::V06, Version::V07].into_iter().find(|v| v.as_str() == text)
    }
}

impl Format {
    /// Whether webhooks of this format belong to Uploadcare's own view of the API.
    #[must_use]
    pub fn is_uploadcare(self) -> bool {
        matches!(self, Format::Uploadcare(_))
    }

    /// Whether a project may have one webhook only for each event and target: all but those of
    /// JSON:API, whose original has no such rule.
    #[must_use]
    pub fn is_unique(self) -> bool {
        self != Format::JsonApi
    }

    /// The name in the API's `format` field.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Uploadcare(_) => "uploadcare",
            Format::JsonApi => "jsonapi",
            Format::Lancer => "lancer",
            Format::Standard => "standard",
            Format::CloudEvents => "cloudevents",
        }
    }
}

/// Whether a webhook gets events, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookState {
    /// Events are delivered.
    Active,
    /// `is_active=false`: no new deliveries.
    Inactive,
    /// Events are kept, none is sent, and the clock of their deadlines stands still.
    Paused {
        /// Since when.
        since: Wall,
    },
    /// Switched off by the target or by the operator until it is made active again.
    Disabled(DisabledReason),
}

/// Why a webhook is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DisabledReason {
    /// The target answered 410 Gone.
    Gone,
    /// The operator did it.
    Operator,
    /// No attempt succeeded for as long as `[delivery] disable_failing_after` says.
    Failing,
}

/// The limits that a webhook sets for itself, under those of its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Attempts a second.
    pub rate_per_second: Option<u32>,
    /// Attempts at once after a quiet time.
    pub burst: Option<u32>,
    /// Attempts under way at once.
    pub in_flight: Option<u32>,
}

/// How `X-Uc-Signature` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignatureStyle {
    /// `v1=` and the digits: Uploadcare's own.
    #[default]
    V1,
    /// The digits alone, as JSON:API projects send them.
    Bare,
}

/// What Lancer's `FILE_DELETE` carries as data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileDelete {
    /// One file, as documented.
    #[default]
    Object,
    /// An array of files, as the code sends it.
    Array,
}

/// Choices that matter to some formats only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatOptions {
    /// How `X-Uc-Signature` is written.
    pub signature_style: SignatureStyle,
    /// Whether a JSON:API payload shows the signing secret.
    pub include_secret: bool,
    /// What Lancer's `FILE_DELETE` carries.
    pub file_delete: FileDelete,
}

/// A change of the signing secret that is under way. Two secrets are known meanwhile: the webhook's
/// own signs every scheme, and the one here signs beside it where a header can hold two signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The other secret: the next one while staged, the old one once promoted.
    pub secret: Secret,
    /// How far it is.
    pub phase: RotationPhase,
    /// When its next step happens by itself.
    pub next_step: Option<Wall>,
    /// How long the old secret signs beside the new one, in milliseconds.
    pub overlap_ms: u64,
}

/// How far a change of the signing secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RotationPhase {
    /// The next secret is made, and signs beside the current one.
    Staged,
    /// The new secret is the webhook's own, and the old one signs beside it.
    Promoted,
}

impl RotationPhase {
    /// The word for it in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RotationPhase::Staged => "staged",
            RotationPhase::Promoted => "promoted",
        }
    }
}

/// A webhook (subscription). Its id is also the id of its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its integer id.
    pub id: WebhookId,
    /// The same webhook's id in JSON:API, `wh-` and 22 letters and digits.
    pub public_id: String,
    /// Who owns it.
    pub project: ProjectId,
    /// Where it delivers to.
    pub target_url: TargetUrl,
    /// What it subscribes to, by the names of its format; never empty.
    pub events: Vec<EventName>,
    /// How the payload looks.
    pub format: Format,
    /// Whether it gets events.
    pub state: WebhookState,
    /// The secret that signs deliveries.
    pub secret: Option<Secret>,
    /// The change of its secret that is under way.
    pub rotation: Option<Rotation>,
    /// Extra request headers, in order.
    pub headers: Vec<(String, String)>,
    /// Its own limits.
    pub limits: Limits,
    /// Choices that matter to its format.
    pub options: FormatOptions,
    /// When it was made.
    pub created: Wall,
    /// When its owner last changed it.
    pub updated: Wall,
    /// Rises with every change; a change names the revision that it read.
    pub revision: u64,
    /// Milliseconds spent paused so far; deadlines are extended by what was added since they
    /// were set.
    pub paused_total_ms: u64,
    /// Since when no attempt succeeded, as far as it was written down; see `engine`.
    pub failing_since: Option<Wall>,
    /// The one loopback address that a `listen` session of this machine may be reached at. Such
    /// a webhook goes with its session.
    pub listener: Option<std::net::SocketAddr>,
    /// The hidden lane of `/send/`: it subscribes to nothing and is shown nowhere.
    pub hidden: bool,
}

impl Webhook {
    /// What Uploadcare's view shows as `is_active`.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.state, WebhookState::Active | WebhookState::Paused { .. })
    }

    /// Whether new events become deliveries of it.
    #[must_use]
    pub fn takes_events(&self) -> bool {
        self.is_active()
    }

    /// All time spent paused up to `now`, in milliseconds.
    #[must_use]
    pub fn paused_ms(&self, now: Wall) -> u64 {
        match self.state {
            WebhookState::Paused { since } => self.paused_total_ms + now.since(since),
            _ => self.paused_total_ms,
        }
    }
}

impl WebhookState {
    /// The word for it in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            WebhookState::Active => "active",
            WebhookState::Inactive => "inactive",
            WebhookState::Paused { .. } => "paused",
            WebhookState::Disabled(_) => "disabled",
        }
    }

    /// Why it is in this state, where there is a reason.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            WebhookState::Disabled(DisabledReason::Gone) => Some("the target answered 410 Gone"),
            WebhookState::Disabled(DisabledReason::Operator) => Some("disabled by the operator"),
            WebhookState::Disabled(DisabledReason::Failing) => {
                Some("no attempt succeeded for longer than [delivery] disable_failing_after")
            }
            _ => None,
        }
    }
}
