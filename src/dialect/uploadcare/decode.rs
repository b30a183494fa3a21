//! Requests to the webhook API, from fields to drafts and patches.
//!
//! Owns validation and its texts, which are those of Django REST framework: clients parse them.
//! Every field's problem is told at once. Must never look at other webhooks: uniqueness is the
//! store's precondition.
//!
//! `null` is the same as absent for Uploadcare's own fields, on create and on update, because
//! several clients can't omit a field: a partial update must never silently stop signing. For the
//! fields that are ours, `null` clears. `events`, which our own view alone reads, is the list that
//! it shows: there, `event` is the first of them.

use super::headers::View;
use super::kinds;
use super::own_fields::{self, BURST_MAX, IN_FLIGHT_MAX, RATE_PER_SECOND_MAX};
use crate::dialect::body::{Field, Fields, clip};
use crate::dialect::names;
use crate::model::draft::{Change, WebhookDraft, WebhookPatch};
use crate::model::event::{EventName, Kind};
use crate::model::json::Json;
use crate::model::secret::Secret;
use crate::model::target::{TARGET_URL_CHARS_MAX, TargetUrl, UrlError};
use crate::model::webhook::{
    Format, FormatOptions, Limits, SIGNING_SECRET_CHARS_MAX, Version, WEBHOOK_EVENTS_MAX, Webhook,
};

/// The formats by name; the version of Uploadcare's is a field of its own.
pub const FORMATS: [Format; 5] = [
    Format::Uploadcare(Version::V07),
    Format::JsonApi,
    Format::Lancer,
    Format::Standard,
    Format::CloudEvents,
];

/// Which subscriptions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Those with exactly this text as their target.
    pub target_url: String,
    /// Only that of this event, or all.
    pub event: Option<String>,
}

/// Why a request is refused (400).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// One text: `{"detail":…}`
    Detail(String),
    /// What is wrong with each field: `{"field":["…"]}`
    Fields(Vec<(String, Vec<String>)>),
    /// The project has such a webhook: `{"non_field_errors":["…"]}`
    NotUnique,
}

/// Reads a request to create a webhook.
pub fn create(fields: &Fields, view: View) -> Result<WebhookDraft, Invalid> {
    required_target(fields)?;
    let mut problems = Problems::default();
    let patch = read(fields, view, None, &mut problems);
    if fields.given("event").is_none() && (view != View::Own || fields.given("events").is_none()) {
        problems.add("event", "This field is required.".to_owned());
    }
    problems.none()?;
    let (Some(target_url), Some(events)) = (patch.target_url, patch.events) else {
        return Err(missing_target());
    };
    Ok(WebhookDraft {
        target_url,
        events,
        options: patch.options.unwrap_or_default(),
        format: patch.format.unwrap_or(Format::Uploadcare(view.version())),
        is_active: patch.is_active.unwrap_or(true),
        secret: patch.secret.apply(None),
        headers: patch.headers.apply(None).unwrap_or_default(),
        limits: Limits {
            rate_per_second: patch.rate_per_second.apply(None),
            burst: patch.burst.apply(None),
            in_flight: patch.in_flight.apply(None),
        },
    })
}

/// Reads a request to update `webhook`. What is not given stays.
pub fn update(fields: &Fields, view: View, webhook: &Webhook) -> Result<WebhookPatch, Invalid> {
    let mut problems = Problems::default();
    let patch = read(fields, view, Some(webhook), &mut problems);
    problems.none().map(|()| patch)
}

/// Reads a request to unsubscribe. The target is compared as text, so it need not be a URL.
pub fn unsubscribe(fields: &Fields) -> Result<Unsubscribe, Invalid> {
    let target_url = required_target(fields)?;
    let event = fields.given("event").map(|field| {
        field.as_text().map(str::to_owned).ok_or_else(|| one("event", not_a_choice(&field.shown())))
    });
    Ok(Unsubscribe { target_url, event: event.transpose()?.filter(|text| !text.is_empty()) })
}

fn required_target(fields: &Fields) -> Result<String, Invalid> {
    let field = fields.given("target_url").ok_or_else(missing_target)?;
    match field.as_text() {
        Some("") => Err(missing_target()),
        Some(text) => Ok(text.to_owned()),
        None => Err(one("target_url", "Not a valid string.".to_owned())),
    }
}

fn missing_target() -> Invalid {
    Invalid::Detail("`target_url` is missing.".to_owned())
}

fn one(field: &str, problem: String) -> Invalid {
    Invalid::Fields(vec![(field.to_owned(), vec![problem])])
}

#[derive(Default)]
struct Problems(Vec<(String, Vec<String>)>);

impl Problems {
    fn add(&mut self, field: &str, problem: String) {
        self.0.push((field.to_owned(), vec![problem]));
    }

    fn take<T>(&mut self, field: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|problem| self.add(field, problem)).ok()
    }

    fn none(self) -> Result<(), Invalid> {
        if self.0.is_empty() { Ok(()) } else { Err(Invalid::Fields(self.0)) }
    }
}

fn read(
    fields: &Fields,
    view: View,
    webhook: Option<&Webhook>,
    problems: &mut Problems,
) -> WebhookPatch {
    let target_url = fields.given("target_url").and_then(|field| match target_url(field) {
        Ok(url) => Some(url),
        Err(texts) => {
            problems.0.push(("target_url".to_owned(), texts));
            None
        }
    });
    let format = format(fields, view, webhook, problems);
    let events = events(fields, view, webhook, format, problems);
    let is_active = fields.given("is_active").and_then(|field| {
        let flag = field.as_bool().ok_or_else(|| "Must be a valid boolean.".to_owned());
        problems.take("is_active", flag)
    });
    let secret = fields
        .given("signing_secret")
        .map(secret)
        .map_or(Change::Keep, |read| problems.take("signing_secret", read).unwrap_or_default());
    let mut limit =
        |name: &str, max| own(fields, name, problems, |field| own_fields::limit(field, max));
    let rate_per_second = limit("rate_per_second", RATE_PER_SECOND_MAX);
    let burst = limit("burst", BURST_MAX);
    let in_flight = limit("in_flight", IN_FLIGHT_MAX);
    let headers = own(fields, "headers", problems, own_fields::headers);
    let options = options(fields, webhook, problems);
    WebhookPatch {
        target_url,
        events,
        options,
        format,
        is_active,
        secret,
        headers,
        rate_per_second,
        burst,
        in_flight,
    }
}

/// A field of our own: absent keeps, `null` or an empty text clears.
fn own<T>(
    fields: &Fields,
    name: &str,
    problems: &mut Problems,
    read: impl FnOnce(&Field) -> Result<T, String>,
) -> Change<T> {
    match fields.get(name) {
        None => Change::Keep,
        Some(field) if field.is_null() || field.as_text() == Some("") => Change::Clear,
        Some(field) => problems.take(name, read(field)).map_or(Change::Keep, Change::Set),
    }
}

fn target_url(field: &Field) -> Result<TargetUrl, Vec<String>> {
    let text = field.as_text().ok_or_else(|| vec!["Not a valid string.".to_owned()])?;
    if text.is_empty() {
        return Err(vec!["This field may not be blank.".to_owned()]);
    }
    TargetUrl::parse(text).map_err(|error| match error {
        UrlError::TooLong => vec![too_long(TARGET_URL_CHARS_MAX)],
        UrlError::Malformed => vec!["Enter a valid URL.".to_owned()],
        UrlError::Scheme | UrlError::Userinfo | UrlError::Port => {
            vec!["Enter a valid URL.".to_owned(), error.to_string()]
        }
    })
}

fn secret(field: &Field) -> Result<Change<Secret>, String> {
    let text = field.as_text().ok_or_else(|| "Not a valid string.".to_owned())?;
    if text.is_empty() {
        return Ok(Change::Clear);
    }
    if text.chars().count() > SIGNING_SECRET_CHARS_MAX {
        return Err(too_long(SIGNING_SECRET_CHARS_MAX));
    }
    if text.contains('\0') {
        return Err("Null characters are not allowed.".to_owned());
    }
    Ok(Change::Set(Secret::new(text.to_owned())))
}

/// The format that `format` and `version` ask for; `None` if they ask for nothing.
fn format(
    fields: &Fields,
    view: View,
    webhook: Option<&Webhook>,
    problems: &mut Problems,
) -> Option<Format> {
    let current = webhook.map(|webhook| webhook.format);
    let named = match fields.given("format").filter(|field| field.as_text() != Some("")) {
        None => None,
        Some(field) => Some(problems.take("format", named_format(field))?),
    };
    let version = fields.given("version").filter(|field| field.as_text() != Some(""));
    // A webhook that becomes one of Uploadcare's is of the view's version unless it says which.
    let asked = match (named, current) {
        (Some(Format::Uploadcare(_)), Some(Format::Uploadcare(version))) => {
            Some(Format::Uploadcare(version))
        }
        (Some(Format::Uploadcare(_)), _) => Some(Format::Uploadcare(view.version())),
        (named, _) => named,
    };
    let Some(field) = version else { return asked };
    let read = match asked.or(current) {
        Some(format) if !format.is_uploadcare() => {
            let sound = field.as_text() == Some(own_fields::OTHER_VERSION);
            sound.then_some(format).ok_or_else(|| {
                let choice = not_a_choice(&field.shown());
                format!("{choice} Webhooks of format {} have version 1.", format.name())
            })
        }
        _ => uploadcare_version(field, view, current)
            .map(Format::Uploadcare)
            .ok_or_else(|| not_a_choice(&field.shown())),
    };
    problems.take("version", read).or(asked)
}

fn named_format(field: &Field) -> Result<Format, String> {
    let known = FORMATS.iter().find(|format| field.as_text() == Some(format.name()));
    known.copied().ok_or_else(|| {
        let names = FORMATS.map(Format::name).join(", ");
        format!("{} Known formats: {names}.", not_a_choice(&field.shown()))
    })
}

/// API 0.7 makes webhooks of 0.7 only; one that is older may be sent back as it was read.
fn uploadcare_version(field: &Field, view: View, current: Option<Format>) -> Option<Version> {
    field.as_text().and_then(Version::parse).filter(|version| {
        view != View::Vendor(Version::V07)
            || *version == Version::V07
            || current == Some(Format::Uploadcare(*version))
    })
}

/// The events that are asked for, or `None`; checked, as are those that stay, against the format.
fn events(
    fields: &Fields,
    view: View,
    webhook: Option<&Webhook>,
    asked: Option<Format>,
    problems: &mut Problems,
) -> Option<Vec<EventName>> {
    let current = webhook.map(|webhook| webhook.format);
    let format = asked.or(current).unwrap_or(Format::Uploadcare(view.version()));
    let stays = webhook.map(|webhook| webhook.events.as_slice()).unwrap_or_default();
    let first = stays.first().map(EventName::as_str);
    let list = fields.given("events").filter(|field| view == View::Own && !says(field, stays));
    // A webhook of many events is sent back with the first of them as its `event`.
    let many = stays.len() > 1 || list.is_some();
    let event = fields.given("event").filter(|field| !many || field.as_text() != first);
    if let Some(list) = list {
        let names = problems.take("events", listed(list, format, view))?;
        let other = event.filter(|event| !names.iter().any(|name| is_text(event, name)));
        if let Some(other) = other {
            problems.add("event", format!("\"{}\" is not one of events.", other.shown()));
        }
        return Some(names);
    }
    if let Some(event) = event {
        return problems.take("event", one_event(event, format, view).map(|name| vec![name]));
    }
    let lost = stays.iter().find(|name| !names::subscribable(format, name));
    if let Some(name) = lost.filter(|_| asked.is_some()) {
        match format {
            Format::Uploadcare(version @ (Version::V05 | Version::V06)) => {
                problems.add("version", not_carried(version.as_str(), version));
            }
            _ => problems.add("event", not_of_format(name.as_str(), format)),
        }
    }
    None
}

/// `events` of our own view: each name once, in order.
fn listed(field: &Field, format: Format, view: View) -> Result<Vec<EventName>, String> {
    let Field::Json(Json::Array(items)) = field else {
        return Err(format!("Expected a list of events, not \"{}\".", field.shown()));
    };
    let mut names = Vec::new();
    for item in items {
        let name = one_event(&Field::Json(item.clone()), format, view)?;
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > WEBHOOK_EVENTS_MAX {
            return Err(format!("Ensure this list has no more than {WEBHOOK_EVENTS_MAX} events."));
        }
    }
    if names.is_empty() { Err("This list may not be empty.".to_owned()) } else { Ok(names) }
}

fn one_event(field: &Field, format: Format, view: View) -> Result<EventName, String> {
    let shown = field.shown();
    let name = field.as_text().and_then(EventName::parse).ok_or_else(|| not_a_choice(&shown))?;
    // Uploadcare's clients fail on a list that holds an event which they don't know.
    let unknown = kinds::kind_of(name.as_str()) == Kind::Custom;
    if format.is_uploadcare() && unknown && view != View::Own {
        return Err(not_a_choice(&shown));
    }
    if names::subscribable(format, &name) {
        return Ok(name);
    }
    Err(match format {
        Format::Uploadcare(version @ (Version::V05 | Version::V06)) => not_carried(&shown, version),
        _ => not_of_format(&shown, format),
    })
}

/// Whether a field is the list of these names.
fn says(field: &Field, names: &[EventName]) -> bool {
    let Field::Json(Json::Array(items)) = field else { return false };
    !names.is_empty()
        && items.len() == names.len()
        && items.iter().zip(names).all(|(item, name)| item.as_str() == Some(name.as_str()))
}

fn is_text(field: &Field, name: &EventName) -> bool {
    field.as_text() == Some(name.as_str())
}

/// The choices of some formats; `None` if nothing is asked for.
fn options(
    fields: &Fields,
    webhook: Option<&Webhook>,
    problems: &mut Problems,
) -> Option<FormatOptions> {
    let style = own(fields, "signature_style", problems, own_fields::signature_style);
    let secret = own(fields, "include_secret", problems, own_fields::include_secret);
    let delete = own(fields, "file_delete", problems, own_fields::file_delete);
    if (&style, &secret, &delete) == (&Change::Keep, &Change::Keep, &Change::Keep) {
        return None;
    }
    let now = webhook.map(|webhook| webhook.options).unwrap_or_default();
    Some(FormatOptions {
        signature_style: style.apply(Some(now.signature_style)).unwrap_or_default(),
        include_secret: secret.apply(Some(now.include_secret)).unwrap_or_default(),
        file_delete: delete.apply(Some(now.file_delete)).unwrap_or_default(),
    })
}

fn too_long(chars_max: usize) -> String {
    format!("Ensure this field has no more than {chars_max} characters.")
}

fn not_a_choice(value: &str) -> String {
    format!("\"{}\" is not a valid choice.", clip(value))
}

fn not_carried(value: &str, version: Version) -> String {
    let version = version.as_str();
    format!("{} Webhooks of version {version} carry file.uploaded only.", not_a_choice(value))
}

fn not_of_format(value: &str, format: Format) -> String {
    let choice = not_a_choice(value);
    match format {
        Format::Uploadcare(_) => choice,
        _ => format!("{choice} It is no event of format {}.", format.name()),
    }
}

#[cfg(test)]
mod tests;
