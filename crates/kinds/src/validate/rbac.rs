//! Rules of `rbac.authorization.k8s.io`.

use base::name;
use serde_json::Value;

use super::{Case, Faults, golang, meta};
use crate::json::{at, list, same, text};
use crate::path::Path;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) fn role(case: &Case<'_>, faults: &mut Faults) {
    rules(case, true, faults);
}

pub(crate) fn cluster_role(case: &Case<'_>, faults: &mut Faults) {
    rules(case, false, faults);
    let aggregation = at(case.new, "aggregationRule");
    if aggregation.is_null() {
        return;
    }
    let selectors = |role| list(at(role, "aggregationRule"), "clusterRoleSelectors");
    let root = Path::Root;
    let path = root.field("aggregationRule");
    let path = path.field("clusterRoleSelectors");
    if selectors(case.new).is_empty() {
        faults.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    let lenient = selectors(case.old()).iter().any(meta::has_faulty_values);
    for (index, selector) in selectors(case.new).iter().enumerate() {
        let path = path.index(index);
        meta::selector_of(selector, lenient, &path, faults);
        if meta::is_faulty_selector(selector) {
            // Upstream shows the parsed selector, of which nothing is left.
            faults.invalid(&path, Value::Null, "invalid label selector.");
        }
    }
}

fn rules(case: &Case<'_>, namespaced: bool, faults: &mut Faults) {
    let root = Path::Root;
    let above = root.field("rules");
    for (index, rule) in list(case.new, "rules").iter().enumerate() {
        let path = above.index(index);
        if list(rule, "verbs").is_empty() {
            faults.required(&path.field("verbs"), "verbs must contain at least one value");
        }
        let urls = list(rule, "nonResourceURLs");
        let path_of_urls = path.field("nonResourceURLs");
        if !urls.is_empty() {
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                faults.invalid(&path_of_urls, urls.to_vec(), detail);
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|name| !list(rule, name).is_empty()) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                faults.invalid(&path_of_urls, urls.to_vec(), detail);
            }
            continue;
        }
        if list(rule, "apiGroups").is_empty() {
            faults.required(&path.field("apiGroups"), "resource rules must supply at least one api group");
        }
        if list(rule, "resources").is_empty() {
            faults.required(&path.field("resources"), "resource rules must supply at least one resource");
        }
    }
}

pub(crate) fn role_binding(case: &Case<'_>, faults: &mut Faults) {
    binding(case, &["Role", "ClusterRole"], faults);
}

pub(crate) fn cluster_role_binding(case: &Case<'_>, faults: &mut Faults) {
    binding(case, &["ClusterRole"], faults);
}

fn binding(case: &Case<'_>, kinds: &[&str], faults: &mut Faults) {
    let root = Path::Root;
    let (role, path) = (at(case.new, "roleRef"), root.field("roleRef"));
    if text(role, "apiGroup") != GROUP {
        faults.not_supported(&path.field("apiGroup"), text(role, "apiGroup"), &[GROUP]);
    }
    if !kinds.contains(&text(role, "kind")) {
        faults.not_supported(&path.field("kind"), text(role, "kind"), kinds);
    }
    faults.required_name(&path.field("name"), text(role, "name"), name::path_segment);
    let above = root.field("subjects");
    for (index, value) in list(case.new, "subjects").iter().enumerate() {
        subject(value, case.kind.namespaced, &above.index(index), faults);
    }
    if let Some(old) = case.old
        && !same(role, at(old, "roleRef"))
    {
        faults.shown(&path, &golang::print("RoleRef", role), "cannot change roleRef");
    }
}

fn subject(subject: &Value, namespaced: bool, path: &Path<'_>, faults: &mut Faults) {
    faults.required_text(subject, "name", path);
    let group = text(subject, "apiGroup");
    match text(subject, "kind") {
        "ServiceAccount" => {
            faults.optional_name(&path.field("name"), text(subject, "name"), name::dns_subdomain);
            if !group.is_empty() {
                faults.not_supported(&path.field("apiGroup"), group, &[""]);
            }
            if !namespaced {
                faults.required_text(subject, "namespace", path);
            }
        }
        "User" | "Group" if group != GROUP => faults.not_supported(&path.field("apiGroup"), group, &[GROUP]),
        "User" | "Group" => {}
        kind => faults.not_supported(&path.field("kind"), kind, &["ServiceAccount", "User", "Group"]),
    }
}
