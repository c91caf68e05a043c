//! Server-side apply and `metadata.managedFields`: who owns which field of an object, and what a configuration that is
//! applied changes.
//!
//! Invariant: pure functions of objects and names; the caller says what time it is. The pipeline calls [`update`] for
//! every write that a client makes of an object or a part of it, and [`apply`] for an applied configuration; nobody else
//! writes managedFields. Reading order: `element`, `set`, `fields` (sets and their JSON), `shape` (the schema), `typed`,
//! `compare`, `merge`, `remove` (objects and sets), `entries`, `updater` (ownership), then this module (the protocol).

mod compare;
mod element;
mod entries;
mod fields;
mod lastapplied;
mod merge;
mod overlay;
mod remove;
mod reset;
mod scale;
mod set;
mod shape;
mod typed;
mod updater;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

use entries::{Id, Managers, Source};
use reset::Filter;
use shape::Shape;
use updater::Failure;

pub use overlay::overlay;
pub use scale::Scale;
pub use updater::Conflict;

use crate::catalog::{Catalog, Kind};
use crate::json::text;

const FIELD: &str = "managedFields";
/// A client that sends more entries than this is not followed; no object comes near.
const MOST_ENTRIES: usize = 1000;

/// What is written: a kind in a version, or a part of it.
pub struct Scope<'a> {
    shape: Shape<'a>,
    api_version: &'a str,
    kind: &'a str,
    subresource: &'a str,
    filter: Filter,
    /// For other versions of the kind; none where there are none.
    rows: Option<(&'a Catalog, &'a Kind)>,
}

impl<'a> Scope<'a> {
    /// `api_version` is the kind's; the caller keeps the text.
    pub fn new(catalog: &'a Catalog, kind: &'a Kind, api_version: &'a str, subresource: &'a str) -> Self {
        Self {
            shape: Shape::of(kind),
            api_version,
            kind: &kind.kind,
            subresource,
            filter: reset::filter(kind, subresource),
            rows: Some((catalog, kind)),
        }
    }

    /// The Scale of a kind with replicas.
    pub fn scale() -> Scope<'static> {
        let ty = crate::schema::find("api.autoscaling.v1.Scale").expect("invariant: the embedded schema has Scale");
        Scope {
            shape: Shape::builtin(ty),
            api_version: "autoscaling/v1",
            kind: "Scale",
            subresource: "scale",
            filter: Filter::All,
            rows: None,
        }
    }

    /// The object in another version; none if that version is not known any more.
    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<(Arc<Kind>, Value)> {
        let (catalog, kind) = self.rows?;
        let from = catalog.by_api_version(from, &kind.kind)?;
        let to = catalog.by_api_version(to, &kind.kind)?;
        let mut object = object.clone();
        crate::convert(&mut object, from, to);
        Some((to.clone(), object))
    }

    /// As [`Self::convert`], without a row if the versions are one.
    fn versioned(&self, object: &Value, from: &str, to: &str) -> Option<(Option<Arc<Kind>>, Value)> {
        if from == to {
            let row = if to == self.api_version {
                None
            } else {
                let (catalog, kind) = self.rows?;
                Some(catalog.by_api_version(to, &kind.kind)?.clone())
            };
            return Some((row, object.clone()));
        }
        let (row, object) = self.convert(object, from, to)?;
        Some((Some(row), object))
    }

    fn shape_of<'s>(&'s self, row: Option<&'s Kind>) -> Shape<'s> {
        row.map_or(self.shape, Shape::of)
    }

    /// The object as upstream names it in messages: `default/web; apps/v1, Kind=Deployment`.
    fn describe(&self, object: &Value) -> String {
        let meta = object.get("metadata").unwrap_or(&Value::Null);
        format!("{}/{}; {}", text(meta, "namespace"), text(meta, "name"), gvk(self.api_version, self.kind))
    }
}

/// `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`
fn gvk(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

/// Why a configuration was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("{0}")]
    BadRequest(String),
    #[error("{}", conflict_message(.0))]
    Conflict(Vec<Conflict>),
    /// It does not fit the schema; upstream answers this without a reason.
    #[error("{0}")]
    Misfit(String),
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", only.manager, only.path);
    }
    let mut lines = Vec::with_capacity(conflicts.len() + 1);
    let mut manager = "";
    for conflict in conflicts {
        if conflict.manager != manager {
            manager = &conflict.manager;
            lines.push(format!("conflicts with {manager}:"));
        }
        lines.push(format!("- {}", conflict.path));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

fn held(object: &Value) -> &Value {
    object.pointer("/metadata/managedFields").unwrap_or(&Value::Null)
}

fn take(object: &mut Value) -> Value {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    metadata.and_then(|metadata| metadata.remove(FIELD)).unwrap_or(Value::Null)
}

fn put(object: &mut Value, entries: Option<Value>) {
    let Some(members) = object.as_object_mut() else { return };
    match entries {
        Some(entries) => drop(crate::json::object(members, "metadata").insert(FIELD.to_owned(), entries)),
        None => {
            if let Some(metadata) = crate::json::object_mut(members, "metadata") {
                metadata.remove(FIELD);
            }
        }
    }
}

/// Takes managedFields out of an object that a client sent, before defaulting forgets that an empty list was given.
pub fn detach(object: &mut Value) -> Given {
    Given(take(object))
}

/// The managedFields that a client sent.
pub struct Given(Value);

/// Records in `new` who owns what after `manager` wrote it over `live` (null when it is created).
pub fn update(scope: &Scope<'_>, live: &Value, new: &mut Value, given: Given, manager: &str, now: &str) {
    let Given(given) = given;
    // through a subresource nobody edits the list itself
    let whole = scope.subresource.is_empty();
    if whole && entries::is_reset(&given) {
        return;
    }
    let usable = whole
        && given.as_array().is_some_and(|entries| entries.len() <= MOST_ENTRIES)
        && Managers::decode(&given).is_ok_and(|managers| !managers.is_empty());
    let given = if usable { given } else { Value::Null };
    let source = if given.is_null() { held(live) } else { &given };
    let mut managers = Managers::decode(source).unwrap_or_default();
    // an object that nobody has managed since it was made stays so
    let created = text(live.get("metadata").unwrap_or(&Value::Null), "uid").is_empty();
    if managers.is_empty() && !created {
        return;
    }
    let nothing = live.is_null().then(|| scope.shape.empty_object());
    let live_object = nothing.as_ref().unwrap_or(live);
    let id = Id::updater(manager, scope.api_version, scope.subresource);
    let slots = match updater::update(scope, &mut managers, (live_object, &*new), &id, now) {
        Ok(()) => managers.plan(),
        // an object that its own schema cannot tell apart has no owners, as upstream
        Err(_) => return,
    };
    let source = if given.is_null() { Source::Borrowed(held(live)) } else { Source::Owned(given) };
    put(new, entries::assemble(slots, source));
}

/// A configuration to apply, and by whom.
pub struct Application<'a> {
    pub config: &'a Value,
    pub manager: &'a str,
    pub force: bool,
    pub now: &'a str,
}

/// The object after a configuration is applied to `live` (an object with only apiVersion and kind when it is created).
pub fn apply(scope: &Scope<'_>, live: &Value, application: &Application<'_>) -> Result<Value, ApplyError> {
    let Application { config, manager, force, now } = *application;
    check_config(scope, config)?;
    let decoded = Managers::decode(held(live));
    let mut managers = decoded.map_err(|why| ApplyError::Misfit(format!("failed to decode managed fields: {why}")))?;
    let faults = typed::validate(scope.shape, config, false);
    if !faults.0.is_empty() {
        let what = scope.describe(config);
        return Err(ApplyError::Misfit(format!("failed to create typed patch object ({what}): {faults}")));
    }
    let mut bare = live.clone();
    let entries = take(&mut bare);
    let empty = managers.is_empty().then(|| scope.shape.empty_object());
    if let Some(empty) = &empty {
        let id = Id::updater(entries::BEFORE_APPLY, scope.api_version, scope.subresource);
        updater::update(scope, &mut managers, (empty, &bare), &id, now)
            .map_err(|why| ApplyError::Misfit(format!("failed to create manager for existing fields: {why}")))?;
    }
    let id = Id::applier(manager, scope.subresource);
    let before = managers.clone();
    let outcome = match updater::apply(scope, &mut managers, &bare, config, &id, force) {
        // client-side apply by the same tool is no conflict
        Err(Failure::Conflicts(conflicts)) if manager == lastapplied::KUBECTL => {
            match lastapplied::allowed(scope, &bare) {
                None => Err(Failure::Conflicts(conflicts)),
                Some(allowed) => match lastapplied::remaining(conflicts, &allowed) {
                    rest if rest.is_empty() => {
                        managers = before;
                        updater::apply(scope, &mut managers, &bare, config, &id, true)
                    }
                    rest => Err(Failure::Conflicts(rest)),
                },
            }
        }
        outcome => outcome,
    };
    let (mut new, changed) = outcome.map_err(|failure| match failure {
        Failure::Conflicts(conflicts) => ApplyError::Conflict(updater::tell(&conflicts)),
        Failure::Faults(why) => ApplyError::Misfit(why),
    })?;
    if changed {
        for entry in managers.0.iter_mut().filter(|entry| entry.id == id) {
            entry.time = Some(now.into());
            entry.source = None;
        }
    }
    let slots = managers.plan();
    put(&mut new, entries::assemble(slots, Source::Owned(entries)));
    if manager == lastapplied::KUBECTL {
        lastapplied::refresh(&mut new, config);
    }
    Ok(new)
}

fn check_config(scope: &Scope<'_>, config: &Value) -> Result<(), ApplyError> {
    let (version, kind) = (text(config, "apiVersion"), text(config, "kind"));
    if version != scope.api_version || kind != scope.kind {
        return Err(ApplyError::BadRequest(format!("invalid object type: {}", gvk(version, kind))));
    }
    if held(config).is_array() {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    Ok(())
}

/// Appends the text of managedFields as upstream writes it for kinds of its own.
pub fn print(entries: &Value, out: &mut Vec<u8>) {
    let Value::Array(items) = entries else { return fields::plain(entries, out) };
    out.push(b'[');
    for (index, entry) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let Value::Object(members) = entry else {
            fields::plain(entry, out);
            continue;
        };
        out.push(b'{');
        for (index, (name, value)) in members.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            fields::plain(name, out);
            out.push(b':');
            if name == "fieldsV1" {
                fields::print(value, out);
            } else {
                fields::plain(value, out);
            }
        }
        out.push(b'}');
    }
    out.push(b']');
}

/// Takes back new times in `new` if nothing else differs from `old`: a write that changes nothing is none.
pub fn forget_times(new: &mut Value, old: &Value) {
    let (Some(written), Some(stored)) = (held(new).as_array(), held(old).as_array()) else { return };
    let timeless = |(a, b): (&Value, &Value)| match (a.as_object(), b.as_object()) {
        (Some(a), Some(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((n, a), (m, b))| n == m && (n == "time" || a == b))
        }
        _ => false,
    };
    if written.len() != stored.len() || written == stored || !written.iter().zip(stored).all(timeless) {
        return;
    }
    let stored = held(old).clone();
    let written = take(new);
    put(new, Some(stored));
    if new != old {
        put(new, Some(written));
    }
}
