//! The table of routes: which path means what, and which methods it knows.
//!
//! Owns paths. Must never look at a header or a body.
//!
//! A final slash is canonical and never demanded. All versions of the Uploadcare API share their
//! routes, since real clients cross their lines: POST and PUT on a webhook, POST and DELETE on
//! `unsubscribe`, whatever version is asked for.

use http::Method;

use crate::model::event::Source;
use crate::model::ids::{DeliveryId, EventId, WebhookId};
use crate::model::job::JobId;
use crate::model::target::Origin;
use crate::source;

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/healthz`
    Health,
    /// `/readyz`
    Ready,
    /// `/webhooks/`
    Webhooks,
    /// `/webhooks/unsubscribe/`
    Unsubscribe,
    /// `/webhooks/{id}/`
    Webhook(WebhookId),
    /// `/webhooks/{id}/{action}/`
    WebhookAction(WebhookId, WebhookAction),
    /// `/webhooks/{id}/secret/{step}/`
    WebhookSecret(WebhookId, SecretStep),
    /// `/webhooks/{something else}/`, with or without an action: no such webhook.
    NoWebhook,
    /// `/events/`
    Events,
    /// `/events/{id}/`
    Event(Option<EventId>),
    /// `/events/{id}/{action}/`
    EventAction(Option<EventId>, EventAction),
    /// `/deliveries/stream/`
    DeliveryStream,
    /// `/deliveries/`
    Deliveries,
    /// `/deliveries/{id}/`
    Delivery(Option<DeliveryId>),
    /// `/deliveries/{id}/explain/`: why it has not arrived, or how it ended.
    Explain(Option<DeliveryId>),
    /// `/deliveries/{id}/attempts/{number}/request/`: the request as it was sent.
    SentRequest(Option<DeliveryId>, u32),
    /// `/deliveries/{action}/`: to those that a filter selects.
    DeliveriesAction(DeliveryAction),
    /// `/deliveries/{id}/{action}/`
    DeliveryAction(Option<DeliveryId>, DeliveryAction),
    /// `/jobs/`
    Jobs,
    /// `/jobs/{id}/`
    Job(Option<JobId>),
    /// `/jobs/{id}/cancel/`
    JobCancel(Option<JobId>),
    /// `/targets/`
    Targets,
    /// `/targets/{id}/`
    Target(Option<Origin>),
    /// `/send/`
    Send,
    /// `/in/{source}/`, where a token may follow.
    In(Source),
    /// `/api/v1/projects/{id or public key}/webhooks/incoming`: Uploadcare's source by another name.
    Incoming(String),
    /// `/tokens/`: intake tokens.
    Tokens,
    /// `/tokens/{id}/`
    Token(u32),
    /// `/project/`
    Project,
    /// `/projects/`, the operator's.
    Projects,
    /// `/projects/{id or public key}/…`: the operator on a project's part.
    OfProject(String, Option<Box<Route>>),
    /// `/api/v1/projects/{id or public key}/webhooks`, with or without `.json`.
    JsonApiWebhooks(String),
    /// `/api/v1/projects/{id or public key}/webhooks/{wh-… or id}`, with or without `.json`.
    JsonApiWebhook(String, String),
    /// `/projects/{id or public key}/keys/`: its secret keys, the operator's.
    Keys(String),
    /// `/projects/{id or public key}/keys/{key}/`
    Key(String, String),
    /// `/operator/tokens/`, the operator's.
    OperatorTokens,
    /// `/operator/tokens/{id}/`
    OperatorToken(u32),
    /// `/metrics`
    Metrics,
    /// `/listen/`, the control socket's.
    Listen,
    /// `/stats/`, the operator's: figures of the store.
    Stats,
    /// `/openapi.json`: the document that describes them all.
    OpenApi,
}

/// A step in the change of a signing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretStep {
    /// `rotate`
    Rotate,
    /// `promote`
    Promote,
    /// `finish`
    Finish,
    /// `abort`
    Abort,
}

/// What can be done to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventAction {
    /// `erase`
    Erase,
    /// `replay`
    Replay,
}

/// What can be done to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryAction {
    /// `resend`
    Resend,
    /// `cancel`
    Cancel,
}

/// What can be done to a webhook beside changing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookAction {
    /// `test`
    Test,
    /// `pause`
    Pause,
    /// `resume`
    Resume,
    /// `recover`
    Recover,
}

impl Route {
    /// Reads a path.
    #[must_use]
    pub fn of(path: &str) -> Option<Route> {
        let path = path.strip_prefix('/')?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<&str> = path.split('/').collect();
        match segments[..] {
            ["projects"] => Some(Route::Projects),
            ["projects", project] if !project.is_empty() => {
                Some(Route::OfProject(project.to_owned(), None))
            }
            ["projects", project, "keys"] if !project.is_empty() => {
                Some(Route::Keys(project.to_owned()))
            }
            ["projects", project, "keys", key] if !project.is_empty() => {
                Some(Route::Key(project.to_owned(), key.to_owned()))
            }
            ["operator", "tokens"] => Some(Route::OperatorTokens),
            ["operator", "tokens", id] => id.parse().ok().map(Route::OperatorToken),
            ["metrics"] => Some(Route::Metrics),
            ["projects", project, ref rest @ ..] if !project.is_empty() => {
                let inner = Box::new(of_project(rest)?);
                Some(Route::OfProject(project.to_owned(), Some(inner)))
            }
            ["api", "v1", "projects", project, ref rest @ ..] if !project.is_empty() => {
                jsonapi(project, rest)
            }
            ["healthz"] => Some(Route::Health),
            ["readyz"] => Some(Route::Ready),
            ["listen"] => Some(Route::Listen),
            ["stats"] => Some(Route::Stats),
            ["openapi.json"] => Some(Route::OpenApi),
            ["in", name, _] => source::by_name(name).map(Route::In),
            ref rest => of_project(rest),
        }
    }

    /// The source whose events come in here.
    #[must_use]
    pub fn source(&self) -> Option<Source> {
        match self {
            Route::In(source) => Some(*source),
            Route::Incoming(_) => Some(Source::Uploadcare),
            _ => None,
        }
    }

    /// Where events come in by it, if any do.
    #[must_use]
    pub fn publishes(&self) -> Option<Source> {
        match self {
            Route::Events => Some(Source::Native),
            Route::Send => Some(Source::Send),
            Route::OfProject(_, Some(inner)) => inner.publishes(),
            other => other.source(),
        }
    }

    /// The token that follows a source in its path: the one part of a path that is a secret.
    #[must_use]
    pub fn path_token(path: &str) -> Option<&str> {
        let path = path.strip_prefix("/in/")?;
        let (_, token) = path.strip_suffix('/').unwrap_or(path).split_once('/')?;
        (!token.is_empty()).then_some(token)
    }

    /// The methods that it knows, as `Allow` says them.
    #[must_use]
    pub fn allow(&self) -> &'static str {
        match self {
            Route::Health
            | Route::Ready
            | Route::Project
            | Route::Jobs
            | Route::Metrics
            | Route::DeliveryStream
            | Route::Stats
            | Route::OpenApi
            | Route::Event(_)
            | Route::Deliveries
            | Route::Delivery(_)
            | Route::Explain(_)
            | Route::SentRequest(..) => "GET, HEAD, OPTIONS",
            Route::Webhooks
            | Route::Events
            | Route::Projects
            | Route::Tokens
            | Route::Targets
            | Route::Target(_)
            | Route::Keys(_)
            | Route::OperatorTokens
            | Route::JsonApiWebhooks(_) => "GET, HEAD, OPTIONS, POST",
            Route::JsonApiWebhook(..) => "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
            Route::Unsubscribe => "DELETE, OPTIONS, POST",
            Route::Webhook(_) | Route::NoWebhook => "DELETE, GET, HEAD, OPTIONS, POST, PUT",
            Route::WebhookAction(..)
            | Route::WebhookSecret(..)
            | Route::EventAction(..)
            | Route::DeliveriesAction(_)
            | Route::DeliveryAction(..)
            | Route::JobCancel(_)
            | Route::Listen
            | Route::Send
            | Route::Incoming(_) => "OPTIONS, POST",
            // HEAD: RustFS asks so whether anybody is there.
            Route::In(_) => "HEAD, OPTIONS, POST",
            Route::Token(_) | Route::OperatorToken(_) => "DELETE, OPTIONS",
            Route::Key(..) | Route::Job(_) => "DELETE, GET, HEAD, OPTIONS",
            Route::OfProject(_, None) => "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
            Route::OfProject(_, Some(inner)) => inner.allow(),
        }
    }

    /// Whether it knows a method.
    #[must_use]
    pub fn knows(&self, method: &Method) -> bool {
        self.allow().split(", ").any(|known| known == method.as_str())
    }
}

/// JSON:API projects: their paths end in `.json`, or not.
fn jsonapi(project: &str, segments: &[&str]) -> Option<Route> {
    let bare = |segment: &str| segment.strip_suffix(".json").unwrap_or(segment).to_owned();
    match segments {
        ["webhooks" | "webhooks.json"] => Some(Route::JsonApiWebhooks(project.to_owned())),
        ["webhooks", "incoming" | "incoming.json"] => Some(Route::Incoming(project.to_owned())),
        ["webhooks", id] => Some(Route::JsonApiWebhook(project.to_owned(), bare(id))),
        _ => None,
    }
}

fn delivery_action(word: &str) -> Option<DeliveryAction> {
    match word {
        "resend" => Some(DeliveryAction::Resend),
        "cancel" => Some(DeliveryAction::Cancel),
        _ => None,
    }
}

fn of_project(segments: &[&str]) -> Option<Route> {
    match segments {
        ["webhooks"] => Some(Route::Webhooks),
        ["webhooks", "unsubscribe"] => Some(Route::Unsubscribe),
        ["webhooks", id] => Some(WebhookId::parse(id).map_or(Route::NoWebhook, Route::Webhook)),
        ["webhooks", id, "secret", step] => {
            let step = match *step {
                "rotate" => SecretStep::Rotate,
                "promote" => SecretStep::Promote,
                "finish" => SecretStep::Finish,
                "abort" => SecretStep::Abort,
                _ => return None,
            };
            let id = WebhookId::parse(id);
            Some(id.map_or(Route::NoWebhook, |id| Route::WebhookSecret(id, step)))
        }
        ["webhooks", id, action] => {
            let action = match *action {
                "test" => WebhookAction::Test,
                "pause" => WebhookAction::Pause,
                "resume" => WebhookAction::Resume,
                "recover" => WebhookAction::Recover,
                _ => return None,
            };
            let id = WebhookId::parse(id);
            Some(id.map_or(Route::NoWebhook, |id| Route::WebhookAction(id, action)))
        }
        ["events"] => Some(Route::Events),
        ["events", id] => Some(Route::Event(EventId::parse(id))),
        ["deliveries"] => Some(Route::Deliveries),
        ["deliveries", "stream"] => Some(Route::DeliveryStream),
        ["events", id, "erase"] => Some(Route::EventAction(EventId::parse(id), EventAction::Erase)),
        ["events", id, "replay"] => {
            Some(Route::EventAction(EventId::parse(id), EventAction::Replay))
        }
        ["deliveries", id] => Some(match delivery_action(id) {
            Some(action) => Route::DeliveriesAction(action),
            None => Route::Delivery(DeliveryId::parse(id)),
        }),
        ["deliveries", id, "explain"] => Some(Route::Explain(DeliveryId::parse(id))),
        ["deliveries", id, action] => delivery_action(action)
            .map(|action| Route::DeliveryAction(DeliveryId::parse(id), action)),
        ["deliveries", id, "attempts", number, "request"] => {
            let number = number.parse().ok().filter(|_| !number.starts_with(['+', '0']));
            Some(Route::SentRequest(DeliveryId::parse(id), number.unwrap_or_default()))
        }
        ["jobs"] => Some(Route::Jobs),
        ["jobs", id] => Some(Route::Job(JobId::parse(id))),
        ["jobs", id, "cancel"] => Some(Route::JobCancel(JobId::parse(id))),
        ["targets"] => Some(Route::Targets),
        ["targets", id] => Some(Route::Target(Origin::parse_id(id))),
        ["send"] => Some(Route::Send),
        ["in", name] => source::by_name(name).map(Route::In),
        ["tokens"] => Some(Route::Tokens),
        ["tokens", id] => id.parse().ok().map(Route::Token),
        ["project"] => Some(Route::Project),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let id = WebhookId::new(7).expect("an id");
        let of_key = |id: &str| Some(Route::JsonApiWebhook("key".to_owned(), id.to_owned()));
        for (path, want) in [
            ("/webhooks/", Some(Route::Webhooks)),
            ("/webhooks", Some(Route::Webhooks)),
            ("/webhooks/7/", Some(Route::Webhook(id))),
            ("/webhooks/007/", Some(Route::NoWebhook)),
            ("/webhooks/99999999999/", Some(Route::NoWebhook)),
            ("/webhooks/unsubscribe/", Some(Route::Unsubscribe)),
            ("/webhooks/7/test/", Some(Route::WebhookAction(id, WebhookAction::Test))),
            ("/webhooks/7/frobnicate/", None),
            ("/webhooks//", Some(Route::NoWebhook)),
            ("/projects/3/", Some(Route::OfProject("3".to_owned(), None))),
            (
                "/projects/3/events/",
                Some(Route::OfProject("3".to_owned(), Some(Box::new(Route::Events)))),
            ),
            ("/projects/3/projects/", None),
            ("/projects/3/keys/", Some(Route::Keys("3".to_owned()))),
            ("/projects/3/keys/a/", Some(Route::Key("3".to_owned(), "a".to_owned()))),
            ("/keys/", None),
            ("/operator/tokens/2/", Some(Route::OperatorToken(2))),
            ("/operator/", None),
            ("/metrics", Some(Route::Metrics)),
            ("/webhooks/7/secret/abort/", Some(Route::WebhookSecret(id, SecretStep::Abort))),
            ("/webhooks/7/secret/steal/", None),
            ("/events/evt_x/erase/", Some(Route::EventAction(None, EventAction::Erase))),
            ("/events/evt_x/replay/", Some(Route::EventAction(None, EventAction::Replay))),
            ("/webhooks/7/recover/", Some(Route::WebhookAction(id, WebhookAction::Recover))),
            ("/deliveries/resend/", Some(Route::DeliveriesAction(DeliveryAction::Resend))),
            ("/deliveries/dlv_x/cancel", Some(Route::DeliveryAction(None, DeliveryAction::Cancel))),
            ("/jobs/", Some(Route::Jobs)),
            ("/jobs/job_x/", Some(Route::Job(None))),
            ("/jobs/job_x/cancel/", Some(Route::JobCancel(None))),
            ("/jobs/job_x/resend/", None),
            ("/targets/tgt_x/", Some(Route::Target(None))),
            ("/events/evt_x/", Some(Route::Event(None))),
            ("/deliveries", Some(Route::Deliveries)),
            ("/deliveries/dlv_x/", Some(Route::Delivery(None))),
            ("/deliveries/dlv_x/explain/", Some(Route::Explain(None))),
            ("/deliveries/dlv_x/attempts/", None),
            ("/deliveries/dlv_x/attempts/2/request/", Some(Route::SentRequest(None, 2))),
            ("/deliveries/dlv_x/attempts/+2/request/", Some(Route::SentRequest(None, 0))),
            ("/projects//", None),
            ("/api/v1/projects/key/webhooks", Some(Route::JsonApiWebhooks("key".to_owned()))),
            ("/api/v1/projects/3/webhooks.json", Some(Route::JsonApiWebhooks("3".to_owned()))),
            ("/api/v1/projects/key/webhooks/", Some(Route::JsonApiWebhooks("key".to_owned()))),
            ("/api/v1/projects/key/webhooks/wh-a.json", of_key("wh-a")),
            ("/api/v1/projects/key/webhooks/7", of_key("7")),
            ("/api/v1/projects/key/webhooks/7/", of_key("7")),
            ("/api/v1/projects/key/webhooks.json/7", None),
            ("/api/v1/projects//webhooks", None),
            ("/api/v1/projects/key", None),
            ("/projects/3/api/v1/projects/3/webhooks", None),
            ("/in/tusd", Some(Route::In(Source::Tusd))),
            ("/in/s3/in_0123/", Some(Route::In(Source::S3))),
            ("/in/tus/", None),
            ("/in/events/", None),
            ("/in/s3/a/b/", None),
            (
                "/projects/3/in/s3/",
                Some(Route::OfProject("3".to_owned(), Some(Box::new(Route::In(Source::S3))))),
            ),
            ("/tokens/7/", Some(Route::Token(7))),
            ("/tokens/-7/", None),
            ("/deliveries/stream/", Some(Route::DeliveryStream)),
            ("/send/", Some(Route::Send)),
            ("/stats/", Some(Route::Stats)),
            ("/openapi.json", Some(Route::OpenApi)),
            ("/projects/3/stats/", None),
            ("/", None),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(Route::of(path), want, "{path}");
        }
        assert!(Route::Unsubscribe.knows(&Method::DELETE));
        assert!(!Route::Unsubscribe.knows(&Method::PUT));
        assert_eq!(Route::path_token("/in/s3/in_0123/"), Some("in_0123"));
        assert_eq!(Route::path_token("/in/s3/"), None);
        assert_eq!(Route::path_token("/webhooks/7/test/"), None);
    }
}
