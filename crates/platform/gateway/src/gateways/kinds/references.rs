//! How objects name others.

use serde::{Deserialize, Serialize};

/// What a route, a listener set or a policy's status names as the thing it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Ours when none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `Gateway` when none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// That of the object itself when none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// One listener of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// The listeners of this port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// A backend of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendRef {
    /// The core group when none.
    pub group: Option<String>,
    /// `Service` when none.
    pub kind: Option<String>,
    /// The name.
    pub name: String,
    /// That of the route when none.
    pub namespace: Option<String>,
    /// The service's port; must be there for a service.
    pub port: Option<i32>,
    /// Its share of the requests, 1 when none.
    pub weight: Option<i32>,
}

/// A Secret, or what an implementation takes in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SecretRef {
    /// The core group when none.
    pub group: Option<String>,
    /// `Secret` when none.
    pub kind: Option<String>,
    /// The name.
    pub name: String,
    /// That of the object itself when none.
    pub namespace: Option<String>,
}

/// Any object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ObjectRef {
    /// The group, empty for the core.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// That of the object itself when none.
    pub namespace: Option<String>,
}

/// An object of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LocalRef {
    /// The group, empty for the core.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
}
