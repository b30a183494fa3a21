//! Exit codes: what the process tells whoever started it.
//!
//! Owns the numbers (those of `sysexits.h` where it has one). Must never be renumbered: unit files
//! and scripts rely on them.

use std::process::ExitCode;

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It did not work, and no other code fits.
    Failure = 1,
    /// The command line was wrong.
    Usage = 2,
    /// No daemon could be reached.
    Unavailable = 69,
    /// A file, a directory or a socket can't be made.
    CantCreate = 73,
    /// It may work later: another daemon holds the data directory, or is stopping.
    Temporary = 75,
    /// Not allowed: a wrong key, or a file that may not be opened.
    NoPermission = 77,
    /// The configuration is wrong. A restart won't help.
    Config = 78,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_documented_ones() {
        let all = [
            Exit::Ok,
            Exit::Failure,
            Exit::Usage,
            Exit::Unavailable,
            Exit::CantCreate,
            Exit::Temporary,
            Exit::NoPermission,
            Exit::Config,
        ];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 69, 73, 75, 77, 78]);
    }
}
