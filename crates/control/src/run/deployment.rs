//! The Deployment controller's shell.

use std::sync::Arc;
use std::time::Duration;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, Client, ResourceExt};

use super::overlay::Overlay;
use super::pods::confirm_alive;
use super::replicaset::key;
use super::write;
use crate::events::Recorder;
use crate::plan::deployment::{self as plan, Action, Observed, Plan};
use crate::plan::{claim, labels, pod};
use crate::{Launch, Shared, time};

const NAME: &str = "deployment-controller";
const REVISION: &str = "deployment.kubernetes.io/revision";

struct Shell {
    client: Client,
    events: Recorder,
    deployments: Overlay<Deployment>,
    sets: Overlay<ReplicaSet>,
    pods: Informer<Pod>,
}

/// How one pass went.
enum Outcome {
    Done,
    /// Something was learnt on the way; plan again at once.
    Again,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let deployment_cache = shared.informers.of::<Deployment>();
    let set_cache = shared.informers.of::<ReplicaSet>();
    let pods = shared.informers.of::<Pod>();
    let queue: Queue<Key> = Queue::new();
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        events: shared.events.recorder(NAME),
        deployments: Overlay::new(deployment_cache.clone()),
        sets: Overlay::new(set_cache.clone()),
        pods: pods.clone(),
    });
    let wake = queue.clone();
    deployment_cache.on_change(move |change: Change<'_, Deployment>| wake.add(key(&**change.latest())));
    let (wake, deployments) = (queue.clone(), deployment_cache.clone());
    set_cache.on_change(move |change: Change<'_, ReplicaSet>| wake_for_set(&wake, &deployments, change));
    let (wake, deployments) = (queue.clone(), deployment_cache.clone());
    pods.on_change(move |change: Change<'_, Pod>| wake_for_pod(&wake, &deployments, &set_cache, change));
    let shared = shared.clone();
    Box::new(move || {
        shared.resync(&queue, move || deployment_cache.list().iter().map(|one| key(&**one)).collect());
        informer::work(&queue, 4, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

fn wake_for_set(queue: &Queue<Key>, deployments: &Informer<Deployment>, change: Change<'_, ReplicaSet>) {
    let namespace = change.latest().namespace().unwrap_or_default();
    let mut owned = false;
    for set in change.old.into_iter().chain(change.new) {
        if let Some(owner) = claim::controller(&**set) {
            owned = true;
            if owner.kind == "Deployment" {
                queue.add(Key::new(namespace.clone(), owner.name.clone()));
            }
        }
    }
    if owned {
        return;
    }
    for deployment in deployments.in_namespace(&namespace) {
        let Some(spec) = &deployment.spec else { continue };
        if labels::matches(&spec.selector, change.latest().labels()) {
            queue.add(key(&*deployment));
        }
    }
}

/// Only Recreate waits for pods: for the last one to go.
fn wake_for_pod(
    queue: &Queue<Key>,
    deployments: &Informer<Deployment>,
    sets: &Informer<ReplicaSet>,
    change: Change<'_, Pod>,
) {
    if change.new.is_some_and(|pod| !pod::is_terminal(pod)) {
        return;
    }
    let namespace = change.latest().namespace().unwrap_or_default();
    let owner = claim::controller(&**change.latest()).filter(|owner| owner.kind == "ReplicaSet");
    let set = owner.and_then(|owner| sets.get(&namespace, &owner.name));
    let Some(name) = set.and_then(|set| claim::controller(&*set).map(|owner| owner.name.clone())) else { return };
    let Some(deployment) = deployments.get(&namespace, &name) else { return };
    if is_recreate(&deployment) {
        queue.add(Key::new(namespace, name));
    }
}

fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(deployment) = self.deployments.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        let sets = self.sets.in_namespace(&key.namespace);
        let pods = if is_recreate(&deployment) { self.pods.in_namespace(&key.namespace) } else { Vec::new() };
        let now = time::now();
        let Plan { actions, status, recheck } = plan::plan(&deployment, &Observed { sets: &sets, pods: &pods, now });
        if actions.iter().any(|action| matches!(action, Action::Adopt(_))) {
            confirm_alive(&self.client, &*deployment).await?;
        }
        let mut latest = Arc::clone(&deployment);
        for action in actions {
            if let Outcome::Again = self.act(&deployment, &mut latest, action).await? {
                return Ok(Next::After(Duration::ZERO));
            }
        }
        if let Some(status) = status {
            self.write_status(&latest, status).await?;
        }
        Ok(recheck.map_or(Next::Done, Next::After))
    }

    async fn write_status(&self, deployment: &Deployment, status: DeploymentStatus) -> anyhow::Result<()> {
        let next = Deployment { status: Some(status), ..deployment.clone() };
        write::keep_status(&self.client, &self.deployments, &next).await
    }

    async fn act(
        &self,
        deployment: &Arc<Deployment>,
        latest: &mut Arc<Deployment>,
        action: Action,
    ) -> anyhow::Result<Outcome> {
        let uid = deployment.uid().unwrap_or_default();
        match action {
            Action::Adopt(set) => self.patch(&set, &claim::adoption(&**deployment, &*set)).await?,
            Action::Release(set) => self.patch(&set, &claim::release(&*set, &uid)).await?,
            Action::Create(set) => return self.create(deployment, latest, &set).await,
            Action::Update { set, scale, patch } => {
                self.patch(&set, &patch).await?;
                if let Some((from, to)) = scale {
                    self.announce(deployment, &set.name_any(), from, to);
                }
            }
            Action::Remove(set) => {
                let removed = write::delete(&self.client, &*set, DeleteParams::background()).await;
                removed.map_err(|error| {
                    write::failed(&error, format_args!("cannot delete old replicaset {}", key(&*set)))
                })?;
                self.sets.deleted(&set);
            }
            Action::Revision(number) => {
                let mut next = (**latest).clone();
                next.metadata.annotations.get_or_insert_default().insert(REVISION.into(), number);
                let written = write::replace_status(&self.client, &next).await.map_err(|error| {
                    write::failed(&error, format_args!("cannot write the revision of deployment {}", key(&next)))
                })?;
                *latest = self.deployments.wrote(written);
            }
        }
        Ok(Outcome::Done)
    }

    async fn patch(&self, set: &Arc<ReplicaSet>, patch: &serde_json::Value) -> anyhow::Result<()> {
        let written = write::patch(&self.client, &**set, patch)
            .await
            .map_err(|error| write::failed(&error, format_args!("cannot change replicaset {}", key(&**set))))?;
        self.sets.wrote(written);
        Ok(())
    }

    fn announce(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
        self.events.normal(deployment, "ScalingReplicaSet", message);
    }

    async fn create(
        &self,
        deployment: &Arc<Deployment>,
        latest: &Arc<Deployment>,
        set: &ReplicaSet,
    ) -> anyhow::Result<Outcome> {
        let name = set.name_any();
        let error = match write::create(&self.client, set).await {
            Ok(created) => {
                self.sets.wrote(created);
                let size = plan::size(set);
                if size > 0 {
                    self.announce(deployment, &name, 0, size);
                }
                return Ok(Outcome::Done);
            }
            Err(error) => error,
        };
        if write::namespace_is_leaving(&error) {
            return Ok(Outcome::Done);
        }
        if write::already_exists(&error) {
            let api: Api<ReplicaSet> =
                Api::namespaced(self.client.clone(), deployment.namespace().as_deref().unwrap_or(""));
            let existing = api.get(&name).await.map_err(|error| {
                write::failed(&error, format_args!("cannot read replicaset {name} which is in the way"))
            })?;
            if plan::collided(deployment, &existing) {
                let mut status = latest.status.clone().unwrap_or_default();
                status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                self.write_status(latest, status).await?;
            } else {
                self.sets.wrote(existing);
            }
            return Ok(Outcome::Again);
        }
        let message = write::message(&error);
        let text = format!("Failed to create new replica set \"{name}\": {message}");
        self.events.warning(&**deployment, "ReplicaSetCreateError", text);
        if let Some(status) = plan::create_failed(latest, &name, &message, time::now()) {
            self.write_status(latest, status).await?;
        }
        Err(write::failed(&error, format_args!("cannot create replicaset {name}")))
    }
}
