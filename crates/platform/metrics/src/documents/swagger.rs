//! The OpenAPI document of version 3 said in version 2.

use serde_json::{Map, Value, json};

/// The same document in the older form.
pub(super) fn of(document: &Value) -> Value {
    let paths = document["paths"].as_object().into_iter().flatten();
    let paths: Map<String, Value> = paths.map(|(path, item)| (path.clone(), path_item(item))).collect();
    let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
    let definitions: Map<String, Value> = schemas.map(|(name, schema)| (name.clone(), self::schema(schema))).collect();
    json!({ "swagger": "2.0", "info": document["info"], "paths": paths, "definitions": definitions })
}

fn path_item(item: &Value) -> Value {
    let mut operation = item["get"].clone();
    operation["produces"] = json!(["application/json"]);
    operation["schemes"] = json!(["https"]);
    let found = schema(&item["get"]["responses"]["200"]["content"]["application/json"]["schema"]);
    operation["responses"]["200"] = json!({ "description": "OK", "schema": found });
    let parameters = item["parameters"].as_array().into_iter().flatten().map(|one| {
        json!({
            "name": one["name"], "in": one["in"], "description": one["description"], "required": one["required"],
            "type": "string", "uniqueItems": true,
        })
    });
    json!({ "get": operation, "parameters": parameters.collect::<Vec<Value>>() })
}

/// References lead elsewhere, need nothing around them to have a description, and numbers may not also be texts.
fn schema(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut out = Map::new();
            for (name, field) in fields {
                match (name.as_str(), field) {
                    ("allOf", Value::Array(parts)) => {
                        if let Some(Value::Object(part)) = parts.first().map(schema) {
                            out.extend(part);
                        }
                    }
                    ("oneOf", _) => drop(out.insert("type".into(), "string".into())),
                    ("default", Value::Object(empty)) if empty.is_empty() => {}
                    ("$ref", Value::String(place)) => {
                        let place = place.replace("#/components/schemas/", "#/definitions/");
                        out.insert(name.clone(), place.into());
                    }
                    _ => drop(out.insert(name.clone(), schema(field))),
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(schema).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_newer_form_is_left() {
        let document = of(&super::super::open_api());
        let text = document.to_string();
        for newer in ["components", "allOf", "oneOf", "\"content\""] {
            assert!(!text.contains(newer), "{newer}");
        }
        let nodes = &document["paths"]["/apis/metrics.k8s.io/v1beta1/nodes"];
        let list = "#/definitions/io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetricsList";
        assert_eq!(nodes["get"]["responses"]["200"]["schema"]["$ref"], list);
        assert_eq!(nodes["parameters"][0]["type"], "string");
        let metadata = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        assert!(document["definitions"][metadata].is_object());
    }
}
