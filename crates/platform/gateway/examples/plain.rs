//! The gateway's data plane alone in front of one address, to measure it: `plain PORT BACKEND [TLS-PORT]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use base::Key;
use knarr_gateway::model::{
    Backend, Certificates, Endpoints, Host, Listener, Match, Model, Offer, PathMatch, Port, Protocol, Rank, Route,
    Rule, Serves, Socket, Source, Split, Target, Tls, Transport,
};
use knarr_gateway::seen::Seen;
use knarr_gateway::serve::Doors;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next();
    let port: u16 = next().context("a port is needed")?.parse()?;
    let backend: SocketAddr = next().context("a backend is needed")?.parse()?;
    let tls: Option<u16> = next().map(|port| port.parse()).transpose()?;
    let mut services = tasks::Services::new();
    let mut status = services.start("gateway", move |ctx| async move {
        let doors = Doors::new(IpAddr::V4(Ipv4Addr::LOCALHOST), Arc::new(Seen::default()), &ctx)?;
        let failed = doors.open(&model(port, backend, tls)?);
        anyhow::ensure!(failed.is_empty(), "{failed:?}");
        ctx.ready.set();
        ctx.stop.cancelled().await;
        doors.close().await;
        Ok(())
    });
    status.ready().await?;
    let signal = async { drop(tokio::signal::ctrl_c().await) };
    services.run(signal, std::time::Duration::from_secs(5)).await
}

fn model(port: u16, backend: SocketAddr, tls: Option<u16>) -> anyhow::Result<Model> {
    let key = Key::new("default", "backend");
    let endpoints = Arc::new(Endpoints::new(key, Port::Number(80), Transport::Tcp, vec![backend]));
    let target = Target::Backend(Arc::new(Backend { endpoints, protocol: Protocol::Http }));
    let source = Arc::new(Source::new("HTTPRoute", Key::new("default", "all"), "0"));
    let rule = Arc::new(Rule::new(Arc::clone(&source), Split::all(target)));
    let route = Route {
        hosts: vec![Host::Any],
        matches: vec![Match::path(PathMatch::Prefix(String::new()))],
        rank: Rank { created: None, key: Key::new("default", "all"), rule: 0 },
        rule,
    };
    let listener = |tls: Tls| Listener {
        source: Arc::clone(&source),
        host: Host::Any,
        isolated: true,
        tls,
        serves: Serves::Http(vec![route.clone()]),
    };
    let mut model = Model::default();
    model.add(Socket { address: None, port, transport: Transport::Tcp }, listener(Tls::None));
    if let Some(port) = tls {
        let pair = pki::Authority::generate("bench")?.issue(&pki::Request {
            common_name: "localhost".to_owned(),
            organization: None,
            names: vec!["localhost".to_owned()],
            usage: pki::Usage::Server,
            lifetime: std::time::Duration::from_secs(3600),
        })?;
        let pair = knarr_gateway::certificates::parse(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes())?;
        let mut certificates = Certificates::default();
        certificates.offer(&Host::Any, Some(pair));
        let protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let offer = Arc::new(Offer { certificates, clients: None, protocols });
        model.add(Socket { address: None, port, transport: Transport::Tcp }, listener(Tls::Terminate(offer)));
    }
    Ok(model)
}
