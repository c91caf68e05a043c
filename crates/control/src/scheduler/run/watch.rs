//! What the watches show, taken into the world.
//!
//! Invariant: an object that a new list no longer has is gone; a pod belongs to the queue or to the cache, never to both,
//! except while it is assumed.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::StreamExt as _;
use informer::{Object, Part};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Scheduler, State};
use crate::scheduler::facts::{Budget, OwnerKind};
use crate::scheduler::hints::Change;
use crate::scheduler::node::NodeFacts;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::seen::{
    SeenBudget, SeenController, SeenNamespace, SeenPod, SeenReplicaSet, SeenService, SeenStatefulSet,
};

/// Namespace and name.
pub(super) type Name = (String, String);

/// An object as it is now, or that it is gone.
pub(super) enum Told<'a, K> {
    Is(K),
    Gone(&'a Name),
}

pub(super) fn name_of(object: &impl Object) -> Name {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl Scheduler {
    /// Starts all watches and waits until each has shown everything once.
    pub(super) async fn watch(self: &Arc<Self>) {
        let mut listed = vec![
            self.feed(Self::node_told),
            self.feed(Self::namespace_told),
            self.feed(Self::service_told),
            self.feed(Self::controller_told),
            self.feed(Self::replica_set_told),
            self.feed(Self::stateful_set_told),
            self.feed(Self::budget_told),
        ];
        listed.extend(self.watch_volumes());
        listed.extend(self.watch_devices());
        let (done, pods) = watch::channel(false);
        self.children.spawn("watch pods to schedule", Arc::clone(self).watch_pods(done));
        listed.push(pods);
        for one in &mut listed {
            if one.wait_for(|listed| *listed).await.is_err() {
                return;
            }
        }
    }

    /// Tells of every object of a kind.
    pub(super) fn feed<K: Object>(self: &Arc<Self>, tell: fn(&Self, Told<'_, K>)) -> watch::Receiver<bool>
    where
        K::DynamicType: Default + Eq + Hash + Clone + Debug + Send + Sync + Unpin,
    {
        let (done, listed) = watch::channel(false);
        let scheduler = Arc::clone(self);
        let api: Api<K> = Api::all(self.client.clone());
        let kind = K::plural(&K::DynamicType::default()).into_owned();
        self.children.spawn(format!("watch {kind}"), async move {
            let (mut known, mut seen) = (BTreeSet::new(), BTreeSet::new());
            let mut events = std::pin::pin!(kube::runtime::watcher(api, watcher::Config::default()).default_backoff());
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Init) => seen.clear(),
                    Ok(Event::InitApply(object)) => {
                        seen.insert(name_of(&object));
                        tell(&scheduler, Told::Is(object));
                    }
                    Ok(Event::InitDone) => {
                        known.difference(&seen).for_each(|name| tell(&scheduler, Told::Gone(name)));
                        known = std::mem::take(&mut seen);
                        done.send_replace(true);
                    }
                    Ok(Event::Apply(object)) => {
                        known.insert(name_of(&object));
                        tell(&scheduler, Told::Is(object));
                    }
                    Ok(Event::Delete(object)) => {
                        let name = name_of(&object);
                        known.remove(&name);
                        tell(&scheduler, Told::Gone(&name));
                    }
                    Err(watcher::Error::InitialListFailed(kube::Error::Api(answer))) if answer.code == 404 => {
                        // an older server, which has no such objects
                        tracing::debug!(kind, "the server does not know this kind, trying again");
                        done.send_replace(true);
                    }
                    Err(error) => tracing::warn!(kind, "the scheduler's watch was interrupted, trying again: {error}"),
                }
            }
        });
        listed
    }

    fn node_told(&self, told: Told<'_, Node>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let woken = match told {
            Told::Is(node) => state.node_is(Arc::new(NodeFacts::read(&node)), now),
            Told::Gone((_, name)) => {
                let gone = state.world.cache.remove_node(name);
                gone.is_some_and(|facts| state.tell(Change::NodeGone(&facts), |_| true, now))
            }
        };
        drop(state);
        self.wake_if(woken);
    }

    pub(super) fn wake_if(&self, woken: bool) {
        if woken {
            self.wake.notify_one();
        }
    }

    fn namespace_told(&self, told: Told<'_, Part<SeenNamespace>>) {
        let facts = &mut self.state.lock().world.facts;
        match told {
            Told::Is(Part(one)) => {
                facts.put_namespace(
                    one.metadata.name.as_deref().unwrap_or(""),
                    Some(one.metadata.labels.unwrap_or_default()),
                );
            }
            Told::Gone((_, name)) => facts.put_namespace(name, None),
        }
    }

    fn service_told(&self, told: Told<'_, Part<SeenService>>) {
        let facts = &mut self.state.lock().world.facts;
        match told {
            Told::Is(service) => {
                let (namespace, name) = name_of(&service);
                facts.put_service(&namespace, &name, service.0.spec.selector.filter(|one| !one.is_empty()));
            }
            Told::Gone((namespace, name)) => facts.put_service(namespace, name, None),
        }
    }

    fn owner_told<T: informer::Kept>(
        &self,
        kind: OwnerKind,
        told: Told<'_, Part<T>>,
        selector: impl Fn(T) -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>,
    ) where
        Part<T>: Object,
    {
        let facts = &mut self.state.lock().world.facts;
        match told {
            Told::Is(owner) => {
                let (namespace, name) = name_of(&owner);
                facts.put_owner(kind, &namespace, &name, selector(owner.0));
            }
            Told::Gone((namespace, name)) => facts.put_owner(kind, namespace, name, None),
        }
    }

    fn controller_told(&self, told: Told<'_, Part<SeenController>>) {
        self.owner_told(OwnerKind::ReplicationController, told, |one: SeenController| {
            let match_labels = Some(one.spec.selector?);
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
                match_labels,
                match_expressions: None,
            })
        });
    }

    fn replica_set_told(&self, told: Told<'_, Part<SeenReplicaSet>>) {
        self.owner_told(OwnerKind::ReplicaSet, told, |one: SeenReplicaSet| one.spec.selector);
    }

    fn stateful_set_told(&self, told: Told<'_, Part<SeenStatefulSet>>) {
        self.owner_told(OwnerKind::StatefulSet, told, |one: SeenStatefulSet| one.spec.selector);
    }

    fn budget_told(&self, told: Told<'_, Part<SeenBudget>>) {
        let facts = &mut self.state.lock().world.facts;
        match told {
            Told::Is(budget) => {
                let (namespace, name) = name_of(&budget);
                let SeenBudget { spec, status, .. } = budget.0;
                let disrupted = status.disrupted_pods.unwrap_or_default().into_keys().collect();
                let kept = Budget { selector: spec.selector, allowed: status.disruptions_allowed, disrupted };
                facts.put_budget(&namespace, &name, Some(kept));
            }
            Told::Gone((namespace, name)) => facts.put_budget(namespace, name, None),
        }
    }

    async fn watch_pods(self: Arc<Self>, done: watch::Sender<bool>) {
        let api: Api<Part<SeenPod>> = Api::all(self.client.clone());
        let mut events = std::pin::pin!(kube::runtime::watcher(api, watcher::Config::default()).default_backoff());
        let mut seen: HashSet<String> = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => seen.clear(),
                Ok(Event::InitApply(pod)) => {
                    seen.extend(pod.0.metadata.uid.clone());
                    self.pod_told(pod.0, false);
                }
                Ok(Event::InitDone) => {
                    let woken = self.state.lock().forget_unseen(&seen, Instant::now());
                    self.wake_if(woken);
                    seen = HashSet::new();
                    done.send_replace(true);
                }
                Ok(Event::Apply(pod)) => self.pod_told(pod.0, false),
                Ok(Event::Delete(pod)) => self.pod_told(pod.0, true),
                Err(error) => tracing::warn!("the scheduler's watch of pods was interrupted, trying again: {error}"),
            }
        }
    }

    fn pod_told(&self, pod: SeenPod, gone: bool) {
        let gone = gone || pod.is_terminal();
        let now = Instant::now();
        let mut state = self.state.lock();
        let pod = Arc::new(state.world.shapes.read(pod));
        let woken = if gone { state.pod_gone(&pod, now) } else { state.pod_is(pod, now) };
        drop(state);
        self.wake_if(woken);
    }
}

impl State {
    pub(super) fn node_is(&mut self, facts: Arc<NodeFacts>, now: Instant) -> bool {
        let known = self.world.cache.named(&facts.name).and_then(|info| info.facts.as_ref());
        if known.is_some_and(|known| **known == *facts) {
            return false;
        }
        match self.world.cache.put_node(facts.clone()) {
            None => self.tell(Change::NodeAdded(&facts), |_| true, now),
            Some(old) => self.tell(Change::NodeChanged { old: &old, new: &facts }, |_| true, now),
        }
    }

    /// A pod appeared or changed. True when a pod can be tried.
    pub(super) fn pod_is(&mut self, pod: Arc<PodInfo>, now: Instant) -> bool {
        if !pod.node.is_empty() {
            return self.pod_is_placed(&pod, now);
        }
        if !self.world.profiles.contains_key(&pod.ask().scheduler) {
            self.queue.remove(&pod.key);
            return false;
        }
        if self.world.cache.is_assumed(&pod.uid) {
            // The update was on its way before the binding, or the pod is to go while it is being bound.
            let leaves = pod.deleting && self.queue.get(&pod.key).is_some_and(|old| !old.deleting);
            self.put(&pod, now);
            return leaves && self.forget(&pod, now);
        }
        let old = self.put(&pod, now);
        self.world.nominated.update(old.as_deref(), &pod);
        if let Some(old) = old.filter(|old| old.nominated.is_some() && old.nominated != pod.nominated) {
            let priority = old.priority();
            self.tell(Change::PodGone(&old), |other| other.priority() <= priority, now);
        }
        true
    }

    fn put(&mut self, pod: &Arc<PodInfo>, now: Instant) -> Option<Arc<PodInfo>> {
        let profile = self.world.profiles.get(&pod.ask().scheduler)?;
        self.queue.put(pod.clone(), self.world.context(profile), now)
    }

    fn pod_is_placed(&mut self, pod: &Arc<PodInfo>, now: Instant) -> bool {
        if self.queue.get(&pod.key).is_some() {
            self.queue.remove(&pod.key);
            self.world.nominated.remove(&pod.uid);
        }
        let assumed = self.world.cache.is_assumed(&pod.uid);
        if !assumed && self.world.cache.pod(&pod.uid).is_some_and(|known| known.is_same(pod)) {
            return false;
        }
        match self.world.cache.put_pod(pod.clone()) {
            Some(old) if !assumed => self.tell(Change::PodChanged { old: &old, new: pod }, |_| true, now),
            _ => self.tell(Change::PodPlaced(pod), |_| true, now),
        }
    }

    /// A pod is deleted or has ended. True when another can be tried.
    pub(super) fn pod_gone(&mut self, pod: &PodInfo, now: Instant) -> bool {
        let waited = self.queue.get(&pod.key).filter(|known| known.uid == pod.uid).cloned();
        if waited.is_some() {
            self.queue.remove(&pod.key);
            self.world.nominated.remove(&pod.uid);
        }
        if let Some(old) = self.world.cache.remove_pod(&pod.uid) {
            return self.tell(Change::PodGone(&old), |_| true, now);
        }
        let nominated = waited.filter(|known| known.nominated.is_some());
        nominated.is_some_and(|old| {
            let priority = old.priority();
            self.tell(Change::PodGone(&old), |other| other.priority() <= priority, now)
        })
    }

    pub(super) fn forget_unseen(&mut self, seen: &HashSet<String>, now: Instant) -> bool {
        let unseen = |uid: &str| !seen.contains(uid);
        let mut gone: Vec<Arc<PodInfo>> = self.queue.pods().filter(|pod| unseen(&pod.uid)).cloned().collect();
        let cache = &self.world.cache;
        gone.extend(cache.confirmed().filter(|uid| unseen(uid)).filter_map(|uid| cache.pod(uid)).cloned());
        gone.iter().fold(true, |woken, pod| self.pod_gone(pod, now) || woken)
    }
}
