//! `config`: check it, show it, print one to start from.
//!
//! Owns what is said of it. Must never show a secret.

use crate::app::Stop;
use crate::app::args::{Config as Arguments, ConfigVerb};
use crate::app::config::{Loaded, default_toml};
use crate::app::exit::Exit;
use crate::app::terminal::say;

pub(crate) fn run(
    arguments: &Arguments,
    load: impl FnOnce() -> Result<Loaded, Stop>,
) -> Result<Exit, Stop> {
    match &arguments.verb {
        ConfigVerb::Default => say(default_toml().trim_end()),
        ConfigVerb::Show => say(load()?.show().trim_end()),
        ConfigVerb::Check { .. } => {
            let loaded = load()?;
            match loaded.file {
                Some(path) => say(&format!("{} is sound", path.display())),
                None => say("the configuration is sound; no file was read"),
            }
        }
    }
    Ok(Exit::Ok)
}
