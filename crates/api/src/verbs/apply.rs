//! apply: the client says what its part of the object is; the object is made, or changed to hold that part.
//!
//! Ownership is settled here, before admission, so what admission adds belongs to nobody. An apply that changes nothing
//! writes nothing.

use std::sync::Arc;

use kinds::{
    Kind,
    managed::{self, Application, ApplyError, Scope},
};
use serde_json::{Value, json};

use super::{
    create, update,
    write::{self, Rules},
};
use crate::{
    call::{Answer, Call},
    core::{Core, text},
    decode::Applied,
    error::ApiError,
};

/// Times to look again whether the object is there, while others make and delete it.
const TRIES: usize = 8;

pub(crate) async fn apply(core: &Core, call: &Call, kind: &Arc<Kind>, rules: Rules) -> Result<Answer, ApiError> {
    let applied = Applied::read(call)?;
    let (catalog, version) = (core.catalog(), kind.api_version());
    let scope = Scope::new(&catalog, kind, &version, &call.info.subresource);
    let mut target = update::target(call, kind);
    target.manager = None;
    let make = |live: &Value| {
        let mut new = merge(&scope, call, live, &applied.config)?;
        applied.complain(call)?;
        kinds::coerce(kind, &new).map_err(|error| misfit(error.to_string()))?;
        create::settle_namespace(call, kind, &mut new)?;
        update::check_name(call, &new)?;
        Ok(new)
    };
    for _ in 0..TRIES {
        let missing = core.store.get(&target.key()).is_none();
        let tried = if missing && call.info.subresource.is_empty() {
            let object = fresh(kind, call, make(&json!({ "apiVersion": version, "kind": kind.kind }))?)?;
            core.permits(&call.user, "create", kind, &call.info.namespace, &call.info.name)?;
            create::insert(core, call, kind, object, None).await.map(|written| (201, written))
        } else {
            write::change(core, target, rules, make).await.map(|written| (200, written))
        };
        match tried {
            Ok((code, written)) => return Ok(create::answer(kind, code, written)),
            // made or deleted in between
            Err(error) if missing && error.is("AlreadyExists") => {}
            Err(error) if !missing && error.is("NotFound") && call.info.subresource.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    Err(ApiError::modified(kind, &call.info.name))
}

/// `live` with the configuration applied, its owners included.
pub(crate) fn merge(scope: &Scope<'_>, call: &Call, live: &Value, config: &Value) -> Result<Value, ApiError> {
    let now = base::time::rfc3339(base::time::now());
    let (manager, force) = (call.manager.as_str(), call.options.force());
    managed::apply(scope, live, &Application { config, manager, force, now: &now }).map_err(refused)
}

fn refused(error: ApplyError) -> ApiError {
    let message = error.to_string();
    match error {
        ApplyError::BadRequest(_) => ApiError::bad_request(message),
        ApplyError::Misfit(_) => misfit(message),
        ApplyError::Conflict(conflicts) => {
            conflicts.into_iter().fold(ApiError::new(409, "Conflict", message), |error, conflict| {
                let why = format!("conflict with {}", conflict.manager);
                error.with_cause("FieldManagerConflict", why, &conflict.path)
            })
        }
    }
}

/// Upstream gives these no reason, and the code of a fault of its own.
pub(crate) fn misfit(message: String) -> ApiError {
    ApiError::new(500, "", message)
}

/// An object that an apply makes: one that names a uid means another one, which is gone.
fn fresh(kind: &Kind, call: &Call, mut object: Value) -> Result<Value, ApiError> {
    let uid = text(&object, "/metadata/uid");
    if !uid.is_empty() {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(ApiError::conflict(kind, &call.info.name, &why));
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    Ok(object)
}
