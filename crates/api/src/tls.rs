//! The TLS of the listener: our certificate, client certificates welcome but not required, h2 and HTTP/1.1.
//!
//! A client certificate is only asked for here; whether its authority is ours is decided by authentication, so that a
//! stranger's certificate is a 401 with a reason and not a broken handshake.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{authn::x509, config::Config};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the serving certificate")]
    Certificate(#[source] rustls_pki_types::pem::Error),
    #[error("cannot read the key of the serving certificate")]
    Key(#[source] rustls_pki_types::pem::Error),
    #[error("cannot serve TLS with this certificate and key")]
    Pair(#[from] rustls::Error),
    #[error("cannot read the client authority")]
    ClientAuthority(#[from] x509::Error),
}

pub(crate) fn server_config(config: &Config) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_slice_iter(config.serving.cert_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(config.serving.key_pem.as_bytes()).map_err(Error::Key)?;
    let verifier = x509::AskForCertificate::new(&config.client_ca_pem)?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}
