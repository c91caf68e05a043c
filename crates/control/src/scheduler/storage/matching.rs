//! Which volumes suit which claims, and where.
//!
//! Invariant: the smallest volume that suits is taken, the smallest claim first, so that large volumes are left for
//! claims that need them (upstream `FindMatchingVolume`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::TopologySelectorTerm;

use super::{Claim, Disk, Storage};
use crate::plan::labels::{self, Labels};
use crate::plan::node_selector;
use crate::scheduler::node::NodeFacts;

/// What has to be written before a pod can be bound to a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Volumes that become those of claims.
    pub(in crate::scheduler) bind: Vec<(Arc<Disk>, Arc<Claim>)>,
    /// Claims that are to be provisioned for the node.
    pub(in crate::scheduler) provision: Vec<Arc<Claim>>,
}

impl Plan {
    pub(in crate::scheduler) fn is_empty(&self) -> bool {
        self.bind.is_empty() && self.provision.is_empty()
    }
}

/// Whether the volume can be used on the node.
pub(in crate::scheduler) fn allows(disk: &Disk, node: &NodeFacts) -> bool {
    disk.required.as_ref().is_none_or(|required| node_selector::any_term_matches(required, &node.name, &node.labels))
}

/// Whether one of the terms matches; no terms at all match everything.
fn topology_allows(terms: &[TopologySelectorTerm], labels: &Labels) -> bool {
    let matches = |term: &TopologySelectorTerm| {
        let expressions = term.match_label_expressions.as_deref().unwrap_or(&[]);
        !expressions.is_empty()
            && expressions.iter().all(|one| labels.get(&one.key).is_some_and(|value| one.values.contains(value)))
    };
    terms.is_empty() || terms.iter().any(matches)
}

impl Disk {
    /// Whether the volume is reserved for the claim, by name at least.
    fn is_for(&self, claim: &Claim) -> bool {
        self.holder.as_ref().is_some_and(|holder| {
            holder.name == claim.name
                && holder.namespace == claim.namespace
                && (holder.uid.is_empty() || holder.uid == claim.uid)
        })
    }

    fn suits(&self, claim: &Claim) -> bool {
        (self.holder.is_none() || self.is_for(claim))
            && self.size >= claim.size
            && self.block == claim.block
            && self.attributes == claim.attributes
            && !self.deleting
    }
}

impl Storage {
    /// The volume that the claim would get on the node; reserved ones first.
    fn find(&self, claim: &Claim, node: &NodeFacts, taken: &[(Arc<Disk>, Arc<Claim>)]) -> Option<Arc<Disk>> {
        let mut smallest: Option<&Arc<Disk>> = None;
        let free = |disk: &&Arc<Disk>| !taken.iter().any(|(other, _)| other.name == disk.name);
        for disk in self.disks().filter(free).filter(|disk| disk.class == claim.class && disk.suits(claim)) {
            if disk.is_for(claim) {
                return allows(disk, node).then(|| disk.clone());
            }
            let good = disk.available
                && claim.selector.as_ref().is_none_or(|selector| labels::matches(selector, &disk.labels))
                && allows(disk, node)
                && claim.modes.iter().all(|mode| disk.modes.contains(mode));
            if good && smallest.is_none_or(|known| known.size > disk.size) {
                smallest = Some(disk);
            }
        }
        smallest.cloned()
    }

    /// Finds volumes for the claims on the node, and says which have to be provisioned.
    pub(in crate::scheduler) fn search(&self, claims: &[Arc<Claim>], node: &NodeFacts) -> Plan {
        let mut plan = Plan::default();
        let mut sorted: Vec<&Arc<Claim>> = claims.iter().collect();
        sorted.sort_by_key(|claim| claim.size);
        for claim in sorted {
            match self.find(claim, node, &plan.bind) {
                Some(disk) => plan.bind.push((disk, claim.clone())),
                None => plan.provision.push(claim.clone()),
            }
        }
        plan
    }

    /// Whether a volume for the claim can be provisioned for the node; `Err` when only room is missing.
    pub(in crate::scheduler) fn provisions(&self, claim: &Claim, node: &NodeFacts) -> Result<bool, NoRoom> {
        let Some(class) = self.class(&claim.class) else { return Ok(false) };
        if matches!(class.provisioner.as_str(), "" | "kubernetes.io/no-provisioner")
            || !topology_allows(&class.topologies, &node.labels)
        {
            return Ok(false);
        }
        if self.drivers.get(&class.provisioner) != Some(&true) || claim.size == 0 {
            return Ok(true);
        }
        let enough = self.rooms.values().any(|room| {
            room.class == claim.class
                && room.limit.is_some_and(|limit| limit >= claim.size)
                && room.topology.as_ref().is_some_and(|topology| labels::matches(topology, &node.labels))
        });
        if enough { Ok(true) } else { Err(NoRoom) }
    }
}

/// No capacity that the driver told of is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scheduler) struct NoRoom;
