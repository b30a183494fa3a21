//! `webhook`: who gets which events.
//!
//! Owns what is shown of webhooks. Must never show a signing secret, but for the next one to whoever
//! has it made.

use http::Method;

use super::job;
use super::list::instant;
use super::project::{fields, line};
use crate::app::args::{OneWebhook, Recover, Rotate, SecretArguments, WebhookAdd, WebhookVerb};
use crate::app::config::Loaded;
use crate::app::control::{Control, Without, number, project};
use crate::app::exit::Exit;
use crate::app::terminal::{is_terminal, say, table};
use crate::app::{Stop, runtime};
use crate::dialect::object::Object;
use crate::model::json::Json;
use crate::model::secret::Secret;
use crate::model::time::SECOND_MS;

pub(crate) fn run(verb: &WebhookVerb, loaded: &Loaded, json: bool) -> Result<Exit, Stop> {
    runtime()?.block_on(async {
        let control = Control::find(&loaded.config, Without::OpenExisting).await?;
        let result = carry_out(verb, &control, json).await;
        control.close().await;
        result
    })
}

async fn carry_out(verb: &WebhookVerb, control: &Control, json: bool) -> Result<Exit, Stop> {
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
            let Json::Array(webhooks) = list else { return Ok(Exit::Ok) };
            show(&webhooks, json);
        }
        WebhookVerb::Rm { one } => {
            control.call(Method::DELETE, &path(control, one, "").await?, None).await?.json()?;
            if !json {
                say(&format!("webhook {} is removed", one.id));
            }
        }
        WebhookVerb::Test { one } => return test(one, control, json).await,
        WebhookVerb::Pause { one } => show(&[act(control, one, "pause/").await?], json),
        WebhookVerb::Resume { one } => show(&[act(control, one, "resume/").await?], json),
        WebhookVerb::Rotate(asked) => rotate(asked, control, json).await?,
        WebhookVerb::Recover(asked) => return recover(asked, control, json).await,
    }
    Ok(Exit::Ok)
}

async fn path(control: &Control, one: &OneWebhook, rest: &str) -> Result<String, Stop> {
    let name = project(control, one.project.as_deref()).await?;
    Ok(format!("/projects/{name}/webhooks/{}/{rest}", one.id))
}

async fn act(control: &Control, one: &OneWebhook, action: &str) -> Result<Json, Stop> {
    control.call(Method::POST, &path(control, one, action).await?, None).await?.json()
}

async fn test(one: &OneWebhook, control: &Control, json: bool) -> Result<Exit, Stop> {
    let tested = act(control, one, "test/").await?;
    if json || !is_terminal() {
        line(&tested);
    } else {
        fields(&tested);
    }
    let delivered = tested.get("delivered") == Some(&Json::Bool(true));
    Ok(if delivered { Exit::Ok } else { Exit::Failure })
}

async fn recover(asked: &Recover, control: &Control, json: bool) -> Result<Exit, Stop> {
    let name = project(control, asked.one.project.as_deref()).await?;
    let mut body =
        Object::new().text("since", &instant(&asked.since)?).text("only", asked.only.as_str());
    if let Some(until) = &asked.until {
        body = body.text("until", &instant(until)?);
    }
    if asked.dry_run {
        body = body.flag("dry_run", true);
    }
    let path = format!("/projects/{name}/webhooks/{}/recover/", asked.one.id);
    let answer = control.call(Method::POST, &path, Some(body.end())).await?.json()?;
    job::begun(control, &name, &answer, asked.no_wait || asked.dry_run, json).await
}

async fn rotate(asked: &Rotate, control: &Control, json: bool) -> Result<(), Stop> {
    let (step, body) = match (asked.promote, asked.finish, asked.abort) {
        (true, _, _) => ("promote", None),
        (_, true, _) => ("finish", None),
        (_, _, true) => ("abort", None),
        _ => ("rotate", Some(rotation(asked)?)),
    };
    let path = path(control, &asked.one, &format!("secret/{step}/")).await?;
    let answer = control.call(Method::POST, &path, body).await?.json()?;
    let webhook = masked(answer.get("webhook").unwrap_or(&Json::Null));
    let secret = answer.get("next_secret");
    if json || !is_terminal() {
        let mut all = vec![("webhook".to_owned(), webhook)];
        let shown = ["next_secret", "next_secret_standard"];
        all.extend(
            shown.iter().filter_map(|key| Some((*key).to_owned()).zip(answer.get(key).cloned())),
        );
        line(&Json::Object(all));
        return Ok(());
    }
    show(std::slice::from_ref(&webhook), json);
    if let Some(rotation @ Json::Object(_)) = webhook.get("rotation") {
        say("");
        fields(rotation);
    }
    if secret.is_some() {
        say(&format!("\nnext secret  {}", number(&answer, "next_secret")));
        say(&format!("as whsec_    {}", number(&answer, "next_secret_standard")));
        say("\nIt is shown once. Let your receivers accept it, then use --promote.");
    }
    Ok(())
}

fn rotation(asked: &Rotate) -> Result<Vec<u8>, Stop> {
    let mut body = Object::new();
    if let Some(secret) = secret(&asked.secret)? {
        body = body.text("signing_secret", secret.expose());
    }
    for (field, ms) in
        [("promote_after_seconds", asked.promote_after_ms), ("overlap_seconds", asked.overlap_ms)]
    {
        if let Some(ms) = ms {
            body = body.number(field, ms.div_ceil(SECOND_MS));
        }
    }
    Ok(body.end())
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
