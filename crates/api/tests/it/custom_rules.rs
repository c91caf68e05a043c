//! Rules that authors of definitions write about their objects, as a client meets them.

use serde_json::{Value, json};

use crate::custom::{CRDS, TABS, crontabs, define, tab};
use crate::support::{Reply, Server, server};

/// The usual definition, with rules on the spec and on its replicas.
fn ruled(rules: Value) -> Value {
    let mut definition = crontabs();
    let spec = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec").expect("a spec");
    spec["x-kubernetes-validations"] = rules;
    definition
}

async fn with_rules(rules: Value) -> Server {
    let server = server().await;
    define(&server, ruled(rules)).await;
    server
}

/// Field and message of every cause of a refusal.
fn causes(reply: &Reply) -> Vec<String> {
    let causes = reply.body["details"]["causes"].as_array().cloned().unwrap_or_default();
    causes
        .iter()
        .map(|cause| format!("{}: {}", cause["field"].as_str().unwrap_or_default(), cause["message"]))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_whose_rules_cannot_be_compiled_is_refused_rule_by_rule() {
    let server = server().await;
    let rules = json!([
        {"rule": "self.replicas > 0"},
        {"rule": "self.nothing > 0"},
        {"rule": "self.replicas"},
        {"rule": "self.replicas > 1", "messageExpression": "self.replicas"},
        {"rule": "self.hosts.all(a, self.hosts.all(b, a == b))"},
    ]);
    let reply = server.post(CRDS, ruled(rules)).await.expect(422);
    let place = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations";
    let fields: Vec<String> = reply.body["details"]["causes"]
        .as_array()
        .expect("causes")
        .iter()
        .map(|cause| cause["field"].as_str().unwrap_or_default().replace(place, ""))
        .collect();
    assert_eq!(
        fields,
        ["[1].rule", "[2].rule", "[3].messageExpression", "[4].rule", "[4].rule", "spec.validation.openAPIV3Schema"]
    );
    assert!(reply.text.contains("compilation failed: ERROR: <input>:1:5: undefined field 'nothing'"), "{}", reply.text);
    assert!(reply.text.contains("estimated rule cost exceeds budget by factor of more than 100x"), "{}", reply.text);
    server.post(CRDS, ruled(json!([{"rule": "self.replicas > 0"}]))).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_write_is_held_to_the_rules() {
    let server = with_rules(json!([
        {"rule": "self.replicas != 7", "message": "seven is not allowed"},
        {"rule": "self.replicas >= oldSelf.replicas", "messageExpression": "oldSelf.replicas == 5 ? 'was 5' : 'was more'"},
    ]))
    .await;
    let mut object = tab("a");
    object["spec"]["replicas"] = json!(7);
    let refused = server.post(TABS, object.clone()).await.expect(422);
    assert_eq!(causes(&refused), [r#"spec: "Invalid value: seven is not allowed""#]);
    assert_eq!(
        refused.at("/message"),
        "CronTab.stable.example.com \"a\" is invalid: spec: Invalid value: seven is not allowed"
    );
    object["spec"]["replicas"] = json!(5);
    server.post(TABS, object.clone()).await.expect(201);
    let a = format!("{TABS}/a");
    let refused = server.merge(&a, json!({"spec": {"replicas": 7}})).await.expect(422);
    assert_eq!(causes(&refused), [r#"spec: "Invalid value: seven is not allowed""#]);
    let refused = server.merge(&a, json!({"spec": {"replicas": 3}})).await.expect(422);
    assert_eq!(causes(&refused), [r#"spec: "Invalid value: was 5""#]);
    let held = server.get(&a).await.expect(200);
    let mut changed = held.body.clone();
    changed["spec"]["replicas"] = json!(4);
    assert_eq!(causes(&server.put(&a, changed).await.expect(422)), [r#"spec: "Invalid value: was 5""#]);
    let applied = json!({
        "apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "a"}, "spec": {"replicas": 7},
    });
    let path = format!("{a}?fieldManager=m&force=true");
    server.patch(&path, "apply-patch+yaml", applied).await.expect(422);
    server.merge(&format!("{a}/scale"), json!({"spec": {"replicas": 4}})).await.expect(422);
    server.merge(&a, json!({"spec": {"replicas": 6}})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_judged_with_the_whole_object() {
    let server = server().await;
    let mut definition = crontabs();
    let schema = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").expect("a schema");
    schema["x-kubernetes-validations"] = json!([
        {"rule": "!has(self.status) || !has(self.status.replicas) || self.status.replicas <= self.spec.replicas",
         "message": "more than wanted", "fieldPath": ".status.replicas", "reason": "FieldValueForbidden"},
        {"rule": "self.metadata.name.startsWith('a')"},
    ]);
    define(&server, definition).await;
    let refused = server.post(TABS, tab("b")).await.expect(422);
    let told = r#"<nil>: "Invalid value: failed rule: self.metadata.name.startsWith('a')""#;
    assert_eq!(causes(&refused), [told]);
    server.post(TABS, tab("a")).await.expect(201);
    let status = format!("{TABS}/a/status");
    let refused = server.merge(&status, json!({"status": {"replicas": 3}})).await.expect(422);
    assert_eq!(causes(&refused), [r#"status.replicas: "Forbidden: more than wanted""#]);
    server.merge(&status, json!({"status": {"replicas": 2}})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_wait_until_the_object_fits_its_schema() {
    let server = with_rules(json!([{"rule": "self.replicas == 2"}])).await;
    let mut object = tab("a");
    object["spec"]["policy"] = json!("Sometimes");
    object["spec"]["replicas"] = json!(3);
    let refused = server.post(TABS, object.clone()).await.expect(422);
    let last = causes(&refused).pop().expect("a cause");
    assert!(last.contains("some validation rules were not checked because the object was invalid"), "{last}");
    assert!(!refused.text.contains("failed rule"), "{}", refused.text);
    object["spec"]["policy"] = json!("Allow");
    let refused = server.post(TABS, object).await.expect(422);
    assert_eq!(causes(&refused), [r#"spec: "Invalid value: failed rule: self.replicas == 2""#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_came_later_spares_what_does_not_change() {
    let server = server().await;
    define(&server, crontabs()).await;
    server.post(TABS, tab("a")).await.expect(201);
    let name = format!("{CRDS}/crontabs.stable.example.com");
    let rules = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value":
        ruled(json!([{"rule": "self.replicas > 5"}]))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]}]);
    server.patch(&name, "json-patch+json", rules).await.expect(200);
    // the new rule is in force when a new object meets it
    loop {
        if server.post(&format!("{TABS}?dryRun=All"), tab("b")).await.code == 422 {
            break;
        }
    }
    let a = format!("{TABS}/a");
    let spared = server.merge(&a, json!({"metadata": {"labels": {"x": "y"}}})).await.expect(200);
    assert_eq!(spared.warnings(), [r#"299 - "spec: Invalid value: failed rule: self.replicas > 5""#]);
    let refused = server.merge(&a, json!({"spec": {"replicas": 3}})).await.expect(422);
    assert_eq!(causes(&refused), [r#"spec: "Invalid value: failed rule: self.replicas > 5""#]);
    server.merge(&a, json!({"spec": {"replicas": 6}})).await.expect(200);
}
