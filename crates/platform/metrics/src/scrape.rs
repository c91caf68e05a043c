//! Asking the nodes, as seldom as the questions allow.
//!
//! Invariant: one look at a time, whoever asks, and every answer is made from looks that are whole: those of all nodes that
//! answered. A node that does not answer in time is left out, and its pods with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::time;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use parking_lot::Mutex;

use crate::Metrics;
use crate::book::{Book, LONGEST};
use crate::page;

/// An answer is at most this old.
const NEWEST: SignedDuration = SignedDuration::from_secs(10);
/// How far apart two looks are that nobody waited for.
const APART: Duration = Duration::from_secs(1);
/// How long one node may take.
const PATIENCE: Duration = Duration::from_secs(10);
const KUBELET_PORT: i32 = 10250;

/// The last look, and rates between it and the one before.
#[derive(Default)]
pub(crate) struct Looks {
    at: Option<Timestamp>,
    book: Arc<Book>,
}

/// Makes a client of the kubelet at an address.
pub(crate) type Connect = Box<dyn Fn(&str) -> anyhow::Result<Client> + Send + Sync>;

/// Connections to kubelets, by address.
pub(crate) struct Kubelets {
    connect: Connect,
    clients: Mutex<HashMap<String, Client>>,
}

impl Kubelets {
    pub(crate) fn new(connect: Connect) -> Self {
        Self { connect, clients: Mutex::default() }
    }

    /// Makes connections for new nodes and forgets those of nodes that are gone.
    fn clients(&self, nodes: &[Node]) -> Vec<(String, Client)> {
        let mut held = self.clients.lock();
        let mut kept = HashMap::new();
        let mut found = Vec::new();
        for node in nodes {
            let Some(address) = address(node) else { continue };
            let known = held.remove(&address).map_or_else(|| (self.connect)(&address), Ok);
            match known {
                Ok(client) => {
                    found.push((node.name_any(), client.clone()));
                    kept.insert(address, client);
                }
                Err(error) => tracing::warn!(node = node.name_any(), "cannot ask the kubelet: {error:#}"),
            }
        }
        *held = kept;
        found
    }
}

/// Host and port of a node's kubelet.
fn address(node: &Node) -> Option<String> {
    let status = node.status.as_ref()?;
    let of = |kind: &str| status.addresses.iter().flatten().find(|one| one.type_ == kind);
    let kinds = ["InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "Hostname"];
    let host = &kinds.iter().find_map(|kind| of(kind))?.address;
    let endpoints = status.daemon_endpoints.as_ref().and_then(|endpoints| endpoints.kubelet_endpoint.as_ref());
    let port = endpoints.map(|endpoint| endpoint.port).filter(|port| *port > 0).unwrap_or(KUBELET_PORT);
    Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

impl Metrics {
    /// What is used now.
    pub(crate) async fn book(&self) -> kube::Result<Arc<Book>> {
        let mut looks = self.inner.looks.lock().await;
        let age = looks.at.map(|at| time::now().duration_since(at));
        let within = |most: SignedDuration| age.is_some_and(|age| (SignedDuration::ZERO..most).contains(&age));
        if within(NEWEST) {
            return Ok(looks.book.clone());
        }
        if !within(LONGEST) {
            self.look(&mut looks).await?;
            tokio::time::sleep(APART).await;
        }
        self.look(&mut looks).await?;
        Ok(looks.book.clone())
    }

    async fn look(&self, looks: &mut Looks) -> kube::Result<()> {
        let nodes = Api::<Node>::all(self.inner.client.clone()).list(&ListParams::default()).await?;
        let asked = self.inner.kubelets.clients(&nodes.items).into_iter().map(|(node, client)| async move {
            match tokio::time::timeout(PATIENCE, read(&client)).await {
                Ok(Ok(page)) => Some((node, page)),
                Ok(Err(error)) => {
                    tracing::warn!(node, "cannot read what the node uses: {}", base::error::chain(&error));
                    None
                }
                Err(_) => {
                    tracing::warn!(node, "the kubelet did not answer within {PATIENCE:?}");
                    None
                }
            }
        });
        let pages = join_all(asked).await.into_iter().flatten().collect();
        looks.book = Arc::new(looks.book.after(pages));
        looks.at = Some(time::now());
        Ok(())
    }
}

async fn read(client: &Client) -> Result<page::Page, kube::Error> {
    let request = http::Request::get("/metrics/resource").body(Vec::new()).map_err(kube::Error::HttpError)?;
    let text = client.request_text(request).await?;
    Ok(page::read(&text, time::now()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kubelet_is_at_the_internal_address_and_its_own_port() {
        let node = |status: serde_json::Value| -> Node {
            serde_json::from_value(json!({ "metadata": { "name": "n" }, "status": status })).expect("a node")
        };
        let addresses =
            json!([{ "type": "Hostname", "address": "h" }, { "type": "InternalIP", "address": "10.0.0.1" }]);
        let own_port = json!({ "kubeletEndpoint": { "Port": 10999 } });
        assert_eq!(
            address(&node(json!({ "addresses": addresses, "daemonEndpoints": own_port }))).as_deref(),
            Some("10.0.0.1:10999")
        );
        let six = json!([{ "type": "InternalIP", "address": "fd00::1" }]);
        assert_eq!(address(&node(json!({ "addresses": six }))).as_deref(), Some("[fd00::1]:10250"));
        assert_eq!(address(&node(json!({}))), None);
    }
}
