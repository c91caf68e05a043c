//! A cursor over the schema of an object: at every place what stands there and how two managers share it.
//!
//! Invariant: the engine asks nothing else of a schema, so a kind whose schema comes from elsewhere needs one more arm
//! here and nothing in the engine. Facts of a field (list keys, atomic) travel with the place, those of a type with it.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use super::element::Element;
use crate::catalog::Kind;
use crate::schema::{self, Field, ListType, MapType, Type, TypeId};
use crate::structural::{self, Additional, Node};

/// A place in a schema.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'a> {
    Builtin(Place<'a>),
    Custom(Spot<'a>),
    /// Without a schema: maps are shared by key, lists are atomic.
    Deduced,
    /// Without a schema and inside something atomic: maps are atomic too.
    Opaque,
}

/// A built-in type, and the field that holds it if there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    ty: TypeId,
    field: Option<&'a Field>,
}

/// A place in the schema of a custom resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a> {
    node: &'a Node,
    /// The type that says what every object has, for an object and for those embedded in it.
    meta: TypeId,
    root: bool,
}

/// What a scalar must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Text,
    Number,
    Boolean,
    Any,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form<'a> {
    Scalar(Scalar),
    List(List<'a>),
    Map { atomic: bool },
}

/// How the items of a list are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Relation<'a> {
    Atomic,
    Set,
    Keys(&'a [Arc<str>]),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct List<'a> {
    pub relation: Relation<'a>,
    pub item: Shape<'a>,
}

impl List<'_> {
    pub(super) fn is_atomic(&self) -> bool {
        matches!(self.relation, Relation::Atomic)
    }
}

const OPAQUE_LIST: Form<'static> = Form::List(List { relation: Relation::Atomic, item: Shape::Opaque });

impl<'a> Shape<'a> {
    /// The root of an object of a kind.
    pub(super) fn of(kind: &'a Kind) -> Self {
        match &kind.custom {
            Some(custom) => Self::Custom(Spot { node: custom.schema(), meta: kind.schema, root: true }),
            None => Self::builtin(kind.schema),
        }
    }

    pub(super) fn builtin(ty: TypeId) -> Self {
        Self::Builtin(Place { ty, field: None })
    }

    /// What stands here; a place without a schema has the form of its value.
    pub(super) fn form(self, value: Option<&Value>) -> Form<'a> {
        match self {
            Self::Builtin(place) => place.form(value),
            Self::Custom(spot) => spot.form(value),
            Self::Deduced | Self::Opaque => {
                let atomic = matches!(self, Self::Opaque);
                match value {
                    Some(Value::Array(_)) => OPAQUE_LIST,
                    Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => Form::Scalar(Scalar::Any),
                    Some(Value::Object(_) | Value::Null) | None => Form::Map { atomic },
                }
            }
        }
    }

    /// The place of a member, and whether it is a declared field; none if there can be no such member.
    pub(super) fn child(self, name: &str) -> Option<(Shape<'a>, bool)> {
        match self {
            Self::Builtin(place) => place.child(name),
            Self::Custom(spot) => spot.child(name),
            Self::Deduced => Some((Self::Deduced, false)),
            Self::Opaque => Some((Self::Opaque, false)),
        }
    }

    /// The object in which nothing is set, as Go has it: with the structs and scalars that are always there.
    pub(super) fn empty_object(self) -> Value {
        match self {
            Self::Builtin(place) => crate::default::zero(place.ty),
            Self::Custom(_) | Self::Deduced | Self::Opaque => Value::Object(Map::new()),
        }
    }

    /// The value of a key field that an item leaves out.
    pub(super) fn key_default(self, name: &str) -> Option<&'a Value> {
        match self {
            Self::Builtin(place) => place.key_default(name),
            Self::Custom(spot) => spot.node.property(name)?.default.as_deref(),
            Self::Deduced | Self::Opaque => None,
        }
    }

    /// Replaced as a whole, whatever stands there.
    pub(super) fn is_atomic(self) -> bool {
        match self.form(None) {
            Form::Scalar(_) => false,
            Form::List(list) => list.is_atomic(),
            Form::Map { atomic } => atomic,
        }
    }

    /// The place behind a path element.
    pub(super) fn below(self, element: &Element<'_>) -> Option<(Shape<'a>, bool)> {
        match (element, self.form(None)) {
            (Element::Field(name), Form::Map { .. }) => self.child(name),
            (Element::Key(_) | Element::Value(_) | Element::Index(_), Form::List(list)) => Some((list.item, false)),
            _ => None,
        }
    }
}

impl<'a> Spot<'a> {
    fn form(self, value: Option<&Value>) -> Form<'a> {
        let node = self.node;
        if node.int_or_string {
            return Form::Scalar(Scalar::Any);
        }
        match node.form {
            // an object, whatever its schema forgets to say
            structural::Form::Object => Form::Map { atomic: node.map_type == MapType::Atomic },
            structural::Form::Any if self.root => Form::Map { atomic: false },
            structural::Form::Any => Shape::Deduced.form(value),
            structural::Form::String => Form::Scalar(Scalar::Text),
            structural::Form::Integer | structural::Form::Number => Form::Scalar(Scalar::Number),
            structural::Form::Boolean => Form::Scalar(Scalar::Boolean),
            structural::Form::Array => {
                let item = node.items.as_deref().map_or(Shape::Deduced, |item| self.at(item));
                let relation = match node.list_type {
                    ListType::Map => Relation::Keys(&node.list_keys),
                    ListType::Set => Relation::Set,
                    ListType::Atomic | ListType::Undeclared => Relation::Atomic,
                };
                Form::List(List { relation, item })
            }
        }
    }

    fn at(self, node: &'a Node) -> Shape<'a> {
        Shape::Custom(Spot { node, meta: self.meta, root: false })
    }

    fn child(self, name: &str) -> Option<(Shape<'a>, bool)> {
        if (self.root || self.node.embedded) && matches!(name, "apiVersion" | "kind" | "metadata") {
            return Place { ty: self.meta, field: None }.child(name);
        }
        match (self.node.property(name), &self.node.additional) {
            (Some(property), _) => Some((self.at(property), true)),
            (None, Additional::Schema(other)) => Some((self.at(other), false)),
            (None, Additional::Allowed) => Some((Shape::Deduced, false)),
            (None, Additional::Unsaid | Additional::Refused) => {
                // an object that says nothing of its members takes any
                let silent = self.node.properties().len() == 0;
                let open = self.node.preserves || silent || self.node.form == structural::Form::Any;
                open.then_some((Shape::Deduced, false))
            }
        }
    }
}

/// The zero values that Go always writes.
struct Zeros {
    text: Value,
    number: Value,
    no: Value,
}

fn zeros() -> &'static Zeros {
    static ZEROS: OnceLock<Zeros> = OnceLock::new();
    ZEROS.get_or_init(|| Zeros { text: Value::String(String::new()), number: Value::from(0), no: Value::Bool(false) })
}

impl<'a> Place<'a> {
    fn form(self, value: Option<&Value>) -> Form<'a> {
        let schema = schema::schema();
        // what the field says counts more than what its type says
        let atomic = |of_type: bool| match self.field.map(|field| field.map_type) {
            Some(MapType::Atomic) => true,
            Some(MapType::Granular) => false,
            Some(MapType::Undeclared) | None => of_type,
        };
        match schema.ty(self.ty) {
            Type::Object => Form::Map { atomic: atomic(schema.object(self.ty).atomic) },
            Type::Map(_) | Type::FieldsV1 => Form::Map { atomic: atomic(false) },
            Type::List(item) => {
                let item = Shape::Builtin(Place { ty: item, field: None });
                Form::List(List { relation: self.field.map_or(Relation::Atomic, relation), item })
            }
            Type::String | Type::Bytes => Form::Scalar(Scalar::Text),
            Type::Integer32 | Type::Integer64 | Type::Number => Form::Scalar(Scalar::Number),
            Type::Boolean => Form::Scalar(Scalar::Boolean),
            Type::Time | Type::MicroTime | Type::Quantity | Type::IntOrString => Form::Scalar(Scalar::Any),
            Type::Json | Type::Raw => Shape::Opaque.form(value),
        }
    }

    fn child(self, name: &str) -> Option<(Shape<'a>, bool)> {
        let schema = schema::schema();
        match schema.ty(self.ty) {
            Type::Object => {
                let field = schema.object(self.ty).field(name)?;
                Some((Shape::Builtin(Place { ty: field.ty, field: Some(field) }), true))
            }
            Type::Map(item) => Some((Shape::Builtin(Place { ty: item, field: None }), false)),
            Type::FieldsV1 => Some((Shape::Deduced, false)),
            Type::Json | Type::Raw => Some((Shape::Opaque, false)),
            _ => None,
        }
    }

    fn field(self, name: &str) -> Option<&'static Field> {
        let schema = schema::schema();
        match schema.ty(self.ty) {
            Type::Object => schema.object(self.ty).field(name),
            _ => None,
        }
    }

    fn key_default(self, name: &str) -> Option<&'static Value> {
        let field = self.field(name)?;
        match &field.default {
            Some(default) => Some(default),
            None if field.pointer || !field.always => None,
            None => scalar_zero(field),
        }
    }
}

fn scalar_zero(field: &Field) -> Option<&'static Value> {
    match schema::schema().ty(field.ty) {
        Type::String => Some(&zeros().text),
        Type::Integer32 | Type::Integer64 | Type::Number => Some(&zeros().number),
        Type::Boolean => Some(&zeros().no),
        _ => None,
    }
}

/// Lists from before list types were declared say it by their patch strategy.
fn relation(field: &Field) -> Relation<'_> {
    match field.list_type {
        ListType::Map => field.list_keys.as_deref().map_or(Relation::Set, Relation::Keys),
        ListType::Set => Relation::Set,
        ListType::Undeclared if field.patch_strategy.merge => match &field.patch_key {
            Some(key) => Relation::Keys(std::slice::from_ref(key)),
            None => Relation::Set,
        },
        ListType::Atomic | ListType::Undeclared => Relation::Atomic,
    }
}
