//! Amounts of the things pods ask for.
//!
//! Invariant: an amount that cannot be read counts as zero only for what a node offers, never for what a pod asks: the
//! API validates quantities, so that case is a corrupt object and the pod is refused everywhere.
//! What a pod asks for is upstream's `component-helpers/resource.PodRequests`: all containers and sidecars together, or
//! an init container beside the sidecars started before it; pod-level requests replace the sum, overhead comes on top.
//! Of a running pod that is being resized counts the most of what was wanted, given and in force (KEP-1287).

use std::collections::BTreeMap;

use base::quantity::Quantity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::seen::{Amounts, Container, ContainerStatus, PodSpec, SeenPod};

/// What scores assume for a container that asks for nothing.
pub(super) const USUAL_CPU: i64 = 100;
pub(super) const USUAL_MEMORY: i64 = 200 * 1024 * 1024;

/// Far above anything real, and still far from overflow in sums.
const UNREADABLE: i64 = i64::MAX / 1024;

/// An amount of each resource; cpu in thousandths of a core, the others in units or bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// How many pods; of a node only.
    pub pods: i64,
    /// Extended resources, huge pages and whatever else is counted by name.
    pub scalars: BTreeMap<String, i64>,
}

/// Whether a resource is counted by its name: extended, huge pages, prefixed native and attachable volumes.
pub(super) fn is_scalar(name: &str) -> bool {
    name.starts_with("hugepages-")
        || name.starts_with("attachable-volumes-")
        || name.contains("kubernetes.io/")
        || is_extended(name)
}

/// Whether a resource is one of somebody else's, such as `example.com/gpu`.
pub(super) fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// Resources that a pod as a whole can ask for.
fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

impl Resources {
    /// What a node has.
    pub(super) fn offered(amounts: Option<&Amounts>) -> Self {
        Self::read(amounts, 0)
    }

    fn asked(amounts: Option<&Amounts>) -> Self {
        Self::read(amounts, UNREADABLE)
    }

    fn read(amounts: Option<&Amounts>, unreadable: i64) -> Self {
        let mut read = Self::default();
        for (name, amount) in amounts.into_iter().flatten() {
            read.put(name, amount, unreadable);
        }
        read
    }

    fn put(&mut self, name: &str, amount: &Text, unreadable: i64) {
        let quantity = amount.0.parse::<Quantity>().ok();
        let whole = quantity.as_ref().map_or(unreadable, Quantity::value);
        match name {
            "cpu" => {
                let milli = quantity.map(|quantity| i64::try_from(quantity.milli()).unwrap_or(UNREADABLE));
                self.milli_cpu = milli.unwrap_or(unreadable);
            }
            "memory" => self.memory = whole,
            "ephemeral-storage" => self.ephemeral_storage = whole,
            "pods" => self.pods = whole,
            other if is_scalar(other) => drop(self.scalars.insert(other.to_owned(), whole)),
            _ => {}
        }
    }

    /// The amount of one resource by its API name.
    pub(super) fn of(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.milli_cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            "pods" => self.pods,
            other => self.scalars.get(other).copied().unwrap_or(0),
        }
    }

    fn set(&mut self, name: &str, amount: i64) {
        match name {
            "cpu" => self.milli_cpu = amount,
            "memory" => self.memory = amount,
            other => drop(self.scalars.insert(other.to_owned(), amount)),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.merge(other, i64::saturating_add);
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        self.merge(other, i64::saturating_sub);
        if !other.scalars.is_empty() {
            self.scalars.retain(|_, amount| *amount != 0);
        }
    }

    fn at_least(&mut self, other: &Self) {
        self.merge(other, i64::max);
    }

    fn merge(&mut self, other: &Self, how: fn(i64, i64) -> i64) {
        self.milli_cpu = how(self.milli_cpu, other.milli_cpu);
        self.memory = how(self.memory, other.memory);
        self.ephemeral_storage = how(self.ephemeral_storage, other.ephemeral_storage);
        self.pods = how(self.pods, other.pods);
        for (name, amount) in &other.scalars {
            let own = self.scalars.entry(name.clone()).or_insert(0);
            *own = how(*own, *amount);
        }
    }
}

/// What a pod asks for, counted in the three ways that plugins need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// What it takes from a node.
    pub(super) requests: Resources,
    /// Cpu and memory with the usual amounts where a container asks for nothing: what a node counts for scores.
    pub(super) usual: (i64, i64),
    /// The same for the pod that is being scheduled; upstream leaves out pod-level requests here.
    pub(super) score: Resources,
}

/// How requests are counted.
#[derive(Clone, Copy)]
struct Count {
    pod_level: bool,
    /// What a container that asks for nothing counts as.
    cpu: i64,
    memory: i64,
}

/// Counts what the pod asks for.
pub(super) fn demand(pod: &SeenPod) -> Demand {
    let spec = &pod.spec;
    let count = |pod_level, cpu, memory| total(pod, spec, Count { pod_level, cpu, memory });
    let requests = count(true, 0, 0);
    let score = count(false, USUAL_CPU, USUAL_MEMORY);
    let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let usual = if whole.is_some_and(|amounts| amounts.keys().any(|name| is_pod_level(name))) {
        let missing = |amount: i64, usual: i64| if amount == 0 { usual } else { 0 };
        count(true, missing(requests.milli_cpu, USUAL_CPU), missing(requests.memory, USUAL_MEMORY))
    } else {
        score.clone()
    };
    Demand { requests, usual: (usual.milli_cpu, usual.memory), score }
}

fn total(pod: &SeenPod, spec: &PodSpec, count: Count) -> Resources {
    let resizing = Resizing::of(pod);
    let mut total = hungriest(spec, |container| resizing.amounts(container, count));
    let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    if count.pod_level
        && let Some(whole) = whole
    {
        let effective = resizing.whole(Resources::asked(Some(whole)));
        for name in whole.keys().filter(|name| is_pod_level(name)) {
            total.set(name, effective.of(name));
        }
    }
    total.add(&Resources::asked(spec.overhead.as_ref()));
    total
}

/// What the status says of the containers' resources.
struct Resizing<'a> {
    pod: &'a SeenPod,
    infeasible: bool,
}

impl<'a> Resizing<'a> {
    fn of(pod: &'a SeenPod) -> Self {
        let pending = pod.condition("PodResizePending");
        Self { pod, infeasible: pending.is_some_and(|one| one.reason.as_deref() == Some("Infeasible")) }
    }

    fn status(&self, name: &str) -> Option<&'a ContainerStatus> {
        let status = &self.pod.status;
        let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
        all.filter(|one| one.resources.is_some()).find(|one| one.name == name)
    }

    fn amounts(&self, container: &Container, count: Count) -> Resources {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let mut asked = Resources::asked(requests);
        let has = |name: &str| requests.is_some_and(|amounts| amounts.contains_key(name));
        let (mut has_cpu, mut has_memory) = (has("cpu"), has("memory"));
        if let Some(status) = self.status(&container.name) {
            let actuated = status.resources.as_ref().and_then(|resources| resources.requests.as_ref());
            let allocated = status.allocated_resources.as_ref();
            has_cpu |= [actuated, allocated].into_iter().flatten().any(|one| one.contains_key("cpu"));
            has_memory |= [actuated, allocated].into_iter().flatten().any(|one| one.contains_key("memory"));
            asked = self.effective(asked, actuated, allocated);
        }
        if !has_cpu {
            asked.milli_cpu = count.cpu;
        }
        if !has_memory {
            asked.memory = count.memory;
        }
        asked
    }

    fn whole(&self, asked: Resources) -> Resources {
        let status = &self.pod.status;
        match &status.resources {
            Some(given) => self.effective(asked, given.requests.as_ref(), status.allocated_resources.as_ref()),
            None => asked,
        }
    }

    fn effective(&self, asked: Resources, actuated: Option<&Amounts>, allocated: Option<&Amounts>) -> Resources {
        let mut most = Resources::asked(actuated);
        most.at_least(&Resources::asked(allocated));
        if !self.infeasible {
            most.at_least(&asked);
        }
        most
    }
}

fn hungriest(spec: &PodSpec, of: impl Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::default();
    spec.containers.iter().flatten().for_each(|container| total.add(&of(container)));
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
    use serde_json::{Value, json};

    use super::*;

    const MI: i64 = 1024 * 1024;

    fn of(spec: Value, status: Value) -> Demand {
        let pod = json!({ "spec": spec, "status": status });
        demand(&serde_json::from_value(pod).expect("a pod"))
    }

    fn container(name: &str, requests: &Value) -> Value {
        json!({ "name": name, "resources": { "requests": requests } })
    }

    #[test]
    fn init_containers_count_at_their_peak_and_sidecars_for_the_whole_life() {
        let mut sidecar = container("sidecar", &json!({ "cpu": "100m", "memory": "1Mi" }));
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({
            "overhead": { "cpu": "10m" },
            "initContainers": [sidecar, container("setup", &json!({ "cpu": "1", "example.com/gpu": "1" }))],
            "containers": [container("main", &json!({ "cpu": "500m", "memory": "2Mi", "storage": "1Gi" }))],
        });
        let total = of(spec, json!({})).requests;
        assert_eq!((total.milli_cpu, total.memory), (1110, 3 * MI));
        assert_eq!(total.scalars, BTreeMap::from([("example.com/gpu".to_owned(), 1)]));
    }

    #[test]
    fn a_container_that_asks_for_nothing_counts_with_the_usual_in_scores() {
        let spec = json!({ "containers": [container("a", &json!({})), container("b", &json!({ "cpu": "0" }))] });
        let demand = of(spec, json!({}));
        assert_eq!((demand.requests.milli_cpu, demand.requests.memory), (0, 0));
        assert_eq!(demand.usual, (USUAL_CPU, 2 * USUAL_MEMORY));
    }

    #[test]
    fn requests_of_the_pod_replace_those_of_its_containers() {
        let spec = json!({
            "resources": { "requests": { "cpu": "2" } },
            "containers": [container("a", &json!({ "cpu": "500m", "memory": "5Mi" }))],
        });
        let demand = of(spec, json!({}));
        assert_eq!((demand.requests.milli_cpu, demand.requests.memory), (2000, 5 * MI));
        assert_eq!((demand.usual, demand.score.milli_cpu), ((2000, 5 * MI), 500));
    }

    #[test]
    fn a_resize_counts_the_most_of_wanted_given_and_in_force() {
        let spec = json!({ "containers": [container("a", &json!({ "cpu": "1", "memory": "10Mi" }))] });
        let resized = |conditions: Value| {
            let status = json!({ "name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "resources": { "requests": { "cpu": "2", "memory": "4Mi" } }, "allocatedResources": { "cpu": "500m", "memory": "6Mi" } });
            of(spec.clone(), json!({ "containerStatuses": [status], "conditions": conditions })).requests
        };
        let total = resized(json!([]));
        assert_eq!((total.milli_cpu, total.memory), (2000, 10 * MI));
        let total = resized(json!([{ "type": "PodResizePending", "status": "True", "reason": "Infeasible" }]));
        assert_eq!((total.milli_cpu, total.memory), (2000, 6 * MI), "what cannot be given does not count");
    }
}
