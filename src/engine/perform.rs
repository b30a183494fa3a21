//! One attempt: load the event, render it, sign it, send it.
//!
//! Owns the order of these steps and the headers that are ours. Must never judge an outcome, and
//! never change a byte between signing and sending.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

use super::cache::Cached;
use super::core::{AttemptEnd, Job, Message};
use crate::clock;
use crate::dialect;
use crate::logic::sign;
use crate::model::attempt::{Failure, Outcome, Phases};
use crate::model::delivery::{CancelledReason, Ending, FailedReason};
use crate::model::event::Source;
use crate::model::ids::DeliveryId;
use crate::net::{Net, Request, Response};
use crate::store::{ReadError, Store};

/// Makes the attempt and says how it ended.
pub(super) async fn attempt(job: Box<Job>, store: Arc<dyn Store>, net: Arc<Net>) -> Message {
    let cached = match load(&job, store).await {
        Ok(cached) => cached,
        Err(Loss::Damaged) => {
            tracing::error!(
                webhook = %job.webhook.id,
                "An event is damaged or gone; its delivery failed."
            );
            return Message::Unsendable(job.row, Ending::Failed(FailedReason::Damaged));
        }
        Err(Loss::Erased) => {
            return Message::Unsendable(job.row, Ending::Cancelled(CancelledReason::Erased));
        }
        Err(Loss::Unreadable) => {
            return Message::Ended(Box::new(AttemptEnd {
                row: job.row,
                probe: job.probe,
                started: clock::now().wall,
                delivery: None,
                is_notice: false,
                response: now_failed(Failure::OutOfResources),
            }));
        }
    };
    let id = cached.event.id.delivery(job.row.key.seq);
    let started = clock::now().wall;
    let request = request(&job, &cached, &id, started.unix_seconds());
    // The attempt may wait for a minute, and thousands may: only what it needs is held meanwhile.
    let is_notice = cached.event.source == Source::Notice;
    drop(cached);
    let Job { row, probe, .. } = *job;
    let response = match request {
        Some(request) => net.attempt(request).await,
        None => now_failed(Failure::RequestInvalid),
    };
    let delivery = Some(id);
    Message::Ended(Box::new(AttemptEnd { row, probe, started, delivery, is_notice, response }))
}

enum Loss {
    Damaged,
    Erased,
    Unreadable,
}

async fn load(job: &Job, store: Arc<dyn Store>) -> Result<Arc<Cached>, Loss> {
    if let Some(cached) = &job.event {
        return Ok(Arc::clone(cached));
    }
    let seq = job.row.event;
    let read = tokio::task::spawn_blocking(move || store.event(seq)).await;
    match read {
        Ok(Ok(Some(event))) if event.erased_at.is_some() => Err(Loss::Erased),
        Ok(Ok(Some(event))) => Ok(Arc::new(Cached::new(event))),
        Ok(Ok(None) | Err(ReadError::Damaged { .. })) => Err(Loss::Damaged),
        Ok(Err(error)) => {
            tracing::error!(%error, "An event can't be read.");
            Err(Loss::Unreadable)
        }
        Err(_) => Err(Loss::Unreadable),
    }
}

/// The request as it will be sent; `None` if it can't be: what is stored is no payload.
fn request(job: &Job, cached: &Cached, id: &DeliveryId, timestamp_s: u64) -> Option<Request> {
    let webhook = &job.webhook;
    let shared = cached.shared(webhook.format).ok()?;
    let body = dialect::body(&shared, webhook, &job.project.public_key);
    let signed = sign::signatures(webhook, id, timestamp_s, &body);
    let ours = [
        ("postrider-event", cached.event.id.to_string()),
        ("postrider-webhook", webhook.id.to_string()),
        ("postrider-attempt", (job.row.attempts + 1).to_string()),
        ("postrider-sequence", job.row.key.seq.0.to_string()),
    ];
    let mut headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static(dialect::content_type(webhook.format))),
        (header::ACCEPT, HeaderValue::from_static("*/*")),
        (header::USER_AGENT, job.user_agent.clone()),
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
        allow: Arc::clone(&job.allow),
        listener: webhook.listener,
    })
}

fn now_failed(failure: Failure) -> Response {
    Response {
        outcome: Outcome::Failure(failure),
        address: None,
        phases: Phases::default(),
        headers: Vec::new(),
        body: Vec::new(),
        body_truncated: false,
        retry_after: None,
        refused: None,
    }
}
