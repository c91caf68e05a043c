//! The scheduler's shell: watches in, bindings out.
//!
//! Invariant: one loop decides; a decision is assumed in the cache before the next one is made, and what it asks to be
//! written is written beside the loop. Of what the watches show only what plugins read is kept, and it is kept once.

mod devices;
mod volumes;
mod watch;
mod write;

use std::sync::Arc;

use kube::Client;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch as latest};
use tokio::time::Instant;

use super::decide::{Decision, Turn, decide};
use super::devices::Plan as DevicePlan;
use super::hints::{Change, Context};
use super::names::Plugins;
use super::nominated::Nominate;
use super::pod::PodInfo;
use super::profile::Profile;
use super::queue::{BackOff, Queue};
use super::storage::Plan;
use super::world::{Clock, World};
use crate::events::{Events, Recorder};
use write::Report;

/// So many bindings and status writes may be under way.
const WRITES: usize = 64;

/// What the scheduler is told by its configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// One per scheduler name; none means the default one.
    pub profiles: Vec<Profile>,
    pub back_off: BackOff,
}

struct Scheduler {
    client: Client,
    events: Recorder,
    children: tasks::Children,
    state: Mutex<State>,
    wake: Notify,
    writes: Arc<Semaphore>,
    /// How often something about claims, volumes and devices was shown.
    storage: latest::Sender<u64>,
}

/// What the lock guards.
struct State {
    world: World,
    queue: Queue,
    turn: Turn,
}

/// What a decision asks to be written.
enum Job {
    Bind { pod: Arc<PodInfo>, node: Arc<str>, needs: Needs },
    Report(Report),
}

/// What has to be ready before a pod is bound.
#[derive(Debug, Default)]
struct Needs {
    volumes: Plan,
    devices: DevicePlan,
}

impl Needs {
    fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.devices.is_empty()
    }
}

/// Runs the scheduler until the service is told to stop. Ready when everything has been read once.
///
/// # Errors
/// None of its own; failures of single pods are retried.
pub async fn run(client: Client, config: Config, ctx: tasks::Context) -> anyhow::Result<()> {
    let own = client.clone();
    let events = Events::new(Arc::new(move |_: &str| own.clone()), &ctx);
    let profiles = if config.profiles.is_empty() { vec![Profile::default()] } else { config.profiles };
    let state = State {
        world: World { clock: Clock(crate::time::now), ..World::new(profiles) },
        queue: Queue::new(config.back_off, Instant::now()),
        turn: Turn::new(chance()),
    };
    let scheduler = Arc::new(Scheduler {
        events: events.recorder(super::NAME),
        children: ctx.children.clone(),
        state: Mutex::new(state),
        wake: Notify::new(),
        writes: Arc::new(Semaphore::new(WRITES)),
        storage: latest::Sender::new(0),
        client,
    });
    ctx.ready.waiting_for("the scheduler's view of nodes and pods");
    tokio::select! {
        () = ctx.stop.cancelled() => return Ok(()),
        () = scheduler.watch() => {}
    }
    ctx.ready.set();
    tokio::select! {
        () = ctx.stop.cancelled() => {}
        () = scheduler.decide_all() => {}
    }
    Ok(())
}

/// A seed that differs from run to run.
fn chance() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0_u8)
}

impl State {
    /// Tells waiting pods of a change; `may` says which of them it can concern. True when one can be tried.
    fn tell(&mut self, change: Change<'_>, may: impl Fn(&PodInfo) -> bool, now: Instant) -> bool {
        let World { facts, profiles, devices, .. } = &self.world;
        let context = |pod: &PodInfo| {
            let profile = profiles.get(&pod.ask().scheduler)?;
            Some(Context { profile, facts, devices })
        };
        let claimed = match change {
            Change::ResourceClaim { namespace, name, .. } => self.queue.claimed((namespace, name), context, now),
            _ => false,
        };
        self.queue.wake(change, may, context, now) || claimed
    }

    fn failed(&mut self, pod: &PodInfo, plugins: Plugins, now: Instant) {
        if let Some(profile) = self.world.profiles.get(&pod.ask().scheduler) {
            self.queue.failed(&pod.key, plugins, self.world.context(profile), now);
        }
    }

    /// The binding of an assumed pod failed: its room is free again. True when another can be tried.
    fn forget(&mut self, pod: &PodInfo, now: Instant) -> bool {
        let Some(assumed) = self.world.cache.forget(&pod.uid) else { return false };
        self.tell(Change::PodGone(&assumed), |other| other.uid != pod.uid, now)
    }

    /// Takes the next pod and decides; nothing when none waits.
    fn next(&mut self, now: Instant) -> Option<Job> {
        let pod = self.queue.pop(now)?;
        if pod.deleting {
            self.queue.remove(&pod.key);
            return Some(Job::Report(Report::leaving(pod)));
        }
        match decide(&mut self.world, &pod, &mut self.turn) {
            Decision::Bind { node, volumes, devices } => {
                self.world.nominated.remove(&pod.uid);
                self.world.cache.assume(Arc::new(pod.on(&node)));
                self.world.storage.assume(&volumes, &node);
                self.world.devices.assume(&devices);
                Some(Job::Bind { pod, node, needs: Needs { volumes, devices } })
            }
            Decision::Refused(diagnosis) => {
                if !diagnosis.victims.is_empty() {
                    self.queue.preempts(&pod.key);
                }
                let rivals = self.rivals(&pod, &diagnosis.nominate);
                self.failed(&pod, diagnosis.plugins, now);
                self.world.nominated.put(&pod, &diagnosis.nominate);
                Some(Job::Report(Report::refused(pod, diagnosis, rivals)))
            }
            Decision::Failed(message) => {
                self.failed(&pod, Plugins::default(), now);
                self.world.nominated.put(&pod, &Nominate::Set(None));
                Some(Job::Report(Report::failed(pod, message)))
            }
        }
    }

    /// Less important pods nominated for the same node, which have to look for another.
    fn rivals(&self, pod: &PodInfo, nominate: &Nominate) -> Vec<Arc<PodInfo>> {
        let Nominate::Set(Some(node)) = nominate else { return Vec::new() };
        let weaker = |other: &&Arc<PodInfo>| other.priority() < pod.priority() && other.nominated.is_some();
        self.world.nominated.on(node).iter().filter(weaker).cloned().collect()
    }
}

impl Scheduler {
    /// Takes one pod after the other and decides.
    async fn decide_all(self: &Arc<Self>) {
        loop {
            let permit = Arc::clone(&self.writes).acquire_owned().await;
            let permit = permit.expect("invariant: the semaphore is never closed");
            let woken = self.wake.notified();
            let (job, deadline) = {
                let mut state = self.state.lock();
                let job = state.next(Instant::now());
                (job, state.queue.deadline())
            };
            match (job, deadline) {
                (Some(job), _) => {
                    self.start(job, permit);
                    tokio::task::yield_now().await;
                }
                (None, None) => woken.await,
                (None, Some(deadline)) => {
                    if tokio::time::timeout_at(deadline, woken).await.is_err() {
                        tracing::trace!("a pod is tried again without a change in the cluster");
                    }
                }
            }
        }
    }

    fn start(self: &Arc<Self>, job: Job, permit: OwnedSemaphorePermit) {
        let scheduler = Arc::clone(self);
        self.children.spawn("write a decision", async move {
            match job {
                Job::Bind { pod, node, needs } if needs.is_empty() => scheduler.bind(&pod, &node, &needs).await,
                Job::Bind { pod, node, needs } => {
                    drop(permit); // that can take minutes, and others must not wait for it
                    return scheduler.bind_when_ready(&pod, &node, &needs).await;
                }
                Job::Report(report) => scheduler.report(report).await,
            }
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests;
