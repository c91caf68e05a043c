//! Who owns what after a write: the rules of ownership, without the form in which objects carry it.
//!
//! Invariant: a field that a write changes belongs to the writer alone; a field that it leaves keeps its owners; a field
//! that is gone has none. An applied configuration owns exactly what it says, shares what it says alike with others, and
//! what it no longer says goes with it unless somebody else owns it.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::compare::{Comparison, compare};
use super::entries::{Entry, Id, Managers};
use super::reset;
use super::set::{Set, show};
use super::shape::Shape;
use super::typed::{Faults, fields_of, same};
use super::{Scope, merge, remove};
use crate::catalog::Kind;

/// Fields that somebody else owns and that an applied configuration would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner as messages show it: `"kubectl" using apps/v1`.
    pub manager: String,
    /// `.spec.replicas`
    pub path: String,
}

/// Why an apply came to nothing.
#[derive(Debug)]
pub(super) enum Failure<'a> {
    Conflicts(Vec<(Id<'a>, Set<'a>)>),
    Faults(String),
}

/// One object in versions other than the request's, converted when a manager speaks them.
struct Elsewhere {
    version: String,
    /// None if that version is no longer served.
    pair: Option<(Arc<Kind>, Value, Value)>,
}

fn elsewhere(scope: &Scope<'_>, managers: &Managers<'_>, old: &Value, new: &Value) -> Vec<Elsewhere> {
    let mut others: Vec<Elsewhere> = Vec::new();
    for entry in &managers.0 {
        let version = &*entry.api_version;
        if version == scope.api_version || others.iter().any(|other| other.version == version) {
            continue;
        }
        let pair = scope.convert(old, scope.api_version, version).and_then(|(kind, old)| {
            let (_, new) = scope.convert(new, scope.api_version, version)?;
            Some((kind, old, new))
        });
        others.push(Elsewhere { version: version.to_owned(), pair });
    }
    others
}

/// The comparison in every version that a manager speaks.
struct Comparisons<'c, 'a> {
    own: &'c Comparison<'a>,
    others: Vec<(&'c str, Comparison<'c>)>,
}

impl<'c, 'a> Comparisons<'c, 'a> {
    fn make(scope: &Scope<'_>, own: &'c Comparison<'a>, others: &'c [Elsewhere]) -> Result<Self, Faults> {
        let mut made = Vec::new();
        for other in others {
            if let Some((kind, old, new)) = &other.pair {
                let mut comparison = compare(Shape::of(kind), old, new)?;
                filter(scope, &mut comparison);
                made.push((other.version.as_str(), comparison));
            }
        }
        Ok(Self { own, others: made })
    }

    /// What was added, modified and removed, in the version of an entry.
    fn of(&self, scope: &Scope<'_>, entry: &Entry<'_>) -> Option<[&Set<'_>; 3]> {
        if entry.api_version == scope.api_version {
            return Some([&self.own.added, &self.own.modified, &self.own.removed]);
        }
        let (_, other) = self.others.iter().find(|(version, _)| *version == entry.api_version)?;
        Some([&other.added, &other.modified, &other.removed])
    }
}

fn filter(scope: &Scope<'_>, comparison: &mut Comparison<'_>) {
    for set in [&mut comparison.added, &mut comparison.modified, &mut comparison.removed] {
        scope.filter.apply(set);
    }
}

/// Ownership after a write of `new` over `old` by `manager`.
pub(super) fn update<'a>(
    scope: &Scope<'a>,
    managers: &mut Managers<'a>,
    (old, new): (&'a Value, &'a Value),
    manager: &Id<'a>,
    now: &'a str,
) -> Result<(), Faults> {
    let mut own = compare(scope.shape, old, new)?;
    filter(scope, &mut own);
    let others = elsewhere(scope, managers, old, new);
    // whoever speaks a version that is no longer served owns nothing that could be told
    managers.0.retain(|entry| !others.iter().any(|other| other.version == entry.api_version && other.pair.is_none()));
    let comparisons = Comparisons::make(scope, &own, &others)?;
    managers.take(None, |entry| {
        let Some(sets) = comparisons.of(scope, entry) else { return false };
        sets.into_iter().filter(|set| entry.set.subtract(set)).count() > 0
    });
    drop(comparisons);
    let mut set = own.modified.union(own.added);
    set.subtract(reset::stripped());
    if !set.is_empty() {
        if let Some(previous) = managers.get(manager) {
            set = set.union(previous.set.clone());
        }
        managers.put(Entry {
            id: manager.clone(),
            api_version: Cow::Owned(scope.api_version.to_owned()),
            set,
            time: Some(Cow::Borrowed(now)),
            source: None,
        });
    }
    managers.cap();
    Ok(())
}

/// The live object with the configuration applied, and whether that changed it. `managers` become those after it.
pub(super) fn apply<'a>(
    scope: &Scope<'a>,
    managers: &mut Managers<'a>,
    live: &Value,
    config: &'a Value,
    manager: &Id<'a>,
    force: bool,
) -> Result<(Value, bool), Failure<'a>> {
    reconcile(scope, managers, live);
    let faults = |what: &str, faults: Faults| Failure::Faults(format!("failed to {what}: {faults}"));
    let mut merged = live.clone();
    merge::merge(scope.shape, &mut merged, config).map_err(|error| faults("merge config", error))?;
    let mut set = fields_of(scope.shape, config);
    scope.filter.apply(&mut set);
    let last = managers.get(manager).cloned();
    // an unchanged entry is not written anew, so what is never owned must not be in it now either
    let mut owned = set.clone();
    owned.subtract(reset::stripped());
    let unchanged = last.as_ref().filter(|last| last.set == owned && last.api_version == scope.api_version);
    let source = unchanged.and_then(|last| last.source);
    managers.put(Entry {
        id: manager.clone(),
        api_version: Cow::Owned(scope.api_version.to_owned()),
        set,
        time: last.as_ref().and_then(|last| last.time.clone()),
        source,
    });
    let new = match &last {
        Some(last) if !last.set.is_empty() => prune(scope, merged, managers, manager, last),
        _ => merged,
    };
    give_up(scope, managers, live, &new, manager, force)?;
    for entry in managers.0.iter_mut().filter(|entry| entry.id == *manager) {
        entry.set = std::mem::take(&mut owned);
    }
    managers.0.retain(|entry| !entry.set.is_empty());
    let changed = !same(live, &new);
    Ok((new, changed))
}

/// Others lose what the configuration changes, if it may.
fn give_up<'a>(
    scope: &Scope<'_>,
    managers: &mut Managers<'a>,
    live: &Value,
    new: &Value,
    manager: &Id<'a>,
    force: bool,
) -> Result<(), Failure<'a>> {
    let faults = |faults: Faults| Failure::Faults(format!("failed to compare objects: {faults}"));
    let mut own = compare(scope.shape, live, new).map_err(faults)?;
    filter(scope, &mut own);
    let others = elsewhere(scope, managers, live, new);
    managers.0.retain(|entry| {
        entry.id == *manager || !others.iter().any(|other| other.version == entry.api_version && other.pair.is_none())
    });
    let comparisons = Comparisons::make(scope, &own, &others).map_err(faults)?;
    if !force {
        let mut conflicts = Vec::new();
        for entry in managers.0.iter().filter(|entry| entry.id != *manager) {
            let Some([added, modified, _]) = comparisons.of(scope, entry) else { continue };
            let set = entry.set.intersection(modified).union(entry.set.intersection(added));
            if !set.is_empty() {
                conflicts.push((entry.id.clone(), set));
            }
        }
        if !conflicts.is_empty() {
            conflicts.sort_by(|a, b| a.0.cmp(&b.0));
            return Err(Failure::Conflicts(conflicts));
        }
    }
    managers.take(Some(manager), |entry| {
        let Some(sets) = comparisons.of(scope, entry) else { return false };
        sets.into_iter().filter(|set| entry.set.subtract(set)).count() > 0
    });
    Ok(())
}

/// Adjusts sets to a schema in which something has become atomic since they were written.
fn reconcile(scope: &Scope<'_>, managers: &mut Managers<'_>, live: &Value) {
    let mut rows: Vec<(String, Option<Arc<Kind>>)> = Vec::new();
    managers.0.retain_mut(|entry| {
        if entry.api_version == scope.api_version {
            reconciled(entry, scope.shape);
            return true;
        }
        let known = rows.iter().position(|(version, _)| *version == entry.api_version);
        let index = known.unwrap_or_else(|| {
            let row = scope.convert(live, scope.api_version, &entry.api_version).map(|(row, _)| row);
            rows.push((entry.api_version.to_string(), row));
            rows.len() - 1
        });
        match &rows[index].1 {
            Some(row) => {
                reconciled(entry, Shape::of(row));
                true
            }
            None => false,
        }
    });
}

fn reconciled(entry: &mut Entry<'_>, shape: Shape<'_>) {
    if entry.set.reconcile(shape) {
        entry.source = None;
    }
}

/// Removes what the manager applied last time, does not apply now, and nobody else owns.
fn prune(scope: &Scope<'_>, merged: Value, managers: &Managers<'_>, manager: &Id<'_>, last: &Entry<'_>) -> Value {
    let version = &*last.api_version;
    if version == scope.api_version && managers.get(manager).is_some_and(|now| last.set.is_subset(&now.set)) {
        return merged;
    }
    let Some((shape_kind, base)) = scope.versioned(&merged, scope.api_version, version) else { return merged };
    let shape = scope.shape_of(shape_kind.as_deref());
    let mut pruned = base.clone();
    let doomed = last.set.clone().with_named(shape);
    remove::remove(shape, &mut pruned, &doomed);

    let mut owned: Vec<(&str, Set<'_>)> = Vec::new();
    for entry in &managers.0 {
        match owned.iter_mut().find(|(version, _)| *version == entry.api_version) {
            Some((_, set)) => *set = std::mem::take(set).union(entry.set.clone()),
            None => owned.push((&entry.api_version, entry.set.clone())),
        }
    }
    // the version that was pruned first: what others own may be needed to convert at all
    owned.sort_by_key(|(held, _)| *held != version);
    let mut at = (version.to_owned(), base.clone());
    for (version, set) in owned {
        let (from, whole) = (&at.0, &at.1);
        let Some((row, whole)) = scope.versioned(whole, from, version) else { continue };
        let Some((_, part)) = scope.versioned(&pruned, from, version) else { continue };
        pruned = with_owned(scope.shape_of(row.as_deref()), &whole, &part, set);
        at = (version.to_owned(), whole);
    }
    let Some((_, pruned)) = scope.versioned(&pruned, &at.0, version) else { return merged };
    let mut doomed_now = fields_of(shape, &base).with_named(shape);
    doomed_now.subtract(&fields_of(shape, &pruned).with_named(shape));
    let doomed = doomed_now.intersection(&doomed);
    let mut result = base.clone();
    remove::remove(shape, &mut result, &doomed);
    match scope.versioned(&result, version, scope.api_version) {
        Some((_, result)) => result,
        None => merged,
    }
}

/// The pruned object with what somebody owns put back.
fn with_owned(shape: Shape<'_>, whole: &Value, pruned: &Value, owned: Set<'_>) -> Value {
    let mut doomed = fields_of(shape, whole).with_named(shape);
    doomed.subtract(&fields_of(shape, pruned).with_named(shape));
    doomed.subtract(&owned.with_named(shape));
    let mut result = whole.clone();
    remove::remove(shape, &mut result, &doomed);
    result
}

/// The conflicts one by one, in upstream's order.
pub(super) fn tell(conflicts: &[(Id<'_>, Set<'_>)]) -> Vec<Conflict> {
    let mut told = Vec::new();
    for (id, set) in conflicts {
        let manager = name(id);
        set.each(&mut |path| told.push(Conflict { manager: manager.clone(), path: show(path) }));
    }
    told
}

fn name(id: &Id<'_>) -> String {
    let mut name = crate::error::quote(&id.manager);
    if !id.subresource.is_empty() {
        name.push_str(&format!(" with subresource {}", crate::error::quote(&id.subresource)));
    }
    if !id.applied() {
        name.push_str(&format!(" using {}", id.version));
    }
    name
}
