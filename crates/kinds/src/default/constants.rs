//! What each struct type gets by default, gathered once from the facts.
//!
//! Invariant: facts/constants.tsv and the `+default` values of facts/types.json are the only sources of constants.

use std::sync::OnceLock;

use serde_json::Value;

use super::{Rule, structs};
use crate::schema::{Definition, Field, Schema, Type, TypeId, schema};

/// The defaults of one struct type.
#[derive(Default)]
pub(super) struct Extras {
    /// Paths below the struct and their values.
    pub constants: Vec<(Vec<String>, Value)>,
    pub rules: Vec<Rule>,
    /// Places of the fields that Go always writes, with their zero values.
    pub always: Vec<(usize, Value)>,
    /// Places of the structs that are no pointers: Go writes them even if nothing is in them, whatever their tag says.
    pub structs: Vec<usize>,
}

pub(super) fn of(id: TypeId) -> &'static Extras {
    static ALL: OnceLock<Vec<Extras>> = OnceLock::new();
    static NONE: Extras = Extras { constants: Vec::new(), rules: Vec::new(), always: Vec::new(), structs: Vec::new() };
    ALL.get_or_init(gather).get(usize::from(id.0)).unwrap_or(&NONE)
}

fn gather() -> Vec<Extras> {
    let schema = schema();
    let mut all: Vec<Extras> = schema
        .definitions()
        .iter()
        .map(|definition| {
            let mut extras = Extras::default();
            for (index, field) in definition.fields.iter().enumerate() {
                let zero = zero(schema, field);
                if let Some(value) = field.default.as_deref()
                    && (field.pointer || field.always || Some(value) != zero.as_ref())
                {
                    extras.constants.push((vec![field.name.to_string()], value.clone()));
                }
                if schema.ty(field.ty) == Type::Object && !field.pointer {
                    extras.structs.push(index);
                }
                if let Some(zero) = written(schema, definition, field) {
                    extras.always.push((index, zero));
                }
            }
            extras
        })
        .collect();
    for (definition, path, value) in rows() {
        let id = schema.find(definition).expect("invariant: constants.tsv names types of types.json");
        let path = path.split('.').map(str::to_owned).collect();
        all[usize::from(id.0)].constants.push((path, value));
    }
    for (definition, rule) in structs::RULES {
        let id = schema.find(definition).expect("invariant: rules name types of types.json");
        all[usize::from(id.0)].rules.push(*rule);
    }
    all
}

/// The lines of facts/constants.tsv.
pub(super) fn rows() -> impl Iterator<Item = (&'static str, &'static str, Value)> {
    include_str!("../../facts/constants.tsv").lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut columns = line.split('\t');
        let (definition, path, value) = (columns.next()?, columns.next()?, columns.next()?);
        Some((definition, path, serde_json::from_str(value).expect("invariant: constants.tsv holds JSON values")))
    })
}

/// What Go writes of a field that nobody set; none if it leaves the field out.
fn written(schema: &Schema, definition: &Definition, field: &Field) -> Option<Value> {
    // The one field in all of v0.36 that is tagged `omitzero`; and what says which kind an object is, is no zero.
    let left_out = &*field.name == "creationTimestamp" && definition.name.ends_with(".ObjectMeta")
        || matches!(&*field.name, "apiVersion" | "kind") && !definition.kinds.is_empty();
    if left_out {
        return None;
    }
    match schema.ty(field.ty) {
        _ if field.pointer => field.always.then_some(Value::Null),
        // `omitempty` knows no empty struct, and these are structs that write themselves as no object.
        Type::Time | Type::MicroTime | Type::Raw => Some(Value::Null),
        Type::Quantity => Some(Value::from("0")),
        Type::IntOrString => Some(Value::from(0)),
        _ if !field.always => None,
        Type::List(_) | Type::Map(_) | Type::Bytes => Some(Value::Null),
        _ => zero(schema, field),
    }
}

fn zero(schema: &Schema, field: &Field) -> Option<Value> {
    Some(match schema.ty(field.ty) {
        Type::String => Value::String(String::new()),
        Type::Integer32 | Type::Integer64 => Value::from(0),
        Type::Boolean => Value::Bool(false),
        _ => return None,
    })
}
