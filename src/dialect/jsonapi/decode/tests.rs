//! Tests of the requests: what is read, and every message.

use super::*;
use crate::logic::catalog::tests::webhook;

fn fields(json: &str) -> Fields {
    Fields::from_json(json.as_bytes()).expect("an object")
}

fn created(json: &str) -> Result<WebhookDraft, Vec<String>> {
    create(&fields(json), Secret::new("whsec-x".to_owned())).map_err(|invalid| invalid.0)
}

fn updated(json: &str) -> Result<WebhookPatch, Vec<String>> {
    let mut old = webhook(1, 1, "file.created", "https://a.example/");
    old.format = Format::JsonApi;
    old.options.include_secret = true;
    update(&fields(json), &old).map_err(|invalid| invalid.0)
}

const WHOLE: &str = r#"{"webhook":{"target_url":"https://a.example/","events":["file.updated",
    "order.paid","file.updated"],"is_active":false,"version":"1","signing_secret":"mine",
    "headers":{"X-A":"b"},"burst":3,"signature_style":"bare","include_secret":true,"id":7}}"#;

#[test]
fn creates_with_everything_but_the_clients_secret() {
    let draft = created(WHOLE).expect("sound");
    assert_eq!(draft.format, Format::JsonApi);
    assert_eq!(draft.target_url.as_str(), "https://a.example/");
    let names: Vec<&str> = draft.events.iter().map(EventName::as_str).collect();
    assert_eq!(names, ["file.updated", "order.paid"]);
    assert!(!draft.is_active);
    assert_eq!(draft.secret.expect("made").expose(), "whsec-x");
    assert_eq!(draft.headers, [("X-A".to_owned(), "b".to_owned())]);
    assert_eq!(draft.limits.burst, Some(3));
    assert_eq!(draft.options.signature_style, SignatureStyle::Bare);
    assert!(draft.options.include_secret);
}

#[test]
fn bare_fields_and_defaults() {
    let draft = created(r#"{"target_url":"http://a.example/","events":["file.created"]}"#);
    let draft = draft.expect("sound");
    assert!(draft.is_active);
    assert_eq!(draft.options, FormatOptions::default());
    let form = "webhook[target_url]=http://a.example/&webhook[events][]=&\
                webhook[events][]=group.created&webhook[is_active]=0";
    let form = Fields::from_urlencoded(form.as_bytes()).expect("a form");
    let draft = create(&form, Secret::new("x".to_owned())).expect("sound");
    assert_eq!(draft.events, [EventName::parse("group.created").expect("a name")]);
    assert!(!draft.is_active);
}

/// As clients of the specification write: what they read, changed.
#[test]
fn a_resource_is_read_too() {
    let body = r#"{"data":{"type":"webhooks","id":"wh-1","attributes":{"target_url":
        "http://a.example/","events":["file.created"],"is_active":false},"relationships":{}}}"#;
    let draft = created(body).expect("sound");
    assert_eq!((draft.target_url.as_str(), draft.is_active), ("http://a.example/", false));
    assert_eq!(updated(body).expect("sound").is_active, Some(false));
    assert_eq!(updated(r#"{"data":{"type":"webhooks","id":"a"}}"#), Ok(WebhookPatch::default()));
    let both = r#"{"webhook":{"is_active":true},"data":{"attributes":{"is_active":false}}}"#;
    assert_eq!(updated(both).expect("sound").is_active, Some(true));
    for (body, want) in [
        (r#"{"data":[]}"#, "Data is invalid: it has to be an object, not an array"),
        (
            r#"{"data":{"attributes":7}}"#,
            "Attributes is invalid: it has to be an object, not a number",
        ),
        (r#"{"data":{"type":"files"}}"#, "Type is invalid: it is webhooks, not \"files\""),
    ] {
        assert_eq!(created(body), Err(vec![want.to_owned()]), "{body}");
        assert_eq!(updated(body), Err(vec![want.to_owned()]), "{body}");
    }
}

#[test]
fn all_problems_are_told_in_full_messages() {
    let long = format!("https://a.example/{}", "x".repeat(255));
    let long = format!(r#"{{"target_url":"{long}","events":["file.created"]}}"#);
    for (json, want) in [
        ("{}", &["Target url can't be blank", "Events can't be blank"][..]),
        (r#"{"webhook":{}}"#, &["Target url can't be blank", "Events can't be blank"]),
        (r#"{"webhook":[]}"#, &["Webhook is invalid: it has to be an object, not an array"]),
        (
            r#"{"webhook":{"target_url":"","events":[]},"target_url":"https://a.example/"}"#,
            &["Target url can't be blank", "Events can't be blank"],
        ),
        (
            r#"{"target_url":"nonsense","events":"file.created","is_active":"maybe","version":"2"}"#,
            &[
                "Target url is invalid",
                "Events is invalid",
                "Is active is invalid",
                "Version is invalid",
            ],
        ),
        (r#"{"target_url":"ftp://a.example/","events":["a"]}"#, &["Target url is invalid"]),
        (r#"{"target_url":7,"events":["a"]}"#, &["Target url is invalid"]),
        (
            r#"{"target_url":"http://u:p@a.example/","events":["a"]}"#,
            &["Target url is invalid: user names and passwords in a URL are not supported"],
        ),
        (&long, &["Target url is too long (maximum is 255 characters)"]),
        (
            r#"{"target_url":"http://a.example/","events":["file.uploaded","FILE_UPLOAD","a b",1]}"#,
            &[
                "Events is invalid: \"file.uploaded\" is not included in the list",
                "Events is invalid: \"FILE_UPLOAD\" is not included in the list",
                "Events is invalid: \"a b\" is not included in the list",
                "Events is invalid: \"1\" is not included in the list",
            ],
        ),
        (
            r#"{"target_url":"http://a.example/","events":["a"],"burst":0,"headers":{"Host":"a"},
                "signature_style":"v2","include_secret":"perhaps"}"#,
            &[
                "Burst is invalid: \"0\" is not a whole number from 1 to 100000",
                "Headers is invalid: \"Host\" is set by the daemon",
                "Signature style is invalid: it is v1 or bare",
                "Include secret is invalid: it is true or false",
            ],
        ),
    ] {
        assert_eq!(created(json).expect_err(json), want, "{json}");
    }
}

#[test]
fn events_are_bounded() {
    let list = |count: usize, bad: &str| {
        let names: Vec<String> = (0..count).map(|i| format!("\"{bad}e{i}\"")).collect();
        created(&format!(r#"{{"target_url":"http://a.example/","events":[{}]}}"#, names.join(",")))
    };
    assert_eq!(
        list(WEBHOOK_EVENTS_MAX, "").expect("as many as there may be").events.len(),
        WEBHOOK_EVENTS_MAX
    );
    let too_long = "Events is too long (maximum is 64 events)";
    assert_eq!(list(WEBHOOK_EVENTS_MAX + 1, "").expect_err("too many"), [too_long]);
    let errors = list(5_000, " ").expect_err("none is a name");
    assert_eq!((errors.len(), errors.last().map(String::as_str)), (66, Some(too_long)));
}

#[test]
fn updates_what_is_given() {
    assert_eq!(updated("{}").expect("nothing"), WebhookPatch::default());
    let absent = r#"{"webhook":{"target_url":null,"events":null,"is_active":null,"version":1}}"#;
    assert_eq!(updated(absent).expect("nothing"), WebhookPatch::default());
    let patch = updated(r#"{"webhook":{"is_active":false,"signing_secret":"mine"}}"#);
    let patch = patch.expect("sound");
    assert_eq!((patch.is_active, patch.secret), (Some(false), Change::Keep));
    assert_eq!(updated(r#"{"events":[]}"#).expect_err("empty"), ["Events can't be blank"]);
    let patch = updated(r#"{"signature_style":"bare","burst":null}"#).expect("sound");
    assert_eq!(patch.burst, Change::Clear);
    let options = patch.options.expect("changed");
    assert_eq!(options.signature_style, SignatureStyle::Bare);
    assert!(options.include_secret, "what is not given stays");
    let patch = updated(r#"{"include_secret":null}"#).expect("sound");
    assert_eq!(patch.options, Some(FormatOptions::default()));
}

#[test]
fn pages() {
    let of = |query: &str| {
        page(&Fields::from_urlencoded(query.as_bytes()).expect("a query")).map_err(|error| error.0)
    };
    assert_eq!(of(""), Ok(Page { page: 1, items: PAGE_ITEMS }));
    assert_eq!(of("page=3&items=7&x=y"), Ok(Page { page: 3, items: 7 }));
    assert_eq!(of("page=&items=4000000000"), Ok(Page { page: 1, items: PAGE_ITEMS_MAX }));
    let want = vec!["Page is invalid".to_owned(), "Items is invalid".to_owned()];
    assert_eq!(of("page=0&items=-1"), Err(want));
}
