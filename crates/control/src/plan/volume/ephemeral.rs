//! Claims that are made for the volumes of one pod and go with it.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;

use super::super::claim as owner;

/// The name of the claim for a volume of the pod.
pub fn claim_name(pod: &Pod, volume: &str) -> String {
    format!("{}-{volume}", pod.name_any())
}

/// Whether the claim was made for the pod.
pub fn is_for(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    owner::controller(claim).is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref())
}

/// A claim to make, or why a volume cannot have one, with the name of the volume.
pub type Wanted = Result<PersistentVolumeClaim, (String, String)>;

/// The claims that the pod lacks.
pub fn missing<'a>(
    pod: &Pod,
    find: impl Fn(&str) -> Option<std::sync::Arc<PersistentVolumeClaim>> + 'a,
) -> Vec<Wanted> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let mut wanted = Vec::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let Some(template) = volume.ephemeral.as_ref().and_then(|one| one.volume_claim_template.as_ref()) else {
            continue;
        };
        let name = claim_name(pod, &volume.name);
        match find(&name) {
            Some(claim) if is_for(pod, &claim) => {}
            Some(_) => {
                let (namespace, of) = (pod.namespace().unwrap_or_default(), pod.name_any());
                let why = format!("PVC {namespace}/{name} was not created for pod {namespace}/{of} (pod is not owner)");
                wanted.push(Err((volume.name.clone(), why)));
            }
            None => {
                let metadata = template.metadata.as_ref();
                wanted.push(Ok(PersistentVolumeClaim {
                    metadata: ObjectMeta {
                        name: Some(name),
                        namespace: pod.namespace(),
                        annotations: metadata.and_then(|metadata| metadata.annotations.clone()),
                        labels: metadata.and_then(|metadata| metadata.labels.clone()),
                        owner_references: Some(vec![OwnerReference {
                            api_version: "v1".into(),
                            kind: "Pod".into(),
                            name: pod.name_any(),
                            uid: pod.uid().unwrap_or_default(),
                            controller: Some(true),
                            block_owner_deletion: Some(true),
                        }]),
                        ..ObjectMeta::default()
                    },
                    spec: Some(template.spec.clone()),
                    status: None,
                }));
            }
        }
    }
    wanted
}
