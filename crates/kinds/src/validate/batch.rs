//! Rules of Jobs and CronJobs.

mod indexes;
mod policy;
mod schedule;
mod status;

use base::name;
use serde_json::Value;

use super::pod::{self, Template};
use super::{Case, Faults, golang, meta};
use crate::json::{at, flag, has, int, is_empty, list, same, text};
use crate::path::Path;

pub(crate) use status::status;

const CONTROLLER: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";

pub(crate) fn job(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    own_selector(case, &path, faults);
    let old_template = case.old.map(|old| at(at(old, "spec"), "template"));
    job_spec(spec, old_template, &path, faults);
    let selector = at(spec, "selector");
    if selector.is_null() {
        faults.required(&path.field("selector"), "");
    } else {
        let lenient = case.old.is_some_and(|old| meta::has_faulty_values(at(at(old, "spec"), "selector")));
        meta::selector_of(selector, lenient, &path.field("selector"), faults);
    }
    let readable = base::selector::LabelSelector::from_json(selector).is_ok();
    if readable && !pod::selector_matches(selector, at(spec, "template")) {
        let template = path.field("template");
        let meta = template.field("metadata");
        let labels = at(at(at(spec, "template"), "metadata"), "labels").clone();
        faults.invalid(&meta.field("labels"), labels, "`selector` does not match template `labels`");
    }
    let completions = int(spec, "completions").unwrap_or(0);
    if text(spec, "completionMode") == "Indexed" && completions > 0 {
        let last = format!("{}-{}", case.name(), completions - 1);
        if name::dns_label(&last).is_err() {
            let detail = format!("will not able to create pod with invalid DNS label: {last}");
            faults.invalid(&root.field("metadata").field("name"), case.name(), detail);
        }
    }
    if let Some(old) = case.old {
        change(case, old, &path, faults);
    }
}

/// Labels and selector by which a job knows its pods are made by the server, unless the user manages them.
fn own_selector(case: &Case<'_>, path: &Path<'_>, faults: &mut Faults) {
    let spec = case.spec();
    if flag(spec, "manualSelector") || !has(spec, "selector") {
        return;
    }
    let uid = text(at(case.new, "metadata"), "uid");
    if uid.is_empty() {
        faults.required(&Path::Root.field("metadata").field("uid"), "");
    }
    let template = at(spec, "template");
    let labels = at(at(template, "metadata"), "labels");
    let prefixed = case.old.is_none_or(|old| {
        let labels = at(at(at(at(old, "spec"), "template"), "metadata"), "labels");
        has(labels, NAME) && has(labels, CONTROLLER)
    });
    let template_path = path.field("template");
    let meta = template_path.field("metadata");
    let above = meta.field("labels");
    let mut expected = vec![("controller-uid", uid), ("job-name", case.name())];
    if prefixed {
        expected.extend([(CONTROLLER, uid), (NAME, case.name())]);
    }
    for (label, value) in &expected {
        match at(labels, label).as_str() {
            None => faults.required(&above.key(label), format!("must be '{value}'")),
            Some(other) if other != *value => {
                faults.invalid(&above.key(label), labels.clone(), format!("must be '{value}'"));
            }
            Some(_) => {}
        }
    }
    let selector = at(spec, "selector");
    if let Ok(parsed) = base::selector::LabelSelector::from_json(selector) {
        let own = |key: &str| expected.iter().find(|(label, _)| *label == key).map(|(_, value)| *value);
        if !parsed.matches(own) {
            faults.invalid(&path.field("selector"), selector.clone(), "`selector` not auto-generated");
        }
    }
}

const MOST_PARALLEL: i64 = 100_000;
const MANY: i64 = 100_000;
const FEW: i64 = 10_000;

fn job_spec(spec: &Value, old_template: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        faults.not_negative(spec, name, path);
    }
    if has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex") {
        faults.required(&path.field("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = at(spec, "managedBy").as_str() {
        domain_path(manager, &path.field("managedBy"), faults);
        if manager.len() > 63 {
            faults.too_long(&path.field("managedBy"), 63);
        }
    }
    indexed(spec, path, faults);
    if has(spec, "podFailurePolicy") {
        policy::failure(spec, &path.field("podFailurePolicy"), faults);
    }
    if has(spec, "successPolicy") {
        let on_policy = path.field("successPolicy");
        if text(spec, "completionMode") == "Indexed" {
            policy::success(spec, &on_policy, faults);
        } else {
            let shown = golang::print("SuccessPolicy", at(spec, "successPolicy"));
            faults.shown(&on_policy, &shown, "requires indexed completion mode");
        }
    }
    let replacement: &[&str] =
        if has(spec, "podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    faults.any_of(spec, "podReplacementPolicy", path, replacement);
    let above = path.field("template");
    pod::template(at(spec, "template"), Template { old: old_template, ..Template::default() }, &above, faults);
    let on_restart = above.field("spec");
    let on_restart = on_restart.field("restartPolicy");
    match text(at(at(spec, "template"), "spec"), "restartPolicy") {
        "Always" | "" => faults.required(&on_restart, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if has(spec, "podFailurePolicy") => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            faults.invalid(&on_restart, "OnFailure", detail);
        }
        "OnFailure" | "Never" => {}
        other => faults.not_supported(&on_restart, other, &["OnFailure", "Never"]),
    }
}

/// `acme.io/foo`
pub(crate) fn domain_path(value: &str, path: &Path<'_>, faults: &mut Faults) {
    if value.is_empty() {
        faults.required(path, "");
        return;
    }
    let Some((host, rest)) = value.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty()) else {
        faults.invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    faults.named(path, host, name::dns_subdomain);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !rest.bytes().all(legal) {
        let detail = name::regex_message("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[]);
        faults.invalid(path, rest, detail);
    }
}

/// What goes with numbered pods and what does not.
fn indexed(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mode = at(spec, "completionMode").as_str();
    faults.any_of(spec, "completionMode", path, &["NonIndexed", "Indexed"]);
    let (completions, parallelism) = (int(spec, "completions"), int(spec, "parallelism"));
    let (failed, limit) = (int(spec, "maxFailedIndexes"), int(spec, "backoffLimitPerIndex"));
    let (on_parallel, on_failed) = (path.field("parallelism"), path.field("maxFailedIndexes"));
    if mode == Some("Indexed") {
        if completions.is_none() {
            faults.required(&path.field("completions"), "when completion mode is Indexed");
        }
        if let Some(parallelism) = parallelism.filter(|parallelism| *parallelism > MOST_PARALLEL) {
            let detail = format!("must be less than or equal to {MOST_PARALLEL} when completion mode is Indexed");
            faults.invalid(&on_parallel, parallelism, detail);
        }
        if let (Some(failed), Some(completions)) = (failed, completions)
            && failed > completions
        {
            faults.invalid(&on_failed, failed, "must be less than or equal to completions");
        }
        if let Some(failed) = failed.filter(|failed| *failed > MANY) {
            faults.invalid(&on_failed, failed, format!("must be less than or equal to {MANY}"));
        }
        if completions.is_some_and(|completions| completions > MANY) && limit.is_some() {
            let when = format!("when completions are above {MANY} and used with backoff limit per index");
            if failed.is_none() {
                faults.required(&on_failed, format!("must be specified when completions is above {MANY}"));
            }
            if let Some(parallelism) = parallelism.filter(|parallelism| *parallelism > FEW) {
                faults.invalid(&on_parallel, parallelism, format!("must be less than or equal to {FEW} {when}"));
            }
            if let Some(failed) = failed.filter(|failed| *failed > FEW) {
                faults.invalid(&on_failed, failed, format!("must be less than or equal to {FEW} {when}"));
            }
        }
    }
    if matches!(mode, None | Some("NonIndexed")) {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(number) = int(spec, name) {
                faults.invalid(&path.field(name), number, "requires indexed completion mode");
            }
        }
    }
}

fn change(case: &Case<'_>, old_job: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (new, old) = (case.spec(), at(old_job, "spec"));
    let indexed = text(new, "completionMode") == "Indexed";
    let (now, before) = (int(new, "completions"), int(old, "completions"));
    if !indexed {
        faults.unchanged(new, old, "completions", path);
    } else if now != before && now.is_some() && now != Some(int(new, "parallelism").unwrap_or(0)) {
        let root = Path::Root;
        let spec = root.field("spec");
        let detail = format!("can only be modified in tandem with {}", spec.field("parallelism"));
        faults.invalid(&path.field("completions"), at(new, "completions").clone(), detail);
    }
    faults.unchanged(new, old, "selector", path);
    template_change(new, old, old_job, path, faults);
    faults.unchanged(new, old, "completionMode", path);
    for (name, shape) in [("podFailurePolicy", "PodFailurePolicy"), ("successPolicy", "SuccessPolicy")] {
        if !same(at(new, name), at(old, name)) {
            let shown = match at(new, name) {
                Value::Null => "null".to_owned(),
                value => golang::print(shape, value),
            };
            faults.shown(&path.field(name), &shown, super::IMMUTABLE);
        }
        if name == "podFailurePolicy" {
            faults.unchanged(new, old, "backoffLimitPerIndex", path);
            faults.unchanged(new, old, "managedBy", path);
        }
    }
}

/// Only a job that is suspended and has no pods may be steered elsewhere or get other resources.
fn template_change(new: &Value, old: &Value, old_job: &Value, path: &Path<'_>, faults: &mut Faults) {
    let status = at(old_job, "status");
    let idle = flag(old, "suspend")
        && super::condition::is_true(status, "Suspended")
        && int(status, "active").unwrap_or(0) == 0;
    let (now, mut before) = (at(new, "template"), at(old, "template").clone());
    if idle {
        steer(&mut before, now);
    }
    if same(now, &before) {
        return;
    }
    let template = path.field("template");
    if !idle {
        faults.invalid(&template, now.clone(), super::IMMUTABLE);
        return;
    }
    for kind in ["containers", "initContainers"] {
        let given = list(at(now, "spec"), kind);
        let Some(owned) = before.get_mut("spec").and_then(|spec| spec.get_mut(kind)?.as_array_mut()) else { continue };
        if owned.len() != given.len() {
            continue;
        }
        for (before, now) in owned.iter_mut().zip(given).filter(|(a, b)| text(a, "name") == text(b, "name")) {
            if let Some(members) = before.as_object_mut() {
                members.insert("resources".to_owned(), at(now, "resources").clone());
            }
        }
    }
    if !same(at(now, "spec"), at(&before, "spec")) {
        faults.invalid(&template.field("spec"), at(now, "spec").clone(), super::IMMUTABLE);
    }
}

/// Takes over what tells the scheduler where to.
fn steer(before: &mut Value, now: &Value) {
    let Some(members) = before.as_object_mut() else { return };
    for name in ["labels", "annotations"] {
        let value = at(at(now, "metadata"), name).clone();
        crate::json::object(members, "metadata").insert(name.to_owned(), value);
    }
    let spec = crate::json::object(members, "spec");
    for name in ["nodeSelector", "tolerations", "schedulingGates"] {
        spec.insert(name.to_owned(), at(at(now, "spec"), name).clone());
    }
    let affinity = at(at(at(now, "spec"), "affinity"), "nodeAffinity").clone();
    crate::json::object(spec, "affinity").insert("nodeAffinity".to_owned(), affinity);
    if crate::json::object(spec, "affinity").values().all(is_empty) && !has(at(now, "spec"), "affinity") {
        spec.remove("affinity");
    }
}

pub(crate) fn cron_job(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    let old = case.old.map(|old| at(old, "spec"));
    schedule::check(spec, old, &path, faults);
    faults.not_negative(spec, "startingDeadlineSeconds", &path);
    if old.is_none_or(|old| at(old, "timeZone") != at(spec, "timeZone")) {
        schedule::time_zone(spec, &path.field("timeZone"), faults);
    }
    faults.one_of(spec, "concurrencyPolicy", &path, &["Allow", "Forbid", "Replace"]);
    let (template, above) = (at(spec, "jobTemplate"), path.field("jobTemplate"));
    let old_template = old.map(|old| at(at(at(old, "jobTemplate"), "spec"), "template"));
    let (job, on_job) = (at(template, "spec"), above.field("spec"));
    job_spec(job, old_template, &on_job, faults);
    if has(job, "selector") {
        faults.invalid(&on_job.field("selector"), at(job, "selector").clone(), "`selector` will be auto-generated");
    }
    if flag(job, "manualSelector") {
        faults.not_supported(&on_job.field("manualSelector"), true, &["nil", "false"]);
    }
    faults.not_negative(spec, "successfulJobsHistoryLimit", &path);
    faults.not_negative(spec, "failedJobsHistoryLimit", &path);
    // The name leaves room for the eleven characters that its jobs add.
    if case.old.is_none() && case.name().len() > 52 {
        faults.invalid(&root.field("metadata").field("name"), case.name(), "must be no more than 52 characters");
    }
}
