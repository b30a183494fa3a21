//! Uploadcare's own event names.
//!
//! Owns the five that its clients know. Must never consult an event's data.

use crate::model::event::{EventName, Kind};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::names;
    use crate::model::event::Dialect;

    #[test]
    fn names_and_kinds_are_inverse() {
        for text in NAMES {
            let name = EventName::parse(text).expect("a name");
            assert_ne!(kind_of(text), Kind::Custom);
            assert_eq!(name_of(kind_of(text), &name), text);
            let meant = names::meaning(text, None);
            assert_eq!(meant, Some((kind_of(text), Dialect::Uploadcare)), "the tables agree");
        }
    }
}
