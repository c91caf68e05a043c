//! Expressions in policies, match conditions and selectors, and what upstream v1.36 says of each where it stands.
//!
//! A row of the table is a place, an expression, and either `ok` with the type it has (of a selector also the greatest
//! estimate of its cost) or what a client reads. Behind a plus a place has `p` if the policy has parameters, `v` if it has
//! the variables below. What differs on purpose is listed here with its reason.

use serde_json::{Value, json};

use super::super::admission::expression::{Expressions, Place};
use super::super::claims;
use super::super::{validate_create, validate_update};
use crate::catalog::Catalog;
use crate::{coerce, default, strategy};

const CASES: &str = include_str!("expressions/cases.tsv");
/// Objects, some with what they replace, one a line.
const CHANGES: &str = include_str!("expressions/changes.json");
/// What is told of them.
const TOLD: &str = include_str!("expressions/changes.txt");

const VARIABLES: [(&str, &str); 18] = [
    ("one", "1"),
    ("spec", "object.spec"),
    ("list", "[1, 2]"),
    ("names", "{'a': [1u]}"),
    ("user", "request.userInfo"),
    ("nothing", "null"),
    ("maybe", "optional.of(1)"),
    ("when", "namespaceObject.metadata.creationTimestamp"),
    ("twice", "variables.one * 2"),
    ("kinds", "[request.kind]"),
    ("ratio", "1.5"),
    ("raw", "b'a'"),
    ("span", "duration('1s')"),
    ("what", "type(1)"),
    ("asked", "authorizer.group('')"),
    ("amount", "quantity('1')"),
    ("again", "1"),
    ("again", "'a'"),
];

/// Where an expression stands, and what is there besides.
struct Stand<'c> {
    place: &'c str,
    params: bool,
    variables: bool,
}

impl<'c> Stand<'c> {
    fn read(text: &'c str) -> Self {
        let (place, flags) = text.split_once('+').unwrap_or((text, ""));
        Self { place, params: flags.contains('p'), variables: flags.contains('v') }
    }

    fn variables(&self) -> Vec<Value> {
        let of = VARIABLES.iter().filter(|_| self.variables);
        of.map(|(name, expression)| json!({"name": name, "expression": expression})).collect()
    }

    fn policy(&self, kind: &str, spec: Value) -> Value {
        let operations = json!(["CREATE"]);
        let rule = json!({"operations": operations, "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        let mut policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "row"},
            "spec": {"matchConstraints": {"resourceRules": [rule]}, "variables": self.variables()},
        });
        if self.params {
            policy["spec"]["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        }
        for (name, value) in spec.as_object().unwrap() {
            policy["spec"][name] = value.clone();
        }
        policy
    }

    fn validating(&self, validation: Value, more: Value) -> Value {
        let mut policy = self.policy("ValidatingAdmissionPolicy", json!({"validations": [{"expression": "true"}]}));
        for (name, value) in validation.as_object().unwrap() {
            policy["spec"]["validations"][0][name] = value.clone();
        }
        for (name, value) in more.as_object().unwrap() {
            policy["spec"][name] = value.clone();
        }
        policy
    }

    fn mutating(&self, mutation: Value) -> Value {
        let spec = json!({"reinvocationPolicy": "Never", "mutations": [mutation]});
        self.policy("MutatingAdmissionPolicy", spec)
    }

    /// An object that has the expression at its place, and its resource.
    fn object(&self, expression: &str) -> (&'static str, Value) {
        let conditions = json!([{"name": "c", "expression": expression}]);
        let object = match self.place {
            "hook" => {
                let hook = json!({
                    "name": "a.b.c", "clientConfig": {"url": "https://a.b.c/"}, "sideEffects": "None",
                    "admissionReviewVersions": ["v1"], "matchConditions": conditions,
                });
                let object = json!({
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                    "metadata": {"name": "row"}, "webhooks": [hook],
                });
                return ("validatingwebhookconfigurations", object);
            }
            "device" => {
                let object = json!({
                    "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "row"},
                    "spec": {"selectors": [{"cel": {"expression": expression}}]},
                });
                return ("deviceclasses", object);
            }
            "apply" => {
                let apply = json!({"expression": expression});
                let mutation = json!({"patchType": "ApplyConfiguration", "applyConfiguration": apply});
                return ("mutatingadmissionpolicies", self.mutating(mutation));
            }
            "patch" => {
                let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
                return ("mutatingadmissionpolicies", self.mutating(mutation));
            }
            "condition" => self.validating(json!({}), json!({"matchConditions": conditions})),
            "variable" => {
                let mut variables = self.variables();
                variables.push(json!({"name": "last", "expression": expression}));
                self.validating(json!({}), json!({"variables": variables}))
            }
            "validation" => self.validating(json!({"expression": expression}), json!({})),
            "message" => self.validating(json!({"messageExpression": expression}), json!({})),
            "annotation" => {
                let annotations = json!([{"key": "k", "valueExpression": expression}]);
                self.validating(json!({}), json!({"auditAnnotations": annotations}))
            }
            other => panic!("{other} is no place"),
        };
        ("validatingadmissionpolicies", object)
    }

    /// What is known of an expression that is right.
    fn facts(&self, expression: &str) -> String {
        if self.place == "device" {
            let program = claims::compiled(expression, claims::Age::New).unwrap();
            return format!("{} {}", program.result_type().full_name(), program.cost().max);
        }
        let (place, trimmed) = match self.place {
            "hook" | "condition" => (Place::Condition, true),
            "variable" => (Place::Variable, false),
            "validation" => (Place::Validation, false),
            "message" => (Place::Message, false),
            "annotation" => (Place::Annotation, true),
            "apply" => (Place::ApplyConfiguration, true),
            "patch" => (Place::Patch, true),
            other => panic!("{other} is no place"),
        };
        let mut known = Expressions::new(self.params, true);
        let mut faults = super::super::Faults::default();
        for (name, expression) in VARIABLES.iter().filter(|_| self.variables) {
            known.declare(name, expression, &crate::path::Path::Root, &mut faults);
        }
        let ty = known.ty(if trimmed { expression.trim() } else { expression }, place).unwrap();
        ty.full_name()
    }

    fn answer(&self, expression: &str) -> String {
        let (plural, mut object) = self.object(expression);
        let group = object["apiVersion"].as_str().unwrap().split('/').next().unwrap();
        let kind = Catalog::builtin().resource(group, "v1", plural).unwrap();
        assert_eq!(coerce(kind, &object), Ok(()));
        default(kind, &mut object);
        strategy::prepare_create(kind, &mut object);
        let told: Vec<String> = validate_create(kind, &object).iter().map(ToString::to_string).collect();
        if told.is_empty() { format!("ok\t{}", self.facts(expression)) } else { told.join("\t").replace('\n', "\\N") }
    }
}

#[test]
fn expressions_are_judged_as_upstream_does() {
    let mut wrong = String::new();
    let mut count = 0;
    for line in CASES.lines() {
        let mut columns = line.splitn(3, '\t');
        let mut column = || columns.next().unwrap();
        let (stand, expression, expected) = (column(), column(), column());
        let found = Stand::read(stand).answer(&expression.replace("\\N", "\n"));
        if found != expected {
            count += 1;
            wrong.push_str(&format!("{stand} {expression}\n  expected {expected}\n  found    {found}\n"));
        }
    }
    assert!(wrong.is_empty(), "{count} differ:\n{wrong}");
}

/// The lines of a change, and its object's kind.
fn told(change: &Value) -> String {
    let ready = |name: &str| {
        let object = change[name].clone();
        let kind = Catalog::builtin()
            .kinds()
            .iter()
            .find(|kind| object["kind"] == kind.kind.as_str() && object["apiVersion"] == kind.api_version().as_str());
        (kind.unwrap(), object)
    };
    let (kind, mut new) = ready("new");
    default(kind, &mut new);
    let faults = if change["old"].is_null() {
        validate_create(kind, &new)
    } else {
        let (_, mut old) = ready("old");
        default(kind, &mut old);
        validate_update(kind, &new, &old)
    };
    faults.iter().map(|fault| format!("{}\n", fault.to_string().replace('\n', "\\N"))).collect()
}

#[test]
fn changes_are_judged_as_upstream_does() {
    let mut expected = TOLD.split("## ").skip(1);
    for line in CHANGES.lines() {
        let change: Value = serde_json::from_str(line).unwrap();
        let (name, lines) = expected.next().unwrap().split_once('\n').unwrap();
        assert_eq!(change["name"], name);
        assert_eq!(told(&change), lines, "{name}");
    }
    assert_eq!(expected.next(), None);
}
