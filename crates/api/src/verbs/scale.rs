//! scale: the replica count of a workload as an autoscaling/v1 Scale.

use std::sync::Arc;

use kinds::{
    Cause, FieldError, Kind,
    managed::{self, Scope},
};
use serde_json::Value;

use super::{
    apply,
    patch::{self, Patch},
    update,
    write::{self, Rules, Written},
};
use crate::{
    call::{Answer, Call},
    core::{self, Core, text},
    decode::{self, Applied},
    error::ApiError,
    negotiate,
};

pub(crate) async fn scale(core: &Core, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let written = match call.info.verb.as_str() {
        "get" => {
            let record = core.store.get(&core::key(kind, &call.info.namespace, &call.info.name));
            let record = record.ok_or_else(|| ApiError::not_found(kind, &call.info.name))?;
            let object = core.decode(kind, &*core.read(kind, record).await?);
            if let Some(why) = kinds::strategy::scale_fault(kind, &object) {
                return Err(ApiError::internal(why));
            }
            return answer(kind, &object);
        }
        "update" => {
            let wanted = decode::typed(call, "autoscaling/v1", "Scale")?;
            update::check_name(call, &wanted)?;
            change(core, call, kind, |scale| Ok(owned(call, scale, wanted.clone()))).await?
        }
        "patch" if negotiate::is_apply(&call.content_type) => {
            let applied = Applied::read(call)?;
            let scope = Scope::scale();
            change(core, call, kind, |scale| {
                let wanted = apply::merge(&scope, call, scale, &applied.config)?;
                applied.complain(call)?;
                update::check_name(call, &wanted)?;
                Ok(wanted)
            })
            .await?
        }
        "patch" => {
            let patch = Patch::read(call, patch::accepted(kind))?;
            let schema = kinds::schema::find("api.autoscaling.v1.Scale")
                .ok_or_else(|| ApiError::internal("the schema knows no Scale"))?;
            change(core, call, kind, |scale| {
                let mut wanted = patch.apply(schema, scale)?;
                patch.blame(&wanted).check_type(call, schema, &mut wanted)?;
                update::check_name(call, &wanted)?;
                Ok(owned(call, scale, wanted))
            })
            .await?
        }
        _ => return Err(ApiError::wrong_method()),
    };
    match written {
        Written::Record(record) => answer(kind, &core.decode(kind, &*core.read(kind, record).await?)),
        Written::Dry(object) => answer(kind, &object),
    }
}

fn answer(kind: &Arc<Kind>, object: &Value) -> Result<Answer, ApiError> {
    let value = kinds::strategy::scale_get(kind, object)
        .ok_or_else(|| ApiError::internal(format!("{} has no replica count", kind.kind)))?;
    Ok(Answer::Unstored { code: 200, kind: kind.clone(), value })
}

/// The Scale with its owners after a write.
fn owned(call: &Call, scale: &Value, mut wanted: Value) -> Value {
    let now = base::time::rfc3339(base::time::now());
    let given = managed::detach(&mut wanted);
    managed::update(&Scope::scale(), scale, &mut wanted, given, &call.manager, &now);
    wanted
}

/// Replaces the replica count. Ownership is settled in the Scale, and then carried over to the object.
async fn change(
    core: &Core,
    call: &Call,
    kind: &Arc<Kind>,
    mut wanted: impl FnMut(&Value) -> Result<Value, ApiError> + Send,
) -> Result<Written, ApiError> {
    let owners = managed::Scale::new(&core.catalog(), kind);
    let mut target = update::target(call, kind);
    target.manager = None;
    write::change(core, target, Rules::OBJECT, |old| {
        let mut scale = kinds::strategy::scale_get(kind, old)
            .ok_or_else(|| ApiError::internal(format!("{} has no replica count", kind.kind)))?;
        owners.to_scale(old, &mut scale);
        let wanted = wanted(&scale)?;
        let version = text(&wanted, "/metadata/resourceVersion");
        if !version.is_empty() && version != text(old, "/metadata/resourceVersion") {
            return Err(ApiError::modified(kind, &call.info.name));
        }
        let replicas = replicas(&call.info.name, &wanted)?;
        let mut new = old.clone();
        kinds::strategy::scale_set(kind, &mut new, replicas);
        owners.to_object(&mut new, &wanted);
        Ok(new)
    })
    .await
}

fn replicas(name: &str, scale: &Value) -> Result<i64, ApiError> {
    let value = scale.pointer("/spec/replicas").unwrap_or(&Value::Null);
    let replicas = match value {
        Value::Null => Some(0),
        value => value.as_i64(),
    };
    match replicas {
        Some(replicas) if (0..=i64::from(i32::MAX)).contains(&replicas) => Ok(replicas),
        _ => {
            let fault = FieldError {
                path: "spec.replicas".to_owned(),
                kind: Cause::Invalid,
                detail: "must be greater than or equal to 0".to_owned(),
                value: Some(value.clone()),
            };
            Err(ApiError::invalid_kind("autoscaling", "Scale", name, &[fault]))
        }
    }
}
