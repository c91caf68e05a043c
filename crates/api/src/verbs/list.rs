//! list: a page of a kind's objects, at one revision.
//!
//! The continue token carries the revision of the first page and the last key shown, so that later pages show the same
//! state; when that state is no longer known the client gets 410 and a token that goes on with the newest state.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kinds::Kind;
use serde::{Deserialize, Serialize};
use store::{Page, Range, RangeError, Record};

use super::{fresh, read::revision};
use crate::{
    call::{Answer, Call, List},
    core::{self, Core},
    error::ApiError,
    select::Selection,
};

const TOO_OLD_TO_CONTINUE: &str = "The provided continue parameter is too old to display a consistent list result. You \
     can start a new list without the continue parameter, or use the continue token in this response to retrieve the \
     remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were \
     created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
const TOO_OLD: &str = "The resourceVersion for the provided list is too old.";
/// Records looked at per step when a selector may drop most of them.
const STEP: usize = 512;

/// Upstream's token: where the next page begins and at which revision (-1: the newest). Ours also says how many objects
/// are left to show, which the first page knows and a later one would have to count.
#[derive(Serialize, Deserialize, Default, Debug, PartialEq, Eq)]
#[serde(default)]
struct Token {
    v: String,
    rv: i64,
    start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<usize>,
}

/// Where a page begins and which state it shows.
struct Place {
    after: Option<String>,
    at: Option<u64>,
    continued: bool,
    /// How many objects there are from here on, if the page before knew.
    left: Option<usize>,
}

pub(crate) async fn list(core: &Core, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    call.options.check_list(false)?;
    let selection = Selection::parse(kind, &call.options, &call.info.name)?;
    Ok(Answer::List(select(core, call, kind, &selection).await?))
}

pub(crate) async fn select(
    core: &Core,
    call: &Call,
    kind: &Arc<Kind>,
    selection: &Selection,
) -> Result<List, ApiError> {
    let namespace = match (call.info.namespace.as_str(), selection.namespace()) {
        ("", Some(namespace)) => namespace,
        (namespace, _) => namespace,
    };
    let prefix = core::prefix(kind, namespace);
    let place = place(core, call, kind, &prefix).await?;
    let list = |records, revision| List {
        kind: kind.clone(),
        records,
        revision,
        continue_token: String::new(),
        remaining: None,
    };
    // one named object needs no walk
    if let (Some(name), None, None) = (selection.name(), &place.after, place.at)
        && (!kind.namespaced || !namespace.is_empty())
    {
        let revision = core.store.revision();
        let found = core.store.get(&core::key(kind, namespace, name));
        let found = core.read_all(kind, found.into_iter().collect()).await?;
        let records: Vec<Arc<Record>> =
            found.into_iter().filter(|record| selection.matches(core, kind, record)).collect();
        let newest = records.iter().map(|record| record.revision).max().unwrap_or(0);
        return Ok(list(records, revision.max(newest)));
    }
    page(core, call, kind, selection, &prefix, place, list).await
}

async fn page(
    core: &Core,
    call: &Call,
    kind: &Arc<Kind>,
    selection: &Selection,
    prefix: &str,
    place: Place,
    list: impl FnOnce(Vec<Arc<Record>>, u64) -> List,
) -> Result<List, ApiError> {
    let limit = call.options.limit;
    if selection.is_everything() {
        let page = range(core, kind, prefix, &place, place.after.as_deref(), limit, place.at).await?;
        let last = page.records.last().map(|record| record.key.clone());
        let left = place.left.and_then(|left| left.checked_sub(page.records.len()));
        let mut list = list(page.records, page.revision);
        if page.more {
            list.remaining = page.remaining.or(left);
            list.continue_token = token(prefix, list.revision, last.as_deref(), list.remaining);
        }
        return Ok(list);
    }
    if limit == 0 {
        let page = range(core, kind, prefix, &place, place.after.as_deref(), 0, place.at).await?;
        let records = page.records.into_iter().filter(|record| selection.matches(core, kind, record)).collect();
        return Ok(list(records, page.revision));
    }
    let (mut records, mut after, mut at) = (Vec::new(), place.after.clone(), place.at);
    loop {
        let page = range(core, kind, prefix, &place, after.as_deref(), STEP, at).await?;
        at = Some(page.revision);
        let (mut taken, total) = (0, page.records.len());
        for record in page.records {
            taken += 1;
            after = Some(record.key.to_string());
            if selection.matches(core, kind, &record) {
                records.push(record);
                if records.len() == limit {
                    break;
                }
            }
        }
        let more = taken < total || page.more;
        if !more || records.len() == limit {
            let mut list = list(records, page.revision);
            if more {
                list.continue_token = token(prefix, list.revision, after.as_deref(), None);
            }
            return Ok(list);
        }
    }
}

async fn range(
    core: &Core,
    kind: &Kind,
    prefix: &str,
    place: &Place,
    after: Option<&str>,
    limit: usize,
    at: Option<u64>,
) -> Result<Page, ApiError> {
    let page = core.store.range(Range { prefix, after, limit, at }).map_err(|error| match error {
        RangeError::Compacted { .. } if place.continued => {
            let mut error = ApiError::expired(TOO_OLD_TO_CONTINUE);
            error.details.continue_token = encode(-1, prefix, after, None);
            error
        }
        RangeError::Compacted { .. } => ApiError::expired(TOO_OLD),
        RangeError::Future { newest } => ApiError::too_large_resource_version(at.unwrap_or(0), newest),
    })?;
    Ok(Page { records: core.read_all(kind, page.records).await?, ..page })
}

async fn place(core: &Core, call: &Call, kind: &Kind, prefix: &str) -> Result<Place, ApiError> {
    let options = &call.options;
    let version = options.resource_version.as_str();
    if !options.continue_token.is_empty() {
        let (after, token) = decode(&options.continue_token, prefix)
            .map_err(|why| ApiError::bad_request(format!("invalid continue token: {why}")))?;
        if !version.is_empty() && version != "0" {
            let message = "specifying resource version is not allowed when using continue";
            return Err(ApiError::bad_request(message));
        }
        let at = u64::try_from(token.rv).ok();
        if let Some(at) = at {
            fresh::reach(core, kind, at).await?;
        }
        return Ok(Place { after: Some(after), at, continued: true, left: token.left.filter(|_| at.is_some()) });
    }
    let newest = Place { after: None, at: None, continued: false, left: None };
    if version.is_empty() || version == "0" {
        return Ok(newest);
    }
    let asked = revision(version).map_err(|why| ApiError::bad_request(format!("invalid resource version: {why}")))?;
    let exact = match options.resource_version_match.as_str() {
        "Exact" => true,
        "" => options.limit > 0 && asked > 0,
        _ => false,
    };
    fresh::reach(core, kind, asked).await?;
    Ok(if exact { Place { at: Some(asked), ..newest } } else { newest })
}

fn token(prefix: &str, revision: u64, last: Option<&str>, left: Option<usize>) -> String {
    encode(i64::try_from(revision).unwrap_or(-1), prefix, last, left)
}

fn encode(rv: i64, prefix: &str, last: Option<&str>, left: Option<usize>) -> String {
    let last = last.and_then(|key| key.strip_prefix(prefix)).unwrap_or_default();
    let token = Token { v: "meta.k8s.io/v1".to_owned(), rv, start: format!("{last}\0"), left };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("invariant: a token encodes into memory"))
}

/// Where a token continues: the last key shown, and the token itself; or what upstream says of a token that is none.
fn decode(token: &str, prefix: &str) -> Result<(String, Token), String> {
    const INVALID: &str = "continue key is not valid";
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|error| format!("{INVALID}: {error}"))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|error| format!("{INVALID}: {error}"))?;
    if token.v != "meta.k8s.io/v1" {
        return Err(format!("{INVALID}: server does not recognize this encoded version {}", token.v));
    }
    if token.rv == 0 {
        return Err(format!("{INVALID}: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    if token.start.is_empty() {
        return Err(format!("{INVALID}: encoded start key empty (version meta.k8s.io/v1)"));
    }
    // a key that climbs must not reach what the request is not for
    let parts = token.start.strip_prefix('/').unwrap_or(&token.start);
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    let last = parts.strip_suffix('\0').filter(|last| last.split('/').all(plain));
    let last = last.ok_or_else(|| format!("{INVALID}: {}", token.start))?;
    Ok((format!("{prefix}{last}"), token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_a_foreign_one_does_not() {
        let token = token("/core/pods/", 42, Some("/core/pods/default/web"), Some(7));
        let (key, read) = decode(&token, "/core/pods/").expect("our own token");
        assert_eq!((key.as_str(), read.rv, read.left), ("/core/pods/default/web", 42, Some(7)));
        let told = |token: &str| decode(&URL_SAFE_NO_PAD.encode(token), "/core/pods/").expect_err("refused");
        assert!(decode("nonsense!", "/core/pods/").expect_err("refused").starts_with("continue key is not valid: "));
        assert!(told(r#"{"v":"x","rv":1,"start":"a\u0000"}"#).ends_with("this encoded version x"));
        assert!(told(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a\u0000"}"#).contains("incorrect encoded start"));
        assert!(told(r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#).contains("encoded start key empty"));
        for start in ["../secrets/a", "a/../b", "a//b", "./a", "a"] {
            let token = format!(r#"{{"v":"meta.k8s.io/v1","rv":1,"start":"{start}"}}"#);
            assert!(told(&token).starts_with("continue key is not valid: "), "{start}");
        }
    }
}
