//! A request of the past, shown as it was sent.
//!
//! Owns what has to be found again for that: the attempt's record, the event, the webhook as it was
//! then. Must never show anything else in its place: what can't be shown is an error that says why.
//!
//! Nothing of a request is stored. It is rendered again by the function that rendered it, and its
//! checksum is compared with that of the one that was sent.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use thiserror::Error;

use super::Handle;
use super::cache::Cached;
use super::render::{self, Recipe};
use crate::logic::address::AllowList;
use crate::model::attempt::Attempt;
use crate::model::delivery::Delivery;
use crate::model::ids::{ProjectId, Seq};
use crate::model::webhook::Webhook;
use crate::store::{ReadError, Store};

/// A request as its target got it. A proxy's own headers are no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The project whose delivery it is of.
    pub project: ProjectId,
    /// Its method.
    pub method: &'static str,
    /// The URL that the webhook had.
    pub url: String,
    /// What its first line asks for: the URL's path and query.
    pub path_and_query: String,
    /// Its headers in the order in which they were sent, those of the connection included.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Bytes,
    /// Whether these are the bytes that were sent. If not, something outside of the log has changed
    /// since: this version renders otherwise, or the project got another public key.
    pub is_exact: bool,
}

impl Sent {
    /// Its first line and its headers, as they go over the wire.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.path_and_query).into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// Why a request can't be shown.
#[derive(Debug, Error)]
pub enum SentError {
    /// There is no such delivery, or it is older than what is kept.
    #[error("no such delivery, or its log is not kept any more")]
    NoDelivery,
    /// The delivery has no such attempt in its log.
    #[error("the delivery has no attempt {0} in its log")]
    NoAttempt(u32),
    /// The attempt failed before there was a request.
    #[error("no request was made in this attempt")]
    NothingSent,
    /// The event was erased, and its request with it.
    #[error("the event was erased")]
    Erased,
    /// The event is older than what is kept.
    #[error("the event is not kept any more")]
    EventGone,
    /// The webhook as it was then is not kept any more.
    #[error("the webhook as it was then is not kept any more")]
    WebhookGone,
    /// The project was removed.
    #[error("the project was removed")]
    ProjectGone,
    /// The store can't be read, or what it holds is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What a request is rendered from.
struct Found {
    attempt: Attempt,
    cached: Cached,
    webhook: Webhook,
}

impl Handle {
    /// The attempts of a delivery that are in its log, in order. Reads the disk.
    pub async fn attempts(&self, delivery: Seq) -> Result<Vec<Attempt>, ReadError> {
        self.look(move |store| store.attempts(delivery)).await
    }

    /// The request of one attempt of a delivery, as it was sent. Reads the disk.
    pub async fn sent(&self, delivery: Seq, number: u32) -> Result<Sent, SentError> {
        let store = Arc::clone(&self.store);
        let found = self.looks.read(move || find(&*store, delivery, number)).await?;
        let Found { attempt, cached, webhook } = found?;
        let project = self.catalog().project(webhook.project).cloned();
        let project = project.ok_or(SentError::ProjectGone)?;
        let mark = attempt.request.as_ref().ok_or(SentError::NothingSent)?;
        let user_agent =
            HeaderValue::try_from(&*mark.user_agent).map_err(|_| SentError::NothingSent)?;
        let recipe = Recipe {
            webhook: &webhook,
            public_key: &project.public_key,
            delivery,
            number: attempt.number,
            started: attempt.started,
            user_agent: &user_agent,
            // Nothing is dialled.
            allow: &Arc::new(AllowList::default()),
        };
        let request = render::request(&recipe, &cached).ok_or(SentError::NothingSent)?;
        let is_exact = render::crc(&request) == mark.crc;
        let wire = request.wire().ok_or(SentError::NothingSent)?;
        Ok(Sent {
            project: webhook.project,
            method: wire.method,
            url: webhook.target_url.as_str().to_owned(),
            path_and_query: request.path_and_query,
            headers: wire.headers,
            body: request.body,
            is_exact,
        })
    }
}

fn find(store: &dyn Store, delivery: Seq, number: u32) -> Result<Found, SentError> {
    let (event, webhook) = match store.delivery(delivery)?.ok_or(SentError::NoDelivery)? {
        Delivery::Pending(row) => (row.event, row.key.webhook),
        Delivery::Finished(end) => (end.event, end.webhook),
    };
    let attempts = store.attempts(delivery)?;
    let attempt = attempts.into_iter().find(|attempt| attempt.number == number);
    let attempt = attempt.ok_or(SentError::NoAttempt(number))?;
    let event = store.event(event)?.ok_or(SentError::EventGone)?;
    if event.erased_at.is_some() {
        return Err(SentError::Erased);
    }
    let webhook = store.revision(webhook, attempt.revision)?.ok_or(SentError::WebhookGone)?;
    Ok(Found { attempt, cached: Cached::new(event), webhook })
}
