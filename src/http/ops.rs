//! `/healthz` and `/readyz`: for supervisors and load balancers.
//!
//! Owns what is called healthy and ready. Must never need a key, and never do work.

use http::{Response, StatusCode};

use super::body::Body;
use super::limits::RetryAfterSeconds;
use super::respond::{self, JSON};
use crate::engine::{Handle, Readiness};

/// The process is alive and answers.
pub(super) fn health() -> Response<Body> {
    respond::bytes(StatusCode::OK, JSON, &br#"{"status":"ok"}"#[..])
}

/// The store is writable, the loop turns, and the daemon is not draining.
pub(super) fn ready(handle: &Handle) -> Response<Body> {
    let why = match handle.readiness() {
        Readiness::Ready => {
            return respond::bytes(StatusCode::OK, JSON, &br#"{"status":"ready"}"#[..]);
        }
        Readiness::Draining => "The daemon is shutting down.",
        Readiness::StoreBroken => "The store can't be written.",
        Readiness::Stalled => "The engine's loop does not turn.",
    };
    respond::unavailable(JSON, why, RetryAfterSeconds(1))
}
