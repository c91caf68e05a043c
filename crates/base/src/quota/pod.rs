//! What a pod counts as.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Amounts;
use crate::name;
use crate::time::{self, SignedDuration, Timestamp};

const RESOURCES: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// If one of these is limited every container must say how much it wants: a mistake of old, kept, and not repeated for
/// others (upstream `validationSet`).
const MUST_BE_SAID: &[&str] = &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const HUGE_PAGES: &str = "hugepages-";
const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";

pub(super) fn covers(resource: &str) -> bool {
    let asked = resource.strip_prefix("requests.");
    RESOURCES.contains(&resource)
        || resource.starts_with(HUGE_PAGES)
        || asked.is_some_and(|asked| {
            asked.starts_with(HUGE_PAGES) || asked.starts_with(DEVICE_CLASS) || !is_native(resource)
        })
}

fn is_native(resource: &str) -> bool {
    !resource.contains('/') || resource.contains("kubernetes.io/")
}

fn is_extended(resource: &str) -> bool {
    let named = || name::qualified_name(&format!("requests.{resource}")).is_ok();
    resource.starts_with(DEVICE_CLASS) || (!is_native(resource) && !resource.starts_with("requests.") && named())
}

/// Nothing but its existence is counted of a pod that has ended or that should be gone by now.
pub(super) fn usage(pod: &Value, now: Timestamp) -> Amounts {
    if is_over(pod, now) {
        return Amounts::default();
    }
    named(&total(pod, "requests"), &total(pod, "limits"))
}

fn is_over(pod: &Value, now: Timestamp) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) {
        return true;
    }
    let deleted = pod["metadata"]["deletionTimestamp"].as_str().and_then(|text| time::parse(text).ok());
    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
    deleted.zip(grace).is_some_and(|(deleted, grace)| {
        deleted.checked_add(SignedDuration::from_secs(grace)).is_ok_and(|end| now > end)
    })
}

/// The names under which quotas know amounts.
fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut named: BTreeMap<String, _> = BTreeMap::from([("pods".to_owned(), Amounts::one())]);
    for (name, amount) in requests.iter() {
        let both = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with(HUGE_PAGES);
        if both {
            named.insert(name.to_owned(), amount);
        }
        if both || is_extended(name) {
            named.insert(format!("requests.{name}"), amount);
        }
    }
    for (name, amount) in limits.iter().filter(|(name, _)| matches!(*name, "cpu" | "memory" | "ephemeral-storage")) {
        named.insert(format!("limits.{name}"), amount);
    }
    named.into_iter().collect()
}

/// All containers, and whether each is one of those that prepare.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = (&Value, bool)> {
    let list = |name: &str| pod["spec"][name].as_array().map(Vec::as_slice).unwrap_or_default();
    list("containers").iter().map(|one| (one, false)).chain(list("initContainers").iter().map(|one| (one, true)))
}

/// What a pod asks for (or is limited to) at its hungriest moment: all containers and sidecars together, or one that
/// prepares beside the sidecars before it. Amounts of the pod itself replace the sum, its overhead comes on top.
fn total(pod: &Value, what: &str) -> Amounts {
    let (mut running, mut sidecars, mut preparing) = (Amounts::default(), Amounts::default(), Amounts::default());
    for (container, prepares) in containers(pod) {
        let sidecar = prepares && container["restartPolicy"] == "Always";
        let asked = if prepares && !sidecar {
            Amounts::read(&container["resources"][what])
        } else {
            effective(pod, &container["resources"], status_of(pod, container), what)
        };
        if !prepares || sidecar {
            running = running.plus(&asked);
        }
        if sidecar {
            sidecars = sidecars.plus(&asked);
            preparing = preparing.at_least(&sidecars);
        } else if prepares {
            preparing = preparing.at_least(&asked.plus(&sidecars));
        }
    }
    let mut total = running.at_least(&preparing);
    let own = Amounts::read(&pod["spec"]["resources"][what]);
    let supported = own.only(is_for_pods);
    if !supported.is_empty() {
        let given = pod.get("status").filter(|status| status["resources"].is_object());
        let effective = effective(pod, &pod["spec"]["resources"], given, what);
        supported.iter().for_each(|(name, amount)| total.set(name, effective.get(name).unwrap_or(amount)));
    }
    let overhead = Amounts::read(&pod["spec"]["overhead"]);
    if what == "requests" {
        return total.plus(&overhead);
    }
    let counted = |name: &str| total.get(name).is_some_and(|limit| !limit.is_zero());
    total.plus(&overhead.only(counted))
}

/// Resources that a pod as a whole may ask for.
fn is_for_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with(HUGE_PAGES)
}

fn status_of<'a>(pod: &'a Value, container: &Value) -> Option<&'a Value> {
    let lists = ["containerStatuses", "initContainerStatuses"].into_iter();
    let mut all = lists.flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    all.find(|status| status["name"] == container["name"]).filter(|status| status["resources"].is_object())
}

/// While a pod is resized the larger of what it wants, has and was promised counts.
fn effective(pod: &Value, wanted: &Value, status: Option<&Value>, what: &str) -> Amounts {
    let wanted = Amounts::read(&wanted[what]);
    let Some(status) = status else { return wanted };
    let mut has = Amounts::read(&status["resources"][what]);
    if what == "requests" {
        has = has.at_least(&Amounts::read(&status["allocatedResources"]));
    }
    let pending = pod["status"]["conditions"].as_array().into_iter().flatten();
    let infeasible = pending
        .into_iter()
        .find(|one| one["type"] == "PodResizePending")
        .is_some_and(|one| one["reason"] == "Infeasible");
    if infeasible { has } else { has.at_least(&wanted) }
}

pub(super) fn check(limited: &[&str], pod: &Value) -> Result<(), String> {
    let whole = &pod["spec"]["resources"];
    if ["requests", "limits"].iter().any(|what| Amounts::read(&whole[*what]).names().any(is_for_pods)) {
        return Ok(());
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (container, _) in containers(pod) {
        let amounts = |what: &str| Amounts::read(&container["resources"][what]);
        let said = named(&amounts("requests"), &amounts("limits"));
        let unsaid = limited.iter().filter(|name| MUST_BE_SAID.contains(name) && said.get(name).is_none());
        for name in unsaid {
            missing.entry(name).or_default().insert(container["name"].as_str().unwrap_or_default());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let parts: Vec<String> = missing
        .into_iter()
        .map(|(name, containers)| format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(",")))
        .collect();
    Err(format!("must specify {}", parts.join("; ")))
}
