//! Rules of `policy`.

use super::{Case, Faults, apps, condition, golang, meta};
use crate::json::{at, has};
use crate::path::Path;

pub(crate) fn disruption_budget(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
        let shown = golang::print("PodDisruptionBudgetSpec", spec);
        faults.shown(&path, &shown, "minAvailable and maxUnavailable cannot be both set");
    }
    for name in ["minAvailable", "maxUnavailable"] {
        if has(spec, name) {
            apps::amount(spec, name, &path, faults);
            apps::at_most_all(spec, name, &path, faults);
        }
    }
    let selector = "selector";
    let lenient = meta::has_faulty_values(at(at(case.old(), "spec"), selector));
    meta::selector_of(at(spec, selector), lenient, &path.field(selector), faults);
    faults.any_of(spec, "unhealthyPodEvictionPolicy", &path, &["AlwaysAllow", "IfHealthyBudget"]);
}

pub(crate) fn status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (status, path) = (at(case.new, "status"), root.field("status"));
    condition::list_of(status, &path, faults);
    for name in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        faults.not_negative(status, name, &path);
    }
}
