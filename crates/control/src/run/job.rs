//! The Job controller's shell.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::Key;
use futures::future::join_all;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::overlay::Overlay;
use super::pods::{Pods, confirm_alive, slow_start};
use super::replicaset::key;
use super::{clock, write};
use crate::events::Recorder;
use crate::plan::job::{self as plan, Action, Backoff, FINALIZER, Observed};
use crate::plan::{claim, labels};
use crate::{Launch, Shared, time};

const NAME: &str = "job-controller";
/// One pass ends after so many looks, to let other Jobs have their turn.
const LOOKS: usize = 8;
/// The wait per active pod, and the longest, after which the news of a large Job's pods are looked at together.
const PER_POD: Duration = Duration::from_millis(2);
const SMALL: u32 = 10;
const LONGEST: Duration = Duration::from_secs(1);

struct Shell {
    client: Client,
    events: Recorder,
    jobs: Overlay<Job>,
    pod_cache: Informer<Pod>,
    pods: Overlay<Pod>,
    control: Pods,
    memory: Mutex<HashMap<String, Memory>>,
}

/// What is remembered of a Job between two looks.
#[derive(Default)]
struct Memory {
    backoff: Backoff,
    /// Pods whose finalizer we took but the cache still shows, by uid; however old it is, they must not be counted again.
    let_go: HashMap<String, Key>,
}

/// The pods of a look.
struct Seen {
    pods: Vec<Arc<Pod>>,
    backoff: Backoff,
    now: time::Timestamp,
}

impl Seen {
    fn observed(&self) -> Observed<'_> {
        Observed { pods: &self.pods, backoff: &self.backoff, now: self.now }
    }
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let job_cache = shared.informers.of::<Job>();
    let pod_cache = shared.informers.of::<Pod>();
    let (queue, orphans): (Queue<Key>, Queue<Key>) = (Queue::new(), Queue::new());
    let (client, events, pods) = (shared.client(NAME), shared.events.recorder(NAME), Overlay::new(pod_cache.clone()));
    let shell = Arc::new(Shell {
        control: Pods::new(client.clone(), events.clone(), pods.clone()),
        client,
        events,
        jobs: Overlay::new(job_cache.clone()),
        pods,
        pod_cache: pod_cache.clone(),
        memory: Mutex::default(),
    });
    let (wake, strays, pods, known) = (queue.clone(), orphans.clone(), pod_cache.clone(), Arc::clone(&shell));
    job_cache.on_change(move |change: Change<'_, Job>| {
        let job = change.latest();
        wake.add(key(&**job));
        let ended = |job: &Arc<Job>| plan::ended(job).is_some();
        if change.new.is_none() || (ended(job) && !change.old.is_some_and(ended)) {
            known.memory.lock().remove(job.metadata.uid.as_deref().unwrap_or(""));
            for pod in strays_of(job, &pods) {
                strays.add(key(&*pod));
            }
        }
    });
    let (wake, strays, jobs) = (queue.clone(), orphans.clone(), job_cache.clone());
    pod_cache.on_change(move |change: Change<'_, Pod>| wake_for_pod(&wake, &strays, &jobs, change));
    let shared = shared.clone();
    Box::new(move || {
        let keys = move || job_cache.list().iter().map(|job| key(&**job)).collect();
        shared.resync(&queue, keys.clone());
        clock::on_jump(&shared, &queue, keys);
        let jobs = Arc::clone(&shell);
        informer::work(&queue, 4, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&jobs);
            async move { write::settle(shell.sync(&key).await) }
        });
        informer::work(&orphans, 1, &shared.context, "orphans of jobs", move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync_orphan(&key).await) }
        });
    })
}

/// The pods of a Job that is over or gone which still carry the finalizer.
fn strays_of(job: &Job, pods: &Informer<Pod>) -> Vec<Arc<Pod>> {
    let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let mut strays = pods.in_namespace(job.namespace().as_deref().unwrap_or(""));
    strays.retain(|pod| is_tracked(pod) && selector.is_some_and(|selector| labels::matches(selector, pod.labels())));
    strays
}

fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|one| one == FINALIZER)
}

fn wake_for_pod(queue: &Queue<Key>, orphans: &Queue<Key>, jobs: &Informer<Job>, change: Change<'_, Pod>) {
    let pod = change.latest();
    let namespace = pod.namespace().unwrap_or_default();
    let job_of = |pod: &Arc<Pod>| {
        let owner = claim::controller(&**pod).filter(|owner| owner.kind == "Job")?;
        jobs.get(&namespace, &owner.name).filter(|job| job.metadata.uid.as_deref() == Some(&owner.uid))
    };
    for job in change.old.into_iter().chain(change.new).filter_map(job_of) {
        queue.add_after(key(&*job), pace(&job));
    }
    let Some(new) = change.new else { return };
    if claim::controller(&**new).is_none() {
        for job in jobs.in_namespace(&namespace) {
            let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            if selector.is_some_and(|selector| labels::matches(selector, new.labels())) {
                queue.add(key(&*job));
            }
        }
    }
    let unowned = claim::controller(&**new).is_none();
    let over = || job_of(new).is_none_or(|job| plan::ended(&job).is_some());
    if is_tracked(new) && (unowned || (new.metadata.deletion_timestamp.is_some() && over())) {
        orphans.add(key(&**new));
    }
}

/// A Job with many pods is looked at once for many of their changes.
fn pace(job: &Job) -> Duration {
    let active = job.status.as_ref().and_then(|status| status.active).unwrap_or(0);
    let active = u32::try_from(active).unwrap_or(0);
    if active <= SMALL { Duration::ZERO } else { (PER_POD * active).min(LONGEST) }
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        for _ in 0..LOOKS {
            let Some(job) = self.jobs.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
            if plan::ended(&job).is_some() || !plan::is_ours(&job) {
                return Ok(Next::Done);
            }
            self.control.settle(&*job).await?;
            let seen = self.look(&job);
            let plan = plan::plan(&job, &seen.observed());
            let idle = plan.actions.is_empty();
            let failure = self.act(&job, plan.actions).await.err();
            let seen = if idle { seen } else { self.look(&job) };
            let wrote = self.keep_books(&job, &seen).await?;
            if let Some(error) = failure {
                return Err(error);
            }
            if idle && !wrote {
                return Ok(plan.recheck.map_or(Next::Done, Next::After));
            }
        }
        Ok(Next::After(Duration::ZERO))
    }

    fn look(&self, job: &Job) -> Seen {
        let mut pods = self.pods.in_namespace(job.namespace().as_deref().unwrap_or(""));
        let mut memory = self.memory.lock();
        let memory = memory.entry(job.uid().unwrap_or_default()).or_default();
        memory.let_go.retain(|uid, pod| {
            let cached = self.pod_cache.get(&pod.namespace, &pod.name);
            cached.is_some_and(|cached| cached.metadata.uid.as_ref() == Some(uid) && is_tracked(&cached))
        });
        for pod in pods.iter_mut().filter(|pod| is_tracked(pod)) {
            if pod.metadata.uid.as_ref().is_some_and(|uid| memory.let_go.contains_key(uid)) {
                Arc::make_mut(pod).finalizers_mut().retain(|one| one != FINALIZER);
            }
        }
        memory.backoff.observe(job, &pods);
        Seen { pods, backoff: memory.backoff.clone(), now: time::now() }
    }

    async fn act(&self, job: &Arc<Job>, actions: Vec<Action>) -> anyhow::Result<()> {
        if actions.iter().any(|action| matches!(action, Action::Adopt(_))) {
            confirm_alive(&self.client, &**job).await?;
        }
        let (mut new, mut removals) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::Adopt(pod) => {
                    let mut patch = claim::adoption(&**job, &*pod);
                    let others = pod.finalizers().iter().filter(|one| *one != FINALIZER).map(String::as_str);
                    patch["metadata"]["finalizers"] = others.chain([FINALIZER]).collect();
                    self.own(&pod, &patch).await?;
                }
                Action::Release(pod) => {
                    let mut patch = claim::release(&*pod, job.metadata.uid.as_deref().unwrap_or(""));
                    patch["metadata"]["finalizers"] =
                        pod.finalizers().iter().filter(|one| *one != FINALIZER).cloned().collect();
                    self.own(&pod, &patch).await?;
                }
                Action::Create(pod) => new.push(pod),
                Action::Drop(pod) => removals.push((pod, true)),
                Action::Stop(pod) => removals.push((pod, false)),
            }
        }
        let removed = join_all(removals.iter().map(|(pod, uncounted)| self.remove(job, pod, *uncounted))).await;
        removed.into_iter().collect::<anyhow::Result<()>>()?;
        slow_start(&new, |pod| self.control.create(&**job, pod)).await
    }

    async fn own(&self, pod: &Arc<Pod>, patch: &serde_json::Value) -> anyhow::Result<()> {
        match write::patch(&self.client, &**pod, patch).await {
            Ok(written) => {
                self.note(pod, written);
                Ok(())
            }
            Err(error) if write::is_not_found(&error) => Ok(()),
            Err(error) => Err(write::failed(&error, format_args!("cannot change the owner of pod {}", key(&**pod)))),
        }
    }

    /// Remembers a pod as the server returned it; without its last finalizer it may be gone.
    fn note(&self, before: &Arc<Pod>, written: Pod) {
        let metadata = &written.metadata;
        let gone = metadata.deletion_timestamp.is_some()
            && metadata.finalizers.as_ref().is_none_or(Vec::is_empty)
            && metadata.deletion_grace_period_seconds.unwrap_or(0) == 0;
        if gone {
            self.pods.deleted(before);
        } else {
            self.pods.wrote(written);
        }
    }

    async fn remove(&self, job: &Arc<Job>, pod: &Arc<Pod>, uncounted: bool) -> anyhow::Result<()> {
        if uncounted && is_tracked(pod) {
            self.let_go(pod).await?;
        }
        self.control.delete(&**job, pod).await
    }

    /// Takes the finalizer off this very pod, whatever else changes about it meanwhile.
    async fn let_go(&self, pod: &Arc<Pod>) -> anyhow::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), pod.namespace().as_deref().unwrap_or(""));
        let patch = json!({ "metadata": { "uid": pod.uid(), "$deleteFromPrimitiveList/finalizers": [FINALIZER] } });
        match api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(written) => self.note(pod, written),
            Err(error) if write::is_not_found(&error) => self.pods.deleted(pod),
            Err(error) => {
                return Err(write::failed(&error, format_args!("cannot take the finalizer off pod {}", key(&**pod))));
            }
        }
        let owner = claim::controller(&**pod).map_or("", |owner| owner.uid.as_str());
        if let (Some(memory), Some(uid)) = (self.memory.lock().get_mut(owner), pod.uid()) {
            memory.let_go.insert(uid, key(&**pod));
        }
        Ok(())
    }

    /// Whether anything was written.
    async fn keep_books(&self, job: &Arc<Job>, seen: &Seen) -> anyhow::Result<bool> {
        let books = plan::books(job, &seen.observed());
        let wrote = books.status.is_some() || !books.let_go.is_empty();
        if let Some(status) = books.status {
            let mut next = (**job).clone();
            next.status = Some(status);
            match write::replace_status(&self.client, &next).await {
                Ok(written) => drop(self.jobs.wrote(written)),
                Err(error) if write::is_not_found(&error) => return Ok(false),
                Err(error) => {
                    let name = key(&**job);
                    return Err(write::failed(&error, format_args!("cannot write the status of job {name}")));
                }
            }
        }
        for note in books.notes {
            if note.warning {
                self.events.warning(&**job, note.reason, note.message);
            } else {
                self.events.normal(&**job, note.reason, note.message);
            }
        }
        let let_go = join_all(books.let_go.iter().map(|pod| self.let_go(pod))).await;
        let_go.into_iter().collect::<anyhow::Result<()>>()?;
        Ok(wrote)
    }

    /// A pod whose Job will not count it any more must not be held by it.
    async fn sync_orphan(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name).filter(|pod| is_tracked(pod)) else {
            return Ok(Next::Done);
        };
        let owner = claim::controller(&*pod).and_then(|owner| self.jobs.get(&key.namespace, &owner.name));
        if !plan::keeps_finalizer(&pod, owner.as_deref()) {
            self.let_go(&pod).await?;
        }
        Ok(Next::Done)
    }
}
