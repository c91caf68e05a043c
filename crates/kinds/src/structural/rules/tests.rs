//! Definitions with rules, objects, and what upstream v1.36 says of both.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Node, Watched, check, watch};
use crate::catalog::Catalog;
use crate::structural::compile;
use crate::validate_create;

const CASES: &str = include_str!("cases/cases.json");
const EXPECTED: &str = include_str!("cases/expected.txt");

fn definition(schema: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "group": "example.com", "scope": "Cluster", "conversion": {"strategy": "None"},
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
        "status": {"storedVersions": ["v1"]},
    })
}

/// The lines of a case; those of one message belong together, and the order of messages is not told.
fn lines(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        match found.last_mut() {
            Some(last) if line.starts_with(" | ") => last.push_str(&format!("\n{line}")),
            _ => found.push(line.to_owned()),
        }
    }
    found.sort();
    found
}

#[test]
fn definitions_and_objects_are_judged_as_upstream_does() {
    let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
    let catalog = Catalog::builtin();
    let kind = catalog.resource("apiextensions.k8s.io", "v1", "customresourcedefinitions").unwrap();
    let mut expected = EXPECTED.split("## ").skip(1);
    for case in cases {
        let schema = &case["Schema"];
        let mut told = String::new();
        for fault in validate_create(kind, &definition(schema)) {
            told.push_str(&format!("crd: {fault}\n"));
        }
        let node = compile(schema);
        let watched = watch(&node, true).unwrap();
        for (index, change) in case["Changes"].as_array().unwrap().iter().enumerate() {
            let old = change.get("Old").filter(|old| !old.is_null());
            for fault in check(&watched, &node, &change["New"], old) {
                told.push_str(&format!("{index}: {fault}\n"));
            }
        }
        let (name, expected) = expected.next().unwrap().split_once('\n').unwrap();
        assert_eq!(name, case["Name"]);
        let (told, expected) = (lines(&told), lines(expected));
        assert!(told == expected, "{name}\nexpected\n{}\ntold\n{}", expected.join("\n"), told.join("\n"));
    }
}

#[test]
fn a_long_list_that_did_not_change_is_compared_once() {
    let rule = json!([{"rule": "self > 10"}]);
    let schema = json!({"type": "object", "properties": {
        "l": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": rule}},
    }});
    let node = compile(&schema);
    let watched = watch(&node, true).unwrap();
    let object = json!({"l": vec![1; 100_000]});
    assert_eq!(check(&watched, &node, &object, Some(&object.clone())), []);
}

/// A value of any shape, made of names and words that the cases use.
fn any_value() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec!["a", "b", "x", "default", "2h", "2020-01-01T00:00:00Z", "", "dup"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..400).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "spec",
        "min",
        "max",
        "name",
        "kind",
        "metadata",
        "a",
        "b",
        "list",
        "map",
        "l",
        "m",
        "k",
        "v",
        "x",
        "set",
        "d",
        "t",
        "e",
        "namespace",
        "x-y",
        "a b",
        "zero",
        "port",
        "nil",
    ]);
    leaf.prop_recursive(4, 30, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn objects_of_any_shape_are_answered(new in any_value(), old in any_value()) {
        static WATCHED: LazyLock<Vec<(Node, Watched)>> = LazyLock::new(|| {
            let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
            let nodes = cases.iter().map(|case| compile(&case["Schema"]));
            nodes.filter_map(|node| watch(&node, true).map(|watched| (node, watched))).collect()
        });
        for (node, watched) in WATCHED.iter() {
            check(watched, node, &new, None);
            check(watched, node, &new, Some(&old));
            prop_assert!(check(watched, node, &new, Some(&new)).iter().all(|fault| !fault.path.is_empty()));
        }
    }
}
