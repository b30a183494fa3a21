//! Ids of JSON:API: a prefix that names the type, and 22 letters and digits.
//!
//! Owns how an id is derived where nobody gave one. Must never ask for chance: the same fact has
//! the same id in every delivery of it.

use sha2::{Digest as _, Sha256};

use crate::model::ids::{EventId, alnum_id};

/// The id of an event under the name that it is delivered by.
#[must_use]
pub fn webhook_event(event: EventId, name: &str) -> String {
    derived("we-", &[&event.to_string(), name])
}

/// The id of a resource, from what tells it from others: its UUID, or else the event.
#[must_use]
pub fn resource(resource_type: &str, identity: &str) -> String {
    let prefix = match resource_type {
        "files" => "f-",
        "groups" => "g-",
        _ => "a-",
    };
    derived(prefix, &[&identity.to_ascii_lowercase()])
}

fn derived(prefix: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    hash.update(prefix);
    for part in parts {
        hash.update([0]);
        hash.update(part);
    }
    let bits =
        hash.finalize().iter().take(16).fold(0, |bits, byte| (bits << 8) | u128::from(*byte));
    alnum_id(prefix, bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::Seq;

    #[test]
    fn derived_from_what_they_name() {
        let event = EventId { seq: Seq(1), salt: 2 };
        let id = webhook_event(event, "file.created");
        assert_eq!(id.len(), 25);
        assert!(id.starts_with("we-") && id[3..].bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(id, webhook_event(event, "file.created"));
        assert_ne!(id, webhook_event(event, "file.updated"));
        assert_ne!(id, webhook_event(EventId { seq: Seq(1), salt: 3 }, "file.created"));
        assert_eq!(resource("files", "ABC"), resource("files", "abc"));
        assert_ne!(resource("files", "abc")[2..], resource("groups", "abc")[2..]);
        assert!(resource("actions", "abc").starts_with("a-"));
    }
}
