//! Ids: small integers where clients demand them, time-ordered 128-bit ids elsewhere.
//!
//! Owns the id types and their text forms. Must never allocate an id: [`Sequence`] is told the time.
//!
//! Events and deliveries are numbered by one rising sequence: wall milliseconds shifted left by
//! ten bits, or the last number plus one, whichever is larger. So numbers are ordered by
//! acceptance, a time range is a number range, a restored backup never reuses a number that was
//! given out after it was taken, and all of them stay below 2^53 (exact in JavaScript) until the
//! year 2248. The text form adds 64 bits of salt, so ids can't be guessed from each other.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::time::Wall;

const INTEGER_ID_MAX: u32 = i32::MAX as u32;

/// A project: an integer below 2^31, because Java, Rust and Kotlin clients read an i32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProjectId(u32);

/// A webhook: an integer below 2^31, as for projects. Also the id of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WebhookId(u32);

macro_rules! integer_id {
    ($name:ident) => {
        impl $name {
            /// The id `value`, if it is between 1 and 2^31 - 1.
            #[must_use]
            pub fn new(value: u32) -> Option<$name> {
                (1..=INTEGER_ID_MAX).contains(&value).then_some($name(value))
            }

            /// The integer.
            #[must_use]
            pub fn get(self) -> u32 {
                self.0
            }

            /// Reads a decimal number without sign, space or leading zero.
            #[must_use]
            pub fn parse(text: &str) -> Option<$name> {
                let sound = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
                if sound { text.parse().ok().and_then($name::new) } else { None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}
integer_id!(ProjectId);
integer_id!(WebhookId);

/// A place in the order of acceptance; see the module's text.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Seq(pub u64);

const SEQ_SHIFT: u32 = 10;

impl Seq {
    /// The smallest number that an instant can have.
    #[must_use]
    pub fn at(wall: Wall) -> Seq {
        Seq(wall.0 << SEQ_SHIFT)
    }

    /// About when it was given out.
    #[must_use]
    pub fn wall(self) -> Wall {
        Wall(self.0 >> SEQ_SHIFT)
    }
}

/// Hands out [`Seq`] numbers. One per store.
#[derive(Debug)]
pub struct Sequence {
    last: u64,
}

impl Sequence {
    /// Continues after `last`, the highest number that the store holds.
    #[must_use]
    pub fn after(last: Seq) -> Sequence {
        Sequence { last: last.0 }
    }

    /// The last number that was given out.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.last)
    }

    /// The next number. Never falls back, even when the wall clock does.
    pub fn next(&mut self, wall: Wall) -> Seq {
        self.last = Seq::at(wall).0.max(self.last + 1);
        Seq(self.last)
    }
}

/// An event's public id, `evt_` and 26 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventId {
    /// The order of acceptance.
    pub seq: Seq,
    /// 64 random bits.
    pub salt: u64,
}

/// A delivery's public id, `dlv_` and 26 characters: the `webhook-id` header, the same on every
/// retry, and free of dots as Standard Webhooks wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryId {
    /// The order of acceptance.
    pub seq: Seq,
    /// 64 bits that derive from the event's salt.
    pub salt: u64,
}

impl EventId {
    /// The id of the delivery `seq` of this event.
    #[must_use]
    pub fn delivery(self, seq: Seq) -> DeliveryId {
        DeliveryId { seq, salt: mix(self.salt ^ seq.0) }
    }

    /// Reads `evt_…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<EventId> {
        let (seq, salt) = read_id(text.strip_prefix("evt_")?)?;
        Some(EventId { seq: Seq(seq), salt })
    }
}

impl DeliveryId {
    /// Reads `dlv_…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<DeliveryId> {
        let (seq, salt) = read_id(text.strip_prefix("dlv_")?)?;
        Some(DeliveryId { seq: Seq(seq), salt })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id(f, "evt_", self.seq.0, self.salt)
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id(f, "dlv_", self.seq.0, self.salt)
    }
}

/// Characters after the prefix of an id of JSON:API projects.
pub const ALNUM_CHARS: usize = 22;

/// `prefix` and 22 letters and digits that derive from 128 bits, one to one.
#[must_use]
pub fn alnum_id(prefix: &str, bits: u128) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = bits;
    let mut out = prefix.to_owned();
    for _ in 0..ALNUM_CHARS {
        out.push(char::from(LETTERS[(rest % 62) as usize]));
        rest /= 62;
    }
    out
}

/// The finaliser of SplitMix64: a bijection that scatters near inputs.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let z = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Crockford's base 32, as in ULID: no I, L, O or U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DIGITS: usize = 26;

/// Writes `prefix` and 26 characters.
pub(super) fn write_id(
    f: &mut fmt::Formatter<'_>,
    prefix: &str,
    high: u64,
    low: u64,
) -> fmt::Result {
    f.write_str(prefix)?;
    let value = (u128::from(high) << 64) | u128::from(low);
    let mut digits = [0; DIGITS];
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        *digit = ALPHABET[(value >> (place * 5)) as usize & 31];
    }
    f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
}

/// Reads the 26 characters of an id.
pub(super) fn read_id(text: &str) -> Option<(u64, u64)> {
    if text.len() != DIGITS || text.as_bytes()[0] > b'7' {
        return None;
    }
    let mut value: u128 = 0;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|known| *known == byte)?;
        value = (value << 5) | digit as u128;
    }
    Some(((value >> 64) as u64, value as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip_and_order() {
        let a = EventId { seq: Seq(5), salt: u64::MAX };
        let b = EventId { seq: Seq(6), salt: 0 };
        assert_eq!(EventId::parse(&a.to_string()), Some(a));
        assert!(a.to_string() < b.to_string());
        assert_eq!(a.to_string().len(), 30);
        let d = a.delivery(Seq(7));
        assert_eq!(DeliveryId::parse(&d.to_string()), Some(d));
        assert!(!d.to_string().contains('.'));
        for text in ["", "evt_", "dlv_00000000000000000000000000", "evt_0000000000000000000000000I"]
        {
            assert_eq!(EventId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sequence_rises_when_the_clock_falls() {
        let mut sequence = Sequence::after(Seq(0));
        let first = sequence.next(Wall(1_000));
        let second = sequence.next(Wall(10));
        assert!(second > first);
        assert_eq!(sequence.next(Wall(2_000)), Seq::at(Wall(2_000)));
        assert_eq!(Seq::at(Wall(2_000)).wall(), Wall(2_000));
    }

    #[test]
    fn integer_ids() {
        assert_eq!(WebhookId::parse("17").map(WebhookId::get), Some(17));
        for text in ["0", "017", "+1", "-1", "2147483648", "", " 1", "1e3", "99999999999999999999"]
        {
            assert_eq!(WebhookId::parse(text), None, "{text}");
        }
    }
}
