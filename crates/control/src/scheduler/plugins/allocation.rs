//! NodeResourcesFit and NodeResourcesBalancedAllocation: room on the node, and how well it would be used.

use std::borrow::Cow;

use super::{BEST, Refusal, Verdict};
use crate::scheduler::devices::Devices;
use crate::scheduler::names::Plugin;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::profile::{Fit, Ratio, Strategy};
use crate::scheduler::resources::{Resources, is_extended, is_scalar};

/// The reason, without a new text each time for the usual resources.
fn insufficient(name: &str) -> Cow<'static, str> {
    match name {
        "cpu" => "Insufficient cpu".into(),
        "memory" => "Insufficient memory".into(),
        "ephemeral-storage" => "Insufficient ephemeral-storage".into(),
        other => format!("Insufficient {other}").into(),
    }
}

fn asks_for_nothing(asked: &Resources) -> bool {
    asked.milli_cpu == 0 && asked.memory == 0 && asked.ephemeral_storage == 0 && asked.scalars.is_empty()
}

/// Whether the node has room for the pod.
pub(in crate::scheduler) fn fits(pod: &PodInfo, args: &Fit, devices: &Devices, node: &NodeInfo) -> Verdict {
    room(&pod.shape.requests, args, devices, &node.known().allocatable, &node.requested, node.pods.len())
}

/// Whether an empty node with `has` would do.
pub(in crate::scheduler) fn fits_alone(pod: &PodInfo, args: &Fit, devices: &Devices, has: &Resources) -> bool {
    room(&pod.shape.requests, args, devices, has, &Resources::default(), 0).is_ok()
}

/// Whether devices stand for the resource on a node that has none of it itself: then it is the business of
/// DynamicResources.
pub(in crate::scheduler) fn is_by_devices(name: &str, devices: &Devices, has: &Resources) -> bool {
    has.of(name) == 0 && Devices::may_stand_for(name) && devices.class_of(name).is_some()
}

fn room(asked: &Resources, args: &Fit, devices: &Devices, has: &Resources, used: &Resources, pods: usize) -> Verdict {
    let full = i64::try_from(pods).unwrap_or(i64::MAX).saturating_add(1) > has.pods;
    if !full
        && asked.milli_cpu <= has.milli_cpu.saturating_sub(used.milli_cpu)
        && asked.memory <= has.memory.saturating_sub(used.memory)
        && asked.ephemeral_storage == 0
        && asked.scalars.is_empty()
    {
        return Ok(()); // nearly always
    }
    let mut refusal = Refusal { plugin: Plugin::NodeResourcesFit, reasons: Vec::new(), curable: true };
    if full {
        refusal.reasons.push("Too many pods".into());
    }
    if !asks_for_nothing(asked) {
        let scalars = asked.scalars.keys().map(String::as_str).filter(|name| !args.ignores(name));
        for name in ["cpu", "memory", "ephemeral-storage"].into_iter().chain(scalars) {
            let (asked, all) = (asked.of(name), has.of(name));
            if asked > 0 && asked > all.saturating_sub(used.of(name)) && !is_by_devices(name, devices, has) {
                refusal.reasons.push(insufficient(name));
                refusal.curable &= asked <= all;
            }
        }
    }
    if refusal.reasons.is_empty() { Ok(()) } else { Err(refusal) }
}

impl Fit {
    fn ignores(&self, name: &str) -> bool {
        is_extended(name)
            && (self.ignored.iter().any(|one| one == name)
                || name.split_once('/').is_some_and(|(group, _)| self.ignored_groups.iter().any(|one| one == group)))
    }
}

/// What the pod would add to each resource that is rated.
pub(in crate::scheduler) fn rated(resources: &[(String, i64)], from: &Resources) -> Vec<i64> {
    resources.iter().map(|(name, _)| from.of(name)).collect()
}

/// Calls `rate` with weight, used with the pod, used without it, and what there is, for each resource that counts here.
fn each(
    resources: &[(String, i64)],
    adds: &[i64],
    node: &NodeInfo,
    usual: bool,
    mut rate: impl FnMut(i64, i64, i64, i64),
) {
    let has = &node.known().allocatable;
    for ((name, weight), adds) in resources.iter().zip(adds) {
        let used = match name.as_str() {
            "cpu" if usual => node.usual.0,
            "memory" if usual => node.usual.1,
            other if *adds == 0 && is_scalar(other) => continue,
            other => node.requested.of(other),
        };
        let has = has.of(name);
        if has != 0 {
            rate(*weight, used.saturating_add(*adds), used, has);
        }
    }
}

/// `part` of `whole` in hundredths, in numbers large enough for any amount of bytes.
fn hundredths(part: i64, whole: i64) -> i64 {
    match part.checked_mul(BEST) {
        Some(product) => product / whole,
        None => i64::try_from(i128::from(part) * i128::from(BEST) / i128::from(whole)).unwrap_or(BEST),
    }
}

/// How the strategy rates the node with the pod on it.
pub(in crate::scheduler) fn rate(args: &Fit, adds: &[i64], node: &NodeInfo) -> i64 {
    let (mut sum, mut weights) = (0, 0);
    each(&args.resources, adds, node, true, |weight, with, _, has| {
        let score = match &args.strategy {
            Strategy::Least if with > has => 0,
            Strategy::Least => hundredths(has - with, has),
            Strategy::Most => hundredths(with.min(has), has),
            Strategy::Ratio(ratio) => {
                let score = ratio.at(if with > has { BEST } else { hundredths(with, has) });
                if score <= 0 {
                    return;
                }
                score
            }
        };
        sum += score * weight;
        weights += weight;
    });
    match (&args.strategy, weights) {
        (_, 0) => 0,
        (Strategy::Ratio(_), _) => (2 * sum + weights) / (2 * weights), // rounded
        _ => sum / weights,
    }
}

impl Ratio {
    /// The score of a utilization, on the line through the points.
    fn at(&self, utilization: i64) -> i64 {
        let above = self.points.iter().position(|(at, _)| utilization <= *at);
        match above {
            None => self.points.last().map_or(0, |(_, score)| *score),
            Some(0) => self.points[0].1,
            Some(index) => {
                let ((low, from), (high, to)) = (self.points[index - 1], self.points[index]);
                from + (to - from) * (utilization - low) / (high - low)
            }
        }
    }
}

/// How much more even the use of the node's resources becomes with the pod: 50 leaves it as it is (KEP-5598).
#[expect(clippy::cast_precision_loss, reason = "a score needs two digits")]
pub(in crate::scheduler) fn balance(resources: &[(String, i64)], adds: &[i64], node: &NodeInfo) -> i64 {
    let (mut with, mut without) = (Spread::default(), Spread::default());
    each(resources, adds, node, false, |_, used_with, used, has| {
        let share = |used: i64| (used as f64 / has as f64).min(1.0);
        with.add(share(used_with));
        without.add(share(used));
    });
    BEST / 2 + (BEST / 2 + with.score() - without.score()) / 2
}

/// The standard deviation of shares. Two of them, the usual number, need no memory.
#[derive(Default)]
struct Spread {
    count: usize,
    first: [f64; 2],
    rest: Vec<f64>,
}

impl Spread {
    fn add(&mut self, share: f64) {
        match self.first.get_mut(self.count) {
            Some(place) => *place = share,
            None => self.rest.push(share),
        }
        self.count += 1;
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a score needs two digits")]
    fn score(&self) -> i64 {
        let deviation = match self.count {
            0 | 1 => 0.0,
            2 => ((self.first[0] - self.first[1]) / 2.0).abs(),
            count => {
                let shares = || self.first.iter().chain(&self.rest);
                let mean = shares().sum::<f64>() / count as f64;
                (shares().map(|share| (share - mean).powi(2)).sum::<f64>() / count as f64).sqrt()
            }
        };
        ((1.0 - deviation) * BEST as f64) as i64
    }
}
