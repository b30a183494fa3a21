//! `delivery`: what became of each, and what can be done about it.
//!
//! Owns what is shown of deliveries. Must never print a payload.

use http::Method;

use super::job;
use super::list::{self, Query};
use super::project::{fields, line, rows, show};
use super::tail;
use crate::app::args::{Act, Deliveries, DeliveryVerb};
use crate::app::config::Loaded;
use crate::app::control::{Control, Without, number, project};
use crate::app::exit::Exit;
use crate::app::terminal::{is_terminal, say};
use crate::app::{Stop, runtime};
use crate::dialect::object::Object;
use crate::model::ids::DeliveryId;
use crate::model::json::Json;

/// What a list shows of each.
pub(super) const COLUMNS: [&str; 9] = [
    "id",
    "status",
    "reason",
    "event",
    "webhook",
    "attempts",
    "last_code",
    "last_failure",
    "next_attempt_at",
];
/// What is shown of each attempt.
const ATTEMPT_COLUMNS: [&str; 7] =
    ["number", "started_at", "address", "code", "failure", "total_ms", "next_attempt_at"];
/// Where a delivery that is shown has its attempts.
const ATTEMPTS: &str = "attempts_log";

pub(crate) fn run(verb: &DeliveryVerb, loaded: &Loaded, json: bool) -> Result<Exit, Stop> {
    runtime()?.block_on(async {
        let without = match verb {
            DeliveryVerb::Tail(_) => Without::Refuse,
            _ => Without::OpenExisting,
        };
        let control = Control::find(&loaded.config, without).await?;
        let result = carry_out(verb, &control, json).await;
        control.close().await;
        result
    })
}

async fn carry_out(verb: &DeliveryVerb, control: &Control, json: bool) -> Result<Exit, Stop> {
    match verb {
        DeliveryVerb::List { which, times } => {
            let name = project(control, times.project.as_deref()).await?;
            let query = filters(which).times(times)?;
            let path = format!("/projects/{name}/deliveries/");
            list::print(control, &path, query, times.limit, json, &COLUMNS).await?;
        }
        DeliveryVerb::Show { id, project: named } => {
            let found = one(control, Method::GET, id, named.as_deref(), "").await?;
            print(&found, json);
        }
        DeliveryVerb::Explain { id, project: named } => {
            let found = one(control, Method::GET, id, named.as_deref(), "explain/").await?;
            explain(&found, json);
        }
        DeliveryVerb::Resend(act) => return carry(act, "resend", control, json).await,
        DeliveryVerb::Cancel(act) => return carry(act, "cancel", control, json).await,
        DeliveryVerb::Tail(asked) => tail::follow(asked, control, json).await?,
    }
    Ok(Exit::Ok)
}

async fn one(
    control: &Control,
    method: Method,
    id: &str,
    named: Option<&str>,
    rest: &str,
) -> Result<Json, Stop> {
    let id = DeliveryId::parse(id)
        .ok_or_else(|| Stop::new(Exit::Usage, format!("{id:?} is no delivery's id: dlv_…")))?;
    let name = project(control, named).await?;
    let path = format!("/projects/{name}/deliveries/{id}/{rest}");
    control.call(method, &path, None).await?.json()
}

fn filters(which: &Deliveries) -> Query {
    Query::default()
        .text("status", which.status.map(|status| status.as_str()))
        .number("webhook", which.webhook)
        .text("event", which.event.as_deref())
        .text("target", which.target.as_deref())
        .text("code", which.code.map(|code| code.to_string()).as_deref())
}

/// One at once, or many as a job.
async fn carry(act: &Act, action: &str, control: &Control, json: bool) -> Result<Exit, Stop> {
    if let Some(id) = &act.id {
        let rest = format!("{action}/");
        let found = one(control, Method::POST, id, act.project.as_deref(), &rest).await?;
        print(&found, json);
        return Ok(Exit::Ok);
    }
    let which = &act.which;
    let mut body = Object::new();
    for (key, value) in [
        ("status", which.status.map(|status| status.as_str().to_owned())),
        ("event", which.event.clone()),
        ("target", which.target.clone()),
        ("code", which.code.map(|code| code.to_string())),
        ("since", act.since.as_deref().map(list::instant).transpose()?),
        ("until", act.until.as_deref().map(list::instant).transpose()?),
    ] {
        if let Some(value) = value {
            body = body.text(key, &value);
        }
    }
    if let Some(webhook) = which.webhook {
        body = body.number("webhook", webhook.into());
    }
    if act.all {
        body = body.flag("all", true);
    }
    let name = project(control, act.project.as_deref()).await?;
    let path = format!("/projects/{name}/deliveries/{action}/");
    let made = control.call(Method::POST, &path, Some(body.end())).await?.json()?;
    job::begun(control, &name, &made, act.no_wait, json).await
}

fn print(delivery: &Json, json: bool) {
    if json || !is_terminal() {
        return line(delivery);
    }
    let Json::Object(all) = delivery else { return };
    let is_plain = |(key, _): &&(String, Json)| key != ATTEMPTS;
    fields(&Json::Object(all.iter().filter(is_plain).cloned().collect()));
    if let Some(Json::Array(attempts)) = delivery.get(ATTEMPTS) {
        say("");
        rows(&Json::Array(attempts.iter().map(with_total).collect()), json, &ATTEMPT_COLUMNS);
    }
}

/// An attempt with the time of all its phases beside its other fields.
fn with_total(attempt: &Json) -> Json {
    let Json::Object(all) = attempt else { return attempt.clone() };
    let total = attempt.get("phases").and_then(|phases| phases.get("total_ms")).cloned();
    let mut all = all.clone();
    all.extend(total.map(|total| ("total_ms".to_owned(), total)));
    Json::Object(all)
}

fn explain(found: &Json, json: bool) {
    if json || !is_terminal() {
        return line(found);
    }
    let at = match number(found, "next_at") {
        at if at.is_empty() => at,
        at => format!(" ({at})"),
    };
    for (key, more) in [("explanation", ""), ("next", at.as_str()), ("action", "")] {
        let text = number(found, key);
        if !text.is_empty() {
            say(&format!("{text}{more}"));
        }
    }
    if let Some(all) = found.get("fields") {
        say("");
        show(all, json, "");
    }
}
