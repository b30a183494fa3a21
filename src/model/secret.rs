//! Secret text: wiped when dropped, never shown by `Debug`, compared in constant time.
//!
//! Owns the one type that holds a key in memory. Must never print, log or serialise it by itself.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret string. The memory is zeroed when the last copy is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes `text` over.
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// The text itself. Every use is a place where it could leak, so the name is long.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `other` is the same text, in a time that depends on lengths alone.
    #[must_use]
    pub fn matches(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_and_comparison_works() {
        let secret = Secret::new("canary".to_owned());
        assert!(!format!("{secret:?}").contains("canary"));
        assert!(secret.matches("canary"));
        assert!(!secret.matches("canarx"));
        assert!(!secret.matches("canar"));
    }
}
