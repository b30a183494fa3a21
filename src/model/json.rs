//! JSON that survives `JSON.stringify(JSON.parse(body))` byte for byte.
//!
//! Owns the payload tree, its strict reader and its writer. Must never reorder keys beyond what
//! ECMAScript itself does, and never accept what JavaScript would change.
//!
//! Receivers verify signatures over re-serialised bodies (Lancer's SDK, Rails). So the writer
//! prints what ECMA-262 `JSON.stringify` prints: no white space, no escape that is not needed,
//! numbers by Number::toString, keys that are array indexes (0 to 2^32 - 2) first and ascending.
//! The reader refuses what can't survive: integers beyond ±(2^53 - 1), lone surrogates, duplicate
//! keys. `serde_json` does the reading; the tree is ours because its own forgets key order.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

/// A JSON value with its keys in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number: JavaScript knows doubles alone.
    Number(f64),
    /// A string of Unicode scalar values.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object: unique keys, in order.
    Object(Vec<(String, Json)>),
}

/// Why a text is refused.
#[derive(Debug, Error)]
pub enum JsonError {
    /// Not JSON, too deep, a duplicate key or a lone surrogate.
    #[error("{0}")]
    Syntax(serde_json::Error),
    /// An integer that a double can't hold exactly.
    #[error("the integer {0} is beyond ±9007199254740991")]
    Integer(String),
}

const INTEGER_MAX: f64 = 9_007_199_254_740_991.0;
/// Longest piece of a number that an error repeats, in bytes.
const ERROR_NUMBER_BYTES_MAX: usize = 40;
/// What is looked at at once for something to escape: two registers of any 64-bit processor.
const CLEAN_PIECE_BYTES: usize = 32;
/// So many keys of an object are looked through faster than a set of them is kept.
const KEYS_FEW: usize = 16;

impl Json {
    /// Reads one JSON text. Nesting deeper than 128 is refused (serde_json's own limit).
    pub fn parse(text: &[u8]) -> Result<Json, JsonError> {
        let has_large = Cell::new(false);
        let json = read(text, Some(&has_large))?;
        // Only the text tells a large integer from a double such as 1e20.
        if has_large.get() {
            integers_are_exact(text)?;
        }
        Ok(json)
    }

    /// Reads back what [`Json::write`] wrote: there, a double such as 1e20 stands as an integer.
    pub fn reread(text: &[u8]) -> Result<Json, JsonError> {
        read(text, None)
    }

    /// The text that `JSON.stringify` would print.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.about_bytes());
        self.write(&mut out);
        out
    }

    /// About the length of its text, so that printing it grows no buffer as a rule.
    fn about_bytes(&self) -> usize {
        const SCALAR_BYTES: usize = 8;
        match self {
            Json::Null | Json::Bool(_) | Json::Number(_) => SCALAR_BYTES,
            Json::String(text) => text.len() + 2,
            Json::Array(items) => {
                2 + items.iter().map(|item| item.about_bytes() + 1).sum::<usize>()
            }
            Json::Object(fields) => {
                let field = |(key, value): &(String, Json)| key.len() + 4 + value.about_bytes();
                2 + fields.iter().map(field).sum::<usize>()
            }
        }
    }

    /// Appends the text that `JSON.stringify` would print.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Bool(true) => out.extend_from_slice(b"true"),
            Json::Bool(false) => out.extend_from_slice(b"false"),
            Json::Number(number) => {
                out.extend_from_slice(ryu_js::Buffer::new().format(*number).as_bytes());
            }
            Json::String(text) => write_string(text, out),
            Json::Array(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Json::Object(fields) => write_object(fields, out),
        }
    }

    /// The value of `key`, if this is an object that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// What kind of value it is, for error messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

/// Appends `text` as a JSON string, escaped as `JSON.stringify` escapes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Most text has nothing to escape: whole runs are looked at, and copied, at once.
    while !rest.is_empty() {
        let (clean, behind) = rest.split_at(clean_bytes(rest));
        out.extend_from_slice(clean);
        let Some((escaped, behind)) = behind.split_first() else { break };
        write_escaped(*escaped, out);
        rest = behind;
    }
    out.push(b'"');
}

/// How many bytes come before the first that has to be escaped.
fn clean_bytes(text: &[u8]) -> usize {
    let (pieces, _) = text.as_chunks::<CLEAN_PIECE_BYTES>();
    let is_clean = |piece: &&[u8; CLEAN_PIECE_BYTES]| {
        !piece.iter().fold(false, |found, byte| found | is_escaped(*byte))
    };
    let clean = pieces.iter().take_while(is_clean).count() * CLEAN_PIECE_BYTES;
    let rest = &text[clean..];
    clean + rest.iter().position(|byte| is_escaped(*byte)).unwrap_or(rest.len())
}

fn is_escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn write_escaped(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0..0x20 => return out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        other => other,
    };
    out.extend_from_slice(&[b'\\', letter]);
}

fn write_object(fields: &[(String, Json)], out: &mut Vec<u8>) {
    let mut indexed: Vec<(u32, &(String, Json))> =
        fields.iter().filter_map(|field| array_index(&field.0).map(|i| (i, field))).collect();
    indexed.sort_by_key(|(index, _)| *index);
    let named = fields.iter().filter(|field| array_index(&field.0).is_none());
    out.push(b'{');
    for (i, (key, value)) in indexed.into_iter().map(|(_, field)| field).chain(named).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(key, out);
        out.push(b':');
        value.write(out);
    }
    out.push(b'}');
}

/// ECMA-262 array index: the canonical decimal form of an integer up to 2^32 - 2.
fn array_index(key: &str) -> Option<u32> {
    let canonical = key == "0"
        || (!key.starts_with('0') && !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit()));
    if !canonical || key.len() > 10 {
        return None;
    }
    key.parse::<u32>().ok().filter(|index| *index < u32::MAX)
}

/// Walks the numbers of a text that is known to be JSON. A literal with a fraction or an exponent
/// is a double; any other is an integer and has to be exact.
fn integers_are_exact(text: &[u8]) -> Result<(), JsonError> {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => {
                at += 1;
                while text[at] != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let from = at;
                while at < text.len()
                    && matches!(text[at], b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
                {
                    at += 1;
                }
                let literal = &text[from..at];
                let integer = !literal.iter().any(|b| matches!(b, b'.' | b'e' | b'E'));
                // 16 characters hold any 15-digit integer with its sign: exact without a look.
                if integer && literal.len() > 15 && !is_exact(literal) {
                    let shown = &literal[..literal.len().min(ERROR_NUMBER_BYTES_MAX)];
                    return Err(JsonError::Integer(String::from_utf8_lossy(shown).into_owned()));
                }
            }
            _ => at += 1,
        }
    }
    Ok(())
}

fn is_exact(literal: &[u8]) -> bool {
    std::str::from_utf8(literal)
        .ok()
        .and_then(|text| text.parse::<i64>().ok())
        .is_some_and(|value| value.unsigned_abs() <= INTEGER_MAX as u64)
}

fn read(text: &[u8], has_large: Option<&Cell<bool>>) -> Result<Json, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let json = Tree { has_large }.deserialize(&mut reader).map_err(JsonError::Syntax)?;
    reader.end().map_err(JsonError::Syntax)?;
    Ok(json)
}

/// Reads a value, and says whether it holds a number that an integer may not be.
#[derive(Clone, Copy)]
struct Tree<'a> {
    has_large: Option<&'a Cell<bool>>,
}

impl Tree<'_> {
    fn number(self, value: f64) -> Json {
        if value.abs() > INTEGER_MAX
            && let Some(has_large) = self.has_large
        {
            has_large.set(true);
        }
        Json::Number(value)
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Json;
    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(self.number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(self.number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(self.number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            out.push(item);
        }
        Ok(Json::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
        let mut seen = BTreeSet::new();
        let mut out: Vec<(String, Json)> = Vec::new();
        while let Some(key) = fields.next_key::<String>()? {
            if out.len() == KEYS_FEW {
                seen.extend(out.iter().map(|(known, _)| known.clone()));
            }
            let is_new = if out.len() < KEYS_FEW {
                out.iter().all(|(known, _)| *known != key)
            } else {
                seen.insert(key.clone())
            };
            if !is_new {
                return Err(de::Error::custom(format_args!("duplicate key {key:?}")));
            }
            out.push((key, fields.next_value_seed(self)?));
        }
        Ok(Json::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(text: &str) -> String {
        let json = Json::parse(text.as_bytes()).expect("sound JSON");
        String::from_utf8(json.to_bytes()).expect("UTF-8")
    }

    #[test]
    fn prints_as_javascript_does() {
        for (text, want) in [
            (
                r#" { "b" : 1.0 , "a" : [ 1e21 , -0 , 1E2, 0.1e-6 ] } "#,
                r#"{"b":1,"a":[1e+21,0,100,1e-7]}"#,
            ),
            (
                r#"{"b":1,"10":2,"9":3,"01":4,"4294967295":5,"a":6}"#,
                r#"{"9":3,"10":2,"b":1,"01":4,"4294967295":5,"a":6}"#,
            ),
            (r#""\u00e9\u0026\/\u2028\u007f\u0001\b""#, "\"é&/\u{2028}\u{7f}\\u0001\\b\""),
            (r#""\ud83d\ude00""#, "\"😀\""),
            ("9007199254740991", "9007199254740991"),
            ("-9007199254740991", "-9007199254740991"),
            ("1e300", "1e+300"),
            (r#"{"":{"__proto__":null}}"#, r#"{"":{"__proto__":null}}"#),
        ] {
            assert_eq!(normal(text), want, "{text}");
        }
    }

    #[test]
    fn refuses_what_javascript_would_change() {
        for text in [
            "9007199254740992",
            "-9007199254740992",
            "[123456789012345678901234567890]",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#""\ud800""#,
            "1e400",
            "01",
            "{",
            "",
            "[1]x",
            "NaN",
        ] {
            assert!(Json::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Json::parse(b"\"\xff\"").is_err());
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(Json::parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_large_double_is_no_large_integer() {
        for text in ["1e20", "[9007199254740993.0]", r#"{"a":-1.5e300,"b":9007199254740991}"#] {
            assert!(Json::parse(text.as_bytes()).is_ok(), "{text}");
        }
        for text in ["[1e20,9007199254740993]", r#"{"a":"1","b":{"c":-18446744073709551616}}"#] {
            let refused = Json::parse(text.as_bytes());
            assert!(matches!(refused, Err(JsonError::Integer(_))), "{text}: {refused:?}");
        }
    }

    #[test]
    fn keys_are_unique_among_few_and_many() {
        for count in [2, KEYS_FEW, KEYS_FEW + 1, 4 * KEYS_FEW] {
            let object = |last: usize| {
                let fields: Vec<String> = (0..count).map(|key| format!(r#""k{key}":0"#)).collect();
                format!(r#"{{{},"k{last}":1}}"#, fields.join(","))
            };
            assert!(Json::parse(object(count).as_bytes()).is_ok(), "{count}");
            for last in 0..count {
                assert!(Json::parse(object(last).as_bytes()).is_err(), "{last} of {count}");
            }
        }
    }

    /// What `write_string` is to print, one character at a time.
    fn escaped(text: &str) -> String {
        let escape = |c: char| match c {
            '"' | '\\' => format!("\\{c}"),
            '\u{8}' => r"\b".to_owned(),
            '\u{c}' => r"\f".to_owned(),
            '\n' => r"\n".to_owned(),
            '\r' => r"\r".to_owned(),
            '\t' => r"\t".to_owned(),
            '\0'..' ' => format!(r"\u{:04x}", c as u32),
            other => other.to_string(),
        };
        format!("\"{}\"", text.chars().map(escape).collect::<String>())
    }

    proptest! {
        #[test]
        fn what_has_to_be_escaped_is_found_wherever_it_stands(
            clean in 0_usize..100,
            text in "[ -~é\u{0}-\u{1f}\"\\\\]{0,6}",
            behind in 0_usize..100,
        ) {
            let text = format!("{}{text}{}", "a".repeat(clean), "é".repeat(behind));
            let mut out = Vec::new();
            write_string(&text, &mut out);
            prop_assert_eq!(String::from_utf8(out).expect("UTF-8"), escaped(&text));
        }

        #[test]
        fn never_panics_and_is_a_fixed_point(text in "\\PC*") {
            if let Ok(json) = Json::parse(text.as_bytes()) {
                let once = json.to_bytes();
                prop_assert_eq!(Json::reread(&once).expect("own output").to_bytes(), once);
            }
        }

        #[test]
        fn doubles_round_trip(number in proptest::num::f64::NORMAL) {
            let text = Json::Number(number).to_bytes();
            prop_assert_eq!(Json::reread(&text).expect("own output"), Json::Number(number));
        }
    }
}
