//! What JSON data looks like to an expression: types of its fields, how large it can get, how its lists compare.
//!
//! Invariant: a shape says everything the checker, the cost estimate and the evaluator need to know of data, so that
//! none of them looks at a schema. Sizes without a bound are what fits into the largest request. Names that are no CEL
//! identifiers are reached by their escaped form only.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::parse::RESERVED;
use crate::types::Type;

/// The largest request body, from which unbounded sizes are estimated.
pub const LARGEST_REQUEST: u64 = 3 * 1024 * 1024;

/// Data of one kind.
#[derive(Debug)]
pub struct Shape {
    pub(crate) form: Form,
    /// The greatest number of elements, characters or bytes.
    pub(crate) most: u64,
    /// The fewest bytes it takes as JSON.
    pub(crate) least: u64,
    pub(crate) nullable: bool,
}

#[derive(Debug)]
pub(crate) enum Form {
    /// Told by the value: int-or-string, or nothing known.
    Dyn,
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Date,
    DateTime,
    Duration,
    List {
        items: Arc<Shape>,
        meaning: Meaning,
    },
    Map(Keyed),
    Object(Arc<Object>),
    /// Of a type that no JSON schema tells of.
    Typed(Type),
}

/// What a map holds.
#[derive(Debug)]
pub(crate) struct Keyed {
    pub(crate) values: Arc<Shape>,
    /// None where nothing is known of the keys.
    pub(crate) keys: Option<Arc<Shape>>,
    /// Values are as large as they can be by whatever name they are selected.
    pub(crate) named: bool,
}

/// How lists compare and add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    Atomic,
    Set,
    /// Elements are told apart by these fields.
    Map(Vec<String>),
}

/// An object with declared fields.
#[derive(Debug)]
pub struct Object {
    pub(crate) name: String,
    /// By the escaped name.
    pub(crate) fields: HashMap<String, Field>,
    /// Escaped names by JSON names, where they differ.
    pub(crate) escaped: HashMap<String, String>,
}

#[derive(Debug)]
pub(crate) struct Field {
    /// As in JSON.
    pub(crate) name: String,
    pub(crate) shape: Arc<Shape>,
}

impl Object {
    /// The field an expression names; words that are reserved need not be escaped here.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        let reserved = || is_reserved(name).then(|| self.fields.get(&format!("__{name}__")))?;
        self.fields.get(name).or_else(reserved)
    }

    /// The field of that JSON name.
    pub(crate) fn field_of_json(&self, name: &str) -> Option<&Field> {
        self.fields.get(self.escaped.get(name).map_or(name, String::as_str)).filter(|field| field.name == name)
    }
}

/// A property of an object, as the caller knows it.
pub struct Property<'n> {
    pub name: &'n str,
    pub shape: Arc<Shape>,
    /// Always present in what a client sends.
    pub required: bool,
}

/// Special strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Byte,
    Date,
    DateTime,
    Duration,
}

impl Shape {
    fn new(form: Form, most: u64, least: u64) -> Self {
        Self { form, most, least, nullable: false }
    }

    pub fn boolean() -> Self {
        Self::new(Form::Bool, 0, 4)
    }

    pub fn integer() -> Self {
        Self::new(Form::Int, 0, 1)
    }

    pub fn number() -> Self {
        Self::new(Form::Double, 0, 1)
    }

    /// A string of at most so many characters, each up to four bytes; or of the longest of an enumeration.
    pub fn string(max_length: Option<i64>, longest_of_enum: Option<usize>) -> Self {
        let most = match (max_length, longest_of_enum) {
            (Some(length), _) => count(length).saturating_mul(4),
            (None, Some(longest)) => longest as u64,
            (None, None) => LARGEST_REQUEST - 2,
        };
        Self::new(Form::String, most, 2)
    }

    pub fn formatted(format: Format, max_length: Option<i64>) -> Self {
        match format {
            Format::Byte => Self::new(Form::Bytes, max_length.map_or(LARGEST_REQUEST - 2, count), 2),
            Format::Date => Self::new(Form::Date, 12, 12),
            Format::DateTime => Self::new(Form::DateTime, 32, 21),
            Format::Duration => Self::new(Form::Duration, 32, 3),
        }
    }

    pub fn int_or_string(max_length: Option<i64>) -> Self {
        Self::new(Form::Dyn, max_length.map_or(LARGEST_REQUEST - 2, |length| count(length).saturating_mul(4)), 1)
    }

    /// Data nothing is known of.
    pub fn dynamic() -> Self {
        Self::new(Form::Dyn, LARGEST_REQUEST - 2, 1)
    }

    pub fn list(items: Arc<Shape>, max_items: Option<i64>, meaning: Meaning) -> Self {
        let most = max_items.map_or((LARGEST_REQUEST - 2) / items.least.saturating_add(1), count);
        Self::new(Form::List { items, meaning }, most, 2)
    }

    /// An object whose keys are data.
    pub fn map(values: Arc<Shape>, max_properties: Option<i64>) -> Self {
        let most = max_properties.map_or((LARGEST_REQUEST - 2) / values.least.saturating_add(6), count);
        Self::new(Form::Map(Keyed { values, keys: None, named: false }), most, 2)
    }

    /// A map whose keys have a size; `named` says that estimates know the values also where they are selected by name.
    pub fn keyed_map(keys: Arc<Shape>, values: Arc<Shape>, most: u64, named: bool) -> Self {
        Self::new(Form::Map(Keyed { values, keys: Some(keys), named }), most, 2)
    }

    /// Data of a type that is declared, not described.
    pub fn typed(ty: Type) -> Self {
        Self::new(Form::Typed(ty), 0, 1)
    }

    /// An object of declared fields with names that need no escape.
    pub fn declared<'n>(name: &str, fields: impl IntoIterator<Item = (&'n str, Arc<Shape>)>) -> Self {
        let field = |(name, shape): (&str, _)| (name.to_owned(), Field { name: name.to_owned(), shape });
        let fields = fields.into_iter().map(field).collect();
        let object = Object { name: name.to_owned(), fields, escaped: HashMap::new() };
        Self::new(Form::Object(Arc::new(object)), 0, 2)
    }

    /// The same, of at most that size.
    #[must_use]
    pub fn at_most(mut self, most: u64) -> Self {
        self.most = most;
        self
    }

    /// An object whose keys are declared. Its name appears in error messages.
    pub fn object<'n>(name: String, properties: impl IntoIterator<Item = Property<'n>>) -> Self {
        let mut object = Object { name, fields: HashMap::new(), escaped: HashMap::new() };
        let mut least: u64 = 2;
        for Property { name, shape, required } in properties {
            if required {
                least = least.saturating_add(name.len() as u64 + shape.least + 4);
            }
            let Some(escaped) = escape(name) else { continue };
            if escaped != name {
                object.escaped.insert(name.to_owned(), escaped.clone().into_owned());
            }
            object.fields.insert(escaped.into_owned(), Field { name: name.to_owned(), shape });
        }
        Self::new(Form::Object(Arc::new(object)), 0, least)
    }

    #[must_use]
    pub fn nullable(mut self, nullable: bool) -> Self {
        self.nullable = nullable;
        self
    }

    /// How often data of this shape fits into one request.
    pub fn most_often(&self) -> u64 {
        LARGEST_REQUEST / self.least.saturating_add(1)
    }

    /// The type of a field by its escaped name.
    pub fn field(&self, name: &str) -> Option<&Arc<Shape>> {
        match &self.form {
            Form::Object(object) => object.fields.get(name).map(|field| &field.shape),
            _ => None,
        }
    }

    /// The elements of a list, the values of a map.
    pub fn elements(&self) -> Option<&Arc<Shape>> {
        match &self.form {
            Form::List { items, .. } => Some(items),
            Form::Map(map) => Some(&map.values),
            _ => None,
        }
    }

    /// The keys of a map.
    pub(crate) fn keys(&self) -> Option<&Arc<Shape>> {
        match &self.form {
            Form::Map(map) => map.keys.as_ref(),
            _ => None,
        }
    }

    /// What a name selects, as far as estimates know it.
    pub(crate) fn selected(&self, name: &str) -> Option<&Arc<Shape>> {
        match &self.form {
            Form::Map(map) => Some(&map.values).filter(|_| map.named),
            _ => self.field(name),
        }
    }

    /// The static type of such data.
    pub fn ty(&self) -> Type {
        match &self.form {
            Form::Dyn => Type::Dyn,
            Form::Bool => Type::Bool,
            Form::Int => Type::Int,
            Form::Double => Type::Double,
            Form::String => Type::String,
            Form::Bytes => Type::Bytes,
            Form::Date | Form::DateTime => Type::Timestamp,
            Form::Duration => Type::Duration,
            Form::List { items, .. } => Type::list(items.ty()),
            Form::Map(map) => Type::map(Type::String, map.values.ty()),
            Form::Object(object) => Type::Object(object.clone()),
            Form::Typed(ty) => ty.clone(),
        }
    }
}

fn count(bound: i64) -> u64 {
    u64::try_from(bound).unwrap_or(0)
}

const LITERAL_WORDS: [&str; 4] = ["true", "false", "null", "in"];

/// Whether a word means something by itself, or may come to, and so names nothing.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || LITERAL_WORDS.contains(&name)
}

/// The identifier a property is reached by; none if there is no way to write it.
pub fn escape(name: &str) -> Option<Cow<'_, str>> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if is_reserved(name) {
        return Some(Cow::Owned(format!("__{name}__")));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.chars().all(|c| plain(c) || matches!(c, '-' | '.' | '/')) {
        return None;
    }
    if name.chars().all(plain) && !name.contains("__") {
        return Some(Cow::Borrowed(name));
    }
    let escaped = name.replace("__", "__underscores__");
    Some(Cow::Owned(escaped.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__")))
}

/// The property that an identifier reaches.
pub(crate) fn unescape(name: &str) -> Cow<'_, str> {
    if !name.contains("__") {
        return Cow::Borrowed(name);
    }
    if let Some(word) = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && is_reserved(word)
    {
        return Cow::Borrowed(word);
    }
    let plain = name.replace("__slash__", "/").replace("__dash__", "-").replace("__dot__", ".");
    Cow::Owned(plain.replace("__underscores__", "__"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_documented() {
        for (name, expected) in [
            ("namespace", Some("__namespace__")),
            ("x-prop", Some("x__dash__prop")),
            ("redact__d", Some("redact__underscores__d")),
            ("string", Some("string")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("in", Some("__in__")),
            ("1a", None),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(escape(name).as_deref(), expected, "{name}");
            assert_eq!(expected.map(unescape).as_deref(), expected.map(|_| name));
        }
    }

    #[test]
    fn unbounded_sizes_are_what_fits_into_a_request() {
        let string = Arc::new(Shape::string(None, None));
        assert_eq!(string.most, 3_145_726);
        assert_eq!(Shape::list(string.clone(), None, Meaning::Atomic).most, 1_048_575);
        assert_eq!(Shape::map(string.clone(), None).most, 393_215);
        let object = Shape::object("o".to_owned(), [Property { name: "name", shape: string, required: true }]);
        assert_eq!(object.least, 2 + 4 + 2 + 4);
    }
}
