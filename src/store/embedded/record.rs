//! The durable form of records.
//!
//! Owns how a value is framed, checked and versioned. Must never return a value whose checksum
//! does not fit. Must never change the layout of a version once it was released: a change is a new
//! version, and old ones stay readable.
//!
//! ```text
//! offset  bytes  what
//! 0       1      kind, see [`Kind`]
//! 1       1      version of the kind's layout, 1 so far
//! 2       4      CRC-32C, little endian, over: kind, version, the key's bytes, the body
//! 6       -      body: postcard of the type that the kind names
//! ```
//!
//! The checksum covers the key, so that a value that strayed to another key is found out. Key
//! bytes are the key's integers, big endian, in the order of the table's key.

use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::model::delivery::QueueKey;
use crate::model::event::EventName;
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::project::{IntakeToken, Project, ProjectSettings};
use crate::model::secret::Secret;
use crate::model::target::TargetUrl;
use crate::model::time::Wall;
use crate::model::webhook::{
    Format, FormatOptions, Limits, Rotation, RotationPhase, Webhook, WebhookState,
};

use super::entry::{EndRecord, RowRecord};
use super::journal::Place;
use super::overlay::{End, Row};
use super::vault::{Vault, VaultError};

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `EventKept`
    Event = 1,
    /// `RowKept`
    Pending = 2,
    /// `EndKept`
    Finished = 3,
    /// `SegmentKept`
    Segment = 4,
    /// `ProjectRecord`
    Project = 5,
    /// `WebhookRecord`
    Webhook = 6,
    /// `logic::batch::IdempotencyRecord`
    Idempotency = 7,
    /// `ClosedLane`
    ClosedLane = 8,
    /// `u64`, or `model::operator::Operator`
    Meta = 9,
    /// `RevisionKept`
    Revision = 10,
    /// `model::job::Job`
    Job = 11,
}

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 6;

/// A record that can't be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage;

/// Frames a value.
#[must_use]
pub fn encode<T: Serialize>(kind: Kind, key: &[u8], value: &T) -> Vec<u8> {
    let head = vec![kind as u8, VERSION, 0, 0, 0, 0];
    // Growing a vector can't fail, and our types have no values that postcard refuses.
    let mut out = postcard::to_extend(value, head).expect("records serialise into memory");
    let crc = checksum(&out, key);
    out[2..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Checks and reads a value.
pub fn decode<T: DeserializeOwned>(kind: Kind, key: &[u8], record: &[u8]) -> Result<T, Damage> {
    let sound = record.len() >= HEAD_BYTES
        && record[0] == kind as u8
        && record[1] == VERSION
        && record[2..HEAD_BYTES] == checksum(record, key).to_le_bytes();
    if !sound {
        return Err(Damage);
    }
    match postcard::take_from_bytes(&record[HEAD_BYTES..]) {
        Ok((value, [])) => Ok(value),
        _ => Err(Damage),
    }
}

fn checksum(record: &[u8], key: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&record[..2]);
    let crc = crc32c::crc32c_append(crc, key);
    crc32c::crc32c_append(crc, &record[HEAD_BYTES..])
}

/// A pending delivery, beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowKept {
    row: RowRecord,
    attempt: Option<Place>,
}

impl RowKept {
    /// A row without its key.
    #[must_use]
    pub fn new(row: &Row) -> RowKept {
        RowKept { row: RowRecord::new(&row.pending), attempt: row.attempt }
    }

    /// The row with this key.
    #[must_use]
    pub fn row(&self, key: QueueKey) -> Row {
        Row { pending: self.row.row(key), attempt: self.attempt }
    }
}

/// A delivery that ended, beside its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndKept {
    end: EndRecord,
    attempt: Option<Place>,
}

impl EndKept {
    /// An end without its number.
    #[must_use]
    pub fn new(end: &End) -> EndKept {
        EndKept { end: EndRecord::new(&end.finished), attempt: end.attempt }
    }

    /// The end of this delivery.
    #[must_use]
    pub fn end(&self, seq: Seq) -> End {
        End { finished: self.end.finished(seq), attempt: self.attempt }
    }
}

/// Where an event is kept, beside its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventKept {
    /// Where in the journal.
    pub place: Place,
    /// Whose it is.
    pub project: ProjectId,
}

/// A segment of the journal that something points into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentKept {
    /// Events that are kept in it.
    pub events: u64,
    /// Events that were ever put into it.
    pub events_once: u64,
    /// The latest instant that anything in it speaks of.
    pub until: Wall,
}

/// A lane that was closed and whose rows are still being moved.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ClosedLane {
    /// The last delivery that it covers.
    pub upto: Seq,
    /// How its deliveries end.
    pub ending: crate::model::delivery::Ending,
    /// When.
    pub at: Wall,
}

/// A webhook as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionKept {
    /// It was used for no delivery above this number.
    pub upto: Seq,
    /// Its record, as it stood in the table of webhooks.
    pub record: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct ProjectRecord {
    name: String,
    public_key: String,
    secret_keys: Vec<Vec<u8>>,
    created: Wall,
    settings: ProjectSettings,
    intake_tokens: Vec<IntakeTokenRecord>,
}

#[derive(Serialize, Deserialize)]
struct IntakeTokenRecord {
    id: u32,
    name: String,
    hash: [u8; 32],
    secret: Option<Vec<u8>>,
    created: Wall,
}

#[derive(Serialize, Deserialize)]
struct WebhookRecord {
    public_id: String,
    project: ProjectId,
    target_url: TargetUrl,
    events: Vec<EventName>,
    format: Format,
    state: WebhookState,
    secret: Option<Vec<u8>>,
    rotation: Option<RotationRecord>,
    headers: Vec<(String, String)>,
    limits: Limits,
    options: FormatOptions,
    created: Wall,
    updated: Wall,
    revision: u64,
    paused_total_ms: u64,
    failing_since: Option<Wall>,
    listener: Option<SocketAddr>,
    hidden: bool,
}

#[derive(Serialize, Deserialize)]
struct RotationRecord {
    secret: Vec<u8>,
    phase: RotationPhase,
    next_step: Option<Wall>,
    overlap_ms: u64,
}

/// Why a record with secrets can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedError {
    /// The record is damaged.
    Damaged,
    /// Its secrets can't be opened.
    Vault(VaultError),
}

/// Frames a project, its keys sealed.
pub fn encode_project(vault: &Vault, project: &Project) -> Result<Vec<u8>, VaultError> {
    let context = project_context(project.id);
    let secret_keys = project
        .secret_keys
        .iter()
        .map(|secret| seal(vault, &context, secret))
        .collect::<Result<_, _>>()?;
    let intake_tokens = project
        .intake_tokens
        .iter()
        .map(|token| {
            let secret = token.secret.as_ref().map(|secret| seal(vault, &context, secret));
            let IntakeToken { id, name, hash, created, .. } = token.clone();
            Ok(IntakeTokenRecord { id, name, hash, secret: secret.transpose()?, created })
        })
        .collect::<Result<_, VaultError>>()?;
    let record = ProjectRecord {
        name: project.name.clone(),
        public_key: project.public_key.clone(),
        secret_keys,
        created: project.created,
        settings: project.settings.clone(),
        intake_tokens,
    };
    Ok(encode(Kind::Project, &project.id.get().to_be_bytes(), &record))
}

/// Reads a project, and whether its keys should be sealed anew.
pub fn decode_project(
    vault: &Vault,
    id: ProjectId,
    record: &[u8],
) -> Result<(Project, bool), SealedError> {
    let record: ProjectRecord = decode(Kind::Project, &id.get().to_be_bytes(), record)
        .map_err(|Damage| SealedError::Damaged)?;
    let context = project_context(id);
    let mut stale = false;
    let mut secret_keys = Vec::new();
    for sealed in &record.secret_keys {
        secret_keys.push(open(vault, &context, sealed, &mut stale)?);
    }
    let mut intake_tokens = Vec::new();
    for token in record.intake_tokens {
        let IntakeTokenRecord { id, name, hash, secret, created } = token;
        let secret = secret.map(|sealed| open(vault, &context, &sealed, &mut stale)).transpose()?;
        intake_tokens.push(IntakeToken { id, name, hash, secret, created });
    }
    let ProjectRecord { name, public_key, created, settings, .. } = record;
    let project = Project { id, name, public_key, secret_keys, created, settings, intake_tokens };
    Ok((project, stale))
}

/// Frames a webhook, its secrets sealed.
pub fn encode_webhook(vault: &Vault, webhook: &Webhook) -> Result<Vec<u8>, VaultError> {
    let context = webhook_context(webhook.id);
    let secret = webhook.secret.as_ref().map(|secret| seal(vault, &context, secret)).transpose()?;
    let rotation = webhook.rotation.as_ref().map(|rotation| {
        Ok::<_, VaultError>(RotationRecord {
            secret: seal(vault, &context, &rotation.secret)?,
            phase: rotation.phase,
            next_step: rotation.next_step,
            overlap_ms: rotation.overlap_ms,
        })
    });
    let record = WebhookRecord {
        public_id: webhook.public_id.clone(),
        project: webhook.project,
        target_url: webhook.target_url.clone(),
        events: webhook.events.clone(),
        format: webhook.format,
        state: webhook.state,
        secret,
        rotation: rotation.transpose()?,
        headers: webhook.headers.clone(),
        limits: webhook.limits,
        options: webhook.options,
        created: webhook.created,
        updated: webhook.updated,
        revision: webhook.revision,
        paused_total_ms: webhook.paused_total_ms,
        failing_since: webhook.failing_since,
        listener: webhook.listener,
        hidden: webhook.hidden,
    };
    Ok(encode(Kind::Webhook, &webhook.id.get().to_be_bytes(), &record))
}

/// Reads a webhook, and whether its secrets should be sealed anew.
pub fn decode_webhook(
    vault: &Vault,
    id: WebhookId,
    record: &[u8],
) -> Result<(Webhook, bool), SealedError> {
    let record: WebhookRecord = decode(Kind::Webhook, &id.get().to_be_bytes(), record)
        .map_err(|Damage| SealedError::Damaged)?;
    let context = webhook_context(id);
    let mut stale = false;
    let mut secret = None;
    if let Some(sealed) = &record.secret {
        secret = Some(open(vault, &context, sealed, &mut stale)?);
    }
    let mut rotation = None;
    if let Some(RotationRecord { secret, phase, next_step, overlap_ms }) = record.rotation {
        let secret = open(vault, &context, &secret, &mut stale)?;
        rotation = Some(Rotation { secret, phase, next_step, overlap_ms });
    }
    let webhook = Webhook {
        id,
        public_id: record.public_id,
        project: record.project,
        target_url: record.target_url,
        events: record.events,
        format: record.format,
        state: record.state,
        secret,
        rotation,
        headers: record.headers,
        limits: record.limits,
        options: record.options,
        created: record.created,
        updated: record.updated,
        revision: record.revision,
        paused_total_ms: record.paused_total_ms,
        failing_since: record.failing_since,
        listener: record.listener,
        hidden: record.hidden,
    };
    Ok((webhook, stale))
}

fn seal(vault: &Vault, context: &[u8], secret: &Secret) -> Result<Vec<u8>, VaultError> {
    let mut nonce = [0; 24];
    clock::fill_random(&mut nonce);
    vault.seal(context, secret, nonce)
}

fn open(
    vault: &Vault,
    context: &[u8],
    sealed: &[u8],
    stale: &mut bool,
) -> Result<Secret, SealedError> {
    let (secret, old_key) = vault.open(context, sealed).map_err(SealedError::Vault)?;
    *stale |= old_key;
    Ok(secret)
}

fn project_context(id: ProjectId) -> Vec<u8> {
    format!("project {id}").into_bytes()
}

fn webhook_context(id: WebhookId) -> Vec<u8> {
    format!("webhook {id}").into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::delivery::Pending;

    fn kept() -> RowKept {
        let pending = Pending {
            key: QueueKey {
                webhook: WebhookId::new(7).expect("an id"),
                due: Wall(1_700_000_000_000),
                seq: Seq(300),
            },
            project: ProjectId::new(5).expect("an id"),
            event: Seq(299),
            accepted: Wall(1_700_000_000_000),
            attempts: 2,
            slot: 2,
            first_attempt: Some(Wall(1_700_000_000_001)),
            deadline: Wall(1_700_259_200_001),
            paused_base_ms: 0,
        };
        let attempt = Some(Place { number: 3, offset: 4_096, length: 90, crc: 0x1234_5678 });
        RowKept::new(&Row { pending, attempt })
    }

    /// The bytes of version 1. If this fails, the layout changed: raise the version instead.
    #[test]
    fn version_1_is_fixed() {
        let hex: String =
            encode(Kind::Pending, b"key", &kept()).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "02010e2466050502000202010182d098f70100010380205af8acd19101");
    }

    #[test]
    fn a_flipped_bit_or_another_key_is_found_out() {
        let record = encode(Kind::Pending, b"key", &kept());
        assert_eq!(decode(Kind::Pending, b"key", &record), Ok(kept()));
        assert_eq!(decode::<RowKept>(Kind::Pending, b"kez", &record), Err(Damage));
        assert_eq!(decode::<RowKept>(Kind::Finished, b"key", &record), Err(Damage));
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode::<RowKept>(Kind::Pending, b"key", &bad), Err(Damage), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(record in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode::<RowKept>(Kind::Pending, b"", &record), Err(Damage));
        }
    }
}
