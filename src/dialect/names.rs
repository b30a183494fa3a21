//! The table of event names: what each dialect calls what happened.
//!
//! Owns the table of canonical kinds, by name only. Must never consult an event's data or a state.

use crate::model::event::{Dialect, EventName, Kind};
use crate::model::notice;
use crate::model::webhook::{Format, Version};

/// One row: a canonical kind and its names. The canonical name is also that of the formats
/// `standard` and `cloudevents`.
struct Row {
    kind: Kind,
    canonical: &'static str,
    uploadcare: Option<&'static str>,
    jsonapi: Option<&'static str>,
    lancer: Option<&'static str>,
}

const fn row(
    kind: Kind,
    canonical: &'static str,
    uploadcare: Option<&'static str>,
    jsonapi: Option<&'static str>,
    lancer: Option<&'static str>,
) -> Row {
    Row { kind, canonical, uploadcare, jsonapi, lancer }
}

const UPDATED: Option<&str> = Some("file.updated");

const TABLE: [Row; 13] = [
    row(
        Kind::FileUploaded,
        "file.uploaded",
        Some("file.uploaded"),
        Some("file.created"),
        Some("FILE_UPLOAD"),
    ),
    row(Kind::FileInfected, "file.infected", Some("file.infected"), UPDATED, None),
    row(Kind::FileStored, "file.stored", Some("file.stored"), UPDATED, None),
    row(Kind::FileInfoUpdated, "file.info_updated", Some("file.info_updated"), UPDATED, None),
    row(
        Kind::FileDeleted,
        "file.deleted",
        Some("file.deleted"),
        Some("file.deleted"),
        Some("FILE_DELETE"),
    ),
    row(Kind::GroupCreated, "group.created", None, Some("group.created"), None),
    row(Kind::GroupUpdated, "group.updated", None, Some("group.updated"), None),
    row(Kind::GroupDeleted, "group.deleted", None, Some("group.deleted"), None),
    row(Kind::ActionCreated, "action.created", None, Some("action.created"), None),
    row(Kind::ActionUpdated, "action.updated", None, Some("action.updated"), None),
    row(Kind::SessionCreated, "session.created", None, None, Some("SESSION_CREATED")),
    row(Kind::SessionCancelled, "session.cancelled", None, None, Some("SESSION_CANCELLED")),
    row(Kind::SessionCompleted, "session.completed", None, None, Some("SESSION_COMPLETED")),
];

/// What a published name means, and whose shape its data has. `dialect` is what the publisher
/// said, where a name stands in two dialects; a name that is not of that dialect is `None`.
#[must_use]
pub fn meaning(name: &str, dialect: Option<Dialect>) -> Option<(Kind, Dialect)> {
    let in_dialect = |dialect: Dialect| {
        let wanted = |row: &&Row| column(row, dialect) == Some(name);
        // JSON:API's one name for three kinds means that the file's information changed.
        let rows: Vec<&Row> = TABLE.iter().filter(wanted).collect();
        let row = rows.iter().find(|row| row.kind == Kind::FileInfoUpdated).or(rows.first());
        row.map(|row| (row.kind, dialect))
    };
    match dialect {
        Some(Dialect::Custom) => Some((Kind::Custom, Dialect::Custom)),
        Some(dialect) => in_dialect(dialect),
        None => [Dialect::Uploadcare, Dialect::Lancer, Dialect::JsonApi]
            .into_iter()
            .find_map(in_dialect)
            .or(Some((Kind::Custom, Dialect::Custom))),
    }
}

/// What a name that a webhook subscribes to stands for, whatever its format.
#[must_use]
pub fn kind_of(name: &str) -> Kind {
    let known = [Dialect::Uploadcare, Dialect::Lancer, Dialect::JsonApi]
        .into_iter()
        .find_map(|dialect| meaning(name, Some(dialect)).map(|(kind, _)| kind));
    let canonical = || TABLE.iter().find(|row| row.canonical == name).map(|row| row.kind);
    known.or_else(canonical).unwrap_or(Kind::Custom)
}

/// What an event is called in a format; `None` if the format can't carry it.
#[must_use]
pub fn name_for(format: Format, kind: Kind, name: &EventName) -> Option<&str> {
    if kind == Kind::Custom {
        return match format {
            Format::Uploadcare(Version::V05 | Version::V06) | Format::Lancer => None,
            Format::Uploadcare(Version::V07)
            | Format::JsonApi
            | Format::Standard
            | Format::CloudEvents => Some(name.as_str()),
        };
    }
    of(format, kind)
}

/// What a format calls a kind that has a name; `None` if it can't carry it.
#[must_use]
pub fn of(format: Format, kind: Kind) -> Option<&'static str> {
    let row = TABLE.iter().find(|row| row.kind == kind)?;
    match format {
        Format::Uploadcare(Version::V07) => row.uploadcare,
        Format::Uploadcare(Version::V05 | Version::V06) => {
            row.uploadcare.filter(|_| kind == Kind::FileUploaded)
        }
        Format::JsonApi => row.jsonapi,
        Format::Lancer => row.lancer,
        Format::Standard | Format::CloudEvents => Some(row.canonical),
    }
}

/// Every name under which some format subscribes to an event, without repeats.
#[must_use]
pub fn all(kind: Kind, name: &EventName) -> Vec<EventName> {
    if kind == Kind::Custom {
        return vec![name.clone()];
    }
    let mut names: Vec<&str> = TABLE
        .iter()
        .filter(|row| row.kind == kind)
        .flat_map(|row| [Some(row.canonical), row.uploadcare, row.jsonapi, row.lancer])
        .flatten()
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(EventName::parse).collect()
}

/// The canonical name of a kind; events of custom types are `custom` all.
#[must_use]
pub fn canonical(kind: Kind) -> &'static str {
    TABLE.iter().find(|row| row.kind == kind).map_or("custom", |row| row.canonical)
}

/// Whether a format has an event of this name that webhooks can subscribe to.
#[must_use]
pub fn subscribable(format: Format, name: &EventName) -> bool {
    let text = name.as_str();
    if notice::is_reserved(text) && !notice::is_known(text) {
        return false;
    }
    let known = TABLE.iter().any(|row| name_for(format, row.kind, name) == Some(text));
    let of_another = TABLE.iter().any(|row| {
        [Some(row.canonical), row.uploadcare, row.jsonapi, row.lancer].contains(&Some(text))
    });
    known || (!of_another && name_for(format, Kind::Custom, name).is_some())
}

fn column(row: &Row, dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::Uploadcare => row.uploadcare,
        Dialect::JsonApi => row.jsonapi,
        Dialect::Lancer => row.lancer,
        Dialect::Custom => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_names() {
        for (name, dialect, want) in [
            ("file.uploaded", None, Some((Kind::FileUploaded, Dialect::Uploadcare))),
            ("file.deleted", None, Some((Kind::FileDeleted, Dialect::Uploadcare))),
            ("file.deleted", Some(Dialect::JsonApi), Some((Kind::FileDeleted, Dialect::JsonApi))),
            ("file.created", None, Some((Kind::FileUploaded, Dialect::JsonApi))),
            ("file.updated", None, Some((Kind::FileInfoUpdated, Dialect::JsonApi))),
            ("FILE_UPLOAD", None, Some((Kind::FileUploaded, Dialect::Lancer))),
            ("SESSION_CANCELLED", None, Some((Kind::SessionCancelled, Dialect::Lancer))),
            ("group.created", None, Some((Kind::GroupCreated, Dialect::JsonApi))),
            ("order.paid", None, Some((Kind::Custom, Dialect::Custom))),
            ("order.paid", Some(Dialect::Lancer), None),
            ("FILE_UPLOAD", Some(Dialect::Uploadcare), None),
        ] {
            assert_eq!(meaning(name, dialect), want, "{name} {dialect:?}");
        }
    }

    #[test]
    fn names_in_formats() {
        let name = EventName::parse("file.stored").expect("a name");
        let of = |format| name_for(format, Kind::FileStored, &name);
        assert_eq!(of(Format::Uploadcare(Version::V07)), Some("file.stored"));
        assert_eq!(of(Format::Uploadcare(Version::V05)), None);
        assert_eq!(of(Format::JsonApi), Some("file.updated"));
        assert_eq!(of(Format::Lancer), None);
        assert_eq!(of(Format::Standard), Some("file.stored"));
        let custom = EventName::parse("order.paid").expect("a name");
        assert!(subscribable(Format::JsonApi, &custom));
        for (text, want) in
            [("postrider.target.failing", true), ("postrider.target.falling", false)]
        {
            let name = EventName::parse(text).expect("a name");
            assert_eq!(subscribable(Format::Standard, &name), want, "{text}");
        }
        assert!(!subscribable(Format::Lancer, &custom));
        assert!(!subscribable(
            Format::Uploadcare(Version::V07),
            &EventName::parse("FILE_UPLOAD").expect("a name")
        ));
        assert!(subscribable(
            Format::Standard,
            &EventName::parse("session.created").expect("a name")
        ));
        assert_eq!(all(Kind::FileUploaded, &name).len(), 3);
    }
}
