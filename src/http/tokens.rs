//! `/tokens/`: a project's intake tokens.
//!
//! Owns how they are made and shown. Must never show a token but once, to whoever made it: what is
//! kept is its hash.

use http::{Response, StatusCode};
use sha2::{Digest, Sha256};

use super::api::{self, Api, Call, command_error};
use super::body::Body;
use super::fresh;
use super::respond::{self, JSON};
use crate::dialect::body::Field;
use crate::dialect::object::{Object, array};
use crate::engine::command::{Answer, Command, CommandError};
use crate::model::project::{INTAKE_TOKENS_MAX, IntakeToken, NAME_CHARS_MAX};
use crate::model::secret::Secret;
use crate::model::webhook::SIGNING_SECRET_CHARS_MAX;

/// Random bytes of a token, written as twice as many hexadecimal digits.
const TOKEN_BYTES: usize = 16;

pub(super) fn list(call: &Call) -> Response<Body> {
    let tokens = call.project().intake_tokens.iter().map(|token| object(token).end());
    respond::bytes(StatusCode::OK, JSON, array(tokens))
}

pub(super) async fn create(api: &Api, call: &Call) -> Response<Body> {
    let fields = match api::fields(&call.parts, call.proven.body(), JSON) {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    if let Some(name) = fields.names().find(|name| !["name", "signing_secret"].contains(name)) {
        return invalid(name, "Unknown field. Known are name, signing_secret.");
    }
    let name = fields.given("name").map_or(Some("intake"), Field::as_text).unwrap_or_default();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.contains(char::is_control) {
        return invalid("name", &format!("A name has 1 to {NAME_CHARS_MAX} characters."));
    }
    let secret = fields.given("signing_secret").map(|field| field.as_text().unwrap_or_default());
    let is_sound = |text: &str| (1..=SIGNING_SECRET_CHARS_MAX).contains(&text.chars().count());
    if secret.is_some_and(|text| !is_sound(text)) {
        let text = format!("A secret has 1 to {SIGNING_SECRET_CHARS_MAX} characters.");
        return invalid("signing_secret", &text);
    }
    let token = Secret::new(format!("in_{}", fresh::hex::<TOKEN_BYTES>()));
    let hash: [u8; 32] = Sha256::digest(token.expose().as_bytes()).into();
    let command = Command::AddIntakeToken {
        project: call.project().id,
        name: name.to_owned(),
        hash,
        secret: secret.map(|text| Secret::new(text.to_owned())),
    };
    match api.handle.command(command).await {
        Ok(Answer::Project(project)) => {
            let made = project.intake_tokens.iter().find(|token| token.hash == hash);
            // The one time that it is shown.
            let made = made.map(|made| object(made).text("token", token.expose()).end());
            respond::bytes(StatusCode::CREATED, JSON, made.unwrap_or_else(|| b"{}".to_vec()))
        }
        Ok(_) => respond::no_content(),
        Err(CommandError::NoId) => {
            let text = format!("A project has at most {INTAKE_TOKENS_MAX} tokens; revoke one.");
            respond::detail(StatusCode::BAD_REQUEST, JSON, &text)
        }
        Err(error) => command_error(&error, JSON),
    }
}

pub(super) async fn revoke(api: &Api, call: &Call, id: u32) -> Response<Body> {
    let command = Command::RevokeIntakeToken { project: call.project().id, id };
    match api.handle.command(command).await {
        Ok(_) => respond::no_content(),
        Err(error) => command_error(&error, JSON),
    }
}

fn object(token: &IntakeToken) -> Object {
    Object::new()
        .number("id", u64::from(token.id))
        .text("name", &token.name)
        .flag("signed", token.secret.is_some())
        .text("created", &token.created.rfc3339_micros())
}

fn invalid(field: &str, text: &str) -> Response<Body> {
    respond::bytes(StatusCode::BAD_REQUEST, JSON, Object::new().texts(field, [text]).end())
}
