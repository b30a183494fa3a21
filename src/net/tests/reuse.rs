//! Kept connections: used again while they are good, and never against the address check.

use tokio::sync::mpsc;

use crate::model::target::Origin;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn status_of(net: &Net, request: Request) -> Outcome {
    net.attempt(request).await.outcome
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    for answer in [OK, "HTTP/1.1 204 X\r\n\r\n", "HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"] {
        let target = Target::answering(answer, Then::Again).await;
        let net = net(on_loopback());
        for _ in 0..5 {
            assert!(matches!(status_of(&net, post(&target.url())).await, Outcome::Status(_)));
        }
        let response = net.attempt(post(&target.url())).await;
        assert_eq!(target.accepted(), 1, "{answer}");
        assert_eq!(response.address, Some(target.address));
        assert_eq!(response.phases.connect_ms, None, "nothing was connected");
    }
}

#[tokio::test]
async fn a_target_that_wants_no_reuse_gets_none() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        // Bytes behind the answer: whatever they are, they are not the next one.
        "HTTP/1.1 204 X\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ] {
        let target = Target::answering(answer, Then::Again).await;
        let net = net(on_loopback());
        for _ in 0..3 {
            assert!(matches!(status_of(&net, post(&target.url())).await, Outcome::Status(_)));
        }
        assert_eq!(target.accepted(), 3, "{answer}");
    }
}

/// A target whose first connection answers once and then ends as told when it is asked again.
async fn dies_on_second(last_words: &'static str) -> Target {
    Target::serve(move |mut tcp, number| async move {
        let mut asked = 0;
        while read_request(&mut tcp).await.is_some() {
            asked += 1;
            if number == 0 && asked == 2 {
                let _ = tcp.write_all(last_words.as_bytes()).await;
                return;
            }
            tcp.write_all(OK.as_bytes()).await.expect("a reader");
        }
    })
    .await
}

#[tokio::test]
async fn a_kept_connection_that_is_dead_costs_nothing() {
    let target = dies_on_second("").await;
    let net = net(on_loopback());
    for _ in 0..3 {
        assert_eq!(status_of(&net, post(&target.url())).await, Outcome::Status(200));
    }
    assert_eq!(target.accepted(), 2);
}

#[tokio::test]
async fn a_kept_connection_that_answered_anything_is_not_dead() {
    let target = dies_on_second("HTTP/1.1 2").await;
    let net = net(on_loopback());
    assert_eq!(status_of(&net, post(&target.url())).await, Outcome::Status(200));
    let response = net.attempt(post(&target.url())).await;
    assert_failed(&response, Failure::ConnectionClosed, "half an answer");
    assert_eq!(target.accepted(), 1, "the request may have been taken: it is not sent twice");
}

#[tokio::test]
async fn a_connection_closed_while_it_waits_is_replaced() {
    let (close, closes) = mpsc::unbounded_channel::<()>();
    let closes = Arc::new(tokio::sync::Mutex::new(closes));
    let target = Target::serve(move |mut tcp, _| {
        let closes = Arc::clone(&closes);
        async move {
            read_request(&mut tcp).await;
            tcp.write_all(OK.as_bytes()).await.expect("a reader");
            closes.lock().await.recv().await;
        }
    })
    .await;
    let net = net(on_loopback());
    for _ in 0..3 {
        assert_eq!(status_of(&net, post(&target.url())).await, Outcome::Status(200));
        close.send(()).expect("a listener");
    }
    assert_eq!(target.accepted(), 3);
}

#[tokio::test]
async fn connections_are_kept_within_bounds() {
    let target = Target::answering(OK, Then::Again).await;
    let other = Target::answering(OK, Then::Again).await;
    let net = net(NetConfig { idle_per_target_max: 2, idle_total_max: 3, ..on_loopback() });
    for url in [target.url(), other.url()] {
        let four = [(); 4].map(|()| net.attempt(post(&url)));
        let [a, b, c, d] = four;
        let answers = tokio::join!(a, b, c, d);
        assert_eq!(answers.0.outcome, Outcome::Status(200));
    }
    assert_eq!(net.pool.len(), 3, "two of the last target, one of the first");
    net.drop_idle(&Origin::parse(&format!("http://{}", other.address)).expect("an origin"));
    assert_eq!(net.pool.len(), 1);
}

#[tokio::test]
async fn a_connection_is_not_kept_longer_than_told() {
    let target = Target::answering(OK, Then::Again).await;
    let net = net(NetConfig { idle_ms_max: 0, ..on_loopback() });
    for _ in 0..2 {
        assert_eq!(status_of(&net, post(&target.url())).await, Outcome::Status(200));
    }
    assert_eq!(target.accepted(), 2);
}

#[tokio::test]
async fn old_connections_are_closed_without_being_asked_for() {
    let (closed, mut closes) = mpsc::unbounded_channel();
    let target = Target::serve(move |mut tcp, _| {
        let closed = closed.clone();
        async move {
            read_request(&mut tcp).await;
            tcp.write_all(OK.as_bytes()).await.expect("a reader");
            assert!(read_request(&mut tcp).await.is_none());
            closed.send(()).expect("a listener");
        }
    })
    .await;
    let net = net(NetConfig { idle_ms_max: 1, ..on_loopback() });
    assert_eq!(status_of(&net, post(&target.url())).await, Outcome::Status(200));
    closes.recv().await.expect("closed by the sweeper");
    assert_eq!(net.pool.len(), 0);
}

/// Sends every name to loopback.
struct Home;

impl Resolve for Home {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Resolved<'a> {
        Box::pin(std::future::ready(Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])))
    }
}

/// What one project may reach, another may not: not even over a connection that is open already.
#[tokio::test]
async fn an_open_connection_lends_no_permission() {
    for host in ["127.0.0.1", "hook.example.com"] {
        let target = Target::answering(OK, Then::Again).await;
        let url = format!("http://{host}:{}/", target.address.port());
        let net = Net::new(NetConfig::default(), Arc::new(Home)).expect("sound");
        let allowed = || Request { allow: Arc::new(allow(&["127.0.0.1"])), ..post(&url) };
        assert_eq!(status_of(&net, allowed()).await, Outcome::Status(200));
        assert_eq!(net.pool.len(), 1);
        let response = net.attempt(post(&url)).await;
        assert_failed(&response, Failure::AddressForbidden, "another project");
        assert!(response.refused.expect("told why").to_string().contains("loopback"));
        assert_eq!(status_of(&net, allowed()).await, Outcome::Status(200));
        assert_eq!(target.accepted(), 1, "and its owner still has the connection");
    }
}

/// What an attempt holds while it waits. The rare parts (a dial, a handshake) are boxed: thousands
/// of attempts wait at once, and each is moved once when it starts.
#[tokio::test]
async fn an_attempt_is_small() {
    let net = net(on_loopback());
    let bytes = std::mem::size_of_val(&net.attempt(post("http://a.example/")));
    assert!(bytes <= 3_584, "{bytes}");
}
