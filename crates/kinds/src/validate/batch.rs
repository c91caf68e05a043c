//! Rules of Jobs and CronJobs.

use base::name::{self, Verdict};
use serde_json::Value;

use super::{Faults, meta, pod};
use crate::json::{at, flag, has, int, same, text};
use crate::path::Path;

pub(crate) fn job(job: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(job, "spec"), root.field("spec"));
    job_spec(spec, &path, faults);
    let selector = at(spec, "selector");
    if selector.is_null() {
        faults.required(&path.field("selector"), "");
    } else {
        meta::selector(selector, &path.field("selector"), faults);
        if !pod::selector_matches(selector, at(spec, "template")) {
            let template = path.field("template");
            let meta = template.field("metadata");
            let labels = at(at(at(spec, "template"), "metadata"), "labels").clone();
            faults.invalid(&meta.field("labels"), labels, "`selector` does not match template `labels`");
        }
    }
}

fn job_spec(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
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
    let mode = text(spec, "completionMode");
    if mode == "Indexed" && !has(spec, "completions") {
        faults.required(&path.field("completions"), "when completion mode is Indexed");
    }
    if has(spec, "backoffLimitPerIndex") && mode != "Indexed" {
        let value = int(spec, "backoffLimitPerIndex").unwrap_or(0);
        faults.invalid(&path.field("backoffLimitPerIndex"), value, "requires indexed completion mode");
    }
    let above = path.field("template");
    pod::template(at(spec, "template"), &above, faults);
    let template = at(at(spec, "template"), "spec");
    let above = above.field("spec");
    match text(template, "restartPolicy") {
        "Always" | "" => {
            faults.required(&above.field("restartPolicy"), "valid values: \"OnFailure\", \"Never\"");
        }
        "OnFailure" if has(spec, "podFailurePolicy") => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            faults.invalid(&above.field("restartPolicy"), "OnFailure", detail);
        }
        "OnFailure" | "Never" => {}
        other => faults.not_supported(&above.field("restartPolicy"), other, &["Never", "OnFailure"]),
    }
}

pub(crate) fn job_change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("spec");
    let (new_spec, old_spec) = (at(new, "spec"), at(old, "spec"));
    let mut fixed = vec!["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"];
    let elastic = text(new_spec, "completionMode") == "Indexed"
        && int(new_spec, "completions") == int(new_spec, "parallelism")
        && int(old_spec, "completions") == int(old_spec, "parallelism");
    if !elastic {
        fixed.push("completions");
    }
    for name in fixed {
        faults.unchanged(new_spec, old_spec, name, &path);
    }
    // A job that has not run yet may still be steered.
    let waiting = flag(old_spec, "suspend") && !has(at(old, "status"), "startTime");
    let template = |spec: &Value| {
        let mut template = at(spec, "template").clone();
        if waiting && let Some(members) = template.as_object_mut() {
            members.remove("metadata");
            let spec = crate::json::object(members, "spec");
            for name in ["nodeSelector", "affinity", "tolerations", "schedulingGates", "containers"] {
                spec.remove(name);
            }
        }
        template
    };
    if !same(&template(new_spec), &template(old_spec)) {
        faults.invalid(&path.field("template"), at(new_spec, "template").clone(), super::IMMUTABLE);
    }
}

/// The name leaves room for the eleven characters that its jobs add.
pub(crate) fn cron_job_name(text: &str) -> Verdict {
    name::dns_subdomain(text)?;
    if text.len() > 52 { Err("must be no more than 52 characters".to_owned()) } else { Ok(()) }
}

pub(crate) fn cron_job(job: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(job, "spec"), root.field("spec"));
    let plan = text(spec, "schedule");
    if plan.is_empty() {
        faults.required(&path.field("schedule"), "");
    } else if let Err(reason) = schedule(plan) {
        faults.invalid(&path.field("schedule"), plan, reason);
    }
    for name in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        faults.not_negative(spec, name, &path);
    }
    faults.one_of(spec, "concurrencyPolicy", &path, &["Allow", "Forbid", "Replace"]);
    if at(spec, "timeZone").as_str() == Some("") {
        faults.invalid(&path.field("timeZone"), "", "timeZone must be nil or non-empty string");
    }
    let template = path.field("jobTemplate");
    job_spec(at(at(spec, "jobTemplate"), "spec"), &template.field("spec"), faults);
}

const FIELDS: [(&str, u32, u32); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 6)];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Whether a text is a plan in the form of cron.
fn schedule(text: &str) -> Verdict {
    if let Some(name) = text.strip_prefix('@') {
        let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
        let every =
            name.strip_prefix("every ").is_some_and(|every| every.trim().starts_with(|c: char| c.is_ascii_digit()));
        return if known.contains(&name) || every { Ok(()) } else { Err(format!("unrecognized descriptor: {text}")) };
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: {fields:?}", fields.len()));
    }
    for (field, (name, low, high)) in fields.iter().zip(FIELDS) {
        for part in field.split(',') {
            range(part, name, low, high)?;
        }
    }
    Ok(())
}

fn range(part: &str, name: &str, low: u32, high: u32) -> Verdict {
    let (span, step) = part.split_once('/').map_or((part, None), |(span, step)| (span, Some(step)));
    if let Some(step) = step
        && !step.parse::<u32>().is_ok_and(|step| step > 0)
    {
        return Err(format!("failed to parse int from {step}: step of range should be a positive number: {part}"));
    }
    if span == "*" || span == "?" {
        return Ok(());
    }
    let (start, end) = span.split_once('-').unwrap_or((span, span));
    let number = |text: &str| -> Result<u32, String> {
        let named = |names: &[&str], first: u32| {
            let place = names.iter().position(|name| name.eq_ignore_ascii_case(text));
            place.and_then(|place| u32::try_from(place).ok()).map(|place| place + first)
        };
        let value = match name {
            "month" => named(&MONTHS, 1),
            "day of week" => named(&DAYS, 0),
            _ => None,
        };
        value.or_else(|| text.parse().ok()).ok_or_else(|| format!("failed to parse int from {text}: invalid syntax"))
    };
    let (start, end) = (number(start)?, number(end)?);
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {part}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {part}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::schedule;

    #[test]
    fn plans_of_cron_are_read_strictly() {
        for plan in ["* * * * *", "*/5 0-6 1,15 jan-mar mon", "@hourly", "@every 5m", "0 0 ? * SUN"] {
            assert_eq!(schedule(plan), Ok(()), "{plan}");
        }
        for plan in ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "@often", "a * * * *"] {
            assert!(schedule(plan).is_err(), "{plan}");
        }
    }
}
