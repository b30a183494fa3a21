//! The feed: what changed of deliveries lately, for whoever follows it live.
//!
//! Owns a bounded ring of changes that are on disk, and the numbers by which a follower goes on
//! where it stopped. Must never wait for a follower, and never hold more than the ring: who is too
//! slow, or comes back too late, is told of the gap.
//!
//! Numbers rise by one for each change of a project, so that a follower sees that it missed none,
//! and nothing of how much happens to others. They begin anew with each process, and a position
//! names its process by a random number: no position ever means something else later.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::model::attempt::Outcome;
use crate::model::delivery::{Ending, Finished, Pending};
use crate::model::ids::{ProjectId, Seq, WebhookId};
use crate::model::time::Wall;

/// Changes that are kept, unless configured. Each takes about 100 bytes.
pub const CHANGES_MAX_DEFAULT: usize = 32_768;
/// Changes that one look passes over, so that the ring is never held for long.
const LOOK_CHANGES_MAX: usize = 4_096;

/// A change of one delivery, or of all that wait for a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub project: ProjectId,
    /// For which webhook.
    pub webhook: WebhookId,
    /// When it was decided.
    pub at: Wall,
    /// What changed.
    pub what: What,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// One delivery.
    Delivery {
        /// The delivery.
        seq: Seq,
        /// Its event.
        event: Seq,
        /// Attempts so far.
        attempts: u32,
        /// What came of the attempt that changed it, if one did.
        outcome: Option<Outcome>,
        /// Where it stands now.
        state: State,
    },
    /// All deliveries of the webhook that waited, up to this one, ended so.
    Lane {
        /// The last one.
        upto: Seq,
        /// How they ended.
        ending: Ending,
    },
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits, until then at least.
    Pending(Wall),
    /// It ended.
    Ended(Ending),
}

impl Change {
    /// A delivery waits, after an attempt or without one.
    #[must_use]
    pub fn pending(row: &Pending, outcome: Option<Outcome>, at: Wall) -> Change {
        let what = What::Delivery {
            seq: row.key.seq,
            event: row.event,
            attempts: row.attempts,
            outcome,
            state: State::Pending(row.key.due),
        };
        Change { project: row.project, webhook: row.key.webhook, at, what }
    }

    /// A delivery ended, by an attempt or without one.
    #[must_use]
    pub fn finished(finished: &Finished, outcome: Option<Outcome>) -> Change {
        let what = What::Delivery {
            seq: finished.seq,
            event: finished.event,
            attempts: finished.attempts,
            outcome,
            state: State::Ended(finished.ending),
        };
        let Finished { project, webhook, finished: at, .. } = *finished;
        Change { project, webhook, at, what }
    }
}

/// A place among the changes of one project: the last one that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The process that counted.
    pub boot: u64,
    /// The change's number, from 1; 0 is before the first.
    pub number: u64,
}

impl Position {
    /// Reads what [`Position`] prints.
    #[must_use]
    pub fn parse(text: &str) -> Option<Position> {
        let (boot, number) = text.split_once('-')?;
        let sound = boot.len() == 16
            && boot.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && number.bytes().all(|byte| byte.is_ascii_digit());
        if !sound {
            return None;
        }
        Some(Position { boot: u64::from_str_radix(boot, 16).ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.boot, self.number)
    }
}

/// Who follows the changes of one project.
#[derive(Debug)]
pub struct Follower {
    project: ProjectId,
    /// Where its next look begins in the ring.
    place: u64,
    /// What it has seen, or was told to have missed.
    seen: Position,
}

impl Follower {
    /// Where it is: whoever comes back with this goes on behind it.
    #[must_use]
    pub fn seen(&self) -> Position {
        self.seen
    }

    /// Whose changes it follows.
    #[must_use]
    pub fn project(&self) -> ProjectId {
        self.project
    }
}

/// Changes that a follower has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last one that it has seen.
    pub after: Position,
    /// The last one that is gone.
    pub upto: Position,
    /// How many are gone, where one process counted both.
    pub missed: Option<u64>,
}

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What is missing before the changes.
    pub gap: Option<Gap>,
    /// The changes in order, each with its place.
    pub changes: Vec<(Position, Change)>,
    /// Whether another look may find more at once.
    pub more: bool,
}

/// The ring, shared between the loop that fills it and those who follow.
#[derive(Debug)]
pub struct Feed {
    boot: u64,
    ring: Mutex<Ring>,
    /// The ring's end, to wait for.
    end: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    changes_max: usize,
    kept: VecDeque<(u64, Change)>,
    /// The place of the first that is kept.
    first: u64,
    counts: BTreeMap<ProjectId, Counts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    given: u64,
    dropped: u64,
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    fn counts(&self, project: ProjectId) -> Counts {
        self.counts.get(&project).copied().unwrap_or_default()
    }

    fn push(&mut self, change: Change) {
        let counts = self.counts.entry(change.project).or_default();
        counts.given += 1;
        self.kept.push_back((counts.given, change));
        while self.kept.len() > self.changes_max
            && let Some((number, dropped)) = self.kept.pop_front()
        {
            self.first += 1;
            // A project that is gone is not counted again.
            if let Some(counts) = self.counts.get_mut(&dropped.project) {
                counts.dropped = number;
            }
        }
    }
}

impl Feed {
    /// An empty ring of a process that is called `boot`.
    #[must_use]
    pub fn new(boot: u64, changes_max: usize) -> Feed {
        let ring = Ring { changes_max, kept: VecDeque::new(), first: 0, counts: BTreeMap::new() };
        Feed { boot, ring: Mutex::new(ring), end: watch::Sender::new(0) }
    }

    /// Tells changes that are on disk.
    pub fn push(&self, changes: impl IntoIterator<Item = Change>) {
        let mut ring = self.locked();
        for change in changes {
            ring.push(change);
        }
        let end = ring.end();
        drop(ring);
        // Whoever subscribes from here on finds these changes in the ring.
        if self.end.receiver_count() > 0 {
            self.end.send_replace(end);
        }
    }

    /// Forgets a project that is gone. Its number is never given again.
    pub fn forget(&self, project: ProjectId) {
        let mut ring = self.locked();
        ring.counts.remove(&project);
    }

    /// Follows a project from now on, or from behind what was seen before.
    #[must_use]
    pub fn follow(&self, project: ProjectId, after: Option<Position>) -> Follower {
        let ring = self.locked();
        match after {
            Some(seen) => Follower { project, place: ring.first, seen },
            None => {
                let seen = Position { boot: self.boot, number: ring.counts(project).given };
                Follower { project, place: ring.end(), seen }
            }
        }
    }

    /// Looks for changes that the follower has not seen, at most so many.
    pub fn look(&self, follower: &mut Follower, changes_max: usize) -> Look {
        let ring = self.locked();
        let mut look = Look { gap: self.gap(&ring, follower), ..Look::default() };
        if let Some(gap) = look.gap {
            follower.seen = gap.upto;
        }
        let from = usize::try_from(follower.place.saturating_sub(ring.first)).unwrap_or(usize::MAX);
        follower.place = follower.place.max(ring.first);
        for (number, change) in ring.kept.iter().skip(from).take(LOOK_CHANGES_MAX) {
            if look.changes.len() == changes_max {
                break;
            }
            follower.place += 1;
            if change.project == follower.project && *number > follower.seen.number {
                follower.seen.number = *number;
                look.changes.push((follower.seen, *change));
            }
        }
        look.more = follower.place < ring.end();
        look
    }

    /// To wait for changes of whichever project.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    fn gap(&self, ring: &Ring, follower: &Follower) -> Option<Gap> {
        let Counts { given, dropped } = ring.counts(follower.project);
        let after = follower.seen;
        let upto = Position { boot: self.boot, number: dropped };
        // A number that was not given yet is another process's too, whatever it is called.
        if after.boot != self.boot || after.number > given {
            return Some(Gap { after, upto, missed: None });
        }
        (after.number < dropped).then(|| Gap { after, upto, missed: Some(dropped - after.number) })
    }

    fn locked(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOOT: u64 = 7;

    fn project(id: u32) -> ProjectId {
        ProjectId::new(id).expect("an id")
    }

    fn change(id: u32, seq: u64) -> Change {
        let webhook = WebhookId::new(1).expect("an id");
        let what = What::Lane { upto: Seq(seq), ending: Ending::Delivered };
        Change { project: project(id), webhook, at: Wall(0), what }
    }

    fn numbers(look: &Look) -> Vec<u64> {
        look.changes.iter().map(|(position, _)| position.number).collect()
    }

    #[test]
    fn positions_are_read_as_they_are_printed() {
        for position in [
            Position { boot: 0, number: 0 },
            Position { boot: u64::MAX, number: u64::MAX },
            Position { boot: 0xabc, number: 17 },
        ] {
            assert_eq!(Position::parse(&position.to_string()), Some(position));
        }
        for bad in ["", "-", "7", "0000000000000abc", "0000000000000ABC-1", "abc-1"] {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
        assert_eq!(Position::parse("0000000000000abc-+1"), None);
        assert_eq!(Position::parse("0000000000000abc-99999999999999999999"), None);
    }

    #[test]
    fn a_follower_sees_its_own_project_from_now_on_and_numbers_without_holes() {
        let feed = Feed::new(BOOT, 100);
        feed.push([change(1, 1), change(2, 2)]);
        let mut follower = feed.follow(project(1), None);
        assert_eq!(feed.look(&mut follower, 10), Look::default());
        feed.push([change(2, 3), change(1, 4), change(2, 5), change(1, 6)]);
        let look = feed.look(&mut follower, 10);
        assert_eq!((numbers(&look), look.gap), (vec![2, 3], None));
        assert!(look.changes.iter().all(|(_, change)| change.project == project(1)));
        assert_eq!(feed.look(&mut follower, 10), Look::default());
    }

    #[test]
    fn who_comes_back_in_time_misses_nothing() {
        let feed = Feed::new(BOOT, 100);
        feed.push((1..=50).map(|seq| change(1 + seq as u32 % 2, seq)));
        let mut follower = feed.follow(project(1), Some(Position { boot: BOOT, number: 20 }));
        let look = feed.look(&mut follower, 3);
        assert_eq!((numbers(&look), look.more), (vec![21, 22, 23], true));
        let mut back = feed.follow(project(1), Some(follower.seen()));
        let look = feed.look(&mut back, 100);
        assert_eq!((numbers(&look), look.gap, look.more), (vec![24, 25], None, false));
    }

    #[test]
    fn who_comes_back_too_late_is_told_once() {
        let feed = Feed::new(BOOT, 10);
        feed.push((1..=30).map(|seq| change(1, seq)));
        let after = Position { boot: BOOT, number: 5 };
        let mut follower = feed.follow(project(1), Some(after));
        let look = feed.look(&mut follower, 4);
        let upto = Position { boot: BOOT, number: 20 };
        assert_eq!(look.gap, Some(Gap { after, upto, missed: Some(15) }));
        assert_eq!(numbers(&look), [21, 22, 23, 24]);
        assert_eq!(feed.look(&mut follower, 4).gap, None);
        // It comes back with what the gap was named by.
        let look = feed.look(&mut feed.follow(project(1), Some(upto)), 4);
        assert_eq!((look.gap, numbers(&look)), (None, vec![21, 22, 23, 24]));
    }

    #[test]
    fn who_follows_too_slowly_is_told_too() {
        let feed = Feed::new(BOOT, 10);
        let mut follower = feed.follow(project(1), None);
        feed.push((1..=8).map(|seq| change(1, seq)));
        assert_eq!(numbers(&feed.look(&mut follower, 3)), [1, 2, 3]);
        feed.push((9..=20).map(|seq| change(1, seq)));
        let look = feed.look(&mut follower, 100);
        assert_eq!(look.gap.and_then(|gap| gap.missed), Some(7));
        assert_eq!(numbers(&look), (11..=20).collect::<Vec<u64>>());
    }

    #[test]
    fn what_others_do_is_no_gap() {
        let feed = Feed::new(BOOT, 10);
        let mut follower = feed.follow(project(1), None);
        feed.push((1..=100).map(|seq| change(2, seq)));
        assert_eq!(feed.look(&mut follower, 100), Look::default());
        feed.push([change(1, 101)]);
        let look = feed.look(&mut follower, 100);
        assert_eq!((look.gap, numbers(&look)), (None, vec![1]));
    }

    #[test]
    fn positions_of_another_process_and_of_none_are_a_gap() {
        let feed = Feed::new(BOOT, 10);
        feed.push([change(1, 1), change(1, 2)]);
        for after in [Position { boot: 8, number: 1 }, Position { boot: BOOT, number: 3 }] {
            let look = feed.look(&mut feed.follow(project(1), Some(after)), 10);
            let upto = Position { boot: BOOT, number: 0 };
            assert_eq!(look.gap, Some(Gap { after, upto, missed: None }));
            assert_eq!(numbers(&look), [1, 2], "all that is there is new to it");
        }
    }

    proptest! {
        /// Whatever is pushed, looked at and resumed: each number once, or within a gap.
        #[test]
        fn each_number_is_seen_once_or_missed_by_name(
            steps in proptest::collection::vec((0..4u8, 1..20u64), 1..80),
        ) {
            let feed = Feed::new(BOOT, 16);
            let mut follower = feed.follow(project(1), None);
            let (mut next, mut pushed) = (1, 0);
            let mut check = |look: &Look| {
                if let Some(gap) = look.gap {
                    prop_assert_eq!(gap.after.number, next - 1);
                    prop_assert_eq!(gap.missed, Some(gap.upto.number - gap.after.number));
                    next = gap.upto.number + 1;
                }
                for number in numbers(look) {
                    prop_assert_eq!(number, next);
                    next += 1;
                }
                Ok(())
            };
            for (step, count) in steps {
                match step {
                    0 => feed.push((0..count).map(|seq| change(2, seq))),
                    1 => {
                        feed.push((0..count).map(|seq| change(1, seq)));
                        pushed += count;
                    }
                    2 => follower = feed.follow(project(1), Some(follower.seen())),
                    _ => check(&feed.look(&mut follower, count as usize))?,
                }
            }
            loop {
                let look = feed.look(&mut follower, 5);
                check(&look)?;
                if !look.more {
                    break;
                }
            }
            prop_assert_eq!(follower.seen().number, pushed);
        }
    }
}
