//! What the writer has to know before it writes: the row that a settlement takes away, the end that
//! a requeue takes back, and whether preconditions hold.
//!
//! Owns the look-ups of a group, through all layers. Must never change anything. What a batch needs
//! of redb is read before the first of its effects: a redb that can't be read then refuses the batch
//! whole, and nothing can fail halfway.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::overlay::{Before, End, Overlay, Row};
use super::session::{closed_upto, end_kept, is_free, webhook_holds};
use super::shared::{Layers, QueueTable, Shared, decode_row, open_queue, row};
use super::tables::{self, QueueRow, queue_row};
use super::writer::WriteError;
use crate::logic::batch::{Expect, Next, Op};
use crate::model::delivery::{Pending, Queue};
use crate::model::ids::{Seq, WebhookId};

/// Looks things up for the writer, with one view of redb for a whole group.
pub struct Lookup<'a> {
    shared: &'a Shared,
    view: Option<redb::ReadTransaction>,
    /// Queues in that view, opened once: a group may take thousands of rows away.
    queues: BTreeMap<Queue, QueueTable>,
    /// Rows of redb that a batch takes away.
    rows: BTreeMap<(Queue, QueueRow), Option<Row>>,
    /// Ends in redb that a batch may take back.
    ends: BTreeMap<Seq, Option<End>>,
    /// Whether events are in redb.
    events: BTreeMap<Seq, bool>,
    /// Up to which delivery lanes are closed.
    closed: BTreeMap<WebhookId, Seq>,
}

impl<'a> Lookup<'a> {
    /// Looks nothing up yet.
    pub fn new(shared: &'a Shared) -> Lookup<'a> {
        Lookup {
            shared,
            view: None,
            queues: BTreeMap::new(),
            rows: BTreeMap::new(),
            ends: BTreeMap::new(),
            events: BTreeMap::new(),
            closed: BTreeMap::new(),
        }
    }

    fn view(&mut self) -> Result<&redb::ReadTransaction, redb::Error> {
        if self.view.is_none() {
            self.view = Some(self.shared.view()?);
        }
        // It was set a line above.
        self.view.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    fn queue(&mut self, queue: Queue) -> Result<&QueueTable, redb::Error> {
        if !self.queues.contains_key(&queue) {
            let table = open_queue(self.view()?, queue)?;
            self.queues.insert(queue, table);
        }
        // It was set a line above.
        self.queues.get(&queue).ok_or(redb::Error::DatabaseClosed)
    }

    /// The writes as they stand in the journal: a cancellation is the settlement of the row that it
    /// finds, or nothing.
    pub fn resolve<'o>(
        &mut self,
        layers: &Layers,
        ops: &'o [Op],
    ) -> Result<Cow<'o, [Op]>, WriteError> {
        if !ops.iter().any(|op| matches!(op, Op::Cancel { .. })) {
            return Ok(Cow::Borrowed(ops));
        }
        let mut resolved = Vec::with_capacity(ops.len());
        for op in ops {
            let Op::Cancel { seq, webhook, ending, at } = op else {
                resolved.push(op.clone());
                continue;
            };
            if let Some(row) = self.waiting(layers, *seq, *webhook)? {
                let next = Next::Finished(row.finished(*ending, *at));
                resolved.push(Op::Settle { queue: row.queue(), key: row.key, next, attempt: None });
            }
        }
        Ok(Cow::Owned(resolved))
    }

    /// The row of a delivery that waits, unless its lane is closed up to it.
    fn waiting(
        &mut self,
        layers: &Layers,
        seq: Seq,
        webhook: WebhookId,
    ) -> Result<Option<Pending>, WriteError> {
        let view = self.view()?;
        let place = match layers.overlays().find(|overlay| overlay.knows(seq.0)) {
            Some(overlay) => overlay.waits.get(&seq.0).and_then(|waits| waits.at),
            None => view.open_table(tables::WAITS)?.get(seq.0)?.map(|row| {
                let (queue, lane, due, _) = row.value();
                let queue = if queue == 0 { Queue::Fresh } else { Queue::Retry };
                (queue, (lane, due, seq.0))
            }),
        };
        let Some((queue, key)) = place.filter(|(_, key)| key.0 == webhook.get()) else {
            return Ok(None);
        };
        if seq <= closed_upto(&view.open_table(tables::CLOSED)?, webhook)? {
            return Ok(None);
        }
        // A damaged row is none: whoever reads its queue sets it aside.
        let found = row(layers, || open_queue(view, queue), queue, key)?.and_then(Result::ok);
        Ok(found.map(|row| row.pending))
    }

    /// Reads what these writes need of redb.
    pub fn prepare(&mut self, layers: &Layers, ops: &[Op]) -> Result<(), WriteError> {
        for op in ops {
            if let Op::Requeue(row) = op {
                self.prepare_end(layers, row.key.seq, row.key.webhook)?;
            }
            let Op::Settle { queue, key, .. } = op else { continue };
            let key = queue_row(*key);
            let is_held = layers.overlays().any(|overlay| overlay.slot(*queue, key).is_some());
            if is_held || self.rows.contains_key(&(*queue, key)) {
                continue;
            }
            let table = self.queue(*queue)?;
            // A damaged row is none: a reader sets it aside.
            let row = table.get(key)?.and_then(|record| decode_row(key, record.value()).ok());
            self.rows.insert((*queue, key), row);
        }
        Ok(())
    }

    fn prepare_end(
        &mut self,
        layers: &Layers,
        seq: Seq,
        webhook: WebhookId,
    ) -> Result<(), WriteError> {
        let held = layers.overlays().find_map(|overlay| overlay.finished.get(&seq.0));
        let view = self.view()?;
        let kept = end_kept(&view.open_table(tables::FINISHED)?, seq)?;
        let upto = closed_upto(&view.open_table(tables::CLOSED)?, webhook)?;
        let end = held.map_or(kept, |held| held.now);
        if let Some(event) = end.map(|end| end.finished.event) {
            let has_event = view.open_table(tables::EVENTS)?.get(event.0)?.is_some();
            self.events.insert(event, has_event);
        }
        self.ends.insert(seq, kept);
        self.closed.insert(webhook, upto);
        Ok(())
    }

    /// What a settlement or a requeue takes away, once it was prepared. `part` are the effects of
    /// its batch so far, where those are not in the layers.
    pub fn before(&self, layers: &Layers, part: Option<&Overlay>, op: &Op) -> Option<Before> {
        match op {
            Op::Settle { queue, key, .. } => {
                let key = queue_row(*key);
                let mut held = part.into_iter().chain(layers.overlays());
                let row = match held.find_map(|overlay| overlay.slot(*queue, key)) {
                    Some(slot) => slot.row(),
                    None => self.rows.get(&(*queue, key)).copied().flatten(),
                };
                row.map(Before::Row)
            }
            Op::Requeue(row) => {
                self.end(layers, part, row.key.seq, row.key.webhook).map(Before::End)
            }
            _ => None,
        }
    }

    /// The end that a requeue takes back, once it was prepared.
    fn end(
        &self,
        layers: &Layers,
        part: Option<&Overlay>,
        seq: Seq,
        webhook: WebhookId,
    ) -> Option<End> {
        let held = || part.into_iter().chain(layers.overlays());
        let end = match held().find_map(|overlay| overlay.finished.get(&seq.0)) {
            Some(ended) => ended.now,
            None => self.ends.get(&seq).copied().flatten(),
        };
        let end = end.filter(|end| end.finished.webhook == webhook)?;
        let event = end.finished.event;
        let is_held = held().any(|overlay| overlay.events.contains_key(&event.0));
        let has_event = is_held || self.events.get(&event).copied().unwrap_or(false);
        let is_open = self.closed.get(&webhook).is_none_or(|upto| seq > *upto);
        (has_event && is_open).then_some(end)
    }

    /// Whether a precondition holds.
    pub fn holds(&mut self, layers: &Layers, expect: &Expect) -> Result<bool, WriteError> {
        if let Expect::IdempotencyFree { project, key, since } = expect {
            let row = (project.get(), *key);
            for overlay in layers.overlays() {
                if let Some(known) = overlay.idempotency.get(&row) {
                    return Ok(known.at < *since);
                }
            }
            let table = self.view()?.open_table(tables::IDEMPOTENCY)?;
            let Some(record) = table.get(row)? else { return Ok(true) };
            return Ok(is_free(row, record.value(), *since));
        }
        if let Expect::Ended { seq, webhook } = expect {
            self.prepare_end(layers, *seq, *webhook)?;
            return Ok(self.end(layers, None, *seq, *webhook).is_some());
        }
        if let Expect::Waits { seq, webhook } = expect {
            return Ok(self.waiting(layers, *seq, *webhook)?.is_some());
        }
        // The others speak of webhooks, which stand in redb alone.
        let shared = self.shared;
        let view = self.view()?;
        let webhooks = view.open_table(tables::WEBHOOKS)?;
        let subscriptions = view.open_table(tables::SUBSCRIPTIONS)?;
        webhook_holds(&shared.vault, &webhooks, &subscriptions, expect)
    }
}
