//! Static types: every name is known, every call fits a signature.
//!
//! Invariant: a checked expression has a type for each node and the overloads of each call that may apply. One mistake
//! is told once: what follows from it is typed as an error, which fits everything.

mod literals;
mod structs;
mod unify;

use crate::fault::{Fault, Faults};
use crate::library::{self, Function};
use crate::tree::{Bind, Entry, Expr, Fold, Folding, Item, Kind, Literal, Mode, OptMap, Tree};
use crate::types::{Env, Type, empty_name, named_type};

use unify::Unifier;

/// What a node refers to.
#[derive(Clone)]
pub(crate) enum Use {
    /// Itself.
    None,
    Variable(usize),
    Local,
    Type(Type),
    /// A type that has a name and no value.
    EmptyName(Box<str>),
    Call {
        function: &'static Function,
        /// Which of the function's overloads may apply.
        overloads: Vec<u8>,
        /// The target was the first part of the function's name.
        namespaced: bool,
    },
}

/// What is known of a checked tree, by node.
pub(crate) struct Checked {
    pub(crate) types: Vec<Type>,
    pub(crate) uses: Vec<Use>,
}

impl Checked {
    pub(crate) fn ty(&self, expr: &Expr) -> &Type {
        &self.types[expr.id as usize]
    }

    pub(crate) fn used(&self, expr: &Expr) -> &Use {
        &self.uses[expr.id as usize]
    }
}

/// Checks a tree; all faults, or none.
pub(crate) fn check(source: &str, tree: &Tree, env: &Env) -> Result<Checked, Vec<Fault>> {
    let size = tree.size as usize;
    let mut checker = Checker {
        env,
        types: vec![Type::Error; size],
        uses: vec![Use::None; size],
        scope: Vec::new(),
        unifier: Unifier::default(),
        faults: Faults::new(source),
    };
    checker.check(&tree.root);
    let Checker { unifier, types, uses, faults, .. } = checker;
    let checked = Checked { types: types.iter().map(|ty| unifier.substitute(ty, true)).collect(), uses };
    let faults = match faults.count() {
        0 => literals::check(source, tree, &checked),
        _ => faults.into_list(),
    };
    if faults.is_empty() { Ok(checked) } else { Err(faults) }
}

struct Checker<'c> {
    env: &'c Env,
    types: Vec<Type>,
    uses: Vec<Use>,
    /// Variables of folds and bindings, the innermost last.
    scope: Vec<(Box<str>, Type)>,
    unifier: Unifier,
    faults: Faults<'c>,
}

impl Checker<'_> {
    fn fault(&mut self, at: &Expr, message: impl Into<String>) {
        self.faults.tell(at.at as usize, message);
    }

    fn undeclared(&mut self, at: &Expr, name: &str) -> Type {
        self.fault(at, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn mismatch(&mut self, at: &Expr, expected: &Type, found: &Type) {
        let found = self.unifier.substitute(found, false);
        self.fault(at, format!("expected type '{expected}' but found '{found}'"));
    }

    fn check(&mut self, expr: &Expr) -> Type {
        let ty = match &expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(name) => self.ident(expr, name),
            Kind::Select { operand, field, mode } => self.select(expr, operand, field, *mode),
            Kind::Call { target, function, args } => self.call(expr, target.as_deref(), function, args),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.structure(expr, name, fields),
            Kind::Fold(fold) => self.fold(expr, fold),
            Kind::Bind(bind) => self.bind(bind),
            Kind::OptMap(map) => self.opt_map(expr, map),
        };
        self.types[expr.id as usize] = ty.clone();
        ty
    }

    fn ident(&mut self, expr: &Expr, name: &str) -> Type {
        match self.lookup(expr, name) {
            Some(ty) => ty,
            None => self.undeclared(expr, name),
        }
    }

    fn bind(&mut self, bind: &Bind) -> Type {
        let value = self.check(&bind.value);
        self.with(&[(&bind.name, value)], |checker| checker.check(&bind.body))
    }

    fn with<T>(&mut self, variables: &[(&str, Type)], inside: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.scope.len();
        self.scope.extend(variables.iter().map(|(name, ty)| (Box::from(*name), ty.clone())));
        let result = inside(self);
        self.scope.truncate(before);
        result
    }

    fn lookup(&mut self, expr: &Expr, name: &str) -> Option<Type> {
        let (used, ty) = self.named(name)?;
        self.uses[expr.id as usize] = used;
        Some(ty)
    }

    /// What a name means, and its type.
    fn named(&self, name: &str) -> Option<(Use, Type)> {
        Some(if let Some((_, ty)) = self.scope.iter().rev().find(|(known, _)| &**known == name) {
            (Use::Local, ty.clone())
        } else if let Some((at, declaration)) = self.env.variable(name) {
            (Use::Variable(at), declaration.ty())
        } else if let Some(named) = named_type(name) {
            (Use::Type(named.clone()), Type::Type(named.into()))
        } else {
            (Use::EmptyName(name.into()), Type::Type(empty_name(name, self.env)?.into()))
        })
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, mode: Mode) -> Type {
        if mode == Mode::Plain
            && let Some(name) = expr.qualified_name()
            && let Some(ty) = self.lookup(expr, &name)
        {
            return ty;
        }
        let operand = self.check(operand);
        self.selected(expr, &operand, field, mode)
    }

    /// The type of a field of something of a type.
    fn selected(&mut self, expr: &Expr, operand: &Type, field: &str, mode: Mode) -> Type {
        let operand = self.unifier.substitute(operand, false);
        let (target, is_optional) = match &operand {
            Type::Optional(inner) => ((**inner).clone(), true),
            _ => (operand, false),
        };
        let result = match &target {
            Type::Map(both) => both.1.clone(),
            Type::Object(object) => match object.field(field) {
                Some(found) => found.shape.ty(),
                None => {
                    self.fault(expr, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
            Type::Made(name) => structs::field(name, field),
            Type::Opaque(opaque) if !matches!(opaque, crate::types::Opaque::Ip | crate::types::Opaque::Cidr) => {
                self.fault(expr, format!("unexpected failed resolution of '{}'", opaque.name()));
                Type::Error
            }
            Type::Param(_) => {
                self.unifier.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    self.fault(expr, format!("type '{other}' does not support field selection"));
                }
                Type::Dyn
            }
        };
        match mode {
            Mode::Test => Type::Bool,
            Mode::Optional => Type::optional(result),
            Mode::Plain if is_optional => Type::optional(result),
            Mode::Plain => self.unifier.substitute(&result, false),
        }
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, name: &str, args: &[Expr]) -> Type {
        // Loops, here and in all that walks trees: iterators would deepen every level of the recursion.
        let mut types = Vec::with_capacity(args.len() + 1);
        for arg in args {
            types.push(self.check(arg));
        }
        if matches!(name, "_&&_" | "_||_") {
            return self.logic(expr, name, args, &types);
        }
        if let Some(target) = target {
            if let Some(function) = self.namespaced(target, name) {
                return self.resolve(expr, function, false, true, &types);
            }
            let target = self.check(target);
            types.insert(0, target);
        }
        match self.function(name) {
            Some(function) => self.resolve(expr, function, target.is_some(), false, &types),
            None => self.undeclared(expr, name),
        }
    }

    /// The function a target and a name spell together.
    fn namespaced(&self, target: &Expr, name: &str) -> Option<&'static Function> {
        let prefix = target.qualified_name()?;
        self.function(&format!("{prefix}.{name}"))
    }

    fn function(&self, name: &str) -> Option<&'static Function> {
        let known = match name {
            "jsonpatch.escapeKey" => self.env.patches,
            "includes" => self.env.includes,
            _ => true,
        };
        library::function(name).filter(|_| known)
    }

    fn logic(&mut self, expr: &Expr, name: &str, args: &[Expr], types: &[Type]) -> Type {
        let mut fits = true;
        for (arg, ty) in args.iter().zip(types) {
            if !self.unifier.assignable(ty, &Type::Bool) {
                self.mismatch(arg, &Type::Bool, ty);
                fits = false;
            }
        }
        if let Some(function) = library::function(name) {
            self.uses[expr.id as usize] = Use::Call { function, overloads: vec![0], namespaced: false };
        }
        if fits { Type::Bool } else { Type::Error }
    }

    /// Finds the overloads that fit; a call that may be several is `dyn` unless they agree.
    fn resolve(
        &mut self,
        expr: &Expr,
        function: &'static Function,
        member: bool,
        namespaced: bool,
        types: &[Type],
    ) -> Type {
        let mut overloads = Vec::new();
        let mut result: Option<Type> = None;
        for (at, overload) in function.overloads.iter().enumerate() {
            if overload.member != member || overload.args.len() != types.len() {
                continue;
            }
            let (fits, ty) = if overload.params == 0 {
                (self.unifier.all_assignable(types, &overload.args), overload.result.clone())
            } else {
                let first = self.unifier.fresh_many(overload.params);
                let args: Vec<Type> = overload.args.iter().map(|arg| unify::renumber(arg, first)).collect();
                let fits = self.unifier.all_assignable(types, &args);
                (fits, self.unifier.substitute(&unify::renumber(&overload.result, first), false))
            };
            if !fits {
                continue;
            }
            overloads.push(at as u8);
            result = Some(match result {
                None => ty,
                Some(known) if known.is_dyn() || ty.is(&known) => known,
                Some(_) => Type::Dyn,
            });
        }
        match result {
            Some(result) => {
                self.uses[expr.id as usize] = Use::Call { function, overloads, namespaced };
                result
            }
            None => self.no_overload(expr, function.name, member, types),
        }
    }

    fn no_overload(&mut self, expr: &Expr, name: &str, member: bool, types: &[Type]) -> Type {
        let shown: Vec<String> = types.iter().map(|ty| self.unifier.substitute(ty, true).to_string()).collect();
        let signature = match (member, shown.split_first()) {
            (true, Some((target, args))) => format!("{target}.({})", args.join(", ")),
            _ => format!("({})", shown.join(", ")),
        };
        self.fault(expr, format!("found no matching overload for '{name}' applied to '{signature}'"));
        Type::Error
    }

    /// The common type of two members of a literal. That they agree is looked at later, for formats may mix types.
    fn join(&mut self, known: Option<Type>, next: &Type) -> Type {
        let Some(known) = known else { return next.clone() };
        if self.unifier.assignable(&known, next) {
            return if unify::is_as_general(&known, next) { known } else { next.clone() };
        }
        Type::Dyn
    }

    /// The type inside of an optional member of a literal.
    fn unwrapped(&mut self, at: &Expr, ty: Type, optional: bool) -> Type {
        match ty {
            Type::Optional(inner) if optional => (*inner).clone(),
            other => {
                if optional && !other.is_dyn() {
                    self.mismatch(at, &Type::optional(other.clone()), &other);
                }
                other
            }
        }
    }

    fn list(&mut self, items: &[Item]) -> Type {
        let mut element = None;
        for item in items {
            let ty = self.check(&item.value);
            let ty = self.unwrapped(&item.value, ty, item.optional);
            element = Some(self.join(element, &ty));
        }
        Type::list(element.unwrap_or_else(|| self.unifier.fresh()))
    }

    fn map(&mut self, entries: &[Entry]) -> Type {
        let (mut key, mut value) = (None, None);
        for entry in entries {
            let ty = self.check(&entry.key);
            key = Some(self.join(key, &ty));
            let ty = self.check(&entry.value);
            let ty = self.unwrapped(&entry.value, ty, entry.optional);
            value = Some(self.join(value, &ty));
        }
        let key = key.unwrap_or_else(|| self.unifier.fresh());
        Type::map(key, value.unwrap_or_else(|| self.unifier.fresh()))
    }

    /// The types of the one or two variables over a range.
    fn range(&mut self, range: &Expr, pair: bool) -> (Type, Type) {
        let found = self.check(range);
        let ty = self.unifier.substitute(&found, false);
        match &ty {
            Type::List(element) if pair => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Error),
            Type::Map(both) => (both.0.clone(), both.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.unifier.assignable(&Type::Dyn, &ty);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.fault(range, message);
                (Type::Error, Type::Error)
            }
        }
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Type {
        let (first, second) = self.range(&fold.range, fold.second.is_some());
        let mut variables = vec![(&*fold.variable, first.clone())];
        variables.extend(fold.second.as_deref().map(|name| (name, second)));
        let (filter, body) = self.with(&variables, |checker| {
            let filter = fold.filter.as_ref().map(|filter| checker.check(filter));
            (filter, checker.check(&fold.body))
        });
        let result = self.folded(expr, fold, &first, &body);
        let condition = match fold.folding {
            Folding::ExistsOne | Folding::Filter => Some(body),
            _ => filter,
        };
        if let Some(condition) = condition
            && !self.unifier.assignable(&condition, &Type::Bool)
        {
            let branch = if fold.folding == Folding::ExistsOne { Type::Int } else { result.clone() };
            self.no_overload(expr, "_?_:_", false, &[condition, branch.clone(), branch]);
        }
        result
    }

    fn folded(&mut self, expr: &Expr, fold: &Fold, first: &Type, body: &Type) -> Type {
        match fold.folding {
            Folding::All | Folding::Exists => {
                if !self.unifier.assignable(body, &Type::Bool) {
                    self.mismatch(&fold.body, &Type::Bool, body);
                }
                Type::Bool
            }
            Folding::ExistsOne => Type::Bool,
            Folding::Map => Type::list(body.clone()),
            Folding::Filter => Type::list(first.clone()),
            Folding::MapValues => Type::map(first.clone(), body.clone()),
            Folding::MapEntries => {
                let any = Type::map(self.unifier.fresh(), self.unifier.fresh());
                if self.unifier.assignable(&any, body) {
                    return self.unifier.substitute(&any, false);
                }
                self.no_overload(expr, "cel.@mapInsert", false, &[any, body.clone()])
            }
        }
    }

    fn opt_map(&mut self, expr: &Expr, map: &OptMap) -> Type {
        // The macro writes its target down twice, and so are its faults told.
        let before = self.faults.count();
        let target = self.check(&map.target);
        self.faults.repeat(before);
        let inner = self.unifier.fresh();
        let wrapped = Type::optional(inner.clone());
        let fits = self.unifier.assignable(&target, &wrapped);
        if !fits {
            self.no_overload(expr, "hasValue", true, std::slice::from_ref(&target));
            self.no_overload(expr, "value", true, &[target]);
        }
        let inner = if fits { self.unifier.substitute(&inner, false) } else { Type::Error };
        let body = self.with(&[(&map.name, inner)], |checker| checker.check(&map.body));
        if !map.flat {
            return Type::optional(body);
        }
        let none = Type::optional(self.unifier.fresh());
        if self.unifier.assignable(&body, &none) {
            return body;
        }
        let asked = if fits { Type::Bool } else { Type::Error };
        self.no_overload(expr, "_?_:_", false, &[asked, body, none])
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}
