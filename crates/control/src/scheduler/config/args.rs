//! The arguments of plugins (`pluginConfig`).

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use serde_json::Value;

use super::place::{Fault, Place};
use crate::plan::labels::Labels;
use crate::scheduler::names::Plugin;
use crate::scheduler::pod;
use crate::scheduler::profile::{Added, Fit, Profile, Ratio, Spreading, Strategy};

/// Reads the arguments that a profile gives.
pub(super) fn read(profile_place: &Place<'_>, profile: &mut Profile, faults: &mut Vec<Fault>) {
    let mut seen: Vec<String> = Vec::new();
    for place in profile_place.list("pluginConfig", faults) {
        place.only(&["name", "args"], faults);
        let Some(name) = place.text("name", faults) else {
            faults.push(Fault::at(&place.path("name"), "Required value".to_owned()));
            continue;
        };
        if seen.contains(&name) {
            faults.push(Fault::at(place.own_path(), format!("Duplicate value: {name:?}")));
            continue;
        }
        let Some(args) = place.at("args") else { continue };
        match Plugin::named(&name) {
            Some(Plugin::DefaultPreemption) => preemption(&args, profile, faults),
            Some(Plugin::InterPodAffinity) => mutual(&args, profile, faults),
            Some(Plugin::NodeAffinity) => added(&args, profile, faults),
            Some(Plugin::NodeResourcesBalancedAllocation) => balanced(&args, profile, faults),
            Some(Plugin::NodeResourcesFit) => fit(&args, profile, faults),
            Some(Plugin::PodTopologySpread) => spreading(&args, profile, faults),
            Some(Plugin::VolumeBinding) => volumes(&args, profile, faults),
            Some(Plugin::DynamicResources) => devices(&args, profile, faults),
            Some(plugin) => {
                let problem = format!("{} takes no arguments; remove it", plugin.name());
                faults.push(Fault::at(&place.path("args"), problem));
            }
            None => faults.push(Fault::at(&place.path("name"), format!("plugin {name:?} does not exist"))),
        }
        seen.push(name);
    }
}

fn with_type<'a>(fields: &[&'a str]) -> Vec<&'a str> {
    fields.iter().copied().chain(["apiVersion", "kind"]).collect()
}

fn within(args: &Place<'_>, field: &str, low: i64, high: i64, faults: &mut Vec<Fault>) -> Option<i64> {
    let value = args.int(field, faults)?;
    if !(low..=high).contains(&value) {
        let range = if high == i64::MAX { format!("[{low}, inf)") } else { format!("[{low}, {high}]") };
        faults.push(Fault::invalid(&args.path(field), value, &format!("not in valid range {range}")));
    }
    Some(value)
}

fn preemption(args: &Place<'_>, profile: &mut Profile, faults: &mut Vec<Fault>) {
    const PERCENTAGE: &str = "minCandidateNodesPercentage";
    const ABSOLUTE: &str = "minCandidateNodesAbsolute";
    args.only(&with_type(&[PERCENTAGE, ABSOLUTE]), faults);
    let wanted = &mut profile.preemption;
    wanted.percentage = within(args, PERCENTAGE, 0, 100, faults).unwrap_or(wanted.percentage);
    wanted.absolute = within(args, ABSOLUTE, 0, i64::MAX, faults).unwrap_or(wanted.absolute);
    if wanted.percentage == 0 && wanted.absolute == 0 {
        for (field, other) in [(PERCENTAGE, ABSOLUTE), (ABSOLUTE, PERCENTAGE)] {
            faults.push(Fault::invalid(&args.path(field), 0, &format!("cannot be zero at the same time as {other}")));
        }
    }
}

fn mutual(args: &Place<'_>, profile: &mut Profile, faults: &mut Vec<Fault>) {
    args.only(&with_type(&["hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"]), faults);
    let mutual = &mut profile.mutual;
    mutual.hard_weight = within(args, "hardPodAffinityWeight", 0, 100, faults).unwrap_or(mutual.hard_weight);
    mutual.ignore_existing = args.bool("ignorePreferredTermsOfExistingPods", faults).unwrap_or(false);
}

fn added(args: &Place<'_>, profile: &mut Profile, faults: &mut Vec<Fault>) {
    args.only(&with_type(&["addedAffinity"]), faults);
    let Some(place) = args.at("addedAffinity") else { return };
    if let Some(affinity) = place.decoded::<NodeAffinity>(faults) {
        profile.added = Added {
            required: affinity.required_during_scheduling_ignored_during_execution,
            preferred: affinity.preferred_during_scheduling_ignored_during_execution.unwrap_or_default(),
        };
    }
}

/// Resources with weights; a weight that is not given is 1.
fn resources(args: &Place<'_>, faults: &mut Vec<Fault>) -> Option<Vec<(String, i64)>> {
    let mut resources: Vec<(String, i64)> = Vec::new();
    for place in args.list("resources", faults) {
        place.only(&["name", "weight"], faults);
        let Some(name) = place.text("name", faults) else { continue };
        let weight = place.int("weight", faults).filter(|weight| *weight != 0).unwrap_or(1);
        if !(1..=100).contains(&weight) {
            let why = format!("resource weight of {name} not in valid range (0, 100]");
            faults.push(Fault::invalid(&place.path("weight"), weight, &why));
        }
        resources.push((name, weight));
    }
    (!resources.is_empty()).then_some(resources)
}

fn balanced(args: &Place<'_>, profile: &mut Profile, faults: &mut Vec<Fault>) {
    args.only(&with_type(&["resources"]), faults);
    let Some(resources) = resources(args, faults) else { return };
    for (index, (name, weight)) in resources.iter().enumerate() {
        let path = args.path(&format!("resources[{index}]"));
        if resources[..index].iter().any(|(other, _)| other == name) {
            faults.push(Fault::at(&format!("{path}.name"), format!("Duplicate value: {name:?}")));
        }
        if *weight != 1 {
            faults.push(Fault::invalid(&format!("{path}.weight"), *weight, "must be 1"));
        }
    }
    profile.balanced = resources;
}

fn fit(args: &Place<'_>, profile: &mut Profile, faults: &mut Vec<Fault>) {
    args.only(&with_type(&["ignoredResources", "ignoredResourceGroups", "scoringStrategy"]), faults);
    let texts = |field: &str, faults: &mut Vec<Fault>| {
        let items = args.list(field, faults).collect::<Vec<Place<'_>>>();
        items.iter().filter_map(|place| place.decoded::<String>(faults)).collect::<Vec<String>>()
    };
    let ignored = texts("ignoredResources", faults);
    let ignored_groups = texts("ignoredResourceGroups", faults);
    for (index, group) in ignored_groups.iter().enumerate().filter(|(_, group)| group.contains('/')) {
        let path = args.path(&format!("ignoredResourceGroups[{index}]"));
        faults.push(Fault::invalid(&path, group.as_str(), "resource group name can't contain '/'"));
    }
    profile.fit = Fit { ignored, ignored_groups, ..Fit::default() };
    let Some(place) = args.at("scoringStrategy") else { return };
    place.only(&["type", "resources", "requestedToCapacityRatio"], faults);
    profile.fit.resources = resources(&place, faults).unwrap_or_else(|| Fit::default().resources);
    let kind = place.text("type", faults).unwrap_or_else(|| "LeastAllocated".to_owned());
    let ratio = place.at("requestedToCapacityRatio");
    let ratio_path = place.path("requestedToCapacityRatio");
    profile.fit.strategy = match kind.as_str() {
        "LeastAllocated" => Strategy::Least,
        "MostAllocated" => Strategy::Most,
        "RequestedToCapacityRatio" => match &ratio {
            Some(ratio) => Strategy::Ratio(shape(ratio, faults)),
            None => {
                let problem = "Required value: must be specified when type is RequestedToCapacityRatio";
                faults.push(Fault::at(&ratio_path, problem.to_owned()));
                Strategy::Least
            }
        },
        other => {
            let supported = r#""LeastAllocated", "MostAllocated", "RequestedToCapacityRatio""#;
            let problem = format!("Unsupported value: {other:?}: supported values: {supported}");
            faults.push(Fault::at(&place.path("type"), problem));
            Strategy::Least
        }
    };
    if ratio.is_some() && kind != "RequestedToCapacityRatio" {
        let problem = "Forbidden: must be nil when type is not RequestedToCapacityRatio";
        faults.push(Fault::at(&ratio_path, problem.to_owned()));
    }
}

/// Points of utilization (percent) and score (0 to 10).
fn shape(ratio: &Place<'_>, faults: &mut Vec<Fault>) -> Ratio {
    ratio.only(&["shape"], faults);
    let mut points: Vec<(i64, i64)> = Vec::new();
    let places: Vec<Place<'_>> = ratio.list("shape", faults).collect();
    for place in &places {
        place.only(&["utilization", "score"], faults);
        let utilization = within(place, "utilization", 0, 100, faults).unwrap_or(0);
        let score = within(place, "score", 0, 10, faults).unwrap_or(0);
        if points.last().is_some_and(|(before, _)| *before >= utilization) {
            let why = "values must be sorted in increasing order";
            faults.push(Fault::invalid(&place.path("utilization"), utilization, why));
        }
        points.push((utilization, score * 10));
    }
    if points.is_empty() {
        let problem = "Required value: at least one point must be specified";
        faults.push(Fault::at(&ratio.path("shape"), problem.to_owned()));
    }
    Ratio { points }
}

fn spreading(args: &Place<'_>, profile: &mut Profile, faults: &mut Vec<Fault>) {
    args.only(&with_type(&["defaultConstraints", "defaultingType"]), faults);
    let kind =
        args.text("defaultingType", faults).filter(|kind| !kind.is_empty()).unwrap_or_else(|| "System".to_owned());
    let places: Vec<Place<'_>> = args.list("defaultConstraints", faults).collect();
    match kind.as_str() {
        "System" if !places.is_empty() => {
            let why = "when .defaultConstraints are not empty";
            faults.push(Fault::invalid(&args.path("defaultingType"), kind.as_str(), why));
        }
        "System" => return profile.spreading = Spreading::default(),
        "List" => {}
        other => {
            let problem = format!(r#"Unsupported value: {other:?}: supported values: "System", "List""#);
            faults.push(Fault::at(&args.path("defaultingType"), problem));
        }
    }
    let mut written: Vec<TopologySpreadConstraint> = Vec::new();
    for place in &places {
        let Some(one) = place.decoded::<TopologySpreadConstraint>(faults) else { continue };
        constraint(place, &one, &written, faults);
        written.push(one);
    }
    let none = Labels::new();
    let constraints = written.into_iter().map(|one| pod::constraint(one, &none)).collect();
    profile.spreading = Spreading { constraints, system: false };
}

fn constraint(
    place: &Place<'_>,
    one: &TopologySpreadConstraint,
    before: &[TopologySpreadConstraint],
    faults: &mut Vec<Fault>,
) {
    if one.max_skew <= 0 {
        faults.push(Fault::invalid(&place.path("maxSkew"), one.max_skew, "not in valid range (0, inf)"));
    }
    if one.topology_key.is_empty() {
        faults.push(Fault::at(&place.path("topologyKey"), "Required value: can not be empty".to_owned()));
    }
    let unsatisfiable = one.when_unsatisfiable.as_str();
    if !["DoNotSchedule", "ScheduleAnyway"].contains(&unsatisfiable) {
        let supported = r#""DoNotSchedule", "ScheduleAnyway""#;
        let problem = format!("Unsupported value: {unsatisfiable:?}: supported values: {supported}");
        faults.push(Fault::at(&place.path("whenUnsatisfiable"), problem));
    }
    if one.label_selector.is_some() {
        let problem = "Forbidden: constraint must not define a selector, as they deduced for each pod";
        faults.push(Fault::at(&place.path("labelSelector"), problem.to_owned()));
    }
    let same = |other: &TopologySpreadConstraint| {
        other.topology_key == one.topology_key && other.when_unsatisfiable == one.when_unsatisfiable
    };
    if before.iter().any(same) {
        let problem = format!("Duplicate value: \"{{{}, {unsatisfiable}}}\"", one.topology_key);
        faults.push(Fault::at(place.own_path(), problem));
    }
}

fn devices(args: &Place<'_>, profile: &mut Profile, faults: &mut Vec<Fault>) {
    const FILTER: &str = "filterTimeout";
    const BINDING: &str = "bindingTimeout";
    args.only(&with_type(&[FILTER, BINDING]), faults);
    let mut duration = |field: &str, least: SignedDuration, why: &str| {
        let text = args.text(field, faults)?;
        // as Go writes durations: 10s, 1m30s, 250ms
        let Ok(duration) = text.parse::<SignedDuration>() else {
            faults.push(Fault::invalid(&args.path(field), text, "must be a duration such as 10s"));
            return None;
        };
        if duration < least {
            faults.push(Fault::invalid(&args.path(field), text, why));
        }
        Duration::try_from(duration).ok()
    };
    let wanted = &mut profile.allocating;
    let filter = duration(FILTER, SignedDuration::ZERO, "must be zero or positive");
    let binding = duration(BINDING, SignedDuration::from_secs(1), "must be at least 1 second");
    wanted.filter = filter.unwrap_or(wanted.filter);
    wanted.binding = binding.unwrap_or(wanted.binding);
}

fn volumes(args: &Place<'_>, profile: &mut Profile, faults: &mut Vec<Fault>) {
    args.only(&with_type(&["bindTimeoutSeconds", "shape"]), faults);
    if let Some(seconds) = args.int("bindTimeoutSeconds", faults) {
        match u64::try_from(seconds) {
            Ok(seconds) => profile.bind_timeout = Duration::from_secs(seconds),
            Err(_) => {
                let why = "invalid BindTimeoutSeconds, should not be a negative value";
                faults.push(Fault::invalid(&args.path("bindTimeoutSeconds"), seconds, why));
            }
        }
    }
    if let Some(shape) = args.at("shape") {
        let why = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
        faults.push(Fault::invalid(&args.path("shape"), Value::clone(shape.value), why));
    }
}
