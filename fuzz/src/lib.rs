//! Every decoder, as a function of bytes that must not panic and must keep its promise.
//!
//! Owns the table of targets. Each is driven by libFuzzer (`tests/soak fuzz`) and, over the corpus
//! that is committed, by a plain `cargo test` (`tests/corpus.rs`, which takes this file in as a
//! module). Must never name libFuzzer, and never need a daemon, a file or a clock.
//!
//! # A further target
//!
//! Three lines: the function's row in [`TARGETS`], its line in `Cargo.toml`, and a copy of any file
//! of `fuzz_targets/` under its name. Then write some inputs to `corpus/<name>/seed-…`, those that
//! are read well above all; `tests/corpus.rs` says what is missing. `tests/soak fuzz <name>` runs the
//! target, and `tests/soak corpus <name>` adds the least of what it found that covers more.
//!
//! # Inputs
//!
//! Where a decoder reads headers too, an input is like a request's head and body: lines of
//! `name: value`, an empty line, the body. See [`Request`].

#![forbid(unsafe_code)]

mod forms;
mod sources;
mod store;
mod wire;

use postrider::source::Head;

/// A target by its name.
pub struct Target {
    /// As in `Cargo.toml`, `fuzz_targets/` and `corpus/`.
    pub name: &'static str,
    /// Reads one input.
    pub run: fn(&[u8]),
    /// Longest input that libFuzzer makes, in bytes.
    pub bytes_max: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("form", forms::form, 1_024),
    target("multipart", forms::multipart, 1_024),
    target("content_type", forms::content_type, 512),
    target("json", forms::json, 1_024),
    target("publish", forms::publish, 2_048),
    target("webhook_uploadcare", forms::webhook_uploadcare, 1_024),
    target("webhook_own", forms::webhook_own, 1_024),
    target("webhook_jsonapi", forms::webhook_jsonapi, 1_024),
    target("source_uploadcare", sources::uploadcare, 2_048),
    target("source_tusd", sources::tusd, 2_048),
    target("source_s3", sources::s3, 2_048),
    target("source_cloudevents", sources::cloudevents, 2_048),
    target("source_seaweedfs", sources::seaweedfs, 2_048),
    target("source_nextcloud", sources::nextcloud, 2_048),
    target("credentials", wire::credentials, 512),
    target("signature", wire::signature, 512),
    target("http_date", wire::http_date, 80),
    target("rfc3339", wire::rfc3339, 48),
    target("retry_after", wire::retry_after, 80),
    target("target_url", wire::target_url, 300),
    target("address", wire::address, 17),
    target("allow_list", wire::allow_list, 256),
    target("route", wire::route, 256),
    target("accept", wire::accept, 256),
    target("ids", wire::ids, 64),
    target("forwarded", wire::forwarded, 256),
    target("units", wire::units, 40),
    target("config", wire::config, 2_048),
    target("record", store::record, 1_024),
    target("journal", store::journal, 1_024),
];

const fn target(name: &'static str, run: fn(&[u8]), bytes_max: usize) -> Target {
    Target { name, run, bytes_max }
}

/// Runs a target. A name that is none is a mistake in `fuzz_targets/`.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("every file of fuzz_targets is a row of the table").run)(data);
}

/// An input that is read as the head and the body of a request.
struct Request<'a> {
    lines: Vec<(&'a str, &'a str)>,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(data: &'a [u8]) -> Request<'a> {
        let mut lines = Vec::new();
        let mut rest = data;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            if line.is_empty() {
                return Request { lines, body: after };
            }
            let line = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':'));
            let Some((name, value)) = line else { break };
            lines.push((name.trim(), value.trim()));
            rest = after;
        }
        Request { lines: Vec::new(), body: data }
    }

    fn head(&self) -> Head {
        Head::new(self.lines.iter().copied())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let line = self.lines.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        line.map(|(_, value)| *value)
    }
}
