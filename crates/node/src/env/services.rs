//! Service environment variables in the docker-links form that pods have always had.
//!
//! Invariant: only services with a cluster IP appear; headless and ExternalName ones have nothing to point at.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;

/// Variables for the services of `namespace` (if `links`) and always for `default/kubernetes`.
pub(crate) fn variables<'a>(
    services: impl Iterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut own = Vec::new();
    for service in services {
        let place = service.metadata.namespace.as_deref().unwrap_or_default();
        let name = service.metadata.name.as_deref().unwrap_or_default();
        if place == namespace && links {
            own.push(service);
        } else if place == "default" && name == "kubernetes" {
            add(&mut env, service);
        }
    }
    for service in own {
        add(&mut env, service); // a namespace's own "kubernetes" service wins, as upstream
    }
    env
}

fn add(env: &mut BTreeMap<String, String>, service: &Service) {
    let Some(spec) = &service.spec else { return };
    let ip = match spec.cluster_ip.as_deref() {
        None | Some("" | "None") => return,
        Some(ip) => ip,
    };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return };
    let name = shout(service.metadata.name.as_deref().unwrap_or_default());
    env.insert(format!("{name}_SERVICE_HOST"), ip.to_owned());
    env.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            env.insert(format!("{name}_SERVICE_PORT_{}", shout(port_name)), port.port.to_string());
        }
    }
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            env.insert(format!("{name}_PORT"), url.clone());
        }
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
        env.insert(prefix.clone(), url);
        env.insert(format!("{prefix}_PROTO"), protocol.to_lowercase());
        env.insert(format!("{prefix}_PORT"), port.port.to_string());
        env.insert(format!("{prefix}_ADDR"), ip.to_owned());
    }
}

fn shout(name: &str) -> String {
    name.to_uppercase().replace(['-', '.'], "_")
}
