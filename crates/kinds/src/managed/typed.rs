//! An object against its schema: is it of the right shape, and which fields does it set.
//!
//! Invariant: faults read as upstream's typed values word them, Go's way of printing values included, because they reach
//! the user of apply unchanged. Why beside `coerce`: apply judges what the user wrote before it is an object of the kind.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

use super::element::{self, Element};
use super::set::{Node, Set};
use super::shape::{Form, List, Relation, Scalar, Shape};
use crate::patch::golang;

/// What is wrong at a place of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// `.spec.containers[name="web"]`; empty for the object itself.
    pub path: String,
    pub message: String,
}

/// Everything that is wrong with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults(pub Vec<Fault>);

impl Faults {
    pub(super) fn one(message: impl Into<String>) -> Self {
        Self(vec![Fault { path: String::new(), message: message.into() }])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn absorb(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The faults of a child, told with the child's place.
    pub(super) fn absorb_below(&mut self, element: &Element<'_>, other: Self) {
        let below = |fault: Fault| Fault { path: format!("{element}{}", fault.path), ..fault };
        self.0.extend(other.0.into_iter().map(below));
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [fault] = self.0.as_slice() {
            return fault.fmt(f);
        }
        f.write_str("errors:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// The element that names an item of a list that is no atomic.
pub(super) fn item_element<'a>(list: &List<'a>, item: &'a Value) -> Result<Element<'a>, String> {
    let keys = match list.relation {
        Relation::Atomic => return Err("invalid indexing of non-associative list".to_owned()),
        Relation::Set => return set_element(item),
        Relation::Keys(keys) => keys,
    };
    let members = match item {
        Value::Object(members) => members,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut fields = Vec::with_capacity(keys.len());
    for name in keys {
        if let Some(value) = members.get(&**name).or_else(|| list.item.key_default(name)) {
            fields.push((Cow::Borrowed(&**name), element::Scalar::of(value)));
        }
    }
    if fields.is_empty() && !keys.is_empty() {
        let names: Vec<String> = keys.iter().map(|name| crate::error::quote(name)).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Element::Key(fields.into()))
}

fn set_element(item: &Value) -> Result<Element<'_>, String> {
    Err(match item {
        Value::Object(_) => "associative list without keys has an element that's a map type",
        Value::Array(_) => "not supported: associative list with lists as elements",
        Value::Null => "associative list without keys has an element that's an explicit null",
        scalar => return Ok(Element::Value(element::Scalar::of(scalar))),
    }
    .to_owned())
}

/// Checks an object against its schema; `duplicates` allows what clients have stored before it was refused.
pub(super) fn validate(shape: Shape<'_>, value: &Value, duplicates: bool) -> Faults {
    match (shape.form(Some(value)), value) {
        (_, Value::Null) => Faults::default(),
        (Form::Scalar(scalar), value) => scalar_fault(scalar, value).map(Faults::one).unwrap_or_default(),
        (Form::List(list), Value::Array(items)) => validate_items(&list, items, duplicates),
        (Form::Map { .. }, Value::Object(members)) => validate_members(shape, members, duplicates),
        (Form::List(_), other) => Faults::one(format!("expected list, got {}", pointer(other))),
        (Form::Map { .. }, other) => Faults::one(format!("expected map, got {}", pointer(other))),
    }
}

fn validate_members(shape: Shape<'_>, members: &Map<String, Value>, duplicates: bool) -> Faults {
    let mut faults = Faults::default();
    for (name, value) in members {
        match shape.child(name) {
            Some((inner, _)) => {
                let inner = validate(inner, value, duplicates);
                if !inner.is_empty() {
                    faults.absorb_below(&Element::Field(name), inner);
                }
            }
            None => {
                faults.absorb_below(&Element::Field(name), Faults::one("field not declared in schema"));
                break;
            }
        }
    }
    faults
}

fn validate_items(list: &List<'_>, items: &[Value], duplicates: bool) -> Faults {
    let mut faults = Faults::default();
    let mut places = Vec::with_capacity(items.len());
    let mut unnamed = None;
    for (index, item) in items.iter().enumerate() {
        if list.is_atomic() {
            places.push(Element::Index(i64::try_from(index).unwrap_or(i64::MAX)));
            continue;
        }
        match item_element(list, item) {
            Ok(element) => places.push(element),
            Err(why) => {
                // the rest cannot be named either without looking further, as upstream stops here
                unnamed = Some(Faults::one(format!("element {index}: {why}")));
                break;
            }
        }
    }
    let repeated = if duplicates || list.is_atomic() { Vec::new() } else { repeated(&places) };
    for ((index, item), place) in items.iter().enumerate().zip(&places) {
        if repeated.binary_search(&index).is_ok() {
            faults.absorb(Faults::one(format!("duplicate entries for key {place}")));
        }
        let inner = validate(list.item, item, duplicates);
        if !inner.is_empty() {
            faults.absorb_below(place, inner);
        }
    }
    faults.absorb(unnamed.unwrap_or_default());
    faults
}

/// The places of elements that stand further in front already, sorted.
fn repeated(elements: &[Element<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..elements.len()).collect();
    order.sort_by(|a, b| elements[*a].cmp(&elements[*b]));
    let again = order.windows(2).filter(|pair| elements[pair[0]] == elements[pair[1]]).map(|pair| pair[1]);
    let mut again: Vec<usize> = again.collect();
    again.sort_unstable();
    again
}

fn scalar_fault(scalar: Scalar, value: &Value) -> Option<String> {
    let fits = match scalar {
        Scalar::Text => value.is_string(),
        Scalar::Number => value.is_number(),
        Scalar::Boolean => value.is_boolean(),
        Scalar::Any => !value.is_array() && !value.is_object(),
    };
    if fits {
        return None;
    }
    Some(match scalar {
        Scalar::Text => format!("expected string, got &value.valueUnstructured{{Value:{}}}", golang::syntax(value)),
        Scalar::Number => format!("expected numeric (int or float), got {}", golang::type_name(value)),
        Scalar::Boolean => format!("expected boolean, got {}", pointer(value)),
        Scalar::Any => format!("expected any scalar, got {}", pointer(value)),
    })
}

/// How Go prints a pointer to a struct that holds the value.
fn pointer(value: &Value) -> String {
    format!("&{{{}}}", golang::value(value))
}

/// The fields that an object sets: its leaves, items of lists, and members of maps.
pub(super) fn fields_of<'a>(shape: Shape<'a>, value: &'a Value) -> Set<'a> {
    let mut set = Set::default();
    collect(shape, value, &mut set);
    set
}

/// Adds what is below a place; true if the place itself is a leaf.
fn collect<'a>(shape: Shape<'a>, value: &'a Value, below: &mut Set<'a>) -> bool {
    match (shape.form(Some(value)), value) {
        (Form::Scalar(_) | Form::Map { atomic: true }, _) => true,
        (Form::List(list), value) => {
            if list.is_atomic() {
                return true;
            }
            collect_items(&list, value.as_array().map_or(&[], Vec::as_slice), below);
            false
        }
        (Form::Map { atomic: false }, Value::Object(members)) => {
            for (name, member) in members {
                // what the schema does not know is nobody's
                let Some((inner, declared)) = shape.child(name) else { continue };
                let mut node = Node { element: Element::Field(name), member: !declared, below: Set::default() };
                node.member |= collect(inner, member, &mut node.below);
                node.member |= member.is_null() || member.as_object().is_some_and(Map::is_empty);
                below.push(node);
            }
            false
        }
        (Form::Map { atomic: false }, _) => false,
    }
}

fn collect_items<'a>(list: &List<'a>, items: &'a [Value], below: &mut Set<'a>) {
    let mut named: Vec<(Element<'a>, &'a Value)> =
        items.iter().filter_map(|item| Some((item_element(list, item).ok()?, item))).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let mut named = named.into_iter().peekable();
    while let Some((element, item)) = named.next() {
        let mut node = Node { element, member: true, below: Set::default() };
        let mut single = true;
        while named.next_if(|(next, _)| *next == node.element).is_some() {
            single = false;
        }
        // items that share a key are owned as one
        if single {
            collect(list.item, item, &mut node.below);
        }
        below.push(node);
    }
}

/// Equal, numbers by their value.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => element::Scalar::of(a) == element::Scalar::of(b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((n, a), (m, b))| n == m && same(a, b))
        }
        _ => a == b,
    }
}
