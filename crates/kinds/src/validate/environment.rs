//! Rules of the environment of a container, and of references to fields of the pod and its resources.

use base::name;
use serde_json::Value;

use super::{Faults, resources, source};
use crate::json::{at, has, list, text};
use crate::path::Path;

/// Fields of the pod that a variable may show.
const POD_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields that exist, also where they may not be shown.
const ALL_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

pub(crate) fn check(container: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("env");
    for (index, variable) in list(container, "env").iter().enumerate() {
        let path = above.index(index);
        faults.required_name(&path.field("name"), text(variable, "name"), name::env_name);
        let source = at(variable, "valueFrom");
        if !source.is_null() {
            value_from(source, !text(variable, "value").is_empty(), &path.field("valueFrom"), faults);
        }
    }
    let above = path.field("envFrom");
    for (index, from) in list(container, "envFrom").iter().enumerate() {
        let path = above.index(index);
        faults.optional_name(&path.field("prefix"), text(from, "prefix"), name::env_name);
        let mut count = 0;
        for name in ["configMapRef", "secretRef"].into_iter().filter(|name| has(from, name)) {
            count += 1;
            let reference = text(at(from, name), "name");
            // The name may still get an end, so it may end with a dash.
            let masked = if reference.len() > 1 && reference.ends_with('-') {
                format!("{}a", &reference[..reference.len() - 2])
            } else {
                reference.to_owned()
            };
            let place = path.field(name);
            match reference {
                "" => faults.required(&place.field("name"), ""),
                _ => faults.verdict(&place.field("name"), reference, name::dns_subdomain(&masked)),
            }
        }
        match count {
            0 => faults.invalid(&above, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => faults.invalid(&above, "", "may not have more than one field specified at a time"),
        }
    }
}

fn value_from(from: &Value, has_value: bool, path: &Path<'_>, faults: &mut Faults) {
    let mut count = 0;
    for kind in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let value = at(from, kind);
        if value.is_null() {
            continue;
        }
        count += 1;
        let path = path.field(kind);
        match kind {
            "fieldRef" => pod_field(value, POD_FIELDS, &path, faults),
            "resourceFieldRef" => resource_field(value, false, &path, faults),
            "fileKeyRef" => file_key(value, &path, faults),
            _ => {
                faults.named(&path.field("name"), text(value, "name"), name::dns_subdomain);
                faults.required_name(&path.field("key"), text(value, "key"), name::config_key);
            }
        }
    }
    match count {
        0 => faults.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        _ if has_value => faults.invalid(path, "", "may not be specified when `value` is not empty"),
        1 => {}
        _ => faults.invalid(path, "", "may not have more than one field specified at a time"),
    }
}

fn file_key(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.required_name(&path.field("key"), text(value, "key"), name::env_name);
    faults.required_name(&path.field("volumeName"), text(value, "volumeName"), name::dns_label);
    match text(value, "path") {
        "" => faults.required(&path.field("path"), ""),
        file => source::no_backsteps(file, &path.field("path"), faults),
    }
}

/// `metadata.labels['key']` as path and key.
fn subscripted(field: &str) -> Option<(&str, &str)> {
    field.strip_suffix("']")?.split_once("['").filter(|(path, _)| !path.is_empty())
}

/// A reference to a field of the pod itself.
pub(crate) fn pod_field(source: &Value, supported: &[&str], path: &Path<'_>, faults: &mut Faults) {
    let (version, field) = (text(source, "apiVersion"), text(source, "fieldPath"));
    if version.is_empty() {
        faults.required(&path.field("apiVersion"), "");
        return;
    }
    let on_field = path.field("fieldPath");
    if field.is_empty() {
        faults.required(&on_field, "");
        return;
    }
    let subscript = subscripted(field);
    let fault = if version != "v1" {
        Some(format!("unsupported pod version: {version}"))
    } else if let Some((known, _)) = subscript {
        let right = matches!(known, "metadata.annotations" | "metadata.labels");
        (!right).then(|| format!("field label does not support subscript: {field}"))
    } else {
        let known = ALL_FIELDS.contains(&field) || field == "spec.host";
        (!known).then(|| format!("field label not supported: {field}"))
    };
    if let Some(fault) = fault {
        faults.invalid(&on_field, field, format!("error converting fieldPath: {fault}"));
        return;
    }
    match subscript {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            faults.named(path, &key, name::qualified_name);
        }
        Some((_, key)) => faults.named(path, key, name::qualified_name),
        None => {
            let field = if field == "spec.host" { "spec.nodeName" } else { field };
            if !supported.contains(&field) {
                faults.not_supported(&on_field, field, supported);
            }
        }
    }
}

const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const DIVISORS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// A reference to a resource of a container; in volumes the container must be named.
pub(crate) fn resource_field(source: &Value, in_volume: bool, path: &Path<'_>, faults: &mut Faults) {
    let resource = text(source, "resource");
    let pages = ["limits.hugepages-", "requests.hugepages-"].iter().any(|prefix| resource.starts_with(prefix));
    if in_volume && text(source, "containerName").is_empty() {
        faults.required(&path.field("containerName"), "");
    } else if resource.is_empty() {
        faults.required(&path.field("resource"), "");
    } else if !RESOURCE_FIELDS.contains(&resource) && !pages {
        faults.not_supported(&path.field("resource"), resource, RESOURCE_FIELDS);
    }
    let Some(divisor) = resources::quantity(at(source, "divisor")).filter(|divisor| !divisor.is_zero()) else { return };
    let divisor = divisor.to_string();
    let (known, what): (&[&str], &str) = match resource.split_once('.').map(|(_, name)| name) {
        Some("cpu") => (&["1m", "1"], "cpu"),
        Some("memory") => (DIVISORS, "memory"),
        Some("ephemeral-storage") => (DIVISORS, "local ephemeral storage"),
        _ if pages => (DIVISORS, "hugepages"),
        _ => return,
    };
    if !known.contains(&&*divisor) {
        let values = if what == "cpu" { "1m and 1".to_owned() } else { DIVISORS.join(", ") };
        let detail = format!("only divisor's values {values} are supported with the {what} resource");
        faults.invalid(&path.field("divisor"), resource, detail);
    }
}
