//! What expressions know of a schema.
//!
//! Invariant: a value without a type, a list without items and what is made of them cannot be named in expressions.
//! Unknown fields cannot be named either, also where they are kept.

use std::sync::Arc;

use expressions::{Format, Meaning, Property, Shape};
use serde_json::Value;

use super::super::node::{Checks, Form, Node};
use crate::schema::ListType;

/// The shape of a schema; `root` says that the value has metadata of its own. `name` appears in messages.
pub(crate) fn shape_of(node: &Node, root: bool, name: &str) -> Option<Shape> {
    let checks = node.checks.as_deref();
    if node.int_or_string {
        return Some(Shape::int_or_string(checks.and_then(|checks| checks.max_length)).nullable(node.nullable));
    }
    let shape = match node.form {
        Form::Any => return None,
        Form::Boolean => Shape::boolean(),
        Form::Integer => Shape::integer(),
        Form::Number => Shape::number(),
        Form::String => string(checks),
        Form::Array => {
            let item = node.items.as_deref()?;
            let items = inner(item, &format!("{name}.@idx"))?;
            Shape::list(items, checks.and_then(|checks| checks.max_items), meaning(node))
        }
        Form::Object => match node.additional.node() {
            Some(values) if !root => {
                let values = inner(values, &format!("{name}.@elem"))?;
                Shape::map(values, checks.and_then(|checks| checks.max_properties))
            }
            _ => object(node, checks, root, name),
        },
    };
    Some(shape.nullable(node.nullable))
}

fn inner(node: &Node, name: &str) -> Option<Arc<Shape>> {
    shape_of(node, node.embedded, name).map(Arc::new)
}

fn meaning(node: &Node) -> Meaning {
    match node.list_type {
        ListType::Set => Meaning::Set,
        ListType::Map => Meaning::Map(node.list_keys.iter().map(ToString::to_string).collect()),
        ListType::Atomic | ListType::Undeclared => Meaning::Atomic,
    }
}

fn string(checks: Option<&Checks>) -> Shape {
    let max_length = checks.and_then(|checks| checks.max_length);
    let format = match checks.and_then(|checks| checks.format).map(super::super::format::Format::name) {
        Some("byte") => Some(Format::Byte),
        Some("date") => Some(Format::Date),
        Some("date-time") => Some(Format::DateTime),
        Some("duration") => Some(Format::Duration),
        _ => None,
    };
    match format {
        Some(format) => Shape::formatted(format, max_length),
        None => {
            let values = checks.map(|checks| &checks.values).filter(|values| !values.is_empty());
            let longest =
                values.map(|values| values.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or_default());
            Shape::string(max_length, longest)
        }
    }
}

fn object(node: &Node, checks: Option<&Checks>, root: bool, name: &str) -> Shape {
    let meta = |property: &str| root && matches!(property, "apiVersion" | "kind" | "metadata");
    let required = |property: &str| checks.is_some_and(|checks| checks.required.iter().any(|name| **name == *property));
    let mut properties = Vec::new();
    for (property, schema) in node.properties().filter(|(property, _)| !meta(property)) {
        if let Some(shape) = inner(schema, &format!("{name}.{property}")) {
            let required = required(property) && schema.default.is_none();
            properties.push(Property { name: property, shape, required });
        }
    }
    if root {
        let text = || Arc::new(Shape::string(None, None));
        let names = ["name", "generateName"].map(|name| Property { name, shape: text(), required: false });
        let metadata = Arc::new(Shape::object(format!("{name}.metadata"), names));
        for (property, shape) in [("apiVersion", text()), ("kind", text()), ("metadata", metadata)] {
            properties.push(Property { name: property, shape, required: required(property) });
        }
    }
    Shape::object(name.to_owned(), properties)
}
