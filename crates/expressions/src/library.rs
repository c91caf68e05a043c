//! The functions expressions may call, as one table.
//!
//! Invariant: a function is one row: its name, what it costs, how it is computed, and the signatures the checker knows
//! it by. Why signatures are text: they read like the documentation, and are parsed once.

mod signature;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::cost::price::Price;
use crate::eval::Meter;
use crate::functions;
use crate::types::Type;
use crate::value::{Outcome, Value};

/// How a function is computed; the target of a member call is the first argument.
pub(crate) type Run = for<'a> fn(&mut Meter<'a>, &[Value<'a>]) -> Outcome<'a>;

/// A row as written.
pub(crate) type Row = (&'static str, Price, Run, &'static [&'static str]);

pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) price: Price,
    pub(crate) run: Run,
    pub(crate) overloads: Vec<Overload>,
}

#[derive(Debug)]
pub(crate) struct Overload {
    /// Called as `target.name(...)`.
    pub(crate) member: bool,
    /// With the target first.
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
    /// How many type parameters there are; numbered from 0.
    pub(crate) params: u32,
}

static LIBRARY: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    functions::all()
        .map(|&(name, price, run, signatures)| {
            let overloads = signatures.iter().map(|text| signature::parse(text)).collect();
            (name, Function { name, price, run, overloads })
        })
        .collect()
});

pub(crate) fn function(name: &str) -> Option<&'static Function> {
    LIBRARY.get(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_one_row() {
        assert_eq!(functions::all().count(), LIBRARY.len());
    }

    #[test]
    fn every_function_has_a_signature() {
        assert!(LIBRARY.values().all(|function| !function.overloads.is_empty()));
    }
}
