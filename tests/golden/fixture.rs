//! What the golden tests share: a webhook, a published event, and the comparison.
//!
//! Owns no test. Must never compare anything but whole bodies.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postrider::dialect;
use postrider::model::event::{Event, EventName, Source};
use postrider::model::ids::{EventId, ProjectId, Seq, WebhookId};
use postrider::model::secret::Secret;
use postrider::model::target::TargetUrl;
use postrider::model::time::{Wall, parse_rfc3339};
use postrider::model::webhook::{Format, Limits, Webhook, WebhookState};
use postrider::source::native::{self, NewEvent, PublishLimits};

pub const PUBLIC_KEY: &str = "3a8b234aef4a1d339b88";
pub const LIMITS: PublishLimits = PublishLimits { event_bytes_max: 1 << 20, events_max: 1_000 };

pub fn at(text: &str) -> Wall {
    parse_rfc3339(text).expect("an instant")
}

pub fn name(text: &str) -> EventName {
    EventName::parse(text).expect("a name")
}

pub fn webhook(format: Format, event: &str) -> Webhook {
    Webhook {
        id: WebhookId::new(1_446_695).expect("in range"),
        project: ProjectId::new(42_797).expect("in range"),
        target_url: TargetUrl::parse("https://webhook.site/0dc52067?a=1&b=é").expect("a URL"),
        events: vec![name(event)],
        format,
        state: WebhookState::Active,
        secret: Some(Secret::new("12345X".to_owned())),
        rotation: None,
        headers: vec![("Authorization".to_owned(), "Basic eDp5".to_owned())],
        limits: Limits { rate_per_second: Some(50), burst: None, in_flight: Some(2) },
        created: at("2023-01-18T10:34:05.246676Z"),
        updated: at("2023-01-19T11:00:00Z"),
        revision: 3,
        paused_total_ms: 0,
        failing_since: None,
        listener: None,
        hidden: false,
        public_id: "wh-0000000000000000000000".to_owned(),
        options: Default::default(),
    }
}

pub fn stored(new: NewEvent) -> Event {
    Event {
        id: EventId { seq: Seq(1), salt: 2 },
        project: ProjectId::new(42_797).expect("in range"),
        kind: new.kind,
        name: new.name,
        dialect: new.dialect,
        data: new.data,
        file: new.file,
        initiator: new.initiator,
        previous_values: new.previous_values,
        occurred_at: new.occurred_at,
        accepted_at: Wall(0),
        idempotency_key: new.idempotency_key,
        source: Source::Native,
        erased_at: None,
    }
}

pub fn published(json: &[u8]) -> Event {
    let content_type = Some("application/json");
    let read = native::read(content_type, None, json, LIMITS, None).expect("accepted");
    stored(read.events.into_iter().next().expect("one event"))
}

pub fn rendered(event: &Event, webhook: &Webhook) -> Vec<u8> {
    let shared = dialect::shared(event, webhook.format).expect("renders");
    dialect::body(&shared, webhook, PUBLIC_KEY)
}

pub fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder)
}

pub fn check_golden(folder: &str, file: &str, body: &[u8]) {
    let path = golden(folder).join(file);
    if std::env::var_os("POSTRIDER_BLESS").is_some() {
        fs::write(&path, body).expect("the golden file is writable");
    }
    let want = fs::read(&path).unwrap_or_default();
    let (got, want) = (String::from_utf8_lossy(body), String::from_utf8_lossy(&want));
    assert_eq!(got, want, "{file} (POSTRIDER_BLESS=1 accepts the new bytes)");
}

/// Gives all bodies to one `node`, which prints those that it would print otherwise.
pub fn changed_by_node(bodies: &[Vec<u8>]) -> String {
    const SCRIPT: &str = "
        const lines = require('fs').readFileSync(0, 'utf8').split('\\n').slice(0, -1)
        const changed = lines.filter((b) => JSON.stringify(JSON.parse(b)) !== b)
        if (lines.length !== Number(process.argv[1])) throw new Error('lost lines')
        console.log(JSON.stringify(changed.slice(0, 5)))";
    let mut node = Command::new("node")
        .args(["-e", SCRIPT, &bodies.len().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs Node.js: install `node` and put it on the PATH");
    let mut input = bodies.join(&b'\n');
    input.push(b'\n');
    let mut stdin = node.stdin.take().expect("piped");
    stdin.write_all(&input).expect("node reads all of its input");
    drop(stdin);
    let output = node.wait_with_output().expect("node ends");
    assert!(output.status.success(), "node failed");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}
