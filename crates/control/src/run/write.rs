//! The writes controllers make, and what their failures mean.
//!
//! Invariant: a write names the version or the uid it was decided on, so it never lands on a stranger of the same name.

use std::fmt::Debug;
use std::time::Duration;

use informer::{Next, Object};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::overlay::Overlay;
use super::replicaset::key;

/// What every typed write needs from a kind.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}
impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

fn api<K: Kind>(client: &Client, object: &K) -> Api<K> {
    Api::namespaced(client.clone(), object.namespace().as_deref().unwrap_or(""))
}

pub(crate) async fn create<K: Kind>(client: &Client, object: &K) -> kube::Result<K> {
    api(client, object).create(&PostParams::default(), object).await
}

/// Replaces exactly the version that was read.
pub(crate) async fn replace<K: Kind>(client: &Client, object: &K) -> kube::Result<K> {
    api(client, object).replace(&object.name_any(), &PostParams::default(), object).await
}

pub(crate) async fn replace_status<K: Kind>(client: &Client, object: &K) -> kube::Result<K> {
    api(client, object).replace_status(&object.name_any(), &PostParams::default(), object).await
}

/// Writes the status of `next`, which `cache` shows from then on. An object that is gone needs none.
pub(crate) async fn keep_status<K: Kind + Object>(client: &Client, cache: &Overlay<K>, next: &K) -> anyhow::Result<()> {
    match replace_status(client, next).await {
        Ok(written) => drop(cache.wrote(written)),
        Err(error) if is_not_found(&error) => {}
        Err(error) => {
            let (kind, name) = (K::kind(&()).to_lowercase(), key(next));
            return Err(failed(&error, format_args!("cannot write the status of {kind} {name}")));
        }
    }
    Ok(())
}

pub(crate) async fn patch<K: Kind>(client: &Client, object: &K, patch: &Value) -> kube::Result<K> {
    api(client, object).patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await
}

/// Deletes this very object. `Some` is what is left of it while it terminates; an object already gone is no failure. A
/// conflict is one: there may be another object of its name by now, which the cache will show, or somebody else objects.
pub(crate) async fn delete<K: Kind>(client: &Client, object: &K, params: DeleteParams) -> kube::Result<Option<K>> {
    let params = params.preconditions(Preconditions { uid: object.uid(), resource_version: None });
    match api(client, object).delete(&object.name_any(), &params).await {
        Ok(answer) => Ok(answer.left().filter(|left| {
            let pending = left.meta().finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty());
            left.meta().deletion_timestamp.is_some()
                && (pending || left.meta().deletion_grace_period_seconds.is_some_and(|seconds| seconds > 0))
        })),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    code(error) == 404
}

pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason != "AlreadyExists")
}

pub(crate) fn already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.reason == "AlreadyExists")
}

/// Whether it may have been done all the same: nothing answered, or something that does not know.
pub(crate) fn is_unanswered(error: &kube::Error) -> bool {
    !matches!(error, kube::Error::Api(status) if status.code < 500)
}

/// Nothing can be created in a namespace that is being emptied; that is no failure.
pub(crate) fn namespace_is_leaving(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// What the server said, without the wrapping.
pub(crate) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// What the server refused, below the context that says what was attempted.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Refused {
    message: String,
    /// How long until the cache will have caught up, if a stale cache is the reason.
    stale: Option<Duration>,
}

/// The failure as a chain that names what was attempted.
pub(crate) fn failed(error: &kube::Error, attempt: impl std::fmt::Display) -> anyhow::Error {
    let stale = if is_conflict(error) {
        Some(Duration::from_millis(10))
    } else {
        is_not_found(error).then_some(Duration::from_secs(1))
    };
    anyhow::Error::new(Refused { message: message(error), stale }).context(attempt.to_string())
}

/// A decision made on a stale cache is no failure worth telling: it is made again when the cache has caught up.
pub(crate) fn settle(result: anyhow::Result<Next>) -> anyhow::Result<Next> {
    match result {
        Err(error) => match error.downcast_ref::<Refused>().and_then(|refused| refused.stale) {
            Some(wait) => {
                tracing::debug!("{error:#}; looking again");
                Ok(Next::After(wait))
            }
            None => Err(error),
        },
        settled => settled,
    }
}
