//! One object in two versions.
//!
//! Invariant: converting there and back changes nothing that either version can express; what the older form of an
//! autoscaler cannot express travels in annotations, as upstream does it. Kinds without a rule here are alike in all
//! their versions.

mod autoscaler;
mod device;
mod event;

use serde_json::Value;

use crate::catalog::Kind;

/// Rewrites an object of one version of a kind as another version.
pub fn convert(value: &mut Value, from: &Kind, to: &Kind) {
    let Some(members) = value.as_object_mut() else { return };
    match ((&*from.group, &*from.version, &*from.kind), (&*to.group, &*to.version)) {
        (("autoscaling", "v1", _), (_, "v2")) => autoscaler::newer(members),
        (("autoscaling", "v2", _), (_, "v1")) => autoscaler::older(members),
        (("resource.k8s.io", "v1beta1", _), (_, "v1" | "v1beta2")) => device::newer(members, &from.kind),
        (("resource.k8s.io", "v1" | "v1beta2", _), (_, "v1beta1")) => device::older(members, &from.kind),
        (("events.k8s.io", _, "Event"), ("", _)) => event::to_core(members),
        (("", _, "Event"), ("events.k8s.io", _)) => event::from_core(members),
        _ => {}
    }
    members.insert("apiVersion".to_owned(), Value::String(to.api_version()));
    members.insert("kind".to_owned(), Value::String(to.kind.clone()));
}

/// Whether two versions of a kind have forms of their own, so that rules for one mean nothing to the other.
pub(crate) fn differ(from: &Kind, to: &Kind) -> bool {
    from.version != to.version
        && matches!((&*from.group, &*from.version), ("autoscaling", "v1") | ("resource.k8s.io", "v1beta1"))
}

#[cfg(test)]
mod tests;
