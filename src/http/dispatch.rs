//! The service: one for all dialects, on the network and on the control socket.
//!
//! Owns the order in which a request is looked at: route, method, client limits, credentials, body,
//! meaning. Must never understand a body itself: that is `manage`, `publish` and `operator`.

use std::sync::PoisonError;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::api::{Api, Call};
use super::auth::{self, BodyLimits, Refusal};
use super::body::Body;
use super::peer::Peer;
use super::respond::{self, JSON, RequestId};
use super::route::Route;
use super::server::Service;
use super::{intake, jsonapi, manage, operator, ops, publish, send, tokens};
use crate::clock;
use crate::dialect::uploadcare::auth::AuthError;
use crate::dialect::uploadcare::headers::{NotAcceptable, View};
use crate::model::event::Source;

/// Largest body of a request that manages webhooks, in bytes.
const MANAGE_BYTES_MAX: usize = 64 * 1_024;

impl Service for Api {
    async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let method = request.method().clone();
        let path = shown_path(request.uri().path()).to_owned();
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

impl Api {
    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let (parts, incoming) = request.into_parts();
        let route = match Route::of(parts.uri.path()) {
            // Beside its one method, it is the id of a webhook that does not exist.
            Some(Route::Incoming(name))
                if parts.method != Method::POST && parts.method != Method::OPTIONS =>
            {
                Route::JsonApiWebhook(name, "incoming".to_owned())
            }
            Some(route) => route,
            None => return respond::detail(StatusCode::NOT_FOUND, JSON, "Not found."),
        };
        if matches!(route, Route::In(_)) && intake::is_probe(&parts) {
            return self.probe(&parts, peer);
        }
        if parts.method == Method::OPTIONS {
            let mut response = respond::no_content();
            let allow = HeaderValue::from_static(route.allow());
            response.headers_mut().insert(header::ALLOW, allow);
            return response;
        }
        if matches!(route, Route::JsonApiWebhooks(_) | Route::JsonApiWebhook(..)) {
            return jsonapi::answer(self, route, parts, incoming, peer).await;
        }
        if !route.knows(&parts.method) {
            return respond::method_not_allowed(JSON, parts.method.as_str(), route.allow());
        }
        match route {
            Route::Health => ops::health(),
            Route::Ready => ops::ready(&self.handle),
            Route::Projects | Route::Listen | Route::Stats | Route::OfProject(..) => {
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
        // Whoever sends events looks at the status, whatever it says that it accepts.
        let asked = if route.source().is_some() { Ok(View::Own) } else { view(&parts.headers) };
        let view = match asked {
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
        let proof = match &route {
            Route::In(_) => {
                auth::prove_intake(&self.handle, &parts, None, incoming, limits, now.wall).await
            }
            Route::Incoming(name) => {
                let name = Some(name.as_str());
                auth::prove_intake(&self.handle, &parts, name, incoming, limits, now.wall).await
            }
            _ => auth::prove(&self.handle, &parts, incoming, limits, now.wall).await,
        };
        match proof {
            Ok(proven) => self.meaning(route, Call { proven, parts, view }).await,
            Err(refusal) => self.refuse(refusal, view.content_type(), peer),
        }
    }

    /// A question of a source before it sends anything.
    fn probe(&self, parts: &Parts, peer: Peer) -> Response<Body> {
        if parts.method == Method::HEAD {
            // It says that somebody listens, and nothing of any token.
            return respond::bytes(StatusCode::OK, JSON, Vec::new());
        }
        if !peer.control
            && let Err(wait) = self.auth_failures.peek(peer.client, clock::mono())
        {
            return respond::too_many_requests(JSON, wait);
        }
        match auth::is_let_in(&self.handle, parts) {
            Ok(()) => intake::handshake(parts),
            Err(error) => self.refuse(Refusal::Auth(error), JSON, peer),
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
            Route::Stats => operator::stats(self).await,
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
            (Route::Send, _) => send::send(self, &call).await,
            (Route::In(source), _) => intake::take(self, &call, source).await,
            (Route::Incoming(_), _) => intake::take(self, &call, Source::Uploadcare).await,
            (Route::Tokens, &Method::POST) => tokens::create(self, &call).await,
            (Route::Tokens, _) => tokens::list(&call),
            (Route::Token(id), _) => tokens::revoke(self, &call, id).await,
            (Route::Project, _) => manage::project(&call),
            _ => respond::detail(StatusCode::NOT_FOUND, call.view.content_type(), "Not found."),
        };
        respond::vary_accept(response)
    }

    pub(super) fn body_limits(&self, route: &Route) -> BodyLimits {
        let inner = match route {
            Route::OfProject(_, Some(inner)) => inner,
            route => route,
        };
        let publishes =
            matches!(inner, Route::Events | Route::Send | Route::In(_) | Route::Incoming(_));
        let bytes_max = if publishes { self.config.publish_bytes_max } else { MANAGE_BYTES_MAX };
        BodyLimits { bytes_max, timeout_ms: self.config.body_timeout_ms }
    }

    fn refuse(&self, refusal: Refusal, content_type: &'static str, peer: Peer) -> Response<Body> {
        match refusal {
            Refusal::Body(error) => respond::unreadable(content_type, error),
            Refusal::Auth(error) => {
                self.count_auth_failure(peer, &error);
                let mut response =
                    respond::detail(StatusCode::UNAUTHORIZED, content_type, &error.detail());
                let schemes = HeaderValue::from_static("Uploadcare, Uploadcare.Simple, Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, schemes);
                response
            }
        }
    }
}

impl Api {
    /// The client's next request is refused before it is looked at, once too many have failed.
    pub(super) fn count_auth_failure(&self, peer: Peer, error: &AuthError) {
        let _ = self.auth_failures.check(peer.client, clock::mono());
        tracing::info!(client = %peer.client, %error, "An authentication failed.");
    }
}

/// A path as it may be logged: without the token that may stand in it.
fn shown_path(path: &str) -> &str {
    match Route::path_token(path) {
        Some(token) => {
            let path = path.strip_suffix('/').unwrap_or(path);
            path.strip_suffix(token).unwrap_or(path)
        }
        None => path,
    }
}

fn view(headers: &HeaderMap) -> Result<View, NotAcceptable> {
    let accepts: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    View::negotiate((!accepts.is_empty()).then(|| accepts.join(",")).as_deref())
}
