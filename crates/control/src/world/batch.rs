//! Lines for Jobs, CronJobs and budgets, and what a pod of a Job has besides.
//!
//! Invariant: a line's words are the fields a test is about; the rest is what the server would have filled in.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};

use super::{Line, at, metadata, object, owner, pairs};

/// By which a Job knows its pods.
const OWNER: &str = "batch.kubernetes.io/controller-uid";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

fn list(text: Option<&str>) -> Vec<&str> {
    text.into_iter().flat_map(|text| text.split(',')).filter(|part| !part.is_empty()).collect()
}

pub(super) fn job(line: &Line<'_>) -> Arc<Job> {
    let mut metadata = metadata("job", line);
    if let Some(name) = line.get("of") {
        metadata["ownerReferences"] = owner("CronJob", "batch/v1", name);
    }
    if let Some(at) = line.get("scheduled") {
        metadata["annotations"] = json!({ "batch.kubernetes.io/cronjob-scheduled-timestamp": at });
    }
    let per_index = line.number("perindex");
    let limit = line.number("limit").unwrap_or(if per_index.is_some() { i64::from(i32::MAX) } else { 6 });
    let rules: Vec<Value> = line.all("rule").into_iter().map(rule).collect();
    let enough: Vec<Value> = line.all("enough").into_iter().map(enough).collect();
    let container = json!({ "name": "c", "image": "v1" });
    let mut spec = json!({
        "parallelism": line.number("parallelism").unwrap_or(1),
        "backoffLimit": limit,
        "backoffLimitPerIndex": per_index,
        "maxFailedIndexes": line.number("maxfailed"),
        "activeDeadlineSeconds": line.number("deadline"),
        "ttlSecondsAfterFinished": line.number("ttl"),
        "suspend": line.has("suspend"),
        "managedBy": line.get("managed"),
        "completionMode": line.get("mode").unwrap_or(if line.has("indexed") { "Indexed" } else { "NonIndexed" }),
        "podReplacementPolicy":
            line.get("replace").unwrap_or(if rules.is_empty() { "TerminatingOrFailed" } else { "Failed" }),
        "selector": { "matchLabels": { OWNER: format!("job-{}", line.name) } },
        "template": {
            "metadata": { "labels": { OWNER: format!("job-{}", line.name) } },
            "spec": { "restartPolicy": line.get("restart").unwrap_or("Never"), "containers": [container] },
        },
    });
    if !line.has("worklist") {
        spec["completions"] = json!(line.number("completions").unwrap_or(1));
    }
    if !rules.is_empty() {
        spec["podFailurePolicy"] = json!({ "rules": rules });
    }
    if !enough.is_empty() {
        spec["successPolicy"] = json!({ "rules": enough });
    }
    object(json!({ "metadata": metadata, "spec": spec, "status": status(line) }))
}

/// Nothing if the line has no word of it.
fn status(line: &Line<'_>) -> Value {
    let known = ["started", "succeeded", "failed", "done", "lost", "uncounted", "uncounted-failed", "is", "completed"];
    if !known.iter().any(|word| line.has(word)) {
        return Value::Null;
    }
    let condition = |text: &str| {
        let (kind, reason) = text.split_once(':').unwrap_or((text, "Some"));
        json!({ "type": kind, "status": "True", "reason": reason, "message": "told before",
            "lastTransitionTime": at(line.get("since").unwrap_or("1m")) })
    };
    let conditions: Vec<Value> = line.all("is").into_iter().map(condition).collect();
    json!({
        "startTime": at(line.get("started").unwrap_or("5m")),
        "completionTime": line.get("completed").map(at),
        "succeeded": line.number("succeeded"),
        "failed": line.number("failed"),
        "completedIndexes": line.get("done"),
        "failedIndexes": line.get("lost"),
        "conditions": conditions,
        "uncountedTerminatedPods":
            { "succeeded": list(line.get("uncounted")), "failed": list(line.get("uncounted-failed")) },
    })
}

/// `Action:42+43`, `Action:!0`, `Action:DisruptionTarget`
fn rule(text: &str) -> Value {
    let (action, of) = text.split_once(':').expect("action:codes or action:condition");
    let (operator, codes) = of.strip_prefix('!').map_or(("In", of), |codes| ("NotIn", codes));
    let numbers: Option<Vec<i32>> = codes.split('+').map(|code| code.parse().ok()).collect();
    match numbers {
        Some(codes) => json!({ "action": action, "onExitCodes": { "operator": operator, "values": codes } }),
        None => json!({ "action": action, "onPodConditions": [{ "type": of, "status": "True" }] }),
    }
}

/// `0-2`, `0-2:1` or `:2`: which indexes, and how many of them.
fn enough(text: &str) -> Value {
    let (indexes, count) = text.split_once(':').unwrap_or((text, ""));
    let mut rule = json!({});
    if !indexes.is_empty() {
        rule["succeededIndexes"] = json!(indexes);
    }
    if let Ok(count) = count.parse::<i32>() {
        rule["succeededCount"] = json!(count);
    }
    rule
}

/// What a pod of `job=` has: its owner, the finalizer unless it was `counted`, an index, how its container ended.
pub(super) fn dress(pod: &mut Value, line: &Line<'_>) {
    if let Some(reason) = line.get("disrupted") {
        let mark = json!({ "type": "DisruptionTarget", "status": "True", "reason": reason,
            "lastTransitionTime": at(line.get("marked").unwrap_or("1m")) });
        let conditions = &mut pod["status"]["conditions"];
        *conditions = conditions.as_array().cloned().unwrap_or_default().into();
        conditions.as_array_mut().expect("a list").push(mark);
    }
    let Some(job) = line.get("job") else { return };
    let metadata = &mut pod["metadata"];
    if !line.has("orphan") {
        metadata["ownerReferences"] = owner("Job", "batch/v1", job);
    }
    metadata["labels"] =
        json!(line.get("labels").map_or_else(|| BTreeMap::from([(OWNER.to_owned(), format!("job-{job}"))]), pairs));
    if !line.has("counted") {
        metadata["finalizers"] = json!([crate::plan::job::FINALIZER]);
    }
    let mut annotations = BTreeMap::new();
    if let Some(index) = line.get("index") {
        annotations.insert(INDEX.to_owned(), index);
        metadata["labels"][INDEX] = json!(index);
    }
    for (word, name) in [("failures", "failure-count"), ("ignored", "ignored-failure-count")] {
        if let Some(count) = line.get(word) {
            annotations.insert(format!("batch.kubernetes.io/job-index-{name}"), count);
        }
    }
    metadata["annotations"] = json!(annotations);
    let phase = pod["status"]["phase"].as_str().unwrap_or("").to_owned();
    let restarts = line.number("restarts").unwrap_or(0);
    let state = if phase == "Failed" || phase == "Succeeded" {
        let code = line.number("exit").unwrap_or(i64::from(phase == "Failed"));
        json!({ "terminated": { "exitCode": code, "finishedAt": at(line.get("ended").unwrap_or("1h")) } })
    } else {
        json!({})
    };
    let container =
        json!({ "name": "c", "image": "v1", "imageID": "", "ready": false, "restartCount": restarts, "state": state });
    pod["status"]["containerStatuses"] = json!([container]);
}

/// Words: `schedule=` with `_` for a space, `zone=`, `policy=`, `within=`, `last=`, `active=name,...`.
pub(super) fn cron_job(line: &Line<'_>) -> Arc<CronJob> {
    let active = |name: &str| {
        json!({ "apiVersion": "batch/v1", "kind": "Job", "name": name, "namespace": "default",
        "uid": format!("job-{name}") })
    };
    let active: Vec<Value> = list(line.get("active")).into_iter().map(active).collect();
    object(json!({
        "metadata": metadata("cronjob", line),
        "spec": {
            "schedule": line.get("schedule").unwrap_or("*/10_*_*_*_*").replace('_', " "),
            "timeZone": line.get("zone"),
            "concurrencyPolicy": line.get("policy").unwrap_or("Allow"),
            "startingDeadlineSeconds": line.number("within"),
            "suspend": line.has("suspend"),
            "successfulJobsHistoryLimit": line.number("keep").unwrap_or(3),
            "failedJobsHistoryLimit": line.number("keepfailed").unwrap_or(1),
            "jobTemplate": {
                "metadata": { "labels": { "app": line.name }, "annotations": { "note": "kept" } },
                "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "v1" }] } } },
            },
        },
        "status": {
            "active": active,
            "lastScheduleTime": line.get("last").map(at),
            "lastSuccessfulTime": line.get("successful").map(at),
        },
    }))
}

/// Words: `min=`, `max=`, `app=`, `all`, `allowed=`, `disrupted=pod:age,...`, `generation=`.
pub(super) fn budget(line: &Line<'_>) -> Arc<PodDisruptionBudget> {
    let bound = |text: &str| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
    let disrupted: BTreeMap<&str, Value> = list(line.get("disrupted"))
        .into_iter()
        .map(|part| part.split_once(':').map(|(pod, age)| (pod, at(age))).expect("pod:age"))
        .collect();
    let selector =
        if line.has("all") { json!({}) } else { json!({ "matchLabels": { "app": line.get("app").unwrap_or("web") } }) };
    object(json!({
        "metadata": metadata("budget", line),
        "spec": { "minAvailable": line.get("min").map(bound), "maxUnavailable": line.get("max").map(bound), "selector": selector },
        "status": {
            "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
            "disruptionsAllowed": line.number("allowed").unwrap_or(0), "disruptedPods": disrupted,
        },
    }))
}
