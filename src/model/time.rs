//! Time as values: wall time (unix milliseconds) and monotonic time are two different things.
//!
//! Owns the types, their arithmetic and their text forms. Must never ask what time it is: that is
//! an argument, and `clock` is the only file that answers it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A second, in milliseconds.
pub const SECOND_MS: u64 = 1_000;
/// A minute, in milliseconds.
pub const MINUTE_MS: u64 = 60 * SECOND_MS;
/// An hour, in milliseconds.
pub const HOUR_MS: u64 = 60 * MINUTE_MS;
/// A day, in milliseconds.
pub const DAY_MS: u64 = 24 * HOUR_MS;

/// Wall time: milliseconds since the unix epoch. It can step in both directions.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Wall(pub u64);

/// Monotonic time: milliseconds since an arbitrary start. It never goes back, and means nothing
/// in another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// What a calendar would say.
    pub wall: Wall,
    /// What a stopwatch would say.
    pub mono: Mono,
}

impl Wall {
    /// The instant `ms` later.
    #[must_use]
    pub fn plus(self, ms: u64) -> Wall {
        Wall(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`, 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Wall) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Unix seconds, as `webhook-timestamp` wants them.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        self.0 / SECOND_MS
    }

    /// `2018-11-26T12:49:10.477000Z`: RFC 3339 with six digits and a literal `Z`, the form that
    /// every Uploadcare client parses.
    #[must_use]
    pub fn rfc3339_micros(self) -> String {
        let c = Civil::of(self);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let parts = [c.year, c.month, c.day, c.hour, c.minute, c.second, c.milli];
        let places = [0..4, 5..7, 8..10, 11..13, 14..16, 17..19, 20..23];
        for (part, place) in parts.into_iter().zip(places) {
            let mut rest = part;
            for digit in text[place].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        text.map(char::from).iter().collect()
    }

    /// `Mon, 05 Nov 2018 13:14:41 GMT` (RFC 9110 IMF-fixdate).
    #[must_use]
    pub fn http_date(self) -> String {
        let c = Civil::of(self);
        let weekday = WEEKDAYS[((self.0 / DAY_MS + 4) % 7) as usize];
        let month = MONTHS[(c.month - 1) as usize];
        format!(
            "{weekday}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
            c.day, c.year, c.hour, c.minute, c.second
        )
    }
}

impl Mono {
    /// The instant `ms` later.
    #[must_use]
    pub fn plus(self, ms: u64) -> Mono {
        Mono(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`, 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339_micros())
    }
}

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A broken-down UTC time. Years up to 9999, later instants are shown as the last one.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    milli: u64,
}

const YEAR_9999_END_MS: u64 = 253_402_300_799_999;

impl Civil {
    /// Days to civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    fn of(wall: Wall) -> Civil {
        let ms = wall.0.min(YEAR_9999_END_MS);
        let z = ms / DAY_MS + 719_468;
        let era = z / 146_097;
        let doe = z % 146_097;
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let in_day = ms % DAY_MS;
        Civil {
            year: yoe + era * 400 + u64::from(month <= 2),
            month,
            day: doy - (153 * mp + 2) / 5 + 1,
            hour: in_day / HOUR_MS,
            minute: in_day / MINUTE_MS % 60,
            second: in_day / SECOND_MS % 60,
            milli: in_day % SECOND_MS,
        }
    }
}

/// Unix milliseconds of a UTC date and time, `None` outside 1970-9999 or for a date that is none.
fn from_civil(y: u64, mo: u64, d: u64, h: u64, mi: u64, s: u64) -> Option<u64> {
    const DAYS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = (y.is_multiple_of(4) && !y.is_multiple_of(100)) || y.is_multiple_of(400);
    let days_max =
        *DAYS.get(usize::try_from(mo.checked_sub(1)?).ok()?)? + u64::from(leap && mo == 2);
    // A leap second (60) is accepted and read as the next second.
    if !(1970..=9999).contains(&y) || d == 0 || d > days_max || h > 23 || mi > 59 || s > 60 {
        return None;
    }
    let y = if mo <= 2 { y - 1 } else { y };
    let yoe = y % 400;
    let mp = (mo + 9) % 12;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + (153 * mp + 2) / 5 + d - 1;
    let days = (y / 400 * 146_097 + doe).checked_sub(719_468)?;
    Some(days * DAY_MS + h * HOUR_MS + mi * MINUTE_MS + s * SECOND_MS)
}

/// Parses the date headers that real clients send: IMF-fixdate, its form with a comma after the
/// year (pyuploadcare), a numeric zone (Java), unpadded numbers and wrong weekdays (Dart), and the
/// RFC 850 and asctime forms that RFC 9110 5.6.7 still asks recipients to read. The weekday is
/// ignored.
#[must_use]
pub fn parse_http_date(text: &str) -> Option<Wall> {
    if text.len() > 64 || !text.is_ascii() {
        return None;
    }
    let mut words: Vec<&str> =
        text.split([' ', ',', '\t']).filter(|word| !word.is_empty()).collect();
    if words.first().is_some_and(|word| word.bytes().all(|b| b.is_ascii_alphabetic()))
        && month(words[0]).is_none()
    {
        words.remove(0);
    }
    // RFC 850 writes the date as one word: 06-Nov-94.
    let dashed: Vec<&str> = words.first()?.split('-').collect();
    if let [day, name, year] = dashed[..] {
        words.splice(0..1, [day, name, year]);
    }
    let (day, name, year, clock, zone) = match words[..] {
        // asctime: Nov 6 08:49:37 1994
        [name, day, clock, year] if month(name).is_some() => (day, name, year, clock, "GMT"),
        [day, name, year, clock] => (day, name, year, clock, "GMT"),
        [day, name, year, clock, zone] => (day, name, year, clock, zone),
        _ => return None,
    };
    let mut year_number = number(year, 4)?;
    if year.len() == 2 {
        year_number += if year_number < 70 { 2_000 } else { 1_900 };
    }
    let parts: Vec<&str> = clock.split(':').collect();
    let [h, m, s] = parts[..] else { return None };
    let utc = from_civil(
        year_number,
        month(name)?,
        number(day, 2)?,
        number(h, 2)?,
        number(m, 2)?,
        number(s, 2)?,
    )?;
    Some(Wall(shift(utc, zone)?))
}

/// Parses an RFC 3339 / ISO 8601 instant with a zone, `2018-11-26T12:49:10.477888Z`.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<Wall> {
    if text.len() > 40 || !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let bytes = text.as_bytes();
    let fixed = |at: usize, want: &[u8]| bytes.get(at).is_some_and(|b| want.contains(b));
    if !fixed(4, b"-")
        || !fixed(7, b"-")
        || !fixed(10, b"Tt ")
        || !fixed(13, b":")
        || !fixed(16, b":")
    {
        return None;
    }
    let field = |from: usize, to: usize| {
        let part = text.get(from..to)?;
        if part.bytes().all(|b| b.is_ascii_digit()) { part.parse::<u64>().ok() } else { None }
    };
    let seconds = from_civil(
        field(0, 4)?,
        field(5, 7)?,
        field(8, 10)?,
        field(11, 13)?,
        field(14, 16)?,
        field(17, 19)?,
    )?;
    let rest = &text[19..];
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(after) => {
            let end = after.bytes().position(|b| !b.is_ascii_digit())?;
            if end == 0 {
                return None;
            }
            after.split_at(end)
        }
        None => ("", rest),
    };
    let milli =
        fraction.bytes().chain(*b"000").take(3).fold(0, |sum, b| sum * 10 + u64::from(b - b'0'));
    let utc = seconds + milli;
    match zone {
        "Z" | "z" => Some(Wall(utc)),
        _ if zone.len() == 6 && zone.as_bytes()[3] == b':' => {
            shift(utc, &format!("{}{}", &zone[..3], &zone[4..])).map(Wall)
        }
        _ => None,
    }
}

fn month(name: &str) -> Option<u64> {
    let at = MONTHS.iter().position(|known| name.eq_ignore_ascii_case(known))?;
    u64::try_from(at + 1).ok()
}

fn number(text: &str, digits_max: usize) -> Option<u64> {
    let sound =
        !text.is_empty() && text.len() <= digits_max && text.bytes().all(|b| b.is_ascii_digit());
    if sound { text.parse().ok() } else { None }
}

/// Local milliseconds at a zone such as `GMT` or `+0130`, as UTC milliseconds.
fn shift(local: u64, zone: &str) -> Option<u64> {
    if ["GMT", "UTC", "Z"].iter().any(|name| zone.eq_ignore_ascii_case(name)) {
        return Some(local);
    }
    let (sign, digits) = zone.split_at_checked(1)?;
    if digits.len() != 4 {
        return None;
    }
    let hhmm = number(digits, 4)?;
    let offset = hhmm / 100 * HOUR_MS + hhmm % 100 * MINUTE_MS;
    match sign {
        "+" => local.checked_sub(offset),
        "-" => local.checked_add(offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms() {
        let wall = Wall(1_541_423_681_477);
        assert_eq!(wall.rfc3339_micros(), "2018-11-05T13:14:41.477000Z");
        assert_eq!(wall.http_date(), "Mon, 05 Nov 2018 13:14:41 GMT");
        assert_eq!(Wall(951_782_400_000).rfc3339_micros(), "2000-02-29T00:00:00.000000Z");
        assert_eq!(Wall(u64::MAX).rfc3339_micros(), "9999-12-31T23:59:59.999000Z");
    }

    #[test]
    fn http_dates_of_real_clients() {
        let want = Some(Wall(1_541_423_681_000));
        for text in [
            "Mon, 05 Nov 2018 13:14:41 GMT",
            "Mon, 05 Nov 2018, 13:14:41 GMT",
            "Mon, 05 Nov 2018 13:14:41 +0000",
            "Fri, 5 Nov 2018 13:14:41 GMT",
            "Mon, 05 Nov 2018 15:14:41 +0200",
            "5 Nov 2018 13:14:41 GMT",
            "Monday, 05-Nov-18 13:14:41 GMT",
            "Mon Nov  5 13:14:41 2018",
        ] {
            assert_eq!(parse_http_date(text), want, "{text}");
        }
        assert_eq!(parse_http_date("Fri, 5 Nov 2018 13:4:1 GMT"), Some(Wall(1_541_423_041_000)));
        for text in [
            "",
            "Mon",
            "Mon, 31 Feb 2018 13:14:41 GMT",
            "Mon, 05 Nov 2018 25:00:00 GMT",
            "1541423681",
        ] {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
    }

    #[test]
    fn rfc3339() {
        assert_eq!(parse_rfc3339("2018-11-05T13:14:41.477888Z"), Some(Wall(1_541_423_681_477)));
        assert_eq!(parse_rfc3339("2018-11-05T13:14:41Z"), Some(Wall(1_541_423_681_000)));
        assert_eq!(parse_rfc3339("2018-11-05T15:14:41.5+02:00"), Some(Wall(1_541_423_681_500)));
        for text in
            ["2018-11-05", "2018-11-05T13:14:41", "2018-13-05T13:14:41Z", "2018-11-05T13:14:41.Z"]
        {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn civil_round_trip() {
        for day in (0..2_900_000).step_by(37) {
            let wall = Wall(day * DAY_MS + 12_345_000);
            assert_eq!(parse_rfc3339(&wall.rfc3339_micros()), Some(wall));
            assert_eq!(parse_http_date(&wall.http_date()), Some(wall));
        }
    }
}
