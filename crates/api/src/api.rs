//! The API server as a whole: built from a configuration and a store, run on a listener, called in process.
//!
//! `build` binds and starts nothing. `start` makes it answer (bootstrap objects, access rules); `run` also serves the
//! network. In-process clients work from `start` on and go through the same pipeline as everybody else.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::Context as _;
use http::{HeaderValue, header};
use rustls::ServerConfig;
use store::Store;

use crate::{
    access,
    aggregate::{Offer, follow as services},
    authn::{
        account::{Ref, legacy_claims},
        jwt::Error as TokenError,
        usage,
    },
    bootstrap,
    config::Config,
    core::{BuildError, Core},
    custom::life,
    discovery::Documents,
    identity::User,
    metrics::Metrics,
    pipeline::{self, Vouched},
    serve, tls,
};

#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
    tls: Arc<ServerConfig>,
}

pub(crate) struct Inner {
    pub(crate) core: Arc<Core>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) discovery: Documents,
    started: AtomicBool,
}

const ETCD: &str = "etcd-readiness";
const SHUTDOWN: &str = "shutdown";
/// Checks that say whether to send requests here, not whether to start anew.
pub(crate) const OF_READINESS: [&str; 2] = [ETCD, SHUTDOWN];

impl Inner {
    /// The health checks and whether each passes.
    pub(crate) fn checks(&self) -> Vec<(&'static str, bool)> {
        let started = self.started.load(Ordering::Acquire);
        vec![
            ("ping", true),
            ("poststarthook/rbac/bootstrap-roles", started),
            // upstream's name for whether the store takes writes
            (ETCD, !self.core.unwritable.load(Ordering::Relaxed)),
            (SHUTDOWN, !self.core.closing.is_cancelled()),
        ]
    }
}

impl Api {
    pub fn build(config: Config, store: Arc<dyn Store>) -> Result<Self, BuildError> {
        let tls = tls::server_config(&config)?;
        let core = Arc::new(Core::new(config, store)?);
        let inner =
            Inner { core, metrics: Arc::default(), discovery: Documents::default(), started: AtomicBool::new(false) };
        Ok(Self { inner: Arc::new(inner), tls })
    }

    /// Ensures the bootstrap objects, loads what access control needs and keeps it current.
    pub async fn start(&self, ctx: &tasks::Context) -> anyhow::Result<()> {
        let core = &self.inner.core;
        ctx.ready.waiting_for("the bootstrap objects");
        bootstrap::apply(core).await.context("cannot create the objects every cluster has")?;
        let position = core.access.load(core.store.as_ref()).context("cannot read the access rules")?;
        core.access.kubelets.start(&ctx.children);
        let definitions = life::load(core, &ctx.children).context("cannot make kinds of the stored definitions")?;
        let services = services::load(core).context("cannot read the stored API services")?;
        let stop = ctx.stop.clone();
        ctx.children.try_spawn("API services", async move {
            tokio::select! {
                followed = services::follow(services) => followed.map_err(Into::into),
                () = stop.cancelled() => Ok(()),
            }
        });
        let stop = ctx.stop.clone();
        ctx.children.try_spawn("custom resource definitions", async move {
            tokio::select! {
                followed = life::follow(definitions) => followed.map_err(Into::into),
                () = stop.cancelled() => Ok(()),
            }
        });
        let (follower, stop) = (core.clone(), ctx.stop.clone());
        ctx.children.try_spawn("access rules", async move {
            tokio::select! {
                followed = access::follow(follower, position) => followed.map_err(Into::into),
                () = stop.cancelled() => Ok(()),
            }
        });
        ctx.children.spawn("use of tokens", usage::follow(core.clone()));
        let (core, stop) = (core.clone(), ctx.stop.clone());
        ctx.children.spawn("end of watches", async move {
            stop.cancelled().await;
            core.closing.cancel();
        });
        self.inner.started.store(true, Ordering::Release);
        Ok(())
    }

    /// Serves until `ctx.stop`.
    pub async fn run(&self, listener: tokio::net::TcpListener, ctx: tasks::Context) -> anyhow::Result<()> {
        self.start(&ctx).await?;
        ctx.ready.set();
        serve::serve(self.inner.clone(), listener, self.tls.clone(), &ctx).await;
        Ok(())
    }

    /// A client that calls the pipeline directly, as `user`, under the program name that upstream's component of that
    /// user has: what it writes belongs to that name. Needs a Tokio runtime.
    pub fn client(&self, user: User) -> kube::Client {
        let agent = HeaderValue::from_str(user.program()).unwrap_or(HeaderValue::from_static("knarr"));
        let (inner, user) = (self.inner.clone(), Arc::new(user));
        let service = tower::service_fn(move |mut request: http::Request<kube::client::Body>| {
            request.extensions_mut().insert(Vouched(user.clone()));
            request.headers_mut().entry(header::USER_AGENT).or_insert_with(|| agent.clone());
            let inner = inner.clone();
            async move { Ok::<_, std::convert::Infallible>(pipeline::handle(&inner, request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Lets a part of this process serve a group and version where an APIService without a service leads to it. To be
    /// said before [`Api::start`].
    pub fn offer(&self, group: &str, version: &str, offer: Offer) {
        self.inner.core.aggregate.offer(group, version, offer);
    }

    /// A token of the account of that name and uid, which dies with a Secret of its namespace that holds it; it has no
    /// other end.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn account_token(&self, namespace: &str, account: &str, uid: &str, secret: &str) -> Result<String, TokenError> {
        let account = Ref { name: account.to_owned(), uid: uid.to_owned() };
        self.inner.core.access.token_key.sign(&legacy_claims(namespace, secret, &account))
    }

    pub fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }
}
