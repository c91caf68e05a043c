//! The roles a process can play: all of them in `knarr up`, one in `knarr run ROLE`.
//!
//! A role gets a client and its settings and nothing else, which is what lets the same code serve
//! a cluster that is not ours.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use control::plan::certificate::Trust;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::credentials::Credentials;
use crate::meant::Settings;
use crate::settings::Written;
use crate::{failure, platform};

/// One role of `knarr run`.
pub(crate) struct Role {
    /// Name on the command line.
    pub(crate) name: &'static str,
    /// One line for `--help`.
    pub(crate) help: &'static str,
    start: fn(&kube::Config, Client, &Written) -> anyhow::Result<Start>,
}

type Start = Box<dyn FnOnce(tasks::Context) -> BoxFuture<'static, anyhow::Result<()>> + Send>;

/// Every role that can run on its own against any conformant cluster.
pub(crate) static ROLES: &[Role] = &[
    Role { name: "gateway", help: "serve Ingress resources over HTTP and HTTPS", start: gateway_role },
    Role { name: "dns", help: "answer DNS for the cluster's services and pods", start: dns_role },
    Role { name: "certs", help: "issue and renew certificates: the kinds of cert-manager.io", start: certs_role },
    Role { name: "scheduler", help: "place pods on nodes", start: scheduler_role },
    Role {
        name: "metrics",
        help: "serve what nodes and pods use, for kubectl top and autoscalers",
        start: metrics_role,
    },
];

/// Runs one role against the cluster of `config` until a signal.
pub(crate) async fn run(role: &'static Role, config: &kube::Config, written: &Written) -> anyhow::Result<()> {
    let client = Client::try_from(config.clone()).context("cannot use the kubeconfig")?;
    let start = (role.start)(config, client, written)?;
    let mut services = tasks::Services::new();
    let mut status = services.start(role.name, start);
    status.ready().await?;
    println!("✓ {} ready", role.name);
    services.run(crate::up::stop_signal(), crate::up::GRACE).await
}

/// The gateway of a cluster of our own; `installer` may define the kinds of the Gateway API.
pub(crate) fn gateway_at(settings: &Settings, installer: Client) -> gateway::Config {
    gateway::Config {
        http: settings.http,
        https: settings.https,
        ingress_class: settings.ingress_class.clone(),
        publish_address: Some(settings.node_address),
        domain: settings.domain.clone(),
        access_log: settings.access_log.0.clone(),
        access_log_sample: settings.access_log.1,
        socket: Some(settings.gateway_socket.clone()),
        metrics: settings.gateway_metrics,
        cache: settings.gateway_cache.clone(),
        cache_socket: Some(settings.place.data_dir.join(crate::edge::SOCKET)),
        traces: settings.traces.0.clone(),
        trace_sample: settings.traces.1,
        zone: settings.gateway_zone.clone(),
        proxy_protocol_from: settings.proxy_protocol_from.clone(),
        addresses: settings.gateway_addresses.clone(),
        installer: settings.gateway_definitions.then(|| gateway::Installer(installer)),
    }
}

/// The certificate issuer of a cluster of our own.
pub(crate) fn certs(settings: &Settings) -> certs::Config {
    certs::Config {
        name_servers: settings.certs_name_servers.clone(),
        http01_port: settings.http01_port,
        ..certs::Config::new(platform::NAMESPACE, platform::ISSUER, &settings.ingress_class)
    }
}

/// What signs certificates for the controllers: what clients show by the one authority, what servers show by the other.
pub(crate) fn signer(credentials: &Credentials) -> anyhow::Result<control::Sign> {
    let copy = |authority: &pki::Authority| pki::Authority::from_pem(authority.cert_pem(), authority.key_pem());
    let (clients, servers) = (copy(&credentials.client_ca)?, copy(&credentials.cluster_ca)?);
    Ok(Arc::new(move |trust, request, usages, lifetime| {
        let authority = match trust {
            Trust::Clients => &clients,
            Trust::Servers => &servers,
        };
        authority.sign(request, usages, lifetime, SystemTime::now()).map_err(|error| base::error::chain(&error))
    }))
}

/// What makes tokens of service accounts for the controllers.
pub(crate) fn token_signer(api: api::Api) -> control::SignToken {
    Arc::new(move |of| {
        let signed = api.account_token(&of.namespace, &of.account, &of.uid, &of.secret);
        signed.map_err(|error| base::error::chain(&error))
    })
}

/// The volume provisioner's settings.
pub(crate) fn volumes() -> volumes::Config {
    volumes::Config { provisioner: platform::PROVISIONER.to_owned() }
}

fn gateway_role(_: &kube::Config, client: Client, written: &Written) -> anyhow::Result<Start> {
    let address: IpAddr = read(written, "gateway.address")?;
    let config = gateway::Config {
        http: SocketAddr::new(address, read(written, "gateway.httpPort")?),
        https: SocketAddr::new(address, read(written, "gateway.httpsPort")?),
        ingress_class: written.get("gateway.class").0.to_owned(),
        publish_address: None,
        domain: written.get("dns.domain").0.to_owned(),
        access_log: written.get("gateway.accessLog").0.to_owned(),
        access_log_sample: read(written, "gateway.accessLogSample")?,
        metrics: maybe(written, "gateway.metrics")?,
        cache: cache_settings(written)?,
        cache_socket: None,
        traces: written.get("gateway.traces").0.to_owned(),
        trace_sample: read(written, "gateway.traceSample")?,
        zone: written.get("gateway.zone").0.to_owned(),
        proxy_protocol_from: list(written, "gateway.proxyProtocolFrom")?,
        socket: Some(written.get("gateway.socket").0).filter(|path| !path.is_empty()).map(Into::into),
        addresses: read(written, "gateway.addresses")?,
        installer: read::<bool>(written, "gateway.definitions")?.then(|| gateway::Installer(client.clone())),
    };
    Ok(Box::new(move |ctx| gateway::run(client, config, ctx).boxed()))
}

fn dns_role(_: &kube::Config, client: Client, written: &Written) -> anyhow::Result<Start> {
    let listen = read(written, "dns.listen").context("give --dns-listen IP:PORT")?;
    let upstreams =
        written.get("dns.upstreams").0.split(',').filter(|item| !item.is_empty()).map(|item| item.trim().parse());
    let config = dns::Config {
        listen: vec![listen],
        domain: written.get("dns.domain").0.to_owned(),
        upstreams: upstreams.collect::<Result<Vec<IpAddr>, _>>().context("--dns-upstreams takes IP addresses")?,
    };
    Ok(Box::new(move |ctx| dns::run(client, config, ctx).boxed()))
}

fn certs_role(_: &kube::Config, client: Client, written: &Written) -> anyhow::Result<Start> {
    let mut config = certs::Config::new(platform::NAMESPACE, platform::ISSUER, written.get("gateway.class").0);
    let servers = written.get("certs.nameServers").0.split(',').filter(|item| !item.is_empty());
    let servers = servers.map(|item| item.trim().parse()).collect::<Result<_, _>>();
    config.name_servers = servers.context("--certs-name-servers takes addresses with ports, such as 10.43.0.10:53")?;
    config.http01_port = read(written, "certs.http01Port")?;
    Ok(Box::new(move |ctx| certs::run(client, config, ctx).boxed()))
}

fn scheduler_role(_: &kube::Config, client: Client, written: &Written) -> anyhow::Result<Start> {
    let (path, place) = written.get("scheduler.config");
    let config = crate::scheduler::config(path, place)
        .map_err(|faults| anyhow!(failure::Usage(faults.iter().map(ToString::to_string).collect())))?;
    Ok(Box::new(move |ctx| control::scheduler::run(client, config, ctx).boxed()))
}

/// Kubelets are asked with the credentials of the kubeconfig.
fn metrics_role(config: &kube::Config, client: Client, written: &Written) -> anyhow::Result<Start> {
    let mut kubelets = config.clone();
    kubelets.tls_server_name = None; // of the API server
    kubelets.accept_invalid_certs |= read::<bool>(written, "metrics.kubeletInsecureTLS")?;
    let (service, place) = written.get("metrics.service");
    let named = service.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    let (namespace, name) = named.ok_or_else(|| {
        anyhow!(failure::Usage(vec![format!("{place}: metrics.service takes NAMESPACE/NAME, not {service:?}")]))
    })?;
    let listen = metrics::Listen {
        address: read(written, "metrics.listen")?,
        names: vec![format!("{name}.{namespace}.svc"), format!("{name}.{namespace}.svc.cluster.local")],
    };
    Ok(Box::new(move |ctx| metrics::run(client, metrics::Config { kubelets }, listen, ctx).boxed()))
}

/// The metrics server of a cluster of our own, which answers inside the API server.
pub(crate) fn offer_metrics(api: &api::Api, credentials: &Credentials) -> anyhow::Result<()> {
    let client = api.client(api::User::service_account(platform::NAMESPACE, "metrics"));
    let server = metrics::Metrics::new(client, metrics::Config { kubelets: kubelets(credentials)? });
    let offer = move |request: http::Request<_>| {
        let server = server.clone();
        async move { server.answer(request).await }.boxed()
    };
    api.offer(metrics::GROUP, metrics::VERSION, Arc::new(offer));
    Ok(())
}

/// How our own kubelets are reached by the metrics server.
fn kubelets(credentials: &Credentials) -> anyhow::Result<kube::Config> {
    let mut config = kube::Config::new(http::Uri::from_static("https://kubelet"));
    let authority = CertificateDer::pem_slice_iter(credentials.cluster_ca.cert_pem().as_bytes());
    let authority = authority.map(|certificate| certificate.map(|der| der.to_vec())).collect::<Result<Vec<_>, _>>();
    config.root_cert = Some(authority.context("the cluster authority is not readable")?);
    let pair = &credentials.metrics;
    config.auth_info = serde_json::from_value(serde_json::json!({
        "client-certificate-data": BASE64.encode(&pair.cert_pem), "client-key-data": BASE64.encode(&pair.key_pem),
    }))?;
    Ok(config)
}

fn read<T: FromStr>(written: &Written, key: &str) -> anyhow::Result<T> {
    let (text, place) = written.get(key);
    text.parse().map_err(|_| anyhow!(failure::Usage(vec![format!("{place}: {key} cannot be {text:?}")])))
}

fn cache_settings(written: &Written) -> anyhow::Result<cache::Settings> {
    let size = |key: &str| {
        let (text, place) = written.get(key);
        crate::edge::size(text).map_err(|why| anyhow!(failure::Usage(vec![format!("{place}: {key}: {why}")])))
    };
    let (memory, disk) = (size("gateway.cacheMemory")?, size("gateway.cacheDisk")?);
    let dir = Some(written.get("gateway.cacheDir").0).filter(|dir| !dir.is_empty());
    Ok(cache::Settings { memory, disk: dir.map(|dir| cache::DiskSettings { dir: dir.into(), bytes: disk }) })
}

fn list<T: FromStr>(written: &Written, key: &str) -> anyhow::Result<Vec<T>> {
    let (text, place) = written.get(key);
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let read = |item: &str| {
        item.parse().map_err(|_| anyhow!(failure::Usage(vec![format!("{place}: {key} cannot hold {item:?}")])))
    };
    items.map(read).collect()
}

fn maybe<T: FromStr>(written: &Written, key: &str) -> anyhow::Result<Option<T>> {
    if written.get(key).0.is_empty() { Ok(None) } else { read(written, key).map(Some) }
}

/// Clients by controller name for a control plane that has one identity per controller.
pub(crate) fn controller_clients(api: api::Api) -> Arc<dyn Fn(&str) -> Client + Send + Sync> {
    Arc::new(move |controller| {
        api.client(match controller {
            "" => api::User::component("system:kube-controller-manager", &[]),
            name => api::User::service_account("kube-system", name),
        })
    })
}

#[cfg(test)]
mod tests;
