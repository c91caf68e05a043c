//! Which certificate a TLS client gets: the one its Ingress names, else one of our own.
//!
//! Why an own one: a handshake that fails tells its user nothing; a certificate for another name
//! tells them that the host has none yet. Invariant: a Secret that does not hold a chain and its
//! matching key is never offered.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, InconsistentKeys, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::model::{ClientCheck, Offer, canonical};

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
    /// The authorities of clients cannot be used.
    #[error("the authorities of clients cannot be used: {0}")]
    Clients(String),
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

/// Reads authorities, PEM, as DER.
///
/// # Errors
/// When there is none, or one cannot be read.
pub fn authorities(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).map(|one| one.map(|der| der.to_vec())).collect();
    let all = all.map_err(|error| error.to_string())?;
    if all.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(all) }
}

/// Authorities as TLS clients are verified with.
///
/// # Errors
/// When there is none, or one cannot be used.
pub fn roots(pem: &[u8]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for der in authorities(pem)? {
        roots.add(CertificateDer::from(der)).map_err(|error| error.to_string())?;
    }
    Ok(Arc::new(roots))
}

/// Reads a chain and its key, PEM, as DER, when they belong together.
///
/// # Errors
/// When they do not.
pub fn pair(chain: &[u8], key: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<u8>), String> {
    let pair = parse(chain, key).map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| error.to_string())?;
    Ok((pair.cert.iter().map(|der| der.to_vec()).collect(), key.secret_der().to_vec()))
}

/// Makes server settings for what listeners offer.
#[derive(Debug)]
pub struct Greeter {
    provider: Arc<CryptoProvider>,
    fallback: Arc<CertifiedKey>,
    /// One for all listeners that ask clients for nothing, so that a change of routes ends no session.
    tickets: Arc<dyn ProducesTickets>,
}

impl Greeter {
    /// A greeter with a certificate of its own for names that have none.
    ///
    /// # Errors
    /// When that certificate cannot be made.
    pub fn new() -> Result<Self, Error> {
        let authority = pki::Authority::generate("knarr gateway, no certificate for this name")?;
        let pair = authority.issue(&pki::Request {
            common_name: "unknown.invalid".to_owned(),
            organization: None,
            names: vec!["unknown.invalid".to_owned()],
            usage: pki::Usage::Server,
            lifetime: FALLBACK_LIFETIME,
        })?;
        let fallback = parse(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes())?;
        Ok(Self { provider: Arc::new(ring::default_provider()), fallback, tickets: ring::Ticketer::new()? })
    }

    /// The settings for `offer`: the certificate by the name the client asks for, and what is asked of the client.
    ///
    /// # Errors
    /// When the client authorities cannot be used.
    pub fn config(&self, offer: &Arc<Offer>) -> Result<Arc<ServerConfig>, Error> {
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_safe_default_protocol_versions()?;
        let builder = match &offer.clients {
            None => builder.with_no_client_auth(),
            Some(ClientCheck { roots: Some(roots), optional: false }) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&self.provider));
                builder.with_client_cert_verifier(verifier.build().map_err(|error| Error::Clients(error.to_string()))?)
            }
            Some(_) => builder.with_client_cert_verifier(Arc::new(Lenient(Arc::clone(&self.provider)))),
        };
        let resolver = ByName { offer: Arc::clone(offer), fallback: Arc::clone(&self.fallback) };
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols.clone_from(&offer.protocols);
        // A session begun where no certificate is asked for must not be resumed where one is.
        config.ticketer = if offer.clients.is_none() { Arc::clone(&self.tickets) } else { ring::Ticketer::new()? };
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }
}

#[derive(Debug)]
struct ByName {
    offer: Arc<Offer>,
    fallback: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = canonical(hello.server_name().unwrap_or_default());
        Some(self.offer.certificates.find(&name).unwrap_or_else(|| Arc::clone(&self.fallback)))
    }
}

/// Lets in every client that has the key of the certificate it shows; who reads the certificate later sees from whom it is.
#[derive(Debug)]
struct Lenient(Arc<CryptoProvider>);

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
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
