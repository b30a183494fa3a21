//! What the writer has to know before it writes: the row that a settlement takes away, and whether
//! preconditions hold.
//!
//! Owns the look-ups of a group, through all layers. Must never change anything.

use super::overlay::{Overlay, Row};
use super::session::{is_free, webhook_holds};
use super::shared::{Layers, Shared, open_queue, row};
use super::tables::{self, queue_row};
use super::writer::WriteError;
use crate::logic::batch::{Expect, Op};

/// Looks things up for the writer, with one view of redb for a whole group.
pub struct Lookup<'a> {
    shared: &'a Shared,
    view: Option<redb::ReadTransaction>,
}

impl<'a> Lookup<'a> {
    /// Looks nothing up yet.
    pub fn new(shared: &'a Shared) -> Lookup<'a> {
        Lookup { shared, view: None }
    }

    fn view(&mut self) -> Result<&redb::ReadTransaction, redb::Error> {
        if self.view.is_none() {
            self.view = Some(self.shared.view()?);
        }
        // It was set a line above.
        self.view.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    /// The row that a settlement takes away. A damaged one is none: a reader sets it aside.
    pub fn settled(
        &mut self,
        layers: &Layers,
        part: Option<&Overlay>,
        op: &Op,
    ) -> Result<Option<Row>, WriteError> {
        let Op::Settle { queue, key, .. } = op else { return Ok(None) };
        let key = queue_row(*key);
        if let Some(slot) = part.and_then(|part| part.slot(*queue, key)) {
            return Ok(slot.row());
        }
        let found = row(layers, || open_queue(self.view()?, *queue), *queue, key)?;
        Ok(found.and_then(Result::ok))
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
