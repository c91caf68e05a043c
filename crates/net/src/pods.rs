//! Pods on the node's bridge.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ipam::Ipam;
use crate::{links, names, nft};

/// What the pod network needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the cluster; part of the names of links.
    pub cluster_name: String,
    /// This node's pods, such as `10.42.0.0/24`; the first address is the node's own.
    pub pod_cidr: String,
    /// All pods of the cluster, such as `10.42.0.0/16`.
    pub cluster_cidr: String,
    /// Service addresses, routed to the bridge so that the node itself reaches them.
    pub service_cidr: String,
    /// Where assignments are kept; cleared by a reboot.
    pub run_dir: PathBuf,
    /// Size of the largest packet.
    pub mtu: u32,
}

/// Why the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an address range.
    #[error("{0} is not an IPv4 range such as 10.42.0.0/24")]
    Range(String),
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Socket(#[source] std::io::Error),
    /// The kernel refused a change to a link.
    #[error("cannot {what}")]
    Link {
        /// The attempt.
        what: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// The pod's network namespace is not there.
    #[error("cannot open the network namespace {}", path.display())]
    Namespace {
        /// Where it should be pinned.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bridge went away.
    #[error("the bridge {0} is not there; restart knarr to make it again")]
    NoBridge(String),
    /// Every address is taken.
    #[error("no free address in {0}; delete pods or start the cluster with a larger --pod-cidr")]
    Full(String),
    /// The file of an assignment could not be written or removed.
    #[error("cannot keep address assignments in {}", path.display())]
    Assignments {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A kernel setting could not be made.
    #[error("cannot set {path} to {value}; {remedy}")]
    Sysctl {
        /// The file.
        path: &'static str,
        /// What it should hold.
        value: &'static str,
        /// What helps.
        remedy: &'static str,
    },
    /// The kernel refused packet rules.
    #[error("cannot change packet rules")]
    Rules(#[source] nft::Error),
    /// The kernel closed a connection in the middle.
    #[error("the kernel's answer did not arrive")]
    Interrupted,
}

/// The pod network of this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pods {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    bridge: String,
    network: Ipv4Addr,
    bits: u8,
    ipam: Mutex<Ipam>,
}

/// Kernel settings the network needs: path, value, what helps when it cannot be set.
const SYSCTLS: &[(&str, &str, &str)] = &[
    ("/proc/sys/net/ipv4/ip_forward", "1", "run on a machine whose /proc/sys is writable"),
    ("/proc/sys/net/bridge/bridge-nf-call-iptables", "1", "load the module with: modprobe br_netfilter"),
];

impl Pods {
    /// Makes the bridge, or takes over the one an earlier process left, and reads who has which
    /// address.
    ///
    /// # Errors
    /// When the kernel lacks something or refuses; the message tells what.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let (network, bits) = range(&config.pod_cidr)?;
        let services = range(&config.service_cidr)?;
        let bridge = names::bridge(&config.cluster_name);
        let gateway = Ipv4Addr::from(u32::from(network) + 1);
        links::ensure_bridge(&bridge, gateway, bits, config.mtu, Some(services)).await?;
        for (path, value, remedy) in SYSCTLS {
            sysctl(path, value, remedy)?;
        }
        let dir = config.run_dir.join("addresses");
        let ipam = Ipam::open(dir.clone(), network, bits).map_err(|source| Error::Assignments { path: dir, source })?;
        Ok(Self { inner: Arc::new(Inner { config, bridge, network, bits, ipam: Mutex::new(ipam) }) })
    }

    /// The node's own address on the pod network.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.inner.network) + 1)
    }

    /// Connects the pod `uid`, whose network namespace is pinned at `netns`; returns its address.
    /// Doing it again returns the same address.
    ///
    /// # Errors
    /// When no address is free or the kernel refuses.
    pub async fn attach(&self, uid: &str, netns: &Path) -> Result<Ipv4Addr, Error> {
        let inner = &self.inner;
        let assigned = inner.ipam.lock().assign(uid).map_err(|source| self.assignments(source))?;
        let address = assigned.ok_or_else(|| Error::Full(inner.config.pod_cidr.clone()))?;
        let outside = names::veth(&inner.config.cluster_name, uid);
        links::connect(&links::Connection {
            bridge: &inner.bridge,
            outside: &outside,
            netns,
            address,
            gateway: self.gateway(),
            bits: inner.bits,
            mtu: inner.config.mtu,
        })
        .await?;
        Ok(address)
    }

    /// Disconnects the pod `uid` and frees its address. One that is not connected is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn detach(&self, uid: &str) -> Result<(), Error> {
        links::remove_link(&names::veth(&self.inner.config.cluster_name, uid)).await?;
        self.inner.ipam.lock().release(uid).map_err(|source| self.assignments(source))
    }

    fn assignments(&self, source: std::io::Error) -> Error {
        Error::Assignments { path: self.inner.config.run_dir.join("addresses"), source }
    }
}

/// Parses `10.42.0.0/24`.
pub(crate) fn range(text: &str) -> Result<(Ipv4Addr, u8), Error> {
    let wrong = || Error::Range(text.to_owned());
    let (network, bits) = text.split_once('/').ok_or_else(wrong)?;
    let bits = bits.parse().ok().filter(|bits| (8..=30).contains(bits)).ok_or_else(wrong)?;
    Ok((network.parse().map_err(|_| wrong())?, bits))
}

fn sysctl(path: &'static str, value: &'static str, remedy: &'static str) -> Result<(), Error> {
    if std::fs::read_to_string(path).is_ok_and(|held| held.trim() == value) {
        return Ok(());
    }
    std::fs::write(path, value).map_err(|_| Error::Sysctl { path, value, remedy })
}
