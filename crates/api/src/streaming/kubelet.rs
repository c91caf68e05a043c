//! Connections to where containers run: to kubelets with our client certificate, to pods and services as they come.
//!
//! A connection serves one request and ends with it. Pooling would save a handshake on a path that people use, not
//! controllers, and would cost idle connections to every node.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tasks::Children;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{config::Config, error::ApiError};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("expected PEM certificates and a PEM key")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the TLS library refuses the certificates")]
    Tls(#[from] rustls::Error),
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How the far end is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// Our cluster authority signed it, and it gets our client certificate.
    Kubelet,
    /// TLS without knowing the peer: an address inside the cluster that a user chose, as upstream's proxy does.
    Unverified,
    Plain,
}

/// Where a request is relayed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) security: Security,
}

impl Target {
    /// `10.1.2.3:80`, with brackets around IPv6.
    pub(crate) fn authority(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// A dial that failed, in the words clients of upstream know.
#[derive(Debug, thiserror::Error)]
#[error("dial tcp {authority}: {why}")]
pub(crate) struct DialError {
    authority: String,
    why: String,
}

pub(crate) struct Kubelets {
    kubelet: TlsConnector,
    unverified: TlsConnector,
    children: OnceLock<Children>,
}

impl Kubelets {
    pub(crate) fn new(config: &Config) -> Result<Self, Fault> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(config.cluster_ca_pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(config.kubelet_client.cert_pem.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(config.kubelet_client.key_pem.as_bytes())?;
        let builder =
            || ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let kubelet = builder()?.with_root_certificates(roots).with_client_auth_cert(chain?, key)?;
        let trusting = Arc::new(pki::Anyone(Arc::clone(&provider)));
        let unverified = builder()?.dangerous().with_custom_certificate_verifier(trusting).with_no_client_auth();
        Ok(Self {
            kubelet: TlsConnector::from(Arc::new(kubelet)),
            unverified: TlsConnector::from(Arc::new(unverified)),
            children: OnceLock::new(),
        })
    }

    /// From now on tunnels can run, owned by the API service.
    pub(crate) fn start(&self, children: &Children) {
        self.children.get_or_init(|| children.clone());
    }

    pub(crate) fn children(&self) -> Result<&Children, ApiError> {
        self.children.get().ok_or_else(|| ApiError::unavailable("the server is still starting"))
    }

    pub(crate) async fn dial(&self, target: &Target) -> Result<Box<dyn Stream>, DialError> {
        let failed = |why: String| DialError { authority: target.authority(), why };
        let dial = async {
            let tcp = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(|error| connect(&error))?;
            tcp.set_nodelay(true).map_err(|error| error.to_string())?;
            let connector = match target.security {
                Security::Plain => return Ok(Box::new(tcp) as Box<dyn Stream>),
                Security::Kubelet => &self.kubelet,
                Security::Unverified => &self.unverified,
            };
            let name = ServerName::try_from(target.host.clone()).map_err(|error| error.to_string())?;
            let tls = connector.connect(name, tcp).await.map_err(|error| format!("tls: {error}"))?;
            Ok(Box::new(tls) as Box<dyn Stream>)
        };
        match tokio::time::timeout(PATIENCE, dial).await {
            Ok(result) => result.map_err(failed),
            Err(_) => Err(failed("i/o timeout".to_owned())),
        }
    }
}

fn connect(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => format!("connect: {error}"),
    }
}
