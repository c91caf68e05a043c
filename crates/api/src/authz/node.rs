//! What a kubelet may do: what upstream's node authorizer allows `system:node:NAME` in the group `system:nodes`.
//!
//! A node reads the secrets, config maps and claims that pods bound to *it* refer to, and nothing else of those kinds;
//! requests for tokens follow the same relation. Everything that does not depend on the node is the bootstrap role
//! `system:node`, evaluated here and not through a binding, so that no binding can widen it by accident. What a node may
//! *write* is narrowed further by admission (`NodeRestriction`).

use std::sync::Arc;

use store::{Range, Store};

use super::{Authorizer, Decision, Granted, rule::Rule};
use crate::{attributes::Attributes, identity::User};
use graph::{Graph, Object, References};

pub mod graph;

const NODES: &str = "system:nodes";
const USER: &str = "system:node:";

/// The node a user is, if it is one.
pub fn node_of(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix(USER)?;
    user.is_in(NODES).then_some(name)
}

pub struct Node {
    graph: Arc<Graph>,
    store: Arc<dyn Store>,
    rules: Vec<Arc<Rule>>,
}

impl Node {
    pub fn new(graph: Arc<Graph>, store: Arc<dyn Store>, rules: Vec<Arc<Rule>>) -> Self {
        Self { graph, store, rules }
    }

    /// The rules of the bootstrap role `system:node`.
    pub fn bootstrap_rules() -> Vec<Arc<Rule>> {
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
                let own = base::selector::FieldSelector::parse(&ask.field_selector).is_ok_and(|selector| {
                    selector.requirements().iter().any(|r| r.field == "spec.nodeName" && r.is_equal() && r.value == node)
                });
                allow_if(own, || "can only list/watch pods with spec.nodeName field selector".to_owned())
            }
            // Admission holds these to the node's own pods.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Decision::Allow
            }
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
