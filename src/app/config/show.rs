//! The configuration written down: every setting with its documentation, or with its origin.
//!
//! Owns the text of `config default` and `config show`. Must never show a secret: what it prints
//! was masked when it was read.

use std::fmt::Write;

use super::Loaded;
use super::apply::quoted;
use super::checked::Config;
use super::error::Origin;
use super::settings::{Kind, PROJECT, PROJECT_DOC, SECTIONS, Setting, TARGET, TARGET_DOC};
use super::units::{show_duration, show_size};

/// Width of the documentation in `config default`, in characters.
const WIDTH_CHARS: usize = 96;

const INTRODUCTION: &str = "\
# Configuration of Postrider. Every setting is here with its default; remove the # to change it.
# A line that is `#key = value` is a setting, other comments explain.
#
# Flags come before variables, variables before this file. The variable of `key` in [section] is
# POSTRIDER_SECTION_KEY, lists with commas. Secrets can stand in a file of their own: the key with
# _file, the variable with _FILE. Relative paths here start at this file's folder.
# `postrider config check` finds mistakes, `postrider config show` tells what is in force and why.
";

/// A value that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Its section, without brackets.
    pub section: &'static str,
    /// Which entry, for `[[project]]` and `[[target]]`.
    pub entry: Option<usize>,
    /// Its key.
    pub key: &'static str,
    /// The value as TOML, masked if it is a secret.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

impl Loaded {
    /// The text of `config show`: TOML with the origin of every value.
    #[must_use]
    pub fn show(&self) -> String {
        let mut out = String::new();
        let mut last = None;
        for effective in &self.effective {
            let block = (effective.section, effective.entry);
            if last != Some(block) {
                let blank = if last.is_some() { "\n" } else { "" };
                let header = match effective.entry {
                    Some(_) => format!("[[{}]]", effective.section),
                    None => format!("[{}]", effective.section),
                };
                line(&mut out, format_args!("{blank}{header}"));
                last = Some(block);
            }
            let setting = format!("{} = {}", effective.key, effective.value);
            line(&mut out, format_args!("{setting:<48} # {}", effective.origin));
        }
        out
    }

    /// Where a value of a single section came from.
    #[must_use]
    pub fn origin(&self, section: &str, key: &str) -> Option<&Origin> {
        let found = self.effective.iter().find(|e| e.section == section && e.key == key);
        found.map(|effective| &effective.origin)
    }
}

/// The text of `config default`: every setting with its sentence, its type and its default.
#[must_use]
pub fn default_toml() -> String {
    let mut out = String::from(INTRODUCTION);
    for section in &SECTIONS {
        out.push('\n');
        comment(&mut out, section.doc);
        line(&mut out, format_args!("[{}]", section.name));
        for setting in section.settings {
            out.push('\n');
            document(&mut out, setting);
        }
    }
    entries(&mut out, "project", PROJECT_DOC, &PROJECT);
    entries(&mut out, "target", TARGET_DOC, &TARGET);
    out
}

fn entries<T>(out: &mut String, name: &str, doc: &str, settings: &[Setting<T>]) {
    out.push('\n');
    comment(out, &format!("{doc} The values are examples."));
    line(out, format_args!("#[[{name}]]"));
    for setting in settings {
        comment(out, &format!("{} {}", setting.doc, type_sentence(&setting.kind)));
        value(out, setting);
    }
}

fn document(out: &mut String, setting: &Setting<Config>) {
    let unset = setting.default.is_empty() && !setting.secret;
    let example = if unset { "Not set by default; this is an example." } else { "" };
    comment(out, &format!("{} {} {example}", setting.doc, type_sentence(&setting.kind)));
    value(out, setting);
}

fn value<T>(out: &mut String, setting: &Setting<T>) {
    if setting.secret {
        let form = if setting.kind.is_list() { "[\"…\"]" } else { "\"…\"" };
        comment(out, &format!("In place: {} = {form}. In a file of its own:", setting.key));
        let path = quoted(setting.example);
        return line(out, format_args!("#{}_file = {path}", setting.key));
    }
    let text = if setting.default.is_empty() { setting.example } else { setting.default };
    line(out, format_args!("#{} = {}", setting.key, toml_value(&setting.kind, text)));
}

fn type_sentence<T>(kind: &Kind<T>) -> String {
    match kind {
        Kind::Count { min, max, .. } => format!("A whole number, {min} to {max}."),
        Kind::Duration { min_ms, max_ms, .. } => {
            let (min, max) = (show_duration(*min_ms), show_duration(*max_ms));
            format!("A duration in ms, s, m, h or d, {min} to {max}.")
        }
        Kind::Size { min_bytes, max_bytes, .. } => {
            let (min, max) = (show_size(*min_bytes as u64), show_size(*max_bytes as u64));
            format!("A size in B, KiB, MiB or GiB (or KB, MB, GB), {min} to {max}.")
        }
        Kind::Text { .. } | Kind::List { .. } => String::new(),
        Kind::Path(_) | Kind::Paths(_) | Kind::Flag(_) => String::new(),
    }
}

impl<T> Kind<T> {
    /// Whether it takes a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Kind::List { .. } | Kind::Paths(_))
    }
}

fn toml_value<T>(kind: &Kind<T>, text: &str) -> String {
    match kind {
        Kind::Count { .. } | Kind::Flag(_) => text.to_owned(),
        Kind::List { .. } | Kind::Paths(_) => {
            let elements: Vec<String> = text.split(',').map(quoted).collect();
            format!("[{}]", elements.join(", "))
        }
        _ => quoted(text),
    }
}

/// A comment, broken at spaces.
fn comment(out: &mut String, text: &str) {
    let mut row = String::from("#");
    for word in text.split_whitespace() {
        if row.chars().count() + 1 + word.chars().count() > WIDTH_CHARS {
            line(out, format_args!("{row}"));
            row = String::from("#");
        }
        row.push(' ');
        row.push_str(word);
    }
    line(out, format_args!("{row}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = writeln!(out, "{text}");
}
