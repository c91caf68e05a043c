//! What is told of objects, as tables: objects in, conditions out.

mod house;
mod routes;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::kinds::ParentStatus;
use crate::model::{Serves, Socket, Transport};
use house::{House, PLAIN, SERVICE, check, gateway, text};

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
