//! TrafficPolicies of a cluster: watched, compiled once per change, attached to the model, told.
//!
//! What is compiled is kept as long as nothing it is made of changes: limits count on, whatever
//! happens to routes. A policy that contradicts itself is not in force, nor is half of it; what it
//! is told names every field. Invariant: deciding is [`attach`](crate::attach) and
//! [`compile`](crate::policy::compile); here is only what watches and writes.

pub(crate) mod access;
#[cfg(test)]
mod tests;
pub(crate) mod watched;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base::Key;
use informer::{Informer, Informers};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher;
use kube::{Api, Client, CustomResourceExt as _, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::attach::{Candidate, Index, Subject, Target};
use crate::limit::{self, Places};
use crate::model::{Listener, Model, Rule, Serves, Source};
use crate::policy::compile::{self, Compiled, Fault, Limit, Per, RouteSettings, ServiceSettings, Settle};
use crate::policy::{NetsRef, TrafficPolicy, TrafficPolicySpec};
use crate::report::Trouble;
use crate::rules::Nets;
use watched::{Policy, Watched, key};

/// ConfigMaps with lists of networks have this label, so that no other is read.
pub const NETWORKS: &str = "gateway.knarr.dev/networks";

/// The policies of a cluster.
pub(crate) struct Policies {
    watched: Arc<Watched<TrafficPolicy>>,
    informers: Informers,
    networks: Informer<ConfigMap>,
    state: Mutex<State>,
}

/// Finds a list of networks in a ConfigMap of a namespace; an error tells why there is none.
type FindNets<'a> = &'a dyn Fn(&str, &NetsRef) -> Result<Arc<Nets>, String>;

/// The CustomResourceDefinition of TrafficPolicy.
///
/// # Errors
/// When it is no JSON, which a test rules out.
pub fn definition() -> Result<Value, serde_json::Error> {
    serde_json::to_value(TrafficPolicy::crd())
}

impl Policy for TrafficPolicy {
    fn definition() -> Result<Value, serde_json::Error> {
        definition()
    }

    fn targets(&self) -> Vec<Target> {
        self.spec.target_refs.iter().map(Target::from).collect()
    }

    fn same(&self, other: &Self) -> bool {
        self.spec == other.spec
    }

    fn ancestors(&self) -> Value {
        self.status.as_ref().map_or(Value::Null, |status| json!(status.ancestors))
    }
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
        f.debug_struct("Policies").field("watched", &self.watched).finish_non_exhaustive()
    }
}

impl Policies {
    /// Policies are not watched before [`Self::start`]; `changed` is called when a decision would differ.
    pub(crate) fn new(client: Client, ctx: &tasks::Context, changed: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        let changed: Arc<dyn Fn() + Send + Sync> = Arc::new(changed);
        let informers = Informers::new(client.clone(), ctx);
        let labelled = watcher::Config::default().labels(&format!("{NETWORKS}=true"));
        let networks = informers.with(Api::<ConfigMap>::all(client.clone()), labelled);
        let told = Arc::clone(&changed);
        networks.on_change(move |_| told());
        let watched = Watched::new(client, ctx, changed);
        Arc::new(Self { watched, informers, networks, state: Mutex::default() })
    }

    /// Watches the kind as soon as it is served, and writes statuses, until the service stops.
    pub(crate) fn start(&self, ctx: &tasks::Context) {
        self.watched.start(ctx);
    }

    /// Brings the definition to the cluster with `client`, which may, and watches the kind from then on.
    pub(crate) fn install(&self, client: Client, ctx: &tasks::Context) {
        self.watched.install(client, ctx);
    }

    /// Waits until what there was at first is known: nothing is served that it would refuse.
    pub(crate) async fn settled(&self) {
        self.informers.synced().await;
        self.watched.settled().await;
    }

    /// What is told of policies that are not in force as they ask.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        self.watched.troubles()
    }

    /// Decides about all policies: what services are used by, and which policies are in force for the rules of `model`.
    /// `exists` tells whether a target is there.
    pub(crate) fn decide(
        &self,
        model: &mut Model,
        exists: &dyn Fn(&str, &Target) -> bool,
    ) -> HashMap<Key, Arc<ServiceSettings>> {
        let policies = self.watched.list();
        let nets = |namespace: &str, set: &NetsRef| self.nets(namespace, set);
        let mut state = self.state.lock();
        let services = state.decide(&policies, model, &nets, exists);
        self.watched.tell(&state.index, |key| state.wrong(key));
        services
    }

    /// A list of networks.
    fn nets(&self, namespace: &str, set: &NetsRef) -> Result<Arc<Nets>, String> {
        let NetsRef { name, key } = set;
        let found = self.networks.get(namespace, name);
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
}

impl State {
    fn decide(
        &mut self,
        policies: &[Arc<TrafficPolicy>],
        model: &mut Model,
        nets: FindNets<'_>,
        exists: &dyn Fn(&str, &Target) -> bool,
    ) -> HashMap<Key, Arc<ServiceSettings>> {
        let mut candidates = Vec::new();
        for policy in policies {
            candidates.push(Candidate {
                key: key(&**policy),
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
    fn compiled(&mut self, policy: &TrafficPolicy, nets: FindNets<'_>) -> Option<Arc<Compiled>> {
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

    /// What is wrong with a policy.
    fn wrong(&self, key: &Key) -> Option<String> {
        let faults = self.made.get(key)?.compiled.as_ref().err()?;
        Some(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
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
