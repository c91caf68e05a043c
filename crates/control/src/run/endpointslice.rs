//! The EndpointSlice controller's shell.

use std::collections::HashMap;
use std::sync::Arc;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::DeleteParams;
use kube::{Client, ResourceExt};
use tokio::time::Instant;

use super::overlay::Overlay;
use super::replicaset::key;
use super::{service, write};
use crate::events::Recorder;
use crate::plan::endpointslice::{self as plan, Action, Observed};
use crate::plan::pod;
use crate::{Launch, Shared};

const NAME: &str = "endpointslice-controller";

struct Shell {
    client: Client,
    events: Recorder,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Overlay<EndpointSlice>,
    pace: service::Pace,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let services = shared.informers.of::<Service>();
    let pods = shared.informers.of::<Pod>();
    let cache = shared.informers.of::<EndpointSlice>();
    service::wake(&queue, &services, &pods);
    let wake = queue.clone();
    cache.on_change(move |change: Change<'_, EndpointSlice>| {
        let slice = change.latest();
        if let Some(name) = slice.labels().get(plan::SERVICE_NAME).filter(|_| plan::is_ours(slice)) {
            wake.add(Key::new(slice.namespace().unwrap_or_default(), name.clone()));
        }
    });
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        events: shared.events.recorder(NAME),
        services: services.clone(),
        pods,
        nodes: shared.informers.of::<Node>(),
        slices: Overlay::new(cache),
        pace: service::Pace::default(),
    });
    let shared = shared.clone();
    Box::new(move || {
        shared.resync(&queue, move || services.list().iter().map(|one| key(&**one)).collect());
        informer::work(&queue, 2, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        if let Some(wait) = self.pace.wait(key, Instant::now()) {
            return Ok(Next::After(wait));
        }
        let service = self.services.get(&key.namespace, &key.name);
        let mut slices = self.slices.in_namespace(&key.namespace);
        slices.retain(|slice| {
            plan::is_ours(slice)
                && slice.metadata.deletion_timestamp.is_none()
                && slice.labels().get(plan::SERVICE_NAME) == Some(&key.name)
        });
        let pods = if service.is_some() { self.pods.in_namespace(&key.namespace) } else { Vec::new() };
        let nodes = self.nodes_of(&pods);
        let size = slices.iter().map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len)).sum();
        for action in plan::plan(service.as_deref(), &Observed { pods: &pods, slices: &slices, nodes: &nodes }) {
            if let Err(error) = act(&self.client, &self.slices, action).await {
                if write::namespace_is_leaving(&error) {
                    return Ok(Next::Done);
                }
                if let Some(service) = service.filter(|_| !write::is_conflict(&error)) {
                    let text = format!("Error updating Endpoint Slices for Service {key}: {}", write::message(&error));
                    self.events.warning(&*service, "FailedToUpdateEndpointSlices", text);
                }
                return Err(write::failed(&error, format_args!("cannot write the endpoint slices of service {key}")));
            }
            self.pace.wrote(key, size, Instant::now());
        }
        Ok(Next::Done)
    }

    fn nodes_of(&self, pods: &[Arc<Pod>]) -> HashMap<String, Arc<Node>> {
        let mut nodes = HashMap::new();
        for name in pods.iter().map(|pod| pod::node_name(pod)).filter(|name| !name.is_empty()) {
            if !nodes.contains_key(name)
                && let Some(node) = self.nodes.get("", name)
            {
                nodes.insert(name.to_owned(), node);
            }
        }
        nodes
    }
}

/// Writes a slice, and notes what was written in `slices`. Mirroring does the same.
pub(super) async fn act(client: &Client, slices: &Overlay<EndpointSlice>, action: Action) -> kube::Result<()> {
    match action {
        Action::Create(slice) => drop(slices.wrote(write::create(client, &*slice).await?)),
        Action::Update(slice) => drop(slices.wrote(write::replace(client, &*slice).await?)),
        Action::Delete(slice) => {
            write::delete(client, &*slice, DeleteParams::default()).await?;
            slices.deleted(&slice);
        }
    }
    Ok(())
}
