//! Settings as meant: every value checked, every open choice made and remembered.
//!
//! What the first start chose (ports, address ranges, node name) is kept in `cluster.json` in the
//! data directory, so that the next start is the same cluster. A cluster called `knarr` uses the
//! standard ports; any other name takes free ones, so that several run side by side.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::host;
use crate::settings::{Fault, Written};

/// The name of a cluster that nobody named.
pub(crate) const DEFAULT_NAME: &str = "knarr";

/// Where a cluster keeps its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Name of the cluster; part of the names of links, tables and cgroups.
    pub(crate) name: String,
    /// What must survive a reboot.
    pub(crate) data_dir: PathBuf,
    /// What must not.
    pub(crate) run_dir: PathBuf,
}

impl Place {
    /// The place of cluster `name`, with `data_dir` where a person asked for one.
    pub(crate) fn new(name: Option<String>, data_dir: Option<PathBuf>) -> Result<Self, Fault> {
        let name = name.unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let short = name.len() <= 20;
        if let Err(problem) = base::name::dns_label(&name)
            .and_then(|()| if short { Ok(()) } else { Err("must be no more than 20 characters".into()) })
        {
            return Err(Fault { place: "--name".to_owned(), problem: format!("{name}: {problem}") });
        }
        let folder = if name == DEFAULT_NAME { name.clone() } else { format!("{DEFAULT_NAME}-{name}") };
        let data_dir = data_dir.unwrap_or_else(|| Path::new("/var/lib").join(&folder));
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        Ok(Self { name, data_dir, run_dir: Path::new("/run").join(folder) })
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.data_dir.join("store").join("knarr.redb")
    }
    pub(crate) fn pki(&self) -> PathBuf {
        self.data_dir.join("pki")
    }
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("kubeconfig")
    }
    pub(crate) fn lock(&self) -> PathBuf {
        self.data_dir.join("knarr.lock")
    }
    pub(crate) fn log(&self) -> PathBuf {
        self.data_dir.join("knarr.log")
    }
    /// Where the gateway answers `knarr gateway`.
    pub(crate) fn gateway_socket(&self) -> PathBuf {
        self.run_dir.join("gateway.sock")
    }
    fn choices(&self) -> PathBuf {
        self.data_dir.join("cluster.json")
    }
}

/// An IPv4 range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    pub(crate) network: Ipv4Addr,
    pub(crate) bits: u8,
}

impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is not an IPv4 range such as 10.42.0.0/16");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let bits: u8 = bits
            .parse()
            .ok()
            .filter(|bits| (8..=24).contains(bits))
            .ok_or_else(|| format!("{text} must have a prefix from /8 to /24"))?;
        let mask = u32::MAX << (32 - u32::from(bits));
        let network = Ipv4Addr::from(u32::from(address) & mask);
        if network != address {
            return Err(format!("{text} has bits set after its prefix; write {network}/{bits}"));
        }
        Ok(Self { network, bits })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

impl Cidr {
    /// The address `offset` after the network's own.
    pub(crate) fn nth(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + offset)
    }
    /// True when the two share an address.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let mask = u32::MAX << (32 - u32::from(self.bits.min(other.bits)));
        u32::from(self.network) & mask == u32::from(other.network) & mask
    }
}

/// Everything `knarr up` needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) place: Place,
    pub(crate) api: SocketAddr,
    pub(crate) runtime_config: Vec<String>,
    pub(crate) node_name: String,
    pub(crate) node_address: IpAddr,
    pub(crate) node_port: u16,
    pub(crate) pods: Cidr,
    pub(crate) services: Cidr,
    pub(crate) node_ports: RangeInclusive<u16>,
    pub(crate) domain: String,
    pub(crate) upstreams: Vec<IpAddr>,
    pub(crate) dns: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) ingress_class: String,
    pub(crate) gateway_addresses: ::gateway::gateways::Pool,
    pub(crate) access_log: (String, f64),
    pub(crate) gateway_socket: PathBuf,
    pub(crate) gateway_metrics: Option<SocketAddr>,
    pub(crate) gateway_zone: String,
    pub(crate) traces: (String, f64),
    pub(crate) gateway_definitions: bool,
    pub(crate) gateway_cache: cache::Settings,
    pub(crate) proxy_protocol_from: Vec<ipnet::IpNet>,
    pub(crate) certs: bool,
    pub(crate) certs_name_servers: Vec<SocketAddr>,
    pub(crate) http01_port: u16,
    pub(crate) insecure_registries: Vec<String>,
    /// The file of the scheduler's own configuration, and what it says.
    pub(crate) scheduler_file: String,
    pub(crate) scheduler: control::scheduler::Config,
}

impl Settings {
    /// Checks `written` and makes the open choices; the faults are all of them.
    pub(crate) fn resolve(place: Place, written: &Written) -> Result<Self, Vec<Fault>> {
        let mut read = Reader {
            written,
            known: remembered(&place.choices()),
            standard: place.name == DEFAULT_NAME,
            taken: Vec::new(),
            faults: Vec::new(),
        };
        let (pods, services) = read.ranges();
        let gateway_ip = pods.nth(1);
        let settings = Self {
            api: SocketAddr::new(read.parse("api.address"), read.port("api.port")),
            runtime_config: read.list("api.runtimeConfig"),
            node_name: read.node_name(),
            node_address: read.chosen("node.address", || host::default_address().unwrap_or(IpAddr::V4(gateway_ip))),
            node_port: read.port("node.port"),
            node_ports: read.node_ports(),
            domain: read.domain(),
            upstreams: read.list("dns.upstreams"),
            dns: read.chosen("dns.listen", || SocketAddr::from((gateway_ip, 53))),
            http: SocketAddr::new(read.parse("gateway.address"), read.port("gateway.httpPort")),
            https: SocketAddr::new(read.parse("gateway.address"), read.port("gateway.httpsPort")),
            ingress_class: read.text("gateway.class"),
            gateway_addresses: read.parse("gateway.addresses"),
            access_log: (read.text("gateway.accessLog"), read.part("gateway.accessLogSample")),
            gateway_definitions: read.parse("gateway.definitions"),
            gateway_cache: read.cache(),
            traces: (read.text("gateway.traces"), read.part("gateway.traceSample")),
            gateway_zone: read.text("gateway.zone"),
            proxy_protocol_from: read.list("gateway.proxyProtocolFrom"),
            gateway_metrics: read.maybe("gateway.metrics"),
            gateway_socket: read.path("gateway.socket", || place.gateway_socket()),
            certs: read.parse("certs.enabled"),
            certs_name_servers: read.list("certs.nameServers"),
            http01_port: read.port("certs.http01Port"),
            insecure_registries: read.list("images.insecureRegistries"),
            scheduler_file: read.text("scheduler.config"),
            scheduler: read.scheduler(),
            pods,
            services,
            place,
        };
        if read.faults.is_empty() { Ok(settings) } else { Err(read.faults) }
    }

    /// The first address of the service range: the service `kubernetes`.
    pub(crate) fn kubernetes_ip(&self) -> Ipv4Addr {
        self.services.nth(1)
    }

    /// The tenth address of the service range: cluster DNS.
    pub(crate) fn dns_ip(&self) -> Ipv4Addr {
        self.services.nth(10)
    }

    /// Remembers what was chosen, for the next start.
    pub(crate) fn remember(&self) -> anyhow::Result<()> {
        let choices: BTreeMap<&str, String> = BTreeMap::from([
            ("api.port", self.api.port().to_string()),
            ("node.name", self.node_name.clone()),
            ("node.port", self.node_port.to_string()),
            ("network.podCIDR", self.pods.to_string()),
            ("network.serviceCIDR", self.services.to_string()),
            ("gateway.httpPort", self.http.port().to_string()),
            ("gateway.httpsPort", self.https.port().to_string()),
        ]);
        let text = serde_json::to_vec_pretty(&choices)?;
        if std::fs::read(self.place.choices()).ok().as_deref() != Some(&text[..]) {
            pki::write_private(&self.place.choices(), &text)?;
        }
        Ok(())
    }

    /// The settings in force, by config key.
    pub(crate) fn effective(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.place.name,
            "dataDir": self.place.data_dir,
            "runDir": self.place.run_dir,
            "api": { "address": self.api.ip(), "port": self.api.port(), "runtimeConfig": self.runtime_config },
            "node": { "name": self.node_name, "address": self.node_address, "port": self.node_port },
            "network": { "podCIDR": self.pods.to_string(), "serviceCIDR": self.services.to_string(), "nodePorts": format!("{}-{}", self.node_ports.start(), self.node_ports.end()) },
            "dns": { "domain": self.domain, "upstreams": self.upstreams, "listen": self.dns },
            "gateway": { "address": self.http.ip(), "httpPort": self.http.port(), "httpsPort": self.https.port(), "class": self.ingress_class,
                "addresses": self.gateway_addresses.to_string(),
                "accessLog": self.access_log.0, "accessLogSample": self.access_log.1, "socket": self.gateway_socket,
                "metrics": self.gateway_metrics, "zone": self.gateway_zone, "definitions": self.gateway_definitions, "cacheMemory": self.gateway_cache.memory,
                "cacheDir": self.gateway_cache.disk.as_ref().map(|disk| &disk.dir),
                "cacheDisk": self.gateway_cache.disk.as_ref().map(|disk| disk.bytes), "traces": self.traces.0, "traceSample": self.traces.1,
                "proxyProtocolFrom": self.proxy_protocol_from.iter().map(ToString::to_string).collect::<Vec<_>>() },
            "certs": { "enabled": self.certs, "nameServers": self.certs_name_servers, "http01Port": self.http01_port },
            "images": { "insecureRegistries": self.insecure_registries },
            "scheduler": { "config": self.scheduler_file },
        })
    }
}

/// What an earlier start chose; nothing when there was none.
fn remembered(file: &Path) -> BTreeMap<String, String> {
    std::fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

struct Reader<'a> {
    written: &'a Written,
    known: BTreeMap<String, String>,
    standard: bool,
    taken: Vec<u16>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, key: &str, problem: String) {
        self.faults.push(Fault { place: self.written.get(key).1.to_owned(), problem });
    }

    fn scheduler(&mut self) -> control::scheduler::Config {
        let (path, place) = self.written.get("scheduler.config");
        crate::scheduler::config(path, place).unwrap_or_else(|mut faults| {
            self.faults.append(&mut faults);
            control::scheduler::Config::default()
        })
    }

    fn text(&self, key: &str) -> String {
        self.written.get(key).0.to_owned()
    }

    /// What a person wrote, else what an earlier start chose.
    fn decided(&self, key: &str) -> Option<String> {
        if self.written.has(key) { Some(self.text(key)) } else { self.known.get(key).cloned() }
    }

    fn parse<T: FromStr + Placeholder>(&mut self, key: &str) -> T {
        let text = self.text(key);
        text.parse().unwrap_or_else(|_| {
            self.fault(key, format!("{key} must be {}, not {text:?}", T::WHAT));
            T::placeholder()
        })
    }

    fn chosen<T: FromStr + Placeholder>(&mut self, key: &str, choose: impl FnOnce() -> T) -> T {
        if self.text(key).is_empty() { choose() } else { self.parse(key) }
    }

    /// A number from 0 to 1.
    fn part(&mut self, key: &str) -> f64 {
        let text = self.text(key);
        let part = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
        part.unwrap_or_else(|| {
            self.fault(key, format!("{key} must be a number from 0 to 1, not {text:?}"));
            1.0
        })
    }

    fn path(&self, key: &str, usual: impl FnOnce() -> PathBuf) -> PathBuf {
        Some(self.text(key)).filter(|text| !text.is_empty()).map_or_else(usual, PathBuf::from)
    }

    /// Where the gateway keeps answers.
    fn cache(&mut self) -> cache::Settings {
        let (memory, disk) = (self.size("gateway.cacheMemory"), self.size("gateway.cacheDisk"));
        let dir = Some(self.text("gateway.cacheDir")).filter(|dir| !dir.is_empty());
        cache::Settings { memory, disk: dir.map(|dir| cache::DiskSettings { dir: dir.into(), bytes: disk }) }
    }

    fn size(&mut self, key: &str) -> u64 {
        let text = self.text(key);
        crate::edge::size(&text).unwrap_or_else(|problem| {
            self.fault(key, format!("{key} cannot be {text:?}: {problem}"));
            0
        })
    }

    fn maybe<T: FromStr + Placeholder>(&mut self, key: &str) -> Option<T> {
        (!self.text(key).is_empty()).then(|| self.parse(key))
    }

    fn list<T: FromStr>(&mut self, key: &str) -> Vec<T> {
        let text = self.text(key);
        let mut items = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item.parse() {
                Ok(item) => items.push(item),
                Err(_) => self.fault(key, format!("{key} cannot hold {item:?}")),
            }
        }
        items
    }

    fn port(&mut self, key: &str) -> u16 {
        let text = match self.decided(key) {
            Some(text) => text,
            None if self.standard => self.text(key),
            None => return self.free_port(),
        };
        match text.parse::<u16>() {
            Ok(port) if port > 0 => {
                self.taken.push(port);
                port
            }
            _ => {
                self.fault(key, format!("{key} must be a port from 1 to 65535, not {text:?}"));
                0
            }
        }
    }

    /// A port nobody listens on, outside the range the kernel hands out to clients.
    fn free_port(&mut self) -> u16 {
        let free =
            (20_000..30_000).find(|port| !self.taken.contains(port) && TcpListener::bind(("0.0.0.0", *port)).is_ok());
        let port = free.unwrap_or_default();
        self.taken.push(port);
        port
    }

    fn ranges(&mut self) -> (Cidr, Cidr) {
        let taken = host::ranges_in_use();
        let decided = (self.decided("network.podCIDR"), self.decided("network.serviceCIDR"));
        let free = |candidate: &Cidr| !taken.iter().any(|range| range.overlaps(candidate));
        let mut choices = (42..250).step_by(2).map(|second| {
            let range = |second: u8| Cidr { network: Ipv4Addr::new(10, second, 0, 0), bits: 16 };
            (range(second), range(second + 1))
        });
        let choice = choices.find(|(pods, services)| free(pods) && free(services));
        let Some((pods, services)) = choice else {
            self.fault(
                "network.podCIDR",
                "no free address range in 10.0.0.0/8; give --pod-cidr and --service-cidr".to_owned(),
            );
            return (Cidr::placeholder(), Cidr::placeholder());
        };
        let mut read = |key, text: Option<String>, otherwise| match text.map(|text| text.parse::<Cidr>()) {
            None => otherwise,
            Some(Ok(range)) => range,
            Some(Err(problem)) => {
                self.fault(key, problem);
                otherwise
            }
        };
        let pods = read("network.podCIDR", decided.0, pods);
        let services = read("network.serviceCIDR", decided.1, services);
        if pods.overlaps(&services) {
            self.fault("network.serviceCIDR", format!("the service range {services} overlaps the pod range {pods}"));
        }
        (pods, services)
    }

    fn node_name(&mut self) -> String {
        let name = self.decided("node.name").filter(|name| !name.is_empty()).unwrap_or_else(host::name);
        if let Err(problem) = base::name::dns_subdomain(&name) {
            self.fault("node.name", format!("{name:?} cannot name a node: {problem}; give --node-name"));
        }
        name
    }

    fn domain(&mut self) -> String {
        let domain = self.text("dns.domain");
        if let Err(problem) = base::name::dns_subdomain(&domain) {
            self.fault("dns.domain", problem.into());
        }
        domain
    }

    fn node_ports(&mut self) -> RangeInclusive<u16> {
        let text = self.text("network.nodePorts");
        let ends = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        match ends {
            Some((first, last)) if 0 < first && first <= last => first..=last,
            _ => {
                self.fault("network.nodePorts", format!("must be two ports such as 30000-32767, not {text:?}"));
                0..=0
            }
        }
    }
}

/// A value to go on with after a fault, so that the next fault is found too.
trait Placeholder {
    const WHAT: &'static str;
    fn placeholder() -> Self;
}
impl Placeholder for IpAddr {
    const WHAT: &'static str = "an IP address";
    fn placeholder() -> Self {
        Self::V4(Ipv4Addr::UNSPECIFIED)
    }
}
impl Placeholder for SocketAddr {
    const WHAT: &'static str = "an address with a port, such as 10.42.0.1:53";
    fn placeholder() -> Self {
        Self::from(([0, 0, 0, 0], 0))
    }
}
impl Placeholder for ::gateway::gateways::Pool {
    const WHAT: &'static str = "addresses and ranges such as 192.0.2.7,192.0.2.10-192.0.2.20";
    fn placeholder() -> Self {
        Self::default()
    }
}
impl Placeholder for bool {
    const WHAT: &'static str = "true or false";
    fn placeholder() -> Self {
        false
    }
}
impl Placeholder for Cidr {
    const WHAT: &'static str = "an IPv4 range such as 10.42.0.0/16";
    fn placeholder() -> Self {
        Self { network: Ipv4Addr::UNSPECIFIED, bits: 16 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ROWS;

    fn place(dir: &Path, name: &str) -> Place {
        Place { name: name.to_owned(), data_dir: dir.to_owned(), run_dir: dir.join("run") }
    }

    #[test]
    fn all_faults_are_told_at_once_with_their_place() {
        let dir = tempfile::tempdir().expect("dir");
        let text = "api:\n  port: 99999\nnetwork:\n  serviceCIDR: 10.42.0.0/16\n  podCIDR: 10.42.0.0/16\ndns:\n  domain: A_b\n";
        let written = Written::from_yaml(text, "knarr.yaml").expect("keys are known");
        let faults = Settings::resolve(place(dir.path(), "knarr"), &written).expect_err("faults");
        let places: Vec<_> = faults.iter().map(|fault| fault.place.as_str()).collect();
        assert_eq!(places, ["knarr.yaml:4", "knarr.yaml:2", "knarr.yaml:7"]);
    }

    #[test]
    fn a_second_start_is_the_same_cluster() {
        let dir = tempfile::tempdir().expect("dir");
        let first = Settings::resolve(place(dir.path(), "blue"), &Written::default()).expect("settings");
        first.remember().expect("written");
        let again = Settings::resolve(place(dir.path(), "blue"), &Written::default()).expect("settings");
        assert_eq!((first.api, first.pods, first.https), (again.api, again.pods, again.https));
        assert_ne!(first.http.port(), first.https.port());
    }

    #[test]
    fn the_effective_settings_name_every_key_of_the_table() {
        let dir = tempfile::tempdir().expect("dir");
        let settings = Settings::resolve(place(dir.path(), "blue"), &Written::default()).expect("settings");
        let effective = settings.effective();
        for row in ROWS.iter().filter(|row| row.up && row.key != "log.filter") {
            let pointer = format!("/{}", row.key.replace('.', "/"));
            assert!(effective.pointer(&pointer).is_some(), "{} is missing", row.key);
        }
    }

    #[test]
    fn ranges_overlap_when_they_share_an_address() {
        let range = |text: &str| text.parse::<Cidr>().expect("range");
        assert!(range("10.0.0.0/8").overlaps(&range("10.42.0.0/16")));
        assert!(!range("10.42.0.0/16").overlaps(&range("10.43.0.0/16")));
        assert!("10.42.0.1/16".parse::<Cidr>().is_err());
    }
}
