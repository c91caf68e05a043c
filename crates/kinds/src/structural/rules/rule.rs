//! One rule.
//!
//! Invariant: a rule that was accepted compiles; one that does not is told with every object rather than ignored. What a
//! rule says when it does not hold comes from its message expression, its message, or its text, in this order.

use std::sync::Arc;

use expressions::{Budget, Declaration, Env, Failure, Program, Shape, Type, listing};
use serde_json::Value;

use super::super::node::Node;
use crate::error::{Cause, quote};
use crate::json::{at, text};
use crate::validate::definition::field_path;

/// The longest message an expression may make.
const MESSAGE: usize = 5 * 1024;

pub(super) const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// A compiled rule, or why it is none.
pub(crate) struct Compiled {
    pub(crate) program: Result<Program, String>,
    pub(crate) message: Option<Result<Program, String>>,
    pub(crate) uses_old: bool,
}

/// Compiles a rule for values of a shape. None if the rule is empty.
pub(crate) fn compile_rule(rule: &Value, shape: &Arc<Shape>) -> Option<Compiled> {
    if text(rule, "rule").trim().is_empty() {
        return None;
    }
    let old = match at(rule, "optionalOldSelf").as_bool() {
        Some(true) => Declaration::Optional(shape.clone()),
        _ => Declaration::Data(shape.clone()),
    };
    let env = Env::new().with("self", Declaration::Data(shape.clone())).with("oldSelf", old);
    let program = match expressions::compile(text(rule, "rule"), &env) {
        Ok(program) if matches!(program.result_type(), Type::Bool) => whole(program, "program"),
        Ok(_) => Err("cel expression must evaluate to a bool".to_owned()),
        Err(faults) => Err(format!("compilation failed: {}", listing(&faults))),
    };
    let uses_old = program.as_ref().is_ok_and(|program| program.uses("oldSelf"));
    let expression = Some(text(rule, "messageExpression")).filter(|text| !text.is_empty() && program.is_ok());
    let message = expression.map(|expression| match expressions::compile(expression, &env) {
        Ok(program) if matches!(program.result_type(), Type::String) => whole(program, "messageExpression"),
        Ok(_) => Err("messageExpression must evaluate to a string".to_owned()),
        Err(faults) => Err(format!("messageExpression compilation failed: {}", listing(&faults))),
    });
    Some(Compiled { program, message, uses_old })
}

/// A program that can have a value.
fn whole(program: Program, what: &str) -> Result<Program, String> {
    match program.broken() {
        Some(why) => Err(format!("{what} instantiation failed: {why}")),
        None => Ok(program),
    }
}

/// A rule as it is applied.
pub(crate) struct Rule {
    compiled: Option<Compiled>,
    /// The message, else the text.
    told: String,
    has_message: bool,
    message_expression: String,
    cause: Cause,
    /// Where the fault is told, below the value.
    field_path: String,
    optional_old: bool,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule").field("told", &self.told).finish_non_exhaustive()
    }
}

/// What a rule says of a value.
pub(super) enum Verdict {
    Holds,
    /// The rule could not be evaluated; `last` if none after it may be.
    Failed {
        detail: String,
        last: bool,
    },
    /// The rule does not hold; `last` if saying why went wrong.
    Broken {
        detail: String,
        last: bool,
    },
}

/// The variables of a rule.
struct Vars<'a> {
    value: expressions::Value<'a>,
    old: Option<expressions::Value<'a>>,
}

impl<'a> expressions::Vars<'a> for Vars<'a> {
    fn value(&self, name: &str) -> Option<expressions::Value<'a>> {
        match name {
            "self" => Some(self.value.clone()),
            "oldSelf" => self.old.clone(),
            _ => None,
        }
    }
}

impl Rule {
    pub(super) fn new(source: &Value, node: &Node, shape: Option<&Arc<Shape>>) -> Self {
        let message = text(source, "message");
        let told = if message.is_empty() { text(source, "rule") } else { message };
        Self {
            compiled: shape.and_then(|shape| compile_rule(source, shape)),
            told: told.trim().to_owned(),
            has_message: !message.is_empty(),
            message_expression: text(source, "messageExpression").to_owned(),
            cause: match text(source, "reason") {
                "FieldValueForbidden" => Cause::Forbidden,
                "FieldValueRequired" => Cause::Required,
                "FieldValueDuplicate" => Cause::Duplicate,
                _ => Cause::Invalid,
            },
            field_path: normalized(text(source, "fieldPath"), node).unwrap_or_default(),
            optional_old: at(source, "optionalOldSelf").as_bool().unwrap_or(false),
        }
    }

    pub(super) fn looks_back(&self) -> bool {
        self.compiled.as_ref().is_some_and(|compiled| compiled.uses_old)
    }

    pub(super) fn field_path(&self) -> &str {
        &self.field_path
    }

    pub(super) fn cause(&self) -> Cause {
        self.cause
    }

    pub(super) fn judge(&self, shape: &Arc<Shape>, value: &Value, old: Option<&Value>, budget: &mut Budget) -> Verdict {
        let Some(compiled) = &self.compiled else { return Verdict::Holds };
        if compiled.uses_old && old.is_none() && !self.optional_old {
            return Verdict::Holds;
        }
        let failed = |detail: String| Verdict::Failed { detail, last: false };
        let program = match &compiled.program {
            Ok(program) => program,
            Err(why) => return failed(format!("rule compile error: {why}")),
        };
        let vars = match self.vars(shape, value, old) {
            Ok(vars) => vars,
            Err(failure) => return failed(format!("{failure} evaluating rule: {}", self.told)),
        };
        let rule = &self.told;
        match program.evaluate(&vars, budget) {
            Ok(expressions::Value::Bool(true)) => Verdict::Holds,
            Ok(_) => self.explain(compiled, &vars, budget),
            Err(Failure::Exhausted) => Verdict::Failed { detail: OUT_OF_BUDGET.to_owned(), last: true },
            Err(failure @ Failure::TooCostly) => Verdict::Failed {
                detail: format!(
                    "'{failure}': no further validation rules will be run due to call cost exceeds limit for rule: {rule}"
                ),
                last: true,
            },
            Err(Failure::Error(message)) if message.starts_with("no such overload") => failed(format!(
                "'{message}': call arguments did not match a supported operator, function or macro signature for rule: {rule}"
            )),
            Err(Failure::Error(message)) => failed(format!("{message} evaluating rule: {rule}")),
        }
    }

    fn vars<'a>(&self, shape: &'a Arc<Shape>, value: &'a Value, old: Option<&'a Value>) -> Result<Vars<'a>, Failure> {
        let old = old.map(|old| expressions::Value::of(old, shape)).transpose()?;
        let old = match (self.optional_old, old) {
            (true, Some(old)) => Some(expressions::Value::some(old)),
            (true, None) => Some(expressions::Value::NONE),
            (false, old) => old,
        };
        Ok(Vars { value: expressions::Value::of(value, shape)?, old })
    }

    /// What is said of a value for which the rule does not hold.
    fn explain(&self, compiled: &Compiled, vars: &Vars<'_>, budget: &mut Budget) -> Verdict {
        let usual = if self.has_message { self.told.clone() } else { format!("failed rule: {}", self.told) };
        let Some(Ok(program)) = &compiled.message else { return Verdict::Broken { detail: usual, last: false } };
        let source = quote(&self.message_expression);
        match program.evaluate(vars, budget) {
            Ok(value) => {
                let text = value.as_str().unwrap_or_default().trim();
                let usable = !text.is_empty() && text.len() <= MESSAGE && !text.contains('\n');
                Verdict::Broken { detail: if usable { text.to_owned() } else { usual }, last: false }
            }
            Err(Failure::Exhausted) => Verdict::Broken {
                detail: "messageExpression evaluation failed due to running out of cost budget, no further validation \
                         rules will be run"
                    .to_owned(),
                last: true,
            },
            Err(Failure::TooCostly) => Verdict::Broken {
                detail: format!(
                    "no further validation rules will be run due to call cost exceeds limit for messageExpression: {source}"
                ),
                last: true,
            },
            Err(Failure::Error(_)) => Verdict::Broken { detail: usual, last: false },
        }
    }
}

/// A path below a value as errors show it; none if it leads nowhere.
fn normalized(path: &str, node: &Node) -> Option<String> {
    let mut shown = String::new();
    let mut node = Some(node);
    for name in field_path::names(path).ok()? {
        let at = node?;
        let named = at.properties().len() > 0;
        node = if named { Some(at.property(&name)?) } else { at.additional.node() };
        match (named, shown.is_empty()) {
            (true, true) => shown.push_str(&name),
            (true, false) => shown.push_str(&format!(".{name}")),
            (false, _) => shown.push_str(&format!("[{name}]")),
        }
    }
    Some(shown)
}
