//! Who may name what in another namespace: ReferenceGrant (GEP-709).
//!
//! A grant lies in the namespace of what is named; within one namespace none is needed. Nothing is granted until a grant says
//! so, and what a grant that goes away allowed is taken back.

use std::collections::HashMap;
use std::sync::Arc;

use super::kinds::{GROUP, Grant};

/// All grants, by their namespace.
#[derive(Debug, Default)]
pub(crate) struct Grants<'a> {
    by_namespace: HashMap<&'a str, Vec<&'a Grant>>,
}

/// An object of the Gateway API that names another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From<'a> {
    /// Its kind.
    pub(crate) kind: &'a str,
    /// Its namespace.
    pub(crate) namespace: &'a str,
}

/// An object that is named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct To<'a> {
    /// Its group, empty for the core.
    pub(crate) group: &'a str,
    /// Its kind.
    pub(crate) kind: &'a str,
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
}

impl<'a> Grants<'a> {
    pub(crate) fn new(grants: &'a [Arc<Grant>]) -> Self {
        let mut by_namespace: HashMap<&str, Vec<&Grant>> = HashMap::new();
        for grant in grants {
            let namespace = grant.metadata.namespace.as_deref().unwrap_or_default();
            by_namespace.entry(namespace).or_default().push(grant);
        }
        Self { by_namespace }
    }

    /// True when `from` may name `to`.
    pub(crate) fn permit(&self, from: From<'_>, to: To<'_>) -> bool {
        let granted = |grant: &&Grant| {
            let asks = grant.spec.from.iter().any(|granted| {
                granted.group == GROUP && granted.kind == from.kind && granted.namespace == from.namespace
            });
            let named = grant.spec.to.iter().any(|granted| {
                let name = granted.name.as_deref().filter(|name| !name.is_empty());
                granted.group == to.group && granted.kind == to.kind && name.is_none_or(|name| name == to.name)
            });
            asks && named
        };
        from.namespace == to.namespace || self.by_namespace.get(to.namespace).into_iter().flatten().any(granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_grant_is_for_one_kind_of_one_namespace() {
        let grant = |to: serde_json::Value| -> Arc<Grant> {
            let grant = json!({ "metadata": { "namespace": "back", "name": "g" }, "spec": {
                "from": [{ "group": GROUP, "kind": "HTTPRoute", "namespace": "front" }], "to": [to] } });
            Arc::new(serde_json::from_value(grant).unwrap())
        };
        let all = [grant(json!({ "group": "", "kind": "Service" }))];
        let one = [grant(json!({ "group": "", "kind": "Service", "name": "web" }))];
        let from = |kind, namespace| From { kind, namespace };
        let service = |name| To { group: "", kind: "Service", namespace: "back", name };
        let secret = To { group: "", kind: "Secret", namespace: "back", name: "web" };
        for (grants, from, to, expected) in [
            (&all[..], from("HTTPRoute", "front"), service("web"), true),
            (&all[..], from("HTTPRoute", "front"), secret, false),
            (&all[..], from("HTTPRoute", "other"), service("web"), false),
            (&all[..], from("GRPCRoute", "front"), service("web"), false),
            (&one[..], from("HTTPRoute", "front"), service("web"), true),
            (&one[..], from("HTTPRoute", "front"), service("db"), false),
            (&[][..], from("HTTPRoute", "front"), service("web"), false),
            (&[][..], from("HTTPRoute", "back"), service("web"), true),
        ] {
            assert_eq!(Grants::new(grants).permit(from, to), expected, "{from:?} {to:?}");
        }
    }
}
