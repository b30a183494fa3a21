//! Uploadcare's event names, and which version can carry what.
//!
//! Owns the table from names to canonical kinds. Must never consult an event's data.

use crate::model::event::{EventName, Kind};
use crate::model::webhook::Version;

/// The five events that Uploadcare knows.
pub const NAMES: [&str; 5] =
    ["file.uploaded", "file.infected", "file.stored", "file.info_updated", "file.deleted"];

/// What a published name means.
#[must_use]
pub fn kind_of(name: &str) -> Kind {
    match name {
        "file.uploaded" => Kind::FileUploaded,
        "file.infected" => Kind::FileInfected,
        "file.stored" => Kind::FileStored,
        "file.info_updated" => Kind::FileInfoUpdated,
        "file.deleted" => Kind::FileDeleted,
        _ => Kind::Custom,
    }
}

/// What Uploadcare calls an event; a custom type is called what it is.
#[must_use]
pub fn name_of(kind: Kind, name: &EventName) -> &str {
    match kind {
        Kind::FileUploaded => "file.uploaded",
        Kind::FileInfected => "file.infected",
        Kind::FileStored => "file.stored",
        Kind::FileInfoUpdated => "file.info_updated",
        Kind::FileDeleted => "file.deleted",
        _ => name.as_str(),
    }
}

/// What a webhook of `version` gets an event as; `None` if that version can't carry it: 0.5 and
/// 0.6 know `file.uploaded` alone.
#[must_use]
pub fn name_for(kind: Kind, name: &EventName, version: Version) -> Option<&str> {
    carries(version, kind).then(|| name_of(kind, name))
}

/// Whether webhooks of `version` can carry a kind.
#[must_use]
pub fn carries(version: Version, kind: Kind) -> bool {
    version == Version::V07 || kind == Kind::FileUploaded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_kinds_are_inverse() {
        for text in NAMES {
            let name = EventName::parse(text).expect("a name");
            assert_ne!(kind_of(text), Kind::Custom);
            assert_eq!(name_of(kind_of(text), &name), text);
            assert_eq!(name_for(kind_of(text), &name, Version::V07), Some(text));
            let legacy = (text == "file.uploaded").then_some(text);
            assert_eq!(name_for(kind_of(text), &name, Version::V06), legacy);
            assert_eq!(name_for(kind_of(text), &name, Version::V05), legacy);
        }
        let custom = EventName::parse("order.paid").expect("a name");
        assert_eq!(name_for(Kind::Custom, &custom, Version::V07), Some("order.paid"));
        assert_eq!(name_for(Kind::Custom, &custom, Version::V06), None);
    }
}
