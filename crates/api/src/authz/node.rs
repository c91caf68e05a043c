//! What a kubelet may do: what upstream's node authorizer allows `system:node:NAME` in the group `system:nodes`.
//!
//! A node reads the secrets, config maps and claims that pods bound to *it* refer to, and nothing else of those kinds;
//! requests for tokens follow the same relation. Everything that does not depend on the node is the bootstrap role
//! `system:node`, evaluated here and not through a binding, so that no binding can widen it by accident. What a node may
//! *write* is narrowed further by admission (`NodeRestriction`).

use std::sync::Arc;

use base::selector::FieldSelector;
use store::{Range, Store};

use super::{Authorizer, Decision, Granted, rule::Rule};
use crate::{attributes::Attributes, identity::User};
use graph::{Graph, Object, References};

pub(crate) mod graph;

const NODES: &str = "system:nodes";
const USER: &str = "system:node:";

/// The node a user is, if it is one.
pub(crate) fn node_of(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix(USER)?;
    user.is_in(NODES).then_some(name)
}

pub(crate) struct Node {
    graph: Arc<Graph>,
    store: Arc<dyn Store>,
    rules: Vec<Arc<Rule>>,
}

impl Node {
    pub(crate) fn new(graph: Arc<Graph>, store: Arc<dyn Store>, rules: Vec<Arc<Rule>>) -> Self {
        Self { graph, store, rules }
    }

    /// The rules of the bootstrap role `system:node`.
    pub(crate) fn bootstrap_rules() -> Vec<Arc<Rule>> {
        let objects = crate::policy::objects();
        let role = objects
            .iter()
            .find(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "system:node")
            .expect("invariant: the bootstrap table has the role system:node");
        Rule::list_from_json(&role["rules"])
    }

    /// True if a pod bound to `node` refers to the object. The graph may lag behind the store by one event, and a kubelet
    /// asks the moment it sees its pod, so a miss is checked against the newest pods before it is believed.
    fn related(&self, node: &str, object: Object, namespace: &str, name: &str) -> bool {
        if self.graph.relates(node, object, namespace, name) {
            return true;
        }
        let prefix = format!("/core/pods/{namespace}/");
        let range = Range { prefix: &prefix, after: None, limit: 0, at: None };
        let Ok(page) = self.store.range(range) else { return false };
        page.records.iter().any(|record| {
            let seen = References::parse(&record.key, &record.value);
            seen.is_some_and(|seen| seen.node == node && seen.objects.contains(&(object, name.to_owned())))
        })
    }

    fn field(&self, key: &str, pointer: &str) -> Option<String> {
        let record = self.store.get(key)?;
        let object: serde_json::Value = serde_json::from_slice(&record.value).ok()?;
        object.pointer(pointer)?.as_str().map(str::to_owned)
    }

    fn may_touch(&self, node: &str, ask: &Attributes, object: Object, verbs: &[&str]) -> Decision {
        if !verbs.contains(&ask.verb.as_str()) {
            return no("can only read resources of this type");
        }
        if ask.name.is_empty() {
            return no("No Object name found");
        }
        if ask.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        allow_if(self.related(node, object, &ask.namespace, &ask.name), || unrelated(node))
    }

    fn volume(&self, node: &str, ask: &Attributes) -> Decision {
        if ask.verb != "get" || !ask.subresource.is_empty() {
            return no("can only get individual resources of this type");
        }
        let claim = format!("/core/persistentvolumes/{}", ask.name);
        let namespace = self.field(&claim, "/spec/claimRef/namespace").unwrap_or_default();
        let name = self.field(&claim, "/spec/claimRef/name").unwrap_or_default();
        let related = !name.is_empty() && self.related(node, Object::Claim, &namespace, &name);
        allow_if(related, || unrelated(node))
    }

    fn attachment(&self, node: &str, ask: &Attributes) -> Decision {
        if ask.verb != "get" || !ask.subresource.is_empty() {
            return no("can only get individual resources of this type");
        }
        let key = format!("/storage.k8s.io/volumeattachments/{}", ask.name);
        allow_if(self.field(&key, "/spec/nodeName").as_deref() == Some(node), || unrelated(node))
    }

    fn pods(&self, node: &str, ask: &Attributes) -> Decision {
        match (ask.subresource.as_str(), ask.verb.as_str()) {
            ("", "get") => {
                let key = format!("/core/pods/{}/{}", ask.namespace, ask.name);
                // A pod that is gone tells nobody anything: the answer is then "not found".
                let gone = self.store.get(&key).is_none();
                let own = self.field(&key, "/spec/nodeName").as_deref() == Some(node);
                allow_if(gone || own, || unrelated(node))
            }
            ("", "list" | "watch") => {
                let selector = FieldSelector::parse(&ask.field_selector).unwrap_or_default();
                let own = selector.required("spec.nodeName") == Some(node);
                allow_if(own, || "can only list/watch pods with spec.nodeName field selector".to_owned())
            }
            // Admission holds these to the node's own pods.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Decision::Allow,
            _ => no(""),
        }
    }

    fn own(&self, node: &str, ask: &Attributes) -> Decision {
        match (ask.subresource.as_str(), ask.verb.as_str()) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Decision::Allow,
            ("", "get" | "list" | "watch") => match ask.name.as_str() {
                name if name == node => Decision::Allow,
                "" => no(format!("node '{node}' cannot read all nodes, only its own Node object")),
                name => no(format!("node '{node}' cannot read '{name}', only its own Node object")),
            },
            _ => no(""),
        }
    }

    fn service_account(&self, node: &str, ask: &Attributes) -> Decision {
        match (ask.subresource.as_str(), ask.verb.as_str()) {
            ("", "get") | ("token", "create") => self.may_touch(node, ask, Object::ServiceAccount, &["get", "create"]),
            (_, "create") => no("can only create token subresource of serviceaccount"),
            _ => no("can only create tokens for individual service accounts"),
        }
    }
}

impl Authorizer for Node {
    fn authorize(&self, ask: &Attributes) -> Decision {
        let Some(node) = node_of(&ask.user) else { return no("") };
        if node.is_empty() {
            return no(format!("unknown node for user {:?}", ask.user.name));
        }
        let read = ["get", "list", "watch"];
        match (ask.is_resource, ask.group.as_str(), ask.resource.as_str()) {
            (true, "", "secrets") if ask.subresource.is_empty() => self.may_touch(node, ask, Object::Secret, &read),
            (true, "", "configmaps") if ask.subresource.is_empty() => {
                self.may_touch(node, ask, Object::ConfigMap, &read)
            }
            (true, "", "persistentvolumeclaims") => match ask.subresource.as_str() {
                "" => self.may_touch(node, ask, Object::Claim, &["get"]),
                "status" => self.may_touch(node, ask, Object::Claim, &["update", "patch"]),
                _ => no("can only update status subresource"),
            },
            (true, "", "persistentvolumes") => self.volume(node, ask),
            (true, "storage.k8s.io", "volumeattachments") => self.attachment(node, ask),
            (true, "", "serviceaccounts") => self.service_account(node, ask),
            (true, "", "pods") => self.pods(node, ask),
            (true, "", "nodes") => self.own(node, ask),
            (true, "coordination.k8s.io", "leases") => own_lease(node, ask),
            (true, "storage.k8s.io", "csinodes") => own_object(node, ask, "CSINode"),
            _ => allow_if(self.rules.iter().any(|rule| rule.allows(ask)), String::new),
        }
    }

    fn rules_for(&self, user: &User, _namespace: &str) -> Granted {
        let mut granted = Granted::default();
        if node_of(user).is_some() {
            granted.incomplete.push("node authorizer does not support user rule resolution".to_owned());
        }
        granted
    }
}

fn own_lease(node: &str, ask: &Attributes) -> Decision {
    if ask.namespace != "kube-node-lease" {
        return no("can only access leases in the \"kube-node-lease\" system namespace");
    }
    own_object(node, ask, "node lease")
}

/// An object named like the node; on create the name is in the body, where admission checks it.
fn own_object(node: &str, ask: &Attributes, what: &str) -> Decision {
    if !["get", "create", "update", "patch", "delete"].contains(&ask.verb.as_str()) {
        return no(format!("can only get, create, update, patch, or delete a {what}"));
    }
    if ask.verb != "create" && ask.name != node {
        return no(format!("can only access {what} with the same name as the requesting node"));
    }
    Decision::Allow
}

fn no(why: impl Into<String>) -> Decision {
    Decision::NoOpinion(why.into())
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

fn allow_if(allowed: bool, why: impl FnOnce() -> String) -> Decision {
    if allowed { Decision::Allow } else { no(why()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn kubelet(name: &str) -> User {
        User::component(format!("{USER}{name}"), &[NODES])
    }

    async fn world() -> crate::core::Core {
        let core = testing::core();
        let pod = |name: &str, node: &str| {
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns"},
                "spec": {"nodeName": node, "serviceAccountName": "web", "volumes": [
                    {"name": "a", "secret": {"secretName": format!("secret-{node}")}},
                    {"name": "b", "persistentVolumeClaim": {"claimName": "data"}},
                ]},
            })
        };
        testing::put(&core, pod("p1", "n1")).await;
        testing::put(&core, pod("p2", "n2")).await;
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"},
            "spec": {"claimRef": {"namespace": "ns", "name": "data"}},
        });
        testing::put(&core, volume).await;
        core
    }

    #[tokio::test]
    async fn a_node_reads_what_its_own_pods_refer_to() {
        let core = world().await;
        core.access.load(core.store.as_ref()).unwrap();
        let may = |verb: &str, group: &str, resource: &str, namespace: &str, name: &str| {
            let ask = Attributes::resource(&kubelet("n1"), verb, group, resource, namespace, name);
            core.access.authorizer.authorize(&ask).is_allowed()
        };
        let table = [
            (true, "get", "", "secrets", "ns", "secret-n1"),
            (false, "get", "", "secrets", "ns", "secret-n2"),
            (false, "get", "", "secrets", "other", "secret-n1"),
            (false, "list", "", "secrets", "ns", ""),
            (false, "update", "", "secrets", "ns", "secret-n1"),
            (true, "get", "", "persistentvolumes", "", "pv"),
            (true, "create", "", "serviceaccounts/token", "ns", "web"),
            (false, "create", "", "serviceaccounts/token", "ns", "other"),
            (true, "get", "", "pods", "ns", "p1"),
            (false, "get", "", "pods", "ns", "p2"),
            (false, "list", "", "pods", "", ""),
            (true, "patch", "", "pods/status", "ns", "p1"),
            (false, "create", "", "pods/exec", "ns", "p1"),
            (true, "get", "", "nodes", "", "n1"),
            (false, "get", "", "nodes", "", "n2"),
            (true, "patch", "", "nodes/status", "", "n1"),
            (true, "update", "coordination.k8s.io", "leases", "kube-node-lease", "n1"),
            (false, "update", "coordination.k8s.io", "leases", "kube-node-lease", "n2"),
            (false, "get", "coordination.k8s.io", "leases", "kube-system", "n1"),
            (true, "watch", "", "services", "", ""),
            (true, "create", "events.k8s.io", "events", "ns", ""),
            (true, "get", "node.k8s.io", "runtimeclasses", "", "x"),
            (false, "delete", "apps", "deployments", "ns", "x"),
        ];
        for (allowed, verb, group, resource, namespace, name) in table {
            assert_eq!(may(verb, group, resource, namespace, name), allowed, "{verb} {resource} {namespace}/{name}");
        }
        let mut ask = Attributes::resource(&kubelet("n1"), "watch", "", "pods", "", "");
        "spec.nodeName=n1".clone_into(&mut ask.field_selector);
        assert!(core.access.authorizer.authorize(&ask).is_allowed());
        "spec.nodeName=n2".clone_into(&mut ask.field_selector);
        assert!(!core.access.authorizer.authorize(&ask).is_allowed());
    }

    #[tokio::test]
    async fn a_pod_the_graph_has_not_seen_yet_counts() {
        let core = world().await; // nothing was loaded into the graph
        let ask = Attributes::resource(&kubelet("n1"), "get", "", "secrets", "ns", "secret-n1");
        assert!(core.access.authorizer.authorize(&ask).is_allowed());
    }

    #[tokio::test]
    async fn the_name_alone_makes_no_node() {
        let core = world().await;
        let ask = |user: User| Attributes::resource(&user, "get", "", "secrets", "ns", "secret-n1");
        assert!(!core.access.authorizer.authorize(&ask(User::component("system:node:n1", &[]))).is_allowed());
        assert!(!core.access.authorizer.authorize(&ask(User::component("n1", &[NODES]))).is_allowed());
    }
}
