//! The kinds of `cert-manager.io/v1` and `acme.cert-manager.io/v1`, as far as we act on them.
//!
//! Invariant: what is read here is never written back whole. Specs are other people's, and are created once; statuses are
//! patched. So a field that is missing here is never lost. The schema, with the fields that are only kept, stands in
//! [`crate::definitions`].

mod acme;
mod certificate;
mod issuer;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use acme::{
    Authorization, Challenge, ChallengeOffer, ChallengeSpec, ChallengeStatus, Order, OrderSpec, OrderStatus, State,
};
pub use certificate::{
    Certificate, CertificateRequest, CertificateSpec, CertificateStatus, KeystoreSpec, Keystores, PrivateKey, Renewal,
    RenewalInfo, RequestSpec, RequestStatus, SecretTemplate, Subject, Window,
};
pub use issuer::{
    AcmeIssuer, AcmeStatus, CaIssuer, ClusterIssuer, Dns01, Http01, HttpIngress, Issuer, IssuerSpec, IssuerStatus,
    Rfc2136, Selector, SelfSigned, Solver, VaultAuth, VaultIssuer, Webhook,
};

/// The group of Certificates and what issues them.
pub const GROUP: &str = "cert-manager.io";
/// The group of Orders and Challenges.
pub const ACME_GROUP: &str = "acme.cert-manager.io";

/// One fact about an object, as upstream tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Which fact.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Since when, RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_transition_time: String,
    /// In one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The generation that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The condition `kind` of a list.
#[must_use]
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|one| one.kind == kind)
}

/// Whether the condition `kind` is `True`.
#[must_use]
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    condition(conditions, kind).is_some_and(|one| one.status == "True")
}

/// Puts `new` into a list; the time of its transition stays when its status does.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|one| one.kind == new.kind) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time.clone_from(&old.last_transition_time);
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// Names an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct IssuerRef {
    /// Its name.
    pub name: String,
    /// `Issuer` when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// `cert-manager.io` when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
}

impl IssuerRef {
    /// Whether it is for us to serve.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.group.is_empty() || self.group == GROUP
    }

    /// The kind, with its default.
    #[must_use]
    pub fn kind(&self) -> &str {
        if self.kind.is_empty() { "Issuer" } else { &self.kind }
    }

    /// The group, with its default.
    #[must_use]
    pub fn group(&self) -> &str {
        if self.group.is_empty() { GROUP } else { &self.group }
    }

    /// Whether both name the same issuer, defaults counted.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        (self.name.as_str(), self.kind(), self.group()) == (other.name.as_str(), other.kind(), other.group())
    }
}

/// Names a value in a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretKey {
    /// The Secret.
    pub name: String,
    /// The entry; what it is when empty depends on the use.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
}

/// Declares a kind: the struct, and what `kube` must know of it.
macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $spec:ty, $status:ty, $group:expr, $plural:literal, $scope:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, serde::Deserialize)]
        #[serde(default)]
        #[allow(unreachable_pub, reason = "some kinds are made in private modules")]
        pub struct $name {
            /// Standard metadata.
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is wanted.
            pub spec: $spec,
            /// What there is.
            pub status: $status,
        }

        impl kube::Resource for $name {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($name).into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                "v1".into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use kind;

/// The document of an object of kind `K`, to be created.
#[must_use]
pub fn document<K: Resource<DynamicType = ()>>(metadata: Value, spec: &impl Serialize) -> Value {
    let spec = serde_json::to_value(spec).unwrap_or(Value::Null);
    serde_json::json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": metadata, "spec": spec,
    })
}

/// What an object that `owner` controls says of it.
#[must_use]
pub fn owned_by<K: Resource<DynamicType = ()>>(owner: &K) -> Value {
    serde_json::json!([{
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "name": owner.meta().name, "uid": owner.meta().uid,
        "controller": true, "blockOwnerDeletion": true,
    }])
}

/// Whether `owner` controls `object`.
#[must_use]
pub fn is_owned_by(object: &impl Resource, owner: &impl Resource) -> bool {
    let uid = owner.meta().uid.as_deref();
    controller(object).is_some_and(|one| Some(one.uid.as_str()) == uid)
}

/// Who controls an object.
#[must_use]
pub fn controller(object: &impl Resource) -> Option<&OwnerReference> {
    object.meta().owner_references.iter().flatten().find(|one| one.controller == Some(true))
}

/// An annotation's value, if it is not empty.
#[must_use]
pub fn annotation<'a>(object: &'a impl Resource, name: &str) -> Option<&'a str> {
    object.meta().annotations.as_ref()?.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// Bytes as the API writes them.
pub mod bytes {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// # Errors
    /// When the text is not base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)
    }

    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }
}
