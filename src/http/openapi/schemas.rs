//! Schemas that several families share, and how schemas are written here.
//!
//! Owns the shapes of errors, of ids and of times. Must never hold a word or a limit of its own:
//! those are the code's. Objects are open, so that a client which checks what it gets survives a
//! field more; the tests close them, so that no field is added without being described.

use serde_json::{Map, Value, json};

use crate::model::event::{EVENT_NAME_BYTES_MAX, Kind};
use crate::model::ids::ALNUM_CHARS;
use crate::model::project::KEY_BYTES_MAX;

/// Schemas by name.
pub(super) type Schemas = Vec<(&'static str, Value)>;

/// A schema among the components.
pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The name of an object's schema as a form sends it.
pub(super) fn form_name(name: &str) -> String {
    format!("{name}Form")
}

/// An object that has all of these fields.
pub(super) fn object(fields: Value) -> Value {
    object_with(fields, &[])
}

/// An object that has these fields, some of which may be absent.
pub(super) fn object_with(fields: Value, optional: &[&str]) -> Value {
    let names = fields.as_object().into_iter().flat_map(Map::keys);
    let required: Vec<&String> = names.filter(|name| !optional.contains(&name.as_str())).collect();
    let mut schema = json!({"type": "object", "properties": fields});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// An object of a request: what has to be there, and no field that is not known where such are
/// refused.
pub(super) fn request(fields: Value, required: &[&str], closed: bool) -> Value {
    let mut schema = json!({"type": "object", "properties": fields});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if closed {
        schema["additionalProperties"] = json!(false);
    }
    schema
}

/// The fields of a request's object as a form sends them: objects as JSON text, booleans and
/// numbers as texts, and arrays with `[]` behind their name.
pub(super) fn form(schema: &Value) -> Value {
    let mut form = schema.clone();
    let field = |(name, field): (&String, &Value)| {
        let kinds = kinds(field);
        let is = |kind: &str| kinds.contains(&kind);
        match () {
            () if is("array") => {
                (format!("{name}[]"), json!({"type": "array", "items": {"type": "string"}}))
            }
            () if is("object") => {
                (name.clone(), json!({"type": "string", "description": "An object, as JSON text."}))
            }
            () if is("boolean") => (name.clone(), json!({"enum": ["true", "false", "1", "0"]})),
            () if is("null") => {
                let mut field = field.clone();
                field["type"] = json!(kinds.iter().find(|kind| **kind != "null"));
                (name.clone(), field)
            }
            () => (name.clone(), field.clone()),
        }
    };
    let properties = schema["properties"].as_object();
    form["properties"] = properties.into_iter().flatten().map(field).collect();
    if let Some(required) = schema["required"].as_array() {
        let in_form = |name: &&Value| {
            name.as_str().is_some_and(|name| form["properties"].get(name).is_some())
        };
        form["required"] = required.iter().filter(in_form).cloned().collect();
    }
    form
}

/// The types that a schema allows.
fn kinds(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn text() -> Value {
    json!({"type": "string"})
}

pub(super) fn text_of(chars_min: usize, chars_max: usize) -> Value {
    json!({"type": "string", "minLength": chars_min, "maxLength": chars_max})
}

pub(super) fn flag() -> Value {
    json!({"type": "boolean"})
}

pub(super) fn one_of(words: impl IntoIterator<Item = &'static str>) -> Value {
    json!({"type": "string", "enum": words.into_iter().collect::<Vec<_>>()})
}

/// A whole number that is not negative.
pub(super) fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

pub(super) fn number(min: u64, max: u64) -> Value {
    json!({"type": "integer", "minimum": min, "maximum": max})
}

/// The same, or `null`.
pub(super) fn or_null(mut schema: Value) -> Value {
    if let Some(kind) = schema["type"].as_str() {
        schema["type"] = json!([kind, "null"]);
        if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            words.push(Value::Null);
        }
        return schema;
    }
    json!({"anyOf": [schema, {"type": "null"}]})
}

pub(super) fn array_of(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

/// `2026-11-21T16:54:33.000000Z`
pub(super) fn instant() -> Value {
    json!({
        "type": "string",
        "format": "date-time",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
    })
}

/// `{prefix}` and 26 characters of Crockford's base 32.
pub(super) fn crockford(prefix: &str) -> Value {
    json!({"type": "string", "pattern": format!("^{prefix}[0-9A-HJKMNP-TV-Z]{{26}}$")})
}

/// `{prefix}` and 22 letters and digits.
pub(super) fn alnum(prefix: &str) -> Value {
    json!({"type": "string", "pattern": format!("^{prefix}[0-9A-Za-z]{{{ALNUM_CHARS}}}$")})
}

/// An integer id, small enough for clients that hold it in 32 bits with a sign.
pub(super) fn integer_id() -> Value {
    number(1, i32::MAX as u64)
}

/// A name of an event: of a dialect, as these are, or a custom type.
pub(super) fn event_name<'a>(known: impl IntoIterator<Item = &'a str>) -> Value {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    json!({
        "type": "string",
        "pattern": format!("^[A-Za-z0-9_.-]{{1,{EVENT_NAME_BYTES_MAX}}}$"),
        "examples": known,
    })
}

/// All kinds that have a name of their own.
pub(super) fn named_kinds() -> impl Iterator<Item = Kind> {
    crate::http::metrics::KINDS.into_iter().filter(|kind| *kind != Kind::Custom)
}

/// A parameter of a path.
pub(super) fn in_path(name: &str, text: &str, schema: Value) -> Value {
    json!({"name": name, "in": "path", "required": true, "description": text, "schema": schema})
}

/// A parameter of the query.
pub(super) fn in_query(name: &str, text: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "description": text, "schema": schema})
}

/// A request's header.
pub(super) fn in_header(name: &str, text: &str, schema: Value) -> Value {
    json!({"name": name, "in": "header", "description": text, "schema": schema})
}

/// `{project}`: its id or its public key.
pub(super) fn project_in_path() -> Value {
    in_path("project", "The project's id or its public key.", text_of(1, KEY_BYTES_MAX))
}

/// The shapes of errors.
pub(super) fn schemas() -> Schemas {
    let texts = json!({"type": "array", "minItems": 1, "items": text()});
    vec![
        ("Detail", object(json!({"detail": text()}))),
        (
            "FieldErrors",
            json!({
                "type": "object",
                "description": "What is wrong with each field; `non_field_errors` is about none of them.",
                "minProperties": 1,
                "additionalProperties": texts,
            }),
        ),
        ("Refusal", json!({"anyOf": [reference("Detail"), reference("FieldErrors")]})),
        ("Errors", object(json!({"errors": texts}))),
    ]
}
