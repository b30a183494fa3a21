//! One attempt: a kept connection or a new one, one request, one answer.
//!
//! Owns the order of things within an attempt, and the form of a request on the wire. Must never
//! send a request twice unless the first connection was dead before it answered anything.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use http_body_util::Full;

use crate::clock;
use crate::logic::address::{self, AllowList, Refused};
use crate::model::attempt::{Failure, Outcome};
use crate::model::target::{Origin, Scheme};

use super::connect::{Route, Trace, Unreached};
use super::deadline::{Deadline, elapsed_ms};
use super::exchange::{self, Answer, NoAnswer};
use super::pool::{Connection, Key};
use super::{CHECK_TARGET_MS_MAX, Net, Proxy, Request, Response, Wire, proxy};

/// Headers that belong to the connection or to the framing: a stored request has none of them.
const RESERVED: [HeaderName; 10] = [
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    UPGRADE,
    TE,
    TRAILER,
    EXPECT,
    ACCEPT_ENCODING,
    PROXY_AUTHORIZATION,
];

pub(super) async fn attempt(net: &Net, request: Request) -> Response {
    let start = clock::mono();
    let deadline = Deadline::after(net.config.attempt_timeout_ms);
    let mut trace = Trace::default();
    let answered = run(net, &request, deadline, &mut trace).await;
    trace.phases.total_ms = elapsed_ms(start);
    respond(answered, trace)
}

pub(super) async fn check_target(
    net: &Net,
    origin: &Origin,
    allow: &AllowList,
) -> Result<(), Refused> {
    let nothing = AllowList::default();
    let lists = [&net.config.allow, allow, &nothing];
    if net.config.proxy.is_some() {
        return address::check_host(&origin.host, &lists);
    }
    let route = Route { origin, lists, proxied: false };
    match net.dialler.addresses(&route, Deadline::after(CHECK_TARGET_MS_MAX)).await {
        Err(Unreached::Refused(refused)) => Err(refused),
        Ok(_) | Err(Unreached::Failure(_)) => Ok(()),
    }
}

/// How a request looks to its target.
pub(super) fn wire(request: &Request) -> Option<Wire> {
    let rendered = render(request, None).ok()?;
    let headers = rendered.headers().iter();
    let mut headers: Vec<(String, Vec<u8>)> = headers
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    // The HTTP client adds it, behind all others.
    headers.push((CONTENT_LENGTH.as_str().to_owned(), request.body.len().to_string().into_bytes()));
    Some(Wire { method: "POST", headers })
}

async fn run(
    net: &Net,
    request: &Request,
    deadline: Deadline,
    trace: &mut Trace,
) -> Result<Answer, Unreached> {
    let proxy = net.config.proxy.as_ref().filter(|_| request.listener.is_none());
    let proxied = proxy.is_some();
    let mut rendered = render(request, proxy)?;
    // A listener is one socket address: with another port it lets nothing through.
    let listener = match request.listener {
        Some(listener) if listener.port() == request.origin.port => {
            AllowList::of_address(listener.ip())
        }
        _ => AllowList::default(),
    };
    let lists = [&net.config.allow, &*request.allow, &listener];
    address::check_host(&request.origin.host, &lists).map_err(Unreached::Refused)?;
    let route = Route { origin: &request.origin, lists, proxied };
    let key = Key { origin: request.origin.clone(), proxied };
    if let Some(mut kept) = take(net, &key, &route) {
        trace.address = Some(kept.peer);
        match send(net, &mut kept, rendered, deadline, trace).await {
            Err(NoAnswer { is_untouched: true, .. }) => rendered = render(request, proxy)?,
            answered => return finish(net, key, kept, answered, deadline).await,
        }
    }
    // Rare, and large: boxed, so that what reuses a connection stays small.
    Box::pin(dial(net, key, &route, rendered, deadline, trace)).await
}

async fn dial(
    net: &Net,
    key: Key,
    route: &Route<'_>,
    rendered: http::Request<Full<Bytes>>,
    deadline: Deadline,
    trace: &mut Trace,
) -> Result<Answer, Unreached> {
    let (stream, peer) = net.dialler.dial(route, deadline, trace).await?;
    let mut fresh = exchange::open(stream, peer).await?;
    let answered = send(net, &mut fresh, rendered, deadline, trace).await;
    finish(net, key, fresh, answered, deadline).await
}

/// A kept connection was checked for whoever made it; now it is checked for this request.
fn take(net: &Net, key: &Key, route: &Route<'_>) -> Option<Connection> {
    net.pool.take(key, |peer| {
        let host = &route.origin.host;
        route.proxied || address::check_resolved(host, &[peer.ip()], &route.lists).is_ok()
    })
}

async fn send(
    net: &Net,
    connection: &mut Connection,
    rendered: http::Request<Full<Bytes>>,
    deadline: Deadline,
    trace: &mut Trace,
) -> Result<Answer, NoAnswer> {
    let body_bytes_max = net.config.response_bytes_max;
    let answered = exchange::exchange(connection, rendered, body_bytes_max, deadline).await;
    trace.phases.first_byte_ms = answered.as_ref().ok().map(|answer| answer.first_byte_ms);
    answered
}

async fn finish(
    net: &Net,
    key: Key,
    mut connection: Connection,
    answered: Result<Answer, NoAnswer>,
    deadline: Deadline,
) -> Result<Answer, Unreached> {
    let answer = answered.map_err(|no_answer| no_answer.failure)?;
    if answer.is_whole && exchange::settled(&mut connection, deadline).await {
        net.pool.put(key, connection);
    }
    Ok(answer)
}

fn render(request: &Request, proxy: Option<&Proxy>) -> Result<http::Request<Full<Bytes>>, Failure> {
    let invalid = |_| Failure::RequestInvalid;
    let authority = request.origin.authority();
    let path_and_query = PathAndQuery::try_from(request.path_and_query.as_str())
        .map_err(|_| Failure::RequestInvalid)?;
    // What goes through a tunnel is the target's affair; the proxy sees only plain requests.
    let seen_by = proxy.filter(|_| request.origin.scheme == Scheme::Http);
    let uri = if seen_by.is_some() {
        let builder = Uri::builder().scheme("http").authority(authority.as_str());
        builder.path_and_query(path_and_query).build().map_err(invalid)?
    } else {
        Uri::from(path_and_query)
    };
    // The host, and the length that the HTTP client adds.
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 2);
    headers.insert(HOST, HeaderValue::try_from(authority).map_err(|_| Failure::RequestInvalid)?);
    for (name, value) in &request.headers {
        if RESERVED.contains(name) {
            return Err(Failure::RequestInvalid);
        }
        headers.append(name.clone(), value.clone());
    }
    if let Some(credentials) = seen_by.and_then(|proxy| proxy.credentials.as_ref()) {
        let proof = HeaderValue::try_from(proxy::authorization(credentials))
            .map_err(|_| Failure::RequestInvalid)?;
        headers.insert(PROXY_AUTHORIZATION, proof);
    }
    let mut rendered = http::Request::new(Full::new(request.body.clone()));
    *rendered.method_mut() = Method::POST;
    *rendered.uri_mut() = uri;
    *rendered.headers_mut() = headers;
    Ok(rendered)
}

fn respond(answered: Result<Answer, Unreached>, trace: Trace) -> Response {
    let Trace { phases, address } = trace;
    let failed = |failure, refused| Response {
        outcome: Outcome::Failure(failure),
        address,
        phases,
        headers: Vec::new(),
        body: Vec::new(),
        body_truncated: false,
        retry_after: None,
        refused,
    };
    match answered {
        Ok(answer) => Response {
            outcome: Outcome::Status(answer.status),
            address,
            phases,
            headers: answer.headers,
            body: answer.body,
            body_truncated: !answer.is_whole,
            retry_after: answer.retry_after,
            refused: None,
        },
        Err(Unreached::Failure(failure)) => failed(failure, None),
        Err(Unreached::Refused(refused)) => failed(Failure::AddressForbidden, Some(refused)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::model::target::TargetUrl;

    use super::*;
    use crate::model::secret::Secret;

    fn request(url: &str, headers: &[(&str, &str)]) -> Request {
        let url = TargetUrl::parse(url).expect("a sound URL");
        Request {
            origin: url.origin().clone(),
            path_and_query: url.path_and_query().to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| {
                    (name.parse().expect("a name"), value.parse().expect("a value"))
                })
                .collect(),
            body: Bytes::from_static(b"{}"),
            allow: Arc::default(),
            listener: None,
        }
    }

    #[test]
    fn every_url_that_parses_can_be_sent() {
        for c in (0x21..0x7f_u8).map(char::from).chain(['é', '\u{2028}', '😀']) {
            for text in [format!("http://a.example/x{c}y"), format!("http://a.example/?x{c}y")] {
                let Ok(url) = TargetUrl::parse(&text) else { continue };
                let rendered = render(&request(&text, &[]), None).expect(&text);
                assert_eq!(rendered.uri().to_string(), url.path_and_query(), "{text}");
            }
        }
    }

    #[test]
    fn a_proxy_is_told_the_whole_url() {
        let plain = request("http://a.example:81/x?y", &[]);
        let origin = plain.origin.clone();
        let proxy = Proxy { origin, credentials: Some(Secret::new("u:p".to_owned())) };
        let uri = |request, proxy| render(request, proxy).expect("sound").uri().to_string();
        assert_eq!(uri(&plain, Some(&proxy)), "http://a.example:81/x?y");
        assert_eq!(uri(&plain, None), "/x?y");
        // Within a tunnel it is the target that is spoken to, and it learns no credentials.
        let tunnelled = request("https://a.example/x", &[]);
        assert_eq!(uri(&tunnelled, Some(&proxy)), "/x");
        let headers = render(&tunnelled, Some(&proxy)).expect("sound").headers().clone();
        assert!(!headers.contains_key(PROXY_AUTHORIZATION));
    }

    #[test]
    fn framing_is_not_the_stored_requests_business() {
        for name in RESERVED {
            let spoiled = request("http://a.example/", &[(name.as_str(), "1")]);
            assert_eq!(render(&spoiled, None).err(), Some(Failure::RequestInvalid), "{name}");
        }
        let sound = request("http://a.example/", &[("x-a", "1"), ("x-a", "2")]);
        let rendered = render(&sound, None).expect("sound");
        assert_eq!(rendered.headers().get_all("x-a").iter().count(), 2);
        assert_eq!(rendered.headers()[HOST], "a.example");
    }
}
