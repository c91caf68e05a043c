//! Counts what a namespace uses of what its ResourceQuotas limit.
//!
//! Invariant: admission adds, this counts again; the count replaces the number only of what could be counted, everything
//! else keeps what was last known (upstream `syncResourceQuota`). The status is written in the version that was counted
//! for, so a booking that came meanwhile is never lost.

use std::collections::BTreeSet;

use base::quota::{Amounts, Counter, KNOWN};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use serde_json::{Value, json};

/// What there is of one kind in the namespace.
#[derive(Debug)]
pub enum Seen {
    /// The objects, where it matters what they say.
    Objects(Vec<Value>),
    /// How many, where each counts as one.
    Number(usize),
    /// The kind does not exist, or could not be listed yet.
    Unknown,
}

/// Group and plural.
pub type Kind = (String, String);

/// The kinds whose objects count against the quota.
pub fn kinds(quota: &ResourceQuota) -> BTreeSet<Kind> {
    let hard = quota.spec.iter().flat_map(|spec| spec.hard.iter().flatten()).map(|(name, _)| name.as_str());
    let status = quota.status.iter().flat_map(|status| status.hard.iter().flatten()).map(|(name, _)| name.as_str());
    let names: BTreeSet<&str> = hard.chain(status).collect();
    let counted = names.iter().filter_map(|name| Counter::counted(name)).filter(|kind| !KNOWN.contains(kind));
    let known = KNOWN.iter().copied().filter(|(group, plural)| {
        Counter::of(group, plural).is_some_and(|counter| names.iter().any(|name| counter.covers(name)))
    });
    known.chain(counted).map(|(group, plural)| (group.to_owned(), plural.to_owned())).collect()
}

/// What the status should say, if it does not yet.
pub fn plan(quota: &ResourceQuota, now: Timestamp, seen: impl Fn(&Kind) -> Seen) -> Option<ResourceQuotaStatus> {
    let value = serde_json::to_value(quota).unwrap_or_default();
    let (hard, before) = (Amounts::read(&value["spec"]["hard"]), Amounts::read(&value["status"]["used"]));
    let mut fresh = Amounts::default();
    let mut unknown: BTreeSet<String> = BTreeSet::new();
    for kind in kinds(quota) {
        let Some(counter) = Counter::of(&kind.0, &kind.1) else { continue };
        let covered = |name: &str| hard.get(name).is_some() && counter.covers(name);
        let mut usage: Amounts =
            hard.only(covered).names().map(|name| (name.to_owned(), base::Quantity::ZERO)).collect();
        match seen(&kind) {
            Seen::Objects(objects) => {
                for object in objects.iter().filter(|object| counter.is_in_scope(&value, object)) {
                    usage = usage.plus(&counter.usage(object, now).only(covered));
                }
            }
            Seen::Number(number) if counter.is_in_scope(&value, &Value::Null) => {
                let number = base::Quantity::from_value(
                    i64::try_from(number).unwrap_or(i64::MAX),
                    base::quantity::Format::DecimalSi,
                );
                usage = usage.names().map(|name| (name.to_owned(), number)).collect();
            }
            Seen::Number(_) => {}
            Seen::Unknown => {
                unknown.extend(usage.names().map(str::to_owned));
                continue;
            }
        }
        fresh = fresh.plus(&usage);
    }
    let mut used = before.only(|name| hard.get(name).is_some());
    fresh.iter().filter(|(name, _)| !unknown.contains(*name)).for_each(|(name, amount)| used.set(name, amount));
    let said = Amounts::read(&value["status"]["hard"]);
    let complete = value["status"]["hard"].is_object() && value["status"]["used"].is_object();
    if complete && said == hard && before == used {
        return None;
    }
    serde_json::from_value(
        json!({ "hard": value["spec"].get("hard").cloned().unwrap_or(json!({})), "used": used.to_json() }),
    )
    .ok()
}

/// Whether the change of an object may have set something free, or moved it into another scope. What is made is booked
/// by admission.
pub fn frees(kind: (&str, &str), old: &Value, new: Option<&Value>, now: Timestamp) -> bool {
    let Some(counter) = Counter::of(kind.0, kind.1) else { return false };
    let Some(new) = new else { return true };
    let scoped = |object: &Value| {
        let spec = &object["spec"];
        json!([
            spec["activeDeadlineSeconds"],
            spec["priorityClassName"],
            spec["volumeAttributesClassName"],
            object["status"]["currentVolumeAttributesClassName"],
            object["status"]["qosClass"]
        ])
    };
    counter.usage(old, now) != counter.usage(new, now) || scoped(old) != scoped(new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::world;

    fn quota(spec: Value, status: Value) -> ResourceQuota {
        serde_json::from_value(json!({
            "metadata": { "name": "q", "namespace": "default" }, "spec": spec, "status": status,
        }))
        .expect("a quota")
    }

    fn pod(cpu: &str, phase: &str) -> Value {
        let resources = json!({ "requests": { "cpu": cpu } });
        json!({ "spec": { "containers": [{ "name": "a", "resources": resources }] }, "status": { "phase": phase } })
    }

    fn seen(kind: &Kind) -> Seen {
        match kind.1.as_str() {
            "pods" => Seen::Objects(vec![pod("100m", "Running"), pod("200m", "Pending"), pod("1", "Failed")]),
            "services" => Seen::Objects(vec![json!({ "spec": { "type": "NodePort", "ports": [{ "port": 1 }] } })]),
            "secrets" => Seen::Number(3),
            "deployments" => Seen::Number(2),
            _ => Seen::Unknown,
        }
    }

    fn check(spec: Value, status: Value, expected: Option<Value>) {
        let quota = quota(spec.clone(), status);
        let planned = plan(&quota, world::NOW, seen);
        let said = planned.as_ref().map(|status| serde_json::to_value(status).expect("a status")["used"].clone());
        assert_eq!(said, expected, "{spec}");
        if let Some(status) = planned {
            let applied = ResourceQuota { status: Some(status), ..quota };
            assert_eq!(plan(&applied, world::NOW, seen), None, "planning again must yield nothing");
        }
    }

    #[test]
    fn what_is_there_is_counted_by_name() {
        let hard = json!({ "pods": "9", "requests.cpu": "1", "count/pods": "9", "services.nodeports": "1",
            "secrets": "5", "count/deployments.apps": "5" });
        let used = json!({ "pods": "2", "requests.cpu": "300m", "count/pods": "3", "services.nodeports": "1",
            "secrets": "3", "count/deployments.apps": "2" });
        check(json!({ "hard": hard }), Value::Null, Some(used.clone()));
        check(json!({ "hard": hard }), json!({ "hard": hard, "used": used }), None);
        let other = json!({ "pods": "7" });
        check(
            json!({ "hard": { "pods": "9" } }),
            json!({ "hard": { "pods": "9" }, "used": other }),
            Some(json!({ "pods": "2" })),
        );
    }

    #[test]
    fn what_cannot_be_counted_keeps_its_number_and_what_is_no_longer_limited_goes() {
        let hard = json!({ "count/gadgets.example.com": "5" });
        let before = json!({ "hard": hard, "used": { "count/gadgets.example.com": "4", "pods": "1" } });
        check(json!({ "hard": hard }), before, Some(json!({ "count/gadgets.example.com": "4" })));
        check(json!({ "hard": hard }), Value::Null, Some(json!({})));
    }

    #[test]
    fn only_what_is_in_scope_counts() {
        let spec = json!({ "hard": { "pods": "9" }, "scopes": ["Terminating"] });
        check(spec, Value::Null, Some(json!({ "pods": "0" })));
        let spec = json!({ "hard": { "pods": "9" }, "scopes": ["NotTerminating"] });
        check(spec, Value::Null, Some(json!({ "pods": "2" })));
    }

    #[test]
    fn a_new_limit_is_told_though_the_numbers_stay() {
        let status = json!({ "hard": { "pods": "3" }, "used": { "pods": "2" } });
        check(json!({ "hard": { "pods": "4" } }), status.clone(), Some(json!({ "pods": "2" })));
        check(json!({ "hard": { "pods": "3000m" } }), status, None);
    }

    #[test]
    fn what_ends_frees_and_what_grows_is_seen() {
        let is = |old: &Value, new: Option<&Value>| frees(("", "pods"), old, new, world::NOW);
        let running = pod("1", "Running");
        assert!(is(&running, None));
        assert!(is(&running, Some(&pod("1", "Succeeded"))));
        assert!(is(&running, Some(&pod("2", "Running"))));
        assert!(!is(&running, Some(&pod("1", "Pending"))));
    }

    proptest! {
        #[test]
        fn planning_again_yields_nothing(
            hard in prop::collection::btree_map(
                prop::sample::select(vec!["pods", "cpu", "services", "secrets", "count/gadgets.example.com", "count/pods"]), 0u32..9, 0..5),
            used in prop::collection::btree_map(prop::sample::select(vec!["pods", "cpu", "count/gadgets.example.com"]), 0u32..9, 0..3),
        ) {
            let text = |map: &std::collections::BTreeMap<&str, u32>| {
                map.iter().map(|(name, number)| ((*name).to_owned(), json!(number.to_string()))).collect::<serde_json::Map<_, _>>()
            };
            let mut quota = quota(json!({ "hard": text(&hard) }), json!({ "used": text(&used) }));
            if let Some(status) = plan(&quota, world::NOW, seen) {
                quota.status = Some(status);
            }
            prop_assert_eq!(plan(&quota, world::NOW, seen), None);
        }
    }
}
