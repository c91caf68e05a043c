//! From written policies to what is in force for services and rules, and what policies are told.

use std::time::Duration;

use super::*;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;

use crate::clock::Time;
use crate::model::*;

fn policy(name: &str, second: i64, spec: Value) -> Arc<TrafficPolicy> {
    let created = jiff::Timestamp::from_second(second).expect("a time").to_string();
    let object = json!({
        "apiVersion": "gateway.knarr.dev/v1alpha1", "kind": "TrafficPolicy",
        "metadata": { "name": name, "namespace": "shop", "generation": 3, "creationTimestamp": created },
        "spec": spec,
    });
    Arc::new(serde_json::from_value(object).expect("a policy"))
}

fn route(name: &str) -> Value {
    json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name })
}

/// A model with one rule of an HTTPRoute `web` behind the listener `http` of the Gateway `door`.
fn model(limits: super::super::model::Limits) -> Model {
    let source = Arc::new(Source::new("HTTPRoute", Key::new("shop", "web"), "all"));
    let mut rule = Rule::new(source, Split::default());
    rule.limits = limits;
    let route = Route {
        hosts: vec![Host::Any],
        matches: vec![Match::path(PathMatch::Prefix(String::new()))],
        rank: Rank { created: None, key: Key::new("shop", "web"), rule: 0 },
        rule: Arc::new(rule),
    };
    let mut model = Model::default();
    let listener = Listener {
        source: Arc::new(Source::new("Gateway", Key::new("shop", "door"), "http")),
        host: Host::Any,
        isolated: true,
        tls: Tls::None,
        serves: Serves::Http(vec![route]),
    };
    model.add(Socket { address: None, port: 80, transport: Transport::Tcp }, listener);
    model
}

fn rule(model: &Model) -> Arc<Rule> {
    let listener = model.doors.values().flatten().next().expect("a listener");
    let Serves::Http(routes) = &listener.serves else { panic!("it serves HTTP") };
    Arc::clone(&routes[0].rule)
}

fn decide(state: &mut State, policies: &[Arc<TrafficPolicy>], model: &mut Model) -> HashMap<Key, Arc<ServiceSettings>> {
    let nets = |_: &str, set: &NetsRef| Err(format!("there is no ConfigMap {}", set.name));
    state.decide(policies, model, &nets, &|_, target| target.name != "gone")
}

#[test]
fn each_part_is_of_the_most_specific_policy_that_has_it() {
    let gateway = json!({ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "door" });
    let policies = [
        policy(
            "everywhere",
            1,
            json!({ "targetRefs": [gateway], "timeouts": { "request": "1s" }, "retry": { "attempts": 5 } }),
        ),
        policy("web", 2, json!({ "targetRefs": [route("web")], "timeouts": { "request": "9s" } })),
        policy("other", 3, json!({ "targetRefs": [route("other")], "limits": { "requests": 1 } })),
        policy(
            "db",
            4,
            json!({ "targetRefs": [{ "kind": "Service", "name": "db" }], "balance": { "algorithm": "Random" } }),
        ),
    ];
    let mut model = model(Limits::default());
    let services = decide(&mut State::default(), &policies, &mut model);
    let traffic = &rule(&model).traffic;
    let request = traffic.part(|policy| policy.timeouts).and_then(|timeouts| timeouts.request);
    assert_eq!(request, Some(Duration::from_secs(9)));
    assert_eq!(traffic.part(|policy| policy.retry.as_ref()).map(|retry| retry.retries), Some(5));
    assert!(traffic.part(|policy| policy.places.as_ref()).is_none());
    let db = &services[&Key::new("shop", "db")];
    assert_eq!(db.policy.algorithm, crate::balance::Algorithm::Random);
    assert_eq!(services.len(), 1);
}

#[test]
fn limits_count_on_when_routes_change_and_begin_anew_when_they_change_themselves() {
    let limited = |requests: u32| {
        policy(
            "web",
            1,
            json!({ "targetRefs": [route("web")], "rateLimits": [{ "name": "all", "requests": requests, "per": "1h" }] }),
        )
    };
    let asked = Limits {
        rate: Some(Rate { requests: 1, per: Duration::from_secs(60), burst: 1 }),
        at_once: Some(2),
        ..Limits::default()
    };
    let mut state = State::default();
    let mut left = |requests: Option<u32>, asked: &Limits| {
        let mut model = model(asked.clone());
        let policies: Vec<_> = requests.map(limited).into_iter().collect();
        decide(&mut state, &policies, &mut model);
        let rule = rule(&model);
        let limits = rule.traffic.part(|policy| policy.limits.as_ref()).expect("limits");
        let now = Time(1 << 50);
        match &limits[0].per {
            Per::All(cell) => cell.take(&limits[0].rate, now).ok().map(|left| left.requests),
            Per::Client(clients) => {
                let (own, network) = limit::client_key(IpAddr::V4(Ipv4Addr::LOCALHOST));
                clients.take(&own, &network, now).ok().map(|left| left.requests)
            }
            Per::Header(..) => panic!("not by header"),
        }
    };
    let none = Limits::default();
    assert_eq!((left(Some(3), &none), left(Some(3), &none)), (Some(2), Some(1)));
    assert_eq!(left(Some(5), &none), Some(4));
    assert_eq!((left(None, &asked), left(None, &asked)), (Some(0), None), "annotations count on, too");
    assert_eq!(left(Some(7), &asked), Some(6), "a policy says more than an annotation");
}

#[test]
fn a_policy_is_told_what_became_of_it_once() {
    let bad = json!({ "targetRefs": [route("web")], "balance": {} });
    let fine = json!({ "targetRefs": [route("web"), route("gone")], "limits": { "requests": 1 } });
    let policies = [policy("bad", 1, bad), policy("old", 2, fine.clone()), policy("young", 3, fine)];
    let mut state = State::default();
    decide(&mut state, &policies, &mut model(Limits::default()));
    let now = jiff::Timestamp::from_second(1_000_000_000).expect("a time");
    let told = |policy: &TrafficPolicy, now| {
        let name = key(policy);
        watched::plan(policy, &state.index.verdicts()[&name], &state.wrong(&name).unwrap_or_default(), now)
    };
    let mut lines = Vec::new();
    for policy in &policies {
        let patch = told(policy, now).expect("news");
        for ancestor in patch["status"]["ancestors"].as_array().expect("a list") {
            let condition = &ancestor["conditions"][0];
            lines.push(format!(
                "{} {} {} {}",
                policy.name_any(),
                ancestor["ancestorRef"]["name"],
                condition["reason"],
                condition["message"]
            ));
        }
        let mut again = TrafficPolicy::clone(policy);
        again.status = serde_json::from_value(patch["status"].clone()).expect("a status");
        assert_eq!(told(&again, now), None, "planning again after applying yields nothing");
        let later = jiff::Timestamp::from_second(2_000_000_000).expect("a time");
        assert_eq!(told(&again, later), None, "the time alone is no news");
    }
    assert_eq!(
        lines,
        [
            r#"bad "web" "Invalid" "spec.balance: this is for Services; make another policy for it, or take the Gateways, routes and Ingresses out of spec.targetRefs""#,
            r#"old "web" "Accepted" "the policy is in force""#,
            r#"old "gone" "TargetNotFound" "there is no such object, or it has no such section""#,
            r#"young "web" "Conflicted" "the older TrafficPolicy shop/old is in force there""#,
            r#"young "gone" "TargetNotFound" "there is no such object, or it has no such section""#,
        ]
    );
}
