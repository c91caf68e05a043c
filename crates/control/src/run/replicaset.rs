//! The shell of controllers that keep a number of pods: ReplicaSets, and ReplicationControllers seen as such.

use std::borrow::Cow;
use std::sync::Arc;

use base::Key;
use futures::future::join_all;
use informer::{Change, Informer, Next, Object, Queue};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};

use super::overlay::Overlay;
use super::pods::{Pods, slow_start};
use super::{wake, write};
use crate::plan::claim;
use crate::plan::labels::{self, Labels};
use crate::plan::replicaset::{self as plan, Action, Observed, Plan};
use crate::{Launch, Shared, time};

/// A kind that keeps a number of pods.
pub(crate) trait Keeper: write::Kind + Object {
    /// Its controller.
    const NAME: &'static str;

    fn as_set(&self) -> Cow<'_, ReplicaSet>;

    /// Whether it wants a pod with these labels.
    fn selects(&self, pod: &Labels) -> bool;

    /// The object with the status of its set, if that says anything new.
    fn with_status(&self, status: ReplicaSetStatus) -> Option<Self>;
}

impl Keeper for ReplicaSet {
    const NAME: &'static str = "replicaset-controller";

    fn as_set(&self) -> Cow<'_, ReplicaSet> {
        Cow::Borrowed(self)
    }

    fn selects(&self, pod: &Labels) -> bool {
        self.spec.as_ref().is_some_and(|spec| labels::matches(&spec.selector, pod))
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Option<Self> {
        Some(Self { status: Some(status), ..self.clone() })
    }
}

struct Shell<K> {
    client: Client,
    set_cache: Informer<K>,
    sets: Overlay<K>,
    pods: Pods,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    start_as::<ReplicaSet>(shared)
}

pub(super) fn start_as<K: Keeper>(shared: &Shared) -> Launch {
    let set_cache = shared.informers.of::<K>();
    let pod_cache = shared.informers.of::<Pod>();
    let queue: Queue<Key> = Queue::new();
    let client = shared.client(K::NAME);
    let pods = Pods::new(client.clone(), shared.events.recorder(K::NAME), Overlay::new(pod_cache.clone()));
    let shell = Arc::new(Shell { client, sets: Overlay::new(set_cache.clone()), pods, set_cache: set_cache.clone() });
    let wake = queue.clone();
    set_cache.on_change(move |change: Change<'_, K>| wake.add(key(&**change.latest())));
    let (woken, sets) = (queue.clone(), set_cache);
    pod_cache.on_change(move |change: Change<'_, Pod>| {
        wake::owners(&woken, &K::kind(&()), &sets, change, K::selects);
    });
    let shared = shared.clone();
    Box::new(move || {
        shared.resync(&queue, {
            let sets = shell.set_cache.clone();
            move || sets.list().iter().map(|set| key(&**set)).collect()
        });
        informer::work(&queue, 4, &shared.context, K::NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

pub(crate) fn key(object: &impl kube::Resource) -> Key {
    Key::new(object.meta().namespace.clone().unwrap_or_default(), object.meta().name.clone().unwrap_or_default())
}

impl<K: Keeper> Shell<K> {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(owner) = self.sets.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        self.pods.settle(&*owner).await?;
        let set = owner.as_set();
        let now = time::now();
        let pods = self.pods.in_namespace(&key.namespace);
        let siblings = self.siblings(&owner);
        let plan = plan::plan(&set, &Observed { pods: &pods, siblings: &siblings, now });
        let failure = self.act(&owner, &set, &plan).await.err();
        let text = failure.as_ref().map(|error| format!("{error:#}"));
        let status = plan::status(&set, &plan, text.as_deref(), now);
        if let Some(next) = status.and_then(|status| owner.with_status(status)) {
            write::keep_status(&self.client, &self.sets, &next).await?;
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(plan::recheck(&set, &plan, now).map_or(Next::Done, Next::After)),
        }
    }

    /// The uids of the other sets of the same owner.
    fn siblings(&self, set: &K) -> Vec<String> {
        let Some(owner) = claim::controller(set) else { return Vec::new() };
        let sets = self.set_cache.in_namespace(set.namespace().as_deref().unwrap_or(""));
        let others = sets.iter().filter(|one| one.uid() != set.uid() && claim::is_controlled_by(&***one, &owner.uid));
        others.filter_map(|one| one.uid()).collect()
    }

    async fn act(&self, owner: &Arc<K>, set: &ReplicaSet, plan: &Plan) -> anyhow::Result<()> {
        let (mut adopt, mut release) = (Vec::new(), Vec::new());
        let (mut missing, mut surplus) = (0, Vec::new());
        for action in &plan.actions {
            match action {
                Action::Adopt(pod) => adopt.push(Arc::clone(pod)),
                Action::Release(pod) => release.push(Arc::clone(pod)),
                Action::Create(count) => missing += count,
                Action::Delete(pod) => surplus.push(pod),
            }
        }
        self.pods.claim(&**owner, &adopt, &release).await?;
        let pod = plan::new_pod(set, claim::reference(&**owner));
        slow_start(0..missing, |_| self.pods.create(&**owner, &pod)).await?;
        join_all(surplus.into_iter().map(|pod| self.pods.delete(&**owner, pod))).await.into_iter().collect()
    }
}
