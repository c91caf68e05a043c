//! Discovery and OpenAPI of the group.

mod swagger;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha512};

use crate::answer::{Document, GROUP, VERSION, written};

const PACKAGE: &str = "io.k8s.metrics.pkg.apis.metrics.v1beta1";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

pub(crate) fn response(document: Document, headers: &HeaderMap) -> Response<Bytes> {
    match document {
        Document::Groups => {
            written(StatusCode::OK, &json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group()] }))
        }
        Document::Group => {
            let mut group = group();
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            written(StatusCode::OK, &group)
        }
        Document::Resources => written(StatusCode::OK, &resources()),
        Document::OpenApiIndex => {
            let address = format!("/openapi/v3/apis/{GROUP}/{VERSION}?hash={}", hash(&open_api()));
            let path = format!("apis/{GROUP}/{VERSION}");
            written(StatusCode::OK, &json!({ "paths": { path: { "serverRelativeURL": address } } }))
        }
        Document::OpenApi => tagged(&open_api(), headers),
        Document::Swagger => tagged(&swagger::of(&open_api()), headers),
        Document::Health => written(StatusCode::OK, &Value::Null),
    }
}

fn group() -> Value {
    let version = json!({ "groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION });
    json!({ "name": GROUP, "versions": [version], "preferredVersion": version })
}

fn resources() -> Value {
    let resource = |name: &str, namespaced: bool, kind: &str| json!({ "name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"] });
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": [resource("nodes", false, "NodeMetrics"), resource("pods", true, "PodMetrics")],
    })
}

fn hash(document: &Value) -> String {
    hex::encode_upper(Sha512::digest(document.to_string()))
}

fn tagged(document: &Value, headers: &HeaderMap) -> Response<Bytes> {
    let tag = format!("\"{}\"", hash(document));
    let held = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if held == Some(tag.as_str()) {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        written(StatusCode::OK, document)
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A member that is a type of its own, which OpenAPI can only describe around the reference.
fn member(name: &str, description: &str) -> Value {
    let mut value = json!({ "allOf": [reference(name)], "default": {} });
    if !description.is_empty() {
        value["description"] = description.into();
    }
    value
}

fn usage() -> Value {
    json!({
        "description": "The memory usage is the memory working set.", "type": "object",
        "additionalProperties": reference("io.k8s.apimachinery.pkg.api.resource.Quantity"),
    })
}

const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const OBJECT: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const INTERVAL: &str = "The following fields define time interval from which metrics were collected from the interval [Timestamp-Window, Timestamp].";

fn model(kind: &str, description: &str, required: &[&str], properties: Value) -> Value {
    let mut all = json!({
        "apiVersion": { "description": API_VERSION, "type": "string" }, "kind": { "description": KIND, "type": "string" },
    });
    if let (Some(all), Value::Object(own)) = (all.as_object_mut(), properties) {
        all.extend(own);
    }
    json!({
        "description": description, "type": "object", "required": required, "properties": all,
        "x-kubernetes-group-version-kind": [{ "group": GROUP, "kind": kind, "version": VERSION }],
    })
}

fn schemas() -> Value {
    let object_meta = member(&format!("{META}.ObjectMeta"), OBJECT);
    let list_meta = member(&format!("{META}.ListMeta"), LIST);
    let timestamp = member(&format!("{META}.Time"), INTERVAL);
    let window = member(&format!("{META}.Duration"), "");
    let items = |kind: &str, description: &str| json!({ "description": description, "type": "array", "items": member(&format!("{PACKAGE}.{kind}"), "") });
    let named = |name: &str| format!("{PACKAGE}.{name}");
    let mut all = Map::new();
    all.insert(
        named("ContainerMetrics"),
        json!({
            "description": "ContainerMetrics sets resource usage metrics of a container.", "type": "object",
            "required": ["name", "usage"],
            "properties": {
                "name": { "description": "Container name corresponding to the one from pod.spec.containers.", "type": "string", "default": "" },
                "usage": usage(),
            },
        }),
    );
    all.insert(
        named("NodeMetrics"),
        model(
            "NodeMetrics",
            "NodeMetrics sets resource usage metrics of a node.",
            &["timestamp", "window", "usage"],
            json!({ "metadata": object_meta, "timestamp": timestamp, "window": window, "usage": usage() }),
        ),
    );
    let containers = {
        let mut list =
            items("ContainerMetrics", "Metrics for all containers are collected within the same time window.");
        list["x-kubernetes-list-type"] = "atomic".into();
        list
    };
    all.insert(
        named("PodMetrics"),
        model(
            "PodMetrics",
            "PodMetrics sets resource usage metrics of a pod.",
            &["timestamp", "window", "containers"],
            json!({ "metadata": object_meta, "timestamp": timestamp, "window": window, "containers": containers }),
        ),
    );
    for (kind, what) in [("NodeMetrics", "node"), ("PodMetrics", "pod")] {
        let list = format!("{kind}List");
        let description = format!("{list} is a list of {kind}.");
        let items = items(kind, &format!("List of {what} metrics."));
        let properties = json!({ "metadata": list_meta, "items": items });
        all.insert(named(&list), model(&list, &description, &["items"], properties));
    }
    all.extend(meta_schemas());
    Value::Object(all)
}

/// As much of what all kinds share as these show.
fn meta_schemas() -> Map<String, Value> {
    let strings = json!({ "type": "object", "additionalProperties": { "type": "string", "default": "" } });
    let object_meta = json!({
        "description": "ObjectMeta is metadata that all persisted resources must have, which includes all objects users must create.",
        "type": "object",
        "properties": {
            "name": { "type": "string" }, "namespace": { "type": "string" }, "labels": strings, "annotations": strings,
            "creationTimestamp": member(&format!("{META}.Time"), ""),
        },
    });
    let list_meta = json!({
        "description": "ListMeta describes metadata that synthetic resources must have, including lists and various status objects. A resource may have only one of {ObjectMeta, ListMeta}.",
        "type": "object",
        "properties": {
            "continue": { "type": "string" }, "resourceVersion": { "type": "string" },
            "remainingItemCount": { "type": "integer", "format": "int64" },
        },
    });
    let time = json!({ "description": "Time is a wrapper around time.Time which supports correct marshaling to YAML and JSON.", "type": "string", "format": "date-time" });
    let duration = json!({ "description": "Duration is a wrapper around time.Duration which supports correct marshaling to YAML and JSON.", "type": "string" });
    let quantity = json!({ "description": "Quantity is a fixed-point representation of a number.", "oneOf": [{ "type": "string" }, { "type": "number" }] });
    let named = |name: &str| format!("{META}.{name}");
    Map::from_iter([
        (named("ObjectMeta"), object_meta),
        (named("ListMeta"), list_meta),
        (named("Time"), time),
        (named("Duration"), duration),
        ("io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(), quantity),
    ])
}

fn open_api() -> Value {
    let base = format!("/apis/{GROUP}/{VERSION}");
    let parameter = |name: &str, place: &str, description: &str| json!({ "name": name, "in": place, "description": description, "schema": { "type": "string", "uniqueItems": true }, "required": place == "path" });
    let operation = |id: &str, action: &str, kind: &str, model: &str| {
        let content = json!({ "application/json": { "schema": reference(&format!("{PACKAGE}.{model}")) } });
        let (what, verb) = if action == "list" { ("list objects", "list") } else { ("read the specified", "get") };
        json!({
            "tags": [format!("metrics_{VERSION}")], "description": format!("{what} {} {kind}", if verb == "list" { "of kind" } else { "" }).replace("  ", " "),
            "operationId": id,
            "responses": { "200": { "description": "OK", "content": content }, "401": { "description": "Unauthorized" } },
            "x-kubernetes-action": verb,
            "x-kubernetes-group-version-kind": { "group": GROUP, "kind": kind, "version": VERSION },
        })
    };
    let selectors = json!([
        parameter(
            "labelSelector",
            "query",
            "A selector to restrict the list of returned objects by their labels. Defaults to everything."
        ),
        parameter(
            "fieldSelector",
            "query",
            "A selector to restrict the list of returned objects by their fields. Defaults to everything."
        ),
    ]);
    let name = |kind: &str| parameter("name", "path", &format!("name of the {kind}"));
    let namespace = parameter("namespace", "path", "object name and auth scope, such as for teams and projects");
    let mut paths = Map::new();
    let mut path = |path: String, operation: Value, parameters: Value| {
        paths.insert(path, json!({ "get": operation, "parameters": parameters }));
    };
    let get = |id: &str, kind: &str| operation(id, "get", kind, kind);
    let list = |id: &str, kind: &str| operation(id, "list", kind, &format!("{kind}List"));
    path(format!("{base}/nodes"), list("listMetricsV1beta1NodeMetrics", "NodeMetrics"), selectors.clone());
    path(
        format!("{base}/nodes/{{name}}"),
        get("readMetricsV1beta1NodeMetrics", "NodeMetrics"),
        json!([name("NodeMetrics")]),
    );
    path(format!("{base}/pods"), list("listMetricsV1beta1PodMetricsForAllNamespaces", "PodMetrics"), selectors.clone());
    let mut within = vec![namespace.clone()];
    within.extend(selectors.as_array().cloned().unwrap_or_default());
    path(
        format!("{base}/namespaces/{{namespace}}/pods"),
        list("listMetricsV1beta1NamespacedPodMetrics", "PodMetrics"),
        Value::Array(within),
    );
    path(
        format!("{base}/namespaces/{{namespace}}/pods/{{name}}"),
        get("readMetricsV1beta1NamespacedPodMetrics", "PodMetrics"),
        json!([namespace, name("PodMetrics")]),
    );
    json!({
        "openapi": "3.0.0", "info": { "title": "Kubernetes metrics-server", "version": "unversioned" },
        "paths": paths, "components": { "schemas": schemas() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference of the document, however deep.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document = open_api();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 10);
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").expect("a schema");
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
