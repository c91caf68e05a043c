//! Who may call the kubelet API: certificate holders whom the API server allows the path.
//!
//! Invariant: the mapping from path to `nodes/<subresource>` is upstream's (fine-grained first, then
//! `proxy`); answers are remembered for seconds, so that taking a right away takes effect soon.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Refusal;

const ALLOWED_FOR: Duration = Duration::from_secs(30);
const DENIED_FOR: Duration = Duration::from_secs(5);
const REMEMBERED: usize = 1024;

/// The owner of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Caller {
    pub name: String,
    pub groups: Vec<String>,
}

impl Caller {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let subject = parsed.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
        Some(Self { name, groups })
    }
}

/// The TLS side: our certificate, and callers must show one of the client authority.
pub(crate) fn tls(serving: &pki::Pair, client_ca_pem: &str) -> anyhow::Result<TlsAcceptor> {
    use anyhow::Context as _;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(client_ca_pem.as_bytes()) {
        roots.add(certificate.context("the client authority's certificate is not readable")?)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .context("the client authority's certificate cannot be used")?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(serving.cert_pem.as_bytes())
        .collect::<Result<_, _>>()
        .context("the kubelet's serving certificate is not readable")?;
    let key = PrivateKeyDer::from_pem_slice(serving.key_pem.as_bytes()).context("the kubelet's key is not readable")?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .context("the kubelet's certificate and key do not fit together")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

type Question = (Caller, &'static str, &'static str);

/// Asks the API server, and remembers.
pub(crate) struct Authorizer {
    client: kube::Client,
    node: String,
    known: Mutex<HashMap<Question, (bool, Instant)>>,
}

impl Authorizer {
    pub(crate) fn new(client: kube::Client, node: String) -> Self {
        Self { client, node, known: Mutex::default() }
    }

    /// Refuses unless `caller` may use `path`.
    pub(super) async fn check(&self, caller: &Caller, method: &Method, path: &str) -> Result<(), Refusal> {
        if caller.groups.iter().any(|group| group == "system:masters") {
            return Ok(());
        }
        let verb = verb(method, path);
        for subresource in subresources(path) {
            if self.allowed((caller.clone(), verb, subresource)).await? {
                return Ok(());
            }
        }
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)={:?})",
                caller.name,
                subresources(path)
            ),
        ))
    }

    async fn allowed(&self, question: Question) -> Result<bool, Refusal> {
        if let Some((allowed, until)) = self.known.lock().get(&question)
            && Instant::now() < *until
        {
            return Ok(*allowed);
        }
        let (caller, verb, subresource) = &question;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(caller.name.clone()),
                groups: Some(caller.groups.iter().cloned().chain(["system:authenticated".to_owned()]).collect()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(String::new()),
                    version: Some("v1".into()),
                    resource: Some("nodes".into()),
                    subresource: Some((*subresource).into()),
                    name: Some(self.node.clone()),
                    verb: Some((*verb).into()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|error| {
            let why = base::error::chain(&error);
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("Authorization error (user={}): {why}", caller.name),
            )
        })?;
        let allowed = answer.status.is_some_and(|status| status.allowed && !status.denied.unwrap_or(false));
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(question, (allowed, Instant::now() + if allowed { ALLOWED_FOR } else { DENIED_FOR }));
        Ok(allowed)
    }
}

/// Running something in a pod is `create`, however it is asked for.
fn verb(method: &Method, path: &str) -> &'static str {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if matches!(first, "exec" | "attach" | "portForward" | "run") {
        return "create";
    }
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

fn subresources(path: &str) -> &'static [&'static str] {
    match path.trim_start_matches('/').split('/').next().unwrap_or_default() {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "pods" | "runningpods" => &["pods", "proxy"],
        "healthz" | "livez" => &["healthz", "proxy"],
        _ => &["proxy"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_map_to_subresources_of_the_node() {
        assert_eq!(subresources("/exec/ns/pod/c"), ["proxy"]);
        assert_eq!(subresources("/pods"), ["pods", "proxy"]);
        assert_eq!(subresources("/stats/summary"), ["stats"]);
        assert_eq!(verb(&Method::GET, "/exec/ns/pod/c"), "create");
        assert_eq!(verb(&Method::GET, "/containerLogs/ns/pod/c"), "get");
    }

    #[test]
    fn a_caller_is_who_its_certificate_says() {
        let authority = pki::Authority::generate("client-ca").unwrap();
        let pair = authority
            .issue(&pki::Request {
                common_name: "kube-apiserver-kubelet-client".into(),
                organization: Some("system:masters".into()),
                names: Vec::new(),
                usage: pki::Usage::Client,
                lifetime: Duration::from_secs(60),
            })
            .unwrap();
        let certificate = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap();
        let caller = Caller::of(&certificate).unwrap();
        assert_eq!(caller.name, "kube-apiserver-kubelet-client");
        assert_eq!(caller.groups, ["system:masters"]);
    }
}
