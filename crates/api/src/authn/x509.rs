//! Client certificates: the common name is the user, the organizations are the groups.
//!
//! The TLS layer only proves that the peer owns the key of its certificate ([`AskForCertificate`] accepts any issuer);
//! whether the certificate means anything is decided here, against the client authority, so that a bad one is answered
//! with 401 instead of a broken connection, as upstream does. Verdicts are kept per certificate, because checking a
//! signature costs more than the whole rest of a small request; validity in time is checked on every request.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use ring::digest;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{AUTHENTICATED, User};

const REMEMBERED: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the client authority; expected PEM certificates")]
    Authority(#[source] rustls::pki_types::pem::Error),
    #[error("cannot use the client authority")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    #[error("cannot trust the client authority")]
    Root(#[source] rustls::Error),
    #[error(
        "the client certificate was not issued by our client authority for client authentication, or is not valid now"
    )]
    Untrusted(#[source] rustls::Error),
    #[error("the client certificate cannot be parsed")]
    Malformed,
    #[error("the client certificate names no user; its subject needs a common name")]
    Nameless,
    #[error("the client certificate is not valid now")]
    Expired,
}

#[derive(Clone)]
struct Known {
    user: Arc<User>,
    from: u64,
    until: u64,
}

pub(crate) struct Certificates {
    verifier: Arc<dyn ClientCertVerifier>,
    known: Mutex<HashMap<[u8; 32], Known>>,
}

impl Certificates {
    pub(crate) fn new(client_ca_pem: &str) -> Result<Self, Error> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(client_ca_pem)?), provider())
            .build()
            .map_err(Error::Verifier)?;
        Ok(Self { verifier, known: Mutex::default() })
    }

    /// The user a certificate names, if our authority issued it for client authentication and it is valid now.
    pub(crate) fn user(&self, der: &[u8]) -> Result<Arc<User>, Error> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.user_at(der, now)
    }

    fn user_at(&self, der: &[u8], now: Duration) -> Result<Arc<User>, Error> {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        let known = self.known.lock().get(&fingerprint).cloned();
        let known = match known {
            Some(known) => known,
            None => {
                let leaf = CertificateDer::from(der);
                let at = UnixTime::since_unix_epoch(now);
                self.verifier.verify_client_cert(&leaf, &[], at).map_err(Error::Untrusted)?;
                let read = read(der)?;
                let mut cache = self.known.lock();
                if cache.len() >= REMEMBERED {
                    cache.clear();
                }
                cache.insert(fingerprint, read.clone());
                read
            }
        };
        if !(known.from..=known.until).contains(&now.as_secs()) {
            return Err(Error::Expired);
        }
        Ok(known.user)
    }
}

fn read(der: &[u8]) -> Result<Known, Error> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Error::Malformed)?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Err(Error::Nameless);
    }
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    let digest = digest::digest(&digest::SHA256, der);
    let credential = vec![format!("X509SHA256={}", hex::encode(digest))];
    let user = Arc::new(User {
        name: name.to_owned(),
        uid: None,
        groups,
        extra: [("authentication.kubernetes.io/credential-id".to_owned(), credential)].into(),
    });
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    let validity = certificate.validity();
    Ok(Known { user, from: seconds(validity.not_before.timestamp()), until: seconds(validity.not_after.timestamp()) })
}

fn roots(pem: &str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(Error::Authority)?).map_err(Error::Root)?;
    }
    Ok(roots)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// For the TLS listener: asks for a certificate, insists that the peer owns its key, leaves trust to [`Certificates`].
#[derive(Debug)]
pub(crate) struct AskForCertificate {
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AskForCertificate {
    pub(crate) fn new(client_ca_pem: &str) -> Result<Arc<Self>, Error> {
        let algorithms = provider().signature_verification_algorithms;
        Ok(Arc::new(Self { hints: roots(client_ca_pem)?.subjects(), algorithms }))
    }
}

impl ClientCertVerifier for AskForCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, leaf, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use pki::{Authority, Request, Usage};

    use super::*;

    fn leaf(authority: &Authority, name: &str, group: Option<&str>, usage: Usage, days: u64) -> Vec<u8> {
        let request = Request {
            common_name: name.to_owned(),
            organization: group.map(str::to_owned),
            names: vec![],
            usage,
            lifetime: Duration::from_secs(days * 86_400),
        };
        let pair = authority.issue(&request).unwrap();
        CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap().to_vec()
    }

    #[test]
    fn a_certificate_names_its_user_and_groups() {
        let authority = Authority::generate("client-ca").unwrap();
        let certificates = Certificates::new(authority.cert_pem()).unwrap();
        let der = leaf(&authority, "kubernetes-admin", Some("system:masters"), Usage::Client, 1);
        for _ in 0..2 {
            let user = certificates.user(&der).unwrap();
            assert_eq!(user.name, "kubernetes-admin");
            assert_eq!(user.groups, ["system:masters", AUTHENTICATED]);
        }
    }

    #[test]
    fn a_certificate_of_another_authority_or_for_servers_or_out_of_date_is_refused() {
        let authority = Authority::generate("client-ca").unwrap();
        let certificates = Certificates::new(authority.cert_pem()).unwrap();
        let stranger = Authority::generate("client-ca").unwrap();
        let foreign = leaf(&stranger, "a", None, Usage::Client, 1);
        assert!(matches!(certificates.user(&foreign), Err(Error::Untrusted(_))));
        let server = leaf(&authority, "a", None, Usage::Server, 1);
        assert!(matches!(certificates.user(&server), Err(Error::Untrusted(_))));
        let der = leaf(&authority, "a", None, Usage::Client, 1);
        certificates.user(&der).unwrap();
        let later = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_secs(2 * 86_400);
        assert!(matches!(certificates.user_at(&der, later), Err(Error::Expired)), "also when it is remembered");
        assert!(certificates.user(b"nonsense").is_err());
    }

    #[test]
    fn a_certificate_without_a_name_is_nobody() {
        let authority = Authority::generate("client-ca").unwrap();
        let certificates = Certificates::new(authority.cert_pem()).unwrap();
        let der = leaf(&authority, "", Some("system:masters"), Usage::Client, 1);
        assert!(matches!(certificates.user(&der), Err(Error::Nameless)));
    }
}
