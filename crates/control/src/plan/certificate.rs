//! Requests for certificates: which are approved without a person, what is signed, and what is forgotten.
//!
//! Invariant: nothing is signed that was not approved, and what a signer of the cluster signs has the shape that its name
//! promises (upstream `capihelper`, `signer`). Whether who asks may have itself approved is asked of the API.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use pki::inspect::{self, SigningRequest};

pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const LEGACY: &str = "kubernetes.io/legacy-unknown";
/// How long a certificate is good that does not ask for less (upstream `--cluster-signing-duration`).
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
const SHORTEST: Duration = Duration::from_secs(600);
/// How long what was decided, and what was not, is kept.
const DECIDED: SignedDuration = SignedDuration::from_secs(3600);
const UNDECIDED: SignedDuration = SignedDuration::from_secs(24 * 3600);

/// Who believes a certificate, and so which authority signs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The API, of its clients.
    Clients,
    /// Clients, of what serves them.
    Servers,
}

fn holds<'a>(request: &'a CertificateSigningRequest, kind: &str) -> Option<&'a CertificateSigningRequestCondition> {
    let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().find(|one| one.type_ == kind && one.status == "True")
}

/// The certificate, if there is one.
pub fn issued(request: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    Some(certificate.0.as_slice()).filter(|certificate| !certificate.is_empty())
}

/// The request inside.
fn parse(request: &CertificateSigningRequest) -> Result<(Vec<u8>, SigningRequest), String> {
    let block = inspect::pem_blocks(&request.spec.request.0).into_iter().next();
    let block = block.filter(|block| block.label == "CERTIFICATE REQUEST");
    let der = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?.der;
    let parsed = inspect::signing_request(&der).ok_or("the block is not a certificate request")?;
    Ok((der, parsed))
}

fn usages(request: &CertificateSigningRequest) -> BTreeSet<&str> {
    request.spec.usages.iter().flatten().map(String::as_str).collect()
}

/// A permission by which a request approves itself, and what is said then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Of `certificatesigningrequests`, to be created by who asks.
    pub subresource: &'static str,
    pub message: &'static str,
}

/// The permissions that would do, in the order to ask for them.
///
/// # Errors
/// When the request cannot be read.
pub fn approvals(request: &CertificateSigningRequest) -> Result<Vec<Approval>, String> {
    let decided = holds(request, "Approved").is_some() || holds(request, "Denied").is_some();
    if decided || issued(request).is_some() || request.spec.signer_name != KUBELET_CLIENT {
        return Ok(Vec::new());
    }
    let (_, parsed) = parse(request)?;
    if kubelet_client(&parsed, &usages(request)).is_err() {
        return Ok(Vec::new());
    }
    let own = Approval {
        subresource: "selfnodeclient",
        message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    };
    let any = Approval {
        subresource: "nodeclient",
        message: "Auto approving kubelet client certificate after SubjectAccessReview.",
    };
    let is_own = request.spec.username.as_deref() == Some(&parsed.common_name);
    Ok(is_own.then_some(own).into_iter().chain([any]).collect())
}

/// What the signers do with a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Signing {
    Nothing,
    /// It does not have the shape that its signer wants.
    Fail(String),
    Sign {
        by: Trust,
        der: Vec<u8>,
        usages: Vec<String>,
        lifetime: Duration,
    },
}

/// Decides.
///
/// # Errors
/// When the request cannot be read.
pub fn signing(request: &CertificateSigningRequest) -> Result<Signing, String> {
    let spec = &request.spec;
    let by = match spec.signer_name.as_str() {
        CLIENT | KUBELET_CLIENT | LEGACY => Trust::Clients,
        KUBELET_SERVING => Trust::Servers,
        _ => return Ok(Signing::Nothing),
    };
    if issued(request).is_some() || holds(request, "Approved").is_none() || holds(request, "Failed").is_some() {
        return Ok(Signing::Nothing);
    }
    let (der, parsed) = parse(request)?;
    let usages = usages(request);
    let fit = match spec.signer_name.as_str() {
        CLIENT => client(&usages),
        KUBELET_CLIENT => kubelet_client(&parsed, &usages),
        KUBELET_SERVING => kubelet_serving(&parsed, &usages),
        _ => Ok(()),
    };
    if let Err(why) = fit {
        return Ok(Signing::Fail(why));
    }
    let asked = spec.expiration_seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    let lifetime = asked.map_or(LIFETIME, |asked| asked.clamp(SHORTEST, LIFETIME));
    Ok(Signing::Sign { by, der, usages: spec.usages.clone().unwrap_or_default(), lifetime })
}

fn client(usages: &BTreeSet<&str>) -> Result<(), String> {
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if let Some(other) = usages.iter().find(|usage| !allowed.contains(usage)) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if !usages.contains("client auth") {
        return Err("missing required usage for client certificate: client auth".into());
    }
    Ok(())
}

/// Whether the usages are `purpose` with a signature, and perhaps key encipherment, which RSA needs.
fn are_for(usages: &BTreeSet<&str>, purpose: &str) -> Result<(), String> {
    let needed = BTreeSet::from(["digital signature", "key encipherment", purpose]);
    let others = usages.iter().any(|usage| !needed.contains(usage));
    if others || !usages.contains("digital signature") || !usages.contains(purpose) {
        let needed: Vec<&str> = needed.into_iter().collect();
        return Err(format!("usages did not match [{}]", needed.join(" ")));
    }
    Ok(())
}

fn is_node(parsed: &SigningRequest) -> Result<(), String> {
    if parsed.common_name.starts_with("system:node:") {
        return Ok(());
    }
    Err("subject common name does not begin with system:node:".into())
}

fn is_of_nodes(parsed: &SigningRequest) -> Result<(), String> {
    if parsed.organizations == ["system:nodes"] {
        return Ok(());
    }
    Err("subject organization is not system:nodes".into())
}

fn kubelet_client(parsed: &SigningRequest, usages: &BTreeSet<&str>) -> Result<(), String> {
    is_of_nodes(parsed)?;
    let names = parsed.names;
    for (count, kind) in [(names.dns, "DNS"), (names.emails, "Email"), (names.ips, "IP"), (names.uris, "URI")] {
        if count > 0 {
            return Err(format!("{kind} subjectAltNames are not allowed"));
        }
    }
    is_node(parsed)?;
    are_for(usages, "client auth")
}

fn kubelet_serving(parsed: &SigningRequest, usages: &BTreeSet<&str>) -> Result<(), String> {
    is_of_nodes(parsed)?;
    let names = parsed.names;
    if names.dns == 0 && names.ips == 0 {
        return Err("DNS or IP subjectAltName is required".into());
    }
    for (count, kind) in [(names.emails, "Email"), (names.uris, "URI")] {
        if count > 0 {
            return Err(format!("{kind} subjectAltNames are not allowed"));
        }
    }
    are_for(usages, "server auth")?;
    is_node(parsed)
}

/// How long until the request is forgotten; zero if it is time. None for one that is kept, say with a certificate that
/// cannot be read.
pub fn forgotten(request: &CertificateSigningRequest, now: Timestamp) -> Option<Duration> {
    let conditions = || request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ends: Vec<Timestamp> = Vec::new();
    let mut end =
        |at: Option<Timestamp>, kept: SignedDuration| ends.extend(at.and_then(|at| at.checked_add(kept).ok()));
    if conditions().next().is_none() {
        end(request.metadata.creation_timestamp.as_ref().map(|time| time.0), UNDECIDED);
    }
    for condition in conditions() {
        let at = condition.last_update_time.as_ref().map(|time| time.0);
        match (condition.type_.as_str(), issued(request)) {
            ("Denied" | "Failed", _) => end(at, DECIDED),
            ("Approved", None) => end(at, UNDECIDED),
            ("Approved", Some(certificate)) => {
                end(at, DECIDED);
                let expires = pki::expires(&String::from_utf8_lossy(certificate)).ok();
                end(expires.and_then(|at| Timestamp::try_from(at).ok()), SignedDuration::ZERO);
            }
            _ => {}
        }
    }
    let left = ends.into_iter().min()?.duration_since(now);
    // a moment later, so that the look finds it past
    Some(if left.is_negative() {
        Duration::ZERO
    } else {
        Duration::try_from(left).unwrap_or_default() + Duration::from_millis(1)
    })
}

#[cfg(test)]
pub(crate) mod tests;
