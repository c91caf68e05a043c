//! Whether one type can stand where another is expected, finding out unknown types on the way.
//!
//! Invariant: a question that is answered with no leaves nothing behind. A type parameter never stands for a type it is
//! a part of, so substitution ends.

use std::sync::Arc;

use crate::types::Type;

/// What is known of type parameters.
#[derive(Default)]
pub(crate) struct Unifier {
    bound: Vec<Option<Type>>,
    /// What the question being answered has changed, and what was there before.
    changed: Vec<(u32, Option<Type>)>,
}

impl Unifier {
    /// The first of so many new parameters.
    pub(crate) fn fresh_many(&mut self, count: u32) -> u32 {
        let first = self.bound.len() as u32;
        self.bound.resize(self.bound.len() + count as usize, None);
        first
    }

    pub(crate) fn fresh(&mut self) -> Type {
        Type::Param(self.fresh_many(1))
    }

    fn found(&self, ty: &Type) -> Option<Type> {
        match ty {
            Type::Param(number) => self.bound[*number as usize].clone(),
            _ => None,
        }
    }

    /// Whether `from` can be used as `to`.
    pub(crate) fn assignable(&mut self, to: &Type, from: &Type) -> bool {
        let answer = self.fits(to, from);
        self.settle(answer)
    }

    /// Keeps what an answer has found out, or forgets it.
    fn settle(&mut self, answer: bool) -> bool {
        for (number, before) in self.changed.drain(..).rev() {
            if !answer {
                self.bound[number as usize] = before;
            }
        }
        answer
    }

    fn bind(&mut self, number: u32, ty: Type) {
        let before = self.bound[number as usize].replace(ty);
        self.changed.push((number, before));
    }

    pub(crate) fn all_assignable(&mut self, to: &[Type], from: &[Type]) -> bool {
        if to.len() != from.len() {
            return false;
        }
        let answer = to.iter().zip(from).all(|(to, from)| self.fits(to, from));
        self.settle(answer)
    }

    fn fits(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Param(_) = b {
            match self.stands_for(b, a) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if let Type::Param(_) = a {
            return self.stands_for(a, b).0;
        }
        if a.is_dyn_or_error() || b.is_dyn_or_error() {
            return true;
        }
        match (a, b) {
            (Type::Null, other) | (other, Type::Null) => matches!(
                other,
                Type::Null
                    | Type::Optional(_)
                    | Type::Object(_)
                    | Type::Made(_)
                    | Type::Opaque(_)
                    | Type::Duration
                    | Type::Timestamp
            ),
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (Type::Type(_), Type::Type(_)) => true,
            _ => a.is(b),
        }
    }

    /// Whether the parameter can stand for the type, and whether it stood for something already.
    fn stands_for(&mut self, param: &Type, ty: &Type) -> (bool, bool) {
        if ty.is(param) {
            return (true, true);
        }
        let Type::Param(number) = param else { return (false, false) };
        if let Some(known) = self.found(param) {
            if ty.is(&known) {
                return (true, true);
            }
            if !self.fits(ty, &known) {
                return (false, true);
            }
            let general = if is_as_general(ty, &known) { ty.clone() } else { known };
            if self.is_free_of(param, &general) {
                self.bind(*number, general);
            }
            return (true, true);
        }
        let free = self.is_free_of(param, ty);
        if free {
            self.bind(*number, ty.clone());
        }
        (free, false)
    }

    fn is_free_of(&self, param: &Type, ty: &Type) -> bool {
        if ty.is(param) {
            return false;
        }
        match ty {
            Type::Param(_) => self.found(ty).is_none_or(|known| self.is_free_of(param, &known)),
            _ => ty.parts().iter().all(|part| self.is_free_of(param, part)),
        }
    }

    /// The type with every known parameter replaced; with `finally` the unknown ones become `dyn`.
    pub(crate) fn substitute(&self, ty: &Type, finally: bool) -> Type {
        let part = |ty: &Type| Arc::new(self.substitute(ty, finally));
        match ty {
            Type::Param(_) => match self.found(ty) {
                Some(known) => self.substitute(&known, finally),
                None if finally => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(inner) => Type::List(part(inner)),
            Type::Optional(inner) => Type::Optional(part(inner)),
            Type::Type(inner) => Type::Type(part(inner)),
            Type::Map(both) => Type::map(self.substitute(&both.0, finally), self.substitute(&both.1, finally)),
            _ => ty.clone(),
        }
    }
}

/// A signature's type with its parameters numbered from `first`.
pub(crate) fn renumber(ty: &Type, first: u32) -> Type {
    match ty {
        Type::Param(number) => Type::Param(first + number),
        Type::List(inner) => Type::list(renumber(inner, first)),
        Type::Optional(inner) => Type::optional(renumber(inner, first)),
        Type::Type(inner) => Type::Type(Arc::new(renumber(inner, first))),
        Type::Map(both) => Type::map(renumber(&both.0, first), renumber(&both.1, first)),
        _ => ty.clone(),
    }
}

/// Whether `a` says as little as `b`, or less: `dyn` says least.
pub(crate) fn is_as_general(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Any | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Any | Type::Param(_)) => false,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => is_as_general(a, b),
        (Type::Map(a), Type::Map(b)) => is_as_general(&a.0, &b.0) && is_as_general(&a.1, &b.1),
        (Type::Type(_), Type::Type(_)) => true,
        _ => a.is(b),
    }
}
