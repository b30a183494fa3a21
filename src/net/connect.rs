//! Connections: resolve, check every address, connect to what was checked, shake hands.
//!
//! Owns the way from an origin to a byte stream. Must never connect to an address that was not
//! checked for this very request, and must never hand a name to the system's `connect`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::clock;
use crate::logic::address::{self, AllowList, Refused};
use crate::model::attempt::{Failure, Phases};
use crate::model::target::{Host, Origin, Scheme};

use super::deadline::{Deadline, elapsed_ms};
use super::resolve::{Resolve, ResolveError};
use super::stream::Stream;
use super::{NetConfig, Proxy, proxy, tls};

/// Most addresses of one name that are tried; all are checked.
const ADDRESSES_TRIED_MAX: usize = 8;

/// Where a request goes, and what it may reach.
pub(super) struct Route<'a> {
    pub(super) origin: &'a Origin,
    pub(super) lists: [&'a AllowList; 3],
    pub(super) proxied: bool,
}

/// Why a target was not reached.
#[derive(Debug)]
pub(super) enum Unreached {
    Refused(Refused),
    Failure(Failure),
}

impl From<Failure> for Unreached {
    fn from(failure: Failure) -> Unreached {
        Unreached::Failure(failure)
    }
}

/// What is known about an attempt while it goes on.
#[derive(Default)]
pub(super) struct Trace {
    pub(super) phases: Phases,
    pub(super) address: Option<SocketAddr>,
}

/// Makes connections.
pub(super) struct Dialler {
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    proxy: Option<Proxy>,
    dns_timeout_ms: u64,
    connect_timeout_ms: u64,
}

impl Dialler {
    pub(super) fn new(
        config: &NetConfig,
        resolver: Arc<dyn Resolve>,
        tls: Arc<ClientConfig>,
    ) -> Dialler {
        Dialler {
            resolver,
            tls: TlsConnector::from(tls),
            proxy: config.proxy.clone(),
            dns_timeout_ms: config.dns_timeout_ms,
            connect_timeout_ms: config.connect_timeout_ms,
        }
    }

    /// Connects to the target, or to the proxy and through it.
    pub(super) async fn dial(
        &self,
        route: &Route<'_>,
        deadline: Deadline,
        trace: &mut Trace,
    ) -> Result<(Stream, SocketAddr), Unreached> {
        let proxy = self.proxy.as_ref().filter(|_| route.proxied);
        let start = clock::mono();
        let found = match proxy {
            // The operator chose the proxy: its own address needs no list.
            Some(proxy) => self.lookup(&proxy.origin, deadline).await.map_err(Unreached::Failure),
            None => self.addresses(route, deadline).await,
        };
        let dialled = proxy.map_or(route.origin, |proxy| &proxy.origin);
        trace.phases.dns_ms = matches!(dialled.host, Host::Name(_)).then(|| elapsed_ms(start));
        let mut tcp = self.connect(&found?, deadline, trace).await?;
        let peer = tcp.peer_addr().map_err(|_| Failure::ConnectFailed)?;
        if route.origin.scheme == Scheme::Http {
            return Ok((Stream::plain(tcp), peer));
        }
        if let Some(proxy) = proxy {
            self.tunnel(&mut tcp, proxy, route.origin, deadline).await?;
        }
        let start = clock::mono();
        let shaken = self.handshake(tcp, &route.origin.host, deadline).await;
        trace.phases.tls_ms = Some(elapsed_ms(start));
        Ok((shaken?, peer))
    }

    /// Resolves a target and checks all that it resolves to.
    pub(super) async fn addresses(
        &self,
        route: &Route<'_>,
        deadline: Deadline,
    ) -> Result<Vec<SocketAddr>, Unreached> {
        let host = &route.origin.host;
        address::check_host(host, &route.lists).map_err(Unreached::Refused)?;
        let found = match address::localhost(host, &route.lists) {
            Some(loopback) => with_port(loopback, route.origin.port),
            None => self.lookup(route.origin, deadline).await?,
        };
        let ips: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
        address::check_resolved(host, &ips, &route.lists).map_err(Unreached::Refused)?;
        Ok(found)
    }

    async fn lookup(
        &self,
        origin: &Origin,
        deadline: Deadline,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let name = match &origin.host {
            Host::Address(ip) => return Ok(vec![SocketAddr::new(*ip, origin.port)]),
            Host::Name(name) => name,
        };
        let limit_ms = deadline.capped_ms(self.dns_timeout_ms);
        let answer = clock::within(limit_ms, self.resolver.resolve(name, origin.port)).await;
        match answer.unwrap_or(Err(ResolveError::TimedOut)) {
            Ok(addresses) if addresses.is_empty() => Err(Failure::Dns),
            // What a resolver says about ports is not asked for.
            Ok(addresses) => Ok(with_port(addresses.iter().map(SocketAddr::ip), origin.port)),
            Err(ResolveError::NotFound) => Err(Failure::Dns),
            Err(ResolveError::TimedOut) => Err(Failure::DnsTimeout),
            Err(ResolveError::OutOfResources) => Err(Failure::OutOfResources),
        }
    }

    async fn connect(
        &self,
        addresses: &[SocketAddr],
        deadline: Deadline,
        trace: &mut Trace,
    ) -> Result<TcpStream, Unreached> {
        let start = clock::mono();
        let connecting = Deadline::after(deadline.capped_ms(self.connect_timeout_ms));
        let addresses = interleaved(addresses);
        let mut failure = Failure::ConnectFailed;
        for (tried, address) in addresses.iter().enumerate() {
            trace.address = Some(*address);
            // An address that never answers leaves the others their share of the time.
            let share_ms = connecting.left_ms() / (addresses.len() - tried) as u64;
            let connected = connect_to(*address, share_ms).await;
            trace.phases.connect_ms = Some(elapsed_ms(start));
            match connected {
                Ok(tcp) => return Ok(tcp),
                Err(Failure::OutOfResources) => return Err(Failure::OutOfResources.into()),
                Err(Failure::ConnectFailed) => {}
                Err(telling) => failure = telling,
            }
        }
        Err(failure.into())
    }

    async fn tunnel(
        &self,
        tcp: &mut TcpStream,
        proxy: &Proxy,
        origin: &Origin,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let limit_ms = deadline.capped_ms(self.connect_timeout_ms);
        let tunnel = proxy::tunnel(tcp, origin, proxy.credentials.as_ref());
        match clock::within(limit_ms, tunnel).await {
            Ok(Ok(true)) => Ok(()),
            Ok(_) => Err(Failure::ConnectFailed),
            Err(_) => Err(Failure::ConnectTimeout),
        }
    }

    async fn handshake(
        &self,
        tcp: TcpStream,
        host: &Host,
        deadline: Deadline,
    ) -> Result<Stream, Failure> {
        let name = tls::server_name(host).ok_or(Failure::TlsCertificate)?;
        let limit_ms = deadline.capped_ms(self.connect_timeout_ms);
        match clock::within(limit_ms, self.tls.connect(name, tcp)).await {
            Ok(Ok(tls)) => Ok(Stream::tls(tls)),
            Ok(Err(error)) => Err(tls::failure(&error).unwrap_or(Failure::TlsHandshake)),
            Err(_) => Err(Failure::TlsTimeout),
        }
    }
}

/// Whether the process, not the target, is the reason.
pub(super) fn is_out_of_resources(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| ours.iter().any(|errno| errno.raw_os_error() == code))
}

async fn connect_to(address: SocketAddr, limit_ms: u64) -> Result<TcpStream, Failure> {
    let tcp = match clock::within(limit_ms, TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Err(class(&error, address)),
        Err(_) => return Err(Failure::ConnectTimeout),
    };
    // A packet filter may have sent it elsewhere; only what was checked counts.
    match tcp.peer_addr() {
        Ok(peer) if peer == address => {}
        Ok(_) => return Err(Failure::AddressForbidden),
        Err(_) => return Err(Failure::ConnectFailed),
    }
    // Requests are written whole: waiting for more would only delay them. No harm if it fails.
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

fn class(error: &io::Error, address: SocketAddr) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::ConnectRefused,
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        // All local ports are taken. For IPv6 it also means that this machine has no such address
        // at all, which does not pass.
        io::ErrorKind::AddrNotAvailable if address.is_ipv4() => Failure::OutOfResources,
        _ if is_out_of_resources(error) => Failure::OutOfResources,
        _ => Failure::ConnectFailed,
    }
}

fn with_port(ips: impl IntoIterator<Item = IpAddr>, port: u16) -> Vec<SocketAddr> {
    ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

/// The first few addresses, without repeats, the families by turns: if one is down, the other is
/// the second try.
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let v6_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == v6_first);
    first.reverse();
    second.reverse();
    let mut mixed = Vec::new();
    while mixed.len() < ADDRESSES_TRIED_MAX {
        match first.pop() {
            Some(address) if mixed.contains(&address) => continue,
            Some(address) => mixed.push(address),
            None if second.is_empty() => break,
            None => {}
        }
        if !second.is_empty() {
            std::mem::swap(&mut first, &mut second);
        }
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        let found = parse(&["[2606::1]:1", "[2606::2]:1", "[2606::1]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let tried = parse(&["[2606::1]:1", "1.1.1.1:1", "[2606::2]:1", "1.1.1.2:1"]);
        assert_eq!(interleaved(&found), tried);
        let many: Vec<SocketAddr> = (0..250).map(|n| SocketAddr::from(([1, 1, 1, n], 1))).collect();
        assert_eq!(interleaved(&many), many[..ADDRESSES_TRIED_MAX]);
        assert_eq!(interleaved(&parse(&["1.1.1.1:1", "1.1.1.1:1"])), parse(&["1.1.1.1:1"]));
        assert_eq!(interleaved(&[]), []);
    }

    #[test]
    fn running_out_of_descriptors_or_ports_is_our_own_fault() {
        let v4 = SocketAddr::from(([1, 1, 1, 1], 1));
        let v6 = SocketAddr::from(([0x2606, 0, 0, 0, 0, 0, 0, 1], 1));
        let error = |errno: rustix::io::Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        use rustix::io::Errno;
        assert_eq!(class(&error(Errno::MFILE), v4), Failure::OutOfResources);
        assert_eq!(class(&error(Errno::NFILE), v6), Failure::OutOfResources);
        assert_eq!(class(&error(Errno::ADDRNOTAVAIL), v4), Failure::OutOfResources);
        assert_eq!(class(&error(Errno::ADDRNOTAVAIL), v6), Failure::ConnectFailed);
        assert_eq!(class(&error(Errno::CONNREFUSED), v4), Failure::ConnectRefused);
        assert_eq!(class(&error(Errno::TIMEDOUT), v4), Failure::ConnectTimeout);
        assert_eq!(class(&error(Errno::NETUNREACH), v4), Failure::ConnectFailed);
        assert_eq!(class(&error(Errno::CONNRESET), v4), Failure::ConnectFailed);
    }
}
