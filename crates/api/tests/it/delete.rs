//! delete: at once, with grace, held by finalizers, many at a time.

use serde_json::{Value, json};

use crate::support::{MAPS, Server, config_map, server};

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(server: &Server, name: &str, node: &str) {
    let mut pod = json!({ "metadata": { "name": name, "labels": { "app": "x" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    if !node.is_empty() {
        pod["spec"]["nodeName"] = json!(node);
    }
    server.post(PODS, pod).await.expect(201);
}

#[tokio::test]
async fn an_object_goes_at_once_and_the_answer_tells_which() {
    let server = server().await;
    let made = server.post(MAPS, config_map("a")).await.expect(201);
    let deleted = server.delete(&format!("{MAPS}/a"), Value::Null).await.expect(200);
    assert_eq!((deleted.at("/kind"), deleted.at("/status")), ("Status", "Success"));
    assert_eq!(deleted.at("/details/uid"), made.at("/metadata/uid"));
    server.delete(&format!("{MAPS}/a"), Value::Null).await.expect(404);
    let kept = server.post(MAPS, config_map("b")).await.expect(201);
    server.delete(&format!("{MAPS}/b?dryRun=All"), Value::Null).await.expect(200);
    server.delete(&format!("{MAPS}/b"), json!({ "dryRun": ["All"] })).await.expect(200);
    server.get(&format!("{MAPS}/b")).await.expect(200);
    let other = json!({ "preconditions": { "uid": "other" } });
    let refused = server.delete(&format!("{MAPS}/b"), other).await.expect(409);
    assert!(refused.at("/message").contains("the UID in the precondition (other) does not match the UID in record"));
    let both = json!({ "propagationPolicy": "Orphan", "orphanDependents": true });
    server.delete(&format!("{MAPS}/b"), both).await.expect(422);
    server.delete(&format!("{MAPS}/b"), json!({ "propagationPolicy": "Sideways" })).await.expect(422);
    let held = json!({ "preconditions": { "uid": kept.at("/metadata/uid"), "resourceVersion": kept.version() } });
    server.delete(&format!("{MAPS}/b"), held).await.expect(200);
}

#[tokio::test]
async fn a_running_pod_gets_time_and_a_waiting_one_does_not() {
    let server = server().await;
    pod(&server, "waiting", "").await;
    let gone = server.delete(&format!("{PODS}/waiting"), Value::Null).await.expect(200);
    assert_eq!(gone.at("/kind"), "Pod");
    server.get(&format!("{PODS}/waiting")).await.expect(404);
    pod(&server, "running", "n1").await;
    let path = format!("{PODS}/running");
    let marked = server.delete(&path, Value::Null).await.expect(200);
    assert_eq!(marked.body.pointer("/metadata/deletionGracePeriodSeconds"), Some(&json!(30)));
    assert!(!marked.at("/metadata/deletionTimestamp").is_empty());
    let again = server.delete(&path, Value::Null).await.expect(200);
    assert_eq!(again.version(), marked.version(), "a second delete changes nothing");
    let sooner = server.delete(&path, json!({ "gracePeriodSeconds": 5 })).await.expect(200);
    assert_eq!(sooner.body.pointer("/metadata/deletionGracePeriodSeconds"), Some(&json!(5)));
    server.delete(&path, json!({ "gracePeriodSeconds": 0 })).await.expect(200);
    server.get(&path).await.expect(404);
}

#[tokio::test]
async fn the_last_finalizer_takes_the_object_with_it() {
    let server = server().await;
    let mut map = config_map("a");
    map["metadata"]["finalizers"] = json!(["example.com/one", "example.com/two"]);
    server.post(MAPS, map).await.expect(201);
    let path = format!("{MAPS}/a");
    let mut events = server.watch(&format!("{MAPS}?watch=true")).await;
    let pending = server.delete(&path, Value::Null).await.expect(200);
    assert_eq!(pending.body.pointer("/metadata/deletionGracePeriodSeconds"), Some(&json!(0)));
    server.merge(&path, json!({ "metadata": { "finalizers": ["example.com/two"] } })).await.expect(200);
    let last = server.merge(&path, json!({ "metadata": { "finalizers": null } })).await.expect(200);
    server.get(&path).await.expect(404);
    assert_eq!(events.names(4).await, ["ADDED a", "MODIFIED a", "MODIFIED a", "DELETED a"]);
    assert!(!last.version().is_empty());
}

#[tokio::test]
async fn propagation_policies_become_finalizers() {
    let server = server().await;
    for (policy, finalizer) in
        [("Foreground", Some("foregroundDeletion")), ("Orphan", Some("orphan")), ("Background", None)]
    {
        server.post(MAPS, config_map("a")).await.expect(201);
        let path = format!("{MAPS}/a");
        let deleted = server.delete(&path, json!({ "propagationPolicy": policy })).await.expect(200);
        let held = deleted.body.pointer("/metadata/finalizers/0").and_then(Value::as_str);
        assert_eq!(held, finalizer, "{policy}");
        if finalizer.is_some() {
            server.merge(&path, json!({ "metadata": { "finalizers": [] } })).await.expect(200);
        }
        server.get(&path).await.expect(404);
    }
}

#[tokio::test]
async fn a_namespace_ends_by_its_finalize_subresource() {
    let server = server().await;
    let path = "/api/v1/namespaces/doomed";
    server.post("/api/v1/namespaces", json!({ "metadata": { "name": "doomed" } })).await.expect(201);
    let marked = server.delete(path, Value::Null).await.expect(200);
    assert_eq!(marked.at("/status/phase"), "Terminating");
    let refused = server.post(&format!("{path}/configmaps"), config_map("late")).await.expect(403);
    assert_eq!(refused.at("/details/causes/0/reason"), "NamespaceTerminating");
    let mut namespace = marked.body.clone();
    namespace["spec"]["finalizers"] = json!([]);
    server.put(&format!("{path}/finalize"), namespace).await.expect(200);
    server.get(path).await.expect(404);
    let gone = server.post(&format!("{path}/configmaps"), config_map("later")).await.expect(404);
    assert_eq!(gone.at("/message"), "namespaces \"doomed\" not found");
}

#[tokio::test]
async fn a_collection_goes_by_selector() {
    let server = server().await;
    for name in ["a", "b", "c"] {
        let mut map = config_map(name);
        map["metadata"]["labels"] = json!({ "keep": (name == "b").to_string() });
        server.post(MAPS, map).await.expect(201);
    }
    let gone = server.delete(&format!("{MAPS}?labelSelector=keep%3Dfalse"), Value::Null).await.expect(200);
    assert_eq!(gone.body["items"].as_array().map(Vec::len), Some(2));
    let left = server.get(MAPS).await.expect(200);
    assert_eq!(left.at("/items/0/metadata/name"), "b");
    assert_eq!(left.body["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_collection_may_be_limited_rehearsed_and_held_to_its_options() {
    let server = server().await;
    for name in ["a", "b", "c"] {
        server.post(MAPS, config_map(name)).await.expect(201);
    }
    let count = async || server.get(MAPS).await.expect(200).body["items"].as_array().map_or(0, Vec::len);
    server.delete(&format!("{MAPS}?dryRun=All"), Value::Null).await.expect(200);
    server.delete(MAPS, json!({ "dryRun": ["All"] })).await.expect(200);
    assert_eq!(count().await, 3, "a rehearsal deletes nothing");
    let gone = server.delete(&format!("{MAPS}?limit=2"), Value::Null).await.expect(200);
    assert_eq!(gone.body["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(count().await, 1);
    server.delete(&format!("{MAPS}?resourceVersionMatch=Exact"), Value::Null).await.expect(422);
    server.delete(&format!("{MAPS}?limit=x"), Value::Null).await.expect(400);
    let held = server.delete(MAPS, json!({ "propagationPolicy": "Foreground" })).await.expect(200);
    assert_eq!(held.body["items"].as_array().map(Vec::len), Some(1));
    let held = server.get(&format!("{MAPS}/c")).await.expect(200);
    assert_eq!(held.at("/metadata/finalizers/0"), "foregroundDeletion");
}

#[tokio::test]
async fn preconditions_come_in_the_query_too() {
    let server = server().await;
    let made = server.post(MAPS, config_map("a")).await.expect(201);
    let path = format!("{MAPS}/a");
    let refused = server.delete(&format!("{path}?resourceVersion=1"), Value::Null).await.expect(409);
    let why = format!(
        "Operation cannot be fulfilled on ConfigMap \"a\": the ResourceVersion in the precondition (1) does not match \
         the ResourceVersion in record ({}). The object might have been modified",
        made.version()
    );
    assert_eq!(refused.at("/message"), why);
    server.delete(&format!("{path}?uid=x"), Value::Null).await.expect(409);
    let mut other = config_map("a");
    other["metadata"]["uid"] = json!("x");
    let refused = server.put(&path, other).await.expect(409);
    assert!(refused.at("/message").contains("Precondition failed: UID in precondition: x"), "{}", refused.text);
    let query = format!("uid={}&resourceVersion={}", made.at("/metadata/uid"), made.version());
    server.delete(&format!("{path}?{query}"), Value::Null).await.expect(200);
}

#[tokio::test]
async fn a_running_grace_period_keeps_the_finalizers() {
    let server = server().await;
    pod(&server, "p", "n1").await;
    let path = format!("{PODS}/p");
    server.delete(&path, Value::Null).await.expect(200);
    let again = server.delete(&path, json!({ "propagationPolicy": "Foreground" })).await.expect(200);
    assert!(again.body.pointer("/metadata/finalizers").is_none(), "{}", again.text);
    let negative = server.delete(&path, json!({ "gracePeriodSeconds": -3 })).await.expect(200);
    assert_eq!(negative.body.pointer("/metadata/deletionGracePeriodSeconds"), Some(&json!(1)));
}

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// A running pod `p` under a budget `b` whose controller said `status` of its newest generation.
async fn guarded(server: &Server, spec: Value, mut status: Value) {
    pod(server, "p", "n1").await;
    server.merge(&format!("{PODS}/p/status"), json!({ "status": { "phase": "Running" } })).await.expect(200);
    let mut budget = json!({ "metadata": { "name": "b" }, "spec": { "selector": { "matchLabels": { "app": "x" } } } });
    for (key, value) in spec.as_object().expect("a spec") {
        budget["spec"][key] = value.clone();
    }
    server.post(BUDGETS, budget).await.expect(201);
    status["observedGeneration"] = json!(1);
    server.merge(&format!("{BUDGETS}/b/status"), json!({ "status": status })).await.expect(200);
}

async fn evict(server: &Server, name: &str, options: Value) -> crate::support::Reply {
    let eviction = json!({ "metadata": { "name": name }, "deleteOptions": options });
    server.post(&format!("{PODS}/{name}/eviction"), eviction).await
}

#[tokio::test]
async fn an_eviction_asks_the_disruption_budget() {
    let server = server().await;
    let numbers = |allowed: i32, healthy: i32| json!({ "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": 1, "expectedPods": 2 });
    guarded(&server, json!({ "minAvailable": 1 }), numbers(0, 0)).await;
    let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
    server.merge(&format!("{PODS}/p/status"), ready).await.expect(200);
    let refused = evict(&server, "p", Value::Null).await.expect(429);
    assert_eq!(refused.at("/details/causes/0/reason"), "DisruptionBudget");
    let why = "The disruption budget b needs 1 healthy pods and has 0 currently";
    assert_eq!(refused.at("/details/causes/0/message"), why);
    assert_eq!(refused.at("/message"), "Cannot evict pod as it would violate the pod's disruption budget.");
    assert!(!refused.headers.contains_key("retry-after"), "clients that are told a time wait by themselves");
    server.merge(&format!("{BUDGETS}/b/status"), json!({ "status": numbers(1, 2) })).await.expect(200);
    evict(&server, "p", json!({ "dryRun": ["All"] })).await.expect(201);
    let pod = server.get(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(pod.at("/metadata/deletionTimestamp"), "", "a rehearsal");
    let unspent = server.get(&format!("{BUDGETS}/b")).await.expect(200);
    assert_eq!(unspent.body.pointer("/status/disruptionsAllowed"), Some(&json!(1)));
    evict(&server, "p", json!({ "preconditions": { "uid": "other" } })).await.expect(409);
    server.merge(&format!("{BUDGETS}/b/status"), json!({ "status": numbers(1, 2) })).await.expect(200);
    evict(&server, "p", json!({ "gracePeriodSeconds": 7 })).await.expect(201);
    let marked = server.get(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(marked.body.pointer("/metadata/deletionGracePeriodSeconds"), Some(&json!(7)));
    let conditions = marked.body["status"]["conditions"].as_array().expect("conditions");
    let target = conditions.iter().find(|one| one["type"] == "DisruptionTarget").expect("the condition");
    assert_eq!(target["reason"], "EvictionByEvictionAPI");
    let spent = server.get(&format!("{BUDGETS}/b")).await.expect(200);
    assert_eq!(spent.body.pointer("/status/disruptionsAllowed"), Some(&json!(0)));
    assert!(spent.body.pointer("/status/disruptedPods/p").is_some());
}

#[tokio::test]
async fn a_budget_that_was_not_worked_out_yet_asks_to_come_back() {
    let server = server().await;
    guarded(&server, json!({ "minAvailable": 1 }), json!({ "disruptionsAllowed": 5 })).await;
    server.merge(&format!("{BUDGETS}/b"), json!({ "spec": { "minAvailable": 2 } })).await.expect(200);
    let refused = evict(&server, "p", Value::Null).await.expect(429);
    assert_eq!(refused.headers.get("retry-after").and_then(|after| after.to_str().ok()), Some("10"));
    assert!(refused.at("/details/causes/0/message").ends_with("is still being processed by the server."));
}

#[tokio::test]
async fn an_unhealthy_pod_goes_as_its_policy_says() {
    let server = server().await;
    let spec = json!({ "minAvailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow" });
    guarded(&server, spec, json!({ "disruptionsAllowed": 0, "desiredHealthy": 1 })).await;
    evict(&server, "p", Value::Null).await.expect(201);
    let marked = server.get(&format!("{PODS}/p")).await.expect(200);
    assert!(!marked.at("/metadata/deletionTimestamp").is_empty());
    evict(&server, "absent", Value::Null).await.expect(404);
    let other = json!({ "metadata": { "name": "other" } });
    server.post(&format!("{PODS}/p/eviction"), other).await.expect(400);
}

#[tokio::test]
async fn two_budgets_for_one_pod_are_a_failure_in_an_answer_of_success() {
    let server = server().await;
    guarded(&server, json!({ "minAvailable": 1 }), json!({ "disruptionsAllowed": 5 })).await;
    let second = json!({ "metadata": { "name": "c" }, "spec": { "selector": {}, "maxUnavailable": 1 } });
    server.post(BUDGETS, second).await.expect(201);
    let answer = evict(&server, "p", Value::Null).await.expect(201);
    assert_eq!((answer.at("/status"), &answer.body["code"]), ("Failure", &json!(500)));
    assert!(answer.at("/message").starts_with("This pod has more than one PodDisruptionBudget"));
}
