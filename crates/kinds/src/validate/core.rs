//! Rules of the small kinds of the core group.

use base::{Quantity, name};
use serde_json::Value;

use super::{Faults, pod};
use crate::error::FieldError;
use crate::json::{at, flag, has, int, list, members, same, text};
use crate::path::Path;

/// What a ConfigMap or Secret may hold.
const DATA_LIMIT: usize = 1024 * 1024;

pub(crate) fn config_map(map: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (data, binary) = (root.field("data"), root.field("binaryData"));
    let mut size = 0;
    for (key, value) in members(map, "data") {
        faults.named(&data.key(key), key, name::config_key);
        if at(map, "binaryData").get(key).is_some() {
            faults.invalid(&data.key(key), key.as_str(), "duplicate of key present in binaryData");
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in members(map, "binaryData") {
        faults.named(&binary.key(key), key, name::config_key);
        size += value.as_str().map_or(0, crate::base64::length);
    }
    if size > DATA_LIMIT {
        faults.push(FieldError::too_long(root, DATA_LIMIT));
    }
}

pub(crate) fn config_map_change(new: &Value, old: &Value, faults: &mut Faults) {
    sealed(new, old, &["data", "binaryData"], faults);
}

/// Objects marked immutable stay so and keep their contents.
fn sealed(new: &Value, old: &Value, contents: &[&str], faults: &mut Faults) {
    if !flag(old, "immutable") {
        return;
    }
    let (root, detail) = (Path::Root, "field is immutable when `immutable` is set");
    if !flag(new, "immutable") {
        faults.forbidden(&root.field("immutable"), detail);
    }
    for name in contents {
        if !same(at(new, name), at(old, name)) {
            faults.forbidden(&root.field(name), detail);
        }
    }
}

pub(crate) fn secret(secret: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("data");
    let mut size = 0;
    for (key, value) in members(secret, "data") {
        faults.named(&path.key(key), key, name::config_key);
        size += value.as_str().map_or(0, crate::base64::length);
    }
    if size > DATA_LIMIT {
        faults.push(FieldError::too_long(path, DATA_LIMIT));
    }
    let data = at(secret, "data");
    let mut needs = |key: &str| {
        if data.get(key).is_none() {
            faults.required(&path.key(key), "");
        }
    };
    match text(secret, "type") {
        "kubernetes.io/dockercfg" => needs(".dockercfg"),
        "kubernetes.io/dockerconfigjson" => needs(".dockerconfigjson"),
        "kubernetes.io/ssh-auth" => needs("ssh-privatekey"),
        "kubernetes.io/tls" => {
            needs("tls.crt");
            needs("tls.key");
        }
        "kubernetes.io/basic-auth" if data.get("username").is_none() && data.get("password").is_none() => {
            needs("username");
            needs("password");
        }
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            if text(at(at(secret, "metadata"), "annotations"), annotation).is_empty() {
                let meta = root.field("metadata");
                let annotations = meta.field("annotations");
                faults.required(&annotations.key(annotation), "");
            }
        }
        _ => {}
    }
}

pub(crate) fn secret_change(new: &Value, old: &Value, faults: &mut Faults) {
    faults.unchanged(new, old, "type", &Path::Root);
    sealed(new, old, &["data"], faults);
}

pub(crate) fn service_account(account: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let above = root.field("imagePullSecrets");
    for (index, secret) in list(account, "imagePullSecrets").iter().enumerate() {
        let name = text(secret, "name");
        if !name.is_empty() {
            faults.named(&above.index(index).field("name"), name, name::dns_subdomain);
        }
    }
}

pub(crate) fn namespace(namespace: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let spec = root.field("spec");
    for finalizer in list(at(namespace, "spec"), "finalizers").iter().filter_map(Value::as_str) {
        if finalizer != "kubernetes" {
            let path = spec.field("finalizers");
            faults.named(&path, finalizer, name::qualified_name);
            if !finalizer.contains('/') {
                let detail = "name is neither a standard finalizer name nor is it fully qualified";
                faults.invalid(&path, finalizer, detail);
            }
        }
    }
}

const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];

pub(crate) fn node(node: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let spec = root.field("spec");
    let above = spec.field("taints");
    let mut seen = Vec::new();
    for (index, taint) in list(at(node, "spec"), "taints").iter().enumerate() {
        let path = above.index(index);
        faults.named(&path.field("key"), text(taint, "key"), name::qualified_name);
        faults.named(&path.field("value"), text(taint, "value"), name::label_value);
        faults.one_of(taint, "effect", &path, EFFECTS);
        let key = (text(taint, "key"), text(taint, "effect"));
        if seen.contains(&key) {
            faults.duplicate(&path, taint.clone());
        }
        seen.push(key);
    }
    for (index, cidr) in list(at(node, "spec"), "podCIDRs").iter().filter_map(Value::as_str).enumerate() {
        let cidrs = spec.field("podCIDRs");
        faults.named(&cidrs.index(index), cidr, name::cidr);
    }
}

pub(crate) fn node_change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("spec");
    let (new, old) = (at(new, "spec"), at(old, "spec"));
    for (name, detail) in [
        ("podCIDRs", "node updates may not change podCIDR except from \"\" to valid"),
        ("providerID", "node updates may not change providerID except from \"\" to valid"),
    ] {
        if has(old, name) && !same(at(new, name), at(old, name)) {
            faults.forbidden(&path.field(name), detail);
        }
    }
}

pub(crate) fn pod_template(template: &Value, faults: &mut Faults) {
    let root = Path::Root;
    pod::template(at(template, "template"), &root.field("template"), faults);
}

pub(crate) fn event(event: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (object, field) = match at(event, "regarding") {
        Value::Null => (at(event, "involvedObject"), "involvedObject"),
        regarding => (regarding, "regarding"),
    };
    let path = root.field(field);
    let (about, own) = (text(object, "namespace"), text(at(event, "metadata"), "namespace"));
    if !about.is_empty() && about != own {
        faults.invalid(&path.field("namespace"), about, "does not match event.namespace");
    } else if about.is_empty() && own != "default" && own != "kube-system" {
        // Events about cluster-scoped objects live in the default namespace.
        faults.invalid(&path.field("namespace"), about, "does not match event.namespace");
    }
}

pub(crate) fn endpoints(endpoints: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let above = root.field("subsets");
    for (index, subset) in list(endpoints, "subsets").iter().enumerate() {
        let path = above.index(index);
        if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
            faults.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for kind in ["addresses", "notReadyAddresses"] {
            let above = path.field(kind);
            for (index, address) in list(subset, kind).iter().enumerate() {
                faults.named(&above.index(index).field("ip"), text(address, "ip"), name::ip);
            }
        }
        let ports = list(subset, "ports");
        let above = path.field("ports");
        for (index, port) in ports.iter().enumerate() {
            let path = above.index(index);
            match text(port, "name") {
                "" if ports.len() > 1 => faults.required(&path.field("name"), ""),
                "" => {}
                name => faults.named(&path.field("name"), name, name::dns_label),
            }
            super::container::port_number(int(port, "port").unwrap_or(0), &path.field("port"), faults);
        }
    }
}

pub(crate) fn resource_quota(quota: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let spec = root.field("spec");
    quantities(at(quota, "spec"), "hard", &spec, faults);
}

pub(crate) fn limit_range(range: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let spec = root.field("spec");
    let above = spec.field("limits");
    let mut kinds = Vec::new();
    for (index, limit) in list(at(range, "spec"), "limits").iter().enumerate() {
        let path = above.index(index);
        let kind = text(limit, "type");
        if kinds.contains(&kind) {
            faults.duplicate(&path.field("type"), kind);
        }
        kinds.push(kind);
        for name in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            quantities(limit, name, &path, faults);
        }
        for (name, value) in members(limit, "min") {
            let max = quantity(at(at(limit, "max"), name));
            if let (Some(min), Some(max)) = (quantity(value), max)
                && min > max
            {
                let detail = format!("min value {min} is greater than max value {max}");
                faults.invalid(&path.field("min").key(name), min.to_string(), detail);
            }
        }
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str()?.parse().ok()
}

/// A map of quantities, none negative.
pub(crate) fn quantities(value: &Value, name: &str, above: &Path<'_>, faults: &mut Faults) {
    let path = above.field(name);
    for (key, amount) in members(value, name) {
        if quantity(amount).is_some_and(|amount| amount.sign() < 0) {
            faults.invalid(&path.key(key), amount.clone(), "must be greater than or equal to 0");
        }
    }
}

pub(crate) fn replication_controller(controller: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(controller, "spec"), root.field("spec"));
    faults.not_negative(spec, "replicas", &path);
    faults.not_negative(spec, "minReadySeconds", &path);
    let selector = at(spec, "selector");
    if crate::json::is_empty(selector) {
        faults.required(&path.field("selector"), "");
    }
    let template = at(spec, "template");
    if template.is_null() {
        faults.required(&path.field("template"), "");
        return;
    }
    let template_path = path.field("template");
    let labels = at(at(template, "metadata"), "labels");
    let matched = selector.as_object().into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    if !matched {
        let meta = template_path.field("metadata");
        faults.invalid(&meta.field("labels"), labels.clone(), "`selector` does not match template `labels`");
    }
    super::apps::always_restarts(template, "ReplicationController", &template_path, faults);
    pod::template(template, &template_path, faults);
}
