//! Which certificate a TLS client gets: the one its Ingress names, else one of our own.
//!
//! Why an own one: a handshake that fails tells its user nothing; a certificate for another name
//! tells them that the host has none yet. Invariant: a Secret that does not hold a chain and its
//! matching key is never offered.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};

use crate::routes;

/// Made anew with each start, so it need not live longer than any process does.
const FALLBACK_LIFETIME: Duration = Duration::from_secs(5 * 365 * 24 * 3600);

/// Why a pair cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// Not PEM, or not what it should be.
    #[error("{0} cannot be read: {1}")]
    Unreadable(&'static str, String),
    /// Two halves of different pairs.
    #[error("tls.key does not belong to the certificate in tls.crt")]
    Mismatch,
    /// The certificate for unknown names could not be made.
    #[error("cannot make a certificate for unknown names")]
    Fallback(#[from] pki::Error),
    /// The TLS library refused its settings.
    #[error("cannot set up TLS")]
    Settings(#[from] rustls::Error),
}

/// Reads a `kubernetes.io/tls` Secret.
///
/// # Errors
/// When it does not hold a certificate chain and the key of its first certificate.
pub fn read(secret: &Secret) -> Result<Arc<CertifiedKey>, Error> {
    let field = |name: &'static str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(name)).filter(|bytes| !bytes.0.is_empty());
        bytes.map(|bytes| bytes.0.as_slice()).ok_or(Error::Missing(name))
    };
    parse(field("tls.crt")?, field("tls.key")?)
}

/// Reads a chain (leaf first) and its key, both PEM.
///
/// # Errors
/// When either cannot be read, or they do not belong together.
pub fn parse(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, Error> {
    let unreadable = |field: &'static str| move |error: String| Error::Unreadable(field, error);
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable("tls.crt")(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unreadable("tls.crt")("it holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unreadable("tls.key")(error.to_string()))?;
    let signer = ring::sign::any_supported_type(&key).map_err(|error| unreadable("tls.key")(error.to_string()))?;
    let pair = CertifiedKey::new(certificates, signer);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(pair)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Error::Mismatch),
        Err(error) => Err(unreadable("tls.crt")(error.to_string())),
    }
}

/// Server settings that choose the certificate by the name the client asks for.
///
/// # Errors
/// When the certificate for unknown names cannot be made.
pub fn server_config(table: routes::Shared) -> Result<Arc<ServerConfig>, Error> {
    let authority = pki::Authority::generate("knarr gateway, no certificate for this name")?;
    let pair = authority.issue(&pki::Request {
        common_name: "unknown.invalid".to_owned(),
        organization: None,
        names: vec!["unknown.invalid".to_owned()],
        usage: pki::Usage::Server,
        lifetime: FALLBACK_LIFETIME,
    })?;
    let fallback = parse(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName { table, fallback }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct ByName {
    table: routes::Shared,
    fallback: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.table.load().certificate(name));
        Some(named.unwrap_or_else(|| Arc::clone(&self.fallback)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> pki::Pair {
        let request = pki::Request {
            common_name: "a.localhost".to_owned(),
            organization: None,
            names: vec!["a.localhost".to_owned()],
            usage: pki::Usage::Server,
            lifetime: Duration::from_secs(3600),
        };
        pki::Authority::generate("test").unwrap().issue(&request).unwrap()
    }

    #[test]
    fn a_chain_with_its_key_is_taken_and_anything_else_refused() {
        let (one, other) = (pair(), pair());
        let told =
            |chain: &str, key: &str| parse(chain.as_bytes(), key.as_bytes()).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(told(&one.cert_pem, &one.key_pem), Ok(()));
        assert_eq!(
            told(&one.cert_pem, &other.key_pem),
            Err("tls.key does not belong to the certificate in tls.crt".to_owned())
        );
        assert_eq!(told("", &one.key_pem), Err("tls.crt cannot be read: it holds no certificate".to_owned()));
        assert!(told(&one.cert_pem, "nonsense").unwrap_err().starts_with("tls.key cannot be read"));
        assert!(told("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &one.key_pem).is_err());
    }
}
