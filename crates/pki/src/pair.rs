//! Whether a certificate and a private key belong together, in the words of Go's `tls.X509KeyPair`.
//!
//! Invariant: no bytes make it panic, and nothing of the key is told.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::der;
use crate::inspect::{Key, kind, pem_blocks};

/// Why the two are no pair; none if they are one.
pub fn mismatch(certificates: &[u8], key: &[u8]) -> Option<String> {
    check(certificates, key).err()
}

fn check(certificates: &[u8], key: &[u8]) -> Result<(), String> {
    let mut skipped = Vec::new();
    let mut first = None;
    for block in pem_blocks(certificates) {
        match block.label.as_str() {
            "CERTIFICATE" => first = first.or(Some(block.der)),
            _ => skipped.push(block.label),
        }
    }
    let Some(first) = first else { return Err(no_certificate(&skipped)) };
    skipped.clear();
    let blocks = pem_blocks(key).into_iter();
    let is_key = |label: &str| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY");
    let mut private = None;
    for block in blocks {
        if is_key(&block.label) {
            private = Some(block.der);
            break;
        }
        skipped.push(block.label);
    }
    let Some(private) = private else { return Err(no_key(&skipped)) };
    let malformed = || "x509: malformed certificate".to_owned();
    let (rest, certificate) = X509Certificate::from_der(&first).map_err(|_| malformed())?;
    if !rest.is_empty() {
        return Err("x509: trailing data".to_owned());
    }
    belongs(&certificate, &Private::read(&private)?)
}

fn no_certificate(skipped: &[String]) -> String {
    match skipped {
        [] => "tls: failed to find any PEM data in certificate input".to_owned(),
        [one] if one.ends_with("PRIVATE KEY") => {
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may \
             have been switched"
                .to_owned()
        }
        many => format!(
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the \
             following types: [{}]",
            many.join(" ")
        ),
    }
}

fn no_key(skipped: &[String]) -> String {
    match skipped {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [one] if one == "CERTIFICATE" => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        many => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of \
             the following types: [{}]",
            many.join(" ")
        ),
    }
}

fn belongs(certificate: &X509Certificate<'_>, private: &Private<'_>) -> Result<(), String> {
    let info = certificate.public_key();
    let point = &*info.subject_public_key.data;
    let same = match (kind(info), info.parsed(), private) {
        (Key::Rsa(_), Ok(PublicKey::RSA(key)), Private::Rsa { modulus, exponent }) => {
            bare(key.modulus) == bare(modulus) && bare(key.exponent) == bare(exponent)
        }
        (Key::Ecdsa(curve), _, Private::Ecdsa { curve: other, scalar, point: told }) => {
            curve == *other && is_point_of(curve, scalar, *told, point)
        }
        (Key::Ed25519, _, Private::Ed25519(seed)) => Ed25519KeyPair::from_seed_and_public_key(seed, point).is_ok(),
        (Key::Other, ..) => return Err("tls: unknown public key algorithm".to_owned()),
        _ => return Err("tls: private key type does not match public key type".to_owned()),
    };
    if same { Ok(()) } else { Err("tls: private key does not match public key".to_owned()) }
}

/// Whether a point is the public half of a scalar. Curves that we do not compute on are taken at the word of the key.
fn is_point_of(curve: &str, scalar: &[u8], told: Option<&[u8]>, point: &[u8]) -> bool {
    let algorithm = match curve {
        "P-256" => &ECDSA_P256_SHA256_ASN1_SIGNING,
        "P-384" => &ECDSA_P384_SHA384_ASN1_SIGNING,
        _ => return told.is_none_or(|told| told == point),
    };
    let length = point.len() / 2;
    let scalar = bare(scalar);
    let Some(missing) = length.checked_sub(scalar.len()) else { return false };
    let mut padded = vec![0; missing];
    padded.extend_from_slice(scalar);
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, &padded, point, &SystemRandom::new()).is_ok()
}

/// Without leading zeros.
fn bare(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    &number[start..]
}

enum Private<'k> {
    Rsa { modulus: &'k [u8], exponent: &'k [u8] },
    Ecdsa { curve: &'static str, scalar: &'k [u8], point: Option<&'k [u8]> },
    Ed25519(&'k [u8]),
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const X25519: &[u8] = &[0x2b, 0x65, 0x6e];

fn curve(id: &[u8]) -> Option<&'static str> {
    Some(match id {
        [0x2b, 0x81, 0x04, 0x00, 0x21] => "P-224",
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => "P-256",
        [0x2b, 0x81, 0x04, 0x00, 0x22] => "P-384",
        [0x2b, 0x81, 0x04, 0x00, 0x23] => "P-521",
        _ => return None,
    })
}

impl<'k> Private<'k> {
    /// PKCS #1, PKCS #8 or SEC 1, whatever the label of the block says.
    fn read(key: &'k [u8]) -> Result<Self, String> {
        if let Some(found) = Self::pkcs1(key) {
            return Ok(found);
        }
        let found = match Self::pkcs8(key) {
            Some(Ok(found)) => Some(found),
            Some(Err(why)) => return Err(why),
            None => Self::sec1(key, None),
        };
        found.ok_or_else(|| "tls: failed to parse private key".to_owned())
    }

    fn pkcs1(key: &'k [u8]) -> Option<Self> {
        let (inner, []) = der::take(key, der::SEQUENCE)? else { return None };
        let ([0 | 1], rest) = der::take(inner, der::INTEGER)? else { return None };
        let (modulus, rest) = der::take(rest, der::INTEGER)?;
        let (exponent, mut rest) = der::take(rest, der::INTEGER)?;
        for _ in ["d", "p", "q"] {
            (_, rest) = der::take(rest, der::INTEGER)?;
        }
        Some(Self::Rsa { modulus, exponent })
    }

    fn pkcs8(key: &'k [u8]) -> Option<Result<Self, String>> {
        let (inner, _) = der::take(key, der::SEQUENCE)?;
        let ([0 | 1], rest) = der::take(inner, der::INTEGER)? else { return None };
        let (algorithm, rest) = der::take(rest, der::SEQUENCE)?;
        let (key, _) = der::take(rest, der::OCTETS)?;
        let (id, parameters) = der::take(algorithm, der::OID)?;
        Some(Ok(match id {
            RSA => Self::pkcs1(key)?,
            EC => Self::sec1(key, curve(der::take(parameters, der::OID)?.0))?,
            ED25519 => Self::Ed25519(der::take(key, der::OCTETS)?.0),
            X25519 => return Some(Err("tls: found unknown private key type in PKCS#8 wrapping".to_owned())),
            _ => return None,
        }))
    }

    fn sec1(key: &'k [u8], named: Option<&'static str>) -> Option<Self> {
        const PARAMETERS: u8 = 0xa0;
        const POINT: u8 = 0xa1;
        let (inner, []) = der::take(key, der::SEQUENCE)? else { return None };
        let ([1], rest) = der::take(inner, der::INTEGER)? else { return None };
        let (scalar, mut rest) = der::take(rest, der::OCTETS)?;
        let mut told = None;
        if let Some((parameters, after)) = der::take(rest, PARAMETERS) {
            told = der::take(parameters, der::OID).and_then(|(id, _)| curve(id));
            rest = after;
        }
        let bits = der::take(rest, POINT).and_then(|(bits, _)| der::take(bits, der::BITS));
        let point = bits.and_then(|(bits, _)| bits.split_first()).map(|(_, point)| point);
        Some(Self::Ecdsa { curve: named.or(told)?, scalar, point })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    struct Case {
        name: String,
        certificate: Vec<u8>,
        key: Vec<u8>,
    }

    fn cases() -> (Vec<Case>, Vec<(String, Vec<u8>)>) {
        let (mut pairs, mut older) = (Vec::new(), Vec::new());
        let lines = include_str!("../testdata/pairs.txt").lines().filter(|line| !line.starts_with('#'));
        let bytes = |text: &str| STANDARD.decode(text).expect("base64");
        for line in lines {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["pair", name, certificate, key] => {
                    pairs.push(Case { name: name.to_owned(), certificate: bytes(certificate), key: bytes(key) });
                }
                ["older", name, key] => older.push((name.to_owned(), bytes(key))),
                _ => panic!("{line}"),
            }
        }
        (pairs, older)
    }

    #[test]
    fn a_pair_belongs_together_whatever_its_form() {
        let (pairs, older) = cases();
        assert_eq!((pairs.len(), older.len()), (6, 5));
        for Case { name, certificate, key } in &pairs {
            assert_eq!(mismatch(certificate, key), None, "{name}");
            for (_, key) in older.iter().filter(|(other, _)| other == name) {
                assert_eq!(mismatch(certificate, key), None, "{name}");
            }
        }
    }

    #[test]
    fn others_do_not() {
        let (pairs, _) = cases();
        for Case { name, certificate, .. } in &pairs {
            for other in pairs.iter().filter(|other| other.name != *name) {
                let both = name.starts_with("P-") && other.name.starts_with("P-");
                let why = if both {
                    "private key does not match public key"
                } else {
                    "private key type does not match public key type"
                };
                assert_eq!(mismatch(certificate, &other.key), Some(format!("tls: {why}")), "{name} {}", other.name);
            }
        }
        let authority = || crate::Authority::generate("a").unwrap();
        let issue = |authority: &crate::Authority| {
            let (names, lifetime) = (vec!["a".to_owned()], std::time::Duration::from_secs(60));
            let common_name = "a".to_owned();
            let request =
                crate::Request { common_name, organization: None, names, usage: crate::Usage::Server, lifetime };
            authority.issue(&request).unwrap()
        };
        let (one, other) = (issue(&authority()), issue(&authority()));
        assert_eq!(mismatch(one.cert_pem.as_bytes(), one.key_pem.as_bytes()), None);
        let told = mismatch(one.cert_pem.as_bytes(), other.key_pem.as_bytes());
        assert_eq!(told.as_deref(), Some("tls: private key does not match public key"));
    }

    #[test]
    fn what_is_no_pair_is_told_as_go_tells_it() {
        let (pairs, _) = cases();
        let Case { certificate, key, .. } = &pairs[0];
        let block = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n").into_bytes();
        let check = |certificate: &[u8], key: &[u8], told: &str| {
            assert_eq!(mismatch(certificate, key).as_deref(), Some(told));
        };
        check(b"", key, "tls: failed to find any PEM data in certificate input");
        check(
            key,
            certificate,
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may \
             have been switched",
        );
        let two = [block("A"), block("B C")].concat();
        check(
            &two,
            key,
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the \
             following types: [A B C]",
        );
        check(certificate, b"", "tls: failed to find any PEM data in key input");
        check(certificate, certificate, "tls: found a certificate rather than a key in the PEM for the private key");
        check(
            certificate,
            &two,
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of \
             the following types: [A B C]",
        );
        check(&block("CERTIFICATE"), key, "x509: malformed certificate");
        check(certificate, &block("PRIVATE KEY"), "tls: failed to parse private key");
    }
}
