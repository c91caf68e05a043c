//! ResourceSlices: which devices there are, and where.
//!
//! Invariant: what is read here is what the search looks at, in numbers and not in texts. An amount that cannot be read is
//! nothing when it is offered; the API validates quantities, so that is a corrupt object.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use base::quantity::Quantity;
use expressions::device::{Attribute, Device as Seen};
use k8s_openapi::api::core::v1::NodeSelector;
use k8s_openapi::api::resource::v1::{self as api, DeviceAttribute, DeviceTaint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::plan::node_selector;
use crate::scheduler::node::NodeFacts;

/// Amounts by name.
pub(in crate::scheduler) type Amounts = BTreeMap<String, Quantity>;

/// Names one device in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::scheduler) struct Id {
    pub(in crate::scheduler) driver: Arc<str>,
    pub(in crate::scheduler) pool: Arc<str>,
    pub(in crate::scheduler) device: Arc<str>,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.driver, self.pool, self.device)
    }
}

/// From which nodes something can be reached.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) enum Place {
    Node(String),
    All,
    Nodes(NodeSelector),
    /// Each device says it for itself.
    PerDevice,
    /// In a way that is not known here, or from none.
    Unknown,
}

impl Place {
    fn read(node: Option<String>, all: Option<bool>, nodes: Option<NodeSelector>, per_device: Option<bool>) -> Self {
        match (node.filter(|node| !node.is_empty()), nodes) {
            (Some(node), _) => Self::Node(node),
            _ if all == Some(true) => Self::All,
            (_, Some(nodes)) => Self::Nodes(nodes),
            _ if per_device == Some(true) => Self::PerDevice,
            _ => Self::Unknown,
        }
    }

    pub(super) fn has(&self, node: &NodeFacts) -> bool {
        match self {
            Self::Node(name) => *name == *node.name,
            Self::All => true,
            Self::Nodes(selector) => node_selector::any_term_matches(selector, &node.name, &node.labels),
            Self::PerDevice | Self::Unknown => false,
        }
    }
}

/// How much of something a device has, and how it may be asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Capacity {
    pub(super) value: Quantity,
    pub(super) policy: Option<Policy>,
}

/// What amounts may be asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Policy {
    pub(super) default: Option<Quantity>,
    pub(super) valid: Vec<Quantity>,
    pub(super) range: Option<Range>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) min: Quantity,
    pub(super) max: Option<Quantity>,
    pub(super) step: Option<Quantity>,
}

/// One device.
#[derive(Clone, Debug)]
pub(in crate::scheduler) struct Device {
    pub(super) id: Id,
    pub(super) place: Place,
    pub(super) binds_to_node: bool,
    /// Whether several claims can share it, each with a part of its capacity.
    pub(super) multiple: bool,
    pub(super) attributes: BTreeMap<String, Option<Attribute>>,
    pub(super) capacity: BTreeMap<String, Capacity>,
    /// Sets of shared counters, and how much of each is used up while the device is given.
    pub(super) consumes: Vec<(String, Amounts)>,
    pub(super) taints: Vec<DeviceTaint>,
    pub(super) conditions: Option<Vec<String>>,
    pub(super) failures: Option<Vec<String>>,
    /// What expressions see of it, or why they cannot.
    pub(super) seen: Result<Seen, String>,
}

/// A ResourceSlice.
#[derive(Clone, Debug)]
pub(in crate::scheduler) struct Slice {
    pub(in crate::scheduler) name: String,
    pub(super) driver: Arc<str>,
    pub(super) pool: Arc<str>,
    pub(super) generation: i64,
    /// How many slices the pool has.
    pub(super) count: i64,
    pub(super) place: Place,
    pub(super) devices: Vec<Device>,
    pub(super) counters: Vec<(String, Amounts)>,
}

pub(super) fn amount(text: &Text) -> Quantity {
    text.0.parse().unwrap_or(Quantity::ZERO)
}

fn counters(all: BTreeMap<String, api::Counter>) -> Amounts {
    all.into_iter().map(|(name, counter)| (name, amount(&counter.value))).collect()
}

fn attribute(attribute: DeviceAttribute) -> Option<Attribute> {
    match attribute {
        DeviceAttribute { int: Some(value), .. } => Some(Attribute::Int(value)),
        DeviceAttribute { bool: Some(value), .. } => Some(Attribute::Bool(value)),
        DeviceAttribute { string: Some(text), .. } => Some(Attribute::Text(text)),
        DeviceAttribute { version: Some(text), .. } => Some(Attribute::Version(text)),
        _ => None, // lists are a feature that is off by default
    }
}

fn capacity(one: api::DeviceCapacity) -> Capacity {
    let policy = one.request_policy.map(|policy| Policy {
        default: policy.default.as_ref().map(amount),
        valid: policy.valid_values.iter().flatten().map(amount).collect(),
        range: policy.valid_range.map(|range| Range {
            min: amount(&range.min),
            max: range.max.as_ref().map(amount),
            step: range.step.as_ref().map(amount),
        }),
    });
    Capacity { value: amount(&one.value), policy }
}

impl Slice {
    pub(in crate::scheduler) fn read(name: String, spec: api::ResourceSliceSpec) -> Self {
        let (driver, pool): (Arc<str>, Arc<str>) = (spec.driver.into(), spec.pool.name.into());
        let device = |one: api::Device| {
            let id = Id { driver: driver.clone(), pool: pool.clone(), device: one.name.into() };
            let attributes: BTreeMap<_, _> =
                one.attributes.into_iter().flatten().map(|(name, value)| (name, attribute(value))).collect();
            let capacity: BTreeMap<_, _> =
                one.capacity.into_iter().flatten().map(|(name, value)| (name, capacity(value))).collect();
            let multiple = one.allow_multiple_allocations == Some(true);
            let seen = Seen::new(
                &driver,
                multiple,
                attributes.iter().map(|(name, value)| (name.as_str(), value.as_ref())),
                capacity.iter().map(|(name, capacity)| (name.as_str(), &capacity.value)),
            );
            let consumes = one.consumes_counters.into_iter().flatten();
            Device {
                id,
                place: Place::read(one.node_name, one.all_nodes, one.node_selector, None),
                binds_to_node: one.binds_to_node == Some(true),
                multiple,
                attributes,
                capacity,
                consumes: consumes.map(|one| (one.counter_set, counters(one.counters))).collect(),
                taints: one.taints.unwrap_or_default(),
                conditions: one.binding_conditions,
                failures: one.binding_failure_conditions,
                seen: seen.map_err(|failure| failure.to_string()),
            }
        };
        let devices = spec.devices.into_iter().flatten().map(device).collect();
        let shared = spec.shared_counters.into_iter().flatten();
        Self {
            name,
            generation: spec.pool.generation,
            count: spec.pool.resource_slice_count,
            place: Place::read(spec.node_name, spec.all_nodes, spec.node_selector, spec.per_device_node_selection),
            devices,
            counters: shared.map(|set| (set.name, counters(set.counters))).collect(),
            driver,
            pool,
        }
    }

    /// Whether something in it matters to the node. Counters matter to all that share them.
    fn concerns(&self, node: &NodeFacts) -> bool {
        !self.counters.is_empty()
            || match &self.place {
                Place::PerDevice => self.devices.iter().any(|device| device.place.has(node)),
                place => place.has(node),
            }
    }

    pub(super) fn pool_key(&self) -> PoolKey {
        (self.driver.clone(), self.pool.clone())
    }
}

/// Driver and name of a pool.
pub(super) type PoolKey = (Arc<str>, Arc<str>);

/// All slices, found by who can use them.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct Slices {
    all: BTreeMap<String, Arc<Slice>>,
    by_node: HashMap<String, BTreeSet<String>>,
    /// Those that are not one node's alone.
    shared: BTreeSet<String>,
    by_pool: HashMap<PoolKey, BTreeSet<String>>,
}

impl Slices {
    pub(in crate::scheduler) fn put(&mut self, slice: Slice) {
        self.remove(&slice.name);
        let name = slice.name.clone();
        match &slice.place {
            Place::Node(node) if slice.counters.is_empty() => {
                self.by_node.entry(node.clone()).or_default().insert(name.clone());
            }
            _ => drop(self.shared.insert(name.clone())),
        }
        self.by_pool.entry(slice.pool_key()).or_default().insert(name.clone());
        self.all.insert(name, Arc::new(slice));
    }

    pub(in crate::scheduler) fn remove(&mut self, name: &str) {
        let Some(old) = self.all.remove(name) else { return };
        self.shared.remove(name);
        if let Place::Node(node) = &old.place
            && let Some(names) = self.by_node.get_mut(node)
        {
            names.remove(name);
            if names.is_empty() {
                self.by_node.remove(node);
            }
        }
        let key = old.pool_key();
        if let Some(names) = self.by_pool.get_mut(&key) {
            names.remove(name);
            if names.is_empty() {
                self.by_pool.remove(&key);
            }
        }
    }

    /// The slices that matter to a node, by name.
    pub(super) fn for_node<'a>(&'a self, node: &'a NodeFacts) -> impl Iterator<Item = &'a Slice> {
        let own = self.by_node.get(&*node.name).into_iter().flatten();
        let names = own.chain(&self.shared).filter_map(|name| self.all.get(name));
        names.map(|slice| &**slice).filter(|slice| slice.concerns(node))
    }

    /// The slices of a pool, old generations too, by name.
    pub(super) fn of_pool<'a>(&'a self, key: &PoolKey) -> impl Iterator<Item = &'a Slice> {
        let names = self.by_pool.get(key).into_iter().flatten();
        names.filter_map(|name| self.all.get(name)).map(|slice| &**slice)
    }
}
