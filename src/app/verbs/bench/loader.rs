//! The role that publishes: so many publishers, each waiting for its 202 before the next.
//!
//! Owns when a publish begins. Must never go on after a refusal: what was not accepted can't be
//! measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use thiserror::Error;
use tokio::task::JoinSet;

use super::client::{Client, ClientError};
use super::event::{self, PUBLIC_KEY, SECRET_KEY};
use super::wire::{self, Latencies};
use crate::app::args::Loader;
use crate::clock;

/// Why publishing ended early.
#[derive(Debug, Error)]
pub(super) enum LoadError {
    /// A request failed.
    #[error("publishing: {0}")]
    Client(#[from] ClientError),
    /// It was answered with something else than 202.
    #[error("publishing: answered with {0}")]
    Refused(StatusCode),
    /// It can't be said in HTTP.
    #[error("publishing: {0}")]
    Invalid(#[from] http::Error),
    /// A publisher panicked.
    #[error("publishing: {0}")]
    Task(#[from] tokio::task::JoinError),
}

struct Plan {
    loader: Loader,
    next: AtomicU64,
    start_us: u64,
    uri: Uri,
    headers: HeaderMap,
}

/// Publishes, and says how it went.
pub(super) async fn run(loader: &Loader) -> Result<String, LoadError> {
    let mut clients = Vec::new();
    for _ in 0..loader.publishers {
        clients.push(Client::connect(loader.at).await?);
    }
    let plan = Arc::new(Plan {
        loader: loader.clone(),
        next: AtomicU64::new(0),
        start_us: clock::wall_us(),
        uri: Uri::from_static("/events/"),
        headers: headers(loader)?,
    });
    let mut publishers = JoinSet::new();
    for client in clients {
        publishers.spawn(publish(Arc::clone(&plan), client));
    }
    let mut latencies = Latencies::default();
    while let Some(ended) = publishers.join_next().await {
        latencies.add(&ended??);
    }
    let (p50_us, p99_us) = latencies.percentiles();
    Ok(wire::line(&[
        ("start_us", plan.start_us),
        ("end_us", clock::wall_us()),
        ("p50_us", p50_us),
        ("p99_us", p99_us),
    ]))
}

async fn publish(plan: Arc<Plan>, mut client: Client) -> Result<Latencies, LoadError> {
    let Loader { events, batch, rate, .. } = plan.loader;
    let mut latencies = Latencies::default();
    loop {
        let first = plan.next.fetch_add(batch, Ordering::Relaxed);
        if first >= events {
            return Ok(latencies);
        }
        if let Some(after_us) = (first * 1_000_000).checked_div(rate) {
            clock::sleep_until_us(plan.start_us + after_us).await;
        }
        let start_us = clock::wall_us();
        let body = plan.body(first..events.min(first + batch), start_us);
        let status = client.post(&plan.uri, &plan.headers, body).await?;
        if status != StatusCode::ACCEPTED {
            return Err(LoadError::Refused(status));
        }
        latencies.push(clock::wall_us().saturating_sub(start_us));
    }
}

impl Plan {
    fn body(&self, numbers: std::ops::Range<u64>, start_us: u64) -> Bytes {
        let Loader { names, first_name, .. } = self.loader;
        let mut out = Vec::new();
        for n in numbers {
            if !out.is_empty() {
                out.push(b'\n');
            }
            out.append(&mut event::request(n, start_us, first_name + n % names.max(1)));
        }
        out.into()
    }
}

fn headers(loader: &Loader) -> Result<HeaderMap, http::Error> {
    let kind = if loader.batch == 1 { "application/json" } else { "application/x-ndjson" };
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::try_from(loader.at.to_string())?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let proof = format!("Uploadcare.Simple {PUBLIC_KEY}:{SECRET_KEY}");
    headers.insert(header::AUTHORIZATION, HeaderValue::try_from(proof)?);
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_ndjson() {
        let loader = Loader {
            at: ([127, 0, 0, 1], 1).into(),
            publishers: 1,
            events: 9,
            batch: 3,
            rate: 0,
            names: 2,
            first_name: 5,
        };
        let plan = Plan {
            headers: headers(&loader).expect("sound"),
            loader,
            next: AtomicU64::new(0),
            start_us: 0,
            uri: Uri::from_static("/events/"),
        };
        let bytes = plan.body(3..6, 1);
        assert!(bytes.starts_with(br#"{"event":"bench.e6","#), "3 is odd: the second name");
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let numbers: Vec<u64> =
            lines.iter().filter_map(|line| event::mark(line)).map(|(n, _)| n).collect();
        assert_eq!(numbers, [3, 4, 5]);
    }
}
