//! `version`: which postrider this is.
//!
//! Owns the line. Must never need a configuration.

use crate::app::Stop;
use crate::app::exit::Exit;
use crate::app::terminal::say;
use crate::dialect::object::Object;

pub(crate) fn run(json: bool) -> Result<Exit, Stop> {
    let version = env!("CARGO_PKG_VERSION");
    if json {
        let line = Object::new().text("name", "postrider").text("version", version).end();
        say(&String::from_utf8_lossy(&line));
    } else {
        say(&format!("postrider {version}"));
    }
    Ok(Exit::Ok)
}
