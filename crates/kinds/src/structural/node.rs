//! The schema of a custom resource as a tree: what a value is, and what must hold of it.
//!
//! Invariant: a node says everything about a value that pruning, defaulting, validation and apply ask; prose is left in the
//! text of the definition. Built by `compile` from a schema that was accepted; anything it does not know is ignored. Why
//! not the built-in graph: it has ids for types that thousands of fields share, and these trees share nothing.

use std::sync::{Arc, OnceLock};

use regex::Regex;
use serde_json::Value;

use super::format::Format;
use super::pattern;
use crate::json::{at, flag, int, list, text};
use crate::schema::{ListType, MapType};

/// The `type` of a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Not said.
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Form {
    pub(crate) fn parse(text: &str) -> Form {
        match text {
            "object" => Form::Object,
            "array" => Form::Array,
            "string" => Form::String,
            "integer" => Form::Integer,
            "number" => Form::Number,
            "boolean" => Form::Boolean,
            _ => Form::Any,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Form::Any => "",
            Form::Object => "object",
            Form::Array => "array",
            Form::String => "string",
            Form::Integer => "integer",
            Form::Number => "number",
            Form::Boolean => "boolean",
        }
    }
}

/// What `additionalProperties` says of members that `properties` does not name.
#[derive(Debug, Default)]
pub enum Additional {
    #[default]
    Unsaid,
    Allowed,
    Refused,
    Schema(Box<Node>),
}

impl Additional {
    pub fn is_said(&self) -> bool {
        !matches!(self, Additional::Unsaid)
    }

    pub fn node(&self) -> Option<&Node> {
        match self {
            Additional::Schema(node) => Some(node),
            _ => None,
        }
    }
}

/// One value's schema.
#[derive(Debug, Default)]
pub struct Node {
    pub form: Form,
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserves: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    pub list_type: ListType,
    pub list_keys: Box<[Arc<str>]>,
    pub map_type: MapType,
    pub default: Option<Box<Value>>,
    /// By name.
    properties: Box<[(Box<str>, Node)]>,
    pub items: Option<Box<Node>>,
    pub additional: Additional,
    /// What must hold of the value beyond its form; most nodes demand nothing.
    pub checks: Option<Box<Checks>>,
    /// `x-kubernetes-validations`
    pub rules: Option<Box<Rules>>,
}

/// The rules of `x-kubernetes-validations` at one node, as they stand in the schema.
#[derive(Debug)]
pub struct Rules {
    pub source: Vec<Value>,
}

/// Validation keywords.
#[derive(Debug, Default)]
pub struct Checks {
    pub format: Option<Format>,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub pattern: Option<Pattern>,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub unique_items: bool,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub required: Box<[Box<str>]>,
    pub values: Box<[Value]>,
    pub all_of: Box<[Node]>,
    pub any_of: Box<[Node]>,
    pub one_of: Box<[Node]>,
    pub not: Option<Box<Node>>,
}

/// A regular expression, compiled when first needed.
#[derive(Debug)]
pub struct Pattern {
    pub text: Box<str>,
    regex: OnceLock<Option<Regex>>,
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self { text: text.into(), regex: OnceLock::new() }
    }

    /// Whether the text matches; none if the expression cannot be compiled.
    pub fn matches(&self, text: &str) -> Option<bool> {
        self.regex.get_or_init(|| pattern::compile(&self.text).ok()).as_ref().map(|regex| regex.is_match(text))
    }
}

impl Node {
    /// The schema of a named member, of `properties` alone.
    pub fn property(&self, name: &str) -> Option<&Node> {
        let index = self.properties.binary_search_by(|(held, _)| (**held).cmp(name)).ok()?;
        self.properties.get(index).map(|(_, node)| node)
    }

    /// Named members, by name.
    pub fn properties(&self) -> impl ExactSizeIterator<Item = (&str, &Node)> {
        self.properties.iter().map(|(name, node)| (&**name, node))
    }

    pub(super) fn properties_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.properties.iter_mut().map(|(_, node)| node)
    }

    /// The schema of a member: a named one, or that of all others.
    pub fn member(&self, name: &str) -> Option<&Node> {
        self.property(name).or_else(|| self.additional.node())
    }

    /// Whether null is a value here, and not the absence of one.
    pub(crate) fn drops_null(&self) -> bool {
        !self.nullable
    }
}

/// Reads a `JSONSchemaProps`.
pub(crate) fn compile(schema: &Value) -> Node {
    let mut properties: Vec<(Box<str>, Node)> = members(schema, "properties");
    properties.sort_by(|a, b| a.0.cmp(&b.0));
    Node {
        form: Form::parse(text(schema, "type")),
        nullable: flag(schema, "nullable"),
        preserves: flag(schema, "x-kubernetes-preserve-unknown-fields"),
        embedded: flag(schema, "x-kubernetes-embedded-resource"),
        int_or_string: flag(schema, "x-kubernetes-int-or-string"),
        list_type: match text(schema, "x-kubernetes-list-type") {
            "atomic" => ListType::Atomic,
            "set" => ListType::Set,
            "map" => ListType::Map,
            _ => ListType::Undeclared,
        },
        list_keys: texts(schema, "x-kubernetes-list-map-keys").iter().map(|key| (**key).into()).collect(),
        map_type: match text(schema, "x-kubernetes-map-type") {
            "atomic" => MapType::Atomic,
            "granular" => MapType::Granular,
            _ => MapType::Undeclared,
        },
        default: Some(at(schema, "default")).filter(|value| !value.is_null()).map(|value| Box::new(value.clone())),
        properties: properties.into(),
        items: Some(at(schema, "items")).filter(|items| items.is_object()).map(|items| Box::new(compile(items))),
        additional: match at(schema, "additionalProperties") {
            Value::Bool(true) => Additional::Allowed,
            Value::Bool(false) => Additional::Refused,
            Value::Null => Additional::Unsaid,
            other => Additional::Schema(Box::new(compile(other))),
        },
        checks: checks(schema),
        rules: match list(schema, "x-kubernetes-validations") {
            [] => None,
            rules => Some(Box::new(Rules { source: rules.to_vec() })),
        },
    }
}

fn members(schema: &Value, name: &str) -> Vec<(Box<str>, Node)> {
    crate::json::members(schema, name).map(|(name, schema)| (name.as_str().into(), compile(schema))).collect()
}

fn texts(schema: &Value, name: &str) -> Box<[Box<str>]> {
    list(schema, name).iter().filter_map(Value::as_str).map(Into::into).collect()
}

fn nodes(schema: &Value, name: &str) -> Box<[Node]> {
    list(schema, name).iter().map(compile).collect()
}

const KEYWORDS: [&str; 18] = [
    "format",
    "maximum",
    "minimum",
    "multipleOf",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxProperties",
    "minProperties",
    "required",
    "enum",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
];

fn checks(schema: &Value) -> Option<Box<Checks>> {
    if !KEYWORDS.iter().any(|keyword| !at(schema, keyword).is_null()) {
        return None;
    }
    let number = |name: &str| at(schema, name).as_f64();
    // an integer or a string has no one type that a format could belong to
    let form = if flag(schema, "x-kubernetes-int-or-string") { None } else { Some(Form::parse(text(schema, "type"))) };
    Some(Box::new(Checks {
        format: form.and_then(|form| Format::of(form, text(schema, "format"))),
        maximum: number("maximum"),
        exclusive_maximum: flag(schema, "exclusiveMaximum"),
        minimum: number("minimum"),
        exclusive_minimum: flag(schema, "exclusiveMinimum"),
        multiple_of: number("multipleOf"),
        max_length: int(schema, "maxLength"),
        min_length: int(schema, "minLength"),
        pattern: Some(text(schema, "pattern")).filter(|text| !text.is_empty()).map(Pattern::new),
        max_items: int(schema, "maxItems"),
        min_items: int(schema, "minItems"),
        unique_items: flag(schema, "uniqueItems"),
        max_properties: int(schema, "maxProperties"),
        min_properties: int(schema, "minProperties"),
        required: texts(schema, "required"),
        values: list(schema, "enum").into(),
        all_of: nodes(schema, "allOf"),
        any_of: nodes(schema, "anyOf"),
        one_of: nodes(schema, "oneOf"),
        not: Some(at(schema, "not")).filter(|not| not.is_object()).map(|not| Box::new(compile(not))),
    }))
}
