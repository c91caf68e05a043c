//! Whether a value fits its schema: types, formats, ranges, lengths, enums, required members, and what allOf, anyOf, oneOf
//! and not demand.
//!
//! Invariant: the verdict, the paths and the words are kube-openapi's, down to which branch of an anyOf is blamed: the one
//! with the most checks passed, so those are counted as there. A change may leave what was wrong before: a fault of a
//! value that equals the old one is dropped (ratcheting). Work is bounded, whatever the schema: see `STEPS`.

use std::cell::Cell;
use std::collections::HashMap;

use serde_json::Value;

use super::lists;
use super::node::{Additional, Checks, Form, Node};
use crate::error::{Cause, FieldError, go_number, quote};
use crate::path::Path;
use crate::schema::ListType;

/// Nodes that may be visited for one object; far beyond any object and schema that are meant.
const STEPS: u64 = 5_000_000;

/// Checks a value. `base` is where it stands in its object.
pub(crate) fn validate(node: &Node, value: &Value, base: &str) -> Vec<FieldError> {
    bounded(node, value, None, base, STEPS)
}

/// Checks a value that replaces another one.
pub(crate) fn validate_change(node: &Node, value: &Value, old: &Value, base: &str) -> Vec<FieldError> {
    bounded(node, value, Some(old), base, STEPS)
}

/// As the others, with a bound of the caller's.
pub(super) fn bounded(node: &Node, value: &Value, old: Option<&Value>, base: &str, steps: u64) -> Vec<FieldError> {
    let walk = Walk { left: Cell::new(steps) };
    let outcome = walk.value(node, value, old, &Path::Root);
    let mut faults: Vec<FieldError> = outcome.faults.into_iter().map(|fault| fault.at(base)).collect();
    if walk.left.get() == 0 {
        faults.push(Fault::whole("the schema is too complex to validate this object against it").at(base));
    }
    faults
}

/// A fault before it is known where the value stands.
struct Fault {
    /// Empty for faults of the value as a whole, which upstream tells without a place.
    path: String,
    placed: bool,
    cause: Cause,
    value: Option<Value>,
    detail: String,
}

impl Fault {
    fn whole(detail: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            placed: false,
            cause: Cause::Invalid,
            value: Some("".into()),
            detail: detail.into(),
        }
    }

    fn at(self, base: &str) -> FieldError {
        let path = self.path.trim_start_matches('.');
        let path = match (base, path) {
            ("", "") => "<nil>".to_owned(),
            ("", path) => path.to_owned(),
            (base, "") => base.to_owned(),
            (base, _) if !self.placed => base.to_owned(),
            (base, path) => format!("{base}.{path}"),
        };
        FieldError { path, kind: self.cause, detail: self.detail, value: self.value }
    }
}

#[derive(Default)]
struct Outcome {
    faults: Vec<Fault>,
    /// Checks that were made and passed.
    passed: usize,
}

impl Outcome {
    fn merge(&mut self, other: Outcome) {
        self.passed += other.passed;
        for fault in other.faults {
            self.push(fault);
        }
    }

    fn push(&mut self, fault: Fault) {
        let same = |held: &Fault| held.path == fault.path && held.detail == fault.detail && held.cause == fault.cause;
        if !self.faults.iter().any(same) {
            self.faults.push(fault);
        }
    }

    /// A fault told as "PATH in body DETAIL".
    fn say(&mut self, path: &Path<'_>, cause: Cause, value: impl Into<Value>, detail: &str) {
        let path = path.to_string();
        let detail = format!("{path} in body {detail}");
        self.push(Fault { path, placed: true, cause, value: Some(value.into()), detail });
    }

    fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

struct Walk {
    left: Cell<u64>,
}

/// The JSON type of a value, and the format its Go type would have.
fn type_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
        Value::Number(number) if number.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
    }
}

/// Whether a float is a whole number that a JSON client may have written for an integer.
fn is_whole(number: f64) -> bool {
    const SAFE: f64 = 9_007_199_254_740_991.0;
    number.is_finite() && number.abs() <= SAFE && number.fract() == 0.0
}

impl Walk {
    fn value(&self, node: &Node, value: &Value, old: Option<&Value>, path: &Path<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(left) = self.left.get().checked_sub(1) else { return outcome };
        self.left.set(left);
        self.check(node, value, old, path, &mut outcome);
        if !outcome.is_good() && old == Some(value) {
            outcome.faults.clear();
        }
        outcome
    }

    fn check(&self, node: &Node, value: &Value, old: Option<&Value>, path: &Path<'_>, outcome: &mut Outcome) {
        let checks = node.checks.as_deref();
        if value.is_null() {
            null(node, path, outcome);
            enumerated(checks, value, path, outcome);
            return;
        }
        self.form(node, value, path, outcome);
        if let Some(checks) = checks {
            self.junctors(checks, value, old, path, outcome);
        } else {
            outcome.passed += 1;
        }
        outcome.passed += 1;
        match value {
            Value::String(text) => {
                outcome.passed += 1;
                if let Some(checks) = checks {
                    outcome.passed += usize::from(checks.format.is_some());
                    string(checks, text, path, outcome);
                }
            }
            Value::Number(_) => {
                outcome.passed += 2;
                number(node, checks, value, path, outcome);
            }
            Value::Array(items) => self.items(node, items, old, path, outcome),
            _ => {}
        }
        enumerated(checks, value, path, outcome);
        outcome.passed += 1;
        if let Value::Object(_) = value {
            self.members(node, value, old, path, outcome);
            outcome.passed += 1;
        }
        outcome.passed += 1;
    }

    fn form(&self, node: &Node, value: &Value, path: &Path<'_>, outcome: &mut Outcome) {
        let format = node.checks.as_deref().and_then(|checks| checks.format);
        let wanted = wanted(node);
        if wanted.is_empty() && format.is_none() {
            return;
        }
        let (found, found_format) = type_of(value);
        let whole = value.as_f64().is_some_and(is_whole);
        let takes = |form: &str| wanted.contains(&form);
        let fits =
            takes(found) || (found == "number" && whole && takes("integer")) || (found == "integer" && takes("number"));
        let textual = matches!(value, Value::String(_) | Value::Array(_));
        let numeric = takes("number") || takes("integer");
        match format {
            Some(format) if !textual && !fits && found_format != format.name() => {
                outcome.passed += 1;
                wrong_type(path, format.name(), found_format, outcome);
            }
            Some(_) if !numeric && textual => outcome.passed += 2,
            _ if !fits => {
                outcome.passed += 1;
                wrong_type(path, &wanted.join(","), found, outcome);
            }
            _ => outcome.passed += 2,
        }
    }

    fn junctors(&self, checks: &Checks, value: &Value, old: Option<&Value>, path: &Path<'_>, outcome: &mut Outcome) {
        let here = || quote(&path.to_string());
        let mut mine = Outcome { passed: 1, ..Outcome::default() };
        let inner = |node: &Node| self.junction(node, value, old, path);
        if !checks.any_of.is_empty() {
            let mut best: Option<Outcome> = None;
            for result in checks.any_of.iter().map(inner) {
                let good = result.is_good();
                if good || best.as_ref().is_none_or(|best| result.passed > best.passed) {
                    best = Some(result);
                }
                if good {
                    break;
                }
            }
            if let Some(best) = best {
                if !best.is_good() {
                    mine.push(Fault::whole(format!("{} must validate at least one schema (anyOf)", here())));
                }
                mine.merge(best);
            }
        }
        if !checks.one_of.is_empty() {
            one_of(checks.one_of.iter().map(inner), &here, &mut mine);
        }
        if !checks.all_of.is_empty() {
            let mut good = 0;
            for result in checks.all_of.iter().map(inner) {
                good += usize::from(result.is_good());
                mine.merge(result);
            }
            if good != checks.all_of.len() {
                let tail = if good == 0 { ". None validated" } else { "" };
                mine.push(Fault::whole(format!("{} must validate all the schemas (allOf){tail}", here())));
            }
        }
        if let Some(not) = &checks.not
            && inner(not).is_good()
        {
            mine.push(Fault::whole(format!("{} must not validate the schema (not)", here())));
        }
        outcome.merge(mine);
    }

    /// A branch sees the members' old values, but is itself not excused by an unchanged value.
    fn junction(&self, node: &Node, value: &Value, old: Option<&Value>, path: &Path<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            self.check(node, value, old, path, &mut outcome);
        }
        outcome
    }

    fn items(&self, node: &Node, items: &[Value], old: Option<&Value>, path: &Path<'_>, outcome: &mut Outcome) {
        outcome.passed += 2;
        if let Some(item) = node.items.as_deref() {
            let old = old.and_then(Value::as_array).filter(|_| node.list_type == ListType::Map);
            let by_key: HashMap<String, &Value> =
                old.into_iter().flatten().map(|item| (lists::key(node, item).to_string(), item)).collect();
            for (index, value) in items.iter().enumerate() {
                let before = match by_key.is_empty() {
                    true => None,
                    false => by_key.get(&lists::key(node, value).to_string()).copied(),
                };
                outcome.merge(self.value(item, value, before, &path.index(index)));
            }
        }
        let Some(checks) = node.checks.as_deref() else { return };
        let size = length(items.len());
        if let Some(least) = checks.min_items.filter(|least| size < *least) {
            outcome.say(path, Cause::Invalid, size, &format!("should have at least {least} items"));
        }
        if let Some(most) = checks.max_items.filter(|most| size > *most) {
            too_many(path, size, most, outcome);
        }
        if checks.unique_items && lists::repeats(items) {
            outcome.say(path, Cause::Invalid, "", "shouldn't contain duplicates");
        }
    }

    fn members(&self, node: &Node, value: &Value, old: Option<&Value>, path: &Path<'_>, outcome: &mut Outcome) {
        let Some(members) = value.as_object() else { return };
        let old = old.and_then(Value::as_object);
        let root = matches!(path, Path::Root);
        let before = |name: &str| {
            // nobody changes these: they are what the object was asked for as
            let fixed = root && matches!(name, "kind" | "apiVersion");
            old.and_then(|old| old.get(name)).filter(|_| !fixed)
        };
        let checks = node.checks.as_deref();
        let size = length(members.len());
        if let Some(least) = checks.and_then(|checks| checks.min_properties).filter(|least| size < *least) {
            outcome.say(path, Cause::Invalid, size, &format!("should have at least {least} properties"));
        }
        if let Some(most) = checks.and_then(|checks| checks.max_properties).filter(|most| size > *most) {
            too_many(path, size, most, outcome);
        }
        for (name, value) in members {
            match (node.property(name), &node.additional) {
                (Some(property), _) => outcome.merge(self.value(property, value, before(name), &path.field(name))),
                (None, Additional::Schema(other)) => {
                    outcome.merge(self.value(other, value, before(name), &path.field(name)));
                }
                (None, Additional::Refused) => {
                    let path = path.to_string();
                    let detail = format!("{path}.{name} in body is a forbidden property");
                    let value = Some(name.as_str().into());
                    outcome.push(Fault { path, placed: true, cause: Cause::Invalid, value, detail });
                }
                (None, Additional::Unsaid | Additional::Allowed) => {}
            }
        }
        for name in checks.iter().flat_map(|checks| &checks.required).filter(|name| !members.contains_key(&***name)) {
            let path = path.field(name).to_string();
            outcome.push(Fault { path, placed: true, cause: Cause::Required, value: None, detail: String::new() });
        }
    }
}

fn length(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// The types a value may have; an integer-or-string has two.
fn wanted(node: &Node) -> Vec<&'static str> {
    match (node.int_or_string, node.form) {
        (true, _) => vec!["integer", "string"],
        (false, Form::Any) => Vec::new(),
        (false, form) => vec![form.text()],
    }
}

fn wrong_type(path: &Path<'_>, wanted: &str, found: &str, outcome: &mut Outcome) {
    let detail = format!("must be of type {wanted}: {}", quote(found));
    outcome.say(path, Cause::TypeInvalid, found, &detail);
}

fn too_many(path: &Path<'_>, size: i64, most: i64, outcome: &mut Outcome) {
    let detail = format!("must have at most {most} {}", if most == 1 { "item" } else { "items" });
    let (path, value) = (path.to_string(), Some(size.into()));
    outcome.push(Fault { path, placed: true, cause: Cause::TooMany, value, detail });
}

fn null(node: &Node, path: &Path<'_>, outcome: &mut Outcome) {
    let wanted = wanted(node);
    if wanted.is_empty() || node.nullable {
        outcome.passed += 1;
    } else {
        wrong_type(path, &wanted.join(","), "null", outcome);
    }
}

fn one_of(results: impl Iterator<Item = Outcome>, here: &impl Fn() -> String, mine: &mut Outcome) {
    let (mut best, mut first): (Option<Outcome>, Option<Outcome>) = (None, None);
    let mut good = 0;
    for result in results {
        if result.is_good() {
            good += 1;
            first.get_or_insert(result);
            best = None;
        } else if good == 0 && best.as_ref().is_none_or(|best| result.passed > best.passed) {
            best = Some(result);
        }
    }
    if good == 1 {
        mine.merge(first.unwrap_or_default());
        return;
    }
    let tail = if good == 0 { "Found none valid".to_owned() } else { format!("Found {good} valid alternatives") };
    mine.push(Fault::whole(format!("{} must validate one and only one schema (oneOf). {tail}", here())));
    mine.merge(best.unwrap_or_default());
}

fn string(checks: &Checks, text: &str, path: &Path<'_>, outcome: &mut Outcome) {
    let size = || length(text.chars().count());
    if let Some(most) = checks.max_length.filter(|most| size() > *most) {
        let detail = format!("may not be more than {most} {}", if most == 1 { "byte" } else { "bytes" });
        let path = path.to_string();
        outcome.push(Fault { path, placed: true, cause: Cause::TooLong, value: None, detail });
    } else if let Some(least) = checks.min_length.filter(|least| size() < *least) {
        outcome.say(path, Cause::Invalid, text, &format!("should be at least {least} chars long"));
    } else if let Some(pattern) = checks.pattern.as_ref() {
        match pattern.matches(text) {
            Some(true) => {}
            Some(false) => outcome.say(path, Cause::Invalid, text, &format!("should match '{}'", pattern.text)),
            None => {
                let detail = format!("should match '{}, but pattern is invalid'", pattern.text);
                outcome.say(path, Cause::Invalid, text, &detail);
            }
        }
    }
    if let Some(format) = checks.format.filter(|format| !format.holds(text)) {
        outcome.say(path, Cause::TypeInvalid, text, &format!("must be of type {}: {}", format.name(), quote(text)));
    }
}

/// Ranges and multiples. Bounds are floats in schemas; for integers they are cut to integers, if they are some.
fn number(node: &Node, checks: Option<&Checks>, value: &Value, path: &Path<'_>, outcome: &mut Outcome) {
    let float = value.as_f64().unwrap_or_default();
    let form = if node.int_or_string { Form::Any } else { node.form };
    let format = checks.and_then(|checks| checks.format).map_or("", |format| format.name());
    let range = |what: &str, number: f64, exact: Option<i64>| in_range(form, format, what, number, exact, path);
    if let Some(detail) = range("Checked", float, value.as_i64()) {
        outcome.push(Fault::whole(detail));
    }
    let Some(checks) = checks else { return };
    let cut = |bound: f64| value.as_i64().map(|value| (value, bound as i64));
    if let Some(factor) = checks.multiple_of {
        let bad = range("MultipleOf", factor, None);
        let is_bad = bad.is_some();
        bad.into_iter().for_each(|detail| outcome.push(Fault::whole(detail)));
        multiple(value, float, factor, cut(factor).filter(|_| !is_bad), path, outcome);
    }
    for (bound, exclusive, least) in
        [(checks.minimum, checks.exclusive_minimum, true), (checks.maximum, checks.exclusive_maximum, false)]
    {
        let Some(bound) = bound else { continue };
        let bad = range(if least { "Minimum boundary" } else { "Maximum boundary" }, bound, None);
        let exact = cut(bound).filter(|_| bad.is_none());
        bad.into_iter().for_each(|detail| outcome.push(Fault::whole(detail)));
        let (order, shown) = match exact {
            Some((value, bound)) => (Some(value.cmp(&bound)), bound.to_string()),
            None => (float.partial_cmp(&bound), go_number(bound)),
        };
        let outside = match order {
            Some(std::cmp::Ordering::Equal) => exclusive,
            Some(order) => least == order.is_lt(),
            None => true,
        };
        if outside {
            let words = match (least, exclusive) {
                (true, false) => "greater than or equal to",
                (true, true) => "greater than",
                (false, false) => "less than or equal to",
                (false, true) => "less than",
            };
            outcome.say(path, Cause::Invalid, value.clone(), &format!("should be {words} {shown}"));
        }
    }
}

/// What is wrong if the number is none that the type and format can hold.
fn in_range(form: Form, format: &str, what: &str, number: f64, exact: Option<i64>, path: &Path<'_>) -> Option<String> {
    let fits = match (form, format) {
        (Form::Integer, "int32") => exact.map_or_else(
            || number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX),
            |number| i32::try_from(number).is_ok(),
        ),
        // 2^63 is the first float that is too large
        (Form::Integer, _) => exact.is_some() || (number.fract() == 0.0 && number.abs() < 9.223_372_036_854_776e18),
        (Form::Number, "float") => number.abs() <= f64::from(f32::MAX),
        _ => true,
    };
    if fits {
        return None;
    }
    let ty = form.text();
    Some(match format {
        "" => format!("{what} value must be of type {ty} (default format) in {path}"),
        format => format!("{what} value must be of type {ty} with format {format} in {path}"),
    })
}

fn multiple(value: &Value, float: f64, factor: f64, exact: Option<(i64, i64)>, path: &Path<'_>, outcome: &mut Outcome) {
    let (positive, divides, shown) = match exact {
        Some((value, factor)) => (factor > 0, factor > 0 && value % factor == 0, factor.to_string()),
        None => {
            let times = if factor < 1.0 { 1.0 / factor * float } else { float / factor };
            (factor > 0.0, is_whole(times), go_number(factor))
        }
    };
    if !positive {
        let path = path.to_string();
        let detail = format!("factor MultipleOf declared for {path} must be positive: {shown}");
        let value = Some(factor.into());
        outcome.push(Fault { path, placed: true, cause: Cause::Invalid, value, detail });
    } else if !divides {
        outcome.say(path, Cause::Invalid, value.clone(), &format!("should be a multiple of {shown}"));
    }
}

fn enumerated(checks: Option<&Checks>, value: &Value, path: &Path<'_>, outcome: &mut Outcome) {
    let Some(values) = checks.map(|checks| &checks.values).filter(|values| !values.is_empty()) else { return };
    let equal = |held: &Value| match (held, value) {
        (_, Value::Null) => false,
        (Value::Number(held), Value::Number(value)) => held == value || held.as_f64() == value.as_f64(),
        (held, value) => held == value,
    };
    if values.iter().any(equal) {
        return;
    }
    let shown: Vec<String> =
        values.iter().map(|value| quote(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))).collect();
    let detail = format!("supported values: {}", shown.join(", "));
    let (path, value) = (path.to_string(), Some(value.clone()));
    outcome.push(Fault { path, placed: true, cause: Cause::NotSupported, value, detail });
}
