//! Request bodies as fields, whatever form they came in.
//!
//! Owns content types, urlencoded and multipart forms, JSON objects, and the spellings of booleans
//! and numbers. Must never know what a field means. Bodies have to be UTF-8, whatever charset the
//! content type claims.
//!
//! Forms nest as Rails reads them: `name[]=a&name[]=b` is the array `name`, and no other name may
//! be given twice; `outer[name]` is the field `name` of the object `outer`, see [`Fields::under`].

use thiserror::Error;

use super::multipart;
use crate::model::json::{Json, JsonError};

/// Most fields of a form.
pub const FORM_FIELDS_MAX: usize = 64;
/// Longest name of a form's field, in bytes.
pub const FORM_KEY_BYTES_MAX: usize = 64;
/// Longest value of a form's field, in bytes.
pub const FORM_VALUE_BYTES_MAX: usize = 4_096;
/// Longest piece of a value that an error repeats, in characters.
const ERROR_VALUE_CHARS_MAX: usize = 64;

/// What a body is, by its content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json` or any `+json`.
    Json,
    /// `application/x-ndjson`: a JSON text on each line.
    Ndjson,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data` with its boundary.
    Multipart(String),
    /// No content type.
    Unstated,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// From a form: nothing but text.
    Text(String),
    /// From a JSON object, or a form's array of texts.
    Json(Json),
}

/// The fields of a body: unique names, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(Vec<(String, Field)>);

/// Why a body can't be read.
#[derive(Debug, Error)]
pub enum BodyError {
    /// A content type that is not spoken here (415).
    #[error("Unsupported media type \"{0}\" in request.")]
    Unsupported(String),
    /// Not JSON, or JSON that would not survive.
    #[error("JSON parse error - {0}")]
    Json(JsonError),
    /// JSON, but no object.
    #[error("The body has to be a JSON object, not {0}.")]
    NotAnObject(&'static str),
    /// A name or value that is not UTF-8.
    #[error("Field \"{0}\" is not UTF-8.")]
    NotUtf8(String),
    /// A NUL character.
    #[error("Field \"{0}\" holds a null character.")]
    Nul(String),
    /// `%` without two hexadecimal digits.
    #[error("Field \"{0}\" has a malformed percent escape.")]
    Escape(String),
    /// The same name twice, without the `[]` of an array.
    #[error("Field \"{0}\" is given twice.")]
    Duplicate(String),
    /// More than [`FORM_FIELDS_MAX`].
    #[error("A form has at most {FORM_FIELDS_MAX} fields.")]
    TooManyFields,
    /// A name longer than [`FORM_KEY_BYTES_MAX`].
    #[error("The field name \"{0}\" is longer than {FORM_KEY_BYTES_MAX} bytes.")]
    KeyTooLong(String),
    /// A value longer than [`FORM_VALUE_BYTES_MAX`].
    #[error(
        "Field \"{0}\" is longer than the {FORM_VALUE_BYTES_MAX} bytes that a form may carry; send JSON."
    )]
    ValueTooLong(String),
    /// A multipart body whose frame is broken.
    #[error("Multipart form parse error - {0}.")]
    Multipart(&'static str),
}

impl BodyError {
    /// The HTTP status that tells it.
    #[must_use]
    pub fn status(&self) -> u16 {
        if matches!(self, BodyError::Unsupported(_)) { 415 } else { 400 }
    }
}

impl Media {
    /// Reads a `Content-Type` header.
    pub fn of(content_type: Option<&str>) -> Result<Media, BodyError> {
        let text = content_type.unwrap_or_default().trim();
        let (essence, parameters) = text.split_at(text.find(';').unwrap_or(text.len()));
        let essence = essence.trim().to_ascii_lowercase();
        match essence.as_str() {
            "" => Ok(Media::Unstated),
            "application/json" => Ok(Media::Json),
            "application/x-ndjson" | "application/ndjson" => Ok(Media::Ndjson),
            "application/x-www-form-urlencoded" => Ok(Media::Form),
            "multipart/form-data" => multipart::boundary(parameters).map(Media::Multipart),
            _ if essence.ends_with("+json") && essence.contains('/') => Ok(Media::Json),
            _ => Err(BodyError::Unsupported(clip(&essence))),
        }
    }
}

impl Fields {
    /// Reads a body. An empty one has no fields, whatever its type.
    pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Fields, BodyError> {
        if body.is_empty() {
            return Ok(Fields::default());
        }
        match Media::of(content_type)? {
            Media::Json => Fields::from_json(body),
            Media::Unstated if body.trim_ascii_start().starts_with(b"{") => Fields::from_json(body),
            Media::Form | Media::Unstated => Fields::from_urlencoded(body),
            Media::Multipart(boundary) => Fields::from_multipart(&boundary, body),
            Media::Ndjson => Err(BodyError::Unsupported("application/x-ndjson".to_owned())),
        }
    }

    /// Reads a JSON object.
    pub fn from_json(text: &[u8]) -> Result<Fields, BodyError> {
        match Json::parse(text).map_err(BodyError::Json)? {
            Json::Object(fields) => Ok(fields.into_iter().collect()),
            other => Err(BodyError::NotAnObject(other.kind())),
        }
    }

    /// Reads `name=value&…`.
    pub fn from_urlencoded(text: &[u8]) -> Result<Fields, BodyError> {
        let mut fields = Fields::default();
        for pair in text.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|b| *b == b'=');
            let (key, value) = match at {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &pair[..0]),
            };
            let shown = clip(&String::from_utf8_lossy(key));
            let decoded = |part| percent_decoded(part).ok_or(BodyError::Escape(shown.clone()));
            let key = String::from_utf8(decoded(key)?);
            let key = key.map_err(|_| BodyError::NotUtf8(shown.clone()))?;
            fields.add(key, decoded(value)?)?;
        }
        Ok(fields)
    }

    /// Reads the parts of a `multipart/form-data` body.
    pub fn from_multipart(boundary: &str, body: &[u8]) -> Result<Fields, BodyError> {
        let mut fields = Fields::default();
        for (key, value) in multipart::parts(boundary, body, FORM_FIELDS_MAX)? {
            fields.add(key, value.to_vec())?;
        }
        Ok(fields)
    }

    /// The value of `name`, `null` included.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The value of `name`, unless it is absent or null.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&Field> {
        self.get(name).filter(|field| !field.is_null())
    }

    /// The fields of the object `outer`: a JSON object, or those of a form named `outer[…]`. `None`
    /// if there is nothing of that name; `Some(Err)` with what it is if it is no object.
    #[must_use]
    pub fn under(&self, outer: &str) -> Option<Result<Fields, &'static str>> {
        match self.given(outer) {
            Some(Field::Json(Json::Object(fields))) => {
                return Some(Ok(fields.iter().cloned().collect()));
            }
            Some(Field::Json(other)) => return Some(Err(other.kind())),
            Some(Field::Text(_)) => return Some(Err("a string")),
            None => {}
        }
        let inner = |name: &str| {
            let name = name.strip_prefix(outer)?.strip_prefix('[')?.strip_suffix(']')?;
            Some(name.to_owned())
        };
        let fields: Vec<_> =
            self.0.iter().filter_map(|(name, field)| Some((inner(name)?, field.clone()))).collect();
        (!fields.is_empty()).then_some(Ok(Fields(fields)))
    }

    /// The fields of these names alone.
    #[must_use]
    pub fn select(&self, names: &[&str]) -> Fields {
        let wanted = self.0.iter().filter(|(name, _)| names.contains(&name.as_str()));
        Fields(wanted.cloned().collect())
    }

    /// The same, and `name` as a text if it is absent or null.
    #[must_use]
    pub fn or_text(mut self, name: &str, text: &str) -> Fields {
        if self.given(name).is_none() {
            self.0.retain(|(known, _)| known != name);
            self.0.push((name.to_owned(), Field::Text(text.to_owned())));
        }
        self
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    fn add(&mut self, key: String, value: Vec<u8>) -> Result<(), BodyError> {
        let shown = clip(&key);
        if self.values() == FORM_FIELDS_MAX {
            return Err(BodyError::TooManyFields);
        }
        if key.len() > FORM_KEY_BYTES_MAX {
            return Err(BodyError::KeyTooLong(shown));
        }
        if value.len() > FORM_VALUE_BYTES_MAX {
            return Err(BodyError::ValueTooLong(shown));
        }
        let value = String::from_utf8(value).map_err(|_| BodyError::NotUtf8(shown.clone()))?;
        if key.contains('\0') || value.contains('\0') {
            return Err(BodyError::Nul(shown));
        }
        let array = key.strip_suffix("[]").filter(|name| !name.is_empty());
        let known = self.0.iter_mut().find(|(name, _)| name == array.unwrap_or(&key));
        match (known, array) {
            (None, None) => self.0.push((key, Field::Text(value))),
            (None, Some(name)) => {
                let items = Json::Array(vec![Json::String(value)]);
                self.0.push((name.to_owned(), Field::Json(items)));
            }
            (Some((_, Field::Json(Json::Array(items)))), Some(_)) => {
                items.push(Json::String(value));
            }
            (Some(_), _) => return Err(BodyError::Duplicate(shown)),
        }
        Ok(())
    }

    /// How many values a form has given so far.
    fn values(&self) -> usize {
        let of = |(_, field): &(String, Field)| match field {
            Field::Json(Json::Array(items)) => items.len(),
            _ => 1,
        };
        self.0.iter().map(of).sum()
    }
}

impl FromIterator<(String, Json)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, Json)>>(fields: I) -> Fields {
        Fields(fields.into_iter().map(|(name, value)| (name, Field::Json(value))).collect())
    }
}

impl Field {
    /// Whether it is JSON's `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Field::Json(Json::Null))
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Field::Text(text) => Some(text),
            Field::Json(json) => json.as_str(),
        }
    }

    /// `true`, `false`, `1`, `0`, as a boolean, a number or a text in any case.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Field::Json(Json::Bool(value)) => Some(*value),
            Field::Json(Json::Number(number)) if *number == 1.0 => Some(true),
            Field::Json(Json::Number(number)) if *number == 0.0 => Some(false),
            _ => match self.as_text()? {
                "1" => Some(true),
                "0" => Some(false),
                text if text.eq_ignore_ascii_case("true") => Some(true),
                text if text.eq_ignore_ascii_case("false") => Some(false),
                _ => None,
            },
        }
    }

    /// A whole number, as a number or as decimal digits.
    #[must_use]
    pub fn as_u32(&self) -> Option<u32> {
        match self {
            Field::Json(Json::Number(number)) => {
                let whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number);
                whole.then_some(*number as u32)
            }
            _ => {
                let text = self.as_text()?;
                if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
            }
        }
    }

    /// The value as JSON; a form's text is parsed.
    pub fn to_json(&self) -> Result<Json, JsonError> {
        match self {
            Field::Text(text) => Json::parse(text.as_bytes()),
            Field::Json(json) => Ok(json.clone()),
        }
    }

    /// The value as an error may repeat it: short, and without control characters.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Field::Text(text) | Field::Json(Json::String(text)) => clip(text),
            Field::Json(json @ (Json::Array(_) | Json::Object(_))) => json.kind().to_owned(),
            Field::Json(json) => clip(&String::from_utf8_lossy(&json.to_bytes())),
        }
    }
}

/// A text as an error may repeat it: short, and without control characters.
#[must_use]
pub fn clip(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut shown: String = text.chars().take(ERROR_VALUE_CHARS_MAX).map(visible).collect();
    if text.chars().nth(ERROR_VALUE_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// `+` is a space, `%41` is `A`; `None` if an escape is malformed.
fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?,
            other => *other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

    fn text(fields: &Fields, name: &str) -> String {
        fields.get(name).and_then(Field::as_text).expect("given as text").to_owned()
    }

    #[test]
    fn every_form_gives_the_same_fields() {
        let multipart = "--x\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\nhttp://é/?q= 1\
                         \r\n--x\r\ncontent-disposition: form-data; name=\"b\"\r\n\r\n\r\n--x--\r\n";
        let form = "a=http%3A%2F%2F%c3%A9%2F?q=+1&&b";
        let json = "{\"a\":\"http://é/?q= 1\",\"b\":\"\"}";
        for (content_type, body) in [
            (Some("application/json"), json),
            (Some("Application/JSON; charset=\"utf-8\""), json),
            (Some("application/vnd.uploadcare-v0.7+json"), json),
            (None, &format!(" {json}")),
            (FORM, form),
            (Some("application/x-www-form-urlencoded;charset=UTF-8"), form),
            (None, form),
            (Some(""), form),
            (Some("multipart/form-data; boundary=x"), multipart),
        ] {
            let fields = Fields::read(content_type, body.as_bytes()).expect(body);
            assert_eq!(text(&fields, "a"), "http://é/?q= 1", "{content_type:?}");
            assert_eq!(text(&fields, "b"), "", "{content_type:?}");
            assert_eq!(fields.names().collect::<Vec<_>>(), ["a", "b"]);
        }
        assert_eq!(Fields::read(Some("null"), b"").expect("empty"), Fields::default());
    }

    #[test]
    fn forms_nest_as_json_does() {
        let json = r#"{"webhook":{"target_url":"http://a/","events":["b","c"]},"other":1}"#;
        let form = "webhook[target_url]=http://a/&webhook%5Bevents%5D%5B%5D=b&other=1\
                    &webhook[events][]=c";
        let part = |name: &str, value: &str| {
            format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let multipart = [
            part("webhook[target_url]", "http://a/"),
            part("webhook[events][]", "b"),
            part("webhook[events][]", "c"),
            "--x--".to_owned(),
        ]
        .concat();
        for (content_type, body) in [
            (Some("application/vnd.api+json"), json),
            (FORM, form),
            (Some("multipart/form-data; boundary=x"), &multipart),
        ] {
            let fields = Fields::read(content_type, body.as_bytes()).expect(body);
            let fields = fields.under("webhook").expect("given").expect("an object");
            assert_eq!(fields.names().collect::<Vec<_>>(), ["target_url", "events"], "{body}");
            assert_eq!(text(&fields, "target_url"), "http://a/");
            let events = fields.get("events").expect("given").to_json().expect("JSON");
            assert_eq!(events.to_bytes(), br#"["b","c"]"#);
        }
        let bare = Fields::read(FORM, b"events[]=b&webhooks[a]=1&[]=x").expect("a form");
        assert_eq!(bare.names().collect::<Vec<_>>(), ["events", "webhooks[a]", "[]"]);
        assert!(bare.under("webhook").is_none());
        for body in [r#"{"webhook":[]}"#, r#"{"webhook":"x"}"#] {
            let fields = Fields::from_json(body.as_bytes()).expect("an object");
            assert!(fields.under("webhook").expect("given").is_err(), "{body}");
        }
    }

    #[test]
    fn refuses_and_names_the_field() {
        let many: String = (0..65).map(|i| format!("k{i}=&")).collect();
        let many_items = "a[]=&".repeat(65);
        let long_key = format!("{}=", "k".repeat(65));
        let long_value = format!("a={}", "v".repeat(4_097));
        for (content_type, body, want) in [
            (Some("text/plain"), "a=1", "Unsupported media type \"text/plain\""),
            (Some("null"), "a=1", "Unsupported media type"),
            (Some("+json"), "{}", "Unsupported media type"),
            (Some("application/x-ndjson"), "{}", "Unsupported media type"),
            (Some("application/json"), "[]", "not an array"),
            (Some("application/json"), "{", "JSON parse error"),
            (Some("application/json"), "{\"a\":1,\"a\":2}", "duplicate key"),
            (Some("multipart/form-data"), "--x", "boundary"),
            (FORM, "a=1&a=2", "\"a\" is given twice"),
            (FORM, "a=%00", "\"a\" holds a null character"),
            (FORM, "a=%ff", "\"a\" is not UTF-8"),
            (FORM, "%ff=1", "not UTF-8"),
            (FORM, "a=%4", "\"a\" has a malformed percent escape"),
            (FORM, "a=%zz", "malformed percent escape"),
            (FORM, "a=1&a[]=2", "\"a[]\" is given twice"),
            (FORM, "a[]=1&a=2", "\"a\" is given twice"),
            (FORM, "w[a]=1&w[a]=2", "\"w[a]\" is given twice"),
            (FORM, &many, "at most 64 fields"),
            (FORM, &many_items, "at most 64 fields"),
            (FORM, &long_key, "longer than 64 bytes"),
            (FORM, &long_value, "\"a\" is longer than the 4096 bytes"),
        ] {
            let error = Fields::read(content_type, body.as_bytes()).expect_err(body);
            assert!(error.to_string().contains(want), "{body}: {error}");
            assert_eq!(error.status(), if want.starts_with("Unsup") { 415 } else { 400 });
        }
    }

    #[test]
    fn booleans_and_numbers_in_all_spellings() {
        for (json, want) in [
            ("true", Some(true)),
            ("false", Some(false)),
            ("1", Some(true)),
            ("0.0", Some(false)),
            ("\"True\"", Some(true)),
            ("\"FALSE\"", Some(false)),
            ("\"1\"", Some(true)),
            ("\"0\"", Some(false)),
            ("\"yes\"", None),
            ("\"\"", None),
            ("2", None),
            ("[]", None),
        ] {
            let field = Field::Json(Json::parse(json.as_bytes()).expect("JSON"));
            assert_eq!(field.as_bool(), want, "{json}");
        }
        let number = |json: &str| Field::Json(Json::parse(json.as_bytes()).expect("JSON")).as_u32();
        assert_eq!(number("7"), Some(7));
        assert_eq!(number("\"7\""), Some(7));
        for text in ["-1", "1.5", "4294967296", "\"+7\"", "\"\"", "true"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(
            content_type in proptest::option::of("(application/json|multipart/form-data; ?boundary=x|application/x-www-form-urlencoded|\\PC*)"),
            body in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let _ = Fields::read(content_type.as_deref(), &body);
        }

        #[test]
        fn never_panics_on_what_looks_like_multipart(body in "(--x|\r\n|--|a|\"|;|: |content-disposition: form-data; name=){0,40}") {
            let _ = Fields::from_multipart("x", body.as_bytes());
        }

        #[test]
        fn urlencoded_round_trip(pairs in proptest::collection::btree_map("[^\0\\]]{1,9}", "[^\0]{0,40}", 0..9)) {
            let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
            let fields = Fields::from_urlencoded(text.as_bytes()).expect("own encoding");
            prop_assert_eq!(fields.names().count(), pairs.len());
            for (key, value) in &pairs {
                prop_assert_eq!(fields.get(key).and_then(Field::as_text), Some(value.as_str()));
            }
        }
    }
}
