//! What differs between two versions of an object, as field sets.
//!
//! Invariant: a path is in at most one of the three sets, and all are empty exactly when no manager could tell the two
//! versions apart.

use serde_json::{Map, Value};

use super::element::Element;
use super::set::{Node, Set};
use super::shape::{Form, List, Shape};
use super::typed::{Faults, item_element, same};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison<'a> {
    pub added: Set<'a>,
    pub modified: Set<'a>,
    pub removed: Set<'a>,
}

impl<'a> Comparison<'a> {
    fn attach(&mut self, element: Element<'a>, mark: Mark, below: Self) {
        let push = |set: &mut Set<'a>, own: Mark, below: Set<'a>| {
            if mark == own || !below.is_empty() {
                set.push(Node { element: element.clone(), member: mark == own, below });
            }
        };
        push(&mut self.added, Mark::Added, below.added);
        push(&mut self.modified, Mark::Modified, below.modified);
        push(&mut self.removed, Mark::Removed, below.removed);
    }
}

/// What happened to a place itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Same,
    Added,
    Modified,
    Removed,
}

/// Compares two objects of one shape.
pub(super) fn compare<'a>(shape: Shape<'a>, old: &'a Value, new: &'a Value) -> Result<Comparison<'a>, Faults> {
    let mut walk = Walk { faults: Faults::default() };
    let mut out = Comparison::default();
    walk.visit(shape, Some(old), Some(new), &mut out);
    if walk.faults.is_empty() { Ok(out) } else { Err(walk.faults) }
}

struct Walk {
    faults: Faults,
}

impl Walk {
    /// Collects what differs below a place; tells what happened to the place.
    fn visit<'a>(
        &mut self,
        shape: Shape<'a>,
        old: Option<&'a Value>,
        new: Option<&'a Value>,
        out: &mut Comparison<'a>,
    ) -> Mark {
        if let (Some(old), Some(new)) = (old, new)
            && differ_in_kind(old, new)
        {
            self.visit(shape, Some(old), None, out);
            self.visit(shape, None, Some(new), out);
            return Mark::Modified;
        }
        match form(shape, old, new) {
            Form::Map { atomic: false } => {
                let (left, right) = (members(old), members(new));
                if left.is_some() || right.is_some() {
                    self.members(shape, left, right, out);
                    return presence(old, new);
                }
            }
            Form::List(list) if !list.is_atomic() => {
                let (left, right) = (items(old), items(new));
                if !left.is_empty() || !right.is_empty() {
                    self.items(&list, left, right, out);
                    return presence(old, new);
                }
            }
            _ => {}
        }
        match (old, new) {
            (Some(old), Some(new)) if same(old, new) => Mark::Same,
            (Some(_), Some(_)) => Mark::Modified,
            _ => presence(old, new),
        }
    }

    fn members<'a>(
        &mut self,
        shape: Shape<'a>,
        old: Option<&'a Map<String, Value>>,
        new: Option<&'a Map<String, Value>>,
        out: &mut Comparison<'a>,
    ) {
        let (mut old, mut new) = (old.into_iter().flatten().peekable(), new.into_iter().flatten().peekable());
        loop {
            let (name, left, right) = match (old.peek(), new.peek()) {
                (None, None) => return,
                (Some((a, _)), Some((b, _))) if a == b => {
                    let (left, right) = (old.next(), new.next());
                    let Some(name) = left.map(|(name, _)| name) else { return };
                    (name, left.map(|(_, value)| value), right.map(|(_, value)| value))
                }
                (Some((a, _)), Some((b, _))) if a > b => {
                    let Some((name, value)) = new.next() else { return };
                    (name, None, Some(value))
                }
                (None, Some(_)) => {
                    let Some((name, value)) = new.next() else { return };
                    (name, None, Some(value))
                }
                (Some(_), _) => {
                    let Some((name, value)) = old.next() else { return };
                    (name, Some(value), None)
                }
            };
            let Some((inner, _)) = shape.child(name) else { continue };
            let mut below = Comparison::default();
            let faults = std::mem::take(&mut self.faults);
            let mark = self.visit(inner, left, right, &mut below);
            self.rejoin(faults, &Element::Field(name));
            out.attach(Element::Field(name), mark, below);
        }
    }

    fn items<'a>(&mut self, list: &List<'a>, old: &'a [Value], new: &'a [Value], out: &mut Comparison<'a>) {
        let (old, new) = (self.name(list, old), self.name(list, new));
        let (mut left, mut right) = (old.as_slice(), new.as_slice());
        while let Some(element) = first(left, right) {
            let (olds, news) = (take(&mut left, element), take(&mut right, element));
            let mut below = Comparison::default();
            let faults = std::mem::take(&mut self.faults);
            let mark = match (olds, news) {
                (_, _) if olds.len() <= 1 && news.len() <= 1 => {
                    self.visit(list.item, value_of(olds), value_of(news), &mut below)
                }
                // items that share a key are compared as one
                (_, _) if olds.len() >= 2 && news.len() >= 2 => {
                    let alike = olds.len() == news.len() && olds.iter().zip(news).all(|((_, a), (_, b))| same(a, b));
                    if alike { Mark::Same } else { Mark::Modified }
                }
                (_, [item, ..]) if olds.len() >= 2 => {
                    self.visit(list.item, None, Some(item.1), &mut below);
                    out.added.push(Node { element: element.clone(), member: true, below: below.added });
                    below = Comparison::default();
                    Mark::Removed
                }
                ([item, ..], _) if news.len() >= 2 => {
                    self.visit(list.item, Some(item.1), None, &mut below);
                    out.removed.push(Node { element: element.clone(), member: true, below: below.removed });
                    below = Comparison::default();
                    Mark::Added
                }
                (_, []) => Mark::Removed,
                ([], _) => Mark::Added,
                _ => Mark::Same,
            };
            self.rejoin(faults, element);
            out.attach(element.clone(), mark, below);
        }
    }

    /// The items with their names, sorted by them.
    fn name<'a>(&mut self, list: &List<'a>, items: &'a [Value]) -> Vec<(Element<'a>, &'a Value)> {
        let mut named = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item_element(list, item) {
                Ok(element) => named.push((element, item)),
                Err(why) => self.faults.absorb(Faults::one(format!("element {index}: {why}"))),
            }
        }
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named
    }

    /// Puts back the faults from before a child was visited; those of the child get its place.
    fn rejoin(&mut self, before: Faults, element: &Element<'_>) {
        let below = std::mem::replace(&mut self.faults, before);
        if !below.is_empty() {
            self.faults.absorb_below(element, below);
        }
    }
}

type Named<'a> = (Element<'a>, &'a Value);

fn first<'n, 'a>(left: &'n [Named<'a>], right: &'n [Named<'a>]) -> Option<&'n Element<'a>> {
    match (left.first(), right.first()) {
        (Some((a, _)), Some((b, _))) => Some(a.min(b)),
        (one, other) => one.or(other).map(|(element, _)| element),
    }
}

/// The leading items of that name.
fn take<'n, 'a>(rest: &mut &'n [Named<'a>], element: &Element<'_>) -> &'n [Named<'a>] {
    let count = rest.iter().take_while(|(held, _)| held == element).count();
    let (taken, tail) = rest.split_at(count);
    *rest = tail;
    taken
}

fn value_of<'a>(named: &[Named<'a>]) -> Option<&'a Value> {
    named.first().map(|(_, value)| *value)
}

/// The form of a place; without a schema that of the newer value, unless it is null.
fn form<'a>(shape: Shape<'a>, old: Option<&Value>, new: Option<&Value>) -> Form<'a> {
    shape.form(new.filter(|value| !value.is_null()).or(old).or(new))
}

/// One a list, a map or a scalar, and the other not; only a place without a schema can hold either.
fn differ_in_kind(old: &Value, new: &Value) -> bool {
    let kind = |value: &Value| match value {
        Value::Null => None,
        Value::Array(_) => Some(1),
        Value::Object(_) => Some(2),
        _ => Some(0),
    };
    matches!((kind(old), kind(new)), (Some(old), Some(new)) if old != new)
}

fn members(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object).filter(|members| !members.is_empty())
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn presence(old: Option<&Value>, new: Option<&Value>) -> Mark {
    match (old, new) {
        (None, Some(_)) => Mark::Added,
        (Some(_), None) => Mark::Removed,
        _ => Mark::Same,
    }
}
