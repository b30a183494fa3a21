//! `GET /openapi.json`: the OpenAPI 3.1 document that describes every route and every payload.
//!
//! Owns the document: its frame, its families of paths, and how it is served. A route more is a
//! path in one family's file (`paths`) and a schema of what it answers (`schemas`, beside it). The
//! tests compare the paths with the table of routes, and `tests/run openapi` what they say with
//! what a running daemon answers. Must never type a word or a limit twice: those are the code's.

mod deliveries;
mod intake;
mod jobs;
mod jsonapi;
mod look;
mod manage;
mod operation;
mod operator;
mod ops;
mod schemas;
mod webhooks;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use self::manage::Part;
use self::operation::{FAMILIES, Path, REFUSALS};
use super::body::Body;
use super::respond;

/// What the document is.
const TYPE: &str = "application/vnd.oai.openapi+json";
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Bytes of the document's SHA-256 in its tag.
const ETAG_BYTES: usize = 8;

const ABOUT: &str = "Postrider takes events over HTTP and delivers them to webhooks.\n\nA final slash of a path is canonical and never demanded; JSON:API's paths may end in `.json`. `Accept: application/vnd.uploadcare-v0.5+json`, `-v0.6+json` or `-v0.7+json` asks for that version of Uploadcare's view, exactly `application/json` for our own view, which shows every format and more fields, and anything else for version 0.5 as plain JSON. Bodies may be JSON, urlencoded or multipart; a form sends an object as JSON text and a list as `name[]`. Any method that a path does not know is 405 with `Allow`, any other path 404; both say `{\"detail\": …}`. What is no HTTP/1 request at all is refused without a body.";

/// The document as it is sent.
struct Document {
    bytes: Bytes,
    etag: HeaderValue,
}

pub(super) fn show(parts: &Parts) -> Response<Body> {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    let document = DOCUMENT.get_or_init(written);
    let mut response = if is_known(parts, &document.etag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        respond::bytes(StatusCode::OK, TYPE, document.bytes.clone())
    };
    response.headers_mut().insert(header::ETAG, document.etag.clone());
    response
}

/// Whether a client has this document already.
fn is_known(parts: &Parts, etag: &HeaderValue) -> bool {
    let given = parts.headers.get_all(header::IF_NONE_MATCH).iter();
    let tags = given.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.map(plain).any(|tag| tag == "*" || etag.as_bytes() == tag.as_bytes())
}

fn written() -> Document {
    let bytes = document().to_string().into_bytes();
    let digest = Sha256::digest(&bytes);
    let hex: String = digest[..ETAG_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
    let etag = HeaderValue::from_str(&format!("\"{hex}\"")).expect("hexadecimal digits and quotes");
    Document { bytes: bytes.into(), etag }
}

/// The whole document.
fn document() -> Value {
    let paths: Map<String, Value> = paths().into_iter().map(Path::end).collect();
    let schemas = schemas(&paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Postrider",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "jsonSchemaDialect": DIALECT,
        "servers": [{"url": "/"}],
        "tags": tags(),
        "paths": paths,
        "webhooks": webhooks::section(),
        "components": {
            "schemas": schemas,
            "responses": responses(),
            "headers": headers(),
            "securitySchemes": security_schemes(),
        },
    })
}

/// The paths of all families.
fn paths() -> Vec<Path> {
    let mut paths = Vec::new();
    for part in [Part::OWN, Part::OPERATOR] {
        paths.extend(manage::paths(part));
        paths.extend(intake::paths(part));
        paths.extend(deliveries::paths(part));
        paths.extend(jobs::paths(part));
        paths.extend(look::paths(part));
    }
    paths.extend(jsonapi::paths());
    paths.extend(operator::paths());
    paths.extend(ops::paths());
    paths
}

/// The schemas of all families; of those that a path takes as a form, that too.
fn schemas(paths: &Map<String, Value>) -> BTreeMap<String, Value> {
    let families = [
        schemas::schemas(),
        look::schemas(),
        manage::schemas(),
        intake::schemas(),
        jobs::schemas(),
        jsonapi::schemas(),
        operator::schemas(),
        ops::schemas(),
        webhooks::schemas(),
    ];
    let mut all: BTreeMap<String, Value> =
        families.into_iter().flatten().map(|(name, schema)| (name.to_owned(), schema)).collect();
    let text = json!(paths).to_string();
    let names: Vec<String> = all.keys().cloned().collect();
    for name in names {
        let form = schemas::form_name(&name);
        if text.contains(&format!("schemas/{form}\"")) && !all.contains_key(&form) {
            let schema = schemas::form(&all[&name]);
            all.insert(form, schema);
        }
    }
    all
}

fn tags() -> Value {
    let tag = |name: &str, text: &str| json!({"name": name, "description": text});
    json!([
        tag("webhooks", "Subscriptions, in Uploadcare's dialect and our own view of the same."),
        tag("events", "Events in, and what can be done to them."),
        tag("sources", "Events of other systems."),
        tag("intake tokens", "What lets other systems in."),
        tag("project", "The project itself."),
        tag("targets", "What protects the receivers."),
        tag("JSON:API", "Webhooks as JSON:API projects manage them."),
        tag("operator", "Projects, keys and tokens."),
        tag("ops", "For supervisors and Prometheus."),
        tag("deliveries", "What is delivered, and what became of it."),
    ])
}

fn responses() -> Map<String, Value> {
    let each = FAMILIES.iter().flat_map(|family| REFUSALS.iter().map(|one| (*family, *one)));
    each.map(|(family, (status, text))| {
        (family.refusal(status), operation::refusal(family, status, text))
    })
    .collect()
}

fn headers() -> Value {
    let header = |text: &str, schema: Value| json!({"required": true, "description": text, "schema": schema});
    json!({
        "X-Request-Id": header("The request's own, if it is a sound one, or a random UUID.", schemas::text_of(1, 64)),
        "X-Content-Type-Options": header("The type is what it says.", json!({"const": "nosniff"})),
        "Allow": header("The methods that the path knows.", schemas::text()),
        "Retry-After": header("Seconds.", schemas::count()),
        "WWW-Authenticate": header("The schemes that are known.", schemas::text()),
    })
}

fn security_schemes() -> Value {
    let header = |text: &str| json!({"type": "apiKey", "in": "header", "name": "Authorization", "description": text});
    let bearer = |text: &str| json!({"type": "http", "scheme": "bearer", "description": text});
    json!({
        "simple": header("`Uploadcare.Simple <public key>:<secret key>`"),
        "signed": header("`Uploadcare <public key>:<signature>`, with `X-Uploadcare-Date` or `Date`: HMAC-SHA1, by the secret key, of the method, the MD5 of the body, the content type, the date and the path, on a line each."),
        "secretKey": bearer("A project's secret key."),
        "operatorToken": bearer("An operator token. The control socket needs none: its permissions are the proof."),
        "intakeToken": bearer("An intake token, which lets events in and nothing else."),
        "intakeTokenInQuery": {"type": "apiKey", "in": "query", "name": "token", "description": "The same, for systems that can set no header."},
    })
}

#[cfg(test)]
mod tests;
