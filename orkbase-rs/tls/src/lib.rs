//! TLS of both programs: certificates and keys, read from PEM files.
//!
//! Law: whoever asks for TLS gets a peer whose certificate is right, or none; nothing falls back. TLS 1.2 and
//! 1.3, by rustls; no socket is touched here.

mod pinned;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The first byte of a TLS connection: a handshake record (RFC 8446 section 5.1). No request begins so.
pub const FIRST_BYTE: u8 = 22;

/// Where systems keep the authorities they trust.
const SYSTEM: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// A file that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct TlsError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl TlsError {
    fn new(path: &Path, why: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), why: why.to_string() }
    }
}

/// What a server needs: its certificate with those above it, its key, and who signs clients, if they may
/// show certificates.
///
/// # Errors
/// A file that cannot be read or makes no sense, a key of another certificate.
pub fn server(
    certificate: &Path,
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| TlsError::new(key, e))?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new(certificate, error))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(clients_of(path)?),
    };
    let mut config = builder
        .with_single_cert(chain, private)
        .map_err(|error| TlsError::new(certificate, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What a client needs: the authorities that vouch for servers, those of the system if no file is given.
///
/// # Errors
/// A file that cannot be read or makes no sense.
pub fn client(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let system = || SYSTEM.iter().map(Path::new).find(|path| path.exists());
    let [first, ..] = SYSTEM.map(Path::new);
    let file = authorities.or_else(system).unwrap_or(first);
    connects(file, verifier(file)?)
}

/// The same, for servers whose own certificate may be in the file, too: whoever shows that one is the server
/// that is meant, whatever name it has.
///
/// # Errors
/// A file that cannot be read or makes no sense.
pub fn pinning_client(file: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    connects(file, Arc::new(pinned::Pinned::new(certificates(file)?, verifier(file)?)))
}

fn connects(
    file: &Path,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new(file, error))?;
    // The verifiers are ours and of rustls: none takes whoever comes.
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(Arc::new(builder.with_no_client_auth()))
}

fn verifier(file: &Path) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots(file)?), provider())
        .build()
        .map_err(|error| TlsError::new(file, error))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Clients may show a certificate, and then a good one.
fn clients_of(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::new(path, error))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::new(path, error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|e| TlsError::new(path, e))?;
    let chain: Result<Vec<_>, _> = read.collect();
    let chain = chain.map_err(|error| TlsError::new(path, error))?;
    if chain.is_empty() {
        return Err(TlsError::new(path, "there is no certificate in it"));
    }
    Ok(chain)
}

#[cfg(test)]
mod tests;
