//! One pod, and what has been found out about it in this decision.
//!
//! Invariant: [`Cycle::shift`] with the opposite sign undoes itself, so that preemption can try without copying. Whether
//! a plugin takes part is decided once, before any node is looked at.

use super::cache::{Cache, HOSTNAME, ZONE};
use super::devices::{self, Devices};
use super::facts::Facts;
use super::names::{Plugin, Plugins};
use super::node::{NodeId, NodeInfo};
use super::nominated::Nominated;
use super::plugins::devices::{Claims, Cure, Trouble};
use super::plugins::{Early, Refusal, Verdict, affinity, allocation, basic, images, normalise, spread, volumes};
use super::pod::{PodInfo, Shape};
use super::profile::Profile;
use super::storage::{Plan, Storage};
use super::world::Clock;

/// What a decision is made on.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) cache: &'a Cache,
    pub(super) facts: &'a Facts,
    pub(super) storage: &'a Storage,
    pub(super) devices: &'a Devices,
    pub(super) clock: Clock,
    pub(super) nominated: &'a Nominated,
    pub(super) profile: &'a Profile,
}

/// The topology keys a decision about pods of this shape may need.
pub(super) fn topology_keys<'a>(shape: &'a Shape, profile: &'a Profile) -> impl Iterator<Item = &'a str> {
    let own = shape.ask.constraints.iter().chain(&profile.spreading.constraints);
    let terms = shape.terms.iter().flat_map(|terms| terms.keys());
    own.map(|one| one.topology_key.as_str()).chain(terms).chain([HOSTNAME, ZONE])
}

/// A decision under way.
#[derive(Debug)]
pub(super) struct Cycle<'a> {
    pub(super) view: View<'a>,
    pub(super) pod: &'a PodInfo,
    /// The filters that have something to look at.
    filters: Vec<Plugin>,
    spread: Option<spread::Hard<'a>>,
    required: Option<affinity::Required<'a>>,
    volumes: volumes::Volumes,
    claims: Claims,
    /// Why no node can be judged, once that is so.
    pub(super) failed: Option<String>,
}

/// What became of the look before the nodes.
#[derive(Debug)]
pub(super) enum Start {
    /// Look at these nodes, or at all. The plugins that chose them.
    Nodes(Option<Vec<NodeId>>, Plugins),
    Refused(Refusal),
    Failed(String),
}

impl<'a> Cycle<'a> {
    pub(super) fn new(view: View<'a>, pod: &'a PodInfo) -> Self {
        Self {
            view,
            pod,
            filters: Vec::new(),
            spread: None,
            required: None,
            volumes: volumes::Volumes::default(),
            claims: Claims::default(),
            failed: None,
        }
    }

    /// Asks every plugin what there is to look at.
    pub(super) fn start(&mut self) -> Start {
        let mut skipped = Plugins::default();
        let mut chosen: Option<Vec<NodeId>> = None;
        let mut choosers = Plugins::default();
        for plugin in &self.view.profile.pre_filters {
            match self.early(*plugin) {
                Early::Skip => skipped.insert(*plugin),
                Early::Go => {}
                Early::Refuse(refusal) => return Start::Refused(refusal),
                Early::Fail(message) => return Start::Failed(message),
            }
            if *plugin == Plugin::NodeAffinity
                && let Some(names) = basic::named_nodes(self.pod.ask())
            {
                if names.is_empty() {
                    return Start::Refused(Refusal::final_(*plugin, "pod affinity terms conflict"));
                }
                choosers.insert(*plugin);
                let known = names.iter().filter_map(|name| self.view.cache.named(name));
                chosen = Some(known.map(|info| info.id).collect());
            }
        }
        let filters = self.view.profile.filters.iter().copied();
        self.filters = filters.filter(|plugin| !skipped.has(*plugin)).collect();
        Start::Nodes(chosen, choosers)
    }

    fn early(&mut self, plugin: Plugin) -> Early {
        let View { cache, facts, storage, profile, .. } = self.view;
        let (pod, ask) = (self.pod, self.pod.ask());
        let go = |needed: bool| if needed { Early::Go } else { Early::Skip };
        match plugin {
            Plugin::NodeAffinity => {
                go(ask.selector.is_some() || ask.required.is_some() || profile.added.required.is_some())
            }
            Plugin::NodePorts => go(!pod.shape.ports.is_empty()),
            Plugin::DynamicResources => self.claims.start(pod, self.view.devices),
            Plugin::NodeDeclaredFeatures => go(!ask.features.is_empty()),
            Plugin::VolumeRestrictions => self.volumes.restrictions(pod, storage, cache),
            Plugin::NodeVolumeLimits => go(pod.claims().next().is_some()),
            Plugin::VolumeBinding => self.volumes.claims(pod, storage),
            Plugin::VolumeZone => self.volumes.zones(pod, storage),
            Plugin::PodTopologySpread => {
                self.spread = spread::Hard::new(pod, &profile.spreading, facts, cache);
                go(self.spread.is_some())
            }
            Plugin::InterPodAffinity => {
                self.required = affinity::Required::new(pod, facts, cache);
                go(self.required.is_some())
            }
            _ => Early::Go,
        }
    }

    /// Whether the node will do, also with the pods for which room is being made there.
    pub(super) fn check(&mut self, node: &NodeInfo) -> Verdict {
        if !self.view.nominated.is_empty() {
            let rivals = self.view.nominated.on(node.name());
            let rivals: Vec<_> = rivals
                .iter()
                .filter(|rival| rival.priority() >= self.pod.priority() && rival.uid != self.pod.uid)
                .cloned()
                .collect();
            if !rivals.is_empty() {
                let mut crowded = node.clone();
                for rival in &rivals {
                    crowded.add(rival.clone());
                    self.shift(rival, &crowded, 1);
                }
                let verdict = self.filter(&crowded);
                rivals.iter().for_each(|rival| self.shift(rival, &crowded, -1));
                verdict?;
            }
        }
        self.filter(node)
    }

    fn filter(&mut self, node: &NodeInfo) -> Verdict {
        (0..self.filters.len()).try_for_each(|index| self.apply(self.filters[index], node))
    }

    fn apply(&mut self, plugin: Plugin, node: &NodeInfo) -> Verdict {
        let View { cache, facts, storage, devices, profile, .. } = self.view;
        let (pod, ask, known) = (self.pod, self.pod.ask(), node.known());
        match plugin {
            Plugin::NodeUnschedulable => basic::unschedulable(ask, known),
            Plugin::NodeName => basic::node_name(pod, known),
            Plugin::TaintToleration => basic::tainted(ask, known),
            Plugin::NodeAffinity => basic::node_affinity(ask, profile.added.required.as_ref(), known),
            Plugin::NodePorts => basic::ports(pod, node),
            Plugin::NodeResourcesFit => allocation::fits(pod, &profile.fit, devices, node),
            Plugin::DynamicResources => self.devices(node),
            Plugin::NodeDeclaredFeatures => basic::features(ask, known),
            Plugin::VolumeRestrictions => self.volumes.restricted(pod, node),
            Plugin::NodeVolumeLimits => volumes::limited(pod, storage, node),
            Plugin::VolumeBinding => self.volumes.binds(storage, known),
            Plugin::VolumeZone => self.volumes.in_zone(known),
            Plugin::PodTopologySpread => self.spread.as_ref().map_or(Ok(()), |spread| spread.check(node.id, cache)),
            Plugin::InterPodAffinity => {
                self.required.as_ref().map_or(Ok(()), |required| required.check(pod, node.id, facts, cache))
            }
            _ => Ok(()),
        }
    }

    fn devices(&mut self, node: &NodeInfo) -> Verdict {
        let View { devices, profile, clock, .. } = self.view;
        match self.claims.check(self.pod, devices, node, &profile.allocating, clock.0) {
            Ok(()) => Ok(()),
            Err(Trouble::Refused(refusal)) => Err(refusal),
            Err(Trouble::Failed(why)) => {
                self.failed = Some(why);
                Err(Refusal::final_(Plugin::DynamicResources, ""))
            }
        }
    }

    /// Counts a pod in (1) or out (-1) on the node, for the sake of argument.
    pub(super) fn shift(&mut self, other: &PodInfo, node: &NodeInfo, by: i64) {
        let View { cache, facts, .. } = self.view;
        if let Some(spread) = &mut self.spread {
            spread.shift(self.pod, other, node, cache, by);
        }
        if let Some(required) = &mut self.required {
            required.shift(self.pod, other, node.id, facts, cache, by);
        }
        self.volumes.shift(other, by);
    }

    /// What has to be written about volumes before the pod is bound to the node.
    pub(super) fn plan(&self, node: NodeId) -> Plan {
        let View { cache, storage, profile, .. } = self.view;
        if !profile.pre_bind.has(Plugin::VolumeBinding) {
            return Plan::default();
        }
        self.volumes.plan(storage, cache.node(node).known()).unwrap_or_default()
    }

    /// What has to be written about claims of devices before the pod is bound to the node.
    pub(super) fn device_plan(&self, node: NodeId) -> devices::Plan {
        if !self.filters.contains(&Plugin::DynamicResources)
            || !self.view.profile.pre_bind.has(Plugin::DynamicResources)
        {
            return devices::Plan::default();
        }
        self.claims.plan(self.pod, node)
    }

    /// What could be done about the pod's claims.
    pub(super) fn cure(&self) -> Cure {
        self.claims.cure(self.pod)
    }

    /// The scores of feasible nodes, weighted and summed.
    pub(super) fn scores(&self, nodes: &[NodeId]) -> Vec<i64> {
        let mut totals = vec![0; nodes.len()];
        for (plugin, weight) in &self.view.profile.scores {
            if let Some(scores) = self.rate(*plugin, nodes) {
                totals.iter_mut().zip(scores).for_each(|(total, score)| *total += score * weight);
            }
        }
        totals
    }

    /// What one plugin thinks of the nodes, normalised; `None` when it thinks the same of all.
    fn rate(&self, plugin: Plugin, nodes: &[NodeId]) -> Option<Vec<i64>> {
        let View { cache, facts, profile, .. } = self.view;
        let (pod, ask) = (self.pod, self.pod.ask());
        let each = |rate: &dyn Fn(&NodeInfo) -> i64| nodes.iter().map(|id| rate(cache.node(*id))).collect::<Vec<i64>>();
        match plugin {
            Plugin::TaintToleration => {
                if !cache.has_disliked_nodes() {
                    return None;
                }
                let mut scores = each(&|node| basic::dislikes(ask, node.known()));
                normalise(&mut scores, true);
                Some(scores)
            }
            Plugin::NodeAffinity => {
                if ask.preferred.is_empty() && profile.added.preferred.is_empty() {
                    return None;
                }
                let added = &profile.added.preferred;
                let mut scores = each(&|node| {
                    basic::preference(added, node.known()) + basic::preference(&ask.preferred, node.known())
                });
                normalise(&mut scores, false);
                Some(scores)
            }
            Plugin::NodeResourcesFit => {
                let adds = allocation::rated(&profile.fit.resources, &ask.score);
                Some(each(&|node| allocation::rate(&profile.fit, &adds, node)))
            }
            Plugin::NodeResourcesBalancedAllocation => {
                let adds = allocation::rated(&profile.balanced, &pod.shape.requests);
                if adds.iter().all(|amount| *amount == 0) {
                    return None;
                }
                Some(each(&|node| allocation::balance(&profile.balanced, &adds, node)))
            }
            Plugin::ImageLocality => {
                let wanted = images::wanted(ask, cache);
                Some(each(&|node| images::rate(&wanted, node)))
            }
            Plugin::PodTopologySpread => {
                let soft = spread::Soft::new(pod, &profile.spreading, facts, cache, nodes)?;
                let raw: Vec<Option<i64>> = nodes.iter().map(|id| soft.rate(*id)).collect();
                Some(spread::Soft::normalise(&raw))
            }
            Plugin::InterPodAffinity => {
                let liked = affinity::Liked::new(pod, &profile.mutual, facts, cache)?;
                let mut scores = each(&|node| liked.rate(node.id));
                affinity::Liked::normalise(&mut scores);
                Some(scores)
            }
            Plugin::DynamicResources => {
                let mut scores = self.claims.rate(nodes)?;
                normalise(&mut scores, false);
                Some(scores)
            }
            _ => None,
        }
    }
}
