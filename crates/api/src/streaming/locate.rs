//! From the name in a path to the address behind it: container, node, kubelet; pod; service endpoint.
//!
//! Pure over objects, with upstream's error texts: what people see when they mistype a container is this module.

use std::net::IpAddr;

use serde_json::Value;

use super::kubelet::{Security, Target};
use crate::{core::text, error::ApiError};

const KUBELET_PORT: u16 = 10250;
/// Reachable from this server, in the order of preference. Names come last: nobody promised to resolve them.
const ADDRESSES: [&str; 5] = ["InternalIP", "ExternalIP", "InternalDNS", "Hostname", "ExternalDNS"];
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// The container that is meant: the named one if the pod has it, or the only one.
pub(crate) fn container(pod: &Value, asked: &str) -> Result<String, ApiError> {
    let pod_name = text(pod, "/metadata/name");
    let names = |list: &str| -> Vec<&str> {
        pod["spec"][list].as_array().into_iter().flatten().filter_map(|container| container["name"].as_str()).collect()
    };
    let all: Vec<&str> = CONTAINERS.iter().flat_map(|list| names(list)).collect();
    if !asked.is_empty() {
        if all.contains(&asked) {
            return Ok(asked.to_owned());
        }
        return Err(ApiError::bad_request(format!("container {asked} is not valid for pod {pod_name}")));
    }
    match names("containers")[..] {
        [only] => Ok(only.to_owned()),
        [] => Err(ApiError::bad_request(format!("a container name must be specified for pod {pod_name}"))),
        _ => {
            let all = all.join(" ");
            let message = format!("a container name must be specified for pod {pod_name}, choose one of: [{all}]");
            Err(ApiError::bad_request(message))
        }
    }
}

/// The kubelet of a node.
pub(crate) fn kubelet(node: &Value) -> Result<Target, ApiError> {
    let addresses = node["status"]["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |wanted: &&str| addresses.iter().find(|address| address["type"] == **wanted);
    let host = ADDRESSES.iter().find_map(|wanted| of(wanted)?["address"].as_str());
    let Some(host) = host else {
        let message = "no preferred addresses found; known addresses: []";
        return Err(ApiError::new(500, "", message));
    };
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).unwrap_or(KUBELET_PORT);
    Ok(Target { host: host.to_owned(), port, security: Security::Kubelet })
}

/// `name`, `name:port` or `scheme:name:port`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spelled<'a> {
    pub(crate) https: bool,
    pub(crate) name: &'a str,
    pub(crate) port: &'a str,
}

pub(crate) fn spelled<'a>(what: &str, id: &'a str) -> Result<Spelled<'a>, ApiError> {
    let parts: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match parts[..] {
        [name] => ("http", name, ""),
        [name, port] => ("http", name, port),
        [scheme @ ("http" | "https" | ""), name, port] => (scheme, name, port),
        _ => ("", "", ""),
    };
    if name.is_empty() {
        return Err(ApiError::bad_request(format!("invalid {what} request {id:?}")));
    }
    Ok(Spelled { https: scheme == "https", name, port })
}

impl Spelled<'_> {
    fn target(&self, host: &str, port: u16) -> Result<Target, ApiError> {
        let address = host.parse::<IpAddr>().ok().filter(|address| is_routable(*address));
        let Some(address) = address else { return Err(ApiError::bad_request("address not allowed")) };
        let security = if self.https { Security::Unverified } else { Security::Plain };
        Ok(Target { host: address.to_string(), port, security })
    }

    fn default_port(&self) -> u16 {
        if self.https { 443 } else { 80 }
    }
}

/// Never a way to this machine's own loopback or metadata services.
fn is_routable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

/// Where `pods/proxy` goes: the pod's address, at the asked or the first declared port.
pub(crate) fn pod(pod: &Value, asked: &Spelled<'_>) -> Result<Target, ApiError> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let declared = || containers.flat_map(|c| c["ports"].as_array().into_iter().flatten()).next();
    let port = if asked.port.is_empty() {
        declared().and_then(|port| port["containerPort"].as_u64()).and_then(|port| u16::try_from(port).ok())
    } else {
        let port = asked.port.parse().map_err(|_| ApiError::bad_request(format!("invalid port {:?}", asked.port)))?;
        Some(port)
    };
    asked.target(text(pod, "/status/podIP"), port.unwrap_or_else(|| asked.default_port()))
}

/// Where `nodes/proxy` goes: the kubelet, or another port of the node.
pub(crate) fn node(node: &Value, asked: &Spelled<'_>) -> Result<Target, ApiError> {
    let target = kubelet(node)?;
    if asked.port.is_empty() || asked.port == target.port.to_string() {
        return Ok(target);
    }
    let port = asked.port.parse().map_err(|_| ApiError::bad_request(format!("invalid port {:?}", asked.port)))?;
    asked.target(&target.host, port)
}

/// The endpoints `services/proxy` may go to, each with its pod: those of the asked port, in listed order.
pub(crate) fn endpoints(
    service: &Value,
    endpoints: &Value,
    asked: &Spelled<'_>,
) -> Result<Vec<(Target, String)>, ApiError> {
    let none = || ApiError::unavailable(format!("no endpoints available for service {:?}", asked.name));
    let mut port_name = asked.port.to_owned();
    if let Ok(number) = asked.port.parse::<u64>() {
        let ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let Some(port) = ports.into_iter().find(|port| port["port"] == number) else {
            let message = format!("no service port {number} found for service {:?}", asked.name);
            return Err(ApiError::unavailable(message));
        };
        text(port, "/name").clone_into(&mut port_name);
    }
    let mut found = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let mut ports = subset["ports"].as_array().into_iter().flatten();
        let port = ports.find(|port| text(port, "/name") == port_name).and_then(|port| port["port"].as_u64());
        let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else { continue };
        for address in subset["addresses"].as_array().into_iter().flatten() {
            let pod = text(address, "/targetRef/name");
            if text(address, "/targetRef/kind") == "Pod"
                && let Ok(target) = asked.target(text(address, "/ip"), port)
            {
                found.push((target, pod.to_owned()));
            }
        }
    }
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(pod: &Value, asked: &str, expected: Expect) {
        expected.assert_eq(&container(pod, asked).unwrap_or_else(|error| error.message));
    }

    #[test]
    fn a_container_is_named_or_the_only_one() {
        let one = json!({"metadata": {"name": "x"}, "spec": {
            "initContainers": [{"name": "i"}], "containers": [{"name": "a"}], "ephemeralContainers": [{"name": "e"}],
        }});
        check(&one, "", expect!["a"]);
        check(&one, "i", expect!["i"]);
        check(&one, "e", expect!["e"]);
        check(&one, "c", expect!["container c is not valid for pod x"]);
        let two = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        check(&two, "", expect!["a container name must be specified for pod x, choose one of: [a b]"]);
    }

    #[test]
    fn a_kubelet_is_found_at_the_internal_address_and_its_own_port() {
        let node = json!({"status": {
            "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10999}},
        }});
        let target = kubelet(&node).unwrap();
        assert_eq!((target.authority().as_str(), target.security), ("10.0.0.1:10999", Security::Kubelet));
        assert!(kubelet(&json!({})).is_err());
        let other = super::node(&node, &spelled("node", "http:n1:9100").unwrap()).unwrap();
        assert_eq!((other.authority().as_str(), other.security), ("10.0.0.1:9100", Security::Plain));
        assert_eq!(super::node(&node, &spelled("node", "n1:10999").unwrap()).unwrap(), target);
    }

    #[test]
    fn names_may_carry_a_scheme_and_a_port() {
        let told = |id| spelled("pod", id).map(|s| (s.https, s.name.to_owned(), s.port.to_owned()));
        assert_eq!(told("a").unwrap(), (false, "a".into(), String::new()));
        assert_eq!(told("a:80").unwrap(), (false, "a".into(), "80".into()));
        assert_eq!(told("https:a:web").unwrap(), (true, "a".into(), "web".into()));
        assert_eq!(told("ftp:a:1").unwrap_err().message, r#"invalid pod request "ftp:a:1""#);
    }

    #[test]
    fn a_proxy_never_reaches_this_machine() {
        for address in ["127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", ""] {
            let spec = json!({"spec": {}, "status": {"podIP": address}});
            let refused = pod(&spec, &spelled("pod", "a").unwrap()).unwrap_err();
            assert_eq!(refused.message, "address not allowed", "{address}");
        }
        let spec =
            json!({"spec": {"containers": [{"ports": [{"containerPort": 8080}]}]}, "status": {"podIP": "10.42.0.5"}});
        assert_eq!(pod(&spec, &spelled("pod", "a").unwrap()).unwrap().authority(), "10.42.0.5:8080");
    }

    #[test]
    fn a_service_port_leads_to_the_pods_behind_it() {
        let service = json!({"spec": {"ports": [{"name": "web", "port": 80}]}});
        let ready = json!({"subsets": [{
            "addresses": [{"ip": "10.42.0.5", "targetRef": {"kind": "Pod", "name": "p"}}, {"ip": "10.1.1.1"}],
            "ports": [{"name": "web", "port": 8080}],
        }]});
        for id in ["s:80", "s:web"] {
            let found = endpoints(&service, &ready, &spelled("service", id).unwrap()).unwrap();
            let found: Vec<String> =
                found.iter().map(|(target, pod)| format!("{pod} {}", target.authority())).collect();
            assert_eq!(found, ["p 10.42.0.5:8080"]);
        }
        let told = |id| endpoints(&service, &ready, &spelled("service", id).unwrap()).unwrap_err().message;
        assert_eq!(told("s:81"), r#"no service port 81 found for service "s""#);
        assert_eq!(told("s"), r#"no endpoints available for service "s""#);
    }
}
