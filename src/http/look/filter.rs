//! The query of a list: which rows are wanted, and which page of them.
//!
//! Owns what each filter takes, and the words for one that it does not. Must never ignore a filter:
//! a list that shows more than was asked for is wrong.

use http::Response;
use http::request::Parts;
use url::form_urlencoded;

use super::super::body::Body;
use super::super::metrics::SOURCES;
use super::super::operator::field_error;
use super::page::{Cut, From, PER_PAGE_DEFAULT, PER_PAGE_MAX};
use crate::model::attempt::LastCode;
use crate::model::delivery::Status;
use crate::model::event::{EVENT_NAME_BYTES_MAX, EventName, Source};
use crate::model::ids::{DeliveryId, EventId, Seq, WebhookId};
use crate::model::target::Origin;
use crate::model::time::{Wall, parse_rfc3339};

/// Names and values of one query.
const PAIRS_MAX: usize = 32;

/// A query that can't be answered: the parameter, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub name: String,
    pub problem: String,
}

impl Bad {
    pub(super) fn new(name: &str, problem: String) -> Bad {
        Bad { name: name.to_owned(), problem }
    }

    /// 400 that names it.
    pub(super) fn response(&self) -> Response<Body> {
        field_error(&self.name, &self.problem)
    }
}

/// A query, read.
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads a query whose parameters are these alone. An empty value is none, as forms send it.
    pub(super) fn read(parts: &Parts, known: &[&str]) -> Result<Query, Bad> {
        Query::of(parts.uri.query().unwrap_or_default(), known)
    }

    pub(super) fn of(text: &str, known: &[&str]) -> Result<Query, Bad> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (count, (name, value)) in form_urlencoded::parse(text.as_bytes()).enumerate() {
            if count == PAIRS_MAX {
                return Err(Bad::new("query", format!("More than {PAIRS_MAX} parameters.")));
            }
            if !known.contains(&&*name) {
                let problem = format!("Unknown parameter. Known are {}.", known.join(", "));
                return Err(Bad::new(&name, problem));
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(Bad::new(&name, "It stands in the query twice.".to_owned()));
            }
            if !value.is_empty() {
                pairs.push((name.into_owned(), value.into_owned()));
            }
        }
        Ok(Query { pairs })
    }

    /// What was given, for the links of a page.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A parameter, read by `parse`; `wanted` says what it takes.
    fn parsed<T>(
        &self,
        name: &str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Bad> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Bad::new(name, format!("{text:?} is not {wanted}."))),
        }
    }

    /// Which page; `seq` reads the id of a row, and `wanted` says what that looks like.
    pub(super) fn cut(&self, seq: impl Fn(&str) -> Option<Seq>, wanted: &str) -> Result<Cut, Bad> {
        let after = self.parsed("after", wanted, &seq)?;
        let before = self.parsed("before", wanted, &seq)?;
        let from = match (after, before) {
            (None, None) => From::Start,
            (Some(after), None) => From::After(after),
            (None, Some(before)) => From::Before(before),
            (Some(_), Some(_)) => {
                return Err(Bad::new("before", "A page is after a row or before one.".to_owned()));
            }
        };
        let per_page = format!("a whole number from 1 to {PER_PAGE_MAX}");
        let count = |text: &str| {
            let is_number = text.bytes().all(|b| b.is_ascii_digit());
            let count = text.parse().ok().filter(|_| is_number);
            count.filter(|count| (1..=PER_PAGE_MAX).contains(count))
        };
        let per_page = self.parsed("per_page", &per_page, count)?.unwrap_or(PER_PAGE_DEFAULT);
        let since = self.instant("since")?;
        let until = self.instant("until")?;
        if let (Some(since), Some(until)) = (since, until)
            && until < since
        {
            return Err(Bad::new("until", "It is before since.".to_owned()));
        }
        Ok(Cut {
            from,
            per_page: per_page as usize,
            least: since.map_or(Seq(0), Seq::at),
            // Numbers of that very instant are left out.
            greatest: until.map_or(Seq(u64::MAX), |until| Seq(Seq::at(until).0.saturating_sub(1))),
            is_filtered: false,
        })
    }

    fn instant(&self, name: &str) -> Result<Option<Wall>, Bad> {
        let wanted = "an instant such as 2026-11-21T19:55:41Z (RFC 3339; write + as %2B)";
        self.parsed(name, wanted, parse_rfc3339)
    }
}

/// What a delivery's event has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OfEvent {
    Id(EventId),
    Name(EventName),
}

/// Which deliveries are wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    pub status: Option<Status>,
    pub webhook: Option<WebhookId>,
    /// A webhook was named that can't be one of the project's.
    pub is_none: bool,
    pub event: Option<OfEvent>,
    pub target: Option<Origin>,
    pub code: Option<LastCode>,
}

impl Wanted {
    /// The parameters of a list of deliveries.
    pub(super) const KNOWN: [&'static str; 10] = [
        "status", "webhook", "event", "target", "code", "since", "until", "per_page", "after",
        "before",
    ];

    /// Reads them. `by_public_id` finds a webhook of the project by its `wh-…` id.
    pub(super) fn read(
        query: &Query,
        by_public_id: impl Fn(&str) -> Option<WebhookId>,
    ) -> Result<Wanted, Bad> {
        let statuses = Status::ALL.map(Status::as_str).join(", ");
        let status = query.parsed("status", &format!("one of {statuses}"), Status::parse)?;
        let webhook = query.parsed("webhook", "the id of a webhook", |text| {
            let of_public = text.starts_with("wh-").then(|| by_public_id(text));
            of_public.or_else(|| WebhookId::parse(text).map(Some))
        })?;
        let event = format!(
            "the id of an event (evt_…) or an event name (1 to {EVENT_NAME_BYTES_MAX} letters, \
             digits, \"_\", \".\" or \"-\")"
        );
        let event = query.parsed("event", &event, |text| {
            let id = EventId::parse(text).map(OfEvent::Id);
            id.or_else(|| EventName::parse(text).map(OfEvent::Name))
        })?;
        let target =
            query.parsed("target", "a scheme and host, or the id of a target", |text| {
                Origin::parse_id(text).or_else(|| Origin::parse(text).ok())
            })?;
        let code = query.parsed("code", LastCode::FORMS, LastCode::parse)?;
        let is_none = webhook == Some(None);
        Ok(Wanted { status, webhook: webhook.flatten(), is_none, event, target, code })
    }
}

/// The number in the id of a delivery.
pub(super) fn delivery_seq(text: &str) -> Option<Seq> {
    DeliveryId::parse(text).map(|id| id.seq)
}

/// The number in the id of an event.
pub(super) fn event_seq(text: &str) -> Option<Seq> {
    EventId::parse(text).map(|id| id.seq)
}

/// What an event has to be.
#[derive(Debug)]
pub(super) struct WantedEvents {
    pub name: Option<EventName>,
    pub source: Option<Source>,
}

impl WantedEvents {
    /// The parameters of a list of events.
    pub(super) const KNOWN: [&'static str; 7] =
        ["event", "source", "since", "until", "per_page", "after", "before"];

    /// Reads them.
    pub(super) fn read(query: &Query) -> Result<WantedEvents, Bad> {
        let name = format!(
            "an event name: 1 to {EVENT_NAME_BYTES_MAX} letters, digits, \"_\", \".\" or \"-\""
        );
        let name = query.parsed("event", &name, EventName::parse)?;
        let sources = || SOURCES.into_iter().chain([Source::Notice]);
        let names = sources().map(crate::source::name).collect::<Vec<_>>().join(", ");
        let source = query.parsed("source", &format!("one of {names}"), |text| {
            sources().find(|source| crate::source::name(*source) == text)
        })?;
        Ok(WantedEvents { name, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_whole_or_not_at_all() {
        let query = Query::of("a=1&b=x%2By+z&c=", &["a", "b", "c"]).expect("is known");
        assert_eq!(query.get("b"), Some("x+y z"));
        assert_eq!(query.get("c"), None);
        let bad =
            |text: &str| Query::of(text, &["a", "b"]).map(|_| ()).expect_err("is refused").name;
        assert_eq!(bad("a=1&d=2"), "d");
        assert_eq!(bad("a=1&b=2&a=1"), "a");
        assert_eq!(bad(&vec!["a="; PAIRS_MAX + 1].join("&")), "query");
    }

    #[test]
    fn times_are_numbers() {
        let cut = |text: &str| {
            let query = Query::of(text, &Wanted::KNOWN).expect("is known");
            query.cut(delivery_seq, "an id")
        };
        let whole = cut("").expect("is sound");
        assert_eq!((whole.least, whole.greatest), (Seq(0), Seq(u64::MAX)));
        let some = cut("since=1970-01-01T00:00:01Z&until=1970-01-01T00:00:02Z").expect("is sound");
        assert_eq!((some.least, some.greatest), (Seq(1_000 << 10), Seq((2_000 << 10) - 1)));
        assert_eq!(cut("until=1970-01-01T00:00:00Z").expect("is sound").greatest, Seq(0));
        for (text, name) in [
            ("since=1970-01-01T00:00:02Z&until=1970-01-01T00:00:01Z", "until"),
            ("per_page=0", "per_page"),
            ("per_page=1001", "per_page"),
            ("after=7", "after"),
        ] {
            assert_eq!(cut(text).expect_err("is refused").name, name, "{text}");
        }
    }
}
