//! `/projects/{project}/keys/`: a project's secret keys, for the operator.
//!
//! Owns how keys are named and shown. A key is named by the start of its SHA-256. Must never show a
//! key over the network but once, to whoever made it; from the machine itself, by the control
//! socket, a lost one can be shown again.

use std::sync::Arc;

use http::request::Parts;
use http::{Response, StatusCode};
use sha2::{Digest, Sha256};

use super::api::{self, Api, command_error};
use super::body::Body;
use super::fresh;
use super::operator;
use super::peer::Peer;
use super::respond::{self, JSON};
use crate::dialect::body::Field;
use crate::dialect::object::{Object, array};
use crate::engine::command::{Answer, Command};
use crate::model::project::{KEY_BYTES_MAX, Project, key_is_sound};
use crate::model::secret::Secret;

/// Bytes of a key's SHA-256 that name it.
const NAME_BYTES: usize = 4;

pub(super) fn list(project: &Project) -> Response<Body> {
    let keys = project.secret_keys.iter().map(|key| object(key).end());
    respond::bytes(StatusCode::OK, JSON, array(keys))
}

pub(super) fn show(project: &Project, name: &str, peer: Peer) -> Response<Body> {
    let Some(key) = find(project, name) else {
        return respond::detail(StatusCode::NOT_FOUND, JSON, "Not found.");
    };
    let object = object(key);
    let object = if peer.control { object.text("secret_key", key.expose()) } else { object };
    respond::bytes(StatusCode::OK, JSON, object.end())
}

pub(super) async fn add(
    api: &Api,
    project: &Arc<Project>,
    parts: &Parts,
    body: &[u8],
) -> Response<Body> {
    if let Some(refusal) = operator::refuse_configured(api, project) {
        return refusal;
    }
    let fields = match api::fields(parts, body, JSON) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    if let Some(name) = fields.names().find(|name| *name != "secret_key") {
        return operator::field_error(name, "Unknown field. Known is secret_key.");
    }
    let key = match fields.given("secret_key").map(Field::as_text) {
        None => fresh::secret_key(),
        Some(Some(text)) if key_is_sound(text) => Secret::new(text.to_owned()),
        Some(_) => {
            let text = format!(
                "A key is visible ASCII without a colon, at most {KEY_BYTES_MAX} characters."
            );
            return operator::field_error("secret_key", &text);
        }
    };
    let command = Command::AddSecretKey { project: project.id, key: key.clone() };
    match api.handle.command(command).await {
        Ok(Answer::Project(_)) => {
            // The one time that it is shown.
            let body = object(&key).text("secret_key", key.expose()).end();
            respond::bytes(StatusCode::CREATED, JSON, body)
        }
        Ok(_) => respond::no_content(),
        Err(error) => command_error(&error, JSON),
    }
}

pub(super) async fn revoke(api: &Api, project: &Arc<Project>, name: &str) -> Response<Body> {
    if let Some(refusal) = operator::refuse_configured(api, project) {
        return refusal;
    }
    let Some(key) = find(project, name) else {
        return respond::detail(StatusCode::NOT_FOUND, JSON, "Not found.");
    };
    let command = Command::RevokeSecretKey { project: project.id, key: key.clone() };
    match api.handle.command(command).await {
        Ok(_) => respond::no_content(),
        Err(error) => command_error(&error, JSON),
    }
}

fn find<'p>(project: &'p Project, name: &str) -> Option<&'p Secret> {
    project.secret_keys.iter().find(|key| name_of(key) == name)
}

fn object(key: &Secret) -> Object {
    Object::new().text("id", &name_of(key))
}

fn name_of(key: &Secret) -> String {
    let digest = Sha256::digest(key.expose().as_bytes());
    digest[..NAME_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}
