//! The ServiceCIDR controller's shell.

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::write;
use crate::plan::service_cidr::{self as plan, Action, FINALIZER};
use crate::{Launch, Shared, time};

const NAME: &str = "service-cidrs-controller";

struct Shell {
    client: Client,
    ranges: Informer<ServiceCIDR>,
    addresses: Informer<IPAddress>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let ranges = shared.informers.of::<ServiceCIDR>();
    let addresses = shared.informers.of::<IPAddress>();
    let (wake, known) = (queue.clone(), ranges.clone());
    ranges.on_change(move |change: Change<'_, ServiceCIDR>| {
        wake.add(Key::cluster(change.latest().name_any()));
        // a range that comes or goes may free another one or leave it alone
        if change.new.is_none() || change.old.is_none() {
            let leaving = known.list().into_iter().filter(|range| range.metadata.deletion_timestamp.is_some());
            leaving.for_each(|range| wake.add(Key::cluster(range.name_any())));
        }
    });
    let (wake, known) = (queue.clone(), ranges.clone());
    addresses.on_change(move |change: Change<'_, IPAddress>| {
        let leaving = known.list().into_iter().filter(|range| range.metadata.deletion_timestamp.is_some());
        let touched = leaving.filter(|range| plan::concerns(range, change.latest()));
        touched.for_each(|range| wake.add(Key::cluster(range.name_any())));
    });
    let shell = std::sync::Arc::new(Shell { client: shared.client(NAME), ranges, addresses });
    let shared = shared.clone();
    Box::new(move || {
        informer::work(&queue, 1, &shared.context, NAME, move |key: Key| {
            let shell = std::sync::Arc::clone(&shell);
            async move { shell.sync(&key).await }
        });
    })
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(range) = self.ranges.get("", &key.name) else { return Ok(Next::Done) };
        let all: Vec<ServiceCIDR> = self.ranges.list().iter().map(|range| (**range).clone()).collect();
        let addresses: Vec<IPAddress> = self.addresses.list().iter().map(|address| (**address).clone()).collect();
        let api: Api<ServiceCIDR> = Api::all(self.client.clone());
        let mut next = Next::Done;
        for action in plan::plan(&range, &all, &addresses, time::now()) {
            let finalizers = |change: Value| Patch::Strategic(json!({ "metadata": change }));
            let written = match action {
                Action::Wait(left) => {
                    next = Next::After(left);
                    continue;
                }
                Action::Hold => patch(&api, &range, &finalizers(json!({ "finalizers": [FINALIZER] }))).await,
                Action::LetGo => {
                    let gone = json!({ "$deleteFromPrimitiveList/finalizers": [FINALIZER] });
                    patch(&api, &range, &finalizers(gone)).await
                }
                Action::Say(ready) => {
                    let condition = json!({
                        "type": "Ready", "status": ready.status, "reason": ready.reason, "message": ready.message,
                        "lastTransitionTime": time::rfc3339(time::now()),
                    });
                    let status = Patch::Strategic(json!({ "status": { "conditions": [condition] } }));
                    api.patch_status(&key.name, &PatchParams::default(), &status).await
                }
            };
            match written {
                Ok(_) => {}
                Err(error) if write::is_not_found(&error) => return Ok(Next::Done),
                Err(error) => return Err(write::failed(&error, format_args!("cannot settle the ServiceCIDR {key}"))),
            }
        }
        Ok(next)
    }
}

async fn patch(api: &Api<ServiceCIDR>, range: &ServiceCIDR, change: &Patch<Value>) -> kube::Result<ServiceCIDR> {
    api.patch(&range.name_any(), &PatchParams::default(), change).await
}
