//! Entries of the journal: one batch each.
//!
//! Owns which writes stand in the journal, and their durable form: a version byte, 1 so far, and
//! the postcard of a list of [`Entry`]. Must never hold a secret: batches that change projects,
//! webhooks or lanes are rare, and make a checkpoint instead.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::logic::batch::{IdempotencyRecord, Next, Op};
use crate::model::attempt::Attempt;
use crate::model::delivery::{Pending, Queue, QueueKey};
use crate::model::event::Event;

const VERSION: u8 = 1;

/// One write. The order of the variants is part of the format.
#[derive(Serialize, Deserialize)]
enum Entry<'a> {
    Event(Cow<'a, Event>),
    Enqueue(Pending),
    Settle { queue: Queue, key: QueueKey, next: Next, attempt: Option<Cow<'a, Attempt>> },
    Idempotency(Cow<'a, IdempotencyRecord>),
}

/// An entry that checks, but can't be read: another version wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the journal holds an entry that this version can't read")]
pub struct Unreadable;

/// A batch's writes as an entry; `None` if they have to make a checkpoint instead.
pub fn encode(ops: &[Op]) -> Option<Vec<u8>> {
    let entries: Vec<Entry<'_>> = ops.iter().map(entry).collect::<Option<_>>()?;
    // Growing a vector can't fail, and our types have no values that postcard refuses.
    Some(postcard::to_extend(&entries, vec![VERSION]).expect("entries serialise into memory"))
}

/// The writes of an entry.
pub fn decode(text: &[u8]) -> Result<Vec<Op>, Unreadable> {
    let (VERSION, body) = text.split_first().map(|(v, body)| (*v, body)).ok_or(Unreadable)? else {
        return Err(Unreadable);
    };
    match postcard::take_from_bytes::<Vec<Entry<'_>>>(body) {
        Ok((entries, [])) => Ok(entries.into_iter().map(op).collect()),
        _ => Err(Unreadable),
    }
}

fn entry(op: &Op) -> Option<Entry<'_>> {
    match op {
        Op::PutEvent(event) => Some(Entry::Event(Cow::Borrowed(event))),
        Op::Enqueue(row) => Some(Entry::Enqueue(*row)),
        Op::Settle { queue, key, next, attempt } => Some(Entry::Settle {
            queue: *queue,
            key: *key,
            next: *next,
            attempt: attempt.as_ref().map(Cow::Borrowed),
        }),
        Op::PutIdempotency(record) => Some(Entry::Idempotency(Cow::Borrowed(record))),
        Op::PutProject(_)
        | Op::PutWebhook(_)
        | Op::RemoveWebhook(_)
        | Op::CloseLane { .. }
        | Op::RemoveProject(_)
        | Op::EraseEvent { .. }
        | Op::PutOperator(_) => None,
    }
}

fn op(entry: Entry<'_>) -> Op {
    match entry {
        Entry::Event(event) => Op::PutEvent(event.into_owned().into()),
        Entry::Enqueue(row) => Op::Enqueue(row),
        Entry::Settle { queue, key, next, attempt } => {
            Op::Settle { queue, key, next, attempt: attempt.map(Cow::into_owned) }
        }
        Entry::Idempotency(record) => Op::PutIdempotency(record.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::{Seq, WebhookId};
    use crate::model::time::Wall;

    #[test]
    fn round_trip_and_refusals() {
        let key =
            QueueKey { webhook: WebhookId::new(1).expect("an id"), due: Wall(5), seq: Seq(6) };
        let row = Pending {
            key,
            event: Seq(4),
            accepted: Wall(5),
            attempts: 1,
            slot: 1,
            first_attempt: Some(Wall(5)),
            deadline: Wall(9),
            paused_base_ms: 0,
        };
        let ops = [
            Op::Enqueue(row),
            Op::Settle { queue: Queue::Retry, key, next: Next::Pending(row), attempt: None },
        ];
        let text = encode(&ops).expect("no secrets");
        assert_eq!(format!("{:?}", decode(&text).expect("sound")), format!("{ops:?}"));
        assert!(matches!(decode(&text[..text.len() - 1]), Err(Unreadable)));
        assert!(matches!(decode(&[]), Err(Unreadable)));
        let newer = [&[2], &text[1..]].concat();
        assert!(matches!(decode(&newer), Err(Unreadable)));
        assert!(encode(&[Op::RemoveWebhook(key.webhook)]).is_none());
    }
}
