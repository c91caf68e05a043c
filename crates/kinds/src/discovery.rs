//! The discovery documents: which groups, versions and resources exist, in the plain and the aggregated form.
//!
//! Invariant: pure functions of the rows; only what is served is shown, and the caller says what that is: usually
//! [`Kind::served`], unless versions were switched on or off. A subresource tells the kind of its body only
//! where that differs from its own group and version, as upstream, whose clients fill in the rest.

use crate::catalog::{Catalog, Group, Kind, Version, api_version};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The kind of [`aggregated_groups`] in a media type's `g`, `v` and `as` parameters.
pub const AGGREGATED_KIND: &str = "APIGroupDiscoveryList";

/// The two versions of the aggregated form; they differ in name only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    V2,
    V2Beta1,
}

impl Form {
    /// Reads the `v` parameter of the media type.
    pub fn parse(version: &str) -> Option<Form> {
        match version {
            "v2" => Some(Form::V2),
            "v2beta1" => Some(Form::V2Beta1),
            _ => None,
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Form::V2 => "apidiscovery.k8s.io/v2",
            Form::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
        }
    }
}

/// Whether a kind is served.
pub type Served<'s> = &'s dyn Fn(&Kind) -> bool;

/// Group and version of everything that is served, in the order of discovery.
pub fn versions<'c>(
    catalog: &'c Catalog,
    served: &(impl Fn(&Kind) -> bool + ?Sized),
) -> impl Iterator<Item = (&'c str, &'c str)> {
    let versions = catalog.groups().iter().flat_map(|group| group.versions.iter().map(move |version| (group, version)));
    let served = versions.filter(move |(_, version)| version.kinds.iter().any(|kind| served(kind)));
    served.map(|(group, version)| (group.name.as_str(), version.name.as_str()))
}

/// `/api`: the versions of the core group. `address` is where clients reach this server: host and port.
pub fn core_versions(catalog: &Catalog, served: Served<'_>, address: &str) -> Value {
    let core = catalog.group("").into_iter();
    let versions: Vec<&str> =
        core.flat_map(|group| served_versions(group, served)).map(|version| version.name.as_str()).collect();
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`: all groups but core.
pub fn groups(catalog: &Catalog, served: Served<'_>) -> Value {
    let groups: Vec<Value> = named_groups(catalog).filter_map(|group| group_entry(group, served)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`; none if the group is not served.
pub fn group(catalog: &Catalog, served: Served<'_>, name: &str) -> Option<Value> {
    let mut entry = group_entry(named_groups(catalog).find(|group| group.name == name)?, served)?;
    entry["kind"] = "APIGroup".into();
    entry["apiVersion"] = "v1".into();
    Some(entry)
}

/// `/api/v1` and `/apis/<group>/<version>`; none if the version is not served.
pub fn resources(catalog: &Catalog, served: Served<'_>, group: &str, version: &str) -> Option<Value> {
    let version = served_versions(catalog.group(group)?, served).find(|candidate| candidate.name == version)?;
    let resources: Vec<Value> = served_kinds(version, served).flat_map(resource_entries).collect();
    let mut list = json!({
        "kind": "APIResourceList",
        "groupVersion": api_version(group, &version.name),
        "resources": resources,
    });
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

/// `/api` in the aggregated form.
pub fn aggregated_core(catalog: &Catalog, served: Served<'_>, form: Form) -> Value {
    aggregated(catalog.group("").into_iter(), served, form)
}

/// `/apis` in the aggregated form.
pub fn aggregated_groups(catalog: &Catalog, served: Served<'_>, form: Form) -> Value {
    aggregated(named_groups(catalog), served, form)
}

fn served_versions<'g>(group: &'g Group, served: Served<'g>) -> impl Iterator<Item = &'g Version> {
    group.versions.iter().filter(move |version| version.kinds.iter().any(|kind| served(kind)))
}

fn served_kinds<'g>(version: &'g Version, served: Served<'g>) -> impl Iterator<Item = &'g Kind> {
    version.kinds.iter().map(AsRef::as_ref).filter(move |kind| served(kind))
}

fn named_groups(catalog: &Catalog) -> impl Iterator<Item = &Group> {
    catalog.groups().iter().filter(|group| !group.name.is_empty())
}

/// A group with its versions; none if no version is served.
fn group_entry(group: &Group, served: Served<'_>) -> Option<Value> {
    let entry =
        |version: &Version| json!({"groupVersion": api_version(&group.name, &version.name), "version": version.name});
    let versions: Vec<Value> = served_versions(group, served).map(entry).collect();
    Some(json!({"name": group.name, "preferredVersion": versions.first()?, "versions": versions}))
}

/// A kind and its subresources as `APIResource`s.
fn resource_entries(kind: &Kind) -> Vec<Value> {
    let mut main = json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": verbs(kind),
    });
    for (field, list) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
        if !list.is_empty() {
            main[field] = json!(list);
        }
    }
    if let Some(hash) = storage_version_hash(kind) {
        main["storageVersionHash"] = hash.into();
    }
    let below = sorted_subresources(kind).into_iter().map(|subresource| {
        let mut entry = body_kind(kind, subresource.gvk.as_ref(), false);
        entry.insert("name".to_owned(), format!("{}/{}", kind.plural, subresource.name).into());
        entry.insert("singularName".to_owned(), "".into());
        entry.insert("namespaced".to_owned(), kind.namespaced.into());
        entry.insert("verbs".to_owned(), json!(subresource.verbs));
        Value::Object(entry)
    });
    std::iter::once(main).chain(below).collect()
}

fn sorted_subresources(kind: &Kind) -> Vec<&crate::Subresource> {
    let mut subresources: Vec<_> = kind.subresources.iter().collect();
    subresources.sort_by(|a, b| a.name.cmp(&b.name));
    subresources
}

/// Group, version and kind of a body; group and version only if they are not those of the resource, or `always`, then
/// empty.
fn body_kind(kind: &Kind, gvk: Option<&(String, String, String)>, always: bool) -> Map<String, Value> {
    let mut fields = Map::new();
    let foreign = gvk.filter(|(group, version, _)| *group != kind.group || *version != kind.version);
    if let Some((group, version, _)) = foreign {
        fields.insert("group".to_owned(), group.as_str().into());
        fields.insert("version".to_owned(), version.as_str().into());
    } else if always {
        fields.insert("group".to_owned(), "".into());
        fields.insert("version".to_owned(), "".into());
    }
    let name = gvk.map_or(kind.kind.as_str(), |(_, _, name)| name.as_str());
    fields.insert("kind".to_owned(), name.into());
    fields
}

/// Tells clients when objects need to be rewritten: a digest of the form in which they are stored.
fn storage_version_hash(kind: &Kind) -> Option<String> {
    let (group, version, _) = &kind.storage;
    let version = kind.custom.as_ref().map_or(version, |custom| &custom.storage_version);
    let digest = Sha256::digest(format!("{group}/{version}/{}", kind.kind));
    kind.persisted.then(|| crate::base64::encode(&digest[..8]))
}

/// The verbs that clients should use; where a definition ends, nothing can be written any more.
fn verbs(kind: &Kind) -> Vec<&str> {
    let ends = kind.custom.as_ref().is_some_and(|custom| custom.terminating);
    let gone = |verb: &str| ends && matches!(verb, "create" | "update" | "patch");
    kind.verbs.iter().map(String::as_str).filter(|verb| !gone(verb)).collect()
}

fn aggregated<'g>(groups: impl Iterator<Item = &'g Group>, served: Served<'_>, form: Form) -> Value {
    let entry = |group: &Group| {
        let versions: Vec<Value> = served_versions(group, served)
            .map(|version| {
                let resources: Vec<Value> = served_kinds(version, served).map(aggregated_resource).collect();
                json!({"version": version.name, "resources": resources, "freshness": "Current"})
            })
            .collect();
        if versions.is_empty() {
            return None;
        }
        let mut metadata = json!({"creationTimestamp": null});
        if !group.name.is_empty() {
            metadata["name"] = group.name.as_str().into();
        }
        Some(json!({"metadata": metadata, "versions": versions}))
    };
    let items: Vec<Value> = groups.filter_map(entry).collect();
    json!({"kind": AGGREGATED_KIND, "apiVersion": form.api_version(), "metadata": {}, "items": items})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let mut resource = json!({
        "resource": kind.plural,
        "responseKind": body_kind(kind, None, true),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": verbs(kind),
    });
    for (field, list) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
        if !list.is_empty() {
            resource[field] = json!(list);
        }
    }
    let below: Vec<Value> = sorted_subresources(kind)
        .into_iter()
        .map(|subresource| {
            json!({
                "subresource": subresource.name,
                "responseKind": body_kind(kind, subresource.gvk.as_ref(), true),
                "verbs": subresource.verbs,
            })
        })
        .collect();
    if !below.is_empty() {
        resource["subresources"] = below.into();
    }
    resource
}

#[cfg(test)]
mod tests;
