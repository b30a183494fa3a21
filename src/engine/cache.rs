//! Events in memory: those just accepted and those read ahead for their first attempts, so that a
//! delivery at once reads nothing back.
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
const BYTES_MAX: usize = 5 * 1024 * 1024;

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
    events: BTreeMap<Seq, Kept>,
    /// Events in the order in which they came. Those that have gone since stay until they are first,
    /// or too many.
    order: VecDeque<(u64, Seq)>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    cached: Arc<Cached>,
    /// First attempts that are still to come, as far as is known.
    wanted: usize,
    number: u64,
    bytes: usize,
}

impl EventCache {
    /// Keeps an event for so many first attempts, and lets the oldest go if there are too many
    /// bytes.
    pub fn put(&mut self, event: Arc<Event>, wanted: usize) {
        if wanted == 0 {
            return;
        }
        let seq = event.id.seq;
        if let Some(kept) = self.events.get_mut(&seq) {
            kept.wanted += wanted;
            return;
        }
        // Twice: what will be rendered of it is about as large.
        let bytes = event.size_bytes() * 2;
        let number = self.next;
        self.next += 1;
        self.bytes += bytes;
        self.order.push_back((number, seq));
        let cached = Arc::new(Cached::new(event));
        self.events.insert(seq, Kept { cached, wanted, number, bytes });
        // What is first in the order is here.
        while self.bytes > BYTES_MAX
            && let Some((_, oldest)) = self.order.front()
        {
            self.remove(*oldest);
        }
    }

    /// Drops from the order what has gone: from its front, and everywhere once that is most of it.
    fn forget_gone(&mut self) {
        while let Some((number, seq)) = self.order.front()
            && !self.is_kept(*number, *seq)
        {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.events.len() {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|(number, seq)| self.is_kept(*number, *seq));
            self.order = order;
        }
    }

    /// Whether an event is still here since it came as this number.
    fn is_kept(&self, number: u64, seq: Seq) -> bool {
        self.events.get(&seq).is_some_and(|kept| kept.number == number)
    }

    /// An event, if it is still here.
    #[must_use]
    pub fn get(&self, seq: Seq) -> Option<Arc<Cached>> {
        self.events.get(&seq).map(|kept| Arc::clone(&kept.cached))
    }

    /// A first attempt was made: after the last one, the event is not needed here any more.
    pub fn attempted(&mut self, seq: Seq) {
        if let Some(kept) = self.events.get_mut(&seq) {
            kept.wanted -= 1;
            if kept.wanted == 0 {
                self.remove(seq);
            }
        }
    }

    /// Lets an event go.
    pub fn remove(&mut self, seq: Seq) {
        if let Some(Kept { bytes, .. }) = self.events.remove(&seq) {
            self.bytes -= bytes;
            self.forget_gone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Dialect, EventName, Kind, Source};
    use crate::model::ids::{EventId, ProjectId};
    use crate::model::time::Wall;

    fn event(n: u64, bytes: usize) -> Arc<Event> {
        Arc::new(Event {
            id: EventId { seq: Seq(n), salt: 0 },
            project: ProjectId::new(1).expect("an id"),
            kind: Kind::Custom,
            dialect: Dialect::Custom,
            name: EventName::parse("a").expect("a name"),
            data: vec![b' '; bytes],
            file: None,
            initiator: None,
            previous_values: None,
            occurred_at: None,
            accepted_at: Wall(1),
            idempotency_key: None,
            source: Source::Native,
            erased_at: None,
        })
    }

    #[test]
    fn is_bounded_and_lets_the_oldest_go() {
        let mut cache = EventCache::default();
        for n in 1..=100 {
            cache.put(event(n, 1024 * 1024), 2);
        }
        assert!(cache.bytes <= BYTES_MAX);
        assert!(cache.get(Seq(1)).is_none());
        assert!(cache.get(Seq(100)).is_some());
        assert_eq!(cache.events.len(), cache.order.len());
        // It stays for the second delivery, and no longer.
        cache.attempted(Seq(100));
        assert!(cache.get(Seq(100)).is_some());
        cache.attempted(Seq(100));
        assert!(cache.get(Seq(100)).is_none());
        for n in 1..100 {
            cache.remove(Seq(n));
        }
        assert_eq!((cache.bytes, cache.order.len()), (0, 0));
    }

    #[test]
    fn what_has_gone_is_forgotten() {
        let mut cache = EventCache::default();
        // The first stays, so that the front of the order never moves.
        cache.put(event(1, 8), 1);
        for n in 2..1_000 {
            cache.put(event(n, 8), 1);
            assert!(cache.order.len() <= 2 * cache.events.len());
            cache.attempted(Seq(n));
        }
    }

    #[test]
    fn what_comes_again_counts_from_when_it_came_again() {
        let mut cache = EventCache::default();
        cache.put(event(1, 8), 1);
        cache.put(event(2, 8), 1);
        cache.attempted(Seq(2));
        cache.put(event(3, 8), 1);
        cache.put(event(2, 8), 1);
        cache.remove(Seq(1));
        let order: Vec<u64> = cache.order.iter().map(|(_, seq)| seq.0).collect();
        assert_eq!(order, [3, 2]);
    }
}
