//! Roles and bindings in compiled form: one lookup per subject of the user, then a scan of the rules bound to it.
//!
//! A [`Policy`] is an immutable value behind an `ArcSwap`: requests read it without a lock, the follower replaces it.
//! Each namespace is a [`Scope`] of its own behind an `Arc`, so a change copies the pointers and one scope, never all
//! bindings of the cluster. Bindings hold the *name* of their role, because roles and bindings arrive in any order and a
//! binding to a role that does not exist yet must start to work when the role appears.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use serde_json::Value;

use super::{Authorizer, Decision, Granted, rule::Rule};
use crate::{attributes::Attributes, identity::User};

type Rules = Arc<[Arc<Rule>]>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

#[derive(Debug)]
struct Binding {
    name: String,
    /// True for a ClusterRole, false for a Role of the binding's own namespace.
    cluster_role: bool,
    role: String,
    subjects: Vec<Subject>,
}

impl Binding {
    fn from_json(value: &Value, namespace: &str) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let subjects = value["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
        let subjects = subjects.iter().filter_map(|subject| {
            let name = text(&subject["name"]);
            match subject["kind"].as_str() {
                Some("User") => Some(Subject::User(name)),
                Some("Group") => Some(Subject::Group(name)),
                Some("ServiceAccount") => {
                    let home = subject["namespace"].as_str().filter(|home| !home.is_empty()).unwrap_or(namespace);
                    (!home.is_empty()).then(|| Subject::User(format!("system:serviceaccount:{home}:{name}")))
                }
                _ => None,
            }
        });
        Self {
            name: text(&value["metadata"]["name"]),
            cluster_role: value["roleRef"]["kind"] == "ClusterRole",
            role: text(&value["roleRef"]["name"]),
            subjects: subjects.collect(),
        }
    }
}

/// The roles and bindings of one namespace, or of the cluster.
#[derive(Clone, Debug, Default)]
struct Scope {
    roles: HashMap<String, Rules>,
    bindings: HashMap<String, Arc<Binding>>,
    by_user: HashMap<String, Vec<Arc<Binding>>>,
    by_group: HashMap<String, Vec<Arc<Binding>>>,
}

impl Scope {
    fn list(&mut self, subject: &Subject) -> &mut Vec<Arc<Binding>> {
        match subject {
            Subject::User(name) => self.by_user.entry(name.clone()).or_default(),
            Subject::Group(name) => self.by_group.entry(name.clone()).or_default(),
        }
    }

    fn bind(&mut self, binding: Binding) {
        self.unbind(&binding.name);
        let binding = Arc::new(binding);
        for subject in &binding.subjects {
            self.list(subject).push(Arc::clone(&binding));
        }
        self.bindings.insert(binding.name.clone(), binding);
    }

    fn unbind(&mut self, name: &str) {
        let Some(old) = self.bindings.remove(name) else { return };
        for subject in &old.subjects {
            self.list(subject).retain(|held| held.name != name);
        }
        self.by_user.retain(|_, held| !held.is_empty());
        self.by_group.retain(|_, held| !held.is_empty());
    }

    fn bindings_of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Arc<Binding>> {
        let own = self.by_user.get(&user.name).into_iter().flatten();
        own.chain(user.groups.iter().flat_map(|group| self.by_group.get(group).into_iter().flatten()))
    }

    fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.bindings.is_empty()
    }
}

/// Which of the four RBAC kinds an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Role,
    Binding,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    cluster: Arc<Scope>,
    namespaces: HashMap<String, Arc<Scope>>,
}

impl Policy {
    fn scope_mut(&mut self, namespace: &str) -> &mut Scope {
        if namespace.is_empty() {
            Arc::make_mut(&mut self.cluster)
        } else {
            Arc::make_mut(self.namespaces.entry(namespace.to_owned()).or_default())
        }
    }

    /// Takes an object in; `namespace` is empty for the cluster-wide kinds.
    pub(crate) fn put(&mut self, part: Part, namespace: &str, name: &str, object: &Value) {
        let scope = self.scope_mut(namespace);
        match part {
            Part::Role => {
                scope.roles.insert(name.to_owned(), Rule::list_from_json(&object["rules"]).into());
            }
            Part::Binding => scope.bind(Binding::from_json(object, namespace)),
        }
    }

    pub(crate) fn remove(&mut self, part: Part, namespace: &str, name: &str) {
        let scope = self.scope_mut(namespace);
        match part {
            Part::Role => drop(scope.roles.remove(name)),
            Part::Binding => scope.unbind(name),
        }
        if scope.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// The rules of a role, as seen from a binding in `namespace`.
    pub(crate) fn role(&self, namespace: &str, cluster_role: bool, name: &str) -> Option<&[Arc<Rule>]> {
        let scope = if cluster_role { &self.cluster } else { self.namespaces.get(namespace)? };
        scope.roles.get(name).map(AsRef::as_ref)
    }

    /// Every rule that holds for `user` in `namespace`, until `visit` returns true.
    fn any_rule(&self, user: &User, namespace: &str, mut visit: impl FnMut(&Arc<Rule>) -> bool) -> bool {
        let local = if namespace.is_empty() { None } else { self.namespaces.get(namespace) };
        let wide = self.cluster.bindings_of(user).map(|binding| ("", binding));
        let near = local.into_iter().flat_map(|scope| scope.bindings_of(user)).map(|binding| (namespace, binding));
        for (home, binding) in wide.chain(near) {
            let rules = self.role(home, binding.cluster_role, &binding.role).unwrap_or_default();
            if rules.iter().any(&mut visit) {
                return true;
            }
        }
        false
    }

    pub(crate) fn allows(&self, ask: &Attributes) -> bool {
        let namespace = if ask.is_resource { ask.namespace.as_str() } else { "" };
        self.any_rule(&ask.user, namespace, |rule| rule.allows(ask))
    }

    pub(crate) fn rules_for(&self, user: &User, namespace: &str) -> Vec<Arc<Rule>> {
        let mut rules = Vec::new();
        self.any_rule(user, namespace, |rule| {
            rules.push(Arc::clone(rule));
            false
        });
        rules
    }
}

/// The authorizer over the newest [`Policy`].
#[derive(Default)]
pub(crate) struct Rbac {
    policy: ArcSwap<Policy>,
}

impl Rbac {
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    pub(crate) fn replace(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        if self.policy.load().allows(attributes) { Decision::Allow } else { Decision::NoOpinion(String::new()) }
    }

    fn rules_for(&self, user: &User, namespace: &str) -> Granted {
        Granted { rules: self.policy.load().rules_for(user, namespace), incomplete: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `role NS NAME VERBS RESOURCES` and `bind NS NAME KIND/ROLE SUBJECT`, `-` for no namespace.
    fn policy(world: &str) -> Policy {
        let mut policy = Policy::default();
        for line in world.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split(' ').collect();
            let namespace = words[1].trim_matches('-');
            let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
            match words[0] {
                "role" => {
                    let rule = json!({"verbs": list(words[3]), "apiGroups": [""], "resources": list(words[4])});
                    policy.put(Part::Role, namespace, words[2], &json!({ "rules": [rule] }));
                }
                "bind" => {
                    let (kind, role) = words[3].split_once('/').unwrap();
                    let (sort, name) = words[4].split_once(':').unwrap();
                    let (home, name) = name.split_once('/').unwrap_or(("", name));
                    let subject = json!({"kind": sort, "name": name, "namespace": home});
                    let binding = json!({
                        "metadata": {"name": words[2]}, "roleRef": {"kind": kind, "name": role}, "subjects": [subject],
                    });
                    policy.put(Part::Binding, namespace, words[2], &binding);
                }
                other => panic!("unknown line {other}"),
            }
        }
        policy
    }

    fn ask(user: &User, verb: &str, resource: &str, namespace: &str) -> Attributes {
        Attributes::resource(user, verb, "", resource, namespace, "x")
    }

    const WORLD: &str = "
        role - reader get,list pods
        role a writer create pods
        bind - all-readers ClusterRole/reader Group:devs
        bind a local-writer Role/writer User:ann
        bind a account ClusterRole/reader ServiceAccount:bot
        bind a far ClusterRole/reader ServiceAccount:other/bot
        bind b dangling Role/writer User:ann";

    #[test]
    fn bindings_reach_as_far_as_they_say() {
        let policy = policy(WORLD);
        let ann = User::component("ann", &[]);
        let dev = User::component("dev", &["devs"]);
        let bot = User::service_account("a", "bot");
        let far = User::service_account("other", "bot");
        let table = [
            (&ann, "create", "a", true),
            (&ann, "create", "b", false), // the Role it names does not exist in b
            (&ann, "create", "", false),
            (&ann, "get", "a", false),
            (&dev, "get", "a", true),
            (&dev, "get", "b", true),
            (&dev, "get", "", true),
            (&dev, "create", "a", false),
            (&bot, "get", "a", true), // a service account without namespace is one of the binding's
            (&bot, "get", "b", false),
            (&far, "get", "a", true),
        ];
        for (user, verb, namespace, allowed) in table {
            assert_eq!(policy.allows(&ask(user, verb, "pods", namespace)), allowed, "{} {verb} {namespace}", user.name);
        }
    }

    #[test]
    fn a_binding_works_as_soon_as_its_role_appears_and_ends_with_either() {
        let ann = User::component("ann", &[]);
        let ask = ask(&ann, "get", "pods", "a");
        let mut policy = policy("bind a b Role/r User:ann");
        assert!(!policy.allows(&ask));
        let role = json!({"rules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}]});
        policy.put(Part::Role, "a", "r", &role);
        assert!(policy.allows(&ask));
        policy.remove(Part::Role, "a", "r");
        assert!(!policy.allows(&ask));
        policy.put(Part::Role, "a", "r", &role);
        policy.remove(Part::Binding, "a", "b");
        assert!(!policy.allows(&ask));
        policy.remove(Part::Role, "a", "r");
        assert!(policy.namespaces.is_empty(), "an empty namespace costs nothing");
    }

    #[test]
    fn a_change_leaves_the_policy_that_others_still_read_alone() {
        let before = policy(WORLD);
        let mut after = before.clone();
        after.remove(Part::Binding, "", "all-readers");
        let dev = User::component("dev", &["devs"]);
        assert!(before.allows(&ask(&dev, "get", "pods", "a")));
        assert!(!after.allows(&ask(&dev, "get", "pods", "a")));
    }

    #[test]
    fn a_rewritten_binding_forgets_its_old_subjects() {
        let mut policy = policy("role - r get pods\n bind - b ClusterRole/r User:ann");
        let binding = json!({
            "metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "User", "name": "bob"}],
        });
        policy.put(Part::Binding, "", "b", &binding);
        assert!(!policy.allows(&ask(&User::component("ann", &[]), "get", "pods", "")));
        assert!(policy.allows(&ask(&User::component("bob", &[]), "get", "pods", "")));
    }
}
