//! `listen`: receive events of a running daemon here, and check their signatures.
//!
//! Owns a session: a receiver on loopback and temporary webhooks that live as long as the request
//! that made them. Must never leave a webhook behind: whichever end goes, the daemon deletes them.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::dev;
use super::serve::Signals;
use crate::app::args::{LISTEN_EVENTS_DEFAULT, Listen};
use crate::app::config::Loaded;
use crate::app::control::{Control, Without, project};
use crate::app::exit::Exit;
use crate::app::receiver::{Behaviour, Forward, Receiver};
use crate::app::terminal::say;
use crate::app::{Stop, runtime};
use crate::dialect::names;
use crate::dialect::object::Object;
use crate::http::server::{self, Listener, ServerConfig};
use crate::logic::address::AllowList;
use crate::model::event::EventName;
use crate::model::json::Json;
use crate::model::secret::Secret;
use crate::model::target::TargetUrl;
use crate::model::webhook::Format;
use crate::net::{LOOKUPS_MAX, Net, NetConfig, SystemResolver};

/// How long requests under way may take to end, in milliseconds.
const DRAIN_MS_MAX: u64 = 2_000;
/// Bytes of an answer that are passed back.
const FORWARDED_BYTES_MAX: usize = 1_024 * 1_024;
/// Everything: whoever forwards to an address chose it.
const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

pub(crate) fn run(listen: &Listen, loaded: &Loaded, json: bool) -> Result<Exit, Stop> {
    let events = events(&listen.events, Format::Uploadcare(listen.version))?;
    runtime()?.block_on(session(listen, &events, loaded, json))
}

async fn session(
    listen: &Listen,
    events: &[String],
    loaded: &Loaded,
    json: bool,
) -> Result<Exit, Stop> {
    let mut signals = Signals::new()?;
    let control = Control::find(&loaded.config, Without::Refuse).await?;
    let name = project(&control, listen.project.as_deref()).await?;
    let listener = bind(&listen.listen).await?;
    let at = listener.local_addr().map_err(|error| Stop::new(Exit::Failure, error))?;
    let secret = Secret::new(dev::secret());
    let receiver = Arc::new(Receiver::new(Behaviour {
        secret: secret.clone(),
        fail: listen.fail,
        status: listen.status,
        delay_ms: listen.delay_ms,
        forward_to: listen.forward_to.as_deref().map(forward).transpose()?,
        json,
        save: listen.save.clone(),
    }));
    if let Some(directory) = &listen.save {
        std::fs::create_dir_all(directory).map_err(|error| {
            Stop::new(Exit::CantCreate, format!("{}: {error}", directory.display()))
        })?;
    }
    let (stop_receiver, receiver_stops) = watch::channel(false);
    let served = tokio::spawn(server::serve(
        Listener::Tcp(listener),
        Arc::clone(&receiver),
        ServerConfig { shutdown_timeout_ms: DRAIN_MS_MAX, ..ServerConfig::default() },
        receiver_stops,
    ));
    let request = Object::new()
        .text("project", &name)
        .text("listener", &at.to_string())
        .text("each_event", &events.join(","))
        .text("event", events.first().map_or("", String::as_str))
        .text("target_url", &format!("http://{at}/"))
        .text("version", listen.version.as_str())
        .text("signing_secret", secret.expose())
        .end();
    let response = control.open(Method::POST, "/listen/", Some(request)).await?;
    let is_success = response.status().is_success();
    let mut answer = response.into_body();
    let first = answer.frame().await.and_then(Result::ok).and_then(|frame| frame.into_data().ok());
    let first = first.unwrap_or_default();
    if !is_success {
        let text =
            Json::reread(&first).map(|json| String::from_utf8_lossy(&json.to_bytes()).into_owned());
        let text = text.unwrap_or_else(|_| "the daemon refused the session".to_owned());
        return Err(Stop::new(Exit::Failure, text));
    }
    if !json {
        say(&format!("  Listening at http://{at}/ for {} of project {name}", events.join(", ")));
    }
    if listen.print_secret {
        say(&format!("  signing secret {}", secret.expose()));
    }
    let mut received = receiver.received();
    let enough = async {
        match listen.count {
            // The sender lives as long as the receiver: an error can't be.
            Some(count) => drop(received.wait_for(|seen| seen.requests >= count).await),
            None => std::future::pending().await,
        }
    };
    let exit = tokio::select! {
        _ = signals.next() => Ok(Exit::Ok),
        () = enough => Ok(Exit::Ok),
        _ = answer.frame() => Err(Stop::new(Exit::Unavailable, "the daemon has gone")),
    };
    // The last answer has to reach the daemon before the connection goes.
    let _ = stop_receiver.send(true);
    let _ = served.await;
    drop(answer);
    exit
}

/// The events that patterns name. A pattern with `*`, and the default, take of Uploadcare's events
/// what the version can carry.
fn events(patterns: &[String], format: Format) -> Result<Vec<String>, Stop> {
    let is_default = patterns == LISTEN_EVENTS_DEFAULT;
    let mut events: Vec<String> = Vec::new();
    for pattern in patterns {
        let name = EventName::parse(pattern);
        let found: Vec<String> = match pattern.strip_suffix('*') {
            Some(start) => LISTEN_EVENTS_DEFAULT
                .iter()
                .filter(|name| name.starts_with(start))
                .filter_map(|name| EventName::parse(name))
                .filter(|name| names::subscribable(format, name))
                .map(String::from)
                .collect(),
            None if is_default
                && !name.as_ref().is_some_and(|n| names::subscribable(format, n)) =>
            {
                continue;
            }
            None => name.into_iter().map(String::from).collect(),
        };
        if found.is_empty() {
            return Err(Stop::new(Exit::Usage, format!("--events: {pattern:?} names no event")));
        }
        for name in found {
            if !events.contains(&name) {
                events.push(name);
            }
        }
    }
    Ok(events)
}

async fn bind(wanted: &str) -> Result<TcpListener, Stop> {
    let address: SocketAddr =
        wanted.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback()).ok_or_else(
            || {
                let text = format!("--listen: {wanted:?} is no loopback address and port");
                Stop::new(Exit::Usage, text)
            },
        )?;
    TcpListener::bind(address)
        .await
        .map_err(|error| Stop::new(Exit::CantCreate, format!("can't listen at {address}: {error}")))
}

fn forward(url: &str) -> Result<Forward, Stop> {
    let usage = |error: &dyn std::fmt::Display| {
        Stop::new(Exit::Usage, format!("--forward-to {url:?}: {error}"))
    };
    let target = TargetUrl::parse(url).map_err(|error| usage(&error))?;
    let allow = AllowList::parse(&EVERYWHERE.map(str::to_owned)).map_err(|error| usage(&error))?;
    let config = NetConfig { response_bytes_max: FORWARDED_BYTES_MAX, ..NetConfig::default() };
    let net = Net::new(config, Arc::new(SystemResolver::new(LOOKUPS_MAX)));
    let net = net.map_err(|error| Stop::new(Exit::Failure, error))?;
    Ok(Forward { url: target, net: Arc::new(net), allow: Arc::new(allow) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::webhook::Version;

    #[test]
    fn patterns() {
        let of = |patterns: &[&str], version| {
            let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
            events(&patterns, Format::Uploadcare(version))
        };
        let read = |patterns: &[&str]| of(patterns, Version::V07);
        assert_eq!(of(&LISTEN_EVENTS_DEFAULT, Version::V05).expect("sound"), ["file.uploaded"]);
        assert_eq!(of(&["file.*"], Version::V06).expect("sound"), ["file.uploaded"]);
        assert_eq!(read(&LISTEN_EVENTS_DEFAULT).expect("sound").len(), 5);
        assert_eq!(read(&["file.*"]).expect("sound").len(), 5);
        assert_eq!(
            read(&["file.i*", "file.infected", "a"]).expect("sound"),
            ["file.infected", "file.info_updated", "a"]
        );
        assert!(read(&["x*"]).is_err());
        assert!(read(&["a b"]).is_err());
    }
}
