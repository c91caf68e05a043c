//! Making and deleting pods for an owner, and telling of it (upstream `RealPodControl`).
//!
//! Invariant: every pod that was made is remembered, also when others of its batch failed, so none is made twice. Where the
//! answer to a write was lost the server is asked before the next one; upstream makes another pod and takes one away later,
//! or takes one away too many.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::Value;

use super::overlay::Overlay;
use super::replicaset::key;
use super::write;
use crate::events::{Recorder, Subject};
use crate::plan::claim;
use crate::plan::labels::Labels;

/// No batch is larger.
const LARGEST_BATCH: usize = 500;

/// One thing first, then twice as many at once while that works: what cannot work costs one failed request, not 500.
/// The first failure is told, once its batch is through.
pub(crate) async fn slow_start<T, F>(items: impl IntoIterator<Item = T>, act: impl Fn(T) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<ControlFlow<()>>>,
{
    let (mut items, mut size) = (items.into_iter().peekable(), 1);
    while items.peek().is_some() {
        let outcomes = join_all(items.by_ref().take(size).map(&act)).await;
        let outcomes: Vec<ControlFlow<()>> = outcomes.into_iter().collect::<anyhow::Result<_>>()?;
        if outcomes.iter().any(ControlFlow::is_break) {
            return Ok(());
        }
        size = (size * 2).min(LARGEST_BATCH);
    }
    Ok(())
}

/// Writes pods in the name of one controller.
pub(crate) struct Pods {
    client: Client,
    events: Recorder,
    pods: Overlay<Pod>,
    /// By uid, owners of whose pods one may have been made or deleted without our hearing of it, and the labels of those.
    doubts: Mutex<HashMap<String, Labels>>,
}

impl Pods {
    pub(crate) fn new(client: Client, events: Recorder, pods: Overlay<Pod>) -> Self {
        Self { client, events, pods, doubts: Mutex::default() }
    }

    /// Finds out what became of writes that nobody answered; to be awaited before an owner's pods are counted.
    pub(crate) async fn settle(&self, owner: &impl write::Kind) -> anyhow::Result<()> {
        let uid = owner.uid().unwrap_or_default();
        let Some(labels) = self.doubts.lock().get(&uid).cloned() else { return Ok(()) };
        let namespace = owner.namespace().unwrap_or_default();
        let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let found = api.list(&ListParams::default().labels(&pairs.join(","))).await.map_err(|error| {
            write::failed(&error, format_args!("cannot look at what may have become of the pods of {}", key(owner)))
        })?;
        let there: HashSet<Option<String>> = found.items.iter().map(ResourceExt::uid).collect();
        let concerns = |pod: &Pod| {
            claim::is_controlled_by(pod, &uid) && labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
        };
        for pod in self.in_namespace(&namespace) {
            if concerns(&pod) && !there.contains(&pod.uid()) {
                self.pods.deleted(&pod);
            }
        }
        for pod in found.items.into_iter().filter(concerns) {
            self.pods.wrote(pod);
        }
        self.doubts.lock().remove(&uid);
        Ok(())
    }

    /// After a failed write of this pod.
    fn doubt(&self, error: &kube::Error, pod: &Pod) {
        let Some(owner) = claim::controller(pod).filter(|_| write::is_unanswered(error)) else { return };
        let mut doubts = self.doubts.lock();
        let known = doubts.entry(owner.uid.clone()).or_insert_with(|| pod.labels().clone());
        known.retain(|key, value| pod.labels().get(key) == Some(value));
    }

    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<Pod>> {
        self.pods.in_namespace(namespace)
    }

    /// Makes a pod; in a namespace that is being emptied there is no use in trying more.
    pub(crate) async fn create(&self, owner: &impl Subject, pod: &Pod) -> anyhow::Result<ControlFlow<()>> {
        match write::create(&self.client, pod).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.name_any());
                self.pods.wrote(pod);
                self.events.normal(owner, "SuccessfulCreate", message);
                Ok(ControlFlow::Continue(()))
            }
            Err(error) if write::namespace_is_leaving(&error) => Ok(ControlFlow::Break(())),
            Err(error) => {
                self.doubt(&error, pod);
                let message = write::message(&error);
                self.events.warning(owner, "FailedCreate", format!("Error creating: {message}"));
                Err(anyhow::anyhow!(message))
            }
        }
    }

    pub(crate) async fn delete(&self, owner: &impl Subject, pod: &Arc<Pod>) -> anyhow::Result<()> {
        match self.remove(pod).await {
            Ok(()) => {
                self.events.normal(owner, "SuccessfulDelete", format!("Deleted pod: {}", pod.name_any()));
                Ok(())
            }
            Err(error) if write::is_conflict(&error) => {
                Err(write::failed(&error, format_args!("cannot delete pod {}", key(&**pod))))
            }
            Err(error) => {
                let message = write::message(&error);
                self.events.warning(owner, "FailedDelete", format!("Error deleting: {message}"));
                Err(anyhow::anyhow!(message))
            }
        }
    }

    /// Deletes a pod and says nothing.
    pub(crate) async fn remove(&self, pod: &Arc<Pod>) -> kube::Result<()> {
        match write::delete(&self.client, &**pod, DeleteParams::default()).await {
            Ok(Some(left)) => drop(self.pods.wrote(left)),
            Ok(None) => self.pods.deleted(pod),
            Err(error) => {
                self.doubt(&error, pod);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Makes a pod and says nothing.
    pub(crate) async fn add(&self, pod: &Pod) -> kube::Result<()> {
        self.pods.wrote(write::create(&self.client, pod).await?);
        Ok(())
    }

    pub(crate) async fn patch(&self, pod: &Arc<Pod>, patch: &Value) -> kube::Result<()> {
        self.pods.wrote(write::patch(&self.client, &**pod, patch).await?);
        Ok(())
    }

    /// Makes pods the owner's, and others nobody's.
    pub(crate) async fn claim<O: write::Kind>(
        &self,
        owner: &O,
        adopt: &[Arc<Pod>],
        release: &[Arc<Pod>],
    ) -> anyhow::Result<()> {
        if !adopt.is_empty() {
            confirm_alive(&self.client, owner).await?;
        }
        for pod in adopt {
            self.own(pod, &claim::adoption(owner, &**pod)).await?;
        }
        let uid = owner.uid().unwrap_or_default();
        for pod in release {
            self.own(pod, &claim::release(&**pod, &uid)).await?;
        }
        Ok(())
    }

    /// Gives a pod another owner, or none.
    async fn own(&self, pod: &Arc<Pod>, patch: &Value) -> anyhow::Result<()> {
        match self.patch(pod, patch).await {
            Err(error) if !write::is_not_found(&error) => {
                Err(write::failed(&error, format_args!("cannot change the owner of pod {}", key(&**pod))))
            }
            _ => Ok(()),
        }
    }
}

/// A cached owner may be gone; an orphan must not be adopted by a ghost.
pub(crate) async fn confirm_alive<K: write::Kind>(client: &Client, owner: &K) -> anyhow::Result<()> {
    let api: Api<K> = Api::namespaced(client.clone(), owner.namespace().as_deref().unwrap_or(""));
    let (kind, name) = (K::kind(&()).to_lowercase(), owner.name_any());
    let live = api
        .get(&name)
        .await
        .map_err(|error| write::failed(&error, format_args!("cannot read {kind} {name} before adopting for it")))?;
    anyhow::ensure!(
        live.uid() == owner.uid() && live.meta().deletion_timestamp.is_none(),
        "{kind} {name} was replaced or is being deleted; not adopting for it"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    async fn batches(count: usize, outcome: impl Fn(usize) -> anyhow::Result<ControlFlow<()>>) -> (usize, bool) {
        let done = Mutex::new(0);
        let result = slow_start(0..count, |item| {
            *done.lock() += 1;
            std::future::ready(outcome(item))
        });
        let failed = result.await.is_err();
        (done.into_inner(), failed)
    }

    #[tokio::test]
    async fn a_failure_ends_it_after_its_batch() {
        let on = || Ok(ControlFlow::Continue(()));
        assert_eq!(batches(20, |_| on()).await, (20, false));
        assert_eq!(batches(20, |item| if item == 0 { Err(anyhow::anyhow!("no")) } else { on() }).await, (1, true));
        assert_eq!(batches(20, |item| if item == 1 { Err(anyhow::anyhow!("no")) } else { on() }).await, (3, true));
        assert_eq!(batches(20, |item| if item == 4 { Ok(ControlFlow::Break(())) } else { on() }).await, (7, false));
    }
}
