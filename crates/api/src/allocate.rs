//! Cluster addresses and node ports: exact after a crash, because the services themselves are the only record.
//!
//! A number belongs to the service that shows it. Admission takes numbers before the write ([`Services::take_address`]);
//! when the write is over they are settled: given back if it failed, and otherwise kept exactly as long as the store
//! shows them with their owner. That last question is asked of the store on every relevant event, so it does not matter by
//! which path a service went away. At start the table is rebuilt from the services.
//!
//! Which addresses there are follows the ServiceCIDR objects ([`addresses`]); each address of a service is an IPAddress
//! object too, written in the service's own commit ([`objects`]). Upstream writes them one after the other and repairs
//! what a crash tears apart; here only what other hands did is repaired.

mod addresses;
mod cidr;
mod objects;
mod pool;

use std::{net::IpAddr, ops::RangeInclusive, sync::Arc};

use futures::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use serde_json::Value;
use store::{CommitError, Event, Range, RangeError, Revision, Store, WatchError, Write};

use addresses::Addresses;
pub(crate) use cidr::{Family, RangeFault, parse_cidrs};
pub(crate) use objects::default_range;
use pool::{Pool, Refusal};

const PREFIX: &str = "/core/services/";

/// Something a service has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    Address(IpAddr),
    Port(u16),
}

/// Why a number cannot be had; the texts are upstream's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    #[error("provided IP is already allocated")]
    AddressTaken,
    #[error("the provided IP ({address}) is not in the valid range. The range of valid IPs is {cidr}")]
    AddressOutOfRange { address: IpAddr, cidr: String },
    #[error("the provided network does not match the current range")]
    NoRange,
    #[error("allocator not ready")]
    NotReady,
    #[error("provided port is already allocated")]
    PortTaken,
    #[error("provided port is not in the valid range. The range of valid ports is {0}-{1}")]
    PortOutOfRange(u16, u16),
    #[error("range is full")]
    Full,
}

fn port_band(size: u64) -> u64 {
    if size <= 16 { 0 } else { (size / 32).clamp(16, 128) }
}

struct Pools {
    addresses: Addresses,
    ports: Pool,
}

/// All the numbers services can have.
pub(crate) struct Services {
    /// As it is configured.
    range: String,
    families: Vec<Family>,
    port_range: RangeInclusive<u16>,
    pools: Mutex<Pools>,
    store: Arc<dyn Store>,
}

impl Services {
    /// `range` counts until there are ServiceCIDR objects.
    pub(crate) fn new(range: &str, ports: RangeInclusive<u16>, store: Arc<dyn Store>) -> Result<Self, RangeFault> {
        let cidrs = parse_cidrs(range)?;
        let size = u64::from(ports.end().saturating_sub(*ports.start())) + 1;
        let pools = Pools { addresses: Addresses::new(&cidrs), ports: Pool::new(size, port_band(size)) };
        let families = cidrs.iter().map(|cidr| cidr.family).collect();
        Ok(Self { range: range.to_owned(), families, port_range: ports, pools: Mutex::new(pools), store })
    }

    /// The configured families, default first.
    pub(crate) fn families(&self) -> Vec<Family> {
        self.families.clone()
    }

    /// Takes all numbers that stored services show. Returns where to follow from.
    pub(crate) fn load(&self) -> Result<Revision, RangeError> {
        let page = self.store.range(Range { prefix: PREFIX, after: None, limit: 0, at: None })?;
        {
            let mut pools = self.pools.lock();
            for record in &page.records {
                for number in shown(&record.value) {
                    match number {
                        Number::Address(address) => pools.addresses.hold(address, &record.key),
                        Number::Port(port) => {
                            if let Some(index) = self.port_index(port) {
                                pools.ports.hold(index, &record.key);
                            }
                        }
                    }
                }
            }
        }
        self.read_ranges()?;
        Ok(page.revision)
    }

    /// The ServiceCIDR objects say where addresses come from.
    fn read_ranges(&self) -> Result<(), RangeError> {
        let page = self.store.range(Range { prefix: objects::RANGES, after: None, limit: 0, at: None })?;
        if page.records.is_empty() {
            return Ok(()); // the default one is only being made
        }
        let mut all: Vec<(bool, Vec<_>)> = page
            .records
            .iter()
            .map(|record| (!record.key.ends_with("/kubernetes"), objects::ranges(&objects::parse(record))))
            .collect();
        all.sort_by_key(|(other, _)| *other); // the default range is the first to be used
        self.pools.lock().addresses.set_ranges(all.into_iter().flat_map(|(_, ranges)| ranges).collect());
        Ok(())
    }

    /// What makes the IPAddress objects agree with the services: those of a store written by an earlier release are
    /// missing, and what belongs to no service goes.
    pub(crate) fn repairs(&self) -> Result<Vec<Write>, RangeError> {
        let services = self.store.range(Range { prefix: PREFIX, after: None, limit: 0, at: None })?;
        let mut writes = Vec::new();
        for record in &services.records {
            for number in shown(&record.value) {
                if let Number::Address(address) = number {
                    writes.extend(objects::granted(self.store.as_ref(), address, &record.key));
                }
            }
        }
        let held = self.store.range(Range { prefix: objects::ADDRESSES, after: None, limit: 0, at: None })?;
        let is_shown = |owner: &str, address: IpAddr| self.shows(owner, Number::Address(address));
        writes.extend(held.records.iter().filter_map(|record| objects::orphan(record, is_shown)));
        Ok(writes)
    }

    /// Whether something may be written in the same commit as an object of this kind.
    pub(crate) fn accompanies(&self, kind: &kinds::Kind) -> bool {
        kind.is("", "Service")
    }

    /// What is written in the same commit as a service: its addresses as objects.
    pub(crate) fn beside(&self, service: &str, old: Option<&Value>, new: Option<&Value>) -> Vec<Write> {
        if service.starts_with(PREFIX) { objects::beside(self.store.as_ref(), service, old, new) } else { Vec::new() }
    }

    /// Follows services, their addresses and the ranges until the store closes.
    pub(crate) async fn follow(&self, from: Revision) -> Result<(), WatchError> {
        let topics = [PREFIX, objects::ADDRESSES, objects::RANGES];
        let mut running: FuturesUnordered<_> = topics.into_iter().map(|topic| self.follow_one(topic, from)).collect();
        while let Some(ended) = running.next().await {
            ended?;
        }
        Ok(())
    }

    async fn follow_one(&self, topic: &'static str, mut from: Revision) -> Result<(), WatchError> {
        loop {
            let mut watch = self.store.watch(topic, from)?;
            loop {
                match watch.next().await {
                    Ok(events) => {
                        for event in &events {
                            self.observe(topic, event).await;
                        }
                    }
                    Err(WatchError::Closed) => return Ok(()),
                    Err(WatchError::Compacted { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
            // Too far behind: every number we believe to be taken is asked for again.
            from = self.store.revision();
            self.review_all();
            self.reread();
        }
    }

    fn reread(&self) {
        if let Err(error) = self.read_ranges() {
            tracing::error!(%error, "cannot read the ranges of services");
        }
    }

    async fn observe(&self, topic: &str, event: &Event) {
        match (topic, event) {
            (objects::RANGES, _) => {
                self.reread();
                if matches!(event, Event::Delete { .. }) && event.key() == objects::DEFAULT {
                    self.bring_back(objects::default_range_again(&self.range)).await;
                }
            }
            (objects::ADDRESSES, Event::Delete { prev, .. }) => self.restore(&objects::parse(prev)).await,
            (PREFIX, Event::Put { prev: Some(before), .. } | Event::Delete { prev: before, .. }) => {
                for number in shown(&before.value) {
                    self.review(number);
                }
            }
            _ => {}
        }
    }

    /// Somebody deleted the IPAddress of a living service.
    async fn restore(&self, gone: &Value) {
        let address = gone["metadata"]["name"].as_str().and_then(|name| name.parse().ok());
        let (Some(address), Some(owner)) = (address, objects::owner(gone)) else { return };
        if !self.shows(&owner, Number::Address(address)) {
            return;
        }
        if let Some(write) = objects::granted(self.store.as_ref(), address, &owner) {
            self.bring_back(write).await;
        }
    }

    async fn bring_back(&self, write: Write) {
        let key = write.key().to_owned();
        match self.store.commit(vec![write]).await {
            Ok(_) => tracing::info!(key, "an object that services need was deleted and is back"),
            Err(CommitError::Conflict { .. } | CommitError::Closed) => {}
            Err(error) => tracing::error!(%error, key, "cannot bring back an object that services need"),
        }
    }

    fn review_all(&self) {
        let taken: Vec<Number> = {
            let pools = self.pools.lock();
            let addresses = pools.addresses.held().map(Number::Address);
            addresses.chain(pools.ports.numbers().filter_map(|n| self.port(n)).map(Number::Port)).collect()
        };
        taken.into_iter().for_each(|number| self.review(number));
    }

    /// Gives a number back if its write is over and its owner does not show it.
    fn review(&self, number: Number) {
        let mut pools = self.pools.lock();
        self.review_in(&mut pools, number);
    }

    fn review_in(&self, pools: &mut Pools, number: Number) {
        let held = match number {
            Number::Address(address) => pools.addresses.get(address),
            Number::Port(port) => self.port_index(port).and_then(|index| pools.ports.get(index)),
        };
        if held.is_none_or(|entry| entry.pending || self.shows(&entry.owner, number)) {
            return;
        }
        match number {
            Number::Address(address) => pools.addresses.release(address),
            Number::Port(port) => {
                if let Some(index) = self.port_index(port) {
                    pools.ports.release(index);
                }
            }
        }
    }

    fn shows(&self, owner: &str, number: Number) -> bool {
        self.store.get(owner).is_some_and(|record| shown(&record.value).contains(&number))
    }

    fn port_index(&self, port: u16) -> Option<u64> {
        self.port_range.contains(&port).then(|| u64::from(port - self.port_range.start()))
    }

    fn port(&self, index: u64) -> Option<u16> {
        self.port_range.start().checked_add(u16::try_from(index).ok()?)
    }

    /// Whether nobody else has the address as an object of their own.
    fn is_free(&self, address: IpAddr, owner: &str) -> bool {
        let held = self.store.get(&objects::key(address));
        held.is_none_or(|record| {
            let service = objects::owner(&objects::parse(&record));
            // the object of a service that no longer shows it goes with the next write
            service.is_some_and(|service| service == owner || !self.shows(&service, Number::Address(address)))
        })
    }

    /// Takes an address somebody asked for.
    pub(crate) fn take_address(&self, address: IpAddr, owner: &Arc<str>) -> Result<Number, Error> {
        let mut pools = self.pools.lock();
        // The follower may be one event behind: what its owner no longer shows is free.
        self.review_in(&mut pools, Number::Address(address));
        if !self.is_free(address, owner) {
            return Err(Error::AddressTaken);
        }
        match pools.addresses.take(address, owner) {
            Ok(()) => Ok(Number::Address(address)),
            Err(addresses::Refusal::Taken) => Err(Error::AddressTaken),
            Err(addresses::Refusal::OutOfRange(cidr)) => Err(Error::AddressOutOfRange { address, cidr }),
            Err(addresses::Refusal::NoRange) => Err(Error::NoRange),
            Err(addresses::Refusal::NotReady) => Err(Error::NotReady),
            Err(addresses::Refusal::Full) => Err(Error::Full),
        }
    }

    pub(crate) fn take_any_address(&self, family: Family, owner: &Arc<str>) -> Result<IpAddr, Error> {
        let taken = self.pools.lock().addresses.take_any(family, owner, |address| self.is_free(address, owner));
        taken.map_err(|refusal| match refusal {
            addresses::Refusal::NotReady => Error::NotReady,
            _ => Error::Full,
        })
    }

    pub(crate) fn take_port(&self, port: u16, owner: &Arc<str>) -> Result<Number, Error> {
        let mut pools = self.pools.lock();
        self.review_in(&mut pools, Number::Port(port));
        let index = self.port_index(port).ok_or(Refusal::OutOfRange);
        match index.and_then(|index| pools.ports.take(index, owner)) {
            Ok(()) => Ok(Number::Port(port)),
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
        let mut pools = self.pools.lock();
        for number in taken {
            match (number, committed) {
                (Number::Address(address), true) => pools.addresses.settle(*address),
                (Number::Address(address), false) => pools.addresses.release(*address),
                (Number::Port(port), _) => {
                    let Some(index) = self.port_index(*port) else { continue };
                    if committed {
                        pools.ports.settle(index);
                    } else {
                        pools.ports.release(index);
                    }
                }
            }
            self.review_in(&mut pools, *number); // the service may be gone again already
        }
    }

    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        let pools = self.pools.lock();
        pools.addresses.len() + pools.ports.len()
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
