//! Entries of the journal: one batch each.
//!
//! Owns which writes stand in the journal, and their durable form. Must never hold a secret:
//! batches that change projects, webhooks or lanes are rare, and go to redb at once instead.
//!
//! ```text
//! text   = version u8 = 2, op*
//! op     = tag u8, length u32 of the body, little endian; body
//!          tag 5, alone and first, has no body: what follows counted only if redb's own commit was
//!          beyond it, so that a replay passes over it
//! body   = postcard of: 1 event: `Event`; 2 enqueue: `QueueKey`, [`RowRecord`];
//!          3 settle: [`SettleRecord`]; 4 idempotency: `IdempotencyRecord`;
//!          6 requeue, 7 enqueue later: as 2; 8 job: `Job`; 9 remove job: `JobId`
//! ```
//!
//! With little room on the disk, a settlement is written without what its attempt holds of the
//! answer.
//!
//! A cancellation stands here as the settlement that it comes to.
//!
//! The body of an event is what its [`Place`] points to. The body of a settlement is where its
//! attempt is kept; it names the place of the attempt before, so that the attempts of a delivery
//! are a chain and need no index.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::journal::Place;
use crate::logic::batch::{IdempotencyRecord, Next, Op};
use crate::model::attempt::{Attempt, Extent};
use crate::model::delivery::{Ending, Finished, Pending, Queue, QueueKey};
use crate::model::event::Event;
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::job::Job;
use crate::model::time::Wall;

const VERSION: u8 = 2;
const DIRECT: u8 = 5;
const OP_HEAD_BYTES: usize = 5;
/// More than any row or settlement without its attempt needs: varints at their longest.
const SMALL_OP_BYTES_MAX: usize = 320;
/// More than an attempt needs beside its variable parts.
const ATTEMPT_BYTES_MAX: usize = 256;
/// A length as a varint.
const LENGTH_BYTES_MAX: usize = 10;
/// More than an event needs beside its variable parts.
const EVENT_HEAD_BYTES_MAX: usize = 512;

/// A pending delivery without its key; instants as distances, which are short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowRecord {
    project: ProjectId,
    event_back: i64,
    accepted_back: i64,
    attempts: u32,
    slot: u32,
    first_attempt_back: Option<i64>,
    deadline_after: i64,
    paused_base_ms: u64,
}

/// How a delivery ended, without its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRecord {
    event_back: i64,
    webhook: WebhookId,
    project: ProjectId,
    attempts: u32,
    accepted_back: i64,
    finished_after: i64,
    ending: Ending,
}

#[derive(Serialize, Deserialize)]
enum ThenRecord {
    End(EndRecord),
    Row(QueueKey, RowRecord),
}

/// A [`SettleRecord`] that is written: the attempt is not copied for it.
#[derive(Serialize)]
struct SettleWritten<'a> {
    queue: Queue,
    key: QueueKey,
    then: ThenRecord,
    attempt: Option<&'a Attempt>,
    previous: Option<Place>,
}

#[derive(Deserialize)]
struct SettleRecord {
    queue: Queue,
    key: QueueKey,
    then: ThenRecord,
    attempt: Option<Attempt>,
    previous: Option<Place>,
}

/// An entry that checks, but can't be read: another version wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the journal holds an entry that this version can't read")]
pub struct Unreadable;

/// A write that was read, and where its body lies in the text.
#[derive(Debug)]
pub struct Read {
    /// The write.
    pub op: Op,
    /// The body.
    pub body: std::ops::Range<usize>,
    /// Of a settlement: where the attempt before is kept.
    pub previous: Option<Place>,
}

/// Whether a batch stands in the journal whole.
pub fn is_journaled(ops: &[Op]) -> bool {
    ops.iter().all(|op| op_size_max(op).is_some())
}

/// How long an entry can become at most.
pub fn size_max(ops: &[Op]) -> usize {
    ops.iter().filter_map(op_size_max).sum::<usize>() + 1 + OP_HEAD_BYTES
}

/// Whether a write stands in the journal.
pub fn stands(op: &Op) -> bool {
    op_size_max(op).is_some()
}

fn op_size_max(op: &Op) -> Option<usize> {
    let size = match op {
        Op::PutEvent(event) => EVENT_HEAD_BYTES_MAX + event_bytes(event),
        Op::Enqueue(_) | Op::EnqueueLater(_) | Op::Requeue(_) => SMALL_OP_BYTES_MAX,
        Op::Cancel { .. } | Op::RemoveJob(_) => SMALL_OP_BYTES_MAX,
        Op::PutJob(job) => SMALL_OP_BYTES_MAX + job.text_bytes(),
        Op::Settle { attempt, .. } => {
            SMALL_OP_BYTES_MAX + attempt.as_ref().map_or(0, attempt_bytes_max)
        }
        Op::PutIdempotency(record) => {
            let names: usize = record.events.iter().map(|event| event.name.as_str().len()).sum();
            SMALL_OP_BYTES_MAX + record.events.len() * 64 + names
        }
        Op::PutProject(_)
        | Op::PutWebhook(_)
        | Op::RemoveWebhook(_)
        | Op::CloseLane { .. }
        | Op::RemoveProject(_)
        | Op::EraseEvent { .. }
        | Op::PutOperator(_) => return None,
    };
    Some(size + OP_HEAD_BYTES)
}

fn attempt_bytes_max(attempt: &Attempt) -> usize {
    let request = attempt.request.as_ref().map_or(0, |mark| mark.user_agent.len());
    let response = attempt.response.as_ref().map_or(0, |kept| {
        // The lengths of a header's two parts.
        kept.size_bytes() + kept.headers.len() * 2 * LENGTH_BYTES_MAX
    });
    ATTEMPT_BYTES_MAX + request + response
}

fn event_bytes(event: &Event) -> usize {
    let text = |part: &Option<String>| part.as_ref().map_or(0, String::len);
    let bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
    event.data.len()
        + event.name.as_str().len()
        + text(&event.file)
        + text(&event.idempotency_key)
        + bytes(&event.initiator)
        + bytes(&event.previous_values)
}

/// Begins an entry's text.
pub fn begin(out: &mut Vec<u8>) {
    out.push(VERSION);
}

/// Begins the text of an entry whose effects go to redb at once, together with others that do not
/// stand in the journal: a replay passes over it.
pub fn begin_direct(out: &mut Vec<u8>) {
    out.extend_from_slice(&[VERSION, DIRECT, 0, 0, 0, 0]);
}

/// Appends a write, and says where its body begins. Only what has a size stands in the journal;
/// of anything else, nothing is written. Without `keeps_answers`, an attempt is written without what
/// it holds of its answer.
pub fn put(out: &mut Vec<u8>, op: &Op, previous: Option<Place>, keeps_answers: bool) -> usize {
    match op {
        Op::PutEvent(event) => body(out, 1, &**event),
        Op::Enqueue(row) => body(out, 2, &(row.key, RowRecord::new(row))),
        Op::Requeue(row) => body(out, 6, &(row.key, RowRecord::new(row))),
        Op::EnqueueLater(row) => body(out, 7, &(row.key, RowRecord::new(row))),
        Op::Settle { queue, key, next, attempt } => {
            let then = match next {
                Next::Finished(end) => ThenRecord::End(EndRecord::new(end)),
                Next::Pending(row) => ThenRecord::Row(row.key, RowRecord::new(row)),
            };
            let (queue, key) = (*queue, *key);
            let bare = attempt.as_ref().filter(|_| !keeps_answers);
            let bare = bare.map(|attempt| attempt.without_response(Extent::LowDisk));
            let attempt = bare.as_ref().or(attempt.as_ref());
            body(out, 3, &SettleWritten { queue, key, then, attempt, previous })
        }
        Op::PutIdempotency(record) => body(out, 4, record),
        Op::PutJob(job) => body(out, 8, &**job),
        Op::RemoveJob(id) => body(out, 9, id),
        Op::PutProject(_)
        | Op::PutWebhook(_)
        | Op::RemoveWebhook(_)
        | Op::CloseLane { .. }
        | Op::RemoveProject(_)
        | Op::EraseEvent { .. }
        | Op::Cancel { .. }
        | Op::PutOperator(_) => out.len(),
    }
}

fn body<T: Serialize>(out: &mut Vec<u8>, tag: u8, value: &T) -> usize {
    out.extend_from_slice(&[tag, 0, 0, 0, 0]);
    let start = out.len();
    // Growing a vector can't fail, and our types have no values that postcard refuses.
    *out = postcard::to_extend(value, std::mem::take(out)).expect("ops serialise into memory");
    let length = (out.len() - start) as u32;
    out[start - 4..start].copy_from_slice(&length.to_le_bytes());
    start
}

/// The writes of an entry.
pub fn decode(text: &[u8]) -> Result<Vec<Read>, Unreadable> {
    if text.first() != Some(&VERSION) {
        return Err(Unreadable);
    }
    let mut reads = Vec::new();
    if text.get(1) == Some(&DIRECT) {
        return Ok(reads);
    }
    let mut at = 1;
    while at < text.len() {
        let head = text.get(at..at + OP_HEAD_BYTES).ok_or(Unreadable)?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let start = at + OP_HEAD_BYTES;
        let end = start.checked_add(length).ok_or(Unreadable)?;
        let body = text.get(start..end).ok_or(Unreadable)?;
        let (op, previous) = read(head[0], body)?;
        reads.push(Read { op, body: start..end, previous });
        at = end;
    }
    Ok(reads)
}

fn read(tag: u8, body: &[u8]) -> Result<(Op, Option<Place>), Unreadable> {
    let op = match tag {
        1 => Op::PutEvent(whole::<Event>(body)?.into()),
        2 => Op::Enqueue(row(body)?),
        6 => Op::Requeue(row(body)?),
        7 => Op::EnqueueLater(row(body)?),
        3 => {
            let SettleRecord { queue, key, then, attempt, previous } = whole(body)?;
            let next = match then {
                ThenRecord::End(record) => Next::Finished(record.finished(key.seq)),
                ThenRecord::Row(key, record) => Next::Pending(record.row(key)),
            };
            return Ok((Op::Settle { queue, key, next, attempt }, previous));
        }
        4 => Op::PutIdempotency(whole::<IdempotencyRecord>(body)?),
        8 => Op::PutJob(whole::<Job>(body)?.into()),
        9 => Op::RemoveJob(whole(body)?),
        _ => return Err(Unreadable),
    };
    Ok((op, None))
}

fn row(body: &[u8]) -> Result<Pending, Unreadable> {
    let (key, record): (QueueKey, RowRecord) = whole(body)?;
    Ok(record.row(key))
}

/// The event that stands at a place.
pub fn event(body: &[u8]) -> Result<Event, Unreadable> {
    whole(body)
}

/// The attempt that stands at a place, of which delivery, and where the one before is.
pub fn attempt(body: &[u8]) -> Result<(Seq, Option<Attempt>, Option<Place>), Unreadable> {
    let SettleRecord { key, attempt, previous, .. } = whole(body)?;
    Ok((key.seq, attempt, previous))
}

fn whole<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Unreadable> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(Unreadable),
    }
}

impl RowRecord {
    /// A row without its key.
    pub fn new(row: &Pending) -> RowRecord {
        let due = row.key.due;
        RowRecord {
            project: row.project,
            event_back: back(row.key.seq.0, row.event.0),
            accepted_back: back(due.0, row.accepted.0),
            attempts: row.attempts,
            slot: row.slot,
            first_attempt_back: row.first_attempt.map(|at| back(due.0, at.0)),
            deadline_after: back(row.deadline.0, due.0),
            paused_base_ms: row.paused_base_ms,
        }
    }

    /// The row with this key.
    pub fn row(&self, key: QueueKey) -> Pending {
        let due = key.due.0;
        Pending {
            key,
            project: self.project,
            event: Seq(forth(key.seq.0, self.event_back)),
            accepted: Wall(forth(due, self.accepted_back)),
            attempts: self.attempts,
            slot: self.slot,
            first_attempt: self.first_attempt_back.map(|back| Wall(forth(due, back))),
            deadline: Wall(due.wrapping_add_signed(self.deadline_after)),
            paused_base_ms: self.paused_base_ms,
        }
    }
}

impl EndRecord {
    /// An end without the delivery's number.
    pub fn new(end: &Finished) -> EndRecord {
        EndRecord {
            event_back: back(end.seq.0, end.event.0),
            webhook: end.webhook,
            project: end.project,
            attempts: end.attempts,
            accepted_back: back(end.seq.wall().0, end.accepted.0),
            finished_after: back(end.finished.0, end.accepted.0),
            ending: end.ending,
        }
    }

    /// The end of this delivery.
    pub fn finished(&self, seq: Seq) -> Finished {
        let accepted = forth(seq.wall().0, self.accepted_back);
        Finished {
            seq,
            event: Seq(forth(seq.0, self.event_back)),
            webhook: self.webhook,
            project: self.project,
            attempts: self.attempts,
            accepted: Wall(accepted),
            finished: Wall(accepted.wrapping_add_signed(self.finished_after)),
            ending: self.ending,
        }
    }
}

/// How far `to` lies before `from`. Wraps, so that any two numbers have a distance.
fn back(from: u64, to: u64) -> i64 {
    from.wrapping_sub(to).cast_signed()
}

fn forth(from: u64, back: i64) -> u64 {
    from.wrapping_sub(back.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::attempt::{
        HeaderKept, NextWhy, Outcome, Phases, RequestMark, ResponseKept, Verdict,
    };
    use crate::model::delivery::FailedReason;

    fn encode(ops: &[Op]) -> Vec<u8> {
        let mut text = Vec::new();
        begin(&mut text);
        for op in ops {
            put(&mut text, op, Some(Place { number: 1, offset: 2, length: 3, crc: 4 }), true);
        }
        assert!(text.len() <= size_max(ops));
        text
    }

    fn row(numbers: [u64; 8]) -> Pending {
        let [due, seq, event, accepted, first, deadline, paused, attempts] = numbers;
        Pending {
            key: QueueKey {
                webhook: WebhookId::new(9).expect("an id"),
                due: Wall(due),
                seq: Seq(seq),
            },
            project: ProjectId::new(8).expect("an id"),
            event: Seq(event),
            accepted: Wall(accepted),
            attempts: attempts as u32,
            slot: attempts as u32,
            first_attempt: (attempts > 0).then_some(Wall(first)),
            deadline: Wall(deadline),
            paused_base_ms: paused,
        }
    }

    proptest! {
        #[test]
        fn round_trip_and_refusals(
            a in any::<[u64; 8]>(), b in any::<[u64; 8]>(),
            value in proptest::collection::vec(any::<u8>(), 0..2_000),
        ) {
            let (row, again) = (row(a), row(b));
            let attempt = Attempt {
                number: 3,
                started: Wall(b[0]),
                address: Some("[2001:db8::1]:443".parse().expect("an address")),
                phases: Phases::default(),
                outcome: Outcome::Status(503),
                next_due: Some(again.key.due),
                revision: b[2],
                request: Some(RequestMark { user_agent: "a/1".into(), crc: b[3] as u32 }),
                verdict: Verdict::Retry { connection: false },
                next_why: Some(NextWhy::RetryAfter),
                response: Some(Box::new(ResponseKept {
                    headers: vec![HeaderKept { name: "x-a".to_owned(), value: value.clone() }; 3],
                    headers_extent: Extent::Whole,
                    body: value,
                    body_extent: Extent::Truncated,
                })),
            };
            let logged = attempt.clone();
            let (queue, key) = (Queue::Retry, row.key);
            let end = row.finished(Ending::Failed(FailedReason::Expired), Wall(b[1]));
            let ops = [
                Op::Enqueue(row),
                Op::Settle { queue, key, next: Next::Pending(again), attempt: Some(attempt) },
                Op::Settle { queue, key, next: Next::Finished(end), attempt: None },
                Op::Requeue(again),
                Op::EnqueueLater(row),
            ];
            let text = encode(&ops);
            let reads = decode(&text).expect("sound");
            for (read, op) in reads.iter().zip(&ops) {
                prop_assert_eq!(format!("{:?}", read.op), format!("{op:?}"));
            }
            prop_assert_eq!(reads.len(), ops.len());
            let (seq, attempt, previous) = super::attempt(&text[reads[1].body.clone()]).expect("sound");
            prop_assert_eq!((seq, attempt.as_ref()), (row.key.seq, Some(&logged)));
            prop_assert!(previous.is_some());
            let mut tight = Vec::new();
            begin(&mut tight);
            put(&mut tight, &ops[1], None, false);
            prop_assert!(tight.len() <= SMALL_OP_BYTES_MAX + ATTEMPT_BYTES_MAX);
            let reads = decode(&tight).expect("sound");
            let (_, attempt, _) = super::attempt(&tight[reads[0].body.clone()]).expect("sound");
            prop_assert_eq!(attempt, Some(logged.without_response(Extent::LowDisk)));
            prop_assert!(decode(&text[..text.len() - 1]).is_err());
            prop_assert!(decode(&[&[3], &text[1..]].concat()).is_err());
            prop_assert!(!is_journaled(&[Op::RemoveWebhook(key.webhook)]));
            let mut direct = Vec::new();
            begin_direct(&mut direct);
            put(&mut direct, &ops[0], None, true);
            prop_assert!(decode(&direct).expect("sound").is_empty());
        }

        #[test]
        fn garbage_never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[&[VERSION], &text[..]].concat());
        }
    }
}
