//! What every step of the pipeline and every admission plugin may look at: the store through the eyes of the catalog.
//!
//! Reads here are of the newest published state and cost a parse, so they are for the few objects a decision needs.
//! Nothing here authorizes or admits: callers are the pipeline itself and code that runs inside it.

use std::sync::Arc;

use kinds::{Catalog, Kind};
use serde_json::Value;
use store::{Expect, Range, Record, Store, Write};

use crate::{admission::Admission, config::Config, encode, error::ApiError, names};

pub struct Core {
    pub store: Arc<dyn Store>,
    pub catalog: &'static Catalog,
    pub config: Config,
    pub(crate) admission: Vec<Arc<dyn Admission>>,
}

impl Core {
    pub fn new(config: Config, store: Arc<dyn Store>) -> Self {
        Self { store, catalog: Catalog::builtin(), config, admission: crate::admission::chain() }
    }

    /// The served row of a resource in its preferred version.
    pub fn kind(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        let rows = self.catalog.kinds();
        let mut named = rows.iter().filter(|kind| kind.group == group && kind.plural == plural && kind.served);
        named.clone().find(|kind| kind.preferred).or_else(|| named.next())
    }

    /// The newest state, in the version of `kind`. `namespace` is ignored for cluster-scoped kinds.
    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let record = self.store.get(&key(kind, namespace, name))?;
        Some(Arc::new(self.decode(kind, &record)))
    }

    /// All objects of a kind, in one namespace or (empty) in all.
    pub fn list(&self, kind: &Kind, namespace: &str) -> Vec<Arc<Value>> {
        let prefix = prefix(kind, namespace);
        let range = Range { prefix: &prefix, after: None, limit: 0, at: None };
        match self.store.range(range) {
            Ok(page) => page.records.iter().map(|record| Arc::new(self.decode(kind, record))).collect(),
            Err(error) => {
                tracing::error!(%error, prefix, "cannot list the newest state");
                Vec::new()
            }
        }
    }

    /// A record's object in the version of `kind`.
    pub fn decode(&self, kind: &Kind, record: &Record) -> Value {
        let mut object = parse(record);
        if let Some(storage) = self.foreign_storage(kind) {
            kinds::convert(&mut object, storage, kind);
        }
        object
    }

    /// The row objects of `kind` are stored in, if that is another one.
    pub(crate) fn foreign_storage(&self, kind: &Kind) -> Option<&Arc<Kind>> {
        let (group, version, plural) = &kind.storage;
        if *group == kind.group && *version == kind.version {
            return None;
        }
        self.catalog.resource(group, version, plural)
    }

    /// Creates an object without admission, for the objects a server cannot be without. Returns false if it exists.
    pub async fn ensure(&self, kind: &Kind, mut object: Value) -> Result<bool, ApiError> {
        let namespace = text(&object, "/metadata/namespace").to_owned();
        let name = text(&object, "/metadata/name").to_owned();
        let key = key(kind, &namespace, &name);
        if self.store.get(&key).is_some() {
            return Ok(false);
        }
        kinds::default(kind, &mut object);
        kinds::strategy::prepare_create(kind, &mut object);
        names::birth(&mut object);
        let errors = kinds::validate_create(kind, &object);
        if !errors.is_empty() {
            return Err(ApiError::invalid(kind, &name, &errors));
        }
        let value = encode::stored(&self.to_storage(kind, object));
        match self.store.commit(vec![Write::Put { key, value, expect: Expect::Absent }]).await {
            Ok(_) => Ok(true),
            Err(store::CommitError::Conflict { .. }) => Ok(false),
            Err(error) => Err(ApiError::internal(error)),
        }
    }

    /// Replaces an object if it still has the resourceVersion that `object` carries; without admission.
    pub async fn replace(&self, kind: &Kind, object: Value) -> Result<(), ApiError> {
        let name = text(&object, "/metadata/name").to_owned();
        let key = key(kind, text(&object, "/metadata/namespace"), &name);
        let revision =
            text(&object, "/metadata/resourceVersion").parse().map_err(|_| ApiError::modified(kind, &name))?;
        let value = encode::stored(&self.to_storage(kind, object));
        match self.store.commit(vec![Write::Put { key, value, expect: Expect::Revision(revision) }]).await {
            Ok(_) => Ok(()),
            Err(store::CommitError::Conflict { current: None, .. }) => Err(ApiError::not_found(kind, &name)),
            Err(store::CommitError::Conflict { .. }) => Err(ApiError::modified(kind, &name)),
            Err(error) => Err(ApiError::internal(error)),
        }
    }

    pub(crate) fn to_storage(&self, kind: &Kind, mut object: Value) -> Value {
        if let Some(storage) = self.foreign_storage(kind) {
            kinds::convert(&mut object, kind, storage);
        }
        object
    }
}

/// The store key of an object.
pub fn key(kind: &Kind, namespace: &str, name: &str) -> String {
    let mut key = prefix(kind, namespace);
    key.push_str(name);
    key
}

/// The store prefix of a kind's objects, in one namespace or (empty, or cluster-scoped) of all.
pub fn prefix(kind: &Kind, namespace: &str) -> String {
    let (group, _, plural) = &kind.storage;
    let group = if group.is_empty() { "core" } else { group };
    if kind.namespaced && !namespace.is_empty() {
        format!("/{group}/{plural}/{namespace}/")
    } else {
        format!("/{group}/{plural}/")
    }
}

/// The object of a record, in its storage version.
pub(crate) fn parse(record: &Record) -> Value {
    serde_json::from_slice(&record.value).unwrap_or_else(|error| {
        tracing::error!(%error, key = %record.key, "a stored object is not JSON");
        Value::Object(serde_json::Map::new())
    })
}

/// The string at a JSON pointer, or nothing.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
