//! A connection's bytes with the deadlines that hyper does not have: for idling, for a head that
//! drips in, for a reader that does not read.
//!
//! Owns the phases of a connection and its timers. Must never look into the bytes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock;

/// How much is thrown away at a time while a refused upload is being let finish.
const DISCARD_BYTES: usize = 8 * 1_024;

/// The deadlines of a connection.
#[derive(Clone, Copy, Debug)]
pub struct IoLimits {
    /// From the accept, or from a later request's first byte, to the end of its head.
    pub header_timeout_ms: u64,
    /// From a response to the next request's first byte.
    pub idle_timeout_ms: u64,
    /// For a client that takes nothing of a response.
    pub write_stall_timeout_ms: u64,
    /// For a client that still sends what has been refused.
    pub linger_timeout_ms: u64,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Busy,
    Idle,
}

#[derive(Debug)]
struct Progress {
    phase: Phase,
    /// Tells a timer that was set for this phase from one for an earlier phase of the same name.
    turn: u64,
    /// Whether something was sent that no request has taken: closing would reset the connection.
    unread: bool,
}

/// A connection's phase, shared between its bytes and its requests.
#[derive(Clone, Debug)]
pub struct Activity {
    progress: Arc<Mutex<Progress>>,
}

/// A request is being answered; dropped with its response's last byte.
#[derive(Debug)]
pub struct Busy {
    activity: Activity,
}

impl Activity {
    /// Of a connection that was just accepted: it owes a head.
    #[must_use]
    pub fn accepted() -> Activity {
        let progress = Progress { phase: Phase::Head, turn: 0, unread: false };
        Activity { progress: Arc::new(Mutex::new(progress)) }
    }

    /// A request's head has arrived whole.
    #[must_use]
    pub fn request(&self) -> Busy {
        self.enter(Phase::Busy);
        Busy { activity: self.clone() }
    }

    fn arrived(&self) {
        let phase = self.locked().phase;
        if phase == Phase::Idle {
            self.enter(Phase::Head);
        }
        if phase != Phase::Busy {
            self.locked().unread = true;
        }
    }

    fn enter(&self, phase: Phase) {
        let mut progress = self.locked();
        progress.phase = phase;
        progress.turn += 1;
        if phase == Phase::Busy {
            progress.unread = false;
        }
    }

    fn locked(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Busy {
    /// Some of the request may not have been read when the connection is closed.
    pub fn unread(&self) {
        self.activity.locked().unread = true;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.activity.enter(Phase::Idle);
    }
}

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection that gives up when a deadline passes.
pub struct Watched<T> {
    inner: T,
    activity: Activity,
    limits: IoLimits,
    read_timer: Option<(u64, Timer)>,
    write_timer: Option<Timer>,
    closing: Closing,
}

enum Closing {
    Open,
    Lingering(Timer),
    Closed,
}

impl<T> Watched<T> {
    /// Watches `inner`.
    pub fn new(inner: T, activity: Activity, limits: IoLimits) -> Watched<T> {
        Watched {
            inner,
            activity,
            limits,
            read_timer: None,
            write_timer: None,
            closing: Closing::Open,
        }
    }

    /// Nothing could be read. Ready when that has lasted too long for the phase.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (phase, turn) = {
            let progress = self.activity.locked();
            (progress.phase, progress.turn)
        };
        let limit_ms = match phase {
            Phase::Head => self.limits.header_timeout_ms,
            Phase::Idle => self.limits.idle_timeout_ms,
            // Whoever reads the body bounds its time, whoever answers that of the answer.
            Phase::Busy => {
                self.read_timer = None;
                return Poll::Pending;
            }
        };
        let timer = match &mut self.read_timer {
            Some((set_in, timer)) if *set_in == turn => timer,
            stale => &mut stale.insert((turn, Box::pin(clock::sleep(limit_ms)))).1,
        };
        ready!(timer.as_mut().poll(cx));
        self.read_timer = None;
        Poll::Ready(match phase {
            Phase::Idle => Ok(()), // reads as the end that the client could have sent
            _ => Err(io::ErrorKind::TimedOut.into()),
        })
    }

    fn poll_stalled<R>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let limit_ms = self.limits.write_stall_timeout_ms;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(clock::sleep(limit_ms)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> Watched<T> {
    /// Throws away what still arrives, until its end or the deadline.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Closing::Lingering(timer) = &mut self.closing else { return Poll::Ready(()) };
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0; DISCARD_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buffer) {
            Poll::Pending => this.poll_silence(cx),
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    this.activity.arrived();
                }
                Poll::Ready(read)
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.poll_stalled(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.poll_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        this.poll_stalled(cx, flushed)
    }

    /// Closing a socket with unread bytes resets it, and the client may lose the answer that told
    /// it why: so the answer's end is sent, and what the client still sends is thrown away first.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.closing, Closing::Open) {
            let shut = Pin::new(&mut this.inner).poll_shutdown(cx);
            ready!(this.poll_stalled(cx, shut))?;
            this.closing = if this.activity.locked().unread {
                Closing::Lingering(Box::pin(clock::sleep(this.limits.linger_timeout_ms)))
            } else {
                Closing::Closed
            };
        }
        ready!(this.poll_discard(cx));
        this.closing = Closing::Closed;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const NEVER_MS: u64 = 3_600_000;
    const PATIENT: IoLimits = IoLimits {
        header_timeout_ms: NEVER_MS,
        idle_timeout_ms: NEVER_MS,
        write_stall_timeout_ms: NEVER_MS,
        linger_timeout_ms: NEVER_MS,
    };

    fn pair(limits: IoLimits) -> (DuplexStream, Activity, Watched<DuplexStream>) {
        let (client, server) = duplex(64);
        let activity = Activity::accepted();
        (client, activity.clone(), Watched::new(server, activity, limits))
    }

    #[tokio::test]
    async fn a_head_has_its_time_from_the_accept_however_it_drips() {
        let (mut client, _activity, mut server) =
            pair(IoLimits { header_timeout_ms: 5, ..PATIENT });
        client.write_all(b"GET").await.unwrap();
        let mut buffer = [0; 16];
        assert_eq!(server.read(&mut buffer).await.unwrap(), 3);
        let error = server.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn idling_ends_like_an_end_of_input_and_a_request_is_not_idling() {
        let (_client, activity, mut server) = pair(IoLimits { idle_timeout_ms: 5, ..PATIENT });
        let mut buffer = [0; 16];
        let busy = activity.request();
        assert!(clock::within(50, server.read(&mut buffer)).await.is_err(), "busy: no limit");
        drop(busy);
        assert_eq!(server.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn the_first_byte_after_idling_starts_the_head() {
        let limits = IoLimits { header_timeout_ms: 5, ..PATIENT };
        let (mut client, activity, mut server) = pair(limits);
        drop(activity.request());
        let mut buffer = [0; 16];
        assert!(clock::within(50, server.read(&mut buffer)).await.is_err(), "idle: no limit");
        client.write_all(b"G").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 1);
        assert!(server.read(&mut buffer).await.is_err());
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_is_given_up() {
        let (_client, _activity, mut server) =
            pair(IoLimits { write_stall_timeout_ms: 5, ..PATIENT });
        let error = server.write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_refused_upload_is_let_finish() {
        let (mut client, _activity, mut server) = pair(PATIENT);
        let refused = async {
            server.read_u8().await.unwrap();
            server.write_all(b"413").await.unwrap();
            server.shutdown().await.unwrap();
        };
        let upload = async {
            client.write_all(&[0; 100_000]).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"413");
            drop(client);
        };
        let both = async { tokio::join!(refused, upload) };
        clock::within(60_000, both).await.expect("neither waits for the other");
    }

    #[tokio::test]
    async fn lingering_ends_at_its_deadline_and_is_not_done_for_what_was_read() {
        let mut byte = [0];
        let (mut client, _activity, mut server) =
            pair(IoLimits { linger_timeout_ms: 5, ..PATIENT });
        client.write_all(b"G").await.unwrap();
        server.read_exact(&mut byte).await.unwrap();
        server.shutdown().await.unwrap();

        let (_client, _activity, mut server) = pair(PATIENT);
        server.shutdown().await.unwrap();

        let (mut client, activity, mut server) = pair(PATIENT);
        client.write_all(b"G").await.unwrap();
        server.read_exact(&mut byte).await.unwrap();
        drop(activity.request());
        server.shutdown().await.unwrap();
    }
}
