//! Version negotiation: what `Accept` asks for and what `Content-Type` answers.
//!
//! Owns the vendor media types. Must never add a parameter to one: clients compare the whole value.

use thiserror::Error;

use crate::model::webhook::Version;

const VENDOR_PREFIX: &str = "application/vnd.uploadcare-";

/// How webhooks are shown to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Asked for by its vendor type.
    Vendor(Version),
    /// Not asked for in any way that is known: the API 0.5, as plain JSON.
    Legacy,
    /// Our own: every format, with more fields.
    Own,
}

/// A vendor type of a version that does not exist (406).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "Incorrect Accept header provided. Make sure to specify API version. \
     Refer to REST API docs for details."
)]
pub struct NotAcceptable;

impl View {
    /// Reads an `Accept` header; several of them are joined by commas first.
    pub fn negotiate(accept: Option<&str>) -> Result<View, NotAcceptable> {
        let accept = accept.unwrap_or_default().trim();
        if accept.eq_ignore_ascii_case("application/json") {
            return Ok(View::Own);
        }
        let mut view = Ok(View::Legacy);
        for range in accept.split(',') {
            let essence = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            if let Some(rest) = essence.strip_prefix(VENDOR_PREFIX) {
                match rest.strip_prefix('v').and_then(|r| r.strip_suffix("+json")) {
                    Some(number) if Version::parse(number).is_some() => {
                        return Ok(Version::parse(number).map_or(View::Legacy, View::Vendor));
                    }
                    _ => view = Err(NotAcceptable),
                }
            }
        }
        view
    }

    /// The API's version that it stands for.
    #[must_use]
    pub fn version(self) -> Version {
        match self {
            View::Vendor(version) => version,
            View::Legacy => Version::V05,
            View::Own => Version::V07,
        }
    }

    /// The answer's `Content-Type`, without parameters.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            View::Vendor(Version::V05) => "application/vnd.uploadcare-v0.5+json",
            View::Vendor(Version::V06) => "application/vnd.uploadcare-v0.6+json",
            View::Vendor(Version::V07) => "application/vnd.uploadcare-v0.7+json",
            View::Legacy | View::Own => "application/json",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiates() {
        let vendor = |version| Ok(View::Vendor(version));
        for (accept, want) in [
            (None, Ok(View::Legacy)),
            (Some(""), Ok(View::Legacy)),
            (Some("*/*"), Ok(View::Legacy)),
            (Some("text/html"), Ok(View::Legacy)),
            (Some("application/json, text/plain, */*"), Ok(View::Legacy)),
            (Some("application/json; charset=utf-8"), Ok(View::Legacy)),
            (Some("application/json"), Ok(View::Own)),
            (Some("application/vnd.uploadcare-v0.5+json"), vendor(Version::V05)),
            (Some("application/vnd.uploadcare-v0.6+json"), vendor(Version::V06)),
            (Some("Application/vnd.Uploadcare-v0.7+JSON; q=1"), vendor(Version::V07)),
            (Some("*/*, application/vnd.uploadcare-v0.7+json"), vendor(Version::V07)),
            (Some("application/vnd.uploadcare-v0.8+json"), Err(NotAcceptable)),
            (Some("application/vnd.uploadcare-v0.70+json"), Err(NotAcceptable)),
            (Some("application/vnd.uploadcare-v0.7"), Err(NotAcceptable)),
            (Some("application/vnd.uploadcare-0.7+json"), Err(NotAcceptable)),
            (Some("application/vnd.uploadcare-v0.4+json, */*"), Err(NotAcceptable)),
        ] {
            assert_eq!(View::negotiate(accept), want, "{accept:?}");
            if let (Ok(View::Vendor(v)), Ok(view)) = (want, View::negotiate(accept)) {
                let exact = format!("application/vnd.uploadcare-v{}+json", v.as_str());
                assert_eq!(view.content_type(), exact);
            }
        }
        assert_eq!(View::Legacy.content_type(), "application/json");
        assert_eq!(View::Own.version(), Version::V07);
    }
}
