//! Rates for clients: how many requests, and how many failed authentications, each may cause.
//!
//! Owns the keys by which clients are told apart and the cap on how many are remembered. Must
//! never grow with the number of clients beyond that cap, and never asks for the time.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::model::time::{MINUTE_MS, Mono, SECOND_MS};

/// A full table is searched for keys to forget at most this often: the search looks at every key.
const SWEEP_FULL_GAP_MS: u64 = SECOND_MS;
/// And any table this often, so that memory is given back after a crowd.
const SWEEP_GAP_MS: u64 = MINUTE_MS;
/// The bits of an IPv6 address that a provider assigns; a customer chooses all others freely.
const V6_PREFIX_BITS: u32 = 56;

const NANOS_PER_MS: u64 = 1_000_000;

/// What one client may do, and how many clients are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRate {
    /// So many a minute, evenly spread.
    pub per_minute: NonZeroU32,
    /// So many at once.
    pub burst: NonZeroU32,
    /// How many clients are told apart. Those beyond share one allowance.
    pub keys_max: usize,
}

/// How long to wait, as `Retry-After` says it: whole seconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfterSeconds(pub u64);

/// A client, for limits: an IPv4 address or the /56 prefix of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientKey {
    /// One address.
    V4(Ipv4Addr),
    /// A prefix, without its zero bits.
    V6(u64),
}

impl ClientKey {
    /// The key of an address. An IPv4 address that is mapped into IPv6 is the IPv4 address.
    #[must_use]
    pub fn of(client: IpAddr) -> ClientKey {
        match client.to_canonical() {
            IpAddr::V4(address) => ClientKey::V4(address),
            IpAddr::V6(address) => {
                ClientKey::V6((address.to_bits() >> (u128::BITS - V6_PREFIX_BITS)) as u64)
            }
        }
    }
}

/// A rate for each client.
pub struct ClientLimiter {
    clock: Ticks,
    table: Arc<Mutex<Table>>,
    swept: AtomicU64,
    take: Limiter,
    peek: Limiter,
}

type Limiter = RateLimiter<ClientKey, View, Ticks, NoOpMiddleware<Nanos>>;

impl ClientLimiter {
    /// A limiter that knows no client yet.
    #[must_use]
    pub fn new(rate: ClientRate) -> ClientLimiter {
        let quota = Quota::per_minute(rate.per_minute).allow_burst(rate.burst);
        let clock = Ticks::default();
        let table = Arc::new(Mutex::new(Table {
            of_client: HashMap::new(),
            overflow: None,
            keys_max: rate.keys_max,
        }));
        let view = |keeps| View { table: Arc::clone(&table), keeps };
        ClientLimiter {
            take: RateLimiter::new(quota, view(true), clock.clone()),
            peek: RateLimiter::new(quota, view(false), clock.clone()),
            clock,
            swept: AtomicU64::new(0),
            table,
        }
    }

    /// Takes one from the client's allowance, or says how long there will be none.
    pub fn check(&self, client: IpAddr, now: Mono) -> Result<(), RetryAfterSeconds> {
        self.sweep(now);
        self.ask(&self.take, client, now)
    }

    /// Whether [`check`](Self::check) would succeed, taking nothing: authentication asks this
    /// first and takes only for a failure, so that right keys are never limited by their number.
    pub fn peek(&self, client: IpAddr, now: Mono) -> Result<(), RetryAfterSeconds> {
        self.ask(&self.peek, client, now)
    }

    /// How many clients are remembered.
    #[must_use]
    pub fn keys(&self) -> usize {
        locked(&self.table).of_client.len()
    }

    fn ask(&self, limiter: &Limiter, client: IpAddr, now: Mono) -> Result<(), RetryAfterSeconds> {
        self.clock.advance_to(now);
        limiter.check_key(&ClientKey::of(client)).map_err(|until| {
            let wait = until.wait_time_from(nanos(now));
            let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            RetryAfterSeconds(whole.max(1))
        })
    }

    fn sweep(&self, now: Mono) {
        let gap_ms = {
            let table = locked(&self.table);
            if table.is_full() { SWEEP_FULL_GAP_MS } else { SWEEP_GAP_MS }
        };
        let swept = self.swept.load(Ordering::Relaxed);
        if now.since(Mono(swept)) < gap_ms {
            return;
        }
        let won =
            self.swept.compare_exchange(swept, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if won {
            self.clock.advance_to(now);
            self.take.retain_recent();
            self.take.shrink_to_fit();
        }
    }
}

impl fmt::Debug for ClientLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLimiter").field("keys", &self.keys()).finish_non_exhaustive()
    }
}

/// Governor's clock, which shows what the last caller said.
#[derive(Clone, Debug, Default)]
struct Ticks {
    now_ms: Arc<AtomicU64>,
}

impl Ticks {
    fn advance_to(&self, now: Mono) {
        self.now_ms.fetch_max(now.0, Ordering::Relaxed);
    }
}

impl Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        nanos(Mono(self.now_ms.load(Ordering::Relaxed)))
    }
}

fn nanos(at: Mono) -> Nanos {
    Nanos::from(at.0.saturating_mul(NANOS_PER_MS))
}

/// Governor's state (a client's theoretical arrival time), for `keys_max` clients at most.
/// Governor's own table has no cap.
struct Table {
    of_client: HashMap<ClientKey, Nanos>,
    overflow: Option<Nanos>,
    keys_max: usize,
}

impl Table {
    fn is_full(&self) -> bool {
        self.of_client.len() >= self.keys_max
    }

    fn state(&self, key: ClientKey) -> Option<Nanos> {
        match self.of_client.get(&key) {
            Some(state) => Some(*state),
            None if self.is_full() => self.overflow,
            None => None,
        }
    }

    fn keep(&mut self, key: ClientKey, state: Nanos) {
        if let Some(known) = self.of_client.get_mut(&key) {
            *known = state;
        } else if self.is_full() {
            self.overflow = Some(state);
        } else {
            self.of_client.insert(key, state);
        }
    }
}

/// The table as governor sees it, either to change it or only to look.
struct View {
    table: Arc<Mutex<Table>>,
    keeps: bool,
}

impl StateStore for View {
    type Key = ClientKey;

    fn measure_and_replace<T, F, E>(&self, key: &ClientKey, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut table = locked(&self.table);
        let (outcome, state) = decide(table.state(*key))?;
        if self.keeps {
            table.keep(*key, state);
        }
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<ClientKey> for View {
    fn retain_recent(&self, drop_below: Nanos) {
        locked(&self.table).of_client.retain(|_, state| *state > drop_below);
    }

    fn shrink_to_fit(&self) {
        locked(&self.table).of_client.shrink_to_fit();
    }

    fn len(&self) -> usize {
        locked(&self.table).of_client.len()
    }

    fn is_empty(&self) -> bool {
        locked(&self.table).of_client.is_empty()
    }
}

/// A thread that panicked while it held the table has left it whole: each change is one insert.
fn locked(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_minute: u32, burst: u32, keys_max: usize) -> ClientLimiter {
        ClientLimiter::new(ClientRate {
            per_minute: NonZeroU32::new(per_minute).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
            keys_max,
        })
    }

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    #[test]
    fn a_burst_then_the_rate_in_whole_seconds() {
        let limiter = limiter(40, 3, 10); // one every 1.5 s
        let start = Mono(7);
        for _ in 0..3 {
            assert_eq!(limiter.check(v4(1), start), Ok(()));
        }
        assert_eq!(limiter.check(v4(1), start), Err(RetryAfterSeconds(2)));
        assert_eq!(limiter.check(v4(1), start.plus(1_400)), Err(RetryAfterSeconds(1)));
        assert_eq!(limiter.check(v4(2), start), Ok(()), "another client is not concerned");
        assert_eq!(limiter.check(v4(1), start.plus(1_500)), Ok(()));
        assert_eq!(limiter.check(v4(1), start.plus(1_501)), Err(RetryAfterSeconds(2)));
    }

    #[test]
    fn what_retry_after_promises_is_kept() {
        for per_minute in [1, 7, 59, 61, 6_000] {
            let limiter = limiter(per_minute, 2, 10);
            let mut now = Mono(0);
            for _ in 0..20 {
                if let Err(RetryAfterSeconds(seconds)) = limiter.check(v4(1), now) {
                    assert!(seconds >= 1);
                    now = now.plus(seconds * SECOND_MS);
                    assert_eq!(limiter.check(v4(1), now), Ok(()));
                }
            }
        }
    }

    #[test]
    fn peeking_takes_nothing_and_remembers_nobody() {
        let limiter = limiter(60, 1, 10);
        for _ in 0..100 {
            assert_eq!(limiter.peek(v4(1), Mono(0)), Ok(()));
        }
        assert_eq!(limiter.keys(), 0);
        assert_eq!(limiter.check(v4(1), Mono(0)), Ok(()));
        assert_eq!(limiter.peek(v4(1), Mono(0)), Err(RetryAfterSeconds(1)));
        assert_eq!(limiter.peek(v4(1), Mono(1_000)), Ok(()));
    }

    #[test]
    fn an_ipv6_client_is_its_prefix_and_a_mapped_one_its_ipv4_address() {
        let key = |text: &str| ClientKey::of(text.parse().unwrap());
        assert_eq!(key("2001:db8:0:ff00::1"), key("2001:db8:0:ffff:ffff::2"));
        assert_ne!(key("2001:db8:0:fe00::1"), key("2001:db8:0:ff00::1"));
        assert_eq!(key("::ffff:192.0.2.7"), key("192.0.2.7"));
        assert_ne!(key("192.0.2.8"), key("192.0.2.7"));
    }

    #[test]
    fn beyond_the_cap_clients_share_one_allowance() {
        let limiter = limiter(60, 2, 100);
        for n in 0..100 {
            assert_eq!(limiter.check(v4(n), Mono(0)), Ok(()));
        }
        assert_eq!(limiter.check(v4(100), Mono(0)), Ok(()));
        assert_eq!(limiter.check(v4(101), Mono(0)), Ok(()));
        assert_eq!(limiter.peek(v4(102), Mono(0)), Err(RetryAfterSeconds(1)));
        for n in 102..10_000 {
            assert_eq!(limiter.check(v4(n), Mono(0)), Err(RetryAfterSeconds(1)));
        }
        assert_eq!(limiter.keys(), 100);
        assert_eq!(limiter.check(v4(5), Mono(0)), Ok(()), "who is known keeps their own");
    }

    #[test]
    fn clients_that_have_their_whole_allowance_back_are_forgotten() {
        let limiter = limiter(60, 2, 100);
        for n in 0..100 {
            assert_eq!(limiter.check(v4(n), Mono(0)), Ok(()));
        }
        assert_eq!(limiter.check(v4(1_000), Mono(10_000)), Ok(()));
        assert_eq!(limiter.keys(), 1);
        assert!(locked(&limiter.table).of_client.capacity() < 100);
    }

    #[test]
    fn time_that_seems_to_go_back_breaks_nothing() {
        let limiter = limiter(60, 1, 10);
        assert_eq!(limiter.check(v4(1), Mono(5_000)), Ok(()));
        assert_eq!(limiter.check(v4(1), Mono(4_000)), Err(RetryAfterSeconds(2)));
        assert_eq!(limiter.check(v4(1), Mono(6_000)), Ok(()));
    }
}
