//! The tables of the embedded store: the durable format, in one place.
//!
//! Owns names, key layouts and what a row means. Must never read or write.
//!
//! Integers are redb's own fixed-width integers; tuples compare field by field. Values are framed
//! records (`record`), except where a plain integer is named.
//!
//! | table | key | value | meaning |
//! |---|---|---|---|
//! | `meta` | name | record Meta | `format`, `project_id_max`, `webhook_id_max`, `seq_max`, `operator`, `journal`: its position at the last checkpoint |
//! | `projects` | project | record Project | |
//! | `webhooks` | webhook | record Webhook | |
//! | `revisions` | (webhook, revision) | record Revision | webhooks as they were, see `revisions` |
//! | `revisions_by_seq` | (seq, webhook, revision) | - | for removal by age: no delivery above this number was made by it |
//! | `subscriptions` | project (4 bytes, big endian), format, 0, event, 0, target URL | webhook | one webhook for each format, event and target; JSON:API's are not unique and have none |
//! | `fresh` | (webhook, due ms, seq) | record Pending | deliveries that were never attempted |
//! | `retry` | (webhook, due ms, seq) | record Pending | deliveries that were |
//! | `waits` | seq of the delivery | (queue: 0 fresh, 1 retry; webhook; due ms; project) | where a pending delivery stands |
//! | `closed` | webhook | record ClosedLane | rows up to its number have ended and are being moved |
//! | `events` | seq | record Event | where in the journal the event is kept, and whose it is |
//! | `event_refs` | seq of the event | count | its pending deliveries; no row: none |
//! | `finished` | seq | record Finished | with the place of its last attempt |
//! | `by_status` | (scope: 0 project, 1 webhook; its id; class: 0 pending, 1 delivered, 2 failed, 3 cancelled, 4 event; seq) | - | what there is, by time; events by project alone |
//! | `later` | (seq of the event, seq) | - | deliveries that an event did not become when it was accepted |
//! | `segments` | number | record Segment | how many events are kept in it, and until when it speaks |
//! | `jobs` | number | record Job | |
//! | `idempotency` | (project, key hash) | record Idempotency | |
//! | `idempotency_by_time` | (at ms, project, key hash) | - | for removal by age |
//! | `wipes` | (segment, offset) | length | erased payloads, to be overwritten |
//! | `quarantine` | table, 0, key bytes | raw value | damaged records, set aside |

use redb::TableDefinition;

/// The number of the format that this code writes.
pub const FORMAT: u64 = 3;

/// A queue's key.
pub type QueueRow = (u32, u64, u64);
/// A value of `waits`.
pub type WaitsRow = (u8, u32, u64, u32);
/// A key of `by_status`.
pub type IndexRow = (u8, u32, u8, u64);

pub const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
pub const PROJECTS: TableDefinition<u32, &[u8]> = TableDefinition::new("projects");
pub const WEBHOOKS: TableDefinition<u32, &[u8]> = TableDefinition::new("webhooks");
pub const REVISIONS: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("revisions");
pub const REVISIONS_BY_SEQ: TableDefinition<(u64, u32, u64), ()> =
    TableDefinition::new("revisions_by_seq");
pub const SUBSCRIPTIONS: TableDefinition<&[u8], u32> = TableDefinition::new("subscriptions");
pub const FRESH: TableDefinition<QueueRow, &[u8]> = TableDefinition::new("fresh");
pub const RETRY: TableDefinition<QueueRow, &[u8]> = TableDefinition::new("retry");
pub const WAITS: TableDefinition<u64, WaitsRow> = TableDefinition::new("waits");
pub const CLOSED: TableDefinition<u32, &[u8]> = TableDefinition::new("closed");
pub const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
pub const EVENT_REFS: TableDefinition<u64, u32> = TableDefinition::new("event_refs");
pub const FINISHED: TableDefinition<u64, &[u8]> = TableDefinition::new("finished");
pub const BY_STATUS: TableDefinition<IndexRow, ()> = TableDefinition::new("by_status");
pub const LATER: TableDefinition<(u64, u64), ()> = TableDefinition::new("later");
pub const SEGMENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("segments");
pub const JOBS: TableDefinition<u64, &[u8]> = TableDefinition::new("jobs");
pub const IDEMPOTENCY: TableDefinition<(u32, u128), &[u8]> = TableDefinition::new("idempotency");
pub const IDEMPOTENCY_BY_TIME: TableDefinition<(u64, u32, u128), ()> =
    TableDefinition::new("idempotency_by_time");
pub const WIPES: TableDefinition<(u64, u64), u32> = TableDefinition::new("wipes");
pub const QUARANTINE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("quarantine");

use crate::model::delivery::{Queue, QueueKey, Status};
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::time::Wall;
use crate::store::query::Scope;

/// The class of events in `by_status`.
pub const EVENT_CLASS: u8 = 4;

/// A row of `by_status`.
pub fn index_row(scope: Scope, class: u8, seq: u64) -> IndexRow {
    match scope {
        Scope::Project(id) => (0, id.get(), class, seq),
        Scope::Webhook(id) => (1, id.get(), class, seq),
    }
}

/// The class of a status in `by_status`.
pub fn class(status: Status) -> u8 {
    match status {
        Status::Pending => 0,
        Status::Delivered => 1,
        Status::Failed => 2,
        Status::Cancelled => 3,
    }
}

/// The table of a queue.
pub fn queue_table(queue: Queue) -> TableDefinition<'static, QueueRow, &'static [u8]> {
    match queue {
        Queue::Fresh => FRESH,
        Queue::Retry => RETRY,
    }
}

/// A queue's key as redb keeps it; the order of both is the same.
pub fn queue_row(key: QueueKey) -> QueueRow {
    (key.webhook.get(), key.due.0, key.seq.0)
}

/// A queue's key from redb's, `None` if the id is none.
pub fn queue_key(row: QueueRow) -> Option<QueueKey> {
    Some(QueueKey { webhook: WebhookId::new(row.0)?, due: Wall(row.1), seq: Seq(row.2) })
}

/// The bytes of a queue's key, for its checksum.
pub fn queue_key_bytes(row: QueueRow) -> Vec<u8> {
    let mut out = Vec::with_capacity(20);
    out.extend_from_slice(&row.0.to_be_bytes());
    out.extend_from_slice(&row.1.to_be_bytes());
    out.extend_from_slice(&row.2.to_be_bytes());
    out
}

/// The bytes of a revision's key, for its checksum.
pub fn revision_key_bytes(key: (u32, u64)) -> Vec<u8> {
    [key.0.to_be_bytes().as_slice(), &key.1.to_be_bytes()].concat()
}

/// The bytes of an idempotency key, for its checksum.
pub fn idempotency_key_bytes(project: u32, key: u128) -> Vec<u8> {
    [project.to_be_bytes().as_slice(), &key.to_be_bytes()].concat()
}

/// The key of a subscription.
pub fn subscription_key(
    project: ProjectId,
    format: &str,
    event: &str,
    target_url: &str,
) -> Vec<u8> {
    let project = project.get().to_be_bytes();
    let parts = [format.as_bytes(), event.as_bytes(), target_url.as_bytes()].join(&0);
    [project.as_slice(), &parts].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_on_disk_is_the_order_in_memory(
            a in (1..5u32, 0..5u64, 0..5u64), b in (1..5u32, 0..5u64, 0..5u64),
        ) {
            let (x, y) = (queue_key(a).expect("an id"), queue_key(b).expect("an id"));
            prop_assert_eq!(x.cmp(&y), queue_row(x).cmp(&queue_row(y)));
            prop_assert_eq!(x.cmp(&y), queue_key_bytes(a).cmp(&queue_key_bytes(b)));
        }
    }
}
