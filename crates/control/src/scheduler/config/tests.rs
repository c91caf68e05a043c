use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::scheduler::names::{Plugin, Plugins};
use crate::scheduler::profile::{Ratio, Strategy};

fn with(fields: &Value) -> Value {
    let mut all = json!({ "apiVersion": VERSION, "kind": KIND });
    for (name, value) in fields.as_object().expect("an object") {
        all[name] = value.clone();
    }
    all
}

fn profile(plugins: &Value) -> Profile {
    let read = read(&with(&json!({ "profiles": [{ "plugins": plugins }] }))).expect("a configuration");
    read.config.profiles.into_iter().next().expect("a profile")
}

fn faults(fields: &Value, expected: Expect) {
    let found = read(&with(fields)).expect_err("faults");
    expected.assert_eq(&found.iter().map(|fault| format!("{fault}\n")).collect::<String>());
}

#[test]
fn nothing_but_its_kind_means_upstreams_default() {
    let Read { config, warnings } = read(&with(&json!({}))).expect("a configuration");
    assert_eq!((config.profiles, config.back_off, warnings), (vec![Profile::default()], BackOff::default(), vec![]));
}

#[test]
fn several_profiles_are_several_scheduler_names() {
    let fields = json!({
        "percentageOfNodesToScore": 30, "podInitialBackoffSeconds": 2, "podMaxBackoffSeconds": 20,
        "leaderElection": { "leaderElect": true },
        "profiles": [{ "schedulerName": "a" }, { "schedulerName": "b", "percentageOfNodesToScore": 100 }],
    });
    let Read { config, warnings } = read(&with(&fields)).expect("a configuration");
    let names: Vec<(&str, i64)> = config.profiles.iter().map(|one| (one.name.as_str(), one.percentage)).collect();
    assert_eq!(names, [("a", 30), ("b", 100)]);
    assert_eq!(config.back_off.longest, Duration::from_secs(20));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn plugins_are_disabled_and_weighted_per_point() {
    let one = profile(
        &json!({ "score": { "disabled": [{ "name": "*" }], "enabled": [{ "name": "ImageLocality", "weight": 7 }] } }),
    );
    assert_eq!(one.scores, [(Plugin::ImageLocality, 7)]);
    assert_eq!(one.filters, Profile::default().filters);
    let one = profile(&json!({ "score": { "enabled": [{ "name": "NodeResourcesFit", "weight": 5 }] } }));
    assert_eq!(one.scores[0], (Plugin::NodeResourcesFit, 5), "what is named goes first");
    assert_eq!(one.scores.len(), Profile::default().scores.len());
    let one = profile(&json!({ "multiPoint": { "disabled": [{ "name": "InterPodAffinity" }] } }));
    assert!(!one.filters.contains(&Plugin::InterPodAffinity));
    assert!(one.scores.iter().all(|(plugin, _)| *plugin != Plugin::InterPodAffinity));
    let one = profile(&json!({ "multiPoint": { "enabled": [{ "name": "TaintToleration" }] } }));
    assert!(one.scores.contains(&(Plugin::TaintToleration, 1)), "named again without a weight it weighs 1");
    let one = profile(&json!({ "postFilter": { "disabled": [{ "name": "*" }] } }));
    assert!(one.post_filters.is_empty() && one.pre_enqueue.has(Plugin::DefaultPreemption));
    assert_eq!(one.pre_bind, Profile::default().pre_bind);
}

#[test]
fn arguments_are_taken_and_the_rest_stays_default() {
    let args = |name: &str, args: Value| {
        let fields = json!({ "profiles": [{ "pluginConfig": [{ "name": name, "args": args }] }] });
        read(&with(&fields)).expect("a configuration").config.profiles.remove(0)
    };
    let one = args(
        "NodeResourcesFit",
        json!({ "apiVersion": VERSION, "kind": "NodeResourcesFitArgs",
        "ignoredResources": ["example.com/a"],
        "scoringStrategy": { "type": "RequestedToCapacityRatio", "resources": [{ "name": "cpu", "weight": 3 }, { "name": "memory" }],
            "requestedToCapacityRatio": { "shape": [{ "utilization": 0, "score": 0 }, { "utilization": 100, "score": 10 }] } } }),
    );
    assert_eq!(one.fit.strategy, Strategy::Ratio(Ratio { points: vec![(0, 0), (100, 100)] }));
    assert_eq!(one.fit.resources, [("cpu".to_owned(), 3), ("memory".to_owned(), 1)]);
    assert_eq!(args("InterPodAffinity", json!({ "hardPodAffinityWeight": 9 })).mutual.hard_weight, 9);
    assert_eq!(args("VolumeBinding", json!({ "bindTimeoutSeconds": 5 })).bind_timeout, Duration::from_secs(5));
    let one = args("DefaultPreemption", json!({ "minCandidateNodesAbsolute": 3 }));
    assert_eq!((one.preemption.percentage, one.preemption.absolute), (10, 3));
    let zones = json!([{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule" }]);
    let one = args("PodTopologySpread", json!({ "defaultingType": "List", "defaultConstraints": zones }));
    assert!(one.spreading.constraints[0].hard && !one.spreading.system);
    let affinity = json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [] } });
    assert!(args("NodeAffinity", json!({ "addedAffinity": affinity })).added.required.is_some());
}

#[test]
fn every_fault_is_told_with_its_field() {
    faults(
        &json!({
            "kind": "Other", "parallelism": 0, "podMaxBackoffSeconds": 0, "percentageOfNodesToScore": 101, "nodes": 1,
            "extenders": [{}], "profiles": [{ "schedulerName": "a", "plugin": {} }, { "schedulerName": "a" }, {}],
        }),
        expect![[r#"
            nodes: unknown field; there are apiVersion, kind, parallelism, leaderElection, clientConnection, enableProfiling, enableContentionProfiling, percentageOfNodesToScore, podInitialBackoffSeconds, podMaxBackoffSeconds, profiles, extenders, delayCacheUntilActive
            kind: must be KubeSchedulerConfiguration; other versions and kinds are not read
            extenders: extenders are not supported; remove them, or run kube-scheduler beside this one for such pods
            parallelism: Invalid value: 0: should be an integer value greater than zero
            podMaxBackoffSeconds: Invalid value: 0: must be greater than or equal to PodInitialBackoffSeconds
            percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]
            profiles[0].plugin: unknown field; there are schedulerName, percentageOfNodesToScore, plugins, pluginConfig
            profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"
            profiles[2].schedulerName: Required value
        "#]],
    );
}

#[test]
fn faults_of_plugins_and_arguments_too() {
    let plugins = json!({
        "filter": { "enabled": [{ "name": "ImageLocality" }, { "name": "Gpu" }] },
        "bind": { "disabled": [{ "name": "*" }] },
    });
    let config = json!([
        { "name": "InterPodAffinity", "args": { "hardPodAffinityWeight": 101 } },
        { "name": "DefaultPreemption", "args": { "minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0 } },
        { "name": "NodeResourcesFit", "args": { "scoringStrategy": { "type": "Best", "resources": [{ "name": "cpu", "weight": 101 }] } } },
        { "name": "NodePorts", "args": {} },
        { "name": "VolumeBinding", "args": { "bindTimeoutSeconds": -1 } },
        { "name": "DynamicResources", "args": { "filterTimeout": "-1s", "bindingTimeout": "1ms" } },
    ]);
    faults(
        &json!({ "profiles": [{ "plugins": plugins, "pluginConfig": config }] }),
        expect![[r#"
            profiles[0].plugins.filter.enabled[0].name: plugin "ImageLocality" does not extend filter plugin
            profiles[0].plugins.filter.enabled[1].name: plugin "Gpu" does not exist; there are SchedulingGates, PrioritySort, NodeUnschedulable, NodeName, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit, VolumeRestrictions, NodeVolumeLimits, VolumeBinding, VolumeZone, PodTopologySpread, InterPodAffinity, DynamicResources, DefaultPreemption, NodeResourcesBalancedAllocation, ImageLocality, DefaultBinder, NodeDeclaredFeatures
            profiles[0].plugins: at least one bind plugin is needed for profile with scheduler name "default-scheduler"
            profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]
            profiles[0].pluginConfig[1].args.minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as minCandidateNodesAbsolute
            profiles[0].pluginConfig[1].args.minCandidateNodesAbsolute: Invalid value: 0: cannot be zero at the same time as minCandidateNodesPercentage
            profiles[0].pluginConfig[2].args.scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]
            profiles[0].pluginConfig[2].args.scoringStrategy.type: Unsupported value: "Best": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"
            profiles[0].pluginConfig[3].args: NodePorts takes no arguments; remove it
            profiles[0].pluginConfig[4].args.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value
            profiles[0].pluginConfig[5].args.filterTimeout: Invalid value: "-1s": must be zero or positive
            profiles[0].pluginConfig[5].args.bindingTimeout: Invalid value: "1ms": must be at least 1 second
        "#]],
    );
}

#[test]
fn the_patience_of_dynamic_resources_is_read() {
    let config =
        json!([{ "name": "DynamicResources", "args": { "filterTimeout": "250ms", "bindingTimeout": "1m30s" } }]);
    let read = read(&with(&json!({ "profiles": [{ "pluginConfig": config }] }))).expect("a configuration");
    let allocating = read.config.profiles[0].allocating;
    assert_eq!((allocating.filter, allocating.binding), (Duration::from_millis(250), Duration::from_secs(90)));
}

#[test]
fn the_default_profile_is_what_the_rules_give() {
    assert_eq!(profile(&json!({})), Profile::default());
    let _: Plugins = Profile::default().pre_bind;
}
