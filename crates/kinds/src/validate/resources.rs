//! Names and amounts of resources: which names exist, which amounts they take, how requests and limits go together.

use base::{Quantity, name};
use serde_json::Value;

use super::{Faults, NEGATIVE};
use crate::json::{at, list, members, text};
use crate::path::Path;

/// Resources of containers.
const CONTAINER: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// Resources that a quota may limit.
const QUOTA: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

/// Resources that are counted.
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_quota_huge_page(name: &str) -> bool {
    is_huge_page(name) || name.starts_with("requests.hugepages-")
}

/// Kubernetes' own resources.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Resources of devices, which come in whole numbers.
pub(crate) fn is_extended(name: &str) -> bool {
    if is_native(name) || name.starts_with("requests.") {
        return false;
    }
    // The prefix of quotas must still fit.
    name.split_once('/').is_some_and(|(domain, _)| domain.len() + "requests.".len() <= 253)
        && name::qualified_name(name).is_ok()
}

pub(crate) fn is_standard_quota(name: &str) -> bool {
    QUOTA.contains(&name) || is_quota_huge_page(name)
}

/// Whether requests may be lower than limits.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

fn is_whole(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

/// A name that exists or has a domain; true if it does.
pub(crate) fn resource_name(resource: &str, path: &Path<'_>, faults: &mut Faults) -> bool {
    if let Err(reasons) = name::qualified_name(resource) {
        faults.verdict(path, resource, Err(reasons));
        return false;
    }
    if !resource.contains('/') && !is_standard_quota(resource) && resource != "storage" {
        faults.invalid(path, resource, "must be a standard resource type or fully qualified");
        return false;
    }
    true
}

pub(crate) fn container_name(resource: &str, path: &Path<'_>, faults: &mut Faults) {
    if CONTAINER.contains(&resource) {
        return;
    }
    resource_name(resource, path, faults);
    if !resource.contains('/') {
        if !is_huge_page(resource) {
            faults.invalid(path, resource, "must be a standard resource for containers");
        }
    } else if !is_native(resource) && !is_extended(resource) {
        faults.invalid(path, resource, "doesn't follow extended resource name standard");
    }
}

fn pod_name(resource: &str, path: &Path<'_>, faults: &mut Faults) {
    if resource_name(resource, path, faults) && !matches!(resource, "cpu" | "memory") && !is_huge_page(resource) {
        faults.not_supported(path, resource, &["cpu", "hugepages-", "memory"]);
    }
}

pub(crate) fn quota_name(resource: &str, path: &Path<'_>, faults: &mut Faults) {
    resource_name(resource, path, faults);
    if !resource.contains('/') && !is_standard_quota(resource) {
        faults.invalid(path, resource, "must be a standard resource for quota");
    }
}

/// An amount that is not negative and whole if it counts things.
pub(crate) fn amount(resource: &str, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let Some(quantity) = quantity(value) else { return };
    if quantity.sign() < 0 {
        faults.invalid(path, quantity.to_string(), NEGATIVE);
    }
    if quantity.milli() % 1000 != 0 && is_whole(resource) {
        faults.invalid(path, quantity.to_string(), "must be an integer");
    }
}

/// Whose requests and limits they are.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'v> {
    /// Of a whole pod, which knows fewer resources.
    pub pod: bool,
    /// The names of the pod's resource claims.
    pub claims: &'v [&'v str],
    /// Amounts that are no multiple of a page were always there.
    pub odd_pages: bool,
}

impl Owner<'_> {
    pub(crate) const NOBODY: Owner<'static> = Owner { pod: false, claims: &[], odd_pages: false };

    fn name(&self, resource: &str, path: &Path<'_>, faults: &mut Faults) {
        if self.pod { pod_name(resource, path, faults) } else { container_name(resource, path, faults) }
    }

    fn pages(&self, resource: &str, value: &Value, path: &Path<'_>, faults: &mut Faults) {
        let Some(quantity) = quantity(value).filter(|_| !self.odd_pages) else { return };
        if !divides(resource, &quantity) {
            let detail = format!("{quantity} is not positive integer multiple of {resource}");
            faults.invalid(path, quantity.to_string(), detail);
        }
    }
}

fn divides(resource: &str, quantity: &Quantity) -> bool {
    let size = resource.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok());
    size.is_some_and(|size| size.sign() > 0 && size.milli() % 1000 == 0 && quantity.value() % size.value() == 0)
}

/// Whether limits or requests hold huge pages that are no multiple of their page.
pub(crate) fn has_odd_pages(resources: &Value) -> bool {
    ["limits", "requests"]
        .iter()
        .flat_map(|list| members(resources, list))
        .any(|(name, value)| is_huge_page(name) && quantity(value).is_some_and(|quantity| !divides(name, &quantity)))
}

/// Requests and limits.
pub(crate) fn requirements(resources: &Value, owner: Owner<'_>, path: &Path<'_>, faults: &mut Faults) {
    if resources.is_null() {
        return;
    }
    let (limits, requests) = (path.field("limits"), path.field("requests"));
    let (mut computes, mut pages) = (false, false);
    for (resource, value) in members(resources, "limits") {
        let path = limits.key(resource);
        owner.name(resource, &path, faults);
        amount(resource, value, &path, faults);
        if is_huge_page(resource) {
            pages = true;
            owner.pages(resource, value, &path, faults);
        }
        computes |= matches!(resource.as_str(), "cpu" | "memory");
    }
    for (resource, value) in members(resources, "requests") {
        let path = requests.key(resource);
        owner.name(resource, &path, faults);
        amount(resource, value, &path, faults);
        match (quantity(value), quantity(at(at(resources, "limits"), resource))) {
            (Some(request), Some(limit)) if request != limit && !may_overcommit(resource) => {
                let detail = format!("must be equal to {resource} limit of {limit}");
                faults.invalid(&requests, request.to_string(), detail);
            }
            (Some(request), Some(limit)) if request > limit => {
                let detail = format!("must be less than or equal to {resource} limit of {limit}");
                faults.invalid(&requests, request.to_string(), detail);
            }
            (_, None) if !may_overcommit(resource) => {
                faults.required(&limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
        if is_huge_page(resource) {
            pages = true;
            owner.pages(resource, value, &path, faults);
        }
        computes |= matches!(resource.as_str(), "cpu" | "memory");
    }
    if pages && !computes {
        faults.forbidden(path, "HugePages require cpu or memory");
    }
    claims(list(resources, "claims"), owner.claims, &path.field("claims"), faults);
}

/// Claims that a container uses; each must be one of the pod's.
fn claims(claims: &[Value], of_pod: &[&str], above: &Path<'_>, faults: &mut Faults) {
    let mut seen: Vec<String> = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = above.index(index);
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            faults.required(&path, "");
            continue_unknown(name, of_pod, &path, faults);
            continue;
        }
        if seen.iter().any(|key| key == name) {
            faults.duplicate(&path, name);
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                faults.named(&path.field("request"), request, name::dns_label);
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                faults.duplicate(&path, key.clone());
            } else if request.is_empty() {
                for _ in seen.iter().filter(|other| other.split_once('/').is_some_and(|(first, _)| first == name)) {
                    faults.duplicate(&path, name);
                }
            }
            if !seen.contains(&key) {
                seen.push(key);
            }
        }
        continue_unknown(name, of_pod, &path, faults);
    }
}

fn continue_unknown(name: &str, of_pod: &[&str], path: &Path<'_>, faults: &mut Faults) {
    if of_pod.contains(&name) {
        return;
    }
    let mut known = of_pod.to_vec();
    known.sort_unstable();
    let which = if known.is_empty() { " which is empty".to_owned() } else { format!(": {}", known.join(", ")) };
    let mut fault = crate::FieldError::not_found(path, name);
    fault.detail = format!("must be one of the names in pod.spec.resourceClaims{which}");
    faults.push(fault);
}

/// Requests and limits of a whole pod beside those of its containers.
pub(crate) fn pod_level(spec: &Value, claims: &[&str], odd_pages: bool, path: &Path<'_>, faults: &mut Faults) {
    let resources = at(spec, "resources");
    if resources.is_null() {
        return;
    }
    let above = path.field("resources");
    if text(at(spec, "os"), "name") == "windows" {
        faults.forbidden(&above, "may not be set for a windows pod");
        return;
    }
    if crate::json::has(resources, "claims") {
        faults.forbidden(&above.field("claims"), "claims may not be set for Resources at pod-level");
    }
    requirements(resources, Owner { pod: true, claims, odd_pages }, &above, faults);
    let requests = above.field("requests");
    for (name, sum) in aggregate(spec, "requests") {
        if let Some(own) = quantity(at(at(resources, "requests"), &name)).filter(|own| sum > *own) {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            faults.invalid(&requests.key(&name), own.to_string(), detail);
        }
    }
    let limits = above.field("limits");
    for (name, sum) in aggregate(spec, "limits").into_iter().filter(|(name, _)| is_huge_page(name)) {
        if let Some(own) = quantity(at(at(resources, "limits"), &name)).filter(|own| sum > *own) {
            let detail = format!("must be greater than or equal to aggregate container limits of {sum}");
            faults.invalid(&limits.key(&name), own.to_string(), detail);
        }
    }
    let containers = above.field("containers");
    for (index, container) in list(spec, "containers").iter().enumerate() {
        for (name, limit) in members(at(container, "resources"), "limits") {
            if let (Some(limit), Some(own)) = (quantity(limit), quantity(at(at(resources, "limits"), name)))
                && limit > own
            {
                let place = containers.index(index);
                let detail = format!("must be less than or equal to pod limits of {own}");
                faults.invalid(&place.key(name).field("limits"), limit.to_string(), detail);
            }
        }
    }
}

/// What the containers of a pod ask for together: those that run at once are summed, and init containers that end count
/// by the largest.
fn aggregate(spec: &Value, kind: &str) -> std::collections::BTreeMap<String, Quantity> {
    type Sums = std::collections::BTreeMap<String, Quantity>;
    let of = |container: &Value| -> Sums {
        members(at(container, "resources"), kind)
            .filter_map(|(name, value)| Some((name.clone(), quantity(value)?)))
            .collect()
    };
    let add = |sums: &mut Sums, more: &Sums| {
        for (name, amount) in more {
            let sum = sums.get(name).and_then(|sum| sum.checked_add(amount)).unwrap_or(*amount);
            sums.insert(name.clone(), sum);
        }
    };
    let largest = |sums: &mut Sums, other: Sums| {
        for (name, amount) in other {
            if sums.get(&name).is_none_or(|sum| *sum < amount) {
                sums.insert(name, amount);
            }
        }
    };
    let mut total = Sums::new();
    for container in list(spec, "containers") {
        add(&mut total, &of(container));
    }
    let (mut running, mut most) = (Sums::new(), Sums::new());
    for container in list(spec, "initContainers") {
        let own = of(container);
        if text(container, "restartPolicy") == "Always" {
            add(&mut total, &own);
            add(&mut running, &own);
            largest(&mut most, running.clone());
        } else {
            let mut together = own;
            add(&mut together, &running);
            largest(&mut most, together);
        }
    }
    largest(&mut total, most);
    total
}
