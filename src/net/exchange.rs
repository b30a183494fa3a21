//! One request and its answer over one connection.
//!
//! Owns HTTP/1: the caps on headers, interim answers and bodies, and what each breach is called.
//! Must never read on behind a cap, and never hand back a connection whose answer was not read to
//! its end.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use crate::clock;
use crate::model::attempt::Failure;
use crate::model::time::SECOND_MS;

use super::deadline::{Deadline, elapsed_ms};
use super::pool::Connection;
use super::stream::Stream;
use super::{
    INTERIM_MAX, RESPONSE_BUFFER_BYTES_MAX, RESPONSE_HEADERS_MAX, RETRY_AFTER_BYTES_MAX,
    STORED_HEADER_BYTES_MAX, tls,
};

/// Longest wait for a connection to become free after its answer was read, in milliseconds. Only
/// a target that answers before it has read the request makes anybody wait.
const SETTLE_MS_MAX: u64 = SECOND_MS;

/// A complete status line with headers, and what was read of the body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    /// Whether the body was read to its end.
    pub(super) is_whole: bool,
    pub(super) retry_after: Option<String>,
    pub(super) first_byte_ms: u32,
}

/// Why there is no answer.
pub(super) struct NoAnswer {
    pub(super) failure: Failure,
    /// The connection ended before a byte of an answer arrived. On a kept connection that says
    /// nothing about this request: the target had closed it before.
    pub(super) is_untouched: bool,
}

/// Starts HTTP on a stream.
pub(super) async fn open(stream: Stream, peer: SocketAddr) -> Result<Connection, Failure> {
    let received = stream.received();
    let (sender, connection) = http1::Builder::new()
        .max_headers(RESPONSE_HEADERS_MAX)
        .max_buf_size(RESPONSE_BUFFER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failure::ConnectionClosed)?;
    Ok(Connection { sender, peer, received, http: Some(Box::pin(connection)) })
}

/// Sends a request and reads its answer.
pub(super) async fn exchange(
    connection: &mut Connection,
    mut request: http::Request<Full<Bytes>>,
    body_bytes_max: usize,
    deadline: Deadline,
) -> Result<Answer, NoAnswer> {
    let before = connection.received.bytes();
    let start = clock::mono();
    let flood = count_interim(&mut request);
    let Connection { sender, http, .. } = connection;
    let sent = Connection::drive(http, sender.send_request(request));
    let answer = tokio::select! {
        answer = clock::within(deadline.left_ms(), sent) => answer,
        () = flood.notified() => return Err(NoAnswer::touched(Failure::TooManyInterim)),
    };
    let first_byte_ms = elapsed_ms(start);
    let response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            let failure = class(&error);
            let is_untouched =
                failure == Failure::ConnectionClosed && connection.received.bytes() == before;
            return Err(NoAnswer { failure, is_untouched });
        }
        Err(_) => return Err(NoAnswer::touched(Failure::Timeout)),
    };
    let (head, body) = response.into_parts();
    if !is_final(head.status) {
        return Err(NoAnswer::touched(Failure::ResponseMalformed));
    }
    let body = read_body(body, body_bytes_max, deadline);
    let (body, is_whole) = Connection::drive(&mut connection.http, body).await;
    Ok(Answer {
        status: head.status.as_u16(),
        retry_after: retry_after(&head.headers),
        headers: stored_headers(&head.headers),
        body,
        is_whole,
        first_byte_ms,
    })
}

/// Waits until a connection could take another request; `false` if it can't.
pub(super) async fn settled(connection: &mut Connection, deadline: Deadline) -> bool {
    // As a rule it is at once: no timer is needed then.
    if connection.sender.is_ready() {
        return true;
    }
    let Connection { sender, http, .. } = connection;
    let ready = Connection::drive(http, sender.ready());
    let ready = clock::within(deadline.capped_ms(SETTLE_MS_MAX), ready).await;
    matches!(ready, Ok(Ok(())))
}

impl NoAnswer {
    fn touched(failure: Failure) -> NoAnswer {
        NoAnswer { failure, is_untouched: false }
    }
}

/// Notifies when there are more interim answers than anybody needs.
fn count_interim(request: &mut http::Request<Full<Bytes>>) -> Arc<Notify> {
    let flood = Arc::new(Notify::new());
    let notify = Arc::clone(&flood);
    let count = AtomicU32::new(0);
    hyper::ext::on_informational(request, move |_| {
        if count.fetch_add(1, Ordering::Relaxed) >= INTERIM_MAX {
            notify.notify_one();
        }
    });
    flood
}

/// Nobody asked for 101, and there are no classes above 5.
fn is_final(status: StatusCode) -> bool {
    (200..600).contains(&status.as_u16())
}

fn class(error: &hyper::Error) -> Failure {
    if let Some(failure) = tls::failure(error as &(dyn StdError + 'static)) {
        failure
    } else if error.is_parse_too_large() {
        Failure::ResponseTooLarge
    } else if error.is_parse() {
        Failure::ResponseMalformed
    } else if error.is_user() {
        Failure::RequestInvalid
    } else {
        Failure::ConnectionClosed
    }
}

/// Reads at most `bytes_max`; also returns whether that was all.
async fn read_body(mut body: Incoming, bytes_max: usize, deadline: Deadline) -> (Vec<u8>, bool) {
    let mut stored = Vec::new();
    loop {
        let frame = match clock::within(deadline.left_ms(), body.frame()).await {
            Ok(None) => return (stored, true),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) | Err(_) => return (stored, false),
        };
        if let Some(data) = frame.data_ref() {
            let room = bytes_max - stored.len();
            stored.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return (stored, false);
            }
        }
    }
}

fn stored_headers(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut room = STORED_HEADER_BYTES_MAX;
    let mut stored = Vec::new();
    for (name, value) in headers {
        let bytes = name.as_str().len() + value.len();
        if bytes > room {
            break;
        }
        room -= bytes;
        stored.push((name.as_str().to_owned(), value.as_bytes().to_vec()));
    }
    stored
}

fn retry_after(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(RETRY_AFTER)?.as_bytes();
    let value = &value[..value.len().min(RETRY_AFTER_BYTES_MAX)];
    Some(String::from_utf8_lossy(value).into_owned())
}
