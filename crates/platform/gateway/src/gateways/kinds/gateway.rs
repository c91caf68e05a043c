//! GatewayClass, Gateway and ListenerSet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::{Deserialize, Serialize};

use super::{LocalRef, ObjectRef, SecretRef};

/// Who serves the Gateways of a class.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct GatewayClass {
    /// Without annotations.
    #[serde(deserialize_with = "informer::identity")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: GatewayClassSpec,
    /// What is told.
    #[serde(default)]
    pub status: GatewayClassStatus,
}

/// What a class asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    /// Whose class it is.
    pub controller_name: String,
    /// Settings; none are known here.
    pub parameters_ref: Option<ObjectRef>,
}

/// What is told of a class.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayClassStatus {
    /// `Accepted`, `SupportedVersion`.
    pub conditions: Vec<Condition>,
    /// Sorted by name.
    pub supported_features: Vec<SupportedFeature>,
}

/// A feature by its name in the conformance suite.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SupportedFeature {
    /// Such as `HTTPRouteMethodMatching`.
    pub name: String,
}

/// Listeners on addresses.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Gateway {
    /// Without annotations.
    #[serde(deserialize_with = "informer::identity")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: GatewaySpec,
    /// What is told.
    #[serde(default)]
    pub status: GatewayStatus,
}

/// What a Gateway asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    /// Its class.
    pub gateway_class_name: String,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// Any when empty.
    pub addresses: Vec<GatewayAddress>,
    /// Which listener sets may add listeners; none when none.
    pub allowed_listeners: Option<AllowedListeners>,
    /// TLS towards clients and backends.
    pub tls: Option<GatewayTls>,
    /// Settings; none are known here.
    pub infrastructure: Option<Infrastructure>,
}

/// What is made for a Gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Infrastructure {
    /// Settings; none are known here.
    pub parameters_ref: Option<LocalRef>,
}

/// An address in spec or status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct GatewayAddress {
    /// `IPAddress` when none.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Any when empty.
    #[serde(default)]
    pub value: String,
}

/// Which listener sets a Gateway takes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AllowedListeners {
    /// Of which namespaces; of none when none.
    pub namespaces: Option<Namespaces>,
}

/// A set of namespaces.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    /// `All`, `Selector`, `Same` or `None`.
    pub from: Option<String>,
    /// For `Selector`: a metav1.LabelSelector.
    pub selector: Option<serde_json::Value>,
}

/// One listener of a Gateway or of a ListenerSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listener {
    /// Unique in its object.
    pub name: String,
    /// Any when none.
    pub hostname: Option<String>,
    /// The port clients use.
    pub port: i32,
    /// `HTTP`, `HTTPS`, `TLS`, `TCP` or `UDP`.
    pub protocol: String,
    /// For `HTTPS` and `TLS`.
    pub tls: Option<ListenerTls>,
    /// Which routes may attach.
    pub allowed_routes: Option<AllowedRoutes>,
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerTls {
    /// `Terminate` when none, or `Passthrough`.
    pub mode: Option<String>,
    /// What is shown to clients.
    pub certificate_refs: Vec<SecretRef>,
}

/// Which routes may attach to a listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AllowedRoutes {
    /// Of the same namespace when none.
    pub namespaces: Option<Namespaces>,
    /// All that suit the protocol when empty.
    pub kinds: Vec<GroupKind>,
}

/// A kind of route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct GroupKind {
    /// Ours when none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind.
    pub kind: String,
}

/// TLS of a whole Gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GatewayTls {
    /// Towards backends.
    pub backend: Option<BackendTls>,
    /// Towards clients.
    pub frontend: Option<FrontendTls>,
}

/// TLS towards backends.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTls {
    /// What is shown to backends that ask.
    pub client_certificate_ref: Option<SecretRef>,
}

/// TLS towards clients.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FrontendTls {
    /// For every port that has none of its own.
    pub default: Frontend,
    /// By port.
    pub per_port: Vec<FrontendPort>,
}

/// How clients prove who they are on one port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FrontendPort {
    /// The port.
    pub port: i32,
    /// In place of the default.
    pub tls: Frontend,
}

/// How clients prove who they are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Frontend {
    /// Not at all when none.
    pub validation: Option<FrontendValidation>,
}

/// What clients' certificates are held to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FrontendValidation {
    /// Bundles of authorities.
    pub ca_certificate_refs: Vec<ObjectRef>,
    /// `AllowValidOnly` when none, or `AllowInsecureFallback`.
    pub mode: Option<String>,
}

/// What is told of a Gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayStatus {
    /// Where it is served.
    pub addresses: Vec<GatewayAddress>,
    /// `Accepted`, `Programmed`, `ResolvedRefs`.
    pub conditions: Vec<Condition>,
    /// One for each in the spec.
    pub listeners: Vec<ListenerStatus>,
    /// How many listener sets added listeners.
    pub attached_listener_sets: Option<i32>,
}

/// What is told of a listener.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Kinds of routes it takes.
    pub supported_kinds: Vec<GroupKind>,
    /// How many routes are attached.
    pub attached_routes: i32,
    /// `Accepted`, `Programmed`, `ResolvedRefs`, `Conflicted`.
    pub conditions: Vec<Condition>,
}

/// Listeners that somebody else adds to a Gateway.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ListenerSet {
    /// Without annotations.
    #[serde(deserialize_with = "informer::identity")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: ListenerSetSpec,
    /// What is told.
    #[serde(default)]
    pub status: ListenerSetStatus,
}

/// What a ListenerSet asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerSetSpec {
    /// The Gateway.
    pub parent_ref: ParentGateway,
    /// At least one.
    pub listeners: Vec<Listener>,
}

/// The Gateway of a ListenerSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ParentGateway {
    /// Ours when none.
    pub group: Option<String>,
    /// `Gateway` when none.
    pub kind: Option<String>,
    /// The name.
    pub name: String,
    /// That of the set when none.
    pub namespace: Option<String>,
}

/// What is told of a ListenerSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListenerSetStatus {
    /// `Accepted`, `Programmed`.
    pub conditions: Vec<Condition>,
    /// One for each in the spec.
    pub listeners: Vec<ListenerStatus>,
}
