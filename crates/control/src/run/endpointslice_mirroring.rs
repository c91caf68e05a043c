//! The shell that mirrors Endpoints into EndpointSlices.

use std::sync::Arc;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Client, ResourceExt};

use super::overlay::Overlay;
use super::replicaset::key;
use super::{endpointslice, write};
use crate::events::Recorder;
use crate::plan::endpointslice::SERVICE_NAME;
use crate::plan::endpointslice_mirroring as plan;
use crate::{Launch, Shared};

const NAME: &str = "endpointslicemirroring-controller";

struct Shell {
    client: Client,
    events: Recorder,
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    slices: Overlay<EndpointSlice>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let services = shared.informers.of::<Service>();
    let endpoints = shared.informers.of::<Endpoints>();
    let slices = shared.informers.of::<EndpointSlice>();
    let wake = queue.clone();
    endpoints.on_change(move |change: Change<'_, Endpoints>| wake.add(key(&**change.latest())));
    let wake = queue.clone();
    services.on_change(move |change: Change<'_, Service>| {
        let selects = |service: Option<&Arc<Service>>| {
            service.map(|service| service.spec.as_ref().is_some_and(|spec| spec.selector.is_some()))
        };
        if selects(change.old) != selects(change.new) {
            wake.add(key(&**change.latest()));
        }
    });
    let wake = queue.clone();
    slices.on_change(move |change: Change<'_, EndpointSlice>| {
        let slice = change.latest();
        if let Some(name) = slice.labels().get(SERVICE_NAME).filter(|_| plan::is_ours(slice)) {
            wake.add(Key::new(slice.namespace().unwrap_or_default(), name.clone()));
        }
    });
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        events: shared.events.recorder_as(NAME, "endpoint-slice-mirroring-controller"),
        services,
        endpoints: endpoints.clone(),
        slices: Overlay::new(slices),
    });
    let shared = shared.clone();
    Box::new(move || {
        shared.resync(&queue, move || endpoints.list().iter().map(|one| key(&**one)).collect());
        informer::work(&queue, 2, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let service = self.services.get(&key.namespace, &key.name);
        let endpoints = self.endpoints.get(&key.namespace, &key.name);
        let mirrored = endpoints.filter(|one| service.is_some_and(|service| plan::is_mirrored(one, &service)));
        let mut slices = self.slices.in_namespace(&key.namespace);
        slices.retain(|slice| {
            plan::is_ours(slice)
                && slice.metadata.deletion_timestamp.is_none()
                && slice.labels().get(SERVICE_NAME) == Some(&key.name)
        });
        let planned = plan::plan(mirrored.as_deref(), &slices);
        if let Some(endpoints) = &mirrored {
            planned.notes.into_iter().for_each(|(reason, text)| self.events.warning(&**endpoints, reason, text));
        }
        for action in planned.actions {
            match endpointslice::act(&self.client, &self.slices, action).await {
                Ok(()) => {}
                Err(error) if write::namespace_is_leaving(&error) => return Ok(Next::Done),
                Err(error) => {
                    return Err(write::failed(&error, format_args!("cannot mirror the endpoints {key}")));
                }
            }
        }
        Ok(Next::Done)
    }
}
