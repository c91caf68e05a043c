//! What TLS clients are shown and asked for, and what is asked of TLS backends.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use super::Host;
use crate::upstream::Way;

/// What a listener shows TLS clients, and asks of them.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// The certificates.
    pub certificates: Certificates,
    /// Whether clients must show one of theirs.
    pub clients: Option<ClientCheck>,
    /// What is spoken inside, in order of preference; empty for streams.
    pub protocols: Vec<Vec<u8>>,
}

/// Certificates, and for which names.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    /// For exact names; without a certificate when there is none to be used.
    named: HashMap<String, Option<Arc<CertifiedKey>>>,
    /// By what follows `*.`.
    wildcards: HashMap<String, Option<Arc<CertifiedKey>>>,
    /// For names that are not above, the first that has the name, else the first.
    any: Vec<Arc<CertifiedKey>>,
}

/// What clients must show.
#[derive(Clone)]
pub struct ClientCheck {
    /// Whom their certificates must come from; anyone when none: a guard looks at them later.
    pub roots: Option<Arc<RootCertStore>>,
    /// True when a client without a certificate, or with a wrong one, is let in all the same
    /// (`AllowInsecureFallback`, `auth-tls-verify-client: optional`).
    pub optional: bool,
}

impl ClientCheck {
    /// Clients are asked, and let in whatever they show.
    #[must_use]
    pub fn anyone() -> Self {
        Self { roots: None, optional: true }
    }
}

impl fmt::Debug for ClientCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCheck")
            .field("roots", &self.roots.as_ref().map(|roots| roots.len()))
            .field("optional", &self.optional)
            .finish()
    }
}

/// A chain and its key, DER.
pub type Pair = (Vec<Vec<u8>>, Vec<u8>);

/// What is asked of a backend that speaks TLS.
#[derive(Clone, Debug, Default)]
pub struct UpstreamTls {
    /// The name sent, and verified; empty sends none.
    pub name: String,
    /// Other names that may be in its certificate; when there are any, `name` alone is not enough.
    pub names: Vec<String>,
    /// Authorities, DER; none verifies nothing (ingress-nginx's way for `backend-protocol: HTTPS`).
    pub authorities: Option<Arc<[Vec<u8>]>>,
    /// What we show: chain and key, DER.
    pub client: Option<Arc<Pair>>,
    /// Made of all this with the first connection: for HTTP/1.1, and for HTTP/2.
    pub(crate) made: [OnceLock<Result<Way, String>>; 2],
}

impl Certificates {
    /// Offers `certificate` for `host`, unless there is a good one already.
    pub fn offer(&mut self, host: &Host, certificate: Option<Arc<CertifiedKey>>) {
        let slot = match host {
            Host::Any => return self.any.extend(certificate),
            Host::Exact(name) => self.named.entry(name.clone()),
            Host::Wildcard { suffix, .. } => self.wildcards.entry(suffix.clone()),
        };
        let slot = slot.or_default();
        if slot.is_none() {
            *slot = certificate;
        }
    }

    /// True when somebody asked for TLS for the canonical name `host`.
    #[must_use]
    pub fn has(&self, host: &str) -> bool {
        self.of(host).is_some() || !self.any.is_empty()
    }

    /// The certificate for the canonical name `host`, if there is a good one.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        if let Some(named) = self.of(host) {
            return named.clone();
        }
        if self.any.len() < 2 {
            return self.any.first().cloned();
        }
        let fitting = self.any.iter().find(|certificate| certifies(certificate, host));
        fitting.or(self.any.first()).cloned()
    }

    fn of(&self, host: &str) -> Option<&Option<Arc<CertifiedKey>>> {
        let parent = || host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent);
        self.named.get(host).or_else(|| self.wildcards.get(parent()?))
    }

    /// All certificates with the names they are offered for.
    pub fn iter(&self) -> impl Iterator<Item = (String, Option<&Arc<CertifiedKey>>)> {
        let named = self.named.iter().map(|(name, certificate)| (name.clone(), certificate.as_ref()));
        let wild = self.wildcards.iter().map(|(suffix, certificate)| (format!("*.{suffix}"), certificate.as_ref()));
        named.chain(wild).chain(self.any.iter().map(|certificate| ("*".to_owned(), Some(certificate))))
    }
}

/// True when the first certificate of the chain is for `host`.
fn certifies(certificate: &CertifiedKey, host: &str) -> bool {
    let parsed = certificate.cert.first().map(ParsedCertificate::try_from);
    let (Some(Ok(parsed)), Ok(name)) = (parsed, ServerName::try_from(host)) else { return false };
    verify_server_name(&parsed, &name).is_ok()
}
