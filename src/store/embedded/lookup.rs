//! What the writer has to know before it writes: the row that a settlement takes away, and whether
//! preconditions hold.
//!
//! Owns the look-ups of a group, through all layers. Must never change anything. What a batch needs
//! of redb is read before the first of its effects: a redb that can't be read then refuses the batch
//! whole, and nothing can fail halfway.

use std::collections::BTreeMap;

use super::overlay::{Overlay, Row};
use super::session::{is_free, webhook_holds};
use super::shared::{Layers, Shared, decode_row, open_queue};
use super::tables::{self, QueueRow, queue_row};
use super::writer::WriteError;
use crate::logic::batch::{Expect, Op};
use crate::model::delivery::Queue;

/// Looks things up for the writer, with one view of redb for a whole group.
pub struct Lookup<'a> {
    shared: &'a Shared,
    view: Option<redb::ReadTransaction>,
    /// Rows of redb that a batch takes away.
    rows: BTreeMap<(Queue, QueueRow), Option<Row>>,
}

impl<'a> Lookup<'a> {
    /// Looks nothing up yet.
    pub fn new(shared: &'a Shared) -> Lookup<'a> {
        Lookup { shared, view: None, rows: BTreeMap::new() }
    }

    fn view(&mut self) -> Result<&redb::ReadTransaction, redb::Error> {
        if self.view.is_none() {
            self.view = Some(self.shared.view()?);
        }
        // It was set a line above.
        self.view.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    /// Reads what these writes need of redb.
    pub fn prepare(&mut self, layers: &Layers, ops: &[Op]) -> Result<(), WriteError> {
        for op in ops {
            let Op::Settle { queue, key, .. } = op else { continue };
            let key = queue_row(*key);
            let is_held = layers.overlays().any(|overlay| overlay.slot(*queue, key).is_some());
            if is_held || self.rows.contains_key(&(*queue, key)) {
                continue;
            }
            let table = open_queue(self.view()?, *queue)?;
            // A damaged row is none: a reader sets it aside.
            let row = table.get(key)?.and_then(|record| decode_row(key, record.value()).ok());
            self.rows.insert((*queue, key), row);
        }
        Ok(())
    }

    /// The row that a settlement takes away, once it was prepared. `part` are the effects of its
    /// batch so far, where those are not in the layers.
    pub fn settled(&self, layers: &Layers, part: Option<&Overlay>, op: &Op) -> Option<Row> {
        let Op::Settle { queue, key, .. } = op else { return None };
        let key = queue_row(*key);
        let held = part.into_iter().chain(layers.overlays());
        match held.filter_map(|overlay| overlay.slot(*queue, key)).next() {
            Some(slot) => slot.row(),
            None => self.rows.get(&(*queue, key)).copied().flatten(),
        }
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
        // The others speak of webhooks, which stand in redb alone.
        let shared = self.shared;
        let view = self.view()?;
        let webhooks = view.open_table(tables::WEBHOOKS)?;
        let subscriptions = view.open_table(tables::SUBSCRIPTIONS)?;
        webhook_holds(&shared.vault, &webhooks, &subscriptions, expect)
    }
}
