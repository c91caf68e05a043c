//! Estimates of calls.
//!
//! Invariant: of several overloads that may apply the widest range counts.

use super::price::{CHECK, Price, REQUIREMENT};
use super::{Cost, Coster, Elements, PATTERN, Path, Size, TEXT};
use crate::check::Use;
use crate::library::Overload;
use crate::tree::{Expr, Literal};
use crate::types::{Opaque, Type};

/// The longest list that can be asked what it includes.
pub(crate) const INCLUDED: u64 = 48;
/// The longest pattern of a named format, and the longest name of one.
const FORMAT_PATTERN: f64 = 128.0;
const FORMAT_NAME: u64 = 64;

/// A call's own cost, and how large its result is.
struct Call {
    cost: Cost,
    size: Option<Size>,
}

impl Call {
    fn new(cost: Cost) -> Self {
        Self { cost, size: None }
    }

    fn sized(cost: Cost, size: Size) -> Self {
        Self { cost, size: Some(size) }
    }

    /// Of one that makes a list.
    fn listed(factor: f64, size: Size) -> Self {
        Self::sized(size.scaled(factor).plus(Cost::fixed(11)), size)
    }
}

fn number(expr: Option<&Expr>, otherwise: u64) -> u64 {
    match expr.and_then(Expr::literal) {
        Some(Literal::Int(value)) => u64::try_from(*value).unwrap_or(0),
        _ => otherwise,
    }
}

impl<'e> Coster<'e> {
    pub(super) fn call(&mut self, expr: &'e Expr, target: Option<&'e Expr>, args: &'e [Expr]) -> Cost {
        let Use::Call { namespaced, .. } = self.checked.used(expr) else { return Cost::default() };
        let target = target.filter(|_| !namespaced);
        let mut of_args = Vec::with_capacity(args.len());
        for arg in args {
            of_args.push(self.cost(arg));
        }
        let of_target = target.map_or(Cost::default(), |target| self.cost(target));
        self.own(expr, target, args, of_target, &of_args)
    }

    /// The cost of a call whose arguments' are known.
    fn own(
        &mut self,
        expr: &'e Expr,
        target: Option<&'e Expr>,
        args: &'e [Expr],
        of_target: Cost,
        of_args: &[Cost],
    ) -> Cost {
        let Use::Call { function, overloads, .. } = self.checked.used(expr) else { return Cost::default() };
        let sum = of_args.iter().fold(of_target, |sum, cost| sum.plus(*cost));
        let all: Vec<&'e Expr> = target.into_iter().chain(args).collect();
        match function.price {
            Price::Free => {
                let least = of_args.first().map_or(0, |first| first.min);
                return Cost::new(least, sum.max);
            }
            Price::Choice => return self.choice(expr, args, of_args),
            Price::Dyn => {
                self.keep(expr, self.size(all[0]));
                self.keep_elements(expr, self.elements(all[0]));
                return sum.plus(Cost::fixed(1));
            }
            _ => {}
        }
        let mut own: Option<Cost> = None;
        let mut size: Option<Size> = None;
        for overload in overloads.iter().filter_map(|at| function.overloads.get(usize::from(*at))) {
            let call = self.overload(expr, function.price, overload, &all);
            own = Some(own.map_or(call.cost, |own| own.union(call.cost)));
            size = match (size, call.size) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            if function.price == Price::Index {
                size = self.index(expr, overload, all[0]).or(size);
            }
            size = size.or_else(|| self.size(expr));
        }
        self.keep(expr, size);
        sum.plus(own.unwrap_or_default())
    }

    fn choice(&mut self, expr: &'e Expr, args: &'e [Expr], costs: &[Cost]) -> Cost {
        let ([_, yes, no], [condition, of_yes, of_no]) = (args, costs) else { return Cost::default() };
        self.keep_elements(expr, union(self.elements(yes), self.elements(no)));
        self.keep(expr, Some(self.size_or_unknown(yes).union(self.size_or_unknown(no))));
        condition.plus(of_yes.union(*of_no))
    }

    fn index(&mut self, expr: &Expr, overload: &Overload, operand: &Expr) -> Option<Size> {
        if !matches!(overload.args.first(), Some(Type::List(_) | Type::Map(_))) {
            return None;
        }
        self.set_path(expr, self.elements_of(self.path(operand)));
        self.elements(operand).map(|elements| elements.value)
    }

    /// One overload; `all` are the arguments, the target first.
    fn overload(&mut self, expr: &Expr, price: Price, overload: &Overload, all: &[&'e Expr]) -> Call {
        let size = |at: usize| all.get(at).map_or(Size::UNKNOWN, |arg| self.size_or_unknown(arg));
        let first = overload.args.first();
        match price {
            Price::Traverse { keeps } => {
                let cost = size(0).scaled(TEXT);
                if keeps { Call::sized(cost, size(0)) } else { Call::new(cost) }
            }
            Price::Ip if matches!(first, Some(Type::Opaque(_))) => Call::new(Cost::fixed(1)),
            Price::Ip | Price::Format => Call::new(size(0).scaled(TEXT)),
            Price::Twice => Call::new(size(0).scaled(2.0 * TEXT)),
            Price::Affix => Call::new(size(1).scaled(TEXT)),
            Price::Contains => Call::new(size(0).scaled(TEXT).times(size(1).scaled(TEXT))),
            Price::Matches if !overload.member => Call::new(Cost::fixed(1)),
            Price::Matches => Call::new(matched(size(0), size(1))),
            Price::Find => Call::sized(matched(size(0), size(1)), Size::new(0, size(0).max)),
            Price::Replace => replaced(size(0), size(1), size(2)),
            Price::Split => {
                let most = number(all.get(2).copied(), size(0).max);
                Call::sized(size(0).scaled(2.0 * TEXT), Size::new(0, most))
            }
            Price::Join => self.joined(all),
            Price::Quote => {
                let quoted = Size::new(size(0).min.saturating_add(2), size(0).max.saturating_mul(2).saturating_add(2));
                Call::sized(size(0).scaled(TEXT), quoted)
            }
            Price::ToBytes if matches!(first, Some(Type::String)) => {
                Call::sized(size(0).scaled(TEXT), Size::new(size(0).min, size(0).max.saturating_mul(4)))
            }
            Price::ToText if matches!(first, Some(Type::Bytes)) => {
                Call::sized(size(0).scaled(TEXT), Size::new(size(0).min / 4, size(0).max))
            }
            Price::Equal => self.equality(all),
            Price::Unequal => Call::new(compared(size(0), size(1))),
            Price::Order if matches!(first, Some(Type::String | Type::Bytes)) => Call::new(compared(size(0), size(1))),
            Price::Add => self.sum(expr, first, all),
            Price::In if matches!(overload.args.get(1), Some(Type::List(_))) => Call::new(size(1)),
            Price::Includes => Call::new(Cost::new(0, INCLUDED)),
            Price::Scan => self.scan(all),
            Price::ContainsIp | Price::ContainsCidr => {
                let bytes = Size::new(4, 16);
                let mut cost = bytes.plus(bytes).scaled(TEXT);
                if price == Price::ContainsCidr {
                    cost = cost.plus(bytes.scaled(TEXT)).plus(Cost::fixed(1));
                }
                let parsed = matches!(overload.args.get(1), Some(Type::String));
                Call::new(if parsed { cost.plus(size(1).scaled(TEXT)) } else { cost })
            }
            Price::Check => Call::new(Cost::fixed(CHECK)),
            Price::Selector => {
                let requirements = size(1).scaled(0.5).scaled(REQUIREMENT);
                Call::new(Cost::fixed(10).plus(size(1).scaled(TEXT)).plus(requirements))
            }
            Price::Validate => Call::new(size(1).scaled(TEXT).scaled(FORMAT_PATTERN * PATTERN)),
            other => lists(other, overload, all, size),
        }
    }

    fn joined(&self, all: &[&'e Expr]) -> Call {
        let list = self.size_or_unknown(all[0]);
        let mut size = match self.element_size(all[0]) {
            Some(element) => list.times(element),
            None => Size::default(),
        };
        if let Some(separator) = all.get(1) {
            let between = Size::new(list.min.saturating_sub(1), list.max.saturating_sub(1));
            size = size.plus(self.size_or_unknown(separator).times(between));
        }
        Call::sized(size.scaled(TEXT), size)
    }

    /// The size of a list's elements by its path alone; none if it is no list.
    fn element_size(&self, list: &Expr) -> Option<Size> {
        if !matches!(self.ty(list), Type::List(_) | Type::Map(_) | Type::Optional(_)) {
            return None;
        }
        Some(match self.path(list) {
            Path::None => Size::UNKNOWN,
            path => Self::size_at(self.elements_of(path)).unwrap_or(Size::UNKNOWN),
        })
    }

    fn scan(&self, all: &[&'e Expr]) -> Call {
        let size = self.size_or_unknown(all[0]);
        let Some(element) = self.element_size(all[0]) else { return Call::new(size.scaled(TEXT)) };
        let texts = matches!(self.ty(all[0]), Type::List(inner) if matches!(**inner, Type::String | Type::Bytes));
        let each = if texts { Cost::fixed(1).plus(element.scaled(TEXT)) } else { Cost::fixed(1) };
        Call::new(size.times(each))
    }

    fn equality(&self, all: &[&'e Expr]) -> Call {
        let (a, b) = (self.size_or_unknown(all[0]), self.size_or_unknown(all[1]));
        if let (Type::Opaque(left), Type::Opaque(right)) = (self.ty(all[0]), self.ty(all[1]))
            && left == right
        {
            return Call::new(match left {
                Opaque::Format => Cost::new(1, FORMAT_NAME).scaled(TEXT),
                Opaque::Url => Cost::new(1, self.size(all[1]).map_or(1, |size| size.max)).scaled(TEXT),
                _ => Cost::fixed(1),
            });
        }
        Call::new(compared(a, b))
    }

    fn sum(&mut self, expr: &Expr, first: Option<&Type>, all: &[&'e Expr]) -> Call {
        if !matches!(first, Some(Type::String | Type::Bytes | Type::List(_))) {
            return Call::new(Cost::fixed(1));
        }
        let size = self.size_or_unknown(all[0]).plus(self.size_or_unknown(all[1]));
        self.keep_elements(expr, union(self.elements(all[0]), self.elements(all[1])));
        match first {
            Some(Type::List(_)) => Call::sized(Cost::fixed(1), size),
            _ => Call::sized(size.scaled(TEXT), size),
        }
    }
}

fn union(a: Option<Elements>, b: Option<Elements>) -> Option<Elements> {
    let (a, b) = (a?, b?);
    Some(Elements { is_list: a.is_list, key: a.key.union(b.key), value: a.value.union(b.value) })
}

fn compared(a: Size, b: Size) -> Cost {
    let most = a.max.min(b.max);
    Cost::new(u64::from(most > 0), most).scaled(TEXT)
}

fn matched(text: Size, pattern: Size) -> Cost {
    text.plus(Size::fixed(1)).scaled(TEXT).times(pattern.scaled(PATTERN))
}

/// How often a part of one length fits, and how long the text gets.
fn replaced(text: Size, old: Size, new: Size) -> Call {
    let most = if old.min == 0 {
        new.max.saturating_mul(text.max.saturating_add(1)).saturating_add(text.max)
    } else if new.max <= old.min {
        text.max
    } else {
        new.max.saturating_mul((text.max as f64 / old.min as f64).ceil() as u64)
    };
    let least = if old.max == 0 {
        new.min.saturating_mul(text.min.saturating_add(1)).saturating_add(text.min)
    } else if old.max <= new.min {
        text.min
    } else {
        new.min.saturating_mul((text.min as f64 / old.max as f64).ceil() as u64)
    };
    Call::sized(text.scaled(2.0 * TEXT), Size::new(least, most))
}

fn lists(price: Price, overload: &Overload, all: &[&Expr], size: impl Fn(usize) -> Size) -> Call {
    let squared = |at: usize| {
        let texts =
            matches!(overload.args.get(at), Some(Type::List(inner)) if matches!(**inner, Type::String | Type::Bytes));
        let size = size(at);
        Call::listed(if texts { 2.0 + TEXT } else { 2.0 }, size.times(size))
    };
    match price {
        Price::Slice => {
            let start = number(all.get(1).copied(), 0);
            let end = number(all.get(2).copied(), size(0).max);
            Call::listed(1.0, Size::fixed(end.wrapping_sub(start)))
        }
        Price::Flatten => {
            let depth = if all.len() == 2 { number(all.get(1).copied(), u64::MAX) } else { 1 };
            Call::listed(depth as f64, size(0))
        }
        Price::Sort => squared(0),
        Price::SortBy => squared(1),
        Price::Distinct => {
            let size = size(0);
            Call::listed(2.0, size.times(size))
        }
        Price::Range => Call::listed(1.0, Size::fixed(number(all.first().copied(), u64::MAX))),
        Price::Reverse => Call::listed(1.0, size(0)),
        Price::Sets(times) => Call::new(size(0).times(size(1)).scaled(f64::from(times)).plus(Cost::fixed(1))),
        _ => Call::new(Cost::fixed(1)),
    }
}
