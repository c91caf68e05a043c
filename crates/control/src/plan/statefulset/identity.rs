//! What makes a pod this member of its set: name, labels, volumes.
//!
//! Invariant: a member is called `<set>-<ordinal>`, the ordinal written without leading zeros; so a name has at most one
//! ordinal and an ordinal one name. (Upstream takes `web-007` for a pod of `web` and then cannot rename it.)

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{REVISION, Work, claims};
use crate::plan::claim;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The ordinal of the pod `pod` of the set `set`.
pub(super) fn ordinal(set: &str, pod: &str) -> Option<i32> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let ordinal: i32 = digits.parse().ok()?;
    (ordinal.to_string() == digits && ordinal >= 0).then_some(ordinal)
}

/// The name of the revision the pod was made from.
pub(super) fn revision(pod: &Pod) -> &str {
    pod.labels().get(REVISION).map_or("", String::as_str)
}

impl Work<'_> {
    pub(super) fn pod_name(&self, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.name)
    }

    /// A pod of the revision its ordinal has at this point of the rollout.
    pub(super) fn new_pod(&self, ordinal: i32) -> Pod {
        let (revision, template) = if self.is_held_back(ordinal) {
            (&self.revisions.current, &self.revisions.current_template)
        } else {
            (&self.revisions.update, &self.spec.template)
        };
        let PodTemplateSpec { metadata, spec } = template.clone();
        let metadata = metadata.unwrap_or_default();
        let name = self.pod_name(ordinal);
        let mut labels = metadata.labels.unwrap_or_default();
        labels.insert(POD_NAME.into(), name.clone());
        labels.insert(POD_INDEX.into(), ordinal.to_string());
        labels.insert(REVISION.into(), revision.clone());
        let mut spec = spec.unwrap_or_default();
        spec.hostname = Some(name.clone());
        spec.subdomain = self.spec.service_name.clone();
        let volumes = self.volumes(ordinal, spec.volumes.take().unwrap_or_default());
        spec.volumes = (!volumes.is_empty()).then_some(volumes);
        Pod {
            metadata: ObjectMeta {
                name: Some(name),
                generate_name: Some(format!("{}-", self.name)),
                namespace: self.set.metadata.namespace.clone(),
                labels: Some(labels),
                annotations: metadata.annotations,
                finalizers: metadata.finalizers,
                owner_references: Some(vec![claim::reference(self.set)]),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
            status: None,
        }
    }

    /// Whether the pod of this ordinal stays at the current revision for now.
    fn is_held_back(&self, ordinal: i32) -> bool {
        let index = ordinal - self.ordinals.start;
        match self.partition() {
            Some(partition) => index < partition,
            None => {
                let old = self.set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0);
                self.rolls() && index < old
            }
        }
    }

    /// The volumes of the claims, and those of the template that have other names.
    fn volumes(&self, ordinal: i32, others: Vec<Volume>) -> Vec<Volume> {
        let mut volumes: Vec<Volume> = self
            .claim_templates()
            .iter()
            .map(|template| Volume {
                name: template.name_any(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: claims::name(&self.name, template, ordinal),
                    read_only: None,
                }),
                ..Volume::default()
            })
            .collect();
        let ours = volumes.len();
        for other in others {
            if !volumes[..ours].iter().any(|volume| volume.name == other.name) {
                volumes.push(other);
            }
        }
        volumes
    }

    /// Whether the pod mounts its claims and nothing else under their names.
    pub(super) fn has_its_claims(&self, ordinal: i32, pod: &Pod) -> bool {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or(&[]);
        self.claim_templates().iter().all(|template| {
            let name = claims::name(&self.name, template, ordinal);
            let volume = volumes.iter().find(|volume| volume.name == template.name_any());
            let claim = volume.and_then(|volume| volume.persistent_volume_claim.as_ref());
            claim.is_some_and(|claim| claim.claim_name == name)
        })
    }

    /// The merge patch that gives the pod back what makes it a member, if it lost something.
    pub(super) fn repair(&self, ordinal: i32, pod: &Arc<Pod>) -> Option<Value> {
        let named = pod.labels().get(POD_NAME).is_some_and(|label| *label == pod.name_any());
        let stored = self.has_its_claims(ordinal, pod);
        if named && stored {
            return None;
        }
        let mut patch = json!({ "metadata": { "uid": pod.metadata.uid } });
        if !named {
            patch["metadata"]["labels"] = json!({ POD_NAME: pod.name_any(), POD_INDEX: ordinal.to_string() });
        }
        if !stored {
            let others = pod.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
            patch["spec"] = json!({ "volumes": self.volumes(ordinal, others) });
        }
        Some(patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_known_by_its_name() {
        assert_eq!(ordinal("web", "web-0"), Some(0));
        assert_eq!(ordinal("web", "web-12"), Some(12));
        assert_eq!(ordinal("web", "web-2-1"), None);
        for other in ["web", "web-", "web-x", "web-007", "web--1", "web-+1", "other-1", "web-99999999999"] {
            assert_eq!(ordinal("web", other), None, "{other}");
        }
    }
}
