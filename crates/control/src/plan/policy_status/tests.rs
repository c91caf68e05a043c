use serde_json::json;

use super::*;

fn policy(spec: Value) -> ValidatingAdmissionPolicy {
    serde_json::from_value(json!({ "metadata": { "name": "p", "generation": 2 }, "spec": spec })).expect("a policy")
}

fn rule(groups: &[&str], versions: &[&str], resources: &[&str]) -> Value {
    json!({ "apiGroups": groups, "apiVersions": versions, "resources": resources, "operations": ["*"] })
}

fn about(rules: Vec<Value>) -> ValidatingAdmissionPolicy {
    policy(json!({ "matchConstraints": { "resourceRules": rules } }))
}

/// Every resource there is but `nothings`, of a kind called like it.
fn found(policy: &ValidatingAdmissionPolicy) -> Vec<String> {
    let kind_of = |resource: &Resource| (resource.1 != "nothings").then(|| resource.1.clone());
    kinds(policy, kind_of).iter().map(ToString::to_string).collect()
}

/// A group with a kind that has most of what schemas have.
fn document() -> Value {
    json!({ "components": { "schemas": {
        "example.Widget": {
            "type": "object",
            "x-kubernetes-group-version-kind": [{ "group": "example.com", "version": "v1", "kind": "Widget" }],
            "properties": {
                "metadata": { "allOf": [{ "$ref": "#/components/schemas/Meta" }], "default": {} },
                "spec": { "$ref": "#/components/schemas/Spec" },
            },
        },
        "Meta": {
            "type": "object",
            "properties": {
                "name": { "type": "string" }, "creationTimestamp": { "type": "string", "format": "date-time" },
                "labels": { "type": "object", "additionalProperties": { "type": "string", "default": "" } },
            },
        },
        "Spec": {
            "type": "object",
            "properties": {
                "size": { "type": "integer", "format": "int32" },
                "port": { "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] },
                "limits": { "type": "object", "additionalProperties": { "$ref": "#/components/schemas/Quantity" } },
                "parts": { "type": "array", "items": { "$ref": "#/components/schemas/Spec" } },
                "free": {},
            },
        },
        "Quantity": { "oneOf": [{ "type": "string" }, { "type": "number" }] },
    } } })
}

fn widget() -> Kind {
    Kind { version: Version::parse("example.com/v1"), kind: "Widget".into() }
}

fn check(expression: &str, expected: Option<&str>) {
    let policy = policy(json!({ "validations": [{ "expression": expression }] }));
    let shape = shape(&document(), &widget()).expect("a shape");
    let warnings = warnings(&policy, &BTreeMap::from([(widget(), shape)]), None);
    let told: Vec<&str> = warnings.iter().map(|warning| &*warning.warning).collect();
    assert_eq!(
        told.first().copied().unwrap_or_default().contains(expected.unwrap_or("\u{0}")),
        expected.is_some(),
        "{told:?}"
    );
    assert_eq!(told.len(), usize::from(expected.is_some()), "{expression}: {told:?}");
}

#[test]
fn kinds_are_those_a_rule_names_in_order_without_wildcards_and_subresources() {
    let deployments = rule(&["apps"], &["v1"], &["replicasets", "deployments", "deployments/scale", "nothings"]);
    assert_eq!(found(&about(vec![deployments])), ["apps/v1, Kind=deployments", "apps/v1, Kind=replicasets"]);
    assert_eq!(found(&about(vec![rule(&[""], &["v1"], &["pods"])])), ["/v1, Kind=pods"]);
    for wild in
        [rule(&["*"], &["v1"], &["pods"]), rule(&[""], &["*"], &["pods"]), rule(&[""], &["v1"], &["*", "*/scale"])]
    {
        assert!(found(&about(vec![wild.clone()])).is_empty(), "{wild}");
    }
    assert!(found(&policy(json!({}))).is_empty());
}

#[test]
fn no_more_than_ten_kinds_of_a_rule_are_looked_at() {
    let many: Vec<String> = (10..30).map(|number| format!("r{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(found(&about(vec![rule(&["a"], &["v1"], &many), rule(&["b"], &["v1"], &["pods"])])).len(), 10);
}

#[test]
fn expressions_are_checked_against_the_schema_of_the_kind() {
    check("object.spec.size > 1", None);
    check("object.metadata.labels['a'] == 'b' && object.kind == 'Widget'", None);
    check("object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')", None);
    check("object.spec.port == 1 || object.spec.port == 'http'", None);
    check("quantity(object.spec.limits['cpu']).isGreaterThan(quantity('1'))", None);
    check("object.spec.parts.all(part, part.size > 1)", None);
    check("object.spec.colour == 'red'", Some("undefined field 'colour'"));
    check("object.spec.size == 'big'", Some("found no matching overload for '_==_'"));
    check("object.spec.free == 1", Some("undefined field 'free'"));
    check("object.spec.parts[0].parts[0].size == 1", None);
}

#[test]
fn a_schema_that_holds_itself_ends() {
    let Some(shape) = shape(&document(), &widget()) else { panic!("no shape") };
    let parts = shape.field("spec").and_then(|spec| spec.field("parts")).and_then(|parts| parts.elements());
    assert!(parts.is_some_and(|inner| inner.field("size").is_none()), "nothing is known of the circle");
}

#[test]
fn a_warning_names_the_field_the_kind_and_the_place() {
    let policy = policy(json!({
        "variables": [{ "name": "size", "expression": "object.spec.size" }],
        "validations": [
            { "expression": "variables.size > 1", "messageExpression": "object.nothing" },
            { "expression": "params.any > 1" },
        ],
    }));
    let shape = shape(&document(), &widget()).expect("a shape");
    let told = warnings(&policy, &BTreeMap::from([(widget(), shape)]), Some(None));
    let expected = ExpressionWarning {
        field_ref: "spec.validations[0].messageExpression".into(),
        warning: "example.com/v1, Kind=Widget: ERROR: <input>:1:7: undefined field 'nothing'\n | object.nothing\n | ......^\n".into(),
    };
    assert_eq!(told, [expected]);
}

#[test]
fn what_nobody_knows_is_not_warned_of() {
    let other = Kind { version: Version::parse("example.com/v2"), kind: "Widget".into() };
    assert!(shape(&document(), &other).is_none());
    let policy = policy(json!({ "validations": [{ "expression": "object.nothing" }] }));
    assert!(warnings(&policy, &BTreeMap::new(), None).is_empty());
}

#[test]
fn a_generation_is_told_of_once() {
    let mut policy = policy(json!({}));
    assert!(!is_told(&policy));
    policy.status.get_or_insert_default().observed_generation = Some(1);
    assert!(!is_told(&policy));
    policy.status.get_or_insert_default().observed_generation = Some(2);
    assert!(is_told(&policy));
}

#[test]
fn parameters_have_a_kind_if_the_policy_says_so() {
    assert_eq!(parameters(&policy(json!({}))), None);
    let with = policy(json!({ "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" } }));
    assert_eq!(parameters(&with).expect("a kind").to_string(), "/v1, Kind=ConfigMap");
    assert_eq!(Version::parse("v1").path(), "api/v1");
    assert_eq!(Version::parse("apps/v1").path(), "apis/apps/v1");
}
