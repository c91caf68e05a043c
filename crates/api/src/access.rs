//! What decides who may enter, what they may touch, and which numbers services get: built once, followed while we run.
//!
//! Everything here is derived from the store and the configuration. It is loaded before the first request is served and
//! then follows the store; nothing here is written to disk.

use std::sync::Arc;

use store::{Revision, Store};

use crate::{
    allocate::{self, Services},
    authn::{Authenticator, account::Accounts, jwt, x509},
    authz::{
        Authorizer, Chain, follow,
        node::{self, graph::Graph},
        rbac::Rbac,
    },
    config::Config,
    core::Core,
    streaming::kubelet::{self, Kubelets},
};

/// What in the configuration makes an API server impossible.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("cannot use the client authority of the configuration")]
    Certificates(#[from] x509::Error),
    #[error("cannot use the token signing key of the configuration")]
    Tokens(#[from] jwt::Error),
    #[error("cannot use the service range of the configuration")]
    Services(#[from] allocate::RangeFault),
    #[error("cannot connect to kubelets with the certificates of the configuration")]
    Kubelets(#[from] kubelet::Fault),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot keep authorization up to date")]
    Authorization(#[from] follow::Error),
    #[error("cannot read the stored services")]
    Range(#[from] store::RangeError),
    #[error("cannot follow the stored services")]
    Watch(#[from] store::WatchError),
}

pub(crate) struct Access {
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) rbac: Arc<Rbac>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) token_key: Arc<jwt::Key>,
    pub(crate) services: Services,
    pub(crate) kubelets: Kubelets,
    graph: Arc<Graph>,
}

/// Where loading stopped reading, so that following misses nothing.
pub(crate) struct Position {
    authorization: follow::Position,
    services: Revision,
}

impl Access {
    pub(crate) fn new(config: &Config, store: &Arc<dyn Store>) -> Result<Self, Fault> {
        let token_key = Arc::new(jwt::Key::from_pem(&config.token_key_pem)?);
        let accounts = Arc::new(Accounts::new(Arc::clone(&token_key), &config.token_issuer, Arc::clone(store)));
        let certificates = x509::Certificates::new(&config.client_ca_pem)?;
        let (rbac, graph) = (Arc::new(Rbac::default()), Arc::new(Graph::default()));
        let nodes = node::Node::new(Arc::clone(&graph), Arc::clone(store), node::Node::bootstrap_rules());
        let links: Vec<Arc<dyn Authorizer>> = vec![Arc::new(nodes), Arc::clone(&rbac) as Arc<dyn Authorizer>];
        Ok(Self {
            authenticator: Authenticator::new(certificates, Arc::clone(&accounts)),
            authorizer: Arc::new(Chain::new(links)),
            rbac,
            accounts,
            token_key,
            services: Services::new(&config.service_cidr, config.node_ports.clone(), Arc::clone(store))?,
            kubelets: Kubelets::new(config)?,
            graph,
        })
    }

    /// Reads what is stored now. Called after the bootstrap objects are there and before the first request.
    pub(crate) fn load(&self, store: &dyn Store) -> Result<Position, Error> {
        let authorization = follow::load(store, &self.rbac, &self.graph)?;
        Ok(Position { authorization, services: self.services.load()? })
    }
}

/// Follows the store until it closes.
pub(crate) async fn follow(core: Arc<Core>, position: Position) -> Result<(), Error> {
    let (rbac, graph) = (Arc::clone(&core.access.rbac), Arc::clone(&core.access.graph));
    let authorization = follow::run(Arc::clone(&core), rbac, graph, position.authorization);
    let services = core.access.services.follow(position.services);
    let services = async { services.await.map_err(Error::from) };
    let authorization = async { authorization.await.map_err(Error::from) };
    tokio::try_join!(authorization, services)?;
    Ok(())
}
