//! Whether the rules of a schema compile, and what they may cost.
//!
//! Invariant: rules are looked at only in a schema that is sound otherwise, for their types come from it. A rule counts as
//! often as its place can occur in one object.

use std::sync::Arc;

use expressions::Shape;
use serde_json::Value;

use crate::error::{Cause, FieldError, go_json};
use crate::json::{at, list, members, text};
use crate::path::Path;
use crate::structural::rules::{child, compile_rule, shape_of};
use crate::structural::{Form, Node, compile};
use crate::validate::Faults;

/// The greatest estimate for one rule, and for all of a schema.
const PER_RULE: u64 = 10_000_000;
const PER_SCHEMA: u64 = 100_000_000;
/// How many of the most expensive rules are named.
const NAMED: usize = 4;

/// Checks all rules of a sound schema. `known` says that it was accepted before, whatever single rules may cost.
pub(super) fn check(schema: &Value, path: &Path<'_>, known: bool, faults: &mut Faults) {
    let node = compile(schema);
    if !crate::structural::rules::has_rules(&node) {
        return;
    }
    let mut walk = Walk { known, total: 0, expensive: Vec::new(), faults };
    let root = Place { shape: None, often: Some(1), within: false, uncorrelated: None, root: true };
    walk.schema(schema, &node, root, path);
    let Walk { total, mut expensive, .. } = walk;
    if total > PER_SCHEMA {
        expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, place) in expensive.into_iter().take(NAMED) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            faults.push(FieldError::forbidden(place, detail));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        faults.push(FieldError::forbidden(path, too_expensive(what, total, PER_SCHEMA)));
    }
}

fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let times = cost as f64 / limit as f64;
    let factor = match times {
        times if times > 100.0 => "more than 100x".to_owned(),
        times if times < 1.5 => format!("{times:.6}x"),
        times => format!("{times:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

struct Walk<'f> {
    known: bool,
    total: u64,
    /// Costs that matter, and where.
    expensive: Vec<(u64, String)>,
    faults: &'f mut Faults,
}

/// Where the walk is.
#[derive(Clone)]
struct Place {
    shape: Option<Arc<Shape>>,
    /// How often it can occur; none if nothing bounds that.
    often: Option<u64>,
    /// It or something above it has rules.
    within: bool,
    /// The nearest place above whose elements cannot be told to be the same as before.
    uncorrelated: Option<String>,
    root: bool,
}

impl Walk<'_> {
    fn schema(&mut self, schema: &Value, node: &Node, place: Place, path: &Path<'_>) {
        let mut place = place;
        if node.rules.is_some() && place.shape.is_none() {
            place.shape = shape_of(node, place.root || node.embedded, "self").map(Arc::new);
        }
        place.within |= node.rules.is_some();
        let often = place.often.and_then(|often| Some(often.saturating_mul(most(node)?)));
        let below = |shape: Option<Arc<Shape>>, uncorrelated: Option<String>| Place {
            shape: shape.filter(|_| place.within),
            often,
            within: place.within,
            uncorrelated,
            root: false,
        };
        let elements = || place.shape.as_deref().and_then(Shape::elements).cloned();
        let other = at(schema, "additionalProperties");
        if let Some(values) = node.additional.node() {
            let inner = below(elements(), place.uncorrelated.clone());
            self.schema(other, values, inner, &path.field("additionalProperties"));
        }
        let above = path.field("properties");
        for (name, property) in members(schema, "properties") {
            let Some(inner) = node.property(name) else { continue };
            let shape = child(place.shape.as_deref(), name, inner);
            self.schema(property, inner, below(shape, place.uncorrelated.clone()), &above.key(name));
        }
        if let Some(items) = node.items.as_deref() {
            let uncorrelated = place.uncorrelated.clone().or_else(|| {
                let correlates = crate::structural::rules::correlates(node);
                (!correlates).then(|| path.to_string())
            });
            self.schema(at(schema, "items"), items, below(elements(), uncorrelated), &path.field("items"));
        }
        if node.rules.is_some() {
            self.rules(schema, &place, path);
        }
    }

    fn rules(&mut self, schema: &Value, place: &Place, path: &Path<'_>) {
        let above = path.field("x-kubernetes-validations");
        let Some(shape) = &place.shape else {
            let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: \
                          unable to convert structural schema to CEL declarations";
            self.faults.push(FieldError::new(Cause::Internal, above, detail, None));
            return;
        };
        let often = place.often.unwrap_or_else(|| shape.most_often());
        for (index, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
            self.rule(rule, shape, often, place, &above.index(index));
        }
    }

    fn rule(&mut self, rule: &Value, shape: &Arc<Shape>, often: u64, place: &Place, path: &Path<'_>) {
        let Some(compiled) = compile_rule(rule, shape) else { return };
        let here = path.field("rule");
        let cost = compiled.program.as_ref().map_or(0, |program| program.cost().max).saturating_mul(often);
        self.observe("estimated rule cost", cost, &here);
        if let Err(detail) = &compiled.program {
            self.faults.push(refused(&here, rule, detail));
        }
        let message = path.field("messageExpression");
        match &compiled.message {
            Some(Err(detail)) => self.faults.push(refused(&message, rule, detail)),
            Some(Ok(program)) => self.observe("estimated messageExpression cost", program.cost().max, &message),
            None => {}
        }
        match (compiled.uses_old, &place.uncorrelated, at(rule, "optionalOldSelf").as_bool()) {
            (true, Some(uncorrelated), _) => {
                let detail =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}");
                self.faults.invalid(&here, text(rule, "rule"), detail);
            }
            (false, _, Some(optional)) => {
                let detail = "may not be set if oldSelf is not used in rule";
                self.faults.invalid(&path.field("optionalOldSelf"), optional, detail);
            }
            _ => {}
        }
    }

    fn observe(&mut self, what: &str, cost: u64, path: &Path<'_>) {
        if cost > PER_RULE && !self.known {
            self.faults.forbidden(path, too_expensive(what, cost, PER_RULE));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= PER_SCHEMA / 100 {
            self.expensive.push((cost, path.to_string()));
        }
    }
}

/// How many values of its kind one value can hold; none if nothing bounds that.
fn most(node: &Node) -> Option<u64> {
    let checks = node.checks.as_deref();
    let bound = |bound: Option<i64>| bound.map(|bound| u64::try_from(bound).unwrap_or(0));
    match node.form {
        Form::Object if node.additional.is_said() => bound(checks.and_then(|checks| checks.max_properties)),
        Form::Array => bound(checks.and_then(|checks| checks.max_items)),
        _ => Some(1),
    }
}

/// A rule as upstream shows it, in the order of its own type.
fn shown(rule: &Value) -> String {
    let held = |name: &str| Value::from(text(rule, name));
    let optional = |name: &str| at(rule, name).clone();
    let parts = [
        ("Rule", held("rule")),
        ("Message", held("message")),
        ("MessageExpression", held("messageExpression")),
        ("Reason", optional("reason")),
        ("FieldPath", held("fieldPath")),
        ("OptionalOldSelf", optional("optionalOldSelf")),
    ];
    let parts: Vec<String> = parts.iter().map(|(name, value)| format!("\"{name}\":{}", go_json(value))).collect();
    format!("{{{}}}", parts.join(","))
}

/// A rule that is refused. The value stands in the detail, for its members have an order.
fn refused(place: &Path<'_>, rule: &Value, detail: &str) -> FieldError {
    FieldError::new(Cause::Invalid, place, format!("{}: {detail}", shown(rule)), None)
}
