//! Compact JWS with ES256: exactly what service account tokens need, and nothing a client could choose.
//!
//! The algorithm is fixed by our key, so a token cannot talk the verifier into another one; the header is only read for
//! its key id. Why own code: a general JOSE library would bring a dozen algorithms that must then be forbidden.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use ring::{
    digest,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
    },
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};

/// The DER that precedes the point of a P-256 key in a SubjectPublicKeyInfo.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("cannot use the token signing key; expected a PKCS#8 EC P-256 key in PEM")]
    Key,
    #[error("cannot sign a token")]
    Sign,
    #[error("the token is not a compact JWS")]
    Malformed,
    #[error("the token was not signed with ES256 by our key")]
    Signature,
}

pub(crate) struct Key {
    pair: EcdsaKeyPair,
    id: String,
    random: SystemRandom,
}

impl Key {
    pub(crate) fn from_pem(pem: &str) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| Error::Key)?;
        let key = der.secret_pkcs8_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &random).map_err(|_| Error::Key)?;
        let spki = [&P256_SPKI, pair.public_key().as_ref()].concat();
        let id = BASE64.encode(digest::digest(&digest::SHA256, &spki));
        Ok(Self { pair, id, random })
    }

    pub(crate) fn sign(&self, claims: &Value) -> Result<String, Error> {
        let header = json!({"alg": "ES256", "kid": self.id});
        let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature = self.pair.sign(&self.random, message.as_bytes()).map_err(|_| Error::Sign)?;
        Ok(format!("{message}.{}", BASE64.encode(signature)))
    }

    /// The claims of a token that this key signed.
    pub(crate) fn verify(&self, token: &str) -> Result<Value, Error> {
        let (message, signature) = token.rsplit_once('.').ok_or(Error::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Error::Malformed)?;
        let decode = |part: &str| BASE64.decode(part).map_err(|_| Error::Malformed);
        let parse = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).map_err(|_| Error::Malformed);
        let header = parse(decode(header)?)?;
        if header["alg"] != "ES256" || header.get("kid").is_some_and(|id| *id != self.id) {
            return Err(Error::Signature);
        }
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        public.verify(message.as_bytes(), &decode(signature)?).map_err(|_| Error::Signature)?;
        parse(decode(claims)?)
    }

    /// The public key as a JSON Web Key Set.
    pub(crate) fn key_set(&self) -> Value {
        let point = self.pair.public_key().as_ref(); // 0x04, x, y
        let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..65]));
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y}]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::from_pem(&pki::generate_key_pem().unwrap()).unwrap()
    }

    #[test]
    fn claims_survive_signing() {
        let key = key();
        let token = key.sign(&json!({"sub": "ünïcode"})).unwrap();
        assert_eq!(key.verify(&token).unwrap(), json!({"sub": "ünïcode"}));
    }

    #[test]
    fn a_token_that_was_touched_or_signed_by_others_is_refused() {
        let (ours, theirs) = (key(), key());
        let claims = json!({"sub": "a"});
        assert_eq!(ours.verify(&theirs.sign(&claims).unwrap()), Err(Error::Signature));
        let token = ours.sign(&claims).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let none = BASE64.encode(r#"{"alg":"none"}"#);
        let other = BASE64.encode(r#"{"sub":"b"}"#);
        assert_eq!(ours.verify(&format!("{none}.{}.", parts[1])), Err(Error::Signature));
        assert_eq!(ours.verify(&format!("{}.{other}.{}", parts[0], parts[2])), Err(Error::Signature));
        for nonsense in ["", "a", "a.b", "a.b.c", "..."] {
            assert!(ours.verify(nonsense).is_err());
        }
    }

    #[test]
    fn the_key_set_publishes_the_point_and_never_the_secret() {
        let set = key().key_set();
        let key = set["keys"][0].as_object().unwrap();
        assert!(!key.contains_key("d"));
        assert_eq!(BASE64.decode(key["x"].as_str().unwrap()).unwrap().len(), 32);
    }
}
