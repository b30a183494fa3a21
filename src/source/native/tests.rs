//! What a publisher may send, and how a refusal reads.
//!
//! Owns no code that ships.

use proptest::prelude::*;

use super::*;

const LIMITS: PublishLimits = PublishLimits { event_bytes_max: 300, events_max: 4 };
const JSON: Option<&str> = Some("application/json");
const NDJSON: Option<&str> = Some("application/x-ndjson");
const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

fn publish(content_type: Option<&str>, body: &str) -> Result<Published, PublishError> {
    read(content_type, None, body.as_bytes(), LIMITS, None)
}

fn refusal(result: Result<Published, PublishError>) -> (u16, String) {
    let error = result.expect_err("refused");
    (error.status(), String::from_utf8(error.body()).expect("UTF-8"))
}

#[test]
fn data_of_a_typed_dialect() {
    let row = r#"{"id":"f","file_size":"10"}"#;
    let wrong = r#"Expected a whole number (int64, exact in JavaScript), not \"10\"."#;
    let event = format!(r#"{{"event":"FILE_UPLOAD","data":{row}}}"#);
    let (status, body) = refusal(publish(JSON, &event));
    assert_eq!((status, body), (400, format!(r#"{{"data.file_size":["{wrong}"]}}"#)));
    let (status, body) = refusal(publish(JSON, &format!("[{event}]")));
    assert_eq!(
        (status, body),
        (400, format!(r#"{{"detail":"events[0].data.file_size: {wrong}"}}"#))
    );
    let custom = format!(r#"{{"event":"FILE_UPLOAD","dialect":"custom","data":{row}}}"#);
    assert!(publish(JSON, &custom).is_ok());
    let (_, body) = refusal(publish(JSON, r#"{"event":"group.created","data":{"id":7}}"#));
    let want = r#"{"data.id":["Expected a string that is not empty, not a number."]}"#;
    assert_eq!(body, want);
}

#[test]
fn every_form_of_one_event() {
    let json = r#"{"event":"file.info_updated","dialect":"uploadcare",
        "data":{"b":1.0,"a":"\u00e9","7":[]},"file":"https://a/b","initiator":{"type":"api"},
        "previous_values":{"metadata":null},"occurred_at":"2018-11-05T13:14:41Z","idempotency_key":"k"}"#;
    let form = "event=file.info_updated&dialect=uploadcare&data={\"b\":1.0,\"a\":\"%c3%a9\",\"7\":[]}\
        &file=https://a/b&initiator={\"type\":\"api\"}&previous_values={\"metadata\":null}\
        &occurred_at=2018-11-05T13:14:41Z&idempotency_key=k";
    let line = json.replace('\n', " ");
    let one = publish(JSON, json).expect("accepted");
    let event = &one.events[0];
    assert_eq!(event.kind, Kind::FileInfoUpdated);
    assert_eq!(event.data, r#"{"7":[],"b":1,"a":"é"}"#.as_bytes());
    assert_eq!(event.file.as_deref(), Some("https://a/b"));
    assert_eq!(event.initiator.as_deref(), Some(&br#"{"type":"api"}"#[..]));
    assert_eq!(event.previous_values.as_deref(), Some(&br#"{"metadata":null}"#[..]));
    assert_eq!(event.occurred_at, Some(Wall(1_541_423_681_000)));
    assert_eq!((one.batch, one.idempotency_key.as_deref()), (false, Some("k")));
    assert_eq!(publish(None, json).expect("accepted"), one);
    assert_eq!(publish(FORM, form).expect("accepted"), one);
    for (content_type, body) in [
        (JSON, format!(" [{json} , {json}]\n")),
        (None, format!("[{json},{json}]")),
        (NDJSON, format!("{line}\r\n\n  \n{line}")),
    ] {
        let two = publish(content_type, &body).expect("accepted");
        assert_eq!((two.batch, two.events.len()), (true, 2));
        assert_eq!(two.events[1], one.events[0]);
    }
    let bare = publish(JSON, r#"{"event":"order.paid","data":{},"file":null}"#);
    assert_eq!(bare.expect("accepted").events[0].kind, Kind::Custom);
}

#[test]
fn refusals_name_index_field_and_value() {
    let good = r#"{"event":"a","data":{}}"#;
    let long = format!(r#"{{"event":"a","data":{{"x":"{}"}}}}"#, "x".repeat(300));
    let spread = format!(r#"{{"event":"a","data":{{"x":[{}1]}}}}"#, "1e20,".repeat(50));
    for (content_type, body, status, want) in [
        (JSON, "".to_owned(), 400, "no event"),
        (JSON, "[]".to_owned(), 400, "no event"),
        (NDJSON, "\n\n".to_owned(), 400, "no event"),
        (JSON, "[".to_owned(), 400, "JSON parse error"),
        (JSON, "[{}]x".to_owned(), 400, "JSON parse error"),
        (JSON, "7".to_owned(), 400, "not a number"),
        (Some("text/plain"), good.to_owned(), 415, "Unsupported media type"),
        (JSON, "{}".to_owned(), 400, r#"{"event":["This field is required."]}"#),
        (JSON, r#"{"event":"a"}"#.to_owned(), 400, r#"{"data":["This field is required."]}"#),
        (JSON, r#"{"event":"a b","data":{}}"#.to_owned(), 400, r#"{"event":["\"a b\" is not"#),
        (JSON, r#"{"event":1,"data":{}}"#.to_owned(), 400, r#"{"event":["\"1\" is not"#),
        (JSON, r#"{"event":"a","data":[]}"#.to_owned(), 400, "Expected an object, not an array"),
        (FORM, "event=a&data=7".to_owned(), 400, "Expected an object, not a number"),
        (FORM, "event=a&data={".to_owned(), 400, r#"{"data":["JSON parse error"#),
        (JSON, r#"{"event":"a","data":{},"fil":"x"}"#.to_owned(), 400, r#"{"fil":["Unknown"#),
        (JSON, r#"{"event":"a","data":{},"file":1}"#.to_owned(), 400, r#"{"file":["Expected"#),
        (
            JSON,
            r#"{"event":"a","data":{},"dialect":"rss"}"#.to_owned(),
            400,
            r#"{"dialect":["\"rss\" is not a known"#,
        ),
        (
            JSON,
            r#"{"event":"a","data":{},"dialect":"uploadcare"}"#.to_owned(),
            400,
            r#"{"event":["\"a\" is not one of that dialect's events."]}"#,
        ),
        (
            JSON,
            r#"{"event":"a","data":{},"occurred_at":"now"}"#.to_owned(),
            400,
            r#"{"occurred_at":["\"now\" is not an RFC 3339"#,
        ),
        (
            JSON,
            r#"{"event":"a","data":{},"idempotency_key":"é"}"#.to_owned(),
            400,
            r#"{"idempotency_key":["\"é\" is not a key"#,
        ),
        (
            JSON,
            format!(r#"[{good},{{"event":"","data":{{}}}}]"#),
            400,
            r#"{"detail":"events[1].event: \"\" is not an event name"#,
        ),
        (NDJSON, format!("{good}\n{{"), 400, "events[1]: JSON parse error"),
        (JSON, format!("[{good},]"), 400, "events[1]: JSON parse error"),
        (JSON, format!("[{good},7]"), 400, "events[1]: The body has to be a JSON object"),
        (JSON, format!("[{good},{good},{good},{good},{good}]"), 413, "more than 4 events"),
        (JSON, long.clone(), 413, "event: the event has"),
        (JSON, format!("[{good},{long}]"), 413, "events[1]: the event has"),
        (JSON, spread, 413, "event: the event has 1110"), // 1e20 is stored with all its digits
        (
            JSON,
            r#"{"event":"a","data":{"n":9007199254740993}}"#.to_owned(),
            400,
            "the integer 9007199254740993 is beyond",
        ),
        (JSON, r#"{"event":"a","data":{"x":1,"x":2}}"#.to_owned(), 400, "duplicate key"),
    ] {
        let (got, text) = refusal(publish(content_type, &body));
        assert!(text.contains(want) && got == status, "{body}: {got} {text}");
    }
}

#[test]
fn closed_list_of_types() {
    let types = ["order.paid".to_owned(), "file.uploaded".to_owned()];
    let publish = |name: &str| {
        let body = format!(r#"{{"event":"{name}","data":{{}}}}"#);
        read(JSON, None, body.as_bytes(), LIMITS, Some(&types))
    };
    assert!(publish("order.paid").is_ok());
    let (status, text) = refusal(publish("file.stored"));
    assert_eq!(status, 400);
    assert!(text.contains("\\\"file.stored\\\" is not one of this project's event types: order.paid, file.uploaded."), "{text}");
}

#[test]
fn one_idempotency_key_covers_the_request() {
    let keyed = |key: &str| format!(r#"{{"event":"a","data":{{}},"idempotency_key":"{key}"}}"#);
    let read = |header, body: &str| read(JSON, header, body.as_bytes(), LIMITS, None);
    let key = |result: Result<Published, PublishError>| result.expect("accepted").idempotency_key;
    let plain = r#"{"event":"a","data":{}}"#;
    assert_eq!(key(read(None, plain)), None);
    assert_eq!(key(read(Some("k"), plain)).as_deref(), Some("k"));
    assert_eq!(key(read(Some("k"), &keyed("k"))).as_deref(), Some("k"));
    assert_eq!(key(read(None, &format!("[{plain},{}]", keyed("k")))).as_deref(), Some("k"));
    let both = format!("[{},{}]", keyed("k"), keyed("j"));
    for result in [read(Some("j"), &keyed("k")), read(None, &both), read(Some(""), plain)] {
        let (status, text) = refusal(result);
        assert_eq!(status, 400);
        assert!(text.starts_with(r#"{"idempotency_key":["#), "{text}");
    }
}

proptest! {
    #[test]
    fn never_panics(
        content_type in proptest::option::of("(application/json|application/x-ndjson|multipart/form-data; boundary=x|\\PC*)"),
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        if let Err(error) = read(content_type.as_deref(), None, &body, LIMITS, None) {
            prop_assert!(Json::parse(&error.body()).is_ok());
        }
    }

    #[test]
    fn never_panics_on_near_json(body in "([\\[\\]{},:\n]|\"event\":|\"data\":|\\{\\}|\"a\"|null|1e999){0,20}") {
        for content_type in [JSON, NDJSON, FORM, None] {
            let _ = publish(content_type, &body);
        }
    }
}
