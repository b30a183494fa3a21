//! The ceiling: the same HTTP in and out as the daemon's, with nothing kept between.
//!
//! Owns what the daemon is compared with: hyper's server takes an event, answers 202, and hyper's
//! client posts as many bytes and headers to each target, over kept connections. With a file, each
//! event is first appended to it, all that wait at once in one write and one fdatasync. Must never
//! know a webhook, a signature, a retry or a log: those are what the difference pays for.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::client::Client;
use super::receiver::read;
use super::wire;
use crate::app::args::Relay;
use crate::app::terminal::{complain, say};

/// Connections to all targets together, and at least to one; the daemon's default to one target.
const CONNECTIONS: usize = 32;
const CONNECTIONS_PER_TARGET_MIN: usize = 2;
/// Events that wait for one connection, at most: then publishers wait.
const WAITING_MAX: usize = 65_536;
/// Events of one sync, at most.
const GROUP_MAX: usize = 4_096;
/// What the daemon's headers hold, by size.
const HEADERS: [(&str, &str); 10] = [
    ("content-type", "application/json"),
    ("accept", "*/*"),
    ("user-agent", "postrider/0.1.0"),
    ("x-uc-signature", "v1=5afb23884284600a607e4cad0916c3bde8babf7c648567013c03b704dd14e496"),
    ("webhook-id", "dlv_000T3ZXEGEC00T68F7Q0CRJM80"),
    ("webhook-timestamp", "1795290989"),
    ("webhook-signature", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
    ("postrider-event", "evt_000T3ZXD6620013F4C0W0VV2GT"),
    ("postrider-webhook", "1"),
    ("postrider-sequence", "117663982911488"),
];

/// What waits for the file, and who waits for it.
type Append = (Bytes, oneshot::Sender<()>);

struct Shared {
    /// For each target, the connections that take turns.
    lanes: Vec<Vec<mpsc::Sender<Bytes>>>,
    turn: AtomicUsize,
    appends: Option<std::sync::mpsc::Sender<Append>>,
    body_bytes: usize,
}

/// Relays until stdin ends.
pub(super) async fn run(relay: &Relay) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let each = (CONNECTIONS / relay.targets.len().max(1)).max(CONNECTIONS_PER_TARGET_MIN);
    let mut lanes = Vec::new();
    for (index, target) in relay.targets.iter().enumerate() {
        let mut lane = Vec::new();
        for _ in 0..each {
            lane.push(connection(*target, index).await?);
        }
        lanes.push(lane);
    }
    let appends = relay.file.as_deref().map(appender).transpose()?;
    let shared = Arc::new(Shared {
        lanes,
        turn: AtomicUsize::new(0),
        appends,
        body_bytes: relay.body_bytes,
    });
    say(&wire::line(&[("port", listener.local_addr()?.port().into())]));
    let mut stdin = BufReader::new(super::process::stdin()?);
    let mut byte = [0];
    tokio::select! {
        result = stdin.read(&mut byte) => result.map(|_| ()),
        () = accept(&listener, &shared) => Ok(()),
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    // An error is one connection's: its peer will say so.
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(shared)));
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it, small answers wait for acknowledgements of earlier ones.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.take(request).await) }
    });
    // A connection that breaks is the publisher's to notice.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Shared {
    async fn take(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let taken = match read(request.into_body()).await {
            Some(body) => self.keep(body).await,
            None => None,
        };
        let (status, text) = match taken {
            Some(()) => (StatusCode::ACCEPTED, ACCEPTED),
            None => (StatusCode::SERVICE_UNAVAILABLE, "{}"),
        };
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }

    async fn keep(&self, body: Bytes) -> Option<()> {
        if let Some(appends) = &self.appends {
            let (done, synced) = oneshot::channel();
            appends.send((body.clone(), done)).ok()?;
            synced.await.ok()?;
        }
        let body = self.envelope(body);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for lane in &self.lanes {
            lane.get(turn % lane.len().max(1))?.send(body.clone()).await.ok()?;
        }
        Some(())
    }

    /// As many bytes as the daemon delivers, the event first.
    fn envelope(&self, event: Bytes) -> Bytes {
        if event.len() >= self.body_bytes {
            return event;
        }
        let mut body = BytesMut::with_capacity(self.body_bytes);
        body.extend_from_slice(&event);
        body.resize(self.body_bytes, b' ');
        body.freeze()
    }
}

/// What the daemon answers, by size.
const ACCEPTED: &str = r#"{"id":"evt_000T3ZXDS0J001E35A9Y5VQXYA","event":"bench.e0","deliveries":1,"duplicate":false}"#;

async fn connection(target: SocketAddr, index: usize) -> io::Result<mpsc::Sender<Bytes>> {
    let invalid = |error: http::Error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let uri = Uri::try_from(format!("/{index}")).map_err(|error| invalid(error.into()))?;
    let mut headers = HeaderMap::new();
    let host = HeaderValue::try_from(target.to_string()).map_err(|error| invalid(error.into()))?;
    headers.insert(header::HOST, host);
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let mut client = Client::connect(target).await.map_err(io::Error::other)?;
    let (sender, mut bodies) = mpsc::channel::<Bytes>(WAITING_MAX);
    tokio::spawn(async move {
        while let Some(body) = bodies.recv().await {
            if let Err(error) = client.post(&uri, &headers, body).await {
                // What is lost is missed at the receiver, and ends the measurement.
                complain(&format!("bench relay: {error}"));
                return;
            }
        }
    });
    Ok(sender)
}

/// A thread that appends what waits, syncs once, and says so.
fn appender(path: &std::path::Path) -> io::Result<std::sync::mpsc::Sender<Append>> {
    let mut file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path)?;
    let (sender, appends) = std::sync::mpsc::channel::<Append>();
    std::thread::Builder::new().name("appender".to_owned()).spawn(move || {
        let mut group = Vec::new();
        while let Ok(first) = appends.recv() {
            group.push(first);
            group.extend(appends.try_iter().take(GROUP_MAX));
            if let Err(error) = append(&mut file, &group) {
                complain(&format!("bench relay: {error}"));
                return;
            }
            for (_, done) in group.drain(..) {
                // Whoever does not wait any more has gone.
                let _ = done.send(());
            }
        }
    })?;
    Ok(sender)
}

fn append(file: &mut File, group: &[Append]) -> io::Result<()> {
    let bytes: Vec<u8> = group.iter().flat_map(|(body, _)| body.iter().copied()).collect();
    file.write_all(&bytes)?;
    file.sync_data()
}
