//! PKCS #12 keystores (RFC 7292), for who cannot read PEM.

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};

use super::key::Key;
use super::read::Facts;

/// How a store is encrypted, and sealed. (The library calls 40 bit RC2 by the name of RC4; what it writes is RC2.)
fn algorithms(profile: &str) -> Result<(EncryptionAlgorithm, MacAlgorithm, u32), String> {
    match profile {
        "" | "LegacyRC2" => Ok((EncryptionAlgorithm::PbeWithShaAnd40BitRc4Cbc, MacAlgorithm::HmacSha1, 2048)),
        "LegacyDES" => Ok((EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc, MacAlgorithm::HmacSha1, 2048)),
        "Modern2023" | "Modern2026" => {
            Ok((EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256, 2048))
        }
        other => Err(format!(
            "spec.keystores.pkcs12.profile: {other:?} is none of LegacyRC2, LegacyDES, Modern2023, Modern2026"
        )),
    }
}

fn write(store: &KeyStore, profile: &str, password: &str) -> Result<Vec<u8>, String> {
    let (encryption, mac, iterations) = algorithms(profile)?;
    let writer = store.writer(password).encryption_algorithm(encryption).mac_algorithm(mac);
    let writer = writer.encryption_iterations(iterations).mac_iterations(iterations);
    writer.write().map_err(|error| format!("cannot write the keystore: {error}"))
}

fn certificate(facts: &Facts) -> Result<Certificate, String> {
    Certificate::from_der(&facts.der).map_err(|error| format!("cannot put a certificate into the keystore: {error}"))
}

/// A store with key and chain.
///
/// # Errors
/// When the profile is unknown, or the store cannot be written.
pub fn keystore(key: &Key, chain: &[Facts], profile: &str, password: &str) -> Result<Vec<u8>, String> {
    let private = PrivateKey::from_der(&key.to_pkcs8())
        .map_err(|error| format!("cannot put the key into the keystore: {error}"))?;
    let certificates = chain.iter().map(certificate).collect::<Result<Vec<_>, _>>()?;
    let mut store = KeyStore::new();
    let entry = PrivateKeyChain::new("certificate", private, certificates);
    store.add_entry("certificate", KeyStoreEntry::PrivateKeyChain(entry));
    write(&store, profile, password)
}

/// A store with nothing but the authority.
///
/// # Errors
/// When the profile is unknown, or the store cannot be written.
pub fn truststore(authority: &Facts, profile: &str, password: &str) -> Result<Vec<u8>, String> {
    let mut store = KeyStore::new();
    store.add_entry("ca", KeyStoreEntry::Certificate(certificate(authority)?));
    write(&store, profile, password)
}
