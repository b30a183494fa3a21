//! The server's limits over real sockets on loopback: deadlines, caps, framing, shutdown.
//!
//! Owns the proof that no client costs more than its share. Never waits by sleeping: each test
//! awaits what it expects, and a limit of its own ends one that would wait for ever.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod framing;
mod harness;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use postrider::clock;
use postrider::http::limits::{ClientLimiter, ClientRate};
use postrider::http::server::{Listener, ServerConfig, Stopped};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixListener, UnixStream};

use crate::harness::{
    BODY_BYTES_MAX, Client, NEVER_MS, SOON_MS, get, limited, patient, start, start_on,
};

// ---- deadlines -------------------------------------------------------------------------------

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_on_the_first_and_on_a_later_request() {
    limited(async {
        let server = start(ServerConfig { header_timeout_ms: SOON_MS, ..patient() }).await;
        assert_eq!(server.exchange(b"").await, "", "nothing at all");
        assert_eq!(server.exchange(b"GET / HTTP/1.1\r\nHost: lo").await, "");

        let mut client = server.connect().await;
        assert_eq!(client.get("/a").await.status, 200);
        client.send("GET / HTTP/1.1\r\n").await;
        assert_eq!(client.rest().await, "");
        assert_eq!(server.app.seen(), ["/a"]);
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    limited(async {
        let server = start(ServerConfig { idle_timeout_ms: SOON_MS, ..patient() }).await;
        for path in ["/a", "/none"] {
            let mut client = server.connect().await;
            client.get(path).await;
            assert_eq!(client.rest().await, "");
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_that_does_not_end_is_answered_with_408_and_closed() {
    limited(async {
        let server = start(ServerConfig { body_timeout_ms: SOON_MS, ..patient() }).await;
        for framing in
            ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc"]
        {
            let request = format!("POST /echo HTTP/1.1\r\nHost: localhost\r\n{framing}");
            let answer = server.exchange(request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
            assert!(answer.contains("connection: close\r\n"), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut() {
    limited(async {
        let config = ServerConfig { write_stall_timeout_ms: SOON_MS, ..patient() };
        let mut server = start(config).await;
        let mut client = server.connect().await;
        client.send(&get("/stream")).await;
        let (sender, dropped) = server.streams.recv().await.unwrap();
        let part = Bytes::from(vec![b'x'; 1 << 20]);
        while sender.send(part.clone()).await.is_ok() {}
        assert!(dropped.await.is_err());
    })
    .await;
}

// ---- bodies ----------------------------------------------------------------------------------

#[tokio::test]
async fn a_body_over_the_limit_is_413_declared_or_not() {
    limited(async {
        let server = start(patient()).await;
        let over = "x".repeat(BODY_BYTES_MAX + 1);
        let declared = format!("Content-Length: {}\r\n\r\n", over.len());
        let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{over}\r\n", over.len());
        let cases = [
            declared.clone(),
            format!("{declared}{over}"),
            "Content-Length: 18446744073709551613\r\n\r\n".to_owned(),
            chunked,
        ];
        for framing in cases {
            let request = format!("POST /echo HTTP/1.1\r\nHost: localhost\r\n{framing}");
            let answer = server.exchange(request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
            assert!(answer.contains("connection: close\r\n"), "{answer}");
        }
        let fits = "x".repeat(BODY_BYTES_MAX);
        let mut client = server.connect().await;
        for _ in 0..2 {
            let length = fits.len();
            client
                .send(&format!(
                    "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{fits}"
                ))
                .await;
            assert_eq!(client.reply().await.body, fits);
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_asks_first_is_told_before_the_body_is_sent() {
    limited(async {
        let server = start(patient()).await;
        let ask = |path: &str, bytes: usize| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
                 Content-Length: {bytes}\r\n\r\n"
            )
        };
        let mut client = server.connect().await;
        client.send(&ask("/echo", 3)).await;
        assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send("abc").await;
        assert_eq!(client.reply().await.body, "abc");

        let mut client = server.connect().await;
        client.send(&ask("/echo", 1 << 20)).await;
        assert_eq!(client.reply().await.status, 413);
        let mut client = server.connect().await;
        client.send(&ask("/refuse", 3)).await;
        assert_eq!(client.reply().await.status, 401);
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_was_refused_can_be_finished_and_its_answer_read() {
    limited(async {
        let server = start(ServerConfig { linger_timeout_ms: NEVER_MS, ..patient() }).await;
        let body_bytes = 32 << 20;
        for (path, answer_first) in
 [("/refuse", false), ("/echo", false), ("/refuse", true), ("/echo", true)] {
            let mut client = server.connect().await;
            client
                .send(&format!(
                    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {body_bytes}\r\n\r\n"
                ))
                .await;
            // Most clients only write at first; some have an answer before they write.
            if answer_first {
                assert!([401, 413].contains(&client.reply().await.status));
                assert_eq!(client.rest().await, "");
            }
            client.io.write_all(&vec![b'x'; body_bytes]).await.expect("not reset");
            if !answer_first {
                assert!([401, 413].contains(&client.reply().await.status));
            }
        }
    })
    .await;
}

// ---- caps ------------------------------------------------------------------------------------

#[tokio::test]
async fn one_connection_more_waits_until_one_ends() {
    limited(async {
        let mut server = start(ServerConfig { connections_max: 1, ..patient() }).await;
        let mut first = server.connect().await;
        first.send(&get("/hold")).await;
        server.held.recv().await.unwrap();
        let mut second = server.connect().await;
        second.send(&get("/second")).await;

        server.app.release.notify_one();
        assert_eq!(first.reply().await.status, 204);
        assert_eq!(first.get("/first").await.status, 200);
        drop(first);
        assert_eq!(second.reply().await.status, 200);
        assert_eq!(server.app.seen(), ["/hold", "/first", "/second"]);
    })
    .await;
}

#[tokio::test]
async fn a_client_s_connection_over_its_cap_is_closed_and_others_are_served() {
    limited(async {
        let server = start(ServerConfig { connections_per_client_max: 1, ..patient() }).await;
        let mut first = server.connect().await;
        assert_eq!(first.get("/a").await.status, 200);
        assert_eq!(server.exchange(get("/b").as_bytes()).await, "");

        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut other = Client::over(socket.connect(server.addr).await.unwrap());
        assert_eq!(other.get("/c").await.status, 200);

        first.send("GET /d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        assert_eq!(first.reply().await.status, 200);
        // The place is free again once the server has noticed the end; before, it closes.
        while server.connect().await.io.write_all(get("/e").as_bytes()).await.is_err()
            || !server.app.seen().contains(&"/e".to_owned())
        {
            tokio::task::yield_now().await;
        }
        assert!(!server.app.seen().contains(&"/b".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_trusted_proxy_may_have_many_connections() {
    limited(async {
        let server = start(ServerConfig {
            connections_per_client_max: 1,
            trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
            ..patient()
        })
        .await;
        let mut first = server.connect().await;
        let mut second = server.connect().await;
        assert_eq!(first.get("/a").await.status, 200);
        assert_eq!(second.get("/b").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_connection_ends_after_its_last_request() {
    limited(async {
        let config = ServerConfig { requests_per_connection_max: 2, ..patient() };
        let server = start(config).await;
        let mut client = server.connect().await;
        assert_eq!(client.get("/a").await.header("connection"), None);
        client.send(&(get("/b") + &get("/c"))).await;
        assert_eq!(client.reply().await.header("connection"), Some("close"));
        assert_eq!(client.rest().await, "");
        assert_eq!(server.app.seen(), ["/a", "/b"]);
    })
    .await;
}

fn limiter(burst: u32, keys_max: usize) -> Arc<ClientLimiter> {
    let per_minute = NonZeroU32::MIN;
    let burst = NonZeroU32::new(burst).unwrap();
    Arc::new(ClientLimiter::new(ClientRate { per_minute, burst, keys_max }))
}

#[tokio::test]
async fn a_client_over_its_rate_is_told_when_to_come_back() {
    limited(async {
        let config = ServerConfig { request_limiter: Some(limiter(2, 10)), ..patient() };
        let server = start(config).await;
        let mut client = server.connect().await;
        assert_eq!(client.get("/a").await.status, 200);
        assert_eq!(client.get("/b").await.status, 200);
        let spoofed = "GET /c HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n";
        client.send(spoofed).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 429);
        let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        assert!(reply.body.starts_with(r#"{"detail":"#));
        assert_eq!(server.app.seen(), ["/a", "/b"]);
    })
    .await;
}

#[tokio::test]
async fn behind_a_proxy_each_client_has_its_own_rate_and_keys_stay_few() {
    limited(async {
        let limiter = limiter(1, 3);
        let server = start(ServerConfig {
            request_limiter: Some(Arc::clone(&limiter)),
            trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
            ..patient()
        })
        .await;
        let mut client = server.connect().await;
        let mut statuses = Vec::new();
        for host in [1, 1, 2, 3, 4, 5, 6, 2] {
            client
                .send(&format!(
                    "GET /peer HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 9.9.9.9, 198.51.100.{host}\r\n\r\n"
                ))
                .await;
            let reply = client.reply().await;
            if reply.status == 200 {
                assert_eq!(reply.body, format!("198.51.100.{host} false"));
            }
            statuses.push(reply.status);
        }
        // 4 takes what all those share for whom there is no key.
        assert_eq!(statuses, [200, 429, 200, 200, 200, 429, 429, 429]);
        assert_eq!(limiter.keys(), 3);
    })
    .await;
}

// ---- what every answer has -------------------------------------------------------------------

#[tokio::test]
async fn requests_have_names_and_answers_are_not_sniffed() {
    limited(async {
        let server = start(patient()).await;
        let mut client = server.connect().await;
        let reply = client.get("/id").await;
        assert_eq!(reply.header("x-request-id").unwrap(), reply.body);
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        client.send("GET /id HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: job-7\r\n\r\n").await;
        let reply = client.reply().await;
        assert_eq!((reply.header("x-request-id"), reply.body.as_str()), (Some("job-7"), "job-7"));
        client.send("GET * HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: job-8\r\n\r\n").await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.header("x-request-id")), (400, Some("job-8")));
        assert_eq!(reply.header("content-type"), Some("application/json"));
    })
    .await;
}

#[tokio::test]
async fn head_and_204_have_headers_but_no_body() {
    limited(async {
        let server = start(patient()).await;
        let request = "HEAD /abc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = server.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-length: 4\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");

        let request = "GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = server.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer}");
        assert!(!answer.contains("\r\ncontent-"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn the_control_socket_s_user_is_an_operator_without_a_rate() {
    limited(async {
        let path = std::env::temp_dir().join(format!("control-{:x}.sock", clock::random_u64()));
        let listener = Listener::Unix(UnixListener::bind(&path).unwrap());
        let config = ServerConfig { request_limiter: Some(limiter(1, 10)), ..patient() };
        let _server = start_on(listener, SocketAddr::from(([0; 4], 0)), config);
        let mut client = Client::over(UnixStream::connect(&path).await.unwrap());
        for _ in 0..3 {
            client
                .send("GET /peer HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
                .await;
            assert_eq!(client.reply().await.body, "127.0.0.1 true");
        }
        std::fs::remove_file(&path).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_connection_only() {
    limited(async {
        let server = start(ServerConfig { connections_max: 2, ..patient() }).await;
        let mut other = server.connect().await;
        assert_eq!(other.get("/a").await.status, 200);
        for _ in 0..3 {
            assert_eq!(server.exchange(get("/panic").as_bytes()).await, "");
        }
        assert_eq!(other.get("/b").await.status, 200);
    })
    .await;
}

// ---- streams ---------------------------------------------------------------------------------

#[tokio::test]
async fn a_stream_s_guard_is_dropped_when_the_client_goes_though_nothing_is_sent() {
    limited(async {
        let mut server = start(patient()).await;
        let mut client = server.connect().await;
        client.send(&get("/stream")).await;
        let (sender, dropped) = server.streams.recv().await.unwrap();
        sender.send(Bytes::from_static(b"one\n")).await.unwrap();
        client.head().await;
        let mut part = [0; 9];
        client.io.read_exact(&mut part).await.unwrap();
        assert_eq!(&part, b"4\r\none\n\r\n");
        drop(client);
        assert!(dropped.await.is_err());
        sender.gone().await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_or_breaks_off_visibly() {
    limited(async {
        let mut server = start(patient()).await;
        for regular in [true, false] {
            let mut client = server.connect().await;
            client.send(&get("/stream").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
            let (sender, dropped) = server.streams.recv().await.unwrap();
            sender.send(Bytes::from_static(b"one\n")).await.unwrap();
            if regular {
                drop(sender);
            } else {
                sender.break_off().await;
            }
            assert_eq!(client.rest().await.ends_with("0\r\n\r\n"), regular);
            assert!(dropped.await.is_err());
        }
    })
    .await;
}

// ---- shutdown --------------------------------------------------------------------------------

#[tokio::test]
async fn a_shutdown_finishes_what_has_begun_and_takes_nothing_new() {
    limited(async {
        let mut server = start(patient()).await;
        let mut idle = server.connect().await;
        assert_eq!(idle.get("/a").await.status, 200);
        let mut silent = server.connect().await;
        let mut busy = server.connect().await;
        busy.send(&get("/hold")).await;
        server.held.recv().await.unwrap();

        server.stop.send(true).unwrap();
        assert_eq!(idle.rest().await, "");
        assert_eq!(silent.rest().await, "");
        while TcpStream::connect(server.addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!server.serving.is_finished());
        server.app.release.notify_one();
        let reply = busy.reply().await;
        assert_eq!((reply.status, reply.header("connection")), (204, Some("close")));
        assert_eq!(busy.rest().await, "");
        assert_eq!(server.serving.await.unwrap(), Stopped { cut: 0 });
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_cuts_what_does_not_end() {
    limited(async {
        let mut server = start(ServerConfig { shutdown_timeout_ms: SOON_MS, ..patient() }).await;
        let mut busy = server.connect().await;
        busy.send(&get("/hold")).await;
        server.held.recv().await.unwrap();
        drop(server.stop);
        assert_eq!(server.serving.await.unwrap(), Stopped { cut: 1 });
        assert_eq!(busy.rest().await, "");
    })
    .await;
}
