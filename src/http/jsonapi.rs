//! `/api/v1/projects/{project}/webhooks`: webhooks as JSON:API projects manage them.
//!
//! Owns the way from a request to a command and from its answer to the dialect, its own errors
//! (`{"errors":["…"]}`) included. Must never show or change a webhook of another project, or one of
//! another format: those are managed at `/webhooks/`.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming;

use super::api::Api;
use super::auth::{self, Proven, Refusal};
use super::body::Body;
use super::fresh;
use super::limits::RetryAfterSeconds;
use super::peer::Peer;
use super::respond;
use super::route::Route;
use crate::clock;
use crate::dialect::body::{BodyError, Fields};
use crate::dialect::jsonapi::decode::{self, Invalid};
use crate::dialect::jsonapi::encode;
use crate::engine::command::{Answer, Command, CommandError};
use crate::logic::address::AllowList;
use crate::model::ids::{ProjectId, WebhookId};
use crate::model::target::TargetUrl;
use crate::model::webhook::{Format, Webhook};

const NO_WEBHOOK: &str = "Webhook not found";

/// A request of a proved project, and how it is answered.
struct Call {
    proven: Proven,
    parts: Parts,
    content_type: &'static str,
}

/// An answer that is given early; boxed, for it is large and rare.
type Early = Box<Response<Body>>;

pub(super) async fn answer(
    api: &Api,
    route: Route,
    parts: Parts,
    incoming: Incoming,
    peer: Peer,
) -> Response<Body> {
    let accepts = parts.headers.get_all(header::ACCEPT);
    let accepts: Vec<&str> = accepts.iter().filter_map(|value| value.to_str().ok()).collect();
    let content_type = encode::content_type(Some(&accepts.join(",")));
    let response = proved(api, route, parts, incoming, peer, content_type).await;
    respond::vary_accept(response)
}

async fn proved(
    api: &Api,
    route: Route,
    parts: Parts,
    incoming: Incoming,
    peer: Peer,
    content_type: &'static str,
) -> Response<Body> {
    let (Route::JsonApiWebhooks(project) | Route::JsonApiWebhook(project, _)) = &route else {
        return errors(StatusCode::NOT_FOUND, content_type, "Not found");
    };
    if !route.knows(&parts.method) {
        return not_allowed(content_type, &parts.method, route.allow());
    }
    if !peer.control
        && let Err(wait) = api.auth_failures.peek(peer.client, clock::mono())
    {
        return wait_for(StatusCode::TOO_MANY_REQUESTS, content_type, "Too many requests", wait);
    }
    let limits = api.body_limits(&route);
    match auth::prove_last_word(&api.handle, project, &parts.headers, incoming, limits).await {
        Ok(proven) => meaning(api, &route, &Call { proven, parts, content_type }).await,
        Err(Refusal::Body(error)) => {
            respond::closing(errors(error.status(), content_type, &error.to_string()))
        }
        Err(Refusal::Auth(error)) => {
            api.count_auth_failure(peer, &error);
            let mut response = errors(StatusCode::UNAUTHORIZED, content_type, "Unauthorized");
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            response
        }
    }
}

async fn meaning(api: &Api, route: &Route, call: &Call) -> Response<Body> {
    let Route::JsonApiWebhook(_, name) = route else {
        return match call.parts.method {
            Method::POST => create(api, call).await,
            _ => list(api, call),
        };
    };
    let Some(webhook) = call.find(api, name) else {
        return errors(StatusCode::NOT_FOUND, call.content_type, NO_WEBHOOK);
    };
    match call.parts.method {
        Method::PUT | Method::PATCH => update(api, call, &webhook).await,
        Method::DELETE => delete(api, call, &webhook).await,
        _ => call.shown(&webhook),
    }
}

fn list(api: &Api, call: &Call) -> Response<Body> {
    let query = call.parts.uri.query().unwrap_or_default();
    let query = match Fields::from_urlencoded(query.as_bytes()) {
        Ok(query) => query,
        Err(error) => return *call.unreadable(&error),
    };
    let page = match decode::page(&query) {
        Ok(page) => page,
        Err(error) => return call.invalid(&error),
    };
    let catalog = api.handle.catalog();
    let webhooks = catalog.webhooks_of(call.project());
    let webhooks: Vec<&Webhook> =
        webhooks.map(|webhook| &**webhook).filter(|webhook| is_shown(webhook)).collect();
    let body = encode::list(&webhooks, call.public_key(), page);
    respond::bytes(StatusCode::OK, call.content_type, body)
}

async fn create(api: &Api, call: &Call) -> Response<Body> {
    let fields = match call.fields() {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    let draft = match decode::create(&fields, fresh::signing_secret()) {
        Ok(draft) => draft,
        Err(error) => return call.invalid(&error),
    };
    if let Err(error) = call.check_target(api, &draft.target_url).await {
        return call.invalid(&error);
    }
    let command = Command::CreateWebhook { project: call.project(), draft, listener: None };
    call.answered(api.handle.command(command).await)
}

async fn update(api: &Api, call: &Call, webhook: &Webhook) -> Response<Body> {
    let fields = match call.fields() {
        Ok(fields) => fields,
        Err(unreadable) => return *unreadable,
    };
    let patch = match decode::update(&fields, webhook) {
        Ok(patch) => patch,
        Err(error) => return call.invalid(&error),
    };
    if let Some(target_url) = &patch.target_url
        && let Err(error) = call.check_target(api, target_url).await
    {
        return call.invalid(&error);
    }
    let command = Command::UpdateWebhook { project: call.project(), id: webhook.id, patch };
    call.answered(api.handle.command(command).await)
}

/// Answers with the webhook as it was.
async fn delete(api: &Api, call: &Call, webhook: &Webhook) -> Response<Body> {
    let command = Command::DeleteWebhook { project: call.project(), id: webhook.id };
    match api.handle.command(command).await {
        Ok(_) => call.shown(webhook),
        Err(error) => call.failed(&error),
    }
}

impl Call {
    fn project(&self) -> ProjectId {
        self.proven.project().id
    }

    fn public_key(&self) -> &str {
        &self.proven.project().public_key
    }

    /// The project's webhook that the path names, by its public id or its integer.
    fn find(&self, api: &Api, name: &str) -> Option<Arc<Webhook>> {
        let catalog = api.handle.catalog();
        let webhook = match WebhookId::parse(name) {
            Some(id) => catalog.webhook(id),
            None => catalog.webhook_by_public_id(name),
        };
        webhook
            .filter(|webhook| webhook.project == self.project() && is_shown(webhook))
            .map(Arc::clone)
    }

    fn fields(&self) -> Result<Fields, Early> {
        let content_type = self.parts.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        Fields::read(content_type, self.proven.body()).map_err(|error| self.unreadable(&error))
    }

    async fn check_target(&self, api: &Api, target_url: &TargetUrl) -> Result<(), Invalid> {
        let allow = AllowList::parse(&self.proven.project().settings.allow).unwrap_or_default();
        let checked = api.net.check_target(target_url.origin(), &allow).await;
        checked.map_err(|refused| decode::target_refused(&refused.to_string()))
    }

    fn answered(&self, result: Result<Answer, CommandError>) -> Response<Body> {
        match result {
            Ok(Answer::Webhook(webhook)) => self.shown(&webhook),
            Ok(_) => errors(StatusCode::NOT_FOUND, self.content_type, NO_WEBHOOK),
            Err(error) => self.failed(&error),
        }
    }

    fn shown(&self, webhook: &Webhook) -> Response<Body> {
        let body = encode::webhook(webhook, self.public_key());
        respond::bytes(StatusCode::OK, self.content_type, body)
    }

    fn invalid(&self, invalid: &Invalid) -> Response<Body> {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        respond::bytes(status, self.content_type, encode::invalid(invalid))
    }

    fn unreadable(&self, error: &BodyError) -> Early {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Box::new(errors(status, self.content_type, &error.to_string()))
    }

    fn failed(&self, error: &CommandError) -> Response<Body> {
        let wait = RetryAfterSeconds(1);
        let unavailable =
            |text: &str| wait_for(StatusCode::SERVICE_UNAVAILABLE, self.content_type, text, wait);
        match error {
            CommandError::NotFound => errors(StatusCode::NOT_FOUND, self.content_type, NO_WEBHOOK),
            CommandError::Draining | CommandError::Overtaken | CommandError::Full => {
                unavailable(&error.to_string())
            }
            CommandError::Store(_) => {
                tracing::error!(%error, "A command could not be stored.");
                unavailable("The store can't be written.")
            }
            CommandError::NotUnique
            | CommandError::TooManyWebhooks
            | CommandError::KeyTaken(_)
            | CommandError::NoId
            | CommandError::IdUsed(_)
            | CommandError::TooMany(_)
            | CommandError::Rotation(_)
            | CommandError::LastKey
            | CommandError::Act(_)
            | CommandError::TargetPaused
            | CommandError::NotSending(_) => {
                errors(StatusCode::UNPROCESSABLE_ENTITY, self.content_type, &error.to_string())
            }
        }
    }
}

/// Whether this API knows a webhook: `listen` sessions and the hidden lanes of `/send/` are nobody's
/// to manage.
fn is_shown(webhook: &Webhook) -> bool {
    webhook.format == Format::JsonApi && webhook.listener.is_none() && !webhook.hidden
}

fn errors(status: StatusCode, content_type: &'static str, text: &str) -> Response<Body> {
    respond::bytes(status, content_type, encode::errors([text]))
}

fn not_allowed(content_type: &'static str, method: &Method, allow: &'static str) -> Response<Body> {
    let text = format!("Method \"{method}\" not allowed");
    let mut response = errors(StatusCode::METHOD_NOT_ALLOWED, content_type, &text);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

fn wait_for(
    status: StatusCode,
    content_type: &'static str,
    text: &str,
    wait: RetryAfterSeconds,
) -> Response<Body> {
    respond::retry_after(errors(status, content_type, text), wait)
}
