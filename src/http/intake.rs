//! `POST /in/{source}/`: events of other systems in.
//!
//! Owns the way from a proved body to the answer that its sender wants. Must never deliver before
//! it answers, and never fetch anything but the confirmation of a topic that was allowed to ask.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::api::{Api, Call};
use super::auth::query_value;
use super::body::Body;
use super::limits::RetryAfterSeconds;
use super::respond::{self, JSON};
use crate::clock;
use crate::engine::submit::{Accepted, EventKey, SubmitError};
use crate::logic::address::AllowList;
use crate::model::attempt::Outcome;
use crate::model::event::{Kind, Source};
use crate::net::Request;
use crate::source::s3::Confirmation;
use crate::source::{self, Context, Head, Intake, Occurrence, Refusal, Said};

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// Whether a request asks before it sends: HEAD, or the handshake of CloudEvents.
pub(super) fn is_probe(parts: &Parts) -> bool {
    let asks = parts.method == Method::OPTIONS && parts.headers.contains_key(REQUEST_ORIGIN);
    parts.method == Method::HEAD || asks
}

/// The answer to CloudEvents' abuse protection, for a sender that is let in: this origin may send,
/// at any rate; the server's own limits stand.
pub(super) fn handshake(parts: &Parts) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    if let Some(origin) = parts.headers.get(REQUEST_ORIGIN) {
        headers.insert(ALLOWED_ORIGIN, origin.clone());
    }
    headers.insert(ALLOWED_RATE, HeaderValue::from_static("*"));
    headers.insert(header::ALLOW, HeaderValue::from_static("HEAD, OPTIONS, POST"));
    response
}

/// Takes a source's request.
pub(super) async fn take(api: &Api, call: &Call, source: Source) -> Response<Body> {
    let project = call.project();
    let context = Context {
        public_key: &project.public_key,
        settings: &project.settings,
        instance: call.parts.uri.query().and_then(|query| query_value(query, "instance")),
        secret: call.proven.token().and_then(|token| token.secret.as_ref()),
        limits: api.config.publish,
        now: clock::now().wall,
    };
    let headers = call.parts.headers.iter();
    let head =
        Head::new(headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))));
    match source::translate(source, &head, call.proven.body(), &context) {
        Ok(Intake::Events(events)) => submit(api, call, source, events).await,
        Ok(Intake::Nothing(why)) => said(source, &Said::Ignored(why)),
        Ok(Intake::Confirm(confirmation)) => {
            confirm(api, call, confirmation);
            said(source, &Said::Ignored("a subscription is to be confirmed"))
        }
        Err(refusal) => {
            log_refusal(call, source, &refusal);
            said(source, &Said::Refused(refusal.status(), &refusal.to_string()))
        }
    }
}

async fn submit(api: &Api, call: &Call, source: Source, events: Vec<Occurrence>) -> Response<Body> {
    let kinds: Vec<Kind> = events.iter().map(|one| one.event.kind).collect();
    let keyed = events.into_iter().map(|Occurrence { event, key }| {
        let key = EventKey::new(source::name(source), &key.text, key.window_ms);
        (event, key)
    });
    match api.handle.submit_each(call.project().id, source, keyed.collect()).await {
        Ok(accepted) => {
            for (one, kind) in accepted.iter().zip(&kinds) {
                api.intake.accepted(source, &[*kind], one.duplicate);
            }
            let ids = accepted.iter().flat_map(|one| &one.events).map(|event| event.id.to_string());
            let ids: Vec<String> = ids.collect();
            let duplicates = accepted.iter().filter(|one: &&Accepted| one.duplicate).count() as u64;
            said(source, &Said::Accepted { ids: &ids, duplicates })
        }
        Err(SubmitError::TooManyDeliveries) => {
            said(source, &Said::Refused(413, &SubmitError::TooManyDeliveries.to_string()))
        }
        Err(SubmitError::ProjectGone) => said(source, &Said::Refused(404, "Not found.")),
        Err(error) => {
            tracing::error!(%error, source = source::name(source), "Events could not be stored.");
            let response = said(source, &Said::Unavailable("Nothing was accepted. Try again."));
            respond::retry_after(response, RetryAfterSeconds(1))
        }
    }
}

fn said(source: Source, what: &Said<'_>) -> Response<Body> {
    let reply = source::reply(source, what);
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    respond::bytes(status, JSON, reply.body)
}

/// A refused event is lost unless its sender keeps it, so it is told here too.
fn log_refusal(call: &Call, source: Source, refusal: &Refusal) {
    tracing::warn!(
        project = %call.project().id,
        source = source::name(source),
        %refusal,
        "A source's request was refused."
    );
}

/// Confirms a topic's subscription beside the answer: SNS asks again if this fails.
fn confirm(api: &Api, call: &Call, confirmation: Confirmation) {
    let Confirmation { topic, call: request } = confirmation;
    let project = call.project().id;
    let Some(request) = request else {
        tracing::warn!(%project, topic, "A topic asks to be confirmed at a host that is not SNS's.");
        return;
    };
    if !api.config.sns_confirm {
        tracing::warn!(
            %project,
            topic,
            "A topic asks to be confirmed. Set sns_confirm in [sources] and let it ask again."
        );
        return;
    }
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let request = Request {
        origin: request.origin,
        path_and_query: "/".to_owned(),
        headers: vec![(header::CONTENT_TYPE, form)],
        body: Bytes::from(request.form),
        allow: Arc::new(AllowList::default()),
        listener: None,
    };
    let net = Arc::clone(&api.net);
    tokio::spawn(async move {
        match net.attempt(request).await.outcome {
            Outcome::Status(200) => tracing::info!(%project, topic, "A topic is confirmed."),
            outcome => tracing::warn!(%project, topic, ?outcome, "A topic could not be confirmed."),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: Method, origin: Option<&str>) -> Parts {
        let mut request = http::Request::builder().method(method);
        if let Some(origin) = origin {
            request = request.header(REQUEST_ORIGIN, origin);
        }
        request.body(()).expect("sound").into_parts().0
    }

    #[test]
    fn probes() {
        assert!(is_probe(&parts(Method::HEAD, None)));
        assert!(is_probe(&parts(Method::OPTIONS, Some("events.example.com"))));
        assert!(!is_probe(&parts(Method::OPTIONS, None)));
        assert!(!is_probe(&parts(Method::POST, Some("events.example.com"))));
        let answer = handshake(&parts(Method::OPTIONS, Some("events.example.com")));
        assert_eq!(answer.headers()[ALLOWED_ORIGIN], "events.example.com");
        assert_eq!(answer.headers()[ALLOWED_RATE], "*");
        assert_eq!(answer.headers().get(header::CONTENT_TYPE), None, "no bytes are no JSON");
    }
}
