//! Whom a change of something owned concerns.
//!
//! Invariant: its owners of before and of now are woken, and for an orphan everyone who might adopt it.

use base::Key;
use informer::{Change, Informer, Object, Queue};
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::ResourceExt;

use super::replicaset::key;
use crate::plan::claim;
use crate::plan::labels::Labels;

/// Wakes owners of the kind `kind`, which `owners` lists; `selects` says whether one of them selects the labels.
pub(crate) fn owners<O: Object, K: Object>(
    queue: &Queue<Key>,
    kind: &str,
    owners: &Informer<O>,
    change: Change<'_, K>,
    selects: impl Fn(&O, &Labels) -> bool,
) {
    let namespace = change.latest().namespace().unwrap_or_default();
    for object in change.old.into_iter().chain(change.new) {
        if let Some(owner) = claim::controller(&**object).filter(|owner| owner.kind == kind) {
            queue.add(Key::new(namespace.clone(), owner.name.clone()));
        }
    }
    let free = |object: &K| claim::controller(object).is_none() && object.meta().deletion_timestamp.is_none();
    let Some(orphan) = change.new.filter(|object| free(object)) else { return };
    for owner in owners.in_namespace(&namespace) {
        if selects(&owner, orphan.labels()) {
            queue.add(key(&*owner));
        }
    }
}

/// As [`owners`], for revisions. A new one that has an owner wakes nobody: the owner made it, or somebody who wants it to
/// stay for now (upstream `addHistory`).
pub(crate) fn revision_owners<O: Object>(
    queue: &Queue<Key>,
    kind: &str,
    known: &Informer<O>,
    change: Change<'_, ControllerRevision>,
    selects: impl Fn(&O, &Labels) -> bool,
) {
    if change.old.is_some() || claim::controller(&**change.latest()).is_none() {
        owners(queue, kind, known, change, selects);
    }
}
