//! Rules of probes and lifecycle handlers.

use base::name;
use serde_json::Value;

use super::{Faults, container};
use crate::json::{at, has, int, list, text};
use crate::path::Path;

pub(crate) fn check(name: &str, probe: &Value, path: &Path<'_>, faults: &mut Faults) {
    if probe.is_null() {
        return;
    }
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], path, faults);
    for name in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        faults.not_negative(probe, name, path);
    }
    let grace = "terminationGracePeriodSeconds";
    if let Some(seconds) = int(probe, grace).filter(|seconds| *seconds <= 0) {
        faults.invalid(&path.field(grace), seconds, "must be greater than 0");
    }
    if name == "readinessProbe" {
        if has(probe, grace) {
            faults.invalid(&path.field(grace), at(probe, grace).clone(), "must not be set for readinessProbes");
        }
    } else if let Some(threshold) = int(probe, "successThreshold").filter(|threshold| *threshold != 1) {
        faults.invalid(&path.field("successThreshold"), threshold, "must be 1");
    }
}

pub(crate) fn lifecycle(lifecycle: &Value, path: &Path<'_>, faults: &mut Faults) {
    for name in ["postStart", "preStop"] {
        let value = at(lifecycle, name);
        if !value.is_null() {
            handler(value, &["exec", "httpGet", "tcpSocket", "sleep"], &path.field(name), faults);
        }
    }
}

fn handler(value: &Value, kinds: &[&str], path: &Path<'_>, faults: &mut Faults) {
    let mut given = kinds.iter().copied().filter(|kind| has(value, kind));
    let Some(first) = given.next() else {
        faults.required(path, "must specify a handler type");
        return;
    };
    action(first, at(value, first), &path.field(first), faults);
    for extra in given {
        faults.forbidden(&path.field(extra), "may not specify more than 1 handler type");
    }
}

fn action(kind: &str, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    match kind {
        "exec" if list(value, "command").is_empty() => faults.required(&path.field("command"), ""),
        "httpGet" => {
            faults.required_text(value, "path", path);
            port(at(value, "port"), &path.field("port"), faults);
            faults.one_of(value, "scheme", path, &["HTTP", "HTTPS"]);
            for (index, header) in list(value, "httpHeaders").iter().enumerate() {
                let headers = path.field("httpHeaders");
                let path = headers.index(index);
                faults.named(&path.field("name"), text(header, "name"), name::http_header_name);
            }
        }
        "tcpSocket" => port(at(value, "port"), &path.field("port"), faults),
        "grpc" => container::port_number(int(value, "port").unwrap_or(0), &path.field("port"), faults),
        "sleep" => {
            if let Some(seconds) = int(value, "seconds").filter(|seconds| *seconds < 0) {
                faults.invalid(&path.field("seconds"), seconds, "must be greater than or equal to 0");
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
