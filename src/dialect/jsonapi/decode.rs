//! Requests of JSON:API projects, from fields to drafts, patches and pages.
//!
//! Owns validation and its texts, which are full messages as Rails writes them ("Target url is
//! invalid"). Every field's problem is told at once. Must never take a signing secret from a
//! client: it is made for the webhook.
//!
//! The fields stand in the object `webhook`, in the `attributes` of a resource `data` (as clients of
//! the JSON:API specification write), or bare. Unknown ones are ignored, as there. `null` is the
//! same as absent, but for the fields that are ours, which it clears.

use super::resource::{TYPE, VERSION};
use crate::dialect::body::{Field, Fields};
use crate::dialect::names;
use crate::dialect::uploadcare::own_fields::{self, BURST_MAX, IN_FLIGHT_MAX, RATE_PER_SECOND_MAX};
use crate::model::draft::{Change, WebhookDraft, WebhookPatch};
use crate::model::event::EventName;
use crate::model::json::Json;
use crate::model::secret::Secret;
use crate::model::target::{TARGET_URL_CHARS_MAX, TargetUrl, UrlError};
use crate::model::webhook::{
    Format, FormatOptions, Limits, SignatureStyle, WEBHOOK_EVENTS_MAX, Webhook,
};

/// Items of a page, unless asked for.
pub const PAGE_ITEMS: u32 = 20;
/// Most items of a page; who asks for more gets so many.
pub const PAGE_ITEMS_MAX: u32 = 100;

/// Full messages, one for each problem (422).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub Vec<String>);

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// From 1.
    pub page: u32,
    /// How many a page has, at most [`PAGE_ITEMS_MAX`].
    pub items: u32,
}

/// Reads a request to create a webhook; `secret` will sign its deliveries.
pub fn create(fields: &Fields, secret: Secret) -> Result<WebhookDraft, Invalid> {
    let fields = unwrapped(fields)?;
    let mut problems = Problems::default();
    for field in ["target_url", "events"] {
        if fields.given(field).is_none() {
            problems.blank(field);
        }
    }
    let patch = read(&fields, FormatOptions::default(), &mut problems);
    let (Some(target_url), Some(events), true) = (patch.target_url, patch.events, problems.none())
    else {
        return Err(problems.end());
    };
    Ok(WebhookDraft {
        target_url,
        events,
        format: Format::JsonApi,
        is_active: patch.is_active.unwrap_or(true),
        secret: Some(secret),
        headers: patch.headers.apply(None).unwrap_or_default(),
        limits: Limits {
            rate_per_second: patch.rate_per_second.apply(None),
            burst: patch.burst.apply(None),
            in_flight: patch.in_flight.apply(None),
        },
        options: patch.options.unwrap_or_default(),
    })
}

/// Reads a request to update `webhook`. What is not given stays.
pub fn update(fields: &Fields, webhook: &Webhook) -> Result<WebhookPatch, Invalid> {
    let fields = unwrapped(fields)?;
    let mut problems = Problems::default();
    let patch = read(&fields, webhook.options, &mut problems);
    if problems.none() { Ok(patch) } else { Err(problems.end()) }
}

/// Reads which part of a list a query asks for.
pub fn page(query: &Fields) -> Result<Page, Invalid> {
    let mut problems = Problems::default();
    let mut number = |name: &str, default: u32| match query.given(name) {
        Some(field) if field.as_text() != Some("") => {
            let number = field.as_u32().filter(|number| *number > 0);
            problems.take(name, number, Problem::Invalid).unwrap_or(default)
        }
        _ => default,
    };
    let page = number("page", 1);
    let items = number("items", PAGE_ITEMS).min(PAGE_ITEMS_MAX);
    if problems.none() { Ok(Page { page, items }) } else { Err(problems.end()) }
}

/// What to say of a target that the address check refuses.
#[must_use]
pub fn target_refused(why: &str) -> Invalid {
    Invalid(vec![format!("Target url is invalid: {why}")])
}

enum Problem {
    Blank,
    Invalid,
    Because(String),
}

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn blank(&mut self, field: &str) {
        self.add(field, Problem::Blank);
    }

    fn add(&mut self, field: &str, problem: Problem) {
        let name = humanised(field);
        self.0.push(match problem {
            Problem::Blank => format!("{name} can't be blank"),
            Problem::Invalid => format!("{name} is invalid"),
            Problem::Because(why) => format!("{name} is invalid: {}", why.trim_end_matches('.')),
        });
    }

    fn take<T>(&mut self, field: &str, value: Option<T>, problem: Problem) -> Option<T> {
        if value.is_none() {
            self.add(field, problem);
        }
        value
    }

    fn none(&self) -> bool {
        self.0.is_empty()
    }

    fn end(self) -> Invalid {
        Invalid(self.0)
    }
}

/// `target_url` as Rails names it to people: `Target url`.
fn humanised(field: &str) -> String {
    let text = field.replace('_', " ");
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn unwrapped(fields: &Fields) -> Result<Fields, Invalid> {
    let object = |outer: &str, fields: &Fields| {
        fields.under(outer).transpose().map_err(|kind| {
            let name = humanised(outer);
            Invalid(vec![format!("{name} is invalid: it has to be an object, not {kind}")])
        })
    };
    if let Some(webhook) = object("webhook", fields)? {
        return Ok(webhook);
    }
    let Some(resource) = object("data", fields)? else { return Ok(fields.clone()) };
    if let Some(other) = resource.given("type").filter(|field| field.as_text() != Some(TYPE)) {
        let shown = other.shown();
        return Err(Invalid(vec![format!("Type is invalid: it is {TYPE}, not \"{shown}\"")]));
    }
    // A resource without attributes says as much as an empty object.
    Ok(object("attributes", &resource)?.unwrap_or_default())
}

fn read(fields: &Fields, options: FormatOptions, problems: &mut Problems) -> WebhookPatch {
    let target_url = fields.given("target_url").and_then(|field| target_url(field, problems));
    let events = fields.given("events").and_then(|field| events(field, problems));
    let is_active = flag(fields, "is_active", problems);
    if let Some(field) = fields.given("version") {
        let sound = field.as_text() == Some(VERSION) || field.as_u32() == Some(1);
        problems.take("version", sound.then_some(()), Problem::Invalid);
    }
    let mut limit =
        |name: &str, max| own(fields, name, problems, |field| own_fields::limit(field, max));
    let rate_per_second = limit("rate_per_second", RATE_PER_SECOND_MAX);
    let burst = limit("burst", BURST_MAX);
    let in_flight = limit("in_flight", IN_FLIGHT_MAX);
    let headers = own(fields, "headers", problems, own_fields::headers);
    let options = self::options(fields, options, problems);
    WebhookPatch {
        target_url,
        events,
        format: None,
        is_active,
        secret: Change::Keep,
        headers,
        rate_per_second,
        burst,
        in_flight,
        options,
    }
}

fn target_url(field: &Field, problems: &mut Problems) -> Option<TargetUrl> {
    let text = problems.take("target_url", field.as_text(), Problem::Invalid)?;
    if text.is_empty() {
        problems.blank("target_url");
        return None;
    }
    let error = match TargetUrl::parse(text) {
        Ok(url) => return Some(url),
        Err(error) => error,
    };
    match error {
        UrlError::TooLong => problems
            .0
            .push(format!("Target url is too long (maximum is {TARGET_URL_CHARS_MAX} characters)")),
        UrlError::Malformed | UrlError::Scheme => problems.add("target_url", Problem::Invalid),
        // URLs that look sound: what is wrong is told.
        UrlError::Userinfo | UrlError::Port => {
            problems.add("target_url", Problem::Because(error.to_string()));
        }
    }
    None
}

/// The names, in order, each once.
fn events(field: &Field, problems: &mut Problems) -> Option<Vec<EventName>> {
    let Field::Json(Json::Array(items)) = field else {
        problems.add("events", Problem::Invalid);
        return None;
    };
    let mut names: Vec<EventName> = Vec::new();
    let mut sound = true;
    // Rails' own forms send an empty text first, so that an empty selection is sent at all.
    for item in items.iter().filter(|item| item.as_str() != Some("")) {
        match item.as_str().and_then(EventName::parse) {
            Some(name) if names.contains(&name) => {}
            Some(name) if names::subscribable(Format::JsonApi, &name) => names.push(name),
            _ => {
                let shown = Field::Json(item.clone()).shown();
                let why = format!("\"{shown}\" is not included in the list");
                problems.add("events", Problem::Because(why));
                sound = false;
            }
        }
        if names.len() > WEBHOOK_EVENTS_MAX || problems.0.len() > WEBHOOK_EVENTS_MAX {
            problems.0.push(format!("Events is too long (maximum is {WEBHOOK_EVENTS_MAX} events)"));
            return None;
        }
    }
    if names.is_empty() && sound {
        problems.blank("events");
    }
    Some(names)
}

fn flag(fields: &Fields, name: &str, problems: &mut Problems) -> Option<bool> {
    let field = fields.given(name)?;
    problems.take(name, field.as_bool(), Problem::Invalid)
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
        Some(field) => match read(field) {
            Ok(value) => Change::Set(value),
            Err(why) => {
                problems.add(name, Problem::Because(why));
                Change::Keep
            }
        },
    }
}

/// The options after the request, or `None` if it changes none.
fn options(fields: &Fields, old: FormatOptions, problems: &mut Problems) -> Option<FormatOptions> {
    let style = own(fields, "signature_style", problems, |field| match field.as_text() {
        Some("v1") => Ok(SignatureStyle::V1),
        Some("bare") => Ok(SignatureStyle::Bare),
        _ => Err("it is v1 or bare".to_owned()),
    });
    let include_secret = own(fields, "include_secret", problems, |field| {
        field.as_bool().ok_or_else(|| "it is true or false".to_owned())
    });
    let new = FormatOptions {
        signature_style: style.apply(Some(old.signature_style)).unwrap_or_default(),
        include_secret: include_secret.apply(Some(old.include_secret)).unwrap_or_default(),
        ..old
    };
    (new != old).then_some(new)
}

#[cfg(test)]
mod tests;
