//! Who is at the other end: the address that a connection comes from, and the client behind it.
//!
//! Owns whose word is taken for a forwarded address. Must never believe a header of a peer that
//! is not a trusted proxy: whoever can choose their address has no limits.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where the connection comes from; `None` for the control socket.
    pub addr: Option<SocketAddr>,
    /// The client that counts for limits and logs: the peer, or whom a trusted proxy names.
    pub client: IpAddr,
    /// Whether this is the control socket, whose file permissions make its user an operator.
    pub control: bool,
}

impl Peer {
    /// The user of the control socket.
    #[must_use]
    pub fn control() -> Peer {
        Peer { addr: None, client: IpAddr::V4(Ipv4Addr::LOCALHOST), control: true }
    }

    /// The sender of a request with these headers, over a connection from `addr`.
    #[must_use]
    pub fn remote(addr: SocketAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> Peer {
        let client = client(addr.ip(), headers, trusted_proxies);
        Peer { addr: Some(addr), client, control: false }
    }
}

/// Whether `address` is one of these proxies.
#[must_use]
pub fn is_trusted(address: IpAddr, trusted_proxies: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted_proxies.iter().any(|proxies| proxies.contains(&address))
}

/// Walks `X-Forwarded-For` from its end, which the nearest proxy wrote, to the first address that
/// is no trusted proxy. What stands left of that one is hearsay, and so is what no address can be
/// read from.
fn client(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    let lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    let mut hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    while is_trusted(client, trusted_proxies) {
        let Some(hop) = hops.next().and_then(address) else { break };
        client = hop;
    }
    client
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse::<IpAddr>();
    let address = address.or_else(|_| hop.parse::<SocketAddr>().map(|addr| addr.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn client_of(peer: &str, forwarded_for: &[&str]) -> String {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in forwarded_for {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        Peer::remote(peer.parse().unwrap(), &headers, &trusted).client.to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(client_of("203.0.113.5:9", &["198.51.100.1"]), "203.0.113.5");
        assert_eq!(client_of("10.0.0.1:9", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client_of("[::ffff:10.0.0.1]:9", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client_of("[fd00::1]:9", &["2001:db8::7"]), "2001:db8::7");
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_counts() {
        let spoofed = "1.1.1.1, 198.51.100.1, 10.9.9.9";
        assert_eq!(client_of("10.0.0.1:9", &[spoofed]), "198.51.100.1");
        assert_eq!(client_of("10.0.0.1:9", &["1.1.1.1", "198.51.100.1,10.2.0.1"]), "198.51.100.1");
        assert_eq!(client_of("10.0.0.1:9", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        assert_eq!(client_of("10.0.0.1:9", &[]), "10.0.0.1");
        assert_eq!(client_of("10.0.0.1:9", &["1.1.1.1, unknown"]), "10.0.0.1");
        assert_eq!(client_of("10.0.0.1:9", &["1.1.1.1, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client_of("10.0.0.1:9", &[""]), "10.0.0.1");
    }

    #[test]
    fn ports_and_brackets_are_understood() {
        assert_eq!(client_of("10.0.0.1:9", &["198.51.100.1:1234"]), "198.51.100.1");
        assert_eq!(client_of("10.0.0.1:9", &["[2001:db8::7]:1234"]), "2001:db8::7");
        assert_eq!(client_of("10.0.0.1:9", &["[2001:db8::7]"]), "2001:db8::7");
    }
}
