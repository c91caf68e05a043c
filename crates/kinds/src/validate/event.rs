//! Rules of events, which are stored in the form of the core group whatever version they come in.
//!
//! Invariant: the fields of both forms are looked up by either name; upstream's paths are those of the core form.

use base::name;
use serde_json::Value;

use super::{Case, Faults, IMMUTABLE};
use crate::json::{at, has, int, same, text};
use crate::path::Path;

/// Name in core/v1 and in events.k8s.io/v1, for members whose names differ.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The member under the name it has in this form of the event.
fn member<'v>(case: &Case<'_>, event: &'v Value, core: &str) -> &'v Value {
    let other = NAMES.iter().find(|(name, _)| *name == core).map_or(core, |(_, events)| events);
    at(event, if case.kind.group.is_empty() { core } else { other })
}

pub(crate) fn check(case: &Case<'_>, faults: &mut Faults) {
    old_rules(case, faults);
    if case.kind.group.is_empty() {
        return;
    }
    match case.old {
        None => new_event(case, faults),
        Some(old) => new_change(case, old, faults),
    }
}

const LONGEST: usize = 128;
const LONGEST_NOTE: usize = 1024;

fn old_rules(case: &Case<'_>, faults: &mut Faults) {
    let (root, event) = (Path::Root, case.new);
    let about = text(member(case, event, "involvedObject"), "namespace");
    let own = text(at(event, "metadata"), "namespace");
    let involved = root.field("involvedObject");
    let timed = has(event, "eventTime");
    // Events about objects without a namespace live in the default namespace.
    let fits = match (about.is_empty(), timed) {
        (true, false) => matches!(own, "" | "default"),
        (true, true) => matches!(own, "default" | "kube-system"),
        (false, false) => about == own,
        (false, true) => true,
    };
    if !fits {
        faults.invalid(&involved.field("namespace"), about, "does not match event.namespace");
    }
    if timed {
        let controller = if case.kind.group.is_empty() { "reportingComponent" } else { "reportingController" };
        let reporter = text(event, controller);
        if reporter.is_empty() {
            faults.required(&root.field(controller), "");
        }
        faults.named(&root.field(controller), reporter, name::qualified_name);
        for name in ["reportingInstance", "action", "reason"] {
            let value = text(event, name);
            if value.is_empty() {
                faults.required(&root.field(name), "");
            }
            if value.len() > LONGEST {
                faults.invalid(&root.field(name), "", format!("can have at most {LONGEST} characters"));
            }
        }
        if member(case, event, "message").as_str().unwrap_or("").len() > LONGEST_NOTE {
            faults.invalid(&root.field("message"), "", format!("can have at most {LONGEST_NOTE} characters"));
        }
    }
    faults.named(&root.field("namespace"), own, name::dns_subdomain);
}

fn new_event(case: &Case<'_>, faults: &mut Faults) {
    let (root, event) = (Path::Root, case.new);
    super::meta::object(case, faults);
    series(event, faults);
    if !has(event, "eventTime") {
        faults.required(&root.field("eventTime"), "");
    }
    let kind = text(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        faults.invalid(&root.field("type"), "", format!("has invalid value: {kind}"));
    }
    for name in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        let value = member(case, event, name);
        let set = match name {
            "count" => value.as_i64().unwrap_or(0) != 0,
            "source" => !text(value, "component").is_empty() || !text(value, "host").is_empty(),
            _ => !value.is_null(),
        };
        if set {
            faults.invalid(&root.field(name), "", "needs to be unset");
        }
    }
}

fn series(event: &Value, faults: &mut Faults) {
    let series = at(event, "series");
    if series.is_null() {
        return;
    }
    let root = Path::Root;
    let path = root.field("series");
    if int(series, "count").unwrap_or(0) < 2 {
        faults.invalid(&path.field("count"), "", "should be at least 2");
    }
    if !has(series, "lastObservedTime") {
        faults.required(&path.field("lastObservedTime"), "");
    }
}

/// Only the series of an event may change.
fn new_change(case: &Case<'_>, old: &Value, faults: &mut Faults) {
    let (root, new) = (Path::Root, case.new);
    if !same(at(new, "series"), at(old, "series")) {
        series(new, faults);
    }
    for name in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ] {
        let (now, before) = (member(case, new, name), member(case, old, name));
        if same(now, before) {
            continue;
        }
        let shown = if name == "reportingComponent" { "reportingController" } else { name };
        let path = root.field(shown);
        match (name, now) {
            ("involvedObject" | "related", Value::Object(_)) => faults.shown(&path, &reference(now), IMMUTABLE),
            ("source", _) => {
                let shown =
                    super::go(&[("Component", text(now, "component").into()), ("Host", text(now, "host").into())]);
                faults.shown(&path, &shown, IMMUTABLE);
            }
            ("reason" | "message" | "type" | "action" | "reportingComponent" | "reportingInstance", now) => {
                faults.invalid(&path, now.as_str().unwrap_or(""), IMMUTABLE);
            }
            ("count", now) => faults.invalid(&path, now.as_i64().unwrap_or(0), IMMUTABLE),
            (_, now) => faults.invalid(&path, now.clone(), IMMUTABLE),
        }
    }
}

fn reference(value: &Value) -> String {
    let member = |name: &str| Value::from(text(value, name));
    super::go(&[
        ("Kind", member("kind")),
        ("Namespace", member("namespace")),
        ("Name", member("name")),
        ("UID", member("uid")),
        ("APIVersion", member("apiVersion")),
        ("ResourceVersion", member("resourceVersion")),
        ("FieldPath", member("fieldPath")),
    ])
}
