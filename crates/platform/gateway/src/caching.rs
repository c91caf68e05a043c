//! Which rules of a model have a cache, by the CachePolicies of a cluster. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use base::Key;
use cache::policy::resource::CachePolicy;
use cache::{Cache, Rules, Settings};
use kube::ResourceExt as _;
use serde_json::Value;

use crate::attach::{Candidate, Index, Subject, Target};
use crate::model::{Cached, Model, Serves};
use crate::policies::watched::Policy;

/// Gives the rules of `model` the cache that `policies` ask for: a rule's own before its route's, its listener's and its
/// Gateway's. `exists` tells whether a target in a namespace is there.
pub fn apply(
    model: &mut Model,
    policies: &[Arc<CachePolicy>],
    cache: &'static Cache,
    exists: impl Fn(&str, &Target) -> bool,
) -> (Index<Rules>, BTreeMap<Key, String>) {
    let mut faults: BTreeMap<Key, String> = BTreeMap::new();
    let candidates = policies.iter().map(|policy| candidate(policy, &mut faults)).collect();
    let index: Index<Rules> = Index::new(candidates, exists);
    for listener in model.doors.values_mut().flatten() {
        let Serves::Http(routes) = &mut listener.serves else { continue };
        for route in routes {
            let source = &route.rule.source;
            let subject =
                |kind, key, section: &'_ str| (kind, key, Some(section.to_owned()).filter(|it| !it.is_empty()));
            let chain = [
                subject(source.kind, &source.key, &source.section),
                subject(listener.source.kind, &listener.source.key, &listener.source.section),
            ];
            let chain = chain.each_ref().map(|(kind, key, section)| Subject { kind, key, section: section.as_deref() });
            let found = index.along(&chain).next().map(|(_, rules)| Arc::clone(rules));
            if let Some(rules) = found.filter(|rules| rules.enabled) {
                let mut rule = (*route.rule).clone();
                rule.cached = Some(Cached { cache, rules });
                route.rule = Arc::new(rule);
            }
        }
    }
    (index, faults)
}

fn candidate(policy: &CachePolicy, faults: &mut BTreeMap<Key, String>) -> Candidate<Rules> {
    let key = Key::new(policy.namespace().unwrap_or_default(), policy.name_any());
    let rules = policy.rules();
    if let Err(wrong) = &rules {
        let wrong: Vec<String> = wrong.iter().map(|fault| format!("spec.{fault}")).collect();
        faults.insert(key.clone(), wrong.join("; "));
    }
    Candidate {
        key,
        created: policy.metadata.creation_timestamp.as_ref().map(|time| time.0),
        targets: policy.targets(),
        policy: rules.ok().map(Arc::new),
    }
}

impl Policy for CachePolicy {
    fn definition() -> Result<Value, serde_json::Error> {
        Ok(cache::policy::resource::definition())
    }

    fn targets(&self) -> Vec<Target> {
        let target = |target: &cache::policy::resource::TargetRef| Target {
            group: target.group.clone(),
            kind: target.kind.clone(),
            name: target.name.clone(),
            section: target.section_name.clone(),
        };
        self.spec.target_refs.iter().map(target).collect()
    }

    fn same(&self, other: &Self) -> bool {
        self.spec == other.spec
    }

    fn ancestors(&self) -> Value {
        self.status.as_ref().map_or(Value::Null, |status| serde_json::json!(status.ancestors))
    }
}

/// The cache of a gateway, opened when the first policy asks for one: who caches nothing keeps nothing.
pub(crate) struct Opened {
    settings: Settings,
    socket: Option<PathBuf>,
    ctx: tasks::Context,
    cache: OnceLock<Option<&'static Cache>>,
}

impl Opened {
    pub(crate) fn new(settings: Settings, socket: Option<PathBuf>, ctx: &tasks::Context) -> Self {
        Self { settings, socket, ctx: ctx.clone(), cache: OnceLock::new() }
    }

    /// The cache; none when it cannot be opened, which is told once.
    pub(crate) fn get(&self) -> Option<&'static Cache> {
        *self.cache.get_or_init(|| match Cache::open(&self.settings) {
            Ok(cache) => {
                self.ctx.children.spawn("cache directory", cache.recollect(self.ctx.stop.clone()));
                if let Some(path) = self.socket.clone() {
                    let ctx = self.ctx.clone();
                    self.ctx.children.spawn("cache socket", async move {
                        if let Err(error) = cache::admin::serve(cache, &path, &ctx).await {
                            tracing::warn!("knarr cache finds no socket at {}: {error}", path.display());
                        }
                    });
                }
                Some(cache)
            }
            Err(error) => {
                tracing::error!("nothing is cached: {}", base::error::chain(&error));
                None
            }
        })
    }

    /// Figures for Prometheus; nothing before there is a cache.
    pub(crate) fn figures(&self) -> String {
        self.cache.get().copied().flatten().map_or_else(String::new, |cache| cache.stats().prometheus())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::Verdict;
    use crate::model::{Host, Listener, Match, PathMatch, Rank, Route, Rule, Socket, Source, Split, Tls, Transport};

    fn policy(name: &str, kind: &str, target: &str, section: Option<&str>, min_uses: u8) -> Arc<CachePolicy> {
        let group = if kind == "Ingress" { "networking.k8s.io" } else { "gateway.networking.k8s.io" };
        let target = serde_json::json!({ "group": group, "kind": kind, "name": target, "sectionName": section });
        let metadata =
            serde_json::json!({ "name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z" });
        let spec = serde_json::json!({ "targetRefs": [target], "minUses": min_uses });
        Arc::new(serde_json::from_value(serde_json::json!({ "metadata": metadata, "spec": spec })).unwrap())
    }

    fn route(source: Source) -> Route {
        let key = source.key.clone();
        Route {
            hosts: vec![Host::Any],
            matches: vec![Match::path(PathMatch::Prefix(String::new()))],
            rank: Rank { created: None, key, rule: 0 },
            rule: Arc::new(Rule::new(Arc::new(source), Split::default())),
        }
    }

    #[test]
    fn the_narrowest_policy_counts_and_what_is_wrong_is_told() {
        let source = |kind, name: &str, section: &str| Source::new(kind, Key::new("shop", name), section);
        let routes = vec![
            route(source("HTTPRoute", "web", "images")),
            route(source("HTTPRoute", "web", "1")),
            route(source("HTTPRoute", "other", "0")),
        ];
        let listener = Listener {
            source: Arc::new(source("Gateway", "door", "https")),
            host: Host::Any,
            isolated: true,
            tls: Tls::None,
            serves: Serves::Http(routes),
        };
        let mut model = Model::default();
        model.add(Socket { address: None, port: 80, transport: Transport::Tcp }, listener);
        let cache = Cache::open(&cache::Settings { memory: 0, disk: None }).unwrap();
        let policies = [
            policy("rule", "HTTPRoute", "web", Some("images"), 2),
            policy("route", "HTTPRoute", "web", None, 3),
            policy("listener", "Gateway", "door", Some("https"), 4),
            policy("web-later", "HTTPRoute", "web", None, 5),
            policy("wrong", "Gateway", "door", None, 0),
            policy("lost", "HTTPRoute", "gone", None, 1),
        ];
        let (index, faults) = apply(&mut model, &policies, cache, |_, target| target.name != "gone");
        let rules: Vec<String> = model
            .doors
            .values()
            .flatten()
            .flat_map(|listener| match &listener.serves {
                Serves::Http(routes) => routes.as_slice(),
                Serves::Streams(_) => &[],
            })
            .map(|route| route.rule.cached.as_ref().map_or("none".to_owned(), |cached| format!("{:?}", cached.rules)))
            .collect();
        let uses = |at: usize| rules[at].split("min_uses: ").nth(1).and_then(|rest| rest.chars().next());
        assert_eq!((uses(0), uses(1), uses(2)), (Some('2'), Some('3'), Some('4')), "{rules:#?}");
        let told = |name: &str| index.verdicts()[&Key::new("shop", name)][0].1.clone();
        assert_eq!(told("web-later"), Verdict::Conflicted(Key::new("shop", "route")));
        assert_eq!(told("lost"), Verdict::TargetNotFound);
        assert_eq!(told("wrong"), Verdict::Invalid);
        assert!(faults[&Key::new("shop", "wrong")].contains("spec.minUses: "), "{faults:?}");
    }
}
