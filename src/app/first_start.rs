//! Projects of the configuration, and what the first start makes: a project and an operator token.
//!
//! Owns how fresh keys reach their owner: once on a terminal, else in a file for the owner alone.
//! Must never log a key.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Stop;
use super::config::Config;
use super::daemon::Daemon;
use super::exit::Exit;
use super::terminal::{is_terminal, say};
use crate::engine::command::{Answer, Command, CommandError};
use crate::http::fresh;
use crate::model::draft::ProjectDraft;
use crate::model::project::Project;
use crate::model::secret::Secret;

/// The file's name in the data directory.
const FILE_NAME: &str = "first-start-keys";
/// What the token of the first start is called.
const FIRST_TOKEN_NAME: &str = "first start";

/// Creates or updates the configuration's projects, and makes what a first start makes.
pub(crate) async fn prepare(daemon: &mut Daemon, config: &Config) -> Result<(), Stop> {
    for entry in &config.projects {
        let draft = ProjectDraft {
            id: entry.id,
            name: entry.name.clone().unwrap_or_else(|| entry.public_key.clone()),
            public_key: entry.public_key.clone(),
            secret_keys: vec![entry.secret_key.clone()],
            settings: entry.settings.clone(),
        };
        let put = daemon.handle.command(Command::PutProject(draft)).await;
        put.map_err(|error| stop(&format!("{}: [[project]]", entry.place), &error))?;
    }
    let mut made = None;
    let mut token = None;
    // Later on, who removed the last project or token meant it.
    if daemon.is_first_start {
        if daemon.handle.catalog().projects().next().is_none() {
            let draft = fresh::project(None, "default");
            match daemon.handle.command(Command::PutProject(draft)).await {
                Ok(Answer::Project(project)) => made = Some(project),
                Ok(_) => {}
                Err(error) => return Err(stop("the first project", &error)),
            }
        }
        let made_token = fresh::operator_token();
        let hash = Sha256::digest(made_token.expose().as_bytes()).into();
        let name = FIRST_TOKEN_NAME.to_owned();
        let put = daemon.handle.command(Command::AddOperatorToken { name, hash }).await;
        put.map_err(|error| stop("the operator token", &error))?;
        token = Some(made_token);
    }
    if made.is_some() || token.is_some() {
        let text = text(made.as_deref(), token.as_ref(), config);
        show(&text, &config.store.path)?;
    }
    Ok(())
}

fn stop(what: &str, error: &CommandError) -> Stop {
    let exit = match error {
        CommandError::KeyTaken(_) | CommandError::NoId | CommandError::IdUsed(_) => Exit::Config,
        _ => Exit::Failure,
    };
    Stop::new(exit, format!("{what}: {error}"))
}

fn text(project: Option<&Project>, token: Option<&Secret>, config: &Config) -> String {
    let mut lines = Vec::new();
    if let Some(project) = project {
        let secret = project.secret_keys.first().map_or("", Secret::expose);
        lines.push(format!("public key      {}", project.public_key));
        lines.push(format!("secret key      {secret}"));
    }
    if let Some(token) = token {
        lines.push(format!("operator token  {}", token.expose()));
    }
    if let Some(project) = project {
        let secret = project.secret_keys.first().map_or("", Secret::expose);
        lines.push(String::new());
        lines.push(format!(
            "curl -H 'Authorization: Uploadcare.Simple {}:{secret}' http://{}/webhooks/",
            project.public_key, config.server.listen
        ));
    }
    lines.join("\n")
}

fn show(text: &str, directory: &Path) -> Result<(), Stop> {
    if is_terminal() {
        say("These keys are shown once. Keep them.\n");
        say(text);
        say("");
        return Ok(());
    }
    let path = directory.join(FILE_NAME);
    let written =
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path).and_then(
            |mut file| {
                writeln!(file, "{text}")?;
                file.sync_all()
            },
        );
    written.map_err(|error| Stop::new(Exit::CantCreate, format!("{}: {error}", path.display())))?;
    tracing::info!(path = %path.display(), "Fresh keys were written to a file; keep them and remove it.");
    Ok(())
}
