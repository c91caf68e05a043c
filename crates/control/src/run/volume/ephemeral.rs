//! The shell that makes claims for the ephemeral volumes of pods.

use std::sync::Arc;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Client, ResourceExt};

use super::super::overlay::Overlay;
use super::super::replicaset::key;
use super::super::write;
use crate::events::Recorder;
use crate::plan::volume::{claims_of, ephemeral as plan};
use crate::{Launch, Shared};

const NAME: &str = "ephemeral-volume-controller";

struct Shell {
    client: Client,
    events: Recorder,
    pods: Informer<Pod>,
    claims: Overlay<PersistentVolumeClaim>,
}

fn has_ephemeral(pod: &Pod) -> bool {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| volume.ephemeral.is_some())
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let pods = shared.informers.of::<Pod>();
    let claims = shared.informers.of::<PersistentVolumeClaim>();
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    pods.on_change(move |change: Change<'_, Pod>| {
        if change.new.is_some_and(|pod| has_ephemeral(pod) && pod.metadata.deletion_timestamp.is_none()) {
            wake.add(key(&**change.latest()));
        }
    });
    let (wake, known) = (queue.clone(), pods.clone());
    claims.on_change(move |change: Change<'_, PersistentVolumeClaim>| {
        if change.new.is_none() {
            let (namespace, name) = (change.latest().namespace().unwrap_or_default(), change.latest().name_any());
            let using =
                known.in_namespace(&namespace).into_iter().filter(|pod| claims_of(pod).any(|claim| claim == name));
            using.for_each(|pod| wake.add(key(&*pod)));
        }
    });
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        events: shared.events.recorder_as(NAME, "ephemeral_volume"),
        pods,
        claims: Overlay::new(claims),
    });
    let shared = shared.clone();
    Box::new(move || {
        informer::work(&queue, 4, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        for wanted in plan::missing(&pod, |name| self.claims.get(&key.namespace, name)) {
            let tell = |volume: &str, why: &str| {
                self.events.warning(&*pod, "FailedBinding", format!("ephemeral volume {volume}: {why}"));
            };
            match wanted {
                Err((volume, why)) => {
                    tell(&volume, &why);
                    anyhow::bail!("pod {key}, ephemeral volume {volume}: {why}");
                }
                Ok(claim) => {
                    let name = claim.name_any();
                    match write::create(&self.client, &claim).await {
                        Ok(written) => drop(self.claims.wrote(written)),
                        Err(error) if write::namespace_is_leaving(&error) => return Ok(Next::Done),
                        Err(error) => {
                            let volume = name.strip_prefix(&format!("{}-", pod.name_any())).unwrap_or(&name);
                            tell(volume, &format!("create PVC {name}: {}", write::message(&error)));
                            return Err(write::failed(&error, format_args!("cannot make claim {name} for pod {key}")));
                        }
                    }
                }
            }
        }
        Ok(Next::Done)
    }
}
