//! Tests of the port against real sockets on loopback.
//!
//! Owns the harness: scripted targets, and requests to them. Must never ask anything of a network
//! beyond this machine. Limits of time are either far away or what is being tested: no test asks
//! how fast anything was.

mod evil;
mod guard;
mod proxy;
mod reuse;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::logic::address::AllowList;
use crate::model::attempt::{Failure, Outcome};
use crate::model::target::TargetUrl;

use super::pool::Task;
use super::{Net, NetConfig, Request, Resolve, ResolveError, Resolved, Response};

/// Short enough to wait for, long enough to get where the target hangs.
const SHORT_MS: u64 = 700;

/// A server on loopback that does what a closure says with each connection.
struct Target {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    _task: Task,
}

impl Target {
    async fn serve<F, Fut>(serve: F) -> Target
    where
        F: Fn(TcpStream, usize) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                connections.spawn(serve(tcp, count.fetch_add(1, Ordering::SeqCst)));
            }
        });
        Target { address, accepted, _task: Task(task) }
    }

    /// Reads a request, writes these bytes, and then does this.
    async fn answering(bytes: impl Into<Vec<u8>>, then: Then) -> Target {
        let bytes: Arc<[u8]> = bytes.into().into();
        Target::serve(move |mut tcp, _| {
            let bytes = Arc::clone(&bytes);
            async move {
                while read_request(&mut tcp).await.is_some() {
                    if tcp.write_all(&bytes).await.is_err() {
                        return;
                    }
                    match then {
                        Then::Again => {}
                        Then::Hang => std::future::pending().await,
                        Then::Close => return,
                        Then::Reset => return tcp.set_zero_linger().expect("a socket option"),
                    }
                }
            }
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/hook?x=1", self.address)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Copy)]
enum Then {
    Again,
    Hang,
    Close,
    Reset,
}

/// The head of a request, its body read and dropped; `None` at the end.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("ASCII");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
    stream.read_exact(&mut body).await.ok()?;
    Some(head)
}

/// A resolver that knows nothing.
struct Nowhere;

impl Resolve for Nowhere {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Resolved<'a> {
        Box::pin(std::future::ready(Err(ResolveError::NotFound)))
    }
}

fn allow(entries: &[&str]) -> AllowList {
    let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
    AllowList::parse(&entries).expect("a sound list")
}

/// Lets IPv4 loopback through.
fn on_loopback() -> NetConfig {
    NetConfig { allow: allow(&["127.0.0.0/8"]), ..NetConfig::default() }
}

/// The same, without patience.
fn impatient() -> NetConfig {
    NetConfig { attempt_timeout_ms: SHORT_MS, connect_timeout_ms: SHORT_MS, ..on_loopback() }
}

fn net(config: NetConfig) -> Net {
    Net::new(config, Arc::new(Nowhere)).expect("a sound configuration")
}

fn post(url: &str) -> Request {
    let url = TargetUrl::parse(url).expect("a sound URL");
    Request {
        origin: url.origin().clone(),
        path_and_query: url.path_and_query().to_owned(),
        headers: vec![(http::header::CONTENT_TYPE, "application/json".parse().expect("a value"))],
        body: Bytes::from_static(b"{\"a\":1}"),
        allow: Arc::default(),
        listener: None,
    }
}

#[track_caller]
fn assert_failed(response: &Response, failure: Failure, what: &str) {
    assert_eq!(response.outcome, Outcome::Failure(failure), "{what}");
}
