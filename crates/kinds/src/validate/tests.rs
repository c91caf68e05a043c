//! What is told of the common mistakes in every kind: an object that is right, one change to it, and the lines that a
//! client reads.
//!
//! A table holds blocks: `object RESOURCE JSON`, then cases. A case is `create` or `update`, where the change is and what
//! is put there (`-` takes it away, `twice` repeats the first item of a list), and below it the lines that are expected,
//! indented. The first member of the path is at the top of the object. A case of `update` changes the object that is
//! there.

mod admission;
mod apps;
mod batch;
mod by_hand;
mod certificates;
mod core;
mod devices;
mod expressions;
mod flowcontrol;
mod networking;
mod rbac;
mod small;
mod storage;
mod storage_core;
mod versions;

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{validate_create, validate_update};
use crate::catalog::{Catalog, Kind};
use crate::{coerce, default, strategy};

static TABLES: &[&str] = &[
    admission::TABLE,
    apps::TABLE,
    batch::TABLE,
    by_hand::TABLE,
    certificates::TABLE,
    core::TABLE,
    devices::TABLE,
    flowcontrol::TABLE,
    networking::TABLE,
    rbac::TABLE,
    small::TABLE,
    storage::TABLE,
    storage_core::TABLE,
    versions::TABLE,
];

/// Definitions have rules and tests of their own.
const ELSEWHERE: &str = "customresourcedefinitions.apiextensions.k8s.io";

const LEAST: usize = 10;

struct Case {
    resource: String,
    object: Value,
    verb: String,
    place: String,
    change: String,
    lines: Vec<String>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for table in TABLES {
        let (mut resource, mut object) = (String::new(), Value::Null);
        for line in table.lines().filter(|line| !line.is_empty()) {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().unwrap().to_owned();
            if let Some(line) = line.strip_prefix("    ") {
                cases.last_mut().unwrap().lines.push(line.to_owned());
            } else if line.starts_with("object ") {
                let (_, name, json) = (word(), word(), word());
                (resource, object) = (name, serde_json::from_str(&json).unwrap());
            } else {
                let (verb, place, change) = (word(), word(), word());
                let (resource, object) = (resource.clone(), object.clone());
                cases.push(Case { resource, object, verb, place, change, lines: Vec::new() });
            }
        }
    }
    cases
}

impl Case {
    fn kind(&self) -> &'static Kind {
        let (plural, group) = self.resource.split_once('.').unwrap();
        let (_, version) = crate::catalog::split_api_version(self.object["apiVersion"].as_str().unwrap());
        Catalog::builtin().resource(group, version, plural).unwrap()
    }

    fn changed(&self, object: &Value) -> Value {
        let mut changed = object.clone();
        let (above, last) = self.place.rsplit_once('/').unwrap();
        let above = changed.pointer_mut(above).unwrap();
        let last = last.replace("~1", "/").replace("~0", "~");
        match (self.change.as_str(), above) {
            ("-", Value::Object(members)) => drop(members.remove(&last)),
            ("-", Value::Array(items)) => drop(items.remove(last.parse().unwrap())),
            ("twice", above) => {
                let list = above.pointer_mut(&format!("/{last}")).unwrap().as_array_mut().unwrap();
                list.push(list[0].clone());
            }
            (json, Value::Array(items)) => {
                items[last.parse::<usize>().unwrap()] = serde_json::from_str(json).unwrap();
            }
            (json, above) => above[last] = serde_json::from_str(json).unwrap(),
        }
        changed
    }

    /// What is told of an object, or of its change.
    fn told(&self, with_change: bool) -> Vec<String> {
        let kind = self.kind();
        let mut object = self.object.clone();
        object["metadata"]["uid"] = json!("u");
        if self.verb == "update" {
            object["metadata"]["resourceVersion"] = json!("1");
        }
        let mut new = if with_change { self.changed(&object) } else { object.clone() };
        assert_eq!(coerce(kind, &new), Ok(()), "{} {}", self.resource, self.place);
        default(kind, &mut new);
        let faults = if self.verb == "update" {
            default(kind, &mut object);
            strategy::prepare_update(kind, &mut new, &object);
            validate_update(kind, &new, &object)
        } else {
            strategy::prepare_create(kind, &mut new);
            validate_create(kind, &new)
        };
        faults.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn mistakes_are_told_in_upstreams_words() {
    for case in cases() {
        let what = format!("{} {} {} {}", case.verb, case.resource, case.place, case.change);
        assert_eq!(case.told(true), case.lines, "{what}");
        assert_eq!(case.told(false), Vec::<String>::new(), "the object of {what} is right");
    }
}

#[test]
fn every_kind_has_its_mistakes() {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for case in cases() {
        assert!(!case.lines.is_empty(), "{} {}", case.resource, case.place);
        *counts.entry(case.resource).or_default() += 1;
    }
    for kind in Catalog::builtin().kinds().iter().filter(|kind| kind.persisted) {
        let resource = format!("{}.{}", kind.plural, kind.group);
        let count = counts.get(&resource).copied().unwrap_or(0);
        assert!(count >= LEAST || resource == ELSEWHERE, "{resource} has {count}");
    }
}
