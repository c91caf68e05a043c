//! `knarr up`: builds every part of a cluster and runs them until a signal.
//!
//! Order matters twice: a part starts when what it needs serves, and stops before it. The API is
//! therefore first to start and last to stop; pods keep running when this process ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::credentials::Credentials;
use crate::failure::Try;
use crate::meant::Settings;
use crate::network::PodNetwork;
use crate::progress::{Event, Progress};
use crate::{host, lock, platform, roles};

/// How long a service may take to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Runs the cluster until a signal.
pub(crate) async fn run(settings: Settings, progress: &Progress) -> anyhow::Result<()> {
    let _lock = lock::take(&settings.place.lock())?;
    host::check(&settings)?;
    settings.remember()?;
    std::fs::create_dir_all(&settings.place.run_dir)
        .with_context(|| format!("cannot make {}", settings.place.run_dir.display()))?;
    let credentials = Credentials::load(&settings)?;
    credentials.write_kubeconfig(&settings)?;

    let mut services = tasks::Services::new();
    let outcome = match start(&settings, &credentials, progress, &mut services).await {
        Ok(()) => {
            progress.show(&ready(&settings, progress));
            services.run(stop_signal(), GRACE).await
        }
        Err(error) => {
            if let Err(late) = services.stop(GRACE).await {
                tracing::warn!("{late:#}");
            }
            Err(error)
        }
    };
    progress.log(b"knarr: stopped; pods keep running, knarr up adopts them, knarr down stops them\n");
    outcome
}

async fn start(
    settings: &Settings,
    credentials: &Credentials,
    progress: &Progress,
    services: &mut tasks::Services,
) -> anyhow::Result<()> {
    let api = start_api(settings, credentials, progress, services).await?;
    let user = |name: &str, groups: &[&str]| api.client(api::User::component(name, groups));

    let control = control::Config {
        clients: roles::controller_clients(api.clone()),
        cluster_ca_pem: credentials.cluster_ca.cert_pem().to_owned(),
        time_zone: host::time_zone(),
        sign: Some(roles::signer(credentials)?),
        sign_token: Some(roles::token_signer(api.clone())),
    };
    let since = Instant::now();
    let mut pending = Vec::new();
    pending.push(services.start("control", move |ctx| control::run(control, ctx)));
    let scheduler = user("system:kube-scheduler", &[]);
    let profiles = settings.scheduler.clone();
    pending.push(services.start("scheduler", move |ctx| control::scheduler::run(scheduler, profiles, ctx)));

    let pods = net::Pods::open(net::Config {
        cluster_name: settings.place.name.clone(),
        pod_cidr: format!("{}/24", settings.pods.network),
        cluster_cidr: settings.pods.to_string(),
        service_cidr: settings.services.to_string(),
        run_dir: settings.place.run_dir.join("net"),
        mtu: 1500,
    })
    .await
    .context("cannot build the pod network")?;
    progress.stage("network", format!("{}, nf_tables", settings.pods), since);
    let proxy = user("system:kube-proxy", &[]);
    let proxy_config = proxy_config(settings);
    pending.push(services.start("proxy", move |ctx| net::proxy::run(proxy, proxy_config, ctx)));

    let dns = api.client(api::User::service_account(platform::NAMESPACE, "dns"));
    let dns_config = dns::Config {
        listen: vec![settings.dns],
        domain: settings.domain.clone(),
        upstreams: settings.upstreams.clone(),
    };
    pending.push(services.start("dns", move |ctx| dns::run(dns, dns_config, ctx)));
    let gateway = api.client(api::User::service_account(platform::NAMESPACE, "gateway"));
    let installer = api.client(api::User::service_account(platform::NAMESPACE, "gateway-definitions"));
    let gateway_config = roles::gateway_at(settings, installer);
    pending.push(services.start("gateway", move |ctx| gateway::run(gateway, gateway_config, ctx)));
    if settings.certs {
        let certs = api.client(api::User::service_account(platform::NAMESPACE, "certs"));
        let certs_config = roles::certs(settings);
        pending.push(services.start("certs", move |ctx| certs::run(certs, certs_config, ctx)));
    }

    let provisioner = api.client(api::User::service_account(platform::NAMESPACE, "volumes"));
    pending.push(services.start("volumes", move |ctx| volumes::run(provisioner, roles::volumes(), ctx)));

    let node_user = format!("system:node:{}", settings.node_name);
    let local = api.client(api::User::service_account(platform::NAMESPACE, "local-volumes"));
    let node = node_config(settings, credentials, (user(&node_user, &["system:nodes"]), local), pods)?;
    let node_since = Instant::now();
    let node_status = services.start("node", move |ctx| node::run(node, ctx));
    progress.wait(node_status, node_since).await?;
    node_ready(settings, user("system:kube-controller-manager", &[])).await?;
    progress.stage("node", format!("{}, {}", settings.node_name, node::describe_host()), node_since);

    for status in pending {
        let name = status.name().to_owned();
        progress.wait(status, since).await?;
        if let Some(detail) = stage_detail(settings, &name) {
            progress.stage(&name, detail, since);
        }
    }
    Ok(())
}

async fn start_api(
    settings: &Settings,
    credentials: &Credentials,
    progress: &Progress,
    services: &mut tasks::Services,
) -> anyhow::Result<api::Api> {
    let since = Instant::now();
    let path = settings.place.store();
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let opened = store::open(&path, store::Options { stamp: api::stamp, ..store::Options::default() });
    let store = Arc::new(opened.context("cannot open the store")?);
    // first to start, so last to stop: closed when nobody writes any more, it needs no repair when it is opened again
    let closed = store.clone();
    let status = services.start("store", move |ctx| async move {
        ctx.ready.set();
        ctx.stop.cancelled().await;
        tokio::task::spawn_blocking(move || closed.close()).await.context("cannot close the store")
    });
    progress.wait(status, since).await?;
    progress.stage("store", path.display().to_string(), since);

    let since = Instant::now();
    let listener = TcpListener::bind(settings.api)
        .await
        .with_context(|| format!("cannot listen on {} for the Kubernetes API", settings.api))
        .context(Try("knarr up --api-port PORT".to_owned()))?;
    let config = api::Config {
        bind: settings.api,
        advertise: settings.node_address,
        port: settings.api.port(),
        service_cidr: settings.services.to_string(),
        node_ports: settings.node_ports.clone(),
        cluster_domain: settings.domain.clone(),
        serving: credentials.api.clone(),
        cluster_ca_pem: credentials.cluster_ca.cert_pem().to_owned(),
        client_ca_pem: credentials.client_ca.cert_pem().to_owned(),
        token_key_pem: credentials.token_key_pem.clone(),
        token_issuer: format!("https://kubernetes.default.svc.{}", settings.domain),
        kubelet_client: credentials.kubelet_client.clone(),
        front_proxy: credentials.front_proxy.clone(),
        bootstrap: platform::objects(settings, credentials),
        runtime_config: settings.runtime_config.clone(),
    };
    let api = api::Api::build(config, store).context("cannot build the API server")?;
    roles::offer_metrics(&api, credentials)?;
    let served = api.clone();
    let status = services.start("api", move |ctx| async move { served.run(listener, ctx).await });
    progress.wait(status, since).await?;
    progress.stage("api", format!("https://{}:{}", settings.node_address, settings.api.port()), since);
    Ok(api)
}

fn proxy_config(settings: &Settings) -> net::proxy::Config {
    net::proxy::Config {
        cluster_name: settings.place.name.clone(),
        node_name: settings.node_name.clone(),
        cluster_cidr: settings.pods.to_string(),
        service_cidr: settings.services.to_string(),
    }
}

fn node_config(
    settings: &Settings,
    credentials: &Credentials,
    (client, local): (kube::Client, kube::Client),
    pods: net::Pods,
) -> anyhow::Result<node::Config> {
    Ok(node::Config {
        name: settings.node_name.clone(),
        client,
        data_dir: settings.place.data_dir.clone(),
        run_dir: settings.place.run_dir.clone(),
        cluster_name: settings.place.name.clone(),
        node_ip: settings.node_address,
        listen: SocketAddr::new(settings.api.ip(), settings.node_port),
        serving: credentials.node.clone(),
        client_ca_pem: credentials.client_ca.cert_pem().to_owned(),
        cluster_dns: settings.dns_ip().into(),
        cluster_domain: settings.domain.clone(),
        pod_cidr: format!("{}/24", settings.pods.network),
        network: Arc::new(PodNetwork(pods)),
        shim: std::env::current_exe().context("cannot find our own executable")?,
        insecure_registries: settings.insecure_registries.clone(),
        local_volumes: node::LocalVolumes {
            client: local,
            annotation: volumes::plan::PLACE.to_owned(),
            finalizer: volumes::plan::FINALIZER.to_owned(),
            provisioner: platform::PROVISIONER.to_owned(),
        },
    })
}

/// Waits until the node's Ready condition is true.
async fn node_ready(settings: &Settings, client: kube::Client) -> anyhow::Result<()> {
    let only = watcher::Config::default().fields(&format!("metadata.name={}", settings.node_name));
    let mut nodes = std::pin::pin!(watcher(Api::<Node>::all(client), only).default_backoff().applied_objects());
    while let Some(node) = nodes.next().await {
        let conditions = node?.status.and_then(|status| status.conditions).unwrap_or_default();
        if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
            return Ok(());
        }
    }
    anyhow::bail!("the watch on node {} ended", settings.node_name)
}

fn stage_detail(settings: &Settings, name: &str) -> Option<String> {
    match name {
        "dns" => Some(format!("{} at {}", settings.domain, settings.dns_ip())),
        "gateway" => Some(format!("http {}, https {}", settings.http, settings.https)),
        "control" => Some("controllers and scheduler".to_owned()),
        _ => None,
    }
}

fn ready(settings: &Settings, progress: &Progress) -> Event {
    let port = |address: &SocketAddr, standard: u16| {
        if address.port() == standard { String::new() } else { format!(":{}", address.port()) }
    };
    Event::Ready {
        millis: progress.millis(),
        kubeconfig: settings.place.kubeconfig().display().to_string(),
        summary: vec![
            ("gateway".to_owned(), format!("https://NAME.localhost{}", port(&settings.https, 443))),
            ("trust".to_owned(), settings.place.pki().join("cluster-ca.crt").display().to_string()),
        ],
    }
}

/// Completes on SIGTERM or SIGINT.
pub(crate) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (term, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    match (term, interrupt) {
        (Ok(mut term), Ok(mut interrupt)) => tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        },
        _ => {
            tracing::error!("cannot listen for signals; stop this process with kill -9");
            std::future::pending().await
        }
    }
}
