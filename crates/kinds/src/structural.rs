//! Custom resources: what a definition says of one version of a kind, and what follows for its objects.
//!
//! Invariant: a row costs little until somebody uses its kind: the schema stays the text that is stored anyway and becomes
//! a tree (`node`) on first use. A tree is never changed; a changed definition makes new rows. Reading order: `row` makes
//! rows from definitions, `node` is the tree, then what is done with it in the order of a write: `embedded` and `shape`
//! (prune, default), `value` and `lists` (validate).

mod embedded;
pub(crate) mod format;
mod jsonpath;
mod lists;
mod node;
pub(crate) mod pattern;
mod policy;
mod row;
pub(crate) mod rules;
mod scale;
mod shape;
mod table;
mod value;

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

pub use jsonpath::JsonPath;
pub(crate) use node::compile;
pub use node::{Additional, Checks, Form, Node, Rules};
pub use policy::{Told, approval, non_structural, warnings};
pub use row::{Condition, Definition, Names, rows};
pub(crate) use scale::Scale;
pub(crate) use shape::prune_defaults;
pub(crate) use table::Column;

use crate::catalog::Kind;
use crate::decode::DecodeError;
use crate::error::FieldError;
use crate::json::{at, list, text};
use crate::prune::Unknown;
use crate::validate::Faults;

/// What a custom resource's row has instead of a built-in type.
#[derive(Debug)]
pub struct Custom {
    /// The name of the definition: `plural.group`.
    pub definition: String,
    /// Changes with everything that decides how objects look in this version; the same over restarts.
    pub id: u64,
    pub list_kind: String,
    /// The version that new objects are stored in.
    pub storage_version: String,
    /// Nothing new may be created.
    pub terminating: bool,
    /// What to tell clients of this version, if it is deprecated.
    pub warning: Option<String>,
    /// How versions become one another.
    pub conversion: Conversion,
    /// `spec.preserveUnknownFields`, which only very old definitions have.
    preserves: bool,
    /// The definition as JSON, and which of its versions this is.
    source: Bytes,
    index: usize,
    /// Shared with the rows that follow this one as long as objects are read in the same way.
    compiled: Arc<OnceLock<Compiled>>,
}

/// How an object gets from one version to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Only apiVersion changes.
    None,
    /// Somebody is asked; `spec.conversion.webhook` says whom.
    Webhook(Arc<Value>),
}

#[derive(Debug)]
struct Compiled {
    schema: Node,
    columns: Vec<Column>,
    /// Name and path.
    selectable: Vec<(String, Vec<String>)>,
    scale: Option<Scale>,
    /// Compiled when the first object is validated.
    rules: OnceLock<Option<Box<rules::Watched>>>,
}

impl Compiled {
    fn new(version: &Value) -> Self {
        let mut schema = compile(at(at(version, "schema"), "openAPIV3Schema"));
        prune_defaults(&mut schema);
        let below = at(version, "subresources");
        let selectable = list(version, "selectableFields").iter().map(|field| {
            let name = text(field, "jsonPath").trim_start_matches('.').to_owned();
            let path = name.split('.').map(str::to_owned).collect();
            (name, path)
        });
        Self {
            schema,
            columns: table::columns(list(version, "additionalPrinterColumns")),
            selectable: selectable.collect(),
            scale: Scale::read(at(below, "scale")),
            rules: OnceLock::new(),
        }
    }
}

impl Custom {
    fn compiled(&self) -> &Compiled {
        self.compiled.get_or_init(|| Compiled::new(&self.version()))
    }

    /// Whether the row was made of this very text.
    pub fn is_made_of(&self, source: &Bytes) -> bool {
        self.source.as_ptr() == source.as_ptr()
    }

    /// The version of the definition that this row is, as it was written.
    pub fn version(&self) -> Value {
        let mut definition: Value = serde_json::from_slice(&self.source).unwrap_or_default();
        let versions = definition.pointer_mut("/spec/versions").and_then(Value::as_array_mut);
        versions.and_then(|versions| versions.get_mut(self.index)).map(Value::take).unwrap_or_default()
    }

    /// The schema of objects in this version.
    pub fn schema(&self) -> &Node {
        &self.compiled().schema
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.compiled().columns
    }

    /// Name and path of the fields that objects can be selected by, besides those of metadata.
    pub(crate) fn selectable(&self) -> &[(String, Vec<String>)] {
        &self.compiled().selectable
    }

    pub(crate) fn scale(&self) -> Option<&Scale> {
        self.compiled().scale.as_ref()
    }

    pub(crate) fn coerce(&self, value: &Value) -> Result<(), DecodeError> {
        match value {
            Value::Object(_) => embedded::coerce(self.schema(), value),
            _ => Err(DecodeError::Type(
                "json: cannot unmarshal into Go value of type map[string]interface {}".to_owned(),
            )),
        }
    }

    /// Drops unknown fields, and nulls that mean nothing.
    pub(crate) fn prune(&self, value: &mut Value) -> Vec<Unknown> {
        let schema = self.schema();
        let mut unknown = embedded::prune(schema, value);
        if !self.preserves {
            unknown.extend(shape::prune(schema, value, true));
            shape::drop_nulls(schema, value);
        }
        unknown
    }

    pub(crate) fn default(&self, value: &mut Value) {
        embedded::default_metadata(value);
        shape::default(self.schema(), value);
    }

    pub(crate) fn validate_create(&self, value: &Value, faults: &mut Faults) {
        faults.list.extend(value::validate(self.schema(), value, ""));
        if let Some(scale) = self.scale() {
            scale.check(value, true, faults);
        }
        embedded::validate(self.schema(), value, faults);
        faults.list.extend(lists::check(self.schema(), value));
        self.check_rules(value, None, faults);
    }

    pub(crate) fn validate_update(&self, value: &Value, old: &Value, faults: &mut Faults) {
        faults.list.extend(value::validate_change(self.schema(), value, old, ""));
        if let Some(scale) = self.scale() {
            scale.check(value, true, faults);
        }
        embedded::validate(self.schema(), value, faults);
        self.check_lists(value, old, faults);
        self.check_rules(value, Some(old), faults);
    }

    /// Only the status is held to its schema.
    pub(crate) fn validate_status(&self, value: &Value, old: &Value, faults: &mut Faults) {
        if let (Some(schema), Some(status)) = (self.schema().property("status"), value.get("status")) {
            let found = match old.get("status") {
                Some(old) => value::validate_change(schema, status, old, "status"),
                None => value::validate(schema, status, "status"),
            };
            faults.list.extend(found);
        }
        if let Some(scale) = self.scale() {
            scale.check(value, false, faults);
        }
        self.check_lists(value, old, faults);
        self.check_rules(value, Some(old), faults);
    }

    /// The rules of the definition's author, if what was found so far lets them mean anything.
    /// What is wrong with an object by its rules, as it was with `old`; told and excused.
    pub(crate) fn excused(&self, value: &Value, old: &Value) -> Vec<FieldError> {
        let compiled = self.compiled();
        let watched = compiled.rules.get_or_init(|| rules::watch(&compiled.schema, true).map(Box::new));
        let found = watched.as_deref().map(|watched| rules::excused(watched, &compiled.schema, value, old));
        found.unwrap_or_default()
    }

    fn check_rules(&self, value: &Value, old: Option<&Value>, faults: &mut Faults) {
        let compiled = self.compiled();
        let watched = compiled.rules.get_or_init(|| rules::watch(&compiled.schema, true).map(Box::new));
        if let Some(watched) = watched {
            let found = match rules::hindered(&faults.list) {
                Some(hindered) => vec![hindered],
                None => rules::check(watched, &compiled.schema, value, old),
            };
            faults.list.extend(found);
        }
    }

    /// Duplicates that were there before may stay.
    fn check_lists(&self, value: &Value, old: &Value, faults: &mut Faults) {
        let found = lists::check(self.schema(), value);
        if !found.is_empty() && lists::check(self.schema(), old).is_empty() {
            faults.list.extend(found);
        }
    }
}

/// Makes a stored object what it would be if it were written now in the version of `kind`: pruned and defaulted by the
/// schema of that version, with a generation. True if that changed anything.
pub fn refresh(kind: &Kind, value: &mut Value) -> bool {
    let Some(custom) = &kind.custom else { return false };
    let before = value.clone();
    custom.prune(value);
    custom.default(value);
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        let generation = metadata.entry("generation").or_insert_with(|| 1.into());
        if generation.as_i64() == Some(0) {
            *generation = 1.into();
        }
    }
    *value != before
}

/// Checks a whole value against a schema; for defaults and examples.
pub(crate) fn validate_value(node: &Node, value: &Value, base: &str) -> Vec<FieldError> {
    value::validate(node, value, base)
}

/// Whether a default is pruned and its embedded metadata is sound.
pub(crate) fn check_default(node: &Node, value: &Value, base: &str, faults: &mut Faults) -> bool {
    let mut pruned = value.clone();
    shape::prune(node, &mut pruned, node.embedded);
    if pruned != *value {
        faults.list.push(FieldError::invalid(base, value.clone(), "must not have unknown fields"));
    }
    let mut found = Faults::default();
    embedded::validate(node, value, &mut found);
    let sound = found.list.is_empty();
    faults.list.extend(
        found.list.into_iter().map(|fault| FieldError {
            path: format!("{base}.{}", fault.path).trim_end_matches('.').to_owned(),
            ..fault
        }),
    );
    sound
}
