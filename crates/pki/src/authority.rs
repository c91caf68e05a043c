//! An authority and what it issues.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::files;

/// How long an authority lives; renewing one means trusting a new root, so it is long.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Certificates start this much in the past, for peers whose clock is behind.
const BACKDATE: Duration = Duration::from_secs(300);

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library refused the parameters or the PEM text.
    #[error("cannot issue a certificate for {subject}")]
    Issue {
        /// Common name asked for.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
    /// Not a certificate.
    #[error("cannot read the certificate: {0}")]
    Parse(String),
    /// A key or certificate file could not be read or written.
    #[error("cannot use {}; check that the path is readable and on a writable disk", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A certificate and its private key, PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate (leaf first when there is a chain).
    pub cert_pem: String,
    /// PKCS#8 private key.
    pub key_pem: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair { .. }") // never print a key
    }
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// TLS client authentication.
    Client,
    /// TLS server authentication.
    Server,
    /// Both, for peers.
    Both,
}

/// A certificate to issue.
#[derive(Clone, Debug)]
pub struct Request {
    /// Subject common name; the user name for Kubernetes clients.
    pub common_name: String,
    /// Subject organization; the group for Kubernetes clients. One, for the library keeps one per attribute type.
    pub organization: Option<String>,
    /// DNS names and IP addresses.
    pub names: Vec<String>,
    /// What it may be used for.
    pub usage: Usage,
    /// From now.
    pub lifetime: Duration,
}

/// A certificate authority: signs, and is what others trust.
pub struct Authority {
    cert_pem: String,
    cert_der: CertificateDer<'static>,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority { .. }")
    }
}

impl Authority {
    /// A new self-signed authority.
    ///
    /// # Errors
    /// When `common_name` cannot be put into a certificate.
    pub fn generate(common_name: &str) -> Result<Self, Error> {
        let issue = |source| Error::Issue { subject: common_name.to_owned(), source };
        let key = KeyPair::generate().map_err(issue)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(common_name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        validity(&mut params, AUTHORITY_LIFETIME);
        let cert = params.self_signed(&key).map_err(issue)?;
        Self::from_pem(&cert.pem(), &key.serialize_pem())
    }

    /// An authority from its certificate and key.
    ///
    /// # Errors
    /// When either is not PEM, or they are not usable together.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let issue = |source| Error::Issue { subject: "authority".to_owned(), source };
        let key = KeyPair::from_pem(key_pem).map_err(issue)?;
        let issuer = Issuer::from_ca_cert_pem(cert_pem, key).map_err(issue)?;
        let cert_der = CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|e| Error::Parse(e.to_string()))?;
        Ok(Self { cert_pem: cert_pem.to_owned(), cert_der, key_pem: key_pem.to_owned(), issuer })
    }

    /// The authority kept as `dir/name.crt` and `dir/name.key`, made on first use.
    ///
    /// # Errors
    /// When the files cannot be read, written, or do not hold an authority.
    pub fn load_or_create(dir: &Path, name: &str, common_name: &str) -> Result<Self, Error> {
        let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        if let (Some(cert_pem), Some(key_pem)) = (files::read(&cert)?, files::read(&key)?) {
            return Self::from_pem(&cert_pem, &key_pem);
        }
        let authority = Self::generate(common_name)?;
        files::write_private(&key, authority.key_pem.as_bytes())?;
        files::write(&cert, authority.cert_pem.as_bytes(), 0o644)?;
        Ok(authority)
    }

    /// Issues a certificate with a key of its own.
    ///
    /// # Errors
    /// When a name cannot be put into a certificate.
    pub fn issue(&self, request: &Request) -> Result<Pair, Error> {
        let issue = |source| Error::Issue { subject: request.common_name.clone(), source };
        let key = KeyPair::generate().map_err(issue)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(&request.common_name, request.organization.as_deref());
        params.subject_alt_names =
            request.names.iter().map(|name| alternative(name)).collect::<Result<_, _>>().map_err(issue)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match request.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        validity(&mut params, request.lifetime);
        let cert = params.signed_by(&key, &self.issuer).map_err(issue)?;
        Ok(Pair { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The authority's certificate, DER.
    #[must_use]
    pub fn cert_der(&self) -> &CertificateDer<'static> {
        &self.cert_der
    }

    /// What signs.
    pub(crate) fn key(&self) -> &KeyPair {
        self.issuer.key()
    }

    /// The authority's private key, PEM.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

/// A new private key (PKCS#8 PEM, ECDSA P-256), for signing tokens.
///
/// # Errors
/// When the random source fails.
pub fn generate_key_pem() -> Result<String, Error> {
    let key = KeyPair::generate().map_err(|source| Error::Issue { subject: "signing key".to_owned(), source })?;
    Ok(key.serialize_pem())
}

/// When the first certificate in `cert_pem` expires.
///
/// # Errors
/// When it is not a certificate.
pub fn expires(cert_pem: &str) -> Result<SystemTime, Error> {
    let der = CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|e| Error::Parse(e.to_string()))?;
    let (_, cert) = x509_parser::parse_x509_certificate(&der).map_err(|e| Error::Parse(e.to_string()))?;
    let seconds = u64::try_from(cert.validity().not_after.timestamp()).unwrap_or(0);
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn subject(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn alternative(name: &str) -> Result<SanType, rcgen::Error> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.try_into()?)),
    }
}

fn validity(params: &mut CertificateParams, lifetime: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + lifetime).into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn request(name: &str, organization: &str) -> Request {
        Request {
            common_name: name.to_owned(),
            organization: Some(organization.to_owned()),
            names: vec!["example.localhost".to_owned(), "10.43.0.1".to_owned()],
            usage: Usage::Both,
            lifetime: Duration::from_secs(3600),
        }
    }

    #[test]
    fn a_certificate_carries_its_subject_and_names_and_is_signed_by_its_authority() {
        let authority = Authority::generate("knarr cluster CA").expect("authority");
        let pair = authority.issue(&request("admin", "system:masters")).expect("issue");
        let der = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).expect("pem");
        let (_, cert) = x509_parser::parse_x509_certificate(&der).expect("x509");
        let (_, root) = x509_parser::parse_x509_certificate(authority.cert_der()).expect("x509");
        assert_eq!(cert.subject().to_string(), "O=system:masters, CN=admin");
        cert.verify_signature(Some(root.public_key())).expect("signed by the authority");
        let names = cert.subject_alternative_name().expect("readable").expect("present").value.general_names.len();
        assert_eq!(names, 2);
        assert!(expires(&pair.cert_pem).expect("expiry") > SystemTime::now());
    }

    #[test]
    fn an_authority_survives_on_disk_with_a_private_key() {
        let dir = tempfile::tempdir().expect("dir");
        let first = Authority::load_or_create(dir.path(), "ca", "x").expect("create");
        let again = Authority::load_or_create(dir.path(), "ca", "x").expect("load");
        assert_eq!(first.cert_pem(), again.cert_pem());
        let mode = std::fs::metadata(dir.path().join("ca.key")).expect("key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
