//! When a CronJob runs: plans in the form of cron, and time zones.

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
    if let Err(fault) = parse(plan) {
        faults.invalid(&path, plan, fault);
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

const FIELDS: [(u32, u32, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

const KNOWN: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Whether a text is a plan in the form of cron.
fn parse(text: &str) -> Result<(), String> {
    let mut text = text;
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        let Some((zone, rest)) = text.split_once(' ') else {
            return Err(format!("invalid schedule format: {text}"));
        };
        let zone = zone.split_once('=').map_or("", |(_, zone)| zone);
        load(zone).map_err(|fault| format!("provided bad location {zone}: {fault}"))?;
        text = rest.trim();
    }
    if text.starts_with('@') {
        return descriptor(text);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (field, bounds) in fields.iter().zip(FIELDS) {
        for part in field.split(',').filter(|part| !part.is_empty()) {
            range(part, bounds)?;
        }
    }
    Ok(())
}

fn descriptor(text: &str) -> Result<(), String> {
    if KNOWN.contains(&text) {
        return Ok(());
    }
    match text.strip_prefix("@every ") {
        Some(duration) => {
            duration_fault(duration).map_or(Ok(()), |fault| Err(format!("failed to parse duration {text}: {fault}")))
        }
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

/// What is wrong with a duration of Go.
fn duration_fault(text: &str) -> Option<String> {
    let quoted = crate::error::quote(text);
    let invalid = || Some(format!("time: invalid duration {quoted}"));
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return None;
    }
    if rest.is_empty() {
        return invalid();
    }
    while !rest.is_empty() {
        let number = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let digits = &rest[..number];
        if !digits.bytes().any(|byte| byte.is_ascii_digit()) || digits.matches('.').count() > 1 {
            return invalid();
        }
        rest = &rest[number..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        match &rest[..unit] {
            "" => return Some(format!("time: missing unit in duration {quoted}")),
            "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h" => {}
            other => {
                return Some(format!("time: unknown unit {} in duration {quoted}", crate::error::quote(other)));
            }
        }
        rest = &rest[unit..];
    }
    None
}

fn range(part: &str, (low, high, names): (u32, u32, &[&str])) -> Result<(), String> {
    let steps: Vec<&str> = part.split('/').collect();
    let limits: Vec<&str> = steps[0].split('-').collect();
    let number = |text: &str| -> Result<i64, String> {
        let known = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(place) = known.and_then(|place| u32::try_from(place).ok()) {
            return Ok(i64::from(place + low));
        }
        integer(text)
    };
    let (start, mut end) = if matches!(limits[0], "*" | "?") {
        (i64::from(low), i64::from(high))
    } else {
        let start = number(limits[0])?;
        match limits.as_slice() {
            [_] => (start, start),
            [_, end] => (start, number(end)?),
            _ => return Err(format!("too many hyphens: {part}")),
        }
    };
    let mut step = 1;
    match steps.as_slice() {
        [_] => {}
        [_, text] => {
            step = integer(text)?;
            if limits.len() == 1 {
                end = i64::from(high);
            }
        }
        _ => return Err(format!("too many slashes: {part}")),
    }
    if start < i64::from(low) {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {part}"));
    }
    if end > i64::from(high) {
        return Err(format!("end of range ({end}) above maximum ({high}): {part}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    Ok(())
}

fn integer(text: &str) -> Result<i64, String> {
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(number),
        Err(_) => {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let why = if digits { "value out of range" } else { "invalid syntax" };
            let quoted = crate::error::quote(text);
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: {why}"))
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
    if let Err(fault) = load(zone) {
        faults.invalid(path, zone, fault);
    }
}

/// Whether a time zone is known. The names are those of the IANA database; the rules of each are the runner's business.
fn load(zone: &str) -> Result<(), String> {
    let known = || include_str!("../../../facts/zones.txt").lines().any(|line| line == zone);
    if matches!(zone, "" | "UTC" | "Local") || known() {
        return Ok(());
    }
    if zone.contains("..") || zone.starts_with('/') || zone.contains('\\') {
        return Err("time: invalid location name".to_owned());
    }
    Err(format!("unknown time zone {zone}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_of_cron_are_read_strictly() {
        for plan in ["* * * * *", "*/5 0-6 1,15 jan-mar mon", "@hourly", "@every 5m", "0 0 ? * SUN", "@every 1h30m"] {
            assert_eq!(parse(plan), Ok(()), "{plan}");
        }
        for plan in ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "@often", "a * * * *"] {
            assert!(parse(plan).is_err(), "{plan}");
        }
    }

    #[test]
    fn time_zones_are_known_by_name() {
        assert!(load("Europe/Berlin").is_ok() && load("Etc/UTC").is_ok() && load("Mars/Base").is_err());
    }
}
