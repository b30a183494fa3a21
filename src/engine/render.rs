//! How a request of a delivery looks: what is sent, and what is shown of it later.
//!
//! Owns the headers that are ours. Must never depend on anything but its arguments: what a webhook's
//! revision, an event and an attempt's record say has to give the same bytes again.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

use super::cache::Cached;
use crate::dialect;
use crate::logic::address::AllowList;
use crate::logic::sign;
use crate::model::ids::Seq;
use crate::model::time::Wall;
use crate::model::webhook::Webhook;
use crate::net::Request;

/// What a request is made of, beside its event.
pub(super) struct Recipe<'a> {
    /// The webhook as it is at the time.
    pub(super) webhook: &'a Webhook,
    /// Its project's public key.
    pub(super) public_key: &'a str,
    /// The delivery.
    pub(super) delivery: Seq,
    /// The attempt's number, from 1.
    pub(super) number: u32,
    /// When it starts: what is signed names the second.
    pub(super) started: Wall,
    /// What the request calls itself.
    pub(super) user_agent: &'a HeaderValue,
    /// What the address check lets through for the project.
    pub(super) allow: &'a Arc<AllowList>,
}

/// The request as it will be sent; `None` if it can't be: what is stored is no payload.
pub(super) fn request(recipe: &Recipe<'_>, cached: &Cached) -> Option<Request> {
    let webhook = recipe.webhook;
    let id = cached.event.id.delivery(recipe.delivery);
    let shared = cached.shared(webhook.format).ok()?;
    let body = dialect::body(&shared, webhook, recipe.public_key);
    let signed = sign::signatures(webhook, &id, recipe.started.unix_seconds(), &body);
    let ours = [
        ("postrider-event", cached.event.id.to_string()),
        ("postrider-webhook", webhook.id.to_string()),
        ("postrider-attempt", recipe.number.to_string()),
        ("postrider-sequence", recipe.delivery.0.to_string()),
    ];
    let mut headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static(dialect::content_type(webhook.format))),
        (header::ACCEPT, HeaderValue::from_static("*/*")),
        (header::USER_AGENT, recipe.user_agent.clone()),
    ];
    for (name, value) in signed.into_iter().chain(ours) {
        headers.push((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
    }
    for (name, value) in &webhook.headers {
        headers.push((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
    }
    Some(Request {
        origin: webhook.target_url.origin().clone(),
        path_and_query: webhook.target_url.path_and_query().to_owned(),
        headers,
        body: Bytes::from(body),
        allow: Arc::clone(recipe.allow),
        listener: webhook.listener,
    })
}

/// CRC-32C of a request: the same for what was sent and for what is shown, or something that the
/// request was made of is not what it was (a newer version renders otherwise, for one).
pub(super) fn crc(request: &Request) -> u32 {
    let mut crc = crc32c::crc32c(request.path_and_query.as_bytes());
    for (name, value) in &request.headers {
        crc = crc32c::crc32c_append(crc, name.as_str().as_bytes());
        crc = crc32c::crc32c_append(crc, value.as_bytes());
    }
    crc32c::crc32c_append(crc, &request.body)
}
