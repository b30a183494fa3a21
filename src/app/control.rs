//! The way from the command line to a daemon: its control socket, or the data directory itself.
//!
//! Owns the choice between the two and the client. Must never open a data directory that a daemon
//! holds, and never make one where a verb only wants to look.
//!
//! Without a daemon the store is opened here, without making attempts, and served on its own
//! control socket: so both ways are the same requests to the same API.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::Stop;
use super::config::Config;
use super::daemon::{Daemon, StartError};
use super::exit::Exit;
use crate::model::json::Json;
use crate::store::embedded::{FILE_NAME, OpenError};

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// A way to a daemon.
pub(crate) struct Control {
    socket: PathBuf,
    local: Option<Daemon>,
}

/// Whether a verb may make a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    /// The store is opened here; it has to exist.
    OpenExisting,
    /// The store is opened here, and made if there is none.
    OpenOrMake,
    /// A daemon is needed.
    Refuse,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Control {
    /// Finds the daemon of a configuration, or does as `without` says.
    pub(crate) async fn find(config: &Config, without: Without) -> Result<Control, Stop> {
        let socket = config.server.control_socket.clone();
        match UnixStream::connect(&socket).await {
            Ok(_) => return Ok(Control { socket, local: None }),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                let text = format!("{}: {error}", socket.display());
                return Err(Stop::new(Exit::NoPermission, text));
            }
            Err(_) => {}
        }
        let directory = &config.store.path;
        if without == Without::Refuse {
            return Err(no_daemon(&socket));
        }
        if without == Without::OpenExisting && !directory.join(FILE_NAME).exists() {
            let text = format!(
                "no daemon at {}, and no store in {}; start one with `postrider serve`",
                socket.display(),
                directory.display()
            );
            return Err(Stop::new(Exit::Unavailable, text));
        }
        let mut daemon = Daemon::start(config, false).map_err(|error| match error {
            StartError::Open(OpenError::Locked(_)) => no_daemon(&socket),
            error => Stop::new(error.exit(), error),
        })?;
        if let Err(error) = daemon.serve_control(&socket, config) {
            daemon.stop(async {}).await;
            return Err(Stop::new(error.exit(), error));
        }
        Ok(Control { socket, local: Some(daemon) })
    }

    /// The daemon whose socket this is.
    pub(crate) fn at(socket: PathBuf) -> Control {
        Control { socket, local: None }
    }

    /// Asks, and reads the answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Reply, Stop> {
        let response = self.open(method, path, body).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        #[expect(clippy::disallowed_methods, reason = "the body is limited above")]
        let body = body.collect().await.map_err(|error| self.broken(&error))?;
        Ok(Reply { status, body: body.to_bytes() })
    }

    /// Asks, and leaves the answer's body to be read as it comes. The connection lives as long.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<http::Response<Incoming>, Stop> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| self.broken(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "control")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| Stop::new(Exit::Usage, format!("{path}: {error}")))?;
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    /// Lets go: a store that was opened here is closed.
    pub(crate) async fn close(self) {
        if let Some(daemon) = self.local {
            daemon.stop(async {}).await;
            // As for a daemon: the socket was this process's own.
            let _ = std::fs::remove_file(&self.socket);
        }
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> Stop {
        Stop::new(Exit::Unavailable, format!("{}: {error}", self.socket.display()))
    }
}

impl Reply {
    /// The body as JSON, if the answer is a success; what the daemon says of it otherwise.
    pub(crate) fn json(&self) -> Result<Json, Stop> {
        let json = Json::reread(&self.body);
        if self.status.is_success() {
            return if self.body.is_empty() {
                Ok(Json::Null)
            } else {
                json.map_err(|error| {
                    Stop::new(Exit::Failure, format!("the daemon's answer: {error}"))
                })
            };
        }
        let exit = match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::NoPermission,
            StatusCode::SERVICE_UNAVAILABLE => Exit::Temporary,
            _ => Exit::Failure,
        };
        Err(Stop::new(exit, json.map_or_else(|_| self.status.to_string(), |json| complaint(&json))))
    }
}

fn no_daemon(socket: &Path) -> Stop {
    let text = format!(
        "no daemon can be reached at {}; start one with `postrider serve`, or name its socket with --control",
        socket.display()
    );
    Stop::new(Exit::Unavailable, text)
}

/// `{"detail": "…"}` or `{"field": ["…"]}` as a line.
fn complaint(json: &Json) -> String {
    let Json::Object(fields) = json else { return "refused".to_owned() };
    let lines: Vec<String> = fields
        .iter()
        .map(|(field, value)| {
            let text = match value {
                Json::String(text) => text.clone(),
                Json::Array(texts) => {
                    let texts: Vec<&str> = texts.iter().filter_map(Json::as_str).collect();
                    texts.join(" ")
                }
                other => String::from_utf8_lossy(&other.to_bytes()).into_owned(),
            };
            if field == "detail" || field == "non_field_errors" {
                text
            } else {
                format!("{field}: {text}")
            }
        })
        .collect();
    lines.join("; ")
}

/// The project that a verb means: the one that is named, or the only one.
pub(crate) async fn project(control: &Control, named: Option<&str>) -> Result<String, Stop> {
    if let Some(name) = named {
        return Ok(name.to_owned());
    }
    let projects = control.call(Method::GET, "/projects/", None).await?.json()?;
    let Json::Array(projects) = projects else {
        return Err(Stop::new(Exit::Failure, "the daemon's answer is no list"));
    };
    match &projects[..] {
        [only] => Ok(number(only, "id")),
        [] => Err(Stop::new(Exit::Failure, "there is no project; `postrider project create`")),
        _ => Err(Stop::new(Exit::Usage, "there are several projects; name one with --project")),
    }
}

/// A field's value as text.
pub(crate) fn number(json: &Json, key: &str) -> String {
    match json.get(key) {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Null) | None => String::new(),
        Some(other) => String::from_utf8_lossy(&other.to_bytes()).into_owned(),
    }
}
