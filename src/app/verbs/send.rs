//! `send`: publish an event.
//!
//! Owns the way from the command line to `POST /events/`. Must never report success before the
//! daemon does.

use std::io::Read;

use http::Method;

use super::project::line;
use crate::app::args::SendEvent;
use crate::app::config::Loaded;
use crate::app::control::{Control, Without, number, project};
use crate::app::exit::Exit;
use crate::app::terminal::say;
use crate::app::{Stop, runtime};
use crate::clock;
use crate::dialect::object::Object;
use crate::http::fresh;
use crate::model::event::EventName;
use crate::model::json::Json;
use crate::source::sample;

/// Largest data that is read from a file, in bytes; the daemon has its own limit.
const DATA_BYTES_MAX: u64 = 64 * 1_024 * 1_024;
const FILE_NAME_DEFAULT: &str = "sample.jpg";

pub(crate) fn run(send: &SendEvent, loaded: &Loaded, json: bool) -> Result<Exit, Stop> {
    let body = body(send)?;
    runtime()?.block_on(async {
        let control = Control::find(&loaded.config, Without::OpenExisting).await?;
        let result = publish(send, &control, body, json).await;
        control.close().await;
        result.map(|()| Exit::Ok)
    })
}

async fn publish(
    send: &SendEvent,
    control: &Control,
    body: Vec<u8>,
    json: bool,
) -> Result<(), Stop> {
    let name = project(control, send.project.as_deref()).await?;
    let path = format!("/projects/{name}/events/");
    let accepted = control.call(Method::POST, &path, Some(body)).await?.json()?;
    if json {
        line(&accepted);
        return Ok(());
    }
    let again = if accepted.get("duplicate") == Some(&Json::Bool(true)) {
        " (accepted before, under the same key)"
    } else {
        ""
    };
    say(&format!(
        "{}  {}  {} deliveries{again}",
        number(&accepted, "event"),
        number(&accepted, "id"),
        number(&accepted, "deliveries")
    ));
    Ok(())
}

fn body(send: &SendEvent) -> Result<Vec<u8>, Stop> {
    let name = EventName::parse(&send.event).ok_or_else(|| {
        let text = format!("{:?} is no event name: letters, digits, `_`, `.` and `-`", send.event);
        Stop::new(Exit::Usage, text)
    })?;
    let object = Object::new().text("event", name.as_str());
    let object = match &send.data {
        Some(data) => object.raw("data", &checked(&read(data)?)?),
        None => {
            let file_name = send.name.as_deref().unwrap_or(FILE_NAME_DEFAULT);
            let sample = sample::test_event(&name, &fresh::uuid(), file_name, clock::now().wall);
            let object = object.raw("data", &sample.data);
            let object = match &sample.file {
                Some(file) => object.text("file", file),
                None => object,
            };
            match &sample.previous_values {
                Some(previous) => object.raw("previous_values", previous),
                None => object,
            }
        }
    };
    Ok(match &send.idempotency_key {
        Some(key) => object.text("idempotency_key", key).end(),
        None => object.end(),
    })
}

fn read(data: &str) -> Result<Vec<u8>, Stop> {
    let Some(path) = data.strip_prefix('@') else { return Ok(data.as_bytes().to_vec()) };
    let mut bytes = Vec::new();
    let result = if path == "-" {
        std::io::stdin().take(DATA_BYTES_MAX).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(DATA_BYTES_MAX).read_to_end(&mut bytes))
    };
    result.map_err(|error| Stop::new(Exit::Failure, format!("{path}: {error}")))?;
    Ok(bytes)
}

/// The data as JSON: said here, so that the error names the flag.
fn checked(data: &[u8]) -> Result<Vec<u8>, Stop> {
    match Json::parse(data) {
        Ok(json) => Ok(json.to_bytes()),
        Err(error) => Err(Stop::new(Exit::Usage, format!("--data: {error}"))),
    }
}
