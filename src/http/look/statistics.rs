//! What `/webhooks/{id}/` tells of a webhook's deliveries, in our own view.
//!
//! Owns figures that cost a few rows each, however many deliveries there are.

use super::super::api::Api;
use super::super::body::Body;
use super::{instant, unreadable};
use crate::dialect::object::Object;
use crate::model::delivery::{Delivery, Status};
use crate::model::ids::Seq;
use crate::model::time::Wall;
use crate::model::webhook::Webhook;
use crate::store::query::{DeliveryQuery, Order, Scope};
use crate::store::{ReadError, Store};

/// Pending deliveries that are counted.
const PENDING_COUNTED_MAX: usize = 1_000;
/// The newest deliveries of a status among which the one that ended last is looked for.
const NEWEST_ROWS_MAX: usize = 10;

/// The figures of a webhook, as an object.
pub(in super::super) async fn statistics(
    api: &Api,
    webhook: &Webhook,
) -> Result<Vec<u8>, http::Response<Body>> {
    let (id, since) = (webhook.id, webhook.failing_since);
    let read = move |store: &dyn Store| figures(store, Scope::Webhook(id), since);
    api.handle.look(read).await.map_err(|error| unreadable(&error))
}

pub(super) fn figures(
    store: &dyn Store,
    scope: Scope,
    failing_since: Option<Wall>,
) -> Result<Vec<u8>, ReadError> {
    let rows = |status: Status, rows_max: usize| {
        let (status, order) = (Some(status), Order::NewestFirst);
        let (from, to) = (Seq(0), Seq(u64::MAX));
        store.deliveries(&DeliveryQuery { scope, status, from, to, order, rows_max })
    };
    let last = |status: Status| -> Result<Option<Wall>, ReadError> {
        let ended = |delivery: &Delivery| match delivery {
            Delivery::Finished(end) => Some(end.finished),
            Delivery::Pending(_) => None,
        };
        Ok(rows(status, NEWEST_ROWS_MAX)?.iter().filter_map(ended).max())
    };
    let pending = rows(Status::Pending, PENDING_COUNTED_MAX + 1)?.len();
    let object = Object::new()
        .number("pending", pending.min(PENDING_COUNTED_MAX) as u64)
        .flag("is_more_pending", pending > PENDING_COUNTED_MAX);
    let object = instant(object, "last_success_at", last(Status::Delivered)?);
    let object = instant(object, "last_failure_at", last(Status::Failed)?);
    Ok(instant(object, "failing_since", failing_since).end())
}
