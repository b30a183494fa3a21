//! The way in for fuzzing: no input gets past a checksum by chance, and the readers are private.
//!
//! Owns one function. Must never be called by what ships.

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

use super::entry;
use super::journal::Place;
use super::record::{self, ClosedLane, EndKept, Kind, RevisionKept, RowKept, SegmentKept};
use super::vault::{Key, Vault};
use crate::logic::batch::IdempotencyRecord;
use crate::model::ids::{ProjectId, WebhookId};

/// Reads `body` as a journal's entry or, rightly framed, as a record, whichever `kind` chooses;
/// `Some` with another body that says the same if it can be read.
#[doc(hidden)]
#[must_use]
pub fn rewritten(kind: u8, body: &[u8]) -> Option<Vec<u8>> {
    match kind % 9 {
        0 => {
            let mut text = Vec::new();
            entry::begin(&mut text);
            for read in entry::decode(body).ok()? {
                entry::put(&mut text, &read.op, read.previous, true);
            }
            Some(text)
        }
        1 => entry::event(body).ok().and_then(|event| postcard::to_stdvec(&event).ok()),
        2 => again::<RowKept>(Kind::Pending, body),
        3 => again::<EndKept>(Kind::Finished, body),
        4 => {
            again::<Place>(Kind::Event, body).or_else(|| again::<SegmentKept>(Kind::Segment, body))
        }
        5 => again::<IdempotencyRecord>(Kind::Idempotency, body),
        6 => again::<ClosedLane>(Kind::ClosedLane, body),
        7 => {
            let id = ProjectId::new(1)?;
            let framed = record::encode(Kind::Project, &id.get().to_be_bytes(), &Raw(body));
            record::decode_project(&vault(), id, &framed).ok().map(|_| body.to_vec())
        }
        _ => {
            let id = WebhookId::new(1)?;
            let framed = record::encode(Kind::Webhook, &id.get().to_be_bytes(), &Raw(body));
            let webhook = record::decode_webhook(&vault(), id, &framed).ok();
            webhook.map(|_| body.to_vec()).or_else(|| again::<RevisionKept>(Kind::Revision, body))
        }
    }
}

fn again<T: Serialize + DeserializeOwned>(kind: Kind, body: &[u8]) -> Option<Vec<u8>> {
    let framed = record::encode(kind, b"key", &Raw(body));
    let value: T = record::decode(kind, b"key", &framed).ok()?;
    postcard::to_stdvec(&value).ok()
}

fn vault() -> Vault {
    Vault::new(Key::new([7; 32]), Vec::new())
}

/// Bytes that are framed as they are.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple as _;
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for byte in self.0 {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}
