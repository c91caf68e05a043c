//! Rules of how pods are spread over a topology.

use base::name;
use serde_json::Value;

use super::{Faults, NOT_POSITIVE, meta};
use crate::json::{at, has, int, list, members, text};
use crate::path::Path;

/// What an older pod may have had that is refused in a new one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lenience {
    pub selectors: bool,
    pub label_keys: bool,
}

impl Lenience {
    pub(crate) fn of(spec: &Value) -> Self {
        let constraints = || list(spec, "topologySpreadConstraints").iter();
        let keys_wrong = |constraint: &Value| {
            let mut faults = Faults::default();
            label_keys(constraint, false, &Path::Root, &mut faults);
            !faults.list.is_empty()
        };
        Self {
            selectors: constraints().any(|constraint| meta::is_faulty_selector(at(constraint, "labelSelector"))),
            label_keys: constraints().any(keys_wrong),
        }
    }
}

pub(crate) fn check(spec: &Value, lenient: Lenience, above: &Path<'_>, faults: &mut Faults) {
    let constraints = list(spec, "topologySpreadConstraints");
    for (index, value) in constraints.iter().enumerate() {
        let path = above.index(index);
        constraint(value, &constraints[index + 1..], lenient, &path, faults);
    }
}

const ACTIONS: &[&str] = &["DoNotSchedule", "ScheduleAnyway"];

fn constraint(constraint: &Value, rest: &[Value], lenient: Lenience, path: &Path<'_>, faults: &mut Faults) {
    let skew = int(constraint, "maxSkew").unwrap_or(0);
    if skew <= 0 {
        faults.invalid(&path.field("maxSkew"), skew, NOT_POSITIVE);
    }
    let (key, action) = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
    if key.is_empty() {
        faults.required(&path.field("topologyKey"), "can not be empty");
    }
    if !ACTIONS.contains(&action) {
        faults.not_supported(&path.field("whenUnsatisfiable"), action, ACTIONS);
    }
    if rest.iter().any(|other| text(other, "topologyKey") == key && text(other, "whenUnsatisfiable") == action) {
        faults.duplicate(&path.field("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {action}}}"));
    }
    if let Some(domains) = int(constraint, "minDomains") {
        if domains <= 0 {
            faults.invalid(&path.field("minDomains"), domains, NOT_POSITIVE);
        }
        if action != "DoNotSchedule" {
            let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            faults.invalid(&path.field("minDomains"), domains, detail);
        }
    }
    for name in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        faults.any_of(constraint, name, path, &["Honor", "Ignore"]);
    }
    if lenient.label_keys {
        old_label_keys(constraint, &path.field("matchLabelKeys"), faults);
    } else {
        label_keys(constraint, false, path, faults);
    }
    if !lenient.selectors {
        meta::selector(at(constraint, "labelSelector"), &path.field("labelSelector"), faults);
    }
}

/// Keys whose values of the pod itself join the selector (a term of affinity, or a constraint).
pub(crate) fn label_keys(term: &Value, with_mismatch: bool, path: &Path<'_>, faults: &mut Faults) {
    let selector = at(term, "labelSelector");
    let keys = list(term, "matchLabelKeys");
    let others = if with_mismatch { list(term, "mismatchLabelKeys") } else { &[] };
    for (name, keys) in [("matchLabelKeys", keys), ("mismatchLabelKeys", others)] {
        if keys.is_empty() {
            continue;
        }
        let above = path.field(name);
        if selector.is_null() {
            faults.forbidden(&above, "must not be specified when labelSelector is not set");
            continue;
        }
        meta_names(keys, &above, faults);
    }
    if !selector.is_null() {
        let mut selected: Vec<&str> = members(selector, "matchLabels").map(|(key, _)| key.as_str()).collect();
        for expression in list(selector, "matchExpressions") {
            let key = text(expression, "key");
            let place = keys.iter().rposition(|other| other == key);
            if let Some(index) = place.filter(|_| selected.contains(&key)) {
                faults.invalid(&path.index(index), key, "exists in both matchLabelKeys and labelSelector");
            }
            selected.push(key);
        }
    }
    let above = path.field("matchLabelKeys");
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| others.contains(key)) {
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        faults.invalid(&above.index(index), key.clone(), detail);
    }
}

fn meta_names(keys: &[Value], above: &Path<'_>, faults: &mut Faults) {
    for (index, key) in keys.iter().filter_map(Value::as_str).enumerate() {
        faults.named(&above.index(index), key, name::qualified_name);
    }
}

/// The rule before keys were merged into the selector.
fn old_label_keys(constraint: &Value, above: &Path<'_>, faults: &mut Faults) {
    let keys = list(constraint, "matchLabelKeys");
    if keys.is_empty() {
        return;
    }
    let selector = at(constraint, "labelSelector");
    if selector.is_null() {
        faults.forbidden(above, "must not be specified when labelSelector is not set");
    }
    for (index, key) in keys.iter().filter_map(Value::as_str).enumerate() {
        faults.named(&above.index(index), key, name::qualified_name);
        let selected = has(at(selector, "matchLabels"), key)
            || list(selector, "matchExpressions").iter().any(|expression| text(expression, "key") == key);
        if selected {
            faults.invalid(&above.index(index), key, "exists in both matchLabelKeys and labelSelector");
        }
    }
}
