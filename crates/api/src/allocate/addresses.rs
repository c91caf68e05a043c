//! Cluster addresses: who has which, and from which ranges new ones come.
//!
//! Invariant: an address is held once, whatever ranges contain it; ranges may overlap, come and go, and an address stays
//! its owner's when its range goes. The lower band of a range is kept for people who ask for an address themselves, and
//! automatic ones go round above it, as in `pool`. Only ranges that are ready give addresses.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::cidr::{Cidr, Family};
use super::pool::Entry;

/// Upstream's static band: a sixteenth of the range, at least 16 and at most 256 addresses.
fn band(size: u64) -> u64 {
    if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Taken,
    /// The network's own address or the broadcast address of this range.
    OutOfRange(String),
    NoRange,
    NotReady,
    Full,
}

#[derive(Debug)]
struct Range {
    cidr: Cidr,
    ready: bool,
    next: u64,
}

#[derive(Debug)]
pub(super) struct Addresses {
    ranges: Vec<Range>,
    taken: HashMap<IpAddr, Entry>,
}

impl Addresses {
    pub(super) fn new(cidrs: &[Cidr]) -> Self {
        let mut addresses = Self { ranges: Vec::new(), taken: HashMap::new() };
        addresses.set_ranges(cidrs.iter().cloned().map(|cidr| (cidr, true)).collect());
        addresses
    }

    /// Replaces the ranges; one that stays goes on where it was.
    pub(super) fn set_ranges(&mut self, ranges: Vec<(Cidr, bool)>) {
        let old = std::mem::take(&mut self.ranges);
        for (cidr, ready) in ranges {
            match self.ranges.iter_mut().find(|range| range.cidr == cidr) {
                Some(range) => range.ready |= ready, // two objects name the same range
                None => {
                    let known = old.iter().find(|range| range.cidr == cidr);
                    let next = known.map_or_else(|| band(cidr.size), |range| range.next);
                    self.ranges.push(Range { cidr, ready, next });
                }
            }
        }
    }

    pub(super) fn get(&self, address: IpAddr) -> Option<&Entry> {
        self.taken.get(&address)
    }

    /// Takes this very address, pending.
    pub(super) fn take(&mut self, address: IpAddr, owner: &Arc<str>) -> Result<(), Refusal> {
        let around = self.ranges.iter().filter(|range| range.ready && range.cidr.contains(address));
        let mut refusal = Refusal::NoRange;
        let mut fits = false;
        for range in around {
            match range.cidr.number(address) {
                Some(_) => fits = true,
                None => refusal = Refusal::OutOfRange(range.cidr.text.clone()),
            }
        }
        if !fits {
            return Err(refusal);
        }
        if self.taken.contains_key(&address) {
            return Err(Refusal::Taken);
        }
        self.taken.insert(address, Entry { owner: Arc::clone(owner), pending: true });
        Ok(())
    }

    /// Takes any address of a family, pending. `is_free` tells of owners who are not services.
    pub(super) fn take_any(
        &mut self,
        family: Family,
        owner: &Arc<str>,
        is_free: impl Fn(IpAddr) -> bool,
    ) -> Result<IpAddr, Refusal> {
        let mut refusal = Refusal::NotReady;
        for index in 0..self.ranges.len() {
            let range = &self.ranges[index];
            if range.cidr.family != family || !range.ready {
                continue;
            }
            let (size, band, next) = (range.cidr.size, band(range.cidr.size), range.next);
            // at most as many steps as addresses are taken, however large the range
            let free = |number: &u64| {
                let address = range.cidr.address(*number);
                !self.taken.contains_key(&address) && is_free(address)
            };
            let found = (next..size).find(free).or_else(|| (band..next).find(free)).or_else(|| (0..band).find(free));
            let Some(number) = found else {
                refusal = Refusal::Full;
                continue;
            };
            let address = range.cidr.address(number);
            if number >= band {
                self.ranges[index].next = number + 1;
            }
            self.taken.insert(address, Entry { owner: Arc::clone(owner), pending: true });
            return Ok(address);
        }
        Err(refusal)
    }

    /// The write is over: the address is its owner's until the owner no longer shows it.
    pub(super) fn settle(&mut self, address: IpAddr) {
        if let Some(entry) = self.taken.get_mut(&address) {
            entry.pending = false;
        }
    }

    pub(super) fn release(&mut self, address: IpAddr) {
        self.taken.remove(&address);
    }

    /// For objects read at start.
    pub(super) fn hold(&mut self, address: IpAddr, owner: &Arc<str>) {
        self.taken.entry(address).or_insert_with(|| Entry { owner: Arc::clone(owner), pending: false });
    }

    pub(super) fn held(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.taken.keys().copied()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        Cidr::parse(text).unwrap()
    }

    fn any(addresses: &mut Addresses) -> Result<String, Refusal> {
        addresses.take_any(Family::V4, &"a".into(), |_| true).map(|address| address.to_string())
    }

    #[test]
    fn a_second_range_helps_out_when_the_first_is_full() {
        let mut addresses = Addresses::new(&[cidr("10.0.0.0/30")]);
        assert_eq!(
            (any(&mut addresses).unwrap(), any(&mut addresses).unwrap()),
            ("10.0.0.1".into(), "10.0.0.2".into())
        );
        assert_eq!(any(&mut addresses), Err(Refusal::Full));
        addresses.set_ranges(vec![(cidr("10.0.0.0/30"), true), (cidr("10.9.0.0/30"), false)]);
        assert_eq!(any(&mut addresses), Err(Refusal::Full));
        addresses.set_ranges(vec![(cidr("10.0.0.0/30"), true), (cidr("10.9.0.0/30"), true)]);
        assert_eq!(any(&mut addresses).unwrap(), "10.9.0.1");
        addresses.set_ranges(vec![(cidr("10.0.0.0/30"), false)]);
        assert_eq!(any(&mut addresses), Err(Refusal::NotReady));
    }

    #[test]
    fn overlapping_ranges_give_an_address_once() {
        let mut addresses = Addresses::new(&[cidr("10.0.0.0/29"), cidr("10.0.0.0/30")]);
        let mut seen = std::collections::HashSet::new();
        while let Ok(address) = any(&mut addresses) {
            assert!(seen.insert(address));
        }
        assert_eq!(seen.len(), 6);
        let again = addresses.take("10.0.0.1".parse().unwrap(), &"b".into());
        assert_eq!(again, Err(Refusal::Taken));
    }

    #[test]
    fn what_no_range_has_and_what_a_range_keeps_for_itself_are_told_apart() {
        let mut addresses = Addresses::new(&[cidr("10.0.0.0/24")]);
        let mut take = |text: &str| addresses.take(text.parse().unwrap(), &"a".into());
        assert_eq!(take("10.1.0.1"), Err(Refusal::NoRange));
        assert_eq!(take("10.0.0.0"), Err(Refusal::OutOfRange("10.0.0.0/24".into())));
        assert_eq!(take("10.0.0.255"), Err(Refusal::OutOfRange("10.0.0.0/24".into())));
        assert_eq!(take("10.0.0.9"), Ok(()));
    }

    #[test]
    fn addresses_that_others_have_are_left_out() {
        let mut addresses = Addresses::new(&[cidr("10.0.0.0/29")]);
        let foreign: IpAddr = "10.0.0.1".parse().unwrap();
        let given = addresses.take_any(Family::V4, &"a".into(), |address| address != foreign).unwrap();
        assert_ne!(given, foreign);
    }
}
