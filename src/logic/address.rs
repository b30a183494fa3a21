//! Addresses: which of them a target may have.
//!
//! Owns the tables of special-purpose addresses and names, the allow list, and the verdict on a
//! host and on what it resolves to. Denies by default. Must never resolve a name or parse a URL:
//! what it judges is what will be dialled.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

use crate::model::target::Host;

/// Longest host name, in bytes (RFC 1035).
pub const HOST_BYTES_MAX: usize = 253;

/// Why an address or a name is forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Forbidden {
    /// 0.0.0.0/8 and `::`.
    #[error("an unspecified address")]
    Unspecified,
    /// 127.0.0.0/8 and `::1`.
    #[error("a loopback address")]
    Loopback,
    /// RFC 1918, unique local and site-local addresses.
    #[error("a private address")]
    Private,
    /// 100.64.0.0/10, shared between the customers of a carrier.
    #[error("a carrier's shared address")]
    Shared,
    /// 169.254.0.0/16 and fe80::/10.
    #[error("a link-local address")]
    LinkLocal,
    /// Where a cloud hands out credentials.
    #[error("a cloud metadata address")]
    Metadata,
    /// 224.0.0.0/4 and ff00::/8.
    #[error("a multicast address")]
    Multicast,
    /// Addresses of examples.
    #[error("a documentation address")]
    Documentation,
    /// 198.18.0.0/15.
    #[error("a benchmarking address")]
    Benchmarking,
    /// What the registries reserve, do not route, or have not given to anybody.
    #[error("a reserved address")]
    Reserved,
    /// `::ffff:0:0/96`: a socket would take it for the IPv4 address.
    #[error("an IPv4-mapped address")]
    Mapped,
    /// 2002::/16 and its relays: a tunnel to an embedded IPv4 address.
    #[error("a 6to4 address")]
    SixToFour,
    /// 2001::/32: a tunnel to an embedded IPv4 address.
    #[error("a Teredo address")]
    Teredo,
    /// `localhost` and the names below it.
    #[error("a name of this machine")]
    LocalhostName,
    /// A single label or a name of a local network: it resolves differently from place to place.
    #[error("a name of a local network")]
    LocalName,
    /// A name that no registry gives out.
    #[error("not a host name")]
    BadName,
}

/// A host that may not be a target, and which of its addresses is the reason.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Refused {
    /// The host of the target.
    pub host: Host,
    /// The address that it resolved to, where the host is a name.
    pub address: Option<IpAddr>,
    /// What is wrong with it.
    pub reason: Forbidden,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { host, address, reason } = self;
        match address {
            Some(address) => write!(f, "{host} resolves to {address}, {reason}")?,
            None => write!(f, "{host} is {reason}")?,
        }
        f.write_str(", and not on the list [delivery] allow")
    }
}

/// Why a text is no entry of an allow list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("allow: {entry:?} is neither a network (10.0.0.0/8), an address, a host name nor *.a.name")]
pub struct AllowError {
    /// The entry as it was given.
    pub entry: String,
}

/// Networks and hosts that are let through although they are forbidden by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    networks: Vec<IpNet>,
    names: Vec<String>,
    /// Each with its leading dot.
    suffixes: Vec<String>,
}

impl AllowList {
    /// Reads networks (`10.0.0.0/8`), addresses, host names and `*.suffix`.
    pub fn parse(entries: &[String]) -> Result<AllowList, AllowError> {
        let mut list = AllowList::default();
        for entry in entries {
            list.add(entry.trim()).ok_or_else(|| AllowError { entry: entry.clone() })?;
        }
        Ok(list)
    }

    /// A list of nothing but this address.
    #[must_use]
    pub fn of_address(ip: IpAddr) -> AllowList {
        AllowList { networks: vec![IpNet::from(ip)], ..AllowList::default() }
    }

    /// Whether the list names this address by an address or a network. A network lets a metadata
    /// address through only if it is that address alone.
    #[must_use]
    pub fn address(&self, ip: IpAddr) -> bool {
        let embedded = transparent(ip).map(IpAddr::V4);
        let whole_only = is_metadata(ip);
        self.networks.iter().any(|network| {
            (network.contains(&ip) || embedded.is_some_and(|v4| network.contains(&v4)))
                && (!whole_only || network.prefix_len() == network.max_prefix_len())
        })
    }

    /// Whether the list names this host.
    #[must_use]
    pub fn host(&self, host: &Host) -> bool {
        match host {
            Host::Address(ip) => self.address(*ip),
            Host::Name(name) => {
                let name = undotted(name);
                self.names.iter().any(|listed| listed == name)
                    || self.suffixes.iter().any(|suffix| name.ends_with(suffix.as_str()))
            }
        }
    }

    fn add(&mut self, entry: &str) -> Option<()> {
        if entry.contains('/') {
            self.networks.push(entry.parse::<IpNet>().ok()?.trunc());
        } else if let Ok(ip) = unbracketed(entry).parse::<IpAddr>() {
            self.networks.push(IpNet::from(ip));
        } else if let Some(suffix) = entry.strip_prefix("*.") {
            self.suffixes.push(format!(".{}", listed_name(suffix)?));
        } else {
            self.names.push(listed_name(entry)?);
        }
        Some(())
    }
}

/// Judges one address by the tables alone.
pub fn judge(ip: IpAddr) -> Result<(), Forbidden> {
    if is_metadata(ip) {
        return Err(Forbidden::Metadata);
    }
    match ip {
        IpAddr::V4(v4) => judge_v4(v4),
        IpAddr::V6(v6) => judge_v6(v6),
    }
}

/// Judges what can be judged before anything is resolved: literal addresses and special names.
pub fn check_host(host: &Host, lists: &[&AllowList]) -> Result<(), Refused> {
    let verdict = match host {
        Host::Address(ip) => permit(*ip, false, lists),
        Host::Name(_) if lists.iter().any(|list| list.host(host)) => Ok(()),
        Host::Name(name) => judge_name(undotted(name), lists),
    };
    verdict.map_err(|reason| Refused { host: host.clone(), address: None, reason })
}

/// Judges a host with everything that it resolved to: one forbidden address refuses them all,
/// since whoever answers for the name is not to be trusted with the choice.
pub fn check_resolved(
    host: &Host,
    addresses: &[IpAddr],
    lists: &[&AllowList],
) -> Result<(), Refused> {
    check_host(host, lists)?;
    let host_listed = lists.iter().any(|list| list.host(host));
    for ip in addresses {
        permit(*ip, host_listed, lists).map_err(|reason| Refused {
            host: host.clone(),
            address: matches!(host, Host::Name(_)).then_some(*ip),
            reason,
        })?;
    }
    Ok(())
}

/// The addresses of `localhost` and the names below it, which are never asked of a resolver (RFC
/// 6761): those loopback addresses that the lists let through. `None` for any other host.
#[must_use]
pub fn localhost(host: &Host, lists: &[&AllowList]) -> Option<Vec<IpAddr>> {
    match host {
        Host::Name(name) if is_localhost(undotted(name)) => {
            let listed = lists.iter().any(|list| list.host(host));
            Some(LOOPBACKS.into_iter().filter(|ip| permit(*ip, listed, lists).is_ok()).collect())
        }
        _ => None,
    }
}

fn permit(ip: IpAddr, host_listed: bool, lists: &[&AllowList]) -> Result<(), Forbidden> {
    if lists.iter().any(|list| list.address(ip)) {
        return Ok(());
    }
    match judge(ip) {
        Err(Forbidden::Metadata) => Err(Forbidden::Metadata),
        _ if host_listed => Ok(()),
        verdict => verdict,
    }
}

fn judge_name(name: &str, lists: &[&AllowList]) -> Result<(), Forbidden> {
    if name.len() > HOST_BYTES_MAX || name.split('.').any(str::is_empty) {
        return Err(Forbidden::BadName);
    }
    if is_localhost(name) {
        let reachable = LOOPBACKS.into_iter().any(|ip| permit(ip, false, lists).is_ok());
        return if reachable { Ok(()) } else { Err(Forbidden::LocalhostName) };
    }
    // Who lets a network through wants to use the names in it; the addresses are judged anyway.
    let has_networks = lists.iter().any(|list| !list.networks.is_empty());
    if is_local(name) && !has_networks { Err(Forbidden::LocalName) } else { Ok(()) }
}

fn judge_v4(ip: Ipv4Addr) -> Result<(), Forbidden> {
    match SPECIAL_V4.iter().find(|(network, _)| network.contains(&ip)) {
        Some((_, reason)) => Err(*reason),
        None => Ok(()),
    }
}

fn judge_v6(ip: Ipv6Addr) -> Result<(), Forbidden> {
    // An IPv6-only network reaches all of IPv4 through NAT64: what counts is the embedded address.
    if NAT64.contains(&ip) {
        return judge_v4(low_v4(ip));
    }
    match SPECIAL_V6.iter().find(|(network, _)| network.contains(&ip)) {
        Some((_, reason)) => Err(*reason),
        None if GLOBAL_UNICAST.contains(&ip) => Ok(()),
        None => Err(Forbidden::Reserved),
    }
}

fn is_metadata(ip: IpAddr) -> bool {
    METADATA.contains(&ip) || embedded(ip).is_some_and(|v4| METADATA.contains(&IpAddr::V4(v4)))
}

/// The IPv4 address that packets to this one end up at without any configuration of ours.
fn transparent(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V6(v6) if NAT64.contains(&v6) => Some(low_v4(v6)),
        IpAddr::V6(v6) => v6.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    }
}

/// Any IPv4 address within, tunnels included.
fn embedded(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else { return None };
    if SIX_TO_FOUR.contains(&v6) {
        let [_, _, a, b, c, d, ..] = v6.octets();
        return Some(Ipv4Addr::new(a, b, c, d));
    }
    transparent(ip).or_else(|| v6.to_ipv4())
}

fn low_v4(ip: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = ip.octets();
    Ipv4Addr::new(a, b, c, d)
}

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn is_local(name: &str) -> bool {
    !name.contains('.') || LOCAL_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// The root's dot ends a name without changing it.
fn undotted(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

/// A listed name in the form that a parsed URL has it in: lower-case and punycoded.
fn listed_name(text: &str) -> Option<String> {
    match url::Host::parse(undotted(text)) {
        Ok(url::Host::Domain(name))
            if !name.contains('*') && !name.split('.').any(str::is_empty) =>
        {
            Some(name)
        }
        _ => None,
    }
}

const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Names of local networks (RFC 6762, RFC 8375, ICANN's `.internal`).
const LOCAL_SUFFIXES: [&str; 3] = [".local", ".internal", ".home.arpa"];

const METADATA: [IpAddr; 9] = [
    // AWS, Azure, Google Cloud, OpenStack, DigitalOcean, Oracle.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    // AWS: credentials of ECS tasks and EKS pods.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    // Google Cloud over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    // Alibaba Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure's host agent: a public address that means the machine below.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Oracle Cloud, classic.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// IANA's IPv4 Special-Purpose Address Registry, without what is globally reachable.
const SPECIAL_V4: [(Ipv4Net, Forbidden); 16] = [
    (v4(0, 0, 0, 0, 8), Forbidden::Unspecified),
    (v4(10, 0, 0, 0, 8), Forbidden::Private),
    (v4(100, 64, 0, 0, 10), Forbidden::Shared),
    (v4(127, 0, 0, 0, 8), Forbidden::Loopback),
    (v4(169, 254, 0, 0, 16), Forbidden::LinkLocal),
    (v4(172, 16, 0, 0, 12), Forbidden::Private),
    (v4(192, 0, 0, 0, 24), Forbidden::Reserved),
    (v4(192, 0, 2, 0, 24), Forbidden::Documentation),
    (v4(192, 88, 99, 0, 24), Forbidden::SixToFour),
    (v4(192, 168, 0, 0, 16), Forbidden::Private),
    (v4(198, 18, 0, 0, 15), Forbidden::Benchmarking),
    (v4(198, 51, 100, 0, 24), Forbidden::Documentation),
    (v4(203, 0, 113, 0, 24), Forbidden::Documentation),
    (v4(224, 0, 0, 0, 4), Forbidden::Multicast),
    (v4(255, 255, 255, 255, 32), Forbidden::Reserved),
    (v4(240, 0, 0, 0, 4), Forbidden::Reserved),
];

const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 16);
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);

/// The first match counts. What is neither here nor in [`GLOBAL_UNICAST`] is reserved: all of
/// `::/8` beside [`NAT64`], the local NAT64 prefix, 100::/64, 5f00::/16 and the unallocated rest.
const SPECIAL_V6: [(Ipv6Net, Forbidden); 12] = [
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), Forbidden::Unspecified),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), Forbidden::Loopback),
    (Ipv6Net::new_assert(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), 96), Forbidden::Mapped),
    (v6(0x2001, 0, 0, 32), Forbidden::Teredo),
    (v6(0x2001, 0, 0, 23), Forbidden::Reserved),
    (v6(0x2001, 0xdb8, 0, 32), Forbidden::Documentation),
    (SIX_TO_FOUR, Forbidden::SixToFour),
    (v6(0x3fff, 0, 0, 20), Forbidden::Documentation),
    (v6(0xfc00, 0, 0, 7), Forbidden::Private),
    (v6(0xfe80, 0, 0, 10), Forbidden::LinkLocal),
    (v6(0xfec0, 0, 0, 10), Forbidden::Private),
    (v6(0xff00, 0, 0, 8), Forbidden::Multicast),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix_bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_bits)
}

const fn v6(a: u16, b: u16, c: u16, prefix_bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn name(text: &str) -> Host {
        Host::Name(text.to_owned())
    }

    fn list(entries: &[&str]) -> AllowList {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        AllowList::parse(&entries).expect("a sound list")
    }

    #[test]
    fn judges_by_the_tables() {
        for (text, reason) in [
            ("127.0.0.1", Forbidden::Loopback),
            ("0.0.0.0", Forbidden::Unspecified),
            ("10.255.255.255", Forbidden::Private),
            ("172.31.255.255", Forbidden::Private),
            ("169.254.0.1", Forbidden::LinkLocal),
            ("169.254.169.254", Forbidden::Metadata),
            ("168.63.129.16", Forbidden::Metadata),
            ("fd00:ec2::254", Forbidden::Metadata),
            ("100.127.255.255", Forbidden::Shared),
            ("192.88.99.1", Forbidden::SixToFour),
            ("224.0.0.1", Forbidden::Multicast),
            ("::1", Forbidden::Loopback),
            ("::", Forbidden::Unspecified),
            ("::ffff:8.8.8.8", Forbidden::Mapped),
            ("::ffff:169.254.169.254", Forbidden::Metadata),
            ("::8.8.8.8", Forbidden::Reserved),
            ("64:ff9b::127.0.0.1", Forbidden::Loopback),
            ("64:ff9b::169.254.169.254", Forbidden::Metadata),
            ("64:ff9b:1::808:808", Forbidden::Reserved),
            ("2001::1", Forbidden::Teredo),
            ("2002:7f00:1::", Forbidden::SixToFour),
            ("2001:db8::1", Forbidden::Documentation),
            ("3fff::1", Forbidden::Documentation),
            ("4000::1", Forbidden::Reserved),
            ("100::1", Forbidden::Reserved),
            ("fe80::1", Forbidden::LinkLocal),
            ("fec0::1", Forbidden::Private),
            ("fdff::1", Forbidden::Private),
            ("ff02::1", Forbidden::Multicast),
        ] {
            assert_eq!(judge(ip(text)), Err(reason), "{text}");
        }
        for text in ["8.8.8.8", "172.32.0.0", "128.0.0.0", "2606:4700::1111", "64:ff9b::8.8.8.8"] {
            assert_eq!(judge(ip(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_allow_list_lets_networks_addresses_and_names_through() {
        let allow = list(&["10.0.0.0/8", "[::1]", "Hook.Example.COM", "*.corp.example", "::5/128"]);
        for text in ["10.1.2.3", "::1", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "::5"] {
            assert!(allow.address(ip(text)), "{text}");
        }
        for text in ["11.0.0.1", "127.0.0.1", "::2", "2002:a01:203::"] {
            assert!(!allow.address(ip(text)), "{text}");
        }
        for text in ["hook.example.com", "hook.example.com.", "a.corp.example", "a.b.corp.example"]
        {
            assert!(allow.host(&name(text)), "{text}");
        }
        for text in ["example.com", "corp.example", "acorp.example", "x.hook.example.com"] {
            assert!(!allow.host(&name(text)), "{text}");
        }
    }

    #[test]
    fn an_entry_that_is_none_is_named() {
        for entry in ["", "10.0.0.0/33", "10.0.0", "0x7f.1", "a b", "*.", "*", "a..b", "http://a"] {
            let error = AllowList::parse(&["10.0.0.0/8".to_owned(), entry.to_owned()]);
            assert_eq!(error, Err(AllowError { entry: entry.to_owned() }), "{entry}");
        }
    }

    #[test]
    fn metadata_has_to_be_named_exactly() {
        let metadata = [ip("169.254.169.254")];
        let host = name("metadata.example.com");
        for entries in [&["169.254.0.0/16"][..], &["0.0.0.0/0", "::/0"], &["metadata.example.com"]]
        {
            let refused = check_resolved(&host, &metadata, &[&list(entries)]);
            assert_eq!(refused.map_err(|r| r.reason), Err(Forbidden::Metadata), "{entries:?}");
        }
        for entry in ["169.254.169.254", "169.254.169.254/32"] {
            assert_eq!(check_resolved(&host, &metadata, &[&list(&[entry])]), Ok(()), "{entry}");
        }
        let mapped = Host::Address(ip("::ffff:169.254.169.254"));
        assert!(check_host(&mapped, &[&list(&["::/0"])]).is_err());
    }

    #[test]
    fn one_forbidden_answer_refuses_all() {
        let host = name("example.com");
        let mixed = [ip("8.8.8.8"), ip("10.0.0.1")];
        let refused = check_resolved(&host, &mixed, &[]).expect_err("one is private");
        assert_eq!(refused.reason, Forbidden::Private);
        assert_eq!(
            refused.to_string(),
            "example.com resolves to 10.0.0.1, a private address, and not on the list \
             [delivery] allow"
        );
        assert_eq!(check_resolved(&host, &mixed, &[&list(&["10.0.0.1"])]), Ok(()));
        assert_eq!(check_resolved(&host, &mixed, &[&list(&["example.com"])]), Ok(()));
        assert_eq!(check_resolved(&host, &mixed[..1], &[]), Ok(()));
    }

    #[test]
    fn special_names() {
        let none = AllowList::default();
        for (text, reason) in [
            ("localhost", Forbidden::LocalhostName),
            ("localhost.", Forbidden::LocalhostName),
            ("a.localhost", Forbidden::LocalhostName),
            ("printer", Forbidden::LocalName),
            ("printer.local.", Forbidden::LocalName),
            ("metadata.google.internal", Forbidden::LocalName),
            ("a..example.com", Forbidden::BadName),
            ("127.0.0.1..", Forbidden::BadName),
            (&format!("{}com", "a.".repeat(126)), Forbidden::BadName),
        ] {
            let refused = check_host(&name(text), &[&none]).expect_err(text);
            assert_eq!((refused.reason, refused.address), (reason, None), "{text}");
        }
        for text in
            ["example.com", "example.com.", "localhost.example.com", "xn--bcher-kva.example"]
        {
            assert_eq!(check_host(&name(text), &[&none]), Ok(()), "{text}");
        }
        assert_eq!(check_host(&name("localhost"), &[&none, &list(&["127.0.0.0/8"])]), Ok(()));
        assert_eq!(check_host(&name("localhost"), &[&list(&["localhost"])]), Ok(()));
        assert!(check_host(&name("localhost"), &[&list(&["10.0.0.0/8"])]).is_err());
        assert_eq!(check_host(&name("receiver"), &[&list(&["10.0.0.0/8"])]), Ok(()));
        assert_eq!(check_host(&name("receiver"), &[&list(&["receiver"])]), Ok(()));
    }

    #[test]
    fn localhost_is_what_the_lists_let_it_be() {
        let both = vec![ip("127.0.0.1"), ip("::1")];
        assert_eq!(localhost(&name("localhost"), &[&list(&["localhost"])]), Some(both));
        let v4 = list(&["127.0.0.0/8"]);
        assert_eq!(localhost(&name("a.localhost."), &[&v4]), Some(vec![ip("127.0.0.1")]));
        assert_eq!(localhost(&name("localhost"), &[]), Some(Vec::new()));
        assert_eq!(localhost(&name("localhost.example.com"), &[&v4]), None);
        assert_eq!(localhost(&Host::Address(ip("127.0.0.1")), &[&v4]), None);
    }
}
