//! Which objects the pods of a node refer to.
//!
//! References are read once per pod, when it is bound: from then on a pod's spec does not change (ephemeral containers
//! aside, which the authorizer finds in the store). Only bound pods count; an unbound pod gives nobody access.

use std::collections::{BTreeSet, HashMap};

use parking_lot::RwLock;
use serde_json::Value;

/// The kinds that access is given to by reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Object {
    Secret,
    ConfigMap,
    Claim,
    ServiceAccount,
}

/// What one pod refers to, in its own namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct References {
    pub(crate) namespace: String,
    pub(crate) node: String,
    pub(crate) objects: BTreeSet<(Object, String)>,
}

impl References {
    /// Reads a stored pod; none if it is not bound to a node.
    pub(crate) fn parse(key: &str, pod: &[u8]) -> Option<Self> {
        // most writes of a pod without a node come before it has one, so that is looked for first
        let bound = crate::select::slim(pod, &[&["spec", "nodeName"]]).ok()?;
        let node = bound["spec"]["nodeName"].as_str().filter(|node| !node.is_empty())?.to_owned();
        let pod = crate::select::slim(pod, &[&["spec"]]).ok()?;
        let (namespace, name) = key.strip_prefix("/core/pods/")?.split_once('/')?;
        let mut objects = BTreeSet::new();
        collect(&pod["spec"], &mut objects);
        let account = pod["spec"]["serviceAccountName"].as_str().filter(|account| !account.is_empty());
        objects.extend(account.map(|account| (Object::ServiceAccount, account.to_owned())));
        for secret in pod["spec"]["imagePullSecrets"].as_array().into_iter().flatten() {
            objects.extend(secret["name"].as_str().map(|name| (Object::Secret, name.to_owned())));
        }
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            if let (true, Some(volume)) = (volume["ephemeral"].is_object(), volume["name"].as_str()) {
                objects.insert((Object::Claim, format!("{name}-{volume}")));
            }
        }
        Some(Self { namespace: namespace.to_owned(), node, objects })
    }
}

/// References by their field names: every volume source and every environment source is spelled with one of these.
fn collect(value: &Value, found: &mut BTreeSet<(Object, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, inner) in fields {
                let name = match field.as_str() {
                    "secretRef" | "secretKeyRef" | "nodePublishSecretRef" => (Object::Secret, &inner["name"]),
                    "secret" => (Object::Secret, inner.get("secretName").unwrap_or(&inner["name"])),
                    "azureFile" => (Object::Secret, &inner["secretName"]),
                    "configMap" | "configMapRef" | "configMapKeyRef" => (Object::ConfigMap, &inner["name"]),
                    "persistentVolumeClaim" => (Object::Claim, &inner["claimName"]),
                    _ => (Object::Secret, &Value::Null),
                };
                if let (object, Value::String(name)) = name {
                    found.insert((object, name.clone()));
                }
                collect(inner, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

#[derive(Debug, Default)]
pub(crate) struct Graph {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    pods: HashMap<String, References>,
    /// How many pods of a node refer to the object.
    users: HashMap<(Object, String, String), HashMap<String, usize>>,
}

impl Graph {
    pub(crate) fn relates(&self, node: &str, object: Object, namespace: &str, name: &str) -> bool {
        let place = (object, namespace.to_owned(), name.to_owned());
        self.inner.read().users.get(&place).is_some_and(|nodes| nodes.contains_key(node))
    }

    /// Takes a pod in, under its store key.
    pub(crate) fn put(&self, key: &str, pod: &[u8]) {
        if self.inner.read().pods.contains_key(key) {
            return;
        }
        let Some(references) = References::parse(key, pod) else { return };
        let mut inner = self.inner.write();
        for (object, name) in &references.objects {
            let place = (*object, references.namespace.clone(), name.clone());
            *inner.users.entry(place).or_default().entry(references.node.clone()).or_default() += 1;
        }
        inner.pods.insert(key.to_owned(), references);
    }

    pub(crate) fn remove(&self, key: &str) {
        let mut inner = self.inner.write();
        let Some(references) = inner.pods.remove(key) else { return };
        for (object, name) in references.objects {
            let place = (object, references.namespace.clone(), name);
            let Some(nodes) = inner.users.get_mut(&place) else { continue };
            if let Some(count) = nodes.get_mut(&references.node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&references.node);
                }
            }
            if nodes.is_empty() {
                inner.users.remove(&place);
            }
        }
    }

    pub(crate) fn clear(&self) {
        *self.inner.write() = Inner::default();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(node: &str) -> Vec<u8> {
        let pod = json!({"spec": {
            "nodeName": node,
            "serviceAccountName": "web",
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "from"}}]}],
            "containers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}]}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "mounted"}},
                {"name": "b", "projected": {"sources": [{"secret": {"name": "part"}}, {"configMap": {"name": "cm"}}]}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "d", "ephemeral": {"volumeClaimTemplate": {}}},
            ],
        }});
        serde_json::to_vec(&pod).unwrap()
    }

    #[test]
    fn every_way_to_refer_to_an_object_is_seen() {
        let seen = References::parse("/core/pods/ns/p", &pod("n1")).unwrap();
        let told: Vec<String> = seen.objects.iter().map(|(object, name)| format!("{object:?} {name}")).collect();
        let expected = [
            "Secret key",
            "Secret mounted",
            "Secret part",
            "Secret pull",
            "ConfigMap cm",
            "ConfigMap from",
            "Claim data",
            "Claim p-d",
            "ServiceAccount web",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn access_ends_with_the_last_pod_of_the_node() {
        let graph = Graph::default();
        graph.put("/core/pods/ns/p", &pod("n1"));
        graph.put("/core/pods/ns/q", &pod("n1"));
        graph.put("/core/pods/ns/r", &pod(""));
        assert!(graph.relates("n1", Object::Secret, "ns", "mounted"));
        assert!(!graph.relates("n2", Object::Secret, "ns", "mounted"));
        assert!(!graph.relates("n1", Object::ConfigMap, "ns", "mounted"));
        graph.remove("/core/pods/ns/p");
        assert!(graph.relates("n1", Object::Secret, "ns", "mounted"));
        graph.remove("/core/pods/ns/q");
        assert!(!graph.relates("n1", Object::Secret, "ns", "mounted"));
        assert!(graph.inner.read().users.is_empty());
    }
}
