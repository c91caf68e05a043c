//! Rules of roles and their bindings.

use base::name;
use serde_json::Value;

use super::{Faults, meta};
use crate::json::{at, has, list, same, text};
use crate::path::Path;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) fn role(role: &Value, faults: &mut Faults) {
    rules(role, true, faults);
}

pub(crate) fn cluster_role(role: &Value, faults: &mut Faults) {
    rules(role, false, faults);
    let root = Path::Root;
    if has(role, "aggregationRule") {
        let aggregation = root.field("aggregationRule");
        let above = aggregation.field("clusterRoleSelectors");
        let selectors = list(at(role, "aggregationRule"), "clusterRoleSelectors");
        if selectors.is_empty() {
            faults.required(&above, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        for (index, selector) in selectors.iter().enumerate() {
            meta::selector(selector, &above.index(index), faults);
        }
    }
}

fn rules(role: &Value, namespaced: bool, faults: &mut Faults) {
    let root = Path::Root;
    let above = root.field("rules");
    for (index, rule) in list(role, "rules").iter().enumerate() {
        let path = above.index(index);
        let given = |name: &str| !list(rule, name).is_empty();
        if !given("verbs") {
            faults.required(&path.field("verbs"), "verbs must contain at least one value");
        }
        if given("nonResourceURLs") {
            let urls = path.field("nonResourceURLs");
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                faults.invalid(&urls, list(rule, "nonResourceURLs").to_vec(), detail);
            }
            if given("apiGroups") || given("resources") || given("resourceNames") {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                faults.invalid(&urls, list(rule, "nonResourceURLs").to_vec(), detail);
            }
            continue;
        }
        if !given("apiGroups") {
            faults.required(&path.field("apiGroups"), "resource rules must supply at least one api group");
        }
        if !given("resources") {
            faults.required(&path.field("resources"), "resource rules must supply at least one resource");
        }
    }
}

pub(crate) fn role_binding(binding: &Value, faults: &mut Faults) {
    self::binding(binding, &["ClusterRole", "Role"], true, faults);
}

pub(crate) fn cluster_role_binding(binding: &Value, faults: &mut Faults) {
    self::binding(binding, &["ClusterRole"], false, faults);
}

fn binding(binding: &Value, kinds: &[&str], namespaced: bool, faults: &mut Faults) {
    let root = Path::Root;
    let (reference, path) = (at(binding, "roleRef"), root.field("roleRef"));
    let group = text(reference, "apiGroup");
    if group != GROUP {
        faults.not_supported(&path.field("apiGroup"), group, &[GROUP]);
    }
    let kind = text(reference, "kind");
    if !kinds.contains(&kind) {
        faults.not_supported(&path.field("kind"), kind, kinds);
    }
    faults.required_name(&path.field("name"), text(reference, "name"), name::path_segment);
    let above = root.field("subjects");
    for (index, subject) in list(binding, "subjects").iter().enumerate() {
        self::subject(subject, namespaced, &above.index(index), faults);
    }
}

fn subject(subject: &Value, namespaced: bool, path: &Path<'_>, faults: &mut Faults) {
    faults.required_text(subject, "name", path);
    let group = text(subject, "apiGroup");
    let expect = |expected: &str, faults: &mut Faults| {
        if group != expected {
            faults.not_supported(&path.field("apiGroup"), group, &[expected]);
        }
    };
    match text(subject, "kind") {
        "ServiceAccount" => {
            let name = text(subject, "name");
            if !name.is_empty() {
                faults.named(&path.field("name"), name, name::dns_subdomain);
            }
            expect("", faults);
            if !namespaced && text(subject, "namespace").is_empty() {
                faults.required(&path.field("namespace"), "");
            }
        }
        "User" | "Group" => expect(GROUP, faults),
        other => faults.not_supported(&path.field("kind"), other, &["Group", "ServiceAccount", "User"]),
    }
}

pub(crate) fn binding_change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (reference, before) = (at(new, "roleRef"), at(old, "roleRef"));
    if !same(reference, before) {
        faults.invalid(&root.field("roleRef"), reference.clone(), "cannot change roleRef");
    }
}
