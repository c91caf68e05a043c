//! Admission policies: rules as expressions, with bindings, parameters, variables and what they do.

use serde_json::{Value, json};

use crate::support::{Server, server};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn policy(server: &Server, name: &str, spec: Value) {
    let mut object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name },
        "spec": { "matchConstraints": { "resourceRules": [
            { "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"] },
        ] } },
    });
    for (field, value) in spec.as_object().expect("a spec") {
        object["spec"][field] = value.clone();
    }
    server.post(&format!("{GROUP}/validatingadmissionpolicies"), object).await.expect(201);
}

async fn bind(server: &Server, name: &str, policy: &str, spec: Value) {
    let mut object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": name },
        "spec": { "policyName": policy, "validationActions": ["Deny"] },
    });
    for (field, value) in spec.as_object().expect("a spec") {
        object["spec"][field] = value.clone();
    }
    server.post(&format!("{GROUP}/validatingadmissionpolicybindings"), object).await.expect(201);
}

fn map(name: &str, data: Value) -> Value {
    json!({ "metadata": { "name": name }, "data": data })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_acts_where_it_is_bound_and_says_why() {
    let server = server().await;
    let validations = json!([
        { "expression": "variables.count < 3", "messageExpression": "'too many: ' + string(variables.count)" },
        { "expression": "oldObject == null || object.data.size() >= oldObject.data.size()", "message": "nothing may go", "reason": "Forbidden" },
        { "expression": "namespaceObject.metadata.name == 'default'" },
    ]);
    let variables = json!([{ "name": "count", "expression": "has(object.data) ? object.data.size() : 0" }]);
    policy(&server, "small", json!({ "validations": validations, "variables": variables })).await;
    let many = json!({ "a": "", "b": "", "c": "" });
    server.post(MAPS, map("unbound", many.clone())).await.expect(201);
    bind(&server, "everywhere", "small", json!({})).await;
    let refused = server.post(MAPS, map("many", many.clone())).await.expect(422);
    let told = "ValidatingAdmissionPolicy 'small' with binding 'everywhere' denied request: too many: 3";
    assert_eq!(refused.at("/message"), format!("configmaps \"many\" is forbidden: {told}"));
    assert_eq!((refused.at("/reason"), refused.at("/details/causes/0/message")), ("Invalid", told));
    server.post(MAPS, map("few", json!({ "a": "", "b": "" }))).await.expect(201);
    let refused = server.merge(&format!("{MAPS}/few"), json!({ "data": { "a": null } })).await.expect(403);
    assert!(refused.at("/message").ends_with("denied request: nothing may go"), "{}", refused.text);
    server.post("/api/v1/namespaces", json!({ "metadata": { "name": "other" } })).await.expect(201);
    let refused = server.post("/api/v1/namespaces/other/configmaps", map("a", json!({}))).await.expect(422);
    let told = "denied request: failed expression: namespaceObject.metadata.name == 'default'";
    assert!(refused.at("/message").ends_with(told), "{}", refused.text);
    // a policy that changes is another one at once
    let path = format!("{GROUP}/validatingadmissionpolicies/small");
    server.merge(&path, json!({ "spec": { "validations": [{ "expression": "true" }] } })).await.expect(200);
    server.post(MAPS, map("many", many)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_come_from_objects_and_may_be_missing() {
    let server = server().await;
    let spec = json!({
        "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
        "matchConditions": [{ "name": "no-limits", "expression": "!object.metadata.name.startsWith('limit')" }],
        "validations": [{ "expression": "object.data.size() <= int(params.data.most)", "message": "more than there may be" }],
    });
    policy(&server, "limit", spec).await;
    let reference = |action: &str| json!({ "paramRef": { "name": "limit", "namespace": "default", "parameterNotFoundAction": action } });
    bind(&server, "strict", "limit", reference("Deny")).await;
    let refused = server.post(MAPS, map("a", json!({ "a": "" }))).await.expect(422);
    let why = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert!(refused.at("/message").ends_with(why), "{}", refused.text);
    let path = format!("{GROUP}/validatingadmissionpolicybindings");
    server.delete(&format!("{path}/strict"), Value::Null).await.expect(200);
    bind(&server, "lenient", "limit", reference("Allow")).await;
    server.post(MAPS, map("a", json!({ "a": "" }))).await.expect(201);
    server.delete(&format!("{path}/lenient"), Value::Null).await.expect(200);
    server.post(MAPS, map("limit", json!({ "most": "1" }))).await.expect(201);
    bind(&server, "there", "limit", reference("Deny")).await;
    server.post(MAPS, map("b", json!({ "a": "" }))).await.expect(201);
    server.post(MAPS, map("c", json!({ "a": "", "b": "" }))).await.expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_may_only_warn_and_a_policy_may_fail_open() {
    let server = server().await;
    policy(
        &server,
        "open",
        json!({ "failurePolicy": "Ignore", "validations": [{ "expression": "object.data.missing == 'x'" }] }),
    )
    .await;
    bind(&server, "open", "open", json!({})).await;
    server.post(MAPS, map("a", json!({}))).await.expect(201);
    let path = format!("{GROUP}/validatingadmissionpolicies/open");
    server.merge(&path, json!({ "spec": { "failurePolicy": "Fail" } })).await.expect(200);
    let refused = server.post(MAPS, map("b", json!({}))).await.expect(422);
    let why = "expression 'object.data.missing == 'x'' resulted in error: no such key: ";
    assert!(refused.at("/message").contains(why), "{}", refused.text);
    server.delete(&path, Value::Null).await.expect(200);

    let asks = "authorizer.group('').resource('secrets').namespace('default').check('get').allowed() && authorizer.requestResource.check('create').allowed()";
    policy(
        &server,
        "warns",
        json!({ "validations": [{ "expression": asks }, { "expression": "false", "message": "do not" }] }),
    )
    .await;
    let chosen = json!({ "validationActions": ["Warn"], "matchResources": { "objectSelector": { "matchLabels": { "warn": "" } } } });
    bind(&server, "warns", "warns", chosen).await;
    let quiet = server.post(MAPS, map("c", json!({}))).await.expect(201);
    assert_eq!(quiet.warnings(), Vec::<&str>::new());
    let mut object = map("d", json!({}));
    object["metadata"]["labels"] = json!({ "warn": "" });
    let told = server.post(MAPS, object).await.expect(201);
    let warning = "Validation failed for ValidatingAdmissionPolicy 'warns' with binding 'warns': do not";
    assert_eq!(told.warnings().len(), 1, "{:?}", told.warnings());
    assert!(told.warnings()[0].contains(warning), "{:?}", told.warnings());
}
