//! Reading what other systems send.
//!
//! Owns the lenient side of intake: a field that is not used may be anything. Must never be used for
//! data that is passed on as it is: that has to survive JavaScript (`Json::parse`).

use super::Refusal;
use crate::dialect::{self, Mismatch};
use crate::model::event::{Dialect, Kind};
use crate::model::json::Json;

/// Largest integer that a double holds, and every one below it.
const INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// A JSON object. Integers beyond a double's are rounded: these systems write nanoseconds.
pub(super) fn object(body: &[u8]) -> Result<Json, Refusal> {
    match Json::reread(body) {
        Ok(json @ Json::Object(_)) => Ok(json),
        Ok(other) => {
            Err(malformed(format!("The body has to be a JSON object, not {}.", other.kind())))
        }
        Err(error) => Err(malformed(format!("JSON parse error - {error}"))),
    }
}

pub(super) fn malformed(text: impl Into<String>) -> Refusal {
    Refusal::Malformed(text.into())
}

/// Whether data that is passed on has the types of its dialect, as on publish.
pub(super) fn typed(kind: Kind, dialect: Dialect, data: &Json, place: &str) -> Result<(), Refusal> {
    dialect::check_data(kind, dialect, data)
        .map_err(|Mismatch { field, problem }| malformed(format!("{place}.{field}: {problem}")))
}

/// The value at a path of keys.
pub(super) fn at<'a>(json: &'a Json, path: &[&str]) -> Option<&'a Json> {
    path.iter().try_fold(json, |json, key| json.get(key))
}

/// The text at a path, unless it is empty.
pub(super) fn text<'a>(json: &'a Json, path: &[&str]) -> Option<&'a str> {
    at(json, path).and_then(Json::as_str).filter(|text| !text.is_empty())
}

/// The whole number at a path, written as one or as digits in a text.
pub(super) fn whole(json: &Json, path: &[&str]) -> Option<u64> {
    match at(json, path)? {
        Json::Number(number) => {
            let sound = number.fract() == 0.0 && (0.0..=INTEGER_MAX).contains(number);
            sound.then_some(*number as u64)
        }
        Json::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().ok().filter(|number| *number <= INTEGER_MAX as u64)
        }
        _ => None,
    }
}

/// Whether there is `true` at a path.
pub(super) fn flag(json: &Json, path: &[&str]) -> bool {
    at(json, path) == Some(&Json::Bool(true))
}

/// What follows the last slash.
pub(super) fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
