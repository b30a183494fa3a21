//! TLS: what is trusted, and the class of everything that is not.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::super::NetError;
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// An authority, and the file that says so.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let file = scratch_file(issuer.pem().as_bytes());
        Authority { issuer, file }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.file.clone()
    }

    fn issue(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn scratch_file(bytes: &[u8]) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let name = format!("postrider-net-{}-{number}.pem", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).expect("a temporary file");
    path
}

fn names(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).expect("parameters")
}

async fn serving((certificate, key): Identity, client_authority: Option<&Authority>) -> Target {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match client_authority {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).expect("an authority");
            let roots = Arc::new(roots);
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let config = builder.with_single_cert(vec![certificate], key).expect("an identity");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Target::serve(move |tcp, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut tls) = acceptor.accept(tcp).await else { return };
            while read_request(&mut tls).await.is_some() {
                if tls.write_all(OK.as_bytes()).await.is_err() || tls.flush().await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// A target with a sound certificate for `hook.example.com` and 127.0.0.1.
pub(super) async fn good_target() -> (Target, Authority) {
    let authority = Authority::new();
    let target = serving(authority.issue(names(&["hook.example.com", "127.0.0.1"])), None).await;
    (target, authority)
}

fn trusting(authority: &Authority) -> NetConfig {
    NetConfig { ca_files: vec![authority.path()], ..on_loopback() }
}

fn https(target: &Target) -> Request {
    post(&format!("https://{}/", target.address))
}

/// Sends every name to loopback.
struct Home;

impl Resolve for Home {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Resolved<'a> {
        Box::pin(std::future::ready(Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])))
    }
}

#[tokio::test]
async fn a_configured_authority_is_trusted() {
    let (target, authority) = good_target().await;
    let net = Net::new(trusting(&authority), Arc::new(Home)).expect("sound");
    for host in ["127.0.0.1", "hook.example.com", "hook.example.com."] {
        for _ in 0..2 {
            let url = format!("https://{host}:{}/", target.address.port());
            let response = net.attempt(post(&url)).await;
            assert_eq!(response.outcome, Outcome::Status(200), "{host}");
        }
    }
    assert_eq!(target.accepted(), 3, "one connection for each name");
    let untrusting = super::net(on_loopback()).attempt(https(&target)).await;
    assert_failed(&untrusting, Failure::TlsCertificate, "an unknown authority");
    assert!(untrusting.phases.tls_ms.is_some());
}

#[tokio::test]
async fn a_certificate_has_to_be_valid() {
    let authority = Authority::new();
    let mut expired = names(&["127.0.0.1"]);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let mut early = names(&["127.0.0.1"]);
    early.not_before = rcgen::date_time_ymd(4000, 1, 1);
    for (params, what) in [
        (names(&["other.example.com", "127.0.0.2"]), "for another host"),
        (expired, "expired"),
        (early, "not valid yet"),
    ] {
        let target = serving(authority.issue(params), None).await;
        let response = net(trusting(&authority)).attempt(https(&target)).await;
        assert_failed(&response, Failure::TlsCertificate, what);
    }
    let key = KeyPair::generate().expect("a key");
    let own = names(&["127.0.0.1"]).self_signed(&key).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let target = serving((own.der().clone(), key), None).await;
    let response = net(trusting(&authority)).attempt(https(&target)).await;
    assert_failed(&response, Failure::TlsCertificate, "self-signed");
}

#[tokio::test]
async fn a_target_that_wants_a_client_certificate() {
    let authority = Authority::new();
    let identity = authority.issue(names(&["127.0.0.1"]));
    let target = serving(identity, Some(&authority)).await;
    let response = net(trusting(&authority)).attempt(https(&target)).await;
    // The demand comes with the handshake, the alert only after it; a reset may overtake it.
    assert!(
        matches!(
            response.outcome,
            Outcome::Failure(Failure::TlsHandshake | Failure::ConnectionClosed)
        ),
        "{response:?}"
    );
}

/// Reads the first flight, writes these bytes, and then does this.
async fn raw(bytes: &'static [u8], then: Then) -> Target {
    Target::serve(move |mut tcp, _| async move {
        let mut hello = [0; 5];
        tcp.read_exact(&mut hello).await.expect("a record");
        let mut rest = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
        tcp.read_exact(&mut rest).await.expect("a hello");
        tcp.write_all(bytes).await.expect("a reader");
        match then {
            Then::Hang | Then::Again => std::future::pending().await,
            Then::Close => {}
            Then::Reset => tcp.set_zero_linger().expect("a socket option"),
        }
    })
    .await
}

#[tokio::test]
async fn a_target_without_our_versions() {
    // A ServerHello of TLS 1.1 with TLS_RSA_WITH_AES_128_CBC_SHA.
    let hello: &[u8] = &[
        22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
        17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 0, 0, 0x2f, 0,
    ];
    for (bytes, what) in [
        (hello, "TLS 1.1"),
        (&[21, 3, 1, 0, 2, 2, 70], "the alert protocol_version"),
        (&[21, 3, 3, 0, 2, 2, 40], "the alert handshake_failure"),
    ] {
        let target = raw(bytes, Then::Hang).await;
        let response = net(on_loopback()).attempt(https(&target)).await;
        assert_failed(&response, Failure::TlsVersion, what);
    }
}

#[tokio::test]
async fn handshakes_that_fail() {
    for (bytes, then, what) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], Then::Hang, "plain HTTP"),
        (b"\xff\xff\xff\xff\xff\xff", Then::Hang, "garbage"),
        (b"", Then::Close, "closed"),
        (b"", Then::Reset, "reset"),
        (b"\x16\x03\x03", Then::Close, "closed within a record"),
    ] {
        let target = raw(bytes, then).await;
        let response = net(on_loopback()).attempt(https(&target)).await;
        assert_failed(&response, Failure::TlsHandshake, what);
    }
    for (bytes, what) in [(&b""[..], "silence"), (b"\x16\x03\x03\x00", "half a record")] {
        let target = raw(bytes, Then::Hang).await;
        let config = NetConfig { connect_timeout_ms: SHORT_MS, ..on_loopback() };
        let response = net(config).attempt(https(&target)).await;
        assert_failed(&response, Failure::TlsTimeout, what);
        let response = net(impatient()).attempt(https(&target)).await;
        assert_failed(&response, Failure::TlsTimeout, what);
    }
}

#[test]
fn authorities_that_are_none() {
    let missing = PathBuf::from("no/such/file.pem");
    let empty = scratch_file(b"no certificate\n");
    let broken = scratch_file(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let open = |path: &PathBuf| {
        let config = NetConfig { ca_files: vec![path.clone()], ..NetConfig::default() };
        Net::new(config, Arc::new(Nowhere)).err().expect("no authority")
    };
    assert!(matches!(open(&missing), NetError::CaFile { .. }));
    assert!(matches!(open(&empty), NetError::CaFileEmpty { .. }));
    assert!(matches!(open(&broken), NetError::CaInvalid { .. }));
    for path in [empty, broken] {
        let _ = std::fs::remove_file(path);
    }
}
