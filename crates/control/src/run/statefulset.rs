//! The StatefulSet controller's shell.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Client, ResourceExt};

use super::overlay::Overlay;
use super::pods::{Pods, confirm_alive, slow_start};
use super::replicaset::key;
use super::revision::{Revisions, Settled};
use super::{wake, write};
use crate::events::Recorder;
use crate::plan::labels;
use crate::plan::revision::Step;
use crate::plan::statefulset::{self as plan, Action, Observed, Plan, Purpose, Revising, Unit};
use crate::{Launch, Shared, time};

const NAME: &str = "statefulset-controller";

struct Shell {
    client: Client,
    events: Recorder,
    sets: Overlay<StatefulSet>,
    revisions: Revisions,
    claims: Overlay<PersistentVolumeClaim>,
    pods: Pods,
}

/// Why the writes for a pod stopped.
enum Failure {
    /// To be told in an event.
    Told(String),
    /// It is only too early, or somebody was faster.
    Quiet(anyhow::Error),
    /// Its namespace is being emptied.
    Leaving,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let set_cache = shared.informers.of::<StatefulSet>();
    let revision_cache = shared.informers.of::<ControllerRevision>();
    let claim_cache = shared.informers.of::<PersistentVolumeClaim>();
    let pod_cache = shared.informers.of::<Pod>();
    let queue: Queue<Key> = Queue::new();
    let (client, events) = (shared.client(NAME), shared.events.recorder(NAME));
    let shell = Arc::new(Shell {
        sets: Overlay::new(set_cache.clone()),
        revisions: Revisions::new(client.clone(), Overlay::new(revision_cache.clone())),
        claims: Overlay::new(claim_cache.clone()),
        pods: Pods::new(client.clone(), events.clone(), Overlay::new(pod_cache.clone())),
        client,
        events,
    });
    let wake = queue.clone();
    set_cache.on_change(move |change: Change<'_, StatefulSet>| wake.add(key(&**change.latest())));
    let (wake, sets) = (queue.clone(), set_cache.clone());
    pod_cache.on_change(move |change: Change<'_, Pod>| wake::owners(&wake, "StatefulSet", &sets, change, selects));
    let (wake, sets) = (queue.clone(), set_cache.clone());
    revision_cache.on_change(move |change: Change<'_, ControllerRevision>| {
        wake::revision_owners(&wake, "StatefulSet", &sets, change, selects);
    });
    let (wake, sets) = (queue.clone(), set_cache.clone());
    claim_cache.on_change(move |change: Change<'_, PersistentVolumeClaim>| wake_for_claim(&wake, &sets, change));
    let shared = shared.clone();
    Box::new(move || {
        shared.resync(&queue, move || set_cache.list().iter().map(|set| key(&**set)).collect());
        informer::work(&queue, 4, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

fn selects(set: &StatefulSet, labels: &labels::Labels) -> bool {
    set.spec.as_ref().is_some_and(|spec| labels::matches(&spec.selector, labels))
}

/// A pod may wait for a claim to go, or for one to be there again.
fn wake_for_claim(queue: &Queue<Key>, sets: &Informer<StatefulSet>, change: Change<'_, PersistentVolumeClaim>) {
    let claim = change.latest();
    let owners = |claim: &PersistentVolumeClaim| claim.metadata.owner_references.clone();
    let same = change.old.zip(change.new).is_some_and(|(old, new)| owners(old) == owners(new));
    if same {
        return;
    }
    let name = claim.name_any();
    for set in sets.in_namespace(claim.namespace().as_deref().unwrap_or("")) {
        if plan::has_claim_named(&set, &name) {
            queue.add(key(&*set));
        }
    }
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(set) = self.sets.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        let Some(spec) = &set.spec else { return Ok(Next::Done) };
        let revising = plan::revise(&set, spec, &self.revisions.in_namespace(&key.namespace));
        let leaving = set.metadata.deletion_timestamp.is_some();
        if leaving && !matches!(revising.step, Step::Keep(_)) {
            return Ok(Next::Done); // its revisions go with it, so there is nothing to count its pods by
        }
        let Revising { adopt, step, others } = revising;
        if !adopt.is_empty() {
            confirm_alive(&self.client, &*set).await?;
        }
        for orphan in &adopt {
            self.revisions.adopt(&*set, orphan).await?;
        }
        let update = match self.revisions.settle(step).await? {
            Settled::Revision(revision) => revision,
            Settled::Leaving => return Ok(Next::Done),
            Settled::Taken => {
                let mut status = set.status.clone().unwrap_or_default();
                status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                self.write_status(&set, status).await?;
                return Ok(Next::After(Duration::ZERO));
            }
        };
        let revisions = plan::Revisions::new(&set, spec, &update, others)
            .map_err(|name| anyhow::anyhow!("controllerrevision {}/{name} holds no pod template", key.namespace))?;
        let claims = self.claims_for(spec, &key.namespace);
        let pods = self.pods.in_namespace(&key.namespace);
        let observed = Observed { pods: &pods, claims: &claims, now: time::now() };
        let plan = plan::plan(&set, spec, &revisions, &observed);
        let acted = self.act(&set, &plan).await;
        if let Some(status) = plan.status {
            self.write_status(&set, status).await?;
        }
        for old in &plan.forget {
            self.revisions.remove(old).await?;
        }
        acted.map(|()| plan.recheck.map_or(Next::Done, Next::After))
    }

    fn claims_for(&self, spec: &StatefulSetSpec, namespace: &str) -> Vec<Arc<PersistentVolumeClaim>> {
        let has_templates = spec.volume_claim_templates.as_ref().is_some_and(|templates| !templates.is_empty());
        if has_templates { self.claims.in_namespace(namespace) } else { Vec::new() }
    }

    async fn write_status(&self, set: &StatefulSet, status: StatefulSetStatus) -> anyhow::Result<()> {
        let next = StatefulSet { status: Some(status), ..set.clone() };
        write::keep_status(&self.client, &self.sets, &next).await
    }

    async fn act(&self, set: &Arc<StatefulSet>, plan: &Plan) -> anyhow::Result<()> {
        self.pods.claim(&**set, &plan.adopt, &plan.release).await?;
        for units in &plan.phases {
            if plan.parallel {
                slow_start(units, |unit| self.handle(set, unit)).await?;
                continue;
            }
            for unit in units {
                if self.handle(set, unit).await?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Does what is to be done for one pod, and tells how it went in upstream's words.
    async fn handle(&self, set: &Arc<StatefulSet>, unit: &Unit) -> anyhow::Result<ControlFlow<()>> {
        for claim in &unit.conflicts {
            let message = format!(
                "PersistentVolumeClaim {claim} has a conflicting OwnerReference that acts as a manging controller, the \
                 retention policy is ignored for this claim"
            );
            self.events.warning(&**set, "ConflictingController", message);
        }
        let mut outcome = Ok(());
        for action in &unit.actions {
            outcome = self.write(set, &unit.pod, action).await;
            if outcome.is_err() {
                break;
            }
        }
        let verb = match unit.purpose {
            Purpose::Create => "Create",
            Purpose::Update => "Update",
            Purpose::Delete => "Delete",
            Purpose::Claims if outcome.is_ok() => return Ok(ControlFlow::Continue(())),
            Purpose::Claims => "Update",
        };
        let about = format!("{verb} Pod {} in StatefulSet {}", unit.pod, set.name_any());
        match outcome {
            Ok(()) => {
                self.events.normal(&**set, format!("Successful{verb}"), format!("{about} successful"));
                Ok(ControlFlow::Continue(()))
            }
            Err(Failure::Leaving) => Ok(ControlFlow::Break(())),
            Err(Failure::Quiet(error)) => Err(error),
            Err(Failure::Told(message)) => {
                self.events.warning(&**set, format!("Failed{verb}"), format!("{about} failed error: {message}"));
                Err(anyhow::anyhow!(message).context(format!("cannot {} pod {}", verb.to_lowercase(), unit.pod)))
            }
        }
    }

    async fn write(&self, set: &Arc<StatefulSet>, pod: &str, action: &Action) -> Result<(), Failure> {
        let failed = |error: kube::Error| {
            let quiet = write::is_conflict(&error) || write::is_not_found(&error) || write::already_exists(&error);
            match write::message(&error) {
                _ if write::namespace_is_leaving(&error) => Failure::Leaving,
                _ if quiet => Failure::Quiet(write::failed(&error, format_args!("cannot look after pod {pod}"))),
                message => Failure::Told(message),
            }
        };
        match action {
            Action::CreateClaim(claim) => return self.create_claim(set, pod, claim).await,
            Action::Own(claim) => match write::replace(&self.client, &**claim).await.map_err(failed) {
                Ok(written) => drop(self.claims.wrote(written)),
                Err(Failure::Told(message)) => {
                    let name = claim.name_any();
                    let text = format!("could not update claim {name} for delete policy ownerRefs: {message}");
                    return Err(Failure::Told(text));
                }
                Err(failure) => return Err(failure),
            },
            Action::CreatePod(pod) => self.pods.add(pod).await.map_err(failed)?,
            Action::Repair(pod, patch) => self.pods.patch(pod, patch).await.map_err(failed)?,
            Action::Delete(pod) => self.pods.remove(pod).await.map_err(failed)?,
            Action::Refuse(message) => return Err(Failure::Told(message.clone())),
        }
        Ok(())
    }

    async fn create_claim(
        &self,
        set: &Arc<StatefulSet>,
        pod: &str,
        claim: &PersistentVolumeClaim,
    ) -> Result<(), Failure> {
        let (name, owner) = (claim.name_any(), set.name_any());
        let error = match write::create(&self.client, claim).await {
            Ok(made) => {
                self.claims.wrote(made);
                let message = format!("Create Claim {name} Pod {pod} in StatefulSet {owner} success");
                self.events.normal(&**set, "SuccessfulCreate", message);
                return Ok(());
            }
            Err(error) if write::namespace_is_leaving(&error) => return Err(Failure::Leaving),
            Err(error) => error,
        };
        let message = write::message(&error);
        if !write::already_exists(&error) {
            let text = format!("Create Claim {name} for Pod {pod} in StatefulSet {owner} failed error: {message}");
            self.events.warning(&**set, "FailedCreate", text);
        }
        Err(Failure::Told(format!("failed to create PVC {name}: {message}")))
    }
}
