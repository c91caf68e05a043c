//! Keeps the zone current from watches and serves it until stopped.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hickory_server::Server;
use informer::Informers;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Client, ResourceExt as _};
use parking_lot::RwLock;
use tokio::net::{TcpListener, UdpSocket};

use crate::challenges;
use crate::serve::{self, Handler, Shared};
use crate::zone::{self, Zone};

/// A TCP client that asks nothing for this long is disconnected.
const IDLE: Duration = Duration::from_secs(10);
/// Answers waiting for one slow TCP client.
const BUFFERED: usize = 32;

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on, UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// The cluster's domain.
    pub domain: String,
    /// Servers for all other names; from `/etc/resolv.conf` when empty.
    pub upstreams: Vec<IpAddr>,
}

/// Answers DNS until the service is stopped.
///
/// # Errors
/// When an address cannot be listened on.
pub async fn run(client: Client, config: Config, ctx: tasks::Context) -> anyhow::Result<()> {
    let zone: Shared = Arc::new(RwLock::new(Zone::new(&config.domain)));
    let informers = Informers::new(client.clone(), &ctx);
    follow(&informers, &zone);
    let challenges = challenges::follow(client, Arc::clone(&zone), ctx.clone());
    ctx.children.spawn("follow challenges", challenges);

    let own: Vec<IpAddr> = config.listen.iter().map(SocketAddr::ip).collect();
    let configured = if config.upstreams.is_empty() { system_servers() } else { config.upstreams.clone() };
    let upstreams: Vec<IpAddr> = configured.into_iter().filter(|server| !own.contains(server)).collect();
    if upstreams.is_empty() {
        tracing::info!("no name server for names outside {}; such questions are refused", config.domain);
    }
    let forwarder = serve::forwarder(&upstreams).context("cannot set up forwarding")?;
    let mut server = Server::new(Handler::new(zone, forwarder));
    for address in &config.listen {
        let remedy = || format!("cannot listen on {address} for DNS; choose another address with --dns-listen");
        server.register_socket(UdpSocket::bind(address).await.with_context(remedy)?);
        server.register_listener(TcpListener::bind(address).await.with_context(remedy)?, IDLE, BUFFERED);
    }
    ctx.ready.waiting_for("the list of services");
    informers.synced().await;
    ctx.ready.set();
    tokio::select! {
        () = ctx.stop.cancelled() => server.shutdown_gracefully().await.context("cannot stop the DNS server"),
        ended = server.block_until_done() => ended.context("the DNS server ended"),
    }
}

fn follow(informers: &Informers, zone: &Shared) {
    let named = Arc::clone(zone);
    informers.of::<Namespace>().on_change(move |change| {
        named.write().namespace(&change.latest().name_any(), change.new.is_some());
    });
    let named = Arc::clone(zone);
    informers.of::<Service>().on_change(move |change| {
        let object = change.latest();
        let service = change.new.map(|service| read_service(service));
        named.write().service(&object.namespace().unwrap_or_default(), &object.name_any(), service);
    });
    let named = Arc::clone(zone);
    informers.of::<EndpointSlice>().on_change(move |change| {
        let owner = |slice: &EndpointSlice| slice.labels().get("kubernetes.io/service-name").cloned();
        let (namespace, name) = (change.latest().namespace().unwrap_or_default(), change.latest().name_any());
        let (old, new) = (change.old.and_then(|slice| owner(slice)), change.new.and_then(|slice| owner(slice)));
        let mut zone = named.write();
        if let Some(old) = old.filter(|old| Some(old) != new.as_ref()) {
            zone.slice(&namespace, &old, &name, None);
        }
        if let (Some(service), Some(slice)) = (new, change.new) {
            zone.slice(&namespace, &service, &name, Some(read_slice(slice)));
        }
    });
}

fn read_service(service: &Service) -> zone::Service {
    let Some(spec) = &service.spec else { return zone::Service::default() };
    if spec.type_.as_deref() == Some("ExternalName") {
        let external = spec.external_name.as_deref().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        return zone::Service { external, ..zone::Service::default() };
    }
    let addresses = spec.cluster_ips.clone().unwrap_or_else(|| spec.cluster_ip.clone().into_iter().collect());
    let ports = spec.ports.iter().flatten().map(|port| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
        (port.name.clone().unwrap_or_default(), protocol, u16::try_from(port.port).unwrap_or_default())
    });
    zone::Service {
        addresses: addresses.iter().filter_map(|ip| ip.parse().ok()).collect(),
        ports: ports.collect(),
        external: None,
    }
}

fn read_slice(slice: &EndpointSlice) -> zone::Slice {
    let ports = slice.ports.iter().flatten().filter_map(|port| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
        Some((port.name.clone().unwrap_or_default(), protocol, u16::try_from(port.port?).ok()?))
    });
    let ready = slice
        .endpoints
        .iter()
        .flatten()
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
    let endpoints = ready.flat_map(|endpoint| {
        let hostname = endpoint.hostname.clone().filter(|name| !name.is_empty());
        endpoint
            .addresses
            .iter()
            .filter_map(|text| text.parse().ok())
            .map(move |address| zone::Endpoint { address, hostname: hostname.clone() })
    });
    zone::Slice { ports: ports.collect(), endpoints: endpoints.collect() }
}

/// The name servers of this machine.
fn system_servers() -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers =
        text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.split_whitespace().next()?.parse().ok());
    servers.take(3).collect()
}
