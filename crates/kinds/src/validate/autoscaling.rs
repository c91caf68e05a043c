//! Rules of horizontal pod autoscalers.

use serde_json::Value;

use super::Faults;
use crate::json::{at, has, int, list, text};
use crate::path::Path;

const SOURCES: &[(&str, &str)] = &[
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

pub(crate) fn autoscaler(autoscaler: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(autoscaler, "spec"), root.field("spec"));
    let (least, most) = (int(spec, "minReplicas"), int(spec, "maxReplicas").unwrap_or(0));
    if let Some(least) = least.filter(|least| *least < 1) {
        faults.invalid(&path.field("minReplicas"), least, "must be greater than or equal to 1");
    }
    if most < 1 {
        faults.invalid(&path.field("maxReplicas"), most, "must be greater than 0");
    }
    if least.is_some_and(|least| most < least) {
        faults.invalid(&path.field("maxReplicas"), most, "must be greater than or equal to `minReplicas`");
    }
    let target = path.field("scaleTargetRef");
    faults.required_text(at(spec, "scaleTargetRef"), "kind", &target);
    faults.required_text(at(spec, "scaleTargetRef"), "name", &target);
    let above = path.field("metrics");
    for (index, metric) in list(spec, "metrics").iter().enumerate() {
        let path = above.index(index);
        let kind = text(metric, "type");
        let Some((_, field)) = SOURCES.iter().find(|(name, _)| *name == kind) else {
            let known: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
            if kind.is_empty() {
                faults.required(&path.field("type"), "must specify a metric source type");
            } else {
                faults.not_supported(&path.field("type"), kind, &known);
            }
            continue;
        };
        if !has(metric, field) {
            faults.required(&path.field(field), "must populate information for the given metric source");
        }
    }
}
