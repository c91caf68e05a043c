//! FieldsV1: a field set as a JSON object.
//!
//! Invariant: what is written here is read back as the same set; what upstream writes is read as it means it: `.` marks a
//! member that has members below, an empty object is a member, elements of unknown types are skipped.
//! One difference in form: object members are in the order of their texts here, as everywhere in stored JSON, where
//! upstream sorts numbers in keys by size.

use serde_json::{Map, Value};

use super::element::{Element, Malformed};
use super::set::{Node, Set};

const SELF: &str = ".";

/// Reads the `fieldsV1` of an entry.
pub(super) fn decode(fields: &Value) -> Result<Set<'_>, Malformed> {
    match fields {
        Value::Object(members) => Ok(read(members)?.0),
        Value::Null => Ok(Set::default()),
        _ => Err(Malformed("ReadMapCB: expect { or n".to_owned())),
    }
}

/// The set below an object, and whether the object itself is a member.
fn read(members: &Map<String, Value>) -> Result<(Set<'_>, bool), Malformed> {
    let mut nodes = Vec::with_capacity(members.len());
    let mut member = false;
    for (name, value) in members {
        if name == SELF {
            member = true;
            continue;
        }
        let Some(element) = Element::parse(name)? else { continue };
        let (below, marked) = match value {
            Value::Object(inner) => read(inner)?,
            Value::Null => (Set::default(), true),
            _ => return Err(Malformed("ReadMapCB: expect { or n".to_owned())),
        };
        nodes.push(Node { element, member: marked, below });
    }
    let set = Set::sorted(nodes);
    member |= set.is_empty();
    Ok((set, member))
}

/// The `fieldsV1` of an entry.
pub(super) fn encode(set: &Set<'_>) -> Value {
    Value::Object(write(set, false))
}

fn write(set: &Set<'_>, member: bool) -> Map<String, Value> {
    let mut members = Map::new();
    if member && !set.is_empty() {
        members.insert(SELF.to_owned(), Value::Object(Map::new()));
    }
    for node in set.nodes() {
        let mut name = String::with_capacity(16);
        node.element.write(&mut name);
        members.insert(name, Value::Object(write(&node.below, node.member)));
    }
    members
}
