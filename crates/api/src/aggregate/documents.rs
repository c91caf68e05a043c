//! What the servers behind us add to discovery.
//!
//! Invariant: a server that does not answer is still shown with its group and version, and with what it said last, marked
//! as stale: clients then know that something is missing rather than that there is nothing.

use std::sync::Arc;

use kinds::openapi::Addition;
use serde_json::{Map, Value, json};

use super::{Server, is_ours, table::Told};
use crate::core::Core;

/// The servers whose versions are not ours, in the order of discovery.
fn servers(core: &Core) -> Vec<Arc<Server>> {
    let table = core.aggregate.table();
    let others = table.servers().into_iter().filter(|server| !is_ours(core, &server.group, &server.version));
    others.cloned().collect()
}

/// Group and version of all of them.
pub(crate) fn versions(core: &Core) -> Vec<(String, String)> {
    servers(core).iter().map(|server| (server.group.clone(), server.version.clone())).collect()
}

fn entry<'l>(list: &'l mut Vec<Value>, pointer: &str, group: &str, new: Value) -> &'l mut Value {
    let at = list.iter().position(|held| held.pointer(pointer).is_some_and(|name| name == group));
    let at = at.unwrap_or_else(|| {
        list.push(new);
        list.len() - 1
    });
    &mut list[at]
}

/// Adds to `/apis`.
pub(crate) fn add_groups(core: &Core, document: &mut Value) {
    let Some(list) = document["groups"].as_array_mut() else { return };
    for server in servers(core) {
        add_version(&mut *list, &server);
    }
}

fn add_version(list: &mut Vec<Value>, server: &Server) {
    let version = json!({
        "groupVersion": format!("{}/{}", server.group, server.version), "version": server.version,
    });
    let new = json!({ "name": server.group, "versions": [], "preferredVersion": version });
    let group = entry(list, "/name", &server.group, new);
    if let Some(versions) = group["versions"].as_array_mut() {
        versions.push(version);
    }
}

/// `/apis/<group>`, ours or nothing before.
pub(crate) fn with_group(core: &Core, name: &str, ours: Option<Value>) -> Option<Value> {
    let mut list: Vec<Value> = ours.into_iter().collect();
    for server in servers(core).iter().filter(|server| server.group == name) {
        add_version(&mut list, server);
    }
    let mut group = list.into_iter().next()?;
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

/// Adds to `/apis` in the aggregated form.
pub(crate) fn add_aggregated(core: &Core, document: &mut Value) {
    let Some(list) = document["items"].as_array_mut() else { return };
    for server in servers(core) {
        let told = server.told.load();
        let resources = told.as_ref().map_or_else(|| json!([]), |told| told.resources.clone());
        let fresh = told.as_ref().is_some_and(|told| told.fresh);
        let freshness = if fresh { "Current" } else { "Stale" };
        let new = json!({ "metadata": { "name": server.group, "creationTimestamp": null }, "versions": [] });
        let group = entry(list, "/metadata/name", &server.group, new);
        if let Some(versions) = group["versions"].as_array_mut() {
            versions.push(json!({ "version": server.version, "resources": resources, "freshness": freshness }));
        }
    }
}

/// Adds to the index of OpenAPI documents.
pub(crate) fn add_to_index(core: &Core, document: &mut Value) {
    for server in servers(core) {
        let told = server.told.load();
        if let Some(address) = told.as_ref().and_then(|told| told.openapi.clone()) {
            let path = kinds::openapi::document_path(&server.group, &server.version);
            document["paths"][path] = json!({ "serverRelativeURL": address });
        }
    }
}

/// What each of them said of itself.
pub(crate) fn told(core: &Core) -> Vec<Arc<Told>> {
    servers(core).iter().filter_map(|server| server.told.load_full()).collect()
}

/// The part of a document of OpenAPI version 2 that is about one version: its paths, and what these refer to.
pub(super) fn part(document: &Value, group: &str, version: &str) -> Addition {
    let base = format!("/apis/{group}/{version}/");
    let paths = document["paths"].as_object().into_iter().flatten();
    let paths = paths.filter(|(path, _)| format!("{path}/").starts_with(&base));
    let paths: Map<String, Value> = paths.map(|(path, item)| (path.clone(), item.clone())).collect();
    let mut open = Vec::new();
    paths.values().for_each(|item| references(item, &mut open));
    let mut definitions = Map::new();
    while let Some(name) = open.pop() {
        if let Some(definition) = document["definitions"].get(&name)
            && !definitions.contains_key(&name)
        {
            references(definition, &mut open);
            definitions.insert(name, definition.clone());
        }
    }
    Addition { definitions, paths }
}

/// The definitions that a piece of a document refers to.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let name =
                fields.get("$ref").and_then(Value::as_str).and_then(|place| place.strip_prefix("#/definitions/"));
            found.extend(name.map(str::to_owned));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// An `APIResourceList` in the aggregated form.
pub(super) fn aggregated(list: &Value, group: &str, version: &str) -> Value {
    let all = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let kind = |resource: &Value| {
        let own = |field: &str, otherwise: &str| match resource[field].as_str() {
            None | Some("") => otherwise.to_owned(),
            Some(text) => text.to_owned(),
        };
        json!({ "group": own("group", group), "version": own("version", version), "kind": resource["kind"] })
    };
    let mut resources: Vec<Value> = Vec::new();
    for resource in all.iter().filter(|one| one["name"].as_str().is_some_and(|name| !name.contains('/'))) {
        let name = resource["name"].as_str().unwrap_or_default();
        let mut shown = Map::new();
        shown.insert("resource".into(), resource["name"].clone());
        shown.insert("responseKind".into(), kind(resource));
        let scope = if resource["namespaced"] == true { "Namespaced" } else { "Cluster" };
        shown.insert("scope".into(), scope.into());
        shown.insert("singularResource".into(), resource["singularName"].as_str().unwrap_or_default().into());
        shown.insert("verbs".into(), resource["verbs"].clone());
        for field in ["shortNames", "categories"] {
            if resource[field].as_array().is_some_and(|list| !list.is_empty()) {
                shown.insert(field.into(), resource[field].clone());
            }
        }
        let below = all.iter().filter_map(|one| {
            let part = one["name"].as_str()?.strip_prefix(name)?.strip_prefix('/')?;
            Some(json!({ "subresource": part, "responseKind": kind(one), "verbs": one["verbs"] }))
        });
        let below: Vec<Value> = below.collect();
        if !below.is_empty() {
            shown.insert("subresources".into(), below.into());
        }
        resources.push(Value::Object(shown));
    }
    Value::Array(resources)
}

/// The same with the mark that it was not confirmed.
pub(super) fn stale(told: Option<&Told>) -> Told {
    Told {
        resources: told.map_or_else(|| json!([]), |told| told.resources.clone()),
        openapi: told.and_then(|told| told.openapi.clone()),
        swagger: told.map(|told| told.swagger.clone()).unwrap_or_default(),
        fresh: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_document_only_what_the_version_needs_is_taken() {
        let get = |name: &str| json!({ "get": { "schema": { "$ref": format!("#/definitions/{name}") } } });
        let document = json!({
            "paths": { "/apis/g/v1/": get("a"), "/apis/g/v1/as": get("a"), "/apis/g/v11/bs": get("d"), "/version": get("d") },
            "definitions": { "a": { "items": { "$ref": "#/definitions/b" } }, "b": { "$ref": "#/definitions/a" }, "c": {}, "d": {} },
        });
        let Addition { definitions, paths } = part(&document, "g", "v1");
        assert_eq!(paths.keys().collect::<Vec<_>>(), ["/apis/g/v1/", "/apis/g/v1/as"]);
        assert_eq!(definitions.keys().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_list_of_resources_has_an_aggregated_form() {
        let list = json!({ "resources": [
            { "name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"], "shortNames": ["fl"] },
            { "name": "flunders/scale", "namespaced": true, "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get", "update"] },
        ] });
        assert_eq!(
            aggregated(&list, "wardle.example.com", "v1alpha1"),
            json!([{
                "resource": "flunders", "singularResource": "flunder", "scope": "Namespaced", "verbs": ["get"], "shortNames": ["fl"],
                "responseKind": { "group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder" },
                "subresources": [{
                    "subresource": "scale", "verbs": ["get", "update"],
                    "responseKind": { "group": "autoscaling", "version": "v1", "kind": "Scale" },
                }],
            }])
        );
    }
}
