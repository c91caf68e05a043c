//! Guards, made of settings and kept while nothing they are made of changes.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base::Key;
use futures::future::BoxFuture;
use identity::{Data, Guard, Means, Resolve, Settings, Source, SystemResolver};
use informer::Informer;
use k8s_openapi::api::core::v1::Service;
use parking_lot::Mutex;

/// All guards in use.
pub(crate) struct Guards {
    means: Means,
    made: Mutex<HashMap<(&'static str, Key), Made>>,
}

/// A guard, and all it was made of.
struct Made {
    settings: Settings,
    data: Vec<Option<Data>>,
    guard: Arc<Guard>,
}

impl Guards {
    /// No guard yet; names of services are found in `services`.
    pub(crate) fn new(services: Informer<Service>, domain: &str, children: tasks::Children) -> Self {
        let resolver = ServiceResolver { services, domain: domain.to_owned(), others: SystemResolver::default() };
        Self { means: Means::new(children).with_resolver(Arc::new(resolver)), made: Mutex::default() }
    }

    /// The guard for the object `key` of `kind`; `data` finds its Secrets and ConfigMaps.
    ///
    /// # Errors
    /// Everything that is wrong with the settings.
    pub(crate) fn of(
        &self,
        kind: &'static str,
        key: &Key,
        settings: &Settings,
        data: &dyn Fn(&Source) -> Option<Data>,
    ) -> Result<Arc<Guard>, String> {
        let sources: Vec<Option<Data>> = settings.sources().iter().map(data).collect();
        let place = (kind, key.clone());
        if let Some(known) = self.made.lock().get(&place)
            && known.settings == *settings
            && known.data == sources
        {
            return Ok(Arc::clone(&known.guard));
        }
        let guard = Guard::new(&key.to_string(), settings, &data, &self.means).map_err(|faults| faults.to_string())?;
        let guard = Arc::new(guard);
        let made = Made { settings: settings.clone(), data: sources, guard: Arc::clone(&guard) };
        self.made.lock().insert(place, made);
        Ok(guard)
    }

    /// Forgets guards that nobody uses any more.
    pub(crate) fn tidy(&self) {
        self.made.lock().retain(|_, made| Arc::strong_count(&made.guard) > 1);
    }
}

/// Finds services of the cluster by their names, and everything else as the machine does.
struct ServiceResolver {
    services: Informer<Service>,
    domain: String,
    others: SystemResolver,
}

impl Resolve for ServiceResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        match service(host, &self.domain) {
            None => self.others.resolve(host, port),
            Some(key) => Box::pin(async move {
                let found = self.services.get(&key.namespace, &key.name);
                let address = found.and_then(|service| service.spec.as_ref()?.cluster_ip.clone());
                let address = address.and_then(|text| text.parse::<IpAddr>().ok()).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::NotFound, format!("there is no Service {key} with an address"))
                })?;
                Ok(vec![SocketAddr::new(address, port)])
            }),
        }
    }
}

/// The service that a name of cluster DNS means.
fn service(host: &str, domain: &str) -> Option<Key> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let short = host.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.')).unwrap_or(host);
    let (name, namespace) = short.strip_suffix(".svc")?.split_once('.')?;
    (!namespace.contains('.')).then(|| Key::new(namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_cluster_dns_means_a_service() {
        let told = |host: &str| service(host, "cluster.local").map(|key| key.to_string());
        assert_eq!(told("web.shop.svc").as_deref(), Some("shop/web"));
        assert_eq!(told("web.shop.svc.cluster.local.").as_deref(), Some("shop/web"));
        for other in ["web.shop", "example.com", "svc", "a.b.c.svc", "web.shop.svc.example.com"] {
            assert_eq!(told(other), None, "{other}");
        }
    }
}
