//! Cancellations: deliveries that are to wait no more.
//!
//! Owns what a cancellation means to an attempt that is under way. Must never let an attempt start
//! of a delivery whose cancellation is on disk.
//!
//! An attempt that is under way is not cut off. The cancellation is written at once all the same, so
//! that no restart undoes it; when the attempt ends, what it came to is written behind it: the
//! delivery is delivered if the target took it, and cancelled if not. Both settlements need the row,
//! so that it is taken back for them, in the same batch.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dispatcher, Output};
use crate::logic::batch::{Next, Op};
use crate::model::attempt::Attempt;
use crate::model::delivery::{Ending, Finished, Pending};
use crate::model::ids::{Seq, WebhookId};
use crate::model::time::Now;

impl Dispatcher {
    /// Whether an attempt of this delivery is under way.
    #[must_use]
    pub fn is_under_way(&self, webhook: WebhookId, seq: Seq) -> bool {
        let taken = self.lanes.get(&webhook).and_then(|lane| lane.taken.get(&seq));
        taken.is_some_and(Option::is_some)
    }

    pub(super) fn cancelling(&mut self, deliveries: &[(WebhookId, Seq)], ending: Ending) {
        for (webhook, seq) in deliveries {
            if let Some(lane) = self.lanes.get_mut(webhook) {
                lane.cancelled.insert(*seq, (ending, false));
            }
        }
    }

    pub(super) fn cancelled(
        &mut self,
        now: Now,
        deliveries: Vec<(WebhookId, Seq)>,
        is_written: bool,
    ) {
        let mut lanes: BTreeMap<WebhookId, BTreeSet<Seq>> = BTreeMap::new();
        for (webhook, seq) in deliveries {
            lanes.entry(webhook).or_default().insert(seq);
        }
        for (webhook, seqs) in lanes {
            let Some(lane) = self.lanes.get_mut(&webhook) else { continue };
            for seq in &seqs {
                let is_taken = lane.taken.contains_key(seq);
                match lane.cancelled.get_mut(seq) {
                    Some(known) if is_written && is_taken => known.1 = true,
                    _ => drop(lane.cancelled.remove(seq)),
                }
            }
            if is_written {
                lane.forget(&seqs);
            }
            self.touch(now, webhook);
            self.forget_if_done(now, webhook);
        }
    }

    /// Has the settlement of an attempt written, as it is or as a cancellation leaves it.
    pub(super) fn settle_attempt(&mut self, now: Now, row: &Pending, op: Op) {
        let lane = self.lanes.get(&row.key.webhook);
        let cancelled = lane.and_then(|lane| lane.cancelled.get(&row.key.seq));
        let Some((ending, _)) = cancelled.copied() else {
            return self.outputs.push_back(Output::Settle(Box::new(op)));
        };
        self.outputs.push_back(Output::Settle(Box::new(Op::Requeue(*row))));
        self.outputs.push_back(Output::Settle(Box::new(ended_by(now, row, op, ending))));
    }
}

/// A settlement of a delivery that was cancelled while it was attempted.
fn ended_by(now: Now, row: &Pending, op: Op, ending: Ending) -> Op {
    let Op::Settle { queue, key, next, attempt } = op else { return op };
    let attempts = match &next {
        Next::Finished(end) if end.ending == Ending::Delivered => {
            return Op::Settle { queue, key, next, attempt };
        }
        Next::Finished(end) => end.attempts,
        Next::Pending(again) => again.attempts,
    };
    let attempt = attempt.map(|attempt| Attempt { next_due: None, next_why: None, ..attempt });
    let next = Next::Finished(Finished { attempts, ..row.finished(ending, now.wall) });
    Op::Settle { queue, key, next, attempt }
}
