//! The objects of the fake server and the verbs on them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{KINDS, Target};
use crate::time;

/// The cause of a refusal to create something in a namespace that is being deleted.
pub(super) const LEAVING: &str = "NamespaceTerminating";

type Key = (String, String, String);

/// A refusal, as a Status.
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

type Result = std::result::Result<Value, Failure>;

#[derive(Default)]
pub(crate) struct Objects {
    map: BTreeMap<Key, Value>,
    log: Vec<(u64, &'static str, String, Value)>,
    revision: u64,
    serial: u64,
    /// How many writes there have been to anything but leases and events.
    writes: usize,
    /// Namespaces that are gone.
    emptied: BTreeSet<String>,
}

fn key(target: &Target) -> Key {
    (target.plural.clone(), target.namespace.clone(), target.name.clone())
}

fn fail<T>(code: u16, reason: &'static str, target: &Target) -> std::result::Result<T, Failure> {
    Err(Failure { code, reason, message: format!("{} \"{}\" {reason}", target.plural, target.name) })
}

impl Objects {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn summary(&self) -> String {
        let lines = self.map.iter().filter(|((plural, _, _), _)| plural != "events").map(
            |((plural, namespace, name), value)| {
                format!("{plural} {namespace}/{name} {} {}", value["spec"]["replicas"], value["status"])
            },
        );
        lines.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn list(&self, plural: &str, namespace: &str) -> Vec<Value> {
        let from = (plural.to_owned(), namespace.to_owned(), String::new());
        let of = |key: &Key| key.0 == plural && (namespace.is_empty() || key.1 == namespace);
        self.map.range(from..).take_while(|(key, _)| of(key)).map(|(_, value)| value.clone()).collect()
    }

    pub(super) fn list_answer(&self, target: &Target) -> Value {
        let mut items = self.list(&target.plural, &target.namespace);
        items.retain(|item| selected(target, item));
        json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": self.revision.to_string() }, "items": items })
    }

    pub(super) fn get(&self, target: &Target) -> Result {
        self.map.get(&key(target)).cloned().map_or_else(|| fail(404, "NotFound", target), Ok)
    }

    /// How many objects of a kind have ever been created.
    pub(crate) fn created(&self, plural: &str) -> usize {
        self.log.iter().filter(|(_, kind, one, _)| *kind == "ADDED" && one == plural).count()
    }

    pub(crate) fn writes(&self) -> usize {
        self.writes
    }

    /// All writes but the first `count` of those that [`Self::writes`] counts: kind of event and object.
    pub(crate) fn since(&self, count: usize) -> Vec<(&'static str, Value)> {
        let counted = self.log.iter().filter(|(_, _, plural, _)| !["events", "leases"].contains(&plural.as_str()));
        counted.skip(count).map(|(_, kind, _, value)| (*kind, value.clone())).collect()
    }

    /// Every object, with its plural.
    pub(crate) fn all(&self) -> Vec<(String, Value)> {
        self.map.iter().map(|((plural, ..), value)| (plural.clone(), value.clone())).collect()
    }

    /// Takes an object in as it is.
    pub(crate) fn copy_in(&mut self, plural: &str, value: Value) {
        let part = |name: &str| value["metadata"][name].as_str().unwrap_or("").to_owned();
        let key = (plural.to_owned(), part("namespace"), part("name"));
        self.store(key, value, "ADDED");
    }

    /// What happened to the objects of a kind: ADDED, MODIFIED or DELETED, and the object then.
    pub(crate) fn history(&self, plural: &str) -> Vec<(&'static str, Value)> {
        let of_kind = self.log.iter().filter(|(_, _, one, _)| one == plural);
        of_kind.map(|(_, kind, _, value)| (*kind, value.clone())).collect()
    }

    pub(super) fn scale(&self, target: &Target) -> Result {
        let object = self.get(target)?;
        let metadata = &object["metadata"];
        let labels = object["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten();
        let pairs: Vec<String> = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
        Ok(json!({ "kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": { "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"] },
            "spec": { "replicas": object["spec"]["replicas"] },
            "status": { "replicas": object["status"]["replicas"].as_i64().unwrap_or(0), "selector": pairs.join(",") } }))
    }

    /// The events after `from` that a watch of `target` shows, and how far that is.
    pub(super) fn events(&self, target: &Target, from: u64) -> (Vec<Value>, u64) {
        let start = self.log.partition_point(|(revision, ..)| *revision <= from);
        let shown = self.log[start..].iter().filter(|(_, _, plural, value)| {
            let namespace = value["metadata"]["namespace"].as_str().unwrap_or("");
            *plural == target.plural
                && (target.namespace.is_empty() || namespace == target.namespace)
                && selected(target, value)
        });
        let events = shown.map(|(_, kind, _, value)| json!({ "type": kind, "object": value })).collect();
        (events, self.revision)
    }

    fn store(&mut self, key: Key, mut value: Value, kind: &'static str) -> Value {
        self.revision += 1;
        self.writes += usize::from(!["events", "leases"].contains(&key.0.as_str()));
        value["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.log.push((self.revision, kind, key.0.clone(), value.clone()));
        if kind == "DELETED" {
            if key.0 == "namespaces" {
                self.emptied.insert(key.2.clone());
            }
            self.map.remove(&key);
        } else {
            self.map.insert(key, value.clone());
        }
        value
    }

    pub(crate) fn create_object(&mut self, plural: &str, value: Value) -> Value {
        let namespace = value["metadata"]["namespace"].as_str().unwrap_or("").to_owned();
        let target = Target {
            plural: plural.into(),
            namespace,
            name: String::new(),
            subresource: String::new(),
            query: Default::default(),
        };
        self.create(&target, value).unwrap_or_else(|failure| panic!("{}", failure.message))
    }

    pub(super) fn create(&mut self, target: &Target, mut value: Value) -> Result {
        self.serial += 1;
        let generated = value["metadata"]["generateName"].as_str().map(|base| format!("{base}{:05}", self.serial));
        let name = value["metadata"]["name"].as_str().map(str::to_owned).or(generated).unwrap_or_default();
        let key = (target.plural.clone(), target.namespace.clone(), name.clone());
        if self.map.contains_key(&key) {
            return fail(409, "AlreadyExists", target);
        }
        if self.emptied.contains(&target.namespace) {
            return fail(404, "NotFound", target);
        }
        if let Some(namespace) = self.map.get(&("namespaces".to_owned(), String::new(), target.namespace.clone()))
            && namespace["metadata"]["deletionTimestamp"].is_string()
        {
            return fail(403, LEAVING, target);
        }
        if self.lost(&target.namespace) {
            return fail(404, "NotFound", target);
        }
        let kind = KINDS.iter().find(|row| row.3 == target.plural).expect("a known kind");
        value["apiVersion"] =
            json!(if kind.0.is_empty() { kind.1.to_owned() } else { format!("{}/{}", kind.0, kind.1) });
        value["kind"] = json!(kind.2);
        let metadata = &mut value["metadata"];
        metadata["name"] = json!(name);
        if kind.4 {
            metadata["namespace"] = json!(target.namespace);
        }
        metadata["uid"] = json!(format!("uid-{}", self.serial));
        metadata["generation"] = json!(1);
        metadata["creationTimestamp"] = json!(time::rfc3339(time::now()));
        if target.plural == "namespaces" {
            value["spec"]["finalizers"] = json!(["kubernetes"]);
        }
        if target.plural == "pods" && value["status"].is_null() {
            value["status"] = json!({ "phase": "Pending" });
        }
        Ok(self.store(key, value, "ADDED"))
    }

    /// Whether there was a namespace of that name and is none any more.
    fn lost(&self, namespace: &str) -> bool {
        let there = self.map.contains_key(&("namespaces".to_owned(), String::new(), namespace.to_owned()));
        let gone =
            |plural: &str, value: &Value| plural == "namespaces" && value["metadata"]["name"] == json!(namespace);
        !namespace.is_empty() && !there && self.log.iter().any(|(_, _, plural, value)| gone(plural, value))
    }

    pub(super) fn put(&mut self, target: &Target, mut value: Value) -> Result {
        let old = self.get(target)?;
        if value["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
            return fail(409, "Conflict", target);
        }
        if target.subresource == "scale" {
            let whole = Target { subresource: String::new(), ..clone(target) };
            let mut next = old.clone();
            next["spec"]["replicas"] = value["spec"]["replicas"].take();
            self.settle(&whole, &old, next);
            return self.scale(target);
        }
        if target.subresource == "status" {
            let (status, annotations) = (value["status"].take(), value["metadata"]["annotations"].take());
            value = old.clone();
            value["status"] = status;
            if !annotations.is_null() {
                value["metadata"]["annotations"] = annotations;
            }
        } else {
            value["status"] = old["status"].clone();
        }
        Ok(self.settle(target, &old, value))
    }

    pub(super) fn patch(&mut self, target: &Target, patch: &Value, strategic: bool) -> Result {
        let old = self.get(target)?;
        for field in ["uid", "resourceVersion"] {
            let wanted = &patch["metadata"][field];
            if !wanted.is_null() && *wanted != old["metadata"][field] {
                return fail(409, "Conflict", target);
            }
        }
        let mut value = old.clone();
        merge(&mut value, patch, strategic);
        Ok(self.settle(target, &old, value))
    }

    /// Writes the next state; an object that waits for nothing any more goes away.
    fn settle(&mut self, target: &Target, old: &Value, mut value: Value) -> Value {
        if value == *old {
            return value;
        }
        if value["spec"] != old["spec"] && target.subresource.is_empty() {
            value["metadata"]["generation"] = json!(old["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
        }
        let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
        let waits = !none(&value["metadata"]["finalizers"]) || !none(&value["spec"]["finalizers"]);
        let graceful = target.plural == "pods" && value["metadata"]["deletionGracePeriodSeconds"] != json!(0);
        let kind = if value["metadata"]["deletionTimestamp"].is_string() && !waits && !graceful {
            "DELETED"
        } else {
            "MODIFIED"
        };
        self.store(key(target), value, kind)
    }

    pub(super) fn bind(&mut self, target: &Target, binding: &Value) -> Result {
        let pod = Target { subresource: String::new(), query: Default::default(), ..clone(target) };
        let mut value = self.get(&pod)?;
        if value["spec"]["nodeName"].is_string() {
            return fail(409, "Conflict", target);
        }
        value["spec"]["nodeName"] = binding["target"]["name"].clone();
        self.store(key(&pod), value, "MODIFIED");
        Ok(json!({ "kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201 }))
    }

    pub(super) fn delete_all(&mut self, target: &Target) -> Value {
        let names: Vec<String> = self
            .list(&target.plural, &target.namespace)
            .iter()
            .filter_map(|value| value["metadata"]["name"].as_str().map(str::to_owned))
            .collect();
        for name in names {
            let one = Target { name, ..clone(target) };
            if let Err(failure) = self.delete(&one, &Value::Null) {
                panic!("{}", failure.message);
            }
        }
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" })
    }

    pub(crate) fn delete(&mut self, target: &Target, options: &Value) -> Result {
        let mut value = self.get(target)?;
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != value["metadata"]["uid"] {
            return fail(409, "Conflict", target);
        }
        let finalizer = match options["propagationPolicy"].as_str() {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = finalizer {
            let mut list = value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            if !list.contains(&json!(finalizer)) {
                list.push(json!(finalizer));
            }
            value["metadata"]["finalizers"] = json!(list);
        }
        let bound = target.plural == "pods" && value["spec"]["nodeName"].is_string();
        let grace = if bound { options["gracePeriodSeconds"].as_i64().unwrap_or(30) } else { 0 };
        let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
        let waits = !none(&value["metadata"]["finalizers"]) || !none(&value["spec"]["finalizers"]) || grace > 0;
        if waits && value["metadata"]["deletionTimestamp"].is_string() {
            return Ok(value);
        }
        value["metadata"]["deletionTimestamp"] = json!(time::rfc3339(time::now()));
        value["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        Ok(self.store(key(target), value, if waits { "MODIFIED" } else { "DELETED" }))
    }

    /// Lets a test change an object as some other component would.
    pub(crate) fn change(&mut self, plural: &str, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let mut value = self.map.get(&key).expect("an object").clone();
        let before = value["spec"].clone();
        change(&mut value);
        if value["spec"] != before {
            value["metadata"]["generation"] = json!(value["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
        }
        self.store(key, value, "MODIFIED");
    }

    pub(crate) fn remove(&mut self, plural: &str, namespace: &str, name: &str) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        if let Some(value) = self.map.get(&key).cloned() {
            self.store(key, value, "DELETED");
        }
    }
}

fn clone(target: &Target) -> Target {
    Target {
        plural: target.plural.clone(),
        namespace: target.namespace.clone(),
        name: target.name.clone(),
        subresource: target.subresource.clone(),
        query: target.query.clone(),
    }
}

fn selected(target: &Target, value: &Value) -> bool {
    match target.query.get("fieldSelector").and_then(|selector| selector.split_once('=')) {
        Some(("metadata.name", name)) => value["metadata"]["name"] == json!(name),
        Some(("type", name)) => value["type"] == json!(name),
        _ => true,
    }
}

fn merge(into: &mut Value, patch: &Value, strategic: bool) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (name, field) in fields {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/").filter(|_| strategic) {
            let gone = field.as_array().cloned().unwrap_or_default();
            if let Some(kept) = into[list].as_array_mut() {
                kept.retain(|one| !gone.contains(one));
            }
            continue;
        }
        match field {
            Value::Null => drop(into.as_object_mut().map(|map| map.remove(name))),
            Value::Array(items) if strategic && name == "conditions" => {
                let list = into[name].as_array().cloned().unwrap_or_default();
                into[name] = json!(merge_conditions(list, items));
            }
            _ => merge(&mut into[name], field, strategic),
        }
    }
}

fn merge_conditions(mut list: Vec<Value>, patch: &[Value]) -> Vec<Value> {
    for item in patch {
        match list.iter_mut().find(|one| one["type"] == item["type"]) {
            Some(known) => merge(known, item, true),
            None => list.push(item.clone()),
        }
    }
    list
}
