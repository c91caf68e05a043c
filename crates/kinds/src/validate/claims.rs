//! Rules of claims for devices and of device classes (`resource.k8s.io`).

mod selector;

use base::name;
use serde_json::Value;

use super::{Case, Faults, IMMUTABLE, condition, ip, meta, resources, scheduling, slices, source};
use crate::json::{at, has, int, list, same, text};
use crate::path::Path;

pub(crate) use selector::Age;
#[cfg(test)]
pub(crate) use selector::compiled;

pub(crate) const MOST: usize = 32;
const MOST_ALTERNATIVES: usize = 8;
const LARGEST_PARAMETERS: usize = 10 * 1024;
const MOST_CONSUMERS: usize = 256;
const MOST_CONDITIONS: usize = 8;
const MOST_ADDRESSES: usize = 16;
const LONGEST_INTERFACE: usize = 256;
const LONGEST_HARDWARE: usize = 128;
const OMITTED: &str = "<value omitted>";

pub(crate) fn claim(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    match case.old {
        Some(old) => fixed_spec(case, old, faults),
        None => device_claim(case.spec(), true, &root.field("spec"), faults),
    }
}

fn fixed_spec(case: &Case<'_>, old: &Value, faults: &mut Faults) {
    if !same(case.spec(), at(old, "spec")) {
        faults.invalid(&Path::Root.field("spec"), case.spec().clone(), IMMUTABLE);
    }
}

pub(crate) fn template(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    meta::template(at(spec, "metadata"), &path.field("metadata"), faults);
    device_claim(at(spec, "spec"), case.old.is_none(), &path.field("spec"), faults);
    if let Some(old) = case.old {
        fixed_spec(case, old, faults);
    }
}

pub(crate) fn class(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    let stored = case.old.is_some() && same(at(spec, "selectors"), at(at(case.old(), "spec"), "selectors"));
    selector::list(spec, if stored { Age::Stored } else { Age::New }, &path, faults);
    let above = path.field("config");
    items(list(spec, "config"), MOST, &above, faults, configuration);
    if let Some(resource) = at(spec, "extendedResourceName").as_str().filter(|name| !resources::is_extended(name)) {
        let detail = "must be a valid extended resource name";
        faults.invalid(&path.field("extendedResourceName"), resource, detail);
    }
}

/// Items of a list, if there are not too many.
pub(crate) fn items(
    values: &[Value],
    most: usize,
    path: &Path<'_>,
    faults: &mut Faults,
    mut check: impl FnMut(&Value, &Path<'_>, &mut Faults),
) -> bool {
    if values.len() > most {
        faults.too_many(path, values.len(), most);
        return false;
    }
    for (index, value) in values.iter().enumerate() {
        check(value, &path.index(index), faults);
    }
    true
}

/// As `items`; no two may have the same key.
pub(crate) fn set(
    values: &[Value],
    most: usize,
    key: fn(&Value) -> Value,
    path: &Path<'_>,
    faults: &mut Faults,
    check: impl FnMut(&Value, &Path<'_>, &mut Faults),
) {
    if !items(values, most, path, faults, check) {
        return;
    }
    let mut seen: Vec<Value> = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let key = key(value);
        if seen.contains(&key) {
            faults.duplicate(&path.index(index), key);
        } else {
            seen.push(key);
        }
    }
}

pub(crate) fn own_name(value: &Value) -> Value {
    Value::from(text(value, "name"))
}

/// The names by which requests of a claim are known: those of requests, and of their alternatives after a slash.
struct Names<'v>(Vec<(&'v str, Vec<&'v str>)>);

impl<'v> Names<'v> {
    fn of(claim: &'v Value) -> Self {
        let requests = list(at(claim, "devices"), "requests").iter();
        let alternatives =
            |request| list(request, "firstAvailable").iter().map(|alternative| text(alternative, "name")).collect();
        Self(requests.map(|request| (text(request, "name"), alternatives(request))).collect())
    }

    fn has(&self, name: &str) -> bool {
        let mut parts = name.split('/');
        let (first, second) = (parts.next().unwrap_or(""), parts.next());
        let found = self.0.iter().rev().find(|(known, _)| *known == first);
        parts.next().is_none()
            && found.is_some_and(|(_, alternatives)| second.is_none_or(|second| alternatives.contains(&second)))
    }

    fn reference(&self, name: &str, path: &Path<'_>, faults: &mut Faults) {
        let detail =
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        if name.split('/').count() > 2 {
            faults.invalid(path, name, detail);
            return;
        }
        for part in name.split('/') {
            faults.named(path, part, name::dns_label);
        }
        if !self.has(name) {
            faults.invalid(path, name, detail);
        }
    }

    fn references(&self, of: &Value, path: &Path<'_>, faults: &mut Faults) {
        set(list(of, "requests"), MOST, Value::clone, &path.field("requests"), faults, |value, path, faults| {
            self.reference(value.as_str().unwrap_or(""), path, faults);
        });
    }
}

/// A claim; one that is not new may not change, and what its selectors say has been looked at.
fn device_claim(claim: &Value, new: bool, above: &Path<'_>, faults: &mut Faults) {
    let (devices, path) = (at(claim, "devices"), above.field("devices"));
    let names = Names::of(claim);
    set(list(devices, "requests"), MOST, own_name, &path.field("requests"), faults, |value, path, faults| {
        request(value, new, path, faults);
    });
    items(list(devices, "constraints"), MOST, &path.field("constraints"), faults, |value, path, faults| {
        names.references(value, path, faults);
        match (at(value, "matchAttribute").as_str(), at(value, "distinctAttribute").as_str()) {
            (Some(name), _) => slices::full_name(name, &path.field("matchAttribute"), faults),
            (None, Some(name)) => slices::full_name(name, &path.field("distinctAttribute"), faults),
            (None, None) => {
                let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
                faults.required(path, detail);
            }
        }
    });
    items(list(devices, "config"), MOST, &path.field("config"), faults, |value, path, faults| {
        names.references(value, path, faults);
        configuration(value, path, faults);
    });
}

fn request(value: &Value, new: bool, path: &Path<'_>, faults: &mut Faults) {
    faults.named(&path.field("name"), text(value, "name"), name::dns_label);
    let alternatives = list(value, "firstAvailable");
    match (alternatives.is_empty(), has(value, "exactly")) {
        (true, false) => faults.required(path, "exactly one of `exactly` or `firstAvailable` is required"),
        (false, true) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            faults.invalid(path, Value::Null, detail);
        }
        (true, true) => one_request(at(value, "exactly"), new, &path.field("exactly"), faults),
        (false, false) => {
            let path = path.field("firstAvailable");
            set(alternatives, MOST_ALTERNATIVES, own_name, &path, faults, |value, path, faults| {
                faults.named(&path.field("name"), text(value, "name"), name::dns_label);
                one_request(value, new, path, faults);
            });
        }
    }
}

fn one_request(value: &Value, new: bool, path: &Path<'_>, faults: &mut Faults) {
    faults.required_name(&path.field("deviceClassName"), text(value, "deviceClassName"), name::dns_subdomain);
    selector::list(value, if new { Age::New } else { Age::Known }, path, faults);
    let (mode, count) = (text(value, "allocationMode"), int(value, "count").unwrap_or(0));
    match mode {
        "All" if count != 0 => {
            faults.invalid(&path.field("count"), count, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" if count <= 0 => faults.invalid(&path.field("count"), count, super::NOT_POSITIVE),
        "ExactCount" => {}
        other => faults.not_supported(&path.field("allocationMode"), other, &["All", "ExactCount"]),
    }
    let above = path.field("tolerations");
    for (index, value) in list(value, "tolerations").iter().enumerate() {
        toleration(value, &above.index(index), faults);
    }
}

fn toleration(toleration: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.optional_name(&path.field("key"), text(toleration, "key"), name::qualified_name);
    let value = text(toleration, "value");
    match text(toleration, "operator") {
        "Exists" if !value.is_empty() => {
            faults.invalid(&path.field("value"), value, "must be empty for operator `Exists`");
        }
        "Exists" => {}
        "Equal" => faults.named(&path.field("value"), value, name::label_value),
        "" => faults.required(&path.field("operator"), ""),
        other => faults.not_supported(&path.field("operator"), other, &["Equal", "Exists"]),
    }
    if !text(toleration, "effect").is_empty() {
        faults.any_of(toleration, "effect", path, slices::EFFECTS);
    }
}

fn configuration(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (opaque, path) = (at(value, "opaque"), path.field("opaque"));
    if opaque.is_null() {
        faults.required(&path, "");
        return;
    }
    source::driver(text(opaque, "driver"), &path.field("driver"), faults);
    raw(at(opaque, "parameters"), LARGEST_PARAMETERS, &path.field("parameters"), faults);
}

/// Any object.
fn raw(value: &Value, largest: usize, path: &Path<'_>, faults: &mut Faults) {
    if value.is_null() {
        faults.required(path, "");
    } else if value.to_string().len() > largest {
        faults.too_long(path, largest);
    } else if !value.is_object() {
        faults.invalid(path, OMITTED, "must be a valid JSON object");
    }
}

/// The device that a result or status is about, and which share of it.
fn device_id(value: &Value) -> [&str; 4] {
    ["driver", "pool", "device", "shareID"].map(|name| text(value, name))
}

fn shown_id(value: &Value) -> Value {
    let [driver, pool, device, share] = device_id(value);
    let share = if has(value, "shareID") { Value::from(share) } else { Value::from("") };
    serde_json::json!({"Driver": driver, "Pool": pool, "Device": device, "ShareID": share})
}

pub(crate) fn status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (status, old, path) = (at(case.new, "status"), at(case.old(), "status"), root.field("status"));
    let (consumers, on_consumers) = (list(status, "reservedFor"), path.field("reservedFor"));
    let uid = |value: &Value| Value::from(text(value, "uid"));
    set(consumers, MOST_CONSUMERS, uid, &on_consumers, faults, |value, path, faults| {
        for name in ["resource", "name", "uid"] {
            faults.required_text(value, name, path);
        }
    });
    let allocation = at(status, "allocation");
    let allocated = list(at(allocation, "devices"), "results");
    set(list(status, "devices"), usize::MAX, shown_id, &path.field("devices"), faults, |value, path, faults| {
        device_status(value, allocated, path, faults);
    });
    if !consumers.is_empty() {
        let deleted = has(at(case.new, "metadata"), "deletionTimestamp");
        let before = list(old, "reservedFor");
        if allocation.is_null() {
            faults.forbidden(&on_consumers, "may not be specified when `allocated` is not set");
        } else if deleted && !consumers.iter().all(|consumer| before.contains(consumer)) {
            let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            faults.forbidden(&on_consumers, detail);
        }
    }
    let (path, before) = (path.field("allocation"), at(old, "allocation"));
    match (allocation.is_null(), before.is_null()) {
        (false, false) if !same(allocation, before) => faults.invalid(&path, allocation.clone(), IMMUTABLE),
        (false, true) => allocation_result(allocation, &Names::of(case.spec()), &path, faults),
        _ => {}
    }
}

fn allocation_result(allocation: &Value, names: &Names<'_>, path: &Path<'_>, faults: &mut Faults) {
    let (devices, on_devices) = (at(allocation, "devices"), path.field("devices"));
    items(list(devices, "results"), MOST, &on_devices.field("results"), faults, |value, path, faults| {
        names.reference(text(value, "request"), &path.field("request"), faults);
        device(value, path, faults);
        slices::bindings(value, path, faults);
        share(value, path, faults);
    });
    items(list(devices, "config"), 2 * MOST, &on_devices.field("config"), faults, |value, path, faults| {
        faults.one_of(value, "source", path, &["FromClaim", "FromClass"]);
        names.references(value, path, faults);
        configuration(value, path, faults);
    });
    if has(allocation, "nodeSelector") {
        scheduling::node_selector(at(allocation, "nodeSelector"), false, &path.field("nodeSelector"), faults);
    }
}

fn device(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    source::driver(text(value, "driver"), &path.field("driver"), faults);
    slices::pool_name(text(value, "pool"), &path.field("pool"), faults);
    faults.named(&path.field("device"), text(value, "device"), name::dns_label);
}

fn share(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(uid) = at(value, "shareID").as_str() {
        slices::uid(uid, &path.field("shareID"), faults);
    }
}

fn device_status(value: &Value, allocated: &[Value], path: &Path<'_>, faults: &mut Faults) {
    device(value, path, faults);
    share(value, path, faults);
    if !allocated.iter().any(|result| device_id(result) == device_id(value)) {
        faults.invalid(path, shown_id(value), "must be an allocated device in the claim");
    }
    let conditions = list(value, "conditions");
    if conditions.len() > MOST_CONDITIONS {
        faults.too_many(&path.field("conditions"), conditions.len(), MOST_CONDITIONS);
    }
    condition::list_of(value, path, faults);
    if has(value, "data") {
        raw(at(value, "data"), LARGEST_PARAMETERS, &path.field("data"), faults);
    }
    let (network, path) = (at(value, "networkData"), path.field("networkData"));
    for (name, limit) in [("interfaceName", LONGEST_INTERFACE), ("hardwareAddress", LONGEST_HARDWARE)] {
        if text(network, name).len() > limit {
            faults.too_long(&path.field(name), limit);
        }
    }
    let addresses = list(network, "ips");
    set(addresses, MOST_ADDRESSES, Value::clone, &path.field("ips"), faults, |value, path, faults| {
        ip::interface(value.as_str().unwrap_or(""), path, faults);
    });
}
