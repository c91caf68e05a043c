//! What the machine says of itself: name, addresses, and what Knarr needs that it may lack.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use anyhow::{Context as _, bail};
use base::zone::Zone;

use crate::meant::{Cidr, Settings};

/// The host name in lower case; `localhost` when the machine has none.
pub(crate) fn name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    if name.is_empty() || name == "(none)" { "localhost".to_owned() } else { name }
}

/// The address of the interface the default route leaves by. No packet is sent: connecting a UDP
/// socket only asks the routing table.
pub(crate) fn default_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?; // TEST-NET-1: stands for "elsewhere"
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// The address ranges the routing table already sends somewhere.
pub(crate) fn ranges_in_use() -> Vec<Cidr> {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    table.lines().skip(1).filter_map(route).collect()
}

/// One line of `/proc/net/route`: interface, destination, gateway, ..., mask; little-endian hex.
fn route(line: &str) -> Option<Cidr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let address = |text: &&str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    let (network, mask) = (address(fields.get(1)?)?, address(fields.get(7)?)?);
    let bits = u8::try_from(mask.leading_ones()).ok().filter(|bits| *bits > 0)?;
    Some(Cidr { network: Ipv4Addr::from(network), bits })
}

/// The zone that the machine's clocks show: what `TZ` says, else what /etc/localtime leads to, else what /etc/timezone
/// names; UTC if none of them names a zone.
pub(crate) fn time_zone() -> Zone {
    let told = std::env::var("TZ").ok();
    let link = std::fs::read_link("/etc/localtime").ok().map(|path| path.display().to_string());
    let written = std::fs::read_to_string("/etc/timezone").ok();
    zone(told.as_deref(), link.as_deref(), written.as_deref())
}

fn zone(told: Option<&str>, link: Option<&str>, written: Option<&str>) -> Zone {
    let named = |text: &str| {
        let text = text.trim().trim_start_matches(':');
        Zone::named(text.rsplit_once("zoneinfo/").map_or(text, |(_, name)| name)).ok()
    };
    match told {
        Some(told) => named(told),
        None => link.and_then(named).or_else(|| written.and_then(named)),
    }
    .unwrap_or(Zone::UTC)
}

/// Refuses whoever may not do what a cluster needs; asked first, as it explains all that would fail later.
pub(crate) fn privileged() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("knarr up needs root to make namespaces, mounts and network links; run it with sudo");
    }
    Ok(())
}

/// Refuses what cannot work before anything is touched.
pub(crate) fn check(settings: &Settings) -> anyhow::Result<()> {
    for (path, feature, remedy) in NEEDED {
        if !Path::new(path).exists() {
            bail!("this kernel or container offers no {feature} ({path} is missing); {remedy}");
        }
    }
    let filesystems = std::fs::read_to_string("/proc/filesystems").context("cannot read /proc/filesystems")?;
    if !filesystems.lines().any(|line| line.ends_with("\toverlay")) {
        bail!("this kernel has no overlay file system, which image layers need; load it with: modprobe overlay");
    }
    let wanted = [
        (settings.api, "the Kubernetes API", "--api-port"),
        (SocketAddr::new(settings.api.ip(), settings.node_port), "the node's API", "--node-port"),
        (settings.http, "the gateway's HTTP", "--http-port"),
        (settings.https, "the gateway's HTTPS", "--https-port"),
    ];
    for (address, what, flag) in wanted {
        if let Err(error) = TcpListener::bind(address) {
            bail!("cannot listen on {address} for {what}: {error}; free the port or choose another with {flag}");
        }
    }
    Ok(())
}

/// Paths that exist only when the kernel has what we need.
const NEEDED: &[(&str, &str, &str)] = &[
    ("/proc/self/ns/net", "network namespaces", "use a kernel with CONFIG_NET_NS"),
    ("/proc/self/ns/pid", "process namespaces", "use a kernel with CONFIG_PID_NS"),
    ("/sys/fs/cgroup", "control groups", "mount them with: mount -t cgroup2 none /sys/fs/cgroup"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_line_gives_its_range() {
        let line = "eth0\t00002A0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0";
        assert_eq!(route(line).map(|range| range.to_string()).as_deref(), Some("10.42.0.0/16"));
        assert_eq!(
            route("eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0"),
            None,
            "the default route is no range"
        );
    }

    #[test]
    fn the_time_zone_is_the_one_the_machine_is_told() {
        let named = |name: &str| Zone::named(name).expect("a zone");
        let link = Some("../usr/share/zoneinfo/Europe/Berlin");
        assert_eq!(zone(None, link, Some("Asia/Tokyo\n")), named("Europe/Berlin"));
        assert_eq!(zone(None, Some("/etc/own"), Some("Asia/Tokyo\n")), named("Asia/Tokyo"));
        assert_eq!(zone(Some(":America/New_York"), link, None), named("America/New_York"));
        assert_eq!(zone(Some("/usr/share/zoneinfo/Asia/Tokyo"), link, None), named("Asia/Tokyo"));
        assert_eq!((zone(Some(""), link, None), zone(Some("Mars"), link, None)), (Zone::UTC, Zone::UTC));
        assert_eq!(zone(None, None, None), Zone::UTC);
    }
}
