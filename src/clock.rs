//! The only file that asks for the time, sleeps, or draws entropy.
//!
//! Owns wall and monotonic clocks, sleeping and random bytes. Must never decide anything: whoever
//! needs one of these above this floor gets it from here, whoever is below gets it as an argument.

#![allow(clippy::disallowed_methods, reason = "this file is where the bans of .clippy.toml end")]

use std::cell::RefCell;
use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;

use crate::model::time::{Mono, Now, Wall};

static START: OnceLock<Duration> = OnceLock::new();

/// Both clocks, now. Monotonic time starts at about the first call.
#[must_use]
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Now { wall: Wall(millis(wall)), mono: mono() }
}

/// The monotonic clock, now. It goes on while the machine sleeps: what was due meanwhile is due
/// when it wakes, and no step of the wall clock is needed to see it.
#[must_use]
pub fn mono() -> Mono {
    let up = since_boot();
    Mono(millis(up.saturating_sub(*START.get_or_init(|| up))))
}

#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // A time since the boot is neither negative nor ill-formed.
    Duration::try_from(time).unwrap_or(Duration::ZERO)
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    static FIRST: OnceLock<std::time::Instant> = OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}

/// Microseconds since 1970: for measuring between processes of one machine.
#[must_use]
pub fn wall_us() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(wall.as_micros()).unwrap_or(u64::MAX)
}

/// Sleeps until `wall_us` microseconds since 1970, at the timer's precision of a millisecond.
pub async fn sleep_until_us(wall_us: u64) {
    let left = wall_us.saturating_sub(self::wall_us());
    if left > 0 {
        tokio::time::sleep(Duration::from_micros(left)).await;
    }
}

/// Sleeps for `ms` milliseconds.
pub async fn sleep(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// The time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not done within {ms} ms")]
pub struct Elapsed {
    /// The limit.
    pub ms: u64,
}

/// Runs `work`, for `ms` milliseconds at most.
pub async fn within<T>(ms: u64, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    tokio::time::timeout(Duration::from_millis(ms), work).await.map_err(|_| Elapsed { ms })
}

/// Fills `buffer` with entropy of the operating system.
///
/// # Panics
///
/// If the system has none to give: nothing may be signed or named without it.
pub fn fill_random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the operating system gives random bytes");
}

/// 128 random bits for what has to be unique and need not be secret: drawn from the operating
/// system in blocks, one call for many.
#[must_use]
pub fn random_u128() -> u128 {
    RANDOM_BLOCK.with_borrow_mut(|(block, used)| {
        if *used == block.len() {
            fill_random(block);
            *used = 0;
        }
        let mut bytes = [0; RANDOM_BYTES];
        bytes.copy_from_slice(&block[*used..*used + RANDOM_BYTES]);
        *used += RANDOM_BYTES;
        u128::from_le_bytes(bytes)
    })
}

const RANDOM_BYTES: usize = 16;
const RANDOM_BLOCK_BYTES: usize = 64 * RANDOM_BYTES;

thread_local! {
    /// Random bytes, and how many of them were used.
    static RANDOM_BLOCK: RefCell<([u8; RANDOM_BLOCK_BYTES], usize)> =
        const { RefCell::new(([0; RANDOM_BLOCK_BYTES], RANDOM_BLOCK_BYTES)) };
}

/// 64 random bits.
#[must_use]
pub fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    fill_random(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
