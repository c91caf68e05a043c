//! FieldsV1: a field set as a JSON object.
//!
//! Invariant: what is written here is read back as the same set; what upstream writes is read as it means it: `.` marks a
//! member that has members below, an empty object is a member, elements of unknown types are skipped.
//! A JSON value has its members in the order of their texts; upstream sorts numbers in keys by size, which [`print`] does.

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

/// Appends the text of a `fieldsV1`, with members in the order of their elements.
pub(super) fn print(fields: &Value, out: &mut Vec<u8>) {
    let Value::Object(members) = fields else { return plain(fields, out) };
    let mut members: Vec<(Option<Element<'_>>, &String, &Value)> = {
        // names are in the order of their texts already
        let odd = |name: &&String| !name.starts_with("f:") && *name != SELF;
        let ordered = members.keys().filter(odd).nth(1).is_none();
        let element = |name| if ordered { None } else { Element::parse(name).ok().flatten() };
        members.iter().map(|(name, below)| (element(name), name, below)).collect()
    };
    members.sort_by(|a, b| a.0.cmp(&b.0));
    out.push(b'{');
    for (index, (_, name, below)) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        plain(name, out);
        out.push(b':');
        print(below, out);
    }
    out.push(b'}');
}

pub(super) fn plain(value: &(impl serde::Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("invariant: a JSON value encodes into memory");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_keys_go_by_size() {
        let text = r#"{"f:a":{".":{},"k:{\"port\":80}":{},"k:{\"port\":443}":{".":{},"f:port":{}},"k:{\"port\":8080}":{}},"f:b":{"v:\"10\"":{},"v:\"9\"":{},"i:2":{},"i:10":{}}}"#;
        let mut out = Vec::new();
        print(&serde_json::from_str(text).unwrap(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}
