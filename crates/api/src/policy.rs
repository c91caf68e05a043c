//! The RBAC objects every cluster starts with, and how an existing cluster is brought up to them.
//!
//! One table ([`bootstrap.table`](policy/bootstrap.table)) holds upstream's roles and bindings; this module reads it.
//! Reconciling only ever adds (rules, subjects, labels): what a user added stays, and an object whose annotation
//! `rbac.authorization.kubernetes.io/autoupdate` is `false` is left alone. A text table and not code, because it is data
//! that is compared line by line with upstream's at each new version.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::authz::rule::{self, Rule};

const TABLE: &str = include_str!("policy/bootstrap.table");
const GROUP: &str = "rbac.authorization.k8s.io";
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} of the bootstrap policy is not understood: {text}")]
pub(crate) struct ParseError {
    line: usize,
    text: String,
}

/// All bootstrap roles and bindings as objects, aggregated roles already holding their rules.
pub(crate) fn objects() -> Vec<Value> {
    let mut objects = parse(TABLE).expect("invariant: the bootstrap table is tested to parse");
    // A role may collect from a role that itself collects (view -> edit -> admin): repeat until nothing moves.
    loop {
        let changes = aggregate(&objects);
        if changes.is_empty() {
            return objects;
        }
        for (index, rules) in changes {
            objects[index]["rules"] = rules;
        }
    }
}

fn parse(table: &str) -> Result<Vec<Value>, ParseError> {
    let mut objects: Vec<Value> = Vec::new();
    let mut bindings: Vec<Value> = Vec::new();
    for (number, line) in table.lines().enumerate() {
        let fault = || ParseError { line: number + 1, text: line.to_owned() };
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((head, rest)) = words.split_first() else { continue };
        if head.starts_with('#') {
            continue;
        }
        if line.starts_with(' ') {
            let rules = objects.last_mut().and_then(|role| role["rules"].as_array_mut()).ok_or_else(fault)?;
            rules.push(parse_rule(&words).ok_or_else(fault)?.to_json());
            continue;
        }
        match (*head, rest) {
            ("role", [name, links @ ..]) => objects.push(cluster_role(name, links).ok_or_else(fault)?),
            ("local", [namespace, name]) => objects.push(object("Role", namespace, name)),
            ("controller", [name]) => {
                let role = format!("system:controller:{name}");
                objects.push(object("ClusterRole", "", &role));
                bindings.push(binding("", &role, &role, &[&format!("account:kube-system/{name}")]).ok_or_else(fault)?);
            }
            ("bind", [role, subjects @ ..]) => bindings.push(binding("", role, role, subjects).ok_or_else(fault)?),
            ("bind-local", [namespace, name, role, subjects @ ..]) => {
                bindings.push(binding(namespace, name, role, subjects).ok_or_else(fault)?);
            }
            _ => return Err(fault()),
        }
    }
    objects.append(&mut bindings);
    Ok(objects)
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind,
        "metadata": {
            "name": name,
            "annotations": { AUTOUPDATE: "true" },
            "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
        },
    });
    if kind.ends_with("Role") {
        object["rules"] = json!([]);
    }
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

fn cluster_role(name: &str, links: &[&str]) -> Option<Value> {
    let mut role = object("ClusterRole", "", name);
    for link in links.chunks(2) {
        match link {
            ["->", into] => role["metadata"]["labels"][format!("{AGGREGATE}{into}")] = json!("true"),
            ["<-", from] => {
                let label = format!("{AGGREGATE}{from}");
                role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
            }
            _ => return None,
        }
    }
    Some(role)
}

fn parse_rule(words: &[&str]) -> Option<Rule> {
    let (verbs, rest) = words.split_first()?;
    let verbs = match *verbs {
        "READ" => "get,list,watch",
        "WRITE" => "create,delete,deletecollection,patch,update",
        "ALL" => "create,delete,deletecollection,get,list,patch,update,watch",
        listed => listed,
    };
    let list = |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
    let verbs = list(&verbs.split(',').collect::<Vec<_>>());
    let (groups, rest) = rest.split_first()?;
    if rest.is_empty() {
        return None;
    }
    if *groups == "url" {
        return Some(Rule { verbs, urls: list(rest), ..Rule::default() });
    }
    let groups =
        groups.split(',').map(|group| if group == "core" { String::new() } else { group.to_owned() }).collect();
    let split = rest.iter().position(|word| *word == "only");
    let (resources, names) = split.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + 1..]));
    Some(Rule { verbs, groups, resources: list(resources), names: list(names), urls: Vec::new() })
}

fn binding(namespace: &str, name: &str, role: &str, subjects: &[&str]) -> Option<Value> {
    let (kind, role_kind) =
        if namespace.is_empty() { ("ClusterRoleBinding", "ClusterRole") } else { ("RoleBinding", "Role") };
    let mut binding = object(kind, namespace, name);
    binding["roleRef"] = json!({"apiGroup": GROUP, "kind": role_kind, "name": role});
    let subjects = subjects.iter().map(|subject| {
        let (sort, name) = subject.split_once(':')?;
        match sort {
            "user" => Some(json!({"apiGroup": GROUP, "kind": "User", "name": name})),
            "group" => Some(json!({"apiGroup": GROUP, "kind": "Group", "name": name})),
            "account" => {
                let (home, name) = name.split_once('/')?;
                Some(json!({"kind": "ServiceAccount", "name": name, "namespace": home}))
            }
            _ => None,
        }
    });
    let subjects: Vec<Value> = subjects.collect::<Option<_>>()?;
    if !subjects.is_empty() {
        binding["subjects"] = json!(subjects);
    }
    Some(binding)
}

/// The aggregated roles (by index into `roles`) whose rules are not the union of what they collect, with that union.
pub(crate) fn aggregate(roles: &[Value]) -> Vec<(usize, Value)> {
    let mut sorted: Vec<&Value> = roles.iter().filter(|role| role["kind"] == "ClusterRole").collect();
    sorted.sort_by_key(|role| role["metadata"]["name"].as_str());
    let mut changes = Vec::new();
    for (index, role) in roles.iter().enumerate() {
        let Some(selectors) = role["aggregationRule"]["clusterRoleSelectors"].as_array() else { continue };
        let mut rules: Vec<Value> = Vec::new();
        for selector in selectors {
            let Ok(selector) = base::selector::LabelSelector::from_json(selector) else { continue };
            let parts = sorted.iter().filter(|part| {
                part["metadata"]["name"] != role["metadata"]["name"]
                    && selector.matches(|label| part["metadata"]["labels"][label].as_str())
            });
            for rule in parts.flat_map(|part| part["rules"].as_array().into_iter().flatten()) {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
        let held = role["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        if held != rules {
            changes.push((index, Value::Array(rules)));
        }
    }
    changes
}

/// What `existing` must become to hold all of `wanted`; none if it does, or if it asks to be left alone.
pub(crate) fn reconcile(existing: &Value, wanted: &Value) -> Option<Value> {
    if existing["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return None;
    }
    let mut merged = existing.clone();
    for field in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][field].as_object().into_iter().flatten() {
            if merged["metadata"][field].get(key).is_none() {
                merged["metadata"][field][key] = value.clone();
            }
        }
    }
    if wanted.get("aggregationRule").is_some() {
        if merged.get("aggregationRule").is_none() {
            merged["aggregationRule"] = wanted["aggregationRule"].clone();
        }
    } else {
        let held: Vec<Arc<Rule>> = Rule::list_from_json(&existing["rules"]);
        let missing = rule::missing(&held, &Rule::list_from_json(&wanted["rules"]));
        append(&mut merged, "rules", missing.iter().map(Rule::to_json).collect());
    }
    let subjects = wanted["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has = |subject: &Value| existing["subjects"].as_array().is_some_and(|held| held.contains(subject));
    append(&mut merged, "subjects", subjects.iter().filter(|subject| !has(subject)).cloned().collect());
    (merged != *existing).then_some(merged)
}

fn append(object: &mut Value, field: &str, mut items: Vec<Value>) {
    if items.is_empty() {
        return;
    }
    match object[field].as_array_mut() {
        Some(list) => list.append(&mut items),
        None => object[field] = Value::Array(items),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        attributes::Attributes,
        authz::rbac::{Part, Policy},
        identity::User,
    };

    fn find(kind: &str, name: &str) -> Value {
        let objects = objects();
        let found = objects.into_iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    #[test]
    fn the_table_holds_upstreams_roles_and_every_binding_names_one_of_them() {
        let objects = objects();
        let of = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).count();
        assert_eq!((of("ClusterRole"), of("ClusterRoleBinding"), of("Role"), of("RoleBinding")), (69, 50, 7, 7));
        let names: HashSet<(&str, &str)> = objects
            .iter()
            .map(|object| (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap()))
            .collect();
        for binding in objects.iter().filter(|object| object.get("roleRef").is_some()) {
            let role = &binding["roleRef"];
            let wanted = (role["kind"].as_str().unwrap(), role["name"].as_str().unwrap());
            assert!(names.contains(&wanted), "{wanted:?} is bound but not there");
        }
    }

    #[test]
    fn admin_collects_what_edit_collects_and_edit_what_view_collects() {
        let rules = |name: &str| find("ClusterRole", name)["rules"].as_array().unwrap().clone();
        let (view, edit, admin) = (rules("view"), rules("edit"), rules("admin"));
        assert!(view.len() > 5 && edit.len() > view.len() && admin.len() > edit.len());
        assert!(view.iter().all(|rule| edit.contains(rule)) && edit.iter().all(|rule| admin.contains(rule)));
        assert!(aggregate(&objects()).is_empty(), "aggregating again changes nothing");
    }

    #[test]
    fn rules_are_written_as_upstream_writes_them() {
        let role = find("Role", "extension-apiserver-authentication-reader");
        assert_eq!(
            role["rules"],
            json!([{
                "verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"],
                "resourceNames": ["extension-apiserver-authentication"],
            }])
        );
        let role = find("ClusterRole", "system:public-info-viewer");
        let urls = json!(["/healthz", "/livez", "/readyz", "/version", "/version/"]);
        assert_eq!(role["rules"], json!([{"verbs": ["get"], "nonResourceURLs": urls}]));
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let fault = parse("role a\n  get core pods\nrole b ->\n").unwrap_err();
        assert_eq!(fault, ParseError { line: 3, text: "role b ->".to_owned() });
        assert!(parse("  get core pods").is_err() && parse("role a\n  get core").is_err());
    }

    #[test]
    fn reconciling_adds_what_is_missing_and_keeps_what_users_added() {
        let wanted = find("ClusterRole", "system:kube-dns");
        assert_eq!(reconcile(&wanted, &wanted), None);
        let mut existing = wanted.clone();
        let extra = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]});
        existing["rules"] = json!([extra, {"verbs": ["list"], "apiGroups": [""], "resources": ["services"]}]);
        let merged = reconcile(&existing, &wanted).unwrap();
        assert_eq!(merged["rules"][0], extra);
        let held = Rule::list_from_json(&merged["rules"]);
        assert!(rule::missing(&held, &Rule::list_from_json(&wanted["rules"])).is_empty());
        assert_eq!(reconcile(&merged, &wanted), None);
        existing["metadata"]["annotations"][AUTOUPDATE] = json!("false");
        assert_eq!(reconcile(&existing, &wanted), None);
    }

    #[test]
    fn a_removed_subject_of_a_bootstrap_binding_comes_back() {
        let wanted = find("ClusterRoleBinding", "system:basic-user");
        let mut existing = wanted.clone();
        existing["subjects"] = json!([{"apiGroup": GROUP, "kind": "User", "name": "ann"}]);
        let merged = reconcile(&existing, &wanted).unwrap();
        assert_eq!(merged["subjects"].as_array().unwrap().len(), 2);
    }

    const POLICIES: &str = "validatingadmissionpolicy-status-controller";

    fn compiled() -> Policy {
        let mut policy = Policy::default();
        for object in objects() {
            let text = |pointer: &str| crate::core::text(&object, pointer);
            let part = if object.get("roleRef").is_some() { Part::Binding } else { Part::Role };
            policy.put(part, text("/metadata/namespace"), text("/metadata/name"), &object);
        }
        policy
    }

    #[test]
    fn our_own_components_may_do_their_work_and_no_more() {
        let policy = compiled();
        let controller = |name: &str| User::service_account("kube-system", name);
        let manager = User::component("system:kube-controller-manager", &[]);
        let scheduler = User::component("system:kube-scheduler", &[]);
        let proxy = User::component("system:kube-proxy", &[]);
        let table = [
            (true, &manager, "watch", "", "secrets"),
            (true, &manager, "list", "example.com", "things"),
            (false, &manager, "delete", "", "pods"),
            (true, &scheduler, "create", "", "pods/binding"),
            (true, &scheduler, "patch", "", "pods/status"),
            (false, &scheduler, "create", "", "pods"),
            (true, &proxy, "watch", "discovery.k8s.io", "endpointslices"),
            (true, &proxy, "watch", "", "services"),
            (false, &proxy, "get", "", "secrets"),
            (true, &controller("deployment-controller"), "create", "apps", "replicasets"),
            (true, &controller("deployment-controller"), "update", "apps", "deployments/status"),
            (false, &controller("deployment-controller"), "create", "", "pods"),
            (true, &controller("replicaset-controller"), "create", "", "pods"),
            (true, &controller("replicaset-controller"), "delete", "", "pods"),
            (true, &controller("endpoint-controller"), "update", "", "endpoints"),
            (true, &controller("endpointslice-controller"), "create", "discovery.k8s.io", "endpointslices"),
            (true, &controller("generic-garbage-collector"), "delete", "apps", "replicasets"),
            (true, &controller("namespace-controller"), "update", "", "namespaces/finalize"),
            (true, &controller("namespace-controller"), "delete", "example.com", "things"),
            (true, &controller("node-controller"), "patch", "", "nodes"),
            (true, &controller("node-controller"), "patch", "", "pods/status"),
            (true, &controller("pod-garbage-collector"), "delete", "", "pods"),
            (true, &controller("root-ca-cert-publisher"), "create", "", "configmaps"),
            (true, &controller("service-account-controller"), "create", "", "serviceaccounts"),
            (false, &controller("service-account-controller"), "create", "", "secrets"),
            (true, &manager, "update", "", "secrets"),
            (true, &manager, "delete", "", "secrets"),
            (true, &manager, "get", "", "serviceaccounts"),
            (true, &manager, "update", "", "serviceaccounts"),
            (true, &controller("legacy-service-account-token-cleaner"), "patch", "", "secrets"),
            (true, &controller("legacy-service-account-token-cleaner"), "delete", "", "secrets"),
            (false, &controller("legacy-service-account-token-cleaner"), "get", "", "secrets"),
            (true, &controller("attachdetach-controller"), "create", "storage.k8s.io", "volumeattachments"),
            (true, &controller("attachdetach-controller"), "delete", "storage.k8s.io", "volumeattachments"),
            (true, &controller("attachdetach-controller"), "patch", "", "nodes/status"),
            (true, &controller("attachdetach-controller"), "get", "", "nodes"),
            (false, &controller("attachdetach-controller"), "patch", "", "nodes"),
            (true, &controller("ttl-controller"), "patch", "", "nodes"),
            (false, &controller("ttl-controller"), "patch", "", "nodes/status"),
            (
                true,
                &controller(POLICIES),
                "patch",
                "admissionregistration.k8s.io",
                "validatingadmissionpolicies/status",
            ),
            (false, &controller(POLICIES), "patch", "admissionregistration.k8s.io", "validatingadmissionpolicies"),
            (false, &controller("bootstrap-signer"), "update", "", "configmaps"),
            (false, &controller("token-cleaner"), "delete", "", "secrets"),
        ];
        for (allowed, user, verb, group, resource) in table {
            let ask = Attributes::resource(user, verb, group, resource, "ns", "x");
            assert_eq!(policy.allows(&ask), allowed, "{} {verb} {resource}", user.name);
        }
        let (signer, cleaner) = (controller("bootstrap-signer"), controller("token-cleaner"));
        let local = [
            (true, &signer, "update", "configmaps", "kube-public", "cluster-info"),
            (false, &signer, "update", "configmaps", "kube-public", "other"),
            (false, &signer, "update", "configmaps", "kube-system", "cluster-info"),
            (true, &cleaner, "delete", "secrets", "kube-system", "bootstrap-token-abcdef"),
        ];
        for (allowed, user, verb, resource, namespace, name) in local {
            let ask = Attributes::resource(user, verb, "", resource, namespace, name);
            assert_eq!(policy.allows(&ask), allowed, "{} {verb} {resource} in {namespace}", user.name);
        }
    }

    #[test]
    fn strangers_see_health_and_version_and_nothing_else() {
        let policy = compiled();
        let path = |user: &User, path: &str| {
            let mut ask = Attributes::resource(user, "get", "", "", "", "");
            (ask.is_resource, ask.path) = (false, path.to_owned());
            policy.allows(&ask)
        };
        let (stranger, known) = (User::anonymous(), User::component("ann", &[]));
        for open in ["/healthz", "/livez", "/readyz", "/version"] {
            assert!(path(&stranger, open) && path(&known, open), "{open}");
        }
        for discovery in ["/api", "/apis", "/apis/apps/v1", "/openapi/v3"] {
            assert!(!path(&stranger, discovery) && path(&known, discovery), "{discovery}");
        }
        for closed in ["/metrics", "/livez/ping", "/openid/v1/jwks"] {
            assert!(!path(&stranger, closed) && !path(&known, closed), "{closed}");
        }
        assert!(path(&User::service_account("ns", "a"), "/openid/v1/jwks"));
        let pods = Attributes::resource(&known, "list", "", "pods", "ns", "");
        assert!(!policy.allows(&pods));
    }
}
