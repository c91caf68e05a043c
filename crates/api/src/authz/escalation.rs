//! Nobody grants what they do not hold.
//!
//! Writing a role needs every permission in it, or the verb `escalate` on the role; writing a binding needs every
//! permission of the bound role, or the verb `bind` on it. Without this rule "may edit RoleBindings" would mean "is
//! cluster-admin". Upstream checks this in its registry; here it is admission, which sees the same two objects.

use serde_json::Value;

use super::{
    Authorizer,
    rbac::Policy,
    rule::{Rule, missing},
};
use crate::{attributes::Attributes, identity::User};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Why a role or binding may not be written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Denied(String),
    /// What a binding would bind is not there, so nobody can say what it would grant.
    #[error("{resource}.rbac.authorization.k8s.io \"{name}\" not found")]
    NoSuchRole { resource: &'static str, name: String },
}

/// Why `user` may not write `object`, which is one of the four RBAC kinds; none if they may.
pub(crate) fn refusal(
    authorizer: &dyn Authorizer,
    policy: &Policy,
    user: &User,
    namespace: &str,
    object: &Value,
    old: Option<&Value>,
) -> Option<Refusal> {
    if user.is_in(crate::identity::MASTERS) || old.is_some_and(|old| same_but_for_collection(object, old)) {
        return None;
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let may = |verb: &str, resource: &str, name: &str| {
        let ask = Attributes::resource(user, verb, GROUP, resource, namespace, name);
        authorizer.authorize(&ask).is_allowed()
    };
    let lacks = |wanted: &[std::sync::Arc<Rule>]| {
        let held = authorizer.rules_for(user, namespace).rules;
        let lines: Vec<String> = missing(&held, wanted).iter().map(ToString::to_string).collect();
        (!lines.is_empty()).then(|| Refusal::Denied(told(user, lines)))
    };
    match object["kind"].as_str()? {
        kind @ ("Role" | "ClusterRole") => {
            let resource = if kind == "Role" { "roles" } else { "clusterroles" };
            if may("escalate", resource, name) {
                return None;
            }
            let collects = |role: &Value| {
                role["aggregationRule"]["clusterRoleSelectors"].as_array().is_some_and(|list| !list.is_empty())
            };
            lacks(&Rule::list_from_json(&object["rules"])).or_else(|| {
                let touches = kind == "ClusterRole" && (collects(object) || old.is_some_and(collects));
                let full = touches && lacks(&Rule::everything()).is_some();
                full.then(|| {
                    Refusal::Denied("must have cluster-admin privileges to use the aggregationRule".to_owned())
                })
            })
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            let cluster_role = object["roleRef"]["kind"] == "ClusterRole";
            let role = object["roleRef"]["name"].as_str().unwrap_or_default();
            let resource = if cluster_role { "clusterroles" } else { "roles" };
            if may("bind", resource, role) {
                return None;
            }
            match policy.role(namespace, cluster_role, role) {
                Some(rules) => lacks(rules),
                None => Some(Refusal::NoSuchRole { resource, name: role.to_owned() }),
            }
        }
        _ => None,
    }
}

fn told(user: &User, mut lines: Vec<String>) -> String {
    lines.sort();
    lines.dedup();
    let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        lines.join("\n"),
    )
}

/// The garbage collector may take owners and finalizers off a role it could not have written.
fn same_but_for_collection(object: &Value, old: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
                metadata.remove(field);
            }
        }
        object
    };
    bare(object) == bare(old)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::authz::rbac::{Part, Rbac};

    fn check(user: &User, object: &Value, old: Option<&Value>, expected: Expect) {
        let mut policy = Policy::default();
        let reader = json!({"rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]});
        let keeper = json!({"rules": [
            {"verbs": ["bind"], "apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["all"]},
            {"verbs": ["escalate"], "apiGroups": [GROUP], "resources": ["roles"]},
        ]});
        policy.put(Part::Role, "", "reader", &reader);
        policy.put(Part::Role, "", "keeper", &keeper);
        let all = json!({"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
        policy.put(Part::Role, "", "all", &all);
        for (role, group) in [("reader", "devs"), ("keeper", "keepers")] {
            let binding = json!({
                "metadata": {"name": role}, "roleRef": {"kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "Group", "name": group}],
            });
            policy.put(Part::Binding, "", role, &binding);
        }
        let rbac = Rbac::default();
        rbac.replace(policy.clone());
        let refused = refusal(&rbac, &policy, user, "a", object, old);
        expected.assert_eq(&refused.map_or_else(|| "allowed".to_owned(), |refusal| refusal.to_string()));
    }

    fn role(verbs: &[&str]) -> Value {
        json!({"kind": "Role", "metadata": {"name": "r"}, "rules": [
            {"verbs": verbs, "apiGroups": [""], "resources": ["pods"]},
        ]})
    }

    fn binding(role: &str) -> Value {
        json!({"kind": "RoleBinding", "metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": role}})
    }

    #[test]
    fn a_role_may_hold_what_its_writer_holds() {
        let dev = User { groups: vec!["devs".to_owned()], ..User::anonymous() };
        check(&dev, &role(&["get"]), None, expect!["allowed"]);
        check(
            &dev,
            &role(&["get", "delete", "watch"]),
            None,
            expect![[r#"
                user "system:anonymous" (groups=["devs"]) is attempting to grant RBAC permissions not currently held:
                {APIGroups:[""], Resources:["pods"], Verbs:["delete" "watch"]}"#]],
        );
    }

    #[test]
    fn escalate_and_bind_are_the_ways_around() {
        let keeper = User { groups: vec!["keepers".to_owned()], ..User::anonymous() };
        check(&keeper, &role(&["delete"]), None, expect!["allowed"]);
        check(&keeper, &binding("all"), None, expect!["allowed"]);
        check(
            &keeper,
            &binding("reader"),
            None,
            expect![[r#"
                user "system:anonymous" (groups=["keepers"]) is attempting to grant RBAC permissions not currently held:
                {APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#]],
        );
        check(&keeper, &binding("gone"), None, expect![[r#"clusterroles.rbac.authorization.k8s.io "gone" not found"#]]);
    }

    #[test]
    fn taking_off_a_finalizer_grants_nothing() {
        let dev = User { groups: vec!["devs".to_owned()], ..User::anonymous() };
        let mut old = role(&["delete"]);
        old["metadata"]["finalizers"] = json!(["x"]);
        check(&dev, &role(&["delete"]), Some(&old), expect!["allowed"]);
    }
}
