//! Other API servers behind this one: the groups and versions that APIService objects lead to (upstream kube-aggregator).
//!
//! A request for one of them is authenticated and authorized here like any other, then carried there with the name of who
//! sent it, proven by the front proxy's client certificate. What we serve ourselves is never looked for elsewhere. An
//! APIService without a service is served here: by rows, or by a part of this process that offered to ([`Offer`]), which
//! whoever installs another server for the same group replaces by writing the service into the object.
//!
//! - [`table`]: what an APIService says, and what is known of its server.
//! - `follow` keeps the table equal to the stored objects and asks the servers how they are.
//! - `forward` carries one request; [`documents`] merges what they say of themselves into our discovery.

pub(crate) mod documents;
pub(crate) mod follow;
pub(crate) mod forward;
mod table;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsConnector;

use crate::{config::FrontProxy, core::Core, request::Info, streaming::kubelet::Fault};
pub(crate) use table::{Place, Server, Table};

/// Answers the requests for a group and version in this process, once they are authenticated and authorized.
pub type Offer = Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

pub(crate) struct Aggregate {
    table: ArcSwap<Table>,
    offers: Mutex<HashMap<(String, String), Offer>>,
    /// Grows with each change of what discovery shows.
    revision: AtomicU64,
    /// By the authority that they trust.
    connectors: Mutex<HashMap<forward::Trust, TlsConnector>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Aggregate {
    pub(crate) fn new(front_proxy: &FrontProxy) -> Result<Self, Fault> {
        let pair = &front_proxy.client;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pair.cert_pem.as_bytes()).collect();
        Ok(Self {
            table: ArcSwap::default(),
            offers: Mutex::default(),
            revision: AtomicU64::new(0),
            connectors: Mutex::default(),
            chain: chain?,
            key: PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes())?,
        })
    }

    /// From the next look at the stored objects on, `offer` serves the version where they leave it to us.
    pub(crate) fn offer(&self, group: &str, version: &str, offer: Offer) {
        self.offers.lock().insert((group.to_owned(), version.to_owned()), offer);
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.revision.fetch_add(1, Ordering::AcqRel);
    }
}

/// The server of a request that is not ours to answer.
pub(crate) fn server_of(core: &Core, info: &Info) -> Option<Arc<Server>> {
    let table = core.aggregate.table();
    if table.is_empty() {
        return None;
    }
    let (group, version) = if info.is_resource {
        (info.group.as_str(), info.version.as_str())
    } else {
        match info.path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
            ["apis", group, version] | ["openapi", "v3", "apis", group, version] => (*group, *version),
            _ => return None,
        }
    };
    let server = table.get(group, version)?;
    (!is_ours(core, group, version)).then(|| server.clone())
}

/// Whether rows of ours are served in the version.
fn is_ours(core: &Core, group: &str, version: &str) -> bool {
    let catalog = core.catalog();
    let versions = catalog.group(group).into_iter().flat_map(|group| &group.versions);
    versions.filter(|held| held.name == version).flat_map(|held| &held.kinds).any(|kind| core.serves(kind))
}
