use super::*;
use expect_test::{Expect, expect};
use serde_json::json;

fn served_versions() -> impl Iterator<Item = (&'static str, &'static str)> {
    discovery::versions(Catalog::builtin(), &|kind| kind.served)
}

fn document(group: &str, version: &str) -> Value {
    serde_json::from_slice(&v3(group, version).expect("the version is served").bytes).expect("the document is JSON")
}

fn check(value: &Value, expected: Expect) {
    expected.assert_eq(&serde_json::to_string_pretty(value).expect("JSON"));
}

#[test]
fn a_schema_carries_types_defaults_and_extensions() {
    let document = document("discovery.k8s.io", "v1");
    let mut slice = document["components"]["schemas"]["io.k8s.api.discovery.v1.EndpointSlice"].clone();
    for field in slice["properties"].as_object_mut().unwrap().values_mut() {
        field.as_object_mut().unwrap().remove("description");
    }
    slice.as_object_mut().unwrap().remove("description");
    check(
        &slice,
        expect![[r##"
            {
              "properties": {
                "addressType": {
                  "default": "",
                  "type": "string"
                },
                "apiVersion": {
                  "type": "string"
                },
                "endpoints": {
                  "items": {
                    "allOf": [
                      {
                        "$ref": "#/components/schemas/io.k8s.api.discovery.v1.Endpoint"
                      }
                    ],
                    "default": {}
                  },
                  "type": "array",
                  "x-kubernetes-list-type": "atomic"
                },
                "kind": {
                  "type": "string"
                },
                "metadata": {
                  "allOf": [
                    {
                      "$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
                    }
                  ],
                  "default": {}
                },
                "ports": {
                  "items": {
                    "allOf": [
                      {
                        "$ref": "#/components/schemas/io.k8s.api.discovery.v1.EndpointPort"
                      }
                    ],
                    "default": {}
                  },
                  "type": "array",
                  "x-kubernetes-list-type": "atomic"
                }
              },
              "required": [
                "addressType"
              ],
              "type": "object",
              "x-kubernetes-group-version-kind": [
                {
                  "group": "discovery.k8s.io",
                  "kind": "EndpointSlice",
                  "version": "v1"
                }
              ]
            }"##]],
    );
}

#[test]
fn lists_tell_how_they_merge() {
    let document = document("", "v1");
    let spec = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"];
    let containers = &spec["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(spec["properties"]["volumes"]["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert!(spec["required"].as_array().unwrap().contains(&json!("containers")));
    assert!(spec["properties"]["containers"]["description"].as_str().unwrap().starts_with("List of containers"));
    let limits = &document["components"]["schemas"]["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["limits"];
    assert_eq!(
        limits["additionalProperties"],
        json!({"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"})
    );
    let number = &document["components"]["schemas"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!(number["oneOf"], json!([{"type": "integer"}, {"type": "string"}]));
}

/// kubectl decides by this operation whether the server validates fields, and by which patch it applies.
#[test]
fn the_patch_operation_offers_validation_and_dry_run() {
    let document = document("apps", "v1");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let names: Vec<&str> =
        patch["parameters"].as_array().unwrap().iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "kind": "Deployment", "version": "v1"})
    );
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    assert!(patch["requestBody"]["content"].get("application/apply-patch+yaml").is_some());
}

#[test]
fn every_patch_operation_offers_field_validation() {
    for (group, version) in served_versions() {
        let document = document(group, version);
        for (path, item) in document["paths"].as_object().unwrap() {
            let patch = &item["patch"];
            if patch.is_null() || patch["x-kubernetes-action"] == "connect" {
                continue;
            }
            let offers = patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation");
            assert!(offers, "{path}");
        }
    }
}

#[test]
fn a_row_is_all_it_takes_for_its_paths() {
    let document = document("coordination.k8s.io", "v1");
    let paths: Vec<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let operations = item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters");
            operations.map(move |(method, operation)| {
                let action = operation["x-kubernetes-action"].as_str().unwrap_or("-");
                format!("{path} {method} {action} {}", operation["operationId"].as_str().unwrap_or("-"))
            })
        })
        .collect();
    expect![[r#"
        /apis/coordination.k8s.io/v1/ get - getCoordinationV1APIResources
        /apis/coordination.k8s.io/v1/leases get list listCoordinationV1LeaseForAllNamespaces
        /apis/coordination.k8s.io/v1/namespaces/{namespace}/leases delete deletecollection deleteCoordinationV1CollectionNamespacedLease
        /apis/coordination.k8s.io/v1/namespaces/{namespace}/leases get list listCoordinationV1NamespacedLease
        /apis/coordination.k8s.io/v1/namespaces/{namespace}/leases post post createCoordinationV1NamespacedLease
        /apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name} delete delete deleteCoordinationV1NamespacedLease
        /apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name} get get readCoordinationV1NamespacedLease
        /apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name} patch patch patchCoordinationV1NamespacedLease
        /apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name} put put replaceCoordinationV1NamespacedLease"#]]
    .assert_eq(&paths.join("\n"));
}

#[test]
fn subresources_speak_of_their_own_kind() {
    let core = document("", "v1");
    let pod = "/api/v1/namespaces/{namespace}/pods/{name}";
    let gvk = |path: &str, method: &str| core["paths"][path][method]["x-kubernetes-group-version-kind"].clone();
    assert_eq!(gvk(&format!("{pod}/exec"), "post"), json!({"group": "", "kind": "PodExecOptions", "version": "v1"}));
    assert_eq!(
        gvk(&format!("{pod}/eviction"), "post"),
        json!({"group": "policy", "kind": "Eviction", "version": "v1"})
    );
    assert_eq!(core["paths"][format!("{pod}/exec")]["get"]["operationId"], "connectCoreV1GetNamespacedPodExec");
    assert_eq!(core["paths"][format!("{pod}/log")]["get"]["operationId"], "readCoreV1NamespacedPodLog");
    assert!(core["paths"].get(format!("{pod}/proxy/{{path}}")).is_some());
    assert!(core["components"]["schemas"].get("io.k8s.api.policy.v1.Eviction").is_some());
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_of_every_document_leads_somewhere() {
    for (group, version) in served_versions() {
        let document = document(group, version);
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in found {
            let place = reference.strip_prefix('#').expect("a reference into the document");
            assert!(document.pointer(place).is_some(), "{group}/{version}: {place}");
        }
    }
    let document: Value = serde_json::from_slice(&v2().bytes).unwrap();
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        let place = reference.strip_prefix('#').expect("a reference into the document");
        assert!(document.pointer(place).is_some(), "{place}");
    }
}

#[test]
fn the_index_leads_to_each_document_by_its_digest() {
    let index = v3_index();
    let apps = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert_eq!(apps, format!("/openapi/v3/apis/apps/v1?hash={}", v3("apps", "v1").unwrap().hash));
    assert!(index["paths"].get("api/v1").is_some());
    assert!(index["paths"].get("apis/resource.k8s.io/v1beta1").is_none());
    assert_eq!(v3("resource.k8s.io", "v1beta1"), None);
    assert_eq!(v3("nope", "v1"), None);
    let hashes: std::collections::BTreeSet<String> =
        served_versions().map(|(g, v)| digest(&kinds_of(Catalog::builtin(), g, v, &|kind| kind.served))).collect();
    assert_eq!(hashes.len(), served_versions().count());
    assert!(hashes.iter().all(|hash| hash.len() == 128));
}

#[test]
fn version_2_has_all_kinds_in_one_document() {
    let document: Value = serde_json::from_slice(&v2().bytes).unwrap();
    assert_eq!(document["swagger"], "2.0");
    let replicas = &document["definitions"]["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["template"];
    assert_eq!(replicas["$ref"], "#/definitions/io.k8s.api.core.v1.PodTemplateSpec");
    let create = &document["paths"]["/api/v1/namespaces/{namespace}/configmaps"]["post"];
    let body = create["parameters"].as_array().unwrap().iter().find(|parameter| parameter["in"] == "body").unwrap();
    assert_eq!(
        *body,
        json!({"in": "body", "name": "body", "required": true,
            "schema": {"$ref": "#/definitions/io.k8s.api.core.v1.ConfigMap"}})
    );
    assert_eq!(create["consumes"], json!(["application/json", "application/yaml"]));
}
