//! What is told of objects, as tables: objects in, conditions out.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Key;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::kinds::{Gateway, ParentStatus};
use super::{Pool, SharedPorts, Statuses, World, plan, status};
use crate::backend::{Endpoints, Port};
use crate::certificates;
use crate::ingress::Certificate;
use crate::model::{Filter, Model, Serves, Socket, Target, Transport};

/// A cluster, as manifests.
#[derive(Clone, Debug, Default)]
struct House {
    objects: Vec<Value>,
    pool: Pool,
    unbound: BTreeMap<Socket, String>,
    before: Statuses,
}

impl House {
    fn of(manifest: &str) -> Self {
        let class = "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: knarr, generation: 1 }
spec: { controllerName: knarr.dev/gateway }";
        let all = format!("{class}\n---\n{manifest}");
        let mut objects: Vec<Value> =
            all.split("\n---\n").map(|text| serde_saphyr::from_str(text).expect("a manifest")).collect();
        for (at, object) in objects.iter_mut().enumerate() {
            let metadata = &mut object["metadata"];
            if metadata["namespace"].is_null() {
                metadata["namespace"] = json!("default");
            }
            metadata["generation"] = json!(1);
            metadata["creationTimestamp"] = json!(format!("2026-01-01T00:00:{at:02}Z"));
        }
        Self { objects, ..Self::default() }
    }

    fn all<K: DeserializeOwned>(&self, kind: &str) -> Vec<Arc<K>> {
        let ours = self.objects.iter().filter(|object| object["kind"] == kind);
        ours.map(|object| Arc::new(serde_json::from_value(object.clone()).expect("an object"))).collect()
    }

    fn find(&self, kind: &str, key: &Key) -> Option<&Value> {
        self.objects.iter().find(|object| {
            object["kind"] == kind
                && object["metadata"]["name"] == key.name.as_str()
                && (key.namespace.is_empty() || object["metadata"]["namespace"] == key.namespace.as_str())
        })
    }

    fn plan(&self) -> (Statuses, Model) {
        let mut model = Model::default();
        let pair = pair();
        let world = World {
            classes: &self.all("GatewayClass"),
            gateways: &self.all("Gateway"),
            sets: &self.all("ListenerSet"),
            http: &self.all("HTTPRoute"),
            grpc: &self.all("GRPCRoute"),
            tls: &self.all("TLSRoute"),
            tcp: &self.all("TCPRoute"),
            udp: &self.all("UDPRoute"),
            grants: &self.all("ReferenceGrant"),
            policies: &self.all("BackendTLSPolicy"),
            namespace: &|name| Some(BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), name.to_owned())])),
            service: &|key| {
                let service = self.find("Service", key)?.clone();
                Some(Arc::new(serde_json::from_value::<Service>(service).expect("a service")))
            },
            endpoints: &|key, port: &Port, transport| {
                Arc::new(Endpoints::new(key.clone(), port.clone(), transport, Vec::<std::net::SocketAddr>::new()))
            },
            certificate: &|key| {
                let secret = self.find("Secret", key)?;
                let read = match secret["spoiled"].as_str() {
                    Some(why) => Err(why.to_owned()),
                    None => certificates::parse(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes())
                        .map_err(|error| error.to_string()),
                };
                Some(Certificate::after(None, read))
            },
            guard: &|key, settings| {
                let means = identity::Means::new(tasks::context_for_tests().0.children);
                let guard = identity::Guard::new(&key.to_string(), settings, &|_: &identity::Source| None, &means);
                guard.map(Arc::new).map_err(|faults| faults.to_string())
            },
            secret: &|_, field| {
                Some(if field == "tls.crt" { &pair.cert_pem } else { &pair.key_pem }.clone().into_bytes())
            },
            authorities: &|key| {
                let text = self.find("ConfigMap", key)?["data"]["ca.crt"].as_str()?;
                Some(if text == "good" { pair.cert_pem.as_str().into() } else { text.into() })
            },
            pool: &self.pool,
            before: &self.before,
            shared: &["192.0.2.1".parse().expect("an address")],
            ports: SharedPorts { http: 8080, https: 8443 },
            system: &Arc::from(vec![vec![0]]),
            unbound: &self.unbound,
        };
        let statuses = plan(&world, &mut model);
        (statuses, model)
    }

    /// Writes everything that is to be told, as the API would; how many writes that were.
    fn apply(&mut self, statuses: &Statuses) -> usize {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let patches: Vec<(String, Key, Value)> = self
            .objects
            .iter()
            .filter_map(|object| {
                let kind = object["kind"].as_str()?.to_owned();
                let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
                let key = Key::new(text("namespace"), text("name"));
                let patch = patch(&kind, &key, object, statuses, now)?;
                Some((kind, key, patch))
            })
            .collect();
        let count = patches.len();
        for (kind, key, patch) in patches {
            let object = self.objects.iter_mut().find(|object| {
                object["kind"] == kind.as_str()
                    && object["metadata"]["name"] == key.name.as_str()
                    && object["metadata"]["namespace"] == key.namespace.as_str()
            });
            object.expect("the object")["status"] = patch["status"].clone();
        }
        count
    }

    /// All conditions, a line each: `Kind name [parent or listener]: Type=Status(Reason) ...`.
    fn told(&mut self) -> Vec<String> {
        let (statuses, _) = self.plan();
        self.apply(&statuses);
        let mut lines = Vec::new();
        for object in &self.objects {
            let name = format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]));
            let status = &object["status"];
            if status["conditions"].is_array() {
                lines.push(format!("{name}: {}", conditions(&status["conditions"])));
            }
            for listener in status["listeners"].as_array().into_iter().flatten() {
                let kinds: Vec<String> = listener["supportedKinds"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|kind| text(&kind["kind"]))
                    .collect();
                let (listener_name, attached) = (text(&listener["name"]), &listener["attachedRoutes"]);
                let conditions = conditions(&listener["conditions"]);
                lines.push(format!("{name} {listener_name} [{}] {attached}: {conditions}", kinds.join(",")));
            }
            for part in ["parents", "ancestors"] {
                for parent in status[part].as_array().into_iter().flatten() {
                    let at = if part == "parents" { &parent["parentRef"] } else { &parent["ancestorRef"] };
                    lines.push(format!("{name} at {}: {}", text(&at["name"]), conditions(&parent["conditions"])));
                }
            }
        }
        lines.retain(|line| !line.starts_with("GatewayClass"));
        lines
    }
}

fn patch(kind: &str, key: &Key, object: &Value, statuses: &Statuses, now: Timestamp) -> Option<Value> {
    use super::kinds::{BackendTlsPolicy, GatewayClass, HttpRoute, ListenerSet};
    fn typed<K: DeserializeOwned>(object: &Value) -> K {
        serde_json::from_value(object.clone()).expect("an object")
    }
    match kind {
        "GatewayClass" => status::class_patch(&typed::<GatewayClass>(object), statuses.classes.get(&key.name)?, now),
        "Gateway" => statuses.gateways.get(key)?.patch(&typed::<Gateway>(object), now),
        "ListenerSet" => statuses.sets.get(key)?.patch(&typed::<ListenerSet>(object), now),
        "BackendTLSPolicy" => {
            status::policy_patch(&typed::<BackendTlsPolicy>(object), statuses.policies.get(key)?, now)
        }
        _ => {
            let kinds = [super::RouteKind::Http, super::RouteKind::Grpc, super::RouteKind::Tls, super::RouteKind::Tcp];
            let found = kinds.into_iter().chain([super::RouteKind::Udp]).find(|found| found.name() == kind)?;
            // What statuses have in common is all that counts here.
            let mut route = object.clone();
            route["spec"] = json!({});
            let route: HttpRoute = typed(&route);
            status::route_patch(&route.metadata, &route.status, statuses.routes.get(&(found, key.clone()))?, now)
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn conditions(all: &Value) -> String {
    let one = |condition: &Value| {
        let status = if condition["status"] == "True" { "" } else { "not" };
        let (kind, reason) = (text(&condition["type"]), text(&condition["reason"]));
        if reason == kind || reason == "NoConflicts" {
            format!("{status}{kind}")
        } else {
            format!("{status}{kind}({reason})")
        }
    };
    let all: Vec<String> = all.as_array().into_iter().flatten().map(one).collect();
    all.join(" ").replace(" notConflicted", "")
}

fn pair() -> pki::Pair {
    let request = pki::Request {
        common_name: "a.example".to_owned(),
        organization: None,
        names: vec!["a.example".to_owned()],
        usage: pki::Usage::Server,
        lifetime: std::time::Duration::from_secs(3600),
    };
    pki::Authority::generate("test").and_then(|authority| authority.issue(&request)).expect("a pair")
}

#[track_caller]
fn check(manifest: &str, expected: &[&str]) {
    assert_eq!(House::of(manifest).told(), expected);
}

const SERVICE: &str = "kind: Service
metadata: { name: web }
spec: { ports: [{ port: 80 }] }
---
";

/// A Gateway called `g` with `listeners`.
fn gateway(listeners: &str) -> String {
    format!(
        "kind: Gateway\nmetadata: {{ name: g }}\nspec: {{ gatewayClassName: knarr, listeners: [{listeners}] }}\n---\n"
    )
}

const PLAIN: &str = "{ name: http, port: 80, protocol: HTTP }";

#[test]
fn a_route_attaches_and_leads_to_its_service() {
    let route = "kind: HTTPRoute
metadata: { name: r }
spec: { parentRefs: [{ name: g }], rules: [{ backendRefs: [{ name: web, port: 80 }] }] }";
    check(
        &format!("{SERVICE}{}{route}", gateway(PLAIN)),
        &[
            "Gateway g: Accepted Programmed",
            "Gateway g http [HTTPRoute,GRPCRoute] 1: Accepted Programmed ResolvedRefs",
            "HTTPRoute r at g: Accepted ResolvedRefs",
        ],
    );
}

#[test]
fn a_route_is_told_why_no_listener_takes_it() {
    let listeners = "{ name: a, port: 80, protocol: HTTP, hostname: a.example },
        { name: t, port: 90, protocol: TCP }";
    for (route, expected) in [
        ("parentRefs: [{ name: g, sectionName: b }]", "notAccepted(NoMatchingParent)"),
        ("parentRefs: [{ name: g, port: 81 }]", "notAccepted(NoMatchingParent)"),
        ("parentRefs: [{ name: g, sectionName: t }]", "notAccepted(NotAllowedByListeners)"),
        ("parentRefs: [{ name: g }], hostnames: [b.example]", "notAccepted(NoMatchingListenerHostname)"),
        ("parentRefs: [{ name: g }], hostnames: ['*.example']", "Accepted"),
        ("parentRefs: [{ name: g, sectionName: a, port: 80 }]", "Accepted"),
    ] {
        let route = format!("kind: HTTPRoute\nmetadata: {{ name: r }}\nspec: {{ {route} }}");
        let told = House::of(&format!("{}{route}", gateway(listeners))).told();
        assert_eq!(
            told.last().map(String::as_str),
            Some(&*format!("HTTPRoute r at g: {expected} ResolvedRefs")),
            "{route}"
        );
    }
}

#[test]
fn routes_of_other_namespaces_need_leave() {
    for (allowed, expected) in [
        ("", "notAccepted(NotAllowedByListeners)"),
        ("namespaces: { from: Same }", "notAccepted(NotAllowedByListeners)"),
        ("namespaces: { from: All }", "Accepted"),
        (
            "namespaces: { from: Selector, selector: { matchLabels: { kubernetes.io/metadata.name: other } } }",
            "Accepted",
        ),
        (
            "namespaces: { from: Selector, selector: { matchLabels: { kubernetes.io/metadata.name: x } } }",
            "notAccepted(NotAllowedByListeners)",
        ),
        ("namespaces: { from: All }, kinds: [{ kind: GRPCRoute }]", "notAccepted(NotAllowedByListeners)"),
    ] {
        let listener = format!("{{ name: http, port: 80, protocol: HTTP, allowedRoutes: {{ {allowed} }} }}");
        let route = "kind: HTTPRoute
metadata: { name: r, namespace: other }
spec: { parentRefs: [{ name: g, namespace: default }] }";
        let told = House::of(&format!("{}{route}", gateway(&listener))).told();
        assert_eq!(
            told.last().map(String::as_str),
            Some(&*format!("HTTPRoute r at g: {expected} ResolvedRefs")),
            "{allowed}"
        );
    }
}

#[test]
fn a_backend_that_leads_nowhere_is_told_of_and_answers_500() {
    for (backend, reason) in [
        ("{ name: none, port: 80 }", "BackendNotFound"),
        ("{ name: web, port: 81 }", "BackendNotFound"),
        ("{ name: web, kind: Bucket, group: s3.example, port: 80 }", "InvalidKind"),
        ("{ name: web, namespace: other, port: 80 }", "RefNotPermitted"),
    ] {
        let route = format!(
            "kind: HTTPRoute\nmetadata: {{ name: r }}\nspec: {{ parentRefs: [{{ name: g }}], rules: [{{ backendRefs: [{backend}] }}] }}"
        );
        let mut house = House::of(&format!("{SERVICE}{}{route}", gateway(PLAIN)));
        let told = house.told();
        assert_eq!(
            told.last().map(String::as_str),
            Some(&*format!("HTTPRoute r at g: Accepted notResolvedRefs({reason})"))
        );
        let (statuses, model) = house.plan();
        let troubles: Vec<(String, String)> =
            statuses.troubles().into_iter().map(|trouble| (trouble.object, trouble.reason)).collect();
        assert_eq!(troubles, [("HTTPRoute default/r at g".to_owned(), reason.to_owned())]);
        let Some(Serves::Http(routes)) = model.doors.values().flatten().map(|listener| listener.serves.clone()).next()
        else {
            panic!("no listener")
        };
        let target = routes[0].rule.split.shares()[0].target.clone();
        assert!(matches!(target, Target::Nobody(status, _) if status == 500), "{backend}: {target:?}");
    }
}

#[test]
fn a_grant_lets_a_route_name_a_service_of_another_namespace() {
    let manifest = format!(
        "kind: Service
metadata: {{ name: web, namespace: other }}
spec: {{ ports: [{{ port: 80 }}] }}
---
kind: ReferenceGrant
metadata: {{ name: g, namespace: other }}
spec:
  from: [{{ group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default }}]
  to: [{{ group: '', kind: Service }}]
---
{}kind: HTTPRoute
metadata: {{ name: r }}
spec: {{ parentRefs: [{{ name: g }}], rules: [{{ backendRefs: [{{ name: web, namespace: other, port: 80 }}] }}] }}",
        gateway(PLAIN)
    );
    assert_eq!(House::of(&manifest).told().last().map(String::as_str), Some("HTTPRoute r at g: Accepted ResolvedRefs"));
}

#[test]
fn whom_nobody_can_ask_about_nobody_passes() {
    let asked = |protocol: &str, backend: &str| {
        let filter =
            format!("{{ type: ExternalAuth, externalAuth: {{ protocol: {protocol}, backendRef: {backend} }} }}");
        let route = format!(
            "kind: HTTPRoute\nmetadata: {{ name: r }}\nspec: {{ parentRefs: [{{ name: g }}], rules: [{{ filters: [{filter}], \
             backendRefs: [{{ name: web, port: 80 }}] }}] }}"
        );
        let mut house = House::of(&format!("{SERVICE}{}{route}", gateway(PLAIN)));
        let told = house.told().pop().unwrap_or_default();
        let (_, model) = house.plan();
        let rules = model.doors.values().flatten().filter_map(|listener| match &listener.serves {
            Serves::Http(routes) => Some(routes.iter().map(|route| route.rule.filters.clone()).collect::<Vec<_>>()),
            Serves::Streams(_) => None,
        });
        (told, rules.flatten().flatten().next())
    };
    for protocol in ["HTTP", "GRPC"] {
        let (told, filter) = asked(protocol, "{ name: web, port: 80 }");
        assert_eq!(told, "HTTPRoute r at g: Accepted ResolvedRefs");
        assert!(matches!(filter, Some(Filter::Guard(_))), "{filter:?}");
    }
    let (told, filter) = asked("HTTP", "{ name: none, port: 80 }");
    assert_eq!(told, "HTTPRoute r at g: Accepted notResolvedRefs(BackendNotFound)");
    assert!(matches!(filter, Some(Filter::Answer(status, _)) if status == 500), "{filter:?}");
    let (told, filter) = asked("SMTP", "{ name: web, port: 80 }");
    assert_eq!(
        (told.as_str(), filter.is_none()),
        ("HTTPRoute r at g: notAccepted(UnsupportedValue) ResolvedRefs", true)
    );
}

#[test]
fn rules_that_cannot_be_obeyed_make_a_route_invalid_or_partly_so() {
    let good = "{ backendRefs: [{ name: web, port: 80 }] }";
    let bad =
        "{ matches: [{ path: { type: RegularExpression, value: '(' } }], backendRefs: [{ name: web, port: 80 }] }";
    let both = "{ filters: [{ type: RequestRedirect, requestRedirect: {} }, { type: URLRewrite, urlRewrite: {} }] }";
    for (rules, expected) in [
        (bad.to_owned(), "notAccepted(UnsupportedValue) ResolvedRefs"),
        (both.to_owned(), "notAccepted(IncompatibleFilters) ResolvedRefs"),
        (format!("{good}, {bad}"), "Accepted ResolvedRefs PartiallyInvalid(UnsupportedValue)"),
        (
            "{ filters: [{ type: ExtensionRef, extensionRef: { group: x.example, kind: Thing, name: z } }] }"
                .to_owned(),
            "Accepted notResolvedRefs(InvalidKind)",
        ),
    ] {
        let route = format!(
            "kind: HTTPRoute\nmetadata: {{ name: r }}\nspec: {{ parentRefs: [{{ name: g }}], rules: [{rules}] }}"
        );
        let told = House::of(&format!("{SERVICE}{}{route}", gateway(PLAIN))).told();
        assert_eq!(told.last().map(String::as_str), Some(&*format!("HTTPRoute r at g: {expected}")), "{rules}");
    }
}

#[test]
fn listeners_are_told_what_is_wrong_with_them() {
    let tls = |extra: &str| format!("{{ name: l, port: 443, protocol: HTTPS, tls: {{ {extra} }} }}");
    for (listener, expected) in [
        (
            "{ name: l, port: 80, protocol: SMTP }".to_owned(),
            "[] 0: notAccepted(UnsupportedProtocol) notProgrammed(Invalid) ResolvedRefs",
        ),
        (
            "{ name: l, port: 80, protocol: HTTP, allowedRoutes: { kinds: [{ kind: TLSRoute }] } }".to_owned(),
            "[] 0: Accepted Programmed notResolvedRefs(InvalidRouteKinds)",
        ),
        (tls("certificateRefs: [{ name: good }]"), "[HTTPRoute,GRPCRoute] 0: Accepted Programmed ResolvedRefs"),
        (
            tls("certificateRefs: [{ name: none }]"),
            "[HTTPRoute,GRPCRoute] 0: Accepted notProgrammed(Invalid) notResolvedRefs(InvalidCertificateRef)",
        ),
        (
            tls("certificateRefs: [{ name: bad }]"),
            "[HTTPRoute,GRPCRoute] 0: Accepted notProgrammed(Invalid) notResolvedRefs(InvalidCertificateRef)",
        ),
        (
            tls("certificateRefs: [{ name: good, namespace: other }]"),
            "[HTTPRoute,GRPCRoute] 0: Accepted notProgrammed(Invalid) notResolvedRefs(RefNotPermitted)",
        ),
    ] {
        let secrets = "kind: Secret\nmetadata: { name: good }\n---\nkind: Secret\nmetadata: { name: bad }\nspoiled: no key\n---\n";
        let manifest = format!("{secrets}{}", gateway(&listener));
        let told = House::of(manifest.trim_end_matches("---\n")).told();
        assert_eq!(told.last().map(String::as_str), Some(&*format!("Gateway g l {expected}")), "{listener}");
    }
}

#[test]
fn of_listeners_that_cannot_be_told_apart_none_is_served() {
    let manifest = gateway(
        "{ name: a, port: 90, protocol: HTTP }, { name: b, port: 90, protocol: TCP }, { name: c, port: 91, protocol: UDP }",
    );
    check(
        manifest.trim_end_matches("---\n"),
        &[
            "Gateway g: Accepted(ListenersNotValid) Programmed",
            "Gateway g a [HTTPRoute,GRPCRoute] 0: notAccepted(ProtocolConflict) notProgrammed(ProtocolConflict) ResolvedRefs Conflicted(ProtocolConflict)",
            "Gateway g b [TCPRoute] 0: notAccepted(ProtocolConflict) notProgrammed(ProtocolConflict) ResolvedRefs Conflicted(ProtocolConflict)",
            "Gateway g c [UDPRoute] 0: Accepted Programmed ResolvedRefs",
        ],
    );
}

#[test]
fn listener_sets_come_after_their_gateway_and_need_leave() {
    let set = |name: &str, namespace: &str, host: &str| {
        format!(
            "---\nkind: ListenerSet\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec: {{ parentRef: {{ name: g, namespace: default }}, listeners: [{{ name: l, port: 80, protocol: HTTP, hostname: {host} }}] }}\n"
        )
    };
    let gateway = "kind: Gateway
metadata: { name: g }
spec:
  gatewayClassName: knarr
  allowedListeners: { namespaces: { from: Same } }
  listeners: [{ name: a, port: 80, protocol: HTTP, hostname: a.example }]
";
    let sets =
        [set("one", "default", "b.example"), set("two", "default", "B.example"), set("three", "other", "c.example")];
    check(
        &format!("{gateway}{}", sets.concat()),
        &[
            "Gateway g: Accepted Programmed",
            "Gateway g a [HTTPRoute,GRPCRoute] 0: Accepted Programmed ResolvedRefs",
            "ListenerSet one: Accepted Programmed",
            "ListenerSet one l [HTTPRoute,GRPCRoute] 0: Accepted Programmed ResolvedRefs",
            "ListenerSet two: notAccepted(ListenersNotValid) notProgrammed(ListenersNotValid)",
            "ListenerSet two l [HTTPRoute,GRPCRoute] 0: notAccepted(HostnameConflict) notProgrammed(HostnameConflict) ResolvedRefs Conflicted(HostnameConflict)",
            "ListenerSet three: notAccepted(NotAllowed) notProgrammed(NotAllowed)",
        ],
    );
}

#[test]
fn gateways_that_share_an_address_share_http_and_nothing_else() {
    let other = |listener: &str| {
        format!("kind: Gateway\nmetadata: {{ name: h }}\nspec: {{ gatewayClassName: knarr, listeners: [{listener}] }}")
    };
    for (listener, taken) in [
        ("{ name: l, port: 80, protocol: HTTP }", false),
        ("{ name: l, port: 80, protocol: TCP }", true),
        ("{ name: l, port: 8080, protocol: TCP }", true),
        ("{ name: l, port: 9000, protocol: TCP }", true),
        ("{ name: l, port: 9001, protocol: TCP }", false),
    ] {
        let first = gateway(&format!("{PLAIN}, {{ name: t, port: 9000, protocol: TCP }}"));
        let told = House::of(&format!("{first}{}", other(listener))).told();
        let refused = told.last().is_some_and(|line| line.contains("notAccepted(PortUnavailable)"));
        assert_eq!(refused, taken, "{listener}: {told:?}");
    }
}

#[test]
fn addresses_are_given_kept_and_refused() {
    let wish = |name: &str, addresses: &str| {
        format!(
            "kind: Gateway\nmetadata: {{ name: {name} }}\nspec: {{ gatewayClassName: knarr, listeners: [{PLAIN}], addresses: [{addresses}] }}\n"
        )
    };
    let manifest = [
        wish("any", ""),
        wish("fixed", "{ value: 127.1.0.1 }"),
        wish("foreign", "{ value: 198.51.100.1 }"),
        wish("kind", "{ type: test/fake, value: x }"),
        wish("late", ""),
    ];
    let mut house = House::of(&manifest.join("---\n"));
    house.pool = "127.1.0.1-127.1.0.2".parse().expect("a pool");
    let told: Vec<String> = house.told().into_iter().filter(|line| !line.contains("[")).collect();
    assert_eq!(
        told,
        [
            "Gateway any: Accepted Programmed",
            "Gateway fixed: Accepted Programmed",
            "Gateway foreign: Accepted notProgrammed(AddressNotUsable)",
            "Gateway kind: notAccepted(UnsupportedAddress) notProgrammed(Invalid)",
            "Gateway late: Accepted notProgrammed(AddressNotAssigned)",
        ]
    );
    let address = |house: &House, at: usize| text(&house.objects[at]["status"]["addresses"][0]["value"]);
    assert_eq!((address(&house, 1), address(&house, 2)), ("127.1.0.2".to_owned(), "127.1.0.1".to_owned()));
    // Who has an address keeps it, though an older Gateway is in the queue now.
    house.objects[5]["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    house.told();
    assert_eq!(address(&house, 1), "127.1.0.2");
}

#[test]
fn an_address_is_kept_before_the_status_tells_it() {
    let wish = |name: &str| {
        format!(
            "kind: Gateway\nmetadata: {{ name: {name} }}\nspec: {{ gatewayClassName: knarr, listeners: [{PLAIN}] }}\n"
        )
    };
    let mut house = House::of(&wish("late"));
    house.pool = "127.1.0.1-127.1.0.2".parse().expect("a pool");
    let (first, _) = house.plan();
    house.before = first;
    let mut older = House::of(&wish("early")).objects.remove(1);
    older["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    house.objects.push(older);
    house.told();
    let address = |at: usize| text(&house.objects[at]["status"]["addresses"][0]["value"]);
    assert_eq!((address(1), address(2)), ("127.1.0.1".to_owned(), "127.1.0.2".to_owned()));
}

#[test]
fn a_policy_is_told_for_each_gateway_and_the_older_wins() {
    let policy = |name: &str, validation: &str| {
        format!(
            "---\nkind: BackendTLSPolicy\nmetadata: {{ name: {name} }}\nspec: {{ targetRefs: [{{ group: '', kind: Service, name: web }}], validation: {{ hostname: web.example, {validation} }} }}\n"
        )
    };
    let route = "kind: HTTPRoute
metadata: { name: r }
spec: { parentRefs: [{ name: g }], rules: [{ backendRefs: [{ name: web, port: 80 }] }] }
";
    let ca = "---\nkind: ConfigMap\nmetadata: { name: ca }\ndata: { ca.crt: good }\n---\nkind: ConfigMap\nmetadata: { name: bad }\ndata: { ca.crt: x }\n";
    for (validation, expected) in [
        ("caCertificateRefs: [{ group: '', kind: ConfigMap, name: ca }]", "Accepted ResolvedRefs"),
        ("wellKnownCACertificates: System", "Accepted ResolvedRefs"),
        (
            "caCertificateRefs: [{ group: '', kind: ConfigMap, name: none }]",
            "notAccepted(NoValidCACertificate) notResolvedRefs(InvalidCACertificateRef)",
        ),
        (
            "caCertificateRefs: [{ group: '', kind: ConfigMap, name: bad }]",
            "notAccepted(NoValidCACertificate) notResolvedRefs(InvalidCACertificateRef)",
        ),
        (
            "caCertificateRefs: [{ group: x, kind: Vault, name: ca }]",
            "notAccepted(NoValidCACertificate) notResolvedRefs(InvalidKind)",
        ),
        ("wellKnownCACertificates: example.com/Mine", "notAccepted(Invalid) ResolvedRefs"),
    ] {
        let manifest =
            format!("{SERVICE}{}{route}{ca}{}{}", gateway(PLAIN), policy("old", validation), policy("new", validation));
        let told = House::of(&manifest).told();
        assert!(told.contains(&format!("BackendTLSPolicy old at g: {expected}")), "{validation}: {told:#?}");
        let second = told.last().expect("lines");
        assert!(second.starts_with("BackendTLSPolicy new at g: notAccepted(Conflicted)"), "{second}");
    }
}

#[test]
fn clients_certificates_are_asked_for_by_port() {
    let manifest = "kind: ConfigMap
metadata: { name: ca }
data: { ca.crt: good }
---
kind: Secret
metadata: { name: good }
---
kind: Gateway
metadata: { name: g }
spec:
  gatewayClassName: knarr
  tls:
    frontend:
      default: { validation: { caCertificateRefs: [{ group: '', kind: ConfigMap, name: ca }] } }
      perPort: [{ port: 8443, tls: { validation: { mode: AllowInsecureFallback, caCertificateRefs: [{ group: '', kind: ConfigMap, name: none }] } } }]
    backend: { clientCertificateRef: { name: none } }
  listeners:
  - { name: a, port: 443, protocol: HTTPS, tls: { certificateRefs: [{ name: good }] } }
  - { name: b, port: 8444, protocol: HTTPS, tls: { certificateRefs: [{ name: good }] } }
  - { name: c, port: 8443, protocol: HTTPS, hostname: c.example, tls: { certificateRefs: [{ name: good }] } }
  addresses: [{ value: 127.1.0.1 }]";
    let mut house = House::of(manifest);
    house.pool = "127.1.0.1".parse().expect("a pool");
    assert_eq!(
        house.told(),
        [
            "Gateway g: Accepted(ListenersNotValid) Programmed notResolvedRefs(InvalidClientCertificateRef) InsecureFrontendValidationMode(ConfigurationChanged)",
            "Gateway g a [HTTPRoute,GRPCRoute] 0: Accepted Programmed ResolvedRefs",
            "Gateway g b [HTTPRoute,GRPCRoute] 0: Accepted Programmed ResolvedRefs",
            "Gateway g c [HTTPRoute,GRPCRoute] 0: notAccepted(NoValidCACertificate) notProgrammed(Invalid) notResolvedRefs(InvalidCACertificateRef)",
        ]
    );
}

#[test]
fn a_port_that_cannot_be_had_is_told_of() {
    let mut house = House::of(gateway("{ name: t, port: 22, protocol: TCP }").trim_end_matches("---\n"));
    let socket = Socket { address: None, port: 22, transport: Transport::Tcp };
    house.unbound.insert(socket, "address in use".to_owned());
    assert_eq!(
        house.told().last().map(String::as_str),
        Some("Gateway g t [TCPRoute] 0: notAccepted(PortUnavailable) notProgrammed(Invalid) ResolvedRefs")
    );
}

#[test]
fn what_other_controllers_tell_of_a_route_stays_and_ours_goes_with_our_parents() {
    let foreign = json!({ "parentRef": { "name": "theirs" }, "controllerName": "example.com/other", "conditions": [] });
    let ours = json!({ "parentRef": { "name": "gone" }, "controllerName": "knarr.dev/gateway", "conditions": [] });
    let route = "kind: HTTPRoute\nmetadata: { name: r }\nspec: { parentRefs: [{ name: theirs }] }";
    let mut house = House::of(&format!("{}{route}", gateway(PLAIN)));
    let at = house.objects.len() - 1;
    house.objects[at]["status"] = json!({ "parents": [ours, foreign] });
    house.told();
    let parents: Vec<ParentStatus> =
        serde_json::from_value(house.objects[at]["status"]["parents"].clone()).expect("parents");
    let controllers: Vec<&str> = parents.iter().map(|parent| parent.controller_name.as_str()).collect();
    assert_eq!(controllers, ["example.com/other"]);
}

/// Objects that may or may not fit together.
fn houses() -> impl Strategy<Value = House> {
    let listener = (
        0_u8..3,
        prop::sample::select(vec!["HTTP", "HTTPS", "TLS", "TCP", "UDP", "SMTP"]),
        prop::sample::select(vec!["", "a.example", "*.example"]),
    );
    let gateways = prop::collection::vec((prop::collection::vec(listener, 1..4), 0_u8..3), 1..4);
    let routes = prop::collection::vec(
        (
            prop::sample::select(vec!["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"]),
            0_usize..4,
            0_u8..3,
            prop::sample::select(vec!["web", "none"]),
        ),
        0..6,
    );
    (gateways, routes, any::<bool>()).prop_map(|(gateways, routes, pool)| {
        let mut house = House::of("kind: Service\nmetadata: { name: web }\nspec: { ports: [{ port: 80 }, { port: 80, protocol: UDP, name: u }] }");
        let stamp = |at: usize| json!(format!("2026-01-01T00:00:{at:02}Z"));
        for (at, (listeners, addresses)) in gateways.iter().enumerate() {
            let listeners: Vec<Value> = listeners
                .iter()
                .enumerate()
                .map(|(name, (port, protocol, host))| {
                    json!({ "name": format!("l{name}"), "port": 80 + u16::from(*port), "protocol": protocol, "hostname": host,
                        "tls": { "certificateRefs": [{ "name": "good" }] } })
                })
                .collect();
            let wish = match addresses {
                0 => json!([]),
                1 => json!([{ "value": "127.1.0.2" }]),
                _ => json!([{ "value": "" }, { "value": "198.51.100.7" }]),
            };
            house.objects.push(json!({ "kind": "Gateway",
                "metadata": { "name": format!("g{at}"), "namespace": "default", "generation": 1, "creationTimestamp": stamp(at) },
                "spec": { "gatewayClassName": "knarr", "listeners": listeners, "addresses": wish } }));
        }
        for (at, (kind, parent, port, backend)) in routes.iter().enumerate() {
            house.objects.push(json!({ "kind": kind,
                "metadata": { "name": format!("r{at}"), "namespace": "default", "generation": 1, "creationTimestamp": stamp(at) },
                "spec": { "parentRefs": [{ "name": format!("g{parent}"), "port": 80 + u16::from(*port) }],
                    "rules": [{ "backendRefs": [{ "name": backend, "port": 80 }] }] } }));
        }
        house.objects.push(json!({ "kind": "Secret", "metadata": { "name": "good", "namespace": "default" } }));
        if pool {
            house.pool = "127.1.0.1-127.1.0.2".parse().expect("a pool");
        }
        house
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn planning_again_after_telling_tells_nothing(mut house in houses()) {
        let (first, _) = house.plan();
        house.apply(&first);
        let (second, model) = house.plan();
        prop_assert_eq!(house.apply(&second), 0);
        prop_assert_eq!(first, second);
        // No two listeners of a socket contradict each other.
        for listeners in model.doors.values() {
            let streams = listeners.iter().filter(|listener| matches!(listener.serves, Serves::Streams(_))).count();
            let plain = listeners.iter().filter(|listener| matches!(listener.tls, crate::model::Tls::None)).count();
            prop_assert!(plain == 0 || plain == listeners.len());
            prop_assert!(plain == 0 || streams == 0 || listeners.len() == 1);
        }
    }
}
