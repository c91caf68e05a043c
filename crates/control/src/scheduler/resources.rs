//! Amounts of the things pods ask for.
//!
//! Invariant: an amount that cannot be read counts as zero only for what a node offers, never for what a pod asks: the
//! API validates quantities, so that case is a corrupt object and the pod is refused everywhere.

use std::collections::BTreeMap;

use base::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

/// What scores assume for a container that asks for nothing.
const USUAL_CPU: i64 = 100;
const USUAL_MEMORY: i64 = 200 * 1024 * 1024;

/// An amount of each resource; cpu in thousandths of a core, the others in units or bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    pub pods: i64,
    pub extended: BTreeMap<String, i64>,
}

impl Resources {
    pub(super) fn offered(amounts: Option<&BTreeMap<String, Text>>) -> Self {
        let mut offered = Self::default();
        for (name, amount) in amounts.into_iter().flatten() {
            offered.put(name, amount, 0);
        }
        offered
    }

    fn asked(amounts: Option<&BTreeMap<String, Text>>) -> Self {
        let mut asked = Self::default();
        for (name, amount) in amounts.into_iter().flatten() {
            asked.put(name, amount, i64::MAX / 1024);
        }
        asked
    }

    fn put(&mut self, name: &str, amount: &Text, unreadable: i64) {
        let quantity = amount.0.parse::<Quantity>().ok();
        let whole = quantity.as_ref().map_or(unreadable, Quantity::value);
        match name {
            "cpu" => {
                let milli = quantity.map(|quantity| i64::try_from(quantity.milli()).unwrap_or(i64::MAX / 1024));
                self.milli_cpu = milli.unwrap_or(unreadable);
            }
            "memory" => self.memory = whole,
            "ephemeral-storage" => self.ephemeral_storage = whole,
            "pods" => self.pods = whole,
            other => {
                self.extended.insert(other.to_owned(), whole);
            }
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.merge(other, i64::saturating_add);
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        self.merge(other, i64::saturating_sub);
        self.extended.retain(|_, amount| *amount != 0);
    }

    fn at_least(&mut self, other: &Self) {
        self.merge(other, i64::max);
    }

    fn merge(&mut self, other: &Self, how: fn(i64, i64) -> i64) {
        self.milli_cpu = how(self.milli_cpu, other.milli_cpu);
        self.memory = how(self.memory, other.memory);
        self.ephemeral_storage = how(self.ephemeral_storage, other.ephemeral_storage);
        self.pods = how(self.pods, other.pods);
        for (name, amount) in &other.extended {
            let own = self.extended.entry(name.clone()).or_insert(0);
            *own = how(*own, *amount);
        }
    }
}

/// What a pod needs at its hungriest moment: all containers and sidecars together, or an init container next to the
/// sidecars started before it; overhead on top. Pod-level requests replace the sum.
pub(super) fn requests(pod: &Pod) -> Resources {
    let of = |container: &Container| {
        Resources::asked(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
    };
    let mut total = hungriest(pod, of);
    if let Some(spec) = &pod.spec {
        let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let replaced = Resources::asked(whole);
        let has = |name: &str| whole.is_some_and(|amounts| amounts.contains_key(name));
        if has("cpu") {
            total.milli_cpu = replaced.milli_cpu;
        }
        if has("memory") {
            total.memory = replaced.memory;
        }
        total.add(&Resources::asked(spec.overhead.as_ref()));
    }
    total.pods = 1;
    total
}

/// The same for scoring: containers that ask for nothing count with a usual amount.
pub(super) fn usual_requests(pod: &Pod) -> (i64, i64) {
    let of = |container: &Container| {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let mut asked = Resources::asked(requests);
        let has = |name: &str| requests.is_some_and(|amounts| amounts.contains_key(name));
        if !has("cpu") {
            asked.milli_cpu = USUAL_CPU;
        }
        if !has("memory") {
            asked.memory = USUAL_MEMORY;
        }
        asked
    };
    let mut total = hungriest(pod, of);
    total.add(&Resources::asked(pod.spec.as_ref().and_then(|spec| spec.overhead.as_ref())));
    (total.milli_cpu, total.memory)
}

fn hungriest(pod: &Pod, of: impl Fn(&Container) -> Resources) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::default() };
    let mut total = Resources::default();
    spec.containers.iter().for_each(|container| total.add(&of(container)));
    let (mut sidecars, mut start) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let asked = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            total.add(&asked);
            sidecars.add(&asked);
            start.at_least(&sidecars);
        } else {
            let mut moment = sidecars.clone();
            moment.add(&asked);
            start.at_least(&moment);
        }
    }
    total.at_least(&start);
    total
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn init_containers_count_at_their_peak_and_sidecars_for_the_whole_life() {
        let pod: Pod = serde_json::from_value(json!({ "spec": {
            "overhead": { "cpu": "10m" },
            "initContainers": [
                { "name": "sidecar", "restartPolicy": "Always", "resources": { "requests": { "cpu": "100m", "memory": "1Mi" } } },
                { "name": "setup", "resources": { "requests": { "cpu": "1", "example.com/gpu": "1" } } },
            ],
            "containers": [{ "name": "main", "resources": { "requests": { "cpu": "500m", "memory": "2Mi" } } }],
        }}))
        .expect("a pod");
        let total = requests(&pod);
        assert_eq!((total.milli_cpu, total.memory, total.pods), (1110, 3 * 1024 * 1024, 1));
        assert_eq!(total.extended.get("example.com/gpu"), Some(&1));
    }
}
