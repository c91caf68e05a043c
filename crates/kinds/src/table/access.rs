//! How bindings, certificate requests, leases, priorities and disruption budgets print: who may do what, and when.
//!
//! Roles and cluster roles have no printer of their own, as upstream.

use super::read::{self, NONE, at, flag, items, number, text, text_or};
use super::{AGE, NAME, Printer, Spec, duration};
use base::time::{SignedDuration, Timestamp};
use serde_json::Value;

const RBAC: &str = "rbac.authorization.k8s.io";
const CSR: &str = "api.certificates.v1.CertificateSigningRequestSpec";
const PRIORITY: &str = "api.scheduling.v1.PriorityClass";
const CANDIDATE: &str = "api.coordination.v1beta1.LeaseCandidateSpec";

pub(super) static PRINTERS: [Printer; 9] = [
    Printer::new(
        RBAC,
        "RoleBinding",
        &[
            NAME,
            Spec::field("Role", "api.rbac.v1.RoleBinding", "roleRef"),
            AGE,
            Spec::text("Users", "Users in the roleBinding").wide(),
            Spec::text("Groups", "Groups in the roleBinding").wide(),
            Spec::text("ServiceAccounts", "ServiceAccounts in the roleBinding").wide(),
        ],
        binding,
    ),
    Printer::new(
        RBAC,
        "ClusterRoleBinding",
        &[
            NAME,
            Spec::field("Role", "api.rbac.v1.ClusterRoleBinding", "roleRef"),
            AGE,
            Spec::text("Users", "Users in the clusterRoleBinding").wide(),
            Spec::text("Groups", "Groups in the clusterRoleBinding").wide(),
            Spec::text("ServiceAccounts", "ServiceAccounts in the clusterRoleBinding").wide(),
        ],
        binding,
    ),
    Printer::new(
        "certificates.k8s.io",
        "CertificateSigningRequest",
        &[
            NAME,
            AGE,
            Spec::field("SignerName", CSR, "signerName"),
            Spec::field("Requestor", CSR, "request"),
            Spec::field("RequestedDuration", CSR, "expirationSeconds"),
            Spec::field("Condition", "api.certificates.v1.CertificateSigningRequestStatus", "conditions"),
        ],
        signing_request,
    ),
    Printer::new(
        "certificates.k8s.io",
        "ClusterTrustBundle",
        &[NAME, Spec::field("SignerName", "api.certificates.v1beta1.ClusterTrustBundleSpec", "signerName")],
        |object, _| vec![read::name(object), text_or(object, "spec.signerName", NONE).into()],
    ),
    Printer::new(
        "coordination.k8s.io",
        "Lease",
        &[NAME, Spec::field("Holder", "api.coordination.v1.LeaseSpec", "holderIdentity"), AGE],
        |object, now| vec![read::name(object), text(object, "spec.holderIdentity").into(), read::age(object, now)],
    ),
    Printer::new(
        "coordination.k8s.io",
        "LeaseCandidate",
        &[
            NAME,
            Spec::field("LeaseName", CANDIDATE, "leaseName"),
            Spec::field("BinaryVersion", CANDIDATE, "binaryVersion"),
            Spec::field("EmulationVersion", CANDIDATE, "emulationVersion"),
            AGE,
        ],
        |object, now| {
            vec![
                read::name(object),
                text(object, "spec.leaseName").into(),
                text(object, "spec.binaryVersion").into(),
                text(object, "spec.emulationVersion").into(),
                read::age(object, now),
            ]
        },
    ),
    Printer::new(
        "scheduling.k8s.io",
        "PriorityClass",
        &[
            NAME,
            Spec::field("Value", PRIORITY, "value").of("integer"),
            Spec::field("Global-Default", PRIORITY, "globalDefault").of("boolean"),
            AGE,
            Spec::field("PreemptionPolicy", PRIORITY, "preemptionPolicy"),
        ],
        |object, now| {
            vec![
                read::name(object),
                number(object, "value").into(),
                flag(object, "globalDefault").into(),
                read::age(object, now),
                text(object, "preemptionPolicy").into(),
            ]
        },
    ),
    Printer::new(
        "node.k8s.io",
        "RuntimeClass",
        &[NAME, Spec::field("Handler", "api.node.v1.RuntimeClass", "handler"), AGE],
        |object, now| vec![read::name(object), text(object, "handler").into(), read::age(object, now)],
    ),
    Printer::new(
        "policy",
        "PodDisruptionBudget",
        &[
            NAME,
            Spec::text("Min Available", "The minimum number of pods that must be available."),
            Spec::text("Max Unavailable", "The maximum number of pods that may be unavailable."),
            Spec::text("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.")
                .of("integer"),
            AGE,
        ],
        |object, now| {
            let bound = |path| at(object, path).map_or("N/A".to_owned(), read::int_or_text);
            vec![
                read::name(object),
                bound("spec.minAvailable").into(),
                bound("spec.maxUnavailable").into(),
                number(object, "status.disruptionsAllowed").into(),
                read::age(object, now),
            ]
        },
    ),
];

fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let subjects = |kind: &'static str| {
        let named = items(object, "subjects").iter().filter(move |subject| text(subject, "kind") == kind);
        let shown = named.map(|subject| match text(subject, "namespace") {
            namespace if kind == "ServiceAccount" && !namespace.is_empty() => {
                format!("{namespace}/{}", text(subject, "name"))
            }
            _ => text(subject, "name").to_owned(),
        });
        Value::from(shown.collect::<Vec<_>>().join(", "))
    };
    vec![
        read::name(object),
        format!("{}/{}", text(object, "roleRef.kind"), text(object, "roleRef.name")).into(),
        read::age(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

fn signing_request(object: &Value, now: Timestamp) -> Vec<Value> {
    let has = |kind| read::condition(object, kind).is_some();
    let mut state = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !text(object, "status.certificate").is_empty() {
        state.push_str(",Issued");
    }
    let wanted = at(object, "spec.expirationSeconds").and_then(Value::as_i64);
    let lifetime = wanted.map_or(NONE.to_owned(), |seconds| duration::human(SignedDuration::from_secs(seconds)));
    vec![
        read::name(object),
        read::age(object, now),
        text_or(object, "spec.signerName", NONE).into(),
        text(object, "spec.username").into(),
        lifetime.into(),
        state.into(),
    ]
}
