//! What happens to one object, given what is true of its owners right now.
//!
//! Invariant: an object with one living owner is never deleted; a deletion names the uid it means.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use super::graph::{Graph, Owner};
use super::{FOREGROUND, ORPHAN};

/// What a live look-up said about an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    Lives,
    /// No such object, or another one of that name.
    Gone,
    /// It is being deleted and waits for its dependents.
    WaitsForDependents,
    /// Its kind is not known to this cluster; nothing may be concluded.
    Unknown,
}

/// How a deletion treats the object's own dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Background,
    Foreground,
    Orphan,
}

/// What to do with the object.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Keep,
    /// Something is not known yet; ask again later.
    Later,
    Delete(Fate),
    /// Take references to owners that are gone, or that wait, off an object another owner keeps alive.
    Disown(Value),
    /// Its dependents are gone: let it go.
    RemoveFinalizer(Value),
    /// Its dependents must go first; look at them.
    WaitFor(Vec<Arc<str>>),
    /// Two objects wait for each other: stop blocking, then delete in the foreground.
    BreakCircle(Value),
}

/// Decides about the object with `live` metadata. `fate` answers about each owner.
pub fn judge(graph: &Graph, live: &ObjectMeta, fate: impl Fn(&Owner) -> Liveness) -> Verdict {
    let uid = live.uid.as_deref().unwrap_or("");
    let deleting = live.deletion_timestamp.is_some();
    let has = |name: &str| live.finalizers.iter().flatten().any(|one| one == name);
    if deleting && has(FOREGROUND) {
        let blocking = graph.blocking(uid);
        if blocking.is_empty() {
            return Verdict::RemoveFinalizer(without_finalizer(live, FOREGROUND));
        }
        let idle = blocking.iter().filter(|object| !object.foreground);
        return Verdict::WaitFor(idle.map(|object| object.identity.uid.clone()).collect());
    }
    if deleting {
        return Verdict::Keep;
    }
    let references: &[OwnerReference] = live.owner_references.as_deref().unwrap_or(&[]);
    let (mut living, mut leaving) = (Vec::new(), Vec::new());
    let mut waiting = false;
    for reference in references {
        match fate(&Owner::of(reference)) {
            Liveness::Unknown => return Verdict::Later,
            Liveness::Lives => living.push(reference),
            Liveness::Gone => leaving.push(reference),
            Liveness::WaitsForDependents => {
                waiting = true;
                leaving.push(reference);
            }
        }
    }
    if leaving.is_empty() {
        return Verdict::Keep;
    }
    if !living.is_empty() {
        return Verdict::Disown(json!({ "metadata": {
            "uid": live.uid, "resourceVersion": live.resource_version, "ownerReferences": living } }));
    }
    if waiting && !graph.dependents(uid).is_empty() {
        if graph.dependents(uid).iter().any(|object| object.foreground) {
            return Verdict::BreakCircle(unblocked(live));
        }
        return Verdict::Delete(Fate::Foreground);
    }
    Verdict::Delete(if has(ORPHAN) {
        Fate::Orphan
    } else if has(FOREGROUND) {
        Fate::Foreground
    } else {
        Fate::Background
    })
}

/// The merge patch that takes `finalizer` off.
fn without_finalizer(live: &ObjectMeta, finalizer: &str) -> Value {
    let left: Vec<&String> = live.finalizers.iter().flatten().filter(|one| *one != finalizer).collect();
    json!({ "metadata": { "uid": live.uid, "resourceVersion": live.resource_version, "finalizers": left } })
}

/// The merge patch after which the object blocks none of its owners.
pub fn unblocked(live: &ObjectMeta) -> Value {
    let references = live.owner_references.iter().flatten().cloned();
    let freed: Vec<OwnerReference> =
        references.map(|reference| OwnerReference { block_owner_deletion: Some(false), ..reference }).collect();
    json!({ "metadata": { "uid": live.uid, "resourceVersion": live.resource_version, "ownerReferences": freed } })
}

/// The merge patches of an orphaning deletion: for a dependent without its owner `uid`, or, on the owner itself, without
/// the finalizer.
pub fn orphan_patch(live: &ObjectMeta, uid: &str) -> Value {
    if live.uid.as_deref() == Some(uid) {
        return without_finalizer(live, ORPHAN);
    }
    let left: Vec<&OwnerReference> = live.owner_references.iter().flatten().filter(|one| one.uid != uid).collect();
    json!({ "metadata": { "uid": live.uid, "resourceVersion": live.resource_version, "ownerReferences": left } })
}
