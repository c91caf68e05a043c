//! Proof that somebody has a private key: a signature of theirs over a message that others know.
//!
//! Invariant: no bytes make it panic. The forms are those in which a node proves that it has the key of a pod: Ed25519,
//! ECDSA and RSA PSS, the latter two with SHA-256.

use ring::signature::{self, UnparsedPublicKey};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::inspect::{Key, kind};
use crate::verify;

/// Whether `signature` is over `message` and by the private half of an encoded public key.
pub fn proves(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok((_, info)) = SubjectPublicKeyInfo::from_der(key) else { return false };
    let point = &*info.subject_public_key.data;
    let by_ring = |algorithm| UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok();
    match (kind(&info), info.parsed()) {
        (Key::Ed25519, _) => UnparsedPublicKey::new(&signature::ED25519, point).verify(message, signature).is_ok(),
        (Key::Ecdsa("P-256"), _) => by_ring(&signature::ECDSA_P256_SHA256_ASN1),
        (Key::Ecdsa("P-384"), _) => by_ring(&signature::ECDSA_P384_SHA256_ASN1),
        (Key::Ecdsa("P-521"), _) => verify::p521(point, &ring::digest::SHA256, message, signature),
        (Key::Rsa(_), Ok(PublicKey::RSA(key))) => verify::pss(key.modulus, key.exponent, message, signature),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::inspect::signing_request;

    #[test]
    fn what_go_signs_proves_and_nothing_else_does() {
        let lines = include_str!("../testdata/proofs.txt").lines().filter(|line| !line.starts_with('#'));
        let mut proofs = 0;
        for line in lines {
            let fields: Vec<&str> = line.split(' ').collect();
            let bytes = |index: usize| STANDARD.decode(fields[index]).expect("base64");
            if let [name, _] = fields[..] {
                let request = signing_request(&bytes(1)).expect("a request");
                assert!(request.signed, "{name}");
                let mut other = bytes(1);
                let last = other.len() - 1;
                other[last] ^= 1;
                assert!(!signing_request(&other).expect("a request").signed, "{name}");
                continue;
            }
            proofs += 1;
            let (name, key, signature) = (fields[0], bytes(1), bytes(2));
            // P-224 is refused before anybody asks for a proof
            assert_eq!(proves(&key, b"uid-1", &signature), name != "P-224", "{name}");
            assert!(!proves(&key, b"uid-2", &signature), "{name}");
            for index in [0, signature.len() / 2, signature.len() - 1] {
                let mut wrong = signature.clone();
                wrong[index] ^= 1;
                assert!(!proves(&key, b"uid-1", &wrong), "{name} {index}");
            }
            assert!(!proves(&key, b"uid-1", b"") && !proves(&key[..key.len() / 2], b"uid-1", &signature), "{name}");
        }
        assert_eq!(proofs, 9);
    }
}
