//! Devices, and claims of them: what the watches show, and what is written before a pod with such is bound.
//!
//! Invariant: the finalizer comes first, then devices and reservation in one write, then the binding (upstream `bindClaim`);
//! so a claim never has devices that could be lost with it. A write names the version it was decided on. What could not be
//! written is free again.

use std::sync::Arc;

use crate::time;
use informer::Part;
use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaimConsumerReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::watch::{Told, name_of};
use super::{Scheduler, State};
use crate::plan::resource_claim::FINALIZER;
use crate::run::write;
use crate::scheduler::devices::{Claim, Plan};
use crate::scheduler::hints::{Change, ClaimEvent};
use crate::scheduler::plugins::devices::Cure;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::profile::Allocating;
use crate::scheduler::seen::{EXTENDED, SeenDeviceClass, SeenResourceClaim, SeenSlice};

/// A write that somebody else was faster than is tried again so often.
const TRIES: usize = 5;

fn seen(claim: Part<SeenResourceClaim>) -> Claim {
    claim.0.kept()
}

impl Scheduler {
    /// Starts the watches of everything about devices.
    pub(super) fn watch_devices(self: &Arc<Self>) -> Vec<watch::Receiver<bool>> {
        vec![self.feed(Self::resource_claim_told), self.feed(Self::slice_told), self.feed(Self::device_class_told)]
    }

    fn resource_claim_told(&self, told: Told<'_, Part<SeenResourceClaim>>) {
        let mut state = self.state.lock();
        let woken = match told {
            Told::Is(claim) => state.resource_claim_is(seen(claim), Instant::now()),
            Told::Gone((namespace, name)) => {
                let gives = state.world.devices.claim(namespace, name);
                let gives = gives.is_some_and(|claim| claim.allocation.is_some() || claim.extended);
                state.world.devices.remove_claim(namespace, name);
                gives && state.tell(Change::Devices, |_| true, Instant::now())
            }
        };
        drop(state);
        self.wake_if(woken);
        self.storage.send_modify(|count| *count += 1);
    }

    fn slice_told(&self, told: Told<'_, Part<SeenSlice>>) {
        let mut state = self.state.lock();
        let woken = match told {
            Told::Is(Part(slice)) => {
                state.world.devices.put_slice(slice.kept());
                state.tell(Change::Devices, |_| true, Instant::now())
            }
            Told::Gone((_, name)) => {
                state.world.devices.remove_slice(name);
                false
            }
        };
        drop(state);
        self.wake_if(woken);
    }

    fn device_class_told(&self, told: Told<'_, Part<SeenDeviceClass>>) {
        let mut state = self.state.lock();
        let woken = match told {
            Told::Is(class) => {
                let (_, name) = name_of(&class);
                let class = class.0.kept();
                let resource = class.0.extended_resource_name.clone();
                let old = state.world.devices.put_class(&name, Some(class));
                let new = old.is_none();
                let resource = resource.filter(|resource| old.flatten().as_ref() != Some(resource));
                let change = Change::DeviceClass { name: &name, new, resource: resource.as_deref() };
                state.tell(change, |_| true, Instant::now())
            }
            Told::Gone((_, name)) => {
                state.world.devices.put_class(name, None);
                false
            }
        };
        drop(state);
        self.wake_if(woken);
    }

    /// Writes what the plan says and waits until the devices are ready.
    pub(super) async fn bind_devices(&self, pod: &PodInfo, node: &Arc<str>, plan: &Plan) -> Result<(), String> {
        for (claim, allocation) in &plan.claims {
            let provisional = &claim.uid;
            let claim = if claim.is_unwritten() { Arc::new(self.make(pod, claim).await?) } else { claim.clone() };
            let written = self.reserve(pod, &claim, allocation.as_ref(), provisional).await?;
            if written.extended {
                self.name_extended(pod, &written, plan).await?;
            }
        }
        self.wait_for_devices(pod, node, plan).await
    }

    /// Writes the claim for extended resources.
    async fn make(&self, pod: &PodInfo, claim: &Claim) -> Result<Claim, String> {
        let name = &pod.key.name;
        let object = json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
            "metadata": {
                "generateName": format!("{name}-extended-resources-"), "namespace": claim.namespace,
                "annotations": { EXTENDED: "true" },
                "ownerReferences": [
                    { "apiVersion": "v1", "kind": "Pod", "name": name, "uid": &*pod.uid, "controller": true }
                ],
            },
            "spec": { "devices": &*claim.spec },
        });
        let failed = |why: String| format!("create claim for extended resources {}: {why}", claim.full_name());
        let request = self.claims(claim).create_raw(&object).await;
        request.map(seen).map_err(|error| failed(write::message(&error)))
    }

    fn claims(&self, claim: &Claim) -> Claims {
        Claims(Api::namespaced(self.client.clone(), &claim.namespace))
    }

    /// Adds the pod to those who have the claim, and the devices to the claim if it has none.
    async fn reserve(
        &self,
        pod: &PodInfo,
        claim: &Claim,
        allocation: Option<&Arc<AllocationResult>>,
        provisional: &str,
    ) -> Result<Claim, String> {
        let name = claim.full_name();
        let mut current = claim.clone();
        for attempt in 1.. {
            match self.try_to_reserve(pod, &current, allocation).await {
                Ok(written) => {
                    if allocation.is_some() {
                        let version = written.version.parse().unwrap_or(0);
                        let mut state = self.state.lock();
                        state.world.devices.written(provisional, &written.key(), &written.uid, version);
                    }
                    return Ok(written);
                }
                Err(Refused::Conflict(why)) if attempt >= TRIES => return Err(why),
                Err(Refused::Conflict(_)) => {
                    let latest = self.claims(claim).0.get(&claim.name).await.map(seen);
                    current = latest.map_err(|error| {
                        format!("get updated claim {name} after conflict: {}", write::message(&error))
                    })?;
                    if current.uid != claim.uid {
                        return Err(format!("claim {name} got deleted in the meantime"));
                    }
                }
                Err(Refused::For(why)) => return Err(why),
            }
        }
        unreachable!("the last attempt ends the loop")
    }

    async fn try_to_reserve(
        &self,
        pod: &PodInfo,
        claim: &Claim,
        allocation: Option<&Arc<AllocationResult>>,
    ) -> Result<Claim, Refused> {
        let name = claim.full_name();
        if claim.deleting {
            return Err(Refused::For(format!("claim {name} got deleted in the meantime")));
        }
        let (mut current, mut status) = (claim.clone(), json!({}));
        let mut allocated = match (allocation, &claim.allocation) {
            (Some(_), Some(_)) => {
                return Err(Refused::For(format!("claim {name} got allocated elsewhere in the meantime")));
            }
            (None, None) => {
                return Err(Refused::For(format!("claim {name} got deallocated elsewhere in the meantime")));
            }
            (Some(given), None) | (None, Some(given)) => AllocationResult::clone(given),
        };
        if allocation.is_some() && !claim.finalizers.iter().any(|one| one == FINALIZER) {
            current.finalizers.push(FINALIZER.to_owned());
            let patch = json!({ "metadata": { "resourceVersion": claim.version, "finalizers": current.finalizers } });
            let written = self.claims(claim).patch(claim, &patch, false).await;
            current = written.map_err(|error| Refused::at(&format!("add finalizer to claim {name}"), &error))?;
        }
        if allocation.is_some() {
            allocated.allocation_timestamp = Some(Time(time::now()));
            status["allocation"] = json!(allocated);
        }
        if !current.is_reserved_for(&pod.uid) {
            current.reserved.push(ResourceClaimConsumerReference {
                api_group: None,
                resource: "pods".into(),
                name: pod.key.name.clone(),
                uid: pod.uid.to_string(),
            });
        }
        status["reservedFor"] = json!(current.reserved);
        let patch = json!({ "metadata": { "resourceVersion": current.version }, "status": status });
        let what = if allocation.is_some() { "allocation and reservation" } else { "reservation" };
        let written = self.claims(claim).patch(claim, &patch, true).await;
        written.map_err(|error| Refused::at(&format!("add {what} to claim {name}"), &error))
    }

    /// Says in the pod's status which claim its extended resources come from.
    async fn name_extended(&self, pod: &PodInfo, claim: &Claim, plan: &Plan) -> Result<(), String> {
        let status = json!({ "extendedResourceClaimStatus": {
            "resourceClaimName": claim.name, "requestMappings": plan.mappings,
        } });
        self.patch_status(pod, &status)
            .await
            .map_err(|error| format!("update pod {} ExtendedResourceClaimStatus: {}", pod.key, write::message(&error)))
    }

    /// Waits until all devices of the pod say that they are ready (KEP-5007).
    async fn wait_for_devices(&self, pod: &PodInfo, node: &str, plan: &Plan) -> Result<(), String> {
        let given = plan.claims.iter().filter_map(|(_, allocation)| allocation.as_ref());
        let results = given.filter_map(|one| one.devices.as_ref()).flat_map(|devices| devices.results.iter().flatten());
        let mut pending = results.filter(|one| one.binding_conditions.as_ref().is_some_and(|all| !all.is_empty()));
        let args = {
            let state = self.state.lock();
            let known = plan.all.iter().filter_map(|(namespace, name)| state.world.devices.claim(namespace, name));
            if pending.next().is_none() && !known.into_iter().any(|claim| claim.waits()) {
                return Ok(());
            }
            state.world.profiles.get(&pod.ask().scheduler).map(|profile| profile.allocating).unwrap_or_default()
        };
        let text = format!("waiting for binding conditions for device on node {node}");
        self.events.normal(pod, "BindingConditionsPending", text);
        let mut changes = self.storage.subscribe();
        let ready = async {
            loop {
                changes.borrow_and_update();
                if self.state.lock().are_ready(pod, plan, &args)? {
                    return Ok(());
                }
                if changes.changed().await.is_err() {
                    return Err("context canceled".to_owned());
                }
            }
        };
        let waited = tokio::time::timeout(args.binding, ready).await;
        waited.unwrap_or_else(|_| Err("device binding timeout: context deadline exceeded".to_owned()))
    }

    /// The pod is not bound: its devices are free again, and its claims are not its any more.
    pub(super) async fn unreserve(&self, pod: &PodInfo, plan: &Plan) {
        if plan.is_empty() {
            return;
        }
        let claims = {
            let mut state = self.state.lock();
            let mut freed = false;
            for (claim, _) in &plan.claims {
                freed |= state.world.devices.release(&claim.uid);
            }
            if freed {
                state.tell(Change::Devices, |other| other.uid != pod.uid, Instant::now());
            }
            plan.all.clone()
        };
        self.wake.notify_one();
        for (namespace, name) in claims {
            if let Err(error) = self.leave(pod, &namespace, &name).await
                && !write::is_not_found(&error)
            {
                tracing::warn!(pod = %pod.key, claim = name, "cannot give the claim back: {}", write::message(&error));
            }
        }
        if !plan.mappings.is_empty() {
            self.drop_extended(pod).await;
        }
    }

    /// Takes the pod from those who have the claim, if it is one of them.
    async fn leave(&self, pod: &PodInfo, namespace: &str, name: &str) -> kube::Result<()> {
        let claims = Claims(Api::namespaced(self.client.clone(), namespace));
        let mut attempt = 1;
        loop {
            let claim = seen(claims.0.get(name).await?);
            if claim.allocation.is_none() || !claim.is_reserved_for(&pod.uid) {
                return Ok(());
            }
            let left: Vec<_> = claim.reserved.iter().filter(|one| *one.uid != *pod.uid).collect();
            let patch = json!({ "metadata": { "resourceVersion": claim.version }, "status": { "reservedFor": left } });
            match claims.patch(&claim, &patch, true).await {
                Err(error) if write::is_conflict(&error) && attempt < TRIES => attempt += 1,
                result => return result.map(drop),
            }
        }
    }

    /// Deletes the claim that was written for the pod's extended resources.
    async fn drop_extended(&self, pod: &PodInfo) {
        let claims = Claims(Api::namespaced(self.client.clone(), &pod.key.namespace));
        let written = self.state.lock().world.devices.extended_of(pod).cloned();
        if let Some(claim) = written
            && let Err(error) = claims.delete(&claim).await
        {
            tracing::warn!(pod = %pod.key, claim = claim.name, "cannot delete the claim: {}", write::message(&error));
        }
    }

    /// Does what a decision said could help. When that fails somebody else was faster, and the pod hears of it.
    pub(super) async fn cure(&self, pod: &PodInfo, cure: &Cure) {
        let (claim, result) = match cure {
            Cure::None | Cure::Nothing => return,
            Cure::Free(claim) => {
                let patch = json!({
                    "metadata": { "resourceVersion": claim.version },
                    "status": { "allocation": null, "reservedFor": null, "devices": null },
                });
                (claim, self.claims(claim).patch(claim, &patch, true).await.map(drop))
            }
            Cure::Delete(claim) => (claim, self.claims(claim).delete(claim).await),
        };
        if let Err(error) = result {
            let claim = claim.full_name();
            tracing::warn!(pod = %pod.key, claim, "cannot free the devices of the claim: {}", write::message(&error));
        }
    }
}

/// Why a claim was not written.
enum Refused {
    /// It has changed, and may be written with its new version.
    Conflict(String),
    For(String),
}

impl Refused {
    fn at(what: &str, error: &kube::Error) -> Self {
        let why = format!("{what}: {}", write::message(error));
        if write::is_conflict(error) { Self::Conflict(why) } else { Self::For(why) }
    }
}

/// The claims of a namespace.
struct Claims(Api<Part<SeenResourceClaim>>);

impl Claims {
    async fn patch(&self, claim: &Claim, patch: &Value, status: bool) -> kube::Result<Claim> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let written = if status {
            self.0.patch_status(&claim.name, &params, &patch).await
        } else {
            self.0.patch(&claim.name, &params, &patch).await
        };
        written.map(seen)
    }

    async fn create_raw(&self, object: &Value) -> kube::Result<Part<SeenResourceClaim>> {
        let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
        let request = kube::core::Request::new(self.0.resource_url());
        let request = request.create(&PostParams::default(), body).map_err(kube::Error::BuildRequest)?;
        self.0.clone().into_client().request(request).await
    }

    /// Deletes this very claim, which only the scheduler holds on to.
    async fn delete(&self, claim: &Claim) -> kube::Result<()> {
        let left: Vec<&String> = claim.finalizers.iter().filter(|one| *one != FINALIZER).collect();
        let patch = json!({ "metadata": { "uid": claim.uid, "finalizers": left } });
        let deleted = async {
            self.patch(claim, &patch, false).await?;
            let preconditions = Preconditions { uid: Some(claim.uid.clone()), resource_version: None };
            self.0.delete(&claim.name, &DeleteParams::default().preconditions(preconditions)).await.map(drop)
        };
        match deleted.await {
            Err(error) if write::is_not_found(&error) || write::is_conflict(&error) => Ok(()),
            result => result,
        }
    }
}

impl State {
    /// A claim appeared or changed. True when a pod can be tried.
    pub(super) fn resource_claim_is(&mut self, claim: Claim, now: Instant) -> bool {
        let (namespace, name) = claim.key();
        let (allocated, status) = (claim.allocation.is_some(), claim.clone());
        let event = match self.world.devices.put_claim(claim) {
            None => ClaimEvent::Added,
            Some(old) if old.allocation.is_some() && !allocated => ClaimEvent::Freed,
            Some(old) if old.has_same_status(&status) => ClaimEvent::Touched,
            Some(_) => ClaimEvent::Changed,
        };
        self.tell(Change::ResourceClaim { namespace: &namespace, name: &name, event }, |_| true, now)
    }

    /// Whether all devices of the plan's claims are ready, or why they never will be.
    fn are_ready(&self, pod: &PodInfo, plan: &Plan, args: &Allocating) -> Result<bool, String> {
        if self.queue.get(&pod.key).is_none_or(|known| known.uid != pod.uid) {
            return Err(format!("pod does not exist any more: pod {:?} not found", pod.key.name));
        }
        let mut ready = true;
        for (namespace, name) in &plan.all {
            let Some(claim) = self.world.devices.claim(namespace, name) else {
                return Err(format!("could not find ResourceClaim \"{namespace}/{name}\""));
            };
            if !claim.is_ready()? || claim.allocation.is_none() {
                if claim.is_overdue(args.binding, (self.world.clock.0)()) {
                    return Err(format!("device binding timeout: claim={name}"));
                }
                ready = false;
            }
        }
        Ok(ready)
    }
}
