//! Events in the shape of S3's: `POST /in/s3/`, from MinIO, RustFS, Ceph RGW, and AWS through SNS.
//!
//! Owns which of their names mean what, their keys' encoding, and the envelope of SNS. Must never
//! match a name by its beginning (`ObjectCreated:*` holds tagging and retention), never go by the
//! content type (SNS sends `text/plain`), and never read the top-level `Key`, which MinIO decodes
//! and AWS does not have. Must never fetch: a confirmation is handed back, and only for a real
//! host of SNS.
//!
//! The signature of an SNS message is not checked: it proves that SNS sent it, for whichever topic of
//! whoever's; the intake token, which is told to one topic alone, proves more.

use super::file::{self, File, Session};
use super::read::{self, last_segment, malformed, text, whole};
use super::{Context, Head, Intake, Key, Occurrence, Refusal, Reply, Said, plain_reply, uuid};
use crate::model::json::Json;
use crate::model::target::{Host, Origin, Scheme};
use crate::model::time::parse_rfc3339;

/// A topic of SNS asks for a confirmation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Which topic.
    pub topic: String,
    /// How to confirm; `None` if it should be at another host than SNS's own.
    pub call: Option<ConfirmCall>,
}

/// The request that confirms, as a form of SNS's API: `POST /`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmCall {
    /// A host of SNS.
    pub origin: Origin,
    /// The form, which holds the topic and its token.
    pub form: String,
}

/// Longest `SubscribeURL`, in bytes.
const SUBSCRIBE_URL_BYTES_MAX: usize = 4_096;

/// What a request means.
pub fn translate(_: &Head, body: &[u8], context: &Context<'_>) -> Result<Intake, Refusal> {
    let json = read::object(body)?;
    match text(&json, &["Type"]) {
        Some("Notification") => {
            let id = text(&json, &["MessageId"]);
            let message = text(&json, &["Message"]);
            let message = message.ok_or_else(|| malformed("Message: this field is required."))?;
            records(&read::object(message.as_bytes())?, id, context)
        }
        Some("SubscriptionConfirmation") => Ok(Intake::Confirm(confirmation(&json))),
        Some("UnsubscribeConfirmation") => Ok(Intake::Nothing("the topic was unsubscribed")),
        _ => records(&json, None, context),
    }
}

/// They look at the status alone.
#[must_use]
pub fn reply(said: &Said<'_>) -> Reply {
    plain_reply(said)
}

fn records(json: &Json, message: Option<&str>, context: &Context<'_>) -> Result<Intake, Refusal> {
    let records = match json.get("Records") {
        Some(Json::Array(records)) => records,
        _ if text(json, &["Event"]) == Some("s3:TestEvent") => {
            return Ok(Intake::Nothing("s3:TestEvent"));
        }
        _ => return Err(malformed("Records: a list is required.")),
    };
    let mut events = Vec::new();
    for (index, record) in records.iter().enumerate() {
        events.extend(translated(record, index, message, context)?);
    }
    if events.is_empty() {
        return Ok(Intake::Nothing("none of its records tells of a file that changed"));
    }
    Ok(Intake::Events(events))
}

/// What a record's name means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Uploaded,
    InfoUpdated,
    Deleted,
    Begun,
}

fn meaning(record: &Json) -> Option<Meaning> {
    let name = text(record, &["eventName"])?;
    match name.strip_prefix("s3:").unwrap_or(name) {
        // Ceph says this when a multipart upload begins, and nothing if it is given up.
        "ObjectCreated:Post"
            if text(record, &["eventSource"]) == Some("ceph:s3")
                && text(record, &["s3", "object", "eTag"]).is_none() =>
        {
            Some(Meaning::Begun)
        }
        "ObjectCreated:Put"
        | "ObjectCreated:Post"
        | "ObjectCreated:Copy"
        | "ObjectCreated:CompleteMultipartUpload" => Some(Meaning::Uploaded),
        "ObjectCreated:PutTagging"
        | "ObjectCreated:DeleteTagging"
        | "ObjectCreated:PutRetention"
        | "ObjectCreated:PutLegalHold"
        | "ObjectTagging:Put"
        | "ObjectTagging:Delete" => Some(Meaning::InfoUpdated),
        "ObjectRemoved:Delete"
        | "ObjectRemoved:DeleteMarkerCreated"
        | "ObjectRemoved:DeleteAllVersions" => Some(Meaning::Deleted),
        name if name.starts_with("LifecycleExpiration:")
            || name.starts_with("ObjectLifecycle:Expiration:") =>
        {
            Some(Meaning::Deleted)
        }
        _ => None,
    }
}

fn translated(
    record: &Json,
    index: usize,
    message: Option<&str>,
    context: &Context<'_>,
) -> Result<Vec<Occurrence>, Refusal> {
    let Some(meaning) = meaning(record) else { return Ok(Vec::new()) };
    let required = |path: &[&str]| {
        let place = || format!("Records[{index}].{}: this field is required.", path.join("."));
        text(record, path).ok_or_else(|| malformed(place()))
    };
    let bucket = required(&["s3", "bucket", "name"])?;
    let object_key = decoded(required(&["s3", "object", "key"])?);
    let version = text(record, &["s3", "object", "versionId"]).filter(|id| *id != "null");
    let sequencer = text(record, &["s3", "object", "sequencer"]);
    let event_name = text(record, &["eventName"]).unwrap_or_default();
    let key = |name: &str| match (sequencer, message) {
        // Without a sequencer two changes of one object look the same; SNS tells them apart.
        (None, Some(id)) => Key::of(&[id, &index.to_string(), name]),
        _ => Key::of(&[
            bucket,
            &object_key,
            version.unwrap_or_default(),
            sequencer.or(text(record, &["eventTime"])).unwrap_or_default(),
            event_name.strip_prefix("s3:").unwrap_or(event_name),
            name,
        ]),
    };
    let query = version.map_or_else(String::new, |version| format!("?{version}"));
    let url = format!("s3://{bucket}/{object_key}{query}");
    let occurred_at = text(record, &["eventTime"]).and_then(parse_rfc3339);
    let file = File {
        uuid: uuid::of_url(&url),
        name: Some(last_segment(&object_key).to_owned()).filter(|name| !name.is_empty()),
        mime: text(record, &["s3", "object", "contentType"]).map(str::to_owned),
        size: whole(record, &["s3", "object", "size"]),
        path: object_key.clone(),
        metadata: metadata(record, bucket, &object_key, version),
        occurred_at,
        previous_values: None,
    };
    let single = |name: &'static str| vec![file::event(name, &file, key(name), context)];
    Ok(match meaning {
        Meaning::Uploaded => file::uploaded(&file, key, context),
        Meaning::InfoUpdated => single("file.info_updated"),
        Meaning::Deleted => single("file.deleted"),
        Meaning::Begun => {
            let name = "SESSION_CREATED";
            let session = Session {
                id: &file.uuid,
                name: file.name.as_deref(),
                temp_path: Some(&url),
                provider: Some("s3"),
                occurred_at,
                ..Session::default()
            };
            vec![file::session(name, &session, key(name))]
        }
    })
}

fn metadata(
    record: &Json,
    bucket: &str,
    object_key: &str,
    version: Option<&str>,
) -> Vec<(String, String)> {
    let mut pairs = vec![
        ("provider".to_owned(), "s3".to_owned()),
        ("bucket".to_owned(), bucket.to_owned()),
        ("key".to_owned(), object_key.to_owned()),
    ];
    let object = read::at(record, &["s3", "object"]);
    let etag = object.and_then(|object| text(object, &["eTag"]));
    pairs.extend(version.map(|version| ("version_id".to_owned(), version.to_owned())));
    pairs.extend(etag.map(|etag| ("etag".to_owned(), etag.trim_matches('"').to_owned())));
    let mut add = |name: &str, value: Option<&str>| {
        let name = name.to_ascii_lowercase();
        if let (Some(name), Some(value)) = (name.strip_prefix("x-amz-meta-"), value) {
            pairs.push((name.to_owned(), value.to_owned()));
        }
    };
    if let Some(Json::Object(fields)) = object.and_then(|object| object.get("userMetadata")) {
        fields.iter().for_each(|(k, v)| add(k, v.as_str()));
    }
    // Ceph's own form.
    if let Some(Json::Array(items)) = object.and_then(|object| object.get("metadata")) {
        for item in items {
            add(text(item, &["key"]).unwrap_or_default(), text(item, &["val"]));
        }
    }
    pairs
}

/// A key as it stands in records: form-urlencoded, `+` a space. One that is not (an escape that
/// is none, or no UTF-8) is taken as it is: it names an object all the same.
fn decoded(key: &str) -> String {
    let mut out = Vec::with_capacity(key.len());
    let mut bytes = key.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut nibble = || bytes.next().and_then(|b| char::from(b).to_digit(16));
                let (Some(high), Some(low)) = (nibble(), nibble()) else { return key.to_owned() };
                out.push((high << 4 | low) as u8);
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}

fn confirmation(json: &Json) -> Confirmation {
    let topic = text(json, &["TopicArn"]).unwrap_or_default().to_owned();
    Confirmation { topic, call: text(json, &["SubscribeURL"]).and_then(confirm_call) }
}

/// `https://sns.<region>.amazonaws.com/?Action=ConfirmSubscription&…`, and nothing else.
fn confirm_call(text: &str) -> Option<ConfirmCall> {
    if text.len() > SUBSCRIBE_URL_BYTES_MAX {
        return None;
    }
    let url = url::Url::parse(text).ok()?;
    let host = url.host_str()?;
    let region = host.strip_prefix("sns.").and_then(|rest| {
        rest.strip_suffix(".amazonaws.com").or(rest.strip_suffix(".amazonaws.com.cn"))
    })?;
    let is_region =
        !region.is_empty() && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let form = url.query().filter(|query| query.starts_with("Action=ConfirmSubscription&"))?;
    let sound = url.scheme() == "https"
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/";
    (is_region && sound).then(|| ConfirmCall {
        origin: Origin { scheme: Scheme::Https, host: Host::Name(host.to_owned()), port: 443 },
        form: form.to_owned(),
    })
}
