//! The traps of each system, and CloudEvents' modes.

use super::*;

/// MinIO and RustFS expand `ObjectCreated:*` to tagging, retention and legal hold.
#[test]
fn a_prefix_is_no_upload() {
    for event in ["PutTagging", "DeleteTagging", "PutRetention", "PutLegalHold"] {
        let body = with(MINIO, "s3:ObjectCreated:Put", &format!("s3:ObjectCreated:{event}"));
        assert_eq!(names(&events(Source::S3, &body)), ["file.info_updated"], "{event}");
    }
}

/// Ceph says `ObjectCreated:Post` when a multipart upload begins, and nothing if it is given up.
#[test]
fn a_multipart_upload_that_begins_is_no_file() {
    let begun = with(CEPH, "ObjectCreated:Put", "ObjectCreated:Post");
    let begun = with(&begun, "37b51d194a7513e45b56f6524f2d51f2", "");
    let begun = with(&begun, "\"size\":\"1024\"", "\"size\":\"0\"");
    let [one] = &events(Source::S3, &begun)[..] else { panic!("one event") };
    assert_eq!((one.event.kind, one.event.dialect), (Kind::SessionCreated, Dialect::Lancer));
    assert_eq!(text(one, &["file_name"]), "myimage1.jpg");
    // A form's upload has an ETag, and is a file.
    let posted = with(CEPH, "ObjectCreated:Put", "ObjectCreated:Post");
    assert_eq!(names(&events(Source::S3, &posted)), ["file.uploaded"]);
}

/// Ceph: no `s3:` before the name, the size as a text, metadata as a list.
#[test]
fn ceph_s_own_forms() {
    let [one] = &events(Source::S3, CEPH)[..] else { panic!("one event") };
    assert_eq!(text(one, &["size"]), "1024");
    assert_eq!(text(one, &["uuid"]), "0068567f-5266-5948-a5ad-f080ba477094");
    assert_eq!(text(one, &["metadata", "pet"]), "cat");
    assert_eq!(data(one).get("metadata").and_then(|m| m.get("version_id")), None);
}

/// tusd fails the user's upload where an answer is no JSON.
#[test]
fn tusd_gets_an_object_whatever_it_asks() {
    for hook in [
        "pre-create",
        "post-create",
        "post-receive",
        "pre-finish",
        "post-finish",
        "pre-terminate",
        "post-terminate",
    ] {
        let body = with(TUSD, "post-finish", hook);
        assert!(Setup::default().translate(Source::Tusd, &body).is_ok(), "{hook}");
    }
    let ids = ["evt_1".to_owned()];
    for said in [Said::Accepted { ids: &ids, duplicates: 1 }, Said::Ignored("x")] {
        let reply = reply(Source::Tusd, &said);
        assert_eq!((reply.status, reply.body.as_slice()), (200, &b"{}"[..]));
    }
}

/// `+` is a space in records; MinIO's top-level `Key` is decoded already, so it is not looked at.
#[test]
fn keys_are_form_urlencoded() {
    let key = |raw: &str| {
        let body = with(MINIO, "dir%2Fmy+photo.png", raw);
        text(&events(Source::S3, &body)[0], &["metadata", "key"])
    };
    for (raw, want) in [
        ("dir%2Fmy+photo.png", "dir/my photo.png"),
        ("a%2Bb.png", "a+b.png"),
        ("%C3%A9.png", "é.png"),
        ("%c3%a9", "é"),
        // No escapes: an object of that very name.
        ("100%", "100%"),
        ("100%zz", "100%zz"),
        ("%ff", "%ff"),
        ("%+1", "%+1"),
    ] {
        assert_eq!(key(raw), want, "{raw}");
    }
    let misled = with(MINIO, "\"Key\":\"bucket/dir/my photo.png\"", "\"Key\":\"other/thing\"");
    assert_eq!(events(Source::S3, &misled), events(Source::S3, MINIO));
}

/// SNS posts `text/plain`: the path says what it is.
#[test]
fn sns_is_read_whatever_its_content_type() {
    for content_type in ["text/plain; charset=UTF-8", "application/json", "image/png"] {
        let headers = vec![("Content-Type", content_type.to_owned())];
        let found = Setup { headers, ..Setup::default() }.events(Source::S3, SNS);
        assert_eq!(names(&found), ["file.uploaded"]);
        assert_eq!(text(&found[0], &["original_filename"]), "my photo+é.png");
        assert_eq!(text(&found[0], &["uuid"]), "43de37ac-c2e8-5c06-834a-5300757c251b");
    }
    // Without a sequencer the message's id tells changes apart.
    let unnumbered = with(SNS, ",\\\"sequencer\\\":\\\"0055AED6DCD90281E5\\\"", "");
    let key = &events(Source::S3, &unnumbered)[0].key.text;
    assert_eq!(key, "b7c8e6b1-6ff3-4b9c-8f3b-6e6e0c1c7d10|0|file.uploaded");
    assert!(ignored(Source::S3, S3_TEST));
    let wrapped = Json::String(S3_TEST.to_owned()).to_bytes();
    let wrapped =
        format!("{{\"Type\":\"Notification\",\"Message\":{}}}", String::from_utf8_lossy(&wrapped));
    assert!(ignored(Source::S3, &wrapped));
}

/// A confirmation is fetched from SNS alone.
#[test]
fn only_sns_is_ever_called() {
    let call = |url: &str| {
        let real = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-east-1:123456789012:uploads&Token=2336412f37";
        match Setup::default().translate(Source::S3, &with(SNS_CONFIRMATION, real, url)) {
            Ok(Intake::Confirm(confirmation)) => confirmation.call,
            other => panic!("{url}: {other:?}"),
        }
    };
    let query = "?Action=ConfirmSubscription&TopicArn=a&Token=b";
    for host in ["sns.us-east-1.amazonaws.com", "sns.cn-north-1.amazonaws.com.cn"] {
        let call = call(&format!("https://{host}/{query}")).expect("SNS");
        assert_eq!(call.origin.authority(), host);
        assert_eq!(call.form, query[1..]);
    }
    for url in [
        format!("http://sns.us-east-1.amazonaws.com/{query}"),
        format!("https://sns.us-east-1.amazonaws.com:8443/{query}"),
        format!("https://sns.us-east-1.amazonaws.com.evil.example/{query}"),
        format!("https://evil.example/sns.us-east-1.amazonaws.com/{query}"),
        format!("https://evil.example#sns.us-east-1.amazonaws.com/{query}"),
        format!("https://sns.us-east-1.amazonaws.com@evil.example/{query}"),
        format!("https://user:pw@sns.us-east-1.amazonaws.com/{query}"),
        format!("https://sns.a.b.amazonaws.com/{query}"),
        format!("https://sns..amazonaws.com/{query}"),
        format!("https://sns.amazonaws.com/{query}"),
        format!("https://evilsns.us-east-1.amazonaws.com/{query}"),
        format!("https://s3.us-east-1.amazonaws.com/{query}"),
        format!("https://127.0.0.1/{query}"),
        format!("https://[::1]/{query}"),
        format!("https://169.254.169.254/{query}"),
        format!("file:///sns.us-east-1.amazonaws.com/{query}"),
        format!("https://sns.us-east-1.amazonaws.com/path{query}"),
        "https://sns.us-east-1.amazonaws.com/?Action=Publish&Message=x".to_owned(),
        "https://sns.us-east-1.amazonaws.com/".to_owned(),
        "not a URL".to_owned(),
        String::new(),
    ] {
        assert_eq!(call(&url), None, "{url}");
    }
}

/// Many records in one request: all of them, or a refusal that names the one that is wrong.
#[test]
fn records_are_all_or_nothing() {
    let record = MINIO.split_once("\"Records\":[").expect("records").1.trim_end();
    let record = record.strip_suffix("]}").expect("the end");
    let second = record.replace("my+photo", "other").replace("17A1", "17A2");
    let both = format!("{{\"Records\":[{record},{second}]}}");
    let found = events(Source::S3, &both);
    assert_eq!(names(&found), ["file.uploaded", "file.uploaded"]);
    assert_ne!(found[0].key, found[1].key);
    let broken = second.replace("\"name\":\"bucket\",", "");
    let error = refused(Source::S3, &format!("{{\"Records\":[{record},{broken}]}}"));
    assert_eq!(error, "Records[1].s3.bucket.name: this field is required.");
    assert!(ignored(Source::S3, r#"{"Records":[]}"#));
}

/// A piece of a concatenation is no file of anybody's.
#[test]
fn partial_uploads_of_tus_are_ignored() {
    for hook in ["post-create", "post-finish", "post-terminate"] {
        let partial = with(TUSD, "\"IsPartial\":false", "\"IsPartial\":true");
        assert!(ignored(Source::Tusd, &with(&partial, "post-finish", hook)), "{hook}");
    }
    let whole = with(TUSD, "\"IsFinal\":false", "\"IsFinal\":true");
    assert_eq!(events(Source::Tusd, &whole).len(), 2);
}

/// SeaweedFS writes nanoseconds, which no double holds; nothing of them is passed on.
#[test]
fn integers_that_are_not_used_may_be_large() {
    assert!(SEAWEEDFS.contains("1795280175123456789"));
    assert_eq!(events(Source::SeaweedFs, SEAWEEDFS).len(), 1);
}

fn ce(headers: &[(&'static str, &str)], body: &str) -> Result<Intake, Refusal> {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Setup { headers, ..Setup::default() }.translate(Source::CloudEvents, body)
}

fn ce_events(headers: &[(&'static str, &str)], body: &str) -> Vec<Occurrence> {
    match ce(headers, body) {
        Ok(Intake::Events(events)) => events,
        other => panic!("{headers:?} {body}: {other:?}"),
    }
}

const BINARY: [(&str, &str); 5] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "A234-1234-1234"),
    ("ce-source", "/mycontext"),
    ("ce-type", "com.example.someevent"),
    ("Content-Type", "application/json; charset=utf-8"),
];

#[test]
fn cloudevents_in_three_modes() {
    let structured = [("Content-Type", "application/cloudevents+json; charset=UTF-8")];
    let [one] = &ce_events(&structured, CLOUDEVENTS)[..] else { panic!("one event") };
    assert_eq!(one.event.name.as_str(), "com.example.someevent");
    assert_eq!((one.event.kind, one.event.dialect), (Kind::Custom, Dialect::Custom));
    assert_eq!(one.event.data, br#"{"b":1,"a":"x"}"#);
    assert_eq!(one.event.occurred_at, parse_rfc3339("2026-04-05T17:31:00Z"));
    assert_eq!(one.key.text, "/mycontext|A234-1234-1234");
    let initiator = br#"{"type":"cloudevents","detail":{"id":"A234-1234-1234","source":"/mycontext","subject":"cat.jpg"}}"#;
    assert_eq!(one.event.initiator.as_deref(), Some(&initiator[..]));

    let mut headers = BINARY.to_vec();
    headers.extend([("CE-Subject", "cat%20%C3%A9.jpg"), ("ce-time", "2026-04-05T17:31:00Z")]);
    let [binary] = &ce_events(&headers, r#"{"b":1.0,"a":"x"}"#)[..] else { panic!("one event") };
    assert_eq!((&binary.key, &binary.event.data), (&one.key, &one.event.data));
    assert_eq!(binary.event.occurred_at, one.event.occurred_at);
    let initiator = String::from_utf8_lossy(binary.event.initiator.as_deref().unwrap_or_default());
    assert!(initiator.contains("\"subject\":\"cat é.jpg\""), "{initiator}");

    let batch = [("Content-Type", "application/cloudevents-batch+json")];
    let second = with(CLOUDEVENTS, "A234", "B234");
    let found = ce_events(&batch, &format!("[{CLOUDEVENTS},{second}]"));
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], *one);
    assert_ne!(found[0].key, found[1].key);
    assert!(matches!(ce(&batch, "[]"), Ok(Intake::Nothing(_))));
    let broken = format!("[{CLOUDEVENTS},{}]", with(&second, "\"source\":\"/mycontext\",", ""));
    let error = ce(&batch, &broken).expect_err("the second has no source");
    assert_eq!(error.to_string(), "[1].source: this attribute is required.");
}

#[test]
fn cloudevents_data_of_any_kind() {
    let with_type = |content_type: &'static str| {
        let mut headers = BINARY.to_vec();
        headers[4].1 = content_type;
        headers
    };
    let seen = |headers: &[(&'static str, &str)], body: &str| {
        String::from_utf8(ce_events(headers, body)[0].event.data.clone()).expect("UTF-8")
    };
    assert_eq!(seen(&BINARY, ""), "{}");
    assert_eq!(seen(&BINARY, "[1, 2]"), r#"{"data":[1,2]}"#);
    assert_eq!(seen(&with_type("text/plain"), "hé"), r#"{"data":"hé"}"#);
    assert_eq!(seen(&with_type("image/png"), "abc"), r#"{"data_base64":"YWJj"}"#);
    let structured = [("Content-Type", STRUCTURED)];
    let base64 = with(CLOUDEVENTS, r#""data":{"b":1.0,"a":"x"}"#, r#""data_base64":"YWJj""#);
    assert_eq!(seen(&structured, &base64), r#"{"data_base64":"YWJj"}"#);
    assert!(ce(&BINARY, "{").is_err());
    assert!(ce(&BINARY, "{\"n\":9007199254740993}").is_err());
}

#[test]
fn cloudevents_types() {
    let structured = [("Content-Type", STRUCTURED)];
    // Data has to have the types of its dialect, as on publish.
    let row = with(CLOUDEVENTS, "\"data\":{", "\"data\":{\"id\":\"x\",");
    let untyped = with(CLOUDEVENTS, "com.example.someevent", "dev.lancer.FILE_UPLOAD");
    let error = ce(&structured, &untyped).expect_err("no id").to_string();
    assert!(error.starts_with("data.id: "), "{error}");
    let named = |r#type: &str| {
        let one = ce_events(&structured, &with(&row, "com.example.someevent", r#type)).remove(0);
        (one.event.name.as_str().to_owned(), one.event.kind, one.event.dialect)
    };
    for (r#type, name, kind, dialect) in [
        ("com.uploadcare.file.uploaded", "file.uploaded", Kind::FileUploaded, Dialect::Uploadcare),
        ("com.uploadcare.group.created", "group.created", Kind::GroupCreated, Dialect::JsonApi),
        ("dev.lancer.FILE_UPLOAD", "FILE_UPLOAD", Kind::FileUploaded, Dialect::Lancer),
        ("com.uploadcare.other", "com.uploadcare.other", Kind::Custom, Dialect::Custom),
        ("dev.lancer.file.uploaded", "dev.lancer.file.uploaded", Kind::Custom, Dialect::Custom),
        // As on publish: who uses a dialect's name means its event.
        ("file.uploaded", "file.uploaded", Kind::FileUploaded, Dialect::Uploadcare),
        (
            "com.amazonaws.s3:ObjectCreated/é",
            "com.amazonaws.s3_ObjectCreated__",
            Kind::Custom,
            Dialect::Custom,
        ),
    ] {
        assert_eq!(named(r#type), (name.to_owned(), kind, dialect), "{type}");
    }
    for (old, new) in [
        ("\"specversion\":\"1.0\"", "\"specversion\":\"0.3\""),
        ("\"specversion\":\"1.0\",", ""),
        ("\"id\":\"A234-1234-1234\"", "\"id\":\"\""),
        ("2026-04-05T17:31:00Z", "yesterday"),
        ("com.example.someevent", &"x".repeat(129)),
    ] {
        let body = with(CLOUDEVENTS, old, new);
        assert_eq!(ce(&structured, &body).expect_err(new).status(), 400, "{new}");
    }
    assert!(ce(&BINARY[1..], "{}").expect_err("no version").to_string().contains("ce-specversion"));
}
