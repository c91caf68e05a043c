//! update: the whole object anew, if it is still the one the client read.

use std::sync::Arc;

use kinds::{Cause, FieldError, Kind};
use serde_json::Value;

use super::{
    create,
    write::{self, Rules, Target},
};
use crate::{
    call::{Answer, Call},
    core::{Core, text},
    decode,
    error::ApiError,
};

/// Resources whose PUT creates a missing object (upstream's `AllowCreateOnUpdate`).
const CREATED_BY_UPDATE: [(&str, &str); 9] = [
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("", "services"),
    ("coordination.k8s.io", "leases"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
];

/// Resources whose PUT must name the version it replaces (upstream's `AllowUnconditionalUpdate` is false).
const ALWAYS_CONDITIONAL: [(&str, &str); 8] = [
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("coordination.k8s.io", "leases"),
    ("policy", "poddisruptionbudgets"),
];

pub(crate) async fn update(core: &Core, call: &Call, kind: &Arc<Kind>, rules: Rules) -> Result<Answer, ApiError> {
    let mut object = decode::object(call, kind)?;
    write::single_owners(call, &mut object, "");
    check_name(call, &object)?;
    let listed = |table: &[(&str, &str)]| table.contains(&(kind.group.as_str(), kind.plural.as_str()));
    let target = target(call, kind);
    if call.info.subresource.is_empty() {
        let conditional = !text(&object, "/metadata/resourceVersion").is_empty();
        let missing = core.store.get(&target.key()).is_none();
        if missing && listed(&CREATED_BY_UPDATE) && !conditional {
            // creating needs the permission to create, not only to update
            core.permits(&call.user, "create", kind, &call.info.namespace, &call.info.name)?;
            let written = create::insert(core, call, kind, object, Some(&call.manager)).await?;
            return Ok(create::answer(kind, 201, written));
        }
        if !missing && !conditional && (kind.custom.is_some() || listed(&ALWAYS_CONDITIONAL)) {
            let fault = FieldError {
                path: "metadata.resourceVersion".to_owned(),
                kind: Cause::Invalid,
                detail: "must be specified for an update".to_owned(),
                value: Some(Value::from(0)),
            };
            return Err(ApiError::invalid(kind, &call.info.name, &[fault]));
        }
    }
    let written = write::change(core, target, rules, |_| Ok(object.clone())).await?;
    Ok(create::answer(kind, 200, written))
}

pub(crate) fn target<'a>(call: &'a Call, kind: &'a Arc<Kind>) -> Target<'a> {
    Target {
        user: &call.user,
        kind,
        subresource: &call.info.subresource,
        namespace: &call.info.namespace,
        name: &call.info.name,
        dry_run: call.options.dry_run,
        manager: Some(&call.manager),
        call: Some(call),
    }
}

/// The object must be the one the path names.
pub(crate) fn check_name(call: &Call, object: &Value) -> Result<(), ApiError> {
    let (name, namespace) = (&call.info.name, &call.info.namespace);
    let given = text(object, "/metadata/name");
    if given.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    let given = text(object, "/metadata/namespace");
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(format!(
            "the namespace of the object ({given}) does not match the namespace on the request ({namespace})"
        )));
    }
    Ok(())
}
