//! The shell that tells of claims that want more than they have. Growing a volume is for its driver or provisioner.

use std::sync::Arc;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;

use super::super::replicaset::key;
use super::super::write;
use crate::events::Recorder;
use crate::plan::volume::{claimed_by, matching, volume_of};
use crate::{Launch, Shared};

const NAME: &str = "expand-controller";

struct Shell {
    events: Recorder,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let claims = shared.informers.of::<PersistentVolumeClaim>();
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    claims.on_change(move |change: Change<'_, PersistentVolumeClaim>| {
        let Some(new) = change.new.filter(|new| wants_more(new)) else { return };
        if change.old.is_none_or(|old| matching::requested(new) > matching::requested(old)) {
            wake.add(key(&**new));
        }
    });
    let shell = Arc::new(Shell {
        events: shared.events.recorder_as(NAME, "volume_expand"),
        claims,
        volumes: shared.informers.of(),
    });
    let shared = shared.clone();
    Box::new(move || {
        informer::work(&queue, 1, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key)) }
        });
    })
}

/// Whether a bound claim asks for more than it was told to have.
fn wants_more(claim: &PersistentVolumeClaim) -> bool {
    let Some(status) = &claim.status else { return false };
    status.phase.as_deref() == Some("Bound") && matching::requested(claim) > matching::storage(status.capacity.as_ref())
}

impl Shell {
    fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(claim) = self.claims.get(&key.namespace, &key.name).filter(|claim| wants_more(claim)) else {
            return Ok(Next::Done);
        };
        let Some(volume) = self.volumes.get("", volume_of(&claim)) else { return Ok(Next::Done) };
        anyhow::ensure!(
            claimed_by(&volume).is_some_and(|held| held.uid == claim.uid()),
            "persistent Volume is not bound to PVC being updated : {key}"
        );
        let message = "waiting for an external controller to expand this PVC";
        self.events.warning(&*claim, "ExternalExpanding", message.into());
        Ok(Next::Done)
    }
}
