//! The autoscaler's shell.
//!
//! Invariant: each autoscaler has a timer of its own, so that a cluster without autoscalers asks nobody for anything. What
//! was recommended and done is remembered before the status is written: a status that is lost must not cost the past.

mod readings;
mod target;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::Key;
use base::selector::LabelSelector;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use parking_lot::Mutex;

use super::overlay::Overlay;
use super::replicaset::key;
use super::write;
use crate::events::Recorder;
use crate::plan::autoscaler::question::Read;
use crate::plan::autoscaler::{self as plan, History, Observed, Scale};
use crate::{Launch, Shared, time};
use target::{Target, Targets};

const NAME: &str = "horizontal-pod-autoscaler";
/// How often each autoscaler is looked at (upstream `--horizontal-pod-autoscaler-sync-period`).
const PERIOD: Duration = Duration::from_secs(15);

struct Shell {
    client: Client,
    events: Recorder,
    autoscalers: Overlay<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    targets: Targets,
    memory: Mutex<HashMap<Key, Memory>>,
}

/// What is known of an autoscaler beyond its object.
#[derive(Default)]
struct Memory {
    history: History,
    /// That of its target's scale, as last seen.
    selector: Option<LabelSelector>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let autoscalers = shared.informers.of::<HorizontalPodAutoscaler>();
    let client = shared.client(NAME);
    let queue: Queue<Key> = Queue::new();
    let shell = Arc::new(Shell {
        targets: Targets::new(client.clone()),
        client,
        events: shared.events.recorder(NAME),
        autoscalers: Overlay::new(autoscalers.clone()),
        pods: shared.informers.of(),
        memory: Mutex::default(),
    });
    let wake = queue.clone();
    autoscalers.on_change(move |change: Change<'_, HorizontalPodAutoscaler>| {
        // the status is ours
        if change.old.map(|one| &one.spec) != change.new.map(|one| &one.spec) {
            wake.add(key(&**change.latest()));
        }
    });
    let shared = shared.clone();
    Box::new(move || {
        informer::work(&queue, 5, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(autoscaler) = self.autoscalers.get(&key.namespace, &key.name) else {
            self.memory.lock().remove(key);
            return Ok(Next::Done);
        };
        let target = self.targets.find(&key.namespace, &autoscaler.spec.scale_target_ref).await;
        let scale = target.as_ref().map(Target::scale).map_err(Clone::clone);
        let pods = scale.as_ref().map(|scale| self.selected(key, scale)).unwrap_or_default();
        let rivals = self.rivals(key, &pods);
        let readings = match &scale {
            Ok(scale) if rivals.len() < 2 && plan::needs_metrics(&autoscaler, scale) => {
                self.read(&autoscaler, scale).await
            }
            _ => Vec::new(),
        };
        let history = self.memory.lock().get(key).map(|memory| memory.history.clone()).unwrap_or_default();
        let observed = Observed {
            scale: &scale,
            pods: &pods,
            rivals: &rivals,
            readings: &readings,
            history: &history,
            now: time::now(),
        };
        let mut plan = plan::plan(&autoscaler, &observed);
        if let (Some(to), Ok(target)) = (plan.rescale.as_ref().map(|rescale| rescale.to), target) {
            let outcome = self.targets.set(target, to).await;
            plan.done(&autoscaler, outcome.as_ref().copied().map_err(String::as_str), time::now());
        }
        self.memory.lock().entry(key.clone()).or_default().history = plan.history;
        for note in plan.notes {
            if note.warning {
                self.events.warning(&*autoscaler, note.reason, note.message);
            } else {
                self.events.normal(&*autoscaler, note.reason, note.message);
            }
        }
        if autoscaler.status.as_ref() != Some(&plan.status) {
            let mut next = (*autoscaler).clone();
            next.status = Some(plan.status);
            if let Err(error) = write::keep_status(&self.client, &self.autoscalers, &next).await {
                self.events.warning(&*autoscaler, "FailedUpdateStatus", error.root_cause().to_string());
                return Err(error);
            }
        }
        Ok(Next::After(PERIOD))
    }

    /// The pods that the scale selects, which are this autoscaler's from now on.
    fn selected(&self, key: &Key, scale: &Scale) -> Vec<Arc<Pod>> {
        let selector = Some(&scale.selector).filter(|text| !text.is_empty());
        let selector = selector.and_then(|text| LabelSelector::parse(text).ok());
        self.memory.lock().entry(key.clone()).or_default().selector.clone_from(&selector);
        let Some(selector) = selector else { return Vec::new() };
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|pod| selector.matches_map(pod.labels()));
        pods
    }

    /// Every autoscaler that controls one of the pods.
    fn rivals(&self, key: &Key, pods: &[Arc<Pod>]) -> Vec<Key> {
        let memory = self.memory.lock();
        let of_same = memory.iter().filter(|(other, _)| other.namespace == key.namespace);
        let selecting = of_same.filter(|(_, memory)| {
            let selector = memory.selector.as_ref();
            selector.is_some_and(|selector| pods.iter().any(|pod| selector.matches_map(pod.labels())))
        });
        let mut rivals: Vec<Key> = selecting.map(|(other, _)| other.clone()).collect();
        rivals.sort_by(|a, b| a.name.cmp(&b.name));
        rivals
    }

    async fn read(&self, autoscaler: &HorizontalPodAutoscaler, scale: &Scale) -> Vec<Read> {
        let namespace = autoscaler.namespace().unwrap_or_default();
        let specs = autoscaler.spec.metrics.iter().flatten();
        let asked = specs.map(|spec| readings::read(&self.client, &self.targets, &namespace, &scale.selector, spec));
        futures::future::join_all(asked).await
    }
}
