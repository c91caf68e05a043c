//! When a CronJob runs: plans in the form of cron, and time zones.

use base::cron::Schedule;
use base::zone::Zone;
use serde_json::Value;

use crate::json::{at, has, text};
use crate::path::Path;
use crate::validate::Faults;

pub(super) fn check(spec: &Value, old: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    let path = path.field("schedule");
    let plan = text(spec, "schedule");
    if plan.is_empty() {
        faults.required(&path, "");
        return;
    }
    if let Err(fault) = Schedule::parse(plan) {
        faults.invalid(&path, plan, fault.to_string());
    }
    if plan.contains("TZ") {
        let tolerated = old.is_some_and(|old| text(old, "schedule").contains("TZ"));
        if !tolerated {
            faults.invalid(&path, plan, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        } else if has(spec, "timeZone") {
            faults.invalid(&path, plan, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        }
    }
}

pub(super) fn time_zone(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let Some(zone) = at(spec, "timeZone").as_str() else { return };
    if zone.is_empty() {
        faults.invalid(path, "", "timeZone must be nil or non-empty string");
        return;
    }
    let legal = |part: &str| {
        let byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
        (1..=14).contains(&part.len()) && part.bytes().all(byte)
    };
    for part in zone.split('/') {
        if part == "." || part == ".." || part.starts_with('-') || !legal(part) {
            faults.invalid(path, zone, format!("unknown time zone {zone}"));
        }
    }
    if zone.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        faults.invalid(path, zone, detail);
    }
    if let Err(fault) = Zone::named(zone)
        && zone != "Local"
    {
        faults.invalid(path, zone, fault.to_string());
    }
}
