//! Bodies: reading a request's under a limit of bytes and time, and the two forms of a response's.
//!
//! Owns the caps that hyper does not have: it bounds neither the size of a body nor the time that
//! it takes. Must never read a byte of a body whose declared length is over the limit.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::clock;

/// Why a request's body could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// It is, or says that it is, longer than the limit.
    #[error("The request body is larger than {bytes_max} bytes.")]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// It did not arrive in time.
    #[error("The request body did not arrive within {timeout_ms} ms.")]
    Timeout {
        /// The limit.
        timeout_ms: u64,
    },
    /// Its framing is broken, or the connection was lost.
    #[error("The request body could not be read.")]
    Malformed,
}

impl ReadError {
    /// The status that says so. What is left of the body is unread, so the connection has to be
    /// closed after the answer: see [`closing`](crate::http::respond::closing).
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            ReadError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            ReadError::Timeout { .. } => StatusCode::REQUEST_TIMEOUT,
            ReadError::Malformed => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a whole body: `bytes_max` bytes at most, within `timeout_ms`.
///
/// The first poll is what makes hyper answer `Expect: 100-continue`, so a client that waits for
/// that is refused before it sends anything.
pub async fn read<B>(body: B, bytes_max: usize, timeout_ms: u64) -> Result<Bytes, ReadError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let declared_bytes = body.size_hint().lower();
    if usize::try_from(declared_bytes).map_or(true, |bytes| bytes > bytes_max) {
        return Err(ReadError::TooLarge { bytes_max });
    }
    clock::within(timeout_ms, read_frames(body, bytes_max))
        .await
        .unwrap_or(Err(ReadError::Timeout { timeout_ms }))
}

async fn read_frames<B>(mut body: B, bytes_max: usize) -> Result<Bytes, ReadError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ReadError::Malformed)?;
        // Trailers carry nothing that is wanted here; hyper bounds their size.
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > bytes_max - first.len() - whole.len() {
            return Err(ReadError::TooLarge { bytes_max });
        }
        if first.is_empty() && whole.is_empty() {
            first = data; // most bodies arrive in one frame, and are not copied then
            continue;
        }
        // Grown by what has arrived, never by what was announced: a length costs a client nothing.
        whole.extend_from_slice(&std::mem::take(&mut first));
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// The body of a response.
pub enum Body {
    /// All of it.
    Full(Bytes),
    /// Parts that are still to come.
    Stream(StreamBody),
}

/// The server broke a streamed response off; its client sees no regular end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the stream was broken off")]
pub struct BrokenOff;

/// A response that is made while it is sent. See [`Body::stream`].
pub struct StreamBody {
    parts: mpsc::Receiver<Result<Bytes, BrokenOff>>,
    _guard: Box<dyn Any + Send>,
}

/// Sends the parts of a streamed response; the response ends with it.
#[derive(Clone, Debug)]
pub struct StreamSender {
    parts: mpsc::Sender<Result<Bytes, BrokenOff>>,
}

/// The client of a stream has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the client has gone")]
pub struct Gone;

impl Body {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Body {
        Body::Full(Bytes::new())
    }

    /// A body whose parts are sent as they come; `parts_max` of them may wait for the client.
    ///
    /// `guard` lives as long as the response does: it is dropped when the stream has ended or the
    /// client has gone, which is noticed although nothing is being sent.
    #[must_use]
    pub fn stream(parts_max: usize, guard: impl Any + Send) -> (StreamSender, Body) {
        let (sender, receiver) = mpsc::channel(parts_max);
        let body = StreamBody { parts: receiver, _guard: Box::new(guard) };
        (StreamSender { parts: sender }, Body::Stream(body))
    }
}

impl StreamSender {
    /// Sends a part, once there is room for it.
    pub async fn send(&self, part: Bytes) -> Result<(), Gone> {
        self.parts.send(Ok(part)).await.map_err(|_| Gone)
    }

    /// Ends the response so that the client can tell it from a regular end.
    pub async fn break_off(self) {
        // If this fails the client has gone, and there is nobody left to be told.
        let _ = self.parts.send(Err(BrokenOff)).await;
    }

    /// Waits until the client has gone.
    pub async fn gone(&self) {
        self.parts.closed().await;
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::Full(bytes)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Stream(stream) => {
                stream.parts.poll_recv(cx).map(|part| part.map(|part| part.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(parts: &[&'static str]) -> Body {
        let (sender, body) = Body::stream(parts.len() + 1, ());
        for part in parts {
            sender.parts.try_send(Ok(Bytes::from_static(part.as_bytes()))).unwrap();
        }
        body
    }

    #[tokio::test]
    async fn parts_are_joined_up_to_the_limit() {
        assert_eq!(read(body(&[]), 0, 1_000).await, Ok(Bytes::new()));
        assert_eq!(read(body(&["abc"]), 3, 1_000).await, Ok(Bytes::from("abc")));
        assert_eq!(read(body(&["a", "b", "c"]), 3, 1_000).await, Ok(Bytes::from("abc")));
        let too_large = Err(ReadError::TooLarge { bytes_max: 3 });
        assert_eq!(read(body(&["abcd"]), 3, 1_000).await, too_large);
        assert_eq!(read(body(&["a", "b", "cd"]), 3, 1_000).await, too_large);
    }

    #[tokio::test]
    async fn a_declared_length_over_the_limit_is_refused_unread() {
        struct Declared;
        impl hyper::body::Body for Declared {
            type Data = Bytes;
            type Error = BrokenOff;
            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
                panic!("read");
            }
            fn size_hint(&self) -> SizeHint {
                SizeHint::with_exact(u64::MAX)
            }
        }
        let refused = read(Declared, 1 << 20, 1_000).await;
        assert_eq!(refused, Err(ReadError::TooLarge { bytes_max: 1 << 20 }));
    }

    #[tokio::test]
    async fn a_broken_body_is_malformed_and_a_silent_one_times_out() {
        let (sender, broken) = Body::stream(2, ());
        sender.send(Bytes::from_static(b"a")).await.unwrap();
        sender.clone().break_off().await;
        assert_eq!(read(broken, 10, 1_000).await, Err(ReadError::Malformed));

        let (_sender, silent) = Body::stream(1, ());
        assert_eq!(read(silent, 10, 1).await, Err(ReadError::Timeout { timeout_ms: 1 }));
    }

    #[tokio::test]
    async fn the_guard_lives_as_long_as_the_body() {
        let (guard, mut dropped) = tokio::sync::oneshot::channel::<()>();
        let (sender, body) = Body::stream(1, guard);
        assert!(
            dropped
                .try_recv()
                .is_err_and(|e| e != tokio::sync::oneshot::error::TryRecvError::Closed)
        );
        drop(body);
        assert!(dropped.await.is_err());
        sender.gone().await;
        assert_eq!(sender.send(Bytes::new()).await, Err(Gone));
    }
}
