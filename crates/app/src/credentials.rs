//! The cluster's authorities and the certificates made from them at every start.
//!
//! Three authorities: `cluster-ca` signs what servers show (API, node, Ingress hosts), `client-ca`
//! signs what clients show, so that a serving key never makes an identity; `front-proxy-ca` signs the one certificate
//! by which API servers behind ours know it: who could make another one could be anybody there. Serving certificates
//! are made anew at each start and never written to disk; only the admin's is kept, in kubeconfig.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use pki::{Authority, Pair, Request, Usage};

use crate::meant::Settings;
use crate::platform;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// The admin's certificate is replaced at a start that finds less than this left.
const ADMIN_MARGIN: Duration = Duration::from_secs(180 * 24 * 3600);

/// Everything the process needs to prove who it is.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) cluster_ca: Authority,
    pub(crate) client_ca: Authority,
    pub(crate) token_key_pem: String,
    pub(crate) api: Pair,
    pub(crate) node: Pair,
    pub(crate) kubelet_client: Pair,
    pub(crate) front_proxy: api::FrontProxy,
    /// What the metrics server shows to kubelets.
    pub(crate) metrics: Pair,
}

impl Credentials {
    /// Loads the authorities (made on first start) and issues this run's certificates.
    pub(crate) fn load(settings: &Settings) -> anyhow::Result<Self> {
        let dir = settings.place.pki();
        let cluster_ca = Authority::load_or_create(&dir, "cluster-ca", &format!("{} cluster CA", settings.place.name))?;
        let client_ca = Authority::load_or_create(&dir, "client-ca", &format!("{} client CA", settings.place.name))?;
        let token_key_pem = pki::read_or_create(&dir.join("token.key"), pki::generate_key_pem)?;
        let domain = &settings.domain;
        let mut names: Vec<String> =
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1"]
                .map(str::to_owned)
                .to_vec();
        names.push(format!("kubernetes.default.svc.{domain}"));
        names.push(settings.node_name.clone());
        names.push(settings.kubernetes_ip().to_string());
        names.push(settings.node_address.to_string());
        names.push(settings.pods.nth(1).to_string());
        let serving = |common_name: &str, names: Vec<String>| {
            cluster_ca.issue(&Request {
                common_name: common_name.to_owned(),
                organization: None,
                names,
                usage: Usage::Server,
                lifetime: YEAR,
            })
        };
        let api = serving("kube-apiserver", names)?;
        let node_names = vec![settings.node_name.clone(), settings.node_address.to_string(), "127.0.0.1".to_owned()];
        let node = serving(&format!("system:node:{}", settings.node_name), node_names)?;
        let kubelet_client = client(&client_ca, "kube-apiserver-kubelet-client", Some("system:masters"))?;
        let front_proxy_ca =
            Authority::load_or_create(&dir, "front-proxy-ca", &format!("{} front proxy CA", settings.place.name))?;
        let front_proxy = api::FrontProxy {
            ca_pem: front_proxy_ca.cert_pem().to_owned(),
            client: client(&front_proxy_ca, api::FrontProxy::NAME, None)?,
        };
        let metrics = client(&client_ca, &format!("system:serviceaccount:{}:metrics", platform::NAMESPACE), None)?;
        Ok(Self { cluster_ca, client_ca, token_key_pem, api, node, kubelet_client, front_proxy, metrics })
    }

    /// Writes the admin's kubeconfig (0600) unless the one there is still good.
    pub(crate) fn write_kubeconfig(&self, settings: &Settings) -> anyhow::Result<()> {
        let path = settings.place.kubeconfig();
        let listen = settings.api.ip();
        let host = if listen.is_unspecified() { "127.0.0.1".to_owned() } else { listen.to_string() };
        let server = format!("https://{host}:{}", settings.api.port());
        let crt = settings.place.pki().join("admin.crt");
        let key = settings.place.pki().join("admin.key");
        let kept = std::fs::read_to_string(&crt).ok().zip(std::fs::read_to_string(&key).ok());
        let fresh = kept.filter(|(cert, _)| pki::expires(cert).is_ok_and(|at| at > SystemTime::now() + ADMIN_MARGIN));
        let pair = match fresh {
            Some((cert_pem, key_pem)) => Pair { cert_pem, key_pem },
            None => {
                let pair = client(&self.client_ca, "kubernetes-admin", Some("system:masters"))?;
                pki::write_private(&key, pair.key_pem.as_bytes())?;
                pki::write_private(&crt, pair.cert_pem.as_bytes())?;
                pair
            }
        };
        let text =
            pki::kubeconfig(&settings.place.name, &server, self.cluster_ca.cert_pem(), "kubernetes-admin", &pair);
        pki::write_private(&path, text.as_bytes()).context("cannot write the admin's kubeconfig")
    }
}

fn client(authority: &Authority, user: &str, group: Option<&str>) -> Result<Pair, pki::Error> {
    authority.issue(&Request {
        common_name: user.to_owned(),
        organization: group.map(str::to_owned),
        names: Vec::new(),
        usage: Usage::Client,
        lifetime: YEAR,
    })
}
