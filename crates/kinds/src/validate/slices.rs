//! Rules of ResourceSlice, DeviceTaintRule and ResourcePoolStatusRequest (`resource.k8s.io`).

use base::{Quantity, name};
use serde_json::Value;

use super::claims::{MOST, items, own_name, set};
use super::{Case, Faults, IMMUTABLE, condition, golang, resources, scheduling, source};
use crate::json::{at, flag, has, int, list, members, same, text};
use crate::path::Path;

pub(crate) const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];
const LONGEST_POOL: usize = 253;
const MOST_DEVICES: usize = 128;
const MOST_DEVICES_WITH_EXTRAS: usize = 64;
const MOST_COUNTER_SETS: usize = 8;
const MOST_CONSUMPTIONS: usize = 2;
const MOST_VALUES: usize = 48;
const MOST_TAINTS: usize = 16;
const MOST_BINDINGS: usize = 4;
const MOST_OPTIONS: usize = 10;
const MOST_CONDITIONS: usize = 8;
const LONGEST_ID: usize = 32;
const LONGEST_KEY: usize = 63 + 1 + LONGEST_ID;
const LONGEST_VALUE: usize = 64;

pub(crate) fn pool_name(text: &str, path: &Path<'_>, faults: &mut Faults) {
    if text.is_empty() {
        faults.required(path, "");
        return;
    }
    if text.len() > LONGEST_POOL {
        faults.too_long(path, LONGEST_POOL);
    }
    for part in text.split('/') {
        faults.named(path, part, name::dns_subdomain);
    }
}

pub(crate) fn uid(text: &str, path: &Path<'_>, faults: &mut Faults) {
    let bare = text.strip_prefix("urn:uuid:").unwrap_or(text);
    let bare = bare.strip_prefix('{').and_then(|bare| bare.strip_suffix('}')).unwrap_or(bare);
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let dashed = bare.len() == 36
        && bare.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if !matches!(text.len(), 32 | 36 | 38 | 45) {
        faults.invalid(path, text, format!("error validating uid: invalid UUID length: {}", text.len()));
    } else if !(dashed || (bare.len() == 32 && hex(bare))) {
        faults.invalid(path, text, "error validating uid: invalid UUID format");
    } else if text.len() != 36 || text != text.to_lowercase() {
        let detail = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        faults.invalid(path, text, detail);
    }
}

fn identifier(text: &str, path: &Path<'_>, faults: &mut Faults) {
    if text.len() > LONGEST_ID {
        faults.too_long(path, LONGEST_ID);
    }
    faults.named(path, text, name::c_identifier);
}

fn qualified(text: &str, path: &Path<'_>, faults: &mut Faults) {
    match text.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(id, path, faults),
        [domain, id] => {
            match domain {
                "" => faults.invalid(path, "", "the domain must not be empty"),
                domain => source::driver(domain, path, faults),
            }
            match id {
                "" => faults.invalid(path, "", "the name must not be empty"),
                id => identifier(id, path, faults),
            }
        }
        _ => {}
    }
}

/// A name with a domain.
pub(crate) fn full_name(text: &str, path: &Path<'_>, faults: &mut Faults) {
    qualified(text, path, faults);
    if !text.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        faults.invalid(path, text, detail);
    }
}

/// A key of a map as it is shown in a path.
fn shortened(key: &str, limit: usize) -> String {
    if key.len() <= limit {
        return key.to_owned();
    }
    let rest = limit - 3;
    let (head, tail) = (rest.div_ceil(2), rest / 2);
    let front = key.get(..head).unwrap_or("");
    format!("{front}...{}", key.get(key.len() - tail..).unwrap_or(""))
}

pub(crate) fn slice(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    source::driver(text(spec, "driver"), &path.field("driver"), faults);
    let (pool, on_pool) = (at(spec, "pool"), path.field("pool"));
    pool_name(text(pool, "name"), &on_pool.field("name"), faults);
    let number = |name| int(pool, name).unwrap_or(0);
    if number("resourceSliceCount") <= 0 {
        faults.invalid(&on_pool.field("resourceSliceCount"), number("resourceSliceCount"), super::NOT_POSITIVE);
    }
    if number("generation") < 0 {
        let detail = "must be greater than or equal to zero";
        faults.invalid(&on_pool.field("generation"), number("generation"), detail);
    }
    let old = at(case.old(), "spec");
    if case.old.is_some() {
        faults.same_text(pool, at(old, "pool"), "name", &on_pool);
        faults.same_text(spec, old, "driver", &path);
        faults.unchanged(spec, old, "nodeName", &path);
    }
    place(spec, &path, faults);
    if has(spec, "sharedCounters") && has(spec, "devices") {
        faults.invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let devices = list(spec, "devices");
    let extra = |device: &Value| {
        !list(device, "taints").is_empty()
            || !list(device, "consumesCounters").is_empty()
            || members(device, "attributes").any(|(_, value)| LISTS.iter().any(|name| has(value, name)))
    };
    let most = if devices.iter().any(extra) { MOST_DEVICES_WITH_EXTRAS } else { MOST_DEVICES };
    let each = flag(spec, "perDeviceNodeSelection");
    set(devices, most, own_name, &path.field("devices"), faults, |value, path, faults| {
        let before = list(old, "devices").iter().find(|other| text(other, "name") == text(value, "name"));
        device(value, before, each, path, faults);
    });
    let counters = list(spec, "sharedCounters");
    set(counters, MOST_COUNTER_SETS, own_name, &path.field("sharedCounters"), faults, |value, path, faults| {
        counter_set(value, "name", path, faults);
    });
}

/// Which nodes can reach the devices: exactly one way must be told.
fn place(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mut ways: Vec<&str> = Vec::new();
    match at(spec, "nodeName").as_str() {
        Some("") => {
            faults.invalid(&path.field("nodeName"), "", "must be either unset or set to a non-empty string");
        }
        Some(node) => {
            ways.push("`nodeName`");
            faults.named(&path.field("nodeName"), node, name::dns_subdomain);
        }
        None => {}
    }
    if has(spec, "nodeSelector") {
        ways.push("`nodeSelector`");
        let (selector, path) = (at(spec, "nodeSelector"), path.field("nodeSelector"));
        scheduling::node_selector(selector, false, &path, faults);
        let terms = list(selector, "nodeSelectorTerms");
        if terms.len() != 1 {
            let shown = match at(selector, "nodeSelectorTerms") {
                Value::Null => "null".to_owned(),
                _ => golang::print_list("NodeSelectorTerm", terms),
            };
            let detail = "must have exactly one node selector term";
            faults.shown(&path.field("nodeSelectorTerms"), &shown, detail);
        }
    }
    for (name, way) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match at(spec, name) {
            Value::Bool(true) => ways.push(way),
            Value::Bool(false) => {
                faults.invalid(&path.field(name), false, "must be either unset or set to true");
            }
            _ => {}
        }
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match ways.len() {
        0 => faults.required(path, detail),
        1 => {}
        _ => {
            let detail = format!("{detail}, but multiple fields are set");
            faults.invalid(path, format!("{{{}}}", ways.join(", ")), detail);
        }
    }
}

fn counter_set(value: &Value, name: &str, path: &Path<'_>, faults: &mut Faults) {
    faults.required_name(&path.field(name), text(value, name), name::dns_label);
    let (counters, above) = (at(value, "counters"), path.field("counters"));
    let count = counters.as_object().map_or(0, serde_json::Map::len);
    if count == 0 {
        faults.required(&above, "");
    }
    if count > MOST {
        faults.too_many(&above, count, MOST);
    }
    for (key, _) in members(value, "counters") {
        faults.named(&above, key, name::dns_label);
    }
}

const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

fn device(value: &Value, before: Option<&Value>, each: bool, path: &Path<'_>, faults: &mut Faults) {
    faults.named(&path.field("name"), text(value, "name"), name::dns_label);
    let count = |name| at(value, name).as_object().map_or(0, serde_json::Map::len);
    let total = count("attributes") + count("capacity");
    if total > MOST {
        let detail = format!("the total number of attributes and capacities must not exceed {MOST}");
        faults.invalid(path, total, detail);
    }
    let values = |attribute: &Value| LISTS.iter().map(|name| list(attribute, name).len()).sum::<usize>().max(1);
    let total: usize = members(value, "attributes").map(|(_, attribute)| values(attribute)).sum();
    if total > MOST_VALUES {
        let detail = format!("the total number of attribute values must not exceed {MOST_VALUES}");
        faults.invalid(path, total, detail);
    }
    let above = path.field("attributes");
    for (key, attribute) in members(value, "attributes") {
        qualified(key, &above, faults);
        self::attribute(attribute, &above.key(&shortened(key, LONGEST_KEY)), faults);
    }
    let above = path.field("capacity");
    for (key, capacity) in members(value, "capacity") {
        qualified(key, &above, faults);
        let shown = shortened(key, LONGEST_KEY);
        let path = above.key(&shown);
        let (policy, path) = (at(capacity, "requestPolicy"), path.field("requestPolicy"));
        if !policy.is_null() && flag(value, "allowMultipleAllocations") {
            request_policy(at(capacity, "value"), policy, &path, faults);
        } else if !policy.is_null() {
            faults.forbidden(&path, "allowMultipleAllocations must be true");
        }
    }
    if before.is_none_or(|before| !same(at(before, "taints"), at(value, "taints"))) {
        items(list(value, "taints"), MOST_TAINTS, &path.field("taints"), faults, |value, path, faults| {
            taint(value, "", path, faults);
        });
    }
    let counters = |value: &Value| Value::from(text(value, "counterSet"));
    let above = path.field("consumesCounters");
    set(list(value, "consumesCounters"), MOST_CONSUMPTIONS, counters, &above, faults, |value, path, faults| {
        counter_set(value, "counterSet", path, faults);
    });
    device_place(value, each, path, faults);
    bindings(value, path, faults);
    mappings(value, path, faults);
}

fn device_place(value: &Value, each: bool, path: &Path<'_>, faults: &mut Faults) {
    if !each {
        if ["nodeName", "nodeSelector", "allNodes"].iter().any(|name| has(value, name)) {
            let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            faults.invalid(path, Value::Null, detail);
        }
        return;
    }
    let mut ways: Vec<&str> = Vec::new();
    match at(value, "nodeName").as_str() {
        Some("") => faults.invalid(&path.field("nodeName"), "", "must not be empty"),
        Some(node) => {
            ways.push("`nodeName`");
            faults.named(&path.field("nodeName"), node, name::dns_subdomain);
        }
        None => {}
    }
    if has(value, "nodeSelector") {
        ways.push("`nodeSelector`");
        scheduling::node_selector(at(value, "nodeSelector"), false, &path.field("nodeSelector"), faults);
    }
    match at(value, "allNodes") {
        Value::Bool(true) => ways.push("`allNodes`"),
        Value::Bool(false) => {
            faults.invalid(&path.field("allNodes"), false, "must be either unset or set to true");
        }
        _ => {}
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match ways.len() {
        0 => faults.required(path, detail),
        1 => {}
        _ => faults.invalid(path, format!("{{{}}}", ways.join(", ")), detail),
    }
}

fn mappings(device: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("nodeAllocatableResourceMappings");
    for (resource, mapping) in members(device, "nodeAllocatableResourceMappings") {
        let path = above.key(resource);
        if !resources::is_native(resource) {
            faults.invalid(&path, resource.as_str(), "must be a node allocatable resource name");
        }
        let (factor, key) = (at(mapping, "allocationMultiplier"), at(mapping, "capacityKey"));
        if factor.is_null() && key.is_null() {
            faults.invalid(&path, "", "at least one of allocationMultiplier or capacityKey must be set");
        }
        if let Some(factor) = resources::quantity(factor).filter(|factor| factor.sign() <= 0) {
            faults.invalid(&path.field("allocationMultiplier"), factor.to_string(), "must be positive");
        }
        match key.as_str() {
            Some("") => faults.invalid(&path.field("capacityKey"), "", "capacityKey must not be an empty string"),
            Some(key) if !has(at(device, "capacity"), key) => faults.not_found(&path.field("capacityKey"), key),
            _ => {}
        }
    }
}

fn attribute(attribute: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mut count = ["bool", "int", "string", "version"].iter().filter(|name| has(attribute, name)).count();
    if let Some(value) = at(attribute, "string").as_str() {
        text_value(value, &path.field("string"), faults);
    }
    if let Some(value) = at(attribute, "version").as_str() {
        version_value(value, &path.field("version"), faults);
    }
    for name in LISTS.iter().filter(|name| has(attribute, name)) {
        count += 1;
        let above = path.field(name);
        if list(attribute, name).is_empty() {
            faults.invalid(&above, at(attribute, name).clone(), "must not be empty if specified");
        }
        for (index, value) in list(attribute, name).iter().enumerate() {
            let value = value.as_str().unwrap_or("");
            match *name {
                "strings" => text_value(value, &above.index(index), faults),
                "versions" => version_value(value, &above.index(index), faults),
                _ => {}
            }
        }
    }
    match count {
        0 => faults.invalid(path, "", "exactly one value must be specified"),
        1 => {}
        _ => {
            let shown = golang::print("DeviceAttribute", attribute);
            faults.shown(path, &shown, "exactly one value must be specified");
        }
    }
}

fn text_value(value: &str, path: &Path<'_>, faults: &mut Faults) {
    if value.len() > LONGEST_VALUE {
        faults.too_long(path, LONGEST_VALUE);
    }
}

fn version_value(value: &str, path: &Path<'_>, faults: &mut Faults) {
    if super::coordination::SemVer::parse(value).is_none() {
        faults.invalid(path, value, "must be a string compatible with semver.org spec 2.0.0");
    }
    text_value(value, path, faults);
}

/// Which parts of a capacity may be asked for.
fn request_policy(capacity: &Value, policy: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (values, range) = (list(policy, "validValues"), at(policy, "validRange"));
    let quantity = |value: &Value| resources::quantity(value).unwrap_or_default();
    let capacity = quantity(capacity);
    let standard = at(policy, "default");
    if !values.is_empty() && !range.is_null() {
        let detail =
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
        faults.forbidden(path, detail);
    } else if !values.is_empty() {
        if standard.is_null() {
            faults.required(&path.field("default"), "required when validValues is defined");
        } else {
            let values: Vec<Quantity> = values.iter().map(quantity).collect();
            valid_values(&quantity(standard), &capacity, &values, &path.field("validValues"), faults);
        }
    } else if !range.is_null() {
        if standard.is_null() {
            faults.required(&path.field("default"), "required when validRange is defined");
        } else {
            let bound = |name| resources::quantity(at(range, name));
            let Some(least) = bound("min") else {
                let on_range = path.field("validRange");
                faults.required(&on_range.field("min"), "required when validRange is defined");
                return;
            };
            let range = Range { least, most: bound("max"), step: bound("step") };
            range.check(&quantity(standard), &capacity, &path.field("validRange"), faults);
        }
    }
}

fn valid_values(standard: &Quantity, capacity: &Quantity, values: &[Quantity], path: &Path<'_>, faults: &mut Faults) {
    for (index, pair) in values.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        let detail = "values must be sorted in ascending order";
        faults.invalid(&path.index(index + 1), pair[1].to_string(), detail);
    }
    if values.len() > MOST_OPTIONS {
        faults.too_many(path, values.len(), MOST_OPTIONS);
    } else {
        for (index, value) in values.iter().enumerate().filter(|(_, value)| *value > capacity) {
            let detail = format!("option is larger than capacity value: {capacity}");
            faults.invalid(&path.index(index), value.to_string(), detail);
        }
        for (index, value) in values.iter().enumerate() {
            if values[..index].iter().any(|other| other.value() == value.value()) {
                faults.duplicate(&path.index(index), value.value().to_string());
            }
        }
    }
    if values.len() > MOST_OPTIONS || !values.contains(standard) {
        faults.invalid(path, standard.to_string(), "default value is not valid according to the requestPolicy");
    }
}

struct Range {
    least: Quantity,
    most: Option<Quantity>,
    step: Option<Quantity>,
}

impl Range {
    fn check(&self, standard: &Quantity, capacity: &Quantity, path: &Path<'_>, faults: &mut Faults) {
        let (least, on_least, on_most) = (&self.least, path.field("min"), path.field("max"));
        if least > capacity {
            let detail = format!("min is larger than capacity value: {capacity}");
            faults.invalid(&on_least, least.to_string(), detail);
        }
        if standard < least {
            faults.invalid(&on_least, standard.to_string(), format!("default is less than min: {least}"));
        }
        if let Some(most) = &self.most {
            if least > most {
                faults.invalid(&on_most, least.to_string(), format!("min is larger than max: {most}"));
            }
            if most > capacity {
                let detail = format!("max is larger than capacity value: {capacity}");
                faults.invalid(&on_most, most.to_string(), detail);
            }
            if standard > most {
                faults.invalid(&on_most, standard.to_string(), format!("default is more than max: {most}"));
            }
        }
        let Some(step) = &self.step else { return };
        let on_step = path.field("step");
        let added = least.checked_add(step).unwrap_or(*least);
        if &added > capacity {
            let detail = format!("one step {added} is larger than capacity value: {capacity}");
            faults.invalid(&on_step, step.to_string(), detail);
        }
        for value in [Some(standard), self.most.as_ref()].into_iter().flatten() {
            let apart = value.value() - least.value();
            if step.value() != 0 && apart % step.value() != 0 {
                let detail = format!("value is not a multiple of a given step ({step}) from ({least})");
                faults.invalid(&on_step, value.to_string(), detail);
            }
        }
    }
}

fn taint(taint: &Value, before: &str, path: &Path<'_>, faults: &mut Faults) {
    faults.named(&path.field("key"), text(taint, "key"), name::qualified_name);
    faults.optional_name(&path.field("value"), text(taint, "value"), name::label_value);
    if before.is_empty() || before != text(taint, "effect") {
        faults.one_of(taint, "effect", path, EFFECTS);
    }
}

/// Conditions that must hold before a device can be used, and those after which it cannot.
pub(crate) fn bindings(of: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (right, wrong) = ("bindingConditions", "bindingFailureConditions");
    for name in [right, wrong] {
        items(list(of, name), MOST_BINDINGS, &path.field(name), faults, |value, path, faults| {
            faults.named(path, value.as_str().unwrap_or(""), name::qualified_name);
        });
    }
    let good = list(of, right);
    for name in [right, wrong] {
        let (values, above) = (list(of, name), path.field(name));
        for (index, value) in values.iter().enumerate() {
            if values[..index].contains(value) {
                faults.duplicate(&above.index(index), value.clone());
            }
            if name == wrong && good.contains(value) {
                let detail = "bindingFailureConditions must not overlap with bindingConditions";
                faults.invalid(&above.index(index), value.clone(), detail);
            }
        }
    }
    for (name, other) in [(right, wrong), (wrong, right)] {
        if list(of, name).is_empty() && !list(of, other).is_empty() {
            faults.invalid(&path.field(name), at(of, name).clone(), format!("{name} are required to use {other}"));
        }
    }
}

pub(crate) fn taint_rule(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    let (filter, on_filter) = (at(spec, "deviceSelector"), path.field("deviceSelector"));
    if let Some(driver) = at(filter, "driver").as_str() {
        source::driver(driver, &on_filter.field("driver"), faults);
    }
    if let Some(pool) = at(filter, "pool").as_str() {
        pool_name(pool, &on_filter.field("pool"), faults);
    }
    if let Some(device) = at(filter, "device").as_str() {
        faults.named(&on_filter.field("device"), device, name::dns_label);
    }
    let before = text(at(at(case.old(), "spec"), "taint"), "effect");
    taint(at(spec, "taint"), before, &path.field("taint"), faults);
}

pub(crate) fn taint_rule_status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (status, path) = (at(case.new, "status"), root.field("status"));
    condition::list_of(status, &path, faults);
    let count = list(status, "conditions").len();
    if count > MOST_CONDITIONS {
        faults.too_many(&path.field("conditions"), count, MOST_CONDITIONS);
    }
}

const MOST_POOLS: i64 = 1000;

pub(crate) fn pool_request(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    match text(spec, "driver") {
        "" => faults.required(&path.field("driver"), ""),
        driver => {
            let name = driver.to_lowercase();
            faults.verdict(&path.field("driver"), driver, name::dns_subdomain(&name));
        }
    }
    if let Some(limit) = int(spec, "limit").filter(|limit| !(1..=MOST_POOLS).contains(limit)) {
        let detail = if limit < 1 {
            "must be greater than or equal to 1".to_owned()
        } else {
            format!("must be less than or equal to {MOST_POOLS}")
        };
        faults.invalid(&path.field("limit"), limit, detail);
    }
    if let Some(old) = case.old
        && !same(spec, at(old, "spec"))
    {
        faults.invalid(&path, spec.clone(), IMMUTABLE);
    }
}

pub(crate) fn pool_request_status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (status, old, path) = (at(case.new, "status"), at(case.old(), "status"), root.field("status"));
    if !crate::json::is_empty(old) && !same(status, old) {
        faults.invalid(&path, status.clone(), IMMUTABLE);
    }
    condition::list_of(status, &path, faults);
}
