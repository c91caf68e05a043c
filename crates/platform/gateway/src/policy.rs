//! `TrafficPolicy`: how requests are spread, bounded, repeated and refused, as written.
//!
//! Attached as GEP-713 and GEP-2648 say, to objects of its own namespace. A part for a Service says
//! how its endpoints are used, whoever sends requests there; a part for a Gateway, a route or an
//! Ingress says what becomes of requests there, and each part is taken from the most specific
//! policy that has it. [`compile::service`] and [`compile::route`] read a policy as meant and tell
//! every contradiction by its field; the schema refuses what a pattern can tell.

pub mod compile;
mod limits;
mod pools;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use identity::{Ancestor, AncestorRef, Condition, Status};
pub use limits::{
    Action, By, Clients, Coding, Compression, Limits, Mode, NetsRef, PathKind, PathMatch, RateLimit, Rule, Rules,
    Sizes, Timeouts,
};
pub use pools::{
    Algorithm, Balance, Circuit, GrpcCheck, HashOn, HashSource, Health, HttpCheck, Outlier, ProxyProtocol, Retry,
    RetryBudget, SlowStart, TcpCheck, Zone,
};

/// How traffic to a Service, or through a Gateway, route or Ingress, is treated.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "gateway.knarr.dev",
    version = "v1alpha1",
    kind = "TrafficPolicy",
    plural = "trafficpolicies",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    category = "gateway-api",
    printcolumn = r#"{"name":"Target","type":"string","jsonPath":".spec.targetRefs[*].name"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.ancestors[0].conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicySpec {
    /// What the policy is for: objects of its own namespace, either Services or Gateways, routes and Ingresses. Of two
    /// policies for the same the older is in force.
    #[schemars(length(min = 1, max = 16))]
    pub target_refs: Vec<TargetRef>,

    /// Services: how the endpoint of a request is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// Services: what is asked of every endpoint from time to time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Services: when an endpoint that answers badly is left alone for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Outlier>,
    /// Services: how much may be under way; what is beyond is answered with 503 at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<Circuit>,
    /// Services: how many retries there may be beside the requests of late (GEP-3388).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
    /// Services: whether endpoints are told the client's address by the PROXY protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,

    /// When a request is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How many requests pass, in all or of each client. All must let a request pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub rate_limits: Vec<RateLimit>,
    /// How much may be under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What is refused before anything else looks at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
    /// Answers are compressed for clients that can read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// How long things may take, where the route itself does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
}

/// What a policy is attached to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "(self.group == 'gateway.networking.k8s.io' && self.kind in ['Gateway', 'HTTPRoute', 'GRPCRoute']) || (self.group == 'networking.k8s.io' && self.kind == 'Ingress') || (self.group == '' && self.kind == 'Service')",
     "message": "must be a Gateway, HTTPRoute or GRPCRoute of gateway.networking.k8s.io, an Ingress of networking.k8s.io or a Service of the core group"},
    {"rule": "!has(self.sectionName) || !(self.kind in ['Ingress', 'Service'])", "message": "an Ingress or Service has no sections here"}]))]
pub struct TargetRef {
    /// `gateway.networking.k8s.io`, `networking.k8s.io` for an Ingress, empty for a Service.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub group: String,
    /// `Gateway`, `HTTPRoute`, `GRPCRoute`, `Ingress` or `Service`.
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

impl From<&TargetRef> for crate::attach::Target {
    fn from(target: &TargetRef) -> Self {
        let TargetRef { group, kind, name, section_name } = target.clone();
        Self { group, kind, name, section: section_name }
    }
}

/// A duration as GEP-2257 writes it, `1h2m3s4ms`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(transparent)]
pub struct Span(#[schemars(regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))] pub String);

#[cfg(test)]
mod tests;
