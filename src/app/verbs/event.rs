//! `event`: what was accepted, and what can be done about it.
//!
//! Owns what is shown of events. Must never print a payload but where one event is asked for.

use http::Method;

use super::delivery;
use super::list::{self, Query};
use super::project::{fields, line, rows, show};
use super::tail;
use crate::app::args::EventVerb;
use crate::app::config::Loaded;
use crate::app::control::{Control, Without, number, project};
use crate::app::exit::Exit;
use crate::app::terminal::{is_terminal, say};
use crate::app::{Stop, runtime};
use crate::dialect::object::Object;
use crate::model::ids::EventId;
use crate::model::json::Json;

/// Where an event that is shown has its deliveries.
const DELIVERIES: &str = "delivery_list";
/// What a list shows of each.
const COLUMNS: [&str; 5] = ["id", "event", "source", "accepted_at", "deliveries"];

pub(crate) fn run(verb: &EventVerb, loaded: &Loaded, json: bool) -> Result<Exit, Stop> {
    runtime()?.block_on(async {
        let without = match verb {
            EventVerb::Tail(_) => Without::Refuse,
            _ => Without::OpenExisting,
        };
        let control = Control::find(&loaded.config, without).await?;
        let result = carry_out(verb, &control, json).await;
        control.close().await;
        result.map(|()| Exit::Ok)
    })
}

async fn carry_out(verb: &EventVerb, control: &Control, json: bool) -> Result<(), Stop> {
    match verb {
        EventVerb::List { event, times } => {
            let name = project(control, times.project.as_deref()).await?;
            let query = Query::default().text("event", event.as_deref()).times(times)?;
            let path = format!("/projects/{name}/events/");
            let all = list::read(control, &path, query, times.limit).await?;
            let is_plain = json || !is_terminal();
            let all = if is_plain { all } else { all.iter().map(with_counts).collect() };
            rows(&Json::Array(all), json, &COLUMNS);
            Ok(())
        }
        EventVerb::Show { id, project } => {
            print(&one(control, Method::GET, id, project.as_deref(), "", None).await?, json);
            Ok(())
        }
        EventVerb::Tail(asked) => tail::follow(asked, control, json).await,
        EventVerb::Replay { id, webhook, project } => {
            let body = webhook.map(|id| Object::new().number("webhook", id.into()).end());
            let answer =
                one(control, Method::POST, id, project.as_deref(), "replay/", body).await?;
            show(&answer, json || !is_terminal(), "");
            Ok(())
        }
        EventVerb::Erase { id, project } => {
            let answer = one(control, Method::POST, id, project.as_deref(), "erase/", None).await?;
            show(&answer, json, "");
            Ok(())
        }
    }
}

async fn one(
    control: &Control,
    method: Method,
    id: &str,
    named: Option<&str>,
    rest: &str,
    body: Option<Vec<u8>>,
) -> Result<Json, Stop> {
    let id = EventId::parse(id)
        .ok_or_else(|| Stop::new(Exit::Usage, format!("{id:?} is no event's id: evt_…")))?;
    let name = project(control, named).await?;
    let path = format!("/projects/{name}/events/{id}/{rest}");
    control.call(method, &path, body).await?.json()
}

fn print(event: &Json, json: bool) {
    if json || !is_terminal() {
        return line(event);
    }
    let Json::Object(all) = with_counts(event) else { return };
    let is_shown = |(key, _): &(String, Json)| key != DELIVERIES;
    fields(&Json::Object(all.into_iter().filter(is_shown).collect()));
    if let Some(deliveries) = event.get(DELIVERIES) {
        say("");
        rows(deliveries, json, &delivery::COLUMNS);
    }
}

/// An event with the counts of its deliveries in words: those that there are.
fn with_counts(event: &Json) -> Json {
    let Json::Object(all) = event else { return event.clone() };
    let counts = |(key, value): &(String, Json)| match value {
        Json::Object(counts) if key == "deliveries" => {
            let words: Vec<String> = counts
                .iter()
                .map(|(status, _)| (status, number(value, status)))
                .filter(|(_, count)| {
                    count.bytes().all(|byte| byte.is_ascii_digit()) && count != "0"
                })
                .map(|(status, count)| format!("{count} {status}"))
                .collect();
            (key.clone(), Json::String(words.join(", ")))
        }
        _ => (key.clone(), value.clone()),
    };
    Json::Object(all.iter().map(counts).collect())
}
