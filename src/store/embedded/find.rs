//! Finding: deliveries and events by whose they are, their status and their number.
//!
//! Owns the merge of the index in redb with what the overlays know. Must never trust the index
//! alone: it says where to look, and what is found there is judged.
//!
//! A row of redb's index may be out of date where an overlay knows better, and what an overlay
//! brings has no row yet. So the numbers of both are merged in order, and each is looked up through
//! all layers. Overlays are bounded, so that whoever asks for a page pays for the page, and for the
//! overlays at most.

use std::ops::RangeInclusive;

use redb::{ReadOnlyTable, ReadTransaction};

use super::overlay::Overlay;
use super::reads::broken;
use super::session::end_kept;
use super::shared::{Layers, Shared, open_queue, row};
use super::tables::{self, EVENT_CLASS, IndexRow, QueueRow, WaitsRow, class};
use crate::model::delivery::{Delivery, Queue, Status};
use crate::model::ids::{Seq, WebhookId};
use crate::store::ReadError;
use crate::store::query::{DeliveryQuery, EventQuery, Order, Scope};

/// Deliveries that are looked at behind their event for those that it became.
const LOOKS_OF_EVENT_MAX: usize = 100_000;

type Numbers<'a> = Box<dyn Iterator<Item = Result<u64, redb::StorageError>> + 'a>;

impl Shared {
    /// A delivery, wherever it stands.
    pub fn delivery(&self, seq: Seq) -> Result<Option<Delivery>, ReadError> {
        let layers = self.layers();
        let view = self.view().map_err(broken)?;
        Finder::new(&layers, &view)?.delivery(seq.0)
    }

    /// Deliveries by project or webhook, status and number.
    pub fn deliveries(&self, query: &DeliveryQuery) -> Result<Vec<Delivery>, ReadError> {
        if query.from > query.to {
            return Ok(Vec::new());
        }
        let layers = self.layers();
        let view = self.view().map_err(broken)?;
        let finder = Finder::new(&layers, &view)?;
        let range = query.range();
        let mut numbers = Vec::new();
        for status in query.status.map_or(Status::ALL.to_vec(), |status| vec![status]) {
            numbers.push(finder.indexed(query.scope, class(status), &range, query.order)?);
        }
        for overlay in layers.overlays() {
            let (waits, ended) = (overlay.waits.range(range.clone()), &overlay.finished);
            numbers.push(held(waits.map(|(seq, _)| *seq), query.order));
            numbers.push(held(ended.range(range.clone()).map(|(seq, _)| *seq), query.order));
        }
        let mut found = Vec::new();
        for seq in Merged::new(numbers, query.order) {
            if found.len() >= query.rows_max {
                break;
            }
            let delivery = finder.delivery(seq.map_err(broken)?)?.filter(|delivery| {
                query.scope.holds(delivery)
                    && query.status.is_none_or(|status| status == delivery.status())
            });
            found.extend(delivery);
        }
        Ok(found)
    }

    /// The deliveries of an event, by number.
    pub fn deliveries_of(&self, event: Seq, rows_max: usize) -> Result<Vec<Delivery>, ReadError> {
        self.of_event(event, None, rows_max)
    }

    /// The delivery of an event for a webhook.
    pub fn delivery_of(
        &self,
        event: Seq,
        webhook: WebhookId,
    ) -> Result<Option<Delivery>, ReadError> {
        Ok(self.of_event(event, Some(webhook), 1)?.pop())
    }

    /// Those that an event became at once have the numbers up to the next event; later ones have
    /// rows of their own. For one webhook its index says which of them to look at.
    fn of_event(
        &self,
        event: Seq,
        only: Option<WebhookId>,
        rows_max: usize,
    ) -> Result<Vec<Delivery>, ReadError> {
        // What came later is not known any more once the event is gone.
        if self.event_place(event)?.is_none() {
            return Ok(Vec::new());
        }
        let layers = self.layers();
        let view = self.view().map_err(broken)?;
        let finder = Finder::new(&layers, &view)?;
        let behind = event.0.saturating_add(1);
        let range = behind..=finder.event_behind(behind)?.unwrap_or(u64::MAX);
        let order = Order::OldestFirst;
        let mut numbers: Vec<Numbers<'_>> = Vec::new();
        match only {
            Some(webhook) => {
                for status in Status::ALL {
                    let scope = Scope::Webhook(webhook);
                    numbers.push(finder.indexed(scope, class(status), &range, order)?);
                }
            }
            None => {
                let waits = finder.waits.range(range.clone()).map_err(broken)?;
                numbers.push(Box::new(waits.map(|entry| entry.map(|(seq, _)| seq.value()))));
                let finished = finder.finished.range(range.clone()).map_err(broken)?;
                numbers.push(Box::new(finished.map(|entry| entry.map(|(seq, _)| seq.value()))));
            }
        }
        let later = view.open_table(tables::LATER).map_err(broken)?;
        let of_event = (event.0, 0)..=(event.0, u64::MAX);
        let later = later.range(of_event.clone()).map_err(broken)?;
        numbers.push(Box::new(later.map(|entry| entry.map(|(key, _)| key.value().1))));
        for overlay in layers.overlays() {
            numbers.push(held(overlay.waits.range(range.clone()).map(|(seq, _)| *seq), order));
            numbers.push(held(overlay.finished.range(range.clone()).map(|(seq, _)| *seq), order));
            numbers.push(held(overlay.later.range(of_event.clone()).map(|key| key.1), order));
        }
        let mut found = Vec::new();
        for seq in Merged::new(numbers, order).take(LOOKS_OF_EVENT_MAX) {
            if found.len() >= rows_max {
                break;
            }
            let delivery = finder.delivery(seq.map_err(broken)?)?;
            found.extend(delivery.filter(|delivery| {
                delivery.event() == event && only.is_none_or(|only| delivery.webhook() == only)
            }));
        }
        Ok(found)
    }

    /// Events of a project by number.
    pub fn events(&self, query: &EventQuery) -> Result<Vec<Seq>, ReadError> {
        if query.from > query.to {
            return Ok(Vec::new());
        }
        let layers = self.layers();
        let view = self.view().map_err(broken)?;
        let finder = Finder::new(&layers, &view)?;
        let (range, scope) = (query.range(), Scope::Project(query.project));
        let mut numbers = vec![finder.indexed(scope, EVENT_CLASS, &range, query.order)?];
        for overlay in layers.overlays() {
            let events = overlay.events.range(range.clone());
            let events = events.filter(|(_, kept)| kept.project == query.project);
            numbers.push(held(events.map(|(seq, _)| *seq), query.order));
        }
        let numbers = Merged::new(numbers, query.order).take(query.rows_max);
        numbers.map(|seq| seq.map(Seq).map_err(broken)).collect()
    }
}

/// The layers, and redb's tables, for one answer.
struct Finder<'a> {
    layers: &'a Layers,
    view: &'a ReadTransaction,
    waits: ReadOnlyTable<u64, WaitsRow>,
    finished: ReadOnlyTable<u64, &'static [u8]>,
    by_status: ReadOnlyTable<IndexRow, ()>,
}

impl<'a> Finder<'a> {
    fn new(layers: &'a Layers, view: &'a ReadTransaction) -> Result<Finder<'a>, ReadError> {
        Ok(Finder {
            layers,
            view,
            waits: view.open_table(tables::WAITS).map_err(broken)?,
            finished: view.open_table(tables::FINISHED).map_err(broken)?,
            by_status: view.open_table(tables::BY_STATUS).map_err(broken)?,
        })
    }

    /// The numbers of a class in redb's index.
    fn indexed(
        &self,
        scope: Scope,
        class: u8,
        range: &RangeInclusive<u64>,
        order: Order,
    ) -> Result<Numbers<'static>, ReadError> {
        let key = |seq| tables::index_row(scope, class, seq);
        let rows = self.by_status.range(key(*range.start())..=key(*range.end())).map_err(broken)?;
        let numbers = rows.map(|entry| entry.map(|(key, _)| key.value().3));
        Ok(match order {
            Order::OldestFirst => Box::new(numbers),
            Order::NewestFirst => Box::new(numbers.rev()),
        })
    }

    /// The number of the first event from here on.
    fn event_behind(&self, from: u64) -> Result<Option<u64>, ReadError> {
        let events = self.view.open_table(tables::EVENTS).map_err(broken)?;
        let kept = events.range(from..).map_err(broken)?.next().transpose().map_err(broken)?;
        let kept = kept.map(|(seq, _)| seq.value());
        let held = self.layers.overlays().filter_map(|overlay| overlay.events.range(from..).next());
        Ok(held.map(|(seq, _)| *seq).chain(kept).min())
    }

    fn delivery(&self, seq: u64) -> Result<Option<Delivery>, ReadError> {
        match self.layers.overlays().find(|overlay| overlay.knows(seq)) {
            Some(overlay) => self.held_delivery(overlay, seq),
            None => self.kept_delivery(seq),
        }
    }

    fn held_delivery(&self, overlay: &Overlay, seq: u64) -> Result<Option<Delivery>, ReadError> {
        if let Some((queue, key)) = overlay.waits.get(&seq).and_then(|waits| waits.at) {
            return self.pending(queue, key);
        }
        let end = overlay.finished.get(&seq).and_then(|ended| ended.now);
        Ok(end.map(|end| Delivery::Finished(end.finished)))
    }

    fn kept_delivery(&self, seq: u64) -> Result<Option<Delivery>, ReadError> {
        if let Some(waits) = self.waits.get(seq).map_err(broken)? {
            let (queue, webhook, due, _) = waits.value();
            let queue = if queue == 0 { Queue::Fresh } else { Queue::Retry };
            return self.pending(queue, (webhook, due, seq));
        }
        let end = end_kept(&self.finished, Seq(seq)).map_err(broken)?;
        Ok(end.map(|end| Delivery::Finished(end.finished)))
    }

    /// A damaged row is none: whoever reads its queue sets it aside.
    fn pending(&self, queue: Queue, key: QueueRow) -> Result<Option<Delivery>, ReadError> {
        let found = row(self.layers, || open_queue(self.view, queue), queue, key);
        let found = found.map_err(broken)?.and_then(Result::ok);
        Ok(found.map(|row| Delivery::Pending(row.pending)))
    }
}

fn held<'a>(numbers: impl DoubleEndedIterator<Item = u64> + 'a, order: Order) -> Numbers<'a> {
    match order {
        Order::OldestFirst => Box::new(numbers.map(Ok)),
        Order::NewestFirst => Box::new(numbers.rev().map(Ok)),
    }
}

/// Several ordered lists of numbers as one, each number once.
struct Merged<'a> {
    lists: Vec<std::iter::Peekable<Numbers<'a>>>,
    order: Order,
}

impl<'a> Merged<'a> {
    fn new(lists: Vec<Numbers<'a>>, order: Order) -> Merged<'a> {
        Merged { lists: lists.into_iter().map(Iterator::peekable).collect(), order }
    }
}

impl Iterator for Merged<'_> {
    type Item = Result<u64, redb::StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut first = None;
        for list in &mut self.lists {
            match list.peek() {
                None => {}
                Some(Err(_)) => return list.next(),
                Some(Ok(number)) => {
                    let is_first = first.is_none_or(|first| match self.order {
                        Order::OldestFirst => *number < first,
                        Order::NewestFirst => *number > first,
                    });
                    first = if is_first { Some(*number) } else { first };
                }
            }
        }
        let first = first?;
        for list in &mut self.lists {
            list.next_if(|number| matches!(number, Ok(number) if *number == first));
        }
        Some(Ok(first))
    }
}
