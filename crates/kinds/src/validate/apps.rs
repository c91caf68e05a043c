//! Rules of what keeps pods running: Deployments, ReplicaSets, StatefulSets, DaemonSets and ReplicationControllers, and of
//! their ControllerRevisions.

mod status;

use base::name;
use serde_json::Value;

use super::pod::{self, Lenience, Template};
use super::{Case, Faults, IMMUTABLE, golang, meta, persistent};
use crate::json::{at, has, int, list, members, same, text};
use crate::path::Path;

pub(crate) use status::{
    controller_status, daemon_set_status, deployment_status, replica_set_status, stateful_set_status,
};

fn old_template<'v>(case: &Case<'v>) -> Option<&'v Value> {
    case.old.map(|old| at(at(old, "spec"), "template"))
}

pub(crate) fn deployment(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    faults.not_negative(spec, "replicas", &path);
    selector(spec, "deployment", &path, faults);
    template(case, "ReplicaSet", &path, faults);
    deployment_strategy(spec, &path.field("strategy"), faults);
    faults.not_negative(spec, "minReadySeconds", &path);
    faults.not_negative(spec, "revisionHistoryLimit", &path);
    let name = "progressDeadlineSeconds";
    if let Some(deadline) = int(spec, name) {
        faults.not_negative(spec, name, &path);
        if deadline <= int(spec, "minReadySeconds").unwrap_or(0) {
            faults.invalid(&path.field(name), deadline, "must be greater than minReadySeconds");
        }
    }
    fixed_selector(case, &path, faults);
}

pub(crate) fn replica_set(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    faults.not_negative(spec, "replicas", &path);
    faults.not_negative(spec, "minReadySeconds", &path);
    // Upstream speaks of deployments here too.
    selector(spec, "deployment", &path, faults);
    template(case, "ReplicaSet", &path, faults);
    fixed_selector(case, &path, faults);
}

fn selector(spec: &Value, kind: &str, above: &Path<'_>, faults: &mut Faults) {
    let (selector, path) = (at(spec, "selector"), above.field("selector"));
    if selector.is_null() {
        faults.required(&path, "");
        return;
    }
    meta::selector(selector, &path, faults);
    if meta::selects_all(selector) {
        faults.invalid(&path, selector.clone(), format!("empty selector is invalid for {kind}"));
    }
}

fn fixed_selector(case: &Case<'_>, path: &Path<'_>, faults: &mut Faults) {
    if let Some(old) = case.old {
        faults.unchanged(case.spec(), at(old, "spec"), "selector", path);
    }
}

/// Whether a selector can be read at all; if not, one more fault says so.
fn readable(selector: &Value, detail: &str, path: &Path<'_>, faults: &mut Faults) -> bool {
    let right = selector.is_null() || base::selector::LabelSelector::from_json(selector).is_ok();
    if !right {
        faults.invalid(&path.field("selector"), selector.clone(), detail);
    }
    right
}

fn mismatch(template: &Value, above: &Path<'_>, faults: &mut Faults) {
    let labels = at(at(template, "metadata"), "labels").clone();
    let meta = above.field("metadata");
    faults.invalid(&meta.field("labels"), labels, "`selector` does not match template `labels`");
}

fn template(case: &Case<'_>, title: &str, path: &Path<'_>, faults: &mut Faults) {
    let (spec, above) = (case.spec(), path.field("template"));
    let (selector, template) = (at(spec, "selector"), at(spec, "template"));
    if !readable(selector, "invalid label selector", path, faults) {
        return;
    }
    if !selector.is_null() && !meta::selects_all(selector) && !pod::selector_matches(selector, template) {
        mismatch(template, &above, faults);
    }
    pod::template(template, Template { old: old_template(case), ..Template::default() }, &above, faults);
    always_restarts(template, title, &above, faults);
}

/// Templates of controllers that keep pods running.
fn always_restarts(template: &Value, title: &str, path: &Path<'_>, faults: &mut Faults) {
    let spec = at(template, "spec");
    let path = path.field("spec");
    let policy = text(spec, "restartPolicy");
    if policy != "Always" {
        faults.not_supported(&path.field("restartPolicy"), policy, &["Always"]);
    }
    if has(spec, "activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {title} is not Supported");
        faults.forbidden(&path.field("activeDeadlineSeconds"), detail);
    }
}

/// A struct that is not one of those supported.
fn unsupported(path: &Path<'_>, shown: &str, supported: &[&str], faults: &mut Faults) {
    let mut fault = crate::FieldError::not_supported(path, Value::Null, supported);
    (fault.value, fault.detail) = (None, format!("{shown}: {}", fault.detail));
    faults.push(fault);
}

fn deployment_strategy(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let strategy = at(spec, "strategy");
    let (rolling, on_rolling) = (at(strategy, "rollingUpdate"), path.field("rollingUpdate"));
    match text(strategy, "type") {
        "Recreate" if !rolling.is_null() => {
            faults.forbidden(&on_rolling, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if rolling.is_null() => {
            faults.required(&on_rolling, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => {
            let unavailable = amount(rolling, "maxUnavailable", &on_rolling, faults);
            let surge = amount(rolling, "maxSurge", &on_rolling, faults);
            if unavailable == 0 && surge == 0 {
                let value = shown_amount(rolling, "maxUnavailable");
                faults.invalid(&on_rolling.field("maxUnavailable"), value, "may not be 0 when `maxSurge` is 0");
            }
            at_most_all(rolling, "maxUnavailable", &on_rolling, faults);
        }
        _ => {
            let shown = golang::print("DeploymentStrategy", strategy);
            unsupported(path, &shown, &["Recreate", "RollingUpdate"], faults);
        }
    }
}

/// A number or percentage that is not negative; answers the number before any `%`, 0 for what is none.
pub(crate) fn amount(value: &Value, name: &str, above: &Path<'_>, faults: &mut Faults) -> i64 {
    let path = above.field(name);
    match at(value, name) {
        Value::String(text) => {
            if let Err(reasons) = name::percent(text) {
                faults.verdict(&path, text, Err(reasons));
                return 0;
            }
            text.trim_end_matches('%').parse().unwrap_or(i64::MAX)
        }
        number => {
            let number = number.as_i64().unwrap_or(0);
            if number < 0 {
                faults.invalid(&path, number, super::NEGATIVE);
            }
            number
        }
    }
}

fn shown_amount(value: &Value, name: &str) -> Value {
    if has(value, name) { at(value, name).clone() } else { Value::from(0) }
}

pub(crate) fn at_most_all(value: &Value, name: &str, above: &Path<'_>, faults: &mut Faults) {
    if let Some(text) = at(value, name).as_str().filter(|text| name::percent(text).is_ok())
        && text.trim_end_matches('%').parse::<i64>().map_or(true, |percent| percent > 100)
    {
        faults.invalid(&above.field(name), text, "must not be greater than 100%");
    }
}

pub(crate) fn daemon_set(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    if let Some(old) = case.old {
        faults.unchanged(spec, at(old, "spec"), "selector", &path);
    }
    let (selector, template) = (at(spec, "selector"), at(spec, "template"));
    let lenient = case.old.is_some_and(|old| meta::has_faulty_values(at(at(old, "spec"), "selector")));
    meta::selector_of(selector, lenient, &path.field("selector"), faults);
    let above = path.field("template");
    if base::selector::LabelSelector::from_json(selector).is_ok() && !pod::selector_matches(selector, template) {
        mismatch(template, &above, faults);
    }
    if !selector.is_null() && meta::selects_all(selector) {
        faults.invalid(&path.field("selector"), selector.clone(), "empty selector is invalid for daemonset");
    }
    pod::template(template, Template { old: old_template(case), ..Template::default() }, &above, faults);
    always_restarts(template, "DaemonSet", &above, faults);
    faults.not_negative(spec, "minReadySeconds", &path);
    daemon_set_strategy(spec, &path.field("updateStrategy"), faults);
    faults.not_negative(spec, "revisionHistoryLimit", &path);
}

fn daemon_set_strategy(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let strategy = at(spec, "updateStrategy");
    let (rolling, on_rolling) = (at(strategy, "rollingUpdate"), path.field("rollingUpdate"));
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_null() => faults.required(&on_rolling, ""),
        "RollingUpdate" => {
            let unavailable = amount(rolling, "maxUnavailable", &on_rolling, faults) != 0;
            let surge = amount(rolling, "maxSurge", &on_rolling, faults) != 0;
            at_most_all(rolling, "maxUnavailable", &on_rolling, faults);
            at_most_all(rolling, "maxSurge", &on_rolling, faults);
            if unavailable && surge {
                let detail = "may not be set when maxUnavailable is non-zero";
                faults.invalid(&on_rolling.field("maxSurge"), shown_amount(rolling, "maxSurge"), detail);
            } else if !unavailable && !surge {
                faults.required(&on_rolling.field("maxUnavailable"), "cannot be 0 when maxSurge is 0");
            }
        }
        _ => {
            let shown = golang::print("DeploymentStrategy", strategy);
            unsupported(path, &shown, &["RollingUpdate", "OnDelete"], faults);
        }
    }
}

pub(crate) fn stateful_set(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("spec");
    stateful_set_spec(case, case.spec(), &path, faults);
    if let Some(old) = case.old {
        stateful_set_change(case.spec(), at(old, "spec"), &path, faults);
    }
}

fn stateful_set_spec(case: &Case<'_>, spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let is_new = case.old.is_none();
    match text(spec, "podManagementPolicy") {
        "" => faults.required(&path.field("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => {
            faults.invalid(&path.field("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'");
        }
    }
    stateful_set_strategy(spec, &path.field("updateStrategy"), faults);
    let (retention, on_retention) =
        (at(spec, "persistentVolumeClaimRetentionPolicy"), path.field("persistentVolumeClaimRetentionPolicy"));
    if !retention.is_null() {
        for name in ["whenDeleted", "whenScaled"] {
            let policy = text(retention, name);
            if !matches!(policy, "Retain" | "Delete") {
                faults.not_supported(&on_retention.field(name), policy, &["Retain", "Delete"]);
            }
        }
    }
    let claims = list(spec, "volumeClaimTemplates");
    if is_new {
        let above = path.field("volumeClaimTemplates");
        for (index, claim) in claims.iter().enumerate() {
            let place = above.index(index);
            persistent::claim_spec(at(claim, "spec"), persistent::Lenience::default(), &place.field("spec"), faults);
        }
    }
    faults.not_negative(spec, "replicas", path);
    faults.not_negative(spec, "minReadySeconds", path);
    faults.not_negative(at(spec, "ordinals"), "start", &path.field("ordinals"));
    if is_new {
        faults.optional_name(&path.field("serviceName"), text(spec, "serviceName"), name::dns_label);
    }
    selector(spec, "statefulset", path, faults);
    stateful_set_template(case, spec, path, faults);
}

fn stateful_set_strategy(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let strategy = at(spec, "updateStrategy");
    let (rolling, on_rolling) = (at(strategy, "rollingUpdate"), path.field("rollingUpdate"));
    match text(strategy, "type") {
        "" => faults.required(path, ""),
        "OnDelete" if !rolling.is_null() => {
            let shown = golang::print("RollingUpdateStatefulSet", rolling);
            faults.shown(&on_rolling, &shown, "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            faults.not_negative(rolling, "partition", &on_rolling);
            if has(rolling, "maxUnavailable") {
                if amount(rolling, "maxUnavailable", &on_rolling, faults) == 0 {
                    let value = at(rolling, "maxUnavailable").clone();
                    faults.invalid(&on_rolling.field("maxUnavailable"), value, "cannot be 0");
                }
                at_most_all(rolling, "maxUnavailable", &on_rolling, faults);
            }
        }
        _ => {
            let shown = golang::print("StatefulSetUpdateStrategy", strategy);
            faults.shown(path, &shown, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

fn stateful_set_template(case: &Case<'_>, spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (selector, template) = (at(spec, "selector"), at(spec, "template"));
    let above = path.field("template");
    if readable(selector, "", path, faults) {
        if !selector.is_null() && !meta::selects_all(selector) && !pod::selector_matches(selector, template) {
            mismatch(template, &above, faults);
        }
        let mut names: Vec<&Value> = Vec::new();
        for claim in list(spec, "volumeClaimTemplates") {
            let name = at(at(claim, "metadata"), "name");
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let volume = |name| serde_json::json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
        let extra: Vec<Value> = names.into_iter().map(volume).collect();
        // A template that was always wrong may stay so.
        let tolerated = case.old.is_some_and(|old| {
            let mut before = Faults::default();
            let old = Case { kind: case.kind, new: old, old: None };
            stateful_set_spec(&old, at(old.new, "spec"), &Path::Root, &mut before);
            let ignored = ["serviceName", "volumeClaimTemplates"];
            before.list.iter().any(|fault| !ignored.iter().any(|name| fault.path.starts_with(name)))
        });
        let how = Template { old: old_template(case), extra: &extra, named_by_set: true };
        if tolerated {
            let lenient = how.old.map(Lenience::of_template).unwrap_or_default();
            pod::template_meta(template, lenient, &above, faults);
        } else {
            pod::template(template, how, &above, faults);
        }
    }
    always_restarts(template, "StatefulSet", &above, faults);
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

fn stateful_set_change(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let names = || new.as_object().into_iter().chain(old.as_object()).flatten().map(|(name, _)| name);
    let fixed = |name: &&String| !STATEFUL_OPEN.contains(&name.as_str());
    if names().filter(fixed).any(|name| !same(at(new, name), at(old, name))) {
        faults.forbidden(
            path,
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

pub(crate) fn controller_revision(case: &Case<'_>, faults: &mut Faults) {
    let (root, new) = (Path::Root, case.new);
    faults.not_negative(new, "revision", &root);
    let data = root.field("data");
    match case.old {
        None => match at(new, "data") {
            Value::Null => faults.required(&data, "data is mandatory"),
            Value::Object(_) => {}
            _ => faults.required(&data, "data must be a valid JSON object"),
        },
        Some(old) if !same(at(new, "data"), at(old, "data")) => {
            faults.invalid(&data, at(new, "data").clone(), IMMUTABLE);
        }
        Some(_) => {}
    }
}

pub(crate) fn replication_controller(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    faults.not_negative(spec, "minReadySeconds", &path);
    let selector = at(spec, "selector");
    if crate::json::is_empty(selector) {
        faults.required(&path.field("selector"), "");
    }
    match int(spec, "replicas") {
        None => faults.required(&path.field("replicas"), ""),
        Some(_) => faults.not_negative(spec, "replicas", &path),
    }
    let (template, above) = (at(spec, "template"), path.field("template"));
    if template.is_null() {
        faults.required(&above, "");
        return;
    }
    let labels = at(at(template, "metadata"), "labels");
    if members(spec, "selector").any(|(key, value)| labels.get(key) != Some(value)) {
        mismatch(template, &above, faults);
    }
    pod::template(template, Template { old: old_template(case), ..Template::default() }, &above, faults);
    always_restarts(template, "ReplicationController", &above, faults);
}

pub(crate) fn pod_template(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let old = case.old.map(|old| at(old, "template"));
    let how = Template { old, ..Template::default() };
    pod::template(at(case.new, "template"), how, &root.field("template"), faults);
}
