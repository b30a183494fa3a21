//! One attempt: load the event, render it, sign it, send it.
//!
//! Owns the order of these steps. Must never judge an outcome, and never change a byte between
//! signing and sending. How a request looks is `render`'s affair, which also shows it again.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::cache::Cached;
use super::core::{AttemptEnd, Message, NextAttempt};
use super::reads::Turns;
use super::recent::Recent;
use super::render::{self, Recipe};
use crate::clock;
use crate::model::attempt::{Failure, Outcome, Phases};
use crate::model::delivery::{CancelledReason, Ending, FailedReason};
use crate::model::event::Source;
use crate::model::ids::Seq;
use crate::net::{Net, Response};
use crate::store::{ReadError, Store};

/// Makes the attempt and says how it ended.
pub(super) async fn attempt(next: Box<NextAttempt>, erasures: u64, outside: &Outside) -> Message {
    let cached = match outside.event(&next, erasures).await {
        Ok(cached) => cached,
        Err(Loss::Damaged) => {
            tracing::error!(
                webhook = %next.webhook.id,
                "An event is damaged or gone; its delivery failed."
            );
            return Message::Unsendable(next.row, Ending::Failed(FailedReason::Damaged));
        }
        Err(Loss::Erased) => {
            return Message::Unsendable(next.row, Ending::Cancelled(CancelledReason::Erased));
        }
        Err(Loss::Unreadable) => {
            return Message::Ended(Box::new(AttemptEnd {
                row: next.row,
                probe: next.probe,
                started: clock::now().wall,
                delivery: None,
                is_notice: false,
                revision: next.webhook.revision,
                request_crc: None,
                response: now_failed(Failure::OutOfResources),
            }));
        }
    };
    let id = cached.event.id.delivery(next.row.key.seq);
    let started = clock::now().wall;
    let recipe = Recipe {
        webhook: &next.webhook,
        public_key: &next.project.public_key,
        delivery: next.row.key.seq,
        number: next.row.attempts + 1,
        started,
        user_agent: &next.user_agent,
        allow: &next.allow,
    };
    let request = render::request(&recipe, &cached);
    let request_crc = request.as_ref().map(render::crc);
    // The attempt may wait for a minute, and thousands may: only what it needs is held meanwhile.
    let is_notice = cached.event.source == Source::Notice;
    drop(cached);
    let revision = next.webhook.revision;
    let NextAttempt { row, probe, .. } = *next;
    let response = match request {
        Some(request) => outside.net.attempt(request).await,
        None => now_failed(Failure::RequestInvalid),
    };
    Message::Ended(Box::new(AttemptEnd {
        row,
        probe,
        started,
        delivery: Some(id),
        is_notice,
        revision,
        request_crc,
        response,
    }))
}

/// What the engine's effects act on: shared by all of them as one.
pub(super) struct Outside {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The way to the targets.
    pub net: Arc<Net>,
    /// The turns of its reads.
    pub reads: Turns,
    /// The events of the last moments.
    pub recent: Recent,
    /// The loop's messages.
    pub messages: mpsc::UnboundedSender<Message>,
}

enum Loss {
    Damaged,
    Erased,
    Unreadable,
}

impl Outside {
    /// Reports to the loop.
    pub(super) fn tell(&self, message: Message) {
        super::tell(&self.messages, message);
    }

    /// The event of an attempt that began when there had been so many erasures.
    async fn event(&self, next: &NextAttempt, erasures: u64) -> Result<Arc<Cached>, Loss> {
        if let Some(cached) = &next.event {
            return Ok(Arc::clone(cached));
        }
        let seq = next.row.event;
        let Some(cell) = self.recent.cell(seq, erasures) else { return self.read(seq).await };
        if let Some(cached) = cell.get() {
            return Ok(Arc::clone(cached));
        }
        let cached = cell.get_or_try_init(|| self.read(seq)).await?;
        // Twice: what will be rendered of it is about as large.
        self.recent.filled(seq, &cell, cached.event.size_bytes() * 2);
        Ok(Arc::clone(cached))
    }

    async fn read(&self, seq: Seq) -> Result<Arc<Cached>, Loss> {
        let store = Arc::clone(&self.store);
        match self.reads.read(move || store.event(seq)).await {
            Ok(Ok(Some(event))) if event.erased_at.is_some() => Err(Loss::Erased),
            Ok(Ok(Some(event))) => Ok(Arc::new(Cached::new(event))),
            Ok(Ok(None) | Err(ReadError::Damaged { .. })) => Err(Loss::Damaged),
            Ok(Err(error)) | Err(error) => {
                tracing::error!(%error, "An event can't be read.");
                Err(Loss::Unreadable)
            }
        }
    }
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
