//! What wakes the two controllers that follow Services and pods.

use std::collections::HashMap;
use std::time::Duration;

use base::Key;
use informer::{Change, Informer, Queue};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::replicaset::key;
use crate::plan::{pod, service};

/// Wakes a Service when it or one of its pods changes in a way that endpoints show.
pub(super) fn wake(queue: &Queue<Key>, services: &Informer<Service>, pods: &Informer<Pod>) {
    let wake = queue.clone();
    services.on_change(move |change: Change<'_, Service>| wake.add(key(&**change.latest())));
    let (wake, services) = (queue.clone(), services.clone());
    pods.on_change(move |change: Change<'_, Pod>| {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && shown(old) == shown(new)
            && old.labels() == new.labels()
        {
            return;
        }
        let namespace = change.latest().namespace().unwrap_or_default();
        for service in services.in_namespace(&namespace) {
            let selected = |pod: &std::sync::Arc<Pod>| service::selects(&service, pod.labels());
            if change.old.is_some_and(selected) || change.new.is_some_and(selected) {
                wake.add(key(&*service));
            }
        }
    });
}

/// Keeps the writes of large Services apart: every write carries all their endpoints, so five hundred pods that become
/// ready one by one would cost five hundred times five hundred. Small Services are never delayed.
#[derive(Default)]
pub(super) struct Pace {
    next: Mutex<HashMap<Key, Instant>>,
}

/// Up to so many endpoints a write is cheap.
const SMALL: usize = 100;
const PER_ENDPOINT: Duration = Duration::from_micros(200);

impl Pace {
    /// How long the next write has to wait.
    pub(super) fn wait(&self, service: &Key, now: Instant) -> Option<Duration> {
        let mut next = self.next.lock();
        let wait = next.get(service)?.checked_duration_since(now).filter(|wait| !wait.is_zero());
        if wait.is_none() {
            next.remove(service);
        }
        wait
    }

    /// A write of so many endpoints was made.
    pub(super) fn wrote(&self, service: &Key, endpoints: usize, now: Instant) {
        if endpoints > SMALL {
            let pause = PER_ENDPOINT * u32::try_from(endpoints).unwrap_or(u32::MAX);
            self.next.lock().insert(service.clone(), now + pause);
        }
    }
}

/// What of a pod an endpoint can show.
#[derive(PartialEq)]
struct Shown<'a> {
    addresses: Vec<String>,
    ready: bool,
    terminal: bool,
    leaving: bool,
    node: &'a str,
    names: (Option<&'a str>, Option<&'a str>),
}

fn shown(pod: &Pod) -> Shown<'_> {
    let spec = pod.spec.as_ref();
    Shown {
        addresses: pod::addresses(pod),
        ready: pod::is_ready(pod),
        terminal: pod::is_terminal(pod),
        leaving: pod.metadata.deletion_timestamp.is_some(),
        node: pod::node_name(pod),
        names: (spec.and_then(|spec| spec.hostname.as_deref()), spec.and_then(|spec| spec.subdomain.as_deref())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_services_are_paced() {
        let (pace, key, now) = (Pace::default(), Key::new("shop", "web"), Instant::now());
        pace.wrote(&key, SMALL, now);
        assert_eq!(pace.wait(&key, now), None);
        pace.wrote(&key, 500, now);
        assert_eq!(pace.wait(&key, now), Some(Duration::from_millis(100)));
        assert_eq!(pace.wait(&key, now + Duration::from_millis(100)), None);
    }
}
