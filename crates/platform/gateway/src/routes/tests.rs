use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

/// The objects of a small cluster.
#[derive(Default)]
struct Cluster {
    ingresses: Vec<Arc<Ingress>>,
    classes: Vec<Arc<IngressClass>>,
    services: HashMap<Key, Arc<Service>>,
    slices: HashMap<Key, Vec<Arc<EndpointSlice>>>,
}

impl Cluster {
    /// Our class, and a service `default/web` with port 80 (named http) on two pods.
    fn new() -> Self {
        let mut cluster = Self::default();
        cluster.class("knarr", CONTROLLER, false);
        cluster.service("web", &["10.42.0.5", "10.42.0.6"]);
        cluster
    }

    fn class(&mut self, name: &str, controller: &str, default: bool) {
        let annotations = json!({ "ingressclass.kubernetes.io/is-default-class": default.to_string() });
        self.classes.push(object(json!({
            "metadata": { "name": name, "annotations": annotations }, "spec": { "controller": controller } })));
    }

    fn service(&mut self, name: &str, addresses: &[&str]) {
        let endpoints: Vec<Value> =
            addresses.iter().map(|ip| json!({ "addresses": [ip], "conditions": { "ready": true } })).collect();
        let slice = json!({ "addressType": "IPv4", "metadata": {}, "ports": [{ "name": "http", "port": 8080 }],
            "endpoints": endpoints });
        let service = json!({ "spec": { "ports": [{ "name": "http", "port": 80 }] } });
        self.services.insert(Key::new("default", name), object(service));
        self.slices.insert(Key::new("default", name), vec![object(slice)]);
    }

    /// Adds an Ingress made at second `age`, with rules `(host, type, path, service)`.
    fn ingress(&mut self, name: &str, age: u32, rules: &[(&str, &str, &str, &str)]) {
        let rules: Vec<Value> = rules
            .iter()
            .map(|(host, kind, path, service)| {
                let backend = json!({ "service": { "name": service, "port": { "number": 80 } } });
                json!({ "host": host, "http": { "paths": [{ "path": path, "pathType": kind, "backend": backend }] } })
            })
            .collect();
        self.add(name, age, json!({ "ingressClassName": "knarr", "rules": rules }));
    }

    fn add(&mut self, name: &str, age: u32, spec: Value) {
        self.ingresses.push(object(json!({ "spec": spec, "metadata": {
            "name": name, "namespace": "default", "creationTimestamp": format!("2026-01-01T00:00:{age:02}Z") } })));
    }

    fn build(&self) -> Table {
        build(&World {
            ingresses: &self.ingresses,
            classes: &self.classes,
            class: "knarr",
            service: &|key| self.services.get(key).cloned(),
            slices: &|key| self.slices.get(key).cloned().unwrap_or_default(),
            certificate: &|key| (key.name == "broken").then(|| Err("it has no tls.key".to_owned())),
        })
    }
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn served(table: &Table, url: &str) -> String {
    let (host, path) = url.split_at(url.find('/').unwrap());
    table.find(host, path).map_or("-".to_owned(), |route| route.backend.service.name.clone())
}

fn check(cluster: &Cluster, expected: &[(&str, &str)]) {
    let table = cluster.build();
    for (url, service) in expected {
        assert_eq!(served(&table, url), *service, "{url}");
    }
}

#[test]
fn a_prefix_matches_whole_path_elements() {
    let mut cluster = Cluster::new();
    cluster.ingress("a", 0, &[("a.com", "Prefix", "/foo", "foo"), ("a.com", "Prefix", "/foo/bar/", "bar")]);
    check(
        &cluster,
        &[
            ("a.com/foo", "foo"),
            ("a.com/foo/", "foo"),
            ("a.com/foo/x", "foo"),
            ("a.com/foobar", "-"),
            ("a.com/foo/bar", "bar"),
            ("a.com/foo/bar/x", "bar"),
            ("a.com/foo/barx", "foo"),
            ("a.com/", "-"),
        ],
    );
}

#[test]
fn an_exact_path_matches_itself_only_and_wins() {
    let mut cluster = Cluster::new();
    cluster.ingress("a", 0, &[("a.com", "Prefix", "/", "all"), ("a.com", "Exact", "/foo", "one")]);
    check(&cluster, &[("a.com/foo", "one"), ("a.com/foo/", "all"), ("a.com/", "all"), ("a.com/x/y", "all")]);
}

#[test]
fn an_exact_host_wins_over_a_wildcard_over_none() {
    let mut cluster = Cluster::new();
    let rules = [("", "Prefix", "/", "any"), ("*.a.com", "Prefix", "/", "star"), ("x.a.com", "Prefix", "/x", "x")];
    cluster.ingress("a", 0, &rules);
    check(
        &cluster,
        &[
            ("x.a.com/x", "x"),
            ("X.A.com.:8443/x", "x"),
            ("x.a.com/y", "star"),
            ("y.a.com/", "star"),
            ("y.z.a.com/", "any"),
            ("a.com/", "any"),
        ],
    );
}

#[test]
fn the_oldest_ingress_keeps_a_path_and_the_other_is_told() {
    let mut cluster = Cluster::new();
    cluster.ingress("younger", 9, &[("a.com", "Prefix", "/", "late")]);
    cluster.ingress("older", 1, &[("a.com", "ImplementationSpecific", "/", "early")]);
    check(&cluster, &[("a.com/", "early")]);
    let told: Vec<String> = cluster.build().faults.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["default/younger: path \"/\" of host \"a.com\" is served by Ingress default/older"]);
}

#[test]
fn what_no_rule_matches_goes_to_the_default_backend() {
    let mut cluster = Cluster::new();
    let backend = |name: &str| json!({ "service": { "name": name, "port": { "name": "http" } } });
    let rules = json!([{ "host": "a.com", "http": { "paths": [{ "path": "/x", "pathType": "Prefix", "backend": backend("x") }] } }]);
    cluster.add("a", 0, json!({ "ingressClassName": "knarr", "defaultBackend": backend("own"), "rules": rules }));
    cluster.add("b", 1, json!({ "ingressClassName": "knarr", "defaultBackend": backend("all") }));
    check(&cluster, &[("a.com/x", "x"), ("a.com/y", "own"), ("b.com/x", "all")]);
}

#[test]
fn only_ingresses_of_our_class_are_served() {
    let class = |metadata: Value, spec: Value| -> Ingress {
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
    };
    let named = class(json!({}), json!({ "ingressClassName": "knarr" }));
    let other = class(json!({}), json!({ "ingressClassName": "nginx" }));
    let unknown = class(json!({}), json!({ "ingressClassName": "nobody" }));
    let none = class(json!({}), json!({}));
    let old = class(json!({ "annotations": { "kubernetes.io/ingress.class": "knarr" } }), json!({}));

    let mut cluster = Cluster::new();
    cluster.class("nginx", "k8s.io/ingress-nginx", true);
    let told = |cluster: &Cluster| {
        [&named, &other, &unknown, &none, &old].map(|ingress| is_ours(ingress, &cluster.classes, "knarr"))
    };
    assert_eq!(told(&cluster), [true, false, false, false, true]);
    cluster.class("ours", CONTROLLER, true);
    assert_eq!(told(&cluster), [true, false, false, true, true]);
    cluster.classes.clear();
    assert_eq!(told(&cluster), [false, false, false, false, true]);
}

#[test]
fn a_backend_follows_its_service_without_a_new_table() {
    let mut cluster = Cluster::new();
    cluster.ingress("a", 0, &[("a.com", "Prefix", "/", "web")]);
    let table = cluster.build();
    let backend = Arc::clone(&table.find("a.com", "/").unwrap().backend);
    let turns: Vec<String> = (0..3).map(|_| backend.pick(|_| false).unwrap().to_string()).collect();
    assert_eq!(turns, ["10.42.0.5:8080", "10.42.0.6:8080", "10.42.0.5:8080"]);

    cluster.service("web", &["10.42.0.9"]);
    let key = Key::new("default", "web");
    table.refresh(&key, cluster.services.get(&key).map(|service| &**service), &cluster.slices[&key]);
    assert_eq!(backend.pick(|_| false).unwrap().to_string(), "10.42.0.9:8080");
    table.refresh(&key, None, &cluster.slices[&key]);
    assert!(backend.is_empty() && backend.pick(|_| false).is_none());
}

#[test]
fn an_address_to_be_avoided_is_taken_only_when_there_is_no_other() {
    let addresses: Vec<std::net::SocketAddr> = vec!["10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap()];
    let backend = Backend::new(Key::new("default", "web"), Port::Number(80), addresses.clone());
    assert!((0..4).all(|_| backend.pick(|address| *address == addresses[0]) == Some(addresses[1])));
    assert!(backend.pick(|_| true).is_some());
}

#[test]
fn pods_that_end_serve_only_while_no_other_is_ready() {
    let service: Arc<Service> = object(json!({ "spec": { "ports": [{ "port": 80 }] } }));
    let slice = |ready: bool| -> Arc<EndpointSlice> {
        object(json!({ "addressType": "IPv4", "metadata": {}, "ports": [{ "port": 8080 }], "endpoints": [
            { "addresses": ["10.0.0.1"], "conditions": { "ready": ready } },
            { "addresses": ["10.0.0.2"], "conditions": { "ready": false, "serving": true, "terminating": true } } ] }))
    };
    let told = |ready: bool| {
        let found = endpoints(Some(&service), &Port::Number(80), &[slice(ready)]);
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(told(true), ["10.0.0.1:8080"]);
    assert_eq!(told(false), ["10.0.0.2:8080"]);
    assert!(endpoints(Some(&service), &Port::Number(81), &[slice(true)]).is_empty());
}

#[test]
fn a_broken_certificate_is_told_and_its_host_still_has_tls() {
    let mut cluster = Cluster::new();
    let tls = json!([{ "hosts": ["a.com", "*.b.com"], "secretName": "broken" }]);
    cluster.add("a", 0, json!({ "ingressClassName": "knarr", "tls": tls }));
    let table = cluster.build();
    assert!(table.has_tls("A.com:443") && table.has_tls("x.b.com") && !table.has_tls("b.com"));
    assert!(table.certificate("a.com").is_none());
    let told: Vec<&str> = table.faults.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(told, ["Secret broken cannot be used for TLS: it has no tls.key"]);
}

/// One rule of the naive model.
type Rule = (&'static str, bool, String);

/// How well a rule fits: host, then path length, then exactness, then age. None when it does not.
fn fit(rule: &Rule, position: usize, host: &str, path: &str) -> Option<(u8, usize, bool, std::cmp::Reverse<usize>)> {
    let (pattern, exact, asked) = rule;
    let by_host = match pattern.strip_prefix("*.") {
        _ if pattern.is_empty() => 0,
        Some(parent) => u8::from(host.split_once('.').is_some_and(|(_, rest)| rest == parent)),
        None => 2 * u8::from(*pattern == host),
    };
    if !pattern.is_empty() && by_host == 0 {
        return None;
    }
    let elements = |path: &str| path.trim_end_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>();
    let by_path = if *exact { path == asked } else { elements(path).starts_with(&elements(asked)) };
    let length = if *exact { asked.len() } else { asked.trim_end_matches('/').len() };
    by_path.then_some((by_host, length, *exact, std::cmp::Reverse(position)))
}

fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", ""]), 0..4)
        .prop_map(|elements| format!("/{}", elements.join("/")))
}

proptest! {
    #[test]
    fn a_lookup_finds_the_most_specific_rule(
        rules in prop::collection::vec(
            (prop::sample::select(vec!["", "*.a.com", "x.a.com", "a.com"]), any::<bool>(), paths()), 0..12),
        host in prop::sample::select(vec!["x.a.com", "y.a.com", "a.com", "y.x.a.com", "b.com"]),
        path in paths(),
    ) {
        let mut cluster = Cluster::new();
        for (position, (host, exact, asked)) in rules.iter().enumerate() {
            let kind = if *exact { "Exact" } else { "Prefix" };
            let age = u32::try_from(position).unwrap();
            cluster.ingress(&format!("i{position}"), age, &[(host, kind, asked, &format!("s{position}"))]);
        }
        let fits = rules.iter().enumerate().filter_map(|(at, rule)| Some((fit(rule, at, host, &path)?, at)));
        let expected = fits.max().map_or("-".to_owned(), |(_, at)| format!("s{at}"));
        prop_assert_eq!(served(&cluster.build(), &format!("{host}{path}")), expected);
    }
}
