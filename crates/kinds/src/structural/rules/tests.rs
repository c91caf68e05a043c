//! Definitions with rules, objects, and what upstream v1.36 says of both.

use serde_json::{Value, json};

use super::{check, watch};
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
