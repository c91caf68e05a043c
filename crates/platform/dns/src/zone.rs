//! The names of the cluster, and the one question asked of them. No I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

/// The version of the specification that `dns-version.<domain>` tells.
pub const SPEC_VERSION: &str = "1.1.0";

/// What a service is to DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Cluster addresses; none for a headless service.
    pub addresses: Vec<IpAddr>,
    /// Named ports: name, protocol in lower case, number.
    pub ports: Vec<(String, String, u16)>,
    /// Set for `ExternalName`: where the name leads.
    pub external: Option<String>,
}

/// One address behind a headless service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: IpAddr,
    /// Its own name below the service's, when it has one.
    pub hostname: Option<String>,
}

impl Endpoint {
    /// Its label below the service's name: the host name, or the address with dashes.
    #[must_use]
    pub fn label(&self) -> String {
        self.hostname.clone().unwrap_or_else(|| self.address.to_string().replace(['.', ':'], "-"))
    }
}

/// The endpoints of one slice: ports apply to all its endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Name, protocol in lower case, number.
    pub ports: Vec<(String, String, u16)>,
    /// Those that are ready (or to be published regardless).
    pub endpoints: Vec<Endpoint>,
}

/// The record types we hold answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Port and host of a service.
    Srv,
    /// Name of an address.
    Ptr,
    /// Text.
    Txt,
    /// Alias.
    Cname,
    /// Anything else: a name that exists has no data of it.
    Other,
}

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// SRV.
    Srv {
        /// Port number.
        port: u16,
        /// Host, absolute, without the last dot.
        target: String,
    },
    /// PTR.
    Ptr(String),
    /// TXT.
    Txt(String),
    /// CNAME.
    Cname(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Records of the name asked for; for SRV also the addresses of the targets.
    Records {
        /// For the question itself.
        records: Vec<Data>,
        /// Name and address of each SRV target.
        additional: Vec<(String, IpAddr)>,
    },
    /// The name exists, but has no record of this type.
    NoData,
    /// The name does not exist.
    NoName,
    /// Not a name of ours.
    Elsewhere,
}

/// Namespace and name.
pub type Name = (String, String);

/// Every name of one cluster.
#[derive(Clone, Debug)]
pub struct Zone {
    domain: String,
    services: HashMap<Name, Service>,
    slices: HashMap<Name, BTreeMap<String, Slice>>,
    namespaces: HashSet<String>,
    by_address: HashMap<IpAddr, BTreeSet<Name>>,
    /// Texts that are answered wherever their names are, by name, with who wants it.
    texts: HashMap<String, BTreeMap<Name, String>>,
}

impl Zone {
    /// An empty zone for `domain` (`cluster.local`).
    #[must_use]
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.trim_matches('.').to_ascii_lowercase(),
            services: HashMap::new(),
            slices: HashMap::new(),
            namespaces: HashSet::new(),
            by_address: HashMap::new(),
            texts: HashMap::new(),
        }
    }

    /// The domain, without dots at its ends.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// A namespace came (`true`) or went.
    pub fn namespace(&mut self, name: &str, exists: bool) {
        if exists {
            self.namespaces.insert(name.to_owned());
        } else {
            self.namespaces.remove(name);
        }
    }

    /// A service changed, or went away (`None`).
    pub fn service(&mut self, namespace: &str, name: &str, service: Option<Service>) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(old) = self.services.remove(&key) {
            old.addresses.iter().for_each(|address| self.unlink(address, &key));
        }
        if let Some(new) = service {
            for address in &new.addresses {
                self.by_address.entry(*address).or_default().insert(key.clone());
            }
            self.services.insert(key, new);
        }
    }

    /// Slice `slice` of a service changed, or went away (`None`).
    pub fn slice(&mut self, namespace: &str, service: &str, slice: &str, content: Option<Slice>) {
        let key = (namespace.to_owned(), service.to_owned());
        let slices = self.slices.entry(key.clone()).or_default();
        let old = slices.remove(slice);
        if let Some(new) = &content {
            slices.insert(slice.to_owned(), new.clone());
        }
        if slices.is_empty() {
            self.slices.remove(&key);
        }
        for endpoint in old.into_iter().flat_map(|old| old.endpoints) {
            self.unlink(&endpoint.address, &key);
        }
        for endpoint in content.into_iter().flat_map(|new| new.endpoints) {
            self.by_address.entry(endpoint.address).or_default().insert(key.clone());
        }
    }

    /// `owner` wants `text` answered for TXT `name` (in lower case, without its last dot), or no longer (`None`).
    pub fn text(&mut self, owner: Name, name: &str, text: Option<String>) {
        let texts = self.texts.entry(name.to_owned()).or_default();
        match text {
            Some(text) => drop(texts.insert(owner, text)),
            None => drop(texts.remove(&owner)),
        }
        if texts.is_empty() {
            self.texts.remove(name);
        }
    }

    fn unlink(&mut self, address: &IpAddr, key: &Name) {
        if let Some(names) = self.by_address.get_mut(address) {
            names.remove(key);
            if names.is_empty() {
                self.by_address.remove(address);
            }
        }
    }

    /// Answers a question. `name` is absolute, in lower case, without its last dot.
    #[must_use]
    pub fn answer(&self, name: &str, kind: Type) -> Answer {
        if let Some(address) = address_of_reverse(name) {
            return self.reverse(address, kind);
        }
        if let Some(texts) = self.texts.get(name) {
            return only(kind == Type::Txt, || texts.values().cloned().map(Data::Txt).collect());
        }
        let inside = match name.strip_suffix(self.domain.as_str()) {
            Some("") => return Answer::NoData,
            Some(rest) => rest.strip_suffix('.'),
            None => None,
        };
        let Some(inside) = inside else { return Answer::Elsewhere };
        let mut labels: Vec<&str> = inside.split('.').collect();
        match labels.pop() {
            Some("svc") => self.below_svc(&labels, kind),
            Some("pod") => self.below_pod(&labels, kind),
            Some("dns-version") if labels.is_empty() => {
                only(kind == Type::Txt, || vec![Data::Txt(SPEC_VERSION.to_owned())])
            }
            _ => Answer::NoName,
        }
    }

    fn below_svc(&self, labels: &[&str], kind: Type) -> Answer {
        let (above, namespace) = match labels {
            [] => return Answer::NoData,
            [above @ .., namespace] => (above, *namespace),
        };
        let Some((below, name)) = above.split_last().map(|(name, below)| (below, *name)) else {
            return if self.namespaces.contains(namespace) { Answer::NoData } else { Answer::NoName };
        };
        let key = (namespace.to_owned(), name.to_owned());
        let Some(service) = self.services.get(&key) else { return Answer::NoName };
        if let Some(target) = &service.external {
            return if below.is_empty() { only(true, || vec![Data::Cname(target.clone())]) } else { Answer::NoName };
        }
        match below {
            [] => self.addresses(&key, service, kind),
            [protocol] if is_protocol(protocol) => Answer::NoData,
            [port, protocol] if port.starts_with('_') && is_protocol(protocol) => {
                self.srv(&key, service, &port[1..], &protocol[1..], kind)
            }
            [label] => self.endpoint(&key, label, kind),
            _ => Answer::NoName,
        }
    }

    fn endpoints<'a>(&'a self, key: &Name) -> impl Iterator<Item = &'a Endpoint> {
        self.slices.get(key).into_iter().flat_map(BTreeMap::values).flat_map(|slice| &slice.endpoints)
    }

    fn addresses(&self, key: &Name, service: &Service, kind: Type) -> Answer {
        if !service.addresses.is_empty() {
            return records(service.addresses.iter().copied().filter(|address| fits(*address, kind)));
        }
        let mut seen = HashSet::new();
        let found = self.endpoints(key).map(|endpoint| endpoint.address).filter(|address| seen.insert(*address));
        let found: Vec<IpAddr> = found.collect();
        if found.is_empty() {
            return Answer::NoName; // as CoreDNS: a headless service without endpoints has no name
        }
        records(found.into_iter().filter(|address| fits(*address, kind)))
    }

    fn endpoint(&self, key: &Name, label: &str, kind: Type) -> Answer {
        let named: Vec<IpAddr> =
            self.endpoints(key).filter(|endpoint| endpoint.label() == label).map(|endpoint| endpoint.address).collect();
        if named.is_empty() {
            return Answer::NoName;
        }
        records(named.into_iter().filter(|address| fits(*address, kind)))
    }

    fn srv(&self, key: &Name, service: &Service, port: &str, protocol: &str, kind: Type) -> Answer {
        let host = format!("{}.{}.svc.{}", key.1, key.0, self.domain);
        let matches = |(name, spoken, _): &&(String, String, u16)| name == port && spoken == protocol;
        let mut found = Vec::new();
        let mut additional = Vec::new();
        if service.addresses.is_empty() {
            for slice in self.slices.get(key).into_iter().flat_map(BTreeMap::values) {
                for (_, _, number) in slice.ports.iter().filter(matches) {
                    for endpoint in &slice.endpoints {
                        let target = format!("{}.{host}", endpoint.label());
                        additional.push((target.clone(), endpoint.address));
                        found.push(Data::Srv { port: *number, target });
                    }
                }
            }
        } else {
            for (_, _, number) in service.ports.iter().filter(matches) {
                found.push(Data::Srv { port: *number, target: host.clone() });
                additional.extend(service.addresses.iter().map(|address| (host.clone(), *address)));
            }
        }
        match (found.is_empty(), kind) {
            (true, _) => Answer::NoName,
            (false, Type::Srv) => Answer::Records { records: found, additional },
            (false, _) => Answer::NoData,
        }
    }

    /// `10-42-0-5.default.pod.<domain>`: the address is in the name; the namespace must exist.
    fn below_pod(&self, labels: &[&str], kind: Type) -> Answer {
        match labels {
            [] => Answer::NoData,
            [namespace] if self.namespaces.contains(*namespace) => Answer::NoData,
            [dashed, namespace] if self.namespaces.contains(*namespace) => {
                let address = dashed.replace('-', ".").parse().or_else(|_| dashed.replace('-', ":").parse());
                address.map_or(Answer::NoName, |address: IpAddr| {
                    only(fits(address, kind), || vec![Data::Address(address)])
                })
            }
            _ => Answer::NoName,
        }
    }

    fn reverse(&self, address: IpAddr, kind: Type) -> Answer {
        let Some(keys) = self.by_address.get(&address) else { return Answer::Elsewhere };
        let mut names = Vec::new();
        for key in keys {
            let host = format!("{}.{}.svc.{}", key.1, key.0, self.domain);
            match self.services.get(key) {
                Some(service) if service.addresses.contains(&address) => names.push(Data::Ptr(host)),
                Some(service) if service.addresses.is_empty() => {
                    let labels =
                        self.endpoints(key).filter(|endpoint| endpoint.address == address).map(Endpoint::label);
                    names.extend(labels.map(|label| Data::Ptr(format!("{label}.{host}"))));
                }
                _ => {}
            }
        }
        if names.is_empty() { Answer::Elsewhere } else { only(kind == Type::Ptr, || names) }
    }
}

fn only(fits: bool, records: impl FnOnce() -> Vec<Data>) -> Answer {
    if fits { Answer::Records { records: records(), additional: Vec::new() } } else { Answer::NoData }
}

fn records(addresses: impl Iterator<Item = IpAddr>) -> Answer {
    let records: Vec<Data> = addresses.map(Data::Address).collect();
    only(!records.is_empty(), || records)
}

fn fits(address: IpAddr, kind: Type) -> bool {
    matches!((address, kind), (IpAddr::V4(_), Type::A) | (IpAddr::V6(_), Type::Aaaa))
}

fn is_protocol(label: &str) -> bool {
    matches!(label, "_tcp" | "_udp" | "_sctp")
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` asks for.
fn address_of_reverse(name: &str) -> Option<IpAddr> {
    if let Some(quad) = name.strip_suffix(".in-addr.arpa") {
        let mut bytes = [0_u8; 4];
        let mut labels = quad.split('.');
        for byte in bytes.iter_mut().rev() {
            *byte = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(bytes)));
    }
    let nibbles = name.strip_suffix(".ip6.arpa")?;
    let mut value = 0_u128;
    let mut count = 0;
    for label in nibbles.split('.') {
        let nibble = u128::from_str_radix(label, 16).ok().filter(|nibble| *nibble < 16 && label.len() == 1)?;
        value = (value >> 4) | (nibble << 124);
        count += 1;
    }
    (count == 32).then(|| IpAddr::V6(value.into()))
}

#[cfg(test)]
mod tests;
