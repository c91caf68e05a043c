//! Certificates, signed by an authority or by themselves.
//!
//! Invariant: subject, key and names are the request's, byte for byte; uses, life and whether it is an authority are what
//! the signer was told (RFC 5280).

use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::der;
use super::key::{Key, KeyError, random};
use super::read::Facts;
use super::usage::{Usages, extension};

/// What the signer decides.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// How long it lives.
    pub duration: SignedDuration,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// What it may be used for.
    pub usages: Usages,
    /// Where revocations are told.
    pub crl_distribution_points: Vec<String>,
    /// Who answers for its state.
    pub ocsp_servers: Vec<String>,
    /// Where the signer's own certificate is.
    pub issuer_urls: Vec<String>,
}

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Nobody would take it.
    #[error("the authority's certificate has expired on {0}; renew it")]
    Expired(Timestamp),
    /// Nobody would take it.
    #[error("the certificate is no authority: it lacks basicConstraints CA:TRUE; set isCA on its Certificate")]
    NoAuthority,
    /// Not what it says.
    #[error("the authority's key does not belong to its certificate")]
    Mismatch,
    /// The key does not do it.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Signs `request` with `key`, the key of `authority`; without one the certificate signs itself. The certificate, DER; it
/// never outlives its authority.
///
/// # Errors
/// When the authority cannot sign.
pub fn sign(
    request: &Facts,
    authority: Option<&Facts>,
    key: &Key,
    terms: &Terms,
    now: Timestamp,
) -> Result<Vec<u8>, SignError> {
    if let Some(authority) = authority {
        check(authority, key)?;
        if authority.not_after <= now {
            return Err(SignError::Expired(authority.not_after));
        }
    }
    let end = now.checked_add(terms.duration).unwrap_or(Timestamp::MAX);
    let end = authority.map_or(end, |authority| end.min(authority.not_after));
    let issuer = authority.map_or(request.subject.clone(), |authority| authority.subject.clone());
    let own_key = key_id(&request.public);
    let signer_key =
        authority.map_or(own_key.clone(), |one| one.subject_key.clone().unwrap_or_else(|| key_id(&one.public)));
    let mut extensions = terms.usages.extensions();
    let constraints = if terms.is_ca { der::sequence(&[der::tagged(1, &[0xFF])]) } else { der::sequence(&[]) };
    extensions.push(extension(&[0x55, 0x1D, 0x13], true, &constraints));
    extensions.push(extension(&[0x55, 0x1D, 0x0E], false, &der::tagged(der::OCTETS, &own_key)));
    extensions.push(extension(&[0x55, 0x1D, 0x23], false, &der::sequence(&[der::tagged(0x80, &signer_key)])));
    if let Some(names) = &request.raw_names {
        extensions.push(extension(&[0x55, 0x1D, 0x11], request.subject_attributes().is_empty(), names));
    }
    extensions.extend(places(terms));
    let mut serial = random::<16>()?;
    serial[0] = serial[0] & 0x7F | 0x40; // positive, and never shorter
    let body = der::sequence(&[
        der::tagged(0xA0, &der::integer(&[2])),
        der::integer(&serial),
        key.signature_algorithm(),
        issuer,
        der::sequence(&[der::time(now), der::time(end)]),
        request.subject.clone(),
        request.public.clone(),
        der::tagged(0xA3, &der::sequence(&extensions)),
    ]);
    Ok(key.seal(body)?)
}

/// Whether `key` and `authority` together can sign.
///
/// # Errors
/// Why not.
pub fn check(authority: &Facts, key: &Key) -> Result<(), SignError> {
    if key.public() != authority.public {
        return Err(SignError::Mismatch);
    }
    if authority.is_ca { Ok(()) } else { Err(SignError::NoAuthority) }
}

/// The name of a key (RFC 5280, 4.2.1.2, method 1).
fn key_id(public: &[u8]) -> Vec<u8> {
    let bits = der::take(public, der::SEQUENCE)
        .and_then(|(inner, _)| der::take(inner, der::SEQUENCE))
        .and_then(|(_, rest)| der::take(rest, der::BITS))
        .and_then(|(bits, _)| bits.get(1..))
        .unwrap_or(public);
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bits).as_ref().to_vec()
}

/// Extensions that say where more is to be found.
fn places(terms: &Terms) -> Vec<Vec<u8>> {
    let url = |url: &String| der::tagged(0x86, url.as_bytes());
    let mut extensions = Vec::new();
    if !terms.crl_distribution_points.is_empty() {
        let point = |at: &String| der::sequence(&[der::tagged(0xA0, &der::tagged(0xA0, &url(at)))]);
        let points: Vec<Vec<u8>> = terms.crl_distribution_points.iter().map(point).collect();
        extensions.push(extension(&[0x55, 0x1D, 0x1F], false, &der::sequence(&points)));
    }
    let access =
        |last: u8, at: &String| der::sequence(&[der::tagged(der::OID, &[0x2B, 6, 1, 5, 5, 7, 48, last]), url(at)]);
    let mut ways: Vec<Vec<u8>> = terms.ocsp_servers.iter().map(|at| access(1, at)).collect();
    ways.extend(terms.issuer_urls.iter().map(|at| access(2, at)));
    if !ways.is_empty() {
        extensions.push(extension(&[0x2B, 6, 1, 5, 5, 7, 1, 1], false, &der::sequence(&ways)));
    }
    extensions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CertificateSpec;
    use crate::x509::key::Kind;
    use crate::x509::read;
    use crate::x509::request::Wanted;

    fn request(key: &Key, spec: &str) -> Facts {
        let spec: CertificateSpec = serde_json::from_str(spec).unwrap();
        read::request(&Wanted::of(&spec).unwrap().request(key).unwrap()).unwrap()
    }

    #[test]
    fn a_chain_of_every_kind_of_key_holds() {
        let now = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
        let terms = |hours, is_ca| Terms {
            duration: SignedDuration::from_hours(hours),
            is_ca,
            usages: Usages::named(&["server auth".to_owned()], is_ca).unwrap(),
            crl_distribution_points: vec!["http://a/crl".to_owned()],
            ocsp_servers: vec!["http://a/ocsp".to_owned()],
            issuer_urls: vec!["http://a/ca".to_owned()],
        };
        for kind in [Kind::Rsa(2048), Kind::P256, Kind::P384, Kind::Ed25519] {
            let (root_key, leaf_key) = (Key::generate(kind).unwrap(), Key::generate(Kind::P256).unwrap());
            let asked = request(&root_key, r#"{"commonName": "root", "isCA": true}"#);
            let root = read::certificate(&sign(&asked, None, &root_key, &terms(10, true), now).unwrap()).unwrap();
            assert!(root.is_ca && read::is_signed_by(&root, &root));
            let asked = request(&leaf_key, r#"{"dnsNames": ["a.example"]}"#);
            let leaf =
                read::certificate(&sign(&asked, Some(&root), &root_key, &terms(20, false), now).unwrap()).unwrap();
            assert!(!leaf.is_ca && read::is_signed_by(&leaf, &root));
            assert_eq!((leaf.not_before, leaf.not_after), (now, root.not_after), "it does not outlive its signer");
            assert_eq!(
                (leaf.names.dns.clone(), leaf.public.clone()),
                (vec!["a.example".to_owned()], leaf_key.public())
            );
            assert_eq!(leaf.authority_key, root.subject_key);
            assert_eq!(leaf.usages, terms(1, false).usages);
        }
    }

    #[test]
    fn who_may_not_sign_does_not() {
        let now = Timestamp::UNIX_EPOCH;
        let key = Key::generate(Kind::P256).unwrap();
        let asked = request(&key, r#"{"commonName": "x"}"#);
        let terms = |is_ca| Terms { duration: SignedDuration::from_hours(1), is_ca, ..Terms::default() };
        let certificate = |is_ca| read::certificate(&sign(&asked, None, &key, &terms(is_ca), now).unwrap()).unwrap();
        let refused =
            |authority: &Facts, key: &Key, at| sign(&asked, Some(authority), key, &terms(false), at).unwrap_err();
        assert!(matches!(refused(&certificate(false), &key, now), SignError::NoAuthority));
        let other = Key::generate(Kind::P256).unwrap();
        assert!(matches!(refused(&certificate(true), &other, now), SignError::Mismatch));
        let later = now.checked_add(SignedDuration::from_hours(1)).unwrap();
        assert!(matches!(refused(&certificate(true), &key, later), SignError::Expired(_)));
    }
}
