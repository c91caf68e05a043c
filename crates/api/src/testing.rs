//! A core over a store in a directory that vanishes, for unit tests of everything that reads or writes objects.

use std::sync::Arc;

use serde_json::Value;
use store::Store;

use crate::{
    config::{Config, FrontProxy},
    core::Core,
};

pub(crate) fn config() -> Config {
    let authority = |name: &str| pki::Authority::generate(name).unwrap();
    let (cluster, client) = (authority("cluster-ca"), authority("client-ca"));
    let pair = |authority: &pki::Authority, name: &str, usage| {
        let request = pki::Request {
            common_name: name.to_owned(),
            organization: None,
            names: vec!["127.0.0.1".to_owned()],
            usage,
            lifetime: std::time::Duration::from_secs(3600),
        };
        authority.issue(&request).unwrap()
    };
    Config {
        bind: "127.0.0.1:0".parse().unwrap(),
        advertise: "10.0.0.1".parse().unwrap(),
        port: 6443,
        service_cidr: "10.43.0.0/16".to_owned(),
        node_ports: 30000..=32767,
        cluster_domain: "cluster.local".to_owned(),
        serving: pair(&cluster, "apiserver", pki::Usage::Server),
        cluster_ca_pem: cluster.cert_pem().to_owned(),
        client_ca_pem: client.cert_pem().to_owned(),
        token_key_pem: pki::generate_key_pem().unwrap(),
        token_issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
        kubelet_client: pair(&client, "kubelet-client", pki::Usage::Client),
        front_proxy: FrontProxy {
            ca_pem: client.cert_pem().to_owned(),
            client: pair(&client, FrontProxy::NAME, pki::Usage::Client),
        },
        bootstrap: vec![],
        runtime_config: vec![],
    }
}

pub(crate) fn store() -> Arc<dyn Store> {
    Arc::new(store::in_memory(store::Options::new(crate::encode::stamp)).unwrap())
}

pub(crate) fn core() -> Core {
    Core::new(config(), store()).unwrap()
}

pub(crate) fn get(core: &Core, group: &str, plural: &str, namespace: &str, name: &str) -> Value {
    let kind = core.kind(group, plural).unwrap_or_else(|| panic!("no kind {plural}.{group}"));
    let found = core.get(kind, namespace, name).unwrap_or_else(|| panic!("no {plural} {namespace}/{name}"));
    Value::clone(&found)
}

/// Stores an object as it is, over whatever is there.
pub(crate) async fn put(core: &Core, object: Value) {
    let text = |pointer: &str| crate::core::text(&object, pointer).to_owned();
    let (version, kind) = (text("/apiVersion"), text("/kind"));
    let (group, number) = version.split_once('/').unwrap_or(("", &version));
    let catalog = core.catalog();
    let kind = catalog.by_kind(group, number, &kind).unwrap_or_else(|| panic!("no kind {version} {kind}"));
    let key = crate::core::key(kind, &text("/metadata/namespace"), &text("/metadata/name"));
    let value = crate::encode::stored(&object);
    let write = store::Write::Put { key, value, expect: store::Expect::Any };
    core.store.commit(vec![write]).await.unwrap();
}
