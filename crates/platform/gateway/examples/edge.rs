//! An edge node before one origin, to measure it and to run suites against it: `edge PORT ORIGIN-URL [DIR]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use cache::{DiskSettings, Settings};
use knarr_gateway::edge::{Config, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next();
    let port: u16 = next().context("a port is needed")?.parse()?;
    let origin = next().context("an origin is needed")?.parse().map_err(|error: String| anyhow::anyhow!(error))?;
    let disk = next().map(|dir| DiskSettings { dir: dir.into(), bytes: 1 << 30 });
    let policy = next().map_or(Ok(cache::Policy::default()), |text| serde_json::from_str(&text))?;
    let config = Config {
        listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        tls: None,
        origins: vec![origin],
        authorities: Vec::new(),
        host_header: None,
        policy,
        cache: Settings { memory: 256 << 20, disk },
        socket: None,
        access_log: String::new(),
    };
    let mut services = tasks::Services::new();
    let mut status = services.start("edge", move |ctx| run(config, ctx));
    status.ready().await?;
    let signal = async { drop(tokio::signal::ctrl_c().await) };
    services.run(signal, std::time::Duration::from_secs(5)).await
}
