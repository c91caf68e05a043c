//! Names of signers of certificates and of the bundles that hold their roots.

use base::name::{self, Reasons, Verdict};
use serde_json::Value;

use super::Faults;
use crate::error::quote;
use crate::json::{at, text};
use crate::path::Path;

/// Whether a signer belongs to Kubernetes itself.
pub(crate) fn is_kubernetes(signer: &str) -> bool {
    let host = signer.split('/').next().unwrap_or("");
    host == "kubernetes.io" || host.ends_with(".kubernetes.io")
}

pub(crate) fn check(signer: &str, path: &Path<'_>, faults: &mut Faults) {
    if signer.is_empty() {
        faults.required(path, "");
        return;
    }
    let Some((domain, place)) = signer.split_once('/').filter(|(_, place)| !place.contains('/')) else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        faults.invalid(path, signer, detail);
        return;
    };
    if domain.len() > 253 {
        faults.too_long(path, 253);
    }
    labels(domain, name::dns_label, path, faults);
    if !domain.contains('.') {
        faults.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
    labels(place, name::dns_subdomain, path, faults);
    if signer.len() > 253 + 253 + 63 + 1 + 1 {
        faults.too_long(path, 253 + 253 + 63 + 1 + 1);
    }
}

/// The first label that is wrong, with all its reasons.
fn labels(text: &str, rule: fn(&str) -> Verdict, path: &Path<'_>, faults: &mut Faults) {
    if let Some((label, reasons)) = text.split('.').find_map(|label| rule(label).err().map(|reasons| (label, reasons)))
    {
        for reason in reasons {
            faults.invalid(path, text, format!("validating label {}: {reason}", quote(label)));
        }
    }
}

/// The name of a bundle begins with its signer.
pub(crate) fn bundle_name(signer: &str, bundle: &str) -> Verdict {
    if signer.is_empty() {
        if bundle.contains(':') {
            return Err(Reasons::from("ClusterTrustBundle without signer name must not have \":\" in its name"));
        }
        return name::dns_subdomain(bundle);
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match bundle.strip_prefix(&prefix) {
        Some(rest) => name::dns_subdomain(rest),
        None => {
            Err(Reasons::from(format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}")))
        }
    }
}

/// The signer that a bundle's name tells; empty if none.
pub(crate) fn of_bundle(bundle: &str) -> String {
    bundle.rsplit_once(':').map(|(signer, _)| signer.replace(':', "/")).unwrap_or_default()
}

pub(crate) fn own_bundle_name(bundle: &Value, name: &str) -> Verdict {
    bundle_name(text(at(bundle, "spec"), "signerName"), name)
}
