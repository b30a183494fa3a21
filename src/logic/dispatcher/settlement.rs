//! Settlements: what to write after an attempt.
//!
//! Owns the step from a verdict to a row or an end. Must never write.

use super::lane::moved;
use super::{AGAIN_MS, Dispatcher, Ended};
use crate::logic::batch::{Next, Op};
use crate::logic::retry;
use crate::logic::verdict::Verdict;
use crate::model::attempt::{Attempt, NextWhy};
use crate::model::delivery::{Ending, FailedReason, Finished, Pending, QueueKey};
use crate::model::time::{Now, Wall};

impl Dispatcher {
    /// What to write after an attempt.
    /// `started` is the attempt's start by the steady clock; the log shows the wall clock's.
    pub(super) fn settlement(
        &mut self,
        now: Now,
        ended: Ended,
        started: Wall,
        verdict: Verdict,
    ) -> Op {
        let row = ended.row;
        let lane = self.lanes.get(&row.key.webhook);
        let paused_total_ms = lane.map_or(row.paused_base_ms, |lane| lane.paused_total_ms);
        let closed = lane.and_then(|lane| lane.closed).filter(|(upto, _)| row.key.seq <= *upto);
        let counts = verdict != Verdict::Again;
        let attempts = row.attempts + u32::from(counts);
        let first_attempt = match moved(&row, paused_total_ms).first_attempt {
            // Set by a clock that was put right since: the table goes on from the slot that this
            // attempt used up.
            Some(first) if first > started => {
                Some(Wall(started.0.saturating_sub(retry::slot_offset_ms(row.slot))))
            }
            first => first,
        };
        let is_reckoned_anew = first_attempt != moved(&row, paused_total_ms).first_attempt;
        let first_attempt = first_attempt.unwrap_or(started);
        let deadline = if (row.first_attempt.is_none() && counts) || is_reckoned_anew {
            first_attempt.plus(retry::WINDOW_MS)
        } else {
            moved(&row, paused_total_ms).deadline
        };
        let mut attempt = Attempt {
            number: attempts,
            started: ended.started,
            revision: ended.revision,
            request: ended.request,
            address: ended.address,
            phases: ended.phases,
            outcome: ended.outcome,
            verdict,
            next_due: None,
            next_why: None,
            response: ended.response,
        };
        let logged = |attempt: Attempt| counts.then_some(attempt);
        let ending = match verdict {
            Verdict::Delivered => Some(Ending::Delivered),
            Verdict::Gone => Some(Ending::Failed(FailedReason::Disabled)),
            _ => closed.map(|(_, ending)| ending),
        };
        if let Some(ending) = ending {
            return finish(now, &row, attempts, ending, logged(attempt));
        }
        let chance = self.draw();
        let next = if verdict == Verdict::Again {
            let due = now.wall.plus(AGAIN_MS);
            retry::Next::At { due, slot: row.slot, why: NextWhy::Slot }
        } else {
            retry::next(&retry::Question {
                now: now.wall,
                first_attempt,
                deadline,
                slot: row.slot,
                started,
                retry_after: ended.retry_after,
                chance,
            })
        };
        let retry::Next::At { due, slot, why } = next else {
            let ending = Ending::Failed(FailedReason::Expired);
            return finish(now, &row, attempts, ending, logged(attempt));
        };
        (attempt.next_due, attempt.next_why) = (Some(due), Some(why));
        let again = Pending {
            key: QueueKey { due, ..row.key },
            attempts,
            // `slot` is the one that the next attempt uses up.
            slot,
            first_attempt: (counts || row.first_attempt.is_some()).then_some(first_attempt),
            deadline,
            paused_base_ms: paused_total_ms,
            ..row
        };
        Op::Settle {
            queue: row.queue(),
            key: row.key,
            next: Next::Pending(again),
            attempt: logged(attempt),
        }
    }
}

pub(super) fn finish(
    now: Now,
    row: &Pending,
    attempts: u32,
    ending: Ending,
    attempt: Option<Attempt>,
) -> Op {
    let finished = Finished { attempts, ..row.finished(ending, now.wall) };
    Op::Settle { queue: row.queue(), key: row.key, next: Next::Finished(finished), attempt }
}
