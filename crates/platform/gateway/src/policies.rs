//! TrafficPolicies of a cluster: watched, compiled once per change, attached to the model, told.
//!
//! What is compiled is kept as long as nothing it is made of changes: limits count on, whatever
//! happens to routes. A policy that contradicts itself is not in force, nor is half of it; what it
//! is told names every field. Invariant: deciding is [`attach`](crate::attach) and
//! [`compile`](crate::policy::compile); here is only what watches and writes.

pub(crate) mod access;
mod definition;
mod status;
#[cfg(test)]
mod tests;
pub(crate) mod watched;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::Key;
use informer::{Informer, Informers, Next, Queue};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::Request;
use kube::runtime::watcher;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use crate::attach::{Candidate, Index, Subject, Target, Verdict};
use crate::limit::{self, Places};
use crate::model::{Listener, Model, Rule, Serves, Source};
use crate::policy::compile::{self, Compiled, Fault, Limit, Per, RouteSettings, ServiceSettings, Settle};
use crate::policy::{NetsRef, TrafficPolicy, TrafficPolicySpec};
use crate::rules::Nets;

pub use definition::definition;

/// ConfigMaps with lists of networks have this label, so that no other is read.
pub const NETWORKS: &str = "gateway.knarr.dev/networks";
const KIND: &str = "TrafficPolicy";
/// A kind that this cluster does not have is looked for again after that time.
const LATER: Duration = Duration::from_secs(30);
/// One that it was just given, after that.
const SOON: Duration = Duration::from_millis(100);

/// The policies of a cluster.
pub(crate) struct Policies {
    client: Client,
    informers: Informers,
    changed: Box<dyn Fn() + Send + Sync>,
    policies: OnceLock<Informer<TrafficPolicy>>,
    networks: OnceLock<Informer<ConfigMap>>,
    state: Mutex<State>,
    writes: Queue<Key>,
    kinds: Queue<&'static str>,
    /// What there was at first is known, or there is nothing.
    settled: watch::Sender<bool>,
}

/// What is kept from one decision to the next.
#[derive(Debug, Default)]
pub(crate) struct State {
    made: HashMap<Key, Made>,
    index: Index<Compiled>,
    /// Limits that annotations ask for, by the rule that has them.
    annotated: HashMap<Arc<Source>, (crate::model::Limits, Arc<RouteSettings>)>,
}

/// A compiled policy, and all it was made of.
#[derive(Debug)]
struct Made {
    spec: TrafficPolicySpec,
    nets: Vec<Result<Arc<Nets>, String>>,
    compiled: Result<Arc<Compiled>, Vec<Fault>>,
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policies").field("watched", &self.policies.get().is_some()).finish_non_exhaustive()
    }
}

impl Policies {
    /// Nothing is watched before [`Self::start`]; `changed` is called when a decision would differ.
    pub(crate) fn new(client: Client, ctx: &tasks::Context, changed: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            informers: Informers::new(client.clone(), ctx),
            client,
            changed: Box::new(changed),
            policies: OnceLock::new(),
            networks: OnceLock::new(),
            state: Mutex::default(),
            writes: Queue::new(),
            kinds: Queue::new(),
            settled: watch::Sender::new(false),
        })
    }

    /// Watches the kind as soon as it is served, and writes statuses, until the service stops.
    pub(crate) fn start(self: &Arc<Self>, ctx: &tasks::Context) {
        let this = Arc::clone(self);
        self.kinds.add(KIND);
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
        queue.add(KIND);
        informer::work(&queue, 1, ctx, "install policies", move |_| {
            let (this, client) = (Arc::clone(&this), client.clone());
            async move {
                match definition::install(&client).await {
                    Err(kube::Error::Api(refusal)) if refusal.code == 403 => {
                        tracing::warn!("the definition of TrafficPolicy cannot be created: {}", refusal.message);
                        return Ok(Next::Done);
                    }
                    installed => installed?,
                }
                match this.probe().await {
                    Err(kube::Error::Api(refusal)) if refusal.code == 404 => return Ok(Next::After(SOON)),
                    served => served?,
                }
                this.kinds.add(KIND);
                Ok(Next::Done)
            }
        });
    }

    /// Waits until the policies there were at first are known: nothing is served that they would refuse.
    pub(crate) async fn settled(&self) {
        let reached = self.settled.subscribe().wait_for(|settled| *settled).await.map(drop);
        reached.expect("invariant: the sender lives in self");
    }

    /// Whether the kind is served.
    async fn probe(&self) -> Result<(), kube::Error> {
        let path = TrafficPolicy::url_path(&(), None);
        let probe = Request::new(&path).list(&ListParams::default().limit(1)).map_err(kube::Error::BuildRequest)?;
        self.client.request::<Value>(probe).await.map(drop)
    }

    async fn begin(self: &Arc<Self>) -> anyhow::Result<Next> {
        if self.policies.get().is_some() {
            return Ok(Next::Done);
        }
        match self.probe().await {
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 403 | 404) => {
                self.settled.send_replace(true);
                return Ok(Next::After(LATER));
            }
            served => served?,
        }
        let labelled = watcher::Config::default().labels(&format!("{NETWORKS}=true"));
        let networks = self.informers.with(Api::<ConfigMap>::all(self.client.clone()), labelled);
        let this = Arc::clone(self);
        networks.on_change(move |_| (this.changed)());
        let policies = self.informers.of::<TrafficPolicy>();
        let this = Arc::clone(self);
        policies.on_change(move |change| match (change.old, change.new) {
            // Our own status writes come back here; they change no decision.
            (Some(old), Some(new)) if old.spec == new.spec && old.metadata.uid == new.metadata.uid => {
                this.writes.add(key(new));
            }
            _ => (this.changed)(),
        });
        // Set last: whoever finds them finds their handlers in place.
        let _known = (self.networks.set(networks), self.policies.set(policies));
        self.informers.synced().await;
        self.settled.send_replace(true);
        (self.changed)();
        Ok(Next::Done)
    }

    /// Decides about all policies: what services are used by, and which policies are in force for the rules of `model`.
    /// `exists` tells whether a target is there.
    pub(crate) fn decide(
        &self,
        model: &mut Model,
        exists: &dyn Fn(&str, &Target) -> bool,
    ) -> HashMap<Key, Arc<ServiceSettings>> {
        let policies = self.policies.get().map(Informer::list).unwrap_or_default();
        let nets = |namespace: &str, set: &NetsRef| self.nets(namespace, set);
        let services = self.state.lock().decide(&policies, model, &nets, exists);
        policies.iter().for_each(|policy| self.writes.add(key(policy)));
        services
    }

    /// A list of networks.
    fn nets(&self, namespace: &str, set: &NetsRef) -> Result<Arc<Nets>, String> {
        let NetsRef { name, key } = set;
        let found = self.networks.get().and_then(|networks| networks.get(namespace, name));
        let found = found.ok_or_else(|| format!("there is no ConfigMap {name} with the label {NETWORKS}: \"true\""))?;
        let data = found.data.as_ref();
        let texts: Vec<&String> = match key {
            Some(key) => data.and_then(|data| data.get(key)).into_iter().collect(),
            None => data.into_iter().flat_map(BTreeMap::values).collect(),
        };
        if texts.is_empty() {
            let what = key.as_ref().map_or("no data".to_owned(), |key| format!("no key {key}"));
            return Err(format!("ConfigMap {name} has {what}"));
        }
        let mut sets = Vec::new();
        for text in texts {
            sets.push(Nets::parse(text).map_err(|fault| format!("ConfigMap {name}: {fault}"))?);
        }
        Ok(Arc::new(Nets::union(&sets)))
    }

    /// Tells a policy what became of it, when that is news.
    async fn write(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(policy) = self.policies.get().and_then(|policies| policies.get(&key.namespace, &key.name)) else {
            return Ok(Next::Done);
        };
        let Some((verdicts, faults)) = self.state.lock().told(key) else { return Ok(Next::Done) };
        let now = jiff::Timestamp::now();
        let Some(patch) = status::plan(&policy, &verdicts, &faults, now) else { return Ok(Next::Done) };
        let api = Api::<TrafficPolicy>::namespaced(self.client.clone(), &key.namespace);
        match api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => Ok(Next::Done), // gone meanwhile
            written => Ok(written.map(|_| Next::Done)?),
        }
    }
}

impl State {
    fn decide(
        &mut self,
        policies: &[Arc<TrafficPolicy>],
        model: &mut Model,
        nets: &dyn Fn(&str, &NetsRef) -> Result<Arc<Nets>, String>,
        exists: &dyn Fn(&str, &Target) -> bool,
    ) -> HashMap<Key, Arc<ServiceSettings>> {
        let mut candidates = Vec::new();
        for policy in policies {
            candidates.push(Candidate {
                key: key(policy),
                created: policy.metadata.creation_timestamp.as_ref().map(|time| time.0),
                targets: policy.spec.target_refs.iter().map(Target::from).collect(),
                policy: self.compiled(policy, nets),
            });
        }
        self.made.retain(|key, _| candidates.iter().any(|candidate| candidate.key == *key));
        self.index = Index::new(candidates, exists);
        let services = self.index.in_force("Service");
        let services =
            services.filter_map(|(service, policy)| Some((service.clone(), policy.service.clone()?))).collect();
        self.attach(model);
        services
    }

    /// A policy as meant; none when it contradicts itself.
    fn compiled(
        &mut self,
        policy: &TrafficPolicy,
        nets: &dyn Fn(&str, &NetsRef) -> Result<Arc<Nets>, String>,
    ) -> Option<Arc<Compiled>> {
        let (key, namespace) = (key(policy), policy.namespace().unwrap_or_default());
        let found: Vec<_> = sets(&policy.spec).map(|set| nets(&namespace, set)).collect();
        if let Some(made) = self.made.get(&key)
            && made.spec == policy.spec
            && made.nets == found
        {
            return made.compiled.as_ref().ok().cloned();
        }
        let compiled = compile::compile(&policy.spec, &|set| nets(&namespace, set)).map(Arc::new);
        if let Err(faults) = &compiled {
            let all: Vec<String> = faults.iter().map(Fault::to_string).collect();
            tracing::warn!("TrafficPolicy {key} is not in force: {}", all.join("; "));
        }
        let made = self.made.entry(key).insert_entry(Made { spec: policy.spec.clone(), nets: found, compiled });
        made.get().compiled.as_ref().ok().cloned()
    }

    /// Gives every rule of the model the policies in force for it.
    fn attach(&mut self, model: &mut Model) {
        let before = std::mem::take(&mut self.annotated);
        for listener in model.doors.values_mut().flatten() {
            let source = Arc::clone(&listener.source);
            let Listener { serves: Serves::Http(routes), .. } = listener else { continue };
            for route in routes {
                let subjects = [subject(&route.rule.source), subject(&source)];
                let in_force = self.index.along(&subjects).filter_map(|(_, policy)| policy.route.clone());
                let mut chain: Vec<Arc<RouteSettings>> = in_force.collect();
                chain.extend(self.annotations(&route.rule, &before)); // a policy says more than an annotation
                if !chain.is_empty() {
                    route.rule = Arc::new(Rule { traffic: Settle::new(chain), ..Rule::clone(&route.rule) });
                }
            }
        }
    }

    /// The limits that annotations of an Ingress ask for, with what was used up of them.
    fn annotations(
        &mut self,
        rule: &Rule,
        before: &HashMap<Arc<Source>, (crate::model::Limits, Arc<RouteSettings>)>,
    ) -> Option<Arc<RouteSettings>> {
        let asked = &rule.limits;
        if asked.rate.is_none() && asked.at_once.is_none() {
            return None;
        }
        let kept = self.annotated.get(&rule.source).or_else(|| before.get(&rule.source));
        let settings = match kept {
            Some((limits, settings)) if limits == asked => Arc::clone(settings),
            _ => Arc::new(annotated(asked)),
        };
        self.annotated.insert(Arc::clone(&rule.source), (asked.clone(), Arc::clone(&settings)));
        Some(settings)
    }

    /// What became of a policy at its targets, and what is wrong with it.
    fn told(&self, key: &Key) -> Option<(Vec<(Target, Verdict)>, Vec<Fault>)> {
        let verdicts = self.index.verdicts().get(key)?.clone();
        let faults = self.made.get(key).and_then(|made| made.compiled.as_ref().err().cloned());
        Some((verdicts, faults.unwrap_or_default()))
    }
}

/// The limits of ingress-nginx: of each client, and a 503 (its `limit-req-status-code`) for what is beyond.
fn annotated(asked: &crate::model::Limits) -> RouteSettings {
    let limit = asked.rate.map(|rate| {
        let burst = rate.requests.saturating_mul(rate.burst.max(1));
        let rate = limit::Rate { requests: rate.requests, per: rate.per, burst };
        Limit {
            name: "ingress".into(),
            rate,
            per: Per::Client(limit::Clients::new(rate, compile::CLIENTS as usize)),
            exempt: Nets::new(asked.unlimited.iter().copied()),
            status: http::StatusCode::SERVICE_UNAVAILABLE,
            headers: false,
        }
    });
    RouteSettings {
        limits: limit.map(|limit| vec![limit]),
        places: asked.at_once.map(|at_once| Places::new(u32::MAX, at_once)),
        ..RouteSettings::default()
    }
}

fn subject(source: &Source) -> Subject<'_> {
    Subject {
        kind: source.kind,
        key: &source.key,
        section: Some(source.section.as_str()).filter(|section| !section.is_empty()),
    }
}

fn sets(spec: &TrafficPolicySpec) -> impl Iterator<Item = &NetsRef> {
    let rules = spec.rules.iter().flat_map(|rules| &rules.rules);
    rules.flat_map(|rule| rule.clients.iter().chain(&rule.clients_outside)).flat_map(|clients| &clients.sets)
}

fn key(policy: &TrafficPolicy) -> Key {
    Key::new(policy.namespace().unwrap_or_default(), policy.name_any())
}
