//! One RBAC policy rule: which requests it allows, and which other rules it covers.
//!
//! Matching follows upstream's evaluation to the letter (component-helpers `auth/rbac/validation`), wildcards included:
//! `*/scale` means that subresource of every resource, `pods` never means `pods/log`, and a rule with resource names
//! cannot allow a request without a name.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::{Value, json};

use crate::attributes::Attributes;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) urls: Vec<String>,
}

impl Rule {
    /// Reads a `PolicyRule`; what is not a list of strings is read as empty, since validation refused it earlier.
    pub(crate) fn from_json(value: &Value) -> Self {
        let list = |field: &str| -> Vec<String> {
            let items = value[field].as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            urls: list("nonResourceURLs"),
        }
    }

    pub(crate) fn list_from_json(rules: &Value) -> Vec<Arc<Self>> {
        let rules = rules.as_array().map(Vec::as_slice).unwrap_or_default();
        rules.iter().map(|rule| Arc::new(Self::from_json(rule))).collect()
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut value = json!({ "verbs": self.verbs });
        let lists = [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ];
        for (field, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            value[field] = json!(list);
        }
        value
    }

    /// What a member of system:masters holds.
    pub(crate) fn everything() -> [Arc<Self>; 2] {
        let all = || vec!["*".to_owned()];
        [
            Arc::new(Self { verbs: all(), groups: all(), resources: all(), ..Self::default() }),
            Arc::new(Self { verbs: all(), urls: all(), ..Self::default() }),
        ]
    }

    pub(crate) fn allows(&self, ask: &Attributes) -> bool {
        if !has_or_star(&self.verbs, &ask.verb) {
            return false;
        }
        if ask.is_resource {
            has_or_star(&self.groups, &ask.group)
                && self.resources.iter().any(|held| resource_matches(held, &ask.resource, &ask.subresource))
                && (self.names.is_empty() || self.names.contains(&ask.name))
        } else {
            self.urls.iter().any(|held| url_covers(held, &ask.path))
        }
    }

    /// True if this one rule allows all that `other` (one verb, one resource or path, at most one name) allows.
    fn covers_atom(&self, other: &Self) -> bool {
        let verbs = other.verbs.iter().all(|verb| has_or_star(&self.verbs, verb));
        let groups = other.groups.iter().all(|group| has_or_star(&self.groups, group));
        let resources = other.resources.iter().all(|resource| {
            let any = resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
            has_or_star(&self.resources, resource) || any.is_some_and(|any| self.resources.contains(&any))
        });
        let urls = other.urls.iter().all(|url| self.urls.iter().any(|held| url_covers(held, url)));
        let names = self.names.is_empty()
            || (!other.names.is_empty() && other.names.iter().all(|name| self.names.contains(name)));
        verbs && groups && resources && urls && names
    }

    /// The smallest rules that together say the same.
    fn atoms(&self) -> Vec<Self> {
        let one = |text: &String| vec![text.clone()];
        let mut atoms = Vec::new();
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let (verbs, groups, resources) = (one(verb), one(group), one(resource));
                    let atom = Self { verbs, groups, resources, ..Self::default() };
                    if self.names.is_empty() {
                        atoms.push(atom);
                    } else {
                        atoms.extend(self.names.iter().map(|name| Self { names: one(name), ..atom.clone() }));
                    }
                }
            }
        }
        for url in &self.urls {
            atoms.extend(self.verbs.iter().map(|verb| Self { verbs: one(verb), urls: one(url), ..Self::default() }));
        }
        atoms
    }
}

/// What of `wanted` is not covered by `held`, in its smallest pieces, joined again where they differ in the verb only.
pub(crate) fn missing(held: &[Arc<Rule>], wanted: &[Arc<Rule>]) -> Vec<Rule> {
    let mut paths = Vec::new();
    let mut compact: BTreeMap<[Vec<String>; 3], Rule> = BTreeMap::new();
    for atom in wanted.iter().flat_map(|rule| rule.atoms()) {
        if held.iter().any(|rule| rule.covers_atom(&atom)) {
            continue;
        }
        if !atom.urls.is_empty() {
            paths.push(atom);
            continue;
        }
        let place = [atom.groups.clone(), atom.resources.clone(), atom.names.clone()];
        match compact.get_mut(&place) {
            Some(rule) => rule.verbs.extend(atom.verbs),
            None => drop(compact.insert(place, atom)),
        }
    }
    paths.extend(compact.into_values());
    paths
}

/// Upstream's compact notation: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<String> = lists
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(label, list)| {
                let quoted: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
                format!("{label}:[{}]", quoted.join(" "))
            })
            .collect();
        write!(f, "{{{}}}", parts.join(", "))
    }
}

fn has_or_star(list: &[String], wanted: &str) -> bool {
    list.iter().any(|held| held == "*" || held == wanted)
}

fn resource_matches(held: &str, resource: &str, subresource: &str) -> bool {
    if held == "*" {
        return true;
    }
    match held.split_once('/') {
        None => subresource.is_empty() && held == resource,
        Some((left, right)) => !subresource.is_empty() && right == subresource && (left == "*" || left == resource),
    }
}

fn url_covers(held: &str, path: &str) -> bool {
    held == path || held.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::User;

    fn rule(text: &str) -> Arc<Rule> {
        let mut words = text.split(' ');
        let mut list = || -> Vec<String> {
            words
                .next()
                .unwrap_or_default()
                .split(',')
                .filter(|w| !w.is_empty())
                .map(|w| w.replace("core", ""))
                .collect()
        };
        let (verbs, groups) = (list(), list());
        if groups == ["url"] {
            return Arc::new(Rule { verbs, urls: list(), ..Rule::default() });
        }
        Arc::new(Rule { verbs, groups, resources: list(), names: list(), urls: Vec::new() })
    }

    fn ask(verb: &str, group: &str, resource: &str, name: &str) -> Attributes {
        Attributes::resource(&User::anonymous(), verb, group, resource, "ns", name)
    }

    #[test]
    fn a_rule_allows_what_it_names_and_nothing_else() {
        let table = [
            ("get core pods", ask("get", "", "pods", "a"), true),
            ("get core pods", ask("list", "", "pods", ""), false),
            ("get core pods", ask("get", "apps", "pods", "a"), false),
            ("get core pods", ask("get", "", "pods/log", "a"), false),
            ("get core pods/log", ask("get", "", "pods/log", "a"), true),
            ("get core pods/log", ask("get", "", "pods", "a"), false),
            ("get * */scale", ask("get", "apps", "deployments/scale", "a"), true),
            ("get * */scale", ask("get", "apps", "deployments", "a"), false),
            ("get * pods/*", ask("get", "", "pods/log", "a"), false),
            ("* * *", ask("delete", "x", "y/z", ""), true),
            ("get core secrets a,b", ask("get", "", "secrets", "b"), true),
            ("get core secrets a,b", ask("get", "", "secrets", "c"), false),
            ("list core secrets a", ask("list", "", "secrets", ""), false),
        ];
        for (text, ask, allowed) in table {
            assert_eq!(rule(text).allows(&ask), allowed, "{text} for {ask:?}");
        }
    }

    #[test]
    fn a_path_rule_allows_its_path_or_its_prefix() {
        let path = |path: &str| {
            let mut ask = ask("get", "", "", "");
            (ask.is_resource, ask.path) = (false, path.to_owned());
            ask
        };
        assert!(rule("get url /healthz").allows(&path("/healthz")));
        assert!(!rule("get url /healthz").allows(&path("/healthz/etcd")));
        assert!(rule("get url /apis/*").allows(&path("/apis/apps/v1")));
        assert!(rule("get url *").allows(&path("/metrics")));
        assert!(!rule("get * *").allows(&path("/metrics")));
    }

    #[test]
    fn what_is_missing_is_told_per_resource_with_all_its_verbs() {
        let held = [rule("get,list core pods"), rule("get * */scale"), rule("get url /a/*")];
        let told = |wanted: &str| missing(&held, &[rule(wanted)]).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(told("get core pods").is_empty());
        assert!(told("get core pods named").is_empty());
        assert!(told("get apps deployments/scale").is_empty());
        assert!(told("get url /a/b").is_empty());
        assert_eq!(
            told("get,watch,delete core pods"),
            [r#"{APIGroups:[""], Resources:["pods"], Verbs:["watch" "delete"]}"#]
        );
        assert_eq!(told("get url /b"), [r#"{NonResourceURLs:["/b"], Verbs:["get"]}"#]);
    }

    #[test]
    fn a_rule_on_names_does_not_cover_all_names() {
        let held = [rule("get core secrets a")];
        assert!(missing(&held, &[rule("get core secrets a")]).is_empty());
        assert_eq!(missing(&held, &[rule("get core secrets")]).len(), 1);
    }
}
