//! patch: a change described by the client, applied to the newest version.

use std::sync::Arc;

use kinds::Kind;
use serde_json::Value;

use super::{
    apply, create, update,
    write::{self, Rules, Written},
};
use crate::{
    call::{Answer, Call},
    core::Core,
    decode,
    error::ApiError,
    negotiate::{self, CUSTOM_PATCHES, JSON_PATCH, MERGE_PATCH, PATCHES, STRATEGIC_PATCH},
};

/// A patch document, read once and applied as often as the loop needs.
pub(crate) struct Patch {
    dialect: Dialect,
    document: Value,
    duplicates: Vec<String>,
}

enum Dialect {
    Json,
    Merge,
    Strategic,
}

impl Patch {
    /// `accepted` are the media types that the kind takes.
    pub(crate) fn read(call: &Call, accepted: &[&str]) -> Result<Self, ApiError> {
        let dialect = match call.content_type.as_str() {
            JSON_PATCH => Dialect::Json,
            MERGE_PATCH => Dialect::Merge,
            STRATEGIC_PATCH if accepted.contains(&STRATEGIC_PATCH) => Dialect::Strategic,
            other => return Err(ApiError::unsupported_media_type(other, accepted)),
        };
        let parsed = decode::json(&call.body).map_err(|fault| {
            ApiError::bad_request(format!("error decoding patch: {}", fault.trim_start_matches("json parse error: ")))
        })?;
        let fits = match dialect {
            Dialect::Json => parsed.value.is_array(),
            Dialect::Merge | Dialect::Strategic => parsed.value.is_object(),
        };
        if !fits {
            let wanted = if matches!(dialect, Dialect::Json) { "an array of operations" } else { "an object" };
            return Err(ApiError::bad_request(format!("error decoding patch: a {} is {wanted}", call.content_type)));
        }
        Ok(Self { dialect, document: parsed.value, duplicates: parsed.duplicates })
    }

    pub(crate) fn apply(&self, kind: &Kind, old: &Value) -> Result<Value, ApiError> {
        self.apply_typed(kind.schema, old)
    }

    pub(crate) fn apply_typed(&self, schema: kinds::schema::TypeId, old: &Value) -> Result<Value, ApiError> {
        let patched = match self.dialect {
            Dialect::Json => kinds::patch::json(old, &self.document),
            Dialect::Merge => Ok(kinds::patch::merge(old, &self.document)),
            Dialect::Strategic => kinds::patch::strategic(schema, old, &self.document),
        };
        patched.map_err(|error| match error.code() {
            413 => ApiError::new(413, "RequestEntityTooLarge", error.to_string()),
            422 => {
                let message = "the server rejected our request due to an error in our request";
                ApiError::new(422, "Invalid", message).with_cause("", error.to_string(), "")
            }
            _ => ApiError::bad_request(error.to_string()),
        })
    }
}

pub(crate) async fn patch(core: &Core, call: &Call, kind: &Arc<Kind>, rules: Rules) -> Result<Answer, ApiError> {
    if negotiate::is_apply(&call.content_type) {
        return apply::apply(core, call, kind, rules).await;
    }
    let patch = Patch::read(call, accepted(kind))?;
    let written = write::change(core, update::target(call, kind), rules, |old| {
        let mut new = patch.apply(kind, old)?;
        identify(call, kind, &mut new, old)?;
        decode::patched(call, kind, &mut new, &patch.duplicates)?;
        Ok(new)
    })
    .await?;
    Ok(match written {
        Written::Record(record) => Answer::Record { code: 200, kind: kind.clone(), record },
        dry @ Written::Dry(_) => create::answer(kind, 200, dry),
    })
}

/// A custom resource has no rules for a strategic merge.
pub(crate) fn accepted(kind: &Kind) -> &'static [&'static str] {
    if kind.custom.is_some() { &CUSTOM_PATCHES } else { &PATCHES }
}

/// A patch may not turn an object into another one.
fn identify(call: &Call, kind: &Kind, new: &mut Value, old: &Value) -> Result<(), ApiError> {
    if !new.is_object() {
        return Err(ApiError::bad_request(format!("the patch leaves no {}", kind.kind)));
    }
    for field in ["apiVersion", "kind"] {
        let (given, held) = (new.get(field).and_then(Value::as_str), old.get(field).and_then(Value::as_str));
        if given != held && given.is_some_and(|given| !given.is_empty()) {
            return Err(ApiError::bad_request(format!(
                "{field} in the patch ({}) does not match the object ({})",
                given.unwrap_or_default(),
                held.unwrap_or_default()
            )));
        }
        new[field] = old[field].clone();
    }
    update::check_name(call, new)
}
