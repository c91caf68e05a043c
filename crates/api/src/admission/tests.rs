//! What goes in and what comes out, through the whole chain.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::testing;

async fn world() -> Core {
    let core = testing::core();
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}, "status": {"phase": "Active"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "end"}, "status": {"phase": "Terminating"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "ns"},
            "imagePullSecrets": [{"name": "pull"}]}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "quiet", "namespace": "ns"},
            "automountServiceAccountToken": false}),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"},
            "value": 100, "preemptionPolicy": "Never"}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "knarr",
            "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "able"},
            "status": {"declaredFeatures": ["InPlacePodLevelResourcesVerticalScaling"]}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "plain"}}),
    ];
    for object in objects {
        testing::put(&core, object).await;
    }
    core
}

/// Runs the chain as a create (or update, if there is an old object) would.
async fn admit(core: &Core, user: &User, object: &mut Value, old: Option<&Value>, sub: &str) -> Result<(), ApiError> {
    let text = |pointer: &str| crate::core::text(object, pointer).to_owned();
    let (version, kind) = (text("/apiVersion"), text("/kind"));
    let (group, number) = version.split_once('/').unwrap_or(("", &version));
    let catalog = core.catalog();
    let kind = catalog.by_kind(group, number, &kind).unwrap();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let mut taken = Vec::new();
    let mut admit = Admit {
        user,
        operation: if old.is_some() { Operation::Update } else { Operation::Create },
        kind,
        subresource: sub,
        namespace: &namespace,
        name: &name,
        object: Some(object),
        old,
        dry_run: false,
        taken: &mut taken,
        call: None,
        rounds: &mut Rounds::default(),
    };
    for plugin in &core.admission {
        plugin.mutate(core, &mut admit).await?;
    }
    for plugin in &core.admission {
        plugin.validate(core, &admit).await?;
    }
    Ok(())
}

async fn check(user: &User, mut object: Value, expected: Expect) {
    let core = world().await;
    let told = match admit(&core, user, &mut object, None, "").await {
        Ok(()) => {
            let text = serde_json::to_string_pretty(&object["spec"]).unwrap();
            let suffix = text.split("kube-api-access-").nth(1).and_then(|rest| rest.get(..5));
            suffix.map_or(text.clone(), |suffix| text.replace(suffix, "xxxxx"))
        }
        Err(error) => format!("{} {}", error.code, error.message),
    };
    expected.assert_eq(&told);
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns"}, "spec": spec})
}

fn user() -> User {
    User::component("ann", &[])
}

#[tokio::test]
async fn a_bare_pod_gets_an_account_a_token_a_priority_and_tolerations() {
    check(
        &user(),
        pod(json!({"containers": [{"name": "a"}]})),
        expect![[r#"
            {
              "containers": [
                {
                  "name": "a",
                  "volumeMounts": [
                    {
                      "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                      "name": "kube-api-access-xxxxx",
                      "readOnly": true
                    }
                  ]
                }
              ],
              "imagePullSecrets": [
                {
                  "name": "pull"
                }
              ],
              "preemptionPolicy": "PreemptLowerPriority",
              "priority": 0,
              "serviceAccount": "default",
              "serviceAccountName": "default",
              "tolerations": [
                {
                  "effect": "NoExecute",
                  "key": "node.kubernetes.io/not-ready",
                  "operator": "Exists",
                  "tolerationSeconds": 300
                },
                {
                  "effect": "NoExecute",
                  "key": "node.kubernetes.io/unreachable",
                  "operator": "Exists",
                  "tolerationSeconds": 300
                }
              ],
              "volumes": [
                {
                  "name": "kube-api-access-xxxxx",
                  "projected": {
                    "defaultMode": 420,
                    "sources": [
                      {
                        "serviceAccountToken": {
                          "expirationSeconds": 3607,
                          "path": "token"
                        }
                      },
                      {
                        "configMap": {
                          "items": [
                            {
                              "key": "ca.crt",
                              "path": "ca.crt"
                            }
                          ],
                          "name": "kube-root-ca.crt"
                        }
                      },
                      {
                        "downwardAPI": {
                          "items": [
                            {
                              "fieldRef": {
                                "apiVersion": "v1",
                                "fieldPath": "metadata.namespace"
                              },
                              "path": "namespace"
                            }
                          ]
                        }
                      }
                    ]
                  }
                }
              ]
            }"#]],
    )
    .await;
}

#[tokio::test]
async fn what_a_pod_says_itself_stays() {
    check(
        &user(),
        pod(json!({
            "serviceAccountName": "quiet",
            "priorityClassName": "high",
            "imagePullSecrets": [{"name": "own"}],
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "a"}],
        })),
        expect![[r#"
            {
              "containers": [
                {
                  "name": "a"
                }
              ],
              "imagePullSecrets": [
                {
                  "name": "own"
                }
              ],
              "preemptionPolicy": "Never",
              "priority": 100,
              "priorityClassName": "high",
              "serviceAccount": "quiet",
              "serviceAccountName": "quiet",
              "tolerations": [
                {
                  "operator": "Exists"
                }
              ]
            }"#]],
    )
    .await;
}

#[tokio::test]
async fn refusals_speak_upstreams_words() {
    check(
        &user(),
        pod(json!({"serviceAccountName": "gone"})),
        expect![[
            r#"403 pods "p" is forbidden: error looking up service account ns/gone: serviceaccount "gone" not found"#
        ]],
    )
    .await;
    check(
        &user(),
        pod(json!({"priorityClassName": "gone"})),
        expect![[r#"403 pods "p" is forbidden: no PriorityClass with name gone was found"#]],
    )
    .await;
    let config = |namespace: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}});
    check(&user(), config("gone"), expect![[r#"404 namespaces "gone" not found"#]]).await;
    check(
        &user(),
        config("end"),
        expect![[r#"403 configmaps "c" is forbidden: unable to create new content in namespace end because it is being terminated"#]],
    )
    .await;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
    });
    check(
        &user(),
        role,
        expect![[r#"
            403 clusterroles.rbac.authorization.k8s.io "r" is forbidden: user "ann" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
            {APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#]],
    )
    .await;
}

#[tokio::test]
async fn a_terminating_namespace_is_also_told_as_a_cause() {
    let core = world().await;
    let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "end"}});
    let error = admit(&core, &user(), &mut object, None, "").await.unwrap_err();
    assert_eq!(
        error.status()["details"]["causes"],
        json!([{
            "reason": "NamespaceTerminating", "message": "namespace end is being terminated", "field": "metadata.namespace",
        }])
    );
}

#[tokio::test]
async fn the_cluster_cannot_lose_its_own_namespaces() {
    let core = world().await;
    let kind = core.kind("", "namespaces").unwrap();
    for (name, allowed) in [("default", false), ("kube-system", false), ("kube-public", false), ("ns", true)] {
        let (user, mut taken) = (user(), Vec::new());
        let mut admit = Admit {
            user: &user,
            operation: Operation::Delete,
            kind,
            subresource: "",
            namespace: "",
            name,
            object: None,
            old: None,
            dry_run: false,
            taken: &mut taken,
            call: None,
            rounds: &mut Rounds::default(),
        };
        assert_eq!(lifecycle::NamespaceLifecycle.mutate(&core, &mut admit).await.is_ok(), allowed, "{name}");
    }
}

#[tokio::test]
async fn a_pod_waits_for_the_default_account_of_a_new_namespace() {
    let core = world().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}});
    testing::put(&core, namespace).await;
    let mut pod = pod(json!({"containers": []}));
    pod["metadata"]["namespace"] = json!("new");
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "new"}});
    let user = user();
    let (admitted, ()) = tokio::join!(admit(&core, &user, &mut pod, None, ""), testing::put(&core, account));
    admitted.unwrap();
}

#[tokio::test]
async fn an_ingress_gets_the_default_class_and_a_node_its_first_taint() {
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i", "namespace": "ns"}, "spec": {},
    });
    check(
        &user(),
        ingress,
        expect![[r#"
            {
              "ingressClassName": "knarr"
            }"#]],
    )
    .await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {}});
    let kubelet = User::component("system:node:n1", &["system:nodes"]);
    check(
        &kubelet,
        node.clone(),
        expect![[r#"
            {
              "taints": [
                {
                  "effect": "NoSchedule",
                  "key": "node.kubernetes.io/not-ready"
                }
              ]
            }"#]],
    )
    .await;
    let other = User::component("system:node:n2", &["system:nodes"]);
    check(&other, node, expect![[r#"403 nodes "n1" is forbidden: node "n2" is not allowed to modify node "n1""#]])
        .await;
}

#[tokio::test]
async fn a_node_changes_only_the_status_of_its_own_pods() {
    let core = world().await;
    let old = pod(json!({"nodeName": "n1"}));
    let refused = |node: &'static str, sub: &'static str, labels: Value| {
        let (core, mut new) = (&core, old.clone());
        let old = &old;
        async move {
            new["metadata"]["labels"] = labels;
            let user = User::component(format!("system:node:{node}"), &["system:nodes"]);
            admit(core, &user, &mut new, Some(old), sub).await.err().map(|error| error.message)
        }
    };
    assert_eq!(refused("n1", "status", Value::Null).await, None);
    assert!(refused("n2", "status", Value::Null).await.is_some_and(|why| why.contains("set to itself")));
    assert!(refused("n1", "status", json!({"a": "b"})).await.is_some_and(|why| why.contains("cannot update labels")));
    assert!(refused("n1", "", Value::Null).await.is_some_and(|why| why.contains("mirror pods")));
}

#[tokio::test]
async fn what_is_used_is_kept_and_only_what_can_grow_grows() {
    let core = world().await;
    let class = |name: &str, grows: bool| {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}, "provisioner": "p",
            "allowVolumeExpansion": grows})
    };
    testing::put(&core, class("grows", true)).await;
    testing::put(&core, class("stays", false)).await;
    let claim = |size: &str, class: &str, phase: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "ns"},
            "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}, "status": {"phase": phase}})
    };
    let mut new = claim("1Gi", "grows", "Pending");
    admit(&core, &user(), &mut new, None, "").await.unwrap();
    assert_eq!(new["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let grow = async |class: &str, phase: &str| {
        let error = admit(&core, &user(), &mut claim("2Gi", class, phase), Some(&claim("1Gi", class, phase)), "").await;
        error.err().map(|error| error.message)
    };
    assert_eq!(grow("grows", "Bound").await, None);
    let why = "persistentvolumeclaims \"c\" is forbidden: ";
    let pending = format!("{why}Only bound persistent volume claims can be expanded");
    assert_eq!(grow("grows", "Pending").await, Some(pending));
    let stays = format!(
        "{why}only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
    );
    assert_eq!(grow("stays", "Bound").await, Some(stays.clone()));
    assert_eq!(grow("", "Bound").await, Some(stays));
}

#[tokio::test]
async fn a_pod_as_a_whole_is_resized_only_where_the_node_can_do_it() {
    let core = world().await;
    let sized = |node: &str, cpu: &str| pod(json!({"nodeName": node, "resources": {"limits": {"cpu": cpu}}}));
    let resize = |node: &'static str, cpu: &'static str, sub: &'static str| {
        let (core, old, mut new) = (&core, sized(node, "1"), sized(node, cpu));
        async move { admit(core, &user(), &mut new, Some(&old), sub).await.err().map(|error| error.message) }
    };
    let why = "pods \"p\" is forbidden: ";
    let refused = format!(
        "{why}pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node \"plain\""
    );
    assert_eq!(resize("able", "2", "resize").await, None);
    assert_eq!(resize("plain", "2", "resize").await, Some(refused));
    assert_eq!(resize("plain", "1", "resize").await, None);
    assert_eq!(resize("plain", "2", "status").await, None);
    assert_eq!(resize("gone", "2", "").await, Some(format!("{why}node \"gone\" not found")));
    assert_eq!(resize("", "2", "").await, None);
}
