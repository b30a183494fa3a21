//! The mapping: each row of each source's table.

use super::*;

#[test]
fn tusd() {
    let finished = events(Source::Tusd, TUSD);
    assert_eq!(names(&finished), ["SESSION_COMPLETED", "file.uploaded"]);
    let [session, file] = &finished[..] else { panic!("two events") };
    assert_eq!(
        (session.event.kind, session.event.dialect),
        (Kind::SessionCompleted, Dialect::Lancer)
    );
    let want = r#"{"id":"5d892c228ec8d0451dfec588697e8930","file_size":432724,"chunk_size":0,"max_chunk":0,"file_name":"Screenshot.png","temp_path":"/data/5d892c228ec8d0451dfec588697e8930","owner_id":"","current_chunk":0,"provider":"filestore"}"#;
    assert_eq!(String::from_utf8_lossy(&session.event.data), want);
    assert_eq!((file.event.kind, file.event.dialect), (Kind::FileUploaded, Dialect::Uploadcare));
    let want = r#"{"content_info":null,"uuid":"5d892c22-8ec8-d045-1dfe-c588697e8930","is_image":true,"is_ready":true,"metadata":{"provider":"filestore","path":"/data/5d892c228ec8d0451dfec588697e8930","upload_id":"5d892c228ec8d0451dfec588697e8930"},"appdata":null,"mime_type":"image/png","original_filename":"Screenshot.png","original_file_url":null,"datetime_removed":null,"size":432724,"datetime_stored":null,"url":null,"datetime_uploaded":"2027-01-15T08:00:00.000000Z","variations":null}"#;
    assert_eq!(String::from_utf8_lossy(&file.event.data), want);
    assert_eq!(file.key.text, "post-finish|5d892c228ec8d0451dfec588697e8930|432724|file.uploaded");

    let created = with(TUSD, "post-finish", "post-create");
    assert_eq!(names(&events(Source::Tusd, &created)), ["SESSION_CREATED"]);
    let ended = with(TUSD, "post-finish", "post-terminate");
    assert_eq!(names(&events(Source::Tusd, &ended)), ["file.deleted"]);
    let early = with(&ended, "\"Offset\":432724", "\"Offset\":5");
    assert_eq!(names(&events(Source::Tusd, &early)), ["SESSION_CANCELLED"]);
    let deferred = with(&ended, "\"SizeIsDeferred\":false", "\"SizeIsDeferred\":true");
    assert_eq!(names(&events(Source::Tusd, &deferred)), ["SESSION_CANCELLED"]);
    // A server that gives but the id.
    let bare = r#"{"Type":"post-terminate","Event":{"Upload":{"ID":"abc"}}}"#;
    assert_eq!(names(&events(Source::Tusd, bare)), ["file.deleted"]);
    for hook in ["pre-create", "pre-finish", "pre-terminate", "post-receive", "post-anything"] {
        assert!(ignored(Source::Tusd, &with(TUSD, "post-finish", hook)), "{hook}");
    }
    let other = with(TUSD, "\"ID\":\"5d892c228ec8d0451dfec588697e8930\"", "\"ID\":\"weird id\"");
    assert_eq!(
        text(&events(Source::Tusd, &other)[1], &["uuid"]),
        "70d5a80d-9290-5c6a-b796-da7d49a830be"
    );
    let on_s3 = with(
        TUSD,
        "\"ID\":\"5d892c228ec8d0451dfec588697e8930\"",
        "\"ID\":\"5d892c228ec8d0451dfec588697e8930+2~multi/part\"",
    );
    let uuid = text(&events(Source::Tusd, &on_s3)[1], &["uuid"]);
    assert_eq!(uuid, "5d892c22-8ec8-d045-1dfe-c588697e8930");
    assert_eq!(
        refused(Source::Tusd, r#"{"Type":"post-finish","Event":{"Upload":{}}}"#),
        "Event.Upload.ID: this field is required."
    );
}

#[test]
fn stored_and_urls_are_the_project_s_choice() {
    let settings = ProjectSettings {
        auto_store: true,
        cdn_base: Some("https://cdn.example.com/a".to_owned()),
        ..ProjectSettings::default()
    };
    let setup = Setup { settings, ..Setup::default() };
    let found = setup.events(Source::Tusd, TUSD);
    assert_eq!(names(&found), ["SESSION_COMPLETED", "file.uploaded", "file.stored"]);
    for file in &found[1..] {
        assert_eq!(text(file, &["datetime_stored"]), "2027-01-15T08:00:00.000000Z");
        let url = "https://cdn.example.com/a/5d892c228ec8d0451dfec588697e8930";
        assert_eq!(file.event.file.as_deref(), Some(url));
        assert_eq!(text(file, &["original_file_url"]), url);
    }
    let found = setup.events(Source::S3, MINIO);
    assert_eq!(names(&found), ["file.uploaded", "file.stored"]);
    let url = "https://cdn.example.com/a/dir/my%20photo.png";
    assert_eq!(found[0].event.file.as_deref(), Some(url));
    let settings = ProjectSettings {
        cdn_base: Some("https://cdn.example.com/{uuid}/{name}?p={path}".to_owned()),
        ..ProjectSettings::default()
    };
    let found = Setup { settings, ..Setup::default() }.events(Source::S3, MINIO);
    let url = "https://cdn.example.com/edc7881f-e267-53c3-87a4-cb60dd05f144/my%20photo.png?p=dir/my%20photo.png";
    assert_eq!(found[0].event.file.as_deref(), Some(url));
}

#[test]
fn s3() {
    let [one] = &events(Source::S3, MINIO)[..] else { panic!("one event") };
    let want = r#"{"content_info":null,"uuid":"edc7881f-e267-53c3-87a4-cb60dd05f144","is_image":true,"is_ready":true,"metadata":{"provider":"s3","bucket":"bucket","key":"dir/my photo.png","etag":"25d5","pet":"cat"},"appdata":null,"mime_type":"image/png","original_filename":"my photo.png","original_file_url":null,"datetime_removed":null,"size":8,"datetime_stored":null,"url":null,"datetime_uploaded":"2026-11-21T16:56:15.956000Z","variations":null}"#;
    assert_eq!(String::from_utf8_lossy(&one.event.data), want);
    assert_eq!(one.event.occurred_at, parse_rfc3339("2026-11-21T16:56:15.956Z"));
    assert_eq!(one.key.text, "bucket|dir/my photo.png||17A1|ObjectCreated:Put|file.uploaded");
    let named = |event: &str| {
        let body = with(
            MINIO,
            "\"eventName\":\"s3:ObjectCreated:Put\"",
            &format!("\"eventName\":\"{event}\""),
        );
        match Setup::default().translate(Source::S3, &body) {
            Ok(Intake::Events(events)) => names(&events).join(","),
            Ok(Intake::Nothing(_)) => String::new(),
            other => panic!("{event}: {other:?}"),
        }
    };
    for (event, want) in [
        ("s3:ObjectCreated:Put", "file.uploaded"),
        ("ObjectCreated:Put", "file.uploaded"),
        ("s3:ObjectCreated:Post", "file.uploaded"),
        ("s3:ObjectCreated:Copy", "file.uploaded"),
        ("s3:ObjectCreated:CompleteMultipartUpload", "file.uploaded"),
        ("s3:ObjectCreated:PutTagging", "file.info_updated"),
        ("s3:ObjectCreated:DeleteTagging", "file.info_updated"),
        ("s3:ObjectCreated:PutRetention", "file.info_updated"),
        ("s3:ObjectCreated:PutLegalHold", "file.info_updated"),
        ("ObjectTagging:Put", "file.info_updated"),
        ("s3:ObjectRemoved:Delete", "file.deleted"),
        ("s3:ObjectRemoved:DeleteMarkerCreated", "file.deleted"),
        ("s3:ObjectRemoved:DeleteAllVersions", "file.deleted"),
        ("s3:LifecycleExpiration:Delete", "file.deleted"),
        ("s3:LifecycleExpiration:DeleteMarkerCreated", "file.deleted"),
        ("ObjectLifecycle:Expiration:Current", "file.deleted"),
        ("s3:ObjectLifecycle:Expiration:NonCurrent", "file.deleted"),
        ("s3:ObjectRemoved:NoOP", ""),
        ("s3:ObjectAccessed:Get", ""),
        ("s3:ObjectAccessed:Head", ""),
        ("s3:ObjectCreated:Something", ""),
        ("s3:ObjectRestore:Completed", ""),
        ("s3:Replication:OperationFailedReplication", ""),
        ("s3:TestEvent", ""),
        ("", ""),
    ] {
        assert_eq!(named(event), want, "{event}");
    }
    let removed = with(MINIO, "s3:ObjectCreated:Put", "s3:ObjectRemoved:Delete");
    let removed = with(&removed, "\"size\":8,\"eTag\":\"25d5\",\"contentType\":\"image/png\",", "");
    let [one] = &events(Source::S3, &removed)[..] else { panic!("one event") };
    assert_eq!(text(one, &["datetime_removed"]), "2026-11-21T16:56:15.956000Z");
    assert_eq!(text(one, &["datetime_uploaded"]), "null");
    assert_eq!(
        (text(one, &["size"]), text(one, &["mime_type"])),
        ("null".to_owned(), "image/png".to_owned())
    );
    let versioned =
        with(MINIO, "\"key\":\"dir%2Fmy+photo.png\"", "\"key\":\"a.bin\",\"versionId\":\"v1\"");
    let [one] = &events(Source::S3, &versioned)[..] else { panic!("one event") };
    assert_eq!(text(one, &["uuid"]), "4c4ca2ba-c60a-5316-a5c7-2f5148da3223");
    assert_eq!(text(one, &["metadata", "version_id"]), "v1");
    assert_eq!(text(one, &["mime_type"]), "image/png");
}

#[test]
fn seaweedfs() {
    let [one] = &events(Source::SeaweedFs, SEAWEEDFS)[..] else { panic!("one event") };
    assert_eq!(one.event.name.as_str(), "file.uploaded");
    assert_eq!(text(one, &["uuid"]), "edb1168a-3f86-5a08-b9b9-900b56e3c5ae");
    assert_eq!(
        text(one, &["metadata"]),
        r#"{"provider":"seaweedfs","path":"/buckets/b/dir/x.png","bucket":"b","key":"dir/x.png"}"#
    );
    assert_eq!(text(one, &["size"]), "8");
    assert_eq!(one.event.occurred_at, Some(Wall(1_795_280_175_000)));
    assert_eq!(one.key.window_ms, REPEAT_WINDOW_MS);
    let update = with(SEAWEEDFS, "\"create\"", "\"update\"");
    assert_eq!(names(&events(Source::SeaweedFs, &update)), ["file.info_updated"]);
    let delete = with(&with(SEAWEEDFS, "\"create\"", "\"delete\""), "new_entry", "old_entry");
    let [one] = &events(Source::SeaweedFs, &delete)[..] else { panic!("one event") };
    assert_eq!(one.event.name.as_str(), "file.deleted");
    assert_eq!(text(one, &["uuid"]), "edb1168a-3f86-5a08-b9b9-900b56e3c5ae");
    let rename = with(
        &with(SEAWEEDFS, "\"create\"", "\"rename\""),
        "\"name\":\"x.png\"",
        "\"name\":\"y.png\"",
    );
    let [one] = &events(Source::SeaweedFs, &rename)[..] else { panic!("one event") };
    assert_eq!(one.event.name.as_str(), "file.info_updated");
    assert_eq!(text(one, &["uuid"]), "bf854ce9-a455-5bf4-974b-56bd2ce874c5");
    assert_eq!(
        one.event.previous_values.as_deref(),
        Some(
            &br#"{"uuid":"edb1168a-3f86-5a08-b9b9-900b56e3c5ae","original_filename":"x.png"}"#[..]
        )
    );
    let directory =
        with(SEAWEEDFS, "\"name\":\"x.png\",", "\"name\":\"x.png\",\"is_directory\":true,");
    assert!(ignored(Source::SeaweedFs, &directory));
    assert!(ignored(
        Source::SeaweedFs,
        &with(SEAWEEDFS, "/buckets/b/dir/x.png", "/buckets/b/.uploads/1/0001.part")
    ));
    assert!(ignored(Source::SeaweedFs, &with(SEAWEEDFS, "\"create\"", "\"other\"")));
}

#[test]
fn nextcloud() {
    let [one] = &events(Source::Nextcloud, NEXTCLOUD)[..] else { panic!("one event") };
    assert_eq!(one.event.name.as_str(), "file.uploaded");
    assert_eq!(text(one, &["uuid"]), "65b78359-64f0-57ce-a051-793990fa3e3c");
    assert_eq!(
        text(one, &["metadata"]),
        r#"{"provider":"nextcloud","path":"/admin/files/t.txt","uploaded_by":"admin"}"#
    );
    assert_eq!(
        (text(one, &["mime_type"]), text(one, &["size"])),
        ("text/plain".to_owned(), "null".to_owned())
    );
    assert_eq!(one.event.occurred_at, Some(Wall(1_700_100_000_000)));
    let elsewhere = Setup { instance: Some("cloud.example.com"), ..Setup::default() };
    assert_eq!(
        text(&elsewhere.events(Source::Nextcloud, NEXTCLOUD)[0], &["uuid"]),
        "bede89e9-f1bb-58f5-91ca-9f7ba25c62d6"
    );
    for (class, want) in [("NodeWritten", "file.info_updated"), ("NodeDeleted", "file.deleted")] {
        assert_eq!(
            names(&events(Source::Nextcloud, &with(NEXTCLOUD, "NodeCreated", class))),
            [want]
        );
    }
    let renamed = with(NEXTCLOUD, "NodeCreated", "NodeRenamed");
    let renamed = with(
        &renamed,
        "\"node\":{\"id\":437,\"path\":\"/admin/files/t.txt\"}",
        "\"source\":{\"path\":\"/admin/files/s.txt\"},\"target\":{\"id\":437,\"path\":\"/admin/files/t.txt\"}",
    );
    let [one] = &events(Source::Nextcloud, &renamed)[..] else { panic!("one event") };
    assert_eq!(
        (one.event.name.as_str(), text(one, &["uuid"]).as_str()),
        ("file.info_updated", "65b78359-64f0-57ce-a051-793990fa3e3c")
    );
    assert_eq!(
        one.event.previous_values.as_deref(),
        Some(&br#"{"original_filename":"s.txt"}"#[..])
    );
    for class in ["BeforeNodeCreated", "NodeCopied", "NodeTouched", "NodeDownloaded"] {
        assert!(ignored(Source::Nextcloud, &with(NEXTCLOUD, "NodeCreated", class)), "{class}");
    }
    let no_id = with(&with(NEXTCLOUD, "NodeCreated", "NodeDeleted"), "\"id\":437,", "");
    assert_eq!(
        text(&events(Source::Nextcloud, &no_id)[0], &["uuid"]),
        "93bfbe50-8395-53a7-ba44-9d3932f6ed6a"
    );
}

#[test]
fn uploadcare_relays() {
    let [one] = &events(Source::Uploadcare, UPLOADCARE)[..] else { panic!("one event") };
    assert_eq!((one.event.kind, one.event.dialect), (Kind::FileStored, Dialect::Uploadcare));
    assert_eq!(
        one.event.data,
        br#"{"uuid":"03ccf9ab-f266-43fb-973d-a6529c55c2ae","size":4726,"mime_type":"image/png"}"#
    );
    assert!(one.event.file.as_deref().is_some_and(|file| file.ends_with("/image.png")));
    assert_eq!(
        one.event.initiator.as_deref(),
        Some(&br#"{"type":"api","detail":{"request_id":"x","addon_name":null}}"#[..])
    );
    assert_eq!(one.key.window_ms, REPEAT_WINDOW_MS);
    let setup = Setup { headers: vec![("Webhook-Id", "dlv_1".to_owned())], ..Setup::default() };
    let [one] = &setup.events(Source::Uploadcare, UPLOADCARE)[..] else { panic!("one event") };
    assert_eq!((one.key.text.as_str(), one.key.window_ms), ("dlv_1", KEY_WINDOW_MS));
    let setup = Setup { headers: vec![("Webhook-Id", " ".to_owned())], ..Setup::default() };
    let [unnamed] = &setup.events(Source::Uploadcare, UPLOADCARE)[..] else { panic!("one event") };
    assert_eq!(unnamed.key, events(Source::Uploadcare, UPLOADCARE)[0].key, "an empty id is none");
    // Data that is passed on has to survive JavaScript.
    assert!(
        refused(Source::Uploadcare, &with(UPLOADCARE, "4726", "9007199254740993"))
            .contains("beyond")
    );
    assert!(
        refused(Source::Uploadcare, &with(UPLOADCARE, "file.stored", "a b")).contains("hook.event")
    );
}

#[test]
fn uploadcare_signatures() {
    // hmac.new(b"s3cret", body, "sha256").hexdigest() of Python, over the fixture.
    let right = "1bc7e85c0676aa9235d12f7fd3acda56cf4b34c0a303ef5473d36d06db1dc075";
    let secret = || Some(Secret::new("s3cret".to_owned()));
    let signed = |value: String| {
        let headers = vec![("X-Uc-Signature", value)];
        Setup { secret: secret(), headers, ..Setup::default() }
            .translate(Source::Uploadcare, UPLOADCARE)
    };
    assert!(matches!(signed(format!("v1={right}")), Ok(Intake::Events(_))));
    // JSON:API projects send the digits alone.
    assert!(matches!(signed(right.to_owned()), Ok(Intake::Events(_))));
    for bad in [format!("v1={}", "0".repeat(64)), String::new(), format!("v2={right}")] {
        assert_eq!(signed(bad).expect_err("wrong").status(), 401);
    }
    let unsigned = Setup { secret: secret(), ..Setup::default() };
    assert_eq!(
        unsigned.translate(Source::Uploadcare, UPLOADCARE).expect_err("unsigned").status(),
        401
    );
    // It is judged before the body is understood.
    assert_eq!(unsigned.translate(Source::Uploadcare, "{").expect_err("unsigned").status(), 401);
}
