//! What the webhook API accepts and refuses, text by text.
//!
//! Owns no code that ships.

use proptest::prelude::*;

use super::*;
use crate::dialect::uploadcare::encode;
use crate::model::ids::{ProjectId, WebhookId};
use crate::model::time::Wall;
use crate::model::webhook::{FileDelete, Rotation, RotationPhase, SignatureStyle, WebhookState};

const V05: View = View::Vendor(Version::V05);
const V06: View = View::Vendor(Version::V06);
const V07: View = View::Vendor(Version::V07);

fn json(text: &str) -> Fields {
    Fields::from_json(text.as_bytes()).expect(text)
}

fn form(text: &str) -> Fields {
    Fields::from_urlencoded(text.as_bytes()).expect(text)
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Invalid>) -> String {
    let body = encode::invalid(&result.expect_err("refused"));
    String::from_utf8(body).expect("UTF-8")
}

fn webhook(version: Version) -> Webhook {
    Webhook {
        id: WebhookId::new(7).expect("in range"),
        project: ProjectId::new(1).expect("in range"),
        target_url: TargetUrl::parse("http://a.example/").expect("a URL"),
        events: vec![EventName::parse("file.uploaded").expect("a name")],
        format: Format::Uploadcare(version),
        state: WebhookState::Active,
        secret: Some(Secret::new("old".to_owned())),
        rotation: Some(Rotation {
            secret: Secret::new("next".to_owned()),
            phase: RotationPhase::Staged,
            next_step: None,
            overlap_ms: 0,
        }),
        headers: vec![("x".to_owned(), "1".to_owned())],
        limits: Limits { rate_per_second: Some(5), burst: Some(6), in_flight: Some(7) },
        created: Wall(1),
        updated: Wall(2),
        revision: 1,
        paused_total_ms: 0,
        failing_since: None,
        listener: None,
        hidden: false,
        public_id: "wh-0000000000000000000000".to_owned(),
        options: Default::default(),
    }
}

#[test]
fn what_real_clients_send_to_create() {
    let url = "target_url=https%3A%2F%2Fa.example%2Fhook&event=file.uploaded";
    let body = r#"{"target_url":"https://a.example/hook","event":"file.uploaded""#;
    for (fields, view, version, is_active) in [
        (form(&format!("{url}&is_active=true")), V07, Version::V07, true), // pyuploadcare
        (json(&format!("{body}}}")), V07, Version::V07, true),             // JavaScript
        (json(&format!("{body},\"signing_secret\":null}}")), V05, Version::V05, true), // Go
        (json(&format!("{body},\"is_active\":\"true\"}}")), V07, Version::V07, true), // Swift
        (form(&format!("{url}&is_active=0")), V06, Version::V06, false),   // PHP 3
        (form(&format!("{url}&is_active=False")), V05, Version::V05, false), // .NET
        (form(&format!("{url}&version=")), V07, Version::V07, true),
        (form(url), View::Legacy, Version::V05, true), // curl
        (form(url), View::Own, Version::V07, true),
        (json(&format!("{body},\"is_active\":null,\"version\":null}}")), V06, Version::V06, true),
    ] {
        let draft = create(&fields, view).expect("accepted");
        assert_eq!(draft.target_url.as_str(), "https://a.example/hook");
        assert_eq!(draft.events[0].as_str(), "file.uploaded");
        assert_eq!((draft.format, draft.is_active), (Format::Uploadcare(version), is_active));
        assert_eq!(draft.secret, None);
        assert_eq!((draft.headers, draft.limits), (Vec::new(), Limits::default()));
    }
}

#[test]
fn our_own_fields() {
    let text = r#"{"target_url":"http://a/","event":"order.paid","signing_secret":"s","version":"0.7",
        "format":"uploadcare","headers":{"Authorization":"x"},"rate_per_second":2,"burst":"3","in_flight":4}"#;
    let draft = create(&json(text), View::Own).expect("accepted");
    assert_eq!(draft.events[0].as_str(), "order.paid");
    assert_eq!(draft.headers, [("Authorization".to_owned(), "x".to_owned())]);
    let limits = Limits { rate_per_second: Some(2), burst: Some(3), in_flight: Some(4) };
    assert_eq!(draft.limits, limits);
    assert_eq!(draft.secret, Some(Secret::new("s".to_owned())));
    let legacy = "target_url=http://a/&event=file.uploaded&headers={\"x\":\"1\"}&in_flight=1";
    assert_eq!(create(&form(legacy), View::Legacy).expect("accepted").headers.len(), 1);
}

#[test]
fn every_format_and_its_choices() {
    for (format, event, view, want) in [
        ("jsonapi", "file.created", View::Own, Format::JsonApi),
        ("lancer", "FILE_UPLOAD", View::Own, Format::Lancer),
        ("lancer", "SESSION_CANCELLED", V07, Format::Lancer),
        ("standard", "session.created", View::Own, Format::Standard),
        ("cloudevents", "order.paid", View::Legacy, Format::CloudEvents),
        ("uploadcare", "file.stored", View::Own, Format::Uploadcare(Version::V07)),
        ("uploadcare", "file.uploaded", V06, Format::Uploadcare(Version::V06)),
        ("", "file.uploaded", V05, Format::Uploadcare(Version::V05)),
    ] {
        let body = format!("target_url=http://a/&event={event}&format={format}");
        let draft = create(&form(&body), view).expect(&body);
        assert_eq!(draft.format, want);
        assert_eq!(draft.options, FormatOptions::default());
    }
    let text = r#"{"target_url":"http://a/","event":"FILE_DELETE","format":"lancer","version":"1",
        "signature_style":"bare","include_secret":true,"file_delete":"array"}"#;
    let draft = create(&json(text), View::Own).expect("accepted");
    let all = FormatOptions {
        signature_style: SignatureStyle::Bare,
        include_secret: true,
        file_delete: FileDelete::Array,
    };
    assert_eq!(draft.options, all);
    let base = "target_url=http://a/";
    for (fields, want) in [
        (
            "event=file.uploaded&format=lancer",
            r#"{"event":["\"file.uploaded\" is not a valid choice. It is no event of format lancer."]}"#,
        ),
        (
            "event=order.paid&format=lancer",
            r#"{"event":["\"order.paid\" is not a valid choice. It is no event of format lancer."]}"#,
        ),
        (
            "event=file.uploaded&format=jsonapi",
            r#"{"event":["\"file.uploaded\" is not a valid choice. It is no event of format jsonapi."]}"#,
        ),
        ("event=FILE_UPLOAD", r#"{"event":["\"FILE_UPLOAD\" is not a valid choice."]}"#),
        (
            "event=FILE_UPLOAD&format=lancer&version=0.7",
            r#"{"version":["\"0.7\" is not a valid choice. Webhooks of format lancer have version 1."]}"#,
        ),
        ("event=file.uploaded&version=1", r#"{"version":["\"1\" is not a valid choice."]}"#),
        (
            "event=file.uploaded&file_delete=all",
            r#"{"file_delete":["\"all\" is not a valid choice. Known: object, array."]}"#,
        ),
        (
            "event=file.uploaded&include_secret=maybe",
            r#"{"include_secret":["Must be a valid boolean."]}"#,
        ),
    ] {
        assert_eq!(refusal(create(&form(&format!("{base}&{fields}")), View::Own)), want);
    }
}

#[test]
fn updates_of_format_and_choices() {
    let mut hook = webhook(Version::V07);
    hook.options.file_delete = FileDelete::Array;
    let lost = refusal(update(&form("format=lancer"), View::Own, &hook));
    let want = r#"{"event":["\"file.uploaded\" is not a valid choice. It is no event of format lancer."]}"#;
    assert_eq!(lost, want);
    let both = update(&form("format=lancer&event=FILE_DELETE"), View::Own, &hook).expect("both");
    assert_eq!(both.format, Some(Format::Lancer));
    assert_eq!(both.options, None);
    assert!(update(&form("format=standard"), View::Own, &hook).is_ok(), "the name is in both");
    let patch = update(&form("signature_style=bare"), View::Own, &hook).expect("one choice");
    let options = FormatOptions { signature_style: SignatureStyle::Bare, ..hook.options };
    assert_eq!(patch.options, Some(options), "the others stay");
    let cleared = update(&json(r#"{"file_delete":null}"#), View::Own, &hook).expect("null");
    assert_eq!(cleared.options, Some(FormatOptions::default()));
    // What was read may be sent back whole, in every format.
    for (format, events) in [
        (Format::Uploadcare(Version::V06), vec!["file.uploaded"]),
        (Format::JsonApi, vec!["file.updated", "group.created"]),
        (Format::Lancer, vec!["SESSION_CREATED"]),
        (Format::CloudEvents, vec!["order.paid"]),
    ] {
        hook.format = format;
        hook.events = events.iter().map(|name| EventName::parse(name).expect("a name")).collect();
        let read = Fields::from_json(&encode::webhook(&hook, View::Own)).expect("JSON");
        let mut same = hook.clone();
        update(&read, View::Own, &hook).expect("accepted").apply(&mut same);
        assert_eq!(same, hook);
    }
}

#[test]
fn refusals_of_create() {
    let long_url = format!("http://a/{}", "x".repeat(247));
    let secret_33 = "s".repeat(33);
    let missing = r#"{"detail":"`target_url` is missing."}"#;
    for (body, view, want) in [
        ("event=file.uploaded".to_owned(), V07, missing),
        ("".to_owned(), V07, missing),
        ("target_url=&event=file.uploaded".to_owned(), V07, missing),
        (
            "target_url=invalid&event=invalid".to_owned(),
            V07,
            r#"{"target_url":["Enter a valid URL."],"event":["\"invalid\" is not a valid choice."]}"#,
        ),
        ("target_url=http://a/".to_owned(), V05, r#"{"event":["This field is required."]}"#),
        (
            format!("target_url={long_url}&event=file.uploaded"),
            V07,
            r#"{"target_url":["Ensure this field has no more than 255 characters."]}"#,
        ),
        (
            format!("target_url=http://a/&event=file.uploaded&signing_secret={secret_33}"),
            V07,
            r#"{"signing_secret":["Ensure this field has no more than 32 characters."]}"#,
        ),
        (
            "target_url=ftp://a/&event=file.uploaded&is_active=maybe".to_owned(),
            V07,
            r#"{"target_url":["Enter a valid URL.","the scheme is neither http nor https"],"is_active":["Must be a valid boolean."]}"#,
        ),
        (
            "target_url=http://a/&event=file.stored".to_owned(),
            V06,
            r#"{"event":["\"file.stored\" is not a valid choice. Webhooks of version 0.6 carry file.uploaded only."]}"#,
        ),
        (
            "target_url=http://a/&event=order.paid".to_owned(),
            V07,
            r#"{"event":["\"order.paid\" is not a valid choice."]}"#,
        ),
        (
            "target_url=http://a/&event=file.uploaded&version=0.6".to_owned(),
            V07,
            r#"{"version":["\"0.6\" is not a valid choice."]}"#,
        ),
        (
            "target_url=http://a/&event=file.uploaded&version=0.8".to_owned(),
            V05,
            r#"{"version":["\"0.8\" is not a valid choice."]}"#,
        ),
        (
            "target_url=http://a/&event=file.uploaded&format=rss&burst=0".to_owned(),
            View::Own,
            r#"{"format":["\"rss\" is not a valid choice. Known formats: uploadcare, jsonapi, lancer, standard, cloudevents."],"burst":["\"0\" is not a whole number from 1 to 100000."]}"#,
        ),
        (
            "target_url=http://a/&event=file.uploaded&headers={\"Host\":\"b\"}".to_owned(),
            View::Own,
            r#"{"headers":["\"Host\" is set by the daemon."]}"#,
        ),
    ] {
        assert_eq!(refusal(create(&form(&body), view)), want, "{body}");
    }
    for (body, want) in [
        (r#"{"target_url":null}"#, missing),
        (r#"{"target_url":7}"#, r#"{"target_url":["Not a valid string."]}"#),
        (
            r#"{"target_url":"http://a/","event":["file.uploaded"],"signing_secret":1}"#,
            r#"{"event":["\"an array\" is not a valid choice."],"signing_secret":["Not a valid string."]}"#,
        ),
        (
            r#"{"target_url":"http://a/","event":"file.uploaded","signing_secret":"\u0000"}"#,
            r#"{"signing_secret":["Null characters are not allowed."]}"#,
        ),
    ] {
        assert_eq!(refusal(create(&json(body), V07)), want, "{body}");
    }
    // 255 characters are not 255 bytes.
    let wide =
        format!(r#"{{"target_url":"http://a/{}","event":"file.uploaded"}}"#, "é".repeat(246));
    assert!(create(&json(&wide), V07).is_ok());
    let other = "target_url=http://a/&event=file.stored&version=0.7";
    assert!(create(&form(other), V06).is_ok(), "0.6 may ask for a webhook of 0.7");
}

#[test]
fn updates_are_partial() {
    let mut hook = webhook(Version::V07);
    let empty = update(&json(r#"{"id":7,"unknown":{}}"#), V07, &hook).expect("accepted");
    assert_eq!(empty, WebhookPatch::default());
    let nulls = r#"{"id":7,"signing_secret":null,"event":null,"target_url":null,"is_active":null}"#;
    assert_eq!(update(&json(nulls), V07, &hook).expect("accepted"), WebhookPatch::default());
    let before = hook.clone();
    empty.apply(&mut hook);
    assert_eq!(hook, before);

    let text = r#"{"signing_secret":"","event":"file.deleted","is_active":0,"headers":null,"burst":null,"rate_per_second":9}"#;
    let patch = update(&json(text), V07, &hook).expect("accepted");
    assert_eq!(patch.is_active, Some(false));
    patch.apply(&mut hook);
    assert_eq!((&hook.secret, &hook.rotation), (&None, &None));
    assert_eq!(hook.events[0].as_str(), "file.deleted");
    assert_eq!(hook.headers, []);
    let limits = Limits { rate_per_second: Some(9), burst: None, in_flight: Some(7) };
    assert_eq!(hook.limits, limits);
    assert_eq!(hook.target_url, before.target_url);
}

#[test]
fn updates_keep_event_and_version_in_step() {
    let old = webhook(Version::V06);
    assert!(refusal(update(&form("event=file.stored"), V07, &old)).starts_with(r#"{"event":["#));
    let both = update(&form("event=file.stored&version=0.7"), V07, &old).expect("accepted");
    assert_eq!(both.format, Some(Format::Uploadcare(Version::V07)));
    assert!(update(&form("version=0.6"), V07, &old).is_ok(), "sent back as it was read");
    assert!(refusal(update(&form("version=0.5"), V07, &old)).starts_with(r#"{"version":["#));
    let mut stored = webhook(Version::V07);
    stored.events = vec![EventName::parse("file.stored").expect("a name")];
    let got = refusal(update(&form("version=0.5"), V05, &stored));
    let want =
        "\\\"0.5\\\" is not a valid choice. Webhooks of version 0.5 carry file.uploaded only.";
    assert_eq!(got, format!(r#"{{"version":["{want}"]}}"#));
    let blank = refusal(update(&form("target_url="), V07, &old));
    assert_eq!(blank, r#"{"target_url":["This field may not be blank."]}"#);
}

#[test]
fn our_own_view_takes_a_list_of_events() {
    let names = |events: &[EventName]| -> Vec<String> {
        events.iter().map(|name| name.as_str().to_owned()).collect()
    };
    let url = r#""target_url":"http://a.example/""#;
    let made = |rest: &str| create(&json(&format!("{{{url}{rest}}}")), View::Own);
    for (rest, want) in [
        (
            r#","events":["file.stored","order.paid","file.stored"]"#,
            vec!["file.stored", "order.paid"],
        ),
        (r#","event":"file.stored","events":["file.stored","b"]"#, vec!["file.stored", "b"]),
        (r#","event":"b","events":null"#, vec!["b"]),
        (
            r#","events":["FILE_UPLOAD","FILE_DELETE"],"format":"lancer""#,
            vec!["FILE_UPLOAD", "FILE_DELETE"],
        ),
    ] {
        assert_eq!(names(&made(rest).expect(rest).events), want, "{rest}");
    }
    let many = format!(
        r#","events":[{}]"#,
        (0..=64).map(|n| format!("\"e{n}\"")).collect::<Vec<_>>().join(",")
    );
    for (rest, want) in [
        ("", r#"{"event":["This field is required."]}"#),
        (r#","events":[]"#, r#"{"events":["This list may not be empty."]}"#),
        (r#","events":"a""#, r#"{"events":["Expected a list of events, not \"a\"."]}"#),
        (r#","events":["a b"]"#, r#"{"events":["\"a b\" is not a valid choice."]}"#),
        (r#","events":["a",7]"#, r#"{"events":["\"7\" is not a valid choice."]}"#),
        (r#","event":"c","events":["a","b"]"#, r#"{"event":["\"c\" is not one of events."]}"#),
        (&many, r#"{"events":["Ensure this list has no more than 64 events."]}"#),
    ] {
        assert_eq!(refusal(made(rest)), want, "{rest}");
    }
    let older = made(r#","events":["file.uploaded","file.stored"],"version":"0.6""#);
    assert!(refusal(older).contains("carry file.uploaded only"));
    let form = form("target_url=http://a.example/&events[]=a&events[]=b");
    assert_eq!(names(&create(&form, View::Own).expect("sound").events), ["a", "b"]);
    assert!(create(&form, V07).is_err(), "Uploadcare's view has no events");

    let mut old = webhook(Version::V07);
    old.events =
        ["file.uploaded", "file.stored"].iter().filter_map(|n| EventName::parse(n)).collect();
    let changed = |text: &str| {
        update(&json(text), View::Own, &old).expect(text).events.map(|events| names(&events))
    };
    let both = r#""event":"file.uploaded","events":["file.uploaded","file.stored"]"#;
    assert_eq!(changed(&format!("{{{both}}}")), None, "sent back as it was read");
    assert_eq!(changed(r#"{"event":"file.uploaded","events":["a"]}"#), Some(vec!["a".to_owned()]));
    let replaced = format!("{{{}}}", both.replacen("file.uploaded", "a", 1));
    assert_eq!(changed(&replaced), Some(vec!["a".to_owned()]), "event alone was changed");
    assert_eq!(changed("{}"), None);
    assert!(refusal(update(&json(r#"{"events":[]}"#), View::Own, &old)).contains("empty"));
}

#[test]
fn unsubscribes_by_exact_text() {
    let got = unsubscribe(&json(r#"{"target_url":"http://example.com "}"#)).expect("accepted");
    assert_eq!((got.target_url.as_str(), got.event), ("http://example.com ", None));
    let got = unsubscribe(&form("target_url=x&event=file.uploaded")).expect("accepted");
    assert_eq!(got.event.as_deref(), Some("file.uploaded"));
    let missing = r#"{"detail":"`target_url` is missing."}"#;
    for fields in [json("{}"), json(r#"{"target_url":null}"#), form("target_url="), form("x=1")] {
        assert_eq!(refusal(unsubscribe(&fields)), missing);
    }
    let odd = refusal(unsubscribe(&json(r#"{"target_url":"x","event":1}"#)));
    assert_eq!(odd, r#"{"event":["\"1\" is not a valid choice."]}"#);
}

proptest! {
    #[test]
    fn never_panics(values in proptest::collection::vec("(null|true|-1|1e9|\"lancer\"|\"\"|\"file\\.stored\"|\"http://a/\"|\\[\\]|\\{\"a\":1\\}|\"\\\\u0000\")", 12)) {
        let names = ["target_url", "event", "is_active", "signing_secret", "version", "format", "headers", "burst", "in_flight", "signature_style", "include_secret", "file_delete"];
        let pairs: Vec<String> = names.iter().zip(&values).map(|(n, v)| format!("\"{n}\":{v}")).collect();
        let fields = json(&format!("{{{}}}", pairs.join(",")));
        for view in [V05, V06, V07, View::Legacy, View::Own] {
            for invalid in [create(&fields, view).err(), update(&fields, view, &webhook(Version::V06)).err(), unsubscribe(&fields).err()].into_iter().flatten() {
                let body = encode::invalid(&invalid);
                prop_assert!(crate::model::json::Json::parse(&body).is_ok());
            }
        }
    }
}
