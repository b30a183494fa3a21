//! Events that are accepted once each, whatever else is in their request.
//!
//! Owns the way by which a batch that repeats some events becomes one of the others: the store
//! refuses a batch that holds a known key, whole; what is known is looked up then and left out.
//! Must never accept a part: what is left is again all or nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::Handle;
use super::submit::{Accepted, EventKey, Submission, SubmitError};
use crate::model::event::Source;
use crate::model::ids::ProjectId;
use crate::model::time::Wall;
use crate::source::native::NewEvent;
use crate::store::ReadError;

/// How often a batch is tried: each further time somebody else was faster with one of its events.
const TRIES_MAX: u32 = 8;

impl Handle {
    /// Publishes events, each but once under its key. One answer for each, in order; returns when
    /// all are on disk, or were before.
    pub async fn submit_each(
        &self,
        project: ProjectId,
        source: Source,
        events: Vec<(NewEvent, EventKey)>,
    ) -> Result<Vec<Accepted>, SubmitError> {
        let mut known: BTreeMap<u128, Accepted> = BTreeMap::new();
        for _ in 0..TRIES_MAX {
            let fresh = fresh(&events, &known);
            if fresh.is_empty() {
                return Ok(answers(&events, &known, &[]));
            }
            let mut submission = Submission::new(project, Vec::new(), source);
            for (event, key) in &fresh {
                submission.events.push((*event).clone());
                submission.once.push(*key);
            }
            let keys: Vec<u128> = submission.once.iter().map(|key| key.key).collect();
            match self.submit(submission).await {
                Ok(accepted) => {
                    for (key, event) in keys.iter().zip(accepted.events) {
                        known.insert(*key, Accepted { events: vec![event], duplicate: false });
                    }
                    return Ok(answers(&events, &known, &keys));
                }
                Err(SubmitError::KeyTaken) => {
                    self.look_up(project, &keys_of(&events), &mut known)?
                }
                Err(error) => return Err(error),
            }
        }
        Err(SubmitError::KeyTaken)
    }

    fn look_up(
        &self,
        project: ProjectId,
        keys: &[EventKey],
        known: &mut BTreeMap<u128, Accepted>,
    ) -> Result<(), SubmitError> {
        let now = self.steady();
        for key in keys {
            match self.store.idempotency(project, key.key) {
                Ok(Some(record)) if record.at >= Wall(now.0.saturating_sub(key.window_ms)) => {
                    known.insert(key.key, Accepted { events: record.events, duplicate: true });
                }
                Ok(_) | Err(ReadError::Damaged { .. }) => {}
                Err(error) => return Err(SubmitError::Store(error.to_string().into())),
            }
        }
        Ok(())
    }
}

/// Events whose key is not known, and only the first of those that share one.
fn fresh<'a>(
    events: &'a [(NewEvent, EventKey)],
    known: &BTreeMap<u128, Accepted>,
) -> Vec<(&'a NewEvent, EventKey)> {
    let mut seen = BTreeSet::new();
    let is_fresh = |key: &EventKey| !known.contains_key(&key.key);
    let mut fresh = Vec::new();
    for (event, key) in events {
        if is_fresh(key) && seen.insert(key.key) {
            fresh.push((event, *key));
        }
    }
    fresh
}

fn keys_of(events: &[(NewEvent, EventKey)]) -> Vec<EventKey> {
    events.iter().map(|(_, key)| *key).collect()
}

/// One answer for each event: of those that share a key, the first alone is new.
fn answers(
    events: &[(NewEvent, EventKey)],
    known: &BTreeMap<u128, Accepted>,
    accepted: &[u128],
) -> Vec<Accepted> {
    let mut new: BTreeSet<u128> = accepted.iter().copied().collect();
    events
        .iter()
        .filter_map(|(_, key)| {
            let answer = known.get(&key.key)?;
            Some(Accepted { duplicate: !new.remove(&key.key), ..answer.clone() })
        })
        .collect()
}
