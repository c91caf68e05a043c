//! DynamicResources: whether a node has, or can reach, the devices that a pod's claims are for.
//!
//! Invariant: which claims a pod has is looked up once per decision. What is found for a node is what is written if that
//! node is chosen. A pod without claims, and without resources that devices stand for, is not looked at at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ContainerExtendedResourceRequest;
use k8s_openapi::api::resource::v1::{AllocationResult, DeviceRequest};

use super::{Early, Refusal};
use crate::plan::node_selector;
use crate::scheduler::devices::{Claim, Devices, Plan, Stop, Want};
use crate::scheduler::names::Plugin;
use crate::scheduler::node::{NodeId, NodeInfo};
use crate::scheduler::pod::PodInfo;
use crate::scheduler::profile::Allocating;

/// The most alternatives of a request.
const ALTERNATIVES: i64 = 8;

/// What has been found out about the claims of a pod.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct Claims {
    /// In the order of the spec.
    all: Vec<Arc<Claim>>,
    /// What those want that have no devices yet, or why they cannot get any.
    wants: Option<Result<Vec<Want>, String>>,
    /// The claim for extended resources.
    extended: Option<Arc<Claim>>,
    /// Claims with devices that some node cannot use, by place in `all`.
    unavailable: BTreeSet<usize>,
    found: HashMap<NodeId, Found>,
}

/// What a node can give.
#[derive(Debug)]
struct Found {
    /// For each claim that has no devices, in order; last for the one for extended resources.
    allocations: Vec<Arc<AllocationResult>>,
    extended: Option<Arc<Claim>>,
    mappings: Vec<ContainerExtendedResourceRequest>,
}

/// Why a node will not do, or why nothing can be said.
#[derive(Debug)]
pub(in crate::scheduler) enum Trouble {
    Refused(Refusal),
    Failed(String),
}

/// What could be done for a pod that found no node.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) enum Cure {
    /// It has no claims.
    None,
    /// Take the devices from this claim, which nobody uses.
    Free(Arc<Claim>),
    /// Delete this claim for extended resources, so that another is made.
    Delete(Arc<Claim>),
    Nothing,
}

fn refused(why: impl Into<std::borrow::Cow<'static, str>>) -> Trouble {
    Trouble::Refused(Refusal::final_(Plugin::DynamicResources, why))
}

fn failed(why: &str) -> Trouble {
    Trouble::Failed(format!("running \"DynamicResources\" filter plugin: {why}"))
}

impl Claims {
    /// Before any node is looked at.
    pub(in crate::scheduler) fn start(&mut self, pod: &PodInfo, devices: &Devices) -> Early {
        let ask = pod.ask();
        if ask.claims.is_empty() && ask.extended.is_none() {
            return Early::Skip;
        }
        let refuse = |why: String| Early::Refuse(Refusal::final_(Plugin::DynamicResources, why));
        let all = match devices.of_pod(pod) {
            Ok(all) => all,
            Err(why) => return refuse(why),
        };
        let extended = backed(pod, devices).next().is_some().then(|| {
            let written = devices.extended_of(pod).cloned();
            written.unwrap_or_else(|| Arc::new(Claim::unwritten(pod)))
        });
        if all.is_empty() && extended.is_none() {
            return Early::Skip;
        }
        for claim in all.iter().filter(|claim| claim.allocation.is_none()) {
            if devices.is_pending(&claim.uid) {
                return refuse(format!("resource claim {} is in the process of being allocated", claim.full_name()));
            }
            for request in claim.spec.requests.iter().flatten() {
                match known(request, devices) {
                    Ok(true) => {}
                    Ok(false) => {
                        let (claim, request) = (claim.full_name(), &request.name);
                        return refuse(format!("resource claim {claim}, request {request}: unknown request type"));
                    }
                    Err(why) => return refuse(why),
                }
            }
        }
        (self.all, self.extended) = (all, extended);
        Early::Go
    }

    /// Whether the devices are there for the node, or can be given to it; `clock` tells the time.
    pub(in crate::scheduler) fn check(
        &mut self,
        pod: &PodInfo,
        devices: &Devices,
        node: &NodeInfo,
        args: &Allocating,
        clock: fn() -> jiff::Timestamp,
    ) -> Result<(), Trouble> {
        if self.found.contains_key(&node.id) {
            return Ok(());
        }
        let (extended, mappings) = self.extended_on(pod, devices, node)?;
        let unavailable = self.unavailable_on(node, args, clock);
        if extended.is_some() || self.all.iter().any(|claim| claim.allocation.is_none()) {
            let allocations = self.allocate(devices, node, extended.as_deref(), args, clock)?;
            if unavailable.is_empty() {
                self.found.insert(node.id, Found { allocations, extended, mappings });
            }
        }
        if !unavailable.is_empty() {
            self.unavailable.extend(unavailable);
            return Err(refused("resourceclaim not available on the node"));
        }
        Ok(())
    }

    /// Those that have devices which the node cannot use.
    fn unavailable_on(&self, node: &NodeInfo, args: &Allocating, clock: fn() -> jiff::Timestamp) -> Vec<usize> {
        let facts = node.known();
        let unusable = |claim: &Claim| {
            let Some(allocation) = &claim.allocation else { return false };
            let nodes = allocation.node_selector.as_ref();
            if nodes.is_some_and(|nodes| !node_selector::any_term_matches(nodes, &facts.name, &facts.labels)) {
                return true;
            }
            match claim.is_ready() {
                Ok(ready) => !ready && claim.is_overdue(args.binding, clock()),
                Err(_) => true,
            }
        };
        self.all.iter().enumerate().filter(|(_, claim)| unusable(claim)).map(|(index, _)| index).collect()
    }

    /// What the claim for extended resources is on this node: what its device plugins do not give.
    fn extended_on(
        &self,
        pod: &PodInfo,
        devices: &Devices,
        node: &NodeInfo,
    ) -> Result<(Option<Arc<Claim>>, Vec<ContainerExtendedResourceRequest>), Trouble> {
        let Some(claim) = &self.extended else { return Ok((None, Vec::new())) };
        if !claim.is_unwritten() {
            return Err(refused("cannot schedule extended resource claim")); // it is of an attempt that failed
        }
        let offered = &node.known().allocatable.scalars;
        let mut resources = BTreeMap::new();
        for (name, class) in backed(pod, devices) {
            if offered.get(name).copied().unwrap_or(0) == 0 {
                resources.insert(name, class);
            }
        }
        let scalars = pod.shape.requests.scalars.iter().filter(|(name, amount)| {
            **amount != 0 && Devices::may_stand_for(name) && !resources.contains_key(name.as_str())
        });
        if scalars.into_iter().any(|(name, _)| !offered.contains_key(name)) {
            return Err(refused("cannot fit resource"));
        }
        let Some(asked) = pod.ask().extended.as_ref().filter(|_| !resources.is_empty()) else {
            return Ok((None, Vec::new()));
        };
        let (spec, mappings) = asked.requests(&resources);
        Ok((Some(Arc::new(claim.asking(spec))), mappings))
    }

    fn allocate(
        &mut self,
        devices: &Devices,
        node: &NodeInfo,
        extended: Option<&Claim>,
        args: &Allocating,
        clock: fn() -> jiff::Timestamp,
    ) -> Result<Vec<Arc<AllocationResult>>, Trouble> {
        let all = &self.all;
        let wants = self.wants.get_or_insert_with(|| {
            let open = all.iter().filter(|claim| claim.allocation.is_none());
            open.map(|claim| devices.want(claim, &claim.spec)).collect()
        });
        let wants = wants.as_mut().map_err(|why| failed(why))?;
        let own = wants.len();
        if let Some(claim) = extended {
            wants.push(devices.want(claim, &claim.spec).map_err(|why| failed(&why))?);
        }
        let patience = jiff::SignedDuration::try_from(args.filter).unwrap_or(jiff::SignedDuration::MAX);
        let start = clock();
        let late = || !patience.is_zero() && clock().duration_since(start) > patience;
        let found = devices.allocate(wants, node.known(), &late);
        wants.truncate(own);
        match found {
            Ok(Some(allocations)) => Ok(allocations),
            Ok(None) => Err(refused("cannot allocate all claims")),
            Err(Stop::Invalid) => Err(refused("invalid resource pools were encountered")),
            Err(Stop::Late) => Err(failed(&format!("node {}: timed out trying to allocate devices", node.name()))),
            Err(Stop::Broken(why)) => Err(failed(&why)),
        }
    }

    /// How early in its lists of alternatives each node satisfies the claims; `None` when there are no such lists.
    pub(in crate::scheduler) fn rate(&self, nodes: &[NodeId]) -> Option<Vec<i64>> {
        let open = || self.all.iter().filter(|claim| claim.allocation.is_none());
        let alternatives =
            |claim: &Arc<Claim>| claim.spec.requests.iter().flatten().any(|request| request.first_available.is_some());
        if !open().any(alternatives) {
            return None;
        }
        let rate = |id: &NodeId| {
            let found = self.found.get(id)?;
            Some(open().zip(&found.allocations).map(|(claim, allocation)| preference(claim, allocation)).sum())
        };
        Some(nodes.iter().map(|id| rate(id).unwrap_or(0)).collect())
    }

    /// What has to be written before the pod is bound to the node.
    pub(in crate::scheduler) fn plan(&self, pod: &PodInfo, node: NodeId) -> Plan {
        let mut plan = Plan { all: self.all.iter().map(|claim| claim.key()).collect(), ..Plan::default() };
        let found = self.found.get(&node);
        let mut allocations = found.iter().flat_map(|found| found.allocations.iter().cloned());
        for claim in &self.all {
            let allocation = if claim.allocation.is_none() { allocations.next() } else { None };
            if allocation.is_some() || !claim.is_reserved_for(&pod.uid) {
                plan.claims.push((claim.clone(), allocation));
            }
        }
        if let Some(found) = found
            && let Some(claim) = &found.extended
        {
            plan.claims.push((claim.clone(), allocations.next()));
            plan.mappings.clone_from(&found.mappings);
        }
        plan
    }

    /// What could help after no node was found.
    pub(in crate::scheduler) fn cure(&self, pod: &PodInfo) -> Cure {
        if self.all.is_empty() && self.extended.is_none() {
            return Cure::None;
        }
        let mut idle = self.unavailable.iter().map(|index| &self.all[*index]);
        if let Some(claim) = idle.find(|claim| claim.is_idle_for(&pod.uid)) {
            return Cure::Free(claim.clone());
        }
        match self.extended.as_ref().filter(|claim| !claim.is_unwritten()) {
            Some(claim) => Cure::Delete(claim.clone()),
            None => Cure::Nothing,
        }
    }
}

/// The extended resources of the pod that devices stand for, with the classes of those.
fn backed<'a>(pod: &'a PodInfo, devices: &'a Devices) -> impl Iterator<Item = (&'a str, &'a str)> {
    let scalars =
        pod.shape.requests.scalars.iter().filter(|(name, amount)| **amount != 0 && Devices::may_stand_for(name));
    scalars.filter_map(|(name, _)| Some((name.as_str(), devices.class_of(name)?)))
}

/// Whether the request is of a kind that is known; fails if its class does not exist.
fn known(request: &DeviceRequest, devices: &Devices) -> Result<bool, String> {
    let check = |name: &str, class: &str| {
        if devices.has_class(class) {
            Ok(())
        } else {
            Err(format!("request {name}: device class {class} does not exist"))
        }
    };
    if let Some(exactly) = &request.exactly {
        check(&request.name, &exactly.device_class_name)?;
        return Ok(true);
    }
    let alternatives = request.first_available.as_deref().unwrap_or_default();
    for one in alternatives {
        check(&format!("{}/{}", request.name, one.name), &one.device_class_name)?;
    }
    Ok(!alternatives.is_empty())
}

fn preference(claim: &Claim, allocation: &AllocationResult) -> i64 {
    let results = || allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    let mut score = 0;
    for request in claim.spec.requests.iter().flatten() {
        for (place, one) in (0..).zip(request.first_available.iter().flatten()) {
            let name = format!("{}/{}", request.name, one.name);
            score += if results().any(|result| result.request == name) { ALTERNATIVES - place } else { 0 };
        }
    }
    score
}
