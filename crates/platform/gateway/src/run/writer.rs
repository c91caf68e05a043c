//! Writes statuses and events, away from the table's task.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use base::Key;
use informer::{Informer, Next, Queue};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource as _};
use parking_lot::Mutex;

use crate::ingress::Fault;
use crate::status;

/// Writes statuses and events, away from the table's task.
pub(super) struct Writer {
    pub(super) client: Client,
    pub(super) recorder: Recorder,
    pub(super) ingresses: Informer<Ingress>,
    pub(super) served: Mutex<BTreeSet<Key>>,
    pub(super) published: Option<IpAddr>,
    pub(super) nodes: Option<Informer<Node>>,
    pub(super) statuses: Queue<Key>,
    pub(super) faults: Queue<Fault>,
}

impl Writer {
    pub(super) fn start(self: &Arc<Self>, ctx: &tasks::Context) {
        let writer = Arc::clone(self);
        informer::work(&self.statuses, 2, ctx, "write status", move |item| {
            let writer = Arc::clone(&writer);
            async move { writer.status(&item).await }
        });
        let writer = Arc::clone(self);
        informer::work(&self.faults, 1, ctx, "record faults", move |fault| {
            let writer = Arc::clone(&writer);
            async move { writer.fault(&fault).await }
        });
    }

    /// Where clients reach us.
    pub(super) fn addresses(&self) -> Vec<String> {
        match (&self.nodes, self.published) {
            (_, Some(address)) => vec![address.to_string()],
            (Some(nodes), None) => status::internal_addresses(nodes.list().iter().map(|node| &**node)),
            (None, None) => Vec::new(),
        }
    }

    pub(super) async fn status(&self, item: &Key) -> anyhow::Result<Next> {
        let ours = self.served.lock().contains(item);
        let Some(ingress) = self.ingresses.get(&item.namespace, &item.name).filter(|_| ours) else {
            return Ok(Next::Done);
        };
        let Some(patch) = status::plan(&ingress, &self.addresses()) else { return Ok(Next::Done) };
        let api = Api::<Ingress>::namespaced(self.client.clone(), &item.namespace);
        match api.patch_status(&item.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => Ok(Next::Done), // gone meanwhile
            written => Ok(written.map(|_| Next::Done)?),
        }
    }

    pub(super) async fn fault(&self, fault: &Fault) -> anyhow::Result<Next> {
        let Some(ingress) = self.ingresses.get(&fault.ingress.namespace, &fault.ingress.name) else {
            return Ok(Next::Done);
        };
        let event = Event {
            type_: EventType::Warning,
            reason: fault.reason.to_owned(),
            note: Some(fault.message.clone()),
            action: "Serving".to_owned(),
            secondary: None,
        };
        self.recorder.publish(&event, &ingress.object_ref(&())).await?;
        Ok(Next::Done)
    }
}
