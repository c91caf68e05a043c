//! Which plugins a profile enables, and with what weights.
//!
//! Invariant: upstream's rules of merging (`mergePluginSet`) and of expanding multiPoint: what is named at an extension
//! point overrides what multiPoint says of it and goes first, what only multiPoint enables follows, then the rest.

use std::collections::BTreeMap;

use super::place::{Fault, Place};
use crate::scheduler::names::{Plugin, Point};
use crate::scheduler::profile::Profile;

const POINTS: &[(&str, Point)] = &[
    ("preEnqueue", Point::PreEnqueue),
    ("queueSort", Point::QueueSort),
    ("preFilter", Point::PreFilter),
    ("filter", Point::Filter),
    ("postFilter", Point::PostFilter),
    ("preScore", Point::PreScore),
    ("score", Point::Score),
    ("reserve", Point::Reserve),
    ("permit", Point::Permit),
    ("preBind", Point::PreBind),
    ("bind", Point::Bind),
    ("postBind", Point::PostBind),
];

/// Enabled plugins with their weights, and disabled ones.
#[derive(Debug, Default)]
struct Set {
    enabled: Vec<(Plugin, Option<i64>)>,
    disabled: Vec<Plugin>,
    all_disabled: bool,
}

impl Set {
    fn disables(&self, plugin: Plugin) -> bool {
        self.all_disabled || self.disabled.contains(&plugin)
    }

    fn enables(&self, plugin: Plugin) -> bool {
        self.enabled.iter().any(|(one, _)| *one == plugin)
    }
}

fn named(place: &Place<'_>, faults: &mut Vec<Fault>) -> Option<Plugin> {
    let name = place.text("name", faults)?;
    let plugin = Plugin::named(&name);
    if plugin.is_none() {
        let known: Vec<&str> = Plugin::all().map(Plugin::name).collect();
        let problem = format!("plugin {name:?} does not exist; there are {}", known.join(", "));
        faults.push(Fault::at(&place.path("name"), problem));
    }
    plugin
}

fn set(plugins: &Place<'_>, field: &str, point: Option<Point>, faults: &mut Vec<Fault>) -> Set {
    let mut set = Set::default();
    let Some(place) = plugins.at(field) else { return set };
    place.only(&["enabled", "disabled"], faults);
    for one in place.list("enabled", faults) {
        one.only(&["name", "weight"], faults);
        let weight = one.int("weight", faults);
        let Some(plugin) = named(&one, faults) else { continue };
        if point.is_some_and(|point| !plugin.takes_part(point)) {
            let problem = format!("plugin {:?} does not extend {field} plugin", plugin.name());
            faults.push(Fault::at(&one.path("name"), problem));
        }
        if set.enables(plugin) {
            let problem = format!("plugin {:?} already registered as {field}", plugin.name());
            faults.push(Fault::at(&one.path("name"), problem));
            continue;
        }
        set.enabled.push((plugin, weight));
    }
    for one in place.list("disabled", faults) {
        one.only(&["name", "weight"], faults);
        if one.value.get("name").and_then(serde_json::Value::as_str) == Some("*") {
            set.all_disabled = true;
        } else if let Some(plugin) = named(&one, faults) {
            set.disabled.push(plugin);
        }
    }
    set
}

/// The plugins of a profile, with default arguments.
pub(super) fn profile(name: String, place: &Place<'_>, faults: &mut Vec<Fault>) -> Profile {
    let Some(plugins) = place.at("plugins") else { return Profile::named(name) };
    let fields: Vec<&str> = POINTS.iter().map(|(field, _)| *field).chain(["multiPoint"]).collect();
    plugins.only(&fields, faults);
    let custom = set(&plugins, "multiPoint", None, faults);
    let everywhere = merged(&custom);
    let mut points: BTreeMap<Point, Vec<Plugin>> = BTreeMap::new();
    let mut weights: BTreeMap<Plugin, i64> = BTreeMap::new();
    for (field, point) in POINTS {
        let set = set(&plugins, field, Some(*point), faults);
        points.insert(*point, expanded(*point, &set, &everywhere));
        if *point == Point::Score {
            for (plugin, weight) in set.enabled.iter().chain(&everywhere) {
                weights.entry(*plugin).or_insert(weight.filter(|weight| *weight != 0).unwrap_or(1));
            }
        }
    }
    for (point, what) in [(Point::QueueSort, "queue sort"), (Point::Bind, "bind")] {
        if points.get(&point).is_none_or(Vec::is_empty) {
            let problem = format!("at least one {what} plugin is needed for profile with scheduler name {name:?}");
            faults.push(Fault::at(plugins.own_path(), problem));
        }
    }
    Profile::with(name, |point| points.get(&point).cloned().unwrap_or_default(), |plugin| weights.get(&plugin).copied())
}

/// The default multiPoint with what the profile says of it.
fn merged(custom: &Set) -> Vec<(Plugin, Option<i64>)> {
    let mut all: Vec<(Plugin, Option<i64>)> = Vec::new();
    for plugin in Plugin::all().filter(|plugin| !custom.disables(*plugin)) {
        let again = custom.enabled.iter().find(|(one, _)| *one == plugin);
        all.push(again.copied().unwrap_or((plugin, Some(plugin.weight()))));
    }
    for (plugin, weight) in &custom.enabled {
        if !all.iter().any(|(one, _)| one == plugin) {
            all.push((*plugin, *weight));
        }
    }
    all
}

fn expanded(point: Point, set: &Set, everywhere: &[(Plugin, Option<i64>)]) -> Vec<Plugin> {
    let own: Vec<Plugin> = set.enabled.iter().map(|(plugin, _)| *plugin).collect();
    let from_everywhere: Vec<Plugin> = everywhere
        .iter()
        .map(|(plugin, _)| *plugin)
        .filter(|plugin| plugin.takes_part(point) && !set.disables(*plugin))
        .collect();
    let overriding = own.iter().filter(|plugin| from_everywhere.contains(plugin));
    let expanding = from_everywhere.iter().filter(|plugin| !own.contains(plugin));
    let others = own.iter().filter(|plugin| !from_everywhere.contains(plugin));
    overriding.chain(expanding).chain(others).copied().collect()
}
