//! The claims of each pod: making them from templates, and who owns them.
//!
//! Invariant: a claim outlives its pod unless the retention policy says otherwise, and then it is the garbage collector
//! that deletes it: the set owns what goes with the set, a pod that is scaled away owns what goes with the pod. A claim
//! that an older namesake owned, or that somebody else controls, is left to them (upstream `stateful_set_utils.go`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;

use super::{Action, Work};
use crate::plan::claim;

/// The name of the claim of that template for the pod of that ordinal.
pub(super) fn name(set: &str, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{set}-{ordinal}", template.name_any())
}

/// Whether `claim` is called like one of the set.
pub fn has_claim_named(set: &StatefulSet, claim: &str) -> bool {
    let templates = set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_deref()).unwrap_or(&[]);
    templates.iter().any(|template| {
        let member = claim.strip_prefix(&template.name_any()).and_then(|rest| rest.strip_prefix('-'));
        member.is_some_and(|member| super::identity::ordinal(&set.name_any(), member).is_some())
    })
}

/// What becomes of claims.
struct Policy {
    delete_with_set: bool,
    delete_when_scaled: bool,
}

impl Policy {
    fn of(spec: &StatefulSetSpec) -> Self {
        let policy = spec.persistent_volume_claim_retention_policy.as_ref();
        let deletes = |word: Option<&String>| word.is_some_and(|word| word == "Delete");
        Self {
            delete_with_set: deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
            delete_when_scaled: deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
        }
    }
}

/// A pod as the owner of claims; it has no uid before it is made.
pub(super) struct Member<'a> {
    pub(super) ordinal: i32,
    pub(super) pod: Option<&'a Pod>,
}

impl Member<'_> {
    fn uid(&self) -> &str {
        self.pod.and_then(|pod| pod.metadata.uid.as_deref()).unwrap_or("")
    }
}

impl Work<'_> {
    pub(super) fn claim_templates(&self) -> &[PersistentVolumeClaim] {
        self.spec.volume_claim_templates.as_deref().unwrap_or(&[])
    }

    /// The claims of the pod that are missing, and the reason why it cannot have them all.
    pub(super) fn missing_claims(&self, ordinal: i32) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut leaving = Vec::new();
        for template in self.claim_templates() {
            let name = name(&self.name, template, ordinal);
            match self.claims.get(name.as_str()) {
                None => actions.push(Action::CreateClaim(Box::new(self.new_claim(template, name)))),
                Some(claim) if claim.metadata.deletion_timestamp.is_some() => {
                    leaving.push(format!("pvc {name} is being deleted"));
                }
                Some(_) => {}
            }
        }
        match leaving.as_slice() {
            [] => {}
            [one] => actions.push(Action::Refuse(one.clone())),
            several => actions.push(Action::Refuse(format!("[{}]", several.join(", ")))),
        }
        actions
    }

    /// Claims are made with the owners they need, so that no second write must follow.
    fn new_claim(&self, template: &PersistentVolumeClaim, name: String) -> PersistentVolumeClaim {
        let mut claim = PersistentVolumeClaim { status: None, ..template.clone() };
        claim.metadata.name = Some(name);
        claim.metadata.namespace = self.set.metadata.namespace.clone();
        if let Some(wanted) = &self.spec.selector.match_labels {
            claim.metadata.labels.get_or_insert_default().extend(wanted.clone());
        }
        if Policy::of(self.spec).delete_with_set {
            claim.metadata.owner_references.get_or_insert_default().push(claim::reference(self.set));
        }
        claim
    }

    /// A claim left over from an earlier pod of the same name, which the garbage collector has yet to delete.
    pub(super) fn has_stale_claim(&self, ordinal: i32) -> bool {
        Policy::of(self.spec).delete_when_scaled
            && self.claims_of(ordinal).any(|claim| claim.owner_references().iter().any(|one| self.is_pod(one, ordinal)))
    }

    fn claims_of(&self, ordinal: i32) -> impl Iterator<Item = &Arc<PersistentVolumeClaim>> {
        let names = self.claim_templates().iter().map(move |template| name(&self.name, template, ordinal));
        names.filter_map(|name| self.claims.get(name.as_str()).copied())
    }

    /// The claims of the pod whose owners are not what the policy asks for, and the names of those it cannot have.
    pub(super) fn claim_owners(&self, member: &Member<'_>) -> (Vec<Action>, Vec<String>) {
        let (mut actions, mut conflicts) = (Vec::new(), Vec::new());
        for claim in self.claims_of(member.ordinal) {
            let foreign = self.is_foreign(claim, member);
            if foreign {
                conflicts.push(claim.name_any());
            }
            if self.needs_owners(claim, member, foreign) {
                let mut changed = (**claim).clone();
                changed.metadata.owner_references = Some(self.owners(claim, member, foreign));
                actions.push(Action::Own(Box::new(changed)));
            }
        }
        (actions, conflicts)
    }

    fn set_uid(&self) -> &str {
        self.set.metadata.uid.as_deref().unwrap_or("")
    }

    fn is_pod(&self, reference: &OwnerReference, ordinal: i32) -> bool {
        reference.api_version == "v1" && reference.kind == "Pod" && reference.name == self.pod_name(ordinal)
    }

    fn is_set(&self, reference: &OwnerReference) -> bool {
        reference.api_version == "apps/v1" && reference.kind == "StatefulSet" && reference.name == self.name
    }

    /// Whether somebody else controls the claim, which makes the policy mean nothing for it.
    fn is_foreign(&self, claim: &PersistentVolumeClaim, member: &Member<'_>) -> bool {
        let policy = Policy::of(self.spec);
        let another = |one: &OwnerReference| {
            if self.is_set(one) {
                one.uid != self.set_uid()
            } else if self.is_pod(one, member.ordinal) {
                one.uid != member.uid()
            } else {
                one.controller == Some(true)
            }
        };
        (policy.delete_with_set || policy.delete_when_scaled) && claim.owner_references().iter().any(another)
    }

    fn needs_owners(&self, claim: &PersistentVolumeClaim, member: &Member<'_>, foreign: bool) -> bool {
        let references = claim.owner_references();
        let (set_uid, pod_uid) = (self.set_uid(), member.uid());
        let named_set = references.iter().find(|one| self.is_set(one));
        let named_pod = references.iter().find(|one| self.is_pod(one, member.ordinal));
        if named_set.is_some_and(|one| one.uid != set_uid) || named_pod.is_some_and(|one| one.uid != pod_uid) {
            return false; // an earlier namesake's, for the garbage collector
        }
        let reference = |uid: &str| references.iter().find(|one| !uid.is_empty() && one.uid == uid);
        let (set, pod) = (reference(set_uid), reference(pod_uid));
        if foreign {
            return set.is_some() || pod.is_some();
        }
        let half = |one: Option<&OwnerReference>| one.is_some_and(|one| one.controller != Some(true));
        let wanted = self.wanted_owners(member.ordinal);
        half(set) || half(pod) || (set.is_some(), pod.is_some()) != wanted
    }

    /// Whether the set and whether the pod should own the claims of that ordinal.
    fn wanted_owners(&self, ordinal: i32) -> (bool, bool) {
        let policy = Policy::of(self.spec);
        let kept = self.ordinals.contains(&ordinal);
        match (policy.delete_when_scaled, policy.delete_with_set) {
            (false, set) => (set, false),
            (true, set) => (set && kept, !kept),
        }
    }

    /// The owners the claim should have; where somebody else controls it, only the others.
    fn owners(&self, claim: &PersistentVolumeClaim, member: &Member<'_>, foreign: bool) -> Vec<OwnerReference> {
        let mut owners = claim.owner_references().to_vec();
        owners.retain(|one| !self.is_set(one) && !self.is_pod(one, member.ordinal));
        if foreign {
            return owners;
        }
        let (set, pod) = self.wanted_owners(member.ordinal);
        let mut add = |reference: OwnerReference| {
            if !owners.iter().any(|one| one.uid == reference.uid) {
                owners.push(reference);
            }
        };
        if set {
            add(claim::reference(self.set));
        }
        if let Some(owner) = member.pod.filter(|_| pod) {
            add(claim::reference(owner));
        }
        owners
    }
}
