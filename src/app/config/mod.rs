//! Configuration: one TOML file, the environment and flags, checked into plain data.
//!
//! Owns reading, precedence (flags, then environment, then file, then defaults), checking and the
//! documentation of every setting. Must never act on a setting, and never show a secret.
//!
//! `settings` is the one table; `raw` (the file), `env` (variables) and [`FlagValue`] give values,
//! `apply` checks one value against the table, `entries` does so for `[[project]]` and
//! `[[target]]`, and `checked` is what comes out. `show` writes it down again.
//!
//! Relative paths in the file start at the file's folder; those of variables, flags and defaults
//! start at the working directory.

mod apply;
mod checked;
mod entries;
mod env;
mod error;
mod hint;
mod raw;
mod settings;
mod show;
pub mod units;
mod words;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use checked::{
    Config, Delivery, EncryptionKey, Log, LogFormat, LogLevel, ProjectEntry, Proxy, Publish,
    Server, Store, TargetEntry,
};
pub use env::CONFIG_VARIABLE;
pub use error::{ConfigError, ConfigErrors, FileError, Hint, Origin, Problem, ValueError};
pub use show::{Effective, default_toml};

use apply::{Assignment, Given};
use checked::Contradiction;
use env::Environment;
use error::Report;
use raw::Document;
use settings::{SECTIONS, Section, Setting};

/// The largest configuration or secret file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// The file that is read where none is named, if it exists.
pub const FILE_DEFAULT: &str = "postrider.toml";

/// Where a configuration comes from. Everything that is read from outside passes through here.
pub struct Sources<'s> {
    /// The file named by `--config`; it has to exist.
    pub file: Option<PathBuf>,
    /// Settings given as flags.
    pub flags: Vec<FlagValue>,
    /// The environment.
    pub environment: BTreeMap<String, OsString>,
    /// Reads a file: its first [`FILE_BYTES_MAX`] bytes and one more, if it has them.
    pub read: &'s dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

/// A setting given as a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValue {
    flag: &'static str,
    section: &'static str,
    key: &'static str,
    value: String,
}

/// A checked configuration, and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Every value with its origin, in the order of the documentation; secrets are masked.
    pub effective: Vec<Effective>,
}

impl Config {
    /// Reads and checks everything. All errors are reported, not only the first.
    pub fn load(sources: &Sources<'_>) -> Result<Loaded, ConfigErrors> {
        let mut report = Report::default();
        let environment = Environment::read(&sources.environment, &mut report);
        let file = read_file(sources, &environment, &mut report);
        let document = file
            .as_ref()
            .and_then(|(path, text)| Document::parse(path, text.as_str(), &mut report));
        if let Some(document) = &document {
            document.check_names(&mut report);
        }
        let mut loader =
            Loader { sources, environment, document: document.as_ref(), report, effective: vec![] };
        let mut config = Config::blank();
        for section in &SECTIONS {
            for setting in section.settings {
                loader.resolve(section, setting, &mut config);
            }
        }
        loader.finish_paths(&mut config);
        loader.entries(&mut config);
        loader.contradictions(&config);
        let Loader { report, effective, .. } = loader;
        report.finish(Loaded { config, file: file.map(|(path, _)| path), effective })
    }
}

impl FlagValue {
    /// `--listen`.
    #[must_use]
    pub fn listen(value: String) -> FlagValue {
        FlagValue { flag: "--listen", section: "server", key: "listen", value }
    }

    /// `--data`.
    #[must_use]
    pub fn data(value: String) -> FlagValue {
        FlagValue { flag: "--data", section: "store", key: "path", value }
    }

    /// `--control`.
    #[must_use]
    pub fn control(value: String) -> FlagValue {
        FlagValue { flag: "--control", section: "server", key: "control_socket", value }
    }

    /// `--log-format`.
    #[must_use]
    pub fn log_format(value: String) -> FlagValue {
        FlagValue { flag: "--log-format", section: "log", key: "format", value }
    }
}

impl Sources<'static> {
    /// The environment and the files of this process.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<FlagValue>) -> Sources<'static> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        Sources { file, flags, environment, read: &read_start }
    }

    /// Nothing: every setting keeps its default.
    #[must_use]
    pub fn none() -> Sources<'static> {
        let read = &|_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
        Sources { file: None, flags: Vec::new(), environment: BTreeMap::new(), read }
    }
}

fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The configuration file: the named one, or the usual one if it exists.
fn read_file(
    sources: &Sources<'_>,
    environment: &Environment<'_>,
    report: &mut Report,
) -> Option<(PathBuf, Zeroizing<String>)> {
    let named =
        sources.file.clone().or_else(|| environment.get(CONFIG_VARIABLE).map(PathBuf::from));
    let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE_DEFAULT));
    match read_text(sources, &path) {
        Ok(Some(text)) => Some((path, text)),
        Ok(None) if named.is_none() => None,
        absent_or_broken => {
            let why = absent_or_broken.err().unwrap_or_else(absent);
            report.add(&Origin::WholeFile { path }, Problem::Unreadable(why));
            None
        }
    }
}

/// The text of a file; none if there is no such file.
fn read_text(sources: &Sources<'_>, path: &Path) -> Result<Option<Zeroizing<String>>, FileError> {
    let bytes = match (sources.read)(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::Io(error.to_string())),
    };
    if bytes.len() > FILE_BYTES_MAX {
        return Err(FileError::TooLarge);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| FileError::NotText)?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

fn absent() -> FileError {
    FileError::Io("there is no such file".to_owned())
}

/// A configuration on its way.
struct Loader<'s> {
    sources: &'s Sources<'s>,
    environment: Environment<'s>,
    document: Option<&'s Document<'s>>,
    report: Report,
    effective: Vec<Effective>,
}

/// The value that won.
struct Pick<'p> {
    origin: Origin,
    given: Given<'p>,
    base: &'p Path,
    /// The value is the name of the file that holds it.
    twin: bool,
}

impl<'s> Loader<'s> {
    fn resolve(&mut self, section: &'s Section, setting: &'s Setting<Config>, config: &mut Config) {
        let pick = self
            .flag(section, setting)
            .or_else(|| self.variable(section, setting))
            .or_else(|| self.in_file(section, setting))
            .or_else(|| self.state_directory(section, setting));
        let header = format!("[{}]", section.name);
        if let Some(pick) = pick {
            let shown = self.assign(&header, setting, &pick, config);
            return self.note(section.name, None, setting.key, shown, pick.origin);
        }
        if setting.secret && self.credential(section, setting, config) {
            return;
        }
        let shown = if setting.default.is_empty() {
            setting.kind.is_list().then(|| "[]".to_owned())
        } else {
            let given = Given::Word(setting.default);
            let pick = Pick { origin: Origin::Default, given, base: Path::new(""), twin: false };
            self.assign(&header, setting, &pick, config)
        };
        self.note(section.name, None, setting.key, shown, Origin::Default);
    }

    fn flag(&self, section: &Section, setting: &Setting<Config>) -> Option<Pick<'s>> {
        let sources = self.sources;
        let named = |flag: &&FlagValue| flag.section == section.name && flag.key == setting.key;
        let flag = sources.flags.iter().find(named)?;
        Some(Pick {
            origin: Origin::Flag { name: flag.flag },
            given: Given::Word(&flag.value),
            base: Path::new(""),
            twin: false,
        })
    }

    fn variable(&mut self, section: &Section, setting: &Setting<Config>) -> Option<Pick<'s>> {
        match self.environment.find(section.name, setting) {
            Ok(found) => {
                let found = found?;
                let origin = Origin::Environment { name: found.name };
                let given = Given::Word(found.text);
                Some(Pick { origin, given, base: Path::new(""), twin: found.twin })
            }
            Err(name) => {
                let setting_name = format!("[{}] {}", section.name, setting.key);
                let problem = Problem::BothForms { setting: setting_name, key: setting.key };
                self.report.add(&Origin::Environment { name }, problem);
                None
            }
        }
    }

    fn in_file(&mut self, section: &Section, setting: &Setting<Config>) -> Option<Pick<'s>> {
        let document = self.document?;
        let table = document.section(section.name)?;
        self.in_table(&format!("[{}]", section.name), setting, document, table)
    }

    /// The value of a key in a table of the file.
    fn in_table<T>(
        &mut self,
        header: &str,
        setting: &Setting<T>,
        document: &'s Document<'s>,
        table: &'s toml::de::DeTable<'s>,
    ) -> Option<Pick<'s>> {
        match raw::find(table, setting) {
            Ok(found) => {
                let found = found?;
                let origin = document.place(found.span);
                let given = Given::Toml(found.value);
                Some(Pick { origin, given, base: document.folder(), twin: found.twin })
            }
            Err(span) => {
                let setting_name = format!("{header} {}", setting.key);
                let problem = Problem::BothForms { setting: setting_name, key: setting.key };
                self.report.add(&document.place(span), problem);
                None
            }
        }
    }

    /// `$STATE_DIRECTORY`, of which there may be several, parted by colons.
    fn state_directory(&self, section: &Section, setting: &Setting<Config>) -> Option<Pick<'s>> {
        if (section.name, setting.key) != ("store", "path") {
            return None;
        }
        let first = self.environment.get(env::STATE_DIRECTORY)?.split(':').next()?;
        let origin = Origin::Environment { name: env::STATE_DIRECTORY.to_owned() };
        let given = Given::Word(first);
        (!first.is_empty()).then_some(Pick { origin, given, base: Path::new(""), twin: false })
    }

    /// A credential of the service manager with the setting's name, if there is one.
    fn credential(
        &mut self,
        section: &Section,
        setting: &Setting<Config>,
        config: &mut Config,
    ) -> bool {
        let Some(folder) = self.environment.get(env::CREDENTIALS_DIRECTORY) else {
            return false;
        };
        let path = Path::new(folder).join(setting.key);
        let header = format!("[{}]", section.name);
        let text = read_text(self.sources, &path);
        let origin = Origin::Credential { path };
        match text {
            Ok(None) => return false,
            Ok(Some(text)) => {
                let given = Given::Word(text.trim());
                let pick = Pick { origin: origin.clone(), given, base: Path::new(""), twin: false };
                let shown = self.assign(&header, setting, &pick, config);
                self.note(section.name, None, setting.key, shown, origin);
            }
            Err(why) => {
                let setting = format!("{header} {}", setting.key);
                let error = ValueError::File(why);
                self.report.add(&origin, Problem::Value { setting, value: None, error });
            }
        }
        true
    }

    /// Checks and sets a value, after reading the file that holds it where it is a twin.
    fn assign<T>(
        &mut self,
        header: &str,
        setting: &Setting<T>,
        pick: &Pick<'_>,
        draft: &mut T,
    ) -> Option<String> {
        let Pick { origin, given, base, twin } = pick;
        let content;
        let given = if *twin {
            content = self.content(header, setting.key, pick)?;
            Given::Word(content.trim())
        } else {
            *given
        };
        let document = self.document;
        let place = |span| match (document, origin) {
            (Some(document), Origin::File { .. }) => document.place(span),
            _ => origin.clone(),
        };
        let assignment = Assignment { section: header, origin, given, base, place: &place };
        assignment.apply(setting, draft, &mut self.report)
    }

    /// What stands in the file that a `_file` twin names.
    fn content(&mut self, header: &str, key: &str, pick: &Pick<'_>) -> Option<Zeroizing<String>> {
        let (shown, read) = match apply::file_name(pick.given) {
            Ok(name) => {
                let text = read_text(self.sources, &pick.base.join(name));
                let text = text.and_then(|text| text.ok_or_else(absent));
                (Some(apply::quoted(name)), text.map_err(ValueError::File))
            }
            Err(error) => (None, Err(error)),
        };
        match read {
            Ok(text) => Some(text),
            Err(error) => {
                let setting = format!("{header} {key}_file");
                self.report.add(&pick.origin, Problem::Value { setting, value: shown, error });
                None
            }
        }
    }

    fn note(
        &mut self,
        section: &'static str,
        entry: Option<usize>,
        key: &'static str,
        value: Option<String>,
        origin: Origin,
    ) {
        if let Some(value) = value {
            self.effective.push(Effective { section, entry, key, value, origin });
        }
    }

    /// The control socket stands in the data directory unless it was put elsewhere.
    fn finish_paths(&mut self, config: &mut Config) {
        if config.server.control_socket.as_os_str().is_empty() {
            config.server.control_socket = config.store.path.join("control.sock");
            let shown = apply::quoted(&config.server.control_socket.display().to_string());
            let after_listen = 1.min(self.effective.len());
            self.effective.insert(
                after_listen,
                Effective {
                    section: "server",
                    entry: None,
                    key: "control_socket",
                    value: shown,
                    origin: Origin::Default,
                },
            );
        }
    }

    fn contradictions(&mut self, config: &Config) {
        for Contradiction { section, greater, less, problem } in config.contradictions() {
            let origin = |key| {
                let found = self.effective.iter().find(|e| (e.section, e.key) == (section, key));
                found.map(|effective| effective.origin.clone())
            };
            // A value that could not be read is blank, and has been reported.
            if let (Some(greater), Some(less)) = (origin(greater), origin(less)) {
                let place = if greater == Origin::Default { less } else { greater };
                self.report.add(&place, problem);
            }
        }
    }
}
