//! Sources: what other systems send when something happened.
//!
//! Owns what is promised of whatever a source makes of a request. Inputs have a head, see
//! [`Request`]; `x-project-types: a,b` closes the project's list of names.

use postrider::model::event::{IDEMPOTENCY_KEY_BYTES_MAX, Source};
use postrider::model::json::Json;
use postrider::model::project::ProjectSettings;
use postrider::model::secret::Secret;
use postrider::model::target::{Host, Scheme};
use postrider::model::time::Wall;
use postrider::source::{self, Context, Intake, Said};

use super::Request;
use super::forms::{LIMITS, PUBLIC_KEY, check_event};

const NOW: Wall = Wall(1_800_000_000_000);

pub(super) fn uploadcare(data: &[u8]) {
    translated(Source::Uploadcare, data);
}

pub(super) fn tusd(data: &[u8]) {
    translated(Source::Tusd, data);
}

pub(super) fn s3(data: &[u8]) {
    translated(Source::S3, data);
}

pub(super) fn cloudevents(data: &[u8]) {
    translated(Source::CloudEvents, data);
}

pub(super) fn seaweedfs(data: &[u8]) {
    translated(Source::SeaweedFs, data);
}

pub(super) fn nextcloud(data: &[u8]) {
    translated(Source::Nextcloud, data);
}

fn translated(source: Source, data: &[u8]) {
    let request = Request::read(data);
    let event_types = request.get("x-project-types");
    let event_types = event_types.map(|types| types.split(',').map(str::to_owned).collect());
    let settings = ProjectSettings {
        cdn_base: request.get("x-project-cdn").map(str::to_owned),
        event_types,
        ..ProjectSettings::default()
    };
    let secret = request.get("x-uc-signature").map(|_| Secret::new("12345X".to_owned()));
    let context = Context {
        public_key: PUBLIC_KEY,
        settings: &settings,
        instance: request.get("x-instance"),
        secret: secret.as_ref(),
        limits: LIMITS,
        now: NOW,
    };
    match source::translate(source, &request.head(), request.body, &context) {
        Ok(Intake::Events(events)) => {
            assert!((1..=LIMITS.events_max).contains(&events.len()));
            let listed = |name: &str| {
                settings.event_types.as_ref().is_none_or(|types| types.iter().any(|t| t == name))
            };
            let ids: Vec<String> = events.iter().map(|one| one.key.text.clone()).collect();
            for one in events {
                assert!((1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&one.key.text.len()));
                assert!(listed(one.event.name.as_str()), "a name that the project does not have");
                check_event(one.event);
            }
            replied(source, &Said::Accepted { ids: &ids, duplicates: 0 }, 200..300);
        }
        Ok(Intake::Nothing(why)) => replied(source, &Said::Ignored(why), 200..300),
        Ok(Intake::Confirm(confirmation)) => {
            let origin = confirmation.call.map(|call| call.origin);
            let Some(origin) = origin else { return };
            assert!(matches!(origin.host, Host::Name(_)), "an address is no host of SNS");
            let name = origin.host.to_string();
            let zone = name.ends_with(".amazonaws.com") || name.ends_with(".amazonaws.com.cn");
            assert!(zone && name.starts_with("sns."), "{name}");
            assert_eq!((origin.scheme, origin.port), (Scheme::Https, 443));
        }
        Err(refusal) => {
            let (status, text) = (refusal.status(), refusal.to_string());
            assert!(matches!(status, 400 | 401 | 413) && !text.is_empty());
            replied(source, &Said::Refused(status, &text), 400..500);
        }
    }
    replied(source, &Said::Unavailable("no disk"), 500..600);
}

fn replied(source: Source, said: &Said<'_>, statuses: std::ops::Range<u16>) {
    let reply = source::reply(source, said);
    assert!(statuses.contains(&reply.status), "{said:?}: {}", reply.status);
    assert!(matches!(Json::reread(&reply.body), Ok(Json::Object(_))), "an answer is an object");
}
