//! What a person can set, as one table: config key, flag, default and meaning of each setting.
//!
//! The table feeds `--help`, shell completion, the config file reader and `knarr config`. As
//! written ([`Written`]: text by key) becomes as meant ([`crate::meant::Settings`]: checked
//! values); all faults are told at once.

use std::collections::BTreeMap;

/// One setting.
#[derive(Debug)]
pub(crate) struct Row {
    /// Key in `knarr.yaml`, dotted.
    pub(crate) key: &'static str,
    /// Flag without the dashes.
    pub(crate) flag: &'static str,
    /// Placeholder in `--help`.
    pub(crate) value: &'static str,
    /// Default as text; empty when it is found out at start.
    pub(crate) default: &'static str,
    /// One line, lower case.
    pub(crate) help: &'static str,
    /// Roles of `knarr run` that read it.
    pub(crate) roles: &'static [&'static str],
    /// Whether `up` reads it.
    pub(crate) up: bool,
}

const fn row(
    key: &'static str,
    flag: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Row {
    Row { key, flag, value, default, help, roles: &[], up: true }
}

const fn shared(
    key: &'static str,
    flag: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
    roles: &'static [&'static str],
) -> Row {
    Row { key, flag, value, default, help, roles, up: true }
}

/// A setting of roles that do without it in `up`.
const fn alone(row: Row) -> Row {
    Row { up: false, ..row }
}

/// Every setting, in the order people read them.
pub(crate) static ROWS: &[Row] = &[
    row("api.address", "api-address", "IP", "0.0.0.0", "address the Kubernetes API listens on"),
    row("api.port", "api-port", "PORT", "6443", "port of the Kubernetes API"),
    row(
        "api.runtimeConfig",
        "runtime-config",
        "G/V,..",
        "",
        "further API versions to serve, such as resource.k8s.io/v1beta2",
    ),
    row("node.name", "node-name", "NAME", "", "name of this node [default: the host name]"),
    row("node.address", "node-address", "IP", "", "address of this node [default: that of the default route]"),
    row("node.port", "node-port", "PORT", "10250", "port of the node's own API (logs, exec)"),
    row("network.podCIDR", "pod-cidr", "CIDR", "10.42.0.0/16", "addresses of pods"),
    row("network.serviceCIDR", "service-cidr", "CIDR", "10.43.0.0/16", "addresses of services"),
    row("network.nodePorts", "node-ports", "A-B", "30000-32767", "ports for services of type NodePort"),
    shared(
        "dns.domain",
        "dns-domain",
        "NAME",
        "cluster.local",
        "domain of the cluster's own names",
        &["dns", "gateway"],
    ),
    shared(
        "dns.upstreams",
        "dns-upstreams",
        "IP,..",
        "",
        "name servers for all other names [default: /etc/resolv.conf]",
        &["dns"],
    ),
    shared(
        "dns.listen",
        "dns-listen",
        "IP:PORT",
        "",
        "where cluster DNS listens [default: port 53 of the pod network's gateway]",
        &["dns"],
    ),
    shared("gateway.address", "gateway-address", "IP", "0.0.0.0", "address the gateway listens on", &["gateway"]),
    shared("gateway.httpPort", "http-port", "PORT", "80", "port of the gateway for HTTP", &["gateway"]),
    shared("gateway.httpsPort", "https-port", "PORT", "443", "port of the gateway for HTTPS", &["gateway"]),
    shared("gateway.class", "ingress-class", "NAME", "knarr", "IngressClass the gateway serves", &["gateway", "certs"]),
    shared(
        "gateway.addresses",
        "gateway-addresses",
        "IP,A-B,..",
        "",
        "addresses that Gateways get for their own [default: they share the gateway's]",
        &["gateway"],
    ),
    shared(
        "gateway.accessLog",
        "access-log",
        "FILE",
        "",
        "file that gets a line of JSON for each request, - for standard output [default: none]",
        &["gateway"],
    ),
    shared(
        "gateway.accessLogSample",
        "access-log-sample",
        "0..1",
        "1",
        "part of all requests that gets a line",
        &["gateway"],
    ),
    shared(
        "gateway.proxyProtocolFrom",
        "proxy-protocol-from",
        "CIDR,..",
        "",
        "load balancers in front of the gateway, whose connections begin with a PROXY header [default: none]",
        &["gateway"],
    ),
    shared(
        "gateway.traces",
        "gateway-traces",
        "URL",
        "",
        "OpenTelemetry collector that gets a span per sampled request, http://HOST:4318 [default: none]",
        &["gateway"],
    ),
    shared(
        "gateway.traceSample",
        "gateway-trace-sample",
        "0..1",
        "0.01",
        "part of the traces that begin at the gateway which is sampled",
        &["gateway"],
    ),
    shared(
        "gateway.definitions",
        "gateway-definitions",
        "BOOL",
        "true",
        "bring the kinds of the Gateway API and of policies where they are missing",
        &["gateway"],
    ),
    shared(
        "gateway.cacheMemory",
        "gateway-cache-memory",
        "SIZE",
        "64Mi",
        "bytes of answers the gateway keeps in memory, for routes with a CachePolicy",
        &["gateway"],
    ),
    shared(
        "gateway.cacheDir",
        "gateway-cache-dir",
        "DIR",
        "",
        "directory where the gateway keeps answers on disk as well [default: none]",
        &["gateway"],
    ),
    shared(
        "gateway.cacheDisk",
        "gateway-cache-disk",
        "SIZE",
        "4Gi",
        "bytes of answers the gateway keeps on disk",
        &["gateway"],
    ),
    shared(
        "gateway.zone",
        "gateway-zone",
        "ZONE",
        "",
        "zone of the machine, for services that prefer endpoints close by [default: none]",
        &["gateway"],
    ),
    shared(
        "gateway.metrics",
        "gateway-metrics",
        "IP:PORT",
        "",
        "where the gateway tells its figures to Prometheus [default: only on its socket]",
        &["gateway"],
    ),
    shared(
        "gateway.socket",
        "gateway-socket",
        "FILE",
        "",
        "socket that answers `knarr gateway` and `knarr cache` [default: gateway.sock in the run directory]",
        &["gateway"],
    ),
    row(
        "certs.enabled",
        "certs",
        "BOOL",
        "true",
        "whether the kinds of cert-manager.io are served; false where cert-manager itself is to be installed",
    ),
    shared(
        "certs.nameServers",
        "certs-name-servers",
        "IP:PORT,..",
        "",
        "name servers asked whether a TXT record can be found, before an ACME server is [default: /etc/resolv.conf]",
        &["certs"],
    ),
    shared(
        "certs.http01Port",
        "certs-http01-port",
        "PORT",
        "80",
        "port at which ACME servers ask for http-01; other than 80 with servers for tests only",
        &["certs"],
    ),
    alone(shared(
        "metrics.listen",
        "metrics-listen",
        "IP:PORT",
        "0.0.0.0:4443",
        "where the metrics server listens when it runs beside another API server",
        &["metrics"],
    )),
    alone(shared(
        "metrics.service",
        "metrics-service",
        "NAMESPACE/NAME",
        "kube-system/metrics-server",
        "service that leads to the metrics server when it runs beside another API server",
        &["metrics"],
    )),
    alone(shared(
        "metrics.kubeletInsecureTLS",
        "kubelet-insecure-tls",
        "BOOL",
        "false",
        "ask kubelets whose certificates no known authority signed",
        &["metrics"],
    )),
    row(
        "images.insecureRegistries",
        "insecure-registries",
        "HOST,..",
        "",
        "registries reached over plain HTTP besides those on this machine",
    ),
    shared(
        "scheduler.config",
        "scheduler-config",
        "FILE",
        "",
        "a KubeSchedulerConfiguration: profiles, plugins and their arguments",
        &["scheduler"],
    ),
    shared(
        "log.filter",
        "log",
        "FILTER",
        "info",
        "what is logged, such as info,node=debug",
        &["dns", "gateway", "certs", "scheduler", "metrics", "controllers"],
    ),
];

/// Settings as written by a person, text by key, with where each was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    values: BTreeMap<&'static str, (String, String)>,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where it stands: `knarr.yaml:3` or `--api-port`.
    pub(crate) place: String,
    /// What is wrong and what would be right.
    pub(crate) problem: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl Written {
    /// Reads a config file's text. Unknown keys and values that are no scalars or lists are faults.
    pub(crate) fn from_yaml(text: &str, file: &str) -> Result<Self, Vec<Fault>> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let tree: serde_json::Value = serde_saphyr::from_str(text)
            .map_err(|error| vec![Fault { place: file.to_owned(), problem: format!("not YAML: {error}") }])?;
        let mut written = Self::default();
        let mut faults = Vec::new();
        for (path, value) in leaves(&tree) {
            let place = format!("{file}:{}", line_of(text, &path));
            match (ROWS.iter().find(|row| row.key == path), scalar_text(&value)) {
                (Some(row), Some(text)) => drop(written.values.insert(row.key, (text, place))),
                (Some(_), None) => {
                    faults.push(Fault { place, problem: format!("{path} takes a value or a list of values") })
                }
                (None, _) => faults.push(Fault { place, problem: unknown(&path) }),
            }
        }
        if faults.is_empty() { Ok(written) } else { Err(faults) }
    }

    /// Sets `key` from a flag; flags override the file.
    pub(crate) fn set(&mut self, row: &'static Row, text: String) {
        self.values.insert(row.key, (text, format!("--{}", row.flag)));
    }

    /// The text of `key` and where it was written; the default when it was not.
    pub(crate) fn get(&self, key: &str) -> (&str, &str) {
        if let Some((text, place)) = self.values.get(key) {
            return (text, place);
        }
        let row = ROWS.iter().find(|row| row.key == key).expect("invariant: only keys of the table are read");
        (row.default, "the default")
    }

    /// True when a person wrote `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }
}

fn unknown(path: &str) -> String {
    let near = ROWS.iter().map(|row| row.key).min_by_key(|key| distance(key, path)).unwrap_or_default();
    format!("unknown setting {path}; did you mean {near}? see knarr up --help for all")
}

/// Leaves of a YAML tree with their dotted paths; lists count as leaves.
fn leaves(tree: &serde_json::Value) -> Vec<(String, serde_json::Value)> {
    fn walk(prefix: &str, value: &serde_json::Value, found: &mut Vec<(String, serde_json::Value)>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    walk(&path, value, found);
                }
            }
            other => found.push((prefix.to_owned(), other.clone())),
        }
    }
    let mut found = Vec::new();
    walk("", tree, &mut found);
    found
}

fn scalar_text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(flag) => Some(flag.to_string()),
        serde_json::Value::Null => Some(String::new()),
        serde_json::Value::Array(items) => {
            items.iter().map(scalar_text).collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        serde_json::Value::Object(_) => None,
    }
}

/// The line on which the last part of `path` is written, following its parents downwards.
fn line_of(text: &str, path: &str) -> usize {
    let mut line = 0;
    for part in path.split('.') {
        let found = text.lines().enumerate().skip(line).find(|(_, content)| {
            content
                .trim_start()
                .trim_start_matches("- ")
                .strip_prefix(part)
                .is_some_and(|rest| rest.trim_start().starts_with(':'))
        });
        line = found.map_or(line, |(number, _)| number);
    }
    line + 1
}

/// Edit distance, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_flags_are_unique() {
        let mut keys: Vec<_> = ROWS.iter().map(|row| row.key).collect();
        let mut flags: Vec<_> = ROWS.iter().map(|row| row.flag).collect();
        keys.sort_unstable();
        keys.dedup();
        flags.sort_unstable();
        flags.dedup();
        assert_eq!((keys.len(), flags.len()), (ROWS.len(), ROWS.len()));
    }

    #[test]
    fn a_file_sets_what_it_names_and_flags_override_it() {
        let mut written =
            Written::from_yaml("api:\n  port: 7443\ndns:\n  upstreams: [1.1.1.1, 9.9.9.9]\n", "knarr.yaml")
                .expect("no faults");
        assert_eq!(written.get("api.port"), ("7443", "knarr.yaml:2"));
        assert_eq!(written.get("dns.upstreams").0, "1.1.1.1,9.9.9.9");
        assert_eq!(written.get("gateway.httpPort"), ("80", "the default"));
        written.set(ROWS.iter().find(|row| row.flag == "api-port").expect("row"), "8443".to_owned());
        assert_eq!(written.get("api.port"), ("8443", "--api-port"));
    }

    #[test]
    fn every_unknown_key_is_told_with_its_line_and_the_likely_meaning() {
        let faults = Written::from_yaml("api:\n  prot: 1\ngateway:\n  htpPort: 2\n", "knarr.yaml").expect_err("faults");
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "knarr.yaml:2: unknown setting api.prot; did you mean api.port? see knarr up --help for all",
                "knarr.yaml:4: unknown setting gateway.htpPort; did you mean gateway.httpPort? see knarr up --help for all",
            ]
        );
    }
}
