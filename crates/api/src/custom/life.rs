//! Keeps the rows of the catalog equal to the stored definitions, and tells each definition what became of it.
//!
//! Loaded before the first request is served, then followed through the store's watch. Rows are there before anybody can
//! read that they are established: a client that waits for the condition finds the paths. The status of all definitions
//! that arrive together is written as one commit.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use kinds::{Catalog, Kind, structural::Definition};
use serde_json::Value;
use store::{CommitError, Event, Expect, Range, RangeError, Record, Revision, WatchError, Write};
use tasks::Children;

use super::{
    DEFINITIONS, cleanup,
    plan::{self, Taken},
};
use crate::{
    core::{self, Core, parse},
    encode,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read the stored definitions of custom resources")]
    Range(#[from] RangeError),
    #[error("cannot follow the stored definitions of custom resources")]
    Watch(#[from] WatchError),
}

/// What is known of the definitions.
pub(crate) struct Follower {
    core: Arc<Core>,
    taken: Taken,
    /// By name; the newest record of each.
    records: HashMap<String, Arc<Record>>,
    seen: Revision,
}

/// Makes rows of what is stored. Called before the first request.
pub(crate) fn load(core: &Arc<Core>, children: &Children) -> Result<Follower, Error> {
    if core.customs.children.set(children.clone()).is_err() {
        tracing::warn!("custom resources are started a second time");
    }
    let mut follower = Follower { core: core.clone(), taken: Taken::default(), records: HashMap::new(), seen: 0 };
    follower.reload()?;
    Ok(follower)
}

/// Follows the store until it closes.
pub(crate) async fn follow(mut follower: Follower) -> Result<(), Error> {
    let all: Vec<String> = follower.records.keys().cloned().collect();
    follower.settle(all).await;
    loop {
        match follower.run().await {
            Err(Error::Watch(WatchError::Closed)) => return Ok(()),
            Err(Error::Watch(WatchError::Compacted { .. })) => {
                follower.reload()?;
                let all: Vec<String> = follower.records.keys().cloned().collect();
                follower.settle(all).await;
            }
            other => return other,
        }
    }
}

fn name(key: &str) -> &str {
    key.strip_prefix(DEFINITIONS).unwrap_or(key)
}

impl Follower {
    fn reload(&mut self) -> Result<(), Error> {
        let page = self.core.store.range(Range { prefix: DEFINITIONS, after: None, limit: 0, at: None })?;
        let gone: Vec<String> = self
            .records
            .keys()
            .filter(|held| !page.records.iter().any(|record| name(&record.key) == held.as_str()))
            .cloned()
            .collect();
        for name in gone {
            self.removed(&name);
        }
        self.seen = page.revision;
        for record in page.records {
            self.put(record);
        }
        Ok(())
    }

    async fn run(&mut self) -> Result<(), Error> {
        let mut watch = self.core.store.watch(DEFINITIONS, self.seen)?;
        loop {
            let events = watch.next().await?;
            let mut touched = Vec::new();
            for event in &events {
                let name = name(event.key()).to_owned();
                match &**event {
                    Event::Put { record, .. } => touched.extend(self.put(record.clone())),
                    Event::Delete { .. } => touched.extend(self.removed(&name)),
                }
                touched.push(name);
            }
            self.seen = watch.revision();
            self.settle(touched).await;
        }
    }

    /// Takes in a definition; the others that may now get names they could not have before.
    fn put(&mut self, record: Arc<Record>) -> Vec<String> {
        let name = name(&record.key).to_owned();
        if self.records.get(&name).is_some_and(|held| held.revision >= record.revision) {
            return Vec::new();
        }
        let Some(definition) = read(&record) else { return Vec::new() };
        self.serve(&definition, &record.value);
        let group = definition.spec.group.clone();
        let freed = self.taken.give(&name, &group, &definition.status.accepted_names);
        if definition.metadata.deletion_timestamp.is_some() {
            cleanup::start(&self.core, &definition);
        }
        self.records.insert(name.clone(), record);
        if freed { self.others(&group, &name) } else { Vec::new() }
    }

    fn removed(&mut self, name: &str) -> Vec<String> {
        let Some(record) = self.records.remove(name) else { return Vec::new() };
        if let Some(definition) = read(&record) {
            let (group, plural) = (&definition.spec.group, &definition.spec.names.plural);
            self.core.set_rows(group, plural, &[]);
            self.core.customs.rows_changed(name, &[]);
        }
        match self.taken.free(name) {
            Some(group) => self.others(&group, name),
            None => Vec::new(),
        }
    }

    fn others(&self, group: &str, name: &str) -> Vec<String> {
        let same_group = |other: &&String| other.split_once('.').is_some_and(|(_, held)| held == group);
        self.records.keys().filter(same_group).filter(|other| *other != name).cloned().collect()
    }

    /// Gives a definition its rows, unless they are made of the same text already.
    fn serve(&self, definition: &Definition, source: &Bytes) {
        let (group, plural) = (&definition.spec.group, &definition.spec.names.plural);
        // what Kubernetes itself serves cannot be defined anew; upstream never reaches such a definition either
        if Catalog::builtin().resources(group, plural).next().is_some() {
            return;
        }
        let held: Vec<Arc<Kind>> = self.core.catalog().resources(group, plural).cloned().collect();
        let made_of = |kind: &Arc<Kind>| kind.custom.as_ref().is_some_and(|custom| custom.is_made_of(source));
        if held.first().is_some_and(made_of) || (held.is_empty() && !definition.is_served()) {
            return;
        }
        let rows = match definition.is_served() {
            true => kinds::structural::rows(definition, source, &held),
            false => Vec::new(),
        };
        self.core.set_rows(group, plural, &rows);
        self.core.customs.rows_changed(&definition.metadata.name, &rows);
    }

    /// Writes the status of definitions until it is what it should be.
    async fn settle(&mut self, mut names: Vec<String>) {
        names.sort_unstable();
        names.dedup();
        while !names.is_empty() {
            let writes: Vec<Write> = names.iter().filter_map(|name| self.write(name)).collect();
            names.clear();
            if writes.is_empty() {
                return;
            }
            match self.core.store.commit(writes.clone()).await {
                Ok(records) => names.extend(records.into_iter().flat_map(|record| self.put(record))),
                // somebody else changed one of them, which we will hear of; the others are written one by one
                Err(CommitError::Conflict { .. }) => {
                    for write in writes {
                        match self.core.store.commit(vec![write]).await {
                            Ok(records) => names.extend(records.into_iter().flat_map(|record| self.put(record))),
                            Err(CommitError::Conflict { .. }) => {}
                            Err(error) => return tracing::warn!(%error, "cannot write the status of a definition"),
                        }
                    }
                }
                Err(CommitError::Closed) => return,
                Err(error) => return tracing::warn!(%error, "cannot write the status of definitions"),
            }
        }
    }

    /// The write that gives a definition its status, if it lacks it. Names are taken and rows made at once: whoever can
    /// read that a definition is established finds it served.
    fn write(&mut self, name: &str) -> Option<Write> {
        let record = self.records.get(name)?.clone();
        let mut object = parse(&record);
        let definition = read(&record)?;
        let now = base::time::rfc3339(base::time::now());
        object["status"] = plan::status(&definition, &object, &self.taken, &now)?;
        let next: Definition = serde_json::from_value(without_schemas(&object)).ok()?;
        self.taken.give(name, &next.spec.group, &next.status.accepted_names);
        let value = encode::stored(&object);
        if next.is_served() {
            let source = serde_json::to_vec(&object).expect("invariant: a JSON value encodes into memory");
            self.serve(&next, &source.into());
        }
        Some(Write::Put { key: record.key.to_string(), value, expect: Expect::Revision(record.revision) })
    }
}

fn read(record: &Record) -> Option<Definition> {
    match Definition::read(&record.value) {
        Ok(definition) => Some(definition),
        Err(error) => {
            tracing::error!(%error, key = %record.key, "a stored definition cannot be read");
            None
        }
    }
}

/// A definition reduced to what is typed, so that reading it costs no copy of its schemas.
fn without_schemas(object: &Value) -> Value {
    let mut object = object.clone();
    let versions = object.pointer_mut("/spec/versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten().filter_map(Value::as_object_mut) {
        version.remove("schema");
    }
    object
}

/// The store key of a definition.
pub(crate) fn key(name: &str) -> String {
    format!("{DEFINITIONS}{name}")
}

/// Changes a definition as it is stored, until the change is written or there is nothing to change; the record that has
/// it. None if the definition is gone.
pub(crate) async fn change(
    core: &Core,
    name: &str,
    mut make: impl FnMut(&mut Value) -> bool + Send,
) -> Result<Option<Arc<Record>>, CommitError> {
    let Some(kind) = core.kind("apiextensions.k8s.io", "customresourcedefinitions") else { return Ok(None) };
    loop {
        let Some(record) = core.store.get(&key(name)) else { return Ok(None) };
        let mut object = parse(&record);
        if !make(&mut object) {
            return Ok(Some(record));
        }
        let (key, expect) = (core::key(kind, "", name), Expect::Revision(record.revision));
        let value = encode::stored(&object);
        let gone = crate::verbs::delete::is_over(kind, &object);
        let write = if gone { Write::Delete { key, expect, last: value } } else { Write::Put { key, value, expect } };
        match core.store.commit(vec![write]).await {
            Ok(records) if gone => {
                drop(records);
                return Ok(None);
            }
            Ok(records) => return Ok(records.into_iter().next()),
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}
