//! Writing ControllerRevisions, for the controllers that keep them.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::DeleteParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::overlay::Overlay;
use super::replicaset::key;
use super::write;
use crate::plan::claim;
use crate::plan::revision::{self as plan, Step};

/// What became of a step.
pub(crate) enum Settled {
    Revision(Arc<ControllerRevision>),
    /// Another revision has the name; a higher collision count makes another one.
    Taken,
    /// The namespace is being emptied.
    Leaving,
}

/// Writes revisions in the name of one controller.
pub(crate) struct Revisions {
    client: Client,
    revisions: Overlay<ControllerRevision>,
}

impl Revisions {
    pub(crate) fn new(client: Client, revisions: Overlay<ControllerRevision>) -> Self {
        Self { client, revisions }
    }

    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<ControllerRevision>> {
        self.revisions.in_namespace(namespace)
    }

    pub(crate) async fn adopt<O: write::Kind>(&self, owner: &O, orphan: &ControllerRevision) -> anyhow::Result<()> {
        self.patch(orphan, &claim::adoption(owner, orphan)).await.map(drop)
    }

    pub(crate) async fn release<O: write::Kind>(&self, owner: &O, stray: &ControllerRevision) -> anyhow::Result<()> {
        self.patch(stray, &claim::release(stray, &owner.uid().unwrap_or_default())).await.map(drop)
    }

    /// Writes the label `name` of a revision.
    pub(crate) async fn label(&self, revision: &ControllerRevision, name: &str, value: &str) -> anyhow::Result<()> {
        let patch = json!({ "metadata": { "uid": revision.uid(), "labels": { name: value } } });
        self.patch(revision, &patch).await.map(drop)
    }

    async fn patch(&self, revision: &ControllerRevision, patch: &Value) -> anyhow::Result<Arc<ControllerRevision>> {
        let written = write::patch(&self.client, revision, patch).await;
        let written = written.map_err(|error| {
            write::failed(&error, format_args!("cannot change controllerrevision {}", key(revision)))
        })?;
        Ok(self.revisions.wrote(written))
    }

    /// Makes the revision of a step the latest one.
    pub(crate) async fn settle(&self, step: Step) -> anyhow::Result<Settled> {
        match step {
            Step::Keep(revision) => Ok(Settled::Revision(revision)),
            Step::Renumber(revision, number) => {
                let patch = json!({ "metadata": { "uid": revision.uid() }, "revision": number });
                self.patch(&revision, &patch).await.map(Settled::Revision)
            }
            Step::Create(wanted) => self.create(&wanted).await,
        }
    }

    async fn create(&self, wanted: &ControllerRevision) -> anyhow::Result<Settled> {
        let failed = |error: &kube::Error| {
            write::failed(error, format_args!("cannot create controllerrevision {}", key(wanted)))
        };
        match write::create(&self.client, wanted).await {
            Ok(made) => Ok(Settled::Revision(self.revisions.wrote(made))),
            Err(error) if write::namespace_is_leaving(&error) => Ok(Settled::Leaving),
            Err(error) if write::already_exists(&error) => {
                let namespace = wanted.namespace().unwrap_or_default();
                let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &namespace);
                let existing = api.get(&wanted.name_any()).await.map_err(|error| failed(&error))?;
                if plan::is_same(&existing, wanted) {
                    return Ok(Settled::Revision(self.revisions.wrote(existing)));
                }
                Ok(Settled::Taken)
            }
            Err(error) => Err(failed(&error)),
        }
    }

    pub(crate) async fn remove(&self, revision: &Arc<ControllerRevision>) -> anyhow::Result<()> {
        let removed = write::delete(&self.client, &**revision, DeleteParams::default()).await;
        removed.map_err(|error| {
            write::failed(&error, format_args!("cannot delete old controllerrevision {}", key(&**revision)))
        })?;
        self.revisions.deleted(revision);
        Ok(())
    }
}
