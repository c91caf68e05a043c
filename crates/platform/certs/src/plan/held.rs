//! What a Secret holds, read once.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;

use crate::x509::key::{Key, KeyError};
use crate::x509::read::{self, Facts};

/// Entries of a Secret.
pub const CERTIFICATE: &str = "tls.crt";
/// The private key.
pub const KEY: &str = "tls.key";
/// The authority.
pub const AUTHORITY: &str = "ca.crt";

/// What a Secret holds.
#[derive(Debug)]
pub struct Held<'a> {
    /// The Secret itself.
    pub secret: &'a Secret,
    /// Its key, if it has the entry.
    pub key: Option<Result<Key, KeyError>>,
    /// Its certificates, the leaf first, if it has the entry; nothing inside when they cannot be read.
    pub chain: Option<Option<Vec<Facts>>>,
}

impl<'a> Held<'a> {
    /// Reads a Secret.
    #[must_use]
    pub fn read(secret: &'a Secret) -> Self {
        let key = entry(secret, KEY).map(Key::from_pem);
        let chain = entry(secret, CERTIFICATE).map(read::certificates_pem);
        Self { secret, key, chain }
    }

    /// The certificate itself.
    #[must_use]
    pub fn leaf(&self) -> Option<&Facts> {
        self.chain.as_ref()?.as_ref()?.first()
    }

    /// The key, if it can be used.
    #[must_use]
    pub fn usable_key(&self) -> Option<&Key> {
        self.key.as_ref()?.as_ref().ok()
    }

    /// An annotation.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.secret.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }
}

/// An entry of a Secret that is not empty.
#[must_use]
pub fn entry<'a>(secret: &'a Secret, name: &str) -> Option<&'a [u8]> {
    secret.data.as_ref()?.get(name).map(|bytes| bytes.0.as_slice()).filter(|bytes| !bytes.is_empty())
}

/// Whether `has` has everything of `wanted`.
#[must_use]
pub fn covers(has: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| has.and_then(|has| has.get(name)) == Some(value))
}
