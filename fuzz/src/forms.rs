//! Bodies: forms, JSON, published events, and webhooks as they are created and changed.
//!
//! Owns what is promised of whatever was accepted: it is within the limits, it survives being
//! written and read again, and it can be delivered in every format that has it.

use postrider::dialect::body::{FORM_FIELDS_MAX, Field, Fields, Media};
use postrider::dialect::uploadcare::headers::View;
use postrider::dialect::{self, jsonapi, names, uploadcare};
use postrider::model::draft::{WebhookDraft, WebhookPatch};
use postrider::model::event::{Event, EventName, IDEMPOTENCY_KEY_BYTES_MAX, Source};
use postrider::model::ids::{EventId, ProjectId, Seq, WebhookId};
use postrider::model::json::Json;
use postrider::model::secret::Secret;
use postrider::model::target::TargetUrl;
use postrider::model::time::Wall;
use postrider::model::webhook::{
    Format, FormatOptions, Limits, Version, WEBHOOK_EVENTS_MAX, Webhook, WebhookState,
};
use postrider::source::native::{self, NewEvent, PublishLimits};

use super::Request;

pub(super) const LIMITS: PublishLimits = PublishLimits { event_bytes_max: 512, events_max: 4 };
pub(super) const PUBLIC_KEY: &str = "pk";

const FORMATS: [Format; 7] = [
    Format::Uploadcare(Version::V05),
    Format::Uploadcare(Version::V06),
    Format::Uploadcare(Version::V07),
    Format::JsonApi,
    Format::Lancer,
    Format::Standard,
    Format::CloudEvents,
];

pub(super) fn form(data: &[u8]) {
    if let Ok(fields) = Fields::from_urlencoded(data) {
        check_form(&fields);
    }
}

/// The boundary is `x`, so that inputs are about the parts.
pub(super) fn multipart(data: &[u8]) {
    if let Ok(fields) = Fields::from_multipart("x", data) {
        check_form(&fields);
    }
}

/// Any body under any content type.
pub(super) fn content_type(data: &[u8]) {
    let request = Request::read(data);
    let content_type = request.get("content-type");
    let fields = Fields::read(content_type, request.body);
    if let Err(error) = &fields {
        assert!(matches!(error.status(), 400 | 415) && !error.to_string().is_empty());
    }
    if let (Ok(Media::Multipart(boundary)), Ok(_)) = (Media::of(content_type), &fields) {
        assert!((1..=70).contains(&boundary.len()), "RFC 2046 5.1.1: {boundary:?}");
    }
}

/// What is read is written as a text that reads as the same, and is not written otherwise again.
pub(super) fn json(data: &[u8]) {
    let Ok(json) = Json::parse(data) else { return };
    assert!(serde_json::from_slice::<serde_json::Value>(data).is_ok(), "stricter than serde_json");
    let text = json.to_bytes();
    let again = Json::reread(&text).expect("it was written");
    assert_eq!(again.to_bytes(), text);
    // A double without a fraction may be written as an integer that is too large to be read.
    if let Ok(parsed) = Json::parse(&text) {
        assert_eq!(parsed, again);
    }
}

pub(super) fn publish(data: &[u8]) {
    let request = Request::read(data);
    let (media, key) = (request.get("content-type"), request.get("idempotency-key"));
    match native::read(media, key, request.body, LIMITS, None) {
        Ok(published) => {
            assert!((1..=LIMITS.events_max).contains(&published.events.len()));
            assert!(published.batch || published.events.len() == 1);
            for event in published.events {
                check_event(event);
            }
        }
        Err(error) => {
            assert!(matches!(error.status(), 400 | 413 | 415));
            assert!(Json::reread(&error.body()).is_ok(), "an answer is JSON");
        }
    }
}

/// The first byte chooses the view: three vendor types, or none.
pub(super) fn webhook_uploadcare(data: &[u8]) {
    let Some((view, body)) = data.split_first() else { return };
    let view = match view % 4 {
        0 => View::Vendor(Version::V05),
        1 => View::Vendor(Version::V06),
        2 => View::Vendor(Version::V07),
        _ => View::Legacy,
    };
    webhook_in(view, body);
}

pub(super) fn webhook_own(data: &[u8]) {
    webhook_in(View::Own, data);
}

fn webhook_in(view: View, body: &[u8]) {
    let Ok(fields) = Fields::read(None, body) else { return };
    let answered = |invalid| {
        assert!(Json::reread(&uploadcare::encode::invalid(&invalid)).is_ok(), "an answer is JSON");
    };
    let _ = uploadcare::decode::unsubscribe(&fields).map_err(answered);
    match uploadcare::decode::create(&fields, view) {
        Ok(draft) => {
            let webhook = webhook_of(draft);
            check_webhook(&webhook);
            if uploadcare::encode::shown(&webhook, view) {
                let shown = uploadcare::encode::webhook(&webhook, view);
                let shown = Fields::from_json(&shown).expect("an answer is an object");
                let patch = uploadcare::decode::update(&shown, view, &webhook);
                assert_changes_nothing(patch.expect("what was shown is accepted"), &webhook);
            }
        }
        Err(invalid) => answered(invalid),
    }
    for mut webhook in [sample(Format::Uploadcare(Version::V07)), sample(Format::JsonApi)] {
        match uploadcare::decode::update(&fields, view, &webhook) {
            Ok(patch) => {
                patch.apply(&mut webhook);
                check_webhook(&webhook);
            }
            Err(invalid) => answered(invalid),
        }
    }
}

pub(super) fn webhook_jsonapi(data: &[u8]) {
    let Ok(fields) = Fields::read(None, data) else { return };
    let answered = |invalid| {
        assert!(Json::reread(&jsonapi::encode::invalid(&invalid)).is_ok(), "an answer is JSON");
    };
    if let Ok(page) = jsonapi::decode::page(&fields) {
        assert!(page.page >= 1 && (1..=jsonapi::decode::PAGE_ITEMS_MAX).contains(&page.items));
    }
    match jsonapi::decode::create(&fields, Secret::new("whsec-x".to_owned())) {
        Ok(draft) => {
            let webhook = webhook_of(draft);
            check_webhook(&webhook);
            let shown = jsonapi::encode::webhook(&webhook, PUBLIC_KEY);
            let shown = Fields::from_json(&shown).expect("an answer is an object");
            let patch = jsonapi::decode::update(&shown, &webhook);
            assert_changes_nothing(patch.expect("what was shown is accepted"), &webhook);
        }
        Err(invalid) => answered(invalid),
    }
    let mut webhook = sample(Format::JsonApi);
    match jsonapi::decode::update(&fields, &webhook) {
        Ok(patch) => {
            patch.apply(&mut webhook);
            check_webhook(&webhook);
        }
        Err(invalid) => answered(invalid),
    }
}

/// An event that was accepted is normalised, and renders in every format that has it.
pub(super) fn check_event(new: NewEvent) {
    assert!(new.size_bytes() <= LIMITS.event_bytes_max);
    for json in [Some(&new.data), new.initiator.as_ref(), new.previous_values.as_ref()] {
        let Some(text) = json else { continue };
        assert_eq!(&Json::reread(text).expect("stored JSON is JSON").to_bytes(), text);
    }
    let key = new.idempotency_key.as_deref().unwrap_or("-");
    assert!((1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()));
    let event = stored(new);
    for format in FORMATS {
        let Some(name) = names::name_for(format, event.kind, &event.name) else { continue };
        let mut webhook = sample(format);
        webhook.events = vec![EventName::parse(name).expect("a name of the table is a name")];
        assert!(dialect::subscribes(&webhook, event.kind, &event.name));
        let shared = dialect::shared(&event, format).expect("what was accepted renders");
        let body = dialect::body(&shared, &webhook, PUBLIC_KEY);
        let json = Json::reread(&body).expect("a payload is JSON");
        assert_eq!(json.to_bytes(), body, "a payload is as JSON.stringify would print it");
    }
}

fn check_form(fields: &Fields) {
    assert!(fields.names().count() <= FORM_FIELDS_MAX);
    for name in fields.names() {
        let field = fields.get(name).expect("its name was listed");
        assert!(field.shown().chars().count() <= 65);
        let _ = (field.as_bool(), field.as_u32(), field.to_json());
    }
    let _ = fields.under("webhook");
    let again = Fields::from_urlencoded(encoded(fields).as_bytes()).expect("it was read before");
    assert_eq!(&again, fields);
}

/// The fields as a urlencoded form.
fn encoded(fields: &Fields) -> String {
    let mut pairs = Vec::new();
    for name in fields.names() {
        match fields.get(name) {
            Some(Field::Text(text)) => pairs.push(pair(name, text)),
            Some(Field::Json(Json::Array(items))) => pairs.extend(
                items.iter().filter_map(Json::as_str).map(|text| pair(&format!("{name}[]"), text)),
            ),
            _ => {}
        }
    }
    pairs.join("&")
}

fn pair(name: &str, value: &str) -> String {
    let mut out = String::with_capacity(3 * (name.len() + value.len()) + 1);
    for (text, end) in [(name, "="), (value, "")] {
        for byte in text.bytes() {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.extend(char::from_digit(u32::from(nibble), 16));
            }
        }
        out.push_str(end);
    }
    out
}

/// A webhook that was accepted can be stored, shown and sent to.
fn check_webhook(webhook: &Webhook) {
    assert!((1..=WEBHOOK_EVENTS_MAX).contains(&webhook.events.len()));
    for name in &webhook.events {
        assert!(names::subscribable(webhook.format, name), "{:?}: {name}", webhook.format);
    }
    for (name, value) in &webhook.headers {
        assert!(http::HeaderName::from_bytes(name.as_bytes()).is_ok(), "{name:?}");
        assert!(http::HeaderValue::from_str(value).is_ok(), "{value:?}");
    }
    for limit in [webhook.limits.rate_per_second, webhook.limits.burst, webhook.limits.in_flight] {
        assert_ne!(limit, Some(0));
    }
}

fn assert_changes_nothing(patch: WebhookPatch, webhook: &Webhook) {
    let mut after = webhook.clone();
    patch.apply(&mut after);
    assert_eq!(&after, webhook, "what is sent back as it was read changes nothing");
}

fn webhook_of(draft: WebhookDraft) -> Webhook {
    let state = if draft.is_active { WebhookState::Active } else { WebhookState::Inactive };
    Webhook {
        target_url: draft.target_url,
        events: draft.events,
        state,
        secret: draft.secret,
        headers: draft.headers,
        limits: draft.limits,
        options: draft.options,
        ..sample(draft.format)
    }
}

fn sample(format: Format) -> Webhook {
    let name = match format {
        Format::JsonApi => "file.created",
        Format::Lancer => "FILE_UPLOAD",
        _ => "file.uploaded",
    };
    Webhook {
        id: WebhookId::new(7).expect("in range"),
        public_id: "wh-0000000000000000000000".to_owned(),
        project: ProjectId::new(1).expect("in range"),
        target_url: TargetUrl::parse("http://a.example/").expect("a URL"),
        events: vec![EventName::parse(name).expect("a name")],
        format,
        state: WebhookState::Active,
        secret: Some(Secret::new("secret".to_owned())),
        rotation: None,
        failing_since: None,
        headers: Vec::new(),
        limits: Limits::default(),
        options: FormatOptions::default(),
        created: Wall(1_700_000_000_000),
        updated: Wall(1_700_000_000_001),
        revision: 1,
        paused_total_ms: 0,
        listener: None,
        hidden: false,
    }
}

pub(super) fn stored(new: NewEvent) -> Event {
    Event {
        id: EventId { seq: Seq(1), salt: 2 },
        project: ProjectId::new(1).expect("in range"),
        kind: new.kind,
        name: new.name,
        dialect: new.dialect,
        data: new.data,
        file: new.file,
        initiator: new.initiator,
        previous_values: new.previous_values,
        occurred_at: new.occurred_at,
        accepted_at: Wall(1_700_000_000_000),
        idempotency_key: new.idempotency_key,
        source: Source::Native,
        erased_at: None,
    }
}
