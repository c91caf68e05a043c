//! The ReplicaSet controller's shell.

use std::sync::Arc;

use base::{Key, time};
use futures::future::join_all;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, Client, ResourceExt};

use super::overlay::Overlay;
use super::write;
use crate::events::Recorder;
use crate::plan::replicaset::{self as plan, Action, Observed, Plan};
use crate::plan::{claim, labels};
use crate::{Launch, Shared};

const NAME: &str = "replicaset-controller";

struct Shell {
    client: Client,
    events: Recorder,
    set_cache: Informer<ReplicaSet>,
    sets: Overlay<ReplicaSet>,
    pods: Overlay<Pod>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let set_cache = shared.informers.of::<ReplicaSet>();
    let pod_cache = shared.informers.of::<Pod>();
    let queue: Queue<Key> = Queue::new();
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        events: shared.events.recorder(NAME),
        sets: Overlay::new(set_cache.clone()),
        pods: Overlay::new(pod_cache.clone()),
        set_cache: set_cache.clone(),
    });
    let wake = queue.clone();
    set_cache.on_change(move |change: Change<'_, ReplicaSet>| wake.add(key(&**change.latest())));
    let (wake, sets) = (queue.clone(), set_cache);
    pod_cache.on_change(move |change: Change<'_, Pod>| wake_for_pod(&wake, &sets, change));
    let shared = shared.clone();
    Box::new(move || {
        shared.resync(&queue, {
            let sets = shell.set_cache.clone();
            move || sets.list().iter().map(|set| key(&**set)).collect()
        });
        informer::work(&queue, 4, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

pub(crate) fn key(object: &impl kube::Resource) -> Key {
    Key::new(object.meta().namespace.clone().unwrap_or_default(), object.meta().name.clone().unwrap_or_default())
}

fn wake_for_pod(queue: &Queue<Key>, sets: &Informer<ReplicaSet>, change: Change<'_, Pod>) {
    let namespace = change.latest().namespace().unwrap_or_default();
    let mut owned = false;
    for pod in change.old.into_iter().chain(change.new) {
        if let Some(owner) = claim::controller(&**pod) {
            owned = true;
            if owner.kind == "ReplicaSet" {
                queue.add(Key::new(namespace.clone(), owner.name.clone()));
            }
        }
    }
    if owned || change.new.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()) {
        return;
    }
    for set in sets.in_namespace(&namespace) {
        let selects =
            |pod: &Arc<Pod>| set.spec.as_ref().is_some_and(|spec| labels::matches(&spec.selector, pod.labels()));
        if change.new.is_some_and(selects) {
            queue.add(key(&*set));
        }
    }
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(set) = self.sets.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        let now = time::now();
        let pods = self.pods.in_namespace(&key.namespace);
        let siblings = self.siblings(&set);
        let plan = plan::plan(&set, &Observed { pods: &pods, siblings: &siblings, now });
        let failure = self.act(&set, &plan).await.err();
        let text = failure.as_ref().map(|error| format!("{error:#}"));
        if let Some(status) = plan::status(&set, &plan, text.as_deref(), now) {
            let mut next = (*set).clone();
            next.status = Some(status);
            let written = write::replace_status(&self.client, &next).await;
            let written = match written {
                Err(error) if write::is_not_found(&error) => return Ok(Next::Done),
                written => written.map_err(|error| {
                    write::failed(&error, format_args!("cannot write the status of replicaset {key}"))
                })?,
            };
            self.sets.wrote(written);
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(plan::recheck(&set, &plan, now).map_or(Next::Done, Next::After)),
        }
    }

    fn siblings(&self, set: &ReplicaSet) -> Vec<Arc<ReplicaSet>> {
        let Some(owner) = claim::controller(set) else { return Vec::new() };
        let mut sets = self.set_cache.in_namespace(set.namespace().as_deref().unwrap_or(""));
        sets.retain(|one| one.uid() != set.uid() && claim::is_controlled_by(&**one, &owner.uid));
        sets
    }

    async fn act(&self, set: &Arc<ReplicaSet>, plan: &Plan) -> anyhow::Result<()> {
        if plan.actions.iter().any(|action| matches!(action, Action::Adopt(_))) {
            self.confirm_alive(set).await?;
        }
        let uid = set.uid().unwrap_or_default();
        let mut deletions = Vec::new();
        for action in &plan.actions {
            match action {
                Action::Adopt(pod) => self.own(pod, &claim::adoption(&**set, &**pod)).await?,
                Action::Release(pod) => self.own(pod, &claim::release(&**pod, &uid)).await?,
                Action::Create(count) => self.create(set, *count).await?,
                Action::Delete(pod) => deletions.push(self.delete(set, pod)),
            }
        }
        join_all(deletions).await.into_iter().collect()
    }

    /// A cached set may be gone; an orphan must not be adopted by a ghost.
    async fn confirm_alive(&self, set: &ReplicaSet) -> anyhow::Result<()> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), set.namespace().as_deref().unwrap_or(""));
        let live = api.get(&set.name_any()).await.map_err(|error| {
            write::failed(&error, format_args!("cannot read replicaset {} before adopting pods", set.name_any()))
        })?;
        anyhow::ensure!(
            live.uid() == set.uid() && live.metadata.deletion_timestamp.is_none(),
            "replicaset {} was replaced or is being deleted; not adopting pods for it",
            set.name_any()
        );
        Ok(())
    }

    async fn own(&self, pod: &Arc<Pod>, patch: &serde_json::Value) -> anyhow::Result<()> {
        match write::patch(&self.client, &**pod, patch).await {
            Ok(pod) => {
                self.pods.wrote(pod);
                Ok(())
            }
            Err(error) if write::is_not_found(&error) => Ok(()),
            Err(error) => Err(write::failed(&error, format_args!("cannot change the owner of pod {}", key(&**pod)))),
        }
    }

    /// One pod first, then twice as many while that works: a broken template costs one failed request, not 500.
    async fn create(&self, set: &Arc<ReplicaSet>, count: usize) -> anyhow::Result<()> {
        let template = plan::new_pod(set);
        let (mut left, mut batch) = (count, 1_usize);
        while left > 0 {
            let size = batch.min(left);
            let created = join_all((0..size).map(|_| write::create(&self.client, &template))).await;
            for outcome in created {
                match outcome {
                    Ok(pod) => {
                        let message = format!("Created pod: {}", pod.name_any());
                        self.pods.wrote(pod);
                        self.events.normal(&**set, "SuccessfulCreate", message);
                    }
                    Err(error) if write::namespace_is_leaving(&error) => return Ok(()),
                    Err(error) => {
                        let message = write::message(&error);
                        self.events.warning(&**set, "FailedCreate", format!("Error creating: {message}"));
                        return Err(anyhow::anyhow!(message));
                    }
                }
            }
            left -= size;
            batch *= 2;
        }
        Ok(())
    }

    async fn delete(&self, set: &Arc<ReplicaSet>, pod: &Arc<Pod>) -> anyhow::Result<()> {
        match write::delete(&self.client, &**pod, DeleteParams::default()).await {
            Ok(left) => {
                match left {
                    Some(left) => drop(self.pods.wrote(left)),
                    None => self.pods.deleted(pod),
                }
                self.events.normal(&**set, "SuccessfulDelete", format!("Deleted pod: {}", pod.name_any()));
                Ok(())
            }
            Err(error) => {
                let message = write::message(&error);
                self.events.warning(&**set, "FailedDelete", format!("Error deleting: {message}"));
                Err(anyhow::anyhow!(message))
            }
        }
    }
}
