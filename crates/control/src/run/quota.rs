//! The ResourceQuota controller's shell.

mod counts;

use std::sync::Arc;
use std::time::Duration;

use base::Key;
use informer::{Change, Informer, Next, Object, Queue};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use super::overlay::Overlay;
use super::replicaset::key;
use super::write;
use crate::plan::quota::{self as plan, Kind, Seen};
use crate::{Launch, Shared, time};
use counts::Counts;

const NAME: &str = "resourcequota-controller";
/// Everything is counted again after this long: what was booked and then refused is given back (upstream's default).
const RECOUNT: Duration = Duration::from_secs(300);

struct Shell {
    client: Client,
    quotas: Overlay<ResourceQuota>,
    pods: Informer<Pod>,
    services: Informer<Service>,
    claims: Informer<PersistentVolumeClaim>,
    devices: Informer<ResourceClaim>,
    counts: Counts,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let quotas = shared.informers.of::<ResourceQuota>();
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    quotas.on_change(move |change: Change<'_, ResourceQuota>| {
        let told = change.old.zip(change.new).is_some_and(|(old, new)| old.spec == new.spec);
        if !told {
            wake.add(key(&**change.latest()));
        }
    });
    let (wake, known) = (queue.clone(), quotas.clone());
    let counts = Counts::new(shared, move |kind: &Kind, namespace: &str| {
        wake_for(&wake, &known, (&kind.0, &kind.1), namespace);
    });
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        quotas: Overlay::new(quotas.clone()),
        pods: shared.informers.of(),
        services: shared.informers.of(),
        claims: shared.informers.of(),
        devices: shared.informers.of(),
        counts,
    });
    listen(&queue, &quotas, &shell.pods, ("", "pods"));
    listen(&queue, &quotas, &shell.services, ("", "services"));
    listen(&queue, &quotas, &shell.claims, ("", "persistentvolumeclaims"));
    listen(&queue, &quotas, &shell.devices, ("resource.k8s.io", "resourceclaims"));
    let shared = shared.clone();
    Box::new(move || {
        informer::work(&queue, 5, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

/// Wakes the quotas of a namespace when an object there uses less.
fn listen<K: Object + Serialize>(
    queue: &Queue<Key>,
    quotas: &Informer<ResourceQuota>,
    objects: &Informer<K>,
    kind: (&'static str, &'static str),
) {
    let (wake, quotas) = (queue.clone(), quotas.clone());
    objects.on_change(move |change: Change<'_, K>| {
        let Some(old) = change.old else { return };
        let namespace = old.namespace().unwrap_or_default();
        if quotas.in_namespace(&namespace).is_empty() {
            return; // the usual case costs nothing
        }
        if plan::frees(kind, &json(&**old), change.new.map(|new| json(&**new)).as_ref(), time::now()) {
            wake_for(&wake, &quotas, kind, &namespace);
        }
    });
}

fn wake_for(queue: &Queue<Key>, quotas: &Informer<ResourceQuota>, kind: (&str, &str), namespace: &str) {
    let concerned = quotas
        .in_namespace(namespace)
        .into_iter()
        .filter(|quota| plan::kinds(quota).iter().any(|(group, plural)| (group.as_str(), plural.as_str()) == kind));
    concerned.for_each(|quota| queue.add(key(&*quota)));
}

fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(quota) = self.quotas.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        let kinds = plan::kinds(&quota);
        self.counts.follow(&kinds).await?;
        if let Some(status) = plan::plan(&quota, time::now(), |kind| self.seen(kind, &key.namespace)) {
            let mut next = (*quota).clone();
            next.status = Some(status);
            write::keep_status(&self.client, &self.quotas, &next).await?;
        }
        Ok(Next::After(RECOUNT))
    }

    fn seen(&self, kind: &Kind, namespace: &str) -> Seen {
        match (kind.0.as_str(), kind.1.as_str()) {
            ("", "pods") => objects(&self.pods, namespace),
            ("", "services") => objects(&self.services, namespace),
            ("", "persistentvolumeclaims") => objects(&self.claims, namespace),
            ("resource.k8s.io", "resourceclaims") => objects(&self.devices, namespace),
            _ => self.counts.number(kind, namespace).map_or(Seen::Unknown, Seen::Number),
        }
    }
}

fn objects<K: Object + Serialize>(informer: &Informer<K>, namespace: &str) -> Seen {
    Seen::Objects(informer.in_namespace(namespace).iter().map(|object| json(&**object)).collect())
}
