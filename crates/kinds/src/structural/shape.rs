//! What a schema does to a value: unknown members go, nulls that mean nothing go, defaults come.
//!
//! Invariant: doing it twice changes nothing. Metadata of the object and of embedded objects is not looked at here; it has
//! a type of its own (see `embedded`). Order as upstream: prune, drop nulls, default.

use serde_json::{Map, Value};

use super::node::{Additional, Node};
use crate::path::Path;
use crate::prune::Unknown;

/// Members that every object has, custom or embedded.
pub(crate) fn is_meta(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

/// Removes what the schema does not name. `root` says that the value is an object with metadata of its own.
pub(crate) fn prune(node: &Node, value: &mut Value, root: bool) -> Vec<Unknown> {
    let mut walk = Prune { unknown: Vec::new() };
    if node.preserves {
        walk.keep(node, value, root, &Path::Root);
    } else {
        walk.prune(Some(node), value, root, &Path::Root);
    }
    walk.unknown.sort_by(|a, b| a.path.cmp(&b.path));
    walk.unknown
}

struct Prune {
    unknown: Vec<Unknown>,
}

impl Prune {
    fn prune(&mut self, node: Option<&Node>, value: &mut Value, root: bool, path: &Path<'_>) {
        match (node, value) {
            (Some(node), value) if node.preserves => self.keep(node, value, root, path),
            (None, Value::Object(members)) => {
                for name in members.keys() {
                    self.unknown.push(Unknown { path: path.field(name).to_string() });
                }
                members.clear();
            }
            (Some(node), Value::Object(members)) => self.prune_members(node, members, root, path),
            (node, Value::Array(items)) => {
                let item = node.and_then(|node| node.items.as_deref());
                for (index, value) in items.iter_mut().enumerate() {
                    self.prune(item, value, false, &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn prune_members(&mut self, node: &Node, members: &mut Map<String, Value>, root: bool, path: &Path<'_>) {
        let before = self.unknown.len();
        let mut gone = false;
        let own_metadata = root || node.embedded;
        for (name, value) in members.iter_mut().filter(|(name, _)| !(own_metadata && is_meta(name))) {
            let path = path.field(name);
            match (node.property(name), &node.additional) {
                (Some(property), _) => self.prune(Some(property), value, false, &path),
                (None, Additional::Unsaid) => {
                    gone = true;
                    self.unknown.push(Unknown { path: path.to_string() });
                }
                (None, additional) => self.prune(additional.node(), value, false, &path),
            }
        }
        if gone {
            debug_assert!(self.unknown.len() > before);
            let known = |name: &str| {
                (own_metadata && is_meta(name)) || node.property(name).is_some() || node.additional.is_said()
            };
            members.retain(|name, _| known(name));
        }
    }

    /// Below a node that keeps what it does not know, what it does know is pruned.
    fn keep(&mut self, node: &Node, value: &mut Value, root: bool, path: &Path<'_>) {
        match value {
            Value::Object(members) => {
                let own_metadata = root || node.embedded;
                for (name, value) in members.iter_mut().filter(|(name, _)| !(own_metadata && is_meta(name))) {
                    let path = path.field(name);
                    if let Some(property) = node.property(name) {
                        self.prune(Some(property), value, false, &path);
                    } else if node.additional.is_said() {
                        self.prune(node.additional.node(), value, false, &path);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(item) = node.items.as_deref() {
                    for (index, value) in items.iter_mut().enumerate() {
                        self.keep(item, value, false, &path.index(index));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Drops nulls of members that may not be null and have no default, as Go's decoder drops them from structs.
pub(crate) fn drop_nulls(node: &Node, value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, value| {
                !value.is_null() || node.member(name).is_none_or(|node| node.nullable || node.default.is_some())
            });
            for (name, value) in members.iter_mut() {
                if let Some(node) = node.member(name) {
                    drop_nulls(node, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = node.items.as_deref() {
                items.iter_mut().for_each(|value| drop_nulls(item, value));
            }
        }
        _ => {}
    }
}

/// Fills in defaults.
pub(crate) fn default(node: &Node, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, property) in node.properties() {
                if let Some(default) = &property.default
                    && members.get(name).is_none_or(|value| value.is_null() && property.drops_null())
                {
                    members.insert(name.to_owned(), (**default).clone());
                }
            }
            for (name, value) in members.iter_mut() {
                let property = node.property(name);
                if let Some(other) = property.or(node.additional.node()) {
                    if property.is_none() {
                        replace_null(other, value);
                    }
                    default(other, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = node.items.as_deref() {
                for value in items {
                    replace_null(item, value);
                    default(item, value);
                }
            }
        }
        _ => {}
    }
}

fn replace_null(node: &Node, value: &mut Value) {
    if value.is_null()
        && node.drops_null()
        && let Some(default) = &node.default
    {
        *value = (**default).clone();
    }
}

/// Prunes the defaults of a schema by the schema itself, so that what they fill in is never pruned again.
pub(crate) fn prune_defaults(node: &mut Node) {
    if let Some(mut held) = node.default.take() {
        prune(node, &mut held, node.embedded);
        node.default = Some(held);
    }
    if let Some(item) = node.items.as_deref_mut() {
        prune_defaults(item);
    }
    if let Additional::Schema(other) = &mut node.additional {
        prune_defaults(other);
    }
    node.properties_mut().for_each(prune_defaults);
}
