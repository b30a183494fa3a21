//! The languages that events come in: bytes to events.
//!
//! Owns one file for each source, what each is given and may answer, and the questions that are
//! asked of any of them (one `match` each). Must never do I/O, ask the time or store anything.
//!
//! A source is a file with two functions, as its neighbours have: `translate` makes events of a
//! request, `reply` says what that system wants to hear. A new one is that file, its line in
//! [`ALL`] and [`name`], and an arm in each `match`; `tests/sources` then asks for its fixture.
//!
//! Sources yield canonical events: files in the shape of Uploadcare's 0.7 `data`, sessions in
//! that of Lancer's table. What a source does not know stays `null` (in Lancer's table, which has
//! types: empty).

pub mod cloudevents;
mod file;
mod key;
pub mod native;
pub mod nextcloud;
mod read;
pub mod s3;
pub mod sample;
pub mod seaweedfs;
mod split;
pub mod tusd;
pub mod uploadcare;
mod uuid;

use thiserror::Error;

use crate::dialect::object::{Object, array};
use crate::logic::sign::VerifyError;
use crate::model::event::Source;
use crate::model::notice;
use crate::model::project::ProjectSettings;
use crate::model::secret::Secret;
use crate::model::time::Wall;
use native::{NewEvent, PublishLimits};

pub use key::{KEY_WINDOW_MS, Key, REPEAT_WINDOW_MS};

/// All sources that have a path of their own.
pub const ALL: [Source; 6] = [
    Source::Uploadcare,
    Source::Tusd,
    Source::S3,
    Source::CloudEvents,
    Source::SeaweedFs,
    Source::Nextcloud,
];

/// A request's headers, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head(Vec<(String, String)>);

/// What a translation needs to know beside the request.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The project's public key.
    pub public_key: &'a str,
    /// The project's choices.
    pub settings: &'a ProjectSettings,
    /// What the sender calls itself, where one project has several (`?instance=`).
    pub instance: Option<&'a str>,
    /// What the sender's signature has to be of; `None` asks for no signature.
    pub secret: Option<&'a Secret>,
    /// What one request may hold.
    pub limits: PublishLimits,
    /// Now.
    pub now: Wall,
}

/// One event, and the key under which it is accepted once.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// The event.
    pub event: NewEvent,
    /// Its key.
    pub key: Key,
}

/// What a request means.
#[derive(Clone, Debug, PartialEq)]
pub enum Intake {
    /// Events, to be accepted all or none.
    Events(Vec<Occurrence>),
    /// Nothing that a webhook could want.
    Nothing(&'static str),
    /// A topic asks whether its messages are wanted.
    Confirm(s3::Confirmation),
}

/// Why a request is refused. Nothing of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It can't be read (400).
    #[error("{0}")]
    Malformed(String),
    /// It is not signed as the token asks for (401).
    #[error("{0}")]
    Signature(VerifyError),
    /// It is not signed at all (401).
    #[error("the token has a signing secret, but the request has no {0} header")]
    Unsigned(&'static str),
    /// It holds too much (413).
    #[error("{0}")]
    TooLarge(String),
}

/// What is said in answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// All events are on disk, or were before: their ids, and how many are not new.
    Accepted {
        /// Ids, in order.
        ids: &'a [String],
        /// How many had been accepted before.
        duplicates: u64,
    },
    /// It was understood, and nothing had to be stored.
    Ignored(&'a str),
    /// It was refused.
    Refused(u16, &'a str),
    /// The store can't take it now.
    Unavailable(&'a str),
}

/// An answer; all are JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Head {
    /// Headers in any case.
    #[must_use]
    pub fn new<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Head {
        let lower = |(name, value): (&str, &str)| (name.to_ascii_lowercase(), value.to_owned());
        Head(headers.into_iter().map(lower).collect())
    }

    /// The first value of a header, by its name in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Refusal {
    /// The HTTP status that tells it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Refusal::Malformed(_) => 400,
            Refusal::Signature(_) | Refusal::Unsigned(_) => 401,
            Refusal::TooLarge(_) => 413,
        }
    }
}

/// A source by the last part of its path.
#[must_use]
pub fn by_name(text: &str) -> Option<Source> {
    ALL.into_iter().find(|source| name(*source) == text)
}

/// The last part of a source's path.
#[must_use]
pub fn name(source: Source) -> &'static str {
    match source {
        Source::Native => "events",
        Source::Test => "test",
        Source::Send => "send",
        Source::Uploadcare => "uploadcare",
        Source::Tusd => "tusd",
        Source::S3 => "s3",
        Source::CloudEvents => "cloudevents",
        Source::SeaweedFs => "seaweedfs",
        Source::Nextcloud => "nextcloud",
        Source::Notice => "notice",
    }
}

/// What a request means, within the project's limits.
pub fn translate(
    source: Source,
    head: &Head,
    body: &[u8],
    context: &Context<'_>,
) -> Result<Intake, Refusal> {
    let intake = match source {
        Source::Uploadcare => uploadcare::translate(head, body, context),
        Source::Tusd => tusd::translate(head, body, context),
        Source::S3 => s3::translate(head, body, context),
        Source::CloudEvents => cloudevents::translate(head, body, context),
        Source::SeaweedFs => seaweedfs::translate(head, body, context),
        Source::Nextcloud => nextcloud::translate(head, body, context),
        Source::Native | Source::Test | Source::Send | Source::Notice => {
            Ok(Intake::Nothing("no source"))
        }
    }?;
    match intake {
        Intake::Events(events) => within_limits(source, events, context),
        other => Ok(other),
    }
}

/// What that system wants to hear.
#[must_use]
pub fn reply(source: Source, said: &Said<'_>) -> Reply {
    match source {
        Source::Uploadcare => uploadcare::reply(said),
        Source::Tusd => tusd::reply(said),
        Source::S3 => s3::reply(said),
        Source::CloudEvents => cloudevents::reply(said),
        Source::SeaweedFs => seaweedfs::reply(said),
        Source::Nextcloud => nextcloud::reply(said),
        Source::Native | Source::Test | Source::Send | Source::Notice => plain_reply(said),
    }
}

/// Whether the sender itself chooses the names of its events.
fn chooses_names(source: Source) -> bool {
    match source {
        Source::Uploadcare
        | Source::CloudEvents
        | Source::Native
        | Source::Test
        | Source::Send
        | Source::Notice => true,
        Source::Tusd | Source::S3 | Source::SeaweedFs | Source::Nextcloud => false,
    }
}

/// Where a project has a closed list of names, a name that its sender chose is refused as on
/// publish; one that this mapping chose is passed over, because the sender can't help it.
fn within_limits(
    source: Source,
    mut events: Vec<Occurrence>,
    context: &Context<'_>,
) -> Result<Intake, Refusal> {
    let is_ours = |one: &&Occurrence| notice::is_reserved(one.event.name.as_str());
    if let Some(ours) = events.iter().find(is_ours) {
        return Err(Refusal::Malformed(notice::refusal(ours.event.name.as_str())));
    }
    if let Some(types) = &context.settings.event_types {
        let listed = |one: &Occurrence| types.iter().any(|name| name == one.event.name.as_str());
        match events.iter().find(|one| !listed(one)) {
            Some(other) if chooses_names(source) => {
                return Err(Refusal::Malformed(format!(
                    "\"{}\" is not one of this project's event types: {}.",
                    other.event.name,
                    types.join(", ")
                )));
            }
            _ => events.retain(listed),
        }
    }
    let PublishLimits { event_bytes_max, events_max } = context.limits;
    if events.len() > events_max {
        let text = format!("The request holds more than {events_max} events.");
        return Err(Refusal::TooLarge(text));
    }
    if let Some(large) = events.iter().find(|one| one.event.size_bytes() > event_bytes_max) {
        let bytes = large.event.size_bytes();
        let text = format!("An event has {bytes} bytes, more than {event_bytes_max}.");
        return Err(Refusal::TooLarge(text));
    }
    if events.is_empty() {
        return Ok(Intake::Nothing("none of its events is one of this project's types"));
    }
    Ok(Intake::Events(events))
}

/// The answer to systems that look at the status alone.
fn plain_reply(said: &Said<'_>) -> Reply {
    let detail =
        |status, text: &str| Reply { status, body: Object::new().text("detail", text).end() };
    match said {
        Said::Accepted { ids, duplicates } => {
            let ids = ids.iter().map(|id| {
                let mut out = Vec::new();
                crate::model::json::write_string(id, &mut out);
                out
            });
            let object = Object::new().raw("events", &array(ids)).number("duplicates", *duplicates);
            Reply { status: 200, body: object.end() }
        }
        Said::Ignored(why) => {
            let object = Object::new().raw("events", b"[]").text("ignored", why);
            Reply { status: 200, body: object.end() }
        }
        Said::Refused(status, text) => detail(*status, text),
        Said::Unavailable(text) => detail(503, text),
    }
}
