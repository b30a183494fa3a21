//! Responses: the builders, and the headers that all of them have.
//!
//! Owns content types without parameters, the identity of a request, and the few headers with
//! rules of their own. Must never choose a status by itself.

use std::fmt;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::http::body::{Body, ReadError};
use crate::http::fresh;
use crate::http::limits::RetryAfterSeconds;
use crate::model::json::write_string;

/// JSON without parameters: real clients compare this string exactly.
pub const JSON: &str = "application/json";

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 64;

/// What a request is called in logs and in its answer: the client's own name for it, or a random
/// UUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The identity of a request with these headers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> RequestId {
        match headers.get(X_REQUEST_ID) {
            Some(given) if is_request_id(given.as_bytes()) => RequestId(given.clone()),
            _ => RequestId::random(),
        }
    }

    /// The identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("made of visible ASCII only")
    }

    fn random() -> RequestId {
        let uuid = fresh::uuid();
        RequestId(HeaderValue::from_str(&uuid).expect("hexadecimal digits and hyphens"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_request_id(text: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=REQUEST_ID_BYTES_MAX).contains(&text.len()) && text.iter().all(allowed)
}

/// `body`, of exactly this content type.
#[must_use]
pub fn bytes(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    with_type(status, content_type, Body::Full(body.into()))
}

/// A response that is still being made, of exactly this content type.
#[must_use]
pub fn stream(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    with_type(status, content_type, body)
}

/// `{"detail": text}`, as the Uploadcare dialect and our own API report errors.
#[must_use]
pub fn detail(status: StatusCode, content_type: &'static str, text: &str) -> Response<Body> {
    let mut json = Vec::with_capacity(text.len() + 16);
    json.extend_from_slice(b"{\"detail\":");
    write_string(text, &mut json);
    json.push(b'}');
    bytes(status, content_type, json)
}

/// 204. It has neither a type nor a length: RFC 9110 (8.6) forbids the latter, and hyper removes it.
#[must_use]
pub fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// 405 with the methods that there are.
#[must_use]
pub fn method_not_allowed(
    content_type: &'static str,
    method: &str,
    allow: &'static str,
) -> Response<Body> {
    let text = format!("Method \"{method}\" not allowed.");
    let mut response = detail(StatusCode::METHOD_NOT_ALLOWED, content_type, &text);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// 429 with the time to wait.
#[must_use]
pub fn too_many_requests(content_type: &'static str, wait: RetryAfterSeconds) -> Response<Body> {
    let RetryAfterSeconds(seconds) = wait;
    let unit = if seconds == 1 { "second" } else { "seconds" };
    let text = format!("Request was throttled. Expected available in {seconds} {unit}.");
    retry_after(detail(StatusCode::TOO_MANY_REQUESTS, content_type, &text), wait)
}

/// 503 with the time to wait.
#[must_use]
pub fn unavailable(
    content_type: &'static str,
    text: &str,
    wait: RetryAfterSeconds,
) -> Response<Body> {
    retry_after(detail(StatusCode::SERVICE_UNAVAILABLE, content_type, text), wait)
}

/// What to say of a body that could not be read; closes the connection, whose next bytes are not
/// the start of a request.
#[must_use]
pub fn unreadable(content_type: &'static str, error: ReadError) -> Response<Body> {
    closing(detail(error.status(), content_type, &error.to_string()))
}

/// Adds `Retry-After`, in seconds.
#[must_use]
pub fn retry_after(mut response: Response<Body>, wait: RetryAfterSeconds) -> Response<Body> {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.0));
    response
}

/// Adds `Vary: Accept`, for what depends on the dialect that was asked for.
#[must_use]
pub fn vary_accept(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    response
}

/// Closes the connection after this response.
#[must_use]
pub fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Adds what every response has; the server does this.
pub(super) fn finish<B>(response: &mut Response<B>, id: RequestId) {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(X_REQUEST_ID).or_insert(id.0);
}

fn with_type(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(given: &str) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_str(given).unwrap());
        RequestId::of(&headers)
    }

    fn text(response: &Response<Body>) -> String {
        match response.body() {
            Body::Full(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Body::Stream(_) => panic!("a stream"),
        }
    }

    #[test]
    fn a_request_keeps_a_harmless_name_and_gets_a_uuid_otherwise() {
        assert_eq!(id_for("job-7.retry_2").as_str(), "job-7.retry_2");
        assert_eq!(id_for(&"a".repeat(64)).as_str(), "a".repeat(64));
        for bad in ["", "a b", "a\"b", "a;b", "ä", &"a".repeat(65)] {
            let id = id_for(bad);
            assert_ne!(id.as_str(), bad);
            assert_eq!(id.as_str().len(), 36);
        }
        let id = RequestId::random();
        let groups: Vec<_> = id.as_str().split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(&id.as_str()[14..15], "4");
        assert!("89ab".contains(&id.as_str()[19..20]));
        assert_ne!(id, RequestId::random());
    }

    #[test]
    fn details_are_escaped_and_types_exact() {
        let response = detail(StatusCode::BAD_REQUEST, JSON, "a \"b\"\n");
        assert_eq!(text(&response), r#"{"detail":"a \"b\"\n"}"#);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    }

    #[test]
    fn no_content_has_no_type() {
        let response = no_content();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert!(!response.headers().contains_key(CONTENT_TYPE));
    }

    #[test]
    fn refusals_say_what_would_help() {
        let response = too_many_requests(JSON, RetryAfterSeconds(2));
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        let response = method_not_allowed(JSON, "TRACE", "GET, POST");
        assert_eq!(response.headers()[ALLOW], "GET, POST");
        let response = unreadable(JSON, ReadError::Timeout { timeout_ms: 5 });
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(response.headers()[CONNECTION], "close");
        let response = vary_accept(no_content());
        assert_eq!(response.headers()[VARY], "Accept");
    }
}
