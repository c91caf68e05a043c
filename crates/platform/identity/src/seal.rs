//! Values that only we can read and make, for clients to keep: AES-256-GCM, with a key of its own for each value.
//!
//! The key comes from the policy's Secret by HKDF-SHA256 (RFC 5869) with a random salt that travels with the value, so no
//! nonce is used twice however many values are made. Purpose and host are bound in: a value made for one is nothing to
//! another.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;

use crate::means::{Means, NoRandomness};

const VERSION: u8 = 1;
const SALT: usize = 16;
/// What a Secret must have at least, in bytes.
pub(crate) const LEAST_SECRET: usize = 32;

/// Seals and opens values.
pub(crate) struct Sealer {
    secret: Vec<u8>,
    info: Vec<u8>,
}

impl Sealer {
    /// `context` tells apart what must not be exchanged although it has the same secret.
    pub(crate) fn new(secret: Vec<u8>, context: &str) -> Self {
        Self { secret, info: format!("knarr identity\0{context}").into_bytes() }
    }

    fn key(&self, salt: &[u8; SALT]) -> Option<LessSafeKey> {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.secret);
        let info = [self.info.as_slice()];
        let made = secret.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(made)))
    }

    /// The sealed form of `plain`, in characters that a cookie may have.
    pub(crate) fn seal(&self, means: &Means, bound: &str, plain: &[u8]) -> Result<String, NoRandomness> {
        let salt = means.random::<SALT>()?;
        let key = self.key(&salt).ok_or(NoRandomness)?;
        let mut sealed = plain.to_vec();
        key.seal_in_place_append_tag(nonce(), Aad::from(bound.as_bytes()), &mut sealed).map_err(|_| NoRandomness)?;
        Ok(URL_SAFE_NO_PAD.encode([&[VERSION], salt.as_slice(), &sealed].concat()))
    }

    /// What was sealed; none if it was not us, for something else, or changed on the way.
    pub(crate) fn open(&self, bound: &str, text: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (salt, sealed) = rest.split_first_chunk::<SALT>()?;
        if *version != VERSION {
            return None;
        }
        let mut opened = sealed.to_vec();
        let plain = self.key(salt)?.open_in_place(nonce(), Aad::from(bound.as_bytes()), &mut opened).ok()?;
        Some(plain.to_vec())
    }
}

// Each key seals one value, so one nonce will do.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::means;
    use proptest::prelude::*;

    #[tokio::test]
    async fn only_its_maker_opens_a_value_and_only_where_it_belongs() {
        let means = means();
        let sealer = Sealer::new(vec![7; 32], "policy a");
        let text = sealer.seal(&means, "session a.example", b"hello").expect("sealed");
        assert_ne!(text, sealer.seal(&means, "session a.example", b"hello").expect("sealed"));
        assert_eq!(sealer.open("session a.example", &text).as_deref(), Some(b"hello".as_slice()));
        assert_eq!(sealer.open("session b.example", &text), None);
        assert_eq!(sealer.open("login a.example", &text), None);
        assert_eq!(Sealer::new(vec![7; 32], "policy b").open("session a.example", &text), None);
        assert_eq!(Sealer::new(vec![8; 32], "policy a").open("session a.example", &text), None);
        for index in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("text");
            assert_eq!(sealer.open("session a.example", &changed), None, "changed at {index}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            prop_assert_eq!(Sealer::new(vec![7; 32], "x").open("y", &text), None);
        }
    }
}
