//! Who asks, proved before anything of the request is understood.
//!
//! Owns the way from headers to a [`Proven`] request. Must never hand out a body whose sender is
//! not proved: a [`Proven`] can be made here alone, and nothing else holds a body. A body is read,
//! under its cap, only when the key is known and the date is within the window; for the signed
//! scheme the body's digest is part of the proof.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::body::{self, ReadError};
use super::route::Route;
use crate::dialect::uploadcare::auth::{
    AuthError, Credentials, SignedRequest, check_secret, credentials, request_date,
};
use crate::engine::Handle;
use crate::model::ids::ProjectId;
use crate::model::operator::OperatorToken;
use crate::model::project::{IntakeToken, Project, key_is_sound};
use crate::model::secret::Secret;
use crate::model::time::Wall;

/// A request whose sender is proved.
pub struct Proven {
    project: Arc<Project>,
    body: Bytes,
    token: Option<IntakeToken>,
}

impl Proven {
    /// Whose request it is.
    #[must_use]
    pub fn project(&self) -> &Arc<Project> {
        &self.project
    }

    /// The intake token that let it in, if one did.
    #[must_use]
    pub fn token(&self) -> Option<&IntakeToken> {
        self.token.as_ref()
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// How much of a body is read, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes.
    pub bytes_max: usize,
    /// Milliseconds.
    pub timeout_ms: u64,
}

/// Why a request is not understood.
#[derive(Debug)]
pub enum Refusal {
    /// Nobody is proved (401).
    Auth(AuthError),
    /// The body could not be read.
    Body(ReadError),
}

/// Proves a project's request and reads its body.
pub async fn prove(
    handle: &Handle,
    parts: &Parts,
    incoming: Incoming,
    limits: BodyLimits,
    now: Wall,
) -> Result<Proven, Refusal> {
    let headers = &parts.headers;
    let given = credentials(text(headers, header::AUTHORIZATION)).map_err(Refusal::Auth)?;
    let project = find(handle, given).map_err(Refusal::Auth)?;
    let Credentials::Signed { signature, .. } = given else {
        let body = read(incoming, limits).await?;
        return Ok(Proven { project, body, token: None });
    };
    let x_date = text(headers, header::HeaderName::from_static("x-uploadcare-date"));
    let date = request_date(x_date, text(headers, header::DATE), now).map_err(Refusal::Auth)?;
    let body = read(incoming, limits).await?;
    let signed = SignedRequest {
        method: parts.method.as_str(),
        content_type: headers.get(header::CONTENT_TYPE).map_or(b"", |value| value.as_bytes()),
        date,
        path_and_query: parts.uri.path_and_query().map_or("/", |path| path.as_str()),
    };
    signed.verify(&project.secret_keys, signature, &body).map_err(Refusal::Auth)?;
    Ok(Proven { project, body, token: None })
}

/// Proves a source's request and reads its body: by an intake token in the path, else in the query,
/// else in `Authorization`; or by what a project's own requests are proved by.
///
/// A token in the URL is the whole proof: tusd forwards its user's `Authorization` beside it. Where
/// the path names a project, it has to be the one that is proved.
pub async fn prove_intake(
    handle: &Handle,
    parts: &Parts,
    named: Option<&str>,
    incoming: Incoming,
    limits: BodyLimits,
    now: Wall,
) -> Result<Proven, Refusal> {
    let proven = match intake_token(handle, parts) {
        Some(Ok((project, _))) if !is_named(&project, named) => {
            return Err(Refusal::Auth(AuthError::SecretKeyUnknown));
        }
        Some(Ok((project, token))) => {
            Proven { project, body: read(incoming, limits).await?, token: Some(token) }
        }
        Some(Err(error)) => return Err(Refusal::Auth(error)),
        None => prove(handle, parts, incoming, limits, now).await?,
    };
    let is_named = is_named(&proven.project, named);
    if is_named { Ok(proven) } else { Err(Refusal::Auth(AuthError::SecretKeyUnknown)) }
}

/// Whether a path that may name a project by its id or public key names this one.
fn is_named(project: &Project, name: Option<&str>) -> bool {
    name.is_none_or(|name| project.public_key == name || ProjectId::parse(name) == Some(project.id))
}

/// Whether a request without a body (a handshake) carries what its source is let in by.
pub fn is_let_in(handle: &Handle, parts: &Parts) -> Result<(), AuthError> {
    match intake_token(handle, parts) {
        Some(found) => found.map(|_| ()),
        None => match credentials(text(&parts.headers, header::AUTHORIZATION))? {
            // A signature covers a date and a body; nothing is changed by this answer.
            Credentials::Signed { .. } => Err(AuthError::SecretKeyUnknown),
            given => find(handle, given).map(|_| ()),
        },
    }
}

type Found = Result<(Arc<Project>, IntakeToken), AuthError>;

/// The intake token that a request carries; `None` if there is none in its URL and what its
/// `Authorization` holds is not one.
fn intake_token(handle: &Handle, parts: &Parts) -> Option<Found> {
    let look_up = |token: &str| {
        let catalog = handle.catalog();
        let found = catalog.intake_token(&Sha256::digest(token.as_bytes()).into());
        found.map(|(project, token)| (Arc::clone(project), token.clone()))
    };
    let query = parts.uri.query().unwrap_or_default();
    let in_url = Route::path_token(parts.uri.path()).or_else(|| query_value(query, "token"));
    if let Some(token) = in_url {
        return Some(look_up(token).ok_or(AuthError::SecretKeyUnknown));
    }
    let given = text(&parts.headers, header::AUTHORIZATION)?.trim();
    let token = match given.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => given,
    };
    look_up(token).map(Ok)
}

/// A parameter of a query, unless it is empty. Tokens and host names need no escape.
#[must_use]
pub fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).find(|value| !value.is_empty())
}

/// Proves a request of a JSON:API project: the last word of `Authorization` is a secret key of the
/// project that the path names by its id or public key. Whether there is such a project is told to
/// nobody else.
pub async fn prove_last_word(
    handle: &Handle,
    name: &str,
    headers: &HeaderMap,
    incoming: Incoming,
    limits: BodyLimits,
) -> Result<Proven, Refusal> {
    let project = find_named(handle, name, last_word(headers)).map_err(Refusal::Auth)?;
    Ok(Proven { project, body: read(incoming, limits).await?, token: None })
}

/// An operator's request on a project's part: the operator was proved by the socket's permissions
/// or by [`is_operator`].
pub async fn as_operator(
    project: Arc<Project>,
    incoming: Incoming,
    limits: BodyLimits,
) -> Result<Proven, Refusal> {
    Ok(Proven { project, body: read(incoming, limits).await?, token: None })
}

/// The body of an operator's own request.
pub async fn operator_body(incoming: Incoming, limits: BodyLimits) -> Result<Bytes, Refusal> {
    read(incoming, limits).await
}

/// Whether the headers carry one of the operator's tokens. Each is compared.
#[must_use]
pub fn is_operator(headers: &HeaderMap, tokens: &[OperatorToken]) -> bool {
    let Ok(Credentials::Bearer { secret_key }) = credentials(text(headers, header::AUTHORIZATION))
    else {
        return false;
    };
    let given = Sha256::digest(secret_key.as_bytes());
    let matches = |token: &OperatorToken| bool::from(given.as_slice().ct_eq(&token.hash));
    tokens.iter().fold(false, |any, token| matches(token) | any)
}

async fn read(incoming: Incoming, limits: BodyLimits) -> Result<Bytes, Refusal> {
    body::read(incoming, limits.bytes_max, limits.timeout_ms).await.map_err(Refusal::Body)
}

/// The project that the credentials name. Where they are a secret key, it is proved too. An unknown
/// public key costs the same comparison as a known one.
fn find(handle: &Handle, given: Credentials<'_>) -> Result<Arc<Project>, AuthError> {
    let catalog = handle.catalog();
    match given {
        Credentials::Bearer { secret_key } => {
            catalog.project_by_secret_key(secret_key).cloned().ok_or(AuthError::SecretKeyUnknown)
        }
        Credentials::Simple { public_key, secret_key } => {
            match catalog.project_by_public_key(public_key) {
                Some(project) => {
                    check_secret(&project.secret_keys, secret_key).map(|()| Arc::clone(project))
                }
                None => {
                    let nobody = [Secret::new(secret_key.chars().rev().collect())];
                    // Compared for the time that it takes; what it says does not matter.
                    let _ = check_secret(&nobody, secret_key);
                    Err(AuthError::PublicKeyUnknown(public_key.to_owned()))
                }
            }
        }
        Credentials::Signed { public_key, .. } => catalog
            .project_by_public_key(public_key)
            .cloned()
            .ok_or_else(|| AuthError::PublicKeyUnknown(public_key.to_owned())),
    }
}

fn find_named(
    handle: &Handle,
    name: &str,
    secret_key: Result<&str, AuthError>,
) -> Result<Arc<Project>, AuthError> {
    let secret_key = secret_key?;
    let catalog = handle.catalog();
    let project = catalog.project_by_secret_key(secret_key).ok_or(AuthError::SecretKeyUnknown)?;
    if is_named(project, Some(name)) {
        Ok(Arc::clone(project))
    } else {
        Err(AuthError::SecretKeyUnknown)
    }
}

fn last_word(headers: &HeaderMap) -> Result<&str, AuthError> {
    let given = text(headers, header::AUTHORIZATION).ok_or(AuthError::Missing)?;
    let word = given.split_ascii_whitespace().next_back().ok_or(AuthError::Malformed)?;
    if key_is_sound(word) { Ok(word) } else { Err(AuthError::Malformed) }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
