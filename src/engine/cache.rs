//! Events in memory: those just accepted, so that a delivery at once reads nothing back.
//!
//! Owns a bounded first-in-first-out cache, and with each event what its webhooks share of the
//! rendered body. Must never be relied on: an event that is not here is on disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use crate::dialect::{self, RenderError, Shared};
use crate::model::event::Event;
use crate::model::ids::Seq;
use crate::model::webhook::Format;

/// Bytes of events that are kept, about.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// An event and what was rendered of it.
#[derive(Debug)]
pub struct Cached {
    /// The event.
    pub event: Arc<Event>,
    shared: [OnceLock<Arc<Shared>>; dialect::FORMATS],
}

impl Cached {
    /// An event of which nothing is rendered yet.
    #[must_use]
    pub fn new(event: Arc<Event>) -> Cached {
        Cached { event, shared: Default::default() }
    }

    /// What every webhook of this format gets, rendered at the first call.
    pub fn shared(&self, format: Format) -> Result<Arc<Shared>, RenderError> {
        let slot = &self.shared[dialect::format_index(format)];
        if let Some(shared) = slot.get() {
            return Ok(Arc::clone(shared));
        }
        let shared = Arc::new(dialect::shared(&self.event, format)?);
        Ok(Arc::clone(slot.get_or_init(|| shared)))
    }
}

/// The cache.
#[derive(Debug, Default)]
pub struct EventCache {
    events: BTreeMap<Seq, Arc<Cached>>,
    order: VecDeque<(Seq, usize)>,
    bytes: usize,
}

impl EventCache {
    /// Keeps an event, and lets the oldest go if there are too many bytes.
    pub fn put(&mut self, event: Arc<Event>) {
        let seq = event.id.seq;
        // Twice: what will be rendered of it is about as large.
        let bytes = event.size_bytes() * 2;
        self.bytes += bytes;
        self.order.push_back((seq, bytes));
        self.events.insert(seq, Arc::new(Cached::new(event)));
        while self.bytes > BYTES_MAX
            && let Some((oldest, bytes)) = self.order.pop_front()
        {
            self.bytes -= bytes;
            self.events.remove(&oldest);
        }
    }

    /// Lets an event go.
    pub fn remove(&mut self, seq: Seq) {
        self.events.remove(&seq);
    }

    /// An event, if it is still here.
    #[must_use]
    pub fn get(&self, seq: Seq) -> Option<Arc<Cached>> {
        self.events.get(&seq).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Dialect, EventName, Kind, Source};
    use crate::model::ids::{EventId, ProjectId};
    use crate::model::time::Wall;

    #[test]
    fn is_bounded_and_lets_the_oldest_go() {
        let mut cache = EventCache::default();
        for n in 1..=100 {
            cache.put(Arc::new(Event {
                id: EventId { seq: Seq(n), salt: 0 },
                project: ProjectId::new(1).expect("an id"),
                kind: Kind::Custom,
                dialect: Dialect::Custom,
                name: EventName::parse("a").expect("a name"),
                data: vec![b' '; 1024 * 1024],
                file: None,
                initiator: None,
                previous_values: None,
                occurred_at: None,
                accepted_at: Wall(1),
                idempotency_key: None,
                source: Source::Native,
                erased_at: None,
            }));
        }
        assert!(cache.bytes <= BYTES_MAX);
        assert!(cache.get(Seq(1)).is_none());
        assert!(cache.get(Seq(100)).is_some());
        assert_eq!(cache.events.len(), cache.order.len());
    }
}
