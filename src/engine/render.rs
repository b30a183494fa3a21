//! How a request of a delivery looks: what is sent, and what is shown of it later.
//!
//! Owns the headers that are ours. Must never depend on anything but its arguments: what a webhook's
//! revision, an event and an attempt's record say has to give the same bytes again.

use std::fmt::{self, Write as _};
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
    let mut values = Values::default();
    for (name, value) in &signed {
        values.text(name_of(name)?, value);
    }
    values.id(EVENT, cached.event.id);
    values.id(WEBHOOK, webhook.id);
    values.number(ATTEMPT, recipe.number.into());
    values.number(SEQUENCE, recipe.delivery.0);
    let mut headers = Vec::with_capacity(HEADERS_USUAL + webhook.headers.len());
    headers.extend([
        (header::CONTENT_TYPE, HeaderValue::from_static(dialect::content_type(webhook.format))),
        (header::ACCEPT, HeaderValue::from_static("*/*")),
        (header::USER_AGENT, recipe.user_agent.clone()),
    ]);
    values.end(&mut headers)?;
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

const EVENT: HeaderName = HeaderName::from_static("postrider-event");
const WEBHOOK: HeaderName = HeaderName::from_static("postrider-webhook");
const ATTEMPT: HeaderName = HeaderName::from_static("postrider-attempt");
const SEQUENCE: HeaderName = HeaderName::from_static("postrider-sequence");
const UPLOADCARE_SIGNATURE: HeaderName = HeaderName::from_static("x-uc-signature");
const WEBHOOK_ID: HeaderName = HeaderName::from_static(sign::WEBHOOK_ID);
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static(sign::WEBHOOK_TIMESTAMP);
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static(sign::WEBHOOK_SIGNATURE);
/// Headers of a request whose webhook adds none.
const HEADERS_USUAL: usize = 12;
/// What the values take as a rule, in bytes.
const VALUES_BYTES_USUAL: usize = 320;
/// What path, names and values take together as a rule, in bytes.
const HEAD_BYTES_USUAL: usize = 768;

/// The name of a signature's header. Those of most requests need no parsing.
fn name_of(name: &'static str) -> Option<HeaderName> {
    match name {
        sign::UPLOADCARE_SIGNATURE => Some(UPLOADCARE_SIGNATURE),
        sign::WEBHOOK_ID => Some(WEBHOOK_ID),
        sign::WEBHOOK_TIMESTAMP => Some(WEBHOOK_TIMESTAMP),
        sign::WEBHOOK_SIGNATURE => Some(WEBHOOK_SIGNATURE),
        other => HeaderName::try_from(other).ok(),
    }
}

/// Values of headers, one behind the other in one buffer that they share: a request is copied
/// before it is sent, in case its connection turns out to be dead, and so copies no value.
struct Values {
    text: String,
    /// Each with the place where its value ends.
    names: Vec<(HeaderName, usize)>,
}

impl Default for Values {
    fn default() -> Values {
        Values {
            text: String::with_capacity(VALUES_BYTES_USUAL),
            names: Vec::with_capacity(HEADERS_USUAL),
        }
    }
}

impl Values {
    fn text(&mut self, name: HeaderName, value: &str) {
        self.text.push_str(value);
        self.names.push((name, self.text.len()));
    }

    fn number(&mut self, name: HeaderName, value: u64) {
        self.text(name, itoa::Buffer::new().format(value));
    }

    fn id(&mut self, name: HeaderName, value: impl fmt::Display) {
        // A string takes everything.
        let _ = write!(self.text, "{value}");
        self.names.push((name, self.text.len()));
    }

    fn end(self, headers: &mut Vec<(HeaderName, HeaderValue)>) -> Option<()> {
        let text = Bytes::from(self.text);
        let mut start = 0;
        for (name, end) in self.names {
            headers.push((name, HeaderValue::from_maybe_shared(text.slice(start..end)).ok()?));
            start = end;
        }
        Some(())
    }
}

/// CRC-32C of a request: the same for what was sent and for what is shown, or something that the
/// request was made of is not what it was (a newer version renders otherwise, for one).
pub(super) fn crc(request: &Request) -> u32 {
    // The body is long enough to be summed as it lies; what is short is put together before.
    let mut head = Vec::with_capacity(HEAD_BYTES_USUAL);
    head.extend_from_slice(request.path_and_query.as_bytes());
    for (name, value) in &request.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    crc32c::crc32c_append(crc32c::crc32c(&head), &request.body)
}
