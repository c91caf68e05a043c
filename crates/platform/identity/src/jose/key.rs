//! Public keys of issuers, and the algorithms they verify with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;

/// The most keys of one set that count.
const MOST_KEYS: usize = 64;

/// How a signature is verified (RFC 7518 3.1, RFC 8037).
#[derive(Clone, Copy)]
pub(crate) struct Algorithm {
    pub(crate) name: &'static str,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    Rsa(&'static RsaParameters),
    /// On a curve.
    Curve(&'static str, &'static dyn VerificationAlgorithm),
}

impl std::fmt::Debug for Algorithm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

/// Every algorithm there is.
pub(crate) static ALGORITHMS: [Algorithm; 9] = [
    Algorithm { name: "RS256", how: How::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256) },
    Algorithm { name: "RS384", how: How::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384) },
    Algorithm { name: "RS512", how: How::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512) },
    Algorithm { name: "PS256", how: How::Rsa(&signature::RSA_PSS_2048_8192_SHA256) },
    Algorithm { name: "PS384", how: How::Rsa(&signature::RSA_PSS_2048_8192_SHA384) },
    Algorithm { name: "PS512", how: How::Rsa(&signature::RSA_PSS_2048_8192_SHA512) },
    Algorithm { name: "ES256", how: How::Curve("P-256", &signature::ECDSA_P256_SHA256_FIXED) },
    Algorithm { name: "ES384", how: How::Curve("P-384", &signature::ECDSA_P384_SHA384_FIXED) },
    Algorithm { name: "EdDSA", how: How::Curve("Ed25519", &signature::ED25519) },
];

/// The keys of an issuer (RFC 7517 5). Keys that cannot verify a token are left out.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Option<String>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    Curve(&'static str, Vec<u8>),
}

#[derive(Deserialize)]
struct WrittenSet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Written {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWK set.
    ///
    /// # Errors
    /// When the text is none, or has no key that can verify a token.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let set: WrittenSet = serde_json::from_slice(text).map_err(|error| format!("no JWK set: {error}"))?;
        let written = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Written>(key).ok());
        let keys: Vec<Key> = written.filter_map(Key::read).take(MOST_KEYS).collect();
        if keys.is_empty() {
            return Err("the JWK set has no public key for RSA (2048 to 8192 bits), P-256, P-384 or Ed25519".to_owned());
        }
        Ok(Self { keys })
    }

    /// Whether there is a key of this name; any key at all when there is no name.
    pub(crate) fn knows(&self, id: Option<&str>) -> bool {
        self.named(id).next().is_some()
    }

    /// Verifies `signature` of `message` with the keys called `id` (with all when a token names none).
    pub(crate) fn verify(&self, id: Option<&str>, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.named(id).any(|key| key.verify(algorithm, message, signature))
    }

    fn named<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        self.keys
            .iter()
            .filter(move |key| id.is_none() || key.id.as_deref() == id || (key.id.is_none() && self.keys.len() == 1))
    }
}

impl Key {
    /// A key that can verify tokens; none if this is not one.
    fn read(written: Written) -> Option<Self> {
        let signs = written.used.as_deref().is_none_or(|used| used == "sig")
            && written.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let public = match (written.kty.as_str(), written.crv.as_deref()) {
            ("RSA", _) => rsa(bytes(written.n.as_ref())?, bytes(written.e.as_ref())?)?,
            ("EC", Some("P-256")) => point("P-256", 32, &bytes(written.x.as_ref())?, &bytes(written.y.as_ref())?)?,
            ("EC", Some("P-384")) => point("P-384", 48, &bytes(written.x.as_ref())?, &bytes(written.y.as_ref())?)?,
            ("OKP", Some("Ed25519")) => {
                Public::Curve("Ed25519", bytes(written.x.as_ref()).filter(|point| point.len() == 32)?)
            }
            _ => return None,
        };
        signs.then_some(Self { id: written.kid, algorithm: written.alg, public })
    }

    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if self.algorithm.as_deref().is_some_and(|only| only != algorithm.name) {
            return false;
        }
        match (&self.public, algorithm.how) {
            (Public::Rsa(key), How::Rsa(parameters)) => key.verify(parameters, message, signature).is_ok(),
            (Public::Curve(of, point), How::Curve(curve, how)) if *of == curve => {
                UnparsedPublicKey::new(how, point).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

fn bytes(text: Option<&String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?.trim_end_matches('=')).ok()
}

fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<Public> {
    let trimmed = |number: Vec<u8>| -> Vec<u8> { number.into_iter().skip_while(|byte| *byte == 0).collect() };
    let (n, e) = (trimmed(n), trimmed(e));
    ((256..=1024).contains(&n.len()) && (1..=4).contains(&e.len()))
        .then_some(Public::Rsa(RsaPublicKeyComponents { n, e }))
}

/// An uncompressed point; ring checks that it is on the curve.
fn point(curve: &'static str, size: usize, x: &[u8], y: &[u8]) -> Option<Public> {
    (x.len() == size && y.len() == size).then(|| Public::Curve(curve, [&[4], x, y].concat()))
}
