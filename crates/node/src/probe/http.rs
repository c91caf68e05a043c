//! A small HTTP client for probes and lifecycle hooks: one connection per request, no certificate
//! checks (upstream's probes make none either: the program is proven alive, not authentic).
//!
//! Invariant: at most 10 KiB of an answer is read, and redirects leave neither host nor limit.

use std::net::IpAddr;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

const BODY_LIMIT: usize = 10 << 10;
const REDIRECT_LIMIT: usize = 10;

/// A request as the action describes it, with the port resolved.
#[derive(Debug, Clone)]
pub(crate) struct Get {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    pub path: String,
    pub headers: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: String,
}

impl Get {
    pub(crate) fn new(action: &HTTPGetAction, pod_ip: Option<IpAddr>, port: u16) -> Self {
        let own = action.host.clone().filter(|host| !host.is_empty());
        let path = action.path.clone().unwrap_or_default();
        Self {
            tls: action.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            host: own.or_else(|| pod_ip.map(|ip| ip.to_string())).unwrap_or_else(|| "127.0.0.1".into()),
            port,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers: action
                .http_headers
                .iter()
                .flatten()
                .map(|header| (header.name.clone(), header.value.clone()))
                .collect(),
        }
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", authority(&self.host, self.port), self.path)
    }

    /// Sends the request and follows redirects on the same host; one to elsewhere is an answer.
    pub(crate) async fn send(&self, user_agent: &str) -> Result<Answer, String> {
        let mut request = self.clone();
        for _ in 0..=REDIRECT_LIMIT {
            let (answer, location) = request.once(user_agent).await?;
            let Some(location) = location.filter(|_| (300..400).contains(&answer.status)) else { return Ok(answer) };
            match request.redirected(&location) {
                Some(next) => request = next,
                None => return Ok(answer),
            }
        }
        Err(format!("Get \"{}\": stopped after 10 redirects", self.url()))
    }

    fn redirected(&self, location: &str) -> Option<Self> {
        let target: http::Uri = location.parse().ok()?;
        let mut next = self.clone();
        if let Some(host) = target.host() {
            if host.trim_matches(['[', ']']) != self.host {
                return None;
            }
            next.tls = target.scheme_str() == Some("https");
            next.port = target.port_u16().unwrap_or(if next.tls { 443 } else { 80 });
        }
        target.path_and_query()?.as_str().clone_into(&mut next.path);
        Some(next)
    }

    async fn once(&self, user_agent: &str) -> Result<(Answer, Option<String>), String> {
        let told = |why: String| format!("Get \"{}\": {why}", self.url());
        let tcp = dial(&self.host, self.port).await.map_err(told)?;
        if self.tls {
            let config = Arc::new(client_config().map_err(|error| told(error.to_string()))?);
            let name = ServerName::try_from(self.host.clone()).map_err(|error| told(error.to_string()))?;
            let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await;
            self.exchange(stream.map_err(|error| told(error.to_string()))?, user_agent).await.map_err(told)
        } else {
            self.exchange(tcp, user_agent).await.map_err(told)
        }
    }

    async fn exchange<S>(&self, stream: S, user_agent: &str) -> Result<(Answer, Option<String>), String>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let text = |error: &(dyn std::error::Error + 'static)| base::error::chain(error);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
        let request = self.request(user_agent).map_err(|error| text(&error))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| text(&error))?;
            let status = response.status().as_u16();
            let location = response.headers().get(http::header::LOCATION);
            let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
            let mut data = Vec::new();
            let mut body = response.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                data.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
                if data.len() > BODY_LIMIT {
                    data.truncate(BODY_LIMIT);
                    break;
                }
            }
            Ok((Answer { status, body: String::from_utf8_lossy(&data).into_owned() }, location))
        };
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!("probe connection ended: {error}");
                }
                answer.await
            }
        }
    }

    fn request(&self, user_agent: &str) -> Result<http::Request<Empty<bytes::Bytes>>, http::Error> {
        let mut builder = http::Request::get(&self.path);
        let has = |name: &str| self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        if !has("host") {
            builder = builder.header("Host", authority(&self.host, self.port));
        }
        if !has("user-agent") {
            builder = builder.header("User-Agent", user_agent);
        }
        if !has("accept") {
            builder = builder.header("Accept", "*/*");
        }
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        builder.header("Connection", "close").body(Empty::new())
    }
}

/// Opens a TCP connection; errors read as Go's, which people search for.
pub(crate) async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((host, port)).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
            std::io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
            _ => error.to_string(),
        };
        format!("dial tcp {}: connect: {why}", authority(host, port))
    })?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("cannot set TCP_NODELAY: {error}");
    }
    Ok(stream)
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn client_config() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // a probe asks whether the program answers, not who it is
    let verifier = Arc::new(pki::Anyone(Arc::clone(&provider)));
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}
