//! TLS to targets: whom to trust, and what a failed handshake means.
//!
//! Owns the client's TLS configuration and the classes of TLS failures. Certificates are always
//! verified: there must never be a way to switch that off.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore};

use crate::model::attempt::Failure;
use crate::model::target::Host;

use super::NetError;

/// TLS 1.2 and 1.3, trusting the platform's roots and those of the files.
pub(super) fn client_config(ca_files: &[PathBuf]) -> Result<Arc<ClientConfig>, NetError> {
    let mut roots = platform_roots();
    for path in ca_files {
        add_file(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The name that a certificate has to be valid for; `None` if no certificate can be.
pub(super) fn server_name(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Address(ip) => Some(ServerName::IpAddress((*ip).into())),
        // RFC 6066: the name goes without its final dot.
        Host::Name(name) => {
            ServerName::try_from(name.strip_suffix('.').unwrap_or(name).to_owned()).ok()
        }
    }
}

/// The class of a TLS failure, if there is one behind this error.
pub(super) fn failure(error: &(dyn StdError + 'static)) -> Option<Failure> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(class(error));
        }
        // An I/O error shows what it wraps to `get_ref` alone, not to `source`.
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn class(error: &rustls::Error) -> Failure {
    match error {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::UnsupportedNameType
        | rustls::Error::InvalidCertRevocationList(_) => Failure::TlsCertificate,
        rustls::Error::PeerIncompatible(_) => Failure::TlsVersion,
        rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity,
        ) => Failure::TlsVersion,
        _ => Failure::TlsHandshake,
    }
}

fn platform_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let platform = rustls_native_certs::load_native_certs();
    for error in &platform.errors {
        tracing::warn!(%error, "a certificate of the platform can't be read");
    }
    let (added, _) = roots.add_parsable_certificates(platform.certs);
    if added == 0 {
        tracing::warn!(
            "the platform has no certificate authorities: https targets that no configured \
             authority vouches for will fail with {}",
            Failure::TlsCertificate.as_str()
        );
    }
    roots
}

fn add_file(roots: &mut RootCertStore, path: &PathBuf) -> Result<(), NetError> {
    let unreadable = |source| NetError::CaFile { path: path.clone(), source };
    let mut added = 0_usize;
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        roots
            .add(certificate)
            .map_err(|source| NetError::CaInvalid { path: path.clone(), source })?;
        added += 1;
    }
    if added == 0 { Err(NetError::CaFileEmpty { path: path.clone() }) } else { Ok(()) }
}
