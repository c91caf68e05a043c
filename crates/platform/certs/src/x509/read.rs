//! What requests and certificates say.

use std::net::IpAddr;

use jiff::Timestamp;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::prelude::{FromDer, ParsedCriAttribute, X509Certificate};

use super::name::{self, Rdn};
use super::request::Names;
use super::usage::Usages;

/// What a request or certificate says. What only certificates say is empty in a request's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The whole of it, DER.
    pub der: Vec<u8>,
    /// The subject, DER.
    pub subject: Vec<u8>,
    /// The issuer's subject, DER.
    pub issuer: Vec<u8>,
    /// The key: SubjectPublicKeyInfo, DER.
    pub public: Vec<u8>,
    /// The names.
    pub names: Names,
    /// The value of the extension with the names, DER.
    pub raw_names: Option<Vec<u8>>,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// What it may be used for.
    pub usages: Usages,
    /// When it begins to count.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// Its number, big-endian.
    pub serial: Vec<u8>,
    /// Which key signed it.
    pub authority_key: Option<Vec<u8>>,
    /// Which key it is for.
    pub subject_key: Option<Vec<u8>>,
}

impl Facts {
    /// The subject's attributes, sorted.
    #[must_use]
    pub fn subject_attributes(&self) -> Rdn {
        name::attributes(&self.subject)
    }

    /// The common name of the subject.
    #[must_use]
    pub fn common_name(&self) -> String {
        name::value(&self.subject, "CN").unwrap_or_default()
    }
}

/// Reads the first signing request of a PEM text whose signature holds.
#[must_use]
pub fn request_pem(pem: &[u8]) -> Option<Facts> {
    let blocks = pki::inspect::pem_blocks(pem);
    let block = blocks
        .iter()
        .find(|block| matches!(block.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST"))?;
    request(&block.der)
}

/// Reads a signing request whose signature holds.
#[must_use]
pub fn request(der: &[u8]) -> Option<Facts> {
    let (rest, request) = X509CertificationRequest::from_der(der).ok()?;
    if !rest.is_empty() || request.verify_signature().is_err() {
        return None;
    }
    let info = &request.certification_request_info;
    let mut facts = Facts {
        der: der.to_vec(),
        subject: info.subject.as_raw().to_vec(),
        public: info.subject_pki.raw.to_vec(),
        ..Facts::default()
    };
    for attribute in info.iter_attributes() {
        if let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() {
            asked.extensions.iter().for_each(|one| extension(&mut facts, one));
        }
    }
    facts.usages.purposes.sort();
    Some(facts)
}

/// Reads a certificate.
#[must_use]
pub fn certificate(der: &[u8]) -> Option<Facts> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let validity = certificate.validity();
    let mut facts = Facts {
        der: der.to_vec(),
        subject: certificate.subject().as_raw().to_vec(),
        issuer: certificate.issuer().as_raw().to_vec(),
        public: certificate.public_key().raw.to_vec(),
        not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
        not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
        serial: certificate.raw_serial().to_vec(),
        ..Facts::default()
    };
    certificate.extensions().iter().for_each(|one| extension(&mut facts, one));
    facts.usages.purposes.sort();
    Some(facts)
}

/// Reads all certificates of a PEM text; none when one of them is none, or there is none.
#[must_use]
pub fn certificates_pem(pem: &[u8]) -> Option<Vec<Facts>> {
    let blocks = pki::inspect::pem_blocks(pem);
    let all: Vec<Facts> = blocks
        .iter()
        .filter(|block| block.label == "CERTIFICATE")
        .map(|block| certificate(&block.der))
        .collect::<Option<_>>()?;
    (!all.is_empty()).then_some(all)
}

/// Whether `certificate` was signed with the key of `authority`.
#[must_use]
pub fn is_signed_by(certificate: &Facts, authority: &Facts) -> bool {
    let parsed = |facts: &Facts| X509Certificate::from_der(&facts.der).is_ok();
    if certificate.issuer != authority.subject || !parsed(certificate) || !parsed(authority) {
        return false;
    }
    let (Ok((_, one)), Ok((_, other))) =
        (X509Certificate::from_der(&certificate.der), X509Certificate::from_der(&authority.der))
    else {
        return false;
    };
    one.verify_signature(Some(other.public_key())).is_ok()
}

fn extension(facts: &mut Facts, extension: &X509Extension<'_>) {
    match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => {
            facts.raw_names = Some(extension.value.to_vec());
            for one in &names.general_names {
                match one {
                    GeneralName::DNSName(name) => facts.names.dns.push((*name).to_owned()),
                    GeneralName::RFC822Name(name) => facts.names.emails.push((*name).to_owned()),
                    GeneralName::URI(uri) => facts.names.uris.push((*uri).to_owned()),
                    GeneralName::IPAddress(bytes) => facts.names.ips.extend(address(bytes)),
                    _ => {}
                }
            }
        }
        ParsedExtension::BasicConstraints(constraints) => facts.is_ca = constraints.ca,
        ParsedExtension::KeyUsage(usage) => facts.usages.bits = usage.flags.reverse_bits(),
        ParsedExtension::ExtendedKeyUsage(_) => facts.usages.purposes = purposes(extension.value),
        ParsedExtension::AuthorityKeyIdentifier(id) => {
            facts.authority_key = id.key_identifier.as_ref().map(|id| id.0.to_vec());
        }
        ParsedExtension::SubjectKeyIdentifier(id) => facts.subject_key = Some(id.0.to_vec()),
        _ => {}
    }
}

fn purposes(value: &[u8]) -> Vec<Vec<u8>> {
    use super::der;
    let mut found = Vec::new();
    let mut rest = der::take(value, der::SEQUENCE).map(|(inner, _)| inner).unwrap_or_default();
    while let Some((id, after)) = der::take(rest, der::OID) {
        found.push(id.to_vec());
        rest = after;
    }
    found
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
