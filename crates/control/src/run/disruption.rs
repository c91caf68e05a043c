//! The disruption controller's shell.

mod scale;

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Client, ResourceExt};
use serde_json::json;

use super::node_lifecycle::patch_pod_status;
use super::overlay::Overlay;
use super::replicaset::key;
use super::{clock, write};
use crate::events::Recorder;
use crate::plan::claim;
use crate::plan::disruption::{self as plan, Asked, Observed};
use crate::{Launch, Shared, time};
use scale::Scales;

const NAME: &str = "disruption-controller";

struct Shell {
    client: Client,
    events: Recorder,
    budgets: Overlay<PodDisruptionBudget>,
    pods: Informer<Pod>,
    scales: Scales,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let budgets = shared.informers.of::<PodDisruptionBudget>();
    let pods = shared.informers.of::<Pod>();
    let client = shared.client(NAME);
    let (queue, marks): (Queue<Key>, Queue<Key>) = (Queue::new(), Queue::new());
    let shell = Arc::new(Shell {
        scales: Scales::new(shared, client.clone()),
        client,
        events: shared.events.recorder_as(NAME, "controllermanager"),
        budgets: Overlay::new(budgets.clone()),
        pods: pods.clone(),
    });
    let wake = queue.clone();
    budgets.on_change(move |change: Change<'_, PodDisruptionBudget>| wake.add(key(&**change.latest())));
    let (wake, stale, known, events) = (queue.clone(), marks.clone(), budgets.clone(), shell.events.clone());
    pods.on_change(move |change: Change<'_, Pod>| {
        wake_for_pod(&wake, &known, &events, change);
        if let Some(wait) = change.new.and_then(|pod| plan::stale_disruption(pod, time::now())) {
            stale.add_after(key(&**change.latest()), wait);
        }
    });
    let (wake, known) = (queue.clone(), budgets.clone());
    shell.scales.on_change(move |namespace: &str| {
        // a share of what a controller wants changes with what it wants
        known
            .in_namespace(namespace)
            .iter()
            .filter(|one| plan::needs_scales(one))
            .for_each(|one| wake.add(key(&**one)));
    });
    let shared = shared.clone();
    Box::new(move || {
        let keys = move || budgets.list().iter().map(|budget| key(&**budget)).collect();
        shared.resync(&queue, keys.clone());
        clock::on_jump(&shared, &queue, keys);
        let counting = Arc::clone(&shell);
        informer::work(&queue, 1, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&counting);
            async move { write::settle(shell.sync(&key).await) }
        });
        informer::work(&marks, 1, &shared.context, "stale disruptions", move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync_mark(&key).await) }
        });
    })
}

fn wake_for_pod(
    queue: &Queue<Key>,
    budgets: &Informer<PodDisruptionBudget>,
    events: &Recorder,
    change: Change<'_, Pod>,
) {
    let pod = change.latest();
    let mut covering = budgets.in_namespace(pod.namespace().as_deref().unwrap_or(""));
    covering.retain(|budget| change.old.into_iter().chain(change.new).any(|pod| plan::covers(budget, pod)));
    for budget in &covering {
        queue.add(key(&**budget));
    }
    covering.retain(|budget| plan::covers(budget, pod));
    if let [first, _, ..] = covering.as_slice() {
        let (namespace, name, first) = (pod.namespace().unwrap_or_default(), pod.name_any(), first.name_any());
        let text = format!(
            "Pod \"{namespace}\"/\"{name}\" matches multiple PodDisruptionBudgets.  Chose \"{first}\" arbitrarily."
        );
        events.warning(&**pod, "MultiplePodDisruptionBudgets", text);
    }
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(budget) = self.budgets.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        let pods = plan::covered(&budget, &self.pods.in_namespace(&key.namespace));
        let scales = if plan::needs_scales(&budget) { self.ask(&key.namespace, &pods).await } else { BTreeMap::new() };
        let plan = plan::plan(&budget, &Observed { pods: &pods, scales: &scales, now: time::now() });
        for note in plan.notes {
            let pod = pods.iter().find(|pod| note.pod.as_ref().is_some_and(|name| pod.name_any() == *name));
            match (pod, note.warning) {
                (Some(pod), _) => self.events.warning(&**pod, note.reason, note.message),
                (None, true) => self.events.warning(&*budget, note.reason, note.message),
                (None, false) => self.events.normal(&*budget, note.reason, note.message),
            }
        }
        if let Some(status) = plan.status {
            let mut next = (*budget).clone();
            next.status = Some(status);
            match write::replace_status(&self.client, &next).await {
                Ok(written) => drop(self.budgets.wrote(written)),
                Err(error) if write::is_not_found(&error) => return Ok(Next::Done),
                Err(error) => {
                    let attempt = format_args!("cannot write the status of poddisruptionbudget {key}");
                    return Err(write::failed(&error, attempt));
                }
            }
        }
        Ok(plan.recheck.map_or(Next::Done, Next::After))
    }

    /// What each controller of the pods wants.
    async fn ask(&self, namespace: &str, pods: &[Arc<Pod>]) -> BTreeMap<String, Asked> {
        let mut asked = BTreeMap::new();
        for controller in pods.iter().filter_map(|pod| claim::controller(&**pod)) {
            if !asked.contains_key(&controller.uid) {
                asked.insert(controller.uid.clone(), self.scales.ask(namespace, controller).await);
            }
        }
        asked
    }

    /// Takes back the mark of a pod that was to be disrupted, when nobody has done it.
    async fn sync_mark(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        let now = time::now();
        match plan::stale_disruption(&pod, now) {
            None => Ok(Next::Done),
            Some(left) if !left.is_zero() => Ok(Next::After(left)),
            Some(_) => {
                let condition = json!({
                    "type": "DisruptionTarget", "status": "False", "reason": null, "message": null,
                    "lastTransitionTime": Time(now),
                });
                patch_pod_status(&self.client, &pod, json!({ "conditions": [condition] })).await?;
                Ok(Next::Done)
            }
        }
    }
}
