//! The address check at the dial: rebinding resolvers, mixed answers, listeners, `localhost`.

use std::net::IpAddr;

use crate::logic::address::Forbidden;
use crate::model::target::{Host, Origin, Scheme};

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Answers each time with the next list.
struct Rebinding {
    answers: Vec<Vec<SocketAddr>>,
    asked: AtomicUsize,
}

impl Rebinding {
    fn of(answers: &[&[&str]]) -> Arc<Rebinding> {
        let answers = answers
            .iter()
            .map(|answer| {
                let ips = answer.iter().map(|ip| ip.parse::<IpAddr>().expect("an address"));
                // The port is a lie too: only the origin's counts.
                ips.map(|ip| SocketAddr::new(ip, 1)).collect()
            })
            .collect();
        Arc::new(Rebinding { answers, asked: AtomicUsize::new(0) })
    }
}

impl Resolve for Rebinding {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Resolved<'a> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(self.answers[turn % self.answers.len()].clone())))
    }
}

struct Hanging;

impl Resolve for Hanging {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Resolved<'a> {
        Box::pin(std::future::pending())
    }
}

fn named(port: u16) -> String {
    format!("http://rebinding.example.com:{port}/")
}

/// The public address is one of a documentation network that the list lets through: nothing is
/// there, and no packet leaves for a stranger.
#[tokio::test]
async fn a_rebinding_resolver_never_reaches_loopback() {
    let canary = Target::answering(OK, Then::Again).await;
    let resolver = Rebinding::of(&[
        &["127.0.0.1"],
        &["192.0.2.1", "127.0.0.1"],
        &["127.0.0.1", "192.0.2.1"],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::127.0.0.1"],
        &["192.0.2.1", "192.0.2.2", "0.0.0.0"],
        &["192.0.2.1"],
        &["10.0.0.1"],
        &["169.254.169.254"],
    ]);
    let config = NetConfig {
        allow: allow(&["192.0.2.0/24"]),
        // What is allowed may be dialled, and is not there.
        connect_timeout_ms: 1,
        ..NetConfig::default()
    };
    let net = Net::new(config, Arc::clone(&resolver) as Arc<dyn Resolve>).expect("sound");
    let origin = Origin::parse(&named(canary.address.port())).expect("an origin");
    let nothing = AllowList::default();
    for turn in 0..1_000 {
        // Every other answer is spent on a check that its attempt can't rely on.
        if turn % 3 == 0 {
            let _ = net.check_target(&origin, &nothing).await;
        }
        let response = net.attempt(post(&named(canary.address.port()))).await;
        let dialled = response.address.map(|address| address.ip());
        assert!(
            dialled.is_none() || dialled == "192.0.2.1".parse().ok(),
            "turn {turn}: {response:?}"
        );
        assert!(matches!(response.outcome, Outcome::Failure(_)), "turn {turn}: {response:?}");
    }
    assert!(resolver.asked.load(Ordering::SeqCst) >= 1_000);
    assert_eq!(canary.accepted(), 0);
}

#[tokio::test]
async fn each_forbidden_answer_is_refused_by_name() {
    for (answer, reason) in [
        (&["127.0.0.1"][..], Forbidden::Loopback),
        (&["8.8.8.8", "10.0.0.1"], Forbidden::Private),
        (&["::ffff:8.8.8.8"], Forbidden::Mapped),
        (&["64:ff9b::a9fe:a9fe"], Forbidden::Metadata),
    ] {
        let net = Net::new(NetConfig::default(), Rebinding::of(&[answer])).expect("sound");
        let response = net.attempt(post(&named(80))).await;
        assert_failed(&response, Failure::AddressForbidden, &answer.concat());
        assert_eq!(response.refused.expect("told why").reason, reason);
        assert_eq!(response.address, None, "nothing was dialled");
        let origin = Origin::parse(&named(80)).expect("an origin");
        let refused = net.check_target(&origin, &AllowList::default()).await;
        assert_eq!(refused.map_err(|refused| refused.reason), Err(reason));
    }
}

#[tokio::test]
async fn what_is_listed_passes() {
    let target = Target::answering(OK, Then::Again).await;
    for entry in ["127.0.0.0/8", "rebinding.example.com", "*.example.com"] {
        let resolver = Rebinding::of(&[&["127.0.0.1"]]);
        let net = Net::new(NetConfig::default(), resolver).expect("sound");
        let url = named(target.address.port());
        let listed = Arc::new(allow(&[entry]));
        let request = Request { allow: Arc::clone(&listed), ..post(&url) };
        let response = net.attempt(request).await;
        assert_eq!(response.outcome, Outcome::Status(200), "{entry}");
        assert_eq!(response.address, Some(target.address));
        assert!(response.phases.dns_ms.is_some());
        let origin = Origin::parse(&url).expect("an origin");
        assert_eq!(net.check_target(&origin, &listed).await, Ok(()), "{entry}");
    }
}

#[tokio::test]
async fn the_next_address_is_tried() {
    let target = Target::answering(OK, Then::Again).await;
    let resolver = Rebinding::of(&[&["127.0.0.2", "127.0.0.1"]]);
    let net = Net::new(on_loopback(), resolver).expect("sound");
    let response = net.attempt(post(&named(target.address.port()))).await;
    assert_eq!(response.outcome, Outcome::Status(200));
    assert_eq!(response.address, Some(target.address));
}

#[tokio::test]
async fn a_listener_is_one_socket_address() {
    let target = Target::answering(OK, Then::Again).await;
    let canary = Target::answering(OK, Then::Again).await;
    let net = net(NetConfig::default());
    let to = |url: String| Request { listener: Some(target.address), ..post(&url) };
    assert_eq!(net.attempt(to(target.url())).await.outcome, Outcome::Status(200));
    let local = format!("http://localhost:{}/", target.address.port());
    assert_eq!(net.attempt(to(local)).await.outcome, Outcome::Status(200));
    for url in [canary.url(), format!("http://127.0.0.2:{}/", target.address.port())] {
        let response = net.attempt(to(url.clone())).await;
        assert_failed(&response, Failure::AddressForbidden, &url);
    }
    assert_failed(
        &net.attempt(post(&target.url())).await,
        Failure::AddressForbidden,
        "no listener",
    );
    assert_eq!(canary.accepted(), 0);
}

#[tokio::test]
async fn localhost_is_never_asked_of_a_resolver() {
    let target = Target::answering(OK, Then::Again).await;
    let resolver = Rebinding::of(&[&["192.0.2.1"]]);
    let config = NetConfig { allow: allow(&["127.0.0.1"]), ..NetConfig::default() };
    let net = Net::new(config, Arc::clone(&resolver) as Arc<dyn Resolve>).expect("sound");
    for host in ["localhost", "LOCALHOST.", "a.localhost"] {
        let url = format!("http://{host}:{}/", target.address.port());
        assert_eq!(net.attempt(post(&url)).await.outcome, Outcome::Status(200), "{host}");
    }
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn resolvers_that_fail() {
    let url = named(80);
    let origin = Origin::parse(&url).expect("an origin");
    let nothing = AllowList::default();
    let unknown = net(NetConfig::default());
    assert_failed(&unknown.attempt(post(&url)).await, Failure::Dns, "no such name");
    assert_eq!(unknown.check_target(&origin, &nothing).await, Ok(()), "it may resolve later");
    let empty = Net::new(NetConfig::default(), Rebinding::of(&[&[]])).expect("sound");
    assert_failed(&empty.attempt(post(&url)).await, Failure::Dns, "no address");
    let config = NetConfig { dns_timeout_ms: 1, ..NetConfig::default() };
    let hanging = Net::new(config, Arc::new(Hanging)).expect("sound");
    assert_failed(&hanging.attempt(post(&url)).await, Failure::DnsTimeout, "no answer");
    assert_eq!(hanging.check_target(&origin, &nothing).await, Ok(()), "it may resolve later");
}

#[tokio::test]
async fn the_systems_resolver_knows_itself() {
    let resolver = super::super::SystemResolver::new(1);
    let (first, second) =
        tokio::join!(resolver.resolve("localhost", 80), resolver.resolve("localhost", 81));
    for found in [first.expect("resolves"), second.expect("resolves, with one permit for both")] {
        assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }
    let unknown = resolver.resolve("a..b", 80).await;
    assert_eq!(unknown, Err(ResolveError::NotFound));
}

#[tokio::test]
async fn literal_addresses_are_judged_at_once() {
    let net = net(NetConfig::default());
    for ip in ["127.0.0.1", "0.0.0.0", "::1", "::ffff:127.0.0.1", "169.254.169.254"] {
        let ip: IpAddr = ip.parse().expect("an address");
        let origin = Origin { scheme: Scheme::Https, host: Host::Address(ip), port: 443 };
        let refused = net.check_target(&origin, &AllowList::default()).await;
        assert!(refused.is_err(), "{ip}");
        let request = Request { origin, ..post("http://example.com/") };
        assert_failed(&net.attempt(request).await, Failure::AddressForbidden, &ip.to_string());
    }
}
