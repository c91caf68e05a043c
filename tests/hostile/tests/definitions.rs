//! What the gateway brings to a cluster, and what the cluster then lets in.

use http::Method;
use knarr_hostile::server::{Reply, server};
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const POLICIES: &str = "/apis/gateway.knarr.dev/v1alpha1/namespaces/default/trafficpolicies";

fn post(path: &str, object: &Value) -> Reply {
    let json = [("content-type", "application/json")];
    server().ask(&Method::POST, path, &json, object.to_string().into()).expect("a request")
}

/// What the API server says to a policy with this spec.
fn asked(mut spec: Value, target: &Value) -> Reply {
    spec["targetRefs"] = json!([target]);
    let policy = json!({ "apiVersion": "gateway.knarr.dev/v1alpha1", "kind": "TrafficPolicy",
        "metadata": { "name": "web" }, "spec": spec });
    post(&format!("{POLICIES}?dryRun=All&fieldValidation=Strict"), &policy)
}

#[test]
fn traffic_policies_are_defined_and_their_schema_refuses_what_a_pattern_can_tell() {
    let definition = gateway::policies::definition().expect("JSON");
    let made = post(DEFINITIONS, &definition);
    assert_eq!(made.code, 201, "{}", made.text);
    let target = json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "web" });
    let begun = std::time::Instant::now();
    while asked(json!({}), &target).code == 404 {
        assert!(begun.elapsed() < knarr_hostile::server::PATIENCE, "the kind is served soon");
    }
    let table: [(Value, Value, u16); 8] = [
        (
            json!({ "timeouts": { "request": "10s" }, "rateLimits": [{ "name": "all", "requests": 5 }] }),
            target.clone(),
            201,
        ),
        (json!({ "timeouts": { "request": "ten" } }), target.clone(), 422),
        (json!({ "timeouts": { "all": "10s" } }), target.clone(), 400),
        (json!({ "rateLimits": [{ "name": "A b", "requests": 5 }] }), target.clone(), 422),
        (json!({ "health": { "tcp": {}, "interval": "5s" } }), json!({ "kind": "Service", "name": "web" }), 201),
        (json!({ "health": { "tcp": {}, "grpc": {} } }), json!({ "kind": "Service", "name": "web" }), 422),
        (json!({}), json!({ "group": "apps", "kind": "Deployment", "name": "web" }), 422),
        (json!({}), json!({ "kind": "Service", "name": "web", "sectionName": "http" }), 422),
    ];
    for (spec, target, code) in table {
        let reply = asked(spec.clone(), &target);
        assert_eq!(reply.code, code, "{spec} {target}: {}", reply.text);
    }
}
