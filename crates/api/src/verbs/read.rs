//! get: the newest version of one object.

use std::sync::Arc;

use kinds::Kind;

use super::fresh;
use crate::{
    call::{Answer, Call},
    core::{self, Core},
    error::ApiError,
};

pub(crate) async fn get(core: &Core, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let version = &call.options.resource_version;
    if !version.is_empty() {
        fresh::reach(core, kind, parse_revision(version)?).await?;
    }
    let record = core
        .store
        .get(&core::key(kind, &call.info.namespace, &call.info.name))
        .ok_or_else(|| ApiError::not_found(kind, &call.info.name))?;
    Ok(Answer::Record { code: 200, kind: kind.clone(), record })
}

pub(crate) fn parse_revision(text: &str) -> Result<u64, ApiError> {
    // upstream forgets to make a 4xx of it
    revision(text).map_err(|why| ApiError::new(500, "", why))
}

/// A revision, or upstream's words for one that is none.
pub(crate) fn revision(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        kinds::FieldError::invalid("resourceVersion", text, why).to_string()
    })
}
