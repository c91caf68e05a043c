//! The shells that keep claims, volumes and classes of attributes while they are used.

use std::sync::Arc;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};

use super::super::replicaset::key;
use super::super::write;
use crate::plan::pod;
use crate::plan::volume::claims_of;
use crate::plan::volume::protect::{self as plan, Needs};
use crate::{Launch, Shared};

const CLAIMS: &str = "pvc-protection-controller";
const VOLUMES: &str = "pv-protection-controller";
const ATTRIBUTES: &str = "volumeattributesclass-protection-controller";

struct Claims {
    client: Client,
    claims: Informer<PersistentVolumeClaim>,
    pods: Informer<Pod>,
}

pub(crate) fn claims(shared: &Shared) -> Launch {
    let claims = shared.informers.of::<PersistentVolumeClaim>();
    let pods = shared.informers.of::<Pod>();
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    claims.on_change(move |change: Change<'_, PersistentVolumeClaim>| {
        if change.new.is_some_and(|claim| plan::needs(&**claim, plan::CLAIM) != Needs::Nothing) {
            wake.add(key(&**change.latest()));
        }
    });
    let wake = queue.clone();
    pods.on_change(move |change: Change<'_, Pod>| {
        // only a pod that is gone, ended or not placed can set a claim free
        let sets_free = |one: &Pod| pod::is_terminal(one) || pod::node_name(one).is_empty();
        let replaced = change.old.zip(change.new).is_some_and(|(old, new)| old.uid() != new.uid());
        let shut_down = |one: &Pod| one.metadata.deletion_grace_period_seconds == Some(0);
        if change.new.is_none_or(|new| sets_free(new) || shut_down(new)) || replaced {
            let namespace = change.latest().namespace().unwrap_or_default();
            let named = change.old.into_iter().chain(change.new).flat_map(|pod| claims_of(pod).collect::<Vec<_>>());
            named.for_each(|name| wake.add(Key::new(namespace.clone(), name)));
        }
    });
    let shell = Arc::new(Claims { client: shared.client(CLAIMS), claims: claims.clone(), pods });
    let shared = shared.clone();
    Box::new(move || {
        shared.resync(&queue, move || claims.list().iter().map(|claim| key(&**claim)).collect());
        informer::work(&queue, 2, &shared.context, CLAIMS, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

impl Claims {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        let has = match plan::needs(&*claim, plan::CLAIM) {
            Needs::Nothing => return Ok(Next::Done),
            Needs::Finalizer => true,
            Needs::Release if self.is_used(&claim).await? => return Ok(Next::Done),
            Needs::Release => false,
        };
        match write::replace(&self.client, &plan::changed(&*claim, plan::CLAIM, has)).await {
            Ok(_) => {}
            Err(error) if write::is_not_found(&error) => {}
            Err(error) => {
                return Err(write::failed(&error, format_args!("cannot write the finalizers of claim {key}")));
            }
        }
        Ok(Next::Done)
    }

    /// The cache may say that it is used; that it is not only the server can.
    async fn is_used(&self, claim: &PersistentVolumeClaim) -> anyhow::Result<bool> {
        let namespace = claim.namespace().unwrap_or_default();
        if self.pods.in_namespace(&namespace).iter().any(|pod| plan::uses(pod, claim)) {
            return Ok(true);
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let live = api.list(&ListParams::default()).await;
        let live = live.map_err(|error| write::failed(&error, format_args!("cannot list the pods of {namespace}")))?;
        Ok(live.items.iter().any(|pod| plan::uses(pod, claim)))
    }
}

pub(crate) fn volumes(shared: &Shared) -> Launch {
    let volumes = shared.informers.of::<PersistentVolume>();
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    volumes.on_change(move |change: Change<'_, PersistentVolume>| {
        if change.new.is_some_and(|volume| plan::needs(&**volume, plan::VOLUME) != Needs::Nothing) {
            wake.add(Key::cluster(change.latest().name_any()));
        }
    });
    let client = shared.client(VOLUMES);
    let shared = shared.clone();
    Box::new(move || {
        informer::work(&queue, 1, &shared.context, VOLUMES, move |key: Key| {
            let (client, volumes) = (client.clone(), volumes.clone());
            async move { write::settle(sync_volume(&client, &volumes, &key).await) }
        });
    })
}

async fn sync_volume(client: &Client, volumes: &Informer<PersistentVolume>, key: &Key) -> anyhow::Result<Next> {
    let Some(volume) = volumes.get("", &key.name) else { return Ok(Next::Done) };
    let has = match plan::needs(&*volume, plan::VOLUME) {
        Needs::Nothing => return Ok(Next::Done),
        Needs::Finalizer => true,
        Needs::Release if plan::is_bound(&volume) => return Ok(Next::Done),
        Needs::Release => false,
    };
    let api: Api<PersistentVolume> = Api::all(client.clone());
    let next = plan::changed(&*volume, plan::VOLUME, has);
    match api.replace(&key.name, &PostParams::default(), &next).await {
        Ok(_) => Ok(Next::Done),
        Err(error) if write::is_not_found(&error) => Ok(Next::Done),
        Err(error) => Err(write::failed(&error, format_args!("cannot write the finalizers of volume {key}"))),
    }
}

struct Attributes {
    client: Client,
    classes: Informer<VolumeAttributesClass>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
}

pub(crate) fn attributes(shared: &Shared) -> Launch {
    let classes = shared.informers.of::<VolumeAttributesClass>();
    let claims = shared.informers.of::<PersistentVolumeClaim>();
    let volumes = shared.informers.of::<PersistentVolume>();
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    classes.on_change(move |change: Change<'_, VolumeAttributesClass>| {
        if change.new.is_some_and(|class| plan::needs(&**class, plan::ATTRIBUTES) != Needs::Nothing) {
            wake.add(Key::cluster(change.latest().name_any()));
        }
    });
    let leaving = |queue: &Queue<Key>, classes: &Informer<VolumeAttributesClass>| {
        let all = classes.list().into_iter();
        all.filter(|class| class.metadata.deletion_timestamp.is_some())
            .for_each(|class| queue.add(Key::cluster(class.name_any())));
    };
    let (wake, known) = (queue.clone(), classes.clone());
    claims.on_change(move |_: Change<'_, PersistentVolumeClaim>| leaving(&wake, &known));
    let (wake, known) = (queue.clone(), classes.clone());
    volumes.on_change(move |_: Change<'_, PersistentVolume>| leaving(&wake, &known));
    let shell = Arc::new(Attributes { client: shared.client(ATTRIBUTES), classes, claims, volumes });
    let shared = shared.clone();
    Box::new(move || {
        informer::work(&queue, 1, &shared.context, ATTRIBUTES, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

impl Attributes {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(class) = self.classes.get("", &key.name) else { return Ok(Next::Done) };
        let has = match plan::needs(&*class, plan::ATTRIBUTES) {
            Needs::Nothing => return Ok(Next::Done),
            Needs::Finalizer => true,
            Needs::Release if self.is_used(&key.name).await? => return Ok(Next::Done),
            Needs::Release => false,
        };
        let api: Api<VolumeAttributesClass> = Api::all(self.client.clone());
        let next = plan::changed(&*class, plan::ATTRIBUTES, has);
        match api.replace(&key.name, &PostParams::default(), &next).await {
            Ok(_) => Ok(Next::Done),
            Err(error) if write::is_not_found(&error) => Ok(Next::Done),
            Err(error) => Err(write::failed(&error, format_args!("cannot write the finalizers of class {key}"))),
        }
    }

    /// The cache may say that it is used; that it is not only the server can.
    async fn is_used(&self, class: &str) -> anyhow::Result<bool> {
        if self.claims.list().iter().any(|claim| plan::claim_uses_attributes(claim, class))
            || self.volumes.list().iter().any(|volume| plan::volume_uses_attributes(volume, class))
        {
            return Ok(true);
        }
        let attempt = |error: kube::Error| write::failed(&error, format_args!("cannot list who uses class {class}"));
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let volumes = volumes.list(&ListParams::default()).await.map_err(attempt)?;
        if volumes.items.iter().any(|volume| plan::volume_uses_attributes(volume, class)) {
            return Ok(true);
        }
        let claims: Api<PersistentVolumeClaim> = Api::all(self.client.clone());
        let claims = claims.list(&ListParams::default()).await.map_err(attempt)?;
        Ok(claims.items.iter().any(|claim| plan::claim_uses_attributes(claim, class)))
    }
}
