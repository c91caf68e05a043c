//! From a definition to rows: one for each version.
//!
//! Invariant: a pure function of the definition. The schemas are skipped over here and read on first use, so that a
//! thousand definitions are rows within milliseconds.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Conversion, Custom};
use crate::catalog::{Kind, Subresource, compare_versions};
use crate::schema;

/// What of a `CustomResourceDefinition` decides about its rows and its life.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Definition {
    pub metadata: Metadata,
    pub spec: Spec,
    #[serde(default)]
    pub status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub name: String,
    pub uid: String,
    pub generation: i64,
    pub deletion_timestamp: Option<String>,
    pub finalizers: Vec<String>,
    pub annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub group: String,
    pub scope: String,
    pub names: Names,
    pub versions: Vec<Version>,
    pub conversion: Option<Value>,
    pub preserve_unknown_fields: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Version {
    pub name: String,
    pub served: bool,
    pub storage: bool,
    pub deprecated: bool,
    pub deprecation_warning: Option<String>,
    subresources: Option<Subresources>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Subresources {
    status: Option<IgnoredAny>,
    scale: Option<IgnoredAny>,
}

/// The names of a kind, asked for or accepted.
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Names {
    pub plural: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub singular: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub short_names: Vec<String>,
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub list_kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub accepted_names: Names,
    #[serde(deserialize_with = "list_or_null")]
    pub conditions: Vec<Condition>,
    #[serde(deserialize_with = "list_or_null")]
    pub stored_versions: Vec<String>,
}

/// Go writes a list that nobody made as null.
fn list_or_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// A condition of a definition.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
}

impl Definition {
    /// Reads a stored definition.
    pub fn read(text: &[u8]) -> Result<Definition, serde_json::Error> {
        serde_json::from_slice(text)
    }

    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }

    pub fn is(&self, condition: &str) -> bool {
        self.condition(condition).is_some_and(|condition| condition.status == "True")
    }

    /// Whether its objects have paths.
    pub fn is_served(&self) -> bool {
        self.is("Established") || self.is("NamesAccepted")
    }
}

const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// The rows of an established definition; `source` is its text. What is known from using the rows it had before is kept.
pub fn rows(definition: &Definition, source: &Bytes, before: &[Arc<Kind>]) -> Vec<Arc<Kind>> {
    let (spec, names) = (&definition.spec, &definition.status.accepted_names);
    let complete = [&names.plural, &names.singular, &names.kind, &names.list_kind].iter().all(|name| !name.is_empty());
    let Some(storage) = spec.versions.iter().find(|version| version.storage).filter(|_| complete) else {
        return Vec::new();
    };
    let Some(metadata) = schema::find("apimachinery.pkg.apis.meta.v1.PartialObjectMetadata") else {
        return Vec::new();
    };
    let conversion = match &spec.conversion {
        Some(held) if held["strategy"] == "Webhook" => Conversion::Webhook(Arc::new(held["webhook"].clone())),
        _ => Conversion::None,
    };
    let row = |(index, version): (usize, &Version)| {
        let id = digest(definition, version);
        let held = before.iter().filter_map(|kind| kind.custom.as_ref()).find(|custom| custom.id == id);
        let custom = Custom {
            definition: definition.metadata.name.clone(),
            id,
            list_kind: names.list_kind.clone(),
            storage_version: storage.name.clone(),
            terminating: definition.is("Terminating"),
            warning: version.deprecated.then(|| warning(definition, version)),
            conversion: conversion.clone(),
            preserves: spec.preserve_unknown_fields,
            source: source.clone(),
            index,
            compiled: held.map_or_else(Arc::default, |held| held.compiled.clone()),
        };
        Arc::new(Kind {
            group: spec.group.clone(),
            version: version.name.clone(),
            kind: names.kind.clone(),
            plural: names.plural.clone(),
            singular: names.singular.clone(),
            short_names: names.short_names.clone(),
            categories: names.categories.clone(),
            namespaced: spec.scope == "Namespaced",
            verbs: VERBS.iter().map(|verb| (*verb).to_owned()).collect(),
            subresources: subresources(version),
            persisted: true,
            served: version.served,
            preferred: false,
            // every version reads what is stored as its own; see `refresh` and the conversion of the server
            storage: (spec.group.clone(), version.name.clone(), names.plural.clone()),
            schema: metadata,
            custom: Some(Arc::new(custom)),
            rules: crate::rules::plain(),
        })
    };
    spec.versions.iter().enumerate().map(row).collect()
}

fn subresources(version: &Version) -> Vec<Subresource> {
    let Some(below) = &version.subresources else { return Vec::new() };
    let made = |name: &str, gvk| Subresource {
        name: name.to_owned(),
        verbs: ["get", "patch", "update"].map(str::to_owned).into(),
        gvk,
    };
    let scale = ("autoscaling".to_owned(), "v1".to_owned(), "Scale".to_owned());
    let status = below.status.is_some().then(|| made("status", None));
    status.into_iter().chain(below.scale.is_some().then(|| made("scale", Some(scale)))).collect()
}

fn digest(definition: &Definition, version: &Version) -> u64 {
    let (metadata, names) = (&definition.metadata, &definition.status.accepted_names);
    let text = format!("{}\n{}\n{}\n{names:?}", metadata.uid, metadata.generation, version.name);
    let digest = Sha256::digest(text);
    u64::from_le_bytes(digest[..8].try_into().expect("invariant: a digest has more than eight bytes"))
}

fn warning(definition: &Definition, version: &Version) -> String {
    if let Some(text) = &version.deprecation_warning {
        return text.clone();
    }
    let (group, kind) = (&definition.spec.group, &definition.spec.names.kind);
    let newer =
        |other: &&Version| other.served && !other.deprecated && compare_versions(&other.name, &version.name).is_lt();
    let mut better: Vec<&str> = definition.spec.versions.iter().filter(newer).map(|other| &*other.name).collect();
    better.sort_by(|a, b| compare_versions(a, b));
    let told = format!("{group}/{} {kind} is deprecated", version.name);
    better.first().map_or(told.clone(), |best| format!("{told}; use {group}/{best} {kind}"))
}
