//! `/deliveries/{id}/explain/`: why a delivery has not arrived, or how it ended.
//!
//! Owns gathering what is known. Must never decide or word anything: that is `logic::explain`'s.

use http::{Response, StatusCode};

use super::super::api::{Api, Call};
use super::super::body::Body;
use super::super::respond::{self, JSON};
use super::one::{self, Found};
use super::{delivery_id, instant, not_found, stopping, unreadable};
use crate::dialect::object::Object;
use crate::logic::explain::words::{Value, Words, words};
use crate::logic::explain::{Facts, Place};
use crate::model::attempt::Attempt;
use crate::model::delivery::Delivery;
use crate::model::ids::DeliveryId;
use crate::store::Store;
use crate::{clock, logic};

/// A delivery that moves on while it is looked at is looked at again, so often.
const LOOKS_MAX: u32 = 4;

pub(in super::super) async fn explain(
    api: &Api,
    call: &Call,
    id: Option<DeliveryId>,
) -> Response<Body> {
    let Some(id) = id else { return not_found() };
    let project = call.project().id;
    let read = move |store: &dyn Store| {
        let Some(found) = one::find(store, project, id)? else { return Ok(None) };
        Ok(Some((found, store.last_attempt(id.seq)?)))
    };
    for look in 1..=LOOKS_MAX {
        let (found, last) = match api.handle.look(read).await {
            Ok(Some(found)) => found,
            Ok(None) => return not_found(),
            Err(error) => return unreadable(&error),
        };
        let (standing, now) = match &found.delivery {
            Delivery::Finished(_) => (None, clock::now().wall),
            Delivery::Pending(row) => match api.handle.standing(*row).await {
                Some((standing, now)) => (Some(standing), now),
                None => return stopping(),
            },
        };
        // What the store shows may be older than where it stands, unless it stands there still.
        let is_settled = match &found.delivery {
            Delivery::Finished(_) => true,
            pending => match api.handle.look(move |store| store.delivery(id.seq)).await {
                Ok(again) => again.as_ref() == Some(pending),
                Err(error) => return unreadable(&error),
            },
        };
        if is_settled || look == LOOKS_MAX {
            let body = told(api, &found, standing.as_ref(), last.as_ref(), now);
            return respond::bytes(StatusCode::OK, JSON, body);
        }
    }
    not_found()
}

fn told(
    api: &Api,
    found: &Found,
    standing: Option<&logic::dispatcher::standing::Standing>,
    last: Option<&Attempt>,
    now: crate::model::time::Wall,
) -> Vec<u8> {
    let (webhook, target_paused_since) = {
        let catalog = api.handle.catalog();
        let webhook = catalog.webhook(found.delivery.webhook()).cloned();
        let origin = webhook.as_ref().map(|webhook| webhook.target_url.origin());
        let paused = origin.and_then(|origin| catalog.operator().target(origin).paused_since);
        (webhook, paused)
    };
    let facts = Facts {
        now,
        delivery: &found.delivery,
        webhook: webhook.as_deref(),
        target_paused_since,
        standing,
        last,
        is_erased: found.event.as_ref().is_some_and(|event| event.erased_at.is_some()),
    };
    let place = Place {
        webhook: found.delivery.webhook().get(),
        target: webhook.as_ref().map(|webhook| webhook.target_url.origin()),
    };
    let reason = logic::explain::explain(&facts);
    object(found, &words(&reason, &place))
}

fn object(found: &Found, words: &Words) -> Vec<u8> {
    let fields = words.fields.iter().fold(Object::new(), |object, (name, value)| match value {
        Value::Text(text) => object.text(name, text),
        Value::Number(number) => object.number(name, *number),
        Value::Flag(flag) => object.flag(name, *flag),
        Value::At(at) => object.text(name, &at.rfc3339_micros()),
        Value::None => object.raw(name, b"null"),
    });
    let id = delivery_id(found.event.as_deref(), found.delivery.seq());
    let object = Object::new()
        .text("id", &id.to_string())
        .text("status", found.delivery.status().as_str())
        .text("reason", &words.reason)
        .text("explanation", &words.explanation)
        .text("next", &words.next);
    instant(object, "next_at", words.next_at)
        .text_or_null("action", words.action.as_deref())
        .raw("fields", &fields.end())
        .end()
}
