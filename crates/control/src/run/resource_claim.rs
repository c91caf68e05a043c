//! The shell that makes, reserves and frees claims of devices.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimTemplate};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::overlay::Overlay;
use super::replicaset::key;
use super::write;
use crate::events::Recorder;
use crate::plan::resource_claim::{self as plan, ForClaim, ForPod, Observed};
use crate::{Launch, Shared};

const NAME: &str = "resource-claim-controller";
/// Who the names in a pod's status belong to.
const MANAGER: &str = "ResourceClaimController";
/// More steps than these are a sign that somebody undoes them.
const STEPS: usize = 64;

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Wake {
    Pod(Key),
    Claim(Key),
}

impl fmt::Display for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "pod {key}"),
            Self::Claim(key) => write!(f, "claim {key}"),
        }
    }
}

struct Shell {
    client: Client,
    events: Recorder,
    pods: Informer<Pod>,
    claims: Overlay<ResourceClaim>,
    templates: Informer<ResourceClaimTemplate>,
}

fn has_claims(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()))
        || pod.status.as_ref().is_some_and(|status| status.extended_resource_claim_status.is_some())
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let pods = shared.informers.of::<Pod>();
    let claims = shared.informers.of::<ResourceClaim>();
    let templates = shared.informers.of::<ResourceClaimTemplate>();
    let queue: Queue<Wake> = Queue::new();
    let wake = queue.clone();
    pods.on_change(move |change: Change<'_, Pod>| {
        let pod = change.latest();
        if !has_claims(pod) {
            return;
        }
        let namespace = pod.namespace().unwrap_or_default();
        for name in plan::names(pod) {
            wake.add(Wake::Claim(Key::new(namespace.clone(), name)));
        }
        if change.new.is_some() {
            wake.add(Wake::Pod(key(&**pod)));
        }
    });
    let (wake, known) = (queue.clone(), pods.clone());
    claims.on_change(move |change: Change<'_, ResourceClaim>| {
        let claim = change.latest();
        if change.new.is_some() {
            wake.add(Wake::Claim(key(&**claim)));
        }
        let using = known.in_namespace(&claim.namespace().unwrap_or_default()).into_iter();
        using
            .filter(|pod| has_claims(pod) && plan::names(pod).contains(&claim.name_any()))
            .for_each(|pod| wake.add(Wake::Pod(key(&*pod))));
    });
    let (wake, known) = (queue.clone(), pods.clone());
    templates.on_change(move |change: Change<'_, ResourceClaimTemplate>| {
        let pods = known.in_namespace(&change.latest().namespace().unwrap_or_default()).into_iter();
        pods.filter(|pod| has_claims(pod)).for_each(|pod| wake.add(Wake::Pod(key(&*pod))));
    });
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        events: shared.events.recorder_as(NAME, "resource_claim"),
        pods,
        claims: Overlay::new(claims),
        templates,
    });
    let shared = shared.clone();
    Box::new(move || {
        informer::work(&queue, 4, &shared.context, NAME, move |wake: Wake| {
            let shell = Arc::clone(&shell);
            async move {
                write::settle(match wake {
                    Wake::Pod(key) => shell.sync_pod(&key).await,
                    Wake::Claim(key) => shell.sync_claim(&key).await,
                })
            }
        });
    })
}

impl Shell {
    async fn sync_pod(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(mut pod) = self.pods.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        for _ in 0..STEPS {
            let (claims, templates) =
                (self.claims.in_namespace(&key.namespace), self.templates.in_namespace(&key.namespace));
            match plan::for_pod(&pod, Observed { claims: &claims, templates: &templates }) {
                ForPod::Nothing => return Ok(Next::Done),
                ForPod::Make(claim) => match write::create(&self.client, &*claim).await {
                    Ok(made) => drop(self.claims.wrote(made)),
                    Err(error) if write::namespace_is_leaving(&error) => return Ok(Next::Done),
                    Err(error) => {
                        let text = format!("create ResourceClaim : {}", write::message(&error));
                        self.events.warning(&*pod, "FailedResourceClaimCreation", text);
                        return Err(write::failed(&error, format_args!("cannot make a claim for pod {key}")));
                    }
                },
                ForPod::Name(names) => pod = Arc::new(self.name(key, &pod, &names).await?),
                ForPod::Reserve(next) => {
                    let name = next.name_any();
                    let written = write::replace_status(&self.client, &*next).await.map_err(|error| {
                        write::failed(&error, format_args!("cannot reserve claim {name} for pod {key}"))
                    });
                    self.claims.wrote(written?);
                }
                ForPod::Fail(why) => {
                    self.events.warning(&*pod, "FailedResourceClaimCreation", why.clone());
                    anyhow::bail!("pod {key}, {why}");
                }
            }
        }
        anyhow::bail!("pod {key} still wants claims after {STEPS} steps")
    }

    async fn name(
        &self,
        key: &Key,
        pod: &Pod,
        names: &std::collections::BTreeMap<String, String>,
    ) -> anyhow::Result<Pod> {
        let statuses: Vec<Value> =
            names.iter().map(|(name, claim)| json!({ "name": name, "resourceClaimName": claim })).collect();
        let patch = Patch::Apply(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": key.name, "uid": pod.uid() },
            "status": { "resourceClaimStatuses": statuses },
        }));
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let written = api.patch_status(&key.name, &PatchParams::apply(MANAGER).force(), &patch).await;
        written.map_err(|error| write::failed(&error, format_args!("cannot name the claims of pod {key}")))
    }

    async fn sync_claim(&self, key: &Key) -> anyhow::Result<Next> {
        let attempt = |error: kube::Error| write::failed(&error, format_args!("cannot settle resource claim {key}"));
        for _ in 0..STEPS {
            let Some(claim) = self.claims.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
            let found = self.consumers(&claim).await?;
            let find = |name: &str| match found.get(name) {
                Some(pod) => pod.clone(),
                None => self.pods.get(&key.namespace, name),
            };
            match plan::for_claim(&claim, find) {
                ForClaim::Nothing => return Ok(Next::Done),
                ForClaim::Status { next, frees } => {
                    let written = write::replace_status(&self.client, &*next).await.map_err(attempt)?;
                    let written = self.claims.wrote(written);
                    if frees {
                        let freed = write::replace(&self.client, &plan::freed(&written)).await.map_err(attempt)?;
                        self.keep(freed);
                    }
                }
                ForClaim::Finalizer(next) => {
                    let freed = write::replace(&self.client, &*next).await.map_err(attempt)?;
                    self.keep(freed);
                }
                ForClaim::Delete => {
                    match write::delete(&self.client, &*claim, DeleteParams::default()).await.map_err(attempt)? {
                        Some(left) => drop(self.claims.wrote(left)),
                        None => self.claims.deleted(&claim),
                    }
                    return Ok(Next::Done);
                }
            }
        }
        anyhow::bail!("resource claim {key} is still not settled after {STEPS} steps")
    }

    /// Remembers what was written; a claim that waited only for its finalizer is gone.
    fn keep(&self, claim: ResourceClaim) {
        let over = claim.metadata.deletion_timestamp.is_some() && claim.finalizers().is_empty();
        if over { self.claims.deleted(&Arc::new(claim)) } else { drop(self.claims.wrote(claim)) }
    }

    /// The pods that the cache does not show, asked of the server: a pod that the scheduler has just placed must not lose
    /// its devices to a lagging cache.
    async fn consumers(&self, claim: &ResourceClaim) -> anyhow::Result<HashMap<String, Option<Arc<Pod>>>> {
        let namespace = claim.namespace().unwrap_or_default();
        let mut found = HashMap::new();
        for one in plan::consumers(claim) {
            if self.pods.get(&namespace, &one.name).is_none() {
                let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
                let live = api.get_opt(&one.name).await;
                let live = live
                    .map_err(|error| write::failed(&error, format_args!("cannot read pod {namespace}/{}", one.name)))?;
                found.insert(one.name.clone(), live.map(Arc::new));
            }
        }
        Ok(found)
    }
}
