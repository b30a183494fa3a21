//! `event`: what can be done to events that were accepted.
//!
//! Owns the way from the command line to `/events/{id}/…`. Must never print a payload.

use http::Method;

use super::project::show;
use crate::app::args::EventVerb;
use crate::app::config::Loaded;
use crate::app::control::{Control, Without, project};
use crate::app::exit::Exit;
use crate::app::{Stop, runtime};
use crate::model::ids::EventId;

pub(crate) fn run(verb: &EventVerb, loaded: &Loaded, json: bool) -> Result<Exit, Stop> {
    runtime()?.block_on(async {
        let control = Control::find(&loaded.config, Without::OpenExisting).await?;
        let result = carry_out(verb, &control, json).await;
        control.close().await;
        result.map(|()| Exit::Ok)
    })
}

async fn carry_out(verb: &EventVerb, control: &Control, json: bool) -> Result<(), Stop> {
    let EventVerb::Erase { id, project: named } = verb;
    let id = EventId::parse(id)
        .ok_or_else(|| Stop::new(Exit::Usage, format!("{id:?} is no event's id: evt_…")))?;
    let name = project(control, named.as_deref()).await?;
    let path = format!("/projects/{name}/events/{id}/erase/");
    show(&control.call(Method::POST, &path, None).await?.json()?, json, "");
    Ok(())
}
