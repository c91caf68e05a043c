//! Rules of a job's status: a job that has ended stays so, and what is told of its pods fits together.
//!
//! Invariant: what did not change is not looked at again, so that other controllers' jobs can go on (upstream's
//! `getStatusValidationOptions`).

use serde_json::Value;

use super::indexes;
use crate::json::{at, flag, has, int, list, same, text};
use crate::path::Path;
use crate::validate::condition::is_true;
use crate::validate::{Case, Faults, golang};

/// What of a status counts for its rules, before and after.
struct Jobs<'v> {
    spec: &'v Value,
    new: &'v Value,
    old: &'v Value,
}

impl Jobs<'_> {
    fn changed(&self, name: &str) -> bool {
        !same(at(self.new, name), at(self.old, name))
    }

    fn now(&self, kind: &str) -> bool {
        is_true(self.new, kind)
    }

    fn flipped(&self, kind: &str) -> bool {
        is_true(self.new, kind) != is_true(self.old, kind)
    }

    fn finished(status: &Value) -> bool {
        is_true(status, "Complete") || is_true(status, "Failed")
    }

    fn count(&self, name: &str) -> i64 {
        int(self.new, name).unwrap_or(0)
    }

    fn indexed(&self) -> bool {
        text(self.spec, "completionMode") == "Indexed"
    }
}

pub(crate) fn status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("status");
    let jobs = Jobs { spec: case.spec(), new: at(case.new, "status"), old: at(case.old(), "status") };
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        faults.not_negative(jobs.new, name, &path);
    }
    uncounted(jobs.new, &path.field("uncountedTerminatedPods"), faults);
    completion(&jobs, &path, faults);
    ended(&jobs, &path, faults);
    named_indexes(&jobs, &path, faults);
    pods(&jobs, &path, faults);
    success(&jobs, &path, faults);
    change(&jobs, &path, faults);
}

fn uncounted(status: &Value, path: &Path<'_>, faults: &mut Faults) {
    let pods = at(status, "uncountedTerminatedPods");
    let mut seen = Vec::new();
    for name in ["succeeded", "failed"] {
        let above = path.field(name);
        for (index, uid) in list(pods, name).iter().filter_map(Value::as_str).enumerate() {
            if uid.is_empty() {
                faults.invalid(&above.index(index), "", "must not be empty");
            } else if seen.contains(&uid) {
                faults.duplicate(&above.index(index), uid);
            }
            seen.push(uid);
        }
    }
}

fn completion(jobs: &Jobs<'_>, path: &Path<'_>, faults: &mut Faults) {
    let conditions = path.field("conditions");
    let (complete, failed) = (jobs.now("Complete"), jobs.now("Failed"));
    if (jobs.flipped("Complete") || jobs.flipped("Failed")) && complete && failed {
        faults.shown(&conditions, "", "cannot set Complete=True and Failed=true conditions");
    }
    let target = jobs.now("FailureTarget");
    if (jobs.flipped("Complete") || jobs.flipped("FailureTarget")) && complete && target {
        faults.shown(&conditions, "", "cannot set Complete=True and FailureTarget=true conditions");
    }
    let (time, on_time) = (at(jobs.new, "completionTime"), path.field("completionTime"));
    if jobs.flipped("Complete") || jobs.changed("completionTime") {
        if !time.is_null() && !complete {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            faults.invalid(&on_time, time.clone(), detail);
        }
        if time.is_null() && complete {
            faults.required(&on_time, "completionTime is required for Complete jobs");
        }
    }
    if jobs.changed("startTime") || jobs.changed("completionTime") {
        let read = |name: &str| base::time::parse(text(jobs.new, name)).ok();
        if let (Some(start), Some(end)) = (read("startTime"), read("completionTime"))
            && end < start
        {
            faults.invalid(&on_time, time.clone(), "must be equal to or after `startTime`");
        }
    }
    if (jobs.flipped("Failed") || jobs.changed("failedIndexes")) && failed && !target {
        let detail = "cannot set Failed=True condition without the FailureTarget=true condition";
        faults.shown(&conditions, "", detail);
    }
    if (jobs.flipped("Complete") || jobs.flipped("SuccessCriteriaMet")) && complete && !jobs.now("SuccessCriteriaMet") {
        let detail = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        faults.shown(&conditions, "", detail);
    }
}

fn ended(jobs: &Jobs<'_>, path: &Path<'_>, faults: &mut Faults) {
    let finished = Jobs::finished(jobs.new);
    let flipped = finished != Jobs::finished(jobs.old);
    let active = jobs.count("active");
    if (flipped || jobs.changed("active")) && active > 0 && finished {
        faults.invalid(&path.field("active"), active, "active>0 is invalid for finished job");
    }
    let idle = flag(jobs.spec, "suspend") && int(jobs.spec, "completions") == Some(0);
    if (flipped || jobs.changed("startTime")) && !idle && !has(jobs.new, "startTime") && finished {
        faults.required(&path.field("startTime"), "startTime is required for finished job");
    }
    let pods = at(jobs.new, "uncountedTerminatedPods");
    let some = list(pods, "failed").len() + list(pods, "succeeded").len() > 0;
    if (flipped || jobs.changed("uncountedTerminatedPods")) && finished && some {
        let shown = golang::print("UncountedTerminatedPods", pods);
        faults.shown(&path.field("uncountedTerminatedPods"), &shown, "must be empty for finished job");
    }
}

fn named_indexes(jobs: &Jobs<'_>, path: &Path<'_>, faults: &mut Faults) {
    let completed = text(jobs.new, "completedIndexes");
    let failed = at(jobs.new, "failedIndexes").as_str();
    let (on_completed, on_failed) = (path.field("completedIndexes"), path.field("failedIndexes"));
    let (new_completed, new_failed) = (jobs.changed("completedIndexes"), jobs.changed("failedIndexes"));
    let per_index = has(jobs.spec, "backoffLimitPerIndex");
    if let Some(completions) = int(jobs.spec, "completions") {
        if new_completed && let Err(fault) = indexes::count(completed, completions) {
            faults.invalid(&on_completed, completed, format!("error parsing completedIndexes: {fault}"));
        }
        if let Some(failed) = failed.filter(|_| new_failed && per_index)
            && let Err(fault) = indexes::count(failed, completions)
        {
            faults.invalid(&on_failed, failed, format!("error parsing failedIndexes: {fault}"));
        }
    }
    if new_completed && !completed.is_empty() && !jobs.indexed() {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        faults.invalid(&on_completed, completed, detail);
    }
    if let Some(failed) = failed {
        if new_failed && !per_index {
            let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            faults.invalid(&on_failed, failed, detail);
        }
        if let Some(completions) = int(jobs.spec, "completions").filter(|_| new_failed || new_completed)
            && let Some(index) = indexes::overlap(completed, failed, completions)
        {
            let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
            faults.invalid(&on_failed, failed, detail);
        }
    }
}

fn pods(jobs: &Jobs<'_>, path: &Path<'_>, faults: &mut Faults) {
    let finished = Jobs::finished(jobs.new);
    let flipped = finished != Jobs::finished(jobs.old);
    let (terminating, ready) = (jobs.count("terminating"), jobs.count("ready"));
    if (flipped || jobs.changed("terminating")) && terminating > 0 && finished {
        faults.invalid(&path.field("terminating"), terminating, "terminating>0 is invalid for finished job");
    }
    if (jobs.changed("ready") || jobs.changed("active")) && has(jobs.new, "ready") && ready > jobs.count("active") {
        faults.invalid(&path.field("ready"), ready, "cannot set more ready pods than active");
    }
}

fn success(jobs: &Jobs<'_>, path: &Path<'_>, faults: &mut Faults) {
    let conditions = path.field("conditions");
    let met = jobs.now("SuccessCriteriaMet");
    if met && jobs.now("Failed") {
        faults.shown(&conditions, "", "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if met && jobs.now("FailureTarget") {
        faults.shown(&conditions, "", "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if has(jobs.spec, "successPolicy") && !met && jobs.now("Complete") {
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        faults.shown(&conditions, "", detail);
    }
}

fn change(jobs: &Jobs<'_>, path: &Path<'_>, faults: &mut Faults) {
    let conditions = path.field("conditions");
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is_true(jobs.old, kind) && !jobs.now(kind) {
            faults.shown(&conditions, "", &format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    let elastic = jobs.indexed() && int(jobs.spec, "completions") == int(jobs.spec, "parallelism");
    for (name, free) in [("failed", false), ("succeeded", elastic)] {
        if !free && jobs.count(name) < int(jobs.old, name).unwrap_or(0) {
            faults.invalid(&path.field(name), jobs.count(name), format!("cannot decrease the {name} counter"));
        }
    }
    let kept = |name: &str| has(jobs.new, name) && has(jobs.old, name) && jobs.changed(name);
    if kept("completionTime") {
        let time = at(jobs.new, "completionTime").clone();
        faults.invalid(&path.field("completionTime"), time, super::super::IMMUTABLE);
    }
    let resuming = is_true(jobs.old, "Suspended")
        && list(jobs.new, "conditions").iter().any(|c| text(c, "type") == "Suspended" && text(c, "status") == "False");
    if has(jobs.old, "startTime") && jobs.changed("startTime") && !resuming && !flag(jobs.spec, "suspend") {
        let detail = "field is immutable for unsuspended job once set";
        faults.invalid(&path.field("startTime"), at(jobs.new, "startTime").clone(), detail);
    }
    let (met, before) = (jobs.now("SuccessCriteriaMet"), is_true(jobs.old, "SuccessCriteriaMet"));
    if before && !met {
        faults.shown(&conditions, "", "cannot disable the SuccessCriteriaMet=True condition");
    }
    if is_true(jobs.old, "Complete") && !before && met {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        faults.shown(&conditions, "", detail);
    }
}
