//! What an expression may cost at most, told without evaluating it.
//!
//! Invariant: estimates are those of upstream, number by number, for they decide which rules are accepted: where its
//! way of counting is odd (an expression that is no path counts as the root), the oddity is kept. All arithmetic
//! saturates.

pub(crate) mod calls;
pub(crate) mod price;

use crate::check::{Checked, Use};
use crate::shape::Shape;
use crate::tree::{Bind, Entry, Expr, Fold, Folding, Init, Item, Kind, Literal, Mode, OptMap, Tree};
use crate::types::{Env, Type};

/// Lengths of strings cost a tenth, of patterns a quarter.
pub(crate) const TEXT: f64 = 0.1;
pub(crate) const PATTERN: f64 = 0.25;
/// Making an object.
pub(crate) const STRUCT: u64 = 40;

/// From the least to the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub min: u64,
    pub max: u64,
}

/// A size, likewise.
pub(crate) type Size = Cost;

impl Cost {
    pub(crate) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    pub(crate) fn new(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    pub(crate) fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    #[must_use]
    pub(crate) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// Rounded up.
    #[must_use]
    pub(crate) fn scaled(self, factor: f64) -> Self {
        // A cast from a double saturates.
        let scale = |value: u64| (value as f64 * factor).ceil() as u64;
        Self { min: scale(self.min), max: scale(self.max) }
    }

    /// What covers both.
    #[must_use]
    pub(crate) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// The cost of a checked expression.
pub(crate) fn estimate(tree: &Tree, checked: &Checked, env: &Env) -> Cost {
    let keys = Shape::string(Some(0), None);
    let size = tree.size as usize;
    let mut coster = Coster {
        checked,
        env,
        keys: &keys,
        locals: Vec::new(),
        paths: vec![Path::None; size],
        sizes: vec![None; size],
        entries: vec![None; size],
    };
    coster.cost(&tree.root)
}

/// Where in the data an expression points.
#[derive(Clone, Copy)]
pub(crate) enum Path<'e> {
    /// It is no path.
    None,
    /// A path, to what is known of that place.
    To(Option<&'e Shape>),
}

/// Sizes of the keys or indexes, and of the values, of a list or map.
#[derive(Clone, Copy)]
struct Elements {
    is_list: bool,
    key: Size,
    value: Size,
}

struct Local<'e> {
    name: Box<str>,
    path: Path<'e>,
    size: Option<Size>,
    elements: Option<Elements>,
}

pub(crate) struct Coster<'e> {
    checked: &'e Checked,
    env: &'e Env,
    keys: &'e Shape,
    locals: Vec<Local<'e>>,
    paths: Vec<Path<'e>>,
    sizes: Vec<Option<Size>>,
    entries: Vec<Option<Elements>>,
}

impl<'e> Coster<'e> {
    pub(crate) fn ty(&self, expr: &Expr) -> &'e Type {
        self.checked.ty(expr)
    }

    fn local(&self, name: &str) -> Option<&Local<'e>> {
        self.locals.iter().rev().find(|local| &*local.name == name)
    }

    pub(crate) fn path(&self, expr: &Expr) -> Path<'e> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path;
        }
        self.paths[expr.id as usize]
    }

    fn set_path(&mut self, expr: &Expr, path: Path<'e>) {
        self.paths[expr.id as usize] = path;
    }

    /// One step further. The first step from nowhere leads to a root.
    fn step(&self, path: Path<'e>, name: &str, step: impl Fn(&'e Shape) -> Option<&'e Shape>) -> Path<'e> {
        match path {
            Path::None => Path::To(self.env.root(name).map(AsRef::as_ref)),
            Path::To(shape) => Path::To(shape.and_then(step)),
        }
    }

    fn elements_of(&self, path: Path<'e>) -> Path<'e> {
        self.step(path, "", |shape| shape.elements().map(AsRef::as_ref))
    }

    pub(crate) fn size_at(path: Path<'_>) -> Option<Size> {
        match path {
            Path::To(Some(shape)) => Some(Size::new(0, shape.most)),
            Path::To(None) | Path::None => None,
        }
    }

    /// The size of an expression's value, if anything is known of it.
    pub(crate) fn size(&self, expr: &Expr) -> Option<Size> {
        if let Some(size) = self.sizes[expr.id as usize] {
            return Some(size);
        }
        if let Some(size) = written_size(expr) {
            return Some(Size::fixed(size));
        }
        if let Some(size) = Self::size_at(self.path(expr)) {
            return Some(size);
        }
        if self.ty(expr).is_scalar() {
            return Some(Size::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    pub(crate) fn size_or_unknown(&self, expr: &Expr) -> Size {
        self.size(expr).unwrap_or(Size::UNKNOWN)
    }

    fn elements(&self, expr: &Expr) -> Option<Elements> {
        self.entries[expr.id as usize].or_else(|| match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.elements),
            _ => None,
        })
    }

    fn keep(&mut self, expr: &Expr, size: Option<Size>) {
        if size.is_some() {
            self.sizes[expr.id as usize] = size;
        }
    }

    fn keep_elements(&mut self, expr: &Expr, elements: Option<Elements>) {
        if elements.is_some() {
            self.entries[expr.id as usize] = elements;
        }
    }

    fn cost(&mut self, expr: &'e Expr) -> Cost {
        match &expr.kind {
            Kind::Literal(_) => Cost::default(),
            Kind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path,
                    None => self.variable_path(expr),
                };
                self.set_path(expr, path);
                Cost::fixed(1)
            }
            Kind::Select { operand, field, mode } => self.select(expr, operand, field, *mode),
            Kind::Call { target, args, .. } => self.call(expr, target.as_deref(), args),
            Kind::List(items) => self.list(expr, items),
            Kind::Map(entries) => self.map(expr, entries),
            Kind::Struct { fields, .. } => self.structure(fields),
            Kind::Fold(fold) => self.fold(expr, fold),
            Kind::Bind(bind) => self.bind(expr, bind),
            Kind::OptMap(map) => self.opt_map(map),
        }
    }

    fn bind(&mut self, expr: &'e Expr, bind: &'e Bind) -> Cost {
        let value = self.cost(&bind.value);
        self.push(&bind.name, self.path(&bind.value), self.size(&bind.value), self.elements(&bind.value));
        let body = self.cost(&bind.body);
        self.locals.pop();
        self.keep(expr, self.size(&bind.body));
        self.keep_elements(expr, self.elements(&bind.body));
        Cost::fixed(10).plus(value).plus(body)
    }

    fn variable_path(&self, expr: &Expr) -> Path<'e> {
        let shape = match self.checked.used(expr) {
            Use::Variable(at) => self.env.variables[*at].1.shape().map(AsRef::as_ref),
            _ => None,
        };
        Path::To(shape.or_else(|| self.env.root("").map(AsRef::as_ref)))
    }

    fn push(&mut self, name: &str, path: Path<'e>, size: Option<Size>, elements: Option<Elements>) {
        self.locals.push(Local { name: name.into(), path, size, elements });
    }

    fn select(&mut self, expr: &'e Expr, operand: &'e Expr, field: &str, mode: Mode) -> Cost {
        if let Use::Variable(_) | Use::Type(_) | Use::EmptyName(_) = self.checked.used(expr) {
            self.set_path(expr, self.variable_path(expr));
            return Cost::fixed(1);
        }
        let cost = self.cost(operand);
        match mode {
            Mode::Test => cost,
            Mode::Optional => cost.plus(Cost::fixed(1)),
            Mode::Plain => {
                let path = self.step(self.path(operand), field, |shape| shape.selected(field).map(AsRef::as_ref));
                self.set_path(expr, path);
                match self.ty(operand) {
                    Type::Map(_) | Type::Object(_) | Type::Made(_) | Type::Opaque(_) | Type::Param(_) => {
                        cost.plus(Cost::fixed(1))
                    }
                    _ => cost,
                }
            }
        }
    }

    fn list(&mut self, expr: &'e Expr, items: &'e [Item]) -> Cost {
        let mut sum = Cost::fixed(10);
        let mut value = Size::new(if items.is_empty() { 0 } else { u64::MAX }, 0);
        for item in items {
            sum = sum.plus(self.cost(&item.value));
            value = value.union(self.size_or_unknown(&item.value));
        }
        self.keep_elements(expr, Some(Elements { is_list: true, key: Size::fixed(1), value }));
        sum
    }

    fn map(&mut self, expr: &'e Expr, entries: &'e [Entry]) -> Cost {
        let mut sum = Cost::fixed(30);
        let none = Size::new(if entries.is_empty() { 0 } else { u64::MAX }, 0);
        let (mut key, mut value) = (none, none);
        for entry in entries {
            sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
            key = key.union(self.size_or_unknown(&entry.key));
            value = value.union(self.size_or_unknown(&entry.value));
        }
        self.keep_elements(expr, Some(Elements { is_list: false, key, value }));
        sum
    }

    fn structure(&mut self, fields: &'e [Init]) -> Cost {
        let mut sum = Cost::fixed(STRUCT);
        for init in fields {
            sum = sum.plus(self.cost(&init.value));
        }
        sum
    }

    /// Declares the variables of a fold.
    fn push_range(&mut self, fold: &Fold) {
        let elements = self.elements(&fold.range);
        let path = self.path(&fold.range);
        let is_list = elements.map_or(matches!(self.ty(&fold.range), Type::List(_)), |elements| elements.is_list);
        let keys = self.keys;
        let key_path = |coster: &Self| {
            let keys = |shape: &'e Shape| shape.keys().map_or(keys, AsRef::as_ref);
            coster.step(path, "", |shape| (shape.elements().is_some() && !is_list).then(|| keys(shape)))
        };
        let (key, value) = (elements.map(|elements| elements.key), elements.map(|elements| elements.value));
        match &fold.second {
            Some(second) => {
                self.push(&fold.variable, key_path(self), key, None);
                self.push(second, self.elements_of(path), value, None);
            }
            None if is_list => self.push(&fold.variable, self.elements_of(path), value, None),
            None => self.push(&fold.variable, key_path(self), key, None),
        }
    }

    /// As the general comprehension of the specification would cost.
    fn fold(&mut self, expr: &'e Expr, fold: &'e Fold) -> Cost {
        let range = self.cost(&fold.range);
        let before = self.locals.len();
        self.push_range(fold);
        let filter = fold.filter.as_ref().map(|filter| self.cost(filter));
        let body = self.cost(&fold.body);
        let (body_size, body_elements) = (self.size_or_unknown(&fold.body), self.elements(&fold.body));
        let variable_size = self.local(&fold.variable).and_then(|local| Self::size_at(local.path).or(local.size));
        self.locals.truncate(before);
        let either = |cost: Cost, filter: Option<Cost>| match filter {
            Some(filter) => filter.plus(cost.union(Cost::fixed(1))),
            None => cost,
        };
        let (start, step, end) = match fold.folding {
            Folding::All => (0, Cost::fixed(2).plus(Cost::new(1, body.max.saturating_add(1))), 1),
            Folding::Exists => (0, Cost::fixed(3).plus(Cost::new(1, body.max.saturating_add(1))), 1),
            Folding::ExistsOne => (0, body.plus(Cost::new(1, 2)), 2),
            Folding::Map => (10, either(body.plus(Cost::fixed(12)), filter), 1),
            Folding::Filter => (10, body.plus(Cost::new(1, 13)), 1),
            Folding::MapValues => (30, either(body.plus(Cost::fixed(3)), filter), 1),
            Folding::MapEntries => (30, either(body.plus(Cost::fixed(2)), filter), 1),
        };
        let count = self.size_or_unknown(&fold.range);
        match fold.folding {
            Folding::All | Folding::Exists | Folding::ExistsOne => self.keep(expr, Some(Size::fixed(1))),
            Folding::Map | Folding::Filter => {
                self.keep(expr, Some(count));
                let value =
                    if fold.folding == Folding::Map { body_size } else { variable_size.unwrap_or(Size::UNKNOWN) };
                let value = Size::default().union(value);
                self.keep_elements(expr, Some(Elements { is_list: true, key: Size::fixed(1), value }));
            }
            Folding::MapValues | Folding::MapEntries => {
                self.keep(expr, Some(count));
                self.keep_elements(expr, body_elements.filter(|_| fold.folding == Folding::MapEntries));
            }
        }
        range.plus(Cost::fixed(start)).plus(Cost::fixed(end)).plus(count.times(step))
    }

    fn opt_map(&mut self, map: &'e OptMap) -> Cost {
        let asked = self.cost(&map.target).plus(Cost::fixed(1));
        let size = match self.ty(&map.target) {
            Type::Optional(inner) if inner.is_scalar() => Some(Size::fixed(1)),
            _ => None,
        };
        self.push(&map.name, Path::None, size, None);
        let body = self.cost(&map.body);
        self.locals.pop();
        let present = Cost::fixed(10).plus(asked).plus(body);
        let present = if map.flat { present } else { present.plus(Cost::fixed(1)) };
        asked.plus(present.union(Cost::fixed(1)))
    }
}

/// The size of what is written out.
fn written_size(expr: &Expr) -> Option<u64> {
    Some(match &expr.kind {
        Kind::Literal(Literal::String(text)) => text.chars().count() as u64,
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len() as u64,
        Kind::Literal(_) => 1,
        Kind::List(items) => items.len() as u64,
        Kind::Map(entries) => entries.len() as u64,
        _ => return None,
    })
}
