//! Targets that misbehave: each is met with its own class of failure, and none is read without
//! end.

use std::sync::Mutex;

use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn outcome_of(bytes: impl Into<Vec<u8>>, then: Then) -> Response {
    let target = Target::answering(bytes, then).await;
    net(on_loopback()).attempt(post(&target.url())).await
}

#[tokio::test]
async fn an_answer_comes_back_whole() {
    let (seen, head) = oneshot::channel();
    let seen = Mutex::new(Some(seen));
    let target = Target::serve(move |mut tcp, _| {
        let seen = seen.lock().expect("unpoisoned").take();
        async move {
            let head = read_request(&mut tcp).await.expect("a request");
            let _ = seen.expect("one connection").send(head);
            let answer = "HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nX-A: 1\r\nX-A: 2\r\n\
                          content-length: 4\r\n\r\nbusy";
            tcp.write_all(answer.as_bytes()).await.expect("a reader");
        }
    })
    .await;
    let response = net(on_loopback()).attempt(post(&target.url())).await;
    assert_eq!(response.outcome, Outcome::Status(503));
    assert_eq!(response.address, Some(target.address));
    assert_eq!(response.body, b"busy");
    assert!(!response.body_truncated);
    assert_eq!(response.retry_after.as_deref(), Some("120"));
    let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    assert!(response.headers.contains(&header("x-a", "2")), "{:?}", response.headers);
    let phases = response.phases;
    assert!(phases.connect_ms.is_some() && phases.first_byte_ms.is_some());
    assert!(phases.dns_ms.is_none() && phases.tls_ms.is_none());
    let head = head.await.expect("sent");
    let lines: Vec<&str> = head.trim_end().lines().collect();
    assert_eq!(
        lines,
        [
            "POST /hook?x=1 HTTP/1.1",
            &format!("host: {}", target.address),
            "content-type: application/json",
            "content-length: 7",
        ]
    );
}

#[tokio::test]
async fn statuses_are_handed_on_and_redirects_not_followed() {
    for status in [200, 204, 299, 304, 400, 410, 500, 599] {
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        let response = outcome_of(head, Then::Close).await;
        assert_eq!(response.outcome, Outcome::Status(status));
    }
    let canary = Target::answering(OK, Then::Close).await;
    let redirect =
        format!("HTTP/1.1 307 X\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", canary.url());
    assert_eq!(outcome_of(redirect, Then::Close).await.outcome, Outcome::Status(307));
    assert_eq!(canary.accepted(), 0);
}

#[tokio::test]
async fn what_is_not_http_is_malformed() {
    for (bytes, what) in [
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "101"),
        ("HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n", "999"),
        ("HTTP/1.1 600 X\r\ncontent-length: 0\r\n\r\n", "600"),
        ("HTTP/1.1 99 X\r\n\r\n", "99"),
        ("HTTP/1.1 2000 X\r\n\r\n", "2000"),
        ("<html>hello</html>\r\n\r\n", "HTTP/0.9"),
        ("\0\x01\x02\x03\r\n\r\n", "garbage"),
        ("SSH-2.0-OpenSSH_9.9\r\n\r\n", "another protocol"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "an HTTP/2 preface"),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "a negative length"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok", "two lengths"),
        ("HTTP/1.1 200 OK\r\nx-a: \0\r\n\r\n", "NUL in a header"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "a header that is none"),
    ] {
        let response = outcome_of(bytes, Then::Hang).await;
        assert_failed(&response, Failure::ResponseMalformed, what);
    }
}

#[tokio::test]
async fn headers_are_capped() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(100));
    assert_failed(&outcome_of(many, Then::Hang).await, Failure::ResponseTooLarge, "100 headers");
    let long = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_failed(
        &outcome_of(long, Then::Hang).await,
        Failure::ResponseTooLarge,
        "a header of 1 MiB",
    );
    let endless = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(1 << 20));
    assert_failed(&outcome_of(endless, Then::Hang).await, Failure::ResponseTooLarge, "no end");
    let large = format!(
        "HTTP/1.1 200 OK\r\nb: 1\r\na: {}\r\ncontent-length: 0\r\n\r\n",
        "x".repeat(20_000)
    );
    let response = outcome_of(large, Then::Close).await;
    assert_eq!(response.outcome, Outcome::Status(200), "large, but within the limit");
    assert_eq!(response.headers, [("b".to_owned(), b"1".to_vec())], "stored up to the cap");
    let late =
        format!("HTTP/1.1 503 X\r\nretry-after: {}\r\ncontent-length: 0\r\n\r\n", "9".repeat(999));
    let response = outcome_of(late, Then::Close).await;
    assert_eq!(response.retry_after, Some("9".repeat(64)));
}

#[tokio::test]
async fn interim_answers_are_counted() {
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n";
    let few = format!("{}{OK}", interim.repeat(16));
    assert_eq!(outcome_of(few, Then::Close).await.outcome, Outcome::Status(200));
    let target = Target::serve(move |mut tcp, _| async move {
        read_request(&mut tcp).await;
        while tcp.write_all(interim.repeat(50).as_bytes()).await.is_ok() {}
    })
    .await;
    let response = net(on_loopback()).attempt(post(&target.url())).await;
    assert_failed(&response, Failure::TooManyInterim, "endless 103");
}

#[tokio::test]
async fn a_target_that_hangs_costs_one_deadline() {
    for (bytes, what) in [
        ("", "after the request"),
        ("HTTP/1.1 20", "in the status line"),
        ("HTTP/1.1 200 OK\r\nx-a", "in a header"),
        ("HTTP/1.1 200 OK\r\nx-a: b\r\n", "before the end of the headers"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "after an interim answer"),
    ] {
        let target = Target::answering(bytes, Then::Hang).await;
        let response = net(impatient()).attempt(post(&target.url())).await;
        assert_failed(&response, Failure::Timeout, what);
    }
    // Nobody accepts, but the system completes the handshake.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    assert_failed(&net(impatient()).attempt(post(&url)).await, Failure::Timeout, "in accept");
}

#[tokio::test]
async fn an_answer_that_drips_costs_one_deadline() {
    let target = Target::serve(|mut tcp, _| async move {
        read_request(&mut tcp).await;
        let mut bytes = b"HTTP/1.1 200 OK\r\n".iter().chain(std::iter::repeat(&b'x'));
        while tcp.write_all(&[*bytes.next().expect("endless")]).await.is_ok() {
            crate::clock::sleep(20).await;
        }
    })
    .await;
    let response = net(impatient()).attempt(post(&target.url())).await;
    assert_failed(&response, Failure::Timeout, "one byte after another");
}

#[tokio::test]
async fn a_connect_that_hangs_has_its_own_deadline() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("a listener that nobody accepts from");
    let address = listener.local_addr().expect("bound");
    let mut waiting = Vec::new();
    while let Ok(connected) = crate::clock::within(SHORT_MS, TcpStream::connect(address)).await {
        waiting.push(connected.expect("room in the backlog"));
        assert!(waiting.len() < 100, "the backlog never fills");
    }
    let config = NetConfig { connect_timeout_ms: SHORT_MS, ..on_loopback() };
    let response = net(config).attempt(post(&format!("http://{address}/"))).await;
    assert_failed(&response, Failure::ConnectTimeout, "a full backlog");
}

#[tokio::test]
async fn connections_that_end_early() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let free = listener.local_addr().expect("bound");
    drop(listener);
    let response = net(on_loopback()).attempt(post(&format!("http://{free}/"))).await;
    assert_failed(&response, Failure::ConnectRefused, "nobody listens");
    for (bytes, then, what) in [
        ("", Then::Close, "closed after the request"),
        ("", Then::Reset, "reset after the request"),
        ("HTTP/1.1 200 OK\r\nx-", Then::Close, "closed within the headers"),
        ("HTTP/1.1 200 OK\r\nx-", Then::Reset, "reset within the headers"),
    ] {
        let target = Target::answering(bytes, then).await;
        let response = net(on_loopback()).attempt(post(&target.url())).await;
        assert_failed(&response, Failure::ConnectionClosed, what);
        assert_eq!(target.accepted(), 1, "{what}: a fresh connection is no reason to try again");
    }
    let target = Target::serve(|tcp, _| async move {
        tcp.set_zero_linger().expect("a socket option");
    })
    .await;
    let response = net(on_loopback()).attempt(post(&target.url())).await;
    // The reset may overtake the end of the connect.
    assert!(
        matches!(
            response.outcome,
            Outcome::Failure(Failure::ConnectionClosed | Failure::ConnectFailed)
        ),
        "{response:?}"
    );
}

#[tokio::test]
async fn a_bad_body_keeps_the_status() {
    for (body, then, what) in [
        ("content-length: 10\r\n\r\nhalf", Then::Close, "shorter than announced"),
        ("content-length: 10\r\n\r\nhalf", Then::Hang, "never finished"),
        ("transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", Then::Close, "no last chunk"),
        ("transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n", Then::Hang, "a broken chunk"),
    ] {
        let target = Target::answering(format!("HTTP/1.1 200 OK\r\n{body}"), then).await;
        let net = net(impatient());
        let response = net.attempt(post(&target.url())).await;
        assert_eq!(response.outcome, Outcome::Status(200), "{what}");
        assert_eq!(response.body, b"half", "{what}");
        assert!(response.body_truncated, "{what}");
        assert_eq!(net.pool.len(), 0, "{what}: the connection is not used again");
    }
    let response = outcome_of("HTTP/1.1 200 OK\r\n\r\nto the end", Then::Close).await;
    assert_eq!((response.body.as_slice(), response.body_truncated), (&b"to the end"[..], false));
}

#[tokio::test]
async fn a_body_is_read_up_to_its_cap() {
    let (stopped, end) = oneshot::channel();
    let stopped = Mutex::new(Some(stopped));
    let target = Target::serve(move |mut tcp, _| {
        let stopped = stopped.lock().expect("unpoisoned").take();
        async move {
            read_request(&mut tcp).await;
            let chunk = [b'x'; 4_096];
            tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n")
                .await
                .expect("a reader");
            // Ends only because the reader goes away: the body has no end of its own.
            while tcp.write_all(&chunk).await.is_ok() {}
            let _ = stopped.expect("one connection").send(());
        }
    })
    .await;
    let net = net(on_loopback());
    let response = net.attempt(post(&target.url())).await;
    assert_eq!(response.outcome, Outcome::Status(200));
    assert_eq!(response.body, vec![b'x'; 16 * 1_024]);
    assert!(response.body_truncated);
    end.await.expect("the connection is dropped");
    let exact = format!("HTTP/1.1 200 OK\r\ncontent-length: 16384\r\n\r\n{}", "x".repeat(16_384));
    let response = outcome_of(exact, Then::Again).await;
    assert_eq!((response.body.len(), response.body_truncated), (16_384, false));
}

#[tokio::test]
async fn an_attempt_that_is_dropped_lets_go_of_its_connection() {
    let (closed, end) = oneshot::channel();
    let (asked, asking) = oneshot::channel();
    let ends = Mutex::new(Some((asked, closed)));
    let target = Target::serve(move |mut tcp, _| {
        let (asked, closed) = ends.lock().expect("unpoisoned").take().expect("one connection");
        async move {
            read_request(&mut tcp).await;
            let _ = asked.send(());
            assert!(read_request(&mut tcp).await.is_none(), "the end, no other request");
            let _ = closed.send(());
        }
    })
    .await;
    let net = net(on_loopback());
    let request = post(&target.url());
    tokio::select! {
        response = net.attempt(request) => panic!("{response:?}"),
        asked = asking => asked.expect("asked"),
    }
    end.await.expect("the connection is closed");
}

#[tokio::test]
async fn an_answer_before_the_request_was_read_counts_but_the_connection_does_not() {
    let target = Target::serve(|mut tcp, _| async move {
        tcp.read_u8().await.expect("the first byte of a request");
        tcp.write_all(OK.as_bytes()).await.expect("a reader");
        std::future::pending().await
    })
    .await;
    let net = net(on_loopback());
    // More than the buffers of two sockets hold.
    let body = Bytes::from(vec![b'x'; 32 << 20]);
    let response = net.attempt(Request { body, ..post(&target.url()) }).await;
    assert_eq!(response.outcome, Outcome::Status(200));
    assert_eq!(net.pool.len(), 0);
}
