//! Policies as people write them: what they mean, and what is told of those that contradict themselves.

use super::compile::{Compiled, Fault, compile, duration};
use super::*;
use std::sync::Arc;
use std::time::Duration;

use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use crate::balance;
use crate::rules::Nets;

fn read(spec: Value) -> Result<Compiled, Vec<String>> {
    let spec: TrafficPolicySpec = serde_json::from_value(spec).expect("as the schema allows");
    let nets = |set: &NetsRef| match set.name.as_str() {
        "office" => Ok(Arc::new(Nets::parse("192.0.2.0/24").unwrap())),
        name => Err(format!("there is no ConfigMap {name}")),
    };
    compile(&spec, &nets).map_err(|faults| faults.iter().map(Fault::to_string).collect())
}

fn services(parts: Value) -> Value {
    with(parts, json!({ "kind": "Service", "name": "web" }))
}

fn requests(parts: Value) -> Value {
    with(parts, json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "web" }))
}

fn with(mut parts: Value, target: Value) -> Value {
    parts["targetRefs"] = json!([target]);
    parts
}

#[test]
fn durations_are_written_as_gep_2257_says() {
    let table = [
        ("1h2m3s4ms", Some(Duration::from_millis(3_723_004))),
        ("0s", Some(Duration::ZERO)),
        ("99999h", Some(Duration::from_secs(99_999 * 3600))),
        ("1s1s1s1s", Some(Duration::from_secs(4))),
        ("1s1s1s1s1s", None),
        ("100000s", None),
        ("", None),
        ("5", None),
        ("s", None),
        ("1.5s", None),
        ("-1s", None),
        ("1us", None),
    ];
    for (text, expected) in table {
        assert_eq!(duration(text), expected, "{text:?}");
    }
}

#[test]
fn a_policy_for_services_says_how_endpoints_are_used() {
    let compiled = read(services(json!({
        "balance": { "algorithm": "RingHash", "hashOn": { "source": "Cookie", "name": "sid" }, "panicPercent": 30 },
        "health": { "http": { "path": "/healthz", "statuses": [200, 204] }, "interval": "5s", "port": 9090 },
        "outlier": { "serverErrors": 3, "base": "10s" },
        "circuit": { "requests": 100 },
        "retryBudget": { "percent": 10 },
        "proxyProtocol": "V2",
    })))
    .expect("no fault");
    let service = compiled.service.expect("for services");
    let policy = &service.policy;
    assert_eq!(policy.algorithm, balance::Algorithm::RingHash(balance::Source::Cookie("sid".to_owned())));
    assert_eq!((policy.panic_percent, policy.prefer_zone), (30, true));
    let check = policy.health.as_ref().expect("a check");
    assert_eq!(
        (check.interval, check.timeout, check.port),
        (Duration::from_secs(5), Duration::from_secs(2), Some(9090))
    );
    assert_eq!((policy.outlier.server_errors, policy.outlier.most_percent), (3, 50));
    assert_eq!((policy.circuit.requests, policy.circuit.pending), (100, u32::MAX));
    assert_eq!((service.budget.percent, service.budget.interval), (10, Duration::from_secs(10)));
    assert_eq!(service.proxy_protocol, Some(ProxyProtocol::V2));
    assert!(compiled.route.is_none());
}

#[test]
fn a_policy_for_requests_says_what_passes() {
    let compiled = read(requests(json!({
        "retry": { "attempts": 2, "statuses": [503], "timeout": true, "perTry": "1s" },
        "rateLimits": [
            { "name": "all", "requests": 1000 },
            { "name": "each", "requests": 10, "per": "1m", "burst": 5, "by": "Client", "status": 503 },
            { "name": "user", "requests": 10, "by": "Header", "header": "x-user" },
        ],
        "limits": { "requestsPerClient": 2 },
        "rules": {
            "sizes": { "bodyBytes": 1000 },
            "rules": [{ "name": "admin", "action": "Deny", "paths": [{ "value": "/admin" }],
                "clientsOutside": { "networks": ["10.0.0.0/8"], "sets": [{ "name": "office" }] } }],
        },
        "compression": { "codings": ["gzip"] },
        "timeouts": { "request": "10s", "read": "0s" },
    })))
    .expect("no fault");
    let route = compiled.route.expect("for requests");
    let retry = route.retry.as_ref().expect("said");
    assert_eq!((retry.retries, retry.per_try), (2, Some(Duration::from_secs(1))));
    let limits = route.limits.as_ref().expect("said");
    assert_eq!((limits[0].rate.burst, limits[1].rate.burst), (1000, 5));
    assert_eq!((limits[0].status.as_u16(), limits[1].status.as_u16()), (429, 503));
    let rules = route.rules.as_ref().expect("said");
    let outside = rules.rules[0].clients_outside.as_ref().expect("said");
    let contains = |address: &str| outside.contains(address.parse().unwrap());
    assert!(contains("10.1.2.3") && contains("192.0.2.9") && !contains("192.0.3.1"));
    assert_eq!(rules.body_limit(), Some(1000));
    assert_eq!(route.compression, Some((3, [Coding::Gzip].into())));
    let timeouts = route.timeouts.expect("said");
    assert_eq!(
        (timeouts.request, timeouts.read, timeouts.send),
        (Some(Duration::from_secs(10)), Some(Duration::ZERO), None)
    );
}

#[test]
fn contradictions_are_told_by_their_field() {
    let table: [(Value, &[&str]); 16] = [
        (services(json!({})), &["spec: the policy says nothing; add a part such as balance or rateLimits"]),
        (
            requests(json!({ "balance": {} })),
            &[
                "spec.balance: this is for Services; make another policy for it, or take the Gateways, routes and Ingresses out of spec.targetRefs",
            ],
        ),
        (
            services(json!({ "timeouts": {} })),
            &[
                "spec.timeouts: this is for Gateways, routes and Ingresses; make another policy for it, or take the Services out of spec.targetRefs",
            ],
        ),
        (
            services(json!({ "balance": { "algorithm": "RingHash", "slowStart": { "window": "1m" } } })),
            &[
                "spec.balance.hashOn: algorithm RingHash needs to know what decides; say its source",
                "spec.balance.slowStart: is not for algorithm RingHash: keys would move while an endpoint grows; take it out",
            ],
        ),
        (
            services(json!({ "balance": { "hashOn": { "source": "Header" } } })),
            &["spec.balance.hashOn: is for algorithm RingHash alone; take it out, or choose that"],
        ),
        (
            services(json!({ "balance": { "algorithm": "RingHash", "hashOn": { "source": "Header" } } })),
            &["spec.balance.hashOn.name: source Header or Cookie needs a name"],
        ),
        (services(json!({ "health": { "tcp": {}, "grpc": {} } })), &["spec.health: say one of http, tcp, grpc"]),
        (
            services(json!({ "health": { "http": { "path": "/a b" }, "interval": "0s" } })),
            &[
                "spec.health.http.path: \"/a b\" is no path; it begins with a slash",
                "spec.health.interval: must be more than nothing",
            ],
        ),
        (
            services(json!({ "outlier": { "base": "1m", "longest": "30s" } })),
            &["spec.outlier.longest: is less than base; make it as long at least"],
        ),
        (
            requests(json!({ "retry": { "timeout": true, "backoff": "soon" } })),
            &[
                "spec.retry.backoff: \"soon\" is no duration; write it like 1h, 30s or 250ms",
                "spec.retry.perTry: timeout needs to know how long a try may take; say it",
            ],
        ),
        (
            requests(
                json!({ "rateLimits": [{ "name": "a", "requests": 1 }, { "name": "a", "requests": 1, "by": "Header" }] }),
            ),
            &[
                "spec.rateLimits[1].name: \"a\" is the name of another limit too",
                "spec.rateLimits[1].header: by: Header needs the name of a header",
            ],
        ),
        (
            requests(json!({ "rateLimits": [{ "name": "a", "requests": 1, "header": "x", "mostClients": 5 }] })),
            &[
                "spec.rateLimits[0].header: is for by: Header alone; take it out, or choose that",
                "spec.rateLimits[0].mostClients: by: All tells no clients apart; take it out",
            ],
        ),
        (
            requests(
                json!({ "rules": { "rules": [{ "name": "a", "action": "Allow", "status": 403, "userAgents": ["("] }] } }),
            ),
            &[
                "spec.rules.rules[0].status: is for action Deny alone; take it out",
                "spec.rules.rules[0].userAgents[0]: \"(\" is no pattern: error: unclosed group",
            ],
        ),
        (
            requests(
                json!({ "rules": { "rules": [{ "name": "a", "action": "Deny", "status": 200, "clients": {} }] } }),
            ),
            &[
                "spec.rules.rules[0].status: 200 is no status of a refusal; choose one of 400 to 599",
                "spec.rules.rules[0].clients: says no network; name some in networks or sets",
            ],
        ),
        (
            requests(json!({ "rules": { "rules": [{ "name": "a", "action": "Deny",
                "clients": { "networks": ["home"], "sets": [{ "name": "land" }] } }] } })),
            &[
                "spec.rules.rules[0].clients.networks[0]: \"home\" is no network; write it like 192.0.2.0/24",
                "spec.rules.rules[0].clients.sets[0]: there is no ConfigMap land",
            ],
        ),
        (
            requests(
                json!({ "rules": { "rules": [{ "name": "a", "action": "Deny", "paths": [{ "value": "admin" }] }] } }),
            ),
            &["spec.rules.rules[0].paths[0].value: \"admin\" is no path; it begins with a slash"],
        ),
    ];
    for (spec, expected) in table {
        assert_eq!(read(spec.clone()).expect_err("a fault"), expected, "{spec}");
    }
}

#[test]
fn the_definition_has_a_schema_that_says_what_is_meant() {
    let definition = serde_json::to_value(TrafficPolicy::crd()).expect("JSON");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let spec = &schema["properties"]["spec"];
    assert_eq!(spec["required"], json!(["targetRefs"]));
    assert_eq!(
        spec["properties"]["balance"]["properties"]["algorithm"]["enum"],
        json!(["RoundRobin", "LeastRequests", "Random", "RingHash"])
    );
    let span = &spec["properties"]["timeouts"]["properties"]["request"];
    assert_eq!(span["pattern"], "^([0-9]{1,5}(h|m|s|ms)){1,4}$", "{span}");
    let target = &spec["properties"]["targetRefs"]["items"]["x-kubernetes-validations"];
    assert_eq!(target.as_array().map(Vec::len), Some(2), "{target}");
    assert!(definition["spec"]["versions"][0]["subresources"]["status"].is_object());
    assert!(!schema.to_string().contains("$ref"), "a structural schema has no references");
}
