//! The fields of a webhook that are ours: extra headers, limits, and choices of some formats.
//!
//! Owns their validation. Must never let a webhook set a header that the daemon sets itself, or
//! one that would frame the request anew.

use std::collections::BTreeSet;

use crate::dialect::body::{Field, clip};
use crate::model::json::Json;
use crate::model::webhook::{FileDelete, HEADER_BYTES_MAX, HEADERS_MAX, SignatureStyle};

/// What `version` says of webhooks whose format has one version.
pub const OTHER_VERSION: &str = "1";
/// Highest `rate_per_second` of a webhook.
pub const RATE_PER_SECOND_MAX: u32 = 100_000;
/// Highest `burst` of a webhook.
pub const BURST_MAX: u32 = 100_000;
/// Highest `in_flight` of a webhook.
pub const IN_FLIGHT_MAX: u32 = 10_000;

/// Headers that the daemon or the protocol sets.
const DENIED: [&str; 17] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-signature",
    "x-timestamp",
];
const DENIED_PREFIXES: [&str; 3] = ["webhook-", "postrider-", "x-uc-"];

/// Reads `headers`: an object of strings.
pub fn headers(field: &Field) -> Result<Vec<(String, String)>, String> {
    let json = field.to_json().map_err(|e| format!("Expected a JSON object of strings: {e}."))?;
    let Json::Object(fields) = json else {
        return Err(format!("Expected an object of strings, not {}.", json.kind()));
    };
    if fields.len() > HEADERS_MAX {
        return Err(format!("Ensure this field has no more than {HEADERS_MAX} headers."));
    }
    let mut seen = BTreeSet::new();
    let mut headers = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let shown = clip(&name);
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(format!("\"{shown}\" is given twice."));
        }
        name_is_allowed(&name)?;
        let Json::String(value) = value else {
            return Err(format!("\"{shown}\" has to be a string, not {}.", value.kind()));
        };
        if !value_is_sound(&value) {
            return Err(format!(
                "\"{shown}\" has to be visible ASCII of at most {HEADER_BYTES_MAX} characters."
            ));
        }
        headers.push((name, value));
    }
    Ok(headers)
}

/// Reads a limit: a whole number from 1 to `max`.
pub fn limit(field: &Field, max: u32) -> Result<u32, String> {
    field
        .as_u32()
        .filter(|number| (1..=max).contains(number))
        .ok_or_else(|| format!("\"{}\" is not a whole number from 1 to {max}.", field.shown()))
}

/// The word for a style in `signature_style`.
#[must_use]
pub fn style_name(style: SignatureStyle) -> &'static str {
    match style {
        SignatureStyle::V1 => "v1",
        SignatureStyle::Bare => "bare",
    }
}

/// The word for a choice in `file_delete`.
#[must_use]
pub fn file_delete_name(choice: FileDelete) -> &'static str {
    match choice {
        FileDelete::Object => "object",
        FileDelete::Array => "array",
    }
}

/// Reads `signature_style`.
pub fn signature_style(field: &Field) -> Result<SignatureStyle, String> {
    choice(field, &[SignatureStyle::V1, SignatureStyle::Bare].map(|one| (style_name(one), one)))
}

/// Reads `file_delete`.
pub fn file_delete(field: &Field) -> Result<FileDelete, String> {
    choice(field, &[FileDelete::Object, FileDelete::Array].map(|one| (file_delete_name(one), one)))
}

/// Reads `include_secret`.
pub fn include_secret(field: &Field) -> Result<bool, String> {
    field.as_bool().ok_or_else(|| "Must be a valid boolean.".to_owned())
}

fn choice<T: Copy>(field: &Field, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| field.as_text() == Some(name));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        format!("\"{}\" is not a valid choice. Known: {}.", clip(&field.shown()), names.join(", "))
    })
}

fn name_is_allowed(name: &str) -> Result<(), String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || name.len() > HEADER_BYTES_MAX || !name.bytes().all(token) {
        return Err(format!("\"{}\" is not a header name.", clip(name)));
    }
    let lower = name.to_ascii_lowercase();
    let denied = DENIED.contains(&lower.as_str())
        || DENIED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    if denied { Err(format!("\"{}\" is set by the daemon.", clip(name))) } else { Ok(()) }
}

fn value_is_sound(value: &str) -> bool {
    value.len() <= HEADER_BYTES_MAX
        && value.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        && value.trim().len() == value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<(String, String)>, String> {
        headers(&Field::Text(json.to_owned()))
    }

    #[test]
    fn headers_of_an_owner() {
        let got = read(r#"{"Authorization":"Bearer x","X-Env":""}"#).expect("sound");
        assert_eq!(got[0], ("Authorization".to_owned(), "Bearer x".to_owned()));
        assert_eq!(got.len(), 2);
        assert_eq!(read("{}").expect("empty"), []);
    }

    #[test]
    fn refuses_and_names_the_header() {
        let many: Vec<String> = (0..17).map(|i| format!("\"x{i}\":\"\"")).collect();
        let many = format!("{{{}}}", many.join(","));
        let long = format!("{{\"x\":\"{}\"}}", "v".repeat(1_025));
        for (json, want) in [
            ("[]", "not an array"),
            ("x", "JSON"),
            (r#"{"x":1}"#, "\"x\" has to be a string, not a number"),
            (r#"{"x":"a\r\nHost: b"}"#, "\"x\" has to be visible ASCII"),
            (r#"{"x":"a\u0000"}"#, "visible ASCII"),
            (r#"{"x":"é"}"#, "visible ASCII"),
            (r#"{"x":" a"}"#, "visible ASCII"),
            (&long, "visible ASCII"),
            (r#"{"x":"a","X":"b"}"#, "\"X\" is given twice"),
            (r#"{"":"a"}"#, "not a header name"),
            (r#"{"a b":"a"}"#, "\"a b\" is not a header name"),
            (r#"{"a:":"a"}"#, "not a header name"),
            (&many, "no more than 16"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(want), "{json}: {error}");
        }
        for name in ["Host", "CONTENT-TYPE", "Webhook-Id", "X-Uc-Signature", "postrider-x", "TE"] {
            let error = read(&format!("{{\"{name}\":\"a\"}}")).expect_err(name);
            assert_eq!(error, format!("\"{name}\" is set by the daemon."));
        }
    }

    #[test]
    fn choices() {
        let text = |text: &str| Field::Text(text.to_owned());
        for style in [SignatureStyle::V1, SignatureStyle::Bare] {
            assert_eq!(signature_style(&text(style_name(style))), Ok(style));
        }
        for delete in [FileDelete::Object, FileDelete::Array] {
            assert_eq!(file_delete(&text(file_delete_name(delete))), Ok(delete));
        }
        let wrong = "\"V1\" is not a valid choice. Known: v1, bare.";
        assert_eq!(signature_style(&text("V1")), Err(wrong.to_owned()));
        assert_eq!(include_secret(&text("true")), Ok(true));
        assert!(include_secret(&text("yes")).is_err());
    }

    #[test]
    fn limits() {
        let text = |text: &str| limit(&Field::Text(text.to_owned()), 10);
        assert_eq!(text("10"), Ok(10));
        for bad in ["0", "11", "-1", "1.5", "", "x"] {
            assert_eq!(text(bad), Err(format!("\"{bad}\" is not a whole number from 1 to 10.")));
        }
    }
}
