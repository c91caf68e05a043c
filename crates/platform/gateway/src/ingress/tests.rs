use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use super::*;
use crate::backend::{Registry, endpoints};
use crate::model::{Filter, Target};
use crate::table::{Asked, Door};

/// The objects of a small cluster.
#[derive(Default)]
pub(super) struct Cluster {
    ingresses: Vec<Arc<Ingress>>,
    classes: Vec<Arc<IngressClass>>,
    services: HashMap<Key, Arc<Service>>,
    slices: HashMap<Key, Vec<Arc<EndpointSlice>>>,
    registry: Registry,
}

/// What became of it.
struct Built {
    http: Door,
    https: Door,
    outcome: Outcome,
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
        self.annotated(name, age, &[], rules);
    }

    /// The same, with annotations of ingress-nginx.
    fn annotated(&mut self, name: &str, age: u32, annotations: &[(&str, &str)], rules: &[(&str, &str, &str, &str)]) {
        self.add(name, age, annotations, json!({ "ingressClassName": "knarr", "rules": Self::rules(rules) }));
    }

    fn rules(rules: &[(&str, &str, &str, &str)]) -> Vec<Value> {
        let rule = |(host, kind, path, service): &(&str, &str, &str, &str)| {
            let backend = json!({ "service": { "name": service, "port": { "number": 80 } } });
            json!({ "host": host, "http": { "paths": [{ "path": path, "pathType": kind, "backend": backend }] } })
        };
        rules.iter().map(rule).collect()
    }

    fn add(&mut self, name: &str, age: u32, annotations: &[(&str, &str)], spec: Value) {
        let full = |(name, value): &(&str, &str)| (format!("{}{name}", annotations::PREFIX), json!(value));
        let annotations: serde_json::Map<String, Value> = annotations.iter().map(full).collect();
        self.ingresses.push(object(json!({ "spec": spec, "metadata": {
            "name": name, "namespace": "default", "annotations": annotations,
            "creationTimestamp": format!("2026-01-01T00:00:{age:02}Z") } })));
    }

    fn build(&self) -> Built {
        let service = |key: &Key| self.services.get(key).cloned();
        let endpoints = |key: &Key, port: &Port| {
            self.registry.of(key, port, Transport::Tcp, || {
                let slices = self.slices.get(key).cloned().unwrap_or_default();
                endpoints(service(key).as_deref(), port, Transport::Tcp, &slices)
            })
        };
        let broken = Certificate { good: None, fault: Some("it has no tls.key".to_owned()) };
        let mut model = Model::default();
        let outcome = translate(
            &World {
                ingresses: &self.ingresses,
                classes: &self.classes,
                class: "knarr",
                ports: (80, 443),
                service: &service,
                endpoints: &endpoints,
                certificate: &|key| (key.name == "broken").then(|| broken.clone()),
                secret: &|_, _| None,
                guard: &|key, _| Err(format!("{key} has no guard")),
            },
            &mut model,
        );
        let door = |port| Door::build(&model.doors[&Socket { address: None, port, transport: Transport::Tcp }]);
        Built { http: door(80), https: door(443), outcome }
    }
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn name(target: &Target) -> String {
    match target {
        Target::Backend(backend) => backend.endpoints.service.name.clone(),
        Target::Nobody(status, _) => status.to_string(),
    }
}

/// Who serves `url`: a service, `-> PLACE` for a redirect, a status, or `-`.
fn served(door: &Door, url: &str) -> String {
    let (host, path) = url.split_at(url.find('/').unwrap());
    let headers = http::HeaderMap::new();
    let asked = Asked { path, query: "", method: &http::Method::GET, headers: &headers };
    let Ok(found) = door.find(&crate::model::canonical(host), None, &asked) else { return "-".to_owned() };
    for filter in &found.rule.filters {
        match filter {
            Filter::Redirect(to) => return format!("-> {} {:?}", to.status.as_u16(), to.scheme),
            Filter::Answer(status, _) => return status.as_u16().to_string(),
            _ => {}
        }
    }
    found.rule.split.pick(&headers, 0).map_or("nobody".to_owned(), |(_, share)| name(&share.target))
}

fn check(cluster: &Cluster, expected: &[(&str, &str)]) {
    let built = cluster.build();
    for (url, service) in expected {
        assert_eq!(served(&built.http, url), *service, "{url}");
    }
}

fn told(built: &Built) -> Vec<String> {
    built.outcome.faults.iter().map(ToString::to_string).collect()
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
    assert_eq!(
        told(&cluster.build()),
        ["default/younger: path \"/\" of host \"a.com\" is served by Ingress default/older"]
    );
}

#[test]
fn what_no_rule_matches_goes_to_the_default_backend() {
    let mut cluster = Cluster::new();
    let backend = |name: &str| json!({ "service": { "name": name, "port": { "name": "http" } } });
    let rules = json!([{ "host": "a.com", "http": { "paths": [{ "path": "/x", "pathType": "Prefix", "backend": backend("x") }] } }]);
    cluster.add("a", 0, &[], json!({ "ingressClassName": "knarr", "defaultBackend": backend("own"), "rules": rules }));
    cluster.add("b", 1, &[], json!({ "ingressClassName": "knarr", "defaultBackend": backend("all") }));
    check(&cluster, &[("a.com/x", "x"), ("a.com/y", "own"), ("b.com/x", "all")]);
}

#[test]
fn a_rule_for_the_root_is_not_the_default_backends() {
    let mut cluster = Cluster::new();
    cluster.add(
        "b",
        0,
        &[],
        json!({ "ingressClassName": "knarr",
        "defaultBackend": { "service": { "name": "all", "port": { "number": 80 } } } }),
    );
    cluster.ingress("a", 1, &[("", "Prefix", "/", "root"), ("", "Prefix", "/x", "x")]);
    check(&cluster, &[("b.com/y", "root"), ("b.com/x", "x")]);
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
fn a_host_with_tls_is_sent_on_to_https_unless_its_ingress_says_no() {
    let mut cluster = Cluster::new();
    let tls = json!([{ "hosts": ["a.com", "*.b.com"], "secretName": "broken" }]);
    let rules = Cluster::rules(&[("a.com", "Prefix", "/", "web"), ("c.com", "Prefix", "/", "web")]);
    cluster.add("a", 0, &[], json!({ "ingressClassName": "knarr", "tls": tls, "rules": rules }));
    let rules = [("x.b.com", "Prefix", "/", "web")];
    cluster.annotated("b", 1, &[("ssl-redirect", "false")], &rules);
    cluster.annotated("d", 2, &[("force-ssl-redirect", "true")], &[("d.com", "Prefix", "/", "web")]);
    check(
        &cluster,
        &[
            ("a.com/", "-> 308 Some(\"https\")"),
            ("c.com/", "web"),
            ("x.b.com/", "web"),
            ("d.com/", "-> 308 Some(\"https\")"),
        ],
    );
    let built = cluster.build();
    assert_eq!(served(&built.https, "a.com/"), "web");
    assert_eq!(told(&built), ["default/a: Secret broken cannot be used for TLS: it has no tls.key"]);
}

#[test]
fn a_spoiled_secret_serves_on_with_what_it_held_before() {
    let request = pki::Request {
        common_name: "a.com".to_owned(),
        organization: None,
        names: vec!["a.com".to_owned()],
        usage: pki::Usage::Server,
        lifetime: std::time::Duration::from_secs(60),
    };
    let pair = pki::Authority::generate("test").unwrap().issue(&request).unwrap();
    let good = crate::certificates::parse(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes()).unwrap();
    let first = Certificate::after(None, Ok(Arc::clone(&good)));
    let spoiled = Certificate::after(Some(&first), Err("no key".to_owned()));
    assert!(Arc::ptr_eq(spoiled.good.as_ref().unwrap(), &good) && spoiled.fault.is_some());
    assert!(Certificate::after(Some(&spoiled), Ok(good)).fault.is_none());
    assert!(Certificate::after(None, Err("no key".to_owned())).good.is_none());
}

#[test]
fn a_canary_takes_its_part_of_the_same_path_only() {
    let mut cluster = Cluster::new();
    cluster.ingress("main", 5, &[("a.com", "Prefix", "/", "main")]);
    let canary = [("canary", "true"), ("canary-by-header", "X-Canary"), ("canary-weight", "30")];
    cluster.annotated("canary", 0, &canary, &[("a.com", "Prefix", "/", "new"), ("b.com", "Prefix", "/", "new")]);
    let built = cluster.build();
    assert_eq!(told(&built), ["default/canary: it is a canary, and no other Ingress serves path \"/\" of host b.com"]);
    let headers = http::HeaderMap::new();
    let asked = Asked { path: "/", query: "", method: &http::Method::GET, headers: &headers };
    let found = built.http.find("a.com", None, &asked).unwrap();
    let pick = |random: u32| name(&found.rule.split.pick(&headers, random).unwrap().1.target);
    assert_eq!((pick(0), pick(u32::MAX)), ("main".to_owned(), "new".to_owned()));
    let canaries = (0..1000).filter(|step| pick(step * (u32::MAX / 1000)) == "new").count();
    assert!((295..=305).contains(&canaries), "{canaries}");
}

#[test]
fn what_could_open_a_door_closes_its_routes_and_may_be_let_go_of() {
    let mut cluster = Cluster::new();
    let rule = |host| [(host, "Prefix", "/", "web")];
    cluster.annotated("snippet", 0, &[("configuration-snippet", "deny all;")], &rule("a.com"));
    cluster.annotated("range", 1, &[("whitelist-source-range", "10.0.0.0/8, nonsense")], &rule("b.com"));
    cluster.annotated("size", 2, &[("proxy-body-size", "big")], &rule("c.com"));
    cluster.annotated("unknown", 3, &[("proxy-bodysize", "1m")], &rule("d.com"));
    cluster.annotated("let-go", 4, &[("server-snippet", "x")], &rule("e.com"));
    let last = Arc::make_mut(cluster.ingresses.last_mut().unwrap());
    let annotations = last.metadata.annotations.as_mut().unwrap();
    annotations.insert(annotations::WITHOUT.to_owned(), "configuration-snippet, server-snippet".to_owned());
    check(&cluster, &[("a.com/", "503"), ("b.com/", "503"), ("c.com/", "web"), ("d.com/", "web"), ("e.com/", "web")]);
    let reasons: Vec<(String, &str)> =
        cluster.build().outcome.faults.iter().map(|fault| (fault.ingress.name.clone(), fault.reason)).collect();
    let expected = [
        ("let-go", "BadAnnotation"),
        ("range", "Closed"),
        ("size", "BadAnnotation"),
        ("snippet", "Closed"),
        ("unknown", "BadAnnotation"),
    ];
    assert_eq!(reasons, expected.map(|(name, reason)| (name.to_owned(), reason)));
}

#[test]
fn a_rewrite_with_groups_makes_a_pattern_of_its_path() {
    let mut cluster = Cluster::new();
    let path = [("a.com", "ImplementationSpecific", "/api(/|$)(.*)", "web"), ("a.com", "Prefix", "/", "root")];
    cluster.annotated("a", 0, &[("rewrite-target", "/$2")], &path);
    let built = cluster.build();
    let headers = http::HeaderMap::new();
    let rewritten = |path: &str| {
        let asked = Asked { path, query: "", method: &http::Method::GET, headers: &headers };
        let found = built.http.find("a.com", None, &asked).unwrap();
        found.rule.filters.iter().find_map(|filter| match filter {
            Filter::Rewrite(rewrite) => Some(rewrite.path.as_ref()?.apply(path, found.matched)),
            _ => None,
        })
    };
    assert_eq!(rewritten("/api/v1/users").as_deref(), Some("/v1/users"));
    assert_eq!(rewritten("/api").as_deref(), Some("/"));
    assert_eq!(served(&built.http, "a.com/apix"), "root");
}

#[test]
fn every_annotation_of_ingress_nginx_has_one_row() {
    let of_identity = identity::ingress::ANNOTATIONS.iter().map(|(name, _)| *name);
    let mut names: Vec<&str> = annotations::ROWS.iter().map(|row| row.name).chain(of_identity).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "two rows have one name");
    assert!(count > 120, "ingress-nginx has more annotations than {count}");
}

#[test]
fn the_check_tells_of_each_annotation_what_becomes_of_it() {
    let mut cluster = Cluster::new();
    let annotations = [
        ("rewrite-target", "/"),
        ("proxy-buffering", "on"),
        ("server-snippet", "x"),
        ("custom-http-errors", "404"),
        ("limit-rps", "many"),
        ("nonsense", "x"),
    ];
    cluster.annotated("a", 0, &annotations, &[("a.com", "Prefix", "/", "web")]);
    let found: Vec<(String, check::Verdict)> =
        check::check(&cluster.ingresses[0]).into_iter().map(|f| (f.annotation, f.verdict)).collect();
    use check::Verdict::{Closed, Honoured, Ignored, Refused};
    let expected = [
        ("custom-http-errors", Refused),
        ("limit-rps", Refused),
        ("nonsense", Ignored),
        ("proxy-buffering", Ignored),
        ("rewrite-target", Honoured),
        ("server-snippet", Closed),
    ];
    assert_eq!(found, expected.map(|(name, verdict)| (format!("{}{name}", annotations::PREFIX), verdict)));
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
        prop_assert_eq!(served(&cluster.build().http, &format!("{host}{path}")), expected);
    }
}
