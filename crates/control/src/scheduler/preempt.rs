//! DefaultPreemption: which pods to evict so that a more important one fits.
//!
//! Invariant: pure, and the cycle is left as it was. Victims are less important than the pod; of several nodes the one is
//! taken that breaks the fewest budgets, then by upstream's order (`pickOneNodeForPreemption`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::cycle::Cycle;
use super::decide::{Statuses, Turn, unavailable};
use super::node::{NodeId, NodeInfo};
use super::plugins::Refusal;
use super::pod::PodInfo;

const POINTLESS: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// What the search for victims gave.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Evict these pods from the node, the most important first.
    Evict { node: Arc<str>, victims: Vec<Arc<PodInfo>> },
    /// Nothing can be done, and whether an earlier nomination is void.
    Hopeless { message: String, clear: bool },
}

/// A node and what has to go from it.
#[derive(Debug)]
struct Candidate {
    node: NodeId,
    victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

/// Looks for the node where evicting pods costs least.
pub(super) fn preempt(cycle: &mut Cycle<'_>, statuses: &Statuses, turn: &mut Turn) -> Outcome {
    if let Some(message) = barred(cycle, statuses) {
        return Outcome::Hopeless { message: message.to_owned(), clear: false };
    }
    let cache = cycle.view.cache;
    let potential = statuses.curable();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let candidates = if potential.is_empty() {
        Vec::new()
    } else {
        let offset = usize::try_from(turn.chance() % potential.len() as u64).unwrap_or(0);
        dry_run(cycle, &potential, offset, &mut reasons)
    };
    let Some(best) = pick(candidates) else {
        let told: usize = if potential.is_empty() { 0 } else { potential.len() };
        let unseen = cache.len().saturating_sub(told);
        if unseen > 0 {
            *reasons.entry(POINTLESS.to_owned()).or_insert(0) += unseen;
        }
        let reasons = reasons.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        return Outcome::Hopeless { message: unavailable(cache.len(), &reasons), clear: true };
    };
    Outcome::Evict { node: cache.node(best.node).name().clone(), victims: best.victims }
}

/// Why the pod may not evict others now.
fn barred(cycle: &Cycle<'_>, statuses: &Statuses) -> Option<&'static str> {
    let pod = cycle.pod;
    if pod.ask().never_preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let node = cycle.view.cache.named(pod.nominated.as_ref()?)?;
    if statuses.of(node.id).is_none_or(|refusal| !refusal.curable) {
        return None;
    }
    let leaving = |other: &Arc<PodInfo>| other.priority() < pod.priority() && other.preempted;
    node.pods.iter().any(leaving).then_some("not eligible due to a terminating pod on the nominated node.")
}

/// How many candidates are enough (upstream `calculateNumCandidates`).
fn enough(cycle: &Cycle<'_>, nodes: usize) -> usize {
    let args = cycle.view.profile.preemption;
    let share = i64::try_from(nodes).unwrap_or(i64::MAX / 100) * args.percentage / 100;
    usize::try_from(share.max(args.absolute)).unwrap_or(nodes).min(nodes)
}

fn dry_run(
    cycle: &mut Cycle<'_>,
    potential: &[NodeId],
    offset: usize,
    reasons: &mut BTreeMap<String, usize>,
) -> Vec<Candidate> {
    let enough = enough(cycle, potential.len());
    let (mut harmless, mut harmful) = (Vec::new(), Vec::new());
    for step in 0..potential.len() {
        let id = potential[(offset + step) % potential.len()];
        match victims(cycle, id) {
            Ok(candidate) if candidate.violations == 0 => harmless.push(candidate),
            Ok(candidate) => harmful.push(candidate),
            Err(why) => why.into_iter().for_each(|reason| *reasons.entry(reason).or_insert(0) += 1),
        }
        if !harmless.is_empty() && harmless.len() + harmful.len() >= enough {
            break;
        }
    }
    harmless.append(&mut harmful);
    harmless
}

/// The fewest and least important pods whose absence lets the pod fit, or why that is impossible.
fn victims(cycle: &mut Cycle<'_>, id: NodeId) -> Result<Candidate, Vec<String>> {
    let mut node = cycle.view.cache.node(id).clone();
    let priority = cycle.pod.priority();
    let mut weaker: Vec<Arc<PodInfo>> = node.pods.iter().filter(|pod| pod.priority() < priority).cloned().collect();
    if weaker.is_empty() {
        return Err(vec![NO_VICTIMS.to_owned()]);
    }
    for pod in &weaker {
        take(cycle, &mut node, pod);
    }
    if let Err(refusal) = cycle.check(&node) {
        weaker.iter().for_each(|pod| cycle.shift(pod, &node, 1));
        return Err(texts(refusal));
    }
    weaker.sort_by_key(|pod| (Reverse(pod.priority()), pod.started));
    let violated = cycle.view.facts.violated(weaker.iter().map(|pod| &**pod));
    // Those whose budget would be broken are spared first.
    let (first, second): (Vec<_>, Vec<_>) = weaker.into_iter().zip(violated).partition(|(_, violated)| *violated);
    let mut candidate = Candidate { node: id, victims: Vec::new(), violations: 0 };
    for (pod, violated) in first.into_iter().chain(second) {
        node.add(pod.clone());
        cycle.shift(&pod, &node, 1);
        if cycle.check(&node).is_err() {
            take(cycle, &mut node, &pod);
            candidate.violations += usize::from(violated);
            candidate.victims.push(pod);
        }
    }
    candidate.victims.iter().for_each(|pod| cycle.shift(pod, &node, 1));
    candidate.victims.sort_by_key(|pod| (Reverse(pod.priority()), pod.started));
    if candidate.victims.is_empty() {
        let name = cycle.view.cache.node(id).name();
        return Err(vec![format!("expected at least one victim pod on node {name:?}")]);
    }
    Ok(candidate)
}

fn take(cycle: &mut Cycle<'_>, node: &mut NodeInfo, pod: &PodInfo) {
    node.remove(&pod.uid);
    cycle.shift(pod, node, -1);
}

fn texts(refusal: Refusal) -> Vec<String> {
    refusal.reasons.into_iter().map(std::borrow::Cow::into_owned).collect()
}

/// The candidate that costs least; of equals the one that was found first.
fn pick(candidates: Vec<Candidate>) -> Option<Candidate> {
    const SHIFT: i64 = 1 << 31; // so that many victims never weigh less than one
    let cost = |candidate: &Candidate| {
        let victims = &candidate.victims;
        let highest = victims.first().map_or(0, |pod| pod.priority());
        let sum: i64 = victims.iter().map(|pod| i64::from(pod.priority()) + SHIFT).sum();
        let started = victims.iter().filter(|pod| pod.priority() == highest).map(|pod| pod.started).min();
        (candidate.violations, highest, sum, victims.len(), Reverse(started))
    };
    candidates.into_iter().min_by_key(cost)
}
