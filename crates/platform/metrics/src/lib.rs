//! The resource metrics API, `metrics.k8s.io/v1beta1`: what nodes and pods use, for `kubectl top` and autoscalers.
//!
//! Knows kubelets' `/metrics/resource` and the API through a client; not who serves either. Nothing is measured unless
//! somebody asks: a question that finds no look at the nodes of the last ten seconds looks, and one that finds none of the
//! last two minutes looks twice, a second apart, for a rate needs two. So the first answer after a silence takes a second,
//! and nobody who does not ask pays for it.
//!
//! In reading order: [`page`] reads what a kubelet tells, [`book`] makes rates of two pages, `scrape` asks the nodes,
//! `answer` and [`documents`] are the API, `serve` is the network side for a cluster whose API server is not in this
//! process.

mod answer;
mod book;
mod documents;
mod page;
mod scrape;
mod serve;

use std::sync::Arc;

use kube::Client;

pub use answer::{GROUP, VERSION};
pub use serve::{Listen, run};

/// How kubelets are asked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whom to trust and what to show; the address is replaced by that of each node.
    pub kubelets: kube::Config,
}

/// The server. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    /// Reads nodes and pods.
    client: Client,
    kubelets: scrape::Kubelets,
    looks: tokio::sync::Mutex<scrape::Looks>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// A server that asks nobody yet.
    #[must_use]
    pub fn new(client: Client, config: Config) -> Self {
        Self::with(
            client,
            Box::new(move |address| {
                let mut config = config.kubelets.clone();
                config.cluster_url = format!("https://{address}").parse()?;
                Ok(Client::try_from(config)?)
            }),
        )
    }

    fn with(client: Client, connect: scrape::Connect) -> Self {
        let kubelets = scrape::Kubelets::new(connect);
        Self { inner: Arc::new(Inner { client, kubelets, looks: tokio::sync::Mutex::default() }) }
    }
}
