//! What the controllers keep of objects of which there are many, where they read little of them.
//!
//! Pods are more than anything else, and most of a pod is for its node.
//!
//! A typed pod takes 15 KB; without what only a node or the scheduler reads, a third of that. Nobody here writes a pod back
//! as a whole: pods are made from templates and changed by patches.

use informer::{Kept, Part};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use serde::Deserialize;

/// Of a service account only who it is.
pub(crate) type Account = Part<Identity>;

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Identity {
    #[serde(deserialize_with = "informer::identity")]
    metadata: ObjectMeta,
}

impl Kept for Identity {
    type Kind = ServiceAccount;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Forgets what no controller reads.
pub(crate) fn pod(pod: &mut Pod) {
    // a StatefulSet puts its claims in order beside the other volumes
    let whole_volumes = pod.owner_references().iter().any(|owner| owner.kind == "StatefulSet");
    let Some(spec) = &mut pod.spec else { return };
    spec.containers = containers(std::mem::take(&mut spec.containers));
    spec.init_containers = spec.init_containers.take().map(containers);
    if !whole_volumes {
        let volumes = spec.volumes.take().unwrap_or_default().into_iter();
        let claims = volumes.filter(|it| it.persistent_volume_claim.is_some() || it.ephemeral.is_some());
        spec.volumes = Some(claims.collect()).filter(|claims: &Vec<_>| !claims.is_empty());
    }
    let PodSpec { ephemeral_containers, security_context, dns_config, host_aliases, readiness_gates, .. } = spec;
    *ephemeral_containers = None;
    *security_context = None;
    *dns_config = None;
    *host_aliases = None;
    *readiness_gates = None;
}

/// Names, images, ports, resources and what makes a sidecar.
fn containers(containers: Vec<Container>) -> Vec<Container> {
    let slim = |container: Container| Container {
        name: container.name,
        image: container.image,
        ports: container.ports,
        resources: container.resources,
        restart_policy: container.restart_policy,
        ..Container::default()
    };
    let mut slim: Vec<Container> = containers.into_iter().map(slim).collect();
    slim.shrink_to_fit();
    slim
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn what_controllers_read_stays() {
        let check = |owner: &str, volumes: serde_json::Value| {
            let mut pod = serde_json::from_value(json!({
                "metadata": { "name": "p", "ownerReferences": [{ "apiVersion": "v1", "kind": owner, "name": "o", "uid": "u" }] },
                "spec": {
                    "nodeName": "n",
                    "containers": [{
                        "name": "c", "image": "i", "command": ["x"], "env": [{ "name": "A", "value": "b" }],
                        "ports": [{ "name": "http", "containerPort": 80 }], "resources": { "requests": { "cpu": "1" } },
                        "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                    }],
                    "initContainers": [{ "name": "s", "restartPolicy": "Always", "args": ["y"] }],
                    "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "c" } }, { "name": "tmp", "emptyDir": {} }],
                    "securityContext": { "runAsUser": 1 },
                },
                "status": { "phase": "Running" },
            }))
            .expect("a pod");
            super::pod(&mut pod);
            let expected = json!({
                "nodeName": "n",
                "containers": [{
                    "name": "c", "image": "i", "ports": [{ "name": "http", "containerPort": 80 }],
                    "resources": { "requests": { "cpu": "1" } },
                }],
                "initContainers": [{ "name": "s", "restartPolicy": "Always" }],
                "volumes": volumes,
            });
            let left = serde_json::to_value(&pod).expect("json");
            assert_eq!(left["spec"], expected);
            assert_eq!(left["status"], json!({ "phase": "Running" }));
        };
        let claim = json!({ "name": "data", "persistentVolumeClaim": { "claimName": "c" } });
        check("ReplicaSet", json!([claim]));
        check("StatefulSet", json!([claim, { "name": "tmp", "emptyDir": {} }]));
    }
}
