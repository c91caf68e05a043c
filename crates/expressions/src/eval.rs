//! Evaluation: one walk over the lowered tree.
//!
//! Invariant: every step is charged before its work is done, so that no expression does more than its budget allows;
//! a charge that does not fit ends the evaluation and no operator absorbs that. Recursion is as deep as the tree, which
//! the parser bounds.

mod fold;
pub(crate) mod meter;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use crate::cost::STRUCT;
use crate::functions::operators;
use crate::library::Function;
use crate::tree::Mode;
use crate::value::{Entries, Failure, Key, Made, Outcome, Value};

pub(crate) use fold::FoldNode;
pub(crate) use meter::Meter;

/// A checked expression, names resolved.
pub(crate) enum Node {
    Const(Value<'static>),
    Variable(usize),
    Local(usize),
    Select(Box<SelectNode>),
    Index(Box<IndexNode>),
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Conditional(Box<[Node; 3]>),
    /// `in` a constant list.
    Among(Box<[Node; 2]>),
    Call(&'static Function, Box<[Node]>),
    /// `or` and `orValue`: the second is evaluated only if the first is empty.
    OrElse(Box<[Node; 2]>, Access),
    List(Box<[(Node, bool)]>),
    Map(Box<[EntryNode]>),
    Make(Box<MakeNode>),
    Fold(Box<FoldNode>),
    Bind(Box<BindNode>),
    OptMap(Box<OptMapNode>),
}

/// Whether a missing part is an error or makes an empty optional.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Plain,
    Optional,
}

pub(crate) struct SelectNode {
    pub(crate) operand: Node,
    pub(crate) field: Arc<str>,
    pub(crate) mode: Mode,
    /// The operand is no path into a variable.
    pub(crate) fresh: bool,
}

pub(crate) struct IndexNode {
    pub(crate) operand: Node,
    pub(crate) index: Node,
    pub(crate) access: Access,
    /// The operand is no path into a variable.
    pub(crate) fresh: bool,
    /// The index is a path into a variable.
    pub(crate) by_path: bool,
}

pub(crate) struct EntryNode {
    pub(crate) key: Node,
    pub(crate) value: Node,
    pub(crate) optional: bool,
}

/// An object that is made.
pub(crate) struct MakeNode {
    pub(crate) name: Arc<str>,
    pub(crate) fields: Box<[InitNode]>,
}

pub(crate) struct InitNode {
    pub(crate) field: Arc<str>,
    pub(crate) value: Node,
    pub(crate) optional: bool,
}

pub(crate) struct BindNode {
    pub(crate) slot: usize,
    pub(crate) value: Node,
    pub(crate) body: Node,
}

pub(crate) struct OptMapNode {
    pub(crate) slot: usize,
    pub(crate) target: Node,
    pub(crate) body: Node,
    pub(crate) flat: bool,
    /// The body mentions the value.
    pub(crate) used: bool,
}

/// Where the values of variables come from. Asked each time a variable is used, so a value may be made when needed.
pub trait Vars<'a> {
    fn value(&self, name: &str) -> Option<Value<'a>>;
}

impl<'a, const N: usize> Vars<'a> for [(&str, Value<'a>); N] {
    fn value(&self, name: &str) -> Option<Value<'a>> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }
}

pub(crate) struct Machine<'a, 'v> {
    pub(crate) names: &'a [String],
    pub(crate) vars: &'v dyn Vars<'a>,
    pub(crate) locals: Vec<Local<'a>>,
    pub(crate) meter: Meter<'a>,
    /// What working out pending values has cost.
    pub(crate) pending: u64,
}

/// The value of a local variable.
#[derive(Clone)]
pub(crate) enum Local<'a> {
    Known(Value<'a>),
    /// What is bound is worked out when it is first used.
    Pending(&'a Node),
    Failed(Failure),
}

impl<'a> Machine<'a, '_> {
    pub(crate) fn eval(&mut self, node: &'a Node) -> Outcome<'a> {
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Variable(at) => self.variable(*at),
            Node::Local(slot) => self.local(*slot),
            Node::Select(select) => self.select(select),
            Node::Index(index) => self.index(index),
            Node::Among(both) => self.among(both),
            Node::And(terms) => self.logic(terms, false),
            Node::Or(terms) => self.logic(terms, true),
            Node::Conditional(parts) => self.choice(parts),
            Node::Call(function, args) => self.call(function, args),
            Node::OrElse(both, access) => self.or_else(both, *access),
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Make(make) => self.make(make),
            Node::Fold(fold) => self.fold(fold),
            Node::Bind(bind) => self.bind(bind),
            Node::OptMap(map) => self.opt_map(map),
        }
    }

    #[inline(never)]
    fn choice(&mut self, parts: &'a [Node; 3]) -> Outcome<'a> {
        let [condition, yes, no] = parts;
        let branch = if self.eval(condition)?.want_bool()? { yes } else { no };
        let value = self.eval(branch)?;
        // A path is read as a part of the choice, its variable for nothing.
        let is_path = match branch {
            Node::Variable(_) | Node::Local(_) | Node::Index(_) => true,
            Node::Select(select) => select.mode != Mode::Test,
            _ => false,
        };
        self.meter.refund(u64::from(is_path));
        Ok(value)
    }

    #[inline(never)]
    fn bind(&mut self, bind: &'a BindNode) -> Outcome<'a> {
        self.locals[bind.slot] = Local::Pending(&bind.value);
        self.eval(&bind.body)
    }

    #[inline(never)]
    fn local(&mut self, slot: usize) -> Outcome<'a> {
        self.meter.charge(1)?;
        match &self.locals[slot] {
            Local::Known(value) => Ok(value.clone()),
            Local::Failed(failure) => Err(failure.clone()),
            Local::Pending(node) => {
                let node: &'a Node = node;
                let (spent, pending) = (self.meter.spent(), self.pending);
                let outcome = self.eval(node);
                self.pending = pending + self.meter.spent().saturating_sub(spent);
                self.locals[slot] = match &outcome {
                    Ok(value) => Local::Known(value.clone()),
                    Err(failure) => Local::Failed(failure.clone()),
                };
                outcome
            }
        }
    }

    #[inline(never)]
    fn variable(&mut self, at: usize) -> Outcome<'a> {
        self.meter.charge(1)?;
        let name = &self.names[at];
        self.vars.value(name).ok_or_else(|| Failure::new(format!("no such attribute(s): {name}")))
    }

    #[inline(never)]
    fn select(&mut self, select: &'a SelectNode) -> Outcome<'a> {
        let operand = self.eval(&select.operand)?;
        self.field(select, &operand)
    }

    #[inline(never)]
    fn field(&mut self, select: &'a SelectNode, operand: &Value<'a>) -> Outcome<'a> {
        self.meter.charge(u64::from(select.fresh))?;
        let (target, is_optional) = match operand {
            Value::Optional(None) if select.mode == Mode::Test => {
                self.meter.refund(1);
                return Ok(Value::Bool(false));
            }
            Value::Optional(None) => return Ok(Value::NONE),
            Value::Optional(Some(inner)) => (inner.as_ref(), true),
            other => (other, false),
        };
        let found = match target {
            Value::Made(made) => Some(made.field(&select.field, select.mode).map(Ok)),
            _ => target.as_map().map(|map| map.field(&select.field)),
        };
        let absent = matches!(found, None | Some(None)) && (is_optional || select.mode == Mode::Optional);
        self.meter.charge(u64::from(select.mode != Mode::Test && !absent))?;
        match (select.mode, found) {
            (_, Some(Some(Err(failure)))) => Err(failure),
            (Mode::Test, found) => Ok(Value::Bool(found.flatten().is_some())),
            (Mode::Optional, found) => Ok(wrapped(found.flatten().transpose()?)),
            (Mode::Plain, Some(found)) if is_optional => Ok(wrapped(found.transpose()?)),
            (Mode::Plain, Some(Some(found))) => found,
            (Mode::Plain, Some(None) | None) => Err(Failure::new(format!("no such key: {}", select.field))),
        }
    }

    #[inline(never)]
    fn index(&mut self, node: &'a IndexNode) -> Outcome<'a> {
        let operand = self.eval(&node.operand)?;
        let index = self.eval(&node.index)?;
        self.at_index(node, &operand, &index)
    }

    #[inline(never)]
    fn at_index(&mut self, node: &IndexNode, operand: &Value<'a>, index: &Value<'a>) -> Outcome<'a> {
        self.meter.charge(u64::from(node.fresh))?;
        self.meter.refund(u64::from(node.by_path));
        let (target, is_optional) = match operand {
            Value::Optional(None) => return Ok(Value::NONE),
            Value::Optional(Some(inner)) => (inner.as_ref(), true),
            other => (other, false),
        };
        let found = element(target, index)?;
        if is_optional || node.access == Access::Optional {
            self.meter.charge(u64::from(found.is_some()))?;
            return Ok(wrapped(found.transpose()?));
        }
        self.meter.charge(1)?;
        match found {
            Some(found) => found,
            None if target.as_list().is_some() => Err(Failure::new(format!("index out of bounds: {index}"))),
            None => Err(Failure::new(format!("no such key: {index}"))),
        }
    }

    /// Whether a value is in a constant list, which costs nothing.
    #[inline(never)]
    fn among(&mut self, both: &'a [Node; 2]) -> Outcome<'a> {
        let sought = self.eval(&both[0])?;
        let list = self.eval(&both[1])?;
        operators::holds(list.want_list()?, &sought).map(Value::Bool)
    }

    /// `&&` and `||`: an operand that decides makes up for one that failed.
    #[inline(never)]
    fn logic(&mut self, terms: &'a [Node], decisive: bool) -> Outcome<'a> {
        let mut failed = None;
        for term in terms {
            match self.eval(term).and_then(|value| value.want_bool()) {
                Ok(value) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(failure) if failure.is_absorbable() => {
                    failed.get_or_insert(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        failed.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    #[inline(never)]
    fn call(&mut self, function: &'static Function, args: &'a [Node]) -> Outcome<'a> {
        match args {
            [one] => {
                let values = [self.argument(one)?];
                self.apply(function, &values)
            }
            [one, two] => self.call_two(function, one, two),
            _ => self.call_many(function, args),
        }
    }

    #[inline(never)]
    fn call_two(&mut self, function: &'static Function, one: &'a Node, two: &'a Node) -> Outcome<'a> {
        let values = [self.argument(one)?, self.argument(two)?];
        self.apply(function, &values)
    }

    #[inline(never)]
    fn call_many(&mut self, function: &'static Function, args: &'a [Node]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(self.argument(arg)?);
        }
        self.apply(function, &values)
    }

    /// A call whose argument failed costs one, too.
    fn argument(&mut self, node: &'a Node) -> Outcome<'a> {
        let outcome = self.eval(node);
        if matches!(&outcome, Err(failure) if failure.is_absorbable()) {
            self.meter.charge(1)?;
        }
        outcome
    }

    fn apply(&mut self, function: &'static Function, values: &[Value<'a>]) -> Outcome<'a> {
        self.meter.charge(function.price.actual(values))?;
        (function.run)(&mut self.meter, values)
    }

    #[inline(never)]
    fn or_else(&mut self, both: &'a [Node; 2], access: Access) -> Outcome<'a> {
        match (self.eval(&both[0])?, access) {
            (Value::Optional(None), _) => self.eval(&both[1]),
            (Value::Optional(Some(inner)), Access::Plain) => Ok((*inner).clone()),
            (found @ Value::Optional(_), Access::Optional) => Ok(found),
            _ => Err(Failure::no_overload()),
        }
    }

    #[inline(never)]
    fn list(&mut self, items: &'a [(Node, bool)]) -> Outcome<'a> {
        self.meter.charge(10)?;
        let mut values = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match self.eval(item)? {
                value if !optional => values.push(value),
                Value::Optional(None) => {}
                Value::Optional(Some(inner)) => values.push((*inner).clone()),
                other => {
                    let message = format!("cannot initialize optional list element from non-optional value {other}");
                    return Err(Failure::new(message));
                }
            }
        }
        Ok(Value::list(values))
    }

    #[inline(never)]
    fn map(&mut self, entries: &'a [EntryNode]) -> Outcome<'a> {
        self.meter.charge(30)?;
        let mut map = Entries::new();
        for entry in entries {
            let key = self.eval(&entry.key)?;
            let value = self.eval(&entry.value)?;
            let Some(value) = unwrapped(value, entry.optional, &key)? else { continue };
            let Some(place) = Key::of(&key) else {
                return Err(Failure::new(format!("unsupported key type: {}", key.type_name())));
            };
            map.insert(place, (key, value));
        }
        Ok(Value::Map(Arc::new(map)))
    }

    #[inline(never)]
    fn make(&mut self, make: &'a MakeNode) -> Outcome<'a> {
        self.meter.charge(STRUCT)?;
        let mut fields = BTreeMap::new();
        for InitNode { field, value, optional } in &make.fields {
            let value = self.eval(value)?;
            if let Some(value) = unwrapped(value, *optional, field)? {
                fields.insert(field.clone(), value);
            }
        }
        Made::new(make.name.clone(), fields).map(|made| Value::Made(Arc::new(made)))
    }

    #[inline(never)]
    fn opt_map(&mut self, map: &'a OptMapNode) -> Outcome<'a> {
        // The target counts once for being asked, and once for its value if that is looked at; what was pending only once.
        let before = self.meter.spent().saturating_sub(self.pending);
        let target = self.eval(&map.target)?;
        self.meter.charge(1)?;
        match target {
            Value::Optional(None) => {
                self.meter.charge(1)?;
                Ok(Value::NONE)
            }
            Value::Optional(Some(inner)) => {
                let asked = self.meter.spent().saturating_sub(self.pending).saturating_sub(before);
                let again = if map.used { asked } else { 0 };
                self.meter.charge(again + u64::from(!map.flat))?;
                self.locals[map.slot] = Local::Known((*inner).clone());
                let value = self.eval(&map.body)?;
                Ok(if map.flat { value } else { Value::some(value) })
            }
            _ => Err(Failure::no_overload()),
        }
    }
}

/// The value of an entry or field; none if it is an optional that is empty.
fn unwrapped<'a>(value: Value<'a>, optional: bool, key: impl Display) -> Result<Option<Value<'a>>, Failure> {
    match value {
        value if !optional => Ok(Some(value)),
        Value::Optional(inner) => Ok(inner.map(|inner| (*inner).clone())),
        other => {
            let message = format!("cannot initialize optional entry '{key}' from non-optional value {other}");
            Err(Failure::new(message))
        }
    }
}

fn wrapped(found: Option<Value<'_>>) -> Value<'_> {
    found.map_or(Value::NONE, Value::some)
}

/// The element at an index or key; none if there is none.
fn element<'a>(target: &Value<'a>, index: &Value<'a>) -> Result<Option<Outcome<'a>>, Failure> {
    if let Some(list) = target.as_list() {
        let at = match index {
            Value::Int(at) => Some(*at),
            Value::Uint(at) => i64::try_from(*at).ok(),
            Value::Double(at) if at.fract() == 0.0 && at.abs() < 9e18 => Some(*at as i64),
            _ => None,
        };
        let unsupported = || Failure::new(format!("unsupported index type '{}' in list", index.type_name()));
        let at = at.ok_or_else(unsupported)?;
        return Ok(usize::try_from(at).ok().and_then(|at| list.get(at)));
    }
    match target.as_map() {
        Some(map) => Ok(map.get(index)),
        None => Err(Failure::no_overload()),
    }
}
