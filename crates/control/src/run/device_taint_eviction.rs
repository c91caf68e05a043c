//! The shell that moves pods away from tainted devices.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DeleteParams;
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::node_lifecycle::patch_pod_status;
use super::replicaset::key;
use super::{clock, write};
use crate::events::Recorder;
use crate::plan::device_taint_eviction::{self as plan, Fate, Tainted};
use crate::plan::{pod, resource_claim};
use crate::time;
use crate::{Launch, Shared};

const NAME: &str = "device-taint-eviction-controller";
/// What events are told by, and what they are about.
const EVICTION: &str = "DeviceTaintManagerEviction";

struct Shell {
    client: Client,
    events: Recorder,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    slices: Informer<ResourceSlice>,
    /// The uids of pods that will have to go.
    leaving: Mutex<HashSet<String>>,
}

fn uses_devices(pod: &Pod) -> bool {
    !pod::node_name(pod).is_empty() && !resource_claim::of_spec(pod).is_empty()
}

/// The keys of all pods on nodes that use devices.
fn all(pods: &Informer<Pod>) -> Vec<Key> {
    pods.list().iter().filter(|pod| uses_devices(pod)).map(|pod| key(&**pod)).collect()
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let pods = shared.informers.of::<Pod>();
    let claims = shared.informers.of::<ResourceClaim>();
    let slices = shared.informers.of::<ResourceSlice>();
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    pods.on_change(move |change: Change<'_, Pod>| {
        let pod = change.latest();
        if uses_devices(pod) {
            wake.add(key(&**pod));
        }
    });
    let wake = queue.clone();
    claims.on_change(move |change: Change<'_, ResourceClaim>| {
        let namespace = change.latest().namespace().unwrap_or_default();
        let both = change.old.into_iter().chain(change.new);
        let users = both.flat_map(|claim| resource_claim::consumers(claim));
        users.for_each(|pod| wake.add(Key::new(namespace.clone(), pod.name.clone())));
    });
    let (wake, known) = (queue.clone(), pods.clone());
    slices.on_change(move |change: Change<'_, ResourceSlice>| {
        let tainted = |slice: &Arc<ResourceSlice>| {
            slice.spec.devices.iter().flatten().any(|device| device.taints.as_ref().is_some_and(|all| !all.is_empty()))
        };
        if change.old.is_some_and(tainted) || change.new.is_some_and(tainted) {
            all(&known).into_iter().for_each(|key| wake.add(key));
        }
    });
    let known = pods.clone();
    clock::on_jump(shared, &queue, move || all(&known));
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        events: shared.events.recorder(NAME),
        pods,
        claims,
        slices,
        leaving: Mutex::default(),
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
        let uid = pod.uid().unwrap_or_default();
        let tainted = Tainted::of(&self.slices.list());
        let find = |name: &str| self.claims.get(&key.namespace, name);
        match plan::fate(&pod, find, &tainted, time::now()) {
            Fate::Stays => {
                if self.leaving.lock().remove(&uid) && pod.metadata.deletion_timestamp.is_none() {
                    self.events.normal(&*pod, EVICTION, "Cancelling deletion".into());
                }
                Ok(Next::Done)
            }
            Fate::Leaves(wait) => {
                self.leaving.lock().insert(uid);
                Ok(Next::After(wait.max(Duration::from_millis(1))))
            }
            Fate::Goes => {
                self.leaving.lock().remove(&uid);
                self.evict(&pod).await?;
                Ok(Next::Done)
            }
        }
    }

    async fn evict(&self, pod: &Arc<Pod>) -> anyhow::Result<()> {
        self.events.normal(&**pod, EVICTION, "Marking for deletion".into());
        let condition = PodCondition {
            type_: "DisruptionTarget".into(),
            status: "True".into(),
            reason: Some("DeletionByDeviceTaintManager".into()),
            message: Some("Device Taint manager: deleting due to NoExecute taint".into()),
            last_transition_time: Some(Time(time::now())),
            ..PodCondition::default()
        };
        patch_pod_status(&self.client, pod, json!({ "conditions": [condition] })).await?;
        match write::delete(&self.client, &**pod, DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(write::failed(&error, format_args!("cannot evict pod {}", key(&**pod)))),
        }
    }
}
