//! Follows services and their endpoints, and keeps the kernel's maps equal to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use informer::{Informer, Informers};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::plan::{self, Change, Held};
use super::table::Table;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Wait before a refused change is tried again, as a rebuild.
const RETRY: Duration = Duration::from_secs(1);

/// What the proxy needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the cluster; part of the table's name.
    pub cluster_name: String,
    /// Name of this node, for traffic that must stay on it.
    pub node_name: String,
    /// All pods.
    pub cluster_cidr: String,
    /// All services.
    pub service_cidr: String,
}

/// Keys (`namespace/name`) of services that changed, and a wake-up.
#[derive(Default)]
struct Dirty {
    keys: Mutex<BTreeSet<String>>,
    wake: Notify,
}

impl Dirty {
    fn add(&self, key: String) {
        self.keys.lock().insert(key);
        self.wake.notify_one();
    }
}

/// Keeps the rules current until the service is stopped. They stay in the kernel afterwards, for
/// pods run on while this process restarts.
///
/// # Errors
/// When nf_tables cannot be used at all.
pub async fn run(client: Client, config: Config, ctx: tasks::Context) -> anyhow::Result<()> {
    let informers = Informers::new(client, &ctx);
    let (services, slices) = (informers.of::<Service>(), informers.of::<EndpointSlice>());
    let dirty = Arc::new(Dirty::default());
    let changed = Arc::clone(&dirty);
    services.on_change(move |change| changed.add(key(change.latest())));
    let changed = Arc::clone(&dirty);
    slices.on_change(move |change| {
        for slice in [change.old, change.new].into_iter().flatten() {
            if let Some(service) = slice.labels().get(SERVICE_NAME) {
                changed.add(format!("{}/{service}", slice.namespace().unwrap_or_default()));
            }
        }
    });
    ctx.ready.waiting_for("the list of services");
    informers.synced().await;

    let table = Table::for_cluster(&config.cluster_name, &config.cluster_cidr, &config.service_cidr)?;
    let mut proxy =
        Proxy { services, slices, node: config.node_name, held: Held::default(), table: Some(table), whole: true };
    loop {
        let keys = std::mem::take(&mut *dirty.keys.lock());
        match proxy.sync(keys).await {
            Ok(()) => ctx.ready.set(),
            Err(error) => {
                tracing::error!("{error:#}; trying again with all rules");
                proxy.whole = true;
                tokio::select! {
                    () = ctx.stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(RETRY) => continue,
                }
            }
        }
        tokio::select! {
            () = ctx.stop.cancelled() => return Ok(()),
            () = dirty.wake.notified() => {}
        }
    }
}

fn key(service: &Service) -> String {
    format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any())
}

struct Proxy {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    node: String,
    held: Held,
    /// Away only while a blocking thread uses it.
    table: Option<Table>,
    /// The kernel's state is unknown: write all of it.
    whole: bool,
}

impl Proxy {
    async fn sync(&mut self, keys: BTreeSet<String>) -> anyhow::Result<()> {
        let mut change = Change::default();
        for key in keys {
            let rules = self.rules(&key);
            self.held.replace(&key, rules, &mut change);
        }
        if change.is_empty() && !self.whole {
            return Ok(());
        }
        let whole = self.whole.then(|| self.held.all());
        let mut table = self.table.take().context("invariant: the table is put back after use")?;
        let stale = std::mem::take(&mut change.stale);
        let (table, outcome) = tokio::task::spawn_blocking(move || {
            let outcome = match whole {
                Some(elements) => table.rebuild(elements),
                None => table.apply(&change),
            };
            super::conntrack::forget(&stale);
            (table, outcome)
        })
        .await?;
        self.table = Some(table);
        outcome.context("cannot program services")?;
        self.whole = false;
        Ok(())
    }

    fn rules(&self, key: &str) -> plan::Rules {
        let Some((namespace, name)) = key.split_once('/') else { return plan::Rules::new() };
        let Some(service) = self.services.get(namespace, name) else { return plan::Rules::new() };
        let slices = self.slices.in_namespace(namespace);
        let own: Vec<_> =
            slices.into_iter().filter(|slice| slice.labels().get(SERVICE_NAME).is_some_and(|of| of == name)).collect();
        plan::rules(&service, &own, &self.node)
    }
}
