//! Framing: what is malformed or ambiguous is refused, and is never two requests.
//!
//! Owns the cases. Must never go through a client that would mend them.

use postrider::http::server::ServerConfig;

use crate::harness::{get, limited, patient, start};

/// Incomplete requests of these tests end at their deadlines.
fn impatient() -> ServerConfig {
    ServerConfig {
        header_timeout_ms: 300,
        idle_timeout_ms: 300,
        body_timeout_ms: 300,
        linger_timeout_ms: 300,
        ..patient()
    }
}

fn answers(transcript: &str) -> usize {
    transcript.matches("HTTP/1.1 ").count()
}

const EVIL: &str = "GET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn malformed_heads() -> Vec<String> {
    let long = "a".repeat(40 * 1_024);
    let mut heads: Vec<String> = [
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/0.9\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/11\r\nHost: localhost\r\n\r\n",
        "GET / http/1.1\r\nHost: localhost\r\n\r\n",
        "GET / XTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /  HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /\x7f HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /\rGET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET evil HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "CONNECT /evil HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{7c}\x03\x03 a hello of TLS",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\n: localhost\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n folded: yes\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n\tfolded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA: b\0c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA: b\x01c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA: b\x7fc\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA: b\rC: d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA\0: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA b: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\u{e4}: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\"A\": b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n(A): b\r\n\r\n",
    ]
    .map(str::to_owned)
    .to_vec();
    heads.push(format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    heads.push(format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", &long[..2_048]));
    heads.push(format!("GET /?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", &long[..8_193]));
    heads.push(format!("{long} / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    heads.push(format!("GET / HTTP/1.1\r\nHost: localhost\r\nA: {long}\r\n\r\n"));
    heads.push(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{long}: b\r\n\r\n"));
    heads.push(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(100)));
    for length in [
        "-1",
        "-0",
        "+1",
        "1a",
        "0x1",
        "1, 1",
        "1,1",
        "1, 2",
        "",
        "1 1",
        "1.0",
        "1e1",
        "a",
        "\"1\"",
        "1;",
        "18446744073709551616",
        "99999999999999999999999",
        "18446744073709551615",
        "1\x0b",
        "1\r\nContent-Length: 2",
        "2\r\nContent-Length: 1",
        "1\r\nContent-Length: -1",
    ] {
        heads.push(format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        ));
    }
    for encoding in [
        "",
        "identity",
        "gzip",
        "xchunked",
        "chunkedx",
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\x0b",
        "\x0bchunked",
        "chun ked",
        "chunked\0",
        "chunked\r\nTransfer-Encoding: identity",
        "identity\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "gzip\r\nTransfer-Encoding: chunked",
        "\r\n chunked",
    ] {
        heads.push(format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {encoding}\r\n\r\n"
        ));
    }
    heads.push(
        "POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            .to_owned(),
    );
    heads
}

#[tokio::test]
async fn a_malformed_head_is_refused_and_ends_the_connection() {
    limited(async {
        let server = start(impatient()).await;
        for head in malformed_heads() {
            let answer = server.exchange(format!("{head}{EVIL}").as_bytes()).await;
            let shown = &head[..head.len().min(80)];
            assert!(answers(&answer) <= 1, "{shown:?}: {answer}");
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown:?}: {answer}");
            assert_eq!(server.app.seen(), Vec::<String>::new(), "{shown:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn limits_on_the_head_have_their_own_statuses() {
    limited(async {
        let server = start(impatient()).await;
        let long = "a".repeat(40 * 1_024);
        for (status, head) in [
            (414, format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", &long[..2_048])),
            (414, format!("GET /?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", &long[..8_193])),
            (431, format!("GET / HTTP/1.1\r\nHost: localhost\r\nA: {long}\r\n\r\n")),
            (431, format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(100))),
            (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ] {
            let answer = server.exchange(head.as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
        assert_eq!(server.app.seen(), Vec::<String>::new());
        let fits = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", &long[..2_047]);
        assert_eq!(answers(&server.exchange(fits.as_bytes()).await), 1);
        assert_eq!(server.app.seen().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_malformed_chunk_is_refused_and_ends_the_connection() {
    limited(async {
        let server = start(impatient()).await;
        let flood = format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(100_000));
        let trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(10_000));
        for chunks in [
            "Z\r\nx\r\n0\r\n\r\n",
            "-1\r\nx\r\n0\r\n\r\n",
            "+1\r\nx\r\n0\r\n\r\n",
            "0x1\r\nx\r\n0\r\n\r\n",
            "\r\n1\r\nx\r\n0\r\n\r\n",
            ";a\r\nx\r\n0\r\n\r\n",
            "1\r\nxx\r\n0\r\n\r\n",
            "2\r\nx\r\n0\r\n\r\n",
            "1\r\nx0\r\n\r\n",
            "1\nx\n0\n\n",
            "1\rx\r\n0\r\n\r\n",
            "1\r\nx\n0\r\n\r\n",
            "1 1\r\nx\r\n0\r\n\r\n",
            "1,1\r\nx\r\n0\r\n\r\n",
            "1;a\nb\r\nx\r\n0\r\n\r\n",
            "1;\nx\r\n0\r\n\r\n",
            "FFFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\n",
            "FFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\n",
            "10000000000000001\r\nx\r\n0\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\n : b\r\n\r\n",
            "\0\r\n",
            "1\0\r\nx\r\n0\r\n\r\n",
            &flood,
            &trailers,
        ] {
            let request = format!(
                "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{EVIL}"
            );
            let answer = server.exchange(request.as_bytes()).await;
            let shown = &chunks[..chunks.len().min(40)];
            assert_eq!(answers(&answer), 1, "{shown:?}: {answer}");
            assert!(answer.starts_with("HTTP/1.1 4"), "{shown:?}: {answer}");
            assert!(!server.app.seen().contains(&"/evil".to_owned()), "{shown:?}");
        }
    })
    .await;
}

/// Each way to write `Transfer-Encoding` that one server may see and another not, with a length,
/// in both orders, and a body that is two requests to whoever goes by the wrong one.
fn ambiguous() -> Vec<String> {
    let spellings = [
        "Transfer-Encoding: chunked",
        "transfer-encoding:chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: chunked\t ",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity, chunked",
        "A: b\nTransfer-Encoding: chunked",
        "A: b\rTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding\0: chunked",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding: \x0bchunked",
    ];
    let chunk = format!("{:x}\r\n{EVIL}\r\n0\r\n\r\n", EVIL.len());
    let mut requests = Vec::new();
    for encoding in spellings {
        for (length, body) in [
            (5 + EVIL.len(), format!("0\r\n\r\n{EVIL}")),
            (4, chunk.clone()),
            (chunk.len(), format!("{chunk}{EVIL}")),
            (0, format!("0\r\n\r\n{EVIL}")),
        ] {
            let length = format!("Content-Length: {length}");
            for (one, two) in [(encoding, length.as_str()), (length.as_str(), encoding)] {
                requests.push(format!(
                    "POST /echo HTTP/1.1\r\nHost: localhost\r\n{one}\r\n{two}\r\n\r\n{body}"
                ));
            }
        }
    }
    requests
}

#[tokio::test]
async fn two_framings_are_never_two_requests() {
    limited(async {
        let server = start(impatient()).await;
        let requests = ambiguous();
        assert!(requests.len() > 100);
        for request in requests {
            let answer = server.exchange(request.as_bytes()).await;
            assert!(!server.app.seen().contains(&"/evil".to_owned()), "{request:?}");
            // An answer may quote the body that it was sent, which holds no status line.
            assert!(answers(&answer) <= 1, "{request:?}: {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn well_formed_requests_of_rarer_kinds_are_served() {
    limited(async {
        let server = start(impatient()).await;
        for (request, body) in [
            ("GET http://localhost/a HTTP/1.1\r\nHost: localhost\r\n\r\n", "/a"),
            ("GET http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n", "/"),
            ("TRACE /a HTTP/1.1\r\nHost: localhost\r\n\r\n", "/a"),
            ("OPTIONS /a HTTP/1.1\r\nHost: localhost\r\n\r\n", "/a"),
            ("BREW /a HTTP/1.1\r\nHost: localhost\r\n\r\n", "/a"),
            ("GET /a HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "/a"),
            ("GET /a HTTP/1.1\r\nHost:\r\n\r\n", "/a"),
            ("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "/a"),
            ("\r\nGET /a HTTP/1.1\r\nHost: localhost\r\n\r\n", "/a"),
            (
                "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                 1;ext=\"v\"\r\na\r\n2\r\nbc\r\n0\r\nTrailer: x\r\n\r\n",
                "abc",
            ),
            (
                "POST /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\
                 Content-Length: 2\r\n\r\nhi",
                "hi",
            ),
        ] {
            let mut client = server.connect().await;
            client.send(request).await;
            let reply = client.reply().await;
            assert_eq!((reply.status, reply.body.as_str()), (200, body), "{request:?}");
        }
        let mut client = server.connect().await;
        client.send(&(get("/one") + &get("/two") + &get("/three"))).await;
        for path in ["/one", "/two", "/three"] {
            assert_eq!(client.reply().await.body, path, "pipelined");
        }
    })
    .await;
}
