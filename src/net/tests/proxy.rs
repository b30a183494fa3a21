//! Through a proxy, where one is configured.

use tokio::io::copy_bidirectional;
use tokio::sync::mpsc;

use crate::model::secret::Secret;
use crate::model::target::Origin;
use crate::net::Proxy;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn through(proxy: SocketAddr, config: NetConfig) -> NetConfig {
    let origin = Origin::parse(&format!("http://{proxy}")).expect("an origin");
    let credentials = Some(Secret::new("user:pass word".to_owned()));
    NetConfig { proxy: Some(Proxy { origin, credentials }), ..config }
}

/// A proxy that connects to one target whatever it is asked for, and tells what it was asked.
async fn tunnelling_to(target: SocketAddr) -> (Target, mpsc::UnboundedReceiver<String>) {
    let (asked, heads) = mpsc::unbounded_channel();
    let proxy = Target::serve(move |mut tcp, _| {
        let asked = asked.clone();
        async move {
            let head = read_request(&mut tcp).await.expect("a request");
            asked.send(head).expect("a listener");
            tcp.write_all(b"HTTP/1.1 200 Connected\r\nvia: x\r\n\r\n").await.expect("a reader");
            let mut upstream = TcpStream::connect(target).await.expect("the target");
            let _ = copy_bidirectional(&mut tcp, &mut upstream).await;
        }
    })
    .await;
    (proxy, heads)
}

#[tokio::test]
async fn plain_requests_name_the_whole_url() {
    let (asked, mut heads) = mpsc::unbounded_channel();
    let proxy = Target::serve(move |mut tcp, _| {
        let asked = asked.clone();
        async move {
            while let Some(head) = read_request(&mut tcp).await {
                asked.send(head).expect("a listener");
                tcp.write_all(OK.as_bytes()).await.expect("a reader");
            }
        }
    })
    .await;
    let net = net(through(proxy.address, NetConfig::default()));
    for _ in 0..2 {
        // The name does not resolve here: that is the proxy's business.
        let response = net.attempt(post("http://hook.example.com/x?y=1")).await;
        assert_eq!(response.outcome, Outcome::Status(200));
        assert_eq!(response.address, Some(proxy.address));
        let head = heads.recv().await.expect("asked");
        assert!(head.starts_with("POST http://hook.example.com/x?y=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("host: hook.example.com\r\n"), "{head}");
        assert!(head.contains("proxy-authorization: Basic dXNlcjpwYXNzIHdvcmQ=\r\n"), "{head}");
    }
    assert_eq!(proxy.accepted(), 1, "kept like any other");
}

#[tokio::test]
async fn tls_goes_through_a_tunnel() {
    let (target, ca) = super::tls::good_target().await;
    let (proxy, mut heads) = tunnelling_to(target.address).await;
    let config = NetConfig { ca_files: vec![ca.path()], ..NetConfig::default() };
    let net = net(through(proxy.address, config));
    let response = net.attempt(post("https://hook.example.com/x")).await;
    assert_eq!(response.outcome, Outcome::Status(200));
    let head = heads.recv().await.expect("asked");
    assert!(head.starts_with("CONNECT hook.example.com:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ=\r\n"), "{head}");
}

#[tokio::test]
async fn a_proxy_that_refuses() {
    for answer in ["HTTP/1.1 407 Who are you\r\n\r\n", "HTTP/1.1 502 X\r\n\r\n", "garbage\r\n\r\n"]
    {
        let proxy = Target::answering(answer, Then::Close).await;
        let net = net(through(proxy.address, NetConfig::default()));
        let response = net.attempt(post("https://hook.example.com/")).await;
        assert_failed(&response, Failure::ConnectFailed, answer);
    }
    let proxy = Target::answering("HTTP/1.1 2", Then::Hang).await;
    let config = NetConfig { connect_timeout_ms: SHORT_MS, ..NetConfig::default() };
    let response =
        net(through(proxy.address, config)).attempt(post("https://hook.example.com/")).await;
    assert_failed(&response, Failure::ConnectTimeout, "half an answer");
}

#[tokio::test]
async fn a_proxy_is_no_way_round_the_check() {
    let canary = Target::answering(OK, Then::Again).await;
    let (proxy, _heads) = tunnelling_to(canary.address).await;
    let net = net(through(proxy.address, NetConfig::default()));
    for host in ["127.0.0.1", "[::1]", "localhost", "metadata.google.internal", "10.0.0.1"] {
        let response = net.attempt(post(&format!("http://{host}/"))).await;
        assert_failed(&response, Failure::AddressForbidden, host);
        let origin = Origin::parse(&format!("http://{host}")).expect("an origin");
        assert!(net.check_target(&origin, &AllowList::default()).await.is_err(), "{host}");
    }
    assert_eq!(proxy.accepted() + canary.accepted(), 0);
    // A listener is on this machine, not on the proxy's.
    let request = Request { listener: Some(canary.address), ..post(&canary.url()) };
    assert_eq!(net.attempt(request).await.outcome, Outcome::Status(200));
    assert_eq!((proxy.accepted(), canary.accepted()), (0, 1));
}

#[test]
fn only_plain_proxies() {
    let config = NetConfig {
        proxy: Some(Proxy {
            origin: Origin::parse("https://proxy.example.com").expect("an origin"),
            credentials: None,
        }),
        ..NetConfig::default()
    };
    assert!(Net::new(config, Arc::new(Nowhere)).is_err());
}
