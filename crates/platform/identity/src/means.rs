//! What guards need of the world: a clock, tasks, names, trust, and a memory that outlives them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base::time::Timestamp;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::RootCertStore;
use tasks::Children;

use crate::jose::Issuer;
use crate::oidc::Provider;
use crate::outgoing::Outgoing;

/// The present moment.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Finds the addresses of a host that a policy names, and decides which of them may be dialled.
pub trait Resolve: Send + Sync {
    /// The addresses of `host`, which is a name or an address.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The machine's own resolver. A policy must not reach what only the machine may: addresses that are link-local (clouds
/// tell secrets there), loopback, unspecified or multicast are left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver {
    /// Lets loopback addresses be dialled, for tests and for policies of the machine's owner.
    pub loopback: bool,
}

impl SystemResolver {
    /// Whether an address may be dialled for a policy.
    #[must_use]
    pub fn may_dial(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let local = match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_broadcast() || address.octets()[0] == 0,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        let closed = local || address.is_unspecified() || address.is_multicast();
        !closed && (self.loopback || !address.is_loopback())
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port)).await?.collect();
            let open: Vec<SocketAddr> = found.iter().copied().filter(|at| self.may_dial(at.ip())).collect();
            if open.is_empty() && !found.is_empty() {
                let why = format!("{host} has only addresses that policies may not reach");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
            Ok(open)
        })
    }
}

/// What guards need of the world. Cloning shares everything.
#[derive(Clone)]
pub struct Means {
    pub(crate) clock: Clock,
    pub(crate) children: Children,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) random: SystemRandom,
    shelf: Arc<Shelf>,
}

impl std::fmt::Debug for Means {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Means").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

/// What is kept for guards yet to come, so that a changed policy does not fetch everything again.
#[derive(Default)]
struct Shelf {
    issuers: Mutex<HashMap<String, Arc<Issuer>>>,
    providers: Mutex<HashMap<String, Arc<Provider>>>,
    clients: Mutex<HashMap<String, Outgoing>>,
}

/// What is on the shelf for longer than its users is given up when there is more than this.
const SHELF: usize = 256;

impl Means {
    /// The machine's clock, resolver and certificate authorities; `children` is where tasks run.
    #[must_use]
    pub fn new(children: Children) -> Self {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (kept, refused) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(kept, refused, "certificate authorities of the machine");
        Self {
            clock: Arc::new(base::time::now),
            children,
            resolver: Arc::new(SystemResolver::default()),
            roots: Arc::new(roots),
            random: SystemRandom::new(),
            shelf: Arc::default(),
        }
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The same with another way to find hosts; what was learned by the old way is forgotten.
    #[must_use]
    pub fn with_resolver(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, shelf: Arc::default(), ..self }
    }

    /// Now, in seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        (self.clock)().as_second()
    }

    /// Bytes nobody can guess.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub(crate) fn random<const N: usize>(&self) -> Result<[u8; N], NoRandomness> {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(bytes)
    }

    pub(crate) fn issuer(&self, key: String, make: impl FnOnce() -> Issuer) -> Arc<Issuer> {
        kept(&self.shelf.issuers, key, || Arc::new(make()))
    }

    pub(crate) fn provider(&self, key: String, make: impl FnOnce() -> Provider) -> Arc<Provider> {
        kept(&self.shelf.providers, key, || Arc::new(make()))
    }

    pub(crate) fn client(&self, key: String, make: impl FnOnce() -> Outgoing) -> Outgoing {
        kept(&self.shelf.clients, key, make)
    }
}

fn kept<T: Clone>(shelf: &Mutex<HashMap<String, T>>, key: String, make: impl FnOnce() -> T) -> T {
    let mut shelf = shelf.lock();
    if shelf.len() >= SHELF && !shelf.contains_key(&key) {
        shelf.clear();
    }
    shelf.entry(key).or_insert_with(make).clone()
}

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system has no randomness to give")]
pub(crate) struct NoRandomness;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reaches_no_address_that_is_the_machines_own() {
        let resolver = SystemResolver::default();
        let may = |text: &str| resolver.may_dial(text.parse().expect("an address"));
        for closed in [
            "127.0.0.1",
            "::1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(!may(closed), "{closed}");
        }
        for open in ["10.43.0.1", "192.0.2.1", "2001:db8::1", "fd00::1"] {
            assert!(may(open), "{open}");
        }
        assert!(SystemResolver { loopback: true }.may_dial("127.0.0.1".parse().expect("an address")));
    }
}
