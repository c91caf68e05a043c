//! Routes: what they attach to, where they lead, and what they are told.

use super::house::{House, PLAIN, SERVICE, check, gateway};
use crate::model::{Filter, Serves, Target};

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
