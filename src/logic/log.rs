//! What of an answer goes into the attempt log.
//!
//! Owns the limits of what is kept, and the choice of headers. Must never look into a body.
//!
//! Every delivery leaves a record of its attempts, so headers that say nothing are left out: those
//! of the connection ([`SILENT`]), `date` (the attempt has its own instants), and `content-length`
//! where the body itself is kept whole and shows it.

use crate::model::attempt::{Extent, HeaderKept, ResponseKept};

/// Most headers that are kept of one answer.
pub const HEADERS_MAX: usize = 64;
/// Headers that are never kept.
pub const SILENT: [&str; 4] = ["connection", "date", "keep-alive", "transfer-encoding"];

/// How much is kept of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Of the names and values of its headers, in bytes; 0 keeps none.
    pub headers_bytes_max: usize,
    /// Of its body, in bytes; 0 keeps none.
    pub body_bytes_max: usize,
}

impl Default for LogLimits {
    fn default() -> LogLimits {
        LogLimits { headers_bytes_max: 1_024, body_bytes_max: 1_024 }
    }
}

/// An answer as it was read.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its headers, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body, as far as it was read.
    pub body: Vec<u8>,
    /// Whether the body did not end there.
    pub body_truncated: bool,
}

/// What is kept of an answer.
#[must_use]
pub fn kept(answer: Answer, limits: LogLimits) -> ResponseKept {
    let Answer { headers, mut body, body_truncated } = answer;
    let is_long = body.len() > limits.body_bytes_max;
    let body_extent = match (limits.body_bytes_max, is_long || body_truncated) {
        (_, false) => Extent::Whole,
        (0, true) => Extent::Off,
        (_, true) => Extent::Truncated,
    };
    if is_long {
        body.truncate(limits.body_bytes_max);
        // What was read may be much more, and waits for its commit in memory.
        body.shrink_to_fit();
    }
    let (headers, headers_extent) = kept_headers(headers, body_extent, limits.headers_bytes_max);
    ResponseKept { headers, headers_extent, body, body_extent }
}

fn kept_headers(
    headers: Vec<(String, Vec<u8>)>,
    body_extent: Extent,
    bytes_max: usize,
) -> (Vec<HeaderKept>, Extent) {
    let shows_length = body_extent == Extent::Whole;
    let says_something = |name: &str| {
        let is_shown = name == "content-length" && shows_length;
        !is_shown && !SILENT.contains(&name)
    };
    let (mut kept, mut room, mut extent) = (Vec::new(), bytes_max, Extent::Whole);
    for (name, value) in headers.into_iter().filter(|(name, _)| says_something(name)) {
        let bytes = name.len() + value.len();
        if bytes > room || kept.len() == HEADERS_MAX {
            // A smaller one behind it may still fit.
            extent = if bytes_max == 0 { Extent::Off } else { Extent::Truncated };
            continue;
        }
        room -= bytes;
        kept.push(HeaderKept { name, value });
    }
    (kept, extent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&str, &[u8])], body: &[u8], body_truncated: bool) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        Answer { headers: headers.collect(), body: body.to_vec(), body_truncated }
    }

    fn names(kept: &ResponseKept) -> Vec<&str> {
        kept.headers.iter().map(|header| header.name.as_str()).collect()
    }

    #[test]
    fn headers_that_say_nothing_are_left_out() {
        let headers: [(&str, &[u8]); 6] = [
            ("date", b"Mon, 05 Nov 2018 13:14:41 GMT"),
            ("connection", b"keep-alive"),
            ("keep-alive", b"timeout=5"),
            ("content-length", b"2"),
            ("x-request-id", b"\xff\x00 7"),
            ("transfer-encoding", b"chunked"),
        ];
        let whole = kept(answer(&headers, b"ok", false), LogLimits::default());
        assert_eq!(names(&whole), ["x-request-id"]);
        assert_eq!((whole.headers_extent, whole.body_extent), (Extent::Whole, Extent::Whole));
        assert_eq!((&*whole.headers[0].value, &*whole.body), (&b"\xff\x00 7"[..], &b"ok"[..]));
        // Of a body that is cut, its length says how much there was.
        let cut = kept(answer(&headers, b"ok", true), LogLimits::default());
        assert_eq!(names(&cut), ["content-length", "x-request-id"]);
        assert_eq!(cut.body_extent, Extent::Truncated);
    }

    #[test]
    fn what_is_too_long_is_cut_and_zero_keeps_none() {
        let headers: [(&str, &[u8]); 3] = [("x-a", &[b'a'; 20]), ("x-b", &[b'b'; 9]), ("x", b"y")];
        let body = [b'x'; 50];
        let limits = LogLimits { headers_bytes_max: 26, body_bytes_max: 49 };
        let cut = kept(answer(&headers, &body, false), limits);
        assert_eq!(names(&cut), ["x-a", "x"]);
        assert_eq!((cut.headers_extent, cut.body_extent), (Extent::Truncated, Extent::Truncated));
        assert_eq!((cut.body.len(), cut.body.capacity()), (49, 49));
        let limits = LogLimits { headers_bytes_max: 0, body_bytes_max: 0 };
        let none = kept(answer(&headers, &body, false), limits);
        assert_eq!((none.headers_extent, none.body_extent), (Extent::Off, Extent::Off));
        assert_eq!(none.size_bytes(), 0);
        // What just fits is whole.
        let limits = LogLimits { headers_bytes_max: 26 + 11, body_bytes_max: 50 };
        let fits = kept(answer(&headers, &body, false), limits);
        assert_eq!((fits.headers_extent, fits.body_extent), (Extent::Whole, Extent::Whole));
        assert_eq!((names(&fits), fits.body.len()), (vec!["x-a", "x-b", "x"], 50));
        let limits = LogLimits { headers_bytes_max: 0, body_bytes_max: 0 };
        // Nothing was left out of nothing.
        let nothing = kept(answer(&[], b"", false), limits);
        assert_eq!((nothing.headers_extent, nothing.body_extent), (Extent::Whole, Extent::Whole));
        let many: Vec<(&str, &[u8])> = vec![("x", b""); HEADERS_MAX + 1];
        let cut = kept(answer(&many, b"", false), LogLimits::default());
        assert_eq!((cut.headers.len(), cut.headers_extent), (HEADERS_MAX, Extent::Truncated));
    }
}
