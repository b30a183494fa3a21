//! Variables of the environment: `POSTRIDER_SECTION_KEY`, and nothing else with our prefix.
//!
//! Owns which variables exist. Must never ask the process itself: the environment is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use super::error::{Hint, Origin, Problem, Report, ValueError};
use super::hint::nearest;
use super::raw::names;
use super::settings::{SECTIONS, Setting, variable};

/// The variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "POSTRIDER_CONFIG";
/// The service manager's data directory, which is `[store] path` where nothing else is given.
pub(super) const STATE_DIRECTORY: &str = "STATE_DIRECTORY";
/// The service manager's folder of secrets.
pub(super) const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

const PREFIX: &str = "POSTRIDER_";
/// Variables with our prefix that are no settings: they are read elsewhere.
const OTHERS: [&str; 2] = [CONFIG_VARIABLE, "POSTRIDER_EXTRA_CLIENTS"];

/// The variables that set something.
pub(super) struct Environment<'e> {
    variables: BTreeMap<&'e str, &'e str>,
}

/// A setting's variable.
pub(super) struct Found<'e> {
    pub(super) name: String,
    pub(super) text: &'e str,
    /// It names the file that holds the value.
    pub(super) twin: bool,
}

impl<'e> Environment<'e> {
    /// Sorts out what concerns the configuration. Unknown variables with our prefix, and values
    /// that are not text, go to `report`.
    pub(super) fn read(
        environment: &'e BTreeMap<String, OsString>,
        report: &mut Report,
    ) -> Environment<'e> {
        let known = known();
        let mut variables = BTreeMap::new();
        for (name, value) in environment {
            let service_manager = [STATE_DIRECTORY, CREDENTIALS_DIRECTORY].contains(&name.as_str());
            if !name.starts_with(PREFIX) && !service_manager {
                continue;
            }
            let origin = Origin::Environment { name: name.clone() };
            if !service_manager && !known.contains(name) {
                report.add(&origin, Problem::UnknownVariable { hint: hint(name, &known) });
            } else if let Some(text) = value.to_str() {
                variables.insert(name.as_str(), text);
            } else {
                let error = ValueError::NotText;
                report.add(&origin, Problem::Value { setting: name.clone(), value: None, error });
            }
        }
        Environment { variables }
    }

    /// The text of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&'e str> {
        self.variables.get(name).copied()
    }

    /// The variable of a setting, or its `_FILE` twin; the name of the twin if both are there.
    pub(super) fn find<T>(
        &self,
        section: &str,
        setting: &Setting<T>,
    ) -> Result<Option<Found<'e>>, String> {
        let name = variable(section, setting.key);
        let twin_name = format!("{name}_FILE");
        let value = self.get(&name);
        let twin = if setting.secret { self.get(&twin_name) } else { None };
        match (value, twin) {
            (Some(_), Some(_)) => Err(twin_name),
            (Some(text), None) => Ok(Some(Found { name, text, twin: false })),
            (None, Some(text)) => Ok(Some(Found { name: twin_name, text, twin: true })),
            (None, None) => Ok(None),
        }
    }
}

fn known() -> BTreeSet<String> {
    let settings = SECTIONS.iter().flat_map(|section| {
        names(section.settings).into_iter().map(|k| variable(section.name, &k))
    });
    settings.chain(OTHERS.map(str::to_owned)).collect()
}

/// The nearest variable, or the one that only lacks its section.
fn hint(name: &str, known: &BTreeSet<String>) -> Hint {
    let key = name.strip_prefix(PREFIX).unwrap_or(name);
    let ends_alike = |known: &&str| {
        known
            .strip_suffix(key)
            .is_some_and(|start| start.len() > PREFIX.len() && start.ends_with('_'))
    };
    // The prefix is the same in all of them and must not count as nearness.
    let near = nearest(key, known.iter().filter_map(|known| known.strip_prefix(PREFIX)));
    let whole = near.map(|near| format!("{PREFIX}{near}"));
    let suffix = || known.iter().map(String::as_str).find(ends_alike).map(str::to_owned);
    Hint(whole.or_else(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_variables_get_a_hint() {
        let known = known();
        for (name, meant) in [
            ("POSTRIDER_SERVER_LISEN", Some("POSTRIDER_SERVER_LISTEN")),
            ("POSTRIDER_LISTEN", Some("POSTRIDER_SERVER_LISTEN")),
            ("POSTRIDER_STORE_ENCRYPTION_KEY", Some("POSTRIDER_STORE_ENCRYPTION_KEYS")),
            ("POSTRIDER_CONFG", Some("POSTRIDER_CONFIG")),
            ("POSTRIDER_WHATEVER", None),
            ("POSTRIDER_", None),
        ] {
            assert_eq!(hint(name, &known).0.as_deref(), meant, "{name}");
        }
    }
}
