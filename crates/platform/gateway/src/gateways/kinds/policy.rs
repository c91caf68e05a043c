//! ReferenceGrant and BackendTLSPolicy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::{Deserialize, Serialize};

use super::{LocalRef, ParentRef};

/// Objects of other namespaces that may name objects of this one.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Grant {
    /// Without annotations.
    #[serde(deserialize_with = "informer::identity")]
    pub metadata: ObjectMeta,
    /// What is granted.
    #[serde(default)]
    pub spec: GrantSpec,
}

/// What is granted: every `from` may name every `to`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GrantSpec {
    /// Who names.
    pub from: Vec<GrantFrom>,
    /// What is named.
    pub to: Vec<GrantTo>,
}

/// Objects that name others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GrantFrom {
    /// The group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
}

/// Objects that are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GrantTo {
    /// The group, empty for the core.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// All of the kind when none.
    pub name: Option<String>,
}

/// How backends prove who they are.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct BackendTlsPolicy {
    /// Without annotations.
    #[serde(deserialize_with = "informer::identity")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: BackendTlsSpec,
    /// What is told.
    #[serde(default)]
    pub status: BackendTlsStatus,
}

/// What a policy asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTlsSpec {
    /// The services it is about.
    pub target_refs: Vec<TargetRef>,
    /// What their certificates are held to.
    pub validation: BackendValidation,
}

/// A service, or one port of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRef {
    /// The group, empty for the core.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The port's name; every port when none.
    pub section_name: Option<String>,
}

/// What a backend's certificate is held to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendValidation {
    /// Bundles of authorities.
    pub ca_certificate_refs: Vec<LocalRef>,
    /// `System`: those of the machine.
    #[serde(rename = "wellKnownCACertificates")]
    pub well_known_ca_certificates: Option<String>,
    /// What is asked for by SNI, and what the certificate must be for unless `subject_alt_names` says otherwise.
    pub hostname: String,
    /// The certificate must be for one of these.
    pub subject_alt_names: Vec<SubjectAltName>,
}

/// A name in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SubjectAltName {
    /// `Hostname` or `URI`.
    #[serde(rename = "type")]
    pub type_: String,
    /// For `Hostname`.
    pub hostname: String,
    /// For `URI`.
    pub uri: String,
}

/// What is told of a policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BackendTlsStatus {
    /// One for each Gateway it matters to.
    pub ancestors: Vec<Ancestor>,
}

/// What a Gateway's controller tells of a policy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ancestor {
    /// The Gateway.
    pub ancestor_ref: ParentRef,
    /// Who tells it.
    pub controller_name: String,
    /// `Accepted`, `ResolvedRefs`.
    pub conditions: Vec<Condition>,
}
