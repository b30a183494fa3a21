//! Spellings of addresses, against an independent oracle, on the way to the socket.
//!
//! Owns the comparison of what the program makes of a target URL with what Python's `ipaddress`
//! says of the address that was encoded in it. Must never judge by itself.

#![allow(clippy::print_stdout, reason = "the seed and the counts are part of the result")]

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use postrider::logic::address::{self, AllowList};
use postrider::model::attempt::{Failure, Outcome};
use postrider::model::target::{Host, TargetUrl};
use postrider::net::{Net, NetConfig, Request, Resolve, Resolved};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Fewer than this would mean that the generator broke.
const CASES_MIN: usize = 300;

#[derive(Deserialize)]
struct Case {
    url: String,
    address: Option<IpAddr>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Refused,
    Forbidden,
    Resolves,
    Public,
}

/// A server on every address of this machine that nobody may reach by accident.
struct Canary {
    port: u16,
    reached: Arc<AtomicUsize>,
}

impl Canary {
    async fn start() -> Canary {
        // Both families where there are two.
        let listener = match TcpListener::bind("[::]:0").await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind("0.0.0.0:0").await.expect("a free port"),
        };
        let port = listener.local_addr().expect("bound").port();
        let reached = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reached);
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(tcp.read_u8().await?);
                    }
                    tcp.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await
                });
            }
        });
        Canary { port, reached }
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }
}

/// Sends every name to the canary.
struct Home;

impl Resolve for Home {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Resolved<'a> {
        Box::pin(std::future::ready(Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])))
    }
}

fn cases(port: u16) -> Vec<Case> {
    let seed = std::env::var("POSTRIDER_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seed = seed.unwrap_or(1);
    println!("POSTRIDER_SEED={seed}");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/addresses_oracle.py");
    let run = Command::new("python3").arg(script).arg(seed.to_string()).output();
    let run = run.expect("python3, whose ipaddress is the oracle, has to be on the PATH");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).expect("UTF-8");
    text.lines()
        .map(|line| {
            let mut case: Case = serde_json::from_str(line).expect("a case");
            case.url = case.url.replace("{port}", &port.to_string());
            case
        })
        .collect()
}

fn request(url: &TargetUrl, allow: AllowList) -> Request {
    Request {
        origin: url.origin().clone(),
        path_and_query: url.path_and_query().to_owned(),
        headers: Vec::new(),
        body: Bytes::from_static(b"{}"),
        allow: Arc::new(allow),
        listener: None,
    }
}

#[test]
fn every_spelling_is_judged_as_the_oracle_judges_its_address() {
    let cases = cases(8080);
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    for verdict in [Verdict::Refused, Verdict::Forbidden, Verdict::Resolves, Verdict::Public] {
        let count = cases.iter().filter(|case| case.verdict == verdict).count();
        println!("{verdict:?}: {count}");
        assert!(count > 0, "{verdict:?}");
    }
    let wrong: Vec<String> = cases.iter().filter_map(disagreement).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn disagreement(case: &Case) -> Option<String> {
    let Case { url, address, verdict } = case;
    let parsed = match TargetUrl::parse(url) {
        Ok(parsed) => parsed,
        Err(_) if *verdict == Verdict::Refused => return None,
        Err(error) => return Some(format!("{url:?}: {error}, should be {verdict:?}")),
    };
    let host = &parsed.origin().host;
    let is_right = match (verdict, address::check_host(host, &[])) {
        (Verdict::Refused, _) => false,
        (Verdict::Forbidden, judged) => judged.is_err(),
        (Verdict::Public, judged) => judged.is_ok(),
        (Verdict::Resolves, judged) => judged.is_ok() && matches!(host, Host::Name(_)),
    };
    let reads_address = match (host, address) {
        (Host::Address(ip), Some(address)) => ip == address,
        (Host::Name(_), None) => true,
        _ => false,
    };
    (!is_right || !reads_address)
        .then(|| format!("{url:?}: read as {host}, should be {verdict:?} {address:?}"))
}

#[tokio::test]
async fn no_forbidden_spelling_reaches_a_socket() {
    let canary = Canary::start().await;
    let net = Net::new(NetConfig::default(), Arc::new(Home)).expect("a sound configuration");
    let mut refused = 0;
    for case in cases(canary.port) {
        let Ok(url) = TargetUrl::parse(&case.url) else { continue };
        // A public address belongs to a stranger: it is not dialled.
        if case.verdict == Verdict::Public {
            continue;
        }
        let nothing = AllowList::default();
        let checked = net.check_target(url.origin(), &nothing).await;
        assert!(checked.is_err(), "{}", case.url);
        let response = net.attempt(request(&url, nothing)).await;
        let forbidden = Outcome::Failure(Failure::AddressForbidden);
        assert_eq!(response.outcome, forbidden, "{}", case.url);
        assert_eq!(response.address, None, "{}", case.url);
        refused += 1;
    }
    println!("{refused} refused");
    assert!(refused >= CASES_MIN);
    assert_eq!(canary.reached(), 0);
}

/// The canary sings when it is let: the spellings above do lead to it.
#[tokio::test]
async fn listed_spellings_of_loopback_pass() {
    let canary = Canary::start().await;
    let net = Net::new(NetConfig::default(), Arc::new(Home)).expect("a sound configuration");
    let list = ["127.0.0.1".to_owned(), "127.255.255.254".to_owned()];
    let list = AllowList::parse(&list).expect("a sound list");
    let mut passed = 0;
    for case in cases(canary.port) {
        let Ok(url) = TargetUrl::parse(&case.url) else { continue };
        match url.origin().host {
            Host::Address(IpAddr::V4(v4)) if list.address(IpAddr::V4(v4)) => {}
            _ => continue,
        }
        let response = net.attempt(request(&url, list.clone())).await;
        assert_eq!(response.outcome, Outcome::Status(204), "{}", case.url);
        passed += 1;
    }
    assert!(passed >= 50, "{passed}");
    assert_eq!(canary.reached(), passed);
}
