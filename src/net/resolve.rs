//! Names to addresses.
//!
//! Owns the seam to resolvers and the system's own. Must never judge an address, and must never
//! hold more of the system's threads than it is allowed to.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Semaphore;

use super::connect::is_out_of_resources;

/// Why a name has no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The resolver knows none, or failed.
    #[error("the name does not resolve")]
    NotFound,
    /// It did not answer in time.
    #[error("the resolver did not answer in time")]
    TimedOut,
    /// The process has no file descriptor left to ask with.
    #[error("no file descriptors are left")]
    OutOfResources,
}

/// What a resolver returns, sooner or later.
pub type Resolved<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, ResolveError>> + Send + 'a>>;

/// Whoever knows the addresses of names. It may answer differently each time: what it answered
/// last is what is checked and dialled. The caller bounds its time.
pub trait Resolve: Send + Sync {
    /// Asks for the addresses of a name, with a port.
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> Resolved<'a>;
}

/// The operating system's resolver, with its hosts file and all.
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl SystemResolver {
    /// Asks for at most `lookups_max` names at once.
    #[must_use]
    pub fn new(lookups_max: usize) -> SystemResolver {
        SystemResolver { lookups: Arc::new(Semaphore::new(lookups_max)) }
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> Resolved<'a> {
        let lookups = Arc::clone(&self.lookups);
        let name = name.to_owned();
        Box::pin(async move {
            let permit = lookups.acquire_owned().await.map_err(|_| ResolveError::NotFound)?;
            // A lookup can't be cancelled: its thread is held until the system gives up, whoever
            // still waits for it. So is the permit.
            let lookup = tokio::spawn(async move {
                let answer = tokio::net::lookup_host((name.as_str(), port)).await;
                drop(permit);
                answer.map(Iterator::collect::<Vec<SocketAddr>>)
            });
            match lookup.await {
                Ok(Ok(addresses)) => Ok(addresses),
                Ok(Err(error)) => Err(failure(&error)),
                Err(_) => Err(ResolveError::NotFound),
            }
        })
    }
}

fn failure(error: &io::Error) -> ResolveError {
    if is_out_of_resources(error) { ResolveError::OutOfResources } else { ResolveError::NotFound }
}
