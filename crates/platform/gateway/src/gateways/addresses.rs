//! Which addresses a Gateway is served at.
//!
//! A Gateway that asks for none gets one of the pool, its own, and keeps the one that its status tells while that is free; without
//! a pool all Gateways share the addresses of the process. Who asks for an address of the pool gets it before those who ask for
//! any. The oldest Gateway wins.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use base::Key;

use super::kinds::{Gateway, GatewayAddress};
use super::status::GatewayWanted;
use super::world::{World, key};

const LARGEST: u128 = 65_536;

/// Addresses to give away, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    ranges: Vec<(IpAddr, IpAddr)>,
}

/// Why a pool cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address and no range of addresses; write 192.0.2.7 or 192.0.2.7-192.0.2.20, at most 65536 of them"
)]
pub struct BadPool(String);

impl FromStr for Pool {
    type Err = BadPool;

    fn from_str(text: &str) -> Result<Self, BadPool> {
        let ranges = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
            let bad = || BadPool(part.to_owned());
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: IpAddr = first.trim().parse().map_err(|_| bad())?;
            let last: IpAddr = last.trim().parse().map_err(|_| bad())?;
            let fits = first.is_ipv4() == last.is_ipv4()
                && number(last).checked_sub(number(first)).is_some_and(|size| size < LARGEST)
                && !first.is_unspecified();
            if fits { Ok((first, last)) } else { Err(bad()) }
        });
        Ok(Self { ranges: ranges.collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}-{last}")? }
        }
        Ok(())
    }
}

impl Pool {
    /// True when there is nothing to give.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    fn has(&self, address: IpAddr) -> bool {
        let inside = |(first, last): &(IpAddr, IpAddr)| {
            first.is_ipv4() == address.is_ipv4() && (number(*first)..=number(*last)).contains(&number(address))
        };
        self.ranges.iter().any(inside)
    }

    fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.ranges.iter().flat_map(|(first, last)| {
            let v4 = first.is_ipv4();
            (number(*first)..=number(*last)).map(move |number| address(number, v4))
        })
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn address(number: u128, v4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(bits) if v4 => IpAddr::V4(Ipv4Addr::from_bits(bits)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

/// Where a Gateway is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// At the addresses of the process, beside others.
    Shared,
    /// At an address of its own.
    Own(IpAddr),
}

/// What became of a Gateway's wish for addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// Where it is served.
    pub(crate) places: Vec<Place>,
    /// What its status tells.
    pub(crate) told: Vec<GatewayAddress>,
    /// A kind of address that does not exist here: the Gateway is not accepted.
    pub(crate) unsupported: Option<String>,
    /// An address that cannot be had: the Gateway is not programmed.
    pub(crate) unusable: Option<String>,
    /// There was no address left to give.
    pub(crate) exhausted: bool,
}

/// Gives addresses to `gateways`, which are ours and sorted by age.
pub(crate) fn give(world: &World<'_>, gateways: &[&Gateway]) -> BTreeMap<Key, Given> {
    let mut taken = BTreeSet::new();
    let mut given: BTreeMap<Key, Given> = BTreeMap::new();
    for gateway in gateways {
        given.insert(key(&gateway.metadata), asked(world, gateway, &mut taken));
    }
    let wants_any = |gateway: &&&Gateway| {
        let asked = &gateway.spec.addresses;
        asked.is_empty() || asked.iter().any(|address| is_ip(address) && address.value.is_empty())
    };
    // Who has an address keeps it before anybody gets a new one.
    let mut waiting = Vec::new();
    for gateway in gateways.iter().filter(wants_any) {
        let Some(slot) = given.get_mut(&key(&gateway.metadata)).filter(|slot| slot.unsupported.is_none()) else {
            continue;
        };
        if world.pool.is_empty() {
            slot.places.push(Place::Shared);
            slot.told.extend(world.shared.iter().map(|address| told(*address)));
            continue;
        }
        // What was given is kept from the moment it was, which is before the status is read back.
        let before = world.before.gateways.get(&key(&gateway.metadata)).map(GatewayWanted::addresses);
        let known = before.unwrap_or_default().iter().chain(&gateway.status.addresses);
        let told_now: Vec<IpAddr> = known.filter_map(|address| address.value.parse().ok()).collect();
        match told_now.into_iter().find(|address| world.pool.has(*address) && !taken.contains(address)) {
            Some(kept) => slot.take(kept, &mut taken),
            None => waiting.push(key(&gateway.metadata)),
        }
    }
    let mut free = world.pool.iter();
    for key in waiting {
        let Some(slot) = given.get_mut(&key) else { continue };
        match free.by_ref().find(|address| !taken.contains(address)) {
            Some(address) => slot.take(address, &mut taken),
            None => slot.exhausted = true,
        }
    }
    given
}

impl Given {
    fn take(&mut self, address: IpAddr, taken: &mut BTreeSet<IpAddr>) {
        taken.insert(address);
        self.places.push(Place::Own(address));
        self.told.push(told(address));
    }
}

/// The addresses that `gateway` asks for by value.
fn asked(world: &World<'_>, gateway: &Gateway, taken: &mut BTreeSet<IpAddr>) -> Given {
    let mut given = Given::default();
    for wish in &gateway.spec.addresses {
        if !is_ip(wish) {
            let kind = wish.type_.as_deref().unwrap_or_default();
            given.unsupported = Some(format!("addresses of type {kind:?} are not supported; ask for an IPAddress"));
            return Given { unsupported: given.unsupported, ..Given::default() };
        }
        if wish.value.is_empty() {
            continue;
        }
        match wish.value.parse::<IpAddr>() {
            Ok(address) if world.pool.has(address) && !taken.contains(&address) => given.take(address, taken),
            Ok(address) if world.shared.contains(&address) => {
                if !given.places.contains(&Place::Shared) {
                    given.places.push(Place::Shared);
                }
                given.told.push(told(address));
            }
            Ok(address) if world.pool.has(address) => {
                given.unusable = Some(format!("address {address} belongs to another Gateway"));
            }
            _ => {
                let value = &wish.value;
                given.unusable = Some(format!(
                    "address {value} is not one of this gateway's; ask for one of the setting gateway.addresses, or for none"
                ));
            }
        }
    }
    given
}

fn is_ip(address: &GatewayAddress) -> bool {
    address.type_.as_deref().is_none_or(|kind| kind == "IPAddress")
}

fn told(address: IpAddr) -> GatewayAddress {
    GatewayAddress { type_: Some("IPAddress".to_owned()), value: address.to_string() }
}
