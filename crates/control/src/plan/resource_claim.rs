//! Claims of devices: made for pods from templates, reserved for pods that came to their node without the scheduler, and
//! free again when nobody uses them.
//!
//! Invariant: a reservation goes only when its pod is known to be gone or done, and with the last one the devices. The
//! finalizer that the scheduler sets before it gives devices is taken away only together with them, or from a claim that
//! is being deleted: alone it means that the scheduler is at work (upstream `resourceclaim`).
//! Claims of pod groups are not made: their feature is off by default.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;

use super::{claim, pod};

pub const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// On a claim: for which of its pod's claims it was made.
const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// So many consumers a claim can have.
const MOST: usize = 256;
/// A base of a generated name that leaves room for five characters.
const BASE: usize = 57;

/// The next step for a pod.
#[derive(Debug, PartialEq)]
pub enum ForPod {
    Nothing,
    Make(Box<ResourceClaim>),
    /// Its status names the claims that were made for it.
    Name(BTreeMap<String, String>),
    Reserve(Box<ResourceClaim>),
    /// What cannot be done, told to its owner.
    Fail(String),
}

/// What is in the pod's namespace.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    pub claims: &'a [Arc<ResourceClaim>],
    pub templates: &'a [Arc<ResourceClaimTemplate>],
}

impl Observed<'_> {
    fn claim(&self, name: &str) -> Option<&ResourceClaim> {
        self.claims.iter().find(|claim| claim.metadata.name.as_deref() == Some(name)).map(|claim| &**claim)
    }
}

/// Whether the pod will not run any more.
fn is_done(one: &Pod) -> bool {
    pod::is_terminal(one) || (one.metadata.deletion_timestamp.is_some() && pod::node_name(one).is_empty())
}

fn is_for(pod: &Pod, one: &ResourceClaim) -> bool {
    claim::controller(one).is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref())
}

/// The claim recorded for one of the pod's claims: none if nothing is recorded, an empty name if none is needed.
fn recorded<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let statuses = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
    let status = statuses.into_iter().find(|status| status.name == name)?;
    Some(status.resource_claim_name.as_deref().unwrap_or(""))
}

/// The claims that the pod's spec is about, as far as their names are known, and whether they were made for the pod.
pub fn of_spec(pod: &Pod) -> Vec<(String, bool)> {
    let listed = pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten());
    let named = listed.filter_map(|one| match &one.resource_claim_name {
        Some(name) => Some((name.clone(), false)),
        None => recorded(pod, &one.name).filter(|name| !name.is_empty()).map(|name| (name.to_owned(), true)),
    });
    named.collect()
}

/// The names of all claims that the pod uses, as far as they are known.
pub fn names(pod: &Pod) -> Vec<String> {
    let extended = pod.status.iter().filter_map(|status| status.extended_resource_claim_status.as_ref());
    let extended = extended.map(|status| status.resource_claim_name.clone());
    of_spec(pod).into_iter().map(|(name, _)| name).chain(extended).collect()
}

/// Decides for a pod.
pub fn for_pod(pod: &Pod, observed: Observed<'_>) -> ForPod {
    if pod.metadata.deletion_timestamp.is_some() {
        return ForPod::Nothing;
    }
    let (mut made, mut news) = (BTreeMap::new(), false);
    for one in pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten()) {
        let Some(template) = &one.resource_claim_template_name else { continue };
        match recorded(pod, &one.name) {
            Some("") => continue,
            Some(name) if observed.claim(name).is_some_and(|claim| is_for(pod, claim)) => {
                made.insert(one.name.clone(), name.to_owned());
                continue;
            }
            _ => {}
        }
        // one that was made before its name could be written down
        let orphan = observed.claims.iter().find(|claim| {
            is_for(pod, claim) && claim.annotations().get(POD_CLAIM).is_some_and(|name| *name == one.name)
        });
        if let Some(claim) = orphan {
            made.insert(one.name.clone(), claim.name_any());
            news = true;
            continue;
        }
        let found = observed.templates.iter().find(|one| one.metadata.name.as_ref() == Some(template));
        return match found {
            Some(template) => ForPod::Make(Box::new(make(pod, one, template))),
            None => ForPod::Fail(format!(
                "PodResourceClaim {}: resource claim template {template:?}: resourceclaimtemplate.resource.k8s.io {template:?} not found",
                one.name
            )),
        };
    }
    if news {
        return ForPod::Name(made);
    }
    if pod::node_name(pod).is_empty() {
        return ForPod::Nothing; // the scheduler reserves
    }
    let unreserved = names(pod).into_iter().filter_map(|name| observed.claim(&name)).find(|claim| needs(pod, claim));
    unreserved.map_or(ForPod::Nothing, |claim| {
        let mut next = claim.clone();
        next.status.get_or_insert_default().reserved_for.get_or_insert_default().push(ResourceClaimConsumerReference {
            api_group: None,
            resource: "pods".into(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
        });
        ForPod::Reserve(Box::new(next))
    })
}

/// Whether devices were given, but not to this pod though it could have them.
fn needs(pod: &Pod, claim: &ResourceClaim) -> bool {
    let Some(status) = claim.status.as_ref().filter(|status| status.allocation.is_some()) else { return false };
    let reserved = status.reserved_for.as_deref().unwrap_or_default();
    reserved.len() < MOST && !reserved.iter().any(|one| Some(&one.uid) == pod.metadata.uid.as_ref())
}

fn make(pod: &Pod, one: &PodResourceClaim, template: &ResourceClaimTemplate) -> ResourceClaim {
    let meta = template.spec.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(POD_CLAIM.into(), one.name.clone());
    let (name, whole) = (pod.name_any(), pod.name_any().len() + one.name.len() + 2);
    let generate = if whole > BASE {
        // both parts lose as much of their length
        let cut = |text: &str| text[..text.len() * BASE / whole].to_owned();
        format!("{}-{}", cut(&name), cut(&one.name))
    } else {
        format!("{name}-{}-", one.name)
    };
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(generate),
            namespace: pod.namespace(),
            annotations: Some(annotations),
            labels: meta.labels,
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".into(),
                kind: "Pod".into(),
                name,
                uid: pod.uid().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: None,
            }]),
            ..ObjectMeta::default()
        },
        spec: template.spec.spec.clone(),
        status: None,
    }
}

/// The next step for a claim.
#[derive(Debug, PartialEq)]
pub enum ForClaim {
    Nothing,
    /// With another status. `frees`: the finalizer goes right after it.
    Status {
        next: Box<ResourceClaim>,
        frees: bool,
    },
    Finalizer(Box<ResourceClaim>),
    Delete,
}

/// The claim without the finalizer.
pub fn freed(claim: &ResourceClaim) -> ResourceClaim {
    let mut next = claim.clone();
    next.finalizers_mut().retain(|finalizer| finalizer != FINALIZER);
    next
}

/// The pods that the claim is reserved for.
pub fn consumers(claim: &ResourceClaim) -> impl Iterator<Item = &ResourceClaimConsumerReference> {
    let reserved = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
    reserved.filter(|one| one.resource == "pods" && one.api_group.as_deref().unwrap_or("").is_empty())
}

/// Decides for a claim; `find` gives the pod of a name, as far as one is there for certain or may be there.
pub fn for_claim(claim: &ResourceClaim, find: impl Fn(&str) -> Option<Arc<Pod>>) -> ForClaim {
    let is_used = |one: &ResourceClaimConsumerReference| {
        let of_pods = one.resource == "pods" && one.api_group.as_deref().unwrap_or("").is_empty();
        !of_pods || find(&one.name).is_some_and(|pod| pod.metadata.uid.as_ref() == Some(&one.uid) && !is_done(&pod))
    };
    let reserved: Vec<_> = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten()).collect();
    let remaining: Vec<_> = reserved.iter().filter(|one| is_used(one)).map(|one| (*one).clone()).collect();
    let held = claim.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    let allocated = claim.status.as_ref().is_some_and(|status| status.allocation.is_some());
    let leaving = claim.metadata.deletion_timestamp.is_some();
    if remaining.len() < reserved.len() {
        let mut next = claim.clone();
        let status = next.status.get_or_insert_default();
        let unused = remaining.is_empty();
        status.reserved_for = Some(remaining);
        if unused && held {
            status.allocation = None;
        }
        return ForClaim::Status { next: Box::new(next), frees: unused && held };
    }
    if !remaining.is_empty() {
        return ForClaim::Nothing;
    }
    if held && leaving {
        if !allocated {
            return ForClaim::Finalizer(Box::new(freed(claim)));
        }
        let mut next = claim.clone();
        next.status.get_or_insert_default().allocation = None;
        return ForClaim::Status { next: Box::new(next), frees: true };
    }
    let owner = super::claim::controller(claim).filter(|owner| owner.kind == "Pod" && owner.api_version == "v1");
    let over = owner.is_some_and(|owner| {
        find(&owner.name).is_some_and(|pod| pod.metadata.uid.as_ref() != Some(&owner.uid) || is_done(&pod))
    });
    if over && !leaving { ForClaim::Delete } else { ForClaim::Nothing }
}

#[cfg(test)]
mod tests;
