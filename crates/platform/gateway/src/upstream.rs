//! TLS to backends.
//!
//! Why not pingora's: it makes new settings for each connection, so that no session is ever
//! resumed, and knows one name a certificate may be for. Here settings are made once, and pingora
//! gets a connection it need not know is encrypted. Invariant: `authorities` decides whether a
//! certificate is verified; when it is, a name is always verified too.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::{Error, ErrorType, OrErr as _, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::model::UpstreamTls;

/// How backends with the same settings are greeted; made once for all of their connections.
#[derive(Clone)]
pub(crate) struct Way {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// The same for the same settings: connections to one endpoint with different settings are never mixed.
    pub(crate) group: u64,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("name", &self.name).field("group", &self.group).finish_non_exhaustive()
    }
}

impl Way {
    /// The way to a backend with these settings.
    ///
    /// # Errors
    /// When they contradict each other.
    pub(crate) fn of(tls: &UpstreamTls, h2: bool) -> Result<&Self, &str> {
        let made = tls.made[usize::from(h2)].get_or_init(|| Self::new(tls, h2));
        made.as_ref().map_err(String::as_str)
    }

    fn new(tls: &UpstreamTls, h2: bool) -> Result<Self, String> {
        let config = config(tls, h2)?;
        // Without a name the address is the name: no SNI is sent for it.
        let name = if tls.name.is_empty() {
            ServerName::from(std::net::Ipv4Addr::UNSPECIFIED)
        } else {
            ServerName::try_from(tls.name.clone()).map_err(|_| format!("{:?} is no name of a server", tls.name))?
        };
        let mut hasher = DefaultHasher::new();
        (&tls.name, &tls.names, &tls.authorities, &tls.client, h2).hash(&mut hasher);
        Ok(Self { config, name, group: hasher.finish() | 1 })
    }
}

/// Connects to a backend that speaks TLS.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) way: Way,
    /// For connecting and for the handshake, each.
    pub(crate) timeout: Duration,
}

fn config(tls: &UpstreamTls, h2: bool) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match &tls.authorities {
        // `backend-protocol: HTTPS` of ingress-nginx verifies nothing unless told to.
        None => Arc::new(pki::Anyone(Arc::clone(&provider))),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for der in authorities.iter() {
                let added = roots.add(CertificateDer::from(der.clone()));
                added.map_err(|error| format!("an authority cannot be used: {error}"))?;
            }
            let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            let chain = chain.map_err(|error| error.to_string())?;
            let names = if tls.names.is_empty() { vec![tls.name.clone()] } else { tls.names.clone() };
            Arc::new(OneOf { chain, names })
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = pair.0.iter().cloned().map(CertificateDer::from).collect();
            let key = PrivateKeyDer::try_from(pair.1.clone()).map_err(ToString::to_string)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = if h2 { vec![b"h2".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(Arc::new(config))
}

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let SocketAddr::Inet(address) = address else {
            return Error::e_explain(ErrorType::ConnectError, "a backend has an IP address");
        };
        let late = |_| Error::explain(ErrorType::ConnectTimedout, format!("{address} did not connect in time"));
        let socket = tokio::time::timeout(self.timeout, TcpStream::connect(address)).await.map_err(late)?;
        let socket = socket.or_err(ErrorType::ConnectRefused, "a backend refused the connection")?;
        socket.set_nodelay(true).or_err(ErrorType::SocketError, "cannot switch off delayed sending")?;
        let handshake = TlsConnector::from(Arc::clone(&self.way.config)).connect(self.way.name.clone(), socket);
        let late = |_| Error::explain(ErrorType::TLSHandshakeTimedout, format!("{address} did not greet in time"));
        let greeted = tokio::time::timeout(self.timeout, handshake).await.map_err(late)?;
        let stream = greeted.or_err(ErrorType::TLSHandshakeFailure, "TLS handshake with a backend")?;
        Ok(VirtualSocketStream::new(Box::new(Tunnel(stream))).into())
    }
}

/// An encrypted connection, as pingora takes any.
#[derive(Debug)]
struct Tunnel(TlsStream<TcpStream>);

impl VirtualSocket for Tunnel {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.0.get_ref().0.set_nodelay(true),
            _ => Ok(()),
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

/// A good chain, and one of several names: DNS names, or URIs written with their scheme.
#[derive(Debug)]
struct OneOf {
    chain: Arc<WebPkiServerVerifier>,
    names: Vec<String>,
}

impl ServerCertVerifier for OneOf {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let wrong_name = |error: &rustls::Error| {
            use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
            matches!(error, rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
        };
        match self.chain.verify_server_cert(leaf, intermediates, name, ocsp, now) {
            Err(error) if !wrong_name(&error) => return Err(error),
            _ => {}
        }
        let parsed = ParsedCertificate::try_from(leaf)?;
        let fits = |wanted: &String| {
            if wanted.contains("://") {
                return pki::inspect::uris(leaf).contains(wanted);
            }
            let wanted = ServerName::try_from(wanted.as_str());
            wanted.is_ok_and(|wanted| rustls::client::verify_server_name(&parsed, &wanted).is_ok())
        };
        if self.names.iter().any(fits) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForName))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
