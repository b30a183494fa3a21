//! From a value as it was given to a field that is set.
//!
//! Owns the types of values (TOML's, and the plain words of variables, flags and defaults), their
//! check against the table, and how they are shown again. Must never put a secret in a message.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::error::{Origin, Problem, Report, ValueError};
use super::settings::{Kind, Setting};
use super::units::{self, show_duration, show_size};

/// Longest value that a message repeats, in characters.
const SHOWN_CHARS_MAX: usize = 80;
/// What stands for a secret.
pub(super) const MASK: &str = "\"********\"";

/// A value as it was given.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    /// In TOML.
    Toml(&'a DeValue<'a>),
    /// As a plain text: a variable, a flag, a default or the content of a file.
    Word(&'a str),
}

/// A value, and what is needed to speak about it.
pub(super) struct Assignment<'a> {
    pub(super) section: &'a str,
    pub(super) origin: &'a Origin,
    pub(super) given: Given<'a>,
    /// Where relative paths start.
    pub(super) base: &'a Path,
    /// Finds the place of a part of the value.
    pub(super) place: &'a dyn Fn(std::ops::Range<usize>) -> Origin,
}

impl Assignment<'_> {
    /// Sets the field of `setting` in `draft`, and returns the value as TOML to show. What is
    /// wrong goes to `report`.
    pub(super) fn apply<T>(
        &self,
        setting: &Setting<T>,
        draft: &mut T,
        report: &mut Report,
    ) -> Option<String> {
        let shown = match &setting.kind {
            Kind::List { wants, empty_ok, add } => {
                let texts = self.texts(setting, wants, *empty_ok, report)?;
                self.add_all(setting, &texts, report, |text| add(draft, text).map(|()| text.into()))
            }
            Kind::Paths(add) => {
                let texts = self.texts(setting, "a list of paths", true, report)?;
                self.add_all(setting, &texts, report, |text| {
                    let path = self.path(text)?;
                    let shown = path.display().to_string();
                    add(draft, path);
                    Ok(shown)
                })
            }
            _ => match self.apply_single(setting, draft) {
                Ok(shown) => Some(shown),
                Err(error) => {
                    report.add(self.origin, self.wrong(setting, self.given, error));
                    None
                }
            },
        };
        if setting.secret { shown.map(|_| MASK.to_owned()) } else { shown }
    }

    fn apply_single<T>(&self, setting: &Setting<T>, draft: &mut T) -> Result<String, ValueError> {
        match &setting.kind {
            Kind::Text { wants, set } => {
                let text = self.text(wants)?;
                set(draft, text)?;
                Ok(quoted(text))
            }
            Kind::Path(set) => {
                let path = self.path(self.text("a path, in quotes")?)?;
                let shown = quoted(&path.display().to_string());
                set(draft, path);
                Ok(shown)
            }
            Kind::Count { min, max, set } => {
                let number = self.number()?.filter(|number| (*min..=*max).contains(number));
                let number = number.ok_or_else(|| range(min, max))?;
                set(draft, number);
                Ok(number.to_string())
            }
            Kind::Duration { min_ms, max_ms, set } => {
                let text = self.measure(units::UnitError::DurationUnitMissing)?;
                let ms = units::duration_ms(text)?;
                if !(*min_ms..=*max_ms).contains(&ms) {
                    return Err(range(&show_duration(*min_ms), &show_duration(*max_ms)));
                }
                set(draft, ms);
                Ok(quoted(text))
            }
            Kind::Size { min_bytes, max_bytes, set } => {
                let text = self.measure(units::UnitError::SizeUnitMissing)?;
                let bytes = units::size_bytes(text)?;
                let fits = usize::try_from(bytes).ok();
                let fits = fits.filter(|n| (*min_bytes..=*max_bytes).contains(n));
                set(
                    draft,
                    fits.ok_or_else(|| {
                        range(&show_size(*min_bytes as u64), &show_size(*max_bytes as u64))
                    })?,
                );
                Ok(quoted(text))
            }
            Kind::Flag(set) => {
                let flag = self.flag()?;
                set(draft, flag);
                Ok(flag.to_string())
            }
            Kind::List { .. } | Kind::Paths(_) => Ok(String::new()),
        }
    }

    fn text(&self, wants: &'static str) -> Result<&str, ValueError> {
        match self.given {
            Given::Word(text) => Ok(text),
            Given::Toml(DeValue::String(text)) => Ok(text),
            Given::Toml(other) => Err(ValueError::Type { wants, got: type_name(other) }),
        }
    }

    /// A whole number; none if it is beyond every setting's bounds.
    fn number(&self) -> Result<Option<u32>, ValueError> {
        const WANTED: &str = "a whole number";
        match self.given {
            Given::Word(text) => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                whole.then(|| text.parse().ok()).ok_or(ValueError::Not(WANTED))
            }
            Given::Toml(DeValue::Integer(number)) => {
                Ok(u32::from_str_radix(number.as_str(), number.radix()).ok())
            }
            Given::Toml(other) => Err(ValueError::Type { wants: WANTED, got: type_name(other) }),
        }
    }

    /// The text of a duration or size; a bare number is told to have no unit.
    fn measure(&self, unit_missing: units::UnitError) -> Result<&str, ValueError> {
        match self.given {
            Given::Toml(DeValue::Integer(_) | DeValue::Float(_)) => Err(unit_missing.into()),
            _ => self.text("a text with a unit"),
        }
    }

    fn flag(&self) -> Result<bool, ValueError> {
        match self.given {
            Given::Word("true") | Given::Toml(DeValue::Boolean(true)) => Ok(true),
            Given::Word("false") | Given::Toml(DeValue::Boolean(false)) => Ok(false),
            Given::Word(_) => Err(ValueError::Not("true or false")),
            Given::Toml(other) => {
                Err(ValueError::Type { wants: "true or false", got: type_name(other) })
            }
        }
    }

    fn path(&self, text: &str) -> Result<PathBuf, ValueError> {
        if text.is_empty() || text.contains('\0') {
            return Err(ValueError::Not("a path"));
        }
        Ok(self.base.join(text))
    }

    /// The elements of a list, each with its place; a plain text is split at commas and lines.
    fn texts<'s, T>(
        &'s self,
        setting: &Setting<T>,
        wants: &'static str,
        empty_ok: bool,
        report: &mut Report,
    ) -> Option<Vec<(Origin, &'s str)>> {
        let texts = match self.given {
            Given::Word(text) => words(text).map(|word| (self.origin.clone(), word)).collect(),
            Given::Toml(DeValue::Array(array)) => {
                let mut texts = Vec::new();
                for element in array.iter() {
                    texts.extend(self.element(setting, element, report));
                }
                // What was wrong has been said.
                if texts.len() < array.len() {
                    return None;
                }
                texts
            }
            Given::Toml(other) => {
                let got = type_name(other);
                let error = ValueError::Type { wants, got };
                report.add(self.origin, self.wrong(setting, self.given, error));
                return None;
            }
        };
        if texts.is_empty() && !empty_ok {
            report.add(self.origin, self.wrong(setting, self.given, ValueError::EmptyList));
            return None;
        }
        Some(texts)
    }

    fn element<'s, T>(
        &self,
        setting: &Setting<T>,
        element: &'s Spanned<DeValue<'_>>,
        report: &mut Report,
    ) -> Option<(Origin, &'s str)> {
        let place = (self.place)(element.span());
        match element.get_ref() {
            DeValue::String(text) => Some((place, text)),
            other => {
                let error = ValueError::Type { wants: "texts in quotes", got: type_name(other) };
                report.add(&place, self.wrong(setting, Given::Toml(other), error));
                None
            }
        }
    }

    fn add_all<T>(
        &self,
        setting: &Setting<T>,
        texts: &[(Origin, &str)],
        report: &mut Report,
        mut add: impl FnMut(&str) -> Result<String, ValueError>,
    ) -> Option<String> {
        let mut shown = Vec::new();
        for (place, text) in texts {
            match add(text) {
                Ok(added) => shown.push(quoted(&added)),
                Err(error) => report.add(place, self.wrong(setting, Given::Word(text), error)),
            }
        }
        (shown.len() == texts.len()).then(|| format!("[{}]", shown.join(", ")))
    }

    fn wrong<T>(&self, setting: &Setting<T>, given: Given<'_>, error: ValueError) -> Problem {
        Problem::Value {
            setting: format!("{} {}", self.section, setting.key),
            value: (!setting.secret).then(|| shown(given)),
            error,
        }
    }
}

/// The file that a `_file` twin names.
pub(super) fn file_name(given: Given<'_>) -> Result<&str, ValueError> {
    match given {
        Given::Word(name) => Ok(name),
        Given::Toml(DeValue::String(name)) => Ok(name),
        Given::Toml(other) => {
            Err(ValueError::Type { wants: "a path, in quotes", got: type_name(other) })
        }
    }
}

/// The words of a plain list: parted by commas or line ends, `#` opens a comment line.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

/// `text` as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a String can't fail.
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn shown(given: Given<'_>) -> String {
    let text = match given {
        Given::Word(text) => quoted(text),
        Given::Toml(DeValue::String(text)) => quoted(text),
        Given::Toml(DeValue::Integer(number)) => number.to_string(),
        Given::Toml(DeValue::Float(number)) => number.to_string(),
        Given::Toml(DeValue::Boolean(flag)) => flag.to_string(),
        Given::Toml(DeValue::Datetime(datetime)) => datetime.to_string(),
        Given::Toml(DeValue::Array(array)) if array.is_empty() => "[]".to_owned(),
        Given::Toml(DeValue::Array(_)) => "[…]".to_owned(),
        Given::Toml(DeValue::Table(_)) => "{…}".to_owned(),
    };
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn range(min: &impl ToString, max: &impl ToString) -> ValueError {
    ValueError::Range { min: min.to_string(), max: max.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lists() {
        let text = "a, b,,\n# c,d\n e \n";
        assert_eq!(words(text).collect::<Vec<_>>(), ["a", "b", "e"]);
        assert_eq!(words("").count(), 0);
    }

    #[test]
    fn quoting_survives_toml() {
        for text in ["plain", "a\"b\\c", "\u{1b}[31m\n\t\u{7f}\u{85}", "snö"] {
            let document = format!("x = {}", quoted(text));
            let table: toml::Table = document.parse().expect("TOML");
            assert_eq!(table["x"].as_str(), Some(text));
        }
    }
}
