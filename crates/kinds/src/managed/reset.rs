//! Fields that a write through some path cannot change, so that it owns none of them.
//!
//! Invariant: these tables say of ownership what `strategy` does to the object: a field that is put back is not owned.

use std::sync::LazyLock;

use super::set::Set;
use crate::catalog::Kind;

/// What of a write counts.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    All,
    /// Not these and what is below them.
    Except(Set<'static>),
    /// Only what is at or below these; `*` is any item.
    Only(&'static [&'static [&'static str]]),
}

impl Filter {
    pub(super) fn apply(&self, set: &mut Set<'_>) {
        match self {
            Self::All => {}
            Self::Except(reset) => {
                set.subtract_recursively(reset);
            }
            Self::Only(patterns) => set.keep_matching(patterns),
        }
    }
}

type Paths = &'static [&'static [&'static str]];

const STATUS: Paths = &[&["status"]];
const SPEC: Paths = &[&["spec"]];
const SPEC_AND_METADATA: Paths = &[&["metadata"], &["spec"]];

/// Kinds whose status cannot be written together with metadata.
const BARE_STATUS: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
    ("internal.apiserver.k8s.io", "StorageVersion"),
    ("networking.k8s.io", "ServiceCIDR"),
    ("resource.k8s.io", "DeviceTaintRule"),
    ("resource.k8s.io", "ResourceClaim"),
    ("storage.k8s.io", "VolumeAttachment"),
    ("storagemigration.k8s.io", "StorageVersionMigration"),
];

const EPHEMERAL: Paths = &[&["spec", "ephemeralContainers"]];
const RESIZE: Paths = &[
    &["spec", "containers", "*", "resources"],
    &["spec", "containers", "*", "resizePolicy"],
    &["spec", "initContainers", "*", "resources"],
    &["spec", "initContainers", "*", "resizePolicy"],
];

/// The fields that a write to a kind, or to a part of it, leaves as they are.
pub(super) fn filter(kind: &Kind, subresource: &str) -> Filter {
    let except = |paths: Paths| Filter::Except(Set::of(paths));
    match (kind.kind.as_str(), subresource) {
        ("CertificateSigningRequest", "") => except(&[&["spec"], &["status"]]),
        ("CertificateSigningRequest", "status") => except(&[&["spec"], &["status", "conditions"]]),
        ("CertificateSigningRequest", "approval") => except(&[&["spec"], &["status", "certificate"]]),
        ("Deployment", "status") => except(&[&["metadata", "labels"], &["spec"]]),
        ("Pod", "status") => except(&[&["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"], &["spec"]]),
        ("Pod", "ephemeralcontainers") => Filter::Only(EPHEMERAL),
        ("Pod", "resize") => Filter::Only(RESIZE),
        (name, "status") if BARE_STATUS.contains(&(kind.group.as_str(), name)) => except(SPEC_AND_METADATA),
        (_, "status") => except(SPEC),
        (_, "" | "finalize") if kind.has_subresource("status") => except(STATUS),
        _ => Filter::All,
    }
}

/// Metadata that belongs to the server, and what names the object; nobody owns these.
pub(super) fn stripped() -> &'static Set<'static> {
    static STRIPPED: LazyLock<Set<'static>> = LazyLock::new(|| Set::of(&STRIPPED_PATHS));
    &STRIPPED
}

const STRIPPED_PATHS: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "clusterName"],
    &["metadata", "creationTimestamp"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "resourceVersion"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
];
