//! `CachePolicy`, a resource of a cluster: a [`Policy`] attached to what it is for (GEP-713, a direct policy as of
//! GEP-2648).
//!
//! Its targets are of its own namespace: a `Gateway`, an `HTTPRoute` or an `Ingress`, or with `sectionName` one listener
//! or one rule of it. The narrowest that fits a request counts, whole: a rule's before a route's, a route's before a
//! listener's, a listener's before a gateway's; of two for the same target the older.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rules::Fault;
use super::{Policy, Rules};

/// The API group.
pub const GROUP: &str = "gateway.knarr.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";
/// Targets a policy may name.
const KINDS: &[(&str, &str)] = &[
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "HTTPRoute"),
    ("networking.k8s.io", "Ingress"),
];

/// The resource.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachePolicy {
    /// Name, namespace, age.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: Spec,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// What the policy is for.
    #[schemars(length(min = 1, max = 16))]
    pub target_refs: Vec<TargetRef>,
    /// The policy.
    #[serde(flatten)]
    pub policy: Policy,
}

/// What a policy is for, in its own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// One listener of a Gateway, or one rule of an HTTPRoute, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// What became of a policy (`PolicyStatus` of GEP-713).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Per Gateway or Ingress that it came to bear on.
    #[serde(default)]
    pub ancestors: Vec<Ancestor>,
}

/// What became of a policy at one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ancestor {
    /// The place.
    pub ancestor_ref: Value,
    /// Who says so.
    pub controller_name: String,
    /// `Accepted`, with the reasons of GEP-713.
    pub conditions: Vec<Condition>,
}

impl kube::Resource for CachePolicy {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        "CachePolicy".into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        "cachepolicies".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl CachePolicy {
    /// What the policy means.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn rules(&self) -> Result<Rules, Vec<Fault>> {
        let mut faults: Vec<Fault> = Vec::new();
        for (at, target) in self.spec.target_refs.iter().enumerate() {
            if !KINDS.contains(&(target.group.as_str(), target.kind.as_str())) {
                faults.push(Fault {
                    field: format!("targetRefs[{at}]"),
                    problem: format!(
                        "{}/{} cannot be cached; use a Gateway, an HTTPRoute or an Ingress",
                        target.group, target.kind
                    ),
                });
            }
        }
        match Rules::new(&self.spec.policy) {
            Ok(rules) if faults.is_empty() => Ok(rules),
            Ok(_) => Err(faults),
            Err(more) => Err(faults.into_iter().chain(more).collect()),
        }
    }
}

/// The definition of the resource, for a cluster that does not have it.
#[must_use]
pub fn definition() -> Value {
    let mut spec = schemars::generate::SchemaSettings::openapi3()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<Spec>()
        .to_value();
    structural(&mut spec);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("cachepolicies.{GROUP}"),
            "labels": { "gateway.networking.k8s.io/policy": "Direct" },
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": { "kind": "CachePolicy", "listKind": "CachePolicyList", "plural": "cachepolicies", "singular": "cachepolicy" },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": [
                    { "name": "Target", "type": "string", "jsonPath": ".spec.targetRefs[0].name" },
                    { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
                ],
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "description": "How responses of the targets are cached.",
                    "required": ["spec"],
                    "properties": { "spec": spec, "status": status() },
                } },
            }],
        },
    })
}

fn status() -> Value {
    let text = || json!({ "type": "string" });
    json!({ "type": "object", "properties": { "ancestors": { "type": "array", "items": {
        "type": "object",
        "required": ["ancestorRef", "controllerName", "conditions"],
        "properties": {
            "ancestorRef": { "type": "object", "required": ["name"], "properties": {
                "group": text(), "kind": text(), "namespace": text(), "name": text(), "sectionName": text(),
                "port": { "type": "integer", "format": "int32" },
            } },
            "controllerName": text(),
            "conditions": { "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "items": {
                "type": "object",
                "required": ["type", "status", "reason", "message", "lastTransitionTime"],
                "properties": {
                    "type": text(), "status": text(), "reason": text(), "message": text(),
                    "lastTransitionTime": { "type": "string", "format": "date-time" },
                    "observedGeneration": { "type": "integer", "format": "int64" },
                },
            } },
        },
    } } } })
}

/// Makes a schema one that a definition may have: choices of words become lists of words, what is said beside a default
/// is kept, and what a structural schema has no word for goes.
fn structural(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        if let Value::Array(items) = schema {
            items.iter_mut().for_each(structural);
        }
        return;
    };
    if let Some(Value::Array(choices)) = fields.get("oneOf").cloned() {
        let words: Vec<Value> =
            choices.iter().filter_map(|choice| choice["enum"].get(0).or(choice.get("const")).cloned()).collect();
        if words.len() == choices.len() {
            fields.remove("oneOf");
            fields.insert("type".to_owned(), json!("string"));
            fields.insert("enum".to_owned(), words.into());
        }
    }
    if let Some(Value::Array(parts)) = fields.get("allOf").cloned()
        && let [Value::Object(only)] = parts.as_slice()
    {
        fields.remove("allOf");
        for (name, value) in only {
            fields.entry(name.clone()).or_insert_with(|| value.clone());
        }
        return structural(schema);
    }
    if fields.get("additionalProperties") == Some(&Value::Bool(false)) {
        fields.remove("additionalProperties");
    }
    for gone in ["$schema", "title", "unevaluatedProperties"] {
        if fields.get(gone).is_some_and(|value| !value.is_object() || gone == "$schema") {
            fields.remove(gone);
        }
    }
    if fields.get("format").is_some_and(|format| format == "uint8") {
        fields.insert("format".to_owned(), json!("int32"));
    }
    fields.values_mut().for_each(structural);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a structural schema may say (of what this one needs).
    const WORDS: &[&str] = &[
        "type",
        "description",
        "properties",
        "items",
        "required",
        "enum",
        "default",
        "format",
        "minimum",
        "maximum",
        "nullable",
        "minItems",
        "maxItems",
    ];

    fn strangers(schema: &Value, at: &str, found: &mut Vec<String>) {
        for (word, value) in schema.as_object().unwrap() {
            if word.starts_with("x-kubernetes-") || WORDS.contains(&word.as_str()) {
                match word.as_str() {
                    "properties" => {
                        for (name, inner) in value.as_object().unwrap() {
                            strangers(inner, &format!("{at}.{name}"), found);
                        }
                    }
                    "items" => strangers(value, &format!("{at}[]"), found),
                    _ => {}
                }
            } else {
                found.push(format!("{at}: {word}"));
            }
        }
        if schema.get("type").is_none() {
            found.push(format!("{at}: no type"));
        }
    }

    #[test]
    fn the_definition_has_a_structural_schema_of_every_field() {
        let definition = definition();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut found = Vec::new();
        strangers(schema, "", &mut found);
        assert!(found.is_empty(), "{found:#?}");
        let spec = &schema["properties"]["spec"]["properties"];
        assert_eq!(spec["authorization"]["enum"], json!(["WhenAllowed", "Never"]));
        for field in ["targetRefs", "key", "bypass", "defaultTtl", "maxObjectSize", "minUses", "show"] {
            assert!(spec.get(field).is_some(), "{field}");
        }
    }

    #[test]
    fn a_policy_of_a_cluster_is_read_with_its_targets() {
        let policy: CachePolicy = serde_json::from_value(json!({
            "metadata": { "name": "a", "namespace": "b" },
            "spec": {
                "targetRefs": [{ "group": "gateway.networking.k8s.io", "kind": "GRPCRoute", "name": "x" }],
                "minUses": 0, "key": { "query": { "sort": true } },
            },
        }))
        .unwrap();
        assert!(policy.spec.policy.key.query.sort);
        let faults: Vec<String> = policy.rules().unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("targetRefs[0]: ") && faults[1].starts_with("minUses: "));
    }
}
