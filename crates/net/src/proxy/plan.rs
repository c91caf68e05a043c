//! From services to map elements, and from two sets of elements to a change. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// A transport protocol by its IP number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

/// UDP's number.
pub const UDP: Protocol = Protocol(17);

impl Protocol {
    fn parse(name: Option<&str>) -> Option<Self> {
        match name.unwrap_or("TCP") {
            "TCP" => Some(Self(6)),
            "UDP" => Some(UDP),
            "SCTP" => Some(Self(132)),
            _ => None,
        }
    }
}

/// Where a connection is picked up: an address of the service, or (no address) any of this node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Front {
    /// A cluster, external or load-balancer address; none for a node port.
    pub address: Option<Ipv4Addr>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its port.
    pub port: u16,
}

/// Where a connection goes.
pub type Target = (Ipv4Addr, u16);

/// How connections are spread over the targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// The targets, ordered and unique.
    pub targets: Vec<Target>,
    /// True to keep one client on one target while the targets stay (`sessionAffinity: ClientIP`).
    pub sticky: bool,
}

/// The elements of one service.
pub type Rules = BTreeMap<Front, Spread>;

/// The elements of `service` given its slices. Endpoints that are ready are used; when none is,
/// those that still serve while they terminate (as upstream's proxy, KEP-1669).
#[must_use]
pub fn rules(service: &Service, slices: &[impl AsRef<EndpointSlice>], node: &str) -> Rules {
    let mut rules = Rules::new();
    let Some(spec) = &service.spec else { return rules };
    if spec.type_.as_deref() == Some("ExternalName")
        || spec.cluster_ip.as_deref().is_none_or(|ip| ip.is_empty() || ip == "None")
    {
        return rules;
    }
    let sticky = spec.session_affinity.as_deref() == Some("ClientIP");
    let inside: Vec<Ipv4Addr> =
        spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).filter_map(|ip| ip.parse().ok()).collect();
    let balancer = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref())
        .and_then(|balancer| balancer.ingress.as_ref());
    let vips = balancer
        .into_iter()
        .flatten()
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_ref());
    let outside: Vec<Ipv4Addr> =
        spec.external_ips.iter().flatten().chain(vips).filter_map(|ip| ip.parse().ok()).collect();
    for port in spec.ports.iter().flatten() {
        let (Some(protocol), Ok(number)) = (Protocol::parse(port.protocol.as_deref()), u16::try_from(port.port)) else {
            continue;
        };
        let spread = |policy: Option<&str>| Spread {
            targets: targets(port, slices, (policy == Some("Local")).then_some(node)),
            sticky,
        };
        let internal = spread(spec.internal_traffic_policy.as_deref());
        let external = spread(spec.external_traffic_policy.as_deref());
        for address in &inside {
            rules.insert(Front { address: Some(*address), protocol, port: number }, internal.clone());
        }
        for address in &outside {
            rules.insert(Front { address: Some(*address), protocol, port: number }, external.clone());
        }
        if let Some(node_port) = port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0) {
            rules.insert(Front { address: None, protocol, port: node_port }, external);
        }
    }
    rules.retain(|_, spread| !spread.targets.is_empty());
    rules
}

fn targets(port: &ServicePort, slices: &[impl AsRef<EndpointSlice>], only_on: Option<&str>) -> Vec<Target> {
    let (mut ready, mut terminating) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices.iter().map(AsRef::as_ref).filter(|slice| slice.address_type == "IPv4") {
        let numbers = slice.ports.iter().flatten().filter(|candidate| {
            candidate.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default()
                && Protocol::parse(candidate.protocol.as_deref()) == Protocol::parse(port.protocol.as_deref())
        });
        let numbers: Vec<u16> = numbers.filter_map(|candidate| u16::try_from(candidate.port?).ok()).collect();
        for endpoint in slice.endpoints.iter().flatten() {
            if only_on.is_some_and(|node| endpoint.node_name.as_deref() != Some(node)) {
                continue;
            }
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let chosen = if conditions.ready.unwrap_or(true) {
                &mut ready
            } else if conditions.serving.unwrap_or(false) && conditions.terminating.unwrap_or(false) {
                &mut terminating
            } else {
                continue;
            };
            let addresses = endpoint.addresses.iter().filter_map(|text| text.parse::<Ipv4Addr>().ok());
            chosen.extend(addresses.flat_map(|address| numbers.iter().map(move |number| (address, *number))));
        }
    }
    let chosen = if ready.is_empty() { terminating } else { ready };
    chosen.into_iter().collect()
}

/// One element of the kernel's maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// A front and how many targets it has.
    Front(Front, u32, bool),
    /// A front, an index and the target there.
    Target(Front, u32, Target),
    /// A target's address: lets a pod that reaches itself through a service be recognised.
    Own(Ipv4Addr),
}

impl Element {
    /// The part that identifies it in its map.
    fn key(&self) -> (u8, Option<Front>, u32, Option<Ipv4Addr>) {
        match self {
            Self::Front(front, ..) => (0, Some(*front), 0, None),
            Self::Target(front, index, _) => (1, Some(*front), *index, None),
            Self::Own(address) => (2, None, 0, Some(*address)),
        }
    }
}

/// The elements of `rules`, without [`Element::Own`], which several services may share.
pub fn elements(rules: &Rules) -> impl Iterator<Item = Element> {
    rules.iter().flat_map(|(front, spread)| {
        let count = u32::try_from(spread.targets.len()).unwrap_or(u32::MAX);
        let targets = (0_u32..).zip(&spread.targets).map(|(index, target)| Element::Target(*front, index, *target));
        std::iter::once(Element::Front(*front, count, spread.sticky)).chain(targets)
    })
}

/// A change of the kernel's maps: removals happen before additions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Elements to take out.
    pub remove: Vec<Element>,
    /// Elements to put in.
    pub add: Vec<Element>,
    /// UDP fronts and the targets they lost: their connections must be forgotten, for UDP has no
    /// end that would do it.
    pub stale: Vec<(Front, Target)>,
}

impl Change {
    /// True when there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }
}

/// What the kernel holds: the rules of every service by its name.
#[derive(Clone, Debug, Default)]
pub struct Held {
    services: BTreeMap<String, Rules>,
    own: BTreeMap<Ipv4Addr, u32>,
}

impl Held {
    /// Replaces the rules of `service` and adds the difference to `change`.
    pub fn replace(&mut self, service: &str, new: Rules, change: &mut Change) {
        let old = self.services.remove(service).unwrap_or_default();
        let (before, after): (BTreeSet<Element>, BTreeSet<Element>) =
            (elements(&old).collect(), elements(&new).collect());
        change.remove.extend(before.difference(&after));
        change.add.extend(after.difference(&before));
        for (front, spread) in old.iter().filter(|(front, _)| front.protocol == UDP) {
            let kept = new.get(front);
            let lost = spread.targets.iter().filter(|target| kept.is_none_or(|kept| !kept.targets.contains(target)));
            change.stale.extend(lost.map(|target| (*front, *target)));
        }
        for address in addresses(&new) {
            let count = self.own.entry(address).or_insert(0);
            *count += 1;
            if *count == 1 {
                change.add.push(Element::Own(address));
            }
        }
        for address in addresses(&old) {
            if let Some(count) = self.own.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    self.own.remove(&address);
                    change.remove.push(Element::Own(address));
                }
            }
        }
        if !new.is_empty() {
            self.services.insert(service.to_owned(), new);
        }
        change.settle();
    }

    /// Everything, as additions to empty maps.
    #[must_use]
    pub fn all(&self) -> Vec<Element> {
        let owned = self.own.keys().map(|address| Element::Own(*address));
        self.services.values().flat_map(elements).chain(owned).collect()
    }
}

impl Change {
    /// An element that is both added and taken out within one change was never there.
    fn settle(&mut self) {
        let both: BTreeSet<Element> =
            self.add.iter().filter(|element| self.remove.contains(element)).copied().collect();
        if !both.is_empty() {
            self.add.retain(|element| !both.contains(element));
            self.remove.retain(|element| !both.contains(element));
        }
        debug_assert!(self.add.iter().map(Element::key).collect::<BTreeSet<_>>().len() <= self.add.len());
    }
}

fn addresses(rules: &Rules) -> BTreeSet<Ipv4Addr> {
    rules.values().flat_map(|spread| spread.targets.iter().map(|(address, _)| *address)).collect()
}

#[cfg(test)]
mod tests;
