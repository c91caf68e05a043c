//! How services, endpoints, ingresses and network policies print.

use super::read::{self, NONE, UNKNOWN, UNSET, at, items, number, text, text_or};
use super::{AGE, NAME, Printer, Spec};
use base::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

const SERVICE: &str = "api.core.v1.ServiceSpec";
const SLICE: &str = "api.discovery.v1.EndpointSlice";

/// How many addresses, ports or hosts a cell shows before it counts the rest.
const SHOWN: usize = 3;

pub(super) static PRINTERS: [Printer; 8] = [
    Printer::new(
        "",
        "Service",
        &[
            NAME,
            Spec::field("Type", SERVICE, "type"),
            Spec::field("Cluster-IP", SERVICE, "clusterIP"),
            Spec::field("External-IP", SERVICE, "externalIPs"),
            Spec::field("Port(s)", SERVICE, "ports"),
            AGE,
            Spec::field("Selector", SERVICE, "selector").wide(),
        ],
        service,
    ),
    Printer::new(
        "",
        "Endpoints",
        &[NAME, Spec::field("Endpoints", "api.core.v1.Endpoints", "subsets"), AGE],
        |object, now| vec![read::name(object), endpoints(object).into(), read::age(object, now)],
    ),
    Printer::new(
        "discovery.k8s.io",
        "EndpointSlice",
        &[
            NAME,
            Spec::field("AddressType", SLICE, "addressType"),
            Spec::field("Ports", SLICE, "ports"),
            Spec::field("Endpoints", SLICE, "endpoints"),
            AGE,
        ],
        endpoint_slice,
    ),
    Printer::new(
        "networking.k8s.io",
        "Ingress",
        &[
            NAME,
            Spec::text(
                "Class",
                "The name of the IngressClass resource that should be used for additional configuration",
            ),
            Spec::text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
            Spec::text("Address", "Address is a list containing ingress points for the load-balancer"),
            Spec::text("Ports", "Ports of TLS configurations that open"),
            AGE,
        ],
        ingress,
    ),
    Printer::new(
        "networking.k8s.io",
        "IngressClass",
        &[
            NAME,
            Spec::text("Controller", "Controller that is responsible for handling this class"),
            Spec::text("Parameters", "A reference to a resource with additional parameters"),
            AGE,
        ],
        ingress_class,
    ),
    Printer::new(
        "networking.k8s.io",
        "NetworkPolicy",
        &[NAME, Spec::field("Pod-Selector", "api.networking.v1.NetworkPolicySpec", "podSelector"), AGE],
        |object, now| {
            vec![read::name(object), read::selector(object, "spec.podSelector").into(), read::age(object, now)]
        },
    ),
    Printer::new(
        "networking.k8s.io",
        "ServiceCIDR",
        &[NAME, Spec::field("CIDRs", "api.networking.v1.ServiceCIDRSpec", "cidrs"), AGE],
        |object, now| {
            let blocks = read::join(read::texts(object, "spec.cidrs"), ",");
            vec![read::name(object), blocks.into(), read::age(object, now)]
        },
    ),
    Printer::new(
        "networking.k8s.io",
        "IPAddress",
        &[NAME, Spec::field("ParentRef", "api.networking.v1.IPAddressSpec", "parentRef"), AGE],
        ip_address,
    ),
];

fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let cluster_ip = read::texts(object, "spec.clusterIPs").next().unwrap_or(NONE);
    let ports: Vec<String> = items(object, "spec.ports").iter().map(service_port).collect();
    vec![
        read::name(object),
        text(object, "spec.type").into(),
        cluster_ip.into(),
        external_ip(object).into(),
        if ports.is_empty() { NONE.to_owned() } else { ports.join(",") }.into(),
        read::age(object, now),
        read::labels(object, "spec.selector").into(),
    ]
}

fn service_port(port: &Value) -> String {
    let protocol = text(port, "protocol");
    match (number(port, "port"), number(port, "nodePort")) {
        (port, node_port @ 1..) => format!("{port}:{node_port}/{protocol}"),
        (port, _) => format!("{port}/{protocol}"),
    }
}

fn external_ip(service: &Value) -> String {
    let own: Vec<&str> = read::texts(service, "spec.externalIPs").collect();
    match text(service, "spec.type") {
        "ClusterIP" | "NodePort" if own.is_empty() => NONE.to_owned(),
        "ClusterIP" | "NodePort" => own.join(","),
        "LoadBalancer" => {
            let all: Vec<&str> = balancer_addresses(service).into_iter().chain(own).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => text(service, "spec.externalName").to_owned(),
        _ => UNKNOWN.to_owned(),
    }
}

/// The addresses a load balancer gave, sorted: IP if there is one, else host name.
fn balancer_addresses(object: &Value) -> BTreeSet<&str> {
    let points = items(object, "status.loadBalancer.ingress").iter();
    points.map(|point| text_or(point, "ip", text(point, "hostname"))).filter(|address| !address.is_empty()).collect()
}

fn endpoints(object: &Value) -> String {
    let subsets = items(object, "subsets");
    if subsets.is_empty() {
        return NONE.to_owned();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = || items(subset, "addresses").iter().map(|address| text(address, "ip"));
        let ports = items(subset, "ports");
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned)); // a headless service may have no ports
        }
        for port in ports {
            all.extend(addresses().map(|ip| host_port(ip, number(port, "port"))));
        }
    }
    read::some_of(&all, SHOWN, "")
}

fn host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| at(port, "port").map_or_else(|| text_or(port, "name", "*").to_owned(), Value::to_string);
    let ports: Vec<String> = items(object, "ports").iter().map(port).collect();
    let addresses: Vec<String> = items(object, "endpoints")
        .iter()
        .flat_map(|endpoint| read::texts(endpoint, "addresses"))
        .map(str::to_owned)
        .collect();
    vec![
        read::name(object),
        text(object, "addressType").into(),
        read::some_of(&ports, SHOWN, UNSET).into(),
        read::some_of(&addresses, SHOWN, UNSET).into(),
        read::age(object, now),
    ]
}

fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let tls = !items(object, "spec.tls").is_empty();
    vec![
        read::name(object),
        text_or(object, "spec.ingressClassName", NONE).into(),
        hosts(items(object, "spec.rules")).into(),
        read::join(balancer_addresses(object), ",").into(),
        if tls { "80, 443" } else { "80" }.into(),
        read::age(object, now),
    ]
}

/// The hosts of ingress rules. As upstream, "more" counts rules, with or without a host.
fn hosts(rules: &[Value]) -> String {
    let mut shown = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= shown.len() == SHOWN;
        let host = text(rule, "host");
        if !more && !host.is_empty() {
            shown.push(host);
        }
    }
    match shown.is_empty() {
        true => "*".to_owned(),
        false if more => format!("{} + {} more...", shown.join(","), rules.len() - SHOWN),
        false => shown.join(","),
    }
}

fn ingress_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let parameters = at(object, "spec.parameters").map(|reference| {
        let (kind, name) = (text(reference, "kind"), text(reference, "name"));
        match text(reference, "apiGroup") {
            "" => format!("{kind}/{name}"),
            group => format!("{kind}.{group}/{name}"),
        }
    });
    vec![
        read::name(object),
        text(object, "spec.controller").into(),
        parameters.unwrap_or_else(|| NONE.to_owned()).into(),
        read::age(object, now),
    ]
}

fn ip_address(object: &Value, now: Timestamp) -> Vec<Value> {
    let parent = at(object, "spec.parentRef").map(|parent| {
        let resource = match text(parent, "group") {
            "" => text(parent, "resource").to_lowercase(),
            group => format!("{}.{group}", text(parent, "resource")).to_lowercase(),
        };
        match text(parent, "namespace") {
            "" => format!("{resource}/{}", text(parent, "name")),
            namespace => format!("{resource}/{namespace}/{}", text(parent, "name")),
        }
    });
    vec![read::name(object), parent.unwrap_or_else(|| NONE.to_owned()).into(), read::age(object, now)]
}
