//! What clients may set, what is kept, and how objects go.

use super::*;
use crate::Catalog;
use serde_json::json;

fn kind(group: &str, plural: &str) -> &'static Kind {
    Catalog::builtin().resource(group, "v1", plural).unwrap()
}

#[test]
fn a_new_pod_is_pending_and_has_a_class() {
    for (resources, class) in [
        (json!({}), "BestEffort"),
        (json!({"requests": {"cpu": "1"}}), "Burstable"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "0.5", "memory": "1Gi"}}), "Burstable"),
        (json!({"limits": {"example.com/gpu": "1"}}), "BestEffort"),
    ] {
        let mut pod = json!({
            "metadata": {"name": "a", "generation": 7, "deletionTimestamp": "x"},
            "spec": {"containers": [{"name": "c", "resources": resources}]},
            "status": {"phase": "Running"},
        });
        prepare_create(kind("", "pods"), &mut pod);
        assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": class}));
        assert_eq!(pod["metadata"], json!({"name": "a", "generation": 1}));
    }
}

#[test]
fn a_new_namespace_is_active_and_held() {
    let mut namespace = json!({"metadata": {"name": "a"}});
    prepare_create(kind("", "namespaces"), &mut namespace);
    assert_eq!(
        namespace,
        json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
    );
}

#[test]
fn an_update_keeps_status_and_counts_changes_of_the_spec() {
    let old = json!({
        "metadata": {"name": "a", "uid": "u", "generation": 3, "creationTimestamp": "t"},
        "spec": {"replicas": 1}, "status": {"replicas": 1},
    });
    let mut new =
        json!({"metadata": {"name": "a", "generation": 9}, "spec": {"replicas": 2}, "status": {"replicas": 5}});
    prepare_update(kind("apps", "deployments"), &mut new, &old);
    assert_eq!(
        new,
        json!({
            "metadata": {"name": "a", "uid": "u", "generation": 4, "creationTimestamp": "t"},
            "spec": {"replicas": 2}, "status": {"replicas": 1},
        })
    );
    let mut same = json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"replicas": 1, "paused": null}});
    prepare_update(kind("apps", "deployments"), &mut same, &old);
    assert_eq!(same["metadata"]["generation"], 3);
    let mut noted = json!({"metadata": {"name": "a", "annotations": {"x": "y"}}, "spec": {"replicas": 1}});
    prepare_update(kind("apps", "deployments"), &mut noted, &old);
    assert_eq!(noted["metadata"]["generation"], 4, "annotations of deployments count");
}

#[test]
fn an_update_of_the_status_keeps_everything_else() {
    let old = json!({
        "metadata": {"name": "a", "labels": {"x": "y"}, "ownerReferences": [1]},
        "spec": {"replicas": 1}, "status": {"replicas": 1},
    });
    let new = json!({
        "metadata": {"name": "a", "resourceVersion": "5", "labels": {"x": "z"}, "annotations": {"a": "b"}},
        "spec": {"replicas": 2}, "status": {"replicas": 2},
    });
    let mut set = new.clone();
    prepare_status_update(kind("apps", "replicasets"), &mut set, &old);
    assert_eq!(
        set,
        json!({
            "metadata": {"name": "a", "resourceVersion": "5", "labels": {"x": "y"}, "ownerReferences": [1]},
            "spec": {"replicas": 1}, "status": {"replicas": 2},
        })
    );
    let mut deployment = new.clone();
    prepare_status_update(kind("apps", "deployments"), &mut deployment, &old);
    assert_eq!(deployment["metadata"]["annotations"], json!({"a": "b"}), "the revision comes with the status");
    assert_eq!(deployment["metadata"]["labels"], json!({"x": "y"}));
    let mut node = new;
    prepare_status_update(kind("", "nodes"), &mut node, &old);
    assert_eq!(node["metadata"]["annotations"], json!({"a": "b"}), "the kubelet annotates nodes with their status");
}

#[test]
fn a_service_keeps_what_was_allocated_for_it() {
    let old = json!({"spec": {
        "type": "NodePort", "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"],
        "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}],
    }});
    let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]}});
    prepare_update(kind("", "services"), &mut new, &old);
    assert_eq!(new["spec"]["clusterIP"], "10.43.0.9");
    assert_eq!(new["spec"]["ports"][0]["nodePort"], 30080);
    assert_eq!(new["spec"]["ports"][1].get("nodePort"), None);
    let mut external = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}});
    prepare_update(kind("", "services"), &mut external, &old);
    assert_eq!(external["spec"].get("clusterIP"), None);
}

#[test]
fn only_running_pods_have_grace() {
    let pods = kind("", "pods");
    let pod = |node: &str, phase: &str, grace: Value| json!({"spec": {"nodeName": node, "terminationGracePeriodSeconds": grace}, "status": {"phase": phase}});
    assert_eq!(deletion_grace(pods, &pod("n", "Running", json!(5))), Some(5));
    assert_eq!(deletion_grace(pods, &pod("n", "Running", json!(null))), Some(30));
    assert_eq!(deletion_grace(pods, &pod("n", "Running", json!(-1))), Some(1));
    assert_eq!(deletion_grace(pods, &pod("", "Pending", json!(5))), Some(0));
    assert_eq!(deletion_grace(pods, &pod("n", "Failed", json!(5))), Some(0));
    assert_eq!(deletion_grace(kind("", "configmaps"), &json!({})), None);
}

#[test]
fn a_scale_shows_replicas_and_selector() {
    let deployments = kind("apps", "deployments");
    let mut deployment = json!({
        "metadata": {"name": "a", "namespace": "b", "labels": {"no": "no"}, "resourceVersion": "7"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}}, "status": {"replicas": 1},
    });
    let scale = scale_get(deployments, &deployment).unwrap();
    assert_eq!(
        scale,
        json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": "a", "namespace": "b", "resourceVersion": "7"},
            "spec": {"replicas": 2}, "status": {"replicas": 1, "selector": "app=web"},
        })
    );
    scale_set(deployments, &mut deployment, 5);
    assert_eq!(deployment["spec"]["replicas"], 5);
    assert_eq!(scale_get(kind("", "pods"), &deployment), None);
    let controller = json!({"spec": {"replicas": 0, "selector": {"a": "b"}}});
    let scale = scale_get(kind("", "replicationcontrollers"), &controller).unwrap();
    assert_eq!((&scale["spec"], &scale["status"]["selector"]), (&json!({}), &json!("a=b")));
}

#[test]
fn a_new_job_knows_its_pods() {
    let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {}}});
    prepare_create(kind("batch", "jobs"), &mut job);
    assert_eq!(job["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}));
    assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
    let mut own = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"manualSelector": true}});
    prepare_create(kind("batch", "jobs"), &mut own);
    assert_eq!(own["spec"], json!({"manualSelector": true}));
}

#[test]
fn narrow_subresources_change_only_their_part() {
    let pods = kind("", "pods");
    let old =
        json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"], "nodeName": "n"}, "status": {"x": 1}});
    let new = json!({"metadata": {"name": "a"}, "spec": {"finalizers": [], "ephemeralContainers": [{"name": "e"}]},
        "status": {"conditions": [1]}});
    let mut namespace = new.clone();
    prepare_finalize(kind("", "namespaces"), &mut namespace, &old);
    assert_eq!((&namespace["spec"], &namespace["status"]), (&json!({"finalizers": []}), &json!({"x": 1})));
    let mut request = new.clone();
    prepare_approval(pods, &mut request, &old);
    assert_eq!((&request["spec"], &request["status"]), (&old["spec"], &json!({"x": 1, "conditions": [1]})));
    let mut pod = new;
    prepare_ephemeral_containers(pods, &mut pod, &old);
    assert_eq!(pod["spec"]["nodeName"], "n");
    assert_eq!(pod["spec"]["ephemeralContainers"], json!([{"name": "e"}]));
}
