//! Policies of one kind: their definition brought to the cluster, watched when it is served, and told what became of them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::Key;
use informer::{Informer, Informers, Next, Object, Queue};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::Request;
use kube::{Client, Resource, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::attach::{Index, Target, Verdict};
use crate::policy::{Ancestor, AncestorRef, Condition};
use crate::report::Trouble;

/// A kind that this cluster does not have is looked for again after that time.
const LATER: Duration = Duration::from_secs(30);
/// One that it was just given, after that.
const SOON: Duration = Duration::from_millis(100);
/// Who brought a definition.
const MANAGER: (&str, &str) = ("app.kubernetes.io/managed-by", "knarr");
/// Ancestors of a status at most (GEP-713).
const ANCESTORS: usize = 16;
/// The longest message of a condition.
const MESSAGE: usize = 4096;

/// A kind of policy.
pub(crate) trait Policy: Object + Resource<DynamicType = ()> {
    /// The CustomResourceDefinition, as JSON.
    fn definition() -> Result<Value, serde_json::Error>;
    /// What it is for.
    fn targets(&self) -> Vec<Target>;
    /// True when both ask for the same.
    fn same(&self, other: &Self) -> bool;
    /// What its status says, as JSON.
    fn ancestors(&self) -> Value;
}

/// The policies of kind `P`.
pub(crate) struct Watched<P: Policy> {
    client: Client,
    informers: Informers,
    changed: Arc<dyn Fn() + Send + Sync>,
    objects: OnceLock<Informer<P>>,
    told: Mutex<HashMap<Key, Told>>,
    writes: Queue<Key>,
    kinds: Queue<String>,
    /// What there was at first is known, or there is nothing.
    settled: watch::Sender<bool>,
}

/// What became of a policy: at its targets, and what is wrong with it.
type Told = (Vec<(Target, Verdict)>, String);

impl<P: Policy> std::fmt::Debug for Watched<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("watched", &self.objects.get().is_some()).finish_non_exhaustive()
    }
}

impl<P: Policy> Watched<P> {
    /// Nothing is watched before [`Self::start`]; `changed` is called when a decision would differ.
    pub(crate) fn new(client: Client, ctx: &tasks::Context, changed: Arc<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            informers: Informers::new(client.clone(), ctx),
            client,
            changed,
            objects: OnceLock::new(),
            told: Mutex::default(),
            writes: Queue::new(),
            kinds: Queue::new(),
            settled: watch::Sender::new(false),
        })
    }

    /// Watches the kind as soon as it is served, and writes statuses, until the service stops.
    pub(crate) fn start(self: &Arc<Self>, ctx: &tasks::Context) {
        let this = Arc::clone(self);
        self.kinds.add(P::kind(&()).into_owned());
        informer::work(&self.kinds, 1, ctx, "watch policies", move |_| {
            let this = Arc::clone(&this);
            async move { this.begin().await }
        });
        let this = Arc::clone(self);
        informer::work(&self.writes, 2, ctx, "write status", move |key| {
            let this = Arc::clone(&this);
            async move { this.write(&key).await }
        });
    }

    /// Brings the definition to the cluster with `client`, which may, and watches the kind from then on.
    pub(crate) fn install(self: &Arc<Self>, client: Client, ctx: &tasks::Context) {
        let (this, queue) = (Arc::clone(self), Queue::new());
        queue.add(P::kind(&()).into_owned());
        informer::work(&queue, 1, ctx, "install policies", move |kind: String| {
            let (this, client) = (Arc::clone(&this), client.clone());
            async move {
                match define::<P>(&client).await {
                    Err(kube::Error::Api(refusal)) if refusal.code == 403 => {
                        tracing::warn!("the definition of {kind} cannot be created: {}", refusal.message);
                        return Ok(Next::Done);
                    }
                    installed => installed?,
                }
                match this.probe().await {
                    Err(kube::Error::Api(refusal)) if refusal.code == 404 => return Ok(Next::After(SOON)),
                    served => served?,
                }
                this.kinds.add(kind);
                Ok(Next::Done)
            }
        });
    }

    /// Waits until the policies there were at first are known: nothing is served that they would refuse.
    pub(crate) async fn settled(&self) {
        let reached = self.settled.subscribe().wait_for(|settled| *settled).await.map(drop);
        reached.expect("invariant: the sender lives in self");
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<Arc<P>> {
        self.objects.get().map(Informer::list).unwrap_or_default()
    }

    /// Sees to it that every policy is told what `index` decided about it; `wrong` tells what is wrong with one.
    pub(crate) fn tell<T>(&self, index: &Index<T>, wrong: impl Fn(&Key) -> Option<String>) {
        let told = index.verdicts().iter().map(|(key, verdicts)| {
            let wrong = wrong(key);
            let judged = |(target, verdict): &(Target, Verdict)| {
                let broken = wrong.is_some() && *verdict == Verdict::Accepted;
                (target.clone(), if broken { Verdict::Invalid } else { verdict.clone() })
            };
            (key.clone(), (verdicts.iter().map(judged).collect(), wrong.clone().unwrap_or_default()))
        });
        *self.told.lock() = told.collect();
        index.verdicts().keys().for_each(|key| self.writes.add(key.clone()));
    }

    /// What is told of policies that are not in force as they ask.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let kind = P::kind(&());
        let told = self.told.lock();
        let all = told.iter().flat_map(|(key, (verdicts, wrong))| verdicts.iter().map(move |it| (key, it, wrong)));
        let failing = all.filter(|(_, (_, verdict), _)| *verdict != Verdict::Accepted);
        let trouble = |(key, (target, verdict), wrong): (&Key, &(Target, Verdict), &String)| {
            Trouble::new(format!("{kind} {key} at {target}"), verdict.reason(), message(&kind, verdict, wrong))
        };
        failing.map(trouble).collect()
    }

    /// Whether the kind is served.
    async fn probe(&self) -> Result<(), kube::Error> {
        let path = P::url_path(&(), None);
        let probe = Request::new(&path).list(&ListParams::default().limit(1)).map_err(kube::Error::BuildRequest)?;
        self.client.request::<Value>(probe).await.map(drop)
    }

    async fn begin(self: &Arc<Self>) -> anyhow::Result<Next> {
        if self.objects.get().is_some() {
            return Ok(Next::Done);
        }
        match self.probe().await {
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 403 | 404) => {
                self.settled.send_replace(true);
                return Ok(Next::After(LATER));
            }
            served => served?,
        }
        let objects = self.informers.of::<P>();
        let this = Arc::clone(self);
        objects.on_change(move |change| match (change.old, change.new) {
            // Our own status writes come back here; they change no decision.
            (Some(old), Some(new)) if old.same(new) && old.meta().uid == new.meta().uid => this.writes.add(key(&**new)),
            _ => (this.changed)(),
        });
        // Set last: whoever finds it finds its handler in place.
        let _known = self.objects.set(objects);
        self.informers.synced().await;
        self.settled.send_replace(true);
        (self.changed)();
        Ok(Next::Done)
    }

    /// Tells a policy what became of it, when that is news.
    async fn write(&self, item: &Key) -> anyhow::Result<Next> {
        let found = self.objects.get().and_then(|objects| objects.get(&item.namespace, &item.name));
        let told = self.told.lock().get(item).cloned();
        let (Some(policy), Some((verdicts, wrong))) = (found, told) else { return Ok(Next::Done) };
        let Some(patch) = plan(&*policy, &verdicts, &wrong, jiff::Timestamp::now()) else { return Ok(Next::Done) };
        let path = P::url_path(&(), Some(&item.namespace));
        let request =
            Request::new(&path).patch_subresource("status", &item.name, &PatchParams::default(), &Patch::Merge(&patch));
        match self.client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await {
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => Ok(Next::Done), // gone meanwhile
            written => Ok(written.map(|_| Next::Done)?),
        }
    }
}

/// Brings the definition to a cluster, or up to date: it is of our group, so it is ours alone.
async fn define<P: Policy>(client: &Client) -> Result<(), kube::Error> {
    let mut definition = P::definition().map_err(kube::Error::SerdeError)?;
    definition["metadata"]["labels"][MANAGER.0] = json!(MANAGER.1);
    if let Some(object) = definition.as_object_mut() {
        object.remove("status"); // the API server's to write
    }
    let name = definition["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let patch = PatchParams::apply("knarr-gateway").force();
    let request = Request::new(crate::gateways::definitions::PATH).patch(&name, &patch, &Patch::Apply(&definition));
    client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await.map(drop)
}

pub(crate) fn key<K: Resource>(object: &K) -> Key {
    Key::new(object.namespace().unwrap_or_default(), object.name_any())
}

/// The patch of the status; none when it says all this already. What other controllers wrote stays.
pub(super) fn plan<P: Policy>(
    policy: &P,
    verdicts: &[(Target, Verdict)],
    wrong: &str,
    now: jiff::Timestamp,
) -> Option<Value> {
    let written: Vec<Ancestor> = serde_json::from_value(policy.ancestors()).unwrap_or_default();
    let (ours, theirs): (Vec<&Ancestor>, Vec<&Ancestor>) =
        written.iter().partition(|ancestor| ancestor.controller_name == crate::gateways::CONTROLLER);
    let mut ancestors: Vec<Ancestor> = theirs.into_iter().cloned().collect();
    for (target, verdict) in verdicts {
        let ancestor_ref = AncestorRef {
            group: Some(target.group.clone()),
            kind: Some(target.kind.clone()),
            namespace: policy.meta().namespace.clone(),
            name: target.name.clone(),
            section_name: target.section.clone(),
        };
        let before = ours.iter().find(|ancestor| ancestor.ancestor_ref == ancestor_ref);
        let before =
            before.and_then(|ancestor| ancestor.conditions.iter().find(|condition| condition.type_ == "Accepted"));
        let status = if *verdict == Verdict::Accepted { "True" } else { "False" };
        let since = before.filter(|before| before.status == status).map(|before| before.last_transition_time.clone());
        let condition = Condition {
            type_: "Accepted".to_owned(),
            status: status.to_owned(),
            observed_generation: policy.meta().generation,
            // to the second, as Kubernetes writes times
            last_transition_time: since.unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            reason: verdict.reason().to_owned(),
            message: message(&P::kind(&()), verdict, wrong),
        };
        let controller_name = crate::gateways::CONTROLLER.to_owned();
        ancestors.push(Ancestor { ancestor_ref, controller_name, conditions: vec![condition] });
    }
    ancestors.truncate(ANCESTORS);
    (ancestors != written).then(|| json!({ "status": { "ancestors": ancestors } }))
}

fn message(kind: &str, verdict: &Verdict, wrong: &str) -> String {
    match verdict {
        Verdict::Accepted => "the policy is in force".to_owned(),
        Verdict::Conflicted(other) => format!("the older {kind} {other} is in force there"),
        Verdict::TargetNotFound => "there is no such object, or it has no such section".to_owned(),
        Verdict::Invalid => {
            let end = (0..=wrong.len().min(MESSAGE)).rev().find(|at| wrong.is_char_boundary(*at)).unwrap_or_default();
            wrong[..end].to_owned()
        }
    }
}
