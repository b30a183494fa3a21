//! Looking: reads of the store for people who ask, and where a delivery stands.
//!
//! Owns how many such reads run at once. Must never run one on the loop, or let them take the
//! threads that deliveries need.

use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use super::Handle;
use super::core::{Message, Question};
use crate::logic::dispatcher::standing::Standing;
use crate::model::delivery::Pending;
use crate::model::time::Wall;
use crate::store::{ReadError, Store};

/// Reads for people that run at once; the rest wait for their turn. Each is bounded by the rows and
/// bytes that it may visit.
const LOOKS_AT_ONCE_MAX: usize = 4;

/// The turns of those who look.
#[derive(Debug)]
pub(super) struct Looks(Arc<Semaphore>);

impl Default for Looks {
    fn default() -> Looks {
        Looks(Arc::new(Semaphore::new(LOOKS_AT_ONCE_MAX)))
    }
}

impl Handle {
    /// Reads the store, on a thread that may wait for the disk.
    pub async fn look<T, F>(&self, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Store) -> Result<T, ReadError> + Send + 'static,
    {
        let broken = |error: Box<dyn std::error::Error + Send + Sync>| ReadError::Broken(error);
        let turn = Arc::clone(&self.looks.0).acquire_owned();
        let turn = turn.await.map_err(|error| broken(Box::new(error)))?;
        let store = Arc::clone(&self.store);
        let reading = tokio::task::spawn_blocking(move || {
            let read = read(&*store);
            // Whoever asked may have gone: the turn ends with the read, not with them.
            drop(turn);
            read
        });
        reading.await.map_err(|error| broken(Box::new(error)))?
    }

    /// Where a delivery stands that waits, and what the engine's clock shows; `None` if the engine
    /// has ended.
    pub async fn standing(&self, row: Pending) -> Option<(Standing, Wall)> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Ask(Question::Standing(Box::new(row), reply))).ok()?;
        answer.await.ok()
    }
}
