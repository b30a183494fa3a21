//! One log line: its parts, its escaping and its length.
//!
//! Owns the text of all three forms. Must never let a control character through, and never make a
//! line that is longer than [`LINE_BYTES_MAX`] or, in JSON, cut in the middle.

use std::fmt::Write;

use tracing::Level;

use super::{Form, priority};
use crate::model::time::Wall;

/// The longest line, in bytes, its end included.
pub const LINE_BYTES_MAX: usize = 8 * 1024;
/// The longest message or value, in bytes, after escaping.
const VALUE_BYTES_MAX: usize = 4 * 1024;
/// What a line needs after its last field.
const TAIL_BYTES_MAX: usize = 32;

const RESET: &str = "\u{1b}[0m";
const DIM: &str = "\u{1b}[2m";

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A text, to be escaped.
    Text(String),
    /// A number or a boolean, as it stands.
    Bare(String),
}

/// The fields of a line, in order, and its message.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    message: Option<String>,
    values: Vec<(&'static str, Value)>,
}

/// What every line has.
pub(super) struct Line<'l> {
    pub(super) now: Wall,
    pub(super) level: Level,
    pub(super) target: &'l str,
}

impl Fields {
    /// Sets a field; the last value of a name stands.
    pub(super) fn set(&mut self, name: &'static str, value: Value) {
        if name == "message" {
            let (Value::Text(text) | Value::Bare(text)) = value;
            self.message = Some(text);
        } else if let Some(field) = self.values.iter_mut().find(|(known, _)| *known == name) {
            field.1 = value;
        } else {
            self.values.push((name, value));
        }
    }

    /// Takes the fields of `other`, without its message.
    pub(super) fn extend(&mut self, other: &Fields) {
        for (name, value) in &other.values {
            self.set(name, value.clone());
        }
    }

    fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }
}

impl Line<'_> {
    /// The whole line.
    pub(super) fn write(&self, form: Form, fields: &Fields) -> String {
        let mut out = match form {
            Form::Json => self.json(fields),
            Form::Pretty { colour } => {
                let mut out = self.pretty_head(colour);
                push_plain(&mut out, fields, colour);
                out
            }
            Form::Journald => {
                let mut out = format!("<{}>", priority(self.level));
                push_plain(&mut out, fields, false);
                out
            }
        };
        out.push('\n');
        out
    }

    fn pretty_head(&self, colour: bool) -> String {
        let timestamp = self.now.rfc3339_micros();
        let time = timestamp.get(11..23).unwrap_or(&timestamp);
        let level = format!("{:>5}", self.level.as_str());
        if colour {
            format!("{DIM}{time}{RESET} {}{level}{RESET} ", colour_of(self.level))
        } else {
            format!("{time} {level} ")
        }
    }

    fn json(&self, fields: &Fields) -> String {
        let mut out = format!("{{\"timestamp\":\"{}\"", self.now.rfc3339_micros());
        let level = self.level.as_str().to_ascii_lowercase();
        push_json(&mut out, "level", &Value::Text(level));
        push_json(&mut out, "target", &Value::Text(self.target.to_owned()));
        push_json(&mut out, "message", &Value::Text(fields.message().to_owned()));
        for (name, value) in &fields.values {
            let own = ["timestamp", "level", "target", "truncated"].contains(name);
            let name = if own { format!("{name}_") } else { (*name).to_owned() };
            if !push_json(&mut out, &name, value) {
                out.push_str(",\"truncated\":true");
                break;
            }
        }
        out.push('}');
        out
    }
}

/// The message and `name=value` for each field.
fn push_plain(out: &mut String, fields: &Fields, colour: bool) {
    out.push_str(&escaped(fields.message(), Escape::Plain));
    for (name, value) in &fields.values {
        let name = escaped(name, Escape::Plain);
        let name = if colour { format!("{DIM}{name}={RESET}") } else { format!("{name}=") };
        let field = format!(" {name}{}", plain(value));
        if out.len() + field.len() + TAIL_BYTES_MAX > LINE_BYTES_MAX {
            out.push_str(" …");
            return;
        }
        out.push_str(&field);
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Bare(text) => text.clone(),
        Value::Text(text) => {
            let simple = |c: char| c.is_alphanumeric() || "-_.:/@+,[]()*%…".contains(c);
            if !text.is_empty() && text.chars().all(simple) {
                escaped(text, Escape::Plain)
            } else {
                format!("\"{}\"", escaped(text, Escape::Quoted))
            }
        }
    }
}

/// Appends a member, unless the line would be too long.
fn push_json(out: &mut String, name: &str, value: &Value) -> bool {
    let value = match value {
        Value::Bare(text) => text.clone(),
        Value::Text(text) => format!("\"{}\"", escaped(text, Escape::Json)),
    };
    let member = format!(",\"{}\":{value}", escaped(name, Escape::Json));
    let fits = out.len() + member.len() + TAIL_BYTES_MAX <= LINE_BYTES_MAX;
    if fits {
        out.push_str(&member);
    }
    fits
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// Control characters alone.
    Plain,
    /// And quotes and backslashes.
    Quoted,
    /// As JSON wants it.
    Json,
}

/// `text` without anything that could steer a terminal or end a line, cut at
/// [`VALUE_BYTES_MAX`].
fn escaped(text: &str, escape: Escape) -> String {
    let mut out = String::with_capacity(text.len().min(VALUE_BYTES_MAX));
    for c in text.chars() {
        if out.len() > VALUE_BYTES_MAX {
            out.push('…');
            break;
        }
        match c {
            '"' | '\\' if escape != Escape::Plain => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if steers(c) => {
                let code = c as u32;
                // Writing to a String can't fail.
                let _ = match escape {
                    Escape::Json => write!(out, "\\u{code:04x}"),
                    Escape::Plain | Escape::Quoted => write!(out, "\\u{{{code:x}}}"),
                };
            }
            c => out.push(c),
        }
    }
    out
}

/// Control characters, line separators, and marks that reverse the direction of a text.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn colour_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line<'_> = Line { now: Wall(0), level: Level::INFO, target: "postrider" };
    const FORMS: [Form; 4] =
        [Form::Json, Form::Journald, Form::Pretty { colour: false }, Form::Pretty { colour: true }];

    fn fields(message: &str, values: &[(&'static str, &str)]) -> Fields {
        let mut fields = Fields::default();
        fields.set("message", Value::Text(message.to_owned()));
        for (name, value) in values {
            fields.set(name, Value::Text((*value).to_owned()));
        }
        fields
    }

    #[test]
    fn long_lines_are_capped_and_json_stays_whole() {
        for filler in ["x", "\u{1b}", "\"", "é", "\u{202e}"] {
            let long = filler.repeat(20_000);
            let names = [("a", &*long), ("b", "1"), ("c", &*long), ("d", "2"), ("e", &*long)];
            for (message, values) in [(&*long, &names[..]), ("short", &names[..]), (&*long, &[])] {
                for form in FORMS {
                    let line = LINE.write(form, &fields(message, values));
                    assert!(line.len() <= LINE_BYTES_MAX, "{form:?} {} {filler:?}", line.len());
                    assert!(line.ends_with('\n') && line.contains('…'), "{form:?} {filler:?}");
                    if form == Form::Json {
                        let whole = serde_json::from_str::<serde_json::Value>(&line);
                        assert!(whole.is_ok(), "{line}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_steers_a_terminal() {
        let hostile: String = ('\0'..='\u{3000}').filter(|c| steers(*c)).collect();
        assert!(hostile.contains('\u{9b}') && hostile.contains('\u{7f}'));
        for form in FORMS.iter().filter(|form| **form != Form::Pretty { colour: true }) {
            let line = LINE.write(*form, &fields(&hostile, &[("value", &hostile)]));
            let body = line.strip_suffix('\n').expect("a line end");
            assert!(!body.contains(steers), "{form:?} {body:?}");
        }
        let line = LINE.write(Form::Json, &fields(&hostile, &[]));
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(json["message"], hostile);
    }

    #[test]
    fn names_of_our_own_are_kept() {
        let line =
            LINE.write(Form::Json, &fields("m", &[("level", "low"), ("a", "1"), ("a", "2")]));
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&json["level"], &json["level_"]), (&"info".into(), &"low".into()));
        assert_eq!(line.matches("\"a\"").count(), 1);
        assert_eq!(json["a"], "2");
    }
}
