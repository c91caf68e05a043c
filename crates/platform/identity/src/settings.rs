//! What a policy says: the `spec` and `status` of an `AccessPolicy`, as written.
//!
//! Policies attach to objects of their own namespace (GEP-713, GEP-2648). Secrets are named, never held. The schema
//! refuses what a pattern can tell; what needs more (a key that is too short, contradictions) is told by
//! [`Guard::new`](crate::Guard::new), which reads everything here as meant. Unknown fields are refused by the API server
//! (strict field validation) and not read here, so that a newer policy does not blind an older gateway.

use std::collections::BTreeSet;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod credentials;
mod external;
mod login;

pub use credentials::{ApiKey, Basic, BasicForm, Certificate, Headers, Jwt, Presence, TokenSource};
pub use external::{Body, Cache, ErrorPage, External, Protocol};
pub use login::{Allow, ClientAuthentication, Oidc, Paths, Session};

/// Who may pass a Gateway, a route or an Ingress, and how they show who they are.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "gateway.knarr.dev",
    version = "v1alpha1",
    kind = "AccessPolicy",
    plural = "accesspolicies",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    category = "gateway-api",
    label("gateway.networking.k8s.io/policy", "Direct"),
    printcolumn = r#"{"name":"Target","type":"string","jsonPath":".spec.targetRefs[*].name"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.ancestors[0].conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.addresses) || has(self.clientCertificate) || has(self.basic) || has(self.apiKey) || has(self.jwt) || has(self.oidc) || has(self.external)",
     "message": "say at least one of addresses, clientCertificate, basic, apiKey, jwt, oidc, external"}]))]
pub struct Settings {
    /// What the policy is for: objects of its own namespace. The policy of a Gateway and that of a route both count for a
    /// request, the Gateway's first. Of several for one object the one that names the section (listener, rule) counts, and
    /// of those the oldest.
    #[schemars(length(min = 1, max = 16))]
    pub target_refs: Vec<Target>,
    /// With `All` (the default) every part of the policy must be content with a request; with `Any` one is enough,
    /// except for `addresses.deny`, which always counts.
    #[serde(default)]
    pub satisfy: Satisfy,
    /// Where requests may come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Addresses>,
    /// The certificate that the client showed to the TLS listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<Certificate>,
    /// A user name and a password (RFC 7617).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
    /// A key from a list of keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,
    /// A signed token (RFC 7519, RFC 6750).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// A login at an OpenID provider, and a session afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Oidc>,
    /// A service of yours that is asked about each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
}

/// What a policy is attached to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "(self.group == 'gateway.networking.k8s.io' && self.kind in ['Gateway', 'HTTPRoute', 'GRPCRoute']) || (self.group == 'networking.k8s.io' && self.kind == 'Ingress')",
     "message": "must be a Gateway, HTTPRoute or GRPCRoute of gateway.networking.k8s.io or an Ingress of networking.k8s.io"},
    {"rule": "!has(self.sectionName) || self.kind != 'Ingress'", "message": "an Ingress has no sections"}]))]
pub struct Target {
    /// `gateway.networking.k8s.io`, or `networking.k8s.io` for an Ingress.
    #[schemars(length(max = 253))]
    pub group: String,
    /// `Gateway`, `HTTPRoute`, `GRPCRoute` or `Ingress`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// The object's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// One listener of the Gateway or one named rule of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// Whether every part of a policy must be content or any.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Satisfy {
    #[default]
    All,
    Any,
}

/// Addresses and networks in CIDR form; an address alone is a network of itself.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// When not empty, only these pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub allow: Vec<String>,
    /// These never pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub deny: Vec<String>,
}

/// One value in a Secret of the policy's namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Certificates to trust, in PEM form.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// `ConfigMap` or `Secret`.
    #[serde(default)]
    pub kind: BundleKind,
    /// The object's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in its data.
    #[serde(default = "ca_crt")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn ca_crt() -> String {
    "ca.crt".to_owned()
}

/// What holds a bundle of certificates.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BundleKind {
    #[default]
    ConfigMap,
    Secret,
}

/// A claim that becomes a header of the request. The client's own copies of the header are always removed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimHeader {
    /// The claim's name, or a path such as `realm_access.roles`.
    #[schemars(length(min = 1, max = 256))]
    pub claim: String,
    /// The header. Of several values the form is `a,b`, with commas within a value as `%2C`.
    #[schemars(regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"), length(max = 128))]
    pub header: String,
}

/// What a claim must say.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRule {
    /// The claim's name, or a path such as `realm_access.roles`.
    #[schemars(length(min = 1, max = 256))]
    pub claim: String,
    /// One of these must be the claim's value, or one of its values when it is a list (`scope` and `scp` are lists
    /// of words). Empty: the claim must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub any_of: Vec<String>,
}

/// What became of a policy (`PolicyStatus` of the Gateway API).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// One entry per target and controller.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub ancestors: Vec<Ancestor>,
}

/// What became of a policy at one target.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Ancestor {
    pub ancestor_ref: AncestorRef,
    pub controller_name: String,
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
}

/// The target that a status speaks of.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct AncestorRef {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// `metav1.Condition`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// RFC 3339.
    pub last_transition_time: String,
    pub reason: String,
    #[serde(default)]
    pub message: String,
}

/// An object whose data a policy needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Secret(String),
    ConfigMap(String),
}

impl Bundle {
    /// The object that holds it.
    #[must_use]
    pub fn source(&self) -> Source {
        match self.kind {
            BundleKind::ConfigMap => Source::ConfigMap(self.name.clone()),
            BundleKind::Secret => Source::Secret(self.name.clone()),
        }
    }
}

impl Settings {
    /// The objects that a guard is made of beside the policy; when one changes, make the guard anew.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<Source> {
        let mut secrets = Vec::new();
        let mut bundles = Vec::new();
        if let Some(certificate) = &self.client_certificate {
            bundles.extend(&certificate.authorities);
        }
        secrets.extend(self.basic.as_ref().map(|basic| &basic.secret));
        secrets.extend(self.api_key.as_ref().map(|keys| &keys.secret));
        bundles.extend(self.jwt.as_ref().and_then(|jwt| jwt.authorities.as_ref()));
        if let Some(oidc) = &self.oidc {
            secrets.extend(oidc.client_secret.as_ref().map(|secret| &secret.name));
            secrets.push(&oidc.session.secret.name);
            bundles.extend(&oidc.authorities);
        }
        bundles.extend(self.external.as_ref().and_then(|external| external.authorities.as_ref()));
        let secrets = secrets.into_iter().map(|name| Source::Secret(name.clone()));
        secrets.chain(bundles.into_iter().map(Bundle::source)).collect()
    }
}
