//! Rules of the definitions of custom resources and of webhooks.

use base::name;
use serde_json::Value;

use super::Faults;
use crate::error::FieldError;
use crate::json::{at, flag, list, text};
use crate::path::Path;

pub(crate) fn custom_resource_definition(definition: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(definition, "spec"), root.field("spec"));
    let names = at(spec, "names");
    let expected = format!("{}.{}", text(names, "plural"), text(spec, "group"));
    let name = text(at(definition, "metadata"), "name");
    if name != expected {
        let meta = root.field("metadata");
        faults.invalid(&meta.field("name"), name, "must be spec.names.plural+\".\"+spec.group");
    }
    let group = text(spec, "group");
    faults.required_name(&path.field("group"), group, name::dns_subdomain);
    if !group.is_empty() && !group.contains('.') {
        faults.invalid(&path.field("group"), group, "should be a domain with at least one dot");
    }
    faults.one_of(spec, "scope", &path, &["Cluster", "Namespaced"]);
    versions(spec, &path.field("versions"), faults);
    let above = path.field("names");
    for (field, lower) in [("plural", false), ("singular", false), ("kind", true), ("listKind", true)] {
        let value = text(names, field);
        let checked = if lower { value.to_lowercase() } else { value.to_owned() };
        match value {
            "" if field != "singular" => faults.required(&above.field(field), ""),
            "" => {}
            _ => {
                if let Err(reason) = name::dns1035_label(&checked) {
                    faults.invalid(&above.field(field), value, reason);
                }
            }
        }
    }
    if !text(names, "kind").is_empty() && text(names, "kind") == text(names, "listKind") {
        faults.invalid(&above.field("listKind"), text(names, "listKind"), "kind and listKind may not be the same");
    }
}

fn versions(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let versions = list(spec, "versions");
    let mut names = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        let name = text(version, "name");
        faults.required_name(&path.field("name"), name, name::dns1035_label);
        if names.contains(&name) {
            faults.duplicate(&path.field("name"), name);
        }
        names.push(name);
        let schema = at(at(version, "schema"), "openAPIV3Schema");
        if schema.is_null() {
            let above = path.field("schema");
            faults.required(&above.field("openAPIV3Schema"), "schemas are required");
        }
    }
    let stored = versions.iter().filter(|version| flag(version, "storage")).count();
    if stored != 1 {
        let detail = "must have exactly one version marked as storage version";
        faults.push(FieldError::invalid(path, versions.to_vec(), detail));
    }
}

pub(crate) fn webhooks(configuration: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let above = root.field("webhooks");
    let mut names = Vec::new();
    for (index, webhook) in list(configuration, "webhooks").iter().enumerate() {
        let path = above.index(index);
        let name = text(webhook, "name");
        if name.is_empty() {
            faults.required(&path.field("name"), "");
        } else {
            faults.named(&path.field("name"), name, name::dns_subdomain);
            if name.split('.').count() < 3 {
                let detail = "should be a domain with at least three segments separated by dots";
                faults.invalid(&path.field("name"), name, detail);
            }
        }
        if names.contains(&name) {
            faults.duplicate(&path.field("name"), name);
        }
        names.push(name);
        if list(webhook, "admissionReviewVersions").is_empty() {
            faults.required(&path.field("admissionReviewVersions"), "must specify one of v1, v1beta1");
        }
        faults.one_of(webhook, "sideEffects", &path, &["None", "NoneOnDryRun"]);
        let client = at(webhook, "clientConfig");
        if (text(client, "url").is_empty()) == at(client, "service").is_null() {
            faults.required(&path.field("clientConfig"), "exactly one of url or service is required");
        }
    }
}
