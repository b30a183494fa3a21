//! `webhook`: who gets which events.
//!
//! Owns what is shown of webhooks. Must never show a signing secret.

use http::Method;

use super::project::line;
use crate::app::args::{SecretArguments, WebhookAdd, WebhookVerb};
use crate::app::config::Loaded;
use crate::app::control::{Control, Without, number, project};
use crate::app::exit::Exit;
use crate::app::terminal::{is_terminal, say, table};
use crate::app::{Stop, runtime};
use crate::dialect::object::Object;
use crate::model::json::Json;
use crate::model::secret::Secret;

pub(crate) fn run(verb: &WebhookVerb, loaded: &Loaded, json: bool) -> Result<Exit, Stop> {
    runtime()?.block_on(async {
        let control = Control::find(&loaded.config, Without::OpenExisting).await?;
        let result = carry_out(verb, &control, json).await;
        control.close().await;
        result.map(|()| Exit::Ok)
    })
}

async fn carry_out(verb: &WebhookVerb, control: &Control, json: bool) -> Result<(), Stop> {
    match verb {
        WebhookVerb::Add(add) => {
            let name = project(control, add.project.as_deref()).await?;
            let path = format!("/projects/{name}/webhooks/");
            let made = control.call(Method::POST, &path, Some(body(add)?)).await?.json()?;
            show(&[made], json);
        }
        WebhookVerb::List { project: named } => {
            let name = project(control, named.as_deref()).await?;
            let path = format!("/projects/{name}/webhooks/");
            let list = control.call(Method::GET, &path, None).await?.json()?;
            let Json::Array(webhooks) = list else { return Ok(()) };
            show(&webhooks, json);
        }
        WebhookVerb::Rm { id, project: named } => {
            let name = project(control, named.as_deref()).await?;
            let path = format!("/projects/{name}/webhooks/{id}/");
            control.call(Method::DELETE, &path, None).await?.json()?;
            if !json {
                say(&format!("webhook {id} is removed"));
            }
        }
    }
    Ok(())
}

fn body(add: &WebhookAdd) -> Result<Vec<u8>, Stop> {
    let object = Object::new()
        .text("target_url", &add.url)
        .text("event", &add.event)
        .text("version", add.version.as_str())
        .flag("is_active", !add.inactive);
    Ok(match secret(&add.secret)? {
        Some(secret) => object.text("signing_secret", secret.expose()).end(),
        None => object.end(),
    })
}

/// A secret from the command line, or from its file without the final line break.
pub(crate) fn secret(arguments: &SecretArguments) -> Result<Option<Secret>, Stop> {
    match (&arguments.secret, &arguments.secret_file) {
        (Some(secret), _) => Ok(Some(Secret::new(secret.clone()))),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Stop::new(Exit::NoPermission, format!("{}: {error}", path.display()))
            })?;
            Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())))
        }
        (None, None) => Ok(None),
    }
}

fn show(webhooks: &[Json], json: bool) {
    if json || !is_terminal() {
        return webhooks.iter().map(masked).for_each(|webhook| line(&webhook));
    }
    let rows: Vec<Vec<String>> = webhooks
        .iter()
        .map(|one| {
            ["id", "event", "version", "state", "target_url"].map(|key| number(one, key)).to_vec()
        })
        .collect();
    say(&table(&["ID", "EVENT", "VERSION", "STATE", "TARGET"], &rows));
}

/// A webhook with its secret hidden: a terminal scrolls back, and a pipe ends in a log.
fn masked(webhook: &Json) -> Json {
    let Json::Object(fields) = webhook else { return webhook.clone() };
    let hide = |(key, value): &(String, Json)| {
        let hidden = key == "signing_secret" && *value != Json::Null;
        (key.clone(), if hidden { Json::String("***".to_owned()) } else { value.clone() })
    };
    Json::Object(fields.iter().map(hide).collect())
}
