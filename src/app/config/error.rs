//! What can be wrong with a configuration, and where.
//!
//! Owns the errors of loading and their wording. Must never show a secret's value, and must never
//! stop at the first error: a person wants to see all of them.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use super::units::UnitError;
use crate::model::target::UrlError;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere: it is the setting's default.
    Default,
    /// In the configuration file. Line and column start at 1, columns count characters.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In the configuration file as a whole.
    WholeFile {
        /// The file.
        path: PathBuf,
    },
    /// In the environment.
    Environment {
        /// The variable.
        name: String,
    },
    /// In a credential that the service manager passed.
    Credential {
        /// Its file.
        path: PathBuf,
    },
    /// On the command line.
    Flag {
        /// The flag, with its hyphens.
        name: &'static str,
    },
}

impl Origin {
    /// The line, for a value of the configuration file.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match self {
            Origin::File { line, .. } => Some(*line),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Origin::WholeFile { path } => write!(f, "{}", path.display()),
            Origin::Environment { name } => write!(f, "env {name}"),
            Origin::Credential { path } => write!(f, "credential {}", path.display()),
            Origin::Flag { name } => write!(f, "flag {name}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    /// Where.
    pub origin: Origin,
    /// What.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// The configuration file can't be read.
    #[error("can't read it: {0}")]
    Unreadable(FileError),
    /// Not TOML.
    #[error("not valid TOML: {0}")]
    Syntax(String),
    /// A section that doesn't exist.
    #[error("unknown section [{name}]{hint}")]
    UnknownSection {
        /// Its name.
        name: String,
        /// What was meant, perhaps.
        hint: Hint,
    },
    /// A key outside any section.
    #[error("\"{name}\" stands outside of any section{hint}")]
    Sectionless {
        /// The key.
        name: String,
        /// Where it belongs, perhaps.
        hint: Hint,
    },
    /// A key that its section doesn't have.
    #[error("unknown key \"{key}\" in {section}{hint}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The section, in its brackets.
        section: String,
        /// What was meant, perhaps.
        hint: Hint,
    },
    /// A variable with our prefix that means nothing.
    #[error("unknown variable{hint}")]
    UnknownVariable {
        /// What was meant, perhaps.
        hint: Hint,
    },
    /// A section written as a value, an entry written as a section, or the other way round.
    #[error("write it as {wants}")]
    Shape {
        /// The header that it wants.
        wants: String,
    },
    /// A value that its setting can't take.
    #[error("{setting}{}: {error}", shown_value(.value.as_deref()))]
    Value {
        /// Section and key.
        setting: String,
        /// The value as it was given; none for a secret.
        value: Option<String>,
        /// Why not.
        error: ValueError,
    },
    /// A secret given twice.
    #[error("{setting} and {key}_file are both given; keep one of them")]
    BothForms {
        /// Section and key.
        setting: String,
        /// The key.
        key: &'static str,
    },
    /// An entry lacks what it can't do without.
    #[error("this {section} has no {key}")]
    Missing {
        /// The entry's section, in its brackets.
        section: &'static str,
        /// The key, or the keys of which one is wanted.
        key: &'static str,
    },
    /// Two entries say the same where each must differ.
    #[error("{setting}{} is the same as that of the entry on line {line}", shown_value(.value.as_deref()))]
    Duplicate {
        /// Section and key.
        setting: String,
        /// The value; none for a secret.
        value: Option<String>,
        /// Where the other one stands.
        line: usize,
    },
    /// Two settings that contradict each other.
    #[error("{greater} must not be more than {less}")]
    Order {
        /// The setting that is too large, with its value.
        greater: String,
        /// The setting that bounds it, with its value.
        less: String,
    },
}

/// Why a setting can't take a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// A number without a unit, or no number at all.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Another type than the setting has.
    #[error("wants {wants}, and this is {got}")]
    Type {
        /// The setting's type.
        wants: &'static str,
        /// The value's.
        got: &'static str,
    },
    /// Too small or too large.
    #[error("not between {min} and {max}")]
    Range {
        /// The smallest.
        min: String,
        /// The largest.
        max: String,
    },
    /// A text that is not what the setting takes.
    #[error("not {0}")]
    Not(&'static str),
    /// A list that needs an entry.
    #[error("the list is empty; leave the key out instead")]
    EmptyList,
    /// A URL or an origin that can't be used.
    #[error("{0}")]
    Url(#[from] UrlError),
    /// The file that the setting names can't be read.
    #[error("can't read that file: {0}")]
    File(FileError),
    /// Not UTF-8.
    #[error("not UTF-8 text")]
    NotText,
}

/// Why a file can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FileError {
    /// The system said so.
    #[error("{0}")]
    Io(String),
    /// Larger than [`super::FILE_BYTES_MAX`].
    #[error("larger than {} bytes", super::FILE_BYTES_MAX)]
    TooLarge,
    /// Not UTF-8.
    #[error("not UTF-8 text")]
    NotText,
}

/// The end of a message about an unknown name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint(pub Option<String>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(meant) => write!(f, "; did you mean {meant}?"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The errors found so far.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<ConfigError>);

impl Report {
    pub(super) fn add(&mut self, origin: &Origin, problem: Problem) {
        self.0.push(ConfigError { origin: origin.clone(), problem });
    }

    /// `value`, if nothing was wrong.
    pub(super) fn finish<T>(mut self, value: T) -> Result<T, ConfigErrors> {
        if self.0.is_empty() {
            return Ok(value);
        }
        // In the order of the file, whatever the order of finding; others as they were found.
        self.0.sort_by_key(|error| position(&error.origin));
        Err(ConfigErrors(self.0))
    }
}

fn position(origin: &Origin) -> (usize, usize) {
    match origin {
        Origin::File { line, column, .. } => (*line, *column),
        _ => (0, 0),
    }
}

fn shown_value(value: Option<&str>) -> String {
    value.map_or_else(String::new, |value| format!(" = {value}"))
}
