//! patch: a change described by the client, applied to the newest version.

use std::sync::Arc;

use kinds::{Kind, TypeId};
use serde_json::Value;

use super::{
    apply, create, update,
    write::{self, Rules, Written},
};
use crate::{
    call::{Answer, Call},
    core::Core,
    decode::{self, Blame},
    error::ApiError,
    negotiate::{self, CUSTOM_PATCHES, JSON_PATCH, MERGE_PATCH, PATCHES, STRATEGIC_PATCH},
    options::FieldValidation,
};

/// A patch document, read once and applied as often as the loop needs.
pub(crate) struct Patch {
    dialect: Dialect,
    document: Value,
    /// What strict reading had to say of it.
    complaints: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
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
        let lenient = call.options.field_validation == FieldValidation::Ignore;
        let parsed = decode::json(&call.body)
            .map_err(|fault| fault.trim_start_matches("json parse error: ").to_owned())
            .and_then(|parsed| match dialect.misfit(&parsed.value, lenient) {
                Some(why) => Err(why),
                None => Ok(parsed),
            });
        let parsed = parsed.map_err(|fault| {
            let plain = lenient || dialect == Dialect::Strategic;
            let message = if plain { fault } else { format!("error decoding patch: {fault}") };
            ApiError::bad_request(message)
        })?;
        let mut complaints: Vec<String> =
            parsed.duplicates.iter().map(|path| format!("duplicate field \"{path}\"")).collect();
        if dialect == Dialect::Json {
            complaints.extend(unknown_members(&parsed.value));
            complaints.iter_mut().for_each(|complaint| complaint.insert_str(0, "json patch "));
        }
        Ok(Self { dialect, document: parsed.value, complaints })
    }

    pub(crate) fn apply(&self, schema: TypeId, old: &Value) -> Result<Value, ApiError> {
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
            400 => ApiError::bad_request(error.to_string()),
            _ => apply::misfit(error.to_string()),
        })
    }

    /// What to say if `made` is no object of its kind.
    pub(crate) fn blame(&self, made: &Value) -> Blame<'_> {
        let strategic = self.dialect == Dialect::Strategic;
        let shown = if strategic { kinds::patch::printed(&self.document) } else { made.to_string() };
        Blame { shown, complaints: &self.complaints, strategic }
    }
}

impl Dialect {
    /// Why a document is no patch of this dialect, as Go's decoder says it.
    fn misfit(self, document: &Value, lenient: bool) -> Option<String> {
        let (one, all) = if lenient {
            ("jsonpatch.Operation", "jsonpatch.Patch")
        } else {
            ("handlers.jsonPatchOp", "[]handlers.jsonPatchOp")
        };
        let (found, wanted) = match (self, document) {
            (Self::Json, Value::Array(operations)) => {
                (operations.iter().find(|operation| !operation.is_object() && !operation.is_null())?, one)
            }
            (Self::Json, other) => (other, all),
            (_, Value::Object(_)) => return None,
            (_, other) => (other, "map[string]interface {}"),
        };
        Some(format!("json: cannot unmarshal {} into Go value of type {wanted}", decode::json_type(found)))
    }
}

/// Members of operations that no operation has.
fn unknown_members(operations: &Value) -> impl Iterator<Item = String> {
    const KNOWN: [&str; 4] = ["op", "path", "from", "value"];
    let operations = operations.as_array().into_iter().flatten().enumerate();
    let strays = operations.flat_map(|(index, operation)| {
        let names = operation.as_object().into_iter().flatten().map(|(name, _)| name);
        let strays = names.filter(|name| !KNOWN.contains(&name.as_str()));
        strays.map(move |name| format!("unknown field \"[{index}].{name}\"")).collect::<Vec<_>>()
    });
    strays.collect::<Vec<_>>().into_iter()
}

pub(crate) async fn patch(core: &Core, call: &Call, kind: &Arc<Kind>, rules: Rules) -> Result<Answer, ApiError> {
    if negotiate::is_apply(&call.content_type) {
        return apply::apply(core, call, kind, rules).await;
    }
    let patch = Patch::read(call, accepted(kind))?;
    let written = write::change(core, update::target(call, kind), rules, |old| {
        let mut new = patch.apply(kind.schema, old)?;
        let blame = patch.blame(&new);
        identify(call, kind, &mut new, old)?;
        blame.check(call, kind, &mut new)?;
        write::single_owners(call, &mut new, " after mutating admission happens");
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
