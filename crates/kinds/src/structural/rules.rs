//! `x-kubernetes-validations`: rules that authors of definitions write about the objects.
//!
//! Invariant: a schema without rules costs nothing, one with rules is compiled when its first object is validated, and what
//! was compiled is never changed. Old values are looked at only where an element can be told to be the same one as before.
//! Reading order: `shape` says what expressions know of a schema, `rule` compiles one rule, this file holds them by place in
//! the schema and walks an object; `ratchet` excuses what did not change.

mod ratchet;
mod rule;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use expressions::{Budget, Shape};
use serde_json::Value;

pub(crate) use rule::{Rule, compile_rule};
pub(crate) use shape::shape_of;

use super::lists;
use super::node::{Form, Node};
use crate::error::{Cause, FieldError};
use crate::path::Path;
use crate::schema::ListType;
use ratchet::{Known, Ratchet};

/// The rules of a schema by place; only places that have rules at or below them.
#[derive(Debug)]
pub(crate) struct Watched {
    here: Option<Here>,
    properties: Box<[(Box<str>, Watched)]>,
    items: Option<Box<Watched>>,
    additional: Option<Box<Watched>>,
}

/// The rules at one place.
#[derive(Debug)]
struct Here {
    /// What values here look like; none if expressions cannot know.
    shape: Option<Arc<Shape>>,
    rules: Box<[Rule]>,
}

/// Whether a schema has rules anywhere on its spine.
pub(crate) fn has_rules(node: &Node) -> bool {
    node.rules.is_some()
        || node.properties().any(|(_, property)| has_rules(property))
        || node.items.as_deref().is_some_and(has_rules)
        || node.additional.node().is_some_and(has_rules)
}

/// Compiles the rules of a schema; none if it has none.
pub(crate) fn watch(node: &Node, root: bool) -> Option<Watched> {
    has_rules(node).then(|| watched(node, &shape_of(node, root, "self").map(Arc::new)))?
}

fn watched(node: &Node, shape: &Option<Arc<Shape>>) -> Option<Watched> {
    let here = node.rules.as_deref().map(|rules| Here {
        shape: shape.clone(),
        rules: rules.source.iter().map(|rule| Rule::new(rule, node, shape.as_ref())).collect(),
    });
    let mut properties = Vec::new();
    for (name, property) in node.properties() {
        let known = child(shape.as_deref(), name, property);
        if let Some(shape) = known
            && let Some(below) = watched(property, &Some(shape))
        {
            properties.push((Box::from(name), below));
        }
    }
    let elements = || shape.as_deref().and_then(Shape::elements).cloned();
    let below = |node: Option<&Node>| node.and_then(|node| watched(node, &elements())).map(Box::new);
    let (items, additional) = (below(node.items.as_deref()), below(node.additional.node()));
    let some = here.is_some() || !properties.is_empty() || items.is_some() || additional.is_some();
    some.then(|| Watched { here, properties: properties.into(), items, additional })
}

/// What a property looks like. One with a name that cannot be written is looked at on its own.
pub(crate) fn child(shape: Option<&Shape>, name: &str, property: &Node) -> Option<Arc<Shape>> {
    match expressions::escape(name) {
        Some(escaped) => shape?.field(&escaped).cloned(),
        None => shape_of(property, property.embedded, "self").map(Arc::new),
    }
}

/// What is wrong with an object by its rules. `old` is what it replaces.
pub(crate) fn check(watched: &Watched, node: &Node, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut walk = Walk::default();
    walk.value(watched, node, value, old, Ratchet::root(node, value, old), &Path::Root);
    walk.faults
}

/// What is wrong with an object by its rules and excused, for it was so in `old` and did not change.
pub(crate) fn excused(watched: &Watched, node: &Node, value: &Value, old: &Value) -> Vec<FieldError> {
    let mut walk = Walk { excused: true, ..Walk::default() };
    walk.value(watched, node, value, Some(old), Ratchet::root(node, value, Some(old)), &Path::Root);
    walk.faults
}

/// What is wrong with a default by the rules of its schema. `base` is where it stands.
pub(crate) fn check_default(node: &Node, value: &Value, base: &str) -> Vec<FieldError> {
    let Some(watched) = watch(node, node.embedded) else { return Vec::new() };
    let mut faults = check(&watched, node, value, None);
    for fault in &mut faults {
        fault.path = if fault.path == WHOLE { base.to_owned() } else { format!("{base}.{}", fault.path) };
    }
    faults
}

#[derive(Default)]
struct Walk {
    budget: Budget,
    faults: Vec<FieldError>,
    /// Whether faults are what is excused, and not what is not.
    excused: bool,
    known: Known,
    /// No further rule is looked at.
    spent: bool,
}

/// How the place of a whole object is told.
const WHOLE: &str = "<nil>";

fn told(path: &Path<'_>) -> String {
    let text = path.to_string();
    if text.is_empty() { WHOLE.to_owned() } else { text }
}

impl Walk {
    fn value(
        &mut self,
        watched: &Watched,
        node: &Node,
        value: &Value,
        old: Option<&Value>,
        ratchet: Ratchet<'_>,
        path: &Path<'_>,
    ) {
        if value.is_null() || self.spent {
            return;
        }
        if let Some(here) = &watched.here {
            self.rules(here, node, value, old.filter(|old| !old.is_null()), ratchet, path);
        }
        match value {
            Value::Object(members) => {
                let old = old.and_then(Value::as_object);
                for (name, value) in members {
                    let before = old.and_then(|old| old.get(name));
                    let property = watched.properties.iter().find(|(known, _)| **known == **name);
                    if let (Some((_, below)), Some(node)) = (property, node.property(name)) {
                        self.value(below, node, value, before, ratchet.key(name), &path.field(name));
                    } else if let (Some(below), Some(node)) = (&watched.additional, node.additional.node()) {
                        self.value(below, node, value, before, ratchet.key(name), &path.key(name));
                    }
                }
            }
            Value::Array(items) => {
                let (Some(below), Some(item)) = (&watched.items, node.items.as_deref()) else { return };
                let before = lists::Before::new(node, old);
                for (index, value) in items.iter().enumerate() {
                    let old = before.find(node, value);
                    self.value(below, item, value, old, ratchet.index(item, value, old), &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn rules(
        &mut self,
        here: &Here,
        node: &Node,
        value: &Value,
        old: Option<&Value>,
        ratchet: Ratchet<'_>,
        path: &Path<'_>,
    ) {
        let form = node.form.text();
        let invalid = |detail: String, faults: &mut Vec<FieldError>| {
            faults.push(FieldError::invalid(told(path), form, detail));
        };
        let Some(shape) = &here.shape else { return };
        for rule in &here.rules {
            if self.spent {
                return;
            }
            if self.excused && (rule.looks_back() || !ratchet.excuses(&mut self.known)) {
                continue;
            }
            if self.budget.remaining() == 0 {
                self.spent = true;
                invalid(rule::OUT_OF_BUDGET.to_owned(), &mut self.faults);
                return;
            }
            match rule.judge(shape, value, old, &mut self.budget) {
                rule::Verdict::Holds => {}
                rule::Verdict::Failed { detail, last } => {
                    self.spent = last;
                    invalid(detail, &mut self.faults);
                }
                rule::Verdict::Broken { detail, last } => {
                    self.spent = last;
                    if !self.excused && !rule.looks_back() && ratchet.excuses(&mut self.known) {
                        continue;
                    }
                    self.faults.push(broken(rule, node, value, detail, last, path));
                }
            }
        }
    }
}

/// The error of a rule that does not hold.
fn broken(rule: &Rule, node: &Node, value: &Value, detail: String, unexplained: bool, path: &Path<'_>) -> FieldError {
    let place = match (path, rule.field_path()) {
        (_, "") => told(path),
        (Path::Root, field) => field.to_owned(),
        (path, field) => format!("{path}.{field}"),
    };
    if unexplained {
        return FieldError::invalid(place, node.form.text(), detail);
    }
    let shown = match node.form {
        Form::Object | Form::Array => None,
        _ => Some(value.clone()),
    };
    match rule.cause() {
        cause @ (Cause::Forbidden | Cause::Required) => FieldError::new(cause, place, detail, None),
        Cause::Duplicate => FieldError::new(Cause::Duplicate, place, "", shown),
        cause => FieldError::new(cause, place, detail, shown),
    }
}

/// The sentence that says why rules were not looked at, if one of the faults makes it useless.
pub(crate) fn hindered(faults: &[FieldError]) -> Option<FieldError> {
    let hinders = |fault: &FieldError| {
        matches!(
            fault.kind,
            Cause::NotSupported | Cause::Required | Cause::TooLong | Cause::TooMany | Cause::TypeInvalid
        )
    };
    faults.iter().any(hinders).then(|| {
        let detail = "some validation rules were not checked because the object was invalid; correct the existing errors \
                      to complete validation";
        FieldError::invalid(WHOLE, Value::Null, detail)
    })
}

/// Whether list elements can be told to be the same as before.
pub(crate) fn correlates(node: &Node) -> bool {
    node.list_type == ListType::Map
}
