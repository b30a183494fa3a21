//! The retry table of the Uploadcare seed.
//!
//! Owns when the next attempt of a delivery is due: 1, 5, 10, 30 and 60 minutes after the start of
//! the first attempt, then once an hour until 72 hours after it. Must never look at other
//! deliveries: what protects a target stands in `breaker` and `quota`.
//!
//! Slot 0 is the first attempt. Slot `n` lies at a fixed offset from it plus a jitter of 0 to 10 %
//! of the gap to the slot before, which is never carried over to later slots. A slot that passed
//! while nobody could send (a long attempt, a stopped daemon, a sleeping machine) is made up for
//! at once, but only the last of several: nothing is skipped silently, and nothing bursts.

use crate::model::attempt::NextWhy;
use crate::model::time::{HOUR_MS, MINUTE_MS, SECOND_MS, Wall};

/// How long a delivery is tried, from the start of its first attempt (or, if there was none, from
/// its acceptance).
pub const WINDOW_MS: u64 = 72 * HOUR_MS;

/// The last slot is due this much before the deadline, so that an attempt that is started as soon
/// as it is due does start in time.
const LAST_SLOT_MARGIN_MS: u64 = SECOND_MS;

const FIRST_SLOTS_MS: [u64; 5] =
    [MINUTE_MS, 5 * MINUTE_MS, 10 * MINUTE_MS, 30 * MINUTE_MS, 60 * MINUTE_MS];

/// The slot at 72 hours.
pub const SLOT_LAST: u32 = 76;

const JITTER_DIVISOR: u64 = 10;

/// Where a slot lies, in milliseconds after the start of the first attempt, without jitter.
#[must_use]
pub fn slot_offset_ms(slot: u32) -> u64 {
    match slot {
        0 => 0,
        1..=5 => FIRST_SLOTS_MS[(slot - 1) as usize],
        _ => u64::from(slot - 4) * HOUR_MS,
    }
}

/// What happens to a delivery whose attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt.
    At {
        /// Not before this instant.
        due: Wall,
        /// The slot that it uses up.
        slot: u32,
        /// What set that instant.
        why: NextWhy,
    },
    /// The table is used up.
    Expired,
}

/// What the table is asked with.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Now: the end of the attempt that failed.
    pub now: Wall,
    /// Start of the first attempt, moved by the time spent paused.
    pub first_attempt: Wall,
    /// No attempt starts later.
    pub deadline: Wall,
    /// The slot that the failed attempt was meant for.
    pub slot: u32,
    /// When the failed attempt started: slots that had passed by then, it made up for.
    pub started: Wall,
    /// The target asked not to be called before.
    pub retry_after: Option<Wall>,
    /// 64 random bits.
    pub chance: u64,
}

/// The latest instant for which an attempt is planned.
#[must_use]
pub fn latest(deadline: Wall) -> Wall {
    Wall(deadline.0.saturating_sub(LAST_SLOT_MARGIN_MS))
}

/// The next attempt, or none.
#[must_use]
pub fn next(ask: &Question) -> Next {
    let passed = |mut slot: u32, by: Wall| {
        while slot < SLOT_LAST && ask.first_attempt.plus(slot_offset_ms(slot + 1)) <= by {
            slot += 1;
        }
        slot
    };
    let used = passed(ask.slot, ask.started);
    if used >= SLOT_LAST || ask.now > ask.deadline {
        return Next::Expired;
    }
    let latest = latest(ask.deadline).max(ask.now);
    let floor = ask.retry_after.unwrap_or(ask.now).max(ask.now).min(latest);
    let mut slot = passed(used + 1, floor);
    if floor == latest {
        slot = SLOT_LAST;
    }
    let gap_ms = slot_offset_ms(slot) - slot_offset_ms(slot - 1);
    let jitter_ms = ask.chance % (gap_ms / JITTER_DIVISOR + 1);
    let on_table = ask.first_attempt.plus(slot_offset_ms(slot) + jitter_ms);
    let due = on_table.max(floor).min(latest);
    let asks_later = ask.retry_after.is_some_and(|at| at > ask.now);
    let why = if on_table.max(ask.retry_after.unwrap_or(floor)) > latest {
        NextWhy::Deadline
    } else if asks_later && (due == floor || slot != passed(used + 1, ask.now)) {
        NextWhy::RetryAfter
    } else if due == on_table {
        NextWhy::Slot
    } else {
        NextWhy::Overdue
    };
    Next::At { due, slot, why }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(now_ms: u64, slot: u32) -> Question {
        Question {
            now: Wall(now_ms),
            first_attempt: Wall(0),
            deadline: Wall(WINDOW_MS),
            slot,
            started: Wall(slot_offset_ms(slot)),
            retry_after: None,
            chance: 0,
        }
    }

    fn at(due_ms: u64, slot: u32, why: NextWhy) -> Next {
        Next::At { due: Wall(due_ms), slot, why }
    }

    #[test]
    fn the_seeds_table() {
        let minutes: Vec<u64> = (1..=8).map(|slot| slot_offset_ms(slot) / MINUTE_MS).collect();
        assert_eq!(minutes, [1, 5, 10, 30, 60, 120, 180, 240]);
        assert_eq!(slot_offset_ms(SLOT_LAST), WINDOW_MS);
    }

    #[test]
    fn an_attempt_of_a_whole_minute_loses_no_slot() {
        let next = next(&ask(MINUTE_MS + 3, 0));
        assert_eq!(next, at(MINUTE_MS + 3, 1, NextWhy::Overdue));
    }

    #[test]
    fn a_week_offline_is_one_attempt_or_none() {
        let due = 3 * HOUR_MS + 5;
        assert_eq!(next(&ask(due, 1)), at(due, 7, NextWhy::Overdue));
        assert_eq!(next(&ask(7 * 24 * HOUR_MS, 1)), Next::Expired);
    }

    #[test]
    fn retry_after_is_clamped_to_the_deadline() {
        let mut question = ask(100, 0);
        question.retry_after = Some(Wall(20 * MINUTE_MS));
        assert_eq!(next(&question), at(20 * MINUTE_MS, 3, NextWhy::RetryAfter));
        question.retry_after = Some(Wall(u64::MAX));
        let last = at(WINDOW_MS - LAST_SLOT_MARGIN_MS, SLOT_LAST, NextWhy::Deadline);
        assert_eq!(next(&question), last);
    }

    #[test]
    fn it_says_what_set_the_instant() {
        assert_eq!(next(&ask(5, 0)), at(MINUTE_MS, 1, NextWhy::Slot));
        let mut question = ask(100, 0);
        // What is asked for lies before the slot, and changes nothing.
        question.retry_after = Some(Wall(MINUTE_MS - 1));
        assert_eq!(next(&question), at(MINUTE_MS, 1, NextWhy::Slot));
        // It lies within the jitter of a slot that would not have been the next one.
        question.retry_after = Some(Wall(5 * MINUTE_MS + 1));
        question.chance = MINUTE_MS / 10;
        assert_eq!(next(&question), at(5 * MINUTE_MS + 6_000, 2, NextWhy::RetryAfter));
        // What has passed when the attempt ends is no reason.
        question.now = Wall(7 * MINUTE_MS);
        assert_eq!(next(&question), at(7 * MINUTE_MS, 2, NextWhy::Overdue));
        let last = at(WINDOW_MS - LAST_SLOT_MARGIN_MS, SLOT_LAST, NextWhy::Deadline);
        assert_eq!(next(&ask(WINDOW_MS - HOUR_MS + 9, SLOT_LAST - 1)), last);
    }

    proptest! {
        #[test]
        fn due_is_on_the_table(late_ms in 0..HOUR_MS, slot in 0..SLOT_LAST, chance: u64) {
            let mut question = ask(slot_offset_ms(slot) + late_ms, slot);
            question.chance = chance;
            match next(&question) {
                Next::At { due, slot: used, .. } => {
                    let offset = slot_offset_ms(used);
                    let gap = offset - slot_offset_ms(used - 1);
                    prop_assert!(used > slot);
                    prop_assert!(due >= question.now && due <= question.deadline);
                    prop_assert!(due.0 + LAST_SLOT_MARGIN_MS >= offset);
                    prop_assert!(due.0 <= offset + gap / 10 || due == question.now);
                }
                Next::Expired => prop_assert!(question.now > question.deadline),
            }
        }
    }
}
