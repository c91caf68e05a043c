//! What an evaluation has cost, and what it may cost.
//!
//! Invariant: a budget that is used up stays used up.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use crate::functions::regexes;
use crate::value::Failure;

/// The most one evaluation may cost.
pub const PER_CALL: u64 = 1_000_000;
/// The most all evaluations for one object may cost.
pub const PER_OBJECT: u64 = 10_000_000;
/// What compiling a pattern costs that is no constant; a cheap text can make an expensive automaton.
const PATTERN: u64 = 1_000;

/// How many of those cost nothing.
const FREE_PATTERNS: usize = 8;
/// How many are kept to the end of the evaluation.
const KEPT_PATTERNS: usize = 32;

/// What is left for the evaluations of one object.
#[derive(Clone, Debug)]
pub struct Budget {
    per_call: u64,
    remaining: u64,
}

impl Budget {
    pub fn new(per_call: u64, total: u64) -> Self {
        Self { per_call, remaining: total }
    }

    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    pub(crate) fn meter<'a>(&self, patterns: &'a [(Arc<str>, Regex)]) -> Meter<'a> {
        let (limit, beyond) = if self.remaining < self.per_call {
            (self.remaining, Failure::Exhausted)
        } else {
            (self.per_call, Failure::TooCostly)
        };
        Meter { spent: 0, limit, beyond, patterns, compiled: HashMap::new() }
    }

    pub(crate) fn settle(&mut self, meter: &Meter<'_>) {
        self.remaining = self.remaining.saturating_sub(meter.spent);
    }
}

impl Default for Budget {
    /// The budget for validating one object.
    fn default() -> Self {
        Self::new(PER_CALL, PER_OBJECT)
    }
}

pub(crate) struct Meter<'a> {
    spent: u64,
    limit: u64,
    beyond: Failure,
    /// Compiled with the program.
    patterns: &'a [(Arc<str>, Regex)],
    compiled: HashMap<String, Regex>,
}

impl<'a> Meter<'a> {
    pub(crate) fn spent(&self) -> u64 {
        self.spent
    }

    /// Takes back a part of what was just charged.
    pub(crate) fn refund(&mut self, cost: u64) {
        self.spent = self.spent.saturating_sub(cost);
    }

    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), Failure> {
        let spent = self.spent.saturating_add(cost);
        // What does not fit is not done.
        self.spent = spent.min(self.limit);
        if spent > self.limit { Err(self.beyond.clone()) } else { Ok(()) }
    }

    /// Whether a result of so many bytes can be made: making it would cost a tenth of that.
    pub(crate) fn allows(&self, bytes: u64) -> Result<(), Failure> {
        if self.spent.saturating_add(bytes / 10) > self.limit { Err(self.beyond.clone()) } else { Ok(()) }
    }

    /// The automaton of a pattern.
    pub(crate) fn regex(&mut self, pattern: &str) -> Result<Regex, Failure> {
        if let Some((_, known)) = self.patterns.iter().find(|(text, _)| &**text == pattern) {
            return Ok(known.clone());
        }
        if let Some(known) = self.compiled.get(pattern) {
            return Ok(known.clone());
        }
        if self.compiled.len() >= FREE_PATTERNS {
            self.charge(PATTERN)?;
        }
        let regex = regexes::compile(pattern).map_err(Failure::new)?;
        if self.compiled.len() < KEPT_PATTERNS {
            self.compiled.insert(pattern.to_owned(), regex.clone());
        }
        Ok(regex)
    }
}
