//! `/etc/hosts`, `/etc/resolv.conf` and the host name of a pod.
//!
//! Invariant: pure text in, text out; the wording is upstream's, because programs and tests grep it.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{HostAlias, Pod, PodSpec};

/// The name a pod's processes see, and its domain if it has one.
pub(crate) fn hostname(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let spec = pod.spec.as_ref();
    if let Some(own) = spec.and_then(|spec| spec.hostname_override.clone()) {
        return (own, None);
    }
    let own = spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let mut name = own.unwrap_or_else(|| pod.metadata.name.clone().unwrap_or_default());
    name.truncate(63);
    let name = name.trim_end_matches(['-', '.']).to_owned();
    let subdomain = spec.and_then(|spec| spec.subdomain.clone()).filter(|name| !name.is_empty());
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    (name, subdomain.map(|sub| format!("{sub}.{namespace}.svc.{cluster_domain}")))
}

/// The name given to the kernel: the full one with `setHostnameAsFQDN`.
pub(crate) fn kernel_hostname(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (name, domain) = hostname(pod, cluster_domain);
    let full = pod.spec.as_ref().and_then(|spec| spec.set_hostname_as_fqdn).unwrap_or(false);
    let name = match domain {
        Some(domain) if full => format!("{name}.{domain}"),
        _ => name,
    };
    if name.len() > 64 {
        return Err(format!("failed to construct FQDN from Pod hostname and cluster domain: {name} is longer than 64"));
    }
    Ok(name)
}

/// `/etc/hosts` for a pod with its own network.
pub(crate) fn hosts(pod: &Pod, ips: &[IpAddr], cluster_domain: &str) -> String {
    let (name, domain) = hostname(pod, cluster_domain);
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        match &domain {
            Some(domain) => text.push_str(&format!("{ip}\t{name}.{domain}\t{name}\n")),
            None => text.push_str(&format!("{ip}\t{name}\n")),
        }
    }
    text + &aliases(pod)
}

/// `/etc/hosts` for a pod on the host's network: the host's own, with the aliases.
pub(crate) fn host_network_hosts(pod: &Pod, host: &str) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{host}{}", aliases(pod))
}

fn aliases(pod: &Pod) -> String {
    let all = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default();
    if all.is_empty() {
        return String::new();
    }
    let line =
        |alias: &HostAlias| format!("{}\t{}\n", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join("\t"));
    format!("\n# Entries added by HostAliases.\n{}", all.iter().map(line).collect::<String>())
}

/// A resolver configuration in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Resolver {
    /// Reads a `resolv.conf`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => all.nameservers.extend(words.next().map(str::to_owned)),
                Some("search") => all.searches = words.map(str::to_owned).collect(),
                Some("options") => all.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        all
    }

    /// As the text of a `resolv.conf`.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.nameservers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

/// The resolver of a pod, by its `dnsPolicy` and `dnsConfig`.
pub(crate) fn resolver(pod: &Pod, host: &Resolver, cluster_dns: &[IpAddr], cluster_domain: &str) -> Resolver {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let on_host = spec.host_network.unwrap_or(false);
    let mut chosen = match policy {
        "None" => Resolver::default(),
        "ClusterFirstWithHostNet" => cluster_first(pod, host, cluster_dns, cluster_domain),
        "ClusterFirst" if !on_host => cluster_first(pod, host, cluster_dns, cluster_domain),
        _ => host.clone(),
    };
    if let Some(config) = &spec.dns_config {
        let add = |list: &mut Vec<String>, more: &Option<Vec<String>>| {
            for item in more.iter().flatten() {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
        };
        add(&mut chosen.nameservers, &config.nameservers);
        add(&mut chosen.searches, &config.searches);
        for option in config.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            chosen.options.retain(|old| old.split(':').next() != Some(name));
            chosen.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            });
        }
    }
    chosen
}

fn cluster_first(pod: &Pod, host: &Resolver, cluster_dns: &[IpAddr], domain: &str) -> Resolver {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
    for search in &host.searches {
        if !searches.contains(search) {
            searches.push(search.clone());
        }
    }
    Resolver {
        nameservers: cluster_dns.iter().map(ToString::to_string).collect(),
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "shop"}, "spec": spec})).unwrap()
    }

    fn resolve(spec: serde_json::Value) -> String {
        let host = Resolver::parse("# x\nnameserver 192.0.2.53\nsearch lan\noptions edns0 ndots:2\n");
        resolver(&pod(spec), &host, &["10.43.0.10".parse().unwrap()], "cluster.local").text()
    }

    #[test]
    fn cluster_first_is_the_default() {
        assert_eq!(
            resolve(json!({"containers": []})),
            "search shop.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.43.0.10\noptions ndots:5\n"
        );
    }

    #[test]
    fn pods_on_the_host_network_use_the_hosts_resolver_unless_they_say_otherwise() {
        let own = resolve(json!({"containers": [], "hostNetwork": true}));
        assert!(own.contains("nameserver 192.0.2.53"));
        let with = resolve(json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}));
        assert!(with.contains("nameserver 10.43.0.10"));
    }

    #[test]
    fn the_pods_own_settings_are_merged_in() {
        let text = resolve(json!({"containers": [], "dnsPolicy": "None", "dnsConfig":
            {"nameservers": ["1.1.1.1"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}]}}));
        assert_eq!(text, "search a.b\nnameserver 1.1.1.1\noptions ndots:1 edns0\n");
    }

    #[test]
    fn hosts_names_the_pod_with_its_subdomain_and_the_aliases() {
        let pod = pod(json!({"containers": [], "subdomain": "db",
            "hostAliases": [{"ip": "192.0.2.9", "hostnames": ["a", "b"]}]}));
        let text = hosts(&pod, &["10.42.0.5".parse().unwrap()], "cluster.local");
        assert!(text.contains("\n10.42.0.5\tweb-0.db.shop.svc.cluster.local\tweb-0\n"));
        assert!(text.ends_with("\n# Entries added by HostAliases.\n192.0.2.9\ta\tb\n"));
    }

    #[test]
    fn a_host_name_is_cut_to_what_the_kernel_takes() {
        let mut pod = pod(json!({"containers": []}));
        pod.metadata.name = Some(format!("{}-x", "a".repeat(62)));
        assert_eq!(hostname(&pod, "cluster.local").0, "a".repeat(62));
        assert_eq!(kernel_hostname(&pod, "cluster.local").unwrap(), "a".repeat(62));
    }
}
