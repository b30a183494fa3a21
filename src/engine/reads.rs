//! Reads of the store: for deliveries, for people who ask, and where a delivery stands.
//!
//! Owns how many reads run at once. Must never run one on the loop, or let those for people take
//! the threads that deliveries need.
//!
//! Each read that runs holds a thread, because it may wait for the disk, and each thread keeps
//! memory of its own. A backlog of which no event is in memory any more would ask for hundreds at
//! once, and would have them no sooner for it.

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
/// Reads for deliveries that run at once; the rest wait for their turn.
const READS_AT_ONCE_MAX: usize = 4;

/// The turns of those who read.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    /// Those of people.
    pub(super) fn of_looks() -> Turns {
        Turns(Arc::new(Semaphore::new(LOOKS_AT_ONCE_MAX)))
    }

    /// Those of deliveries.
    pub(super) fn of_deliveries() -> Turns {
        Turns(Arc::new(Semaphore::new(READS_AT_ONCE_MAX)))
    }

    /// Reads when it is its turn, on a thread that may wait for the disk.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let turn = Arc::clone(&self.0).acquire_owned().await;
        let turn = turn.map_err(|error| ReadError::Broken(Box::new(error)))?;
        let reading = tokio::task::spawn_blocking(move || {
            let read = read();
            // Whoever asked may have gone: the turn ends with the read, not with them.
            drop(turn);
            read
        });
        reading.await.map_err(|error| ReadError::Broken(Box::new(error)))
    }
}

impl Handle {
    /// Reads the store, on a thread that may wait for the disk.
    pub async fn look<T, F>(&self, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Store) -> Result<T, ReadError> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        self.looks.read(move || read(&*store)).await?
    }

    /// Where a delivery stands that waits, and what the engine's clock shows; `None` if the engine
    /// has ended.
    pub async fn standing(&self, row: Pending) -> Option<(Standing, Wall)> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Ask(Question::Standing(Box::new(row), reply))).ok()?;
        answer.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, mpsc};

    use super::*;

    #[tokio::test]
    async fn no_more_reads_run_than_have_a_turn() {
        let turns = Turns::of_deliveries();
        let running = Arc::new(AtomicUsize::new(0));
        let all_in = Arc::new(Barrier::new(READS_AT_ONCE_MAX));
        let (most, seen) = mpsc::channel();
        let mut reads = tokio::task::JoinSet::new();
        for _ in 0..READS_AT_ONCE_MAX * 5 {
            let (turns, running) = (turns.clone(), Arc::clone(&running));
            let (all_in, most) = (Arc::clone(&all_in), most.clone());
            reads.spawn(async move {
                let read = move || {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    // As many as have a turn have to be in here before any of them gets on.
                    all_in.wait();
                    let _ = most.send(now);
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                turns.read(read).await.expect("a read");
            });
        }
        while let Some(ended) = reads.join_next().await {
            ended.expect("a read");
        }
        drop(most);
        let counts: Vec<usize> = seen.iter().collect();
        assert_eq!(counts.len(), READS_AT_ONCE_MAX * 5);
        assert_eq!(counts.into_iter().max(), Some(READS_AT_ONCE_MAX));
    }

    #[tokio::test]
    async fn a_turn_ends_with_its_read_and_not_with_who_asked() {
        let turns = Turns(Arc::new(Semaphore::new(1)));
        let (go, wait) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let reader = turns.clone();
        let asked = tokio::spawn(async move {
            let read = move || {
                let _ = begun.send(());
                let _ = wait.recv();
            };
            reader.read(read).await
        });
        has_begun.await.expect("begun");
        asked.abort();
        assert!(asked.await.is_err());
        assert_eq!(turns.0.available_permits(), 0, "it still runs");
        drop(go);
        turns.read(|| ()).await.expect("the next turn");
    }
}
