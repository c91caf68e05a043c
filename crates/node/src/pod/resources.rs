//! From requests and limits to quality of service, cgroup limits and the OOM killer's preference.
//!
//! Invariant: the same numbers as upstream (`MilliCPUToShares`, `GetContainerOOMScoreAdjust`), so
//! that a workload tuned on another cluster behaves the same here.

use std::collections::BTreeMap;

use base::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::cgroup::{Limits, Qos};

const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;
const MIN_QUOTA: u64 = 1000;

/// What a container asks for or has: requests and limits by resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub requests: BTreeMap<String, String>,
    pub limits: BTreeMap<String, String>,
}

impl Amounts {
    pub(crate) fn of(container: &Container) -> Self {
        container.resources.as_ref().map(Self::from_requirements).unwrap_or_default()
    }

    pub(crate) fn from_requirements(resources: &ResourceRequirements) -> Self {
        let plain = |amounts: &Option<BTreeMap<String, Text>>| {
            amounts.iter().flatten().map(|(name, amount)| (name.clone(), amount.0.clone())).collect()
        };
        Self { requests: plain(&resources.requests), limits: plain(&resources.limits) }
    }

    /// As the API writes them.
    pub(crate) fn requirements(&self) -> ResourceRequirements {
        let shown = |amounts: &BTreeMap<String, String>| {
            let shown = amounts.iter().map(|(name, amount)| (name.clone(), Text(amount.clone())));
            (!amounts.is_empty()).then(|| shown.collect())
        };
        ResourceRequirements { requests: shown(&self.requests), limits: shown(&self.limits), claims: None }
    }

    /// The container with these resources instead of its own.
    pub(crate) fn give(&self, container: &mut Container) {
        let own = container.resources.take().unwrap_or_default();
        container.resources = Some(ResourceRequirements { claims: own.claims, ..self.requirements() });
    }

    /// Requested thousandths of cpu and bytes of memory; a limit stands for an absent request.
    fn requested(&self) -> (u64, u64) {
        let amount = |name: &str| {
            let text = self.requests.get(name).or_else(|| self.limits.get(name));
            text.and_then(|text| text.parse::<Quantity>().ok()).and_then(|amount| u64::try_from(amount.milli()).ok())
        };
        (amount("cpu").unwrap_or(0), amount("memory").unwrap_or(0) / 1000)
    }
}

/// What a pod's containers ask for together: milli-cpu and bytes.
pub(crate) fn requested<'a>(all: impl IntoIterator<Item = &'a Amounts>) -> (u64, u64) {
    let all = all.into_iter().map(Amounts::requested);
    all.fold((0, 0), |(cpu, memory), (more, bytes)| (cpu.saturating_add(more), memory.saturating_add(bytes)))
}

/// Whether the container wants to be started anew for this change of its resources.
pub(crate) fn must_restart(container: &Container, before: &Amounts, after: &Amounts) -> bool {
    let changed = |name: &str| {
        before.requests.get(name) != after.requests.get(name) || before.limits.get(name) != after.limits.get(name)
    };
    let policies = container.resize_policy.iter().flatten();
    let mut restarting = policies.filter(|policy| policy.restart_policy == "RestartContainer");
    restarting.any(|policy| changed(&policy.resource_name))
}

/// The larger of two sets of limits in each respect; none (no limit) is the largest.
pub(crate) fn larger(one: &Limits, other: &Limits) -> Limits {
    let max = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a.max(b));
    Limits {
        cpu_shares: max(one.cpu_shares, other.cpu_shares),
        cpu_quota: max(one.cpu_quota, other.cpu_quota),
        memory: max(one.memory, other.memory),
        ..Limits::default()
    }
}

/// The class by cpu and memory of all containers.
pub(crate) fn qos(spec: &PodSpec) -> Qos {
    let mut any = false;
    let mut guaranteed = true;
    for container in containers(spec) {
        for resource in ["cpu", "memory"] {
            let limit = amount(container, Side::Limit, resource).filter(|milli| *milli > 0);
            let request = amount(container, Side::Request, resource).filter(|milli| *milli > 0);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// The name the API uses for the class.
pub(crate) fn qos_name(qos: Qos) -> &'static str {
    match qos {
        Qos::Guaranteed => "Guaranteed",
        Qos::Burstable => "Burstable",
        Qos::BestEffort => "BestEffort",
    }
}

/// The cgroup limits of one container.
pub(crate) fn container_limits(container: &Container) -> Limits {
    let request = amount(container, Side::Request, "cpu").or_else(|| amount(container, Side::Limit, "cpu"));
    Limits {
        cpu_shares: Some(shares(request.unwrap_or(0))),
        cpu_quota: amount(container, Side::Limit, "cpu").filter(|milli| *milli > 0).map(quota),
        memory: amount(container, Side::Limit, "memory").filter(|milli| *milli > 0).map(|milli| milli / 1000),
        ..Limits::default()
    }
}

/// The cgroup limits of the pod as a whole: a limit applies only if every container has it.
pub(crate) fn pod_limits(spec: &PodSpec) -> Limits {
    let all: Vec<Limits> = spec.containers.iter().map(container_limits).collect();
    let early = spec.init_containers.as_deref().unwrap_or_default();
    let largest = early.iter().map(container_limits).collect::<Vec<_>>();
    let sum = |pick: fn(&Limits) -> Option<u64>| {
        let main: u64 = all.iter().map(pick).sum::<Option<u64>>()?;
        let init = largest.iter().map(pick).collect::<Option<Vec<u64>>>()?.into_iter().max().unwrap_or(0);
        Some(main.max(init))
    };
    let request = |container: &Container| amount(container, Side::Request, "cpu").unwrap_or(0);
    Limits {
        cpu_shares: Some(shares(spec.containers.iter().map(request).sum())),
        cpu_quota: sum(|limits| limits.cpu_quota),
        memory: sum(|limits| limits.memory),
        ..Limits::default()
    }
}

/// How willingly the kernel kills the container when memory runs out.
pub(crate) fn oom_score_adj(pod: &Pod, container: &Container, capacity: u64) -> i32 {
    const SYSTEM_NODE_CRITICAL: i32 = 2_000_000_000;
    let Some(spec) = &pod.spec else { return 1000 };
    if spec.priority.is_some_and(|priority| priority >= SYSTEM_NODE_CRITICAL) {
        return -997;
    }
    match qos(spec) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let request = amount(container, Side::Request, "memory").unwrap_or(0) / 1000;
            let part = (1000 * u128::from(request) / u128::from(capacity.max(1))).min(1000);
            (1000 - i32::try_from(part).unwrap_or(1000)).clamp(3, 999)
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Limit,
    Request,
}

/// Thousandths of the resource's unit; an unparsable quantity cannot pass the API's validation.
fn amount(container: &Container, side: Side, resource: &str) -> Option<u64> {
    let resources = container.resources.as_ref()?;
    let map: &BTreeMap<String, Text> = match side {
        Side::Limit => resources.limits.as_ref()?,
        Side::Request => resources.requests.as_ref()?,
    };
    let quantity: Quantity = map.get(resource)?.0.parse().ok()?;
    u64::try_from(quantity.milli()).ok()
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

fn shares(milli: u64) -> u64 {
    if milli == 0 { MIN_SHARES } else { (milli * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES) }
}

fn quota(milli: u64) -> u64 {
    (milli * 100).max(MIN_QUOTA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(resources: &[serde_json::Value]) -> PodSpec {
        let containers: Vec<_> = resources.iter().map(|all| json!({"name": "c", "resources": all})).collect();
        serde_json::from_value(json!({ "containers": containers })).unwrap()
    }

    #[test]
    fn the_class_follows_cpu_and_memory_of_every_container() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}});
        assert_eq!(qos(&spec(std::slice::from_ref(&full))), Qos::Guaranteed);
        assert_eq!(qos(&spec(&[full, json!({})])), Qos::Burstable);
        assert_eq!(qos(&spec(&[json!({}), json!({})])), Qos::BestEffort);
        assert_eq!(qos(&spec(&[json!({"limits": {"cpu": "1"}})])), Qos::Burstable);
    }

    #[test]
    fn limits_are_in_the_units_of_cgroups() {
        let spec = spec(&[json!({"limits": {"cpu": "250m", "memory": "64Mi"}, "requests": {"cpu": "100m"}})]);
        let limits = container_limits(&spec.containers[0]);
        assert_eq!((limits.cpu_shares, limits.cpu_quota, limits.memory), (Some(102), Some(25_000), Some(64 << 20)));
        assert_eq!(pod_limits(&spec).memory, Some(64 << 20));
    }

    #[test]
    fn a_pod_has_a_limit_only_if_all_its_containers_have() {
        let spec = spec(&[json!({"limits": {"memory": "64Mi"}}), json!({})]);
        assert_eq!(pod_limits(&spec).memory, None);
    }

    #[test]
    fn memory_requests_protect_from_the_oom_killer() {
        let mut pod = Pod { spec: Some(spec(&[json!({"requests": {"memory": "1Gi"}})])), ..Pod::default() };
        let container = pod.spec.as_ref().unwrap().containers[0].clone();
        assert_eq!(oom_score_adj(&pod, &container, 4 << 30), 750);
        pod.spec.as_mut().unwrap().priority = Some(2_000_000_001);
        assert_eq!(oom_score_adj(&pod, &container, 4 << 30), -997);
    }
}
