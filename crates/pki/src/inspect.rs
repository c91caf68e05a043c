//! What certificates and requests of others say, for those who must refuse wrong ones.
//!
//! Invariant: pure, and no bytes make it panic.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{AttributeTypeAndValue, SubjectPublicKeyInfo};

use crate::verify;

/// A block of a PEM text.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// `CERTIFICATE`, for instance.
    pub label: String,
    /// Whether there are headers before the body.
    pub headers: bool,
    pub der: Vec<u8>,
}

/// The blocks of a text; what is around them or is no block is skipped.
pub fn pem_blocks(text: &[u8]) -> Vec<Block> {
    let text = String::from_utf8_lossy(text);
    let mut blocks = Vec::new();
    let mut open: Option<(String, bool, String)> = None;
    for line in text.lines().map(str::trim_end) {
        let framed = |start: &str| line.strip_prefix(start).and_then(|rest| rest.strip_suffix("-----"));
        if let Some(label) = framed("-----BEGIN ") {
            open = Some((label.to_owned(), false, String::new()));
        } else if let Some(label) = framed("-----END ") {
            let closed = open.take().filter(|(opened, _, _)| opened == label);
            if let Some((label, headers, body)) = closed
                && let Ok(der) = STANDARD.decode(body)
            {
                blocks.push(Block { label, headers, der });
            }
        } else if let Some((_, headers, body)) = &mut open {
            if line.contains(':') {
                *headers = true;
            } else {
                body.extend(line.chars().filter(|character| !character.is_whitespace()));
            }
        }
    }
    blocks
}

/// A public key, as far as its kind and strength go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Ed25519,
    /// The name of the curve; empty if it is not known.
    Ecdsa(&'static str),
    /// The bits of the modulus.
    Rsa(usize),
    Other,
}

/// What a certificate says.
#[derive(Debug)]
pub struct Certificate {
    pub is_ca: bool,
    /// Whether there are basic constraints that can be read.
    pub constrained: bool,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// The public key, encoded.
    pub key: Vec<u8>,
}

/// What a request for a certificate says.
#[derive(Debug)]
pub struct SigningRequest {
    pub kind: Key,
    /// The public key, encoded.
    pub key: Vec<u8>,
    /// Whether who asks has the key.
    pub signed: bool,
    pub common_name: String,
    pub organizations: Vec<String>,
    pub names: Names,
}

/// How many names of each kind are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub dns: usize,
    pub ips: usize,
    pub emails: usize,
    pub uris: usize,
}

/// Reads a certificate; none if it is not one.
pub fn certificate(der: &[u8]) -> Option<Certificate> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    let constraints = certificate.basic_constraints();
    let time = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    rest.is_empty().then(|| Certificate {
        is_ca: matches!(&constraints, Ok(Some(constraints)) if constraints.value.ca),
        constrained: matches!(constraints, Ok(Some(_))),
        not_before: time(certificate.validity().not_before.timestamp()),
        not_after: time(certificate.validity().not_after.timestamp()),
        key: certificate.public_key().raw.to_vec(),
    })
}

/// The URIs a certificate is for; none if it is not one.
pub fn uris(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    uris.collect()
}

/// Reads a request for a certificate; none if it is not one.
pub fn signing_request(der: &[u8]) -> Option<SigningRequest> {
    let (rest, request) = X509CertificationRequest::from_der(der).ok()?;
    let info = &request.certification_request_info;
    let kind = kind(&info.subject_pki);
    (rest.is_empty() && kind != Key::Ecdsa("")).then(|| SigningRequest {
        kind,
        key: info.subject_pki.raw.to_vec(),
        signed: request.verify_signature().is_ok() || is_signed_on_p521(&request),
        common_name: text(info.subject.iter_common_name()).pop().unwrap_or_default(),
        organizations: text(info.subject.iter_organization()),
        names: names(request.requested_extensions().into_iter().flatten()),
    })
}

fn text<'a>(attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>) -> Vec<String> {
    attributes.filter_map(|attribute| attribute.as_str().ok()).map(str::to_owned).collect()
}

fn names<'a>(extensions: impl Iterator<Item = &'a ParsedExtension<'a>>) -> Names {
    let mut names = Names::default();
    for extension in extensions {
        let ParsedExtension::SubjectAlternativeName(asked) = extension else { continue };
        for name in &asked.general_names {
            match name {
                GeneralName::DNSName(_) => names.dns += 1,
                GeneralName::IPAddress(_) => names.ips += 1,
                GeneralName::RFC822Name(_) => names.emails += 1,
                GeneralName::URI(_) => names.uris += 1,
                _ => {}
            }
        }
    }
    names
}

fn is_signed_on_p521(request: &X509CertificationRequest<'_>) -> bool {
    let hash = match request.signature_algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.10045.4.3.2" => &ring::digest::SHA256,
        "1.2.840.10045.4.3.3" => &ring::digest::SHA384,
        "1.2.840.10045.4.3.4" => &ring::digest::SHA512,
        _ => return false,
    };
    let info = &request.certification_request_info;
    let (point, signature) = (&info.subject_pki.subject_public_key.data, &request.signature_value.data);
    kind(&info.subject_pki) == Key::Ecdsa("P-521") && verify::p521(point, hash, info.raw, signature)
}

/// The kind of an encoded public key; none if it is not one.
pub fn public_key(der: &[u8]) -> Option<Key> {
    let (rest, key) = SubjectPublicKeyInfo::from_der(der).ok()?;
    rest.is_empty().then(|| kind(&key)).filter(|kind| *kind != Key::Ecdsa(""))
}

pub(crate) fn kind(key: &SubjectPublicKeyInfo<'_>) -> Key {
    let curve = || {
        let id = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        match id.map(|id| id.to_id_string()).as_deref() {
            Some("1.3.132.0.33") => "P-224",
            Some("1.2.840.10045.3.1.7") => "P-256",
            Some("1.3.132.0.34") => "P-384",
            Some("1.3.132.0.35") => "P-521",
            _ => "",
        }
    };
    if key.algorithm.algorithm.to_id_string() == "1.3.101.112" {
        return Key::Ed25519;
    }
    match key.parsed() {
        Ok(PublicKey::RSA(key)) => Key::Rsa(key.key_size()),
        Ok(PublicKey::EC(_)) => Key::Ecdsa(curve()),
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    #[test]
    fn a_root_is_read_as_what_it_is() {
        let authority = Authority::generate("root").unwrap();
        let blocks = pem_blocks(format!("noise\n{}noise", authority.cert_pem()).as_bytes());
        assert_eq!((blocks.len(), blocks[0].label.as_str(), blocks[0].headers), (1, "CERTIFICATE", false));
        let root = certificate(&blocks[0].der).unwrap();
        assert!(root.is_ca && root.constrained && root.not_before < root.not_after);
        assert_eq!(public_key(&root.key), Some(Key::Ecdsa("P-256")));
    }

    #[test]
    fn what_is_wrong_is_nothing() {
        assert_eq!(pem_blocks(b"-----BEGIN A-----\n***\n-----END A-----\n-----BEGIN B-----\n"), []);
        assert!(certificate(b"").is_none() && signing_request(&[0x30, 0x80]).is_none() && public_key(b"x").is_none());
        let with_headers = pem_blocks(b"-----BEGIN A-----\nk: v\n\naGVs\n-----END A-----\n");
        assert_eq!(with_headers, [Block { label: "A".to_owned(), headers: true, der: b"hel".to_vec() }]);
    }
}
