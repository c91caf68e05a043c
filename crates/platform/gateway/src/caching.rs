//! Which rules of a model have a cache, by the CachePolicies of a cluster. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Key;
use cache::policy::resource::CachePolicy;
use cache::{Cache, Rules};
use kube::ResourceExt as _;

use crate::attach::{Candidate, Index, Subject, Target, Verdict};
use crate::model::{Cached, Model, Serves};

/// What became of a policy at each of its targets; what is wrong with it in words, when it is.
pub type Outcome = BTreeMap<Key, (Vec<(Target, Verdict)>, Option<String>)>;

/// Gives the rules of `model` the cache that `policies` ask for: a rule's own before its route's, its listener's and its
/// Gateway's. `exists` tells whether a target in a namespace is there.
pub fn apply(
    model: &mut Model,
    policies: &[Arc<CachePolicy>],
    cache: &'static Cache,
    exists: impl Fn(&str, &Target) -> bool,
) -> Outcome {
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
    let verdicts = index.verdicts().iter();
    verdicts.map(|(key, verdicts)| (key.clone(), (verdicts.clone(), faults.remove(key)))).collect()
}

fn candidate(policy: &CachePolicy, faults: &mut BTreeMap<Key, String>) -> Candidate<Rules> {
    let key = Key::new(policy.namespace().unwrap_or_default(), policy.name_any());
    let rules = policy.rules();
    if let Err(wrong) = &rules {
        let wrong: Vec<String> = wrong.iter().map(|fault| format!("spec.{fault}")).collect();
        faults.insert(key.clone(), wrong.join("; "));
    }
    let targets = policy.spec.target_refs.iter().map(|target| Target {
        group: target.group.clone(),
        kind: target.kind.clone(),
        name: target.name.clone(),
        section: target.section_name.clone(),
    });
    Candidate {
        key,
        created: policy.metadata.creation_timestamp.as_ref().map(|time| time.0),
        targets: targets.collect(),
        policy: rules.ok().map(Arc::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            policy("later", "HTTPRoute", "web", None, 5),
            policy("wrong", "Gateway", "door", None, 0),
            policy("lost", "HTTPRoute", "gone", None, 1),
        ];
        let outcome = apply(&mut model, &policies, cache, |_, target| target.name != "gone");
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
        let told = |name: &str| outcome[&Key::new("shop", name)].clone();
        assert_eq!(told("later").0[0].1, Verdict::Conflicted(Key::new("shop", "route")));
        assert_eq!(told("lost").0[0].1, Verdict::TargetNotFound);
        assert_eq!(
            (told("wrong").0[0].1.clone(), told("wrong").1.unwrap().contains("spec.minUses: ")),
            (Verdict::Invalid, true)
        );
    }
}
