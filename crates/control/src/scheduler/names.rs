//! The plugins by name, and sets of them.
//!
//! Invariant: the order of the variants is upstream's default order (`default_plugins.go`), which is the order in which
//! a node is refused. The set is closed: what a plugin does is an exhaustive match elsewhere.

/// One plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Plugin {
    SchedulingGates,
    PrioritySort,
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    VolumeRestrictions,
    NodeVolumeLimits,
    VolumeBinding,
    VolumeZone,
    PodTopologySpread,
    InterPodAffinity,
    DynamicResources,
    DefaultPreemption,
    NodeResourcesBalancedAllocation,
    ImageLocality,
    DefaultBinder,
    NodeDeclaredFeatures,
}

/// Name, default weight (0: does not score), and what the plugin takes part in.
struct Row {
    plugin: Plugin,
    name: &'static str,
    weight: i64,
    points: &'static [Point],
}

/// An extension point, as a configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Point {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

use Point::{Bind, Filter, PostFilter, PreBind, PreEnqueue, PreFilter, PreScore, QueueSort, Reserve, Score};

const fn row(plugin: Plugin, name: &'static str, weight: i64, points: &'static [Point]) -> Row {
    Row { plugin, name, weight, points }
}

static ROWS: &[Row] = &[
    row(Plugin::SchedulingGates, "SchedulingGates", 0, &[PreEnqueue]),
    row(Plugin::PrioritySort, "PrioritySort", 0, &[QueueSort]),
    row(Plugin::NodeUnschedulable, "NodeUnschedulable", 0, &[Filter]),
    row(Plugin::NodeName, "NodeName", 0, &[Filter]),
    row(Plugin::TaintToleration, "TaintToleration", 3, &[Filter, PreScore, Score]),
    row(Plugin::NodeAffinity, "NodeAffinity", 2, &[PreFilter, Filter, PreScore, Score]),
    row(Plugin::NodePorts, "NodePorts", 0, &[PreFilter, Filter]),
    row(Plugin::NodeResourcesFit, "NodeResourcesFit", 1, &[PreFilter, Filter, PreScore, Score]),
    row(Plugin::VolumeRestrictions, "VolumeRestrictions", 0, &[PreFilter, Filter]),
    row(Plugin::NodeVolumeLimits, "NodeVolumeLimits", 0, &[PreFilter, Filter]),
    row(Plugin::VolumeBinding, "VolumeBinding", 0, &[PreFilter, Filter, Reserve, PreBind]),
    row(Plugin::VolumeZone, "VolumeZone", 0, &[PreFilter, Filter]),
    row(Plugin::PodTopologySpread, "PodTopologySpread", 2, &[PreFilter, Filter, PreScore, Score]),
    row(Plugin::InterPodAffinity, "InterPodAffinity", 2, &[PreFilter, Filter, PreScore, Score]),
    row(
        Plugin::DynamicResources,
        "DynamicResources",
        2,
        &[PreEnqueue, PreFilter, Filter, PostFilter, Score, Reserve, PreBind],
    ),
    row(Plugin::DefaultPreemption, "DefaultPreemption", 0, &[PreEnqueue, PostFilter]),
    row(Plugin::NodeResourcesBalancedAllocation, "NodeResourcesBalancedAllocation", 1, &[PreScore, Score]),
    row(Plugin::ImageLocality, "ImageLocality", 1, &[Score]),
    row(Plugin::DefaultBinder, "DefaultBinder", 0, &[Bind]),
    row(Plugin::NodeDeclaredFeatures, "NodeDeclaredFeatures", 0, &[PreFilter, Filter]),
];

impl Plugin {
    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The name in messages and configurations.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Which plugin that is.
    pub fn named(name: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.plugin)
    }

    /// What the plugin's scores count unless configured.
    pub fn weight(self) -> i64 {
        self.row().weight
    }

    /// Whether the plugin has anything to do at `point`.
    pub fn takes_part(self, point: Point) -> bool {
        self.row().points.contains(&point)
    }

    /// All of them, in upstream's default order.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.plugin)
    }
}

/// A set of plugins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Plugins(u32);

impl Plugins {
    /// Only this one.
    pub const fn only(plugin: Plugin) -> Self {
        Self(1 << plugin as u8)
    }

    pub fn insert(&mut self, plugin: Plugin) {
        self.0 |= 1 << plugin as u8;
    }

    pub fn has(self, plugin: Plugin) -> bool {
        self.0 & (1 << plugin as u8) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in order.
    pub fn iter(self) -> impl Iterator<Item = Plugin> {
        Plugin::all().filter(move |plugin| self.has(*plugin))
    }

    /// The names, sorted, as upstream prints them.
    pub fn names(self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.iter().map(Plugin::name).collect();
        names.sort_unstable();
        names
    }
}

impl FromIterator<Plugin> for Plugins {
    fn from_iter<I: IntoIterator<Item = Plugin>>(plugins: I) -> Self {
        let mut set = Self::default();
        plugins.into_iter().for_each(|plugin| set.insert(plugin));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_has_its_own_row() {
        for (index, plugin) in Plugin::all().enumerate() {
            assert_eq!(plugin as usize, index);
            assert_eq!(Plugin::named(plugin.name()), Some(plugin));
            assert_eq!(plugin.weight() > 0, plugin.takes_part(Point::Score), "{}", plugin.name());
        }
        assert_eq!(Plugin::all().collect::<Plugins>().iter().count(), ROWS.len());
    }
}
