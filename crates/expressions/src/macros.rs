//! Calls that are no calls: `has`, the folds, `optMap`, `sortBy`, `cel.bind`.
//!
//! Invariant: a macro is told by its name, the number of its arguments and whether it has a target; anything else with
//! the same name is an ordinary call.

use crate::parse::{Parsed, Parser};
use crate::tree::{Bind, Expr, Fold, Folding, Kind, Mode, OptMap};

/// The name `sortBy` binds its list to; it cannot be written.
pub(crate) const SORTED: &str = "@__sortBy_input__";

/// A call without a target.
pub(crate) fn global(parser: &mut Parser<'_>, at: usize, name: &str, mut args: Vec<Expr>) -> Parsed {
    if name != "has" || args.len() != 1 {
        return Ok(parser.call(at, name, None, args));
    }
    let tested = args.remove(0);
    match tested.kind {
        Kind::Select { operand, field, mode: Mode::Plain } => {
            Ok(parser.node(at, Kind::Select { operand, field, mode: Mode::Test }))
        }
        _ => Err(parser.fault(tested.at, "invalid argument to has() macro")),
    }
}

/// What a fold's name and number of arguments say: what it makes, whether it has two variables, whether a filter.
fn folding(name: &str, args: usize) -> Option<(Folding, bool, bool)> {
    Some(match (name, args) {
        ("all", 2 | 3) => (Folding::All, args == 3, false),
        ("exists", 2 | 3) => (Folding::Exists, args == 3, false),
        ("exists_one", 2 | 3) | ("existsOne", 3) => (Folding::ExistsOne, args == 3, false),
        ("map", 2 | 3) => (Folding::Map, false, args == 3),
        ("filter", 2) => (Folding::Filter, false, false),
        ("transformList", 3 | 4) => (Folding::Map, true, args == 4),
        ("transformMap", 3 | 4) => (Folding::MapValues, true, args == 4),
        ("transformMapEntry", 3 | 4) => (Folding::MapEntries, true, args == 4),
        _ => return None,
    })
}

/// A call with a target.
pub(crate) fn member(parser: &mut Parser<'_>, at: usize, target: Box<Expr>, name: &str, args: Vec<Expr>) -> Parsed {
    if let Some((folding, pair, filtered)) = folding(name, args.len()) {
        return fold(parser, at, *target, Shape { folding, pair, filtered }, args);
    }
    match (name, args.len()) {
        ("optMap" | "optFlatMap", 2) => opt_map(parser, at, *target, name, args),
        ("sortBy", 2) => sort_by(parser, at, *target, args),
        ("bind", 3) if parser.bindings && matches!(&target.kind, Kind::Ident(name) if &**name == "cel") => {
            bind(parser, at, args)
        }
        _ => Ok(parser.call(at, name, Some(target), args)),
    }
}

struct Shape {
    folding: Folding,
    pair: bool,
    filtered: bool,
}

fn fold(parser: &mut Parser<'_>, at: usize, range: Expr, shape: Shape, args: Vec<Expr>) -> Parsed {
    let message = match shape.folding {
        Folding::Map | Folding::Filter if !shape.pair => "argument is not an identifier",
        _ => "argument must be a simple name",
    };
    let mut args = args.into_iter();
    let mut next = || args.next().expect("invariant: the number of arguments chose the shape");
    let first = next();
    let variable = variable(parser, &first, message)?;
    let second = match shape.pair {
        false => None,
        true => {
            let expr = next();
            let name = self::variable(parser, &expr, message)?;
            if name == variable {
                return Err(parser.fault(expr.at, format!("duplicate variable name: {name}")));
            }
            Some(name)
        }
    };
    let filter = shape.filtered.then(&mut next);
    let body = next();
    let fold = Fold { folding: shape.folding, range, variable, second, filter, body };
    Ok(parser.node(at, Kind::Fold(Box::new(fold))))
}

fn variable(parser: &Parser<'_>, expr: &Expr, message: &str) -> Parsed<Box<str>> {
    match &expr.kind {
        Kind::Ident(name) if matches!(name.as_ref(), "__result__" | "@result") => {
            Err(parser.fault(expr.at, "iteration variable overwrites accumulator variable"))
        }
        Kind::Ident(name) => Ok(name.clone()),
        _ => Err(parser.fault(expr.at, message)),
    }
}

fn opt_map(parser: &mut Parser<'_>, at: usize, target: Expr, name: &str, args: Vec<Expr>) -> Parsed {
    let [variable, body] = two(args);
    let Kind::Ident(variable) = variable.kind else {
        return Err(parser.fault(variable.at, format!("{name}() variable name must be a simple identifier")));
    };
    let map = OptMap { target, name: variable, body, flat: name == "optFlatMap" };
    Ok(parser.node(at, Kind::OptMap(Box::new(map))))
}

/// `cel.bind(name, value, body)`: a value that is worked out once, if at all.
fn bind(parser: &mut Parser<'_>, at: usize, args: Vec<Expr>) -> Parsed {
    let Ok([name, value, body]) = <[Expr; 3]>::try_from(args) else {
        unreachable!("invariant: the macro was chosen by its number of arguments")
    };
    let Kind::Ident(name) = name.kind else {
        return Err(parser.fault(name.at, "cel.bind() variable names must be simple identifiers"));
    };
    Ok(parser.node(at, Kind::Bind(Box::new(Bind { name, value, body }))))
}

/// `list.sortBy(e, key)`: the list is bound, and sorted by the list of its keys.
fn sort_by(parser: &mut Parser<'_>, at: usize, target: Expr, args: Vec<Expr>) -> Parsed {
    if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }) {
        let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return Err(parser.fault(target.at, message));
    }
    let bound = |parser: &mut Parser<'_>| parser.node(at, Kind::Ident(SORTED.into()));
    let range = bound(parser);
    let shape = Shape { folding: Folding::Map, pair: false, filtered: false };
    let keys = fold(parser, at, *range, shape, args)?;
    let list = bound(parser);
    let body = parser.call(at, "@sortByAssociatedKeys", Some(list), vec![*keys]);
    Ok(parser.node(at, Kind::Bind(Box::new(Bind { name: SORTED.into(), value: target, body: *body }))))
}

fn two(args: Vec<Expr>) -> [Expr; 2] {
    args.try_into().expect("invariant: the macro was chosen by its number of arguments")
}
