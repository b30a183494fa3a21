//! Lists that come in pages, and what they are filtered by.
//!
//! Owns the way through the pages and the text of a query. Must never read more than was asked for.

use http::Method;

use super::project::rows;
use crate::app::Stop;
use crate::app::args::Times;
use crate::app::config::units::duration_ms;
use crate::app::control::{Control, number};
use crate::app::exit::Exit;
use crate::clock;
use crate::model::json::Json;
use crate::model::time::{Wall, parse_rfc3339};

/// Rows of one page.
const PAGE_ROWS_MAX: u32 = 100;
/// Pages that are read at most: a page that finds nothing still leads to the next.
const PAGES_MAX: usize = 100_000;

/// The query of a request.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    pub(super) fn text(mut self, name: &'static str, value: Option<&str>) -> Query {
        self.0.extend(value.map(|value| (name, escaped(value))));
        self
    }

    pub(super) fn number(self, name: &'static str, value: Option<u32>) -> Query {
        self.text(name, value.map(|value| value.to_string()).as_deref())
    }

    pub(super) fn times(self, times: &Times) -> Result<Query, Stop> {
        let since = times.since.as_deref().map(instant).transpose()?;
        let until = times.until.as_deref().map(instant).transpose()?;
        Ok(self.text("since", since.as_deref()).text("until", until.as_deref()))
    }

    /// The path with it.
    pub(super) fn of(&self, path: &str) -> String {
        let pairs: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
    }
}

/// An instant of the command line as the API takes it: as it is written, or so long ago.
pub(super) fn instant(text: &str) -> Result<String, Stop> {
    let wall = match (duration_ms(text), parse_rfc3339(text)) {
        (Ok(ms), _) => Wall(clock::now().wall.0.saturating_sub(ms)),
        (Err(_), Some(wall)) => wall,
        (Err(_), None) => {
            let text = format!(
                "{text:?} is no time such as 2026-01-31T12:00:00Z, nor a duration such as 24h"
            );
            return Err(Stop::new(Exit::Usage, text));
        }
    };
    Ok(wall.rfc3339_micros())
}

/// Prints up to `limit` rows of a list.
pub(super) async fn print(
    control: &Control,
    path: &str,
    query: Query,
    limit: u32,
    json: bool,
    columns: &[&str],
) -> Result<(), Stop> {
    rows(&Json::Array(read(control, path, query, limit).await?), json, columns);
    Ok(())
}

/// Reads up to `limit` rows of a list.
pub(super) async fn read(
    control: &Control,
    path: &str,
    query: Query,
    limit: u32,
) -> Result<Vec<Json>, Stop> {
    let limit = limit as usize;
    let query = query.number("per_page", Some(PAGE_ROWS_MAX.min(limit as u32)));
    let mut next = query.of(path);
    let mut found = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = control.call(Method::GET, &next, None).await?.json()?;
        if let Some(Json::Array(results)) = page.get("results") {
            found.extend(results.iter().cloned());
        }
        let link = number(&page, "next");
        if link.is_empty() || found.len() >= limit {
            break;
        }
        next = followed(path, &link);
    }
    found.truncate(limit);
    Ok(found)
}

/// Where a link leads: it names the daemon's own address, which is not asked here.
fn followed(path: &str, link: &str) -> String {
    match link.split_once('?') {
        Some((_, query)) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// A value as it stands in a query.
fn escaped(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte);
    value.bytes().fold(String::new(), |mut out, byte| {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        let query = Query::default().text("event", Some("a&b=c +é")).number("code", Some(503));
        assert_eq!(query.of("/x/"), "/x/?event=a%26b%3Dc%20%2B%C3%A9&code=503");
        assert_eq!(Query::default().of("/x/"), "/x/");
    }

    #[test]
    fn links_are_followed_here() {
        let link = "http://127.0.0.1:8080/deliveries/?before=7";
        assert_eq!(followed("/projects/1/deliveries/", link), "/projects/1/deliveries/?before=7");
    }

    #[test]
    fn instants_are_times_or_durations() {
        let same = instant("2026-01-31T14:00:00+02:00").expect("a time");
        assert_eq!(same, "2026-01-31T12:00:00.000000Z");
        assert!(instant("24h").is_ok());
        assert!(instant("yesterday").is_err());
    }
}
