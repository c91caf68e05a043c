//! ImageLocality: nodes that have the images already, unless only few nodes do.

use super::BEST;
use crate::scheduler::cache::Cache;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::Ask;

/// Below this many bytes pulling is not worth a thought.
const SMALL: i64 = 23 * 1024 * 1024;
/// More bytes than this per container do not count.
const LARGE: i64 = 1000 * 1024 * 1024;

/// The pod's images that are on any node: their numbers, and the share of nodes that have them.
#[derive(Debug)]
pub(in crate::scheduler) struct Wanted {
    images: Vec<(u32, f64)>,
    most: i64,
}

#[expect(clippy::cast_precision_loss, reason = "a share needs two digits")]
pub(in crate::scheduler) fn wanted(ask: &Ask, cache: &Cache) -> Wanted {
    let nodes = cache.len().max(1) as f64;
    let known = ask.images.iter().filter_map(|image| cache.image(image));
    Wanted {
        images: known.map(|(number, spread)| (number, f64::from(spread) / nodes)).collect(),
        most: LARGE * i64::try_from(ask.containers.max(1)).unwrap_or(1),
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a score needs two digits")]
pub(in crate::scheduler) fn rate(wanted: &Wanted, node: &NodeInfo) -> i64 {
    let present = wanted.images.iter().filter_map(|(number, share)| {
        let place = node.images.binary_search_by_key(number, |(number, _)| *number).ok()?;
        Some((node.images[place].1 as f64 * share) as i64)
    });
    let sum = present.sum::<i64>().clamp(SMALL, wanted.most);
    BEST * (sum - SMALL) / (wanted.most - SMALL)
}
