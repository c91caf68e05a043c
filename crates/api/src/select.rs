//! Which records a list or a watch shows.
//!
//! What selectors read of an object (labels and declared fields) is derived once per version and kept with the record,
//! so that a hundred filtered watchers parse an object once. Name and namespace come from the key and cost no parse.

mod slim;

use std::borrow::Cow;

use base::selector::{FieldSelector, LabelSelector};
use kinds::Kind;
use serde_json::Value;
use store::Record;

use crate::{
    core::{self, Core},
    error::ApiError,
    options::Options,
};

pub(crate) use slim::slim;

const NAME: &str = "metadata.name";
const NAMESPACE: &str = "metadata.namespace";

/// What selectors may ask of one version of an object.
struct Facts {
    labels: Box<[(Box<str>, Box<str>)]>,
    fields: Box<[(Cow<'static, str>, Box<str>)]>,
    /// The custom row that said which fields there are; zero for built-in kinds.
    row: u64,
}

impl Facts {
    fn of(kind: &Kind, object: &Value) -> Self {
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
        let labels = labels.into_iter().flatten();
        let fields = kinds::selectable_fields(kind, object).into_iter();
        Self {
            labels: labels.filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into()))).collect(),
            fields: fields
                .filter(|(name, _)| *name != NAME && *name != NAMESPACE)
                .map(|(name, value)| (name, value.into()))
                .collect(),
            row: row(kind),
        }
    }

    /// From the text of a record in the version of `kind`.
    fn read(kind: &Kind, record: &Record) -> Self {
        let Some(fields) = kinds::selectable_paths(kind) else { return Self::of(kind, &core::parse(record)) };
        let labels: slim::Path = &["metadata", "labels"];
        let paths: Vec<slim::Path> = fields.chain([labels]).collect();
        let object = slim::slim(&record.value, &paths).unwrap_or_else(|_| core::parse(record));
        Self::of(kind, &object)
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(held, _)| **held == *key).map(|(_, value)| &**value)
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(held, _)| *held == name).map(|(_, value)| &**value)
    }
}

fn row(kind: &Kind) -> u64 {
    kind.custom.as_ref().map_or(0, |custom| custom.id)
}

#[derive(Clone, Debug)]
pub(crate) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    /// Whether any requirement needs more than the key.
    deep: bool,
}

impl Selection {
    /// `name` is the one object the request was authorized for, if it was for one.
    pub(crate) fn parse(kind: &Kind, options: &Options, name: &str) -> Result<Self, ApiError> {
        let refuse = |why: String| ApiError::bad_request(why);
        let labels = LabelSelector::parse(&options.label_selector).map_err(|error| refuse(error.to_string()))?;
        let asked = FieldSelector::parse(&options.field_selector).map_err(|error| refuse(error.to_string()))?;
        let mut fields = asked.renamed(|label| kinds::field_label(kind, label).map(str::to_owned)).map_err(refuse)?;
        if !name.is_empty() && fields.is_empty() {
            fields = FieldSelector::equal(NAME, name);
        } else if !name.is_empty() && fields.required(NAME) != Some(name) {
            // what was authorized by name is shown by name
            return Err(refuse("fieldSelector metadata.name doesn't match requested name".to_owned()));
        }
        let beyond_key = |field: &str| field != NAME && field != NAMESPACE;
        let deep =
            !labels.is_everything() || fields.requirements().iter().any(|requirement| beyond_key(&requirement.field));
        Ok(Self { labels, fields, deep })
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_empty()
    }

    /// The one name this selection can match, if it says so.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.required(NAME)
    }

    /// The one namespace this selection can match, if it says so.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.fields.required(NAMESPACE)
    }

    pub(crate) fn matches(&self, core: &Core, kind: &Kind, record: &Record) -> bool {
        if self.is_everything() {
            return true;
        }
        let (namespace, name) = place(kind, &record.key);
        if !self.deep {
            return self.by_key(namespace, name, |_| None);
        }
        if core.foreign_storage(kind).is_some() {
            return self.by_facts(namespace, name, &Facts::of(kind, &core.decode(kind, record)));
        }
        let facts = record.memo(|record| Facts::read(kind, record));
        // a changed definition may have other fields than the one the facts were kept for
        if facts.row != row(kind) {
            return self.by_facts(namespace, name, &Facts::of(kind, &core::parse(record)));
        }
        self.by_facts(namespace, name, facts)
    }

    fn by_facts(&self, namespace: &str, name: &str, facts: &Facts) -> bool {
        self.labels.matches(|key| facts.label(key)) && self.by_key(namespace, name, |field| facts.field(field))
    }

    fn by_key<'v>(&self, namespace: &'v str, name: &'v str, other: impl Fn(&str) -> Option<&'v str>) -> bool {
        self.fields.matches(|field| match field {
            NAME => Some(name),
            NAMESPACE => Some(namespace),
            field => other(field),
        })
    }
}

/// Namespace (or nothing) and name of a key.
pub(crate) fn place<'k>(kind: &Kind, key: &'k str) -> (&'k str, &'k str) {
    let mut parts = key.rsplitn(3, '/');
    let name = parts.next().unwrap_or_default();
    let namespace = if kind.namespaced { parts.next().unwrap_or_default() } else { "" };
    (namespace, name)
}
