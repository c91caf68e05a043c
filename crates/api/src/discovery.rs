//! What is served, told to clients: groups, versions, resources; plain and aggregated.
//!
//! Everything is read off the rows, so a row that is served is discovered and nothing else is.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kinds::{Kind, Subresource, catalog::api_version};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::core::Core;

/// Group and version pairs that have a served row, in the order of discovery.
pub(crate) fn served_versions(core: &Core) -> impl Iterator<Item = (&str, &str)> {
    core.catalog.groups().iter().flat_map(|group| {
        let served = group.versions.iter().filter(|version| version.kinds.iter().any(|kind| core.serves(kind)));
        served.map(|version| (group.name.as_str(), version.name.as_str()))
    })
}

pub(crate) fn legacy_versions(core: &Core) -> Value {
    let address = std::net::SocketAddr::new(core.config.advertise, core.config.port);
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string() }],
    })
}

pub(crate) fn groups(core: &Core) -> Value {
    let named = core.catalog.groups().iter().filter(|group| !group.name.is_empty());
    let groups: Vec<Value> = named.filter_map(|row| describe_group(core, &row.name)).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

pub(crate) fn group(core: &Core, name: &str) -> Option<Value> {
    let mut group = describe_group(core, name)?;
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    Some(group)
}

fn describe_group(core: &Core, name: &str) -> Option<Value> {
    if name.is_empty() {
        return None;
    }
    let versions: Vec<Value> = served_versions(core)
        .filter(|(group, _)| *group == name)
        .map(|(group, version)| json!({ "groupVersion": api_version(group, version), "version": version }))
        .collect();
    let preferred = versions.first()?.clone();
    Some(json!({ "name": name, "versions": versions, "preferredVersion": preferred }))
}

/// The resources of one group version; none if it is not served.
pub(crate) fn resources(core: &Core, group: &str, version: &str) -> Option<Value> {
    let kinds: Vec<&Arc<Kind>> = served_kinds(core, group, version).collect();
    if kinds.is_empty() {
        return None;
    }
    let resources: Vec<Value> = kinds
        .into_iter()
        .flat_map(|kind| {
            let below = kind.subresources.iter().map(|subresource| describe_subresource(kind, subresource));
            std::iter::once(describe_resource(kind)).chain(below)
        })
        .collect();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": resources,
    }))
}

fn served_kinds<'a>(core: &'a Core, group: &str, version: &str) -> impl Iterator<Item = &'a Arc<Kind>> {
    let group = core.catalog.group(group);
    let version = group.and_then(|group| group.versions.iter().find(|row| row.name == version));
    version.into_iter().flat_map(|version| &version.kinds).filter(|kind| core.serves(kind))
}

fn describe_resource(kind: &Kind) -> Value {
    let mut resource = json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    if kind.persisted {
        resource["storageVersionHash"] = json!(storage_hash(kind));
    }
    resource
}

fn describe_subresource(kind: &Kind, subresource: &Subresource) -> Value {
    let mut resource = json!({
        "name": format!("{}/{}", kind.plural, subresource.name),
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": subresource.gvk.as_ref().map_or(&kind.kind, |(_, _, name)| name),
        "verbs": subresource.verbs,
    });
    if let Some((group, version, _)) = &subresource.gvk
        && (*group != kind.group || *version != kind.version)
    {
        resource["group"] = json!(group);
        resource["version"] = json!(version);
    }
    resource
}

/// Tells clients when objects are stored in another form than before.
fn storage_hash(kind: &Kind) -> String {
    use base64::Engine as _;
    let (group, version, _) = &kind.storage;
    let digest = Sha256::digest(format!("{group}/{version}/{}", kind.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

/// The aggregated documents, made when first asked for.
#[derive(Default)]
pub(crate) struct Documents {
    made: [OnceLock<(Bytes, String)>; 4],
}

impl Documents {
    pub(crate) fn document(&self, core: &Core, legacy: bool, version: &str) -> (Bytes, String) {
        let slot = usize::from(legacy) + 2 * usize::from(version == "v2");
        self.made[slot]
            .get_or_init(|| {
                let bytes = Bytes::from(aggregate(core, legacy, version).to_string());
                let hash = hex::encode_upper(Sha256::digest(&bytes));
                (bytes, hash)
            })
            .clone()
    }
}

fn aggregate(core: &Core, legacy: bool, meta_version: &str) -> Value {
    let groups = core.catalog.groups().iter().filter(|group| group.name.is_empty() == legacy);
    let items: Vec<Value> = groups
        .filter_map(|group| {
            let served = served_versions(core).filter(|(name, _)| *name == group.name);
            let versions: Vec<Value> = served
                .map(|(name, version)| {
                    let kinds = served_kinds(core, name, version);
                    let resources: Vec<Value> = kinds.map(|kind| aggregate_resource(kind)).collect();
                    json!({ "version": version, "resources": resources, "freshness": "Current" })
                })
                .collect();
            if versions.is_empty() {
                return None;
            }
            let mut metadata = json!({ "creationTimestamp": null });
            if !legacy {
                metadata["name"] = json!(group.name);
            }
            Some(json!({ "metadata": metadata, "versions": versions }))
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{meta_version}"),
        "metadata": {},
        "items": items,
    })
}

fn aggregate_resource(kind: &Kind) -> Value {
    let response = |gvk: (&str, &str, &str)| json!({ "group": gvk.0, "version": gvk.1, "kind": gvk.2 });
    let own = (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str());
    let mut resource = json!({
        "resource": kind.plural,
        "responseKind": response(own),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    let below: Vec<Value> = kind
        .subresources
        .iter()
        .map(|subresource| {
            let body = subresource.gvk.as_ref().map_or(own, |(group, version, name)| (group, version, name));
            json!({ "subresource": subresource.name, "responseKind": response(body), "verbs": subresource.verbs })
        })
        .collect();
    if !below.is_empty() {
        resource["subresources"] = json!(below);
    }
    resource
}
