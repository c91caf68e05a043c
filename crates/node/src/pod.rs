//! Pods of this node: one worker task per pod, which alone knows and changes its state.
//!
//! Invariant: a worker owns its operations as futures and learns everything as an event (the pod's
//! object changed, an operation ended, a timer fired); it never polls and holds no lock. What to do
//! is decided by `plan`, what to show by `status`; this is only the shell around them.
//! Dropping a worker drops its operations and leaves its containers running.
//!
//! Reading order: `observed` (facts), `plan` (decisions), this, `event` (what came of them), then
//! the operations `sandbox`, `start`, `stop`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{AbortHandle, BoxFuture, FutureExt as _, abortable};
use futures::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) mod adopt;
pub(crate) mod backoff;
pub(crate) mod credentials;
pub(crate) mod desired;
mod devices;
pub(crate) mod engine;
mod event;
pub(crate) mod files;
pub(crate) mod node;
pub(crate) mod observed;
pub(crate) mod plan;
mod probes;
mod report;
mod resize;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;
mod signal;
pub(crate) mod start;
mod stop;

use crate::agent::events::Subject;
use crate::agent::objects::Subscription;
use crate::probe::run::Target;
use crate::volume::tokens::Tokens;
use desired::Farewell;
use event::Event;
use node::Node;
use observed::{Observed, Stage, State, Verdict};
use plan::{Action, Desired, Room};
use probes::Probes;
use report::Report;

/// What the agent found of a pod when its worker starts.
#[derive(Default)]
pub(crate) struct Found {
    pub sandbox: bool,
    pub containers: Vec<crate::runtime::Container>,
}

/// The owner of one pod.
pub(crate) struct Worker {
    node: Arc<Node>,
    updates: watch::Receiver<Option<Arc<Pod>>>,
    pod: Arc<Pod>,
    uid: String,
    subject: Arc<Subject>,
    started: Timestamp,
    farewell: Option<Farewell>,
    observed: Observed,
    ips: Vec<IpAddr>,
    ops: FuturesUnordered<BoxFuture<'static, Event>>,
    probes: Probes,
    stops: BTreeMap<String, AbortHandle>,
    starts: BTreeMap<String, CancellationToken>,
    image_signals: BTreeMap<String, String>,
    subscriptions: Vec<Subscription>,
    tokens: Tokens,
    refreshing: bool,
    refresh_wanted: bool,
    room: Room,
    set_up_failures: u32,
    report: Report,
    finished: bool,
}

impl Worker {
    pub(crate) fn new(
        node: Arc<Node>,
        pod: Arc<Pod>,
        updates: watch::Receiver<Option<Arc<Pod>>>,
        found: &Found,
        now: Timestamp,
    ) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        tracing::debug!(pod = pod.metadata.uid, name = pod.metadata.name, "pod taken on");
        let adopted = adopt::adopt(&pod, &status, found, now);
        let mut worker = Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            subject: Subject::pod(&pod),
            started: status.start_time.as_ref().map_or(now, |time| time.0),
            farewell: None,
            observed: adopted.observed,
            ips: adopted.ips,
            ops: FuturesUnordered::new(),
            probes: Probes::default(),
            stops: BTreeMap::new(),
            starts: BTreeMap::new(),
            image_signals: adopted.image_signals,
            subscriptions: sandbox::subscribe(&node, &pod),
            tokens: Tokens::default(),
            refreshing: false,
            refresh_wanted: false,
            room: Room::Enough,
            set_up_failures: 0,
            report: Report::new(status),
            finished: false,
            node,
            updates,
            pod,
        };
        for index in 0..worker.subscriptions.len() {
            worker.watch_object(index);
        }
        for (name, id, since) in adopted.running {
            worker.watch_exit(&name, &id, since);
            worker.probes.arm(&worker.pod, &name, since);
            worker.remember_passed(&name);
            worker.settle_readiness(&name);
        }
        worker.hear(now);
        worker
    }

    /// Runs until the pod is gone from the API and from this node.
    pub(crate) async fn run(mut self) {
        loop {
            self.step();
            if self.finished {
                sandbox::forget(&self.node, &self.pod);
                return;
            }
            let wake = self.next_wake();
            tokio::select! {
                Some(event) = self.ops.next(), if !self.ops.is_empty() => self.take(event),
                changed = self.updates.changed() => match changed {
                    Ok(()) => self.updated(),
                    Err(_) => return, // the agent is going away; the containers stay
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    fn step(&mut self) {
        let now = base::time::now();
        loop {
            self.judge_room();
            let decided = plan::plan(&self.desired(), &self.observed, now);
            self.report.wake = decided.wake;
            let idle = decided.actions.is_empty();
            for action in decided.actions {
                self.begin(action, now);
            }
            if self.finished {
                return;
            }
            let before = self.observed.reported;
            if idle {
                self.report_status(now);
                if self.observed.reported == before {
                    break;
                }
            }
        }
        self.run_probes(now);
        self.refresh_volumes(now);
    }

    fn desired(&self) -> Desired {
        Desired { room: self.room.clone(), ..desired::desired(&self.pod, self.started, self.farewell) }
    }

    fn next_wake(&self) -> Option<Timestamp> {
        let renew = self.tokens.renew_at().filter(|_| self.observed.volumes == Stage::Ready && !self.refreshing);
        [self.report.wake, self.report.retry_at(), self.probes.next_due(&self.observed), renew]
            .into_iter()
            .flatten()
            .min()
    }

    fn push(&self, operation: impl Future<Output = Event> + Send + 'static) {
        self.ops.push(operation.boxed());
    }

    /// The pod's object changed or went away.
    fn updated(&mut self) {
        let now = base::time::now();
        let latest = self.updates.borrow_and_update().clone();
        match latest {
            Some(pod) => {
                if pod.metadata.labels != self.pod.metadata.labels
                    || pod.metadata.annotations != self.pod.metadata.annotations
                {
                    self.refresh_wanted = true; // downwardAPI volumes show them
                }
                if desired_image_changed(&self.pod, &pod) {
                    self.image_changed(&pod);
                }
                self.pod = pod;
                self.follow_objects();
                self.report.heard(&self.pod);
                self.hear(now);
            }
            None => {
                let grace = match self.farewell {
                    Some(Farewell::Deleted { heard, grace }) => {
                        let passed = now.duration_since(heard).unsigned_abs();
                        grace.saturating_sub(passed)
                    }
                    _ => Duration::from_secs(2),
                };
                self.farewell = Some(Farewell::Gone { heard: now, grace });
            }
        }
    }

    /// Containers that came later may refer to objects nobody watches yet.
    fn follow_objects(&mut self) {
        let known = |wanted: &Subscription, held: &[Subscription]| {
            held.iter().any(|subscription| subscription.reference() == wanted.reference())
        };
        for wanted in sandbox::subscribe(&self.node, &self.pod) {
            if !known(&wanted, &self.subscriptions) {
                self.subscriptions.push(wanted);
                self.watch_object(self.subscriptions.len() - 1);
            }
        }
    }

    /// The running container that `name` joins, or why it cannot.
    fn joined(&self, name: &str) -> Result<Option<String>, String> {
        let Some(target) = desired::joins(&self.pod, name) else { return Ok(None) };
        let found = self.observed.containers.get(&target);
        match found.and_then(|container| container.run.as_ref().map(|run| (&container.state, run))) {
            Some((State::Running { .. }, run)) => Ok(Some(run.id.clone())),
            Some(_) => Err(format!("target container {target:?} is not running")),
            None => Err(format!("unable to find target container {target:?}")),
        }
    }

    /// Takes note of a deletion; the time it was first heard of counts.
    fn hear(&mut self, now: Timestamp) {
        if self.pod.metadata.deletion_timestamp.is_none() {
            return;
        }
        let grace = desired::deletion_grace(&self.pod);
        let heard = match self.farewell {
            Some(Farewell::Deleted { heard, .. }) => heard,
            Some(Farewell::Gone { .. }) => return,
            None => now,
        };
        self.farewell = Some(Farewell::Deleted { heard, grace });
    }

    /// A container's image was edited: it is stopped and started again with the new one.
    fn image_changed(&mut self, pod: &Pod) {
        let spec = pod.spec.clone().unwrap_or_default();
        for container in spec.containers {
            let before = desired::container(&self.pod, &container.name).and_then(|old| old.image);
            if before != container.image
                && let Some(state) = self.observed.containers.get_mut(&container.name)
            {
                state.kill = Some(observed::Kill {
                    message: format!("Container {} definition changed, will be restarted", container.name),
                    grace: None,
                });
            }
        }
    }

    /// Begins an action: marks it in what is observed and starts the operation.
    fn begin(&mut self, action: Action, now: Timestamp) {
        match action {
            Action::MakeSandbox => {
                self.observed.sandbox = Stage::Busy;
                let (node, pod) = (Arc::clone(&self.node), Arc::clone(&self.pod));
                self.push(async move { Event::Sandbox(sandbox::make(node, pod).await) });
            }
            Action::MountVolumes => {
                self.observed.volumes = Stage::Busy;
                self.apply_volumes(true);
            }
            Action::Initialized => self.observed.initialized = true,
            Action::Start(name) => self.begin_start(name, now),
            Action::Stop { name, by, message } => self.begin_stop(&name, by, message),
            Action::Resize => self.begin_resize(),
            Action::Cancel(name) => {
                self.observed.cancelled(&name);
                if let Some(start) = self.starts.get(&name) {
                    start.cancel();
                }
            }
            Action::BackOff(name) => self.announce_back_off(&name),
            Action::Conclude(verdict) => self.conclude(verdict),
            Action::TearDown => {
                self.observed.tearing_down = true;
                self.push_tear_down(Duration::ZERO);
            }
            Action::Delete => {
                self.observed.deleting = true;
                self.push_delete();
            }
            Action::Finish => self.finished = true,
        }
    }

    fn conclude(&mut self, verdict: Verdict) {
        if let Verdict::Failed { reason, message } = &verdict
            && reason == "DeadlineExceeded"
        {
            self.node.events.normal(&self.subject, None, "DeadlineExceeded", message.clone());
        }
        self.observed.verdict = Some(verdict);
    }

    fn begin_start(&mut self, name: String, now: Timestamp) {
        let Some(mut container) = desired::container(&self.pod, &name) else { return };
        let Some(unit) = self.unit(&name) else { return };
        if self.room != Room::Enough
            && let Some(given) = &self.observed.container(&name).given
        {
            given.give(&mut container); // what it was told it has, until there is room for more
        }
        self.observed.starting(&name, now);
        let joins = self.joined(&name);
        let state = self.observed.container(&name);
        let (attempt, previous) = (state.next_attempt(), state.run.as_ref().map(|run| run.id.clone()));
        let cancel = CancellationToken::new();
        self.starts.insert(name.clone(), cancel.clone());
        let order = start::Order {
            node: Arc::clone(&self.node),
            pod: Arc::clone(&self.pod),
            subject: Arc::clone(&self.subject),
            field_path: desired::field_path(&unit),
            container,
            attempt,
            previous,
            joins,
            facts: self.node.facts(&self.ips),
            subscriptions: self.subscriptions.iter().map(Subscription::again).collect(),
            cancel,
        };
        self.push(async move { Event::Started { name, result: order.run().await } });
    }

    fn begin_stop(&mut self, name: &str, by: Timestamp, message: String) {
        let Some(container) = desired::container(&self.pod, name) else { return };
        let Some(unit) = self.unit(name) else { return };
        let hurried = match self.stops.remove(name) {
            Some(earlier) => {
                earlier.abort();
                true
            }
            None => false,
        };
        self.observed.stopping(name, by);
        let id = self.observed.container(name).run.clone().unwrap_or_default().id;
        let field_path = desired::field_path(&unit);
        if !hurried {
            self.node.events.normal(&self.subject, Some(field_path.clone()), "Killing", message);
        }
        let order = stop::Order {
            node: Arc::clone(&self.node),
            subject: Arc::clone(&self.subject),
            field_path,
            target: Target {
                engine: Arc::clone(&self.node.engine),
                container_id: id,
                container,
                ip: self.ips.first().copied(),
            },
            by,
            image_signal: self.image_signals.get(name).cloned(),
            hurried,
        };
        let (stop, handle) = abortable(order.run());
        self.stops.insert(name.to_owned(), handle);
        self.push(stop.map(|_| Event::StopEnded));
    }

    /// The container waits before its next attempt: say so, with the reason's own words.
    fn announce_back_off(&mut self, name: &str) {
        let Some(unit) = self.unit(name) else { return };
        let image = desired::container(&self.pod, name).and_then(|container| container.image);
        let image = image.unwrap_or_default();
        self.observed.backing_off(name);
        let message = match &mut self.observed.container(name).state {
            State::Waiting { reason, message, .. } => {
                *message = format!("Back-off pulling image \"{image}\": {reason}: {message}");
                "ImagePullBackOff".clone_into(reason);
                format!("Back-off pulling image \"{image}\"")
            }
            _ => {
                let meta = &self.pod.metadata;
                format!(
                    "Back-off restarting failed container {name} in pod {}_{}({})",
                    meta.name.as_deref().unwrap_or_default(),
                    meta.namespace.as_deref().unwrap_or_default(),
                    self.uid
                )
            }
        };
        let path = Some(desired::field_path(&unit));
        match self.observed.container(name).state {
            State::Waiting { .. } => self.node.events.normal(&self.subject, path, "BackOff", message),
            _ => self.node.events.warning(&self.subject, path, "BackOff", message),
        }
    }

    fn unit(&self, name: &str) -> Option<plan::Unit> {
        let units = desired::units(self.pod.spec.as_ref()?);
        units.into_iter().find(|unit| unit.name == name)
    }

    fn apply_volumes(&self, fresh: bool) {
        let order = sandbox::Volumes {
            node: Arc::clone(&self.node),
            pod: Arc::clone(&self.pod),
            facts: self.node.facts(&self.ips),
            subscriptions: self.subscriptions.iter().map(Subscription::again).collect(),
            tokens: self.tokens.clone(),
        };
        self.push(async move {
            let (tokens, result) = order.apply(fresh).await;
            Event::Volumes { tokens, result, fresh }
        });
    }

    /// Brings content up to date when an object changed or a token nears its end.
    fn refresh_volumes(&mut self, now: Timestamp) {
        let due = self.refresh_wanted || self.tokens.renew_at().is_some_and(|at| at <= now);
        if due && !self.refreshing && self.observed.volumes == Stage::Ready && !self.observed.tearing_down {
            self.refresh_wanted = false;
            self.refreshing = true;
            self.apply_volumes(false);
        }
    }

    fn push_tear_down(&self, delay: Duration) {
        let (node, uid) = (Arc::clone(&self.node), self.uid.clone());
        self.push(async move {
            tokio::time::sleep(delay).await;
            Event::TornDown(sandbox::tear_down(node, uid).await)
        });
    }

    fn watch_object(&self, index: usize) {
        let mut subscription = self.subscriptions[index].again();
        self.push(async move {
            if let Err(error) = subscription.load().await {
                tracing::debug!("{error}");
            }
            subscription.changed().await;
            Event::ObjectChanged(index)
        });
    }
}

fn desired_image_changed(before: &Pod, after: &Pod) -> bool {
    let images = |pod: &Pod| {
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        containers.iter().map(|container| container.image.clone()).collect::<Vec<_>>()
    };
    images(before) != images(after)
}

async fn sleep_until(at: Option<Timestamp>) {
    match at {
        Some(at) => {
            let left = Duration::try_from(at.duration_since(base::time::now())).unwrap_or(Duration::ZERO);
            tokio::time::sleep(left + Duration::from_millis(1)).await;
        }
        None => std::future::pending().await,
    }
}

/// `now` plus milliseconds, saturating.
fn soon(now: Timestamp, millis: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_millis(millis)).unwrap_or(Timestamp::MAX)
}

/// The status as last computed, for whoever starts a worker.
pub(crate) fn is_over(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests;
