//! What is delivered and answered, byte for byte, and that it survives JavaScript.
//!
//! Owns the golden files of each dialect. `POSTRIDER_BLESS=1 cargo test --test golden` writes them
//! anew: the diff is then what has to be judged. Must never compare anything but whole bodies.

#[path = "golden/fixture.rs"]
mod fixture;

use std::collections::BTreeSet;
use std::fs;

use fixture::{at, changed_by_node, name, published, rendered, stored};
use postrider::dialect;
use postrider::dialect::uploadcare::encode;
use postrider::dialect::uploadcare::headers::View;
use postrider::logic::sign;
use postrider::model::event::Event;
use postrider::model::json::Json;
use postrider::model::secret::Secret;
use postrider::model::webhook::{DisabledReason, Format, Version, Webhook, WebhookState};
use postrider::source::sample;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

const UUID: &str = "620ff227-eb36-460f-a809-8ba1ea98b1f3";
const VERSIONS: [Version; 3] = [Version::V05, Version::V06, Version::V07];
const FORMATS: [Format; 7] = [
    Format::Uploadcare(Version::V05),
    Format::Uploadcare(Version::V06),
    Format::Uploadcare(Version::V07),
    Format::JsonApi,
    Format::Lancer,
    Format::Standard,
    Format::CloudEvents,
];
/// How many generated documents go through `node`, each in every format.
const DOCUMENTS: usize = 1_500;
const FOLDER: &str = "uploadcare";

fn webhook(version: Version, event: &str) -> Webhook {
    fixture::webhook(Format::Uploadcare(version), event)
}

fn check_golden(file: &str, body: &[u8]) {
    fixture::check_golden(FOLDER, file, body);
}

fn sampled(event: &str) -> Event {
    stored(sample::test_event(&name(event), UUID, "a cat.jpg", at("2023-01-18T13:01:24.807375Z")))
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
    let seed =
        fs::read(fixture::golden(FOLDER).join("seed-event.json")).expect("the seed's example");
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
    let body = fs::read(fixture::golden(FOLDER).join("signature_vector.json")).expect("the vector");
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
        for format in FORMATS {
            bodies.push(rendered(&event, &fixture::webhook(format, "file.uploaded")));
        }
        let json = json.replace("file.uploaded", "order.paid");
        let custom = fixture::webhook(Format::JsonApi, "order.paid");
        bodies.push(rendered(&published(json.as_bytes()), &custom));
    }
    let mut odd = 0;
    for body in &bodies {
        assert!(!body.contains(&b'\n'), "a body is one line");
        odd += usize::from(String::from_utf8_lossy(body).contains("e+"));
    }
    assert!(odd > 100, "the generator reaches exponents ({odd})");
    assert_eq!(changed_by_node(&bodies), "[]", "bodies that JSON.stringify(JSON.parse()) changes");
}
