//! Events: facts that were published once.
//!
//! Owns event names, canonical kinds and the event record. Payloads are bytes that were normalised
//! at intake (`json`) and are never touched again. Must never complete or invent data.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::{EventId, ProjectId};
use super::time::Wall;

/// Longest event name, in bytes.
pub const EVENT_NAME_BYTES_MAX: usize = 128;
/// Longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Longest file URL, in bytes.
pub const FILE_URL_BYTES_MAX: usize = 4_096;

/// An event's name: `[A-Za-z0-9_.-]{1,128}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventName(String);

impl EventName {
    /// Reads a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<EventName> {
        let sound = !text.is_empty()
            && text.len() <= EVENT_NAME_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        sound.then(|| EventName(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EventName {
    type Error = &'static str;
    fn try_from(text: String) -> Result<EventName, &'static str> {
        EventName::parse(&text).ok_or("not an event name")
    }
}

impl From<EventName> for String {
    fn from(name: EventName) -> String {
        name.0
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What happened, whatever a dialect calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A file was created.
    FileUploaded,
    /// A virus was found in a file.
    FileInfected,
    /// A file was stored for good.
    FileStored,
    /// A file's metadata or application data changed.
    FileInfoUpdated,
    /// A file was deleted.
    FileDeleted,
    /// A group was created.
    GroupCreated,
    /// A group changed.
    GroupUpdated,
    /// A group was deleted.
    GroupDeleted,
    /// An action was created.
    ActionCreated,
    /// An action changed.
    ActionUpdated,
    /// An upload began.
    SessionCreated,
    /// An upload was given up.
    SessionCancelled,
    /// An upload is complete.
    SessionCompleted,
    /// Anything else, known by its name alone.
    Custom,
}

/// Whose shape an event's data has. Webhooks of another dialect get the mapped form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Dialect {
    /// Uploadcare's file object, as REST API 0.7 has it.
    Uploadcare,
    /// A resource object of JSON:API projects.
    JsonApi,
    /// Lancer's session or file table.
    Lancer,
    /// The publisher's own.
    Custom,
}

/// Where an event came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// `POST /events/`.
    Native,
    /// `POST /webhooks/{id}/test/`.
    Test,
    /// `POST /send/`.
    Send,
    /// `POST /in/uploadcare/`.
    Uploadcare,
    /// `POST /in/tusd/`.
    Tusd,
    /// `POST /in/s3/`.
    S3,
    /// `POST /in/cloudevents/`.
    CloudEvents,
    /// `POST /in/seaweedfs/`.
    SeaweedFs,
    /// `POST /in/nextcloud/`.
    Nextcloud,
    /// The daemon itself: a notice.
    Notice,
}

/// An event as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its id and its place in the order of acceptance.
    pub id: EventId,
    /// Whose event it is.
    pub project: ProjectId,
    /// What happened.
    pub kind: Kind,
    /// The name that it was published by.
    pub name: EventName,
    /// Whose shape `data` has.
    pub dialect: Dialect,
    /// The payload, normalised JSON.
    #[serde(with = "octets")]
    pub data: Vec<u8>,
    /// The file's URL.
    pub file: Option<String>,
    /// Who caused it: normalised JSON, if the publisher said so.
    pub initiator: Option<Vec<u8>>,
    /// What it was before: normalised JSON, if the publisher said so.
    pub previous_values: Option<Vec<u8>>,
    /// When it happened, by the publisher's clock.
    pub occurred_at: Option<Wall>,
    /// When it was accepted, by ours.
    pub accepted_at: Wall,
    /// The publisher's idempotency key.
    pub idempotency_key: Option<String>,
    /// Where it came in.
    pub source: Source,
    /// When its payload was erased, if it was: what is kept then is that it happened.
    pub erased_at: Option<Wall>,
}

impl Event {
    /// The event without what its publisher said of it. Its name, its times and where it came in
    /// stay, and so does its idempotency key's place: accepted once is accepted once.
    #[must_use]
    pub fn erased(&self, now: Wall) -> Event {
        Event {
            data: b"null".to_vec(),
            file: None,
            initiator: None,
            previous_values: None,
            idempotency_key: None,
            name: self.name.clone(),
            erased_at: Some(self.erased_at.unwrap_or(now)),
            ..*self
        }
    }

    /// Bytes that it holds in memory, about.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let len = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        256 + self.data.len() + len(&self.initiator) + len(&self.previous_values)
    }
}

/// Bytes as one piece: serde would take a vector of bytes one by one. The form is the same.
pub(super) mod octets {
    use std::fmt;

    use serde::de::{Deserializer, Error, SeqAccess, Visitor};
    use serde::ser::Serializer;

    pub(in crate::model) fn serialize<S: Serializer>(
        bytes: &[u8],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<u8>, D::Error> {
        from.deserialize_byte_buf(Octets)
    }

    struct Octets;

    impl<'de> Visitor<'de> for Octets {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = seq.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }
}
