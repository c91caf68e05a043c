//! Certificates for the keys of others, as their requests ask and a signer allows.
//!
//! Invariant: subject, key and names are the request's, byte for byte; what the certificate may be used for and how long is
//! the signer's, and it never is an authority. Written as DER by hand because the library keeps one attribute of each
//! type in a subject, and a user may have several groups.

use std::time::{Duration, SystemTime};

use rcgen::SigningKey as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, ParsedCriAttribute, X509Certificate};

use crate::Authority;

/// Certificates start this much in the past, for peers whose clock is behind.
const BACKDATE: Duration = Duration::from_secs(300);
/// What lives shorter than this is not cut short by the backdating.
const SHORT: Duration = Duration::from_secs(8 * 3600);

/// Why a request is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("unable to parse certificate request")]
    Request,
    #[error("unable to verify certificate request signature")]
    Signature,
    #[error("unrecognized usage: {0:?}")]
    Usage(String),
    #[error("the signer has expired")]
    Expired,
    #[error("cannot read the signer's own certificate")]
    Signer,
    #[error("cannot sign")]
    Library(#[from] rcgen::Error),
}

/// How a use is written: a bit of the key's use, or a purpose.
enum Use {
    Bit(u32),
    Purpose(&'static [u8]),
}

/// The uses by name, with the bits of RFC 5280 and the encoded identifiers.
fn known(name: &str) -> Option<Use> {
    const PKIX: [[u8; 8]; 10] = {
        let mut all = [[0x2B, 6, 1, 5, 5, 7, 3, 0]; 10];
        let mut index = 0;
        while index < all.len() {
            all[index][7] = index as u8;
            index += 1;
        }
        all
    };
    Some(match name {
        "signing" | "digital signature" => Use::Bit(0),
        "content commitment" => Use::Bit(1),
        "key encipherment" => Use::Bit(2),
        "data encipherment" => Use::Bit(3),
        "key agreement" => Use::Bit(4),
        "cert sign" => Use::Bit(5),
        "crl sign" => Use::Bit(6),
        "encipher only" => Use::Bit(7),
        "decipher only" => Use::Bit(8),
        "any" => Use::Purpose(&[0x55, 0x1D, 0x25, 0]),
        "server auth" => Use::Purpose(&PKIX[1]),
        "client auth" => Use::Purpose(&PKIX[2]),
        "code signing" => Use::Purpose(&PKIX[3]),
        "email protection" | "s/mime" => Use::Purpose(&PKIX[4]),
        "ipsec end system" => Use::Purpose(&PKIX[5]),
        "ipsec tunnel" => Use::Purpose(&PKIX[6]),
        "ipsec user" => Use::Purpose(&PKIX[7]),
        "timestamping" => Use::Purpose(&PKIX[8]),
        "ocsp signing" => Use::Purpose(&PKIX[9]),
        "microsoft sgc" => Use::Purpose(&[0x2B, 6, 1, 4, 1, 0x82, 0x37, 10, 3, 3]),
        "netscape sgc" => Use::Purpose(&[0x60, 0x86, 0x48, 1, 0x86, 0xF8, 0x42, 4, 1]),
        _ => return None,
    })
}

impl Authority {
    /// Signs the request (DER) for these uses and so long from `now`; the certificate, PEM.
    ///
    /// # Errors
    /// When it is no request, whoever made it does not have the key, or the authority cannot sign.
    pub fn sign(
        &self,
        request: &[u8],
        usages: &[String],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<String, SignError> {
        let (rest, request) = X509CertificationRequest::from_der(request).map_err(|_| SignError::Request)?;
        if !rest.is_empty() {
            return Err(SignError::Request);
        }
        request.verify_signature().map_err(|_| SignError::Signature)?;
        let (_, own) = X509Certificate::from_der(self.cert_der()).map_err(|_| SignError::Signer)?;
        let end = SystemTime::UNIX_EPOCH
            + Duration::from_secs(u64::try_from(own.validity().not_after.timestamp()).unwrap_or(0));
        let wanted = if lifetime < SHORT { now + lifetime } else { now + lifetime - BACKDATE };
        if now >= end {
            return Err(SignError::Expired);
        }
        let info = &request.certification_request_info;
        let validity = der::sequence(&[der::time(now - BACKDATE), der::time(wanted.min(end))]);
        let extensions = extensions(info.iter_attributes(), &own, usages, info.subject.iter().next().is_none())?;
        let algorithm = der::sequence(&[der::tagged(6, &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2])]); // ECDSA with SHA-256
        let body = der::sequence(&[
            der::tagged(0xA0, &der::integer(&[2])),
            der::integer(&serial()?),
            algorithm.clone(),
            own.subject().as_raw().to_vec(),
            validity,
            info.subject.as_raw().to_vec(),
            info.subject_pki.raw.to_vec(),
            der::tagged(0xA3, &der::sequence(&extensions)),
        ]);
        let signature = self.key().sign(&body)?;
        let whole = der::sequence(&[body, algorithm, der::bits(&signature, 0)]);
        Ok(der::pem("CERTIFICATE", &whole))
    }
}

fn extensions<'a>(
    attributes: impl Iterator<Item = &'a x509_parser::cri_attributes::X509CriAttribute<'a>>,
    own: &X509Certificate<'_>,
    usages: &[String],
    nameless: bool,
) -> Result<Vec<Vec<u8>>, SignError> {
    let (mut bits, mut purposes) = (0u16, Vec::new());
    for name in usages {
        match known(name).ok_or_else(|| SignError::Usage(name.clone()))? {
            Use::Bit(bit) => bits |= 0x8000 >> bit,
            Use::Purpose(id) => purposes.push(der::tagged(6, id)),
        }
    }
    let mut extensions = Vec::new();
    if bits != 0 {
        let unused = bits.trailing_zeros();
        let bytes = bits.to_be_bytes();
        let kept = if unused >= 8 { &bytes[..1] } else { &bytes[..] };
        let value = der::bits(kept, u8::try_from(unused % 8).unwrap_or(0));
        extensions.push(der::extension(&[0x55, 0x1D, 0x0F], true, &value));
    }
    if !purposes.is_empty() {
        extensions.push(der::extension(&[0x55, 0x1D, 0x25], false, &der::sequence(&purposes)));
    }
    extensions.push(der::extension(&[0x55, 0x1D, 0x13], true, &der::sequence(&[])));
    let own_key = own.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    });
    if let Some(id) = own_key {
        extensions.push(der::extension(&[0x55, 0x1D, 0x23], false, &der::sequence(&[der::tagged(0x80, id)])));
    }
    for attribute in attributes {
        let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else { continue };
        let names = asked
            .extensions
            .iter()
            .find(|one| matches!(one.parsed_extension(), ParsedExtension::SubjectAlternativeName(_)));
        if let Some(names) = names {
            extensions.push(der::extension(&[0x55, 0x1D, 0x11], nameless, names.value));
        }
    }
    Ok(extensions)
}

/// A number that nobody guesses: the start of a fresh key.
fn serial() -> Result<Vec<u8>, rcgen::Error> {
    use rcgen::PublicKeyData as _;
    let key = rcgen::KeyPair::generate()?;
    let bytes = key.der_bytes();
    let mut serial: Vec<u8> = bytes[bytes.len() - 16..].to_vec();
    serial[0] = serial[0] & 0x7F | 0x40; // positive, and never shorter
    Ok(serial)
}

/// The little of DER that a certificate needs.
mod der {
    use std::time::SystemTime;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use x509_parser::time::ASN1Time;

    pub(super) fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        let length = content.len();
        if length < 0x80 {
            out.push(u8::try_from(length).unwrap_or(0));
        } else {
            let bytes = length.to_be_bytes();
            let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
            out.push(0x80 | u8::try_from(bytes.len() - start).unwrap_or(0));
            out.extend(&bytes[start..]);
        }
        out.extend(content);
        out
    }

    pub(super) fn sequence(items: &[Vec<u8>]) -> Vec<u8> {
        tagged(0x30, &items.concat())
    }

    pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
        tagged(2, bytes)
    }

    pub(super) fn bits(bytes: &[u8], unused: u8) -> Vec<u8> {
        tagged(3, &[&[unused], bytes].concat())
    }

    pub(super) fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
        let mut items = vec![tagged(6, id)];
        if critical {
            items.push(tagged(1, &[0xFF]));
        }
        items.push(tagged(4, value));
        sequence(&items)
    }

    /// Years up to 2049 have two digits, others four.
    pub(super) fn time(at: SystemTime) -> Vec<u8> {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let time = ASN1Time::from_timestamp(i64::try_from(seconds).unwrap_or(0)).unwrap_or_else(|_| ASN1Time::now());
        let time = time.to_datetime();
        let (year, month) = (time.year(), u8::from(time.month()));
        let rest = format!("{month:02}{:02}{:02}{:02}{:02}Z", time.day(), time.hour(), time.minute(), time.second());
        if (1950..2050).contains(&year) {
            tagged(0x17, format!("{:02}{rest}", year % 100).as_bytes())
        } else {
            tagged(0x18, format!("{year:04}{rest}").as_bytes())
        }
    }

    pub(super) fn pem(label: &str, der: &[u8]) -> String {
        let body = STANDARD.encode(der);
        let mut text = format!("-----BEGIN {label}-----\n");
        for line in body.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text + &format!("-----END {label}-----\n")
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};
    use x509_parser::pem::parse_x509_pem;

    use super::*;

    fn request(names: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ann");
        params.distinguished_name.push(DnType::OrganizationName, "devs");
        params.subject_alt_names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn uses(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn now() -> SystemTime {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        SystemTime::UNIX_EPOCH + Duration::from_secs(now)
    }

    #[test]
    fn a_certificate_says_what_the_request_says_and_the_signer_allows() {
        let (authority, now) = (Authority::generate("root").unwrap(), now());
        let day = Duration::from_secs(24 * 3600);
        let usages = uses(&["digital signature", "key encipherment", "client auth", "server auth"]);
        let pem = authority.sign(&request(&["a.example"]), &usages, day, now).unwrap();
        let (_, block) = parse_x509_pem(pem.as_bytes()).unwrap();
        let (_, root) = parse_x509_pem(authority.cert_pem().as_bytes()).unwrap();
        let (certificate, root) = (block.parse_x509().unwrap(), root.parse_x509().unwrap());
        certificate.verify_signature(Some(root.public_key())).unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=ann, O=devs");
        assert_eq!(certificate.issuer(), root.subject());
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1);
        let key_usage = certificate.key_usage().unwrap().unwrap().value;
        assert!(key_usage.digital_signature() && key_usage.key_encipherment() && !key_usage.key_cert_sign());
        let purposes = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(purposes.client_auth && purposes.server_auth && !purposes.any);
        assert!(!certificate.is_ca() && certificate.basic_constraints().unwrap().unwrap().critical);
        let at =
            |time: SystemTime| i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
        assert_eq!(certificate.validity().not_before.timestamp(), at(now - BACKDATE));
        assert_eq!(certificate.validity().not_after.timestamp(), at(now + day - BACKDATE));
    }

    #[test]
    fn nothing_outlives_its_signer_and_what_is_short_is_whole() {
        let (authority, now) = (Authority::generate("root").unwrap(), now());
        let ends = |lifetime: Duration| {
            let pem = authority.sign(&request(&[]), &uses(&["client auth"]), lifetime, now).unwrap();
            crate::expires(&pem).unwrap()
        };
        assert_eq!(ends(Duration::from_secs(600)), now + Duration::from_secs(600));
        assert_eq!(ends(Duration::from_secs(100 * 365 * 24 * 3600)), crate::expires(authority.cert_pem()).unwrap());
        let late = now + Duration::from_secs(20 * 365 * 24 * 3600);
        let refused = authority.sign(&request(&[]), &[], Duration::from_secs(600), late);
        assert!(matches!(refused, Err(SignError::Expired)));
    }

    #[test]
    fn what_is_no_request_or_was_changed_is_refused() {
        let authority = Authority::generate("root").unwrap();
        let sign = |request: &[u8], usages: &[String]| authority.sign(request, usages, SHORT, SystemTime::now());
        assert!(matches!(sign(b"no", &[]), Err(SignError::Request)));
        let mut changed = request(&[]);
        let place = changed.windows(3).position(|three| three == b"ann").unwrap();
        changed[place] = b'x';
        assert!(matches!(sign(&changed, &[]), Err(SignError::Signature)));
        assert!(matches!(sign(&request(&[]), &uses(&["flying"])), Err(SignError::Usage(_))));
    }
}
