//! The network side: an aggregated API server for a cluster whose API server is another process.
//!
//! Invariant: nobody is answered who did not come through the API server: the connection shows the front proxy's
//! certificate, of the authority and under a name that the cluster publishes, and the user whom the API server names may
//! do what is asked, which the cluster decides. The certificate shown is made anew at each start, so the APIService either
//! skips its check (`insecureSkipTLSVerify`, as metrics-server is usually installed) or another one is put in front.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, Client};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::answer::{Asked, Failure, GROUP, VERSION, asked};
use crate::{Config, Metrics};

const PATIENCE: Duration = Duration::from_secs(10);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Where the server is reached.
#[derive(Clone, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    /// What its certificate is for, such as `metrics-server.kube-system.svc`.
    pub names: Vec<String>,
}

/// Serves until the service is told to stop.
///
/// # Errors
/// When the port is taken, or the cluster does not say whom to trust.
pub async fn run(client: Client, config: Config, listen: Listen, ctx: tasks::Context) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen.address)
        .await
        .with_context(|| format!("cannot listen on {} for the metrics API", listen.address))?;
    ctx.ready.waiting_for("the cluster's front proxy authority");
    let gate = Arc::new(Gate::load(client.clone()).await?);
    let acceptor = gate.acceptor(&listen)?;
    let metrics = Metrics::new(client, config);
    ctx.ready.set();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ctx.stop.cancelled() => return Ok(()),
        };
        match accepted {
            Ok((stream, peer)) => {
                let (metrics, gate, acceptor) = (metrics.clone(), Arc::clone(&gate), acceptor.clone());
                ctx.children.spawn("metrics connection", async move {
                    if let Err(error) = connection(metrics, gate, stream, acceptor).await {
                        tracing::debug!(%peer, "connection ended: {error:#}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!("the metrics API cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(metrics: Metrics, gate: Arc<Gate>, stream: TcpStream, acceptor: TlsAcceptor) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await.context("no handshake in time")??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    anyhow::ensure!(certificate.is_some_and(|one| gate.knows(one)), "the client is not the front proxy");
    let service = service_fn(move |request: Request<Incoming>| {
        let (metrics, gate) = (metrics.clone(), Arc::clone(&gate));
        async move {
            let (parts, _) = request.into_parts();
            let response: Response<Bytes> = match gate.check(&parts).await {
                Ok(()) => metrics.answer(Request::from_parts(parts, Bytes::new())).await,
                Err(failure) => failure.response(),
            };
            Ok::<_, Infallible>(response.map(Full::new))
        }
    });
    let served = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    served.map_err(|error| anyhow::anyhow!(error))
}

/// Whom the cluster tells us to believe, and who decides.
struct Gate {
    client: Client,
    authority: String,
    /// Empty means any name.
    names: Vec<String>,
    headers: Headers,
}

/// Where the front proxy says who sends a request.
struct Headers {
    users: Vec<String>,
    groups: Vec<String>,
    extras: Vec<String>,
}

impl Gate {
    async fn load(client: Client) -> anyhow::Result<Self> {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
        let map = maps.get("extension-apiserver-authentication").await.context(
            "cannot read configmap kube-system/extension-apiserver-authentication, which says whom to trust",
        )?;
        let data = map.data.unwrap_or_default();
        let authority = data.get("requestheader-client-ca-file").cloned().context(
            "configmap kube-system/extension-apiserver-authentication names no front proxy: the cluster has no aggregation",
        )?;
        let list = |key: &str| list(&data, key);
        let headers = Headers {
            users: list("requestheader-username-headers"),
            groups: list("requestheader-group-headers"),
            extras: list("requestheader-extra-headers-prefix"),
        };
        Ok(Self { client, authority, names: list("requestheader-allowed-names"), headers })
    }

    fn acceptor(&self, listen: &Listen) -> anyhow::Result<TlsAcceptor> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authority.as_bytes()) {
            roots.add(certificate.context("the front proxy's authority is not readable")?)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .context("the front proxy's authority cannot be used")?;
        let own = pki::Authority::generate("metrics CA")?.issue(&pki::Request {
            common_name: "metrics-server".into(),
            organization: None,
            names: listen.names.clone(),
            usage: pki::Usage::Server,
            lifetime: YEAR,
        })?;
        let chain = CertificateDer::pem_slice_iter(own.cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes())?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Whether the certificate, which is of the right authority, has one of the right names.
    fn knows(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        name.is_some_and(|name| self.names.is_empty() || self.names.iter().any(|held| held == name))
    }

    /// Refuses unless the user whom the front proxy names may do this.
    async fn check(&self, parts: &http::request::Parts) -> Result<(), Failure> {
        let Some(spec) = review(&self.headers, parts) else {
            return Err(Failure::new(401, "Unauthorized", "Unauthorized"));
        };
        let review = SubjectAccessReview { spec: spec.clone(), ..SubjectAccessReview::default() };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|error| {
            let why = format!("Internal error occurred: {}", base::error::chain(&error));
            Failure::new(500, "InternalError", why)
        })?;
        if answer.status.is_some_and(|status| status.allowed && !status.denied.unwrap_or(false)) {
            return Ok(());
        }
        Err(Failure::new(403, "Forbidden", refusal(&spec)))
    }
}

fn list(data: &BTreeMap<String, String>, key: &str) -> Vec<String> {
    data.get(key).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// What the cluster is asked about a request; none if it names no user.
fn review(names: &Headers, parts: &http::request::Parts) -> Option<SubjectAccessReviewSpec> {
    let headers = &parts.headers;
    let user = names.users.iter().find_map(|name| first(headers, name))?;
    let groups: Vec<String> = names.groups.iter().flat_map(|name| all(headers, name)).collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for prefix in names.extras.iter().map(|prefix| prefix.to_ascii_lowercase()) {
        for name in headers.keys() {
            if let Some(key) = name.as_str().strip_prefix(&prefix) {
                let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
                extra.insert(key, all(headers, name.as_str()));
            }
        }
    }
    let verb = |name: &Option<String>| if name.is_some() { "get" } else { "list" };
    let resource = |plural: &str, namespace: Option<String>, name: Option<String>| ResourceAttributes {
        group: Some(GROUP.into()),
        version: Some(VERSION.into()),
        resource: Some(plural.into()),
        verb: Some(verb(&name).into()),
        namespace,
        name,
        ..ResourceAttributes::default()
    };
    let mut spec = SubjectAccessReviewSpec {
        user: Some(user),
        groups: Some(groups),
        extra: Some(extra),
        ..SubjectAccessReviewSpec::default()
    };
    match asked(parts.uri.path()) {
        Some(Asked::Nodes { name }) => spec.resource_attributes = Some(resource("nodes", None, name)),
        Some(Asked::Pods { namespace, name }) => spec.resource_attributes = Some(resource("pods", namespace, name)),
        Some(Asked::Document(_)) | None => {
            let verb = parts.method.as_str().to_ascii_lowercase();
            spec.non_resource_attributes =
                Some(NonResourceAttributes { path: Some(parts.uri.path().into()), verb: Some(verb) });
        }
    }
    Some(spec)
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

fn first(headers: &HeaderMap, name: &str) -> Option<String> {
    all(headers, name).into_iter().find(|value| !value.is_empty())
}

fn refusal(spec: &SubjectAccessReviewSpec) -> String {
    let user = spec.user.as_deref().unwrap_or_default();
    let Some(asked) = &spec.resource_attributes else {
        let path = spec.non_resource_attributes.as_ref().and_then(|asked| asked.path.as_deref()).unwrap_or_default();
        return format!("forbidden: User {user:?} cannot get path {path:?}");
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let place = match &asked.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".into(),
    };
    let name = asked.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
    let (verb, resource) = (text(&asked.verb), text(&asked.resource));
    format!(
        "{resource}.{GROUP}{name} is forbidden: User {user:?} cannot {verb} resource {resource:?} in API group {GROUP:?} {place}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Headers {
        Headers {
            users: vec!["X-Remote-User".into()],
            groups: vec!["X-Remote-Group".into()],
            extras: vec!["X-Remote-Extra-".into()],
        }
    }

    fn request(path: &str, headers: &[(&str, &str)]) -> http::request::Parts {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn the_cluster_is_asked_about_the_user_whom_the_front_proxy_names() {
        let path = "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods";
        let headers =
            [("x-remote-user", "ann"), ("x-remote-group", "a"), ("x-remote-group", "b"), ("x-remote-extra-k%2fx", "v")];
        let spec = review(&names(), &request(path, &headers)).unwrap();
        assert_eq!((spec.user.as_deref(), spec.groups.clone()), (Some("ann"), Some(vec!["a".into(), "b".into()])));
        assert_eq!(spec.extra, Some(BTreeMap::from([("k/x".to_owned(), vec!["v".to_owned()])])));
        assert_eq!(
            refusal(&spec),
            r#"pods.metrics.k8s.io is forbidden: User "ann" cannot list resource "pods" in API group "metrics.k8s.io" in the namespace "shop""#
        );
        let node = review(&names(), &request("/apis/metrics.k8s.io/v1beta1/nodes/n", &headers)).unwrap();
        let asked = node.resource_attributes.unwrap();
        assert_eq!((asked.verb.as_deref(), asked.name.as_deref()), (Some("get"), Some("n")));
        let document = review(&names(), &request("/apis/metrics.k8s.io", &headers)).unwrap();
        assert_eq!(refusal(&document), r#"forbidden: User "ann" cannot get path "/apis/metrics.k8s.io""#);
    }

    #[test]
    fn nobody_is_nobody() {
        assert!(review(&names(), &request("/apis", &[("x-remote-group", "system:masters")])).is_none());
        assert!(review(&names(), &request("/apis", &[("x-remote-user", "")])).is_none());
    }

    #[tokio::test]
    async fn only_a_name_that_the_cluster_allows_is_the_front_proxy() {
        let authority = pki::Authority::generate("front-proxy-ca").unwrap();
        let certificate = |name: &str| {
            let pair = authority
                .issue(&pki::Request {
                    common_name: name.into(),
                    organization: None,
                    names: Vec::new(),
                    usage: pki::Usage::Client,
                    lifetime: PATIENCE,
                })
                .unwrap();
            CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap()
        };
        let nowhere = tower::service_fn(|_: Request<kube::client::Body>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        });
        let mut gate = Gate {
            client: Client::new(nowhere, "default"),
            authority: authority.cert_pem().to_owned(),
            names: vec!["front-proxy-client".into()],
            headers: names(),
        };
        assert!(gate.knows(&certificate("front-proxy-client")) && !gate.knows(&certificate("other")));
        gate.names.clear();
        assert!(gate.knows(&certificate("other")));
        let address = ([127, 0, 0, 1], 0).into();
        assert!(gate.acceptor(&Listen { address, names: vec!["metrics.svc".into()] }).is_ok());
    }
}
