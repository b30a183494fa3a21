//! `tail`: what happens to deliveries, as it happens.
//!
//! Owns the reading of the live stream. Must never leave out a change that it was told without
//! saying so: a gap is shown as one.

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;

use super::list::Query;
use super::project::line;
use crate::app::Stop;
use crate::app::args::Tail;
use crate::app::control::{Control, number, project};
use crate::app::exit::Exit;
use crate::app::terminal::{complain, is_terminal, say};
use crate::clock;
use crate::model::json::Json;

/// Largest line of the stream, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1_024;
/// Largest answer that is no stream, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 * 1_024;
/// How long to the next try when the daemon has gone.
const AGAIN_MS: u64 = 1_000;
/// Tries in a row that may fail.
const TRIES_MAX: u32 = 60;
/// What is shown of each change on a terminal.
const SHOWN: [&str; 7] =
    ["status", "reason", "event", "webhook", "target", "last_code", "last_failure"];

/// Shows changes until interrupted, or until as many as were asked for were seen. A daemon that
/// restarts is waited for, and asked for what came meanwhile.
pub(super) async fn follow(asked: &Tail, control: &Control, json: bool) -> Result<(), Stop> {
    let name = project(control, asked.project.as_deref()).await?;
    let path = format!("/projects/{name}/deliveries/stream/");
    let mut reader = Reader { json, left: asked.count, ..Reader::default() };
    let mut tries = 0;
    loop {
        let query = Query::default()
            .number("webhook", asked.webhook)
            .text("status", asked.status.map(|status| status.as_str()))
            .text("event", asked.event.as_deref())
            .text("last_event_id", reader.seen.as_deref());
        match read(control, &query.of(&path), &mut reader).await {
            Ok(()) if reader.left == Some(0) => return Ok(()),
            Ok(()) => tries = 0,
            Err(stop) if stop.exit == Exit::Unavailable && tries < TRIES_MAX => {
                if tries == 0 {
                    complain("the daemon has gone; waiting for it");
                }
                tries += 1;
            }
            Err(stop) => return Err(stop),
        }
        reader.text.clear();
        clock::sleep(AGAIN_MS).await;
    }
}

/// Reads one answer to its end.
async fn read(control: &Control, path: &str, reader: &mut Reader) -> Result<(), Stop> {
    let answer = control.open(Method::GET, path, None).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    let mut refusal = Vec::new();
    while let Some(frame) = body.frame().await {
        let Some(data) = frame.ok().and_then(|frame| frame.into_data().ok()) else { break };
        if !status.is_success() {
            refusal.extend_from_slice(&data);
            if refusal.len() > REFUSAL_BYTES_MAX {
                break;
            }
            continue;
        }
        if !reader.take(&data)? {
            return Ok(());
        }
    }
    if status.is_success() {
        return Ok(());
    }
    let reply = crate::app::control::Reply { status, body: Bytes::from(refusal) };
    reply.json().map(|_| ())
}

/// Lines of a stream of server-sent events.
#[derive(Debug, Default)]
struct Reader {
    json: bool,
    /// Changes that are still wanted.
    left: Option<u64>,
    /// The last id.
    seen: Option<String>,
    text: Vec<u8>,
    event: String,
    data: String,
}

impl Reader {
    /// Takes a part; false when all that was wanted was seen.
    fn take(&mut self, part: &[u8]) -> Result<bool, Stop> {
        self.text.extend_from_slice(part);
        while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
            let taken: Vec<u8> = self.text.drain(..=end).collect();
            let text = String::from_utf8_lossy(&taken[..end]).into_owned();
            if !self.line(&text) {
                return Ok(false);
            }
        }
        if self.text.len() > LINE_BYTES_MAX {
            let text =
                format!("the daemon's stream has a line of more than {LINE_BYTES_MAX} bytes");
            return Err(Stop::new(Exit::Failure, text));
        }
        Ok(true)
    }

    fn line(&mut self, text: &str) -> bool {
        if text.is_empty() {
            return self.end();
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.seen = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event),
            "data" => self.data += value,
            _ => {}
        }
        true
    }

    fn end(&mut self) -> bool {
        let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
        let Ok(change) = Json::reread(data.as_bytes()) else { return true };
        self.print(&event, &change);
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.left != Some(0)
    }

    fn print(&self, event: &str, change: &Json) {
        if self.json || !is_terminal() {
            let mut all = vec![("change".to_owned(), Json::String(event.to_owned()))];
            if let Json::Object(fields) = change {
                all.extend(fields.iter().cloned());
            }
            return line(&Json::Object(all));
        }
        if event == "gap" {
            return say(&format!("-- changes are missing here: {}", number(change, "missed")));
        }
        let shown = SHOWN.map(|key| number(change, key));
        let shown: Vec<&str> =
            shown.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let (at, id) = (number(change, "at"), number(change, "id"));
        say(&format!("{at}  {id}  {}", shown.join("  ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_any_parts() {
        let text = b"retry: 2000\n:\n\nid: a-1\nevent: delivery.pending\ndata: {\"at\":1}\n\n\
                     : beat\n\nid: a-2\nevent: gap\ndata: {}\n\nid: a-3\ndata: {\"at\":2}\n\n";
        for size in 1..text.len() {
            let mut reader = Reader { left: Some(3), json: true, ..Reader::default() };
            let parts: Vec<bool> =
                text.chunks(size).map(|part| reader.take(part).expect("short lines")).collect();
            assert_eq!(reader.seen.as_deref(), Some("a-3"), "parts of {size}");
            assert_eq!(parts.last(), Some(&false), "parts of {size}");
            assert_eq!(parts.iter().filter(|more| !**more).count(), 1, "parts of {size}");
        }
        assert!(Reader::default().take(&[b'a'; LINE_BYTES_MAX + 1]).is_err());
    }
}
