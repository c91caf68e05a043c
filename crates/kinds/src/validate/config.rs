//! Rules of ConfigMaps, Secrets, ServiceAccounts and Namespaces.

use base::name;
use serde_json::Value;

use super::{Case, Faults, meta};
use crate::json::{at, flag, list, members, same, text};
use crate::path::Path;

/// What a ConfigMap or Secret may hold.
const DATA_LIMIT: usize = 1024 * 1024;

pub(crate) fn config_map(case: &Case<'_>, faults: &mut Faults) {
    let (root, map) = (Path::Root, case.new);
    sealed(case, &["data", "binaryData"], faults);
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
        faults.too_long(&root, DATA_LIMIT);
    }
}

/// Objects marked immutable stay so and keep their contents.
fn sealed(case: &Case<'_>, contents: &[&str], faults: &mut Faults) {
    let (new, old) = (case.new, case.old());
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

pub(crate) fn secret(case: &Case<'_>, faults: &mut Faults) {
    let (root, secret) = (Path::Root, case.new);
    if case.old.is_some() {
        faults.unchanged(secret, case.old(), "type", &root);
        sealed(case, &["data"], faults);
    }
    let path = root.field("data");
    let mut size = 0;
    for (key, value) in members(secret, "data") {
        faults.named(&path.key(key), key, name::config_key);
        size += value.as_str().map_or(0, crate::base64::length);
    }
    if size > DATA_LIMIT {
        faults.too_long(&path, DATA_LIMIT);
    }
    typed(secret, &path, faults);
}

/// What the type of a secret asks of its contents.
fn typed(secret: &Value, path: &Path<'_>, faults: &mut Faults) {
    let data = at(secret, "data");
    let needs = |key: &str, faults: &mut Faults| {
        let there = data.get(key).is_some();
        if !there {
            faults.required(&path.key(key), "");
        }
        there
    };
    match text(secret, "type") {
        "kubernetes.io/dockercfg" => docker(data, ".dockercfg", path, faults),
        "kubernetes.io/dockerconfigjson" => docker(data, ".dockerconfigjson", path, faults),
        "kubernetes.io/ssh-auth" if text(data, "ssh-privatekey").is_empty() => {
            faults.required(&path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            needs("tls.crt", faults);
            needs("tls.key", faults);
        }
        "kubernetes.io/basic-auth" if data.get("username").is_none() && data.get("password").is_none() => {
            needs("username", faults);
            needs("password", faults);
        }
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            if text(at(at(secret, "metadata"), "annotations"), annotation).is_empty() {
                let meta = Path::Root.field("metadata");
                faults.required(&meta.field("annotations").key(annotation), "");
            }
        }
        _ => {}
    }
}

/// The settings of a registry client must be a JSON object.
fn docker(data: &Value, key: &str, path: &Path<'_>, faults: &mut Faults) {
    let path = path.key(key);
    let Some(encoded) = data.get(key) else {
        faults.required(&path, "");
        return;
    };
    let bytes = crate::base64::decode(encoded.as_str().unwrap_or("")).unwrap_or_default();
    let detail = match crate::decode::json(&bytes, crate::decode::MAX_DEPTH) {
        Ok((Value::Object(_) | Value::Null, _)) => return,
        Ok((other, _)) => {
            let kind = match other {
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                _ => "array",
            };
            format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
        }
        Err(error) => error.to_string(),
    };
    faults.invalid(&path, "<secret contents redacted>", detail);
}

/// Finalizers that hold a namespace.
pub(crate) fn namespace(case: &Case<'_>, faults: &mut Faults) {
    if case.old.is_some() {
        return;
    }
    let root = Path::Root;
    let spec = root.field("spec");
    let path = spec.field("finalizers");
    for finalizer in list(case.spec(), "finalizers").iter().filter_map(Value::as_str) {
        faults.named(&path, finalizer, name::qualified_name);
        meta::known_finalizer(finalizer, &path, faults);
    }
}

/// The subresource `finalize` of a namespace.
pub(crate) fn finalize(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let spec = root.field("spec");
    let above = spec.field("finalizers");
    for (index, finalizer) in list(case.spec(), "finalizers").iter().filter_map(Value::as_str).enumerate() {
        let path = above.index(index);
        faults.named(&path, finalizer, name::qualified_name);
        meta::known_finalizer(finalizer, &path, faults);
    }
}

pub(crate) fn namespace_status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let status = root.field("status");
    let phase = text(at(case.new, "status"), "phase");
    let (wanted, when) = match at(at(case.new, "metadata"), "deletionTimestamp") {
        Value::Null => ("Active", "is empty"),
        _ => ("Terminating", "is not empty"),
    };
    if phase != wanted {
        let detail = format!("may only be '{wanted}' if `deletionTimestamp` {when}");
        faults.invalid(&status.field("Phase"), phase, detail);
    }
}
