//! Private keys: made, written as PEM in the forms Go writes, read back, and used to sign.
//!
//! Invariant: a key is never printed. What `ring` can sign with is what there is: RSA of 2048 to 4096 bits, ECDSA over
//! P-256 and P-384, Ed25519; the rest (RSA 8192, P-521) is refused by name.

use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{self as ring_signature, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use rsa::pkcs1::EncodeRsaPrivateKey as _;

use super::der;

/// `rsaEncryption`, `ecPublicKey`, `Ed25519`, and the curves.
const RSA_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1];
const EC_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1];
const ED25519: &[u8] = &[0x2B, 0x65, 0x70];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
const P384: &[u8] = &[0x2B, 0x81, 4, 0, 0x22];
/// `sha256WithRSAEncryption`, `ecdsa-with-SHA256`, `ecdsa-with-SHA384`.
const RSA_SHA256: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 11];
const ECDSA_SHA256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2];
const ECDSA_SHA384: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 3];

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of so many bits.
    Rsa(usize),
    /// ECDSA over this curve.
    P256,
    /// ECDSA over this curve.
    P384,
    /// Ed25519.
    Ed25519,
}

/// How a key is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Each algorithm's own form (PKCS #1, SEC 1); Ed25519 has none and is written as the other.
    #[default]
    Pkcs1,
    /// One form for all (RFC 5958).
    Pkcs8,
}

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// No random numbers.
    #[error("cannot make a key: the random source failed")]
    Random,
    /// Not a key.
    #[error("no PEM block with a private key was found")]
    NoPem,
    /// Encrypted, cut off, or of a kind we do not know.
    #[error(
        "the private key is of an unknown form or kind; RSA of 2048 to 4096 bits, ECDSA P-256 or P-384 and Ed25519 are known"
    )]
    Unknown,
    /// The parts do not fit.
    #[error("the private key is not usable: {0}")]
    Rejected(String),
}

/// A private key.
pub struct Key {
    kind: Kind,
    /// RSA: PKCS #1; ECDSA: SEC 1; Ed25519: the seed.
    secret: Vec<u8>,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?})", self.kind)
    }
}

/// `ring`'s random numbers for the crate that makes RSA keys.
struct Random(SystemRandom);

impl rsa::rand_core::TryRng for Random {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes).expect("invariant: getrandom answers once it has answered");
        Ok(())
    }
}
impl rsa::rand_core::TryCryptoRng for Random {}

/// Random bytes.
///
/// # Errors
/// When the random source fails.
pub fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

impl Key {
    /// A new key. RSA takes up to seconds of the processor: call it where that is fine.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn generate(kind: Kind) -> Result<Self, KeyError> {
        let rejected = |error: &dyn std::fmt::Display| KeyError::Rejected(error.to_string());
        random::<1>()?; // that the source answers
        match kind {
            Kind::Rsa(bits) => {
                let key =
                    rsa::PrivateKey::new(&mut Random(SystemRandom::new()), bits).map_err(|error| rejected(&error))?;
                let der = key.to_pkcs1_der().map_err(|error| rejected(&error))?;
                Self::rsa(der.as_bytes())
            }
            Kind::P256 | Kind::P384 => {
                let algorithm = if kind == Kind::P256 {
                    &ring_signature::ECDSA_P256_SHA256_ASN1_SIGNING
                } else {
                    &ring_signature::ECDSA_P384_SHA384_ASN1_SIGNING
                };
                let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new());
                Self::pkcs8(document.map_err(|_| KeyError::Random)?.as_ref())
            }
            Kind::Ed25519 => Self::ed25519(&random::<32>()?),
        }
    }

    /// Reads the first private key of a PEM text: PKCS #1, SEC 1 or PKCS #8, not encrypted.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let blocks = pki::inspect::pem_blocks(pem);
        let block = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY")).ok_or(KeyError::NoPem)?;
        match block.label.as_str() {
            "RSA PRIVATE KEY" => Self::rsa(&block.der),
            "EC PRIVATE KEY" => Self::sec1(&block.der, None),
            "PRIVATE KEY" => Self::pkcs8(&block.der),
            _ => Err(KeyError::Unknown),
        }
    }

    fn rsa(der: &[u8]) -> Result<Self, KeyError> {
        let pair = RsaKeyPair::from_der(der).map_err(|error| KeyError::Rejected(error.to_string()))?;
        let kind = Kind::Rsa(pair.public().modulus_len() * 8);
        Ok(Self { kind, secret: der.to_vec(), pair: Pair::Rsa(pair) })
    }

    fn ed25519(seed: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|error| KeyError::Rejected(error.to_string()))?;
        Ok(Self { kind: Kind::Ed25519, secret: seed.to_vec(), pair: Pair::Ed(pair) })
    }

    /// RFC 5915. The curve may stand outside, the public half must be there.
    fn sec1(whole: &[u8], curve: Option<&[u8]>) -> Result<Self, KeyError> {
        let read = || {
            let (fields, _) = der::take(whole, der::SEQUENCE)?;
            let (_, rest) = der::take(fields, der::INTEGER)?;
            let (private, mut rest) = der::take(rest, der::OCTETS)?;
            let (mut own_curve, mut public) = (None, None);
            while let Some(((tag, content, _), after)) = der::any(rest) {
                match tag {
                    0xA0 => own_curve = Some(der::take(content, der::OID)?.0),
                    0xA1 => public = der::take(content, der::BITS)?.0.split_first().map(|(_, point)| point),
                    _ => {}
                }
                rest = after;
            }
            Some((private.to_vec(), own_curve.or(curve)?.to_vec(), public?.to_vec()))
        };
        let (private, curve, public) = read().ok_or(KeyError::Unknown)?;
        let (kind, algorithm, size) = match curve.as_slice() {
            P256 => (Kind::P256, &ring_signature::ECDSA_P256_SHA256_ASN1_SIGNING, 32),
            P384 => (Kind::P384, &ring_signature::ECDSA_P384_SHA384_ASN1_SIGNING, 48),
            _ => return Err(KeyError::Unknown),
        };
        let start = private.len().saturating_sub(size);
        let mut scalar = vec![0; size.saturating_sub(private.len())];
        scalar.extend(private.get(start..).unwrap_or_default());
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &scalar, &public, &random)
            .map_err(|error| KeyError::Rejected(error.to_string()))?;
        let secret = der::sequence(&[
            der::integer(&[1]),
            der::tagged(der::OCTETS, &scalar),
            der::tagged(0xA0, &der::tagged(der::OID, &curve)),
            der::tagged(0xA1, &der::bits(&public, 0)),
        ]);
        Ok(Self { kind, secret, pair: Pair::Ec(pair) })
    }

    fn pkcs8(whole: &[u8]) -> Result<Self, KeyError> {
        let read = || {
            let (fields, _) = der::take(whole, der::SEQUENCE)?;
            let (_, rest) = der::take(fields, der::INTEGER)?;
            let (algorithm, rest) = der::take(rest, der::SEQUENCE)?;
            let (id, parameters) = der::take(algorithm, der::OID)?;
            let (inner, _) = der::take(rest, der::OCTETS)?;
            Some((id, parameters, inner))
        };
        let (id, parameters, inner) = read().ok_or(KeyError::Unknown)?;
        match id {
            RSA_KEY => Self::rsa(inner),
            EC_KEY => Self::sec1(inner, der::take(parameters, der::OID).map(|(curve, _)| curve)),
            ED25519 => Self::ed25519(der::take(inner, der::OCTETS).ok_or(KeyError::Unknown)?.0),
            _ => Err(KeyError::Unknown),
        }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// PKCS #8, DER.
    #[must_use]
    pub fn to_pkcs8(&self) -> Vec<u8> {
        let inner = match self.kind {
            Kind::Ed25519 => der::tagged(der::OCTETS, &self.secret),
            _ => self.secret.clone(),
        };
        der::sequence(&[der::integer(&[0]), self.algorithm(), der::tagged(der::OCTETS, &inner)])
    }

    /// The key's own form where the encoding is that, DER.
    #[must_use]
    pub fn to_der(&self, encoding: Encoding) -> Vec<u8> {
        if encoding == Encoding::Pkcs8 || self.kind == Kind::Ed25519 { self.to_pkcs8() } else { self.secret.clone() }
    }

    /// PEM.
    #[must_use]
    pub fn to_pem(&self, encoding: Encoding) -> String {
        let label = match (encoding, self.kind) {
            (Encoding::Pkcs8, _) | (_, Kind::Ed25519) => "PRIVATE KEY",
            (_, Kind::Rsa(_)) => "RSA PRIVATE KEY",
            _ => "EC PRIVATE KEY",
        };
        der::pem(label, &self.to_der(encoding))
    }

    fn algorithm(&self) -> Vec<u8> {
        let curve = |id: &[u8]| der::sequence(&[der::tagged(der::OID, EC_KEY), der::tagged(der::OID, id)]);
        match self.kind {
            Kind::Rsa(_) => der::sequence(&[der::tagged(der::OID, RSA_KEY), der::tagged(der::NULL, &[])]),
            Kind::P256 => curve(P256),
            Kind::P384 => curve(P384),
            Kind::Ed25519 => der::sequence(&[der::tagged(der::OID, ED25519)]),
        }
    }

    /// The public half as it stands in certificates: SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        der::sequence(&[self.algorithm(), der::bits(self.public_bytes(), 0)])
    }

    /// The public half alone: PKCS #1, an uncompressed point, or 32 bytes.
    #[must_use]
    pub fn public_bytes(&self) -> &[u8] {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref(),
            Pair::Ec(pair) => pair.public_key().as_ref(),
            Pair::Ed(pair) => pair.public_key().as_ref(),
        }
    }

    /// How it signs, as X.509 writes it.
    #[must_use]
    pub fn signature_algorithm(&self) -> Vec<u8> {
        match self.kind {
            Kind::Rsa(_) => der::sequence(&[der::tagged(der::OID, RSA_SHA256), der::tagged(der::NULL, &[])]),
            Kind::P256 => der::sequence(&[der::tagged(der::OID, ECDSA_SHA256)]),
            Kind::P384 => der::sequence(&[der::tagged(der::OID, ECDSA_SHA384)]),
            Kind::Ed25519 => der::sequence(&[der::tagged(der::OID, ED25519)]),
        }
    }

    /// Signs; ECDSA in ASN.1.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&ring_signature::RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| KeyError::Random)?;
                Ok(signature)
            }
            Pair::Ec(pair) => Ok(pair.sign(&random, message).map_err(|_| KeyError::Random)?.as_ref().to_vec()),
            Pair::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    /// Signs `body`, and puts body, algorithm and signature together, DER.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn seal(&self, body: Vec<u8>) -> Result<Vec<u8>, KeyError> {
        let signature = self.sign(&body)?;
        Ok(der::sequence(&[body, self.signature_algorithm(), der::bits(&signature, 0)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RSA is made once for all tests here: it is slow where nothing is optimised.
    pub(crate) fn one_of_each() -> Vec<Key> {
        let kinds = [Kind::Rsa(2048), Kind::P256, Kind::P384, Kind::Ed25519];
        kinds.into_iter().map(|kind| Key::generate(kind).unwrap()).collect()
    }

    #[test]
    fn every_key_is_read_back_from_both_forms_and_its_signature_holds() {
        for key in one_of_each() {
            for encoding in [Encoding::Pkcs1, Encoding::Pkcs8] {
                let again = Key::from_pem(key.to_pem(encoding).as_bytes()).unwrap();
                assert_eq!((again.kind(), again.public()), (key.kind(), key.public()), "{encoding:?}");
                let signature = again.sign(b"message").unwrap();
                let algorithm: &dyn ring_signature::VerificationAlgorithm = match key.kind() {
                    Kind::Rsa(_) => &ring_signature::RSA_PKCS1_2048_8192_SHA256,
                    Kind::P256 => &ring_signature::ECDSA_P256_SHA256_ASN1,
                    Kind::P384 => &ring_signature::ECDSA_P384_SHA384_ASN1,
                    Kind::Ed25519 => &ring_signature::ED25519,
                };
                let public = ring_signature::UnparsedPublicKey::new(algorithm, key.public_bytes());
                public.verify(b"message", &signature).unwrap();
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(Key::from_pem(b"").unwrap_err(), KeyError::NoPem);
        let encrypted = der::pem("ENCRYPTED PRIVATE KEY", &[1, 2, 3]);
        assert_eq!(Key::from_pem(encrypted.as_bytes()).unwrap_err(), KeyError::Unknown);
        let p521 = der::sequence(&[
            der::integer(&[1]),
            der::tagged(der::OCTETS, &[1; 66]),
            der::tagged(0xA0, &der::tagged(der::OID, &[0x2B, 0x81, 4, 0, 0x23])),
            der::tagged(0xA1, &der::bits(&[4; 133], 0)),
        ]);
        assert_eq!(Key::from_pem(der::pem("EC PRIVATE KEY", &p521).as_bytes()).unwrap_err(), KeyError::Unknown);
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), which in 0_usize..3) {
            let label = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"][which];
            prop_assert!(Key::from_pem(der::pem(label, &bytes).as_bytes()).is_err());
        }
    }
}
