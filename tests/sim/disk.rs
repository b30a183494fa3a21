//! What a world keeps its data on.
//!
//! Owns the seam between a world and its store: how a store is opened, and what is left of it for
//! the next process. Must never draw chance but from the world's seed.

use std::sync::Arc;

use postrider::store::Store;

/// Where data is kept.
pub trait Medium {
    /// Opens the store for the first process.
    fn open(&mut self) -> Arc<dyn Store>;

    /// The process is gone; opens what it left.
    fn reopen(&mut self) -> Arc<dyn Store>;
}

/// A store that outlives its process as it is: all that was committed is there.
pub struct Kept(pub Arc<dyn Store>);

impl Medium for Kept {
    fn open(&mut self) -> Arc<dyn Store> {
        Arc::clone(&self.0)
    }

    fn reopen(&mut self) -> Arc<dyn Store> {
        Arc::clone(&self.0)
    }
}
