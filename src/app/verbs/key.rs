//! `project key`: a project's secret keys.
//!
//! Owns what is shown of them. Must never show a key that was not asked for by itself.

use http::Method;

use super::project::{rows, show};
use crate::app::Stop;
use crate::app::args::KeyVerb;
use crate::app::control::{Control, number, project};
use crate::app::exit::Exit;
use crate::app::terminal::say;
use crate::model::json::Json;

pub(super) async fn carry_out(verb: &KeyVerb, control: &Control, json: bool) -> Result<(), Stop> {
    match verb {
        KeyVerb::List { project: named } => {
            let path = path(control, named.as_deref()).await?;
            rows(&control.call(Method::GET, &path, None).await?.json()?, json, &["id"]);
        }
        KeyVerb::Add { project: named } => {
            let path = path(control, named.as_deref()).await?;
            let made = control.call(Method::POST, &path, None).await?.json()?;
            show(&made, json, "");
        }
        KeyVerb::Revoke { id, project: named } => {
            let path = path(control, named.as_deref()).await?;
            control.call(Method::DELETE, &format!("{path}{id}/"), None).await?.json()?;
            if !json {
                say(&format!("key {id} is revoked"));
            }
        }
        KeyVerb::Recover { id, project: named } => {
            let path = path(control, named.as_deref()).await?;
            let id = match id {
                Some(id) => id.clone(),
                None => first(control, &path).await?,
            };
            let key = control.call(Method::GET, &format!("{path}{id}/"), None).await?.json()?;
            show(&key, json, "");
        }
    }
    Ok(())
}

async fn path(control: &Control, named: Option<&str>) -> Result<String, Stop> {
    Ok(format!("/projects/{}/keys/", project(control, named).await?))
}

async fn first(control: &Control, path: &str) -> Result<String, Stop> {
    match control.call(Method::GET, path, None).await?.json()? {
        Json::Array(keys) if !keys.is_empty() => Ok(number(&keys[0], "id")),
        _ => Err(Stop::new(Exit::Failure, "the project has no key")),
    }
}
