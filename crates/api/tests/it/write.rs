//! create, update, patch: what is accepted, what is refused and in which words.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{MAPS, config_map, server, server_with};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": { "app": "x" } },
            "template": {
                "metadata": { "labels": { "app": "x" } },
                "spec": { "containers": [{ "name": "a", "image": "one" }, { "name": "b", "image": "two" }] },
            },
        },
    })
}

#[tokio::test]
async fn a_new_object_gets_identity_and_defaults() {
    let server = server().await;
    let made = server.post(DEPLOYMENTS, deployment("web")).await.expect(201);
    assert_eq!(made.at("/metadata/namespace"), "default");
    assert_eq!(made.at("/spec/strategy/type"), "RollingUpdate");
    assert_eq!(made.body.pointer("/metadata/generation"), Some(&json!(1)));
    assert!(made.at("/metadata/uid").len() == 36 && made.at("/metadata/creationTimestamp").ends_with('Z'));
    let dry = server.post(&format!("{DEPLOYMENTS}?dryRun=All"), deployment("dry")).await.expect(201);
    assert!(dry.version().is_empty() && !dry.at("/metadata/uid").is_empty());
    server.get(&format!("{DEPLOYMENTS}/dry")).await.expect(404);
    let taken = server.post(&format!("{DEPLOYMENTS}?dryRun=All"), deployment("web")).await.expect(409);
    assert_eq!(taken.at("/message"), "deployments.apps \"web\" already exists");
    let generated = server.post(MAPS, json!({ "metadata": { "generateName": "gen-" } })).await.expect(201);
    assert!(generated.at("/metadata/name").starts_with("gen-") && generated.at("/metadata/name").len() == 9);
}

#[tokio::test]
async fn a_bad_body_is_refused_in_upstreams_words() {
    let server = server().await;
    let check = async |headers: &[(&str, &str)], body: &str, code: u16, message: &str| {
        let reply = server.call(&format!("POST {MAPS}"), headers, body.to_owned()).await.expect(code);
        assert!(reply.at("/message").contains(message), "{}", reply.text);
        assert_eq!(reply.at("/kind"), "Status");
    };
    let unreadable = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: ";
    check(&[], "{\"a\"", 400, &format!("{unreadable}unexpected end of JSON input ({{\"a\")")).await;
    check(&[], "[]", 400, "json: cannot unmarshal array into Go value").await;
    check(&[], "{nope}", 400, "invalid character 'n' looking for beginning of object key string").await;
    let yaml = [("content-type", "application/yaml")];
    check(&yaml, "a: [", 400, "error converting YAML to JSON").await;
    check(&[("content-type", "text/plain")], "{}", 415, "unknown format").await;
    check(&[("content-type", "application/vnd.kubernetes.protobuf")], "{}", 400, "expected prefix").await;
    check(&[], "{}", 422, "name or generateName is required").await;
    check(
        &[],
        r#"{"apiVersion":"v2"}"#,
        400,
        "the API version in the data (v2) does not match the expected API version (v1)",
    )
    .await;
    check(&[], r#"{"kind":"Secret"}"#, 400, "cannot be handled as a ConfigMap").await;
    check(
        &[],
        r#"{"data":{"a":1}}"#,
        400,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number",
    )
    .await;
    check(
        &[],
        r#"{"metadata":{"name":"a","namespace":"other"}}"#,
        400,
        "the namespace of the provided object does not match",
    )
    .await;
    check(
        &[],
        r#"{"metadata":{"name":"A_b"}}"#,
        422,
        "ConfigMap \"A_b\" is invalid: metadata.name: Invalid value: \"A_b\"",
    )
    .await;
    check(&[], r#"{"metadata":{"name":"a","resourceVersion":"1"}}"#, 400, "resourceVersion should not be set").await;
    let large = format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(3 << 20));
    check(&[], &large, 413, "Request entity too large: limit is 3145728").await;
    let made = server.call(&format!("POST {MAPS}"), &yaml, "metadata: {name: y}\ndata: {a: b}\n").await.expect(201);
    assert_eq!(made.at("/data/a"), "b");
}

#[tokio::test]
async fn unknown_fields_are_ignored_warned_of_or_refused() {
    let server = server().await;
    let body = r#"{"metadata":{"name":"NAME"},"data":{"a":"1","a":"2"},"spec":{"foo":1}}"#;
    let send = async |name: &str, mode: &str| {
        let path = format!("POST {MAPS}?fieldValidation={mode}");
        server.call(&path, &[], body.replace("NAME", name)).await
    };
    let ignored = send("ignored", "Ignore").await.expect(201);
    assert!(ignored.body.get("spec").is_none() && ignored.warnings().is_empty());
    let warned = send("warned", "Warn").await.expect(201);
    assert_eq!(warned.warnings(), [r#"299 - "unknown field \"spec\"""#, r#"299 - "duplicate field \"data.a\"""#]);
    let refused = send("refused", "Strict").await.expect(400);
    let expected = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"spec\", duplicate field \"data.a\"";
    assert_eq!(refused.at("/message"), expected);
    send("x", "Nope").await.expect(422);
}

#[tokio::test]
async fn validation_tells_every_fault_with_its_field() {
    let server = server().await;
    let mut pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "image": "i" }], "restartPolicy": "Sometimes" } });
    let reply = server.post(PODS, pod.clone()).await.expect(422);
    assert_eq!(reply.at("/reason"), "Invalid");
    assert_eq!((reply.at("/details/kind"), reply.at("/details/name")), ("Pod", "p"));
    let causes: Vec<&str> = reply
        .body
        .pointer("/details/causes")
        .and_then(Value::as_array)
        .expect("causes")
        .iter()
        .filter_map(|cause| cause["field"].as_str())
        .collect();
    assert!(causes.contains(&"spec.containers[0].name") && causes.contains(&"spec.restartPolicy"), "{}", reply.text);
    pod["spec"] = json!({ "containers": [] });
    server.post(PODS, pod).await.expect(422);
}

#[tokio::test]
async fn an_update_must_name_the_object_it_replaces() {
    let server = server().await;
    let made = server.post(MAPS, config_map("a")).await.expect(201);
    let path = format!("{MAPS}/a");
    let check = async |change: &dyn Fn(&mut Value), code: u16, message: &str| {
        let mut object = made.body.clone();
        change(&mut object);
        let reply = server.put(&path, object).await.expect(code);
        assert!(reply.at("/message").contains(message), "{}", reply.text);
    };
    check(
        &|o| o["metadata"]["name"] = json!("b"),
        400,
        "the name of the object (b) does not match the name on the URL (a)",
    )
    .await;
    check(&|o| o["metadata"]["name"] = json!(""), 400, "name must be provided").await;
    check(&|o| o["metadata"]["namespace"] = json!("b"), 400, "does not match the namespace on the request (default)")
        .await;
    check(&|o| o["metadata"]["uid"] = json!("b"), 409, "Precondition failed: UID in precondition: b").await;
    let stale = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again";
    check(&|o| o["metadata"]["resourceVersion"] = json!("1"), 409, stale).await;
    // without a version it is unconditional, and what the server owns is kept
    let updated = server.put(&path, json!({ "metadata": { "name": "a" }, "data": { "b": "2" } })).await.expect(200);
    assert_eq!(updated.at("/metadata/uid"), made.at("/metadata/uid"));
    assert_eq!(updated.body["data"], json!({ "b": "2" }));
    server.put(&format!("{MAPS}/none"), config_map("none")).await.expect(404);
    let lease = json!({ "metadata": { "name": "l" }, "spec": { "holderIdentity": "h" } });
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    server.put(leases, lease.clone()).await.expect(201);
    let unversioned = server.put(leases, lease).await.expect(422);
    assert!(
        unversioned
            .at("/message")
            .contains("metadata.resourceVersion: Invalid value: 0: must be specified for an update")
    );
}

#[tokio::test]
async fn patches_merge_by_their_dialect_and_start_over_on_conflict() {
    let server = server().await;
    server.post(DEPLOYMENTS, deployment("web")).await.expect(201);
    let path = format!("{DEPLOYMENTS}/web");
    let images = |reply: &crate::support::Reply| -> Vec<String> {
        let containers =
            reply.body.pointer("/spec/template/spec/containers").and_then(Value::as_array).expect("containers");
        containers.iter().map(|one| one["image"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let template = |containers: Value| json!({ "spec": { "template": { "spec": { "containers": containers } } } });
    let by_name = template(json!([{ "name": "b", "image": "three" }]));
    let strategic = server.patch(&path, "strategic-merge-patch+json", by_name.clone()).await.expect(200);
    assert_eq!(images(&strategic), ["one", "three"], "containers merge by name");
    assert_eq!(strategic.body.pointer("/metadata/generation"), Some(&json!(2)));
    let merged = server.merge(&path, by_name).await.expect(200);
    assert_eq!(images(&merged), ["three"], "a merge patch replaces lists");
    let json_patch = json!([{ "op": "test", "path": "/spec/replicas", "value": 7 }]);
    let failed = server.patch(&path, "json-patch+json", json_patch).await.expect(422);
    assert_eq!(failed.at("/message"), "the server rejected our request due to an error in our request");
    let stale = json!({ "metadata": { "resourceVersion": "1" }, "spec": { "replicas": 3 } });
    server.merge(&path, stale).await.expect(409);
    server.patch(&path, "json", json!({})).await.expect(415);
    server.call(&format!("PATCH {path}"), &[("content-type", "application/merge-patch+json")], "{").await.expect(400);
    let strict = format!("{path}?fieldValidation=Strict");
    let unknown = server.merge(&strict, json!({ "spec": { "foo": 1 } })).await.expect(422);
    assert!(unknown.at("/message").contains("strict decoding error: unknown field \"spec.foo\""), "{}", unknown.text);
    // many at once: each lost race is tried again
    let path = &path;
    let server = &server;
    let all = (0..20).map(|index| async move {
        let label = json!({ "metadata": { "labels": { format!("l{index}"): "x" } } });
        server.merge(path, label).await.expect(200);
    });
    futures::future::join_all(all).await;
    let labels = server
        .get(path)
        .await
        .expect(200)
        .body
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .map(serde_json::Map::len);
    assert_eq!(labels, Some(20));
}

#[tokio::test]
async fn status_and_scale_write_their_part_only() {
    let server = server().await;
    let made = server.post(DEPLOYMENTS, deployment("web")).await.expect(201);
    let path = format!("{DEPLOYMENTS}/web");
    let mut both = made.body.clone();
    both["spec"]["replicas"] = json!(9);
    both["status"] = json!({ "replicas": 2, "observedGeneration": 1 });
    let status = server.put(&format!("{path}/status"), both.clone()).await.expect(200);
    assert_eq!(status.body.pointer("/spec/replicas"), Some(&json!(2)));
    assert_eq!(status.body.pointer("/status/replicas"), Some(&json!(2)));
    both["metadata"]["resourceVersion"] = json!(status.version());
    both["status"] = json!({ "replicas": 5 });
    let spec = server.put(&path, both).await.expect(200);
    assert_eq!(spec.body.pointer("/spec/replicas"), Some(&json!(9)));
    assert_eq!(spec.body.pointer("/status/replicas"), Some(&json!(2)));

    let scale = server.get(&format!("{path}/scale")).await.expect(200);
    assert_eq!((scale.at("/kind"), scale.at("/apiVersion")), ("Scale", "autoscaling/v1"));
    assert_eq!(scale.at("/status/selector"), "app=x");
    let scaled = server.merge(&format!("{path}/scale"), json!({ "spec": { "replicas": 4 } })).await.expect(200);
    assert_eq!(scaled.body.pointer("/spec/replicas"), Some(&json!(4)));
    let mut put = scaled.body.clone();
    put["spec"]["replicas"] = json!(0);
    server.put(&format!("{path}/scale"), put.clone()).await.expect(200);
    server.put(&format!("{path}/scale"), put).await.expect(409);
    let negative = json!({ "metadata": { "name": "web" }, "spec": { "replicas": -1 } });
    server.put(&format!("{path}/scale"), negative).await.expect(422);
    assert_eq!(server.get(&path).await.body.pointer("/spec/replicas"), Some(&json!(0)));
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let server = server().await;
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    server.post(PODS, pod).await.expect(201);
    let binding = |node: &str| json!({ "metadata": { "name": "p" }, "target": { "kind": "Node", "name": node } });
    let bound = server.post(&format!("{PODS}/p/binding"), binding("n1")).await.expect(201);
    assert_eq!(bound.at("/status"), "Success");
    let pod = server.get(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(pod.at("/spec/nodeName"), "n1");
    assert_eq!(pod.at("/status/conditions/0/type"), "PodScheduled");
    let again = server.post("/api/v1/namespaces/default/bindings", binding("n2")).await.expect(409);
    assert!(again.at("/message").contains("pod p is already assigned to node \"n1\""), "{}", again.text);
}

#[tokio::test]
async fn a_device_taint_is_stamped_when_it_comes_and_when_it_turns() {
    let store = store::in_memory(store::Options::new(api::stamp)).expect("a store in memory");
    let server = server_with(Arc::new(store), vec!["resource.k8s.io/v1beta2=true".to_owned()]).await;
    let rules = "/apis/resource.k8s.io/v1beta2/devicetaintrules";
    let rule = |taint: Value| json!({ "metadata": { "name": "r" }, "spec": { "taint": taint } });
    let dry = format!("{rules}?dryRun=All");
    let made = server.post(&dry, rule(json!({ "key": "a/b", "effect": "NoExecute" }))).await.expect(201);
    assert!(made.at("/spec/taint/timeAdded").ends_with('Z'), "{}", made.text);
    let old = "2020-01-01T00:00:00Z";
    let taint = json!({ "key": "a/b", "effect": "NoSchedule", "timeAdded": old });
    let made = server.post(rules, rule(taint)).await.expect(201);
    assert_eq!((made.at("/spec/taint/timeAdded"), &made.body["metadata"]["generation"]), (old, &json!(1)));
    let path = format!("{rules}/r");
    let same = server.merge(&path, json!({ "spec": { "taint": { "value": "v" } } })).await.expect(200);
    assert_eq!((same.at("/spec/taint/timeAdded"), &same.body["metadata"]["generation"]), (old, &json!(2)));
    let turned = server.merge(&path, json!({ "spec": { "taint": { "effect": "NoExecute" } } })).await.expect(200);
    assert!(turned.at("/spec/taint/timeAdded") > old, "{}", turned.text);
    let given = json!({ "spec": { "taint": { "effect": "NoSchedule", "timeAdded": old } } });
    assert_eq!(server.merge(&path, given).await.expect(200).at("/spec/taint/timeAdded"), old);
}
