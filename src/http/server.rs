//! The server: accepts connections and speaks HTTP/1 on them, within limits on everything.
//!
//! Owns the accept loop, the life of a connection, and the checks that no route has to repeat.
//! Must never know a route, and never let one client's connections end another's.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use crate::clock;
use crate::http::body::{Body, BrokenOff};
use crate::http::io::{Activity, Busy, IoLimits, Watched};
use crate::http::limits::{ClientKey, ClientLimiter};
use crate::http::peer::{Peer, is_trusted};
use crate::http::respond::{self, JSON, RequestId};

/// The path is looked up and logged; the query has its own limit.
const PATH_BYTES_MAX: usize = 2 * 1_024;
const QUERY_BYTES_MAX: usize = 8 * 1_024;
/// hyper's own minimum, and enough for the answers to be written in few pieces.
const BUFFER_BYTES_MIN: usize = 64 * 1_024;
/// At a stop, for a client to take the end of a response that is made while it is sent: one that
/// reads slowly, or not at all, holds nothing up.
const STREAM_END_MS_MAX: u64 = 2_000;
/// After an accept that failed for want of file descriptors or memory: they come back when a
/// connection ends, and trying sooner only burns the processor.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one. The future is dropped when the client has gone, so whatever has to be finished
    /// in any case must not live in it.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        id: &RequestId,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// The limits of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Connections at once. One more waits in the system's queue until one ends.
    pub connections_max: usize,
    /// Connections at once of one client (an IPv4 address, an IPv6 /56). One more is closed.
    /// Trusted proxies have no such limit.
    pub connections_per_client_max: usize,
    /// From an accept, or a request's first byte, to the end of its head.
    pub header_timeout_ms: u64,
    /// For a request's body: not enforced here, but by who reads it.
    pub body_timeout_ms: u64,
    /// From a response to the next request.
    pub idle_timeout_ms: u64,
    /// For a client that takes nothing of a response.
    pub write_stall_timeout_ms: u64,
    /// For a client that is still sending what has been refused.
    pub linger_timeout_ms: u64,
    /// From the shutdown until connections that have not ended are cut.
    pub shutdown_timeout_ms: u64,
    /// Requests on one connection.
    pub requests_per_connection_max: u32,
    /// A request line and its headers.
    pub head_bytes_max: usize,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Requests of one client, if they are to be limited. The control socket is not.
    pub request_limiter: Option<Arc<ClientLimiter>>,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            connections_max: 1_024,
            connections_per_client_max: 512,
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 60_000,
            write_stall_timeout_ms: 30_000,
            linger_timeout_ms: 2_000,
            shutdown_timeout_ms: 30_000,
            requests_per_connection_max: 10_000,
            head_bytes_max: 32 * 1_024,
            headers_max: 100,
            trusted_proxies: Vec::new(),
            request_limiter: None,
        }
    }
}

/// What is listened on.
#[derive(Debug)]
pub enum Listener {
    /// The API's address.
    Tcp(TcpListener),
    /// The control socket.
    Unix(UnixListener),
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that had not ended in time and were cut.
    pub cut: usize,
}

/// Serves until `shutdown` is true or its sender is gone, then closes the listener, lets requests
/// that have begun finish within the shutdown timeout, and cuts the rest.
pub async fn serve<S: Service>(
    listener: Listener,
    service: Arc<S>,
    config: ServerConfig,
    shutdown: watch::Receiver<bool>,
) -> Stopped {
    let slots = Arc::new(Semaphore::new(config.connections_max.min(Semaphore::MAX_PERMITS)));
    let shared = Arc::new(Shared { service, config, clients: Arc::default() });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopping(shutdown.clone()) => break,
            Some(ended) = connections.join_next() => report(ended),
            (accepted, slot) = accept(&listener, &slots) => {
                spawn(&mut connections, &shared, accepted, slot, &shutdown);
            }
        }
    }
    drop(listener);
    drain(connections, shared.config.shutdown_timeout_ms).await
}

struct Shared<S> {
    service: Arc<S>,
    config: ServerConfig,
    clients: Arc<Mutex<BTreeMap<ClientKey, usize>>>,
}

enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// The next connection. The slot comes first: what there is no room for stays in the system's
/// queue and costs nothing here.
async fn accept(listener: &Listener, slots: &Arc<Semaphore>) -> (Accepted, OwnedSemaphorePermit) {
    let slot =
        Arc::clone(slots).acquire_owned().await.expect("nothing closes the semaphore of slots");
    loop {
        let accepted = match listener {
            Listener::Tcp(tcp) => tcp.accept().await.map(|(io, addr)| Accepted::Tcp(io, addr)),
            Listener::Unix(unix) => unix.accept().await.map(|(io, _)| Accepted::Unix(io)),
        };
        match accepted {
            Ok(accepted) => return (accepted, slot),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                clock::sleep(ACCEPT_PAUSE_MS).await;
            }
        }
    }
}

/// Whether an accept failed because of the connection that was being accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn spawn<S: Service>(
    connections: &mut JoinSet<()>,
    shared: &Arc<Shared<S>>,
    accepted: Accepted,
    slot: OwnedSemaphorePermit,
    shutdown: &watch::Receiver<bool>,
) {
    let shared = Arc::clone(shared);
    let shutdown = shutdown.clone();
    match accepted {
        Accepted::Tcp(io, addr) => {
            let Some(share) = Share::take(&shared, addr) else {
                tracing::debug!(%addr, "closed: the client has too many connections");
                return;
            };
            // Only a matter of latency, so it is no reason to refuse the connection.
            let _ = io.set_nodelay(true);
            let work = connection(io, Some(addr), shared, shutdown);
            connections.spawn(async move {
                work.await;
                drop((slot, share));
            });
        }
        Accepted::Unix(io) => {
            let work = connection(io, None, shared, shutdown);
            connections.spawn(async move {
                work.await;
                drop(slot);
            });
        }
    }
}

/// A client's share of the connections, counted until it is dropped.
struct Share {
    clients: Arc<Mutex<BTreeMap<ClientKey, usize>>>,
    key: ClientKey,
}

impl Share {
    fn take<S>(shared: &Shared<S>, addr: SocketAddr) -> Option<Share> {
        let key = ClientKey::of(addr.ip());
        let counted = !is_trusted(addr.ip(), &shared.config.trusted_proxies);
        let mut clients = locked(&shared.clients);
        let count = clients.entry(key).or_insert(0);
        if counted && *count >= shared.config.connections_per_client_max {
            if *count == 0 {
                clients.remove(&key);
            }
            return None;
        }
        *count += 1;
        Some(Share { clients: Arc::clone(&shared.clients), key })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut clients = locked(&self.clients);
        if let Some(count) = clients.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.key);
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connection<IO, S>(
    io: IO,
    addr: Option<SocketAddr>,
    shared: Arc<Shared<S>>,
    shutdown: watch::Receiver<bool>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let activity = Activity::accepted();
    let watched = TokioIo::new(Watched::new(io, activity.clone(), io_limits(&shared.config)));
    let http = http1(&shared.config);
    let requests = AtomicU32::new(0);
    let link = Arc::new(Link { addr, activity, requests, streams: AtomicBool::new(false), shared });
    let answering = Arc::clone(&link);
    let answers = service_fn(move |request| answer(Arc::clone(&answering), request));
    let mut serving = pin!(http.serve_connection(watched, answers));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = stopping(shutdown) => {
            serving.as_mut().graceful_shutdown();
            if link.streams.load(Ordering::Relaxed) {
                clock::within(STREAM_END_MS_MAX, serving).await.unwrap_or(Ok(()))
            } else {
                serving.await
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(?addr, %error, "connection ended");
    }
}

fn io_limits(config: &ServerConfig) -> IoLimits {
    IoLimits {
        header_timeout_ms: config.header_timeout_ms,
        idle_timeout_ms: config.idle_timeout_ms,
        write_stall_timeout_ms: config.write_stall_timeout_ms,
        linger_timeout_ms: config.linger_timeout_ms,
    }
}

fn http1(config: &ServerConfig) -> http1::Builder {
    let mut http = http1::Builder::new();
    // hyper counts the time before a head as part of it, and without a timer counts nothing. Ours
    // tell idling from dripping; this one is behind them, and has hyper look at the connection
    // again after each response, which is when the idle timer is set.
    let header_timeout_ms = config.header_timeout_ms.saturating_add(config.idle_timeout_ms);
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(header_timeout_ms))
        .max_header_size(config.head_bytes_max)
        .max_headers(config.headers_max)
        .max_buf_size(config.head_bytes_max.max(BUFFER_BYTES_MIN))
        .half_close(false)
        .keep_alive(true);
    http
}

/// What the requests of one connection have in common.
struct Link<S> {
    addr: Option<SocketAddr>,
    activity: Activity,
    requests: AtomicU32,
    /// Whether the last response is made while it is sent.
    streams: AtomicBool,
    shared: Arc<Shared<S>>,
}

async fn answer<S: Service>(
    link: Arc<Link<S>>,
    request: Request<Incoming>,
) -> Result<Response<Tracked>, Infallible> {
    let busy = link.activity.request();
    let config = &link.shared.config;
    let nth = link.requests.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    let had_body = !request.body().is_end_stream();
    let id = RequestId::of(request.headers());
    let peer = match link.addr {
        Some(addr) => Peer::remote(addr, request.headers(), &config.trusted_proxies),
        None => Peer::control(),
    };
    let response = match admit(config, &request, peer) {
        Ok(()) => link.shared.service.handle(request, peer, &id).await,
        Err(refusal) => *refusal,
    };
    if had_body && !response.status().is_success() {
        busy.unread();
    }
    let streams = matches!(response.body(), Body::Stream(_));
    link.streams.store(streams, Ordering::Relaxed);
    let mut response = response.map(|body| Tracked { body, _busy: busy });
    respond::finish(&mut response, id);
    if nth >= config.requests_per_connection_max {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// What holds for every request, whatever it asks for.
fn admit(
    config: &ServerConfig,
    request: &Request<Incoming>,
    peer: Peer,
) -> Result<(), Box<Response<Body>>> {
    if let Some(limiter) = &config.request_limiter
        && !peer.control
    {
        limiter
            .check(peer.client, clock::mono())
            .map_err(|wait| respond::too_many_requests(JSON, wait))?;
    }
    let refuse = |status, text| Err(respond::closing(respond::detail(status, JSON, text)).into());
    if request.method() == Method::CONNECT {
        return refuse(StatusCode::BAD_REQUEST, "This is not a proxy.");
    }
    if !has_plain_encoding(request) {
        return refuse(
            StatusCode::BAD_REQUEST,
            "Only the transfer encoding chunked is understood.",
        );
    }
    if !has_one_host(request) {
        return refuse(StatusCode::BAD_REQUEST, "One Host header is required.");
    }
    if !request.uri().path().starts_with('/') {
        return refuse(StatusCode::BAD_REQUEST, "The request target has to be a path.");
    }
    if request.uri().path().len() > PATH_BYTES_MAX
        || request.uri().query().is_some_and(|query| query.len() > QUERY_BYTES_MAX)
    {
        return refuse(StatusCode::URI_TOO_LONG, "The request target is too long.");
    }
    Ok(())
}

/// hyper takes `gzip, chunked` for chunked, and would hand out compressed bytes as the body.
fn has_plain_encoding(request: &Request<Incoming>) -> bool {
    let mut encodings = request.headers().get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => true,
        (Some(encoding), None) => encoding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

fn has_one_host(request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() == Version::HTTP_10,
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

/// Whether these are the bytes of a host and port, as far as a header with two meanings goes. An
/// empty host is what RFC 9112 asks for where a target has none.
fn is_host(host: &[u8]) -> bool {
    let allowed = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':' | b'[' | b']' | b'%')
    };
    host.iter().all(allowed)
}

/// A response's body, by whose end the connection is known to be idle again.
struct Tracked {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Tracked {
    type Data = bytes::Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, BrokenOff>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Waits for the shutdown. A sender that is gone cannot say so any more, and means it.
async fn stopping(mut shutdown: watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn drain(mut connections: JoinSet<()>, timeout_ms: u64) -> Stopped {
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if clock::within(timeout_ms, ended).await.is_ok() {
        return Stopped { cut: 0 };
    }
    let cut = connections.len();
    connections.shutdown().await;
    Stopped { cut }
}

/// A handler that panics ends its connection and nothing else, where panics unwind.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_s_own_failure_is_retried_at_once() {
        assert!(is_of_one_connection(&io::ErrorKind::ConnectionAborted.into()));
        for no_resources in [23, 24, 105, 12] {
            // ENFILE, EMFILE, ENOBUFS, ENOMEM
            assert!(!is_of_one_connection(&io::Error::from_raw_os_error(no_resources)));
        }
    }

    #[test]
    fn hosts() {
        for good in ["localhost:8080", "[::1]:80", "example.com", "192.0.2.1", ""] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in ["a b", "a/b", "a@b", "a,b", "a\"b", "a?b"] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
