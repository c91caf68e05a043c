//! An expression as a tree, macros already unfolded.
//!
//! Invariant: ids are dense from 0, so that what a later step learns of a node stands in a vector; `at` is the byte
//! offset an error about the node points at. Why folds are nodes of their own and not the general comprehension of the
//! specification: there are six of them, each has one meaning, and an evaluator that knows the meaning neither copies
//! an accumulator nor evaluates a loop condition.

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) id: u32,
    pub(crate) at: u32,
    /// 1 for a leaf.
    pub(crate) height: u16,
    pub(crate) kind: Kind,
}

/// A constant as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Box<str>),
    Bytes(Box<[u8]>),
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(Box<str>),
    /// `a.b`, `a.?b`, `has(a.b)`.
    Select {
        operand: Box<Expr>,
        field: Box<str>,
        mode: Mode,
    },
    Call {
        target: Option<Box<Expr>>,
        function: Box<str>,
        args: Vec<Expr>,
    },
    List(Vec<Item>),
    Map(Vec<Entry>),
    /// `Name{field: value}`.
    Struct {
        name: Box<str>,
        fields: Vec<Init>,
    },
    Fold(Box<Fold>),
    Bind(Box<Bind>),
    OptMap(Box<OptMap>),
}

/// How a field is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Test,
    Optional,
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// `field: value` of a struct.
#[derive(Clone, Debug)]
pub(crate) struct Init {
    /// Where the colon stands.
    pub(crate) at: u32,
    pub(crate) field: Box<str>,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// What a fold makes of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folding {
    All,
    Exists,
    ExistsOne,
    /// A list of the bodies.
    Map,
    /// A list of the elements for which the body holds.
    Filter,
    /// A map from the first variable to the bodies.
    MapValues,
    /// A map joined of the bodies, which are maps.
    MapEntries,
}

#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub(crate) folding: Folding,
    pub(crate) range: Expr,
    pub(crate) variable: Box<str>,
    /// With two variables the first is the index or the key, the second the element or value.
    pub(crate) second: Option<Box<str>>,
    pub(crate) filter: Option<Expr>,
    pub(crate) body: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct Bind {
    pub(crate) name: Box<str>,
    pub(crate) value: Expr,
    pub(crate) body: Expr,
}

/// `optional.optMap(name, body)`; flat if the body is an optional itself.
#[derive(Clone, Debug)]
pub(crate) struct OptMap {
    pub(crate) target: Expr,
    pub(crate) name: Box<str>,
    pub(crate) body: Expr,
    pub(crate) flat: bool,
}

/// A whole expression.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) root: Expr,
    /// One more than the greatest id.
    pub(crate) size: u32,
}

impl Expr {
    /// `a.b.c` spelled by identifiers and plain selections alone.
    pub(crate) fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select { operand, field, mode: Mode::Plain } => {
                Some(format!("{}.{field}", operand.qualified_name()?))
            }
            _ => None,
        }
    }

    pub(crate) fn literal(&self) -> Option<&Literal> {
        match &self.kind {
            Kind::Literal(literal) => Some(literal),
            _ => None,
        }
    }

    /// Every direct part, in the order of writing.
    pub(crate) fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select { operand, .. } => vec![operand],
            Kind::Call { target, args, .. } => target.iter().map(AsRef::as_ref).chain(args).collect(),
            Kind::List(items) => items.iter().map(|item| &item.value).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect(),
            Kind::Struct { fields, .. } => fields.iter().map(|init| &init.value).collect(),
            Kind::Fold(fold) => std::iter::once(&fold.range).chain(&fold.filter).chain([&fold.body]).collect(),
            Kind::Bind(bind) => vec![&bind.value, &bind.body],
            Kind::OptMap(map) => vec![&map.target, &map.body],
        }
    }
}
