//! `KubeSchedulerConfiguration` (kubescheduler.config.k8s.io/v1), from what is written to what is meant.
//!
//! Invariant: nothing that is written is ignored in silence: an unknown field is a fault, a field that has no effect here a
//! warning. All faults are told at once, each with its field and upstream's words where upstream has any.

mod args;
mod place;
mod plugins;

use std::time::Duration;

use serde_json::Value;

use super::profile::Profile;
use super::queue::BackOff;
use super::run::Config;
use place::Place;

pub use place::Fault;

/// A configuration that can be used, and what of it has no effect.
#[derive(Clone, Debug, Default)]
pub struct Read {
    pub config: Config,
    pub warnings: Vec<String>,
}

const VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

/// What a configuration may say.
const FIELDS: &[&str] = &[
    "apiVersion",
    "kind",
    "parallelism",
    "leaderElection",
    "clientConnection",
    "enableProfiling",
    "enableContentionProfiling",
    "percentageOfNodesToScore",
    "podInitialBackoffSeconds",
    "podMaxBackoffSeconds",
    "profiles",
    "extenders",
    "delayCacheUntilActive",
];

/// Reads a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(written: &Value) -> Result<Read, Vec<Fault>> {
    let mut faults = Vec::new();
    let top = Place::top(written);
    top.only(FIELDS, &mut faults);
    for (field, wanted) in [("apiVersion", VERSION), ("kind", KIND)] {
        if top.text(field, &mut faults).as_deref() != Some(wanted) {
            faults.push(Fault::at(field, format!("must be {wanted}; other versions and kinds are not read")));
        }
    }
    let mut warnings = Vec::new();
    if top.at("leaderElection").and_then(|one| one.bool("leaderElect", &mut faults)) == Some(true) {
        warnings.push("leaderElection.leaderElect has no effect: run one scheduler per cluster and name".to_owned());
    }
    if top.at("clientConnection").and_then(|one| one.text("kubeconfig", &mut faults)).is_some() {
        warnings.push("clientConnection.kubeconfig has no effect: give --kubeconfig".to_owned());
    }
    if top.list("extenders", &mut faults).next().is_some() {
        let remedy = "extenders are not supported; remove them, or run kube-scheduler beside this one for such pods";
        faults.push(Fault::at("extenders", remedy.to_owned()));
    }
    if let Some(parallelism) = top.int("parallelism", &mut faults)
        && parallelism <= 0
    {
        faults.push(Fault::invalid("parallelism", parallelism, "should be an integer value greater than zero"));
    }
    let back_off = back_off(&top, &mut faults);
    let percentage = percentage(&top, &mut faults).unwrap_or(0);
    let profiles = profiles(&top, percentage, &mut faults);
    if faults.is_empty() { Ok(Read { config: Config { profiles, back_off }, warnings }) } else { Err(faults) }
}

fn back_off(top: &Place<'_>, faults: &mut Vec<Fault>) -> BackOff {
    let seconds = |field: &str, faults: &mut Vec<Fault>| top.int(field, faults);
    let first = seconds("podInitialBackoffSeconds", faults).unwrap_or(1);
    let longest = seconds("podMaxBackoffSeconds", faults).unwrap_or(10);
    if first <= 0 {
        faults.push(Fault::invalid("podInitialBackoffSeconds", first, "must be greater than 0"));
    }
    if longest < first {
        let why = "must be greater than or equal to PodInitialBackoffSeconds";
        faults.push(Fault::invalid("podMaxBackoffSeconds", longest, why));
    }
    let duration = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    BackOff { first: duration(first), longest: duration(longest) }
}

fn percentage(place: &Place<'_>, faults: &mut Vec<Fault>) -> Option<i64> {
    let percentage = place.int("percentageOfNodesToScore", faults)?;
    if !(0..=100).contains(&percentage) {
        faults.push(Fault::invalid(&place.path("percentageOfNodesToScore"), percentage, "not in valid range [0-100]"));
    }
    Some(percentage)
}

fn profiles(top: &Place<'_>, percentage_of_all: i64, faults: &mut Vec<Fault>) -> Vec<Profile> {
    let places: Vec<Place<'_>> = top.list("profiles", faults).collect();
    let mut profiles: Vec<Profile> = Vec::new();
    for (index, place) in places.iter().enumerate() {
        place.only(&["schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"], faults);
        let name = place.text("schedulerName", faults).filter(|name| !name.is_empty());
        let name = name.or_else(|| (places.len() == 1).then(|| super::NAME.to_owned())).unwrap_or_else(|| {
            faults.push(Fault::at(&place.path("schedulerName"), "Required value".to_owned()));
            String::new()
        });
        if let Some(first) = profiles.iter().position(|known| known.name == name && !name.is_empty()) {
            let value = format!("Duplicate value: \"profiles[{first}].schedulerName\"");
            faults.push(Fault::at(&format!("profiles[{index}].schedulerName"), value));
        }
        let mut profile = plugins::profile(name, place, faults);
        profile.percentage = percentage(place, faults).unwrap_or(percentage_of_all);
        args::read(place, &mut profile, faults);
        profiles.push(profile);
    }
    if profiles.is_empty() {
        profiles.push(Profile { percentage: percentage_of_all, ..Profile::default() });
    }
    profiles
}

#[cfg(test)]
mod tests;
