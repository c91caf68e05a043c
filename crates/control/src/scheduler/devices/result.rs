//! From devices that were found to what is written into claims.
//!
//! Invariant: a result says all a driver and a node need: which devices, by which request, with what configuration, and on
//! which nodes they can be used. Shares are numbered later (see [`number`]), for that needs chance.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::api::resource::v1::{
    AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceRequestAllocationResult,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::request::{Choice, Want};
use super::search::Given;
use super::slice::Place;

/// What is written into the claim.
pub(super) fn result(want: &Want, given: &[Given<'_>], node: &str) -> AllocationResult {
    let results = given.iter().map(|one| device(want, one)).collect();
    let config = config(want, given);
    AllocationResult {
        allocation_timestamp: None,
        devices: Some(DeviceAllocationResult {
            results: Some(results),
            config: Some(config).filter(|config: &Vec<_>| !config.is_empty()),
        }),
        node_selector: nodes(given, node),
    }
}

fn device(want: &Want, given: &Given<'_>) -> DeviceRequestAllocationResult {
    let request = &want.requests[given.request];
    let choice = &request.choices[given.choice];
    let (device, id) = (given.device, &given.device.id);
    let consumed = given.share.as_ref().filter(|share| !share.is_empty()).map(|share| {
        share.iter().map(|(name, amount)| (name.clone(), Quantity(amount.to_string()))).collect::<BTreeMap<_, _>>()
    });
    DeviceRequestAllocationResult {
        request: request.full_name(choice),
        driver: id.driver.to_string(),
        pool: id.pool.to_string(),
        device: id.device.to_string(),
        admin_access: choice.admin.then_some(true),
        tolerations: choice.tolerations.clone(),
        binding_conditions: device.conditions.clone(),
        binding_failure_conditions: device.failures.clone(),
        share_id: given.share.as_ref().map(|_| String::new()),
        consumed_capacity: consumed,
    }
}

/// Numbers the shares; `chance` gives a number by chance.
pub(super) fn number(allocation: &mut AllocationResult, mut chance: impl FnMut() -> u64) {
    let results = allocation.devices.iter_mut().flat_map(|devices| devices.results.iter_mut().flatten());
    for share in results.filter_map(|one| one.share_id.as_mut()) {
        *share = uid(chance(), chance());
    }
}

/// A UUID of version 4 (RFC 9562).
pub(super) fn uid(high: u64, low: u64) -> String {
    let (high, low) = (high & !0xf000 | 0x4000, low & !(0b11 << 62) | 1 << 63);
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
}

/// The choice that satisfies a request: the first of none were given for it.
fn chosen<'a>(want: &'a Want, given: &[Given<'_>], request: usize) -> Option<&'a Choice> {
    let found = given.iter().find(|one| one.request == request).map_or(0, |one| one.choice);
    want.requests[request].choices.get(found)
}

/// The configuration of the classes, once per class, then that of the claim as far as it is about what was chosen.
fn config(want: &Want, given: &[Given<'_>]) -> Vec<DeviceAllocationConfiguration> {
    let mut config: Vec<DeviceAllocationConfiguration> = Vec::new();
    let mut known: BTreeMap<&str, std::ops::Range<usize>> = BTreeMap::new();
    for (index, request) in want.requests.iter().enumerate() {
        let Some(choice) = chosen(want, given, index) else { continue };
        let name = request.full_name(choice);
        if let Some(range) = known.get(choice.class.name.as_str()) {
            for one in &mut config[range.clone()] {
                one.requests.get_or_insert_default().push(name.clone());
            }
            continue;
        }
        let start = config.len();
        config.extend(choice.class.spec.config.iter().flatten().map(|one| DeviceAllocationConfiguration {
            source: "FromClass".into(),
            requests: Some(vec![name.clone()]),
            opaque: one.opaque.clone(),
        }));
        known.insert(&choice.class.name, start..config.len());
    }
    for one in want.spec.config.iter().flatten() {
        let names = one.requests.as_deref().unwrap_or_default();
        let about = |index: usize| {
            let full = || chosen(want, given, index).map(|choice| want.requests[index].full_name(choice));
            names.contains(&want.requests[index].name) || full().is_some_and(|name| names.contains(&name))
        };
        let times = if names.is_empty() { 1 } else { (0..want.requests.len()).filter(|index| about(*index)).count() };
        config.extend((0..times).map(|_| DeviceAllocationConfiguration {
            source: "FromClaim".into(),
            requests: one.requests.clone(),
            opaque: one.opaque.clone(),
        }));
    }
    config
}

/// The nodes where all devices can be used; none when that is everywhere.
fn nodes(given: &[Given<'_>], node: &str) -> Option<NodeSelector> {
    let mut term = NodeSelectorTerm::default();
    for one in given {
        let place = if one.slice.place == Place::PerDevice { &one.device.place } else { &one.slice.place };
        match place {
            _ if one.device.binds_to_node => return Some(only(node)),
            Place::Node(_) => return Some(only(node)),
            Place::Nodes(selector) => {
                if let Some(wanted) = selector.node_selector_terms.first() {
                    add(&mut term.match_fields, wanted.match_fields.as_deref());
                    add(&mut term.match_expressions, wanted.match_expressions.as_deref());
                }
            }
            Place::All | Place::PerDevice | Place::Unknown => {}
        }
    }
    let asks = term.match_fields.is_some() || term.match_expressions.is_some();
    asks.then(|| NodeSelector { node_selector_terms: vec![term] })
}

fn only(node: &str) -> NodeSelector {
    let requirement = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: "In".into(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![requirement]), match_expressions: None };
    NodeSelector { node_selector_terms: vec![term] }
}

fn add(to: &mut Option<Vec<NodeSelectorRequirement>>, wanted: Option<&[NodeSelectorRequirement]>) {
    for one in wanted.unwrap_or_default() {
        let all = to.get_or_insert_default();
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
}
