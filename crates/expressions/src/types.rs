//! The static types of expressions.
//!
//! Invariant: printing a type gives the name CEL users know it by. Two object types are equal if they are the same
//! object, whatever their names; types of objects that expressions make are equal if their names are.

use std::fmt;
use std::sync::Arc;

use crate::shape::{Object, Shape};

#[derive(Clone, Debug)]
pub enum Type {
    Dyn,
    /// Told by the value, as `dyn`, but of a declaration that says so: nothing can be done over its elements.
    Any,
    /// Of an expression with a fault; fits anything, so that one fault is told once.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    Optional(Arc<Type>),
    /// The type of a type.
    Type(Arc<Type>),
    Object(Arc<Object>),
    /// Objects that expressions make: `Object`, `Object.spec`, `JSONPatch`.
    Made(Arc<str>),
    /// Of a field of a made object that has no type, for there is no such field.
    Unsaid,
    Opaque(Opaque),
    /// Not known yet: found by unification.
    Param(u32),
}

/// Types with functions, but without parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opaque {
    Quantity,
    Url,
    Ip,
    Cidr,
    Format,
    Semver,
    Authorizer,
    PathCheck,
    GroupCheck,
    ResourceCheck,
    Decision,
}

impl Opaque {
    pub fn name(self) -> &'static str {
        match self {
            Self::Quantity => "kubernetes.Quantity",
            Self::Url => "kubernetes.URL",
            Self::Ip => "net.IP",
            Self::Cidr => "net.CIDR",
            Self::Format => "kubernetes.NamedFormat",
            Self::Semver => "kubernetes.Semver",
            Self::Authorizer => "kubernetes.authorization.Authorizer",
            Self::PathCheck => "kubernetes.authorization.PathCheck",
            Self::GroupCheck => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck => "kubernetes.authorization.ResourceCheck",
            Self::Decision => "kubernetes.authorization.Decision",
        }
    }
}

impl Type {
    /// The type of objects that mutating policies apply.
    pub const OBJECT: &'static str = "Object";
    /// The type of the steps that mutating policies patch with.
    pub const PATCH: &'static str = "JSONPatch";

    /// The type of objects that are made under a name; none if nothing can be made under it.
    pub fn made(name: &str) -> Option<Self> {
        let below = name.strip_prefix(Self::OBJECT);
        let known = name == Self::PATCH || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        known.then(|| Self::Made(name.into()))
    }

    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    pub fn optional(inner: Self) -> Self {
        Self::Optional(Arc::new(inner))
    }

    /// The same type, part by part; type parameters only if they are the same parameter.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::Optional(a), Self::Optional(b)) => a.is(b),
            (Self::Map(a), Self::Map(b)) => a.0.is(&b.0) && a.1.is(&b.1),
            (Self::Type(a), Self::Type(b)) => a.is(b),
            (Self::Object(a), Self::Object(b)) => Arc::ptr_eq(a, b),
            (Self::Made(a), Self::Made(b)) => a == b,
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (Self::Param(a), Self::Param(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other) && self.parts().is_empty(),
        }
    }

    pub(crate) fn parts(&self) -> Vec<&Self> {
        match self {
            Self::List(inner) | Self::Optional(inner) | Self::Type(inner) => vec![inner],
            Self::Map(both) => vec![&both.0, &both.1],
            _ => Vec::new(),
        }
    }

    /// Its name without its parts, as runtime errors and `type()` have it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::List(_) => "list".to_owned(),
            Self::Map(_) => "map".to_owned(),
            Self::Optional(_) => "optional_type".to_owned(),
            Self::Type(_) => "type".to_owned(),
            Self::Any => "google.protobuf.Any".to_owned(),
            Self::Null => "null_type".to_owned(),
            Self::Timestamp => "google.protobuf.Timestamp".to_owned(),
            Self::Duration => "google.protobuf.Duration".to_owned(),
            other => other.to_string(),
        }
    }

    /// Its name with its parts, as results are told: other words than those of the checker.
    pub fn full_name(&self) -> String {
        let parts: Vec<String> = self.parts().into_iter().map(Self::full_name).collect();
        if parts.is_empty() { self.name() } else { format!("{}({})", self.name(), parts.join(", ")) }
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any)
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any | Self::Error)
    }

    /// Of one size, whatever the value.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Self::Bool | Self::Double | Self::Duration | Self::Int | Self::Timestamp | Self::Uint => true,
            Self::Optional(inner) => inner.is_scalar(),
            _ => false,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dyn => "dyn",
            Self::Any => "any",
            Self::Unsaid => "",
            Self::Error => "!error!",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
            Self::List(inner) => return write!(f, "list({inner})"),
            Self::Map(both) => return write!(f, "map({}, {})", both.0, both.1),
            Self::Optional(inner) => return write!(f, "optional_type({inner})"),
            Self::Type(inner) => return write!(f, "type({inner})"),
            Self::Object(object) => &object.name,
            Self::Made(name) => name,
            Self::Opaque(opaque) => opaque.name(),
            Self::Param(number) => return write!(f, "_var{number}"),
        })
    }
}

/// What a variable is.
#[derive(Clone, Debug)]
pub enum Declaration {
    /// JSON data.
    Data(Arc<Shape>),
    /// An optional of JSON data.
    Optional(Arc<Shape>),
    /// Anything else.
    Plain(Type),
}

impl Declaration {
    pub(crate) fn ty(&self) -> Type {
        match self {
            Self::Data(shape) => shape.ty(),
            Self::Optional(shape) => Type::optional(shape.ty()),
            Self::Plain(ty) => ty.clone(),
        }
    }

    pub(crate) fn shape(&self) -> Option<&Arc<Shape>> {
        match self {
            Self::Data(shape) | Self::Optional(shape) => Some(shape),
            Self::Plain(_) => None,
        }
    }
}

/// The names an expression may use besides the library's.
#[derive(Clone, Debug, Default)]
pub struct Env {
    pub(crate) variables: Vec<(String, Declaration)>,
    pub(crate) patches: bool,
    pub(crate) bindings: bool,
    pub(crate) includes: bool,
    pub(crate) told_by_name: bool,
}

impl Env {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable; its name may have dots.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, declaration: Declaration) -> Self {
        self.variables.push((name.into(), declaration));
        self
    }

    /// Adds what mutating policies have besides: `Object`, `JSONPatch`, `jsonpatch.escapeKey`.
    #[must_use]
    pub fn with_patches(mut self) -> Self {
        self.patches = true;
        self
    }

    /// Adds `cel.bind`.
    #[must_use]
    pub fn with_bindings(mut self) -> Self {
        self.bindings = true;
        self
    }

    /// Adds `includes`, which says of a list what `in` says, and of anything else whether it is equal.
    #[must_use]
    pub fn with_includes(mut self) -> Self {
        self.includes = true;
        self
    }

    /// Sizes are told only of paths that begin with a variable.
    #[must_use]
    pub fn with_sizes_by_name(mut self) -> Self {
        self.told_by_name = true;
        self
    }

    pub(crate) fn variable(&self, name: &str) -> Option<(usize, &Declaration)> {
        let at = self.variables.iter().position(|(known, _)| known == name)?;
        Some((at, &self.variables[at].1))
    }

    /// What sizes are looked up in by a first step, as upstream does: for rules of definitions it does not look at the
    /// name of the variable, so anything leads there; elsewhere the name must be that of a variable.
    pub(crate) fn root(&self, name: &str) -> Option<&Arc<Shape>> {
        if self.told_by_name {
            return self.variable(name).and_then(|(_, declaration)| declaration.shape());
        }
        self.variables.iter().find_map(|(_, declaration)| declaration.shape())
    }
}

/// Names of types, which are values themselves.
pub(crate) fn named_type(name: &str) -> Option<Type> {
    let dynamic = || Type::Dyn;
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "null_type" => Type::Null,
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "list" => Type::list(dynamic()),
        "map" => Type::map(dynamic(), dynamic()),
        "optional_type" => Type::optional(dynamic()),
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "net.IP" => Type::Opaque(Opaque::Ip),
        "net.CIDR" => Type::Opaque(Opaque::Cidr),
        _ => return None,
    })
}

/// Names of types that stand for nothing when an expression is evaluated.
pub(crate) fn empty_name(name: &str, env: &Env) -> Option<Type> {
    match name {
        "duration" => Some(Type::Duration),
        "timestamp" => Some(Type::Timestamp),
        _ => Type::made(name).filter(|_| env.patches),
    }
}
