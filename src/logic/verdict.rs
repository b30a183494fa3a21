//! What an attempt's outcome means.
//!
//! Owns the judgement of status codes and failures and the reading of `Retry-After`. Must never
//! compute when the next attempt is due: that is `retry`.

use crate::model::attempt::{Failure, Outcome};
use crate::model::time::{SECOND_MS, Wall, parse_http_date};

use super::retry::WINDOW_MS;

pub use crate::model::attempt::Verdict;

/// Judges an outcome. Redirects are failures: they are never followed.
#[must_use]
pub fn judge(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Status(200..=299) => Verdict::Delivered,
        Outcome::Status(410) => Verdict::Gone,
        Outcome::Status(_) => Verdict::Retry { connection: false },
        Outcome::Failure(Failure::Interrupted | Failure::OutOfResources) => Verdict::Again,
        Outcome::Failure(failure) => Verdict::Retry { connection: failure.is_connection() },
    }
}

/// Reads `Retry-After`: whole seconds or an HTTP date (RFC 9110 10.2.3). Anything else, and an
/// instant that has passed, is none. Clamped to 72 hours from now.
#[must_use]
pub fn retry_after(header: &str, now: Wall) -> Option<Wall> {
    let text = header.trim();
    let at = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // A number too long for 64 bits is still a number: the clamp applies.
        now.plus(text.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(SECOND_MS))
    } else {
        parse_http_date(text)?
    };
    (at > now).then(|| at.min(now.plus(WINDOW_MS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        assert_eq!(judge(Outcome::Status(204)), Verdict::Delivered);
        assert_eq!(judge(Outcome::Status(410)), Verdict::Gone);
        for status in [100, 199, 300, 301, 400, 404, 429, 500, 599] {
            assert_eq!(judge(Outcome::Status(status)), Verdict::Retry { connection: false });
        }
        let refused = Outcome::Failure(Failure::ConnectRefused);
        assert_eq!(judge(refused), Verdict::Retry { connection: true });
        let garbage = Outcome::Failure(Failure::ResponseMalformed);
        assert_eq!(judge(garbage), Verdict::Retry { connection: false });
        assert_eq!(judge(Outcome::Failure(Failure::Interrupted)), Verdict::Again);
    }

    #[test]
    fn retry_after_forms() {
        let now = Wall(1_541_423_681_000);
        let clamp = Some(now.plus(WINDOW_MS));
        for (text, want) in [
            ("120", Some(now.plus(120_000))),
            (" 5 ", Some(now.plus(5_000))),
            ("Mon, 05 Nov 2018 13:15:41 GMT", Some(now.plus(60_000))),
            ("99999999999999999999999", clamp),
            ("18446744073709551615", clamp),
            ("0", None),
            ("Mon, 05 Nov 2018 13:14:41 GMT", None),
            ("Mon, 05 Nov 2001 13:14:41 GMT", None),
            ("-1", None),
            ("1.5", None),
            ("1e300", None),
            ("NaN", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(text, now), want, "{text}");
        }
    }
}
