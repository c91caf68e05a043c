//! Watches, plans, does, writes: one queue and one small loop for each kind.

mod advice;
mod certificates;
mod challenges;
mod fronts;
mod install;
mod issuers;
mod orders;
mod requests;
mod wakes;
mod write;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use informer::{Informer, Informers, Queue};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client};
use parking_lot::Mutex;

use crate::Clock;
use crate::acme::{Server, Trust};
use crate::api::{
    Certificate, CertificateRequest, Challenge, ClusterIssuer, Issuer, IssuerRef, IssuerSpec, IssuerStatus, Order,
};
use crate::plan::request::Found;
use wakes::{Gateway, SecretName};

/// What the service needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The namespace whose Secrets ClusterIssuers use.
    pub namespace: String,
    /// The ClusterIssuer of the cluster's own authority, and the Secret with that: both have this name.
    pub own_issuer: String,
    /// The class of our gateway.
    pub class: String,
    /// Name servers that are asked whether a TXT record can be found; those of the machine when empty.
    pub name_servers: Vec<SocketAddr>,
    /// The port that ACME servers ask at for `http-01`: 80, but for tests.
    pub http01_port: u16,
    /// Addresses of hosts that DNS does not know.
    pub resolve: Vec<(String, SocketAddr)>,
    /// Tells the present.
    pub clock: Clock,
}

impl Config {
    /// The settings of a cluster whose platform lives in `namespace`.
    #[must_use]
    pub fn new(namespace: &str, own_issuer: &str, class: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            own_issuer: own_issuer.to_owned(),
            class: class.to_owned(),
            name_servers: Vec::new(),
            http01_port: 80,
            resolve: Vec::new(),
            clock: Clock::default(),
        }
    }
}

/// Keys that wait, by kind.
#[derive(Clone, Default)]
struct Queues {
    certificates: Queue<base::Key>,
    requests: Queue<base::Key>,
    /// ClusterIssuers have no namespace.
    issuers: Queue<base::Key>,
    orders: Queue<base::Key>,
    challenges: Queue<base::Key>,
    ingresses: Queue<base::Key>,
    gateways: Queue<base::Key>,
    /// Which Challenges to begin with: one key for all.
    turns: Queue<base::Key>,
}

struct Shared {
    client: Client,
    config: Config,
    certificates: Informer<Certificate>,
    requests: Informer<CertificateRequest>,
    issuers: Informer<Issuer>,
    cluster_issuers: Informer<ClusterIssuer>,
    orders: Informer<Order>,
    challenges: Informer<Challenge>,
    ingresses: Informer<Ingress>,
    gateways: Mutex<Option<Informer<Gateway>>>,
    recorder: Recorder,
    servers: Mutex<HashMap<(String, Trust), Arc<Server>>>,
    queues: Queues,
}

/// Issues and renews certificates until the service is stopped.
///
/// # Errors
/// When a watch cannot go on.
pub async fn run(client: Client, config: Config, ctx: tasks::Context) -> anyhow::Result<()> {
    ctx.ready.waiting_for("the definitions of cert-manager.io");
    tokio::select! {
        () = ctx.stop.cancelled() => return Ok(()),
        () = install::definitions(&client) => {}
    }
    let informers = Informers::new(client.clone(), &ctx);
    let recorder = Recorder::new(client.clone(), Reporter::from("cert-manager"));
    let shared = Arc::new(Shared {
        certificates: informers.of(),
        requests: informers.of(),
        issuers: informers.of(),
        cluster_issuers: informers.of(),
        orders: informers.of(),
        challenges: informers.of(),
        ingresses: informers.of(),
        gateways: Mutex::default(),
        recorder,
        servers: Mutex::default(),
        queues: Queues::default(),
        client,
        config,
    });
    let secrets = informers.of::<SecretName>();
    ctx.ready.waiting_for("the list of certificates");
    tokio::select! {
        () = ctx.stop.cancelled() => return Ok(()),
        () = informers.synced() => {}
    }
    install::own_issuer(&shared).await;
    wakes::connect(&shared, &secrets);
    start(&shared, &ctx);
    let (gateways, later) = (Arc::clone(&shared), ctx.clone());
    ctx.children.spawn("wait for Gateways", async move { wakes::gateways(&gateways, &later).await });
    ctx.ready.set();
    ctx.stop.cancelled().await;
    Ok(())
}

/// Starts the loops.
fn start(shared: &Arc<Shared>, ctx: &tasks::Context) {
    macro_rules! work {
        ($queue:ident, $workers:literal, $name:literal, $act:path) => {{
            let own = Arc::clone(shared);
            informer::work(&shared.queues.$queue, $workers, ctx, $name, move |key| {
                let own = Arc::clone(&own);
                async move { $act(&own, &key).await }
            });
        }};
    }
    work!(certificates, 4, "certificates", certificates::reconcile);
    work!(requests, 4, "certificate requests", requests::reconcile);
    work!(issuers, 2, "issuers", issuers::reconcile);
    work!(orders, 2, "ACME orders", orders::reconcile);
    work!(challenges, 4, "ACME challenges", challenges::reconcile);
    work!(turns, 1, "turns of challenges", challenges::turns);
    work!(ingresses, 1, "certificates for Ingresses", fronts::ingress);
    work!(gateways, 1, "certificates for Gateways", fronts::gateway);
}

impl Shared {
    fn now(&self) -> jiff::Timestamp {
        self.config.clock.now()
    }

    /// The namespace whose Secrets an issuer uses.
    fn secrets_of<'a>(&'a self, issuer: &IssuerRef, namespace: &'a str) -> &'a str {
        if issuer.kind() == "ClusterIssuer" { &self.config.namespace } else { namespace }
    }

    /// Calls `then` with the issuer that is named, if it is known.
    fn with_issuer<T>(&self, issuer: &IssuerRef, namespace: &str, then: impl FnOnce(Found<'_>) -> T) -> T {
        match issuer.kind() {
            "Issuer" => match self.issuers.get(namespace, &issuer.name) {
                Some(found) => then(Found::There(&found.spec, &found.status)),
                None => then(Found::Missing),
            },
            "ClusterIssuer" => match self.cluster_issuers.get("", &issuer.name) {
                Some(found) => then(Found::There(&found.spec, &found.status)),
                None => then(Found::Missing),
            },
            _ => then(Found::NoKind),
        }
    }

    /// The issuer that is named.
    fn issuer(&self, issuer: &IssuerRef, namespace: &str) -> Option<(IssuerSpec, IssuerStatus)> {
        self.with_issuer(issuer, namespace, |found| match found {
            Found::There(spec, status) => Some((spec.clone(), status.clone())),
            _ => None,
        })
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, kube::Error> {
        if name.is_empty() {
            return Ok(None);
        }
        Api::<Secret>::namespaced(self.client.clone(), namespace).get_opt(name).await
    }

    /// A value in a Secret; what is missing is told.
    async fn value(
        &self,
        namespace: &str,
        of: &crate::api::SecretKey,
        key: &str,
    ) -> anyhow::Result<Result<Vec<u8>, String>> {
        let key = if of.key.is_empty() { key } else { &of.key };
        let Some(secret) = self.secret(namespace, &of.name).await? else {
            return Ok(Err(format!("secret \"{namespace}/{}\" not found", of.name)));
        };
        let value = crate::plan::held::entry(&secret, key).map(<[u8]>::to_vec);
        Ok(value.ok_or_else(|| format!("no data for {key:?} in secret '{namespace}/{}'", of.name)))
    }
}
