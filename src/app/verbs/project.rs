//! `project`: who owns webhooks and events.
//!
//! Owns what is shown of projects and their intake tokens. Must never show a secret key or
//! a token but once, to whoever made it.

use http::Method;

use super::{key, webhook};
use crate::app::args::{ProjectVerb, TokenVerb};
use crate::app::config::Loaded;
use crate::app::control::{Control, Without, number, project};
use crate::app::exit::Exit;
use crate::app::terminal::{is_terminal, say, table};
use crate::app::{Stop, runtime};
use crate::dialect::object::Object;
use crate::model::json::Json;

pub(crate) fn run(verb: &ProjectVerb, loaded: &Loaded, json: bool) -> Result<Exit, Stop> {
    runtime()?.block_on(async {
        let without = match verb {
            ProjectVerb::Create(_) => Without::OpenOrMake,
            _ => Without::OpenExisting,
        };
        let control = Control::find(&loaded.config, without).await?;
        let result = carry_out(verb, &control, json).await;
        control.close().await;
        result.map(|()| Exit::Ok)
    })
}

async fn carry_out(verb: &ProjectVerb, control: &Control, json: bool) -> Result<(), Stop> {
    match verb {
        ProjectVerb::Create(create) => {
            let mut body = Object::new();
            if let Some(name) = &create.name {
                body = body.text("name", name);
            }
            if let Some(id) = create.id {
                body = body.number("id", u64::from(id));
            }
            let made = control.call(Method::POST, "/projects/", Some(body.end())).await?.json()?;
            show(&made, json, "The secret key is shown once. Keep it.");
        }
        ProjectVerb::List => {
            let list = control.call(Method::GET, "/projects/", None).await?.json()?;
            rows(&list, json, &["id", "public_key", "webhooks", "name"]);
        }
        ProjectVerb::Show { project: named } => {
            let name = project(control, named.as_deref()).await?;
            let path = format!("/projects/{name}/");
            show(&control.call(Method::GET, &path, None).await?.json()?, json, "");
        }
        ProjectVerb::Rename { project, name } => {
            let path = format!("/projects/{project}/");
            let body = Object::new().text("name", name).end();
            show(&control.call(Method::POST, &path, Some(body)).await?.json()?, json, "");
        }
        ProjectVerb::Rm { project } => {
            let path = format!("/projects/{project}/");
            control.call(Method::DELETE, &path, None).await?.json()?;
            if !json {
                say(&format!("project {project} is removed"));
            }
        }
        ProjectVerb::Key { verb } => key::carry_out(verb, control, json).await?,
        ProjectVerb::Token { verb } => token(verb, control, json).await?,
    }
    Ok(())
}

async fn token(verb: &TokenVerb, control: &Control, json: bool) -> Result<(), Stop> {
    match verb {
        TokenVerb::Create { name, secret, project: named } => {
            let of = project(control, named.as_deref()).await?;
            let mut body = Object::new();
            if let Some(name) = name {
                body = body.text("name", name);
            }
            if let Some(secret) = webhook::secret(secret)? {
                body = body.text("signing_secret", secret.expose());
            }
            let path = format!("/projects/{of}/tokens/");
            let made = control.call(Method::POST, &path, Some(body.end())).await?.json()?;
            show(&made, json, "The token is shown once. Keep it.");
        }
        TokenVerb::List { project: named } => {
            let of = project(control, named.as_deref()).await?;
            let path = format!("/projects/{of}/tokens/");
            let list = control.call(Method::GET, &path, None).await?.json()?;
            rows(&list, json, &["id", "name", "signed", "created"]);
        }
        TokenVerb::Revoke { id, project: named } => {
            let of = project(control, named.as_deref()).await?;
            let path = format!("/projects/{of}/tokens/{id}/");
            control.call(Method::DELETE, &path, None).await?.json()?;
            if !json {
                say(&format!("token {id} is revoked"));
            }
        }
    }
    Ok(())
}

pub(super) fn show(project: &Json, json: bool, remark: &str) {
    if json {
        return line(project);
    }
    fields(project);
    if !remark.is_empty() {
        say(&format!("\n{remark}"));
    }
}

/// One object, one field a line.
pub(super) fn fields(json: &Json) {
    let Json::Object(all) = json else { return };
    for (key, _) in all {
        say(&format!("{:<12} {}", key.replace('_', " "), number(json, key)));
    }
}

/// A list: a table on a terminal, one object a line otherwise.
pub(super) fn rows(list: &Json, json: bool, keys: &[&str]) {
    let Json::Array(all) = list else { return };
    if json || !is_terminal() {
        return all.iter().for_each(line);
    }
    let heads: Vec<String> = keys.iter().map(|key| key.replace('_', " ").to_uppercase()).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let of = |one: &Json| keys.iter().map(|key| number(one, key)).collect();
    say(&table(&heads, &all.iter().map(of).collect::<Vec<Vec<String>>>()));
}

/// One object, one line.
pub(super) fn line(json: &Json) {
    say(&String::from_utf8_lossy(&json.to_bytes()));
}
