//! Requests to the webhook API, from fields to drafts and patches.
//!
//! Owns validation and its texts, which are those of Django REST framework: clients parse them.
//! Every field's problem is told at once. Must never look at other webhooks: uniqueness is the
//! store's precondition.
//!
//! `null` is the same as absent for Uploadcare's own fields, on create and on update, because
//! several clients can't omit a field: a partial update must never silently stop signing. For the
//! fields that are ours, `null` clears.

use super::headers::View;
use super::kinds;
use super::own_fields::{self, BURST_MAX, IN_FLIGHT_MAX, RATE_PER_SECOND_MAX};
use crate::dialect::body::{Field, Fields, clip};
use crate::model::draft::{Change, WebhookDraft, WebhookPatch};
use crate::model::event::{EventName, Kind};
use crate::model::secret::Secret;
use crate::model::target::{TARGET_URL_CHARS_MAX, TargetUrl, UrlError};
use crate::model::webhook::{Format, Limits, SIGNING_SECRET_CHARS_MAX, Version, Webhook};

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
    if fields.given("event").is_none() {
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
    let event = event(fields, view, webhook, format, problems);
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
    WebhookPatch {
        target_url,
        events: event.map(|event| vec![event]),
        options: None,
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
    if let Some(field) = fields.given("format")
        && field.as_text() != Some("uploadcare")
    {
        let problem = format!("{} Known formats: uploadcare.", not_a_choice(&field.shown()));
        problems.add("format", problem);
    }
    let field = fields.given("version").filter(|field| field.as_text() != Some(""))?;
    let current = webhook.map(|webhook| webhook.format);
    let version = field.as_text().and_then(Version::parse).filter(|version| {
        // API 0.7 makes webhooks of 0.7 only; one that is older may be sent back as it was read.
        view != View::Vendor(Version::V07)
            || *version == Version::V07
            || current == Some(Format::Uploadcare(*version))
    });
    problems
        .take("version", version.ok_or_else(|| not_a_choice(&field.shown())))
        .map(Format::Uploadcare)
}

/// The event that is asked for, or `None`; checked, as is the one that stays, against the version.
fn event(
    fields: &Fields,
    view: View,
    webhook: Option<&Webhook>,
    format: Option<Format>,
    problems: &mut Problems,
) -> Option<EventName> {
    let format = format.or(webhook.map(|w| w.format));
    let version = match format {
        Some(Format::Uploadcare(version)) => version,
        _ => view.version(),
    };
    let Some(field) = fields.given("event") else {
        let stays = webhook.map(|w| w.events.as_slice()).unwrap_or_default();
        if stays.iter().any(|name| !kinds::carries(version, kinds::kind_of(name.as_str()))) {
            problems.add("version", not_carried(version.as_str(), version));
        }
        return None;
    };
    let shown = field.shown();
    let name = field.as_text().and_then(EventName::parse).ok_or_else(|| not_a_choice(&shown));
    let name = name.and_then(|name| {
        let kind = kinds::kind_of(name.as_str());
        // Uploadcare's clients fail on a list that holds an event which they don't know.
        if kind == Kind::Custom && view != View::Own {
            return Err(not_a_choice(&shown));
        }
        if !kinds::carries(version, kind) {
            return Err(not_carried(&shown, version));
        }
        Ok(name)
    });
    problems.take("event", name)
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

#[cfg(test)]
mod tests;
