//! The API: one service for all dialects, on the network and on the control socket.
//!
//! Owns the order in which a request is looked at: route, method, client limits, credentials, body,
//! meaning. Must never understand a body itself: that is `manage`, `publish` and `operator`.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::auth::{self, BodyLimits, Proven, Refusal};
use super::body::Body;
use super::limits::{ClientLimiter, ClientRate, RetryAfterSeconds};
use super::peer::Peer;
use super::respond::{self, JSON, RequestId};
use super::route::Route;
use super::server::Service;
use super::{manage, operator, ops, publish};
use crate::clock;
use crate::dialect::uploadcare::auth::AuthError;
use crate::dialect::uploadcare::headers::{NotAcceptable, View};
use crate::engine::Handle;
use crate::engine::command::CommandError;
use crate::model::project::Project;
use crate::net::Net;
use crate::source::native::PublishLimits;

/// Largest body of a request that manages webhooks, in bytes.
const MANAGE_BYTES_MAX: usize = 64 * 1_024;
/// Clients whose failed authentications are counted one by one.
const AUTH_FAILURE_KEYS_MAX: usize = 10_000;

/// How the API behaves.
#[derive(Clone, Copy, Debug)]
pub struct ApiConfig {
    /// Time for a request's body, in milliseconds.
    pub body_timeout_ms: u64,
    /// Failed authentications a minute of one client.
    pub auth_failures_per_minute: u32,
    /// Largest publish request, in bytes.
    pub publish_bytes_max: usize,
    /// What one publish request may hold.
    pub publish: PublishLimits,
}

/// The service.
pub struct Api {
    pub(super) handle: Handle,
    pub(super) net: Arc<Net>,
    pub(super) config: ApiConfig,
    auth_failures: ClientLimiter,
    operator_token: RwLock<Option<[u8; 32]>>,
}

/// A request that passed the routing and belongs to a proved project.
pub(super) struct Call {
    pub proven: Proven,
    pub parts: Parts,
    pub view: View,
}

impl Call {
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn content_type(&self) -> Option<&str> {
        self.header(header::CONTENT_TYPE)
    }

    pub fn project(&self) -> &Arc<Project> {
        self.proven.project()
    }
}

impl Api {
    /// The service of an engine.
    #[must_use]
    pub fn new(
        handle: Handle,
        net: Arc<Net>,
        config: ApiConfig,
        operator_token: Option<[u8; 32]>,
    ) -> Api {
        let per_minute =
            NonZeroU32::new(config.auth_failures_per_minute).unwrap_or(NonZeroU32::MIN);
        let auth_failures = ClientLimiter::new(ClientRate {
            per_minute,
            burst: per_minute,
            keys_max: AUTH_FAILURE_KEYS_MAX,
        });
        Api { handle, net, config, auth_failures, operator_token: RwLock::new(operator_token) }
    }

    /// Replaces the operator token's SHA-256.
    pub fn set_operator_token(&self, hash: [u8; 32]) {
        *self.operator_token.write().unwrap_or_else(PoisonError::into_inner) = Some(hash);
    }

    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let (parts, incoming) = request.into_parts();
        let Some(route) = Route::of(parts.uri.path()) else {
            return respond::detail(StatusCode::NOT_FOUND, JSON, "Not found.");
        };
        if parts.method == Method::OPTIONS {
            let mut response = respond::no_content();
            let allow = HeaderValue::from_static(route.allow());
            response.headers_mut().insert(header::ALLOW, allow);
            return response;
        }
        if !route.knows(&parts.method) {
            return respond::method_not_allowed(JSON, parts.method.as_str(), route.allow());
        }
        match route {
            Route::Health => ops::health(),
            Route::Ready => ops::ready(&self.handle),
            Route::Projects | Route::Listen | Route::OfProject(..) => {
                self.operator(route, parts, incoming, peer).await
            }
            route => self.project(route, parts, incoming, peer).await,
        }
    }

    /// A request with a project's key.
    async fn project(
        &self,
        route: Route,
        parts: Parts,
        incoming: Incoming,
        peer: Peer,
    ) -> Response<Body> {
        let view = match view(&parts.headers) {
            Ok(view) => view,
            Err(error) => {
                return respond::detail(StatusCode::NOT_ACCEPTABLE, JSON, &error.to_string());
            }
        };
        let now = clock::now();
        if !peer.control
            && let Err(wait) = self.auth_failures.peek(peer.client, now.mono)
        {
            return respond::too_many_requests(view.content_type(), wait);
        }
        let limits = self.body_limits(&route);
        match auth::prove(&self.handle, &parts, incoming, limits, now.wall).await {
            Ok(proven) => self.meaning(route, Call { proven, parts, view }).await,
            Err(refusal) => self.refuse(refusal, view.content_type(), peer),
        }
    }

    /// A request of the operator, for itself or on a project's part.
    async fn operator(
        &self,
        route: Route,
        parts: Parts,
        incoming: Incoming,
        peer: Peer,
    ) -> Response<Body> {
        if !peer.control {
            if let Err(wait) = self.auth_failures.peek(peer.client, clock::mono()) {
                return respond::too_many_requests(JSON, wait);
            }
            let token = *self.operator_token.read().unwrap_or_else(PoisonError::into_inner);
            if !auth::is_operator(&parts.headers, token.as_ref()) {
                return self.refuse(Refusal::Auth(AuthError::SecretKeyUnknown), JSON, peer);
            }
        }
        let limits = self.body_limits(&route);
        match route {
            Route::Projects if parts.method == Method::POST => {
                match auth::operator_body(incoming, limits).await {
                    Ok(body) => operator::create_project(self, &parts, &body).await,
                    Err(refusal) => self.refuse(refusal, JSON, peer),
                }
            }
            Route::Projects => operator::list_projects(self),
            Route::Listen => match auth::operator_body(incoming, limits).await {
                Ok(body) if peer.control => operator::listen(self, &parts, &body).await,
                Ok(_) => respond::detail(StatusCode::NOT_FOUND, JSON, "Not found."),
                Err(refusal) => self.refuse(refusal, JSON, peer),
            },
            Route::OfProject(name, inner) => {
                let Some(project) = operator::find_project(self, &name) else {
                    return respond::detail(StatusCode::NOT_FOUND, JSON, "Not found.");
                };
                let Some(inner) = inner else { return operator::show_project(&project) };
                match auth::as_operator(project, incoming, limits).await {
                    Ok(proven) => {
                        let view = View::Own;
                        self.meaning(*inner, Call { proven, parts, view }).await
                    }
                    Err(refusal) => self.refuse(refusal, JSON, peer),
                }
            }
            _ => respond::detail(StatusCode::NOT_FOUND, JSON, "Not found."),
        }
    }

    async fn meaning(&self, route: Route, call: Call) -> Response<Body> {
        let response = match (route, &call.parts.method) {
            (Route::Webhooks, &Method::POST) => manage::create(self, &call).await,
            (Route::Webhooks, _) => manage::list(self, &call),
            (Route::Unsubscribe, _) => manage::unsubscribe(self, &call).await,
            (Route::Webhook(id), &Method::DELETE) => manage::delete(self, &call, id).await,
            (Route::Webhook(id), &(Method::PUT | Method::POST)) => {
                manage::update(self, &call, id).await
            }
            (Route::Webhook(id), _) => manage::show(self, &call, id),
            (Route::WebhookAction(id, action), _) => manage::act(self, &call, id, action).await,
            (Route::Events, _) => publish::publish(self, &call).await,
            (Route::Project, _) => manage::project(&call),
            _ => respond::detail(StatusCode::NOT_FOUND, call.view.content_type(), "Not found."),
        };
        respond::vary_accept(response)
    }

    fn body_limits(&self, route: &Route) -> BodyLimits {
        let publishes = match route {
            Route::OfProject(_, Some(inner)) => **inner == Route::Events,
            route => *route == Route::Events,
        };
        let bytes_max = if publishes { self.config.publish_bytes_max } else { MANAGE_BYTES_MAX };
        BodyLimits { bytes_max, timeout_ms: self.config.body_timeout_ms }
    }

    fn refuse(&self, refusal: Refusal, content_type: &'static str, peer: Peer) -> Response<Body> {
        match refusal {
            Refusal::Body(error) => respond::unreadable(content_type, error),
            Refusal::Auth(error) => {
                // The next one is refused before it is looked at, once too many have failed.
                let _ = self.auth_failures.check(peer.client, clock::mono());
                tracing::info!(client = %peer.client, %error, "An authentication failed.");
                let mut response =
                    respond::detail(StatusCode::UNAUTHORIZED, content_type, &error.detail());
                let schemes = HeaderValue::from_static("Uploadcare, Uploadcare.Simple, Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, schemes);
                response
            }
        }
    }
}

impl Service for Api {
    async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let id = request.extensions().get::<RequestId>().cloned();
        let started = clock::mono();
        let response = self.answer(request, peer).await;
        tracing::debug!(
            request = id.as_ref().map(RequestId::as_str),
            client = %peer.client,
            %method,
            %path,
            status = response.status().as_u16(),
            ms = clock::mono().since(started),
            "Answered."
        );
        response
    }
}

fn view(headers: &HeaderMap) -> Result<View, NotAcceptable> {
    let accepts: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    View::negotiate((!accepts.is_empty()).then(|| accepts.join(",")).as_deref())
}

/// What a command's error is to its client.
pub(super) fn command_error(error: &CommandError, content_type: &'static str) -> Response<Body> {
    let wait = RetryAfterSeconds(1);
    match error {
        CommandError::NotFound => {
            respond::detail(StatusCode::NOT_FOUND, content_type, "Not found.")
        }
        CommandError::Draining | CommandError::Overtaken => {
            respond::unavailable(content_type, &error.to_string(), wait)
        }
        CommandError::Store(_) => {
            tracing::error!(%error, "A command could not be stored.");
            respond::unavailable(content_type, "The store can't be written.", wait)
        }
        CommandError::NotUnique
        | CommandError::TooManyWebhooks
        | CommandError::KeyTaken(_)
        | CommandError::NoId => {
            respond::detail(StatusCode::BAD_REQUEST, content_type, &error.to_string())
        }
        CommandError::NotSending(_) => {
            respond::detail(StatusCode::CONFLICT, content_type, &error.to_string())
        }
    }
}
