//! Connections that wait for their next request.
//!
//! Owns unused connections: how many, how long, and to whom they may be given. Must never give a
//! connection to a request that would not be allowed to make it.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use crate::clock;
use crate::model::target::Origin;
use crate::model::time::{Mono, SECOND_MS};

use super::stream::{Received, Stream};

/// How often unused connections are looked through, in milliseconds.
const SWEEP_MS: u64 = SECOND_MS;

/// What a connection leads to: connections through a proxy are not those past it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) origin: Origin,
    pub(super) proxied: bool,
}

/// An open connection. It has no task of its own: whoever uses it drives it, so that a request
/// costs no turn of the scheduler more than its answer does.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) peer: SocketAddr,
    pub(super) received: Received,
    /// `None` once it has ended.
    pub(super) http: Option<Pin<Box<Http>>>,
}

/// HTTP on a stream.
pub(super) type Http = http1::Connection<TokioIo<Stream>, Full<Bytes>>;

impl Connection {
    /// Runs `work`, which waits for this connection, while the connection does its part.
    pub(super) async fn drive<T>(
        http: &mut Option<Pin<Box<Http>>>,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            loop {
                if let Poll::Ready(done) = work.as_mut().poll(context) {
                    return Poll::Ready(done);
                }
                let Some(open) = http else { return Poll::Pending };
                if open.as_mut().poll(context).is_pending() {
                    // What it has just read is for the work.
                    return work.as_mut().poll(context);
                }
                // Its errors reach whoever waits for an answer; without one, nobody needs them.
                *http = None;
            }
        })
        .await
    }

    /// Whether it could take a request, as far as it has heard.
    fn is_usable(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let ended =
            self.http.as_mut().is_none_or(|http| http.as_mut().poll(&mut context).is_ready());
        if ended {
            self.http = None;
        }
        !ended && self.sender.is_ready()
    }
}

/// A task that ends with its owner.
pub(super) struct Task(pub(super) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// All unused connections.
pub(super) struct Pool {
    idle: Mutex<Idle>,
    idle_ms_max: u64,
    per_target_max: usize,
    total_max: usize,
}

#[derive(Default)]
struct Idle {
    /// Those of a key in the order in which they went unused. A key without any stays until the
    /// next sweep: its connection is in use, as a rule, and comes back.
    by_key: BTreeMap<Key, VecDeque<Unused>>,
    /// Keys by the number of the connection: in the order in which connections went unused.
    by_age: BTreeMap<u64, Key>,
    next_number: u64,
    /// There while there is something to sweep.
    sweeper: Option<Task>,
}

struct Unused {
    number: u64,
    connection: Connection,
    since: Mono,
}

impl Pool {
    pub(super) fn new(idle_ms_max: u64, per_target_max: usize, total_max: usize) -> Arc<Pool> {
        Arc::new(Pool { idle: Mutex::default(), idle_ms_max, per_target_max, total_max })
    }

    /// The connection that was used last, of those that still live and whose peer this request
    /// may reach.
    pub(super) fn take(
        &self,
        key: &Key,
        may_reach: impl Fn(SocketAddr) -> bool,
    ) -> Option<Connection> {
        let now = clock::mono();
        let mut idle = self.lock();
        idle.drop_older(now, self.idle_ms_max);
        loop {
            let unused = idle.by_key.get(key)?;
            let place = unused.iter().rposition(|one| may_reach(one.connection.peer))?;
            let mut connection = idle.remove(key, place)?;
            if connection.is_usable() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection until it is wanted, closed by its peer, too old, or one too many.
    pub(super) fn put(self: &Arc<Self>, key: Key, connection: Connection) {
        if self.per_target_max == 0 || self.total_max == 0 {
            return;
        }
        let since = clock::mono();
        let mut idle = self.lock();
        idle.drop_older(since, self.idle_ms_max);
        if idle.by_key.get(&key).is_some_and(|unused| unused.len() >= self.per_target_max) {
            idle.remove(&key, 0);
        }
        if idle.by_age.len() >= self.total_max {
            idle.drop_oldest();
        }
        let number = idle.next_number;
        idle.next_number += 1;
        idle.by_age.insert(number, key.clone());
        let unused = Unused { number, connection, since };
        idle.by_key.entry(key).or_default().push_back(unused);
        if idle.sweeper.is_none() {
            idle.sweeper = Some(Task(tokio::spawn(sweep(Arc::downgrade(self)))));
        }
    }

    /// Closes the unused connections to a target.
    pub(super) fn drop_target(&self, origin: &Origin) {
        let mut idle = self.lock();
        for proxied in [false, true] {
            let key = Key { origin: origin.clone(), proxied };
            for unused in idle.by_key.remove(&key).unwrap_or_default() {
                idle.by_age.remove(&unused.number);
            }
        }
    }

    /// How many connections wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().by_age.len()
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        // Nothing panics with the lock held; if something did, the maps would still be whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is left.
    fn sweep_once(&self) -> bool {
        let now = clock::mono();
        let mut idle = self.lock();
        idle.drop_older(now, self.idle_ms_max);
        idle.drop_closed();
        if idle.by_age.is_empty() {
            idle.sweeper = None;
        }
        !idle.by_age.is_empty()
    }
}

impl Idle {
    fn remove(&mut self, key: &Key, place: usize) -> Option<Connection> {
        let unused = self.by_key.get_mut(key)?.remove(place)?;
        self.by_age.remove(&unused.number);
        Some(unused.connection)
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.pop_first()
            && let Some(unused) = self.by_key.get_mut(&key)
        {
            // Of its key it is the oldest as well.
            unused.pop_front();
        }
    }

    fn drop_older(&mut self, now: Mono, idle_ms_max: u64) {
        while let Some((_, key)) = self.by_age.first_key_value() {
            let oldest = self.by_key.get(key).and_then(VecDeque::front);
            if oldest.is_some_and(|oldest| now.since(oldest.since) < idle_ms_max) {
                return;
            }
            self.drop_oldest();
        }
    }

    fn drop_closed(&mut self) {
        let by_age = &mut self.by_age;
        self.by_key.retain(|_, unused| {
            unused.retain_mut(|unused| {
                let open = unused.connection.is_usable();
                if !open {
                    by_age.remove(&unused.number);
                }
                open
            });
            !unused.is_empty()
        });
    }
}

/// Runs while there are unused connections. It holds the pool only while it looks.
async fn sweep(pool: Weak<Pool>) {
    loop {
        clock::sleep(SWEEP_MS).await;
        match pool.upgrade() {
            Some(pool) if pool.sweep_once() => {}
            _ => return,
        }
    }
}
