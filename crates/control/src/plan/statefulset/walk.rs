//! One pass over the pods of a set, in order of their ordinals.
//!
//! Invariant: with ordered management at most one pod is made or deleted in a pass, and the pass ends at the first pod
//! that is not yet available; with parallel management only a rollout waits (upstream `processReplica`,
//! `processCondemned`, `updateStatefulSet`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::claims::Member;
use super::status::Counts;
use super::{Action, BURST, Purpose, Unit, Work, identity};
use crate::plan::pod::{self, Availability};

/// Whether the pass may go on with the next pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    Stop,
}

impl Work<'_> {
    /// What is to be done; `counts` learns of pods that leave the current revision.
    pub(super) fn phases(&self, counts: &mut Counts) -> Vec<Vec<Unit>> {
        let mut phases = Vec::new();
        let (units, flow) = self.keep();
        phases.push(units);
        if flow == Flow::On {
            phases.push(self.condemned.iter().filter_map(|(ordinal, pod)| self.last_owners(*ordinal, pod)).collect());
            let (units, flow) = self.condemn();
            phases.push(units);
            if flow == Flow::On && self.rolls() {
                phases.push(self.roll(counts).into_iter().collect());
            }
        }
        phases.retain(|units| !units.is_empty());
        phases
    }

    /// The pods that should be there.
    fn keep(&self) -> (Vec<Unit>, Flow) {
        let mut units = Vec::new();
        let mut room = BURST;
        for ordinal in self.ordinals.clone() {
            let (unit, flow) = match self.slots.get(&ordinal) {
                Some(pod) => self.keep_one(ordinal, pod),
                None => self.make(ordinal),
            };
            if unit.as_ref().is_some_and(|unit| unit.purpose == Purpose::Create) {
                room -= 1;
            }
            units.extend(unit);
            if flow == Flow::Stop && !self.parallel {
                return (units, Flow::Stop);
            }
            if room == 0 {
                // The others are made in later passes; those that are there are looked after in this one.
                let rest = self.slots.range(ordinal..).skip_while(|(other, _)| **other == ordinal);
                units.extend(rest.filter_map(|(ordinal, pod)| self.keep_one(*ordinal, pod).0));
                break;
            }
        }
        (units, Flow::On)
    }

    fn keep_one(&self, ordinal: i32, pod: &Arc<Pod>) -> (Option<Unit>, Flow) {
        if pod::is_terminal(pod) { (self.delete(pod), Flow::Stop) } else { self.look_after(ordinal, pod) }
    }

    fn make(&self, ordinal: i32) -> (Option<Unit>, Flow) {
        if self.has_stale_claim(ordinal) {
            return (None, Flow::Stop);
        }
        let mut actions = self.missing_claims(ordinal);
        let (owners, conflicts) = self.claim_owners(&Member { ordinal, pod: None });
        if !refuses(&actions) {
            actions.extend(owners);
            actions.push(Action::CreatePod(Box::new(self.new_pod(ordinal))));
        }
        let unit = Unit { pod: self.pod_name(ordinal), purpose: Purpose::Create, actions, conflicts };
        (Some(unit), Flow::Stop)
    }

    fn delete(&self, pod: &Arc<Pod>) -> Option<Unit> {
        let actions = vec![Action::Delete(Arc::clone(pod))];
        let unit = Unit { pod: pod.name_any(), purpose: Purpose::Delete, actions, conflicts: Vec::new() };
        pod.metadata.deletion_timestamp.is_none().then_some(unit)
    }

    /// A pod that is there: its claims while it is pending, its identity once it may be touched.
    fn look_after(&self, ordinal: i32, pod: &Arc<Pod>) -> (Option<Unit>, Flow) {
        let pending = matches!(pod::phase(pod), "" | "Pending");
        let flow = if self.is_settled(pod) { Flow::On } else { Flow::Stop };
        let reached = flow == Flow::On || self.parallel;
        let patch = if reached { self.repair(ordinal, pod) } else { None };
        let lacks = reached && !self.has_its_claims(ordinal, pod);
        let mut actions = if pending || lacks { self.missing_claims(ordinal) } else { Vec::new() };
        let mut purpose = if patch.is_some() { Purpose::Update } else { Purpose::Claims };
        let mut conflicts = Vec::new();
        if (pending || reached) && !refuses(&actions) {
            let (owners, foreign) = self.claim_owners(&Member { ordinal, pod: Some(pod) });
            if pending || !owners.is_empty() {
                conflicts = foreign;
            }
            if !pending && !owners.is_empty() {
                purpose = Purpose::Update;
            }
            actions.extend(owners);
            actions.extend(patch.map(|patch| Action::Repair(Arc::clone(pod), patch)));
        }
        let idle = actions.is_empty() && conflicts.is_empty();
        let unit = Unit { pod: pod.name_any(), purpose, actions, conflicts };
        ((!idle).then_some(unit), flow)
    }

    /// Running, available and staying.
    fn is_settled(&self, pod: &Pod) -> bool {
        pod.metadata.deletion_timestamp.is_none() && is_running_and_ready(pod) && self.is_available(pod)
    }

    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        pod::availability(pod, self.min_ready, self.now) == Availability::Available
    }

    /// A pod that is about to go takes its claims with it, if the policy says so.
    fn last_owners(&self, ordinal: i32, pod: &Arc<Pod>) -> Option<Unit> {
        let (actions, conflicts) = self.claim_owners(&Member { ordinal, pod: Some(pod) });
        let unit = Unit { pod: pod.name_any(), purpose: Purpose::Claims, actions, conflicts };
        (!unit.actions.is_empty()).then_some(unit)
    }

    /// The pods that should go, the highest ordinal first.
    fn condemn(&self) -> (Vec<Unit>, Flow) {
        if self.parallel {
            return (self.condemned.iter().filter_map(|(_, pod)| self.delete(pod)).collect(), Flow::On);
        }
        let Some((highest, pod)) = self.condemned.first() else { return (Vec::new(), Flow::On) };
        // One that has ended will never be well: nobody waits for it, and it waits for nobody. Upstream lets the highest
        // of several wait for ever.
        let ended = |pod: &Pod| pod::is_terminal(pod) && pod.metadata.deletion_timestamp.is_none();
        let unwell = self
            .condemned
            .iter()
            .rev()
            .find(|(_, pod)| !ended(pod) && (pod.metadata.deletion_timestamp.is_some() || !self.is_available(pod)));
        // One that is not well waits for those below it that are not well either.
        let waits = !self.is_settled(pod) && !ended(pod) && unwell.is_none_or(|(lowest, _)| lowest != highest);
        let units = if waits { Vec::new() } else { self.delete(pod).into_iter().collect() };
        (units, Flow::Stop)
    }

    /// The next pod to be replaced by one of the update revision, from the highest ordinal down.
    fn roll(&self, counts: &mut Counts) -> Option<Unit> {
        let first = self.ordinals.start.saturating_add(self.partition().unwrap_or(0));
        for ordinal in (first..self.ordinals.end).rev() {
            let pod = self.slots.get(&ordinal).filter(|pod| !pod::is_terminal(pod))?;
            let leaving = pod.metadata.deletion_timestamp.is_some();
            let revision = identity::revision(pod);
            if revision != self.revisions.update && !leaving {
                if revision == self.revisions.current {
                    counts.current -= 1;
                }
                return self.delete(pod);
            }
            if leaving || !self.is_available(pod) {
                return None;
            }
        }
        None
    }
}

fn is_running_and_ready(pod: &Pod) -> bool {
    pod::phase(pod) == "Running" && pod::is_ready(pod)
}

fn refuses(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Refuse(_)))
}
