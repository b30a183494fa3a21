//! Single values: headers, dates, addresses, paths, and the configuration.
//!
//! Owns what is promised of each value that was read: above all that an address is never taken for
//! a name, and that what is written of a value reads as the same value.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method};
use postrider::app::config::units::{duration_ms, show_duration, show_size, size_bytes};
use postrider::app::config::{Config, FILE_BYTES_MAX, Sources};
use postrider::dialect::jsonapi;
use postrider::dialect::uploadcare::auth::{self, Credentials, SignedRequest};
use postrider::dialect::uploadcare::headers::View;
use postrider::http::peer::Peer;
use postrider::http::route::Route;
use postrider::logic::address::{AllowList, check_host, check_resolved, judge, localhost};
use postrider::logic::retry::WINDOW_MS;
use postrider::logic::sign::{self, verify_lancer, verify_standard, verify_uc};
use postrider::logic::verdict;
use postrider::model::event::EventName;
use postrider::model::ids::{DeliveryId, EventId, ProjectId, WebhookId};
use postrider::model::project::key_is_sound;
use postrider::model::secret::Secret;
use postrider::model::target::{Host, Origin, TargetUrl, UrlError};
use postrider::model::time::{SECOND_MS, Wall, parse_http_date, parse_rfc3339};

use super::Request;

const NOW: Wall = Wall(1_541_423_681_000);
/// After it, dates are shown as the last one that four digits can show.
const YEAR_9999_END: Wall = Wall(253_402_300_799_999);

/// `authorization`, `date` and `x-uploadcare-date` of a head, over a body.
pub(super) fn credentials(data: &[u8]) {
    let request = Request::read(data);
    let given = auth::credentials(request.get("authorization"));
    match &given {
        Ok(Credentials::Simple { public_key, secret_key: proof })
        | Ok(Credentials::Signed { public_key, signature: proof }) => {
            assert!(key_is_sound(public_key) && key_is_sound(proof));
        }
        Ok(Credentials::Bearer { secret_key }) => assert!(key_is_sound(secret_key)),
        Err(error) => assert!(!error.detail().is_empty()),
    }
    let (x_date, date) = (request.get("x-uploadcare-date"), request.get("date"));
    let Ok(date) = auth::request_date(x_date, date, NOW) else { return };
    let signed = SignedRequest {
        method: "POST",
        content_type: request.get("content-type").unwrap_or_default().as_bytes(),
        date,
        path_and_query: "/webhooks/?a=1",
    };
    let keys = [Secret::new("other".to_owned()), Secret::new("demosecretkey".to_owned())];
    let right = signed.sign(&keys[1], request.body);
    assert_eq!(signed.verify(&keys, &right, request.body), Ok(()));
    if let Ok(Credentials::Signed { signature, .. }) = given {
        let either = signature == right || signature == signed.sign(&keys[0], request.body);
        assert_eq!(signed.verify(&keys, signature, request.body).is_ok(), either);
    }
}

/// The signature headers of a delivery, and `secret`, over a body.
pub(super) fn signature(data: &[u8]) {
    let request = Request::read(data);
    let get = |name: &str| request.get(name).unwrap_or_default();
    let secret = Secret::new(get("secret").to_owned());
    let (body, tolerance_s) = (request.body, 300);
    let uc = verify_uc(&secret, get(sign::UPLOADCARE_SIGNATURE), body);
    let (id, at) = (get(sign::WEBHOOK_ID), get(sign::WEBHOOK_TIMESTAMP));
    let header = get(sign::WEBHOOK_SIGNATURE);
    let standard = verify_standard(&secret, id, at, header, body, NOW, tolerance_s);
    let (at, header) = (get(sign::LANCER_TIMESTAMP), get(sign::LANCER_SIGNATURE));
    let lancer = verify_lancer(&secret, at, header, body, NOW, tolerance_s);
    for result in [uc, standard, lancer] {
        assert!(result.err().is_none_or(|error| !error.to_string().is_empty()));
    }
    let form = sign::standard_form(&secret);
    // 25 to 63 bytes in base64, behind the prefix; a shorter or longer key is taken for a text.
    if (42..=90).contains(&form.expose().len()) {
        assert_eq!(sign::standard_form(&form), form, "it is in that form already");
    }
}

pub(super) fn http_date(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(at) = parse_http_date(text) else { return };
    if at <= YEAR_9999_END {
        assert_eq!(parse_http_date(&at.http_date()), Some(Wall(at.0 - at.0 % SECOND_MS)));
    }
}

pub(super) fn rfc3339(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(at) = parse_rfc3339(text) else { return };
    if at <= YEAR_9999_END {
        assert_eq!(parse_rfc3339(&at.rfc3339_micros()), Some(at));
    }
}

pub(super) fn retry_after(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(at) = verdict::retry_after(text, NOW) {
        assert!(at > NOW && at <= NOW.plus(WINDOW_MS));
    }
}

/// A name that a resolver or `inet_aton` would take for an address would get past the check of
/// addresses; what is requested has to be what was parsed.
pub(super) fn target_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(url) = TargetUrl::parse(text) else { return };
    assert_eq!(url.as_str(), text);
    let origin = url.origin();
    assert_ne!(origin.port, 0);
    let authority = origin.authority();
    assert!(HeaderValue::from_str(&authority).is_ok(), "{authority:?} is a Host header");
    assert!(Authority::try_from(authority.as_str()).is_ok(), "{authority:?}");
    assert!(url.path_and_query().starts_with('/'));
    assert!(PathAndQuery::try_from(url.path_and_query()).is_ok(), "{:?}", url.path_and_query());
    match TargetUrl::parse(&format!("{origin}{}", url.path_and_query())) {
        Ok(again) => {
            assert_eq!(again.origin(), origin);
            assert_eq!(again.path_and_query(), url.path_and_query());
        }
        Err(error) => assert_eq!(error, UrlError::TooLong, "escapes make it longer"),
    }
    match Origin::parse(&origin.to_string()) {
        Ok(again) => assert_eq!(&again, origin),
        Err(error) => assert_eq!(error, UrlError::TooLong, "so does punycode"),
    }
    judged(&origin.host);
}

/// 4 or 16 bytes.
pub(super) fn address(data: &[u8]) {
    if let Ok(bytes) = <[u8; 4]>::try_from(data) {
        let v4 = Ipv4Addr::from(bytes);
        let verdict = judge(IpAddr::V4(v4));
        let nat64 = format!("64:ff9b::{v4}").parse().expect("an address");
        assert_eq!(judge(IpAddr::V6(nat64)), verdict, "a NAT64 leads there");
        let mapped = v4.to_ipv6_mapped();
        assert!(judge(IpAddr::V6(mapped)).is_err(), "a socket takes it for the address");
        judged(&Host::Address(IpAddr::V4(v4)));
    } else if let Ok(bytes) = <[u8; 16]>::try_from(data) {
        judged(&Host::Address(IpAddr::V6(Ipv6Addr::from(bytes))));
    }
}

fn judged(host: &Host) {
    let none = AllowList::default();
    let verdict = check_host(host, &[&none]);
    match host {
        Host::Address(ip) => {
            assert_eq!(verdict.is_ok(), judge(*ip).is_ok());
            let all = ["0.0.0.0/0".to_owned(), "::/0".to_owned()];
            let all = AllowList::parse(&all).expect("two networks");
            let metadata = judge(*ip) == Err(postrider::logic::address::Forbidden::Metadata);
            assert_eq!(check_host(host, &[&all]).is_err(), metadata, "no network lets it through");
            let text = host.to_string();
            let only = AllowList::parse(&[text]).expect("an address is an entry");
            assert_eq!(check_host(host, &[&only]), Ok(()));
        }
        Host::Name(name) => {
            assert!(name.parse::<IpAddr>().is_err() && !is_number(name), "{name:?} is an address");
            assert_eq!(name, &name.to_lowercase());
            let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
            assert!(check_resolved(host, &loopback, &[&none]).is_err());
            assert!(localhost(host, &[&none]).is_none_or(|addresses| addresses.is_empty()));
            if let Ok(only) = AllowList::parse(std::slice::from_ref(name)) {
                assert!(check_host(host, &[&only]).is_ok(), "{name:?} is listed");
            }
        }
    }
    if let Err(refused) = verdict {
        assert!(refused.to_string().ends_with("[delivery] allow"));
    }
}

/// Whether `inet_aton` might read it: one to four numbers, of which the last counts for the rest.
fn is_number(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let digits = |part: &str| match part.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()),
    };
    name.split('.').all(digits)
}

/// An entry on each line.
pub(super) fn allow_list(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let entries: Vec<String> = text.lines().map(str::to_owned).collect();
    let Ok(list) = AllowList::parse(&entries) else { return };
    for metadata in ["169.254.169.254", "fd00:ec2::254"] {
        let ip: IpAddr = metadata.parse().expect("an address");
        let named = entries.iter().any(|entry| names_exactly(entry, ip));
        assert_eq!(list.address(ip), named, "{metadata} has to be named itself");
    }
    for host in ["localhost", "a.example", "192.0.2.1"] {
        let url = TargetUrl::parse(&format!("http://{host}/")).expect("a URL");
        let _ = check_host(&url.origin().host, &[&list]);
    }
}

fn names_exactly(entry: &str, ip: IpAddr) -> bool {
    let entry = entry.trim();
    match entry.split_once('/') {
        Some((address, "32" | "128")) => address.parse() == Ok(ip),
        Some(_) => false,
        None => {
            let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            bare.unwrap_or(entry).parse() == Ok(ip)
        }
    }
}

pub(super) fn route(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let token = Route::path_token(path);
    assert!(token.is_none_or(|token| !token.is_empty() && path.starts_with("/in/")));
    let Some(route) = Route::of(path) else { return };
    assert!(route.knows(&Method::OPTIONS) && !route.knows(&Method::TRACE), "{path:?}");
    assert!(route.allow().split(", ").is_sorted(), "{}", route.allow());
    if !path.ends_with('/') {
        assert_eq!(Route::of(&format!("{path}/")).as_ref(), Some(&route), "{path:?}");
    }
}

pub(super) fn accept(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(view) = View::negotiate(Some(text)) {
        assert!(view.content_type().starts_with("application/"));
        assert!(View::negotiate(Some(view.content_type())).is_ok());
    }
    assert!(jsonapi::encode::content_type(Some(text)).starts_with("application/"));
}

pub(super) fn ids(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(WebhookId::parse(text).is_none_or(|id| id.to_string() == text));
    assert!(ProjectId::parse(text).is_none_or(|id| id.to_string() == text));
    assert!(EventId::parse(text).is_none_or(|id| id.to_string() == text));
    assert!(DeliveryId::parse(text).is_none_or(|id| id.to_string() == text));
    assert!(EventName::parse(text).is_none_or(|name| name.as_str() == text));
}

/// A line of `X-Forwarded-For` on each line.
pub(super) fn forwarded(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(16) {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append("x-forwarded-for", value);
    }
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network"));
    let peer = |ip: &str| {
        let ip = ip.parse().expect("an address");
        Peer::remote(SocketAddr::new(ip, 1), &headers, &trusted).client
    };
    assert_eq!(peer("203.0.113.9").to_string(), "203.0.113.9", "nobody asked it");
    let client = peer("10.0.0.1");
    assert_eq!(client, client.to_canonical());
    assert_eq!(peer("::ffff:10.0.0.1"), client);
}

pub(super) fn units(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(ms) = duration_ms(text) {
        assert_eq!(duration_ms(&show_duration(ms)), Ok(ms));
    }
    if let Ok(bytes) = size_bytes(text) {
        assert_eq!(size_bytes(&show_size(bytes)), Ok(bytes));
    }
}

/// Variables in the head, the file as the body. Any other file that is asked for holds a secret.
pub(super) fn config(data: &[u8]) {
    const SECRET: &[u8] = b"4e4f54205345435245544e4f5420534543524554";
    let request = Request::read(data);
    let environment: BTreeMap<String, std::ffi::OsString> =
        request.lines.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    let read = |path: &Path| -> io::Result<Vec<u8>> {
        let text = if path == Path::new("/p.toml") { request.body } else { SECRET };
        Ok(text[..text.len().min(FILE_BYTES_MAX + 1)].to_vec())
    };
    let file = Some(PathBuf::from("/p.toml"));
    match Config::load(&Sources { file, flags: Vec::new(), environment, read: &read }) {
        Ok(loaded) => {
            let shown = loaded.show();
            assert!(!shown.contains("4e4f5420534543524554"), "{shown}");
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}
