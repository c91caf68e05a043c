//! The schemas of custom resources as OpenAPI publishes them: with the members every object has, and for version 2 without
//! what its readers cannot bear.
//!
//! Invariant: a pure function of the definition's text. Version 2 loses on purpose: unknown fields or null anywhere make
//! kubectl's reader of that version refuse good objects, so such places say nothing there, as upstream's.

use serde_json::{Map, Value, json};

use super::Flavour;
use crate::catalog::Kind;
use crate::json::{at, flag, list, text};
use crate::schema;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// `com.example.v1.CronTab`
pub(super) fn model_name(kind: &Kind, name: &str) -> String {
    let mut parts: Vec<&str> = kind.group.split('.').collect();
    parts.reverse();
    format!("{}.{}.{name}", parts.join("."), kind.version)
}

/// The models of an object and of a list of objects, by their names; none for built-in kinds.
pub(super) fn models(kind: &Kind, flavour: Flavour) -> Vec<(String, Value)> {
    let Some(custom) = &kind.custom else { return Vec::new() };
    let version = custom.version();
    let selectable: Vec<Value> = list(&version, "selectableFields")
        .iter()
        .map(|field| json!({"fieldPath": text(field, "jsonPath").trim_start_matches('.')}))
        .collect();
    let mut object = object(at(at(&version, "schema"), "openAPIV3Schema"), flavour);
    let mut listed = json!({
        "description": format!("{} is a list of {}", custom.list_kind, kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": type_meta("apiVersion"),
            "kind": type_meta("kind"),
            "metadata": reference(&format!("{META}ListMeta"), flavour, LIST_METADATA),
            "items": {
                "description": format!("List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", kind.plural),
                "type": "array",
                "items": plain_reference(&model_name(kind, &kind.kind), flavour),
            },
        },
    });
    for (model, name) in [(&mut object, &kind.kind), (&mut listed, &custom.list_kind)] {
        model["x-kubernetes-group-version-kind"] =
            json!([{"group": kind.group, "kind": name, "version": kind.version}]);
        if !selectable.is_empty() {
            model["x-kubernetes-selectable-fields"] = json!(selectable);
        }
    }
    vec![(model_name(kind, &kind.kind), object), (model_name(kind, &custom.list_kind), listed)]
}

const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

fn plain_reference(name: &str, flavour: Flavour) -> Value {
    json!({"$ref": format!("{}{name}", flavour.schema_prefix())})
}

/// A reference with a description, which version 3 does not allow beside it.
fn reference(name: &str, flavour: Flavour, description: &str) -> Value {
    let mut made = match flavour {
        Flavour::V2 => plain_reference(name, flavour),
        Flavour::V3 => json!({"allOf": [plain_reference(name, flavour)]}),
    };
    made["description"] = description.into();
    made
}

/// `apiVersion` or `kind`, described as every built-in kind describes it.
fn type_meta(name: &str) -> Value {
    let described = schema::find("api.core.v1.ConfigMap").and_then(|id| {
        let index = schema::schema().definition(id)?.fields.iter().position(|field| &*field.name == name)?;
        Some(schema::descriptions().field(id, index).to_owned())
    });
    json!({"type": "string", "description": described.unwrap_or_default()})
}

fn object(schema: &Value, flavour: Flavour) -> Value {
    let silent = flavour == Flavour::V2 && flag(schema, "x-kubernetes-preserve-unknown-fields");
    if !schema.is_object() || silent {
        return json!({"type": "object"});
    }
    let mut model = schema.clone();
    publish(&mut model, flavour);
    if !model["properties"].is_object() {
        model["properties"] = json!({});
    }
    own_members(&mut model["properties"], flavour);
    model
}

fn own_members(properties: &mut Value, flavour: Flavour) {
    properties["apiVersion"] = type_meta("apiVersion");
    properties["kind"] = type_meta("kind");
    properties["metadata"] = reference(&format!("{META}ObjectMeta"), flavour, METADATA);
}

/// Rewrites a schema and all below it into what is published.
fn publish(schema: &mut Value, flavour: Flavour) {
    let Value::Object(members) = schema else { return };
    unfold(members);
    if flavour == Flavour::V2 {
        for name in ["allOf", "anyOf", "oneOf", "not", "default"] {
            members.remove(name);
        }
        simplify(members);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(name) {
            publish(inner, flavour);
        }
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(|inner| publish(inner, flavour));
    }
    let preserves = members.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    let embedded = members.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
    if embedded && !(preserves && flavour == Flavour::V2) {
        own_members(members.entry("properties").or_insert_with(|| json!({})), flavour);
        if let Value::Array(required) = members.entry("required").or_insert_with(|| json!([])) {
            for name in ["kind", "apiVersion"] {
                if !required.iter().any(|held| held == name) {
                    required.push(name.into());
                }
            }
        }
    }
}

/// An integer or a string has no type; branches say it for readers that do not know the extension.
fn unfold(members: &mut Map<String, Value>) {
    let types = || json!([{"type": "integer"}, {"type": "string"}]);
    let said = |branches: Option<&Value>| branches == Some(&types());
    let first = members.get("allOf").and_then(|all| all.get(0)).and_then(|first| first.get("anyOf"));
    if members.get("x-kubernetes-int-or-string") != Some(&Value::Bool(true))
        || said(members.get("anyOf"))
        || said(first)
    {
        return;
    }
    if !members.contains_key("anyOf") {
        members.insert("anyOf".to_owned(), types());
    } else if let Value::Array(all) = members.entry("allOf").or_insert_with(|| json!([])) {
        all.insert(0, json!({"anyOf": types()}));
    }
}

/// Drops what the readers of version 2 take for a closed struct or refuse as null.
fn simplify(members: &mut Map<String, Value>) {
    let is = |members: &Map<String, Value>, name: &str| members.get(name) == Some(&Value::Bool(true));
    let nullable = is(members, "nullable");
    let preserves = is(members, "x-kubernetes-preserve-unknown-fields");
    if nullable {
        members.remove("type");
        members.remove("nullable");
    }
    if nullable || preserves {
        members.remove("items");
        members.remove("properties");
    }
    let ty = members.get("type").and_then(Value::as_str).unwrap_or_default();
    if (ty == "array" && !members.contains_key("items")) || (preserves && ty == "object") {
        members.remove("type");
    }
    let null_member = |name: &Value| {
        let property = name.as_str().and_then(|name| members.get("properties")?.get(name));
        property.is_some_and(|property| flag(property, "nullable"))
    };
    let mut required = members.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    required.retain(|name| !null_member(name));
    let null_others = members.get("additionalProperties").is_some_and(|other| flag(other, "nullable"));
    if required.is_empty() || null_others {
        members.remove("required");
    } else {
        members.insert("required".to_owned(), Value::Array(required));
    }
}
