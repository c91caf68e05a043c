//! scale: the replica count of a workload as an autoscaling/v1 Scale.

use std::sync::Arc;

use kinds::{Cause, FieldError, Kind};
use serde_json::Value;

use super::{
    patch::Patch,
    update,
    write::{self, Rules, Written},
};
use crate::{
    call::{Answer, Call},
    core::{self, Core, text},
    decode,
    error::ApiError,
};

pub(crate) async fn scale(core: &Core, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let written = match call.info.verb.as_str() {
        "get" => {
            let record = core.store.get(&core::key(kind, &call.info.namespace, &call.info.name));
            let record = record.ok_or_else(|| ApiError::not_found(kind, &call.info.name))?;
            return answer(kind, &core.decode(kind, &record));
        }
        "update" => {
            let wanted = decode::typed(call, "autoscaling/v1", "Scale")?;
            update::check_name(call, &wanted)?;
            change(core, call, kind, |_| Ok(wanted.clone())).await?
        }
        "patch" => {
            let patch = Patch::read(call)?;
            let schema = kinds::schema::find("api.autoscaling.v1.Scale")
                .ok_or_else(|| ApiError::internal("the schema knows no Scale"))?;
            change(core, call, kind, |scale| patch.apply_typed(schema, scale)).await?
        }
        _ => return Err(ApiError::wrong_method()),
    };
    match written {
        Written::Record(record) => answer(kind, &core.decode(kind, &record)),
        Written::Dry(object) => answer(kind, &object),
    }
}

fn answer(kind: &Kind, object: &Value) -> Result<Answer, ApiError> {
    let value = kinds::strategy::scale_get(kind, object)
        .ok_or_else(|| ApiError::internal(format!("{} has no replica count", kind.kind)))?;
    Ok(Answer::Object { code: 200, value })
}

async fn change(
    core: &Core,
    call: &Call,
    kind: &Arc<Kind>,
    mut wanted: impl FnMut(&Value) -> Result<Value, ApiError> + Send,
) -> Result<Written, ApiError> {
    write::change(core, update::target(call, kind), Rules::OBJECT, |old| {
        let scale = kinds::strategy::scale_get(kind, old)
            .ok_or_else(|| ApiError::internal(format!("{} has no replica count", kind.kind)))?;
        let wanted = wanted(&scale)?;
        let version = text(&wanted, "/metadata/resourceVersion");
        if !version.is_empty() && version != text(old, "/metadata/resourceVersion") {
            return Err(ApiError::modified(kind, &call.info.name));
        }
        let replicas = replicas(&call.info.name, &wanted)?;
        let mut new = old.clone();
        kinds::strategy::scale_set(kind, &mut new, replicas);
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
