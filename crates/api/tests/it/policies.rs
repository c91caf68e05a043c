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

async fn change(server: &Server, name: &str, mutations: Value, more: Value) {
    let rules = json!([{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods", "configmaps"] }]);
    let mut object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": { "name": name },
        "spec": { "matchConstraints": { "resourceRules": rules }, "mutations": mutations, "reinvocationPolicy": "Never", "failurePolicy": "Fail" },
    });
    for (field, value) in more.as_object().expect("a spec") {
        object["spec"][field] = value.clone();
    }
    server.post(&format!("{GROUP}/mutatingadmissionpolicies"), object).await.expect(201);
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": { "name": name },
        "spec": { "policyName": name },
    });
    server.post(&format!("{GROUP}/mutatingadmissionpolicybindings"), binding).await.expect(201);
}

fn apply(expression: &str) -> Value {
    json!({ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": expression } })
}

fn patch(expression: &str) -> Value {
    json!({ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } })
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_change_objects_by_configurations_and_patches() {
    let server = server().await;
    let mesh = "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'mesh', image: variables.image, restartPolicy: 'Always'}]}}";
    let variables = json!([{ "name": "image", "expression": "'proxy:' + namespaceObject.metadata.name" }]);
    let conditions =
        json!([{ "name": "pods", "expression": "request.kind.kind == 'Pod' && !has(object.spec.initContainers)" }]);
    change(&server, "mesh", json!([apply(mesh)]), json!({ "variables": variables, "matchConditions": conditions }))
        .await;
    let label = "[JSONPatch{op: 'test', path: '/kind', value: 'Pod'}, JSONPatch{op: 'add', path: '/metadata/labels', value: {'by': request.userInfo.username}}]";
    change(&server, "label", json!([patch(label)]), json!({})).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    let made = server.post(pods, pod).await.expect(201);
    let init = &made.body["spec"]["initContainers"];
    assert_eq!((&init[0]["name"], &init[0]["image"]), (&json!("mesh"), &json!("proxy:default")));
    assert_eq!((init[0]["imagePullPolicy"].as_str(), init.as_array().map(Vec::len)), (Some("IfNotPresent"), Some(1)));
    assert!(
        init[0]["volumeMounts"][0]["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-")),
        "{init}"
    );
    assert_eq!(made.at("/metadata/labels/by"), "kubernetes-admin");
    let made = server.post(MAPS, map("a", json!({}))).await.expect(201);
    assert_eq!(made.body["metadata"].get("labels"), None, "the test of the patch did not hold");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_made_is_told_and_a_policy_hears_of_later_ones() {
    let server = server().await;
    let again =
        "Object{metadata: Object.metadata{labels: {'count': string(has(object.data) ? size(object.data) : 0)}}}";
    change(&server, "a-count", json!([apply(again)]), json!({ "reinvocationPolicy": "IfNeeded" })).await;
    let adds = "has(object.data) && 'more' in object.data ? [] : [JSONPatch{op: 'add', path: '/data', value: {'more': 'yes', 'most': 'no'}}]";
    change(&server, "b-adds", json!([patch(adds)]), json!({})).await;
    let made = server.post(MAPS, map("a", Value::Null)).await.expect(201);
    assert_eq!((made.at("/metadata/labels/count"), made.at("/data/more")), ("2", "yes"));
    change(
        &server,
        "c-whole",
        json!([apply("Object{metadata: Object.metadata{finalizers: [Object.wrong{a: 1}]}}")]),
        json!({}),
    )
    .await;
    let refused = server.post(MAPS, map("b", json!({}))).await.expect(403);
    let why =
        "policy 'c-whole' with binding 'c-whole' denied request: type mismatch: unexpected type name \"Object.wrong\"";
    assert!(refused.at("/message").starts_with(why), "{}", refused.text);
    assert_eq!(refused.at("/reason"), "Invalid");
}
