//! What is delivered and answered, byte for byte, and that it survives JavaScript.
//!
//! Owns the golden files of each dialect. `POSTRIDER_BLESS=1 cargo test --test golden` writes them
//! anew: the diff is then what has to be judged. Must never compare anything but whole bodies.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postrider::dialect;
use postrider::dialect::uploadcare::encode;
use postrider::dialect::uploadcare::headers::View;
use postrider::logic::sign;
use postrider::model::event::{Event, EventName, Source};
use postrider::model::ids::{EventId, ProjectId, Seq, WebhookId};
use postrider::model::json::Json;
use postrider::model::secret::Secret;
use postrider::model::target::TargetUrl;
use postrider::model::time::{Wall, parse_rfc3339};
use postrider::model::webhook::{DisabledReason, Format, Limits, Version, Webhook, WebhookState};
use postrider::source::native::{self, NewEvent, PublishLimits};
use postrider::source::sample;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

const PUBLIC_KEY: &str = "3a8b234aef4a1d339b88";
const UUID: &str = "620ff227-eb36-460f-a809-8ba1ea98b1f3";
const VERSIONS: [Version; 3] = [Version::V05, Version::V06, Version::V07];
const LIMITS: PublishLimits = PublishLimits { event_bytes_max: 1 << 20, events_max: 1_000 };
/// How many generated documents go through `node`, each in three versions.
const DOCUMENTS: usize = 3_000;

fn at(text: &str) -> Wall {
    parse_rfc3339(text).expect("an instant")
}

fn name(text: &str) -> EventName {
    EventName::parse(text).expect("a name")
}

fn webhook(version: Version, event: &str) -> Webhook {
    Webhook {
        id: WebhookId::new(1_446_695).expect("in range"),
        project: ProjectId::new(42_797).expect("in range"),
        target_url: TargetUrl::parse("https://webhook.site/0dc52067?a=1&b=é").expect("a URL"),
        events: vec![name(event)],
        format: Format::Uploadcare(version),
        state: WebhookState::Active,
        secret: Some(Secret::new("12345X".to_owned())),
        next_secret: None,
        headers: vec![("Authorization".to_owned(), "Basic eDp5".to_owned())],
        limits: Limits { rate_per_second: Some(50), burst: None, in_flight: Some(2) },
        created: at("2023-01-18T10:34:05.246676Z"),
        updated: at("2023-01-19T11:00:00Z"),
        revision: 3,
        paused_total_ms: 0,
        listener: None,
        hidden: false,
        public_id: "wh-0000000000000000000000".to_owned(),
        options: Default::default(),
    }
}

fn stored(new: NewEvent) -> Event {
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
    }
}

fn published(json: &[u8]) -> Event {
    let content_type = Some("application/json");
    let read = native::read(content_type, None, json, LIMITS, None).expect("accepted");
    stored(read.events.into_iter().next().expect("one event"))
}

fn sampled(event: &str) -> Event {
    stored(sample::test_event(&name(event), UUID, "a cat.jpg", at("2023-01-18T13:01:24.807375Z")))
}

fn rendered(event: &Event, webhook: &Webhook) -> Vec<u8> {
    let shared = dialect::shared(event, webhook.format).expect("renders");
    dialect::body(&shared, webhook, PUBLIC_KEY)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/uploadcare")
}

fn check_golden(file: &str, body: &[u8]) {
    let path = folder().join(file);
    if std::env::var_os("POSTRIDER_BLESS").is_some() {
        fs::write(&path, body).expect("the golden file is writable");
    }
    let want = fs::read(&path).unwrap_or_default();
    let (got, want) = (String::from_utf8_lossy(body), String::from_utf8_lossy(&want));
    assert_eq!(got, want, "{file} (POSTRIDER_BLESS=1 accepts the new bytes)");
}

#[test]
fn samples_in_every_version() {
    for event in [
        "file.uploaded",
        "file.infected",
        "file.stored",
        "file.info_updated",
        "file.deleted",
        "order.paid",
    ] {
        let fact = sampled(event);
        for version in VERSIONS {
            let hook = webhook(version, event);
            let carried = version == Version::V07 || event == "file.uploaded";
            assert_eq!(dialect::subscribes(&hook, fact.kind, &fact.name), carried);
            if carried {
                let file = format!("payload-{}-{event}.json", version.as_str());
                check_golden(&file, &rendered(&fact, &hook));
            }
        }
    }
}

#[test]
fn the_seeds_own_event_and_a_bare_one() {
    let seed = fs::read(folder().join("seed-event.json")).expect("the seed's example");
    let bare = br#"{"event":"file.uploaded","data":{"uuid":"x","content_info":{"image":null},"image_info":{"width":3}}}"#;
    let said = br#"{"event":"file.info_updated","data":{"z":1,"a":{"2":0,"1":0}},"file":"https://a/b","initiator":{"type":"addon","detail":{"addon_name":"remove_bg"}},"previous_values":{"appdata":null}}"#;
    for version in VERSIONS {
        let text = version.as_str();
        let hook = webhook(version, "file.uploaded");
        check_golden(&format!("seed-{text}.json"), &rendered(&published(&seed), &hook));
        check_golden(&format!("bare-{text}.json"), &rendered(&published(bare), &hook));
    }
    let hook = webhook(Version::V07, "file.info_updated");
    check_golden("said-0.7.json", &rendered(&published(said), &hook));
}

#[test]
fn webhooks_in_every_view() {
    let mut hook = webhook(Version::V07, "file.uploaded");
    for (view, file) in [
        (View::Vendor(Version::V05), "webhook-0.5.json"),
        (View::Vendor(Version::V06), "webhook-0.6.json"),
        (View::Vendor(Version::V07), "webhook-0.7.json"),
        (View::Legacy, "webhook-legacy.json"),
        (View::Own, "webhook-own.json"),
    ] {
        check_golden(file, &encode::webhook(&hook, view));
    }
    hook.secret = None;
    hook.state = WebhookState::Disabled(DisabledReason::Gone);
    let custom = webhook(Version::V07, "order.paid");
    for (view, file) in
        [(View::Vendor(Version::V07), "list-0.7.json"), (View::Own, "list-own.json")]
    {
        check_golden(file, &encode::list([&hook, &custom], view));
    }
}

#[test]
fn a_real_capture_of_the_service_is_stable_and_signed() {
    let body = fs::read(folder().join("signature_vector.json")).expect("the vector");
    assert_eq!(Json::parse(&body).expect("JSON").to_bytes(), body);
    let header = "v1=9b31c7dd83fdbf4a2e12b19d7f2b9d87d547672a325b9492457292db4f513c70";
    assert_eq!(sign::verify_uc(&Secret::new("12345X".to_owned()), header, &body), Ok(()));
}

const TEXT: &str = "([ -!#-\\[\\]-~é&<>/\u{7f}\u{2028}\u{2029}😀]|\\\\[nrtbf\"/\\\\]|\\\\u00[0-9a-fA-F]{2}|\\\\u20[0-9]{2}|\\\\ud83d\\\\ude00){0,12}";

/// JSON in spellings that a publisher may use and JavaScript would not.
fn document() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<i32>().prop_map(|n| n.to_string()),
        prop::num::f64::NORMAL.prop_map(|n| format!("{n:e}")),
        prop::num::f64::NORMAL.prop_map(|n| format!("{n:.1}")),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(|n| n.to_string()),
        "-?[0-9]\\.[0-9]{1,25}([eE][+-]?[0-9]{1,2})?",
        "(-0|-0\\.0|0e5|1\\.0|1e21|1E-7|123456789e30|5e-324|0\\.1e1)",
    ];
    let leaf = prop_oneof![
        number,
        TEXT.prop_map(|text| format!("\"{text}\"")),
        "(null|true|false|\\[ \\]|\\{ \\})",
    ];
    let value = leaf.prop_recursive(4, 40, 6, |inner| {
        let items = proptest::collection::vec(inner.clone(), 0..5)
            .prop_map(|items| format!("[{}]", items.join(" , ")));
        prop_oneof![object(inner), items]
    });
    object(value)
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let key = prop_oneof![
        "[a-z_]{1,6}",
        "(0|[1-9][0-9]{0,9}|00|4294967294|4294967295|__proto__|constructor|)",
        TEXT,
    ];
    let decoded =
        |key: &str| serde_json::from_str::<String>(&format!("\"{key}\"")).expect("a string");
    proptest::collection::vec((key, value), 0..8).prop_map(move |mut fields| {
        let mut seen = BTreeSet::new();
        fields.retain(|(key, _)| seen.insert(decoded(key)));
        let fields: Vec<String> =
            fields.into_iter().map(|(key, value)| format!("\"{key}\" : {value}")).collect();
        format!("{{ {} }}", fields.join(" ,\n"))
    })
}

#[test]
fn every_body_survives_javascript() {
    let mut runner = TestRunner::deterministic();
    let strategy = document();
    let mut bodies = Vec::new();
    for _ in 0..DOCUMENTS {
        let data = strategy.new_tree(&mut runner).expect("generates").current();
        let json = format!(
            r#"{{"event":"file.uploaded","data":{data},"initiator":{data},"previous_values":{data}}}"#
        );
        let event = published(json.as_bytes());
        for version in VERSIONS {
            bodies.push(rendered(&event, &webhook(version, "file.uploaded")));
        }
    }
    let mut odd = 0;
    for body in &bodies {
        assert!(!body.contains(&b'\n'), "a body is one line");
        odd += usize::from(String::from_utf8_lossy(body).contains("e+"));
    }
    assert!(odd > 100, "the generator reaches exponents ({odd})");
    assert_eq!(changed_by_node(&bodies), "[]", "bodies that JSON.stringify(JSON.parse()) changes");
}

/// Gives all bodies to one `node`, which prints those that it would print otherwise.
fn changed_by_node(bodies: &[Vec<u8>]) -> String {
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
