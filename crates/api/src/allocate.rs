//! Cluster addresses and node ports: exact after a crash, because the services themselves are the only record.
//!
//! A number belongs to the service that shows it. Admission takes numbers before the write ([`Services::take_address`]);
//! when the write is over they are settled: given back if it failed, and otherwise kept exactly as long as the store
//! shows them with their owner. That last question is asked of the store on every relevant event, so it does not matter by
//! which path a service went away. Nothing is stored beside the services: at start the table is rebuilt from them.
//!
//! Upstream keeps IPAddress objects and a port bitmap in etcd and repairs them in a loop; with one allocator in the one
//! process that writes, there is nothing to repair.

mod pool;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    sync::Arc,
};

use parking_lot::Mutex;
use serde_json::Value;
use store::{Event, Range, RangeError, Revision, Store, WatchError};

use pool::{Pool, Refusal};

const PREFIX: &str = "/core/services/";

/// Something a service has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    Address(IpAddr),
    Port(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// `IPv4` or `IPv6`, as `spec.ipFamilies` spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::V4, Self::V6].into_iter().find(|family| family.name() == name)
    }
}

/// Why a number cannot be had; the texts are upstream's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    #[error("provided IP is already allocated")]
    AddressTaken,
    #[error("the provided IP ({address}) is not in the valid range. The range of valid IPs is {cidr}")]
    AddressOutOfRange { address: IpAddr, cidr: String },
    #[error("provided port is already allocated")]
    PortTaken,
    #[error("provided port is not in the valid range. The range of valid ports is {0}-{1}")]
    PortOutOfRange(u16, u16),
    #[error("range is full")]
    Full,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the service range {0:?} is not one CIDR such as 10.43.0.0/16, or an IPv4 and an IPv6 one separated by a comma"
)]
pub struct RangeFault(String);

/// The addresses of one CIDR, without its network address and (IPv4) broadcast address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    text: String,
    family: Family,
    /// The first usable address.
    first: u128,
    size: u64,
}

impl Cidr {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.trim().split_once('/')?;
        let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
        let (bits, value) = match address {
            IpAddr::V4(v4) => (32, u128::from(u32::from(v4))),
            IpAddr::V6(v6) => (128, u128::from(v6)),
        };
        let host = bits - u32::min(length, bits);
        if length > bits || host < 2 || (bits == 128 && host > 64) {
            return None;
        }
        let base = value >> host << host;
        let all = 1u128 << host;
        let usable = if address.is_ipv4() { all - 2 } else { all - 1 };
        let size = u64::try_from(usable).unwrap_or(u64::MAX);
        Some(Self { text: text.trim().to_owned(), family: Family::of(address), first: base + 1, size })
    }

    /// The n-th usable address; 0 is the one of the `kubernetes` service.
    pub(crate) fn address(&self, number: u64) -> IpAddr {
        let value = self.first + u128::from(number);
        match self.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(value).unwrap_or(u32::MAX))),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(value)),
        }
    }

    fn number(&self, address: IpAddr) -> Option<u64> {
        let value = match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        let number = u64::try_from(value.checked_sub(self.first)?).ok()?;
        (Family::of(address) == self.family && number < self.size).then_some(number)
    }
}

/// Reads the service range: one CIDR, or one of each family with the default family first.
pub(crate) fn parse_cidrs(text: &str) -> Result<Vec<Cidr>, RangeFault> {
    let cidrs: Option<Vec<Cidr>> = text.split(',').map(Cidr::parse).collect();
    match cidrs {
        Some(cidrs) if cidrs.len() == 1 || (cidrs.len() == 2 && cidrs[0].family != cidrs[1].family) => Ok(cidrs),
        _ => Err(RangeFault(text.to_owned())),
    }
}

/// Upstream's static band: a sixteenth of the range, at least 16 and at most 256 addresses.
fn address_band(size: u64) -> u64 {
    if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }
}

fn port_band(size: u64) -> u64 {
    if size <= 16 { 0 } else { (size / 32).clamp(16, 128) }
}

struct Pools {
    addresses: Vec<Pool>,
    ports: Pool,
}

/// All the numbers services can have.
pub(crate) struct Services {
    cidrs: Vec<Cidr>,
    port_range: RangeInclusive<u16>,
    pools: Mutex<Pools>,
    store: Arc<dyn Store>,
}

impl Services {
    pub(crate) fn new(range: &str, ports: RangeInclusive<u16>, store: Arc<dyn Store>) -> Result<Self, RangeFault> {
        let cidrs = parse_cidrs(range)?;
        let addresses = cidrs.iter().map(|cidr| Pool::new(cidr.size, address_band(cidr.size))).collect();
        let size = u64::from(ports.end().saturating_sub(*ports.start())) + 1;
        let pools = Pools { addresses, ports: Pool::new(size, port_band(size)) };
        Ok(Self { cidrs, port_range: ports, pools: Mutex::new(pools), store })
    }

    /// The configured families, default first.
    pub(crate) fn families(&self) -> Vec<Family> {
        self.cidrs.iter().map(|cidr| cidr.family).collect()
    }

    /// Takes all numbers that stored services show. Returns where to follow from.
    pub(crate) fn load(&self) -> Result<Revision, RangeError> {
        let page = self.store.range(Range { prefix: PREFIX, after: None, limit: 0, at: None })?;
        let mut pools = self.pools.lock();
        for record in &page.records {
            for number in shown(&record.value) {
                if let Some((pool, index)) = self.place(&mut pools, number) {
                    pool.hold(index, &record.key);
                }
            }
        }
        Ok(page.revision)
    }

    /// Gives back what services no longer show, as the store tells of it.
    pub(crate) async fn follow(&self, mut from: Revision) -> Result<(), WatchError> {
        loop {
            let mut watch = self.store.watch(PREFIX, from)?;
            loop {
                match watch.next().await {
                    Ok(events) => events.iter().for_each(|event| self.observe(event)),
                    Err(WatchError::Closed) => return Ok(()),
                    Err(WatchError::Compacted { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
            // Too far behind: every number we believe to be taken is asked for again.
            from = self.store.revision();
            self.review_all();
        }
    }

    fn observe(&self, event: &Event) {
        let before = match event {
            Event::Put { prev: Some(before), .. } | Event::Delete { prev: before, .. } => before,
            Event::Put { prev: None, .. } => return,
        };
        for number in shown(&before.value) {
            self.review(number);
        }
    }

    fn review_all(&self) {
        let taken: Vec<Number> = {
            let pools = self.pools.lock();
            let addresses = pools.addresses.iter().zip(&self.cidrs);
            let addresses = addresses.flat_map(|(pool, cidr)| pool.numbers().map(|n| Number::Address(cidr.address(n))));
            addresses.chain(pools.ports.numbers().filter_map(|n| self.port(n)).map(Number::Port)).collect()
        };
        taken.into_iter().for_each(|number| self.review(number));
    }

    /// Gives a number back if its write is over and its owner does not show it.
    fn review(&self, number: Number) {
        let mut pools = self.pools.lock();
        let Some((pool, index)) = self.place(&mut pools, number) else { return };
        if pool.get(index).is_some_and(|entry| !entry.pending && !self.shows(&entry.owner, number)) {
            pool.release(index);
        }
    }

    fn shows(&self, owner: &str, number: Number) -> bool {
        self.store.get(owner).is_some_and(|record| shown(&record.value).contains(&number))
    }

    fn place<'a>(&self, pools: &'a mut Pools, number: Number) -> Option<(&'a mut Pool, u64)> {
        match number {
            Number::Address(address) => {
                let found = self.cidrs.iter().enumerate().find_map(|(i, cidr)| Some((i, cidr.number(address)?)));
                found.map(|(i, index)| (&mut pools.addresses[i], index))
            }
            Number::Port(port) => {
                self.port_range.contains(&port).then(|| (&mut pools.ports, u64::from(port - self.port_range.start())))
            }
        }
    }

    fn port(&self, index: u64) -> Option<u16> {
        self.port_range.start().checked_add(u16::try_from(index).ok()?)
    }

    fn take(&self, number: Number, owner: &Arc<str>) -> Result<(), Refusal> {
        let mut pools = self.pools.lock();
        let (pool, index) = self.place(&mut pools, number).ok_or(Refusal::OutOfRange)?;
        // The follower may be one event behind: what its owner no longer shows is free.
        if pool.get(index).is_some_and(|entry| !entry.pending && !self.shows(&entry.owner, number)) {
            pool.release(index);
        }
        pool.take(index, owner)
    }

    /// Takes an address somebody asked for.
    pub(crate) fn take_address(&self, address: IpAddr, owner: &Arc<str>) -> Result<Number, Error> {
        let number = Number::Address(address);
        match self.take(number, owner) {
            Ok(()) => Ok(number),
            Err(Refusal::Taken) => Err(Error::AddressTaken),
            Err(_) => {
                let family = Family::of(address);
                let cidr = self.cidrs.iter().find(|cidr| cidr.family == family).or(self.cidrs.first());
                let cidr = cidr.map(|cidr| cidr.text.clone()).unwrap_or_default();
                Err(Error::AddressOutOfRange { address, cidr })
            }
        }
    }

    pub(crate) fn take_any_address(&self, family: Family, owner: &Arc<str>) -> Result<IpAddr, Error> {
        let index = self.cidrs.iter().position(|cidr| cidr.family == family).ok_or(Error::Full)?;
        let number = self.pools.lock().addresses[index].take_any(owner).map_err(|_| Error::Full)?;
        Ok(self.cidrs[index].address(number))
    }

    pub(crate) fn take_port(&self, port: u16, owner: &Arc<str>) -> Result<Number, Error> {
        let number = Number::Port(port);
        match self.take(number, owner) {
            Ok(()) => Ok(number),
            Err(Refusal::Taken) => Err(Error::PortTaken),
            Err(_) => Err(Error::PortOutOfRange(*self.port_range.start(), *self.port_range.end())),
        }
    }

    pub(crate) fn take_any_port(&self, owner: &Arc<str>) -> Result<u16, Error> {
        let index = self.pools.lock().ports.take_any(owner).map_err(|_| Error::Full)?;
        self.port(index).ok_or(Error::Full)
    }

    /// The write that took these numbers is over.
    pub(crate) fn settle(&self, taken: &[Number], committed: bool) {
        for number in taken {
            {
                let mut pools = self.pools.lock();
                let Some((pool, index)) = self.place(&mut pools, *number) else { continue };
                if committed {
                    pool.settle(index);
                } else {
                    pool.release(index);
                }
            }
            self.review(*number); // the service may be gone again already
        }
    }

    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        let pools = self.pools.lock();
        pools.addresses.iter().map(Pool::len).sum::<usize>() + pools.ports.len()
    }
}

/// The numbers a stored service has.
fn shown(service: &[u8]) -> Vec<Number> {
    serde_json::from_slice::<Value>(service).map(|service| numbers(&service)).unwrap_or_default()
}

/// The numbers a service object has.
pub(crate) fn numbers(service: &Value) -> Vec<Number> {
    let spec = &service["spec"];
    let mut numbers: Vec<Number> = Vec::new();
    let plural = spec["clusterIPs"].as_array().into_iter().flatten();
    for text in plural.chain([&spec["clusterIP"]]).filter_map(Value::as_str) {
        if let Ok(address) = text.parse() {
            numbers.push(Number::Address(address));
        }
    }
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| &port["nodePort"]);
    for port in ports.chain([&spec["healthCheckNodePort"]]).filter_map(Value::as_u64) {
        if let Ok(port @ 1..) = u16::try_from(port) {
            numbers.push(Number::Port(port));
        }
    }
    let mut seen = std::collections::HashSet::new();
    numbers.retain(|number| seen.insert(*number));
    numbers
}
