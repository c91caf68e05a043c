//! Defaults as upstream stores them, and that they are stable.

use super::*;
use crate::Catalog;
use expect_test::{Expect, expect};
use serde_json::json;

#[track_caller]
fn check(group: &str, version: &str, plural: &str, mut value: Value, expected: Expect) {
    let kind = Catalog::builtin().resource(group, version, plural).unwrap();
    default(kind, &mut value);
    expected.assert_eq(&serde_json::to_string_pretty(&value).unwrap());
    let once = value.clone();
    default(kind, &mut value);
    assert_eq!(value, once, "defaulting twice changes nothing");
}

#[test]
fn a_pod_gets_what_upstream_gives_it() {
    let pod = json!({
        "metadata": {"name": "web", "labels": {}, "creationTimestamp": null},
        "spec": {
            "hostNetwork": false,
            "containers": [{
                "name": "web", "image": "nginx", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1000m", "memory": 1_073_741_824}},
                "livenessProbe": {"httpGet": {"port": 80}},
            }],
            "volumes": [{"name": "tmp"}, {"name": "conf", "configMap": {"name": "c"}}],
        },
        "status": {},
    });
    check(
        "",
        "v1",
        "pods",
        pod,
        expect![[r#"
        {
          "metadata": {
            "name": "web"
          },
          "spec": {
            "containers": [
              {
                "image": "nginx",
                "imagePullPolicy": "Always",
                "livenessProbe": {
                  "failureThreshold": 3,
                  "httpGet": {
                    "path": "/",
                    "port": 80,
                    "scheme": "HTTP"
                  },
                  "periodSeconds": 10,
                  "successThreshold": 1,
                  "timeoutSeconds": 1
                },
                "name": "web",
                "ports": [
                  {
                    "containerPort": 80,
                    "protocol": "TCP"
                  }
                ],
                "resources": {
                  "limits": {
                    "cpu": "1",
                    "memory": "1073741824"
                  },
                  "requests": {
                    "cpu": "1",
                    "memory": "1073741824"
                  }
                },
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File"
              }
            ],
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": true,
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "terminationGracePeriodSeconds": 30,
            "volumes": [
              {
                "emptyDir": {},
                "name": "tmp"
              },
              {
                "configMap": {
                  "defaultMode": 420,
                  "name": "c"
                },
                "name": "conf"
              }
            ]
          },
          "status": {}
        }"#]],
    );
}

#[test]
fn a_deployment_gets_what_upstream_gives_it() {
    let deployment = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}}}});
    check(
        "apps",
        "v1",
        "deployments",
        deployment,
        expect![[r#"
            {
              "metadata": {},
              "spec": {
                "progressDeadlineSeconds": 600,
                "replicas": 1,
                "revisionHistoryLimit": 10,
                "selector": null,
                "strategy": {
                  "rollingUpdate": {
                    "maxSurge": "25%",
                    "maxUnavailable": "25%"
                  },
                  "type": "RollingUpdate"
                },
                "template": {
                  "metadata": {},
                  "spec": {
                    "containers": [
                      {
                        "image": "a:1",
                        "imagePullPolicy": "IfNotPresent",
                        "name": "a",
                        "resources": {},
                        "terminationMessagePath": "/dev/termination-log",
                        "terminationMessagePolicy": "File"
                      }
                    ],
                    "dnsPolicy": "ClusterFirst",
                    "restartPolicy": "Always",
                    "schedulerName": "default-scheduler",
                    "securityContext": {},
                    "terminationGracePeriodSeconds": 30
                  }
                }
              },
              "status": {}
            }"#]],
    );
}

#[test]
fn a_service_gets_what_upstream_gives_it() {
    let service = json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "sessionAffinity": "ClientIP"}});
    check(
        "",
        "v1",
        "services",
        service,
        expect![[r#"
            {
              "metadata": {},
              "spec": {
                "allocateLoadBalancerNodePorts": true,
                "externalTrafficPolicy": "Cluster",
                "internalTrafficPolicy": "Cluster",
                "ports": [
                  {
                    "port": 80,
                    "protocol": "TCP",
                    "targetPort": 80
                  }
                ],
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {
                  "clientIP": {
                    "timeoutSeconds": 10800
                  }
                },
                "type": "LoadBalancer"
              },
              "status": {
                "loadBalancer": {}
              }
            }"#]],
    );
}

#[test]
fn a_job_gets_what_upstream_gives_it() {
    let job = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}}});
    check(
        "batch",
        "v1",
        "jobs",
        job,
        expect![[r#"
            {
              "metadata": {
                "labels": {
                  "a": "b"
                }
              },
              "spec": {
                "backoffLimit": 6,
                "completionMode": "NonIndexed",
                "completions": 1,
                "manualSelector": false,
                "parallelism": 1,
                "podReplacementPolicy": "TerminatingOrFailed",
                "suspend": false,
                "template": {
                  "metadata": {
                    "labels": {
                      "a": "b"
                    }
                  },
                  "spec": {
                    "containers": [],
                    "dnsPolicy": "ClusterFirst",
                    "restartPolicy": "Always",
                    "schedulerName": "default-scheduler",
                    "securityContext": {},
                    "terminationGracePeriodSeconds": 30
                  }
                }
              },
              "status": {}
            }"#]],
    );
}

#[test]
fn small_kinds_get_their_defaults() {
    let cpu = json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80},
    }});
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let group = "rbac.authorization.k8s.io";
    for (plural, version, mut value, expected) in [
        (
            "namespaces",
            "v1",
            json!({"metadata": {"name": "a"}}),
            json!({
                "metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}},
                "status": {"phase": "Active"},
            }),
        ),
        (
            "secrets",
            "v1",
            json!({"data": {"x": null}, "stringData": {"y": "hello"}}),
            json!({"data": {"x": "", "y": "aGVsbG8="}, "type": "Opaque"}),
        ),
        (
            "networkpolicies.networking.k8s.io",
            "v1",
            json!({"spec": {"podSelector": {}}}),
            json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
        ),
        (
            "rolebindings.rbac.authorization.k8s.io",
            "v1",
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}),
            json!({
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "r"},
                "subjects": [{"apiGroup": group, "kind": "User", "name": "u"}],
            }),
        ),
        (
            "horizontalpodautoscalers.autoscaling",
            "v2",
            json!({"spec": {"scaleTargetRef": {"kind": "D", "name": "d"}, "maxReplicas": 3, "behavior": {}}}),
            json!({"spec": {
                "scaleTargetRef": {"kind": "D", "name": "d"}, "minReplicas": 1, "maxReplicas": 3, "metrics": [cpu],
                "behavior": {
                    "scaleUp": {"policies": [pods, percent], "selectPolicy": "Max", "stabilizationWindowSeconds": 0},
                    "scaleDown": {"policies": [percent], "selectPolicy": "Max"},
                },
            }}),
        ),
    ] {
        let (plural, group) = plural.split_once('.').unwrap_or((plural, ""));
        default(Catalog::builtin().resource(group, version, plural).unwrap(), &mut value);
        assert!(holds(&value, &expected), "{plural}: {value} without all of {expected}");
    }
}

#[test]
fn every_constant_of_the_facts_is_applied_or_conditional() {
    // Rows of defaults.tsv that are no constants for a machine: their rules live in structs.rs and kinds.rs.
    let handled = ["Job.spec.parallelism", "ConfigMap.data", "PodDisruptionBudget", "CertificateSigningRequest"];
    let known: Vec<&str> = constants::rows().map(|(_, path, _)| path.rsplit('.').next().unwrap_or(path)).collect();
    let schema = schema();
    for line in include_str!("../../facts/defaults.tsv").lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        if columns.get(2) != Some(&"const") || handled.iter().any(|part| columns[0].contains(part)) {
            continue;
        }
        let name = columns[0].rsplit('.').next().unwrap_or_default();
        let declared =
            || schema.definitions().iter().any(|d| d.field(name).is_some_and(|field| field.default.is_some()));
        assert!(known.contains(&name) || declared() || columns[0].ends_with("QueuingConfiguration"), "{line}");
    }
}

#[test]
fn an_empty_text_in_an_inner_struct_counts_as_unset() {
    let kind = Catalog::builtin().resource("apps", "v1", "deployments").unwrap();
    let mut deployment = json!({"spec": {"strategy": {"type": ""}}});
    default(kind, &mut deployment);
    let rolling = json!({"maxSurge": "25%", "maxUnavailable": "25%"});
    assert_eq!(deployment["spec"]["strategy"], json!({"type": "RollingUpdate", "rollingUpdate": rolling}));
}

#[test]
fn the_claims_of_a_set_say_what_they_are() {
    let kind = Catalog::builtin().resource("apps", "v1", "statefulsets").unwrap();
    let mut set = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "v"}, "kind": "Other"}]}});
    default(kind, &mut set);
    let claim = &set["spec"]["volumeClaimTemplates"][0];
    assert_eq!((&claim["apiVersion"], &claim["kind"]), (&json!("v1"), &json!("PersistentVolumeClaim")));
}

#[test]
fn an_exempt_level_has_no_shares_but_says_so() {
    let kinds = Catalog::builtin().resource("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations");
    let mut level = json!({"spec": {"type": "Exempt", "exempt": {}}});
    default(kinds.unwrap(), &mut level);
    assert_eq!(level["spec"]["exempt"], json!({"lendablePercent": 0, "nominalConcurrencyShares": 0}));
}

/// Whether a value has all members of another one.
fn holds(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(value), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| value.get(name).is_some_and(|value| holds(value, wanted)))
        }
        (Value::Array(value), Value::Array(wanted)) => {
            value.len() == wanted.len() && value.iter().zip(wanted).all(|(value, wanted)| holds(value, wanted))
        }
        (value, wanted) => value == wanted,
    }
}

/// Without what upstream adds beside defaulting: the old name of the service account and what the claims of a set are come
/// with the conversion to v1, and a taint of a device is stamped with a clock, which there is none of here.
fn settled(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            ["serviceAccount", "timeAdded"].iter().for_each(|name| drop(members.remove(*name)));
            let claims = members.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut);
            for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
                ["apiVersion", "kind"].iter().for_each(|name| drop(claim.remove(*name)));
            }
            members.values_mut().for_each(|value| *value = settled(value.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| *value = settled(value.take())),
        _ => {}
    }
    value
}

#[test]
fn every_kind_is_written_as_upstream_writes_it() {
    let lines: Vec<&str> = include_str!("../../tests/golden/defaulted.jsonl").lines().collect();
    let mut wrong = Vec::new();
    for pair in lines.chunks(2) {
        let (mut value, expected): (Value, Value) =
            (serde_json::from_str(pair[0]).unwrap(), serde_json::from_str(pair[1]).unwrap());
        let (group, version) = crate::catalog::split_api_version(value["apiVersion"].as_str().unwrap());
        let name = value["kind"].as_str().unwrap().to_owned();
        let kind = Catalog::builtin().by_kind(group, version, &name).unwrap();
        default(kind, &mut value);
        if settled(value.clone()) != settled(expected.clone()) {
            wrong.push(format!("{name}:\n  ours     {}\n  upstream {}", settled(value), settled(expected)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), lines.len() / 2, wrong.join("\n"));
}
