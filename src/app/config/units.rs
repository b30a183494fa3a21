//! Durations and sizes as people write them: a whole number and a unit, in one word.
//!
//! Owns their grammar and its inverse. Must never guess a unit: a bare number is an error.

use thiserror::Error;

use crate::model::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

/// Units of time, in milliseconds, the longest first.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS), ("s", SECOND_MS), ("ms", 1)];

/// Units of size, in bytes, the largest first; those that `show` prefers stand before their
/// decimal neighbours.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Why a text is no duration or size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnitError {
    /// A number alone, where a duration is wanted.
    #[error("give a unit (ms, s, m, h, d), for example \"30s\"")]
    DurationUnitMissing,
    /// A number alone, where a size is wanted.
    #[error("give a unit (B, KiB, MiB, GiB, or KB, MB, GB for thousands), for example \"32MiB\"")]
    SizeUnitMissing,
    /// Not a whole number followed by a unit of time.
    #[error("not a duration; write a whole number and one of ms, s, m, h, d, for example \"30s\"")]
    NotDuration,
    /// Not a whole number followed by a unit of size.
    #[error(
        "not a size; write a whole number and one of B, KiB, MiB, GiB, KB, MB, GB, \
         for example \"32MiB\""
    )]
    NotSize,
    /// More than 64 bits of it.
    #[error("too large")]
    TooLarge,
}

/// Reads `500ms`, `30s`, `5m`, `72h` or `7d`, as milliseconds.
pub fn duration_ms(text: &str) -> Result<u64, UnitError> {
    measure(text, &DURATION_UNITS, UnitError::DurationUnitMissing, UnitError::NotDuration)
}

/// Reads `64KiB`, `32MiB`, `2GiB`, `10MB` and the like, as bytes.
pub fn size_bytes(text: &str) -> Result<u64, UnitError> {
    measure(text, &SIZE_UNITS, UnitError::SizeUnitMissing, UnitError::NotSize)
}

/// The shortest text that [`duration_ms`] reads as `ms`.
#[must_use]
pub fn show_duration(ms: u64) -> String {
    show(ms, &DURATION_UNITS)
}

/// A short text that [`size_bytes`] reads as `bytes`.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZE_UNITS)
}

fn measure(
    text: &str,
    units: &[(&str, u64)],
    unit_missing: UnitError,
    malformed: UnitError,
) -> Result<u64, UnitError> {
    let digits_end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    if digits.is_empty() {
        return Err(malformed);
    }
    if unit.is_empty() {
        return Err(unit_missing);
    }
    let factor = units.iter().find(|(name, _)| *name == unit).ok_or(malformed)?.1;
    let number: u64 = digits.parse().map_err(|_| UnitError::TooLarge)?;
    number.checked_mul(factor).ok_or(UnitError::TooLarge)
}

fn show(amount: u64, units: &[(&str, u64)]) -> String {
    let whole =
        units.iter().find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor));
    match whole {
        Some((name, factor)) => format!("{}{name}", amount / factor),
        // Zero of the smallest unit.
        None => format!("{amount}{}", units.last().map_or("", |(name, _)| name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("72h", 259_200_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for (text, bytes) in [
            ("12B", 12),
            ("64KiB", 65_536),
            ("64KB", 64_000),
            ("32MiB", 33_554_432),
            ("10MB", 10_000_000),
            ("2GiB", 2_147_483_648),
            ("2GB", 2_000_000_000),
        ] {
            assert_eq!(size_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_bare_numbers_and_the_rest() {
        assert_eq!(duration_ms("30"), Err(UnitError::DurationUnitMissing));
        assert_eq!(size_bytes("30"), Err(UnitError::SizeUnitMissing));
        for text in ["", "s", "-5s", "1.5s", "5 s", "5S", "5min", "1h30m", " 5s", "٣s"] {
            assert_eq!(duration_ms(text), Err(UnitError::NotDuration), "{text:?}");
        }
        for text in ["", "MiB", "1mib", "1K", "1.5MiB", "-1B"] {
            assert_eq!(size_bytes(text), Err(UnitError::NotSize), "{text:?}");
        }
        assert_eq!(duration_ms("99999999999999999999s"), Err(UnitError::TooLarge));
        assert_eq!(size_bytes("99999999999999GiB"), Err(UnitError::TooLarge));
    }

    #[test]
    fn shows_what_it_reads() {
        for ms in [0, 1, 999, 1_000, 90_000, 3_600_000, 604_800_000] {
            assert_eq!(duration_ms(&show_duration(ms)), Ok(ms));
        }
        assert_eq!(show_duration(60_000), "1m");
        for bytes in [0, 1, 1_000, 1_024, 65_536, 1_000_000, 1 << 30] {
            assert_eq!(size_bytes(&show_size(bytes)), Ok(bytes));
        }
        assert_eq!(show_size(1 << 20), "1MiB");
    }
}
