//! `target`: what protects the receivers.
//!
//! Owns what is shown of targets. Must never reach one.

use http::Method;

use super::project::{rows, show};
use crate::app::args::{TargetSet, TargetVerb};
use crate::app::config::Loaded;
use crate::app::control::{Control, Without, number};
use crate::app::exit::Exit;
use crate::app::{Stop, runtime};
use crate::dialect::object::Object;
use crate::model::json::Json;
use crate::model::target::Origin;

/// What a list shows of each.
const COLUMNS: [&str; 7] =
    ["target", "state", "webhooks", "under_way", "rate_per_second", "burst", "in_flight"];
/// Pages of a list that are read at most.
const PAGES_MAX: usize = 10_000;

pub(crate) fn run(verb: &TargetVerb, loaded: &Loaded, json: bool) -> Result<Exit, Stop> {
    runtime()?.block_on(async {
        let control = Control::find(&loaded.config, Without::OpenExisting).await?;
        let result = carry_out(verb, &control, json).await;
        control.close().await;
        result.map(|()| Exit::Ok)
    })
}

async fn carry_out(verb: &TargetVerb, control: &Control, json: bool) -> Result<(), Stop> {
    let (target, body) = match verb {
        TargetVerb::List => {
            rows(&Json::Array(list(control).await?), json, &COLUMNS);
            return Ok(());
        }
        TargetVerb::Show { target } => (target, None),
        TargetVerb::Set(set) => (&set.target, Some(limits(set)?)),
        TargetVerb::Pause { target } => (target, Some(Object::new().flag("paused", true).end())),
        TargetVerb::Resume { target } => (target, Some(Object::new().flag("paused", false).end())),
    };
    let origin = Origin::parse(target).map_err(|error| {
        let text = format!("{target:?} is no scheme and host such as https://example.com: {error}");
        Stop::new(Exit::Usage, text)
    })?;
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let path = format!("/targets/{}/", origin.id());
    show(&control.call(method, &path, body).await?.json()?, json, "");
    Ok(())
}

async fn list(control: &Control) -> Result<Vec<Json>, Stop> {
    let mut all = Vec::new();
    let mut path = "/targets/".to_owned();
    for _ in 0..PAGES_MAX {
        let page = control.call(Method::GET, &path, None).await?.json()?;
        if let Some(Json::Array(results)) = page.get("results") {
            all.extend(results.iter().cloned());
        }
        let next = number(&page, "next");
        if next.is_empty() {
            break;
        }
        path = format!("/targets/{next}");
    }
    Ok(all)
}

fn limits(set: &TargetSet) -> Result<Vec<u8>, Stop> {
    let fields =
        [("rate_per_second", set.rate), ("burst", set.burst), ("in_flight", set.in_flight)];
    if !set.reset && fields.iter().all(|(_, value)| value.is_none()) {
        let text = "give --rate, --burst, --in-flight or --reset";
        return Err(Stop::new(Exit::Usage, text));
    }
    let given = fields.into_iter().filter(|(_, value)| set.reset || value.is_some());
    let body = given.fold(Object::new(), |body, (key, value)| body.number_or_null(key, value));
    Ok(body.end())
}
