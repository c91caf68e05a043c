//! What did not change is excused.
//!
//! Invariant: a value is excused if it equals the one it replaces, or, where no old value can be told, if the nearest value
//! around it for which one can does. Fields the schema does not know are never equal. Nothing is compared before a rule
//! has failed, and nothing twice.

use std::collections::HashMap;

use serde_json::Value;

use super::super::lists;
use super::super::node::Node;

/// A value and the one it replaces.
#[derive(Clone, Copy)]
struct Pair<'v> {
    node: &'v Node,
    new: &'v Value,
    old: &'v Value,
}

/// What has been compared: many elements of one list may ask for the same.
#[derive(Default)]
pub(super) struct Known(HashMap<(*const Value, *const Value), bool>);

#[derive(Clone, Copy)]
pub(super) struct Ratchet<'v> {
    current: Option<Pair<'v>>,
    /// The nearest around it.
    around: Option<Pair<'v>>,
}

impl<'v> Ratchet<'v> {
    pub(super) fn root(node: &'v Node, new: &'v Value, old: Option<&'v Value>) -> Self {
        Self { current: old.map(|old| Pair { node, new, old }), around: None }
    }

    pub(super) fn key(self, name: &str) -> Self {
        let Some(current) = self.current else { return self };
        if self.around.is_none() && matches!(name, "apiVersion" | "kind") {
            return Self { current: None, around: None };
        }
        Self { current: current.key(name), around: Some(current) }
    }

    /// An element of a list, and the one it replaces, if that can be told.
    pub(super) fn index(self, node: &'v Node, new: &'v Value, old: Option<&'v Value>) -> Self {
        let Some(current) = self.current else { return self };
        Self { current: old.map(|old| Pair { node, new, old }), around: Some(current) }
    }

    pub(super) fn excuses(self, known: &mut Known) -> bool {
        let Some(pair) = self.current.or(self.around) else { return false };
        *known.0.entry((pair.new, pair.old)).or_insert_with(|| pair.is_unchanged())
    }
}

impl<'v> Pair<'v> {
    fn key(self, name: &str) -> Option<Self> {
        let node = self.node.member(name)?;
        Some(Self { node, new: self.new.get(name)?, old: self.old.get(name)? })
    }

    fn is_unchanged(self) -> bool {
        match (self.new, self.old) {
            (Value::Object(new), Value::Object(old)) => {
                new.len() == old.len() && new.keys().all(|name| self.key(name).is_some_and(Pair::is_unchanged))
            }
            (Value::Array(new), Value::Array(old)) => {
                if new.len() != old.len() {
                    return false;
                }
                let Some(node) = self.node.items.as_deref().filter(|_| super::correlates(self.node)) else {
                    return new == old;
                };
                let before = lists::Before::new(self.node, Some(self.old));
                new.iter()
                    .all(|new| before.find(self.node, new).is_some_and(|old| Pair { node, new, old }.is_unchanged()))
            }
            (new, old) => new == old,
        }
    }
}
