//! Rules of Deployments, ReplicaSets, StatefulSets and DaemonSets.

use base::name;
use serde_json::Value;

use super::{Faults, meta, pod};
use crate::json::{at, has, int, is_empty, same, text};
use crate::path::Path;

pub(crate) fn deployment(deployment: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(deployment, "spec"), root.field("spec"));
    faults.not_negative(spec, "replicas", &path);
    workload(spec, "deployment", "Deployment", &path, faults);
    strategy(spec, "strategy", "strategy", &["Recreate", "RollingUpdate"], &path, faults);
    faults.not_negative(spec, "minReadySeconds", &path);
    faults.not_negative(spec, "revisionHistoryLimit", &path);
    let name = "progressDeadlineSeconds";
    if let Some(deadline) = int(spec, name) {
        faults.not_negative(spec, name, &path);
        if deadline <= int(spec, "minReadySeconds").unwrap_or(0) {
            faults.invalid(&path.field(name), deadline, "must be greater than minReadySeconds");
        }
    }
}

pub(crate) fn replica_set(set: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(set, "spec"), root.field("spec"));
    faults.not_negative(spec, "replicas", &path);
    faults.not_negative(spec, "minReadySeconds", &path);
    workload(spec, "replicaset", "ReplicaSet", &path, faults);
}

pub(crate) fn stateful_set(set: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(set, "spec"), root.field("spec"));
    for name in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        faults.not_negative(spec, name, &path);
    }
    workload(spec, "statefulset", "StatefulSet", &path, faults);
    faults.one_of(spec, "podManagementPolicy", &path, &["OrderedReady", "Parallel"]);
    let above = path.field("updateStrategy");
    let update = at(spec, "updateStrategy");
    match text(update, "type") {
        "" => faults.required(&above, ""),
        "RollingUpdate" => {
            let rolling = above.field("rollingUpdate");
            faults.not_negative(at(update, "rollingUpdate"), "partition", &rolling);
            amount(at(update, "rollingUpdate"), "maxUnavailable", &rolling, faults);
        }
        "OnDelete" if has(update, "rollingUpdate") => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            faults.invalid(&above.field("rollingUpdate"), at(update, "rollingUpdate").clone(), detail);
        }
        "OnDelete" => {}
        _ => faults.invalid(&above, update.clone(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

pub(crate) fn daemon_set(set: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(set, "spec"), root.field("spec"));
    workload(spec, "daemonset", "DaemonSet", &path, faults);
    faults.not_negative(spec, "minReadySeconds", &path);
    faults.not_negative(spec, "revisionHistoryLimit", &path);
    strategy(spec, "updateStrategy", "update strategy", &["OnDelete", "RollingUpdate"], &path, faults);
}

pub(crate) fn controller_revision(revision: &Value, faults: &mut Faults) {
    let root = Path::Root;
    if at(revision, "data").is_null() {
        faults.required(&root.field("data"), "data is mandatory");
    }
    faults.not_negative(revision, "revision", &root);
}

/// Selector and template, which all of them have.
fn workload(spec: &Value, kind: &str, title: &str, path: &Path<'_>, faults: &mut Faults) {
    let selector = at(spec, "selector");
    let template = at(spec, "template");
    if selector.is_null() {
        faults.required(&path.field("selector"), "");
    } else {
        meta::selector(selector, &path.field("selector"), faults);
        let everything = is_empty(at(selector, "matchLabels")) && is_empty(at(selector, "matchExpressions"));
        if everything {
            let detail = format!("empty selector is invalid for {kind}");
            faults.invalid(&path.field("selector"), selector.clone(), detail);
        }
    }
    let above = path.field("template");
    if template.is_null() && kind == "replicaset" {
        faults.required(&above, "");
        return;
    }
    if !selector.is_null() && !pod::selector_matches(selector, template) {
        let meta = above.field("metadata");
        let labels = match at(at(template, "metadata"), "labels") {
            Value::Null => Value::Object(crate::json::Members::new()),
            labels => labels.clone(),
        };
        faults.invalid(&meta.field("labels"), labels, "`selector` does not match template `labels`");
    }
    always_restarts(template, title, &above, faults);
    pod::template(template, &above, faults);
}

/// Templates of controllers that keep pods running.
pub(crate) fn always_restarts(template: &Value, title: &str, path: &Path<'_>, faults: &mut Faults) {
    let spec = at(template, "spec");
    let path = path.field("spec");
    let policy = text(spec, "restartPolicy");
    if policy != "Always" && !policy.is_empty() {
        faults.not_supported(&path.field("restartPolicy"), policy, &["Always"]);
    }
    if has(spec, "activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {title} is not Supported");
        faults.forbidden(&path.field("activeDeadlineSeconds"), detail);
    }
}

fn strategy(spec: &Value, name: &str, title: &str, types: &[&str], path: &Path<'_>, faults: &mut Faults) {
    let (value, path) = (at(spec, name), path.field(name));
    let kind = text(value, "type");
    if !types.contains(&kind) {
        if kind.is_empty() && name == "updateStrategy" {
            faults.required(&path.field("type"), "");
        } else {
            faults.not_supported(&path.field("type"), kind, types);
        }
        return;
    }
    let rolling = at(value, "rollingUpdate");
    let path = path.field("rollingUpdate");
    if kind != "RollingUpdate" {
        if !rolling.is_null() && kind == "Recreate" {
            faults.forbidden(&path, format!("may not be specified when {title} `type` is '{kind}'"));
        }
        return;
    }
    if rolling.is_null() {
        faults.required(&path, "");
        return;
    }
    let unavailable = amount(rolling, "maxUnavailable", &path, faults);
    let surge = amount(rolling, "maxSurge", &path, faults);
    if unavailable.is_some_and(|percent| percent > 100) && at(rolling, "maxUnavailable").is_string() {
        faults.invalid(
            &path.field("maxUnavailable"),
            at(rolling, "maxUnavailable").clone(),
            "must not be greater than 100%",
        );
    }
    if unavailable == Some(0) && surge == Some(0) {
        let value = at(rolling, "maxUnavailable").clone();
        faults.invalid(&path.field("maxUnavailable"), value, "may not be 0 when `maxSurge` is 0");
    }
}

/// A number or percentage; answers the number before any `%`.
pub(crate) fn amount(value: &Value, name: &str, above: &Path<'_>, faults: &mut Faults) -> Option<i64> {
    let path = above.field(name);
    match at(value, name) {
        Value::Null => None,
        Value::String(text) => {
            if let Err(reason) = name::percent(text) {
                faults.invalid(&path, text.as_str(), reason);
                return None;
            }
            text.trim_end_matches('%').parse().ok()
        }
        number => {
            let number = number.as_i64()?;
            if number < 0 {
                faults.invalid(&path, number, "must be greater than or equal to 0");
            }
            Some(number)
        }
    }
}

pub(crate) fn selector_change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    faults.unchanged(at(new, "spec"), at(old, "spec"), "selector", &root.field("spec"));
}

const STATEFUL_OPEN: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(crate) fn stateful_set_change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let closed = |value: &Value| {
        let mut spec = at(value, "spec").clone();
        if let Some(members) = spec.as_object_mut() {
            members.retain(|name, _| !STATEFUL_OPEN.contains(&name.as_str()));
        }
        spec
    };
    if !same(&closed(new), &closed(old)) {
        faults.forbidden(
            &root.field("spec"),
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

pub(crate) fn controller_revision_change(new: &Value, old: &Value, faults: &mut Faults) {
    faults.unchanged(new, old, "data", &Path::Root);
}
