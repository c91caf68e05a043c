//! Constants that can be judged without data: durations, timestamps, patterns, formats, lists and maps of one type.
//!
//! Invariant: what is refused here would fail in every evaluation.

use super::{Checked, Use};
use crate::clock;
use crate::fault::{Fault, Faults};
use crate::functions::{formatting, regexes};
use crate::tree::{Expr, Kind, Literal, Tree};
use crate::types::Type;

/// Every such fault of a tree.
pub(super) fn check(source: &str, tree: &Tree, checked: &Checked) -> Vec<Fault> {
    let mut faults = Faults::new(source);
    // With whether it is inside of a call of `format`, which may be given any types.
    let mut open = vec![(&tree.root, false)];
    while let Some((expr, formatted)) = open.pop() {
        let inside = formatted || matches!(&expr.kind, Kind::Call { function, .. } if &**function == "format");
        open.extend(expr.children().into_iter().map(|child| (child, inside)));
        if !formatted {
            mixtures(checked, expr, |at, expected, found| {
                let message = format!("expected type '{expected}' but found '{found}'");
                faults.tell(at as usize, message);
            });
        }
        if let Kind::Call { target, function, args } = &expr.kind
            && let Some((at, message)) = fault_of(checked, expr, target.as_deref(), function, args)
        {
            faults.tell(at as usize, message);
        }
    }
    faults.into_list()
}

/// Tells of members of a literal that differ from the first.
fn mixtures(checked: &Checked, expr: &Expr, mut tell: impl FnMut(u32, &Type, &Type)) {
    let plain = |expr: &Expr, optional: bool| match checked.ty(expr) {
        Type::Optional(inner) if optional => (**inner).clone(),
        other => other.clone(),
    };
    match &expr.kind {
        Kind::List(items) => {
            let types: Vec<Type> = items.iter().map(|item| plain(&item.value, item.optional)).collect();
            if let Some(at) = types.iter().position(|ty| !ty.is(&types[0])) {
                tell(items[at].value.at, &types[0], &types[at]);
            }
        }
        Kind::Map(entries) => {
            let mut first: Option<(Type, Type)> = None;
            for entry in entries {
                let (key, value) = (checked.ty(&entry.key).clone(), plain(&entry.value, entry.optional));
                match &first {
                    None => first = Some((key, value)),
                    Some((expected, _)) if !key.is(expected) => tell(entry.key.at, expected, &key),
                    Some((_, expected)) if !value.is(expected) => tell(entry.value.at, expected, &value),
                    Some(_) => {}
                }
            }
        }
        _ => {}
    }
}

fn text(expr: Option<&Expr>) -> Option<&str> {
    match expr?.literal()? {
        Literal::String(text) => Some(text),
        _ => None,
    }
}

fn fault_of(
    checked: &Checked,
    expr: &Expr,
    target: Option<&Expr>,
    function: &str,
    args: &[Expr],
) -> Option<(u32, String)> {
    let first = args.first();
    let at = first.map_or(expr.at, |first| first.at);
    let invalid = |bad: bool| bad.then(|| (at, format!("invalid {function} argument")));
    match function {
        "duration" => match first?.literal()? {
            Literal::String(text) => invalid(clock::parse_duration(text).is_none()),
            Literal::Int(_) | Literal::Null => invalid(true),
            _ => None,
        },
        "timestamp" => match first?.literal()? {
            Literal::String(text) => invalid(clock::parse_rfc3339(text).flatten().is_none()),
            Literal::Int(seconds) => invalid(clock::Timestamp::from_seconds(*seconds).is_none()),
            Literal::Null => invalid(true),
            _ => None,
        },
        "matches" => invalid(regexes::compile(text(first)?).is_err()),
        "format" if matches!(checked.used(expr), Use::Call { function, .. } if function.name == "format") => {
            let Kind::List(items) = &first?.kind else { return None };
            let items: Vec<&Expr> = items.iter().map(|item| &item.value).collect();
            let types: Vec<Type> = items.iter().map(|item| checked.ty(item).clone()).collect();
            let wrong = formatting::check(text(target)?, &types).err()?;
            let at = wrong.argument.and_then(|at| items.get(at)).map_or(expr.at, |item| item.at);
            Some((at, wrong.message))
        }
        _ => None,
    }
}
