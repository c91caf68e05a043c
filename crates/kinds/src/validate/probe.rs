//! Rules of probes and lifecycle handlers.

use base::name;
use serde_json::Value;

use super::{Faults, container};
use crate::json::{at, has, int, list, text};
use crate::path::Path;

pub(crate) fn check(name: &str, probe: &Value, grace: Option<i64>, path: &Path<'_>, faults: &mut Faults) {
    if probe.is_null() {
        return;
    }
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], grace, path, faults);
    for name in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        faults.not_negative(probe, name, path);
    }
    let own_grace = "terminationGracePeriodSeconds";
    if let Some(seconds) = int(probe, own_grace).filter(|seconds| *seconds <= 0) {
        faults.invalid(&path.field(own_grace), seconds, "must be greater than 0");
    }
    if name == "readinessProbe" {
        if let Some(seconds) = int(probe, own_grace) {
            faults.invalid(&path.field(own_grace), seconds, "must not be set for readinessProbes");
        }
    } else {
        let threshold = int(probe, "successThreshold").unwrap_or(0);
        if threshold != 1 {
            faults.invalid(&path.field("successThreshold"), threshold, "must be 1");
        }
    }
}

/// What is done when a container starts and stops.
pub(crate) fn lifecycle(lifecycle: &Value, grace: Option<i64>, os: Option<&str>, path: &Path<'_>, faults: &mut Faults) {
    for name in ["postStart", "preStop"] {
        let value = at(lifecycle, name);
        if !value.is_null() {
            handler(value, &["exec", "httpGet", "tcpSocket", "sleep"], grace, &path.field(name), faults);
        }
    }
    if let Some(signal) = at(lifecycle, "stopSignal").as_str() {
        stop_signal(signal, os, &path.field("stopSignal"), faults);
    }
}

/// Signals of Linux that have names.
const SIGNALS: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

fn stop_signal(signal: &str, os: Option<&str>, path: &Path<'_>, faults: &mut Faults) {
    let windows = &["SIGKILL", "SIGTERM"];
    match os {
        None => faults.forbidden(path, "may not be set for containers with empty `spec.os.name`"),
        Some("windows") if !windows.contains(&signal) => faults.not_supported(path, signal, windows),
        Some("linux") => {
            let mut names: Vec<String> = SIGNALS.iter().map(|name| format!("SIG{name}")).collect();
            names.extend((1..=15).map(|n| format!("SIGRTMIN+{n}")));
            names.extend((1..=14).map(|n| format!("SIGRTMAX-{n}")));
            names.sort_unstable();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if !names.contains(&signal) {
                faults.not_supported(path, signal, &names);
            }
        }
        Some(_) => {}
    }
}

fn handler(value: &Value, kinds: &[&str], grace: Option<i64>, path: &Path<'_>, faults: &mut Faults) {
    let mut given = kinds.iter().copied().filter(|kind| has(value, kind));
    let Some(first) = given.next() else {
        faults.required(path, "must specify a handler type");
        return;
    };
    action(first, at(value, first), grace, &path.field(first), faults);
    for extra in given {
        faults.forbidden(&path.field(extra), "may not specify more than 1 handler type");
    }
}

fn action(kind: &str, value: &Value, grace: Option<i64>, path: &Path<'_>, faults: &mut Faults) {
    match kind {
        "exec" if list(value, "command").is_empty() => faults.required(&path.field("command"), ""),
        "httpGet" => {
            faults.required_text(value, "path", path);
            port(at(value, "port"), &path.field("port"), faults);
            let scheme = text(value, "scheme");
            if !matches!(scheme, "HTTP" | "HTTPS") {
                faults.not_supported(&path.field("scheme"), scheme, &["HTTP", "HTTPS"]);
            }
            for header in list(value, "httpHeaders") {
                faults.named(&path.field("httpHeaders"), text(header, "name"), name::http_header_name);
            }
        }
        "tcpSocket" => port(at(value, "port"), &path.field("port"), faults),
        "grpc" => container::port_number(int(value, "port").unwrap_or(0), &path.field("port"), faults),
        "sleep" => {
            let seconds = int(value, "seconds").unwrap_or(0);
            if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
                let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                faults.invalid(path, seconds, detail);
            }
        }
        _ => {}
    }
}

/// A port by number or by name.
pub(crate) fn port(port: &Value, path: &Path<'_>, faults: &mut Faults) {
    match port {
        Value::String(text) => faults.named(path, text, name::port_name),
        other => container::port_number(other.as_i64().unwrap_or(0), path, faults),
    }
}
