//! The role that takes deliveries: answers 200 while it lives, and counts what arrived.
//!
//! Owns which deliveries came, how often and how late. Must never be reached from another machine:
//! it answers at every address of 127.0.0.0/8, which is how one process is 10,000 targets.
//!
//! On stdin: `round deliveries=N keys=K per_event=M` forgets all and expects N of K; `wait idle_ms=T` answers
//! when all have come, or none came for T milliseconds. A path is `/{index}`; modulo M, it says
//! which of its event's M deliveries one is. `die hanging=0` makes the second port refuse from then
//! on, `die hanging=1` makes it accept and never answer.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use super::event;
use super::wire::{self, Latencies, Numbers};
use crate::app::terminal::say;
use crate::clock;

/// Largest delivery that is read, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1_024;
/// Deliveries of a round, at most.
const KEYS_MAX: u64 = 100_000_000;

#[derive(Default)]
struct Shared {
    round: Mutex<Round>,
    complete: Notify,
}

#[derive(Default)]
struct Round {
    deliveries: u64,
    per_event: u64,
    seen: Vec<u64>,
    arrived: u64,
    repeats: u64,
    strange: u64,
    last_us: u64,
    body_bytes: u64,
    head_bytes: u64,
    latencies: Latencies,
}

/// Receives until stdin ends.
pub(super) async fn run() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    let mortal = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    let ports = [
        ("port", listener.local_addr()?.port().into()),
        ("mortal_port", mortal.local_addr()?.port().into()),
    ];
    say(&wire::line(&ports));
    let shared = Arc::new(Shared::default());
    let (immortality, of_one) = watch::channel(Life::Alive);
    let (death, of_other) = watch::channel(Life::Alive);
    tokio::spawn(accept(listener, Arc::clone(&shared), of_one));
    tokio::spawn(accept(mortal, Arc::clone(&shared), of_other));
    let result = orders(&shared, &death).await;
    drop(immortality);
    result
}

/// How a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alive,
    Refusing,
    Hanging,
}

async fn orders(shared: &Shared, death: &watch::Sender<Life>) -> io::Result<()> {
    let mut stdin = BufReader::new(super::process::stdin()?);
    loop {
        let line = wire::next_line(&mut stdin).await?;
        let numbers = Numbers::parse(&line);
        match line.split_whitespace().next() {
            None => return Ok(()),
            Some("round") => {
                let keys = numbers.get("keys")?.min(KEYS_MAX);
                *shared.lock() = Round {
                    deliveries: numbers.get("deliveries")?,
                    per_event: numbers.get("per_event")?.max(1),
                    seen: vec![0; (keys as usize).div_ceil(64)],
                    ..Round::default()
                };
                say("ready=1");
            }
            Some("die") => {
                let is_hanging = numbers.get("hanging")? == 1;
                death.send_replace(if is_hanging { Life::Hanging } else { Life::Refusing });
                say("ready=1");
            }
            Some(_) => {
                let idle_ms = numbers.get("idle_ms")?;
                shared.wait(idle_ms).await;
                say(&shared.report());
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self, idle_ms: u64) {
        loop {
            let complete = self.complete.notified();
            let before = {
                let round = self.lock();
                if round.arrived >= round.deliveries {
                    return;
                }
                round.arrived
            };
            if clock::within(idle_ms, complete).await.is_err() && self.lock().arrived == before {
                return;
            }
        }
    }

    fn report(&self) -> String {
        let mut round = self.lock();
        let (p50_us, p99_us) = std::mem::take(&mut round.latencies).percentiles();
        wire::line(&[
            ("arrived", round.arrived),
            ("repeats", round.repeats),
            ("strange", round.strange),
            ("last_us", round.last_us),
            ("p50_us", p50_us),
            ("p99_us", p99_us),
            ("body_bytes", round.body_bytes.checked_div(round.arrived).unwrap_or(0)),
            ("head_bytes", round.head_bytes.checked_div(round.arrived).unwrap_or(0)),
        ])
    }

    fn count(&self, path: &str, headers: &HeaderMap, body: &[u8]) {
        let now_us = clock::wall_us();
        let index = path.strip_prefix('/').and_then(|index| index.parse::<u64>().ok());
        let mut round = self.lock();
        let (Some(index), Some((n, start_us))) = (index, event::mark(body)) else {
            round.strange += 1;
            return;
        };
        let key = n.saturating_mul(round.per_event) + index % round.per_event;
        let Some(word) = usize::try_from(key / 64).ok().and_then(|at| round.seen.get_mut(at))
        else {
            round.strange += 1;
            return;
        };
        let bit = 1 << (key % 64);
        if *word & bit != 0 {
            round.repeats += 1;
            return;
        }
        *word |= bit;
        round.arrived += 1;
        round.last_us = now_us;
        round.body_bytes += body.len() as u64;
        let head: usize =
            headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        round.head_bytes += head as u64;
        round.latencies.push(now_us.saturating_sub(start_us));
        if round.arrived == round.deliveries {
            drop(round);
            self.complete.notify_waiters();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, life: watch::Receiver<Life>) {
    loop {
        tokio::select! {
            // Refusing is what a port does that nobody listens on.
            () = refuses(life.clone()) => return,
            accepted = listener.accept() => {
                // An error is one connection's: its peer will say so.
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(serve(stream, Arc::clone(&shared), life.clone()));
                }
            }
        }
    }
}

async fn refuses(mut life: watch::Receiver<Life>) {
    // Without its sender the role is at its end.
    let _ = life.wait_for(|life| *life == Life::Refusing).await;
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, life: watch::Receiver<Life>) {
    // Without it, small answers wait for acknowledgements of earlier ones.
    let _ = stream.set_nodelay(true);
    let of_requests = life.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, is_hanging) = (Arc::clone(&shared), *of_requests.borrow() == Life::Hanging);
        async move {
            if is_hanging {
                std::future::pending::<()>().await;
            }
            let (parts, body) = request.into_parts();
            if let Some(body) = read(body).await {
                shared.count(parts.uri.path(), &parts.headers, &body);
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"{}"))))
        }
    });
    tokio::select! {
        // A connection that breaks is the daemon's to notice.
        _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
        () = refuses(life.clone()) => {}
    }
}

/// A body, unless it breaks off or is too long.
pub(super) async fn read(mut body: Incoming) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data().unwrap_or_default();
        if whole.len() + data.len() > BODY_BYTES_MAX {
            return None;
        }
        whole.extend_from_slice(&data);
    }
    Some(whole.freeze())
}

/// A target's address: its own of 127.0.0.0/8.
pub(super) fn address(index: u64, port: u16) -> SocketAddr {
    let low = u32::try_from(index).unwrap_or(u32::MAX) & 0x00ff_ffff;
    SocketAddr::from((Ipv4Addr::from(0x7f00_0001_u32.saturating_add(low)), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_counted_once_and_repeats_told() {
        let shared = Shared::default();
        *shared.lock() = Round { deliveries: 4, per_event: 2, seen: vec![0], ..Round::default() };
        let headers = HeaderMap::new();
        for (path, n) in [("/0", 0), ("/1", 0), ("/3", 0), ("/0", 1), ("/x", 1), ("/0", 77)] {
            shared.count(path, &headers, &event::request(n, 1, 1));
        }
        let report = Numbers::parse(&shared.report());
        let told = ["arrived", "repeats", "strange", "body_bytes"].map(|key| report.get(key).ok());
        assert_eq!(told, [Some(3), Some(1), Some(2), Some(1_200)]);
    }

    #[test]
    fn targets_have_addresses_of_their_own() {
        let all: std::collections::BTreeSet<_> = (0..10_000).map(|i| address(i, 80)).collect();
        assert_eq!(all.len(), 10_000);
        assert!(all.iter().all(|at| at.ip().is_loopback()));
        assert_eq!(address(0, 80), SocketAddr::from((Ipv4Addr::LOCALHOST, 80)));
    }
}
