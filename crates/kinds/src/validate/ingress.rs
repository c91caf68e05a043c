//! Rules of Ingress and IngressClass.

use base::name;
use serde_json::Value;

use super::{Case, Faults, batch, container, ip, service};
use crate::json::{at, has, int, list, text};
use crate::path::Path;

const CLASS: &str = "kubernetes.io/ingress.class";

/// What may be wrong because it was before.
#[derive(Clone, Copy, Default)]
struct Lenience {
    secrets: bool,
    wildcards: bool,
}

impl Lenience {
    fn of(old: &Value) -> Self {
        let wild = |rule: &&Value| text(rule, "host").contains('*');
        let faulty = |rule: &Value| {
            let mut faults = Faults::default();
            paths(rule, &Path::Root, &mut faults);
            !faults.list.is_empty()
        };
        Self {
            secrets: list(old, "tls").iter().any(|tls| secret_fault(text(tls, "secretName"))),
            wildcards: list(old, "rules").iter().filter(wild).any(faulty),
        }
    }
}

fn secret_fault(secret: &str) -> bool {
    !secret.is_empty() && name::dns_subdomain(secret).is_err()
}

pub(crate) fn ingress(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    let lenient = Lenience::of(at(case.old(), "spec"));
    if list(spec, "rules").is_empty() && !has(spec, "defaultBackend") {
        let shown = at(spec, "rules").clone();
        faults.invalid(&path, shown, "either `defaultBackend` or `rules` must be specified");
    }
    if has(spec, "defaultBackend") {
        backend(at(spec, "defaultBackend"), &path.field("defaultBackend"), faults);
    }
    rules(spec, lenient, &path, faults);
    let above = path.field("tls");
    for (index, tls) in list(spec, "tls").iter().enumerate() {
        let path = above.index(index);
        let hosts = path.field("hosts");
        for (index, host) in list(tls, "hosts").iter().enumerate() {
            host_name(host.as_str().unwrap_or(""), &hosts.index(index), faults);
        }
        if !lenient.secrets {
            faults.optional_name(&path.field("secretName"), text(tls, "secretName"), name::dns_subdomain);
        }
    }
    if let Some(class) = at(spec, "ingressClassName").as_str() {
        faults.named(&path.field("ingressClassName"), class, name::dns_subdomain);
        let annotation = at(case.annotations(), CLASS).as_str().filter(|_| case.old.is_none());
        if let Some(other) = annotation.filter(|other| *other != class) {
            let detail = "must match `ingressClassName` when both are specified";
            faults.invalid(&root.field("annotations").field(CLASS), other, detail);
        }
    }
}

pub(crate) fn status(case: &Case<'_>, faults: &mut Faults) {
    service::balancer_addresses(case, faults);
}

fn host_name(host: &str, path: &Path<'_>, faults: &mut Faults) {
    faults.named(path, host, if host.contains('*') { name::wildcard_dns_subdomain } else { name::dns_subdomain });
}

fn rules(spec: &Value, lenient: Lenience, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("rules");
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        let path = above.index(index);
        let host = text(rule, "host");
        if !host.is_empty() {
            if ip::sloppy(host).is_some() {
                faults.invalid(&path.field("host"), host, "must be a DNS name, not an IP address");
            }
            host_name(host, &path.field("host"), faults);
        }
        if !(host.contains('*') && lenient.wildcards) {
            paths(rule, &path, faults);
        }
    }
}

fn paths(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (http, on_http) = (at(rule, "http"), path.field("http"));
    if http.is_null() {
        return;
    }
    let above = on_http.field("paths");
    if list(http, "paths").is_empty() {
        faults.required(&above, "");
    }
    for (index, value) in list(http, "paths").iter().enumerate() {
        one_path(value, &above.index(index), faults);
    }
}

fn one_path(value: &Value, above: &Path<'_>, faults: &mut Faults) {
    let (place, path) = (text(value, "path"), above.field("path"));
    let Some(kind) = at(value, "pathType").as_str() else {
        faults.required(&above.field("pathType"), "pathType must be specified");
        return;
    };
    let absolute = place.starts_with('/');
    match kind {
        "Exact" | "Prefix" => {
            if !absolute {
                faults.invalid(&path, place, "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| place.contains(**part)) {
                faults.invalid(&path, place, format!("must not contain '{part}'"));
            }
            for end in ["/..", "/."].iter().filter(|end| place.ends_with(**end)) {
                faults.invalid(&path, place, format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" if !place.is_empty() && !absolute => {
            faults.invalid(&path, place, "must be an absolute path");
        }
        "ImplementationSpecific" => {}
        other => {
            let known = &["Exact", "ImplementationSpecific", "Prefix"];
            faults.not_supported(&above.field("pathType"), other, known);
        }
    }
    backend(at(value, "backend"), &above.field("backend"), faults);
}

fn backend(backend: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (resource, service) = (at(backend, "resource"), at(backend, "service"));
    match (resource.is_null(), service.is_null()) {
        (false, false) => faults.invalid(path, "", "cannot set both resource and service backends"),
        (true, true) => faults.invalid(path, "", "resource or service backend is required"),
        (false, true) => typed_reference(resource, &path.field("resource"), faults),
        (true, false) => {
            let on_service = path.field("service");
            faults.required_name(&on_service.field("name"), text(service, "name"), name::dns_label);
            let (port, on_port) = (at(service, "port"), on_service.field("port"));
            match (text(port, "name"), int(port, "number").unwrap_or(0)) {
                ("", 0) => faults.required(path, "port name or number is required"),
                ("", number) => container::port_number(number, &on_port.field("number"), faults),
                (name, 0) => faults.named(&on_port.field("name"), name, name::port_name),
                _ => faults.invalid(path, "", "cannot set both port name & port number"),
            }
        }
    }
}

fn typed_reference(reference: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(group) = at(reference, "apiGroup").as_str() {
        faults.named(&path.field("apiGroup"), group, name::dns_subdomain);
    }
    for name in ["kind", "name"] {
        faults.required_name(&path.field(name), text(reference, name), name::path_segment);
    }
}

const LONGEST_CONTROLLER: usize = 250;

pub(crate) fn class(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    let controller = text(spec, "controller");
    let on_controller = path.field("controller");
    if let Some(old) = case.old
        && text(at(old, "spec"), "controller") != controller
    {
        faults.invalid(&on_controller, controller, super::IMMUTABLE);
    }
    if controller.len() > LONGEST_CONTROLLER {
        faults.too_long(&on_controller, LONGEST_CONTROLLER);
    }
    batch::domain_path(controller, &on_controller, faults);
    let (parameters, path) = (at(spec, "parameters"), path.field("parameters"));
    if parameters.is_null() {
        return;
    }
    typed_reference(parameters, &path, faults);
    let on_namespace = path.field("namespace");
    match at(parameters, "scope").as_str() {
        None => faults.required(&path.field("scope"), ""),
        Some("Namespace") => match at(parameters, "namespace").as_str() {
            None => faults.required(&on_namespace, "`parameters.scope` is set to 'Namespace'"),
            Some(namespace) => faults.named(&on_namespace, namespace, name::dns_label),
        },
        Some("Cluster") if has(parameters, "namespace") => {
            faults.forbidden(&on_namespace, "`parameters.scope` is set to 'Cluster'");
        }
        Some("Cluster") => {}
        Some(other) => faults.not_supported(&path.field("scope"), other, &["Cluster", "Namespace"]),
    }
}
