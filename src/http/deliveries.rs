//! `/deliveries/{id}/…` and `/events/{id}/replay/`: one delivery again, or no more; one event again.
//!
//! Owns how these are asked for and answered. Must never tell another project's delivery or event
//! from one that does not exist.

use http::{Response, StatusCode};

use super::api::{self, Api, Call, command_error};
use super::body::Body;
use super::events;
use super::manage;
use super::operator::field_error;
use super::respond::{self, JSON};
use super::route::DeliveryAction;
use crate::dialect::body::Fields;
use crate::dialect::object::Object;
use crate::engine::command::act::{Act, Acted, Replayed};
use crate::engine::command::{Answer, Command, CommandError};
use crate::model::delivery::Delivery;
use crate::model::ids::{DeliveryId, EventId, WebhookId};

pub(super) async fn act(
    api: &Api,
    call: &Call,
    id: Option<DeliveryId>,
    action: DeliveryAction,
) -> Response<Body> {
    let Some(id) = id else { return not_found() };
    let act = match action {
        DeliveryAction::Resend => Act::Resend(id),
        DeliveryAction::Cancel => Act::Cancel(id),
    };
    match done(api, call, act).await {
        Ok(Acted::Delivery(id, delivery)) => {
            respond::bytes(StatusCode::OK, JSON, object(id, &delivery))
        }
        Ok(_) => respond::no_content(),
        Err(error) => command_error(&error, JSON),
    }
}

pub(super) async fn replay(api: &Api, call: &Call, id: Option<EventId>) -> Response<Body> {
    let Some(id) = id else { return not_found() };
    match events::find(api, call, id).await {
        Ok(Some(_)) => {}
        Ok(None) => return not_found(),
        Err(error) => return events::unreadable(&error),
    }
    let fields = match fields(call) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    if let Some(name) = fields.names().find(|name| *name != "webhook") {
        return field_error(name, "Unknown field. Known is webhook.");
    }
    let webhook = match webhook(api, call, &fields) {
        Ok(webhook) => webhook,
        Err(refusal) => return *refusal,
    };
    match done(api, call, Act::Replay(id, webhook)).await {
        Ok(Acted::Replayed(Replayed { resent, created, waiting })) => {
            let object = Object::new().number("resent", resent).number("created", created);
            respond::bytes(StatusCode::OK, JSON, object.number("waiting", waiting).end())
        }
        Ok(_) => respond::no_content(),
        Err(error) => command_error(&error, JSON),
    }
}

/// Has something done to deliveries of the call's project.
pub(super) async fn done(api: &Api, call: &Call, act: Act) -> Result<Acted, CommandError> {
    let command = Command::Act { project: call.project().id, act };
    match api.handle.command(command).await? {
        Answer::Acted(acted) => Ok(*acted),
        // Every act is answered by what it did.
        _ => Err(CommandError::NotFound),
    }
}

pub(super) fn fields(call: &Call) -> Result<Fields, api::Unreadable> {
    api::fields(&call.parts, call.proven.body(), JSON)
}

/// The webhook that a request names, if it does.
pub(super) fn webhook(
    api: &Api,
    call: &Call,
    fields: &Fields,
) -> Result<Option<WebhookId>, api::Unreadable> {
    let Some(field) = fields.given("webhook") else { return Ok(None) };
    let id = field.as_u32().and_then(WebhookId::new);
    let id = id.or_else(|| field.as_text().and_then(WebhookId::parse));
    match id.filter(|id| manage::find(api, call, *id).is_some()) {
        Some(id) => Ok(Some(id)),
        None => {
            let text = format!("There is no webhook \"{}\".", field.shown());
            Err(Box::new(field_error("webhook", &text)))
        }
    }
}

fn object(id: DeliveryId, delivery: &Delivery) -> Vec<u8> {
    let reason = match delivery {
        Delivery::Pending(_) => None,
        Delivery::Finished(end) => end.ending.words().1,
    };
    Object::new()
        .text("id", &id.to_string())
        .number("webhook", u64::from(delivery.webhook().get()))
        .text("status", delivery.status().as_str())
        .text_or_null("reason", reason)
        .number("attempts", u64::from(delivery.attempts()))
        .end()
}

pub(super) fn not_found() -> Response<Body> {
    respond::detail(StatusCode::NOT_FOUND, JSON, "Not found.")
}
