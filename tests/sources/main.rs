//! What each source makes of what its system really sends, traps included.
//!
//! Owns one fixture for each source, as that system documents or sends it, and the expectations.
//! UUIDs are those of Python's `uuid.uuid5`. Must never need a daemon: `tests/producers` has one.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use postrider::model::event::{Dialect, Kind, Source};
use postrider::model::json::Json;
use postrider::model::project::ProjectSettings;
use postrider::model::secret::Secret;
use postrider::model::time::{Wall, parse_rfc3339};
use postrider::source::native::PublishLimits;
use postrider::source::{
    ALL, Context, Head, Intake, KEY_WINDOW_MS, Occurrence, REPEAT_WINDOW_MS, Refusal, Said,
    by_name, name, reply, translate,
};

mod mapping;
mod traps;

const TUSD: &str = include_str!("tusd-post-finish.json");
const MINIO: &str = include_str!("s3-minio-put.json");
const CEPH: &str = include_str!("s3-ceph-put.json");
const SNS: &str = include_str!("s3-sns-notification.json");
const SNS_CONFIRMATION: &str = include_str!("s3-sns-confirmation.json");
const S3_TEST: &str = include_str!("s3-test-event.json");
const SEAWEEDFS: &str = include_str!("seaweedfs-create.json");
const NEXTCLOUD: &str = include_str!("nextcloud-created.json");
const CLOUDEVENTS: &str = include_str!("cloudevents-structured.json");
const UPLOADCARE: &str = include_str!("uploadcare-0.7.json");

const NOW: Wall = Wall(1_800_000_000_000);
const STRUCTURED: &str = "application/cloudevents+json";

/// What a sixth source has to add here: its fixture.
fn fixture(source: Source) -> (&'static str, &'static str) {
    match source {
        Source::Uploadcare => ("application/json", UPLOADCARE),
        Source::Tusd => ("application/json", TUSD),
        Source::S3 => ("application/json", MINIO),
        Source::CloudEvents => (STRUCTURED, CLOUDEVENTS),
        Source::SeaweedFs => ("application/json", SEAWEEDFS),
        Source::Nextcloud => ("application/json", NEXTCLOUD),
        Source::Native | Source::Test | Source::Send | Source::Notice => {
            unreachable!("no source of its own")
        }
    }
}

/// A project's part of a translation.
#[derive(Default)]
struct Setup {
    settings: ProjectSettings,
    secret: Option<Secret>,
    instance: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
    events_max: Option<usize>,
}

impl Setup {
    fn translate(&self, source: Source, body: &str) -> Result<Intake, Refusal> {
        let head = Head::new(self.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let context = Context {
            public_key: "pk",
            settings: &self.settings,
            instance: self.instance,
            secret: self.secret.as_ref(),
            limits: PublishLimits {
                event_bytes_max: 1 << 20,
                events_max: self.events_max.unwrap_or(1_000),
            },
            now: NOW,
        };
        translate(source, &head, body.as_bytes(), &context)
    }

    fn events(&self, source: Source, body: &str) -> Vec<Occurrence> {
        match self.translate(source, body) {
            Ok(Intake::Events(events)) => events,
            other => panic!("{body}: {other:?}"),
        }
    }
}

fn events(source: Source, body: &str) -> Vec<Occurrence> {
    Setup::default().events(source, body)
}

fn ignored(source: Source, body: &str) -> bool {
    matches!(Setup::default().translate(source, body), Ok(Intake::Nothing(_)))
}

fn refused(source: Source, body: &str) -> String {
    match Setup::default().translate(source, body) {
        Err(refusal) => refusal.to_string(),
        other => panic!("{body}: {other:?}"),
    }
}

fn names(events: &[Occurrence]) -> Vec<&str> {
    events.iter().map(|one| one.event.name.as_str()).collect()
}

fn data(one: &Occurrence) -> Json {
    let json = Json::parse(&one.event.data).expect("JSON");
    assert_eq!(json.to_bytes(), one.event.data, "normalised already");
    json
}

fn text(one: &Occurrence, path: &[&str]) -> String {
    let json = data(one);
    let found = path.iter().fold(&json, |json, key| json.get(key).unwrap_or(&Json::Null));
    match found {
        Json::String(text) => text.clone(),
        other => String::from_utf8(other.to_bytes()).expect("UTF-8"),
    }
}

/// A fixture with one text put for another, which has to be there.
fn with(fixture: &str, old: &str, new: &str) -> String {
    assert!(fixture.contains(old), "{old}");
    fixture.replace(old, new)
}

#[test]
fn every_source_provides_what_each_must() {
    for source in ALL {
        assert_eq!(by_name(name(source)), Some(source));
        let (content_type, body) = fixture(source);
        let headers = vec![("Content-Type", content_type.to_owned())];
        let setup = Setup { headers, ..Setup::default() };
        let found = setup.events(source, body);
        assert!(!found.is_empty());
        for one in &found {
            data(one);
            assert!(!one.key.text.is_empty() && one.key.text.len() <= 255);
            assert!([KEY_WINDOW_MS, REPEAT_WINDOW_MS].contains(&one.key.window_ms));
            assert_eq!(one.event.idempotency_key.as_deref(), Some(one.key.text.as_str()));
        }
        // The same bytes mean the same events under the same keys.
        assert_eq!(setup.events(source, body), found);
        // What is none of its business is refused, never accepted and lost.
        for bad in ["", "null", "[]", "{}", "{", "\"x\"", "\u{feff}{}"] {
            assert!(setup.translate(source, bad).is_err(), "{source:?} {bad:?}");
        }
        let said = [
            (Said::Accepted { ids: &["evt_1".to_owned()], duplicates: 0 }, 200),
            (Said::Ignored("nothing"), 200),
            (Said::Refused(400, "no"), 400),
            (Said::Unavailable("later"), if source == Source::Tusd { 500 } else { 503 }),
        ];
        for (said, status) in said {
            let reply = reply(source, &said);
            assert_eq!(reply.status, status);
            assert!(matches!(Json::parse(&reply.body), Ok(Json::Object(_))), "{source:?}");
        }
    }
    for no_source in ["events", "test", "send", "tus", "S3", ""] {
        assert_eq!(by_name(no_source), None, "{no_source}");
    }
}

#[test]
fn limits_and_closed_lists() {
    let closed = |types: &[&str]| ProjectSettings {
        event_types: Some(types.iter().map(|name| (*name).to_owned()).collect()),
        ..ProjectSettings::default()
    };
    // A name that this mapping chose is passed over.
    let setup = Setup { settings: closed(&["file.uploaded"]), ..Setup::default() };
    assert_eq!(names(&setup.events(Source::Tusd, TUSD)), ["file.uploaded"]);
    let none = with(TUSD, "post-finish", "post-create");
    assert!(matches!(setup.translate(Source::Tusd, &none), Ok(Intake::Nothing(_))));
    // One that its sender chose is refused.
    let error = setup.translate(Source::Uploadcare, UPLOADCARE).expect_err("not in the list");
    assert!(error.to_string().contains("\"file.stored\" is not one of"), "{error}");
    let setup = Setup { events_max: Some(1), ..Setup::default() };
    let error = setup.translate(Source::Tusd, TUSD).expect_err("two events");
    assert_eq!(error.status(), 413);
    let big = with(TUSD, "Screenshot.png", &"x".repeat(1 << 20));
    assert_eq!(Setup::default().translate(Source::Tusd, &big).expect_err("big").status(), 413);
}
