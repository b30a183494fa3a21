//! Tunnels through an HTTP proxy.
//!
//! Owns CONNECT and the proof of who asks. Must never read more than the proxy's own answer: what follows belongs to the
//! target.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::model::secret::Secret;
use crate::model::target::Origin;

/// Largest answer of a proxy to CONNECT, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1_024;

/// Asks a proxy for a tunnel to the target. `false`: it answered, but gave none.
pub(super) async fn tunnel(
    proxy: &mut TcpStream,
    origin: &Origin,
    credentials: Option<&Secret>,
) -> io::Result<bool> {
    let authority = format!("{}:{}", origin.host, origin.port);
    let proof = credentials.map_or_else(String::new, |credentials| {
        format!("Proxy-Authorization: {}\r\n", authorization(credentials))
    });
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{proof}\r\n");
    proxy.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES_MAX {
            return Ok(false);
        }
        // One byte at a time: a buffer could swallow what the target says first.
        head.push(proxy.read_u8().await?);
    }
    Ok(is_success(&head))
}

/// The value of `Proxy-Authorization`: Basic, RFC 7617.
pub(super) fn authorization(credentials: &Secret) -> String {
    format!("Basic {}", STANDARD.encode(credentials.expose()))
}

fn is_success(head: &[u8]) -> bool {
    head.strip_prefix(b"HTTP/1.")
        .is_some_and(|rest| matches!(rest, [b'0' | b'1', b' ', b'2', b'0'..=b'9', b'0'..=b'9', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_proxys_status() {
        assert!(is_success(b"HTTP/1.1 200 Connection established\r\n\r\n"));
        assert!(is_success(b"HTTP/1.0 200\r\n\r\n"));
        for head in ["HTTP/1.1 407 Who are you\r\n\r\n", "HTTP/2 200\r\n\r\n", "200\r\n\r\n", ""] {
            assert!(!is_success(head.as_bytes()), "{head}");
        }
    }
}
