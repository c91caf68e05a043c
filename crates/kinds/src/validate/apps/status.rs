//! Rules of the counts in the status of what keeps pods running.

use serde_json::Value;

use crate::json::{at, int};
use crate::path::Path;
use crate::validate::{Case, Faults};

fn count(status: &Value, name: &str) -> i64 {
    int(status, name).unwrap_or(0)
}

/// Counts that are not negative, and counts that are at most the whole.
fn counts(case: &Case<'_>, all: &[&str], parts: &[&str], ready: &str, faults: &mut Faults) {
    let root = Path::Root;
    let (status, path) = (at(case.new, "status"), root.field("status"));
    for name in all {
        faults.not_negative(status, name, &path);
    }
    for name in parts {
        if count(status, name) > count(status, "replicas") {
            faults.invalid(&path.field(name), count(status, name), "cannot be greater than status.replicas");
        }
    }
    if !ready.is_empty() && count(status, "availableReplicas") > count(status, "readyReplicas") {
        let detail = format!("cannot be greater than {ready}");
        faults.invalid(&path.field("availableReplicas"), count(status, "availableReplicas"), detail);
    }
}

/// Collisions of names are only counted up.
fn collisions(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let name = "collisionCount";
    let (new, old) = (int(at(case.new, "status"), name), int(at(case.old(), "status"), name));
    if old.is_some_and(|old| new.is_none_or(|new| new < old)) {
        let path = root.field("status");
        faults.invalid(&path.field(name), new.unwrap_or(0), "cannot be decremented");
    }
}

pub(crate) fn controller_status(case: &Case<'_>, faults: &mut Faults) {
    let all = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    counts(case, &all, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], "readyReplicas", faults);
}

pub(crate) fn replica_set_status(case: &Case<'_>, faults: &mut Faults) {
    let all = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ];
    counts(case, &all, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], "readyReplicas", faults);
}

pub(crate) fn deployment_status(case: &Case<'_>, faults: &mut Faults) {
    let all = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    counts(case, &all, &["updatedReplicas", "readyReplicas", "availableReplicas"], "readyReplicas", faults);
    collisions(case, faults);
}

pub(crate) fn stateful_set_status(case: &Case<'_>, faults: &mut Faults) {
    let all = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    counts(case, &all, &parts, "status.readyReplicas", faults);
    collisions(case, faults);
}

pub(crate) fn daemon_set_status(case: &Case<'_>, faults: &mut Faults) {
    let all = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    counts(case, &all, &[], "", faults);
    collisions(case, faults);
}
