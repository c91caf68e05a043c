//! What the composition root must decide before an API server can be built.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

use serde_json::Value;

/// How API servers behind this one know who sent a request.
#[derive(Clone, Debug)]
pub struct FrontProxy {
    /// What they are told to trust.
    pub ca_pem: String,
    /// Shown to them; of that authority, under the name [`FrontProxy::NAME`].
    pub client: pki::Pair,
}

impl FrontProxy {
    pub const NAME: &str = "front-proxy-client";
}

#[derive(Clone, Debug)]
pub struct Config {
    pub bind: SocketAddr,
    /// The address that endpoints of the `kubernetes` service and discovery show.
    pub advertise: IpAddr,
    pub port: u16,
    pub service_cidr: String,
    pub node_ports: RangeInclusive<u16>,
    pub cluster_domain: String,
    pub serving: pki::Pair,
    pub cluster_ca_pem: String,
    pub client_ca_pem: String,
    /// PKCS#8 EC P-256, signs service account tokens with ES256.
    pub token_key_pem: String,
    pub token_issuer: String,
    pub kubelet_client: pki::Pair,
    pub front_proxy: FrontProxy,
    /// Extra objects to ensure at start: platform roles and namespaces.
    pub bootstrap: Vec<Value>,
    /// `group/version=true|false`, as upstream's --runtime-config.
    pub runtime_config: Vec<String>,
}
