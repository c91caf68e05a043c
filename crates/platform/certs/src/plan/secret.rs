//! The Secret that a certificate is kept in: what we want of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;

use super::held::{AUTHORITY, CERTIFICATE, Held, KEY, covers, entry};
use super::policy::{CERTIFICATE_NAME, ISSUER_GROUP, ISSUER_KIND, ISSUER_NAME};
use crate::api::Certificate;
use crate::x509::key::{Encoding, Key};
use crate::x509::read::{self, Facts};

/// Whose fields what we apply is.
pub const MANAGER: &str = "cert-manager-certificates-issuing";
/// On every Secret that cert-manager makes.
pub const LABEL: &str = "controller.cert-manager.io/fao";
/// On Secrets with the key of an issuance that is under way.
pub const NEXT_KEY: &str = "cert-manager.io/next-private-key";
/// Entry of a PKCS #12 store with key and certificate.
pub const KEYSTORE: &str = "keystore.p12";
/// Entry of a PKCS #12 store with the authority.
pub const TRUSTSTORE: &str = "truststore.p12";
const DER_KEY: &str = "key.der";
const COMBINED: &str = "tls-combined.pem";

/// What we want a Secret to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in Secrets")]
pub struct Desired {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub data: BTreeMap<String, Vec<u8>>,
    /// Whether PKCS #12 stores belong in; who writes the Secret makes them, for that takes a password and randomness.
    pub keystores: bool,
}

/// The Secret of `certificate` with this key, chain and authority (PEM).
#[must_use]
pub fn desired(certificate: &Certificate, key: &Key, encoding: Encoding, chain: &[u8], authority: &[u8]) -> Desired {
    let spec = &certificate.spec;
    let leaf = read::certificates_pem(chain).and_then(|all| all.into_iter().next()).unwrap_or_default();
    let mut annotations = spec.secret_template.as_ref().map(|one| one.annotations.clone()).unwrap_or_default();
    annotations.extend(said(certificate, &leaf));
    let mut labels = spec.secret_template.as_ref().map(|one| one.labels.clone()).unwrap_or_default();
    labels.insert(LABEL.to_owned(), "true".to_owned());
    let key_pem = key.to_pem(encoding).into_bytes();
    let mut data = BTreeMap::new();
    for format in &spec.additional_output_formats {
        match format.kind.as_str() {
            "DER" => data.insert(DER_KEY.to_owned(), key.to_der(encoding)),
            "CombinedPEM" => data.insert(COMBINED.to_owned(), [key_pem.as_slice(), b"\n", chain].concat()),
            _ => None,
        };
    }
    data.insert(CERTIFICATE.to_owned(), chain.to_vec());
    data.insert(KEY.to_owned(), key_pem);
    if !authority.is_empty() {
        data.insert(AUTHORITY.to_owned(), authority.to_vec());
    }
    let keystores = spec.keystores.as_ref().and_then(|all| all.pkcs12.as_ref()).is_some_and(|one| one.create);
    Desired { name: spec.secret_name.clone(), labels, annotations, data, keystores }
}

/// What the annotations say of a certificate, as upstream writes them.
fn said(certificate: &Certificate, leaf: &Facts) -> BTreeMap<String, String> {
    let issuer = &certificate.spec.issuer_ref;
    let name = |of: &str| {
        let id = crate::x509::name::id(of).unwrap_or_default();
        let values: Vec<String> =
            leaf.subject_attributes().into_iter().filter(|(found, _)| found == id).map(|(_, value)| value).collect();
        values.join(",")
    };
    let addresses: Vec<String> = leaf.names.ips.iter().map(ToString::to_string).collect();
    let mut all: BTreeMap<String, String> = [
        (CERTIFICATE_NAME, certificate.metadata.name.clone().unwrap_or_default()),
        (ISSUER_NAME, issuer.name.clone()),
        (ISSUER_KIND, issuer.kind().to_owned()),
        (ISSUER_GROUP, issuer.group.clone()),
        ("cert-manager.io/common-name", leaf.common_name()),
        ("cert-manager.io/alt-names", leaf.names.dns.join(",")),
        ("cert-manager.io/ip-sans", addresses.join(",")),
        ("cert-manager.io/uri-sans", leaf.names.uris.join(",")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    for (suffix, of) in [
        ("subject-organizations", "O"),
        ("subject-organizationalunits", "OU"),
        ("subject-countries", "C"),
        ("subject-provinces", "ST"),
        ("subject-localities", "L"),
        ("subject-streetaddresses", "STREET"),
        ("subject-postalcodes", "POSTALCODE"),
        ("subject-serialnumber", "SERIALNUMBER"),
    ] {
        let value = name(of);
        if !value.is_empty() {
            all.insert(format!("cert-manager.io/{suffix}"), value);
        }
    }
    if !leaf.names.emails.is_empty() {
        all.insert("cert-manager.io/email-sans".to_owned(), leaf.names.emails.join(","));
    }
    all
}

/// Whether a Secret that was issued lacks something of what is wanted, or has a form that no longer is.
#[must_use]
pub fn is_stale(held: &Held<'_>, desired: &Desired) -> bool {
    let secret: &Secret = held.secret;
    let differs = desired.data.iter().any(|(name, value)| entry(secret, name) != Some(value.as_slice()));
    let surplus =
        [DER_KEY, COMBINED].iter().any(|name| !desired.data.contains_key(*name) && entry(secret, name).is_some());
    let stores = entry(secret, KEYSTORE).is_some() != desired.keystores
        || entry(secret, TRUSTSTORE).is_some() != (desired.keystores && desired.data.contains_key(AUTHORITY));
    let beyond = |of: &str, wanted: &BTreeMap<String, String>| ours(secret, of).any(|name| !wanted.contains_key(&name));
    differs
        || beyond("f:labels", &desired.labels)
        || beyond("f:annotations", &desired.annotations)
        || surplus
        || stores
        || !covers(secret.metadata.annotations.as_ref(), &desired.annotations)
        || !covers(secret.metadata.labels.as_ref(), &desired.labels)
}

/// The labels or annotations that we applied, as the server keeps account of it.
fn ours<'a>(secret: &'a Secret, of: &'a str) -> impl Iterator<Item = String> + 'a {
    let entries = secret.metadata.managed_fields.iter().flatten();
    let own =
        entries.filter(|one| one.manager.as_deref() == Some(MANAGER) && one.operation.as_deref() == Some("Apply"));
    let fields = own.filter_map(move |one| one.fields_v1.as_ref()?.0.get("f:metadata")?.get(of)?.as_object());
    fields.flat_map(|fields| fields.keys()).filter_map(|name| name.strip_prefix("f:").map(str::to_owned))
}
