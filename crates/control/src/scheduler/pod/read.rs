//! From what the API shows of a pod to what is kept of it.
//!
//! Invariant: equal shapes are one shape as long as a pod has them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};

use base::Key;
use base::quantity::Quantity as Amount;
use k8s_openapi::api::core::v1::{Affinity, PodAffinityTerm};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::{Ask, Constraint, Disk, HostPort, Owner, PodInfo, Shape, Siblings, Term, Terms, Told, Volume};
use crate::plan::labels::Labels;
use crate::scheduler::devices::{Asking, Devices, Extended, Wish};
use crate::scheduler::resources::{self, Resources};
use crate::scheduler::seen::{self, PodSpec, SeenPod};

/// Finds the shape of a new pod among those known, so that equal ones are kept once.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct Shapes {
    shapes: Known<Shape>,
    asks: Known<Ask>,
}

#[derive(Debug)]
struct Known<T> {
    buckets: BTreeMap<u64, Vec<Weak<T>>>,
    entries: usize,
    sweep_at: usize,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { buckets: BTreeMap::new(), entries: 0, sweep_at: 1024 }
    }
}

impl<T: PartialEq> Known<T> {
    fn intern(&mut self, hint: u64, value: T) -> Arc<T> {
        let bucket = self.buckets.entry(hint).or_default();
        if let Some(known) = bucket.iter().filter_map(Weak::upgrade).find(|known| **known == value) {
            return known;
        }
        let new = Arc::new(value);
        bucket.push(Arc::downgrade(&new));
        self.entries += 1;
        if self.entries > self.sweep_at {
            self.sweep();
        }
        new
    }

    fn sweep(&mut self) {
        self.buckets.retain(|_, bucket| {
            bucket.retain(|one| one.strong_count() > 0);
            !bucket.is_empty()
        });
        self.entries = self.buckets.values().map(Vec::len).sum();
        self.sweep_at = 1024.max(self.entries * 2);
    }
}

fn hash(parts: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

impl Shapes {
    /// Reads a pod. Takes what it needs and drops the rest.
    pub(in crate::scheduler) fn read(&mut self, pod: SeenPod) -> PodInfo {
        let demand = resources::demand(&pod);
        let SeenPod { mut metadata, mut spec, status } = pod;
        let node: Arc<str> = spec.node_name.clone().unwrap_or_default().into();
        let namespace = metadata.namespace.take().unwrap_or_default();
        let labels = metadata.labels.take().unwrap_or_default();
        let conditions = status.conditions.as_deref().unwrap_or(&[]);
        let told = conditions.iter().find(|one| one.kind == "PodScheduled" && one.status == "False");
        let preempted = conditions.iter().any(|one| {
            one.kind == "DisruptionTarget"
                && one.status == "True"
                && one.reason.as_deref() == Some("PreemptionByScheduler")
        });
        let affinity = spec.affinity.take();
        let terms = terms(affinity.as_ref(), &namespace, &labels);
        let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        let owner = owner.map(|owner| Owner {
            kind: owner.kind.clone(),
            api_version: owner.api_version.clone(),
            name: owner.name.clone(),
        });
        let priority = spec.priority.unwrap_or(0);
        let volumes = volumes(&spec);
        let ports = host_ports(&spec);
        let hint = hash((&namespace, priority, owner.as_ref().map(|owner| &owner.name)));
        let ask = ask(spec, affinity, &labels, owner, demand.score);
        let ask = self.asks.intern(hash((hint, &ask.scheduler, &ask.images)), ask);
        let shape = Shape {
            labels,
            priority,
            requests: demand.requests,
            usual: demand.usual,
            ports,
            terms,
            volumes,
            ask,
            siblings: Siblings::default(),
            namespace: namespace.clone(),
        };
        let deleting = metadata.deletion_timestamp.is_some();
        PodInfo {
            shape: self.shapes.intern(hash((&shape.namespace, &shape.labels, priority)), shape),
            key: Key::new(namespace, metadata.name.take().unwrap_or_default()),
            uid: metadata.uid.take().unwrap_or_default().into(),
            started: status.start_time.map_or(i64::MAX, |time| time.0.as_microsecond()),
            preempted: deleting && preempted,
            generation: metadata.generation,
            nominated: status.nominated_node_name.filter(|name| !name.is_empty() && node.is_empty()).map(Into::into),
            told: told.filter(|_| node.is_empty()).map(|told| {
                Arc::new(Told {
                    reason: told.reason.clone().unwrap_or_default(),
                    message: told.message.clone().unwrap_or_default(),
                    since: told.last_transition_time.as_ref().map(|time| time.0),
                    generation: told.observed_generation,
                })
            }),
            made: status
                .resource_claim_statuses
                .filter(|made| node.is_empty() && !made.is_empty())
                .map(|made| made.into_iter().map(|one| (one.name, one.resource_claim_name)).collect()),
            deleting,
            node,
        }
    }
}

/// What each container asks of extended resources; none when none asks for any.
fn extended(spec: &PodSpec) -> Option<Extended> {
    let asking = |container: &seen::Container, init: bool| {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let named = requests.into_iter().flatten().enumerate().filter(|(_, (name, _))| Devices::may_stand_for(name));
        let amount = |text: &Quantity| text.0.parse::<Amount>().map_or(0, |amount| amount.value());
        Asking {
            amounts: named.map(|(place, (name, text))| (name.clone(), (amount(text), place))).collect(),
            name: container.name.clone(),
            short: init && container.restart_policy.as_deref() != Some("Always"),
        }
    };
    let asks = |container: &seen::Container| {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        requests.is_some_and(|requests| requests.keys().any(|name| Devices::may_stand_for(name)))
    };
    let (first, then) = (spec.init_containers.as_deref(), spec.containers.as_deref());
    let (first, then) = (first.unwrap_or_default(), then.unwrap_or_default());
    if !first.iter().chain(then).any(asks) {
        return None;
    }
    let first = first.iter().map(|container| asking(container, true));
    Some(Extended { containers: first.chain(then.iter().map(|container| asking(container, false))).collect() })
}

fn ask(mut spec: PodSpec, affinity: Option<Affinity>, labels: &Labels, owner: Option<Owner>, score: Resources) -> Ask {
    let nodes = affinity.and_then(|affinity| affinity.node_affinity).unwrap_or_default();
    let constraints = spec.topology_spread_constraints.take().unwrap_or_default();
    let all = spec.init_containers.iter().flatten().chain(spec.containers.iter().flatten());
    let images = all.filter_map(|container| container.image.as_deref());
    let mounted = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
    Ask {
        features: features(&spec),
        extended: extended(&spec),
        claims: claims(spec.resource_claims.take()),
        images: images.chain(mounted).map(full_name).collect(),
        containers: [&spec.containers, &spec.init_containers].into_iter().flatten().map(Vec::len).sum(),
        scheduler: spec
            .scheduler_name
            .take()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| crate::scheduler::NAME.to_owned()),
        selector: spec.node_selector.take().filter(|wanted| !wanted.is_empty()),
        required: nodes.required_during_scheduling_ignored_during_execution,
        preferred: nodes.preferred_during_scheduling_ignored_during_execution.unwrap_or_default(),
        tolerations: spec.tolerations.take().unwrap_or_default(),
        constraints: constraints.into_iter().map(|one| constraint(one, labels)).collect(),
        gates: spec.scheduling_gates.take().unwrap_or_default().into_iter().map(|gate| gate.name).collect(),
        never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
        score,
        owner,
    }
}

fn claims(claims: Option<Vec<seen::PodClaim>>) -> Vec<Wish> {
    claims.into_iter().flatten().map(|one| Wish { name: one.name, claim: one.resource_claim_name }).collect()
}

/// What a node has to declare to run the pod.
fn features(spec: &PodSpec) -> Vec<&'static str> {
    let mut features = Vec::new();
    let all = spec.init_containers.iter().flatten().chain(spec.containers.iter().flatten());
    let mut rules = all.flat_map(|container| container.restart_policy_rules.iter().flatten());
    if rules.any(|rule| rule.action == "RestartAllContainers") {
        features.push("RestartAllContainersOnContainerExits");
    }
    if spec.host_network == Some(true) && spec.host_users == Some(false) {
        features.push("UserNamespacesHostNetworkSupport");
    }
    features
}

/// As the plugin reads it; matchLabelKeys become requirements (KEP-3243).
pub(in crate::scheduler) fn constraint(
    one: k8s_openapi::api::core::v1::TopologySpreadConstraint,
    labels: &Labels,
) -> Constraint {
    let mut selector = one.label_selector;
    require(&mut selector, one.match_label_keys.iter().flatten(), "In", labels);
    Constraint {
        max_skew: i64::from(one.max_skew),
        topology_key: one.topology_key,
        hard: one.when_unsatisfiable == "DoNotSchedule",
        selector: selector.map(Arc::new),
        min_domains: i64::from(one.min_domains.unwrap_or(1)),
        honors_affinity: one.node_affinity_policy.as_deref().unwrap_or("Honor") == "Honor",
        honors_taints: one.node_taints_policy.as_deref().unwrap_or("Ignore") == "Honor",
    }
}

/// Adds `key operator (value of the pod)` for each key the pod has. A selector that is absent means nothing and stays so.
fn require<'a>(
    selector: &mut Option<LabelSelector>,
    keys: impl Iterator<Item = &'a String>,
    operator: &str,
    labels: &Labels,
) {
    let Some(selector) = selector else { return };
    for key in keys {
        let Some(value) = labels.get(key) else { continue };
        let requirement = LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![value.clone()]),
        };
        let known = selector.match_expressions.get_or_insert_default();
        if !known.contains(&requirement) {
            known.push(requirement);
        }
    }
}

fn terms(affinity: Option<&Affinity>, namespace: &str, labels: &Labels) -> Option<Box<Terms>> {
    let affinity = affinity?;
    let (near, far) = (affinity.pod_affinity.as_ref(), affinity.pod_anti_affinity.as_ref());
    if near.is_none() && far.is_none() {
        return None;
    }
    let read = |one: &PodAffinityTerm| term(one, namespace, labels);
    let mut terms = Terms::default();
    if let Some(near) = near {
        let required = near.required_during_scheduling_ignored_during_execution.iter().flatten();
        let preferred = near.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        terms.near = required.map(read).collect();
        terms.prefer_near = preferred.map(|one| (i64::from(one.weight), read(&one.pod_affinity_term))).collect();
    }
    if let Some(far) = far {
        let required = far.required_during_scheduling_ignored_during_execution.iter().flatten();
        let preferred = far.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        terms.far = required.map(read).collect();
        terms.prefer_far = preferred.map(|one| (i64::from(one.weight), read(&one.pod_affinity_term))).collect();
    }
    Some(Box::new(terms))
}

fn term(one: &PodAffinityTerm, namespace: &str, labels: &Labels) -> Term {
    let mut selector = one.label_selector.clone();
    require(&mut selector, one.match_label_keys.iter().flatten(), "In", labels);
    require(&mut selector, one.mismatch_label_keys.iter().flatten(), "NotIn", labels);
    let mut namespaces = one.namespaces.clone().unwrap_or_default();
    if namespaces.is_empty() && one.namespace_selector.is_none() {
        namespaces.push(namespace.to_owned());
    }
    Term {
        namespaces,
        namespace_selector: one.namespace_selector.clone(),
        selector,
        topology_key: one.topology_key.clone(),
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let ports = sidecars.chain(spec.containers.iter().flatten()).flat_map(|container| container.ports.iter().flatten());
    let given = |text: &Option<String>, otherwise: &str| {
        text.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| otherwise.to_owned())
    };
    let wanted = ports.filter_map(|port| {
        Some(HostPort {
            number: port.host_port.filter(|number| *number > 0)?,
            address: given(&port.host_ip, "0.0.0.0"),
            protocol: given(&port.protocol, "TCP"),
        })
    });
    wanted.collect()
}

fn volumes(spec: &PodSpec) -> Vec<Volume> {
    let mut kept = Vec::new();
    for volume in spec.volumes.iter().flatten() {
        if let Some(claim) = &volume.persistent_volume_claim {
            kept.push(Volume::Claim(claim.claim_name.clone()));
        } else if volume.ephemeral.is_some() {
            kept.push(Volume::Ephemeral(volume.name.clone()));
        } else if let Some(csi) = &volume.csi {
            kept.push(Volume::Csi(csi.driver.clone()));
        } else if let Some(disk) = disk(volume) {
            kept.push(Volume::Disk(disk));
        }
    }
    kept
}

fn disk(volume: &seen::Volume) -> Option<Disk> {
    let yes = |flag: Option<bool>| flag == Some(true);
    if let Some(gce) = &volume.gce_persistent_disk {
        return Some(Disk::Gce { name: gce.pd_name.clone(), read_only: yes(gce.read_only) });
    }
    if let Some(aws) = &volume.aws_elastic_block_store {
        return Some(Disk::Aws { id: aws.volume_id.clone() });
    }
    if let Some(iscsi) = &volume.iscsi {
        return Some(Disk::Iscsi { iqn: iscsi.iqn.clone(), read_only: yes(iscsi.read_only) });
    }
    let rbd = volume.rbd.as_ref()?;
    Some(Disk::Rbd {
        monitors: rbd.monitors.clone(),
        pool: rbd.pool.clone().unwrap_or_default(),
        image: rbd.image.clone(),
        read_only: yes(rbd.read_only),
    })
}

/// Image names on nodes always have a tag.
fn full_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') { image.to_owned() } else { format!("{image}:latest") }
}
