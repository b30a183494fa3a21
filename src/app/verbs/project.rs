//! `project`: who owns webhooks and events.
//!
//! Owns what is shown of projects and their intake tokens. Must never show a secret key or a token but once, to whoever made it.

use http::Method;

use super::webhook;
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
            ProjectVerb::List | ProjectVerb::Show { .. } | ProjectVerb::Token { .. } => {
                Without::OpenExisting
            }
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
            let Json::Array(projects) = list else { return Ok(()) };
            if json || !is_terminal() {
                projects.iter().for_each(line);
            } else {
                let rows: Vec<Vec<String>> = projects
                    .iter()
                    .map(|one| {
                        ["id", "public_key", "webhooks", "name"]
                            .map(|key| number(one, key))
                            .to_vec()
                    })
                    .collect();
                say(&table(&["ID", "PUBLIC KEY", "WEBHOOKS", "NAME"], &rows));
            }
        }
        ProjectVerb::Show { project: named } => {
            let name = project(control, named.as_deref()).await?;
            let path = format!("/projects/{name}/");
            show(&control.call(Method::GET, &path, None).await?.json()?, json, "");
        }
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
            let Json::Array(tokens) = list else { return Ok(()) };
            if json || !is_terminal() {
                tokens.iter().for_each(line);
            } else {
                let keys = ["id", "name", "signed", "created"];
                let rows: Vec<Vec<String>> =
                    tokens.iter().map(|one| keys.map(|key| number(one, key)).to_vec()).collect();
                say(&table(&["ID", "NAME", "SIGNED", "CREATED"], &rows));
            }
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

fn show(project: &Json, json: bool, remark: &str) {
    if json {
        return line(project);
    }
    let Json::Object(fields) = project else { return };
    for (key, _) in fields {
        say(&format!("{:<12} {}", key.replace('_', " "), number(project, key)));
    }
    if !remark.is_empty() {
        say(&format!("\n{remark}"));
    }
}

/// One object, one line.
pub(super) fn line(json: &Json) {
    say(&String::from_utf8_lossy(&json.to_bytes()));
}
