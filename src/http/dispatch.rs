//! The service: one for all dialects, on the network and on the control socket.
//!
//! Owns the order in which a request is looked at: route, method, client limits, credentials, body,
//! meaning. Must never understand a body itself: that is `manage`, `publish` and `operator`.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::api::{Api, Call};
use super::auth::{self, BodyLimits, Refusal};
use super::body::Body;
use super::peer::Peer;
use super::respond::{self, JSON, RequestId};
use super::route::{EventAction, Route};
use super::server::Service;
use super::{
    deliveries, events, intake, jobs, jsonapi, keys, look, manage, metrics, openapi, operator, ops,
    publish, rotation, send, stream, targets, tokens,
};
use crate::clock;
use crate::dialect::uploadcare::auth::AuthError;
use crate::dialect::uploadcare::headers::{NotAcceptable, View};
use crate::model::event::Source;

/// Largest body of a request that manages webhooks, in bytes.
const MANAGE_BYTES_MAX: usize = 64 * 1_024;

impl Service for Api {
    async fn handle(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        id: &RequestId,
    ) -> Response<Body> {
        let method = request.method().clone();
        let path = shown_path(request.uri().path()).to_owned();
        let started = clock::mono();
        let route = Route::of(request.uri().path());
        let source = route.as_ref().and_then(Route::publishes);
        let response = self.answer(route, request, peer).await;
        if let Some(source) = source.filter(|_| method == Method::POST) {
            self.intake.answered(source, response.status());
        }
        tracing::debug!(
            request = id.as_str(),
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
    async fn answer(
        &self,
        route: Option<Route>,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Response<Body> {
        let (parts, incoming) = request.into_parts();
        let route = match route {
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
            Route::OpenApi => openapi::show(&parts),
            Route::Metrics if self.config.metrics_public => metrics::show(self).await,
            Route::Targets | Route::Target(_) if self.is_operator(&parts, peer) => {
                self.operator(route, parts, incoming, peer).await
            }
            Route::Projects
            | Route::Listen
            | Route::OfProject(..)
            | Route::Keys(_)
            | Route::Key(..)
            | Route::OperatorTokens
            | Route::OperatorToken(_)
            | Route::Stats
            | Route::Metrics => self.operator(route, parts, incoming, peer).await,
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
            return Response::new(Body::empty());
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
            if !self.is_operator(&parts, peer) {
                return self.refuse(Refusal::Auth(AuthError::SecretKeyUnknown), JSON, peer);
            }
        }
        let limits = self.body_limits(&route);
        match route {
            Route::Metrics => metrics::show(self).await,
            Route::Stats => operator::stats(self).await,
            Route::Projects
            | Route::OfProject(_, None)
            | Route::Keys(_)
            | Route::Key(..)
            | Route::OperatorTokens
            | Route::OperatorToken(_)
            | Route::Targets
            | Route::Target(_) => match auth::operator_body(incoming, limits).await {
                Ok(body) => self.operators_own(route, &parts, &body, peer).await,
                Err(refusal) => self.refuse(refusal, JSON, peer),
            },
            Route::Listen => match auth::operator_body(incoming, limits).await {
                Ok(body) if peer.control => operator::listen(self, &parts, &body).await,
                Ok(_) => respond::detail(StatusCode::NOT_FOUND, JSON, "Not found."),
                Err(refusal) => self.refuse(refusal, JSON, peer),
            },
            Route::OfProject(name, Some(inner)) => {
                let Some(project) = operator::find_project(self, &name) else {
                    return respond::detail(StatusCode::NOT_FOUND, JSON, "Not found.");
                };
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

    /// The operator's request for itself, its body read.
    async fn operators_own(
        &self,
        route: Route,
        parts: &Parts,
        body: &[u8],
        peer: Peer,
    ) -> Response<Body> {
        let not_found = || respond::detail(StatusCode::NOT_FOUND, JSON, "Not found.");
        let is_write = !matches!(parts.method, Method::GET | Method::HEAD);
        match route {
            Route::Projects if is_write => operator::create_project(self, parts, body).await,
            Route::Projects => operator::list_projects(self),
            Route::OperatorTokens if is_write => operator::create_token(self, parts, body).await,
            Route::OperatorTokens => operator::list_tokens(self),
            Route::OperatorToken(id) => operator::revoke_token(self, id).await,
            Route::Targets if is_write => targets::set_named(self, parts, body).await,
            Route::Targets => targets::list(self, parts).await,
            Route::Target(Some(origin)) if is_write => {
                targets::set(self, origin, parts, body).await
            }
            Route::Target(Some(origin)) => targets::show(self, origin).await,
            Route::OfProject(name, _) => match operator::find_project(self, &name) {
                Some(project) if parts.method == Method::DELETE => {
                    operator::remove_project(self, &project).await
                }
                Some(project) if is_write => {
                    operator::rename_project(self, &project, parts, body).await
                }
                Some(project) => operator::show_project(&project),
                None => not_found(),
            },
            Route::Keys(name) => match operator::find_project(self, &name) {
                Some(project) if is_write => keys::add(self, &project, parts, body).await,
                Some(project) => keys::list(&project),
                None => not_found(),
            },
            Route::Key(name, key) => match operator::find_project(self, &name) {
                Some(project) if is_write => keys::revoke(self, &project, &key).await,
                Some(project) => keys::show(&project, &key, peer),
                None => not_found(),
            },
            _ => not_found(),
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
            (Route::Webhook(id), _) => manage::show(self, &call, id).await,
            (Route::WebhookAction(id, action), _) => manage::act(self, &call, id, action).await,
            (Route::WebhookSecret(id, step), _) => rotation::step(self, &call, id, step).await,
            (Route::EventAction(id, EventAction::Erase), _) => events::erase(self, &call, id).await,
            (Route::EventAction(id, EventAction::Replay), _) => {
                deliveries::replay(self, &call, id).await
            }
            (Route::DeliveriesAction(action), _) => jobs::begin(self, &call, action).await,
            (Route::DeliveryAction(id, action), _) => {
                deliveries::act(self, &call, id, action).await
            }
            (Route::Jobs, _) => jobs::list(self, &call).await,
            (Route::Job(id), &Method::DELETE) | (Route::JobCancel(id), _) => {
                jobs::stop(self, &call, id).await
            }
            (Route::Job(id), _) => jobs::show(self, &call, id).await,
            (Route::Targets, &Method::POST) | (Route::Target(_), &Method::POST) => {
                respond::detail(StatusCode::FORBIDDEN, JSON, targets::OPERATORS_ALONE)
            }
            (Route::Targets, _) => targets::list_share(self, &call).await,
            (Route::Target(origin), _) => targets::show_share(self, &call, origin).await,
            (Route::DeliveryStream, _) => stream::open(self, &call),
            (Route::Events, &Method::POST) => publish::publish(self, &call).await,
            (Route::Events, _) => look::list_events(self, &call).await,
            (Route::Event(id), _) => look::show_event(self, &call, id).await,
            (Route::Deliveries, _) => look::list_deliveries(self, &call).await,
            (Route::Delivery(id), _) => look::show_delivery(self, &call, id).await,
            (Route::Explain(id), _) => look::explain(self, &call, id).await,
            (Route::SentRequest(id, number), _) => look::sent(self, &call, id, number).await,
            (Route::Send, _) => send::send(self, &call).await,
            // The operator asks as a source does, but has to be proved first.
            (Route::In(_), &Method::HEAD) => Response::new(Body::empty()),
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
