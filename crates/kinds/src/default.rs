//! Defaults: an object becomes what Go would have stored after decoding and defaulting it.
//!
//! Invariant: defaulting twice changes nothing. Order at each struct: members that Go would not have kept (null, and zero
//! values of fields that are no pointers and may be omitted) are dropped, structs that are no pointers are made where they
//! are absent (`status: {}`), constants are filled in, the members are visited, conditional rules of the struct run, and
//! members that Go always writes are completed; at the very end the rules of the kind run. Why zeros are dropped: a zero
//! counts as unset there, and stored objects compare equal to those that a Go client sends back.

mod canonical;
mod constants;
mod kinds;
mod structs;

use serde_json::Value;

use crate::catalog::Kind;
use crate::json::Members;
use crate::schema::{Definition, Field, Schema, Type, TypeId, schema};

pub(crate) use kinds::{
    custom_resource_definition, job, namespace, node, pod, replication_controller, secret, service_status, stateful_set,
};

/// A conditional rule of a struct or kind.
pub(crate) type Rule = fn(&mut Members);

/// Completes an object; wrong shapes are left alone.
pub fn default(kind: &Kind, value: &mut Value) {
    if let Some(custom) = &kind.custom {
        return custom.default(value);
    }
    default_type(kind.schema, value);
    if let (Some(rule), Some(members)) = (kind.rules.default, value.as_object_mut()) {
        rule(members);
    }
}

/// Completes the status of a new object, which the server has set or taken away after the object was defaulted.
pub(crate) fn complete_status(kind: &Kind, members: &mut Members) {
    let schema = schema();
    let field = if kind.custom.is_some() { None } else { schema.object(kind.schema).field("status") };
    if let Some(field) = field.filter(|field| !field.pointer && schema.ty(field.ty) == Type::Object) {
        let status = members.entry("status").or_insert_with(|| Value::Object(Members::new()));
        walk(schema, field.ty, status);
    }
}

/// Applies the defaults of a built-in type, without those of a kind.
pub fn default_type(id: TypeId, value: &mut Value) {
    walk(schema(), id, value);
}

/// An object in which nothing is set, not even defaults.
pub(crate) fn zero(id: TypeId) -> Value {
    let (definition, extras) = (schema().object(id), constants::of(id));
    let mut members = Members::new();
    for field in extras.structs.iter().map(|index| &definition.fields[*index]) {
        members.insert(field.name.to_string(), zero(field.ty));
    }
    complete(definition, &extras.always, &mut members);
    Value::Object(members)
}

fn walk(schema: &Schema, id: TypeId, value: &mut Value) {
    match (schema.ty(id), value) {
        (Type::Object, Value::Object(members)) => object(schema, id, members),
        (Type::List(item), Value::Array(items)) => items.iter_mut().for_each(|value| walk(schema, item, value)),
        (Type::Map(item), Value::Object(members)) => map(schema, item, members),
        (Type::Json, value @ (Value::Object(_) | Value::Array(_))) => {
            if let Some(inner) = schema.opened(id) {
                match value {
                    Value::Array(items) => items.iter_mut().for_each(|value| walk(schema, inner, value)),
                    value => walk(schema, inner, value),
                }
            }
        }
        (ty, value) => canonical::rewrite(ty, value),
    }
}

fn map(schema: &Schema, item: TypeId, members: &mut Members) {
    let ty = schema.ty(item);
    for value in members.values_mut() {
        // Go reads a null value of a map as the zero value.
        if value.is_null() && matches!(ty, Type::String | Type::Bytes) {
            *value = Value::String(String::new());
        }
        if ty == Type::Quantity {
            canonical::resource(value);
        } else {
            walk(schema, item, value);
        }
    }
}

fn object(schema: &Schema, id: TypeId, members: &mut Members) {
    let definition = schema.object(id);
    members.retain(|name, value| definition.field(name).is_none_or(|field| is_kept(schema, field, value)));
    let extras = constants::of(id);
    for (path, value) in &extras.constants {
        fill(members, path, value);
    }
    for field in extras.structs.iter().map(|index| &definition.fields[*index]) {
        if !members.contains_key(&*field.name) {
            members.insert(field.name.to_string(), Value::Object(Members::new()));
        }
    }
    for (name, value) in members.iter_mut() {
        if let Some(field) = definition.field(name) {
            walk(schema, field.ty, value);
        }
    }
    // Members of inner structs may have been dropped as zeros only now.
    for (path, value) in extras.constants.iter().filter(|(path, _)| path.len() > 1) {
        fill(members, path, value);
    }
    for rule in &extras.rules {
        rule(members);
    }
    complete(definition, &extras.always, members);
}

/// Whether Go would still have the member after decoding and encoding.
fn is_kept(schema: &Schema, field: &Field, value: &Value) -> bool {
    match value {
        Value::Null => schema.ty(field.ty) == Type::Json,
        _ if field.pointer || field.always => true,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty() || schema.ty(field.ty) == Type::IntOrString,
        Value::Number(number) => {
            number.as_i64() != Some(0) || matches!(schema.ty(field.ty), Type::IntOrString | Type::Quantity)
        }
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty() || !matches!(schema.ty(field.ty), Type::Map(_)),
    }
}

/// Sets a member below structs, which are made where they are absent.
fn fill(members: &mut Members, path: &[String], value: &Value) {
    match path {
        [] => {}
        [name] => crate::json::fill(members, name, value.clone()),
        [name, rest @ ..] => match members.get(name) {
            None | Some(Value::Null | Value::Object(_)) => fill(crate::json::object(members, name), rest, value),
            Some(_) => {}
        },
    }
}

/// Scalars that Go always writes are there with their zero value, which some clients insist on.
fn complete(definition: &Definition, always: &[(usize, Value)], members: &mut Members) {
    for (index, zero) in always {
        let name = &definition.fields[*index].name;
        if !members.contains_key(&**name) {
            members.insert(name.to_string(), zero.clone());
        }
    }
}

#[cfg(test)]
mod tests;
