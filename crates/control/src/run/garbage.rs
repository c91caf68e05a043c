//! The garbage collector's shell: metadata of every kind in, deletions out.
//!
//! Invariant: only metadata is read, and only what the graph keeps stays in memory. Nothing is judged before every kind
//! has been listed once (or `PATIENCE` is over), since a dependent not seen yet would not hold its owner back.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use informer::{Change, Follow, Form, Informer, Next, Queue};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Endpoints, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, DynamicObject, PartialObjectMeta, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource as _};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::discovery::{self, Resource};
use super::write;
use crate::plan::garbage::{Fate, Graph, Identity, Kind, Liveness, Object, Owner, Verdict, Wake, judge, orphan_patch};
use crate::{Launch, Shared};

const NAME: &str = "generic-garbage-collector";
const PATIENCE: Duration = Duration::from_secs(30);
/// Deleting waits for the disk most of the time, so many may do so at once.
const WORKERS: usize = 20;
/// A changed set of kinds is read after it has settled.
const SETTLE: Duration = Duration::from_secs(1);

type Metadata = PartialObjectMeta<DynamicObject>;

impl fmt::Display for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Judge(uid) => write!(f, "uid {uid}"),
            Self::Orphan(uid) => write!(f, "orphans of uid {uid}"),
        }
    }
}

struct Collector {
    client: Client,
    shared: Shared,
    graph: Mutex<Graph>,
    queue: Queue<Wake>,
    kinds: Mutex<Kinds>,
    /// How many kinds have not been listed yet.
    pending: watch::Sender<usize>,
    rediscover: Notify,
}

#[derive(Default)]
struct Kinds {
    known: HashMap<(String, String), Arc<Kind>>,
    watches: HashMap<Arc<Kind>, tasks::Task>,
    followed: BTreeSet<Arc<Kind>>,
}

/// The informers whose events are used instead of a second watch.
struct Followed {
    pods: Informer<Pod>,
    sets: Informer<ReplicaSet>,
    deployments: Informer<Deployment>,
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
    namespaces: Informer<Namespace>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let followed = Followed {
        pods: shared.informers.of(),
        sets: shared.informers.of(),
        deployments: shared.informers.of(),
        services: shared.informers.of(),
        endpoints: shared.informers.of(),
        slices: shared.informers.of(),
        nodes: shared.informers.of(),
        namespaces: shared.informers.of(),
    };
    let collector = Arc::new(Collector {
        client: shared.client(NAME),
        shared: shared.clone(),
        graph: Mutex::default(),
        queue: Queue::new(),
        kinds: Mutex::default(),
        pending: watch::Sender::new(0),
        rediscover: Notify::new(),
    });
    Box::new(move || {
        let children = collector.shared.context.children.clone();
        children.spawn(format!("{NAME} discovery"), async move { collector.run(followed).await });
    })
}

impl Collector {
    async fn run(self: Arc<Self>, followed: Followed) {
        let mut wait = Duration::from_millis(100);
        while let Err(error) = self.discover(&followed).await {
            tracing::warn!("cannot discover kinds for garbage collection, trying again: {}", write::message(&error));
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(PATIENCE);
        }
        let mut pending = self.pending.subscribe();
        let listed = tokio::time::timeout(PATIENCE, pending.wait_for(|pending| *pending == 0)).await.is_ok();
        if !listed {
            tracing::warn!(
                kinds = *self.pending.borrow(),
                "garbage collection starts although some kinds could not be listed"
            );
        }
        let collector = Arc::clone(&self);
        informer::work(&self.queue, WORKERS, &self.shared.context, NAME, move |wake: Wake| {
            let collector = Arc::clone(&collector);
            async move { write::settle(collector.act(wake).await) }
        });
        loop {
            self.rediscover.notified().await;
            tokio::time::sleep(SETTLE).await;
            if let Err(error) = self.discover(&followed).await {
                tracing::warn!("cannot discover kinds for garbage collection: {}", write::message(&error));
                self.rediscover.notify_one();
            }
        }
    }

    /// Starts a watch for every kind that can be collected and is not watched yet, ends those of kinds that are gone.
    async fn discover(self: &Arc<Self>, followed: &Followed) -> kube::Result<()> {
        let resources = discovery::resources(&self.client).await?;
        let collectable = |resource: &&Resource| {
            resource.can("delete") && resource.can("list") && resource.can("watch") && resource.kind.kind != "Event" // many, short-lived, and never owned
        };
        let wanted: Vec<Arc<Kind>> =
            resources.iter().filter(collectable).map(|resource| resource.kind.clone()).collect();
        let present: HashSet<&Arc<Kind>> = wanted.iter().collect();
        let mut kinds = self.kinds.lock();
        kinds.known = resources
            .iter()
            .map(|resource| ((resource.kind.group.clone(), resource.kind.kind.clone()), resource.kind.clone()))
            .collect();
        kinds.watches.retain(|kind, task| {
            let stays = present.contains(kind);
            if !stays {
                task.abort();
            }
            stays
        });
        for kind in wanted {
            if kinds.watches.contains_key(&kind) || kinds.followed.contains(&kind) {
                continue;
            }
            if self.follow(&kind, followed) {
                kinds.followed.insert(kind);
                continue;
            }
            self.pending.send_modify(|pending| *pending += 1);
            let name = format!("{NAME} watch {}.{}", kind.plural, kind.group);
            let task = self.shared.context.children.spawn(name, Arc::clone(self).watch(kind.clone()));
            kinds.watches.insert(kind, task);
        }
        Ok(())
    }

    fn follow(self: &Arc<Self>, kind: &Arc<Kind>, followed: &Followed) -> bool {
        match (kind.group.as_str(), kind.kind.as_str()) {
            ("", "Pod") => self.listen(kind, &followed.pods),
            ("apps", "ReplicaSet") => self.listen(kind, &followed.sets),
            ("apps", "Deployment") => self.listen(kind, &followed.deployments),
            ("", "Service") => self.listen(kind, &followed.services),
            ("", "Endpoints") => self.listen(kind, &followed.endpoints),
            ("discovery.k8s.io", "EndpointSlice") => self.listen(kind, &followed.slices),
            ("", "Node") => self.listen(kind, &followed.nodes),
            ("", "Namespace") => self.listen(kind, &followed.namespaces),
            _ => return false,
        }
        true
    }

    fn listen<K: informer::Object>(self: &Arc<Self>, kind: &Arc<Kind>, informer: &Informer<K>) {
        let (collector, kind) = (Arc::clone(self), Arc::clone(kind));
        informer.on_change(move |change: Change<'_, K>| match change.new {
            Some(new) => collector.put(&kind, new.meta()),
            None => collector.gone(change.latest().meta()),
        });
    }

    fn put(&self, kind: &Arc<Kind>, metadata: &ObjectMeta) {
        let Some(object) = Object::of(kind, metadata) else { return };
        let wakes = self.graph.lock().put(object);
        self.wake(wakes);
        if matches!(kind.kind.as_str(), "CustomResourceDefinition" | "APIService") {
            self.rediscover.notify_one();
        }
    }

    fn gone(&self, metadata: &ObjectMeta) {
        let wakes = self.graph.lock().remove(metadata.uid.as_deref().unwrap_or(""));
        self.wake(wakes);
    }

    fn wake(&self, wakes: Vec<Wake>) {
        wakes.into_iter().for_each(|wake| self.queue.add(wake));
    }

    async fn watch(self: Arc<Self>, kind: Arc<Kind>) {
        let path = Metadata::url_path(&discovery::api_resource(&kind), None);
        let mut events =
            Follow::<Metadata>::new(self.client.clone(), &path, watcher::Config::default(), Form::Metadata);
        let mut listed: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut first = true;
        loop {
            match events.next().await {
                Event::Init => listed.clear(),
                Event::InitApply(object) => {
                    listed.extend(object.metadata.uid.as_deref().map(Arc::from));
                    self.put(&kind, &object.metadata);
                }
                Event::InitDone => {
                    let wakes = self.graph.lock().retain(&kind, |uid| listed.contains(uid));
                    listed.clear();
                    self.wake(wakes);
                    if std::mem::take(&mut first) {
                        self.pending.send_modify(|pending| *pending -= 1);
                    }
                }
                Event::Apply(object) => self.put(&kind, &object.metadata),
                Event::Delete(object) => self.gone(&object.metadata),
            }
        }
    }

    async fn act(&self, wake: Wake) -> anyhow::Result<Next> {
        match wake {
            Wake::Judge(uid) => self.judge(&uid).await,
            Wake::Orphan(uid) => self.orphan(&uid).await,
        }
    }

    async fn judge(&self, uid: &Arc<str>) -> anyhow::Result<Next> {
        let (identity, owners, settled) = {
            let graph = self.graph.lock();
            let Some(object) = graph.get(uid) else { return Ok(Next::Done) };
            let lives = |owner: &Owner| graph.get(&owner.uid).is_some_and(|owner| !owner.foreground);
            let settled = !object.deleting && object.owners.iter().all(lives);
            (object.identity.clone(), object.owners.clone(), settled)
        };
        if settled {
            return Ok(Next::Done); // the usual case costs no request; an owner's end wakes us again
        }
        let Some(live) = self.live(&identity).await? else {
            let wakes = self.graph.lock().remove(uid);
            self.wake(wakes);
            return Ok(Next::Done);
        };
        let mut fates: HashMap<Arc<str>, Liveness> = HashMap::new();
        for owner in Object::of(&identity.kind, &live).map_or(owners, |object| object.owners) {
            let fate = self.liveness(&owner, &identity).await?;
            fates.insert(owner.uid.clone(), fate);
        }
        let verdict = {
            let graph = self.graph.lock();
            judge(&graph, &live, |owner| fates.get(&owner.uid).copied().unwrap_or(Liveness::Unknown))
        };
        self.execute(&identity, verdict).await
    }

    async fn execute(&self, identity: &Identity, verdict: Verdict) -> anyhow::Result<Next> {
        match verdict {
            Verdict::Keep => {}
            Verdict::Later => return Ok(Next::After(Duration::from_secs(30))),
            Verdict::Delete(fate) => self.delete(identity, fate).await?,
            Verdict::Disown(patch) | Verdict::RemoveFinalizer(patch) => self.patch(identity, patch).await?,
            Verdict::WaitFor(dependents) => dependents.into_iter().for_each(|uid| self.queue.add(Wake::Judge(uid))),
            Verdict::BreakCircle(patch) => {
                self.patch(identity, patch).await?;
                self.delete(identity, Fate::Foreground).await?;
            }
        }
        Ok(Next::Done)
    }

    /// Frees the dependents, then the owner.
    async fn orphan(&self, uid: &Arc<str>) -> anyhow::Result<Next> {
        let (owner, dependents) = {
            let graph = self.graph.lock();
            let Some(owner) = graph.get(uid) else { return Ok(Next::Done) };
            let dependents: Vec<Identity> = graph.dependents(uid).into_iter().map(|one| one.identity.clone()).collect();
            (owner.identity.clone(), dependents)
        };
        for identity in dependents.iter().chain([&owner]) {
            if let Some(live) = self.live(identity).await? {
                self.patch(identity, orphan_patch(&live, uid)).await?;
            }
        }
        Ok(Next::Done)
    }

    fn api<K>(&self, identity: &Identity) -> Api<K>
    where
        K: kube::Resource<DynamicType = kube::api::ApiResource, Scope = kube::core::DynamicResourceScope>,
    {
        let kind = discovery::api_resource(&identity.kind);
        if identity.kind.namespaced {
            Api::namespaced_with(self.client.clone(), &identity.namespace, &kind)
        } else {
            Api::all_with(self.client.clone(), &kind)
        }
    }

    /// The object as it is now, if it is still this very one.
    async fn live(&self, identity: &Identity) -> anyhow::Result<Option<ObjectMeta>> {
        let api: Api<Metadata> = self.api(identity);
        let found = api.get_opt(&identity.name).await.map_err(|error| {
            write::failed(
                &error,
                format_args!("cannot read {} {}/{}", identity.kind.plural, identity.namespace, identity.name),
            )
        })?;
        Ok(found.map(|found| found.metadata).filter(|metadata| metadata.uid.as_deref() == Some(&*identity.uid)))
    }

    async fn liveness(&self, owner: &Owner, dependent: &Identity) -> anyhow::Result<Liveness> {
        if let Some(known) = self.graph.lock().get(&owner.uid) {
            return Ok(if known.foreground { Liveness::WaitsForDependents } else { Liveness::Lives });
        }
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let kind = self.kinds.lock().known.get(&(group.to_owned(), owner.kind.clone())).cloned();
        let Some(kind) = kind else { return Ok(Liveness::Unknown) };
        if kind.namespaced && !dependent.kind.namespaced {
            return Ok(Liveness::Unknown); // a cluster-wide object cannot have such an owner; leave it to people
        }
        let namespace = if kind.namespaced { dependent.namespace.clone() } else { String::new() };
        let identity = Identity { kind: kind.clone(), namespace, name: owner.name.clone(), uid: owner.uid.clone() };
        let Some(live) = self.live(&identity).await? else { return Ok(Liveness::Gone) };
        let Some(object) = Object::of(&kind, &live) else { return Ok(Liveness::Gone) };
        let fate = if object.foreground { Liveness::WaitsForDependents } else { Liveness::Lives };
        let wakes = self.graph.lock().vouch(object); // from now on its end is noticed by the watch
        self.wake(wakes);
        Ok(fate)
    }

    async fn delete(&self, identity: &Identity, fate: Fate) -> anyhow::Result<()> {
        let policy = match fate {
            Fate::Background => PropagationPolicy::Background,
            Fate::Foreground => PropagationPolicy::Foreground,
            Fate::Orphan => PropagationPolicy::Orphan,
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions { uid: Some(identity.uid.to_string()), resource_version: None }),
            ..DeleteParams::default()
        };
        let api: Api<DynamicObject> = self.api(identity);
        match api.delete(&identity.name, &params).await {
            Ok(_) => {
                tracing::debug!(
                    kind = identity.kind.kind,
                    namespace = identity.namespace,
                    name = identity.name,
                    "garbage deleted"
                );
                Ok(())
            }
            Err(error) if write::is_not_found(&error) => Ok(()),
            Err(error) => Err(write::failed(
                &error,
                format_args!("cannot delete {} {}/{}", identity.kind.plural, identity.namespace, identity.name),
            )),
        }
    }

    async fn patch(&self, identity: &Identity, patch: serde_json::Value) -> anyhow::Result<()> {
        let api: Api<DynamicObject> = self.api(identity);
        match api.patch_metadata(&identity.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(error) if write::is_not_found(&error) => Ok(()),
            Err(error) => Err(write::failed(
                &error,
                format_args!("cannot change {} {}/{}", identity.kind.plural, identity.namespace, identity.name),
            )),
        }
    }
}
