//! The configuration file as TOML with places: syntax, and names that nothing knows.
//!
//! Owns positions in the file and the check of its sections and keys. Must never look at a value.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Hint, Origin, Problem, Report};
use super::hint::nearest;
use super::settings::{PROJECT, SECTIONS, Setting, TARGET};

/// Sections that are lists of entries.
const ENTRY_SECTIONS: [&str; 2] = ["project", "target"];

/// A parsed file.
pub(super) struct Document<'t> {
    path: PathBuf,
    text: &'t str,
    table: DeTable<'t>,
}

/// A key's value in a table of the file.
pub(super) struct Found<'d> {
    pub(super) span: Range<usize>,
    pub(super) value: &'d DeValue<'d>,
    /// It names the file that holds the value.
    pub(super) twin: bool,
}

impl<'t> Document<'t> {
    /// Parses `text`. What is not TOML goes to `report`.
    pub(super) fn parse(path: &Path, text: &'t str, report: &mut Report) -> Option<Document<'t>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let document = Document { path: path.to_owned(), text, table: table.into_inner() };
        for error in &errors {
            let place = document.place(error.span().unwrap_or(0..0));
            report.add(&place, Problem::Syntax(error.message().to_owned()));
        }
        errors.is_empty().then_some(document)
    }

    /// Where a part of the file stands.
    pub(super) fn place(&self, span: Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::File {
            path: self.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The folder where relative paths of the file start.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// A section of single settings.
    pub(super) fn section(&self, name: &str) -> Option<&DeTable<'t>> {
        self.table.get(name)?.get_ref().as_table()
    }

    /// The entries of a section that is a list.
    pub(super) fn entries(&self, name: &str) -> Vec<(Origin, &DeTable<'t>)> {
        let array = self.table.get(name).and_then(|value| value.get_ref().as_array());
        let elements = array.into_iter().flat_map(|array| array.iter());
        elements
            .filter_map(|entry| Some((self.place(entry.span()), entry.get_ref().as_table()?)))
            .collect()
    }

    /// Reports sections and keys that don't exist, and those of the wrong shape.
    pub(super) fn check_names(&self, report: &mut Report) {
        for (name, value) in &self.table {
            let place = self.place(name.span());
            let name = name.get_ref().as_ref();
            let is_section = SECTIONS.iter().any(|section| section.name == name);
            match value.get_ref() {
                DeValue::Table(table) if is_section => self.check_section(name, table, report),
                value if ENTRY_SECTIONS.contains(&name) => {
                    self.check_entries(name, &place, value, report);
                }
                _ if is_section => report.add(&place, shape(format!("[{name}]"))),
                DeValue::Table(_) => report.add(&place, unknown_section(name)),
                DeValue::Array(array) if array.iter().any(|e| e.get_ref().is_table()) => {
                    report.add(&place, unknown_section(name));
                }
                _ => {
                    let hint = elsewhere(name, "");
                    report.add(&place, Problem::Sectionless { name: name.to_owned(), hint });
                }
            }
        }
    }

    fn check_section(&self, name: &str, table: &DeTable<'_>, report: &mut Report) {
        let settings = SECTIONS.iter().find(|s| s.name == name).map(|s| s.settings);
        let known = names(settings.unwrap_or_default());
        self.check_keys(&format!("[{name}]"), &known, table, report, |key| elsewhere(key, name));
    }

    fn check_entries(&self, name: &str, place: &Origin, value: &DeValue<'_>, report: &mut Report) {
        let header = format!("[[{name}]]");
        let known = if name == "project" { names(&PROJECT) } else { names(&TARGET) };
        let Some(array) = value.as_array() else {
            return report.add(place, shape(header));
        };
        for element in array.iter() {
            match element.get_ref() {
                DeValue::Table(table) => {
                    self.check_keys(&header, &known, table, report, |_| Hint::default());
                }
                _ => report.add(&self.place(element.span()), shape(header.clone())),
            }
        }
    }

    fn check_keys(
        &self,
        section: &str,
        known: &[String],
        table: &DeTable<'_>,
        report: &mut Report,
        otherwise: impl Fn(&str) -> Hint,
    ) {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if known.iter().any(|known| known == name) {
                continue;
            }
            let hint = match nearest(name, known.iter().map(String::as_str)) {
                Some(meant) => Hint(Some(format!("\"{meant}\""))),
                None => otherwise(name),
            };
            let problem =
                Problem::UnknownKey { key: name.to_owned(), section: section.to_owned(), hint };
            report.add(&self.place(key.span()), problem);
        }
    }
}

/// The value of `key` in `table`, or its `_file` twin; both at once are an error.
pub(super) fn find<'d, T>(
    table: &'d DeTable<'d>,
    setting: &Setting<T>,
) -> Result<Option<Found<'d>>, Range<usize>> {
    let value = table.get(setting.key);
    let twin_key = format!("{}_file", setting.key);
    let twin = if setting.secret { table.get(twin_key.as_str()) } else { None };
    let found = |value: &'d Spanned<DeValue<'d>>, twin| {
        Some(Found { span: value.span(), value: value.get_ref(), twin })
    };
    match (value, twin) {
        (Some(_), Some(twin)) => Err(twin.span()),
        (Some(value), None) => Ok(found(value, false)),
        (None, Some(twin)) => Ok(found(twin, true)),
        (None, None) => Ok(None),
    }
}

/// Whether `table` holds `key` in one of its forms.
pub(super) fn holds(table: &DeTable<'_>, key: &str) -> bool {
    table.contains_key(key) || table.contains_key(format!("{key}_file").as_str())
}

/// All keys of a section, twins included.
pub(super) fn names<T>(settings: &[Setting<T>]) -> Vec<String> {
    let mut names = Vec::new();
    for setting in settings {
        names.push(setting.key.to_owned());
        if setting.secret {
            names.push(format!("{}_file", setting.key));
        }
    }
    names
}

/// The section, other than `section`, that has `key`.
fn elsewhere(key: &str, section: &str) -> Hint {
    let other = SECTIONS
        .iter()
        .filter(|other| other.name != section)
        .find(|other| names(other.settings).iter().any(|known| known == key));
    Hint(other.map(|other| format!("\"{key}\" of [{}]", other.name)))
}

fn shape(wants: String) -> Problem {
    Problem::Shape { wants }
}

fn unknown_section(name: &str) -> Problem {
    let entry = nearest(name, ENTRY_SECTIONS).map(|meant| format!("[[{meant}]]"));
    let single = nearest(name, SECTIONS.iter().map(|s| s.name)).map(|meant| format!("[{meant}]"));
    Problem::UnknownSection { name: name.to_owned(), hint: Hint(entry.or(single)) }
}
