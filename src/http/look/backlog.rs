//! The backlog of a target by age, as `qshape` shows that of a mail server.
//!
//! Owns the buckets, and how many deliveries are counted at most. The oldest are counted first, so
//! that what a count leaves out is young.

use super::super::api::Api;
use super::unreadable;
use crate::clock;
use crate::dialect::object::Object;
use crate::http::body::Body;
use crate::model::delivery::Status;
use crate::model::ids::{Seq, WebhookId};
use crate::model::time::{HOUR_MS, MINUTE_MS, SECOND_MS, Wall};
use crate::store::query::{DeliveryQuery, Order, Scope};
use crate::store::{ReadError, Store};

/// Deliveries that are counted for one request; a list shares them among its targets.
pub(in super::super) const COUNTED_MAX: usize = 10_000;

/// The buckets: accepted no longer ago than this.
const BUCKETS: [(&str, u64); 7] = [
    ("5s", 5 * SECOND_MS),
    ("1m", MINUTE_MS),
    ("5m", 5 * MINUTE_MS),
    ("1h", HOUR_MS),
    ("6h", 6 * HOUR_MS),
    ("24h", 24 * HOUR_MS),
    ("72h", 72 * HOUR_MS),
];

/// The names of the buckets, the last for what is older than all others.
pub(in super::super) fn bucket_names() -> impl Iterator<Item = &'static str> {
    BUCKETS.iter().map(|(name, _)| *name).chain(["older"])
}

/// What waits for one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Backlog {
    /// One for each of [`BUCKETS`], and one for what is older than all of them.
    counts: [u64; BUCKETS.len() + 1],
    /// Whether there may be more than was counted.
    is_more: bool,
}

impl Backlog {
    /// As an object.
    pub(in super::super) fn end(&self) -> Vec<u8> {
        let object = bucket_names()
            .zip(self.counts)
            .fold(Object::new(), |object, (name, count)| object.number(name, count));
        object.number("counted", self.counts.iter().sum()).flag("is_more", self.is_more).end()
    }

    fn count(&mut self, now: Wall, accepted: Wall) {
        let age_ms = now.since(accepted);
        let bucket = BUCKETS.iter().position(|(_, upto_ms)| age_ms <= *upto_ms);
        self.counts[bucket.unwrap_or(BUCKETS.len())] += 1;
    }
}

/// The backlogs of targets, of which these webhooks deliver to each.
pub(in super::super) async fn backlogs(
    api: &Api,
    targets: Vec<Vec<WebhookId>>,
) -> Result<Vec<Backlog>, http::Response<Body>> {
    let now = clock::now().wall;
    let counted_max = COUNTED_MAX / targets.len().max(1);
    let read = move |store: &dyn Store| {
        let counted = targets.iter().map(|webhooks| backlog(store, webhooks, now, counted_max));
        counted.collect()
    };
    api.handle.look(read).await.map_err(|error| unreadable(&error))
}

pub(super) fn backlog(
    store: &dyn Store,
    webhooks: &[WebhookId],
    now: Wall,
    counted_max: usize,
) -> Result<Backlog, ReadError> {
    let mut backlog = Backlog::default();
    let mut left = counted_max;
    for webhook in webhooks {
        if left == 0 {
            backlog.is_more = true;
            break;
        }
        let rows = store.deliveries(&DeliveryQuery {
            scope: Scope::Webhook(*webhook),
            status: Some(Status::Pending),
            from: Seq(0),
            to: Seq(u64::MAX),
            order: Order::OldestFirst,
            rows_max: left,
        })?;
        for row in &rows {
            backlog.count(now, row.seq().wall());
        }
        backlog.is_more |= rows.len() == left;
        // To find none is work too.
        left -= rows.len().max(1);
    }
    Ok(backlog)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_end_at_their_age() {
        let now = Wall(100 * HOUR_MS);
        let mut backlog = Backlog::default();
        for (name, age_ms) in BUCKETS {
            backlog.count(now, Wall(now.0 - age_ms));
            assert!(age_ms > 0, "{name}");
        }
        backlog.count(now, Wall(now.0 - 72 * HOUR_MS - 1));
        // A clock that has been put right since.
        backlog.count(now, Wall(now.0 + 1));
        let shown = String::from_utf8(backlog.end()).expect("JSON");
        assert_eq!(
            shown,
            r#"{"5s":2,"1m":1,"5m":1,"1h":1,"6h":1,"24h":1,"72h":1,"older":1,"counted":9,"is_more":false}"#
        );
    }
}
