//! What a pick looks into: who may be chosen, and in which order, made once per change.
//!
//! Weights become slots: a list in which an endpoint stands as often as its weight says, its
//! places spread evenly. Round robin walks it, the others throw dice over it, so a pick costs the
//! same whatever the weights are. The ring of a consistent choice depends on addresses and weights
//! alone, so that an endpoint that goes moves only its own keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::endpoint::Endpoint;
use super::policy::{Algorithm, Policy, SlowStart};
use crate::clock::{Time, nanos};

/// Slots when weights do not fit into fewer; endpoints beyond a quarter of it get more slots.
const SLOTS: u64 = 4096;
/// Points on the ring of an endpoint with the largest weight.
const POINTS: usize = 128;
/// Points on a ring in all: a mebibyte.
const RING: usize = 65_536;
/// A slow start is that many steps.
const STEPS: u32 = 10;

/// Who may be chosen now.
#[derive(Debug)]
pub struct Choice {
    pub(super) policy: Arc<Policy>,
    pub(super) members: Box<[Arc<Endpoint>]>,
    slots: Box<[u32]>,
    /// Sorted: where on the ring, and who.
    ring: Box<[(u64, u32)]>,
    /// From then on it may be another.
    pub(super) until: Time,
    /// So few are well that all are used.
    pub panic: bool,
}

impl Choice {
    /// Decides who of `all` may be chosen at `now`.
    #[must_use]
    pub(super) fn new(policy: &Arc<Policy>, all: &[Arc<Endpoint>], now: Time) -> Self {
        let weighty: Vec<&Arc<Endpoint>> = all.iter().filter(|one| one.weight.load(Ordering::Relaxed) > 0).collect();
        let (members, panic) = candidates(policy, &weighty, now);
        let ring_wanted = matches!(policy.algorithm, Algorithm::RingHash(_));
        let slow_start = policy.slow_start.filter(|_| !ring_wanted);
        let weights: Vec<u64> = members
            .iter()
            .map(|one| u64::from(one.weight.load(Ordering::Relaxed)) * share(slow_start, one.since, now))
            .collect();
        let ended = weighty.iter().map(|one| one.ejected_until()).filter(|until| *until > now);
        let grown = members.iter().filter_map(|one| next_step(slow_start?, one.since, now));
        Self {
            slots: slots(&weights),
            ring: if ring_wanted { ring(&members, &weights) } else { Box::default() },
            until: ended.chain(grown).min().unwrap_or(Time::NEVER),
            policy: Arc::clone(policy),
            members: members.into_iter().cloned().collect(),
            panic,
        }
    }

    /// The endpoint of slot `turn`, counted around.
    pub(super) fn in_turn(&self, turn: u64) -> Option<&Arc<Endpoint>> {
        let slot = turn.checked_rem(self.slots.len() as u64)?;
        self.members.get(*self.slots.get(slot as usize)? as usize)
    }

    /// Two different endpoints when there are, each as likely as its weight says.
    pub(super) fn two(&self, dice: u64) -> Option<(&Arc<Endpoint>, &Arc<Endpoint>)> {
        let first = self.in_turn(dice >> 32)?;
        let second = self.in_turn(dice & 0xffff_ffff)?;
        if !Arc::ptr_eq(first, second) {
            return Some((first, second));
        }
        let next = (dice >> 32) % self.slots.len() as u64 + 1;
        Some((first, self.in_turn(next)?))
    }

    /// The endpoint at or after `key` on the ring, then those that follow it, each at most as often
    /// as it has points.
    pub(super) fn around(&self, key: u64) -> impl Iterator<Item = &Arc<Endpoint>> {
        let start = self.ring.partition_point(|(point, _)| *point < key);
        let (before, after) = self.ring.split_at(start);
        after.iter().chain(before).filter_map(|(_, index)| self.members.get(*index as usize))
    }

    /// The endpoint at `address`, when it may be chosen.
    pub(super) fn at(&self, address: SocketAddr) -> Option<&Arc<Endpoint>> {
        self.members.iter().find(|one| one.address == address)
    }
}

/// Those that are well, of our zone when that is preferred and has enough of them; all of them, and
/// true, when too few are well.
fn candidates<'a>(policy: &Policy, all: &[&'a Arc<Endpoint>], now: Time) -> (Vec<&'a Arc<Endpoint>>, bool) {
    let well = |of: &[&'a Arc<Endpoint>]| -> Option<Vec<&'a Arc<Endpoint>>> {
        let well: Vec<_> = of.iter().copied().filter(|one| one.is_available(now)).collect();
        enough(policy, well.len(), of.len()).then_some(well)
    };
    if policy.prefer_zone {
        let local: Vec<_> = all.iter().copied().filter(|one| one.local.load(Ordering::Relaxed)).collect();
        if let Some(well) = well(&local) {
            return (well, false);
        }
    }
    match well(all) {
        Some(well) => (well, false),
        None => (all.to_vec(), !all.is_empty()),
    }
}

/// Whether `well` of `all` endpoints are enough not to use the others too.
pub(super) fn enough(policy: &Policy, well: usize, all: usize) -> bool {
    well > 0 && well * 100 >= all * usize::from(policy.panic_percent)
}

/// Percent of its weight that an endpoint gets.
fn share(slow_start: Option<SlowStart>, since: Time, now: Time) -> u64 {
    let Some(slow) = slow_start else { return 100 };
    let step = step(slow, since, now);
    u64::from(slow.least_percent.clamp(1, 100)).max(u64::from(step.min(STEPS)) * 100 / u64::from(STEPS))
}

fn step(slow: SlowStart, since: Time, now: Time) -> u32 {
    let steps = nanos(now.since(since)).checked_div(nanos(slow.window / STEPS));
    steps.map_or(STEPS, |steps| u32::try_from(steps).unwrap_or(STEPS))
}

fn next_step(slow: SlowStart, since: Time, now: Time) -> Option<Time> {
    let step = step(slow, since, now);
    (step < STEPS).then(|| since + slow.window / STEPS * (step + 1))
}

/// A list in which `i` stands `weights[i]` times, or in that proportion, evenly spread.
fn slots(weights: &[u64]) -> Box<[u32]> {
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, *weight)).max(1);
    let sum: u64 = weights.iter().map(|weight| weight / divisor).sum();
    let most = SLOTS.max(4 * weights.len() as u64);
    let count = |weight: u64| {
        let exact = weight / divisor;
        if sum <= most { exact } else { ((exact * most + sum / 2) / sum).max(1) }
    };
    let mut places: Vec<(u64, u32)> = Vec::new();
    for (index, weight) in weights.iter().enumerate() {
        let count = count(*weight);
        // Each in the middle of its part of the whole, in units of 2^-32.
        places.extend((0..count).map(|nth| (((2 * nth + 1) << 31) / count, index as u32)));
    }
    places.sort_unstable();
    places.into_iter().map(|(_, index)| index).collect()
}

fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { gcd(other, one % other) }
}

fn ring(members: &[&Arc<Endpoint>], weights: &[u64]) -> Box<[(u64, u32)]> {
    let heaviest = weights.iter().copied().max().unwrap_or(1).max(1);
    // A power of two, so that a growing number of endpoints rarely changes everybody's points.
    let room = RING / members.len().max(1);
    let points = if room >= POINTS { POINTS } else { (room + 1).next_power_of_two() / 2 }.max(1) as u64;
    let mut ring = Vec::new();
    for (index, (one, weight)) in members.iter().zip(weights).enumerate() {
        let own = super::hash(one.address.to_string().as_bytes());
        let count = (points * weight).div_ceil(heaviest).max(1);
        ring.extend(
            (0..count).map(|nth| (super::mix(own.wrapping_add(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15))), index as u32)),
        );
    }
    ring.sort_unstable();
    ring.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(slots: &[u32], of: usize) -> Vec<usize> {
        let mut counts = vec![0; of];
        slots.iter().for_each(|slot| counts[*slot as usize] += 1);
        counts
    }

    #[test]
    fn weights_are_spread_evenly_and_equal_ones_take_turns() {
        assert_eq!(*slots(&[5, 5, 5]), [0, 1, 2]);
        assert_eq!(*slots(&[200, 100]), [0, 1, 0]);
        assert_eq!(*slots(&[]), [] as [u32; 0]);
    }

    proptest! {
        #[test]
        fn every_endpoint_gets_the_share_of_its_weight(weights in proptest::collection::vec(1..1_000_000_u64, 1..200)) {
            let slots = slots(&weights);
            prop_assert!(slots.len() as u64 <= SLOTS.max(4 * weights.len() as u64) + weights.len() as u64);
            let sum: u64 = weights.iter().sum();
            for (weight, count) in weights.iter().zip(counts(&slots, weights.len())) {
                let exact = *weight as f64 / sum as f64 * slots.len() as f64;
                // rounding, and one slot for whoever would have none; those take it from the others
                let slack = 1.0 + exact * weights.len() as f64 / slots.len() as f64;
                prop_assert!((count as f64 - exact).abs() <= slack, "{count} of {exact}");
                prop_assert!(count > 0);
            }
        }

        #[test]
        fn in_any_stretch_of_turns_nobody_gets_much_more_than_their_share(
            weights in proptest::collection::vec(1..20_u64, 1..10), start in 0..1000_usize, length in 1..200_usize,
        ) {
            let slots = slots(&weights);
            let stretch: Vec<u32> = (start..start + length).map(|turn| slots[turn % slots.len()]).collect();
            let sum: u64 = weights.iter().sum();
            for (weight, count) in weights.iter().zip(counts(&stretch, weights.len())) {
                let exact = *weight as f64 / sum as f64 * length as f64;
                let slack = 2.0 + weights.len() as f64 * (*weight as f64 / sum as f64) * 2.0;
                prop_assert!((count as f64 - exact).abs() <= slack, "{count} of {exact}");
            }
        }
    }
}
