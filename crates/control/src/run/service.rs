//! What wakes the two controllers that follow Services and pods.

use base::Key;
use informer::{Change, Informer, Queue};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;

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
