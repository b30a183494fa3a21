//! Webhooks as they were: what an attempt's record refers to.
//!
//! Owns the table of past revisions and its order by age. Must never keep a secret in clear: what is
//! kept is the webhook's sealed record, as it stood.
//!
//! A revision is kept when another one takes its place, or when its webhook goes, together with the
//! highest number that any delivery had by then: it can have been used for none above that one. So
//! it goes as soon as upkeep has let all of those go. A webhook that is changed all the time keeps
//! its last [`REVISIONS_MAX`].

use redb::ReadableTable;

use super::record::{self, Damage, Kind, RevisionKept, SealedError};
use super::session::{Session, meta_u64};
use super::shared::Shared;
use super::tables;
use super::writer::WriteError;
use crate::model::ids::{Seq, WebhookId};
use crate::model::webhook::Webhook;
use crate::store::{REVISIONS_MAX, ReadError};

type Key = (u32, u64);

impl Session<'_> {
    /// Keeps a webhook's record, if the revision `next` takes its place.
    pub(super) fn keep_revision(
        &mut self,
        old: &Webhook,
        next: Option<u64>,
    ) -> Result<(), WriteError> {
        if next == Some(old.revision) {
            return Ok(());
        }
        let id = old.id.get();
        let Some(row) = self.webhooks.get(id)? else { return Ok(()) };
        let record = row.value().to_vec();
        drop(row);
        let upto = meta_u64(&self.meta, "seq_max")?;
        self.put_revision((id, old.revision), &RevisionKept { upto: Seq(upto), record })?;
        let mut oldest = Vec::new();
        for entry in self.revisions.range((id, 0)..=(id, u64::MAX))?.rev().skip(REVISIONS_MAX) {
            oldest.push(entry?.0.value());
        }
        oldest.into_iter().try_for_each(|key| self.drop_revision(key))
    }

    fn put_revision(&mut self, key: Key, kept: &RevisionKept) -> Result<(), WriteError> {
        let record = record::encode(Kind::Revision, &tables::revision_key_bytes(key), kept);
        self.revisions.insert(key, record.as_slice())?;
        self.revisions_by_seq.insert((kept.upto.0, key.0, key.1), ())?;
        Ok(())
    }

    fn drop_revision(&mut self, key: Key) -> Result<(), WriteError> {
        let Some(row) = self.revisions.remove(key)? else { return Ok(()) };
        let kept: Result<RevisionKept, _> =
            record::decode(Kind::Revision, &tables::revision_key_bytes(key), row.value());
        // Of a damaged one, upkeep finds nothing but its place in the order.
        if let Ok(kept) = kept {
            self.revisions_by_seq.remove((kept.upto.0, key.0, key.1))?;
        }
        Ok(())
    }

    /// Removes revisions that were used for no delivery from `oldest` on.
    pub(super) fn prune_revisions(
        &mut self,
        oldest: Seq,
        rows_max: usize,
    ) -> Result<usize, WriteError> {
        let old: Vec<Key> = self
            .revisions_by_seq
            .extract_from_if(..(oldest.0, 0, 0), |_, ()| true)?
            .take(rows_max)
            .map(|entry| entry.map(|(key, _)| (key.value().1, key.value().2)))
            .collect::<Result<_, _>>()?;
        for key in &old {
            self.revisions.remove(*key)?;
        }
        Ok(old.len())
    }

    /// Seals anew what another key than the first had sealed.
    pub(super) fn reseal_revisions(&mut self) -> Result<(), WriteError> {
        let mut stale = Vec::new();
        for entry in self.revisions.iter()? {
            let (key, value) = entry?;
            let key = key.value();
            let Some(id) = WebhookId::new(key.0) else { continue };
            let Ok(kept) = decode(key, value.value()) else { continue };
            match record::decode_webhook(self.vault, id, &kept.record) {
                Ok((webhook, true)) => stale.push((key, kept.upto, webhook)),
                Err(SealedError::Vault(error)) => return Err(error.into()),
                Ok((_, false)) | Err(SealedError::Damaged) => {}
            }
        }
        for (key, upto, webhook) in stale {
            let record = record::encode_webhook(self.vault, &webhook)?;
            self.put_revision(key, &RevisionKept { upto, record })?;
        }
        Ok(())
    }
}

impl Shared {
    /// A webhook as it is, or was, at this revision.
    pub fn revision(&self, id: WebhookId, revision: u64) -> Result<Option<Webhook>, ReadError> {
        let view = self.view().map_err(broken)?;
        let webhooks = view.open_table(tables::WEBHOOKS).map_err(broken)?;
        if let Some(value) = webhooks.get(id.get()).map_err(broken)?
            && let Ok((webhook, _)) = record::decode_webhook(&self.vault, id, value.value())
            && webhook.revision == revision
        {
            return Ok(Some(webhook));
        }
        let key = (id.get(), revision);
        let revisions = view.open_table(tables::REVISIONS).map_err(broken)?;
        let Some(value) = revisions.get(key).map_err(broken)? else { return Ok(None) };
        let damaged = || ReadError::Damaged { what: "a revision of webhook", id: key.0.into() };
        let kept = decode(key, value.value()).map_err(|Damage| damaged())?;
        match record::decode_webhook(&self.vault, id, &kept.record) {
            Ok((webhook, _)) => Ok(Some(webhook)),
            Err(SealedError::Vault(error)) => Err(error.into()),
            Err(SealedError::Damaged) => Err(damaged()),
        }
    }
}

fn decode(key: Key, record: &[u8]) -> Result<RevisionKept, Damage> {
    record::decode(Kind::Revision, &tables::revision_key_bytes(key), record)
}

fn broken(error: impl Into<redb::Error>) -> ReadError {
    ReadError::Broken(Box::new(error.into()))
}
