//! Takes fields and items out of an object.
//!
//! Invariant: a container that loses its last member stays, empty: whether it is still there is for its owner to say, and
//! for defaulting to tidy. An atomic cannot lose a part; asked for a part of it, it loses all.

use serde_json::{Map, Value};

use super::element::Element;
use super::set::Set;
use super::shape::{Form, Shape};
use super::typed::item_element;

/// Removes every member of `doomed` from the value.
pub(super) fn remove(shape: Shape<'_>, value: &mut Value, doomed: &Set<'_>) {
    if doomed.is_empty() {
        return;
    }
    match (shape.form(Some(value)), value) {
        (Form::Map { atomic: true }, Value::Object(members)) => *members = Map::new(),
        (Form::Map { atomic: false }, Value::Object(members)) => members.retain(|name, member| {
            let Some(node) = doomed.at(&Element::Field(name)) else { return true };
            if !node.member {
                remove(shape.child(name).map_or(Shape::Opaque, |(inner, _)| inner), member, &node.below);
            }
            !node.member
        }),
        (Form::List(list), Value::Array(items)) => {
            if list.is_atomic() {
                items.clear();
                return;
            }
            items.retain_mut(|item| {
                let node = match item_element(&list, item) {
                    Ok(element) => doomed.at(&element),
                    Err(_) => None,
                };
                let Some(node) = node else { return true };
                if !node.member {
                    remove(list.item, item, &node.below);
                }
                !node.member
            });
        }
        _ => {}
    }
}
