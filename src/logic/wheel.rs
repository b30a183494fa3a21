//! The timer wheel: which lane or target wants to be looked at next.
//!
//! Owns one entry per key, ordered by instant. Must never hold an entry per delivery: the order on
//! disk is the outer wheel, and this one holds what has to be woken. With at most one entry for
//! each of some 10^5 lanes, an ordered set is exact, cancels in O(log n), and needs no ticks: the
//! loop sleeps until the first entry. (A hashed wheel saves nanoseconds per entry and pays with
//! empty ticks and lazy cancels.)

use std::collections::{BTreeMap, BTreeSet};

/// A set of keys with an instant each, in milliseconds of whichever clock its owner keeps.
#[derive(Debug)]
pub struct Wheel<K> {
    order: BTreeSet<(u64, K)>,
    at: BTreeMap<K, u64>,
}

impl<K: Copy + Ord> Wheel<K> {
    /// An empty wheel.
    #[must_use]
    pub fn new() -> Wheel<K> {
        Wheel { order: BTreeSet::new(), at: BTreeMap::new() }
    }

    /// Wakes `key` at `at_ms`, in place of any instant that it had.
    pub fn set(&mut self, key: K, at_ms: u64) {
        if self.at.get(&key) == Some(&at_ms) {
            return;
        }
        self.cancel(key);
        self.at.insert(key, at_ms);
        self.order.insert((at_ms, key));
    }

    /// Takes `key` out, if it is in.
    pub fn cancel(&mut self, key: K) {
        if let Some(at_ms) = self.at.remove(&key) {
            self.order.remove(&(at_ms, key));
        }
    }

    /// The earliest instant.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        self.order.first().map(|(at_ms, _)| *at_ms)
    }

    /// Takes out the earliest key whose instant is not after `now_ms`.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<K> {
        let (at_ms, key) = *self.order.first()?;
        if at_ms > now_ms {
            return None;
        }
        self.cancel(key);
        Some(key)
    }

    /// How many keys wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
}

impl<K: Copy + Ord> Default for Wheel<K> {
    fn default() -> Self {
        Wheel::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the plainest model: a list that is searched.
        #[test]
        fn like_a_sorted_list(steps in proptest::collection::vec((0..4u8, 0..8u32, 0..50u64), 1..200)) {
            let mut wheel = Wheel::new();
            let mut model: Vec<(u64, u32)> = Vec::new();
            for (step, key, at) in steps {
                match step {
                    0 | 1 => {
                        wheel.set(key, at);
                        model.retain(|(_, k)| *k != key);
                        model.push((at, key));
                    }
                    2 => {
                        wheel.cancel(key);
                        model.retain(|(_, k)| *k != key);
                    }
                    _ => {
                        model.sort_unstable();
                        let want = model.first().copied().filter(|(due, _)| *due <= at);
                        if want.is_some() {
                            model.remove(0);
                        }
                        prop_assert_eq!(wheel.pop_due(at), want.map(|(_, k)| k));
                    }
                }
                model.sort_unstable();
                prop_assert_eq!(wheel.next_ms(), model.first().map(|(due, _)| *due));
                prop_assert_eq!(wheel.len(), model.len());
                prop_assert_eq!(wheel.is_empty(), model.is_empty());
            }
        }
    }
}
