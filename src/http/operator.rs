//! `/projects/`, `/operator/`, `/stats/` and `/listen/`: the operator's part, by control socket or
//! token.
//!
//! Owns projects as the operator sees them, the operator's tokens, and the sessions of `listen`.
//! Must never show a secret key or a token but once, to whoever made it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{Response, StatusCode};
use sha2::{Digest, Sha256};

use super::api::{self, Api, command_error};
use super::body::Body;
use super::fresh;
use super::limits::RetryAfterSeconds;
use super::respond::{self, JSON};
use crate::dialect::body::{Field, Fields};
use crate::dialect::names;
use crate::dialect::object::{Object, array};
use crate::dialect::uploadcare::decode;
use crate::dialect::uploadcare::encode;
use crate::dialect::uploadcare::headers::View;
use crate::engine::Handle;
use crate::engine::command::{Answer, Command};
use crate::model::event::EventName;
use crate::model::ids::{ProjectId, WebhookId};
use crate::model::operator::OperatorToken;
use crate::model::project::{NAME_CHARS_MAX, Project};
use crate::model::secret::Secret;

/// Most events of one `listen` session.
pub(super) const LISTEN_EVENTS_MAX: usize = 64;
/// Parts of a session's answer that may wait for its client.
const LISTEN_PARTS_MAX: usize = 4;

pub(super) fn find_project(api: &Api, name: &str) -> Option<Arc<Project>> {
    let catalog = api.handle.catalog();
    let by_id = ProjectId::parse(name).and_then(|id| catalog.project(id));
    by_id.or_else(|| catalog.project_by_public_key(name)).cloned()
}

pub(super) fn list_projects(api: &Api) -> Response<Body> {
    let catalog = api.handle.catalog();
    let projects = catalog.projects().map(|project| {
        // Those that a list shows: a `listen` session's are its own affair.
        let webhooks = catalog.webhooks_of(project.id).filter(|one| one.listener.is_none());
        object(project).number("webhooks", webhooks.count() as u64).end()
    });
    respond::bytes(StatusCode::OK, JSON, array(projects))
}

/// Figures of the store. They are read off the loop: counting touches the disk.
pub(super) async fn stats(api: &Api) -> Response<Body> {
    match api.handle.look(|store| store.stats()).await {
        Ok(stats) => {
            let object = Object::new()
                .number("pending", stats.pending)
                .number("events", stats.events)
                .number("quarantined", stats.quarantined)
                .number("bytes", stats.bytes)
                .number("written_bytes", stats.written_bytes);
            respond::bytes(StatusCode::OK, JSON, object.end())
        }
        Err(error) => unreadable(&error),
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Response<Body> {
    tracing::error!(%error, "The store's figures can't be read.");
    respond::unavailable(JSON, "The store can't be read.", RetryAfterSeconds(1))
}

pub(super) fn show_project(project: &Project) -> Response<Body> {
    respond::bytes(StatusCode::OK, JSON, object(project).end())
}

pub(super) async fn create_project(api: &Api, parts: &Parts, body: &[u8]) -> Response<Body> {
    let fields = match api::fields(parts, body, JSON) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    let name = match name(&fields, "name", Some("project")) {
        Ok(name) => name,
        Err(refusal) => return *refusal,
    };
    let id = match fields.given("id") {
        None => None,
        Some(field) => match field.as_u32().and_then(ProjectId::new) {
            Some(id) if api.handle.catalog().project(id).is_some() => {
                return field_error("id", &format!("There is a project {id} already."));
            }
            Some(id) => Some(id),
            None => {
                let text = format!("{} is no id: 1 to 2147483647.", field.shown());
                return field_error("id", &text);
            }
        },
    };
    match api.handle.command(Command::PutProject(fresh::project(id, &name))).await {
        Ok(Answer::Project(project)) => {
            // The one time that it is shown.
            let secret = project.secret_keys.first().map(Secret::expose);
            let object = object(&project).text_or_null("secret_key", secret);
            respond::bytes(StatusCode::CREATED, JSON, object.end())
        }
        Ok(_) => respond::no_content(),
        Err(error) => command_error(&error, JSON),
    }
}

pub(super) async fn rename_project(
    api: &Api,
    project: &Project,
    parts: &Parts,
    body: &[u8],
) -> Response<Body> {
    if let Some(refusal) = refuse_configured(api, project) {
        return refusal;
    }
    let fields = match api::fields(parts, body, JSON) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    if let Some(name) = fields.names().find(|name| *name != "name") {
        return field_error(name, "Unknown field. Known is name.");
    }
    let name = match name(&fields, "name", None) {
        Ok(name) => name,
        Err(refusal) => return *refusal,
    };
    let command = Command::RenameProject { project: project.id, name };
    match api.handle.command(command).await {
        Ok(Answer::Project(project)) => show_project(&project),
        Ok(_) => respond::no_content(),
        Err(error) => command_error(&error, JSON),
    }
}

pub(super) async fn remove_project(api: &Api, project: &Project) -> Response<Body> {
    if let Some(refusal) = refuse_configured(api, project) {
        return refusal;
    }
    match api.handle.command(Command::RemoveProject(project.id)).await {
        Ok(_) => respond::no_content(),
        Err(error) => command_error(&error, JSON),
    }
}

/// A project of the configuration is made again, as it stands there, at every start: what would be
/// undone then is refused.
pub(super) fn refuse_configured(api: &Api, project: &Project) -> Option<Response<Body>> {
    api.configured.contains(&project.public_key).then(|| {
        let text = format!(
            "Project {} stands in the configuration, in a [[project]] block: change it there.",
            project.id
        );
        respond::detail(StatusCode::CONFLICT, JSON, &text)
    })
}

pub(super) fn list_tokens(api: &Api) -> Response<Body> {
    let catalog = api.handle.catalog();
    let tokens = catalog.operator().tokens.iter().map(|token| token_object(token).end());
    respond::bytes(StatusCode::OK, JSON, array(tokens))
}

pub(super) async fn create_token(api: &Api, parts: &Parts, body: &[u8]) -> Response<Body> {
    let fields = match api::fields(parts, body, JSON) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    if let Some(name) = fields.names().find(|name| *name != "name") {
        return field_error(name, "Unknown field. Known is name.");
    }
    let name = match name(&fields, "name", Some("operator")) {
        Ok(name) => name,
        Err(refusal) => return *refusal,
    };
    let token = fresh::operator_token();
    let hash: [u8; 32] = Sha256::digest(token.expose().as_bytes()).into();
    match api.handle.command(Command::AddOperatorToken { name, hash }).await {
        Ok(Answer::Operator(operator)) => {
            let made = operator.tokens.iter().find(|token| token.hash == hash);
            // The one time that it is shown.
            let made = made.map(|made| token_object(made).text("token", token.expose()).end());
            respond::bytes(StatusCode::CREATED, JSON, made.unwrap_or_else(|| b"{}".to_vec()))
        }
        Ok(_) => respond::no_content(),
        Err(error) => command_error(&error, JSON),
    }
}

pub(super) async fn revoke_token(api: &Api, id: u32) -> Response<Body> {
    match api.handle.command(Command::RevokeOperatorToken(id)).await {
        Ok(_) => respond::no_content(),
        Err(error) => command_error(&error, JSON),
    }
}

fn token_object(token: &OperatorToken) -> Object {
    Object::new()
        .number("id", u64::from(token.id))
        .text("name", &token.name)
        .text("created", &token.created.rfc3339_micros())
}

/// A name as people give it.
fn name(
    fields: &Fields,
    field: &str,
    otherwise: Option<&str>,
) -> Result<String, Box<Response<Body>>> {
    let given = fields.given(field).map(Field::as_text);
    let name = given.unwrap_or(otherwise).unwrap_or_default();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.contains(char::is_control) {
        let text = format!("A name has 1 to {NAME_CHARS_MAX} characters.");
        return Err(Box::new(field_error(field, &text)));
    }
    Ok(name.to_owned())
}

/// Makes the webhooks of a `listen` session. They live as long as the answer does: when the client
/// goes, however it goes, they are deleted. The answer ends when the daemon stops.
pub(super) async fn listen(api: &Api, parts: &Parts, body: &[u8]) -> Response<Body> {
    let fields = match api::fields(parts, body, JSON) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    let text = |name: &str| fields.given(name).and_then(Field::as_text).unwrap_or_default();
    let Some(project) = find_project(api, text("project")) else {
        return field_error("project", "There is no such project.");
    };
    let Ok(listener) = text("listener").parse::<SocketAddr>() else {
        return field_error("listener", "An address and port is needed.");
    };
    if !listener.ip().is_loopback() {
        return field_error("listener", "Only a loopback address can be listened at.");
    }
    let events: Vec<EventName> =
        text("each_event").split(',').filter_map(EventName::parse).collect();
    if events.is_empty() || events.len() > LISTEN_EVENTS_MAX {
        return field_error(
            "each_event",
            &format!("1 to {LISTEN_EVENTS_MAX} event names are needed."),
        );
    }
    let draft = match decode::create(&fields, View::Own) {
        Ok(draft) => draft,
        Err(error) => {
            return respond::bytes(StatusCode::BAD_REQUEST, JSON, encode::invalid(&error));
        }
    };
    if let Some(event) = events.iter().find(|event| !names::subscribable(draft.format, event)) {
        return field_error(
            "each_event",
            &format!("Webhooks of this version can't carry {event}."),
        );
    }
    let mut session = Session { handle: api.handle.clone(), project: project.id, ids: Vec::new() };
    for event in events {
        let mut draft = draft.clone();
        draft.events = vec![event];
        let project = project.id;
        let command = Command::CreateWebhook { project, draft, listener: Some(listener) };
        match api.handle.command(command).await {
            Ok(Answer::Webhook(webhook)) => session.ids.push(webhook.id),
            Ok(_) => {}
            Err(error) => return command_error(&error, JSON),
        }
    }
    let ids = array(session.ids.iter().map(|id| id.to_string().into_bytes()));
    let line = Object::new().raw("webhooks", &ids).end();
    let (sender, body) = Body::stream(LISTEN_PARTS_MAX, session);
    let handle = api.handle.clone();
    tokio::spawn(async move {
        let line = [line.as_slice(), b"\n"].concat();
        if sender.send(line.into()).await.is_ok() {
            // At a stop the session ends first, or the stop would wait for it in vain.
            tokio::select! {
                () = sender.gone() => {}
                () = handle.draining() => {}
            }
        }
    });
    respond::stream(StatusCode::OK, JSON, body)
}

/// The webhooks of a `listen` session, deleted when it is dropped.
struct Session {
    handle: Handle,
    project: ProjectId,
    ids: Vec<WebhookId>,
}

impl Drop for Session {
    fn drop(&mut self) {
        let (handle, project) = (self.handle.clone(), self.project);
        let ids = std::mem::take(&mut self.ids);
        tokio::spawn(async move {
            for id in ids {
                // If the daemon is stopping, the next start deletes them.
                let _ = handle.command(Command::DeleteWebhook { project, id }).await;
            }
        });
    }
}

fn object(project: &Project) -> Object {
    Object::new()
        .number("id", u64::from(project.id.get()))
        .text("name", &project.name)
        .text("public_key", &project.public_key)
        .number("secret_keys", project.secret_keys.len() as u64)
        .text("created", &project.created.rfc3339_micros())
}

pub(super) fn field_error(field: &str, text: &str) -> Response<Body> {
    respond::bytes(StatusCode::BAD_REQUEST, JSON, Object::new().texts(field, [text]).end())
}
