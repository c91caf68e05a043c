//! Requests of ACME, signed (RFC 7515, RFC 8555 section 6.2), and what is derived from an account's key.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL64;
use ring::digest::{SHA256, digest};
use ring::hmac;
use serde_json::{Value, json};

use crate::x509::der;
use crate::x509::key::{Key, KeyError, Kind};

/// Signs for an account: by its URL, or by the key itself while there is no account yet.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The account's key.
    pub key: &'a Key,
    /// The account.
    pub account: Option<&'a str>,
}

/// An account that exists elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct External {
    /// Its name.
    pub key_id: String,
    /// Its key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for External {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "External({:?})", self.key_id) // never print a key
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL64.encode(bytes)
}

/// The public key as a JSON Web Key (RFC 7517); its members in the order of their names, as thumbprints want them.
fn jwk(key: &Key) -> Value {
    let bytes = key.public_bytes();
    match key.kind() {
        Kind::Rsa(_) => {
            let numbers = der::take(bytes, der::SEQUENCE).and_then(|(inner, _)| {
                let (modulus, rest) = der::take(inner, der::INTEGER)?;
                let (exponent, _) = der::take(rest, der::INTEGER)?;
                Some((modulus, exponent))
            });
            let (modulus, exponent) = numbers.unwrap_or_default();
            let bare = |number: &[u8]| encode(number.strip_prefix(&[0]).unwrap_or(number));
            json!({ "e": bare(exponent), "kty": "RSA", "n": bare(modulus) })
        }
        Kind::P256 | Kind::P384 => {
            let curve = if key.kind() == Kind::P256 { "P-256" } else { "P-384" };
            let point = bytes.get(1..).unwrap_or_default();
            let (x, y) = point.split_at(point.len() / 2);
            json!({ "crv": curve, "kty": "EC", "x": encode(x), "y": encode(y) })
        }
        Kind::Ed25519 => json!({ "crv": "Ed25519", "kty": "OKP", "x": encode(bytes) }),
    }
}

/// The thumbprint of a key (RFC 7638).
fn thumbprint(key: &Key) -> String {
    encode(digest(&SHA256, jwk(key).to_string().as_bytes()))
}

/// What shows that a token and an account belong together (RFC 8555, 8.1).
#[must_use]
pub fn key_authorization(token: &str, key: &Key) -> String {
    format!("{token}.{}", thumbprint(key))
}

/// The value of a TXT record that shows it (RFC 8555, 8.4).
#[must_use]
pub fn key_hash(authorization: &str) -> String {
    encode(digest(&SHA256, authorization.as_bytes()))
}

impl Signer<'_> {
    /// A request to `url`. Without a payload it only asks (POST-as-GET).
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn request(&self, url: &str, nonce: &str, payload: Option<&Value>) -> Result<Value, KeyError> {
        let algorithm = match self.key.kind() {
            Kind::Rsa(_) => "RS256",
            Kind::P256 => "ES256",
            Kind::P384 => "ES384",
            Kind::Ed25519 => "EdDSA",
        };
        let mut header = json!({ "alg": algorithm, "nonce": nonce, "url": url });
        match self.account {
            Some(account) => header["kid"] = json!(account),
            None => header["jwk"] = jwk(self.key),
        }
        let payload = payload.map(ToString::to_string).unwrap_or_default();
        let (header, payload) = (encode(header.to_string()), encode(payload));
        let signature = self.key.sign(format!("{header}.{payload}").as_bytes())?;
        let signature = match self.key.kind() {
            Kind::P256 => fixed(&signature, 32),
            Kind::P384 => fixed(&signature, 48),
            _ => signature,
        };
        Ok(json!({ "protected": header, "payload": payload, "signature": encode(signature) }))
    }

    /// What ties the account of this key to another (RFC 8555, 7.3.4).
    #[must_use]
    pub fn bind(&self, external: &External, url: &str) -> Value {
        let header = encode(json!({ "alg": "HS256", "kid": external.key_id, "url": url }).to_string());
        let payload = encode(jwk(self.key).to_string());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &external.key);
        let signature = hmac::sign(&key, format!("{header}.{payload}").as_bytes());
        json!({ "protected": header, "payload": payload, "signature": encode(signature) })
    }
}

/// An ECDSA signature in ASN.1 as its two numbers of fixed length (RFC 7518, 3.4).
fn fixed(signature: &[u8], size: usize) -> Vec<u8> {
    let numbers = der::take(signature, der::SEQUENCE).and_then(|(inner, _)| {
        let (r, rest) = der::take(inner, der::INTEGER)?;
        Some((r, der::take(rest, der::INTEGER)?.0))
    });
    let (r, s) = numbers.unwrap_or_default();
    let padded = |number: &[u8]| {
        let bare = number.get(number.len().saturating_sub(size)..).unwrap_or_default();
        [vec![0; size - bare.len()], bare.to_vec()].concat()
    };
    [padded(r), padded(s)].concat()
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_request_is_signed_over_header_and_payload() {
        let key = Key::generate(Kind::P256).unwrap();
        for _ in 0..50 {
            let signer = Signer { key: &key, account: Some("https://acme/a") };
            let request = signer.request("https://acme/o", "n", Some(&json!({ "a": 1 }))).unwrap();
            let text = |field: &str| request[field].as_str().unwrap().to_owned();
            let signature = URL64.decode(text("signature")).unwrap();
            let signed = format!("{}.{}", text("protected"), text("payload"));
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_bytes())
                .verify(signed.as_bytes(), &signature)
                .unwrap();
            let header: Value = serde_json::from_slice(&URL64.decode(text("protected")).unwrap()).unwrap();
            assert_eq!(
                header,
                json!({ "alg": "ES256", "kid": "https://acme/a", "nonce": "n", "url": "https://acme/o" })
            );
        }
    }

    #[test]
    fn a_thumbprint_is_that_of_rfc_8037() {
        // RFC 8037, appendix A: the key, and its thumbprint
        let seed = URL64.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let inner = der::tagged(der::OCTETS, &der::tagged(der::OCTETS, &seed));
        let whole =
            der::sequence(&[der::integer(&[0]), der::sequence(&[der::tagged(der::OID, &[0x2B, 0x65, 0x70])]), inner]);
        let key = Key::from_pem(der::pem("PRIVATE KEY", &whole).as_bytes()).unwrap();
        assert_eq!(thumbprint(&key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key_authorization("t", &key), "t.kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn an_external_account_is_bound_with_its_key() {
        let key = Key::generate(Kind::P384).unwrap();
        let external = External { key_id: "k".to_owned(), key: b"secret".to_vec() };
        let bound = Signer { key: &key, account: None }.bind(&external, "https://acme/new");
        let text = |field: &str| bound[field].as_str().unwrap().to_owned();
        let mac = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let signed = format!("{}.{}", text("protected"), text("payload"));
        hmac::verify(&mac, signed.as_bytes(), &URL64.decode(text("signature")).unwrap()).unwrap();
        let payload: Value = serde_json::from_slice(&URL64.decode(text("payload")).unwrap()).unwrap();
        assert_eq!(payload, jwk(&key));
    }
}
