//! The Endpoints controller's shell.

use std::sync::Arc;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use kube::api::DeleteParams;
use kube::{Client, ResourceExt};
use tokio::time::Instant;

use super::overlay::Overlay;
use super::replicaset::key;
use super::{service, write};
use crate::events::Recorder;
use crate::plan::endpoints::{self as plan, Action};
use crate::{Launch, Shared};

const NAME: &str = "endpoint-controller";

struct Shell {
    client: Client,
    events: Recorder,
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Overlay<Endpoints>,
    pace: service::Pace,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let services = shared.informers.of::<Service>();
    let pods = shared.informers.of::<Pod>();
    let cache = shared.informers.of::<Endpoints>();
    service::wake(&queue, &services, &pods);
    let wake = queue.clone();
    cache.on_change(move |change: Change<'_, Endpoints>| {
        let ours = change.latest().labels().get(plan::MANAGED_BY).is_some_and(|manager| manager == plan::MANAGER);
        if ours {
            wake.add(key(&**change.latest()));
        }
    });
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        events: shared.events.recorder(NAME),
        services: services.clone(),
        pods,
        endpoints: Overlay::new(cache),
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
        let existing = self.endpoints.get(&key.namespace, &key.name);
        let pods = if service.is_some() { self.pods.in_namespace(&key.namespace) } else { Vec::new() };
        let Some(action) = plan::plan(service.as_deref(), &pods, existing.as_deref()) else { return Ok(Next::Done) };
        let written = match (action, &existing) {
            (Action::Create(endpoints), _) => write::create(&self.client, &*endpoints).await.map(Some),
            (Action::Update(endpoints), _) => write::replace(&self.client, &*endpoints).await.map(Some),
            (Action::Delete, Some(existing)) => {
                let deleted = write::delete(&self.client, &**existing, DeleteParams::default()).await;
                deleted.inspect(|_| self.endpoints.deleted(existing))
            }
            (Action::Delete, None) => Ok(None),
        };
        match written {
            Ok(written) => {
                let size = |endpoints: &Endpoints| {
                    let subsets = endpoints.subsets.iter().flatten();
                    let lists = subsets.flat_map(|subset| [&subset.addresses, &subset.not_ready_addresses]);
                    lists.flatten().map(Vec::len).sum()
                };
                self.pace.wrote(key, written.as_ref().map_or(0, size), Instant::now());
                written.into_iter().for_each(|endpoints| drop(self.endpoints.wrote(endpoints)));
                Ok(Next::Done)
            }
            Err(error) if write::namespace_is_leaving(&error) => Ok(Next::Done),
            Err(error) => {
                let message = write::message(&error);
                if let Some(service) = service.filter(|_| !write::is_conflict(&error)) {
                    let text = format!("Failed to update endpoint {key}: {message}");
                    self.events.warning(&*service, "FailedToUpdateEndpoint", text);
                }
                Err(write::failed(&error, format_args!("cannot write endpoints {key}")))
            }
        }
    }
}
