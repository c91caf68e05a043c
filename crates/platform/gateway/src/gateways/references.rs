//! What Gateways, listener sets and policies name: certificates and authorities, and why some cannot be used.

use std::sync::Arc;

use base::Key;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;

use super::grants::{From, Grants, To};
use super::kinds::{ObjectRef, SecretRef};
use super::world::World;
use crate::ingress::Certificate;

/// Why a name leads nowhere: a reason of the API and a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A reason for a condition.
    pub(crate) reason: &'static str,
    /// What and why.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// The certificate that an object `from` names, and what is wrong with it: a Secret that was spoiled serves on with what it held
/// before. `invalid` is the reason when there is none.
pub(crate) fn certificate(
    world: &World<'_>,
    grants: &Grants<'_>,
    from: From<'_>,
    named: &SecretRef,
    invalid: &'static str,
) -> (Option<Arc<CertifiedKey>>, Option<Refusal>) {
    let (group, kind) = (named.group.as_deref().unwrap_or_default(), named.kind.as_deref().unwrap_or("Secret"));
    let namespace = named.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(from.namespace);
    let name = &named.name;
    if !group.is_empty() || kind != "Secret" {
        let message = format!("{kind} {name} of group {group:?} is no Secret of type kubernetes.io/tls");
        return (None, Some(Refusal::new(invalid, message)));
    }
    if !grants.permit(from, To { group, kind, namespace, name }) {
        return (None, Some(not_permitted(from, "Secret", namespace, name)));
    }
    match (world.certificate)(&Key::new(namespace, name.as_str())) {
        Some(Certificate { good, fault }) => {
            let fault = fault
                .map(|why| Refusal::new(invalid, format!("Secret {namespace}/{name} cannot be used for TLS: {why}")));
            (good, fault)
        }
        None => {
            let message = format!("there is no Secret {namespace}/{name} of type kubernetes.io/tls");
            (None, Some(Refusal::new(invalid, message)))
        }
    }
}

/// Which reasons tell of authorities that cannot be used; they differ by who names them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuthorityReasons {
    /// No ConfigMap.
    pub(crate) kind: &'static str,
    /// No such ConfigMap, or nothing good in it.
    pub(crate) invalid: &'static str,
}

/// The authorities that an object `from` names, as PEM.
pub(crate) fn authorities(
    world: &World<'_>,
    grants: &Grants<'_>,
    from: From<'_>,
    named: &ObjectRef,
    reasons: AuthorityReasons,
) -> Result<Arc<str>, Refusal> {
    let ObjectRef { group, kind, name, .. } = named;
    let namespace = named.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(from.namespace);
    if !group.is_empty() || kind != "ConfigMap" {
        let message =
            format!("{kind} {name} of group {group:?} is no ConfigMap; authorities are read from its entry ca.crt");
        return Err(Refusal::new(reasons.kind, message));
    }
    if !grants.permit(from, To { group, kind, namespace, name }) {
        return Err(not_permitted(from, "ConfigMap", namespace, name));
    }
    let Some(pem) = (world.authorities)(&Key::new(namespace, name.as_str())) else {
        let message = format!("there is no ConfigMap {namespace}/{name} with an entry ca.crt");
        return Err(Refusal::new(reasons.invalid, message));
    };
    match trust(&pem) {
        Ok(_) => Ok(pem),
        Err(why) => Err(Refusal::new(reasons.invalid, format!("entry ca.crt of ConfigMap {namespace}/{name} {why}"))),
    }
}

/// What trusts the authorities in `pem`, or why there are none.
pub(crate) fn trust(pem: &str) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("cannot be read: {error}"))?;
        store.add(certificate).map_err(|error| format!("holds no authority: {error}"))?;
    }
    if store.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(store) }
}

/// Why a name across namespaces is refused.
pub(crate) fn not_permitted(from: From<'_>, kind: &str, namespace: &str, name: &str) -> Refusal {
    let message = format!(
        "no ReferenceGrant in namespace {namespace} lets a {} of namespace {} name {kind} {namespace}/{name}",
        from.kind, from.namespace
    );
    Refusal::new("RefNotPermitted", message)
}

/// What trusts all authorities of `bundles`, which were found good before.
pub(crate) fn trust_all(bundles: &[Arc<str>]) -> Arc<RootCertStore> {
    let mut all = RootCertStore::empty();
    for store in bundles.iter().filter_map(|pem| trust(pem).ok()) {
        all.extend(store.roots.iter().cloned());
    }
    Arc::new(all)
}
