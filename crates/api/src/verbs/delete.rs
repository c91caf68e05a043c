//! delete and deletecollection: at once, gracefully, or held by finalizers.
//!
//! An object goes when nobody holds it: no finalizers (for a namespace also none in its spec) and no grace period still
//! running. Until then a delete only marks it; the update or patch that lets go of it last removes it (see
//! [`is_over`]), so that "gone" is decided in one place.

use std::sync::Arc;

use futures::StreamExt as _;
use kinds::Kind;
use serde_json::{Map, Value, json};
use store::{CommitError, Expect, Record, Write};

use super::{
    list, update,
    write::{self, Attempt, Target},
};
use crate::{
    admission::Operation,
    call::{Answer, Call},
    core::{Core, text},
    decode,
    error::{ApiError, group_resource},
    options::DeleteOptions,
    select::{self, Selection},
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Resources whose delete answers with the object rather than a Status (upstream's `ReturnDeletedObject`).
const RETURNED: [(&str, &str); 9] = [
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
];

pub(crate) enum Deleted {
    Gone(Arc<Record>),
    /// Marked, or already on its way.
    Pending(Arc<Record>),
    Dry(Value),
}

pub(crate) async fn delete(core: &Core, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let options = options(call)?;
    let mut target = update::target(call, kind);
    target.dry_run = options.dry_run;
    let deleted = remove(core, target, &options).await?;
    Ok(answer(kind, &options, deleted))
}

/// The options in the body, or else in the query.
pub(crate) fn options(call: &Call) -> Result<DeleteOptions, ApiError> {
    if call.body.is_empty() {
        return call.options.delete_options();
    }
    let mut options = DeleteOptions::from_body(&decode::delete_options(call)?)?;
    options.dry_run |= call.options.dry_run;
    Ok(options)
}

pub(crate) fn answer(kind: &Arc<Kind>, options: &DeleteOptions, deleted: Deleted) -> Answer {
    let returned = RETURNED.contains(&(kind.group.as_str(), kind.plural.as_str()));
    match deleted {
        Deleted::Gone(record) if !returned => Answer::Object { code: 200, value: success(kind, &record) },
        Deleted::Gone(record) => Answer::Record { code: 200, kind: kind.clone(), record },
        Deleted::Pending(record) => {
            let code = if options.orphan_dependents == Some(false) { 202 } else { 200 };
            Answer::Record { code, kind: kind.clone(), record }
        }
        Deleted::Dry(value) => Answer::Unstored { code: 200, kind: kind.clone(), value },
    }
}

fn success(kind: &Kind, record: &Record) -> Value {
    let object = crate::core::parse(record);
    let mut details = json!({
        "name": text(&object, "/metadata/name"),
        "kind": kind.plural,
        "uid": text(&object, "/metadata/uid"),
    });
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

/// Removes or marks one object; starts over when another write came first.
pub(crate) async fn remove(core: &Core, target: Target<'_>, options: &DeleteOptions) -> Result<Deleted, ApiError> {
    let key = target.key();
    loop {
        let record = core.store.get(&key).ok_or_else(|| ApiError::not_found(target.kind, target.name))?;
        let old = core.decode(target.kind, &*core.read(target.kind, record.clone()).await?);
        check_preconditions(target, options, &old)?;
        if let Some(deleted) = try_remove(core, target, options, &record, &old).await? {
            return Ok(deleted);
        }
    }
}

pub(crate) fn check_preconditions(target: Target<'_>, options: &DeleteOptions, old: &Value) -> Result<(), ApiError> {
    let refuse = |what: &str, wanted: &str, held: &str, guess: &str| {
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({held}). The object might \
             have been {guess}"
        );
        // upstream names the kind here where it names the resource elsewhere
        let mut error = ApiError::conflict(target.kind, target.name, &why);
        error.details.kind.clone_from(&target.kind.kind);
        let resource = group_resource(target.kind);
        error.message =
            error.message.replacen(&resource, &resource.replacen(&target.kind.plural, &target.kind.kind, 1), 1);
        Err(error)
    };
    let (uid, version) = (text(old, "/metadata/uid"), text(old, "/metadata/resourceVersion"));
    match (&options.uid, &options.resource_version) {
        (Some(wanted), _) if wanted != uid => refuse("UID", wanted, uid, "deleted and then recreated"),
        (_, Some(wanted)) if wanted != version => refuse("ResourceVersion", wanted, version, "modified"),
        _ => Ok(()),
    }
}

async fn try_remove(
    core: &Core,
    target: Target<'_>,
    options: &DeleteOptions,
    record: &Arc<Record>,
    old: &Value,
) -> Result<Option<Deleted>, ApiError> {
    let kind = target.kind;
    let mut attempt = Attempt::new(core, &target, Operation::Delete);
    attempt.old = Some(old);
    attempt.mutate().await?;
    attempt.validate().await?;

    let mut object = old.clone();
    mark(kind, &mut object, options);
    let gone = is_over(kind, &object);
    if target.dry_run {
        return Ok(Some(Deleted::Dry(object)));
    }
    if !gone && object == *old {
        return Ok(Some(Deleted::Pending(record.clone())));
    }
    let (key, expect) = (target.key(), Expect::Revision(record.revision));
    let value = core.stored(kind, &object).await?;
    let write = if gone { Write::Delete { key, expect, last: value } } else { Write::Put { key, value, expect } };
    let mut writes = vec![write];
    if gone {
        writes.extend(core.access.services.beside(&target.key(), Some(old), None));
    }
    match core.commit(writes).await {
        Ok(records) => {
            attempt.settle(gone);
            let record = write::only(records)?;
            Ok(Some(if gone { Deleted::Gone(record) } else { Deleted::Pending(record) }))
        }
        Err(CommitError::Conflict { .. }) => Ok(None),
        Err(error) => Err(write::refused(error)),
    }
}

/// Puts the deletion into the object: deadline, grace, finalizers. A second delete may only shorten the grace period,
/// and changes the finalizers only if no grace period is running.
fn mark(kind: &Kind, object: &mut Value, options: &DeleteOptions) {
    let mut grace = grace(kind, object, options);
    let now = base::time::now();
    if kinds::strategy::mark_definition(kind, object, &base::time::rfc3339(now)) {
        return;
    }
    let finalizers = finalizers(kind, object, options);
    let spec_changes = object.pointer("/metadata/generation").and_then(Value::as_i64);
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let running = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    let marked = metadata.get("deletionTimestamp").and_then(Value::as_str).map(str::to_owned);
    if marked.is_some() && running > 0 && (options.grace_period_seconds.is_none() || grace >= running) {
        return;
    }
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), json!(finalizers));
    }
    let deadline = match &marked {
        Some(_) if running == 0 => return,
        // the new deadline counts from when the first delete was asked, but never lies in the past
        Some(deadline) => {
            let moved =
                base::time::parse(deadline).map(|at| at - base::time::SignedDuration::from_secs(running - grace));
            moved.ok().filter(|moved| *moved >= now).unwrap_or_else(|| {
                grace = grace.min(1);
                now
            })
        }
        None => now + base::time::SignedDuration::from_secs(grace),
    };
    metadata.insert("deletionTimestamp".to_owned(), json!(base::time::rfc3339(deadline)));
    metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    if let (Some(generation), None) = (spec_changes, marked) {
        metadata.insert("generation".to_owned(), json!(generation + 1));
    }
    if is_namespace(kind) {
        if !object.get("status").is_some_and(Value::is_object) {
            object["status"] = Value::Object(Map::new());
        }
        object["status"]["phase"] = json!("Terminating");
    }
}

/// The seconds an object may live on; 0 for kinds that know no grace.
fn grace(kind: &Kind, object: &Value, options: &DeleteOptions) -> i64 {
    match (kinds::strategy::deletion_grace(kind, object), options.grace_period_seconds) {
        (None, _) | (Some(0), _) => 0,
        (Some(_), Some(asked)) => {
            if asked < 0 {
                1
            } else {
                asked
            }
        }
        (Some(usual), None) => usual,
    }
}

/// The finalizers an object keeps under the asked propagation policy.
fn finalizers(kind: &Kind, object: &Value, options: &DeleteOptions) -> Vec<String> {
    let held = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    let held: Vec<String> = held.into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect();
    let asked = match (options.propagation.as_deref(), options.orphan_dependents) {
        (Some(policy), _) => Some(policy),
        (None, Some(true)) => Some("Orphan"),
        (None, Some(false)) => Some("Background"),
        (None, None) => None,
    };
    let policy = match asked {
        Some(policy) => policy,
        None if held.iter().any(|one| one == ORPHAN) => "Orphan",
        None if held.iter().any(|one| one == FOREGROUND) => "Foreground",
        None => kinds::strategy::default_propagation(kind),
    };
    let mut kept: Vec<String> = held.into_iter().filter(|one| one != ORPHAN && one != FOREGROUND).collect();
    match policy {
        "Orphan" => kept.push(ORPHAN.to_owned()),
        "Foreground" => kept.push(FOREGROUND.to_owned()),
        _ => {}
    }
    kept
}

fn is_namespace(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "namespaces"
}

/// A marked object that nobody holds any more.
pub(crate) fn is_over(kind: &Kind, object: &Value) -> bool {
    let marked = !text(object, "/metadata/deletionTimestamp").is_empty();
    let free = |pointer: &str| object.pointer(pointer).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let grace = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    marked && grace == 0 && free("/metadata/finalizers") && (!is_namespace(kind) || free("/spec/finalizers"))
}

/// So many objects of a collection are removed at a time: they share the writes to the disk.
const REMOVALS: usize = 64;

pub(crate) async fn collection(core: &Core, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    call.options.check_list(call.options.watch)?;
    let selection = Selection::parse(kind, &call.options, &call.info.name)?;
    let options = options(call)?;
    let list = list::select(core, call, kind, &selection).await?;
    let options = &options;
    let removals = list.records.iter().cloned().map(|record| async move {
        let (namespace, name) = select::place(kind, &record.key);
        let target = Target {
            user: &call.user,
            kind,
            subresource: "",
            namespace,
            name,
            dry_run: options.dry_run,
            manager: None,
            call: Some(call),
        };
        match remove(core, target, options).await {
            Ok(_) => Ok(()),
            Err(error) if error.is("NotFound") => Ok(()),
            Err(error) => {
                tracing::debug!(%error, name, "a delete of {} stopped here", group_resource(kind));
                Err(error)
            }
        }
    });
    let mut removals = futures::stream::iter(removals).buffer_unordered(REMOVALS);
    while let Some(removed) = removals.next().await {
        removed?;
    }
    drop(removals);
    Ok(Answer::List(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, object: Value, options: DeleteOptions) -> (bool, Value) {
        let catalog = kinds::Catalog::builtin();
        let kind = catalog.by_kind("", "v1", kind).expect("a row");
        let mut object = object;
        mark(kind, &mut object, &options);
        (is_over(kind, &object), object)
    }

    #[test]
    fn a_running_pod_gets_its_grace_and_a_second_delete_may_shorten_it() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
        let (gone, marked) = check("Pod", pod, DeleteOptions::default());
        assert!(!gone);
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
        let longer = DeleteOptions { grace_period_seconds: Some(60), ..DeleteOptions::default() };
        assert_eq!(check("Pod", marked.clone(), longer), (false, marked.clone()));
        let at_once = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        assert!(check("Pod", marked, at_once).0);
    }

    #[test]
    fn a_pod_that_never_ran_goes_at_once() {
        assert!(check("Pod", json!({"metadata": {"name": "a"}, "spec": {}}), DeleteOptions::default()).0);
    }

    #[test]
    fn finalizers_hold_an_object_and_foreground_adds_one() {
        let (gone, marked) = check("ConfigMap", json!({"metadata": {"finalizers": ["x/y"]}}), DeleteOptions::default());
        assert!(!gone && marked["metadata"]["deletionTimestamp"].is_string());
        let foreground = DeleteOptions { propagation: Some("Foreground".to_owned()), ..DeleteOptions::default() };
        let (gone, marked) = check("ConfigMap", json!({"metadata": {"name": "a"}}), foreground);
        assert!(!gone);
        assert_eq!(marked["metadata"]["finalizers"], json!([FOREGROUND]));
    }

    #[test]
    fn a_namespace_waits_for_the_finalizer_in_its_spec() {
        let namespace = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}});
        let (gone, marked) = check("Namespace", namespace, DeleteOptions::default());
        assert!(!gone);
        assert_eq!(marked["status"]["phase"], "Terminating");
    }
}
