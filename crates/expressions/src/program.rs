//! From text to something that can be evaluated again and again.
//!
//! Invariant: a program is immutable and shared freely; evaluating it changes nothing but the budget.

mod lower;

use std::sync::Arc;

use regex::Regex;

use crate::check;
use crate::cost::{self, Cost};
use crate::eval::meter::Budget;
use crate::eval::{Local, Machine, Node, Vars};
use crate::fault::Fault;
use crate::parse;
use crate::types::{Env, Type};
use crate::value::{Failure, Value};

/// A compiled expression.
pub struct Program {
    node: Node,
    /// How many local variables there are.
    slots: usize,
    /// The environment's variables.
    names: Box<[String]>,
    used: Box<[bool]>,
    result: Type,
    cost: Cost,
    /// Constant patterns, compiled.
    patterns: Box<[(Arc<str>, Regex)]>,
    /// Why a constant part can have no value.
    broken: Option<String>,
}

/// Parses, checks and lowers an expression.
pub fn compile(text: &str, env: &Env) -> Result<Program, Vec<Fault>> {
    let tree = parse::parse(text, env.bindings)?;
    let checked = check::check(text, &tree, env)?;
    let cost = cost::estimate(&tree, &checked, env);
    Ok(lower::lower(&tree, &checked, env, cost))
}

impl Program {
    /// The value for these variables. What it costs is taken from the budget, also if it fails.
    pub fn evaluate<'a>(&'a self, vars: &dyn Vars<'a>, budget: &mut Budget) -> Result<Value<'a>, Failure> {
        if let Some(why) = &self.broken {
            return Err(Failure::new(why));
        }
        let meter = budget.meter(&self.patterns);
        let mut machine = Machine {
            names: &self.names,
            vars,
            locals: vec![Local::Known(Value::Null); self.slots],
            meter,
            pending: 0,
        };
        let outcome = machine.eval(&self.node);
        budget.settle(&machine.meter);
        outcome
    }

    /// What it may cost with the largest data that can be.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Why it can have no value, though its text is good.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    pub fn result_type(&self) -> &Type {
        &self.result
    }

    /// Whether the value may depend on this variable.
    pub fn uses(&self, name: &str) -> bool {
        self.names.iter().zip(&self.used).any(|(known, used)| *used && known == name)
    }
}
