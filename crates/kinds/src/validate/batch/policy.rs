//! Rules of when a job has failed and when it has succeeded.

use base::name;
use serde_json::Value;

use super::indexes;
use crate::json::{at, has, int, list, text};
use crate::path::Path;
use crate::validate::Faults;

const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;
const MOST_PATTERNS: usize = 20;
const LONGEST_INDEXES: usize = 64 * 1024;
const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];

/// A list as Go prints it with `%q`.
fn quoted(values: &[&str]) -> String {
    let inner: Vec<String> = values.iter().map(|value| crate::error::quote(value)).collect();
    format!("valid values: [{}]", inner.join(" "))
}

fn one_of(value: &Value, name: &str, above: &Path<'_>, supported: &[&str], faults: &mut Faults) {
    match text(value, name) {
        "" => faults.required(&above.field(name), quoted(supported)),
        other if !supported.contains(&other) => faults.not_supported(&above.field(name), other, supported),
        _ => {}
    }
}

pub(super) fn failure(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("rules");
    let rules = list(at(spec, "podFailurePolicy"), "rules");
    if rules.len() > MOST_RULES {
        faults.too_many(&above, rules.len(), MOST_RULES);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = above.index(index);
        if text(rule, "action") == "FailIndex" {
            if !has(spec, "backoffLimitPerIndex") {
                faults.invalid(&path.field("action"), "FailIndex", "requires the backoffLimitPerIndex to be set");
            }
        } else {
            one_of(rule, "action", &path, ACTIONS, faults);
        }
        let (codes, patterns) = (at(rule, "onExitCodes"), list(rule, "onPodConditions"));
        if !codes.is_null() {
            exit_codes(codes, at(at(spec, "template"), "spec"), &path.field("onExitCodes"), faults);
        }
        conditions(patterns, &path.field("onPodConditions"), faults);
        if !codes.is_null() && !patterns.is_empty() {
            faults.shown(&path, "", "specifying both OnExitCodes and OnPodConditions is not supported");
        }
        if codes.is_null() && patterns.is_empty() {
            faults.shown(&path, "", "specifying one of OnExitCodes and OnPodConditions is required");
        }
    }
}

fn conditions(patterns: &[Value], above: &Path<'_>, faults: &mut Faults) {
    if patterns.len() > MOST_PATTERNS {
        faults.too_many(above, patterns.len(), MOST_PATTERNS);
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = above.index(index);
        faults.named(&path.field("type"), text(pattern, "type"), name::qualified_name);
        one_of(pattern, "status", &path, &["False", "True", "Unknown"], faults);
    }
}

fn exit_codes(codes: &Value, pod: &Value, path: &Path<'_>, faults: &mut Faults) {
    one_of(codes, "operator", path, &["In", "NotIn"], faults);
    if let Some(name) = at(codes, "containerName").as_str() {
        let mut containers = list(pod, "containers").iter().chain(list(pod, "initContainers"));
        if !containers.any(|container| text(container, "name") == name) {
            let detail = "must be one of the container or initContainer names in the pod template";
            faults.invalid(&path.field("containerName"), name, detail);
        }
    }
    let above = path.field("values");
    let values: Vec<i64> = list(codes, "values").iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        faults.invalid(&above, at(codes, "values").clone(), "at least one value is required");
    } else if values.len() > MOST_CODES {
        faults.too_many(&above, values.len(), MOST_CODES);
    }
    for (index, value) in values.iter().enumerate() {
        if text(codes, "operator") == "In" && *value == 0 {
            faults.invalid(&above.index(index), 0, "must not be 0 for the In operator");
        }
        if values[..index].contains(value) {
            faults.duplicate(&above.index(index), *value);
        }
    }
    if !values.is_sorted() {
        faults.invalid(&above, values, "must be ordered");
    }
}

pub(super) fn success(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("rules");
    let rules = list(at(spec, "successPolicy"), "rules");
    if rules.is_empty() {
        faults.required(&above, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > MOST_RULES {
        faults.too_many(&above, rules.len(), MOST_RULES);
    }
    // Without completions, which is a fault of its own, nothing can be compared.
    let completions = int(spec, "completions").unwrap_or(0);
    for (index, rule) in rules.iter().enumerate() {
        let path = above.index(index);
        let (indexes, count) = (at(rule, "succeededIndexes").as_str(), int(rule, "succeededCount"));
        if indexes.is_none() && count.is_none() {
            faults.required(&path, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut total = 0;
        if let Some(indexes) = indexes {
            let path = path.field("succeededIndexes");
            if indexes.len() > LONGEST_INDEXES {
                faults.too_long(&path, LONGEST_INDEXES);
            }
            match indexes::count(indexes, completions) {
                Ok(count) => total = count,
                Err(fault) => faults.invalid(&path, indexes, format!("error parsing succeededIndexes: {fault}")),
            }
        }
        if let Some(count) = count {
            faults.not_negative(rule, "succeededCount", &path);
            let path = path.field("succeededCount");
            if count > completions {
                let detail =
                    format!("must be less than or equal to {completions} (the number of specified completions)");
                faults.invalid(&path, count, detail);
            }
            if indexes.is_some() && count > total {
                let detail = format!(
                    "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
                );
                faults.invalid(&path, count, detail);
            }
        }
    }
}
