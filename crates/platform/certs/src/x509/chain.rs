//! Chains of certificates: brought into order, parted into what a server sends and what its clients trust.

use super::der;
use super::read::{self, Facts};

/// What a request is answered with, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The certificate, then those that lead to the root; without it.
    pub chain: String,
    /// The root, or what is nearest to it; empty when it is not known.
    pub ca: String,
}

/// Brings certificates of one chain into order, the leaf first, and parts them; none when they are no single chain. A
/// self-signed root goes to `ca` only, unless it is all there is.
#[must_use]
pub fn parse(certificates: &[Facts]) -> Option<Bundle> {
    let mut left: Vec<&Facts> = Vec::new();
    for certificate in certificates {
        if !left.iter().any(|known| known.der == certificate.der) {
            left.push(certificate);
        }
    }
    let signs = |signer: &Facts, signed: &Facts| signer.der != signed.der && read::is_signed_by(signed, signer);
    let leaves: Vec<usize> =
        (0..left.len()).filter(|one| !left.iter().any(|signed| signs(left[*one], signed))).collect();
    let [leaf] = leaves.as_slice() else { return None };
    let mut chain = vec![left.remove(*leaf)];
    while let Some(next) = chain.last().and_then(|last| left.iter().position(|one| signs(one, last))) {
        chain.push(left.remove(next));
    }
    if !left.is_empty() {
        return None;
    }
    let top = *chain.last()?;
    if chain.len() > 1 && top.subject == top.issuer {
        chain.pop();
    }
    let pem = |facts: &Facts| der::pem("CERTIFICATE", &facts.der);
    Some(Bundle { chain: chain.into_iter().map(pem).collect(), ca: pem(top) })
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::x509::key::{Key, Kind};
    use crate::x509::request::Wanted;
    use crate::x509::sign::{Terms, sign};

    fn made(name: &str, by: Option<(&Facts, &Key)>) -> (Facts, Key) {
        let key = Key::generate(Kind::P256).unwrap();
        let spec = serde_json::from_value(serde_json::json!({ "commonName": name, "isCA": true })).unwrap();
        let asked = read::request(&Wanted::of(&spec).unwrap().request(&key).unwrap()).unwrap();
        let terms = Terms { duration: SignedDuration::from_hours(9), is_ca: true, ..Terms::default() };
        let signer = by.map_or(&key, |(_, key)| key);
        let der = sign(&asked, by.map(|(facts, _)| facts), signer, &terms, Timestamp::UNIX_EPOCH).unwrap();
        (read::certificate(&der).unwrap(), key)
    }

    #[test]
    fn certificates_come_into_order_and_the_root_apart() {
        let (root, root_key) = made("root", None);
        let (middle, middle_key) = made("middle", Some((&root, &root_key)));
        let (leaf, _) = made("leaf", Some((&middle, &middle_key)));
        let pem = |facts: &Facts| der::pem("CERTIFICATE", &facts.der);
        let both = pem(&leaf) + &pem(&middle);
        let parted = |all: &[&Facts]| parse(&all.iter().map(|one| (*one).clone()).collect::<Vec<_>>());
        let expected = Some(Bundle { chain: both.clone(), ca: pem(&root) });
        assert_eq!(parted(&[&root, &leaf, &middle, &leaf]), expected);
        assert_eq!(parted(&[&middle, &leaf]), Some(Bundle { chain: both, ca: pem(&middle) }));
        assert_eq!(parted(&[&root]), Some(Bundle { chain: pem(&root), ca: pem(&root) }));
        assert_eq!(parted(&[&leaf, &root]), None, "the middle is missing");
        assert_eq!(parted(&[]), None);
    }
}
