//! One decision: which node, or why none.
//!
//! Invariant: pure. The same pod, world and [`Turn`] give the same answer; randomness and where the search starts are in
//! the turn. What is wrong is said in upstream's words (`FitError`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::cycle::{self, Cycle, Start, View};
use super::devices;
use super::names::{Plugin, Plugins};
use super::node::NodeId;
use super::nominated::Nominate;
use super::plugins::Refusal;
use super::plugins::devices::Cure;
use super::pod::PodInfo;
use super::preempt;
use super::storage::Plan;
use super::world::World;

/// What to do with a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Bind it to this node, when its volumes and devices are ready.
    Bind { node: Arc<str>, volumes: Plan, devices: devices::Plan },
    /// No node is good; perhaps room is to be made.
    Refused(Diagnosis),
    /// Something went wrong that has nothing to do with the nodes.
    Failed(String),
}

/// Why no node was good, and what to do about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// For people.
    pub message: String,
    /// The plugins that refused a node; a change they care about is worth another try.
    pub plugins: Plugins,
    pub(super) nominate: Nominate,
    /// Pods to evict.
    pub(super) victims: Vec<Arc<PodInfo>>,
    /// What to do about a claim of devices.
    pub(super) cure: Cure,
}

/// Where the next search starts, and the source of chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    seed: u64,
    start: usize,
}

impl Turn {
    /// A first turn.
    pub fn new(seed: u64) -> Self {
        Self { seed, start: 0 }
    }

    /// The next number by chance (splitmix64).
    pub(super) fn chance(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// What every node said.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    /// Each node once; by number when the search is over.
    refused: Vec<(NodeId, Refusal)>,
    /// The reason of those that were not looked at.
    absent: Option<Cow<'static, str>>,
    plugins: Plugins,
}

impl Statuses {
    fn put(&mut self, node: NodeId, refusal: Refusal) {
        // only the nominated node, which is looked at first, is looked at again
        if self.refused.first().is_none_or(|(first, _)| *first != node) {
            self.plugins.insert(refusal.plugin);
            self.refused.push((node, refusal));
        }
    }

    fn sort(&mut self) {
        self.refused.sort_unstable_by_key(|(node, _)| *node);
    }

    pub(super) fn of(&self, node: NodeId) -> Option<&Refusal> {
        let place = self.refused.binary_search_by_key(&node, |(node, _)| *node).ok()?;
        Some(&self.refused[place].1)
    }

    /// The nodes where evicting pods could help.
    pub(super) fn curable(&self) -> Vec<NodeId> {
        self.refused.iter().filter(|(_, refusal)| refusal.curable).map(|(node, _)| *node).collect()
    }

    fn reasons(&self, total: usize) -> BTreeMap<&str, usize> {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in self.refused.iter().flat_map(|(_, refusal)| &refusal.reasons) {
            *reasons.entry(reason).or_insert(0) += 1;
        }
        let unseen = total.saturating_sub(self.refused.len());
        if let Some(reason) = self.absent.as_ref().filter(|_| unseen > 0) {
            *reasons.entry(reason).or_insert(0) += unseen;
        }
        reasons
    }
}

/// Counts and reasons as upstream prints them: sorted as text, numbers included.
pub(super) fn unavailable(total: usize, reasons: &BTreeMap<&str, usize>) -> String {
    let mut parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    let mut message = format!("0/{total} nodes are available:");
    if !parts.is_empty() {
        write!(message, " {}.", parts.join(", ")).expect("invariant: writing to a string cannot fail");
    }
    message
}

/// Finds the best node for the pod.
pub fn decide(world: &mut World, pod: &PodInfo, turn: &mut Turn) -> Decision {
    let Some(profile) = world.profiles.get(&pod.ask().scheduler).cloned() else {
        let name = &pod.ask().scheduler;
        return Decision::Failed(format!("profile not found for scheduler name {name:?}"));
    };
    world.cache.prepare(cycle::topology_keys(&pod.shape, &profile));
    if world.cache.is_empty() {
        return Decision::Refused(Diagnosis {
            message: "no nodes available to schedule pods".to_owned(),
            plugins: Plugins::default(),
            nominate: Nominate::Set(None),
            victims: Vec::new(),
            cure: Cure::None,
        });
    }
    let view = View {
        cache: &world.cache,
        facts: &world.facts,
        storage: &world.storage,
        devices: &world.devices,
        clock: world.clock,
        nominated: &world.nominated,
        profile: &profile,
    };
    let mut cycle = Cycle::new(view, pod);
    let (chosen, choosers) = match cycle.start() {
        Start::Nodes(chosen, choosers) => (chosen, choosers),
        Start::Refused(refusal) => return Decision::Refused(refused_early(&mut cycle, refusal, turn)),
        Start::Failed(message) => return Decision::Failed(message),
    };
    let mut statuses = Statuses { plugins: choosers, ..Statuses::default() };
    let feasible = find(&mut cycle, chosen, choosers, &mut statuses, turn);
    if let Some(why) = cycle.failed.take() {
        return Decision::Failed(why);
    }
    match feasible.as_slice() {
        [] => Decision::Refused(diagnose(&mut cycle, &statuses, turn)),
        [node] => bind(&cycle, *node, turn),
        nodes => {
            let scores = cycle.scores(nodes);
            let best = nodes.iter().zip(scores).max_by_key(|(_, score)| (*score, turn.chance()));
            let (node, _) = best.expect("invariant: there are two nodes at least");
            bind(&cycle, *node, turn)
        }
    }
}

fn bind(cycle: &Cycle<'_>, node: NodeId, turn: &mut Turn) -> Decision {
    let mut devices = cycle.device_plan(node);
    devices.number(|| turn.chance());
    Decision::Bind { node: cycle.view.cache.node(node).name().clone(), volumes: cycle.plan(node), devices }
}

/// The nodes that will do, not more than are enough.
fn find(
    cycle: &mut Cycle<'_>,
    chosen: Option<Vec<NodeId>>,
    choosers: Plugins,
    statuses: &mut Statuses,
    turn: &mut Turn,
) -> Vec<NodeId> {
    let cache = cycle.view.cache;
    if let Some(node) = cycle.pod.nominated.as_ref().and_then(|name| cache.named(name)) {
        match cycle.check(node) {
            Ok(()) => return vec![node.id],
            Err(refusal) => statuses.put(node.id, refusal),
        }
    }
    if chosen.is_some() {
        statuses.absent = Some(format!("node(s) didn't satisfy plugin(s) [{}]", choosers.names().join(" ")).into());
    }
    let nodes: &[NodeId] = chosen.as_deref().unwrap_or_else(|| cache.order());
    let enough = cycle.view.profile.enough(nodes.len());
    let mut feasible = Vec::with_capacity(enough.min(nodes.len()));
    for step in 0..nodes.len() {
        let id = nodes[(turn.start + step) % nodes.len()];
        match cycle.check(cache.node(id)) {
            Ok(()) => feasible.push(id),
            Err(refusal) => statuses.put(id, refusal),
        }
        if feasible.len() >= enough || cycle.failed.is_some() {
            break;
        }
    }
    turn.start = (turn.start + feasible.len() + statuses.refused.len()) % cache.len();
    if feasible.is_empty() {
        statuses.sort();
    }
    feasible
}

/// A plugin refused before any node was looked at.
fn refused_early(cycle: &mut Cycle<'_>, refusal: Refusal, turn: &mut Turn) -> Diagnosis {
    let reasons = refusal.reasons.join(", ");
    let mut diagnosis = Diagnosis {
        message: format!("0/{} nodes are available: {reasons}.", cycle.view.cache.len()),
        plugins: Plugins::only(refusal.plugin),
        nominate: Nominate::Keep,
        victims: Vec::new(),
        cure: Cure::None,
    };
    let profile = cycle.view.profile;
    let place = |plugin: Plugin| profile.pre_filters.iter().position(|one| *one == plugin);
    let looked_up = place(Plugin::DynamicResources) <= place(refusal.plugin);
    if profile.post_filters.contains(&Plugin::DynamicResources) && !looked_up {
        // The claims of the pod were never looked up, and this is how upstream says it.
        diagnosis.message.push_str(" not found");
    } else {
        post_filter(cycle, &Statuses::default(), turn, &mut diagnosis);
    }
    diagnosis
}

fn diagnose(cycle: &mut Cycle<'_>, statuses: &Statuses, turn: &mut Turn) -> Diagnosis {
    let total = cycle.view.cache.len();
    let mut diagnosis = Diagnosis {
        message: unavailable(total, &statuses.reasons(total)),
        plugins: statuses.plugins,
        nominate: Nominate::Keep,
        victims: Vec::new(),
        cure: Cure::None,
    };
    post_filter(cycle, statuses, turn, &mut diagnosis);
    diagnosis
}

/// What can be done about it, by the plugins whose business that is.
fn post_filter(cycle: &mut Cycle<'_>, statuses: &Statuses, turn: &mut Turn, diagnosis: &mut Diagnosis) {
    let profile = cycle.view.profile;
    if profile.post_filters.is_empty() {
        diagnosis.nominate = Nominate::Set(None);
    }
    let mut said: Vec<String> = Vec::new();
    for plugin in &profile.post_filters {
        match plugin {
            Plugin::DynamicResources => {
                diagnosis.cure = cycle.cure();
                let what = match &diagnosis.cure {
                    Cure::None => "no new claims to deallocate",
                    Cure::Free(_) => "deallocation of ResourceClaim completed",
                    Cure::Delete(_) => "deletion of ResourceClaim completed",
                    Cure::Nothing => "still not schedulable",
                };
                said.push(what.to_owned());
            }
            Plugin::DefaultPreemption => match preempt::preempt(cycle, statuses, turn) {
                preempt::Outcome::Evict { node, victims } => {
                    diagnosis.nominate = Nominate::Set(Some(node));
                    diagnosis.victims = victims;
                    return;
                }
                preempt::Outcome::Hopeless { message, clear } => {
                    if clear {
                        diagnosis.nominate = Nominate::Set(None);
                    }
                    said.push(format!("preemption: {message}"));
                }
            },
            _ => {}
        }
    }
    if !said.is_empty() {
        write!(diagnosis.message, " {}", said.join(", ")).expect("invariant: writing to a string cannot fail");
    }
}
