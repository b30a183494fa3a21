//! A service to test with, a server around it, and a client that sends bytes as they are.
//!
//! Owns nothing that is under test, and must never wait by sleeping.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use postrider::clock;
use postrider::http::body::{self, Body, StreamSender};
use postrider::http::peer::Peer;
use postrider::http::respond::{self, JSON, RequestId};
use postrider::http::server::{Listener, ServerConfig, Service, Stopped, serve};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// What a test may take before it has failed.
pub const TEST_MS: u64 = 60_000;
/// A timeout that is not to pass during a test.
pub const NEVER_MS: u64 = 3_600_000;
/// A timeout that is to pass.
pub const SOON_MS: u64 = 50;
pub const BODY_BYTES_MAX: usize = 1_024;

/// A service with one path for each thing that a handler may do.
pub struct App {
    body_timeout_ms: u64,
    seen: Mutex<Vec<String>>,
    pub held: mpsc::UnboundedSender<()>,
    pub release: Notify,
    pub streams: mpsc::UnboundedSender<(StreamSender, oneshot::Receiver<()>)>,
}

impl App {
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Service for App {
    async fn handle(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        id: &RequestId,
    ) -> Response<Body> {
        let path = request.uri().path().to_owned();
        self.seen.lock().unwrap().push(path.clone());
        match path.as_str() {
            "/echo" => {
                match body::read(request.into_body(), BODY_BYTES_MAX, self.body_timeout_ms).await {
                    Ok(body) => respond::bytes(StatusCode::OK, JSON, body),
                    Err(error) => respond::unreadable(JSON, error),
                }
            }
            "/hold" => {
                self.held.send(()).unwrap();
                self.release.notified().await;
                respond::no_content()
            }
            "/stream" => {
                let (guard, dropped) = oneshot::channel::<()>();
                let (sender, body) = Body::stream(1, guard);
                self.streams.send((sender, dropped)).unwrap();
                respond::stream(StatusCode::OK, "application/x-ndjson", body)
            }
            "/peer" => text(&format!("{} {}", peer.client, peer.control)),
            "/id" => text(id.as_str()),
            "/refuse" => respond::detail(StatusCode::UNAUTHORIZED, JSON, "no"),
            "/none" => respond::no_content(),
            "/panic" => panic!("as the test asked"),
            _ => text(&path),
        }
    }
}

pub fn text(text: &str) -> Response<Body> {
    respond::bytes(StatusCode::OK, "text/plain", text.to_owned())
}

pub struct Server {
    pub addr: SocketAddr,
    pub app: Arc<App>,
    pub held: mpsc::UnboundedReceiver<()>,
    pub streams: mpsc::UnboundedReceiver<(StreamSender, oneshot::Receiver<()>)>,
    pub stop: watch::Sender<bool>,
    pub serving: JoinHandle<Stopped>,
}

pub fn patient() -> ServerConfig {
    ServerConfig {
        header_timeout_ms: NEVER_MS,
        body_timeout_ms: NEVER_MS,
        idle_timeout_ms: NEVER_MS,
        write_stall_timeout_ms: NEVER_MS,
        shutdown_timeout_ms: NEVER_MS,
        ..ServerConfig::default()
    }
}

pub async fn start(config: ServerConfig) -> Server {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = tcp.local_addr().unwrap();
    start_on(Listener::Tcp(tcp), addr, config)
}

pub fn start_on(listener: Listener, addr: SocketAddr, config: ServerConfig) -> Server {
    let (held_sender, held) = mpsc::unbounded_channel();
    let (streams_sender, streams) = mpsc::unbounded_channel();
    let app = Arc::new(App {
        body_timeout_ms: config.body_timeout_ms,
        seen: Mutex::default(),
        held: held_sender,
        release: Notify::new(),
        streams: streams_sender,
    });
    let (stop, stopping) = watch::channel(false);
    let serving = tokio::spawn(serve(listener, Arc::clone(&app), config, stopping));
    Server { addr, app, held, streams, stop, serving }
}

impl Server {
    pub async fn connect(&self) -> Client<TcpStream> {
        Client::over(TcpStream::connect(self.addr).await.unwrap())
    }

    /// Sends bytes as they are and returns everything that comes back until the end.
    pub async fn exchange(&self, request: &[u8]) -> String {
        let mut client = self.connect().await;
        // A server that has closed already refuses the rest: what it answered is what counts.
        let _ = client.io.write_all(request).await;
        client.rest().await
    }
}

pub struct Client<T> {
    pub io: T,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    pub fn over(io: T) -> Client<T> {
        Client { io }
    }

    pub async fn send(&mut self, request: &str) {
        self.io.write_all(request.as_bytes()).await.unwrap();
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(&get(path)).await;
        self.reply().await
    }

    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.io.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// A response whose body has a length.
    pub async fn reply(&mut self) -> Reply {
        let head = self.head().await;
        let status = head[9..12].parse().unwrap();
        let mut reply = Reply { status, head, body: String::new() };
        let bytes = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; bytes];
        self.io.read_exact(&mut body).await.unwrap();
        reply.body = String::from_utf8(body).unwrap();
        reply
    }

    /// All that comes until the end. A reset is an end too.
    pub async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.io.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

pub async fn limited<T>(test: impl Future<Output = T>) -> T {
    clock::within(TEST_MS, test).await.expect("the test ends")
}
