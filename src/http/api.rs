//! What the handlers of requests have: the API's state, a proved call, and the answers they share.
//!
//! Owns these. Must never route: that is `dispatch`.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::request::Parts;
use http::{Response, StatusCode, header};
use tokio::sync::Semaphore;

use super::auth::{self, Proven};
use super::body::Body;
use super::limits::{ClientLimiter, ClientRate, RetryAfterSeconds};
use super::metrics::IntakeCounters;
use super::peer::Peer;
use super::respond::{self};
use crate::clock;
use crate::dialect::body::Fields;
use crate::dialect::uploadcare::headers::View;
use crate::engine::Handle;
use crate::engine::command::CommandError;
use crate::engine::command::act::ActError;
use crate::model::project::Project;
use crate::model::time::Wall;
use crate::net::Net;
use crate::source::native::PublishLimits;

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
    /// Whether topics of SNS that ask are confirmed.
    pub sns_confirm: bool,
    /// Whether `/metrics` needs no token.
    pub metrics_public: bool,
    /// Live streams at once.
    pub streams_max: usize,
    /// A stream that has nothing to say says so this often, in milliseconds.
    pub stream_heartbeat_ms: u64,
}

/// The service.
pub struct Api {
    pub(super) handle: Handle,
    pub(super) net: Arc<Net>,
    pub(super) config: ApiConfig,
    pub(super) auth_failures: ClientLimiter,
    /// Public keys of the projects that stand in the configuration.
    pub(super) configured: BTreeSet<String>,
    pub(super) intake: IntakeCounters,
    pub(super) started: Wall,
    /// Held while a hidden webhook is made, so that there is one for each target of `/send/`.
    pub(super) sending: tokio::sync::Mutex<()>,
    /// Live streams that may still be opened.
    pub(super) streams: Arc<Semaphore>,
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
        configured: BTreeSet<String>,
    ) -> Api {
        let per_minute =
            NonZeroU32::new(config.auth_failures_per_minute).unwrap_or(NonZeroU32::MIN);
        let auth_failures = ClientLimiter::new(ClientRate {
            per_minute,
            burst: per_minute,
            keys_max: AUTH_FAILURE_KEYS_MAX,
        });
        Api {
            handle,
            net,
            config,
            auth_failures,
            configured,
            intake: IntakeCounters::default(),
            started: clock::now().wall,
            sending: tokio::sync::Mutex::default(),
            streams: Arc::new(Semaphore::new(config.streams_max.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Whether a request comes from the operator: by the control socket's permissions, or by one of
    /// the operator's tokens.
    pub(super) fn is_operator(&self, parts: &Parts, peer: Peer) -> bool {
        peer.control || auth::is_operator(&parts.headers, &self.handle.catalog().operator().tokens)
    }
}

/// The answer to a body that can't be read; boxed, for it is large and rare.
pub(super) type Unreadable = Box<Response<Body>>;

/// The fields of a request's body, in whichever form it came.
pub(super) fn fields(
    parts: &Parts,
    body: &[u8],
    answer_type: &'static str,
) -> Result<Fields, Unreadable> {
    let content_type =
        parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Fields::read(content_type, body).map_err(|error| {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Box::new(respond::detail(status, answer_type, &error.to_string()))
    })
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
        CommandError::Full => {
            respond::unavailable(content_type, &error.to_string(), RetryAfterSeconds(30))
        }
        CommandError::Store(_) => {
            tracing::error!(%error, "A command could not be stored.");
            respond::unavailable(content_type, "The store can't be written.", wait)
        }
        CommandError::Act(ActError::EventGone | ActError::Erased) => {
            respond::detail(StatusCode::GONE, content_type, &error.to_string())
        }
        CommandError::Act(ActError::Busy) => {
            respond::unavailable(content_type, &error.to_string(), wait)
        }
        CommandError::Act(_) => {
            respond::detail(StatusCode::CONFLICT, content_type, &error.to_string())
        }
        CommandError::NotUnique
        | CommandError::TooManyWebhooks
        | CommandError::KeyTaken(_)
        | CommandError::IdUsed(_)
        | CommandError::TooMany(_)
        | CommandError::NoId => {
            respond::detail(StatusCode::BAD_REQUEST, content_type, &error.to_string())
        }
        CommandError::NotSending(_)
        | CommandError::TargetPaused
        | CommandError::Rotation(_)
        | CommandError::LastKey => {
            respond::detail(StatusCode::CONFLICT, content_type, &error.to_string())
        }
    }
}
