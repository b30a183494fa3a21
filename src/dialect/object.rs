//! A JSON object written key by key, in the order of the calls.
//!
//! Owns commas and braces. Must never sort, or print what `JSON.stringify` would print otherwise:
//! callers give it sound keys that are no array indexes.

use crate::model::json::{Json, write_string};

/// What most objects take, in bytes.
const BYTES_USUAL: usize = 256;

/// An object under construction.
#[derive(Debug)]
pub struct Object {
    out: Vec<u8>,
}

impl Default for Object {
    fn default() -> Object {
        Object::new()
    }
}

impl Object {
    /// An object without fields.
    #[must_use]
    pub fn new() -> Object {
        Object::with_room(BYTES_USUAL)
    }

    /// An object without fields, with room for so many bytes before its buffer has to grow.
    #[must_use]
    pub fn with_room(bytes: usize) -> Object {
        let mut out = Vec::with_capacity(bytes);
        out.push(b'{');
        Object { out }
    }

    /// Adds a string.
    #[must_use]
    pub fn text(mut self, key: &str, value: &str) -> Object {
        write_string(value, self.key(key));
        self
    }

    /// Adds a string or `null`.
    #[must_use]
    pub fn text_or_null(self, key: &str, value: Option<&str>) -> Object {
        match value {
            Some(text) => self.text(key, text),
            None => self.raw(key, b"null"),
        }
    }

    /// Adds an integer. Up to 2^53 - 1 it survives JavaScript.
    #[must_use]
    pub fn number(self, key: &str, value: u64) -> Object {
        self.raw(key, itoa::Buffer::new().format(value).as_bytes())
    }

    /// Adds an integer or `null`.
    #[must_use]
    pub fn number_or_null(self, key: &str, value: Option<u32>) -> Object {
        match value {
            Some(number) => self.number(key, u64::from(number)),
            None => self.raw(key, b"null"),
        }
    }

    /// Adds `true` or `false`.
    #[must_use]
    pub fn flag(self, key: &str, value: bool) -> Object {
        self.raw(key, if value { b"true" } else { b"false" })
    }

    /// Adds a value of a payload.
    #[must_use]
    pub fn json(mut self, key: &str, value: &Json) -> Object {
        value.write(self.key(key));
        self
    }

    /// Adds a value that is JSON text already.
    #[must_use]
    pub fn raw(mut self, key: &str, value: &[u8]) -> Object {
        self.key(key).extend_from_slice(value);
        self
    }

    /// Adds an array of strings.
    #[must_use]
    pub fn texts<'a>(self, key: &str, values: impl IntoIterator<Item = &'a str>) -> Object {
        let values = values.into_iter().map(|text| {
            let mut out = Vec::new();
            write_string(text, &mut out);
            out
        });
        self.raw(key, &array(values))
    }

    /// The finished text.
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }

    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        write_string(key, &mut self.out);
        self.out.push(b':');
        &mut self.out
    }
}

/// An array of values that are JSON text already.
#[must_use]
pub fn array(items: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = vec![b'['];
    for item in items {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(&item);
    }
    out.push(b']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_in_the_order_of_the_calls() {
        let object = Object::new()
            .number("b", 1)
            .text_or_null("a", None)
            .texts("c", ["\"", "é"])
            .raw("d", &Object::new().end())
            .flag("e", true);
        assert_eq!(object.end(), r#"{"b":1,"a":null,"c":["\"","é"],"d":{},"e":true}"#.as_bytes());
        assert_eq!(array([]), b"[]");
    }
}
