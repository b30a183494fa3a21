//! Every event of every dialect, delivered in every format: each byte of it.
//!
//! Owns `golden/pairs/`: what is published in each dialect, and one file for each pair of the
//! publisher's dialect and the subscriber's format, a delivered body on each line. A pair without
//! a file carries nothing. `POSTRIDER_BLESS=1 cargo test --test matrix` writes them anew: the diff
//! is then what has to be judged.

#[path = "golden/fixture.rs"]
mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use fixture::{changed_by_node, check_golden, golden, name, published, rendered};
use postrider::dialect::body::Fields;
use postrider::dialect::uploadcare::headers::View;
use postrider::dialect::uploadcare::{decode, encode};
use postrider::dialect::{self, names};
use postrider::logic::sign;
use postrider::model::event::{Dialect, Event};
use postrider::model::ids::{DeliveryId, Seq};
use postrider::model::json::Json;
use postrider::model::time::Wall;
use postrider::model::webhook::{FileDelete, Format, SignatureStyle, Version, Webhook};
use postrider::source::sample;

const FOLDER: &str = "pairs";
const DIALECTS: [(&str, Dialect); 4] = [
    ("uploadcare", Dialect::Uploadcare),
    ("jsonapi", Dialect::JsonApi),
    ("lancer", Dialect::Lancer),
    ("custom", Dialect::Custom),
];
const FORMATS: [(&str, Format); 7] = [
    ("uploadcare-0.5", Format::Uploadcare(Version::V05)),
    ("uploadcare-0.6", Format::Uploadcare(Version::V06)),
    ("uploadcare-0.7", Format::Uploadcare(Version::V07)),
    ("jsonapi", Format::JsonApi),
    ("lancer", Format::Lancer),
    ("standard", Format::Standard),
    ("cloudevents", Format::CloudEvents),
];
/// Every name that a webhook can subscribe to in some format, of those that are published.
const NAMES: [&str; 22] = [
    "file.uploaded",
    "file.infected",
    "file.stored",
    "file.info_updated",
    "file.deleted",
    "file.created",
    "file.updated",
    "group.created",
    "group.updated",
    "group.deleted",
    "action.created",
    "action.updated",
    "FILE_UPLOAD",
    "FILE_DELETE",
    "SESSION_CREATED",
    "SESSION_CANCELLED",
    "SESSION_COMPLETED",
    "session.created",
    "session.cancelled",
    "session.completed",
    "order.paid",
    "card.moved",
];
/// What each pair carries, by the names under which it is delivered.
const CARRIED: [(&str, &str, &[&str]); 28] = [
    ("uploadcare", "uploadcare-0.5", &["file.uploaded"]),
    ("uploadcare", "uploadcare-0.6", &["file.uploaded"]),
    (
        "uploadcare",
        "uploadcare-0.7",
        &["file.uploaded", "file.infected", "file.stored", "file.info_updated", "file.deleted"],
    ),
    (
        "uploadcare",
        "jsonapi",
        &["file.created", "file.updated", "file.updated", "file.updated", "file.deleted"],
    ),
    ("uploadcare", "lancer", &["FILE_UPLOAD", "FILE_DELETE"]),
    (
        "uploadcare",
        "standard",
        &["file.uploaded", "file.infected", "file.stored", "file.info_updated", "file.deleted"],
    ),
    (
        "uploadcare",
        "cloudevents",
        &["file.uploaded", "file.infected", "file.stored", "file.info_updated", "file.deleted"],
    ),
    ("jsonapi", "uploadcare-0.5", &["file.uploaded"]),
    ("jsonapi", "uploadcare-0.6", &["file.uploaded"]),
    ("jsonapi", "uploadcare-0.7", &["file.uploaded", "file.info_updated", "file.deleted"]),
    (
        "jsonapi",
        "jsonapi",
        &[
            "file.created",
            "file.updated",
            "file.deleted",
            "group.created",
            "group.updated",
            "group.deleted",
            "action.created",
            "action.updated",
        ],
    ),
    ("jsonapi", "lancer", &["FILE_UPLOAD", "FILE_DELETE"]),
    ("jsonapi", "standard", JSONAPI_CANONICAL),
    ("jsonapi", "cloudevents", JSONAPI_CANONICAL),
    ("lancer", "uploadcare-0.5", &["file.uploaded"]),
    ("lancer", "uploadcare-0.6", &["file.uploaded"]),
    ("lancer", "uploadcare-0.7", &["file.uploaded", "file.deleted"]),
    ("lancer", "jsonapi", &["file.created", "file.deleted"]),
    (
        "lancer",
        "lancer",
        &[
            "SESSION_CREATED",
            "SESSION_CANCELLED",
            "SESSION_COMPLETED",
            "FILE_UPLOAD",
            "FILE_DELETE",
        ],
    ),
    ("lancer", "standard", LANCER_CANONICAL),
    ("lancer", "cloudevents", LANCER_CANONICAL),
    ("custom", "uploadcare-0.5", &[]),
    ("custom", "uploadcare-0.6", &[]),
    ("custom", "uploadcare-0.7", CUSTOM),
    ("custom", "jsonapi", CUSTOM),
    ("custom", "lancer", &[]),
    ("custom", "standard", CUSTOM),
    ("custom", "cloudevents", CUSTOM),
];
const JSONAPI_CANONICAL: &[&str] = &[
    "file.uploaded",
    "file.info_updated",
    "file.deleted",
    "group.created",
    "group.updated",
    "group.deleted",
    "action.created",
    "action.updated",
];
const LANCER_CANONICAL: &[&str] =
    &["session.created", "session.cancelled", "session.completed", "file.uploaded", "file.deleted"];
const CUSTOM: &[&str] = &["order.paid", "card.moved"];

/// All that is published in a dialect.
fn events(dialect: &str) -> Vec<Event> {
    let file = golden(FOLDER).join(format!("published-{dialect}.ndjson"));
    let text = fs::read_to_string(file).expect("what is published");
    text.lines().map(|line| published(line.as_bytes())).collect()
}

/// A webhook of a format that subscribes to all that it can.
fn subscriber(format: Format) -> Webhook {
    let mut webhook = fixture::webhook(format, "order.paid");
    webhook.events = NAMES.map(name).to_vec();
    webhook.events.retain(|name| names::subscribable(format, name));
    webhook
}

/// The bodies that a webhook gets of all that is published in a dialect.
fn delivered(dialect: &str, webhook: &Webhook) -> Vec<Vec<u8>> {
    let gets = |event: &Event| dialect::subscribes(webhook, event.kind, &event.name);
    events(dialect).iter().filter(|e| gets(e)).map(|event| rendered(event, webhook)).collect()
}

#[test]
fn each_byte_of_each_pair() {
    for (published_in, dialect) in DIALECTS {
        assert!(events(published_in).iter().all(|event| event.dialect == dialect));
        for (format_name, format) in FORMATS {
            let bodies = delivered(published_in, &subscriber(format));
            if bodies.is_empty() {
                continue;
            }
            let mut lines = bodies.join(&b'\n');
            lines.push(b'\n');
            check_golden(FOLDER, &format!("{published_in}-to-{format_name}.ndjson"), &lines);
        }
    }
}

#[test]
fn which_events_reach_whom() {
    let carried: BTreeMap<_, _> =
        CARRIED.iter().map(|(dialect, format, names)| ((*dialect, *format), *names)).collect();
    for (published_in, _) in DIALECTS {
        for (format_name, format) in FORMATS {
            let all = subscriber(format);
            let mut got = Vec::new();
            for event in events(published_in) {
                let Some(wanted) = dialect::name_for(format, event.kind, &event.name) else {
                    assert!(!dialect::subscribes(&all, event.kind, &event.name));
                    continue;
                };
                got.push(wanted.to_owned());
                let mut one = all.clone();
                one.events.retain(|known| known.as_str() == wanted);
                assert!(dialect::subscribes(&one, event.kind, &event.name));
                let mut others = all.clone();
                others.events.retain(|known| known.as_str() != wanted);
                assert!(!dialect::subscribes(&others, event.kind, &event.name));
            }
            assert_eq!(got, carried[&(published_in, format_name)], "{published_in} {format_name}");
        }
    }
}

#[test]
fn choices_of_a_webhook() {
    let mut lancer = subscriber(Format::Lancer);
    lancer.options.file_delete = FileDelete::Array;
    let mut jsonapi = subscriber(Format::JsonApi);
    let redacted = delivered("jsonapi", &jsonapi).join(&b'\n');
    assert!(!String::from_utf8_lossy(&redacted).contains("12345X"));
    jsonapi.options.include_secret = true;
    for published_in in ["uploadcare", "jsonapi", "lancer"] {
        let body = delivered(published_in, &lancer).pop().expect("FILE_DELETE is the last");
        check_golden(FOLDER, &format!("{published_in}-to-lancer-array.json"), &body);
    }
    let mut own = delivered("lancer", &lancer);
    let mut objects = delivered("lancer", &subscriber(Format::Lancer));
    assert_ne!(own.pop(), objects.pop(), "FILE_DELETE");
    assert_eq!(own, objects, "no other event is an array");
    let body = delivered("jsonapi", &jsonapi).swap_remove(0);
    check_golden(FOLDER, "jsonapi-to-jsonapi-secret.json", &body);
}

/// What each format provides; a sixth would be a row of `FORMATS` above, and what fails then.
#[test]
fn what_each_format_provides() {
    let mut indexes = Vec::new();
    for (format_name, format) in FORMATS {
        // A name in the API, and events that can be subscribed to.
        let webhook = subscriber(format);
        assert!(!webhook.events.is_empty(), "{format_name}: no row of the table of names");
        let fields = format!(
            "target_url=http://a/&format={}&version={}&event={}",
            format.name(),
            format_name.split_once('-').map_or("1", |(_, version)| version),
            webhook.events[0],
        );
        let fields = Fields::from_urlencoded(fields.as_bytes()).expect("a form");
        assert_eq!(decode::create(&fields, View::Own).expect("accepted").format, format);
        let shown = encode::webhook(&webhook, View::Own);
        let shown = Json::parse(&shown).expect("JSON");
        assert_eq!(shown.get("format").and_then(Json::as_str), Some(format.name()));
        // A content type, and a place in the cache of what is rendered once.
        assert!(dialect::content_type(format).ends_with("json"));
        indexes.push(dialect::format_index(format));
        // A body for the events of every dialect that it carries, and a sample for its test.
        let from: Vec<_> =
            DIALECTS.iter().filter(|(from, _)| !delivered(from, &webhook).is_empty()).collect();
        assert!(from.len() >= 3, "{format_name}: it carries {from:?}");
        for name in &webhook.events {
            let sample = sample::test_event(name, "u", "a.jpg", Wall(0));
            assert!(dialect::subscribes(&webhook, sample.kind, &sample.name), "{name}");
        }
    }
    indexes.sort_unstable();
    assert!(indexes.into_iter().eq(0..dialect::FORMATS));
}

#[test]
fn a_publishers_own_bytes_are_kept() {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    for (published_in, _) in DIALECTS {
        for event in events(published_in) {
            for format in [Format::Standard, Format::CloudEvents] {
                let body = text(&rendered(&event, &subscriber(format)));
                assert!(body.contains(&format!("\"data\":{}", text(&event.data))), "{body}");
            }
            let own = match event.dialect {
                Dialect::Uploadcare | Dialect::Custom => Format::Uploadcare(Version::V07),
                Dialect::Lancer => Format::Lancer,
                // A resource without a type or an id gets them.
                Dialect::JsonApi => continue,
            };
            let body = text(&rendered(&event, &subscriber(own)));
            assert!(body.contains(&format!("\"data\":{}", text(&event.data))), "{body}");
        }
    }
    let native = &events("jsonapi")[0];
    let body = text(&rendered(native, &subscriber(Format::JsonApi)));
    assert!(body.contains(&format!("\"included\":[{},", text(&native.data))), "{body}");
}

#[test]
fn linkage_is_full_and_ids_are_stable() {
    for (published_in, _) in DIALECTS {
        for body in delivered(published_in, &subscriber(Format::JsonApi)) {
            let body = Json::parse(&body).expect("JSON");
            let at = |path: &[&str]| {
                path.iter().try_fold(&body, |json, key| json.get(key)).cloned().expect("is there")
            };
            let Json::Array(included) = at(&["included"]) else { unreachable!("an array") };
            for (relationship, included) in ["resource", "webhook"].iter().zip(&included) {
                let linkage = at(&["data", "relationships", relationship, "data"]);
                assert_eq!(linkage.get("type"), included.get("type"));
                assert_eq!(linkage.get("id"), included.get("id"));
            }
        }
    }
}

#[test]
fn a_format_that_changed_meanwhile_still_renders() {
    for (published_in, _) in DIALECTS {
        for event in events(published_in) {
            for (_, format) in FORMATS {
                let body = rendered(&event, &subscriber(format));
                assert!(Json::parse(&body).is_ok());
            }
        }
    }
}

/// What `lancer-express-sdk` does with a request, on Node: it prints the parsed body again.
#[test]
fn lancers_own_sdk_accepts() {
    const SDK: &str = "
        const { createHmac, timingSafeEqual } = require('crypto')
        let checked = 0
        for (const line of require('fs').readFileSync(0, 'utf8').split('\\n').slice(0, -1)) {
            const { secret, headers, raw } = JSON.parse(line)
            const req = { headers, body: JSON.parse(raw) }
            const verify = (body) => {
                const message = `${req.headers['x-timestamp']}.${JSON.stringify(body)}`
                const expected = createHmac('sha256', secret).update(message).digest('hex')
                return timingSafeEqual(Buffer.from(expected), Buffer.from(req.headers['x-signature']))
            }
            if (!verify(req.body)) throw new Error('refused: ' + raw)
            if (verify({ ...req.body, event: 'X' })) throw new Error('accepted another body')
            checked += 1
        }
        console.log(checked)";
    let mut requests = Vec::new();
    for (published_in, _) in DIALECTS {
        for file_delete in [FileDelete::Object, FileDelete::Array] {
            let mut webhook = subscriber(Format::Lancer);
            webhook.options.file_delete = file_delete;
            webhook.options.signature_style = SignatureStyle::Bare;
            for body in delivered(published_in, &webhook) {
                requests.push(sdk_line(&webhook, &body));
            }
        }
    }
    let mut node = Command::new("node")
        .args(["-e", SDK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs Node.js: install `node` and put it on the PATH");
    let mut stdin = node.stdin.take().expect("piped");
    stdin.write_all(requests.concat().as_bytes()).expect("node reads its input");
    drop(stdin);
    let output = node.wait_with_output().expect("node ends");
    assert!(output.status.success(), "the SDK refused");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), requests.len().to_string());
    assert_eq!(requests.len(), 18);
}

fn sdk_line(webhook: &Webhook, body: &[u8]) -> String {
    let id = DeliveryId { seq: Seq(1), salt: 2 };
    let headers = sign::signatures(webhook, &id, 1_763_740_000, body);
    let text = |text: &str| Json::String(text.to_owned());
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), text(value)));
    let secret = webhook.secret.as_ref().expect("signed").expose();
    let line = Json::Object(vec![
        ("secret".to_owned(), text(secret)),
        ("headers".to_owned(), Json::Object(headers.collect())),
        ("raw".to_owned(), text(&String::from_utf8_lossy(body))),
    ]);
    format!("{}\n", String::from_utf8(line.to_bytes()).expect("UTF-8"))
}

#[test]
fn every_pair_survives_javascript() {
    let mut bodies = Vec::new();
    for (published_in, _) in DIALECTS {
        for (_, format) in FORMATS {
            bodies.extend(delivered(published_in, &subscriber(format)));
        }
    }
    assert_eq!(changed_by_node(&bodies), "[]", "bodies that JSON.stringify(JSON.parse()) changes");
}
