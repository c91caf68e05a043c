//! The pod template: its hash, its equality, and the ReplicaSet made from it.
//!
//! Invariant: two templates are the same when they differ only in the hash label and in absent against empty lists and
//! maps; the hash names a set but never decides equality, so an old hash function does no harm.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::plan::claim;
use crate::plan::template::strip;

/// The label that tells the pods of one template from the next.
pub(super) const HASH: &str = "pod-template-hash";

/// The template of a set.
pub(super) fn of(set: &ReplicaSet) -> &PodTemplateSpec {
    static EMPTY: PodTemplateSpec = PodTemplateSpec { metadata: None, spec: None };
    set.spec.as_ref().and_then(|spec| spec.template.as_ref()).unwrap_or(&EMPTY)
}

/// Whether two templates mean the same.
pub fn same(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    a.spec == b.spec && bare(a).metadata == bare(b).metadata || canonical(a) == canonical(b)
}

fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut metadata = template.metadata.clone().unwrap_or_default();
    if let Some(labels) = &mut metadata.labels {
        labels.remove(HASH);
    }
    PodTemplateSpec { metadata: Some(metadata), spec: None }
}

/// The template as JSON without its hash label and without empty lists and maps that mean nothing.
fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = json!({ "metadata": bare(template).metadata, "spec": template.spec });
    strip(&mut value);
    value
}

/// The hash of the template; the collision count makes another one when the name is taken.
pub(super) fn hash(deployment: &Deployment) -> String {
    let template = deployment.spec.as_ref().map(|spec| canonical(&spec.template));
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count).filter(|count| *count > 0);
    base::names::template_hash(&match collisions {
        None => json!(template),
        Some(count) => json!({ "template": template, "collisions": count }),
    })
}

/// The ReplicaSet for the current template, of size zero.
pub(super) fn replica_set(deployment: &Deployment) -> ReplicaSet {
    let Some(spec) = &deployment.spec else { return ReplicaSet::default() };
    let hash = hash(deployment);
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH.into(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH.into(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![claim::reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// Whether `existing`, found under the name of a set we wanted to create, is a stranger and not that very set.
pub fn collided(deployment: &Deployment, existing: &ReplicaSet) -> bool {
    let ours = claim::is_controlled_by(existing, deployment.metadata.uid.as_deref().unwrap_or(""));
    let equal = deployment.spec.as_ref().is_some_and(|spec| same(of(existing), &spec.template));
    !(ours && equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(value: Value) -> PodTemplateSpec {
        serde_json::from_value(value).expect("a template")
    }

    #[test]
    fn the_hash_label_and_empty_lists_make_no_difference() {
        let a = template(
            json!({ "metadata": { "labels": { "app": "web", HASH: "x" } }, "spec": { "containers": [{ "name": "c", "env": [] }] } }),
        );
        let b = template(
            json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c" }], "nodeSelector": {} } }),
        );
        assert!(same(&a, &b));
    }

    #[test]
    fn an_empty_volume_source_is_a_difference() {
        let a = template(json!({ "spec": { "containers": [], "volumes": [{ "name": "v", "emptyDir": {} }] } }));
        let b = template(json!({ "spec": { "containers": [], "volumes": [{ "name": "v" }] } }));
        assert!(!same(&a, &b));
    }

    #[test]
    fn a_collision_changes_the_name() {
        let mut deployment = Deployment::default();
        deployment.metadata.name = Some("web".into());
        deployment.spec = Some(k8s_openapi::api::apps::v1::DeploymentSpec::default());
        let first = replica_set(&deployment).name_any();
        deployment.status.get_or_insert_default().collision_count = Some(1);
        assert_ne!(first, replica_set(&deployment).name_any());
    }
}
