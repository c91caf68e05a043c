//! Folds: `all`, `exists`, `map` and their kin.
//!
//! Invariant: the costs are those of the specification's general comprehension, step by step; the work is less. An
//! element that fails does not stop `all` and `exists`, for a later one may decide.

use std::sync::Arc;

use super::{Local, Machine, Node};
use crate::tree::Folding;
use crate::value::{Entries, Failure, Key, Outcome, Value};

pub(crate) struct FoldNode {
    pub(crate) folding: Folding,
    pub(crate) range: Node,
    pub(crate) slot: usize,
    pub(crate) second: Option<usize>,
    pub(crate) filter: Option<Node>,
    pub(crate) body: Node,
}

/// What a fold has made so far.
enum Made<'a> {
    Verdict(Option<Failure>),
    Count(u64),
    List(Vec<Value<'a>>),
    Map(Entries<'a>),
}

/// Whether to look at the next element.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    Decided,
}

impl<'a> Machine<'a, '_> {
    #[inline(never)]
    pub(super) fn fold(&mut self, fold: &'a FoldNode) -> Outcome<'a> {
        let range = self.eval(&fold.range)?;
        let mut made = match fold.folding {
            Folding::All | Folding::Exists => Made::Verdict(None),
            Folding::ExistsOne => Made::Count(0),
            Folding::Map | Folding::Filter => Made::List(Vec::new()),
            Folding::MapValues | Folding::MapEntries => Made::Map(Entries::new()),
        };
        let decided = self.elements(fold, &range, &mut made)?;
        self.meter.charge(if fold.folding == Folding::ExistsOne { 2 } else { 1 })?;
        match made {
            Made::Verdict(_) if decided == Next::Decided => Ok(Value::Bool(fold.folding == Folding::Exists)),
            Made::Verdict(Some(failure)) => Err(failure),
            Made::Verdict(None) => Ok(Value::Bool(fold.folding == Folding::All)),
            Made::Count(count) => Ok(Value::Bool(count == 1)),
            Made::List(values) => Ok(Value::list(values)),
            Made::Map(entries) => Ok(Value::Map(Arc::new(entries))),
        }
    }

    fn elements(&mut self, fold: &'a FoldNode, range: &Value<'a>, made: &mut Made<'a>) -> Result<Next, Failure> {
        if let Some(list) = range.as_list() {
            for at in 0..list.len() {
                let element = list.get(at).expect("invariant: below the length")?;
                match fold.second {
                    Some(second) => {
                        self.locals[second] = Local::Known(element);
                        self.locals[fold.slot] = Local::Known(Value::Int(at as i64));
                    }
                    None => self.locals[fold.slot] = Local::Known(element),
                }
                if self.element(fold, made)? == Next::Decided {
                    return self.decided(fold, at + 1 < list.len());
                }
            }
            return Ok(Next::Go);
        }
        let Some(map) = range.as_map() else { return Err(Failure::no_overload()) };
        let entries = map.entries();
        let last = entries.len();
        for (at, (key, value)) in entries.into_iter().enumerate() {
            self.locals[fold.slot] = Local::Known(key);
            if let Some(second) = fold.second {
                self.locals[second] = Local::Known(value?);
            }
            if self.element(fold, made)? == Next::Decided {
                return self.decided(fold, at + 1 < last);
            }
        }
        Ok(Next::Go)
    }

    /// The value of a variable of a fold.
    fn known(&self, slot: usize) -> Option<Value<'a>> {
        match &self.locals[slot] {
            Local::Known(value) => Some(value.clone()),
            Local::Pending(_) | Local::Failed(_) => None,
        }
    }

    /// The condition is looked at once more if there is another element.
    fn decided(&mut self, fold: &FoldNode, more: bool) -> Result<Next, Failure> {
        let condition = if fold.folding == Folding::Exists { 3 } else { 2 };
        self.meter.charge(if more { condition } else { 0 })?;
        Ok(Next::Decided)
    }

    fn element(&mut self, fold: &'a FoldNode, made: &mut Made<'a>) -> Result<Next, Failure> {
        if let Some(filter) = &fold.filter
            && !self.eval(filter)?.want_bool()?
        {
            return Ok(Next::Go);
        }
        match made {
            Made::Verdict(failed) => self.verdict(fold, failed),
            Made::Count(count) => {
                let holds = self.eval(&fold.body)?.want_bool()?;
                self.meter.charge(if holds { 2 } else { 0 })?;
                *count += u64::from(holds);
                Ok(Next::Go)
            }
            Made::List(values) => {
                if fold.folding == Folding::Filter {
                    let holds = self.eval(&fold.body)?.want_bool()?;
                    self.meter.charge(if holds { 13 } else { 0 })?;
                    if holds {
                        values.extend(self.known(fold.slot));
                    }
                } else {
                    // A constant element stands in a constant list.
                    self.meter.charge(if matches!(fold.body, Node::Const(_)) { 2 } else { 12 })?;
                    values.push(self.eval(&fold.body)?);
                }
                Ok(Next::Go)
            }
            Made::Map(entries) => self.insert(fold, entries),
        }
    }

    fn verdict(&mut self, fold: &'a FoldNode, failed: &mut Option<Failure>) -> Result<Next, Failure> {
        let decisive = fold.folding == Folding::Exists;
        self.meter.charge(if decisive { 4 } else { 3 })?;
        match self.eval(&fold.body).and_then(|value| value.want_bool()) {
            Ok(value) if value == decisive => return Ok(Next::Decided),
            Ok(_) => {}
            Err(failure) if failure.is_absorbable() => {
                failed.get_or_insert(failure);
            }
            Err(failure) => return Err(failure),
        }
        Ok(Next::Go)
    }

    fn insert(&mut self, fold: &'a FoldNode, entries: &mut Entries<'a>) -> Result<Next, Failure> {
        let body = self.eval(&fold.body)?;
        let added = if fold.folding == Folding::MapValues {
            self.meter.charge(3)?;
            self.known(fold.slot).map(|key| (key, Ok(body))).into_iter().collect()
        } else {
            self.meter.charge(2)?;
            body.as_map().ok_or_else(Failure::no_overload)?.entries()
        };
        for (key, value) in added {
            let Some(place) = Key::of(&key) else { return Err(Failure::no_overload()) };
            if entries.contains_key(&place) {
                return Err(Failure::new(format!("insert failed: key {key} already exists")));
            }
            entries.insert(place, (key, value?));
        }
        Ok(Next::Go)
    }
}
