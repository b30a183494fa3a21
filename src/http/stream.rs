//! `GET /deliveries/stream/`: the changes of a project's deliveries as they happen, as server-sent
//! events.
//!
//! Owns the filters, the form of each event, and the life of a stream. Must never hold more for a
//! client than two parts: what a slow one has not taken stays in the feed, and what the feed has no
//! longer is told as a gap. Must never hold up a stop.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tokio::sync::watch;

use super::api::{Api, Call};
use super::auth::query_value;
use super::body::{Body, StreamSender};
use super::limits::RetryAfterSeconds;
use super::operator::field_error;
use super::respond::{self, JSON};
use crate::clock;
use crate::dialect::object::Object;
use crate::engine::Handle;
use crate::engine::feed::{Change, Follower, Gap, Look, Position, State, What};
use crate::model::attempt::Outcome;
use crate::model::event::EventName;
use crate::model::ids::{EventId, Seq, WebhookId};
use crate::model::project::Project;

/// What browsers call such a stream.
pub(super) const EVENT_STREAM: &str = "text/event-stream";
/// Parts that may wait for a client.
const PARTS_MAX: usize = 2;
/// Changes in one part. Each is at most about 1 KiB, and mostly 400 bytes.
const PART_CHANGES_MAX: usize = 64;
/// Events whose names one stream remembers.
const HEADS_MAX: usize = 512;
/// How long changes gather before they are told, so that a busy feed is not looked at for each.
const GATHER_MS: u64 = 20;
/// How soon a client is to come back.
const RETRY_MS: u64 = 2_000;
/// When all streams are taken.
const BUSY_WAIT: RetryAfterSeconds = RetryAfterSeconds(10);
/// How long a stop waits for a client to take the hint.
const HINT_MS_MAX: u64 = 500;
/// What can be filtered by, and where to go on.
const PARAMETERS: [&str; 4] = ["webhook", "status", "event", "last_event_id"];
/// The states of a delivery.
pub(super) const STATUSES: [&str; 4] = ["pending", "delivered", "failed", "cancelled"];

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx would gather the stream before it passes it on.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Which changes are told.
#[derive(Debug, Default)]
struct Filter {
    webhook: Option<WebhookId>,
    status: Option<&'static str>,
    event: Option<EventName>,
}

/// Opens a stream: from now on, or from behind what the client has seen.
pub(super) fn open(api: &Api, call: &Call) -> Response<Body> {
    let opened = filter(api, call).and_then(|filter| Ok((filter, seen_before(call)?)));
    let (filter, after) = match opened {
        Ok(opened) => opened,
        Err(refusal) => return *refusal,
    };
    if call.parts.method == Method::HEAD {
        return with_headers(respond::stream(StatusCode::OK, EVENT_STREAM, Body::empty()));
    }
    let Ok(slot) = Arc::clone(&api.streams).try_acquire_owned() else {
        let text = format!(
            "All {} streams are taken ([server] streams_max); try again later.",
            api.config.streams_max
        );
        return respond::unavailable(JSON, &text, BUSY_WAIT);
    };
    let stream = Stream {
        project: Arc::clone(call.project()),
        follower: api.handle.feed().follow(call.project().id, after),
        handle: api.handle.clone(),
        news: api.handle.feed().news(),
        filter,
        heads: BTreeMap::new(),
        heartbeat_ms: api.config.stream_heartbeat_ms,
        told: after,
    };
    let (sender, body) = Body::stream(PARTS_MAX, slot);
    tokio::spawn(stream.run(sender));
    with_headers(respond::stream(StatusCode::OK, EVENT_STREAM, body))
}

fn with_headers(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

type Refusal = Box<Response<Body>>;

fn filter(api: &Api, call: &Call) -> Result<Filter, Refusal> {
    let refuse = |name: &str, text: &str| Box::new(field_error(name, text));
    let query = call.parts.uri.query().unwrap_or_default();
    let names = query.split('&').filter(|pair| !pair.is_empty());
    let mut names = names.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    if let Some(name) = names.find(|name| !PARAMETERS.contains(name)) {
        let known = PARAMETERS.join(", ");
        return Err(refuse(name, &format!("Unknown parameter. Known are {known}.")));
    }
    let mut filter = Filter::default();
    if let Some(text) = query_value(query, "webhook") {
        let catalog = api.handle.catalog();
        let own = |id: &WebhookId| {
            catalog.webhook(*id).is_some_and(|one| one.project == call.project().id)
        };
        filter.webhook = WebhookId::parse(text).filter(own);
        if filter.webhook.is_none() {
            return Err(Box::new(respond::detail(StatusCode::NOT_FOUND, JSON, "Not found.")));
        }
    }
    if let Some(text) = query_value(query, "status") {
        filter.status = STATUSES.into_iter().find(|status| *status == text);
        if filter.status.is_none() {
            let known = STATUSES.join(", ");
            return Err(refuse("status", &format!("\"{text}\" is none of {known}.")));
        }
    }
    if let Some(text) = query_value(query, "event") {
        filter.event = EventName::parse(text);
        if filter.event.is_none() {
            return Err(refuse("event", &format!("\"{text}\" is not an event name.")));
        }
    }
    Ok(filter)
}

/// Where the client stopped: by the header, or where it can send none, by the query.
fn seen_before(call: &Call) -> Result<Option<Position>, Refusal> {
    let query = call.parts.uri.query().unwrap_or_default();
    let header = call.header(LAST_EVENT_ID).filter(|text| !text.is_empty());
    let (name, text) = match (header, query_value(query, "last_event_id")) {
        (Some(text), _) => ("Last-Event-ID", text),
        (None, Some(text)) => ("last_event_id", text),
        (None, None) => return Ok(None),
    };
    let refuse = || {
        let text = format!("\"{text}\" is no id of an event of this stream.");
        Box::new(field_error(name, &text))
    };
    Position::parse(text).map(Some).ok_or_else(refuse)
}

type Head = Option<(EventId, EventName)>;

/// A stream while its client is there.
struct Stream {
    /// As it was when the stream was opened.
    project: Arc<Project>,
    handle: Handle,
    follower: Follower,
    news: watch::Receiver<u64>,
    filter: Filter,
    heads: BTreeMap<Seq, Head>,
    heartbeat_ms: u64,
    /// The last place that the client was told.
    told: Option<Position>,
}

impl Stream {
    async fn run(mut self, sender: StreamSender) {
        let handle = self.handle.clone();
        tokio::select! {
            biased;
            () = handle.draining() => {
                // Who does not take it comes back by itself.
                let hint = Bytes::from(format!(": stopping\nretry: {RETRY_MS}\n\n"));
                let _ = clock::within(HINT_MS_MAX, sender.send(hint)).await;
            }
            () = sender.gone() => {}
            () = self.tell(&sender) => {}
        }
    }

    /// Tells until the client, the project or one of its keys has gone.
    async fn tell(&mut self, sender: &StreamSender) {
        let mut part = self.beat(&format!("retry: {RETRY_MS}\n"));
        while self.is_entitled() {
            if !part.is_empty() && sender.send(part.into()).await.is_err() {
                return;
            }
            part = self.next().await;
        }
    }

    /// Whether the project and its keys are still there. One of them opened the stream, and which
    /// one is not held: whoever still has a key comes back by itself.
    fn is_entitled(&self) -> bool {
        let catalog = self.handle.catalog();
        let project = catalog.project(self.project.id);
        project.is_some_and(|now| {
            self.project.secret_keys.iter().all(|key| now.secret_keys.contains(key))
        })
    }

    /// The next part; empty if nothing of what changed is for this client.
    async fn next(&mut self) -> Vec<u8> {
        self.news.mark_unchanged();
        let look = self.handle.feed().look(&mut self.follower, PART_CHANGES_MAX);
        if look.changes.is_empty() && look.gap.is_none() && !look.more {
            match clock::within(self.heartbeat_ms, self.news.changed()).await {
                Ok(_) => clock::sleep(GATHER_MS).await,
                Err(_) => return self.beat(""),
            }
            return Vec::new();
        }
        self.render(look).await
    }

    /// A comment, and where the client would go on: so that one whose filter lets nothing through
    /// does not come back to a gap.
    fn beat(&mut self, before: &str) -> Vec<u8> {
        let seen = self.follower.seen();
        // Nothing of another process was looked at yet, if that is where the client stopped.
        let is_news = self.told.is_none_or(|told| told.boot == seen.boot && told != seen);
        self.told = Some(seen);
        let id = if is_news { format!("id: {seen}\n") } else { String::new() };
        format!("{before}:\n{id}\n").into_bytes()
    }

    async fn render(&mut self, look: Look) -> Vec<u8> {
        let mut part = Vec::new();
        if let Some(gap) = &look.gap {
            write(&mut part, gap.upto, "gap", &gap_data(gap));
            self.told = Some(gap.upto);
        }
        self.learn(&look).await;
        for (position, change) in &look.changes {
            let (name, status) = words(change);
            let head = match change.what {
                What::Delivery { event, .. } => self.heads.get(&event).and_then(Option::as_ref),
                What::Lane { .. } => None,
            };
            if !self.filter.lets(change, status, head) {
                continue;
            }
            let data = self.data(change, status, head);
            write(&mut part, *position, name, &data);
            self.told = Some(*position);
        }
        part
    }

    /// Reads the names of events that are not known yet.
    async fn learn(&mut self, look: &Look) {
        if self.heads.len() > HEADS_MAX {
            self.heads.clear();
        }
        let mut unknown: Vec<Seq> = Vec::new();
        for (_, change) in &look.changes {
            if let What::Delivery { event, .. } = change.what
                && self.filter.may_let(change)
                && !self.heads.contains_key(&event)
            {
                unknown.push(event);
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        if !unknown.is_empty() {
            let heads = self.handle.event_heads(unknown.clone()).await;
            self.heads.extend(unknown.into_iter().zip(heads));
        }
    }

    fn data(&self, change: &Change, status: &str, head: Option<&(EventId, EventName)>) -> Vec<u8> {
        let target = {
            let catalog = self.handle.catalog();
            catalog.webhook(change.webhook).map(|one| one.target_url.origin().to_string())
        };
        let webhook = u64::from(change.webhook.get());
        let at = change.at.rfc3339_micros();
        let (seq, attempts, outcome, state) = match change.what {
            What::Delivery { seq, attempts, outcome, state, .. } => (seq, attempts, outcome, state),
            What::Lane { upto, ending } => {
                return Object::new()
                    .number("webhook", webhook)
                    .text_or_null("target", target.as_deref())
                    .text("status", status)
                    .text_or_null("reason", ending.words().1)
                    .text("accepted_until", &upto.wall().rfc3339_micros())
                    .text("at", &at)
                    .end();
            }
        };
        let (reason, next) = match state {
            State::Pending(due) => (None, Some(due.rfc3339_micros())),
            State::Ended(ending) => (ending.words().1, None),
        };
        let (code, failure) = match outcome {
            Some(Outcome::Status(code)) => (Some(u32::from(code)), None),
            Some(Outcome::Failure(failure)) => (None, Some(failure.as_str())),
            None => (None, None),
        };
        let id = head.map(|(event, _)| event.delivery(seq).to_string());
        let event_id = head.map(|(event, _)| event.to_string());
        Object::new()
            .text_or_null("id", id.as_deref())
            .text_or_null("event_id", event_id.as_deref())
            .text_or_null("event", head.map(|(_, name)| name.as_str()))
            .number("webhook", webhook)
            .text_or_null("target", target.as_deref())
            .text("status", status)
            .text_or_null("reason", reason)
            .number("attempts", u64::from(attempts))
            .number_or_null("last_code", code)
            .text_or_null("last_failure", failure)
            .text_or_null("next_attempt_at", next.as_deref())
            .text("at", &at)
            .end()
    }
}

impl Filter {
    /// Whether a change is to be told, as far as it can be said without its event's name.
    fn may_let(&self, change: &Change) -> bool {
        self.webhook.is_none_or(|id| id == change.webhook)
            && self.status.is_none_or(|status| status == words(change).1)
    }

    /// What happens to all deliveries of a webhook happens to those of every event.
    fn lets(&self, change: &Change, status: &str, head: Option<&(EventId, EventName)>) -> bool {
        let is_named = match (&self.event, change.what) {
            (None, _) | (_, What::Lane { .. }) => true,
            (Some(wanted), _) => head.is_some_and(|(_, name)| name == wanted),
        };
        is_named
            && self.webhook.is_none_or(|id| id == change.webhook)
            && self.status.is_none_or(|wanted| wanted == status)
    }
}

/// What a change is called, and the status after it.
fn words(change: &Change) -> (&'static str, &'static str) {
    match change.what {
        What::Delivery { state: State::Pending(_), outcome: Some(_), .. } => {
            ("delivery.attempt", "pending")
        }
        What::Delivery { state: State::Pending(_), .. } => ("delivery.pending", "pending"),
        What::Delivery { state: State::Ended(ending), .. } => match ending.words().0 {
            "delivered" => ("delivery.delivered", "delivered"),
            "failed" => ("delivery.failed", "failed"),
            _ => ("delivery.cancelled", "cancelled"),
        },
        What::Lane { ending, .. } => match ending.words().0 {
            "delivered" => ("deliveries.delivered", "delivered"),
            "failed" => ("deliveries.failed", "failed"),
            _ => ("deliveries.cancelled", "cancelled"),
        },
    }
}

fn gap_data(gap: &Gap) -> Vec<u8> {
    let missed = gap.missed.map_or_else(|| "null".to_owned(), |count| count.to_string());
    Object::new()
        .text("after", &gap.after.to_string())
        .text("upto", &gap.upto.to_string())
        .raw("missed", missed.as_bytes())
        .end()
}

/// One server-sent event. JSON without line breaks is one line of data.
fn write(part: &mut Vec<u8>, id: Position, name: &str, data: &[u8]) {
    part.extend_from_slice(format!("id: {id}\nevent: {name}\ndata: ").as_bytes());
    part.extend_from_slice(data);
    part.extend_from_slice(b"\n\n");
}
