//! Devices: which there are, who has them, and who could (KEP-4381, `DynamicResources`).
//!
//! Invariant: devices that a decision gave away are used from that moment on, until the API shows the claim with them or
//! the decision is taken back. So no two decisions give one device.
//! In reading order: `slice` and `pool` (what there is), `used` (what is taken), `claim` and `request` (what is wanted),
//! `search` with `constraint` and `capacity` (the choice), `result` (what is written).
//! Where upstream's search contradicts the API it serves, the API is followed: `distinctAttribute` holds over all devices of
//! a request, shared devices use up counters as others do, access for administrators uses up none, and an older generation
//! of a pool is not used on nodes for which the newer one has nothing.
//! What is off by default in 1.36 is not done: taints by rules, attributes that are lists, claims of pod groups.

mod capacity;
mod claim;
mod constraint;
mod extended;
mod pool;
mod request;
mod result;
mod search;
mod slice;
mod used;

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ContainerExtendedResourceRequest;
use k8s_openapi::api::resource::v1::{AllocationResult, DeviceClaim, DeviceClassSpec};

use super::node::NodeFacts;
use super::pod::PodInfo;
pub(super) use claim::{Claim, ClaimKey, Made, Wish};
pub(super) use extended::{Asking, Extended};
pub(super) use request::Want;
use request::{Class, Selectors, Stock};
pub(super) use search::Stop;
pub(super) use slice::Slice;
use slice::Slices;
use used::Used;

/// What extended resources are called that are there for each class.
const CLASS_PREFIX: &str = "deviceclass.resource.kubernetes.io/";

/// Devices that were given away, and the API does not say so yet.
#[derive(Debug)]
struct Pending {
    allocation: Arc<AllocationResult>,
    /// The version of the claim that says so, once it was written.
    written: Option<u64>,
}

/// All that is known of devices.
#[derive(Debug, Default)]
pub(super) struct Devices {
    claims: HashMap<ClaimKey, Arc<Claim>>,
    /// Those that stand for extended resources, by the uid of their pod.
    extended: HashMap<String, ClaimKey>,
    classes: HashMap<String, Arc<Class>>,
    /// By extended resource, of those that classes name.
    by_resource: HashMap<String, Arc<Class>>,
    slices: Slices,
    used: Used,
    /// By the uid of the claim.
    pending: HashMap<String, Pending>,
    selectors: Selectors,
}

/// What has to be written about claims before a pod is bound.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Claims that are not reserved for the pod yet, and the devices they get if they have none.
    pub(super) claims: Vec<(Arc<Claim>, Option<Arc<AllocationResult>>)>,
    /// All claims of the pod, whose devices must be ready.
    pub(super) all: Vec<ClaimKey>,
    /// Which container's extended resource each request of the claim for those stands for.
    pub(super) mappings: Vec<ContainerExtendedResourceRequest>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.claims.is_empty()
    }

    /// Gives what needs chance its value: the numbers of shares, and a provisional uid for a claim that has none.
    pub(super) fn number(&mut self, mut chance: impl FnMut() -> u64) {
        for (claim, allocation) in &mut self.claims {
            if let Some(allocation) = allocation {
                result::number(Arc::make_mut(allocation), &mut chance);
            }
            if claim.uid.is_empty() {
                Arc::make_mut(claim).uid = result::uid(chance(), chance());
            }
        }
    }
}

impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        let gets = |plan: &Self| {
            plan.claims.iter().map(|(claim, allocation)| (claim.key(), allocation.clone())).collect::<Vec<_>>()
        };
        gets(self) == gets(other) && self.all == other.all && self.mappings == other.mappings
    }
}

fn version(claim: &Claim) -> u64 {
    claim.version.parse().unwrap_or(0)
}

/// What the API shows.
impl Devices {
    /// A claim appeared or changed. Gives what was known of it.
    pub(super) fn put_claim(&mut self, claim: Claim) -> Option<Arc<Claim>> {
        let claim = Arc::new(claim);
        if let Some(allocation) = &claim.allocation {
            self.used.add(allocation);
        }
        let shown = |pending: &Pending| {
            claim.allocation.is_some() || pending.written.is_some_and(|written| version(&claim) >= written)
        };
        if self.pending.get(&claim.uid).is_some_and(shown) {
            self.release(&claim.uid);
        }
        if let Some(pod) = claim.controller.as_ref().filter(|_| claim.extended) {
            self.extended.insert(pod.clone(), claim.key());
        }
        let old = self.claims.insert(claim.key(), claim);
        if let Some(allocation) = old.as_ref().and_then(|old| old.allocation.as_ref()) {
            self.used.remove(allocation);
        }
        old
    }

    pub(super) fn remove_claim(&mut self, namespace: &str, name: &str) {
        let Some(old) = self.claims.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        self.release(&old.uid);
        if let Some(allocation) = &old.allocation {
            self.used.remove(allocation);
        }
        if let Some(pod) = old.controller.as_ref().filter(|pod| self.extended.get(*pod) == Some(&old.key())) {
            self.extended.remove(pod);
        }
    }

    pub(super) fn put_slice(&mut self, slice: Slice) {
        self.slices.put(slice);
    }

    pub(super) fn remove_slice(&mut self, name: &str) {
        self.slices.remove(name);
    }

    /// A class appeared, changed or is gone. Gives the extended resource it was for before.
    pub(super) fn put_class(
        &mut self,
        name: &str,
        class: Option<(DeviceClassSpec, Option<jiff::Timestamp>)>,
    ) -> Option<Option<String>> {
        let old = match class {
            Some((spec, created)) => {
                self.classes.insert(name.to_owned(), Arc::new(Class { name: name.to_owned(), created, spec }))
            }
            None => self.classes.remove(name),
        };
        self.by_resource.clear();
        // of several classes for one resource the newest counts, then the first by name
        let mut classes: Vec<&Arc<Class>> = self.classes.values().collect();
        classes.sort_by(|one, other| one.created.cmp(&other.created).then_with(|| other.name.cmp(&one.name)));
        for class in classes {
            if let Some(resource) = &class.spec.extended_resource_name {
                self.by_resource.insert(resource.clone(), class.clone());
            }
        }
        old.map(|old| old.spec.extended_resource_name.clone())
    }
}

/// What decisions ask.
impl Devices {
    pub(super) fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<Claim>> {
        self.claims.get(&(namespace.to_owned(), name.to_owned()))
    }

    pub(super) fn has_class(&self, name: &str) -> bool {
        self.classes.contains_key(name)
    }

    /// The class that stands for an extended resource, if there is one.
    pub(super) fn class_of(&self, resource: &str) -> Option<&str> {
        let class = match resource.strip_prefix(CLASS_PREFIX) {
            Some(name) => self.classes.get(name),
            None => self.by_resource.get(resource),
        };
        class.map(|class| class.name.as_str())
    }

    /// The extended resource that every class stands for.
    pub(super) fn resource_of(class: &str) -> String {
        format!("{CLASS_PREFIX}{class}")
    }

    /// Whether devices could stand for the resource.
    pub(super) fn may_stand_for(resource: &str) -> bool {
        resource.starts_with(CLASS_PREFIX) || super::resources::is_extended(resource)
    }

    /// Whether a decision gave the claim devices that the API does not show yet.
    pub(super) fn is_pending(&self, uid: &str) -> bool {
        self.pending.contains_key(uid)
    }

    /// The claims of a pod, in the order of its spec; none of those it turned out not to need.
    ///
    /// # Errors
    /// When one of them is not there, or not the pod's to use.
    pub(super) fn of_pod(&self, pod: &PodInfo) -> Result<Vec<Arc<Claim>>, String> {
        let mut claims = Vec::new();
        for wish in &pod.ask().claims {
            let (name, made) = match &wish.claim {
                Some(name) => (name, false),
                None => match pod.made.iter().flat_map(|made| made.iter()).find(|(one, _)| *one == wish.name) {
                    None => return Err(claim::not_made(pod)),
                    Some((_, None)) => continue,
                    Some((_, Some(name))) => (name, true),
                },
            };
            let key = &pod.key;
            let Some(claim) = self.claim(&key.namespace, name) else {
                return Err(format!("could not find ResourceClaim \"{}/{name}\"", key.namespace));
            };
            if claim.deleting {
                return Err(format!("resourceclaim {name:?} is being deleted"));
            }
            if made && claim.controller.as_deref() != Some(&*pod.uid) {
                let claim = claim.full_name();
                return Err(format!("ResourceClaim {claim} was not created for Pod {key} (Pod is not owner)"));
            }
            claims.push(claim.clone());
        }
        Ok(claims)
    }

    /// The claim that was written for the pod's extended resources.
    pub(super) fn extended_of(&self, pod: &PodInfo) -> Option<&Arc<Claim>> {
        self.claims.get(self.extended.get(&*pod.uid)?)
    }

    /// Reads what a claim wants.
    ///
    /// # Errors
    /// When that cannot be had from anywhere.
    pub(super) fn want(&self, claim: &Claim, spec: &Arc<DeviceClaim>) -> Result<Want, String> {
        let stock = Stock { classes: &self.classes, selectors: &self.selectors };
        Want::read(claim.full_name(), spec, &stock)
    }

    /// Devices for all of `wants` on the node; none when there are not enough.
    ///
    /// # Errors
    /// When that cannot be told; `late` says when to give up.
    pub(super) fn allocate(
        &self,
        wants: &[Want],
        node: &NodeFacts,
        late: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Arc<AllocationResult>>>, Stop> {
        let pools = pool::gather(&self.slices, node);
        let found = search::search(wants, &pools, &self.used, node, late)?;
        Ok(found.map(|given| {
            let each = wants.iter().zip(&given);
            each.map(|(want, given)| Arc::new(result::result(want, given, &node.name))).collect()
        }))
    }
}

/// What decisions change.
impl Devices {
    /// From now on the plan's devices are used.
    pub(super) fn assume(&mut self, plan: &Plan) {
        for (claim, allocation) in &plan.claims {
            if let Some(allocation) = allocation {
                self.used.add(allocation);
                let pending = Pending { allocation: allocation.clone(), written: None };
                if let Some(before) = self.pending.insert(claim.uid.clone(), pending) {
                    self.used.remove(&before.allocation);
                }
            }
        }
    }

    /// The devices of a claim were written; `key` and `uid` are those it has now. They stay used until the API shows that.
    pub(super) fn written(&mut self, provisional: &str, key: &ClaimKey, uid: &str, written: u64) {
        let Some(mut pending) = self.pending.remove(provisional) else { return };
        pending.written = Some(written);
        self.pending.insert(uid.to_owned(), pending);
        let shown = self.claims.get(key).filter(|claim| claim.uid == uid);
        if shown.is_some_and(|claim| claim.allocation.is_some() || version(claim) >= written) {
            self.release(uid);
        }
    }

    /// What a decision gave the claim is not given. True when that was so.
    pub(super) fn release(&mut self, uid: &str) -> bool {
        let Some(pending) = self.pending.remove(uid) else { return false };
        self.used.remove(&pending.allocation);
        true
    }
}

#[cfg(test)]
mod tests;
