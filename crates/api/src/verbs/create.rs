//! create: a new object under a given or generated name.

use std::sync::Arc;

use kinds::Kind;
use serde_json::Value;
use store::{CommitError, Expect, Write};

use super::write::{self, Attempt, Target, Written};
use crate::{
    admission::Operation,
    aggregate::follow,
    call::{Answer, Call},
    core::{self, Core, text},
    custom::reading,
    decode,
    error::ApiError,
    names,
};

/// Generated names to try before giving up.
const NAMES: usize = 8;

pub(crate) async fn create(core: &Core, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let mut object = decode::object(call, kind)?;
    write::single_owners(call, &mut object, "");
    let written = insert(core, call, kind, object, Some(&call.manager)).await?;
    Ok(answer(kind, 201, written))
}

pub(crate) fn answer(kind: &Arc<Kind>, code: u16, written: Written) -> Answer {
    match written {
        Written::Record(record) => Answer::Record { code, kind: kind.clone(), record },
        Written::Dry(value) => Answer::Unstored { code, kind: kind.clone(), value },
    }
}

/// Stores a decoded object; also how an update creates where its kind allows that.
///
/// `manager` is who owns its fields; none if it says so itself.
pub(crate) async fn insert(
    core: &Core,
    call: &Call,
    kind: &Arc<Kind>,
    mut object: Value,
    manager: Option<&str>,
) -> Result<Written, ApiError> {
    if kind.custom.as_ref().is_some_and(|custom| custom.terminating) {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(ApiError::denied(kind, text(&object, "/metadata/name"), why));
    }
    settle_namespace(call, kind, &mut object)?;
    if !text(&object, "/metadata/resourceVersion").is_empty() {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let generate = text(&object, "/metadata/generateName").to_owned();
    let generated = text(&object, "/metadata/name").is_empty() && !generate.is_empty();
    let mut taken = String::new();
    // a name that was given is tried again too if something is written beside the object, which may have been the conflict
    let tries = if generated || core.access.services.accompanies(kind) { NAMES } else { 1 };
    for left in (0..tries).rev() {
        let mut candidate = if left == 0 { std::mem::take(&mut object) } else { object.clone() };
        if generated {
            candidate["metadata"]["name"] = Value::String(base::names::generate(&generate));
        }
        text(&candidate, "/metadata/name").clone_into(&mut taken);
        if let Some(written) = try_insert(core, call, kind, candidate, manager).await? {
            return Ok(written);
        }
        if !generated && core.get(kind, &call.info.namespace, &taken).is_some() {
            break;
        }
    }
    let mut error = ApiError::already_exists(kind, &taken);
    if !generate.is_empty() {
        error = error.with_retry_after(1);
        error.message.push_str(", the server was not able to generate a unique name for the object");
    }
    let held = core.get(kind, &call.info.namespace, &taken);
    if held.is_some_and(|held| !text(&held, "/metadata/deletionTimestamp").is_empty()) {
        error.message.insert_str(0, "object is being deleted: ");
    }
    Err(error)
}

/// One try; none if the name is taken.
async fn try_insert(
    core: &Core,
    call: &Call,
    kind: &Arc<Kind>,
    object: Value,
    manager: Option<&str>,
) -> Result<Option<Written>, ApiError> {
    let name = text(&object, "/metadata/name").to_owned();
    let target = Target {
        user: &call.user,
        kind,
        subresource: "",
        namespace: &call.info.namespace,
        name: &name,
        dry_run: call.options.dry_run,
        manager,
        call: Some(call),
    };
    let mut attempt = Attempt::new(core, &target, Operation::Create);
    attempt.object = Some(object);
    let given = target.detach(attempt.object());
    write::complete(kind, attempt.object());
    target.own(core, &Value::Null, attempt.object(), given);
    names::birth(attempt.object());
    attempt.mutate().await?;
    let object = attempt.object();
    write::complete(kind, object);
    kinds::strategy::profiles_of_annotations(kind, object).into_iter().for_each(|warning| call.warn(warning));
    kinds::strategy::prepare_create(kind, object);
    follow::born(kind, object);
    let errors = kinds::validate_create(kind, object);
    if !errors.is_empty() {
        return Err(ApiError::invalid(kind, &name, &errors));
    }
    kinds::structural::warnings(kind, object, None).into_iter().for_each(|warning| call.warn(warning));
    kinds::warnings(kind, object, None).into_iter().for_each(|warning| call.warn(warning));
    attempt.validate().await?;

    let key = core::key(kind, target.namespace, &name);
    if target.dry_run {
        if core.store.get(&key).is_some() {
            return Ok(None);
        }
        let object = attempt.object().clone();
        return Ok(Some(Written::Dry(object)));
    }
    let beside = core.access.services.beside(&key, None, Some(attempt.object()));
    let value = core.fitted(kind, attempt.object(), manager.is_none()).await?;
    let mut writes = vec![Write::Put { key, value, expect: Expect::Absent }];
    writes.extend(beside);
    match core.commit(writes).await {
        Ok(records) => {
            attempt.settle(true);
            let record = write::only(records)?;
            reading::written(kind, &record);
            Ok(Some(Written::Record(record)))
        }
        Err(CommitError::Conflict { .. }) => Ok(None),
        Err(error) => Err(write::refused(error)),
    }
}

/// The namespace of the path is the object's; another one in the object is a mistake.
pub(crate) fn settle_namespace(call: &Call, kind: &Kind, object: &mut Value) -> Result<(), ApiError> {
    let given = text(object, "/metadata/namespace");
    if !kind.namespaced {
        // tools send namespace: "" or even a default one for cluster-scoped objects; only a real one is wrong
        if !given.is_empty() {
            return Err(mismatch());
        }
        return Ok(());
    }
    let namespace = &call.info.namespace;
    if namespace.is_empty() {
        return Err(ApiError::wrong_method());
    }
    if !given.is_empty() && given != namespace {
        return Err(mismatch());
    }
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = Value::Object(serde_json::Map::new());
    }
    object["metadata"]["namespace"] = Value::String(namespace.clone());
    Ok(())
}

fn mismatch() -> ApiError {
    ApiError::bad_request("the namespace of the provided object does not match the namespace sent on the request")
}
