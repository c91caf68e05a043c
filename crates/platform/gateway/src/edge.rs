//! A cache in front of origins, without a cluster: the gateway's proxy and sockets, and a model made from settings.
//!
//! Names of origins are looked up again and again; requests never wait for that.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::Key;
use cache::{Cache, Rules};

use crate::certificates;
use crate::model::{
    Backend, Cached, Certificates, Endpoints, Host, Listener, Match, Model, Offer, PathMatch, Port, Protocol, Rank,
    Route, Rule, Serves, Socket, Source, Split, Target, Tls, Transport, UpstreamTls, canonical,
};
use crate::seen::{AccessLog, Seen};
use crate::serve::Doors;

/// How long the addresses of a name are used.
const LOOKUP_TIME: Duration = Duration::from_secs(30);
/// How soon a lookup that failed is tried again.
const LOOKUP_AGAIN: Duration = Duration::from_secs(2);

/// What an edge node needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it is served.
    pub listen: SocketAddr,
    /// Certificate chain and key, PEM, when it is served with TLS.
    pub tls: Option<(Vec<u8>, Vec<u8>)>,
    /// Who is behind it; the hosts must differ.
    pub origins: Vec<Origin>,
    /// Whom certificates of origins must come from, PEM.
    pub authorities: Vec<u8>,
    /// The `Host` that origins see; the client's when none.
    pub host_header: Option<String>,
    /// How responses are cached.
    pub policy: cache::Policy,
    /// Where and how much is kept.
    pub cache: cache::Settings,
    /// Where purges and questions of the machine's owner are answered; nowhere when none.
    pub socket: Option<PathBuf>,
    /// A file that gets a line per request, `-` for standard output; none when empty.
    pub access_log: String,
}

/// Who is behind an edge node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The host clients ask for; all that have no origin of their own when none.
    pub host: Option<String>,
    /// TLS is spoken.
    pub tls: bool,
    /// A name or an address.
    pub name: String,
    /// Its port.
    pub port: u16,
}

impl FromStr for Origin {
    type Err = String;

    /// `URL`, or `HOST=URL` for one host.
    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || {
            format!(
                "{text:?} is no origin; write one such as https://origin.example:8443 or www.example=http://10.0.0.1"
            )
        };
        let (host, url) = match text.split_once("=http") {
            Some((host, _)) => (Some(host), &text[host.len() + 1..]),
            None => (None, text),
        };
        let uri: http::Uri = url.parse().map_err(|_| fault())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(fault()),
        };
        let authority = uri.authority().ok_or_else(fault)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(format!(
                "{text:?} has more than a host and a port; an origin gets the paths that clients ask for"
            ));
        }
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        if name.is_empty() || host.is_some_and(str::is_empty) {
            return Err(fault());
        }
        Ok(Self { host: host.map(|host| canonical(host).into_owned()), tls, name, port })
    }
}

/// Serves `config` until the service is stopped.
///
/// # Errors
/// When the address cannot be listened on, the cache not opened, or a setting is wrong.
pub async fn run(config: Config, ctx: tasks::Context) -> anyhow::Result<()> {
    let rules = Rules::new(&config.policy).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the cache policy is wrong: {}", faults.join("; "))
    })?;
    let cache =
        Cache::open(&config.cache).context("the cache cannot be opened; choose another directory with --cache-dir")?;
    let access = match config.access_log.as_str() {
        "" => None,
        path => Some(AccessLog::open(path, 1.0, &ctx)?),
    };
    let doors = Doors::new(config.listen.ip(), Arc::new(Seen::new(access, None)), &ctx)?;
    let cached = Cached { cache, rules: Arc::new(rules) };
    let (model, names) = model(&config, &cached)?;
    for (origin, endpoints) in names {
        let looking = look_up(origin, endpoints);
        ctx.children.spawn("origin addresses", looking);
    }
    if let Some(why) = doors.open(&model).into_values().next() {
        anyhow::bail!("{why} with --listen");
    }
    let stop = ctx.stop.clone();
    ctx.children.spawn("cache directory", cache.recollect(stop));
    ctx.ready.set();
    match &config.socket {
        Some(path) => cache::admin::serve(cache, path, &ctx)
            .await
            .with_context(|| format!("cannot listen on {}; choose another path with --socket", path.display()))?,
        None => ctx.stop.cancelled().await,
    }
    doors.close().await;
    Ok(())
}

/// Origins, and where their addresses are put.
type Looked = Vec<(Origin, Arc<Endpoints>)>;

/// What is served, and whose addresses are looked up.
fn model(config: &Config, cached: &Cached) -> anyhow::Result<(Model, Looked)> {
    let mut names = Vec::new();
    let mut routes = Vec::new();
    for (at, origin) in config.origins.iter().enumerate() {
        if config.origins[..at].iter().any(|before| before.host == origin.host) {
            anyhow::bail!("two origins are given for {}", origin.host.as_deref().unwrap_or("all hosts"));
        }
        let key = Key::new("edge", origin.host.as_deref().unwrap_or("any"));
        let port = Port::Number(i32::from(origin.port));
        let endpoints = Arc::new(Endpoints::new(key.clone(), port, Transport::Tcp, Vec::<SocketAddr>::new()));
        names.push((origin.clone(), Arc::clone(&endpoints)));
        let protocol =
            if origin.tls { Protocol::Https(Arc::new(upstream_tls(config, origin)?)) } else { Protocol::Http };
        let source = Arc::new(Source::new("Origin", key.clone(), ""));
        let mut rule = Rule::new(source, Split::all(Target::Backend(Arc::new(Backend { endpoints, protocol }))));
        rule.limits.upstream_host.clone_from(&config.host_header);
        rule.cached = Some(cached.clone());
        routes.push(Route {
            hosts: vec![origin.host.as_ref().map_or(Host::Any, |host| Host::parse(host, false))],
            matches: vec![Match::path(PathMatch::Prefix(String::new()))],
            rank: Rank { created: None, key, rule: at },
            rule: Arc::new(rule),
        });
    }
    let tls = match &config.tls {
        None => Tls::None,
        Some((chain, key)) => {
            let mut certificates = Certificates::default();
            let pair = certificates::parse(chain, key)
                .context("the certificate cannot be used; see --tls-cert and --tls-key")?;
            certificates.offer(&Host::Any, Some(pair));
            let protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Tls::Terminate(Arc::new(Offer { certificates, clients: None, protocols }))
        }
    };
    let listener = Listener {
        source: Arc::new(Source::new("Edge", Key::new("edge", "edge"), "")),
        host: Host::Any,
        isolated: true,
        tls,
        serves: Serves::Http(routes),
    };
    let mut model = Model::default();
    model.add(Socket { address: None, port: config.listen.port(), transport: Transport::Tcp }, listener);
    Ok((model, names))
}

fn upstream_tls(config: &Config, origin: &Origin) -> anyhow::Result<UpstreamTls> {
    let authorities = certificates::authorities(&config.authorities)
        .map_err(|why| anyhow::anyhow!("the authorities of origins cannot be used, see --origin-ca: {why}"))?;
    Ok(UpstreamTls {
        made: Default::default(),
        name: origin.name.clone(),
        names: Vec::new(),
        authorities: Some(authorities.into()),
        client: None,
    })
}

/// Keeps the addresses of an origin current.
async fn look_up(origin: Origin, endpoints: Arc<Endpoints>) {
    let mut told = false;
    loop {
        let wait = match tokio::net::lookup_host((origin.name.as_str(), origin.port)).await {
            Ok(found) => {
                let mut found: Vec<SocketAddr> = found.collect();
                found.sort_unstable();
                endpoints.set(found);
                told = false;
                LOOKUP_TIME
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("cannot look up the origin {}; its last addresses are used: {error}", origin.name);
                }
                LOOKUP_AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_with_and_without_a_host() {
        let read = |text: &str| text.parse::<Origin>();
        let origin = |host: Option<&str>, tls, name: &str, port| Origin {
            host: host.map(str::to_owned),
            tls,
            name: name.to_owned(),
            port,
        };
        assert_eq!(read("https://o.example"), Ok(origin(None, true, "o.example", 443)));
        assert_eq!(
            read("WWW.a.example=http://10.0.0.1:8080/"),
            Ok(origin(Some("www.a.example"), false, "10.0.0.1", 8080))
        );
        assert_eq!(read("http://[::1]:81"), Ok(origin(None, false, "::1", 81)));
        for wrong in ["", "o.example", "ftp://a", "http://", "=http://a", "http://a/path", "http://a?q", "http://u@a"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
